"""Pools of experts made of river classifiers: all classes in each expert, or one class per expert.

Experts see the class index, never the label itself, so that labels may be anything hashable. A pool never chooses:
it is told which experts to ask and which to teach.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from river import base

from driftmoe.encoding import Sample


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


class MulticlassExperts:
    """A fixed number of experts, each of which tells all classes apart.

    Parameters
    ----------
    prototype
        River classifier that is copied, not touched.
    n_experts
        Number of copies.
    rng
        Private source of the experts' seeds.
    """

    def __init__(self, prototype: base.Classifier, n_experts: int, rng: np.random.Generator) -> None:
        self._experts = [spawn(prototype, rng) for _ in range(n_experts)]

    def __len__(self) -> int:
        return len(self._experts)

    def predict_proba(self, sample: Sample, n_classes: int, ask: Iterable[int] | None = None) -> np.ndarray:
        """Return the class probabilities of each expert; changes nothing.

        Parameters
        ----------
        sample
            A cleaned sample.
        n_classes
            Classes known so far.
        ask
            Experts to ask, all by default.

        Returns
        -------
        expert_proba
            Shape (n_experts, n_classes). A row sums to 1, or is 0 for an expert that was not asked or has no vote yet.
        """
        expert_proba = np.zeros((len(self._experts), n_classes))
        for e in range(len(self._experts)) if ask is None else ask:
            for target, probability in _vote(self._experts[e], sample).items():
                expert_proba[e, int(target)] = probability
        total = expert_proba.sum(axis=1, keepdims=True)
        usable = np.isfinite(total) & (total > 0.0)
        return np.divide(expert_proba, total, out=np.zeros_like(expert_proba), where=usable)

    def learn(self, sample: Sample, target: int, teach: Iterable[int]) -> None:
        """Show one sample and its class index to the experts in `teach`."""
        for e in teach:
            self._experts[e].learn_one(sample, target)


class OneVsRestExperts:
    """One expert per class, which tells its class from all others; a new class brings a new expert.

    Parameters
    ----------
    prototype
        River classifier that is copied, not touched; it learns `True` and `False`.
    rng
        Private source of the experts' seeds.
    """

    def __init__(self, prototype: base.Classifier, rng: np.random.Generator) -> None:
        self._prototype = prototype
        self._rng = rng
        self._experts: list[base.Classifier] = []

    def __len__(self) -> int:
        return len(self._experts)

    def grow(self, n_classes: int) -> None:
        """Add experts until there is one per class."""
        while len(self._experts) < n_classes:
            self._experts.append(spawn(self._prototype, self._rng))

    def predict_proba(self, sample: Sample) -> np.ndarray:
        """Return each expert's probability that the sample is of its class; changes nothing.

        Returns
        -------
        own_proba
            Shape (n_classes,), values in [0, 1]; 0 for an expert that has no vote yet.
        """
        own_proba = np.zeros(len(self._experts))
        for e, expert in enumerate(self._experts):
            proba = _vote(expert, sample)
            total = sum(proba.values())
            if np.isfinite(total) and total > 0.0:
                own_proba[e] = proba.get(True, 0.0) / total
        return own_proba

    def learn(self, sample: Sample, target: int) -> None:
        """Show one sample to every expert: as its own class to one, as another class to the rest."""
        for e, expert in enumerate(self._experts):
            expert.learn_one(sample, e == target)
