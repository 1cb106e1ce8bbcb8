"""Files of every kind: what opening tells, how they are packed, encoded and limited."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_rows import samples, save_as, table, write_ipc_stream

from streams.files import CSVStream, open_file, records


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
