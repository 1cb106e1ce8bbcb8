"""The path of a sample down a tree, to its leaf."""

from __future__ import annotations

import numpy as np

from driftmoe.compilation import inlined_kernel, kernel
from driftmoe.trees.nodes import EQUALS, LEAF, NONE, NUMERIC, ROOT


@kernel
def subtree_weight(nodes, leaves, node):
    """Return the weight of all leaves below a node.

    The node is a 64-bit integer: with several types numba crashes when it loads this recursion from disk.
    """
    if nodes[node]["kind"] == LEAF:
        return leaves[nodes[node]["slot"]]["weight"]
    total = 0.0
    child = np.int64(nodes[node]["first_child"])
    while child != NONE:
        total += subtree_weight(nodes, leaves, child)
        child = np.int64(nodes[child]["next_sibling"])
    return total


@kernel
def most_common_child(nodes, leaves, node):
    """Return the branch with the largest weight (the first, in a tie)."""
    child = np.int64(nodes[node]["first_child"])
    best = child
    best_weight = -1.0
    while child != NONE:
        weight = subtree_weight(nodes, leaves, child)
        if weight > best_weight:
            best, best_weight = child, weight
        child = np.int64(nodes[child]["next_sibling"])
    return best


@inlined_kernel
def branch_of(nodes, node, value):
    """Return the branch for a value, or NONE where it is missing or has no branch."""
    if value != value:
        return NONE
    kind = nodes[node]["kind"]
    child = np.int64(nodes[node]["first_child"])
    if kind == NUMERIC:
        return child if value <= nodes[node]["threshold"] else child + 1
    if kind == EQUALS:
        return child if value == nodes[node]["threshold"] else child + 1
    while child != NONE and nodes[child]["value"] != value:
        child = np.int64(nodes[child]["next_sibling"])
    return child


@inlined_kernel
def find_leaf(tree, x):
    """Walk down from the root, by the most common branch where the value is missing or has no branch.

    Returns the leaf, whether all tests on the way could be made, and the first split that has no branch for its value,
    or NONE. If there is such a split, a sample that is learnt gets a new branch there.
    """
    nodes = tree.nodes
    node = np.int64(ROOT)
    is_direct = True
    while nodes[node]["kind"] != LEAF:
        value = x[nodes[node]["feature"]]
        child = branch_of(nodes, node, value)
        if child == NONE:
            if value == value:
                return most_common_leaf(tree, x, node), False, node
            is_direct = False
            child = most_common_child(nodes, tree.leaves, node)
        node = child
    return node, is_direct, NONE


@kernel
def most_common_leaf(tree, x, node):
    """Continue below a split that has no branch for the value: take the most common child, here and further down."""
    nodes = tree.nodes
    child = most_common_child(nodes, tree.leaves, node)
    while nodes[child]["kind"] != LEAF:
        node = child
        child = branch_of(nodes, node, x[nodes[node]["feature"]])
        if child == NONE:
            child = most_common_child(nodes, tree.leaves, node)
    return child
