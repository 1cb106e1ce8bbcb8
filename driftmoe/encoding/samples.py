"""Checks of raw samples: values become numbers or text, or are refused, and names and labels are checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import Any, cast

import numpy as np

MAX_ABSOLUTE = 1e100
"""Largest number accepted: sums of squares of larger ones overflow float64 and would leave NaN in the experts."""

PLAIN = frozenset({
    float, int, bool, str, np.float64, np.float32, np.float16, np.bool_, np.str_,
    np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8,
})  # fmt: skip
"""Types that `float` or a lookup reads rightly without further questions; values of others go through `clean`."""

Sample = dict[Hashable, Any]


def clean(x: Mapping[Hashable, Any], kinds: Mapping[Hashable, str]) -> Sample:
    """Return a sample as the experts see it: a copy with numbers and text only, without missing values.

    Parameters
    ----------
    x
        Feature name -> number, boolean, text, or a missing value (`None`, NaN, pandas' `NA` and `NaT`).
    kinds
        Feature name -> `"number"` or `"text"`, for the features seen so far.

    Raises
    ------
    TypeError
        If `x` is not a mapping, a value is neither number nor text, a feature changed from one to the other, or a name
        cannot be compared with others by `==`.
    ValueError
        If a number is infinite or beyond ±1e100.
    """
    if not isinstance(x, Mapping):
        raise TypeError(f"a sample is a dict of feature name to value, got {type(x).__name__}")
    sample: Sample = {}
    for name, value in x.items():
        if isinstance(value, np.generic):
            value = plain_value(value)
        if not isinstance(value, int | float | str) and _is_unusual_number(value):
            value = _as_float(value)  # an expert may not calculate with these
        if isinstance(value, int | float):
            if value != value:
                continue
            if not -MAX_ABSOLUTE <= value <= MAX_ABSOLUTE:
                raise ValueError(
                    f"feature {name!r} is {short(value)}; numbers must lie within ±{MAX_ABSOLUTE:g}: "
                    "clip it, or give None if it is missing"
                )
            kind = "number"
        elif isinstance(value, str):
            kind = "text"
        elif is_missing(value):
            continue
        else:
            raise TypeError(
                f"feature {name!r} is {short(value)} of type {type(value).__name__}; "
                "allowed are numbers, booleans, text, and None or NaN for a missing value"
            )
        known = kinds.get(name)
        if known is None:
            name = checked_name(name)
            known = kinds.get(name, kind)
        if known != kind:
            raise TypeError(
                f"feature {name!r} is {short(value)}, a {kind}, but was a {known} before; "
                "give None if it is missing, or convert it to one type before learning"
            )
        sample[name] = value
    return sample


def checked_name(name: Any) -> Hashable:
    """Return the name of a feature as the encoder keeps it: numpy's numbers and text become Python's.

    Raises
    ------
    TypeError
        If it is not hashable, not equal to itself, or if `==` between it and another name is not true or false.
    """
    if type(name) is str or type(name) is int:
        return cast(Hashable, name)
    plain = name
    try:
        plain = _plain(name)
        hash(plain)
        is_name = _is_comparable(plain)
    except TypeError:  # some types raise it instead of answering
        is_name = False
    if not is_name:
        raise TypeError(
            f"the name {short(name)} of type {type(name).__name__} cannot be compared with other names; "
            "name features by text, numbers, or tuples of these"
        )
    return cast(Hashable, plain)


def check_label(y: Any) -> None:
    """Check that `y` can be a class label: hashable, and not missing.

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
            f"label {short(y)} of type {type(y).__name__} is not hashable; use a number, text or a tuple"
        ) from None
    if is_missing(y):
        raise ValueError(f"label is {y!r}; a sample without a label cannot be learnt, skip it")
    if not _equals_itself(y):
        raise ValueError(
            f"label {short(y)} of type {type(y).__name__} is not equal to itself, so that each sample would have a "
            "class of its own; use a number, text or a tuple of these"
        )


def is_missing(value: Any) -> bool:
    """Whether a value is `None`, NaN of any number type, or one of pandas' markers."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, numbers.Real) and value != value


def _is_unusual_number(value: Any) -> bool:
    """Whether a value that is no `int` or `float` is a number, such as a fraction; numpy's time spans are not."""
    return isinstance(value, numbers.Real | Decimal) and not isinstance(value, np.timedelta64)


def _as_float(value: Any) -> float:
    """Return a number of another type as float: NaN if it is not one, infinite if it is too large for one."""
    if isinstance(value, Decimal) and value.is_nan():
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def plain_value(value: np.generic) -> Any:
    """Return a numpy scalar as a Python value, `None` for a missing time.

    Other times stay as they are: `item` would make an integer of one in nanoseconds.
    """
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else value
    return value.item()


def _plain(name: Any) -> Any:
    """Return a name, or a tuple of names, with numpy's scalars replaced by Python's."""
    if isinstance(name, tuple) and any(isinstance(part, np.generic | tuple) for part in name):
        plain: Any = tuple(map(_plain, name))
    elif isinstance(name, np.generic):
        plain = name.item()
    else:
        return name
    return plain if hash(plain) == hash(name) else name  # a time would not be found again


def _is_comparable(name: Any) -> bool:
    """Whether `==` between a name and itself, or names of other kinds, is true or false. May raise TypeError."""
    if isinstance(name, tuple):
        return all(map(_is_comparable, name))
    _ = name == np.int64(0)  # a Decimal cannot be compared with numpy's number of the same hash
    return _equals_itself(name) and all(
        isinstance(name == other, bool | np.bool_) for other in ("", 0, (0, 0))
    )


def _equals_itself(value: Any) -> bool:
    """Whether a label can be found again. NaN, arrays and tensors cannot, nor can a tuple that holds one."""
    if isinstance(value, tuple):
        return all(map(_equals_itself, value))
    equal = value == value
    return isinstance(equal, bool | np.bool_) and bool(equal)


def name_order(name: Hashable) -> tuple[str, str]:
    """Return the key by which the new features of one sample are sorted."""
    return type(name).__name__, str(name)


def entering(sample: Sample, kinds: Mapping[Hashable, str], max_features: int | None) -> dict[Hashable, str]:
    """Return the new features of a cleaned sample that enter, each with its kind, sorted by name.

    Parameters
    ----------
    kinds
        Kinds of all features known before.
    max_features
        Greatest number of features; `None` for no bound.
    """
    new = sorted((name for name in sample if name not in kinds), key=name_order)
    if max_features is not None:
        new = new[: max(0, max_features - len(kinds))]
    return {name: "text" if isinstance(sample[name], str) else "number" for name in new}


def short(value: Any) -> str:
    """Return the text of a value for a message, at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
