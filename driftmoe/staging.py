"""Files that appear whole or not at all, and what a killed process leaves of them.

What is not finished lies in a hidden folder beside its place, on the same disk, so that a rename puts it there. The
process that writes holds a lock in that folder, which the operating system takes from it however it ends. Whoever
stages into the same place next deletes the folders whose lock nobody holds.

`driftmoe` and `streams` import nothing of each other: this file is in both, with the same content.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = ".driftmoe-part-"
"""How the names of the folders begin."""

LOCK = ".lock"
"""File of the lock in such a folder."""

_GRACE_SECONDS = 60
"""A folder without a lock is left so long to whoever has just made it."""


@contextmanager
def staging(place: Path) -> Iterator[Path]:
    """Make a folder in `place`, which is gone at the end, and delete those that dead processes left there."""
    for left in place.glob(f"{PREFIX}*"):
        delete_unless_held(left)
    folder, lock = _held_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # some systems keep what is open, here the lock


def _held_folder(place: Path) -> tuple[Path, FileLock]:
    """Make a folder whose lock this process has."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = FileLock(folder / LOCK, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:  # another process takes it for a leftover, and deletes it
            continue
        except OSError:
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
                raise
            continue
        if (folder / LOCK).exists():
            return folder, lock
        lock.release()


def delete_unless_held(folder: Path) -> None:
    """Delete a folder whose lock nobody has, which so is a leftover."""
    try:
        if not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime < _GRACE_SECONDS:
            return
        lock = FileLock(folder / LOCK, thread_local=False)
        lock.acquire(blocking=False)
    except (Timeout, OSError):  # in use, gone by now, or another user's
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, path: Path) -> Path:
    """Put a finished file in its place: other processes, and who comes after a power cut, find it whole or the old."""
    with staged.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(staged, path)
    _sync_names(path.parent)
    return path


def write_files(place: Path, contents: Mapping[str, bytes], *, kept: str) -> list[Path]:
    """Write files by their names in `place`; none takes its place before all of them are written.

    Parameters
    ----------
    place
        Folder of the files, which exists.
    contents
        Name of a file -> what it holds.
    kept
        What an error says of what is lost and what is kept.

    Raises
    ------
    OSError
        If a file cannot be written; it names the file, and the old ones are still there.
    """
    with naming(place / next(iter(contents)), kept), staging(place) as folder:
        for i, (name, content) in enumerate(contents.items()):
            with naming(place / name, kept), (folder / str(i)).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for i, name in enumerate(contents):
            with naming(place / name, kept):
                os.replace(folder / str(i), place / name)
        for parent in dict.fromkeys((place / name).parent for name in contents):
            _sync_names(parent)
    return [place / name for name in contents]


def _sync_names(folder: Path) -> None:
    """Let the names in a folder, too, outlast a power cut, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path, kept: str) -> Iterator[None]:
    """Let an error of the disk name the file that was to be written, and say what is lost and what is kept.

    That of a full disk names no file, others one in the hidden folder, or a folder of the file. An error that names
    another file is left alone.
    """
    try:
        yield
    except OSError as error:
        about = Path(path if error.filename is None or PREFIX in str(error.filename) else error.filename)
        is_ours = about == path or about in path.parents
        if error.errno is None or not is_ours or str(error.strerror).endswith(kept):  # the last: it was said
            raise
        raise OSError(error.errno, f"{os.strerror(error.errno)}; {kept}", str(about)) from error
