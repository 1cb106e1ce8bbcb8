"""The preset for many keys: plain arguments, a bound on the size of its file, and that it goes on from it."""

from __future__ import annotations

import pytest

import driftmoe
import streams
from driftmoe import DriftMoEClassifier, models
from driftmoe.experiment.importances import importances_of
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.parts import as_text


def samples(name, n):
    return list(streams.make(name, seed=1, n_samples=n))


def test_the_preset_is_plain_arguments_that_changes_replace():
    model = DriftMoEClassifier.small(memory=128, seed=3)
    given = {"n_experts": 1, "extras": ("neighbours", "history", "linear"), "hidden": (), "records": False}
    assert {name: model.settings[name] for name in (*given, "memory", "seed")} == {
        **given,
        "memory": 128,
        "seed": 3,
    }
    assert as_text(model.clone().settings) == as_text(model.settings)
    assert model.expert is not DriftMoEClassifier.small().expert
    by_name = models.make("small(memory=128)", seed=3)
    assert type(by_name) is DriftMoEClassifier
    assert as_text(by_name.settings) == as_text(model.settings)


def test_an_unknown_change_or_a_wrong_one_is_refused():
    with pytest.raises(TypeError, match="has no argument 'memmory'; did you mean 'memory'"):
        DriftMoEClassifier.small(memmory=64)
    with pytest.raises(ValueError, match="choose a multiple of 64"):
        DriftMoEClassifier.small(memory=65)
    with pytest.raises(ValueError, match="does not apply"):
        DriftMoEClassifier.small(top_k=1)
    with pytest.raises(TypeError, match="NeuralMoEClassifier has no small preset"):
        NeuralMoEClassifier.small()


def test_a_small_model_goes_on_from_its_file_bit_for_bit():
    stream = samples("rbf_f", 900)
    model = DriftMoEClassifier.small(seed=1)
    for x, y in stream[:500]:
        model.learn_one(x, y)
    again = driftmoe.saving.from_bytes(model.to_bytes(compress=True))
    for x, y in stream[500:]:
        assert again.predict_proba_one(x) == model.predict_proba_one(x)
        again.learn_one(x, y)
        model.learn_one(x, y)
    assert again.digest() == model.digest()


def test_a_model_without_records_says_the_same_and_refuses_what_reads_them():
    stream = samples("sea_a", 700)
    with_records, without = (DriftMoEClassifier.small(records=records, seed=1) for records in (True, False))
    for x, y in stream:
        assert with_records.predict_proba_one(x) == without.predict_proba_one(x)
        with_records.learn_one(x, y)
        without.learn_one(x, y)
    x = stream[0][0]
    for call in (
        lambda model: model.feature_importances(), lambda model: model.predict_set_one(x),
    ):  # fmt: skip
        call(with_records)
        with pytest.raises(
            ValueError, match="records=False does not keep; build the model with records=True"
        ):
            call(without)
    assert with_records.explain_one(x).contributions
    assert not without.explain_one(x).contributions
    assert importances_of(without) == {}
    kept, few = with_records.events(), without.events()
    assert [event for event in few if event.kind == "drift"] == [e for e in kept if e.kind == "drift"][-8:]
    report = without.routing_report()
    assert repr(report.cumulative) == repr(with_records.routing_report().cumulative) == repr(report.window)


def test_a_model_without_records_keeps_the_last_eight_events_of_a_kind():
    model = DriftMoEClassifier.small(seed=1)
    for label in range(12):
        model.learn_one({"x": float(label)}, label)
    assert [event.names for event in model.events() if event.kind == "new class"] == [
        (i,) for i in range(4, 12)
    ]
    assert model.n_dropped_events["new class"] == 4
    assert model.clone(include_attributes=True).events() == model.events()


def test_a_model_without_records_can_be_bounded():
    model = DriftMoEClassifier.small(seed=1, max_bytes=400_000, memory=1024)
    for x, y in samples("sea_a", 200):
        model.learn_one(x, y)
    again = driftmoe.saving.from_bytes(model.to_bytes())
    assert again.digest() == model.digest()
    assert model._raw_memory_usage <= 400_000


def test_a_state_with_records_is_not_that_of_a_model_without():
    with_records, without = (DriftMoEClassifier.small(records=records, seed=1) for records in (True, False))
    with_records.learn_one({"x": 1.0}, "a")
    with pytest.raises(ValueError, match="records"):
        without.restore(with_records.state())


@pytest.fixture(scope="module")
def grown():
    model = DriftMoEClassifier.small(seed=1)
    for x, y in samples("rbf_f", 3000):  # ten numbers; electricity has six features
        model.learn_one(x, y)
    return model


def test_the_files_of_small_models_are_small(grown):
    fresh = DriftMoEClassifier.small(seed=1)
    assert len(fresh.to_bytes(compress=True)) < 1000
    x, y = samples("rbf_f", 1)[0]
    fresh.learn_one(x, y)
    assert len(fresh.to_bytes(compress=True)) < 1500
    assert len(grown.to_bytes(compress=True)) < 25_000
    assert grown._raw_memory_usage < 120_000
