"""Importances of features over HTTP: what they are, what they cost, and that they change nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from river import compose, preprocessing

from driftmoe import DriftMoEClassifier, saving
from driftmoe.explaining import Explained
from driftmoe.service import Event, Settings, Store, Worker
from driftmoe.service.http_importances import SECONDS
from driftmoe.service.views import MOST_FEATURES
from driftmoe.trees import HoeffdingTreeClassifier

SPEC = "moe-data(n_experts=3, hidden=(6,), batch_size=16)"
BINARY = {"content-type": "application/octet-stream"}


@pytest.fixture
def working(tmp_path):
    """A worker with a model whose label is that of its feature `a`."""
    worker = Worker(Store(tmp_path), Settings(model=SPEC))
    worker.start()
    teach(worker)
    yield worker
    worker.stop()


def teach(worker, n=200, key="default"):
    rows = [{"a": float(i % 2), "b": float(i % 5)} for i in range(n)]
    worker.submit([Event(None, x, str(x["a"]), key) for x in rows]).result(60)


def digest_of(worker):
    return saving.digest(worker.registry.models["default"].model)


def test_importances_are_those_of_the_model_and_change_nothing(working, client_of):
    model, before = working.registry.models["default"].model, digest_of(working)
    answer = client_of(working).get("/api/importances?key=default").json()
    expected = model.feature_importances()
    assert [one["feature"] for one in answer["importances"]] == list(expected) == ["a", "b"]
    assert [(one["importance"], one["spread"]) for one in answer["importances"]] == [*expected.values()]
    assert answer["importances"][0]["importance"] > 0.1
    assert (answer["n_learnt"], answer["n_features"], answer["n_untried"]) == (200, 2, 0)
    assert answer["why"] is None
    assert not answer["is_of_last_step"]
    assert digest_of(working) == before


def test_the_worker_goes_on_while_importances_are_computed(working, client_of, monkeypatch):
    begun, may_end, original = threading.Event(), threading.Event(), Explained.feature_importances

    def slow(self, **arguments):
        begun.set()
        assert may_end.wait(60)
        return original(self, **arguments)

    monkeypatch.setattr(Explained, "feature_importances", slow)
    client = client_of(working)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.get, "/api/importances")
        assert begun.wait(60)
        teach(working, 10)
        assert client.get("/api/metrics").json()["n_learnt"] == 210
        assert not answer.done()
        may_end.set()
        assert answer.result().json()["n_learnt"] == 200


def test_many_readers_cost_one_computation_a_minute(worker, client_of, monkeypatch):
    worker.features = [("a", 0.1)]
    client = client_of(worker)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: client.get("/api/importances").json(), range(10)))
    assert worker.asked == ["default"]
    assert answers == [answers[0]] * 10
    now = 1e9

    monkeypatch.setattr("driftmoe.service.http_importances.time.monotonic", lambda: now)
    client.get("/api/importances")
    now += SECONDS - 1
    client.get("/api/importances")
    assert len(worker.asked) == 2
    now += 2
    client.get("/api/importances")
    assert len(worker.asked) == 3


def test_a_model_that_is_replaced_is_asked_anew(worker, client_of):
    worker.features = [("a", 0.1)]
    client = client_of(worker)
    client.get("/api/importances")
    client.put("/api/model/default", content=b"model two", headers=BINARY)
    worker.features = [("b", 0.1)]
    assert client.get("/api/importances").json()["importances"][0]["feature"] == "b"


def test_a_wrong_question_says_what_is_allowed(client):
    answer = client.get("/api/importances?key=other")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "no model has the key 'other'; the keys are default"
    assert client.get("/api/importances?model=default").status_code == 422


def test_before_the_first_label_there_are_none_and_the_answer_says_why(worker, client_of):
    worker.names = []
    answer = client_of(worker).get("/api/importances").json()
    assert answer["importances"] == []
    assert answer["why"] == "The model has learnt nothing yet."


def test_a_model_that_knows_too_little_says_so(tmp_path):
    worker = Worker(Store(tmp_path), Settings(model=SPEC))
    worker.start()
    teach(worker, 1)
    assert worker.importances()["importances"] == []
    assert worker.importances()["why"].startswith("The model has learnt too few samples")
    worker.stop()


def test_a_model_without_the_method_says_so(working):
    working.replace_model("default", saving.to_bytes(HoeffdingTreeClassifier()))
    answer = working.importances()
    assert answer["importances"] == []
    assert answer["why"].startswith("A HoeffdingTreeClassifier does not tell")
    assert answer["n_learnt"] == 200


def test_a_model_without_records_says_so(working):
    working.replace_model("default", saving.to_bytes(DriftMoEClassifier.small(seed=1)))
    answer = working.importances()
    assert answer["importances"] == []
    assert answer["why"].startswith("A model with records=False does not keep the samples")


def test_in_a_pipeline_features_are_those_of_the_last_step(working):
    model = compose.Pipeline(
        preprocessing.OneHotEncoder(), DriftMoEClassifier("moe-data", n_experts=2, seed=1)
    )
    for i in range(60):
        model.learn_one({"city": "Ulm" if i % 2 else "Bonn"}, i % 2)
    working.replace_model("default", saving.to_bytes(model))
    answer = working.importances()
    assert answer["is_of_last_step"]
    assert {one["feature"] for one in answer["importances"]} == {"city_Ulm", "city_Bonn"}


def test_at_most_so_many_features_are_named_and_all_are_counted(tmp_path):
    worker = Worker(Store(tmp_path), Settings(model=SPEC))
    worker.start()
    n = MOST_FEATURES + 20
    rows = [{f"f{j}": float((i * j) % 7) for j in range(n)} for i in range(20)]
    worker.submit([Event(None, x, i % 2) for i, x in enumerate(rows)]).result(60)
    answer = worker.importances()
    assert len(answer["importances"]) == MOST_FEATURES
    assert answer["n_features"] == n
    worker.stop()
