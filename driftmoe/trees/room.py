"""The memory that trees may need for the next rows, which is allocated before they learn."""

from __future__ import annotations

import numpy as np

from driftmoe.compilation import checking_kernel, kernel
from driftmoe.trees.nodes import BACKGROUND, FOREGROUND, LEAF, N_FREE, N_LEAVES, N_NODES

SLACK = 1.0 + 1e-9
"""Factor that keeps a bound safe from the rounding of weights."""


@kernel
def most_attempts(nodes, leaves, grace_period, weight):
    """Return a bound on how often the leaves of a tree look for a split in rows of this total weight.

    A leaf lacks some weight until it does so, and a whole grace period after that, or if it is new. Of the rows'
    weight, each time that lacks at least `t` takes as much, so that there are at most weight / t of them. Less than `t`
    is lacking only once for each leaf near its end. So the number of these leaves plus weight / t is a bound for any
    `t` up to the grace period, and the least over some is returned. With a whole period as `t`, leaves that lack more
    than all of the weight do not count: they never look.
    """
    near, near_half, near_quarter, near_eighth = 0, 0, 0, 0
    for node in range(nodes.shape[0]):
        if nodes[node]["kind"] == LEAF:
            leaf = leaves[nodes[node]["slot"]]
            if leaf["is_active"] != 0:
                lacking = grace_period - (leaf["weight"] - leaf["last_attempt"])
                near += int(lacking <= weight * SLACK)
                near_half += int(lacking < SLACK * grace_period / 2.0)
                near_quarter += int(lacking < SLACK * grace_period / 4.0)
                near_eighth += int(lacking < SLACK * grace_period / 8.0)
    n_periods = SLACK * weight / grace_period
    return min(
        near + int(n_periods),
        near_half + int(2.0 * n_periods),
        near_quarter + int(4.0 * n_periods),
        near_eighth + int(8.0 * n_periods),
    )


@checking_kernel
def lacks_room(
    nodes, sizes, leaves, trees_of, experts, rules_of_all, n_branches, n_added, weights, n_rows, room
):
    """Write how many nodes and free leaves each tree may need for some rows; return whether a tree has fewer.

    A leaf that splits needs up to `n_branches` nodes, and one leaf less. It looks for a split when its grace period is
    over, see `most_attempts`, but not more often than there are rows. Before each row there must be room for one more
    split. So the room that the last row takes need not be replaced. A tree that starts anew does so after a row, so
    that it misses at least one.

    Parameters
    ----------
    nodes, sizes, leaves, trees_of, experts, rules_of_all, n_branches
        As in `step`.
    n_added
        Branches that one row can add to an existing split: 1 if there are nominal features, else 0.
    weights
        Upper bound on the total weight of the rows for each expert, shape (n_experts,); infinity if it is not known.
    n_rows
        Number of rows.
    room
        Result, int64, shape (n_trees, 2): nodes (those in use included) and free leaves.
    """
    lacks = False
    for e in range(trees_of.shape[0]):
        rules = rules_of_all[e if rules_of_all.shape[0] > 1 else 0]
        max_nodes, grace_period = rules["max_nodes"], rules["grace_period"]
        max_leaves = (max_nodes + 1) // 2 if n_branches == 2 else max_nodes
        n_periods = n_rows
        if weights[e] < grace_period * n_rows:
            n_periods = int(weights[e] / grace_period)
        for side in range(2):
            r = trees_of[e, side]
            is_spare = side == BACKGROUND and experts.shape[0] > 0 and r != trees_of[e, FOREGROUND]
            if side == BACKGROUND and not is_spare:
                continue
            n_nodes, n_leaves, n_free = sizes[r, N_NODES], sizes[r, N_LEAVES], sizes[r, N_FREE]
            nodes_needed = leaves_needed = np.int64(0)
            if side == FOREGROUND or experts[e]["has_background"] == 1:
                n_splits = n_rows
                if n_rows > 1 and n_periods < n_rows:
                    n_splits = most_attempts(nodes[r, :n_nodes], leaves, grace_period, weights[e])
                n_splits = min(n_splits, n_rows - 1)
                nodes_needed = min(n_nodes + (n_splits + 1) * n_branches + (n_rows - 1) * n_added, max_nodes)
                leaves_needed = n_splits * (n_branches - 1) + n_branches + (n_rows - 1) * n_added
                leaves_needed = min(leaves_needed, max_leaves - n_leaves)
            # A tree that starts anew has the slots of its own leaves.
            if is_spare and n_rows > 1 and n_periods > 0:
                n_splits = min(n_rows - 1, n_periods)
                of_new = (n_splits + 1) * n_branches + (n_rows - 1) * n_added
                nodes_needed = max(nodes_needed, min(1 + of_new, max_nodes))
                of_new = min(of_new - n_splits, max_leaves - 1) - (n_leaves - 1)
                leaves_needed = max(leaves_needed, of_new)
            room[r, 0], room[r, 1] = nodes_needed, leaves_needed
            lacks = lacks or nodes_needed > nodes.shape[1] or leaves_needed > n_free
    return lacks
