"""Events are read, or refused with the field at fault."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmoe.service.events import Event, EventError, Limits, as_mapping, checked_event, read_event

LIMITS = Limits(n_features=5, n_characters=20, n_bytes=500)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('{"id": "a", "features": {"x": 1, "y": null, "z": "t", "b": true}}',
         Event("a", {"x": 1, "y": None, "z": "t", "b": True})),
        ('{"id": 17, "label": "yes"}', Event("17", None, "yes")),
        ('{"features": {}, "label": false}', Event(None, {}, False)),
        ('{"id": "a", "label": 1.5, "weight": 2, "key": "shop:1", "time": 12}',
         Event("a", None, 1.5, "shop:1", 12.0, 2.0)),
        ('{"id": "a", "label": 0, "time": "1970-01-01T00:01:00Z"}', Event("a", None, 0, time=60.0)),
        ('{"id": "a", "label": 0, "time": "1970-01-01T01:00:00+01:00"}', Event("a", None, 0, time=0.0)),
        ('{"id": "a", "label": 0, "time": "1970-01-02"}', Event("a", None, 0, time=86_400.0)),
        ('{"id": "a", "features": {"x": 1}, "label": null}', Event("a", {"x": 1})),
    ],
)  # fmt: skip
def test_right_events(text, event):
    found = read_event(text, LIMITS)
    assert found == event
    assert type(found.label) is type(event.label)
    assert read_event(text.encode(), LIMITS) == event
    assert checked_event(dict(as_mapping(event)), LIMITS) == event


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("", "", "not JSON"),
        ("[1]", "", "an event is a JSON object, not an array"),
        ("{}", "features", "needs features, a label, or both"),
        ('{"label": 1}', "id", "needs the id of its features"),
        ('{"x": 1}', "'x'", "is no field of an event"),
        ('{"features": [1]}', "features", "is an array"),
        ('{"features": {"a": [1]}}', "features.a", "is an array; allowed are numbers"),
        ('{"features": {"a": {"b": 1}}}', "features.a", "is an object"),
        ('{"features": {"a": 1e999}}', "features.a", "inf is not within"),
        ('{"features": {"a": 1e101}}', "features.a", "is not within"),
        ('{"features": {"a": NaN}}', "", "NaN is not a number in JSON"),
        ('{"features": {"a": 1, "a": 2}}', "", "an entry twice"),
        ('{"features": {"a": "' + "x" * 21 + '"}}', "features.a", "21 characters; at most 20"),
        ('{"features": {"' + "x" * 21 + '": 1}}', "features.'" + "x" * 21 + "'", "the name has 21 characters"),
        ('{"features": {"a": 1, "' + "x" * 21 + '": 1}}', "features.'" + "x" * 21 + "'", "the name has 21"),
        ('{"features": {"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}}', "features", "6 features; at most 5"),
        ('{"features": {"a": "\\ud800"}}', "features.a", "is not valid Unicode"),
        ('{"id": "a", "label": [1]}', "label", "is an array"),
        ('{"id": "a", "label": "' + "x" * 21 + '"}', "label", "has 21 characters"),
        ('{"id": "a", "label": 1e999}', "label", "is not within"),
        ('{"id": "", "label": 1}', "id", "must be a whole number or text"),
        ('{"id": 1.5, "label": 1}', "id", "must be a whole number or text"),
        ('{"id": true, "label": 1}', "id", "must be a whole number or text"),
        ('{"id": "a", "label": 1, "key": ""}', "key", "1 to 100 letters"),
        ('{"id": "a", "label": 1, "key": "a/b"}', "key", "1 to 100 letters"),
        ('{"id": "a", "label": 1, "key": "a\\n"}', "key", "1 to 100 letters"),
        ('{"id": "a", "label": 1, "time": "soon"}', "time", "seconds since 1970"),
        ('{"id": "a", "label": 1, "time": 1e999}', "time", "seconds since 1970"),
        ('{"id": "a", "label": 1, "weight": -1}', "weight", "from 0 to"),
        ('{"id": "a", "label": 1, "weight": 1e999}', "weight", "from 0 to"),
        ('{"id": "a", "label": 1, "weight": true}', "weight", "from 0 to"),
        (" " * 501, "", "501 bytes; at most 500"),
        ("[" * 200, "", "not JSON"),
    ],
)  # fmt: skip
def test_wrong_events_name_their_field(text, field, message):
    with pytest.raises(EventError) as error:
        read_event(text, LIMITS)
    assert error.value.field == field
    assert message in str(error.value)


@pytest.mark.parametrize(
    "features", [{"a": 1.0, "b": math.nan}, {"b": math.nan, "a": 1.0}, {"a": -math.inf, "b": 10**400}]
)
def test_numbers_that_cannot_be_learnt_are_refused_in_any_order(features):
    with pytest.raises(EventError, match="is not within"):
        checked_event({"features": features}, LIMITS)


def test_short_names_are_taken_however_long_they_are_together():
    features = {letter * 20: 1 for letter in "abcde"}
    assert checked_event({"features": features}, LIMITS).features == features


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(EventError, match="not UTF-8"):
        read_event(b"\xff\xfe", LIMITS)
    with pytest.raises(EventError, match=r"too deeply|not JSON"):
        read_event(b"[" * 400_000, Limits())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(["id", "features", "label", "key", "time", "weight", "other"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(FIELDS, JSON, max_size=5) | JSON)
def test_whatever_comes_is_an_event_or_refused(fields):
    event = None
    with suppress(EventError):  # nothing else may be raised
        event = checked_event(fields, LIMITS)
    if event is not None:
        text = json.dumps(dict(as_mapping(event)))
        assert read_event(text, Limits()) == event
