"""Bounds on features and classes: what is beyond them is ignored and counted, and memory stays flat."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from small_models import small

import driftmoe
from driftmoe import DriftMoEClassifier
from driftmoe.classifier import VARIANTS
from driftmoe.encoding import Encoder
from driftmoe.nn import NeuralMoEClassifier

pytestmark = pytest.mark.filterwarnings(
    "ignore:features beyond", "ignore:samples of new classes", "ignore:features with too many nominal values"
)


def adversarial(n_samples, *, seed=1):
    """A new feature in every sample, a new nominal value in every sample, a new class every 20 samples."""
    rng = np.random.default_rng(seed)
    for i in range(n_samples):
        x = {"a": rng.normal(), "b": rng.normal(), "id": f"customer {i}", f"new {i}": float(i)}
        y = "rare" if i % 7 == 3 else x["a"] > 0.0
        yield x, (f"class {i}" if i % 20 == 19 else y)


def bounded(variant="driftmoe", **arguments):
    return small(variant, max_features=5, max_classes=4, **arguments)


def fed(model, samples):
    for x, y in samples:
        model.learn_one(x, y)
    return model


def in_blocks(model, samples, size):
    """Teach a model the samples in blocks with a column for every feature, most values of which are missing."""
    samples = list(samples)
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        names = list(dict.fromkeys(name for x, _ in part for name in x))
        values = [sorted({x["id"] for x, _ in part}) if name == "id" else None for name in names]
        X = np.full((len(part), len(names)), np.nan)
        for row, (x, _) in enumerate(part):
            for name, value in x.items():
                column = names.index(name)
                of = values[column]
                X[row, column] = value if of is None else of.index(value)
        classes = list(dict.fromkeys(y for _, y in part))
        y = np.array([classes.index(label) for _, label in part])
        model.step_many(X, y, names=names, values=values, classes=classes)
    return model


def test_features_beyond_the_bound_change_nothing_but_the_counter():
    with_more, without = small("driftmoe", max_features=2), small("driftmoe")
    rng = np.random.default_rng(2)
    for i in range(300):
        x = {"a": rng.normal(), "b": rng.normal()}
        with_more.learn_one(x | ({f"new {i}": 1.0, "text": "t"} if i else {}), x["a"] > 0.0)
        without.learn_one(x, x["a"] > 0.0)
        probe = {"a": 0.3, "b": 0.1}
        assert with_more.predict_proba_one(probe | {"text": "t"}) == without.predict_proba_one(probe)
    assert with_more.n_ignored_values == 2 * 299


def test_the_first_features_are_kept_sorted_within_a_sample():
    encoder = Encoder(max_features=3)
    encoder.enter(encoder.clean({"m": 1.0}), 0)
    encoder.enter(encoder.clean({"z": 1.0, "c": 2.0, "a": "x"}), 0)
    assert encoder.features == ["m", "a", "c"]
    assert encoder.is_full
    assert encoder.n_ignored({"m": 1.0, "z": 1.0, "y": 2.0}) == 2
    assert not encoder.is_new({"z": 1.0})


def test_a_sample_of_a_class_beyond_the_bound_is_predicted_but_not_learnt():
    model, other = bounded(), bounded()
    samples = [({"a": float(i % 5), "b": 1.0}, i % 4) for i in range(100)]
    fed(model, samples)
    fed(other, samples)
    model.learn_one({"a": 1.0, "new feature": 2.0}, "a fifth class")
    assert model.n_ignored_samples == 1
    assert other.n_ignored_samples == 0
    state = model.state()
    state["encoder"]["n_ignored_samples"] = 0
    other.restore(state)
    assert other.digest() == fed(bounded(), samples).digest()
    assert list(model.predict_proba_one({"a": 1.0})) == [0, 1, 2, 3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_ignore_what_single_samples_ignore(variant):
    samples = list(adversarial(400))
    one_by_one = fed(bounded(variant), samples)
    assert one_by_one.n_ignored_values > 300
    assert one_by_one.n_ignored_samples > 15
    for size in (1, 7, 130):
        model = in_blocks(bounded(variant), samples, size)
        assert model.digest() == one_by_one.digest(), size


def test_frames_ignore_what_single_samples_ignore():
    samples = list(adversarial(150))
    model, one_by_one = bounded(), fed(bounded(), samples)
    for start in range(0, 150, 50):
        part = samples[start : start + 50]
        model.learn_many(pd.DataFrame([x for x, _ in part]), [y for _, y in part])
    assert model.digest() == one_by_one.digest()


def test_a_frame_may_change_the_kind_of_what_is_ignored():
    """Single samples may: the encoder remembers nothing about such a feature."""
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [None, 5, "text"], "c": ["x", 1, None]}, dtype=object)
    model = small("driftmoe", max_features=1)
    model.learn_many(X, [0, 1, 0])
    one_by_one = small("driftmoe", max_features=1)
    for row, y in zip(X.to_dict("records"), [0, 1, 0], strict=True):
        one_by_one.learn_one(row, y)
    assert model.n_ignored_values == 4
    assert model.digest() == one_by_one.digest()


def test_a_missing_value_is_not_counted():
    X = np.array([[1.0, 0.0, np.nan], [2.0, 1.0, 5.0], [3.0, 1.0, np.nan]])
    legend = {"names": ["a", "b", "c"], "values": [None, ["x", None], None], "classes": [0, 1]}
    model = small("driftmoe", max_features=1)
    model.step_many(X, np.array([0, 1, 0]), **legend)
    assert model.n_ignored_values == 2


def test_a_sample_of_weight_0_is_not_counted():
    model = fed(small("driftmoe", max_features=1, max_classes=1), [({"a": 1.0}, 0)])
    model.learn_one({"a": 1.0, "b": 2.0}, 0, w=0.0)
    model.learn_one({"a": 1.0}, 1, w=0.0)
    assert (model.n_ignored_values, model.n_ignored_samples) == (0, 0)


def test_each_bound_warns_once_and_not_again_after_loading():
    model = small("driftmoe", max_features=1, max_classes=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fed(model, [({"a": 1.0}, 0), ({"a": 1.0, "b": 2.0}, 0), ({"a": 1.0}, 1)])
        for again in (
            model,
            pickle.loads(pickle.dumps(model)),
            DriftMoEClassifier.from_bytes(model.to_bytes()),
        ):
            fed(again, [({"a": 1.0, "c": 2.0}, 0), ({"a": 1.0}, 2)])
    messages = [str(one.message) for one in caught]
    assert len(messages) == 2
    assert "max_features=1 are ignored from now on" in messages[0]
    assert "max_classes=1 are not learnt from now on" in messages[1]
    assert all(one.filename == __file__ for one in caught)


def copies(model):
    yield pickle.loads(pickle.dumps(model))
    yield driftmoe.saving.from_bytes(driftmoe.saving.to_bytes(model))
    yield model.clone(include_attributes=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_copies_keep_bounds_and_counters(variant):
    samples = list(adversarial(300))
    model = fed(bounded(variant), samples[:200])
    for copy in copies(model):
        assert copy.n_ignored_values == model.n_ignored_values > 0
        assert copy.digest() == model.digest()
    others = list(copies(model))
    fed(model, samples[200:])
    for copy in others:
        assert fed(copy, samples[200:]).digest() == model.digest()
    clone = model.clone()
    assert (clone.max_features, clone.max_classes, clone.n_ignored_values) == (5, 4, 0)


def test_a_state_beyond_the_bounds_is_refused():
    encoder = Encoder()
    encoder.enter({"a": 1.0, "b": 2.0}, 0)
    state = encoder.state()
    with pytest.raises(ValueError, match=r"'features' .* has 2 items; this encoder has max_features=1"):
        Encoder(max_features=1).restore(state | {"n_ignored_values": 0})
    with pytest.raises(ValueError, match=r"'n_ignored_samples' .* is -1; it must be 0 or more"):
        Encoder(max_classes=1).restore(state | {"n_ignored_samples": -1})
    with pytest.raises(ValueError, match="lacks 'n_ignored_values'"):
        Encoder(max_features=2).restore(state)


def test_the_report_shows_what_was_ignored():
    model = fed(bounded(), adversarial(200))
    report = model.routing_report()
    assert report.ignored() == {
        "n_ignored_values": model.n_ignored_values, "n_ignored_samples": model.n_ignored_samples
    }  # fmt: skip
    assert small("driftmoe").routing_report().ignored() == {}


@pytest.mark.parametrize("bound", ["max_features", "max_classes"])
@pytest.mark.parametrize(
    ("wrong", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_a_bound_is_a_positive_integer(bound, wrong, error):
    for make in (DriftMoEClassifier, NeuralMoEClassifier):
        with pytest.raises(error, match=f"{bound}="):
            make(**{bound: wrong})


def test_without_a_bound_settings_and_state_are_as_before():
    model = DriftMoEClassifier(seed=1)
    assert not {"max_features", "max_classes"} & set(model.settings)
    assert not {"n_ignored_values", "n_ignored_samples"} & set(model.state()["encoder"])
    assert DriftMoEClassifier(max_features=3).settings["max_features"] == 3


MODELS = {
    "driftmoe": lambda: bounded("driftmoe", memory=256),
    "moe-data": lambda: bounded("moe-data"),
    "moe-task": lambda: bounded("moe-task"),
    "neural": lambda: NeuralMoEClassifier(n_experts=3, hidden=(8,), max_features=5, max_classes=4, seed=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_memory_stays_flat_on_adversarial_schemas(name):
    model, sizes = MODELS[name](), []
    tracemalloc.start()
    try:
        for i, (x, y) in enumerate(adversarial(20_000), 1):
            model.learn_one(x, y)
            if i % 5000 == 0:
                sizes.append((model._raw_memory_usage, tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    assert model.n_ignored_values > 18_000
    assert model.n_ignored_samples > 990
    (before, traced_before), (after, traced_after) = sizes[-2:]
    assert after <= 1.01 * before
    assert traced_after <= 1.01 * traced_before
