"""Values of fields: missing values, numbers, whole numbers, bools and names.

This module also decides from the first values of a column whether it is numeric or nominal, and numbers the values of
nominal columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "<NA>", "#N/A")
"""Fields of a CSV file that stand for a missing value. They may be quoted and have blanks around them."""

MISSING_NUMBERS = ("-", "--", "None", "none", "NONE", "n/a", "na", "Null", "#NA", "NaT")
"""Fields of a text file that stand for a missing value in a column of numbers only; elsewhere they may be names."""

MANY_VALUES = 1000
"""Number of different values at which a nominal column gets a note, and of rows after which a growing column does."""

OTHER_TEXTS = "different texts"
"""Result of `kind_of_names` for values that are neither dates nor amounts."""

SOME_NUMBERS = 0.2
"""Share of numbers above which a nominal column gets a note."""


class NominalValues:
    """The values of a column, numbered in order of first appearance.

    Parameters
    ----------
    values
        The values known beforehand.
    convert
        Converts an item to its value when it first appears, such as `"1.0"` to 1.
    is_closed
        Whether no other values may appear.

    Examples
    --------
    >>> from streams.files import NominalValues
    >>> values = NominalValues(["red"])
    >>> values.index("blue"), values.index("red"), values.values
    (1, 0, ['red', 'blue'])
    """

    def __init__(
        self, values: Sequence[Any] = (), convert: Callable[[Any], Any] = str, is_closed: bool = False
    ) -> None:
        self.values = list(values)
        self.convert = convert
        self.is_closed = is_closed
        self.is_declared = bool(self.values)
        self._index: dict[Any, int] = {}
        for index, value in enumerate(values):
            self._index[value] = self._index[str(value)] = index

    def knows(self, item: Any) -> bool:
        """Return whether an item may be numbered."""
        return not self.is_closed or item in self._index or self.convert(item) in self._index

    def index(self, item: Any) -> int:
        """Return the number of an item, a new one if its value is new."""
        found = self._index.get(item)
        if found is None:
            value = self.convert(item)  # "true" and "TRUE" are one value
            found = self._index.get(value)
            if found is None:
                found = len(self.values)
                self.values.append(value)
            self._index[item] = self._index[value] = found
        return found


def number_in(text: str) -> float | None:
    """Return the number that pyarrow reads in a text, or `None`. Unlike in Python, `1_000` is not a number."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})(?:\.0*)?")


def int_or_text(text: str) -> int | str:
    """Return a whole number as an int, such as 1 for `"1.0"`, and any other text unchanged."""
    match = _WHOLE.fullmatch(text)
    return int(match[1]) if match else text


def text_of_number(text: str) -> str:
    """Return a whole number in its shortest form, such as `"1"` for `"1.0"`, and any other text unchanged."""
    return str(int_or_text(text))


def _bool_or_text(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


def value_converter(texts: Collection[str]) -> Callable[[str], Hashable]:
    """Return the converter for the texts of a nominal column: to ints or bools if all fit, otherwise to strings.

    If all texts are numbers, `1` and `1.0` are one value.

    Examples
    --------
    >>> from streams.files import value_converter
    >>> value_converter(["1", "2.0"])("2.0"), value_converter(["1", "a"])("1")
    (2, '1')
    """
    if all(_WHOLE.fullmatch(text) for text in texts):
        return int_or_text
    if all(text.lower() in ("true", "false") for text in texts):
        return _bool_or_text
    if all(number_in(text) is not None for text in texts):
        return text_of_number
    return str


def name_converter(texts: Collection[str]) -> Callable[[str], Hashable]:
    """Return a converter as `value_converter` does, but keep numbers as text, because models take ints for numbers."""
    convert = value_converter(texts)
    return text_of_number if convert is int_or_text else convert


def whole(value: Any) -> Any:
    """Return a whole float as an int, and any other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def text_of_whole(value: Any) -> str:
    """Return the text of a value, with a whole float written without its fraction."""
    return str(whole(value))


def other_marks(missing: Sequence[str]) -> list[str]:
    """Return the marks of missing values that are not in `MISSING`; all of them if one of `MISSING` is not given."""
    marks = set(missing)
    return sorted(marks - set(MISSING)) if marks >= set(MISSING) else sorted(missing)


def share_of_numbers(shown: Mapping[str, int]) -> float:
    """Return the share of numbers among the values of a column that are not missing; 1 if all are missing."""
    named = {text: n for text, n in shown.items() if text.strip() not in MISSING_NUMBERS}
    n_numbers = sum(n for text, n in named.items() if number_in(text) is not None)
    return n_numbers / sum(named.values()) if named else 1.0


def is_numeric(shown: Mapping[str, int]) -> bool:
    """Return whether a column is numeric: most of its values are numbers."""
    return share_of_numbers(shown) > 0.5


_DATE = re.compile(
    r"\d{4}-\d\d?-\d\d?\b.*|\d{4}/\d\d?/\d\d?\b.*|\d\d?([./-])\d\d?\1\d{2,4}\b.*|\d\d?:\d\d\b.*"
)

_AMOUNT = re.compile(r"[^\w\s]{0,2}\s?\d[\d.,' ]*(?:\s?[^\w\s]|\s\w{1,4})?")


def kind_of_names(values: Sequence[Any]) -> str:
    """Return what a note calls the values of a nominal column."""
    texts = [str(value).strip() for value in values[:MANY_VALUES]]
    for pattern, what in ((_DATE, "dates"), (_AMOUNT, "numbers in text")):
        if sum(pattern.fullmatch(text) is not None for text in texts) > 0.9 * len(texts):
            return what
    return OTHER_TEXTS
