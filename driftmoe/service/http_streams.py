"""Server-sent events: the latest figures, and alarms as they are raised.

A reader holds the last state or the last number that it got, never a queue: who reads slowly gets fewer states, and the
alarms that came meanwhile at once. What the figures are is asked once for all readers of a model.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from driftmoe.service.events import DEFAULT_KEY
from driftmoe.service.http_answers import Refusal, as_json, later
from driftmoe.service.http_context import Context, ask, context_of, known_key, parameters
from driftmoe.service.http_figures import figures_of, sequence_number

RETRY = b"retry: 2000\n: driftmoe\n\n"
"""First lines of a stream: milliseconds after which a browser connects again."""


async def stream_metrics(request: Request) -> Response:
    """Stream the latest figures of a model and of the worker."""
    context = context_of(request)
    key = known_key(context, parameters(request, "key").get("key", DEFAULT_KEY))
    return Stream(context, _states(context, request.app.state.latest, key))


async def stream_events(request: Request) -> Response:
    """Stream alarms; `Last-Event-ID` or `since` is the number of the last one that the reader has."""
    context = context_of(request)
    given = parameters(request, "key", "since")
    key = known_key(context, given["key"]) if "key" in given else None
    since = sequence_number(given.get("since", "0"), "since")
    if (last := request.headers.get("last-event-id")) is not None:
        since = sequence_number(last, "Last-Event-ID")
    return Stream(context, _alarms(context, key, since))


class Latest:
    """The latest figures by model, as JSON; one question to the worker serves all readers of an interval."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: dict[str, tuple[float, bytes]] = {}
        self._last_alarm: dict[str, int] = {}
        self._lock = anyio.Lock()

    async def of(self, key: str) -> bytes:
        """Return the figures of a model, of the worker, and the number of the last alarm."""
        async with self._lock:
            asked, text = self._found.get(key, (0.0, b""))
            # Readers wake a little apart: half an interval decides whether they belong to one.
            if not text or time.monotonic() - asked > self._context.interval / 2:
                text = as_json(await ask(self._state, key))
                if len(self._found) >= self._context.most_readers:
                    self._found.clear()
                self._found[key] = time.monotonic(), text
            return text

    def _state(self, key: str) -> dict[str, Any]:
        worker = self._context.worker
        news = worker.alarms(key, self._last_alarm.get(key, 0))
        if news:
            self._last_alarm[key] = news[-1]["seq"]
        return {
            "key": key,
            "time": time.time(),
            "metrics": figures_of(worker, key),
            "stats": worker.stats(),
            "last_alarm": self._last_alarm.get(key, 0),
            "names": list(worker.names)[:1000],
        }


class Stream(Response):
    """A stream of server-sent events.

    Raises Refusal (503) if there are as many readers as allowed.
    """

    media_type = "text/event-stream"

    def __init__(self, context: Context, frames: AsyncIterator[bytes]) -> None:
        if context.n_readers >= context.most_readers:
            raise later(503, f"{context.most_readers} streams are open already; at most so many are", 5)
        self._context, self._frames = context, frames
        self.status_code = 200
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames until the reader leaves or the server stops."""
        self._context.n_readers += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send, send, tasks.cancel_scope)
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()
        finally:
            self._context.n_readers -= 1

    async def _send(self, send: Send, scope: anyio.CancelScope) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": RETRY, "more_body": True})
        try:
            async for frame in self._frames:
                # Returns when the connection has room: nothing is made for a slow reader before.
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        except Refusal:
            pass  # the worker stops, and so does the stream; the reader connects again
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        scope.cancel()


async def _states(context: Context, latest: Latest, key: str) -> AsyncIterator[bytes]:
    while not context.is_stopping:
        text = await latest.of(key)
        yield b"event: metrics\ndata: " + text + b"\n\n"
        await anyio.sleep(context.interval)


async def _alarms(context: Context, key: str | None, since: int) -> AsyncIterator[bytes]:
    quiet_since = time.monotonic()
    while not context.is_stopping:
        for alarm in await ask(context.worker.alarms, key, since):
            since = alarm["seq"]
            quiet_since = time.monotonic()
            yield b"id: %d\nevent: alarm\ndata: %b\n\n" % (since, as_json(alarm))
        if time.monotonic() - quiet_since >= context.heartbeat:
            quiet_since = time.monotonic()
            yield b": still here\n\n"
        await anyio.sleep(context.interval)
