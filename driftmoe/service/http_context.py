"""What all handlers of requests share: the worker, the bounds, and how they ask the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import anyio
from anyio import to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from driftmoe.service.events import DEFAULT_KEY, Event, Limits
from driftmoe.service.failures import QueueFull, Stopped, StoreError
from driftmoe.service.http_answers import Refusal, later
from driftmoe.service.http_bodies import Held, RequestBounds

Parsed = TypeVar("Parsed")


class Worker(Protocol):
    """What the server asks of a worker; every method may be called from any thread."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the models."""

    def submit(self, events: Sequence[Event]) -> Future[list[dict[str, Any]]]:
        """Take events; the outcomes come after the commit."""

    def predict(self, features: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        """Predict, and remember nothing."""

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes of the whole worker."""

    def metrics(self, key: str) -> dict[str, Any]:
        """Return the current figures of a model."""

    def history(self, key: str) -> list[dict[str, Any]]:
        """Return the figures of a model over time."""

    def alarms(self, key: str | None = None, since: int = 0) -> list[dict[str, Any]]:
        """Return alarms, oldest first."""

    def mistakes(self, key: str) -> list[dict[str, Any]]:
        """Return recent wrong predictions."""

    def importances(self, key: str) -> dict[str, Any]:
        """Return how much a model relies on each feature."""

    def models(self) -> list[dict[str, Any]]:
        """Return what the models are."""

    def model_file(self, name: str) -> bytes:
        """Return a model's file."""

    def replace_model(
        self, name: str, content: bytes, expected: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Take a model from its file, if the present one is among those expected."""


LONG = 50_000
"""Bytes from which a body is parsed in a thread, so that other requests do not wait."""

N_PARSERS = 2
"""Number of long bodies that are parsed at a time: values may take 20 times the memory of their text."""


@dataclass(slots=True)
class Context:
    """What the handlers of an application share."""

    worker: Worker
    limits: Limits
    bounds: RequestBounds
    held: Held
    interval: float
    heartbeat: float
    most_readers: int
    n_readers: int = field(default=0)
    is_stopping: bool = field(default=False)
    parsers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(N_PARSERS))


def context_of(request: Request) -> Context:
    """Return what the handlers of a request's application share."""
    return request.app.state.context


async def parse(context: Context, body: bytearray, function: Callable[[bytes], Parsed]) -> Parsed:
    """Return what a function makes of a body; a long one waits for its turn in a thread."""
    content = bytes(body)
    if len(content) < LONG:
        return function(content)
    return await to_thread.run_sync(function, content, limiter=context.parsers)


async def ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a method of the worker in a thread of its own.

    Raises
    ------
    Refusal
        429 if the worker has too much to do, 503 if it stops or its store fails.
    """
    try:
        return await run_in_threadpool(function, *arguments)
    except QueueFull as error:
        raise later(429, str(error), error.retry_after) from None
    except (Stopped, StoreError) as error:
        raise unavailable(error) from None


async def outcomes(context: Context, events: Sequence[Event]) -> list[dict[str, Any]]:
    """Give events to the worker, and return their outcomes after the commit.

    Raises
    ------
    Refusal
        429 if the queue is full, 503 if the worker stops, its store fails, or no commit came in time.
    """
    try:
        future = context.worker.submit(events)
    except QueueFull as error:
        raise later(429, str(error), error.retry_after) from None
    except (Stopped, StoreError) as error:
        raise unavailable(error) from None
    # `asyncio.wait` leaves the future alone when the time is up or the client has left: the worker still has it.
    done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=context.bounds.answer_seconds)
    if not done:
        raise later(
            503,
            f"no commit within {context.bounds.answer_seconds:g} seconds; the events may still be taken, so send them "
            "again with the same ids",
            5,
        )
    try:
        return done.pop().result()
    except (Stopped, StoreError) as error:
        raise unavailable(error) from None


def unavailable(error: Exception) -> Refusal:
    """Return the refusal of a worker that can take nothing."""
    return later(503, f"{error}; nothing was taken", 5)


def parameters(request: Request, *allowed: str) -> Mapping[str, str]:
    """Return the query's parameters.

    Raises
    ------
    Refusal
        422 if one is unknown or given twice.
    """
    pairs = request.query_params.multi_items()
    for name, _ in pairs:
        if name not in allowed:
            raise Refusal(
                422,
                f"{name[:40]!a} is no parameter here; the parameters are {', '.join(allowed) or 'none'}",
                field=name[:40],
            )
    if len(dict(pairs)) < len(pairs):
        raise Refusal(422, "a parameter is given twice")
    return dict(pairs)


def known_key(context: Context, key: str) -> str:
    """Return a model's name; raise Refusal (404) if there is none of the name, nor is it the default one."""
    names = context.worker.names
    if key not in names and key != DEFAULT_KEY:
        shown = ", ".join(list(names)[:10]) + (", ..." if len(names) > 10 else "")
        raise Refusal(
            404, f"no model has the key {key[:100]!a}; the keys are {shown or 'none yet'}", field="key"
        )
    return key
