"""Real streams: where a file is looked for, what is refused, and what each layout means."""

import errno
import gzip
import hashlib
import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import zipfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from streams import cache as cache_module
from streams import fetching, real

FOLDER = "scikit-multiflow-0.4.1/src/skmultiflow/data/datasets"
ARCHIVED = ("electricity", "weather", "covtype")


@pytest.fixture(scope="session")
def given():
    """Folder of the data files that whoever runs the tests has."""
    folder = os.environ.get(real.DATA_DIR_VARIABLE)
    if not folder:
        pytest.skip(
            f"needs the real files, which are not kept here: set ${real.DATA_DIR_VARIABLE} to their folder"
        )
    return Path(folder)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own; pytest makes the session's fixtures before it."""
    monkeypatch.delenv(real.DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(cache_module, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def know(monkeypatch, name, data, **changes):
    """Make `data` the known content of a source."""
    source = replace(real.SOURCES[name], sha256=sha256(data), **changes)
    monkeypatch.setitem(real.SOURCES, name, source)


def shrink(monkeypatch, name, n_samples, n_classes=None):
    """Let a source without a known SHA-256 be as small as a test's copy of it."""
    source = replace(real.SOURCES[name], n_samples=n_samples, n_classes=n_classes, n_bytes=None)
    monkeypatch.setitem(real.SOURCES, name, source)


def small_csv(n_features, rows):
    names = [f"f{i}" for i in range(n_features)] + ["target"]
    lines = [",".join(map(str, [*x, y])) for x, y in rows]
    return ("\n".join([",".join(names), *lines]) + "\n").encode()


SMALL = {
    "electricity": small_csv(2, [((0.5, 0.25), 1), ((0.1, 0.75), 0), ((0.3, 0.5), 0)]),
    "weather": small_csv(1, [((3,), 0), ((4,), 1)]),
    "covtype": small_csv(1, [((2596,), 5)]),
}


@pytest.fixture
def small(monkeypatch):
    """The archive's three data sets, with a few rows each."""
    for name, n_rows in zip(ARCHIVED, (3, 2, 1), strict=True):
        changes = {"target": "target", "n_samples": n_rows, "n_features": 1 + (name == "electricity")}
        know(monkeypatch, name, SMALL[name], **changes)


def members():
    return {f"{FOLDER}/{real.SOURCES[name].file}": SMALL[name] for name in ARCHIVED}


def write_tar(path, contents):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def rows_of(stream):
    blocks = list(stream.blocks(1000))
    return np.concatenate([b.X for b in blocks]), np.concatenate([b.y for b in blocks])


# The real files


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


# What is searched, and in which order


def test_a_data_folder_comes_before_the_cache(small, cache, tmp_path, monkeypatch):
    cache.mkdir()
    (cache / "elec.csv").write_bytes(SMALL["electricity"])
    assert real.fetch("electricity") == cache / "elec.csv"
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(real.DATA_DIR_VARIABLE, str(folder))
    assert real.fetch("electricity") == cache / "elec.csv"
    (folder / "elec.csv").write_bytes(SMALL["electricity"])
    assert real.fetch("electricity") == folder / "elec.csv"


def test_an_argument_comes_before_the_environment(small, tmp_path, monkeypatch):
    for folder in ("argument", "environment"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weather.csv").write_bytes(SMALL["weather"])
    monkeypatch.setenv(real.DATA_DIR_VARIABLE, str(tmp_path / "environment"))
    assert real.fetch("weather", data_dir=tmp_path / "argument") == tmp_path / "argument" / "weather.csv"
    assert real.RealStream("weather").path == tmp_path / "environment" / "weather.csv"


@pytest.mark.parametrize("name", ["elec.csv", "electricity.csv", "elec.csv.gz", "elec.csv.zip"])
def test_a_data_folder_may_hold_a_packed_copy_under_either_name(small, tmp_path, name):
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(SMALL["electricity"]))
    elif name.endswith(".zip"):
        write_zip(tmp_path / name, {"elec.csv": SMALL["electricity"]})
    else:
        (tmp_path / name).write_bytes(SMALL["electricity"])
    stream = real.RealStream("electricity", data_dir=tmp_path)
    assert list(stream) == [
        ({"f0": 0.5, "f1": 0.25}, 1),
        ({"f0": 0.1, "f1": 0.75}, 0),
        ({"f0": 0.3, "f1": 0.5}, 0),
    ]
    assert stream.fingerprint() == sha256(SMALL["electricity"])


def test_a_parquet_copy_is_taken_only_with_its_own_hash(small, tmp_path, monkeypatch):
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        pyarrow.csv.read_csv(io.BytesIO(SMALL["covtype"])), tmp_path / "covtype.parquet"
    )
    with pytest.raises(ValueError, match="has SHA-256"):
        real.fetch("covtype", data_dir=tmp_path)
    known = sha256((tmp_path / "covtype.parquet").read_bytes())
    monkeypatch.setitem(real.SOURCES, "covtype", replace(real.SOURCES["covtype"], parquet_sha256=known))
    stream = real.RealStream("covtype", data_dir=tmp_path)
    assert list(stream) == [({"f0": 2596.0}, 5)]
    assert stream.fingerprint() == sha256(SMALL["covtype"])  # the same samples, so the same name for them


def test_a_missing_data_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*does not exist; create it"):
        real.fetch("electricity", data_dir=tmp_path / "nowhere")


def test_a_file_of_a_data_folder_that_changes_is_checked_again(small, tmp_path):
    path = tmp_path / "weather.csv"
    path.write_bytes(SMALL["weather"])
    real.fetch("weather", data_dir=tmp_path)
    path.write_bytes(SMALL["weather"] + b"5,1\n")
    with pytest.raises(ValueError, match="has SHA-256"):
        real.fetch("weather", data_dir=tmp_path)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown real stream 'nosuch'; available: airlines, covtype"):
        real.fetch("nosuch")


# Length and seed


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


# Copies, and what is refused


@pytest.mark.parametrize("pack", ["plain", "gzip", "zip", "archive"])
def test_a_copy_enters_the_cache_however_it_is_packed(small, cache, tmp_path, pack):
    copy = tmp_path / "copy"
    if pack == "plain":
        copy.write_bytes(SMALL["weather"])
    elif pack == "gzip":
        copy.write_bytes(gzip.compress(SMALL["weather"]))
    elif pack == "zip":
        write_zip(copy, {"any name.csv": SMALL["weather"]})
    else:
        write_tar(copy, members())
    assert real.fetch("weather", from_file=copy) == cache / "weather.csv"
    assert (cache / "weather.csv").read_bytes() == SMALL["weather"]
    assert files_in(cache) == (["covtype.csv", "elec.csv"] if pack == "archive" else []) + ["weather.csv"]
    assert real.fetch("weather") == cache / "weather.csv"


def test_a_wrong_file_is_refused_and_the_cache_stays(small, cache, tmp_path):
    cache.mkdir()
    (cache / "weather.csv").write_bytes(SMALL["weather"])
    wrong = tmp_path / "wrong.csv"
    wrong.write_bytes(SMALL["weather"] + b"9,1\n")
    with pytest.raises(
        ValueError, match=rf"SHA-256 {sha256(wrong.read_bytes())}.*{sha256(SMALL['weather'])}"
    ):
        real.fetch("weather", from_file=wrong)
    assert files_in(cache) == ["weather.csv"]
    assert (cache / "weather.csv").read_bytes() == SMALL["weather"]


def test_a_wrong_file_is_named_by_the_path_that_was_given(small, cache, tmp_path):
    wrong = tmp_path / "wrong.csv"
    wrong.write_bytes(b"f0,target\n9,1\n")
    with pytest.raises(ValueError, match="has SHA-256") as caught:
        real.fetch("weather", from_file=wrong)
    assert str(caught.value).startswith(f"{wrong} has SHA-256")
    contents = members() | {f"{FOLDER}/weather.csv": wrong.read_bytes()}
    archive = write_tar(tmp_path / "a.tar.gz", contents)
    with pytest.raises(ValueError, match="has SHA-256") as caught:
        real.fetch("weather", from_file=archive)
    assert str(caught.value).startswith(f"{archive}, {FOLDER}/weather.csv has SHA-256")


def test_one_wrong_member_keeps_the_whole_archive_out(small, cache, tmp_path):
    contents = members() | {f"{FOLDER}/weather.csv": b"f0,target\n1,0\n"}
    with pytest.raises(ValueError, match=r"weather\.csv has SHA-256"):
        real.fetch("electricity", from_file=write_tar(tmp_path / "a.tar.gz", contents))
    assert files_in(cache) == []


def test_an_archive_without_a_member_is_refused(small, cache, tmp_path):
    contents = members()
    del contents[f"{FOLDER}/covtype.csv"]
    with pytest.raises(ValueError, match=r"lacks .*covtype\.csv"):
        real.fetch("electricity", from_file=write_tar(tmp_path / "a.tar.gz", contents))
    assert files_in(cache) == []


def test_only_the_named_members_leave_the_archive(small, cache, tmp_path):
    outside = {"../evil": b"1", str(tmp_path / "evil"): b"2", f"{FOLDER}/../../../../../../evil": b"3"}
    contents = outside | {f"{FOLDER}/music.csv": b"4"} | members()
    archive = write_tar(tmp_path / "a.tar.gz", contents)
    before = set(files_in(tmp_path))
    real.fetch("electricity", from_file=archive)
    assert set(files_in(tmp_path)) - before == {"cache/covtype.csv", "cache/elec.csv", "cache/weather.csv"}


def test_a_link_in_place_of_a_member_is_not_followed(small, cache, tmp_path):
    (tmp_path / "secret").write_bytes(SMALL["weather"])
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo(f"{FOLDER}/weather.csv")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(link)
    with pytest.raises(ValueError, match=r"lacks .*weather\.csv"):
        real.fetch("weather", from_file=archive)
    assert files_in(cache) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_cut_archive_is_refused(small, cache, tmp_path, share):
    whole = write_tar(tmp_path / "a.tar.gz", members()).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="corrupt"):
        real.fetch("electricity", from_file=tmp_path / "cut.tar.gz")
    assert files_in(cache) == []


@pytest.mark.parametrize("pack", ["gzip", "zip"])
def test_a_cut_copy_is_refused(small, cache, tmp_path, pack):
    zipped = write_zip(tmp_path / "whole.zip", {"elec.csv": SMALL["electricity"]}).read_bytes()
    whole = gzip.compress(SMALL["electricity"]) if pack == "gzip" else zipped
    (tmp_path / "cut").write_bytes(whole[:-12])
    with pytest.raises(ValueError, match="corrupt"):
        real.fetch("electricity", from_file=tmp_path / "cut")
    assert files_in(cache) == []


def test_a_copy_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"none\.csv' does not exist; give the path of a copy of elec\.csv"
    ):
        real.fetch("electricity", from_file=tmp_path / "none.csv")


def test_processes_that_fill_the_cache_at_once_leave_whole_files(small, tmp_path):
    archive = write_tar(tmp_path / "a.tar.gz", members())
    script = textwrap.dedent(
        f"""
        import hashlib
        from dataclasses import replace
        from pathlib import Path
        from streams import cache as cache_module, real

        cache = Path({str(tmp_path / "cache")!r})
        cache_module.cache_dir = lambda: cache
        hashes = { {name: sha256(SMALL[name]) for name in ARCHIVED}!r}
        for name, known in hashes.items():
            real.SOURCES[name] = replace(real.SOURCES[name], sha256=known)
        for _ in range(100):
            real.fetch("electricity", from_file={str(archive)!r})
            for name, known in hashes.items():
                data = (cache / real.SOURCES[name].file).read_bytes()
                assert hashlib.sha256(data).hexdigest() == known
        """
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert files_in(tmp_path / "cache") == ["covtype.csv", "elec.csv", "weather.csv"]


# Fetching through the package index


@pytest.fixture
def no_index(monkeypatch):
    """A pip that reaches no index, whatever its configuration."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")


@pytest.fixture
def local_index(small, no_index, tmp_path, monkeypatch):
    """A folder in which pip finds an archive of the right name, whose hash is pinned."""
    folder = tmp_path / "index"
    folder.mkdir()
    root = "scikit-multiflow-0.4.1"
    setup = b"from setuptools import setup\nsetup(name='scikit-multiflow', version='0.4.1', packages=[])\n"
    info = b"Metadata-Version: 1.0\nName: scikit-multiflow\nVersion: 0.4.1\n"
    contents = {f"{root}/setup.py": setup, f"{root}/PKG-INFO": info} | members()
    archive = write_tar(folder / f"{root}.tar.gz", contents)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(fetching, "ARCHIVE_SHA256", sha256(archive.read_bytes()))
    return archive


def test_one_fetch_puts_all_files_of_the_archive_in_the_cache(local_index, cache):
    calls = []
    assert real.fetch("weather", progress=lambda *call: calls.append(call)) == cache / "weather.csv"
    assert files_in(cache) == ["covtype.csv", "elec.csv", "weather.csv"]
    assert calls[-1] == (15_532_019, 15_532_019, "downloading scikit-multiflow-0.4.1.tar.gz")
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)


def test_an_archive_with_another_hash_is_refused(local_index, cache, monkeypatch):
    monkeypatch.setattr(fetching, "ARCHIVE_SHA256", "0" * 64)
    with pytest.raises(FileNotFoundError, match="HASHES"):
        real.fetch("weather")
    assert files_in(cache) == []


def test_with_nothing_reachable_the_error_says_where_to_put_the_file(no_index, cache):
    with pytest.raises(FileNotFoundError) as caught:
        real.fetch("electricity")
    message = str(caught.value)
    assert "No matching distribution found for scikit-multiflow==0.4.1" in message
    assert f"Put the file (SHA-256 {real.SOURCES['electricity'].sha256}) at {cache / 'elec.csv'}" in message
    assert "driftmoe streams fetch electricity --from-file elec.csv" in message
    assert "The synthetic stream led_a needs no file." in message
    assert files_in(cache) == []


def test_without_pip_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="no pip; run python -m ensurepip"):
        real.fetch("electricity")


def test_with_an_old_setuptools_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(fetching.importlib.metadata, "version", lambda name: "65.5.0")
    with pytest.raises(FileNotFoundError, match="run python -m pip install --upgrade setuptools"):
        real.fetch("electricity")


# What a killed fetch leaves

FETCHES = """
    import sys
    from pathlib import Path
    from streams import cache, fetching, real

    cache.cache_dir = lambda: Path("cache").resolve()
    fetching.ARCHIVE_SHA256 = sys.argv[1]
    real.fetch("weather")
    """


@pytest.fixture
def slow_index(local_index, tmp_path, monkeypatch):
    """As `local_index`, but the setup script in the archive writes its process and that of pip, and never ends.

    Gives the environment, the SHA-256 of the archive, and a function that waits for the two.
    """
    root = "scikit-multiflow-0.4.1"
    setup = "import os, time\n"
    setup += f"open({str(tmp_path / 'setup')!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}}.')\ntime.sleep(600)\n"
    info = b"Metadata-Version: 1.0\nName: scikit-multiflow\nVersion: 0.4.1\n"
    write_tar(local_index, {f"{root}/setup.py": setup.encode(), f"{root}/PKG-INFO": info})

    def processes():
        file = tmp_path / "setup"
        wait_until(lambda: file.is_file() and file.read_text().endswith("."))
        return [int(pid) for pid in file.read_text()[:-1].split()]

    return os.environ | {"PYTHONPATH": str(ROOT)}, sha256(local_index.read_bytes()), processes


def wait_until(is_so, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(pid):
    """Whether a process runs; one that has ended, but whose parent has not asked, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_pip_and_what_it_started_end_with_a_fetch_that_is_killed(slow_index, cache, tmp_path, number):
    environment, digest, processes = slow_index
    fetch = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FETCHES), digest],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    started = processes()
    assert [is_running(pid) for pid in started] == [True, True]
    fetch.send_signal(number)
    fetch.wait(10)
    wait_until(lambda: not any(map(is_running, started)), seconds=10)
    shutil.rmtree(tmp_path / "index")
    left = len(os.listdir(cache))
    assert left == (number != signal.SIGINT)  # which ends it in order
    real.fetch("weather", from_file=write_tar(tmp_path / "a.tar.gz", members()))
    assert sorted(os.listdir(cache)) == ["covtype.csv", "elec.csv", "weather.csv"]


def test_what_older_versions_left_in_the_cache_goes_too_unless_it_is_new(small, cache, tmp_path):
    for name in ("old", "new"):
        (cache / f".incoming-{name}").mkdir(parents=True)
        (cache / f".incoming-{name}" / "copy").write_bytes(b"half")
    os.utime(cache / ".incoming-old", (time.time() - 3600,) * 2)
    (tmp_path / "copy.csv").write_bytes(SMALL["weather"])
    real.fetch("weather", from_file=tmp_path / "copy.csv")
    assert sorted(os.listdir(cache)) == [".incoming-new", "weather.csv"]


# Fetching from public locations


@pytest.fixture
def server():
    """A web server whose `pages` map a path to (status, headers, body); other paths wait for the end.

    A body that is a list of pieces comes a piece each twentieth of a second.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in http.pages:
                http.over.wait(10)
                return
            status, headers, body = http.pages[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if isinstance(body, bytes):
                self.wfile.write(body)
                return
            for piece in body:
                if http.over.wait(0.05):
                    return
                with suppress(ConnectionError):  # the client has given up
                    self.wfile.write(piece)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.pages, http.over = {}, threading.Event()
    http.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield http
    http.over.set()
    http.shutdown()
    thread.join()
    http.server_close()


def page(body, length=None):
    return 200, {"Content-Length": str(len(body) if length is None else length)}, body


AIRLINES = b"""@relation airlines
@attribute Airline {CO,US,'AA'}
@attribute Flight numeric
@attribute AirportFrom {SFO,PHX,LAX}
@attribute AirportTo {IAH,CLT,DFW}
@attribute DayOfWeek {1,2,3,4,5,6,7}
@attribute Time numeric
@attribute Length numeric
@attribute Delay {0,1}
@data
CO,269.0,SFO,IAH,3,15.0,205.0,1
US,1558.0,PHX,CLT,3,15.0,222.0,0
AA,2400.0,LAX,DFW,7,20.0,165.0,1
"""


@pytest.fixture
def small_airlines(monkeypatch):
    shrink(monkeypatch, "airlines", 3, 2)


def locate(monkeypatch, name, *urls):
    monkeypatch.setitem(real.SOURCES, name, replace(real.SOURCES[name], urls=urls))


def test_locations_are_tried_in_order(small_airlines, server, cache, monkeypatch):
    server.pages["/gone"] = (404, {}, b"")
    server.pages["/login"] = page(b"<!DOCTYPE html><title>Sign in</title>")
    server.pages["/airlines.arff.gz?dl=1"] = page(gzip.compress(AIRLINES))
    nobody = "http://127.0.0.1:9/airlines.arff"
    rest = [server.url + path for path in ("/gone", "/login", "/airlines.arff.gz?dl=1", "/never-asked")]
    locate(monkeypatch, "airlines", nobody, *rest)
    calls = []
    assert real.fetch("airlines", progress=lambda *call: calls.append(call)) == cache / "airlines.arff"
    assert (cache / "airlines.arff").read_bytes() == AIRLINES
    n_bytes = len(gzip.compress(AIRLINES))
    assert calls[-1] == (n_bytes, n_bytes, "downloading airlines.arff from 127.0.0.1")
    assert files_in(cache) == ["airlines.arff", "airlines.arff.sha256"]


def test_a_download_that_ends_early_is_refused(server, cache, monkeypatch):
    server.pages["/airlines.arff"] = page(AIRLINES[:-40], len(AIRLINES))
    locate(monkeypatch, "airlines", server.url + "/airlines.arff")
    with pytest.raises(FileNotFoundError, match=f"ended after {len(AIRLINES) - 40} of {len(AIRLINES)} bytes"):
        real.fetch("airlines")
    assert files_in(cache) == []


def test_a_location_that_does_not_answer_is_given_up(small_airlines, server, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.2)
    (tmp_path / "airlines.arff").write_bytes(AIRLINES)
    locate(monkeypatch, "airlines", server.url + "/hangs", (tmp_path / "airlines.arff").as_uri())
    assert real.fetch("airlines") == cache / "airlines.arff"


def test_a_location_that_trickles_is_given_up(server, cache, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.2)
    server.pages["/airlines.arff"] = (200, {"Content-Length": str(len(AIRLINES))}, [b"@"] * 60)
    locate(monkeypatch, "airlines", server.url + "/airlines.arff")
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r"only \d+ bytes came in 0 seconds"):
        real.fetch("airlines")
    assert time.monotonic() - start < 2.0
    assert files_in(cache) == []


def test_a_wrong_download_is_named_by_its_location(server, cache, monkeypatch):
    server.pages["/a.csv"] = page(small_csv(2, [((1, 2), 0)]))
    server.pages["/b.gz"] = page(b"\x1f\x8bbroken")
    locate(monkeypatch, "keystroke", server.url + "/a.csv", server.url + "/b.gz")
    with pytest.raises(FileNotFoundError) as caught:
        real.fetch("keystroke")
    assert f"{server.url}/a.csv" in str(caught.value)
    assert f"{server.url}/b.gz is corrupt" in str(caught.value)
    assert ".driftmoe-part" not in str(caught.value)


def test_a_location_with_another_file_is_refused_where_the_hash_is_known(server, cache, monkeypatch):
    server.pages["/elec.arff"] = page(AIRLINES)
    locate(monkeypatch, "elec2", server.url + "/elec.arff")
    with pytest.raises(FileNotFoundError, match=f"has SHA-256 {sha256(AIRLINES)}"):
        real.fetch("elec2")
    assert files_in(cache) == []


def test_without_a_location_that_answers_the_error_lists_each(cache, monkeypatch):
    locate(monkeypatch, "airlines", "http://127.0.0.1:9/a", "http://localhost:9/b")
    with pytest.raises(FileNotFoundError) as caught:
        real.fetch("airlines")
    message = str(caught.value)
    assert "127.0.0.1: " in message
    assert "localhost: " in message
    assert f"Put the file at {cache / 'airlines.arff'}" in message
    assert "--from-file airlines.arff" in message


@pytest.mark.parametrize("name", [name for name in real.SOURCES if name not in ARCHIVED])
def test_every_public_stream_has_a_location(name):
    assert all(url.startswith("https://") for url in real.SOURCES[name].urls)
    assert real.SOURCES[name].urls


def test_a_full_disk_is_not_blamed_on_the_location(small_airlines, server, cache, monkeypatch):
    server.pages["/airlines.arff"] = page(AIRLINES)
    locate(monkeypatch, "airlines", server.url + "/airlines.arff", "http://127.0.0.1:9/never-asked")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileNotFoundError) as caught:
        real.fetch("airlines")
    full_disk = f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}; the cache is as it was"
    record = cache / "airlines.arff.sha256"
    assert f"could not be fetched: {full_disk}: {str(record)!r}\n" in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert os.listdir(cache) == []


@pytest.mark.parametrize("name", ["weather", "airlines"])
def test_a_full_disk_is_told_of_with_the_file_of_the_cache(
    small, small_airlines, cache, tmp_path, monkeypatch, name
):
    content = SMALL["weather"] if name == "weather" else AIRLINES
    copy = tmp_path / "copy"
    copy.write_bytes(content)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, full)
            with pytest.raises(OSError, match="No space left on device; the cache is as it was") as caught:
                real.fetch(name, from_file=copy)
        file = cache / real.SOURCES[name].file
        assert caught.value.filename in (str(file), f"{file}.sha256")  # the hash is kept before the file
        assert os.listdir(cache) == []
    assert real.fetch(name, from_file=copy).read_bytes() == content


def test_a_location_may_not_send_on_to_one_without_encryption():
    request = fetching.urllib.request.Request("https://example.org/a")
    with pytest.raises(OSError, match=r"sends on to http://example\.org/b, which is not encrypted"):
        fetching._KeepingHttps().redirect_request(request, None, 302, "", {}, "http://example.org/b")
    on = fetching._KeepingHttps().redirect_request(request, None, 302, "", {}, "https://example.net/b")
    assert on.full_url == "https://example.net/b"


# Files whose SHA-256 nobody has published: the first copy is trusted


def other_airlines():
    """A file of the size and shape of `AIRLINES`, with another figure in it."""
    return AIRLINES.replace(b"205.0", b"206.0")


def test_the_first_copy_is_trusted_and_its_hash_kept_as_sha256sum_writes_it(small_airlines, cache, tmp_path):
    (tmp_path / "copy.arff").write_bytes(AIRLINES)
    real.fetch("airlines", from_file=tmp_path / "copy.arff")
    assert (cache / "airlines.arff.sha256").read_text() == f"{sha256(AIRLINES)}  airlines.arff\n"
    assert real.fetch("airlines") == cache / "airlines.arff"


def test_a_cached_copy_that_changed_is_refused_by_name_and_says_what_to_do(small_airlines, cache, tmp_path):
    (tmp_path / "copy.arff").write_bytes(AIRLINES)
    path = real.fetch("airlines", from_file=tmp_path / "copy.arff")
    path.write_bytes(other_airlines())
    with pytest.raises(ValueError, match="came first") as caught:
        real.RealStream("airlines")
    record = cache / "airlines.arff.sha256"
    assert str(caught.value) == (
        f"{path} has SHA-256 {sha256(other_airlines())}, but the copy of airlines.arff that came first had "
        f"{sha256(AIRLINES)}, as {record} says; remove the file or put the right one there, or, if you trust the new "
        f"content, remove {record} and try again"
    )
    record.unlink()  # as it says
    assert next(iter(real.RealStream("airlines")))[0]["Length"] == 206.0
    assert sha256(other_airlines()) in record.read_text()


def test_a_download_that_differs_from_the_first_is_refused(small_airlines, server, cache, monkeypatch):
    server.pages["/airlines.arff"] = page(AIRLINES)
    locate(monkeypatch, "airlines", server.url + "/airlines.arff")
    real.fetch("airlines").unlink()
    server.pages["/airlines.arff"] = page(gzip.compress(other_airlines()))
    with pytest.raises(FileNotFoundError) as caught:
        real.fetch("airlines")
    assert f"{server.url}/airlines.arff has SHA-256 {sha256(other_airlines())}" in str(caught.value)
    assert f"remove {cache / 'airlines.arff.sha256'} and try again" in str(caught.value)
    assert files_in(cache) == ["airlines.arff.sha256"]
    server.pages["/airlines.arff"] = page(gzip.compress(AIRLINES))  # packed otherwise, the same in it
    assert real.fetch("airlines").read_bytes() == AIRLINES


def test_a_location_with_other_content_is_passed_over_for_one_with_the_first(
    small_airlines, server, cache, monkeypatch
):
    server.pages["/first"] = page(AIRLINES)
    server.pages["/other"] = page(other_airlines())
    locate(monkeypatch, "airlines", server.url + "/first")
    real.fetch("airlines").unlink()
    locate(monkeypatch, "airlines", server.url + "/other", server.url + "/first")
    assert real.fetch("airlines").read_bytes() == AIRLINES


def test_another_copy_does_not_replace_the_trusted_one(small_airlines, cache, tmp_path):
    (tmp_path / "copy.arff").write_bytes(AIRLINES)
    path = real.fetch("airlines", from_file=tmp_path / "copy.arff")
    (tmp_path / "copy.arff").write_bytes(other_airlines())
    with pytest.raises(ValueError, match="came first") as caught:
        real.fetch("airlines", from_file=tmp_path / "copy.arff")
    assert str(caught.value).startswith(f"{tmp_path / 'copy.arff'} has SHA-256")
    assert path.read_bytes() == AIRLINES


def test_a_copy_that_lay_in_the_cache_before_is_trusted_from_now_on(small_airlines, cache):
    cache.mkdir()
    (cache / "airlines.arff.gz").write_bytes(gzip.compress(AIRLINES))
    real.fetch("airlines")
    assert sha256(AIRLINES) in (cache / "airlines.arff.sha256").read_text()  # of what it holds
    (cache / "airlines.arff.gz").write_bytes(gzip.compress(other_airlines()))
    with pytest.raises(ValueError, match="came first"):
        real.fetch("airlines")


def test_a_cache_that_cannot_be_written_serves_its_files(small_airlines, cache, monkeypatch):
    cache.mkdir()
    (cache / "airlines.arff").write_bytes(AIRLINES)

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", read_only)
    assert real.fetch("airlines") == cache / "airlines.arff"


def test_a_data_folder_may_hold_the_hash_of_its_file_and_is_not_written_to(small_airlines, cache, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "airlines.arff").write_bytes(AIRLINES)
    real.fetch("airlines", data_dir=folder)
    assert (files_in(folder), cache.exists()) == (["airlines.arff"], False)
    (folder / "airlines.arff.sha256").write_text(sha256(other_airlines()))
    with pytest.raises(ValueError, match="came first"):
        real.fetch("airlines", data_dir=folder)
    (folder / "airlines.arff").write_bytes(other_airlines())
    assert real.fetch("airlines", data_dir=folder) == folder / "airlines.arff"


@pytest.mark.parametrize("text", ["", "airlines.arff", "0" * 63, "0" * 65])
def test_a_kept_hash_that_is_none_is_named(small_airlines, cache, tmp_path, text):
    (tmp_path / "copy.arff").write_bytes(AIRLINES)
    real.fetch("airlines", from_file=tmp_path / "copy.arff")
    (cache / "airlines.arff.sha256").write_text(text)
    with pytest.raises(ValueError, match=r"airlines\.arff\.sha256 holds no SHA-256; write that of the file"):
        real.fetch("airlines")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"AA,2400.0,LAX,DFW,7,20.0,165.0,1\n", b"", "has 2 rows, but airlines.arff has 3"),
        (b"165.0,1\n", b"165.0,1\nAA,1,LAX,DFW,7,1,1,0\n", "has 4 rows, but airlines.arff has 3"),
        (b"222.0,0", b"222.0,1", "has 1 classes, but airlines.arff has 2"),
    ],
)
def test_a_first_copy_of_another_shape_is_not_trusted(
    small_airlines, cache, tmp_path, monkeypatch, old, new, message
):
    (tmp_path / "copy.arff").write_bytes(AIRLINES.replace(old, new))
    with pytest.raises(ValueError, match=message):
        real.fetch("airlines", from_file=tmp_path / "copy.arff")
    assert files_in(cache) == []


def test_a_first_copy_of_another_size_is_not_trusted_however_it_is_packed(cache, tmp_path, monkeypatch):
    row = ",".join(["0.5"] * 33) + ",2\n"
    name = "insects_gradual_balanced"
    monkeypatch.setitem(real.SOURCES, name, replace(real.SOURCES[name], n_bytes=2 * len(row)))
    (tmp_path / "copy").write_bytes(gzip.compress(3 * row.encode()))
    with pytest.raises(
        ValueError, match=rf"has {3 * len(row)} bytes, but gradual_balanced\.csv has {2 * len(row)};"
    ):
        real.fetch(name, from_file=tmp_path / "copy")
    (tmp_path / "copy").write_bytes(gzip.compress(2 * row.encode()))
    assert real.RealStream(name, from_file=tmp_path / "copy").n_samples == 2


def test_what_is_known_of_files_without_a_hash_is_what_was_published():
    shapes = {
        name: (source.n_samples, source.n_classes)
        for name, source in real.SOURCES.items()
        if source.sha256 is None and source.n_bytes is None
    }
    assert shapes == {  # CapyMOA's documentation; for gas that of the UCI repository
        "airlines": (539_383, 2),
        "kdd99": (494_020, 23),
        "sensor": (2_219_803, None),
        "pokerhand": (1_025_009, 10),
        "gas": (13_910, 6),
    }


def test_sizes_of_files_without_a_hash_are_those_that_river_knows():
    from river import datasets

    for name, source in real.SOURCES.items():
        if name.startswith("insects_"):
            known = datasets.Insects(name.removeprefix("insects_"))
        elif name == "keystroke":
            known = datasets.Keystroke()
        else:
            assert source.n_bytes is None
            continue
        assert (source.n_bytes, source.n_samples, source.n_features) == (
            known.size,
            known.n_samples,
            known.n_features,
        )


# Layouts


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
