"""Events from and to Redis Streams, NATS JetStream and Kafka.

The position in a stream stands in the worker's store, in the same transaction as the model, and not in the broker. So
a broker that forgets it, or a worker that dies, loses and repeats nothing. A broker that has dropped events which were
not read yet raises SourceError.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from driftmoe.service.outbox import SendError, Sink
from driftmoe.service.sources import Message, Source, SourceError

FIELD = b"event"
"""Field of a Redis entry that holds the JSON text of an event."""

SECONDS = 10.0
"""Longest time in which a broker must answer."""


def open_source(url: str, *, follows: bool = True) -> Source:
    """Return the source of an address; see `driftmoe.service.sources.open_source`."""
    place, names = _parted(url)
    if place.startswith("redis"):
        return RedisSource(place, _one(names, url, "stream"), follows=follows)
    if place.startswith("kafka"):
        return KafkaSource(place, _one(names, url, "topic"), follows=follows)
    return NatsSource(place, _one(names, url, "stream"), follows=follows)


def open_sink(url: str) -> Sink:
    """Return the receiver of an address; see `driftmoe.service.outbox.open_sink`."""
    place, names = _parted(url)
    if place.startswith("redis"):
        return RedisSink(place, _one(names, url, "stream"))
    if place.startswith("kafka"):
        return KafkaSink(place, _one(names, url, "topic"))
    return NatsSink(place, _one(names, url, "subject"))


def _parted(url: str) -> tuple[str, list[str]]:
    """Return an address without its path, and the parts of the path."""
    parts = urlsplit(url)
    names = [name for name in parts.path.split("/") if name]
    return urlunsplit((parts.scheme, parts.netloc, "", parts.query, "")), names


def _one(names: list[str], url: str, what: str) -> str:
    if len(names) != 1:
        scheme = urlsplit(url).scheme
        raise ValueError(f"{url!r} must name one {what}, as in {scheme}://localhost/{what}")
    return names[0]


def _needed(package: str, extra: str) -> ImportError:
    return ImportError(f"{package} is not installed; run: pip install 'driftmoe[{extra}]'")


class RedisSource:
    """Entries of a Redis stream. Each has a field `event` with JSON.

    Parameters
    ----------
    url
        Address of the server.
    stream
        Name of the stream.
    follows
        Whether to wait for more at the end.
    """

    def __init__(self, url: str, stream: str, *, follows: bool = True) -> None:
        self._client, self._errors = _redis(url)
        self._stream, self._follows = stream, follows
        self.name = f"{url}/{stream}"
        self._last = "0-0"

    def open(self, position: Any) -> None:
        """Begin after an entry; see `Source`."""
        self._last = "0-0" if position is None else str(position)
        try:
            if not self._client.exists(self._stream):
                if position is not None:
                    raise SourceError(f"{self.name}: the stream is gone, which was read up to {position}")
                return
            about = self._client.xinfo_stream(self._stream)
        except self._errors as error:
            raise SourceError(f"{self.name}: {error}") from None
        dropped = _text(about.get("max-deleted-entry-id", "0-0"))
        if _order(dropped) > _order(self._last):
            raise SourceError(
                f"{self.name}: entries up to {dropped} were deleted, and were read only up to {self._last}; events are "
                "lost: begin a new store, or let the stream keep its entries for longer"
            )

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next entries; see `Source`."""
        try:
            wait = max(1, int(1000 * seconds)) if self._follows else None
            found = self._client.xread({self._stream: self._last}, count=n, block=wait)
            if found:
                self._check_gap()
        except self._errors as error:
            raise SourceError(f"{self.name}: {error}") from None
        entries = [
            entry
            for _, of_stream in (found.items() if isinstance(found, dict) else found)
            for entry in of_stream
        ]
        entries = [one for entry in entries for one in (entry if isinstance(entry, list) else [entry])]
        if not entries:
            return [] if self._follows else None
        messages = [(_text(name), fields.get(FIELD, b"")) for name, fields in entries]
        self._last = messages[-1][0]
        return messages

    def _check_gap(self) -> None:
        self.open(self._last if self._last != "0-0" else None)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class RedisSink:
    """Entries added to a Redis stream: a field `event` with JSON, and a field `id`."""

    def __init__(self, url: str, stream: str) -> None:
        self._client, self._errors = _redis(url)
        self._stream = stream

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Add entries; see `Sink`."""
        try:
            pipeline = self._client.pipeline(transaction=False)
            for name, content in messages:
                pipeline.xadd(self._stream, {"id": name, FIELD: content})
            pipeline.execute()
        except self._errors as error:
            raise SendError(f"redis: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _redis(url: str) -> tuple[Any, Any]:
    try:
        import redis
    except ImportError:
        raise _needed("redis", "redis") from None
    client = redis.Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
    return client, redis.RedisError


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _order(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split("-")))


class KafkaSource:
    """Messages of a Kafka topic, of all its partitions, each with its own order.

    Parameters
    ----------
    url
        `kafka://` and brokers.
    topic
        Name of the topic.
    follows
        Whether to wait for more at the end.
    """

    def __init__(self, url: str, topic: str, *, follows: bool = True) -> None:
        self._kafka = _kafka()
        self._topic, self._follows = topic, follows
        self._brokers, settings = _kafka_settings(url)
        self.name = f"kafka://{self._brokers}/{topic}"
        self._consumer = self._kafka.Consumer(
            settings
            | {
                "group.id": "driftmoe",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
            }
        )
        self._offsets: dict[str, int] = {}
        self._at_end: set[int] = set()

    def open(self, position: Any) -> None:
        """Begin at the offset of each partition; see `Source`."""
        self._offsets = {} if position is None else dict(position)
        self._at_end = set()
        try:
            topic = self._consumer.list_topics(self._topic, timeout=SECONDS).topics[self._topic]
            if topic.error is not None:
                raise SourceError(f"{self.name}: {topic.error.str()}")
            places = []
            for partition in sorted(topic.partitions):
                place = self._kafka.TopicPartition(self._topic, partition)
                low, _ = self._consumer.get_watermark_offsets(place, timeout=SECONDS)
                next_one = self._offsets.get(str(partition))
                if next_one is not None and low > next_one:
                    raise SourceError(
                        f"{self.name}: partition {partition} begins at offset {low}, and was read only up to "
                        f"{next_one}; events are lost: begin a new store, or let the topic keep its messages for longer"
                    )
                place.offset = low if next_one is None else next_one
                places.append(place)
            self._consumer.assign(places)
            self._n_partitions = len(places)
        except self._kafka.KafkaException as error:
            raise SourceError(f"{self.name}: {error}") from None

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next messages; see `Source`."""
        messages: list[Message] = []
        try:
            found = self._consumer.consume(n, timeout=seconds)
        except self._kafka.KafkaException as error:
            raise SourceError(f"{self.name}: {error}") from None
        for one in found:
            error = one.error()
            if error is not None:
                if error.code() == self._kafka.KafkaError._PARTITION_EOF:
                    self._at_end.add(one.partition())
                    continue
                if error.retriable() or error.code() == self._kafka.KafkaError._ALL_BROKERS_DOWN:
                    continue
                raise SourceError(f"{self.name}: {error.str()}")
            self._at_end.discard(one.partition())
            self._offsets = self._offsets | {str(one.partition()): one.offset() + 1}
            messages.append((self._offsets, one.value() or b""))
        if not messages and not self._follows and len(self._at_end) == self._n_partitions:
            return None
        return messages

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


class KafkaSink:
    """Messages to a Kafka topic; their key is the id."""

    def __init__(self, url: str, topic: str) -> None:
        self._kafka, self._topic = _kafka(), topic
        _, settings = _kafka_settings(url)
        self._producer = self._kafka.Producer(settings | {"enable.idempotence": True})

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Send messages; see `Sink`."""
        failed: list[str] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(str(error))

        try:
            for name, content in messages:
                self._producer.produce(self._topic, key=name, value=content, on_delivery=delivered)
            left = self._producer.flush(SECONDS)
        except (self._kafka.KafkaException, BufferError) as error:
            raise SendError(f"kafka: {error}") from None
        if left or failed:
            self._producer.purge()
            raise SendError(
                f"kafka: {failed[0] if failed else f'{left} messages were not delivered in time'}"
            )

    def close(self) -> None:
        """Nothing is left to send."""


def _kafka() -> Any:
    try:
        import confluent_kafka
    except ImportError:
        raise _needed("confluent-kafka", "kafka") from None
    return confluent_kafka


def _kafka_settings(url: str) -> tuple[str, dict[str, Any]]:
    """Return the brokers of an address, and the settings of librdkafka in it: `kafka://broker:9092/topic?name=value`."""
    parts = urlsplit(url)
    settings = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return parts.netloc, {"bootstrap.servers": parts.netloc, **settings}


class NatsSource:
    """Messages of a NATS JetStream stream, numbered without gaps.

    Parameters
    ----------
    url
        Address of the server.
    stream
        Name of the stream.
    follows
        Whether to wait for more at the end.
    """

    def __init__(self, url: str, stream: str, *, follows: bool = True) -> None:
        self._nats = _Nats(url)
        self._stream, self._follows = stream, follows
        self.name = f"{url}/{stream}"
        self._last = 0
        self._subscription: Any = None

    def open(self, position: Any) -> None:
        """Begin after a number; see `Source`."""
        self._last = int(position or 0)
        self._nats.run(self._subscribe())

    async def _subscribe(self) -> None:
        context = await self._nats.context()
        errors = self._nats.errors
        try:
            about = (await context.stream_info(self._stream)).state
            if position_is_gone := (about.first_seq > self._last + 1 and about.last_seq > self._last):
                first = about.first_seq
        except errors as error:
            raise SourceError(f"{self.name}: {error}") from None
        if position_is_gone and self._last:
            raise SourceError(
                f"{self.name}: the stream begins at {first}, and was read only up to {self._last}; events are lost: "
                "begin a new store, or let the stream keep its messages for longer"
            )
        if about.last_seq < self._last:
            raise SourceError(
                f"{self.name}: the stream ends at {about.last_seq}, and was read up to {self._last}; it is not the "
                "same stream: begin a new store"
            )
        if position_is_gone:
            self._last = first - 1
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        start = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._last + 1, ack_policy=AckPolicy.NONE,
            inactive_threshold=300.0,
        )  # fmt: skip
        try:
            self._subscription = await context.pull_subscribe(">", stream=self._stream, config=start)
        except errors as error:
            raise SourceError(f"{self.name}: {error}") from None

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next messages; see `Source`."""
        found = self._nats.run(self._fetch(n, seconds))
        messages: list[Message] = []
        for one in found:
            number = one.metadata.sequence.stream
            if number != self._last + 1:
                raise SourceError(
                    f"{self.name}: message {self._last + 1} is missing, {number} came; events are lost: begin a new "
                    "store, or let the stream keep its messages for longer"
                )
            self._last = number
            messages.append((number, one.data))
        if not messages and not self._follows:
            return None
        return messages

    async def _fetch(self, n: int, seconds: float) -> list[Any]:
        try:
            found: list[Any] = await self._subscription.fetch(n, timeout=max(seconds, 0.1))
        except TimeoutError:
            return []
        except self._nats.errors as error:
            raise SourceError(f"{self.name}: {error}") from None
        return found

    def close(self) -> None:
        """Close the connection."""
        self._nats.close()


class NatsSink:
    """Messages to a NATS subject that a JetStream stream keeps. The server leaves out an id that it has seen."""

    def __init__(self, url: str, subject: str) -> None:
        self._nats, self._subject = _Nats(url), subject

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Publish messages; see `Sink`."""
        self._nats.run(self._publish(messages))

    async def _publish(self, messages: Sequence[tuple[str, str]]) -> None:
        try:
            context = await self._nats.context()
            for name, content in messages:
                await context.publish(self._subject, content.encode(), headers={"Nats-Msg-Id": name})
        except (SourceError, *self._nats.errors) as error:
            raise SendError(f"nats: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._nats.close()


class _Nats:
    """A connection in an event loop of its own thread."""

    def __init__(self, url: str) -> None:
        try:
            import nats
        except ImportError:
            raise _needed("nats-py", "nats") from None
        self._module, self._url = nats, url
        self.errors = (nats.errors.Error, OSError, TimeoutError)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="driftmoe-nats", daemon=True)
        self._thread.start()
        self._client: Any = None

    async def context(self) -> Any:
        """Return the JetStream of the server, which is connected to if need be."""
        if self._client is None or self._client.is_closed:
            try:
                self._client = await self._module.connect(
                    self._url, connect_timeout=SECONDS, allow_reconnect=True, max_reconnect_attempts=-1
                )
            except self.errors as error:
                raise SourceError(f"{self._url}: {error}") from None
        return self._client.jetstream(timeout=SECONDS)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return the result of work in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Close the connection and end the thread."""
        if self._client is not None and not self._client.is_closed:
            self.run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=SECONDS)
        self._loop.close()
