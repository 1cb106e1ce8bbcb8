"""Weights of classes: rare classes count more, in what is learnt and in what is answered.

The weight w of a class acts in halves. Its samples are learnt with sqrt(w) times their weight, and its probability is
multiplied by sqrt(w); together the answers are those of a stream in which the class came w times as often. Learning
alone with w makes experts that have seen few samples of a class too sure of it. Multiplying alone leaves the gate with
experts that were only right about frequent classes. `benchmarks.rare` has the measurements.
"""

from __future__ import annotations

import copy
import math
import reprlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from driftmoe.compilation import compiled
from driftmoe.state import State, array_of, check_names, misfit
from driftmoe.transaction import Changes, StepPlan, planned

BALANCED = "balanced"
"""The class weight by which all classes count the same."""

FADING = 1.0 - 1.0 / 2000.0
"""Decay factor per sample of the counts of classes: they cover about the last 2000 samples."""

LEAST, MOST = 1e-6, 1e6
"""Bounds of a given weight."""

MOST_LEARNT = 1e15
"""Greatest weight with which a sample is learnt."""


class ClassWeights:
    """The weight of each class: given, or learnt from how frequent the classes have been lately.

    Parameters
    ----------
    given
        `"balanced"`, or {label: weight}. A label that is left out has the weight 1.

    Notes
    -----
    The balanced weight of a class is n / (k · n_c), as in scikit-learn: n_c is the number of its samples, and n that of
    all samples of the k classes seen so far. All numbers are faded, and each n_c is 1 higher than what was counted. A
    class that has not been seen has the weight 1. Samples are counted, not their weights.

    References
    ----------
    King and Zeng (2001). Logistic regression in rare events data. Political Analysis 9.

    Examples
    --------
    >>> from driftmoe.class_weights import ClassWeights
    >>> ClassWeights({"fraud": 9.0}).of(["fine", "fraud"])
    [1.0, 9.0]
    """

    def __init__(self, given: str | Mapping[Hashable, float]) -> None:
        self._given = given if isinstance(given, str) else dict(given)
        self._counts = np.zeros(0)
        self._classes: list[Hashable] = []  # those of whose given weights there is an array
        self._of_classes = np.zeros(0)

    def fresh(self) -> ClassWeights:
        """Return the weights before anything is learnt."""
        return ClassWeights(self._given)

    def of(self, classes: Sequence[Hashable]) -> list[float]:
        """Return the weight of each class now.

        Parameters
        ----------
        classes
            Labels, in the order of the model.
        """
        weights = np.empty(len(classes))
        weights_now(self._counts, self._given_of(classes), weights)
        return weights.tolist()

    def learnt_with(
        self, targets: np.ndarray, weights: np.ndarray, classes: Sequence[Hashable]
    ) -> np.ndarray:
        """Return the weights with which rows will be learnt; see `plan`."""
        learnt, factors = np.empty(len(weights)), np.empty((len(weights), len(classes)))
        weigh(targets, weights, self._counts, self._given_of(classes), learnt, factors)
        return learnt

    def plan(
        self, targets: np.ndarray, weights: np.ndarray, classes: Sequence[Hashable], plan: StepPlan
    ) -> Weighing:
        """Compute the weights of rows that are learnt in order.

        Parameters
        ----------
        targets, weights
            As in `Batch`. Rows of weight 0 are only predicted.
        classes
            Labels, in the order of the model.
        plan
            Computes them anew whenever it is carried out again.
        """
        grown = self._grown(len(classes))
        learnt, factors = np.empty(len(weights)), np.empty((len(weights), len(classes)))
        plan.compute(weigh, targets, weights, grown._counts, self._given_of(classes), learnt, factors)
        return Weighing(learnt, factors, grown, targets)

    def plan_answers(self, proba: np.ndarray, classes: Sequence[Hashable], plan: StepPlan) -> np.ndarray:
        """Compute the answers to rows that are not learnt, from the mixture's probabilities; see `reweigh`."""
        factors, answers = np.empty((len(proba), len(classes))), np.empty_like(proba)
        nobody, nothing = np.zeros(len(proba), np.int64), np.zeros(len(proba))
        given, learnt = self._given_of(classes), np.empty(len(proba))
        plan.compute(weigh, nobody, nothing, self._counts, given, learnt, factors)
        plan.compute(reweigh, proba, factors, answers)
        return answers

    def state(self) -> State:
        """Return the faded counts of the classes; see `driftmoe.state`."""
        return {"counts": self._counts.copy()}

    def restore(self, state: State) -> None:
        """Restore the state of weights that were built with the same argument; see `driftmoe.state`."""
        check_names(state, ("counts",), self)
        counts = array_of(state, "counts", np.float64, (None,), self)
        if (counts < 0.0).any():
            raise misfit(self, "counts", f"has {counts.min()}", "all must be 0 or more")
        self._counts = counts

    @property
    def n_classes(self) -> int:
        """Number of classes that have a count."""
        return len(self._counts)

    def _grown(self, n_classes: int) -> ClassWeights:
        """Return a draft with counts for new classes, or this one if there are none. Given weights need no counts."""
        if n_classes <= self.n_classes or not isinstance(self._given, str):
            return self
        draft = copy.copy(self)
        draft._counts = np.concatenate([self._counts, np.zeros(n_classes - self.n_classes)])
        return draft

    def _given_of(self, classes: Sequence[Hashable]) -> np.ndarray:
        """Return the given weight of each class, shape (n_classes,), or nothing if weights are learnt."""
        if isinstance(self._given, str):
            return _LEARNT
        if self._classes != classes:
            _check_types(self._given, classes)
            self._classes = list(classes)
            self._of_classes = np.array([float(self._given.get(label, 1.0)) for label in classes])
        return self._of_classes


class Weighing(NamedTuple):
    """Weights of the rows of a step.

    Attributes
    ----------
    weights
        Weight with which each row is learnt, 0 if it is not; shape (n_rows,).
    factors
        What multiplies the probabilities of each row, shape (n_rows, n_classes).
    grown
        Class weights with room for all classes.
    targets
        Index of the class of each row, shape (n_rows,).
    """

    weights: np.ndarray
    factors: np.ndarray
    grown: ClassWeights
    targets: np.ndarray

    def answers(self, proba: np.ndarray, changes: Changes) -> np.ndarray:
        """Plan the answers to the rows, from the mixture's probabilities before each row is learnt."""
        answers = np.empty_like(proba)
        changes.append(planned(reweigh, proba, self.factors, answers))
        return answers

    def plan_counting(self, changes: Changes) -> None:
        """Plan to count the rows that are learnt."""
        if self.grown.n_classes:
            changes.append(planned(count, self.targets, self.weights, self.grown._counts))


def check_class_weight(name: str, value: Any) -> None:
    """Raise unless `value` is `"balanced"`, a dict of weights, or `None`."""
    example = f"{BALANCED!r}, or a dict of labels, as in {{'fraud': 10}}"
    if value is None or (isinstance(value, str) and value == BALANCED):
        return
    if isinstance(value, str):
        raise ValueError(f"{name}={value!r}; choose {example}")
    if not isinstance(value, dict):
        raise TypeError(f"{name}={reprlib.repr(value)} is of type {type(value).__name__}; give {example}")
    if not value:
        raise ValueError(f"{name} is empty; name a label, or leave it out")
    for label, weight in value.items():
        if label is None or label != label:  # NaN
            raise ValueError(f"{name} has the key {label!r}, but no sample has the label {label!r}")
        if not isinstance(weight, int | float | np.integer | np.floating) or isinstance(weight, bool):
            raise TypeError(f"{name} has the weight {reprlib.repr(weight)} for {label!r}; give a number")
        if not LEAST <= weight <= MOST:
            raise ValueError(
                f"{name} has the weight {reprlib.repr(weight)} for {label!r}; choose {LEAST:g} <= weight <= {MOST:g}"
            )


def _check_types(given: Mapping[Hashable, float], classes: Sequence[Hashable]) -> None:
    """Raise if a class has a weight under the same name or number, but of another type."""
    for label in classes:
        for key in given if label not in given else ():
            if _name_of(key) == _name_of(label):
                raise TypeError(
                    f"class_weight has {key!r} of type {type(key).__name__}, but the label {label!r} is of type "
                    f"{type(label).__name__}; give the weight of {label!r}"
                )


def _name_of(label: Hashable) -> str:
    """Return what a label says: the same for 1, "1" and 1.0, and for True and "true"."""
    name = str(label).casefold()
    try:
        return str(float(name))
    except ValueError:
        return name


_LEARNT = np.empty(0)


@compiled()
def weights_now(counts, given, weights):  # type: ignore[no-untyped-def]
    """Write the weight of each class.

    Parameters
    ----------
    counts
        Faded number of samples of each class, float64, shape (any,): classes beyond have not been seen.
    given
        Weights of all classes if they are given, or empty.
    weights
        Result, shape (n_classes,).
    """
    n_seen, total = 0, 0.0
    for c in range(counts.shape[0]):
        if counts[c] > 0.0:
            n_seen += 1
            total += counts[c] + 1.0
    for c in range(weights.shape[0]):
        if given.shape[0] > 0:
            weights[c] = given[c]
        elif c < counts.shape[0] and counts[c] > 0.0:
            weights[c] = total / (n_seen * (counts[c] + 1.0))
        else:
            weights[c] = 1.0


@compiled()
def weigh(targets, weights, counts, given, learnt, factors):  # type: ignore[no-untyped-def]
    """Write with what weight each row is learnt, and what multiplies its probabilities.

    The probabilities of a row are answered before it is counted, and it is learnt after.

    Parameters
    ----------
    targets, weights
        As in `Batch`. Rows of weight 0 are not learnt, and do not count.
    counts, given
        As in `weights_now`; not changed.
    learnt
        Result: the weight of each row times the square root of the weight of its class, shape (n_rows,).
    factors
        Result: square roots of the weights of the classes, shape (n_rows, n_classes).
    """
    counted = counts.copy()
    now = np.empty(factors.shape[1])
    for row in range(weights.shape[0]):
        weights_now(counted, given, now)
        for c in range(now.shape[0]):
            factors[row, c] = math.sqrt(now[c])
        learnt[row] = 0.0
        if weights[row] > 0.0:
            count(targets[row : row + 1], weights[row : row + 1], counted)
            weights_now(counted, given, now)
            learnt[row] = min(weights[row] * math.sqrt(now[targets[row]]), MOST_LEARNT)


@compiled()
def count(targets, weights, counts):  # type: ignore[no-untyped-def]
    """Count the classes of rows whose weight is above 0; earlier counts fade. `targets`, `weights` as in `Batch`."""
    for row in range(targets.shape[0]):
        if weights[row] > 0.0 and targets[row] < counts.shape[0]:
            for c in range(counts.shape[0]):
                counts[c] *= FADING
            counts[targets[row]] += 1.0


@compiled()
def reweigh(proba, factors, answers):  # type: ignore[no-untyped-def]
    """Write the probabilities times the factors of their classes, divided by their sum; shape (n_rows, n_classes)."""
    for row in range(proba.shape[0]):
        total = 0.0
        for c in range(proba.shape[1]):
            answers[row, c] = proba[row, c] * factors[row, c]
            total += answers[row, c]
        for c in range(proba.shape[1]):
            answers[row, c] = answers[row, c] / total if total > 0.0 else proba[row, c]
