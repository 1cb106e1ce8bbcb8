"""Events from the lines of a file that grows, and of standard input."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import re
import stat
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from driftmoe.service.protocols import Message, SourceError, Unreachable

log = logging.getLogger(__name__)

BLOCK = 1 << 20
"""Bytes that are read at a time."""

LONGEST_LINE = 10_000_000
"""Bytes of a line. Of a longer one only as many are handed over, as an event that cannot be read."""

FINGERPRINT = 256
"""First bytes of a file by which it is known again after it was renamed."""

LOOK_EVERY = 0.05
"""Seconds after which a file is looked at again."""

_ROTATED = re.compile(r"[.\-_]\d[\d.:_T\-]*")
"""What log rotation adds to the name of a file: a number or a date."""

_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""What is added to the name of a rotated file that was packed. Programs that pack keep the time of the last change."""

Key = tuple[bool, int, int]
"""Place of a file among those of a rotation."""


class Lines:
    """Splits bytes into lines.

    Attributes
    ----------
    offset
        Number of bytes in the lines that were taken.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self._rest = b""
        self._n_left_out = 0

    def add(self, block: bytes) -> None:
        """Add what was read."""
        if len(self._rest) >= LONGEST_LINE:  # within a line that is too long
            end = block.find(b"\n")
            left_out = block if end < 0 else block[:end]
            self._n_left_out += len(left_out)
            block = block[len(left_out) :]
        self._rest += block

    def take(self, n: int) -> list[tuple[int, bytes]]:
        """Return up to `n` whole lines that are not blank, each after the offset of its end."""
        lines: list[tuple[int, bytes]] = []
        start = 0
        while len(lines) < n:
            end = self._rest.find(b"\n", start)
            if end < 0:
                break
            self.offset += end + 1 - start + self._n_left_out
            self._n_left_out = 0
            if line := self._rest[start : min(end, start + LONGEST_LINE)].strip():
                lines.append((self.offset, line))
            start = end + 1
        self._rest = self._rest[start:]
        return lines

    @property
    def n_read(self) -> int:
        """Number of bytes that were added, from the beginning."""
        return self.offset + len(self._rest) + self._n_left_out

    def take_rest(self) -> list[tuple[int, bytes]]:
        """Return the line without end, if there is one."""
        self.offset = self.n_read
        line, self._rest, self._n_left_out = self._rest[:LONGEST_LINE].strip(), b"", 0
        return [(self.offset, line)] if line else []


class FileSource:
    """Lines of a file that grows.

    A line without line end is half written, and waits. When the file is renamed and a new one takes its place (log
    rotation), the old one is read to its end first, then those between them, in the order of their last changes.
    Their names are that of the file with `.`, `-` or `_` and a number or date. After a restart, the file that was read
    last is looked for among them by its first bytes. A file that was cut short is read from its start, after the rest
    of its copy if there is one.

    A position is a number of bytes, and by what the file is known again.

    Parameters
    ----------
    path
        The file. If the source follows it, it may not exist yet.
    follows
        Whether to wait for more at the end of the file.
    """

    def __init__(self, path: Path, *, follows: bool = True) -> None:
        self._path, self._follows = path.absolute(), follows
        self.name = f"file:{self._path}"
        self._file: BinaryIO | None = None
        self._lines = Lines()
        self._start = b""
        self._known_by: tuple[str, int, int] = ("", 0, 0)

    def open(self, position: Any) -> None:
        """Begin after a position; see `Source`."""
        self.close()
        if position is None:
            if not self._open(self._path, 0) and not self._follows:
                raise SourceError(f"{self._path}: there is no such file")
            return
        offset, *of_file = position
        try:
            found = self._find(offset, *of_file)
        except OSError as error:
            raise Unreachable(f"{self._path}: {error.strerror or error}") from None
        if found is None or not self._open(found, offset):
            raise SourceError(
                f"{self._path}: the file that was read up to byte {offset:,} is gone, and with it what came after; "
                "put it back beside this one, unpacked, under a name that begins with this one, or begin a new store"
            )

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next lines; see `Source`."""
        until = time.monotonic() + seconds
        while True:
            try:
                messages = self._next(n)
            except OSError as error:
                raise Unreachable(f"{self._path}: {error.strerror or error}") from None
            if messages is None and not self._follows:
                return None
            if messages:
                return messages
            if messages is not None:
                continue
            if time.monotonic() >= until:
                return []
            time.sleep(min(LOOK_EVERY, seconds))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next(self, n: int) -> list[Message] | None:
        """Return the next lines, none if there may be some now, or `None` if there are none for the moment."""
        if self._file is None and not self._open(self._path, 0):
            return None
        if messages := self._read_lines(n):
            return messages
        if self._was_cut():
            return []
        following = self._following()
        if following is None:
            return None if self._follows else self._take_rest() or None
        if messages := self._read_lines(n):  # written before the next file was begun
            return messages
        if rest := self._take_rest():
            return rest
        self._open(following[1], 0, following[0])
        return []

    def _open(self, path: Path, offset: int, inode: int | None = None) -> bool:
        """Return whether there is a file. Then it is the one to read, in the place of another one."""
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise SourceError(f"{path} is a folder; give the file in it")
            if not stat.S_ISREG(mode):
                raise SourceError(f"{path} is no file; give - and send it to standard input")
            file = path.open("rb")
        except FileNotFoundError:
            return False
        except PermissionError as error:
            raise SourceError(f"{path}: {error.strerror}; allow this user to read it") from None
        except OSError as error:
            raise Unreachable(f"{path}: {error.strerror or error}") from None
        if inode not in (None, os.fstat(file.fileno()).st_ino):  # renamed meanwhile
            file.close()
            return False
        self.close()
        self._file = file
        self._begin(offset)
        return True

    def _begin(self, offset: int) -> None:
        assert self._file is not None
        self._file.seek(offset)
        self._lines = Lines(offset)
        self._start = b""
        if offset:
            self._learn_start()

    def _learn_start(self) -> None:
        """Note by what the file is known again."""
        assert self._file is not None
        self._start = _first_bytes(self._file)
        inode = os.fstat(self._file.fileno()).st_ino
        self._known_by = (_hashed(self._start), len(self._start), inode)

    def _read_lines(self, n: int) -> list[Message]:
        """Return up to `n` whole lines."""
        assert self._file is not None
        while not (lines := self._lines.take(n)):
            block = self._file.read(BLOCK)
            if not block or self._is_other():
                return []
            if len(self._start) < FINGERPRINT:
                self._learn_start()
            self._lines.add(block)
        return self._with_positions(lines)

    def _take_rest(self) -> list[Message]:
        """Return the last line of a file that does not grow any more."""
        return self._with_positions(self._lines.take_rest())

    def _with_positions(self, lines: list[tuple[int, bytes]]) -> list[Message]:
        return [([offset, *self._known_by], line) for offset, line in lines]

    def _was_cut(self) -> bool:
        """Go on with the file if it was cut short, or written anew in its place."""
        assert self._file is not None
        about = os.fstat(self._file.fileno())
        n_read = self._lines.n_read
        if about.st_size >= n_read and not self._is_other():
            return False
        copy = self._find(n_read, *self._known_by) if self._start else None
        if copy is not None:
            self._open(copy, self._lines.offset)
            return True
        log.warning("%s was cut short at byte %d; it is read from its start", self._path, n_read)
        self._begin(0)
        return about.st_size > 0

    def _is_other(self) -> bool:
        """Whether the file no longer begins as it did."""
        assert self._file is not None
        return not _first_bytes(self._file).startswith(self._start)

    def _following(self) -> tuple[int, Path] | None:
        """Return the file that has come after this one, if there is something in it, and its inode."""
        assert self._file is not None
        here = os.fstat(self._file.fileno())
        newer: list[tuple[Key, int, Path]] = []
        family = self._family()
        own: Key = (False, here.st_mtime_ns, -1 << 60)
        for path in family:
            name, packed = path.name, path.suffix in _PACKED
            if packed:
                name = path.stem
                if path.with_name(name) in family:  # it is being packed
                    continue
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            suffix = name.removeprefix(self._path.name)
            if (about.st_dev, about.st_ino) == (here.st_dev, here.st_ino):
                if not suffix:
                    return None
                own = _place(suffix, about)
            elif about.st_size and (_ROTATED.fullmatch(suffix) or not (suffix or packed)):
                newer.append((_place(suffix, about), about.st_ino, path))
        newer = [one for one in newer if one[0] > own]
        if not newer:
            return None
        _, inode, path = min(newer)
        if path.suffix in _PACKED:
            raise SourceError(
                f"{path} was packed before it was read; unpack it in its folder, with its time of change"
            )
        return inode, path

    def _find(self, offset: int, fingerprint: str, size: int, inode: int) -> Path | None:
        """Return the file with these first bytes: the path itself, or one in its folder whose name begins alike."""
        found = []
        for path in self._family():
            try:
                about = path.stat()
                if about.st_size < max(offset, size) or not stat.S_ISREG(about.st_mode):
                    continue
                with path.open("rb") as file:
                    start = file.read(size)
            except (FileNotFoundError, PermissionError):
                continue
            if _hashed(start) == fingerprint:
                found.append((about.st_ino != inode, path != self._path, -about.st_mtime_ns, path))
        return min(found)[-1] if found else None

    def _family(self) -> list[Path]:
        """Return the files of the folder whose names begin with that of the file."""
        try:
            names = os.listdir(self._path.parent)
        except FileNotFoundError:
            return []
        return [self._path.parent / name for name in names if name.startswith(self._path.name)]


def _place(suffix: str, about: os.stat_result) -> Key:
    """Return the place of a file in the order in which files were begun."""
    number = suffix[1:]  # the greater, the older; a date says nothing that the time does not
    return (not suffix, about.st_mtime_ns, -int(number) if number.isdecimal() and len(number) < 6 else 0)


def _hashed(start: bytes) -> str:
    return hashlib.sha256(start).hexdigest()[:32]


def _first_bytes(file: BinaryIO) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), FINGERPRINT, 0)
    place = file.tell()
    file.seek(0)
    start = file.read(FINGERPRINT)
    file.seek(place)
    return start


class StandardInput:
    """Lines of standard input. They cannot be read again: after a restart, send anew what was not yet committed.

    A position is the number of lines, over all starts.

    Parameters
    ----------
    file
        Binary file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.name = file, "stdin"
        self._n, self._lines, self._is_over = 0, Lines(), False
        self._blocks: queue.Queue[bytes | OSError] = queue.Queue(maxsize=4)
        self._thread: threading.Thread | None = None

    def open(self, position: Any) -> None:
        """Count on from the lines read before."""
        self._n = 0 if position is None else int(position)
        if self._thread is None:
            # It holds no lock of the file while it waits, so that the process can end meanwhile.
            self._thread = threading.Thread(target=self._read_on, name="driftmoe-stdin-blocks", daemon=True)
            self._thread.start()

    def read(self, n: int, seconds: float) -> list[Message] | None:
        """Return the next lines; see `Source`."""
        until = time.monotonic() + seconds
        lines = self._lines.take(n)
        while not lines and not self._is_over:
            try:
                block = self._blocks.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return []
            if isinstance(block, OSError):
                raise SourceError(f"standard input: {block.strerror or block}")
            self._lines.add(block)
            self._is_over = not block
            lines = self._lines.take(n)
        if not lines:
            lines = self._lines.take_rest()
        start = self._n
        self._n += len(lines)
        return [(start + i, line) for i, (_, line) in enumerate(lines, start=1)] or None

    def close(self) -> None:
        """Leave standard input open."""

    def _read_on(self) -> None:
        """Read blocks as they come; the last one is empty."""
        block: bytes | OSError = b" "
        while block and isinstance(block, bytes):
            try:
                block = os.read(self._file.fileno(), BLOCK)
            except OSError as error:
                block = error
            self._blocks.put(block)
