"""How good the decisions of a model were lately: what they cost, and whether sets of labels held the true one."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from driftmoe.metrics import MeanCost
from driftmoe.service.scores import Answer

COVERAGE = 0.9
"""Coverage of the sets of labels whose size is shown."""

N_CHOICES = 1_000
"""Number of scored answers in the window of costs and sets."""


class Choices:
    """How good the decisions of a model were lately, for people to look at: mean cost, and sets of labels.

    It is not kept in the store, and begins anew when the worker does.

    Parameters
    ----------
    model
        A classifier. One without `decision_costs` has no costs, one without `set_threshold` no sets.
    """

    def __init__(self, model: Any) -> None:
        self._threshold_of = getattr(model, "set_threshold", None)
        costs = getattr(model, "decision_costs", None)
        self._cost = None if costs is None else MeanCost(costs)
        self._threshold: float | None = None
        self._sets: deque[tuple[int, bool]] = deque(maxlen=N_CHOICES)
        self._pairs: deque[tuple[Any, Any]] = deque(maxlen=N_CHOICES)

    def add(self, answer: Answer, label: Any) -> None:
        """Add an answer whose label has come. Its set is that of the threshold of the last `look`."""
        if answer.label is None:
            return
        if self._threshold is not None:
            threshold = self._threshold
            probabilities = answer.proba.values()
            size = max(1, sum(map(threshold.__le__, probabilities)))
            p = answer.proba.get(label, 0.0)
            self._sets.append((size, p >= threshold or p == max(probabilities)))
        if self._cost is not None:
            pair = (label, answer.label)
            if len(self._pairs) == N_CHOICES:
                self._cost.revert(*self._pairs[0])
            self._pairs.append(pair)
            self._cost.update(*pair)

    def look(self) -> None:
        """Note from which probability on a label is in a set now."""
        if self._threshold_of is not None:
            self._threshold = float(self._threshold_of(COVERAGE))

    def figures(self) -> dict[str, float]:
        """Return mean cost, coverage and mean size of the sets, as far as there are any."""
        figures: dict[str, float] = {}
        if self._sets:
            sizes, are_right = zip(*self._sets, strict=True)
            figures |= {"coverage": float(np.mean(are_right)), "set_size": float(np.mean(sizes))}
        if self._pairs and self._cost is not None:
            figures["mean_cost"] = float(self._cost.get())
        return figures
