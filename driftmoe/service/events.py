"""Events as they come in: features to predict, labels of earlier features, or both at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from driftmoe.strict_json import from_json_of_checked_numbers

DEFAULT_KEY = "default"
"""Key of events that have none, and the name of their model."""

FIELDS = ("id", "features", "label", "key", "time", "weight")
"""Fields of an event."""

MAX_ABSOLUTE = 1e100
"""Greatest absolute value of a number, as in the learner."""

MAX_WEIGHT = 1e15
"""Greatest weight, as in the learner."""

_FIELDS = frozenset(FIELDS)
_NUMBERS = frozenset((int, float, bool))

_KEY = re.compile(r"[A-Za-z0-9_.:@-]{1,100}")


class EventError(ValueError):
    """An event that cannot be read.

    Attributes
    ----------
    field
        The field at fault, such as `"features.age"`; empty if it is the whole event.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Limits:
    """Greatest sizes of an event.

    Attributes
    ----------
    n_features
        Number of features.
    n_characters
        Length of a feature's name, of a text value and of a text label.
    n_bytes
        Length of the JSON text of an event.

    Examples
    --------
    >>> from driftmoe.service import Limits
    >>> Limits(n_features=50).n_features
    50
    """

    n_features: int = 10_000
    n_characters: int = 1_000
    n_bytes: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """Features, a label, or both.

    Attributes
    ----------
    id
        Joins a label to its features; `None` if the event has none.
    features
        Feature -> number, boolean, text or `None`; `None` if the event is a label alone.
    label
        Class label; `None` if the event has features alone.
    key
        Name of the model.
    time
        When it happened, in seconds since 1970; `None` if not given.
    weight
        Weight of the sample in learning.

    Examples
    --------
    >>> from driftmoe.service import Event
    >>> Event("a1", {"x": 1.5}).label is None  # its label comes later, as Event("a1", None, "yes")
    True
    """

    id: str | None
    features: dict[str, Any] | None
    label: Any = None
    key: str = DEFAULT_KEY
    time: float | None = None
    weight: float = 1.0


def read_event(text: str | bytes, limits: Limits) -> Event:
    """Return the event of a JSON text.

    Raises
    ------
    EventError
        If the text is too long, is not JSON, or is no event; see `checked_event`.
    """
    if len(text) > limits.n_bytes:
        raise EventError("", f"the event has {len(text):,} bytes; at most {limits.n_bytes:,} are allowed")
    try:
        fields = from_json_of_checked_numbers(text.decode() if isinstance(text, bytes) else text)
    except UnicodeDecodeError:
        raise EventError("", "the event is not UTF-8 text") from None
    except ValueError as error:
        raise EventError("", f"the event is not JSON: {error}") from None
    return checked_event(fields, limits)


def checked_event(fields: Any, limits: Limits) -> Event:
    """Return the event of the fields of a JSON object.

    Raises
    ------
    EventError
        If a field is unknown or lacks, or a value has a wrong type or size. The message names the field.
    """
    if type(fields) is not dict:
        raise EventError(
            "", f"an event is a JSON object, not {_kind(fields)}; its fields are {', '.join(FIELDS)}"
        )
    if not _FIELDS.issuperset(fields):
        name = next(name for name in fields if name not in _FIELDS)
        raise EventError(_shortened(name), f"is no field of an event; the fields are {', '.join(FIELDS)}")
    features = fields.get("features")
    if features is not None:
        _check_features(features, limits)
    label = fields.get("label")
    if label is not None:
        check_label(label, limits)
    elif features is None:
        raise EventError("features", "an event needs features, a label, or both")
    name = _id(fields.get("id"))
    if features is None and name is None:
        raise EventError("id", "a label without features needs the id of its features")
    key = fields.get("key", DEFAULT_KEY)
    if type(key) is not str or not _KEY.fullmatch(key):
        raise EventError("key", f"{_shortened(key)} must be 1 to 100 letters, digits and any of _ . : @ -")
    return Event(name, features, label, key, _time(fields.get("time")), _weight(fields.get("weight", 1.0)))


def check_label(label: Any, limits: Limits) -> None:
    """Raise EventError if a value of JSON cannot be a label."""
    if type(label) is str:
        if len(label) > limits.n_characters:
            raise EventError(
                "label", f"has {len(label):,} characters; at most {limits.n_characters:,} are allowed"
            )
        _check_text("label", label)
    elif type(label) not in (int, float, bool):
        raise EventError("label", f"is {_kind(label)}; a label is text, a number, true or false")
    elif not abs(label) <= MAX_ABSOLUTE:
        raise EventError("label", f"{_shortened(label)} is not within ±{MAX_ABSOLUTE:g}")


def _check_features(features: Any, limits: Limits) -> None:
    if type(features) is not dict:
        raise EventError("features", f"is {_kind(features)}; give an object of feature and value")
    if len(features) > limits.n_features:
        raise EventError(
            "features", f"has {len(features):,} features; at most {limits.n_features:,} are allowed"
        )
    if features and not _needs_a_look(features, limits):
        return
    for name, value in features.items():
        kind = type(value)
        if len(name) > limits.n_characters:
            raise EventError(
                f"features.{_shortened(name)}",
                f"the name has {len(name):,} characters; at most {limits.n_characters:,} are allowed",
            )
        if not name.isascii():
            _check_text(f"features.{_shortened(name)}", name)
        if kind is float or kind is int:
            if not -MAX_ABSOLUTE <= value <= MAX_ABSOLUTE:
                raise EventError(f"features.{name}", f"{_shortened(value)} is not within ±{MAX_ABSOLUTE:g}")
        elif kind is str:
            if len(value) > limits.n_characters:
                raise EventError(
                    f"features.{name}",
                    f"has {len(value):,} characters; at most {limits.n_characters:,} are allowed",
                )
            if not value.isascii():
                _check_text(f"features.{name}", value)
        elif value is not None and kind is not bool:
            raise EventError(
                f"features.{name}", f"is {_kind(value)}; allowed are numbers, true, false, text and null"
            )


def _needs_a_look(features: dict[str, Any], limits: Limits) -> bool:
    """Return whether features may break a rule: most are numbers with short ASCII names, which is seen at once."""
    values, names = features.values(), "".join(features)
    return (
        not _NUMBERS.issuperset(map(type, values))
        or not (len(names) <= limits.n_characters or max(map(len, features)) <= limits.n_characters)
        or not names.isascii()
        or not -MAX_ABSOLUTE <= min(values) <= max(values) <= MAX_ABSOLUTE
        or math.isnan(sum(values))  # which is neither less nor greater than another
    )


def _check_text(field: str, text: str) -> None:
    """Raise EventError if a text has half a surrogate pair, which JSON can write and no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EventError(field.encode("ascii", "replace").decode(), "is not valid Unicode text") from None


def _id(name: Any) -> str | None:
    if name is None:
        return None
    if type(name) is int and abs(name) < 10**100:
        return str(name)
    if type(name) is not str or not 1 <= len(name) <= 200:
        raise EventError("id", f"{_shortened(name)} must be a whole number or text of 1 to 200 characters")
    _check_text("id", name)
    return name


def _time(time: Any) -> float | None:
    if time is None:
        return None
    if type(time) in (int, float) and abs(time) <= 1e12:
        return float(time)
    if type(time) is str and len(time) <= 40:
        try:
            when = datetime.fromisoformat(time)
        except ValueError:
            pass
        else:
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    raise EventError(
        "time", f"{_shortened(time)} must be seconds since 1970, or text such as '2026-05-31T12:00:00Z'"
    )


def _weight(weight: Any) -> float:
    if type(weight) not in (int, float) or not 0.0 <= weight <= MAX_WEIGHT or math.isnan(weight):
        raise EventError("weight", f"{_shortened(weight)} must be a number from 0 to {MAX_WEIGHT:g}")
    return float(weight)


def _kind(value: Any) -> str:
    """Return what a value of JSON is, as text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    kinds = {dict: "an object", list: "an array", str: "text", int: "a number", float: "a number"}
    return kinds.get(type(value), f"of type {type(value).__name__}")


def _shortened(value: Any) -> str:
    """Return a value as text of at most 40 ASCII characters."""
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


def as_mapping(event: Event) -> Mapping[str, Any]:
    """Return the fields of an event that are not their defaults, as JSON would have them."""
    fields = {"id": event.id, "features": event.features, "label": event.label, "time": event.time}
    mapping = {name: value for name, value in fields.items() if value is not None}
    if event.key != DEFAULT_KEY:
        mapping["key"] = event.key
    if event.weight != 1.0:
        mapping["weight"] = event.weight
    return mapping
