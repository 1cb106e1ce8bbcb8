"""Ways to predict and then learn a number of samples, and the models that do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from river import base

from benchmarks.moa_speed import WINDOW, Java
from benchmarks.speed.samples import Samples, blocks
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.trees import TreePool

N_EXPERTS, TOP_K = 12, 3

DELAY = 500
"""Samples between a sample and its label, where labels come late."""

N_PROBES = 200
"""Samples whose probabilities are compared after learning."""


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


def run_dicts(samples: Samples, n: int, *, make: Callable[[], base.Classifier]) -> Run:
    """`predict_one`, then `learn_one`, for each dictionary."""
    model = make()
    predicted, seconds = one_by_one(samples, n, model, model.predict_one)
    targets = {label: i for i, label in enumerate(samples.classes)}
    labels = np.array([targets.get(label, -1) for label in predicted])
    is_hit = labels == samples.y[:n]
    return Run(seconds, {"labels": labels, "hits": hits(is_hit)}, is_hit.mean(), model)


def run_votes(samples: Samples, n: int, *, make: Callable[[], base.Classifier]) -> Run:
    """`predict_proba_one`, then `learn_one`, for each dictionary: two trees may settle a tie in their own ways."""
    model = make()
    predicted, seconds = one_by_one(samples, n, model, model.predict_proba_one)
    votes = as_array(predicted, samples.classes)
    return Run(seconds, {"votes": votes}, np.mean(votes.argmax(axis=1) == samples.y[:n]), model)


def one_by_one(
    samples: Samples, n: int, model: base.Classifier, predict: Callable[[dict[Any, Any]], Any]
) -> tuple[list[Any], float]:
    """Predict, then learn, each dictionary. Return the predictions and the seconds for all of it."""
    predicted, pairs = [], samples.dicts[:n]
    start = time.perf_counter()
    for x, y in pairs:
        predicted.append(predict(x))
        model.learn_one(x, y)
    return predicted, time.perf_counter() - start


def run_frames(samples: Samples, n: int, *, make: Callable[[], DriftMoEClassifier]) -> Run:
    """`learn_many` on frames; predicts nothing."""
    model, frames = make(), samples.frames(n)
    start = time.perf_counter()
    for X, y in frames:
        model.learn_many(X, y)
    seconds = time.perf_counter() - start
    return Run(seconds, {}, np.nan, model)


def run_prequential(
    samples: Samples, n: int, *, make: Callable[[], DriftMoEClassifier], **protocol: Any
) -> Run:
    """The evaluator, which gives the model blocks and keeps its metrics; `protocol` may say that labels come late."""
    model, stream = make(), samples.stream(n)
    start = time.perf_counter()
    checkpoints = list(prequential(stream, model, window=WINDOW, count_warm_up=True, **protocol))
    seconds = time.perf_counter() - start
    sizes = np.diff([0, *(c.n_samples for c in checkpoints)])
    window_hits = np.rint([c.window["accuracy"] for c in checkpoints] * sizes).astype(int)
    return Run(seconds, {"hits": window_hits}, window_hits.sum() / n, model)


def run_late(samples: Samples, n: int, *, make: Callable[[], DriftMoEClassifier]) -> Run:
    """`arrive_one` for each dictionary, then `learn_one` for the one that came `DELAY` samples before."""
    model, waiting = make(), list(samples.dicts[:n])
    predicted = []
    start = time.perf_counter()
    for i, (x, _) in enumerate(waiting):
        predicted.append(model.decide_one(model.arrive_one(x)))
        if i >= DELAY:
            model.learn_one(*waiting[i - DELAY])
    seconds = time.perf_counter() - start
    is_hit = np.array([label == y for label, (_, y) in zip(predicted, waiting, strict=True)])
    return Run(seconds, {"hits": hits(is_hit)}, is_hit.mean(), model)


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


def adaptive(**arguments: Any) -> DriftMoEClassifier:
    """Return the adaptive variant, on one thread unless told otherwise."""
    return DriftMoEClassifier(seed=1, **arguments)


def hits(is_hit: np.ndarray) -> np.ndarray:
    """Count the hits in each window."""
    return np.add.reduceat(is_hit.astype(int), range(0, len(is_hit), WINDOW))


def as_array(probas: list[dict[Any, float]], classes: list[Any]) -> np.ndarray:
    """Probabilities in the order of the classes, 0 for one that is not named."""
    return np.array([[proba.get(label, 0.0) for label in classes] for proba in probas])
