"""Events from and to Redis Streams, of Redis 7 or later.

Redis tells the number of entries that were ever added to a stream. The position of an entry holds its own number, so
that entries which were trimmed before they were read are missed, and so is a stream that was deleted and made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from driftmoe.service.addresses import needed, without_secrets
from driftmoe.service.protocols import Message, SendError, SourceError, Unreachable

log = logging.getLogger(__name__)

FIELD = b"event"
"""Field of an entry that holds the JSON text of an event."""

SECONDS = 10.0
"""Longest time in which the server must answer."""

START = "0-0"
"""Comes before the id of each entry."""


class RedisSource:
    """Entries of a Redis stream. Each has a field `event` with JSON. The stream may not exist yet.

    A position is the id of an entry, the number of entries up to it that were ever added, and the id up to which
    single entries had been deleted when the stream was first read.

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
        self._redis, self._client = _client(url)
        self._stream, self._follows = stream, follows
        self.name = f"{_public(url)}/{stream}"
        self._last, self._n, self._holes = START, 0, START
        self._is_first = True

    def open(self, position: Any) -> None:
        """Begin after an entry; see `Source`."""
        self._is_first = position is None
        self._last, self._n, self._holes = (START, 0, START) if position is None else position
        about, own = self._ask(0)
        if about is None or position is None:
            return
        if not own and _order(_text(about["max-deleted-entry-id"])) < _order(self._last):
            first = about["first-entry"]
            if first is not None and _order(_text(first[0])) < _order(self._last):
                raise self._other_stream(f"it has no entry {self._last}, up to which it was read")

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next entries; see `Source`."""
        _, entries = self._ask(n)
        if not entries and self._follows:
            if not self._wait(seconds):
                return []
            _, entries = self._ask(n)
        messages: list[Message] = []
        for name, fields in entries:
            self._last, self._n = _text(name), self._n + 1
            messages.append(([self._last, self._n, self._holes], fields.get(FIELD, b"")))
        return messages if messages or self._follows else None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, n: int) -> tuple[Any, list[Any]]:
        """Return, as of one moment: about the stream or `None`, and up to `n` entries or the last one that was read."""
        try:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xinfo_stream(self._stream)
            if n:
                pipeline.xrange(self._stream, f"({self._last}", "+", count=n)
            else:
                pipeline.xrange(self._stream, self._last, self._last)
            about, entries = pipeline.execute(raise_on_error=False)
            if isinstance(about, self._redis.ResponseError) and "no such key" in str(about):
                about = None
            for answer in (about, entries):
                if isinstance(answer, Exception):
                    raise answer
        except self._redis.RedisError as error:
            raise self._told(error) from None
        self._check(about)
        if len(entries) < n and about is not None:
            self._compare(len(entries), about["entries-added"] - self._n)
        return about, entries

    def _check(self, about: Any) -> None:
        """Raise SourceError if entries after the last one were dropped."""
        if about is None:
            if self._last != START:
                raise SourceError(
                    f"{self.name}: the stream is gone, and was read up to {self._last}; restore it, or begin a "
                    "new store"
                )
            return
        if "entries-added" not in about:
            raise SourceError(
                f"{self.name}: the server is older than Redis 7, which is needed to notice lost events"
            )
        length, added = about["length"], about["entries-added"]
        deleted = _text(about["max-deleted-entry-id"])
        if self._is_first:
            self._is_first, self._n, self._holes = False, added - length, deleted
            if self._n:
                log.warning("%s: %d entries were deleted before the first was read", self.name, self._n)
        if _order(_text(about["last-generated-id"])) < _order(self._last):
            raise self._other_stream(
                f"it ends at {_text(about['last-generated-id'])}, and was read up to {self._last}"
            )
        if added < self._n:
            raise self._other_stream(f"{added} entries were added to it, and {self._n} were read")
        if _order(deleted) > max(_order(self._last), _order(self._holes)):
            raise self._lost(f"entry {deleted} was deleted, and entries were read only up to {self._last}")
        first = about["first-entry"]
        if first is None or _order(_text(first[0])) > _order(
            self._last
        ):  # what is left comes after the last one
            self._compare(length, added - self._n)

    def _compare(self, n_after: int, n_added: int) -> None:
        """Raise SourceError unless the stream holds, after the last entry, what was added after it."""
        if n_after < n_added:
            raise self._lost(f"{n_added - n_after} entries after {self._last} were deleted unread")
        if n_after > n_added:
            raise self._other_stream(
                f"it has {n_after} entries after {self._last}, and {n_added} were added after it"
            )

    def _wait(self, seconds: float) -> bool:
        """Return whether an entry comes within some time."""
        wait = max(1, int(1000 * seconds))
        try:
            return bool(self._client.xread({self._stream: self._last}, count=1, block=wait))
        except self._redis.RedisError as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> SourceError:
        known = self._redis.exceptions
        lasting = (
            known.AuthenticationError,
            known.AuthorizationError,
        )  # which the package counts to lost connections
        may_pass = (known.ConnectionError, known.TimeoutError, known.ClusterDownError, known.TryAgainError)
        is_waited_for = isinstance(error, may_pass) and not isinstance(error, lasting)
        is_loading = str(error).startswith("LOADING")  # within a transaction
        return (Unreachable if is_waited_for or is_loading else SourceError)(f"{self.name}: {error}")

    def _lost(self, what: str) -> SourceError:
        return SourceError(
            f"{self.name}: {what}; events are lost: begin a new store, or let the stream keep its entries for longer"
        )

    def _other_stream(self, what: str) -> SourceError:
        return SourceError(
            f"{self.name}: {what}; it is not the same stream: restore it, or begin a new store"
        )


class RedisSink:
    """Entries added to a Redis stream: a field `event` with JSON, and a field `id`."""

    def __init__(self, url: str, stream: str) -> None:
        self._redis, self._client = _client(url)
        self._stream, self._name = stream, f"{_public(url)}/{stream}"

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Add entries; see `Sink`."""
        try:
            pipeline = self._client.pipeline(transaction=True)
            for name, content in messages:
                pipeline.xadd(self._stream, {"id": name, FIELD: content})
            pipeline.execute()
        except self._redis.RedisError as error:
            raise SendError(f"{self._name}: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _client(url: str) -> tuple[Any, Any]:
    """Return the package, and a client that tries once."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise needed("redis", "redis") from None
    for name in ("protocol", "decode_responses", "legacy_responses"):
        if name in parse_qs(urlsplit(url).query):
            raise ValueError(f"{_public(url)}: the setting {name} decides how answers are read; leave it out")
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),  # the worker tries again, from where it stands
            protocol=2,
        )
        client.connection_pool.make_connection()  # notices settings that there are not; connects to nothing
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_public(url)}: {error}") from None
    return redis, client


def _public(url: str) -> str:
    """Return the address of a server without secrets, and with the number of its database."""
    number = parse_qs(urlsplit(url).query).get("db", ["0"])[-1]
    return without_secrets(url) + (f"/{number}" if number != "0" else "")


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _order(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split("-")))
