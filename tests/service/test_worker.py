"""A worker says and learns what its plain twin does, however events are cut into batches and whenever it dies."""

from __future__ import annotations

import gc
import hashlib
import random
import threading

import pytest
from by_hand import SPEC, digests, opened, taken
from reference.service import WAITS_FOR_FEATURES, PlainWorker

from benchmarks.service.traffic import as_lines, mixed_events
from driftmoe import runs, saving
from driftmoe.service import (
    Arrival,
    Event,
    Limits,
    QueueFull,
    Settings,
    Stopped,
    Store,
    StoreError,
)
from driftmoe.service.failures import Changed
from driftmoe.service.scores import Answer, as_text
from driftmoe.service.serving import N_OBJECTS, Service
from driftmoe.service.store import EXPIRED, LEARNT, WAITING

KEEPS = "driftmoe(n_experts=2, extras=('history', 'linear'), hidden=(6,), batch_size=16, max_waiting=6)"
"""A model that is told of samples whose labels come late, and forgets some of them."""


@pytest.mark.parametrize(
    ("seed", "spec"), [*((seed, SPEC) for seed in range(3)), *((seed, KEEPS) for seed in range(3))]
)
def test_a_worker_does_what_its_twin_does(seed, spec, tmp_path):
    events = mixed_events(300, seed)
    twin, rng = PlainWorker(spec, max_waiting=8), random.Random(seed)
    expected = [twin.take(event) for event in events]
    worker = opened(tmp_path, model=spec, bounds={"max_waiting": 8}, snapshot_every=40)
    lines, found, start = as_lines(events), [], 0
    while start < len(lines):
        n = rng.choice([1, 1, 2, 7, 30])
        found += taken(worker, lines[start : start + n], start=start)
        start += n
        if rng.random() < 0.2:  # as if killed between two commits
            worker.store.close()
            worker = opened(tmp_path, model=spec, bounds={"max_waiting": 8}, snapshot_every=40)
    assert [outcome["outcome"] for outcome in found] == [what for what, _ in expected]
    for outcome, (what, proba) in zip(found, expected, strict=True):
        if what in ("predicted", "learnt"):
            assert outcome["probabilities"] == {as_text(label): p for label, p in proba.items()}
    of_labels = {"labels before their features": sum(what == WAITS_FOR_FEATURES for what, _ in expected)}
    assert worker.counts == {"events": len(events)} | of_labels | twin.counts
    assert digests(worker) == {key: saving.digest(model) for key, model in twin.models.items()}
    assert (
        min(twin.counts.get(what, 0) for what in ("refused", "conflict", "duplicate", "expired", "learnt"))
        > 0
    )
    worker.stop()
    again = opened(tmp_path, model=spec, bounds={"max_waiting": 8})
    assert digests(again) == digests(worker)
    again.stop()


def test_scores_and_history_survive_a_crash(tmp_path):
    events = [{"id": str(i), "features": {"x": i % 7}, "label": "ab"[i % 7 > 3]} for i in range(1_200)]
    worker = opened(tmp_path, snapshot_every=500)
    for start in range(0, 1_200, 100):
        taken(worker, as_lines(events[start : start + 100]), start=start)
    before = worker.metrics() | {"time": 0}
    worker.store.close()
    again = opened(tmp_path)
    after = again.metrics() | {"time": 0}
    of_now = ("predictions_per_s", "labels_per_s", "waiting", "memory_bytes")
    assert {k: v for k, v in after.items() if k not in of_now} == {
        k: v for k, v in before.items() if k not in of_now
    }
    assert [point["n_learnt"] for point in again.history()] == [500, 1_000]
    assert after["accuracy"] > 0.9 > after["no_change"]
    assert sum(after["gate"].values()) == pytest.approx(1.0)
    again.stop()


def test_clients_get_their_own_outcomes_after_the_commit(tmp_path):
    worker = opened(tmp_path)
    worker.start()
    futures = {}

    def ask(n):
        futures[n] = [
            worker.submit([Event(f"{n}-{i}", {"x": float(n)}, f"class {n % 2}")]) for i in range(20)
        ]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, of_client in futures.items():
        for i, future in enumerate(of_client):
            (outcome,) = future.result(timeout=60)
            assert (outcome["id"], outcome["outcome"]) == (f"{n}-{i}", "learnt")
            assert (
                worker.store.rows([("default", f"{n}-{i}")])["default", f"{n}-{i}"].label
                == f'"class {n % 2}"'
            )
    worker.stop()
    with pytest.raises(Stopped):
        worker.submit([Event("late", {"x": 1.0})])


def test_a_full_queue_refuses_and_takes_nothing(tmp_path):
    worker = opened(tmp_path, max_queue=10)
    futures = [worker.submit([Event(str(i), {"x": 1.0}) for i in range(6)])]
    with pytest.raises(QueueFull, match="6 events wait already") as error:
        worker.submit([Event(f"more {i}", {"x": 1.0}) for i in range(6)])
    assert error.value.retry_after > 0
    worker.start()
    assert len(futures[0].result(timeout=60)) == 6
    worker.stop()
    again = opened(tmp_path)
    assert again.counts["events"] == 6
    again.stop()


def test_labels_count_in_the_order_of_their_time(tmp_path):
    events = [{"id": str(i), "features": {"x": i % 5}, "time": float(i)} for i in range(60)]
    labels = [{"id": str(i), "label": "ab"[i % 5 > 2], "time": 60.0 + i} for i in range(60)]
    shuffled = labels[:]
    for start in range(0, 60, 10):
        shuffled[start : start + 10] = random.Random(start).sample(shuffled[start : start + 10], 10)
    bounds = {"lateness": 10.0}
    straight, mixed = opened(tmp_path / "straight", bounds=bounds), opened(tmp_path / "mixed", bounds=bounds)
    taken(straight, as_lines(events + labels))
    straight.joiner.release_all(Arrival("end", b""))
    straight._commit([])
    lines = as_lines(events + shuffled)
    for start in range(0, 120, 15):
        taken(mixed, lines[start : start + 15], start=start)
        mixed.store.close()
        mixed = opened(tmp_path / "mixed", bounds=bounds)
    assert mixed.counts["learnt"] < 60  # the last ones wait for their time
    mixed.joiner.release_all(Arrival("end", b""))
    mixed._commit([])
    assert mixed.counts["learnt"] == straight.counts["learnt"] == 60
    assert digests(mixed) == digests(straight)
    (outcome,) = taken(mixed, as_lines([{"id": "x", "features": {"x": 1}}]))
    assert outcome["outcome"] == "refused"
    assert "time" in outcome["message"]
    for worker in (straight, mixed):
        worker.stop()


def test_the_clock_never_goes_back_nor_jumps(tmp_path, monkeypatch):
    worker = opened(tmp_path)
    before = worker.clock()
    monkeypatch.setattr("time.time", lambda: before + 1e9)
    assert worker.clock() < before + 60.0  # a jump ahead
    taken(worker, as_lines([{"id": "a", "features": {"x": 1}}]))
    worker.stop()
    monkeypatch.setattr("time.time", lambda: before - 1e9)
    again = opened(tmp_path)
    assert again.clock() >= before
    again.stop()


def test_a_model_that_raises_costs_one_event(tmp_path, monkeypatch):
    worker = opened(tmp_path)
    worker.start()
    worker.submit([Event("0", {"x": 1.0}, "a")]).result(timeout=60)
    from driftmoe import DriftMoEClassifier

    right = DriftMoEClassifier.run_rows

    def poisoned(self, X, y, w, *, asked, awaits):
        if any(x.get("x") == 666.0 for x in X):
            raise ZeroDivisionError("poison")
        return right(self, X, y, w, asked=asked, awaits=awaits)

    monkeypatch.setattr(DriftMoEClassifier, "run_rows", poisoned)
    events = [Event(str(i), {"x": 666.0 if i == 5 else float(i)}) for i in range(1, 10)]
    outcomes = worker.submit(events).result(timeout=60)
    assert [one["outcome"] for one in outcomes] == ["predicted"] * 4 + ["refused"] + ["predicted"] * 4
    assert "ZeroDivisionError: poison" in outcomes[4]["message"]
    worker.stop()
    again = opened(tmp_path)
    assert again.counts == {"events": 10, "predicted": 9, "learnt": 1, "refused": 1}
    again.stop()


def test_a_store_belongs_to_one_worker_and_one_model(tmp_path):
    worker = opened(tmp_path)
    with pytest.raises(StoreError, match="another worker uses the store"):
        Store(tmp_path)
    worker.stop()
    with pytest.raises(StoreError, match="was begun with the model"):
        opened(tmp_path, model="driftmoe")
    opened(tmp_path, model=None).stop()
    with pytest.raises(ValueError, match="nonsense"):
        opened(tmp_path / "other", model="nonsense")


def test_a_model_can_be_taken_out_and_put_in(tmp_path):
    worker = opened(tmp_path / "one")
    worker.start()
    worker.submit([Event(str(i), {"x": float(i % 3)}, "ab"[i % 3 > 0]) for i in range(50)]).result(timeout=60)
    content = worker.model_file("default")
    model = saving.from_bytes(content)
    model.learn_one({"x": 1.0}, "c")
    answer = worker.replace_model("default", saving.to_bytes(model))
    assert answer["digest"] == saving.digest(model)
    with pytest.raises(KeyError, match="no model 'else'; there are: default"):
        worker.model_file("else")
    with pytest.raises(ValueError, match="no model, or a damaged file"):
        worker.replace_model("default", b"not a model")
    fetched = hashlib.sha256(worker.model_file("default")).hexdigest()
    assert worker.replace_model("default", saving.to_bytes(model), [fetched, "other"]) == answer
    worker.submit([Event("x", {"x": 2.0}, "c")]).result(timeout=60)
    with pytest.raises(Changed, match="'default' is not the one that was fetched"):
        worker.replace_model("default", content, [fetched])
    with pytest.raises(Changed, match="no model 'new'"):
        worker.replace_model("new", content, ["*"])
    model.learn_one({"x": 2.0}, "c")
    worker.store.read("SELECT 1")
    worker.stop()
    again = opened(tmp_path / "one")
    assert digests(again) == {"default": saving.digest(model)}
    again.stop()


def test_what_is_no_event_lands_among_the_dead_letters(tmp_path):
    worker = opened(tmp_path, bounds={"limits": Limits(n_features=3)})
    lines = [b"{", b"[]", b'{"id": "a"}', b'{"features": {"a": 1, "b": 1, "c": 1, "d": 1}}', b"\xff", b'{"label": 1}',
             b'{"features": {"a": [1]}}', b'{"features": {"a": 1}, "label": "x"}']  # fmt: skip
    outcomes = taken(worker, lines)
    assert [one["outcome"] for one in outcomes] == ["refused"] * 7 + ["learnt"]
    assert worker.store.positions()["test"] == (8, 8)
    assert len(worker.store.read("SELECT * FROM dead")) == 7
    worker.stop()


BY_TIME = {"lateness": 5.0, "max_waiting": 2}


@pytest.mark.parametrize("cuts", [(5,), (1, 1, 1, 1, 1), (2, 3), (1, 4), (4, 1)])
def test_a_sample_whose_label_is_held_is_not_given_up(cuts, tmp_path):
    events = [
        {"id": "A", "features": {"x": 1}, "time": 0}, {"id": "A", "label": "a", "time": 1},
        *({"id": name, "features": {"x": 2}, "time": t} for name, t in (("B", 2), ("C", 3), ("D", 20))),
    ]  # fmt: skip
    worker, lines, start = opened(tmp_path, bounds=BY_TIME), as_lines(events), 0
    for n in cuts:
        taken(worker, lines[start : start + n], start=start)
        start += n
        worker.store.close()
        worker = opened(tmp_path, bounds=BY_TIME)
    assert worker.counts == {"events": 5, "predicted": 4, "labels held": 1, "learnt": 1, "expired": 1}
    states = dict(worker.store.read("SELECT id, state FROM samples"))
    assert states == {"A": LEARNT, "B": EXPIRED, "C": WAITING, "D": WAITING}
    worker.stop()


def test_held_labels_are_bounded_and_count_early_if_there_are_too_many(tmp_path):
    worker = opened(tmp_path, bounds=BY_TIME)
    events = [event for i in range(20) for event in (
        {"id": f"{i}", "features": {"x": i}, "time": 1}, {"id": f"{i}", "label": "a", "time": 1}
    )]  # fmt: skip
    taken(worker, as_lines(events))
    assert worker.counts["learnt"] == 18
    assert len(worker.store.held()) == 2
    worker.stop()


def test_the_order_belongs_to_the_store(tmp_path):
    opened(tmp_path, bounds=BY_TIME).stop()
    with pytest.raises(StoreError, match="in the order of time, not of arrival; give --order time"):
        opened(tmp_path)


def test_an_event_far_ahead_of_the_clock_ends_the_waiting_of_none(tmp_path):
    worker = opened(tmp_path, bounds={"lateness": 5.0})
    events = [{"id": "a", "features": {"x": 1}, "time": 1_000}, {"id": "b", "features": {"x": 1}, "time": "2126-01-01"},
              {"id": "a", "label": "yes", "time": 1_001}]  # fmt: skip
    outcomes = taken(worker, as_lines(events))
    assert [one["outcome"] for one in outcomes] == ["predicted", "refused", "waiting for its time"]
    assert "more than a day ahead of the clock" in outcomes[1]["message"]
    worker.stop()


@pytest.mark.parametrize("cuts", [(6,), (1,) * 6, (3, 3)])
def test_labels_of_a_refused_sample_are_refused_in_every_batch(cuts, tmp_path):
    events = [
        {"id": "0", "features": {"x": 1}, "label": "a"}, {"id": "1", "features": {"x": "text"}, "label": "a"},
        {"id": "1", "label": "b"}, {"id": "1", "label": "a"}, {"id": "2", "features": {"x": 2}},
        {"id": "2", "label": "b"},
    ]  # fmt: skip
    worker, lines, found, start = opened(tmp_path), as_lines(events), [], 0
    for n in cuts:
        found += taken(worker, lines[start : start + n], start=start)
        start += n
    assert [one["outcome"] for one in found] == [
        "learnt",
        "refused",
        "refused",
        "refused",
        "predicted",
        "learnt",
    ]
    worker.stop()


def test_a_pipeline_that_learns_in_part_is_as_it_was(tmp_path):
    from river import preprocessing

    from driftmoe import models

    worker = opened(tmp_path)
    worker.start()
    worker.replace_model(
        "default", saving.to_bytes(preprocessing.StandardScaler() | models.make(SPEC, seed=1))
    )
    worker.submit([Event(str(i), {"x": float(i)}, "ab"[i % 2]) for i in range(20)]).result(timeout=60)
    before = digests(worker)
    (outcome,) = worker.submit([Event("odd", {"x": 1.0, "z": "text"}, "a")]).result(timeout=60)
    assert outcome["outcome"] == "refused"
    assert digests(worker) == before
    with pytest.raises(ValueError, match="is no classifier"):
        worker.replace_model("default", saving.to_bytes(preprocessing.StandardScaler()))
    worker.stop()
    again = opened(tmp_path)
    assert digests(again) == before
    again.stop()


def test_a_client_that_leaves_does_no_harm(tmp_path):
    worker = opened(tmp_path)
    futures = [worker.submit([Event(str(i), {"x": 1.0}, "a")]) for i in range(3)]
    assert futures[1].cancel()
    worker.start()
    assert [futures[i].result(timeout=60)[0]["outcome"] for i in (0, 2)] == ["learnt", "learnt"]
    worker.stop()


def test_a_source_that_is_given_twice_is_refused(tmp_path):
    log = tmp_path / "log"
    log.touch()
    with pytest.raises(ValueError, match="is given twice"):
        Service(tmp_path / "store", Settings(model=SPEC), sources=[str(log), str(log)])


def test_what_is_loaded_is_out_of_sight_of_the_garbage_collector_once_a_service_is_ready(tmp_path):
    service, threshold = Service(tmp_path / "store", Settings(model=SPEC)), gc.get_threshold()
    try:
        service.prepare()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] == N_OBJECTS
        assert sum(map(len, map(gc.get_objects, range(3)))) < 10_000
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
        service.worker.store.close()


def test_two_labels_of_one_text_are_told_apart():
    answer = Answer("1", {"1": 0.4, 1: 0.6})
    assert answer.public()["probabilities"] == {'"1"': 0.4, "1": 0.6}


@pytest.mark.parametrize("cuts", [(4,), (1, 1, 1, 1), (2, 2), (3, 1)])
def test_what_is_told_of_refused_features_does_not_depend_on_how_events_are_cut(cuts, tmp_path):
    worker = opened(tmp_path, bounds={"lateness": 0.0, "max_waiting": 1})
    events = [
        {"id": "a", "features": {"x": 1}, "label": "a", "time": 1},
        {"id": "b", "features": {"x": 2}, "label": "a", "time": 9},
        {"id": "c", "features": {"x": "text"}, "label": "a", "time": 9},
        {"id": "d", "features": {"x": 1}, "time": 20},
    ]  # fmt: skip
    lines, start, told = as_lines(events), 0, []
    for n in cuts:
        told += taken(worker, lines[start : start + n], start=start)
        start += n
    assert [one["outcome"] for one in told][2:] == ["refused", "predicted"]
    worker.stop()


def test_one_sample_that_cannot_be_read_does_not_make_the_others_go_one_by_one(tmp_path, monkeypatch):
    worker = opened(tmp_path)
    keyed = worker.registry.of("default")
    samples = [{"x": float(i % 3)} for i in range(64)]
    keyed.run(samples, list("ab" * 32), [1.0] * 64, [True] * 64, [False] * 64)
    singles = []
    run_one = runs._run_one
    monkeypatch.setattr(runs, "_run_one", lambda *one: singles.append(one) or run_one(*one))
    samples[21] = {"x": "text"}
    answers = keyed.run(samples, list("ab" * 32), [1.0] * 64, [True] * 64, [False] * 64)
    assert [i for i, answer in enumerate(answers) if isinstance(answer, str)] == [21]
    assert len(singles) == 1
    worker.store.close()
