"""Bodies are read within bounds, and whatever comes is answered: never by a fault of the program."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from driftmoe.service import http_events
from driftmoe.service.events import Limits
from driftmoe.service.http import RequestBounds

SMALL = RequestBounds(n_bytes=1_000, n_events=3, model_bytes=2_000, all_bytes=5_000)
JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
BINARY = {"content-type": "application/octet-stream"}


class Spy:
    """A body in chunks that counts how many of them were asked for."""

    def __init__(self, n, chunk=b" " * 100):
        self.n, self.chunk, self.n_read = n, chunk, 0

    def __iter__(self):
        for _ in range(self.n):
            self.n_read += 1
            yield self.chunk


def held(client):
    return client.app.state.context.held.n


@pytest.mark.parametrize("path", ["/api/predict", "/api/learn", "/api/events", "/invocations"])
def test_a_long_body_is_refused_with_its_length_or_without(worker, client_of, path):
    client = client_of(worker, bounds=SMALL)
    for body in (b" " * 1_001, Spy(11)):
        answer = client.post(path, content=body, headers=JSON)
        assert answer.status_code == 413
        assert "longer than 1,000 bytes" in answer.json()["error"]["message"]
    assert client.post(path, content=b" " * 1_000, headers=JSON).status_code == 400
    assert held(client) == 0


def test_a_long_model_is_refused(worker, client_of):
    client = client_of(worker, bounds=SMALL)
    assert client.put("/api/model/default", content=Spy(21), headers=BINARY).status_code == 413
    assert client.put("/api/model/default", content=b"model" * 400, headers=BINARY).status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "9" * 20, "²"])
def test_a_length_that_is_no_number_is_refused(worker, client_of, length):
    headers = [(b"content-type", b"application/json"), (b"content-length", length.encode("latin-1"))]
    answer = client_of(worker, bounds=SMALL).post("/api/learn", content=b"1", headers=headers)
    assert answer.status_code in (400, 413)


def test_all_bodies_together_are_bounded(worker, client_of):
    client = client_of(worker, bounds=SMALL)
    client.app.state.context.held.take(4_990)
    answer = client.post("/api/learn", content=b" " * 100, headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert held(client) == 4_990


@pytest.mark.parametrize("headers", [JSON, LINES], ids=str)
def test_many_events_are_refused(worker, client_of, headers):
    client = client_of(worker, bounds=SMALL)
    event = '{"id":1,"label":1}'
    for n, status in ((3, 200), (4, 413)):
        body = "\n".join([event] * n) if headers is LINES else f"[{','.join([event] * n)}]"
        answer = client.post("/api/learn", content=body, headers=headers)
        assert answer.status_code == status
    assert answer.json()["error"]["message"] == "the request has 4 events; at most 3 are allowed in one"
    rows = client.post("/invocations", json={"instances": [{"a": 1}] * 4})
    assert rows.status_code == 413


def test_the_limits_of_an_event_hold(worker, client_of):
    client = client_of(worker, limits=Limits(n_features=2, n_characters=3, n_bytes=60))
    for features, field in (
        ({"a": 1, "b": 2, "c": 3}, "features"),
        ({"abcd": 1}, "features.'abcd'"),
        ({"a": "abcd"}, "features.a"),
    ):
        answer = client.post("/api/predict", json={"features": features})
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] == field
    line = '{"features":{"a":1}}' + " " * 50
    assert client.post("/api/predict", content=line, headers=LINES).status_code == 422


def test_a_large_body_is_parsed_beside_other_requests(worker, client_of):
    events = [{"id": i, "label": "x" * 100} for i in range(2_000)]
    answer = client_of(worker).post("/api/learn", json=events)
    assert len(answer.json()["events"]) == 2_000


def test_long_bodies_are_parsed_few_at_a_time(worker, client_of, monkeypatch):
    # A body of empty lists takes 20 times its length in memory, and a thousand clients may send one.
    n, peak = [0], [0]
    real = http_events.json_of

    def counting(text):
        n[0] += 1
        peak[0] = max(peak[0], n[0])
        time.sleep(0.01)
        try:
            return real(text)
        finally:
            n[0] -= 1

    monkeypatch.setattr(http_events, "json_of", counting)
    client = client_of(worker)
    body = b"[" + b"[]," * 30_000 + b"[]]"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.post("/api/learn", content=body, headers=JSON), range(40)))
    assert {answer.status_code for answer in answers} == {413}
    assert peak[0] == 2


HOSTILE = [
    "",
    "\0",
    "\ud800",
    "<img src=x onerror=alert(1)>",
    "__proto__",
    "é" * 30,
    "x" * 2_000,
    "features",
    "id",
]
NUMBERS = [0, -1, 1e308, 10**400, 1e-320, True, None, 2**63, -0.0, 1e100, 1e101]


def any_value(rng, depth=0):
    kind = rng.randrange(8 if depth < 4 else 4)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind < 4:
        return rng.choice(HOSTILE)
    if kind < 6:
        return [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(HOSTILE): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def any_features(rng):
    values = [*NUMBERS, 1.5, "x", "<img>", "é", False]
    return {rng.choice(["a", "b", *HOSTILE]): rng.choice(values) for _ in range(rng.randrange(5))}


def any_event(rng):
    """Return an event; each of its fields is mostly one that may be."""
    may_be = {
        "id": lambda: rng.choice(["a", "b", 1, 10**50, None]),
        "features": lambda: rng.choice([{"a": 1.5}, {}, {"a": None}, any_features(rng)]),
        "label": lambda: rng.choice(["x", 1, 1.0, True, None]),
        "key": lambda: "default",
        "time": lambda: rng.choice([1e9, "2026-05-31T12:00:00Z", None]),
        "weight": lambda: rng.choice([0, 1, 2.5, 1e15]),
    }
    event = {
        name: make() if rng.random() < 0.95 else any_value(rng)
        for name, make in may_be.items()
        if rng.random() < 0.5
    }
    if rng.random() < 0.05:
        event[rng.choice(HOSTILE)] = any_value(rng)
    return event


def any_body(rng):
    """Return a body that is an event, nearly one, of another kind, or damaged."""
    sent = rng.choice(
        [
            *[lambda: any_event(rng)] * 3,
            lambda: [any_event(rng) for _ in range(rng.randrange(4))],
            lambda: {"instances": [any_features(rng)]},
            lambda: {"events": any_value(rng)},
            lambda: {rng.choice(["dataframe_split", "dataframe_records", "inputs", "instances"]): any_value(rng)},
            lambda: {"dataframe_split": {"columns": any_value(rng), "data": any_value(rng)}, "params": any_value(rng)},
            lambda: {"inputs": {"a": any_value(rng), "b": [1, 2]}, "params": {"key": any_value(rng)}},
            lambda: any_value(rng),
        ]
    )()  # fmt: skip
    body = bytearray(json.dumps(sent).encode())
    if rng.random() < 0.2:
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(body) + 1)
            body[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(body)


@pytest.mark.parametrize("seed", range(4))
def test_no_body_makes_the_program_fail(worker, client_of, seed):
    rng = random.Random(seed)
    client = client_of(worker)  # raises what a handler raises
    statuses = set()
    for _ in range(600):
        path = rng.choice(["/api/predict", "/api/learn", "/api/events", "/invocations"])
        answer = client.post(path, content=any_body(rng), headers=rng.choice([JSON, JSON, LINES]))
        assert answer.status_code in (200, 400, 404, 415, 422), answer.text
        answer.json()
        statuses.add(answer.status_code)
    assert statuses >= {200, 400, 415, 422}
    assert held(client) == 0
