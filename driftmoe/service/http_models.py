"""Requests that fetch or replace a model's file, in the format of saved models: arrays and JSON, no code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from driftmoe.service.events import EventError, checked_event
from driftmoe.service.failures import Changed
from driftmoe.service.http_answers import Refusal, json_answer
from driftmoe.service.http_bodies import body_of, kind_of
from driftmoe.service.http_context import ask, context_of, known_key, parameters

BYTES = "application/octet-stream"

_TAG = re.compile(r'(W/)?"([^"]*)"')
_TAGS = re.compile(rf"\*|{_TAG.pattern}(\s*,\s*{_TAG.pattern})*")


async def model(request: Request) -> Response:
    """Return a model's file, or put a model in its place; one of a new name is added."""
    return await (_replace(request) if request.method == "PUT" else _fetch(request))


async def _fetch(request: Request) -> Response:
    parameters(request)
    context = context_of(request)
    name = known_key(context, request.path_params["name"])
    if name not in context.worker.names:
        raise Refusal(404, "the default model begins with its first event", field="key")
    content = await ask(context.worker.model_file, name)
    return Response(
        content,
        media_type=BYTES,
        headers={
            "content-disposition": f'attachment; filename="{name.replace(":", "_")}.driftmoe"',
            "etag": f'"{hashlib.sha256(content).hexdigest()}"',
        },
    )


async def _replace(request: Request) -> Response:
    parameters(request)
    context = context_of(request)
    name = request.path_params["name"]
    try:
        checked_event({"features": {}, "key": name}, context.limits)
    except EventError as error:
        raise Refusal(422, str(error), field=error.field) from None
    kind_of(request, (BYTES,))
    expected = _expected(request.headers.getlist("if-match"))
    bounds = context.bounds
    async with body_of(request, bounds.model_bytes, bounds.seconds, context.held) as body:
        if not body:
            raise Refusal(422, "the body is empty; send a model's file")
        try:
            replaced = await ask(context.worker.replace_model, name, bytes(body), expected)
        except Changed as error:
            raise Refusal(412, f"{error}; fetch it again", field="If-Match") from None
        except ValueError as error:
            raise Refusal(422, str(error), field="body") from None
    request.app.state.importances.forget(name)
    return json_answer(replaced)


def _expected(sent: Sequence[str]) -> frozenset[str] | None:
    """Return the tags of a header `If-Match`, without quotation marks, or `None` if there is none."""
    if not sent:
        return None
    text = ", ".join(sent).strip()
    if not _TAGS.fullmatch(text):
        raise Refusal(
            400, 'If-Match must be * or tags in quotation marks, as ETag has them: "..."', field="If-Match"
        )
    if text == "*":
        return frozenset("*")
    return frozenset(tag for weak, tag in _TAG.findall(text) if not weak and tag != "*")
