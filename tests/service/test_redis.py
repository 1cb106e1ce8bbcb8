"""Redis Streams, on a server that the tests start: nothing is lost, nothing comes twice, and gaps are told."""

from __future__ import annotations

import shutil

import pytest
from brokers import BrokerTests
from reading import TEXTS, Server, come_to, free_port, reading

from driftmoe.service import Store
from driftmoe.service.outbox import SendError, open_sink
from driftmoe.service.protocols import SourceError, Unreachable
from driftmoe.service.sources import open_source

redis = pytest.importorskip("redis", reason="the package redis is not installed")

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


class Redis(Server):
    """A server that keeps what it has confirmed, as `appendfsync always` does."""

    def __init__(self, folder):
        self.port = free_port()
        self.client = redis.Redis(port=self.port)
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        super().__init__(
            [*command, "--appendonly", "yes", "--appendfsync", "always", "--save", ""], folder, self._answers
        )

    def _answers(self):
        try:
            return self.client.ping()
        except redis.RedisError:
            return False

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/events"

    def add(self, texts, **options):
        return [self.client.xadd("events", {"event": text}, **options) for text in texts]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.client.close()
    server.stop()


@pytest.fixture
def server(running):
    running.client.flushall()
    return running


def read_first(n, server, folder):
    """Let a worker read the first events of the stream."""
    names = server.add(TEXTS[:n])
    with reading(folder, server.url) as run:
        run.until(n)
    return names


class TestRedis(BrokerTests):
    """What holds for each broker."""


def test_a_worker_reads_on_when_its_connection_was_reset(tmp_path, server, expected):
    with reading(tmp_path / "store", server.url) as run:
        for start in range(0, len(TEXTS), 20):
            server.add(TEXTS[start : start + 20])
            server.client.client_kill_filter(_type="normal", skipme=True)
        run.until(len(TEXTS))
    assert come_to(tmp_path / "store") == expected


@pytest.mark.parametrize(
    ("error", "is_waited_for"),
    [
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), True),
        (redis.exceptions.ResponseError("LOADING Redis is loading the dataset in memory"), True),
        (redis.exceptions.MasterDownError("Link with MASTER is down"), True),
        (redis.exceptions.TimeoutError("Timeout reading from socket"), True),
        (redis.exceptions.ConnectionError("Connection reset by peer"), True),
        (redis.exceptions.AuthenticationError("invalid password"), False),
        (redis.exceptions.NoPermissionError("this user has no permissions"), False),
        (redis.exceptions.ResponseError("WRONGTYPE Operation against a key"), False),
    ],
    ids=repr,
)
def test_only_what_may_pass_is_waited_for(server, monkeypatch, error, is_waited_for):
    def fails(*_, **__):
        raise error

    source = open_source(server.url)
    monkeypatch.setattr(redis.client.Pipeline, "execute", fails)
    with pytest.raises(SourceError, match=str(error)) as told:
        source.open(None)
    assert isinstance(told.value, Unreachable) == is_waited_for
    source.close()


def test_entries_without_the_field_and_bytes_that_are_no_text_are_put_aside(tmp_path, server):
    server.add([TEXTS[0], b"\xff\x00"])
    server.client.xadd("events", {"other": "1"})
    server.add([b"", TEXTS[1]])
    with reading(tmp_path / "store", server.url) as run:
        run.until(5)
    assert come_to(tmp_path / "store")["counts"] == {"events": 5, "predicted": 2, "refused": 3}


def test_trimming_what_has_been_read_is_no_gap(tmp_path, server, expected):
    read_first(60, server, tmp_path / "store")
    server.client.xtrim("events", maxlen=0, approximate=False)
    with reading(tmp_path / "store", server.url) as run:
        server.add(TEXTS[60:])
        run.until(len(TEXTS))
        server.client.xtrim("events", maxlen=0, approximate=False)
    server.add(TEXTS[:1])
    with reading(tmp_path / "store", server.url) as run:
        run.until(len(TEXTS) + 1)


def trimmed_by_add(server, names):
    server.add(TEXTS[20:30], maxlen=9, approximate=False)


def trimmed(server, names):
    server.add(TEXTS[20:30])
    server.client.xtrim("events", maxlen=9, approximate=False)


def emptied(server, names):
    server.add(TEXTS[20:30])
    server.client.xtrim("events", maxlen=0, approximate=False)


def one_deleted(server, names):
    server.client.xdel("events", server.add(TEXTS[20:30])[5])


def last_deleted(server, names):
    server.client.xdel("events", server.add(TEXTS[20:21])[0])


def removed(server, names):
    server.client.delete("events")


def delete_and_wait(server, names):
    """Delete the stream, and wait until the ids of new entries are higher than those of the old ones."""
    server.client.delete("events")
    last = int(names[-1].split(b"-")[0])
    while True:
        seconds, microseconds = server.client.time()
        if 1000 * seconds + microseconds // 1000 > last:
            return


def made_anew(server, names):
    delete_and_wait(server, names)
    server.add(TEXTS[20:30])


def made_anew_and_longer(server, names):
    delete_and_wait(server, names)
    server.add(TEXTS[:50])


def made_anew_with_lower_ids(server, names):
    server.client.delete("events")
    for i in range(1, 40):
        server.client.xadd("events", {"event": TEXTS[i]}, id=f"{i}-0")


def end_lost(server, names):
    server.client.delete("events")
    for name, text in zip(names[:15], TEXTS, strict=False):
        server.client.xadd("events", {"event": text}, id=name)


def end_lost_and_gone_on(server, names):
    end_lost(server, names)
    server.add(TEXTS[20:30])


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "down"])
@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (trimmed_by_add, "1 entries after .* were deleted unread; events are lost: begin a new store"),
        (trimmed, "1 entries after .* were deleted unread; events are lost: begin a new store"),
        (emptied, "10 entries after .* were deleted unread; events are lost"),
        (one_deleted, "entry .* was deleted, and entries were read only up to"),
        (last_deleted, "entry .* was deleted, and entries were read only up to"),
        (removed, "the stream is gone"),
        (made_anew, "it is not the same stream"),
        (made_anew_and_longer, "it is not the same stream"),
        (made_anew_with_lower_ids, "it is not the same stream"),
        (end_lost, "it is not the same stream"),
        (end_lost_and_gone_on, "it is not the same stream"),
    ],
)
def test_lost_entries_are_told(server, happens, message, is_open):
    source = open_source(server.url)
    source.open(None)
    names = server.add(TEXTS[:20])
    messages = source.read(50, 0.1)
    assert [text for _, text in messages] == TEXTS[:20]
    happens(server, names)
    with pytest.raises(SourceError, match=message) as told:
        source.read(50, 0.1) if is_open else source.open(messages[-1][0])
    assert not isinstance(told.value, Unreachable)
    source.close()


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "down"])
def test_a_stream_made_anew_in_the_same_millisecond_is_told(server, is_open):
    """The new stream has an entry of the same id as the last one that was read."""
    source = open_source(server.url)
    source.open(None)
    names = server.add(TEXTS[:20])
    messages = source.read(50, 0.1)
    server.client.delete("events")
    server.client.xadd("events", {"event": TEXTS[0]}, id=names[-1])
    server.add(TEXTS[1:50])
    if not is_open:
        source.open(messages[-1][0])
    with pytest.raises(SourceError, match=r"it has 49 entries after .*, and 30 were added"):
        source.read(50, 0.1)
    source.close()


def test_lost_entries_end_the_reading_with_their_message(tmp_path, server):
    read_first(20, server, tmp_path / "store")
    with reading(tmp_path / "store", server.url) as run:
        pipeline = server.client.pipeline(transaction=True)  # as of one moment: none can be read in between
        for text in TEXTS[20:30]:
            pipeline.xadd("events", {"event": text}, maxlen=9, approximate=False)
        pipeline.execute()
        with pytest.raises(SourceError, match=r"1 entries after .* events are lost"):
            run.to_the_end()
        assert run.n == 20


def test_a_stream_that_lost_its_beginning_before_it_was_read_is_read_and_told(tmp_path, server, caplog):
    names = server.add(TEXTS[:30])
    server.client.xtrim("events", maxlen=20, approximate=False)
    server.client.xdel("events", names[15])
    with reading(tmp_path / "store", server.url) as run:
        run.until(19)
    assert "11 entries were deleted before the first was read" in caplog.text
    server.add(TEXTS[30:40])
    with reading(tmp_path / "store", server.url) as run:
        run.until(29)
    server.add(TEXTS[40:50])
    server.client.xtrim("events", maxlen=9, approximate=False)
    with pytest.raises(SourceError, match="1 entries after"), reading(tmp_path / "store", server.url):
        pass


def test_a_key_that_is_no_stream_is_told_at_once(tmp_path, server):
    server.client.set("events", "text")
    with pytest.raises(SourceError, match="WRONGTYPE") as told:
        open_source(server.url).open(None)
    assert not isinstance(told.value, Unreachable)


def test_passwords_stay_out_of_names_and_messages(tmp_path, server):
    address = f"redis://reader:hush-hush@127.0.0.1:{server.port}/events"
    server.client.acl_setuser(
        "reader", enabled=True, passwords=["+hush-hush"], categories=["+@all"], keys=["*"]
    )
    server.add(TEXTS[:5])
    with reading(tmp_path / "store", address) as run:
        run.until(5)
        assert "hush" not in str(run.worker.stats())
    store = Store(tmp_path / "store")
    assert list(store.positions()) == [f"redis://127.0.0.1:{server.port}/events"]
    store.close()
    server.client.acl_deluser("reader")
    with pytest.raises(SourceError) as told, reading(tmp_path / "store", address):
        pass
    assert "hush" not in str(told.value)
    assert not isinstance(told.value, Unreachable)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("redis://me:hush@host", "must name a server and one stream"),
        ("redis://me:hush@host/a/b", "must name a server and one stream"),
        ("redis:///events", "must name a server and one stream"),
        ("redis://me:hush@host/events?colour=red", "colour"),
        ("redis://me:hush@host/events?protocol=3", "the setting protocol decides how answers are read"),
    ],
)
def test_addresses_are_checked(address, message):
    for opened in (open_source, open_sink):
        with pytest.raises(ValueError, match=message) as told:
            opened(address)
        assert "hush" not in str(told.value)


def test_a_database_has_streams_of_its_own(server):
    source = open_source(f"{server.url}?db=3")
    assert source.name == f"redis://127.0.0.1:{server.port}/3/events"
    server.add(TEXTS[:1])
    source.open(None)
    assert source.read(5, 0.01) == []
    source.close()


def test_a_receiver_has_all_messages_in_order_even_if_it_has_been_away(tmp_path, server):
    sink = open_sink(server.url)
    sink.send([("a", "1"), ("b", "2")])
    server.stop()
    with pytest.raises(SendError, match="refused"):
        sink.send([("c", "3")])
    server.start()
    sink.send([("c", "3")])
    sink.close()
    entries = server.client.xrange("events")
    assert [(fields[b"id"], fields[b"event"]) for _, fields in entries] == [
        (b"a", b"1"),
        (b"b", b"2"),
        (b"c", b"3"),
    ]
