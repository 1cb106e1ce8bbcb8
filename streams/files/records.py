"""Cut a text file into pieces and lines without cutting a record.

A record spans several lines where a quoted field holds line ends.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from streams.files.bad_rows import BadRowError
from streams.files.decoding import BOM, PIECE_BYTES, open_text

MAX_RECORD_BYTES = 16 << 20

LONE_RETURN = ": a carriage return outside quotes; lines end in a line feed"


class Quotes:
    """Finds where quotes open and close, by the rules of Python's csv module.

    A quote opens only at the start of a field. As in that module, text after a closing quote belongs to the field. The
    exception is a quote that opened on another line: the quote that seems to close it was meant to open the next quoted
    field. The csv module itself does not split the fields, because its limit for the size of a field holds for the
    whole process.
    """

    def __init__(self, delimiter: str, quote: str) -> None:
        self._delimiter, self._quote, self.mark = delimiter, quote, quote.encode()
        d, q = re.escape(delimiter), re.escape(quote)
        inside = rf"[^{q}]*+(?:{q}{q}[^{q}]*+)*+"
        in_line = inside.replace("[^", r"[^\n")
        opening = rf"{q}(?<![^{d}\n]{q})"
        closed = rf"{in_line}{q}|{inside}{q}(?![^{d}\r\n])"
        self._quoted = re.compile(rf"{opening}{inside}({q}?)".encode())
        self._not_closed = re.compile(rf"{opening}(?:{closed}|(?<=({q})))".encode())
        self._field = re.compile(rf"(?:{q}({inside}){q})?([^{d}]*)({d}?)")

    def open_at(self, data: bytes, end: int = sys.maxsize) -> int:
        """Return the position of the quote that `data[:end]` leaves open, -1 if there is none."""
        if self.mark not in data:
            return -1
        last = deque(self._quoted.finditer(data, 0, end), maxlen=1)
        return last[0].start() if last and not last[0][1] else -1

    def spans(self, data: bytes, end: int) -> list[tuple[int, int]]:
        """Return start and end of each quoted part of `data[:end]`."""
        return [match.span() for match in self._quoted.finditer(data, 0, end)]

    def is_open_after(self, data: bytes, is_open: bool = False) -> bool:
        """Return whether a quote is open at the end of `data`, given whether one is at its start."""
        return self.open_at(self.mark + data if is_open else data) >= 0

    def are_closed(self, data: bytes) -> bool:
        """Return whether every quote of some records is closed, on its line or at the end of its field."""
        return self.mark not in data or not any(map(itemgetter(1), self._not_closed.finditer(data)))

    def split(self, text: str) -> list[str]:
        """Return the fields of a record."""
        fields, start = [], 0
        while match := self._field.match(text, start):
            quoted, plain, delimiter = match.groups()
            if "\r" in plain:
                raise BadRowError(LONE_RETURN)
            fields.append((quoted or "").replace(self._quote * 2, self._quote) + plain)
            if not delimiter:
                break
            start = match.end()
        return fields


def raw_pieces(
    path: str | Path, encoding: str, n_skipped: int, first: bytes, quotes: Quotes | None, is_lenient: bool
) -> Iterator[tuple[int, bytes]]:
    """Yield pieces of a file that end where a record ends: the number of the first line, and the bytes.

    The first `n_skipped` lines are the header, and `first` is what the last of them holds of the first row. A row
    longer than `MAX_RECORD_BYTES` is an error; with `is_lenient` its first line becomes a piece of its own.
    """
    with open_text(path, encoding) as file:
        line = n_skipped + (not first)
        for _ in range(n_skipped):
            file.readline()
        rest = first
        while data := file.read(PIECE_BYTES):
            data = rest + data
            if line == 1:
                data = data.removeprefix(BOM)
            end = _last_record_end(data, quotes)
            if not end and len(data) > MAX_RECORD_BYTES:
                end = data.find(b"\n") + 1
                if not end or not is_lenient:
                    raise ValueError(
                        f"{path}, line {line}: a row longer than {MAX_RECORD_BYTES >> 20} MB; an open quote? "
                        "(pass quote=None if quotes mean nothing) or lines that end in a carriage return "
                        "alone?"
                    )
            if end:
                yield line, data[:end]
            line += data.count(b"\n", 0, end)
            rest = data[end:]
        if rest:
            yield line, rest


def _last_record_end(data: bytes, quotes: Quotes | None) -> int:
    """Return the position after the last line end that is outside quotes; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    spans = [] if quotes is None or quotes.open_at(data, end) < 0 else quotes.spans(data, end)
    for i in range(len(spans) - 1, -1, -1):
        end = data.rfind(b"\n", spans[i - 1][1] if i else 0, spans[i][0]) + 1
        if end:
            break
    return end


def lines_and_ends(data: bytes, quotes: Quotes | None) -> tuple[list[bytes], list[int]]:
    """Return the lines of a piece and, for each line, the index of the line after the record that begins there.

    A line whose open quote is closed nowhere is a record of its own.
    """
    lines = data.removesuffix(b"\n").split(b"\n")
    ends = list(range(1, len(lines) + 1))
    after_closing = 0
    for i in range(len(lines) - 1 if quotes is not None else -1, -1, -1):
        if quotes is not None and quotes.mark in lines[i]:
            if after_closing and quotes.is_open_after(lines[i]):
                ends[i] = after_closing
            if not quotes.is_open_after(lines[i], is_open=True):
                after_closing = i + 1
    return lines, ends


def is_plain(data: bytes) -> bool:
    """Return whether pyarrow reads a piece unchanged: no lone carriage return, and no byte order mark to drop."""
    return data.count(b"\r") == data.count(b"\r\n") and not data.startswith(BOM)
