"""The state of trees: a pool that takes it goes on as the one that gave it; a damaged one is refused by name."""

from __future__ import annotations

import copy
import inspect

import numba
import numpy as np
import pytest

from driftmoe.trees import HoeffdingTreeClassifier, TreePool, grow, steps
from driftmoe.trees.nodes import EQUALS, LEAF, LOG_WEIGHT, WEIGHT, Tree
from driftmoe.trees.storage import ARRAYS

IS_COMPILED = not numba.config.DISABLE_JIT
N_ROWS = 1200 if IS_COMPILED else 300

KINDS = {
    "plain": {},
    "nominal columns": {"nominal": (3, 4)},
    "binary splits": {"nominal": (3, 4), "binary_split": True},
    "bounded": {"nominal": (3, 4), "max_nodes": 9},
    "majority": {"leaf_prediction": "mc", "split_criterion": "gini"},
    "features drawn": {"nominal": (3,), "feature_subsets": 0.6, "max_features": 2, "seed": 7},
    "features drawn without a seed": {"feature_subsets": 0.6, "max_features": 0.5},
    "features given": {"feature_subsets": [[True, False, True, True, True], [False, True, True, True, True]]},
    "each its own": {"delta": [0.1, 0.05, 0.01], "max_features": [None, 2, 0.5], "seed": 1},
    "monitors": {"warning_delta": 0.5, "drift_delta": 0.3},
    "drift alone": {"nominal": (3, 4), "drift_delta": 0.3},
    "monitors and features drawn": {
        "nominal": (4,), "warning_delta": 0.5, "drift_delta": 0.3, "max_features": 2, "seed": 3, "max_nodes": 25
    },
}  # fmt: skip


def rows(n_rows=N_ROWS, seed=1):
    """Three numbers and two nominal features with gaps; what tells the classes apart changes every 150 rows."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_rows)
    told = (y + np.arange(n_rows) // 150) % 3
    X = np.column_stack([
        rng.normal(told, 0.6), rng.normal(size=n_rows), rng.normal((told == 1) * 2.0, 0.5),
        (told + rng.integers(2, size=n_rows)) % 4, rng.integers(2, size=n_rows),
    ])  # fmt: skip
    X[rng.random(X.shape) < 0.05] = np.nan
    return X, y, rng.poisson(1.5, size=(n_rows, 3)).astype(float)


def built(kind, n_experts=3):
    return TreePool(n_experts, **{"grace_period": 20, "delta": 0.1} | KINDS[kind])


def learnt(kind, n_rows=N_ROWS // 2):
    """A pool that met a second class, two columns, a third class and new values one after the other."""
    pool = built(kind)
    X, y, weights = rows()
    pool.learn(X[:40, :3], np.minimum(y[:40], 1), weights[:40])
    pool.learn(X[40:n_rows], y[40:n_rows], weights[40:n_rows])
    return pool


def frozen(state):
    return {
        name: (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }


def assert_equal_from_now_on(one, other):
    """Predict and learn block by block while columns, values, classes and, if there may be, trees are added."""
    X, y, weights = rows(seed=2)
    X = np.column_stack([X, rows(seed=3)[0]])
    X[len(X) // 2 :, 3] += 3  # new values
    y[len(y) // 2 :] += y[len(y) // 2 :] == 2  # a new class
    n_more = one.n_experts + (len(one._storage.rules) == 1)
    for i in range(0, len(y), 37):
        block = X[i : i + 37, : 5 if i < 200 else 10]
        n_experts = one.n_experts if i < 400 else n_more
        given = np.resize(weights[i : i + 37], (len(block), n_experts))
        answers = [pool.step(block, y[i : i + 37], given, n_experts=n_experts) for pool in (one, other)]
        np.testing.assert_array_equal(*answers)
    assert frozen(one.state()) == frozen(other.state())
    assert one.n_nodes.tolist() == other.n_nodes.tolist()
    assert [one.describe(e) for e in range(3)] == [other.describe(e) for e in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_pool_goes_on_as_the_one_that_gave_its_state(kind):
    pool, fresh = learnt(kind), built(kind)
    state = pool.state()
    fresh.restore(state)
    assert frozen(fresh.state()) == frozen(state) == frozen(pool.state())
    X, _, _ = rows(50, seed=4)
    np.testing.assert_array_equal(fresh.predict_proba(X), pool.predict_proba(X))
    assert_equal_from_now_on(pool, fresh)
    assert not IS_COMPILED or (pool.n_nodes > 1).any()
    assert "monitors" not in kind or not IS_COMPILED or pool.n_replaced.sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_trees_of_a_restored_pool_are_reset_cloned_and_replaced_as_those_of_the_other(kind):
    pool, fresh = learnt(kind), built(kind)
    fresh.restore(pool.state())
    for each in (pool, fresh):
        each.replace(0, each, 2)
        each.reset(1)
        each.replace(2, each.clone(0))
    assert_equal_from_now_on(pool, fresh)


def test_a_clone_of_a_tree_is_restored_with_the_draws_of_its_own():
    pool = learnt("monitors and features drawn")
    clone, other = pool.clone(2), pool.clone(0)
    other.restore(clone.state())
    for each in (clone, other):
        each.reset(0)
    X, y, weights = rows(seed=5)
    np.testing.assert_array_equal(clone.step(X, y, weights[:, :1]), other.step(X, y, weights[:, :1]))


def test_a_pool_of_nothing_has_a_state_too():
    for n_experts in (0, 2):
        pool, fresh = TreePool(n_experts, nominal=[1, 70]), TreePool(n_experts)
        fresh.restore(pool.state())
        assert fresh.state()["nominal_columns_to_come"] == [1, 70]
        X, y, _ = rows(30)
        np.testing.assert_array_equal(
            *(each.step(np.abs(X).round(), y, n_experts=2) for each in (pool, fresh))
        )


def test_the_table_of_arrays_has_the_order_in_which_the_kernels_take_them():
    step = getattr(steps.step, "py_func", steps.step)
    start_trees = getattr(grow.start_trees, "py_func", grow.start_trees)
    names = [array.name for array in ARRAYS]
    assert [name.removesuffix("_of_all") for name in inspect.signature(step).parameters][
        : len(names)
    ] == names
    *of_trees, _, _ = inspect.signature(start_trees).parameters
    assert of_trees == names[: len(of_trees)]
    assert len(of_trees) == len(Tree._fields)


def test_a_state_shares_nothing_with_its_pool():
    pool = learnt("monitors")
    state = pool.state()
    before = frozen(state)
    fresh = built("monitors")
    fresh.restore(state)
    for each in (pool, fresh):
        each.learn(*rows(seed=6))
    assert frozen(state) == before


def test_a_state_is_as_large_as_what_is_in_use():
    X, y, weights = rows()
    pool = built("nominal columns")
    pool.learn(X, y, weights)
    state = pool.state()
    n_leaves = int(pool.n_leaves.sum())
    assert state["nodes"].shape == (pool.n_nodes.sum(),)
    assert state["class_stats"].shape == (n_leaves, 3, 3)
    assert state["feature_moments"].shape == (n_leaves, 6, 3, 5)
    assert state["value_stats"].shape == (n_leaves, 2, 4 + 2, 3)
    assert state["n_values"].tolist() == [0, 0, 0, 4, 2]


def test_room_that_an_earlier_tree_has_left_is_no_part_of_a_state():
    """A tree is grown and reset; what it left in nodes and slots shows in no state of the tree that comes after."""
    X, y, weights = rows()
    pool, fresh = built("nominal columns"), built("nominal columns")
    for each in (pool, fresh):
        each.learn(X[:300], y[:300], weights[:300])
    for e in range(3):
        pool.reset(e)
    fresh.restore(pool.state())
    for each in (pool, fresh):
        each.learn(X[300:], y[300:], weights[300:])
    assert frozen(pool.state()) == frozen(fresh.state())


def test_the_same_state_comes_of_blocks_and_of_single_rows():
    X, y, weights = rows(400)
    one, many = built("nominal columns"), built("nominal columns")
    many.learn(X, y, weights)
    for i in range(len(y)):
        one.learn(X[i], y[i], weights[i], n_experts=3)
    assert frozen(one.state()) == frozen(many.state())


# --- refusals ---------------------------------------------------------------------------------------------------------


def changed(name, entry):
    return lambda state: (
        state | {name: entry(state[name].copy() if hasattr(state[name], "copy") else state[name])}
    )


def first(values, field, value):
    values[field][0] = value
    return values


def at(values, place, value):
    values[place] = value
    return values


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("feature_moments"), "the state of TreePool lacks 'feature_moments'"),
        (lambda state: state | {"colour": 3}, "has unknown 'colour'"),
        (changed("n_classes", lambda n: -1), "'n_classes' in the state of TreePool is -1; it must be"),
        (changed("n_features", float), "'n_features' .* is of type float; it must be of type int"),
        (changed("n_classes", lambda n: n + 1), "'class_stats' .* of shape .*; it must be"),
        (changed("seed_entropy", lambda _: 3),
         "'seed_entropy' .* is 3; this pool draws no features: restore what state"),
        (changed("nominal_columns_to_come", lambda _: [0.5]),
         r"'nominal_columns_to_come' .* is \[0.5\]; it must have indices"),
        (changed("feature_moments", lambda a: a.astype(np.float32)),
         "'feature_moments' .* is float32 of shape .*; it must be float64"),
        (changed("feature_moments", lambda a: a.tolist()), "'feature_moments' .* is of type list; it must be an array"),
        (changed("nodes", lambda a: a["kind"]), "'nodes' .* is int32 of shape .*; it must be records of int32 kind"),
        (changed("leaves", lambda a: a[:-1]), "'leaves' .* of shape .*; it must be"),
        (changed("sees_feature", lambda a: a[:, :-1]), "'sees_feature' .* of shape .*; it must be"),
        (changed("expert_trees", lambda a: a[:2]), "'n_nodes' .* of shape .*; it must be"),
        (changed("n_nodes", lambda a: at(a, 0, 0)), "'nodes' .* of shape .*; it must be"),
        (changed("nodes", lambda a: first(a, "kind", 9)), "'nodes' .* has entries out of range"),
        (changed("nodes", lambda a: first(a, "first_child", 0)), "'nodes' .* has entries out of range"),
        (changed("nodes", lambda a: first(a, "first_child", 10**6)), "'nodes' .* has entries out of range"),
        (changed("nodes", lambda a: first(a, "next_sibling", 10**6)), "'nodes' .* has entries out of range"),
        (changed("nodes", lambda a: first(a, "feature", 5)), "'nodes' .* has entries out of range"),
        (changed("leaves", lambda a: first(a, "node", 0)), "'leaves' .* has entries out of range"),
        (changed("leaves", lambda a: first(a, "n_present", 4)), "'leaves' .* has entries out of range"),
        (changed("class_order", lambda a: at(a, (0, 0), 3)), "'class_order' .* has entries out of range"),
        (changed("feature_class_order", lambda a: at(a, (0, 0, 0), 4)),
         "'feature_class_order' .* has entries out of range"),
        (changed("feature_class_order", lambda a: at(a, (0, 0, 1), -1)),
         "'feature_class_order' .* has entries out of range"),
        (changed("nominal_columns", lambda a: at(a, 0, 5)), "'nominal_columns' .* has entries out of range"),
        (changed("n_values", lambda a: at(at(a, 0, 4), 3, 0)), "'n_values' .* has entries out of range"),
        (changed("expert_trees", lambda a: at(a, (0, 0), 1)), "'expert_trees' .* has entries out of range"),
        (changed("feature_class_order", lambda a: at(a, (slice(None), 3, 0), 0)),
         "'value_stats' .* has weights of a feature that the leaf has not seen"),
    ],
)  # fmt: skip
def test_a_damaged_state_is_refused_by_name_and_leaves_no_trace(damage, message):
    state = damage(learnt("nominal columns").state())
    pool = built("nominal columns")
    pool.learn(*rows(100, seed=8))
    before = frozen(pool.state())
    with pytest.raises((TypeError, ValueError), match=message):
        pool.restore(state)
    assert frozen(pool.state()) == before


@pytest.mark.parametrize(
    ("given", "taken", "message"),
    [
        ("monitors", "plain", "'n_nodes' .* of shape .*; it must be"),
        ("plain", "drift alone", "'monitors' .* of shape .*; it must be"),
        ("plain", "monitors", "'n_nodes' .* of shape .*; it must be"),
        ("plain", "bounded", "'n_nodes' .* it must be 1 to 9 in this pool"),
        ("plain", "features drawn", "'seed_entropy' .* is of type NoneType"),
        ("features drawn", "nominal columns", "'seed_entropy' .* draws no features"),
    ],
)
def test_the_state_of_a_pool_with_other_settings_is_refused(given, taken, message):
    state = learnt(given, N_ROWS).state()
    if taken == "bounded" and not IS_COMPILED:
        pytest.skip("few samples grow small trees")
    with pytest.raises((TypeError, ValueError), match=message):
        built(taken).restore(state)


def test_a_state_of_more_trees_than_there_are_settings_for_is_refused():
    pool = TreePool(2, delta=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"'expert_trees' .* has 3 experts; this pool has settings for 2"):
        pool.restore(learnt("plain").state())


def test_windows_out_of_range_are_refused():
    state = learnt("monitors").state()
    n_first, n_second = state["monitor_windows"]["n_buckets"][0, 0, :2].tolist()
    whole = copy.deepcopy(state)
    whole["monitor_windows"]["n_buckets"][0, 0, 1] = 0
    for bucket in ("bucket_totals", "bucket_variances"):
        whole[bucket] = whole[bucket][n_second:]
    built("monitors").restore(whole)
    for name, place, wrong in (
        ("n_rows", ..., 99),
        ("n_buckets", (0, 0, slice(2)), (n_first + 6, -6)),  # as many in all
        ("n_buckets", (0, 0, slice(2)), (n_first - 6, 6)),
    ):
        damaged = copy.deepcopy(whole)
        damaged["monitor_windows"][name][place] = wrong
        with pytest.raises(ValueError, match=r"'monitor_windows' .* has entries out of range"):
            built("monitors").restore(damaged)
    state["monitor_windows"]["n_buckets"][0, 0, 0] += 1
    with pytest.raises(ValueError, match="'bucket_totals' in the state of TreePool is float64 of shape"):
        built("monitors").restore(state)


def test_leaves_without_a_slot_of_their_own_are_refused():
    pool = learnt("plain")
    state = pool.state()
    state["nodes"]["slot"][state["nodes"]["kind"] == LEAF] = 10**6
    with pytest.raises(ValueError, match=r"'nodes' .* has entries out of range"):
        pool.restore(state)


@pytest.mark.parametrize("kind", ["nominal columns", "binary splits"])
def test_splits_compare_with_values_that_their_feature_had(kind):
    state = learnt(kind, N_ROWS).state()
    nodes = state["nodes"]
    is_branch = nodes["value"] > 0.0 if kind == "nominal columns" else nodes["kind"] == EQUALS
    if not is_branch.any():
        pytest.skip("few samples grow small trees")
    node, field = is_branch.nonzero()[0][0], "value" if kind == "nominal columns" else "threshold"
    for wrong in (-1.0, 0.5, 4.0):
        damaged = copy.deepcopy(state)
        damaged["nodes"][field][node] = wrong
        with pytest.raises(ValueError, match=r"'nodes' .* has a split on a value that its feature never had"):
            built(kind).restore(damaged)
    damaged = copy.deepcopy(state)
    damaged["nodes"]["parent"][node] = 10**6
    with pytest.raises(ValueError, match=r"'nodes' .* has parents out of range"):
        built(kind).restore(damaged)


def test_infinite_logs_are_those_of_classes_without_weight():
    pool = learnt("majority")
    state = pool.state()
    weights, logs = state["class_stats"][:, WEIGHT], state["class_stats"][:, LOG_WEIGHT]
    logs[weights == 0.0] = -np.inf  # as a split leaves them
    pool.restore(state)
    logs[weights > 0.0] = -np.inf
    with pytest.raises(
        ValueError, match="'class_stats' in the state of TreePool has -inf; all numbers must be"
    ):
        pool.restore(state)


@pytest.mark.parametrize("leaf_prediction", ["nba", "nb", "mc"])
@pytest.mark.parametrize("is_nominal", [True, False])
def test_a_class_that_a_branch_began_without_may_come_to_it(leaf_prediction, is_nominal):
    """An outlier spreads the range of its class over a split on whose side the class has a share of exactly 0."""
    tree = HoeffdingTreeClassifier(grace_period=1500, leaf_prediction=leaf_prediction)
    rng = np.random.default_rng(1)

    def learn(a, y):
        tree.learn_one({"a": a} | ({"c": "xyz"[int(rng.integers(3))]} if is_nominal else {}), y)

    learn(0.0, "far")
    for _ in range(1600):
        learn(rng.normal(1000.0, 1.0), "far")
        learn(rng.normal(100.0, 1.0), "near")
    stats = tree.state()["pool"]["class_stats"]
    assert ((stats[:, WEIGHT] == 0.0) & (stats[:, LOG_WEIGHT] == -np.inf)).any()
    learn(50.0, "far")
    assert HoeffdingTreeClassifier.from_bytes(tree.to_bytes()).digest() == tree.digest()


@pytest.mark.parametrize("kind", ["monitors and features drawn", "each its own"])
def test_numbers_that_are_not_finite_are_refused(kind):
    state = learnt(kind).state()
    for name, field in (
        ("monitor_windows", "width"),
        ("bucket_totals", ""),
        ("feature_moments", ""),
        ("nodes", "threshold"),
        ("value_stats", ""),
    ):
        array = state[name][field] if field else state[name]
        if array.size:
            kept, array[(0,) * array.ndim] = array[(0,) * array.ndim].copy(), np.nan
            with pytest.raises(
                ValueError, match=rf"'{name}' .* has nan.*{field}.*; all numbers must be finite"
            ):
                built(kind).restore(state)
            array[(0,) * array.ndim] = kept
