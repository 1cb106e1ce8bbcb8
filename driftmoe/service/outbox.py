"""What the worker sends: predictions and alarms, kept in the store until the receiver has them.

A message may be sent twice, when the worker dies after sending and before noting it. It has the same id then, so that
the receiver can leave it out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from driftmoe.service.addresses import BROKERS, parted, path_of, scheme_of, without_secrets
from driftmoe.service.failures import QueueFull, Stopped, StoreError
from driftmoe.service.protocols import SendError, Sink
from driftmoe.service.worker import Worker

__all__ = ["FileSink", "SendError", "Sender", "Sink", "open_sink"]

log = logging.getLogger(__name__)

N_AT_ONCE = 1_000
"""Messages that are sent together."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds between two attempts to send. They double from the first to the last."""

LOOK_EVERY = 0.1
"""Seconds after which an empty outbox is looked into again."""

STOPPING_SECONDS = 10.0
"""Longest time in which the last messages are sent at the end."""


class FileSink:
    """Lines added to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Add the messages, one a line; see `Sink`."""
        lines = [f"{content}\n".encode() for _, content in messages]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as file:
                half = _half_line(file)
                start = file.seek(0, os.SEEK_END)
                if half and any(
                    line.startswith(half) for line in lines
                ):  # of an earlier attempt that was killed
                    start -= len(half)
                    file.truncate(start)
                elif half:
                    lines.insert(0, b"\n")
                try:
                    file.write(b"".join(lines))
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:  # a full disk: no half a line stays
                    os.ftruncate(file.fileno(), start)
                    raise
        except OSError as error:
            raise SendError(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Nothing is open between two calls."""


def _half_line(file: BinaryIO) -> bytes:
    """Return what stands after the last line end of a file."""
    end = file.seek(0, os.SEEK_END)
    half = b""
    while b"\n" not in half and len(half) < end:
        start = max(0, end - 2 * len(half) - 256)
        file.seek(start)
        half = file.read(end - start)
    return half.rpartition(b"\n")[2]


class Sender:
    """A thread that sends what is in the outbox of a worker's store.

    Parameters
    ----------
    sink
        Receiver.
    worker
        The worker.
    """

    def __init__(self, sink: Sink, worker: Worker) -> None:
        self._sink, self._worker = sink, worker
        self._stopping = threading.Event()
        self._sent = self._taken_out = (
            0  # numbers of the last messages that the receiver has, and that are not kept
        )
        self._thread = threading.Thread(target=self._run, name="driftmoe-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is there, if the receiver takes it, and end. Call it before the worker stops."""
        self._stopping.set()
        if self._thread.ident is None:
            self._sink.close()
        else:
            self._thread.join(
                timeout=STOPPING_SECONDS
            )  # what is not sent by then is sent after the next start

    def _run(self) -> None:
        pause, told = SHORTEST_PAUSE, ""
        try:
            while True:
                is_stopping = self._stopping.is_set()  # asked for before the last look into the outbox
                try:
                    is_over = not self._send_some() and is_stopping
                    if told:
                        log.warning("messages are sent again")
                    pause, told = SHORTEST_PAUSE, ""
                except SendError as error:
                    if str(error) != told:
                        log.warning("%s; it is tried again until it succeeds", error)
                    told, is_over = str(error), is_stopping
                    self._stopping.wait(pause)
                    pause = min(2.0 * pause, LONGEST_PAUSE)
                except (QueueFull, StoreError):  # the worker has more to do, or tells it itself
                    is_over = is_stopping
                    self._stopping.wait(SHORTEST_PAUSE)
                if is_over:
                    return
        except Stopped:
            pass
        except Exception as error:
            if error is not self._worker.failure:  # the worker tells its own failures
                raise
        finally:
            self._sink.close()

    def _send_some(self) -> bool:
        """Send the first messages of the outbox, and take them out of it."""
        rows = self._worker.store.read(
            "SELECT seq, id, content FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", (self._sent, N_AT_ONCE)
        )
        if rows:
            self._sink.send([(name, content) for _, name, content in rows])
            self._sent = rows[-1][0]
        if self._sent > self._taken_out:
            self._worker.do(self._take_out)
        elif not self._stopping.is_set():
            self._stopping.wait(LOOK_EVERY)
        return bool(rows)

    def _take_out(self) -> None:
        with self._worker.store.transaction() as cursor:
            cursor.execute("DELETE FROM outbox WHERE seq <= ?", (self._sent,))
        self._taken_out = self._sent


def open_sink(url: str) -> Sink:
    """Return the receiver of an address: a file, `redis://host/stream`, `nats://host/subject` or `kafka://broker/topic`.

    Raises
    ------
    ValueError
        If the address is of no known kind.
    ImportError
        If the package for it is not installed. The message says how to install it.
    """
    scheme = scheme_of(url)
    if scheme in BROKERS:
        return _broker(url, scheme)
    if scheme not in ("", "file"):
        raise ValueError(
            f"sink {without_secrets(url)!r}: {scheme}:// is not known; give a file, or an address that begins with "
            "redis://, nats:// or kafka://"
        )
    return FileSink(path_of(url))


def _broker(url: str, scheme: str) -> Sink:
    # Each client package is an extra, so that its module is loaded only where it is used.
    if scheme in ("redis", "rediss"):
        from driftmoe.service.redis_streams import RedisSink

        return RedisSink(*parted(url, "stream"))
    if scheme == "kafka":
        from driftmoe.service.kafka_topics import KafkaSink

        return KafkaSink(*parted(url, "topic"))
    from driftmoe.service.nats_streams import NatsSink

    return NatsSink(*parted(url, "subject"))
