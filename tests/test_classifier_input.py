"""Samples, labels and frames that `DriftMoEClassifier` takes, and those that it refuses."""

from __future__ import annotations

import math
import pickle
from array import array
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from river import tree
from small_models import SEA, learnt, small

from driftmoe import DriftMoEClassifier
from driftmoe.classifier import VARIANTS
from driftmoe.memory import n_bytes

values = st.one_of(
    st.floats(-1e100, 1e100),
    st.integers(-(10**50), 10**50),
    st.booleans(),
    st.none(),
    st.just(math.nan),
)

words = st.one_of(st.text(max_size=3), st.none())

samples = st.tuples(
    st.fixed_dictionaries(
        {}, optional={"a": values, "b": values, "c": words, "d": words, 5: values, ("t", 1): words}
    ),
    st.sampled_from(["x", "y", 3, True, ("u", 2), 2.5]),
)


@pytest.mark.parametrize("variant", VARIANTS)
@given(rows=st.lists(samples, min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_stream_of_valid_samples_is_learnt(variant, rows):
    model = small(variant, expert=tree.HoeffdingTreeClassifier(grace_period=5), batch_size=4)
    seen = []
    for x, y in rows:
        proba = model.predict_proba_one(x)
        if seen:
            assert set(proba) == set(seen)
            assert math.isclose(sum(proba.values()), 1.0)
            assert all(0.0 <= p <= 1.0 for p in proba.values())
        model.learn_one(x, y)
        seen.append(y)
    assert np.isfinite(model._mixture.router._weights).all()


BAD_SAMPLES = [
    ({"a": math.inf}, ValueError, "feature 'a' is inf; numbers must lie within"),
    ({"a": -math.inf}, ValueError, "feature 'a' is -inf"),
    ({"a": 10**400}, ValueError, "feature 'a' is 1000"),
    ({"a": 1e101}, ValueError, r"feature 'a' is 1e\+101"),
    ({"a": [1]}, TypeError, r"feature 'a' is \[1\] of type list; allowed are"),
    ({"a": 1j}, TypeError, "of type complex"),
    ({"a": b"x"}, TypeError, "of type bytes"),
    ({"a": "text"}, TypeError, "feature 'a' is 'text', a text, but was a number before"),
    ({"w": 1.0}, TypeError, "feature 'w' is 1.0, a number, but was a text before"),
    ({"a": np.array(1.0), "w": "red"}, TypeError, "of type ndarray"),
    ({"a": torch.tensor(1.0), "w": "red"}, TypeError, "of type Tensor"),
    ({"a": np.complex64(1j), "w": "red"}, TypeError, "of type complex"),
    ({"a": np.datetime64(1, "ns"), "w": "red"}, TypeError, "of type datetime64"),
    (
        {"a": 1.0, "w": "new", Decimal(7): 1.0},
        TypeError,
        r"the name Decimal\('7'\) of type Decimal cannot be compared",
    ),
    ([("a", 1.0)], TypeError, "a sample is a dict of feature name to value, got list"),
    (None, TypeError, "got NoneType"),
]


@pytest.mark.parametrize(("x", "error", "message"), BAD_SAMPLES)
def test_bad_sample_is_refused_and_changes_nothing(x, error, message):
    model = learnt("driftmoe", [({"a": 1.0, "w": "red"}, 0), ({"a": 2.0, "w": "blue"}, 1)])
    before = pickle.dumps(model)
    with pytest.raises(error, match=message):
        model.learn_one(x, 0)
    with pytest.raises(error, match=message):
        model.predict_one(x)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "label is None"),
        (math.nan, ValueError, "label is nan"),
        (np.float64("nan"), ValueError, "label is"),
        ([1], TypeError, r"label \[1\] of type list is not hashable"),
        ((1, [2]), TypeError, "not hashable"),
        ((1, math.nan), ValueError, "not equal to itself"),
        (np.datetime64("NaT"), ValueError, "not equal to itself"),
        (complex("nan"), ValueError, "not equal to itself"),
        (torch.tensor(1), ValueError, "not equal to itself"),
    ],
)
def test_bad_label_is_refused_and_changes_nothing(y, error, message):
    model = learnt("driftmoe", SEA[:5])
    before = pickle.dumps(model)
    with pytest.raises(error, match=message):
        model.learn_one(SEA[0][0], y)
    assert pickle.dumps(model) == before


def test_names_of_numpy_beside_tuples_are_learnt_one_by_one_and_in_blocks():
    names, words = [np.int64(7), ("t", 1)], ["red", "blue", "green"]
    model = learnt("driftmoe", [({names[0]: 1.0, names[1]: "red"}, 0)])
    legend = {"names": names, "values": [None, words], "classes": [0, 1]}
    for i, word in enumerate(words):
        model.step_many(np.array([[1.0, i]]), np.array([i % 2]), **legend)
        model.learn_one({7: 2.0, names[1]: f"dark {word}"}, 0)
    assert model._encoder.values[1] == ["red", "dark red", "blue", "dark blue", "green", "dark green"]


FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0]})

COLUMNS = {
    "tuple": ("x", "y", "x"),
    "series": pd.Series(["x", "y", "x"]),
    "categories": pd.Series(["x", "y", "x"], dtype="category"),
    "index": pd.Index(["x", "y", "x"]),
    "frame": pd.DataFrame({"label": ["x", "y", "x"]}),
    "frame without names": pd.DataFrame(["x", "y", "x"]),
    "polars series": pl.Series(["x", "y", "x"]),
    "polars frame": pl.DataFrame({"label": ["x", "y", "x"]}),
    "arrow array": pa.array(["x", "y", "x"]),
    "arrow column": pa.chunked_array([["x", "y"], ["x"]]),
    "arrow table": pa.table({"label": ["x", "y", "x"]}),
    "arrow batch": pa.record_batch({"label": ["x", "y", "x"]}),
    "array": np.array(["x", "y", "x"]),
    "array of objects": np.array(["x", "y", "x"], object),
    "n x 1": np.array([["x"], ["y"], ["x"]]),
}


@pytest.mark.parametrize("y", COLUMNS.values(), ids=COLUMNS)
def test_labels_come_as_anything_of_one_column(y):
    model, expected = (DriftMoEClassifier(n_experts=2, extras=(), seed=1) for _ in range(2))
    model.learn_many(FRAME, y)
    expected.learn_many(FRAME, ["x", "y", "x"])
    assert model.predict_proba_one({"a": 1.0}) == expected.predict_proba_one({"a": 1.0})
    assert [type(label) for label in model.predict_proba_one({})] == [str, str]


def test_numbers_as_labels_are_pythons_own():
    for y in (np.array([[1], [2], [1]]), torch.tensor([1, 2, 1]), array("i", [1, 2, 1]), range(3)):
        model = DriftMoEClassifier(n_experts=2, extras=(), seed=1)
        model.learn_many(FRAME, y)
        assert {type(label) for label in model.predict_proba_one({})} == {int}


def test_times_as_labels_stay_times():
    model = DriftMoEClassifier(n_experts=2, extras=(), seed=1)
    model.learn_many(FRAME, np.array(["2020", "2021", "2020"], "datetime64[ns]"))
    assert list(model.predict_proba_one({})) == [np.datetime64("2020", "ns"), np.datetime64("2021", "ns")]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ({"x": 1, "y": 2, "z": 3}, TypeError, "y is of type dict, which is not a column of labels; give a list"),
        ("xyx", TypeError, "y is of type str, which is not a column of labels"),
        (b"xyx", TypeError, "y is of type bytes, which is not a column"),
        (memoryview(b"xyx"), TypeError, "y is of type memoryview"),
        ({"x", "y", "z"}, TypeError, "y is of type set"),
        ((label for label in "xyx"), TypeError, "y is of type generator"),
        (None, TypeError, "y is of type NoneType"),
        (3, TypeError, "y is of type int"),
        (pl.DataFrame({"a": ["x", "y", "x"]}).lazy(), TypeError, "y is of type LazyFrame"),
        (pd.DataFrame(np.eye(3), columns=list("pqr")), ValueError, "y is a DataFrame of 3 columns, 'p', 'q', 'r'; "),
        (pd.DataFrame(np.ones((3, 9))), ValueError, "y is a DataFrame of 9 columns, 0, 1, 2, 3, 4, ...; give the one"),
        (pa.table({"p": [1, 2, 3], "q": [1, 2, 3]}), ValueError, "y is a Table of 2 columns, 'p', 'q'; give the one"),
        (np.eye(3), ValueError, r"y has shape \(3, 3\); give one label a row"),
        (np.array([["x", "y", "x"]]), ValueError, r"y has shape \(1, 3\); give one label a row"),
        (np.array("x"), ValueError, r"y has shape \(\); give one label a row"),
    ],
)  # fmt: skip
def test_what_is_no_column_of_labels_is_refused_and_changes_nothing(y, error, message):
    model = learnt("driftmoe", SEA[:5])
    before = pickle.dumps(model)
    with pytest.raises(error, match=message):
        model.learn_many(FRAME, y)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.ones((3, 1)),
            r"X is a numpy array of shape \(3, 1\); give an eager frame .* such as pandas.DataFrame\(X\)",
        ),
        ([[1.0], [2.0], [3.0]], "X is a list; give an eager frame"),
        ({"a": [1.0, 2.0, 3.0]}, "X is a dict; give an eager frame"),
        (pl.DataFrame({"a": [1.0, 2.0, 3.0]}).lazy(), "X is a LazyFrame; give an eager frame"),
        (pd.Series([1.0, 2.0, 3.0]), "X is a Series; give an eager frame"),
    ],
    ids=["array", "list", "dict", "lazy", "series"],
)
def test_what_is_no_frame_is_refused_with_a_word_on_what_to_give(X, message):
    model = learnt("driftmoe", SEA[:5])
    for method in (lambda X: model.learn_many(X, [0, 1, 0]), model.predict_many, model.predict_proba_many):
        with pytest.raises(TypeError, match=message):
            method(X)


def test_a_block_of_objects_is_refused_by_us():
    model = learnt("driftmoe", SEA[:5])
    with pytest.raises(TypeError, match="X is an array of type object; give float64"):
        model.step_many(np.ones((2, 1), object), np.array([0, 1]), names=["a"], values=[None], classes=[0, 1])


@pytest.mark.filterwarnings("ignore:features with too many nominal values")
def test_a_feature_of_ever_new_values_takes_bounded_memory():
    model = DriftMoEClassifier(n_experts=2, extras=(), hidden=(4,), seed=1)
    sizes = []
    for i in range(3000):
        model.learn_one({"user": f"user {i}"}, i % 2)
        if i in (1999, 2999):
            sizes.append(n_bytes(model))
    assert sizes[1] <= 1.1 * sizes[0]
    assert sizes[1] < 120e6


def test_two_columns_of_one_name_are_refused_by_name():
    with pytest.raises(ValueError, match="X has two columns of one name"):
        DriftMoEClassifier("moe-vote", n_experts=2).learn_many(
            pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), [0]
        )
