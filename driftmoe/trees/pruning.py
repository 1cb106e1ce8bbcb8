"""Pruning: a tree gives up splits, those first without which its leaves would err least more often.

A split all of whose branches are leaves becomes a leaf again. As the branches of a new split do, it starts with class
weights alone: those of its branches together. What they observed of the features is forgotten.
"""

from __future__ import annotations

import heapq

import numpy as np

from driftmoe.arithmetic import log
from driftmoe.state import State
from driftmoe.trees.nodes import LEAF, LOG_WEIGHT, NONE, WEIGHT


def pruned(state: State, max_nodes: int) -> State:
    """Return the state of a pool whose trees have at most `max_nodes` nodes each, 1 or more.

    Parameters
    ----------
    state
        As `TreePool.state` returns it. It is left as it is.

    Notes
    -----
    The loss of a split is the weight outside the majority class that its leaf would have beyond that of its branches.
    The split with the least loss goes first, among equals the one with the least weight, then the last.
    """
    nodes, weights = state["nodes"], state["class_stats"][:, WEIGHT]
    parts: list[np.ndarray] = []  # of each leaf that stays or is made: the old leaves that it stands for
    kept, n_nodes, first_leaf, start = [], [], 0, 0
    for n in state["n_nodes"].tolist():
        tree = nodes[start : start + n].copy()
        is_leaf = tree["kind"] == LEAF
        own = {int(node): np.array([first_leaf + i]) for i, node in enumerate(np.flatnonzero(is_leaf))}
        first_leaf, start = first_leaf + len(own), start + n
        stays = _collapse(tree, own, weights, max_nodes)
        number = np.cumsum(stays) - 1
        for name in ("first_child", "next_sibling", "parent"):
            points = tree[name] != NONE
            tree[name][points] = number[tree[name][points]]
        tree["first_child"][tree["kind"] == LEAF] = NONE
        kept.append(tree[stays])
        n_nodes.append(int(stays.sum()))
        parts += [own[node] for node in np.flatnonzero(stays & (tree["kind"] == LEAF)).tolist()]
    return _with_leaves(state, np.concatenate([nodes[:0], *kept]), np.array(n_nodes, np.int64), parts)


def _collapse(
    tree: np.ndarray, own: dict[int, np.ndarray], weights: np.ndarray, max_nodes: int
) -> np.ndarray:
    """Turn splits of a tree into leaves until few enough nodes are left; return which nodes stay.

    `own` has the old leaves that each leaf of the tree stands for. It is changed, and so is the tree.
    """
    stays = np.ones(len(tree), np.bool_)
    branches: dict[int, list[int]] = {}
    for node, parent in enumerate(tree["parent"].tolist()):
        if parent != NONE:
            branches.setdefault(parent, []).append(node)
    queue: list[tuple[float, float, int]] = []

    def consider(split: int) -> None:
        """Queue a split if all of its branches are leaves."""
        if split == NONE or any(tree["kind"][node] != LEAF for node in branches[split]):
            return
        of_branches = np.array([weights[own[node]].sum(axis=0) for node in branches[split]])
        loss = of_branches.max(axis=1).sum() - of_branches.sum(axis=0).max()
        heapq.heappush(queue, (float(loss), float(of_branches.sum()), -split))

    for split in branches:
        consider(split)
    n_nodes = len(tree)
    while n_nodes > max_nodes:
        split = -heapq.heappop(queue)[-1]
        gone = branches[split]
        own[split] = np.concatenate([own.pop(node) for node in gone])
        stays[gone] = False
        n_nodes -= len(gone)
        leaf = tree[split]
        leaf["kind"], leaf["feature"], leaf["threshold"], leaf["first_child"] = LEAF, 0, 0.0, NONE
        consider(int(leaf["parent"]))
    return stays


def _with_leaves(state: State, nodes: np.ndarray, n_nodes: np.ndarray, parts: list[np.ndarray]) -> State:
    """Return a state with other nodes, whose leaves stand for old leaves: one that stays, or several."""
    first = np.array([part[0] for part in parts], np.int64)
    of_leaves = {name: array[first] for name, array in state.items() if name in ("leaves", *OBSERVED)}
    new = {**state, **of_leaves, "nodes": nodes, "n_nodes": n_nodes}
    is_leaf = nodes["kind"] == LEAF
    nodes["slot"] = NONE
    nodes["slot"][is_leaf] = np.arange(len(parts))
    new["leaves"]["node"] = np.concatenate([np.zeros(0, np.int64), *map(np.arange, n_nodes)])[is_leaf]
    for i, part in enumerate(parts):
        if len(part) > 1:
            _start(new, i, state, part)
    return new


OBSERVED = (
    "class_stats", "class_order", "saw_all_features", "feature_moments", "feature_class_order", "value_stats",
)  # fmt: skip
"""Entries of a state with a place for what each leaf has observed."""


def _start(new: State, i: int, old: State, part: np.ndarray) -> None:
    """Make a leaf of the class weights of several old ones."""
    for name in OBSERVED:
        new[name][i] = 0
    order: list[int] = []
    for place in part.tolist():
        order += old["class_order"][place, : old["leaves"]["n_present"][place]].tolist()
    order = list(dict.fromkeys(order))
    weights = old["class_stats"][part, WEIGHT].sum(axis=0)
    leaf = new["leaves"][i]
    new["class_order"][i, : len(order)] = order
    new["class_stats"][i, WEIGHT] = weights
    for c in order:
        new["class_stats"][i, LOG_WEIGHT, c] = log(weights[c]) if weights[c] > 0.0 else -np.inf
    leaf["n_present"], leaf["is_active"] = len(order), 1
    leaf["weight"] = leaf["last_attempt"] = weights.sum()
    leaf["promise"] = weights.sum() - weights.max(initial=0.0)
    for name in ("majority_correct", "bayes_correct"):
        leaf[name] = old["leaves"][name][part].sum()
