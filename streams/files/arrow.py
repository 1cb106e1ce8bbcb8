"""Parquet and Arrow files as streams."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from streams.files.bad_rows import BadRows
from streams.files.decoding import PIECE_BYTES, refusing_corrupt
from streams.files.reading import Column, FileStream, check_names, target_position
from streams.files.values import NominalValues, text_of_whole, whole
from streams.stream import Block

VALUES_KEY = b"streams.values"
"""Key in the file's metadata under which `streams.export` writes nominal values and classes."""

PIECE_ROWS = 1 << 15
"""Largest number of rows that are read at once."""


class ArrowStream(FileStream):
    """A Parquet or Arrow (Feather) file as a stream.

    Numbers, including decimals, become float64. Strings, dictionaries and bools become nominal. A file written by
    `streams.export.write` gives back nominal values and classes in their order. The index of a table written by pandas
    is not a column, unless `target` or `nominal` names it.

    Parameters
    ----------
    path
        A file whose name ends in .parquet, .pq, .arrow or .feather (Arrow's IPC file or stream format).
    target
        The column of the class label, by name or by position (-1 is the last); `None` is the last column.
    n_samples
        Largest number of samples to read; `None` reads the whole file. The attribute `n_samples` is this limit, even
        if the file is shorter and does not state its length.
    on_bad_row
        What to do with a row that has no label or a number that is not finite: `"error"` raises, `"skip"` leaves the
        row out and counts it.
    nominal
        Columns to read as names (text) even if they hold numbers.
    drop
        Columns to leave out, such as identifiers: the values of a nominal column are kept in memory.
    classes
        Class labels known beforehand, in the order of their index. Others are appended when they appear.
    missing
        Values, as text, that stand for a missing value besides null and NaN.

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
        If the file is of another kind or corrupt, a column is neither number nor text (pass its name in `drop`), or an
        argument names an unknown column. If the target holds amounts (more than 50 different numbers that are not
        whole), a label is missing, or a number is not finite.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import streams
    >>> from streams.export import write
    >>> from streams.files import ArrowStream
    >>> stream = streams.make("sea", n_samples=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "sea.parquet")
    ...     _ = write(stream, path)
    ...     samples = list(ArrowStream(path))
    >>> samples == list(stream)
    True
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

        with refusing_corrupt(path):
            try:
                schema, n_rows, metadata = _arrow_schema(path)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{path}: not a Parquet or Arrow file: {error}") from error
        index = _index_of_pandas(metadata) - {target, *nominal}
        self._fields = [(i, field) for i, field in enumerate(schema) if field.name not in index]
        names = [field.name for _, field in self._fields]
        at = target_position(target, names, path)
        check_names("nominal", nominal, names, path)
        known = json.loads(metadata.get(VALUES_KEY, b"{}"))
        columns = [Column(name) for name in names]
        left_out = set(drop)
        for i, column in enumerate(columns):
            if column.name in left_out:
                continue
            is_name = _holds_names(self._fields[i][1], path)
            if i == at or is_name or column.name in nominal or column.name in known:
                values = classes if i == at and classes else known.get(column.name, ())
                is_plain = i == at or is_name or column.name in known
                column.nominal = NominalValues(values, whole if is_plain else text_of_whole)
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
            read_as={"missing": sorted(missing)},
        )

    def _open(self) -> Any:
        return self.path.open("rb")

    def _pieces(self, bad_rows: BadRows) -> Iterator[Block]:
        left, n_before = self._limit, 0
        used = {self._fields[i][0]: self._columns[i].name for i in (self._at, *self._kept)}
        for batch in _arrow_batches(self.path, used):
            for start in range(0, batch.num_rows, PIECE_ROWS):
                if not left:
                    return
                part = batch.slice(start, PIECE_ROWS)
                block = self._block(part, n_before + start, left, bad_rows)
                left -= len(block.y)
                yield block
            n_before += batch.num_rows

    def _block(self, part: Any, n_before: int, limit: int, bad_rows: BadRows) -> Block:
        """Return the good rows of a record batch, at most `limit`. `n_before` rows come before it in the file."""
        import pyarrow as pa

        for i, kind in enumerate(part.schema.types):
            if pa.types.is_string_view(kind):  # few functions of pyarrow accept it
                part = part.set_column(i, part.schema.names[i], part.column(i).cast(pa.string()))
        numbers = {
            i: self._numbers(i, part.column(self._columns[i].name))
            for i in self._kept
            if self._columns[i].nominal is None
        }
        is_unlabelled = self._has_no_label(part.column(self.target))
        is_bad = is_unlabelled.copy()
        for column in numbers.values():
            is_bad |= np.isinf(column)
        n_needed = int(np.searchsorted(np.cumsum(~is_bad), limit)) + 1
        for row in np.flatnonzero(is_bad[:n_needed]).tolist():
            if is_unlabelled[row]:
                reason = f", column {self.target!r}: the class label is missing; fill it in"
            else:
                i = next(i for i, column in numbers.items() if np.isinf(column[row]))
                reason = f", column {self._columns[i].name!r}: {numbers[i][row]} is not finite; correct it"
            self._refuse(bad_rows, f"row {n_before + row + 1}", reason)
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
        return Block(X, y)

    def _has_no_label(self, column: Any) -> np.ndarray:
        """Return for each row whether its label is missing or an infinite number."""
        if not _is_dictionary(column):
            column = column.dictionary_encode()
        entries = [*column.dictionary.to_pylist(), None]
        is_missing = np.array([not self._holds(value) or value in (np.inf, -np.inf) for value in entries])
        return is_missing[column.indices.fill_null(len(entries) - 1).to_numpy()]

    def _holds(self, value: Any) -> bool:
        """Return whether a value of a nominal column is not missing; null and NaN are missing."""
        if value is None or value != value:
            return False
        return not self._missing or str(whole(value)).strip() not in self._missing

    def _numbers(self, i: int, column: Any) -> np.ndarray:
        """Return a column as float64: its numbers, or the index of each nominal value."""
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


def _holds_names(field: Any, path: str | Path) -> bool:
    """Return whether a column is nominal by its type; refuse types that are neither number nor text."""
    from pyarrow import types

    of_names = (
        types.is_dictionary,
        types.is_boolean,
        types.is_string,
        types.is_large_string,
        types.is_string_view,
    )
    if any(test(field.type) for test in of_names):
        return True
    of_numbers = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if not any(test(field.type) for test in of_numbers):
        raise ValueError(
            f"{path}, column {field.name!r}: of type {field.type}, neither number nor text; "
            f"pass drop=[{field.name!r}]"
        )
    return False


def _is_parquet(path: str | Path) -> bool:
    return str(path).lower().endswith((".parquet", ".pq"))


def _arrow_schema(path: str | Path) -> tuple[Any, int | None, dict[bytes, bytes]]:
    """Return the schema, the number of rows if the file states it, and the metadata."""
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
    """Return the names of the columns that hold a pandas index."""
    told = json.loads(metadata.get(b"pandas", b"{}"))
    return {name for name in told.get("index_columns", ()) if isinstance(name, str)}


def _arrow_batches(path: Path, used: Mapping[int, str]) -> Iterator[Any]:
    """Yield the record batches of a file in order, with only the columns in `used` (position -> name)."""
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
    """Open an Arrow file in either format: with a footer (Feather, IPC file) or without (IPC stream)."""
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
