"""A worker that reads from a source, and what it must come to: what one comes to that is handed the same events."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from commands import started

from driftmoe.service import Arrival, Settings, Store, Worker
from driftmoe.service.sources import Pump, open_source

MODEL = "moe-data"

PATIENCE = 120.0
"""Seconds after which a test gives up waiting: more than a process takes to start on a machine that is busy."""

N_KILLS = 3
"""Times that a process is killed in a test. A soak sets more."""

CHILD = """
import sys, threading
from pathlib import Path
from driftmoe.service import Settings, Store, Worker
from driftmoe.service.sources import Pump, open_source

folder, url, n, pause = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
worker = Worker(Store(folder), Settings(model="moe-data", max_batch=20, snapshot_every=30))
worker.start()
pump = Pump(open_source(url), worker, print, n_at_once=10)
feed = worker.feed
handed_over = worker.counts.get("events", 0)
def slowly(arrivals):
    global handed_over
    handed_over += len(arrivals)
    threading.Event().wait(pause if handed_over < n or not pause else None)
    feed(arrivals)
worker.feed = slowly
pump.start()
while worker.counts.get("events", 0) < n and worker.failure is None:
    threading.Event().wait(0.01)
pump.stop()
worker.stop()
"""
"""Reads a source until so many events are in the store. With a pause it keeps the last back until it is killed."""


def events(n, seed=1, key=None):
    """JSON texts of features, and of their labels, which come 5 samples later."""
    draw = random.Random(seed)
    texts, late = [], []
    more = {} if key is None else {"key": key}
    for i in range(n):
        x, y = draw.random(), draw.choice(["red", "blue"])
        features = {"x": x, "colour": y, "z": draw.gauss(0, 1)}
        texts.append(json.dumps({"id": f"{seed}-{i}", "features": features} | more).encode())
        label = "yes" if (x > 0.5) == (y == "red") else "no"
        late.append(json.dumps({"id": f"{seed}-{i}", "label": label} | more).encode())
        if i >= 5:
            texts.append(late[i - 5])
    return texts + late[-5:]


TEXTS = events(100)
"""What the tests of sources read."""


@contextmanager
def working(folder, **settings):
    """A worker that runs."""
    worker = Worker(Store(folder), Settings(model=MODEL, **settings))
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


class Reading:
    """A worker that reads a source until it is told to stop."""

    def __init__(self, folder, source, n_at_once=7, **settings):
        self.worker = Worker(Store(folder), Settings(model=MODEL, max_batch=20, **settings))
        self.worker.start()
        self.source = source
        self.over, self.error = threading.Event(), None
        self.pump = Pump(source, self.worker, self._ended, n_at_once=n_at_once)

    def _ended(self, error):
        self.error = error
        self.over.set()

    def __enter__(self):
        try:
            self.pump.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.pump.stop()
        self.worker.stop()

    def until(self, n):
        """Wait until so many events have been taken."""
        wait_for(lambda: self.n >= n or self.error)
        assert self.error is None, self.error
        return self

    def to_the_end(self):
        assert self.over.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self

    @property
    def n(self):
        return self.worker.counts.get("events", 0)


def wait_for(condition):
    """Wait until something is so that happens in another thread or process, which tells of it nowhere."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def come_to(folder):
    """What a store says that no worker uses: predictions, labels, counts, dead letters, and the digests of models."""
    with working(folder) as worker:
        answers = worker.store.read(
            "SELECT key, id, answer, label, weight, learnt FROM samples ORDER BY key, id"
        )
        return {
            "answers": answers,
            "counts": worker.store.counts(),
            "dead": worker.store.read("SELECT outcome, event, reason FROM dead ORDER BY seq"),
            "digests": [(one["name"], one["digest"]) for one in worker.models()],
        }


_KNOWN = {}


def handed_over(folder, texts):
    """What a worker comes to that is handed events. It is found once for all files of tests."""
    if tuple(texts) not in _KNOWN:
        _KNOWN[tuple(texts)] = _handed_over(folder, texts)
    return _KNOWN[tuple(texts)]


def _handed_over(folder, texts):
    with working(folder) as worker:
        for start in range(0, len(texts), 50):
            worker.feed([Arrival("by hand", text, start) for text in texts[start : start + 50]])
        worker.drain()
    return come_to(folder)


def killed_and_started_again(folder, url, n, seed=1, n_kills=None):
    """Let a process read a source, kill it without notice at random places, and start the next one, to the end."""
    draw = random.Random(seed)
    places = sorted(draw.sample(range(1, n - 20), N_KILLS if n_kills is None else n_kills))
    for place in places:
        process = started("-c", CHILD, str(folder), url, str(n), "0.01", cwd=folder.parent)
        wait_for(partial(has_come_to, folder, place, process))
        time.sleep(0.02 * draw.random())  # the place within a transaction is random too
        process.kill()
        process.wait()
        assert place <= n_in(folder) < n, process.stderr
    process = started("-c", CHILD, str(folder), url, str(n), "0", cwd=folder.parent)
    assert process.wait() == 0, process.stderr
    assert process.stdout == "", process.stdout
    assert "rror" not in process.stderr, process.stderr


def has_come_to(folder, place, process):
    return n_in(folder) >= place or process.returncode is not None


def n_in(folder):
    """Number of events in a store that another process uses."""
    if not (folder / "store.sqlite").exists():
        return 0
    try:
        store = Store(folder, read_only=True)
    except OSError:
        return 0  # it is being created
    try:
        return store.counts().get("events", 0)
    finally:
        store.close()


def free_port():
    """A port that no program uses."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class Server:
    """A program that listens, and can be killed and started again in the same place."""

    def __init__(self, command, folder, answers):
        self._command, self._folder, self._answers = command, folder, answers
        self.start()

    def start(self):
        with (Path(self._folder) / "log").open("a") as file:
            self._process = subprocess.Popen(self._command, cwd=self._folder, stdout=file, stderr=file)
        wait_for(lambda: self._process.poll() is not None or self._answers())
        assert self._process.poll() is None, (Path(self._folder) / "log").read_text()[-2000:]

    def stop(self):
        self._process.terminate()
        self._process.wait()

    def kill(self):
        self._process.kill()
        self._process.wait()


def reading(folder, url, **settings):
    return Reading(folder, open_source(url), **settings)
