"""JSON that is read strictly: every text has one meaning, or is refused."""

from __future__ import annotations

import random

import pytest

from driftmoe.strict_json import from_json, from_json_of_checked_numbers


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


def members(rng, depth):
    """Return the text of a random object; its few names repeat, and hold colons, quotation marks and escapes."""
    names = ['"a"', '"b:"', '":"', r'"\""', r'"c\":"', r'"\u003a"', '"d"']
    values = ["1", '"x:y"', '":"', r'"\":"', "[1, 2]", '[{"a":1}]', "null"]
    inner = [members(rng, depth - 1)] if depth else values
    return "{" + ", ".join(
        rng.choice(names) + rng.choice([":", " : ", ": "]) + rng.choice(inner if rng.random() < 0.4 else values)
        for _ in range(rng.randrange(5))
    ) + "}"  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_fast_way_refuses_an_entry_twice_wherever_it_is_and_nothing_else(seed):
    rng, n_refused = random.Random(seed), 0
    for _ in range(2_000):
        text = members(rng, rng.randrange(4))
        try:
            expected = from_json(text)
        except ValueError:
            n_refused += 1
            with pytest.raises(ValueError, match="an entry twice"):
                from_json_of_checked_numbers(text)
        else:
            assert from_json_of_checked_numbers(text) == expected
    assert 200 < n_refused < 1_800
