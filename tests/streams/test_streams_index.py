"""Fetching through the package index, and what a killed fetch leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from places import ROOT
from small_sources import SMALL, files_in, members, sha256, write_tar

from streams import fetching, real

pytestmark = pytest.mark.usefixtures("cache")


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
