"""Folders in which several commands keep results at the same time, and the claims of runs.

A `ResultFolder` has two files for all runs, a `JobFolder` one file per run. A command does a run only while it holds
the run's `Claim`. If a process dies, the operating system releases its claims.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from driftmoe.experiment.lines import csv_text, read_csv, read_job, read_lines, run_key
from driftmoe.experiment.run import Run
from driftmoe.staging import naming, sync_folder, write_files, write_synced

CLAIMS = ".claims"
"""Folder of the claims' lock files."""

PENDING, COMMITTED = ".pending", ".committed"
"""Folders of files that are being written together, and of files that are committed but not yet in place."""


def _make_folder(path: Path) -> None:
    """Create a folder, unless it is there. Raise NotADirectoryError if there is a file in its place."""
    if path.is_file():
        raise NotADirectoryError(errno.ENOTDIR, "is a file; give a folder", str(path))
    path.mkdir(parents=True, exist_ok=True)


class Claim:
    """The right to do one run, held by one process at a time.

    It is a lock of the operating system, which releases it however the process ends.

    Parameters
    ----------
    path
        Lock file; it remains until the run is done.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._path, self._lock = path, FileLock(path, thread_local=False)

    def take(self) -> bool:
        """Try to take the claim, and return whether it was free."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def give_up(self, *, is_done: bool = False) -> None:
        """Release the claim. If the run is done, remove the lock file: other commands will find the result."""
        if is_done:
            with contextlib.suppress(OSError):  # some systems cannot delete files that are open elsewhere
                self._path.unlink(missing_ok=True)
        self._lock.release()


class ResultFolder:
    """The results kept in one folder.

    Parameters
    ----------
    path
        Created if missing. Existing results are kept, unless the same run is done again.

    Raises
    ------
    ValueError
        If the folder contains a `results.jsonl` that cannot be read.
    OSError
        If the folder cannot be created or written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        _make_folder(path)
        self._lock = FileLock(path / ".lock")
        with self._lock:  # fails here, before the work, if nothing can be written
            self._recover()
            self._before, _ = self._read()

    def _read(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return (
            read_lines(newest(self.path / "results.jsonl")),
            read_csv(newest(self.path / "windows.csv")),
        )

    def _recover(self) -> None:
        """Clean up after a dead process: drop an uncommitted transaction, or finish a committed one."""
        shutil.rmtree(self.path / PENDING, ignore_errors=True)
        self._finish()

    def _replace(self, texts: Mapping[str, str]) -> None:
        """Write all these files or none: they are written to a separate folder, and renaming it commits them."""
        pending = self.path / PENDING
        try:
            pending.mkdir()
            for name, text in texts.items():
                with naming(self.path / name):
                    write_synced(pending / name, text.encode())
            sync_folder(pending)
            pending.rename(self.path / COMMITTED)
        finally:
            shutil.rmtree(pending, ignore_errors=True)
        sync_folder(self.path)
        self._finish()

    def _finish(self) -> None:
        """Move committed files into place."""
        committed = self.path / COMMITTED
        if not committed.is_dir():
            return
        for file in sorted(committed.iterdir()):
            file.replace(self.path / file.name)
        sync_folder(self.path)
        committed.rmdir()

    def claim(self, run: Run) -> Claim:
        """Return the claim of a run, not taken yet."""
        key = json.dumps(run_key(vars(run)))
        return Claim(self.path / CLAIMS / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.lock")

    def result(self, run: Run) -> dict[str, Any] | None:
        """Return the result line of a run that was completed since this object was created, else `None`."""
        key = run_key(vars(run))
        with self._lock:
            lines = read_lines(newest(self.path / "results.jsonl"))
        return next(
            (
                line
                for line in lines
                if run_key(line) == key and line["complete"] and line not in self._before
            ),
            None,
        )

    def add(self, result: Mapping[str, Any], curve: Iterable[Mapping[str, Any]]) -> None:
        """Add a run's result line and curve, atomically.

        The files stay consistent even if other processes add runs, or this one dies. An interrupted run does not
        replace a complete one.

        Raises
        ------
        OSError
            If a file cannot be written, for example on a full disk. Earlier results are kept.
        """
        key = run_key(result)
        with self._lock:
            self._recover()
            results, curves = self._read()
            if not result["complete"] and any(run_key(old) == key and old["complete"] for old in results):
                return
            results = [old for old in results if run_key(old) != key] + [dict(result)]
            curves = [old for old in curves if run_key(old) != key] + [dict(point) for point in curve]
            self._write(results, curves)

    def arrange(self, keys: Sequence[Any]) -> None:
        """Put the lines and curves of runs, given by `run_key`, behind all others and in this order, atomically."""
        places = {key: place for place, key in enumerate(keys)}

        def place(line: Mapping[str, Any]) -> int:
            return places.get(run_key(line), -1)

        with self._lock:
            self._recover()
            results, curves = self._read()
            if sorted(results, key=place) != results:
                self._write(sorted(results, key=place), sorted(curves, key=place))

    def _write(self, results: Iterable[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> None:
        lines = "".join(json.dumps(line, allow_nan=False) + "\n" for line in results)
        self._replace({"results.jsonl": lines, "windows.csv": csv_text(curves)})

    def keep_traceback(self, text: str) -> Path:
        """Write the traceback of a failed run, replacing an earlier one, and return its file."""
        file = self.path / "traceback.txt"
        with self._lock:
            _write(file, text)
        return file

    def results(self, stream: str) -> list[dict[str, Any]]:
        """Return the result lines of one stream, oldest first."""
        with self._lock:
            return [line for line in self._read()[0] if line["stream"] == stream]

    def curves(self, stream: str) -> list[dict[str, Any]]:
        """Return the windows of all runs on one stream."""
        with self._lock:
            return [point for point in self._read()[1] if point["stream"] == stream]


class JobFolder:
    """The results of a grid, one file per run: `jobs/STREAM-MODEL-SEED-HASH.json`.

    The hash covers the identity of the run and the arguments of the model. Files are written atomically. A failed run
    leaves its traceback in `failed/....txt` instead, and is tried again next time.

    Parameters
    ----------
    path
        Created if missing.

    Raises
    ------
    OSError
        If the folder cannot be created.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        _make_folder(path)
        for name in ("jobs", "failed"):
            (path / name).mkdir(exist_ok=True)

    def file(self, run: Run) -> Path:
        """Return the file that holds the result of a run."""
        return self.path / "jobs" / f"{run.file_stem()}.json"

    def result(self, run: Run) -> dict[str, Any] | None:
        """Return the result line of a run that is done, else `None`.

        Raises
        ------
        ValueError
            If the file exists but contains no valid result.
        """
        file = self.file(run)
        return read_job(file)[0] if file.exists() else None

    def claim(self, run: Run) -> Claim:
        """Return the claim of a run, not taken yet."""
        return Claim(self.path / CLAIMS / f"{self.file(run).stem}.lock")

    def other_windows(self, runs: Iterable[Run]) -> set[int]:
        """Return the windows of results that differ from these runs in nothing but the window."""
        wanted = [run for run in runs if not self.file(run).exists()]
        ours = {run_key({**vars(run), "window": None}) for run in wanted}
        lines = [read_job(file)[0] for file in sorted((self.path / "jobs").glob("*.json"))] if wanted else []
        return {line["window"] for line in lines if run_key({**line, "window": None}) in ours}

    def keep(self, run: Run, result: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> None:
        """Write the result of a run.

        Raises
        ------
        OSError
            If its file cannot be written, for example on a full disk.
        """
        text = json.dumps({"result": result, "curve": curve}, allow_nan=False, indent=1)
        _write(self.file(run), text + "\n")
        self._traceback_file(run).unlink(missing_ok=True)

    def keep_failure(self, run: Run, text: str) -> Path:
        """Write the traceback of a failed run, and return its file."""
        _write(self._traceback_file(run), f"{run.model} on {run.stream}, seed {run.seed}\n{run}\n\n{text}")
        return self._traceback_file(run)

    def _traceback_file(self, run: Run) -> Path:
        return self.path / "failed" / f"{self.file(run).stem}.txt"


def _write(file: Path, text: str) -> None:
    """Write a file. Even after a crash, readers find the old or the new file."""
    write_files(file.parent, {file.name: text.encode()})


def newest(path: Path) -> Path:
    """Return the path of the newest content of a file of a `ResultFolder`: the file itself, or a committed one."""
    committed = path.parent / COMMITTED / path.name
    return committed if committed.exists() else path


@contextlib.contextmanager
def held_still(folder: Path) -> Iterator[None]:
    """Lock a `ResultFolder` for reading. A folder that this process cannot write to is read without a lock."""
    lock = folder / ".lock"
    if not lock.exists() or not os.access(lock, os.W_OK):
        yield
        return
    with FileLock(lock):
        yield
