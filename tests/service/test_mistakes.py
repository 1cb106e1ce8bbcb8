"""Recent wrong predictions, each with an explanation that does not hold up the worker."""

from __future__ import annotations

import threading

import pytest

from driftmoe.service import Event, Settings, Store, Worker, views

SPEC = "moe-data(n_experts=3, hidden=(6,), batch_size=16)"


@pytest.fixture
def worker(tmp_path):
    worker = Worker(Store(tmp_path), Settings(model=SPEC))
    worker.start()
    yield worker
    worker.stop()


def erring(worker, n=8):
    """Let a worker learn labels that nobody can foresee; return its wrong predictions."""
    events = [Event(str(i), {"x": float(i % 2)}, "ab"[i // 2 % 2]) for i in range(n)]
    worker.submit(events).result(timeout=60)
    return worker.mistakes()


def test_each_wrong_prediction_is_explained_once_and_the_model_is_left_as_it_is(worker):
    told = erring(worker, 40)
    digest = worker.models()[0]["digest"]
    assert told
    assert all(one["explanation"].startswith("The answer is") for one in told)
    assert worker.mistakes() == told
    assert worker.models()[0]["digest"] == digest


def test_what_takes_too_long_is_explained_later(worker, monkeypatch):
    monkeypatch.setattr(views, "LONGEST_EXPLAINING", -1.0)
    told = erring(worker)
    assert told
    assert {one["explanation"] for one in told} == {None}
    monkeypatch.undo()
    assert None not in {one["explanation"] for one in worker.mistakes()}


def test_the_worker_learns_on_while_a_prediction_is_explained(worker, monkeypatch):
    from driftmoe import DriftMoEClassifier

    begun, goes_on = threading.Event(), threading.Event()
    right = DriftMoEClassifier.explain_one

    def slow(model, x):
        begun.set()
        assert goes_on.wait(timeout=60)
        return right(model, x)

    events = [Event(str(i), {"x": float(i % 2)}, "ab"[i // 2 % 2]) for i in range(8)]
    worker.submit(events).result(timeout=60)
    monkeypatch.setattr(DriftMoEClassifier, "explain_one", slow)
    asking = threading.Thread(target=worker.mistakes)
    asking.start()
    assert begun.wait(timeout=60)
    (outcome,) = worker.submit([Event("meanwhile", {"x": 1.0}, "b")]).result(timeout=60)
    assert outcome["outcome"] == "learnt"
    goes_on.set()
    asking.join(timeout=60)


def test_a_sample_that_another_model_cannot_read_says_so(worker):
    from driftmoe import DriftMoEClassifier, saving

    assert erring(worker)
    other = DriftMoEClassifier("moe-data", n_experts=3, hidden=(6,), batch_size=16, seed=1)
    other.learn_one({"x": "text"}, "a")
    worker.replace_model("default", saving.to_bytes(other))
    told = worker.mistakes()
    assert told
    assert all(one["explanation"].startswith("The model cannot read this sample now") for one in told)
