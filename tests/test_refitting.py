"""Batch classifiers that are trained anew on a window: what they are trained on, and when."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from functools import partial

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

import streams
from driftmoe import models, refitting
from driftmoe.evaluation import prequential
from driftmoe.refitting import ExtraTreesOnWindow, HistGradientBoostingOnWindow
from streams.wrappers import MissingValues, Take

SMALL = {
    "extra-trees": lambda **more: ExtraTreesOnWindow(
        **{"window": 60, "every": 20, "n_estimators": 3, "seed": 1} | more
    ),
    "boosting": lambda **more: HistGradientBoostingOnWindow(
        **{"window": 60, "every": 20, "max_iter": 2, "min_samples_leaf": 5, "seed": 1} | more
    ),
}

TWINS = {
    "extra-trees": partial(ExtraTreesClassifier, n_estimators=3),
    "boosting": partial(HistGradientBoostingClassifier, max_iter=2, min_samples_leaf=5, early_stopping=False),
}

each = pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)


def numbers(n, seed=1):
    """Samples whose label is whether one of two numbers is the larger."""
    for a, b in np.random.default_rng(seed).normal(size=(n, 2)).tolist():
        yield {"a": a, "b": b}, "ab"[b > a]


@pytest.mark.parametrize("kind", SMALL)
def test_it_is_the_classifier_of_scikit_learn_on_the_last_samples(kind):
    model, rng = SMALL[kind](), np.random.default_rng(1)
    samples, twin = list(numbers(130)), None
    for i, (x, y) in enumerate(samples):
        if i and i % 20 == 0:
            last = samples[max(i - 60, 0) : i]
            twin = TWINS[kind](random_state=int(rng.integers(2**31)))
            twin.fit([list(x.values()) for x, _ in last], [y for _, y in last])
        if twin is not None and i % 7 == 0:
            (expected,) = twin.predict_proba([list(x.values())])
            assert model.predict_proba_one(x) == pytest.approx(
                dict(zip(twin.classes_, expected, strict=True))
            )
        model.learn_one(x, y)


@each
@pytest.mark.parametrize("delay", [0, 13])
def test_blocks_are_predicted_and_learnt_as_one_by_one(make, delay):
    stream = MissingValues(Take(streams.make("agrawal", n_samples=90), 90), 0.1)
    model, one = make(), make()
    in_blocks, by_rows = (
        list(prequential(of, into, window=50, delay=delay, keep_predictions=True))
        for of, into in ((stream, model), (list(stream), one))
    )
    assert [part.predictions for part in in_blocks] == [part.predictions for part in by_rows]
    x, _ = next(iter(stream))
    assert model.predict_proba_one(x) == one.predict_proba_one(x)


@each
def test_only_labels_that_have_come_are_learnt(make, monkeypatch):
    model, trained = make(), []
    train = type(model)._train

    def noted(self):
        trained.append([row.vector[0] for row in self._rows])
        train(self)

    monkeypatch.setattr(type(model), "_train", noted)
    samples = [({"i": float(i)}, i % 2) for i in range(100)]
    list(prequential(samples, model, delay=30, window=100))
    assert [rows[-1] for rows in trained] == [19.0, 39.0, 59.0]
    assert trained[-1] == list(map(float, range(60)))


@each
def test_new_classes_features_and_values_are_taken_in_at_the_next_training(make):
    model = make(window=40)
    for i in range(20):
        model.learn_one({"x": float(i % 2)}, "ab"[i % 2])
    sample = {"x": 1.0, "colour": "red", "y": 3.0}
    assert set(model.predict_proba_one(sample)) == {"a", "b"}
    assert model.predict_proba_one(sample) == model.predict_proba_one({"x": 1.0})
    for _ in range(20):
        model.learn_one(sample, "c")
    assert set(model.predict_proba_one(sample)) == {"a", "b", "c"}
    assert model.predict_one(sample) == "c"
    assert model.predict_one({"x": 0.0}) == "a"
    never = model.predict_proba_one({"x": 1.0, "colour": "blue", "y": 3.0})
    assert never == model.predict_proba_one({"x": 1.0, "y": 3.0})  # a value that was never learnt is missing
    for _ in range(40):
        model.learn_one({"y": 1.0}, "d")  # no other class is left in the window
    assert model.predict_proba_one(sample) == {"d": 1.0}


@each
@pytest.mark.parametrize("values", [(1.0, 2.0), ("red", "blue")], ids=["numbers", "text"])
def test_a_feature_that_no_sample_of_the_window_has_is_left_out(make, values):
    model = make(window=40)
    for i in range(80):
        gone = {"gone": values[i % 4 // 2]} if i < 40 else {}
        model.learn_one({"x": float(i % 2), **gone}, i % 2)
    assert (model.predict_one({"x": 0.0}), model.predict_one({"x": 1.0})) == (0, 1)
    assert model.predict_proba_one({"x": 1.0, "gone": values[0]}) == model.predict_proba_one({"x": 1.0})


@each
def test_text_and_numbers_of_any_size_are_read(make):
    model = make(window=600, every=300)
    for i in range(300):
        model.learn_one({"name": f"n{i}", "x": (1e90 if i % 2 else -1e90), "empty": None}, i % 2)
    for i in (0, 1):
        proba = model.predict_proba_one({"name": "n7", "x": 1e90 if i else -1e90})
        assert max(proba, key=proba.get) == i
        assert math.isfinite(sum(proba.values()))


@each
def test_before_the_first_training_and_without_features_it_says_the_shares(make):
    model = make()
    assert (model.predict_one({}), model.predict_proba_one({})) == (None, {})
    for i in range(40):
        model.learn_one({}, "aab"[i % 3])
        if i == 2:
            assert model.predict_proba_one({}) == {"a": 2 / 3, "b": 1 / 3}
    assert model.predict_one({}) == "a"
    before = model.predict_proba_one({})
    model.learn_one({}, "b")
    assert model.predict_proba_one({}) == before  # until it is trained again


@each
def test_weights_count(make):
    model, other = make(), make()
    for i in range(40):
        model.learn_one({"x": 1.0}, i % 2, w=3.0 if i % 2 else 1.0)
        other.learn_one({"x": 1.0}, i % 2)
        other.learn_one({"x": 1.0}, i % 2, w=0.0)
    assert model._n_learnt == other._n_learnt == 40
    assert model.predict_proba_one({"x": 1.0}) == pytest.approx({0: 0.25, 1: 0.75})
    assert other.predict_proba_one({"x": 1.0}) == pytest.approx({0: 0.5, 1: 0.5})


@each
def test_the_seed_decides_and_copies_go_on_alike(make):
    models_of = [make(), make(), make(seed=2)]
    for x, y in numbers(40):
        for model in models_of:
            model.learn_one(x, y)
    one, same, other = ([m.predict_proba_one(x) for x, _ in numbers(15, seed=3)] for m in models_of)
    assert one == same
    assert (one != other) == (make is SMALL["extra-trees"])  # boosting draws nothing here
    copied, kept = copy.deepcopy(models_of[0]), pickle.loads(pickle.dumps(models_of[0]))
    for x, y in numbers(20, seed=4):
        for model in (models_of[0], copied, kept):
            model.learn_one(x, y)
    for x, _ in numbers(5, seed=5):
        assert models_of[0].predict_proba_one(x) == copied.predict_proba_one(x) == kept.predict_proba_one(x)


def test_a_block_is_learnt_as_a_whole_or_not_at_all():
    model = SMALL["extra-trees"]()
    legend = {"names": ["a", "b"], "values": [None, None], "classes": ["no", "yes"]}
    X = np.random.default_rng(1).normal(size=(50, 2))
    model.step_many(X, np.arange(50) % 2, **legend)
    before = [model.predict_proba_one({"a": a, "b": b}) for a, b in X[:5].tolist()]
    X[30, 0] = np.inf
    with pytest.raises(ValueError, match="a"):
        model.step_many(X, np.arange(50) % 2, **legend)
    assert model._n_learnt == 50
    assert [model.predict_proba_one({"a": a, "b": b}) for a, b in X[:5].tolist()] == before
    with pytest.raises(ValueError, match="choose a finite weight of 0 or more"):
        model.step_many(X[:1], np.zeros(1, int), **legend, w=[-1.0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("extra-trees(window=0)", "window=0; choose a whole number of samples, at least 1"),
        ("extra-trees(every=0.5)", "every=0.5; choose"),
        ("hist-gradient-boosting(window=100, every=101)", "every=101 is above window=100"),
        ("extra-trees(max_features='all')", "max_features"),
        ("hist-gradient-boosting(max_iter=-1)", "max_iter"),
        ("extra-trees(window=2000000)", "choose at most 1,000,000"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_learnt(spec, message):
    with pytest.raises(ValueError, match=message):
        models.make(spec)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    refitting._sklearn.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ValueError, match="need scikit-learn; pip install"):
        models.make("extra-trees")
    refitting._sklearn.cache_clear()


def test_memory_and_version_are_told():
    model = SMALL["boosting"]()
    empty = model._raw_memory_usage
    for x, y in numbers(60):
        model.learn_one(x, y)
    full = model._raw_memory_usage
    for x, y in numbers(60):
        model.learn_one(x, y)
    assert empty < full < 1.5 * model._raw_memory_usage < 3 * full
    assert list(model.versions) == ["scikit-learn"]
