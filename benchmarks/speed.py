"""Measure what a sample costs our trees, the pool and DriftMoE, beside river's and CapyMOA's learners.

    python -m benchmarks.speed                                     the table, the goals: some five minutes
    python -m benchmarks.speed --capymoa-python OTHER/bin/python   with CapyMOA, where it is installed elsewhere
    python -m benchmarks.speed --stream rbf_f --repeats 5 --out speed_rbf_f.jsonl
    python -m benchmarks.speed --scaling --out benchmarks/results/speed_scaling.jsonl   and a picture beside it

Everything runs on the same samples in the same run, on one thread unless a line says two. A case is a way to predict and
then learn a number of samples. Methods that are the same by another way must first give the same answers: our tree and
river's, on dictionaries and in blocks; DriftMoE sample by sample, by frames and in the evaluator; one and two threads.
Then repeats take turns, so that a busy machine is busy for all, and the medians are printed with their ratios.

*What is timed* is predicting and learning by the calls that users make, from an untrained model on. For `prequential`
it is all of it, its metrics included, and so it is for CapyMOA, whose loop stays inside Java; pools in blocks of 256
count the hits of their vote. Making samples, dictionaries, frames and models is not timed: the samples lie in memory on
both sides. Peers have their defaults, except that CapyMOA's Hoeffding tree has the settings of ours; features are
numbers for all, unless a line says nominal. Learners that would take too long see fewer of the samples; a ratio is
always of equally many. Java runs each case once before its time counts, and its compiler and collector have threads of
their own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
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
from dataclasses import dataclass, field
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
from benchmarks.moa_parity import write_lines
from benchmarks.moa_speed import WINDOW, Java
from driftmoe import DriftMoEClassifier, classifier
from driftmoe.encoding import Encoder
from driftmoe.evaluation import prequential
from driftmoe.experts import MulticlassTrees
from driftmoe.router import Router
from driftmoe.trees import HoeffdingTreeClassifier, TreePool
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


# --- samples ------------------------------------------------------------------------------------------------------------


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


# --- ways to predict and learn ------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What came out of one run of a case.

    Attributes
    ----------
    seconds
        Time for all samples.
    answers
        What another way must give as well, by name: `labels` before learning each sample, `hits` in windows of 1000,
        `proba` of the first samples when all is learnt.
    accuracy
        Share of hits; NaN if nothing was predicted.
    n_bytes
        Size of the model in the end.
    """

    seconds: float
    answers: dict[str, np.ndarray] = field(default_factory=dict)
    accuracy: float = np.nan
    n_bytes: int = 0


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
    answers = {"labels": labels, "hits": hits(labels == samples.y[:n]), "proba": proba_after(samples, model)}
    return Run(seconds, answers, np.mean(labels == samples.y[:n]), model._raw_memory_usage)


def run_frames(samples: Samples, n: int, *, make: Callable[[], DriftMoEClassifier]) -> Run:
    """`learn_many` on frames; predicts nothing."""
    model, frames = make(), samples.frames(n)
    start = time.perf_counter()
    for X, y in frames:
        model.learn_many(X, y)
    seconds = time.perf_counter() - start
    return Run(seconds, {"proba": proba_after(samples, model)}, n_bytes=model._raw_memory_usage)


def run_prequential(samples: Samples, n: int, *, make: Callable[[], DriftMoEClassifier]) -> Run:
    """The evaluator, which gives the model blocks and keeps its metrics."""
    model, stream = make(), samples.stream(n)
    start = time.perf_counter()
    checkpoints = list(prequential(stream, model, window=WINDOW))
    seconds = time.perf_counter() - start
    sizes = np.diff([0, *(c.n_samples for c in checkpoints)])
    window_hits = np.rint([c.window["accuracy"] for c in checkpoints] * sizes).astype(int)
    answers = {"hits": window_hits, "proba": proba_after(samples, model)}
    return Run(seconds, answers, window_hits.sum() / n, model._raw_memory_usage)


def run_pool(
    samples: Samples,
    n: int,
    *,
    make: Callable[[], TreePool],
    weights: Callable[[int], Callable[[slice], np.ndarray | None]],
) -> Run:
    """`TreePool.step` in blocks, and the hits of the trees' mean vote."""
    pool, weights_of, labels = make(), weights(n), np.empty(n, np.int64)
    start = time.perf_counter()
    for rows in blocks(n):
        expert_proba = pool.step(samples.X[rows], samples.y[rows], weights_of(rows))
        labels[rows] = expert_proba.sum(axis=1).argmax(axis=1)
    is_hit = labels == samples.y[:n]
    seconds = time.perf_counter() - start
    labels[0], is_hit[0] = -1, False  # nothing was known
    proba = pool.predict_proba(samples.X[:N_PROBES])
    if pool.n_experts == 1:
        proba = np.pad(proba[:, 0], ((0, 0), (0, len(samples.classes) - pool.n_classes)))
    answers = {"labels": labels, "hits": hits(is_hit), "proba": proba}
    return Run(seconds, answers, is_hit.mean(), pool.n_bytes)


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
    """Return the paper's MoE-Data, with its trees on so many threads."""
    model = DriftMoEClassifier("moe-data", seed=1, **arguments)
    model._experts.pool.n_threads = n_threads  # type: ignore[union-attr]  # no argument of the classifier yet
    return model


def hits(is_hit: np.ndarray) -> np.ndarray:
    """Count the hits in each window."""
    return np.add.reduceat(is_hit.astype(int), range(0, len(is_hit), WINDOW))


def proba_after(samples: Samples, model: base.Classifier) -> np.ndarray:
    """What a model says of the first samples when it has learnt, a column for each class."""
    rows = [model.predict_proba_one(x) for x, _ in samples.dicts[:N_PROBES]]
    return np.array([[row.get(label, 0.0) for label in samples.classes] for row in rows])


TREE = "our tree"
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
        Case("river: tree, dicts", few, partial(run_dicts, make=tree.HoeffdingTreeClassifier), "tree"),
        Case("our tree, dicts", few, partial(run_dicts, make=HoeffdingTreeClassifier), "tree"),
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
    if java is None:
        return table
    for learner in ("no learner", "HoeffdingTree", "ARF-10", "SRP-10", "LevBag-10", "ARF-100"):
        n = many // 10 if learner == "ARF-100" else many
        run = partial(run_java, java=java, learner=learner)
        table.append(Case(f"CapyMOA: {learner}", n, run, n_warm_up=min(n, 20_000)))
    if java.about["nominal"]:
        table.append(Case("our tree, blocks, nominal", many, nominal_tree))
        for learner in ("HoeffdingTree", "ARF-10"):
            run = partial(run_java, java=java, learner=learner, nominal=True)
            table.append(Case(f"CapyMOA: {learner}, nominal", many, run, n_warm_up=min(many, 20_000)))
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
]  # fmt: skip
