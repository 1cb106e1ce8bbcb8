"""Random events of all kinds, right ones and wrong ones."""

from __future__ import annotations

import json
import random


def mixed_events(n, seed, *, keys=("default", "other"), late=20):
    """Return events: features, late labels, repeated and conflicting ones, samples that no model can read."""
    rng, events, due = random.Random(seed), [], []
    for i in range(n):
        key = rng.choice(keys)
        x = {"a": rng.random(), "b": rng.choice(["red", "blue"]), "c": rng.randrange(3)}
        if rng.random() < 0.03:
            x["a"] = "text"  # was a number
        if rng.random() < 0.2:
            del x[rng.choice(list(x))]
        y = rng.choice(["yes", "no"]) if x.get("c", 0) != 1 else rng.choice(["yes", "maybe"])
        event = {"id": f"e{i}", "features": x} | ({} if key == "default" else {"key": key})
        label = {"id": f"e{i}", "label": y} | ({} if key == "default" else {"key": key})
        kind = rng.random()
        if kind < 0.1:
            events.append(event | {"label": y})
        elif kind < 0.15:
            events.append({name: value for name, value in event.items() if name != "id"})
        elif kind < 0.2:
            events.append({name: value for name, value in (event | {"label": y}).items() if name != "id"})
        elif kind < 0.3:  # the label comes first
            events.append(label)
            due.append((i + rng.randrange(5), event))
        else:
            events.append(event)
            if rng.random() < 0.85:
                due.append((i + rng.randrange(late), label))
            if rng.random() < 0.1:
                due.append((i + rng.randrange(late), event))
            if rng.random() < 0.1:
                due.append((i + rng.randrange(late), label | {"label": rng.choice(["yes", "no", 1, True])}))
            if rng.random() < 0.05:
                due.append((i + rng.randrange(late), label | {"weight": 2.5}))
            if rng.random() < 0.02:
                due.append((i, event | {"features": {"a": 1.0}}))
        ready = [one for when, one in due if when <= i]
        due = [pair for pair in due if pair[0] > i]
        events += ready
    return events + [one for _, one in due]


def as_lines(events):
    """Return events as lines of JSON."""
    return [json.dumps(event).encode() for event in events]
