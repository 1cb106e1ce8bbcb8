"""JSON that is read strictly: every text has one meaning, or is refused."""

from __future__ import annotations

import pytest

from driftmoe.strict_json import from_json


def test_values_come_back():
    assert from_json('{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 1}', "the JSON has an entry twice"),
        ('[{"b": {"a": 1, "a": 2}}]', "the JSON has an entry twice"),
        ("[NaN]", "NaN is not a number in JSON"),
        ("-Infinity", "-Infinity is not a number in JSON"),
        ("[" * 100_000, "the JSON is nested too deeply"),
        ("[1e999999]", "1e999999 is too large a number"),
        ("-1e999", "-1e999 is too large a number"),
        ("[1", "delimiter"),
        ("", "Expecting value"),
        ("1" * 10_000, "digits"),
    ],
)
def test_text_that_is_no_strict_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_json(text)
