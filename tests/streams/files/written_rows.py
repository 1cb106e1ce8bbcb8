"""Rows as files of several kinds, and streams over arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SLOW_MACHINE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def samples(stream):
    return list(stream)


def table(stream, size=1000):
    blocks = list(stream.blocks(size))
    return np.concatenate([b.X for b in blocks]), np.concatenate([b.y for b in blocks])


MARK = st.sampled_from(
    ["-", "None", "<NA>", " - ", "-999", "-999.0", "7.0", "-inf", "\udcff", "\udce9t\udce9"]
)


def write_ipc_stream(table, path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


TWO_PLACES = pytest.mark.parametrize("n_before", [1, 40], ids=["first piece", "later piece"])
"""Rows before the odd one: it lies in the first 200 bytes of a file, which decide on its columns, or behind them."""


def save_as(name, tmp_path, rows):
    """Write rows of the columns a, b (text) and y, given as texts, to a file of some kind; return its path."""
    path = tmp_path / name
    if name.endswith(".arff"):
        head = "@relation r\n@attribute a numeric\n@attribute b string\n@attribute y string\n@data\n"
        path.write_text(head + "".join(",".join(row) + "\n" for row in rows))
    elif name.endswith(".jsonl"):
        path.write_text("".join(f'{{"a": {a}, "b": "{b}", "y": "{y}"}}\n' for a, b, y in rows))
    elif name.endswith(".parquet"):
        a, b, y = zip(*rows, strict=True)
        columns = {"a": [float(text) for text in a], "b": list(b), "y": list(y)}
        pq.write_table(pa.table(columns), path, row_group_size=5)
    else:
        path.write_text("a,b,y\n" + "".join(",".join(row) + "\n" for row in rows))
    return path
