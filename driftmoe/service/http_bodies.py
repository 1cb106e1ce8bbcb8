"""Reading of request bodies within bounds: bytes, seconds, and the memory of all bodies together."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request

from driftmoe.service.http_answers import Refusal, later
from driftmoe.strict_json import from_json

SLOWEST = 10_000
"""Bytes a second that a sender of a large body must reach."""

JSON, JSON_LINES = "application/json", "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class RequestBounds:
    """Greatest sizes of requests.

    Attributes
    ----------
    n_bytes
        Length of the body of a request, in bytes.
    n_events
        Number of events in a request.
    model_bytes
        Length of a model's file, in bytes.
    all_bytes
        Length of all bodies that are held at a time, in bytes.
    seconds
        Time to send a body; large ones get one second more for each 10 000 bytes.
    answer_seconds
        Time to wait for a commit.
    """

    n_bytes: int = 16_000_000
    n_events: int = 10_000
    model_bytes: int = 256_000_000
    all_bytes: int = 512_000_000
    seconds: float = 30.0
    answer_seconds: float = 60.0


@dataclass(slots=True)
class Held:
    """Number of bytes of all bodies that are held now."""

    most: int
    n: int = field(default=0)

    def take(self, n: int) -> None:
        """Count bytes; raise Refusal if there is no room for them."""
        if self.n + n > self.most:
            raise later(503, "the server holds as many request bodies as it may; send again later", 1)
        self.n += n


@asynccontextmanager
async def body_of(request: Request, most: int, seconds: float, held: Held) -> AsyncIterator[bytearray]:
    """Read the body of a request, and count it as held until the block ends.

    Raises
    ------
    Refusal
        413 if it is longer than `most` bytes, 408 if it comes too slowly, 503 if the server holds too much.
    """
    body = bytearray()
    try:
        await _read(request, body, most, seconds, held)
        yield body
    finally:
        held.n -= len(body)


async def _read(request: Request, body: bytearray, most: int, seconds: float, held: Held) -> None:
    too_long = Refusal(413, f"the body is longer than {most:,} bytes; send fewer events in a request")
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 15:
        raise Refusal(400, "Content-Length must be a whole number")
    if int(length) > most:
        raise too_long
    begun = time.monotonic()
    chunks = request.stream()
    while True:
        left = begun + seconds + len(body) / SLOWEST - time.monotonic()
        try:
            with anyio.fail_after(max(left, 0.0)):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise Refusal(408, f"the body did not come within {seconds:g} seconds") from None
        except ClientDisconnect:
            raise Refusal(400, "the sender left before the end of the body") from None
        if chunk is None:
            return
        if len(body) + len(chunk) > most:
            raise too_long
        held.take(len(chunk))
        body += chunk


def kind_of(request: Request, allowed: tuple[str, ...]) -> str:
    """Return the media type of a body.

    Raises
    ------
    Refusal
        415 if it is not among the allowed ones. A form of another site cannot send those without asking first.
    """
    sent = request.headers.get("content-type", "")
    kind = sent.partition(";")[0].strip().lower()
    if kind not in allowed:
        raise Refusal(415, f"Content-Type {sent[:80]!a} is not known; send {' or '.join(allowed)}")
    return kind


def json_of(body: bytes | bytearray) -> Any:
    """Return the value of a body in JSON.

    Raises
    ------
    Refusal
        400 if it is not JSON.
    """
    try:
        return from_json(body.decode())
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not JSON: it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise Refusal(
            400, f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
