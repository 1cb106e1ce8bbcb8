"""Base of streams from text files: a piece is parsed at once by pyarrow, or field by field.

pyarrow only parses pieces for which parsing field by field gives the same result.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streams.files.bad_rows import BadRowError, BadRows, OpenQuoteError
from streams.files.decoding import check_decoded, open_text
from streams.files.reading import Column, FileStream
from streams.files.records import Quotes, lines_and_ends, raw_pieces
from streams.files.values import (
    MISSING_NUMBERS,
    NominalValues,
    int_or_text,
    is_numeric,
    name_converter,
    number_in,
    value_converter,
)
from streams.stream import Block

GROUP_ROWS = 256
"""Number of records that pyarrow tries to parse at once after it could not parse a whole piece."""


class TextStream(FileStream):
    """Base class of streams from text files. A subclass splits records into fields."""

    _n_header_lines: int
    _quotes: Quotes | None = None
    _encoding: str
    _null_values: list[str]
    _first: bytes = b""  # start of the first row if it is on the last line of the header
    _has_numbers_as_labels = False

    def _columns_of(
        self,
        names: list[str],
        values: Sequence[Mapping[str, int]],
        at: int,
        nominal: Sequence[str],
        classes: Sequence[Hashable],
    ) -> list[Column]:
        """Return the columns, given the counts of their values in the first piece of the file."""
        columns, asked = [Column(name) for name in names], set(nominal)
        for i, (column, shown) in enumerate(zip(columns, values, strict=True)):
            if i == at:
                convert = value_converter([text for text in shown if text.strip() not in MISSING_NUMBERS])
                column.nominal = NominalValues(classes, convert)
                self._has_numbers_as_labels = convert is int_or_text and bool(shown)
            elif column.name in asked or not is_numeric(shown):
                column.nominal = NominalValues((), name_converter(shown))
        return columns

    def _open(self) -> Any:
        return open_text(self.path)

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
            lines, ends = lines_and_ends(data, self._quotes)
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
        return raw_pieces(path, self._encoding, self._n_header_lines, self._first, self._quotes, is_lenient)

    def _parse(self, data: bytes, limit: int) -> Block | None:
        """Parse all records with pyarrow, or return `None` if they must be parsed field by field.

        Values are numbered only after all rows are known to be good.
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
        """Parse the records that begin in `lines[start:stop]` field by field, and report malformed rows.

        Also return where the next record begins. If a quote is still open at the end of its field, this is the next
        line, even if a later line closes the quote: a stray quote must not swallow good rows.
        """
        rows: list[list[float]] = []
        targets: list[int] = []
        while start < stop and len(rows) < limit:
            try:
                fields = self._split(b"\n".join(lines[start : ends[start]]))
                row = None if fields is None else self._row(fields)
            except BadRowError as reason:
                self._refuse(bad_rows, f"line {line + start}", str(reason))
                start = start + 1 if isinstance(reason, OpenQuoteError) else ends[start]
                continue
            start = ends[start]
            if fields is not None and row is not None:
                targets.append(self._label.index(fields[self._at]))
                rows.append(row)
        X = np.array(rows, dtype=np.float64).reshape(len(rows), len(self._kept))
        return Block(X, np.array(targets, dtype=np.int64)), start

    def _row(self, fields: list[str | None]) -> list[float]:
        """Return the features of a row. New values are numbered after the whole row is known to be good."""
        if len(fields) != len(self._columns):
            raise BadRowError(
                f": {len(fields)} fields, but there are {len(self._columns)} columns; correct the row"
            )
        label = fields[self._at]
        if label is None or self._is_no_label(label):
            raise BadRowError(f", column {self.target!r}: the class label is missing; fill it in")
        check_decoded(self.target, label, self._encoding)
        row = []
        for i in self._kept:
            column, text = self._columns[i], fields[i]
            if text is not None:
                check_decoded(column.name, text, self._encoding)
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
        """Return the number in a field of a numeric column, or NaN if it is missing."""
        if text.strip() in MISSING_NUMBERS:
            return np.nan
        number = number_in(text)
        if number is None:
            raise BadRowError(
                f", column {name!r}: {text!r} is not a number, but its column is numeric; correct it, or pass "
                f"nominal=[{name!r}] to read names, or missing=[..., {text!r}] if it stands for a missing value"
            )
        if np.isinf(number):
            raise BadRowError(f", column {name!r}: {text!r} is not finite; correct it")
        return np.nan if number in self._missing_numbers else number

    def _is_no_label(self, text: str) -> bool:
        """Return whether a label is a mark of a missing number in a column of whole numbers."""
        return self._has_numbers_as_labels and text.strip() in MISSING_NUMBERS

    @staticmethod
    def _check_known(column: Column, text: str | None) -> None:
        if column.nominal is not None and text is not None and not column.nominal.knows(text):
            declared = ", ".join(map(repr, column.nominal.values[:10]))
            more = ", ..." if len(column.nominal.values) > 10 else ""
            raise BadRowError(
                f", column {column.name!r}: {text!r} is not declared; allowed: {declared}{more}"
            )

    def _parse_options(self, data: bytes) -> Any:
        """Return pyarrow's options for a piece, or `None` if pyarrow would read it differently from `_split`."""
        raise NotImplementedError

    def _clean(self, text: str) -> str | None:
        """Return a nominal field as `_split` would, or `None` if it is missing."""
        raise NotImplementedError

    def _is_plainly_quoted(self, entries: list[str]) -> bool:
        """Return whether pyarrow read the fields of a piece that holds quotes as `_split` would."""
        return True

    def _split(self, record: bytes) -> list[str | None] | None:
        """Return the fields of a record, with `None` for a missing one. Return `None` for a blank line or a comment."""
        raise NotImplementedError
