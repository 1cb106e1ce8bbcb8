"""A log that is rotated, cut short or half written while a worker follows it and dies."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from benchmarks.service.deaths import Tried, following, left_alone, result
from benchmarks.service.outcome import Outcome, compared
from driftmoe.service import Store, StoreError

N_SAMPLES = 400


def rotated(folder: Path, n: int, rng: random.Random) -> Tried:
    """Rename the log and begin a new one at random moments; the worker dies at others."""
    return _followed(folder, n, rng, rotates=True)


def cut(folder: Path, n: int, rng: random.Random) -> Tried:
    """Copy the log and cut it to nothing, as logrotate's `copytruncate` does; the worker dies at times."""
    return _followed(folder, n, rng, cuts=True)


def half_lines(folder: Path, n: int, rng: random.Random) -> Tried:
    """Write lines in pieces, with pauses; the worker dies at times."""
    return _followed(folder, n, rng, halves=True)


def _followed(
    folder: Path,
    n: int,
    rng: random.Random,
    *,
    rotates: bool = False,
    cuts: bool = False,
    halves: bool = False,
) -> Tried:
    whole, expected = left_alone(folder / "alone", N_SAMPLES)
    lines = whole.read_bytes().splitlines(keepends=True)
    tried, run = Tried(), 0
    while tried.n < n:
        place, n_faults, start, run = folder / f"run {run}", 0, 0, run + 1
        place.mkdir()
        log = place / "log.jsonl"
        process, begun = following(place, log)
        while start < len(lines):
            stop = start + rng.randrange(1, 150)
            text = b"".join(lines[start:stop])
            pieces = _pieces(text, rng) if halves else [text]
            for piece in pieces:
                with log.open("ab") as file:
                    file.write(piece)
                time.sleep(0.02 if halves else 0.0)
            n_faults += len(pieces) - 1
            if start == 0:  # what is rotated before the first start is not read
                _wait_for_events(place, min(stop, len(lines)))
            start = stop
            if rng.random() < 0.5:
                process.kill()
                process.join()
                process = None
                n_faults += 1
            if rotates and rng.random() < 0.5:
                log.rename(place / f"log.jsonl.{len(list(place.glob('log.jsonl.*'))) + 1}")
                n_faults += 1
            if process is None:
                process, begun = following(place, log)
            if cuts and rng.random() < 0.5:
                _wait_for_events(place, min(start, len(lines)))
                shutil.copy(log, place / f"log.jsonl.{len(list(place.glob('log.jsonl.*'))) + 1}")
                os.truncate(log, 0)
                n_faults += 1
        _wait_for_events(place, len(lines))
        begun.wait()  # it may have been started when all was taken, and has then still to send
        os.kill(process.pid, signal.SIGTERM)
        process.join()
        tried.add(n_faults, *compared(_placeless(expected), _placeless(result(place))))
    return tried


def _pieces(text: bytes, rng: random.Random) -> list[bytes]:
    """Return a text in three pieces, cut anywhere."""
    one, two = sorted(rng.randrange(len(text)) for _ in range(2))
    return [text[:one], text[one:two], text[two:]]


def _wait_for_events(place: Path, n: int) -> None:
    """Wait until the store has taken a number of events, for a minute: a lost one never comes."""
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        try:
            store = Store(place / "store", read_only=True)
            n_taken = store.counts().get("events", 0)
            store.close()
            if n_taken >= n:
                return
        except StoreError:
            pass
        time.sleep(0.05)


def _placeless(outcome: Outcome) -> Outcome:
    """Return an outcome without the position, which depends on the names of files."""
    return Outcome(outcome.digests, outcome.samples, outcome.counts, None, outcome.sent)
