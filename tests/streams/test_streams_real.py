"""Real streams: the files that are known, length and seed, and what each layout means."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from small_sources import AIRLINES, SMALL, files_in, know, sha256, shrink, write_zip

from streams import real

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="session")
def given():
    """Folder of the data files that whoever runs the tests has."""
    folder = os.environ.get(real.DATA_DIR_VARIABLE)
    if not folder:
        pytest.skip(
            f"needs the real files, which are not kept here: set ${real.DATA_DIR_VARIABLE} to their folder"
        )
    return Path(folder)


def rows_of(stream):
    blocks = list(stream.blocks(1000))
    return np.concatenate([b.X for b in blocks]), np.concatenate([b.y for b in blocks])


def test_electricity_holds_the_known_rows(fetched):
    stream = real.STREAMS["electricity"](data_dir=fetched["electricity"])
    X, y = rows_of(stream)
    assert X.shape == (45_312, 6)
    assert stream.n_samples == 45_312
    assert X[0].tolist() == [0.0, 0.05644299999999999, 0.439155, 0.003467, 0.422915, 0.414912]
    assert Counter(stream.classes[i] for i in y) == {
        1: 19_237,
        0: 26_075,
    }  # 19 237 times UP in the literature
    assert stream.classes == [0, 1]
    assert stream.task == "Binary classification"
    assert stream.fingerprint() == "ebdfe5480ae25a43a7d054286135e3a9484697a2850d5158a333b1578c28bb97"


def test_both_views_of_electricity_agree(fetched):
    stream = real.RealStream("electricity", data_dir=fetched["electricity"], n_samples=2_500)
    X, y = rows_of(stream)
    samples = list(stream)
    assert len(samples) == len(y) == 2_500
    assert [list(x.values()) for x, _ in samples] == X.tolist()
    assert [label for _, label in samples] == [stream.classes[i] for i in y]
    assert list(samples[0][0]) == [f"feat_{i}" for i in range(1, 7)]


def test_weather_holds_the_known_rows(fetched):
    stream = real.STREAMS["weather"](data_dir=fetched["weather"])
    X, y = rows_of(stream)
    assert X.shape == (18_159, 8)
    assert X[0].tolist() == [19.8, 14.0, 1019.6, 8.4, 9.9, 15.9, 28.9, 14.0]
    assert Counter(stream.classes[i] for i in y) == {0: 12_461, 1: 5_698}


def test_covtype_holds_the_published_class_counts(fetched):
    stream = real.STREAMS["covtype"](data_dir=fetched["covtype"])
    counts = sum(np.bincount(block.y, minlength=7) for block in stream.blocks(50_000))
    # Blackard and Dean 1999, the forest cover types 1 to 7
    assert counts.tolist() == [211_840, 283_301, 35_754, 2_747, 9_493, 17_367, 20_510]
    assert stream.classes == [1, 2, 3, 4, 5, 6, 7]
    x, y = next(iter(stream))
    assert (len(x), x["Elevation"], x["Soil_Type29"], y) == (54, 2596.0, 1.0, 5)


def test_the_parquet_copy_of_covtype_gives_the_samples_of_the_csv(fetched, given, tmp_path):
    if not (given / "covtype.parquet").is_file():
        pytest.skip(f"no covtype.parquet in {given}")
    shutil.copy(given / "covtype.parquet", tmp_path)
    copy = real.RealStream("covtype", data_dir=tmp_path)
    assert copy.path == tmp_path / "covtype.parquet"
    csv = real.RealStream("covtype", data_dir=fetched["covtype"])
    for of_copy, of_csv in zip(copy.blocks(50_000), csv.blocks(50_000), strict=True):
        np.testing.assert_array_equal(of_copy.X, of_csv.X)
        np.testing.assert_array_equal(of_copy.y, of_csv.y)
    assert copy.fingerprint() == csv.fingerprint()


def test_elec2_holds_the_known_rows(given, fetched):
    if not (given / "elecNormNew.arff.gz").is_file():
        pytest.skip(f"no elecNormNew.arff.gz in {given}")
    stream = real.RealStream("elec2", data_dir=given)
    X, y = rows_of(stream)
    assert Counter(stream.classes[i] for i in y) == {"UP": 19_237, "DOWN": 26_075}
    assert [f.name for f in stream.features if f.is_nominal] == ["day"]
    six, six_y = rows_of(real.RealStream("electricity", data_dir=fetched["electricity"]))
    np.testing.assert_allclose(X[:, [2, *range(3, 8)]], six, rtol=0, atol=1e-12)
    assert [stream.classes[i] == "UP" for i in y] == [bool(i) for i in six_y]


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown real stream 'nosuch'; available: airlines, covtype"):
        real.fetch("nosuch")


def test_n_samples_takes_the_first_rows_and_no_more_than_there_are(small, tmp_path):
    (tmp_path / "elec.csv").write_bytes(SMALL["electricity"])
    make = real.STREAMS["electricity"]
    whole = list(make(data_dir=tmp_path))
    first = make(n_samples=2, data_dir=tmp_path)
    assert list(first) == whole[:2]
    assert first.n_samples == 2
    assert len(first.reader()(10).y) == 2
    more = make(n_samples=99, data_dir=tmp_path)
    assert list(more) == whole
    assert more.n_samples == 3
    with pytest.raises(ValueError, match="n_samples=0"):
        make(n_samples=0, data_dir=tmp_path)


def test_a_seed_changes_nothing(small, tmp_path):
    (tmp_path / "elec.csv").write_bytes(SMALL["electricity"])
    make = real.STREAMS["electricity"]
    assert list(make(1, data_dir=tmp_path)) == list(make(2, data_dir=tmp_path))


def test_a_stream_survives_pickling(small, tmp_path):
    (tmp_path / "elec.csv").write_bytes(SMALL["electricity"])
    stream = real.RealStream("electricity", data_dir=tmp_path)
    assert list(pickle.loads(pickle.dumps(stream))) == list(stream)


def test_its_text_says_what_the_class_means(small, tmp_path):
    (tmp_path / "weather.csv").write_bytes(SMALL["weather"])
    assert "did it rain (1) or not (0)?" in repr(real.RealStream("weather", data_dir=tmp_path))


def test_airlines_mixes_nominal_and_numeric_features(small_airlines, tmp_path):
    (tmp_path / "airlines.arff").write_bytes(AIRLINES)
    stream = real.RealStream("airlines", from_file=tmp_path / "airlines.arff")
    first = {"Airline": "CO", "Flight": 269.0, "AirportFrom": "SFO", "AirportTo": "IAH"}
    assert next(iter(stream)) == (first | {"DayOfWeek": 3, "Time": 15.0, "Length": 205.0}, 1)
    assert [y for _, y in stream] == [1, 0, 1]
    assert stream.n_samples == 3
    assert stream.fingerprint() == sha256(AIRLINES)


def test_elec2_has_a_nominal_day(tmp_path, monkeypatch):
    names = "period nswprice nswdemand vicprice vicdemand transfer"
    header = "@relation electricity\n@attribute date numeric\n@attribute day {1,2,3,4,5,6,7}\n"
    header += "".join(f"@attribute {name} numeric\n" for name in names.split())
    rows = "0,2,0,0.056443,0.439155,0.003467,0.422915,0.414912,UP\n0.5,3,0.1,0.2,0.3,0.4,0.5,0.6,DOWN\n"
    data = (header + "@attribute class {UP,DOWN}\n\n@data\n" + rows).encode()
    know(monkeypatch, "elec2", data, n_samples=2)
    (tmp_path / "elecNormNew.arff.gz").write_bytes(gzip.compress(data))
    stream = real.RealStream("elec2", data_dir=tmp_path)
    (x, y), (_, last) = stream
    assert (x["day"], x["nswprice"], len(x), y, last) == (2, 0.056443, 8, "UP", "DOWN")


@pytest.mark.parametrize("name", [name for name in real.SOURCES if name.startswith("insects")])
def test_insects_has_33_numbers_a_class_and_no_line_of_names(tmp_path, monkeypatch, name):
    shrink(monkeypatch, name, 60)
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 33)).round(6)
    labels = rng.permutation(np.repeat([2, 3, 4, 5, 11, 12], 10))
    lines = [",".join(map(str, [*row, label])) for row, label in zip(X.tolist(), labels, strict=True)]
    (tmp_path / "copy.csv").write_text("\n".join(lines) + "\n")
    stream = real.RealStream(name, from_file=tmp_path / "copy.csv")
    found, y = rows_of(stream)
    np.testing.assert_array_equal(found, X)
    assert [stream.classes[i] for i in y] == labels.tolist()
    assert (stream.n_samples, stream.n_classes) == (60, 6)
    assert stream.drifts == []  # the known positions lie beyond these rows


def test_insects_classes_may_be_names_and_drifts_are_marked(tmp_path, monkeypatch):
    shrink(monkeypatch, "insects_abrupt_balanced", 15_000)
    row = ",".join(["0.5"] * 33)
    lines = [f"{row},{'ae-aegypti-female' if i % 2 else 'cx-male'}" for i in range(15_000)]
    (tmp_path / "copy.csv").write_text("\n".join(lines) + "\n")
    stream = real.RealStream("insects_abrupt_balanced", from_file=tmp_path / "copy.csv")
    assert stream.classes == ["cx-male", "ae-aegypti-female"]
    assert [drift.position for drift in stream.drifts] == [14_352]


def test_keystroke_leaves_out_what_numbers_the_rows(tmp_path, monkeypatch):
    shrink(monkeypatch, "keystroke", 51 * 200)
    keys = ["period", "t", "i", "e", "five", "Shift.r", "o", "a", "n", "l", "Return"]
    names = [f"H.{keys[0]}"]
    for before, key in pairwise(keys):
        names += [f"DD.{before}.{key}", f"UD.{before}.{key}", f"H.{key}"]
    subjects = [f"s{i:03d}" for i in range(2, 53)]
    lines = [",".join(["subject", "sessionIndex", "rep", *names])]
    for repetition in range(1, 201):  # over a megabyte, so that late classes come in a later piece
        lines += [",".join([s, "1", str(repetition), *[f"0.{i:04d}" for i in range(31)]]) for s in subjects]
    (tmp_path / "copy.csv").write_text("\n".join(lines[:1] + sorted(lines[1:])) + "\n")
    stream = real.RealStream("keystroke", from_file=tmp_path / "copy.csv")
    assert [feature.name for feature in stream.features] == names
    assert stream.classes == subjects
    assert stream.n_classes == 51
    assert stream.n_samples == 51 * 200
    assert next(iter(stream))[0]["DD.period.t"] == 0.0001


@pytest.mark.parametrize(
    ("name", "attributes", "classes", "row", "expected"),
    [
        (
            "kdd99",
            ["numeric", "{tcp,udp}", "{http,ftp}", *["numeric"] * 36, "{0,1}", "numeric"],
            "{normal,smurf}",
            ["0", "udp", "http", *["1.5"] * 36, "1", "0.5"],
            ("udp", "smurf"),
        ),
        ("sensor", ["numeric"] * 5, "{1,2,3}", ["1", "122.15", "-3.9", "11.04", "2.03"], (122.15, 2)),
        (
            "pokerhand",
            ["{1,2,3,4}", "numeric"] * 5,
            "{0,1,2,3,4,5,6,7,8,9}",
            ["1", "10", "1", "11", "1", "13", "1", "12", "1", "1"],
            (10.0, 1),
        ),
    ],
)
def test_arff_layouts(tmp_path, monkeypatch, name, attributes, classes, row, expected):
    shrink(monkeypatch, name, 1)
    label = classes.strip("{}").split(",")[1]
    lines = ["@relation test", *(f"@attribute a{i} {kind}" for i, kind in enumerate(attributes))]
    lines += [f"@attribute class {classes}", "@data", ",".join([*row, label])]
    write_zip(tmp_path / "copy.zip", {"data.arff": "\n".join(lines).encode()})
    stream = real.RealStream(name, from_file=tmp_path / "copy.zip")
    ((x, y),) = stream
    assert (x["a1"], y) == expected
    assert stream.n_features == len(attributes)
    assert stream.n_classes == len(classes.split(","))


def gas_line(label, value):
    return f"{label} " + " ".join(f"{i}:{value + i}" for i in range(1, 129)) + " \n"


def test_gas_joins_its_batches_in_their_order(cache, tmp_path, monkeypatch):
    shrink(monkeypatch, "gas", 3)
    batches = {f"Dataset/batch{i}.dat": gas_line(1 + i % 6, i / 2).encode() for i in (10, 2, 1)}
    batches["Dataset/readme.txt"] = b"1 2 3"
    stream = real.RealStream("gas", from_file=write_zip(tmp_path / "gas.zip", batches))
    X, y = rows_of(stream)
    assert X[:, 0].tolist() == [1.5, 2.0, 6.0]
    assert X[:, 127].tolist() == [128.5, 129.0, 133.0]
    assert [stream.classes[i] for i in y] == [2, 3, 5]
    assert stream.classes == [1, 2, 3, 4, 5, 6]
    assert files_in(cache) == ["gas.csv", "gas.csv.sha256"]


def test_gas_with_concentrations_gives_the_same_samples(tmp_path, monkeypatch):
    shrink(monkeypatch, "gas", 1)
    plain = write_zip(tmp_path / "a.zip", {"batch1.dat": gas_line("4", 1.0).encode()})
    dosed = write_zip(tmp_path / "b.zip", {"batch1.dat": gas_line("4;10.000000", 1.0).encode()})
    samples = list(real.RealStream("gas", from_file=plain))
    assert samples == list(real.RealStream("gas", from_file=dosed))
    assert samples[0][1] == 4


def test_a_gas_line_with_missing_cells_is_named(cache, tmp_path):
    batches = {"batch1.dat": gas_line(1, 0).encode() + b"2 1:0.5 2:0.5\n"}
    with pytest.raises(ValueError, match=r"batch1\.dat, line 2: cells are not numbered 1 to 128"):
        real.fetch("gas", from_file=write_zip(tmp_path / "gas.zip", batches))
    assert files_in(cache) == []


def test_a_file_of_another_data_set_is_refused_by_its_features(cache, tmp_path):
    (tmp_path / "copy.arff").write_bytes(AIRLINES)
    with pytest.raises(ValueError, match=r"has 7 features, but sensor\.arff has 5"):
        real.fetch("sensor", from_file=tmp_path / "copy.arff")
    assert files_in(cache) == []
