"""What an extra expert adds, beside as many experts that never vote.

    python -m benchmarks.control --limit 5000 --out runs/control.jsonl

One more expert is one more logit of the router, whose first weights are then other random numbers. That alone moves
the accuracy of a stream by some tenths of a point. So each kind of expert is compared with the default and as many
votes that are always zeros: then all first weights are the same. A run that has a line in `--out` is not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.ablation import OTHERS, PAPER
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.experts import EXTRAS, Kind
from driftmoe.experts.batch import Batch, Rows
from driftmoe.experts.protocol import Unmonitored
from driftmoe.transaction import Changes
from streams.opening import open_stream

CANDIDATES = ("products", "sequence")
"""Kinds of extra experts that the default leaves out."""


class Silent(Unmonitored):
    """Votes that are always zeros, as of experts that have seen nothing yet."""

    reads, kind, is_repeatable = "inputs", "silent", False

    def __init__(self, n_votes: int) -> None:
        self.n_experts = n_votes

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return zeros."""
        return np.zeros((len(batch.inputs), self.n_experts, batch.n_classes))

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Return zeros, and plan nothing."""
        return self.predict_proba(batch)

    def sizes(self) -> dict[str, int]:
        """Return nothing: it knows no names."""
        return {}


def kinds() -> dict[str, Kind]:
    """Return the candidates, and silent experts with as many votes as any of them."""
    rng = np.random.default_rng(1)
    n_votes = {EXTRAS[name].make(4096, rng).n_experts for name in CANDIDATES}
    silent = {f"silent {n}": Kind(Silent, partial(_silent, n)) for n in sorted(n_votes)}
    return silent | {name: EXTRAS[name] for name in CANDIDATES}


def _silent(n_votes: int, memory: int, rng: np.random.Generator) -> Any:
    return Silent(n_votes)


def measured(stream: Any, extra: str | None, seed: int) -> dict[str, float]:
    """Return accuracy and processor time of the default with one extra expert more, before the head."""
    *first, head = DriftMoEClassifier().settings["extras"]
    model = DriftMoEClassifier(extras=(*first, *([extra] if extra else []), head), seed=seed)
    start = time.process_time()
    *_, last = prequential(stream, model, window=10**9)
    seconds = time.process_time() - start
    return {"accuracy": round(last.cumulative["accuracy"], 6), "cpu_seconds": round(seconds, 3)}


def main() -> None:
    """Do the runs that have no line yet, and add theirs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=5000, help="most samples of a stream")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--streams", nargs="+", default=(*PAPER, *OTHERS), help="names, or paths of files")
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    parser.add_argument("--out", type=Path, default=Path("runs/control.jsonl"), help="file of the lines")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    old = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    done = {tuple(json.loads(line)[name] for name in ("stream", "extra", "seed", "limit")) for line in old}
    with mock.patch.dict(EXTRAS, kinds()), arguments.out.open("a") as lines:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            for name in arguments.streams:
                stream = None
                for extra in (None, *kinds()):
                    run = {"stream": Path(name).stem, "extra": extra, "seed": seed, "limit": arguments.limit}
                    if tuple(run.values()) in done:
                        continue
                    stream = stream or open_stream(
                        name, limit=arguments.limit, seed=seed, data_dir=arguments.data_dir
                    )
                    print(json.dumps(run | measured(stream, extra, seed)), file=lines, flush=True)


if __name__ == "__main__":
    main()
