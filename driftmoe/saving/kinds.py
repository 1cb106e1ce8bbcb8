"""Types of labels and feature values that JSON has no word for, as text or lists of integers, and back."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID


class Kind(NamedTuple):
    """A type of values that JSON has no word for.

    Attributes
    ----------
    type
        The type itself; a subclass is another type.
    write
        Gives what is kept in the document.
    read
        Gives the value back. Raises ValueError, TypeError or ArithmeticError if there is none.
    """

    type: type
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def text_of(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a reader of text that refuses all else."""

    def checked(kept: Any) -> Any:
        if not isinstance(kept, str):
            raise TypeError(f"a {type(kept).__name__} in the place of text")
        return read(kept)

    return checked


text = text_of(str)
"""Return text as it is. Raise TypeError if it is none."""


def _float(kept: str) -> float:
    if kept not in ("nan", "inf", "-inf"):
        raise ValueError(f"{kept!r} is not nan, inf or -inf")
    return float(kept)


def _fraction(kept: str) -> Fraction:
    if not re.fullmatch(r"-?\d+(/\d+)?", kept):  # others may take minutes: 1e999999
        raise ValueError(f"{kept!r:.40} is not a fraction of two integers")
    return Fraction(kept)


def _with_fold(value: dt.time | dt.datetime) -> list[Any]:
    return [value.isoformat(), value.fold]


def _folded(kind: type[Any]) -> Callable[[Any], Any]:
    def read(kept: Any) -> Any:
        value, fold = kept
        return kind.fromisoformat(text(value)).replace(fold=fold)

    return read


def integers(kept: Any, n: int) -> list[int]:
    """Return a list of `n` integers. Raise ValueError if it is none."""
    if type(kept) is not list or len(kept) != n or not set(map(type, kept)) <= {int}:
        raise ValueError(f"no list of {n} integers")
    return kept


KINDS: dict[str, Kind] = {
    "$float": Kind(float, str, text_of(_float)),
    "$bytes": Kind(
        bytes,
        lambda value: base64.b64encode(value).decode("ascii"),
        text_of(lambda kept: base64.b64decode(kept.encode("ascii"), validate=True)),
    ),
    "$complex": Kind(complex, repr, text_of(complex)),
    "$decimal": Kind(Decimal, str, text_of(Decimal)),
    "$fraction": Kind(Fraction, str, text_of(_fraction)),
    "$uuid": Kind(UUID, str, text_of(UUID)),
    "$date": Kind(dt.date, dt.date.isoformat, text_of(dt.date.fromisoformat)),
    "$time": Kind(dt.time, _with_fold, _folded(dt.time)),
    "$datetime": Kind(dt.datetime, _with_fold, _folded(dt.datetime)),
    "$timedelta": Kind(
        dt.timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda kept: dt.timedelta(*integers(kept, 3)),
    ),
}
"""Tag -> type of values that are kept as one piece of text or a list of integers."""

TAGS = {kind.type: tag for tag, kind in KINDS.items()}
"""Type -> its tag."""
