"""Any state as JSON and arrays, and back: nothing lost, nothing guessed, no code."""

from __future__ import annotations

import datetime as dt
import enum
import math
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmoe.routing import TopK, WithNull
from driftmoe.saving import codec
from driftmoe.saving.codec import MAX_DEPTH, Repeated, as_json, decoded, encoded, narrowed
from driftmoe.strict_json import from_json

OF_JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
LABELS = st.recursive(
    OF_JSON
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)


def there_and_back(value, **options):
    document, arrays = encoded(value, **options)
    return decoded(
        from_json(as_json(document)), arrays, **{n: v for n, v in options.items() if n != "pickling"}
    )


def same(one, other):
    """Equal and of the same types, to the last bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return (
            list(one) == list(other)
            and all(map(same, one, other))
            and all(map(same, one.values(), other.values()))
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or one.hex() == other.hex()
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return one == other and repr(one) == repr(other)


@pytest.fixture
def no_short_arrays(monkeypatch):
    """So that small examples show what happens to large arrays."""
    monkeypatch.setattr(codec, "MAX_SHORT", -1)


@given(LABELS)
def test_labels_come_back_as_they_were(label):
    assert same(there_and_back([label]), [label])


@given(st.dictionaries(st.text() | st.integers() | st.tuples(st.text()), LABELS, max_size=4))
def test_dicts_keep_their_names_and_their_order(names):
    assert same(there_and_back(names), names)


@pytest.mark.parametrize(
    "value",
    [
        {"$tuple": 1},
        {"a": {"$array": "<f8"}},
        [True, 1, 1.0, "1"],
        frozenset({(1, "a"), None}),
        {3, 1},
        Decimal("1.10"),
        Fraction(1, 3),
        UUID(int=7),
        dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC),
        -0.0,
        float("-inf"),
        2**70,
        np.int64(7),
        np.float32(0.1),
        np.bool_(True),
        np.str_("text"),
        float("nan"),
        "\ud800",
    ],
)
def test_values_that_json_would_mistake_come_back_as_they_were(value):
    assert same(there_and_back(value), value)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
@pytest.mark.parametrize("most", [-1, codec.MAX_SHORT])
def test_arrays_come_back_as_they_were(dtype, shape, most, monkeypatch):
    monkeypatch.setattr(codec, "MAX_SHORT", most)
    array = np.asarray(np.arange(math.prod(shape)).reshape(shape) * 100, dtype)
    assert same(there_and_back({"a": array})["a"], array)


@pytest.mark.usefixtures("no_short_arrays")
@pytest.mark.parametrize(
    ("array", "kept"),
    [
        ([0, 255], "u1"), ([0, 256], "u2"), ([-1, 127], "i1"), ([-1, 128], "i2"), ([2**32], "u8"),
        ([-(2**31)], "i4"), ([-(2**63), 2**63 - 1], "i8"), ([], "u1"),
    ],
)  # fmt: skip
def test_integers_are_kept_in_the_narrowest_type_that_holds_them(array, kept):
    array = np.array(array, np.int64)
    assert narrowed(array).dtype == kept
    assert encoded([array]).arrays["0"].dtype == kept
    assert same(there_and_back([array]), [array])


@pytest.mark.usefixtures("no_short_arrays")
def test_records_are_kept_as_columns():
    dtype = np.dtype([("n", "i4"), ("inner", [("x", "f8"), ("y", "f4", (2,))], (3,))])
    array = np.frombuffer(np.random.default_rng(1).bytes(2 * dtype.itemsize), dtype).copy()
    document, arrays = encoded({"tree": array})
    assert set(arrays) == {"tree.n", "tree.inner.x", "tree.inner.y"}
    assert same(decoded(document, arrays)["tree"], array)


def test_equal_arrays_are_kept_once():
    one = np.arange(1000)
    document, arrays = encoded({"a": one, "b": one.copy(), "c": one.astype(np.int32), "d": one.astype(float)})
    assert set(arrays) == {"a", "d"}
    back = decoded(document, arrays)
    assert [back[name].dtype for name in "abcd"] == ["i8", "i8", "i4", "f8"]
    back["a"][0] = 7
    assert back["b"][0] == 0


@pytest.mark.usefixtures("no_short_arrays")
def test_arrays_of_one_number_are_kept_as_that_number():
    arrays = {
        "ones": np.ones((3, 4), np.float32),
        "minus": np.full(3, -0.0),
        "nan": np.full(3, np.nan),
        "one": np.ones(1),
    }
    document, kept = encoded(arrays)
    assert document["ones"] == {"$full": ["<f4", [3, 4], 1.0]}
    assert set(kept) == {"nan", "one"}
    assert same(there_and_back(arrays), arrays)


def test_short_arrays_are_kept_in_the_document():
    arrays = {
        "none": np.zeros((0, 3)),
        "one": np.array(7, np.uint8),
        "few": np.array([[0.1, -0.0]], np.float32),
        "flags": np.array([True, False]),
        "not finite": np.array([1.0, np.inf]),
        "long": np.arange(17),
    }
    document, kept = encoded(arrays)
    assert document["few"] == {"$numbers": ["<f4", [1, 2], [float(np.float32(0.1)), -0.0]]}
    assert set(kept) == {"not finite", "long"}
    assert same(there_and_back(arrays), arrays)


@pytest.mark.usefixtures("no_short_arrays")
def test_there_is_a_bound_on_what_a_file_may_repeat(monkeypatch):
    monkeypatch.setattr(codec, "MAX_REPEATED", 10 * 8)
    arrays = {"a": np.zeros(6), "b": np.ones(6), "c": np.ones(4), "d": np.arange(2.0), "e": np.arange(2.0)}
    document, kept = encoded(arrays)
    assert set(kept) == {"b", "d", "e"}
    assert same(there_and_back(arrays), arrays)
    with pytest.raises(ValueError, match="'d' is repeated too often: more than 80 bytes in all"):
        decoded(document | {"e": {"$same": ["<f8", "d"]}}, kept)
    with pytest.raises(ValueError, match=r"an array of shape \[5\]"):
        decoded(document | {"c": {"$full": ["<f8", [5], 1.0]}}, kept)


@pytest.mark.usefixtures("no_short_arrays")
def test_states_of_one_file_share_the_bound(monkeypatch):
    monkeypatch.setattr(codec, "MAX_REPEATED", 10 * 8)
    writing, reading = Repeated(), Repeated()
    parts = [encoded({"a": np.zeros(6)}, repeated=writing) for _ in range(2)]
    assert [list(arrays) for _, arrays in parts] == [[], ["a"]]
    assert decoded(*parts[0], repeated=reading)["a"].shape == (6,)
    with pytest.raises(ValueError, match=r"an array of shape \[6\]"):
        decoded(*parts[0], repeated=reading)


def test_objects_of_known_classes_are_built_from_their_arguments():
    policy = WithNull(TopK(2, renorm=False), n_null=3)
    objects = {"TopK": TopK, "WithNull": WithNull}
    assert there_and_back(policy, objects=objects) == policy
    document, arrays = encoded(policy, objects=objects)
    with pytest.raises(ValueError, match="unknown class 'TopK'"):
        decoded(document, arrays)


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Colour.RED, "Colour, which cannot be described"),
        (np.datetime64("2026-11-29"), "numpy.datetime64, which cannot be described"),
        (np.array(["a"]), "array of <U1; numbers and bools"),
        (np.array([None]), "array of object; numbers and bools"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), "time zone of its own"),
        (object(), "builtins.object, which cannot be described"),
    ],
)
def test_what_cannot_be_described_is_named_with_its_place(value, message):
    with pytest.raises(TypeError, match=message) as caught:
        encoded({"part": {"labels": [value]}})
    assert "part.labels.0" in str(caught.value)


def test_a_pickle_is_written_and_read_only_if_asked_for():
    document, arrays = encoded([Colour.RED], pickling=True)
    with pytest.raises(
        ValueError, match="loading it runs code; if you trust the file, load it with trust_pickle=True"
    ):
        decoded(document, arrays)
    assert decoded(document, arrays, unpickling=True) == [Colour.RED]


ARRAYS = {"a": np.arange(3, dtype=np.uint8)}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"b": {"$array": "<i8"}}, "array 'b' is missing"),
        ({"$same": ["<i8", "b"]}, "array 'b' is missing"),
        ({"$same": ["<i8"]}, "missing 1 required positional argument"),
        ({"a": {"$array": "|O"}}, "an array of object"),
        ({"a": {"$array": "<f8"}}, "is of uint8, which is no float64"),
        ({"a": {"$array": 3}}, "in the place of text"),
        ({"$numbers": ["<f4", [1], [0.1]]}, "an array of float32 with"),
        ({"$numbers": ["<i4", [1], [True]]}, "an array of int32 with"),
        ({"$numbers": ["<i4", [1], [0.5]]}, "an array of int32 with"),
        ({"$numbers": ["|u1", [1], [256]]}, "256"),
        ({"$numbers": ["<f4", [1], [1e300]]}, "an array of float32 with"),
        ({"$numbers": ["<f8", [1], [None]]}, "an array of float64 with"),
        ({"$numbers": ["<f8", [2], [1.0]]}, "cannot reshape"),
        ({"$numbers": ["<i8", [17], list(range(17))]}, "an array of int64 with"),
        ({"$numbers": ["|b1", [1], "a"]}, "an array of bool with"),
        ({"$full": "a"}, "a str in the place of a list"),
        ({"$full": ["<f8", [-1], 1.0]}, r"an array of shape \[-1\]"),
        ({"$full": ["<f8", [2**20, 2**20], 1.0]}, "and of 1.0 alone"),
        ({"$full": ["<f8", [2], "1"]}, "and of '1' alone"),
        ({"$full": ["<f8", [1.5], 1]}, "no list of 1 integers"),
        ({"$full": ["|u1", [2], 300]}, "300"),
        ({"$full": ["<i8", [2], 1e300]}, "and of 1e[+]300 alone"),
        ({"$full": ["<f4", [2], 1e300]}, "and of 1e[+]300 alone"),
        ({"$full": ["<f4", [2], 1]}, "and of 1 alone"),
        ({"$nosuch": []}, "unknown kind of value"),
        ({"$tuple": [], "b": 1}, "stands alone"),
        ({"$float": "1"}, "is not nan"),
        ({"$bytes": "?"}, "base64"),
        ({"$decimal": "abc"}, "ConversionSyntax"),
        ({"$fraction": "1e99999999"}, "not a fraction of two integers"),
        ({"$numpy": ["<M8[s]", 1]}, "an array of datetime64"),
        ({"$dict": [[1]]}, "dictionary update"),
        ({"$dict": [[[], 1]]}, "unhashable"),
        ({"$timedelta": [1, 2]}, "no list of 3 integers"),
        ({"$record": [[["x", {"$same": ["<i8", "a"]}, []]], [2]]}, "not of shape"),
        ([], "belongs to nothing"),
    ],
)
def test_a_document_without_meaning_is_refused(document, message):
    with pytest.raises(ValueError, match=message):
        decoded(document, ARRAYS)


def test_an_array_that_is_wider_than_it_need_be_is_refused():
    """Each state has one form, so that equal models have equal files."""
    with pytest.raises(ValueError, match="is not kept as uint16"):
        decoded({"a": {"$array": "<i8"}}, {"a": np.arange(3, dtype=np.uint16)})


def test_deep_documents_are_refused():
    label = 1
    for _ in range(MAX_DEPTH - 3):
        label = (label,)
    assert there_and_back([label]) == [label]
    for _ in range(1000):
        label = (label,)
    with pytest.raises(TypeError, match="nested too deeply; write at most 64 levels"):
        encoded([label])
    document = 1
    for _ in range(MAX_DEPTH + 2):
        document = {"$tuple": [document]}
    with pytest.raises(ValueError, match="nested too deeply"):
        decoded(document, {})


def test_zeros_of_one_sign_are_kept_as_one_number_and_others_each():
    for zeros, kept in (
        ([0.0, 0.0], {"$full": ["<f8", [2], 0.0]}),
        ([-0.0, -0.0], {"$full": ["<f8", [2], -0.0]}),
        ([0.0, -0.0], {"$numbers": ["<f8", [2], [0.0, -0.0]]}),
    ):
        document, arrays = encoded(np.array(zeros))
        assert repr(document) == repr(kept)
        assert np.signbit(decoded(document, arrays)).tolist() == np.signbit(zeros).tolist()
