"""The drift monitors of the trees: ADWIN equal to river's and to a readable twin, and what a pool does with them."""

from __future__ import annotations

import copy
import math
import pickle

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.drift import AdaptiveTree, Adwin
from reference.trees import HoeffdingTree
from river import drift

import streams
from driftmoe import arithmetic
from driftmoe.trees import TreePool, adwin

IS_COMPILED = not numba.config.DISABLE_JIT
EAGER = {"grace_period": 50, "delta": 0.01}
MONITORS = {"warning_delta": 0.01, "drift_delta": 0.001}


def size(n):
    return n if IS_COMPILED else n // 20


# --- ADWIN ------------------------------------------------------------------------------------------------------------


def values_of(kind, n):
    rng = np.random.default_rng(4)
    if kind == "jumps":
        return (rng.random(n) < np.repeat(rng.random(20), n // 20)).astype(float)
    if kind == "gradual":
        return (rng.random(n) < 0.3 + 0.3 * np.sin(np.arange(n) / n * 12.0)).astype(float)
    if kind == "rare":
        return (rng.random(n) < 0.001).astype(float)
    if kind == "constant":
        return np.ones(n)
    if kind == "numbers":
        return rng.normal(np.repeat([0.0, 0.2, 1.0, -5.0], n // 4), np.repeat([1.0, 3.0], n // 2))
    block = next(streams.make("led_a", seed=2, n_samples=n).blocks(n))
    return (TreePool().step(block.X, block.y)[:, 0].argmax(axis=1) != block.y).astype(float)


KINDS = ["jumps", "gradual", "rare", "constant", "numbers", "errors of a tree"]


@pytest.mark.parametrize("delta", [0.002, 0.05])
@pytest.mark.parametrize("kind", KINDS)
def test_adwin_equals_rivers_on_every_value(kind, delta):
    ours, theirs = np.zeros(1, adwin.WINDOW)[0], drift.ADWIN(delta=delta)
    n_detected = 0
    for value in values_of(kind, size(100_000)).tolist():
        detected = adwin.update(ours, delta, value)
        theirs.update(value)
        n_detected += detected
        assert detected == theirs.drift_detected
        assert adwin.estimate(ours) == theirs.estimation
        assert ours["width"] == theirs.width
    assert ours["variance"] == theirs.variance
    assert not IS_COMPILED or (n_detected == 0) == (kind in ("constant", "rare"))


@pytest.mark.parametrize("kind", KINDS)
def test_adwin_equals_its_twin(kind):
    comp, ref = np.zeros(1, adwin.WINDOW)[0], Adwin(0.01)
    for value in values_of(kind, size(20_000)).tolist():
        assert adwin.update(comp, 0.01, value) == ref.update(value)
        assert adwin.estimate(comp) == pytest.approx(ref.mean, rel=1e-9, abs=1e-12)
        assert comp["n_rows"] == len(ref.rows)
    assert comp["n_buckets"][: len(ref.rows)].tolist() == list(map(len, ref.rows))
    assert comp["variance"] == pytest.approx(ref.variance, rel=1e-9)


def test_window_holds_the_last_values():
    window, values = np.zeros(1, adwin.WINDOW)[0], values_of("jumps", 2000)
    for t, value in enumerate(values, start=1):
        adwin.update(window, 0.002, value)
        width = int(window["width"])
        assert window["total"] == values[t - width : t].sum()
        assert window["variance"] == pytest.approx(width * values[t - width : t].var(), abs=1e-6)
        assert width == (window["n_buckets"][: window["n_rows"]] * 2 ** np.arange(window["n_rows"])).sum()


# --- monitors of a pool -----------------------------------------------------------------------------------------------


def drifting(n_samples, seed=1, n_concepts=2):
    """Two features that tell three classes apart, which change their places; weights of a pool of three."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_samples)
    X = np.column_stack([rng.normal(y, 0.4), rng.normal(y == 1, 0.6), rng.normal(size=n_samples)])
    y = (y + np.arange(n_samples) * n_concepts // n_samples) % 3
    return X, y, rng.poisson(2.0, size=(n_samples, 3)).astype(float)


@pytest.fixture
def own_erf(monkeypatch):
    """The last bit of a share decides whether a leaf has seen its grace period: the twin gets our erf, not C's."""
    monkeypatch.setattr(math, "erf", arithmetic.erf)


@pytest.mark.parametrize("deltas", [(0.2, 0.01), (0.3, 0.001)])
def test_same_warnings_replacements_and_probabilities_as_the_twin(deltas, own_erf):
    X, y, weights = drifting(4000 if IS_COMPILED else 600, n_concepts=4 if IS_COMPILED else 2)
    pool = TreePool(3, warning_delta=deltas[0], drift_delta=deltas[1], **EAGER)
    comp = pool.step(X, y, weights)
    for e in range(3):
        twin = AdaptiveTree(lambda: HoeffdingTree(3, **EAGER), *deltas)
        ref = np.empty_like(comp[:, e])
        for t, (x, c, w) in enumerate(zip(X.tolist(), y.tolist(), weights[:, e].tolist(), strict=True)):
            ref[t] = twin.predict_proba(x)
            twin.learn(x, c, w)
        np.testing.assert_allclose(comp[:, e], ref, rtol=0.0, atol=1e-9)
        assert pool.n_warnings[e] == twin.n_warnings
        assert pool.n_replaced[e] == twin.n_replaced
        assert pool.has_background[e] == (twin.background is not None)
    assert pool.n_replaced.sum() > 0
    assert not IS_COMPILED or pool.n_warnings.sum() > 0


def test_forest_with_monitors_recovers_faster_from_an_abrupt_drift():
    X, y, _ = drifting(size(8000))
    n = len(y)
    weights = np.random.default_rng(2).poisson(6.0, size=(n, 10)).astype(float)
    after = slice(n // 2 + n // 10, n)
    accuracy = {}
    for name, monitors in (("watched", MONITORS), ("not watched", {})):
        pool = TreePool(10, seed=1, max_features=2, **monitors, **EAGER)
        vote = pool.step(X, y, weights).mean(axis=1).argmax(axis=1)
        accuracy[name] = (vote == y)[after].mean(), (vote == y)[: n // 2].mean()
    assert accuracy["watched"][0] > accuracy["not watched"][0] + 0.1
    assert accuracy["watched"][1] == pytest.approx(
        accuracy["not watched"][1], abs=0.01 if IS_COMPILED else 0.05
    )
    assert not IS_COMPILED or accuracy["watched"][0] > accuracy["watched"][1] - 0.02


def test_falling_error_raises_no_alarm():
    X, y, _ = drifting(size(4000))
    n = len(y) // 2
    y[:n] = np.random.default_rng(9).integers(3, size=n)  # nothing to learn at first
    pool = TreePool(1, warning_delta=0.05, drift_delta=0.04, leaf_prediction="nb")
    errors = pool.step(X, y)[:, 0].argmax(axis=1) != y
    window = np.zeros(1, adwin.WINDOW)[0]
    assert errors[-n // 4 :].mean() < errors[:n].mean() - 0.05
    assert any([adwin.update(window, 0.04, error) for error in errors.astype(float)])
    assert pool.n_replaced.tolist() == [0]


def test_drift_without_a_background_leaves_an_empty_tree():
    X, y, _ = drifting(4000 if IS_COMPILED else 1000)
    half = len(y) // 2
    pool = TreePool(1, drift_delta=0.01, **EAGER)
    for t in range(len(y)):
        pool.learn(X[t], y[t])
        if pool.n_replaced[0]:
            break
    assert half < t < half + half // 2
    assert pool.n_warnings.tolist() == [0]
    assert pool.n_nodes.tolist() == [1]
    assert pool.weight_seen.tolist() == [0.0]
    np.testing.assert_array_equal(pool.predict_proba(X[0]), [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize(("argument", "value"), [("warning_delta", 0.3), ("drift_delta", 0.2)])
def test_each_risk_changes_the_predictions(argument, value):
    X, y, _ = drifting(8000)
    proba = [TreePool(**(MONITORS | changed), **EAGER).step(X, y) for changed in ({}, {argument: value})]
    assert not np.allclose(*proba)


def test_samples_of_weight_zero_are_not_watched():
    X, y, _ = drifting(400)
    pool = TreePool(2, **MONITORS)
    pool.learn(X, y, np.tile([1.0, 0.0], (400, 1)))
    assert (pool._storage.windows[0]["tick"] > 0).all()
    assert (pool._storage.windows[1]["tick"] == 0).all()
    assert pool.predict_proba(X[0])[1].tolist() == [0.0] * 3


@pytest.mark.parametrize(("rows", "n_threads"), [(1, 1), (7, 1), (256, 2), (None, 3)])
def test_blocks_and_threads_change_nothing_with_monitors(rows, n_threads, monkeypatch):
    monkeypatch.setattr("driftmoe.trees.planning.MIN_SHARED", 2)
    X, y, weights = drifting(size(4000) if rows != 1 else 1000, n_concepts=3)
    settings = EAGER | {"warning_delta": 0.05, "drift_delta": 0.01, "max_features": 2, "seed": 3}
    whole = TreePool(3, **settings)
    whole.learn(X[:1], 2, np.zeros((1, 3)))
    parts = copy.deepcopy(whole)
    parts.n_threads = n_threads
    expected = whole.step(X, y, weights)
    rows = rows or len(y)
    got = [
        parts.step(X[i : i + rows], y[i : i + rows], weights[i : i + rows]) for i in range(0, len(y), rows)
    ]
    np.testing.assert_array_equal(np.concatenate(got), expected)
    for name in ("expert_trees", "monitors", "monitor_windows"):
        assert parts.state()[name].tobytes() == whole.state()[name].tobytes()
    assert whole.n_replaced.sum() > 0


def watched(n_experts=3):
    """A pool in which some experts have a tree in the background, and where foreground rows are not in order."""
    pool = TreePool(n_experts, warning_delta=0.5, drift_delta=0.1, **EAGER)
    X, y, _ = drifting(6000, n_concepts=12)
    for t in range(0, len(y), 20):
        pool.learn(X[t : t + 20], y[t : t + 20], np.random.default_rng(t).poisson(1.0, size=(20, n_experts)))
        first, second = pool._storage.trees_of[0]
        if pool.has_background[1] and not pool.has_background[0] and first > second:
            return pool
    raise AssertionError("no such moment")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pool: pickle.loads(pickle.dumps(pool))])
def test_copy_goes_on_with_its_monitors(copied):
    pool = watched()
    twin, (X, y, weights) = copied(pool), drifting(size(3000), seed=5, n_concepts=4)
    np.testing.assert_array_equal(twin.step(X, y, weights), pool.step(X, y, weights))
    np.testing.assert_array_equal(twin.n_replaced, pool.n_replaced)


def test_clone_and_replace_carry_background_and_monitors():
    pool, (X, y, weights) = watched(), drifting(size(3000), seed=5, n_concepts=4)
    clone = pool.clone(1)
    pool.replace(0, pool, 1)
    pool.replace(2, clone)
    assert pool.has_background.tolist() == [True] * 3
    proba = pool.step(X, y, weights[:, [0, 0, 0]])
    np.testing.assert_array_equal(proba[:, [1]], clone.step(X, y, weights[:, :1]))
    np.testing.assert_array_equal(proba[:, 0], proba[:, 1])
    np.testing.assert_array_equal(proba[:, 2], proba[:, 1])
    assert pool.n_replaced.min() == pool.n_replaced.max() == clone.n_replaced[0] > 0


def test_reset_ends_background_and_monitors():
    pool, (X, y, weights) = watched(), drifting(size(3000), seed=5, n_concepts=4)
    pool.reset(1)
    assert (pool.n_nodes[1], pool.n_warnings[1], pool.n_replaced[1], pool.has_background[1]) == (
        1,
        0,
        0,
        False,
    )
    fresh = TreePool(1, warning_delta=0.5, drift_delta=0.1, **EAGER)
    np.testing.assert_array_equal(pool.step(X, y, weights)[:, 1], fresh.step(X, y, weights[:, 1:2])[:, 0])


def test_tree_of_a_pool_without_monitors_comes_with_fresh_ones():
    pool, (X, y, _) = watched(), drifting(size(1000), seed=5)
    plain = TreePool(1, **EAGER)
    plain.learn(X, y)
    pool.replace(1, plain)
    assert not pool.has_background[1]
    assert (pool._storage.windows[1]["width"] == 0.0).all()
    np.testing.assert_array_equal(pool.predict_proba(X)[:, 1], plain.predict_proba(X)[:, 0])
    plain.replace(0, pool, 2)
    np.testing.assert_array_equal(pool.predict_proba(X)[:, 2], plain.predict_proba(X)[:, 0])
    assert plain.n_warnings.tolist() == [0]


def test_new_experts_classes_and_features_come_to_a_watched_pool():
    pool, (X, y, _) = watched(), drifting(size(2000), seed=5)
    before = pool.predict_proba(X[:50])
    wide = np.column_stack([X, X[:, 0]])
    pool.learn(wide[:1], [4], np.zeros((1, 5)), n_experts=5)
    np.testing.assert_array_equal(pool.predict_proba(X[:50])[:, :3, :3], before)
    proba = pool.step(wide, y)
    assert proba.shape == (len(y), 5, 5)
    fresh = TreePool(1, warning_delta=0.5, drift_delta=0.1, **EAGER)
    np.testing.assert_allclose(proba[:, 4, :3], fresh.step(wide, y)[:, 0], atol=1e-12)


def test_background_trees_are_there_with_monitors_alone_and_counted():
    X, y, _ = drifting(500)
    plain, drift_only, both = (TreePool(4, **monitors) for monitors in ({}, {"drift_delta": 0.01}, MONITORS))
    for pool in (plain, drift_only, both):
        pool.learn(X, y)
        assert pool.predict_proba(X[0]).shape == (4, 3)
    assert len(plain._storage.nodes) == len(drift_only._storage.nodes) == 4
    assert len(both._storage.nodes) == 8
    of_four_leaves = 4 * plain._storage.moments[0].nbytes
    assert plain.n_bytes + 8 * adwin.WINDOW.itemsize <= drift_only.n_bytes < both.n_bytes - of_four_leaves


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warning_delta": 0.1}, "without drift_delta"),
        ({"drift_delta": 1.0}, "drift_delta=1.0"),
        ({"drift_delta": 0.1, "warning_delta": 0.0}, "warning_delta=0.0"),
    ],
)
def test_risks_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TreePool(**arguments)


def test_background_without_a_tree_holds_no_room_for_splits_into_many_values():
    rng = np.random.default_rng(2)
    values = rng.integers(0, 100, size=(600, 1)).astype(float)
    targets = (values[:, 0] % 3).astype(int)
    plain, watched = (
        TreePool(4, nominal=[0], grace_period=50, delta=0.05, **monitors)
        for monitors in ({}, {"warning_delta": 1e-9, "drift_delta": 1e-9})
    )
    for pool in (plain, watched):
        for start in range(0, 600, 100):
            pool.learn(values[start : start + 100], targets[start : start + 100])
    assert not watched.has_background.any()
    assert watched.n_leaves.tolist() == plain.n_leaves.tolist()
    assert watched.n_leaves[0] > 50
    assert watched.n_bytes < 1.3 * plain.n_bytes


def test_a_tree_is_as_new_after_a_reset_also_where_a_background_had_taken_its_place():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 6))
    y = (X[:, 0] > 0).astype(np.int64)
    late = np.where(np.arange(6000) < 3000, y, 1 - y)
    options = {
        "grace_period": 50,
        "delta": 0.05,
        "seed": 7,
        "max_features": 2,
        "warning_delta": 0.05,
        "drift_delta": 0.01,
    }
    used, new = (TreePool(1, **options) for _ in range(2))
    used.learn(X[:3500], late[:3500])
    assert used.n_replaced.sum() % 2 == 1
    used.reset(0)
    for pool in (used, new):
        pool.learn(X[:2000], y[:2000])
    np.testing.assert_array_equal(used.predict_proba(X[:50]), new.predict_proba(X[:50]))


@given(
    seed=st.integers(0, 10**6),
    n_values=st.integers(2, 40),
    max_nodes=st.sampled_from([None, 30, 200]),
    delta=st.sampled_from([0.3, 0.9]),
    size=st.integers(1, 120),
)
@settings(max_examples=40, deadline=None)
def test_room_made_for_a_block_is_enough_whatever_comes(seed, n_values, max_nodes, delta, size):
    """Trees that split early into many values and are replaced often, in blocks as row by row: else `step` raises."""
    rng = np.random.default_rng(seed)
    n, n_experts = 360, 3
    X = np.column_stack([rng.integers(0, 2 + np.arange(n) * n_values // n), rng.normal(size=n)]).astype(float)
    y = (X[:, 0].astype(int) + np.arange(n) // 60) % 3
    weights = rng.choice([0.0, 1.0, 3.0, 30.0], (n, n_experts))
    options = {
        "nominal": [0], "grace_period": 10, "delta": 0.5, "tau": 0.5, "max_nodes": max_nodes, "seed": 1,
        "warning_delta": delta, "drift_delta": delta,
    }  # fmt: skip
    in_blocks, by_row = (TreePool(n_experts, **options) for _ in range(2))
    for start in range(0, n, size):
        rows = slice(start, start + size)
        in_blocks.learn(X[rows], y[rows], weights=weights[rows])
    for i in range(n):
        by_row.learn(X[i : i + 1], y[i : i + 1], weights=weights[i : i + 1])
    assert in_blocks.n_replaced.tolist() == by_row.n_replaced.tolist()
    assert [in_blocks.describe(e) for e in range(n_experts)] == [by_row.describe(e) for e in range(n_experts)]
