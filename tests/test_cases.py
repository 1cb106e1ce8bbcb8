"""Small files that were read wrongly, here or elsewhere; `cases/expected.json` says what each holds and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.files import open_file

FOLDER = Path(__file__).parent / "cases"
CASES = {case["file"]: case for case in json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))}


def rows_of(stream):
    return [[x, y] for x, y in stream]


def as_names(rows):
    """Whole numbers that an ARFF file declares as names are ints here, as the class says: 1 is meant by "1"."""
    return [[{k: str(v) if type(v) is int else v for k, v in x.items()}, y] for x, y in rows]


def read(name, **options):
    return open_file(FOLDER / name, **options)


def test_every_file_has_its_expected_reading():
    assert {path.name for path in FOLDER.iterdir()} == {*CASES, "expected.json"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "rows" in case])
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_the_rows_are_those_expected(name, on_bad_row):
    stream = read(name, on_bad_row=on_bad_row)
    assert as_names(rows_of(stream)) == CASES[name]["rows"]
    assert stream.bad_rows.count == 0


def test_a_header_that_comes_again_is_refused_or_left_out():
    with pytest.raises(ValueError, match="line 4: the names of the columns again"):
        read("header_again.csv")
    stream = read("header_again.csv", on_bad_row="skip")
    assert rows_of(stream) == CASES["header_again.csv"]["rows_skip"]
    assert stream.bad_rows.count == 1


def test_marks_of_missing_values_leave_a_column_numeric():
    case, stream = CASES["marks_in_numbers.csv"], read("marks_in_numbers.csv")
    rows = rows_of(stream)
    assert not any(feature.is_nominal for feature in stream.features)
    assert len(rows) == case["n_rows"]
    assert {name: sum(name not in x for x, _ in rows) for name in case["missing"]} == case["missing"]


def test_two_texts_of_one_label_are_one_class():
    stream = read("one_label_two_texts.csv")
    assert stream.classes == CASES["one_label_two_texts.csv"]["classes"]
    assert [y for _, y in stream] == [0, 1, 1, 0]


def test_an_infinite_number_is_refused_or_left_out():
    with pytest.raises(ValueError, match=r"line 3, column 'flow': 'inf' is not finite"):
        read("infinite.csv")
    stream = read("infinite.csv", on_bad_row="skip")
    assert len(rows_of(stream)) == CASES["infinite.csv"]["n_rows_skip"]
    assert stream.bad_rows.count == 1


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_a_semicolon_at_the_end_of_lines_is_no_part_of_labels(on_bad_row):
    with pytest.raises(ValueError, match=r"every line ends in ';'"):
        read("semicolon_at_line_end.csv", on_bad_row=on_bad_row)
