"""Kafka topics, on librdkafka's mock broker: it speaks the protocol, and keeps nothing when its process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from reading import (
    PATIENCE,
    TEXTS,
    Reading,
    come_to,
    events,
    handed_over,
    killed_and_started_again,
    reading,
    wait_for,
)

from driftmoe.service import Store, kafka_topics
from driftmoe.service.outbox import SendError, open_sink
from driftmoe.service.protocols import SourceError, Unreachable
from driftmoe.service.sources import open_source

kafka = pytest.importorskip("confluent_kafka", reason="the package confluent-kafka is not installed")

MOCK = """
import sys, confluent_kafka
producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
(broker,) = producer.list_topics(timeout=60).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


class Mock:
    """A mock broker in a process of its own, which can be halted."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self._process.stdout.readline().strip()
        self.producer = kafka.Producer({"bootstrap.servers": self.address, "log_level": 0})

    def add(self, texts, topic, partition=0):
        for text in texts:
            self.producer.produce(topic, value=text, partition=partition)
        assert self.producer.flush(PATIENCE) == 0

    def halt(self):
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # until then it may still answer

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def end(self):
        self.producer.purge()
        self._process.communicate("")


@pytest.fixture(scope="module")
def broker():
    mock = Mock()
    yield mock
    mock.end()


@pytest.fixture(scope="module", autouse=True)
def patient():
    """Let a broker answer late: this machine may be busy. Tests in which it does not answer wait for less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_topics, "SECONDS", PATIENCE)
        yield


@pytest.fixture
def topic(request):
    """A topic of the test's own: the mock broker can delete none."""
    return request.node.name.replace("[", ".").replace("]", "")[-100:]


@pytest.fixture
def url(broker, topic):
    return f"kafka://{broker.address}/{topic}"


def test_a_worker_that_reads_a_topic_comes_to_what_one_comes_to_that_is_handed_its_events(
    tmp_path, broker, topic, url, expected
):
    broker.add(TEXTS, topic)
    with Reading(tmp_path / "store", open_source(url, follows=False)) as run:
        run.to_the_end()
    assert come_to(tmp_path / "store") == expected


def test_messages_are_read_as_they_come_and_after_each_start(tmp_path, broker, topic, url, expected):
    for start in range(0, len(TEXTS), 70):
        broker.add(TEXTS[start : start + 35], topic)
        with reading(tmp_path / "store", url) as run:
            broker.add(TEXTS[start + 35 : start + 70], topic)
            run.until(min(start + 70, len(TEXTS)))
    assert come_to(tmp_path / "store") == expected


def test_each_partition_is_read_in_its_order(tmp_path, broker, topic, url):
    """Between partitions there is no order, so that events of one model belong in one."""
    of_key = {key: events(40, seed=i, key=key) for i, key in enumerate("abc")}
    for partition, texts in enumerate(of_key.values()):
        broker.add(texts[:50], topic, partition)
    with reading(tmp_path / "store", url) as run:
        run.until(150)
    for partition, texts in enumerate(of_key.values()):
        broker.add(texts[50:], topic, partition)
    with reading(tmp_path / "store", url) as run:
        run.until(240)
    by_hand = handed_over(tmp_path / "by hand", [text for texts in of_key.values() for text in texts])
    assert come_to(tmp_path / "store")["digests"] == by_hand["digests"]


def test_a_partition_that_is_new_is_read_from_its_start(tmp_path, broker, topic, url, monkeypatch):
    monkeypatch.setattr(kafka_topics, "LOOK_EVERY", 0.5)
    broker.add(TEXTS[:50], topic)
    source = open_source(url)
    list_topics = kafka.Consumer.list_topics
    hidden = [1, 2, 3]

    class OfOne:
        """Shows fewer partitions than there are: the mock broker can make no new ones."""

        def __init__(self, settings):
            self._consumer = kafka.Consumer(settings)

        def __getattr__(self, name):
            return getattr(self._consumer, name)

        def list_topics(self, *arguments, **options):
            found = list_topics(self._consumer, *arguments, **options)
            for partition in hidden:
                del found.topics[topic].partitions[partition]
            return found

    monkeypatch.setattr(source, "_kafka", type("", (), {**vars(kafka), "Consumer": OfOne}))
    with Reading(tmp_path / "store", source) as run:
        run.until(50)
        broker.add(events(20, seed=2, key="b"), topic, 1)
        hidden.clear()
        run.until(90)
    assert [name for name, _ in come_to(tmp_path / "store")["digests"]] == ["b", "default"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that kills")
def test_a_process_that_is_killed_loses_and_repeats_no_message(tmp_path, broker, topic, url, expected):
    broker.add(TEXTS, topic)
    killed_and_started_again(tmp_path / "store", url, len(TEXTS))
    assert come_to(tmp_path / "store") == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that halts")
def test_a_worker_waits_for_a_broker_that_does_not_answer(
    tmp_path, broker, topic, url, expected, monkeypatch
):
    monkeypatch.setattr(kafka_topics, "SECONDS", 0.3)
    broker.add(TEXTS[:60], topic)
    broker.halt()
    try:
        source = open_source(url)
        with pytest.raises(Unreachable):
            source.open(None)
        with Reading(tmp_path / "store", source) as run:
            monkeypatch.undo()
            broker.go_on()
            run.until(60)
            broker.halt()
            broker.go_on()
            broker.add(TEXTS[60:], topic)
            run.until(len(TEXTS))
    finally:
        broker.go_on()
    assert come_to(tmp_path / "store") == expected


def test_a_broker_that_has_gone_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(kafka_topics, "SECONDS", 2.0)
    mock = Mock()
    mock.add(TEXTS[:10], "events")
    with reading(tmp_path / "store", f"kafka://{mock.address}/events") as run:
        run.until(10)
        mock.end()
        wait_for(lambda: run.pump._is_away)
        assert not run.over.is_set()


def test_messages_that_are_no_events_are_put_aside(tmp_path, broker, topic, url):
    broker.add([TEXTS[0], b"", b"\xff\x00"], topic)
    broker.producer.produce(topic, value=None, key="gone", partition=0)
    broker.add([TEXTS[1]], topic)
    with reading(tmp_path / "store", url) as run:
        run.until(5)
    assert come_to(tmp_path / "store")["counts"] == {"events": 5, "predicted": 2, "refused": 3}


def test_a_topic_that_ends_before_the_position_is_another_one(broker, topic, url):
    broker.add(TEXTS[:10], topic)
    source = open_source(url)
    with pytest.raises(SourceError, match="partition 0 ends at offset 10, and was read up to 11") as told:
        source.open({"0": 11})
    assert not isinstance(told.value, Unreachable)
    with pytest.raises(SourceError, match="partition 9, which was read, is gone"):
        source.open({"9": 1})
    source.close()


def test_a_topic_that_begins_after_the_position_has_lost_events(broker, topic, url, monkeypatch, caplog):
    broker.add(TEXTS[:10], topic)
    source = open_source(url)

    class Cut(kafka.Consumer):
        """Says what a broker says that has dropped the first messages, which the mock broker cannot."""

        def get_watermark_offsets(self, place, **options):
            low, high = super().get_watermark_offsets(place, **options)
            return (min(low + 5, high), high)

    monkeypatch.setattr(source, "_kafka", type("", (), {**vars(kafka), "Consumer": Cut}))
    with pytest.raises(SourceError, match="begins at offset 5, and was read only up to 3; events are lost"):
        source.open({"0": 3})
    source.open({"0": 5})
    source.open(None)
    assert "partition 0 begins at offset 5" in caplog.text
    messages = []
    while len(messages) < 5:
        messages += source.read(9, 5.0)
    assert [text for _, text in messages] == TEXTS[5:10]
    source.close()


def test_a_topic_that_there_is_not_is_told_at_once(broker):
    source = open_source(f"kafka://{broker.address}/others")
    with pytest.raises(SourceError, match=r"others: .*[Uu]nknown topic") as told:
        source.open(None)
    assert not isinstance(told.value, Unreachable)
    source.close()


def test_passwords_stay_out_of_names_and_messages(tmp_path, broker, topic):
    broker.add(TEXTS[:5], topic)
    with reading(tmp_path / "store", f"kafka://{broker.address}/{topic}?ssl.key.password=hush") as run:
        run.until(5)
    store = Store(tmp_path / "store")
    assert list(store.positions()) == [f"kafka://{broker.address}/{topic}"]
    store.close()
    for address, message in [
        ("kafka://me:hush@host/events", "give user and password as settings"),
        ("kafka://me:hush@host", "must name a server and one topic"),
        ("kafka://host/events?colour=hush", "colour"),
    ]:
        with pytest.raises(ValueError, match=message) as told:
            open_source(address)
        assert "hush" not in str(told.value)


def test_a_receiver_has_all_messages_in_order(broker, topic, url):
    broker.add([b"0"], topic)
    sink = open_sink(url)
    sink.send([("a", "1"), ("a", "2")])
    sink.send([("a", "3")])
    sink.close()
    source = open_source(url, follows=False)
    source.open(None)
    found = []
    while (messages := source.read(10, 1.0)) is not None:
        found += [text for _, text in messages]
    source.close()
    found.remove(b"0")  # may be in another partition
    assert found == [b"1", b"2", b"3"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that halts")
def test_a_receiver_that_does_not_answer_is_told_and_has_the_messages_later(broker, topic, url, monkeypatch):
    monkeypatch.setattr(kafka_topics, "SECONDS", 1.0)
    broker.add([b"0"], topic)
    sink = open_sink(url)
    broker.halt()
    try:
        with pytest.raises(SendError, match="kafka://"):
            sink.send([("a", "1")])
    finally:
        broker.go_on()
    monkeypatch.undo()
    sink.send([("a", "1")])
    sink.close()
