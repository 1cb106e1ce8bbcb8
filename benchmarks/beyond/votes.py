"""Votes of the default on a stream, sample by sample, as they were before each sample was learnt.

    python -m benchmarks.beyond.votes --out runs/votes

Whoever wants to know what another gate, or a smaller pool, would make of the same experts needs no run of the model for
each idea: the votes, the gate's weights and the labels of one run are enough. `benchmarks.beyond` reads them. The model
runs as always, in `prequential`; its answers do not change. Each run writes one folder, some 40 MB for 100 000 samples.
One that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks.ablation import OTHERS, PAPER
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.mixture.adaptive import AdaptiveMixture
from driftmoe.mixture.telemetry import RoutingLog
from streams.opening import open_stream

STREAMS = (*PAPER, *OTHERS)
SEEDS = (11, 12, 13)


class Votes(NamedTuple):
    """What the default said of each sample.

    Attributes
    ----------
    votes
        Class probabilities of each expert, float32, shape (n_samples, n_experts, n_classes). Only zeros are no vote.
        Of a sample that brings a new class, value or feature they are those of experts that know its name already.
    weights
        Weights of the gate, float32, shape (n_samples, n_experts).
    targets
        Index of the true class, shape (n_samples,).
    inputs
        What the router reads of a sample, float32, standardised, shape (n_samples, n_inputs).
    n_trees
        Number of trees, which are the first experts.
    accuracy
        Prequential accuracy of the run.
    us_per_sample
        Processor time of a sample in the run, in µs.
    """

    votes: np.ndarray
    weights: np.ndarray
    targets: np.ndarray
    inputs: np.ndarray
    n_trees: int
    accuracy: float
    us_per_sample: float


ARRAYS = Votes._fields[:4]


class Recorder:
    """Copies votes, weights, labels and inputs at the end of each step of all adaptive mixtures, while it is entered.

    Attributes
    ----------
    steps
        Votes, weights, labels and inputs of each step.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[np.ndarray, ...]] = []
        self._inputs = np.empty((0, 0), np.float32)
        plan, plan_log = AdaptiveMixture.plan, RoutingLog.plan

        def of_mixture(mixture: AdaptiveMixture, batch: Any, changes: Any) -> np.ndarray:
            self._inputs = batch.inputs
            return plan(mixture, batch, changes)

        def of_log(
            log: RoutingLog, choice: Any, logits: Any, votes: Any, proba: Any, targets: Any, **more: Any
        ) -> None:
            plan_log(log, choice, logits, votes, proba, targets, **more)
            more["changes"].append(partial(self._keep, votes, choice.weights, targets, self._inputs))

        self._patches = [
            mock.patch.object(AdaptiveMixture, "plan", of_mixture),
            mock.patch.object(RoutingLog, "plan", of_log),
        ]

    def _keep(self, *arrays: np.ndarray) -> None:
        self.steps.append(tuple(array.copy() for array in arrays))

    def __enter__(self) -> Recorder:
        """Begin to copy."""
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave mixtures as they were."""
        for patch in self._patches:
            patch.stop()

    def joined(self) -> dict[str, np.ndarray]:
        """Return the arrays over all steps; classes and inputs that came later have zeros before."""
        found = {}
        for name, arrays in zip(ARRAYS, zip(*self.steps, strict=True), strict=True):
            n_last = max(array.shape[-1] for array in arrays)
            dtype = np.int64 if name == "targets" else np.float32
            shape = (sum(map(len, arrays)), *arrays[0].shape[1:-1], n_last)
            whole = np.zeros(shape[:1] if name == "targets" else shape, dtype)
            start = 0
            for array in arrays:
                stop = start + len(array)
                if name == "targets":
                    whole[start:stop] = array
                else:
                    whole[start:stop, ..., : array.shape[-1]] = array
                start = stop
            found[name] = whole
        return found


def recorded(stream: Any, seed: int, **arguments: Any) -> Votes:
    """Learn a stream as `prequential` does, and return what the default said of each sample.

    Parameters
    ----------
    stream
        Samples in order; see `streams`.
    seed
        Seed of the model.
    **arguments
        Other arguments of the model.
    """
    model = DriftMoEClassifier(seed=seed, **arguments)
    start = time.process_time()
    with Recorder() as recorder:
        *_, last = prequential(stream, model, window=10**9)
    seconds = time.process_time() - start
    n_trees = int(model.settings["n_experts"])
    n = last.n_samples
    return Votes(
        **recorder.joined(),
        n_trees=n_trees,
        accuracy=last.cumulative["accuracy"],
        us_per_sample=seconds / n * 1e6,
    )


def write(votes: Votes, folder: Path) -> None:
    """Write a run's votes to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(votes, name))
    figures = {name: getattr(votes, name) for name in Votes._fields[4:]}
    (folder / "figures.json").write_text(json.dumps(figures))  # the last, so that a folder with it is whole


def read(folder: Path) -> Votes:
    """Read what `write` wrote. Arrays are read from the disk where they are used."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    return Votes(**arrays, **json.loads((folder / "figures.json").read_text()))


def folder_of(out: Path, stream: str, seed: int) -> Path:
    """Return the folder of a run."""
    return out / f"{stream}-{seed}"


def parser_of_runs(text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of runs on streams: samples, seeds, streams and where files lie."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=100_000, help="most samples of a stream")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--streams", nargs="+", default=STREAMS)
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    return parser


def main() -> None:
    """Do the runs that have no folder yet."""
    parser = parser_of_runs(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/votes"), help="folder of the runs")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name in arguments.streams:
            folder = folder_of(arguments.out, name, seed)
            if (folder / "figures.json").exists():
                continue
            stream = open_stream(name, limit=arguments.limit, seed=seed, data_dir=arguments.data_dir)
            votes = recorded(stream, seed)
            write(votes, folder)
            print(f"{folder.name:24} {100 * votes.accuracy:.2f} % {votes.us_per_sample:.0f} µs", flush=True)


if __name__ == "__main__":
    main()
