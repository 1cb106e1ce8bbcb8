"""How a leaf finds its best split: the candidates of each feature, and their merit."""

from __future__ import annotations

import math

import numpy as np

from driftmoe.arithmetic import erf, log2
from driftmoe.compilation import allocating_kernel, kernel
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
    TINY_VARIANCE,
    VALUE_WEIGHT,
    WEIGHT,
)

N_CANDIDATES = 10  # thresholds tried per numeric feature
ROUGH = 2e-5  # bound on the error of an estimated gain in bits: four terms x log2 x with x off by 1.5e-7
TWICE_LOG2_E = 2.8853900817779268
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
def rough_phi(u):
    """Return the standard normal distribution function at u · sqrt(2), to 2e-7 (Abramowitz & Stegun 1964, 7.1.28)."""
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
    """Return weight · log2(weight), with a log accurate to 1e-7: a four-term series around the middle of an octave."""
    pattern = np.float64(weight).view(np.int64)
    exponent = np.int32(pattern >> 52) - 1022.5
    mantissa = np.int64((pattern & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    s = (mantissa - math.sqrt(2.0)) / (mantissa + math.sqrt(2.0))
    q = s * s
    series = 1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0)))
    return weight * (exponent + TWICE_LOG2_E * s * series)


@kernel
def add_class(thresholds, n, low, high, mean, scale, below, bits):
    """Add one class to the weight below each threshold (`below`) and to the entropy terms of both sides (`bits`)."""
    most = n if scale > 0.0 else 0.0
    for i in range(thresholds.shape[0]):
        t = thresholds[i]
        weight = most * rough_phi((t - mean) * scale)
        weight = 0.0 if t < low else (n if t >= high else weight)
        below[i] += weight
        bits[i] += rough_bits(weight) + rough_bits(n - weight)


@kernel
def rough_gains(below, bits, total, leaf_entropy, min_branch_fraction, gains):
    """Write the estimated gain of each threshold: -inf for an invalid split, inf if the estimate cannot tell."""
    for i in range(below.shape[0]):
        sides = rough_bits(below[i]) + rough_bits(total - below[i])
        gain = leaf_entropy - (sides - bits[i]) / total
        margin = min(below[i], total - below[i]) / total - min_branch_fraction
        gains[i] = np.inf if abs(margin) < ROUGH else (gain if margin > 0.0 else -np.inf)


@kernel
def estimate_gains(moments, f, order, leaf_entropy, min_branch_fraction, thresholds, scratch, gains):
    """Write the information gain of each threshold with an error below `ROUGH`; see `rough_gains`."""
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
    """Return the merit and the value of the best of ten evenly spaced thresholds.

    Thresholds whose merit is not above `least` may be skipped. Information gain is estimated first, and computed
    exactly only for the thresholds that may be the best.
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


@kernel
def estimate_nominal(value_weights, start, n_values, leaf_entropy, rules, scratch):
    """Return the information gain of a nominal feature's best split with an error below `ROUGH`.

    It is -inf if no split is valid, and inf if the estimate cannot tell. With two values seen, a multiway split and
    both splits of one value against the other are the same.
    """
    n_classes, least_share = value_weights.shape[1], rules["min_branch_fraction"]
    of_classes, bits = scratch[0], scratch[1]
    of_classes[:] = 0.0
    bits[:] = 0.0
    total, sides = 0.0, 0.0
    n_seen, n_large = 0, 0
    for column in range(start, start + n_values):
        weight = 0.0
        for c in range(n_classes):
            weight += value_weights[column, c]
            of_classes[c] += value_weights[column, c]
            bits[c] += rough_bits(value_weights[column, c])
        total += weight
        sides += rough_bits(weight)
        n_seen += weight > 0.0
    if total <= 0.0:
        return -np.inf
    for c in range(n_classes):
        sides -= bits[c]
    for column in range(start, start + n_values):
        weight = 0.0
        for c in range(n_classes):
            weight += value_weights[column, c]
        margin = weight / total - least_share
        if abs(margin) < ROUGH or abs(1.0 - weight / total - least_share) < ROUGH:
            return np.inf
        n_large += margin > 0.0
    best = -np.inf
    if n_large >= 2 and (rules["binary_split"] == 0 or n_seen == 2):
        best = leaf_entropy - sides / total
    for column in range(start, start + n_values if n_seen > 2 else start):
        weight = 0.0
        for c in range(n_classes):
            w = value_weights[column, c]
            weight += w
            bits[c] = rough_bits(w) + rough_bits(max(of_classes[c] - w, 0.0))
        rest = max(total - weight, 0.0)
        if min(weight, rest) / total > least_share:
            sides = rough_bits(weight) + rough_bits(rest)
            for c in range(n_classes):
                sides -= bits[c]
            best = max(best, leaf_entropy - sides / total)
    return best


@allocating_kernel
def estimate_all_nominal(tree, slot, leaf_entropy, rules, is_candidate, estimates):
    """Write the estimated gain of each nominal feature; return a bound that the merits of two features reach."""
    first, second = -np.inf, -np.inf
    value_weights = tree.value_stats[slot, VALUE_WEIGHT]
    scratch = np.empty((2, value_weights.shape[1]))
    for f in tree.nominal:
        if is_candidate[f] and tree.arrivals[slot, f, 0] > 0:
            estimates[f] = estimate_nominal(
                value_weights, tree.value_start[f], tree.n_values[f], leaf_entropy, rules, scratch
            )
            least = estimates[f] - ROUGH if estimates[f] < np.inf else -np.inf
            if least > first:
                first, second = least, first
            elif least > second:
                second = least
    return second


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
def best_split(tree, slot, rules):
    """Return the best split of a leaf and the merit of the second best. The null split, LEAF, has the merit -inf.

    A nominal feature is passed over if by its estimated gain it is neither.
    """
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
    estimates, least = np.empty(is_candidate.shape[0]), -np.inf
    estimates[:] = np.inf
    if rules["criterion"] == INFO_GAIN:
        least = estimate_all_nominal(tree, slot, leaf_entropy, rules, is_candidate, estimates)
    for f in range(is_candidate.shape[0]):
        order = tree.arrivals[slot, f, 1 : 1 + tree.arrivals[slot, f, 0]]
        if order.shape[0] == 0 or not is_candidate[f] or estimates[f] + ROUGH < max(second, least):
            continue
        if tree.value_start[f] == NONE:
            merit, threshold = best_numeric(
                moments, f, order, leaf_entropy, rules, max(second, least), scratch, class_scratch, branches
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
