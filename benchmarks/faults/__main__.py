"""Count what faults do to models, and print a table.

    python -m benchmarks.faults                     # the whole table, about a quarter of an hour
    python -m benchmarks.faults --group saving --group learning
    python -m benchmarks.faults --seconds 5 --interrupts 200
    python -m benchmarks.faults --group refusals --refused 1000000     # a millisecond each

A fault is survived if it does no harm: see `benchmarks.faults` for what that is in each group. The exit status is 1 if
anything is lost. Debug allocators also check memory:

    PYTHONMALLOC=debug NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=runs/checked python -m benchmarks.faults --seconds 5
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.faults import damage, learning, refusals, saving

Row = tuple[str, str, tuple[int, int] | None]
"""Model, fault, and how often it was tried and did harm; None if it could not be tried here."""


def learning_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Disturb each model while it learns."""
    new = (
        {"number 0": 1.0, "a new number": 2.0, "a new text": "value", "text": "a new value"},
        "a new class",
    )
    known = learning.growing(200)[-1]
    for name in options.model or learning.MODELS:
        make = learning.MODELS[name]
        yield name, "interrupts, samples", learning.interrupted(make, options.interrupts)
        if name != "tree":
            yield name, "interrupts, blocks", learning.interrupted_blocks(make, options.interrupts // 10)
            yield name, "each line, a block", learning.stopped_block(make)
        yield name, "each line, a new schema", learning.stopped(make, new)
        yield name, "each line, a known one", learning.stopped(make, known)
        yield name, "failing allocations, a new schema", learning.starved(make, new)
        yield name, "failing allocations, a known one", learning.starved(make, known)
        yield name, "calls of 8 threads", learning.shared(make, options.seconds)
        if name in ("driftmoe", "moe-task", "moe-data"):
            found = learning.shared(lambda: make(n_threads=2), options.seconds)  # noqa: B023  # called at once
            yield name, "the same, n_threads=2", found


def saving_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Disturb a process that saves a small model."""
    for fault, function, arguments in (
        ("kill -9, random moments", saving.killed, (options.kills,)),
        ("kill -9, each line of saving", saving.killed_at_each_line, ()),
        ("disk full, by a limit of size", saving.limited, (200,)),
        ("disk full, a small disk", saving.small_disk, ()),
        ("read-only folders, no places", saving.forbidden, ()),
        ("two writers, one file", saving.beside_each_other, (500,)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            yield "saving", fault, saving.apart(function, Path(folder), *arguments)


def refusals_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Give each model what no model may take."""
    names = options.model or list(learning.MODELS)
    for name in names:
        tried, lost, problems = refusals.refused(learning.MODELS[name], -(-options.refused // len(names)))
        for problem in problems[:3]:
            print("   ", problem)
        yield name, "refused input, among right calls", (tried, lost)


def damage_rows(_: argparse.Namespace) -> Iterator[Row]:
    """Read files that were damaged, and files that lie."""
    with tempfile.TemporaryDirectory() as folder:
        readers = {
            "file of a tree": damage.Models(),
            "the same, compressed": damage.Models(compress=True),
            "adapter of a network": damage.Adapters(Path(folder)),
        }
        for name, reader in readers.items():
            files = damage.flipped(reader.content, bits=(0x01, 0x80))
            yield name, "each byte flipped, twice", damage.changed(reader.read, reader.expected, files)
            files = damage.cut(reader.content)
            found = damage.changed(reader.read, reader.expected, files, may_be_equal=False)
            yield name, "each truncation, tails", found
        found = saving.apart(damage.lying_adapters, Path(folder))
        yield "adapter of a network", "lies, 2 GB, in 64 MB of memory", found


GROUPS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "learning": learning_rows,
    "saving": saving_rows,
    "damage": damage_rows,
    "refusals": refusals_rows,
}


def parsed() -> Any:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--group", action="append", choices=list(GROUPS), help="all by default")
    parser.add_argument("--interrupts", type=int, default=1000, help="of each model, sample by sample")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each model with threads")
    parser.add_argument("--kills", type=int, default=200, help="of a process that saves")
    parser.add_argument("--refused", type=int, default=140_000, help="of all models together")
    parser.add_argument("--model", action="append", choices=list(learning.MODELS), help="all by default")
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    options = parsed()
    print(f"{'model':<22}{'fault':<34}{'tried':>9}{'survived':>10}{'lost':>6}")
    n_lost = 0
    for group in options.group or GROUPS:
        for name, fault, found in GROUPS[group](options):
            if found is None:
                print(f"{name:<22}{fault:<34}{'not possible here':>25}", flush=True)
                continue
            tried, lost = found
            print(f"{name:<22}{fault:<34}{tried:>9,}{tried - lost:>10,}{lost:>6,}", flush=True)
            n_lost += lost
    if n_lost:
        raise SystemExit(f"{n_lost} lost")


if __name__ == "__main__":
    main()
