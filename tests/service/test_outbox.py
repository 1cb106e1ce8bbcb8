"""What the worker sends arrives in order, with the same id if it comes twice, whatever happens to the receiver."""

from __future__ import annotations

import json
import os
import random
import threading
import time

import pytest
from commands import started
from reading import N_KILLS, PATIENCE, events, wait_for, working

from driftmoe.service import Arrival, Bounds, outbox
from driftmoe.service.outbox import FileSink, Sender, SendError, open_sink
from driftmoe.service.store import StoreError

TEXTS = events(60)

CHILD = """
import sys, threading
from pathlib import Path
from driftmoe.service import Settings, Store, Worker, outbox
from driftmoe.service.outbox import Sender, open_sink
from driftmoe.service.sources import Pump, open_source

folder, log, out, n = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
outbox.N_AT_ONCE = 4
worker = Worker(Store(folder), Settings(model="moe-data", max_batch=20, has_sink=True))
worker.start()
sender = Sender(open_sink(out), worker)
sender.start()
pump = Pump(open_source(log), worker, print, n_at_once=10)
pump.start()
while worker.counts.get("events", 0) < n:
    threading.Event().wait(0.01)
pump.stop()
sender.stop()
worker.stop()
"""


class Receiver:
    """Takes messages when it is there."""

    def __init__(self):
        self.taken, self.n_tries, self.is_away, self.is_closed = [], 0, False, False

    def send(self, messages):
        self.n_tries += 1
        if self.is_away:
            raise SendError("receiver: refused")
        self.taken += messages

    def close(self):
        self.is_closed = True

    def predictions(self):
        """Return the ids of the predictions; alarms, such as of new classes, come between them."""
        return [name for name, content in self.taken if json.loads(content)["kind"] == "prediction"]


def feed(worker, texts):
    worker.feed([Arrival("by hand", text, i) for i, text in enumerate(texts)])


def left_in(worker):
    return worker.store.read("SELECT count(*) FROM outbox")[0][0]


def ids_of(texts):
    return [f'["default","{json.loads(text)["id"]}"]' for text in texts if "features" in json.loads(text)]


def test_predictions_are_sent_in_order_and_taken_out_of_the_store(tmp_path):
    receiver = Receiver()
    with working(tmp_path, has_sink=True) as worker:
        sender = Sender(receiver, worker)
        sender.start()
        feed(worker, TEXTS)
        worker.drain()
        sender.stop()
        assert left_in(worker) == 0
    assert receiver.predictions() == ids_of(TEXTS)
    assert receiver.is_closed
    first = json.loads(receiver.taken[0][1])
    assert first.items() >= {"kind": "prediction", "id": "1-0", "key": "default", "label": None}.items()


def test_a_receiver_that_is_away_is_tried_again_and_told_of_once(tmp_path, caplog):
    receiver = Receiver()
    receiver.is_away = True
    with working(tmp_path, has_sink=True) as worker:
        sender = Sender(receiver, worker)
        sender.start()
        feed(worker, TEXTS)
        wait_for(lambda: receiver.n_tries >= 4)
        receiver.is_away = False
        wait_for(lambda: len(receiver.predictions()) == 60)
        sender.stop()
    assert receiver.predictions() == ids_of(TEXTS)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["receiver: refused; it is tried again until it succeeds", "messages are sent again"]


def test_what_a_receiver_does_not_take_is_kept_for_the_next_start(tmp_path):
    receiver = Receiver()
    receiver.is_away = True
    for texts in (TEXTS, []):
        with working(tmp_path, has_sink=True) as worker:
            sender = Sender(receiver, worker)
            sender.start()
            feed(worker, texts)
            worker.drain()
            sender.stop()
            assert (left_in(worker) >= 60) == bool(texts)
        receiver.is_away = False
    assert receiver.predictions() == ids_of(TEXTS)


def test_of_messages_whose_receiver_stays_away_the_oldest_are_dropped_and_counted(tmp_path, caplog):
    receiver = Receiver()
    with working(tmp_path, has_sink=True, bounds=Bounds(max_unsent=20)) as worker:
        for start in range(0, len(TEXTS), 15):
            feed(worker, TEXTS[start : start + 15])
            worker.drain()
            assert left_in(worker) <= 20
        n_dropped = worker.counts["messages dropped"]
        assert n_dropped == worker.store.counts()["messages dropped"]
        sender = Sender(receiver, worker)
        sender.start()
        wait_for(lambda: left_in(worker) == 0)
        sender.stop()
        assert worker.counts["learnt"] == 60  # what is dropped is only told to nobody
    assert len(receiver.taken) == 20
    assert receiver.predictions() == ids_of(TEXTS)[-len(receiver.predictions()) :]
    n_alarms = len(worker_alarms(tmp_path))
    assert n_dropped + 20 == 60 + n_alarms
    assert caplog.text.count("20 messages wait for their receiver, as many as allowed") == 1


def worker_alarms(folder):
    with working(folder) as worker:
        return worker.alarms()


def test_messages_that_the_store_cannot_forget_are_not_sent_again(tmp_path, monkeypatch):
    receiver, n_failures = Receiver(), []
    take_out = Sender._take_out

    def fails(sender):
        if len(n_failures) < 3:
            n_failures.append(1)
            raise StoreError("the disk is full")
        take_out(sender)

    monkeypatch.setattr(Sender, "_take_out", fails)
    with working(tmp_path, has_sink=True) as worker:
        sender = Sender(receiver, worker)
        sender.start()
        feed(worker, TEXTS)
        wait_for(lambda: left_in(worker) == 0 and len(receiver.predictions()) == 60)
        sender.stop()
    assert receiver.predictions() == ids_of(TEXTS)


def test_a_sender_ends_with_its_worker(tmp_path, monkeypatch):
    """Also when the worker fails: its failure is told once, by the worker."""
    receiver, may_go_on = Receiver(), threading.Event()

    def fails(*_):
        assert may_go_on.wait(PATIENCE)
        raise RuntimeError("the worker is broken")

    worker_broke = pytest.raises(RuntimeError, match="the worker is broken")
    with worker_broke, working(tmp_path, has_sink=True) as worker:
        sender = Sender(receiver, worker)
        feed(worker, TEXTS)
        worker.drain()
        monkeypatch.setattr(worker, "_act", fails)  # what the sender asks for breaks the worker
        sender.start()
        wait_for(lambda: receiver.taken)
        may_go_on.set()
        wait_for(lambda: not sender._thread.is_alive())
        sender.stop()
    assert receiver.is_closed


def test_a_sender_that_was_not_started_closes_its_receiver(tmp_path):
    receiver = Receiver()
    with working(tmp_path) as worker:
        Sender(receiver, worker).stop()
    assert receiver.is_closed


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that kills")
def test_a_process_that_is_killed_loses_no_message_and_repeats_some_with_the_same_content(tmp_path):
    log, out, draw = tmp_path / "log", tmp_path / "out", random.Random(2)
    arguments = ("-c", CHILD, str(tmp_path / "store"), str(log), str(out))
    n_lines = -(-len(TEXTS) // (N_KILLS + 1))
    for i in range(N_KILLS + 1):
        size = out.stat().st_size if out.exists() else 0
        with log.open("ab") as file:
            file.write(b"".join(text + b"\n" for text in TEXTS[i * n_lines : (i + 1) * n_lines]))
        is_last = i == N_KILLS
        process = started(*arguments, str(len(TEXTS) + (not is_last)), cwd=tmp_path)
        if is_last:
            assert process.wait() == 0, process.stderr
            continue
        wait_for(
            lambda p=process, n=size: p.returncode is not None or (out.exists() and out.stat().st_size > n)
        )
        time.sleep(0.05 * draw.random())
        assert process.returncode is None, process.stderr  # it waits for more
        process.kill()
        process.wait()
    found = [json.loads(line) for line in out.read_text().splitlines()]  # no half a line
    by_id = {one["id"]: one for one in found}
    predictions = [f'["default","{name}"]' for name, one in by_id.items() if one["kind"] == "prediction"]
    assert predictions == ids_of(TEXTS)
    assert all(one == by_id[one["id"]] for one in found)


def test_a_half_line_of_an_earlier_attempt_is_written_anew(tmp_path):
    path = tmp_path / "deep" / "out"
    FileSink(path).send([("a", '{"a":1}'), ("b", '{"b":2}')])
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        FileSink(path).send([("a", '{"a":1}'), ("b", '{"b":2}')])
        assert path.read_bytes().endswith(whole)
        assert {json.loads(line).popitem()[0] for line in path.read_bytes().splitlines()} <= {"a", "b"}


def test_the_last_line_of_a_file_of_others_is_kept(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"x" * 1_000 + b"\n" + b"of others " * 100)
    FileSink(path).send([("a", "{}")])
    assert path.read_bytes() == b"x" * 1_000 + b"\n" + b"of others " * 100 + b"\n{}\n"


def test_a_full_disk_leaves_no_half_a_line(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.write_bytes(b"{}\n")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outbox.os, "fsync", full)
    with pytest.raises(SendError, match="No space left on device"):
        FileSink(path).send([("a", '{"a":1}')])
    assert path.read_bytes() == b"{}\n"


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(SendError, match="directory"):
        FileSink(tmp_path).send([("a", "{}")])


def test_addresses_of_receivers_are_checked(tmp_path):
    sink = open_sink((tmp_path / "a b").as_uri())
    sink.send([("a", "{}")])
    assert (tmp_path / "a b").read_text() == "{}\n"
    with pytest.raises(ValueError, match="http:// is not known") as told:
        open_sink("http://me:hush@host/x")
    assert "hush" not in str(told.value)
