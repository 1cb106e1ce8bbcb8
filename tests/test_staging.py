"""Files that appear whole or not at all: what a killed process leaves, who deletes it, what an error says."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from failing_calls import fail_at
from places import ENVIRONMENT

from driftmoe import staging as ours
from streams.staging import PREFIX, naming, publish, staging, write_files


def hidden(folder):
    """The folders of what is not finished."""
    return sorted(folder.glob(f"{PREFIX}*"))


def start(script, folder):
    """Start a Python process in a folder, and return it once it has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


HOLDS = """
    import sys
    from pathlib import Path
    from streams.staging import staging

    with staging(Path(".")) as folder:
        (folder / "half").write_bytes(bytes(1000))
        print("ready", flush=True)
        sys.stdin.read()
    """


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_holds_stays(tmp_path):
    alive, dead = start(HOLDS, tmp_path), start(HOLDS, tmp_path)
    kill(dead)
    assert len(hidden(tmp_path)) == 2
    with staging(tmp_path) as mine:
        left = [folder for folder in hidden(tmp_path) if folder != mine]
        assert [(folder / "half").stat().st_size for folder in left] == [1000]
        kill(alive)
    assert hidden(tmp_path) == left
    ours.write_files(tmp_path, {"other": b"x"}, kept="")
    assert hidden(tmp_path) == []


def test_two_in_one_process_do_not_take_each_other_for_dead(tmp_path):
    with staging(tmp_path) as outer:
        (outer / "a").write_text("a")
        with staging(tmp_path) as inner:
            assert hidden(tmp_path) == sorted([inner, outer])
        assert hidden(tmp_path) == [outer]
        assert (outer / "a").read_text() == "a"
    assert hidden(tmp_path) == []


def test_a_folder_that_has_no_lock_yet_is_left_to_its_maker_for_a_minute(tmp_path):
    folder = tmp_path / f"{PREFIX}new"
    folder.mkdir()
    write_files(tmp_path, {"a": b"1"}, kept="")
    assert hidden(tmp_path) == [folder]
    os.utime(folder, (time.time() - 3600,) * 2)
    write_files(tmp_path, {"a": b"2"}, kept="")
    assert hidden(tmp_path) == []


def test_folders_and_files_of_other_names_and_links_are_left_alone(tmp_path):
    for name in (".a.csv.123.part", ".incoming-x", "driftmoe-part-x"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_text("a")
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    os.utime(elsewhere, (0, 0))
    write_files(tmp_path, {"b": b"b"}, kept="")
    assert (elsewhere / "a").read_text() == "a"
    assert {".a.csv.123.part", ".incoming-x", "driftmoe-part-x"} <= set(os.listdir(tmp_path))


FILLS = """
    import itertools, sys
    from pathlib import Path
    from streams.staging import write_files

    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    for i in itertools.count():
        write_files(Path("."), {"a": str(i).encode() * 100, "b": str(i).encode() * 100}, kept="")
    """


def test_processes_that_write_and_sweep_at_once_do_not_disturb_each_other(tmp_path):
    processes = [start(FILLS, tmp_path) for _ in range(3)]
    time.sleep(1.5)
    assert [process.poll() for process in processes] == [None] * 3
    for process in processes:
        kill(process)
    for name in ("a", "b"):
        content = (tmp_path / name).read_text()
        assert content == content[: len(content) // 100] * 100  # whole
    for left in hidden(
        tmp_path
    ):  # one that was killed before it had the lock, or after, counts as new for a minute
        os.utime(left, (0, 0))
    write_files(tmp_path, {"a": b"end"}, kept="")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def failure_of(folder):
    """Write two files, and return the error."""
    try:
        write_files(folder, {"a": b"new a", "b": b"new b"}, kept="both are lost")
    except OSError as error:
        return error
    return None


STEPS = ("mkdir", "open", "fsync", "replace")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_whatever_fails_at_whichever_step_no_half_file_takes_a_place(tmp_path, monkeypatch, number):
    """Each system call in turn fails, until none is left to fail: old or new, never mixed within a file."""
    n_failures = 0
    for k in range(100):
        folder = tmp_path / str(k)
        folder.mkdir()
        (folder / "a").write_bytes(b"old a")

        with monkeypatch.context() as patch:
            calls = fail_at(patch, STEPS, k, number)
            error = failure_of(folder)
        if error is not None:
            n_failures += 1
            assert error.errno == number
            assert "both are lost" in str(error)
            assert error.filename in (str(folder / "a"), str(folder / "b"))
        names = sorted(name for name in os.listdir(folder) if not name.startswith(PREFIX))
        assert (folder / "a").read_bytes() in (b"old a", b"new a")
        if "b" in names:
            assert (folder / "b").read_bytes() == b"new b"
            assert (folder / "a").read_bytes() == b"new a"
        if len(calls) <= k:
            break
    assert n_failures >= 6
    assert names == ["a", "b"]


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    write_files(tmp_path, {"a": b"1"}, kept="")
    (tmp_path / "a").chmod(0o600)
    write_files(tmp_path, {"a": b"2"}, kept="")
    assert (tmp_path / "a").read_bytes() == b"2"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_an_error_names_the_file_and_says_once_what_is_kept(tmp_path):
    with pytest.raises(OSError, match="full disk") as caught, naming(tmp_path / "a", "b is kept"):
        raise OSError(errno.ENOSPC, "full disk", str(tmp_path / "other"))
    assert caught.value.filename == str(tmp_path / "other")  # another file: left as it is
    outer = naming(tmp_path / "a", "b is kept")
    with pytest.raises(OSError, match="b is kept") as caught, outer, naming(tmp_path / "a", "b is kept"):
        raise OSError(errno.ENOSPC, "full")
    assert str(caught.value) == (
        f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}; b is kept: {str(tmp_path / 'a')!r}"
    )


def test_a_missing_folder_is_told_of_with_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_files(tmp_path / "none", {"a": b""}, kept="nothing is written")
    assert caught.value.filename == str(tmp_path / "none" / "a")


def test_a_published_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    with staging(tmp_path) as folder:
        (folder / "a").write_text("a")
        publish(folder / "a", tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
