"""Requests for the importances of a model's features. Many readers cost one computation."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

from driftmoe.service.events import DEFAULT_KEY
from driftmoe.service.http_answers import json_answer, later
from driftmoe.service.http_context import Context, ask, context_of, known_key, parameters
from driftmoe.service.views import told_importances

SECONDS, SECONDS_OF_NONE = 60.0, 5.0
"""How long an answer is kept, and how long one without importances is."""

TIMES = 20.0
"""An answer is kept for at least this many times the seconds that it took."""


class Importances:
    """The latest importances of each model. One computation runs at a time, and none in the worker's thread.

    Parameters
    ----------
    context
        What the handlers share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}
        self._versions: Counter[str] = Counter()
        self._turn = anyio.Lock()

    async def of(self, key: str) -> dict[str, Any]:
        """Return the importances of a model, at most a minute or so old.

        Raises
        ------
        Refusal
            503 if those of other models take too long.
        """
        if (found := self._fresh(key)) is not None:
            return found
        seconds = self._context.bounds.answer_seconds
        with anyio.move_on_after(seconds):
            async with self._turn:
                with anyio.CancelScope(shield=True):  # what has begun is of use to the others who wait
                    return self._fresh(key) or await self._asked(key)
        raise later(
            503,
            f"others have asked for importances, which have taken {seconds:g} seconds; ask again later",
            seconds,
        )

    def forget(self, key: str) -> None:
        """Forget what is known of a model, because another one took its place."""
        self._versions[key] += 1
        self._kept.pop(key, None)

    def _fresh(self, key: str) -> dict[str, Any] | None:
        until, found = self._kept.get(key, (0.0, None))
        return found if time.monotonic() < until else None

    async def _asked(self, key: str) -> dict[str, Any]:
        version, begun = self._versions[key], time.monotonic()
        found: dict[str, Any] = await ask(self._context.worker.importances, key)
        now = time.monotonic()
        if version == self._versions[key]:
            least = SECONDS if found["importances"] else SECONDS_OF_NONE
            self._kept[key] = (now + max(least, TIMES * (now - begun)), found)
        return found


async def importances(request: Request) -> Response:
    """Return how much a model relies on each feature."""
    context = context_of(request)
    key = known_key(context, parameters(request, "key").get("key", DEFAULT_KEY))
    if key not in context.worker.names:
        return json_answer({"key": key} | told_importances(0, {}, 0, "The model has learnt nothing yet."))
    return json_answer({"key": key} | await request.app.state.importances.of(key))
