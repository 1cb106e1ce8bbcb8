"""Disturb a worker in every way that a process, a disk and a network can fail, and print a table.

    python -m benchmarks.service.faults                    # the whole table, about ten minutes
    python -m benchmarks.service.faults --kills 50 --group kill
    python -m benchmarks.service.faults --group http --bodies 100000

A fault is survived if, in the end, the store holds what it holds after a run that was left alone: the same models to
the last bit, the same predictions, the same labels learnt in the same order, the same counters. What is missing is
lost; what is there more than once is duplicated. The exit status is 1 if anything is lost or duplicated.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.service import clients, deaths, disks, files
from benchmarks.service.deaths import Tried

GROUPS: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, Tried | None]]]] = {}


def group(name: str) -> Callable[..., Callable[..., Iterator[tuple[str, Tried | None]]]]:
    """Register rows of the table."""

    def registered(
        rows: Callable[..., Iterator[tuple[str, Tried | None]]],
    ) -> Callable[..., Iterator[tuple[str, Tried | None]]]:
        GROUPS[name] = rows
        return rows

    return registered


@group("kill")
def _kill(options: argparse.Namespace) -> Iterator[tuple[str, Tried | None]]:
    yield "kill -9 at random moments", _in_folder(deaths.at_random, options.kills)
    yield "kill -9, learning by time", _in_folder(deaths.at_random_by_time, options.kills // 3)
    yield "kill -9 before each SQL statement", _in_folder(deaths.at_statements, options.kills)
    yield "SIGTERM at random moments", _in_folder(deaths.by_sigterm, options.kills // 6)


@group("disk")
def _disk(options: argparse.Namespace) -> Iterator[tuple[str, Tried | None]]:
    yield "disk full (a limit of size)", _in_folder(disks.full, options.kills // 10)
    yield "store copied while running", _in_folder(disks.copied, options.kills // 10)
    yield "files copied while running", _in_folder(disks.torn, options.kills // 10)
    yield "two workers on one store", _in_folder(disks.two_workers, options.kills // 10)


@group("source")
def _source(options: argparse.Namespace) -> Iterator[tuple[str, Tried | None]]:
    yield "file rotated, worker down or up", _in_folder(files.rotated, options.kills // 10)
    yield "file cut short (copytruncate)", _in_folder(files.cut, options.kills // 10)
    yield "half-written last lines", _in_folder(files.half_lines, options.kills // 10)


@group("http")
def _http(options: argparse.Namespace) -> Iterator[tuple[str, Tried | None]]:
    yield "1,000 clients at once, queue of 20", _in_folder(clients.many, 1_000)
    yield "readers that do not read (SSE)", _in_folder(clients.slow_readers, 50)
    yield "random bodies", _in_folder(clients.nonsense, options.bodies)


def _in_folder(trial: Callable[[Path, int, random.Random], Tried], n: int) -> Tried:
    with tempfile.TemporaryDirectory() as folder:
        return trial(Path(folder), max(1, n), random.Random(1))


def main() -> int:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=300, help="Number of kills in each row of that group.")
    parser.add_argument("--bodies", type=int, default=100_000, help="Number of random bodies.")
    parser.add_argument("--group", action="append", choices=list(GROUPS), help="Rows to print. Default: all.")
    options = parser.parse_args()
    print(f"{'fault':<36} {'tried':>8} {'survived':>9} {'lost':>6} {'duplicated':>11}", flush=True)
    is_bad = False
    for name in options.group or GROUPS:
        for fault, tried in GROUPS[name](options):
            if tried is None:
                print(f"{fault:<36} {'not tried: it needs what is not on this machine':>38}", flush=True)
                continue
            print(
                f"{fault:<36} {tried.n:>8,} {tried.survived:>9,} {tried.lost:>6,} {tried.duplicated:>11,}",
                flush=True,
            )
            is_bad |= bool(tried.lost or tried.duplicated or tried.survived < tried.n)
    return int(is_bad)


if __name__ == "__main__":
    raise SystemExit(main())
