"""Runs and their results: one run is one model on one stream with one seed; its result is one JSON line and a curve.

A results folder holds `results.jsonl` (one line per run) and `windows.csv` (one line per window of each run). Both are
rewritten whole and atomically after each run, so that a crash loses only the run it interrupted.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock
from river import base

from driftmoe.evaluation import Checkpoint

KEY = ("stream", "stream_sha256", "model", "seed", "limit", "window")
"""What tells one run from another: a new result replaces an older one that agrees in all of these."""

CURVE_COLUMNS = (
    *KEY,
    "n_samples",
    "accuracy",
    "kappa",
    "kappa_m",
    "kappa_t",
    "f1_macro",
    "g_mean",
    "samples_per_second",
)
"""Columns that every curve has; a model may add some of its own."""


@dataclass(frozen=True)
class Run:
    """Name of one run: what, on what, with which seed.

    Attributes
    ----------
    stream, model
        As the user wrote them.
    seed
        Of the stream (where it is synthetic) and of the model.
    limit
        Length asked for, in samples; `None` for the whole stream.
    window
        Samples between two checkpoints.
    stream_sha256
        Hash that tells the stream's samples from another's of the same name: other data, target or seed.
    """

    stream: str
    stream_sha256: str
    model: str
    seed: int
    limit: int | None
    window: int

    def result(
        self,
        checkpoint: Checkpoint,
        model: base.Classifier,
        *,
        stream_length: int | None,
        drifts: Sequence[tuple[int, int]],
        is_complete: bool,
    ) -> dict[str, Any]:
        """Return the result line of this run: its figures first, then all that is needed to repeat it.

        Parameters
        ----------
        checkpoint
            The last one.
        model
            The trained model; its memory is measured here.
        stream_length
            Samples of the whole stream, where known.
        drifts
            Known drifts as (position, width), in samples.
        is_complete
            `False` when the run was interrupted.
        """
        return {
            "stream": self.stream,
            "model": self.model,
            "seed": self.seed,
            "n_samples": checkpoint.n_samples,
            **checkpoint.cumulative,
            "samples_per_second": checkpoint.n_samples / checkpoint.seconds,
            "seconds": checkpoint.seconds,
            "model_bytes": model._raw_memory_usage,
            "complete": is_complete,
            "limit": self.limit,
            "window": self.window,
            "parameters": _plain(model._get_params()),
            "stream_length": stream_length,
            "stream_sha256": self.stream_sha256,
            "drifts": [list(drift) for drift in drifts],
            "versions": versions(),
        }

    def curve_point(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the line of one window: the figures of its own samples."""
        n_before = (checkpoint.n_samples - 1) // self.window * self.window
        return {
            **{name: getattr(self, name) for name in KEY},
            "n_samples": checkpoint.n_samples,
            **checkpoint.window,
            "samples_per_second": (checkpoint.n_samples - n_before) / checkpoint.window_seconds,
        }


class ResultFolder:
    """The results kept in one folder.

    Parameters
    ----------
    path
        Created when missing; results that are already there stay, unless the same run is done again.

    Raises
    ------
    ValueError
        If the folder holds a `results.jsonl` that cannot be read.
    OSError
        If the folder cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / ".lock")
        with self._lock:  # fails here, before the work, where nothing can be written
            self._read()

    def _read(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return _read_lines(self.path / "results.jsonl"), _read_csv(self.path / "windows.csv")

    def add(self, result: Mapping[str, Any], curve: Iterable[Mapping[str, Any]]) -> None:
        """Keep one run; the files on disk are whole before and after, also when other processes add theirs.

        An interrupted run does not replace a complete one.
        """
        key = run_key(result)
        with self._lock:
            results, curves = self._read()
            if not result["complete"] and any(run_key(old) == key and old["complete"] for old in results):
                return
            results = [old for old in results if run_key(old) != key] + [dict(result)]
            curves = [old for old in curves if run_key(old) != key] + [dict(point) for point in curve]
            lines = "".join(json.dumps(line, allow_nan=False) + "\n" for line in results)
            _write_atomically(self.path / "results.jsonl", lines)
            _write_csv(self.path / "windows.csv", curves)

    def results(self, stream: str) -> list[dict[str, Any]]:
        """Return the result lines of one stream, oldest first."""
        return [line for line in self._read()[0] if line["stream"] == stream]

    def curves(self, stream: str) -> list[dict[str, Any]]:
        """Return the windows of all runs on one stream."""
        return [point for point in self._read()[1] if point["stream"] == stream]


def read_results(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the result lines and the windows kept in a folder and all folders below it.

    Parameters
    ----------
    folder
        Folder that holds `results.jsonl` and `windows.csv`, or folders that do. Names that begin with a dot are passed
        over: what is being written is not read.

    Raises
    ------
    ValueError
        If there is no `results.jsonl` at all, or a file cannot be read.
    """
    paths = sorted(
        path
        for path in folder.rglob("results.jsonl")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise ValueError(
            f"{folder} holds no results.jsonl, nor do its folders; `driftmoe evaluate STREAM --out {folder}` writes one"
        )
    results = [line for path in paths for line in _read_lines(path)]
    curves = [point for path in paths for point in _read_csv(path.with_name("windows.csv"))]
    return results, curves


def versions() -> dict[str, str]:
    """Return the versions that can change a figure."""
    packages = ("driftmoe", "river", "torch", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def run_key(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what tells a run from others, as text: the same for a result line and for a point of its curve."""
    return tuple("" if line.get(name) is None else str(line[name]) for name in KEY)


def _plain(value: Any) -> Any:
    """A parameter as JSON can hold it: a model becomes its class and its own parameters."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)  # JSON has no word for it
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, base.Base):
        return {"class": type(value).__name__, **_plain(value._get_params())}
    return repr(value)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number} is no JSON ({error}); move the file away or mend it"
            ) from None
        if not isinstance(line, dict) or "stream" not in line:
            raise ValueError(f"{path}, line {number} is no result of this program; choose another folder")
        lines.append(line)
    return lines


def _read_csv(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {*KEY, "n_samples", "accuracy"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path} is no curve of this program; choose another folder")
        return list(reader)


def _write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys([*CURVE_COLUMNS, *(name for line in lines for name in line)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    _write_atomically(path, text.getvalue())


def _write_atomically(path: Path, text: str) -> None:
    """Write beside the file and rename: a reader, or a crash, finds the old file or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
