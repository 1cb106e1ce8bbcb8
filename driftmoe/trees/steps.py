"""The main kernel: all trees of a pool go through rows, predict and learn."""

from __future__ import annotations

import numpy as np

from driftmoe.compilation import allocating_kernel, embedded_kernel, kernel, stepping_kernel
from driftmoe.trees import adwin
from driftmoe.trees.descend import find_leaf
from driftmoe.trees.grow import add_branch, learn_row, start_tree
from driftmoe.trees.leaf import leaf_proba
from driftmoe.trees.nodes import (
    BACKGROUND,
    DRIFT,
    FOREGROUND,
    N_FREE,
    N_LEAVES,
    N_NODES,
    NO_ALARM,
    NONE,
    ROOT,
    WARNING,
    Tree,
)

SPARSE = 4
"""A row with less than one known feature in so many is sparse: then trees look at these features alone."""


@allocating_kernel
def known_features(block):
    """Return of each row whether a value is missing, its known features if it is sparse, and how many these are.

    They are in ascending order. A row that is not sparse has none.
    """
    n_rows, n_features = block.shape
    has_missing, n_known, widest = np.zeros(n_rows, np.bool_), np.zeros(n_rows, np.int64), 0
    for row in range(n_rows):
        n = 0
        for f in range(n_features):
            n += block[row, f] == block[row, f]
        has_missing[row] = n < n_features
        if SPARSE * n < n_features:
            n_known[row] = n
            widest = max(widest, n)
    known_of = np.empty((n_rows, widest), np.int64)
    for row in range(n_rows if widest > 0 else 0):
        n = 0
        for f in range(n_features if n_known[row] > 0 else 0):
            if block[row, f] == block[row, f]:
                known_of[row, n] = f
                n += 1
    return has_missing, known_of, n_known


@kernel
def votes_for(proba, c):
    """Whether a class is the first of the most probable ones. An empty vote is a vote for no class."""
    for other in range(proba.shape[0]):
        if proba[other] > proba[c] or (proba[other] == proba[c] and other < c):
            return False
    return proba[c] > 0.0


@kernel
def has_risen(window, delta, value):
    """Give a monitor a value, and return whether it found a rise."""
    before = adwin.estimate(window)
    return adwin.update(window, delta, value) and adwin.estimate(window) > before


@kernel
def alarm_of(windows, rules, error):
    """Tell both monitors whether the vote was wrong; return which one raises an alarm, or NO_ALARM.

    As in adaptive random forests (Gomes et al. 2017, algorithm 1) a warning restarts the first monitor, and a drift
    restarts both. If both monitors find a change at once, it is a drift.
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
    """Whether a tree is a single leaf that will not try to split after a sample of weight `w`."""
    leaf = tree.leaves[np.int64(tree.nodes[ROOT]["slot"])]
    return tree.size[N_NODES] == 1 and leaf["weight"] + w - leaf["last_attempt"] < rules["grace_period"]


@embedded_kernel
def run_tree(
    tree, experts, windows, rules, block, targets, weights, has_missing, known_of, n_known, n_branches, row, stop,
    proba, votes, all_known, own_row, value_scratch,
):  # fmt: skip
    """Let one tree go through the rows from `row` up to `stop`.

    Returns the next row and whether there was room. The next row is `stop` unless a monitor raised an alarm or there
    was no room for a split.
    """
    is_learning = targets.shape[0] > 0
    is_predicting = proba.shape[0] > 0
    nodes, size = tree.nodes, tree.size
    max_nodes = rules["max_nodes"]
    max_leaves = (max_nodes + 1) // 2 if n_branches == 2 else max_nodes
    has_room, is_calm = True, True
    n_seen = 0
    for f in range(tree.is_used.shape[0]):
        n_seen += tree.is_used[f]
    sees_all = n_seen == tree.is_used.shape[0]
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
            x, known = block[row], known_of[row, : n_known[row]]
            if not sees_all:
                x, known = own_row, known_of[row, :0]
                for f in range(x.shape[0]):  # a constant changes neither a vote nor a split
                    is_empty = tree.value_start[f] != NONE and tree.n_values[f] == 0  # no place for a code
                    x[f] = block[row, f] if tree.is_used[f] else (np.nan if is_empty else 0.0)
            leaf, is_direct, unknown_at = find_leaf(tree, x)
            out = proba[row] if is_predicting else votes
            bayes_class = leaf_proba(
                tree, np.int64(nodes[leaf]["slot"]), rules, x, has_missing[row], known, w > 0.0, out
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
                    known,
                    c,
                    w,
                    bayes_class,
                    all_known,
                    value_scratch,
                )
                if experts.shape[0] > 0:
                    alarm = alarm_of(windows[0], rules, 0.0 if votes_for(out, c) else 1.0)
                    experts[0]["pending_alarm"] = alarm
                    is_calm = alarm == NO_ALARM
        row += 1
    return row, has_room


@stepping_kernel
def step(
    nodes, sizes, free, is_used, leaves, class_stats, class_order, is_complete, moments, arrivals, value_stats,
    value_start, n_values, nominal, trees_of, experts, windows, rules_of_all, block, targets, weights, is_awake,
    n_branches, progress, proba, first, last,
):  # fmt: skip
    """Let each expert from `first` up to `last` go through the rows in order: predict, then learn.

    Experts share nothing that changes, so several threads may call this at the same time for different experts.

    Parameters
    ----------
    trees_of
        (e, 2): the rows of each expert's foreground tree and background tree in the arrays of trees.
    experts, windows
        (e,) EXPERT and (e, 2) WINDOW: the state of each expert and its two monitors; of length 0 without monitors.
        Monitors see whether the vote before learning was wrong, on the samples that the expert learns.
    block
        (row, f): the features, NaN where missing.
    targets
        (row, 1) or (row, e): the classes, for all experts or each; 0 rows to learn nothing.
    weights
        (row, e): the weight of the sample for each expert, 0 for an expert that does not learn it.
    is_awake
        (e,): experts that vote. The others have zeros for votes, and must not learn: nothing of theirs changes.
    n_branches
        Most branches that a split can have, at least 2.
    progress
        (e, 2): the next row of both trees of each expert, before and after the call.
    proba
        Result (row, e, c): the predictions; 0 rows for none.

    Returns
    -------
    False if all rows are done. True if an expert stopped because it had no room for one more split; this cannot happen
    after `room.lacks_room` has said what each tree needs.
    """
    n_rows, n_features = block.shape
    votes = np.empty(proba.shape[2])
    all_known = np.zeros(n_features)
    own_row = np.empty(n_features)
    value_scratch = np.empty(value_stats.shape[2])
    has_missing, known_of, n_known = known_features(block)
    is_stuck = False
    for e in range(first, last):
        if not is_awake[e]:
            proba[:, e] = 0.0
            continue
        rules = rules_of_all[e if rules_of_all.shape[0] > 1 else 0]
        while True:
            # Once the foreground tree has stopped, the background tree catches up. Then an alarm is handled.
            front, back = trees_of[e, FOREGROUND], trees_of[e, BACKGROUND]
            is_watched = experts.shape[0] > 0 and targets.shape[0] > 0
            has_background = is_watched and experts[e]["has_background"] == 1
            lags = has_background and progress[e, BACKGROUND] < progress[e, FOREGROUND]
            alarm = experts[e]["pending_alarm"] if is_watched and not lags else NO_ALARM
            if progress[e, FOREGROUND] == n_rows and not lags and alarm == NO_ALARM:
                break
            if alarm == DRIFT:
                trees_of[e, FOREGROUND], trees_of[e, BACKGROUND] = back, front
                back = front
            side = BACKGROUND if lags or alarm != NO_ALARM else FOREGROUND
            r = back if side == BACKGROUND else front
            tree = Tree(
                nodes[r], sizes[r], free[r], is_used[r], leaves, class_stats, class_order, is_complete, moments,
                arrivals, value_stats, value_start, n_values, nominal,
            )  # fmt: skip
            if alarm != NO_ALARM:
                start_tree(tree)
                experts[e]["pending_alarm"] = NO_ALARM
                experts[e]["has_background"] = alarm == WARNING
                experts[e]["n_warnings"] += alarm == WARNING
                experts[e]["n_replaced"] += alarm == DRIFT
                progress[e, BACKGROUND] = progress[e, FOREGROUND]
                continue
            n_voting = e + 1 if side == FOREGROUND else e
            progress[e, side], has_room = run_tree(
                tree, experts[e:n_voting], windows[e:n_voting], rules, block,
                targets[:, e if targets.shape[1] > 1 else 0], weights[:, e], has_missing, known_of, n_known, n_branches,
                progress[e, side], progress[e, FOREGROUND] if lags else n_rows,
                proba[: 0 if lags else proba.shape[0], e], votes, all_known, own_row, value_scratch,
            )  # fmt: skip
            if not has_room:
                is_stuck = True
                break
    return is_stuck
