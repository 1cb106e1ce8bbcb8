"""Read files as UTF-8 bytes: unpacking, other encodings, and errors for corrupt files.

All parsers read UTF-8. Bytes that are invalid in the file's encoding are kept as they are, so that only rows that use
them are refused.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from streams.files.bad_rows import BadRowError

PIECE_BYTES = 1 << 20
"""Size of the pieces in which files are read."""

BOM = b"\xef\xbb\xbf"


@contextmanager
def open_text(path: str | Path, encoding: str = "utf-8") -> Iterator[Any]:
    """Open a file for reading as bytes of UTF-8, unpacking it on the way."""
    with _unpacked(path) as file:
        yield file if encoding == "utf-8" else _InUTF8(file, encoding, path)


@contextmanager
def _unpacked(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking .gz, .bz2, .xz and .zip on the way."""
    name = str(path).lower()
    with refusing_corrupt(path):
        if name.endswith(".gz"):
            with gzip.open(path) as file:
                yield file  # type: ignore[misc]  # a GzipFile is a binary file in all but its declared type
        elif name.endswith(".bz2"):
            with bz2.open(path) as unpacked:
                yield unpacked
        elif name.endswith(".xz"):
            with lzma.open(path) as unpacked:
                yield unpacked
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                members = [
                    m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX/")
                ]
                if len(members) != 1:
                    raise ValueError(
                        f"{path}: holds {len(members)} files ({listed(members)}); pack one file alone"
                    )
                with archive.open(members[0]) as file:
                    yield file
        else:
            with open(path, "rb") as file:
                yield file


def known_encoding(path: str | Path, encoding: str) -> str:
    """Return the usual name of the encoding of a file."""
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(
            f"encoding={encoding!r} is unknown; choose one such as 'utf-8', 'latin-1', 'cp1252' or 'utf-16'"
        ) from None
    if name == "utf-8":
        with _unpacked(path) as file:
            mark = file.read(2)
        if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"{path} begins as a file in UTF-16 does; pass encoding='utf-16'")
    return name


class _InUTF8:
    """Recodes a file as UTF-8 while it is read. Bytes that cannot be decoded stay as they are."""

    def __init__(self, file: IO[bytes], encoding: str, path: str | Path) -> None:
        self._text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="\n")
        self._path = path

    def read(self, size: int) -> bytes:
        return self._encoded(self._text.read, size)

    def readline(self, size: int = -1) -> bytes:
        return self._encoded(self._text.readline, size)

    def _encoded(self, read: Callable[[int], str], size: int) -> bytes:
        try:
            return read(size).encode(errors="surrogateescape")
        except UnicodeError as error:
            raise ValueError(f"{self._path} is not in encoding={self._text.encoding!r}: {error}") from None


@contextmanager
def refusing_corrupt(path: str | Path) -> Iterator[None]:
    """Raise `ValueError` with the name of the file if its content cannot be unpacked or decoded.

    Examples
    --------
    >>> from streams.files import refusing_corrupt
    >>> with refusing_corrupt("weather.csv.gz"):
    ...     raise EOFError("it ends within a block")
    Traceback (most recent call last):
        ...
    ValueError: weather.csv.gz is corrupt: it ends within a block; get another copy
    """
    import pyarrow as pa

    try:
        yield
    except (
        EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, pa.ArrowInvalid
    ) as error:  # fmt: skip
        raise ValueError(f"{path} is corrupt: {error}; get another copy") from error
    except OSError as error:
        if error.errno is not None:
            raise  # an error of the system. gzip and pyarrow raise OSError without a number for bad content
        raise ValueError(f"{path} is corrupt: {error}; get another copy") from error


def decode(record: bytes) -> str:
    """Return the text of a record. Invalid bytes are refused later, if they are in a field that is used."""
    return record.decode(errors="surrogateescape")


_UNDECODED = re.compile("[\udc80-\udcff]+")


def check_decoded(name: str, text: str, encoding: str, where: str = "") -> None:
    """Refuse a field that holds bytes that are invalid in its encoding."""
    if not text.isascii() and (found := _UNDECODED.search(text)):
        codes = [ord(mark) - 0xDC00 for mark in found[0]]
        other = "cp1252" if min(codes) < 0xA0 and encoding != "cp1252" else "latin-1"
        reason = (
            f", column {_UNDECODED.sub('?', name)!r}: byte 0x{codes[0]:x} is not {encoding.upper()}; "
            f"pass the file's encoding, such as encoding={other!r}"
        )
        if where:
            raise ValueError(where + reason)
        raise BadRowError(reason)


def listed(names: list[str]) -> str:
    """Return names for an error message, at most 30 of them."""
    return ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")
