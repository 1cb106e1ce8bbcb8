"""Executors of the runs of a grid: in this process, in processes of this machine, or on a Dask cluster.

Each executor is a generator that takes runs from a `Backlog` and yields news of them.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from driftmoe.evaluation import Checkpoint
from driftmoe.experiment.backlog import GLANCE, Backlog, Event
from driftmoe.experiment.run import News, Run
from driftmoe.extras import install
from driftmoe.processes import begin_child, context_of

PATIENCE = 600
"""Seconds for which a grid waits for a worker of a Dask cluster."""

LOOK = 5
"""Seconds between two checks for new workers of a Dask cluster."""

ON_THE_WAY = int | float | Checkpoint
"""Types of the news of a run that is going on; any other news is its last."""

Work = Callable[[Run], Iterator[Any]]

Happenings = Generator[tuple[Run, Any] | Event, None, None]
"""A run and its news (`News` for a grid), or `None` for a run that has just been started; and events of runs that other
commands do."""


def one_after_the_other(backlog: Backlog, work: Work) -> Happenings:
    """Do the runs in this process."""
    while run := (yield from backlog.next(is_patient=True)):
        yield run, None
        for news in work(run):
            yield run, news


def in_processes(backlog: Backlog, work: Work, n_workers: int) -> Happenings:
    """Do the runs in new processes of this machine. Each process does one run at a time."""
    with Processes(work, n_workers) as processes:
        yield from processes.happenings(backlog)


class Processes:
    """Processes of this machine that do runs, each one at a time. They end with the `with` block.

    Parameters
    ----------
    work
        Does a run, as a generator of its news. If the run is stopped, KeyboardInterrupt is raised where it yields.
    n_workers
        Greatest number of processes.
    """

    def __init__(self, work: Work, n_workers: int) -> None:
        self._work, self._n_workers, self._context = work, n_workers, context_of("driftmoe.experiment")
        self._idle: list[Any] = []  # pipes to processes without work
        self._running: dict[Any, Run] = {}
        self._processes: dict[Any, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes.values():
            process.terminate()
            process.join()

    def happenings(self, backlog: Backlog) -> Happenings:
        """Do the runs of a backlog, and yield their news."""
        running = self._running
        while True:
            while len(running) < self._n_workers and (
                run := (yield from backlog.next(is_patient=not running))
            ):
                self._start(run)
                yield run, None
            if not running:
                return
            is_waiting = backlog and len(running) < self._n_workers  # for runs of other commands
            yield from self._received(GLANCE if is_waiting else None)

    def stopped(self, seconds: float) -> Iterator[tuple[Run, Any]]:
        """Stop the runs that are going on, and yield the last news of those that end in time."""
        for pipe in self._running:
            with contextlib.suppress(OSError):  # a process that has died is noticed below
                pipe.send(None)
        deadline = time.monotonic() + seconds
        while self._running and (left := deadline - time.monotonic()) > 0.0:
            for run, news in self._received(left):
                if not isinstance(news, ON_THE_WAY):
                    yield run, news

    def _start(self, run: Run) -> None:
        """Give a run to a process without work, or to a new one."""
        self._idle = [pipe for pipe in self._idle if self._processes[pipe].is_alive()]
        if not self._idle:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_in_child, args=(theirs, self._work, dict(os.environ)))
            process.start()
            theirs.close()  # only the child keeps its end open, so that we notice its death
            self._processes[ours] = process
            self._idle.append(ours)
        pipe = self._idle.pop()
        pipe.send(run)
        self._running[pipe] = run

    def _received(self, seconds: float | None) -> Iterator[tuple[Run, Any]]:
        """Wait for news, for so many seconds at most, and yield it."""
        ready: list[Any] = wait(list(self._running), seconds)
        for pipe in ready:
            run = self._running[pipe]
            try:
                news = pipe.recv()
            except (EOFError, ConnectionError):  # ConnectionError if the process died before it read the run
                self._processes[pipe].join()
                news = f"its process ended with exit code {self._processes[pipe].exitcode} and no result"
                del self._running[pipe]
            else:
                if not isinstance(news, ON_THE_WAY):
                    self._idle.append(pipe)
                    del self._running[pipe]
            yield run, news


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


def _in_child(pipe: Connection, work: Work, environment: dict[str, str]) -> None:
    begin_child(environment)
    while True:
        try:
            run = pipe.recv()
        except EOFError:  # the parent has ended, or gave up while this process was starting
            return
        if run is None:  # the run that was to be stopped has just ended
            continue
        doing: Any = work(run)
        for news in doing:
            pipe.send(news)
            if isinstance(news, ON_THE_WAY) and pipe.poll():
                pipe.recv()
                with contextlib.suppress(KeyboardInterrupt):  # of a run that has nothing more to say
                    pipe.send(doing.throw(KeyboardInterrupt()))
                break


def _last_of(work: Work, run: Run) -> News:
    *_, last = work(run)
    return last
