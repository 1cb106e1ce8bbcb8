"""Files whose SHA-256 nobody has published: the first copy is trusted."""

from __future__ import annotations

import errno
import gzip
import os
from dataclasses import replace

import pytest
from small_sources import AIRLINES, files_in, locate, page, sha256

from streams import real

pytestmark = pytest.mark.usefixtures("cache")


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
    assert shapes == {  # CapyMOA's documentation; for gas and ozone that of the UCI repository
        "airlines": (539_383, 2),
        "kdd99": (494_020, 23),
        "sensor": (2_219_803, None),
        "pokerhand": (1_025_009, 10),
        "gas": (13_910, 6),
        # The numbers that river and the collection's authors state, without sizes of files
        "insects_incremental_imbalanced": (452_044, 6),
        "insects_incremental_abrupt_imbalanced": (452_044, 6),
        "insects_incremental_reoccurring_imbalanced": (452_044, 6),
        "insects_out_of_control": (905_145, 24),
        "rialto": (82_250, 10),  # Losing et al. 2016
        "spam": (9_324, 2),  # Katakis et al. 2010
        "ozone": (2_534, 2),
        "wisdm": (5_418, 6),  # Kwapisz et al. 2010; each of three copies of the file
        "kdd99_http": (567_498, 2),
    }


def test_sizes_of_files_without_a_hash_are_those_that_river_knows():
    from river import datasets

    for name, source in real.SOURCES.items():
        if name.startswith("insects_") and source.n_bytes:
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
