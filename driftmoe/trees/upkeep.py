"""How the storage of a pool grows with what is learnt, and how single trees are started anew, copied and replaced.

Arrays grow in a draft, so that the pool does not change until the step is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral

import numpy as np

from driftmoe.trees.nodes import LAST_SEED, LEAF, N_FREE, N_LEAVES, N_NODES, NONE
from driftmoe.trees.settings import check_number
from driftmoe.trees.storage import ARRAYS, Storage


def with_room(
    storage: Storage, block: np.ndarray, n_classes: int, n_experts: int, nominal: Iterable[int]
) -> Storage:
    """Return a storage that knows the features, classes and values of a block. This one does not change.

    Parameters
    ----------
    storage
        The present storage. It is returned if nothing is new.
    block
        Shape (n_rows, n_features).
    n_classes, n_experts
        Numbers of classes and experts needed.
    nominal
        Columns that hold codes, if they are new.
    """
    n_columns = block.shape[1]
    has_new = n_classes > storage.n_classes or n_columns > storage.n_features or n_experts > storage.n_experts
    if not has_new and not storage.has_new_values(block):
        return storage
    draft = storage.draft()
    declare_nominal(draft, (column for column in nominal if column >= storage.n_features))
    add_experts(draft, n_experts - storage.n_experts)
    draft.add_classes(n_classes)
    if n_columns > draft.n_features:
        is_used = np.ones((len(draft.sizes), n_columns - draft.n_features), np.bool_)
        for tree in range(len(is_used)):
            is_used[tree] = _is_used(draft, tree, draft.n_features, n_columns)
        draft.add_columns(is_used)
    draft.add_values(block)
    return draft


def with_leaves(storage: Storage, n_rows: int, weights: np.ndarray) -> Storage:
    """Return a storage with the nodes and leaves that trees may need to learn rows. This one does not change."""
    room = storage.room_lacking(n_rows, None)
    if room is not None and n_rows > 1:
        room = storage.room_lacking(n_rows, weights.sum(axis=0))
    if room is None:
        return storage
    draft = storage.draft()
    draft.add_room(room)
    return draft


def n_rows_with_room(storage: Storage, n_rows: int, weights: Callable[[int], np.ndarray] | None) -> int:
    """Return how many of the next rows can be learnt in one step, see `PlannedTrees.n_rows_with_room`."""
    if n_rows == 1 or storage.room_lacking(n_rows, None) is None:
        return n_rows
    of_one_row = storage.room_lacking(1, None)
    free = storage.sizes[:, N_FREE]  # or what must be free in any case
    free = free if of_one_row is None else np.maximum(free, of_one_row[:, 1])
    while n_rows > 1:
        total = None if weights is None else weights(n_rows).sum(axis=0)
        room = storage.room_lacking(n_rows, total)
        if room is None or storage.is_small(np.maximum(room[:, 1] - free, 0)):
            return n_rows
        n_rows //= 2
    return n_rows


def declare_nominal(storage: Storage, columns: Iterable[int]) -> None:
    """Declare columns nominal, see `TreePool.declare_nominal`."""
    for column in columns:
        check_number("nominal column", column, 0, kind=Integral)
        if column >= storage.n_features:
            storage.nominal_to_come.add(int(column))
        elif storage.value_start[column] == NONE:
            raise ValueError(
                f"column {column} has been learnt as numeric; declare a column nominal before it is first learnt"
            )


def add_experts(storage: Storage, n_new: int) -> None:
    """Start new trees."""
    if n_new <= 0:
        return
    n_experts, n_rules = storage.n_experts + n_new, len(storage.rules)
    if 1 < n_rules < n_experts:
        raise ValueError(
            f"n_experts={n_experts} but there are settings for {n_rules} trees; give delta and "
            "max_features once for all trees where their number grows"
        )
    trees = storage.add_experts(n_new)
    if storage.n_features or storage.is_drawing:
        for tree in trees:
            _draw_own(storage, tree)
    storage.start(trees)


def start_anew(storage: Storage, expert: int) -> None:
    """Reset an expert, with its background tree and its monitors."""
    each = storage.trees_each
    storage.trees_of[expert, :each].sort()  # as before a background tree took the place of the other
    for tree in storage.trees_of[expert].tolist():
        _draw_own(storage, tree)
        storage.start(range(tree, tree + 1))
    storage.start_monitors(expert)


def _draw_own(storage: Storage, tree: int) -> None:
    """Give a tree that starts anew its own seed and features, even if another tree was copied to its place."""
    if (storage.rules["max_features"] < np.inf).any():
        storage.sizes[tree, LAST_SEED] = storage.subsets.seed(tree, storage.trees_each)
    storage.is_used[tree] = _is_used(storage, tree, 0, storage.n_features)


def _is_used(storage: Storage, tree: int, first: int, last: int) -> np.ndarray:
    """Return whether a tree sees the columns from `first` up to `last`; one in the background sees the same."""
    return storage.subsets.is_used(tree // storage.trees_each, first, last)


def replace(storage: Storage, expert: int, other: Storage, source: int) -> None:
    """Replace an expert by a copy of an expert from this storage or another; see `TreePool.replace`."""
    n_nodes = other.sizes[other.trees_of[source, : other.trees_each], N_NODES].max()
    if n_nodes > storage.max_nodes:
        raise ValueError(
            f"the tree has {n_nodes} nodes and this pool has max_nodes={storage.max_nodes}; choose a smaller tree, "
            "or a pool with more room"
        )
    if other is not storage:
        if other.n_features != storage.n_features or not np.array_equal(other.nominal, storage.nominal):
            raise ValueError(
                f"the other pool has {other.n_features} features, nominal {other.nominal.tolist()}, this one has "
                f"{storage.n_features}, nominal {storage.nominal.tolist()}; choose a tree that saw the same columns"
            )
        _adopt_sizes(storage, other)
        other = other.alone(source)
        _adopt_sizes(other, storage)
        source = 0
    elif source == expert:
        return
    start_anew(storage, expert)
    n_common = min(storage.trees_each, other.trees_each)
    pairs = zip(storage.trees_of[expert, :n_common], other.trees_of[source, :n_common], strict=True)
    for to, of in pairs:
        _copy_tree(storage, to, other, of)
    if storage.is_watched and other.is_watched:
        storage.experts[expert] = other.experts[source]
        storage.windows[expert] = other.windows[source]
        storage.experts[expert]["has_background"] *= n_common - 1


def _copy_tree(storage: Storage, to: int, other: Storage, of: int) -> None:
    """Copy a tree from a storage with the same room to the place of an empty tree."""
    n_leaves = int(other.sizes[of, N_LEAVES])
    needed = np.zeros(len(storage.sizes), np.int64)
    needed[to] = n_leaves - 1
    storage.share_slots(needed)
    last = storage.sizes[to, N_FREE]
    slots = np.append(storage.slots_of(to), storage.free[to, last - (n_leaves - 1) : last])
    storage.nodes[to], storage.is_used[to] = other.nodes[of], other.is_used[of]
    storage.sizes[to, :N_FREE] = other.sizes[of, :N_FREE]
    storage.sizes[to, N_FREE] -= n_leaves - 1
    for array in ARRAYS:
        if array.axes[0] == "slots":
            getattr(storage, array.name)[slots] = getattr(other, array.name)[other.slots_of(of)]
    nodes = storage.nodes_of(to)
    nodes["slot"][nodes["kind"] == LEAF] = slots


def _adopt_sizes(storage: Storage, other: Storage) -> None:
    """Make at least as much room as another storage of the same features has, with each value in the same place."""
    storage.n_values = np.maximum(storage.n_values, other.n_values)
    storage.n_branches = max(storage.n_branches, other.n_branches)
    room = np.maximum(storage.value_room, other.value_room)
    if not np.array_equal(room, storage.value_room):
        storage.lay_out_values(room)
    storage.n_classes = max(storage.n_classes, other.n_classes)
    storage.resize(
        nodes=max(storage.nodes.shape[1], other.nodes.shape[1]),
        classes=max(storage.moments.shape[2], other.moments.shape[2]),
        features=max(storage.moments.shape[3], other.moments.shape[3]),
    )
