"""Trees equal river's, but for differences on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from pools import EAGER, IS_COMPILED, MIXED_NOMINAL, mixed, size
from river import tree

import streams
from driftmoe.trees import TreePool
from streams.wrappers import MissingValues


def stream_named(name, n_samples):
    if name == "agrawal with gaps":
        return MissingValues(streams.make("agrawal", seed=3, n_samples=n_samples), rate=0.05, seed=5)
    if name == "electricity":
        return streams.make("electricity")
    return streams.make(name, seed=2, n_samples=n_samples)


def assert_equal_to_river(name, n_samples, mean_weight=None, **arguments):
    stream = stream_named(name, n_samples)
    nominal = [i for i, feature in enumerate(stream.features) if feature.is_nominal]
    block = next(stream.blocks(n_samples))
    n = len(block.y)
    if mean_weight is None:
        weights = np.ones((n, 1))
    else:
        weights = np.random.default_rng(1).poisson(mean_weight, size=(n, 1)).astype(float)
    pool = TreePool(nominal=nominal, **arguments)
    ours = pool.step(block.X, block.y, weights)[:, 0]

    rivers = tree.HoeffdingTreeClassifier(nominal_attributes=nominal, **arguments)
    theirs = np.zeros_like(ours)
    for t, (row, y) in enumerate(zip(block.X.tolist(), block.y.tolist(), strict=True)):
        x = {i: int(value) if i in nominal else value for i, value in enumerate(row) if value == value}
        for c, p in rivers.predict_proba_one(x).items():
            theirs[t, c] = p
        if weights[t, 0] > 0.0:
            rivers.learn_one(x, y, w=weights[t, 0])
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-9)
    assert pool.n_nodes[0] == (rivers.n_nodes or 1)
    return rivers.n_nodes


@pytest.mark.parametrize("leaf_prediction", ["mc", "nb", "nba"])
@pytest.mark.parametrize("name", ["led_a", "rbf_f", "electricity", "agrawal with gaps"])
def test_same_probabilities_as_river_after_the_same_samples(name, leaf_prediction, naive_sum, request):
    if name == "electricity":
        request.getfixturevalue("fetched")
    n_nodes = assert_equal_to_river(name, size(20_000), leaf_prediction=leaf_prediction)
    assert not IS_COMPILED or n_nodes > 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"split_criterion": "gini"},
        {"split_criterion": "hellinger"},
        {"binary_split": True},
        {"max_depth": 2},
        {"min_branch_fraction": 0.2},
        {"max_share_to_split": 0.7},
        {"tau": 0.3},
        {"leaf_prediction": "nb", "nb_threshold": 150},
    ],
    ids=str,
)
def test_same_as_river_with_each_setting(arguments, naive_sum):
    assert_equal_to_river(
        "agrawal with gaps", size(5_000), **({"grace_period": 50, "delta": 0.01} | arguments)
    )


def test_same_as_river_with_weights_and_many_classes(naive_sum):
    n_nodes = assert_equal_to_river("led_a", size(5_000), mean_weight=6, grace_period=50, delta=0.01)
    assert not IS_COMPILED or n_nodes > 20


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("grace_period", 100), ("delta", 0.5), ("tau", 0.5), ("max_depth", 1), ("split_criterion", "gini"),
        ("split_criterion", "hellinger"), ("leaf_prediction", "mc"), ("leaf_prediction", "nb"), ("binary_split", True),
        ("min_branch_fraction", 0.3), ("max_share_to_split", 0.5), ("max_nodes", 5),
    ],
)  # fmt: skip
def test_each_setting_changes_the_predictions(argument, value):
    X, y, _ = mixed(1500 if IS_COMPILED else 500, p_missing=0.0)
    default = TreePool(nominal=MIXED_NOMINAL, **EAGER).step(X, y)
    assert not np.allclose(TreePool(nominal=MIXED_NOMINAL, **(EAGER | {argument: value})).step(X, y), default)


def test_nb_threshold_changes_the_predictions():
    X, y, _ = mixed(100)
    early, late = (
        TreePool(nominal=MIXED_NOMINAL, leaf_prediction="nb", nb_threshold=n).step(X, y) for n in (0, 50)
    )
    assert not np.allclose(early[20:50], late[20:50])
    np.testing.assert_array_equal(early[50:], late[50:])


def test_class_without_weight_at_a_leaf_has_no_vote():
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(0.0, 0.01, 5000), [10.0], rng.normal(8.0, 0.01, 500)])
    y = np.repeat([0, 1], [5001, 500])
    order = rng.permutation(5501)
    X, y = X[order, np.newaxis], y[order]
    pool = TreePool(grace_period=5501, leaf_prediction="nb")
    rivers = tree.HoeffdingTreeClassifier(grace_period=5501, leaf_prediction="nb")
    if not IS_COMPILED:
        pytest.skip("without compilation the 5501 samples that the fault needs take minutes")
    later = np.array([7.9, 8.1, 8.0])[:, np.newaxis]
    pool.learn(np.concatenate([X, later]), np.concatenate([y, [1, 1, 1]]))
    for value, target in zip([*X[:, 0], *later[:, 0]], [*y, 1, 1, 1], strict=True):
        rivers.learn_one({0: value}, target)
    assert pool.n_nodes[0] == rivers.n_nodes == 3
    assert rivers._root.children[1].stats == {0: 0.0, 1: 503.0}
    assert rivers.predict_proba_one({0: 9.0})[0] > 0.9
    np.testing.assert_array_equal(pool.predict_proba([9.0]), [[0.0, 1.0]])


def test_nominal_feature_without_a_valid_split_never_splits():
    y = np.arange(400) % 2
    X = np.zeros((400, 2))
    pool = TreePool(nominal=[1], tau=0.5)
    rivers = tree.HoeffdingTreeClassifier(nominal_attributes=[1], tau=0.5)
    pool.learn(X, y)
    for target in y.tolist():
        rivers.learn_one({0: 0.0, 1: 0}, target)
    assert rivers.n_nodes > 1
    assert pool.n_nodes[0] == 1


def test_last_column_wins_among_equal_merits():
    X, y, _ = mixed(size(1000), p_missing=0.0)
    pool = TreePool(tau=0.5, **EAGER)
    pool.learn(X[:, [0, 0, 1]], y)
    assert "feature 1 <=" in pool.describe()
    assert "feature 0" not in pool.describe()


def test_density_too_narrow_for_a_float_counts_as_none():
    pool = TreePool(leaf_prediction="nb")
    pool.learn([[0.0], [1e-160], [0.0], [5.0], [6.0]], [0, 0, 0, 1, 1])
    proba = pool.predict_proba([[0.0], [1e100], [-1e100]])
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=2), 1.0)
