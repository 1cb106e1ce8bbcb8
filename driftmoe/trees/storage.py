"""The memory of a pool of Hoeffding trees: one set of arrays, which grow as needed.

`ARRAYS` is the table of all arrays. Allocation, growth, the order in which kernels take them, and the state of a pool
(`driftmoe.trees.state`) follow from it. Columns, codes and leaves never move. The leaves' statistics take nearly all of
the memory. Each leaf has a slot for them; all trees share the slots, so that there are few more slots than leaves.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from driftmoe.growth import carry, enlarged
from driftmoe.state import State
from driftmoe.trees import grow, scan
from driftmoe.trees.adwin import WINDOW
from driftmoe.trees.nodes import (
    EXPERT,
    FOREGROUND,
    LEAF,
    LEAF_STATE,
    N_CLASS_STATS,
    N_FREE,
    N_LEAVES,
    N_MOMENTS,
    N_NODES,
    N_SIZES,
    N_VALUE_STATS,
    NO_ALARM,
    NODE,
    NONE,
    RULES,
    Tree,
)
from driftmoe.trees.room import lacks_room
from driftmoe.trees.subsets import Subsets


class Array(NamedTuple):
    """An array of a pool: name, type of the entries, axes, what it holds, its own name in a state, if mostly zero.

    An axis is a number, or a name for a size that all arrays with this axis share: `trees`, `slots` and `experts`;
    `nodes` of each tree; `free` slots that a tree may hold; `columns`, of the features known; and `classes`,
    `features`, `values` (of all nominal features), which include room for more. `arrivals` is one more than `classes`.
    """

    name: str
    dtype: DTypeLike
    axes: tuple[str | int, ...]
    doc: str
    in_state: str = ""
    is_sparse: bool = False

    @property
    def entry(self) -> str:
        """Name in a state. A short name is only clear beside the kernels that use it."""
        return self.in_state or self.name


ARRAYS = (
    Array("nodes", NODE, ("trees", "nodes"), "splits and leaves"),
    Array("sizes", np.int64, ("trees", N_SIZES), "nodes and leaves in use, last seed, free slots"),
    Array("free", np.int32, ("trees", "free"), "the free slots held"),
    Array("is_used", np.bool_, ("trees", "columns"), "whether the tree sees the feature", "sees_feature"),
    Array("leaves", LEAF_STATE, ("slots",), "weight and counts of a leaf"),
    Array("class_stats", np.float64, ("slots", N_CLASS_STATS, "classes"), "weights, and sums of logs"),
    Array("class_order", np.int32, ("slots", "classes"), "classes in order of arrival"),
    Array(
        "is_complete",
        np.bool_,
        ("slots", "classes"),
        "whether all features were seen with the class",
        "saw_all_features",
    ),
    Array(
        "moments",
        np.float64,
        ("slots", N_MOMENTS, "classes", "features"),
        "count, mean, variance, range",
        "feature_moments",
    ),
    Array(
        "arrivals",
        np.int32,
        ("slots", "features", "arrivals"),
        "how many classes, and which, by arrival",
        "feature_class_order",
    ),
    Array(
        "value_stats",
        np.float64,
        ("slots", N_VALUE_STATS, "values", "classes"),
        "weights of values",
        is_sparse=True,
    ),
    Array("value_start", np.int64, ("columns",), "first of the values of a nominal feature, else NONE"),
    Array("n_values", np.int64, ("columns",), "number of values of a nominal feature"),
    Array("nominal", np.int64, ("nominal",), "columns of nominal features", "nominal_columns"),
    Array(
        "trees_of",
        np.int64,
        ("experts", 2),
        "the tree in the foreground and the one in the background",
        "expert_trees",
    ),
    Array("experts", EXPERT, ("watched",), "what the monitors have done", "monitors"),
    Array("windows", WINDOW, ("watched", 2), "the windows of the monitors"),
    Array("rules", RULES, ("rules",), "the settings, for all trees or for each"),
)
"""All arrays of a pool in the order in which `steps.step` takes them. `grow.start_trees` takes those of `Tree`."""

as_tree_arguments = attrgetter(*(array.name for array in ARRAYS[: len(Tree._fields)]))
as_arguments = attrgetter(*(array.name for array in ARRAYS))

SPARE_BYTES = 1 << 20
"""Spare memory for leaves that may never grow. Without it a block would have to be cut."""

MANY_VALUES = 64
"""Values of a feature from which its room grows ahead of need, with that of others."""

NEW_EXPERT = np.array((0, NO_ALARM, 0, 0), EXPERT)


class Storage:
    """The arrays of `ARRAYS` as attributes, with room for growth, and what is known of the columns.

    What grows does so in a draft (`draft`), which shares with the storage the arrays that it has not replaced.

    Parameters
    ----------
    rules
        The settings, see `settings.checked_rules`.
    subsets
        The features that each tree sees.

    Attributes
    ----------
    n_classes, n_features
        Classes and features known.
    n_branches
        Most branches that a split can have.
    value_room
        Room for the values of each column, shape (n_features,).
    spare
        Slots that no tree holds.
    nominal_to_come
        Columns that will be nominal once they are learnt.
    most_nodes
        Most nodes of a tree in a pool that was shrunk, fewer than the settings allow; `None` otherwise.
    """

    # The arrays are made from the table; this is for the type checker.
    nodes: np.ndarray
    sizes: np.ndarray
    free: np.ndarray
    is_used: np.ndarray
    leaves: np.ndarray
    class_stats: np.ndarray
    class_order: np.ndarray
    is_complete: np.ndarray
    moments: np.ndarray
    arrivals: np.ndarray
    value_stats: np.ndarray
    value_start: np.ndarray
    n_values: np.ndarray
    nominal: np.ndarray
    trees_of: np.ndarray
    experts: np.ndarray
    windows: np.ndarray
    rules: np.ndarray

    def __init__(self, rules: np.ndarray, subsets: Subsets) -> None:
        sizes = {"nodes": min(4, int(rules[0]["max_nodes"])), "arrivals": 1}
        for array in ARRAYS:
            shape = [axis if isinstance(axis, int) else sizes.get(axis, 0) for axis in array.axes]
            setattr(self, array.name, np.zeros(shape, array.dtype))
        self.rules, self.subsets = rules, subsets
        self.spare = np.zeros(0, np.int32)
        self.value_room = np.zeros(0, np.int64)
        self.nominal_to_come: set[int] = set()
        self.n_classes = self.n_features = 0
        self.n_branches = 2
        self.most_nodes: int | None = None
        self._given_rules = rules

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def n_experts(self) -> int:
        """Number of trees that vote."""
        return len(self.trees_of)

    @property
    def is_watched(self) -> bool:
        """Whether each expert has monitors."""
        return bool(self.rules[0]["drift_delta"] > 0.0)

    @property
    def trees_each(self) -> int:
        """Trees of an expert: 2 if one may grow in the background, else 1."""
        return 2 if self.rules[0]["warning_delta"] > 0.0 else 1

    @property
    def is_drawing(self) -> bool:
        """Whether features are drawn, for trees or for leaves."""
        return self.subsets.is_drawing or bool((self.rules["max_features"] < np.inf).any())

    @property
    def max_nodes(self) -> int:
        """Most nodes of a tree."""
        return int(self.rules[0]["max_nodes"])

    @property
    def max_leaves(self) -> int:
        """Most leaves of a tree."""
        return self.leaves_of(self.max_nodes)

    def leaves_of(self, n_nodes: int) -> int:
        """Return the most leaves of a tree with this many nodes."""
        return (n_nodes + 1) // 2 if self.n_branches == 2 else n_nodes

    @property
    def foreground(self) -> np.ndarray:
        """The tree of each expert that votes, shape (n_experts,)."""
        return self.trees_of[:, FOREGROUND]

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays, room for growth included."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def bytes_at(self, max_nodes: int) -> int:
        """Return the most bytes that all arrays can take if no tree has more nodes and nothing new is learnt."""
        n_trees, n_leaves = len(self.sizes), self.leaves_of(max_nodes)
        sizes = {
            "trees": n_trees, "nodes": max(max_nodes, 4), "free": n_leaves, "slots": n_trees * n_leaves,
            "classes": self.n_classes, "arrivals": 1 + self.n_classes, "features": self.n_features,
            "values": int(self.n_values.sum()), "columns": self.n_features, "nominal": len(self.nominal),
            "experts": self.n_experts, "watched": len(self.experts), "rules": 2 * len(self.rules),
        }  # fmt: skip
        n_bytes = n_trees * n_leaves * self.spare.itemsize + self.n_features * self.value_room.itemsize
        for array in ARRAYS:
            shape = [axis if isinstance(axis, int) else sizes[axis] for axis in array.axes]
            n_bytes += np.dtype(array.dtype).itemsize * math.prod(shape)
        return n_bytes

    def limit_nodes(self, most_nodes: int | None) -> None:
        """Allow no tree more nodes than this, which no tree has now; `None` for what the settings allow."""
        self.most_nodes, self.rules = most_nodes, self._given_rules
        if most_nodes is not None:
            self.rules = self.rules.copy()
            self.rules["max_nodes"] = np.minimum(self.rules["max_nodes"], most_nodes)

    def nodes_of(self, row: int) -> np.ndarray:
        """Return the nodes of a tree that are in use."""
        return self.nodes[row, : self.sizes[row, N_NODES]]

    def slots_of(self, row: int) -> np.ndarray:
        """Return the slots of the leaves of a tree, in the order of their nodes."""
        nodes = self.nodes_of(row)
        return nodes["slot"][nodes["kind"] == LEAF].astype(np.int64)

    # --- new experts, columns, classes and values ---------------------------------------------------------------------

    def draft(self) -> Storage:
        """Return a storage that shares all arrays except those that growing writes into."""
        draft = copy.copy(self)
        for name in ("sizes", "free", "n_values", "nominal_to_come"):
            setattr(draft, name, getattr(self, name).copy())
        return draft

    def add_experts(self, n_new: int) -> range:
        """Make room for new experts; return their trees, which have not started yet."""
        n_old, each = self.n_experts, self.trees_each
        first, last = each * n_old, each * (n_old + n_new)
        self.resize(trees=last)
        new_rows = np.arange(first, last).reshape(n_new, each)[:, [0, -1]]
        self.trees_of = np.concatenate([self.trees_of, new_rows])
        if self.is_watched:
            self.resize(watched=n_old + n_new)
            self.experts[n_old:] = NEW_EXPERT
        return range(first, last)

    def start(self, trees: range) -> None:
        """Reset trees to single empty leaves. New trees get slots for them."""
        needed = np.zeros(len(self.sizes), np.int64)
        needed[trees.start : trees.stop] = self.sizes[trees.start : trees.stop, N_NODES] == 0
        if needed.any():
            self.share_slots(needed)
        grow.start_trees(*as_tree_arguments(self), trees.start, trees.stop)

    def start_monitors(self, expert: int) -> None:
        """Let the monitors of an expert start anew."""
        if self.is_watched:
            self.experts[expert] = NEW_EXPERT
            self.windows[expert] = np.zeros((), WINDOW)

    def add_columns(self, is_used: np.ndarray) -> None:
        """Take in new features; `is_used` says which trees see them, shape (n_trees, n_new)."""
        new = np.arange(self.n_features, self.n_features + is_used.shape[1])
        self.make_room("features", self.n_features + len(new))
        is_nominal = np.isin(new, list(self.nominal_to_come))
        self.nominal_to_come.difference_update(new.tolist())
        self.nominal = np.concatenate([self.nominal, new[is_nominal]])
        self.value_start = np.concatenate([self.value_start, np.where(is_nominal, 0, NONE)])
        self.value_room = np.concatenate([self.value_room, np.zeros(len(new), np.int64)])
        self.n_values = np.concatenate([self.n_values, np.zeros(len(new), np.int64)])
        self.is_complete = np.zeros_like(self.is_complete)
        self.is_used = np.hstack([self.is_used, is_used])
        self.n_features += len(new)

    def add_classes(self, n_classes: int) -> None:
        """Take in new classes, if there are more than so far."""
        self.n_classes = max(self.n_classes, n_classes)
        self.make_room("classes", self.n_classes)

    def add_values(self, block: np.ndarray) -> None:
        """Take in the new values of nominal features in a block."""
        if len(self.nominal) and scan.count_values(block, self.nominal, self.n_values):
            self.n_branches = max(2, int(self.n_values.max()))
            room, needed = self.value_room, self.n_values
            if (needed > room).any():
                self.lay_out_values(room_for_values(room, needed))

    def has_new_values(self, block: np.ndarray) -> bool:
        """Whether a block has values of nominal features that are new."""
        return len(self.nominal) > 0 and scan.count_values(block, self.nominal, self.n_values.copy())

    def lay_out_values(self, room: np.ndarray) -> None:
        """Give each nominal feature its room for values, and move their weights there."""
        start = np.where(self.value_start == NONE, NONE, np.cumsum(room) - room)
        n_slots, n_planes, _, n_classes = self.value_stats.shape
        stats = np.zeros((n_slots, n_planes, int(room.sum()), n_classes))
        for f in self.nominal:
            old, new, size = self.value_start[f], start[f], self.value_room[f]
            carry(self.value_stats[:, :, old : old + size], stats[:, :, new : new + size])
        self.value_stats, self.value_start, self.value_room = stats, start, room

    def make_room(self, axis: str, needed: int) -> None:
        """Make room for this many classes or features. If there is too little, add some spare room, too."""
        room = self.moments.shape[("classes", "features").index(axis) + 2]
        self.resize(**{axis: enough(room, needed)})

    def resize(self, **sizes: int) -> None:
        """Give axes these sizes. Existing entries stay in their places."""
        if "classes" in sizes:
            sizes["arrivals"] = 1 + sizes["classes"]
        for array in ARRAYS:
            if sizes.keys().isdisjoint(array.axes):
                continue
            old = getattr(self, array.name)
            shape = tuple(sizes.get(str(axis), n) for axis, n in zip(array.axes, old.shape, strict=True))
            setattr(self, array.name, enlarged(old, shape, is_sparse=array.is_sparse))

    # --- room for leaves ----------------------------------------------------------------------------------------------

    def room_lacking(self, n_rows: int, weights: np.ndarray | None) -> np.ndarray | None:
        """Return the nodes and free slots that each tree may need for some rows, `None` where all have enough.

        Parameters
        ----------
        n_rows
            Number of rows.
        weights
            Upper bound on their total weight for each expert, shape (n_experts,); `None` if it is not known.
        """
        if weights is None:
            weights = np.full(self.n_experts, np.inf)
        room = np.zeros((len(self.sizes), 2), np.int64)
        lacks = lacks_room(
            self.nodes, self.sizes, self.leaves, self.trees_of, self.experts, self.rules, self.n_branches,
            len(self.nominal) > 0, weights, n_rows, room,
        )  # fmt: skip
        return room if lacks else None

    def is_small(self, missing: np.ndarray) -> bool:
        """Whether this many new leaves for each tree take little memory, in total or relative to the pool."""
        arrays = [getattr(self, array.name) for array in ARRAYS if array.axes[0] == "slots"]
        of_leaf = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in arrays)
        return int(missing.sum()) * of_leaf <= max(SPARE_BYTES, sum(array.nbytes for array in arrays) // 8)

    def add_room(self, room: np.ndarray) -> None:
        """Add the nodes and free slots that `room_lacking` found to be needed."""
        n_nodes = self.nodes.shape[1]
        self.resize(nodes=max(n_nodes, min(enough(n_nodes, int(room[:, 0].max())), self.max_nodes)))
        self.share_slots(room[:, 1])

    def share_slots(self, needed: np.ndarray) -> None:
        """Give each tree at least this many free slots, shape (n_trees,), up to the bound, and some spare ones.

        They come from trees that hold far too many because they started anew. If these are too few, new ones are made.
        """
        n_leaves, n_free = self.sizes[:, N_LEAVES], self.sizes[:, N_FREE]
        wanted = np.minimum(needed + 2 + n_leaves // 4, self.max_leaves - n_leaves)
        missing = np.maximum(wanted - n_free, 0)
        surplus = np.where(n_free > 2 * wanted + self.n_branches, n_free - wanted, 0)
        for row in surplus.nonzero()[0]:
            n_free[row] -= surplus[row]
            self.spare = np.append(self.spare, self.free[row, n_free[row] :][: surplus[row]])
        n_slots, n_new = len(self.leaves), int(missing.sum()) - len(self.spare)
        if n_new > 0:
            n_slots = min(enough(n_slots, n_slots + n_new), len(self.sizes) * self.max_leaves)
            self.spare = np.append(self.spare, np.arange(len(self.leaves), n_slots, dtype=np.int32))
            self.resize(slots=n_slots)
        most = int((n_leaves + n_free + missing).max(initial=0))  # that a tree frees when it starts anew
        self.resize(free=max(most, self.free.shape[1]))
        for row in missing.nonzero()[0]:
            left = len(self.spare) - missing[row]
            self.free[row, n_free[row] : n_free[row] + missing[row]] = self.spare[left:]
            self.spare = self.spare[:left]
            n_free[row] += missing[row]

    def spare_room(self) -> State:
        """Return the room for growth as plain numbers, for `take_spare_room`. It is not part of the state."""
        return {
            "nodes": self.nodes.shape[1],
            "slots": len(self.leaves),
            "classes": self.moments.shape[2],
            "features": self.moments.shape[3],
            "free": self.free.shape[1],
            "of_trees": self.sizes[:, N_FREE].tolist(),
            "of_values": self.value_room.tolist(),
        }

    def take_spare_room(self, room: State) -> None:
        """Make the room that another storage of the same state has, so that both grow at the same time."""
        first = int(self.sizes[:, N_LEAVES].sum())
        self.resize(**{axis: room[axis] for axis in ("nodes", "slots", "classes", "features", "free")})
        self.lay_out_values(np.array(room["of_values"], np.int64))
        for row, n_free in enumerate(room["of_trees"]):
            self.free[row, :n_free] = np.arange(first, first + n_free)
            self.sizes[row, N_FREE] = n_free
            first += n_free
        self.spare = np.arange(first, len(self.leaves), dtype=np.int32)

    # --- copies of trees ----------------------------------------------------------------------------------------------

    def alone(self, expert: int) -> Storage:
        """Return a storage with a copy of one expert."""
        rows = self.trees_of[expert, : self.trees_each]
        slots = np.concatenate([self.slots_of(row) for row in rows])
        one = copy.copy(self)
        one.nominal_to_come = set(self.nominal_to_come)
        one.subsets = self.subsets.starting_at(self.subsets.seed_offset + expert)
        places = {"trees": rows, "slots": slots, "watched": [expert], "rules": [expert]}
        for array in ARRAYS:
            values = getattr(self, array.name)
            chosen = places.get(str(array.axes[0]), slice(None))
            if array.name == "rules" and len(values) == 1:
                chosen = slice(None)
            setattr(one, array.name, values[chosen].copy() if len(values) else values.copy())
        one._given_rules = self._given_rules[[expert] if len(self._given_rules) > 1 else slice(None)]
        one.value_room = self.value_room.copy()
        one.trees_of = np.array([[0, self.trees_each - 1]])
        one.number_slots(slots)
        return one

    def number_slots(self, slots: Iterable[int] | np.ndarray) -> None:
        """Renumber the slots of all leaves, given in order, as 0, 1, ...; afterwards no tree has a free slot."""
        slots = np.asarray(slots)
        numbers = np.zeros(slots.max(initial=-1) + 1, np.int32)
        numbers[slots] = np.arange(len(slots))
        for nodes in map(self.nodes_of, range(len(self.sizes))):
            is_leaf = nodes["kind"] == LEAF
            nodes["slot"][is_leaf] = numbers[nodes["slot"][is_leaf]]
        self.sizes[:, N_FREE] = 0
        most = int(self.sizes[:, N_LEAVES].max(initial=0))  # that a tree frees when it starts anew
        self.free = np.zeros((len(self.sizes), most), np.int32)
        self.spare = np.zeros(0, np.int32)


def room_for_values(room: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Return room for this many values of each feature: where there is too little, up to twice as much.

    It never passes the next power of two, since values share codes from a power of two on. Features that have many
    values and soon need more room get it now: all weights of values move whenever one feature needs room.
    """
    is_short = needed > room
    powers = 2 ** np.ceil(np.log2(np.maximum(needed, 1))).astype(np.int64)
    new = np.where(is_short, np.maximum(needed, np.minimum(2 * room, powers)), room)
    is_nearly_short = ~is_short & (room >= MANY_VALUES) & (4 * needed > 3 * room)
    return np.where(is_nearly_short, np.minimum(2 * room, np.maximum(room, new[is_short].max())), new)


def enough(room: int, needed: int) -> int:
    """Return `room` if it is enough, else a larger one: by at least a quarter, so that growing costs little."""
    return room if needed <= room else max(needed, room + room // 4)
