"""Learn an almost endless drifting stream with a pool of bounded trees: memory must stay flat, speed must not decay.

    python -m benchmarks.long_run [--samples 5000000] [--max-nodes 1001] [--seed 1] [--monitors] [--experts 12]

Twelve trees (Poisson(1) weights, leaves that split on 60 % of the features) predict and learn rbf_f in blocks of
256 rows. `--monitors` adds two drift monitors and a background tree to each. Every 50 000 samples a line is written
to `--out` (kept: `benchmarks/results/long_run.jsonl`). It holds bytes of the pool, resident memory of the process
and nodes. It also holds samples per second of the pool alone and accuracy of the equal vote, both since the
previous line. A picture beside the file shows them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from rich.progress import Progress

import streams
from driftmoe.trees import TreePool

OUT = Path("runs/long_run.jsonl")
EVERY = 50_000
BLOCK = 256


def resident_bytes() -> int:
    """Return the memory of this process; where the system does not tell what it is now, the most that it was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def lines(
    n_samples: int, n_experts: int, max_nodes: int, seed: int, has_monitors: bool, bar: Progress
) -> Iterator[dict[str, Any]]:
    """Yield one line for every 50 000 samples, and for the rest."""
    monitors = {"warning_delta": 0.01, "drift_delta": 0.001} if has_monitors else {}
    pool = TreePool(n_experts, max_nodes=max_nodes, max_features=0.6, seed=seed, **monitors)
    rng = np.random.default_rng(seed)
    task = bar.add_task(f"{n_experts} trees of {max_nodes} nodes", total=n_samples)
    n, n_right, n_since, seconds = 0, 0, 0, 0.0
    for block in streams.make("rbf_f", seed=seed, n_samples=n_samples).blocks(BLOCK):
        weights = rng.poisson(1.0, size=(len(block.y), n_experts)).astype(float)
        start = time.perf_counter()
        proba = pool.step(block.X, block.y, weights)
        seconds += time.perf_counter() - start
        n_right += int((proba.mean(axis=1).argmax(axis=1) == block.y).sum())
        n_since += len(block.y)
        is_due = (n + len(block.y)) // EVERY > n // EVERY
        n += len(block.y)
        bar.update(task, completed=n)
        if is_due or n == n_samples:
            yield {
                "samples": n, "pool_bytes": pool.n_bytes, "resident_bytes": resident_bytes(),
                "nodes": int(pool.n_nodes.sum()), "samples_per_s": round(n_since / seconds),
                "accuracy": round(n_right / n_since, 4), "warnings": int(pool.n_warnings.sum()),
                "replaced": int(pool.n_replaced.sum()), "experts": n_experts, "max_nodes": max_nodes,
                "seed": seed, "monitors": has_monitors,
            }  # fmt: skip
            n_right, n_since, seconds = 0, 0, 0.0


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Write a picture of memory, size, speed and accuracy over the samples."""
    panels = {
        "pool [MB]": ("pool_bytes", 1e-6),
        "process [MB]": ("resident_bytes", 1e-6),
        "nodes that vote": ("nodes", 1),
        "thousand samples/s": ("samples_per_s", 1e-3),
        "accuracy [%]": ("accuracy", 100),
    }
    figure, axes = plt.subplots(len(panels), 1, sharex=True, figsize=(8, 10), layout="constrained")
    samples = [record["samples"] / 1e6 for record in records]
    for axis, (label, (name, factor)) in zip(axes, panels.items(), strict=True):
        axis.plot(samples, [record[name] * factor for record in records])
        axis.set_ylabel(label)
        if name != "accuracy":
            axis.set_ylim(0, 1.1 * max(record[name] for record in records) * factor)
    axes[2].axhline(
        records[0]["experts"] * records[0]["max_nodes"], color="0.6", linestyle="--", label="bound"
    )
    axes[2].legend(loc="lower right")
    axes[-1].set_xlabel("million samples")
    figure.suptitle(
        f"rbf_f, {records[0]['experts']} trees, monitors {'on' if records[0]['monitors'] else 'off'}"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=5_000_000)
    parser.add_argument("--experts", type=int, default=12)
    parser.add_argument("--max-nodes", type=int, default=1001, help="of one tree (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--monitors", action="store_true", help="drift monitors and background trees")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args()
    records = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with Progress() as bar, options.out.open("w", encoding="utf-8") as file:
        for line in lines(
            options.samples, options.experts, options.max_nodes, options.seed, options.monitors, bar
        ):
            file.write(json.dumps(line) + "\n")
            file.flush()  # a long run may be cut short
            records.append(line)
    mpl.use("agg")
    draw(records, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
