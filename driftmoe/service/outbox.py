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
from typing import Protocol
from urllib.parse import urlsplit

from driftmoe.service.failures import QueueFull, Stopped, StoreError
from driftmoe.service.worker import Worker

log = logging.getLogger(__name__)

N_AT_ONCE = 1_000
"""Messages that are sent together."""

LONGEST_PAUSE = 30.0
"""Seconds between two attempts to send, at most."""


class SendError(OSError):
    """A receiver that cannot be reached now."""


class Sink(Protocol):
    """A receiver of messages."""

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Send messages, each an id and JSON text, and return when the receiver has them. Raises SendError."""

    def close(self) -> None:
        """Let go of what the sink holds."""


class FileSink:
    """Lines added to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, messages: Sequence[tuple[str, str]]) -> None:
        """Add the messages, one a line; see `Sink`."""
        text = "".join(f"{content}\n" for _, content in messages).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                start = file.tell()
                try:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:  # a full disk: no half a line stays
                    file.truncate(start)
                    raise
        except OSError as error:
            raise SendError(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Nothing is open between two calls."""


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
        self._thread = threading.Thread(target=self._run, name="driftmoe-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is there, if the receiver takes it, and end. Call it before the worker stops."""
        self._stopping.set()
        self._thread.join(timeout=10.0)
        self._sink.close()

    def _run(self) -> None:
        pause = 0.1
        while True:
            try:
                sent = self._send_some()
                pause = 0.1
            except SendError as error:
                if self._stopping.is_set():
                    return
                log.warning("%s; trying again in %.1f s", error, pause)
                self._stopping.wait(pause)
                pause = min(2.0 * pause, LONGEST_PAUSE)
                continue
            except (QueueFull, StoreError):
                sent = False
            except Stopped:
                return
            if not sent:
                if self._stopping.is_set():
                    return
                self._stopping.wait(0.1)

    def _send_some(self) -> bool:
        """Send the first messages of the outbox, and take them out of it."""
        rows = self._worker.store.read(
            "SELECT seq, id, content FROM outbox ORDER BY seq LIMIT ?", (N_AT_ONCE,)
        )
        if not rows:
            return False
        self._sink.send([(name, content) for _, name, content in rows])
        last = rows[-1][0]

        def take_out() -> None:
            with self._worker.store.transaction() as cursor:
                cursor.execute("DELETE FROM outbox WHERE seq <= ?", (last,))

        self._worker.do(take_out)
        return True


def open_sink(url: str) -> Sink:
    """Return the receiver of an address: a file, `redis://host/stream`, `nats://host/subject` or `kafka://broker/topic`.

    Raises
    ------
    ValueError
        If the address is of no known kind.
    ImportError
        If the package for it is not installed. The message says how to install it.
    """
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme in ("redis", "rediss", "nats", "tls", "kafka"):
        from driftmoe.service import brokers

        return brokers.open_sink(url)
    if scheme not in ("", "file"):
        raise ValueError(
            f"sink {url!r}: {scheme}:// is not known; give a file, or an address that begins with redis://, nats:// or "
            "kafka://"
        )
    return FileSink(Path(urlsplit(url).path if scheme else url))
