"""The path of a sample down a tree, beside the kernel that finds its leaf."""

from __future__ import annotations

import numpy as np
import pytest
from pools import EAGER, python, size, view

from driftmoe.trees import TreePool
from driftmoe.trees.descend import find_leaf


@pytest.mark.parametrize("binary_split", [False, True])
def test_a_path_ends_in_the_leaf_that_the_kernel_finds(binary_split):
    rng, n = np.random.default_rng(4), size(3000)
    pool = TreePool(2, nominal=[1], binary_split=binary_split, **EAGER)
    X = np.column_stack([rng.normal(size=n), rng.integers(5, size=n), rng.normal(size=n)])
    pool.learn(X, ((X[:, 0] > 0.3 * X[:, 1]) ^ (X[:, 1] == 2)).astype(int))
    X[::5, 0], X[::7, 1], X[::11, 1] = np.nan, np.nan, 9  # missing, and a value that no branch has
    lengths, n_unmet = set(), 0
    for expert in range(2):
        tree = view(pool, expert)
        for x in X[:200]:
            path = pool.path(expert, x)
            leaf, is_direct, _ = python(find_leaf)(tree, x)
            assert path.leaf == leaf
            assert all(step.is_met for step in path.steps) == is_direct
            n_unmet += not is_direct
            lengths.add(len(path.steps))
    assert max(lengths) > 1
    assert 0 < n_unmet < 400


def test_a_path_names_tests_and_the_weights_of_its_leaf():
    pool = TreePool(1, nominal=[0], grace_period=50, delta=0.5, tau=0.5)
    X = np.array([[0.0], [1.0], [1.0]] * 100)
    pool.learn(X, (X[:, 0] == 1).astype(int))
    path = pool.path(0, np.array([1.0]), values=[["red", "green"]])
    assert [(step.column, step.test, step.is_met) for step in path.steps] == [(0, "= green", True)]
    assert set(path.class_weights) == {1}
    untested = TreePool(1)
    untested.learn(X, np.zeros(300, int))
    assert untested.path(0, np.array([1.0])).class_weights == {0: 300.0}
