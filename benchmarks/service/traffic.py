"""Events for the worker: right ones and wrong ones, late labels, repeated and conflicting ones."""

from __future__ import annotations

import json
import random
from typing import Any

SPEC = "moe-data(n_experts=3, hidden=(6,), batch_size=16)"
"""A small model: what is tested is the worker."""

KEEPS = "driftmoe(n_experts=2, extras=('history', 'linear'), hidden=(6,), batch_size=16, max_waiting=15)"
"""A small model that is told of samples whose labels come late, and forgets some of them."""


def mixed_events(
    n: int, seed: int, *, keys: tuple[str, ...] = ("default", "other"), late: int = 20
) -> list[dict[str, Any]]:
    """Return about two events for each of `n` samples, in an order in which a worker could get them."""
    rng = random.Random(seed)
    events: list[dict[str, Any]] = []
    due: list[tuple[int, dict[str, Any]]] = []
    for i in range(n):
        head = {"id": f"e{i}"} | ({} if (key := rng.choice(keys)) == "default" else {"key": key})
        x = _features(rng)
        event = head | {"features": x}
        label = head | {"label": rng.choice(["yes", "no"] if x.get("c", 0) != 1 else ["yes", "maybe"])}
        kind = rng.random()
        if kind < 0.1:
            events.append(event | label)
        elif kind < 0.15:
            events.append(_without_id(event))
        elif kind < 0.2:
            events.append(_without_id(event | label))
        elif kind < 0.3:  # the label comes first
            events.append(label)
            due.append((i + rng.randrange(5), event))
        else:
            events.append(event)
            due += _later(rng, i, late, event, label)
        events += [one for when, one in due if when <= i]
        due = [pair for pair in due if pair[0] > i]
    return events + [one for _, one in due]


def with_times(events: list[dict[str, Any]], seed: int, *, jitter: float = 8.0) -> list[dict[str, Any]]:
    """Return the events that have an id, with times that are not quite in order."""
    rng = random.Random(seed)
    return [event | {"time": i + jitter * rng.random()} for i, event in enumerate(events) if "id" in event]


def _features(rng: random.Random) -> dict[str, Any]:
    x: dict[str, Any] = {"a": rng.random(), "b": rng.choice(["red", "blue"]), "c": rng.randrange(3)}
    if rng.random() < 0.03:
        x["a"] = "text"  # was a number: no model can read it
    if rng.random() < 0.2:
        del x[rng.choice(list(x))]
    return x


def _later(
    rng: random.Random, i: int, late: int, event: dict[str, Any], label: dict[str, Any]
) -> list[tuple[int, dict[str, Any]]]:
    """Return what follows the features of a sample, and when."""
    chances = (
        (0.85, late, label),
        (0.1, late, event),
        (0.1, late, label | {"label": rng.choice(["yes", "no", 1, True])}),
        (0.05, late, label | {"weight": 2.5}),
        (0.02, 1, event | {"features": {"a": 1.0}}),
    )
    return [(i + rng.randrange(span), one) for chance, span, one in chances if rng.random() < chance]


def _without_id(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "id"}


def as_lines(events: list[dict[str, Any]]) -> list[bytes]:
    """Return events as lines of JSON."""
    return [json.dumps(event).encode() for event in events]
