"""A worker that takes lines within the thread of the test, one transaction a call."""

from __future__ import annotations

from driftmoe import saving
from driftmoe.service import Arrival, Bounds, Settings, Store, Worker

SPEC = "moe-data(n_experts=3, hidden=(6,), batch_size=16)"


def opened(folder, **settings):
    bounds = Bounds(**settings.pop("bounds", {}))
    return Worker(Store(folder), Settings(**({"model": SPEC, "bounds": bounds} | settings)))


def taken(worker, lines, source="test", start=0):
    """Let a worker take lines within this thread, in one transaction."""
    arrivals = [Arrival(source, line, start + i + 1) for i, line in enumerate(lines)]
    outcomes = worker.joiner.take(arrivals)
    worker._commit(arrivals)
    return [outcome.public() for outcome in outcomes]


def digests(worker):
    return {key: saving.digest(keyed.model) for key, keyed in worker.registry.models.items()}
