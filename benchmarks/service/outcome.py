"""What a store holds in the end, so that a disturbed run can be compared with one that was left alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftmoe import saving
from driftmoe.service import Settings, Store, Worker


@dataclass(frozen=True)
class Outcome:
    """What is left of a run.

    Attributes
    ----------
    digests
        Key -> digest of its model.
    samples
        Each sample that came: key, id, state, event, answer, label, weight and place in the order of learning.
    counts, position
        Counters, and position in the source.
    sent
        Messages that the receiver got, without repetitions: id -> content.
    """

    digests: dict[str, str]
    samples: list[tuple[Any, ...]]
    counts: dict[str, int]
    position: Any
    sent: dict[str, Any]


def outcome_of(folder: Path, settings: Settings, sink: Path | None = None) -> Outcome:
    """Return what a store holds after a run."""
    worker = Worker(Store(folder), settings)
    try:
        store = worker.store
        return Outcome(
            {key: saving.digest(keyed.model) for key, keyed in worker.registry.models.items()},
            store.read(
                "SELECT seq, key, id, state, event, answer, label, weight, learnt FROM samples ORDER BY seq"
            ),
            store.counts(),
            [position for position, _ in store.positions().values()],
            {} if sink is None else sent_to(sink),
        )
    finally:
        worker.stop()


def sent_to(sink: Path) -> dict[str, Any]:
    """Return the messages in a file by id; one that was sent twice must be the same twice."""
    sent: dict[str, Any] = {}
    for line in sink.read_text().splitlines() if sink.exists() else []:
        message = json.loads(line)
        name = json.dumps([message["kind"], message["key"], message["id"]])
        message = {key: value for key, value in message.items() if key != "alarm"}
        if sent.setdefault(name, message) != message:
            raise ValueError(f"message {name} was sent twice with different contents")
    return sent


def compared(expected: Outcome, found: Outcome) -> tuple[int, int]:
    """Return how many samples, messages or models of a run left alone are lost or differ, and how many are too many."""
    lost = sum(found.digests.get(key) != digest for key, digest in expected.digests.items())
    missing, extra = _difference(expected.samples, found.samples)
    lost += missing
    extra += len(found.digests.keys() - expected.digests.keys())
    lost += sum(found.sent.get(name) != message for name, message in expected.sent.items())
    extra += len(found.sent.keys() - expected.sent.keys())
    for name in expected.counts.keys() | found.counts.keys():
        gap = expected.counts.get(name, 0) - found.counts.get(name, 0)
        lost, extra = lost + max(gap, 0), extra + max(-gap, 0)
    return lost, extra


def _difference(expected: list[Any], found: list[Any]) -> tuple[int, int]:
    wanted, there = Counter(expected), Counter(found)
    return (wanted - there).total(), (there - wanted).total()
