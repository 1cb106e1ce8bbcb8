"""Experts that are Hoeffding trees in one pool, so that one compiled call serves all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from driftmoe.experts.protocol import Planned
from driftmoe.state import State, check_names, restored, value_of
from driftmoe.transaction import Changes, StepPlan
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows


class TreePrototype:
    """Trees with the settings of a `driftmoe.trees.HoeffdingTreeClassifier`; see `Prototype`.

    Parameters
    ----------
    tree
        Gives the settings; it is not changed.
    """

    arguments = frozenset({"class_weight", "max_bytes", "monitors", "n_threads"})

    def __init__(self, tree: HoeffdingTreeClassifier) -> None:
        self.kind = type(tree).__name__
        self.nominal = tree.nominal_attributes or ()
        self._tree = tree

    def multiclass(
        self, n_experts: int, rng: np.random.Generator, *, n_threads: int, detectors: Mapping[str, float]
    ) -> MulticlassTrees:
        """Return a pool of untrained trees; see `Prototype.multiclass`."""
        return MulticlassTrees(self._pool(n_experts, rng, n_threads=n_threads, **detectors))

    def one_vs_rest(self, rng: np.random.Generator, *, n_threads: int) -> OneVsRestTrees:
        """Return a pool that is still empty; see `Prototype.one_vs_rest`."""
        return OneVsRestTrees(self._pool(0, rng, n_threads=n_threads))

    def _pool(self, n_experts: int, rng: np.random.Generator, **settings: Any) -> TreePool:
        return self._tree.pool(n_experts, seed=int(rng.integers(2**31)), **settings)


class _Trees(Planned):
    """Base of both groups of trees: everything except how they vote and learn."""

    reads = "vectors"
    kind = "tree"

    def __init__(self, pool: TreePool) -> None:
        self.pool = pool

    @property
    def n_experts(self) -> int:
        """Number of trees."""
        return self.pool.n_experts

    @property
    def n_replaced(self) -> np.ndarray:
        """Number of times that a drift detector replaced each tree, shape (n_experts,)."""
        return self.pool.n_replaced

    @property
    def n_replaced_so_far(self) -> np.ndarray:
        """As `n_replaced`. With drift detectors it is a view of the counter, which later samples update."""
        return self.pool.n_replaced_so_far

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows the trees can learn in one step; see `TreePool.n_rows_with_room`."""
        return self.pool.n_rows_with_room(n_rows, weights)

    def n_rows_before_growth(self, weights: np.ndarray) -> int:
        """Return how many rows with these weights are learnt before an array must grow; see `TreePool`."""
        return self.pool.n_rows_before_growth(weights)

    @property
    def size(self) -> int:
        """Most leaves of a tree."""
        return self.pool.max_leaves

    least_size = 1

    def bytes_at(self, size: int) -> int:
        """Return the most bytes of all trees, if none has more leaves."""
        return self.pool.bytes_at(size)

    def resized(self, size: int) -> Self:
        """Return trees that have at most this many leaves each, now and later; see `TreePool.pruned`."""
        new = copy.copy(self)
        new.pool = self.pool.pruned(size)
        return new

    def state(self) -> State:
        """Return the state of the trees; see `driftmoe.state`."""
        return {"pool": self.pool.state()}

    def restore(self, state: State) -> None:
        """Restore the state of trees that were built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("pool",), self)
        self.pool = restored(self.pool, value_of(state, "pool", dict, self))


class MulticlassTrees(_Trees):
    """A pool of multiclass trees.

    Parameters
    ----------
    pool
        Untrained trees.
    """

    is_costly = False
    may_rest = False
    is_repeatable = True

    @property
    def names(self) -> Sequence[str]:
        """Names in reports that distinguish the trees: their numbers, from 1."""
        return [str(i + 1) for i in range(self.n_experts)]

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the class probabilities of each tree. All that are asked about any row answer, in one call."""
        return self.plan_votes(batch, StepPlan(), asked)

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the class probabilities of each tree that is asked about any row; see `Experts.plan_votes`."""
        votes = self.pool.plan_votes(batch.vectors, plan, _of_any_row(asked))
        widened = _widened(votes, batch.n_classes)
        if widened is not votes:
            plan.is_repeatable = False
        return widened

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, that all trees predict and then learn; see `Experts.plan`."""
        if taught is None:
            taught = np.repeat(batch.weights[:, np.newaxis], self.n_experts, axis=1)
        return self.pool.plan(
            batch.vectors,
            batch.targets[:, np.newaxis],
            taught.astype(np.float64, copy=False),
            batch.n_classes,
            nominal=batch.nominal,
            learnt=batch.learnt,
            ahead=batch.ahead,
            is_awake=_of_any_row(asked),
            known=batch.known,
            changes=changes,
        )

    def sizes(self) -> dict[str, int]:
        """Return how many features and classes are known; see `Group.sizes`."""
        return {"n_features": self.pool.n_features, "n_classes": self.pool.n_classes}


class OneVsRestTrees(_Trees):
    """A pool with one tree per class, which separates its class (1) from all others (0); see `OneVsRest`.

    Parameters
    ----------
    pool
        Empty pool. The first sample of each class adds a tree.
    """

    def sizes(self) -> dict[str, int]:
        """Return how many features and classes are known; see `Group.sizes`."""
        return {"n_features": self.pool.n_features, "n_classes": self.n_experts}

    def predict_proba(self, batch: Batch) -> np.ndarray:
        """Return each tree's probability that the sample belongs to its class, shape (n_rows, n_classes)."""
        return self.plan_votes(batch, StepPlan())

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute what `predict_proba` returns, by calls of a plan. Ignores `asked`."""
        votes = self.pool.plan_votes(batch.vectors, plan)
        proba = np.zeros((len(batch.vectors), batch.n_classes))
        if votes.shape[2] == 2:
            plan.compute(proba[:, : self.n_experts].__setitem__, ..., votes[:, :, 1])
        else:  # no tree has seen a sample of its class
            plan.is_repeatable = False
        return proba

    def plan(self, batch: Batch, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, that all trees predict and then learn the row with its weight."""
        own = (batch.targets[:, np.newaxis] == np.arange(batch.n_classes)).astype(np.int64)
        weights = np.repeat(batch.weights[:, np.newaxis], batch.n_classes, axis=1)
        proba = self.pool.plan(
            batch.vectors, own, weights, 2, n_experts=batch.n_classes, nominal=batch.nominal, learnt=batch.learnt,
            changes=changes,
        )  # fmt: skip
        return proba[:, :, 1]


def _of_any_row(asked: Rows) -> Rows:
    """Return which trees are asked about any row, bool, shape (n_experts,); `None` for all. Of one row it is a view."""
    if asked is None or len(asked) == 1:
        return None if asked is None else asked[0]
    return np.logical_or.reduce(asked)


def _widened(expert_proba: np.ndarray, n_classes: int) -> np.ndarray:
    """Add zeros for classes that no tree has seen."""
    missing = n_classes - expert_proba.shape[-1]
    return expert_proba if missing <= 0 else np.pad(expert_proba, ((0, 0), (0, 0), (0, missing)))
