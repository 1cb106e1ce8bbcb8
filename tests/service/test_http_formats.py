"""What other programs read: MLflow's requests, Prometheus's figures, the OpenAPI description."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftmoe.service.http import _routes


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"index": [0, 1], "columns": ["age", "city"], "data": [[3, "Ulm"], [4, None]]}},
        {"dataframe_records": [{"age": 3, "city": "Ulm"}, {"age": 4, "city": None}]},
        {"inputs": {"age": [3, 4], "city": ["Ulm", None]}},
        {"inputs": [{"age": 3, "city": "Ulm"}, {"age": 4, "city": None}], "params": {"key": "north"}},
        {"instances": [{"age": 3, "city": "Ulm"}, {"age": 4, "city": None}], "params": None},
    ],
    ids=lambda body: next(iter(body)),
)
def test_every_form_of_mlflow_gives_the_same_rows(worker, client_of, body):
    seen = []
    worker.names = ["default", "north"]
    worker.predict = lambda rows, key: seen.extend((key, row) for row in rows) or [{"label": 1}] * len(rows)
    answer = client_of(worker).post("/invocations", json=body)
    assert answer.json() == {"predictions": [1, 1]}
    key = (body.get("params") or {}).get("key", "default")
    assert seen == [(key, {"age": 3, "city": "Ulm"}), (key, {"age": 4, "city": None})]
    assert worker.taken == []


def test_an_input_of_single_values_is_one_row(client):
    assert client.post("/invocations", json={"inputs": {"age": 3}}).json() == {"predictions": ["a"]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([1], "the body is no JSON object"),
        ({}, "the body has the fields none; give just one of"),
        ({"inputs": [], "instances": []}, "the body has the fields 'inputs', 'instances'; give just one"),
        ({"instances": [[1, 2]]}, "instances[0]: is an array; features have names here"),
        ({"instances": [{"a": 1}, {"a": [1]}]}, "instances[1].a: is an array"),
        ({"instances": [3]}, "instances[0]: is a number"),
        ({"instances": []}, "the request has no rows"),
        ({"instances": {}}, "instances: must be an array"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "inputs: must have as many values"),
        ({"inputs": {"a": [1], "b": 1}}, "inputs: must have as many values"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "dataframe_split.columns: has a name twice"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "dataframe_split.data[0]: must be an array of 1"),
        ({"dataframe_split": {"columns": [1], "data": []}}, "dataframe_split.columns: must be an array of names"),
        ({"dataframe_split": {"columns": ["a"]}}, "dataframe_split.data: must be an array of rows"),
        ({"dataframe_split": []}, "dataframe_split: must be an object"),
        ({"instances": [{"a": 1}], "params": {"kye": 1}}, "params: must be an object; its one field is key"),
        ({"instances": [{"a": 1}], "params": {"key": "a b"}}, "params.key: 'a b' must be"),
    ],
)  # fmt: skip
def test_rows_at_fault_are_named(client, body, message):
    answer = client.post("/invocations", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith(message)


def test_ping_says_that_the_worker_answers(client):
    assert client.get("/ping").json() == {"status": "ok"}


def test_prometheus_reads_the_figures_back(client, worker):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["driftmoe_up",] == 1
    assert samples["driftmoe_events_total", 'odd "name"\n'] == 1
    assert samples["driftmoe_queue_room_events",] == 10_000
    assert samples["driftmoe_waiting_oldest_seconds",] == 11_520
    assert samples["driftmoe_model_scored_total", "default"] == 5
    assert samples["driftmoe_model_accuracy", "default"] == 0.75
    assert samples["driftmoe_model_gate_weight", 'odd "kind"\n', "default"] == 0.25
    found = {key: value for key, value in samples.items() if "kappa" in key[0]}
    assert found == {("driftmoe_model_kappa_o", "default"): 0.1}  # None and NaN are no figures
    assert not [name for name, *_ in samples if name.startswith("python_")]  # a registry of our own


def test_the_description_names_every_route_and_no_other(client):
    description = client.get("/openapi.json").json()
    described = {
        (path, method.upper()) for path, methods in description["paths"].items() for method in methods
    }
    served = {(route.path, method) for route in _routes() for method in route.methods - {"HEAD"}}
    assert described == served
    for methods in description["paths"].values():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            assert operation["responses"]["200"]["description"]


def test_every_example_of_the_description_is_taken(client, worker):
    worker.names.append("north")
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                for name, example in body["examples"].items():
                    if kind == "application/octet-stream":
                        continue
                    value = example["value"]
                    content = value if isinstance(value, str) else json.dumps(value)
                    answer = client.request(method, path, content=content, headers={"content-type": kind})
                    assert answer.status_code == 200, (path, name, answer.text)


def test_the_page_of_the_description_shows_every_path(client):
    text = client.get("/docs").text
    for route in _routes():
        assert f"</b> {route.path}</code>" in text
