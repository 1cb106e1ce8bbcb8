"""Answers from class probabilities: the class of least expected cost."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from driftmoe.costs import DecisionCosts
from driftmoe.mixture.mixing import most_gain


class Decisions:
    """A classifier that chooses classes by its probabilities."""

    _costs: DecisionCosts | None = None
    """Costs by which a class is chosen; `None` for the most probable one."""

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:
        """Return the probability of each class learnt so far."""
        raise NotImplementedError

    def predict_one(self, x: Mapping[Any, Any]) -> Any:
        """Return the most probable class, or with `decision_costs` that of least expected cost.

        Ties go to the class learnt first. Before the first `learn_one` the answer is `None`.
        """
        proba = self.predict_proba_one(x)
        if not proba or self._costs is None:
            return max(proba, key=proba.__getitem__) if proba else None
        classes = list(proba)
        return classes[self._chosen(np.array([list(proba.values())]), classes)[0]]

    def _chosen(self, proba: np.ndarray, classes: Sequence[Hashable]) -> np.ndarray:
        """Return the index of the class chosen for each row, by probabilities of shape (n_rows, n_classes)."""
        if self._costs is None:
            return proba.argmax(axis=1)
        chosen = np.empty(len(proba), np.int64)
        most_gain(proba, self._costs.gains(classes), chosen)
        return chosen
