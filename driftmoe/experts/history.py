"""An expert that predicts from the previous label alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from driftmoe.compilation import compiled
from driftmoe.experts.protocol import Unmonitored
from driftmoe.growth import enlarged
from driftmoe.state import State, array_of, check_names, value_of
from driftmoe.transaction import NO_TARGETS, NO_WEIGHTS, Changes, assignment, planned

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch

SMOOTHING = 0.1
"""Weight of the uniform vote beside the counted pairs of labels."""

MAX_HISTORY = 256
"""Classes whose order is remembered, those that came first: the memory for it grows with their square."""

FORGETTING = 0.998
"""What is left of the weight of a pair of labels when the first of them comes again."""


class LabelHistory(Unmonitored):
    """The probability of a label given the previous one, counted with slow forgetting.

    It reads nothing of a sample. Where labels come in runs, as in many real streams, few experts are better. Where
    labels are delayed, the previous label is not known in time, and this expert does not help.

    References
    ----------
    Žliobaitė, Bifet, Read, Pfahringer & Holmes 2015, Evaluation methods and decision theory for classification of
    streaming data with temporal dependence, whose temporally augmented classifier feeds the last label to a model.
    """

    n_experts = 1
    reads = "inputs"
    kind = "history"

    def __init__(self) -> None:
        self._pairs = np.zeros((0, 0))
        self._last = np.full(1, -1)

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the vote, zeros before anything is learnt; changes nothing. See `Experts.predict_proba`."""
        proba = np.zeros((1, batch.n_classes))
        follow(self._pairs, self._last, NO_TARGETS, NO_WEIGHTS, proba)
        return np.repeat(proba[:, np.newaxis], len(batch.inputs), axis=0)

    def plan(
        self,
        batch: Batch,
        taught: np.ndarray | None = None,
        asked: np.ndarray | None = None,
        *,
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each row in order, to predict, then to count its label; see `Experts.plan`. Always asked."""
        n_known = min(batch.n_classes, MAX_HISTORY)
        pairs = enlarged(self._pairs, (n_known, n_known))
        if pairs is not self._pairs:
            changes.append(assignment(self, _pairs=pairs))
        proba = np.zeros((len(batch.targets), batch.n_classes))
        changes.append(planned(follow, pairs, self._last, batch.targets, batch.weights, proba))
        return proba[:, np.newaxis]

    def state(self) -> State:
        """Return the counted pairs and the last label; see `driftmoe.state`."""
        return {"pairs": self._pairs.copy(), "last": int(self._last[0])}

    def restore(self, state: State) -> None:
        """Bring a part that was built with the same arguments to a state; see `driftmoe.state`."""
        check_names(state, ("pairs", "last"), self)
        pairs = array_of(state, "pairs", np.float64, (None, None), self)
        last = value_of(state, "last", int, self)
        if pairs.shape[0] != pairs.shape[1] or len(pairs) > MAX_HISTORY or last < -1:
            raise ValueError(
                f"the state of {type(self).__name__} has pairs of shape {pairs.shape} and the last label {last}; pairs "
                f"are square, of at most {MAX_HISTORY} labels, and a label is -1 for none or its index"
            )
        self._pairs, self._last = pairs, np.array([last])


@compiled()
def follow(pairs, last, targets, taught, proba):  # type: ignore[no-untyped-def]
    """Write the probability of each label to follow the one before, then count each pair.

    Parameters
    ----------
    pairs
        Faded number of times that the second label followed the first, shape (n_known, n_known).
    last
        The label before the first row, shape (1,); -1 for none. Afterwards that of the last row.
    targets
        Labels, shape (n_rows,), or empty to count nothing and write one row.
    taught
        What each row counts, shape (n_rows,).
    proba
        Result, shape (n_rows, n_classes), zeros to begin with; they stay where the label before is not remembered.
    """
    n_known = pairs.shape[0]
    for row in range(proba.shape[0]):
        before = last[0]
        if 0 <= before < n_known:
            total = SMOOTHING
            for c in range(n_known):
                total += pairs[before, c]
            for c in range(proba.shape[1]):
                seen = pairs[before, c] if c < n_known else 0.0
                proba[row, c] = (seen + SMOOTHING / proba.shape[1]) / total
        if targets.shape[0] > 0:
            target = targets[row]
            if 0 <= before < n_known and target < n_known:
                for c in range(n_known):
                    pairs[before, c] *= FORGETTING
                pairs[before, target] += taught[row]
            last[0] = target
