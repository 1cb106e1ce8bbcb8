"""From river's dictionaries to the numbers that the router reads.

A sample is checked once, at the door: afterwards it holds only numbers and text, and a missing value has no key. The
experts get that dictionary. The router gets a vector: numbers standardised online, text one-hot. Features, values and
classes enter append-only, and sorted within one sample, so that columns under trained weights never move.
"""

from __future__ import annotations

import math
import numbers
import zlib
from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import Any, cast

import numpy as np

MAX_VALUES = 64
"""Values of one nominal feature that get a column each; all later ones share as many more, chosen by their hash."""

MAX_ABSOLUTE = 1e100
"""Largest number accepted: sums of squares of larger ones overflow float64 and would leave NaN in the experts."""

CLIP = 5.0
"""Standardised inputs are cut at this many deviations, so that one wild value cannot throw the router."""

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
        If `x` is no mapping, a value is neither number nor text, or a feature changed from one to the other.
    ValueError
        If a number is infinite or beyond ±1e100.
    """
    if not isinstance(x, Mapping):
        raise TypeError(f"a sample is a dict of feature name to value, got {type(x).__name__}")
    sample: Sample = {}
    for name, value in x.items():
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(value, int | float) and isinstance(value, numbers.Rational | Decimal):
            value = _as_float(value)  # an expert may not calculate with these
        if isinstance(value, int | float | numbers.Real):  # the plain types first: they match at once
            if value != value:
                continue
            if not -MAX_ABSOLUTE <= cast(float, value) <= MAX_ABSOLUTE:
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
        known = kinds.get(name, kind)
        if known != kind:
            raise TypeError(
                f"feature {name!r} is {_short(value)}, a {kind}, but was a {known} before; "
                "give None if it is missing, or convert it to one type before learning"
            )
        sample[name] = value
    return sample


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


class Encoder:
    """Keeps the names, the values, the classes and the scale of what came by; grows, never forgets.

    Attributes
    ----------
    classes
        Labels in the order in which they came; a target is an index into this list.
    """

    def __init__(self) -> None:
        self.classes: list[Hashable] = []
        self._targets: dict[Hashable, int] = {}
        self._kinds: dict[Hashable, str] = {}
        self._ranks: dict[Hashable, int] = {}  # feature -> its place in the order of appearance
        self._columns: dict[Hashable, int] = {}  # numeric feature -> column
        self._values: dict[Hashable, dict[str | int, int]] = {}  # nominal feature -> value or hash -> column
        self._count = np.zeros(0)  # (n_columns,) running moments of the numeric columns, Welford 1962
        self._mean = np.zeros(0)
        self._m2 = np.zeros(0)

    @property
    def n_columns(self) -> int:
        """Length of the vector that the router reads."""
        return len(self._count)

    @property
    def kinds(self) -> dict[Hashable, str]:
        """Feature name -> `"number"` or `"text"`, for the features seen so far."""
        return self._kinds

    def clean(self, x: Mapping[Hashable, Any]) -> Sample:
        """Check one sample against the features seen so far; see `clean`. Changes nothing."""
        return clean(x, self._kinds)

    def order(self, sample: Sample) -> Sample:
        """Return a cleaned sample with its features in the order of appearance, without those never learnt.

        A tree may break a tie by the order of the features; it must not depend on the order in a caller's dict.
        """
        ranks = self._ranks
        return {
            name: sample[name] for name in sorted(filter(ranks.__contains__, sample), key=ranks.__getitem__)
        }

    def learn(self, sample: Sample, y: Hashable) -> tuple[np.ndarray, int]:
        """Take in a cleaned sample and its label; return its vector and its target.

        Returns
        -------
        vector
            As `encode` gives it afterwards, shape (n_columns,).
        target
            Index of `y` in `classes`.
        """
        target = self._targets.get(y)
        if target is None:
            target = self._targets[y] = len(self.classes)
            self.classes.append(y)
        if any(self._is_new(name, value) for name, value in sample.items()):
            self._add_columns(sample)
        columns, values = self._numbers(sample)
        if columns:
            self._count[columns] += 1.0
            delta = values - self._mean[columns]
            self._mean[columns] += delta / self._count[columns]
            self._m2[columns] += delta * (values - self._mean[columns])
        return self.encode(sample), target

    def encode(self, sample: Sample) -> np.ndarray:
        """Return the router's view of a cleaned sample; changes nothing.

        A number is standardised by the mean and deviation seen so far and cut at ±5; one that is missing, or has not
        varied yet, is 0. Text sets the column of its value to 1; a value never learnt sets none. Names never learnt are
        passed over.

        Returns
        -------
        vector
            float32, shape (n_columns,).
        """
        vector = np.zeros(self.n_columns, dtype=np.float32)
        columns, values = self._numbers(sample)
        if columns:
            variance = self._m2[columns] / np.maximum(self._count[columns], 1.0)
            scale = np.sqrt(np.where(variance > 0.0, variance, np.inf))
            vector[columns] = np.clip((values - self._mean[columns]) / scale, -CLIP, CLIP)
        for name, value in sample.items():
            if isinstance(value, str):
                values_of = self._values.get(name, {})
                column = values_of.get(_value_key(values_of, value))
                if column is not None:
                    vector[column] = 1.0
        return vector

    def _numbers(self, sample: Sample) -> tuple[list[int], np.ndarray]:
        """Columns and values of the numeric features that are known."""
        pairs = [
            (self._columns[name], float(value))
            for name, value in sample.items()
            if not isinstance(value, str) and name in self._columns
        ]
        return [column for column, _ in pairs], np.array([value for _, value in pairs])

    def _is_new(self, name: Hashable, value: Any) -> bool:
        """Whether this name, or this value of a nominal feature, has no column yet."""
        if not isinstance(value, str):
            return name not in self._columns
        values_of = self._values.get(name, {})
        return _value_key(values_of, value) not in values_of

    def _add_columns(self, sample: Sample) -> None:
        n_columns = self.n_columns
        for name in sorted(sample, key=_sort_key):
            value = sample[name]
            if not self._is_new(name, value):
                continue
            self._ranks.setdefault(name, len(self._ranks))
            if isinstance(value, str):
                self._kinds[name] = "text"
                values_of = self._values.setdefault(name, {})
                values_of[_value_key(values_of, value)] = n_columns
            else:
                self._kinds[name] = "number"
                self._columns[name] = n_columns
            n_columns += 1
        new = np.zeros(n_columns - self.n_columns)
        self._count, self._mean, self._m2 = (
            np.concatenate([moment, new]) for moment in (self._count, self._mean, self._m2)
        )


def _value_key(values_of: Mapping[str | int, int], value: str) -> str | int:
    """Key of a value's column: the value itself, or a hash once the feature has all the columns of its own."""
    if value in values_of or len(values_of) < MAX_VALUES:
        return value
    return zlib.crc32(value.encode(errors="surrogatepass")) % MAX_VALUES


def _is_missing(value: Any) -> bool:
    """Whether a value is `None`, NaN of any number type, or one of pandas' markers."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, numbers.Real) and value != value


def _as_float(value: numbers.Rational | Decimal) -> float:
    """Return a fraction or a decimal as float: NaN if it is none, infinite if it is too large for one."""
    if isinstance(value, Decimal) and value.is_nan():
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _equals_itself(value: Any) -> bool:
    """Whether a label can be found again; NaN cannot, nor can arrays and tensors, also inside a tuple."""
    if isinstance(value, tuple):
        return all(map(_equals_itself, value))
    equal = value == value
    return isinstance(equal, bool | np.bool_) and bool(equal)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _sort_key(name: Hashable) -> tuple[str, str]:
    return type(name).__name__, str(name)
