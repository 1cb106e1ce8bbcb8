"""The interface in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from driftmoe.service.events import FIELDS
from driftmoe.service.views import MOST_FEATURES

FEATURES = {"day": "monday", "nswprice": 0.056, "holiday": False}

EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": ["string", "integer", "null"], "description": "Joins a label to its features."},
        "features": {
            "type": "object",
            "description": "Feature and value.",
            "additionalProperties": {"type": ["number", "string", "boolean", "null"]},
        },
        "label": {"type": ["string", "number", "boolean", "null"], "description": "Class label."},
        "key": {"type": "string", "default": "default", "description": "Name of the model."},
        "time": {
            "type": ["number", "string", "null"],
            "description": "When it happened: seconds since 1970 or ISO 8601.",
        },
        "weight": {"type": "number", "default": 1, "minimum": 0},
    },
    "additionalProperties": False,
}
"""Schema of an event; its fields are those of `driftmoe.service.events`."""
assert tuple(EVENT["properties"]) == FIELDS  # type: ignore[arg-type]

FAULTS = {
    "400": "The body is no JSON, or a header cannot be read.",
    "401": "A token is needed.",
    "403": "The token only reads, or a page of another site asks.",
    "404": "No model has the key.",
    "412": "The model is not the one that If-Match names: it has learnt or was replaced since.",
    "413": "The body is too long or has too many events.",
    "415": "The media type is not known.",
    "422": "A value is not allowed; the message names the field.",
    "429": "The queue is full; Retry-After says when to send again. Nothing was taken.",
    "503": "The worker stops, its store fails, or too many readers are connected; Retry-After says when to try again.",
}

KEY = ("key", "query", "Name of the model; the default is default.")
SINCE = ("since", "query", "Number of the last alarm that the reader has.")
NAME = ("name", "path", "Name of the model.")
IF_MATCH = (
    "If-Match",
    "header",
    "ETag of the model to replace, as it was fetched; no other one is replaced.",
)


def openapi(version: str) -> dict[str, Any]:
    """Return the description of the interface.

    Parameters
    ----------
    version
        Version of the library.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DriftMoE worker",
            "version": version,
            "description": "Predicts and learns from a stream of events. Answers come after the commit or say "
            '"committed": false. Where tokens are set, send the header Authorization: Bearer TOKEN.',
        },
        "paths": {**_events(), **_figures(), **_others()},
        "components": {
            "schemas": {"Event": EVENT, "Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],
    }


_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["status", "message"],
            "properties": {
                "status": {"type": "integer"},
                "message": {"type": "string"},
                "field": {
                    "type": "string",
                    "description": "The field at fault, such as events[3].features.age.",
                },
            },
        }
    },
}


def _operation(
    summary: str,
    answer: str,
    *,
    more: str = "",
    given: tuple[tuple[str, str, str], ...] = (),
    examples: dict[str, dict[str, Any]] | None = None,
    media: str = "application/json",
    faults: tuple[str, ...] = (),
) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "description": more}
    if given:
        found["parameters"] = [
            {
                "name": name,
                "in": place,
                "description": text,
                "required": place == "path",
                "schema": {"type": "integer" if name == "since" else "string"},
            }
            for name, place, text in given
        ]
    if examples:
        found["requestBody"] = {
            "required": True,
            "content": {
                kind: {"examples": {name: {"value": value} for name, value in named.items()}}
                for kind, named in examples.items()
            },
        }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found["responses"] = {
        "200": {"description": answer, "content": {media: {}}},
        **{status: {"description": FAULTS[status], "content": error} for status in faults},
    }
    return found


def _events() -> dict[str, Any]:
    faults = ("400", "401", "403", "413", "415", "422", "429", "503")
    sample = {"id": "17", "features": FEATURES}
    label = {"id": "17", "label": "UP"}
    lines = '{"id":"17","features":{"nswprice":0.056}}\n{"id":"18","features":{"nswprice":0.061}}\n'
    mixed = '{"id":"19","features":{"nswprice":0.07}}\n{"id":"17","label":"UP"}\n'
    kinds = "application/json", "application/x-ndjson"
    return {
        "/api/predict": {
            "post": _operation(
                "Predict one sample or many.",
                "Label and probabilities of each sample.",
                more="Samples with an id are remembered until their labels come, which needs the write token. Those "
                'without are answered with "committed": false. If one event is refused, none is taken.',
                examples={
                    kinds[0]: {
                        "one": sample,
                        "many": {"events": [sample, {"id": "18", "features": FEATURES}]},
                        "remember nothing": {"features": FEATURES},
                    },
                    kinds[1]: {"lines": lines},
                },
                faults=(*faults[:3], "404", *faults[3:]),
            )
        },
        "/api/learn": {
            "post": _operation(
                "Learn labels.",
                "Outcome of each label, after the commit.",
                more="A label comes with the id of its features, or with the features.",
                examples={
                    kinds[0]: {
                        "label of earlier features": label,
                        "features and label": {"features": FEATURES, "label": "UP"},
                    },
                    kinds[1]: {"lines": '{"id":"17","label":"UP"}\n{"id":"18","label":"DOWN"}\n'},
                },
                faults=faults,
            )
        },
        "/api/events": {
            "post": _operation(
                "Take features and labels mixed, in the order in which they happened.",
                "Outcome of each event, after the commit.",
                examples={kinds[0]: {"many": [sample, label]}, kinds[1]: {"lines": mixed}},
                faults=faults,
            )
        },
    }


_IMPORTANCES = (
    "importance is the probability, -1 to 1, that the true labels of recent samples lose on average when the feature's "
    "values are shuffled among them; spread is its standard deviation between shuffles. "
    f"At most {MOST_FEATURES} features are named, of n_features. In a pipeline they are the features that its last "
    "step gets. An answer is kept for about a minute."
)


def _figures() -> dict[str, Any]:
    faults = ("401", "404", "422", "503")
    stream = "text/event-stream"
    return {
        "/api/metrics": {
            "get": _operation(
                "Current figures of a model.", "The figures; null where unknown.", given=(KEY,), faults=faults
            )
        },
        "/api/history": {
            "get": _operation(
                "Figures of a model over time.", "Points, oldest first.", given=(KEY,), faults=faults
            )
        },
        "/api/alarms": {
            "get": _operation(
                "Alarms: warnings, drifts, replaced trees, new classes and features.",
                "Alarms, oldest first.",
                given=(KEY, SINCE),
                faults=faults,
            )
        },
        "/api/mistakes": {
            "get": _operation("Recent wrong predictions.", "Wrong predictions.", given=(KEY,), faults=faults)
        },
        "/api/importances": {
            "get": _operation(
                "How much a model relies on each feature, the most important first.",
                "The importances; none, and why, if the model cannot say.",
                more=_IMPORTANCES,
                given=(KEY,),
                faults=(*faults[:3], "429", "503"),
            )
        },
        "/api/models": {"get": _operation("What the models are.", "The models.", faults=("401", "503"))},
        "/api/stats": {
            "get": _operation("Counts and sizes of the whole worker.", "The counts.", faults=("401", "503"))
        },
        "/api/stream/metrics": {
            "get": _operation(
                "Stream of the latest figures, as server-sent events named metrics.",
                "The stream.",
                given=(KEY,),
                media=stream,
                faults=faults,
            )
        },
        "/api/stream/events": {
            "get": _operation(
                "Stream of alarms, as server-sent events named alarm.",
                "The stream.",
                more="The header Last-Event-ID resumes after the last alarm that the reader has.",
                given=(KEY, SINCE),
                media=stream,
                faults=faults,
            )
        },
    }


def _others() -> dict[str, Any]:
    rows = {"dataframe_split": {"columns": ["nswprice", "day"], "data": [[0.056, "monday"]]}}
    binary = "application/octet-stream"
    return {
        "/api/model/{name}": {
            "get": _operation(
                "File of a model.",
                "The file; ETag names it.",
                given=(NAME,),
                media=binary,
                faults=("401", "404"),
            ),
            "put": _operation(
                "Put the model of a file in the place of one, or add it under a new name.",
                "What the model is now.",
                given=(NAME, IF_MATCH),
                examples={binary: {"file": "bytes of a saved model"}},
                faults=("400", "401", "403", "412", "413", "415", "422", "429", "503"),
            ),
        },
        "/ping": {"get": _operation("Say that the worker answers (MLflow).", "It does.", faults=("503",))},
        "/invocations": {
            "post": _operation(
                "Predict labels (MLflow).",
                "A label for each row, as predictions. Nothing is remembered.",
                more="Takes dataframe_split, dataframe_records, inputs or instances.",
                examples={
                    "application/json": {
                        "dataframe_split": rows,
                        "another model": {"instances": [FEATURES], "params": {"key": "north"}},
                    }
                },
                faults=("400", "401", "404", "413", "415", "422", "503"),
            )
        },
        "/metrics": {
            "get": _operation("Figures for Prometheus.", "The figures.", media="text/plain", faults=("401",))
        },
        "/openapi.json": {"get": _operation("This description.", "OpenAPI 3.1.")},
        "/docs": {"get": _operation("This description as a page.", "HTML.", media="text/html")},
        "/": {"get": _operation("The live page.", "HTML.", media="text/html")},
    }
