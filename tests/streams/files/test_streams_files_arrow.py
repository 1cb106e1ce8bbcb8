"""Parquet and Arrow files."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from written_rows import samples, write_ipc_stream

from streams.files import ArrowStream, open_file


def arrow_table():
    return pa.table(
        {
            "i": pa.array([1, 2, None, 4], pa.int32()),
            "f": pa.array([0.5, None, float("nan"), 4.0]),
            "s": pa.array(["p", None, "q", "p"]),
            "d": pa.array(["m", "n", "n", "m"]).dictionary_encode(),
            "b": pa.array([True, False, None, True]),
            "y": pa.array([3, 1, 3, 2]),
        }
    )


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("t.parquet", lambda table, path: pq.write_table(table, path, row_group_size=3)),
        ("t.feather", pyarrow.feather.write_feather),
        ("t.arrow", write_ipc_stream),
    ],
)
def test_arrow_files(tmp_path, name, save):
    save(arrow_table(), tmp_path / name)
    stream = open_file(tmp_path / name)
    assert samples(stream) == [
        ({"i": 1.0, "f": 0.5, "s": "p", "d": "m", "b": True}, 3),
        ({"i": 2.0, "d": "n", "b": False}, 1),
        ({"s": "q", "d": "n"}, 3),
        ({"i": 4.0, "f": 4.0, "s": "p", "d": "m", "b": True}, 2),
    ]
    assert stream.classes == [3, 1, 2]
    assert stream.n_samples == (4 if name.endswith("parquet") else None)
    assert samples(open_file(tmp_path / name, "d", drop=["s"], nominal=["i"], n_samples=2)) == [
        ({"i": "1", "f": 0.5, "b": True, "y": 3.0}, "m"),
        ({"i": "2", "b": False, "y": 1.0}, "n"),
    ]
    assert stream.fingerprint() == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_arrow_float_labels_that_are_whole_are_ints(tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0], "y": [0.0, 1.0]}), tmp_path / "t.parquet")
    labels = ArrowStream(tmp_path / "t.parquet").classes
    assert labels == [0, 1]
    assert all(type(label) is int for label in labels)


def test_arrow_missing_label_is_named_or_skipped(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"a": [1, 2, 3, 4, 5], "y": [0.0, None, 1.0, float("nan"), 0.0]}), path, row_group_size=2
    )
    with pytest.raises(ValueError, match=r"t\.parquet, row 2, column 'y': the class label is missing"):
        ArrowStream(path)
    stream = ArrowStream(path, on_bad_row="skip")
    assert samples(stream) == [({"a": 1.0}, 0), ({"a": 3.0}, 1), ({"a": 5.0}, 0)]
    assert stream.bad_rows.count == 2
    assert "row 4" in stream.bad_rows.reasons[1]
    limited = ArrowStream(path, on_bad_row="skip", n_samples=2)
    assert samples(limited) == samples(stream)[:2]


def test_arrow_column_that_is_neither_number_nor_text(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": pa.array([0], pa.timestamp("s")), "a": [1], "y": [0]}), path)
    with pytest.raises(ValueError, match=r"column 't': of type timestamp\[.*drop=\['t'\]"):
        ArrowStream(path)
    assert samples(ArrowStream(path, drop=["t"])) == [({"a": 1.0}, 0)]


def test_arrow_string_views_as_polars_writes_them(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": ["p", None, "q"], "b": [1, 2, 3], "y": ["u", "v", "u"]})
    frame.write_ipc(tmp_path / "t.arrow")
    assert samples(open_file(tmp_path / "t.arrow")) == [
        ({"a": "p", "b": 1.0}, "u"),
        ({"b": 2.0}, "v"),
        ({"a": "q", "b": 3.0}, "u"),
    ]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_arrow_nan_in_a_nominal_column_is_missing(tmp_path, name):
    table = pa.table({"a": [1.0, math.nan, 2.5], "y": [0, 1, 0]})
    if name.endswith("parquet"):
        pq.write_table(table, tmp_path / name)
    else:
        write_ipc_stream(table, tmp_path / name)
    stream = open_file(tmp_path / name, nominal=["a"])
    assert samples(stream) == [({"a": "1"}, 0), ({}, 1), ({"a": "2.5"}, 0)]
    assert stream.features[0].values == ["1", "2.5"]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_arrow_file_of_another_kind_is_refused(put, name):
    with pytest.raises(ValueError, match=rf"{name}: not a Parquet or Arrow file"):
        open_file(put("a,y\n1,2\n", name))


def test_parquet_memory_does_not_grow_with_the_row_group(tmp_path):
    n_rows, n_columns = 1_500_000, 3
    numbers = np.random.default_rng(1).normal(size=(n_columns, n_rows))
    table = pa.table({**{f"x{j}": column for j, column in enumerate(numbers)}, "y": np.arange(n_rows) % 2})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=n_rows)
    del table
    before = pa.total_allocated_bytes()
    blocks = ArrowStream(tmp_path / "t.parquet").blocks()
    next(blocks)
    assert pa.total_allocated_bytes() - before < numbers.nbytes / 2


def test_arrow_the_index_of_pandas_is_a_column_where_it_is_asked_for(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "y": ["p", "q"]}, index=pandas.Index(["k", "l"], name="id"))
    for name in ("t.pq", "t.feather"):
        (frame.to_parquet if name == "t.pq" else lambda path: pyarrow.feather.write_feather(frame, path))(
            tmp_path / name
        )
        stream = open_file(tmp_path / name)
        assert samples(stream) == [({"a": 1.0}, "p"), ({"a": 2.0}, "q")]
        assert samples(open_file(tmp_path / name, 0))[0] == ({"y": "p"}, 1)
    assert open_file(tmp_path / "t.pq", "id").classes == ["k", "l"]
    assert open_file(tmp_path / "t.pq", nominal=["id"]).target == "id"
    frame.reset_index(drop=True).to_parquet(tmp_path / "t.pq")  # an index that is no column
    assert samples(open_file(tmp_path / "t.pq")) == [({"a": 1.0}, "p"), ({"a": 2.0}, "q")]
