"""Files as streams: CSV, ARFF, JSON lines, Parquet and Arrow, read in pieces, in the order of the file.

A text file is cut into pieces of a megabyte that end where a record ends. pyarrow parses a piece at the
speed of arrays; a piece it cannot parse is cut into groups of 256 records, and a group it cannot parse is
read field by field. The fast way decides nothing: it only takes what the slow way would take with the same
result, and a malformed row is found with its line and column.

Nominal values and class labels are numbered in order of first appearance (ARFF: in the declared order), so
every reading of a file gives the same numbers, whatever the size of the blocks.

What may be meant otherwise is not guessed: it is refused, or said in the `notes` of the stream.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import json
import lzma
import re
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np

from streams.stream import Block, Feature, Reader, Stream

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "<NA>", "#N/A")
"""Fields of a CSV file that stand for a missing value, quoted or not, with blanks around them or not."""

MISSING_NUMBERS = ("-", "--", "None", "none", "NONE", "n/a", "na", "Null", "#NA", "NaT")
"""Fields of a text file that stand for a missing value too, but only among numbers; elsewhere they may be names."""

PACKED = ("", ".gz", ".zip", ".bz2", ".xz")
TEXTS = (".csv", ".tsv", ".txt", ".data", ".arff", ".jsonl", ".ndjson")
TABLES = (".parquet", ".pq", ".arrow", ".feather")

SUFFIXES = (*(text + packed for text in TEXTS for packed in PACKED), *TABLES, *PACKED[1:])
"""Endings of the file names that `open_file` knows; longer ones come before those that they end in."""

ENDINGS = f"{', '.join(TEXTS)} (or one of these with {', '.join(PACKED[1:])} behind it), {', '.join(TABLES)}"
"""The same for people."""

DELIMITERS = ",\t;|"

MANY_VALUES = 1000
"""Different values of a column of names, or rows of a column that only grows, at which a note is made of it."""

SOME_VALUES = 100
"""Different values of a column of names at which a note is made where they are dates or numbers in text."""

OTHER_TEXTS = "different texts"
MANY_LABELS = 100
MAX_FRACTIONS = 50
"""Different labels that are no whole numbers; a target with more of them is an amount, not a class."""

PIECE_BYTES = 1 << 20
MAX_RECORD_BYTES = 16 << 20
PIECE_ROWS = 1 << 15
GROUP_ROWS = 256
N_REASONS = 10
VALUES_KEY = b"streams.values"
_BOM = b"\xef\xbb\xbf"


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
    """Open a file as a stream, by the ending of its name.

    `.csv` is text with commas between fields, `.tsv` with tabs, and `.jsonl` and `.ndjson` hold an object a line.
    In `.txt`, `.data`, and where nothing but a packer's ending is there, the first line tells: an ARFF file,
    JSON lines, or else the character between the fields. What may be meant otherwise than it is read becomes
    a `FileWarning`.

    Parameters
    ----------
    path
        A file whose name ends in one of `SUFFIXES`.
    target
        The column of the class label, by name or by position (-1 is the last); `None` is the last column.
    n_samples
        Read at most so many samples; `None` reads the whole file. The attribute `n_samples` is this limit,
        also where the file is shorter and does not tell its length.
    on_bad_row
        `"error"` raises at the first malformed row; `"skip"` leaves malformed rows out and counts them in
        `bad_rows`.
    nominal
        Columns to read as names, which are text, although they hold numbers.
    drop
        Columns to leave out, such as identifiers and dates.
    classes
        Class labels known beforehand, in the order of their index; others are appended when they appear.
    delimiter, header
        As in `CSVStream`, for CSV files alone; `None` is its default, or what the first line tells.
    missing
        What stands for a missing value, as text, besides what usually does in such a file.
    encoding
        Of a file of text; `None` is UTF-8.

    Returns
    -------
    CSVStream, ARFFStream, JSONLinesStream or ArrowStream

    Raises
    ------
    ValueError
        If the ending of the name is unknown, `delimiter` or `header` is given for a file of another kind
        than CSV, `encoding` for one that is no text, and as the classes do.
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
    """Return the kind of a file, by its name or else by its first line, and what stands between its fields."""
    name = "" if suffix in PACKED else suffix.split(".")[1]
    kind = {"csv": "csv", "tsv": "csv", "arff": "arff", "jsonl": "json", "ndjson": "json"}.get(name)
    if suffix in TABLES:
        kind = "arrow"
    if kind is not None:
        return kind, "\t" if name == "tsv" else ","
    with _open_text(path, _known_encoding(path, encoding or "utf-8")) as file:
        lines = (line.removeprefix(_BOM).strip(b"\r\n") for line in file.read(PIECE_BYTES).split(b"\n"))
        first = next((line for line in lines if line.strip() and not line.startswith(b"%")), b"")
    if first.lstrip().lower().startswith((b"@relation", b"@attribute")):
        return "arff", ","
    if first.lstrip().startswith(b"{"):
        return "json", ","
    marks = max(DELIMITERS, key=lambda mark: first.count(mark.encode()))  # the first of those that tie
    return "csv", marks if marks.encode() in first else " " if b" " in first.strip() else ","


@dataclass
class BadRows:
    """The malformed rows that a reading left out.

    Attributes
    ----------
    count
        How many.
    reasons
        What was wrong with the first few (at most 10), with line and column.
    """

    count: int = 0
    reasons: list[str] = field(default_factory=list)


class FileWarning(UserWarning):
    """A column of a file may be meant otherwise than it is read."""


class _BadRowError(ValueError):
    """What is wrong with a row; the caller knows the line."""


class _OpenQuoteError(_BadRowError):
    """A row whose end is not certain."""


class NominalValues:
    """The values of a column, numbered in order of first appearance.

    Parameters
    ----------
    values
        The values known beforehand.
    convert
        What makes a value of an item that is met.
    is_closed
        Whether no other values may appear.
    """

    def __init__(
        self, values: Sequence[Any] = (), convert: Callable[[Any], Any] = str, is_closed: bool = False
    ) -> None:
        self.values = list(values)
        self.convert = convert
        self.is_closed = is_closed
        self.is_declared = bool(self.values)
        self._index: dict[Any, int] = {}
        for index, value in enumerate(values):
            self._index[value] = self._index[str(value)] = index

    def knows(self, item: Any) -> bool:
        """Return whether an item may be numbered."""
        return not self.is_closed or item in self._index or self.convert(item) in self._index

    def index(self, item: Any) -> int:
        """Return the number of an item, a new one if its value is new."""
        found = self._index.get(item)
        if found is None:
            value = self.convert(item)  # "true" and "TRUE" are one value
            found = self._index.get(value)
            if found is None:
                found = len(self.values)
                self.values.append(value)
            self._index[item] = self._index[value] = found
        return found


@dataclass
class _Column:
    name: str
    nominal: NominalValues | None = None


class _FileStream(Stream):
    """What the kinds of file have in common; a subclass writes `_pieces` and `_open`."""

    path: Path
    target: str
    bad_rows: BadRows

    def __init__(
        self,
        path: str | Path,
        columns: list[_Column],
        *,
        at: int,
        n_samples: int | None,
        n_rows: int | None,
        on_bad_row: str,
        nominal: Sequence[str],
        drop: Sequence[str],
        missing: Sequence[str] = (),
        is_labelled: bool = False,
        read_as: Mapping[str, Any],
    ) -> None:
        names = [column.name for column in columns]
        if on_bad_row not in ("error", "skip"):
            raise ValueError(f"on_bad_row={on_bad_row!r}; choose 'error' or 'skip'")
        if n_samples is not None and n_samples < 0:
            raise ValueError(f"n_samples={n_samples}; choose 0 or more, or None for the whole file")
        if repeated := sorted(name for name, n in Counter(names).items() if n > 1):
            raise ValueError(
                f"{path}: the column names {repeated} come more than once; rename them "
                "(CSV without a line of names: pass header=False)"
            )
        _check_names("drop", drop, names, path)
        if names[at] in drop:
            raise ValueError(
                f"{path}: drop holds the target {names[at]!r}; drop other columns or choose a target"
            )
        self._columns = columns
        left_out = set(drop)
        self._kept = [i for i, name in enumerate(names) if i != at and name not in left_out]
        if not self._kept:
            raise ValueError(
                f"{path}: no column is left besides the target {names[at]!r}; a stream needs features"
            )
        label = columns[at].nominal
        assert label is not None
        self._at, self._label = at, label
        other_target = [names[at]] if at != len(names) - 1 else []
        self._chosen: list[Any] = [other_target, sorted(set(nominal)), sorted(set(drop))]
        self._chosen += [sorted(read_as.items())] * bool(read_as)  # a hash of before stays what it was
        self._asked_nominal = frozenset(nominal)
        self._missing = frozenset(missing)
        self._missing_numbers = np.array([n for n in map(_number, missing) if n is not None and n == n])
        self._is_labelled = is_labelled or label.is_closed or names[at] in self._asked_nominal
        self._n_checked = self._n_fractions = 0
        read = {"target": names[at], "drop": self._chosen[2], "nominal": self._chosen[1], **read_as}
        self._reading = {name: value for name, value in read.items() if value not in ([], None)}
        if on_bad_row != "error":
            self._reading["on_bad_row"] = on_bad_row
        self._on_bad_row = on_bad_row
        self._limit = sys.maxsize if n_samples is None else n_samples
        self.path, self.target = Path(path), names[at]
        self.bad_rows = BadRows()
        kept = [columns[i] for i in self._kept]
        lengths = [n for n in (n_samples, n_rows) if n is not None]
        super().__init__(
            features=[Feature(c.name, None if c.nominal is None else c.nominal.values) for c in kept],
            classes=label.values,
            n_samples=min(lengths, default=None),
        )
        label.values = self.classes  # the one list: a new label appears in the schema
        first = next(
            self.blocks(), None
        )  # labels and values that the first rows show are known from the start
        self._growing = [] if first is None else self._only_growing(first.X)

    def reader(self) -> Reader:
        """Return a new position at the start of the file; it starts a new count of `bad_rows`."""
        self.bad_rows = bad_rows = BadRows()
        pieces = self._pieces(bad_rows)
        held = Block(np.empty((0, len(self._kept))), np.empty(0, np.int64))

        def read(n: int) -> Block:
            nonlocal held
            blocks, n_held = [held], len(held.y)
            while n_held < n and (piece := next(pieces, None)) is not None:
                blocks.append(piece)
                n_held += len(piece.y)
            if len(blocks) > 1:
                held = Block(np.concatenate([b.X for b in blocks]), np.concatenate([b.y for b in blocks]))
                self._check_labels()
                self.n_classes = len(self.classes)
                self.task = "Binary classification" if self.n_classes == 2 else "Multi-class classification"
            block, held = Block(held.X[:n], held.y[:n]), Block(held.X[n:], held.y[n:])
            return block

        return read

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file's content; of what a .gz or .zip file holds, not of its packing.

        Where a target, nominal or dropped columns were asked for, they are hashed too: other columns make
        another stream.
        """
        digest = hashlib.sha256()
        with self._open() as file:
            while data := file.read(PIECE_BYTES):
                digest.update(data)
        if any(self._chosen):
            digest.update(repr(self._chosen).encode())
        return digest.hexdigest()

    @property
    def reading(self) -> dict[str, Any]:
        """How the file is read, for people: the target, and each argument that is not its default."""
        return dict(self._reading)

    @property
    def notes(self) -> list[str]:
        """A sentence for each column that may be meant otherwise, judged by what was read so far."""
        notes = []
        for i in self._kept:
            column = self._columns[i]
            if i in self._growing:
                notes.append(
                    f"{column.name!r} grows with every row, a number or time of it? drop=[{column.name!r}]"
                )
            if column.nominal is None or column.nominal.is_declared or column.name in self._asked_nominal:
                continue
            n = len(column.nominal.values)
            what = _kind_of_names(column.nominal.values) if n >= SOME_VALUES else ""
            if what and (what != OTHER_TEXTS or n >= MANY_VALUES):
                notes.append(
                    f"{column.name!r}: {n:,} {what} as names; drop=[{column.name!r}] "
                    f"or keep: nominal=[{column.name!r}]"
                )
        if len(self.classes) >= MANY_LABELS and not self._is_labelled:
            notes.append(
                f"the target {self.target!r} has {len(self.classes):,} different labels; is it a class?"
            )
        return notes

    def _only_growing(self, X: np.ndarray) -> list[int]:
        """Return the columns of numbers that grow from each of the first rows to the next."""
        if len(X) < MANY_VALUES:
            return []
        grows: np.ndarray = np.all(np.diff(X, axis=0) > 0, axis=0)
        return [
            i
            for i, only in zip(self._kept, grows.tolist(), strict=True)
            if only and not self._columns[i].nominal
        ]

    def _check_labels(self) -> None:
        """Refuse a target whose labels are amounts."""
        if self._is_labelled:
            return
        for label in self.classes[self._n_checked :]:
            number = _number(label) if isinstance(label, str) else label
            self._n_fractions += isinstance(number, float) and not number.is_integer()
        self._n_checked = len(self.classes)
        if self._n_fractions > MAX_FRACTIONS:
            raise ValueError(
                f"{self.path}: the target {self.target!r} holds more than {MAX_FRACTIONS} different numbers that are "
                f"not whole ({', '.join(map(str, self.classes[:3]))}, ...), and this library predicts classes, not "
                "amounts: choose another target, cut it into a few classes first, or pass "
                f"nominal=[{self.target!r}] to take each number as a class"
            )

    def _pieces(self, bad_rows: BadRows) -> Iterator[Block]:
        """Yield the whole file, some rows at a time."""
        raise NotImplementedError

    def _open(self) -> Any:
        """Return a context manager that gives the bytes of the file."""
        raise NotImplementedError

    def _refuse(self, bad_rows: BadRows, where: str, reason: str) -> None:
        """Raise, or count a row that is left out."""
        message = f"{self.path}, {where}{reason}"
        if self._on_bad_row == "error":
            raise ValueError(f"{message} (or on_bad_row='skip' leaves such rows out)")
        bad_rows.count += 1
        if len(bad_rows.reasons) < N_REASONS:
            bad_rows.reasons.append(message)


class _TextStream(_FileStream):
    """A file of lines; a subclass says how a record splits into fields."""

    _n_header_lines: int
    _quotes: _Quotes | None = None
    _encoding: str
    _null_values: list[str]
    _first: bytes = b""  # what the last line of the header holds of a first row
    _has_numbers_as_labels = False

    def _open(self) -> Any:
        return _open_text(self.path)

    def _pieces(self, bad_rows: BadRows) -> Iterator[Block]:
        left = self._limit
        is_lenient = self._on_bad_row == "skip"
        for line, data in self._raw_pieces(self.path, is_lenient):
            if not left:
                return
            block = self._parse(data, left)
            if block is not None:
                left -= len(block.y)
                yield block
                continue
            lines, ends = _lines(data, self._quotes)
            start = 0
            while start < len(lines) and left:
                end = start
                for _ in range(GROUP_ROWS):
                    end = ends[end] if end < len(lines) else end
                block = self._parse(b"\n".join(lines[start:end]) + b"\n", left)
                if block is None:
                    block, end = self._parse_slowly(line, lines, ends, start, end, left, bad_rows)
                left -= len(block.y)
                start = end
                yield block

    def _raw_pieces(self, path: str | Path, is_lenient: bool) -> Iterator[tuple[int, bytes]]:
        return _raw_pieces(path, self._encoding, self._n_header_lines, self._first, self._quotes, is_lenient)

    def _parse(self, data: bytes, limit: int) -> Block | None:
        """Parse records at once; `None` if a row needs a closer look.

        Nothing is numbered before all rows are known to be good.
        """
        import pyarrow as pa
        import pyarrow.csv

        parse_options = self._parse_options(data)
        if parse_options is None:
            return None
        names = [str(i) for i in range(len(self._columns))]
        used = [self._at, *self._kept]
        text = pa.dictionary(pa.int32(), pa.string())
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(data),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=names, use_threads=False, block_size=len(data) + 1
                ),
                parse_options=parse_options,
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={
                        names[i]: pa.float64() if self._columns[i].nominal is None else text for i in used
                    },
                    include_columns=[names[i] for i in used],
                    null_values=[*self._null_values, *MISSING_NUMBERS],
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        columns = {i: table.column(j).combine_chunks().slice(0, limit) for j, i in enumerate(used)}
        X = np.empty((min(table.num_rows, limit), len(self._kept)))
        for j, i in enumerate(self._kept):
            if self._columns[i].nominal is None:
                X[:, j] = columns[i].to_numpy(zero_copy_only=False)
            else:
                X[:, j] = 0.0
        if np.isinf(X).any():
            return None
        texts: dict[int, list[tuple[int, str | None]]] = {}
        for i, column in columns.items():
            nominal = self._columns[i].nominal
            if nominal is None:
                continue
            entries = column.dictionary.to_pylist()
            texts[i] = [(j, self._clean(entries[j])) for j in column.indices.unique().to_pylist()]
            for _, item in texts[i]:
                if i == self._at and (item is None or self._is_no_label(item)):
                    return None
                if item is not None and not nominal.knows(item):
                    return None
            if b"'" in data and not self._is_plainly_quoted(entries):
                return None
        for j, i in enumerate(self._kept):
            if i in texts:
                X[:, j] = self._codes(i, columns[i], texts[i])
            elif len(self._missing_numbers):
                X[np.isin(X[:, j], self._missing_numbers), j] = np.nan
        return Block(X, self._codes(self._at, columns[self._at], texts[self._at]).astype(np.int64))

    def _codes(self, i: int, column: Any, texts: list[tuple[int, str | None]]) -> np.ndarray:
        """Return the index of each value of a column, given its distinct values in order of appearance."""
        nominal = self._columns[i].nominal
        assert nominal is not None
        code = np.full(len(column.dictionary), np.nan)
        for entry, item in texts:
            if item is not None:
                code[entry] = nominal.index(item)
        return code[column.indices.to_numpy()]

    def _parse_slowly(
        self,
        line: int,
        lines: list[bytes],
        ends: list[int],
        start: int,
        stop: int,
        limit: int,
        bad_rows: BadRows,
    ) -> tuple[Block, int]:
        """Parse the records that begin in `lines[start:stop]` field by field; here malformed rows are named.

        Also return where the next record begins. After an open quote that is the next line, wherever a quote
        closes it: one that should not be there must not take good rows along.
        """
        rows: list[list[float]] = []
        targets: list[int] = []
        while start < stop and len(rows) < limit:
            try:
                fields = self._split(b"\n".join(lines[start : ends[start]]))
                row = None if fields is None else self._row(fields)
            except _BadRowError as reason:
                self._refuse(bad_rows, f"line {line + start}", str(reason))
                start = start + 1 if isinstance(reason, _OpenQuoteError) else ends[start]
                continue
            start = ends[start]
            if fields is not None and row is not None:
                targets.append(self._label.index(fields[self._at]))
                rows.append(row)
        X = np.array(rows, dtype=np.float64).reshape(len(rows), len(self._kept))
        return Block(X, np.array(targets, dtype=np.int64)), start

    def _row(self, fields: list[str | None]) -> list[float]:
        """Return the features of a row; new values are numbered when the whole row is known to be good."""
        if len(fields) != len(self._columns):
            raise _BadRowError(
                f": {len(fields)} fields, but there are {len(self._columns)} columns; mend the row"
            )
        label = fields[self._at]
        if label is None or self._is_no_label(label):
            raise _BadRowError(f", column {self.target!r}: the class label is missing; fill it in")
        _check_decoded(self.target, label, self._encoding)
        row = []
        for i in self._kept:
            column, text = self._columns[i], fields[i]
            if text is not None:
                _check_decoded(column.name, text, self._encoding)
            if column.nominal is None and text is not None:
                row.append(self._read_number(column.name, text))
            else:
                self._check_known(column, text)
                row.append(np.nan)
        self._check_known(self._columns[self._at], label)
        for j, i in enumerate(self._kept):
            nominal, text = self._columns[i].nominal, fields[i]
            if nominal is not None and text is not None:
                row[j] = nominal.index(text)
        return row

    def _read_number(self, name: str, text: str) -> float:
        """Return what a field of a column of numbers holds, NaN where it is missing."""
        if text.strip() in MISSING_NUMBERS:
            return np.nan
        number = _number(text)
        if number is None:
            raise _BadRowError(
                f", column {name!r}: {text!r} is not a number, as its column is numeric; mend it, or pass "
                f"nominal=[{name!r}] to read names, or missing=[..., {text!r}] if it stands for a missing value"
            )
        if np.isinf(number):
            raise _BadRowError(f", column {name!r}: {text!r} is not finite; mend it")
        return np.nan if number in self._missing_numbers else number

    def _is_no_label(self, text: str) -> bool:
        """Return whether a label stands for a missing one, as it does among whole numbers."""
        return self._has_numbers_as_labels and text.strip() in MISSING_NUMBERS

    @staticmethod
    def _check_known(column: _Column, text: str | None) -> None:
        if column.nominal is not None and text is not None and not column.nominal.knows(text):
            declared = ", ".join(map(repr, column.nominal.values[:10]))
            more = ", ..." if len(column.nominal.values) > 10 else ""
            raise _BadRowError(
                f", column {column.name!r}: {text!r} is not declared; allowed: {declared}{more}"
            )

    def _parse_options(self, data: bytes) -> Any:
        """Return pyarrow's options for a piece, or `None` where it would not read what `_split` reads."""
        raise NotImplementedError

    def _clean(self, text: str) -> str | None:
        """Return a nominal field as `_split` would, `None` where it is missing."""
        raise NotImplementedError

    def _is_plainly_quoted(self, entries: list[str]) -> bool:
        """Return whether fields of a piece that holds quotes mean what pyarrow took them for."""
        return True

    def _split(self, record: bytes) -> list[str | None] | None:
        """Return the fields of a record, missing ones as `None`; `None` for a record that holds no row."""
        raise NotImplementedError


class CSVStream(_TextStream):
    """A CSV file as a stream.

    The first megabyte decides what a column is: numeric if most of its values there are numbers, nominal
    otherwise (`true` and `false` become Python's bools; numbers in a nominal column are text, as models take
    an int for a number).
    A value of a numeric column that is no finite number makes its row malformed, wherever it stands; the
    usual marks of a missing number (`MISSING_NUMBERS`) are missing values. So does a line that repeats the
    names of the columns. A label that looks like a whole number is an int (`1.0` is 1), `true` and `false`
    are bools, any other is a string.

    Parameters
    ----------
    path
        A file of text (a byte order mark and CRLF are fine); .gz, .bz2, .xz and .zip (of one file) are
        unpacked on the way.
    target
        The column of the class label, by name or by position (-1 is the last); `None` is the last column.
    delimiter
        The one character between fields; of blanks any number, where no quotes are near.
    quote
        The one character around fields that hold delimiters, line ends or doubled quotes; `None` if quotes
        mean nothing.
    header
        Whether the first line holds the names of the columns. `None`: it does unless all its fields are
        numbers, or some are that names hardly are: with a fraction, or twice the same. Without names the
        columns are `x0`, `x1` and so on, by position.
    missing
        Fields that stand for a missing value, quoted or not; among numbers also other ways to write the
        same number.
    encoding
        Of the text, such as `"latin-1"`, `"cp1252"` or `"utf-16"`.
    n_samples
        Read at most so many samples; `None` reads the whole file. The attribute `n_samples` is this limit,
        also where the file is shorter and does not tell its length.
    on_bad_row
        `"error"` raises at the first malformed row; `"skip"` leaves malformed rows out and counts them.
    nominal
        Columns to read as names, which are text, although they hold numbers.
    drop
        Columns to leave out. Identifiers and times belong here: the values of a nominal column are kept in
        memory.
    classes
        Class labels known beforehand, in the order of their index; others are appended when they appear.

    Attributes
    ----------
    path, target
        The file and the name of the target column.
    bad_rows
        `BadRows` of the latest reading.
    notes, reading
        What may be meant otherwise, and how the file is read.

    Raises
    ------
    ValueError
        If an argument names no column, the target holds amounts (more than 50 different labels that are no
        whole numbers), and while reading, if the file is corrupt or a row is malformed: the message names file,
        line (of its first line, where it spans several), column and value. It comes when the piece that holds
        the row is read, which may be up to a megabyte ahead.
    OSError
        If the file cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        target: str | int | None = None,
        *,
        delimiter: str = ",",
        quote: str | None = '"',
        header: bool | None = None,
        missing: Sequence[str] = MISSING,
        encoding: str = "utf-8",
        n_samples: int | None = None,
        on_bad_row: str = "error",
        nominal: Sequence[str] = (),
        drop: Sequence[str] = (),
        classes: Sequence[Hashable] = (),
    ) -> None:
        for name, mark in (("delimiter", delimiter), ("quote", quote)):
            if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n"):
                raise ValueError(f"{name}={mark!r}; choose one ASCII character that is no line end")
        self._delimiter, self._quote = delimiter, quote
        self._quotes = None if quote is None else _Quotes(delimiter, quote)
        self._missing = frozenset(missing)
        self._null_values = list(missing)
        self._encoding = _known_encoding(path, encoding)
        self._names: list[str] = []
        self._header = b""
        names, self._n_header_lines = self._read_names(path, header)
        other = next((mark for mark in ";\t|," if mark != delimiter and mark in names[0]), None)
        if len(names) == 1 and other is not None:
            raise ValueError(
                f"{path}: the only column is {names[0]!r}; is another character between the fields? "
                f"pass delimiter={other!r}"
            )
        _check_names("nominal", nominal, names, path)
        values = self._first_values(path, len(names))
        if target is None and self._names and not self._names[-1].strip() and not values[-1]:
            target, drop = len(names) - 2, [*drop, names[-1]]  # every line ends in a delimiter
        at = _position(target, names, path)
        self._check_line_ends(path, values[-1])
        columns = [_Column(name) for name in names]
        asked = set(nominal)
        self._mixed = []
        for i, (column, shown) in enumerate(zip(columns, values, strict=True)):
            if i == at:
                convert = value_converter([text for text in shown if text.strip() not in MISSING_NUMBERS])
                column.nominal = NominalValues(classes, convert)
                self._has_numbers_as_labels = convert is _int_or_text and bool(shown)
            elif column.name in asked or not _is_numeric(shown):
                column.nominal = NominalValues((), _name_converter(shown))
                if column.name not in asked and _share_of_numbers(shown) > SOME_NUMBERS:
                    self._mixed.append(i)
        names_in_doubt = header is None and any(
            _number(name) is not None or name in shown
            for name, shown in zip(self._names, values, strict=False)
        )
        self._first_line = ", ".join(self._names)[:30] if names_in_doubt else ""
        read_as = {
            "missing": sorted(self._missing - set(MISSING))
            if self._missing >= set(MISSING)
            else sorted(missing),
            "delimiter": delimiter if delimiter != "," else None,
            "quote": None if quote == '"' else repr(quote),
            "header": header,
            "encoding": None if self._encoding == "utf-8" else self._encoding,
        }
        super().__init__(
            path,
            columns,
            at=at,
            n_samples=n_samples,
            n_rows=None,
            on_bad_row=on_bad_row,
            nominal=nominal,
            drop=drop,
            missing=missing,
            is_labelled=bool(classes),
            read_as={name: value for name, value in read_as.items() if value not in ([], None)},
        )

    @property
    def notes(self) -> list[str]:
        """A sentence for each column that may be meant otherwise, judged by what was read so far."""
        notes = super().notes
        if self._first_line:
            notes.insert(0, f"the first line, {self._first_line}, is read as names; if a row: header=False")
        for i in self._mixed:
            if i in self._kept:
                name = self._columns[i].name
                notes.append(f"{name!r} is read as names, with numbers among them; if so: nominal=[{name!r}]")
        return notes

    def _check_line_ends(self, path: str | Path, last: Collection[str]) -> None:
        """Refuse a file whose lines all end in a mark that would belong to the last field."""
        for mark in ";|\t":
            if mark != self._delimiter and last and all(text.endswith(mark) for text in last):
                raise ValueError(
                    f"{path}: every line ends in {mark!r}, which is no part of the last field and does not stand "
                    "between fields; remove it from the ends of the lines"
                )

    def _read_names(self, path: str | Path, header: bool | None) -> tuple[list[str], int]:
        """Return the names of the columns and the number of lines they take."""
        with _open_text(path, self._encoding) as file:
            n_lines, record, is_open = 0, b"", False
            while line := file.readline(MAX_RECORD_BYTES):
                line = line.removeprefix(_BOM) if n_lines == 0 else line
                record += line
                n_lines += 1
                is_open = self._quotes is not None and self._quotes.is_open_after(line, is_open)
                if (not is_open and record.strip()) or len(record) > MAX_RECORD_BYTES:
                    break
        record = record.lstrip(b"\r\n")
        if not record.strip():
            raise ValueError(f"{path}: the file is empty; a stream needs a line of column names or a row")
        try:
            fields = self._fields(record)
        except _BadRowError as reason:
            raise ValueError(f"{path}, line {n_lines}{reason}") from None
        if header is False or (header is None and self._is_row(fields)):
            return [f"x{i}" for i in range(len(fields))], 0
        for text in fields:
            _check_decoded(text, text, self._encoding, f"{path}, line {n_lines}")
        self._names, self._header = fields, record.rstrip(b"\r\n")
        return [text.strip() or f"x{i}" for i, text in enumerate(fields)], n_lines

    def _is_row(self, fields: list[str]) -> bool:
        """Return whether the first line cannot be names of columns, which may be years or positions."""
        numbers = [_number(text) for text in fields if self._clean(text) is not None]
        of_names = [number for number in numbers if number is not None]
        if len(of_names) == len(numbers):
            return True
        return len(set(of_names)) < len(of_names) or any(n % 1 != 0 for n in of_names)

    def _first_values(self, path: str | Path, n_columns: int) -> list[Counter[str]]:
        """Return how often each column shows each of its values in the first piece of the file."""
        values: list[Counter[str]] = [Counter() for _ in range(n_columns)]
        _, data = next(self._raw_pieces(path, is_lenient=True), (0, b""))
        lines, ends = _lines(data, self._quotes)
        start = 0
        while start < len(lines):
            try:
                fields = self._split(b"\n".join(lines[start : ends[start]]))
            except _BadRowError as reason:  # met again, and named, when the rows are read
                start = start + 1 if isinstance(reason, _OpenQuoteError) else ends[start]
                continue
            if fields is not None and len(fields) == n_columns:
                for shown, text in zip(values, fields, strict=True):
                    if text is not None:
                        shown[text] += 1
            start = ends[start]
        return values

    def _parse_options(self, data: bytes) -> Any:
        import pyarrow.csv

        if not _is_plain(data) or (self._quotes is not None and not self._quotes.are_closed(data)):
            return None
        if (
            self._header
            and self._header in data
            and re.search(rb"^" + re.escape(self._header) + rb"\r?$", data, re.MULTILINE)
        ):
            return None  # the line of names again
        return pyarrow.csv.ParseOptions(
            delimiter=self._delimiter,
            quote_char=self._quote or False,
            newlines_in_values=self._quote is not None and self._quote.encode() in data,
        )

    def _clean(self, text: str) -> str | None:
        return None if text.strip() in self._missing else text

    def _parse(self, data: bytes, limit: int) -> Block | None:
        if self._delimiter == " ":
            if self._quotes is not None and self._quotes.mark in data:
                return None
            data = re.sub(rb" +", b" ", re.sub(rb"^ +| +(?=\r?$)", b"", data, flags=re.MULTILINE))
        return super()._parse(data, limit)

    def _split(self, record: bytes) -> list[str | None] | None:
        if not record.strip(b"\r\n"):
            return None
        fields = self._fields(record)
        if fields == self._names:
            raise _BadRowError(
                ": the names of the columns again; remove the line, or pass header=False if the first line is a row"
            )
        return [self._clean(text) for text in fields]

    def _fields(self, record: bytes) -> list[str]:
        if self._quotes is not None and not self._quotes.are_closed(record):
            raise _OpenQuoteError(
                f": a quote {self._quote} is not closed at the end of its field; close it, or pass quote=None "
                "if quotes mean nothing"
            )
        text = _decode(record.rstrip(b"\r\n"))
        if self._quotes is not None and self._quotes.mark in record:
            return self._quotes.split(text)
        if "\r" in text:
            raise _BadRowError(_LONE_RETURN)
        if self._delimiter == " ":
            text = re.sub(" +", " ", text.strip(" "))
        return text.split(self._delimiter)


class ARFFStream(_TextStream):
    """An ARFF file as a stream.

    Nominal attributes keep their declared values and order; a value outside the declaration makes its row
    malformed. String attributes become nominal, with values in order of appearance. Declared values that
    are all whole numbers (or all true and false) are ints (bools). Sparse rows hold zero, or the first
    declared value, for what they leave out; a string they leave out is missing. `?` is a missing value, and
    so are the usual marks among numbers (`MISSING_NUMBERS`); a number has to be finite.
    Attributes of type date must be dropped; relational ones are not supported.

    As Weka and MOA have it, blanks may stand between fields in place of commas, a row may end in a comma, what
    follows `@data` on its line is the first row, and a `%` outside quotes begins a comment, whatever it holds.

    Parameters
    ----------
    path
        A file of text; .gz, .bz2, .xz and .zip (of one file) are unpacked on the way.
    target
        The attribute of the class label, by name or by position (-1 is the last); `None` is the last
        attribute.
    n_samples
        Read at most so many samples; `None` reads the whole file. The attribute `n_samples` is this limit,
        also where the file is shorter and does not tell its length.
    on_bad_row
        `"error"` raises at the first malformed row; `"skip"` leaves malformed rows out and counts them.
    nominal
        Numeric attributes to read as names, which are text.
    drop
        Attributes to leave out.
    classes
        Labels known beforehand of a target that is not nominal. Must be left out where it is.
    missing
        Fields, quoted or not, that stand for a missing value besides `?`.
    encoding
        Of the text, such as `"latin-1"`, `"cp1252"` or `"utf-16"`.

    Attributes
    ----------
    path, target
        The file and the name of the target attribute.
    bad_rows
        `BadRows` of the latest reading.
    notes, reading
        What may be meant otherwise, and how the file is read.

    Raises
    ------
    ValueError
        If the header is malformed, if an argument names no attribute, and while reading, if the file is
        corrupt or a row is malformed: the message names file, line, attribute and value.
    OSError
        If the file cannot be read.

    References
    ----------
    The Attribute-Relation File Format of Weka (Witten, Frank, Hall, "Data Mining", 3rd ed., 2011, sec. 2.4).
    """

    def __init__(
        self,
        path: str | Path,
        target: str | int | None = None,
        *,
        n_samples: int | None = None,
        on_bad_row: str = "error",
        nominal: Sequence[str] = (),
        drop: Sequence[str] = (),
        classes: Sequence[Hashable] = (),
        missing: Sequence[str] = (),
        encoding: str = "utf-8",
    ) -> None:
        self._encoding = _known_encoding(path, encoding)
        self._missing = frozenset(missing)
        columns, self._n_header_lines, self._first = _read_attributes(path, drop, self._encoding)
        names = [column.name for column in columns]
        at = _position(target, names, path)
        _check_names("nominal", nominal, names, path)
        self._null_values = ["?", *missing]
        for i, column in enumerate(columns):
            if column.nominal is None and (i == at or column.name in nominal):
                column.nominal = NominalValues((), _int_or_text if i == at else _text_of_number)
        label = columns[at].nominal
        if classes and label is not None and label.is_closed:
            raise ValueError(
                f"{path}: classes={classes!r}, but the file declares {label.values}; leave classes out"
            )
        if classes:
            columns[at].nominal = NominalValues(classes, _int_or_text)
        self._has_numbers_as_labels = columns[at].nominal.convert is _int_or_text  # type: ignore[union-attr]
        read_as = {"missing": sorted(missing), "encoding": self._encoding if encoding != "utf-8" else None}
        super().__init__(
            path,
            columns,
            at=at,
            n_samples=n_samples,
            n_rows=None,
            on_bad_row=on_bad_row,
            nominal=nominal,
            drop=drop,
            missing=missing,
            is_labelled=bool(classes),
            read_as={name: value for name, value in read_as.items() if value not in ([], None)},
        )

    def _parse(self, data: bytes, limit: int) -> Block | None:
        # pyarrow knows neither a comma at the end of a row nor blanks between fields. A row with one field less than
        # there are columns is left to the slow way.
        if b",\n" in data or b",\r\n" in data:
            data = _ENDING_COMMA.sub(b"", data)
        if b"," not in data and not any(mark in data for mark in (b"'", b'"')):
            data = _BLANKS.sub(b",", _BLANKS_AROUND.sub(b"", data))
        return super()._parse(data, limit)

    def _parse_options(self, data: bytes) -> Any:
        import pyarrow.csv

        if not _is_plain(data) or any(mark in data for mark in (b"{", b"%", b'"', b"\\", b"'?'")):
            return None
        return pyarrow.csv.ParseOptions(quote_char="'" if b"'" in data else False, double_quote=False)

    def _clean(self, text: str) -> str | None:
        text = text.strip()
        return None if text == "?" or text in self._missing else text

    def _is_plainly_quoted(self, entries: list[str]) -> bool:
        return all("'" not in text and text == text.strip() for text in entries)

    def _split(self, record: bytes) -> list[str | None] | None:
        text = _decode(record).strip()
        if not text or text.startswith("%"):
            return None
        fields = self._split_sparse(text) if text.startswith("{") else _split_row(text, len(self._columns))
        return [None if field in self._missing else field for field in fields] if self._missing else fields

    def _split_sparse(self, text: str) -> list[str | None]:
        fields = [_default_of(column) for column in self._columns]
        closing = re.search(r"\}\s*(%.*)?$", text)
        if closing is None:
            raise _BadRowError(": a sparse row without its closing brace; write {index value, ...}")
        if re.search(r"\}\s*,\s*\{[^{}]*$", text[: closing.start()]):
            raise _BadRowError(": weights of rows are not supported; remove what follows the closing brace")
        body, end = text[1 : closing.start()].strip(), 0
        while end < len(body):
            match = _SPARSE_FIELD.match(body, end)
            if match is None:
                raise _BadRowError(
                    f": cannot read {body[end : end + 40]!r}; write a sparse row as {{index value, ...}}"
                )
            index = int(match[1])
            if index >= len(fields):
                raise _BadRowError(f": index {index}, but there are {len(fields)} attributes, counted from 0")
            fields[index] = _unquote(*match.group(2, 3, 4))
            end = match.end()
        return fields


class ArrowStream(_FileStream):
    """A Parquet or Arrow (Feather) file as a stream.

    Numbers, among them decimals, become float64; strings, dictionaries and bools become nominal. A file that
    `streams.export.write` wrote gives back the nominal values and classes in their order. The index of a table
    that pandas wrote is no column, unless a `target` or `nominal` names it.

    Parameters
    ----------
    path
        A file whose name ends in .parquet, .pq, .arrow or .feather (Arrow's IPC file or stream format).
    target
        The column of the class label, by name or by position (-1 is the last); `None` is the last column.
    n_samples
        Read at most so many samples; `None` reads the whole file. The attribute `n_samples` is this limit,
        also where the file is shorter and does not tell its length.
    on_bad_row
        What to do with a row without label, or with a number that is not finite: `"error"` raises, `"skip"`
        leaves it out and counts it.
    nominal
        Columns to read as names, which are text, although they hold numbers.
    drop
        Columns to leave out. Identifiers belong here: the values of a nominal column are kept in memory.
    classes
        Class labels known beforehand, in the order of their index; others are appended when they appear.
    missing
        Values that stand for a missing one, as text, besides null and NaN.

    Attributes
    ----------
    path, target
        The file and the name of the target column.
    bad_rows
        `BadRows` of the latest reading.
    notes, reading
        What may be meant otherwise, and how the file is read.

    Raises
    ------
    ValueError
        If the file is of another kind or corrupt, a column is neither number nor text (pass its name in `drop`), an
        argument names no column, the target holds amounts (more than 50 different labels that are no whole
        numbers), or a label is missing or a number not finite.
    OSError
        If the file cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        target: str | int | None = None,
        *,
        n_samples: int | None = None,
        on_bad_row: str = "error",
        nominal: Sequence[str] = (),
        drop: Sequence[str] = (),
        classes: Sequence[Hashable] = (),
        missing: Sequence[str] = (),
    ) -> None:
        import pyarrow as pa
        from pyarrow import types

        with refusing_corrupt(path):
            try:
                schema, n_rows, metadata = _arrow_schema(path)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{path}: not a Parquet or Arrow file: {error}") from error
        index = _index_of_pandas(metadata) - {target, *nominal}
        self._fields = [(i, field) for i, field in enumerate(schema) if field.name not in index]
        names = [field.name for _, field in self._fields]
        at = _position(target, names, path)
        _check_names("nominal", nominal, names, path)
        known = json.loads(metadata.get(VALUES_KEY, b"{}"))
        columns = [_Column(name) for name in names]
        names_kinds = (
            types.is_dictionary,
            types.is_boolean,
            types.is_string,
            types.is_large_string,
            types.is_string_view,
        )
        number_kinds = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
        left_out = set(drop)
        for i, column in enumerate(columns):
            if column.name in left_out:
                continue
            kind = self._fields[i][1].type
            is_name = any(test(kind) for test in names_kinds)
            is_number = any(test(kind) for test in number_kinds)
            if not is_name and not is_number:
                raise ValueError(
                    f"{path}, column {column.name!r}: of type {kind}, neither number nor text; "
                    f"pass drop=[{column.name!r}]"
                )
            if i == at or is_name or column.name in nominal or column.name in known:
                values = classes if i == at and classes else known.get(column.name, ())
                is_plain = i == at or is_name or column.name in known
                column.nominal = NominalValues(values, _whole if is_plain else _text_of_whole)
        super().__init__(
            path,
            columns,
            at=at,
            n_samples=n_samples,
            n_rows=n_rows if on_bad_row == "error" else None,
            on_bad_row=on_bad_row,
            nominal=nominal,
            drop=drop,
            missing=missing,
            is_labelled=bool(classes) or names[at] in known,
            read_as={"missing": sorted(missing)} if missing else {},
        )

    def _open(self) -> Any:
        return self.path.open("rb")

    def _pieces(self, bad_rows: BadRows) -> Iterator[Block]:
        import pyarrow as pa

        left, n_before = self._limit, 0
        used = {self._fields[i][0]: self._columns[i].name for i in (self._at, *self._kept)}
        for batch in _arrow_batches(self.path, used):
            for start in range(0, batch.num_rows, PIECE_ROWS):
                if not left:
                    return
                part = batch.slice(start, PIECE_ROWS)
                for i, kind in enumerate(part.schema.types):
                    if pa.types.is_string_view(kind):  # few of pyarrow's functions know it
                        part = part.set_column(i, part.schema.names[i], part.column(i).cast(pa.string()))
                numbers = {
                    i: self._numbers(i, part.column(self._columns[i].name))
                    for i in self._kept
                    if self._columns[i].nominal is None
                }
                is_bad = self._has_no_label(part.column(self.target))
                is_unlabelled = is_bad.copy()
                for column in numbers.values():
                    is_bad |= np.isinf(column)
                n_needed = int(np.searchsorted(np.cumsum(~is_bad), left)) + 1
                for row in np.flatnonzero(is_bad[:n_needed]).tolist():
                    if is_unlabelled[row]:
                        reason = f", column {self.target!r}: the class label is missing; fill it in"
                    else:
                        i = next(i for i, column in numbers.items() if np.isinf(column[row]))
                        reason = (
                            f", column {self._columns[i].name!r}: {numbers[i][row]} is not finite; mend it"
                        )
                    self._refuse(bad_rows, f"row {n_before + start + row + 1}", reason)
                is_good = ~is_bad[:n_needed]
                part = part.slice(0, n_needed).filter(pa.array(is_good))
                X = np.empty((part.num_rows, len(self._kept)))
                for j, i in enumerate(self._kept):
                    X[:, j] = (
                        numbers[i][:n_needed][is_good]
                        if i in numbers
                        else self._numbers(i, part.column(self._columns[i].name))
                    )
                y = self._numbers(self._at, part.column(self.target)).astype(np.int64)
                left -= len(y)
                yield Block(X, y)
            n_before += batch.num_rows

    def _has_no_label(self, column: Any) -> np.ndarray:
        """Return of each row whether its label is missing, or no finite number."""
        if not _is_dictionary(column):
            column = column.dictionary_encode()
        entries = [*column.dictionary.to_pylist(), None]
        is_missing = np.array([not self._holds(value) or value in (np.inf, -np.inf) for value in entries])
        return is_missing[column.indices.fill_null(len(entries) - 1).to_numpy()]

    def _holds(self, value: Any) -> bool:
        """Return whether a value of a nominal column is none that stands for a missing one; NaN is missing, as null."""
        if value is None or value != value:
            return False
        return not self._missing or str(_whole(value)).strip() not in self._missing

    def _numbers(self, i: int, column: Any) -> np.ndarray:
        """Return a column as float64: its numbers, or the index of each name."""
        import pyarrow as pa

        nominal = self._columns[i].nominal
        if nominal is None:
            numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            if len(self._missing_numbers):
                numbers = np.where(np.isin(numbers, self._missing_numbers), np.nan, numbers)
            return numbers
        if not _is_dictionary(column):
            column = column.dictionary_encode()
        entries = column.dictionary.to_pylist()
        indices = column.indices.fill_null(len(entries))
        code = np.full(len(entries) + 1, np.nan)
        for entry in indices.unique().to_pylist():
            value = entries[entry] if entry < len(entries) else None
            if self._holds(value):
                code[entry] = nominal.index(value)
        return code[indices.to_numpy()]


class JSONLinesStream(_TextStream):
    """A file of JSON lines as a stream: one object in each line.

    The columns are the names that the objects of the first megabyte have, in order of appearance; an object may leave
    some out, which are missing values then, as `null` is. Otherwise as a CSV file: what most values of a column
    are there says whether it is numeric, and a value that is an object or a list makes its row malformed.

    Parameters
    ----------
    path, target, missing, encoding, n_samples, on_bad_row, nominal, drop, classes
        As in `CSVStream`.

    Attributes
    ----------
    path, target
        The file and the name of the target column.
    bad_rows
        `BadRows` of the latest reading.
    notes, reading
        What may be meant otherwise, and how the file is read.

    Raises
    ------
    ValueError, OSError
        As in `CSVStream`.

    References
    ----------
    https://jsonlines.org
    """

    def __init__(
        self,
        path: str | Path,
        target: str | int | None = None,
        *,
        missing: Sequence[str] = MISSING,
        encoding: str = "utf-8",
        n_samples: int | None = None,
        on_bad_row: str = "error",
        nominal: Sequence[str] = (),
        drop: Sequence[str] = (),
        classes: Sequence[Hashable] = (),
    ) -> None:
        self._encoding = _known_encoding(path, encoding)
        self._n_header_lines, self._null_values, self._missing = 0, list(missing), frozenset(missing)
        values = self._first_values(path)
        names = list(values)
        if not names:
            raise ValueError(
                f"{path}: no line of its first megabyte holds a JSON object; is this a file of JSON lines?"
            )
        at = _position(target, names, path)
        _check_names("nominal", nominal, names, path)
        columns, asked = [_Column(name) for name in names], set(nominal)
        for i, column in enumerate(columns):
            shown = values[column.name]
            if i == at:
                convert = value_converter([text for text in shown if text.strip() not in MISSING_NUMBERS])
                column.nominal = NominalValues(classes, convert)
                self._has_numbers_as_labels = convert is _int_or_text and bool(shown)
            elif column.name in asked or not _is_numeric(shown):
                column.nominal = NominalValues((), _name_converter(shown))
        self._place = {name: i for i, name in enumerate(names)}
        read_as = {
            "missing": sorted(self._missing - set(MISSING))
            if self._missing >= set(MISSING)
            else sorted(missing),
            "encoding": self._encoding if self._encoding != "utf-8" else None,
        }
        super().__init__(
            path,
            columns,
            at=at,
            n_samples=n_samples,
            n_rows=None,
            on_bad_row=on_bad_row,
            nominal=nominal,
            drop=drop,
            missing=missing,
            is_labelled=bool(classes),
            read_as={name: value for name, value in read_as.items() if value not in ([], None)},
        )

    def _first_values(self, path: str | Path) -> dict[str, Counter[str]]:
        """Return how often each column shows each of its values in the first piece of the file."""
        values: dict[str, Counter[str]] = {}
        _, data = next(self._raw_pieces(path, is_lenient=True), (0, b""))
        for record in data.split(b"\n"):
            try:
                fields = self._object(record)
            except _BadRowError:  # met again, and named, when the rows are read
                continue
            for name, text in (fields or {}).items():
                shown = values.setdefault(name, Counter())
                if text is not None:
                    shown[text] += 1
        return values

    def _parse(self, data: bytes, limit: int) -> Block | None:
        return None

    def _split(self, record: bytes) -> list[str | None] | None:
        found = self._object(record)
        if found is None:
            return None
        fields: list[str | None] = [None] * len(self._place)
        for name, text in found.items():
            if name not in self._place:
                raise _BadRowError(
                    f": {name!r} is none of the names that the first megabyte holds; remove it"
                )
            fields[self._place[name]] = text
        return fields

    def _object(self, record: bytes) -> dict[str, str | None] | None:
        """Return the names and values of a line, missing ones as `None`; `None` for a blank line."""
        text = _decode(record).strip()
        if not text:
            return None
        try:
            found = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _BadRowError(f": no JSON ({error}); mend it") from None
        if not isinstance(found, dict):
            raise _BadRowError(f': {text[:40]!r} is no JSON object; write {{"name": value, ...}}')
        fields: dict[str, str | None] = {}
        for name, value in found.items():
            if isinstance(value, dict | list):
                raise _BadRowError(
                    f", {name!r}: {text[:40]!r} holds a list or an object in it; write one value a name"
                )
            value = {True: "true", False: "false"}[value] if isinstance(value, bool) else value
            fields[name] = None if value is None or value.strip() in self._missing else value
        return fields


def _position(target: str | int | None, names: list[str], path: str | Path) -> int:
    """Return the position of the target column."""
    if target is None:
        return len(names) - 1
    if isinstance(target, str):
        if target not in names:
            raise ValueError(f"{path}: no column {target!r} for the target; columns: {_listed(names)}")
        return names.index(target)
    if not -len(names) <= target < len(names):
        raise ValueError(
            f"{path}: target={target}, but there are {len(names)} columns; count from 0, or -1 for the last"
        )
    return target % len(names)


def _check_names(argument: str, asked: Sequence[str], names: list[str], path: str | Path) -> None:
    if unknown := [name for name in asked if name not in names]:
        raise ValueError(
            f"{path}: {argument} names {unknown}, which the file does not have; columns: {_listed(names)}"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")


SOME_NUMBERS = 0.2
"""Share of numbers in a column of names that makes it an odd one."""


def _share_of_numbers(shown: Mapping[str, int]) -> float:
    """Return how many of the values of a column are numbers, 1 where it has none."""
    named = {text: n for text, n in shown.items() if text.strip() not in MISSING_NUMBERS}
    n_numbers = sum(n for text, n in named.items() if _number(text) is not None)
    return n_numbers / sum(named.values()) if named else 1.0


def _is_numeric(shown: Mapping[str, int]) -> bool:
    """Return whether a column is one of numbers: a few odd texts do not make names of them."""
    return _share_of_numbers(shown) > 0.5


_DATE = re.compile(
    r"\d{4}-\d\d?-\d\d?\b.*|\d{4}/\d\d?/\d\d?\b.*|\d\d?([./-])\d\d?\1\d{2,4}\b.*|\d\d?:\d\d\b.*"
)
_AMOUNT = re.compile(r"[^\w\s]{0,2}\s?\d[\d.,' ]*(?:\s?[^\w\s]|\s\w{1,4})?")


def _kind_of_names(values: Sequence[Any]) -> str:
    """Return what to call the values of a column of names."""
    texts = [str(value).strip() for value in values[:MANY_VALUES]]
    for pattern, what in ((_DATE, "dates"), (_AMOUNT, "numbers in text")):
        if sum(pattern.fullmatch(text) is not None for text in texts) > 0.9 * len(texts):
            return what
    return OTHER_TEXTS


def _known_encoding(path: str | Path, encoding: str) -> str:
    """Return the usual name of the encoding of a file."""
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(
            f"encoding={encoding!r} is unknown; choose one such as 'utf-8', 'latin-1', 'cp1252' or 'utf-16'"
        ) from None
    if name == "utf-8":
        with _unpacked(path) as file:
            mark = file.read(2)
        if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"{path} begins as a file in UTF-16 does; pass encoding='utf-16'")
    return name


_UNDECODED = re.compile("[\udc80-\udcff]+")


def _check_decoded(name: str, text: str, encoding: str, where: str = "") -> None:
    """Refuse a field with bytes that its encoding does not have."""
    if not text.isascii() and (found := _UNDECODED.search(text)):
        codes = [ord(mark) - 0xDC00 for mark in found[0]]
        other = "cp1252" if min(codes) < 0xA0 and encoding != "cp1252" else "latin-1"
        reason = (
            f", column {_UNDECODED.sub('?', name)!r}: byte 0x{codes[0]:x} is not {encoding.upper()}; "
            f"pass the file's encoding, such as encoding={other!r}"
        )
        if where:
            raise ValueError(where + reason)
        raise _BadRowError(reason)


class _InUTF8:
    """The text of a file in another encoding, as bytes of UTF-8; what cannot be decoded stays as it is."""

    def __init__(self, file: IO[bytes], encoding: str, path: str | Path) -> None:
        self._text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="\n")
        self._path = path

    def read(self, size: int) -> bytes:
        return self._encoded(self._text.read, size)

    def readline(self, size: int = -1) -> bytes:
        return self._encoded(self._text.readline, size)

    def _encoded(self, read: Callable[[int], str], size: int) -> bytes:
        try:
            return read(size).encode(errors="surrogateescape")
        except UnicodeError as error:
            raise ValueError(f"{self._path} is not in encoding={self._text.encoding!r}: {error}") from None


@contextmanager
def _open_text(path: str | Path, encoding: str = "utf-8") -> Iterator[Any]:
    """Open a file for reading as bytes of UTF-8, unpacking it on the way."""
    with _unpacked(path) as file:
        yield file if encoding == "utf-8" else _InUTF8(file, encoding, path)


@contextmanager
def _unpacked(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking .gz, .bz2, .xz and .zip on the way."""
    name = str(path).lower()
    with refusing_corrupt(path):
        if name.endswith(".gz"):
            with gzip.open(path) as file:
                yield file  # type: ignore[misc]  # a GzipFile is a binary file in all but its declared type
        elif name.endswith(".bz2"):
            with bz2.open(path) as unpacked:
                yield unpacked
        elif name.endswith(".xz"):
            with lzma.open(path) as unpacked:
                yield unpacked
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                members = [
                    m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX/")
                ]
                if len(members) != 1:
                    raise ValueError(
                        f"{path}: holds {len(members)} files ({_listed(members)}); pack one file alone"
                    )
                with archive.open(members[0]) as file:
                    yield file
        else:
            with open(path, "rb") as file:
                yield file


@contextmanager
def refusing_corrupt(path: str | Path) -> Iterator[None]:
    """Raise `ValueError` with the name of the file where what it holds cannot be unpacked or decoded."""
    import pyarrow as pa

    try:
        yield
    except (
        EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, pa.ArrowInvalid
    ) as error:  # fmt: skip
        raise ValueError(f"{path} is corrupt: {error}; get another copy") from error
    except OSError as error:
        if error.errno is not None:
            raise  # of the system; gzip and pyarrow raise it without a number for what is in the file
        raise ValueError(f"{path} is corrupt: {error}; get another copy") from error


_LONE_RETURN = ": a carriage return outside quotes; lines end in a line feed"


class _Quotes:
    """Where quotes open and close, as Python's csv module has it: one opens at the start of a field alone.

    Text after a closing quote belongs to the field, as there, but not if the quote opened on another line:
    then the one that closes it was to open the next quoted field. Fields are not split by that module,
    whose limit for the size of a field holds for the whole process.
    """

    def __init__(self, delimiter: str, quote: str) -> None:
        self._delimiter, self._quote, self.mark = delimiter, quote, quote.encode()
        d, q = re.escape(delimiter), re.escape(quote)
        inside = rf"[^{q}]*+(?:{q}{q}[^{q}]*+)*+"
        in_line = inside.replace("[^", r"[^\n")
        opening = rf"{q}(?<![^{d}\n]{q})"
        closed = rf"{in_line}{q}|{inside}{q}(?![^{d}\r\n])"
        self._quoted = re.compile(rf"{opening}{inside}({q}?)".encode())
        self._not_closed = re.compile(rf"{opening}(?:{closed}|(?<=({q})))".encode())
        self._field = re.compile(rf"(?:{q}({inside}){q})?([^{d}]*)({d}?)")

    def open_at(self, data: bytes, end: int = sys.maxsize) -> int:
        """Return the position of the quote that `data[:end]` leaves open, -1 if there is none."""
        if self.mark not in data:
            return -1
        last = deque(self._quoted.finditer(data, 0, end), maxlen=1)
        return last[0].start() if last and not last[0][1] else -1

    def spans(self, data: bytes, end: int) -> list[tuple[int, int]]:
        """Return from where to where quotes go in `data[:end]`."""
        return [match.span() for match in self._quoted.finditer(data, 0, end)]

    def is_open_after(self, data: bytes, is_open: bool = False) -> bool:
        """Return whether a quote is open at the end of `data`, given whether one is at its start."""
        return self.open_at(self.mark + data if is_open else data) >= 0

    def are_closed(self, data: bytes) -> bool:
        """Return whether every quote of some records is closed, on its line or at the end of its field."""
        return self.mark not in data or not any(map(itemgetter(1), self._not_closed.finditer(data)))

    def split(self, text: str) -> list[str]:
        """Return the fields of a record."""
        fields, start = [], 0
        while match := self._field.match(text, start):
            quoted, plain, delimiter = match.groups()
            if "\r" in plain:
                raise _BadRowError(_LONE_RETURN)
            fields.append((quoted or "").replace(self._quote * 2, self._quote) + plain)
            if not delimiter:
                break
            start = match.end()
        return fields


def _raw_pieces(
    path: str | Path, encoding: str, n_skipped: int, first: bytes, quotes: _Quotes | None, is_lenient: bool
) -> Iterator[tuple[int, bytes]]:
    """Yield the number of the first line, and the bytes, of pieces that end where a record ends.

    The first piece begins with `first`, which the last of the skipped lines holds. A row that is too long is an error,
    or else its first line is a piece for itself.
    """
    with _open_text(path, encoding) as file:
        line = n_skipped + (not first)
        for _ in range(n_skipped):
            file.readline()
        rest = first
        while data := file.read(PIECE_BYTES):
            data = rest + data
            if line == 1:
                data = data.removeprefix(_BOM)
            end = _last_record_end(data, quotes)
            if not end and len(data) > MAX_RECORD_BYTES:
                end = data.find(b"\n") + 1
                if not end or not is_lenient:
                    raise ValueError(
                        f"{path}, line {line}: a row longer than {MAX_RECORD_BYTES >> 20} MB; an open quote? "
                        "(pass quote=None if quotes mean nothing) or lines that end in a carriage return "
                        "alone?"
                    )
            if end:
                yield line, data[:end]
            line += data.count(b"\n", 0, end)
            rest = data[end:]
        if rest:
            yield line, rest


def _last_record_end(data: bytes, quotes: _Quotes | None) -> int:
    """Return the position after the last line end that is outside quotes; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    spans = [] if quotes is None or quotes.open_at(data, end) < 0 else quotes.spans(data, end)
    for i in range(len(spans) - 1, -1, -1):
        end = data.rfind(b"\n", spans[i - 1][1] if i else 0, spans[i][0]) + 1
        if end:
            break
    return end


def _lines(data: bytes, quotes: _Quotes | None) -> tuple[list[bytes], list[int]]:
    """Return the lines of a piece, and for each the index of the line after a record that begins there.

    A quote that nothing closes leaves its line alone.
    """
    lines = data.removesuffix(b"\n").split(b"\n")
    ends = list(range(1, len(lines) + 1))
    after_closing = 0
    for i in range(len(lines) - 1 if quotes is not None else -1, -1, -1):
        if quotes is not None and quotes.mark in lines[i]:
            if after_closing and quotes.is_open_after(lines[i]):
                ends[i] = after_closing
            if not quotes.is_open_after(lines[i], is_open=True):
                after_closing = i + 1
    return lines, ends


def _is_plain(data: bytes) -> bool:
    """Return whether a piece has no lone carriage return, and no byte order mark for pyarrow to drop."""
    return data.count(b"\r") == data.count(b"\r\n") and not data.startswith(_BOM)


def _decode(record: bytes) -> str:
    """Return the text of a record; bytes that are not UTF-8 are refused where a field that is used holds them."""
    return record.decode(errors="surrogateescape")


def _number(text: str) -> float | None:
    """Return what pyarrow would read, and `None` for what Python alone takes for a number."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})(?:\.0*)?")


def _int_or_text(text: str) -> int | str:
    match = _WHOLE.fullmatch(text)
    return int(match[1]) if match else text


def _text_of_number(text: str) -> str:
    return str(_int_or_text(text))


def _bool_or_text(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


def value_converter(texts: Collection[str]) -> Callable[[str], Hashable]:
    """Return how the texts of a nominal column become values: ints or bools if all do, otherwise strings.

    Where all are numbers, `1` and `1.0` are one value.
    """
    if all(_WHOLE.fullmatch(text) for text in texts):
        return _int_or_text
    if all(text.lower() in ("true", "false") for text in texts):
        return _bool_or_text
    if all(_number(text) is not None for text in texts):
        return _text_of_number
    return str


def _name_converter(texts: Collection[str]) -> Callable[[str], Hashable]:
    """As `value_converter`, for a feature: numbers stay text, for models take an int for a number."""
    convert = value_converter(texts)
    return _text_of_number if convert is _int_or_text else convert


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text_of_whole(value: Any) -> str:
    return str(_whole(value))


_ENDING_COMMA = re.compile(rb",[ \t]*(?=\r?$)", re.MULTILINE)
_BLANKS = re.compile(rb"[ \t]+")
_BLANKS_AROUND = re.compile(rb"^[ \t]+|[ \t]+(?=\r?$)", re.MULTILINE)
_TOKEN = r"""(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"%{}][^,%{}]*?)?)"""
_FIELD = re.compile(rf"\s*{_TOKEN}\s*(,|%.*$|$)")
_DECLARED = re.compile(rf"\s*{_TOKEN}\s*(,|\}}|%.*$|$)")
_IN_BRACES = re.compile(r"""\{((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'"}])*)\}""")
_WORD = re.compile(
    r"""(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"%{}][^\s,%{}]*))(?:\s*,\s*|\s+|(?=%)|$)"""
)
_SPARSE_FIELD = re.compile(rf"\s*([0-9]+)\s+{_TOKEN}\s*(?:,|$)")
_ATTRIBUTE = re.compile(
    r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s{'"]+))\s*(.*)""", re.IGNORECASE
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


def _unquote(single: str | None, double: str | None, plain: str | None) -> str | None:
    """Return the text of an ARFF token, `None` for an unquoted question mark."""
    quoted = single if single is not None else double
    if quoted is None:
        return None if plain == "?" else plain or ""
    return _ESCAPE.sub(
        lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else _ESCAPED.get(m[1], m[1]), quoted
    )


def _split_row(text: str, n_columns: int) -> list[str | None]:
    """Return the fields of a dense ARFF row, as Weka reads them where there are not as many as columns."""
    try:
        fields, _ = _split_arff(text, _FIELD, "")
    except _BadRowError:
        if (words := _words(text)) is not None and len(words) == n_columns:
            return words
        raise
    if len(fields) == n_columns + 1 and fields[-1] == "":
        return fields[:-1]
    if len(fields) < n_columns and (words := _words(text)) is not None and len(words) == n_columns:
        return words
    return fields


def _words(text: str) -> list[str | None] | None:
    """Return the fields of a row with blanks or commas between them; `None` where it is no such row."""
    words, start = [], 0
    while start < len(text) and text[start] != "%":
        match = _WORD.match(text, start)
        if match is None:
            return None
        words.append(_unquote(*match.group(1, 2, 3)))
        start = match.end()
    return words


def _split_arff(
    text: str, pattern: re.Pattern[str], closing: str, start: int = 0
) -> tuple[list[str | None], int]:
    """Return the fields up to a closing mark, or to the end, and where they end."""
    fields = []
    while True:
        match = pattern.match(text, start)
        if match is None:
            raise _BadRowError(
                f": cannot read {text[start : start + 40]!r}; quote values that hold any of , ' \" % {{ }}"
            )
        fields.append(_unquote(*match.group(1, 2, 3)))
        start = match.end()
        if match[4] != ",":
            if closing and match[4] != closing:
                raise _BadRowError(f": no closing {closing}")
            return fields, start


def _default_of(column: _Column) -> str | None:
    """Return what a sparse row means by leaving the column out."""
    if column.nominal is None:
        return "0"
    if column.nominal.is_closed:
        return str(column.nominal.values[0])
    return None


def _read_attributes(
    path: str | Path, drop: Sequence[str], encoding: str
) -> tuple[list[_Column], int, bytes]:
    """Return the attributes that an ARFF file declares, how many lines its header takes, and a row on the last."""
    columns: list[_Column] = []
    left_out = set(drop)
    with _open_text(path, encoding) as file:
        for line, raw in enumerate(iter(file.readline, b""), 1):
            try:
                text = _decode(raw.removeprefix(_BOM)).strip()
                keyword = text.split(maxsplit=1)[0].lower() if text else "%"
                if keyword == "@data":
                    if not columns:
                        raise _BadRowError(": @data before any @attribute; declare the attributes first")
                    rest = raw.removeprefix(_BOM).strip()[len(keyword) :].strip()
                    return columns, line, rest + b"\n" if rest else b""
                if keyword == "@attribute":
                    columns.append(_read_attribute(text, left_out, encoding))
                elif not keyword.startswith(("%", "@relation")):
                    raise _BadRowError(
                        f": {text[:40]!r} in the header; allowed: @relation, @attribute, @data and % comments"
                    )
            except _BadRowError as reason:
                raise ValueError(f"{path}, line {line}{reason}") from None
    raise ValueError(f"{path}: no line @data; is this an ARFF file?")


def _read_attribute(text: str, drop: Collection[str], encoding: str) -> _Column:
    match = _ATTRIBUTE.match(text)
    if match is None:
        raise _BadRowError(
            f": cannot read {text[:60]!r}; write @attribute name type, the name in quotes if it holds blanks"
        )
    name, spec = _unquote(*match.group(1, 2, 3)) or "?", match[4]
    _check_decoded(name, name, encoding)
    if spec.startswith("{"):
        return _Column(name, _declared_values(name, spec, encoding))
    kind = re.split(r"[\s\[%]", spec, maxsplit=1)[0].lower()
    if kind in ("numeric", "real", "integer"):
        return _Column(name)
    if kind == "string" or name in drop:
        return _Column(name, NominalValues())
    raise _BadRowError(
        f", attribute {name!r}: of type {kind!r}; allowed: numeric, real, integer, string, {{value, ...}}; "
        f"pass drop=[{name!r}] to leave it out"
    )


def _declared_values(name: str, spec: str, encoding: str) -> NominalValues:
    """Return the values in the braces of a declaration; a comment may follow them."""
    if "}" not in spec:
        raise _BadRowError(f": the values of {name!r} have no closing brace; write them on one line")
    in_braces = _IN_BRACES.match(spec)
    words = None if in_braces is None or "," in in_braces[1] else _words(in_braces[1].strip())
    if in_braces is not None and words is not None:
        fields, end = words, in_braces.end()  # blanks between them, as Weka has it
    else:
        fields, end = _split_arff(spec, _DECLARED, "}", start=1)
    rest = spec[end:].strip()
    if rest and not rest.startswith("%"):
        raise _BadRowError(f", attribute {name!r}: {rest[:40]!r} after the closing brace; remove it")
    if fields and fields[-1] == "":
        fields = fields[:-1]  # a comma at the end
    texts = ["?" if value is None else value for value in fields]
    for value in texts:
        _check_decoded(name, value, encoding)
    convert = value_converter(texts)
    return NominalValues(list(dict.fromkeys(map(convert, texts))), convert, is_closed=True)


def _is_parquet(path: str | Path) -> bool:
    return str(path).lower().endswith((".parquet", ".pq"))


def _arrow_schema(path: str | Path) -> tuple[Any, int | None, dict[bytes, bytes]]:
    """Return schema, number of rows where the file tells it, and the notes in the file."""
    import pyarrow.parquet

    if _is_parquet(path):
        with pyarrow.parquet.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows, file.metadata.metadata or {}
    with _open_ipc(path) as (reader, _):
        return reader.schema, None, reader.schema.metadata or {}


def _is_dictionary(column: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_dictionary(column.type))


def _index_of_pandas(metadata: Mapping[bytes, bytes]) -> set[str]:
    """Return the columns that hold the index of a table that pandas wrote."""
    told = json.loads(metadata.get(b"pandas", b"{}"))
    return {name for name in told.get("index_columns", ()) if isinstance(name, str)}


def _arrow_batches(path: Path, used: Mapping[int, str]) -> Iterator[Any]:
    """Yield the record batches of a file in order, with the columns that are used: position and name."""
    import pyarrow.parquet

    with refusing_corrupt(path):
        if _is_parquet(path):
            # Without a buffer of its own pyarrow reads a whole row group, which may be the whole file.
            with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=PIECE_BYTES) as file:
                yield from file.iter_batches(PIECE_ROWS, columns=list(used.values()), use_threads=False)
        else:
            with _open_ipc(path, sorted(used)) as (_, batches):
                yield from batches


@contextmanager
def _open_ipc(path: str | Path, used: list[int] | None = None) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open an Arrow file, of the format with a footer (Feather) or of the one without."""
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions(included_fields=used)
    with pa.memory_map(str(path)) as source:
        try:
            file = pa.ipc.open_file(source, options=options)
        except pa.ArrowInvalid:
            source.seek(0)
            stream = pa.ipc.open_stream(source, options=options)
            yield stream, iter(stream)
        else:
            yield file, map(file.get_batch, range(file.num_record_batches))
