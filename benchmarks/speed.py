"""Measure what a sample costs the compiled trees, beside river's Hoeffding tree on the same samples.

    python -m benchmarks.speed

Before anything is timed, our tree and river's must give the same probabilities on the samples that both can see. Then
repeats take turns, so that a busy machine is busy for all, and the median of each is printed with its ratio to river's
in the same run. "step" predicts and then learns every sample, in blocks of `--block`; "dict" is `predict_proba_one`
and then `learn_one` on dictionaries. A pool of twelve lets every tree learn every sample with a weight of its own from
Poisson(1). The first-use times are those of fresh processes, from `import driftmoe.trees` to the first prediction after
one sample: with an empty cache of compiled code, then with a filled one.

The table is printed, each line of it also written to `benchmarks/results/speed.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from river import tree

import streams
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

RESULTS = Path(__file__).parent / "results" / "speed.jsonl"

FIRST_USE = """
import time; start = time.perf_counter()
from driftmoe.trees import HoeffdingTreeClassifier
imported = time.perf_counter()
model = HoeffdingTreeClassifier(); model.learn_one({"a": 1.0}, 0); model.predict_proba_one({"a": 1.0})
print(imported - start, time.perf_counter() - imported)
"""


class Case:
    """The samples of one stream as a block and as dictionaries."""

    def __init__(self, name: str, n_samples: int, seed: int) -> None:
        stream = streams.make(name, seed=seed, n_samples=n_samples)
        block = next(stream.blocks(n_samples))
        self.X, self.y = block.X, block.y
        self.nominal = [i for i, feature in enumerate(stream.features) if feature.is_nominal]
        self.names = [feature.name for feature in stream.features]
        self.nominal_names = [self.names[i] for i in self.nominal]
        self.samples = [
            (
                {k: int(v) if k in self.nominal_names else v for k, v in zip(self.names, row, strict=True)},
                target,
            )
            for row, target in zip(block.X.tolist(), block.y.tolist(), strict=True)
        ]

    def river(self, n: int) -> np.ndarray:
        """Predict, then learn, with river's tree; return the probabilities."""
        model = tree.HoeffdingTreeClassifier(nominal_attributes=self.nominal_names)
        return self._dicts(model, n)

    def ours(self, n: int) -> np.ndarray:
        """The same with our estimator."""
        model = HoeffdingTreeClassifier(nominal_attributes=self.nominal_names)
        return self._dicts(model, n)

    def _dicts(self, model: Any, n: int) -> np.ndarray:
        proba = []
        for x, y in self.samples[:n]:
            proba.append(model.predict_proba_one(x))
            model.learn_one(x, y)
        return np.array([[p.get(c, 0.0) for c in range(self.y.max() + 1)] for p in proba])

    def step(self, n: int, n_experts: int, block: int) -> np.ndarray:
        """The same with a pool, in blocks; return the probabilities of the first tree."""
        weights = np.random.default_rng(1).poisson(1.0, size=(n, n_experts)).astype(float)
        weights[:, 0] = 1.0
        pool = TreePool(n_experts, nominal=self.nominal)
        pool.learn(self.X[:1], self.y.max(), np.zeros((1, n_experts)))  # all classes known, none seen
        start = time.perf_counter()
        proba = [
            pool.step(self.X[i : min(i + block, n)], self.y[i : min(i + block, n)], weights[i : i + block])[
                :, 0
            ]
            for i in range(0, n, block)
        ]
        self.seconds = time.perf_counter() - start
        return np.concatenate(proba)


def runs(case: Case, few: int, many: int, block: int) -> dict[str, tuple[int, Callable[[], float]]]:
    """What is timed: name -> number of samples, and a call that returns the seconds they take."""

    def step(n: int, n_experts: int) -> float:
        case.step(n, n_experts, block)
        return case.seconds

    return {
        "river, dict": (few, lambda: seconds(lambda: case.river(few))),
        "ours, dict": (few, lambda: seconds(lambda: case.ours(few))),
        "step, same samples": (few, lambda: step(few, 1)),
        "step": (many, lambda: step(many, 1)),
        "step, 12 trees": (many, lambda: step(many, 12)),
    }


def seconds(run: Callable[[], Any]) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def first_use(cache: str) -> tuple[float, float]:
    """Seconds that importing, and then learning and predicting one sample, take in a fresh process."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    answer = subprocess.run(
        [sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True, check=True
    )
    imported, used = map(float, answer.stdout.split())
    return imported, used


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=["led", "rbf_f"])
    parser.add_argument("--samples", type=int, default=100_000, help="for our trees (default: %(default)s)")
    parser.add_argument(
        "--river-samples", type=int, default=5_000, help="on dictionaries (default: %(default)s)"
    )
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    lines = []
    for name in options.streams:
        case, few, many = Case(name, options.samples, options.seed), options.river_samples, options.samples
        theirs = case.river(few)
        np.testing.assert_allclose(case.ours(few), theirs, rtol=0.0, atol=1e-9)
        np.testing.assert_allclose(case.step(few, 1, options.block), theirs, rtol=0.0, atol=1e-9)
        entries = runs(case, few, many, options.block)
        times: dict[str, list[float]] = {entry: [] for entry in entries}
        for _ in range(options.repeats):
            for entry, (n, run) in entries.items():
                times[entry].append(run() / n * 1e6)
        river = median(times["river, dict"])
        for entry, (n, _) in entries.items():
            micros = median(times[entry])
            lines.append({
                "stream": name, "what": entry, "samples": n, "us_per_sample": round(micros, 3),
                "samples_per_s": round(1e6 / micros), "times_river": round(river / micros, 1),
            })  # fmt: skip
            print(
                "{stream:8} {what:20} {us_per_sample:9.3f} us {samples_per_s:9} /s  x{times_river}".format(
                    **lines[-1]
                )
            )

    with tempfile.TemporaryDirectory() as cache:
        for what in ("first use ever", "first use, cached"):
            imported, used = first_use(cache)
            lines.append({"what": what, "import_s": round(imported, 2), "use_s": round(used, 2)})
            print(f"{what:20} import {imported:.2f} s, then {used:.2f} s")

    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line | machine) + "\n" for line in lines))


if __name__ == "__main__":
    main()
