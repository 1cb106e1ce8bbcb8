"""What the worker needs of a source of events and of a receiver of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Message = tuple[Any, bytes]
"""Position after an event, and the event."""


class SourceError(OSError):
    """A source that cannot be read, or not without losing events."""


class Unreachable(SourceError):  # noqa: N818  # a state, not a fault
    """A source that cannot be read now, and perhaps later: its server does not answer."""


class SendError(OSError):
    """A receiver that does not take messages now."""


class Source(Protocol):
    """Events in an order that stays, each with a position.

    Attributes
    ----------
    name
        Name in the store. It holds no password.
    """

    name: str

    def open(self, position: Any) -> None:
        """Begin after a position of an earlier message, or at the start if it is `None`.

        A source can be opened again after Unreachable.

        Raises
        ------
        Unreachable
            If the source does not answer.
        SourceError
            If events after the position are gone, or the source cannot be read at all.
        """

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return up to `n` messages, none if none came within `seconds`, and `None` at the end of the source.

        Raises
        ------
        Unreachable
            If the source does not answer. No message is lost: open it again after the last one.
        SourceError
            If events are gone that were not read yet.
        """

    def close(self) -> None:
        """Let go of what the source holds. It may be closed twice."""


class Sink(Protocol):
    """A receiver of messages."""

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Send messages, each an id and JSON text, and return when the receiver has them. Raises SendError."""

    def close(self) -> None:
        """Let go of what the sink holds."""
