"""Writing files and reading them back."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_rows import SLOW_MACHINE, samples

from streams import Block, Feature, Stream, files
from streams.export import write
from streams.files import ARFFStream, ArrowStream, CSVStream, open_file, records
from streams.synthetic import SEA, AssetNegotiation


class ArrayStream(Stream):
    """A stream over arrays in memory."""

    def __init__(self, X, y, features, classes):
        super().__init__(features=features, classes=classes, n_samples=len(y))
        self._block = Block(
            np.asarray(X, dtype=np.float64).reshape(len(y), len(features)), np.asarray(y, np.int64)
        )

    def reader(self):
        start = 0

        def read(n):
            nonlocal start
            block = Block(self._block.X[start : start + n], self._block.y[start : start + n])
            start += len(block.y)
            return block

        return read


NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUE_NAME = NAME.filter(lambda text: text.strip() not in files.MISSING and text[-1] not in ";|\t")

WORDS = st.one_of(
    st.lists(VALUE_NAME.map(lambda t: "w" + t), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=4, unique=True),
    st.permutations([True, False]),
)


@st.composite
def array_streams(draw):
    """Draw a stream with any finite float64 or NaN, names that need quotes, missing values and several classes."""
    kinds = draw(st.lists(st.one_of(st.none(), WORDS), min_size=1, max_size=4))
    names = draw(
        st.lists(
            NAME.filter(lambda t: t == t.strip() and t != "class"),
            min_size=len(kinds),
            max_size=len(kinds),
            unique=True,
        )
    )
    classes = draw(WORDS)
    n = draw(st.integers(1, 12))
    columns = [
        draw(
            st.lists(
                st.floats(allow_infinity=False)
                if values is None
                else st.sampled_from([math.nan, *range(len(values))]),
                min_size=n,
                max_size=n,
            )
        )
        for values in kinds
    ]
    y = draw(st.lists(st.integers(0, len(classes) - 1), min_size=n, max_size=n))
    features = [Feature(name, values) for name, values in zip(names, kinds, strict=True)]
    return ArrayStream(np.array(columns).T, y, features, classes)


def typed(stream):
    """Samples with the type of each value, for `True == 1` and `0.0 == -0.0`."""
    return [({k: (type(v), repr(v)) for k, v in x.items()}, (type(y), y)) for x, y in stream]


@SLOW_MACHINE
@given(stream=array_streams())
def test_csv_round_trip(tmp_path, stream):
    path = tmp_path / "t.csv"
    assert write(stream, path) == stream.n_samples
    nominal = [feature.name for feature in stream.features if feature.is_nominal]
    expected = [({k: str(v) if type(v) is int else v for k, v in x.items()}, y) for x, y in stream]
    assert typed(CSVStream(path, header=True, nominal=nominal)) == typed(expected)


@SLOW_MACHINE
@given(stream=array_streams())
def test_arff_round_trip(tmp_path, stream):
    path = tmp_path / "t.arff"
    write(stream, path)
    back = ARFFStream(path)
    assert typed(back) == typed(stream)
    assert (back.features, back.classes) == (stream.features, stream.classes)


@SLOW_MACHINE
@given(stream=array_streams())
def test_parquet_round_trip(tmp_path, stream):
    path = tmp_path / "t.parquet"
    write(stream, path)
    back = ArrowStream(path)
    assert typed(back) == typed(stream)
    assert (back.features, back.classes) == (stream.features, stream.classes)
    assert back.n_samples == stream.n_samples


def numbers(n=10):
    return ArrayStream(
        np.arange(2.0 * n).reshape(n, 2), np.arange(n) % 2, [Feature("a"), Feature("b")], ["u", "v"]
    )


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.arff", "t.arff.gz", "t.parquet"])
def test_write_stops_at_the_limit_and_reports_progress(tmp_path, name):
    seen = []
    assert write(numbers(), tmp_path / name, n_samples=7, target="label", progress=seen.append) == 7
    back = open_file(tmp_path / name)
    assert back.target == "label"
    assert samples(back) == samples(numbers())[:7]
    assert seen == [7]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_written_gz_is_the_same_file_each_time(tmp_path):
    write(numbers(), tmp_path / "a.csv.gz")
    write(numbers(), tmp_path / "b.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_arff_declares_values_that_appear_late(put, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 32)
    path = put("a,y\n" + "".join(f"v{i},{i}\n" for i in range(40)))
    write(CSVStream(path), tmp_path / "t.arff")
    assert samples(ARFFStream(tmp_path / "t.arff")) == samples(CSVStream(path))
    assert ARFFStream(tmp_path / "t.arff").classes == list(range(40))


def test_a_failed_write_leaves_the_old_file_alone(put, tmp_path):
    old = put("old", "t.csv")
    bad = ArrayStream([[0.0]], [0], [Feature("a", ["NA"])], [0])
    with pytest.raises(ValueError, match=r"the value 'NA' would be read from CSV as missing"):
        write(bad, old)
    assert old.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_write_names_what_it_cannot_do(tmp_path):
    with pytest.raises(ValueError, match=r"t\.xls: cannot be written.*\.parquet"):
        write(numbers(), tmp_path / "t.xls")
    with pytest.raises(ValueError, match=r"target='a' is the name of a feature"):
        write(numbers(), tmp_path / "t.csv", target="a")
    with pytest.raises(ValueError, match=r"n_samples=-1; choose 0 or more"):
        write(numbers(), tmp_path / "t.csv", n_samples=-1)
    with pytest.raises(ValueError, match=r"SEA has no end; set n_samples"):
        write(SEA(seed=1), tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
    mixed = ArrayStream([[0.0]], [0], [Feature("a", [1, "b"])], [0])
    with pytest.raises(
        ValueError, match=r"column 'a' holds values of type int, str; a Parquet column holds one"
    ):
        write(mixed, tmp_path / "t.parquet")


def test_csv_carries_no_types(tmp_path):
    """The payment, "30" and so on, comes back as a number, or as the name 30 if asked for."""
    stream = AssetNegotiation(seed=1)
    path = tmp_path / "t.csv"
    write(stream, path, n_samples=500)
    expected = [({k: str(v) for k, v in x.items()}, y) for x, y in itertools.islice(stream, 500)]
    assert not CSVStream(path).features[2].is_nominal
    back = CSVStream(path, nominal=["payment"])
    assert all(type(value) is str for value in back.features[2].values)
    assert [({k: str(v) for k, v in x.items()}, y) for x, y in back] == expected


def test_an_empty_stream_can_be_written_and_read(tmp_path):
    for name in ("t.csv", "t.arff", "t.parquet"):
        assert write(numbers(), tmp_path / name, n_samples=0) == 0
        assert samples(open_file(tmp_path / name)) == []
