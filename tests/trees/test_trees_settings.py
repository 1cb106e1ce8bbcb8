"""Settings and samples of a pool: what is taken, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pools import EAGER, MIXED_NOMINAL, grown, mixed, size, state

from driftmoe.trees import HoeffdingTreeClassifier, TreePool


@pytest.mark.parametrize(
    ("vectors", "targets", "weights", "message"),
    [
        ([[1e101, 0, 0, 0, 0]], [0], None, "column 0 is 1e"),
        ([[np.inf, 0, 0, 0, 0]], [0], None, "clip"),
        ([[0, 0, 0, -1, 0]], [0], None, "nominal column 3"),
        ([[0, 0, 0, 0.5, 0]], [0], None, "allowed are the codes"),
        ([[0, 0, 0, 1e9, 0]], [0], None, "65535"),
        ([[0, 0, 0, 0, 0]], [-1], None, "target -1"),
        ([[0, 0, 0, 0, 0]], [0.5], None, "integers"),
        ([[0, 0, 0, 0, 0]], [0, 1], None, "do not fit"),
        ([[0, 0, 0, 0, 0]], [[0, 1]], None, "do not fit"),
        ([0, 0, 0, 0, 0], [0, 1], None, "one for each tree"),
        ([[0, 0, 0, 0, 0]], [0], [[1.0, 1.0]], "do not fit"),
        ([[0, 0, 0, 0, 0]], [0], [[-1.0]], "weight -1.0"),
        ([[0, 0, 0, 0, 0]], [0], [[np.nan]], "weight nan"),
        ([[[0]]], [0], None, "n_rows, n_features"),
    ],
)
def test_what_cannot_be_learnt_is_refused_and_leaves_no_trace(vectors, targets, weights, message):
    pool = grown(1, 300)
    before = state(pool)
    with pytest.raises(ValueError, match=message):
        pool.learn(vectors, targets, weights)
    assert state(pool) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split_criterion": "mse"}, "available: info_gain, gini, hellinger"),
        ({"leaf_prediction": "svm"}, "available: mc, nb, nba"),
        ({"delta": 0.0}, "0 < delta < 1"),
        ({"grace_period": -1}, "grace_period=-1"),
        ({"grace_period": math.nan}, "grace_period=nan; choose 0 or more"),
        ({"tau": -0.1}, "tau=-0.1; choose 0 or more"),
        ({"nb_threshold": -1}, "nb_threshold=-1; choose 0 or more"),
        ({"delta": 2}, "delta=2; it is a probability, choose 0 < delta < 1"),
        ({"delta": math.nan}, "delta=nan"),
        ({"min_branch_fraction": 1.5}, "min_branch_fraction=1.5; choose 0 <= min_branch_fraction <= 1"),
        ({"max_share_to_split": 99}, "max_share_to_split=99; choose 0 <= max_share_to_split <= 1"),
        ({"max_depth": -1}, "max_depth=-1; choose 0 or more, or None for no limit"),
        ({"max_nodes": 0}, "max_nodes=0; choose 1 or more, or None for no limit"),
        ({"split_criterion": ["gini"]}, "available: info_gain, gini, hellinger"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TreePool(**arguments)
    with pytest.raises(ValueError, match=message):
        HoeffdingTreeClassifier(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_depth": 1.5}, "max_depth=1.5 is of type float; give an integer, or None for no limit"),
        ({"max_depth": math.inf}, "or None for no limit"),
        ({"max_depth": True}, "max_depth=True is of type bool"),
        ({"max_nodes": 10.0}, "max_nodes=10.0 is of type float; give an integer, or None for no limit"),
        ({"grace_period": "200"}, "grace_period='200' is of type str; give a number"),
        ({"grace_period": None}, "grace_period=None is of type NoneType; give a number"),
        ({"delta": "small"}, "delta='small' is of type str; give a number"),
        ({"tau": True}, "tau=True is of type bool; give a number"),
        ({"nb_threshold": None}, "nb_threshold=None"),
        ({"min_branch_fraction": "1%"}, "min_branch_fraction='1%'"),
        ({"max_share_to_split": None}, "max_share_to_split=None"),
        ({"binary_split": "no"}, "binary_split='no'; choose True or False"),
    ],
)
def test_settings_of_another_type_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        TreePool(**arguments)
    with pytest.raises(TypeError, match=message):
        HoeffdingTreeClassifier(**arguments)


def test_settings_may_be_numbers_of_numpy_and_as_large_as_one_likes():
    X, y, _ = mixed(size(800))
    plain = {"grace_period": 32, "delta": 0.0625, "tau": 0.25, "binary_split": True}
    others = {"grace_period": np.int64(32), "delta": np.float32(0.0625), "tau": np.float64(0.25)}
    others |= {"binary_split": np.True_, "max_depth": 10**30, "max_nodes": 10**30}
    one, other = (TreePool(np.int32(1), nominal=MIXED_NOMINAL, **settings) for settings in (plain, others))
    np.testing.assert_array_equal(one.step(X, y), other.step(X, y))
    assert one.n_nodes[0] > 1


def test_grace_period_of_zero_is_an_attempt_at_every_sample():
    X, y, _ = mixed(size(800))
    each, every = (TreePool(1, nominal=MIXED_NOMINAL, **{**EAGER, "grace_period": n}) for n in (0, 1))
    np.testing.assert_array_equal(each.step(X, y), every.step(X, y))
    assert each.n_nodes[0] > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_threads": 0}, "n_threads=0; choose 1 or more"),
        ({"max_features": 0}, "max_features=0"),
        ({"max_features": 1.5}, "a share is at most 1"),
        ({"n_experts": 2, "max_features": [0.5, 1.5]}, "a share is at most 1"),
        ({"n_experts": 3, "delta": [0.1, 0.2]}, "delta has 2 values for 3 trees; give one for each"),
        ({"n_experts": 2, "delta": [0.1, 1.0]}, "delta=1.0"),
        ({"feature_subsets": 0.0}, "feature_subsets=0.0"),
        ({"feature_subsets": [[1, 0]]}, "booleans"),
        ({"feature_subsets": [True, False]}, "one row a tree"),
        ({"n_experts": -1}, "n_experts=-1; choose 0 or more"),
        ({"drift_delta": 1.0}, "drift_delta=1.0; it is a probability, choose 0 < drift_delta < 1, or None"),
        ({"drift_delta": 0.01, "warning_delta": 0}, "warning_delta=0; it is a probability"),
        ({"warning_delta": 0.01}, "without drift_delta"),
        ({"seed": -1}, "seed=-1; choose 0 or more"),
        ({"nominal": [-1]}, "nominal column=-1; choose 0 or more"),
    ],
)
def test_settings_of_pools_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TreePool(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_experts": 1.5}, "n_experts=1.5 is of type float; give an integer"),
        ({"n_threads": 2.0}, "n_threads=2.0 is of type float; give an integer"),
        ({"n_experts": 2, "delta": [0.1, None]}, "delta=None is of type NoneType; give a number"),
        ({"drift_delta": "rare"}, "drift_delta='rare' is of type str; give a number, or None for no monitor"),
        ({"max_features": "sqrt"}, "max_features='sqrt' is of type str; give a number, or None"),
        ({"max_features": True}, "max_features=True is of type bool"),
        ({"feature_subsets": "half"}, "feature_subsets='half' is of type str"),
        ({"seed": 1.5}, "seed=1.5 is of type float; give an integer, or None"),
        ({"nominal": [0.5]}, "nominal column=0.5 is of type float; give an integer"),
    ],
)
def test_settings_of_pools_of_another_type_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        TreePool(**arguments)


def test_numeric_column_cannot_become_nominal():
    with pytest.raises(ValueError, match="learnt as numeric"):
        grown(1, 300).declare_nominal([0])


@pytest.mark.parametrize("value", [0.5, -1.0, -5e6, 70_000.0, 1e9])
@pytest.mark.parametrize("is_late", [False, True])
def test_codes_of_a_column_that_was_never_learnt_are_checked_too(value, is_late):
    pool = TreePool(nominal=[] if is_late else [1])
    if is_late:
        pool.learn([[1.0]], [0])
        pool.declare_nominal([1])
    with pytest.raises(ValueError, match="row 0, nominal column 1 is"):
        pool.learn([[2.0, value]], [0])
    pool.learn([[2.0, 3.0]], [0])
    assert pool.n_features == 2
