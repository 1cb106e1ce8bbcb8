"""`max_bytes` and `shrink`: the memory meter stays below a bound, and a shrunk model goes on as any other."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from batches import batch
from river import naive_bayes
from small_models import small

import driftmoe
import streams
from driftmoe import DriftMoEClassifier
from driftmoe.experts import Neighbours
from driftmoe.mixture.shrinking import name_bytes
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.trees import HoeffdingTreeClassifier, TreePool
from driftmoe.trees.pruning import pruned

VARIANTS = ("driftmoe", "moe-vote", "moe-data", "moe-task")
EAGER = HoeffdingTreeClassifier(grace_period=20, delta=0.5, tau=0.5)
BOUND = 400_000


def growing(n_samples, *, seed=1):
    """Numbers, and every 40 samples a new feature, value or class, until there are five features and four classes."""
    rng = np.random.default_rng(seed)
    for i in range(n_samples):
        x = {f"f{j}": rng.normal() for j in range(3 + min(i // 120, 2))}
        x["colour"] = f"colour {rng.integers(1 + min(i // 40, 9))}"
        y = int(x["f0"] > 0.0) + 2 * int(x["f1"] + x["f2"] > 1.0 and i > 160)
        yield x, y


def bounded(variant, max_bytes=BOUND, **arguments):
    return small(variant, expert=EAGER, max_bytes=max_bytes, **arguments)


def fed(model, samples):
    for x, y in samples:
        model.learn_one(x, y)
    return model


def in_blocks(model, samples, size):
    samples = list(samples)
    names = list(dict.fromkeys(name for x, _ in samples for name in x))
    values = [sorted({x["colour"] for x, _ in samples}) if name == "colour" else None for name in names]
    classes = [0, 1, 2, 3]
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        X = np.full((len(part), len(names)), np.nan)
        for row, (x, _) in enumerate(part):
            for name, value in x.items():
                column = names.index(name)
                of = values[column]
                X[row, column] = value if of is None else of.index(value)
        y = np.array([label for _, label in part])
        model.step_many(X, y, names=names, values=values, classes=classes)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_meter_stays_below_the_bound_while_names_and_trees_grow(variant):
    free, model, most, free_most = small(variant, expert=EAGER), bounded(variant), 0, 0
    for i, (x, y) in enumerate(growing(1500)):
        model.learn_one(x, y)
        free.learn_one(x, y)
        if i % 20 == 0 or i < 10:
            most, free_most = (max(a, b._raw_memory_usage) for a, b in ((most, model), (free_most, free)))
    assert most <= BOUND < free_most


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_shrink_as_single_samples_do(variant):
    samples = list(growing(500))
    one_by_one = fed(bounded(variant), samples)
    assert any(group.size < 1000 for group in one_by_one._mixture.groups)
    for size in (37, 500):
        model = in_blocks(bounded(variant), samples, size)
        assert model.digest() == one_by_one.digest(), size


def copies(model):
    yield pickle.loads(pickle.dumps(model))
    yield driftmoe.saving.from_bytes(driftmoe.saving.to_bytes(model))
    yield model.clone(include_attributes=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_shrunk_model_is_copied_and_learns_on_alike(variant):
    samples = list(growing(700))
    for model in (bounded(variant), small(variant, expert=EAGER)):
        fed(model, samples[:500])
        model.shrink(BOUND)
        assert model._raw_memory_usage <= BOUND
        others = list(copies(model))
        fed(model, samples[500:])
        assert model._raw_memory_usage <= BOUND
        for other in others:
            assert fed(other, samples[500:]).digest() == model.digest()


def test_a_bound_that_is_never_reached_changes_nothing():
    free, model = small("driftmoe"), small("driftmoe", max_bytes=10**12)
    for x, y in growing(300):
        assert free.predict_proba_one(x) == model.predict_proba_one(x)
        free.learn_one(x, y)
        model.learn_one(x, y)


def test_too_small_a_bound_is_refused_with_the_least_possible():
    with pytest.raises(
        ValueError, match=r"max_bytes=1000, .* has learnt nothing yet takes at least \d+; choose more"
    ):
        DriftMoEClassifier(max_bytes=1000)
    model = fed(small("driftmoe"), growing(200))
    before = model.digest()
    with pytest.raises(ValueError, match=r"takes at least \d+") as refusal:
        model.shrink(100_000)
    assert model.digest() == before
    least = int(str(refusal.value).split("takes at least ")[1].split(";")[0])
    model.shrink(least)
    assert model._raw_memory_usage <= least
    with pytest.raises(ValueError, match=f"takes at least {least};"):
        model.shrink(least - 1)


WIDE = {f"feature {i}": 1.0 for i in range(500)}


def test_a_first_sample_for_which_there_is_no_room_is_refused():
    model = small("moe-data", max_bytes=200_000)
    before = model.digest()
    with pytest.raises(
        ValueError, match=r"knows 500 features, 0 nominal values and 1 classes takes at least \d+"
    ):
        model.learn_one(WIDE, 0)
    assert model.digest() == before
    model.learn_one({"a": 1.0}, 0)


def test_names_for_which_there_is_no_room_are_left_out_and_counted():
    samples = [({"a": 1.0}, 0), ({"a": 2.0}, 1)]
    model, twin = (fed(small("moe-data", max_bytes=200_000), samples) for _ in range(2))
    with pytest.warns(UserWarning, match=r"features beyond max_bytes=200000 are ignored .* n_ignored_values"):
        model.learn_one({"a": 3.0} | WIDE, 0)
    n_ignored, entered = model.n_ignored_values, model._encoder.features[1:]
    assert 0 < n_ignored == 500 - len(entered)
    assert entered == sorted(sorted(WIDE, key=lambda name: (len(name), name))[: len(entered)])
    twin.learn_one({"a": 3.0} | {name: 1.0 for name in entered}, 0)
    assert model.predict_proba_one({"a": 1.5} | WIDE) == twin.predict_proba_one({"a": 1.5} | WIDE)
    model.learn_one({"a": 1.5} | WIDE, 1)  # warns once
    twin.learn_one({"a": 1.5} | {name: 1.0 for name in entered}, 1)
    assert model.n_ignored_values == 2 * n_ignored
    assert model.predict_proba_one({"a": 1.5} | WIDE) == twin.predict_proba_one({"a": 1.5} | WIDE)


def test_a_name_enters_beside_one_for_which_there_is_no_room():
    model = fed(small("moe-data", max_bytes=200_000), [({"a": 1.0}, 0), ({"a": 2.0}, 1)])
    with pytest.warns(UserWarning, match="max_bytes"):
        model.learn_one({"x" * 100_000: 1.0, "b": 2.0, "a": 1.0}, 2)
    assert model._encoder.features == ["a", "b"]
    assert model._encoder.classes == [0, 1, 2]
    assert (model.n_ignored_values, model.n_ignored_samples) == (1, 0)


def test_a_name_takes_the_same_room_however_it_was_made():
    text = "k" * 50_000
    pair, twin = (text, text), ("k" * 25_000 + "k" * 25_000, "".join(["k"] * 50_000))
    assert pair == twin
    assert name_bytes(pair) == name_bytes(twin) == name_bytes(pickle.loads(pickle.dumps(twin)))


def test_a_sample_of_a_class_for_which_there_is_no_room_is_not_learnt():
    model = fed(small("moe-data", max_bytes=200_000), [({"a": 1.0}, 0), ({"a": 2.0}, 1)])
    n_learnt = model.routing_report().cumulative.n_samples
    with pytest.warns(UserWarning, match=r"new classes beyond max_bytes=200000 are not learnt"):
        model.learn_one({"a": 3.0}, "x" * 100_000)
    assert model.n_ignored_samples == 1
    assert model.routing_report().cumulative.n_samples == n_learnt


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_has_no_room_is_left_out_of_blocks_alike(variant):
    samples = [(x | {"colour": f"{x['colour']} {'long name' * 3000}"}, y) for x, y in growing(400)]
    models = [small(variant, expert=EAGER, max_bytes=BOUND) for _ in range(3)]
    with pytest.warns(UserWarning, match="max_bytes"):
        fed(models[0], samples)
    for model, size in zip(models[1:], (37, 400), strict=True):
        with pytest.warns(UserWarning, match="max_bytes"):
            in_blocks(model, samples, size)
        assert model.digest() == models[0].digest()
        assert model.n_ignored_values == models[0].n_ignored_values > 0
    assert models[0]._raw_memory_usage <= BOUND


def test_an_interrupt_leaves_no_half_shrunk_model(monkeypatch):
    model = fed(small("driftmoe", expert=EAGER), growing(400))
    before = model.digest()

    def interrupted(self, size):
        raise KeyboardInterrupt

    monkeypatch.setattr(Neighbours, "resized", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.shrink(360_000)
    assert model.digest() == before


def test_river_classifiers_bound_their_memory_themselves():
    with pytest.raises(ValueError, match="does not apply to experts of GaussianNB"):
        DriftMoEClassifier(expert=naive_bayes.GaussianNB(), max_bytes=10**9)
    with pytest.raises(ValueError, match="does not apply to experts of GaussianNB"):
        DriftMoEClassifier(extras=(naive_bayes.GaussianNB(),)).shrink(10**9)


def test_networks_have_nothing_to_give_up():
    model = fed(NeuralMoEClassifier(n_experts=3, hidden=(8,), seed=1, max_bytes=10**6), growing(100))
    before = model.digest()
    model.shrink(10**6)
    assert model.digest() == before


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_the_bound_is_a_positive_integer(wrong, error):
    with pytest.raises(error, match="max_bytes="):
        DriftMoEClassifier(max_bytes=wrong)
    with pytest.raises(error, match="max_bytes="):
        DriftMoEClassifier().shrink(wrong)


def grown_pool(name, **settings):
    stream = streams.make(name, seed=1, n_samples=3000)
    rows = next(stream.blocks(3000))
    nominal = [f for f, feature in enumerate(stream.features) if feature.is_nominal]
    pool = TreePool(3, nominal=nominal, grace_period=30, delta=0.1, **settings)
    pool.learn(rows.X, rows.y, np.random.default_rng(1).integers(3, size=(3000, 3)).astype(float))
    return pool, rows


@pytest.mark.parametrize("name", ["rbf_m", "agrawal", "led_a"])
def test_a_pruned_tree_keeps_its_weights_and_learns_on(name):
    pool, rows = grown_pool(name, warning_delta=0.01, drift_delta=0.001)
    weight = pool.weight_seen
    for most in (15, 4, 1):
        small_pool = pool.pruned(most)
        assert (small_pool.n_leaves <= most).all()
        np.testing.assert_allclose(small_pool.weight_seen, weight)
        assert small_pool._storage.n_bytes <= small_pool.bytes_at(most)
        proba = small_pool.step(rows.X, rows.y)
        sums = proba.sum(axis=-1)  # 0 for a tree that has just started anew
        assert (np.isclose(sums, 1.0) | (sums == 0.0)).all()
        assert (small_pool.n_leaves <= most).all()
        assert small_pool._storage.n_bytes <= small_pool.bytes_at(most)
    assert (pool.weight_seen == weight).all()


def test_the_split_with_the_least_loss_goes_first():
    """Of two splits above leaves, one separates the classes and one does not."""
    rng = np.random.default_rng(1)
    X = rng.integers(2, size=(4000, 2)).astype(float)
    y = np.where(X[:, 0] == 1.0, X[:, 1], rng.random(4000) < 0.1).astype(int)
    pool = TreePool(1, grace_period=50, tau=0.9)
    pool.learn(X, y)
    assert pool.n_leaves[0] > 3
    votes = pool.pruned(3).predict_proba(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]))[:, 0]
    assert votes.argmax(axis=1).tolist() == [0, 1, 0, 0]


def test_pruning_to_the_present_size_changes_nothing():
    pool, _ = grown_pool("rbf_m")
    state = pool.state()
    again = pruned(state, int(pool.n_nodes.max()))
    assert again.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(again[name], value)


def test_neighbours_forget_their_oldest_episodes():
    expert = Neighbours(256)
    rng = np.random.default_rng(1)
    for _ in range(300):
        expert.step(batch(rng.normal(size=(1, 3)), 2, targets=[rng.integers(2)]))
    times = np.sort(expert.state()["sample_times"])
    small_one = expert.resized(5)
    kept = np.sort(small_one.state()["sample_times"])
    assert len(kept) <= 5 * 8
    np.testing.assert_array_equal(kept, times[-len(kept) :])
    assert small_one.size == 5
