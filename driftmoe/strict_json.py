"""Strict reading of JSON: what the standard forbids or leaves open is refused, so that every text has one meaning."""

from __future__ import annotations

import json
import math
from typing import Any


def from_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If the text is not JSON, has an entry twice in one object, holds NaN, Infinity or a number too large for
        float64, or is nested too deeply.
    """
    return _decoded(_DECODER, text)


def from_json_of_checked_numbers(text: str) -> Any:
    """Return the value of a JSON text as `from_json`, three times as fast: a number too large for float64 is infinite.

    For callers who look at each number anyway, and whose texts are objects of at most two levels.
    """
    value = _decoded(_FAST_DECODER, text)
    # Every entry has a colon, so that an object without a double entry has as many as the text, unless there are more
    # in names and values.
    if type(value) is dict:
        n_entries = len(value) + sum(len(inner) for inner in value.values() if type(inner) is dict)
        if n_entries == text.count(":"):
            return value
    return _decoded(_DECODER_OF_CHECKED_NUMBERS, text)


def _decoded(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("the JSON has an entry twice")
    return found


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.40} is too large a number")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite)
_DECODER_OF_CHECKED_NUMBERS = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refused)
_FAST_DECODER = json.JSONDecoder(parse_constant=_refused)
