"""Fetching from public locations."""

from __future__ import annotations

import errno
import gzip
import os
import time

import pytest
from small_sources import AIRLINES, ARCHIVED, SMALL, files_in, locate, page, sha256, small_csv

from streams import fetching, real

pytestmark = pytest.mark.usefixtures("cache")


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
    assert real.SOURCES[name].urls or name in WITHOUT_LOCATION


WITHOUT_LOCATION = (
    "insects_incremental_imbalanced",
    "insects_incremental_abrupt_imbalanced",
    "insects_incremental_reoccurring_imbalanced",
    "insects_out_of_control",
    "wisdm",
    "kdd99_http",
)
"""Of these only copies circulate, or they are parts of a collection."""


@pytest.mark.parametrize("name", WITHOUT_LOCATION)
def test_without_a_location_the_message_says_so(cache, name):
    assert real.SOURCES[name].urls == ()
    with pytest.raises(FileNotFoundError, match="no public location of it is known, only copies circulate"):
        real.fetch(name)


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
