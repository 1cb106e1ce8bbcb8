"""Who may ask what: hosts, origins and tokens are looked at before anything else of a request."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Iterable, Sequence

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftmoe.service.http_answers import HEADERS, Refusal, refused

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names under which a server on the loopback interface is asked."""

OPEN = {"/", "/docs", "/openapi.json", "/ping"}
"""Paths without data, for which no token is needed."""

WRITES = {"/api/learn", "/api/events"}
"""Paths that change the store, besides the methods PUT and DELETE."""

MAY_WRITE = "driftmoe.may_write"
"""Entry of a request's scope: whether its sender may change the store."""

DRAINED_BYTES, DRAINED_SECONDS = 2_000_000, 2.0
"""How much of a refused body is read, so that its sender gets to read the answer."""

HEADER_BYTES = 16_384
"""Greatest size of a request's address and headers together."""

_log = logging.getLogger("driftmoe.service.http")


class Guard:
    """Middleware that checks senders, adds headers, and logs requests without their content.

    Parameters
    ----------
    app
        The application behind it.
    read_token, write_token
        Bearer tokens; the second allows reading too. Without either everyone may do everything. With a read token
        alone nobody may write.
    hosts
        Allowed names in the `Host` header, without the port; `None` allows all.
    """

    def __init__(
        self, app: ASGIApp, read_token: str | None, write_token: str | None, hosts: Iterable[str] | None
    ) -> None:
        for name, token in (("read_token", read_token), ("write_token", write_token)):
            if token is not None and (
                not token.isascii() or not token.isprintable() or not token or " " in token
            ):
                raise ValueError(f"{name} must be printable ASCII characters without spaces, and not empty")
        if read_token is not None and read_token == write_token:
            raise ValueError("read_token and write_token are the same; give two different ones")
        self._app = app
        self._read = read_token
        self._write = write_token
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)
        answer = _Answer(scope, body, send)
        try:
            self._check(scope)
        except Refusal as refusal:
            await refused(refusal)(scope, body.receive, answer.send)
        else:
            await self._app(scope, body.receive, answer.send)

    def _check(self, scope: Scope) -> None:
        n_bytes = (
            len(scope["query_string"])
            + len(scope["path"])
            + sum(len(n) + len(v) for n, v in scope["headers"])
        )
        if n_bytes > HEADER_BYTES:
            raise Refusal(
                431, f"address and headers have {n_bytes:,} bytes; at most {HEADER_BYTES:,} are allowed"
            )
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        if self._hosts is not None and (len(host) != 1 or _name(host[0]) not in self._hosts):
            raise Refusal(
                421,
                f"Host {', '.join(host)[:80]!a} is not this server; allowed are {', '.join(sorted(self._hosts))}",
            )
        origin = headers.get("origin")
        if origin is not None and (not host or origin.partition("://")[2].lower() != host[0].lower()):
            raise Refusal(403, "the request comes from a page of another site")
        scope[MAY_WRITE] = self._may_write(scope, headers.getlist("authorization"))

    def _may_write(self, scope: Scope, sent: Sequence[str]) -> bool:
        """Return whether the sender may write; raise Refusal if they may not do what they ask."""
        if self._read is None and self._write is None:
            return True
        if scope["path"] in OPEN:
            return False
        token = _token(sent)
        may_write = _same(token, self._write)
        may_read = may_write | _same(token, self._read) | (self._read is None)
        writes = scope["path"] in WRITES or scope["method"] in ("PUT", "DELETE", "PATCH")
        if (may_write or not writes) and may_read:
            return may_write
        if may_read and token:
            raise write_refused()
        raise Refusal(
            401,
            "a token is needed; send the header 'Authorization: Bearer TOKEN'"
            if not token
            else "the token is not known",
            headers={"www-authenticate": 'Bearer realm="driftmoe"'},
        )


def write_refused() -> Refusal:
    """Return the refusal of a token that only reads."""
    return Refusal(403, "the token only reads; this request needs the write token")


def _name(host: str) -> str:
    """Return the name of a `Host` header, in lower case and without the port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _token(sent: Sequence[str]) -> str:
    if len(sent) != 1:
        return ""
    scheme, _, token = sent[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _same(token: str, expected: str | None) -> bool:
    return expected is not None and hmac.compare_digest(token.encode("utf-8", "replace"), expected.encode())


class _Body:
    """The body of a request: whether it was read to its end."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        self._receive = receive
        self.is_read = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        message = await self._receive()
        self.is_read |= not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read what is left, within bounds."""
        n_bytes = 0
        with anyio.move_on_after(DRAINED_SECONDS):
            while not self.is_read and n_bytes < DRAINED_BYTES:
                n_bytes += len((await self.receive()).get("body", b""))


class _Answer:
    """The answer to a request: gets the headers of all answers, and is logged."""

    def __init__(self, scope: Scope, body: _Body, send: Send) -> None:
        self._scope, self._body, self._send = scope, body, send
        self._begun = time.monotonic()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            await self._body.drain()
            if not self._body.is_read:
                headers["connection"] = "close"
            _log.log(
                logging.DEBUG if message["status"] < 500 else logging.WARNING,
                "%s %a: %d after %.1f ms",
                self._scope["method"],
                self._scope["path"][:200],
                message["status"],
                1e3 * (time.monotonic() - self._begun),
            )
        await self._send(message)
