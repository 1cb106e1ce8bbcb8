"""Sparse samples: trees look at the features that are present alone, and say to the last bit what they said before."""

from __future__ import annotations

import numpy as np
import pytest

from driftmoe.encoding import Encoder
from driftmoe.trees import HoeffdingTreeClassifier, TreePool, leaf


@pytest.mark.parametrize("n_features", [5, 16, 511, 512, 513, 1500])
@pytest.mark.parametrize("share", [0.01, 0.2])
def test_sums_over_the_known_features_are_those_over_all(n_features, share):
    rng = np.random.default_rng(n_features)
    x = np.where(rng.random(n_features) < share, rng.normal(size=n_features), np.nan)
    x[rng.integers(n_features)] = 1.5
    mean, precision = rng.normal(size=n_features), rng.random(n_features) * (rng.random(n_features) < 0.8)
    known = np.flatnonzero(~np.isnan(x))
    assert leaf.sparse_log_normaliser(precision, known) == leaf.log_normaliser(precision, x)
    assert leaf.sparse_distance(x, mean, precision, known) == leaf.known_distance(x, mean, precision)


@pytest.mark.parametrize("nominal", [(), (1, 4)])
@pytest.mark.parametrize("n_experts", [1, 3])
def test_features_that_nobody_has_change_nothing(nominal, n_experts):
    """Three known features of eight are no sparse row, and of forty they are one."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1500, 8))
    X[:, nominal] = rng.integers(4, size=(1500, len(nominal)))
    y = (X[:, 0] + X[:, 5] > 0).astype(int) + (X[:, 4] > 1)
    for row in X:
        row[rng.permutation(8)[3:]] = np.nan
    X[::50] = np.nan_to_num(X[::50])  # some have all of the eight
    narrow, wide = (TreePool(n_experts, nominal=nominal, grace_period=30, delta=0.1) for _ in range(2))
    padded = np.hstack([X, np.full((1500, 32), np.nan)])
    weights = rng.poisson(2.0, size=(1500, n_experts)).astype(float)
    for rows in np.array_split(np.arange(1500), 20):
        np.testing.assert_array_equal(
            wide.step(padded[rows], y[rows], weights[rows]), narrow.step(X[rows], y[rows], weights[rows])
        )
    assert (narrow.n_nodes > 3).all()
    np.testing.assert_array_equal(wide.n_nodes, narrow.n_nodes)


def test_a_feature_that_comes_late_completes_the_others():
    """A leaf that has seen each feature with a class, in sparse rows, takes the short way for full rows: same votes."""
    rng = np.random.default_rng(2)
    n_features = 24
    sparse = np.full((200, n_features), np.nan)
    for i, row in enumerate(sparse):
        row[[i % n_features, (5 * i + 1) % n_features]] = rng.normal(size=2)
    full = rng.normal(size=(100, n_features))
    y = np.arange(300) % 2
    one, other = TreePool(), TreePool()
    one.learn(np.vstack([sparse, full]), y)
    for x, target in zip(np.vstack([sparse, full]), y, strict=True):
        other.learn(x, target)
    assert one._storage.is_complete[one._storage.slots_of(0)].all()
    np.testing.assert_array_equal(one.predict_proba(full), other.predict_proba(full))


def test_a_tree_enters_nothing_where_nothing_is_new(monkeypatch):
    model, entered = HoeffdingTreeClassifier(), []
    own = Encoder.entered
    monkeypatch.setattr(Encoder, "entered", lambda *arguments: entered.append(1) or own(*arguments))
    model.learn_one({f"w{i}": 1.0 for i in range(100)} | {"text": "a"}, 0)
    for i in range(100):
        model.learn_one({f"w{i}": 2.0, "text": "a"}, 0)
    assert len(entered) == 1
    model.learn_one({"w1": 1.0, "text": "b"}, 0)
    model.learn_one({"w1": 1.0}, 1)
    model.learn_one({"new": 1.0}, 1)
    assert len(entered) == 4
    assert model.predict_proba_one({"w1": 1.0})[0] > model.predict_proba_one({"w1": 1.0})[1]
