"""Samples in the formats that experts and the router read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from driftmoe.encoding import Sample

if TYPE_CHECKING:
    from driftmoe.network import Network
    from driftmoe.transaction import StepPlan

Rows = np.ndarray | None
"""An array with an entry for each row of a batch, or `None` for the default."""

Index = slice | np.ndarray
"""Rows of an array: `ALL`, or an array of their numbers."""

ALL = slice(None)
"""Index of all rows, without a copy."""


NONE_AWAITED = np.empty(0, np.bool_)
"""For `Batch.awaits`, where no label will come later."""


class Batch(NamedTuple):
    """Samples in each format that experts read, and their labels for learning. Features, values and classes are known.

    Attributes
    ----------
    vectors
        For trees: float64, shape (n_rows, n_features).
    inputs
        For the router, neighbours, linear models and networks: float32, standardised, shape (n_rows, n_inputs).
    samples
        For river classifiers: a cleaned dictionary per row; empty if no expert reads it.
    n_classes
        Number of known classes, including those of the batch.
    nominal
        Columns of `vectors` that hold codes of nominal values.
    targets
        Class indices, shape (n_rows,); empty for predicting. Those of rows that are not learnt mean nothing.
    weights
        Weights of the samples, shape (n_rows,); empty for predicting. A row of weight 0 is predicted but not learnt, by
        what has learnt the rows before it.
    learnt
        Index of the rows with a weight above 0, as `learnt_of` gives it.
    ahead
        Weights for each main expert of rows, these and later ones, for which trees make room, shape (any, n_experts);
        `None` for these rows alone.
    known
        A row with the largest code of each nominal column that is known before the first sample, NaN in the others,
        shape (1, n_features); `None` where values come with samples.
    awaits
        Which rows are not learnt because their labels will come later, bool, shape (n_rows,); empty for none.
    """

    vectors: np.ndarray
    inputs: np.ndarray
    samples: Sequence[Sample]
    n_classes: int
    nominal: Sequence[int] = ()
    targets: np.ndarray = np.empty(0, np.int64)
    weights: np.ndarray = np.empty(0)
    learnt: Index = ALL
    ahead: Rows = None
    known: Rows = None
    awaits: np.ndarray = NONE_AWAITED

    @property
    def n_learnt(self) -> int:
        """Number of rows that are learnt."""
        return len(self.weights) if isinstance(self.learnt, slice) else len(self.learnt)


def learnt_of(weights: np.ndarray) -> Index:
    """Return the rows with a weight above 0, as an index."""
    return ALL if np.count_nonzero(weights) == len(weights) else np.flatnonzero(weights)


def taken(array: np.ndarray, learnt: Index, plan: StepPlan) -> np.ndarray:
    """Return the rows of an array that are learnt, computed by a plan: the array itself if all are."""
    if isinstance(learnt, slice):
        return array
    rows = np.empty((len(learnt), *array.shape[1:]), array.dtype)
    plan.compute(np.take, array, learnt, 0, rows)
    return rows


def outputs_of(network: Network, inputs: np.ndarray, learnt: Index, plan: StepPlan) -> np.ndarray:
    """Compute the outputs of a network for each row, of which its `plan` will learn only some.

    See `Network.plan_outputs`.
    """
    if isinstance(learnt, slice):
        return network.plan_outputs(inputs, plan, is_learning=True)
    outputs = np.empty((len(inputs), network.n_outputs), np.float32)
    others = np.delete(np.arange(len(inputs)), learnt)
    for rows, is_learning in ((others, False), (learnt, True)):
        of_rows = network.plan_outputs(taken(inputs, rows, plan), plan, is_learning=is_learning)
        plan.compute(outputs.__setitem__, rows, of_rows)
    return outputs
