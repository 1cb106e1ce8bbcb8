"""The requests of MLflow's scoring servers, so that its clients and proxies can ask for predictions.

Read from `mlflow models serve`: `dataframe_split`, `dataframe_records`, `inputs` and `instances`, answered by
`{"predictions": [...]}`. Features have names here, so rows without names are refused.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from driftmoe.service.events import DEFAULT_KEY, Event, EventError, Limits, checked_event
from driftmoe.service.http_answers import Refusal, json_answer, later
from driftmoe.service.http_bodies import JSON, body_of, json_of, kind_of
from driftmoe.service.http_context import ask, context_of, parameters, parse
from driftmoe.service.http_events import check_number, predictions

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


async def ping(request: Request) -> Response:
    """Say that the worker answers."""
    if failure := (await ask(context_of(request).worker.stats)).get("failure"):
        raise later(503, f"the worker has failed: {failure}", 60)
    return json_answer({"status": "ok"})


async def invocations(request: Request) -> Response:
    """Predict a label for each row."""
    parameters(request)
    kind_of(request, (JSON,))
    context = context_of(request)
    async with body_of(request, context.bounds.n_bytes, context.bounds.seconds, context.held) as body:
        events = await parse(
            context, body, lambda text: _events(text, context.bounds.n_events, context.limits)
        )
    answers = await predictions(context, events)
    return json_answer({"predictions": [answer["label"] for answer in answers]})


def _events(text: bytes, most: int, limits: Limits) -> list[Event]:
    form, rows, key = _rows(json_of(text))
    check_number(len(rows), most, "rows")
    return [_event(row, key, f"{form}[{i}]", limits) for i, row in enumerate(rows)]


def _event(row: Any, key: str, place: str, limits: Limits) -> Event:
    try:
        return checked_event({"features": row, "key": key}, limits)
    except EventError as error:
        field = error.field.removeprefix("features")
        if isinstance(row, list):
            raise Refusal(
                422,
                f"{place}: is an array; features have names here, so give an object of feature and value, or "
                "dataframe_split with columns",
                field=place,
            ) from None
        if error.field == "key":
            raise Refusal(422, f"params.{error}", field="params.key") from None
        raise Refusal(422, f"{place}{str(error).removeprefix('features')}", field=place + field) from None


def _rows(sent: Any) -> tuple[str, list[Any], str]:
    """Return the form of a request, its rows and the model's key."""
    if not isinstance(sent, dict):
        raise Refusal(422, f"the body is no JSON object; give one with {' or '.join(FORMS)}")
    given = [form for form in FORMS if form in sent]
    unknown = sent.keys() - {*FORMS, "params", "signature_name"}
    if len(given) != 1 or unknown:
        names = ", ".join(ascii(name[:40]) for name in sorted(sent)[:10])
        raise Refusal(422, f"the body has the fields {names or 'none'}; give just one of {', '.join(FORMS)}")
    (form,) = given
    params = sent.get("params")
    if params is None:
        params = {}
    if not isinstance(params, dict) or params.keys() - {"key"}:
        raise Refusal(422, "params: must be an object; its one field is key, the model", field="params")
    data = sent[form]
    if form == "dataframe_split":
        data = _of_split(data)
    elif form == "inputs" and isinstance(data, dict):
        data = _of_columns(data)
    if not isinstance(data, list):
        raise Refusal(422, f"{form}: must be an array of objects of feature and value", field=form)
    return form, data, params.get("key", DEFAULT_KEY)


def _of_split(data: Any) -> list[Any]:
    form = "dataframe_split"
    if not isinstance(data, dict) or data.keys() - {"columns", "data", "index"}:
        raise Refusal(422, f"{form}: must be an object with columns and data", field=form)
    columns, rows = data.get("columns"), data.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise Refusal(422, f"{form}.columns: must be an array of names", field=f"{form}.columns")
    if len(set(columns)) < len(columns):
        raise Refusal(422, f"{form}.columns: has a name twice", field=f"{form}.columns")
    if not isinstance(rows, list):
        raise Refusal(422, f"{form}.data: must be an array of rows", field=f"{form}.data")
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise Refusal(
                422,
                f"{form}.data[{i}]: must be an array of {len(columns)} values, one per column",
                field=f"{form}.data[{i}]",
            )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _of_columns(data: dict[str, Any]) -> list[Any]:
    """Return the rows of an object of feature and array of values; one of single values is one row."""
    if not any(isinstance(values, list) for values in data.values()):
        return [data]
    lengths = {len(values) if isinstance(values, list) else -1 for values in data.values()}
    if len(lengths) > 1:
        raise Refusal(422, "inputs: must have as many values in each column", field="inputs")
    return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
