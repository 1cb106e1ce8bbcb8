"""Copies of real data: what is searched, in which order, what enters the cache, and what is refused."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import textwrap
from dataclasses import replace

import pytest
from small_sources import ARCHIVED, FOLDER, SMALL, files_in, members, sha256, write_tar, write_zip

from streams import real

pytestmark = pytest.mark.usefixtures("cache")


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
