"""Write any stream as a CSV, ARFF or Parquet file, which `streams.files` reads back as the same stream.

Numbers are written with the fewest digits that give back the same float64. CSV and ARFF hold no types: a label `"1"`
is read back as the int 1. CSV holds no declarations either: a nominal feature whose values are numbers is read back as
nominal only if its name is passed in `nominal`. Parquet keeps everything, with classes and nominal values in order.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from streams.files import MISSING, VALUES_KEY
from streams.staging import naming, publish, staging
from streams.stream import Block, Stream
from streams.synthetic.generator import Generator

SUFFIXES = (".csv", ".csv.gz", ".arff", ".arff.gz", ".parquet")
"""Endings of the file names that `write` knows."""

_BLOCK_NUMBERS = 1 << 22
_BLOCK_ROWS = 1 << 16


def write(
    stream: Stream,
    path: str | Path,
    *,
    n_samples: int | None = None,
    target: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write a stream to a file. The ending of the name sets the format.

    The file appears whole or not at all, and replaces a file of the same name. Files that a killed export left in the
    folder are deleted by the next one.

    Parameters
    ----------
    stream
        The stream to write.
    path
        A name that ends in one of `SUFFIXES`.
    n_samples
        Largest number of samples to write. A stream without end needs it.
    target
        Name of the last column, which holds the class labels. Default: its name in the file that the stream was read
        from, or else `"class"`.
    progress
        Called with the number of samples written so far, after every block.

    Returns
    -------
    int
        The number of samples written.

    Raises
    ------
    ValueError
        If the ending of the name is unknown, if `n_samples` is negative, or `None` for a stream without end, or if a
        feature has the name of the target. Also if the format cannot hold a value: text that CSV would read as
        missing, or a mixture of types in a column of Parquet.
    OSError
        If the file cannot be written, as on a full disk; an older file of this name is kept.

    Notes
    -----
    CSV holds no types. A nominal feature whose values are numbers is read back as numeric, unless its name is passed in
    `nominal`; then its values become text. Labels that look like whole numbers are read back as ints.

    Examples
    --------
    >>> import tempfile
    >>> from streams.files import open_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "weather.csv")
    ...     _ = path.write_text("degrees,sky,rain\\n14.5,grey,yes\\n21,blue,no\\n")
    ...     n_written = write(open_file(path), Path(folder, "weather.arff"))
    ...     print(n_written, next(iter(open_file(Path(folder, "weather.arff")))))
    2 ({'degrees': 14.5, 'sky': 'grey'}, 'yes')
    """
    path = Path(path)
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise ValueError(f"{path}: cannot be written; the name must end in one of {', '.join(SUFFIXES)}")
    if n_samples is not None and n_samples < 0:
        raise ValueError(f"n_samples={n_samples}; choose 0 or more, or None for the whole stream")
    if n_samples is None and _is_endless(stream):
        raise ValueError(
            f"{type(stream).__name__} has no end; set n_samples to the number of samples to write"
        )
    name = str(getattr(stream, "target", "class")) if target is None else target
    if any(feature.name == name for feature in stream.features):
        raise ValueError(f"target={name!r} is the name of a feature; choose another for the class column")
    n_written = 0
    kept = "the export is lost; a file of this name, if there was one, is as it was"
    with naming(path, kept), staging(path.parent) as folder:
        writers: dict[str, Callable[..., Iterator[int]]] = {
            "csv": _write_csv,
            "arff": partial(_write_arff, folder=folder),
            "parquet": _write_parquet,
        }
        part = folder / "part"
        with part.open("wb") as raw:
            is_packed = suffix.endswith(".gz")
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if is_packed else nullcontext(raw) as file:
                for n in writers[suffix.split(".")[1]](stream, _blocks(stream, n_samples), file, name):
                    n_written += n
                    if progress is not None:
                        progress(n_written)
        publish(part, path)
    return n_written


def _is_endless(stream: Stream) -> bool:
    """Return whether a stream is known to have no end. A length of `None` may also mean that it is unknown."""
    if stream.n_samples is not None:
        return False
    parts = [part for part in (getattr(stream, "stream", None), *getattr(stream, "concepts", ())) if part]
    return any(map(_is_endless, parts)) if parts else isinstance(stream, Generator)


def _blocks(stream: Stream, n_samples: int | None) -> Iterator[Block]:
    """Yield blocks of bounded size, with `n_samples` rows in total."""
    left = n_samples
    for X, y in stream.blocks(max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // (stream.n_features + 1)))):
        if left is not None:
            X, y = X[:left], y[:left]
            left -= len(y)
        if len(y):
            yield Block(X, y)
        if left == 0:
            return


def _write_csv(stream: Stream, blocks: Iterator[Block], file: Any, target: str) -> Iterator[int]:
    names = [feature.name for feature in stream.features]
    file.write((",".join(map(_csv_field, [*names, target])) + "\n").encode())
    for block in blocks:
        file.write(_text_rows(stream, block, _csv_value, missing=""))
        yield len(block.y)


def _write_arff(
    stream: Stream, blocks: Iterator[Block], file: Any, target: str, *, folder: Path
) -> Iterator[int]:
    # A file may show new values until its end, but ARFF declares them at the start.
    with tempfile.TemporaryFile(dir=folder) as body:
        for block in blocks:
            body.write(_text_rows(stream, block, _arff_token, missing="?"))
            yield len(block.y)
        lines = [f"@relation {_arff_token(stream.__class__.__name__)}", ""]
        for name, values in [*((f.name, f.values) for f in stream.features), (target, stream.classes)]:
            lines.append(f"@attribute {_arff_token(name)} {_arff_type(values)}")
        file.write("\n".join([*lines, "", "@data", ""]).encode())
        body.seek(0)
        shutil.copyfileobj(body, file)


def _arff_type(values: list[Any] | None) -> str:
    if values is None:
        return "numeric"
    return "{" + ", ".join(map(_arff_token, values)) + "}" if values else "string"


def _write_parquet(stream: Stream, blocks: Iterator[Block], file: Any, target: str) -> Iterator[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [*((f.name, f.values) for f in stream.features), (target, stream.classes)]
    first = next(blocks, Block(np.empty((0, stream.n_features)), np.empty(0, np.int64)))
    types = [pa.float64() if values is None else _typed(name, values).type for name, values in columns]
    schema = pa.schema([(name, kind) for (name, _), kind in zip(columns, types, strict=True)])
    with pq.ParquetWriter(file, schema) as writer:
        for X, y in _prepended(first, blocks):
            arrays = []
            for (name, values), kind, numbers in zip(columns, types, [*X.T, y], strict=True):
                if values is None:
                    arrays.append(pa.array(numbers, from_pandas=True))
                else:
                    is_missing = np.isnan(numbers)
                    codes = pa.array(np.where(is_missing, 0, numbers).astype(np.int32), mask=is_missing)
                    arrays.append(_typed(name, values, kind).take(codes))
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            yield len(y)
        known = {name: [_plain(value) for value in values] for name, values in columns if values is not None}
        writer.add_key_value_metadata({VALUES_KEY: json.dumps(known).encode()})


def _prepended(first: Block, blocks: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from blocks


def _typed(name: str, values: Sequence[Any], kind: Any = None) -> Any:
    """Return the values of a column as an Arrow array, which holds one type."""
    import pyarrow as pa

    plain = [_plain(value) for value in values]
    types = sorted({type(value).__name__ for value in plain})
    if len(types) > 1 or not set(types) <= {"str", "int", "bool", "float"}:
        raise ValueError(
            f"column {name!r} holds values of type {', '.join(types)}; a Parquet column holds one of "
            "str, int, bool and float, so write .csv or .arff"
        )
    return pa.array(plain, kind if kind is not None or plain else pa.string())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _text_rows(stream: Stream, block: Block, text_of: Callable[[Any], str], missing: str) -> bytes:
    """Return the lines of a block."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    kinds = [*(feature.values for feature in stream.features), stream.classes]
    for values, numbers in zip(kinds, [*block.X.T, block.y], strict=True):
        if values is None:
            columns.append(pa.array(numbers, from_pandas=True).cast(pa.string()).fill_null(missing))
        else:
            texts = pa.array([*map(text_of, values), missing])
            codes = np.where(np.isnan(numbers), len(values), numbers).astype(np.int32)
            columns.append(texts.take(pa.array(codes)))
    lines = pc.binary_join_element_wise(*columns, ",").to_pylist()
    return ("\n".join(lines) + "\n").encode()


def _csv_value(value: Any) -> str:
    text = str(_plain(value))
    if text.strip() in MISSING:
        raise ValueError(f"the value {text!r} would be read from CSV as missing; write .arff or .parquet")
    return _csv_field(text)


def _csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


_PLAIN_TOKEN = re.compile(r"[\w.+-]+", re.ASCII)
_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _arff_token(value: Any) -> str:
    text = str(_plain(value))
    return text if _PLAIN_TOKEN.fullmatch(text) else f"'{text.translate(_ESCAPES)}'"
