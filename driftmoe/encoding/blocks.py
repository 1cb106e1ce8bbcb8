"""Rows for an encoder: samples, or a block of numbers, some of which are indices into lists."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from driftmoe.encoding.encoder import Encoder
from driftmoe.encoding.legend import BEYOND, Legend
from driftmoe.encoding.samples import Sample, check_label, checked_name, short
from driftmoe.encoding.scaling import NONE


@dataclass(frozen=True)
class Columns:
    """The columns of a block and the meaning of their numbers. All blocks of one source share it.

    Attributes
    ----------
    names, values
        Copies of what was given.
    clean_names
        The names as `checked_name` returns them.
    legend
        Result of `Encoder.legend`, brought up to date after something new was added.
    """

    names: list[Hashable]
    values: list[Sequence[Any] | None]
    clean_names: list[Hashable]
    legend: Legend | None

    def are(self, names: Sequence[Hashable], values: Sequence[Sequence[Any] | None], n_columns: int) -> bool:
        """Whether a block has the same columns; False if they are not given as lists."""
        if type(names) is not list or not all(of is None or type(of) is list for of in values):
            return False
        try:
            return len(self.names) == n_columns and self.names == names and self.values == list(values)
        except (TypeError, ValueError):  # an array, or pandas' NA, among the values
            return False


class SampleRows:
    """Cleaned samples with their labels, which an encoder reads one after the other.

    Parameters
    ----------
    encoder
        Encoder that reads them.
    samples
        Cleaned samples.
    labels
        One a sample.
    """

    def __init__(self, encoder: Encoder, samples: Sequence[Sample], labels: Sequence[Hashable]) -> None:
        self._encoder, self._samples, self._labels = encoder, samples, labels

    def __len__(self) -> int:
        return len(self._samples)

    def is_new(self, row: int) -> bool:
        """Whether a row has a new feature, a new nominal value or a new class."""
        return self._encoder.target(self._labels[row]) is None or self._encoder.is_new(self._samples[row])

    def is_refused(self, row: int) -> bool:
        """Whether a row cannot be learnt, because its label is new and there are as many classes as allowed."""
        return self._encoder.refuses(self._labels[row])

    def n_ignored(self, start: int, stop: int) -> int:
        """Return how many values of some rows are ignored, because their feature is beyond the bound."""
        return sum(map(self._encoder.n_ignored, self._samples[start:stop])) if self._encoder.is_full else 0

    def n_shared(self, start: int, stop: int) -> int:
        """Return how many values of some rows share a code, because their feature has no free one."""
        return sum(map(self._encoder.n_shared, self._samples[start:stop]))

    def refresh(self) -> None:
        """Read again what changes when something new has been added to the encoder."""

    def entered(self, row: int) -> tuple[Encoder, Sample]:
        """Return an encoder that also knows what is new in a row, and the row as a sample."""
        return self._encoder.entered(self._samples[row], self._labels[row]), self._samples[row]

    def label(self, row: int) -> Hashable:
        """Return the label of a row."""
        return self._labels[row]

    def known_until(self, start: int, is_learnt: np.ndarray) -> int:
        """Return the first row after `start` that is learnt and has something new, or the end.

        `is_learnt` has an entry for each row from `start` up to the end. What is new in other rows does not enter.
        """
        learnt = start + 1 + np.flatnonzero(is_learnt[1:])
        return next((row for row in learnt.tolist() if self.is_new(row)), start + len(is_learnt))

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """Return the vectors of some rows, shape (stop - start, n_features)."""
        return np.array([self._encoder.vector(sample) for sample in self._samples[start:stop]])

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Return some rows as cleaned samples, without features never learnt, in the encoder's order of features."""
        return [self._encoder.order(sample) for sample in self._samples[start:stop]]

    def targets(self, start: int, stop: int) -> np.ndarray:
        """Return the targets of some rows, shape (stop - start,); NONE for a class that is new."""
        targets = map(self._encoder.target, self._labels[start:stop])
        return np.array([NONE if target is None else target for target in targets])


class BlockRows:
    """The rows of a block with their labels; equal to `SampleRows` of the samples that they stand for.

    Parameters
    ----------
    encoder
        Encoder that reads them.
    X, names, values
        As in `Encoder.vectors`.
    y
        Index of each row's label in `classes`, shape (n_rows,).
    classes
        Labels.
    known
        `columns` of an earlier block of the same encoder. If they are the same they are not read again.

    Raises
    ------
    TypeError, ValueError
        If a value or a label cannot be read, or the parts do not fit together.
    """

    def __init__(
        self,
        encoder: Encoder,
        X: np.ndarray,
        y: np.ndarray,
        *,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        classes: Sequence[Hashable],
        known: Columns | None = None,
    ) -> None:
        self._encoder, self._X, self._y = encoder, X, y
        self._names, self._values, self._classes = names, values, classes
        self._check_rows()
        self._legend: Legend | None = None
        if known is not None and known.are(names, values, X.shape[1]):
            self._names, self._legend = known.clean_names, known.legend
        else:
            self._check_columns()
            copies = [list(of) if isinstance(of, list) else of for of in values]
            known = Columns(list(names), copies, list(self._names), None)
        self._columns = known
        self._X = np.asarray(X, np.float64)
        for index in np.unique(y).tolist():
            check_label(classes[index])
        self._version = -1
        self.refresh()

    @property
    def columns(self) -> Columns:
        """The columns of the block, for the next block."""
        if self._columns.legend is not self._legend:
            self._columns = replace(self._columns, legend=self._legend)
        return self._columns

    def _check_rows(self) -> None:
        X, y = self._X, self._y
        for what, given in {"names": self._names, "values": self._values, "classes": self._classes}.items():
            _check_list(what, given)
        if not isinstance(X, np.ndarray) or X.ndim != 2:
            kind = f"numpy array of shape {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
            raise TypeError(f"X is a {kind}; give an array of shape (n_rows, n_features)")
        if X.dtype.kind not in "fiub":
            raise TypeError(
                f"X is an array of type {X.dtype}; give float64, NaN where a value is missing, and for text an index "
                "into `values`"
            )
        if not isinstance(y, np.ndarray) or y.dtype.kind not in "iu" or y.shape != (len(X),):
            kind = f"{y.dtype} of shape {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
            raise TypeError(f"y is {kind}; give an index into classes for each of {len(X)} rows, as integers")
        if len(y) and not 0 <= y.min() <= y.max() < len(self._classes):
            raise ValueError(
                f"y from {y.min()} to {y.max()} for {len(self._classes)} classes; choose 0 <= y < "
                f"{len(self._classes)}, and leave out rows without a label"
            )

    def _check_columns(self) -> None:
        X = self._X
        self._names = [checked_name(name) for name in self._names]
        for name, of in zip(self._names, self._values, strict=False):
            if of is not None:
                _check_list(f"values of {name!r}", of)
        if (
            len(self._names) != X.shape[1]
            or len(set(self._names)) < X.shape[1]
            or len(self._values) != X.shape[1]
        ):
            raise ValueError(
                f"{len(self._names)} names, {len(set(self._names))} of them different, and {len(self._values)} lists "
                f"of values for {X.shape[1]} columns; give one of each for a column"
            )

    def _encode(self) -> None:
        self._legend = self._encoder.legend(self._names, self._values, self._legend)
        self._vectors, is_new = self._encoder.vectors(self._X, self._names, self._values, self._legend)
        targets = [self._encoder.target(label) for label in self._classes]
        self._targets = np.array([NONE if target is None else target for target in targets])[self._y]
        self._is_new = is_new | (self._targets == NONE)
        self._n_ignored: np.ndarray | None = None
        if self._encoder.is_full:
            self._n_ignored = self._count_ignored(self._legend)

    def _count_ignored(self, legend: Legend) -> np.ndarray:
        """Return how many values of each row are ignored, because their feature is beyond the bound."""
        n_ignored = np.zeros(len(self._X), np.int64)
        for i in np.flatnonzero(legend.columns == BEYOND).tolist():
            given, of, name = ~np.isnan(self._X[:, i]), self._values[i], self._names[i]
            if of is not None:  # an item of the list may stand for a missing value
                is_value = np.array([bool(self._encoder.clean({name: value})) for value in of], np.bool_)
                given[given] = is_value[self._X[given, i].astype(np.int64)]
            n_ignored += given
        return n_ignored

    def __len__(self) -> int:
        return len(self._X)

    def is_new(self, row: int) -> bool:
        """Whether a row has a new feature, a new nominal value or a new class."""
        return bool(self._is_new[row])

    def is_refused(self, row: int) -> bool:
        """Whether a row cannot be learnt, because its label is new and there are as many classes as allowed."""
        return self._encoder.refuses(self.label(row))

    def n_ignored(self, start: int, stop: int) -> int:
        """Return how many values of some rows are ignored, because their feature is beyond the bound."""
        return 0 if self._n_ignored is None else int(self._n_ignored[start:stop].sum())

    def n_shared(self, start: int, stop: int) -> int:
        """Return how many values of some rows share a code, because their feature has no free one."""
        n_shared = 0
        for i, name in enumerate(self._names):
            if (codes := self._encoder.full.get(name)) is None:
                continue
            given, of = self._X[start:stop, i], self._values[i]
            for number, n in zip(*np.unique(given[~np.isnan(given)], return_counts=True), strict=True):
                value = number if of is None else of[int(number)]
                if type(value) is not str or value not in codes:
                    n_shared += int(n) * self._encoder.n_shared(self._encoder.clean({name: value}))
        return n_shared

    def refresh(self) -> None:
        """Read again what changes when something new has been added to the encoder."""
        if self._encoder.version != self._version:
            self._encode()
            self._version = self._encoder.version

    def entered(self, row: int) -> tuple[Encoder, Sample]:
        """Return an encoder that also knows what is new in a row, and the row as a sample."""
        sample = self._sample(row)
        return self._encoder.entered(sample, self.label(row)), sample

    def label(self, row: int) -> Hashable:
        """Return the label of a row."""
        return self._classes[self._y[row]]

    def known_until(self, start: int, is_learnt: np.ndarray) -> int:
        """Return the first row after `start` that is learnt and has something new, or the end; see `SampleRows`."""
        new = self._is_new[start + 1 : start + len(is_learnt)] & is_learnt[1:]
        return start + 1 + int(new.argmax()) if new.any() else start + len(is_learnt)

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """Return the vectors of some rows, shape (stop - start, n_features)."""
        return self._vectors[start:stop]

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Return some rows as cleaned samples, without features never learnt, in the encoder's order of features."""
        return [self._encoder.order(self._sample(row)) for row in range(start, stop)]

    def targets(self, start: int, stop: int) -> np.ndarray:
        """Return the targets of some rows, shape (stop - start,); NONE for a class that is new."""
        return self._targets[start:stop]

    def _sample(self, row: int) -> Sample:
        pairs = zip(self._names, self._values, self._X[row].tolist(), strict=True)
        return self._encoder.clean({
            name: value if of is None else of[int(value)] for name, of, value in pairs if value == value
        })  # fmt: skip


def _check_list(what: str, of: Any) -> None:
    """Check that a value is a sequence but not text, which would be split into letters."""
    if not hasattr(of, "__getitem__") or not hasattr(of, "__len__") or isinstance(of, str | bytes | Mapping):
        raise TypeError(f"{what} is {short(of)} of type {type(of).__name__}; give a list")
