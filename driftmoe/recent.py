"""What a model remembers of its most recent samples: a few whole rows, and how sure it was of each label before it.

Explanations draw from the rows what is typical now (`driftmoe.explaining`). Sets of labels with a coverage are
calibrated with the scores. Both are rings of fixed size.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from driftmoe.class_weights import ClassWeights
from driftmoe.compilation import compiled
from driftmoe.encoding.samples import MAX_ABSOLUTE
from driftmoe.state import State, array_of, check_names, count_of, misfit, restored
from driftmoe.transaction import Changes, planned, publication

N_ROWS, N_SCORES = 128, 1024
"""Number of rows and of scores that are remembered."""

ROOM, ROOM_IF_BOUNDED = 1 << 20, 4 << 10
"""Bytes of the rows, without and with `max_bytes`. Where a row has many features, fewer rows are remembered."""

OF_SCORES = 4 * N_ROWS + (4 + 1) * N_SCORES
"""Bytes of all but the rows' vectors."""


class Scores(NamedTuple):
    """How probable the labels of recent samples were before they were learnt, the oldest first.

    They are the model's answers, but for samples that brought a new feature, value or class: then they are those of the
    mixture that has just grown for it.

    Attributes
    ----------
    true_proba
        Probability of the true class, float32, shape (n_scores,); 0 if the class was new.
    was_right
        Whether the most probable class was the true one, bool, shape (n_scores,).
    """

    true_proba: np.ndarray
    was_right: np.ndarray


class Recent:
    """The most recent samples that were learnt.

    Parameters
    ----------
    has_bound
        Whether the memory of the model is bounded.
    is_kept
        Whether samples are remembered at all; an attribute, too.
    class_weights
        Weights of the classes, which follow how frequent the classes have been; an attribute, too. `None` for none.
    """

    def __init__(
        self, *, has_bound: bool = False, is_kept: bool = True, class_weights: ClassWeights | None = None
    ) -> None:
        self._has_bound, self.is_kept = has_bound, is_kept
        self.class_weights = class_weights
        self._n_learnt = np.zeros(1, np.int64)
        self._vectors = np.empty((self.n_rows_at(0), 0))
        self._targets = np.zeros(len(self._vectors), np.int32)
        self._true_proba = np.zeros(N_SCORES * is_kept, np.float32)
        self._was_right = np.zeros(N_SCORES * is_kept, np.bool_)

    def fresh(self) -> Recent:
        """Return one that has seen nothing, for a model whose state has none."""
        weights = None if self.class_weights is None else self.class_weights.fresh()
        return Recent(has_bound=self._has_bound, is_kept=self.is_kept, class_weights=weights)

    def check_kept(self, wanted_by: str) -> None:
        """Raise ValueError if samples are not remembered; `wanted_by` is the method that needs them."""
        if not self.is_kept:
            raise ValueError(
                f"{wanted_by} reads the most recent samples, which a model with records=False does not keep; build the "
                "model with records=True"
            )

    @property
    def n_learnt(self) -> int:
        """Number of samples learnt so far."""
        return int(self._n_learnt[0])

    @property
    def n_features(self) -> int:
        """Number of columns of the rows."""
        return self._vectors.shape[1]

    def n_rows_at(self, n_features: int) -> int:
        """Return how many rows of this many features are remembered."""
        room = (ROOM_IF_BOUNDED if self._has_bound else ROOM) * self.is_kept
        return min(N_ROWS, room // (8 * max(n_features, 1)))

    def bytes_at(self, n_features: int) -> int:
        """Return the bytes of all arrays if there are this many features."""
        return (8 * n_features * self.n_rows_at(n_features) + OF_SCORES) * self.is_kept

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows, float64, shape (n_rows, n_features), and their targets, the oldest first.

        NaN stands for a missing value, and for a feature that was not known yet.
        """
        order = _order(self.n_learnt, len(self._vectors))
        return self._vectors[order], self._targets[order]

    def scores(self) -> Scores:
        """Return the scores, the oldest first."""
        order = _order(self.n_learnt, N_SCORES)
        return Scores(self._true_proba[order], self._was_right[order])

    def grown(self, n_features: int) -> Recent:
        """Return a draft with columns for new features, or this one if there are none."""
        if n_features <= self.n_features:
            return self
        draft = copy.copy(self)
        vectors, targets = self.rows()
        widened = np.full((len(vectors), n_features), np.nan)
        widened[:, : self.n_features] = vectors
        draft._lay_out(widened, targets)
        return draft

    def plan(
        self, vectors: np.ndarray, targets: np.ndarray, proba: np.ndarray, n_known: int, changes: Changes
    ) -> None:
        """Plan to remember rows.

        Parameters
        ----------
        vectors, targets
            As in `Batch`.
        proba
            Class probabilities before each row is learnt, shape (n_rows, n_classes). Earlier changes may write them.
        n_known
            Number of classes that have been learnt. A later one is new.
        changes
            The planned changes are added to this list.
        """
        if not self.is_kept:
            return
        grown = self.grown(vectors.shape[1])
        if grown is not self:
            changes.append(publication(self, grown))
        changes.append(
            planned(
                remember, vectors, targets, proba, n_known, grown._n_learnt, grown._vectors, grown._targets,
                grown._true_proba, grown._was_right,
            )
        )  # fmt: skip

    def state(self) -> State:
        """Return the rows and the scores, the oldest first; see `driftmoe.state`."""
        vectors, targets = self.rows()
        weights = {} if self.class_weights is None else {"class_weights": self.class_weights.state()}
        scores = self.scores()._asdict()
        return {"n_learnt": self.n_learnt, "vectors": vectors, "targets": targets, **scores, **weights}

    def restore(self, state: State) -> None:
        """Restore the state of one that was built with the same arguments; see `driftmoe.state`."""
        of_weights = ["class_weights"] * (self.class_weights is not None)
        check_names(state, ("n_learnt", "vectors", "targets", *Scores._fields, *of_weights), self)
        n_learnt = count_of(state, "n_learnt", self)
        if n_learnt and not self.is_kept:
            raise misfit(self, "n_learnt", f"is {n_learnt}", "it must be 0, since no samples are remembered")
        vectors = array_of(state, "vectors", np.float64, (None, None), self, finite=False)
        n_rows, n_scores = min(n_learnt, self.n_rows_at(vectors.shape[1])), min(n_learnt, N_SCORES)
        if len(vectors) != n_rows:
            raise misfit(self, "vectors", f"has {len(vectors)} rows", f"there must be {n_rows}")
        if (is_large := np.abs(vectors) > MAX_ABSOLUTE).any():
            allowed = f"all must be NaN, or finite and within ±{MAX_ABSOLUTE:g}"
            raise misfit(self, "vectors", f"has {vectors[is_large][0]}", allowed)
        targets = array_of(state, "targets", np.int32, (n_rows,), self)
        if (targets < 0).any():
            raise misfit(self, "targets", f"has {targets.min()}", "all must be 0 or more")
        true_proba = array_of(state, "true_proba", np.float32, (n_scores,), self)
        if ((true_proba < 0.0) | (true_proba > 1.0)).any():
            wrong = true_proba[(true_proba < 0.0) | (true_proba > 1.0)][0]
            raise misfit(self, "true_proba", f"has {wrong}", "all must be 0 to 1")
        was_right = array_of(state, "was_right", np.bool_, (n_scores,), self)
        if self.class_weights is not None:
            self.class_weights = restored(self.class_weights, state["class_weights"])
        self._n_learnt = np.array([n_learnt])
        self._lay_out(vectors, targets)
        order, n_places = _order(n_learnt, N_SCORES), N_SCORES * self.is_kept
        self._true_proba, self._was_right = np.zeros(n_places, np.float32), np.zeros(n_places, np.bool_)
        self._true_proba[order], self._was_right[order] = true_proba, was_right

    def check_fit(self, values: Sequence[Sequence[Hashable] | None], n_classes: int) -> None:
        """Raise ValueError unless restored rows are of an encoder with these classes, and these values of each column.

        The list of values is `None` for a column of numbers.
        """
        vectors, targets = self.rows()
        n_known, n_features = int(targets.max(initial=-1)) + 1, len(values)
        n_weights = 0 if self.class_weights is None else self.class_weights.n_classes
        for name, n, known, fits in (
            ("n_features", self.n_features, n_features, not self.n_learnt or self.n_features == n_features),
            ("n_classes", n_known, n_classes, n_known <= n_classes),
            ("n_classes in class_weights", n_weights, n_classes, n_weights <= n_classes),
        ):
            if not fits:
                raise ValueError(
                    f"the state of the recent samples has {name}={n} and that of the encoder {known}; they are not of "
                    "one model"
                )
        for column, of in zip(vectors.T, values, strict=False):
            if of is not None:
                codes = column[~np.isnan(column)]
                wrong = codes[(codes < 0.0) | (codes >= len(of)) | (codes != np.floor(codes))]
                if len(wrong):
                    raise misfit(
                        self, "vectors", f"has the code {wrong[0]}", f"codes must be 0 to {len(of) - 1}"
                    )

    def _lay_out(self, vectors: np.ndarray, targets: np.ndarray) -> None:
        """Put rows, the oldest first, where `remember` goes on: the last ones, if there is not room for all."""
        n_rows = self.n_rows_at(vectors.shape[1])
        order = _order(self.n_learnt, n_rows)
        self._vectors = np.full((n_rows, vectors.shape[1]), np.nan)
        self._targets = np.zeros(n_rows, np.int32)
        first = len(vectors) - len(order)
        self._vectors[order], self._targets[order] = vectors[first:], targets[first:]


def _order(n_learnt: int, n_places: int) -> np.ndarray:
    """Return the places of a ring that are in use, the oldest first."""
    return np.arange(max(n_learnt - n_places, 0), n_learnt) % max(n_places, 1)


@compiled()
def remember(  # type: ignore[no-untyped-def]
    vectors, targets, proba, n_known, n_learnt, kept_vectors, kept_targets, true_proba, was_right
):
    """Put each row in the place of the oldest.

    Parameters
    ----------
    vectors, targets, proba, n_known
        As in `Recent.plan`.
    n_learnt
        Number of rows before the first, shape (1,); updated.
    kept_vectors, kept_targets
        The rows that are remembered, shape (n_places, n_features) and (n_places,); `n_places` may be 0.
    true_proba
        Probability of the true class, float32, shape (n_scores,).
    was_right
        Whether the true class was the most probable, where ties go to the first class; shape (n_scores,).
    """
    for row in range(targets.shape[0]):
        target = targets[row]
        if kept_targets.shape[0] > 0:
            place = n_learnt[0] % kept_targets.shape[0]
            for column in range(vectors.shape[1]):
                kept_vectors[place, column] = vectors[row, column]
            kept_targets[place] = target
        of_target = proba[row, target] if target < n_known else 0.0
        is_right = target < n_known
        for c in range(min(n_known, proba.shape[1])):
            other = proba[row, c]
            if other > of_target or (other == of_target and c < target):
                is_right = False
        place = n_learnt[0] % true_proba.shape[0]
        true_proba[place] = min(of_target, 1.0)
        was_right[place] = is_right
        n_learnt[0] += 1
