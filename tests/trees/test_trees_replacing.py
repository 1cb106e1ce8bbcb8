"""One tree of a pool: reset, clone, replace, copy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from pools import EAGER, IS_COMPILED, MIXED_NOMINAL, grown, mixed, size

from driftmoe.trees import TreePool


def test_reset_tree_is_as_new():
    pool = grown(2)
    pool.reset(1)
    assert pool.n_nodes[1] == 1
    assert pool.n_nodes[0] > 1
    X, y, _ = mixed(size(800), seed=4)
    fresh = TreePool(1, nominal=MIXED_NOMINAL, **EAGER)
    np.testing.assert_array_equal(pool.step(X, y)[:, 1], fresh.step(X, y)[:, 0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"feature_subsets": [[True, False, True, False, True], [False, True, True, True, True]]},
        {"feature_subsets": 0.6},
        {"max_features": 2},
        {"feature_subsets": 0.6, "warning_delta": 0.05, "drift_delta": 0.01},
    ],
)
def test_reset_after_a_copy_gives_a_tree_its_own_features_back(arguments):
    pool = grown(2, seed=3, **arguments)
    pool.replace(1, pool, 0)
    pool.reset(1)
    pool.reset(0)
    fresh = TreePool(2, nominal=MIXED_NOMINAL, **EAGER, seed=3, **arguments)
    X, y, _ = mixed(size(1500), seed=4)
    np.testing.assert_array_equal(pool.step(X, y), fresh.step(X, y))
    assert (pool.n_nodes > 1).all()


def test_reset_clone_has_the_features_of_its_own_tree():
    arguments = {"feature_subsets": 0.6, "max_features": 2}
    clone = grown(3, seed=3, **arguments).clone(2)
    assert clone._storage.free.shape[1] >= clone.n_leaves[0]  # else reset writes beyond its end
    assert not IS_COMPILED or clone.n_leaves[0] > 1
    clone.reset(0)
    fresh = TreePool(3, nominal=MIXED_NOMINAL, **EAGER, seed=3, **arguments)
    X, y, _ = mixed(size(1500), seed=4)
    np.testing.assert_array_equal(clone.step(X, y)[:, 0], fresh.step(X, y)[:, 2])


def test_clone_and_replace_copy_a_tree():
    pool, X = grown(3), mixed(60, seed=6)[0]
    proba = pool.predict_proba(X)
    np.testing.assert_array_equal(pool.clone(2).predict_proba(X)[:, 0], proba[:, 2])
    pool.replace(0, pool, 2)
    np.testing.assert_array_equal(pool.predict_proba(X), proba[:, [2, 1, 2]])


def test_tree_of_a_larger_pool_replaces_one_of_a_smaller():
    X, y, _ = mixed(size(1500))
    X[y == 2, 3] += 20.0  # more values, more classes
    large = TreePool(1, nominal=MIXED_NOMINAL, **EAGER)
    large.learn(X, y)
    small = TreePool(2, nominal=MIXED_NOMINAL, **EAGER)
    small.learn(X[y < 2][:200], y[y < 2][:200])
    kept = small.predict_proba(X[:50])[:, 1]
    small.replace(0, large)
    np.testing.assert_array_equal(small.predict_proba(X[:50])[:, 0], large.predict_proba(X[:50])[:, 0])
    np.testing.assert_array_equal(small.predict_proba(X[:50])[:, 1, :2], kept)
    copied = large.clone(0)
    np.testing.assert_array_equal(small.step(X, y)[:, 0], copied.step(X, y)[:, 0])


def test_replace_refuses_a_tree_of_other_columns():
    other = TreePool(1)
    other.learn(np.zeros((1, 2)), [0])
    with pytest.raises(ValueError, match="saw the same columns"):
        grown(1, 300).replace(0, other)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pool: pickle.loads(pickle.dumps(pool))])
def test_copy_goes_on_as_the_original_does(copied):
    pool = grown(2)
    twin = copied(pool)
    X, y, _ = mixed(size(600), seed=5)
    np.testing.assert_array_equal(twin.step(X, y), pool.step(X, y))


@pytest.mark.parametrize("max_nodes", [1, 3, 9])
def test_a_tree_that_is_too_large_is_put_in_no_smaller_pool(max_nodes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(np.int64)
    large = TreePool(1, grace_period=50, delta=0.1)
    small = TreePool(2, max_nodes=max_nodes, grace_period=50, delta=0.1)
    for pool in (large, small):
        pool.learn(X, y)
    before = pickle.dumps(small)
    with pytest.raises(ValueError, match=f"this pool has max_nodes={max_nodes}"):
        small.replace(0, large)
    assert pickle.dumps(small) == before
    small.learn(X, y)


def test_a_small_tree_of_a_pool_with_large_ones_grows_on_in_a_pool_with_a_bound():
    """It brings the other pool's room for nodes along, which is more than the bound."""
    X, y, _ = mixed(size(4000), p_missing=0.0)
    large = TreePool(2, nominal=MIXED_NOMINAL, **EAGER)
    large.learn(X, y, np.tile([1.0, 0.0], (len(y), 1)))
    small = TreePool(1, nominal=MIXED_NOMINAL, max_nodes=101, **EAGER)
    small.learn(X[:1], y[:1])
    small.replace(0, large, 1)
    alone = TreePool(1, nominal=MIXED_NOMINAL, max_nodes=101, **EAGER)
    np.testing.assert_array_equal(small.step(X, y)[:, 0], alone.step(X, y)[:, 0])
    assert small.n_nodes[0] <= 101
    assert not IS_COMPILED or small._storage.nodes.shape[1] > 101


def test_a_clone_goes_on_with_the_features_of_its_own_tree():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 8)), rng.integers(0, 2, 300)
    pool = TreePool(4, feature_subsets=0.5, seed=3)
    pool.learn(X[:100, :3], y[:100])
    clone = pool.clone(2)
    pool.learn(X, y)
    clone.learn(X, y)
    assert clone._storage.is_used[0].tolist() == pool._storage.is_used[2].tolist()
    np.testing.assert_array_equal(clone.predict_proba(X)[:, 0], pool.predict_proba(X)[:, 2])
