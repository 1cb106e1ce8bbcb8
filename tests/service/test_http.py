"""Requests over HTTP: events in, figures and models out."""

from __future__ import annotations

import json

import pytest

from driftmoe.service.failures import Stopped, StoreError
from driftmoe.service.http import RequestBounds

SAMPLE = {"features": {"age": 3, "city": "Ulm"}}
SAID = {"label": "a", "probabilities": {"a": 0.75, "b": 0.25}}
LINES = {"content-type": "application/x-ndjson"}


def error_of(answer):
    assert answer.headers["content-type"] == "application/json"
    return answer.json()["error"]


def test_a_sample_without_an_id_is_predicted_and_not_remembered(client, worker):
    answer = client.post("/api/predict", json=SAMPLE)
    assert answer.status_code == 200
    assert answer.json() == {"key": "default", **SAID, "committed": False}
    assert worker.taken == []


def test_a_sample_with_an_id_is_answered_after_the_commit(client, worker):
    answer = client.post("/api/predict", json=SAMPLE | {"id": 7}).json()
    assert answer == {"id": "7", "key": "default", "outcome": "predicted", **SAID, "committed": True}
    assert [event.features for event in worker.taken] == [{"age": 3, "city": "Ulm"}]


@pytest.mark.parametrize("wrapped", [True, False])
def test_many_samples_are_answered_in_their_order(client, wrapped):
    samples = [SAMPLE | {"id": name} for name in "cab"]
    answer = client.post("/api/predict", json={"events": samples} if wrapped else samples).json()
    assert answer["committed"]
    assert [event["id"] for event in answer["events"]] == ["c", "a", "b"]


def test_samples_of_several_models_are_answered_in_their_order(worker, client_of):
    worker.names = ["default", "north"]
    keys = ["north", "default", "north"]
    answer = client_of(worker).post("/api/predict", json=[SAMPLE | {"key": key} for key in keys]).json()
    assert not answer["committed"]
    assert [event["key"] for event in answer["events"]] == keys


def test_lines_of_json_are_events(client, worker):
    lines = "\n".join([json.dumps(SAMPLE | {"id": "a"}), "", json.dumps(SAMPLE | {"id": "b"}), " \r"])
    answer = client.post("/api/predict", content=lines, headers=LINES).json()
    assert [event["id"] for event in answer["events"]] == ["a", "b"]
    labels = '{"id":"a","label":1}\n{"id":"b","label":"x"}\n'
    answer = client.post("/api/learn", content=labels, headers=LINES).json()
    assert [event["outcome"] for event in answer["events"]] == ["learnt", "learnt"]
    assert [event.label for event in worker.taken] == [None, None, 1, "x"]


def test_a_label_comes_with_its_features_or_with_their_id(client, worker):
    assert client.post("/api/learn", json={"id": "a", "label": "x"}).json()["outcome"] == "learnt"
    assert client.post("/api/learn", json=SAMPLE | {"label": "x"}).json()["outcome"] == "learnt"
    assert [event.id for event in worker.taken] == ["a", None]


def test_features_and_labels_are_taken_mixed(client, worker):
    events = [SAMPLE | {"id": "b"}, {"id": "a", "label": "x"}, SAMPLE | {"label": "y"}]
    answer = client.post("/api/events", json=events).json()
    assert [event["outcome"] for event in answer["events"]] == ["predicted", "learnt", "learnt"]
    assert [event.label for event in worker.taken] == [None, "x", "y"]


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        ("predict", {"features": {"age": [1]}}, "features.age", "features.age: is an array"),
        ("predict", [SAMPLE, {"features": {"age": {}}}], "events[1].features.age", "events[1].features.age: is an obj"),
        ("predict", [SAMPLE, 3], "events[1]", "events[1]: an event is a JSON object, not a number"),
        ("predict", {"events": [SAMPLE], "kye": "a"}, "kye", "'kye' is no field beside events"),
        ("predict", {"events": 3}, "events", "events: must be an array"),
        ("predict", [], "events", "the request has no events"),
        ("predict", SAMPLE | {"label": 1}, "label", "label: is not taken here"),
        ("predict", {"id": 1, "label": 1}, "features", "features: are needed to predict"),
        ("predict", [SAMPLE | {"id": 1}, SAMPLE], "events[1].id", "events[1].id: some events have an id"),
        ("predict", {"features": {"poison": 1}}, "features.poison", "features.poison: the model cannot take it"),
        ("learn", SAMPLE, "label", "label: is needed to learn"),
        ("learn", {"label": 1}, "id", "id: a label without features needs the id"),
        ("learn", {"id": 1, "label": None}, "features", "features: an event needs features"),
        ("events", SAMPLE, "id", "id: features without a label need an id"),
        ("events", {"id": 1, "label": 1, "key": "a b"}, "key", "key: 'a b' must be"),
    ],
)  # fmt: skip
def test_an_event_at_fault_is_refused_by_the_name_of_its_field(client, worker, path, body, field, message):
    answer = client.post(f"/api/{path}", json=body)
    assert answer.status_code == 422
    assert error_of(answer)["field"] == field
    assert error_of(answer)["message"].startswith(message)
    assert worker.taken == []


def test_a_line_at_fault_is_named_by_its_number(client, worker):
    lines = '\n{"id":"a","label":1}\n{"id":"b","label":[]}\n'
    error = error_of(client.post("/api/learn", content=lines, headers=LINES))
    assert error["field"] == "line 3: label"
    assert error["message"].startswith("line 3: label: is an array")
    error = error_of(client.post("/api/learn", content='{"id":"a","label":1}\n{"id"', headers=LINES))
    assert error["field"] == "line 2"
    assert error["message"].startswith("line 2: the event is not JSON")
    assert worker.taken == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"features":{"a":NaN}}', b'{"features":{"a":1,"a":2}}', b"[" * 100_000, b'{"a":' * 100_000,
     b'{"features":{"a":1e999}}', b"1" * 5_000, b'{"features":{"a":1}} x', b"\xef\xbb\xbf{}"],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_what_is_no_json_is_refused(client, body):
    answer = client.post("/api/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "not JSON" in error_of(answer)["message"]


def test_a_full_queue_says_when_to_send_again(client, worker):
    worker._most = 1
    answer = client.post("/api/learn", json=[{"id": name, "label": 1} for name in "ab"])
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"
    assert worker.taken == []


@pytest.mark.parametrize("error", [StoreError("the disk is full"), Stopped("the worker stops")])
def test_a_commit_that_fails_takes_nothing(client, worker, error):
    worker.fails_with = error
    answer = client.post("/api/learn", json={"id": 1, "label": 1})
    assert answer.status_code == 503
    assert error_of(answer)["message"] == f"{error}; nothing was taken"
    assert answer.headers["retry-after"]


def test_a_stopped_worker_is_unavailable(client, worker):
    worker.stop()
    for answer in (client.post("/api/learn", json={"id": 1, "label": 1}), client.get("/ping")):
        assert answer.status_code == 503


def test_a_commit_that_takes_too_long_is_said_to_be_open(worker, client_of):
    worker._pause = 0.5
    client = client_of(worker, bounds=RequestBounds(answer_seconds=0.05))
    answer = client.post("/api/learn", json={"id": 1, "label": 1})
    assert answer.status_code == 503
    assert "may still be taken" in error_of(answer)["message"]
    worker.stop()
    assert len(worker.taken) == 1


def test_a_fault_of_the_program_is_not_told_to_the_sender(worker, client_of):
    worker.metrics = lambda key: 1 / 0
    answer = client_of(worker, raises=False).get("/api/metrics")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_figures_are_those_of_the_worker(client, worker):
    worker.points = [{"n_learnt": 1, "accuracy": 0.5}]
    worker.wrong = [{"id": "a", "label": 1}]
    worker.alarm("drift", "it rose")
    worker.alarm("warning")
    assert client.get("/api/metrics").json()["accuracy"] == 0.75
    assert client.get("/api/metrics").json()["kappa_t"] is None  # NaN is not JSON
    assert client.get("/api/stats").json()["queue"]["most"] == 10_000
    assert client.get("/api/history?key=default").json() == {"key": "default", "points": worker.points}
    assert client.get("/api/mistakes").json()["mistakes"] == worker.wrong
    assert client.get("/api/models").json()["models"][0]["name"] == "default"
    assert [alarm["seq"] for alarm in client.get("/api/alarms").json()["alarms"]] == [1, 2]
    assert [alarm["seq"] for alarm in client.get("/api/alarms?since=1").json()["alarms"]] == [2]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/metrics?key=other", 404, "no model has the key 'other'; the keys are default"),
        ("/api/history?key=%00%ff", 404, "no model has the key"),
        ("/api/metrics?kye=a", 422, "'kye' is no parameter here; the parameters are key"),
        ("/api/metrics?key=default&key=default", 422, "a parameter is given twice"),
        ("/api/alarms?since=-1", 422, "since: '-1' must be the number of an alarm"),
        ("/api/alarms?since=9999999999999999999", 422, "since: "),
        ("/api/alarms?since=%C2%B2", 422, "since: "),
        ("/api/model/other", 404, "no model has the key"),
        ("/api/model/..%2F..%2Fetc%2Fpasswd", 404, "there is no such path"),
        ("/api/metrics/", 404, "there is no such path"),
        ("/nothing", 404, "there is no such path"),
    ],
)
def test_a_wrong_question_is_answered_in_json(client, path, status, message):
    answer = client.get(path)
    assert answer.status_code == status
    assert error_of(answer)["message"].startswith(message)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/predict"), ("DELETE", "/api/model/default"), ("POST", "/"), ("OPTIONS", "/api/learn"),
     ("PUT", "/api/stats")],
)  # fmt: skip
def test_a_method_that_is_not_allowed_is_answered_in_json(client, method, path):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert "not allowed" in error_of(answer)["message"]
    assert answer.headers["allow"]


def test_before_the_first_event_there_is_a_default_model_without_figures(worker, client_of):
    worker.names, worker.metrics, worker.mistakes = [], None, None
    client = client_of(worker)
    assert client.get("/api/metrics").json() == {"model": "default", "n_learnt": 0, "window": 0}
    assert client.get("/api/mistakes").json()["mistakes"] == []
    assert client.get("/api/model/default").status_code == 404
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/metrics?key=other").status_code == 404


def test_a_worker_that_has_failed_is_no_good_to_a_load_balancer(worker, client_of):
    worker.stats = lambda: {"failure": "out of memory"}
    answer = client_of(worker).get("/ping")
    assert (answer.status_code, error_of(answer)["message"]) == (503, "the worker has failed: out of memory")


def test_a_model_goes_out_and_in_as_its_file(client, worker):
    answer = client.get("/api/model/default")
    assert answer.content == b"model of default"
    assert answer.headers["content-disposition"] == 'attachment; filename="default.driftmoe"'
    binary = {"content-type": "application/octet-stream"}
    answer = client.put("/api/model/default", content=b"model two", headers=binary)
    assert answer.json() == {"name": "default", "bytes": 9}
    assert client.get("/api/model/default").content == b"model two"
    answer = client.put("/api/model/default", content=b"\x80\x04pickle", headers=binary)
    assert (answer.status_code, error_of(answer)["message"]) == (422, "the file is no saved model")
    assert client.put("/api/model/default", content=b"", headers=binary).status_code == 422
    assert client.put("/api/model/a b", content=b"model", headers=binary).status_code == 422
    assert client.put("/api/model/new", content=b"model", headers=binary).json()["name"] == "new"
    assert client.put("/api/model/default", json=1).status_code == 415


def test_only_the_model_that_was_fetched_is_replaced_if_so_asked(client):
    def put(name, tag):
        headers = {"content-type": "application/octet-stream", "if-match": tag}
        return client.put(f"/api/model/{name}", content=b"model two", headers=headers)

    tag = client.get("/api/model/default").headers["etag"]
    assert put("default", '"other"').status_code == 412
    assert put("default", f'W/{tag}, "*"').status_code == 412  # a weak tag never matches, nor is "*" any
    assert put("new", "*").status_code == 412
    assert put("default", tag.strip('"')).status_code == 400
    assert client.get("/api/model/default").headers["etag"] == tag
    assert put("default", f'W/"other", {tag}, "more"').status_code == 200
    answer = put("default", tag)
    assert (answer.status_code, error_of(answer)["field"]) == (412, "If-Match")
    assert put("default", "*").status_code == 200


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.delitem(sys.modules, "driftmoe.service.http")
    with pytest.raises(ImportError, match=r"pip install .*\[serve\]'"):
        import driftmoe.service.http  # noqa: F401
