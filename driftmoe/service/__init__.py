"""A worker that predicts and learns for months: events come in, late labels find their samples, nothing is lost.

`events` says what an event is, `joining` what follows from one, `keyed` and `registry` hold the models, `store` keeps
it all, and `worker` is the thread that does it. `sources` bring events, from `files` and from brokers (`redis_streams`,
`nats_streams`, `kafka_topics`); `outbox` sends predictions; `http` answers clients.
"""

from __future__ import annotations

from driftmoe.service.arrivals import Arrival, Bounds
from driftmoe.service.events import Event, EventError, Limits
from driftmoe.service.failures import QueueFull, Stopped, StoreError
from driftmoe.service.registry import Settings
from driftmoe.service.store import Store
from driftmoe.service.worker import Worker

__all__ = [
    "Arrival", "Bounds", "Event", "EventError", "Limits", "QueueFull", "Settings", "Stopped", "Store", "StoreError",
    "Worker",
]  # fmt: skip
