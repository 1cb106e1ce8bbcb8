"""Subsets of the features, for each tree or drawn at each leaf."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import EAGER, IS_COMPILED, MIXED_NOMINAL, mixed, python, size, view

from driftmoe.trees import TreePool, split
from driftmoe.trees.nodes import LEAF


def splits(pool, expert=0):
    """Features that a tree splits on."""
    nodes = pool._storage.nodes[expert, : pool.n_nodes[expert]]
    return set(nodes["feature"][nodes["kind"] != LEAF].tolist())


SUBSETS = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1]], bool)


def test_tree_of_a_subset_equals_a_tree_of_these_columns_alone():
    X, y, weights = mixed(size(2000))
    pool = TreePool(3, nominal=MIXED_NOMINAL, feature_subsets=SUBSETS, **EAGER)
    proba = pool.step(X, y, np.tile(weights, 3))
    for e, subset in enumerate(SUBSETS):
        columns = np.flatnonzero(subset)
        nominal = [i for i, f in enumerate(columns) if f in MIXED_NOMINAL]
        alone = TreePool(nominal=nominal, **EAGER)
        expected = alone.step(X[:, columns], y, weights)
        np.testing.assert_allclose(proba[:, e], expected[:, 0], rtol=0.0, atol=1e-9)
        assert splits(pool, e) == set(columns[sorted(splits(alone))].tolist())
    assert not IS_COMPILED or all(len(splits(pool, e)) > 1 for e in (0, 2))


def test_columns_outside_its_subset_change_nothing_in_a_tree():
    X, y, weights = mixed(size(1000))
    noise = np.random.default_rng(2)
    other = X.copy()
    other[:, 1] = noise.normal(100.0, 5.0, len(y))
    other[:, 4] = np.where(noise.random(len(y)) < 0.3, np.nan, noise.integers(9, size=len(y)))
    pools = [TreePool(1, nominal=MIXED_NOMINAL, feature_subsets=SUBSETS[:1], **EAGER) for _ in range(2)]
    proba = [pool.step(block, y, weights) for pool, block in zip(pools, (X, other), strict=True)]
    np.testing.assert_allclose(*proba, rtol=0.0, atol=1e-12)


def test_share_of_the_features_is_drawn_for_each_tree():
    X, y, _ = mixed(size(1000), p_missing=0.0)
    X = np.tile(X[:, :3], 5)
    share, again, other, every = (
        TreePool(6, feature_subsets=s, seed=seed, **EAGER)
        for s, seed in ((0.6, 1), (0.6, 1), (0.6, 2), (1.0, 1))
    )
    proba = [pool.step(X[:, :10], y) for pool in (share, again, other, every)]
    np.testing.assert_array_equal(proba[0], proba[1])
    assert not np.allclose(proba[0], proba[2])
    assert not np.allclose(proba[0], proba[3])
    assert share._storage.is_used.sum(axis=1).tolist() == [6] * 6
    assert len({tuple(row) for row in share._storage.is_used.tolist()}) > 1
    assert every._storage.is_used.all()
    share.learn(X, y)
    share.learn(X[:1], y[:1], n_experts=200)
    assert share._storage.is_used[:6, 10:].any(axis=0).any()
    assert share._storage.is_used[6:].sum(axis=1).tolist() == [9] * 194  # these began with 15
    many = TreePool(400, feature_subsets=0.25, seed=1)
    many.learn(X[:1, :1], y[:1])
    assert many._storage.is_used.all()  # one column at least
    many.learn(X[:1, :2], y[:1])
    assert 60 < many._storage.is_used[:, 1].sum() < 140


def test_new_columns_and_trees_see_all_where_an_array_says_nothing_of_them():
    X, y, _ = mixed(20, p_missing=0.0)
    pool = TreePool(2, feature_subsets=SUBSETS[:2, :3])
    pool.learn(X, y, n_experts=3)
    assert pool._storage.is_used.tolist() == [[1, 0, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("max_features", [1, 2, 0.5, 0.01])
def test_leaf_splits_on_a_feature_that_it_has_drawn(max_features):
    X, y, _ = mixed(size(2000), p_missing=0.0)
    seen = set()
    for seed in range(20 if IS_COMPILED else 3):
        pool = TreePool(nominal=MIXED_NOMINAL, max_features=max_features, seed=seed, **EAGER)
        pool.learn(X[:1], y[:1])
        drawn = np.flatnonzero(
            split.split_features(view(pool), pool._storage.slots_of(0)[0], pool._storage.rules[0])
        ).tolist()
        assert len(drawn) == {1: 1, 2: 2, 0.5: 3, 0.01: 1}[max_features]
        pool.learn(X[1:], y[1:])
        if pool.n_nodes[0] > 1:
            assert pool._storage.nodes[0, 0]["feature"] in drawn
            seen |= {int(pool._storage.nodes[0, 0]["feature"])}
    assert not IS_COMPILED or len(seen) > 1


@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), share=st.sampled_from([1.0, 3.0, 0.3, 0.6, np.inf]),
    outside=st.integers(0, 3),
)  # fmt: skip
@settings(deadline=None, max_examples=50 if IS_COMPILED else 10)
def test_features_drawn_compiled_equal_python_and_a_new_one_takes_one_place(seed, n, share, outside):
    pool = TreePool()
    pool.learn(np.zeros((1, n)), [0])
    pool._storage.leaves[pool._storage.slots_of(0)[0]]["seed"] = seed
    pool._storage.is_used[0, :outside] = False
    rules = pool._storage.rules[0]
    rules["max_features"] = share
    drawn = split.split_features(view(pool), pool._storage.slots_of(0)[0], rules)
    np.testing.assert_array_equal(
        drawn, python(split.split_features)(view(pool), pool._storage.slots_of(0)[0], rules)
    )
    n_used = pool._storage.is_used.sum()
    n_wanted = share if share >= 1.0 else max(1, np.floor(share * n_used + 0.5))
    assert drawn.sum() == min(n_wanted, n_used)
    assert not (drawn & ~pool._storage.is_used[0]).any()
    pool.learn(np.zeros((1, n + 1)), [0])
    later = split.split_features(view(pool), pool._storage.slots_of(0)[0], rules)
    assert (drawn & ~later[:n]).sum() <= 1


def test_every_feature_is_drawn_as_often():
    pool = TreePool(max_features=3, seed=1)
    pool.learn(np.zeros((1, 10)), [0])
    draws = np.zeros(10)
    n_leaves = 20_000 if IS_COMPILED else 2_000
    for _ in range(n_leaves):
        pool._storage.leaves[pool._storage.slots_of(0)[0]]["seed"] += 1  # as each next leaf has it
        draws += split.split_features(view(pool), pool._storage.slots_of(0)[0], pool._storage.rules[0])
    np.testing.assert_allclose(draws / n_leaves, 0.3, atol=5 * np.sqrt(0.3 * 0.7 / n_leaves))


@pytest.mark.parametrize("argument", [{"max_features": 2}, {"max_features": 0.4, "feature_subsets": 0.8}])
def test_drawn_features_change_the_trees_and_depend_on_the_seed_alone(argument):
    X, y, _ = mixed(size(2000))

    def proba(seed, rows, **changed):
        pool = TreePool(4, nominal=MIXED_NOMINAL, seed=seed, **(EAGER | argument | changed))
        pool.learn(X[:1], 2, np.zeros((1, 4)))
        return np.concatenate([pool.step(X[i : i + rows], y[i : i + rows]) for i in range(0, len(y), rows)])

    expected = proba(3, len(y))
    np.testing.assert_array_equal(proba(3, 7), expected)
    if IS_COMPILED:
        assert not np.allclose(proba(4, len(y)), expected)
        assert not np.allclose(proba(3, len(y), max_features=None), expected)
        assert not np.allclose(expected[:, 0], expected[:, 1])
