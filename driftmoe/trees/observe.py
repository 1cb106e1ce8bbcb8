"""What a leaf learns from a sample: its class weights and the statistics of each feature."""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import log
from driftmoe.compilation import inlined_kernel, kernel
from driftmoe.trees.leaf import log_normaliser, majority_class, uses_bayes
from driftmoe.trees.nodes import (
    ADAPTIVE,
    COUNT,
    FEW_VALUES,
    HIGH,
    LEAST_SHARE,
    LOG_HEIGHT,
    LOG_WEIGHT,
    LOW,
    M2,
    MAJORITY,
    MEAN,
    NONE,
    PRECISION,
    TINY_VARIANCE,
    VALUE_LOG,
    VALUE_WEIGHT,
    WEIGHT,
)


@kernel
def forget_observations(tree, slot):
    """Empty the statistics of all features at a leaf; its class weights stay.

    The values of a feature that the leaf has not observed have none. To write them for each new leaf of a split by
    value would take the square of the number of values.
    """
    for f in tree.nominal:
        if tree.arrivals[slot, f, 0] > 0:
            start = tree.value_start[f]
            tree.value_stats[slot, :, start : start + tree.n_values[f]] = 0.0
    tree.is_complete[slot] = False
    tree.moments[slot] = 0.0
    tree.arrivals[slot] = 0
    tree.class_stats[slot, LOG_HEIGHT] = 0.0


@inlined_kernel
def observe_complete(x, w, moments, c):
    """Update the moments of all features, each of which has been seen with this class (West 1979)."""
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
    """Enter the classes of a leaf in the order of arrival at its nominal features, as river does when it predicts."""
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
    """Append a class to an order of arrival unless it is already in it."""
    for i in range(1, 1 + arrivals[0]):
        if arrivals[i] == c:
            return
    arrivals[0] += 1
    arrivals[arrivals[0]] = c


@inlined_kernel
def observe_value(tree, slot, f, value, w, c):
    """Update the statistics of one feature, numeric or nominal."""
    moments = tree.moments[slot]
    count = moments[COUNT, c]
    is_first = count[f] == 0.0
    if is_first:
        note_class(tree.arrivals[slot, f], c)
    n = count[f] + w
    count[f] = n
    start = tree.value_start[f]
    if start == NONE:
        low, high, mean, m2 = moments[LOW, c], moments[HIGH, c], moments[MEAN, c], moments[M2, c]
        low[f] = value if is_first else min(low[f], value)
        high[f] = value if is_first else max(high[f], value)
        old = mean[f]
        new = old + (w / n) * (value - old)
        mean[f] = new
        m2[f] += w * (value - old) * (value - new)
        variance = m2[f] / (n - 1.0) if n > 1.0 else 0.0
        moments[PRECISION, c, f] = 0.5 / variance if variance > TINY_VARIANCE else 0.0
    else:
        tree.value_stats[slot, VALUE_WEIGHT, start + int(value), c] += w


@kernel
def observe_known(tree, slot, x, known, w, c):
    """Update the statistics of the features whose value is known; `known` lists them if they are few."""
    count = tree.moments[slot, COUNT, c]
    seen_all = tree.nominal.shape[0] == 0
    if known.shape[0] > 0:
        for f in known:
            observe_value(tree, slot, f, x[f], w, c)
        if tree.is_complete[slot, c]:
            return
        for f in range(x.shape[0]):
            seen_all = seen_all and count[f] > 0.0
            if not seen_all:
                break
    else:
        for f in range(x.shape[0]):
            if x[f] == x[f]:
                observe_value(tree, slot, f, x[f], w, c)
            else:
                seen_all = seen_all and count[f] > 0.0
    tree.is_complete[slot, c] = seen_all


@kernel
def store_log_shares(tree, slot, x, c, scratch):
    """Store the log shares of all values, for known nominal features that have few values."""
    count = tree.moments[slot, COUNT, c]
    weights, logs = tree.value_stats[slot, VALUE_WEIGHT], tree.value_stats[slot, VALUE_LOG]
    n = 0
    for f in tree.nominal:
        if x[f] == x[f] and tree.n_values[f] <= FEW_VALUES:
            start = tree.value_start[f]
            for column in range(start, start + tree.n_values[f]):
                share = max(weights[column, c] / count[f], LEAST_SHARE)
                scratch[n] = share if weights[column, c] > 0.0 else 1.0
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
def observe(tree, slot, rules, x, has_missing, known, c, w, bayes_class, all_known, value_scratch):
    """Take one sample of class `c` into a leaf: count which vote is right, update class weights and features."""
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
    elif tree.class_stats[slot, LOG_WEIGHT, c] == -np.inf:  # of a split: not read, but checked in a state
        tree.class_stats[slot, LOG_WEIGHT, c] = 0.0
    total = 0.0  # summed anew in order of arrival: river's rounding decides when the grace period is over
    for i in range(leaf["n_present"]):
        total += weights[order[i]]
    leaf["weight"] = total

    if leaf["is_active"] == 0:
        return
    if tree.is_complete[slot, c] and not has_missing:
        observe_complete(x, w, tree.moments[slot], c)
    else:
        observe_known(tree, slot, x, known, w, c)
        if tree.nominal.shape[0] > 0 and rules["leaf_prediction"] != MAJORITY:
            store_log_shares(tree, slot, x, c, value_scratch)
    if rules["leaf_prediction"] != MAJORITY and tree.nominal.shape[0] < x.shape[0]:
        tree.class_stats[slot, LOG_HEIGHT, c] = log_normaliser(tree.moments[slot, PRECISION, c], all_known)
