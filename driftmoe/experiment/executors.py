"""Executors of the runs of a grid: in this process, in processes of this machine, or on a Dask cluster.

Each executor is a generator that takes runs from a `Backlog` and yields news of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from driftmoe.experiment.backlog import GLANCE, Backlog, Event
from driftmoe.experiment.run import News, Run
from driftmoe.extras import install

PATIENCE = 600
"""Seconds for which a grid waits for a worker of a Dask cluster."""

LOOK = 5
"""Seconds between two checks for new workers of a Dask cluster."""

Work = Callable[[Run], Iterator[News]]

Happenings = Generator[tuple[Run, News | None] | Event, None, None]
"""A run and its news, or `None` for a run that has just been started; and events of runs that other commands do."""


def one_after_the_other(backlog: Backlog, work: Work) -> Happenings:
    """Do the runs in this process."""
    while run := (yield from backlog.next(is_patient=True)):
        yield run, None
        for news in work(run):
            yield run, news


def in_processes(backlog: Backlog, work: Work, n_workers: int) -> Happenings:
    """Do the runs in new processes of this machine. Each process does one run at a time."""
    context = _context()
    idle: list[Any] = []  # pipes to processes without work
    running: dict[Any, Run] = {}
    processes: dict[Any, Any] = {}
    try:
        while True:
            while len(running) < n_workers and (run := (yield from backlog.next(is_patient=not running))):
                idle = [pipe for pipe in idle if processes[pipe].is_alive()]
                if not idle:
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_in_child, args=(theirs, work, dict(os.environ)))
                    process.start()
                    theirs.close()  # only the child keeps its end open, so that we notice its death
                    processes[ours] = process
                    idle.append(ours)
                pipe = idle.pop()
                pipe.send(run)
                running[pipe] = run
                yield run, None
            if not running:
                return
            is_waiting = backlog and len(running) < n_workers  # for runs of other commands
            ready: list[Any] = wait(list(running), GLANCE if is_waiting else None)
            for pipe in ready:
                run = running[pipe]
                try:
                    news = pipe.recv()
                except (
                    EOFError,
                    ConnectionError,
                ):  # ConnectionError if the process died before it read the run
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


def on_dask(backlog: Backlog, work: Work, n_workers: int, scheduler: str | None) -> Happenings:
    """Do the runs on the workers of a Dask cluster, one run at a time on each."""
    try:
        import distributed
    except ImportError:
        raise ImportError(f"executor 'dask' needs Dask.distributed; {install('dask')}") from None
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
                continue  # look for new workers
            for future in done:
                run, error, _ = running.pop(future), future.exception(), places.pop(future)
                yield run, "".join(traceback.format_exception(error)) if error else future.result()


def _context() -> Any:
    """Return how processes start.

    On Linux they are forked from a process that has imported the library and does nothing else. They start at once and
    share the memory of the imported code. As elsewhere, each imports the user's program anew. Elsewhere they import
    everything anew, since libraries of macOS do not allow forks, and Windows has none.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["driftmoe.experiment"])
    return context


def _in_child(pipe: Connection, work: Work, environment: dict[str, str]) -> None:
    if os.environ != environment:  # that of the process it is forked from may be older
        os.environ.clear()
        os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        for news in work(pipe.recv()):
            pipe.send(news)


def _end_with_parent() -> None:
    """End this process when its parent has died without ending it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _last_of(work: Work, run: Run) -> News:
    *_, last = work(run)
    return last
