"""The estimated gains by which a leaf passes over nominal features, against the twin's exact ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from reference.trees import HoeffdingTree, Leaf

from driftmoe.trees import TreePool
from driftmoe.trees.split import ROUGH, estimate_nominal


@pytest.mark.parametrize("binary_split", [False, True])
@pytest.mark.parametrize("least_share", [0.01, 0.3])
@given(seed=st.integers(0, 10**6), n_values=st.integers(1, 5), n_classes=st.integers(2, 4))
@given_settings(max_examples=60, deadline=None)
def test_the_estimated_gain_of_a_nominal_feature_is_near_the_exact_one(
    binary_split, least_share, seed, n_values, n_classes
):
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 40, (n_values, n_classes)) * (rng.random((n_values, n_classes)) < 0.7) + 0.0
    weights[0, 0] += 1.0
    settings = {"binary_split": binary_split, "min_branch_fraction": least_share}
    tree, leaf = HoeffdingTree(n_classes, {0}, **settings), Leaf({}, 0)
    for value, c in np.argwhere(weights).tolist():
        leaf.observe(0, value, c, weights[value, c], True)
        leaf.class_weights[c] = leaf.class_weights.get(c, 0.0) + weights[value, c]
    exact = tree.best_of_feature(leaf, 0)[0]
    rules = TreePool(**settings)._storage.rules[0]
    columns = np.vstack([np.full((2, n_classes), 9.0), weights])  # the first are those of another feature
    entropy, scratch = tree.entropy(leaf.class_weights), np.empty((2, n_classes))
    estimate = estimate_nominal(columns, 2, n_values, entropy, rules, scratch)
    shares = weights.sum(axis=1) / weights.sum()
    if estimate == np.inf:  # whether a split is valid is a matter of rounding
        assert min(np.abs(shares - least_share).min(), np.abs(1.0 - shares - least_share).min()) < ROUGH
    else:
        assert estimate == exact or abs(estimate - exact) < ROUGH
