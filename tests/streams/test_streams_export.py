"""Exports that end early: killed, on a full disk, into a folder that cannot be written."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import commands
import pytest
from places import ENVIRONMENT

import streams
from streams.export import write

NAMES = ["t.csv", "t.csv.gz", "t.arff", "t.arff.gz", "t.parquet"]


def numbers():
    return streams.make("sea", n_samples=10)


KILLED = """
    import sys
    import streams
    from streams.export import write

    def wait(n_written):
        print("writing", flush=True)
        sys.stdin.read()

    write(streams.make("sea_a"), sys.argv[1], n_samples=200_000, progress=wait)
    """


def exporting(folder, name):
    """Start an export in a folder, and return its process once it has written a block."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), name],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("name", NAMES)
def test_what_a_killed_export_left_goes_with_the_next_into_the_same_folder(tmp_path, name):
    (tmp_path / name).write_text("old")
    dead = exporting(tmp_path, name)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    assert (tmp_path / name).read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2  # what it left
    write(numbers(), tmp_path / "other.csv")
    assert sorted(os.listdir(tmp_path)) == sorted(["other.csv", name])


def test_an_export_that_runs_is_not_taken_for_a_dead_one(tmp_path):
    running = exporting(tmp_path, "long.csv")
    write(numbers(), tmp_path / "short.csv")
    running.communicate("")
    assert running.returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["long.csv", "short.csv"]
    assert (tmp_path / "long.csv").read_bytes().count(b"\n") == 200_001


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_told_of_with_the_file_and_the_old_one_stays(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; the export is lost") as caught:
        write(numbers(), tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert os.listdir(tmp_path) == [name]


LIMITED = """
    import resource, sys
    from driftmoe.cli import main

    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    sys.argv = ["driftmoe", "streams", "export", "sea_a", sys.argv[1], "--limit", "200000", "--force"]
    main()
    """


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_fills_up_midway_ends_the_command_with_one_line(tmp_path, name):
    pytest.importorskip("resource")
    (tmp_path / name).write_text("old")
    done = commands.python("-c", textwrap.dedent(LIMITED), name, cwd=tmp_path)
    assert done.returncode == 2
    kept = "the export is lost; a file of this name, if there was one, is as it was"
    assert done.stderr.splitlines()[-1] == (f"driftmoe: {name}: {os.strerror(errno.EFBIG)}; {kept}")
    assert "Traceback" not in done.stderr
    assert (tmp_path / name).read_text() == "old"
    assert os.listdir(tmp_path) == [name]


def test_a_folder_that_is_missing_or_cannot_be_written_is_named_with_the_file(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        write(numbers(), tmp_path / "none" / "t.csv")
    assert caught.value.filename == str(tmp_path / "none" / "t.csv")
    real = os.mkdir

    def read_only(
        path, *args, **options
    ):  # root may write everywhere, so that the mode of a folder shows nothing
        if str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "mkdir", read_only)
    with pytest.raises(OSError, match="Read-only file system; the export is lost") as caught:
        write(numbers(), tmp_path / "t.csv")
    assert caught.value.filename == str(tmp_path / "t.csv")
    assert os.listdir(tmp_path) == []
