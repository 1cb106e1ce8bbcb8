"""A grid of runs. Runs without a result are done, and each result is kept as soon as its run ends."""

from __future__ import annotations

import contextlib
import functools
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence

from driftmoe.experiment.backlog import Backlog, Event
from driftmoe.experiment.checkpoints import CheckpointFolder
from driftmoe.experiment.executors import in_processes, on_dask, one_after_the_other
from driftmoe.experiment.folder import JobFolder
from driftmoe.experiment.planning import OpenStream
from driftmoe.experiment.run import News, Run

EXECUTORS = ("serial", "processes", "dask")


def run_grid(
    runs: Iterable[Run],
    open_stream: OpenStream,
    folder: JobFolder,
    *,
    executor: str = "processes",
    n_workers: int = 1,
    scheduler: str | None = None,
    checkpoints: CheckpointFolder | None = None,
) -> Iterator[Event]:
    """Do all runs that have no result yet, write each result when its run ends, and yield events.

    Parameters
    ----------
    runs
        The runs, in the order in which they are started.
    open_stream
        Opens the stream of a run; called in the process that does the run.
    folder
        The folder of the results. Only the caller's process writes to it, not the workers. A run that another command
        is doing in the same folder is left to that command, unless it gives up.
    executor
        - `"serial"`: one by one, in this process.
        - `"processes"`: in `n_workers` new processes, each with its own Java virtual machine if a model needs one. If
          a process is killed, only its run is lost.
        - `"dask"`: on a cluster of `n_workers` local processes, or on the cluster at `scheduler`. Each worker does one
          run at a time, however many threads it has, so that runs do not slow each other down or share measured time.
          Workers may join and leave.
    n_workers
        Number of processes.
    scheduler
        Address of a running Dask scheduler, such as `tcp://10.0.0.1:8786`.
    checkpoints
        Where runs are kept while they go on. A run that was stopped before goes on from there. The process that does a
        run writes its checkpoints, so that it must be on this machine. The checkpoint of a run that has a result is
        deleted, also if runs are not kept (`every` is `None`).

    Yields
    ------
    event
        First the runs that already have a result, then events as they happen. A failed run does not stop the others.

    Raises
    ------
    ValueError
        If the executor is unknown, `n_workers` is below 1, a scheduler is given to an executor other than Dask, or
        checkpoints to a scheduler.
    ImportError
        If the executor is Dask and Dask is not installed.
    """
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor {executor!r}; available: {', '.join(EXECUTORS)}")
    if n_workers < 1:
        raise ValueError(f"n_workers={n_workers}; choose at least 1")
    if scheduler is not None and executor != "dask":
        raise ValueError(f"scheduler={scheduler!r} is for executor='dask', not {executor!r}")
    if scheduler is not None and checkpoints is not None and checkpoints.every is not None:
        raise ValueError(
            f"scheduler={scheduler!r} may have workers on other machines, which cannot write checkpoints here; leave "
            "one of the two out"
        )
    left = []
    for run in runs:
        if (result := folder.result(run)) is None:
            left.append(run)
        else:
            if checkpoints is not None:  # its command was killed before it could
                checkpoints.drop(run)
            yield Event(run, "kept", 1.0, result)
    is_alone = executor == "serial" or (n_workers == 1 and scheduler is None)
    work = functools.partial(_attempt, open_stream, checkpoints, is_alone)
    backlog = Backlog(left, folder)
    happenings = {
        "serial": lambda: one_after_the_other(backlog, work),
        "processes": lambda: in_processes(backlog, work, n_workers),
        "dask": lambda: on_dask(backlog, work, n_workers, scheduler),
    }[executor]()
    with contextlib.ExitStack() as stack:
        stack.callback(backlog.give_up)
        # Exited first: running runs end before their claims are released.
        stack.enter_context(contextlib.closing(happenings))
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
                if checkpoints is not None:
                    checkpoints.drop(run)
                backlog.done(run)
                yield Event(run, "done", 1.0, news[0])


def shard(runs: Sequence[Run], text: str) -> list[Run]:
    """Return the i-th of n shards, where `text` is `i/n` with 1 <= i <= n.

    Every run is in exactly one of the n shards, so that n machines can share a grid. Runs are distributed model by
    model, so that no machine gets all runs of a slow model.

    Raises
    ------
    ValueError
        If `text` does not have this form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    i, n = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= i <= n:
        raise ValueError(f"shard {text!r}; write i/n with 1 <= i <= n, such as 2/8")
    by_model = sorted(range(len(runs)), key=lambda k: runs[k].model)
    return [runs[k] for k in sorted(by_model[i - 1 :: n])]


def _attempt(
    open_stream: OpenStream, checkpoints: CheckpointFolder | None, is_alone: bool, run: Run
) -> Iterator[News]:
    try:
        stream = open_stream(name=run.stream, limit=run.limit, seed=run.seed)
        yield from run.do(stream, checkpoints, is_alone=is_alone)
    except Exception:  # models and streams may raise errors of any class
        yield traceback.format_exc()
