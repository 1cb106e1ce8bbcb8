"""Time CapyMOA's learners in its own Java loop, on samples handed over once: the Java side of `benchmarks.speed`.

Java runs in its own process. The interpreter of this process needs `driftmoe[capymoa]`, and may differ from that of
the benchmark. The benchmark writes the samples to a file, starts `python -m benchmarks.moa_speed FILE`, and asks
for one run at a time. Runs of both sides therefore take turns, and neither side works while the other is timed.
Requests and answers are lines of JSON.

A run is the loop inside Java by which `capymoa.evaluation.prequential_evaluation` evaluates MOA's learners. For
each sample it predicts, counts the hit in a cumulative and a windowed evaluator, and learns. The samples are in
Java's memory before the clock starts, and have been compared number by number with those in the file. Learners have
one thread. Java's compiler and garbage collector have their own threads besides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from driftmoe.moa import check_same, java_header, java_instances, live_bytes

WINDOW = 1000
"""Samples in a window of the evaluator, as in ours."""


def learners() -> dict[str, Callable[[Any], Any]]:
    """Return, for each name, a call that makes the learner for a schema; ours is the setting of the Hoeffding tree."""
    from capymoa import classifier

    def sized(name: str, size: int) -> Callable[[Any], Any]:
        return lambda schema: getattr(classifier, name)(schema, ensemble_size=size)

    return {
        "no learner": lambda schema: classifier.MajorityClass(schema),
        "HoeffdingTree": lambda schema: classifier.HoeffdingTree(schema, grace_period=200, confidence=1e-7),
        "ARF-10": sized("AdaptiveRandomForestClassifier", 10),
        "ARF-100": sized("AdaptiveRandomForestClassifier", 100),
        "SRP-10": sized("StreamingRandomPatches", 10),
        "LevBag-10": sized("LeveragingBagging", 10),
    }


class Java:
    """The process with Java, from the benchmark's side.

    Parameters
    ----------
    python
        Interpreter with `driftmoe[capymoa]`.
    X, y
        Samples, float64 (n_samples, n_features), and targets (n_samples,).
    n_classes
        Number of classes.

    Raises
    ------
    RuntimeError
        If CapyMOA cannot be started, or has not got the same samples; the message says why.
    """

    def __init__(self, python: str, X: np.ndarray, y: np.ndarray, n_classes: int) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "samples.npz", X=X, y=y, n_classes=n_classes)
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.moa_speed", str(Path(folder) / "samples.npz")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
                cwd=Path(__file__).parent.parent,
            )  # fmt: skip
            self.about = self._answer()

    def run(self, learner: str, n: int, *, nominal: bool = False) -> dict[str, Any]:
        """Evaluate a new learner on the first `n` samples; return `seconds`, `accuracy` (a share), and `bytes`.

        The bytes are those of the learner that are alive after the run and a garbage collection.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"learner": learner, "n": n, "nominal": nominal}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            self._errors.seek(0)
            reason = self._errors.read().strip().splitlines() or ["it ended without a message"]
            raise RuntimeError(f"CapyMOA: {reason[-1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(samples: Path) -> None:
    """Answer requests from standard input until it ends."""
    import capymoa
    from capymoa.evaluation import ClassificationEvaluator, ClassificationWindowedEvaluator
    from capymoa.stream import Schema
    from java.lang import System
    from moa.evaluation import EfficientEvaluationLoops
    from moa.streams import CachedInstancesStream

    arrays = np.load(samples)
    X, y, n_classes = arrays["X"], arrays["y"], int(arrays["n_classes"])
    streams = {}
    for nominal in (False, True):
        if nominal and ((X < 0) | (X.astype(int) != X)).any():
            continue
        header = java_header([int(x.max()) + 1 if nominal else None for x in X.T], n_classes)
        instances = java_instances(header, X, y)
        check_same(instances, X, y)
        streams[nominal] = CachedInstancesStream(instances)

    def answer(**answer: Any) -> None:
        print(json.dumps(answer), flush=True)

    answer(capymoa=capymoa.__version__, java=str(System.getProperty("java.version")), nominal=True in streams)
    for line in sys.stdin:
        request = json.loads(line)
        stream = streams[request["nominal"]]
        stream.restart()
        schema = Schema(stream.getHeader())
        total, window = ClassificationEvaluator(schema), ClassificationWindowedEvaluator(schema, WINDOW)
        before = live_bytes()
        learner = learners()[request["learner"]](schema)
        start = time.perf_counter()
        EfficientEvaluationLoops.PrequentialEvaluation(
            stream, learner.moa_learner, total.moa_basic_evaluator, window.moa_evaluator,
            request["n"], WINDOW, False, False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        answer(seconds=seconds, accuracy=total.accuracy() / 100, bytes=live_bytes() - before)
        del learner


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
