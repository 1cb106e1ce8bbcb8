"""Base of all file streams: checks of arguments, the reader, notes and the refusal of malformed rows."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streams.files.bad_rows import BadRows
from streams.files.decoding import PIECE_BYTES
from streams.files.values import MANY_VALUES, OTHER_TEXTS, NominalValues, kind_of_names, number_in
from streams.stream import Block, Feature, Reader, Stream
from streams.suggestions import meant

SOME_VALUES = 100
"""Number of different values at which a nominal column of dates or of numbers in text gets a note."""

MANY_LABELS = 100
"""Number of different labels at which a note asks whether the target is a class."""

MAX_FRACTIONS = 50
"""Largest number of different fractions among the labels. A target with more holds amounts, not classes."""

N_REASONS = 10
"""Number of skipped rows whose reason is kept."""


@dataclass
class Column:
    """A column of the file.

    Attributes
    ----------
    name
        As the file has it.
    nominal
        The values of a nominal column; `None` for a numeric one.
    """

    name: str
    nominal: NominalValues | None = None


class FileStream(Stream):
    """Base class of all file streams; a subclass writes `_pieces` and `_open`.

    Parameters
    ----------
    path
        The file.
    columns
        All columns of the file, in order. The target column must be nominal.
    at
        Position of the target column.
    n_samples, on_bad_row, nominal, drop, missing
        As in `open_file`.
    n_rows
        Rows of the file, if it tells their number.
    is_labelled
        Whether the target is known to hold classes, so that its labels are not examined.
    read_as
        The other arguments that decide how the file is read, by name. Those that are `None` or an empty list are
        left out.
    """

    path: Path
    target: str
    bad_rows: BadRows

    def __init__(
        self,
        path: str | Path,
        columns: list[Column],
        *,
        at: int,
        n_samples: int | None,
        n_rows: int | None = None,
        on_bad_row: str,
        nominal: Sequence[str],
        drop: Sequence[str],
        missing: Sequence[str] = (),
        is_labelled: bool = False,
        read_as: Mapping[str, Any],
    ) -> None:
        names = [column.name for column in columns]
        self._check_arguments(path, names, names[at], n_samples, on_bad_row, drop)
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
        self._missing = frozenset(missing)
        self._missing_numbers = np.array([n for n in map(number_in, missing) if n is not None and n == n])
        self._asked_nominal = frozenset(nominal)
        self._is_labelled = is_labelled or label.is_closed or names[at] in self._asked_nominal
        self._n_checked = self._n_fractions = 0
        self._on_bad_row = on_bad_row
        self._limit = sys.maxsize if n_samples is None else n_samples
        self.path, self.target = Path(path), names[at]
        self.bad_rows = BadRows()
        self._note_reading(
            nominal, drop, {name: value for name, value in read_as.items() if value not in ([], None)}
        )
        kept = [columns[i] for i in self._kept]
        lengths = [n for n in (n_samples, n_rows) if n is not None]
        super().__init__(
            features=[Feature(c.name, None if c.nominal is None else c.nominal.values) for c in kept],
            classes=label.values,
            n_samples=min(lengths, default=None),
        )
        label.values = self.classes  # the same list, so that a new label appears in the schema
        first = next(
            self.blocks(), None
        )  # so that labels and values of the first rows are known from the start
        self._growing = [] if first is None else self._only_growing(first.X)

    @staticmethod
    def _check_arguments(
        path: str | Path,
        names: list[str],
        target: str,
        n_samples: int | None,
        on_bad_row: str,
        drop: Sequence[str],
    ) -> None:
        """Refuse arguments that are never valid, or that do not fit the columns."""
        if on_bad_row not in ("error", "skip"):
            raise ValueError(f"on_bad_row={on_bad_row!r}; choose 'error' or 'skip'")
        if n_samples is not None and n_samples < 0:
            raise ValueError(f"n_samples={n_samples}; choose 0 or more, or None for the whole file")
        if repeated := sorted(name for name, n in Counter(names).items() if n > 1):
            raise ValueError(
                f"{path}: the column names {repeated} come more than once; rename them "
                "(CSV without a line of names: pass header=False)"
            )
        check_names("drop", drop, names, path)
        if target in drop:
            raise ValueError(
                f"{path}: drop holds the target {target!r}; drop other columns or choose a target"
            )

    def _note_reading(self, nominal: Sequence[str], drop: Sequence[str], read_as: Mapping[str, Any]) -> None:
        """Keep how the file is read, for the fingerprint and for `reading`."""
        other_target = [self.target] if self._at != len(self._columns) - 1 else []
        self._chosen: list[Any] = [other_target, sorted(set(nominal)), sorted(set(drop))]
        # Nothing is added where no such argument is given, so that the fingerprints of older versions stay valid.
        self._chosen += [sorted(read_as.items())] * bool(read_as)
        read = {"target": self.target, "drop": self._chosen[2], "nominal": self._chosen[1], **read_as}
        self._reading = {name: value for name, value in read.items() if value not in ([], None)}
        if self._on_bad_row != "error":
            self._reading["on_bad_row"] = self._on_bad_row

    def reader(self) -> Reader:
        """Return a new position at the start of the file, and start a new count of `bad_rows`."""
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
        """Return the SHA-256 of the file's content, which is unpacked first.

        The target and the nominal and dropped columns are hashed too if the caller chose them, because other columns
        make another stream.
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
        """How the file is read: the target, and each argument that is not its default."""
        return dict(self._reading)

    @property
    def notes(self) -> list[str]:
        """A sentence for each column that could also mean something else, judged by what was read so far."""
        notes = []
        for i in self._kept:
            column = self._columns[i]
            if i in self._growing:
                notes.append(
                    f"{column.name!r} grows with every row: an index or timestamp? drop=[{column.name!r}]"
                )
            if column.nominal is None or column.nominal.is_declared or column.name in self._asked_nominal:
                continue
            n = len(column.nominal.values)
            what = kind_of_names(column.nominal.values) if n >= SOME_VALUES else ""
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
        """Return the numeric columns whose values grow from each row to the next, among the first rows."""
        if len(X) < MANY_VALUES:
            return []
        grows: np.ndarray = np.all(np.diff(X, axis=0) > 0, axis=0)
        return [
            i
            for i, only in zip(self._kept, grows.tolist(), strict=True)
            if only and not self._columns[i].nominal
        ]

    def _check_labels(self) -> None:
        """Refuse a target that holds amounts, not classes."""
        if self._is_labelled:
            return
        for label in self.classes[self._n_checked :]:
            number = number_in(label) if isinstance(label, str) else label
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
        """Yield all rows of the file as blocks of any size."""
        raise NotImplementedError

    def _open(self) -> Any:
        """Return a context manager that gives the file's unpacked bytes."""
        raise NotImplementedError

    def _refuse(self, bad_rows: BadRows, where: str, reason: str) -> None:
        """Raise the error of a malformed row or, with `on_bad_row="skip"`, count the row."""
        message = f"{self.path}, {where}{reason}"
        if self._on_bad_row == "error":
            raise ValueError(f"{message} (or on_bad_row='skip' leaves such rows out)")
        bad_rows.count += 1
        if len(bad_rows.reasons) < N_REASONS:
            bad_rows.reasons.append(message)


def target_position(target: str | int | None, names: list[str], path: str | Path) -> int:
    """Return the position of the target column."""
    if target is None:
        return len(names) - 1
    if isinstance(target, str):
        if target not in names:
            raise ValueError(f"{path}: no column {target!r} for the target; {meant(target, names)}")
        return names.index(target)
    if not -len(names) <= target < len(names):
        raise ValueError(
            f"{path}: target={target}, but there are {len(names)} columns; count from 0, or -1 for the last"
        )
    return target % len(names)


def check_names(argument: str, asked: Sequence[str], names: list[str], path: str | Path) -> None:
    """Refuse names of columns, given for an argument, that the file does not have."""
    known = set(names)
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(
            f"{path}: {argument} names {unknown}, which the file does not have; {meant(unknown[0], names)}"
        )
