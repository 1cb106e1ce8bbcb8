"""CSV files: what is read, and what is refused or skipped."""

from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_rows import MARK, SLOW_MACHINE, TWO_PLACES, samples, table

from streams import Feature, files
from streams.files import CSVStream, open_file, records


def test_csv_numbers_names_bools_and_missing_values(put):
    path = put("a,b,c,y\n1.5,red,true,0\n?,blue,FALSE,1\n-2e3,NA,,1\n")
    stream = CSVStream(path)
    assert [f.values for f in stream.features] == [None, ["red", "blue"], [True, False]]
    assert stream.classes == [0, 1]
    assert (stream.n_features, stream.n_classes, stream.n_samples, stream.target) == (3, 2, None, "y")
    assert stream.task == "Binary classification"
    assert samples(stream) == [
        ({"a": 1.5, "b": "red", "c": True}, 0),
        ({"b": "blue", "c": False}, 1),
        ({"a": -2000.0}, 1),
    ]


def test_csv_quotes_hold_delimiters_line_ends_and_quotes(put):
    path = put('name,y\n"a,b",1\n"c\nd",1\n"say ""hi""",0\n5" pipe,5" pipe\n')
    assert samples(CSVStream(path)) == [
        ({"name": "a,b"}, "1"),
        ({"name": "c\nd"}, "1"),
        ({"name": 'say "hi"'}, "0"),
        ({"name": '5" pipe'}, '5" pipe'),
    ]


def test_csv_quote_none_reads_quotes_as_characters(put):
    path = put('name,y\n"a,no\n5" pipe,yes\n')
    assert samples(CSVStream(path, quote=None)) == [({"name": '"a'}, "no"), ({"name": '5" pipe'}, "yes")]


def test_csv_byte_order_mark_crlf_blank_lines_and_no_last_line_end(put):
    path = put(b"\xef\xbb\xbfa,y\r\n1,u\r\n\r\n2,v")
    assert samples(CSVStream(path)) == [({"a": 1.0}, "u"), ({"a": 2.0}, "v")]
    headless = put(b"\xef\xbb\xbf1,0\r\n2,1\r\n", "headless.csv")
    assert samples(CSVStream(headless)) == [({"x0": 1.0}, 0), ({"x0": 2.0}, 1)]


def test_csv_other_delimiter(put):
    assert samples(CSVStream(put("a;y\n1;2,5\n"), delimiter=";")) == [({"a": 1.0}, "2,5")]
    assert samples(CSVStream(put("a\ty\n1\tb c\n"), delimiter="\t")) == [({"a": 1.0}, "b c")]


def test_csv_header_is_found_or_told(put):
    assert samples(CSVStream(put("1,2,0\n3,?,1\n"))) == [({"x0": 1.0, "x1": 2.0}, 0), ({"x0": 3.0}, 1)]
    assert samples(CSVStream(put("2020,2021\n3,1\n"), header=True)) == [({"2020": 3.0}, 1)]
    assert samples(CSVStream(put("a,no\nb,yes\n"), header=False)) == [
        ({"x0": "a"}, "no"),
        ({"x0": "b"}, "yes"),
    ]


def test_csv_columns_without_name_and_names_that_look_missing(put):
    stream = CSVStream(put(",NA,y\n1,2,3\n"))
    assert [f.name for f in stream.features] == ["x0", "NA"]


@pytest.mark.parametrize("target", ["b", 1, -2])
def test_target_by_name_or_position(put, target):
    stream = CSVStream(put("a,b,c\n1,u,2\n"), target)
    assert samples(stream) == [({"a": 1.0, "c": 2.0}, "u")]
    assert stream.target == "b"


def test_nominal_and_drop_and_classes(put):
    path = put("id,code,y\nk1,1,2\nk2,2,1\n")
    stream = CSVStream(path, nominal=["code"], drop=["id"], classes=[1, 2, 3])
    assert stream.features == [Feature("code", ["1", "2"])]
    assert stream.classes == [1, 2, 3]
    assert table(stream)[1].tolist() == [1, 0]


def test_missing_values_are_an_argument(put):
    path = put("a,b,y\n-999,NA,1\n")
    assert samples(CSVStream(path, missing=["-999"])) == [({"b": "NA"}, 1)]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,y\n1,2\n", {"target": "z"}, r"no column 'z' for the target; there are a, y"),
        ("a,y\n1,2\n", {"target": 2}, r"target=2, but there are 2 columns"),
        ("a,y\n1,2\n", {"drop": ["z"]}, r"drop names \['z'\]"),
        ("a,y\n1,2\n", {"nominal": ["z"]}, r"nominal names \['z'\]"),
        ("a,y\n1,2\n", {"drop": ["y"]}, r"drop holds the target 'y'"),
        ("a,y\n1,2\n", {"drop": ["a"]}, r"no column is left besides the target"),
        ("a,a,y\n1,2,3\n", {}, r"\['a'\] come more than once"),
        ("y\n1\n", {}, r"no column is left"),
        ("", {}, r"the file is empty"),
        ("\n\n", {}, r"the file is empty"),
        ("a,y\n1,2\n", {"on_bad_row": "ignore"}, r"on_bad_row='ignore'; choose 'error' or 'skip'"),
        ("a,y\n1,2\n", {"n_samples": -1}, r"n_samples=-1"),
        ("a,y\n1,2\n", {"delimiter": ";;"}, r"delimiter=';;'"),
        ("a,y\n1,2\n", {"quote": "\n"}, r"quote='\\n'"),
    ],
)
def test_csv_wrong_arguments_are_named(put, text, options, message):
    with pytest.raises(ValueError, match=message):
        CSVStream(put(text), **options)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2", r"line 4: 2 fields, but there are 3 columns"),
        ("1,2,3,4", r"line 4: 4 fields, but there are 3 columns"),
        ("1,red,", r"line 4, column 'y': the class label is missing"),
        ('1,"red,0', r"line 4: a quote \" is not closed"),
        (b"1,\xff,0", r"line 4, column 'b': byte 0xff is not UTF-8"),
        ("1\r,b,0", r"line 4: a carriage return outside quotes"),
    ],
)
def test_csv_malformed_row_is_named_or_skipped(put, row, reason):
    row = row if isinstance(row, bytes) else row.encode()
    path = put(b'a,b,y\n1,"x\nx",0\n' + row + b"\n")
    with pytest.raises(ValueError, match=rf"data\.csv, {reason}"):
        CSVStream(path)
    stream = CSVStream(path, on_bad_row="skip")
    assert samples(stream) == [({"a": 1.0, "b": "x\nx"}, 0)]
    assert stream.bad_rows.count == 1
    assert reason.split(":")[0].replace("line 4", "") in stream.bad_rows.reasons[0]


def test_csv_word_in_a_numeric_column_far_down_is_named(put, monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 4096)
    lines = [f"{i},{i / 7},{i % 3}" for i in range(5000)]
    lines[4321] = "4321,oops,0"
    path = put("\n".join(["a,b,y", *lines]) + "\n")
    stream = CSVStream(path)
    with pytest.raises(ValueError, match=r"line 4323, column 'b': 'oops' is not a number.*nominal=\['b'\]"):
        table(stream)
    stream = CSVStream(path, on_bad_row="skip")
    X, _ = table(stream)
    assert X[:, 0].tolist() == [i for i in range(5000) if i != 4321]
    assert stream.bad_rows.count == 1
    assert samples(stream)[4320][0]["a"] == 4320.0
    assert stream.bad_rows.count == 1, "each reading counts anew"
    assert next(iter(CSVStream(path, nominal=["b"]).blocks(10))).X.shape == (10, 2)


def test_csv_many_bad_rows_are_counted_and_the_first_reasons_kept(put):
    path = put("a,y\n1,0\n" + "oops\n" * 25 + "2,1\n")
    stream = CSVStream(path, on_bad_row="skip")
    assert samples(stream) == [({"a": 1.0}, 0), ({"a": 2.0}, 1)]
    assert (stream.bad_rows.count, len(stream.bad_rows.reasons)) == (25, 10)


def test_skipped_rows_leave_no_value_behind(put):
    path = put("a,b,y\n1,red,0\n2,green\n3,pink,\n4,blue,1\n")
    stream = CSVStream(path, on_bad_row="skip")
    assert stream.features[1].values == ["red", "blue"]


def test_a_quote_that_never_closes_does_not_fill_the_memory(put, monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 64)
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 256)
    path = put('a,y\n1,0\n2,"0\n' + "3,1\n" * 500)
    with pytest.raises(ValueError, match=r"line 3: a row longer than"):
        table(CSVStream(path))


def test_csv_a_quote_inside_a_field_opens_nothing(put):
    text = 'a,b,y\n0,5" pipe,u\n' + "1,q,v\n" * 3000
    assert len(samples(CSVStream(put(text)))) == 3001
    stream = CSVStream(put('a,b,y\n1,5" pipe,u\n2,q,v\n2,6" pipe,v\n3,z,u\n4,u\n'), on_bad_row="skip")
    assert [x["b"] for x, _ in samples(stream)] == ['5" pipe', "q", '6" pipe', "z"]
    assert stream.bad_rows.count == 1
    assert len(samples(CSVStream(put('a,b,y\n1,5" pipe,u\n2,6" pipe,v\n')))) == 2
    assert len(samples(CSVStream(put(text.replace(",", ";")), delimiter=";"))) == 3001


@pytest.mark.parametrize("max_record_bytes", [2048, 1 << 20])
@pytest.mark.parametrize("rows_between", ["1,q,v\n" * 3000, "1,q,v\n" * 3000 + '7,"t",u\n'])
def test_csv_skip_leaves_out_only_the_line_of_a_quote_that_never_closes(
    put, monkeypatch, rows_between, max_record_bytes
):
    """The quote closes nowhere, or where the next quoted field opens."""
    monkeypatch.setattr(records, "PIECE_BYTES", 1024)
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", max_record_bytes)
    path = put('a,b,y\n0,p,u\n0,"bad,u\n' + rows_between)
    stream = CSVStream(path, on_bad_row="skip")
    assert len(samples(stream)) == 1 + rows_between.count("\n")
    assert stream.bad_rows.count == 1
    assert "line 3" in stream.bad_rows.reasons[0]


@pytest.mark.parametrize("piece_bytes", range(8, 40))
def test_csv_records_of_several_quoted_lines_are_never_cut(put, monkeypatch, piece_bytes):
    monkeypatch.setattr(records, "PIECE_BYTES", piece_bytes)
    path = put("a,b,y\n" + '"p\nq","r\ns",u\n' * 5)
    assert samples(CSVStream(path)) == [({"a": "p\nq", "b": "r\ns"}, "u")] * 5


@pytest.mark.parametrize("quoted", ["{}", '"{}"'])
def test_csv_fields_may_be_long_whatever_stands_near_them(put, quoted):
    long = "x" * 200_000
    path = put(f"a,b,y\n1,{quoted.format(long)},u\n2\n3,q,v\n")
    stream = CSVStream(path, on_bad_row="skip")
    assert samples(stream) == [({"a": 1.0, "b": long}, "u"), ({"a": 3.0, "b": "q"}, "v")]
    assert stream.bad_rows.count == 1


def test_csv_header_whose_quote_never_closes_is_named(put):
    with pytest.raises(ValueError, match=r'a quote " is not closed'):
        CSVStream(put('a,"b,y\n' + "1,2,3\n" * 20_000))


FIELD = st.one_of(
    st.sampled_from(
        ["", "?", "NA", "1", "-0", "2.5", "1e400", "nan", "inf", " 7", "+3", "1_0", "x", " ", "true"]
    ),
    st.text(alphabet='ab", \n\r\té\x00', max_size=5),
)


@SLOW_MACHINE
@given(
    rows=st.lists(st.tuples(FIELD, FIELD, st.sampled_from(["u", "v", "a,b", 'q"'])), max_size=60),
    data=st.data(),
)
def test_csv_reads_what_the_csv_module_reads(tmp_path, rows, data):
    """The twin reads with Python's csv module; pieces are small, so that they end anywhere."""
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b", "y"], ["word", "word", "u"], *rows])
    path = tmp_path / "twin.csv"
    path.write_bytes(text.getvalue().encode())
    expected = []
    for a, b, y in [("word", "word", "u"), *rows]:
        x = {k: v for k, v in (("a", a), ("b", b)) if v.strip() not in files.MISSING}
        expected.append((x, y))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PIECE_BYTES", data.draw(st.sampled_from([50, 100, 1 << 20])))
        assert samples(CSVStream(path, nominal=["a", "b"])) == expected


@SLOW_MACHINE
@given(
    rows=st.lists(
        st.one_of(
            st.tuples(
                st.one_of(FIELD, MARK),
                st.one_of(FIELD, MARK),
                st.sampled_from(["0", "1.0", "", "?", "-", "x"]),
            ),
            st.just(("a", "b", "y")),
        ),
        max_size=60,
    ),
    quote=st.sampled_from(['"', None]),
    missing=st.sampled_from([files.MISSING, (*files.MISSING, "7", "word"), ("-999",)]),
)
def test_fast_and_slow_parsing_agree_on_any_rows(tmp_path, rows, quote, missing):
    """Whole pieces by pyarrow, or every row field by field: same samples, same bad rows."""
    text = "a,b,y\n1.5,word,0\n" + "".join(f"{a},{b},{y}\n" for a, b, y in rows)
    path = tmp_path / "wild.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))

    class SlowCSV(CSVStream):
        def _parse(self, data, limit):
            return None

    options = {"header": True, "quote": quote, "on_bad_row": "skip", "missing": missing}
    fast, slow = CSVStream(path, **options), SlowCSV(path, **options)
    assert samples(fast) == samples(slow)
    assert fast.features == slow.features
    assert fast.classes == slow.classes
    assert fast.bad_rows == slow.bad_rows


def test_csv_a_header_that_comes_again_is_found_among_names(put, small_pieces):
    """Where all columns are names, no field betrays it."""
    path = put("size,colour,y\n" + "big,red,yes\n" * 40 + "size,colour,y\r\nbig,size,y\n")
    with pytest.raises(ValueError, match=r"line 42: the names of the columns again.*header=False"):
        table(CSVStream(path))
    stream = CSVStream(path, on_bad_row="skip")
    assert samples(stream)[-1] == ({"size": "big", "colour": "size"}, "y")
    assert (stream.bad_rows.count, stream.n_classes) == (1, 2)


@TWO_PLACES
def test_csv_a_mark_among_labels_that_are_numbers_is_a_missing_label(put, small_pieces, n_before):
    stream = CSVStream(put("a,y\n" + "1,0\n" * n_before + "2,-\n3,1\n"), on_bad_row="skip")
    assert len(samples(stream)) == n_before + 1
    assert stream.classes == [0, 1]
    assert CSVStream(put("a,y\n1,None\n2,mild\n")).classes == ["None", "mild"], "here it is a name"


def test_csv_marks_are_names_among_names(put):
    assert samples(CSVStream(put("a,y\nNone,0\nred,1\n"))) == [({"a": "None"}, 0), ({"a": "red"}, 1)]


def test_csv_labels_and_names_that_are_one_number_are_one_value(put):
    stream = CSVStream(put("a,y\n1,0.5\n1.0,1\n2,1.0\n"), nominal=["a"])
    assert len(stream.features[0].values) == 2
    assert stream.classes == ["0.5", "1"]


def test_csv_any_number_of_blanks_may_stand_between_fields(put, small_pieces):
    path = put("a    b  y\n" + "  1.5 u   p \n2     v q\r\n" * 20 + '3 "light  blue" p\n', "t.data")
    rows = samples(open_file(path))
    assert rows[:2] == [({"a": 1.5, "b": "u"}, "p"), ({"a": 2.0, "b": "v"}, "q")]
    assert rows[-1] == ({"a": 3.0, "b": "light  blue"}, "p")
    assert len(rows) == 41


def test_csv_lines_that_all_end_in_the_delimiter(put):
    assert samples(CSVStream(put("a,y,\n1,p,\n2,q,\n"))) == [({"a": 1.0}, "p"), ({"a": 2.0}, "q")]
    assert CSVStream(put("a,y,\n1,p,5\n2,q,6\n")).classes == [5, 6], "here it is a column without a name"


@pytest.mark.parametrize("line", ["5.1,3.5,setosa", "0,tcp,0,normal"])
def test_csv_a_first_line_that_names_hardly_are_is_a_row(put, line):
    path = put(f"{line}\n" * 3)
    assert len(samples(CSVStream(path))) == 3
    assert CSVStream(put("0,1,class\n5.1,3.5,setosa\n")).target == "class", "pandas numbers columns so"


def test_csv_of_many_columns_takes_time_in_proportion(put):
    """50 000 of them took 24.6 s for one row: four times as many columns took eleven times as long."""

    def seconds(n):
        path = put(",".join(f"c{i}" for i in range(n)) + "\n" + ",".join(["1"] * n) + "\n")
        start = time.process_time()
        stream = CSVStream(path, drop=[f"c{i}" for i in range(0, n - 1, 2)])
        assert stream.n_features == n // 2 - 1
        return time.process_time() - start

    few = min(seconds(7_500) for _ in range(3))
    assert min(seconds(30_000) for _ in range(2)) < 8.0 * few


def test_a_line_of_blanks_is_no_row(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("a,y\n1,no\n   \n2,yes\n \n\n")
    assert list(open_file(file)) == [({"a": 1.0}, "no"), ({"a": 2.0}, "yes")]
