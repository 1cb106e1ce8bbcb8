"""The trees: equal to river's, to a readable twin, to themselves by another way; and what a pool promises."""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference.trees import HoeffdingTree, Split
from river import checks, datasets, tree
from river.tree.nodes import htc_nodes

import driftmoe
import streams
from driftmoe.trees import HoeffdingTreeClassifier, TreePool, grow, leaf, split
from driftmoe.trees.nodes import (
    GINI,
    HELLINGER,
    INFO_GAIN,
    LEAF,
    N_FREE,
    N_LEAVES,
    N_NODES,
    NONE,
    NUMERIC,
    RULES,
    Tree,
)
from driftmoe.trees.storage import ARRAYS, as_tree_arguments
from streams.wrappers import MissingValues

IS_COMPILED = not numba.config.DISABLE_JIT
EAGER = {"grace_period": 30, "delta": 0.05}


def size(n):
    return n if IS_COMPILED else max(300, n // 40)


@pytest.fixture
def naive_sum(monkeypatch):
    """From Python 3.12 on `sum` corrects its rounding; river's trees then attempt some splits one sample earlier."""

    def add_up(values, start=0):
        for value in values:
            start += value
        return start

    monkeypatch.setattr(htc_nodes, "sum", add_up, raising=False)


def mixed(n_samples, seed=1, n_classes=3, p_missing=0.1):
    """Three numbers and two nominal features, which tell the classes apart, with gaps; and weights from 0 to 5."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_samples)
    X = np.column_stack([
        rng.normal(y, 1.0),
        rng.normal(size=n_samples),
        rng.normal((y == 1) * 2.0, 0.5 + y),
        (y + rng.integers(3, size=n_samples)) % 5,
        rng.integers(2, size=n_samples),
    ])  # fmt: skip
    X[rng.random(X.shape) < p_missing] = np.nan
    return X, y, rng.poisson(1.0, size=(n_samples, 1)).astype(float)


MIXED_NOMINAL = (3, 4)


def grown(n_experts=3, n_samples=1500, **arguments):
    X, y, _ = mixed(size(n_samples))
    pool = TreePool(n_experts, nominal=MIXED_NOMINAL, **(EAGER | arguments))
    pool.learn(X, y, np.random.default_rng(5).poisson(1.5, size=(len(y), n_experts)))
    return pool


def state(pool, expert=None):
    """What the arrays of a pool, or of one tree in it, hold, as bytes; not the room for growth."""
    if expert is not None:
        pool = pool.clone(expert)
    storage = pool._storage
    arrays = {name: v for name, v in vars(storage).items() if isinstance(v, np.ndarray)}
    arrays["nodes"] = storage.nodes[:, : storage.sizes[:, N_NODES].max()]
    return {name: v.tolist() if v.dtype.names else v.tobytes() for name, v in arrays.items()}


# --- equal to river ---------------------------------------------------------------------------------------------------


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


# --- different from river on purpose ----------------------------------------------------------------------------------


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


def test_predicting_changes_nothing():
    pool = grown()
    before = state(pool)
    X, _, _ = mixed(50, seed=9)
    X[:, 3] = 7.0  # a value never seen
    pool.predict_proba(X)
    assert state(pool) == before


def test_sample_of_weight_zero_is_not_seen():
    model = HoeffdingTreeClassifier()
    model.learn_one({"a": 1.0}, "yes")
    before = state(model._pool)
    model.learn_one({"a": 1e9, "b": 2.0}, "no", w=0.0)
    assert model.predict_proba_one({"a": 1.0}) == {"yes": 1.0}
    assert state(model._pool) == before


def test_density_too_narrow_for_a_float_counts_as_none():
    pool = TreePool(leaf_prediction="nb")
    pool.learn([[0.0], [1e-160], [0.0], [5.0], [6.0]], [0, 0, 0, 1, 1])
    proba = pool.predict_proba([[0.0], [1e100], [-1e100]])
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=2), 1.0)


# --- equal to the readable twin ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf_prediction", ["mc", "nb", "nba"])
@pytest.mark.parametrize("split_criterion", ["info_gain", "gini", "hellinger"])
@pytest.mark.parametrize("binary_split", [False, True])
def test_same_probabilities_as_the_twin(leaf_prediction, split_criterion, binary_split):
    arguments = EAGER | {
        "leaf_prediction": leaf_prediction, "split_criterion": split_criterion, "binary_split": binary_split,
    }  # fmt: skip
    X, y, weights = mixed(size(1500))
    pool = TreePool(nominal=MIXED_NOMINAL, **arguments)
    comp = pool.step(X, y, weights)[:, 0]
    twin = HoeffdingTree(3, MIXED_NOMINAL, **arguments)
    ref = np.empty_like(comp)
    for t, (row, target, w) in enumerate(zip(X.tolist(), y.tolist(), weights[:, 0].tolist(), strict=True)):
        x = [None if value != value else value for value in row]
        ref[t] = twin.predict_proba(x)
        twin.learn(x, target, w)
    np.testing.assert_allclose(comp, ref, rtol=0.0, atol=1e-9)
    assert not IS_COMPILED or isinstance(twin.root, Split)


def test_unseen_value_opens_a_branch_as_in_the_twin():
    X, y, weights = mixed(size(2000), p_missing=0.05)
    late = np.arange(len(y)) > len(y) * 0.7
    X[late & (X[:, 3] == 4), 3] = 6.0
    early_only = ~late & (X[:, 3] == 4)
    X[early_only, 3] = 0.0
    X[:, [0, 2]] *= 0.0  # leave the nominal features to tell the classes apart
    pool = TreePool(nominal=MIXED_NOMINAL, **EAGER)
    comp = pool.step(X, y, weights)[:, 0]
    twin = HoeffdingTree(3, MIXED_NOMINAL, **EAGER)
    for t, (row, target, w) in enumerate(zip(X.tolist(), y.tolist(), weights[:, 0].tolist(), strict=True)):
        x = [None if value != value else value for value in row]
        np.testing.assert_allclose(comp[t], twin.predict_proba(x), rtol=0.0, atol=1e-9)
        twin.learn(x, target, w)
    assert 6.0 in twin.root.values
    assert "feature 3 = 6" in pool.describe()


# --- compiled equals not compiled -------------------------------------------------------------------------------------

MEDIUM = st.floats(-1e6, 1e6)
N_FEATURES = st.integers(1, 11)


def python(function):
    return getattr(function, "py_func", function)


@given(data=st.data(), n=N_FEATURES)
@settings(deadline=None, max_examples=50)
def test_distance_and_normaliser_compiled_equal_python(data, n):
    x, mean = (data.draw(hnp.arrays(float, n, elements=MEDIUM)) for _ in range(2))
    precision = data.draw(
        hnp.arrays(float, n, elements=st.sampled_from([0.0, 1e-150, 1e-3, 0.7, 2.5, 1e90, 1e150]))
    )
    gaps = np.where(data.draw(hnp.arrays(bool, n)), np.nan, x)
    for function, values in ((leaf.distance, x), (leaf.known_distance, gaps)):  # sums run in any order
        expected = python(function)(values, mean, precision)
        assert function(values, mean, precision) == pytest.approx(expected, rel=1e-12)
    expected = sum(0.5 * np.log(p / np.pi) for p, v in zip(precision, gaps, strict=True) if p > 0 and v == v)
    for function in (leaf.log_normaliser, python(leaf.log_normaliser)):
        assert function(precision, gaps) == pytest.approx(expected, abs=1e-9)


@given(
    branches=hnp.arrays(float, (2, 3), elements=st.one_of(st.just(-1.0), st.floats(0.0, 1e4))),
    criterion=st.sampled_from([INFO_GAIN, GINI, HELLINGER]),
)
@settings(deadline=None, max_examples=100)
def test_merit_compiled_equals_python_and_river(branches, criterion):
    rules = np.zeros(1, RULES)
    rules["criterion"], rules["min_branch_fraction"] = criterion, 0.01
    order = np.array([2, 0, 1], np.int32)
    comp = split.split_merit(branches, order, 1.5, rules[0], np.empty(3))
    assert comp == pytest.approx(
        python(split.split_merit)(branches, order, 1.5, rules[0], np.empty(3)), rel=1e-12, abs=1e-12
    )
    total = np.maximum(branches, 0.0).sum()
    if total > 0.0 and criterion != HELLINGER:
        name = {INFO_GAIN: "InfoGainSplitCriterion", GINI: "GiniSplitCriterion"}[criterion]
        dists = [{c: row[c] for c in order.tolist() if row[c] >= 0.0} for row in branches.tolist()]
        rivers = getattr(tree.split_criterion, name)(0.01).merit_of_split({0: 1.0}, dists)
        offset = 1.5 if criterion == INFO_GAIN else 0.0
        assert comp == pytest.approx(rivers + offset, rel=1e-9, abs=1e-9)


def test_hoeffding_bound_worked_out_by_hand():
    assert split.hoeffding_bound(2.0, np.log(1e7), 200.0) == pytest.approx(0.401474, abs=1e-6)


# --- invariants -------------------------------------------------------------------------------------------------------


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

    def counted(tree, slot, rules):
        calls.append(slot)
        return best_split(tree, slot, rules)

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


# --- subsets of the features ------------------------------------------------------------------------------------------


def splits(pool, expert=0):
    """Features that a tree splits on."""
    nodes = pool._storage.nodes[expert, : pool.n_nodes[expert]]
    return set(nodes["feature"][nodes["kind"] != LEAF].tolist())


def view(pool, expert=0):
    """A tree as the kernels take it."""
    arguments = zip(ARRAYS[: len(Tree._fields)], as_tree_arguments(pool._storage), strict=True)
    return Tree(*(values[expert] if array.axes[0] == "trees" else values for array, values in arguments))


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


# --- one tree of a pool -----------------------------------------------------------------------------------------------


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


# --- growing ----------------------------------------------------------------------------------------------------------


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


# --- a picture --------------------------------------------------------------------------------------------------------


@pytest.fixture
def figure():
    mpl.use("agg")
    yield plt.figure(figsize=(8, 8))
    plt.close("all")


def texts(ax):
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.texts]


def test_drawing_shows_every_branch_and_leaf(figure):
    pool = grown(2, n_samples=3000)
    names = {"features": list("abcde"), "classes": ["red", "green", "blue"]}
    ax = pool.draw(1, **names, ax=figure.add_subplot())
    shown = texts(ax)
    assert ax.figure is figure
    leaves = [text for text in shown if "%" in text]
    assert len(leaves) == pool.n_leaves[1]
    assert all(text.split()[0] in names["classes"] for text in leaves)
    assert len(ax.lines) == pool.n_nodes[1] - 1
    for line in pool.describe(1, **names).splitlines():
        *_, before, test, value = ["", "", "", *line.split()]
        if "weight" not in line:
            assert f"{test} {value}" in shown
            assert before in shown
    heights = [text.get_position()[1] for text in ax.texts if "%" in text.get_text()]
    assert len(set(heights)) == len(heights)  # no leaf hides another


def test_drawing_stops_at_the_depth_asked_for(figure):
    pool = grown(1, n_samples=3000)
    shown = texts(pool.draw(max_depth=0))
    assert shown == ([f"... {pool.n_leaves[0]} leaves"] if pool.depth[0] else shown)
    n_branches = sum(not line.startswith("|") for line in pool.describe().splitlines())
    assert len(pool.draw(max_depth=1, ax=figure.add_subplot()).lines) == n_branches
    with pytest.raises(ValueError, match="max_depth=-1"):
        pool.draw(max_depth=-1)
    with pytest.raises(ValueError, match="expert 1"):
        pool.draw(1)


def test_drawing_of_the_estimator_has_its_names(figure):
    model = HoeffdingTreeClassifier(**EAGER)
    assert texts(model.draw(ax=figure.add_subplot())) == ["nothing seen"]
    for x, y in nominal_samples(size(3000)):
        model.learn_one(x, y)
    shown = texts(model.draw())
    assert len([text for text in shown if text.split()[0] in "xyz" and "%" in text]) == model.n_leaves
    if IS_COMPILED:
        assert {"a", "c"} & set(shown) or {"d", "e"} & set(shown)


# --- the estimator ----------------------------------------------------------------------------------------------------


def test_classifier_passes_river_with_no_check_skipped():
    model = HoeffdingTreeClassifier()
    assert model._unit_test_skips() == set()
    checks.check_estimator(model)


@pytest.mark.parametrize("dataset", [datasets.Phishing, datasets.ImageSegments])
def test_classifier_equals_rivers_on_dictionaries(dataset, naive_sum):
    ours, theirs = HoeffdingTreeClassifier(**EAGER), tree.HoeffdingTreeClassifier(**EAGER)
    for x, y in dataset().take(size(2000)):
        x = dict(sorted(x.items()))
        expected = theirs.predict_proba_one(x)
        assert ours.predict_proba_one(x) == pytest.approx(expected, abs=1e-9)
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
    assert ours.n_nodes == (theirs.n_nodes or 1)


def nominal_samples(n_samples):
    X, y, _ = mixed(n_samples)
    for row, target in zip(X.tolist(), y.tolist(), strict=True):
        x = dict(zip("abc", row[:3], strict=True))
        x |= {
            name: value if value != value else f"v{value:.0f}"
            for name, value in zip("de", row[3:], strict=True)
        }
        yield {name: value for name, value in x.items() if value == value}, "xyz"[target]


def test_classifier_takes_text_and_gaps_as_river_does(naive_sum):
    ours, theirs = (
        kind(binary_split=True, **EAGER) for kind in (HoeffdingTreeClassifier, tree.HoeffdingTreeClassifier)
    )
    for x, y in nominal_samples(size(1500)):
        assert ours.predict_proba_one(x) == pytest.approx(theirs.predict_proba_one(x), abs=1e-9)
        ours.learn_one(x, y)
        theirs.learn_one(x, y)


def test_numbers_named_nominal_are_values():
    model = HoeffdingTreeClassifier(nominal_attributes=["zip"], **EAGER)
    rng = np.random.default_rng(1)
    for z in rng.integers(4, size=400).tolist():
        model.learn_one({"zip": 1000 + z}, z in (0, 3))
    assert "zip = 1003" in model.describe()
    assert model.predict_one({"zip": 1003}) is True
    assert model.predict_one({"zip": 1002}) is False


def test_none_nan_and_no_key_are_one():
    model = HoeffdingTreeClassifier(**EAGER)
    for x, y in nominal_samples(400):
        model.learn_one(x, y)
    x = {"a": 1.0, "d": "v1"}
    assert (
        model.predict_proba_one(x)
        == model.predict_proba_one(x | {"b": None})
        == model.predict_proba_one(x | {"b": float("nan"), "e": None})
    )


def test_describe_names_features_values_and_classes():
    model = HoeffdingTreeClassifier(**EAGER)
    assert model.describe() == "nothing seen"
    for x, y in nominal_samples(size(3000)):
        model.learn_one(x, y)
    text = model.describe()
    leaves = [line for line in text.splitlines() if "weight" in line]
    assert len(leaves) == model.n_leaves
    assert len(text.splitlines()) == model.n_nodes - 1 + model.n_leaves
    assert all(line.split()[-4] in "xyz" for line in leaves)
    assert max(line.count("|") for line in leaves) == model.depth


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ({"a": "text"}, TypeError, "'a' is 'text', a text, but was a number"),
        ({"a": 1e200, "b": 0.0}, ValueError, "'a' is 1e"),
        ({"a": [1]}, TypeError, "allowed are numbers"),
        ([1.0], TypeError, "a dict"),
    ],
)
def test_samples_that_are_none_are_refused_by_name(x, error, message):
    model = HoeffdingTreeClassifier()
    model.learn_one({"a": 1.0, "b": 2.0}, 0)
    before = state(model._pool)
    with pytest.raises(error, match=message):
        model.learn_one(x, 1)
    with pytest.raises(error, match=message):
        model.predict_proba_one(x)
    assert state(model._pool) == before
    assert model.classes == [0]


def test_a_label_too_many_is_refused_and_leaves_no_trace(monkeypatch):
    for module in ("blocks", "hoeffding"):
        monkeypatch.setattr(f"driftmoe.trees.{module}.MAX_CLASS", 3)
    model, told = HoeffdingTreeClassifier(), HoeffdingTreeClassifier()
    for label in range(4):
        model.learn_one({"a": float(label)}, label)
        told.learn_one({"a": float(label)}, label)
    before = pickle.dumps(model)
    for x in ({"a": 1.0}, {"a": 1.0, "b": "new"}):
        with pytest.raises(ValueError, match="label 'fifth' would be class 5; a tree tells 4 apart"):
            model.learn_one(x, "fifth")
    assert pickle.dumps(model) == before
    model.learn_one({"a": 3.0, "b": "new"}, 3)
    told.learn_one({"a": 3.0, "b": "new"}, 3)
    assert model.predict_proba_one({"a": 3.0}) == told.predict_proba_one({"a": 3.0})


def test_unbounded_values_share_a_bounded_number_of_places(monkeypatch):
    monkeypatch.setattr("driftmoe.encoding.encoder.MAX_CODES", 8)
    model = HoeffdingTreeClassifier()
    for i in range(100):
        model.learn_one({"id": f"user {i}"}, i % 2)
    assert len(model._encoder._codes["id"]) == 8
    assert model._pool._storage.n_values.tolist() == [8]


# --- the code on disk -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not IS_COMPILED, reason="without compilation there is no code to keep")
def test_trees_work_where_no_compiled_code_can_be_kept(tmp_path):
    package = tmp_path / "driftmoe"
    shutil.copytree(Path(driftmoe.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    for folder in {path.parent for path in package.rglob("*.py")}:
        (folder / "__pycache__").write_text("a file where the folder would be")
    code = (
        "import sys; from driftmoe.trees import TreePool; p = TreePool(); p.learn([[1.0]], [0]);"
        "assert 'torch' not in sys.modules; print(p.predict_proba([1.0]))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "HOME": os.devnull}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    assert answer.stdout.startswith("[[1.]]")
    assert list(tmp_path.rglob("*.nb?")) == []


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


@pytest.mark.parametrize("names", ["color", iter(["id"]), 3])
def test_names_that_fall_apart_or_are_read_once_are_refused(names):
    with pytest.raises(TypeError, match="give the names of features in a list or a set"):
        HoeffdingTreeClassifier(nominal_attributes=names)


@pytest.mark.parametrize(
    "x",
    [
        {"a": np.array(1.0), "w": "red"},
        {"a": np.complex64(1j), "w": "red"},
        {"a": np.datetime64(1, "ns"), "w": "red"},
        {"a": 1.0, "w": "new", Decimal(7): 1.0},
        {"a": 1.0, "w": "new", math.nan: 1.0},
    ],
    ids=["array", "complex", "time", "decimal name", "NaN name"],
)
def test_a_sample_that_cannot_be_read_leaves_a_tree_as_it_was(x):
    tree = HoeffdingTreeClassifier()
    tree.learn_one({"a": 1.0, "w": "red"}, 0)
    before = pickle.dumps(tree)
    for call in (lambda: tree.learn_one(x, 0), lambda: tree.predict_proba_one(x)):
        with pytest.raises(TypeError, match=r"feature 'a' is .* of type|the name .* cannot be compared"):
            call()
    assert pickle.dumps(tree) == before
