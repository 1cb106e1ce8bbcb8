"""Runs and their results: one run is one model on one stream with one seed; its result is one JSON line and a curve.

`ResultFolder` is what a few runs by hand leave: `results.jsonl` (one line per run) and `windows.csv` (one line per
window of each run), both rewritten whole, in one transaction, after each run. `JobFolder` is what a grid leaves: one
file per run, so that many processes or machines can write, and a run that has its file is never done again. `run_grid`
does the runs, one by one, in processes of this machine, or on a Dask cluster. `read_results` reads both kinds of
folder.

Several commands may share a folder: each run is done by the one that has its `Claim`, a lock of the operating system,
which a process that dies, however, gives up. `Backlog` hands the runs out.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import glob
import hashlib
import io
import itertools
import json
import math
import multiprocessing
import os
import platform
import re
import shutil
import signal
import subprocess
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from filelock import FileLock, Timeout
from river import base

from driftmoe import models
from driftmoe.classifier import DriftMoEClassifier
from driftmoe.evaluation import FAILURES, Checkpoint, Delay, prequential

KEY = ("stream", "stream_sha256", "model", "seed", "limit", "window", "delay")
"""What tells one run from another: a new result replaces an older one that agrees in all of these."""

REQUIRED: dict[str, Any] = {
    "stream": str, "stream_sha256": str, "model": str, "seed": int, "n_samples": int, "complete": bool,
    "limit": int | None, "window": int, "drifts": list,
    **dict.fromkeys(("accuracy", "samples_per_second", "seconds", "model_bytes"), int | float),
}  # fmt: skip
"""What every result line has, and of which type."""

OPTIONAL: dict[str, Any] = {
    **dict.fromkeys(
        ("kappa", "kappa_m", "kappa_t", "f1_macro", "g_mean", "cpu_seconds", "ram_hours"), int | float
    ),
    **dict.fromkeys(("routing", "parameters", "versions", "reading"), dict),
    "n_warm_up": int,
    "count_warm_up": bool,
}
"""What a result line may have, and of which type."""

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
    delay
        Samples between a sample and its label, as text: `1000`, `100-2000` for a random one, or the name of a column.
    count_warm_up
        Whether samples that were predicted before the first label came count in the figures.
    """

    stream: str
    stream_sha256: str
    model: str
    seed: int
    limit: int | None
    window: int
    delay: str = "0"
    count_warm_up: bool = False

    def protocol(self) -> dict[str, Any]:
        """Return the arguments of `prequential` that this run asks for."""
        return {
            "window": self.window,
            "delay": parsed_delay(self.delay),
            "seed": self.seed,
            "count_warm_up": self.count_warm_up,
        }

    def parameters(self) -> dict[str, Any]:
        """Return all that the model was told, as JSON can hold it."""
        # Of a new one: some of river's models change their own while they learn.
        return plain(_parameters(models.make(self.model, seed=self.seed)))

    def do(self, stream: Any) -> Iterator[News]:
        """Do the run from its start to the end of the stream.

        Parameters
        ----------
        stream
            What it names.

        Yields
        ------
        news
            The share of the samples that are done, where the stream knows its length; at the end the result line and
            the curve.

        Raises
        ------
        ValueError
            If the stream is not the one that the run names, or holds no samples.
        """
        check_fingerprint(self, stream)
        torch.set_num_threads(1)  # a router is small: threads would only wait for each other
        compile_first(self, stream)
        model = models.make(self.model, seed=self.seed)
        last, curve = None, []
        for last in prequential(stream, model, **self.protocol()):
            if last.n_window_counted:
                curve.append(self.curve_point(last))
            if stream.n_samples:
                yield last.n_samples / stream.n_samples
        if last is None:
            raise ValueError(f"{self.stream} holds no samples")
        drifts = [(drift.position, drift.width) for drift in stream.drifts]
        of_stream = {"stream_length": stream.n_samples, "drifts": drifts, "reading": reading(stream)}
        yield self.result(last, model, **of_stream, is_complete=True), curve

    def result(
        self,
        checkpoint: Checkpoint,
        model: base.Classifier,
        *,
        stream_length: int | None,
        drifts: Sequence[tuple[int, int]],
        is_complete: bool,
        reading: Mapping[str, Any] | None = None,
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
        reading
            How a file was read; nothing for another stream.
        """
        routing = {}
        if checkpoint.routing is not None:
            figures = checkpoint.routing.cumulative
            routing = {"routing": figures.of_all() | {"experts": figures.of_each()}}
        return {
            "stream": self.stream,
            "model": self.model,
            "seed": self.seed,
            "n_samples": checkpoint.n_samples,
            **checkpoint.cumulative,
            "samples_per_second": checkpoint.n_samples / checkpoint.seconds,
            "seconds": checkpoint.seconds,
            "cpu_seconds": checkpoint.cpu_seconds,
            "ram_hours": checkpoint.ram_hours,
            "model_bytes": model._raw_memory_usage,
            **routing,
            "complete": is_complete,
            "limit": self.limit,
            "window": self.window,
            "delay": self.delay,
            "n_warm_up": checkpoint.n_warm_up,
            "count_warm_up": self.count_warm_up,
            "parameters": self.parameters(),
            "stream_length": stream_length,
            "stream_sha256": self.stream_sha256,
            **({"reading": dict(reading)} if reading else {}),
            "drifts": [list(drift) for drift in drifts],
            "versions": versions() | getattr(model, "versions", {}),
            "commit": commit(),
        }

    def curve_point(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the line of one window: the figures of its own samples, and of its routing where the model tells."""
        routing: dict[str, float | None] = {}
        if checkpoint.routing is not None:
            figures = checkpoint.routing.window
            routing = {f"routing_{name}": value for name, value in figures.of_all().items()}
            for expert, of_expert in figures.of_each().items():
                routing |= {f"routing_{name}_{expert}": value for name, value in of_expert.items()}
        n_before = (checkpoint.n_samples - 1) // self.window * self.window
        return {
            **{name: getattr(self, name) for name in KEY},
            "count_warm_up": self.count_warm_up,
            "n_samples": checkpoint.n_samples,
            **checkpoint.window,
            "samples_per_second": (checkpoint.n_samples - n_before) / checkpoint.window_seconds,
            **routing,
        }


class Claim:
    """The right to do one run, which one process at a time has.

    It is a lock that the operating system takes from a process that ends, however it ends.

    Parameters
    ----------
    path
        File of the lock, which stays until the run is done.
    leftovers
        Files that only a dead process can have left behind where this one has the claim; removed when it gets it.
    """

    def __init__(self, path: Path, leftovers: Sequence[Path] = ()) -> None:
        path.parent.mkdir(exist_ok=True)
        self._path, self._leftovers, self._lock = path, leftovers, FileLock(path, thread_local=False)

    def take(self) -> bool:
        """Take the claim and return whether nobody else has it."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        for file in self._leftovers:
            for part in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
                part.unlink(missing_ok=True)
        return True

    def give_up(self, *, is_done: bool = False) -> None:
        """Let others have it; where the run is done they look for its result, and the file of the lock may go."""
        if is_done:
            with contextlib.suppress(OSError):  # some systems keep what another has open
                self._path.unlink(missing_ok=True)
        self._lock.release()


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

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / ".lock")
        with self._lock:  # fails here, before the work, where nothing can be written
            self._recover()
            self._before, _ = self._read()

    def _read(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return (
            _read_lines(_newest(self.path / "results.jsonl")),
            _read_csv(_newest(self.path / "windows.csv")),
        )

    def _recover(self) -> None:
        """Clear away what a process that died has left: half a transaction is forgotten, a committed one finished."""
        shutil.rmtree(self.path / PENDING, ignore_errors=True)
        for name in ("results.jsonl", "windows.csv", "traceback.txt"):
            for part in self.path.glob(f".{name}.*.part"):
                part.unlink(missing_ok=True)
        self._finish()

    def _replace(self, texts: Mapping[str, str]) -> None:
        """Write all these files or none: they are written apart, and count from the renaming of their folder on."""
        pending = self.path / PENDING
        try:
            pending.mkdir()
            for name, text in texts.items():
                with naming(self.path / name):
                    _write_synced(pending / name, text)
            _sync_folder(pending)
            pending.rename(self.path / COMMITTED)
        finally:
            shutil.rmtree(pending, ignore_errors=True)
        _sync_folder(self.path)
        self._finish()

    def _finish(self) -> None:
        """Move files that count already to where they belong."""
        committed = self.path / COMMITTED
        if not committed.is_dir():
            return
        for file in sorted(committed.iterdir()):
            file.replace(self.path / file.name)
        _sync_folder(self.path)
        committed.rmdir()

    def claim(self, run: Run) -> Claim:
        """Return the claim of a run, not taken yet."""
        key = json.dumps(run_key({name: getattr(run, name) for name in KEY}))
        return Claim(self.path / CLAIMS / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.lock")

    def result(self, run: Run) -> dict[str, Any] | None:
        """Return the result line of a run that was completed since this object was made, else `None`."""
        key = run_key({name: getattr(run, name) for name in KEY})
        with self._lock:
            lines = _read_lines(_newest(self.path / "results.jsonl"))
        return next(
            (
                line
                for line in lines
                if run_key(line) == key and line["complete"] and line not in self._before
            ),
            None,
        )

    def add(self, result: Mapping[str, Any], curve: Iterable[Mapping[str, Any]]) -> None:
        """Keep one run: its line and its curve, or neither of them.

        The files are whole before and after, also when other processes add theirs, and when this one dies. An
        interrupted run does not replace a complete one.

        Raises
        ------
        OSError
            If a file cannot be written, as on a full disk; what was kept before is still there.
        """
        key = run_key(result)
        with self._lock:
            self._recover()
            results, curves = self._read()
            if not result["complete"] and any(run_key(old) == key and old["complete"] for old in results):
                return
            results = [old for old in results if run_key(old) != key] + [dict(result)]
            curves = [old for old in curves if run_key(old) != key] + [dict(point) for point in curve]
            lines = "".join(json.dumps(line, allow_nan=False) + "\n" for line in results)
            self._replace({"results.jsonl": lines, "windows.csv": _csv_text(curves)})

    def keep_traceback(self, text: str) -> Path:
        """Keep the traceback of the run that failed last, and return its file."""
        file = self.path / "traceback.txt"
        with self._lock:
            _write_atomically(file, text)
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

    The hash is that of all that tells one run from another, the model's parameters included. A file appears whole or
    not at all. A run that failed leaves `failed/....txt` with its traceback instead, and is tried again next time.

    Parameters
    ----------
    path
        Created when missing.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        for name in ("jobs", "failed"):
            (path / name).mkdir(parents=True, exist_ok=True)

    def file(self, run: Run) -> Path:
        """Return the file that the result of a run is kept in."""
        what = [*(getattr(run, name) for name in KEY), run.parameters()]
        if warm_up := warm_up_protocol(vars(run)):
            what.append(warm_up)
        identity = json.dumps(what, sort_keys=True)
        name = re.sub(r"[^\w.()=,-]+", "_", f"{Path(run.stream).name}-{run.model}-{run.seed}")
        name = name.encode()[:80].decode(errors="ignore")  # systems count bytes, not characters
        return self.path / "jobs" / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.json"

    def result(self, run: Run) -> dict[str, Any] | None:
        """Return the result line of a run that is done, else `None`.

        Raises
        ------
        ValueError
            If its file is there and holds no result.
        """
        file = self.file(run)
        return _read_job(file)[0] if file.exists() else None

    def claim(self, run: Run) -> Claim:
        """Return the claim of a run, not taken yet."""
        file, text = self.file(run), self._traceback_file(run)
        return Claim(self.path / CLAIMS / f"{file.stem}.lock", (file, text))

    def keep(self, run: Run, result: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> None:
        """Keep the result of a run.

        Raises
        ------
        OSError
            If its file cannot be written, as on a full disk.
        """
        text = json.dumps({"result": result, "curve": curve}, allow_nan=False, indent=1)
        _write_atomically(self.file(run), text + "\n")
        self._traceback_file(run).unlink(missing_ok=True)

    def keep_failure(self, run: Run, text: str) -> Path:
        """Keep the traceback of a run that failed, and return its file."""
        _write_atomically(
            self._traceback_file(run), f"{run.model} on {run.stream}, seed {run.seed}\n{run}\n\n{text}"
        )
        return self._traceback_file(run)

    def _traceback_file(self, run: Run) -> Path:
        return self.path / "failed" / f"{self.file(run).stem}.txt"


@dataclass(frozen=True)
class Event:
    """What happened to one run of a grid.

    Attributes
    ----------
    run
        Which run.
    state
        `"kept"` (it was done before, or by another command meanwhile), `"waiting"` (another command is doing it),
        `"started"`, `"moved"`, `"done"` or `"failed"`.
    share
        How much of it is done, from 0 to 1, where that is known.
    result
        Its result line, where there is one.
    error
        File of the traceback, where it failed.
    """

    run: Run
    state: Literal["kept", "waiting", "started", "moved", "done", "failed"]
    share: float = 0.0
    result: Mapping[str, Any] | None = None
    error: Path | None = None


class Shared(Protocol):
    """A folder in which several commands keep results."""

    def claim(self, run: Run) -> Claim:
        """Return the claim of a run, not taken yet."""

    def result(self, run: Run) -> Mapping[str, Any] | None:
        """Return the result that a run has already."""


class Backlog:
    """Runs that are still to be done, each handed out with its claim, so that no other command does it too.

    A run that another command is doing is put off until that is done, and then counts as done, or until it was given
    up.

    Parameters
    ----------
    runs
        What to do, in this order.
    folder
        Where results are kept, and claims.
    """

    def __init__(self, runs: Iterable[Run], folder: Shared) -> None:
        self._left = deque(dict.fromkeys(runs))
        self._folder = folder
        self._claims: dict[Run, Claim] = {}
        self._taken: set[Run] = set()
        self._elsewhere: set[Run] = set()

    def __bool__(self) -> bool:
        return bool(self._left)

    def next(self, *, is_patient: bool) -> Generator[Event, None, Run | None]:
        """Yield what becomes of runs that others do, and return one to be done here.

        `None` where there is none: none at all, or, without patience, none that others do not do now.
        """
        while self._left:
            for _ in range(len(self._left)):
                run = self._left.popleft()
                if run not in self._claims:
                    self._claims[run] = self._folder.claim(run)
                if not self._claims[run].take():
                    self._left.append(run)
                    if run not in self._elsewhere:
                        self._elsewhere.add(run)
                        yield Event(run, "waiting")
                    continue
                self._taken.add(run)
                result = self._folder.result(run)
                if result is None:
                    return run
                self.done(run)
                yield Event(run, "kept", 1.0, result)
            if not is_patient:
                break
            time.sleep(GLANCE)
        return None

    def offers(self) -> Iterator[Event | Run]:
        """Yield all runs that are to be done here, each after the one before was done, and what others do."""
        while run := (yield from self.next(is_patient=True)):
            yield run

    def done(self, run: Run, *, is_kept: bool = True) -> None:
        """Give up the claim of a run that has ended, whether its result is kept or not."""
        self._taken.discard(run)
        self._claims.pop(run).give_up(is_done=is_kept)

    def give_up(self) -> None:
        """Give up all claims."""
        for run in list(self._taken):
            self.done(run, is_kept=False)


GLANCE = 0.5
"""Seconds after which it is looked whether another command has ended a run."""

ENOUGH_TO_COMPILE = 300
"""Samples after which all of a model has been at work: more than a mini-batch of any router."""

PATIENCE = 600
"""Seconds without any worker of a Dask cluster after which a grid gives up."""

LOOK = 5
"""Seconds after which a grid looks for new workers of a Dask cluster."""

EXECUTORS = ("serial", "processes", "dask")

OpenStream = Callable[..., Any]
"""Called as `open_stream(name=, limit=, seed=)`; must be picklable, since other processes call it."""

News = float | str | tuple[dict[str, Any], list[dict[str, Any]]]
"""Of a run: the share that is done, the traceback of what went wrong, or result line and curve."""


def run_grid(
    runs: Iterable[Run],
    open_stream: OpenStream,
    folder: JobFolder,
    *,
    executor: str = "processes",
    n_workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[Event]:
    """Do all runs that have no result yet, keep each as it ends, and tell what happens.

    Parameters
    ----------
    runs
        What to do, in this order.
    open_stream
        Returns the stream of a run; called where the run is done.
    folder
        Where results are kept. Of this grid, the caller's process alone writes to it. A run that another command is
        doing in the same folder is left to that one, unless it gives up.
    executor
        - `"serial"`: one after the other, here.
        - `"processes"`: in `n_workers` new processes, each with a Java machine of its own where it needs one. A
          process that is killed costs its run alone.
        - `"dask"`: on a cluster of `n_workers` local processes, or on the one at `scheduler`: one at a time on each of
          its workers, however many threads that has, so that no run slows another or is counted with it. Workers may
          come and go.
    n_workers
        Processes at a time.
    scheduler
        Address of a running Dask scheduler, such as `tcp://10.0.0.1:8786`.

    Yields
    ------
    event
        First the runs that were done before, then what happens as it does. A run that fails does not stop the others.

    Raises
    ------
    ValueError
        If the executor is unknown, `n_workers` is below 1, or there is a scheduler without Dask.
    ImportError
        If Dask is asked for and not installed.
    """
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor {executor!r}; available: {', '.join(EXECUTORS)}")
    if n_workers < 1:
        raise ValueError(f"n_workers={n_workers}; choose at least 1")
    if scheduler is not None and executor != "dask":
        raise ValueError(f"scheduler={scheduler!r} is for executor='dask', not {executor!r}")
    left = []
    for run in runs:
        result = folder.result(run)
        if result is None:
            left.append(run)
        else:
            yield Event(run, "kept", 1.0, result)
    work = functools.partial(_attempt, open_stream)
    backlog = Backlog(left, folder)
    happenings = {
        "serial": lambda: _one_after_the_other(backlog, work),
        "processes": lambda: _in_processes(backlog, work, n_workers),
        "dask": lambda: _on_dask(backlog, work, n_workers, scheduler),
    }[executor]()
    with contextlib.ExitStack() as stack:
        stack.callback(backlog.give_up)
        stack.enter_context(
            contextlib.closing(happenings)
        )  # ends what is running before its claims are given up
        for happening in happenings:
            if isinstance(happening, Event):
                yield happening
                continue
            run, news = happening
            if news is None:
                yield Event(run, "started")
            elif isinstance(news, float):
                yield Event(run, "moved", news)
            elif isinstance(news, str):
                file = folder.keep_failure(run, news)
                backlog.done(run, is_kept=False)
                yield Event(run, "failed", error=file)
            else:
                folder.keep(run, *news)
                backlog.done(run)
                yield Event(run, "done", 1.0, news[0])


def shard(runs: Sequence[Run], text: str) -> list[Run]:
    """Return the i-th of n shards, where `text` is `i/n` with 1 <= i <= n.

    The n shards share no run and together are all of them, so that n machines can work on one grid. Runs are dealt out
    model by model, so that none of the machines gets all the runs of the slow one.

    Raises
    ------
    ValueError
        If `text` is no such pair.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    i, n = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= i <= n:
        raise ValueError(f"shard {text!r}; write i/n with 1 <= i <= n, such as 2/8")
    by_model = sorted(range(len(runs)), key=lambda k: runs[k].model)
    return [runs[k] for k in sorted(by_model[i - 1 :: n])]


def run_job(run: Run, stream: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do one run from its start to its end; return its result line and its curve. As `Run.do`, without news."""
    *_, last = run.do(stream)
    assert isinstance(last, tuple)
    return last


def reading(stream: Any) -> dict[str, Any]:
    """Return how a file was read, and how many of its rows were left out, if any; nothing for another stream."""
    told = dict(getattr(stream, "reading", {}))
    bad_rows = getattr(stream, "bad_rows", None)
    return told | ({"rows_left_out": bad_rows.count} if bad_rows is not None and bad_rows.count else {})


def check_fingerprint(run: Run, stream: Any) -> None:
    """Refuse a stream that is not the one that a run was planned for."""
    if (fingerprint := stream.fingerprint()) != run.stream_sha256:
        raise ValueError(
            f"{run.stream} has hash {fingerprint} here, but {run.stream_sha256} where it was planned"
        )


def compile_first(run: Run, stream: Any) -> None:
    """Let a model that is thrown away see the first samples, so that no figure holds the time of a compiler.

    Only models that take blocks are compiled, once per machine; a sample that cannot be read is left to the run itself.
    """
    model = models.make(run.model, seed=run.seed)
    if not hasattr(model, "step_many"):
        return
    with contextlib.suppress(TypeError, ValueError):
        if run.delay != "0" or not hasattr(stream, "blocks"):
            for x, label in itertools.islice(stream, ENOUGH_TO_COMPILE):
                model.predict_one(x)
                model.learn_one(x, label)
        else:
            for X, y in itertools.islice(stream.blocks(ENOUGH_TO_COMPILE), 1):
                model.step_many(
                    X,
                    y,
                    names=[feature.name for feature in stream.features],
                    values=[feature.values for feature in stream.features],
                    classes=stream.classes,
                )


def _attempt(open_stream: OpenStream, run: Run) -> Iterator[News]:
    try:
        yield from run.do(open_stream(name=run.stream, limit=run.limit, seed=run.seed))
    except FAILURES:
        yield traceback.format_exc()


Work = Callable[[Run], Iterator[News]]
Happenings = Generator[tuple[Run, News | None] | Event, None, None]
"""A run without news has been started; events tell of runs that others do."""


def _last_of(work: Work, run: Run) -> News:
    *_, last = work(run)
    return last


def _one_after_the_other(backlog: Backlog, work: Work) -> Happenings:
    while run := (yield from backlog.next(is_patient=True)):
        yield run, None
        for news in work(run):
            yield run, news


def _in_processes(backlog: Backlog, work: Work, n_workers: int) -> Happenings:
    context = multiprocessing.get_context("spawn")
    idle: list[Any] = []  # the ends of pipes to processes without work
    running: dict[Any, Run] = {}
    processes: dict[Any, Any] = {}
    try:
        while True:
            while len(running) < n_workers and (run := (yield from backlog.next(is_patient=not running))):
                idle = [pipe for pipe in idle if processes[pipe].is_alive()]
                if not idle:
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_in_child, args=(theirs, work))
                    process.start()
                    theirs.close()  # the child alone keeps its end open: we notice when it dies
                    processes[ours] = process
                    idle.append(ours)
                pipe = idle.pop()
                pipe.send(run)
                running[pipe] = run
                yield run, None
            if not running:
                return
            is_waiting = backlog and len(running) < n_workers  # for runs that other commands do
            ready: list[Any] = wait(list(running), GLANCE if is_waiting else None)
            for pipe in ready:
                run = running[pipe]
                try:
                    news = pipe.recv()
                except (EOFError, ConnectionError):  # the latter where it had not read what was sent to it
                    processes[pipe].join()
                    news = f"its process ended with exit code {processes[pipe].exitcode} and no result"
                    del running[pipe]
                else:
                    if not isinstance(news, float):
                        idle.append(pipe)
                        del running[pipe]
                yield run, news
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _in_child(pipe: Connection, work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        for news in work(pipe.recv()):
            pipe.send(news)


def _end_with_parent() -> None:
    """End this process when its parent was killed and could not end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _on_dask(backlog: Backlog, work: Work, n_workers: int, scheduler: str | None) -> Happenings:
    try:
        import distributed
    except ImportError:
        raise ImportError("executor 'dask' needs Dask.distributed; pip install 'driftmoe[dask]'") from None
    local = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.Client(**({"address": scheduler} if scheduler else local)) as client:
        running: dict[Any, Run] = {}
        places: dict[Any, str] = {}
        while backlog or running:
            client.wait_for_workers(1, timeout=PATIENCE)
            free = deque(set(client.nthreads()) - set(places.values()))  # workers may come and go
            while free and (run := (yield from backlog.next(is_patient=not running))):
                place = free.popleft()
                future = client.submit(
                    _last_of, work, run, pure=False, workers=[place], allow_other_workers=True
                )
                running[future], places[future] = run, place
                yield run, None
            if not running:
                continue
            try:
                done = distributed.wait(list(running), timeout=LOOK, return_when="FIRST_COMPLETED").done
            except distributed.TimeoutError:
                continue  # see whether there are new workers
            for future in done:
                run, error, _ = running.pop(future), future.exception(), places.pop(future)
                yield run, "".join(traceback.format_exception(error)) if error else future.result()


def parsed_delay(text: str) -> Delay:
    """Return what `prequential` takes: `"1000"` is a number, `"100-2000"` a range, and any other text a column."""
    if re.fullmatch(r"\d+", text):
        return int(text)
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        low, high = int(match[1]), int(match[2])
        if low > high:
            raise ValueError(f"delay {text!r}: {low} is above {high}; write the lower number first")
        return low, high
    if not text:
        raise ValueError(
            "delay ''; write a number of samples, a range such as 100-2000, or the name of a column"
        )
    return text


def _shown(folder: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder, oldest first, but those whose way begins with a dot: these are being written."""
    found = (file for pattern in patterns for file in folder.rglob(pattern))
    files = sorted(found, key=lambda file: (file.stat().st_mtime_ns, file))
    return [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]


def read_results(path: Path | str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the result lines and the windows of all runs in a folder and the folders below it.

    Parameters
    ----------
    path
        A folder of `driftmoe evaluate` or `driftmoe grid`, or one that holds several; or one file of result lines.

    Returns
    -------
    results
        The lines, from the oldest file to the newest; a run that was done twice is there twice, which
        `driftmoe.report.usable` tells.
    curves
        Points of the windows of each run, the newest where it was done twice.

    Raises
    ------
    ValueError
        If there is none, or a file cannot be read.
    """
    path = Path(path)
    results: list[dict[str, Any]] = []
    curves: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    complete: set[tuple[str, ...]] = set()
    files = [path] if path.is_file() else _shown(path, "jobs/*.json", "results.jsonl")
    if path.is_dir():  # where a process died over its first result, that is not in its place yet
        first = {committed.parent / "results.jsonl" for committed in path.rglob(COMMITTED)}
        files += sorted(file for file in first - {*files} if _newest(file).exists())
    for file in files:
        if file.suffix == ".json":
            line, points = _read_job(file)
            lines, of_runs = [line], {run_key(line): points}
        elif file.name == "results.jsonl":
            of_runs = {}
            with _held_still(file.parent):
                lines, windows = _read_lines(_newest(file)), _read_csv(_newest(file.with_name("windows.csv")))
            for point in windows:
                of_runs.setdefault(run_key(point), []).append(point)
        else:
            lines, of_runs = _read_lines(file), {}
        results += lines
        for line in lines:
            key = run_key(line)
            if key in of_runs and (line["complete"] or key not in complete):
                curves[key] = of_runs[key]
        complete |= {run_key(line) for line in lines if line["complete"]}
    if not results:
        raise ValueError(
            f"{path} holds no results; run `driftmoe evaluate --out {path}` or `driftmoe grid` first"
        )
    return results, [point for curve in curves.values() for point in curve]


def read_failures(path: Path | str) -> list[str]:
    """Return a sentence for each run in a folder, and in the folders below it, that failed and was not done since."""
    path = Path(path)
    texts = {
        file: file.read_text(encoding="utf-8").strip().splitlines() or ["a run", "no traceback"]
        for file in _shown(path, "failed/*.txt")
        # A process may have died between keeping the result and removing this.
        if not (file.parent.with_name("jobs") / f"{file.stem}.json").exists()
    }
    return [f"{text[0]}: failed, {text[-1]} ({file.relative_to(path)})." for file, text in texts.items()]


@functools.cache
def commit() -> str | None:
    """Return the commit of the source tree, with `-dirty` where it was changed; `None` for an installed package."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True)
        described = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions that can change a figure."""
    packages = ("driftmoe", "river", "torch", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def run_key(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what tells a run from others, as text: the same for a result line and for a point of its curve."""
    texts = ("" if line.get(name) is None else str(line[name]) for name in KEY)
    return (*texts, warm_up_protocol(line))


def counts_warm_up(line: Mapping[str, Any]) -> bool:
    """Tell whether the warm-up is in the figures of a result line or of a point; in those of old files it is."""
    return str(line.get("count_warm_up")) != "False"


def warm_up_protocol(line: Mapping[str, Any]) -> str:
    """Return what a run says of its warm-up beyond what old lines say, whose figures hold it without a word.

    Without a delay the warm-up is one sample, which makes an old line no other run than a new one: only one that is
    told to count it differs. With a delay an old line is the same as a new one that is told to count it.
    """
    if str(line.get("delay") or 0) == "0":
        return "counted" if str(line.get("count_warm_up")) == "True" else ""
    return "" if counts_warm_up(line) else "left out"


def plain(value: Any) -> Any:
    """Return a parameter as JSON can hold it: a model becomes its class and its own parameters."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)  # JSON has no word for it
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, base.Base):
        return {"class": type(value).__name__, **plain(_parameters(value))}
    return repr(value)


def _parameters(model: Any) -> dict[str, Any]:
    """Return what a model was told; of ours, which leave out what has no effect, also the defaults in force."""
    parameters: dict[str, Any] = (
        model.settings if isinstance(model, DriftMoEClassifier) else model._get_params()
    )
    return parameters


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}, line {number} is no JSON ({error}); move the file away or mend it"
            ) from None
        lines.append(_checked(line, f"{path}, line {number}"))
    return lines


def _read_job(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return result line and curve of the file of one run."""
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no JSON ({error}); remove the file, and its run will be done again"
        ) from None
    curve = job.get("curve") if isinstance(job, dict) else None
    if not isinstance(curve, list) or not all(isinstance(point, dict) for point in curve):
        raise ValueError(f"{path} is no result of this program: it has no curve; move it away")
    return _checked(job.get("result"), str(path)), curve


def _checked(line: Any, where: str) -> dict[str, Any]:
    """Return a result line that has all that any has to have; say what is missing elsewhere."""
    if not isinstance(line, dict):
        raise ValueError(f"{where} is no result of this program; move it away, or choose another folder")
    for name, kinds in (REQUIRED | OPTIONAL).items():
        if name not in line:
            if name in OPTIONAL:
                continue
            raise ValueError(
                f"{where} is no result of this program: it has no {name}; move it away, or choose another folder"
            )
        value = line[name]
        is_right = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
        if name in ("n_samples", "samples_per_second"):
            is_right = is_right and value > 0
        if name == "drifts" and is_right:
            is_right = all(
                isinstance(drift, list) and list(map(type, drift)) == [int, int] for drift in value
            )
        if not is_right or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(
                f"{where} is no result of this program: {name} is {value!r}; move it away, or choose another folder"
            )
    return line


def _read_csv(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {*KEY, "n_samples", "accuracy"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path} is no curve of this program; choose another folder")
        return list(reader)


def _csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys([*CURVE_COLUMNS, *(name for line in lines for name in line)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


CLAIMS = ".claims"
"""Folder of the locks of runs."""

PENDING, COMMITTED = ".pending", ".committed"
"""Folders of files that are being written together, and of those that count but are not yet where they belong."""


def _newest(path: Path) -> Path:
    """Return where the content of a file of a `ResultFolder` is: there, or still among what was committed."""
    committed = path.parent / COMMITTED / path.name
    return committed if committed.exists() else path


@contextlib.contextmanager
def _held_still(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a `ResultFolder` while it is read; nothing where it cannot be written."""
    lock = folder / ".lock"
    if not lock.exists() or not os.access(lock, os.W_OK):
        yield
        return
    with FileLock(lock):
        yield


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the disk tell which file was to be written; that of a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _write_atomically(path: Path, text: str) -> None:
    """Write beside the file and rename: a reader, or a crash, finds the old file or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with naming(path):
        try:
            _write_synced(part, text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Let the names in a folder, too, outlast a power cut, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
