"""What a worker keeps is bounded, and so is the time that it takes to keep it so."""

from __future__ import annotations

import math
import random
import threading
import time

from by_hand import digests, opened, taken

from benchmarks.service.traffic import as_lines
from driftmoe.service import client
from driftmoe.service.waiting import Waiting


def test_ids_are_forgotten_after_a_number_and_the_store_stays_small(tmp_path):
    worker = opened(tmp_path, bounds={"n_remembered": 50, "max_waiting": 20}, snapshot_every=100)
    for start in range(0, 2_000, 100):
        some = range(start, start + 100)
        events = [{"id": str(i), "features": {"x": i % 3}, "label": "ab"[i % 3 > 0]} for i in some]
        taken(
            worker,
            as_lines([*events, *({"id": f"late {i}", "features": {"x": 1}} for i in some)]),
            start=2 * start,
        )
    n_kept = worker.store.read("SELECT count(*) FROM samples")[0][0]
    assert n_kept < 50 + 100 + 20 + 2 * 50 + 100
    (outcome,) = taken(worker, as_lines([{"id": "1999", "label": "b"}]), start=9_000)
    assert outcome["outcome"] == "duplicate"
    worker.stop()


def test_samples_that_are_done_are_forgotten_although_nothing_is_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr("driftmoe.service.registry.COMMITS_BETWEEN_FORGETTING", 10)
    worker = opened(tmp_path, bounds={"n_remembered": 10, "max_waiting": 5})
    for start in range(0, 1_000, 20):
        taken(
            worker,
            as_lines([{"id": str(i), "features": {"x": 1}} for i in range(start, start + 20)]),
            start=start,
        )
    assert worker.store.read("SELECT count(*) FROM samples")[0][0] < 300
    worker.stop()


def test_samples_of_many_models_are_forgotten_in_one_pass(tmp_path):
    """A pass for each of a hundred models held the worker up for seconds."""
    worker = opened(tmp_path, bounds={"n_remembered": 10, "max_waiting": 5}, snapshot_every=20)
    statements = []
    worker.store._writer.set_trace_callback(statements.append)
    for start in range(0, 120, 30):
        events = [
            {"id": str(i), "features": {"x": 1}, "label": "a", "key": f"k{i % 5}"}
            for i in range(start, start + 30)
        ]
        taken(worker, as_lines(events), start=start)
    worker.store._writer.set_trace_callback(None)
    deleted = [one for one in statements if one.startswith("DELETE FROM samples")]
    assert 0 < len(deleted) <= 2 * 4  # two statements a transaction
    kept = dict(worker.store.read("SELECT key, count(*) FROM samples GROUP BY key"))
    assert set(kept) == {f"k{i}" for i in range(5)}
    before = digests(worker)
    worker.store.close()
    again = opened(tmp_path)
    assert digests(again) == before
    again.stop()


def test_what_waits_is_counted_by_key_while_others_change_it():
    waiting, rng, twin = Waiting(), random.Random(1), {}
    for i in range(2_000):
        name = (rng.choice("abc"), str(i))
        waiting.add(name, i, float(i))
        twin[name] = i
        if rng.random() < 0.6:
            gone = rng.choice(list(twin))
            twin.pop(gone)
            waiting.discard(gone)
            waiting.discard(gone)
        if twin and rng.random() < 0.3:
            first = next(iter(twin))
            assert waiting.take_first() == (first, twin.pop(first))
        for key in (None, *"abcd"):
            of_key = [when for (of, _), when in twin.items() if key in (None, of)]
            assert waiting.of(key) == (len(of_key), of_key[0] if of_key else None)
        assert list(waiting) == list(twin)
        assert waiting.first_arrived() == min(twin.values(), default=math.inf)


def test_what_waits_can_be_asked_for_while_the_worker_changes_it():
    waiting, is_over, found = (
        Waiting((("a", str(i)), i, float(i)) for i in range(5_000)),
        threading.Event(),
        [],
    )
    waiting.add(("b", "last"), 5_000, 5_000.0)  # who asks for it goes through all others

    def ask():
        while not is_over.is_set():
            found.append(waiting.of("b"))

    thread = threading.Thread(target=ask)
    thread.start()
    for i in range(20_000):
        waiting.discard(("a", str(i)))
        waiting.add(("a", str(5_001 + i)), 5_001 + i, float(5_001 + i))
    is_over.set()
    thread.join()
    assert set(found) == {(1, 5_000.0)}


def test_a_feed_whose_labels_do_not_come_keeps_a_number_of_predictions(monkeypatch):
    monkeypatch.setattr(client, "MOST_SAID", 3)

    class SaysYes:
        def send(self, events):
            return [{"outcome": "predicted", "label": "yes"} for _ in events]

    events = [{"id": str(i), "features": {"x": 1}} for i in range(10)]
    labels = [{"id": str(i), "label": "yes"} for i in range(10)]
    fed = client.feed(SaysYes(), events + labels, batch=4)
    assert (fed.n_sent, fed.n_scored, fed.n_right) == (10, 3, 3)


def test_the_memory_of_one_model_a_second_is_measured(tmp_path, monkeypatch):
    worker = opened(tmp_path)
    events = [{"features": {"x": 1}, "label": "a", "key": f"k{i}"} for i in range(10)]
    taken(worker, as_lines(events))
    keyeds, now, looked = worker.registry.models.values(), time.monotonic(), []
    for keyed in keyeds:
        monkeypatch.setattr(keyed.choices, "look", lambda key=keyed.key: looked.append(key))
    for seconds in range(1, 21):
        monkeypatch.setattr("time.monotonic", lambda seconds=seconds: now + seconds)
        taken(worker, as_lines(events[:1]))
    monkeypatch.undo()
    assert len(looked) == 20
    worker.store.close()


def test_keys_are_bounded(tmp_path):
    worker = opened(tmp_path, bounds={"max_models": 2})
    events = [{"key": key, "id": "1", "features": {"x": 1}, "label": "a"} for key in ("a", "b", "c", "a")]
    outcomes = taken(worker, as_lines(events))
    assert [one["outcome"] for one in outcomes] == ["learnt", "learnt", "refused", "duplicate"]
    assert "there are 2 models" in outcomes[2]["message"]
    assert worker.names == ["a", "b"]
    worker.stop()


def test_samples_that_wait_too_long_are_given_up(tmp_path, monkeypatch):
    worker = opened(tmp_path, bounds={"max_age": 100.0})
    now = [1_000.0]
    monkeypatch.setattr(worker.joiner, "_clock", lambda: now[0])
    taken(worker, as_lines([{"id": "old", "features": {"x": 1}}, {"id": "early", "label": "yes"}]))
    now[0] += 101.0
    outcomes = taken(
        worker, as_lines([{"id": "old", "label": "yes"}, {"id": "early", "features": {"x": 1}}]), start=2
    )
    assert [one["outcome"] for one in outcomes] == ["expired", "predicted"]
    assert (worker.counts["expired"], worker.counts["unknown"]) == (2, 1)
    reasons = worker.store.read("SELECT outcome, reason FROM dead ORDER BY seq")
    assert reasons == [
        ("expired", "no label came in time"),
        ("unknown", "no features with this id came in time"),
        ("expired", "the label came when its sample was given up"),
    ]
    worker.stop()
