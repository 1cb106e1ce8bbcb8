"""ARFF files as streams."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from streams.files.arff_syntax import SPARSE_FIELD, read_attributes, split_row, unquote
from streams.files.bad_rows import BadRowError
from streams.files.decoding import decode, known_encoding
from streams.files.reading import Column, check_names, target_position
from streams.files.records import is_plain
from streams.files.text import TextStream
from streams.files.values import NominalValues, int_or_text, text_of_number
from streams.stream import Block

_ENDING_COMMA = re.compile(rb",[ \t]*(?=\r?$)", re.MULTILINE)

_BLANKS = re.compile(rb"[ \t]+")

_BLANKS_AROUND = re.compile(rb"^[ \t]+|[ \t]+(?=\r?$)", re.MULTILINE)


class ARFFStream(TextStream):
    """An ARFF file as a stream.

    Nominal attributes keep their declared values and order. A value that is not declared makes its row malformed.
    Declared values become ints if all are whole numbers, and bools if all are true and false. String attributes become
    nominal, with values in order of appearance.

    `?` is a missing value, and so are the usual marks in numeric attributes (`MISSING_NUMBERS`). Numbers must be
    finite. An attribute that a sparse row leaves out is zero or its first declared value; a string is missing.
    Attributes of type date must be dropped. Relational attributes are not supported.

    As in Weka and MOA, blanks may separate fields instead of commas, and a row may end in a comma. Text after `@data`
    on the same line is the first row. A `%` outside quotes begins a comment.

    Parameters
    ----------
    path
        A text file. .gz, .bz2, .xz and .zip (of one file) are unpacked while they are read.
    target
        The attribute of the class label, by name or by position (-1 is the last); `None` is the last attribute.
    n_samples
        Largest number of samples to read; `None` reads the whole file. The attribute `n_samples` is this limit, even
        if the file is shorter and does not state its length.
    on_bad_row
        `"error"` raises at the first malformed row; `"skip"` leaves malformed rows out and counts them.
    nominal
        Numeric attributes to read as names (text).
    drop
        Attributes to leave out.
    classes
        Labels known beforehand of a target that is not nominal. Leave it out for a nominal target.
    missing
        Fields, quoted or not, that stand for a missing value besides `?`.
    encoding
        Encoding of the text, such as `"latin-1"`, `"cp1252"` or `"utf-16"`.

    Attributes
    ----------
    path, target
        The file and the name of the target attribute.
    bad_rows
        `BadRows` of the latest reading.
    notes, reading
        What the file could also mean, and how it is read.

    Raises
    ------
    ValueError
        If the header is malformed, or an argument names an unknown attribute. While reading, if the file is corrupt or
        a row is malformed. The message names the file, the line, the attribute and the value.
    OSError
        If the file cannot be read.

    References
    ----------
    The Attribute-Relation File Format of Weka (Witten, Frank, Hall, "Data Mining", 3rd ed., 2011, sec. 2.4).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from streams.files import ARFFStream
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weather.arff")
    ...     head = "@relation weather\\n@attribute degrees numeric\\n@attribute rain {no,yes}\\n@data\\n"
    ...     _ = path.write_text(head + "14.5,yes\\n21,no\\n")
    ...     stream = ARFFStream(path)
    ...     samples = list(stream)
    >>> samples, stream.classes
    ([({'degrees': 14.5}, 'yes'), ({'degrees': 21.0}, 'no')], ['no', 'yes'])
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
        self._encoding = known_encoding(path, encoding)
        self._missing = frozenset(missing)
        columns, self._n_header_lines, self._first = read_attributes(path, drop, self._encoding)
        names = [column.name for column in columns]
        at = target_position(target, names, path)
        check_names("nominal", nominal, names, path)
        self._null_values = ["?", *missing]
        for i, column in enumerate(columns):
            if column.nominal is None and (i == at or column.name in nominal):
                column.nominal = NominalValues((), int_or_text if i == at else text_of_number)
        label = columns[at].nominal
        if classes and label is not None and label.is_closed:
            raise ValueError(
                f"{path}: classes={classes!r}, but the file declares {label.values}; leave classes out"
            )
        if classes:
            columns[at].nominal = NominalValues(classes, int_or_text)
        self._has_numbers_as_labels = columns[at].nominal.convert is int_or_text  # type: ignore[union-attr]
        read_as = {"missing": sorted(missing), "encoding": self._encoding if encoding != "utf-8" else None}
        super().__init__(
            path,
            columns,
            at=at,
            n_samples=n_samples,
            on_bad_row=on_bad_row,
            nominal=nominal,
            drop=drop,
            missing=missing,
            is_labelled=bool(classes),
            read_as=read_as,
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

        if not is_plain(data) or any(mark in data for mark in (b"{", b"%", b'"', b"\\", b"'?'")):
            return None
        return pyarrow.csv.ParseOptions(quote_char="'" if b"'" in data else False, double_quote=False)

    def _clean(self, text: str) -> str | None:
        text = text.strip()
        return None if text == "?" or text in self._missing else text

    def _is_plainly_quoted(self, entries: list[str]) -> bool:
        return all("'" not in text and text == text.strip() for text in entries)

    def _split(self, record: bytes) -> list[str | None] | None:
        text = decode(record).strip()
        if not text or text.startswith("%"):
            return None
        fields = self._split_sparse(text) if text.startswith("{") else split_row(text, len(self._columns))
        return [None if field in self._missing else field for field in fields] if self._missing else fields

    def _split_sparse(self, text: str) -> list[str | None]:
        fields = [_default_of(column) for column in self._columns]
        closing = re.search(r"\}\s*(%.*)?$", text)
        if closing is None:
            raise BadRowError(": a sparse row without its closing brace; write {index value, ...}")
        if re.search(r"\}\s*,\s*\{[^{}]*$", text[: closing.start()]):
            raise BadRowError(": weights of rows are not supported; remove what follows the closing brace")
        body, end = text[1 : closing.start()].strip(), 0
        while end < len(body):
            match = SPARSE_FIELD.match(body, end)
            if match is None:
                raise BadRowError(
                    f": cannot read {body[end : end + 40]!r}; write a sparse row as {{index value, ...}}"
                )
            index = int(match[1])
            if index >= len(fields):
                raise BadRowError(f": index {index}, but there are {len(fields)} attributes, counted from 0")
            fields[index] = unquote(*match.group(2, 3, 4))
            end = match.end()
        return fields


def _default_of(column: Column) -> str | None:
    """Return the value of a column that a sparse row does not list."""
    if column.nominal is None:
        return "0"
    if column.nominal.is_closed:
        return str(column.nominal.values[0])
    return None
