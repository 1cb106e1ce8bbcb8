"""Threads that share work. Its parts are independent, so results do not depend on the number of threads."""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import chain
from operator import call
from queue import SimpleQueue
from typing import Any

Calls = Sequence[Callable[[], Any]]

N_TOO_FEW = 8
"""Number of rows below which waking another thread costs more than it saves."""


def shared(lanes: Iterable[Calls], n_threads: int) -> list[Callable[[], Any]]:
    """Return changes that do some lists of changes, which are independent of each other, by several threads.

    A list may end with a `SideBySide`, whose lanes are then shared with the others. With one thread the changes are
    those of all lists, in order.

    Parameters
    ----------
    lanes
        Lists of calls, as `SideBySide` takes them; the long ones first.
    n_threads
        Number of threads, including the calling one.
    """
    if n_threads == 1:
        return list(chain.from_iterable(lanes))
    first: list[Callable[[], Any]] = []
    apart: list[Calls] = []
    for lane in lanes:
        if isinstance(lane[-1], SideBySide):
            first += lane[:-1]
            apart += lane[-1].lanes
        else:
            apart.append(lane)
    together = SideBySide(apart, n_threads)
    return [*first, together.begin, together]


class SideBySide:
    """Calls that several threads share. Called itself, it does all that have not been done.

    It is a change of a step as `driftmoe.transaction` wants it. If it is interrupted or fails, calling it again first
    waits for the calls that are going on in other threads, and then does those that have not been done, each once.

    Parameters
    ----------
    lanes
        Lists of calls to code that does not run Python, such as kernels, which should release the GIL. The calls of a
        lane are made in order, by one thread. Those of other lanes may run at the same time.
    n_threads
        Number of threads, including the calling one. Each repeatedly takes the next free lane: so the long ones come
        first, and many short ones last.

    Attributes
    ----------
    begin
        A change that forgets what has been done, for a plan that is carried out again.

    Notes
    -----
    CPython handles signals in the main thread, between two instructions of Python code. There are none between taking a
    lane, each of its calls, and the note that the call is done: all this happens within `any`, in C. Work is handed
    over by a queue in C for the same reason: a `ThreadPoolExecutor` takes locks in Python code, and an interrupt there
    leaves them locked for ever.
    """

    def __init__(self, lanes: Iterable[Calls], n_threads: int) -> None:
        self.lanes, self._n_threads = [list(lane) for lane in lanes], n_threads
        self._is_done: set[tuple[int, int]] = set()
        self.begin = self._is_done.clear
        self._shift = _Shift([])

    def __call__(self) -> bool:
        """Make the calls. Return whether one of them returned a true value, after which others may be left out."""
        self._shift.settle()  # of a call of this object that was interrupted
        self._shift = shift = _Shift(self._left())
        n_others = min(self._n_threads, len(self.lanes)) - 1
        work = _work_of(os.getpid(), self._n_threads - 1)
        try:
            for _ in range(n_others):
                work.put(shift.help)
            shift.work()
        finally:
            shift.settle()  # also after an error: others must not work on after this call returns
        if shift.errors:
            raise shift.errors[0]
        return bool(shift.failures)

    def _left(self) -> list[list[Callable[[], Any]]]:
        """Return the lanes of the calls that have not been done, each call followed by the note that it is."""
        done = self._is_done
        left = []
        for number, lane in enumerate(self.lanes):
            calls = [(do, (number, i)) for i, do in enumerate(lane) if (number, i) not in done]
            left.append([step for do, place in calls for step in (do, partial(done.add, place))])
        return left


class _Shift:
    """Lanes that threads work off, until none is left."""

    def __init__(self, lanes: list[list[Callable[[], Any]]]) -> None:
        self._left = iter(lanes)  # threads may share the iterator of a list: it hands out each item once
        self._begun: list[None] = []
        self._ended: list[None] = []
        self._ends: SimpleQueue[None] = SimpleQueue()
        self.failures: list[bool] = []
        self.errors: list[Exception] = []  # of other threads

    def work(self) -> None:
        """Work off lanes in the calling thread."""
        if any(map(call, chain.from_iterable(self._left))):
            self.failures.append(True)

    def help(self) -> None:
        """Work off lanes in another thread. One that begins when none is left does nothing."""
        self._begun.append(None)  # before it takes a lane
        try:
            self.work()
        except Exception as error:  # raised again by the thread that waits
            self.errors.append(error)
        finally:
            self._ended.append(None)
            self._ends.put(None)

    def settle(self) -> None:
        """Leave the rest, and wait until no other thread is at work."""
        deque(self._left, maxlen=0)
        while len(self._ended) < len(self._begun):
            self._ends.get()


@cache
def _work_of(process: int, n_threads: int) -> SimpleQueue[Callable[[], None]]:
    """Return the queue from which so many threads take work: one for each process, as threads do not survive a fork."""
    work: SimpleQueue[Callable[[], None]] = SimpleQueue()
    for _ in range(n_threads):
        start_new_thread(_serve, (work,))
    return work


def _serve(work: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        work.get()()
