"""The encoder: from samples to vectors and inputs."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict

import numpy as np
import pytest
from encoders import learnt, scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmoe.encoding import CLIP, NOMINAL, OWN_INPUTS, Encoder, clean, write_inputs
from driftmoe.transaction import StepPlan, carry_out


def inputs(encoder, sample):
    """What the router reads of a sample."""
    return encoder.inputs(encoder.vector(encoder.clean(sample))[np.newaxis], is_learning=False)[0]


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=50))
@settings(deadline=None)  # the first may compile
def test_numbers_are_standardised_by_what_was_seen(values):
    encoder = learnt(*({"a": v} for v in values))
    deviation = np.std(values)
    expected = 0.0 if deviation == 0.0 else np.clip((values[0] - np.mean(values)) / deviation, -CLIP, CLIP)
    assert inputs(encoder, {"a": values[0]})[0] == pytest.approx(expected, abs=1e-5)


def test_a_number_that_never_varied_and_a_missing_one_are_zero():
    encoder = learnt({"a": 3.0, "b": 1.0}, {"a": 3.0, "b": 2.0})
    assert inputs(encoder, {"a": 4.0}).tolist() == [0.0, 0.0]


def test_missing_values_do_not_move_the_mean_of_a_feature():
    sparse = learnt({"a": 1.0}, {"b": 5.0}, {"a": 3.0}, {"b": 6.0})
    assert inputs(sparse, {"a": 3.0})[0] == pytest.approx(1.0)


def test_text_sets_the_column_of_its_value_and_unseen_text_sets_none():
    encoder = learnt({"w": "red"}, {"w": "blue"})
    assert inputs(encoder, {"w": "red"}).tolist() == [1.0, 0.0]
    assert inputs(encoder, {"w": "blue"}).tolist() == [0.0, 1.0]
    assert inputs(encoder, {"w": "green"}).tolist() == [0.0, 0.0]


def test_the_same_text_in_two_features_is_two_columns():
    encoder = learnt({"v": "red", "w": "red"})
    assert inputs(encoder, {"v": "red"}).tolist() == [1.0, 0.0]


def test_a_feature_named_like_a_value_is_no_value():
    encoder = learnt({"w": "red", ("w", "red"): 1.0})
    assert encoder.n_inputs == 2


def test_a_flood_of_values_takes_a_bounded_number_of_columns():
    encoder = learnt(*({"id": f"user {i}"} for i in range(2000)))
    assert encoder.n_inputs <= 2 * OWN_INPUTS
    assert inputs(encoder, {"id": "user 3"}).sum() == 1.0
    assert inputs(encoder, {"id": "never seen"}).sum() == 1.0


def test_columns_never_move():
    encoder = learnt({"b": 1.0}, {"b": 3.0})
    before = inputs(encoder, {"b": 3.0})
    encoder.enter({"a": 1.0, "c": "red"}, "new class")
    assert inputs(encoder, {"b": 3.0}).tolist() == [*before.tolist(), 0.0, 0.0]


def test_order_within_a_sample_decides_nothing():
    forward, backward = learnt({"a": 1.0, "b": "x", "c": 2.0}), learnt({"c": 2.0, "b": "x", "a": 1.0})
    sample = {"b": "x", "c": 5.0, "a": 0.0}
    assert inputs(forward, sample).tolist() == inputs(backward, sample).tolist()
    assert list(forward.order(sample)) == list(backward.order(sample)) == ["a", "b", "c"]


def test_names_of_different_types_can_be_mixed():
    assert learnt({1: 1.0, "1": 2.0, (1,): 3.0}).n_inputs == 3


def test_classes_keep_the_order_in_which_they_came():
    encoder = Encoder()
    assert [encoder.enter({}, y) for y in ["b", "a", "b", ("c",)]] == [0, 1, 0, 2]
    assert encoder.classes == ["b", "a", ("c",)]


def test_extreme_numbers_stay_finite():
    encoder = learnt(*({"a": v} for v in (1e100, -1e100, 1e-300, 0.0, 5e-324)))
    assert np.isfinite(inputs(encoder, {"a": 1e100})).all()
    tiny = learnt({"a": 0.0}, {"a": 5e-324})
    assert np.isfinite(inputs(tiny, {"a": 1e100})).all()


def test_text_that_is_no_unicode_is_hashed_like_any_other():
    encoder = learnt(*({"id": f"user {i}"} for i in range(OWN_INPUTS + 1)), {"id": "\udc80"})
    assert inputs(encoder, {"id": "\udc80"}).sum() == 1.0


def test_a_value_without_an_input_of_its_own_shares_that_of_another():
    encoder = learnt(*({"id": f"user {i}"} for i in range(3 * OWN_INPUTS)))
    shared = inputs(encoder, {"id": f"user {OWN_INPUTS}"})
    assert shared.tolist() == inputs(encoder, {"id": f"user {2 * OWN_INPUTS}"}).tolist()
    assert shared.tolist() != inputs(encoder, {"id": "user 0"}).tolist()


def test_the_shared_codes_are_the_same_in_every_process(monkeypatch):
    monkeypatch.setattr("driftmoe.encoding.encoder.MAX_CODES", 8)
    encoder = learnt(*({"id": f"user {i}"} for i in range(20)))
    assert encoder.vector({"id": "user 3"}).tolist() == [3.0]
    assert encoder.vector({"id": "late"}).tolist() == [zlib.crc32(b"'late'") % 8]


def test_a_number_shares_a_code_whatever_its_type(monkeypatch):
    monkeypatch.setattr("driftmoe.encoding.encoder.MAX_CODES", 8)
    encoder = Encoder(nominal=["id"])
    for i in range(20):
        encoder.enter({"id": i}, 0)
    for number in range(20, 60):
        assert encoder.vector({"id": number}).tolist() == encoder.vector({"id": float(number)}).tolist()


def test_vectors_hold_numbers_codes_and_nan():
    encoder = learnt({"a": 1, "b": "x"}, {"b": "y", "c": True})
    assert encoder.features == ["a", "b", "c"]
    assert encoder.values == [None, ["x", "y"], None]
    np.testing.assert_array_equal(encoder.vector({"c": False, "b": "y"}), [np.nan, 1.0, 0.0])
    assert encoder.vector({"b": "z", "other": 1.0})[1] == 2.0  # the next free code


def test_numbers_named_nominal_are_codes():
    encoder = Encoder(nominal=["a"])
    for value in (7, 3, 7.0):
        encoder.enter({"a": value}, 0)
    assert encoder.vector({"a": 3}).tolist() == [1.0]
    assert encoder.nominal_columns == [0]


def test_the_short_way_gives_the_same_vector_or_none():
    encoder = learnt({"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"})
    for sample in ({"a": 5, "b": "y"}, {"b": "x", "a": True}, {"a": np.float32(0.5), "b": "x"}):
        assert encoder.known_vector(sample).tolist() == encoder.vector(clean(sample, {})).tolist()
    for sample in (
        {"a": 1.0},
        {"a": 1.0, "b": "new"},
        {"a": math.nan, "b": "x"},
        {"a": None, "b": "x"},
        {"a": 2e100, "b": "x"},
        {"a": -math.inf, "b": "x"},
        {"a": "1", "b": "x"},
        {"a": 1.0, "b": 2.0},
        {"a": 1.0, "b": "x", "c": 1.0},
        {"a": 10**400, "b": "x"},
        [1.0, 2.0],
    ):
        assert encoder.known_vector(sample) is None


def test_a_sum_of_large_numbers_that_cancel_is_no_short_way():
    encoder = learnt({"a": 1.0, "b": 1.0})
    assert encoder.known_vector({"a": 2e100, "b": -2e100}) is None
    makes_up = defaultdict(float, {"a": 1.0, "c": 2.0})
    assert encoder.known_vector(makes_up) is None
    assert set(makes_up) == {"a", "c"}


def test_inputs_do_the_same_compiled_and_not():
    encoder = learnt({"a": 1.0, "b": "x"}, {"a": 2.5, "b": "y"}, {"a": -1.0})
    vectors = np.array([encoder.vector(s) for s in ({"a": 1.5, "b": "y"}, {"b": "z"}, {"a": 9.0})])
    moments = encoder._moments.copy()
    expected = encoder.inputs(vectors, is_learning=True)
    written = np.zeros_like(expected)
    plain = getattr(write_inputs, "py_func", write_inputs)
    plain(vectors, encoder._inputs_of, moments, np.ones(3), written)
    np.testing.assert_array_equal(written, expected)
    np.testing.assert_array_equal(moments, encoder._moments)
    plain(vectors, encoder._inputs_of, moments, np.empty(0), written)  # which learns nothing
    np.testing.assert_array_equal(moments, encoder._moments)


def test_a_number_is_scaled_by_the_weighted_mean_and_deviation_of_those_before():
    encoder = Encoder()
    encoder.enter({"a": 1.0, "b": "x"}, 0)
    values, weights = np.array([1.0, 4.0, -2.0, 7.5, 0.5]), np.array([2.0, 0.5, 3.0, 1.0, 0.0])
    before, plan = encoder._moments.copy(), StepPlan()
    inputs = encoder.plan_inputs(np.column_stack([values, np.zeros(5)]), weights, plan)
    np.testing.assert_array_equal(encoder._moments, before)
    carry_out(plan)
    for row in range(1, 5):
        mean = np.average(values[:row], weights=weights[:row])
        deviation = np.average((values[:row] - mean) ** 2, weights=weights[:row]) ** 0.5
        expected = 0.0 if deviation == 0.0 else np.clip((values[row] - mean) / deviation, -5.0, 5.0)
        assert inputs[row, 0] == pytest.approx(expected, rel=1e-6)
    assert encoder._moments[0].tolist() == [weights.sum(), NOMINAL]


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.5, 1e-9, 1e9])
def test_a_number_that_has_not_varied_is_zero_whatever_the_weights(weight):
    encoder = Encoder()
    encoder.enter({"a": 0.1}, 0)
    values = np.array([[0.1]] * 20 + [[0.7]])
    inputs, _ = scaled(encoder, values, np.linspace(weight, 3.0 * weight, 21))
    assert inputs[:, 0].tolist() == [0.0] * 21


def test_a_row_of_weight_three_enters_the_scale_as_three_rows():
    first, second = learnt({"a": 1.0}, {"a": 2.0}), learnt({"a": 1.0}, {"a": 2.0})
    _, once = scaled(first, np.array([[5.0], [3.0]]), np.array([3.0, 1.0]))
    _, thrice = scaled(second, np.array([[5.0]] * 3 + [[3.0]]), np.ones(4))
    np.testing.assert_allclose(once, thrice, rtol=1e-12)
