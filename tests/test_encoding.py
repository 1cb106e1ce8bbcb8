from __future__ import annotations

import datetime
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmoe.encoding import CLIP, MAX_VALUES, Encoder, clean


def learnt(*samples):
    encoder = Encoder()
    for sample in samples:
        encoder.learn(encoder.clean(sample), 0)
    return encoder


def test_missing_values_have_no_key():
    x = {
        "a": None,
        "b": math.nan,
        "c": np.float32("nan"),
        "d": pd.NA,
        "e": pd.NaT,
        "f": np.datetime64("NaT"),
        "g": 1,
    }
    assert clean(x, {}) == {"g": 1}


def test_numbers_of_any_kind_and_text_stay():
    x = {
        "a": True,
        "b": np.bool_(False),
        "c": 3,
        "d": Decimal("1.5"),
        "e": Fraction(1, 2),
        "f": np.str_("red"),
    }
    assert clean(x, {}) == {
        "a": True,
        "b": False,
        "c": 3,
        "d": Decimal("1.5"),
        "e": Fraction(1, 2),
        "f": "red",
    }
    assert all(not isinstance(value, np.generic) for value in clean(x, {}).values())
    assert [type(value) for value in clean(x, {}).values()] == [bool, bool, int, float, float, str]
    assert clean({"a": Decimal("NaN"), "b": Decimal("sNaN")}, {}) == {}


def test_cleaning_copies():
    x = {"a": 1.0}
    assert clean(x, {}) is not x


@pytest.mark.parametrize(
    "value",
    [datetime.date(2026, 1, 1), object(), {"nested": 1}, np.zeros(2), Decimal("Infinity"), Fraction(10**400)],
)
def test_what_is_neither_number_nor_text_is_refused(value):
    with pytest.raises((TypeError, ValueError), match="feature 'a' is"):
        clean({"a": value}, {})


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=50))
def test_numbers_are_standardised_by_what_was_seen(values):
    encoder = learnt(*({"a": v} for v in values))
    deviation = np.std(values)
    expected = 0.0 if deviation == 0.0 else np.clip((values[0] - np.mean(values)) / deviation, -CLIP, CLIP)
    assert encoder.encode({"a": values[0]})[0] == pytest.approx(expected, abs=1e-5)


def test_a_number_that_never_varied_and_a_missing_one_are_zero():
    encoder = learnt({"a": 3.0, "b": 1.0}, {"a": 3.0, "b": 2.0})
    assert encoder.encode({"a": 4.0}).tolist() == [0.0, 0.0]


def test_missing_values_do_not_move_the_mean_of_a_feature():
    sparse = learnt({"a": 1.0}, {"b": 5.0}, {"a": 3.0}, {"b": 6.0})
    assert sparse.encode({"a": 3.0})[0] == pytest.approx(1.0)


def test_text_sets_the_column_of_its_value_and_unseen_text_sets_none():
    encoder = learnt({"w": "red"}, {"w": "blue"})
    assert encoder.encode({"w": "red"}).tolist() == [1.0, 0.0]
    assert encoder.encode({"w": "blue"}).tolist() == [0.0, 1.0]
    assert encoder.encode({"w": "green"}).tolist() == [0.0, 0.0]


def test_the_same_text_in_two_features_is_two_columns():
    encoder = learnt({"v": "red", "w": "red"})
    assert encoder.encode({"v": "red"}).tolist() == [1.0, 0.0]


def test_a_feature_named_like_a_value_is_no_value():
    encoder = learnt({"w": "red", ("w", "red"): 1.0})
    assert encoder.n_columns == 2


def test_a_flood_of_values_takes_a_bounded_number_of_columns():
    encoder = learnt(*({"id": f"user {i}"} for i in range(2000)))
    assert encoder.n_columns <= 2 * MAX_VALUES
    assert encoder.encode({"id": "user 3"}).sum() == 1.0
    assert encoder.encode({"id": "never seen"}).sum() == 1.0


def test_columns_never_move():
    encoder = learnt({"b": 1.0}, {"b": 3.0})
    before = encoder.encode({"b": 3.0})
    encoder.learn({"a": 1.0, "c": "red"}, "new class")
    assert encoder.encode({"b": 3.0}).tolist() == [*before.tolist(), 0.0, 0.0]


def test_order_within_a_sample_decides_nothing():
    forward, backward = learnt({"a": 1.0, "b": "x", "c": 2.0}), learnt({"c": 2.0, "b": "x", "a": 1.0})
    sample = {"b": "x", "c": 5.0, "a": 0.0}
    assert forward.encode(sample).tolist() == backward.encode(sample).tolist()
    assert list(forward.order(sample)) == list(backward.order(sample)) == ["a", "b", "c"]


def test_names_of_different_types_can_be_mixed():
    assert learnt({1: 1.0, "1": 2.0, (1,): 3.0}).n_columns == 3


def test_classes_keep_the_order_in_which_they_came():
    encoder = Encoder()
    assert [encoder.learn({}, y)[1] for y in ["b", "a", "b", ("c",)]] == [0, 1, 0, 2]
    assert encoder.classes == ["b", "a", ("c",)]


def test_extreme_numbers_stay_finite():
    encoder = learnt(*({"a": v} for v in (1e100, -1e100, 1e-300, 0.0, 5e-324)))
    assert np.isfinite(encoder.encode({"a": 1e100})).all()
    tiny = learnt({"a": 0.0}, {"a": 5e-324})
    assert np.isfinite(tiny.encode({"a": 1e100})).all()


def test_text_that_is_no_unicode_is_hashed_like_any_other():
    encoder = learnt(*({"id": f"user {i}"} for i in range(MAX_VALUES + 1)), {"id": "\udc80"})
    assert encoder.encode({"id": "\udc80"}).sum() == 1.0


def test_the_shared_columns_are_the_same_in_every_process():
    encoder = learnt(*({"id": f"user {i}"} for i in range(MAX_VALUES)), {"id": "late"})
    assert list(encoder._values["id"])[-1] == 0x6F2A1F95 % MAX_VALUES  # CRC-32 of "late"
