"""Real sets of which copies circulate: each form is found, checked and read; what is known of each set is told."""

from __future__ import annotations

import gzip
import os
import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_sources import files_in, shrink
from typer.testing import CliRunner

from driftmoe.cli import app
from streams import real
from streams.circulating import CIRCULATING

pytestmark = pytest.mark.usefixtures("cache")

ROWS = [([round(0.1 * i + j, 1) for j in range(27)], i % 10) for i in range(30)]


def as_csv():
    lines = [",".join(f"att{i}" for i in range(27)) + ",class"]
    return "\n".join([*lines, *(",".join(map(str, [*x, y])) for x, y in ROWS)]) + "\n"


def as_arff():
    lines = ["@relation rialto", *(f"@attribute att{i} numeric" for i in range(27))]
    lines += ["@attribute class {0,1,2,3,4,5,6,7,8,9}", "@data"]
    return "\n".join([*lines, *(",".join(map(str, [*x, y])) for x, y in ROWS)]) + "\n"


@pytest.fixture(scope="session")
def given():
    """Folder of the data files that whoever runs the tests has."""
    folder = os.environ.get(real.DATA_DIR_VARIABLE)
    if not folder:
        pytest.skip(f"needs the real files: set ${real.DATA_DIR_VARIABLE} to their folder")
    return Path(folder)


def put(folder, name):
    """Write the samples in the form that the name of a file says."""
    text = (as_arff() if ".arff" in name else as_csv()).encode()
    if name.endswith(".gz"):
        text = gzip.compress(text)
    if name.endswith(".zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(name.removesuffix(".zip"), text)
    else:
        (folder / name).write_bytes(text)


@pytest.mark.parametrize(
    "name",
    ["rialto.csv", "rialto.csv.gz", "rialto.csv.zip", "rialto.arff", "rialto.arff.gz", "rialto.arff.zip"],
)
def test_a_set_is_found_in_each_form_in_which_it_circulates(tmp_path, monkeypatch, name):
    shrink(monkeypatch, "rialto", 30, n_classes=10)
    put(tmp_path, name)
    stream = real.RealStream("rialto", data_dir=tmp_path)
    (block,) = stream.blocks(100)
    assert stream.path == tmp_path / name
    assert block.X.tolist() == [x for x, _ in ROWS]
    assert [stream.classes[i] for i in block.y] == [y for _, y in ROWS]
    assert stream.classes == list(range(10))


def test_another_form_has_a_hash_of_its_own_and_other_content_is_refused(cache, tmp_path, monkeypatch):
    shrink(monkeypatch, "rialto", 30, n_classes=10)
    for name in ("rialto.csv", "rialto.arff"):
        put(tmp_path, name)
        real.fetch("rialto", from_file=tmp_path / name)
    assert files_in(cache) == ["rialto.arff", "rialto.arff.sha256", "rialto.csv", "rialto.csv.sha256"]
    text = (cache / "rialto.arff").read_text()
    (cache / "rialto.csv").unlink()
    (cache / "rialto.arff").write_text(text.replace("0.1,", "0.2,", 1))
    with pytest.raises(ValueError, match=r"rialto.arff has SHA-256 .*, but the copy .* came first had"):
        real.fetch("rialto")


def test_another_form_with_other_rows_is_refused(tmp_path):
    put(tmp_path, "rialto.arff")
    with pytest.raises(ValueError, match=r"rialto.arff has 30 rows, but rialto.csv has 82,250"):
        real.fetch("rialto", data_dir=tmp_path)


def test_a_known_hash_is_not_asked_of_another_form(tmp_path, monkeypatch):
    shrink(monkeypatch, "usenet1", 2, n_classes=2)
    assert real.SOURCES["usenet1"].sha256 is not None
    names = ",".join([*(f"w{i}" for i in range(99)), "class"])
    rows = [",".join(["0"] * 98 + ["1", "1"]), ",".join(["1"] * 99 + ["0"])]
    (tmp_path / "usenet1.csv").write_text("\n".join([names, *rows]) + "\n")
    stream = real.RealStream("usenet1", data_dir=tmp_path)
    assert [y for _, y in stream] == [1, 0]
    assert stream.fingerprint() != real.SOURCES["usenet1"].sha256


def test_the_insects_are_found_as_they_were_published(tmp_path, monkeypatch):
    shrink(monkeypatch, "insects_incremental_reoccurring_imbalanced", 12, n_classes=6)
    lines = [
        "@relation i",
        *(f"@attribute Att{i} numeric" for i in range(33)),
        "@attribute class {a,b,c,d,e,f}",
    ]
    lines += ["@data", *(",".join(["0.5"] * 33 + ["abcdef"[i % 6]]) for i in range(12))]
    (tmp_path / "INSECTS-incremental-reoccurring_imbalanced_norm.arff").write_text("\n".join(lines) + "\n")
    stream = real.RealStream("insects_incremental_reoccurring_imbalanced", data_dir=tmp_path)
    assert [y for _, y in stream] == list("abcdefabcdef")


def test_ozone_has_no_line_of_names_and_leaves_the_date_out(tmp_path, monkeypatch):
    shrink(monkeypatch, "ozone", 2, n_classes=2)
    rows = [",".join([f"1/{day}/1998", *["0.5"] * 71, "?", f"{day - 1}."]) for day in (1, 2)]
    (tmp_path / "eighthr.data").write_text("\n".join(rows))
    stream = real.RealStream("ozone", data_dir=tmp_path)
    (x, y), (_, last) = stream
    assert (len(x), y, last, stream.n_features) == (71, 0.0, 1.0, 72)


@pytest.mark.parametrize(
    ("name", "numbers", "begin"),
    [
        (
            "WISDM_ar_v1.1_transformed.arff",
            '@attribute "UNIQUE_ID" numeric\n@attribute "user" {"33" , "17", "29"}\n',
            "{i},33,",
        ),
        ("wisdm.arff", "", ""),
    ],
)
def test_wisdm_is_read_as_published_and_without_the_numbers_of_sample_and_person(
    tmp_path, monkeypatch, name, numbers, begin
):
    shrink(monkeypatch, "wisdm", 6, n_classes=6)
    activities = ["Walking", "Jogging", "Upstairs", "Downstairs", "Sitting", "Standing"]
    header = numbers + "".join(f'@attribute "X{i}" numeric\n' for i in range(43))
    declared = " , ".join(f'"{activity}"' for activity in activities)
    rows = [begin.format(i=i + 1) + "?," + "0.5," * 42 + activity for i, activity in enumerate(activities)]
    (tmp_path / name).write_text(
        f'@relation w\n{header}@attribute "class" {{ {declared} }}\n@data\n' + "\n".join(rows) + "\n"
    )
    stream = real.RealStream("wisdm", data_dir=tmp_path)
    assert [y for _, y in stream] == activities
    assert [feature.name for feature in stream.features] == [f"X{i}" for i in range(43)]


@pytest.mark.parametrize("name", real.SOURCES)
def test_each_set_says_what_to_cite_and_invents_no_hash(name):
    source = real.SOURCES[name]
    assert re.search(r"\((19|20)\d\d\)", source.citation)
    assert source.licence in ("", "CC BY 4.0") or name in WITH_CONDITIONS
    for digest in (source.sha256, source.parquet_sha256):
        assert digest is None or re.fullmatch("[0-9a-f]{64}", digest)
    assert source.sha256 or source.n_bytes or source.n_classes or name == "sensor"


WITH_CONDITIONS = {"gas": "commercial purposes excluded", "luxembourg": "NC", "wisdm": "readme.txt"}
"""What the authors ask, by their pages: UCI's of the gas sensors, the European Social Survey's, and WISDM's."""


@pytest.mark.parametrize("name", WITH_CONDITIONS)
def test_conditions_of_authors_are_told(name):
    assert WITH_CONDITIONS[name] in real.SOURCES[name].licence


def test_show_tells_licence_citation_and_labels_that_come_in_order(tmp_path, monkeypatch):
    shrink(monkeypatch, "rialto", 30, n_classes=10)
    put(tmp_path, "rialto.arff")
    done = CliRunner().invoke(app, ["streams", "show", "rialto", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "Licence: not stated where the data are published" in text
    assert "Cite: V. Losing, B. Hammer, H. Wersing (2016). KNN classifier" in text
    assert "Warning: the labels come in an order" in text
    assert max(map(len, done.output.splitlines())) <= 80


def test_show_tells_licence_and_citation_of_a_set_that_is_not_at_hand(tmp_path):
    done = CliRunner().invoke(app, ["streams", "show", "wisdm", "--data-dir", str(tmp_path)])
    assert done.exit_code == 2
    text = " ".join(done.output.split())
    assert "Licence: none named; its authors ask to cite the paper" in text
    assert "Cite: J. Kwapisz" in text
    assert "Licence" not in CliRunner().invoke(app, ["streams", "show", "no such stream"]).output


def test_the_list_has_all_sets():
    done = CliRunner().invoke(app, ["streams", "list"])
    assert set(CIRCULATING) <= set(done.output.splitlines())
    assert "82,250 samples, 27 features, 10 classes" in done.output


# The files themselves, where they are at hand


def test_rialto_holds_the_known_rows(given):
    if not (given / "rialto.parquet").is_file():
        pytest.skip(f"no rialto.parquet in {given}")
    stream = real.RealStream("rialto", data_dir=given)
    y = np.concatenate([block.y for block in stream.blocks(10_000)])
    assert Counter(y.tolist()) == dict.fromkeys(range(10), 8_225)
    assert (y == np.arange(82_250) % 10).all()  # the labels come in turn


def test_kdd99_http_and_phishing_hold_the_published_counts(given):
    for name, counts in (("kdd99_http", [565_287, 2_211]), ("phishing", [4_898, 6_157])):
        if not (given / f"{name}.parquet").is_file():
            pytest.skip(f"no {name}.parquet in {given}")
        stream = real.RealStream(name, data_dir=given)
        assert sum(np.bincount(block.y, minlength=2) for block in stream.blocks(50_000)).tolist() == counts


def test_the_insects_of_the_parquet_copy_are_balanced(given):
    if not (given / "insects_gradual_balanced.parquet").is_file():
        pytest.skip(f"no insects_gradual_balanced.parquet in {given}")
    stream = real.RealStream("insects_gradual_balanced", data_dir=given)
    assert Counter(y for _, y in stream) == dict.fromkeys((2, 3, 4, 5, 11, 12), 4_025)
