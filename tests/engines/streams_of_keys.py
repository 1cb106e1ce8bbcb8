"""A small stream of several keys, and the plain loop over it."""

from __future__ import annotations

import random

from driftmoe.engines import Make, event_files, results
from driftmoe.engines.keyed import Prediction, Step

SPEC = "moe-data(n_experts=2, top_k=1, hidden=(4,))"
MAKE = Make(SPEC, seed=3)
N_KEYS = 9


def samples(n):
    numbers = random.Random(5)
    for i in range(n):
        shop = numbers.randrange(N_KEYS)
        x = {"shop": f"s{shop}", "a": numbers.random(), "b": numbers.choice(["left", "right", None])}
        yield x, int((x["a"] > 0.5) == (x["b"] == "left" or (shop > 4 and i > n // 2)))


def written(path, n):
    """Write the samples as a CSV file."""
    lines = [f"{x['shop']},{x['a']!r},{x['b'] or ''},{y}\n" for x, y in samples(n)]
    path.write_text("shop,a,b,y\n" + "".join(lines))
    return path


def plain_loop(n, delay, make=MAKE):
    """Return the results of a loop over the samples with one model a key, and no step, bytes or engine."""
    models, found = {}, []
    for name, event in event_files.events_of(samples(n), "shop", delay):
        model, waiting = models.setdefault(name, (make(), {}))
        if event.kind == "label":
            model.learn_one(waiting.pop(event.id), event.payload)
            continue
        x = event.payload["features"] if event.kind == "sample" else event.payload
        late = event.kind != "sample" and hasattr(model, "arrive_one")
        proba = model.arrive_one(x) if late else model.predict_proba_one(x)
        said = Prediction(event.seq, event.id, max(proba, key=proba.get) if proba else None, proba)
        found += results.results_of(name, Step(b"", [said], []))
        if event.kind == "sample":
            model.learn_one(x, event.payload["label"])
        else:
            waiting[event.id] = x
    return found
