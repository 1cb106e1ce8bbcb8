"""What a file may mean otherwise: what is refused, skipped, or said aloud in every kind of file."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_rows import TWO_PLACES, samples, save_as, table

from streams import Feature, files
from streams.export import write
from streams.files import CSVStream, open_file

KINDS = pytest.mark.parametrize("name", ["t.csv", "t.arff", "t.jsonl", "t.parquet"])


@KINDS
@TWO_PLACES
def test_an_infinite_number_is_refused_or_skipped_in_every_kind_of_file(
    tmp_path, small_pieces, name, n_before
):
    infinite = "Infinity" if name.endswith("jsonl") else "inf"
    path = save_as(name, tmp_path, [("1", "u", "p")] * n_before + [(infinite, "w", "r"), ("2", "v", "q")])
    with pytest.raises(ValueError, match=r"(line|row) \d+, column 'a': .* is not finite"):
        table(open_file(path))
    stream = open_file(path, on_bad_row="skip")
    expected = [({"a": 1.0, "b": "u"}, "p")] * n_before + [({"a": 2.0, "b": "v"}, "q")]
    assert samples(stream) == expected
    assert (stream.bad_rows.count, stream.classes, stream.features[1].values) == (1, ["p", "q"], ["u", "v"])


@KINDS
@TWO_PLACES
def test_marks_of_missing_values_count_in_every_kind_of_file(tmp_path, small_pieces, name, n_before):
    """A number is missing however it is written; a missing label makes a bad row."""
    rows = [("1", "u", "p")] * n_before + [("-9.0", "none", "q"), ("2", "v", "none"), ("3", "v", "q")]
    stream = open_file(save_as(name, tmp_path, rows), missing=["-9", "none"], on_bad_row="skip")
    expected = [({"a": 1.0, "b": "u"}, "p")] * n_before + [({}, "q"), ({"a": 3.0, "b": "v"}, "q")]
    assert samples(stream) == expected
    assert stream.bad_rows.count == 1
    assert "the class label is missing" in stream.bad_rows.reasons[0]
    assert open_file(stream.path).fingerprint() != stream.fingerprint()


@pytest.mark.parametrize("name", ["t.csv", "t.arff", "t.jsonl"])
@TWO_PLACES
def test_an_odd_text_among_numbers_is_refused_or_skipped(tmp_path, small_pieces, name, n_before):
    """One text does not turn a column of numbers into names, wherever it stands."""
    odd = '"oops"' if name.endswith("jsonl") else "oops"
    path = save_as(name, tmp_path, [("1", "u", "p")] * n_before + [(odd, "u", "p"), ("2", "u", "q")])
    with pytest.raises(
        ValueError, match=r"'oops' is not a number.*nominal=\['a'\].*missing=\[\.\.\., 'oops'\]"
    ):
        table(open_file(path))
    stream = open_file(path, on_bad_row="skip")
    assert [x["a"] for x, _ in stream] == [1.0] * n_before + [2.0]
    assert stream.bad_rows.count == 1


@KINDS
def test_numbers_that_are_read_as_names_are_names_for_a_model(tmp_path, name):
    """An int would be a number again: to our encoder, and to river's trees."""
    rows = [(str(i % 3), "u", str(i % 3 == 1)) for i in range(30)]
    stream = open_file(save_as(name, tmp_path, rows), nominal=["a"])
    assert stream.features[0] == Feature("a", ["0", "1", "2"])
    assert next(iter(stream))[0]["a"] == "0"


@KINDS
@TWO_PLACES
def test_a_target_of_amounts_is_refused_unless_its_numbers_are_meant_as_names(
    tmp_path, small_pieces, name, n_before
):
    path = save_as(name, tmp_path, [("1", "u", f"{i // n_before}.5") for i in range(51 * n_before)])
    with pytest.raises(
        ValueError, match=r"'y' holds more than 50 .*\(0\.5, .* predicts classes, not amounts"
    ):
        table(open_file(path))
    stream = open_file(path, nominal=["y"])
    table(stream)
    assert stream.n_classes == 51
    few = save_as(name, tmp_path, [("1", "u", f"{i}.5") for i in range(50)])
    assert len(samples(open_file(few))) == 50


def test_a_target_of_amounts_is_refused_in_columns_of_numbers(tmp_path, put):
    pq.write_table(pa.table({"a": [1.0] * 51, "y": np.arange(51) / 4}), tmp_path / "t.parquet")
    assert len(samples(open_file(tmp_path / "t.parquet"))) == 51, "13 of them are whole"
    pq.write_table(pa.table({"a": [1.0] * 70, "y": np.arange(70) / 4}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="amounts"):
        open_file(tmp_path / "t.parquet")
    text = "@relation r\n@attribute a real\n@attribute y real\n@data\n"
    with pytest.raises(ValueError, match="amounts"):
        open_file(put(text + "".join(f"1,{i}.25\n" for i in range(60)), "t.arff"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2024-03-{0:04d}", "dates"),
        ("{0}.03.2024 10:15", "dates"),
        ("$1,{0:03d}.50", "numbers in text"),
        ("{0} kg", "numbers in text"),
        ("customer-{0}", "different texts"),
    ],
)
def test_a_thousand_names_in_a_column_are_said_aloud(put, value, said):
    value = value.replace("2024-03-{0:04d}", "{1:04d}-03-{2:02d}").replace("{0}.03.2024", "{2}.03.{1}")
    rows = [f'"{value.format(i, 1900 + i // 28, i % 28 + 1)}",{i % 7},{i % 2}\n' for i in range(1000)]
    path = put("x,n,y\n" + "".join(rows))
    with pytest.warns(files.FileWarning, match=rf"'x': 1,000 {said} as names; drop=\['x'\].*nominal=\['x'\]"):
        open_file(path)
    assert open_file(path, nominal=["x"]).notes == open_file(path, drop=["x"]).notes == []
    n_silent = 999 if said == "different texts" else 99
    assert open_file(put("x,n,y\n" + "".join(rows[:n_silent]))).notes == []


def test_many_names_are_said_of_other_kinds_of_file_too_but_not_where_they_are_declared(tmp_path):
    rows = [("1", f"id{i}", "pq"[i % 2]) for i in range(1000)]
    for name in ("t.arff", "t.jsonl", "t.parquet"):
        with pytest.warns(files.FileWarning, match="'b': 1,000 different texts as names"):
            stream = open_file(save_as(name, tmp_path, rows))
        write(stream, tmp_path / "back.arff")
        assert open_file(tmp_path / "back.arff").notes == []


def test_names_that_come_later_are_said_when_they_have_come(put, small_pieces):
    stream = CSVStream(put("x,y\n" + "".join(f"id{i},{i % 2}\n" for i in range(1500))), n_samples=1400)
    assert re.match(r"'x': 1,0\d\d different texts as names; drop=\['x'\] or keep:", stream.notes[0])
    table(stream)
    assert "1,400" in stream.notes[0]


def test_a_column_that_only_grows_is_said_aloud(put):
    rows = [f"{i},{i * 1.5},{i % 999},{i % 2}\n" for i in range(1000)]
    path = put("id,when,x,y\n" + "".join(rows))
    with pytest.warns(files.FileWarning) as warned:
        stream = open_file(path)
    assert [str(warning.message).split(": ", 1)[1] for warning in warned] == stream.notes
    assert [note.split()[0] for note in stream.notes] == ["'id'", "'when'"]
    assert open_file(path, drop=["id", "when"]).notes == []


def test_a_target_of_many_labels_is_said_aloud(put):
    path = put("x,y\n" + "".join(f"{i % 5},{i}\n" for i in range(100)))
    with pytest.warns(files.FileWarning, match="the target 'y' has 100 different labels"):
        open_file(path)
    assert open_file(path, nominal=["y"]).notes == []


def test_numbers_among_names_are_said_aloud(put):
    path = put("x,y\nA5,0\nPC9,1\n17,0\n")
    with pytest.warns(files.FileWarning, match="'x' is read as names, with numbers among them"):
        open_file(path)
    assert open_file(path, nominal=["x"]).notes == []


def test_a_first_line_that_may_be_a_row_is_said_aloud(put):
    path = put("red,round,no\nred,long,yes\nblue,round,yes\n")
    with pytest.warns(
        files.FileWarning, match=r"the first line, red, round, no, is read as names; .*header=False"
    ):
        open_file(path)
    assert open_file(path, header=True).notes == open_file(path, header=False).notes == []


def test_a_first_line_of_whole_numbers_may_be_names_and_that_is_said(put):
    path = put("2019,2020,2021\n1.5,2.5,0\n0.5,1.5,1\n")
    with pytest.warns(
        files.FileWarning, match=r"first line, 2019, 2020, 2021, is read as a row; .*header=True"
    ):
        assert len(list(open_file(path))) == 3
    assert open_file(path, header=True).notes == open_file(path, header=False).notes == []
    assert [feature.name for feature in open_file(path, header=True).features] == ["2019", "2020"]
    for row in ("1.5,2.5,0", "1,1,0"):  # names are neither fractions nor alike
        assert open_file(put(f"{row}\n1.5,2.5,0\n0.5,1.5,1\n")).notes == []


def test_numbers_with_leading_zeros_may_be_names_and_that_is_said(put):
    path = put("zip,n,y\n" + "".join(f"{i:05d},{i % 3},{i % 2}\n" for i in range(40, 80)))
    with pytest.warns(files.FileWarning, match=r"'zip' has numbers with leading zeros; .*nominal=\['zip'\]"):
        assert next(iter(open_file(path)))[0]["zip"] == 40.0
    kept = open_file(path, nominal=["zip"])
    assert kept.notes == []
    assert next(iter(kept))[0]["zip"] == "00040"
    assert open_file(path, drop=["zip"]).notes == []
    assert open_file(put("a,y\n0,1\n0.5,0\n10,1\n-0.25,0\n")).notes == []


def test_the_usual_file_gives_no_note(put):
    assert open_file(put("a,b,y\n" + "".join(f"{i % 7},w{i % 9},{i % 2}\n" for i in range(2000)))).notes == []


def test_reading_tells_the_target_and_what_is_not_as_usual(put, tmp_path):
    path = put("a;b;y\n1;u;0\n2;v;1\n")
    assert CSVStream(path, delimiter=";").reading == {"target": "y", "delimiter": ";"}
    options = {"delimiter": ";", "missing": [*files.MISSING, "u"], "encoding": "latin1", "on_bad_row": "skip"}
    assert CSVStream(path, "b", drop=["y"], **options).reading == {
        "target": "b",
        "drop": ["y"],
        "delimiter": ";",
        "missing": ["u"],
        "encoding": "iso8859-1",
        "on_bad_row": "skip",
    }
    saved = save_as("t.parquet", tmp_path, [("1", "u", "p")])
    assert open_file(saved, nominal=["a"]).reading == {"target": "y", "nominal": ["a"]}


def test_a_column_of_decimal_commas_is_told_with_an_example(tmp_path):
    path = tmp_path / "commas.csv"
    path.write_text("price;code;y\n" + "".join(f"{i},5;{i};{i % 2}\n" for i in range(20)))
    with pytest.warns(
        files.FileWarning, match=r"'price' holds numbers with commas, such as 0,5, .* decimal point"
    ):
        stream = files.open_file(path, target="y", delimiter=";")
    assert len(stream.notes) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files.open_file(path, target="y", delimiter=";", nominal=["price"])
        files.open_file(path, target="y", delimiter=";", drop=["price"])
        path.write_text("when,y\n" + "".join(f'"12 May, {i}",{i % 2}\n' for i in range(20)))
        files.open_file(path, target="y")
