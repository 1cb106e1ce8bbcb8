"""Files of JSON lines as streams."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from streams.files.bad_rows import BadRowError
from streams.files.decoding import decode, known_encoding
from streams.files.reading import check_names, target_position
from streams.files.text import TextStream
from streams.files.values import (
    MISSING,
    other_marks,
)
from streams.stream import Block


class JSONLinesStream(TextStream):
    """A file of JSON lines as a stream: one object in each line.

    The columns are the names in the objects of the first megabyte, in order of appearance. A name that an object leaves
    out is a missing value, like `null`. As in a CSV file, a column is numeric if most of its values in the first
    megabyte are numbers. A value that is an object or a list makes its row malformed.

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
        What the file could also mean, and how it is read.

    Raises
    ------
    ValueError, OSError
        As in `CSVStream`.

    References
    ----------
    https://jsonlines.org

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from streams.files import JSONLinesStream
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weather.jsonl")
    ...     _ = path.write_text('{"degrees": 14.5, "rain": "yes"}\\n{"degrees": null, "rain": "no"}\\n')
    ...     samples = list(JSONLinesStream(path, "rain"))
    >>> samples
    [({'degrees': 14.5}, 'yes'), ({}, 'no')]
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
        self._encoding = known_encoding(path, encoding)
        self._n_header_lines, self._null_values, self._missing = 0, list(missing), frozenset(missing)
        self._dropped = frozenset(drop)
        values = self._first_values(path)
        names = list(values)
        if not names:
            raise ValueError(
                f"{path}: no line of its first megabyte holds a JSON object; is this a file of JSON lines?"
            )
        at = target_position(target, names, path)
        check_names("nominal", nominal, names, path)
        columns = self._columns_of(names, list(values.values()), at, nominal, classes)
        self._place = {name: i for i, name in enumerate(names)}
        read_as = {
            "missing": other_marks(missing),
            "encoding": self._encoding if self._encoding != "utf-8" else None,
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

    def _first_values(self, path: str | Path) -> dict[str, Counter[str]]:
        """Count the values of each column in the first piece of the file. If no line can be read, say why not."""
        values: dict[str, Counter[str]] = {}
        first_reason = ""
        _, data = next(self._raw_pieces(path, is_lenient=True), (0, b""))
        for number, record in enumerate(data.split(b"\n"), start=1):
            try:
                fields = self._object(record)
            except NestedError as reason:
                first_reason = first_reason or f"{path}, line {number}{reason}"
                continue
            except BadRowError:  # reported later, when the rows are read
                continue
            for name, text in (fields or {}).items():
                shown = values.setdefault(name, Counter())
                if text is not None:
                    shown[text] += 1
        if not values and first_reason:
            raise ValueError(first_reason)
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
                raise BadRowError(f": {name!r} is none of the names that the first megabyte holds; remove it")
            fields[self._place[name]] = text
        return fields

    def _object(self, record: bytes) -> dict[str, str | None] | None:
        """Return the names and values of a line, with `None` for a missing value. Return `None` for a blank line."""
        text = decode(record).strip()
        if not text:
            return None
        try:
            found = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadRowError(f": not valid JSON ({error}); correct it") from None
        if not isinstance(found, dict):
            raise BadRowError(f': {text[:40]!r} is not a JSON object; write {{"name": value, ...}}')
        fields: dict[str, str | None] = {}
        for name, value in found.items():
            if name in self._dropped:
                fields[name] = None
                continue
            if isinstance(value, dict | list):
                raise NestedError(f", {name!r}: {_advice(name, value)}")
            value = {True: "true", False: "false"}[value] if isinstance(value, bool) else value
            fields[name] = None if value is None or value.strip() in self._missing else value
        return fields


class NestedError(BadRowError):
    """A value of a row holds others."""


def _advice(name: str, value: dict[str, Any] | list[Any]) -> str:
    """Return what a nested value is, and what can be done."""
    if isinstance(value, dict):
        what, inner = "an object", next(iter(value), "name")
    else:
        what, inner = "a list", "0"
    return (
        f"it holds {what}, and a feature is a single value; write each of its values under a name "
        f'of its own, such as "{name}.{inner}", or leave it out: drop=[{name!r}]'
    )
