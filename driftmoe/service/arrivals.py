"""Events as they come in, what the worker keeps of them, and what a model has to do for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from driftmoe.service.events import Event, Limits
from driftmoe.service.scores import Answer
from driftmoe.service.store import Row


@dataclass(slots=True)
class Arrival:
    """An event as it came: `content` is an event, or its JSON text; `position` is its place in the source."""

    source: str
    content: Event | bytes
    position: Any = None


@dataclass(frozen=True)
class Bounds:
    """What the worker keeps.

    Attributes
    ----------
    max_waiting
        Number of samples that wait for a label, and of labels that wait for features.
    max_age
        Seconds that they wait.
    n_remembered
        Number of samples that are done whose ids are remembered.
    max_models
        Number of keys.
    lateness
        In the order of time: seconds by which a label may come after one of a later time. `None`: labels count in the
        order in which they come.
    limits
        Sizes of an event.
    """

    max_waiting: int = 100_000
    max_age: float = 30 * 86_400.0
    n_remembered: int = 100_000
    max_models: int = 100
    lateness: float | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class Operation:
    """One sample for a model: to predict, to learn, or both. `place` is that in the order of learning."""

    arrival: Arrival
    row: Row
    features: dict[str, Any]
    outcome: dict[str, Any]
    label: Any = None
    weight: float = 1.0
    learns: bool = False
    place: int = 0
    answer: Answer | None = None
