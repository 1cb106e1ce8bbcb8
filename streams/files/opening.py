"""`open_file`: choose how to read a file, by its name or its first line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from streams.files.arff import ARFFStream
from streams.files.arrow import ArrowStream
from streams.files.csv import CSVStream
from streams.files.decoding import BOM, PIECE_BYTES, known_encoding, open_text
from streams.files.jsonlines import JSONLinesStream
from streams.files.values import MISSING

PACKED = ("", ".gz", ".zip", ".bz2", ".xz")

TEXTS = (".csv", ".tsv", ".txt", ".data", ".arff", ".jsonl", ".ndjson")

TABLES = (".parquet", ".pq", ".arrow", ".feather")

SUFFIXES = (*(text + packed for text in TEXTS for packed in PACKED), *TABLES, *PACKED[1:])
"""Endings of file names that `open_file` knows. A longer ending comes first: `.csv.gz` before `.gz`."""

ENDINGS = f"{', '.join(TEXTS)} (or one of these with {', '.join(PACKED[1:])} behind it), {', '.join(TABLES)}"
"""The same as text for an error message."""

DELIMITERS = ",\t;|"


class FileWarning(UserWarning):
    """A part of a file could also mean something else than what was read."""


def open_file(
    path: str | Path,
    target: str | int | None = None,
    *,
    n_samples: int | None = None,
    on_bad_row: str = "error",
    nominal: Sequence[str] = (),
    drop: Sequence[str] = (),
    classes: Sequence[Hashable] = (),
    delimiter: str | None = None,
    header: bool | None = None,
    missing: Sequence[str] = (),
    encoding: str | None = None,
) -> CSVStream | ARFFStream | JSONLinesStream | ArrowStream:
    """Open a file as a stream. The ending of its name sets the format.

    `.csv` has commas between fields, `.tsv` has tabs, and `.jsonl` and `.ndjson` hold one object a line. For `.txt`,
    `.data` and names with only the ending of a compressed file, the first line decides: ARFF, JSON lines, or else text
    with the delimiter of that line. If a part of the file could also mean something else, a `FileWarning` says so.

    Parameters
    ----------
    path
        A file whose name ends in one of `SUFFIXES`.
    target
        The column of the class label, by name or by position (-1 is the last); `None` is the last column.
    n_samples
        Largest number of samples to read; `None` reads the whole file. The attribute `n_samples` is this limit, even
        if the file is shorter and does not state its length.
    on_bad_row
        `"error"` raises at the first malformed row; `"skip"` leaves malformed rows out and counts them in
        `bad_rows`.
    nominal
        Columns to read as names, which are text, although they hold numbers.
    drop
        Columns to leave out, such as identifiers and dates.
    classes
        Class labels known beforehand, in the order of their index. Others are appended when they appear.
    delimiter, header
        As in `CSVStream`, for CSV files only; `None` is its default, or what the first line shows.
    missing
        Texts that stand for a missing value, besides the usual ones of the format.
    encoding
        Encoding of a text file; `None` is UTF-8.

    Returns
    -------
    CSVStream, ARFFStream, JSONLinesStream or ArrowStream

    Raises
    ------
    ValueError
        If the ending of the name is unknown, if `delimiter` or `header` is given for a file that is not CSV, or if
        `encoding` is given for a Parquet or Arrow file. Also as the classes raise it.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weather.csv")
    ...     _ = path.write_text("degrees,sky,rain\\n14.5,grey,yes\\n21,blue,no\\n")
    ...     list(open_file(path))
    [({'degrees': 14.5, 'sky': 'grey'}, 'yes'), ({'degrees': 21.0, 'sky': 'blue'}, 'no')]
    """
    suffix = next((s for s in SUFFIXES if Path(path).name.lower().endswith(s)), None)
    if suffix is None:
        raise ValueError(f"{path}: unknown kind of file; its name must end in one of {ENDINGS}")
    kind, found = _kind_and_delimiter(path, suffix, encoding)
    marks = [*MISSING, *missing] if kind in ("csv", "json") and missing else missing or None
    given = {"delimiter": delimiter, "header": header, "encoding": encoding, "missing": marks}
    given = {name: value for name, value in given.items() if value is not None}
    if kind != "csv" and (of_csv := [name for name in ("delimiter", "header") if name in given]):
        raise ValueError(f"{path}: {', '.join(of_csv)} is for CSV files; leave it out")
    if kind == "arrow" and encoding is not None:
        raise ValueError(f"{path}: encoding is for files of text; leave it out")
    if kind == "csv":
        given.setdefault("delimiter", found)
    stream_type: Callable[..., CSVStream | ARFFStream | JSONLinesStream | ArrowStream] = {
        "csv": CSVStream,
        "arff": ARFFStream,
        "json": JSONLinesStream,
        "arrow": ArrowStream,
    }[kind]
    stream = stream_type(
        path,
        target,
        n_samples=n_samples,
        on_bad_row=on_bad_row,
        nominal=nominal,
        drop=drop,
        classes=classes,
        **given,
    )
    for note in stream.notes:
        warnings.warn(f"{path}: {note}", FileWarning, stacklevel=2)
    return stream


def _kind_and_delimiter(path: str | Path, suffix: str, encoding: str | None) -> tuple[str, str]:
    """Return the kind of a file and the delimiter. The first line decides if the name does not."""
    name = "" if suffix in PACKED else suffix.split(".")[1]
    kind = {"csv": "csv", "tsv": "csv", "arff": "arff", "jsonl": "json", "ndjson": "json"}.get(name)
    if suffix in TABLES:
        kind = "arrow"
    if kind is not None:
        return kind, "\t" if name == "tsv" else ","
    with open_text(path, known_encoding(path, encoding or "utf-8")) as file:
        lines = (line.removeprefix(BOM).strip(b"\r\n") for line in file.read(PIECE_BYTES).split(b"\n"))
        first = next((line for line in lines if line.strip() and not line.startswith(b"%")), b"")
    if first.lstrip().lower().startswith((b"@relation", b"@attribute")):
        return "arff", ","
    if first.lstrip().startswith(b"{"):
        return "json", ","
    marks = max(DELIMITERS, key=lambda mark: first.count(mark.encode()))  # of equal counts, the first
    return "csv", marks if marks.encode() in first else " " if b" " in first.strip() else ","
