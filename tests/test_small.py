"""The preset for many keys: plain arguments, a bound on the size of its file, and that it goes on from it."""

from __future__ import annotations

import pytest

import driftmoe
import streams
from driftmoe import DriftMoEClassifier, models
from driftmoe.nn import NeuralMoEClassifier


def samples(name, n):
    return list(streams.make(name, seed=1, n_samples=n))


def test_the_preset_is_plain_arguments_that_changes_replace():
    model = DriftMoEClassifier.small(memory=128, seed=3)
    given = {"n_experts": 1, "extras": ("neighbours", "history", "linear"), "hidden": (4,)}
    assert {name: model.settings[name] for name in (*given, "memory", "seed")} == {
        **given,
        "memory": 128,
        "seed": 3,
    }
    assert model.clone().settings == model.settings
    by_name = models.make("small(memory=128)", seed=3)
    assert type(by_name) is DriftMoEClassifier
    assert by_name.settings == model.settings


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
