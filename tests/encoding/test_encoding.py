from __future__ import annotations

import datetime
import math
import pickle
import zlib
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmoe.encoding import (
    CLIP,
    NOMINAL,
    NONE,
    OWN_INPUTS,
    BlockRows,
    Encoder,
    SampleRows,
    clean,
    read_block,
    write_inputs,
)


def learnt(*samples):
    encoder = Encoder()
    for sample in samples:
        sample = encoder.clean(sample)
        encoder.enter(sample, 0)
        encoder.inputs(encoder.vector(sample)[np.newaxis], is_learning=True)
    return encoder


def inputs(encoder, sample):
    """What the router reads of a sample."""
    return encoder.inputs(encoder.vector(encoder.clean(sample))[np.newaxis], is_learning=False)[0]


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
    before = encoder._moments.copy()
    inputs, moments = encoder.scaled(np.column_stack([values, np.zeros(5)]), weights)
    np.testing.assert_array_equal(encoder._moments, before)
    for row in range(1, 5):
        mean = np.average(values[:row], weights=weights[:row])
        deviation = np.average((values[:row] - mean) ** 2, weights=weights[:row]) ** 0.5
        expected = 0.0 if deviation == 0.0 else np.clip((values[row] - mean) / deviation, -5.0, 5.0)
        assert inputs[row, 0] == pytest.approx(expected, rel=1e-6)
    assert moments[0].tolist() == [weights.sum(), NOMINAL]


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.5, 1e-9, 1e9])
def test_a_number_that_has_not_varied_is_zero_whatever_the_weights(weight):
    encoder = Encoder()
    encoder.enter({"a": 0.1}, 0)
    values = np.array([[0.1]] * 20 + [[0.7]])
    inputs, _ = encoder.scaled(values, np.linspace(weight, 3.0 * weight, 21))
    assert inputs[:, 0].tolist() == [0.0] * 21


def test_a_row_of_weight_three_enters_the_scale_as_three_rows():
    encoder = learnt({"a": 1.0}, {"a": 2.0})
    _, once = encoder.scaled(np.array([[5.0], [3.0]]), np.array([3.0, 1.0]))
    _, thrice = encoder.scaled(np.array([[5.0]] * 3 + [[3.0]]))
    np.testing.assert_allclose(once, thrice, rtol=1e-12)


cells = st.sampled_from([0.0, 1.0, 2.0, math.nan])


@pytest.mark.parametrize("max_codes", [2, 256])
@pytest.mark.parametrize("max_listed", [0, 256])
@given(rows=st.lists(st.tuples(cells, cells, cells, st.integers(0, 2)), min_size=1, max_size=30))
@settings(deadline=None)
def test_rows_of_a_block_are_those_of_its_samples(rows, max_listed, max_codes):
    """Numbers, a list of text, a list of numbers one of which is missing; taken in chunks as the classifier does."""
    limits = {"MAX_LISTED": max_listed, "MAX_CODES": max_codes}
    with patch.multiple("driftmoe.encoding.encoder", **limits):
        check_rows(rows)


def enter(rows, row):
    """Let an encoder take in what a row brings, as a model does: a draft first, which then becomes the encoder."""
    encoder = rows._encoder
    before = dict(vars(encoder))
    draft, _ = rows.entered(row)
    assert vars(encoder) == before
    vars(encoder).update(vars(draft))
    rows.refresh()


def check_rows(rows):
    X, y = np.array([row[:3] for row in rows]), np.array([row[3] for row in rows])
    names, values, classes = ["n", "t", "m"], [None, ["x", "y", "z"], [5, None, 7.5]], ["a", "b", ("c",)]
    samples = [
        {
            name: v if of is None else of[int(v)]
            for name, of, v in zip(names, values, row, strict=True)
            if v == v
        }
        for row in X.tolist()
    ]
    one, other = Encoder(), Encoder()
    block = BlockRows(one, X, y, names=names, values=values, classes=classes)
    dicts = SampleRows(other, [clean(sample, {}) for sample in samples], [classes[i] for i in y])
    start = 0
    while start < len(block):
        assert block.is_new(start) == dicts.is_new(start)
        np.testing.assert_array_equal(block.vectors(start, start + 1), dicts.vectors(start, start + 1))
        for of_rows in (block, dicts):
            if of_rows.is_new(start):
                enter(of_rows, start)
            assert not of_rows.is_new(start)
        stop = block.known_until(start, len(block))
        assert stop == dicts.known_until(start, len(block))
        np.testing.assert_array_equal(block.vectors(start, stop), dicts.vectors(start, stop))
        assert block.targets(start, stop).tolist() == dicts.targets(start, stop).tolist()
        assert block.samples(start, stop) == dicts.samples(start, stop)
        start = stop
    assert (one.features, one.values, one.classes) == (other.features, other.values, other.classes)


def test_a_new_value_has_its_own_list_alone_read_anew():
    encoder = learnt({"a": "x", "b": "x"})
    X, values = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), [["x", "y"], ["x", "y"]]
    block = BlockRows(encoder, X, np.array([0, 0, 0, 1]), names=["a", "b"], values=values, classes=[0, 1])
    assert [row for row in range(4) if block.is_new(row)] == [1, 2, 3]
    read, look_up = [], encoder._look_up

    def noted(name, *rest):
        read.append(name)
        return look_up(name, *rest)

    with patch.object(encoder, "_look_up", noted):
        for row in (1, 2, 3):
            enter(block, row)
    assert read == ["a", "b"]
    assert block.vectors(0, 4).tolist() == X.tolist()


def test_a_list_that_grows_is_read_anew():
    encoder, of = learnt({"a": "x"}), ["x"]
    for value in ("y", "z"):
        of.append(value)
        vectors, is_new = encoder.vectors(np.array([[0.0], [len(of) - 1.0]]), ["a"], [of])
        assert is_new.tolist() == [False, True]
        encoder.enter({"a": value}, 0)
        vectors, is_new = encoder.vectors(np.array([[0.0], [len(of) - 1.0]]), ["a"], [of])
        assert vectors.tolist() == [[0.0], [len(of) - 1.0]]
        assert not is_new.any()


@pytest.mark.parametrize("index", [3.0, -1.0, math.inf])
def test_an_index_beyond_its_list_is_refused(index):
    with pytest.raises(
        ValueError, match=r"feature 'a' is .*, an index into a list of 3 values; choose 0 to 2"
    ):
        Encoder().vectors(np.array([[1.0], [math.nan], [index]]), ["a"], [["x", "y", "z"]])


def test_blocks_are_read_the_same_compiled_and_not():
    encoder = learnt({"a": 1.0, "b": "x"}, {"a": 2.5, "b": "y"}, {"a": -1.0})
    X = np.array([[0.0, 3.0, 1.0], [2.0, math.nan, math.nan], [math.nan, 1.0, math.nan]])
    columns = ["b", "a", "c"], [["y", None, "z"], None, None]
    vectors, is_new = encoder.vectors(X, *columns)
    legend = encoder.legend(*columns)
    again = np.full(vectors.shape, math.nan), np.zeros(3, np.bool_)
    arrays = legend.columns, legend.starts, legend.sizes, legend.numbers, legend.is_new
    assert getattr(read_block, "py_func", read_block)(X, *arrays, *again) == NONE
    np.testing.assert_array_equal(again[0], vectors)
    assert again[1].tolist() == is_new.tolist() == [True, True, False]


@pytest.mark.parametrize("wrong", [math.inf, -2e100])
def test_a_block_with_a_number_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"feature 'b' is .*; numbers must lie within"):
        Encoder().vectors(np.array([[1.0, 0.0], [2.0, wrong]]), ["a", "b"], [None, None])


def test_a_block_of_numbers_for_a_feature_of_text_is_refused():
    encoder = learnt({"a": "x"})
    with pytest.raises(TypeError, match=r"feature 'a' is 1\.0, a number, but was a text before"):
        encoder.vectors(np.array([[1.0]]), ["a"], [None])
    assert np.isnan(encoder.vectors(np.array([[math.nan]]), ["a"], [None])[0]).all()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"y": np.array([-1, 0, 1])}, ValueError, "y from -1 to 1 for 2 classes"),
        ({"y": np.array([0, 1, 2])}, ValueError, "y from 0 to 2 for 2 classes"),
        ({"y": np.array([0.0, 1.0, 1.0])}, TypeError, "y is float64 of shape"),
        ({"y": np.array([True, False, True])}, TypeError, "y is bool of shape"),
        ({"y": np.array([0, 1])}, TypeError, "for each of 3 rows"),
        ({"y": [0, 1, 1]}, TypeError, "y is list"),
        ({"X": [[1.0, 2.0]] * 3}, TypeError, "X is a list; give an array of shape"),
        ({"X": np.ones(3)}, TypeError, r"X is a numpy array of shape \(3,\); give an array of shape"),
        ({"X": np.ones((3, 2), object)}, TypeError, "X is an array of type object; give float64, NaN where"),
        ({"X": np.ones((3, 2), complex)}, TypeError, "X is an array of type complex128; give float64"),
        ({"X": np.full((3, 2), "x")}, TypeError, "X is an array of type <U1; give float64"),
        (
            {"X": np.zeros((3, 2), "datetime64[ns]")},
            TypeError,
            r"X is an array of type datetime64\[ns\]; give float64",
        ),
        ({"names": "ab"}, TypeError, "names is 'ab' of type str; give a list"),
        ({"names": iter("ab")}, TypeError, "names is .* of type str_.*iterator; give a list"),
        ({"names": [["a"], "b"]}, TypeError, r"the name \['a'\] of type list cannot be compared"),
        ({"names": [Decimal(1), "b"]}, TypeError, "the name Decimal.* cannot be compared"),
        ({"names": [1, np.int64(1)]}, ValueError, "2 names, 1 of them different"),
        ({"values": [None, "red"]}, TypeError, "values of 'b' is 'red' of type str; give a list"),
        ({"values": [None, {"red"}]}, TypeError, "values of 'b' is .* of type set; give a list"),
        ({"classes": {"x", "y"}}, TypeError, "classes is .* of type set; give a list"),
        ({"classes": "xy"}, TypeError, "classes is 'xy' of type str; give a list"),
        ({"names": ["a", "a"]}, ValueError, "2 names, 1 of them different"),
        ({"names": ["a"]}, ValueError, "1 names"),
        ({"values": [None]}, ValueError, "1 lists of values for 2 columns"),
    ],
)
def test_parts_of_a_block_that_do_not_fit_are_refused(changed, error, message):
    block = {"X": np.ones((3, 2)), "y": np.array([0, 1, 1])}
    legend = {"names": ["a", "b"], "values": [None, None], "classes": ["p", "q"]}
    block, legend = (
        block | {k: v for k, v in changed.items() if k in block},
        legend | {k: v for k, v in changed.items() if k in legend},
    )
    with pytest.raises(error, match=message):
        BlockRows(Encoder(), block["X"], block["y"], **legend)


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


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.float16])
def test_a_block_of_any_numbers_is_read_as_float64(dtype):
    legend = {"names": ["a", "w"], "values": [None, ["red", "blue"]], "classes": ["p", "q"]}
    y = np.array([0, 1, 1])
    rows, expected = (
        BlockRows(learnt({"a": 1.0, "w": "red"}), X, y, **legend).vectors(0, 3)
        for X in (np.ones((3, 2), dtype), np.ones((3, 2)))
    )
    assert rows.tolist() == expected.tolist()


# --- state ------------------------------------------------------------------------------------------------------------


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
    inputs, encoder._moments = encoder.scaled(vector[np.newaxis], np.array([w]))
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
    assert state["values"] == [None, ["red", "blue"]]
    assert state["classes"] == [0]
    assert state["inputs_of"][:, :2].tolist() == [[0, -1], [1, 2]]
    assert state["moments"].tolist() == [[2.0, NOMINAL], [2.0, 0.0], [2.0, 0.0]]
    other = Encoder()
    other.restore(state)
    before = pickle.dumps(other)
    state["moments"][:] = 5.0
    state["inputs_of"][:] = 5
    for entry in ("features", "values", "classes", "kinds"):
        state[entry].clear()
    assert pickle.dumps(other) == before


def with_changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: {"classes": None}, TypeError, "'classes' is of type NoneType; give a list"),
        (lambda s: {"inputs_of": s["inputs_of"].tolist()}, TypeError, "'inputs_of' is of type list; give a ndarray"),
        (lambda s: {"colours": []}, ValueError, "entries missing: none; unknown: 'colours'; give exactly features"),
        (lambda s: {"kinds": ["number"]}, ValueError, "'kinds' has 1 items for 3 features"),
        (lambda s: {"kinds": ["number", "text", "date"]}, ValueError, "feature 7 is of kind 'date'; available"),
        (lambda s: {"features": ["a", "w", "a"]}, ValueError, "'features' has the same item twice"),
        (lambda s: {"features": ["a", "w", math.nan]}, TypeError, "the name nan .* cannot be compared"),
        (lambda s: {"classes": ["x", "x"]}, ValueError, "'classes' has the same item twice"),
        (lambda s: {"classes": ["x", math.nan]}, ValueError, "label is nan"),
        (lambda s: {"classes": [["x"]]}, TypeError, "label .* is not hashable"),
        (lambda s: {"values": [None, ["red", "blue"], None]}, ValueError, "feature 7 has no values, but is nominal"),
        (lambda s: {"values": [[1], ["red", "blue"], [3]]}, ValueError, "feature 'a' has values, but is a number in"),
        (lambda s: {"values": [None, ("red", "blue"), [3]]}, TypeError, "feature 'w' are of type tuple; give a list"),
        (lambda s: {"values": [None, ["red", 2], [3]]}, ValueError, "feature 'w', a text, has the value 2"),
        (lambda s: {"values": [None, ["red", "red"], [3]]}, ValueError, "feature 'w' has the same value twice"),
        (lambda s: {"values": [None, ["red"], list(range(257))]}, ValueError, "feature 7 has 257 values; at most 256"),
        (lambda s: {"values": [None, ["red", "blue", "green"], [3]]}, ValueError, "'inputs_of' does not number the 5"),
        (lambda s: {"moments": s["moments"][:, :2]}, ValueError, r"'moments' is float64 of shape \(3, 2\); give"),
        (lambda s: {"moments": s["moments"].astype("f4")}, ValueError, "'moments' is float32 of shape"),
        (lambda s: {"moments": with_changed(s["moments"], (0, 1), 2.0)}, ValueError, "'moments' has weights"),
        (lambda s: {"moments": with_changed(s["moments"], (0, 0), -0.5)}, ValueError, "'moments' has weights"),
        (lambda s: {"inputs_of": s["inputs_of"][:, :1]}, ValueError, r"'inputs_of' is int64 of shape \(3, 1\)"),
        (lambda s: {"inputs_of": with_changed(s["inputs_of"], (0, 0), 3)}, ValueError, "'inputs_of' does not number"),
        (lambda s: {"inputs_of": with_changed(s["inputs_of"], (0, 5), 3)}, ValueError, "'inputs_of' does not number"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, error, message):
    encoder = Encoder(nominal=[7])
    for x in ({"a": 1.0, "w": "red"}, {"a": 3.0, "w": "blue", 7: 3}):
        read_and_learn(encoder, x, "y", 1.0)
    state = encoder.state()
    before = pickle.dumps(encoder)
    with pytest.raises(error, match=message):
        encoder.restore(state | change(state))
    assert pickle.dumps(encoder) == before


def test_a_state_without_an_entry_is_refused_by_its_name():
    state = Encoder().state()
    del state["moments"]
    with pytest.raises(ValueError, match="entries missing: moments; unknown: none"):
        Encoder().restore(state)
    with pytest.raises(TypeError, match="state is of type list; give a dict"):
        Encoder().restore([])


def test_a_state_of_another_nominal_is_refused():
    encoder = learnt({"a": 1.0})
    with pytest.raises(
        ValueError, match="feature 'a' has no values, but is nominal in this encoder; build it with"
    ):
        Encoder(nominal=["a"]).restore(encoder.state())
