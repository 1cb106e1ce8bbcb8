"""What is taken as a value, a name or a label of a sample, and what is refused."""

from __future__ import annotations

import datetime
import math
import pickle
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus

import numpy as np
import pandas as pd
import pytest
import torch
from encoders import learnt

from driftmoe.encoding import Encoder, clean


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


class Floats:
    """Neither number nor text, but `float` would take it."""

    def __float__(self):
        return 1.0


UNREADABLE = [np.array(1.0), torch.tensor(1.0), np.complex64(1j), 1j, Floats(), np.datetime64("2020-01-01", "ns"),
              np.timedelta64(3, "ns"), np.datetime64("2020-01-01"), b"1", [1.0]]  # fmt: skip


@pytest.mark.parametrize("nominal", [(), ("a",)])
@pytest.mark.parametrize("value", UNREADABLE, ids=lambda value: type(value).__name__)
def test_what_is_refused_as_a_first_value_is_refused_as_a_later_one(value, nominal):
    encoder = Encoder(nominal)
    for number in (1.0, 2.0):
        encoder.enter(encoder.clean({"a": number, "w": "red"}), 0)
    assert encoder.known_vector({"a": 2.0, "w": "red"}) is not None
    assert encoder.known_vector({"a": value, "w": "red"}) is None
    for known in (Encoder(nominal), encoder):
        with pytest.raises(TypeError, match=r"feature 'a' is .*; allowed are numbers, booleans, text"):
            known.clean({"a": value, "w": "red"})


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1.0), (3, 3.0), (np.bool_(True), 1.0), (np.int8(3), 3.0), (np.uint64(3), 3.0), (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5), (Fraction(1, 2), 0.5), (Decimal("0.5"), 0.5), (HTTPStatus.OK, 200.0),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_numbers_of_all_kinds_read_the_same_on_the_short_way_and_the_long(value, number):
    encoder = learnt({"a": 1.0})
    long = encoder.vector(encoder.clean({"a": value}))
    short = encoder.known_vector({"a": value})
    assert long.tolist() == [number]
    assert short is None or short.tolist() == [number]


def test_a_time_that_is_missing_is_missing():
    assert clean({"a": np.datetime64("NaT", "ns"), "b": np.timedelta64("NaT", "ns")}, {}) == {}


def test_a_list_of_values_is_read_anew_where_only_types_differ():
    encoder = learnt({"a": 1.0})
    X = np.zeros((1, 1))
    encoder.vectors(X, ["a"], [[1.0]])
    with pytest.raises(TypeError, match=r"feature 'a' is .* of type complex"):
        encoder.vectors(X, ["a"], [[np.complex64(1)]])


NAMES = [
    7, np.int64(7), np.float64(1.5), np.bool_(True), np.str_("n"), ("t", 1), ("t", np.int64(2)), (), None, b"n",
    datetime.date(2020, 1, 1), frozenset([1]), pd.Timestamp("2020-01-01"), Fraction(1, 3), HTTPStatus.OK,
]  # fmt: skip


@pytest.mark.parametrize("other", NAMES, ids=repr)
@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_of_any_two_kinds_go_together(name, other):
    if len({name, other}) == 1:
        return
    encoder = learnt({name: "red", other: 1.0})
    X, names = np.array([[0.0, 1.0]]), [name, other]
    encoder.vectors(X, names, [["red", "blue"], None])
    encoder.enter(encoder.clean({name: "blue", other: 2.0}), 0)
    vectors, is_new = encoder.vectors(X, names[::-1], [None, ["red", "blue"]])
    expected = encoder.known_vector({name: "blue", other: 0.0})
    assert vectors.tolist() == [expected.tolist()]
    assert not is_new.any()


def test_names_are_kept_as_python_has_them():
    encoder = learnt({np.int64(7): 1.0, ("t", np.int64(2)): 2.0})
    assert [type(name) for name in encoder.features] == [int, tuple]
    assert type(encoder.features[1][1]) is int
    assert encoder.known_vector({7: 1.0, ("t", 2): 2.0}) is not None


@pytest.mark.parametrize(
    "name",
    [Decimal(7), pd.NA, math.nan, ("t", math.nan), pd.NaT, torch.tensor(1.0), np.datetime64("2020-01-01"),
     ("t", Decimal(7))],
    ids=repr,
)  # fmt: skip
def test_a_name_that_cannot_be_compared_is_refused_and_changes_nothing(name):
    encoder = learnt({"a": 1.0, ("t", 1): "red", 8: 1.0})
    before = pickle.dumps(encoder)
    with pytest.raises(
        TypeError, match=r"the name .* cannot be compared with other names; name features by text"
    ):
        encoder.clean({"a": 1.0, name: 2.0})
    with pytest.raises(TypeError, match=r"the name .* cannot be compared with other names"):
        encoder.vectors(np.zeros((1, 1)), [name], [None])
    assert pickle.dumps(encoder) == before


def test_a_label_that_cannot_be_compared_with_another_is_refused_before_it_leaves_a_trace():
    encoder = learnt({"a": 1.0})
    encoder.enter({"a": 1.0}, Decimal(7))
    before = pickle.dumps(encoder)
    with pytest.raises(
        TypeError, match=r"label .*7.* cannot be compared with those learnt before.*; give labels"
    ):
        encoder.enter({"a": 1.0, "b": 2.0}, np.int64(7))
    assert pickle.dumps(encoder) == before
