"""A worker that is killed, at random moments and before each statement that its store carries out."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.service.outcome import Outcome, compared, outcome_of
from benchmarks.service.traffic import KEEPS, as_lines, mixed_events, with_times
from driftmoe.cli import serve
from driftmoe.service import Bounds, Settings, Store
from driftmoe.service.serving import Service

N_SAMPLES = 600
"""Samples of a run."""

SETTINGS = Settings(model=KEEPS, bounds=Bounds(max_waiting=20), snapshot_every=300, has_sink=True)
"""A worker that gives up many samples, with many snapshots. The run that is left alone takes large batches."""

BY_TIME = replace(SETTINGS, bounds=Bounds(max_waiting=20, lateness=10.0))
"""One that learns in the order of the events' times."""

PATIENCE = 60.0
"""Seconds for which a run waits for its receiver."""

BATCHES = (1, 3, 10, 50)
"""Sizes of batches in disturbed runs, of which each process draws one."""

_FORK = multiprocessing.get_context("fork")


@dataclass
class Tried:
    """How often a fault was tried and survived, and what was lost and duplicated in all."""

    n: int = 0
    survived: int = 0
    lost: int = 0
    duplicated: int = 0

    def add(self, n: int, lost: int, duplicated: int) -> None:
        """Add the result of a run with `n` faults."""
        self.n += n
        self.survived += n if lost == duplicated == 0 else 0
        self.lost += lost
        self.duplicated += duplicated


def whole_run(folder: Path, log: Path, settings: Settings = SETTINGS, max_batch: int | None = None) -> None:
    """Take a log to its end."""
    settings = replace(settings, max_batch=max_batch or random.Random(os.getpid()).choice(BATCHES))
    sink = str(folder / "sink.jsonl")
    service = Service(folder / "store", settings, sources=[str(log)], sink=sink, follows=False)
    with service:
        service.done.wait()
        if service.failure is None:
            service.worker.drain()
            _wait_until_sent(service.worker.store)
    if service.failure is not None:
        raise service.failure


def _wait_until_sent(store: Store) -> None:
    """Wait for the receiver: a worker that stops on a busy machine leaves some messages to the one after it."""
    end = time.monotonic() + PATIENCE
    while store.read("SELECT 1 FROM outbox LIMIT 1") and time.monotonic() < end:
        time.sleep(0.01)


def in_child(work: Callable[..., Any], *arguments: Any) -> Any:
    """Start work in a forked process, which needs no time to import."""
    process = _FORK.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def left_alone(
    folder: Path, n_samples: int = N_SAMPLES, settings: Settings = SETTINGS
) -> tuple[Path, Outcome]:
    """Write a log, and return it with what a worker makes of it that is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    log, events = folder / "log.jsonl", mixed_events(n_samples, 1)
    if settings is BY_TIME:
        events = with_times(events, 1)
    log.write_bytes(b"\n".join(as_lines(events)) + b"\n")
    process = in_child(whole_run, folder, log, settings, 1_000)
    process.join()
    return log, result(folder, settings)


def result(folder: Path, settings: Settings = SETTINGS) -> Outcome:
    """Return what a run has left in its folder."""
    return outcome_of(folder / "store", settings, folder / "sink.jsonl")


def at_random(folder: Path, n: int, rng: random.Random, settings: Settings = SETTINGS) -> Tried:
    """Kill workers at random moments, and let others go on, until there were `n` kills."""
    log, expected = left_alone(folder / "alone", settings=settings)
    seconds, tried, run = _seconds_of_run(folder / "timed", log, settings), Tried(), 0
    while tried.n < n:
        place, n_kills, run = folder / f"run {run}", 0, run + 1
        place.mkdir()
        while True:
            process = in_child(whole_run, place, log, settings)
            process.join(rng.uniform(0.0, seconds / 3.0) if tried.n + n_kills < n else None)
            if process.exitcode is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            n_kills += 1
        tried.add(n_kills, *compared(expected, result(place, settings)))
    return tried


def at_random_by_time(folder: Path, n: int, rng: random.Random) -> Tried:
    """Kill workers that learn in the order of the events' times."""
    return at_random(folder, n, rng, BY_TIME)


def by_sigterm(folder: Path, n: int, rng: random.Random) -> Tried:
    """End workers by SIGTERM at random moments: they commit what they have begun, and end without an error."""
    log, expected = left_alone(folder / "alone")
    seconds, tried, run = _seconds_of_run(folder / "timed", log), Tried(), 0
    while tried.n < n:
        place, n_ends, n_failed, run = folder / f"run {run}", 0, 0, run + 1
        place.mkdir()
        for _ in range(min(5, n - tried.n)):
            process, begun = following(place, log)
            begun.wait()  # before, the signal would end it as it ends any process
            time.sleep(rng.uniform(0.0, seconds / 3.0))
            os.kill(process.pid, signal.SIGTERM)
            process.join()
            n_ends, n_failed = n_ends + 1, n_failed + (process.exitcode != 0)
        process = in_child(whole_run, place, log)
        process.join()
        lost, duplicated = compared(expected, result(place))
        tried.add(n_ends, lost + n_failed, duplicated)
    return tried


def following(folder: Path, log: Path) -> tuple[Any, Any]:
    """Start a worker that follows a log. Return its process, and an event that is set when it takes signals."""
    begun = _FORK.Event()
    return in_child(_following_run, folder, log, begun), begun


def _following_run(folder: Path, log: Path, begun: Any) -> None:
    """Follow a log as `driftmoe serve --no-http` does, until a signal comes."""
    prepare = serve.prepare

    def prepared(service: Service) -> None:
        begun.set()
        prepare(service)

    serve.prepare = prepared  # in this process only
    serve.without_http(folder / "store", SETTINGS, [str(log)], str(folder / "sink.jsonl"))


def at_statements(folder: Path, n: int, rng: random.Random) -> Tried:
    """Kill workers before single SQL statements, COMMIT among them: each one in its turn, or `n` of them."""
    log, expected = left_alone(folder / "alone", 120)
    counter = _FORK.Value("q", 0)
    process = in_child(_counted_run, folder / "counted", log, counter, 0)
    process.join()
    n_statements = counter.value
    places = range(1, n_statements) if n_statements <= n else sorted(rng.sample(range(1, n_statements), n))
    tried = Tried()
    for at in places:
        place = folder / f"at {at}"
        process = in_child(_counted_run, place, log, counter, at)
        process.join()
        process = in_child(whole_run, place, log)
        process.join()
        tried.add(1, *compared(expected, result(place)))
    return tried


def _counted_run(folder: Path, log: Path, counter: Any, die_at: int) -> None:
    """Take a log, and die before a statement of the store's writer."""
    import sqlite3

    counter.value = 0

    def before(statement: str) -> None:
        counter.value += 1
        if counter.value == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        connection.set_trace_callback(before)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]  # in this process only
    folder.mkdir(parents=True, exist_ok=True)
    whole_run(folder, log)


def _seconds_of_run(folder: Path, log: Path, settings: Settings = SETTINGS) -> float:
    folder.mkdir()
    start = time.perf_counter()
    process = in_child(whole_run, folder, log, settings, BATCHES[1])
    process.join()
    return time.perf_counter() - start
