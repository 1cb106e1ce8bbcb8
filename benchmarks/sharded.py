"""When it pays to share the trees of one pool among workers: ratios to the whole pool in one thread.

    python -m benchmarks.sharded
    python -m benchmarks.sharded --trees 12 240 --rows 5000 --out benchmarks/results/sharded.jsonl

All ways give the same votes, which is asserted. `threads` are the pool's own (`n_threads=2`), `shards` are two shards
in threads, `actors` two shards in processes of a Dask cluster on this machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import streams
from driftmoe.engines.sharded import DaskActors, ShardedTrees
from driftmoe.experiment.environment import commit
from driftmoe.trees import TreePool

SETTINGS: dict[str, Any] = {
    "grace_period": 200, "delta": 0.01, "max_nodes": 2000, "warning_delta": 0.01, "drift_delta": 0.001, "seed": 1,
}  # fmt: skip
BLOCKS = (100, 1000)
"""Rows in a block."""


def blocks(n: int, size: int, n_trees: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield blocks of rbf_f with Poisson weights."""
    rng = np.random.default_rng(1)
    for block in streams.make("rbf_f", seed=1, n_samples=n).blocks(size):
        yield block.X, block.y, rng.poisson(6.0, (len(block.y), n_trees)).astype(np.float64)


def seconds(step: Callable[..., np.ndarray], rows: list[Any]) -> tuple[float, np.ndarray]:
    """Return the time that all blocks take, and the last votes."""
    votes = np.empty(0)
    start = time.perf_counter()
    for block in rows:
        votes = step(*block)
    return time.perf_counter() - start, votes


def main() -> None:
    """Measure each size, and print a line for it."""
    import distributed

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trees", type=int, nargs="+", default=[12, 60, 240])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        for n_trees in arguments.trees:
            for size in BLOCKS:
                line = measured(client, n_trees, size, arguments.rows)
                print(json.dumps(line), flush=True)
                if arguments.out:
                    with arguments.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")


def measured(client: Any, n_trees: int, size: int, n_rows: int) -> dict[str, Any]:
    """Return the figures of one size."""
    rows = list(blocks(n_rows, size, n_trees))
    taken: dict[str, float] = {}
    expected = np.empty(0)
    for way in ("whole", "threads", "shards", "actors"):
        with ExitStack() as stack:
            pool = TreePool(n_trees, **SETTINGS, n_threads=2 if way == "threads" else 1)
            step = pool.step
            if way == "shards":
                step = stack.enter_context(ShardedTrees(pool, 2)).step
            elif way == "actors":
                step = stack.enter_context(
                    ShardedTrees(pool, 2, lambda shards: DaskActors(shards, client))
                ).step
            step(*(part[:1] for part in rows[0]))  # compiles, or loads what is compiled
            taken[way], votes = seconds(step, rows)
        expected = votes if way == "whole" else expected
        assert np.array_equal(votes, expected), way
    return {
        "trees": n_trees, "rows_in_block": size, "samples_per_second": round(n_rows / taken["whole"]),
        **{way: round(taken["whole"] / taken[way], 2) for way in taken if way != "whole"},
        "commit": commit(), "machine": platform.machine(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
