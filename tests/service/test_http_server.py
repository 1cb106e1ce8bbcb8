"""The server on a socket: streams of events, slow readers and senders, many clients, a clean stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_worker import FakeWorker
from places import ROOT
from running_server import running

from driftmoe.service import http_server
from driftmoe.service.http import RequestBounds, create_app, server_of

PATIENCE = 120


@contextlib.contextmanager
def asked(server, path, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def frames(answer, n):
    """Read frames of a stream until `n` events have come."""
    found, fields = [], {}
    while len(found) < n:
        line = answer.readline().decode().rstrip("\n")
        if not line and "event" in fields:
            found.append(fields)
        if not line:
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
    return found


def raw(server, text=b"", timeout=PATIENCE):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    connection.sendall(text)
    return connection


def is_closed(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stream_brings_the_latest_figures(worker):
    with running(worker) as server, asked(server, "/api/stream/metrics") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        first = json.loads(frames(answer, 1)[0]["data"])
        assert first["metrics"]["accuracy"] == 0.75
        assert first["stats"]["queue"]["n"] == 0
        assert first["last_alarm"] == 0
        worker.figures["default"] = {"accuracy": 0.5}
        worker.alarm()
        second = json.loads(frames(answer, 3)[-1]["data"])
        assert second["metrics"]["accuracy"] == 0.5
        assert second["last_alarm"] == 1


def test_a_stream_of_alarms_goes_on_after_the_last_one_that_the_reader_has(worker):
    worker.alarm("drift", "one\ntwo")
    worker.alarm("warning")
    with running(worker) as server:
        with asked(server, "/api/stream/events") as answer:
            first, second = frames(answer, 2)
            assert (first["id"], second["id"]) == ("1", "2")
            assert json.loads(first["data"])["text"] == "one\ntwo"
            worker.alarm("drift", "three")
            assert json.loads(frames(answer, 1)[0]["data"])["text"] == "three"
        with asked(server, "/api/stream/events", {"Last-Event-ID": "2"}) as answer:
            assert frames(answer, 1)[0]["id"] == "3"
        with asked(server, "/api/stream/events", {"Last-Event-ID": "x"}) as answer:
            assert answer.status == 422


def test_a_silent_stream_shows_that_it_lives(worker):
    with running(worker, heartbeat=0.1) as server, asked(server, "/api/stream/events") as answer:
        lines = [answer.readline() for _ in range(7)]
        assert lines.count(b": still here\n") == 2


def test_the_number_of_streams_is_bounded_and_one_that_leaves_makes_room(worker):
    with running(worker, most_readers=2) as server:
        with (
            asked(server, "/api/stream/events"),
            asked(server, "/api/stream/metrics"),
            asked(server, "/api/stream/metrics") as refused,
        ):
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        until(lambda: server._app.state.context.n_readers == 0)
        with asked(server, "/api/stream/metrics") as answer:
            assert frames(answer, 1)


def test_figures_are_asked_once_for_all_readers(worker):
    n_asked = []
    metrics = worker.metrics
    worker.metrics = lambda key: n_asked.append(key) or metrics(key)
    with running(worker, interval=0.2) as server, contextlib.ExitStack() as stack:
        begun = time.monotonic()
        answers = [stack.enter_context(asked(server, "/api/stream/metrics")) for _ in range(10)]
        for answer in answers:
            frames(answer, 3)
        n_intervals = (time.monotonic() - begun) / 0.2
        assert len(n_asked) <= 2 * n_intervals + 2  # one by one it would be ten an interval, and 30 at least


def test_a_reader_that_does_not_read_is_cut_off_and_holds_no_queue(worker, monkeypatch):
    monkeypatch.setattr(http_server, "STALL_SECONDS", 0.3)
    worker.figures["default"] = {"padding": "x" * 200_000}
    made = []
    stats = worker.stats
    worker.stats = lambda: made.append(1) or stats()
    with running(worker, interval=0.001) as server:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(b"GET /api/stream/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: made)
        until(lambda: server._app.state.context.n_readers == 0)
        assert len(made) < 100  # nothing is made that cannot be sent
        slow.close()


def test_headers_that_do_not_come_are_not_waited_for(worker, monkeypatch):
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 1.0)
    with running(worker) as server:
        silent = raw(server)
        partial = raw(server, b"GET /ping HTTP/1.1\r\nHost: local")
        second = raw(server, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        content = b""
        while not content.endswith(b'{"status":"ok"}'):
            content += (part := second.recv(65_536))
            assert part
        second.sendall(b"GET /ping HTTP/1.1\r\n")
        for connection in (silent, partial, second):
            assert is_closed(connection)
            connection.close()


@pytest.mark.parametrize("n", [20_000, 200_000])
def test_long_headers_are_refused(worker, n):
    with running(worker) as server:
        connection = raw(server, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * n + b"\r\n\r\n")
        assert connection.recv(65_536)[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")
        connection.close()


HEAD = b"POST /api/learn HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def answer_of(connection):
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content)


def test_a_body_that_does_not_come_is_not_waited_for(worker, monkeypatch):
    monkeypatch.setattr("driftmoe.service.http_guard.DRAINED_SECONDS", 0.1)
    with running(worker, bounds=RequestBounds(seconds=0.2)) as server:
        connection = raw(server, HEAD + b'Content-Length: 100\r\n\r\n{"id')
        status, content = answer_of(connection)
        assert status == 408
        assert content["error"]["message"] == "the body did not come within 0.2 seconds"
        assert server._app.state.context.held.n == 0


def test_an_endless_body_in_chunks_is_refused(worker):
    with running(worker, bounds=RequestBounds(n_bytes=10_000)) as server:
        connection = raw(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):
                connection.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        status, _ = answer_of(connection)
        assert status == 413
    assert worker.taken == []


def test_a_long_body_is_answered_before_the_connection_ends(worker):
    with running(worker, bounds=RequestBounds(n_bytes=10_000)) as server:
        connection = raw(server, HEAD + b"Content-Length: 1000000\r\n\r\n")
        for _ in range(10):  # the answer is known at once; a connection closed now would be an error here
            time.sleep(0.02)
            connection.sendall(b" " * 100_000)
        assert answer_of(connection)[0] == 413


def test_a_sender_that_leaves_does_no_harm(worker):
    with running(worker) as server:
        raw(server, HEAD + b'Content-Length: 100\r\n\r\n{"id').close()
        connection = raw(server, HEAD + b'Content-Length: 18\r\n\r\n{"id":1,"label":1}')
        connection.close()
        until(lambda: len(worker.taken) == 1)
        with asked(server, "/ping") as answer:
            assert answer.status == 200


def test_a_thousand_clients_at_once_against_a_small_queue_lose_nothing():
    worker = FakeWorker(most=20, pause=0.002)
    statuses = {}

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        body = json.dumps({"id": number, "label": 1})
        gate.wait()
        n_tries = 0
        while True:
            n_tries += 1
            connection.request("POST", "/api/learn", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 429:
                statuses[number] = answer.status
                connection.close()
                return n_tries
            assert int(answer.headers["Retry-After"]) >= 1
            time.sleep(0.05)

    gate = threading.Barrier(1_000)
    with running(worker) as server, ThreadPoolExecutor(1_000) as pool:
        n_tries = sum(pool.map(client, range(1_000)))
    worker.stop()
    assert n_tries > 1_000  # some were sent away, and came again
    assert set(statuses.values()) == {200}
    assert sorted(int(event.id) for event in worker.taken) == list(range(1_000))


def test_a_stop_ends_streams_and_finishes_requests(worker):
    worker._pause = 0.3
    with contextlib.ExitStack() as stack:
        with running(worker) as server:
            stream = stack.enter_context(asked(server, "/api/stream/metrics"))
            connection = raw(server, HEAD + b'Content-Length: 18\r\n\r\n{"id":1,"label":1}')
            until(lambda: worker.stats()["queue"]["n"] == 1 or worker.taken)
            begun = time.monotonic()
        assert time.monotonic() - begun < 4
        assert answer_of(connection)[0] == 200
        assert stream.read().startswith(b"retry: ")


def test_a_port_in_use_is_an_oserror(worker):
    with running(worker) as server, pytest.raises(OSError, match="in use"):
        http_server.HttpServer(create_app(worker), port=server.port)


CODE = """
from fake_worker import FakeWorker
from driftmoe.service.http import server_of
server = server_of(FakeWorker(), port=0)
print(server.url, flush=True)
server.run()
print("returned", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_and_returns_to_the_caller(number):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "service")])
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CODE],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        cwd=ROOT,
    )
    url = process.stdout.readline().strip()
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    connection.request("GET", "/api/stream/metrics")
    answer = connection.getresponse()
    answer.readline()
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE)[0] == "returned\n"
    assert process.returncode == 0
    answer.close()
    connection.close()


def test_a_server_for_other_machines_says_that_no_token_is_needed(worker, caplog):
    server_of(worker, "0.0.0.0", 0).close()
    assert "no token is needed" in caplog.text
    caplog.clear()
    server_of(worker, "127.0.0.1", 0).close()
    server_of(worker, "0.0.0.0", 0, read_token="r" * 32, write_token="w" * 32).close()
    assert caplog.text == ""
