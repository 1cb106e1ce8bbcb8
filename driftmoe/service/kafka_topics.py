"""Events from and to Kafka topics.

Offsets of a partition have natural holes, where the topic is compacted and at the ends of transactions. So a lost event
shows only when the partition begins after the position, or ends before it. A topic that was deleted and made anew shows
while it is shorter than what was read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from driftmoe.service.addresses import needed, without_secrets
from driftmoe.service.protocols import Message, SendError, SourceError, Unreachable

log = logging.getLogger(__name__)

SECONDS = 10.0
"""Longest time in which a broker must answer."""

LOOK_EVERY = 60.0
"""Seconds after which new partitions are looked for."""

QUIET = {"log_level": 2}
"""librdkafka writes less to standard error; the errors are told all the same."""


class KafkaSource:
    """Messages of a Kafka topic, of all its partitions, each with its own order.

    A position has the next offset of each partition. Events whose order matters belong in one partition.

    Parameters
    ----------
    url
        `kafka://` and brokers; what follows `?` are settings of librdkafka.
    topic
        Name of the topic.
    follows
        Whether to wait for more at the end.
    """

    def __init__(self, url: str, topic: str, *, follows: bool = True) -> None:
        self._kafka = _kafka()
        self._topic, self._follows = topic, follows
        self.name = f"{without_secrets(url)}/{topic}"
        self._settings = QUIET | _settings(url) | {
            "group.id": "driftmoe",  # is asked for, and not used: partitions are assigned, and nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "error_cb": self._note,
        }  # fmt: skip
        self._failed: Any = None
        self._consumer: Any = None
        self._make()
        self._offsets: dict[str, int] = {}
        self._assigned: set[int] = set()
        self._at_end: set[int] = set()
        self._looked = 0.0

    def open(self, position: Any) -> None:
        """Begin at the offset of each partition; see `Source`."""
        self.close()
        self._offsets = {} if position is None else dict(position)
        self._assigned, self._at_end = set(), set()
        self._make()
        self._failed = None
        self._assign_new()

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next messages; see `Source`."""
        if self._failed is not None:
            raise self._told(self._failed)
        if time.monotonic() - self._looked > LOOK_EVERY:
            self._assign_new()
        try:
            found = self._consumer.consume(n, timeout=seconds)
        except self._kafka.KafkaException as error:
            raise self._told(error.args[0]) from None
        messages: list[Message] = []
        for one in found:
            if one.error() is not None:
                if one.error().code() == self._kafka.KafkaError._PARTITION_EOF:
                    self._at_end.add(one.partition())
                else:  # is told when the messages around it have been handed over
                    self._failed = one.error()
                continue
            self._at_end.discard(one.partition())
            self._offsets = self._offsets | {str(one.partition()): one.offset() + 1}
            messages.append((self._offsets, one.value() or b""))
        if not messages and not self._follows and self._at_end >= self._assigned:
            return None
        return messages

    def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _note(self, error: Any) -> None:
        """Take an error that concerns no partition. librdkafka gets over most of them by itself."""
        lasting = (self._kafka.KafkaError._ALL_BROKERS_DOWN, self._kafka.KafkaError._AUTHENTICATION)
        if error.code() in lasting or error.fatal():
            self._failed = error
        else:
            log.debug("%s: %s", self.name, error.str())

    def _make(self) -> None:
        try:
            self._consumer = self._kafka.Consumer(self._settings)
        except self._kafka.KafkaException as error:
            raise ValueError(f"{self.name}: {error.args[0].str()}") from None

    def _assign_new(self) -> None:
        """Read the partitions too that are not read yet."""
        self._looked = time.monotonic()
        try:
            topic = self._consumer.list_topics(self._topic, timeout=SECONDS).topics[self._topic]
            if topic.error is not None:
                raise self._told(topic.error)
            if missing := {*map(int, self._offsets)} - set(topic.partitions):
                raise SourceError(
                    f"{self.name}: partition {min(missing)}, which was read, is gone; it is not the same topic: "
                    "begin a new store"
                )
            new = sorted(set(topic.partitions) - self._assigned)
            if new:
                self._consumer.incremental_assign([self._place(partition) for partition in new])
        except self._kafka.KafkaException as error:
            raise self._told(error.args[0]) from None
        self._assigned |= set(new)

    def _place(self, partition: int) -> Any:
        """Return where to begin in a partition."""
        place = self._kafka.TopicPartition(self._topic, partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=SECONDS)
        next_one = self._offsets.get(str(partition))
        if next_one is None:
            if low > 0:
                log.warning("%s: partition %d begins at offset %d", self.name, partition, low)
            next_one = low
        elif low > next_one:
            raise SourceError(
                f"{self.name}: partition {partition} begins at offset {low}, and was read only up to {next_one}; "
                "events are lost: begin a new store, or let the topic keep its messages for longer"
            )
        elif high < next_one:
            raise SourceError(
                f"{self.name}: partition {partition} ends at offset {high}, and was read up to {next_one}; it is not "
                "the same topic: begin a new store"
            )
        place.offset = next_one
        return place

    def _told(self, error: Any) -> SourceError:
        """Return what an error of librdkafka means. Where trying again may help, opening anew looks for lost events."""
        lasting = (
            "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED",
            "TOPIC_EXCEPTION", "UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "_INVALID_ARG",
            "UNSUPPORTED_VERSION", "_AUTHENTICATION",
        )  # fmt: skip
        is_lasting = error.code() in {getattr(self._kafka.KafkaError, name) for name in lasting}
        return (SourceError if is_lasting else Unreachable)(f"{self.name}: {error.str()}")


class KafkaSink:
    """Messages to a Kafka topic; their key is the id."""

    def __init__(self, url: str, topic: str) -> None:
        self._kafka, self._topic = _kafka(), topic
        self._name = f"{without_secrets(url)}/{topic}"
        self._settings = _settings(url) | {"enable.idempotence": True}
        self._producer: Any = None

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Send messages; see `Sink`."""
        failed: list[str] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(error.str())

        try:
            if self._producer is None:
                # less than the wait below, so that each failure is told
                wait = {"message.timeout.ms": int(800 * SECONDS)}
                self._producer = self._kafka.Producer(QUIET | wait | self._settings)
            for name, content in messages:
                self._producer.produce(self._topic, key=name, value=content, on_delivery=delivered)
            left = self._producer.flush(SECONDS)
        except (self._kafka.KafkaException, BufferError) as error:
            left, failed = 0, [str(error)]
        if left or failed:
            self.close()  # what it still holds must not come after what is sent again
            reason = failed[0] if failed else f"{left} messages were not taken in time"
            raise SendError(f"{self._name}: {reason}")

    def close(self) -> None:
        """Drop what was not delivered."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0.1)
            self._producer = None


def _kafka() -> Any:
    try:
        import confluent_kafka
    except ImportError:
        raise needed("confluent-kafka", "kafka") from None
    return confluent_kafka


def _settings(url: str) -> dict[str, Any]:
    """Return the settings of librdkafka in an address: `kafka://broker:9092?name=value`."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            f"{without_secrets(url)}: give user and password as settings: "
            "?security.protocol=SASL_SSL&sasl.mechanism=PLAIN&sasl.username=...&sasl.password=..."
        )
    return {name: values[-1] for name, values in parse_qs(parts.query).items()} | {
        "bootstrap.servers": parts.netloc
    }
