"""A worker whose clients are many, do not read their answers, or send nonsense."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.service.deaths import Tried
from benchmarks.service.traffic import SPEC, mixed_events
from driftmoe import models, saving
from driftmoe.service import Settings, Store, Worker
from driftmoe.service.client import Client
from driftmoe.service.http import server_of

SAMPLE = {"id": "s", "features": {"x": 1.5, "colour": "red"}, "label": "yes"}


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[tuple[Worker, str, int]]:
    """Run a worker and its server, and yield both addresses."""
    worker = Worker(Store(folder / "store"), Settings(model=SPEC, **settings))
    worker.start()
    server = server_of(worker, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield worker, server.url, server.port
    finally:
        server.stop()
        thread.join()
        worker.stop()


def many(folder: Path, n: int, rng: random.Random) -> Tried:
    """Let `n` clients send a sample each at once, to a queue of 20, and send again until they are answered."""
    tried, outcomes = Tried(), []
    with served(folder, max_queue=20) as (worker, url, _):

        def ask(i: int) -> None:
            client = Client(url)
            outcomes.append(
                client.send([{"id": str(i), "features": {"x": float(i % 7)}, "label": "ab"[i % 2]}])[0]
            )
            client.close()

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        n_learnt = worker.counts.get("learnt", 0)
    ids = [outcome["id"] for outcome in outcomes]
    tried.add(n, n - len(set(ids)) + max(0, n - n_learnt), max(0, n_learnt - n))
    return tried


def slow_readers(folder: Path, n: int, rng: random.Random) -> Tried:
    """Let `n` readers of the stream of figures never read, while others are served."""
    with served(folder) as (worker, url, port):
        readers = []
        for _ in range(n):
            reader = socket.create_connection(("127.0.0.1", port))
            reader.sendall(b"GET /api/stream/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            readers.append(reader)
        client = Client(url)
        events = [SAMPLE | {"id": str(i)} for i in range(2_000)]
        for start in range(0, len(events), 100):
            client.send(events[start : start + 100])
        client.close()
        n_learnt = worker.counts.get("learnt", 0)
        for reader in readers:
            reader.close()
    tried = Tried()
    tried.add(n, 2_000 - n_learnt, 0)
    return tried


def nonsense(folder: Path, n: int, rng: random.Random) -> Tried:
    """Send `n` random bodies: each is taken or refused, never an error of the server, and nothing else is learnt."""
    n_wrong, taken, events = 0, [], mixed_events(500, 1)
    with served(folder) as (worker, _url, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(n):
            body = _body(rng, events)
            path = rng.choice(["/api/learn", "/api/learn", "/api/predict", "/api/events"])
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                n_wrong += 1
                continue
            n_wrong += answer.status >= 500
            if answer.status == 200 and path != "/api/predict":
                of_events = json.loads(said).get("events", [json.loads(said)])
                sent = json.loads(body)
                sent = sent if isinstance(sent, list) else sent.get("events", [sent])
                taken += [(event, one) for event, one in zip(sent, of_events, strict=True)]
        connection.close()
        digests = {key: saving.digest(keyed.model) for key, keyed in worker.registry.models.items()}
    tried = Tried()
    tried.add(n, n_wrong + _n_other(taken, digests), 0)
    return tried


def _n_other(taken: list[tuple[dict[str, Any], dict[str, Any]]], digests: dict[str, str]) -> int:
    """Return how many models differ from those that have learnt the events whose outcome was "learnt"."""
    learnt: dict[str, Any] = {}
    features: dict[tuple[str, str], Any] = {}
    for event, outcome in taken:
        key, name = event.get("key", "default"), str(event.get("id"))
        if event.get("features") is not None and outcome["outcome"] in ("predicted", "learnt"):
            features[key, name] = event["features"]
        if outcome["outcome"] == "learnt" and event.get("weight", 1.0) > 0:
            model = learnt.setdefault(key, models.make(SPEC, seed=1))
            label = event["label"] if event.get("label") is not None else None
            if label is None:  # its label had come before
                return 0
            model.learn_one(features[key, name], label, w=event.get("weight", 1.0))
    return sum(saving.digest(model) != digests.get(key) for key, model in learnt.items())


def _body(rng: random.Random, events: list[dict[str, Any]]) -> bytes:
    """Return a body: an event as it should be, or one that was damaged."""
    kind = rng.random()
    event: Any = rng.choice(events)
    event = {name: value for name, value in event.items() if name != "id"} | {"label": "yes"}
    if "features" not in event:
        event["features"] = {"c": 1}
    if kind < 0.2:
        return json.dumps(event).encode()
    if kind < 0.4:  # a field of a wrong kind
        event[rng.choice(["id", "features", "label", "key", "time", "weight", "other"])] = rng.choice(
            [None, [], {}, {"a": []}, -1, 1e400, "", "x" * 3_000, True, {"x": {"y": 1}}, [[[]]]]
        )
        return json.dumps(event).encode()
    text = bytearray(json.dumps(event).encode())
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(text))
        if rng.random() < 0.5:
            text[place] = rng.randrange(256)
        elif rng.random() < 0.5:
            del text[place:]
            break
        else:
            text[place:place] = rng.randbytes(rng.randrange(1, 20))
        if not text:
            break
    return bytes(text)
