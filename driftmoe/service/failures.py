"""Why a service takes nothing: its queue is full, it stops, its store cannot be written, or a model is another one."""

from __future__ import annotations


class QueueFull(ValueError):  # noqa: N818 - reads as what happened
    """The bounded queue has no room for the events; nothing was taken.

    Attributes
    ----------
    retry_after
        Seconds after which room is likely.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Stopped(RuntimeError):  # noqa: N818
    """The worker stops and takes no events any more."""


class StoreError(OSError):
    """A commit failed, such as on a full disk; nothing of its events was taken."""


class Changed(ValueError):  # noqa: N818
    """A model is not the one that the caller wants to replace: it has learnt since, or was replaced."""
