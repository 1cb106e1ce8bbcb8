"""The state of an encoder, and the way back."""

from __future__ import annotations

import datetime
import math
import pickle
from http import HTTPStatus

import numpy as np
import pytest
from encoders import learnt, scaled

from driftmoe.encoding import NOMINAL, Encoder

LABELS = [0, "0", ("c", 1), 2.5, b"c", datetime.date(2026, 1, 1), HTTPStatus.OK]


def growing_samples(n, seed):
    """Samples that bring new features, values and classes as they go on, some of them late, some of them missing."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        x = {"a": rng.normal(), "w": f"word {rng.integers(1 + i)}", 7: int(rng.integers(1 + i // 3))}
        if i > n // 3:
            x |= {("t", 1): rng.integers(9) / 2, "b": bool(rng.integers(2))}
        if rng.random() < 0.3:
            del x["a"]
        yield x, LABELS[rng.integers(1 + i // 90)]


def read_and_learn(encoder, x, y, w):
    """What comes of a sample for trees and router, and for the encoder."""
    known, sample = encoder.known_vector(x), encoder.clean(x)
    is_new, target = encoder.is_new(sample), encoder.enter(sample, y)
    vector = encoder.vector(sample)
    inputs, _ = scaled(encoder, vector[np.newaxis], np.array([w]))
    answer = (inputs.tobytes(), vector.tobytes(), target, is_new, encoder.n_inputs, encoder.nominal_columns)
    return answer, None if known is None else known.tobytes()


def same_state(one, other):
    """Whether two states are equal in every value, its type, and every bit of every array."""
    assert list(one) == list(other)
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            assert (value.dtype, value.shape) == (other[name].dtype, other[name].shape)
            assert value.tobytes() == other[name].tobytes()
        else:
            assert repr(value) == repr(other[name])
    return True


@pytest.mark.parametrize("nominal", [(), (7,)])
@pytest.mark.parametrize("max_codes", [16, 256])
@pytest.mark.parametrize("n_before", [0, 1, 100, 400])
def test_an_encoder_that_is_restored_goes_on_as_the_first_one_does(nominal, max_codes, n_before, monkeypatch):
    monkeypatch.setattr("driftmoe.encoding.encoder.MAX_CODES", max_codes)
    samples = list(growing_samples(600, seed=1))
    weights = np.random.default_rng(2).exponential(size=600)
    first, second = Encoder(nominal), Encoder(nominal)
    for (x, y), w in zip(samples[:n_before], weights, strict=False):
        read_and_learn(first, x, y, w)
    second.enter({"other": "value"}, "other class")  # which is forgotten
    second.restore(first.state())
    assert same_state(first.state(), second.state())
    assert first.version == second.version
    for (x, y), w in zip(samples[n_before:], weights[n_before:], strict=True):
        assert read_and_learn(first, x, y, w) == read_and_learn(second, x, y, w)
    assert same_state(first.state(), second.state())
    assert len(first.classes) == 7
    assert len(first.values[first.features.index("w")]) == min(max_codes, 256)


def test_a_state_shares_nothing_with_its_encoder():
    encoder = learnt({"a": 1.0, "w": "red"}, {"a": 3.0, "w": "blue"})
    state = encoder.state()
    read_and_learn(encoder, {"a": 2.0, "w": "green", "c": 1}, "y", 1.0)
    assert state["features"] == ["a", "w"]
    assert state["nominal_values"] == [None, ["red", "blue"]]
    assert state["classes"] == [0]
    assert state["input_indices"][:, :2].tolist() == [[0, -1], [1, 2]]
    assert state["scaling_moments"].tolist() == [[2.0, NOMINAL], [2.0, 0.0], [2.0, 0.0]]
    other = Encoder()
    other.restore(state)
    before = pickle.dumps(other)
    state["scaling_moments"][:] = 5.0
    state["input_indices"][:] = 5
    for entry in ("features", "nominal_values", "classes", "feature_kinds"):
        state[entry].clear()
    assert pickle.dumps(other) == before


def with_changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: {"classes": None}, TypeError, "is of type NoneType; it must be of type list"),
        (lambda s: {"input_indices": s["input_indices"].tolist()}, TypeError, "is of type list; it must be an array"),
        (lambda s: {"feature_kinds": ["number"]}, ValueError, "has 1 items for 3 features; it must"),
        (lambda s: {"feature_kinds": ["number", "text", "date"]},
         ValueError, "has 'date' for feature 7; .* 'number' or"),
        (lambda s: {"features": ["a", "w", "a"]}, ValueError, "has the same item twice"),
        (lambda s: {"features": ["a", "w", math.nan]}, TypeError, "holds nan; the name nan .* cannot be compared"),
        (lambda s: {"classes": ["x", "x"]}, ValueError, "has the same item twice"),
        (lambda s: {"classes": ["x", math.nan]}, ValueError, "holds nan; label is nan"),
        (lambda s: {"classes": [["x"]]}, TypeError, "holds .*; label .* is not hashable"),
        (lambda s: {"nominal_values": [None, ["red", "blue"], None]},
         ValueError, "has no list for feature 7; .* nominal"),
        (lambda s: {"nominal_values": [[1], ["red", "blue"], [3]]},
         ValueError, "has a list for feature 'a'; .* a number"),
        (lambda s: {"nominal_values": [None, ("red", "blue"), [3]]}, TypeError, "has .* of type tuple for feature 'w'"),
        (lambda s: {"nominal_values": [None, ["red", 2], [3]]},
         ValueError, "has the value 2 for feature 'w'; .* be text"),
        (lambda s: {"nominal_values": [None, ["red", "blue"], [math.inf]]},
         ValueError, "has the value inf for .* numbers"),
        (lambda s: {"nominal_values": [None, ["red", "red"], [3]]},
         ValueError, "has the same value twice for feature 'w'"),
        (lambda s: {"nominal_values": [None, ["red"], list(range(257))]},
         ValueError, "has 257 values for feature 7; .* 256"),
        (lambda s: {"scaling_moments": s["scaling_moments"][:, :2]},
         ValueError, r".* \(3, 2\); it must be float64 of shape \(3, 3\)"),
        (lambda s: {"scaling_moments": s["scaling_moments"].astype("f4")}, ValueError, "is float32 of shape"),
        (lambda s: {"scaling_moments": with_changed(s["scaling_moments"], (0, 1), 2.0)}, ValueError, "has weights"),
        (lambda s: {"scaling_moments": with_changed(s["scaling_moments"], (0, 0), -0.5)}, ValueError, "has weights"),
        (lambda s: {"input_indices": s["input_indices"][:, :1]}, ValueError, r"is int64 of shape \(3, 1\)"),
        (lambda s: {"input_indices": with_changed(s["input_indices"], (0, 0), 3)}, ValueError, "does not number"),
        (lambda s: {"input_indices": with_changed(s["input_indices"], (0, 5), 3)}, ValueError, "does not number"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, error, message):
    encoder = Encoder(nominal=[7])
    for x in ({"a": 1.0, "w": "red"}, {"a": 3.0, "w": "blue", 7: 3}):
        read_and_learn(encoder, x, "y", 1.0)
    state = encoder.state()
    before = pickle.dumps(encoder)
    (entry,) = changed = change(state)
    match = rf"'{entry}' in the state of Encoder {message}.*: (restore what state\(\)|build the encoder with)"
    with pytest.raises(error, match=match):
        encoder.restore(state | changed)
    assert pickle.dumps(encoder) == before


def test_a_state_without_an_entry_is_refused_by_its_name():
    state = Encoder().state()
    del state["scaling_moments"]
    with pytest.raises(ValueError, match="the state of Encoder lacks 'scaling_moments'"):
        Encoder().restore(state)
    with pytest.raises(TypeError, match="the state of Encoder is a list; give the dict"):
        Encoder().restore([])
    with pytest.raises(
        ValueError, match="has unknown 'colours'; it must have the entries features, feature_kinds"
    ):
        Encoder().restore(Encoder().state() | {"colours": []})


def test_a_value_without_an_input_is_refused():
    state = learnt({"w": "red"}).state()
    state["nominal_values"][0].append("blue")
    with pytest.raises(
        ValueError, match="'input_indices' in the state of Encoder does not number the 2 inputs"
    ):
        Encoder().restore(state)


def test_a_state_of_another_nominal_is_refused():
    encoder = learnt({"a": 1.0})
    with pytest.raises(
        ValueError,
        match=r"'nominal_values' .* no list for feature 'a'; the feature is nominal in this encoder: build the",
    ):
        Encoder(nominal=["a"]).restore(encoder.state())
