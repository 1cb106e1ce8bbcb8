"""What a leaf predicts: the shares of its classes, or naive Bayes.

Sums and products over the features run in four lanes: feature f belongs to lane f % 4, and the lanes are combined in a
fixed order. So the lanes need not wait for each other, and trailing features that contribute nothing change nothing.
"""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import exp, log
from driftmoe.compilation import inlined_kernel
from driftmoe.lanes import square_sums
from driftmoe.trees.nodes import (
    ADAPTIVE,
    COUNT,
    FEW_VALUES,
    LEAST_SHARE,
    LOG_HEIGHT,
    LOG_WEIGHT,
    MAJORITY,
    MEAN,
    NONE,
    PRECISION,
    VALUE_LOG,
    VALUE_WEIGHT,
    WEIGHT,
)

LOWEST_VOTE = -1e300
LOG_2 = 0.6931471805599453
LOG_PI = 1.1447298858494002


@inlined_kernel
def square(x, mean, precision, f):
    """Return (x - mean)² · precision for one feature."""
    return (x[f] - mean[f]) * (x[f] - mean[f]) * precision[f]


@inlined_kernel
def distance(x, mean, precision):
    """Return the sum of (x - mean)² · precision over the features."""
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
    """Return the precision of a feature, 0 if its value is missing."""
    return precision[f] if x[f] == x[f] else 0.0


@inlined_kernel
def mantissa(number):
    """Return m of a number m · 2^k with 1 <= m < 2; 1 for 0."""
    bits = np.float64(number).view(np.int64)
    return np.int64(bits & 0x000FFFFFFFFFFFFF | 0x3FF0000000000000).view(np.float64)


@inlined_kernel
def exponent(number):
    """Return k + 1023 of a positive number m · 2^k; 0 for 0."""
    return np.int64(np.float64(number).view(np.int64) >> 52)


@inlined_kernel
def log_normaliser(precision, x):
    """Return the sum of the log heights of the Gaussians, log sqrt(precision / pi), over the known features that vary.

    It takes one logarithm of the product of up to 512 mantissas (more might overflow), not one for each feature.
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
    """As `square`; 0 for a missing value."""
    return square(x, mean, precision, f) if x[f] == x[f] else 0.0


@inlined_kernel
def known_distance(x, mean, precision):
    """As `distance`, without missing values."""
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
def sparse_log_normaliser(precision, known):
    """As `log_normaliser`, of the features in `known` in ascending order, to the last bit: others multiply by 1."""
    total = 0.0
    a, b, c, d = 1.0, 1.0, 1.0, 1.0
    exponents, n, start = 0, 0, 0
    for f in known:
        if f >= start + 512:
            total += log((a * b) * (c * d))
            a, b, c, d = 1.0, 1.0, 1.0, 1.0
            start = f // 512 * 512
        p = precision[f]
        a *= mantissa(p) if f % 4 == 0 else 1.0
        b *= mantissa(p) if f % 4 == 1 else 1.0
        c *= mantissa(p) if f % 4 == 2 else 1.0
        d *= mantissa(p) if f % 4 == 3 else 1.0
        exponents += exponent(p)
        n += p > 0.0
    total += log((a * b) * (c * d))
    return 0.5 * (total + (exponents - 1023 * n) * LOG_2 - n * LOG_PI)


@inlined_kernel
def sparse_distance(x, mean, precision, known):
    """As `known_distance`, of the features in `known` in ascending order, to the last bit: others add 0."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for f in known:
        of_one = square(x, mean, precision, f)
        a += of_one if f % 4 == 0 else 0.0
        b += of_one if f % 4 == 1 else 0.0
        c += of_one if f % 4 == 2 else 0.0
        d += of_one if f % 4 == 3 else 0.0
    return (a + b) + (c + d)


@inlined_kernel
def majority_class(tree, slot):
    """Return the class with the largest weight (the first, in a tie), or NONE if there is no class."""
    best = NONE
    best_weight = -1.0
    for i in range(tree.leaves[slot]["n_present"]):
        c = tree.class_order[slot, i]
        if tree.class_stats[slot, WEIGHT, c] > best_weight:
            best, best_weight = c, tree.class_stats[slot, WEIGHT, c]
    return best


@inlined_kernel
def bayes_votes(tree, slot, x, has_missing, known, votes):
    """Write the log joint density of each class, -inf for one without weight; return the best class or NONE.

    `known` are the features that have a value if those are few, and empty otherwise.
    """
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
        if known.shape[0] > 0:
            votes[c] = vote + (
                sparse_log_normaliser(precision, known) - sparse_distance(x, mean, precision, known)
            )
        elif has_missing:
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
                        votes[c] += log(max(weights[c] / moments[COUNT, c, f], LEAST_SHARE))
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
    """Whether a leaf computes naive Bayes. An adaptive leaf always does, to count how often it is right."""
    if leaf["is_active"] == 0 or rules["leaf_prediction"] == MAJORITY:
        return False
    return rules["leaf_prediction"] == ADAPTIVE or leaf["weight"] >= rules["nb_threshold"]


@inlined_kernel
def leaf_proba(tree, slot, rules, x, has_missing, known, will_learn, proba):
    """Write the class probabilities of a leaf, zeros if it has no vote; return the class that naive Bayes predicts.

    The class is NONE where naive Bayes has no vote or was not computed. Before it learns, an adaptive leaf computes it.
    """
    leaf = tree.leaves[slot]
    is_adaptive = rules["leaf_prediction"] == ADAPTIVE
    may_use_bayes = uses_bayes(leaf, rules)
    use_bayes = may_use_bayes and (not is_adaptive or leaf["bayes_correct"] >= leaf["majority_correct"])
    bayes_class = NONE
    if use_bayes or (will_learn and is_adaptive and may_use_bayes):
        bayes_class = bayes_votes(tree, slot, x, has_missing, known, proba)
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
