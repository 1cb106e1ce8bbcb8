"""How a leaf finds its best split: the candidates of each feature, and their merit."""

from __future__ import annotations

import math

import numpy as np

from driftmoe.arithmetic import erf, log2
from driftmoe.compilation import allocating_kernel, kernel
from driftmoe.trees.estimates import (
    N_CANDIDATES,
    ROUGH,
    UNKNOWN,
    best_ends,
    estimate_all_nominal,
    estimate_all_numeric,
    numeric_ends,
    threshold_of,
)
from driftmoe.trees.nodes import (
    BITS,
    COUNT,
    EQUALS,
    GINI,
    HIGH,
    INFO_GAIN,
    LEAF,
    LOW,
    M2,
    MEAN,
    MULTIWAY,
    NONE,
    NUMERIC,
    VALUE_WEIGHT,
    WEIGHT,
)

ABSENT = -1.0  # weight of a class that has no entry in a branch
FINEST, LARGEST = 2.0**20, 2.0**32  # see `add_up`


@kernel
def entropy(weights, order, scratch):
    """Return the entropy in bits of the class weights; classes without weight do not count."""
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
    """Return the total weight of a branch. Absent classes do not count."""
    total = 0.0
    for c in order:
        if weights[c] > 0.0:
            total += weights[c]
    return total


@kernel
def split_merit(branches, order, leaf_entropy, rules, scratch):
    """Return the merit of a split into branches (b, c), or -inf if fewer than two have the minimum share."""
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
    """Return the error that a mean of `weight` draws exceeds with probability delta: Domingos & Hulten 2000, sec. 2."""
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
    """Write the class weights of one value and of all other values."""
    branches[:] = ABSENT
    for c in order:
        for v in range(n_values):
            weight = value_weights[start + v, c]
            if weight > 0.0:
                side = 0 if v == value else 1
                branches[side, c] = max(branches[side, c], 0.0) + weight


@kernel
def rest_branches(value_weights, start, value, order, totals, branches):
    """As `value_branches`, from the `totals` of all values, at a cost that does not grow with their number."""
    branches[:] = ABSENT
    for c in order:
        weight = value_weights[start + value, c]
        if weight > 0.0:
            branches[0, c] = weight
        if totals[c] > weight:  # exact, so that it is 0 if there is no other value
            branches[1, c] = totals[c] - weight


@kernel
def add_up(value_weights, start, n_values, order, totals):
    """Write the sum of all values' weights for each class; return whether all sums and differences are exact.

    They are if all weights are multiples of 2^-20, as are whole ones, and no sum is above 2^32: 53 bits are enough.
    """
    is_exact = True
    for c in order:
        total = 0.0
        for v in range(n_values):
            weight = value_weights[start + v, c]
            is_exact &= weight * FINEST == math.floor(weight * FINEST)
            total += weight
        totals[c] = total
        is_exact &= total <= LARGEST
    return is_exact


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
def all_classes(n_classes):
    """Return the classes in ascending order."""
    order = np.empty(n_classes, np.int32)  # numba compiles np.arange and np.full in a fifth of a second each
    for c in range(n_classes):
        order[c] = c
    return order


@allocating_kernel
def all_branches(value_weights, start, codes, order, n_classes):
    """Return the class weights of each value, shape (value, c)."""
    branches = np.empty((codes.shape[0], n_classes))
    branches[:] = ABSENT
    for b in range(codes.shape[0]):
        for c in order:
            if value_weights[start + codes[b], c] > 0.0:
                branches[b, c] = value_weights[start + codes[b], c]
    return branches


@kernel
def best_numeric(moments, f, order, leaf_entropy, rules, least, gains, k, class_scratch, branches):
    """Return the merit and the value of the best of ten evenly spaced thresholds.

    Thresholds whose merit is not above `least` may be skipped. It is computed only for the thresholds that by their
    estimated `gains`, in column `k`, may be the best.
    """
    low, high = np.inf, -np.inf
    for c in order:
        low = min(low, moments[LOW, c, f])
        high = max(high, moments[HIGH, c, f])
    for i in range(N_CANDIDATES):
        if gains[i, k] < np.inf:
            least = max(least, gains[i, k] - ROUGH)
    best_merit, best_threshold = -np.inf, 0.0
    for i in range(N_CANDIDATES):
        threshold = threshold_of(low, high, i)
        if low < threshold < high and gains[i, k] + ROUGH >= least:
            numeric_branches(moments, f, order, threshold, branches)
            merit = split_merit(branches, order, leaf_entropy, rules, class_scratch)
            if merit > best_merit:
                best_merit, best_threshold = merit, threshold
    return best_merit, best_threshold


@allocating_kernel
def best_nominal(tree, slot, f, order, leaf_entropy, rules, class_scratch, branches):
    """Return merit, kind and value of a nominal feature's best split: multiway, or one value against the rest."""
    value_weights = tree.value_stats[slot, VALUE_WEIGHT]
    start, n_values = tree.value_start[f], tree.n_values[f]
    codes = values_seen(value_weights, start, n_values, order)
    best_merit, best_kind, best_value = -np.inf, EQUALS, 0
    if rules["binary_split"] == 0:
        n_classes = branches.shape[1]
        multiway = all_branches(value_weights, start, codes, order, n_classes)
        best_merit = split_merit(multiway, all_classes(n_classes), leaf_entropy, rules, class_scratch)
        best_kind = MULTIWAY
    totals = np.empty(branches.shape[1])
    is_exact = add_up(value_weights, start, n_values, order, totals)
    for value in codes:
        if is_exact:
            rest_branches(value_weights, start, value, order, totals, branches)
        else:
            value_branches(value_weights, start, n_values, order, value, branches)
        merit = split_merit(branches, order, leaf_entropy, rules, class_scratch)
        if merit > best_merit:
            best_merit, best_kind, best_value = merit, EQUALS, value
    return best_merit, best_kind, float(best_value)


@kernel
def scrambled(number):
    """Mix the bits of a 32-bit number; different numbers give different results."""
    number = (number ^ (number >> 16)) * 0x45D9F3B & BITS
    number = (number ^ (number >> 16)) * 0x45D9F3B & BITS
    return number ^ (number >> 16)


@allocating_kernel
def split_features(tree, slot, rules):
    """Return the features that a leaf may split on: a subset of those that the tree sees, of the size in `rules`.

    These are the features with the lowest hashes of their number and the leaf's seed. So they are the same at each
    attempt to split, and a new feature replaces at most one of them.
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
def numeric_columns(tree, slot, is_candidate):
    """Return the numeric features that a leaf has seen and may split on."""
    columns = np.empty(is_candidate.shape[0], np.int64)
    n = 0
    for f in range(is_candidate.shape[0]):
        if is_candidate[f] and tree.value_start[f] == NONE and tree.arrivals[slot, f, 0] > 0:
            columns[n] = f
            n += 1
    return columns[:n]


@allocating_kernel
def best_split(tree, slot, rules, lead):
    """Return the best split of a leaf and the merit of the second best. The null split, LEAF, has the merit -inf.

    It is the null split, too, if estimates tell that the best is not better than the second best by more than `lead`.
    Features and thresholds are passed over if by their estimated gain they are neither.
    """
    leaf = tree.leaves[slot]
    moments = tree.moments[slot]
    weights = tree.class_stats[slot, WEIGHT]
    present = tree.class_order[slot, : leaf["n_present"]]
    n_classes = weights.shape[0]
    branches, class_scratch = np.empty((2, n_classes)), np.empty(n_classes)
    leaf_entropy = entropy(weights, present, class_scratch)
    best, second = -np.inf, -np.inf
    best_feature, best_kind, best_threshold = NONE, LEAF, 0.0
    is_candidate = split_features(tree, slot, rules)
    columns = numeric_columns(tree, slot, is_candidate)
    ends, least = np.empty((2, is_candidate.shape[0])), -np.inf
    gains = np.empty((N_CANDIDATES, columns.shape[0]))
    if rules["criterion"] == INFO_GAIN:
        ends[:] = -np.inf
        estimate_all_nominal(tree, slot, leaf_entropy, rules, is_candidate, ends)
        share = rules["min_branch_fraction"]
        estimate_all_numeric(moments, present, columns, leaf_entropy, share, gains)
        numeric_ends(gains, columns, ends)
        most, least = best_ends(ends)
        if most - least < lead - ROUGH:
            return best, second, best_feature, best_kind, best_threshold
    else:
        ends[:] = UNKNOWN
        gains[:] = UNKNOWN
    k = 0
    for f in range(is_candidate.shape[0]):
        order = tree.arrivals[slot, f, 1 : 1 + tree.arrivals[slot, f, 0]]
        is_numeric = k < columns.shape[0] and columns[k] == f
        k += is_numeric
        if order.shape[0] == 0 or not is_candidate[f] or ends[1, f] < max(second, least):
            continue
        if is_numeric:
            merit, threshold = best_numeric(
                moments, f, order, leaf_entropy, rules, max(second, least), gains, k - 1, class_scratch,
                branches,
            )  # fmt: skip
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
