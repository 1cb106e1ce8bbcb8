"""A pool of Hoeffding trees, which see the same samples with different weights and live in one set of arrays.

Features, classes, values, nodes and experts may be added at any time. `storage` has the arrays, so that one call of
`steps.step` serves all trees. With monitors each expert has two trees: the one that votes, and one in the background.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from driftmoe.state import State
from driftmoe.transaction import Changes, assignment, carry_out
from driftmoe.trees import drawing, upkeep
from driftmoe.trees.blocks import NO_TARGETS, as_block, as_lessons, check, fit
from driftmoe.trees.nodes import NONE
from driftmoe.trees.paths import Path, path_of
from driftmoe.trees.planning import PlannedTrees
from driftmoe.trees.pruning import pruned
from driftmoe.trees.settings import check_number, checked_rules
from driftmoe.trees.state import LIMIT, restored, state_of
from driftmoe.trees.storage import Storage
from driftmoe.trees.subsets import Subsets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 1024
"""Largest number of rows that trees learn in one step; between two steps they get room for more leaves."""


class TreePool(PlannedTrees):
    """Hoeffding trees that see the same samples with different weights, and grow independently of each other.

    The settings are those of river's `HoeffdingTreeClassifier`, with its defaults.

    Parameters
    ----------
    n_experts
        Number of trees.
    nominal
        Columns that hold the codes 0, 1, 2, ... of nominal values; all others are numeric.
    grace_period
        Weight that a leaf sees between two attempts to split; 0 for an attempt at each sample.
    delta
        Probability that an attempt to split chooses another feature than infinitely many samples would. A sequence
        gives each tree its own; the number of trees is then fixed.
    tau
        If the Hoeffding bound is below this, the best split is taken even if the second best is close.
    max_depth
        Most splits above a leaf. A leaf at this depth only counts classes. `None` for no limit.
    split_criterion
        `"info_gain"`, `"gini"`, or `"hellinger"`, which looks at classes 0 and 1 only.
    leaf_prediction
        `"mc"` for the majority class, `"nb"` for naive Bayes, `"nba"` for the one that has been right more often.
    nb_threshold
        Weight from which a leaf with `"nb"` uses naive Bayes.
    binary_split
        Whether a nominal feature may only be split into one value and the rest.
    min_branch_fraction
        A split is valid if at least two of its branches have a larger share of the weight than this, 0 to 1.
    max_share_to_split
        A leaf whose majority class has a larger share than this, 0 to 1, does not split.
    max_nodes
        Most nodes of a tree, splits and leaves, at least 1; `None` for no limit. As a tree comes near the limit, the
        leaves with the least weight outside their majority class are the first that no longer split. All leaves go on
        learning.
    warning_delta, drift_delta
        Risk of a false alarm, 0 < delta < 1, of each expert's warning monitor and drift monitor (ADWIN, Bifet & Gavaldà
        2007), as in adaptive random forests (Gomes et al. 2017); `None` for no monitor. They watch whether the expert's
        vote before learning was wrong, on the samples that it learns, whatever their weight. If the warning monitor
        finds that the error has risen, an empty tree starts to learn the expert's samples in the background, and
        replaces one that already does. If the drift monitor finds this, the background tree, or an empty tree if there
        is none, replaces the expert's tree, and both monitors start anew.
    max_features
        How many features a leaf may split on: a number, or a share between 0 and 1; `None` for all. A sequence gives
        each tree its own, as with `delta`. Each leaf draws its features when it starts, and keeps them. Naive Bayes
        uses all. A new feature may take the place of one that a leaf has drawn.
    feature_subsets
        Which features a tree sees at all: an array of booleans (n_experts, n_features), or a share between 0 and 1 that
        each tree draws; `None` for all. The other features change nothing in it. Where an array ends, a new tree sees
        all features, and all trees see a new column. With a share, a tree draws from the columns known when it starts,
        and takes in each later column with this probability.
    seed
        Seed of the features drawn; `None` for a different draw each time.
    n_threads
        Number of threads that share the trees of a block, at least 1. The result does not depend on it. Small blocks
        are done by one thread.

    Raises
    ------
    TypeError
        If a setting is of the wrong type.
    ValueError
        If a setting is out of range.

    Notes
    -----
    *Memory.* A leaf has 52 bytes for each feature and class, and 16 more for each value seen of each nominal feature
    and class, seen at this leaf or not: 41 kB for a feature of 256 values at 10 classes. So leave identifiers out, give
    rare values one name, or choose `max_nodes`.

    Examples
    --------
    Two trees; the second sees every sample three times.

    >>> import numpy as np
    >>> from driftmoe.trees import TreePool
    >>> rng = np.random.default_rng(1)
    >>> X = rng.normal(size=(1000, 3))
    >>> y = (X[:, 0] > 0.5).astype(int)
    >>> pool = TreePool(2)
    >>> pool.learn(X, y, weights=np.tile([1.0, 3.0], (1000, 1)))
    >>> pool.predict_proba(np.array([2.0, 0.0, 0.0])).argmax(axis=1)
    array([1, 1])
    """

    def __init__(
        self,
        n_experts: int = 1,
        *,
        nominal: Iterable[int] = (),
        grace_period: float = 200,
        delta: float | Sequence[float] = 1e-7,
        tau: float = 0.05,
        max_depth: int | None = None,
        split_criterion: str = "info_gain",
        leaf_prediction: str = "nba",
        nb_threshold: float = 0,
        binary_split: bool = False,
        min_branch_fraction: float = 0.01,
        max_share_to_split: float = 0.99,
        max_nodes: int | None = None,
        warning_delta: float | None = None,
        drift_delta: float | None = None,
        max_features: float | Sequence[float | None] | None = None,
        feature_subsets: ArrayLike | float | None = None,
        seed: int | None = None,
        n_threads: int = 1,
    ) -> None:
        rules = checked_rules(
            n_experts, grace_period=grace_period, delta=delta, tau=tau, max_depth=max_depth,
            split_criterion=split_criterion, leaf_prediction=leaf_prediction, nb_threshold=nb_threshold,
            binary_split=binary_split, min_branch_fraction=min_branch_fraction, max_share_to_split=max_share_to_split,
            max_nodes=max_nodes, warning_delta=warning_delta, drift_delta=drift_delta, max_features=max_features,
        )  # fmt: skip
        check_number("n_threads", n_threads, 1, kind=Integral)
        super().__init__(Storage(rules, Subsets(feature_subsets, seed)), n_threads)
        self.declare_nominal(nominal)
        upkeep.add_experts(self._storage, n_experts)

    # --- predict, learn, both ---------------------------------------------------------------------------------------

    def predict_proba(self, vectors: ArrayLike) -> np.ndarray:
        """Return the class probabilities of each tree; changes nothing.

        Parameters
        ----------
        vectors
            One sample (n_features,) or a block (n_rows, n_features); NaN where a value is missing. Columns that were
            never learnt are ignored; if there are fewer columns, the rest counts as missing values.

        Returns
        -------
        expert_proba
            Shape (n_experts, n_classes), or (n_rows, n_experts, n_classes) for a block. A row sums to 1, or is 0 for a
            tree that has no vote yet.

        Raises
        ------
        ValueError
            If a number lies beyond ±1e100, or a nominal column holds no code.
        """
        block, is_single = as_block(vectors)
        self._check(block, NO_TARGETS, np.empty((0, self.n_experts)))
        proba = self.predict_checked(block)
        return proba[0] if is_single else proba

    def learn(
        self,
        vectors: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        n_experts: int | None = None,
    ) -> None:
        """Let each tree learn the samples in order.

        Parameters
        ----------
        vectors
            One sample (n_features,) or a block (n_rows, n_features); NaN where a value is missing. A longer vector
            than before brings new features.
        targets
            Class index, or (n_rows,) of them; or one for each tree, (n_experts,) for one sample, (n_rows, n_experts)
            for a block. A larger one than before brings a new class.
        weights
            Weight of the sample for each tree, (n_experts,) or (n_rows, n_experts); 0 for a tree that does not learn
            it. 1 for all by default.
        n_experts
            Number of trees from now on, if more than so far; the new ones are empty.

        Raises
        ------
        ValueError
            If shapes do not fit, a number lies beyond ±1e100, a nominal column holds no code, a class index is
            negative, or a weight negative or not finite. Then nothing has been learnt.
        """
        self._learn(*as_block(vectors), targets, weights, n_experts, is_predicting=False)

    def step(
        self,
        vectors: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        n_experts: int | None = None,
    ) -> np.ndarray:
        """For each row in order, predict with every tree, then learn; arguments and errors as in `learn`.

        Returns
        -------
        expert_proba
            Probabilities as `predict_proba` returns them before each row is learnt, with a column for every class up to
            the largest in `targets`.
        """
        block, is_single = as_block(vectors)
        proba = self._learn(block, is_single, targets, weights, n_experts, is_predicting=True)
        return proba[0] if is_single else proba

    def _learn(
        self,
        block: np.ndarray,
        is_single: bool,
        targets: ArrayLike,
        weights: ArrayLike | None,
        n_experts: int | None,
        *,
        is_predicting: bool,
    ) -> np.ndarray:
        n_experts = max(self.n_experts, n_experts or 0)
        target_array, weight_array = as_lessons(len(block), is_single, targets, weights, n_experts)
        self._check(block, target_array, weight_array)
        if not len(block):
            return np.empty((0, n_experts, self.n_classes))
        storage = upkeep.with_room(self._storage, block, int(target_array.max()) + 1, n_experts, ())
        self._storage = storage
        proba = np.empty((len(block) if is_predicting else 0, n_experts, self.n_classes))
        block, start = fit(block, self.n_features), 0
        while start < len(block):
            left = weight_array[start : start + MOST_ROWS]
            stop = start + self.n_rows_with_room(len(left), partial(_first_rows, left))
            rows = slice(start, stop)
            storage = upkeep.with_leaves(self._storage, stop - start, weight_array[rows])
            row_targets = np.ascontiguousarray(target_array[rows])
            row_proba = proba[rows] if is_predicting else proba
            changes: Changes = [assignment(self, _storage=storage)]
            changes.extend(self._pass(storage, block[rows], row_targets, weight_array[rows], None, row_proba))
            carry_out(changes)
            start = stop
        return proba

    def _check(self, block: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> None:
        storage = self._storage
        starts, n_known = storage.value_start, len(storage.value_start)
        if storage.nominal_to_come and block.shape[1] > n_known:
            starts = np.full(block.shape[1], NONE, starts.dtype)
            starts[:n_known] = storage.value_start
            starts[[column for column in storage.nominal_to_come if column < len(starts)]] = 0
        check(block, targets, weights, starts)

    def declare_nominal(self, columns: Iterable[int]) -> None:
        """Declare columns nominal that have not been learnt yet.

        Raises
        ------
        TypeError
            If a column is not an integer.
        ValueError
            If a column is negative or has been learnt as numeric.
        """
        upkeep.declare_nominal(self._storage, columns)

    # --- single trees -----------------------------------------------------------------------------------------------

    def reset(self, expert: int) -> None:
        """Reset a tree to a single empty leaf, without a background tree, with new monitors and counts of 0.

        It sees its own features, drawn or given, even if it was replaced by a tree that sees other features.
        """
        self._check_expert(expert)
        upkeep.start_anew(self._storage, expert)

    def clone(self, expert: int) -> TreePool:
        """Return a pool with a copy of one tree, its background tree and its monitors."""
        self._check_expert(expert)
        pool = TreePool.__new__(TreePool)
        vars(pool).update(vars(self) | {"_storage": self._storage.alone(expert)})
        return pool

    def replace(self, expert: int, pool: TreePool, source: int = 0) -> None:
        """Replace a tree by a copy of a tree from this pool or another.

        The copy goes on with the features that it sees. Its monitors and its background tree are copied if both pools
        have them; otherwise they are reset.

        Raises
        ------
        ValueError
            If the pools differ in features or nominal columns, or the tree has more nodes than this pool allows.
            Classes may differ.
        """
        self._check_expert(expert)
        pool._check_expert(source)
        upkeep.replace(self._storage, expert, pool._storage, source)

    def _check_expert(self, expert: int) -> None:
        if not 0 <= expert < self.n_experts:
            raise ValueError(
                f"expert {expert}; there are {self.n_experts}, choose 0 <= expert < {self.n_experts}"
            )

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def nominal_columns(self) -> list[int]:
        """Columns that hold codes of nominal values, in their order."""
        return [int(column) for column in self._storage.nominal]

    def state(self) -> State:
        """Return what the trees have learnt: numbers, lists and arrays by name, without the room for growth.

        Returns
        -------
        state
            `n_classes`, `n_features`; `n_nodes` and `last_seeds` of each tree; `nodes`, those of one tree after the
            other; `leaves`, `class_stats`, `class_order`, `is_complete`, `moments`, `arrivals`, `value_stats` of each
            leaf; `nominal`, `n_values`, `nominal_to_come`: columns with codes; `is_used`, `seed_entropy`,
            `first_tree`: features drawn; `trees_of`, `experts`, `windows`: background trees and monitors. See
            `driftmoe.trees.storage.ARRAYS`.
        """
        return state_of(self._storage)

    def restore(self, state: State) -> None:
        """Restore a state that `state` returned for a pool with the same arguments.

        From then on it predicts, learns, grows and draws exactly as the other pool.

        Raises
        ------
        TypeError, ValueError
            If an entry is unknown, missing, of the wrong type or shape, or damaged. The pool is then unchanged.
        """
        self._storage = restored(self._storage, state)

    # --- giving up leaves -------------------------------------------------------------------------------------------

    @property
    def max_leaves(self) -> int:
        """Most leaves of a tree."""
        return self._storage.max_leaves

    def bytes_at(self, max_leaves: int) -> int:
        """Return the most bytes that the arrays can take if no tree has more leaves and no new names come."""
        return self._storage.bytes_at(self._nodes_of(max_leaves))

    def pruned(self, max_leaves: int) -> TreePool:
        """Return a pool whose trees have at most this many leaves, now and later; see `driftmoe.trees.pruning`."""
        most_nodes = min(self._nodes_of(max_leaves), self._storage.max_nodes)
        pool = copy.copy(self)
        pool.restore(pruned(self.state(), most_nodes) | {LIMIT: most_nodes})
        return pool

    def _nodes_of(self, max_leaves: int) -> int:
        """Return the number of nodes that allows this many leaves."""
        return 2 * max_leaves - 1 if self._storage.n_branches == 2 else max_leaves

    # --- looking at a tree ------------------------------------------------------------------------------------------

    def describe(
        self,
        expert: int = 0,
        *,
        features: Sequence[Any] | None = None,
        classes: Sequence[Any] | None = None,
        values: Sequence[Sequence[Any] | None] | None = None,
    ) -> str:
        """Return a tree as text, with one line per leaf or branch, indented by depth.

        Parameters
        ----------
        expert
            Which tree.
        features, classes, values
            Names of the columns, of the classes, and of the codes of each nominal column; numbers by default.

        Examples
        --------
        >>> import numpy as np
        >>> from driftmoe.trees import TreePool
        >>> X = np.random.default_rng(1).normal(size=(1000, 2))
        >>> pool = TreePool()
        >>> pool.learn(X, (X[:, 1] > 0).astype(int))
        >>> print(pool.describe(features=["length", "width"], classes=["no", "yes"]))
        width <= -0.0697728
        |   no 1.000, weight 467.331
        width > -0.0697728
        |   yes 0.946, weight 532.669
        """
        return drawing.as_text(self._view(expert, features, classes, values))

    def draw(
        self,
        expert: int = 0,
        *,
        features: Sequence[Any] | None = None,
        classes: Sequence[Any] | None = None,
        values: Sequence[Sequence[Any] | None] | None = None,
        max_depth: int | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw a tree from left to right: boxes for splits and leaves, lines for branches and their tests.

        The box of a leaf shows its majority class, the share of that class, and its weight. The larger the share, the
        stronger the colour.

        Parameters
        ----------
        expert, features, classes, values
            As for `describe`.
        max_depth
            Number of levels of splits that are drawn. Each part of the tree below them is drawn as a box with its
            number of leaves. `None` for the whole tree.
        ax
            Where to draw; a new figure as large as the tree needs by default.

        Raises
        ------
        ValueError
            If there is no such tree, or `max_depth` is negative.
        """
        return drawing.draw(self._view(expert, features, classes, values), max_depth, ax)

    def path(
        self, expert: int, vector: np.ndarray, *, values: Sequence[Sequence[Any] | None] | None = None
    ) -> Path:
        """Return the way of one sample, shape (n_features,), down a tree; `values` as for `describe`."""
        return path_of(self._view(expert, None, None, values), vector)

    def _view(self, expert: int, *names: Any) -> drawing.View:
        self._check_expert(expert)
        return drawing.View(self._storage, self._storage.foreground[expert], *names)


def _first_rows(rows: np.ndarray, n: int) -> np.ndarray:
    return rows[:n]
