"""From river's dictionaries, or blocks of a stream, to the numbers that trees and router read.

A sample is checked once, at the door. Trees get its vector: numbers as they are, a nominal value as its code, NaN where
a value is missing. The router gets inputs made of the vector: numbers standardised online, codes one-hot. Features,
values and classes enter append-only, and sorted within one sample, so that columns under trained weights never move.
"""

from __future__ import annotations

import copy
import math
import numbers
import zlib
from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast

import numpy as np

from driftmoe.compilation import compiled
from driftmoe.transaction import NO_WEIGHTS, publication

MAX_CODES = 256
"""Values of one nominal feature that trees tell apart; all later ones share the codes of these, by their hash.

A tree that splits on a feature has a leaf for each of them, and each leaf a count for each: the square of it."""

OWN_INPUTS = 64
"""Values of one nominal feature that have an input of the router each; all later ones share as many more."""

MAX_ABSOLUTE = 1e100
"""Largest number accepted: sums of squares of larger ones overflow float64 and would leave NaN in the experts."""

CLIP = 5.0
"""Standardised inputs are cut at this many deviations, so that one wild value cannot throw the router."""

MAX_LISTED = 256
"""Values of a list that are looked up once for all blocks; of a longer one only those that a block shows."""

NONE, UNLISTED = -1, -2
NOMINAL = -1.0
"""In the place of the count: the column holds codes."""

COUNT, MEAN, M2 = 0, 1, 2

PLAIN = frozenset({
    float, int, bool, str, np.float64, np.float32, np.float16, np.bool_, np.str_,
    np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8,
})  # fmt: skip
"""Types of which nothing has to be asked before `float` or a lookup reads them right; others go through `clean`."""

Sample = dict[Hashable, Any]


def clean(x: Mapping[Hashable, Any], kinds: Mapping[Hashable, str]) -> Sample:
    """Return the sample as the experts see it: a copy with numbers and text only, without the missing values.

    Parameters
    ----------
    x
        Feature name -> number, boolean, text, or a missing value (`None`, NaN, pandas' `NA` and `NaT`).
    kinds
        Feature name -> `"number"` or `"text"`, for the features seen so far.

    Raises
    ------
    TypeError
        If `x` is no mapping, a value is neither number nor text, a feature changed from one to the other, or its name
        cannot be told from others by `==`.
    ValueError
        If a number is infinite or beyond ±1e100.
    """
    if not isinstance(x, Mapping):
        raise TypeError(f"a sample is a dict of feature name to value, got {type(x).__name__}")
    sample: Sample = {}
    for name, value in x.items():
        if isinstance(value, np.generic):
            value = _item(value)
        if not isinstance(value, int | float | str) and _is_unusual_number(value):
            value = _as_float(value)  # an expert may not calculate with these
        if isinstance(value, int | float):
            if value != value:
                continue
            if not -MAX_ABSOLUTE <= value <= MAX_ABSOLUTE:
                raise ValueError(
                    f"feature {name!r} is {_short(value)}; numbers must lie within ±{MAX_ABSOLUTE:g}: "
                    "clip it, or give None if it is missing"
                )
            kind = "number"
        elif isinstance(value, str):
            kind = "text"
        elif _is_missing(value):
            continue
        else:
            raise TypeError(
                f"feature {name!r} is {_short(value)} of type {type(value).__name__}; "
                "allowed are numbers, booleans, text, and None or NaN for a missing value"
            )
        known = kinds.get(name)
        if known is None:
            name = checked_name(name)
            known = kinds.get(name, kind)
        if known != kind:
            raise TypeError(
                f"feature {name!r} is {_short(value)}, a {kind}, but was a {known} before; "
                "give None if it is missing, or convert it to one type before learning"
            )
        sample[name] = value
    return sample


def checked_name(name: Any) -> Hashable:
    """Return the name of a feature as it is kept: numpy's numbers and text as Python's.

    Raises
    ------
    TypeError
        If it is not hashable, not equal to itself, or `==` between it and another name would not say yes or no.
    """
    if type(name) is str or type(name) is int:
        return cast(Hashable, name)
    plain = name
    try:
        plain = _plain(name)
        hash(plain)
        is_name = _is_comparable(plain)
    except TypeError:  # some say no by raising
        is_name = False
    if not is_name:
        raise TypeError(
            f"the name {_short(name)} of type {type(name).__name__} cannot be compared with other names; "
            "name features by text, numbers, or tuples of these"
        )
    return cast(Hashable, plain)


def check_label(y: Any) -> None:
    """Raise unless `y` can be a class label: hashable, and not missing.

    Raises
    ------
    TypeError
        If `y` is not hashable.
    ValueError
        If `y` is `None` or NaN.
    """
    try:
        hash(y)
    except TypeError:
        raise TypeError(
            f"label {_short(y)} of type {type(y).__name__} is not hashable; use a number, text or a tuple"
        ) from None
    if _is_missing(y):
        raise ValueError(f"label is {y!r}; a sample without a label cannot be learnt, skip it")
    if not _equals_itself(y):
        raise ValueError(
            f"label {_short(y)} of type {type(y).__name__} is not equal to itself, so that each sample would have a "
            "class of its own; use a number, text or a tuple of these"
        )


@dataclass
class Legend:
    """What the numbers of a block stand for.

    Attributes
    ----------
    columns
        Column of vectors for each column of the block, NONE for a feature never learnt; int64, shape (n_columns,).
    starts, sizes
        Where the list of a column begins in `numbers`, and its length; NONE for a column of plain numbers, UNLISTED for
        one whose values have to be looked up.
    unlisted
        Columns of the latter kind: their list is long, or they are codes without a list.
    numbers
        What vectors hold for the values of all lists, NaN for a missing one; shape (sum of lengths,).
    is_new
        Which of these values an encoder has not seen; same shape.
    n_features
        Features that the encoder knew.
    n_codes
        For each column the values that it knew, 0 of a number.
    """

    columns: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    unlisted: list[int]
    numbers: np.ndarray = field(init=False)
    is_new: np.ndarray = field(init=False)
    n_features: int = 0
    n_codes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Columns:
    """Columns of a block, and what its numbers stand for: the blocks of one source share it.

    Attributes
    ----------
    names, values
        As they were given, in lists of their own.
    clean_names
        The names as `checked_name` returns them.
    legend
        What `Encoder.legend` says of them, brought up to date where something new has entered.
    """

    names: list[Hashable]
    values: list[Sequence[Any] | None]
    clean_names: list[Hashable]
    legend: Legend | None

    def are(self, names: Sequence[Hashable], values: Sequence[Sequence[Any] | None], n_columns: int) -> bool:
        """Whether a block has the same columns; never where they are given as something other than lists."""
        if type(names) is not list or not all(of is None or type(of) is list for of in values):
            return False
        try:
            return len(self.names) == n_columns and self.names == names and self.values == list(values)
        except (TypeError, ValueError):  # an array, or pandas' NA, among the values
            return False


class Encoder:
    """Keeps the names, the values, the classes and the scale of what came by; grows, never forgets.

    Parameters
    ----------
    nominal
        Names of features whose numbers are codes of categories. Text is nominal anyway.

    Attributes
    ----------
    classes
        Labels in the order in which they came; a target is an index into this list.
    features
        Names of the features in the order in which they came; a vector has a column for each.
    n_inputs
        Length of what the router reads.
    """

    def __init__(self, nominal: Iterable[Hashable] = ()) -> None:
        self.classes: list[Hashable] = []
        self.features: list[Hashable] = []
        self.n_inputs = 0
        self._nominal = frozenset(nominal)
        self._targets: dict[Hashable, int] = {}
        self._columns: dict[Hashable, int] = {}
        self._kinds: dict[Hashable, str] = {}
        self._codes: dict[Hashable, dict[Hashable, int]] = {}  # nominal feature -> value -> code
        self._readers: list[
            tuple[Hashable, dict[Hashable, int] | None]
        ] = []  # of each column: name, its codes
        self._inputs_of = np.zeros(
            (0, 1), np.int64
        )  # (column, 0) of a number, (column, code) of nominal values
        self._moments = np.zeros((3, 0))  # (COUNT | MEAN | M2, column) of the numbers, Welford 1962

    @property
    def kinds(self) -> dict[Hashable, str]:
        """Feature name -> `"number"` or `"text"`, for the features seen so far."""
        return self._kinds

    @property
    def nominal_columns(self) -> list[int]:
        """Columns of vectors that hold codes."""
        return [self._columns[name] for name in self._codes]

    @property
    def values(self) -> list[list[Hashable] | None]:
        """For each column the values that its codes stand for; `None` for a column of numbers."""
        return [None if codes is None else list(codes) for _, codes in self._readers]

    @property
    def n_values(self) -> int:
        """Values of nominal features that have a code."""
        return sum(map(len, self._codes.values()))

    def clean(self, x: Mapping[Hashable, Any]) -> Sample:
        """Check one sample against the features seen so far; see `clean`. Changes nothing."""
        return clean(x, self._kinds)

    def order(self, sample: Sample) -> Sample:
        """Return a cleaned sample with its features in the order of appearance, without those never learnt.

        An expert may break a tie by the order of the features; it must not depend on the order in a caller's dict.
        """
        return {name: sample[name] for name in self.features if name in sample}

    def target(self, y: Hashable) -> int | None:
        """Return the index of a label in `classes`, `None` if it is new or cannot be one."""
        try:
            return self._targets.get(y)
        except TypeError:  # not hashable
            return None

    def enter(self, sample: Sample, y: Hashable) -> int:
        """Give the new features, the new values and the class of a cleaned sample their places; return its target."""
        publication(self, self.entered(sample, y))()
        return self._targets[y]

    def entered(self, sample: Sample, y: Hashable) -> Encoder:
        """Return an encoder that knows a cleaned sample's features, values and class, too; this one stays as it is.

        Raises
        ------
        TypeError
            If the label cannot be compared with those learnt before.
        """
        try:  # Decimal(1) and numpy's 1 have the same hash, and no answer to ==
            is_new_label = y not in self._targets
        except TypeError as error:
            raise TypeError(
                f"label {_short(y)} of type {type(y).__name__} cannot be compared with those learnt before: {error}; "
                "give labels of one type"
            ) from None
        draft = copy.copy(self)
        new = sorted((name for name in sample if name not in self._columns), key=_sort_key)
        draft._codes, draft._inputs_of = dict(self._codes), self._inputs_of.copy()
        if new:
            draft._take_in(new, sample)
        for name, codes in draft._codes.items():
            if name in sample and sample[name] not in codes and len(codes) < MAX_CODES:
                draft._codes[name] = codes | {sample[name]: len(codes)}
                draft._add_input(draft._columns[name], _input_key(len(codes)))
        draft._readers = [(name, draft._codes.get(name)) for name in draft.features]
        if is_new_label:
            draft._targets = self._targets | {y: len(self.classes)}
            draft.classes = [*self.classes, y]
        return draft

    def _take_in(self, new: Sequence[Hashable], sample: Sample) -> None:
        """Give new features their places, in a draft."""
        n_old = len(self.features)
        self.features = [*self.features, *new]
        self._columns = self._columns | {name: n_old + i for i, name in enumerate(new)}
        self._kinds = self._kinds | {
            name: "text" if isinstance(sample[name], str) else "number" for name in new
        }
        self._codes |= {name: {} for name in new if isinstance(sample[name], str) or name in self._nominal}
        self._make_room()
        for name in new:
            if name not in self._codes:
                self._add_input(self._columns[name], 0)

    def known_vector(self, x: Mapping[Hashable, Any]) -> np.ndarray | None:
        """Return the vector of a sample as it came, if it lacks no feature and shows nothing new, else `None`.

        The short way for most samples: what it refuses, be it only unusual or wrong, goes through `clean`. It accepts
        nothing that `clean` would not: `array` alone would take whatever has a `__float__`.
        """
        if type(x) is not dict or len(x) != len(
            self.features
        ):  # others may make up what they lack, as Counter does
            return None
        if not PLAIN.issuperset(map(type, x.values())):
            return None
        try:
            if self._codes:
                numbers = [x[name] if codes is None else codes[x[name]] for name, codes in self._readers]
                values = array("d", numbers)
            else:
                values = array("d", map(x.__getitem__, self.features))
        except (KeyError, TypeError, OverflowError):
            return None
        if not math.hypot(*values) <= MAX_ABSOLUTE:  # NaN, or too large a number
            return None
        return np.frombuffer(values)

    def vector(self, sample: Sample) -> np.ndarray:
        """Return the vector of a cleaned sample; names never learnt are passed over. Changes nothing.

        Returns
        -------
        vector
            float64, shape (n_features,); NaN where a value is missing. A nominal value never learnt has the next free
            code.
        """
        vector = np.full(len(self.features), np.nan)
        for name, value in sample.items():
            column = self._columns.get(name)
            if column is not None:
                codes = self._codes.get(name)
                vector[column] = float(value) if codes is None else _code(codes, value)
        return vector

    def is_new(self, sample: Sample) -> bool:
        """Whether a cleaned sample has a feature, or a value that has no code although there are free ones."""
        for name, value in sample.items():
            if name not in self._columns:
                return True
            codes = self._codes.get(name)
            if codes is not None and value not in codes and len(codes) < MAX_CODES:
                return True
        return False

    def vectors(
        self,
        X: np.ndarray,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        legend: Legend | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of a block, and which rows show a feature or a nominal value that is new.

        Parameters
        ----------
        X
            float64, shape (n_samples, len(names)); NaN where a value is missing.
        names
            Feature of each column.
        values
            For each column what its numbers stand for: a list that they are indices into, or `None` for themselves.
        legend
            What `legend` says of these columns, if it is at hand.

        Returns
        -------
        vectors
            float64, shape (n_samples, n_features), as `vector` would give them.
        is_new
            bool, shape (n_samples,).

        Raises
        ------
        TypeError, ValueError
            If a value cannot be read; as of `clean`.
        """
        if legend is None:
            names = [checked_name(name) for name in names]
            legend = self.legend(names, values)
        vectors = np.full((len(X), len(self.features)), np.nan)
        is_new = np.zeros(len(X), np.bool_)
        wrong = read_block(
            X, legend.columns, legend.starts, legend.sizes, legend.numbers, legend.is_new, vectors, is_new
        )
        if wrong != NONE:
            self._refuse(names[wrong], values[wrong], X[:, wrong])
        for i in legend.unlisted:
            missing = np.isnan(X[:, i])
            shown, which = np.unique(X[~missing, i], return_inverse=True)
            of, column = values[i], int(legend.columns[i])
            numbers, new = self._look_up(
                names[i], column, shown if of is None else [of[int(v)] for v in shown]
            )
            if column != NONE:
                vectors[~missing, column] = np.array(numbers)[which]
            is_new[~missing] |= np.array(new, np.bool_)[which]
        return vectors, is_new

    def legend(
        self,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        before: Legend | None = None,
    ) -> Legend:
        """Return what the numbers of blocks with these columns stand for, until something new enters.

        Parameters
        ----------
        names, values
            As of `vectors`.
        before
            The legend of the same columns from before something new entered. Where that was a value, it is brought up
            to date: to read all lists anew for each new value would be quadratic in these.
        """
        n_codes = [len(self._codes.get(name, ())) for name in names]
        if before is not None and before.n_features == len(self.features):
            for i, of in enumerate(values):
                if of is not None and n_codes[i] != before.n_codes[i] and before.starts[i] >= 0:
                    # also what the values without a code stand for changes
                    places = slice(before.starts[i], before.starts[i] + before.sizes[i])
                    found = self._look_up(names[i], int(before.columns[i]), of)
                    before.numbers[places], before.is_new[places] = found
            before.n_codes = n_codes
            return before
        n = len(names)
        legend = Legend(np.full(n, NONE), np.full(n, NONE), np.zeros(n, np.int64), [])
        legend.n_features, legend.n_codes = len(self.features), n_codes
        numbers: list[float] = []
        new: list[bool] = []
        for i, (name, of) in enumerate(zip(names, values, strict=True)):
            legend.columns[i] = self._columns.get(name, NONE)
            if of is not None and len(of) <= MAX_LISTED:
                legend.starts[i], legend.sizes[i] = len(numbers), len(of)
                of_numbers, of_new = self._look_up(name, int(legend.columns[i]), of)
                numbers += of_numbers
                new += of_new
            elif of is not None or name in self._codes or name in self._nominal:
                legend.starts[i] = UNLISTED
                legend.unlisted.append(i)
        legend.numbers, legend.is_new = np.array(numbers, np.float64), np.array(new, np.bool_)
        return legend

    def _look_up(self, name: Hashable, column: int, values: Iterable[Any]) -> tuple[list[float], list[bool]]:
        """Return what a vector holds in a column for each value of a feature, NaN for none, and whether it is new."""
        is_text, codes = self._kinds.get(name) == "text", self._codes.get(name)
        has_room = column == NONE or (codes is not None and len(codes) < MAX_CODES)
        numbers, new = [], []
        for value in values:
            if not (is_text and type(value) is str):  # else it is as clean as it can be
                value = self.clean({name: value}).get(name)
            is_known = value is None or (codes is not None and value in codes)
            if value is None or column == NONE:
                number = math.nan
            else:
                number = float(value) if codes is None else _code(codes, value)
            numbers.append(number)
            new.append(has_room and not is_known)
        return numbers, new

    def inputs(self, vectors: np.ndarray, *, is_learning: bool) -> np.ndarray:
        """Return what the router reads of some vectors, row by row.

        A number is standardised by the mean and deviation of the values learnt before it and cut at ±5; one that is
        missing, or has not varied yet, is 0. A nominal value sets its input to 1; a value never learnt sets none.

        Parameters
        ----------
        vectors
            Shape (n_rows, n_features), as `vector` gives them.
        is_learning
            Whether the numbers of a row enter the mean and the deviation after it has been scaled.

        Returns
        -------
        inputs
            float32, shape (n_rows, n_inputs).
        """
        if is_learning:
            inputs, self._moments = self.scaled(vectors)
            return inputs
        inputs = np.zeros((len(vectors), self.n_inputs), np.float32)
        write_inputs(vectors, self._inputs_of, self._moments, NO_WEIGHTS, inputs)
        return inputs

    def scaled(self, vectors: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return what `inputs` returns, and the moments as they are when the numbers have entered; changes nothing.

        Parameters
        ----------
        vectors
            Shape (n_rows, n_features).
        weights
            With which each row enters, shape (n_rows,); 1 by default.
        """
        inputs = np.zeros((len(vectors), self.n_inputs), np.float32)
        moments = self._moments.copy()
        write_inputs(
            vectors, self._inputs_of, moments, np.ones(len(vectors)) if weights is None else weights, inputs
        )
        return inputs, moments

    def _refuse(self, name: Hashable, of: Sequence[Any] | None, numbers: np.ndarray) -> None:
        """Raise what there is against a number of a feature."""
        for value in numbers.tolist():
            if of is None:
                self.clean({name: value})
            elif value == value and not 0.0 <= value < len(of):
                raise ValueError(
                    f"feature {name!r} is {value}, an index into a list of {len(of)} values; choose 0 to {len(of) - 1}"
                )

    def _make_room(self) -> None:
        """Give each new feature its places in the arrays."""
        n_old, n_features = len(self._inputs_of), len(self.features)
        inputs_of = np.full((n_features, 2 * OWN_INPUTS if self._codes else 1), NONE)
        inputs_of[:n_old, : self._inputs_of.shape[1]] = self._inputs_of
        moments = np.zeros((3, n_features))
        moments[:, :n_old] = self._moments
        moments[COUNT, self.nominal_columns] = NOMINAL
        self._inputs_of, self._moments = inputs_of, moments

    def _add_input(self, column: int, key: int) -> None:
        if self._inputs_of[column, key] == NONE:
            self._inputs_of[column, key] = self.n_inputs
            self.n_inputs += 1


class SampleRows:
    """Cleaned samples with their labels, as an encoder takes them in one after the other.

    Parameters
    ----------
    encoder
        Gives features, values and classes their places.
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
        """Whether a row brings a feature, a nominal value or a class."""
        return self._encoder.target(self._labels[row]) is None or self._encoder.is_new(self._samples[row])

    def refresh(self) -> None:
        """Take note that something new has entered."""

    def entered(self, row: int) -> tuple[Encoder, Sample]:
        """Return an encoder that knows what a row brings, and the row as a sample."""
        return self._encoder.entered(self._samples[row], self._labels[row]), self._samples[row]

    def label(self, row: int) -> Hashable:
        """Return the label of a row."""
        return self._labels[row]

    def known_until(self, start: int, limit: int) -> int:
        """Return the first row after `start` that brings something new, at most `limit`."""
        return next((row for row in range(start + 1, limit) if self.is_new(row)), limit)

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """Return the vectors of some rows, shape (stop - start, n_features)."""
        return np.array([self._encoder.vector(sample) for sample in self._samples[start:stop]])

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Return some rows as cleaned samples without features never learnt, in the order of features."""
        return [self._encoder.order(sample) for sample in self._samples[start:stop]]

    def targets(self, start: int, stop: int) -> np.ndarray:
        """Return the targets of some rows, shape (stop - start,)."""
        return np.array([self._encoder.target(y) for y in self._labels[start:stop]])


class BlockRows:
    """The rows of a block with their labels; the same as `SampleRows` of the samples that they stand for.

    Parameters
    ----------
    encoder
        Gives features, values and classes their places.
    X, names, values
        As of `Encoder.vectors`.
    y
        Index of each row's label in `classes`, shape (n_rows,).
    classes
        Labels.
    known
        `columns` of an earlier block of the same encoder: where they are the same they need not be read again.

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
        self._known: tuple[int, int, int] | None = None
        self.refresh()

    @property
    def columns(self) -> Columns:
        """What the columns of the block are, for the next one."""
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

    def __len__(self) -> int:
        return len(self._X)

    def is_new(self, row: int) -> bool:
        """Whether a row brings a feature, a nominal value or a class."""
        return bool(self._is_new[row])

    def refresh(self) -> None:
        """Take note that something new has entered."""
        encoder = self._encoder
        known = len(encoder.classes), len(encoder.features), encoder.n_values
        if known != self._known:
            self._encode()
            self._known = known

    def entered(self, row: int) -> tuple[Encoder, Sample]:
        """Return an encoder that knows what a row brings, and the row as a sample."""
        sample = self._sample(row)
        return self._encoder.entered(sample, self.label(row)), sample

    def label(self, row: int) -> Hashable:
        """Return the label of a row."""
        return self._classes[self._y[row]]

    def known_until(self, start: int, limit: int) -> int:
        """Return the first row after `start` that brings something new, at most `limit`."""
        new = self._is_new[start + 1 : limit]
        return start + 1 + int(new.argmax()) if new.any() else limit

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """Return the vectors of some rows, shape (stop - start, n_features)."""
        return self._vectors[start:stop]

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Return some rows as cleaned samples without features never learnt, in the order of features."""
        return [self._encoder.order(self._sample(row)) for row in range(start, stop)]

    def targets(self, start: int, stop: int) -> np.ndarray:
        """Return the targets of some rows, shape (stop - start,)."""
        return self._targets[start:stop]

    def _sample(self, row: int) -> Sample:
        pairs = zip(self._names, self._values, self._X[row].tolist(), strict=True)
        return self._encoder.clean({
            name: value if of is None else of[int(value)] for name, of, value in pairs if value == value
        })  # fmt: skip


@compiled()
def read_block(X, columns, starts, sizes, numbers, is_new_number, vectors, is_new):  # type: ignore[no-untyped-def]
    """Write the vectors of a block and which rows are new, as a `Legend` has it; see `Encoder.vectors`.

    Returns
    -------
    wrong
        A column with a number out of range or an index beyond its list, NONE if there is none.
    """
    for row in range(X.shape[0]):
        for i in range(X.shape[1]):
            value = X[row, i]
            start, column = starts[i], columns[i]
            if value != value or start == UNLISTED:
                continue
            if start == NONE:
                if not -MAX_ABSOLUTE <= value <= MAX_ABSOLUTE:
                    return i
                if column == NONE:
                    is_new[row] = True
                else:
                    vectors[row, column] = value
                continue
            if not 0.0 <= value < sizes[i]:
                return i
            place = start + int(value)
            if is_new_number[place]:
                is_new[row] = True
            if column != NONE:
                vectors[row, column] = numbers[place]
    return NONE


@compiled()
def write_inputs(vectors, inputs_of, moments, weights, inputs):  # type: ignore[no-untyped-def]
    """Write what the router reads of each row, scaled by the rows before it; see `Encoder.inputs`.

    Parameters
    ----------
    vectors
        Shape (n_rows, n_features).
    inputs_of
        Input of each number, or of each code; NONE for none.
    moments
        Weight, mean and sum of squared deviations of each number, (3, n_features); each row enters with its weight.
    weights
        Shape (n_rows,); empty to leave the moments as they are.
    inputs
        Result, float32, shape (n_rows, n_inputs), zeros to begin with.

    References
    ----------
    Welford 1962, Note on a method for calculating corrected sums of squares and products; with weights West 1979,
    Updating mean and variance estimates: an improved method.
    """
    for row in range(vectors.shape[0]):
        for f in range(vectors.shape[1]):
            value = vectors[row, f]
            if value != value:
                continue
            n = moments[COUNT, f]
            if n == NOMINAL:
                code = int(value)
                column = inputs_of[f, code if code < OWN_INPUTS else OWN_INPUTS + code % OWN_INPUTS]
                if column != NONE:
                    inputs[row, column] = 1.0
                continue
            delta = value - moments[MEAN, f]
            deviation = math.sqrt(moments[M2, f] / n) if n > 0.0 else 0.0
            if deviation > 0.0:
                inputs[row, inputs_of[f, 0]] = min(max(delta / deviation, -CLIP), CLIP)
            if weights.shape[0] > 0:
                moments[COUNT, f] = n + weights[row]
                if n == 0.0:
                    moments[MEAN, f] = value  # to the last bit, lest rounding look like a deviation
                else:
                    moments[MEAN, f] += weights[row] * delta / moments[COUNT, f]
                moments[M2, f] += weights[row] * delta * (value - moments[MEAN, f])


def _input_key(code: int) -> int:
    """Place of a nominal value among the inputs of its feature: its own, or one that it shares."""
    return code if code < OWN_INPUTS else OWN_INPUTS + code % OWN_INPUTS


def _code(codes: Mapping[Hashable, int], value: Hashable) -> int:
    """Code of a value; of one never learnt the next free one, or a shared one once all are taken."""
    code = codes.get(value)
    if code is not None:
        return code
    if len(codes) < MAX_CODES:
        return len(codes)
    text = repr(float(value) if isinstance(value, int | float) else value)  # 2 and 2.0 are one value
    return zlib.crc32(text.encode(errors="surrogatepass")) % MAX_CODES


def _is_missing(value: Any) -> bool:
    """Whether a value is `None`, NaN of any number type, or one of pandas' markers."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, numbers.Real) and value != value


def _is_unusual_number(value: Any) -> bool:
    """Whether a value that is no `int` or `float` is a number, as fractions are; to numpy spans of time are, too."""
    return isinstance(value, numbers.Real | Decimal) and not isinstance(value, np.timedelta64)


def _as_float(value: Any) -> float:
    """Return a number of another type as float: NaN if it is none, infinite if it is too large for one."""
    if isinstance(value, Decimal) and value.is_nan():
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _item(value: np.generic) -> Any:
    """Return a value as Python's, `None` for a time that is missing; in nanoseconds others would be integers."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else value
    return value.item()


def _plain(name: Any) -> Any:
    """Return a name, or a tuple of them, with numpy's scalars as Python's, which are equal to them but for `==`."""
    if isinstance(name, tuple) and any(isinstance(part, np.generic | tuple) for part in name):
        plain: Any = tuple(map(_plain, name))
    elif isinstance(name, np.generic):
        plain = name.item()
    else:
        return name
    return plain if hash(plain) == hash(name) else name  # a time would be found no more


def _is_comparable(name: Any) -> bool:
    """Whether `==` says yes or no of a name and itself, and of it and names of other kinds; or raise TypeError."""
    if isinstance(name, tuple):
        return all(map(_is_comparable, name))
    _ = name == np.int64(0)  # no Decimal can be compared with what has its hash
    return _equals_itself(name) and all(
        isinstance(name == other, bool | np.bool_) for other in ("", 0, (0, 0))
    )


def _equals_itself(value: Any) -> bool:
    """Whether a label can be found again; NaN cannot, nor can arrays and tensors, also inside a tuple."""
    if isinstance(value, tuple):
        return all(map(_equals_itself, value))
    equal = value == value
    return isinstance(equal, bool | np.bool_) and bool(equal)


def _check_list(what: str, of: Any) -> None:
    """Raise unless something can be read by its index, and is no text, which would fall apart."""
    if not hasattr(of, "__getitem__") or not hasattr(of, "__len__") or isinstance(of, str | bytes | Mapping):
        raise TypeError(f"{what} is {_short(of)} of type {type(of).__name__}; give a list")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _sort_key(name: Hashable) -> tuple[str, str]:
    return type(name).__name__, str(name)
