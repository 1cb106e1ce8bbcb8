"""The estimated gains by which a leaf passes over features, against the twin's exact ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from pools import EAGER, MIXED_NOMINAL, mixed, python
from reference.trees import HoeffdingTree, Leaf

from driftmoe.trees import TreePool, split
from driftmoe.trees.estimates import ROUGH, estimate_all_numeric, estimate_nominal
from driftmoe.trees.nodes import COUNT, HIGH, LOW, M2, MEAN, N_MOMENTS, VALUE_WEIGHT


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


def interpreted(monkeypatch):
    """Kernels of `split` that call each other as functions of Python, and counts of their calls."""
    calls = {}
    for name in ("entropy", "branch_weight", "split_merit", "value_branches", "rest_branches", "add_up", "values_seen",
                 "all_branches", "all_classes", "best_nominal", "log2"):  # fmt: skip
        monkeypatch.setattr(split, name, counted(python(getattr(split, name)), name, calls))
    return calls


def counted(function, name, calls):
    def count(*arguments):
        calls[name] = calls.get(name, 0) + 1
        return function(*arguments)

    return count


def many_values(n_values, unit):
    """A tree with one leaf, which has seen many values of a nominal feature, with weights in multiples of a unit."""
    rng = np.random.default_rng(3)
    pool = TreePool(nominal=[0], grace_period=10**6)
    codes = np.concatenate([np.arange(n_values), rng.integers(n_values, size=3 * n_values)])
    y = (codes + rng.integers(2, size=len(codes))) % 4
    pool.learn(codes[:, np.newaxis].astype(float), y, unit * rng.integers(1, 4, size=(len(codes), 1)))
    storage, slot = pool._storage, pool._storage.slots_of(0)[0]
    return storage, slot, storage.arrivals[slot, 0, 1 : 1 + storage.arrivals[slot, 0, 0]]


@pytest.mark.parametrize(("unit", "of_all_others"), [(1.0, 0), (0.125, 0), (1 / 3, 40)])
def test_a_split_by_value_adds_up_all_others_for_each_value_only_where_sums_are_rounded(
    monkeypatch, unit, of_all_others
):
    storage, slot, order = many_values(40, unit)
    calls = interpreted(monkeypatch)  # now that trees have learnt by compiled ones
    weights = storage.value_stats[slot, VALUE_WEIGHT]
    totals, quick, slow = np.zeros(4), np.zeros((2, 4)), np.zeros((2, 4))
    assert split.add_up(weights, 0, 40, order, totals) == (of_all_others == 0)
    for value in range(40 if of_all_others == 0 else 0):
        split.value_branches(weights, 0, 40, order, value, slow)
        split.rest_branches(weights, 0, value, order, totals, quick)
        np.testing.assert_array_equal(quick, slow)
    calls.clear()
    tree = SimpleNamespace(
        value_stats=storage.value_stats, value_start=storage.value_start, n_values=storage.n_values
    )
    split.best_nominal(tree, slot, 0, order, 2.0, storage.rules[0], np.empty(4), np.empty((2, 4)))
    assert calls.get("value_branches", 0) == of_all_others
    assert calls.get("rest_branches", 0) == 40 - of_all_others


def test_sums_too_large_to_be_exact_are_not_subtracted():
    weights = np.array([[2.0**32], [1.0], [0.0]])
    add_up = python(split.add_up)
    assert not add_up(weights, 0, 3, np.array([0], np.int32), np.zeros(1))
    assert add_up(weights, 1, 2, np.array([0], np.int32), np.zeros(1))


def test_values_of_a_feature_that_a_leaf_has_not_observed_have_no_weight():
    """Leaves that are made, or start anew after a drift, rely on it: they clear what was observed."""
    X, y, _ = mixed(1000)
    pool = TreePool(3, nominal=MIXED_NOMINAL, drift_delta=0.1, warning_delta=0.2, **EAGER)
    for shift in range(3):
        pool.learn(X, (y + shift) % 3)
    assert pool.n_replaced.sum() > 0
    storage = pool._storage
    for f, start, n in zip(storage.nominal, *(of[storage.nominal] for of in (storage.value_start, storage.n_values)),
                           strict=True):  # fmt: skip
        is_unseen = storage.arrivals[:, f, 0] == 0
        assert 0 < is_unseen.sum() < len(is_unseen)
        assert not storage.value_stats[is_unseen, :, start : start + n].any()


@pytest.mark.parametrize(
    ("weight", "spread"), [(1.0, 1e-160), (1e-310, 1.0)], ids=["tiny spread", "tiny weight"]
)
def test_an_estimate_does_not_tell_what_subnormal_numbers_hide(weight, spread):
    moments = np.zeros((N_MOMENTS, 2, 2))
    for f, (w, s) in enumerate([(weight, spread), (1.0, 1.0)]):
        moments[COUNT, :, f] = 50.0 * w
        moments[LOW, :, f], moments[HIGH, :, f] = [-s, 0.0], [s, 3.0 * s]
        moments[MEAN, :, f], moments[M2, :, f] = [0.0, s], 20.0 * w * s * s
    gains = np.empty((10, 2))
    estimate_all_numeric(moments, np.arange(2), np.arange(2), 1.0, 0.01, gains)
    assert np.isposinf(gains[:, 0]).all()
    assert np.isfinite(gains[:, 1]).any()


def test_a_nominal_column_without_values_that_a_tree_does_not_see_is_not_observed():
    X = np.column_stack([np.arange(50.0) % 7, np.full(50, np.nan)])
    pool = TreePool(1, nominal=[1], feature_subsets=np.array([[True, False]]))
    pool.learn(X, np.arange(50) % 2)
    assert not pool._storage.moments[:, COUNT, :, 1].any()
