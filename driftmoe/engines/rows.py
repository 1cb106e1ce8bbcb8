"""What the adapters of engines share: events of rows, the map of an engine as one of Python, results in order."""

from __future__ import annotations

import heapq
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from driftmoe.engines.keyed import Cache, Event, step
from driftmoe.engines.making import Make
from driftmoe.engines.results import Result, results_of

TTL = 7 * 24 * 3600.0
"""Seconds for which a sample waits for its label, unless you say otherwise."""

N_LIVE = 1000
"""Models that a Python process of an engine keeps live, at most, unless you say otherwise."""


def event_of(row: Any) -> Event:
    """Return the event of a row with `seq`, `id`, `kind`, and `payload` as JSON text.

    What is no JSON becomes `None`, which the step refuses with an alarm: one bad row does not stop a stream.
    """
    try:
        payload = json.loads(row.payload)
    except (TypeError, ValueError, RecursionError):
        payload = None
    return Event(row.seq, row.id, row.kind, payload)


class Waiting(MutableMapping[str, str]):
    """The samples of one key that wait for their labels, in the map of an engine, during one call.

    Each call of the engine's functions goes from one process to another. What was seen once is not asked again.

    Parameters
    ----------
    get
        Returns the features of an id, or `None`.
    put
        Keeps the features of an id.
    remove
        Forgets an id.
    names
        Yields all ids.
    """

    def __init__(
        self,
        get: Callable[[str], str | None],
        put: Callable[[str, str], None],
        remove: Callable[[str], None],
        names: Callable[[], Iterable[str]],
    ) -> None:
        self._get, self._put, self._remove, self._names = get, put, remove, names
        self._seen: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._seen:
            self._seen[name] = self._get(name)
        found = self._seen[name]
        if found is None:
            raise KeyError(name)
        return found

    def __setitem__(self, name: str, features: str) -> None:
        self._put(name, features)
        self._seen[name] = features

    def __delitem__(self, name: str) -> None:
        self[name]  # raises KeyError
        self._remove(name)
        self._seen[name] = None

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names()))

    def __len__(self) -> int:
        return len(list(self._names()))


def take(
    key: str, state: bytes | None, events: Iterable[Event], make: Make, waiting: Waiting, n_live: int
) -> tuple[bytes, list[Result]]:
    """Return the new state of a key, and what its model says of events, which may be mixed.

    An event that is there twice, as from a source that sends again, is passed over with an alarm the second time.
    """
    calls: list[list[Event]] = [[]]
    for event in sorted(events, key=lambda event: event.seq):
        n_before = next(n for n, call in enumerate(calls) if not call or call[-1].seq != event.seq)
        calls[n_before].append(event)
        if n_before == len(calls) - 1:
            calls.append([])
    found: list[Result] = []
    for call in calls[: max(1, len(calls) - 1)]:
        done = step(state, call, make, waiting=waiting, cache=live_models(n_live))
        state = done.state
        found += results_of(key, done)
    assert state is not None
    return state, found


@cache
def live_models(n_models: int) -> Cache:
    """Return the live models of this process. Engines keep their Python processes from one batch to the next."""
    return Cache(n_models)


def grow_in_time(files: Iterable[Path]) -> None:
    """Let each file be younger than the one before, for an engine that reads files in the order of their times."""
    last = None
    for file in files:
        now = file.stat().st_mtime_ns // 1_000_000  # engines see milliseconds
        if last is not None and now <= last:
            now = last + 1
            os.utime(file, ns=(now * 1_000_000, now * 1_000_000))
        last = now


def in_order(pieces: Iterable[tuple[int, Callable[[], list[Result]]]]) -> Iterator[Result]:
    """Yield the results of pieces in the order of `seq`, alarms without a number as they come.

    Parameters
    ----------
    pieces
        The least number of each piece, and a function that returns its results. Only pieces that overlap are in memory
        at the same time.
    """
    waiting: list[tuple[int, int, Result]] = []
    n = 0
    for first, read in sorted(pieces, key=itemgetter(0)):
        while waiting and waiting[0][0] < first:
            yield heapq.heappop(waiting)[2]
        for result in read():
            heapq.heappush(waiting, (result.seq, n, result))
            n += 1
    while waiting:
        yield heapq.heappop(waiting)[2]


@contextmanager
def told_to(file: Path) -> Iterator[None]:
    """Let the processes that are started here tell their log to a file, and not to the terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    with file.open("ab") as log:
        for stream in kept:
            os.dup2(log.fileno(), stream)
    try:
        yield
    finally:
        for stream, before in kept.items():
            os.dup2(before, stream)
            os.close(before)


def cause_of(text: str) -> str:
    """Return the last error of Python that an engine tells of, or else the last cause, or else its first line."""
    errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception): .*", text, re.MULTILINE)
    causes = re.findall(r"^Caused by: (.*)", text, re.MULTILINE)
    of_python = [error for error in errors if "." not in error.partition(":")[0]]
    return (of_python or causes or errors or [text.partition("\n")[0]])[-1]
