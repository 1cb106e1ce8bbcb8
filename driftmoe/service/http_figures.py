"""Requests that look at a worker: its figures, its models, alarms and mistakes."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from driftmoe.service.events import DEFAULT_KEY
from driftmoe.service.http_answers import Refusal, json_answer
from driftmoe.service.http_context import Worker, ask, context_of, known_key, parameters

LARGEST = 2**63 - 1
"""Greatest number of an alarm."""


async def stats(request: Request) -> Response:
    """Return counts and sizes of the whole worker."""
    parameters(request)
    return json_answer(await ask(context_of(request).worker.stats))


async def models(request: Request) -> Response:
    """Return what the models are."""
    parameters(request)
    return json_answer({"models": await ask(context_of(request).worker.models)})


async def metrics(request: Request) -> Response:
    """Return the current figures of a model."""
    return json_answer(await ask(figures_of, context_of(request).worker, _key(request)))


async def history(request: Request) -> Response:
    """Return the figures of a model over time."""
    key = _key(request)
    return json_answer({"key": key, "points": await ask(context_of(request).worker.history, key)})


async def mistakes(request: Request) -> Response:
    """Return recent wrong predictions of a model."""
    key = _key(request)
    worker = context_of(request).worker
    return json_answer(
        {"key": key, "mistakes": await ask(worker.mistakes, key) if key in worker.names else []}
    )


async def alarms(request: Request) -> Response:
    """Return the alarms of a model or of all, from a number on."""
    given = parameters(request, "key", "since")
    key = known_key(context_of(request), given["key"]) if "key" in given else None
    since = sequence_number(given.get("since", "0"), "since")
    return json_answer({"alarms": await ask(context_of(request).worker.alarms, key, since)})


def figures_of(worker: Worker, key: str) -> dict[str, Any]:
    """Return the current figures of a model; of the default one also before its first event."""
    if key not in worker.names:
        return {"model": key, "n_learnt": 0, "window": 0}
    return worker.metrics(key)


def sequence_number(text: str, field: str) -> int:
    """Return the number of an alarm; raise Refusal (422) if a text is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > LARGEST:
        raise Refusal(422, f"{field}: {text[:40]!a} must be the number of an alarm, 0 or more", field=field)
    return int(text)


def _key(request: Request) -> str:
    return known_key(context_of(request), parameters(request, "key").get("key", DEFAULT_KEY))
