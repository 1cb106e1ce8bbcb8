"""Importances of features in result lines: those of the trained model, and nothing else of the run changes."""

from __future__ import annotations

import pytest
from river import base, compose, preprocessing
from small_grids import plan, timeless

from driftmoe import DriftMoEClassifier, saving
from driftmoe.experiment import run as running
from driftmoe.experiment import run_job
from driftmoe.experiment.importances import MOST_NAMED, importances_of
from driftmoe.experiment.lines import _checked
from streams.opening import open_stream

SPEC = "moe-data(n_experts=3, hidden=(6,), batch_size=16)"


def job(spec=SPEC, n=300):
    (run,) = plan(spec, n=n)
    return run_job(run, open_stream(name="led_a", limit=n, seed=1))


def taught(n_features, n=80, variant="moe-data", **arguments):
    model = DriftMoEClassifier(variant, n_experts=2, seed=1, **arguments)
    for i in range(n):
        model.learn_one({f"f{j}": float((i * (j + 3)) % 7) for j in range(n_features)}, i % 3)
    return model


def test_a_result_holds_the_importances_of_the_trained_model(monkeypatch):
    models, original = [], running.importances_of

    def seen(model):
        models.append((model, saving.digest(model)))
        return original(model)

    monkeypatch.setattr(running, "importances_of", seen)
    line, _ = job()
    ((model, digest),) = models
    expected = model.feature_importances()
    assert line["importances"] == {name: one.importance for name, one in expected.items()}
    assert list(line["importances"]) == list(expected)
    assert model._mixture.log.n_samples == 300  # after the last sample
    assert saving.digest(model) == digest == line["model_digest"]


def test_importances_change_no_other_figure(monkeypatch):
    line, curve = job()
    monkeypatch.setattr(running, "importances_of", lambda model: {})
    other, same_curve = job()
    assert "importances" not in other
    assert timeless({name: value for name, value in line.items() if name != "importances"}) == timeless(other)
    assert timeless(curve) == timeless(same_curve)


def test_a_model_without_importances_has_no_such_field():
    assert "importances" not in job("nb")[0]


def test_in_a_pipeline_they_are_of_the_last_steps_features():
    pipeline = compose.Pipeline(
        preprocessing.OneHotEncoder(), DriftMoEClassifier("moe-data", n_experts=2, seed=1)
    )
    for i in range(60):
        pipeline.learn_one({"city": "Ulm" if i % 2 else "Bonn"}, i % 2)
    assert set(importances_of(pipeline)) == {"city_Ulm", "city_Bonn"}


def test_of_many_features_the_most_important_are_kept():
    model = taught(40)
    found = importances_of(model)
    assert len(found) == MOST_NAMED
    assert list(found) == list(model.feature_importances())[:MOST_NAMED]


@pytest.mark.parametrize(("n_features", "n_repeats"), [(10, 5), (101, 1)])
def test_features_are_shuffled_once_if_there_are_many(n_features, n_repeats):
    model = taught(n_features, n=30)
    expected = list(model.feature_importances(n_repeats=n_repeats).items())[:MOST_NAMED]
    assert importances_of(model) == {name: one.importance for name, one in expected}


class Slow(base.Classifier):
    """Counts its predictions, one by one."""

    n_asked = 0
    _multiclass = True

    def learn_one(self, x, y):
        pass

    def predict_one(self, x):
        return 0

    def predict_proba_one(self, x):
        Slow.n_asked += 1
        return {0: 1.0}


def test_features_are_shuffled_once_if_an_expert_predicts_sample_by_sample():
    model = taught(3, variant="driftmoe", extras=[Slow()])
    Slow.n_asked = 0
    importances_of(model)
    assert Slow.n_asked <= 80 * (1 + 3)


def test_names_of_the_same_text_are_one_with_the_larger_importance():
    model = DriftMoEClassifier("moe-data", n_experts=2, seed=1)
    for i in range(100):
        model.learn_one({1: float(i % 5), "1": float(i % 2)}, i % 2)
    assert importances_of(model) == {"1": model.feature_importances()["1"].importance}


@pytest.mark.parametrize("value", [[0.1], {"a": "0.1"}, {"a": True}, {"a": float("nan")}])
def test_importances_that_are_no_numbers_are_refused(value):
    line, _ = job("nb")
    assert _checked(line, "here") == line
    with pytest.raises(ValueError, match="importances is"):
        _checked(line | {"importances": value}, "here")
