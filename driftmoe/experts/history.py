"""An expert that predicts from the previous label alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from driftmoe.compilation import compiled
from driftmoe.experts.protocol import Unmonitored
from driftmoe.growth import enlarged
from driftmoe.state import State, array_of, check_names, value_of
from driftmoe.transaction import NO_TARGETS, NO_WEIGHTS, Changes, StepPlan, assignment, planned

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows

SMOOTHING = 0.1
"""Weight of a uniform distribution that is added to the counts of label pairs."""

MAX_HISTORY = 256
"""Number of classes (the first ones to appear) whose pairs are counted. Memory grows with its square."""

FORGETTING = 0.998
"""Decay factor of the counts of pairs, each time their first label occurs."""


class LabelHistory(Unmonitored):
    """The probability of a label given the previous one, from counts that are slowly forgotten.

    It reads no feature of a sample. If labels come in runs, as in many real streams, few experts are better. If labels
    are delayed, the previous label is not known in time, and this expert does not help.

    References
    ----------
    Žliobaitė, Bifet, Read, Pfahringer & Holmes 2015, Evaluation methods and decision theory for classification of
    streaming data with temporal dependence: their temporally augmented classifier passes the last label to a model.
    """

    n_experts = 1
    reads = "inputs"
    kind = "history"
    is_repeatable = True

    def __init__(self) -> None:
        self._transition_counts = np.zeros((0, 0))
        self._last_target = np.full(1, -1)

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the vote, zeros before anything is learnt; see `Experts.predict_proba`."""
        return self.plan_votes(batch, StepPlan())

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the vote, which is the same for all rows; see `Experts.plan_votes`. Ignores `asked`."""
        proba = np.empty((1, batch.n_classes))
        plan.compute(follow, self._transition_counts, self._last_target, NO_TARGETS, NO_WEIGHTS, proba)
        return np.broadcast_to(proba, (len(batch.inputs), 1, batch.n_classes))

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, to predict and then count its label; see `Experts.plan`. Ignores `asked`."""
        n_known = min(batch.n_classes, MAX_HISTORY)
        counts = enlarged(self._transition_counts, (n_known, n_known))
        if counts is not self._transition_counts:
            changes.append(assignment(self, _transition_counts=counts))
        proba = np.empty((len(batch.targets), batch.n_classes))
        changes.append(planned(follow, counts, self._last_target, batch.targets, batch.weights, proba))
        return proba[:, np.newaxis]

    def sizes(self) -> dict[str, int]:
        """Return how many classes are known; see `Group.sizes`."""
        return {"n_classes": max(len(self._transition_counts), int(self._last_target[0]) + 1)}

    def state(self) -> State:
        """Return the counts and the class index of the last label; see `driftmoe.state`."""
        return {"transition_counts": self._transition_counts.copy(), "last_target": int(self._last_target[0])}

    def restore(self, state: State) -> None:
        """Restore the state of an expert that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("transition_counts", "last_target"), self)
        counts = array_of(state, "transition_counts", np.float64, (None, None), self)
        last_target = value_of(state, "last_target", int, self)
        if counts.shape[0] != counts.shape[1] or len(counts) > MAX_HISTORY or last_target < -1:
            raise ValueError(
                f"the state of {type(self).__name__} has transition_counts of shape {counts.shape} and "
                f"last_target={last_target}; the counts must be square, of at most {MAX_HISTORY} classes, and the "
                "target an index of a class, or -1 for none"
            )
        self._transition_counts, self._last_target = counts, np.array([last_target])


@compiled(nogil=True)
def follow(transition_counts, last_target, targets, taught, proba):  # type: ignore[no-untyped-def]
    """Write the probability of each label given the previous one, then count each pair of labels.

    Parameters
    ----------
    transition_counts
        Faded number of times that the second label followed the first, shape (n_known, n_known).
    last_target
        The label before the first row, shape (1,), -1 for none; set to the label of the last row.
    targets
        Labels, shape (n_rows,), or empty to count nothing and write one row.
    taught
        Weight of each row, shape (n_rows,). A row of weight 0 is not counted.
    proba
        Result, shape (n_rows, n_classes); zeros if the previous label has no counts.
    """
    n_known = transition_counts.shape[0]
    for row in range(proba.shape[0]):
        before = last_target[0]
        for c in range(proba.shape[1]):
            proba[row, c] = 0.0
        if 0 <= before < n_known:
            total = SMOOTHING
            for c in range(n_known):
                total += transition_counts[before, c]
            for c in range(proba.shape[1]):
                seen = transition_counts[before, c] if c < n_known else 0.0
                proba[row, c] = (seen + SMOOTHING / proba.shape[1]) / total
        if targets.shape[0] > 0 and taught[row] > 0.0:
            target = targets[row]
            if 0 <= before < n_known and target < n_known:
                for c in range(n_known):
                    transition_counts[before, c] *= FORGETTING
                transition_counts[before, target] += taught[row]
            last_target[0] = target
