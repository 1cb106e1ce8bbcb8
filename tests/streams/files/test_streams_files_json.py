"""JSON lines."""

from __future__ import annotations

import pytest
from written_rows import samples

from streams.files import open_file, records


def test_json_lines(put):
    path = put(
        '{"a": 1, "b": "u", "c": true, "y": 1}\n\n{"b": null, "a": 2.5, "y": 1.0, "c": false}\n'
        '{"y": 0, "a": NaN, "b": "1"}\n',
        "t.jsonl",
    )
    stream = open_file(path)
    assert [(f.name, f.values) for f in stream.features] == [
        ("a", None),
        ("b", ["u", "1"]),
        ("c", [True, False]),
    ]
    assert samples(stream) == [
        ({"a": 1.0, "b": "u", "c": True}, 1),
        ({"a": 2.5, "c": False}, 1),
        ({"b": "1"}, 0),
    ]
    assert samples(open_file(path, "b", drop=["c", "y"], on_bad_row="skip")) == [({"a": 1.0}, "u"), ({}, "1")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": 1', r"line 3: not valid JSON"),
        ("[1, 2]", r"line 3: '\[1, 2\]' is not a JSON object"),
        (
            '{"a": [1], "y": 1}',
            r"line 3, 'a': it holds a list, .* such as \"a.0\", or leave it out: drop=\['a'\]",
        ),
        ('{"a": 1, "z": 1, "y": 1}', r"line 3: 'z' is none of the names"),
        ('{"a": 1}', r"line 3, column 'y': the class label is missing"),
        ("[" * 100_000, r"line 3: "),
    ],
)
def test_json_malformed_line_is_named_or_skipped(put, line, reason, monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 20)
    path = put(f'{{"a": 1, "y": 0}}\n\n{line}\n{{"a": 2, "y": 1}}\n', "t.ndjson")
    with pytest.raises(ValueError, match=rf"t\.ndjson, {reason}"):
        samples(open_file(path))
    stream = open_file(path, on_bad_row="skip")
    assert samples(stream) == [({"a": 1.0}, 0), ({"a": 2.0}, 1)]
    assert stream.bad_rows.count == 1


def test_json_without_any_object_is_named(put):
    with pytest.raises(ValueError, match=r"t\.jsonl: no line of its first megabyte holds a JSON object"):
        open_file(put("a,y\n1,2\n", "t.jsonl"))


def test_nested_values_are_named_even_if_no_line_can_be_read_and_can_be_left_out(tmp_path):
    path = tmp_path / "nested.jsonl"
    path.write_text('{"a": {"lat": 1.5}, "x": 3, "y": "u"}\n{"a": {"lat": 2}, "x": 4, "y": "v"}\n')
    with pytest.raises(
        ValueError, match=r"line 1, 'a': it holds an object, .* such as \"a\.lat\", or leave it out"
    ):
        open_file(path, target="y")
    stream = open_file(path, target="y", drop=["a"])
    assert list(stream) == [({"x": 3.0}, "u"), ({"x": 4.0}, "v")]
