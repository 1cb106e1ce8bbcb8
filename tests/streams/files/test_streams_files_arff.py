"""ARFF files: headers, values, comments, sparse rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_rows import MARK, SLOW_MACHINE, samples

from streams import Feature
from streams.files import ARFFStream, open_file

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
