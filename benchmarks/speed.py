"""Measure the cost of a sample in our trees, the pool and DriftMoE, beside river's and CapyMOA's learners.

    python -m benchmarks.speed                                     the tables, the goals: some six minutes
    python -m benchmarks.speed --capymoa-python OTHER/bin/python   with CapyMOA, where it is installed elsewhere
    python -m benchmarks.speed --stream rbf_f --repeats 5 --out speed_rbf_f.jsonl
    python -m benchmarks.speed --scaling --out benchmarks/results/speed_scaling.jsonl   and a picture beside it

Everything runs on the same samples in the same run, on one thread unless a line says two. A case is a way to
predict and then learn a number of samples. First, ways that must be equal are checked for equal answers: our tree
and river's, on dictionaries and in blocks; DriftMoE sample by sample, by frames and in the evaluator; one and two
threads. "moe-data" is the paper's variant. "driftmoe" is the adaptive one, which is compared on a second stream as
well. Then repeats take turns, so that a busy machine is busy for all. The medians are printed with their ratios.

*What is timed* is predicting and learning by the calls that users make, from an untrained model on. `prequential`
is timed as a whole, with its metrics, and so is CapyMOA, whose loop stays inside Java. Pools in blocks of 256 count
the hits of their vote. Making samples, dictionaries, frames and models is not timed: the samples are in memory on
both sides. Peers have their defaults, except that CapyMOA's Hoeffding tree has the settings of ours. Features are
numbers for all, unless a line says nominal. Learners that would take too long see fewer samples, and a ratio always
compares equally many. Java runs each case once before its time counts, and its compiler and collector have their
own threads.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import Progress
from river import base, ensemble, forest, tree

import streams
from benchmarks import bound
from benchmarks.moa_parity import write_lines
from benchmarks.moa_speed import WINDOW, Java
from driftmoe import DriftMoEClassifier, network
from driftmoe.encoding import Encoder
from driftmoe.evaluation import prequential
from driftmoe.experts import history, linear, neighbours, perceptron
from driftmoe.mixture import CoTraining, cotraining
from driftmoe.mixture import adaptive as adaptive_mixture
from driftmoe.mixture.router import Router
from driftmoe.trees import HoeffdingTreeClassifier, TreePool, steps
from streams.stream import Block, Reader, Stream, until
from streams.synthetic import RandomRBF

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
BLOCK = 256
"""Samples that a pool, and `learn_many`, get at once; as many as the evaluator gives."""

N_EXPERTS, TOP_K = 12, 3
SHORTEST = 0.1
"""Seconds; a shorter run is done again until so much time has passed, and its mean counts."""

N_PROBES = 200
"""Samples whose probabilities are compared after learning."""


# --- samples ---------------------------------------------------------------------------------------------------------


class InMemory(Stream):
    """A part of a stream that has been read already."""

    def __init__(self, stream: Stream, block: Block, n: int) -> None:
        super().__init__(features=stream.features, classes=stream.classes, n_samples=n)
        self._block = block

    def reader(self) -> Reader:
        """Return a new position at the start."""
        position = 0

        def read(n: int) -> Block:
            nonlocal position
            start, position = position, position + n
            return Block(self._block.X[start:position], self._block.y[start:position])

        return until(read, self.n_samples)


class Samples:
    """The samples of a stream, as each learner wants them."""

    def __init__(self, stream: Stream, n: int) -> None:
        self._stream, self._block = stream, next(stream.blocks(n))
        self.X, self.y = self._block
        self.names = [feature.name for feature in stream.features]
        self.classes = stream.classes
        self.is_nominal = all(feature.is_nominal for feature in stream.features)

    @cached_property
    def dicts(self) -> list[tuple[dict[str, Any], Any]]:
        """Dictionaries and labels, as river's learners take them."""
        return list(self._stream.samples(self.X, self.y))

    def frames(self, n: int) -> list[tuple[pd.DataFrame, pd.Series]]:
        """The first samples as frames of `BLOCK` rows."""
        X, y = pd.DataFrame(self.X, columns=self.names), pd.Series([self.classes[i] for i in self.y[:n]])
        return [(X[rows], y[rows]) for rows in blocks(n)]

    def stream(self, n: int) -> Stream:
        """The first samples as a stream."""
        return InMemory(self._stream, self._block, n)


def blocks(n: int) -> list[slice]:
    """Cut `n` rows into blocks."""
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


# --- ways to predict and learn ---------------------------------------------------------------------------------------


@dataclass
class Run:
    """What came out of one run of a case.

    Attributes
    ----------
    seconds
        Time for all samples.
    answers
        What another way must give as well, by name: `labels` and `votes` (probabilities) before learning each sample,
        `hits` in windows of 1000.
    accuracy
        Share of hits; NaN if nothing was predicted.
    model
        The model in the end; of one in Java its bytes.
    """

    seconds: float
    answers: dict[str, np.ndarray]
    accuracy: float
    model: Any

    @property
    def n_bytes(self) -> int:
        """Size of the model."""
        if isinstance(self.model, TreePool):
            return self.model.n_bytes
        return int(getattr(self.model, "_raw_memory_usage", self.model))

    def proba(self, samples: Samples) -> np.ndarray:
        """What the model says of the first samples when it has learnt, the last axis for the classes."""
        if isinstance(self.model, TreePool):
            of_trees = self.model.predict_proba(samples.X[:N_PROBES])
            n_missing = len(samples.classes) - of_trees.shape[2]
            of_trees = np.pad(of_trees, ((0, 0), (0, 0), (0, n_missing)))
            return of_trees[:, 0] if self.model.n_experts == 1 else of_trees
        return as_array(
            [self.model.predict_proba_one(x) for x, _ in samples.dicts[:N_PROBES]], samples.classes
        )


@dataclass(frozen=True)
class Case:
    """A way to predict and learn.

    Attributes
    ----------
    name
        What is printed.
    n_samples
        How many samples it sees when it is timed.
    run
        Called with the samples and their number.
    same
        Cases with the same word here must give the same answers; empty for none.
    n_warm_up
        Samples it sees before anything is timed; by default as many as are compared.
    """

    name: str
    n_samples: int
    run: Callable[[Samples, int], Run]
    same: str = ""
    n_warm_up: int = 0


def run_dicts(samples: Samples, n: int, *, make: Callable[[], base.Classifier]) -> Run:
    """`predict_one`, then `learn_one`, for each dictionary."""
    model, predicted = make(), []
    pairs = samples.dicts[:n]
    start = time.perf_counter()
    for x, y in pairs:
        predicted.append(model.predict_one(x))
        model.learn_one(x, y)
    seconds = time.perf_counter() - start
    targets = {label: i for i, label in enumerate(samples.classes)}
    labels = np.array([targets.get(label, -1) for label in predicted])
    is_hit = labels == samples.y[:n]
    return Run(seconds, {"labels": labels, "hits": hits(is_hit)}, is_hit.mean(), model)


def run_votes(samples: Samples, n: int, *, make: Callable[[], base.Classifier]) -> Run:
    """`predict_proba_one`, then `learn_one`, for each dictionary: two trees may settle a tie in their own ways."""
    model, predicted = make(), []
    pairs = samples.dicts[:n]
    start = time.perf_counter()
    for x, y in pairs:
        predicted.append(model.predict_proba_one(x))
        model.learn_one(x, y)
    seconds = time.perf_counter() - start
    votes = as_array(predicted, samples.classes)
    return Run(seconds, {"votes": votes}, np.mean(votes.argmax(axis=1) == samples.y[:n]), model)


def run_frames(samples: Samples, n: int, *, make: Callable[[], DriftMoEClassifier]) -> Run:
    """`learn_many` on frames; predicts nothing."""
    model, frames = make(), samples.frames(n)
    start = time.perf_counter()
    for X, y in frames:
        model.learn_many(X, y)
    seconds = time.perf_counter() - start
    return Run(seconds, {}, np.nan, model)


def run_prequential(samples: Samples, n: int, *, make: Callable[[], DriftMoEClassifier]) -> Run:
    """The evaluator, which gives the model blocks and keeps its metrics."""
    model, stream = make(), samples.stream(n)
    start = time.perf_counter()
    checkpoints = list(prequential(stream, model, window=WINDOW, count_warm_up=True))
    seconds = time.perf_counter() - start
    sizes = np.diff([0, *(c.n_samples for c in checkpoints)])
    window_hits = np.rint([c.window["accuracy"] for c in checkpoints] * sizes).astype(int)
    return Run(seconds, {"hits": window_hits}, window_hits.sum() / n, model)


def run_pool(
    samples: Samples,
    n: int,
    *,
    make: Callable[[], TreePool],
    weights: Callable[[int], Callable[[slice], np.ndarray | None]],
) -> Run:
    """`TreePool.step` in blocks, and the hits of the trees' mean vote."""
    pool, weights_of = make(), weights(n)
    votes = np.zeros((n, len(samples.classes)))
    start = time.perf_counter()
    for rows in blocks(n):
        expert_proba = pool.step(samples.X[rows], samples.y[rows], weights_of(rows))
        expert_proba.sum(axis=1, out=votes[rows, : pool.n_classes])
    is_hit = votes.argmax(axis=1) == samples.y[:n]
    seconds = time.perf_counter() - start
    return Run(seconds, {"votes": votes}, is_hit.mean(), pool)


def run_java(samples: Samples, n: int, *, java: Java, learner: str, nominal: bool = False) -> Run:
    """CapyMOA's evaluation of one of its learners."""
    answer = java.run(learner, n, nominal=nominal)
    return Run(answer["seconds"], {}, answer["accuracy"], answer["bytes"])


def all_learn(n: int) -> Callable[[slice], None]:
    """Every tree learns every sample once."""
    return lambda rows: None


def top_k_learn(n: int, n_experts: int = N_EXPERTS) -> Callable[[slice], np.ndarray]:
    """Some trees learn each sample, drawn beforehand in the place of a router."""
    draws = np.random.default_rng(1).random((n, n_experts))
    chosen = (draws.argsort(axis=1) < TOP_K).astype(float)
    return lambda rows: chosen[rows]


def poisson_learn(n: int) -> Callable[[slice], np.ndarray]:
    """Every tree learns each sample with a weight from Poisson(6), drawn in the run, as adaptive random forests do."""
    rng = np.random.default_rng(1)
    return lambda rows: rng.poisson(6.0, (rows.stop - rows.start, N_EXPERTS)).astype(float)


def moe(n_threads: int = 1, **arguments: Any) -> DriftMoEClassifier:
    """Return the paper's MoE-Data, on so many threads."""
    return DriftMoEClassifier("moe-data", n_threads=n_threads, seed=1, **arguments)


def adaptive() -> DriftMoEClassifier:
    """Return the adaptive variant, on one thread."""
    return DriftMoEClassifier(seed=1)


def hits(is_hit: np.ndarray) -> np.ndarray:
    """Count the hits in each window."""
    return np.add.reduceat(is_hit.astype(int), range(0, len(is_hit), WINDOW))


def as_array(probas: list[dict[Any, float]], classes: list[Any]) -> np.ndarray:
    """Probabilities in the order of the classes, 0 for one that is not named."""
    return np.array([[proba.get(label, 0.0) for label in classes] for proba in probas])


ADAPTIVE = {"grace_period": 50, "delta": 0.01, "warning_delta": 0.01, "drift_delta": 0.001}


def cases(many: int, few: int, fewest: int, java: Java | None = None) -> list[Case]:
    """Everything that is compared and timed, with `many`, `few` or the `fewest` samples."""

    def pool(weights: Any, n_experts: int = N_EXPERTS, **arguments: Any) -> Callable[[Samples, int], Run]:
        return partial(run_pool, make=partial(TreePool, n_experts, **arguments), weights=weights)

    def nominal_tree(samples: Samples, n: int) -> Run:
        make = partial(TreePool, 1, nominal=range(samples.X.shape[1]))
        return run_pool(samples, n, make=make, weights=all_learn)

    on_dicts, evaluated = partial(run_dicts, make=moe), partial(run_prequential, make=moe)
    table = [
        Case("river: tree, dicts", few, partial(run_votes, make=tree.HoeffdingTreeClassifier), "tree"),
        Case("our tree, dicts", few, partial(run_votes, make=HoeffdingTreeClassifier), "tree"),
        Case("our tree, blocks, few", few, pool(all_learn, 1), "tree"),
        Case("our tree, blocks", many, pool(all_learn, 1), "tree"),
        Case("pool, top 3 learn", many, pool(top_k_learn), "pool"),
        Case("pool, top 3 learn, 2 threads", many, pool(top_k_learn, n_threads=2), "pool"),
        Case("pool, all Poisson(6)", many, pool(poisson_learn), "poisson"),
        Case("pool, all Poisson(6), 2 threads", many, pool(poisson_learn, n_threads=2), "poisson"),
        Case("adaptive pool", many, pool(poisson_learn, **ADAPTIVE), "adaptive"),
        Case("adaptive pool, 2 threads", many, pool(poisson_learn, **ADAPTIVE, n_threads=2), "adaptive"),
        Case("moe-data: predict_one, learn_one", few, on_dicts, "moe"),
        Case("moe-data: learn_many", many, partial(run_frames, make=moe), "moe"),
        Case("moe-data: prequential", many, evaluated, "moe"),
        Case(
            "moe-data: prequential, 2 threads",
            many,
            partial(run_prequential, make=partial(moe, n_threads=2)),
            "moe",
        ),
        Case(
            "river: ARF-10, dicts",
            fewest,
            partial(run_dicts, make=partial(forest.ARFClassifier, n_models=10, seed=1)),
        ),
        Case(
            "river: SRP-10, dicts",
            fewest,
            partial(run_dicts, make=partial(ensemble.SRPClassifier, n_models=10, seed=1)),
        ),
    ]
    on_dicts = partial(run_dicts, make=adaptive)
    table += [Case("driftmoe: predict_one, learn_one", few, on_dicts, "driftmoe"), *forests(many, java)]
    if java is None:
        return table
    for learner in ("no learner", "HoeffdingTree", "SRP-10", "LevBag-10"):
        run = partial(run_java, java=java, learner=learner)
        table.append(Case(f"CapyMOA: {learner}", many, run, n_warm_up=min(many, 20_000)))
    if java.about["nominal"]:
        table.append(Case("our tree, blocks, nominal", many, nominal_tree))
        for learner in ("HoeffdingTree", "ARF-10"):
            run = partial(run_java, java=java, learner=learner, nominal=True)
            table.append(Case(f"CapyMOA: {learner}, nominal", many, run, n_warm_up=min(many, 20_000)))
    return table


def forests(many: int, java: Java | None, mark: str = "") -> list[Case]:
    """The adaptive variant beside CapyMOA's forests; the large one, and what it is compared with, sees a tenth."""
    tenth, run = many // 10, partial(run_prequential, make=adaptive)
    table = [
        Case(f"driftmoe: prequential{mark}", many, run, f"driftmoe{mark}"),
        Case(f"driftmoe: prequential, a tenth{mark}", tenth, run),
    ]
    for learner, n in (("ARF-10", many), ("ARF-100", tenth)) if java is not None else ():
        run = partial(run_java, java=java, learner=learner)
        table.append(Case(f"CapyMOA: {learner}{mark}", n, run, n_warm_up=min(n, 20_000)))
    return table


@dataclass(frozen=True)
class Goal:
    """A ratio of the seconds of two cases that see equally many samples."""

    what: str
    slower: str
    faster: str
    at_least: float


GOALS = [
    Goal("moe-data, evaluator / CapyMOA's single tree", "CapyMOA: HoeffdingTree", "moe-data: prequential", 1.5),
    Goal("moe-data, evaluator / CapyMOA's ARF-10", "CapyMOA: ARF-10", "moe-data: prequential", 15),
    Goal("the same, nominal / CapyMOA's single tree", "CapyMOA: HoeffdingTree, nominal", "moe-data: prequential", 1.5),
    Goal("the same, nominal / CapyMOA's ARF-10", "CapyMOA: ARF-10, nominal", "moe-data: prequential", 15),
    Goal("moe-data, two threads / one", "moe-data: prequential", "moe-data: prequential, 2 threads", 1.3),
    Goal("our tree, blocks / CapyMOA's", "CapyMOA: HoeffdingTree", "our tree, blocks", 10),
    Goal("the same, nominal", "CapyMOA: HoeffdingTree, nominal", "our tree, blocks, nominal", 10),
    Goal("our tree, blocks / river's", "river: tree, dicts", "our tree, blocks, few", 200),
    Goal("moe-data on dicts / river's single tree", "river: tree, dicts", "moe-data: predict_one, learn_one", 5),
    Goal("adaptive pool / CapyMOA's ARF-10", "CapyMOA: ARF-10", "adaptive pool", 4),
    Goal("driftmoe, evaluator / CapyMOA's ARF-10", "CapyMOA: ARF-10", "driftmoe: prequential", 3),
    Goal("driftmoe, evaluator / CapyMOA's ARF-100", "CapyMOA: ARF-100", "driftmoe: prequential, a tenth", 20),
    Goal("the same, second stream / ARF-10", "CapyMOA: ARF-10, second", "driftmoe: prequential, second", 3),
    Goal("the same / ARF-100", "CapyMOA: ARF-100, second", "driftmoe: prequential, a tenth, second", 20),
]  # fmt: skip

SECOND = ", second"
"""Mark of the cases on the second stream."""


# --- check, then time ------------------------------------------------------------------------------------------------


def check(table: list[Case], samples: Samples, n: int, tick: Callable[[str], None]) -> None:
    """Run every case on a few samples, which also warms it up; raise unless those that are the same answer alike."""
    first: dict[str, tuple[Case, Run]] = {}
    for case in table:
        tick(f"check, {case.name}")
        run = case.run(samples, case.n_warm_up or min(n, case.n_samples))
        if case.same:
            other, expected = first.setdefault(case.same, (case, run))
            pairs = {"probabilities when all is learnt": (run.proba(samples), expected.proba(samples))}
            for name in run.answers.keys() & expected.answers.keys():
                pairs[name] = run.answers[name], expected.answers[name]
            for name, (actual, desired) in pairs.items():
                np.testing.assert_allclose(
                    actual, desired, rtol=0.0, atol=1e-9, err_msg=f"{name}: {case.name!r} and {other.name!r}"
                )


def measure(
    table: list[Case], samples: Samples, n_repeats: int, tick: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return a line per case: the median and the range of its repeats, which take turns."""
    seconds: dict[str, list[float]] = {case.name: [] for case in table}
    runs: dict[str, Run] = {}
    for _ in range(n_repeats):
        for case in table:
            tick(case.name)
            taken = []
            while sum(taken) < SHORTEST:
                runs[case.name] = case.run(samples, case.n_samples)
                taken.append(runs[case.name].seconds)
            seconds[case.name].append(sum(taken) / len(taken))
    lines = []
    for case in table:
        us, run = [s / case.n_samples * 1e6 for s in seconds[case.name]], runs[case.name]
        lines.append({
            "what": case.name, "n_samples": case.n_samples, "us_per_sample": round(median(us), 3),
            "fastest": round(min(us), 3), "slowest": round(max(us), 3), "samples_per_s": round(1e6 / median(us)),
            "accuracy": None if np.isnan(run.accuracy) else round(float(run.accuracy), 4),
            "model_mb": round(run.n_bytes / 1e6, 3),
        })  # fmt: skip
    return lines


PARTS: list[tuple[Any, str, str]] = [
    (Encoder, "target", "encode"),
    (Encoder, "known_vector", "encode"),
    (DriftMoEClassifier, "_block_rows", "encode"),
    (Encoder, "inputs", "encode"),
    (Encoder, "scaled", "encode"),
    (Router, "logits", "router forward"),
    (CoTraining, "_choose", "routing"),
    (TreePool, "n_rows_with_room", "pool, predict and learn"),
    (TreePool, "plan", "pool, predict and learn"),
    (steps, "step", "pool, predict and learn"),
    (cotraining, "correctness", "mask"),
    (cotraining, "mix", "mix"),
    (adaptive_mixture, "mix", "mix"),
    (network, "descend", "router step"),
    (neighbours, "nearest", "neighbours, predict and learn"),
    (history, "follow", "label history"),
    (linear, "regress", "linear models"),
    (perceptron, "perceive", "network"),
    (adaptive_mixture, "poisson", "Poisson draws"),
    (adaptive_mixture, "gate", "gate"),
]
"""Owner, function, and the part of a sample's life that it is; none is called by another.

A step is planned and then carried out: what parts compute is in their kernels, whichever of the two calls them.
"""

REST = "rest: labels, loop, metrics"


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Yield the seconds that each part takes while the context lasts."""
    seconds = dict.fromkeys([part for _, _, part in PARTS], 0.0)

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            answer = function(*arguments, **named)
            seconds[part] += time.perf_counter() - start
            return answer

        return call

    with ExitStack() as patches:
        for owner, name, part in PARTS:
            patches.enter_context(patch.object(owner, name, timed(getattr(owner, name), part)))
        yield seconds


def parts(samples: Samples, case: Case, n_repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Return the µs of a sample by part, medians of repeats; the clock itself adds up to 0.2 µs to each call."""
    taken: dict[str, list[float]] = {}
    for _ in range(n_repeats):
        tick(f"parts, {case.name}")
        with stopwatch() as seconds:
            total = case.run(samples, case.n_samples).seconds
            seconds[REST] = total - sum(seconds.values())
        for part, s in seconds.items():
            taken.setdefault(part, []).append(s / case.n_samples * 1e6)
    by_part = {part: round(median(us), 3) for part, us in taken.items()}
    return {"what": case.name, "us_by_part": by_part}


# --- memory and start-up ---------------------------------------------------------------------------------------------


MEASURED_FOR_MEMORY = (
    "river: tree, dicts",
    "our tree, blocks",
    "pool, top 3 learn",
    "adaptive pool",
    "moe-data: prequential",
)


def peak_mb(name: str, stream: Stream, sizes: tuple[int, int, int]) -> float:
    """Run a case, if one is named, in this process; return the most memory the process ever had."""
    samples = Samples(stream, sizes[0])
    for case in cases(*sizes):
        if case.name == name:
            case.run(samples, case.n_samples)
    if (status := Path("/proc/self/status")).exists():  # Linux would count what the parent had in ru_maxrss
        (peak,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(peak.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def memory(stream: Stream, sizes: tuple[int, int, int], tick: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return the peak memory of fresh processes: one that holds imports and samples only, and one per model."""
    lines = []
    for name in ("", *MEASURED_FOR_MEMORY):
        tick(f"memory, {name}")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            peak = process.submit(peak_mb, name, stream, sizes).result()
        lines.append({"what": name or "imports and samples only", "peak_mb": round(peak, 1)})
    return lines


FIRST_USE = """
import time; start = time.perf_counter()
import driftmoe
model = driftmoe.DriftMoEClassifier(); model.learn_one({"a": 1.0, "b": 2.0}, 0); model.predict_one({"a": 1.0, "b": 2.0})
print(time.perf_counter() - start)
"""
TORCH_ALONE = "import time; start = time.perf_counter(); import torch; print(time.perf_counter() - start)"


def start_up(n_repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Return the seconds from `import driftmoe` to the first prediction, in fresh processes, beside `import torch`."""

    def seconds(program: str) -> float:
        tick("start-up")
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    with tempfile.TemporaryDirectory() as cache:
        seconds(TORCH_ALONE)  # brings its files into memory
        first_ever = seconds(FIRST_USE)
        later = [(seconds(TORCH_ALONE), seconds(FIRST_USE)) for _ in range(n_repeats)]
    torch_alone, cached = (round(median(column), 2) for column in zip(*later, strict=True))
    return {
        "what": "start-up",
        "first_ever_s": round(first_ever, 2),
        "cached_s": cached,
        "import_torch_s": torch_alone,
    }


# --- growth ----------------------------------------------------------------------------------------------------------


SCALES = {
    "experts": [1, 2, 4, 8, 16, 32, 64, 128],
    "features": [4, 8, 16, 32, 64, 128, 256, 512],
    "classes": [2, 5, 10, 20, 50, 100],
    "samples": [10_000, 30_000, 100_000, 300_000, 1_000_000],
}
BASE = {"experts": 12, "features": 24, "classes": 10, "samples": 20_000}
"""What the others are while one grows."""


def scaling(
    scales: dict[str, list[int]], sizes: dict[str, int], n_repeats: int, tick: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the cost of a sample as one size after the other grows, on RandomRBF; medians of repeats in turns."""
    lines = []
    for what, values in scales.items():
        for value in values:
            at = sizes | {what: value}
            stream = RandomRBF(
                n_classes=at["classes"],
                n_features=at["features"],
                n_centroids=max(50, 3 * at["classes"]),
                seed=1,
            )
            samples, n, n_experts = Samples(stream, at["samples"]), at["samples"], at["experts"]
            make = partial(moe, n_experts=n_experts, top_k=min(TOP_K, n_experts))
            weights = partial(top_k_learn, n_experts=n_experts)
            table = [
                Case("moe-data", n, partial(run_prequential, make=make)),
                Case("pool", n, partial(run_pool, make=partial(TreePool, n_experts), weights=weights)),
                Case("tree", n, partial(run_pool, make=TreePool, weights=all_learn)),
            ]
            tick(f"{value:,} {what}")
            measured = measure(table, samples, n_repeats, lambda name: None)
            us = {line["what"]: line["us_per_sample"] for line in measured}
            lines.append({"grows": what, **at, "us_per_sample": us})
    return lines


def print_growth(lines: list[dict[str, Any]]) -> None:
    """Print the costs as a table, each with its exponent since the row above."""
    models = list(lines[0]["us_per_sample"])
    print(f"{'µs a sample, and the power by which it grew':<44}" + "".join(f"{m:>20}" for m in models))
    for before, line in zip([None, *lines], lines, strict=False):
        what = line["grows"]
        cells = []
        for model in models:
            us, power = line["us_per_sample"][model], ""
            if before is not None and before["grows"] == what:
                power = np.log(us / before["us_per_sample"][model]) / np.log(line[what] / before[what])
                power = f"{power:+.2f}"
            cells.append(f"{us:>14.3f}{power:>6}")
        print(f"{line[what]:>12,} {what:<31}" + "".join(cells))


def draw_growth(lines: list[dict[str, Any]], file: Path) -> None:
    """Draw the costs, one log-log panel per size that grows."""
    from matplotlib.figure import Figure

    grows = list(dict.fromkeys(line["grows"] for line in lines))
    figure = Figure(figsize=(4 * len(grows), 3.6), layout="constrained")
    panels = figure.subplots(1, len(grows), sharey=True, squeeze=False)[0]
    for panel, what in zip(panels, grows, strict=True):
        of_panel = [line for line in lines if line["grows"] == what]
        for model in of_panel[0]["us_per_sample"]:
            us = [line["us_per_sample"][model] for line in of_panel]
            panel.loglog([line[what] for line in of_panel], us, marker="o", label=model)
        panel.set_xlabel(what)
        panel.grid(which="both", alpha=0.3)
    panels[0].set_ylabel("µs a sample")
    panels[0].legend()
    figure.savefig(file, dpi=120)


# --- from the command line -------------------------------------------------------------------------------------------


def start_java(python: str | None, samples: Samples) -> Java | None:
    """Start CapyMOA, or say on standard output why its learners are left out."""
    if python is None and importlib.util.find_spec("capymoa") is None:
        print("left out: CapyMOA is not installed here; --capymoa-python names an interpreter that has it")
        return None
    try:
        return Java(python or sys.executable, samples.X, samples.y, len(samples.classes))
    except (OSError, RuntimeError) as error:
        print(f"left out: {error}")
        return None


def judged(
    lines: list[dict[str, Any]], start: dict[str, Any], n_samples: int
) -> Iterable[tuple[str, float | None, str, float]]:
    """Yield each goal with what was reached: name, value (`None` where it was not measured), bound's side, bound."""
    by_name = {line["what"]: line for line in lines}
    for goal in GOALS:
        slower, faster = by_name.get(goal.slower), by_name.get(goal.faster)
        ratio = None
        if slower and faster:
            assert slower["n_samples"] == faster["n_samples"], goal
            ratio = slower["us_per_sample"] / faster["us_per_sample"]
        yield goal.what, ratio, "≥", goal.at_least
    pool, loop = bound.measure("led_a", n_samples, 3)
    yield "pool / straight-line naive Bayes", pool / loop, "≤", 4.0
    yield "start-up: first ever, s", start["first_ever_s"], "≤", 10.0
    yield "start-up: later, s above import torch", start["cached_s"] - start["import_torch_s"], "≤", 0.5


def report(options: argparse.Namespace, stream: Stream, tick: Callable[[str], None]) -> list[dict[str, Any]]:
    """Check, time and print all cases; return the result lines."""
    sizes = options.samples, min(options.few, options.samples), min(options.fewest, options.samples)
    samples = Samples(stream, options.samples)
    second = Samples(streams.make(options.second, options.seed, options.samples), options.samples)
    lines: list[dict[str, Any]] = []
    for of, make in ((samples, partial(cases, *sizes)), (second, partial(forests, sizes[0], mark=SECOND))):
        java = start_java(options.capymoa_python, of)
        table = make(java=java)
        try:
            check(table, of, sizes[1], tick)
            lines += measure(table, of, options.repeats, tick)
        finally:
            if java is not None:
                java.close()
    named = {case.name: case for case in cases(*sizes)}
    by_part = [
        parts(samples, named[name], options.repeats, tick)
        for model in ("moe-data", "driftmoe")
        for name in (f"{model}: prequential", f"{model}: predict_one, learn_one")
    ]
    peaks, start = memory(stream, sizes, tick), start_up(options.repeats, tick)

    print(
        f"\n{options.stream} (second: {options.second}), seed {options.seed}, "
        f"medians of {options.repeats} repeats in turns (fastest to slowest)"
    )
    print(f"{'':<36}{'samples':>8}{'µs':>11}{'':>24}{'samples/s':>12}{'accuracy':>10}{'model MB':>10}")
    for line in lines:
        spread = f"({line['fastest']:,.2f} to {line['slowest']:,.2f})"
        accuracy = "" if line["accuracy"] is None else f"{line['accuracy']:.4f}"
        print(
            f"{line['what']:<36}{line['n_samples']:>8,}{line['us_per_sample']:>11,.2f}{spread:>24}"
            f"{line['samples_per_s']:>12,}{accuracy:>10}{line['model_mb']:>10.2f}"
        )
    for line in by_part:
        print(f"\nµs by part, {line['what']}")
        for part, us in line["us_by_part"].items():
            print(f"  {part:<34}{us:>8.2f}")
    print("\npeak memory of a process, MB")
    for line in peaks:
        print(f"  {line['what']:<34}{line['peak_mb']:>8.1f}")
    print(
        f"\nstart-up to the first prediction: first ever {start['first_ever_s']:.2f} s, "
        f"later {start['cached_s']:.2f} s; import torch alone {start['import_torch_s']:.2f} s"
    )
    print("\ngoals")
    goals: list[dict[str, Any]] = []
    for what, value, side, limit in judged(lines, start, options.samples):
        is_reached = None if value is None else value >= limit if side == "≥" else value <= limit
        verdict = {None: "not measured", True: "reached", False: "NOT reached"}[is_reached]
        print(f"  {what:<46}{'' if value is None else f'{value:.2f}':>8}  {side} {limit:<6g} {verdict}")
        goals.append({"goal": what, "value": value, "bound": f"{side} {limit:g}", "reached": is_reached})
    return [*lines, *by_part, *peaks, start, *goals]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stream", default="led_a", choices=streams.names(), metavar="NAME")
    parser.add_argument(
        "--second", default="rbf_f", choices=streams.names(), metavar="NAME", help="(default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=50_000, help="for most (default: %(default)s)")
    parser.add_argument(
        "--few", type=int, default=5_000, help="samples on dictionaries (default: %(default)s)"
    )
    parser.add_argument(
        "--fewest", type=int, default=500, help="for river's ensembles (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--scaling", action="store_true", help="how cost grows with each size, instead of the table"
    )
    parser.add_argument(
        "--capymoa-python", metavar="PYTHON", help="interpreter with capymoa, if not this one"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write lines of JSON as well")
    options = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):  # libraries read these when they are imported
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]], os.environ | ONE_THREAD
        )
    torch.set_num_threads(1)

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def tick(what: str) -> None:
            progress.update(task, description=what, advance=1)

        if options.scaling:
            lines = scaling(SCALES, BASE, options.repeats, tick)
        else:
            lines = report(options, streams.make(options.stream, options.seed, options.samples), tick)
    if options.scaling:
        print_growth(lines)
        if options.out is not None:
            draw_growth(lines, options.out.with_suffix(".png"))
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    about = machine | {"repeats": options.repeats}
    if not options.scaling:
        about |= {"stream": options.stream, "second": options.second, "seed": options.seed}
    write_lines([about | line for line in lines], options.out)


if __name__ == "__main__":
    main()
