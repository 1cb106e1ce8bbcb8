"""Events as they come in, what the worker keeps of them, and what a model has to do for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from driftmoe.service.events import Event, EventError, Limits, read_event
from driftmoe.service.scores import Answer
from driftmoe.service.store import Row


@dataclass(slots=True)
class Arrival:
    """An event as it came: `content` is an event, or its JSON text; `position` is its place in the source.

    Examples
    --------
    >>> from driftmoe.service import Arrival
    >>> Arrival("events.jsonl", b'{"id": "a1", "features": {"x": 1.5}}', position=0).source
    'events.jsonl'
    """

    source: str
    content: Event | bytes
    position: Any = None
    _event: Event | EventError | None = field(default=None, init=False, repr=False, compare=False)

    def read(self, limits: Limits) -> Event | EventError:
        """Return the event, or why it cannot be read. The text is read once."""
        if self._event is None:
            content = self.content
            if isinstance(content, Event):
                self._event = content
            else:
                try:
                    self._event = read_event(content, limits)
                except EventError as error:
                    self._event = error
        return self._event


@dataclass(slots=True)
class Outcome:
    """What became of an event.

    Attributes
    ----------
    id, key
        Those of the event; `None` if it could not be read.
    what
        `"predicted"`, `"learnt"`, or why it was not used.
    answer
        What the model said of its features, if it did.
    message
        What to say of an event that was not used.
    is_committed
        Whether the store has it.
    """

    id: str | None = None
    key: str | None = None
    what: str = ""
    answer: Answer | None = None
    message: str = ""
    is_committed: bool = True

    @classmethod
    def of(
        cls, event: Event | EventError, what: str = "", message: str = "", *, is_committed: bool = True
    ) -> Self:
        """Return the outcome of an event."""
        name, key = (event.id, event.key) if isinstance(event, Event) else (None, None)
        return cls(name, key, what, None, message, is_committed)

    def public(self) -> dict[str, Any]:
        """Return what a client is told. It is only made for those who wait."""
        told = {"id": self.id, "key": self.key, "outcome": self.what, "committed": self.is_committed}
        if self.answer is not None:
            told |= self.answer.public()
        if self.message:
            told["message"] = self.message
        return told


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
    max_unsent
        Number of predictions and alarms that wait for their receiver. The oldest ones are dropped, and counted.
    lateness
        In the order of time: seconds by which a label may come after one of a later time. `None`: labels count in the
        order in which they come.
    limits
        Sizes of an event.

    Examples
    --------
    >>> from driftmoe.service import Bounds
    >>> Bounds(max_age=7 * 24 * 3600.0).max_age  # a label may be a week late
    604800.0
    """

    max_waiting: int = 100_000
    max_age: float = 30 * 86_400.0
    n_remembered: int = 100_000
    max_models: int = 100
    max_unsent: int = 1_000_000
    lateness: float | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class Operation:
    """One sample for a model: to predict, to learn if it has a label, or both.

    `place` is that in the order of learning.
    """

    arrival: Arrival
    row: Row
    features: dict[str, Any]
    outcome: Outcome
    label: Any = None
    weight: float = 1.0
    place: int = 0
    is_asked: bool = True
