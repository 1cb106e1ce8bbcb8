"""The memory of a pool of Hoeffding trees: all in one set of arrays, which grow as needed.

Features, classes, values, nodes and experts may be added while running; columns and codes never move. Every array has
the trees as its leading axis, so that one call of `steps.step` serves all of them, or the slots: the places of the
leaves' statistics, which take nearly all of the memory. All trees share them, so that there are few more than leaves.
With monitors each expert has two trees, the one that votes and the one in the background; `_rows` says where they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Integral, Real
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from driftmoe.arithmetic import log
from driftmoe.encoding import MAX_ABSOLUTE
from driftmoe.threads import do_parts
from driftmoe.transaction import Changes, carry_out, planned, publication
from driftmoe.trees import adwin, grow, scan, steps
from driftmoe.trees.nodes import (
    ADAPTIVE,
    EQUALS,
    EXPERT,
    FOREGROUND,
    GINI,
    HELLINGER,
    INFO_GAIN,
    LAST_SEED,
    LEAF,
    LEAF_STATE,
    MAJORITY,
    N_FREE,
    N_LEAVES,
    N_MOMENTS,
    N_NODES,
    NAIVE_BAYES,
    NO_ALARM,
    NODE,
    NONE,
    NUMERIC,
    ROOT,
    RULES,
    WEIGHT,
)
from driftmoe.trees.room import lacks_room

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CRITERIA = {"info_gain": INFO_GAIN, "gini": GINI, "hellinger": HELLINGER}
LEAVES = {"mc": MAJORITY, "nb": NAIVE_BAYES, "nba": ADAPTIVE}

MAX_CODE = 65_535
"""Largest code of a nominal value: every leaf has a place for each value up to the largest seen."""

MAX_CLASS = 65_535
"""Largest target: every leaf has a place for each class up to the largest seen."""

UNBOUNDED = 2**31 - 1

MIN_SHARED = 256
"""Rows times trees below which starting threads costs more than it saves."""

MOST_ROWS = 1024
"""Rows of a block that trees learn in one step at most; between two steps they are given room for more leaves."""

SPARE_BYTES = 1 << 20
"""Memory that may be given to leaves which may not come, so that a block need not be cut."""

PER_TREE = (
    "_nodes",
    "_sizes",
    "_free",
    "_is_used",
)
"""The arrays with a leading tree axis, in the order in which the kernels take them."""

PER_SLOT = (
    "_leaves",
    "_class_stats",
    "_class_order",
    "_is_complete",
    "_moments",
    "_arrivals",
    "_value_stats",
)
"""The arrays with a leading slot axis, which come next."""

PER_EXPERT = ("_rows", "_experts", "_windows")
"""The arrays with a leading expert axis, likewise."""

_state_of = attrgetter(*PER_TREE, *PER_SLOT, "_value_start", "_n_values", "_nominal", *PER_EXPERT, "_rules")
"""The arrays of a pool that a kernel takes, in its order."""


class TreePool:
    """Hoeffding trees that see the same samples with different weights, and grow independently of each other.

    The settings are those of river's `HoeffdingTreeClassifier`, with its defaults.

    Parameters
    ----------
    n_experts
        Number of trees.
    nominal
        Columns that hold the codes 0, 1, 2, ... of nominal values; all others are numeric.
    grace_period
        Weight that a leaf sees between two attempts to split; 0 for an attempt at every sample.
    delta
        Probability that one attempt chooses another feature than infinitely many samples would; a sequence for one
        of each tree, whose number then stays as it is.
    tau
        Hoeffding bound below which the best split is taken although the second best is close.
    max_depth
        Splits above a leaf from which on it does not split but only counts classes; `None` for no limit.
    split_criterion
        `"info_gain"`, `"gini"`, or `"hellinger"`, which looks at classes 0 and 1 only.
    leaf_prediction
        `"mc"` the majority class, `"nb"` naive Bayes, `"nba"` the one of both that has been right more often.
    nb_threshold
        Weight from which on a leaf with `"nb"` uses naive Bayes.
    binary_split
        Whether a nominal feature may only be split into one value and the rest.
    min_branch_fraction
        A split counts if two branches at least have a larger share of the weight than this, 0 to 1.
    max_share_to_split
        A leaf whose majority class has a larger share than this, 0 to 1, does not split.
    max_nodes
        Most nodes of one tree, splits and leaves, at least 1; `None` for no limit. As the room gets less, the leaves
        with least weight outside their majority class stop growing first, and looking for splits; all go on learning.
    warning_delta, drift_delta
        Risk of a false alarm of two monitors of each expert (ADWIN, Bifet & Gavaldà 2007), 0 < delta < 1, as in
        adaptive random forests (Gomes et al. 2017); `None` for none. They watch whether the expert's vote before
        learning was wrong, on the samples that it learns, whatever their weight. If the first finds that the error has
        risen, an empty tree begins to learn the expert's samples in the background, also in the place of one that
        does already. If the second does, the tree in the background, or an empty one if there is none, takes the
        expert's place, and both monitors begin anew.
    max_features
        Features that a leaf may split on: a number of them, or a share between 0 and 1; `None` for all; a sequence for
        one of each tree, as with `delta`. Each leaf draws its own when it begins and keeps them; naive Bayes goes on
        using all. A feature that is new may take the place of one that a leaf has drawn.
    feature_subsets
        Features that a tree sees at all: which ones, of booleans (n_experts, n_features), or a share of them between
        0 and 1 for each tree to draw; `None` for all. The others change nothing in it. Columns and trees that come
        after an array see, and are seen by, all; with a share a tree draws it of the columns that are there when it
        begins, and takes in each later one with this probability.
    seed
        Of the features drawn; `None` for another draw each time.
    n_threads
        Threads that share the trees of a block between them, at least 1; the result does not depend on it. Blocks with
        little to do are left to one thread.

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
        _check_number("n_experts", n_experts, 0, kind=Integral)
        if split_criterion not in tuple(CRITERIA):
            raise ValueError(f"unknown split_criterion {split_criterion!r}; available: {', '.join(CRITERIA)}")
        if leaf_prediction not in tuple(LEAVES):
            raise ValueError(f"unknown leaf_prediction {leaf_prediction!r}; available: {', '.join(LEAVES)}")
        if not isinstance(binary_split, bool | np.bool_):
            raise TypeError(f"binary_split={binary_split!r}; choose True or False")
        deltas, shares = (
            _one_each("delta", delta, n_experts),
            _one_each("max_features", max_features, n_experts),
        )
        for value in deltas:
            _check_risk("delta", value)
        _check_number("grace_period", grace_period, 0)
        _check_number("tau", tau, 0)
        _check_number("nb_threshold", nb_threshold, 0)
        _check_number("min_branch_fraction", min_branch_fraction, 0, 1)
        _check_number("max_share_to_split", max_share_to_split, 0, 1)
        _check_number("max_depth", max_depth, 0, kind=Integral, none="no limit")
        _check_number("max_nodes", max_nodes, 1, kind=Integral, none="no limit")
        _check_number("seed", seed, 0, kind=Integral, none="another draw each time")
        _check_number("n_threads", n_threads, 1, kind=Integral)
        rules = np.zeros(max(len(deltas), len(shares)), RULES)  # one for all trees, or one for each
        rules["grace_period"] = grace_period
        rules["log_inverse_delta"] = [log(1.0 / value) for value in deltas]
        rules["tau"] = tau
        rules["min_branch_fraction"] = min_branch_fraction
        rules["max_share_to_split"] = max_share_to_split
        rules["nb_threshold"] = nb_threshold
        rules["max_depth"] = UNBOUNDED if max_depth is None else min(max_depth, UNBOUNDED)
        rules["max_nodes"] = UNBOUNDED if max_nodes is None else min(max_nodes, UNBOUNDED)
        rules["criterion"] = CRITERIA[split_criterion]
        rules["leaf_prediction"] = LEAVES[leaf_prediction]
        rules["binary_split"] = binary_split
        rules["max_features"] = [_most_features(value) for value in shares]
        self._rules = rules
        if warning_delta is not None and drift_delta is None:
            raise ValueError(
                f"warning_delta={warning_delta} without drift_delta: a tree in the background would never be used; "
                "choose both, or drift_delta alone"
            )
        for name, risk in (("warning_delta", warning_delta), ("drift_delta", drift_delta)):
            if risk is not None:
                _check_risk(name, risk, none="no monitor")
                rules[name] = risk
        self.n_threads = n_threads
        self._entropy = np.random.SeedSequence(seed).entropy
        self._subset_share = 1.0
        self._given_subsets = np.ones((0, 0), np.bool_)
        if feature_subsets is not None and np.ndim(feature_subsets) == 0:
            _check_number("feature_subsets", feature_subsets, 0, 1, none="all features")
            self._subset_share = float(feature_subsets)  # type: ignore[arg-type]  # it is a number
        elif feature_subsets is not None:
            self._given_subsets = np.array(feature_subsets)
        if not 0.0 < self._subset_share <= 1.0:
            raise ValueError(f"feature_subsets={self._subset_share}; a share lies above 0 and is at most 1")
        if self._given_subsets.dtype != np.bool_ or self._given_subsets.ndim != 2:
            raise ValueError(
                f"feature_subsets of type {self._given_subsets.dtype} and shape {self._given_subsets.shape}; give "
                "booleans, one row a tree and one column a feature"
            )

        self.n_features = 0
        self.n_classes = 0
        n_room = min(4, int(rules[0]["max_nodes"]))
        self._nodes = np.zeros((0, n_room), NODE)
        self._sizes = np.zeros((0, 4), np.int64)
        self._free = np.zeros((0, 0), np.int32)
        self._is_used = np.zeros((0, 0), np.bool_)
        self._leaves = np.zeros(0, LEAF_STATE)
        self._class_stats = np.zeros((0, 3, 0))
        self._class_order = np.zeros((0, 0), np.int32)
        self._is_complete = np.zeros((0, 0), np.bool_)
        self._moments = np.zeros((0, N_MOMENTS, 0, 0))
        self._arrivals = np.zeros((0, 0, 1), np.int32)
        self._value_stats = np.zeros((0, 2, 0, 0))
        self._spare = np.zeros(0, np.int32)  # slots that no tree holds
        self._rows = np.zeros((0, 2), np.int64)
        self._experts = np.zeros(0, EXPERT)
        self._windows = np.zeros((0, 2), adwin.WINDOW)
        self._value_start = np.zeros(0, np.int64)
        self._value_room = np.zeros(0, np.int64)
        self._n_values = np.zeros(0, np.int64)
        self._nominal = np.zeros(0, np.int64)
        self._n_branches = 2  # most that a split can have
        self._nominal_to_come: set[int] = set()
        self._first_drawn = (
            0  # of the trees that features are drawn for, the first one here; a clone has its own
        )
        self.declare_nominal(nominal)
        self._add_experts(n_experts)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def n_experts(self) -> int:
        """Number of trees that vote."""
        return len(self._rows)

    @property
    def n_nodes(self) -> np.ndarray:
        """Nodes of each tree, splits and leaves, shape (n_experts,)."""
        return self._sizes[self._foreground, N_NODES]

    @property
    def n_leaves(self) -> np.ndarray:
        """Leaves of each tree, shape (n_experts,)."""
        return self._sizes[self._foreground, N_LEAVES]

    @property
    def depth(self) -> np.ndarray:
        """Splits on the longest way down each tree, shape (n_experts,)."""
        return np.array([nodes["depth"].max() for nodes in map(self._nodes_of, self._foreground)])

    @property
    def weight_seen(self) -> np.ndarray:
        """Weight that the leaves of each tree account for, shape (n_experts,).

        It is less than the weight learnt: a leaf that splits hands down what it has observed itself, not what came down
        to it, and of a feature that is missing in some samples only the others.
        """
        return np.array([self._leaves["weight"][self._slots_of(r)].sum() for r in self._foreground])

    @property
    def n_warnings(self) -> np.ndarray:
        """How often a tree began in the background of each expert, shape (n_experts,)."""
        return self._experts["n_warnings"].copy() if self._is_watched else np.zeros(self.n_experts, np.int64)

    @property
    def n_replaced(self) -> np.ndarray:
        """How often a drift ended the tree of each expert, shape (n_experts,)."""
        return self._experts["n_replaced"].copy() if self._is_watched else np.zeros(self.n_experts, np.int64)

    @property
    def n_replaced_so_far(self) -> np.ndarray:
        """As `n_replaced`, of all times: where there are monitors a view that goes on counting."""
        return self._experts["n_replaced"] if self._is_watched else np.zeros(self.n_experts, np.int64)

    @property
    def has_background(self) -> np.ndarray:
        """Whether a tree grows in the background of each expert, shape (n_experts,)."""
        return (
            self._experts["has_background"] == 1 if self._is_watched else np.zeros(self.n_experts, np.bool_)
        )

    @property
    def _foreground(self) -> np.ndarray:
        return self._rows[:, FOREGROUND]

    def _nodes_of(self, row: int) -> np.ndarray:
        """Return the nodes of a tree that are in use."""
        return self._nodes[row, : self._sizes[row, N_NODES]]

    def _slots_of(self, row: int) -> np.ndarray:
        """Return the slots of the leaves of a tree, in the order of their nodes."""
        nodes = self._nodes_of(row)
        return nodes["slot"][nodes["kind"] == LEAF].astype(np.int64)

    @property
    def _is_watched(self) -> bool:
        return bool(self._rules[0]["drift_delta"] > 0.0)

    @property
    def _trees_each(self) -> int:
        """Rows of an expert: those from here times the expert's number on."""
        return 2 if self._rules[0]["warning_delta"] > 0.0 else 1

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays, room for growth included."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    # --- predict, learn, both ---------------------------------------------------------------------------------------

    def predict_proba(self, vectors: ArrayLike) -> np.ndarray:
        """Return the class probabilities of each tree; changes nothing.

        Parameters
        ----------
        vectors
            One sample (n_features,) or a block (n_rows, n_features); NaN where a value is missing. Columns never learnt
            are passed over, missing ones at the end are taken as missing values.

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
        block, is_single = _as_block(vectors)
        self._check(block, _NO_TARGETS, np.empty((0, self.n_experts)))
        proba = self.predict_checked(block)
        return proba[0] if is_single else proba

    def predict_checked(self, block: np.ndarray) -> np.ndarray:
        """As `predict_proba`, of a float64 block whose numbers have been checked: the short way for one row."""
        proba = np.empty((len(block), self.n_experts, self.n_classes))
        self._predict(self._fit(block), proba)
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
    ) -> np.ndarray:
        """Plan, for each row in order, to predict with every tree, then to learn; of arrays that have been checked.

        Parameters
        ----------
        block
            float64, shape (n_rows, n_features); best not more rows than `n_rows_with_room` says.
        targets
            int64, shape (n_rows, 1) or (n_rows, n_experts), below `n_classes`.
        weights
            float64, shape (n_rows, n_experts).
        n_classes
            Classes known so far, at least.
        changes
            Gets what is left to do; what must grow has grown on a draft.
        n_experts
            Number of trees from now on, if more than so far.
        nominal
            Columns that hold codes, if they are new.

        Returns
        -------
        expert_proba
            As of `step`; written by the changes.
        """
        draft = self._with_room(block, n_classes, n_experts or 0, nominal)
        draft = draft._with_leaves(len(block), weights)
        if draft is not self:
            changes.append(publication(self, draft))
        proba = np.empty((len(block), draft.n_experts, draft.n_classes))
        changes.append(draft._learning(draft._fit(block), targets, weights, proba))
        return proba

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows can be learnt in one step without room for many leaves that may not come.

        Parameters
        ----------
        n_rows
            Rows that there are.
        weights
            Gives, for a number of rows, the most that they weigh for each expert, shape (n_rows, n_experts).

        Returns
        -------
        n_rows
            At least 1, for which `plan` makes room where there is none.
        """
        if n_rows == 1 or self._room_lacking(n_rows, None) is None:
            return n_rows
        of_one_row = self._room_lacking(1, None)
        free = self._sizes[:, N_FREE]  # or what must be free in any case
        free = free if of_one_row is None else np.maximum(free, of_one_row[:, 1])
        while n_rows > 1:
            total = None if weights is None else weights(n_rows).sum(axis=0)
            room = self._room_lacking(n_rows, total)
            if room is None or self._is_small(np.maximum(room[:, 1] - free, 0)):
                return n_rows
            n_rows //= 2
        return n_rows

    def _is_small(self, missing: np.ndarray) -> bool:
        """Whether so many more leaves for each tree would take little memory, or little beside what there is."""
        arrays = [getattr(self, name) for name in PER_SLOT]
        of_leaf = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in arrays)
        return int(missing.sum()) * of_leaf <= max(SPARE_BYTES, sum(array.nbytes for array in arrays) // 8)

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
            Weight of the sample for each tree, (n_experts,) or (n_rows, n_experts); 0 for a tree that does not see it.
            1 for all by default.
        n_experts
            Number of trees from now on, if more than so far; the new ones are empty.

        Raises
        ------
        ValueError
            If shapes do not fit, a number lies beyond ±1e100, a nominal column holds no code, a class index is
            negative, or a weight negative or not finite. Then nothing has been learnt.
        """
        self._learn(*_as_block(vectors), targets, weights, n_experts, is_predicting=False)

    def step(
        self,
        vectors: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        n_experts: int | None = None,
    ) -> np.ndarray:
        """For each row in order, predict with every tree, then learn; arguments and errors as of `learn`.

        Returns
        -------
        expert_proba
            What `predict_proba` would have said before each row was learnt, with a column for every class up to the
            largest in `targets`.
        """
        block, is_single = _as_block(vectors)
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
        target_array = np.ascontiguousarray(targets)
        if target_array.size and target_array.dtype.kind not in "iu":
            raise ValueError(f"targets are {target_array.dtype}; give the indices of the classes as integers")
        target_array = _writeable(target_array.astype(np.int64, copy=False))
        if target_array.ndim < 2:
            target_array = target_array.reshape((1, -1) if is_single else (-1, 1))
        if weights is None:
            weight_array = np.ones((len(block), n_experts))
        else:
            weight_array = _writeable(np.ascontiguousarray(weights, dtype=np.float64))
            if weight_array.ndim == 1:
                weight_array = weight_array[np.newaxis]
        shapes = (len(block), 1), (len(block), n_experts)
        if target_array.shape not in shapes or weight_array.shape != (len(block), n_experts):
            raise ValueError(
                f"{len(block)} samples, targets of shape {np.shape(targets)} and weights of shape {weight_array.shape} "
                f"do not fit; give one target a sample, or one for each tree as in weights ({len(block)}, {n_experts})"
            )
        self._check(block, target_array, weight_array)
        if not len(block):
            return np.empty((0, n_experts, self.n_classes))
        draft = self._with_room(block, int(target_array.max()) + 1, n_experts, ())
        publication(self, draft)()
        proba = np.empty((len(block) if is_predicting else 0, n_experts, self.n_classes))
        block, start = self._fit(block), 0
        while start < len(block):
            left = weight_array[start : start + MOST_ROWS]
            stop = start + self.n_rows_with_room(len(left), partial(_first_rows, left))
            rows = slice(start, stop)
            draft = self._with_leaves(stop - start, weight_array[rows])
            changes = [publication(self, draft)] if draft is not self else []
            of_rows = proba[rows] if is_predicting else proba
            changes.append(
                draft._learning(
                    block[rows], np.ascontiguousarray(target_array[rows]), weight_array[rows], of_rows
                )
            )
            carry_out(changes)
            start = stop
        return proba

    def _predict(self, block: np.ndarray, proba: np.ndarray) -> None:
        no_weights, progress = np.empty((0, self.n_experts)), np.zeros((self.n_experts, 2), np.int64)
        arguments = (*_state_of(self), block, _NO_TARGETS, no_weights, self._n_branches, progress, proba)
        self._share(arguments, len(block))()

    def _learning(
        self, block: np.ndarray, targets: np.ndarray, weights: np.ndarray, proba: np.ndarray
    ) -> Callable[[], Any]:
        """Return the change that lets each tree go through the rows."""
        progress = np.zeros((self.n_experts, 2), np.int64)
        arguments = (*_state_of(self), block, targets, weights, self._n_branches, progress, proba)
        return self._share(arguments, len(block))

    def _share(self, arguments: tuple[Any, ...], n_rows: int) -> Callable[[], Any]:
        """Return the call of the kernel, by one thread or by several, each for other experts.

        What threads have begun they end, so that an interrupt, which meets the one that waits, finds the rest undone at
        most; called again it goes on there.
        """
        n_experts = self.n_experts
        n_threads = min(self.n_threads, n_experts) if n_rows * n_experts >= MIN_SHARED else 1
        if n_threads == 1:
            return planned(steps.step, *arguments, 0, n_experts)
        planned(steps.step, *arguments, 0, n_experts)  # compiled before threads ask for it all at once
        return lambda: any(do_parts(lambda e: steps.step(*arguments, e, e + 1), n_experts, n_threads))

    def _check(self, block: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> None:
        starts, n_known = self._value_start, len(self._value_start)
        if self._nominal_to_come and block.shape[1] > n_known:
            starts = np.full(block.shape[1], NONE, starts.dtype)
            starts[:n_known] = self._value_start
            starts[[column for column in self._nominal_to_come if column < len(starts)]] = 0
        what, row, column = scan.first_wrong(
            block, targets, weights, starts, MAX_ABSOLUTE, MAX_CODE, MAX_CLASS
        )
        if what == scan.NUMBER:
            raise ValueError(
                f"row {row}, column {column} is {block[row, column]}; numbers must lie within ±{MAX_ABSOLUTE:g}: clip "
                "it, or give NaN if it is missing"
            )
        if what == scan.CODE:
            raise ValueError(
                f"row {row}, nominal column {column} is {block[row, column]}; allowed are the codes 0, 1, ... "
                f"{MAX_CODE}, and NaN for a missing value"
            )
        if what == scan.TARGET:
            raise ValueError(
                f"target {targets[row, column]} in row {row}; allowed are the indices 0, 1, ... {MAX_CLASS}"
            )
        if what == scan.WEIGHT:
            raise ValueError(
                f"weight {weights[row, column]} in row {row} for expert {column}; choose a finite weight of 0 or more"
            )

    def _fit(self, block: np.ndarray) -> np.ndarray:
        """Return the block with as many columns as there are features."""
        n_columns = block.shape[1]
        if n_columns == self.n_features:
            return block
        if n_columns > self.n_features:
            return np.ascontiguousarray(block[:, : self.n_features])
        fitted = np.full((len(block), self.n_features), np.nan)
        fitted[:, :n_columns] = block
        return fitted

    # --- single trees -----------------------------------------------------------------------------------------------

    def reset(self, expert: int) -> None:
        """Make a tree as new: one leaf that has seen nothing; with its background, its monitors and their counts.

        It sees the features that are its own, drawn or given, also after a tree that sees others was put in its place.
        """
        self._check_expert(expert)
        self._rows[
            expert, : self._trees_each
        ].sort()  # the tree in front, where a background had taken its place
        for row in self._rows[expert]:
            self._draw_own(row)
            self._start(row, row + 1)
        if self._is_watched:
            self._experts[expert] = _NEW_EXPERT
            self._windows[expert] = np.zeros((), adwin.WINDOW)

    def clone(self, expert: int) -> TreePool:
        """Return a pool of one that holds a copy of a tree, with its background and monitors."""
        self._check_expert(expert)
        pool = TreePool.__new__(TreePool)
        vars(pool).update({
            name: value.copy() if isinstance(value, np.ndarray | set) else value
            for name, value in vars(self).items()
            if name not in PER_TREE + PER_SLOT + PER_EXPERT
        })  # fmt: skip
        if len(self._rules) > 1:
            pool._rules = self._rules[expert : expert + 1].copy()
        rows = self._rows[expert, : self._trees_each]
        slots = np.concatenate([self._slots_of(row) for row in rows])
        for names, places in ((PER_TREE, rows), (PER_SLOT, slots)):
            for name in names:
                setattr(pool, name, getattr(self, name)[places])
        new_slots = np.zeros(len(self._leaves), np.int32)
        new_slots[slots] = np.arange(len(slots))
        for nodes in map(pool._nodes_of, range(len(rows))):
            is_leaf = nodes["kind"] == LEAF
            nodes["slot"][is_leaf] = new_slots[nodes["slot"][is_leaf]]
        pool._sizes[:, N_FREE] = 0
        most = int(pool._sizes[:, N_LEAVES].max())  # that a tree frees when it begins anew
        pool._free = np.zeros((len(rows), most), np.int32)
        pool._spare = pool._spare[:0].copy()
        pool._rows = np.array([[0, self._trees_each - 1]])
        pool._first_drawn = self._first_drawn + expert
        pool._experts = self._experts[expert : expert + 1].copy()
        pool._windows = self._windows[expert : expert + 1].copy()
        return pool

    def replace(self, expert: int, pool: TreePool, source: int = 0) -> None:
        """Put a copy of a tree of a pool, this one or another, in the place of a tree.

        It goes on with the features that it sees. Its monitors and what is in its background come along where both
        pools have these, else they are as new.

        Raises
        ------
        ValueError
            If the other pool has other features or nominal columns than this one, or the tree has more nodes than trees
            may have here; classes may differ.
        """
        self._check_expert(expert)
        pool._check_expert(source)
        n_nodes = pool._sizes[pool._rows[source, : pool._trees_each], N_NODES].max()
        if n_nodes > self._max_nodes:
            raise ValueError(
                f"the tree has {n_nodes} nodes and this pool has max_nodes={self._max_nodes}; choose a smaller tree, "
                "or a pool with more room"
            )
        if pool is not self:
            if pool.n_features != self.n_features or not np.array_equal(pool._nominal, self._nominal):
                raise ValueError(
                    f"the other pool has {pool.n_features} features, nominal {pool._nominal.tolist()}, this one has "
                    f"{self.n_features}, nominal {self._nominal.tolist()}; choose a tree that saw the same columns"
                )
            self._adopt_sizes(pool)
            pool = pool.clone(source)
            pool._adopt_sizes(self)
            source = 0
        elif source == expert:
            return
        self.reset(expert)
        n_common = min(self._trees_each, pool._trees_each)
        for to, of in zip(self._rows[expert, :n_common], pool._rows[source, :n_common], strict=True):
            self._copy_tree(to, pool, of)
        if self._is_watched and pool._is_watched:
            self._experts[expert] = pool._experts[source]
            self._windows[expert] = pool._windows[source]
            self._experts[expert]["has_background"] *= n_common - 1

    def _copy_tree(self, to: int, pool: TreePool, of: int) -> None:
        """Put a copy of a tree of a pool with the same room in the place of an empty one."""
        n_leaves, n_free = int(pool._sizes[of, N_LEAVES]), N_FREE
        needed = np.zeros(len(self._sizes), np.int64)
        needed[to] = n_leaves - 1
        self._share_slots(needed)
        last = self._sizes[to, n_free]
        slots = np.append(self._slots_of(to), self._free[to, last - (n_leaves - 1) : last])
        self._nodes[to], self._is_used[to] = pool._nodes[of], pool._is_used[of]
        self._sizes[to, :n_free] = pool._sizes[of, :n_free]
        self._sizes[to, n_free] -= n_leaves - 1
        for name in PER_SLOT:
            getattr(self, name)[slots] = getattr(pool, name)[pool._slots_of(of)]
        nodes = self._nodes_of(to)
        nodes["slot"][nodes["kind"] == LEAF] = slots

    def _check_expert(self, expert: int) -> None:
        if not 0 <= expert < self.n_experts:
            raise ValueError(
                f"expert {expert}; there are {self.n_experts}, choose 0 <= expert < {self.n_experts}"
            )

    def _adopt_sizes(self, pool: TreePool) -> None:
        """Have at least as much room as another pool of the same features, and for each value in the same place."""
        self._n_values = np.maximum(self._n_values, pool._n_values)
        self._n_branches = max(self._n_branches, pool._n_branches)
        room = np.maximum(self._value_room, pool._value_room)
        if not np.array_equal(room, self._value_room):
            self._lay_out_values(room)
        self.n_classes = max(self.n_classes, pool.n_classes)
        n_nodes, n_classes, n_features = map(max, self._rooms(), pool._rooms())
        self._resize(n_nodes, len(self._leaves), n_classes, n_features)

    # --- growing ----------------------------------------------------------------------------------------------------

    def declare_nominal(self, columns: Iterable[int]) -> None:
        """Declare columns nominal that have not been learnt yet.

        Raises
        ------
        TypeError
            If a column is no integer.
        ValueError
            If a column is negative or has been learnt as numeric.
        """
        for column in columns:
            _check_number("nominal column", column, 0, kind=Integral)
            if column >= self.n_features:
                self._nominal_to_come.add(int(column))
            elif self._value_start[column] == NONE:
                raise ValueError(
                    f"column {column} has been learnt as numeric; declare a column nominal before it is first learnt"
                )

    def _rooms(self) -> tuple[int, int, int]:
        """Capacity for the nodes of a tree, for classes and for features."""
        return self._nodes.shape[1], self._moments.shape[2], self._moments.shape[3]

    def _with_room(
        self, block: np.ndarray, n_classes: int, n_experts: int, nominal: Iterable[int]
    ) -> TreePool:
        """Return a pool that knows the features, classes and values of a block; this one stays as it is."""
        n_columns = block.shape[1]
        has_new = n_classes > self.n_classes or n_columns > self.n_features or n_experts > self.n_experts
        n_values = self._n_values.copy()
        if not has_new and not (len(self._nominal) and scan.count_values(block, self._nominal, n_values)):
            return self
        draft = self._draft()
        draft.declare_nominal(column for column in nominal if column >= self.n_features)
        draft._add_experts(n_experts - self.n_experts)
        draft._make_room(block, n_classes)
        return draft

    def _draft(self) -> TreePool:
        """Return a pool of the same arrays, but for those that growing writes to."""
        draft = copy.copy(self)
        for name in ("_sizes", "_free", "_n_values", "_nominal_to_come"):
            setattr(draft, name, getattr(self, name).copy())
        return draft

    def _make_room(self, block: np.ndarray, n_classes: int) -> None:
        """Take in new features, classes and values."""
        n_columns = block.shape[1]
        n_nodes, class_room, feature_room = self._rooms()
        if n_classes > self.n_classes:
            self.n_classes = n_classes
        if self.n_classes > class_room or n_columns > feature_room:
            self._resize(
                n_nodes,
                len(self._leaves),
                _enough(class_room, self.n_classes),
                _enough(feature_room, n_columns),
            )
        if n_columns > self.n_features:
            new = np.arange(self.n_features, n_columns)
            is_nominal = np.isin(new, list(self._nominal_to_come))
            self._nominal_to_come.difference_update(new.tolist())
            self._nominal = np.concatenate([self._nominal, new[is_nominal]])
            self._value_start = np.concatenate([self._value_start, np.where(is_nominal, 0, NONE)])
            self._value_room = np.concatenate([self._value_room, np.zeros(len(new), np.int64)])
            self._n_values = np.concatenate([self._n_values, np.zeros(len(new), np.int64)])
            self._is_complete = np.zeros_like(self._is_complete)
            n_trees = len(self._sizes)
            used = [self._draw_features(r, self.n_features, n_columns) for r in range(n_trees)]
            self._is_used = np.hstack([self._is_used, np.array(used).reshape(n_trees, len(new))])
            self.n_features = n_columns
        if len(self._nominal) and scan.count_values(block, self._nominal, self._n_values):
            self._n_branches = max(2, int(self._n_values.max()))
            room, needed = self._value_room, self._n_values
            if (needed > room).any():
                self._lay_out_values(np.where(needed > room, np.maximum(needed, 2 * room), room))

    def _lay_out_values(self, room: np.ndarray) -> None:
        """Give each nominal feature its room for values, and move their weights there."""
        start = np.where(self._value_start == NONE, NONE, np.cumsum(room) - room)
        n_slots, n_planes, _, n_classes = self._value_stats.shape
        stats = np.zeros((n_slots, n_planes, int(room.sum()), n_classes))
        for f in self._nominal:
            old, new, size = self._value_start[f], start[f], self._value_room[f]
            stats[:, :, new : new + size] = self._value_stats[:, :, old : old + size]
        self._value_stats, self._value_start, self._value_room = stats, start, room

    def _resize(self, n_nodes: int, n_slots: int, n_classes: int, n_features: int) -> None:
        """Give each tree room for so many nodes, and all together for so much else; what there is stays where it is."""
        shapes: dict[str, tuple[int, ...]] = {
            "_nodes": (len(self._sizes), n_nodes),
            "_leaves": (n_slots,),
            "_class_stats": (n_slots, 3, n_classes),
            "_class_order": (n_slots, n_classes),
            "_is_complete": (n_slots, n_classes),
            "_moments": (n_slots, N_MOMENTS, n_classes, n_features),
            "_arrivals": (n_slots, n_features, 1 + n_classes),
            "_value_stats": (n_slots, 2, self._value_stats.shape[2], n_classes),
        }
        for name, shape in shapes.items():
            setattr(self, name, _enlarged(getattr(self, name), shape))

    def _room_lacking(self, n_rows: int, weights: np.ndarray | None) -> np.ndarray | None:
        """Return the nodes and free leaves that each tree may need for some rows, `None` where all have enough."""
        if weights is None:
            weights = np.full(self.n_experts, np.inf)
        room = np.zeros((len(self._sizes), 2), np.int64)
        lacks = lacks_room(
            self._nodes, self._sizes, self._leaves, self._rows, self._experts, self._rules, self._n_branches,
            len(self._nominal) > 0, weights, n_rows, room,
        )  # fmt: skip
        return room if lacks else None

    def _with_leaves(self, n_rows: int, weights: np.ndarray) -> TreePool:
        """Return a pool with the nodes and leaves that trees may need to learn some rows; this one stays as it is."""
        room = self._room_lacking(n_rows, None)
        if room is not None and n_rows > 1:
            room = self._room_lacking(n_rows, weights.sum(axis=0))
        if room is None:
            return self
        draft = self._draft()
        n_nodes, n_classes, n_features = self._rooms()
        n_nodes = min(_enough(n_nodes, int(room[:, 0].max())), self._max_nodes)
        draft._resize(n_nodes, len(self._leaves), n_classes, n_features)
        draft._share_slots(room[:, 1])
        return draft

    @property
    def _max_nodes(self) -> int:
        return int(self._rules[0]["max_nodes"])

    def _share_slots(self, needed: np.ndarray) -> None:
        """Give each tree so many free slots, shape (n_trees,), up to the bound, and some more so as not to ask soon.

        They come from trees that hold far more, because they began anew; if these are too few, there will be more.
        """
        n_leaves, n_free = self._sizes[:, N_LEAVES], self._sizes[:, N_FREE]
        max_leaves = (self._max_nodes + 1) // 2 if self._n_branches == 2 else self._max_nodes
        enough = np.minimum(needed + 2 + n_leaves // 4, max_leaves - n_leaves)
        missing = np.maximum(enough - n_free, 0)
        surplus = np.where(n_free > 2 * enough + self._n_branches, n_free - enough, 0)
        for row in surplus.nonzero()[0]:
            n_free[row] -= surplus[row]
            self._spare = np.append(self._spare, self._free[row, n_free[row] :][: surplus[row]])
        n_slots, n_new = len(self._leaves), int(missing.sum()) - len(self._spare)
        if n_new > 0:
            n_slots = min(_enough(n_slots, n_slots + n_new), len(self._sizes) * max_leaves)
            n_nodes, n_classes, n_features = self._rooms()
            self._spare = np.append(self._spare, np.arange(len(self._leaves), n_slots, dtype=np.int32))
            self._resize(n_nodes, n_slots, n_classes, n_features)
        most = int((n_leaves + n_free + missing).max(initial=0))  # that a tree frees when it begins anew
        self._free = _enlarged(self._free, (len(self._sizes), max(most, self._free.shape[1])))
        for row in missing.nonzero()[0]:
            left = len(self._spare) - missing[row]
            self._free[row, n_free[row] : n_free[row] + missing[row]] = self._spare[left:]
            self._spare = self._spare[:left]
            n_free[row] += missing[row]

    def _add_experts(self, n_new: int) -> None:
        if n_new <= 0:
            return
        n_experts, each = self.n_experts + n_new, self._trees_each
        if len(self._rules) > 1 and n_experts > len(self._rules):
            raise ValueError(
                f"n_experts={n_experts} but there are settings for {len(self._rules)} trees; give delta and "
                "max_features once for all trees where their number grows"
            )
        first, last = each * self.n_experts, each * n_experts
        for name in PER_TREE:
            array = getattr(self, name)
            setattr(self, name, _enlarged(array, (last, *array.shape[1:])))
        new_rows = np.arange(first, last).reshape(n_new, each)[:, [0, -1]]
        self._rows = np.concatenate([self._rows, new_rows])
        if self._is_watched:
            self._experts = np.concatenate([self._experts, np.full(n_new, _NEW_EXPERT)])
            self._windows = _enlarged(self._windows, (n_experts, 2))
        for row in range(first, last):
            self._draw_own(row)
        self._share_slots(np.repeat([0, 1], [first, last - first]))
        self._start(first, last)

    def _draw_own(self, row: int) -> None:
        """Give a tree that begins the seed and the features that are its own, whatever has been copied to its place."""
        if (self._rules["max_features"] < np.inf).any():
            key = (self._first_drawn * self._trees_each + row,)
            seeds = np.random.SeedSequence(self._entropy, spawn_key=key)
            self._sizes[row, LAST_SEED] = seeds.generate_state(1)[0]
        self._is_used[row] = self._draw_features(row, 0, self.n_features)

    def _draw_features(self, row: int, first: int, last: int) -> np.ndarray:
        """Whether a tree sees each of the columns from `first` up to `last`; one in the background sees the same."""
        expert = self._first_drawn + row // self._trees_each
        is_used = np.ones(last - first, np.bool_)
        if expert < len(self._given_subsets):
            given = self._given_subsets[expert, first:last]
            is_used[: len(given)] = given
        if self._subset_share < 1.0 and last > first:
            key = np.random.SeedSequence(self._entropy, spawn_key=(expert, first))
            draws = np.random.default_rng(key).random(last - first)
            n_drawn = max(1, round(self._subset_share * (last - first)))
            is_used = draws < self._subset_share if first else draws <= np.sort(draws)[n_drawn - 1]
        return is_used

    def _start(self, first: int, last: int) -> None:
        arrays = [getattr(self, name) for name in PER_TREE + PER_SLOT]
        grow.start_trees(*arrays, self._value_start, self._n_values, self._nominal, first, last)

    # --- looking at a tree ------------------------------------------------------------------------------------------

    def describe(
        self,
        expert: int = 0,
        *,
        features: Sequence[Any] | None = None,
        classes: Sequence[Any] | None = None,
        values: Sequence[Sequence[Any] | None] | None = None,
    ) -> str:
        """Return a tree as text, one line a leaf or branch, indented by depth.

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
        self._check_expert(expert)

        def lines(node: int, indent: str) -> Iterable[str]:
            branches = list(self._branches(expert, node, features, values))
            if not branches:
                label, share, weight = self._leaf(expert, node)
                if label == NONE:
                    yield f"{indent}nothing seen"
                else:
                    yield f"{indent}{label if classes is None else classes[label]} {share:.3f}, weight {weight:.6g}"
            for name, test, child in branches:
                yield f"{indent}{name} {test}"
                yield from lines(child, indent + "|   ")

        return "\n".join(lines(ROOT, ""))

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
        """Draw a tree from left to right: a box a split, a line a branch with its test, a coloured box a leaf.

        A leaf names its majority class, the share of that class, which is also how strong its colour is, and its
        weight.

        Parameters
        ----------
        expert, features, classes, values
            As for `describe`.
        max_depth
            Splits from the root on which are drawn; what lies below one is drawn as a box with the number of its
            leaves. `None` for all.
        ax
            Where to draw; a new figure as large as the tree needs by default.

        Raises
        ------
        ValueError
            If there is no such tree, or `max_depth` is negative.
        """
        self._check_expert(expert)
        if max_depth is not None and max_depth < 0:
            raise ValueError(f"max_depth={max_depth}; choose 0 or more, or None for the whole tree")
        import matplotlib.pyplot as plt  # a pool that is not drawn does without

        def n_leaves(node: int) -> int:
            return sum(n_leaves(child) for _, _, child in self._branches(expert, node)) or 1

        boxes: list[
            tuple[float, float, str, int, float]
        ] = []  # depth, height, text, class or NONE, its share
        lines: list[
            tuple[float, float, float, str]
        ] = []  # depth and height of a split, height of its branch, test
        n_drawn = 0  # leaves so far: each has a line of its own

        def place(node: int, depth: int) -> float:
            nonlocal n_drawn
            branches = list(self._branches(expert, node, features, values))
            if branches and (max_depth is None or depth < max_depth):
                heights = [place(child, depth + 1) for _, _, child in branches]
                height = (heights[0] + heights[-1]) / 2
                lines.extend(
                    (depth, height, h, test) for h, (_, test, _) in zip(heights, branches, strict=True)
                )
                boxes.append((depth, height, branches[0][0], NONE, 0.0))
                return height
            height = -float(n_drawn)
            n_drawn += 1
            label, share, weight = self._leaf(expert, node) if not branches else (NONE, 0.0, 0.0)
            if label == NONE:
                text = f"... {n_leaves(node)} leaves" if branches else "nothing seen"
            else:
                text = f"{label if classes is None else classes[label]}  {share:.0%}  of {weight:.4g}"
            boxes.append((depth, height, text, label, share))
            return height

        place(ROOT, 0)
        deepest = max(depth for depth, *_ in boxes)
        if ax is None:
            _, ax = plt.subplots(figsize=(2.2 * deepest + 2.2, 0.32 * n_drawn + 0.5), layout="constrained")
        for depth, height, branch_height, test in lines:
            ax.plot(
                [depth, depth + 0.35, depth + 1],
                [height, branch_height, branch_height],
                color="0.7",
                zorder=1,
            )
            ax.annotate(
                test,
                (depth + 0.66, branch_height),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=7,
                ha="center",
            )
        colours = np.array(plt.get_cmap("tab10").colors)  # type: ignore[attr-defined]  # of a list of colours
        for depth, height, text, label, share in boxes:
            strength = 0.0 if label == NONE else 0.15 + 0.6 * share
            colour = 1.0 - strength * (1.0 - colours[label % len(colours)])
            box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": "0.6", "linewidth": 0.7}
            ax.text(depth, height, text, fontsize=8, va="center", zorder=2, bbox=box)
        ax.set(xlim=(-0.1, deepest + 1.0), ylim=(0.7 - n_drawn, 0.7))
        ax.set_axis_off()
        return ax

    def _branches(
        self,
        expert: int,
        node: int,
        features: Sequence[Any] | None = None,
        values: Sequence[Sequence[Any] | None] | None = None,
    ) -> Iterable[tuple[str, str, int]]:
        """Name of the feature, test and node of each branch of a split; none of a leaf."""
        nodes = self._nodes[self._foreground[expert]]
        kind, f, threshold = (nodes[node][name] for name in ("kind", "feature", "threshold"))

        def value_name(code: float) -> str:
            names = None if values is None else values[f]
            return str(int(code)) if names is None else str(names[int(code)])

        child, is_first = nodes[node]["first_child"], True
        while kind != LEAF and child != NONE:
            if kind == NUMERIC:
                test = f"{'<=' if is_first else '>'} {threshold:.6g}"
            elif kind == EQUALS:
                test = f"{'=' if is_first else '!='} {value_name(threshold)}"
            else:
                test = f"= {value_name(nodes[child]['value'])}"
            yield f"feature {f}" if features is None else str(features[f]), test, child
            child, is_first = nodes[child]["next_sibling"], False

    def _leaf(self, expert: int, node: int) -> tuple[int, float, float]:
        """Majority class of a leaf (of equals the one that came first, NONE if it has seen nothing), share, weight."""
        slot = self._nodes[self._foreground[expert], node]["slot"]
        leaf, weights = self._leaves[slot], self._class_stats[slot, WEIGHT]
        order = self._class_order[slot, : leaf["n_present"]]
        if not len(order):
            return NONE, 0.0, 0.0
        c = int(order[weights[order].argmax()])
        return c, float(weights[c] / leaf["weight"]) if leaf["weight"] else 0.0, float(leaf["weight"])


_NEW_EXPERT = np.array((0, NO_ALARM, 0, 0), EXPERT)
_NO_TARGETS = np.empty((0, 1), np.int64)


def _one_each(name: str, value: Any, n_experts: int) -> list[Any]:
    """Return a setting once for all trees, or once for each."""
    if value is None or np.ndim(value) == 0:
        return [value]
    values = list(value)
    if len(values) != n_experts:
        raise ValueError(
            f"{name} has {len(values)} values for {n_experts} trees; give one for each, or one for all"
        )
    return values


def _check_number(
    name: str, value: Any, low: float, high: float = math.inf, *, kind: Any = Real, none: str | None = None
) -> None:
    """Raise unless a setting is a number of this kind from `low` to `high`, or `None` where that says something."""
    if none is not None and value is None:
        return
    also = "" if none is None else f", or None for {none}"
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "an integer" if kind is Integral else "a number"
        raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give {wanted}{also}")
    if not low <= value <= high:
        allowed = f"{low} or more" if high == math.inf else f"{low} <= {name} <= {high}"
        raise ValueError(f"{name}={value}; choose {allowed}{also}")


def _check_risk(name: str, value: Any, none: str | None = None) -> None:
    """Raise unless a setting is a probability that is neither 0 nor 1."""
    _check_number(name, value, -math.inf, none=none)
    if not 0.0 < value < 1.0:
        also = "" if none is None else f", or None for {none}"
        raise ValueError(f"{name}={value}; it is a probability, choose 0 < {name} < 1{also}")


def _most_features(wanted: float | None) -> float:
    """Return `max_features` of one tree as its rules have it: a number, a share, or infinity for all."""
    if wanted is None:
        return math.inf
    _check_number("max_features", wanted, -math.inf, none="all features")
    if not wanted > 0:
        raise ValueError(f"max_features={wanted}; choose a number from 1 on, or a share between 0 and 1")
    if isinstance(wanted, Integral):
        return wanted
    if wanted > 1.0:
        raise ValueError(f"max_features={wanted}; a share is at most 1.0, a number of features is an int")
    return math.inf if wanted == 1.0 else wanted


def _as_block(vectors: ArrayLike) -> tuple[np.ndarray, bool]:
    """Return a block of float64, and whether it was given as a single sample."""
    block = _writeable(np.ascontiguousarray(vectors, dtype=np.float64))
    if np.ndim(vectors) == 1:
        return block[np.newaxis], True
    if block.ndim != 2:
        raise ValueError(f"samples of shape {block.shape}; give (n_features,) or (n_rows, n_features)")
    return block, False


def _writeable(array: np.ndarray) -> np.ndarray:
    """Return an array that the kernels need no version of their own for."""
    return array if array.flags.writeable else array.copy()


def _first_rows(rows: np.ndarray, n: int) -> np.ndarray:
    return rows[:n]


def _enough(room: int, needed: int) -> int:
    """Return a larger room where there is not enough: by a quarter at least, so that growing costs little."""
    return room if needed <= room else max(needed, room + room // 4)


def _enlarged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array with this shape, zeros where there was nothing."""
    if array.shape == shape:
        return array
    larger = np.zeros(shape, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger
