"""Files as streams: what is read, what is refused, and that writing and reading give the same samples."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import itertools
import lzma
import math
import re
import time
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import Block, Feature, Stream, files
from streams.export import write
from streams.files import ARFFStream, ArrowStream, CSVStream, open_file, records
from streams.synthetic import SEA, AssetNegotiation

SLOW_MACHINE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class ArrayStream(Stream):
    """A stream over arrays in memory."""

    def __init__(self, X, y, features, classes):
        super().__init__(features=features, classes=classes, n_samples=len(y))
        self._block = Block(
            np.asarray(X, dtype=np.float64).reshape(len(y), len(features)), np.asarray(y, np.int64)
        )

    def reader(self):
        start = 0

        def read(n):
            nonlocal start
            block = Block(self._block.X[start : start + n], self._block.y[start : start + n])
            start += len(block.y)
            return block

        return read


def samples(stream):
    return list(stream)


def table(stream, size=1000):
    blocks = list(stream.blocks(size))
    return np.concatenate([b.X for b in blocks]), np.concatenate([b.y for b in blocks])


@pytest.fixture
def put(tmp_path):
    def write_text(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_text


# --- CSV ----------------------------------------------------------------------------------------------------


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
        ("a,y\n1,2\n", {"target": "z"}, r"no column 'z' for the target; columns: a, y"),
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


def test_new_values_and_labels_are_appended_as_they_come(put, monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 64)
    rows = [(f"v{i // 100}", i // 600) for i in range(3000)]
    path = put("a,y\n" + "".join(f"{a},{y}\n" for a, y in rows))
    stream = CSVStream(path)
    assert stream.n_classes == 2
    first = samples(stream)
    assert first == [({"a": a}, y) for a, y in rows]
    assert stream.classes == [0, 1, 2, 3, 4]
    assert stream.n_classes == 5
    assert stream.task == "Multi-class classification"
    assert samples(stream) == first
    assert samples(CSVStream(path)) == first


def test_a_limit_ends_the_reading_before_what_lies_behind(put):
    path = put("a,y\n1,u\n2,v\nbroken\n3,w\n")
    stream = CSVStream(path, n_samples=2)
    assert samples(stream) == [({"a": 1.0}, "u"), ({"a": 2.0}, "v")]
    assert stream.classes == ["u", "v"]
    assert stream.n_samples == 2
    whole = put("a,b,y\n1,p,u\n2,q,v\n3,r,w\n", "whole.csv")
    stream = CSVStream(whole, n_samples=2)
    assert (stream.classes, stream.features[1].values) == (["u", "v"], ["p", "q"])
    assert samples(CSVStream(whole, n_samples=0)) == []


def test_gz_and_zip_give_the_same_samples_and_the_same_fingerprint(tmp_path, put):
    text = b"a,y\n1,0\n2,1\n"
    plain = CSVStream(put(text))
    with gzip.open(tmp_path / "data.csv.gz", "wb") as file:
        file.write(text)
    with zipfile.ZipFile(tmp_path / "data.csv.zip", "w") as archive:
        archive.writestr("inner.csv", text)
    for name in ("data.csv.gz", "data.csv.zip"):
        packed = open_file(tmp_path / name)
        assert samples(packed) == samples(plain)
        assert packed.fingerprint() == plain.fingerprint() == hashlib.sha256(text).hexdigest()
    with zipfile.ZipFile(tmp_path / "two.csv.zip", "w") as archive:
        archive.writestr("a.csv", text)
        archive.writestr("b.csv", text)
    with pytest.raises(ValueError, match=r"holds 2 files \(a\.csv, b\.csv\)"):
        open_file(tmp_path / "two.csv.zip")


def test_fingerprint_tells_other_columns_of_a_file_apart(put):
    path = put("a,b,c,y\n1,2,3,0\n2,1,4,1\n")
    options = [{}, {"target": "a"}, {"target": "b"}, {"drop": ["a"]}, {"drop": ["b"]}, {"nominal": ["b"]}]
    assert len({CSVStream(path, **chosen).fingerprint() for chosen in options}) == len(options)
    assert CSVStream(path, -1).fingerprint() == CSVStream(path, "y").fingerprint()


def test_open_file_names_the_endings_it_knows(put):
    with pytest.raises(ValueError, match=r"data\.xls: unknown kind of file.*\.csv, .*\.gz.*\.feather"):
        open_file(put("", "data.xls"))
    with pytest.raises(FileNotFoundError):
        open_file("nowhere.csv")


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

MARK = st.sampled_from(
    ["-", "None", "<NA>", " - ", "-999", "-999.0", "7.0", "-inf", "\udcff", "\udce9t\udce9"]
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


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_both_views_and_all_block_sizes_give_the_same_samples(put, size):
    rng = np.random.default_rng(5)
    rows = [(rng.normal(), "pqr"[rng.integers(3)], rng.integers(4)) for _ in range(50)]
    stream = CSVStream(put("a,b,y\n" + "".join(f"{float(a)!r},{b},{y}\n" for a, b, y in rows)))
    X, y = table(stream, size)
    assert samples(stream) == [({"a": float(a), "b": b}, int(label)) for a, b, label in rows]
    names = stream.features[1].values
    assert [
        (v, names[int(code)], stream.classes[k]) for (v, code), k in zip(X.tolist(), y.tolist(), strict=True)
    ] == [(float(a), b, int(label)) for a, b, label in rows]


# --- ARFF ---------------------------------------------------------------------------------------------------

ARFF = r"""% a comment
@RELATION 'some weather'

@Attribute 'air temperature' REAL
@attribute	sky {grey, 'light blue', "it\'s"}
@attribute wind integer [0, 12]
@attribute note STRING
@attribute class{no,yes}
@DATA
% another
1.5, grey, 3, 'all well', yes
?,'light blue',?,?,no

 -1e3 , 'it\'s', 0, "50 %", no % calm
{0 2.5, 4 yes}
{1 'light blue', 3 'x, y'}
{}
"""


def test_arff_header_values_comments_and_sparse_rows(put):
    stream = open_file(put(ARFF, "weather.arff"))
    assert [f.name for f in stream.features] == ["air temperature", "sky", "wind", "note"]
    assert stream.features[1].values == ["grey", "light blue", "it's"]
    assert stream.features[3].values == ["all well", "50 %", "x, y"]
    assert stream.classes == ["no", "yes"]
    assert samples(stream) == [
        ({"air temperature": 1.5, "sky": "grey", "wind": 3.0, "note": "all well"}, "yes"),
        ({"sky": "light blue"}, "no"),
        ({"air temperature": -1000.0, "sky": "it's", "wind": 0.0, "note": "50 %"}, "no"),
        ({"air temperature": 2.5, "sky": "grey", "wind": 0.0}, "yes"),
        ({"air temperature": 0.0, "sky": "light blue", "wind": 0.0, "note": "x, y"}, "no"),
        ({"air temperature": 0.0, "sky": "grey", "wind": 0.0}, "no"),
    ]


def test_arff_declared_numbers_and_truths_keep_their_type_and_order(put):
    path = put(
        "@relation r\n@attribute d {3,1,2}\n@attribute t {true,false}\n@attribute c {a,1}\n"
        "@attribute n numeric\n@data\n1,false,1,7\n2,true,a,8\n",
        "a.arff",
    )
    stream = ARFFStream(path)
    assert [f.values for f in stream.features] == [[3, 1, 2], [True, False], ["a", "1"]]
    assert samples(stream) == [({"d": 1, "t": False, "c": "1"}, 7), ({"d": 2, "t": True, "c": "a"}, 8)]
    assert ARFFStream(path, "d").classes == [3, 1, 2]


def test_arff_quoted_question_mark_is_a_value(put):
    path = put("@relation r\n@attribute a {'?',b}\n@attribute y {0,1}\n@data\n'?',0\n?,1\nb,1\n", "a.arff")
    assert samples(ARFFStream(path)) == [({"a": "?"}, 0), ({}, 1), ({"a": "b"}, 1)]


HEADER = "@relation r\n@attribute a numeric\n@attribute b {u,v}\n@attribute y {0,1}\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,w,0", r"line 7, column 'b': 'w' is not declared; allowed: 'u', 'v'"),
        ("1,u,2", r"line 7, column 'y': '2' is not declared"),
        ("one,u,0", r"line 7, column 'a': 'one' is not a number"),
        ("1,u", r"line 7: 2 fields, but there are 3 columns"),
        ("1,u,?", r"line 7, column 'y': the class label is missing"),
        ("1,'u,0", r"line 7: cannot read \"'u,0\""),
        ("{0 1, 2 1", r"line 7: a sparse row without its closing brace"),
        ("{0 1, 3 1}", r"line 7: index 3, but there are 3 attributes"),
        ("{0 1, 2 1}, {5}", r"line 7: weights of rows are not supported"),
        ("{zero 1}", r"line 7: cannot read 'zero 1'"),
    ],
)
def test_arff_malformed_row_is_named_or_skipped(put, row, reason):
    path = put(HEADER + f"@data\n1,u,0\n{row}\n2,v,1\n", "bad.arff")
    with pytest.raises(ValueError, match=rf"bad\.arff, {reason}"):
        ARFFStream(path)
    stream = ARFFStream(path, on_bad_row="skip")
    assert samples(stream) == [({"a": 1.0, "b": "u"}, 0), ({"a": 2.0, "b": "v"}, 1)]
    assert stream.bad_rows.count == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "@relation r\n@attribute t date 'yyyy'\n@attribute y {0}\n@data\n",
            r"line 2, attribute 't'.*'date'.*drop=\['t'\]",
        ),
        ("@relation r\n@attribute\n@data\n", r"line 2: cannot read '@attribute'"),
        ("@relation r\n@attribute a {u,v\n@data\n", r"line 2: the values of 'a' have no closing brace"),
        ("@relation r\nattribute a real\n", r"line 2: 'attribute a real' in the header"),
        ("@relation r\n@data\n", r"line 2: @data before any @attribute"),
        ("@relation r\n@attribute a real\n", r"no line @data"),
    ],
)
def test_arff_malformed_header_is_named(put, text, message):
    with pytest.raises(ValueError, match=message):
        ARFFStream(put(text, "bad.arff"))


def test_arff_comment_after_a_quoted_sparse_row(put):
    path = put(HEADER + "@data\n{0 3, 1 'v'} % note\n{0 4, 2 1}\n", "c.arff")
    assert samples(ARFFStream(path)) == [({"a": 3.0, "b": "v"}, 0), ({"a": 4.0, "b": "u"}, 1)]


def test_arff_date_can_be_dropped(put):
    path = put(
        "@relation r\n@attribute t date\n@attribute a real\n@attribute y {0,1}\n@data\n'2020-01-01',1,0\n",
        "d.arff",
    )
    assert samples(ARFFStream(path, drop=["t"])) == [({"a": 1.0}, 0)]


def test_arff_classes_are_refused_where_they_are_declared(put):
    with pytest.raises(ValueError, match=r"declares \[0, 1\]; leave classes out"):
        ARFFStream(put(HEADER + "@data\n1,u,0\n", "a.arff"), classes=[1, 0])


ARFF_FIELD = st.one_of(
    st.sampled_from(
        ["u", "'u'", "v", " u ", "?", "'?'", "w", "1", "2.5", "'3'", "", "u % c", "nan", "it's", "' u'"]
    ),
    st.text(alphabet="uv', \"\\%{}\r", max_size=4),
)


@SLOW_MACHINE
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(ARFF_FIELD, MARK), ARFF_FIELD, st.one_of(ARFF_FIELD, MARK), st.sampled_from("01?")
        ),
        max_size=40,
    ),
    between=st.sampled_from([",", " , ", " ", "\t "]),
    end=st.sampled_from(["", ",", " , ", ",\r", " "]),
)
def test_arff_fast_and_slow_parsing_agree_on_any_rows(tmp_path, rows, between, end):
    path = tmp_path / "wild.arff"
    header = HEADER.replace("@attribute y", "@attribute s string\n@attribute y")
    text = header + "@data\n" + "".join(between.join(row) + end + "\n" for row in rows)
    path.write_bytes(text.encode(errors="surrogateescape"))

    class SlowARFF(ARFFStream):
        def _parse(self, data, limit):
            return None

    fast, slow = ARFFStream(path, on_bad_row="skip"), SlowARFF(path, on_bad_row="skip")
    assert samples(fast) == samples(slow)
    assert fast.features == slow.features
    assert fast.bad_rows == slow.bad_rows


# --- Parquet and Arrow --------------------------------------------------------------------------------------


def arrow_table():
    return pa.table(
        {
            "i": pa.array([1, 2, None, 4], pa.int32()),
            "f": pa.array([0.5, None, float("nan"), 4.0]),
            "s": pa.array(["p", None, "q", "p"]),
            "d": pa.array(["m", "n", "n", "m"]).dictionary_encode(),
            "b": pa.array([True, False, None, True]),
            "y": pa.array([3, 1, 3, 2]),
        }
    )


def write_ipc_stream(table, path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("t.parquet", lambda table, path: pq.write_table(table, path, row_group_size=3)),
        ("t.feather", pyarrow.feather.write_feather),
        ("t.arrow", write_ipc_stream),
    ],
)
def test_arrow_files(tmp_path, name, save):
    save(arrow_table(), tmp_path / name)
    stream = open_file(tmp_path / name)
    assert samples(stream) == [
        ({"i": 1.0, "f": 0.5, "s": "p", "d": "m", "b": True}, 3),
        ({"i": 2.0, "d": "n", "b": False}, 1),
        ({"s": "q", "d": "n"}, 3),
        ({"i": 4.0, "f": 4.0, "s": "p", "d": "m", "b": True}, 2),
    ]
    assert stream.classes == [3, 1, 2]
    assert stream.n_samples == (4 if name.endswith("parquet") else None)
    assert samples(open_file(tmp_path / name, "d", drop=["s"], nominal=["i"], n_samples=2)) == [
        ({"i": "1", "f": 0.5, "b": True, "y": 3.0}, "m"),
        ({"i": "2", "b": False, "y": 1.0}, "n"),
    ]
    assert stream.fingerprint() == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_arrow_float_labels_that_are_whole_are_ints(tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0], "y": [0.0, 1.0]}), tmp_path / "t.parquet")
    labels = ArrowStream(tmp_path / "t.parquet").classes
    assert labels == [0, 1]
    assert all(type(label) is int for label in labels)


def test_arrow_missing_label_is_named_or_skipped(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"a": [1, 2, 3, 4, 5], "y": [0.0, None, 1.0, float("nan"), 0.0]}), path, row_group_size=2
    )
    with pytest.raises(ValueError, match=r"t\.parquet, row 2, column 'y': the class label is missing"):
        ArrowStream(path)
    stream = ArrowStream(path, on_bad_row="skip")
    assert samples(stream) == [({"a": 1.0}, 0), ({"a": 3.0}, 1), ({"a": 5.0}, 0)]
    assert stream.bad_rows.count == 2
    assert "row 4" in stream.bad_rows.reasons[1]
    limited = ArrowStream(path, on_bad_row="skip", n_samples=2)
    assert samples(limited) == samples(stream)[:2]


def test_arrow_column_that_is_neither_number_nor_text(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": pa.array([0], pa.timestamp("s")), "a": [1], "y": [0]}), path)
    with pytest.raises(ValueError, match=r"column 't': of type timestamp\[.*drop=\['t'\]"):
        ArrowStream(path)
    assert samples(ArrowStream(path, drop=["t"])) == [({"a": 1.0}, 0)]


def test_arrow_string_views_as_polars_writes_them(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": ["p", None, "q"], "b": [1, 2, 3], "y": ["u", "v", "u"]})
    frame.write_ipc(tmp_path / "t.arrow")
    assert samples(open_file(tmp_path / "t.arrow")) == [
        ({"a": "p", "b": 1.0}, "u"),
        ({"b": 2.0}, "v"),
        ({"a": "q", "b": 3.0}, "u"),
    ]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_arrow_nan_in_a_nominal_column_is_missing(tmp_path, name):
    table = pa.table({"a": [1.0, math.nan, 2.5], "y": [0, 1, 0]})
    if name.endswith("parquet"):
        pq.write_table(table, tmp_path / name)
    else:
        write_ipc_stream(table, tmp_path / name)
    stream = open_file(tmp_path / name, nominal=["a"])
    assert samples(stream) == [({"a": "1"}, 0), ({}, 1), ({"a": "2.5"}, 0)]
    assert stream.features[0].values == ["1", "2.5"]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_arrow_file_of_another_kind_is_refused(put, name):
    with pytest.raises(ValueError, match=rf"{name}: not a Parquet or Arrow file"):
        open_file(put("a,y\n1,2\n", name))


def test_parquet_memory_does_not_grow_with_the_row_group(tmp_path):
    n_rows, n_columns = 1_500_000, 3
    numbers = np.random.default_rng(1).normal(size=(n_columns, n_rows))
    table = pa.table({**{f"x{j}": column for j, column in enumerate(numbers)}, "y": np.arange(n_rows) % 2})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=n_rows)
    del table
    before = pa.total_allocated_bytes()
    blocks = ArrowStream(tmp_path / "t.parquet").blocks()
    next(blocks)
    assert pa.total_allocated_bytes() - before < numbers.nbytes / 2


def save_gz(path):
    path.write_bytes(gzip.compress(b"a,y\n" + b"".join(b"%d,1\n" % i for i in range(50_000))))


def save_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"a,y\n" + b"".join(b"%d,1\n" % i for i in range(50_000)))


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("t.csv.gz", save_gz),
        ("t.csv.zip", save_zip),
        ("t.parquet", lambda path: pq.write_table(many_numbers(), path)),
        ("t.arrow", lambda path: write_ipc_stream(many_numbers(), path)),
    ],
)
def test_corrupt_files_are_named(tmp_path, name, save, damage):
    path = tmp_path / name
    save(path)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        content[:middle] if damage == "cut" else content[:middle] + bytes(50) + content[middle + 50 :]
    )
    if name == "t.arrow" and damage == "overwritten":
        path.write_bytes(content[:40] + b"\xff" * 300 + content[340:])
    with pytest.raises(ValueError, match=rf"{name}"):
        table(open_file(path))


def many_numbers():
    return pa.table({"a": np.random.default_rng(1).normal(size=50), "y": np.arange(50) % 2})


# --- what may be meant otherwise ----------------------------------------------------------------------------

TWO_PLACES = pytest.mark.parametrize("n_before", [1, 40], ids=["first piece", "later piece"])
"""Rows before the odd one: it lies in the first 200 bytes of a file, which decide on its columns, or behind them."""


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 200)


def save_as(name, tmp_path, rows):
    """Write rows of the columns a, b (text) and y, given as texts, to a file of some kind; return its path."""
    path = tmp_path / name
    if name.endswith(".arff"):
        head = "@relation r\n@attribute a numeric\n@attribute b string\n@attribute y string\n@data\n"
        path.write_text(head + "".join(",".join(row) + "\n" for row in rows))
    elif name.endswith(".jsonl"):
        path.write_text("".join(f'{{"a": {a}, "b": "{b}", "y": "{y}"}}\n' for a, b, y in rows))
    elif name.endswith(".parquet"):
        a, b, y = zip(*rows, strict=True)
        columns = {"a": [float(text) for text in a], "b": list(b), "y": list(y)}
        pq.write_table(pa.table(columns), path, row_group_size=5)
    else:
        path.write_text("a,b,y\n" + "".join(",".join(row) + "\n" for row in rows))
    return path


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


# --- relatives of the files in tests/cases ------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.arff"])
@pytest.mark.parametrize(
    ("encoding", "word", "advice"),
    [("latin-1", "été", "latin-1"), ("cp1252", "\u201cété\u201d", "cp1252"), ("utf-16", "été", None)],
)
def test_text_in_another_encoding_is_refused_with_advice_or_read_as_told(
    tmp_path, name, encoding, word, advice
):
    path = save_as(name, tmp_path, [("1", "WORD", "p"), ("2", "v", "q")])
    path.write_bytes(path.read_text().replace("WORD", word).encode(encoding))
    if advice is not None:
        with pytest.raises(
            ValueError, match=rf"line \d, column 'b': byte 0x.* is not UTF-8; .*encoding='{advice}'"
        ):
            open_file(path)
        assert samples(open_file(path, on_bad_row="skip")) == [({"a": 2.0, "b": "v"}, "q")]
        assert samples(open_file(path, drop=["b"])) == [({"a": 1.0}, "p"), ({"a": 2.0}, "q")]
    stream = open_file(path, encoding=encoding)
    assert samples(stream) == [({"a": 1.0, "b": word}, "p"), ({"a": 2.0, "b": "v"}, "q")]


def test_utf_16_without_a_word_is_refused_with_advice(put):
    for text in ("a,y\n1,p\n", "@relation r\n"):
        for name in ("t.csv", "t.arff", "t.jsonl", "t.txt"):
            with pytest.raises(ValueError, match="encoding='utf-16'"):
                open_file(put(text.encode("utf-16"), name))


def test_an_encoding_that_does_not_fit_is_named(put):
    with pytest.raises(ValueError, match="encoding='klingon' is unknown; choose one such as 'utf-8'"):
        open_file(put("a,y\n1,p\n"), encoding="klingon")
    with pytest.raises(ValueError, match="encoding='hex' is unknown"):
        open_file(put("a,y\n1,p\n"), encoding="hex")
    with pytest.raises(ValueError, match=r"data\.csv is not in encoding='utf-16'"):
        open_file(put("a,y\n1,p\n2,q\n"), encoding="utf-16")
    with pytest.raises(ValueError, match=r"byte 0xe9 is not ASCII; .*encoding='latin-1'"):
        open_file(put("a,y\n1,p\xe9\n".encode("latin-1")), encoding="ascii")


ARFF_TWO = "@relation r\n@attribute a numeric\n@attribute y {yes,no}\n"


@pytest.mark.parametrize(
    ("end", "n_rows"),
    [
        ("@data\n1,yes\n", 1),
        ("@DATA 1,yes % first\n2,no\n", 2),
        ("@data % a comment, {1}\n1,yes\n", 1),
        ("@data {0 1, 1 no}\n1,yes", 2),
        ("@data 1,yes", 1),
        ("@data\r\n1,yes,\r\n2,no,\r\n", 2),
        ("@data\n1,yes,% \xe9t\xe9\n2,no , \n", 2),
        ("@data\n1 yes\n\t2\tno\n 3,no\n4 ,'yes' % c\n", 4),
        ("@data\n1 'yes'\n2,\"no\",\n", 2),
    ],
)
def test_arff_rows_as_weka_and_moa_have_them(put, end, n_rows):
    stream = ARFFStream(put((ARFF_TWO + end).encode("latin-1"), "t.arff"))
    labels = {1.0: "yes", 2.0: "no", 3.0: "no", 4.0: "yes"}
    rows = samples(stream)
    assert len(rows) == n_rows
    if "{0 1" not in end:
        assert rows == [({"a": a}, labels[a]) for a in list(labels)[:n_rows]]


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("{u,v} % {w}", ["u", "v"]),
        ("{'}',v} %}", ["}", "v"]),
        ("{u v}", ["u", "v"]),
        ("{'light blue' v}", ["light blue", "v"]),
        ("{light blue, v}", ["light blue", "v"]),
        ("{u,v,}", ["u", "v"]),
        ("{1,1.0,2}", [1, 2]),
        ("numeric%{u,v}", None),
        ("real[0,5] % {", None),
    ],
)
def test_arff_declarations_as_weka_and_moa_have_them(put, spec, values):
    text = f"@relation r\n@attribute b {spec}\n@attribute y {{p,q}}\n@data\n?,p\n"
    assert ARFFStream(put(text, "t.arff")).features == [Feature("b", values)]


def test_arff_something_behind_the_braces_is_named(put):
    with pytest.raises(ValueError, match=r"line 2, attribute 'b': '\{0\.5\}' after the closing brace"):
        ARFFStream(put("@relation r\n@attribute b {u,v} {0.5}\n@data\n", "t.arff"))


def test_arrow_the_index_of_pandas_is_a_column_where_it_is_asked_for(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "y": ["p", "q"]}, index=pandas.Index(["k", "l"], name="id"))
    for name in ("t.pq", "t.feather"):
        (frame.to_parquet if name == "t.pq" else lambda path: pyarrow.feather.write_feather(frame, path))(
            tmp_path / name
        )
        stream = open_file(tmp_path / name)
        assert samples(stream) == [({"a": 1.0}, "p"), ({"a": 2.0}, "q")]
        assert samples(open_file(tmp_path / name, 0))[0] == ({"y": "p"}, 1)
    assert open_file(tmp_path / "t.pq", "id").classes == ["k", "l"]
    assert open_file(tmp_path / "t.pq", nominal=["id"]).target == "id"
    frame.reset_index(drop=True).to_parquet(tmp_path / "t.pq")  # an index that is no column
    assert samples(open_file(tmp_path / "t.pq")) == [({"a": 1.0}, "p"), ({"a": 2.0}, "q")]


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
        ('{"a": 1', r"line 3: no JSON"),
        ("[1, 2]", r"line 3: '\[1, 2\]' is no JSON object"),
        ('{"a": [1], "y": 1}', r"line 3, 'a': .* holds a list or an object"),
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


PACKERS = {
    "": lambda text: text,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": lambda text: zipped(text),
}


def zipped(text):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("inner", text)
    return raw.getvalue()


@pytest.mark.parametrize("packed", list(PACKERS))
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "a,b,y\n1,u,p\n2,v,q\n"),
        ("t.tsv", "a\tb\ty\n1\tu\tp\n2\tv\tq\n"),
        ("t.txt", "a;b;y\n1;u;p\n2;v;q\n"),
        ("t.txt", "a b y\n1 u p\n2 v q\n"),
        ("t.data", "a|b|y\n1|u|p\n2|v|q\n"),
        ("t.data", '{"a": 1, "b": "u", "y": "p"}\n{"a": 2, "b": "v", "y": "q"}\n'),
        (
            "t.arff",
            "@relation r\n@attribute a real\n@attribute b {u,v}\n@attribute y {p,q}\n@data\n1,u,p\n2,v,q\n",
        ),
        (
            "t.txt",
            "% c\n@relation r\n@attribute a real\n@attribute b {u,v}\n@attribute y {p,q}\n@data\n1,u,p\n2,v,q\n",
        ),
        ("t.jsonl", '{"a": 1, "b": "u", "y": "p"}\n{"a": 2, "b": "v", "y": "q"}\n'),
        ("t", "a,b,y\n1,u,p\n2,v,q\n"),
    ],
)
def test_the_ending_or_the_first_line_tells_the_kind_of_file(put, name, text, packed):
    if name + packed == "t":
        return
    path = put(PACKERS[packed](text.encode()), name + packed)
    assert samples(open_file(path)) == [({"a": 1.0, "b": "u"}, "p"), ({"a": 2.0, "b": "v"}, "q")]


def test_options_of_another_kind_of_file_are_named(put, tmp_path):
    with pytest.raises(ValueError, match="delimiter is for CSV files"):
        open_file(put('{"a": 1, "y": 2}\n', "t.jsonl"), delimiter=";")
    with pytest.raises(ValueError, match="encoding is for files of text"):
        open_file(save_as("t.parquet", tmp_path, [("1", "u", "p")]), encoding="latin-1")


def test_csv_of_many_columns_takes_time_in_proportion(put):
    """50 000 of them took 24.6 s for one row."""
    n = 30_000
    path = put(",".join(f"c{i}" for i in range(n)) + "\n" + ",".join(["1"] * n) + "\n")
    start = time.process_time()
    stream = CSVStream(path, drop=[f"c{i}" for i in range(0, n - 1, 2)])
    assert time.process_time() - start < 5.0  # 9 s before; 1 s now
    assert stream.n_features == n // 2 - 1


# --- writing and reading back -------------------------------------------------------------------------------

NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUE_NAME = NAME.filter(lambda text: text.strip() not in files.MISSING and text[-1] not in ";|\t")
WORDS = st.one_of(
    st.lists(VALUE_NAME.map(lambda t: "w" + t), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=4, unique=True),
    st.permutations([True, False]),
)


@st.composite
def array_streams(draw):
    """Draw a stream with any finite float64 or NaN, names that need quotes, missing values and several classes."""
    kinds = draw(st.lists(st.one_of(st.none(), WORDS), min_size=1, max_size=4))
    names = draw(
        st.lists(
            NAME.filter(lambda t: t == t.strip() and t != "class"),
            min_size=len(kinds),
            max_size=len(kinds),
            unique=True,
        )
    )
    classes = draw(WORDS)
    n = draw(st.integers(1, 12))
    columns = [
        draw(
            st.lists(
                st.floats(allow_infinity=False)
                if values is None
                else st.sampled_from([math.nan, *range(len(values))]),
                min_size=n,
                max_size=n,
            )
        )
        for values in kinds
    ]
    y = draw(st.lists(st.integers(0, len(classes) - 1), min_size=n, max_size=n))
    features = [Feature(name, values) for name, values in zip(names, kinds, strict=True)]
    return ArrayStream(np.array(columns).T, y, features, classes)


def typed(stream):
    """Samples with the type of each value, for `True == 1` and `0.0 == -0.0`."""
    return [({k: (type(v), repr(v)) for k, v in x.items()}, (type(y), y)) for x, y in stream]


@SLOW_MACHINE
@given(stream=array_streams())
def test_csv_round_trip(tmp_path, stream):
    path = tmp_path / "t.csv"
    assert write(stream, path) == stream.n_samples
    nominal = [feature.name for feature in stream.features if feature.is_nominal]
    expected = [({k: str(v) if type(v) is int else v for k, v in x.items()}, y) for x, y in stream]
    assert typed(CSVStream(path, header=True, nominal=nominal)) == typed(expected)


@SLOW_MACHINE
@given(stream=array_streams())
def test_arff_round_trip(tmp_path, stream):
    path = tmp_path / "t.arff"
    write(stream, path)
    back = ARFFStream(path)
    assert typed(back) == typed(stream)
    assert (back.features, back.classes) == (stream.features, stream.classes)


@SLOW_MACHINE
@given(stream=array_streams())
def test_parquet_round_trip(tmp_path, stream):
    path = tmp_path / "t.parquet"
    write(stream, path)
    back = ArrowStream(path)
    assert typed(back) == typed(stream)
    assert (back.features, back.classes) == (stream.features, stream.classes)
    assert back.n_samples == stream.n_samples


def numbers(n=10):
    return ArrayStream(
        np.arange(2.0 * n).reshape(n, 2), np.arange(n) % 2, [Feature("a"), Feature("b")], ["u", "v"]
    )


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.arff", "t.arff.gz", "t.parquet"])
def test_write_stops_at_the_limit_and_reports_progress(tmp_path, name):
    seen = []
    assert write(numbers(), tmp_path / name, n_samples=7, target="label", progress=seen.append) == 7
    back = open_file(tmp_path / name)
    assert back.target == "label"
    assert samples(back) == samples(numbers())[:7]
    assert seen == [7]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_written_gz_is_the_same_file_each_time(tmp_path):
    write(numbers(), tmp_path / "a.csv.gz")
    write(numbers(), tmp_path / "b.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_arff_declares_values_that_appear_late(put, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 32)
    path = put("a,y\n" + "".join(f"v{i},{i}\n" for i in range(40)))
    write(CSVStream(path), tmp_path / "t.arff")
    assert samples(ARFFStream(tmp_path / "t.arff")) == samples(CSVStream(path))
    assert ARFFStream(tmp_path / "t.arff").classes == list(range(40))


def test_a_failed_write_leaves_the_old_file_alone(put, tmp_path):
    old = put("old", "t.csv")
    bad = ArrayStream([[0.0]], [0], [Feature("a", ["NA"])], [0])
    with pytest.raises(ValueError, match=r"the value 'NA' would be read from CSV as missing"):
        write(bad, old)
    assert old.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_write_names_what_it_cannot_do(tmp_path):
    with pytest.raises(ValueError, match=r"t\.xls: cannot be written.*\.parquet"):
        write(numbers(), tmp_path / "t.xls")
    with pytest.raises(ValueError, match=r"target='a' is the name of a feature"):
        write(numbers(), tmp_path / "t.csv", target="a")
    with pytest.raises(ValueError, match=r"n_samples=-1; choose 0 or more"):
        write(numbers(), tmp_path / "t.csv", n_samples=-1)
    with pytest.raises(ValueError, match=r"SEA has no end; say in n_samples"):
        write(SEA(seed=1), tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
    mixed = ArrayStream([[0.0]], [0], [Feature("a", [1, "b"])], [0])
    with pytest.raises(
        ValueError, match=r"column 'a' holds values of type int, str; a Parquet column holds one"
    ):
        write(mixed, tmp_path / "t.parquet")


def test_csv_carries_no_types(tmp_path):
    """The payment, "30" and so on, comes back as a number, or as the name 30 if asked for."""
    stream = AssetNegotiation(seed=1)
    path = tmp_path / "t.csv"
    write(stream, path, n_samples=500)
    expected = [({k: str(v) for k, v in x.items()}, y) for x, y in itertools.islice(stream, 500)]
    assert not CSVStream(path).features[2].is_nominal
    back = CSVStream(path, nominal=["payment"])
    assert all(type(value) is str for value in back.features[2].values)
    assert [({k: str(v) for k, v in x.items()}, y) for x, y in back] == expected


def test_an_empty_stream_can_be_written_and_read(tmp_path):
    for name in ("t.csv", "t.arff", "t.parquet"):
        assert write(numbers(), tmp_path / name, n_samples=0) == 0
        assert samples(open_file(tmp_path / name)) == []
