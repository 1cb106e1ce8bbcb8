"""Trees as models use them: on checked arrays, in steps that are planned first and then carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from driftmoe.threads import SideBySide
from driftmoe.transaction import Changes, StepPlan, assignment, planned
from driftmoe.trees import steps
from driftmoe.trees.blocks import NO_TARGETS, fit
from driftmoe.trees.nodes import N_LEAVES, N_NODES
from driftmoe.trees.storage import Storage, as_arguments
from driftmoe.trees.upkeep import n_rows_with_room, with_leaves, with_room

MIN_SHARED = 256
"""Rows times trees below which starting threads costs more than it saves."""


class PlannedTrees:
    """Trees that predict and learn rows of checked arrays; `TreePool` adds the checks.

    Parameters
    ----------
    storage
        The arrays.
    n_threads
        Threads that share the trees of a block.
    """

    def __init__(self, storage: Storage, n_threads: int) -> None:
        self.n_threads = n_threads
        self._storage = storage

    # --- sizes and counts -------------------------------------------------------------------------------------------

    @property
    def n_experts(self) -> int:
        """Number of trees that vote."""
        return self._storage.n_experts

    @property
    def n_classes(self) -> int:
        """Number of classes known."""
        return self._storage.n_classes

    @property
    def n_features(self) -> int:
        """Number of features known."""
        return self._storage.n_features

    @property
    def n_nodes(self) -> np.ndarray:
        """Nodes of each tree, splits and leaves, shape (n_experts,)."""
        return self._storage.sizes[self._storage.foreground, N_NODES]

    @property
    def n_leaves(self) -> np.ndarray:
        """Leaves of each tree, shape (n_experts,)."""
        return self._storage.sizes[self._storage.foreground, N_LEAVES]

    @property
    def depth(self) -> np.ndarray:
        """Splits on the longest path down each tree, shape (n_experts,)."""
        storage = self._storage
        return np.array([storage.nodes_of(tree)["depth"].max() for tree in storage.foreground])

    @property
    def weight_seen(self) -> np.ndarray:
        """Weight that the leaves of each tree account for, shape (n_experts,).

        It is less than the weight learnt. A leaf that splits passes on only the weight that it observed itself, not
        what it received from the split above; for a feature with missing values, it passes on only the weight of the
        samples that have a value.
        """
        storage = self._storage
        weights = storage.leaves["weight"]
        return np.array([weights[storage.slots_of(tree)].sum() for tree in storage.foreground])

    @property
    def n_warnings(self) -> np.ndarray:
        """How often a background tree was started for each expert, shape (n_experts,)."""
        return self._of_monitors("n_warnings").copy()

    @property
    def n_replaced(self) -> np.ndarray:
        """How often drift ended the tree of each expert, shape (n_experts,)."""
        return self._of_monitors("n_replaced").copy()

    @property
    def n_replaced_so_far(self) -> np.ndarray:
        """As `n_replaced`. With monitors it is a view of the counter, so that it keeps up with later steps."""
        return self._of_monitors("n_replaced")

    @property
    def has_background(self) -> np.ndarray:
        """Whether each expert has a background tree, shape (n_experts,)."""
        return self._of_monitors("has_background") == 1

    def _of_monitors(self, name: str) -> np.ndarray:
        """Return a field of `EXPERT` for each expert; zeros if there are no monitors."""
        storage = self._storage
        return storage.experts[name] if storage.is_watched else np.zeros(storage.n_experts, np.int64)

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays, room for growth included."""
        return self._storage.n_bytes + self._storage.subsets.n_bytes

    # --- predict and learn --------------------------------------------------------------------------------------------

    def predict_checked(self, block: np.ndarray) -> np.ndarray:
        """Return class probabilities as `TreePool.predict_proba` does, of a float64 block that has been checked."""
        return self.plan_votes(block, StepPlan())

    def plan_votes(self, block: np.ndarray, plan: StepPlan, is_awake: np.ndarray | None = None) -> np.ndarray:
        """Compute what `predict_checked` returns, by calls of a plan.

        `is_awake` says which trees vote, bool, shape (n_experts,): all by default. The others have zeros.
        """
        storage = self._storage
        fitted = fit(block, storage.n_features)
        if fitted is not block:
            plan.is_repeatable = False
        proba = np.empty((len(block), storage.n_experts, storage.n_classes))
        for call in self._pass(
            storage, fitted, NO_TARGETS, np.empty((0, storage.n_experts)), is_awake, proba
        ):
            plan.compute(call)
        return proba

    def plan(
        self,
        block: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        n_classes: int,
        *,
        changes: Changes,
        n_experts: int | None = None,
        nominal: Iterable[int] = (),
        learnt: np.ndarray | slice = slice(None),
        ahead: np.ndarray | None = None,
        is_awake: np.ndarray | None = None,
        known: np.ndarray | None = None,
    ) -> np.ndarray:
        """Plan, for each row in order, to predict with every tree, then to learn.

        Parameters
        ----------
        block
            float64, shape (n_rows, n_features), checked; best not more rows than `n_rows_with_room` says.
        targets
            int64, shape (n_rows, 1) or (n_rows, n_experts), below `n_classes`.
        weights
            float64, shape (n_rows, n_experts).
        n_classes
            Number of classes known so far, or less.
        changes
            The changes of this step are appended here. Arrays that must grow have grown in a draft.
        n_experts
            Number of trees from now on, if more than so far.
        nominal
            Columns that hold codes, if they are new.
        learnt
            Index of the rows that are learnt: all by default. The weights of the others are 0, and what is new in them
            makes no room.
        ahead
            Weights of rows, these and later ones, for which leaves make room, shape (any, n_experts); by default these.
        is_awake
            Trees that vote, bool, shape (n_experts,): all by default. The others have zeros, and their weights must
            be 0: neither they nor their background trees and monitors change.
        known
            Rows that are not learnt, with the largest codes that are known already; by default none.

        Returns
        -------
        expert_proba
            As `TreePool.step` returns them; the changes write them.
        """
        of_learnt = block[learnt]
        of_known = of_learnt if known is None else np.concatenate([of_learnt, known])
        storage = with_room(self._storage, of_known, n_classes, n_experts or 0, nominal)
        of_room = weights[learnt] if ahead is None else ahead
        storage = with_leaves(storage, len(of_room), of_room)
        if storage is not self._storage:
            changes.append(assignment(self, _storage=storage))
        proba = np.empty((len(block), storage.n_experts, storage.n_classes))
        changes.extend(self._pass(storage, fit(block, storage.n_features), targets, weights, is_awake, proba))
        return proba

    def n_rows_before_growth(self, weights: np.ndarray) -> int:
        """Return how many rows with these weights, shape (n_rows, n_experts), are learnt before an array must grow.

        It is their number, or a half of it, a quarter and so on, or 0.
        """
        n_rows = len(weights)
        while n_rows > 0 and self._storage.room_lacking(n_rows, weights[:n_rows].sum(axis=0)) is not None:
            n_rows //= 2
        return n_rows

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many rows can be learnt in one step without reserving much room for leaves that may never be made.

        Parameters
        ----------
        n_rows
            Number of rows that there are.
        weights
            Called with a number of rows, returns upper bounds on their weights, shape (n_rows, n_experts).

        Returns
        -------
        n_rows
            At least 1. `plan` makes room for this many rows if there is too little.
        """
        return n_rows_with_room(self._storage, n_rows, weights)

    def _pass(
        self,
        storage: Storage,
        block: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        is_awake: np.ndarray | None,
        proba: np.ndarray,
    ) -> list[Callable[[], Any]]:
        """Return the changes that pass the rows through each tree, in one thread or in several that share them."""
        n_experts = storage.n_experts
        progress = np.zeros((n_experts, 2), np.int64)
        if is_awake is None:
            is_awake = np.ones(n_experts, np.bool_)
        arguments = (
            *as_arguments(storage), block, targets, weights, is_awake, storage.n_branches, progress, proba,
        )  # fmt: skip
        n_threads = min(self.n_threads, n_experts) if len(block) * n_experts >= MIN_SHARED else 1
        begin = partial(progress.fill, 0)  # for a plan that is carried out again
        change = planned(steps.step, *arguments, 0, n_experts)  # compiled first, not by all threads at once
        if n_threads == 1:
            return [begin, change]
        shared = SideBySide(
            [[partial(steps.step, *arguments, e, e + 1)] for e in range(n_experts)], n_threads
        )
        return [begin, shared.begin, shared]
