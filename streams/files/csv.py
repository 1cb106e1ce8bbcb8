"""CSV files as streams."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import Any

from streams.files.bad_rows import BadRowError, OpenQuoteError
from streams.files.decoding import BOM, check_decoded, decode, known_encoding, open_text
from streams.files.reading import Column, check_names, target_position
from streams.files.records import LONE_RETURN, MAX_RECORD_BYTES, Quotes, is_plain, lines_and_ends
from streams.files.text import TextStream
from streams.files.values import (
    MISSING,
    SOME_NUMBERS,
    number_in,
    other_marks,
    share_of_numbers,
)
from streams.stream import Block

_COMMA = re.compile(r"[+-]?\d+(?:[. ]?\d{3})*,\d+")
"""A number with a comma, in whose place most programs write a point."""

_PADDED = re.compile(r"\s*[+-]?0\d+\s*")
"""A whole number with leading zeros, as in identifiers and postal codes."""


class CSVStream(TextStream):
    """A CSV file as a stream.

    The first megabyte decides the kind of a column. It is numeric if most of its values there are numbers, otherwise
    nominal. In a nominal column `true` and `false` become Python's bools, and numbers stay text, because models would
    take an int for a number. A label that looks like a whole number becomes an int (`1.0` is 1), `true` and `false`
    become bools, and any other label stays a string.

    A row is malformed if a numeric column holds anything but a finite number or a usual mark of a missing one
    (`MISSING_NUMBERS`), wherever the row stands. A line that repeats the names of the columns is malformed too.

    Parameters
    ----------
    path
        A text file; a byte order mark and CRLF are allowed. .gz, .bz2, .xz and .zip (of one file) are unpacked while
        they are read.
    target
        The column of the class label, by name or by position (-1 is the last); `None` is the last column.
    delimiter
        The character between fields. Several blanks in a row count as one, except in records with quotes.
    quote
        The character around fields that hold delimiters, line ends or doubled quotes; `None` if quotes have no
        meaning.
    header
        Whether the first line holds the names of the columns. With `None` it does, unless all its fields are numbers, a
        field has a fraction, or two fields are the same number. Without names the columns are `x0`, `x1` and so on.
    missing
        Fields that stand for a missing value, quoted or not. In a numeric column, a number matches however it is
        written.
    encoding
        Encoding of the text, such as `"latin-1"`, `"cp1252"` or `"utf-16"`.
    n_samples
        Largest number of samples to read; `None` reads the whole file. The attribute `n_samples` is this limit, even
        if the file is shorter and does not state its length.
    on_bad_row
        `"error"` raises at the first malformed row; `"skip"` leaves malformed rows out and counts them.
    nominal
        Columns to read as names (text) even if they hold numbers.
    drop
        Columns to leave out, such as identifiers and times: the values of a nominal column are kept in memory.
    classes
        Class labels known beforehand, in the order of their index. Others are appended when they appear.

    Attributes
    ----------
    path, target
        The file and the name of the target column.
    bad_rows
        `BadRows` of the latest reading.
    notes, reading
        What the file could also mean, and how it is read.

    Raises
    ------
    ValueError
        If an argument names an unknown column, or the target holds amounts (more than 50 different numbers that are not
        whole). While reading, if the file is corrupt or a row is malformed. The message names the file, the line (of a
        row of several lines, the first), the column and the value. The error comes when the piece with the row is
        read, up to a megabyte before the row is reached.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from streams.files import CSVStream
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weather.csv")
    ...     _ = path.write_text("degrees;sky;rain\\n14.5;grey;yes\\n21;;no\\n")
    ...     samples = list(CSVStream(path, "rain", delimiter=";"))
    >>> samples
    [({'degrees': 14.5, 'sky': 'grey'}, 'yes'), ({'degrees': 21.0}, 'no')]
    """

    _names: list[str]
    _header: bytes

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
        _check_marks(delimiter=delimiter, quote=quote)
        self._delimiter, self._quote = delimiter, quote
        self._quotes = None if quote is None else Quotes(delimiter, quote)
        self._missing = frozenset(missing)
        self._null_values = list(missing)
        self._encoding = known_encoding(path, encoding)
        self._names, self._header, self._first_row = [], b"", ""
        names, self._n_header_lines = self._read_names(path, header)
        self._check_delimiter(path, names)
        check_names("nominal", nominal, names, path)
        values = self._first_values(path, len(names))
        if target is None and self._names and not self._names[-1].strip() and not values[-1]:
            target, drop = len(names) - 2, [*drop, names[-1]]  # every line ends in a delimiter
        at = target_position(target, names, path)
        self._check_line_ends(path, values[-1])
        columns = self._columns_of(names, values, at, nominal, classes)
        self._find_doubts(columns, values, {names[at], *nominal})
        is_in_doubt = header is None and self._may_be_row(values)
        self._first_line = ", ".join(self._names)[:30] if is_in_doubt else ""
        read_as = {
            "missing": other_marks(missing),
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
            on_bad_row=on_bad_row,
            nominal=nominal,
            drop=drop,
            missing=missing,
            is_labelled=bool(classes),
            read_as=read_as,
        )

    def _find_doubts(self, columns: list[Column], values: list[Counter[str]], asked: set[str]) -> None:
        """Find nominal columns with many numbers among their values, and numeric ones with leading zeros."""
        shown = [
            (i, column, of_column)
            for i, (column, of_column) in enumerate(zip(columns, values, strict=True))
            if column.name not in asked
        ]
        self._mixed = [i for i, column, of in shown if column.nominal and share_of_numbers(of) > SOME_NUMBERS]
        self._padded = [
            i for i, column, of in shown if not column.nominal and any(map(_PADDED.fullmatch, of))
        ]

        self._with_commas = {
            i: next(text for text in of if _COMMA.fullmatch(text.strip()))
            for i, column, of in shown
            if column.nominal
            and sum(n for t, n in of.items() if _COMMA.fullmatch(t.strip())) > 0.5 * sum(of.values())
        }

    @property
    def notes(self) -> list[str]:
        """A sentence for each column that could also mean something else, judged by what was read so far."""
        notes = super().notes
        if self._first_line:
            notes.insert(0, f"the first line, {self._first_line}, is read as names; if a row: header=False")
        if self._first_row:
            notes.insert(0, f"the first line, {self._first_row}, is read as a row; if names: header=True")
        for i in self._padded:
            if i in self._kept:
                name = self._columns[i].name
                notes.append(
                    f"{name!r} has numbers with leading zeros; if they are names: nominal=[{name!r}]"
                )
        for i, text in self._with_commas.items():
            if i in self._kept:
                name = self._columns[i].name
                notes.append(
                    f"{name!r} holds numbers with commas, such as {text}, and is read as names, because a number has a "
                    f"decimal point; rewrite the file, or if they are names: nominal=[{name!r}]"
                )
        for i in self._mixed:
            if i in self._kept and i not in self._with_commas:
                name = self._columns[i].name
                notes.append(f"{name!r} is read as names, with numbers among them; if so: nominal=[{name!r}]")
        return notes

    def _check_delimiter(self, path: str | Path, names: list[str]) -> None:
        """Refuse a file of one column if its name holds another delimiter."""
        other = next((mark for mark in ";\t|," if mark != self._delimiter and mark in names[0]), None)
        if len(names) == 1 and other is not None:
            raise ValueError(
                f"{path}: the only column is {names[0]!r}; is another character between the fields? "
                f"pass delimiter={other!r}"
            )

    def _may_be_row(self, values: list[Counter[str]]) -> bool:
        """Return whether the line of names may be a row: a name is a number, or its column shows it as a value."""
        return any(
            number_in(name) is not None or name in shown
            for name, shown in zip(self._names, values, strict=False)
        )

    def _check_line_ends(self, path: str | Path, last: Collection[str]) -> None:
        """Refuse a file if all lines end in the same mark, which would become part of the last field."""
        for mark in ";|\t":
            if mark != self._delimiter and last and all(text.endswith(mark) for text in last):
                raise ValueError(
                    f"{path}: every line ends in {mark!r}, which is not part of the last field and does not stand "
                    "between fields; remove it from the ends of the lines"
                )

    def _read_names(self, path: str | Path, header: bool | None) -> tuple[list[str], int]:
        """Return the names of the columns and the number of lines they take."""
        with open_text(path, self._encoding) as file:
            n_lines, record, is_open = 0, b"", False
            while line := file.readline(MAX_RECORD_BYTES):
                line = line.removeprefix(BOM) if n_lines == 0 else line
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
        except BadRowError as reason:
            raise ValueError(f"{path}, line {n_lines}{reason}") from None
        if header is False or (header is None and self._is_row(fields)):
            if header is None and self._may_be_names(fields):
                self._first_row = ", ".join(fields)[:30]
            return [f"x{i}" for i in range(len(fields))], 0
        for text in fields:
            check_decoded(text, text, self._encoding, f"{path}, line {n_lines}")
        self._names, self._header = fields, record.rstrip(b"\r\n")
        return [text.strip() or f"x{i}" for i, text in enumerate(fields)], n_lines

    def _is_row(self, fields: list[str]) -> bool:
        """Return whether the first line cannot be column names. Whole numbers can: they may be years or positions."""
        numbers = [number_in(text) for text in fields if self._clean(text) is not None]
        of_names = [number for number in numbers if number is not None]
        if len(of_names) == len(numbers):
            return True
        return len(set(of_names)) < len(of_names) or any(n % 1 != 0 for n in of_names)

    def _may_be_names(self, fields: list[str]) -> bool:
        """Return whether a row of numbers may still be names: different whole numbers, such as years."""
        numbers = [number_in(text) for text in fields]
        return len(set(numbers)) == len(numbers) and all(n is not None and n % 1 == 0 for n in numbers)

    def _first_values(self, path: str | Path, n_columns: int) -> list[Counter[str]]:
        """Count the values of each column in the first piece of the file."""
        values: list[Counter[str]] = [Counter() for _ in range(n_columns)]
        _, data = next(self._raw_pieces(path, is_lenient=True), (0, b""))
        lines, ends = lines_and_ends(data, self._quotes)
        start = 0
        while start < len(lines):
            try:
                fields = self._split(b"\n".join(lines[start : ends[start]]))
            except BadRowError as reason:  # reported later, when the rows are read
                start = start + 1 if isinstance(reason, OpenQuoteError) else ends[start]
                continue
            if fields is not None and len(fields) == n_columns:
                for shown, text in zip(values, fields, strict=True):
                    if text is not None:
                        shown[text] += 1
            start = ends[start]
        return values

    def _parse_options(self, data: bytes) -> Any:
        import pyarrow.csv

        if not is_plain(data) or (self._quotes is not None and not self._quotes.are_closed(data)):
            return None
        if (
            self._header
            and self._header in data
            and re.search(rb"^" + re.escape(self._header) + rb"\r?$", data, re.MULTILINE)
        ):
            return None  # a line repeats the names
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
        if not record.strip(b" \r\n"):
            return None
        fields = self._fields(record)
        if fields == self._names:
            raise BadRowError(
                ": the names of the columns again; remove the line, or pass header=False if the first line is a row"
            )
        return [self._clean(text) for text in fields]

    def _fields(self, record: bytes) -> list[str]:
        if self._quotes is not None and not self._quotes.are_closed(record):
            raise OpenQuoteError(
                f": a quote {self._quote} is not closed at the end of its field; close it, or pass quote=None "
                "if quotes mean nothing"
            )
        text = decode(record.rstrip(b"\r\n"))
        if self._quotes is not None and self._quotes.mark in record:
            return self._quotes.split(text)
        if "\r" in text:
            raise BadRowError(LONE_RETURN)
        if self._delimiter == " ":
            text = re.sub(" +", " ", text.strip(" "))
        return text.split(self._delimiter)


def _check_marks(**marks: str | None) -> None:
    """Refuse a delimiter or quote that is not one ASCII character."""
    for name, mark in marks.items():
        if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n"):
            raise ValueError(f"{name}={mark!r}; choose one ASCII character that is not a line end")
