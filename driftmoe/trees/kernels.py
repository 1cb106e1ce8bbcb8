"""All compiled code of the Hoeffding trees: one call serves every tree of a pool, row after row.

The tree is the VFDT of Domingos & Hulten 2000 with the naive Bayes leaves of Gama, Rocha & Medas 2003, in the variant
of river's `HoeffdingTreeClassifier`: the same splits after the same samples and the same probabilities. Sums run in
river's order, because a rounding error decides whether a leaf has seen its grace period. A leaf whose best candidate
is no split at all forgets its observations, as river's does. Where it differs from river, on purpose:

- Predicting changes nothing. river's nominal observer notes a class when it is asked for its probability, which moves
  that class in the order of sums and so breaks ties. Here learning notes it, as if each sample had been predicted just
  before.
- A class without weight at a leaf has no vote there. river gives it the likelihood 1 for whatever it sees.
- A nominal feature whose split is invalid (too little weight in all branches but one) never splits a leaf. river splits
  on it when no feature has a valid split, the bound is below tau and the feature comes last.
- Where features are numeric, naive Bayes adds up its votes in another order; and exp, log and erf are our own, the same
  on every processor (`driftmoe.arithmetic`). A tie to the last bit may end otherwise.
- Of features of equal merit the last column wins, of values of equal merit the lowest code, and the branches of a
  nominal split are in the order of their codes. river has the order of arrival at the leaf, of a set, of the values.
- A sample of weight 0 is not seen. river counts its class and its values.
- A variance below the smallest normal number counts as none, and no density is below exp(-1e300).
- The bound on memory is a number of nodes, not of bytes: see `may_grow`.

Names of axes: e expert, s slot (the place of one leaf's statistics), c class, f feature. All trees share the slots, so
that a large tree takes none from a small one; each holds some free ones for its next splits.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np

from driftmoe.arithmetic import erf, exp, log, log2
from driftmoe.compilation import (
    allocating_kernel,
    checking_kernel,
    embedded_kernel,
    inlined_kernel,
    kernel,
    starting_kernel,
    stepping_kernel,
)
from driftmoe.lanes import square_sums
from driftmoe.trees import adwin

NONE = -1
ROOT = 0

LEAF, NUMERIC, EQUALS, MULTIWAY = 0, 1, 2, 3
"""Kinds of node: a leaf; value <= threshold; value == threshold; one branch per value."""

INFO_GAIN, GINI, HELLINGER = 0, 1, 2
MAJORITY, NAIVE_BAYES, ADAPTIVE = 0, 1, 2

NODE = np.dtype(
    [
        # One of the kinds above.
        ("kind", np.int32),
        # Column that a split tests.
        ("feature", np.int32),
        # What a split compares the value with.
        ("threshold", np.float64),
        # First branch of a split; the branches made with the split follow it, `next_sibling` leads through all.
        ("first_child", np.int32),
        # Next branch of the same split, or NONE.
        ("next_sibling", np.int32),
        # The split above, or NONE.
        ("parent", np.int32),
        # Splits above.
        ("depth", np.int32),
        # Value for which a multiway split leads here.
        ("value", np.float64),
        # Where a leaf's statistics are; NONE for a split.
        ("slot", np.int32),
    ],
    align=True,
)

LEAF_STATE = np.dtype(
    [
        # Sum of the class weights.
        ("weight", np.float64),
        # Weight at the last attempt to split.
        ("last_attempt", np.float64),
        # Weight outside the majority class, where most can be gained, at the last attempt to split; 0 before the first.
        ("promise", np.float64),
        # Weight of the samples that the majority class, and that naive Bayes, would have got right.
        ("majority_correct", np.float64),
        ("bayes_correct", np.float64),
        # Classes in `class_order`.
        ("n_present", np.int32),
        # 0 once the leaf is too deep to split: it counts classes only.
        ("is_active", np.int32),
        # The node that this leaf is.
        ("node", np.int32),
        # From which the features follow that the leaf may split on, where it may not on all.
        ("seed", np.int64),
    ],
    align=True,
)

RULES = np.dtype(
    [
        ("grace_period", np.float64),
        # log(1 / delta)
        ("log_inverse_delta", np.float64),
        ("tau", np.float64),
        ("min_branch_fraction", np.float64),
        ("max_share_to_split", np.float64),
        ("nb_threshold", np.float64),
        ("max_depth", np.int64),
        ("max_nodes", np.int64),
        # Features that a leaf may split on: a number from 1 on, a share below.
        ("max_features", np.float64),
        # Of the two monitors.
        ("warning_delta", np.float64),
        ("drift_delta", np.float64),
        ("criterion", np.int64),
        ("leaf_prediction", np.int64),
        ("binary_split", np.int64),
    ],
    align=True,
)

EXPERT = np.dtype(
    [
        # 1 while a tree grows in the background; the one there is empty otherwise.
        ("has_background", np.int64),
        # Which monitor has raised an alarm that nothing has been done about yet.
        ("alarm", np.int64),
        ("n_warnings", np.int64),
        ("n_replaced", np.int64),
    ],
    align=True,
)

FOREGROUND, BACKGROUND = 0, 1
"""Columns of `rows_of`: which tree votes for the expert, and which may take its place."""

WARNING, DRIFT, NO_ALARM = 0, 1, 2
"""Columns of `windows`: the monitor whose alarm starts a background tree, and the one whose alarm replaces a tree."""

# Planes of `moments`, each over (class, feature). Of a nominal feature only COUNT is used.
COUNT, MEAN, M2, LOW, HIGH, PRECISION = 0, 1, 2, 3, 4, 5  # PRECISION: 1 / (2 variance), 0 where there is none
N_MOMENTS = 6

# Planes of `value_stats`, each over (column, class): the weight of each value of the nominal features, and the log of
# its share of the feature's weight in the class, 0 where there is none. The log is kept for features of few values.
VALUE_WEIGHT, VALUE_LOG = 0, 1
FEW_VALUES = 16

# Planes of `class_stats`, each over classes: the weight, its log, and the sum of the log heights of its Gaussians.
WEIGHT, LOG_WEIGHT, LOG_HEIGHT = 0, 1, 2

N_CANDIDATES = 10  # thresholds tried per numeric feature
ROUGH = 2e-5  # bound on the error of an estimated information gain in bits: four terms x log2 x with x off by 1.5e-7
TINY_VARIANCE = 2.3e-308
LOWEST_VOTE = -1e300
LOG_2 = 0.6931471805599453
LOG_PI = 1.1447298858494002
TWICE_LOG2_E = 2.8853900817779268
BITS = 0xFFFFFFFF
ABSENT = -1.0  # weight of a class that has no entry in a branch

# Columns of a tree's sizes: nodes and leaves in use, seed of the last leaf, and free slots that it holds.
N_NODES, N_LEAVES, LAST_SEED, N_FREE = 0, 1, 2, 3

Tree = namedtuple(
    "Tree",
    [
        "nodes",  # (node,) NODE
        "size",  # (4,): see above
        "free",  # (i,): the free slots that it holds, as many as `size` says
        "is_used",  # (f,): whether the tree sees the feature
        "leaves",  # (s,) LEAF_STATE
        "class_stats",  # (s, plane, c)
        "class_order",  # (s, i): the classes of a leaf in the order in which they got there
        "is_complete",  # (s, c): whether all features have been seen with this class, and all are numeric
        "moments",  # (s, plane, c, f)
        "arrivals",  # (s, f, 1 + i): number of classes seen with the feature, then these in order
        "value_stats",  # (s, plane, column, c)
        "value_start",  # (f,): first column of a nominal feature's values, NONE for a numeric feature
        "n_values",  # (f,): number of values that a nominal feature has shown
        "nominal",  # (i,): the nominal features
    ],
)


# --- down to a leaf ---------------------------------------------------------------------------------------------------


@kernel
def subtree_weight(nodes, leaves, node):
    """Sum of the weights of the leaves below a node, a 64-bit integer: numba crashes on the code of a recursion over
    several types when it comes from the disk."""
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
    """Return the branch that has seen most, the first of equals."""
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
    """Walk down from the root; by the most common branch where the value is missing or has no branch.

    Returns the leaf, whether all its tests could be made, and the first split that has no branch for its value (else
    NONE): there the walk of a sample to be learnt ends.
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
    """Walk on from a split that has no branch for its value; further such splits are passed likewise."""
    nodes = tree.nodes
    child = most_common_child(nodes, tree.leaves, node)
    while nodes[child]["kind"] != LEAF:
        node = child
        child = branch_of(nodes, node, x[nodes[node]["feature"]])
        if child == NONE:
            child = most_common_child(nodes, tree.leaves, node)
    return child


# --- what a leaf says -------------------------------------------------------------------------------------------------


# Sums and products over the features go by four lanes: feature f belongs to lane f % 4, and the lanes are put together
# in one order. So they need not wait for each other, and a feature without a say, which comes last, changes nothing.


@inlined_kernel
def square(x, mean, precision, f):
    """Return (x - mean)² · precision of a feature."""
    return (x[f] - mean[f]) * (x[f] - mean[f]) * precision[f]


@inlined_kernel
def distance(x, mean, precision):
    """Sum of (x - mean)² · precision."""
    n = x.shape[0]
    n_whole = n - n % 4
    a, b, c, d = square_sums(x, mean, precision)
    if n_whole < n:
        a += square(x, mean, precision, n_whole)
    if n_whole + 1 < n:
        b += square(x, mean, precision, n_whole + 1)
    if n_whole + 2 < n:
        c += square(x, mean, precision, n_whole + 2)
    return (a + b) + (c + d)


@inlined_kernel
def known_precision(precision, x, f):
    """Return the precision of a feature, 0 for a missing one."""
    return precision[f] if x[f] == x[f] else 0.0


@inlined_kernel
def mantissa(number):
    """Return m, from 1 to 2, of a number m · 2^k; 1 for 0."""
    bits = np.float64(number).view(np.int64)
    return np.int64(bits & 0x000FFFFFFFFFFFFF | 0x3FF0000000000000).view(np.float64)


@inlined_kernel
def exponent(number):
    """Return k + 1023 of a positive number m · 2^k; 0 for 0."""
    return np.int64(np.float64(number).view(np.int64) >> 52)


@inlined_kernel
def log_normaliser(precision, x):
    """Sum of log sqrt(precision / pi), the log height of a Gaussian, over the features that vary and are not missing.

    One logarithm of the product of the mantissas, of 512 at a time lest it overflow, instead of one for each feature.
    """
    n_features = x.shape[0]
    total = 0.0
    exponents, n = 0, 0
    for start in range(0, n_features, 512):
        end = min(start + 512, n_features)
        whole = start + (end - start) // 4 * 4
        a, b, c, d = 1.0, 1.0, 1.0, 1.0
        for f in range(start, whole, 4):
            p, q = known_precision(precision, x, f), known_precision(precision, x, f + 1)
            r, s = known_precision(precision, x, f + 2), known_precision(precision, x, f + 3)
            a *= mantissa(p)
            b *= mantissa(q)
            c *= mantissa(r)
            d *= mantissa(s)
            exponents += (exponent(p) + exponent(q)) + (exponent(r) + exponent(s))
            for value in (p, q, r, s):  # not at once: True + True is True in numpy
                n += value > 0.0
        for f in range(whole, end):
            p = known_precision(precision, x, f)
            a *= mantissa(p) if f == whole else 1.0
            b *= mantissa(p) if f == whole + 1 else 1.0
            c *= mantissa(p) if f == whole + 2 else 1.0
            exponents += exponent(p)
            n += p > 0.0
        total += log((a * b) * (c * d))
    return 0.5 * (total + (exponents - 1023 * n) * LOG_2 - n * LOG_PI)


@inlined_kernel
def known_square(x, mean, precision, f):
    """As `square`, 0 for a missing feature."""
    return square(x, mean, precision, f) if x[f] == x[f] else 0.0


@inlined_kernel
def known_distance(x, mean, precision):
    """As `distance`, without the missing features."""
    n = x.shape[0]
    n_whole = n - n % 4
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for f in range(0, n_whole, 4):
        a += known_square(x, mean, precision, f)
        b += known_square(x, mean, precision, f + 1)
        c += known_square(x, mean, precision, f + 2)
        d += known_square(x, mean, precision, f + 3)
    if n_whole < n:
        a += known_square(x, mean, precision, n_whole)
    if n_whole + 1 < n:
        b += known_square(x, mean, precision, n_whole + 1)
    if n_whole + 2 < n:
        c += known_square(x, mean, precision, n_whole + 2)
    return (a + b) + (c + d)


@inlined_kernel
def majority_class(tree, slot):
    """Return the heaviest class, of equals the one that came first; NONE if there is none."""
    best = NONE
    best_weight = -1.0
    for i in range(tree.leaves[slot]["n_present"]):
        c = tree.class_order[slot, i]
        if tree.class_stats[slot, WEIGHT, c] > best_weight:
            best, best_weight = c, tree.class_stats[slot, WEIGHT, c]
    return best


@inlined_kernel
def bayes_votes(tree, slot, x, has_missing, votes):
    """Write the log joint density of each class, -inf where it has no weight; return the best class or NONE."""
    n_features = x.shape[0]
    n_present = tree.leaves[slot]["n_present"]
    total = tree.leaves[slot]["weight"]
    order = tree.class_order[slot]
    stats = tree.class_stats[slot]
    moments = tree.moments[slot]
    if tree.nominal.shape[0] == 0:
        votes[:] = -np.inf
    else:
        for c in range(votes.shape[0]):
            votes[c] = log(stats[WEIGHT, c] / total) if stats[WEIGHT, c] > 0.0 else -np.inf
    for i in range(n_present if tree.nominal.shape[0] < n_features else 0):
        c = order[i]
        if stats[WEIGHT, c] <= 0.0:
            continue
        vote = stats[LOG_WEIGHT, c] if tree.nominal.shape[0] == 0 else votes[c]
        mean, precision = moments[MEAN, c], moments[PRECISION, c]
        if has_missing:
            votes[c] = vote + (log_normaliser(precision, x) - known_distance(x, mean, precision))
        else:
            votes[c] = vote + (stats[LOG_HEIGHT, c] - distance(x, mean, precision))
    for f in tree.nominal:
        if x[f] == x[f] and x[f] < tree.n_values[f]:
            column = tree.value_start[f] + int(x[f])
            if tree.n_values[f] <= FEW_VALUES:
                logs = tree.value_stats[slot, VALUE_LOG, column]
                for c in range(votes.shape[0]):
                    votes[c] += logs[c]
            else:
                weights = tree.value_stats[slot, VALUE_WEIGHT, column]
                for c in range(votes.shape[0]):
                    if weights[c] > 0.0:
                        votes[c] += log(weights[c] / moments[COUNT, c, f])
    best = NONE
    best_vote = -np.inf
    for i in range(n_present):
        c = order[i]
        if votes[c] > -np.inf or stats[WEIGHT, c] > 0.0:
            votes[c] = max(votes[c], LOWEST_VOTE)
            if votes[c] > best_vote:
                best, best_vote = c, votes[c]
    return best


@inlined_kernel
def uses_bayes(leaf, rules):
    """Whether naive Bayes may speak at a leaf; an adaptive leaf asks it, if only to see whether it would be right."""
    if leaf["is_active"] == 0 or rules["leaf_prediction"] == MAJORITY:
        return False
    return rules["leaf_prediction"] == ADAPTIVE or leaf["weight"] >= rules["nb_threshold"]


@inlined_kernel
def leaf_proba(tree, slot, rules, x, has_missing, will_learn, proba):
    """Write the class probabilities of a leaf, zeros if it has no vote; return the class that naive Bayes holds best.

    NONE is returned where naive Bayes has no vote or was not asked; before learning an adaptive leaf always asks it.
    """
    leaf = tree.leaves[slot]
    is_adaptive = rules["leaf_prediction"] == ADAPTIVE
    may_use_bayes = uses_bayes(leaf, rules)
    use_bayes = may_use_bayes and (not is_adaptive or leaf["bayes_correct"] >= leaf["majority_correct"])
    bayes_class = NONE
    if use_bayes or (will_learn and is_adaptive and may_use_bayes):
        bayes_class = bayes_votes(tree, slot, x, has_missing, proba)
    if use_bayes and bayes_class != NONE:
        highest = proba[bayes_class]
        for c in range(proba.shape[0]):
            proba[c] = exp(proba[c] - highest)  # 0 of -inf
        total = 0.0
        for c in range(proba.shape[0]):
            total += proba[c]
        for c in range(proba.shape[0]):
            proba[c] /= total
        return bayes_class
    proba[:] = 0.0
    if leaf["weight"] > 0.0:
        for i in range(leaf["n_present"]):
            c = tree.class_order[slot, i]
            proba[c] = tree.class_stats[slot, WEIGHT, c] / leaf["weight"]
    return bayes_class


# --- learning ---------------------------------------------------------------------------------------------------------


@kernel
def forget_observations(tree, slot):
    """Empty the observers of a leaf; its class weights stay."""
    tree.is_complete[slot] = False
    tree.moments[slot] = 0.0
    tree.arrivals[slot] = 0
    tree.value_stats[slot] = 0.0
    tree.class_stats[slot, LOG_HEIGHT] = 0.0


@kernel
def start_leaf(tree, node, slot):
    """Make a node a leaf that has seen nothing."""
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
    """Take a slot from the free ones of a tree; there is one."""
    tree.size[N_FREE] -= 1
    return np.int64(tree.free[tree.size[N_FREE]])


@kernel
def start_tree(tree):
    """Make the tree a single empty leaf; the slots of its leaves are free again."""
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
    """Give a multiway split an empty leaf for a value that it has no branch for; return the leaf."""
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


@inlined_kernel
def observe_complete(x, w, moments, c):
    """Update the moments of all features, each of which this class has been seen with (West 1979)."""
    count, mean, m2 = moments[COUNT, c], moments[MEAN, c], moments[M2, c]
    low, high, precision = moments[LOW, c], moments[HIGH, c], moments[PRECISION, c]
    for f in range(x.shape[0]):
        low[f] = x[f] if x[f] < low[f] else low[f]
        high[f] = x[f] if x[f] > high[f] else high[f]
    for f in range(x.shape[0]):
        value = x[f]
        n = count[f] + w
        old = mean[f]
        new = old + (w / n) * (value - old)
        m2[f] += w * (value - old) * (value - new)
        count[f] = n
        mean[f] = new
    for f in range(x.shape[0]):
        variance = m2[f] / (count[f] - 1.0) if count[f] > 1.0 else 0.0
        precision[f] = 0.5 / variance if variance > TINY_VARIANCE else 0.0


@kernel
def note_classes(tree, slot, x):
    """Enter the classes of a leaf in the order of arrival of its nominal features, as river does when it asks them."""
    n_present = tree.leaves[slot]["n_present"]
    for f in tree.nominal:
        arrivals = tree.arrivals[slot, f]
        if x[f] == x[f] and 0 < arrivals[0] < n_present:
            for i in range(n_present):
                c = np.int64(tree.class_order[slot, i])
                if tree.class_stats[slot, WEIGHT, c] > 0.0:
                    note_class(arrivals, c)


@kernel
def note_class(arrivals, c):
    """Append a class to an order of arrival unless it is there."""
    for i in range(1, 1 + arrivals[0]):
        if arrivals[i] == c:
            return
    arrivals[0] += 1
    arrivals[arrivals[0]] = c


@kernel
def observe_known(tree, slot, x, w, c):
    """Update the observers of the features that are not missing, each by its kind."""
    moments = tree.moments[slot]
    count, mean, m2 = moments[COUNT, c], moments[MEAN, c], moments[M2, c]
    low, high, precision = moments[LOW, c], moments[HIGH, c], moments[PRECISION, c]
    value_weights = tree.value_stats[slot, VALUE_WEIGHT]
    value_start = tree.value_start
    seen_all = tree.nominal.shape[0] == 0
    for f in range(x.shape[0]):
        value = x[f]
        if value != value:
            seen_all = seen_all and count[f] > 0.0
            continue
        is_first = count[f] == 0.0
        if is_first:
            note_class(tree.arrivals[slot, f], c)
        n = count[f] + w
        count[f] = n
        start = value_start[f]
        if start == NONE:
            low[f] = value if is_first else min(low[f], value)
            high[f] = value if is_first else max(high[f], value)
            old = mean[f]
            new = old + (w / n) * (value - old)
            mean[f] = new
            m2[f] += w * (value - old) * (value - new)
            variance = m2[f] / (n - 1.0) if n > 1.0 else 0.0
            precision[f] = 0.5 / variance if variance > TINY_VARIANCE else 0.0
        else:
            value_weights[start + int(value), c] += w
    tree.is_complete[slot, c] = seen_all


@kernel
def keep_logs(tree, slot, x, c, scratch):
    """Note the logs of the shares of all values of the nominal features that have few and are not missing."""
    count = tree.moments[slot, COUNT, c]
    weights, logs = tree.value_stats[slot, VALUE_WEIGHT], tree.value_stats[slot, VALUE_LOG]
    n = 0
    for f in tree.nominal:
        if x[f] == x[f] and tree.n_values[f] <= FEW_VALUES:
            start = tree.value_start[f]
            for column in range(start, start + tree.n_values[f]):
                scratch[n] = weights[column, c] / count[f] if weights[column, c] > 0.0 else 1.0
                n += 1
    for i in range(n):  # by lanes
        scratch[i] = log(scratch[i])
    n = 0
    for f in tree.nominal:
        if x[f] == x[f] and tree.n_values[f] <= FEW_VALUES:
            start = tree.value_start[f]
            for column in range(start, start + tree.n_values[f]):
                logs[column, c] = scratch[n]
                n += 1


@inlined_kernel
def observe(tree, slot, rules, x, has_missing, c, w, bayes_class, all_known, value_scratch):
    """Take one sample of class `c` into a leaf: which vote is right, the class weights, the observers."""
    leaf = tree.leaves[slot]
    if leaf["is_active"] == 1 and rules["leaf_prediction"] == ADAPTIVE:
        if leaf["n_present"] == 0 or majority_class(tree, slot) == c:
            leaf["majority_correct"] += w
        if bayes_class == c:
            leaf["bayes_correct"] += w

    if uses_bayes(leaf, rules):
        note_classes(tree, slot, x)

    weights = tree.class_stats[slot, WEIGHT]
    order = tree.class_order[slot]
    is_present = weights[c] > 0.0
    if not is_present:
        for i in range(leaf["n_present"]):
            is_present = is_present or order[i] == c
    if not is_present:
        order[leaf["n_present"]] = c
        leaf["n_present"] += 1
    weights[c] += w
    if tree.nominal.shape[0] == 0 and rules["leaf_prediction"] != MAJORITY:
        tree.class_stats[slot, LOG_WEIGHT, c] = log(weights[c])
    total = 0.0  # anew in the order of arrival: river's rounding decides when the grace period is over
    for i in range(leaf["n_present"]):
        total += weights[order[i]]
    leaf["weight"] = total

    if leaf["is_active"] == 0:
        return
    if tree.is_complete[slot, c] and not has_missing:
        observe_complete(x, w, tree.moments[slot], c)
    else:
        observe_known(tree, slot, x, w, c)
        if tree.nominal.shape[0] > 0 and rules["leaf_prediction"] != MAJORITY:
            keep_logs(tree, slot, x, c, value_scratch)
    if rules["leaf_prediction"] != MAJORITY and tree.nominal.shape[0] < x.shape[0]:
        tree.class_stats[slot, LOG_HEIGHT, c] = log_normaliser(tree.moments[slot, PRECISION, c], all_known)


# --- splitting --------------------------------------------------------------------------------------------------------


@kernel
def entropy(weights, order, scratch):
    """Entropy in bits of the class weights, without classes that have none."""
    n = order.shape[0]
    total = 0.0
    for i in range(n):
        scratch[i] = max(weights[order[i]], 0.0)
        total += scratch[i]
    for i in range(n):  # by lanes
        scratch[i] = scratch[i] * log2(scratch[i]) if scratch[i] > 0.0 else 0.0
    bits = 0.0
    for i in range(n):
        bits -= scratch[i]
    return (bits + total * log2(total)) / total if total > 0.0 else 0.0


@kernel
def branch_weight(weights, order):
    """Sum of the weights of the classes that have an entry."""
    total = 0.0
    for c in order:
        if weights[c] > 0.0:
            total += weights[c]
    return total


@kernel
def split_merit(branches, order, leaf_entropy, rules, scratch):
    """Merit of a split into branches (b, c); -inf unless two of them have more than the least share of the weight."""
    n_branches = branches.shape[0]
    total = 0.0
    for b in range(n_branches):
        total += branch_weight(branches[b], order)
    if total <= 0.0:
        return -np.inf
    n_large = 0
    for b in range(n_branches):
        if branch_weight(branches[b], order) / total > rules["min_branch_fraction"]:
            n_large += 1
    if n_large < 2:
        return -np.inf

    if rules["criterion"] == INFO_GAIN:
        bits = 0.0
        for b in range(n_branches):
            bits += branch_weight(branches[b], order) * entropy(branches[b], order, scratch)
        return leaf_entropy - bits / total

    if rules["criterion"] == GINI:
        impurity = 0.0
        for b in range(n_branches):
            weight = branch_weight(branches[b], order)
            gini = 1.0
            if weight > 0.0:
                for c in order:
                    if branches[b, c] > 0.0:
                        gini -= (branches[b, c] / weight) * (branches[b, c] / weight)
            impurity += (weight / total) * gini
        return 1.0 - impurity

    # Hellinger distance of the first two classes over the first two branches, Cieslak et al. 2012.
    if branches.shape[1] < 2:
        return 0.0
    if min(branches[0, 0], branches[0, 1], branches[1, 0], branches[1, 1]) < 0.0:
        return 0.0
    of_first = branches[0, 0] + branches[1, 0]
    of_second = branches[0, 1] + branches[1, 1]
    if of_first <= 0.0 or of_second <= 0.0:
        return 0.0
    squares = 0.0
    for b in range(2):
        gap = math.sqrt(branches[b, 0] / of_first) - math.sqrt(branches[b, 1] / of_second)
        squares += gap * gap
    return math.sqrt(squares)


@kernel
def hoeffding_bound(value_range, log_inverse_delta, weight):
    """Domingos & Hulten 2000, section 2: the mean of `weight` draws is off by more with probability below delta."""
    return math.sqrt(value_range * value_range * log_inverse_delta / (2.0 * weight))


@kernel
def numeric_branches(moments, f, order, threshold, branches):
    """Write the class weights on both sides of a threshold, by the Gaussian of each class within its range."""
    branches[:] = ABSENT
    for c in order:
        n = moments[COUNT, c, f]
        if threshold < moments[LOW, c, f]:
            branches[1, c] = n
        elif threshold >= moments[HIGH, c, f]:
            branches[0, c] = n
        else:
            variance = moments[M2, c, f] / (n - 1.0) if n > 1.0 else 0.0
            below = 0.0
            if variance > 0.0:
                z = (threshold - moments[MEAN, c, f]) / math.sqrt(variance)
                below = 0.5 * (1.0 + erf(z / math.sqrt(2.0)))
            branches[0, c] = below * n
            branches[1, c] = n - branches[0, c]


@kernel
def value_branches(value_weights, start, n_values, order, value, branches):
    """Write the class weights of one value and of all others."""
    branches[:] = ABSENT
    for c in order:
        for v in range(n_values):
            weight = value_weights[start + v, c]
            if weight > 0.0:
                side = 0 if v == value else 1
                branches[side, c] = max(branches[side, c], 0.0) + weight


@allocating_kernel
def values_seen(value_weights, start, n_values, order):
    """Return the codes of the values that a leaf has seen, in ascending order."""
    codes = np.empty(n_values, np.int64)
    n = 0
    for v in range(n_values):
        for c in order:
            if value_weights[start + v, c] > 0.0:
                codes[n] = v
                n += 1
                break
    return codes[:n]


@allocating_kernel
def all_branches(value_weights, start, codes, order, n_classes):
    """Return the class weights of each value, shape (value, c)."""
    branches = np.full((codes.shape[0], n_classes), ABSENT)
    for b in range(codes.shape[0]):
        for c in order:
            if value_weights[start + codes[b], c] > 0.0:
                branches[b, c] = value_weights[start + codes[b], c]
    return branches


@kernel
def rough_phi(u):
    """Distribution function of the normal distribution at u · sqrt(2), to 2e-7 (Abramowitz & Stegun 1964, 7.1.28)."""
    a = min(abs(u), 10.0)
    root = 1.0 + a * (
        0.0705230784
        + a * (0.0422820123 + a * (0.0092705272 + a * (0.0001520143 + a * (0.0002765672 + a * 0.0000430638))))
    )
    square = root * root
    fourth = square * square
    eighth = fourth * fourth
    tail = 0.5 / (eighth * eighth)
    return tail if u < 0.0 else 1.0 - tail


@kernel
def rough_bits(weight):
    """Return weight · log2(weight), the logarithm to 1e-7: four terms of its series about the middle of an octave."""
    pattern = np.float64(weight).view(np.int64)
    exponent = np.int32(pattern >> 52) - 1022.5
    mantissa = np.int64((pattern & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    s = (mantissa - math.sqrt(2.0)) / (mantissa + math.sqrt(2.0))
    q = s * s
    series = 1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0)))
    return weight * (exponent + TWICE_LOG2_E * s * series)


@kernel
def add_class(thresholds, n, low, high, mean, scale, below, bits):
    """Add a class to the weights below each threshold, and to the bits of the weights on both sides."""
    most = n if scale > 0.0 else 0.0
    for i in range(thresholds.shape[0]):
        t = thresholds[i]
        weight = most * rough_phi((t - mean) * scale)
        weight = 0.0 if t < low else (n if t >= high else weight)
        below[i] += weight
        bits[i] += rough_bits(weight) + rough_bits(n - weight)


@kernel
def rough_gains(below, bits, total, leaf_entropy, min_branch_fraction, gains):
    """Write the information gain of each threshold: -inf for no valid split, inf where that is too close to call."""
    for i in range(below.shape[0]):
        sides = rough_bits(below[i]) + rough_bits(total - below[i])
        gain = leaf_entropy - (sides - bits[i]) / total
        margin = min(below[i], total - below[i]) / total - min_branch_fraction
        gains[i] = np.inf if abs(margin) < ROUGH else (gain if margin > 0.0 else -np.inf)


@kernel
def estimate_gains(moments, f, order, leaf_entropy, min_branch_fraction, thresholds, scratch, gains):
    """Write the information gain of each threshold, off by less than `ROUGH`; see `rough_gains`."""
    below, bits = scratch[0], scratch[1]
    below[:] = 0.0
    bits[:] = 0.0
    total = 0.0
    for c in order:
        n = moments[COUNT, c, f]
        variance = moments[M2, c, f] / (n - 1.0) if n > 1.0 else 0.0
        scale = math.sqrt(0.5 / variance) if variance > TINY_VARIANCE else 0.0
        low, high, mean = moments[LOW, c, f], moments[HIGH, c, f], moments[MEAN, c, f]
        add_class(thresholds, n, low, high, mean, scale, below, bits)
        total += n
    rough_gains(below, bits, total, leaf_entropy, min_branch_fraction, gains)


@kernel
def best_numeric(moments, f, order, leaf_entropy, rules, least, scratch, class_scratch, branches):
    """Return merit and threshold of the best of ten evenly spaced thresholds; one that is not above `least` may lack.

    Information gain is estimated first, and worked out only for those thresholds that may turn out the best.
    """
    low, high = np.inf, -np.inf
    for c in order:
        low = min(low, moments[LOW, c, f])
        high = max(high, moments[HIGH, c, f])
    thresholds, estimates = scratch[2], scratch[3]
    step = (high - low) / (N_CANDIDATES + 1.0)
    for i in range(N_CANDIDATES):
        thresholds[i] = low + step * (i + 1)
        estimates[i] = np.inf
    if rules["criterion"] == INFO_GAIN and low < thresholds[0] and thresholds[N_CANDIDATES - 1] < high:
        fraction = rules["min_branch_fraction"]
        estimate_gains(moments, f, order, leaf_entropy, fraction, thresholds, scratch, estimates)
        for i in range(N_CANDIDATES):
            if estimates[i] < np.inf:
                least = max(least, estimates[i] - ROUGH)
    best_merit, best_threshold = -np.inf, 0.0
    for i in range(N_CANDIDATES):
        threshold = thresholds[i]
        if low < threshold < high and estimates[i] + ROUGH >= least:
            numeric_branches(moments, f, order, threshold, branches)
            merit = split_merit(branches, order, leaf_entropy, rules, class_scratch)
            if merit > best_merit:
                best_merit, best_threshold = merit, threshold
    return best_merit, best_threshold


@allocating_kernel
def best_nominal(tree, slot, f, order, leaf_entropy, rules, class_scratch, branches):
    """Return merit, kind and value of the best split of a nominal feature: multiway, or one value against the rest."""
    value_weights = tree.value_stats[slot, VALUE_WEIGHT]
    start, n_values = tree.value_start[f], tree.n_values[f]
    codes = values_seen(value_weights, start, n_values, order)
    best_merit, best_kind, best_value = -np.inf, EQUALS, 0
    if rules["binary_split"] == 0:
        multiway = all_branches(value_weights, start, codes, order, branches.shape[1])
        best_merit, best_kind = (
            split_merit(
                multiway, np.arange(branches.shape[1], dtype=np.int32), leaf_entropy, rules, class_scratch
            ),
            MULTIWAY,
        )
    for value in codes:
        value_branches(value_weights, start, n_values, order, value, branches)
        merit = split_merit(branches, order, leaf_entropy, rules, class_scratch)
        if merit > best_merit:
            best_merit, best_kind, best_value = merit, EQUALS, value
    return best_merit, best_kind, float(best_value)


@kernel
def scrambled(number):
    """Mix the bits of a number of 32 bits; other numbers give other results."""
    number = (number ^ (number >> 16)) * 0x45D9F3B & BITS
    number = (number ^ (number >> 16)) * 0x45D9F3B & BITS
    return number ^ (number >> 16)


@allocating_kernel
def split_features(tree, slot, rules):
    """Return which features a leaf may split on: as many as the rules say, of those that the tree sees.

    They are the ones whose number, scrambled with the leaf's seed, is least: the same whenever the leaf is asked, and a
    new feature takes the place of one at most.
    """
    is_candidate = tree.is_used.copy()
    n_features = is_candidate.shape[0]
    n_used = 0
    for f in range(n_features):
        n_used += is_candidate[f]
    wanted = rules["max_features"]
    if wanted < 1.0:
        wanted = max(1.0, math.floor(wanted * n_used + 0.5))
    if wanted >= n_used:
        return is_candidate
    seed = scrambled(tree.leaves[slot]["seed"])
    ranks = np.empty(n_features, np.int64)
    for f in range(n_features):
        ranks[f] = scrambled(seed ^ f) if tree.is_used[f] else BITS + 1
    for f in range(n_features):
        n_lower = 0
        for g in range(n_features):
            n_lower += ranks[g] < ranks[f]
        is_candidate[f] = tree.is_used[f] and n_lower < wanted
    return is_candidate


@allocating_kernel
def best_split(tree, slot, rules):
    """Return the best split of a leaf and the merit of the second best; no split at all has the merit -inf."""
    leaf = tree.leaves[slot]
    moments = tree.moments[slot]
    weights = tree.class_stats[slot, WEIGHT]
    n_classes = weights.shape[0]
    branches, class_scratch = np.empty((2, n_classes)), np.empty(n_classes)
    leaf_entropy = entropy(weights, tree.class_order[slot, : leaf["n_present"]], class_scratch)
    scratch = np.empty((4, N_CANDIDATES))
    best, second = -np.inf, -np.inf
    best_feature, best_kind, best_threshold = NONE, LEAF, 0.0
    is_candidate = split_features(tree, slot, rules)
    for f in range(is_candidate.shape[0]):
        order = tree.arrivals[slot, f, 1 : 1 + tree.arrivals[slot, f, 0]]
        if order.shape[0] == 0 or not is_candidate[f]:
            continue
        if tree.value_start[f] == NONE:
            merit, threshold = best_numeric(
                moments, f, order, leaf_entropy, rules, second, scratch, class_scratch, branches
            )
            kind = NUMERIC
        else:
            merit, kind, threshold = best_nominal(
                tree, slot, f, order, leaf_entropy, rules, class_scratch, branches
            )
        if merit >= best and merit > -np.inf:
            second, best = best, merit
            best_feature, best_kind, best_threshold = f, kind, threshold
        elif merit > second:
            second = merit
    return best, second, best_feature, best_kind, best_threshold


@kernel
def may_grow(tree, slot, rules):
    """Whether the bound on the nodes leaves room for a split of this leaf.

    What room is left goes to the leaves that promise most, by what each promised at its last attempt. With room for k
    more splits in two, a leaf grows only if fewer than k leaves promise more. There is nothing to compare while there
    are not more leaves than that.
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
    """Turn a leaf into a split; the branches begin with the class weights that they have seen.

    The branches of a multiway split have their classes in ascending order, all others in the order of arrival.
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
            order = np.arange(n_classes, dtype=np.int32)

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
    """Split a leaf that has seen its grace period, if the best split is better than the second best for sure.

    A leaf that may not grow does not look for a split; one for whose split there are too few nodes never looks again.
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
    best, second, feature, kind, threshold = best_split(tree, slot, rules)
    value_range = 1.0 if rules["criterion"] == GINI else log2(max(n_present, 2))
    bound = hoeffding_bound(value_range, rules["log_inverse_delta"], leaf["weight"])
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
def learn_row(tree, leaf_node, is_direct, rules, x, has_missing, c, w, bayes_class, all_known, value_scratch):
    """Take one sample into a leaf and split the leaf if its time has come.

    A sample that could not make all the tests on its way is learnt, but gives no occasion to split.
    """
    slot = np.int64(tree.nodes[leaf_node]["slot"])
    observe(tree, slot, rules, x, has_missing, c, w, bayes_class, all_known, value_scratch)
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


@kernel
def votes_for(proba, c):
    """Whether a class is the first of the most probable ones; no vote is a vote for none."""
    for other in range(proba.shape[0]):
        if proba[other] > proba[c] or (proba[other] == proba[c] and other < c):
            return False
    return proba[c] > 0.0


@kernel
def has_risen(window, delta, value):
    """Let a monitor take in a value; whether it found a change, and that upwards."""
    before = adwin.estimate(window)
    return adwin.update(window, delta, value) and adwin.estimate(window) > before


@kernel
def alarm_of(windows, rules, error):
    """Tell both monitors whether the vote was wrong; return which one raises the alarm, or NO_ALARM.

    As in adaptive random forests (Gomes et al. 2017, algorithm 1) the monitor of warnings starts anew after each, both
    do after a drift. Where both find a change at once the warning comes too late.
    """
    is_warning = rules["warning_delta"] > 0.0 and has_risen(windows[WARNING], rules["warning_delta"], error)
    is_drift = has_risen(windows[DRIFT], rules["drift_delta"], error)
    if is_drift or is_warning:
        adwin.restart(windows[WARNING])
    if is_drift:
        adwin.restart(windows[DRIFT])
    return DRIFT if is_drift else WARNING if is_warning else NO_ALARM


@kernel
def is_too_young(tree, w, rules):
    """Whether a tree is one leaf that a sample of weight `w` gives no occasion to split."""
    leaf = tree.leaves[np.int64(tree.nodes[ROOT]["slot"])]
    return tree.size[N_NODES] == 1 and leaf["weight"] + w - leaf["last_attempt"] < rules["grace_period"]


@embedded_kernel
def go_on(
    tree, experts, windows, rules, block, targets, weights, has_missing, n_branches, row, stop, proba, votes,
    all_known, own_row, value_scratch,
):  # fmt: skip
    """Let one tree go through the rows from `row` up to `stop`.

    Returns the row to go on with, `stop` unless a monitor raised an alarm or there was no room for a split, and
    whether there was room.
    """
    is_learning = targets.shape[0] > 0
    is_predicting = proba.shape[0] > 0
    nodes, size = tree.nodes, tree.size
    max_nodes = rules["max_nodes"]
    max_leaves = (max_nodes + 1) // 2 if n_branches == 2 else max_nodes
    has_room, is_calm = True, True
    sees_all = True
    for f in range(tree.is_used.shape[0]):
        sees_all = sees_all and tree.is_used[f]
    while row < stop and is_calm:
        w = weights[row] if is_learning else 0.0
        if w > 0.0:
            has_room = (
                min(size[N_NODES] + n_branches, max_nodes) <= nodes.shape[0]
                and min(n_branches, max_leaves - size[N_LEAVES]) <= size[N_FREE]
            ) or is_too_young(tree, w, rules)
            if not has_room:
                break
        if is_predicting or w > 0.0:
            x = block[row]
            if not sees_all:
                x = own_row
                for f in range(x.shape[0]):  # a constant has no say, neither in a vote nor in a split
                    x[f] = block[row, f] if tree.is_used[f] else 0.0
            leaf, is_direct, unknown_at = find_leaf(tree, x)
            out = proba[row] if is_predicting else votes
            bayes_class = leaf_proba(
                tree, np.int64(nodes[leaf]["slot"]), rules, x, has_missing[row], w > 0.0, out
            )
            if w > 0.0:
                c = targets[row]
                if unknown_at != NONE and size[N_NODES] < max_nodes:
                    leaf = add_branch(tree, unknown_at, x[nodes[unknown_at]["feature"]])
                    bayes_class = NONE
                learn_row(
                    tree,
                    leaf,
                    is_direct,
                    rules,
                    x,
                    has_missing[row],
                    c,
                    w,
                    bayes_class,
                    all_known,
                    value_scratch,
                )
                if experts.shape[0] > 0:
                    alarm = alarm_of(windows[0], rules, 0.0 if votes_for(out, c) else 1.0)
                    experts[0]["alarm"] = alarm
                    is_calm = alarm == NO_ALARM
        row += 1
    return row, has_room


# --- entry points -----------------------------------------------------------------------------------------------------


@checking_kernel
def first_wrong(block, targets, weights, value_start, max_value, max_code, max_class):
    """Return (what, row, column) of the first entry that is out of range; what: 0 none, 1 to 4 as `pool` explains."""
    for row in range(block.shape[0]):
        for f in range(block.shape[1]):
            value = block[row, f]
            if abs(value) > max_value:
                return 1, row, f
            is_code = 0.0 <= value <= max_code and value == math.floor(value)
            if f < value_start.shape[0] and value_start[f] != NONE and value == value and not is_code:
                return 2, row, f
    for row in range(targets.shape[0]):
        for column in range(targets.shape[1]):
            if targets[row, column] < 0 or targets[row, column] > max_class:
                return 3, row, column
    for row in range(weights.shape[0]):
        for e in range(weights.shape[1]):
            if not 0.0 <= weights[row, e] <= max_value:
                return 4, row, e
    return 0, 0, 0


@checking_kernel
def count_values(block, nominal, n_values):
    """Raise the number of values of each nominal feature to what a block needs; return whether any changed."""
    has_new = False
    for f in nominal:
        if f < block.shape[1]:
            for row in range(block.shape[0]):
                if block[row, f] >= n_values[f]:
                    n_values[f] = int(block[row, f]) + 1
                    has_new = True
    return has_new


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


@stepping_kernel
def step(
    nodes, sizes, free, is_used, leaves, class_stats, class_order, is_complete, moments, arrivals, value_stats,
    value_start, n_values, nominal, rows_of, experts, windows, rules_of_all, block, targets, weights, n_branches,
    progress, proba, first, last,
):  # fmt: skip
    """Let each expert from `first` up to `last` go through the rows in order: predict, then learn.

    Experts share nothing that changes, so that several threads may call this at the same time, each for other experts.

    Parameters
    ----------
    rows_of
        (e, 2): where in the arrays of trees the foreground tree and the background tree of an expert are.
    experts, windows
        (e,) EXPERT and (e, 2) WINDOW: what is known of each expert, and its monitors; of length 0 where there are none.
        Monitors see whether the vote before learning was wrong, on the samples that the expert learns.
    block
        (row, f): the features, NaN where missing.
    targets
        (row, 1) or (row, e): the classes, for all experts or each; of 0 rows where nothing is to be learnt.
    weights
        (row, e): the weight of the sample for each expert, 0 for one that does not see it.
    n_branches
        Most branches that a split can have, at least 2.
    progress
        (e, 2): the row with which both trees of each expert go on; afterwards the row that they have come to.
    proba
        (row, e, c): the predictions are written here; of 0 rows where none are wanted.

    Returns
    -------
    False if all rows are done. True if an expert had no room for one more split and stopped, as it never does where
    `lacks_room` has been asked before.
    """
    n_rows, n_features = block.shape
    votes = np.empty(proba.shape[2])
    all_known = np.zeros(n_features)
    own_row = np.empty(n_features)
    value_scratch = np.empty(value_stats.shape[2])
    has_missing = np.zeros(n_rows, np.bool_)
    for row in range(n_rows):
        n_missing = 0
        for f in range(n_features):
            n_missing += block[row, f] != block[row, f]
        has_missing[row] = n_missing > 0
    is_stuck = False
    for e in range(first, last):
        rules = rules_of_all[e if rules_of_all.shape[0] > 1 else 0]
        while True:
            # The tree in the background follows when the other has stopped; then it is time to see to an alarm.
            front, back = rows_of[e, FOREGROUND], rows_of[e, BACKGROUND]
            is_watched = experts.shape[0] > 0 and targets.shape[0] > 0
            has_background = is_watched and experts[e]["has_background"] == 1
            lags = has_background and progress[e, BACKGROUND] < progress[e, FOREGROUND]
            alarm = experts[e]["alarm"] if is_watched and not lags else NO_ALARM
            if progress[e, FOREGROUND] == n_rows and not lags and alarm == NO_ALARM:
                break
            if alarm == DRIFT:
                rows_of[e, FOREGROUND], rows_of[e, BACKGROUND] = back, front
                back = front
            side = BACKGROUND if lags or alarm != NO_ALARM else FOREGROUND
            r = back if side == BACKGROUND else front
            tree = Tree(
                nodes[r], sizes[r], free[r], is_used[r], leaves, class_stats, class_order, is_complete, moments,
                arrivals, value_stats, value_start, n_values, nominal,
            )  # fmt: skip
            if alarm != NO_ALARM:
                start_tree(tree)
                experts[e]["alarm"] = NO_ALARM
                experts[e]["has_background"] = alarm == WARNING
                experts[e]["n_warnings"] += alarm == WARNING
                experts[e]["n_replaced"] += alarm == DRIFT
                progress[e, BACKGROUND] = progress[e, FOREGROUND]
                continue
            n_voting = e + 1 if side == FOREGROUND else e
            progress[e, side], has_room = go_on(
                tree, experts[e:n_voting], windows[e:n_voting], rules, block,
                targets[:, e if targets.shape[1] > 1 else 0], weights[:, e], has_missing, n_branches,
                progress[e, side], progress[e, FOREGROUND] if lags else n_rows,
                proba[: 0 if lags else proba.shape[0], e], votes, all_known, own_row, value_scratch,
            )  # fmt: skip
            if not has_room:
                is_stuck = True
                break
    return is_stuck


@checking_kernel
def lacks_room(
    nodes, sizes, leaves, rows_of, experts, rules_of_all, n_branches, n_added, weights, n_rows, room
):
    """Write how many nodes and free leaves each tree may need for some rows; return whether one has fewer.

    A leaf that splits needs `n_branches` nodes at most, and as many leaves less one. It looks for a split when its
    grace period is over: in these rows, those do that have nearly seen it, and one more for each grace period's weight;
    and no more than there are rows. Before each row there must be room for one more split: what the last row takes need
    not be made up for, and a tree that begins anew, as it does behind a row, learns nothing in the last one.

    Parameters
    ----------
    nodes, sizes, leaves, rows_of, experts, rules_of_all, n_branches
        As of `step`.
    n_added
        Branches that one row can add to a split there is: 1 where there are nominal features, else 0.
    weights
        What the rows weigh at most for each expert, all together, shape (n_experts,); infinity if that is not known.
    n_rows
        Number of rows.
    room
        Result, int64, shape (n_trees, 2): nodes, those in use among them, and free leaves.
    """
    lacks = False
    for e in range(rows_of.shape[0]):
        rules = rules_of_all[e if rules_of_all.shape[0] > 1 else 0]
        max_nodes, grace_period = rules["max_nodes"], rules["grace_period"]
        max_leaves = (max_nodes + 1) // 2 if n_branches == 2 else max_nodes
        n_periods = n_rows
        if weights[e] < grace_period * n_rows:
            n_periods = int(weights[e] / grace_period)
        for side in range(2):
            r = rows_of[e, side]
            is_spare = side == BACKGROUND and experts.shape[0] > 0 and r != rows_of[e, FOREGROUND]
            if side == BACKGROUND and not is_spare:
                continue
            n_nodes, n_leaves, n_free = sizes[r, N_NODES], sizes[r, N_LEAVES], sizes[r, N_FREE]
            nodes_needed = leaves_needed = np.int64(0)
            if side == FOREGROUND or experts[e]["has_background"] == 1:
                n_splits = n_rows
                if n_rows > 1 and n_periods < n_rows:
                    n_due = n_periods
                    for node in range(n_nodes):
                        if nodes[r, node]["kind"] == LEAF:
                            leaf = leaves[nodes[r, node]["slot"]]
                            age = leaf["weight"] - leaf["last_attempt"]
                            n_due += int(leaf["is_active"] != 0 and age + weights[e] >= grace_period)
                    n_splits = n_due
                n_splits = min(n_splits, n_rows - 1)
                nodes_needed = min(n_nodes + (n_splits + 1) * n_branches + (n_rows - 1) * n_added, max_nodes)
                leaves_needed = n_splits * (n_branches - 1) + n_branches + (n_rows - 1) * n_added
                leaves_needed = min(leaves_needed, max_leaves - n_leaves)
            # A tree that begins anew has its own leaves to begin with.
            if is_spare and n_rows > 1 and n_periods > 0:
                n_splits = min(n_rows - 1, n_periods)
                of_new = (n_splits + 1) * n_branches + (n_rows - 1) * n_added
                nodes_needed = max(nodes_needed, min(1 + of_new, max_nodes))
                of_new = min(of_new - n_splits, max_leaves - 1) - (n_leaves - 1)
                leaves_needed = max(leaves_needed, of_new)
            room[r, 0], room[r, 1] = nodes_needed, leaves_needed
            lacks = lacks or nodes_needed > nodes.shape[1] or leaves_needed > n_free
    return lacks
