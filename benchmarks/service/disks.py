"""A worker whose disk is full, whose store is copied while it runs, or which is not alone."""

from __future__ import annotations

import random
import resource
import shutil
import threading
import time
from pathlib import Path

from benchmarks.service.deaths import Tried, in_child, left_alone, result, whole_run
from benchmarks.service.outcome import compared
from driftmoe.service import Store, StoreError


def full(folder: Path, n: int, rng: random.Random) -> Tried:
    """Let the disk be full when the store has grown to a random size, for a second; this worker or the next goes on."""
    log, expected = left_alone(folder / "alone")
    size = (folder / "alone" / "store" / "store.sqlite").stat().st_size
    tried = Tried()
    for run in range(n):
        place = folder / f"run {run}"
        for work, *arguments in ((_run_on_full_disk, rng.randrange(size // 10, size)), (whole_run,)):
            process = in_child(
                work, place, log, *arguments
            )  # the second one takes what the first one could not
            process.join()
        tried.add(1, *compared(expected, result(place)))
    return tried


def _run_on_full_disk(folder: Path, log: Path, most: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    threading.Timer(1.0, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))).start()
    folder.mkdir()
    whole_run(folder, log)


def copied(folder: Path, n: int, rng: random.Random) -> Tried:
    """Copy the store as `driftmoe store export` does, at a random moment, and go on from the copy."""
    log, expected = left_alone(folder / "alone")
    tried = Tried()
    for run in range(n):
        place, copy = folder / f"run {run}", folder / f"copy {run}"
        _begin(place, log, rng)
        store = Store(place / "store", read_only=True)
        store.copy_to(copy / "store")
        store.close()
        shutil.copy(place / "sink.jsonl", copy / "sink.jsonl")
        whole = in_child(whole_run, copy, log)
        whole.join()
        tried.add(1, *compared(expected, result(copy)))
    return tried


def torn(folder: Path, n: int, rng: random.Random) -> Tried:
    """Copy the files of a running worker one after the other: the copy is refused, or it is as good as the store."""
    log, expected = left_alone(folder / "alone")
    tried = Tried()
    for run in range(n):
        place, copy = folder / f"run {run}", folder / f"copy {run}"
        process = in_child(_fresh_run, place, log)
        _wait_for(place / "store")
        time.sleep(rng.uniform(0.1, 0.8))
        try:
            shutil.copytree(place, copy, ignore=shutil.ignore_patterns("lock"))
            Store(copy / "store").close()
        except (shutil.Error, StoreError):  # a file went while it was copied; or the copy is seen to be torn
            tried.add(1, 0, 0)
            continue
        finally:
            process.join()
        whole = in_child(whole_run, copy, log)
        whole.join()
        tried.add(1, *compared(expected, result(copy)))
    return tried


def two_workers(folder: Path, n: int, rng: random.Random) -> Tried:
    """Start a second worker on the store of a running one: it is refused, and the first one does not notice."""
    log, expected = left_alone(folder / "alone")
    tried = Tried()
    for run in range(n):
        place = folder / f"run {run}"
        process = in_child(_fresh_run, place, log)
        _wait_for(place / "store")
        try:
            Store(place / "store").close()
            n_taken = int(process.is_alive())  # it must not have been let in
        except StoreError:
            n_taken = 0
        process.join()
        lost, duplicated = compared(expected, result(place))
        tried.add(1, lost, duplicated + n_taken)
    return tried


def _begin(place: Path, log: Path, rng: random.Random) -> None:
    """Let a worker run for a random while and kill it, so that the store is in any state."""
    process = in_child(_fresh_run, place, log)
    _wait_for(place / "store")
    process.join(rng.uniform(0.1, 0.8))
    process.kill()
    process.join()
    (place / "sink.jsonl").touch()


def _fresh_run(place: Path, log: Path) -> None:
    place.mkdir()
    whole_run(place, log)


def _wait_for(folder: Path) -> None:
    """Wait until a store has been created."""
    while True:
        try:
            Store(folder, read_only=True).close()
            return
        except StoreError:
            time.sleep(0.005)
