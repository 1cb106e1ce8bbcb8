"""Pools of experts: Hoeffding trees in one set of arrays, or river classifiers; with all classes each, or one each.

All four answer alike. Experts see the class index, never the label itself, so that labels may be anything hashable. A
pool never chooses: it is told which experts to ask and which to teach. Trees read vectors, river classifiers read
cleaned samples, others what the router reads; `reads` says which: `"vectors"`, `"samples"` or `"inputs"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from river import base

from driftmoe.encoding import Sample
from driftmoe.trees import TreePool


def spawn(prototype: base.Classifier, rng: np.random.Generator) -> base.Classifier:
    """Return an untrained copy of a prototype; it gets its own seed wherever it, or a part of it, takes one."""
    return prototype.clone(_seeds(prototype._get_params(), rng))


def _seeds(parameters: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """New values for each `seed` among river's nested parameters: a part is (class, parameters), a step parameters."""
    seeds: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "seed":
            seeds[name] = int(rng.integers(2**31))
        elif isinstance(value, dict) and (inner := _seeds(value, rng)):
            seeds[name] = inner
        elif (
            isinstance(value, tuple)
            and len(value) == 2
            and isinstance(value[0], type)
            and (inner := _seeds(value[1], rng))
        ):
            seeds[name] = (value[0], inner)
    return seeds


def _vote(expert: base.Classifier, sample: Sample) -> dict[Any, float]:
    """Return an expert's probabilities; the whole vote for its answer if it knows no probabilities."""
    try:
        return expert.predict_proba_one(sample)
    except NotImplementedError:
        answer = expert.predict_one(sample)
        return {} if answer is None else {answer: 1.0}


class MulticlassTrees:
    """A pool of trees, each of which tells all classes apart.

    Parameters
    ----------
    pool
        Untrained trees.
    """

    reads = "vectors"

    def __init__(self, pool: TreePool) -> None:
        self.pool = pool

    @property
    def n_experts(self) -> int:
        """Number of trees."""
        return self.pool.n_experts

    def predict_proba(
        self, vectors: np.ndarray, n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the class probabilities of each expert; changes nothing.

        Parameters
        ----------
        vectors
            Shape (n_rows, n_features).
        n_classes
            Classes known so far.
        asked
            bool, shape (n_rows, n_experts): the experts whose answer will be used; all by default. The others may
            answer zeros.

        Returns
        -------
        expert_proba
            Shape (n_rows, n_experts, n_classes). A row sums to 1, or is 0 for an expert that has no vote yet.
        """
        return _widened(self.pool.predict_checked(vectors), n_classes)

    def step(
        self, vectors: np.ndarray, targets: np.ndarray, taught: np.ndarray | None, n_classes: int
    ) -> np.ndarray:
        """For each row in order, let all experts predict, then those in `taught` learn; return the predictions.

        Parameters
        ----------
        vectors
            Shape (n_rows, n_features).
        targets
            Class indices, shape (n_rows,).
        taught
            Weight of the sample for each expert, a whole number of 0 or more, or whether it learns the sample at all;
            shape (n_rows, n_experts), all once by default.
        n_classes
            Classes known so far.

        Returns
        -------
        expert_proba
            As of `predict_proba`, before each row was learnt.
        """
        shape = len(vectors), self.pool.n_experts
        weights = np.ones(shape) if taught is None else taught.astype(np.float64)
        return self.pool.step_checked(vectors, targets[:, np.newaxis], weights, n_classes)

    def declare_nominal(self, columns: Sequence[int]) -> None:
        """Say which columns of later vectors hold codes."""
        self.pool.declare_nominal([c for c in columns if c >= self.pool.n_features])


class OneVsRestTrees(MulticlassTrees):
    """A pool with a tree for each class, which tells its class (1) from all others (0); a new class brings a new tree.

    An answer is each tree's probability that the sample is of its class, shape (n_rows, n_classes); 0 where it has no
    vote yet. All trees learn every sample.
    """

    def predict_proba(
        self, vectors: np.ndarray, n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return each tree's probability that the sample is of its class; changes nothing."""
        proba = np.zeros((len(vectors), n_classes))
        proba[:, : self.pool.n_experts] = _widened(self.pool.predict_checked(vectors), 2)[:, :, 1]
        return proba

    def step(
        self, vectors: np.ndarray, targets: np.ndarray, taught: np.ndarray | None, n_classes: int
    ) -> np.ndarray:
        """For each row in order, let all trees predict, then learn; return the predictions."""
        own = (targets[:, np.newaxis] == np.arange(n_classes)).astype(np.int64)
        return _widened(self.pool.step(vectors, own, n_experts=n_classes), 2)[:, :, 1]


class MulticlassExperts:
    """A fixed number of river classifiers, each of which tells all classes apart; answers as `MulticlassTrees`.

    Parameters
    ----------
    prototype
        River classifier that is copied, not touched.
    n_experts
        Number of copies.
    rng
        Private source of the experts' seeds.
    """

    reads = "samples"

    def __init__(self, prototype: base.Classifier, n_experts: int, rng: np.random.Generator) -> None:
        self._experts = [spawn(prototype, rng) for _ in range(n_experts)]

    @property
    def n_experts(self) -> int:
        """Number of classifiers."""
        return len(self._experts)

    def predict_proba(
        self, samples: Sequence[Sample], n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the class probabilities of each expert, zeros for one that is not asked; changes nothing."""
        expert_proba = np.zeros((len(samples), len(self._experts), n_classes))
        for row, sample in enumerate(samples):
            for e, expert in enumerate(self._experts):
                if asked is None or asked[row, e]:
                    for target, probability in _vote(expert, sample).items():
                        expert_proba[row, e, int(target)] = probability
        total = expert_proba.sum(axis=2, keepdims=True)
        usable = np.isfinite(total) & (total > 0.0)
        return np.divide(expert_proba, total, out=np.zeros_like(expert_proba), where=usable)

    def step(
        self,
        samples: Sequence[Sample],
        targets: np.ndarray,
        taught: np.ndarray | None,
        n_classes: int,
        asked: np.ndarray | None = None,
    ) -> np.ndarray:
        """For each sample in order, let all experts predict, then each learn as often as `taught` says.

        Of samples that are not `asked`, bool, shape (n_rows,), the predictions are zeros.
        """
        expert_proba = np.zeros((len(samples), self.n_experts, n_classes))
        for row, sample in enumerate(samples):
            if asked is None or asked[row]:
                expert_proba[row] = self.predict_proba([sample], n_classes)[0]
            for e, expert in enumerate(self._experts):
                for _ in range(1 if taught is None else int(taught[row, e])):
                    expert.learn_one(sample, int(targets[row]))
        return expert_proba

    def declare_nominal(self, columns: Sequence[int]) -> None:
        """Do nothing: the values in a sample tell."""


class OneVsRestExperts:
    """One river classifier per class, which tells its class from all others; answers as `OneVsRestTrees`.

    Parameters
    ----------
    prototype
        River classifier that is copied, not touched; it learns `True` and `False`.
    rng
        Private source of the experts' seeds.
    """

    reads = "samples"

    def __init__(self, prototype: base.Classifier, rng: np.random.Generator) -> None:
        self._prototype = prototype
        self._rng = rng
        self._experts: list[base.Classifier] = []

    def predict_proba(
        self, samples: Sequence[Sample], n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return each expert's probability that the sample is of its class; changes nothing."""
        own_proba = np.zeros((len(samples), n_classes))
        for row, sample in enumerate(samples):
            for e, expert in enumerate(self._experts):
                proba = _vote(expert, sample)
                total = sum(proba.values())
                if np.isfinite(total) and total > 0.0:
                    own_proba[row, e] = proba.get(True, 0.0) / total
        return own_proba

    def step(
        self, samples: Sequence[Sample], targets: np.ndarray, taught: np.ndarray | None, n_classes: int
    ) -> np.ndarray:
        """For each sample in order, let all experts predict, then learn; return the predictions."""
        while len(self._experts) < n_classes:
            self._experts.append(spawn(self._prototype, self._rng))
        own_proba = []
        for row, sample in enumerate(samples):
            own_proba.append(self.predict_proba([sample], n_classes))
            for e, expert in enumerate(self._experts):
                expert.learn_one(sample, bool(e == targets[row]))
        return np.concatenate(own_proba)

    def declare_nominal(self, columns: Sequence[int]) -> None:
        """Do nothing: the values in a sample tell."""


def _widened(expert_proba: np.ndarray, n_classes: int) -> np.ndarray:
    """Add zeros for classes that no expert has seen."""
    missing = n_classes - expert_proba.shape[-1]
    return expert_proba if missing <= 0 else np.pad(expert_proba, ((0, 0), (0, 0), (0, missing)))
