"""Costs of decisions: what each wrong answer costs, and how much an answer spares."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

MAX_COST = 1e15
"""Greatest cost, as the greatest weight of a sample."""


class DecisionCosts:
    """The cost of each answer, by the true label.

    Parameters
    ----------
    costs
        {true label: cost of any other answer}, or {(true label, answer): cost}. Without an entry a right answer costs 0
        and a wrong one 1. A tuple always stands for a pair, so that labels that are tuples need pairs.
    name
        What errors call the costs.

    Raises
    ------
    TypeError
        If `costs` is no dict, or a cost is no number.
    ValueError
        If there are no costs, labels and pairs are mixed, a tuple is no pair, a label is missing (`None` or NaN), or a
        cost is not in [0, 1e15].

    References
    ----------
    Elkan (2001). The foundations of cost-sensitive learning. IJCAI.

    Examples
    --------
    >>> from driftmoe.costs import DecisionCosts
    >>> costs = DecisionCosts({"fraud": 10})
    >>> costs.of("fraud", "fine"), costs.of("fine", "fraud"), costs.of("fraud", "fraud")
    (10.0, 1.0, 0.0)
    """

    def __init__(self, costs: Mapping[Any, float], name: str = "decision_costs") -> None:
        check_costs(name, costs)
        self._given = {label: float(cost) for label, cost in costs.items()}
        self._is_of_pairs = isinstance(next(iter(costs)), tuple)
        self._kept: tuple[list[Hashable], np.ndarray] = ([], np.empty((0, 0)))

    def __reduce__(self) -> Any:
        return DecisionCosts, (dict(self._given),)

    def of(self, y_true: Hashable, y_pred: Hashable) -> float:
        """Return the cost of an answer. `None`, which is no answer, costs as much as a wrong label without an entry."""
        if self._is_of_pairs:
            return self._given.get((y_true, y_pred), float(y_true != y_pred))
        return 0.0 if y_true == y_pred else self._given.get(y_true, 1.0)

    def mean(self, pairs: Mapping[tuple[Hashable, Hashable], float]) -> float:
        """Return the mean cost of predictions: {(true label, prediction): weight}; 0 if there are none."""
        total = sum(pairs.values())
        return sum(w * self.of(*pair) for pair, w in pairs.items()) / total if total else 0.0

    def gains(self, classes: Sequence[Hashable]) -> np.ndarray:
        """Return what each answer spares, compared with the most costly answer to the same true class.

        The answer that spares most on average costs least on average. Unlike the sums of costs, those of what is spared
        have a single term if only missing a class costs, so that equal costs choose the most probable class exactly.

        Parameters
        ----------
        classes
            Labels, in the order of the model.

        Returns
        -------
        gains
            Shape (n_true, n_answers), 0 or more. If the costs are of labels, only the diagonal: shape (1, n_answers).
            Do not change it: it is kept until there are other classes.

        Notes
        -----
        Threads may ask at the same time, each for classes of its own: classes and gains are kept as one tuple.
        """
        kept, gains = self._kept
        if kept == classes:
            return gains
        classes = list(classes)
        if self._is_of_pairs:
            costs = 1.0 - np.eye(len(classes))
            places = {label: i for i, label in enumerate(classes)}
            for (true, said), cost in self._given.items():
                if true in places and said in places:
                    costs[places[true], places[said]] = cost
            gains = costs.max(axis=1, keepdims=True, initial=0.0) - costs
        else:
            gains = np.array([[self._given.get(label, 1.0) for label in classes]])
        self._kept = classes, gains
        return gains


def check_costs(name: str, costs: Any) -> None:
    """Raise TypeError or ValueError unless costs can be given to `DecisionCosts`."""
    example = "{'fraud': 10}, or of pairs (true label, answer), as in {('fraud', 'fine'): 10}"
    if not isinstance(costs, dict):
        raise TypeError(
            f"{name}={reprlib.repr(costs)} is of type {type(costs).__name__}; give a dict of labels, as in {example}"
        )
    if not costs:
        raise ValueError(f"{name} is empty; name a label, as in {example}, or leave it out")
    if len({isinstance(key, tuple) for key in costs}) > 1:
        raise ValueError(
            f"{name}={reprlib.repr(costs)} mixes labels and pairs; give costs of labels, or of pairs (true label, "
            "answer)"
        )
    for key, cost in costs.items():
        if isinstance(key, tuple) and len(key) != 2:
            raise ValueError(
                f"{name} has the key {key!r}; a tuple stands for a pair (true label, answer), also if labels are tuples"
            )
        for label in key if isinstance(key, tuple) else (key,):
            if label is None or label != label:  # NaN
                raise ValueError(f"{name} has the key {key!r}, but no sample has the label {label!r}")
        if not isinstance(cost, int | float | np.integer | np.floating) or isinstance(cost, bool):
            raise TypeError(
                f"{name} has the cost {reprlib.repr(cost)} for {key!r}; give a number from 0 to {MAX_COST:.0e}"
            )
        if not 0.0 <= cost <= MAX_COST:
            raise ValueError(
                f"{name} has the cost {reprlib.repr(cost)} for {key!r}; choose 0 <= cost <= {MAX_COST:.0e}"
            )
