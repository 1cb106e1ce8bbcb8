"""Answers over HTTP: JSON, refusals that say what to do, and the headers that every answer carries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
"""Headers of every answer that does not set them itself."""


class Refusal(Exception):  # noqa: N818 - no fault of the program
    """A request that is not carried out.

    Attributes
    ----------
    status
        Status of HTTP.
    message
        What came, what is allowed, what to do.
    field
        The field of the request at fault, such as `"events[3].features.age"`; empty if none is.
    headers
        Further headers, such as `Retry-After`.
    """

    def __init__(
        self, status: int, message: str, *, field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.headers = dict(headers or {})


def later(status: int, message: str, seconds: float) -> Refusal:
    """Return a refusal that says after how many seconds to try again."""
    return Refusal(status, message, headers={"retry-after": str(max(1, math.ceil(seconds)))})


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON; numbers that JSON cannot write become null."""
    return Response(as_json(value), status, headers, media_type="application/json")


def refused(refusal: Refusal) -> Response:
    """Return the answer to a request that is not carried out."""
    error: dict[str, Any] = {"status": refusal.status, "message": refusal.message}
    if refusal.field:
        error["field"] = refusal.field
    return json_answer({"error": error}, refusal.status, refusal.headers)


def as_json(value: Any) -> bytes:
    """Return the JSON text of a value in ASCII; NaN and infinities become null, other objects their text."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        return json.dumps(_plain(value), allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else None
