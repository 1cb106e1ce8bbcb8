"""What a Hoeffding tree is made of: the records of its arrays, their constants, and the tree as the kernels take it.

Names of axes: e expert, s slot (the place of one leaf's statistics), c class, f feature. The trees of a pool share the
slots, so that a large tree does not limit a small one. Each tree holds a few free slots for its next splits.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

NONE = -1
ROOT = 0

LEAF, NUMERIC, EQUALS, MULTIWAY = 0, 1, 2, 3
"""Kinds of node: a leaf; value <= threshold; value == threshold; one branch per value."""

INFO_GAIN, GINI, HELLINGER = 0, 1, 2
"""Criteria by which a split is chosen."""

MAJORITY, NAIVE_BAYES, ADAPTIVE = 0, 1, 2
"""How a leaf predicts: by its majority class, by naive Bayes, or by the one that has been right more often."""

NODE = np.dtype(
    [
        # One of the kinds above.
        ("kind", np.int32),
        # Column that a split tests.
        ("feature", np.int32),
        # What a split compares the value with.
        ("threshold", np.float64),
        # First branch of a split. The branches made with the split follow it; `next_sibling` leads through all.
        ("first_child", np.int32),
        # Next branch of the same split, or NONE.
        ("next_sibling", np.int32),
        # The split above, or NONE.
        ("parent", np.int32),
        # Number of splits above.
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
        # Weight outside the majority class at the last attempt to split, the most that a split can gain; 0 before.
        ("promise", np.float64),
        # Weight of the samples that the majority class would have predicted correctly.
        ("majority_correct", np.float64),
        # The same for naive Bayes.
        ("bayes_correct", np.float64),
        # Number of classes in `class_order`.
        ("n_present", np.int32),
        # 0 once the leaf is too deep to split: it then counts classes only.
        ("is_active", np.int32),
        # The node that this leaf is.
        ("node", np.int32),
        # Seed of the features that the leaf may split on, if it may not split on all.
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
        # How many features a leaf may split on: their number if 1 or more, their share if less.
        ("max_features", np.float64),
        # Risk of error of the two monitors; 0 for none.
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
        # 1 while the background tree grows; otherwise that tree is empty.
        ("has_background", np.int64),
        # The monitor whose alarm has not been handled yet.
        ("pending_alarm", np.int64),
        ("n_warnings", np.int64),
        ("n_replaced", np.int64),
    ],
    align=True,
)

FOREGROUND, BACKGROUND = 0, 1
"""Columns of `trees_of`: the tree that votes for the expert, and the tree that may replace it."""

WARNING, DRIFT, NO_ALARM = 0, 1, 2
"""Columns of `windows`: an alarm of the first monitor starts a background tree, one of the second replaces the tree."""

# Planes of `moments`, each over (class, feature). Of a nominal feature only COUNT is used.
COUNT, MEAN, M2, LOW, HIGH, PRECISION = (
    0,
    1,
    2,
    3,
    4,
    5,
)  # PRECISION: 1 / (2 variance), 0 where there is no variance
N_MOMENTS = 6

# Planes of `value_stats`, each over (column, class): the weight of each value of the nominal features, and the log of
# its share of the feature's weight in the class (0 for a share of 0). The log is kept for features of few values only.
VALUE_WEIGHT, VALUE_LOG = 0, 1
LEAST_SHARE = float(np.finfo(np.float64).tiny)
"""A value whose weight has come has at least this share of its class: less may round to 0, which has no log."""
N_VALUE_STATS = 2
FEW_VALUES = 16

# Planes of `class_stats`, each over classes: the weight, its log, and the sum of the log heights of its Gaussians.
WEIGHT, LOG_WEIGHT, LOG_HEIGHT = 0, 1, 2
N_CLASS_STATS = 3

# Columns of a tree's sizes: nodes and leaves in use, seed of the last leaf, and number of free slots that it holds.
N_NODES, N_LEAVES, LAST_SEED, N_FREE = 0, 1, 2, 3
N_SIZES = 4

TINY_VARIANCE = 2.3e-308
"""A smaller variance counts as none."""

BITS = 0xFFFFFFFF
"""Seeds of leaves have 32 bits."""

Tree = namedtuple(
    "Tree",
    [
        "nodes",  # (node,) NODE
        "size",  # (4,): see above
        "free",  # (i,): the free slots that it holds; `size` says how many
        "is_used",  # (f,): whether the tree sees the feature
        "leaves",  # (s,) LEAF_STATE
        "class_stats",  # (s, plane, c)
        "class_order",  # (s, i): the classes of a leaf in order of arrival
        "is_complete",  # (s, c): whether all features have been seen with this class, and all are numeric
        "moments",  # (s, plane, c, f)
        "arrivals",  # (s, f, 1 + i): number of classes seen with the feature, then these classes in order of arrival
        "value_stats",  # (s, plane, column, c)
        "value_start",  # (f,): first column of a nominal feature's values; NONE for a numeric feature
        "n_values",  # (f,): number of values of a nominal feature so far
        "nominal",  # (i,): the nominal features
    ],
)
