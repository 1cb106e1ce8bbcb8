"""The path of one sample down a tree, by names: which tests it passes, and what the leaf has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from driftmoe.trees.drawing import View
from driftmoe.trees.nodes import EQUALS, LEAF, NONE, NUMERIC, ROOT, WEIGHT


@dataclass(frozen=True)
class Step:
    """One test on the way down.

    Attributes
    ----------
    column
        Column of the feature that is tested.
    test
        The test that the branch stands for: `<= 3.5`, `> 3.5`, `= red` or `!= red`.
    is_met
        Whether the sample passes the test. It does not where its value is missing or was never learnt here: then the
        way leads to the branch with the largest weight.
    """

    column: int
    test: str
    is_met: bool


@dataclass(frozen=True)
class Path:
    """The way of a sample to its leaf.

    Attributes
    ----------
    steps
        The tests, from the root on.
    leaf
        Node of the leaf.
    class_weights
        Class index -> weight of the samples that the leaf has learnt, in the order of their first appearance.
    """

    steps: tuple[Step, ...]
    leaf: int
    class_weights: dict[int, float]


def path_of(view: View, vector: np.ndarray) -> Path:
    """Return the path of a sample down a tree.

    Parameters
    ----------
    view
        The tree.
    vector
        Shape (n_features,); NaN where a value is missing. The tree may know fewer features.
    """
    nodes, steps, node = view.nodes, list[Step](), ROOT
    while nodes[node]["kind"] != LEAF:
        branches, column = view.branches(node), int(nodes[node]["feature"])
        value = vector[column] if column < len(vector) else np.nan
        place = _place_of(nodes, node, value)
        is_met = place != NONE
        if not is_met:
            place = int(np.argmax([_weight(view, branch.node) for branch in branches]))
        steps.append(Step(column, branches[place].test, is_met))
        node = branches[place].node
    slot = nodes[node]["slot"]
    order = view.storage.class_order[slot, : view.storage.leaves[slot]["n_present"]].tolist()
    weights = view.storage.class_stats[slot, WEIGHT]
    return Path(tuple(steps), int(node), {c: float(weights[c]) for c in order})


def _place_of(nodes: np.ndarray, node: int, value: float) -> int:
    """Return which branch a value takes, from 0; NONE if it is missing or has no branch."""
    if np.isnan(value):
        return NONE
    kind, threshold = nodes[node]["kind"], nodes[node]["threshold"]
    if kind == NUMERIC:
        return int(value > threshold)
    if kind == EQUALS:
        return int(value != threshold)
    child, place = nodes[node]["first_child"], 0
    while child != NONE:
        if nodes[child]["value"] == value:
            return place
        child, place = nodes[child]["next_sibling"], place + 1
    return NONE


def _weight(view: View, node: int) -> float:
    """Return the weight of all leaves below a node, summed as `descend.subtree_weight` does."""
    branches = view.branches(node)
    if not branches:
        return float(view.storage.leaves[view.nodes[node]["slot"]]["weight"])
    total = 0.0
    for branch in branches:
        total += _weight(view, branch.node)
    return total
