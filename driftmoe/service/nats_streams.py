"""Events from and to the streams of NATS JetStream, whose messages are numbered."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

from driftmoe.service.addresses import needed, without_secrets
from driftmoe.service.protocols import Message, SendError, SourceError, Unreachable

log = logging.getLogger(__name__)

SECONDS = 10.0
"""Longest time in which the server must answer."""

PING_EVERY = 20.0
"""Seconds after which a silent server is asked whether it is there."""

INACTIVE = 60.0
"""Seconds after which the server forgets a reader that has gone."""


class NatsSource:
    """All messages of a NATS JetStream stream, in the order of their numbers.

    A position is the number of a message, and the time at which the stream was created, by which it is known again.
    The number that follows is the next one, always: a message that was deleted from the middle is a lost event.

    Parameters
    ----------
    url
        Address of the server.
    stream
        Name of the stream.
    follows
        Whether to wait for more at the end.
    """

    def __init__(self, url: str, stream: str, *, follows: bool = True) -> None:
        self.name = f"{without_secrets(url)}/{stream}"
        self._nats = _Nats(url, self.name)
        self._stream, self._follows = stream, follows
        self._last, self._created = 0, ""
        self._subscription: Any = None
        self._is_fresh, self._missing = False, False

    def open(self, position: Any) -> None:
        """Begin after a number; see `Source`."""
        self._last, self._created = (0, "") if position is None else position
        self._nats.disconnect()
        self._nats.run(self._subscribe())

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next messages; see `Source`."""
        if self._missing:
            raise Unreachable(f"{self.name}: message {self._last + 1} was lost on the way")
        messages: list[Message] = []
        for one in self._nats.run(self._fetch(n, max(seconds, 0.1))):
            number = one.metadata.sequence.stream
            if number != self._last + 1:
                if self._is_fresh and not messages:  # the first that the server has after the last one
                    raise SourceError(
                        f"{self.name}: message {self._last + 1} is missing, {number} came; events are lost: begin a "
                        "new store, or let the stream keep all messages"
                    )
                self._missing = True
                break
            self._last = number
            messages.append(([number, self._created], one.data))
        self._is_fresh = False
        if (
            not messages
            and not self._follows
            and not self._missing
            and self._last >= self._nats.run(self._about()).state.last_seq
        ):
            return None
        return messages

    def close(self) -> None:
        """Close the connection."""
        self._nats.close()

    async def _about(self) -> Any:
        context = await self._nats.context()
        try:
            return await context.stream_info(self._stream)
        except self._nats.module.js.errors.NotFoundError:
            if self._created:
                raise SourceError(
                    f"{self.name}: the stream is gone, and was read up to {self._last}; begin a new store"
                ) from None
            raise SourceError(f"{self.name}: there is no such stream; create it first") from None
        except self._nats.errors as error:
            raise Unreachable(f"{self.name}: {error}") from None

    async def _subscribe(self) -> None:
        about = await self._about()
        created, state = about.created.isoformat(), about.state
        if self._created and created != self._created:
            raise SourceError(
                f"{self.name}: the stream was created at {created}, and the one that was read up to message "
                f"{self._last} at {self._created}; it is not the same stream: begin a new store"
            )
        if state.last_seq < self._last:
            raise SourceError(
                f"{self.name}: the stream ends at message {state.last_seq}, and was read up to {self._last}; it has "
                "lost its end: begin a new store"
            )
        if state.first_seq > self._last + 1:
            if self._created:
                raise SourceError(
                    f"{self.name}: the stream begins at message {state.first_seq}, and was read only up to "
                    f"{self._last}; events are lost: begin a new store, or let the stream keep its messages for longer"
                )
            log.warning(
                "%s: %d messages were deleted before the first was read", self.name, state.first_seq - 1
            )
            self._last = state.first_seq - 1
        self._created = created
        api = self._nats.module.js.api
        start = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._last + 1,
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=INACTIVE,
            mem_storage=True,
        )
        context = await self._nats.context()
        try:
            self._subscription = await context.pull_subscribe(
                ">", stream=self._stream, config=start, pending_bytes_limit=-1
            )
        except (
            self._nats.module.js.errors.BadRequestError
        ) as error:  # such as of a stream that is a queue of work
            raise SourceError(f"{self.name}: {error}") from None
        except self._nats.errors as error:
            raise Unreachable(f"{self.name}: {error}") from None
        self._is_fresh, self._missing = True, False

    async def _fetch(self, n: int, seconds: float) -> list[Any]:
        await self._nats.context()
        try:
            found: list[Any] = await self._subscription.fetch(n, timeout=seconds)
        except TimeoutError:
            return []
        except self._nats.errors as error:
            raise Unreachable(f"{self.name}: {error}") from None
        return found


class NatsSink:
    """Messages to a NATS subject that a JetStream stream keeps. The server leaves out an id that it has seen lately."""

    def __init__(self, url: str, subject: str) -> None:
        self._name, self._subject = f"{without_secrets(url)}/{subject}", subject
        self._nats = _Nats(url, self._name)

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Publish messages; see `Sink`."""
        try:
            self._nats.run(self._publish(messages))
        except (SourceError, *self._nats.errors) as error:
            self._nats.disconnect()
            text = str(error) or type(error).__name__
            raise SendError(text if text.startswith(self._name) else f"{self._name}: {text}") from None

    async def _publish(self, messages: Sequence[tuple[str, str]]) -> None:
        context = await self._nats.context(again=True)
        lost = asyncio.ensure_future(
            self._nats.lost.wait()
        )  # the package waits for an answer that cannot come
        sent = asyncio.ensure_future(self._publish_to(context, messages))
        await asyncio.wait((lost, sent), return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if not sent.done():
            sent.cancel()
            raise Unreachable(f"{self._name}: the connection was lost")
        await sent

    async def _publish_to(self, context: Any, messages: Sequence[tuple[str, str]]) -> None:
        for name, content in messages:
            await context.publish(self._subject, content.encode(), headers={"Nats-Msg-Id": name})

    def close(self) -> None:
        """Close the connection."""
        self._nats.close()


class _Nats:
    """A connection in an event loop of its own thread. One that is lost is not made anew before it is asked for."""

    def __init__(self, url: str, name: str) -> None:
        try:
            import nats
            import nats.js
        except ImportError:
            raise needed("nats-py", "nats") from None
        self.module, self._url, self._name = nats, url, name
        self.errors = (nats.errors.Error, OSError, TimeoutError)
        self._client: Any = None
        self.lost = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="driftmoe-nats", daemon=True)
        self._thread.start()

    async def context(self, *, again: bool = False) -> Any:
        """Return the JetStream of the server. Raises Unreachable if there is none, or the connection was lost."""
        if self._client is not None and self._client.is_closed:
            self._client = None
            if not again:
                raise Unreachable(f"{self._name}: the connection was lost")
        if self._client is None:
            await self._connect()
        return self._client.jetstream(timeout=SECONDS)

    async def _connect(self) -> None:
        seen: list[Exception] = []  # the package raises that there is no server, and tells here why

        async def noted(error: Exception) -> None:
            seen.append(error)
            log.debug("%s: %s", self._name, error)

        self.lost = lost = asyncio.Event()

        async def gone() -> None:
            lost.set()

        client = self.module.NATS()
        settings: dict[str, Any] = {
            "connect_timeout": int(SECONDS),
            "ping_interval": int(PING_EVERY),
            "error_cb": noted,
            "closed_cb": gone,
            "verbose": True,  # wait for the answer to the password: what is sent after a refusal can destroy it
        }
        once: dict[str, Any] = {
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.05,
        }
        try:
            await asyncio.wait_for(client.connect(self._url, **settings, **once), SECONDS)
        except self.errors as error:
            await client.close()  # it may hold half a connection
            text = str(seen[-1] if seen else error) or type(error).__name__
            is_refused = "authorization" in text.lower()
            raise (SourceError if is_refused else Unreachable)(f"{self._name}: {text}") from None
        self._client = client

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return the result of work in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def disconnect(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            self.run(client.close())

    def close(self) -> None:
        """Close the connection and end the thread."""
        if self._loop.is_closed():
            return
        self.disconnect()
        self.run(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=SECONDS)
        self._loop.close()


async def _end_tasks() -> None:
    """End what the package has left running in this loop."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.sleep(0)  # transports are closed in the next round
