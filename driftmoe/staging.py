"""Atomic writing of files, and clean-up after killed processes.

Unfinished files lie in a hidden folder beside their final place, on the same disk, so that a rename completes them. The
writing process holds a lock in that folder. The operating system releases the lock however the process ends. The next
process that stages files in the same place deletes the folders whose lock is free.

`driftmoe` and `streams` import nothing from each other, so both contain this file, with the same content.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE

from filelock import FileLock, Timeout

PREFIX = ".driftmoe-part-"
"""Prefix of the hidden folders' names."""

LOCK = ".lock"
"""Name of the lock file in such a folder."""

_GRACE_SECONDS = 60
"""Time for which a folder without a lock is kept: its process may be about to create the lock."""


@contextmanager
def staging(place: Path) -> Iterator[Path]:
    """Create a temporary folder in `place`, and delete those that dead processes left there."""
    for left in place.glob(f"{PREFIX}*"):
        delete_unless_held(left)
    folder, lock = _held_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # again: some systems keep open files, here the lock


def _held_folder(place: Path) -> tuple[Path, FileLock]:
    """Create a folder whose lock this process holds."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = FileLock(folder / LOCK, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:  # another process takes the folder for a leftover and deletes it
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
    """Delete a folder if no process holds its lock."""
    try:
        if not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime < _GRACE_SECONDS:
            return
        lock = FileLock(folder / LOCK, thread_local=False)
        lock.acquire(blocking=False)
    except (Timeout, OSError):  # in use, already deleted, or another user's
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, path: Path) -> Path:
    """Move a finished file to its place atomically. Even after a power cut, the old or the whole new file is there."""
    with staged.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(staged, path)
    sync_folder(path.parent)
    return path


def write_files(place: Path, contents: Mapping[str, bytes], *, kept: str = "") -> list[Path]:
    """Write files in `place`. No file is replaced before all of them are written.

    Parameters
    ----------
    place
        Existing folder of the files.
    contents
        File name -> content.
    kept
        Text for the error message: what is lost and what is kept. Default: nothing.

    Raises
    ------
    OSError
        If a file cannot be written. The error names the file, and the old files are still there.
    """
    with naming(place / next(iter(contents)), kept), staging(place) as folder:
        for i, (name, content) in enumerate(contents.items()):
            with naming(place / name, kept):
                write_synced(folder / str(i), content)
        for i, name in enumerate(contents):
            with naming(place / name, kept):
                _keep_mode(place / name, folder / str(i))
                os.replace(folder / str(i), place / name)
        for parent in dict.fromkeys((place / name).parent for name in contents):
            sync_folder(parent)
    return [place / name for name in contents]


def _keep_mode(old: Path, new: Path) -> None:
    """Give a new file the permissions of the one that it replaces, if there is one."""
    with suppress(FileNotFoundError):
        new.chmod(S_IMODE(old.stat().st_mode))


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that renames survive a power cut. Does nothing on non-POSIX systems."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path, kept: str = "") -> Iterator[None]:
    """Make disk errors name the file that was to be written, and add what is lost and what is kept.

    The error of a full disk names no file. Others name a file in the hidden folder, or a parent folder of the file. An
    error that names any other file is unchanged.
    """
    try:
        yield
    except OSError as error:
        about = Path(path if error.filename is None or PREFIX in str(error.filename) else error.filename)
        is_ours = about == path or about in path.parents
        was_named = error.filename == str(about) and str(error.strerror).endswith(kept)
        if error.errno is None or not is_ours or was_named:
            raise
        text = os.strerror(error.errno)
        raise OSError(error.errno, f"{text}; {kept}" if kept else text, str(about)) from error
