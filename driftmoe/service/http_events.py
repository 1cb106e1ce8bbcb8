"""Requests that carry events: predict, learn, and both mixed in the order in which they happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from driftmoe.service.events import Event, EventError, Limits, checked_event, read_event
from driftmoe.service.http_answers import Refusal, json_answer
from driftmoe.service.http_bodies import JSON, JSON_LINES, body_of, json_of, kind_of
from driftmoe.service.http_context import Context, ask, context_of, known_key, outcomes, parameters, parse
from driftmoe.service.http_guard import MAY_WRITE, write_refused


async def predict(request: Request) -> Response:
    """Predict; samples with ids are remembered until their labels come."""
    context = context_of(request)
    events, is_one = await _events(request, _to_predict)
    n_named = sum(event.id is not None for event in events)
    if n_named == 0:
        return _answer(await predictions(context, events), is_one, is_committed=False)
    if n_named < len(events):
        index = next(i for i, event in enumerate(events) if event.id is None)
        raise Refusal(
            422,
            f"events[{index}].id: some events have an id and some have none; send them apart, since only those with "
            "an id are remembered",
            field=f"events[{index}].id",
        )
    if not request.scope[MAY_WRITE]:
        raise write_refused()
    return _answer(await outcomes(context, events), is_one, is_committed=True)


async def learn(request: Request) -> Response:
    """Take labels, with their features or with the ids of features that came before."""
    events, is_one = await _events(request, _to_learn)
    return _answer(await outcomes(context_of(request), events), is_one, is_committed=True)


async def take(request: Request) -> Response:
    """Take features and labels mixed, in the order in which they happened."""
    events, is_one = await _events(request, _to_take)
    return _answer(await outcomes(context_of(request), events), is_one, is_committed=True)


async def predictions(context: Context, events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return predictions for features that nobody remembers; the worker is asked once per key.

    Raises
    ------
    Refusal
        404 if a model is unknown, 422 if it refuses the features.
    """
    places: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        places.setdefault(event.key, []).append(place)
    for key in places:
        known_key(context, key)
    answers: list[dict[str, Any]] = [{} for _ in events]
    for key, rows in places.items():
        try:
            found = await ask(context.worker.predict, [events[row].features for row in rows], key)
        except ValueError as error:
            raise Refusal(422, str(error), field=getattr(error, "field", "")) from None
        for row, answer in zip(rows, found, strict=True):
            answers[row] = {"key": key, **answer, "committed": False}
    return answers


def _answer(answers: list[dict[str, Any]], is_one: bool, *, is_committed: bool) -> Response:
    if is_one:
        return json_answer(answers[0])
    return json_answer({"committed": is_committed, "events": answers})


async def _events(request: Request, check: Callable[[Event], None]) -> tuple[list[Event], bool]:
    """Return the events of a request, and whether it is one alone.

    Raises
    ------
    Refusal
        If an event is refused, all of them are; the message names the first one and its field.
    """
    parameters(request)
    kind = kind_of(request, (JSON, JSON_LINES))
    context = context_of(request)
    most = context.bounds.n_bytes
    async with body_of(request, most, context.bounds.seconds, context.held) as body:
        read = _of_lines if kind == JSON_LINES else _of_json
        return await parse(
            context, body, lambda text: read(text, context.limits, context.bounds.n_events, check)
        )


def _of_json(
    body: bytes, limits: Limits, most: int, check: Callable[[Event], None]
) -> tuple[list[Event], bool]:
    sent = json_of(body)
    is_many = isinstance(sent, list) or (isinstance(sent, dict) and "events" in sent)
    if not is_many:
        return [_one(lambda: checked_event(sent, limits), check, "", "")], True
    if isinstance(sent, dict):
        for name in sent.keys() - {"events"}:
            raise Refusal(422, f"{name[:40]!a} is no field beside events", field=ascii(name[:40])[1:-1])
        sent = sent["events"]
        if not isinstance(sent, list):
            raise Refusal(422, "events: must be an array of events", field="events")
    check_number(len(sent), most)
    return [
        _one(lambda fields=fields: checked_event(fields, limits), check, f"events[{i}].", f"events[{i}]")  # type: ignore[misc]
        for i, fields in enumerate(sent)
    ], False


def _of_lines(
    body: bytes, limits: Limits, most: int, check: Callable[[Event], None]
) -> tuple[list[Event], bool]:
    lines = [(n, line) for n, line in enumerate(body.split(b"\n"), 1) if line and not line.isspace()]
    check_number(len(lines), most)
    return [
        _one(lambda line=line: read_event(line, limits), check, f"line {n}: ", f"line {n}")  # type: ignore[misc]
        for n, line in lines
    ], False


def check_number(n: int, most: int, what: str = "events") -> None:
    """Raise Refusal (422 for none, 413 for too many) about the number of events in a request."""
    if n == 0:
        raise Refusal(422, f"the request has no {what}", field=what)
    if n > most:
        raise Refusal(413, f"the request has {n:,} {what}; at most {most:,} are allowed in one", field=what)


def _one(read: Callable[[], Event], check: Callable[[Event], None], prefix: str, whole: str) -> Event:
    try:
        event = read()
        check(event)
    except EventError as error:
        field = f"{prefix}{error.field}" if error.field else whole
        start = prefix if error.field else f"{whole}: " if whole else ""
        raise Refusal(422, f"{start}{error}", field=field) from None
    return event


def _to_predict(event: Event) -> None:
    if event.features is None:
        raise EventError("features", "are needed to predict; send labels to /api/learn")
    if event.label is not None:
        raise EventError("label", "is not taken here; send it to /api/learn")


def _to_learn(event: Event) -> None:
    if event.label is None:
        raise EventError("label", "is needed to learn; send features alone to /api/predict")


def _to_take(event: Event) -> None:
    if event.label is None and event.id is None:
        raise EventError("id", "features without a label need an id, or the label could never find them")
