"""Where events come from: a file that grows, standard input, or a broker. Each event has a position to go on from."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from driftmoe.service.failures import Stopped
from driftmoe.service.joining import Arrival
from driftmoe.service.worker import Worker

log = logging.getLogger(__name__)

BLOCK = 1 << 20
"""Bytes that are read from a file at a time."""

LONGEST_LINE = 10_000_000
"""Bytes of a line; a longer one is passed, and counted as refused."""

FINGERPRINT = 256
"""First bytes of a file by which it is known again after it was renamed."""

Message = tuple[Any, bytes]
"""Position after an event, and the event."""


class SourceError(OSError):
    """A source that cannot be read on without losing events, or not at all."""


class Source(Protocol):
    """Events in an order that stays, each with a position.

    Attributes
    ----------
    name
        Name in the store.
    """

    name: str

    def open(self, position: Any) -> None:
        """Begin after a position of an earlier message, or at the start if it is `None`.

        Raises
        ------
        SourceError
            If events after the position are gone.
        """

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return up to `n` messages, none if none came within `seconds`, and `None` at the end of the source."""

    def close(self) -> None:
        """Let go of what the source holds."""


class FileSource:
    """Lines of a file that grows.

    A line without line end is half written, and waits. When the file is renamed and a new one takes its place (log
    rotation), the old one is read to its end first. After a restart it is looked for in the same folder, by its first
    bytes. A file that was cut short is read from its start.

    Parameters
    ----------
    path
        The file. It may not exist yet.
    follows
        Whether to wait for more at the end of the file.
    """

    def __init__(self, path: Path, *, follows: bool = True) -> None:
        self._path, self._follows = path, follows
        self.name = f"file:{path}"
        self._file: BinaryIO | None = None
        self._start = b""
        self._known_by = ("", 0, 0)
        self._offset = 0
        self._rest = b""

    def open(self, position: Any) -> None:
        """Begin after a position; see `Source`."""
        if position is None:
            self._open_new()
            return
        offset, *of_file = position
        found = self._find(*of_file)
        if found is None:
            raise SourceError(
                f"{self._path}: the file that was read up to byte {offset:,} is gone, and with it what came after; "
                "put it back under a name that begins with this one, or begin a new store"
            )
        self._file = found.open("rb")
        self._seek(offset)

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next lines; see `Source`."""
        until = time.monotonic() + seconds
        while True:
            if self._file is None:
                self._open_new()
            messages = self._lines(n) if self._file is not None else []
            if messages:
                return messages
            if self._file is not None and self._is_left():
                continue
            if not self._follows:
                return None if self._file is not None or not self._path.exists() else []
            if time.monotonic() >= until:
                return []
            time.sleep(min(0.05, seconds))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open_new(self) -> None:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            if not self._follows:
                raise SourceError(f"{self._path}: there is no such file") from None
            return
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from None
        self._start = b""
        self._seek(0)

    def _seek(self, offset: int) -> None:
        assert self._file is not None
        self._file.seek(offset)
        self._offset, self._rest = offset, b""

    def _lines(self, n: int) -> list[Message]:
        """Return up to `n` whole lines."""
        assert self._file is not None
        messages: list[Message] = []
        while len(messages) < n:
            end = self._rest.find(b"\n")
            if end < 0:
                block = self._file.read(BLOCK)
                if not block:
                    if self._was_cut():
                        continue
                    if not self._follows and self._rest and not messages:  # the last line has no end
                        line, self._rest = self._rest, b""
                        self._offset += len(line)
                        messages.append((self._position(), line))
                    break
                if len(self._start) < FINGERPRINT:
                    self._start = _first_bytes(self._file)
                    inode = os.fstat(self._file.fileno()).st_ino
                    self._known_by = (_hashed(self._start), len(self._start), inode)
                self._rest += block
                if len(self._rest) > LONGEST_LINE and b"\n" not in self._rest:
                    raise SourceError(
                        f"{self._path}: the line at byte {self._offset:,} has more than {LONGEST_LINE:,} bytes"
                    )
                continue
            messages += self._split(n - len(messages))
        return messages

    def _split(self, n: int) -> list[Message]:
        """Return up to `n` lines of what has been read."""
        messages: list[Message] = []
        start = 0
        while len(messages) < n:
            end = self._rest.find(b"\n", start)
            if end < 0:
                break
            line = self._rest[start:end]
            self._offset += end + 1 - start
            start = end + 1
            if line.strip():
                messages.append((self._position(), line))
        self._rest = self._rest[start:]
        return messages

    def _position(self) -> list[Any]:
        """Return the offset in the file, and by what the file is known again."""
        return [self._offset, *self._known_by]

    def _was_cut(self) -> bool:
        """Begin anew if the file was cut short, or written anew in its place."""
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        if (
            size >= self._offset + len(self._rest)
            and _first_bytes(self._file)[: len(self._start)] == self._start
        ):
            return False
        log.warning(
            "%s was cut short at byte %d; it is read from its start",
            self._path,
            self._offset + len(self._rest),
        )
        self._start = b""
        self._seek(0)
        return size > 0

    def _is_left(self) -> bool:
        """Go on with the file that has taken the place of this one, if it has been read to its end."""
        assert self._file is not None
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._file.fileno())
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) or here.st_size > self._file.tell():
            return False
        if self._rest:
            log.warning("%s was renamed with a half-written last line, which is passed", self._path)
        self.close()
        self._open_new()
        return self._file is not None

    def _find(self, fingerprint: str, size: int, inode: int) -> Path | None:
        """Return the file with these first bytes: the path itself, or one in its folder whose name begins alike."""
        files = [path for path in self._path.parent.glob(f"{self._path.name}*") if path.is_file()]
        files.sort(key=lambda path: (path.stat().st_ino != inode, path != self._path, -path.stat().st_mtime))
        for path in files:
            with path.open("rb") as file:
                start = file.read(size)
            if len(start) == size and _hashed(start) == fingerprint:
                return path
        return None


def _hashed(start: bytes) -> str:
    return hashlib.sha256(start).hexdigest()[:32]


def _first_bytes(file: BinaryIO) -> bytes:
    return os.pread(file.fileno(), FINGERPRINT, 0) if hasattr(os, "pread") else _first_bytes_by_seeking(file)


def _first_bytes_by_seeking(file: BinaryIO) -> bytes:
    place = file.tell()
    file.seek(0)
    start = file.read(FINGERPRINT)
    file.seek(place)
    return start


class StandardInput:
    """Lines of standard input. They cannot be read again: after a restart, send anew what was not yet committed.

    Parameters
    ----------
    file
        Binary file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.name = file, "stdin"
        self._n = 0

    def open(self, position: Any) -> None:
        """Count on from the lines read before."""
        self._n = 0 if position is None else int(position)

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next lines; see `Source`."""
        messages: list[Message] = []
        while len(messages) < n:
            line = self._file.readline(LONGEST_LINE)
            if not line:
                return messages or None
            self._n += 1
            if line.strip():
                messages.append((self._n, line.rstrip(b"\n")))
            if not getattr(self._file, "peek", lambda n: b"")(1).count(b"\n"):
                break
        return messages

    def close(self) -> None:
        """Leave standard input open."""


class Pump:
    """A thread that hands the messages of a source to a worker.

    Parameters
    ----------
    source
        The source.
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
        self._thread = threading.Thread(target=self._run, name=f"driftmoe-{source.name}", daemon=True)

    def start(self) -> None:
        """Open the source where the store has stopped, and begin. Raises SourceError if events are gone."""
        position, _ = self._worker.store.positions().get(self._source.name, (None, 0))
        self._source.open(position)
        self._thread.start()

    def stop(self) -> None:
        """Hand over nothing more."""
        self._stopping.set()
        self._thread.join(timeout=5.0)  # a read of standard input cannot be ended
        if not self._thread.is_alive():
            self._source.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                messages = self._source.read(self._n_at_once, 0.2)
                if messages is None:
                    self._ended(None)
                    return
                if messages:
                    name = self._source.name
                    self._worker.feed([Arrival(name, content, position) for position, content in messages])
        except Stopped:
            pass
        except BaseException as error:  # this is a thread: whoever waits is told
            self._ended(error)


def open_source(url: str, *, follows: bool = True) -> Source:
    """Return the source of an address: `-`, a file, `redis://host/stream`, `nats://...` or `kafka://broker/topic`.

    Parameters
    ----------
    url
        The address.
    follows
        Whether to wait for more at the end.

    Raises
    ------
    ValueError
        If the address is of no known kind.
    ImportError
        If the package for it is not installed. The message says how to install it.
    """
    scheme = urlsplit(url).scheme if "://" in url else ""
    if url == "-":
        import sys

        return StandardInput(sys.stdin.buffer)
    if scheme in ("redis", "rediss", "nats", "tls", "kafka"):
        from driftmoe.service import brokers

        return brokers.open_source(url, follows=follows)
    if scheme == "file":
        return FileSource(Path(urlsplit(url).path), follows=follows)
    if scheme:
        raise ValueError(
            f"source {url!r}: {scheme}:// is not known; give a file, - for standard input, or an address that begins "
            "with redis://, nats:// or kafka://"
        )
    return FileSource(Path(url), follows=follows)
