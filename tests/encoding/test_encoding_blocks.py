"""Rows of a block are encoded as their samples."""

from __future__ import annotations

import math
from decimal import Decimal
from unittest.mock import patch

import numpy as np
import pytest
from encoders import learnt
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmoe.encoding import NONE, BlockRows, Encoder, SampleRows, clean, read_block

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
        rest = np.ones(len(block) - start, np.bool_)
        stop = block.known_until(start, rest)
        assert stop == dicts.known_until(start, rest)
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


@pytest.mark.parametrize("max_listed", [0, 256])
@pytest.mark.parametrize("index", [3.0, -1.0, math.inf, 0.5])
def test_what_is_not_an_index_into_its_list_is_refused(index, max_listed):
    message = r"feature 'a' is .*, an index into a list of 3 values; choose a whole number from 0 to 2"
    with (
        patch("driftmoe.encoding.encoder.MAX_LISTED", max_listed),
        pytest.raises(ValueError, match=message),
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


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.float16])
def test_a_block_of_any_numbers_is_read_as_float64(dtype):
    legend = {"names": ["a", "w"], "values": [None, ["red", "blue"]], "classes": ["p", "q"]}
    y = np.array([0, 1, 1])
    rows, expected = (
        BlockRows(learnt({"a": 1.0, "w": "red"}), X, y, **legend).vectors(0, 3)
        for X in (np.ones((3, 2), dtype), np.ones((3, 2)))
    )
    assert rows.tolist() == expected.tolist()
