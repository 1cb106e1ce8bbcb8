"""The state of a pool of trees: what its arrays hold, without the room for growth.

A state is a dict of numbers, lists and arrays. Its arrays are those of `storage.ARRAYS`, each cut down to what is in
use: known classes and features, values that were seen, and the nodes and leaves of one tree after the other. So two
pools that answer alike, now and later, have equal states, however much room they have.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from driftmoe.state import State, check_array, check_finite, check_names, count_of, misfit, value_of
from driftmoe.trees.adwin import MAX_BUCKETS, N_ROWS, WINDOW
from driftmoe.trees.blocks import MAX_CLASS, MAX_CODE
from driftmoe.trees.nodes import (
    EQUALS,
    LAST_SEED,
    LEAF,
    LOG_WEIGHT,
    MULTIWAY,
    N_LEAVES,
    N_NODES,
    NO_ALARM,
    NONE,
    NUMERIC,
    WEIGHT,
)
from driftmoe.trees.storage import ARRAYS, Array, Storage

OTHERS = ("n_classes", "n_features", "seed_offset", "seed_entropy", "nominal_columns_to_come")
"""Entries that are not arrays."""

LIMIT = "most_nodes"
"""Entry of the state of a pool that was shrunk: see `Storage.most_nodes`."""

OWNER = "TreePool"

NOT_KEPT = {"sizes", "free", "value_start", "rules", "windows"}
"""Arrays that follow from others or from the settings, or are kept in another form."""

BUCKETS = ("totals", "variances")
"""Fields of a window that have room for all buckets that it could ever have."""

COUNTS = np.dtype([(name, WINDOW[name]) for name in WINDOW.names or () if name not in BUCKETS])
"""The other fields of a window."""

KEPT = (
    Array("n_nodes", np.int64, ("trees",), "nodes in use"),
    Array("last_leaf_seeds", np.int64, ("trees",), "seed of the last leaf"),
    *(array for array in ARRAYS if array.name not in NOT_KEPT),
    Array("monitor_windows", COUNTS, ("watched", 2), "the windows of the monitors, without their buckets"),
    Array("bucket_totals", np.float64, ("buckets",), "sums of all buckets, window by window, row by row"),
    Array("bucket_variances", np.float64, ("buckets",), "and their sums of squared deviations"),
)
"""The arrays of a state. Axis `slots` counts leaves, and the nodes of all trees follow one another."""


def state_of(storage: Storage) -> State:
    """Return the state of the trees, see `TreePool.state`."""
    starts, n_values = storage.value_start[storage.nominal], storage.n_values[storage.nominal]
    nodes = storage.nodes[np.arange(storage.nodes.shape[1]) < storage.sizes[:, N_NODES, np.newaxis]]
    used: dict[str, Any] = {
        "classes": slice(storage.n_classes),
        "arrivals": slice(1 + storage.n_classes),
        "features": slice(storage.n_features),
        "values": _joined([np.arange(first, first + n) for first, n in zip(starts, n_values, strict=True)]),
        "slots": nodes["slot"][nodes["kind"] == LEAF],
    }
    arrays = {"n_nodes": storage.sizes[:, N_NODES], "last_leaf_seeds": storage.sizes[:, LAST_SEED]}
    for array in ARRAYS:
        if array.name in NOT_KEPT:
            continue
        values = nodes if array.name == "nodes" else getattr(storage, array.name)
        for k, axis in reversed(list(enumerate(array.axes))):
            if axis in used:
                values = values[(slice(None),) * k + (used[axis],)]
        arrays[array.entry] = values
    windows = storage.windows
    arrays["monitor_windows"] = windows[list(COUNTS.names or ())]
    for name in BUCKETS:
        arrays[f"bucket_{name}"] = windows[name][_buckets(windows["n_buckets"])]
    copies = {array.entry: arrays[array.entry].astype(_DTYPES[array.entry], order="C") for array in KEPT}
    _forget_leftovers(copies["nodes"], copies["leaves"], copies["class_order"])
    limit = {} if storage.most_nodes is None else {LIMIT: storage.most_nodes}
    return {
        **limit,
        "n_classes": storage.n_classes,
        "n_features": storage.n_features,
        "seed_offset": storage.subsets.seed_offset,
        "seed_entropy": int(storage.subsets.seed_entropy) if storage.is_drawing else None,
        "nominal_columns_to_come": sorted(storage.nominal_to_come),
        **copies,
    }


def _forget_leftovers(nodes: np.ndarray, leaves: np.ndarray, class_order: np.ndarray) -> None:
    """Overwrite unused entries, which an earlier tree may have written, and number the leaves."""
    is_leaf = nodes["kind"] == LEAF
    nodes["feature"][is_leaf], nodes["threshold"][is_leaf] = 0, 0.0
    nodes["slot"][is_leaf] = np.arange(len(leaves))
    class_order[np.arange(class_order.shape[1]) >= leaves["n_present"][:, np.newaxis]] = 0


def restored(storage: Storage, state: State) -> Storage:
    """Return a storage with the settings of this one and a state, which `state_of` has returned.

    Raises
    ------
    TypeError
        If the state is not a dict, or an entry is of another type.
    ValueError
        If an entry is unknown or missing, an array has another dtype or shape, or points to what there is not.
    """
    limit = (LIMIT,) if isinstance(state, dict) and LIMIT in state else ()
    check_names(state, (*limit, *OTHERS, *(array.entry for array in KEPT)), OWNER)
    most_nodes = None
    if limit and (most_nodes := count_of(state, LIMIT, OWNER)) < 1:
        raise misfit(OWNER, LIMIT, f"is {most_nodes}", "it must be 1 or more")
    storage = copy.copy(storage)
    storage.limit_nodes(most_nodes)
    n_classes = count_of(state, "n_classes", OWNER, at_most=MAX_CLASS + 1)
    n_features, seed_offset = (count_of(state, name, OWNER) for name in ("n_features", "seed_offset"))
    if storage.is_drawing:
        count_of(state, "seed_entropy", OWNER, at_most=math.inf)
    elif state["seed_entropy"] is not None:
        raise misfit(OWNER, "seed_entropy", f"is {state['seed_entropy']!r}", "this pool draws no features")
    nominal_to_come = value_of(state, "nominal_columns_to_come", list, OWNER)
    if any(type(column) is not int or column < 0 for column in nominal_to_come):
        allowed = "it must have indices of columns"
        raise misfit(OWNER, "nominal_columns_to_come", f"is {nominal_to_come!r}", allowed)
    _check_arrays(storage, state, n_classes, n_features)
    _check_finite(state)
    _check_indices(storage, state, n_classes, n_features)

    new = copy.copy(storage)
    new.subsets = storage.subsets.starting_at(seed_offset, state["seed_entropy"])
    new.n_classes, new.n_features, new.nominal_to_come = n_classes, n_features, set(nominal_to_come)
    for array in ARRAYS:
        if array.name not in NOT_KEPT:
            setattr(new, array.name, state[array.entry].astype(array.dtype, order="C"))
    new.windows = np.zeros(state["monitor_windows"].shape, WINDOW)
    for name in COUNTS.names or ():
        new.windows[name] = state["monitor_windows"][name]
    for name in BUCKETS:
        new.windows[name][_buckets(new.windows["n_buckets"])] = state[f"bucket_{name}"]
    n_nodes = state["n_nodes"]
    is_used = np.arange(max(n_nodes.max(initial=0), min(4, new.max_nodes))) < n_nodes[:, np.newaxis]
    tree = is_used.nonzero()[0]
    new.nodes = np.zeros(is_used.shape, new.nodes.dtype)
    new.nodes[is_used] = state["nodes"]
    new.sizes = np.zeros((len(n_nodes), new.sizes.shape[1]), np.int64)
    new.sizes[:, N_NODES], new.sizes[:, LAST_SEED] = n_nodes, state["last_leaf_seeds"]
    new.sizes[:, N_LEAVES] = np.bincount(tree[state["nodes"]["kind"] == LEAF], minlength=len(n_nodes))
    most = int(new.sizes[:, N_LEAVES].max(initial=0))  # that a tree frees when it starts anew
    new.free, new.spare = np.zeros((len(n_nodes), most), np.int32), np.zeros(0, np.int32)
    new.value_room = new.n_values.copy()
    new.value_start = np.full(n_features, NONE, np.int64)
    new.value_start[new.nominal] = (np.cumsum(new.n_values) - new.n_values)[new.nominal]
    new.n_branches = max(2, int(new.n_values.max(initial=0)))
    return new


def _check_arrays(storage: Storage, state: State, n_classes: int, n_features: int) -> None:
    """Raise unless all arrays have the dtypes and shapes of a pool with this many trees."""
    for array in KEPT:
        n_axes = len(array.axes) - (array.name == "nodes")
        found, dtype = state[array.entry], _DTYPES[array.entry]
        if not isinstance(found, np.ndarray) or found.dtype != dtype or found.ndim != n_axes:
            check_array(state, array.entry, dtype, [None] * n_axes, OWNER)
    n_experts = len(state["expert_trees"])
    most = len(storage.rules) if len(storage.rules) > 1 else n_experts
    if n_experts > most:
        raise misfit(OWNER, "expert_trees", f"has {n_experts} experts", f"this pool has settings for {most}")
    n_nodes, n_values = state["n_nodes"], state["n_values"]
    sizes = {
        "trees": storage.trees_each * n_experts, "experts": n_experts,
        "watched": n_experts if storage.is_watched else 0, "nodes": int(n_nodes.sum()),
        "slots": int((state["nodes"]["kind"] == LEAF).sum()), "classes": n_classes, "arrivals": 1 + n_classes,
        "features": n_features, "columns": n_features, "values": int(n_values.sum()),
        "nominal": state["nominal_columns"].size, "buckets": int(state["monitor_windows"]["n_buckets"].sum()),
    }  # fmt: skip
    for array in KEPT:
        axes = array.axes[1:] if array.name == "nodes" else array.axes
        shape = tuple([axis if isinstance(axis, int) else sizes[axis] for axis in axes])
        if state[array.entry].shape != shape:
            check_array(state, array.entry, _DTYPES[array.entry], shape, OWNER)


def _check_finite(state: State) -> None:
    """Raise ValueError if an array has NaN or infinite numbers where trees never write any."""
    leaves, class_stats = state["leaves"].copy(), state["class_stats"].copy()
    leaves["last_attempt"][leaves["last_attempt"] == np.inf] = 0.0  # such a leaf splits no more
    logs = class_stats[:, LOG_WEIGHT]
    logs[(logs == -np.inf) & (class_stats[:, WEIGHT] == 0.0)] = 0.0
    checked = state | {"leaves": leaves, "class_stats": class_stats}
    for array in KEPT:
        check_finite(checked[array.entry], array.entry, OWNER)


def _check_indices(storage: Storage, state: State, n_classes: int, n_features: int) -> None:
    """Raise ValueError if a number of a state would make a kernel leave its arrays or loop forever."""
    n_nodes, nodes, leaves = state["n_nodes"], state["nodes"], state["leaves"]
    if n_nodes.max(initial=0) > storage.max_nodes or n_nodes.min(initial=1) < 1:
        came = f"is {n_nodes.min()} to {n_nodes.max()}"
        raise misfit(OWNER, "n_nodes", came, f"it must be 1 to {storage.max_nodes} in this pool")
    number = _joined([np.arange(n) for n in n_nodes])
    last = np.repeat(n_nodes, n_nodes) - 1
    kind, child, sibling = nodes["kind"], nodes["first_child"], nodes["next_sibling"]
    is_leaf, is_binary = kind == LEAF, (kind == NUMERIC) | (kind == EQUALS)
    is_nominal = np.zeros(n_features, np.bool_)
    nominal, n_values = state["nominal_columns"], state["n_values"]
    is_in_order = nominal.size == 0 or ((np.diff(nominal) > 0).all() and nominal[0] >= 0)
    if is_in_order and nominal.max(initial=-1) < n_features:
        is_nominal[nominal] = True
    arrivals = state["feature_class_order"]
    windows, experts, trees_of = state["monitor_windows"], state["monitors"], state["expert_trees"]
    own = np.arange(len(n_nodes)).reshape(-1, storage.trees_each)[:, [0, -1]]
    sound = {
        "nodes": ((kind >= LEAF) & (kind <= MULTIWAY)).all()
        and (is_leaf | ((child > number) & (child + is_binary <= last))).all()
        and ((sibling == NONE) | ((sibling > number) & (sibling <= last))).all()
        and (is_leaf | ((nodes["feature"] >= 0) & (nodes["feature"] < n_features))).all()
        and (nodes["slot"][is_leaf] == np.arange(is_leaf.sum())).all(),
        "leaves": (leaves["node"] == number[is_leaf]).all()
        and ((leaves["n_present"] >= 0) & (leaves["n_present"] <= n_classes)).all(),
        "class_order": _all_below(state["class_order"], max(n_classes, 1)),
        "feature_class_order": _all_below(arrivals[:, :, 0], n_classes + 1)
        and _all_below(arrivals[:, :, 1:], max(n_classes, 1)),
        "nominal_columns": is_nominal.sum() == len(nominal),
        "n_values": _all_below(n_values, MAX_CODE + 2) and not n_values[~is_nominal].any(),
        "expert_trees": (np.sort(trees_of, axis=1) == own).all(),
        "monitors": ((experts["pending_alarm"] >= 0) & (experts["pending_alarm"] <= NO_ALARM)).all(),
        "monitor_windows": _all_below(windows["n_buckets"], MAX_BUCKETS + 1)
        and _all_below(windows["n_rows"], N_ROWS + 1),
    }
    for name, is_sound in sound.items():
        if not is_sound:
            raise misfit(OWNER, name, "has entries out of range", "the state is damaged")
    if (kind >= EQUALS).any():
        _check_codes(nodes, number, n_values)
    ends = np.cumsum(n_values)
    for f in nominal:  # a leaf that starts anew would keep what it does not know of
        values = state["value_stats"][arrivals[:, f, 0] == 0, :, ends[f] - n_values[f] : ends[f]]
        if values.any():
            came = "has weights of a feature that the leaf has not seen"
            raise misfit(OWNER, "value_stats", came, "the state is damaged")


def _check_codes(nodes: np.ndarray, number: np.ndarray, n_values: np.ndarray) -> None:
    """Raise ValueError unless splits on nominal features compare with codes of values."""
    kind, feature, parent = nodes["kind"], nodes["feature"], nodes["parent"]
    if not np.where(number == 0, parent == NONE, (parent >= 0) & (parent < number)).all():
        raise misfit(OWNER, "nodes", "has parents out of range", "the state is damaged")
    equals = (kind == EQUALS).nonzero()[0]
    split = np.where(number == 0, 0, np.arange(len(nodes)) - number + parent)
    branches = ((number > 0) & (kind[split] == MULTIWAY)).nonzero()[0]
    columns = np.concatenate([feature[equals], feature[split[branches]]])
    codes = np.concatenate([nodes["threshold"][equals], nodes["value"][branches]])
    if not ((codes >= 0) & (codes < n_values[columns]) & (codes == np.floor(codes))).all():
        raise misfit(
            OWNER, "nodes", "has a split on a value that its feature never had", "the state is damaged"
        )


def _all_below(array: np.ndarray, bound: int) -> bool:
    return bool(((array >= 0) & (array < bound)).all())


def _buckets(n_buckets: np.ndarray) -> np.ndarray:
    """Return which places of windows hold buckets, bool, shape (..., N_ROWS, MAX_BUCKETS + 1)."""
    return np.arange(MAX_BUCKETS + 1) < n_buckets[..., np.newaxis]


def _packed(array: Array) -> np.dtype:
    """Return the type of an array's entries without padding, whose content is undefined."""
    dtype = np.dtype(array.dtype)
    if dtype.names is None or dtype.fields is None:
        return dtype
    return np.dtype([(name, dtype.fields[name][0]) for name in dtype.names])


_DTYPES = {array.entry: _packed(array) for array in KEPT}


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *arrays])
