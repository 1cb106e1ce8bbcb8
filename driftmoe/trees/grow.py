"""How a tree grows: it starts as one leaf, and a leaf becomes a split once the best split is clear."""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import log, log2
from driftmoe.compilation import allocating_kernel, embedded_kernel, kernel, starting_kernel
from driftmoe.trees.leaf import majority_class
from driftmoe.trees.nodes import (
    BITS,
    EQUALS,
    GINI,
    LAST_SEED,
    LEAF,
    LOG_WEIGHT,
    MULTIWAY,
    N_FREE,
    N_LEAVES,
    N_NODES,
    NONE,
    NUMERIC,
    ROOT,
    VALUE_WEIGHT,
    WEIGHT,
    Tree,
)
from driftmoe.trees.observe import forget_observations, observe
from driftmoe.trees.split import (
    all_branches,
    all_classes,
    best_split,
    hoeffding_bound,
    numeric_branches,
    value_branches,
    values_seen,
)


@kernel
def start_leaf(tree, node, slot):
    """Make a node an empty leaf."""
    tree.nodes[node]["kind"] = LEAF
    tree.nodes[node]["first_child"] = NONE
    tree.nodes[node]["slot"] = slot
    tree.class_stats[slot] = 0.0
    leaf = tree.leaves[slot]
    leaf["weight"] = 0.0
    leaf["last_attempt"] = 0.0
    leaf["promise"] = 0.0
    leaf["majority_correct"] = 0.0
    leaf["bayes_correct"] = 0.0
    leaf["n_present"] = 0
    leaf["is_active"] = 1
    leaf["node"] = node
    tree.size[LAST_SEED] = (tree.size[LAST_SEED] + 1) & BITS
    leaf["seed"] = tree.size[LAST_SEED]
    forget_observations(tree, slot)


@kernel
def free_slot(tree):
    """Take one of the free slots of a tree, which has at least one."""
    tree.size[N_FREE] -= 1
    return np.int64(tree.free[tree.size[N_FREE]])


@kernel
def start_tree(tree):
    """Make the tree a single empty leaf, and free the slots of its leaves."""
    size, nodes = tree.size, tree.nodes
    for node in range(size[N_NODES]):
        if nodes[node]["kind"] == LEAF:
            tree.free[size[N_FREE]] = nodes[node]["slot"]
            size[N_FREE] += 1
    root = nodes[ROOT]
    root["next_sibling"] = NONE
    root["parent"] = NONE
    root["depth"] = 0
    size[N_NODES] = 1
    size[N_LEAVES] = 1
    start_leaf(tree, np.int64(ROOT), free_slot(tree))


@kernel
def add_branch(tree, split, value):
    """Give a multiway split an empty leaf for a value that has no branch; return the leaf."""
    nodes = tree.nodes
    last = nodes[split]["first_child"]
    while nodes[last]["next_sibling"] != NONE:
        last = nodes[last]["next_sibling"]
    node = tree.size[N_NODES]
    tree.size[N_NODES] += 1
    tree.size[N_LEAVES] += 1
    nodes[last]["next_sibling"] = node
    nodes[node]["next_sibling"] = NONE
    nodes[node]["parent"] = split
    nodes[node]["depth"] = nodes[split]["depth"] + 1
    nodes[node]["value"] = value
    start_leaf(tree, node, free_slot(tree))
    return node


@starting_kernel
def start_trees(
    nodes, sizes, free, is_used, leaves, class_stats, class_order, is_complete, moments, arrivals, value_stats,
    value_start, n_values, nominal, first, last,
):  # fmt: skip
    """Make the experts from `first` up to `last` single empty leaves."""
    for e in range(first, last):
        tree = Tree(
            nodes[e], sizes[e], free[e], is_used[e], leaves, class_stats, class_order, is_complete, moments,
            arrivals, value_stats, value_start, n_values, nominal,
        )  # fmt: skip
        start_tree(tree)


@kernel
def may_grow(tree, slot, rules):
    """Whether the bound on the nodes leaves room for a split of this leaf.

    The remaining room goes to the leaves with the most promise at their last attempt to split. With room for k more
    splits in two, a leaf may grow if fewer than k active leaves have more promise. With k leaves or fewer, all may.
    """
    n_splits = (rules["max_nodes"] - tree.size[N_NODES]) // 2
    if n_splits >= tree.size[N_LEAVES]:
        return True
    promise = tree.leaves[slot]["promise"]
    n_better = 0
    for node in range(tree.size[N_NODES]):
        if tree.nodes[node]["kind"] == LEAF:
            leaf = tree.leaves[tree.nodes[node]["slot"]]
            n_better += leaf["is_active"] == 1 and leaf["promise"] > promise
    return n_better < n_splits


@allocating_kernel
def split_leaf(tree, slot, f, kind, threshold):
    """Turn a leaf into a split whose branches start with the class weights that they have seen.

    A multiway split lists the classes of its branches in ascending order, the others in order of arrival.
    """
    n_classes = tree.class_stats.shape[2]
    order = tree.arrivals[slot, f, 1 : 1 + tree.arrivals[slot, f, 0]].copy()
    codes = np.empty(2, np.int64)
    if kind == NUMERIC:
        branches = np.empty((2, n_classes))
        numeric_branches(tree.moments[slot], f, order, threshold, branches)
    else:
        start, n_values = tree.value_start[f], tree.n_values[f]
        if kind == EQUALS:
            branches = np.empty((2, n_classes))
            value_branches(
                tree.value_stats[slot, VALUE_WEIGHT], start, n_values, order, int(threshold), branches
            )
        else:
            codes = values_seen(tree.value_stats[slot, VALUE_WEIGHT], start, n_values, order)
            branches = all_branches(tree.value_stats[slot, VALUE_WEIGHT], start, codes, order, n_classes)
            order = all_classes(n_classes)

    n_branches = branches.shape[0]
    nodes = tree.nodes
    split = np.int64(tree.leaves[slot]["node"])
    first = tree.size[N_NODES]
    nodes[split]["kind"] = kind
    nodes[split]["feature"] = f
    nodes[split]["threshold"] = threshold
    nodes[split]["first_child"] = first
    nodes[split]["slot"] = NONE
    for b in range(n_branches):
        child = first + b
        nodes[child]["next_sibling"] = child + 1 if b < n_branches - 1 else NONE
        nodes[child]["parent"] = split
        nodes[child]["depth"] = nodes[split]["depth"] + 1
        nodes[child]["value"] = codes[b] if kind == MULTIWAY else 0.0
        child_slot = slot if b == 0 else free_slot(tree)  # the first branch takes the place of the leaf
        start_leaf(tree, child, child_slot)
        leaf = tree.leaves[child_slot]
        for c in order:
            weight = branches[b, c]
            if weight >= 0.0:
                tree.class_order[child_slot, leaf["n_present"]] = c
                tree.class_stats[child_slot, WEIGHT, c] = weight
                tree.class_stats[child_slot, LOG_WEIGHT, c] = log(weight) if weight > 0.0 else -np.inf
                leaf["n_present"] += 1
                leaf["weight"] += weight
        leaf["last_attempt"] = leaf["weight"]
    tree.size[N_NODES] += n_branches
    tree.size[N_LEAVES] += n_branches - 1


@allocating_kernel
def attempt_split(tree, slot, rules):
    """Split a leaf whose grace period is over, if the best split is better than the second best with enough confidence.

    A leaf that may not grow does not look for a split. A leaf whose split needs more nodes than are left never looks
    again.
    """
    leaf = tree.leaves[slot]
    n_present = leaf["n_present"]
    weights = tree.class_stats[slot, WEIGHT]
    n_classes_seen = 0
    for i in range(n_present):
        if weights[tree.class_order[slot, i]] != 0.0:
            n_classes_seen += 1
    if n_classes_seen < 2:
        return
    majority_weight = weights[majority_class(tree, slot)]
    leaf["promise"] = leaf["weight"] - majority_weight
    if majority_weight / leaf["weight"] > rules["max_share_to_split"]:
        forget_observations(tree, slot)
        return
    if not may_grow(tree, slot, rules):
        return
    value_range = 1.0 if rules["criterion"] == GINI else log2(max(n_present, 2))
    bound = hoeffding_bound(value_range, rules["log_inverse_delta"], leaf["weight"])
    lead = bound if bound >= rules["tau"] else -np.inf
    best, second, feature, kind, threshold = best_split(tree, slot, rules, lead)
    if feature == NONE:
        if bound < rules["tau"]:
            forget_observations(tree, slot)
        return
    if best - second > bound or bound < rules["tau"]:
        n_new = 2
        if kind == MULTIWAY:
            order = tree.arrivals[slot, feature, 1 : 1 + tree.arrivals[slot, feature, 0]]
            n_new = values_seen(
                tree.value_stats[slot, VALUE_WEIGHT], tree.value_start[feature], tree.n_values[feature], order
            ).shape[0]
        if tree.size[N_NODES] + n_new > rules["max_nodes"]:
            leaf["last_attempt"] = np.inf
        else:
            split_leaf(tree, slot, feature, kind, threshold)


@embedded_kernel
def learn_row(
    tree, leaf_node, is_direct, rules, x, has_missing, known, c, w, bayes_class, all_known, value_scratch
):
    """Take one sample into a leaf, and try to split the leaf if its grace period is over.

    A sample that could not make all tests on its way is learnt but triggers no attempt to split.
    """
    slot = np.int64(tree.nodes[leaf_node]["slot"])
    observe(tree, slot, rules, x, has_missing, known, c, w, bayes_class, all_known, value_scratch)
    leaf = tree.leaves[slot]
    if not is_direct or leaf["is_active"] == 0:
        return
    if tree.nodes[leaf_node]["depth"] >= rules["max_depth"]:
        leaf["is_active"] = 0
        return
    weight = leaf["weight"]
    n_more = rules["max_nodes"] - tree.size[N_NODES]
    if weight - leaf["last_attempt"] >= rules["grace_period"] and n_more >= 2:
        leaf["last_attempt"] = weight
        attempt_split(tree, slot, rules)
