"""Where events come from: a file that grows, standard input, or a broker. Each event has a position to go on from."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from driftmoe.service.addresses import BROKERS, parted, path_of, scheme_of, without_secrets
from driftmoe.service.arrivals import Arrival
from driftmoe.service.failures import Stopped
from driftmoe.service.files import FileSource, StandardInput
from driftmoe.service.protocols import Message, Source, SourceError, Unreachable
from driftmoe.service.worker import Worker

__all__ = [
    "FileSource", "Message", "Pump", "Source", "SourceError", "StandardInput", "Unreachable", "open_source",
]  # fmt: skip

log = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds between two attempts to reach a source. They double from the first to the last."""


class Pump:
    """A thread that hands the messages of a source to a worker.

    A source that cannot be reached is tried again until it can, from the last message that the worker has.

    Parameters
    ----------
    source
        The source. The pump closes it.
    worker
        The worker.
    ended
        Called at the end of the source, or with what made it fail.
    n_at_once
        Number of messages that are handed over together.
    """

    def __init__(
        self,
        source: Source,
        worker: Worker,
        ended: Callable[[BaseException | None], None],
        n_at_once: int = 500,
    ) -> None:
        self._source, self._worker, self._ended, self._n_at_once = source, worker, ended, n_at_once
        self._stopping = threading.Event()
        self._position: Any = None
        self._is_open, self._is_away, self._pause = False, False, SHORTEST_PAUSE
        self._thread = threading.Thread(target=self._run, name=f"driftmoe-{source.name}", daemon=True)

    def start(self) -> None:
        """Open the source where the store has stopped, and begin.

        Raises
        ------
        SourceError
            If events are gone, or the source cannot be read at all. One that only cannot be reached is waited for.
        """
        self._position, _ = self._worker.store.positions().get(self._source.name, (None, 0))
        try:
            self._open()
        except Unreachable as error:
            self._note_away(error)
        self._thread.start()

    def stop(self) -> None:
        """Hand over nothing more, and close the source."""
        self._stopping.set()
        if self._thread.ident is None:
            self._source.close()
        else:
            self._thread.join(
                timeout=5.0
            )  # a thread that waits for the worker closes the source when it ends

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if not self._move():
                    self._ended(None)
                    break
        except Stopped:
            pass
        except Exception as error:  # this is a thread: whoever waits is told
            self._ended(error)
        finally:
            self._source.close()

    def _move(self) -> bool:
        """Hand over the next messages. Return whether there may be more."""
        try:
            if not self._is_open:
                self._open()
            messages = self._source.read(self._n_at_once, 0.2)
        except Unreachable as error:
            self._note_away(error)
            self._stopping.wait(self._pause)
            self._pause = min(2.0 * self._pause, LONGEST_PAUSE)
            return True
        if self._is_away:
            log.warning("%s is read again", self._source.name)
        self._is_away, self._pause = False, SHORTEST_PAUSE
        if messages is None:
            return False
        if messages:
            name = self._source.name
            self._worker.feed([Arrival(name, content, position) for position, content in messages])
            self._position = messages[-1][0]
        return True

    def _open(self) -> None:
        self._source.open(self._position)
        self._is_open = True

    def _note_away(self, error: Unreachable) -> None:
        """Tell once that the source is away."""
        if not self._is_away:
            log.warning("%s; it is tried again until it answers", error)
        self._is_open, self._is_away = False, True


def open_source(url: str, *, follows: bool = True) -> Source:
    """Return the source of an address: `-`, a file, `redis://host/stream`, `nats://...` or `kafka://broker/topic`.

    Its name in the store is the address without password and settings. Another spelling of the same address is another
    source, which is read from its start.

    Parameters
    ----------
    url
        The address.
    follows
        Whether to wait for more at the end.

    Raises
    ------
    ValueError
        If the address is of no known kind, or not complete.
    ImportError
        If the package for it is not installed. The message says how to install it.
    """
    if url == "-":
        return StandardInput(sys.stdin.buffer)
    scheme = scheme_of(url)
    if scheme in BROKERS:
        return _broker(url, scheme, follows)
    if scheme not in ("", "file"):
        raise ValueError(
            f"source {without_secrets(url)!r}: {scheme}:// is not known; give a file, - for standard input, or an "
            "address that begins with redis://, nats:// or kafka://"
        )
    return FileSource(path_of(url), follows=follows)


def _broker(url: str, scheme: str, follows: bool) -> Source:
    # Each client package is an extra, so that its module is loaded only where it is used.
    if scheme in ("redis", "rediss"):
        from driftmoe.service.redis_streams import RedisSource

        return RedisSource(*parted(url, "stream"), follows=follows)
    if scheme == "kafka":
        from driftmoe.service.kafka_topics import KafkaSource

        return KafkaSource(*parted(url, "topic"), follows=follows)
    from driftmoe.service.nats_streams import NatsSource

    return NatsSource(*parted(url, "stream"), follows=follows)
