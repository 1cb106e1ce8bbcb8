"""Estimates of information gain, by which a leaf need not compute what cannot be its best split or the second best.

They are vectorised: of numeric features, all thresholds of all features go through one loop for each class.
"""

from __future__ import annotations

import math

import numpy as np

from driftmoe.compilation import allocating_kernel, kernel
from driftmoe.trees.nodes import COUNT, HIGH, LOW, M2, MEAN, TINY_VARIANCE, VALUE_WEIGHT

N_CANDIDATES = 10  # thresholds tried per numeric feature
ROUGH = 2e-5  # bound on the error of an estimated gain in bits: four terms x log2 x with x off by 1.5e-7
TWICE_LOG2_E = 2.8853900817779268
UNKNOWN = np.inf  # a gain that an estimate cannot tell
LEAST_TOTAL = 1e-290  # weight of all samples below which an estimate cannot tell: its parts may be subnormal
FAR = 10.0  # where the distribution function is 0 or 1


@kernel
def rough_phi(u):
    """Return the standard normal distribution function at u · sqrt(2), to 2e-7 (Abramowitz & Stegun 1964, 7.1.28)."""
    a = min(abs(u), FAR)
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
def threshold_of(low, high, i):
    """Return one of evenly spaced thresholds between two numbers."""
    step = (high - low) / (N_CANDIDATES + 1.0)
    return low + step * (i + 1)


@kernel
def shares_below(thresholds, of_class, shares, bits):
    """Write the share of a class that is below each threshold, and p log2 p + (1 - p) log2 (1 - p) of this share p."""
    n = of_class.shape[1]
    low, high, mean, scale = of_class[1], of_class[2], of_class[3], of_class[4]
    for i in range(N_CANDIDATES):
        for k in range(n):
            t = thresholds[i * n + k]
            u = (t - mean[k]) * scale[k]
            u = -FAR if t < low[k] or scale[k] == 0.0 else u
            shares[i * n + k] = FAR if t >= high[k] else u
    for j in range(shares.shape[0]):  # by lanes
        share = rough_phi(shares[j])
        shares[j] = share
        bits[j] = rough_bits(share) + rough_bits(1.0 - share)


@kernel
def write_class(moments, c, columns, of_class):
    """Write weight, range, mean and scale of a class for some features; see `shares_below`."""
    for k in range(columns.shape[0]):
        f = columns[k]
        n = moments[COUNT, c, f]
        variance = moments[M2, c, f] / (n - 1.0) if n > 1.0 else 0.0
        of_class[0, k] = n
        of_class[1, k] = moments[LOW, c, f]
        of_class[2, k] = moments[HIGH, c, f]
        of_class[3, k] = moments[MEAN, c, f]
        of_class[4, k] = math.sqrt(0.5 / variance) if variance > TINY_VARIANCE else 0.0


@kernel
def write_thresholds(moments, order, columns, lows, highs, thresholds):
    """Write the range of some features, and evenly spaced thresholds between: of all features the first, then so on."""
    n = columns.shape[0]
    for k in range(n):
        f, low, high = columns[k], np.inf, -np.inf
        for c in order:
            if moments[COUNT, c, f] > 0.0:
                low = min(low, moments[LOW, c, f])
                high = max(high, moments[HIGH, c, f])
        lows[k], highs[k] = low, high
        for i in range(N_CANDIDATES):
            thresholds[i * n + k] = threshold_of(low, high, i)


@allocating_kernel
def estimate_all_numeric(moments, order, columns, leaf_entropy, least_share, gains):
    """Write the information gain of each threshold (i, k) of some features, with an error below `ROUGH`.

    It is -inf for an invalid split, and inf if the estimate cannot tell.
    """
    n = columns.shape[0]
    of_features, of_thresholds = np.zeros((9, n)), np.zeros((5, N_CANDIDATES * n))
    of_class = of_features[:5]
    lows, highs, totals, total_bits = of_features[5], of_features[6], of_features[7], of_features[8]
    thresholds, shares, bits_of_shares = of_thresholds[0], of_thresholds[1], of_thresholds[2]
    below, bits = of_thresholds[3], of_thresholds[4]
    write_thresholds(moments, order, columns, lows, highs, thresholds)
    for c in order:
        write_class(moments, c, columns, of_class)
        shares_below(thresholds, of_class, shares, bits_of_shares)
        for k in range(n):
            totals[k] += of_class[0, k]
            total_bits[k] += rough_bits(of_class[0, k])
        for i in range(N_CANDIDATES):
            for k in range(n):
                below[i * n + k] += of_class[0, k] * shares[i * n + k]
                bits[i * n + k] += of_class[0, k] * bits_of_shares[i * n + k]
    for i in range(N_CANDIDATES):
        for k in range(n):
            total, weight = totals[k], below[i * n + k]
            sides = rough_bits(weight) + rough_bits(total - weight)
            gain = leaf_entropy - (sides - (bits[i * n + k] + total_bits[k])) / total
            margin = min(weight, total - weight) / total - least_share
            gains[i, k] = np.inf if abs(margin) < ROUGH else (gain if margin > 0.0 else -np.inf)
    for k in range(n):
        low, high = lows[k], highs[k]
        is_told = totals[k] >= LEAST_TOTAL
        for c in order:
            count = moments[COUNT, c, columns[k]]
            variance = moments[M2, c, columns[k]] / (count - 1.0) if count > 1.0 else 0.0
            is_told = is_told and not 0.0 < variance <= TINY_VARIANCE  # which has no scale here
        if not (is_told and low < thresholds[k] and thresholds[(N_CANDIDATES - 1) * n + k] < high):
            for i in range(N_CANDIDATES):
                gains[i, k] = np.inf if low < high else -np.inf


@kernel
def numeric_ends(gains, columns, ends):
    """Note the ends of what the gain of each numeric feature can be; see `best_ends`."""
    for k in range(columns.shape[0]):
        least, most = -np.inf, -np.inf
        for i in range(N_CANDIDATES):
            most = max(most, gains[i, k])
            least = max(least, gains[i, k] if gains[i, k] < np.inf else -np.inf)
        ends[0, columns[k]] = least - ROUGH
        ends[1, columns[k]] = most + ROUGH


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
    if total < LEAST_TOTAL:
        return np.inf if total > 0.0 else -np.inf
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
def estimate_all_nominal(tree, slot, leaf_entropy, rules, is_candidate, ends):
    """Note the ends of what the gain of each nominal feature can be; see `best_ends`."""
    value_weights = tree.value_stats[slot, VALUE_WEIGHT]
    scratch = np.empty((2, value_weights.shape[1]))
    for f in tree.nominal:
        if is_candidate[f] and tree.arrivals[slot, f, 0] > 0:
            gain = estimate_nominal(
                value_weights, tree.value_start[f], tree.n_values[f], leaf_entropy, rules, scratch
            )
            ends[0, f] = gain - ROUGH if gain < np.inf else -np.inf
            ends[1, f] = gain + ROUGH


@kernel
def best_ends(ends):
    """Return a bound that no merit is above, and a bound that the merits of two features reach.

    `ends` has the least and the largest gain of each feature, shape (2, f).
    """
    most, first, second = -np.inf, -np.inf, -np.inf
    for f in range(ends.shape[1]):
        most = max(most, ends[1, f])
        least = ends[0, f]
        if least > first:
            first, second = least, first
        elif least > second:
            second = least
    return most, second
