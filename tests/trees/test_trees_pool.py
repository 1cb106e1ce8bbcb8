"""What a pool of trees promises: invariants, blocks and rows alike, independent experts, threads, bounds, growth."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import EAGER, IS_COMPILED, MIXED_NOMINAL, grown, mixed, size, state, view

from driftmoe.trees import TreePool, grow
from driftmoe.trees.nodes import LEAF, N_FREE, N_LEAVES, N_NODES, NONE, NUMERIC
from driftmoe.trees.storage import ARRAYS


def test_predicting_changes_nothing():
    pool = grown()
    before = state(pool)
    X, _, _ = mixed(50, seed=9)
    X[:, 3] = 7.0  # a value never seen
    pool.predict_proba(X)
    assert state(pool) == before


@given(seed=st.integers(0, 10_000), p_missing=st.sampled_from([0.0, 0.2]), binary=st.booleans())
@settings(deadline=None, max_examples=15 if IS_COMPILED else 3)
def test_invariants_of_a_grown_pool(seed, p_missing, binary):
    X, y, _ = mixed(size(1200), seed=seed, p_missing=p_missing)
    weights = np.random.default_rng(seed).poisson(1.0, size=(len(y), 4)).astype(float)
    pool = TreePool(4, nominal=MIXED_NOMINAL, binary_split=binary, **EAGER)
    proba = pool.step(X, y, weights)
    sums = proba.sum(axis=2)
    assert ((np.abs(sums - 1.0) < 1e-9) | (sums == 0.0)).all()
    assert (proba >= 0.0).all()
    for e in range(4):
        nodes, slots = pool._storage.nodes_of(e), pool._storage.slots_of(e)
        children = np.arange(1, pool.n_nodes[e])
        assert (nodes["parent"][1:] < children).all()
        assert (nodes["depth"][1:] == nodes["depth"][nodes["parent"][1:]] + 1).all()
        assert len(slots) == pool.n_leaves[e]
        assert (pool._storage.leaves["node"][slots] == np.flatnonzero(nodes["kind"] == LEAF)).all()
        np.testing.assert_allclose(
            pool._storage.leaves["weight"][slots], pool._storage.class_stats[slots, 0].sum(axis=1)
        )
    held = [pool._storage.free[e, :n] for e, n in enumerate(pool._storage.sizes[:, N_FREE])]
    everyone = np.concatenate([pool._storage.spare, *held, *map(pool._storage.slots_of, range(4))])
    assert sorted(everyone) == list(range(len(pool._storage.leaves)))
    if p_missing == 0.0:
        lost = weights.sum(axis=0) - pool.weight_seen
        assert (lost > -1e-6).all()


def test_weights_at_the_leaves_of_one_split_add_up_to_the_weight_seen():
    X, y, weights = mixed(size(1500), p_missing=0.0)
    pool = TreePool(max_nodes=3, **EAGER)
    pool.learn(X, y, weights)
    assert pool.n_nodes[0] == 3
    np.testing.assert_allclose(pool.weight_seen, weights.sum(axis=0))


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_blocks_equal_row_by_row_bit_for_bit(rows):
    X, y, _ = mixed(size(1000))
    weights = np.random.default_rng(3).poisson(1.0, size=(len(y), 3)).astype(float)
    whole, parts, one = (TreePool(3, nominal=MIXED_NOMINAL, **EAGER) for _ in range(3))
    expected = whole.step(X, y, weights)
    got = np.concatenate([
        parts.step(X[i : i + rows], np.minimum(y[i : i + rows], 2), weights[i : i + rows])
        if i else np.pad(parts.step(X[:rows], y[:rows], weights[:rows]), ((0, 0), (0, 0), (0, 2 - y[:rows].max())))
        for i in range(0, len(y), rows)
    ]) if rows > 1 else None  # fmt: skip
    if got is not None:
        np.testing.assert_array_equal(got, expected)
    else:
        for i in range(len(y)):
            proba = one.predict_proba(X[i]) if i else np.zeros((3, 0))
            np.testing.assert_array_equal(proba, expected[i, :, : proba.shape[1]])
            one.learn(X[i], y[i], weights[i])
        parts = one
    for e in range(3):
        for f in MIXED_NOMINAL:
            a, b = (
                of.value_stats[of.slots_of(e), :, of.value_start[f] :, :3][:, :, : of.n_values[f]]
                for of in (whole._storage, parts._storage)
            )
            assert a.tobytes() == b.tobytes()
        a, b = whole.clone(e)._storage, parts.clone(e)._storage  # their slots are in the same order
        np.testing.assert_array_equal(a.nodes_of(0), b.nodes_of(0))
        for name in ("leaves", "class_stats", "moments", "arrivals"):
            of_a, of_b = getattr(a, name), getattr(b, name)
            common = tuple(map(slice, np.minimum(of_a.shape, of_b.shape)))
            assert len(of_a) == len(of_b)
            np.testing.assert_array_equal(of_a[common], of_b[common], err_msg=name)


def test_only_the_expert_that_learns_changes():
    pool = grown(3)
    before = [state(pool, e) for e in range(3)]
    X, y, _ = mixed(40, seed=8)
    pool.learn(X, y, np.tile([0.0, 2.0, 0.0], (40, 1)))
    after = [state(pool, e) for e in range(3)]
    assert after[0] == before[0]
    assert after[2] == before[2]
    assert after[1] != before[1]


def test_expert_in_a_pool_equals_a_pool_of_its_own():
    X, y, _ = mixed(size(1000))
    weights = np.random.default_rng(3).poisson(1.0, size=(len(y), 5)).astype(float)
    together = TreePool(5, nominal=MIXED_NOMINAL, **EAGER).step(X, y, weights)
    for e in range(5):
        alone = TreePool(1, nominal=MIXED_NOMINAL, **EAGER).step(X, y, weights[:, e : e + 1])
        np.testing.assert_array_equal(together[:, e], alone[:, 0])


def test_each_tree_may_have_its_own_delta_and_features():
    X, y, _ = mixed(size(1500))
    careful = EAGER | {"delta": 1e-9}
    mixed_pool = TreePool(3, nominal=MIXED_NOMINAL, seed=1, **EAGER | {
        "delta": [EAGER["delta"], 1e-9, 1e-9], "max_features": [None, None, 0.4]
    })  # fmt: skip
    together = mixed_pool.step(X, y)
    alike = [TreePool(3, nominal=MIXED_NOMINAL, seed=1, **settings).step(X, y)
             for settings in (EAGER, careful, careful | {"max_features": 0.4})]  # fmt: skip
    for e, alone in enumerate(alike):
        np.testing.assert_array_equal(together[:, e], alone[:, e])
    if IS_COMPILED:
        assert not np.array_equal(together[:, 0], together[:, 1])
        assert not np.array_equal(together[:, 1], together[:, 2])
    copied = mixed_pool.clone(1)
    np.testing.assert_array_equal(copied.step(X, y)[:, 0], mixed_pool.step(X, y)[:, 1])


def test_trees_with_settings_of_their_own_stay_as_many_as_they_are():
    pool = TreePool(2, delta=[0.1, 0.2])
    with pytest.raises(ValueError, match="n_experts=3 but there are settings for 2 trees"):
        pool.learn(np.zeros(2), 0, n_experts=3)


def test_each_expert_may_have_its_own_target():
    X, y, _ = mixed(size(800))
    of_each = (y[:, np.newaxis] == np.arange(3)).astype(int)  # one against the rest
    together = TreePool(3, nominal=MIXED_NOMINAL, **EAGER)
    proba = together.step(X[:-1], of_each[:-1])
    together.learn(X[-1], of_each[-1])
    for e in range(3):
        alone = TreePool(1, nominal=MIXED_NOMINAL, **EAGER)
        np.testing.assert_array_equal(alone.step(X[:-1], of_each[:-1, e])[:, 0], proba[:, e])
        alone.learn(X[-1], of_each[-1, e])
        np.testing.assert_array_equal(alone.predict_proba(X)[:, 0], together.predict_proba(X)[:, e])


@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_result_does_not_depend_on_the_number_of_threads(n_threads, monkeypatch):
    monkeypatch.setattr("driftmoe.trees.planning.MIN_SHARED", 2)
    X, y, _ = mixed(size(2000))
    weights = np.random.default_rng(3).poisson([0.0, 0.3, 1.0, 6.0, 1.0], size=(len(y), 5)).astype(float)
    one = TreePool(5, nominal=MIXED_NOMINAL, **EAGER)
    many = TreePool(5, nominal=MIXED_NOMINAL, n_threads=n_threads, **EAGER)
    for rows in np.array_split(np.arange(len(y)), 7):
        np.testing.assert_array_equal(
            many.step(X[rows], y[rows], weights[rows]), one.step(X[rows], y[rows], weights[rows])
        )
    assert state(many) == state(one)
    for copied in (copy.deepcopy(many), pickle.loads(pickle.dumps(many)), many):
        np.testing.assert_array_equal(copied.predict_proba(X), one.predict_proba(X))
    assert not IS_COMPILED or (many.n_nodes[2:] > 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_serve_a_forked_process_too(monkeypatch):
    monkeypatch.setattr("driftmoe.trees.planning.MIN_SHARED", 2)
    X, y, _ = mixed(50)
    pool = TreePool(4, nominal=MIXED_NOMINAL, n_threads=2, **EAGER)
    pool.learn(X, y)  # the threads of this process are there
    with multiprocessing.get_context("fork").Pool(1) as workers:
        proba = workers.apply_async(pool.predict_proba, (X,)).get(timeout=60)
    np.testing.assert_array_equal(proba, pool.predict_proba(X))


@pytest.mark.parametrize("max_nodes", [1, 4, 15])
def test_max_nodes_holds(max_nodes):
    pool = grown(2, n_samples=4000, max_nodes=max_nodes)
    assert (pool.n_nodes <= max_nodes).all()
    n_bytes = pool.n_bytes
    X, y, _ = mixed(size(3000), seed=4)
    X[:, 3] += np.arange(len(y)) // 100 % 40  # ever new values
    pool.learn(X, y)
    n_bytes_later = pool.n_bytes
    pool.learn(X, y)
    assert (pool.n_nodes <= max_nodes).all()
    assert pool.n_bytes == n_bytes_later
    assert n_bytes <= n_bytes_later


def test_leaves_that_promise_least_stop_growing_first():
    pool = TreePool()
    pool._storage.resize(nodes=8, slots=8, classes=2, features=1)
    pool._storage.sizes[0, [N_NODES, N_LEAVES]] = 5, 3
    pool._storage.nodes[0, :5]["kind"] = [NUMERIC, LEAF, NUMERIC, LEAF, LEAF]
    pool._storage.nodes[0, :5]["slot"] = [NONE, 0, NONE, 1, 2]
    pool._storage.leaves[:3]["is_active"] = 1
    pool._storage.leaves[:3]["promise"] = 10.0, 50.0, 1.0
    for room, expected in [(0, [0, 0, 0]), (1, [0, 0, 0]), (2, [0, 1, 0]), (4, [1, 1, 0]), (6, [1, 1, 1])]:
        pool._storage.rules["max_nodes"] = 5 + room
        assert [grow.may_grow(view(pool), s, pool._storage.rules[0]) for s in range(3)] == list(
            map(bool, expected)
        )
    pool._storage.rules["max_nodes"] = 7
    pool._storage.leaves[1]["is_active"] = 0  # it is too deep, and does not stand in the way
    assert grow.may_grow(view(pool), 0, pool._storage.rules[0])


@pytest.mark.parametrize("nominal", [(), MIXED_NOMINAL])
@pytest.mark.parametrize("max_nodes", [1, 2, 9, 100])
def test_there_is_never_room_for_more_than_the_bound(nominal, max_nodes):
    X, y, _ = mixed(size(4000))
    pool = TreePool(2, nominal=nominal, max_nodes=max_nodes, warning_delta=0.3, drift_delta=0.2, **EAGER)
    pool.learn(X, y)
    assert pool._storage.nodes.shape[1] <= max_nodes
    max_leaves = max_nodes if nominal or max_nodes < 4 else (max_nodes + 1) // 2
    assert len(pool._storage.leaves) <= 4 * max_leaves  # two trees in the background


def test_bound_on_the_nodes_changes_nothing_before_half_of_it_is_reached():
    X, y, _ = mixed(size(2000))
    free = TreePool(nominal=MIXED_NOMINAL, **EAGER)
    expected = free.step(X, y)
    bounded = TreePool(nominal=MIXED_NOMINAL, max_nodes=2 * int(free.n_nodes[0]) + 1, **EAGER)
    np.testing.assert_array_equal(bounded.step(X, y), expected)


@pytest.mark.skipif(IS_COMPILED, reason="only calls of functions that are not compiled can be counted")
def test_leaf_that_may_not_grow_looks_for_no_split(monkeypatch):
    calls = []
    best_split = grow.best_split

    def counted(tree, slot, *others):
        calls.append(slot)
        return best_split(tree, slot, *others)

    monkeypatch.setattr(grow, "best_split", counted)
    X, y, _ = mixed(900, p_missing=0.0)
    pool = TreePool(max_nodes=4, grace_period=10, delta=0.3, tau=0.3)
    pool.learn(X[:450, :3], y[:450])
    assert calls
    assert pool.n_nodes[0] == 3
    calls.clear()
    pool.learn(X[450:, :3], y[450:])
    assert not calls
    wide = TreePool(nominal=[0], max_nodes=4, grace_period=10, delta=0.3, tau=0.3)
    wide.learn(
        (y % 3 + 3 * (np.arange(900) % 2))[:, np.newaxis], y
    )  # six branches at once, for which there is no room
    assert wide.n_nodes[0] == 1
    assert wide._storage.leaves["last_attempt"][wide._storage.slots_of(0)] == np.inf
    assert len(calls) < 10


def test_new_features_and_classes_equal_missing_ones_from_the_start():
    X, y, _ = mixed(size(1500), p_missing=0.0)
    third = len(y) // 3
    X[:third, 2:] = np.nan
    X[: 2 * third, 4:] = np.nan
    y[:third] %= 2
    known = TreePool(nominal=MIXED_NOMINAL, **EAGER)
    expected = known.step(X, y)
    growing = TreePool(nominal=MIXED_NOMINAL, **EAGER)
    for start, columns in ((0, 2), (third, 4), (2 * third, 5)):
        rows = slice(start, start + third)
        got = growing.step(np.ascontiguousarray(X[rows, :columns]), y[rows])
        np.testing.assert_allclose(got, expected[rows, :, : got.shape[2]], rtol=0.0, atol=1e-12)


def test_new_experts_start_empty():
    pool = grown(2)
    X, y, _ = mixed(20, seed=3)
    proba = pool.step(X, y, n_experts=4)
    assert proba.shape == (20, 4, 3)
    assert (proba[0, 2:] == 0.0).all()
    assert (proba[-1, 2:].sum(axis=1) > 0.0).all()


def test_short_vector_lacks_the_last_features():
    pool = grown(1)
    x = mixed(1, seed=2, p_missing=0.0)[0][0]
    full = x.copy()
    full[3:] = np.nan
    np.testing.assert_array_equal(pool.predict_proba(x[:3]), pool.predict_proba(full))
    np.testing.assert_array_equal(pool.predict_proba([*x, 5.0]), pool.predict_proba(x))


def test_n_bytes_counts_every_array():
    pool = grown(2)
    assert pool.n_bytes > pool._storage.moments[: pool.n_leaves.sum()].nbytes
    assert TreePool(1).n_bytes < pool.n_bytes


def test_a_leaf_takes_the_memory_that_the_class_says():
    def of_a_leaf(n_features, n_values, n_classes):
        pool = TreePool(1, nominal=[0])
        X = np.zeros((n_values, n_features))
        X[:, 0] = range(n_values)
        pool.learn(X, np.arange(n_values) % n_classes)
        of_slots = [array.name for array in ARRAYS if array.axes[0] == "slots"]
        return sum(getattr(pool._storage, name)[0].nbytes for name in of_slots)

    for n_classes in (2, 10):
        assert of_a_leaf(1, 256, n_classes) - of_a_leaf(1, 56, n_classes) == 16 * 200 * n_classes
        assert of_a_leaf(8, 10, n_classes) - of_a_leaf(3, 10, n_classes) == (52 * n_classes + 4) * 5
