"""Tables as text that fit a width without losing a digit: names wrap, deviations move below means, columns divide."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len

WIDTH = 80
"""Columns of a terminal that every table fits, unless it is asked for in full width."""

SHORT_NAMES = (20, 14)
"""Columns to which the names of rows are wrapped, if this is enough to keep a table in one piece."""

GAP = 2
"""Blanks between two columns."""


def fitted(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    width: int | None = WIDTH,
) -> str:
    """Return a table that is at most `width` columns wide, or several tables that show its columns in turn.

    Parameters
    ----------
    headings
        One for each column. The first column has the names of the rows.
    rows
        Cells as text, at least one row. A cell that has ` ± ` in it may take two lines.
    title, notes
        Lines above and below the table; they wrap.
    width
        Columns of the terminal. With `None` every name and every cell is on one line, however wide the table is.

    Examples
    --------
    >>> print(fitted(["model", "accuracy %"], [["ht", "87.50 ± 0.25"], ["nb", "81.12 ± 0.06"]], width=15))
           accuracy
    model         %
    ───────────────
    ht        87.50
             ± 0.25
    nb        81.12
             ± 0.06
    """
    longest = max(cell_len(row[0]) for row in rows)
    lengths = [longest, *(n for n in SHORT_NAMES if width is not None and n < longest)]
    for is_stacked, is_headed_in_lines in ((False, False), (False, True), (True, True)):
        for length in lengths:
            columns = _columns(headings, rows, length, is_stacked)
            if not is_headed_in_lines:
                columns = [[heading, *column[1:]] for heading, column in zip(headings, columns, strict=True)]
            if width is None or _total(columns) <= width:
                return "\n".join([*_wrapped([title], width), *_lines(columns), *_wrapped(notes, width)])
    width = width or WIDTH
    divided = [_divided(_columns(headings, rows, length, True), width) for length in lengths]

    def too_wide_or_many(parts: list[list[list[str]]]) -> tuple[int, int]:
        return max(0, *(_total(part) - width for part in parts)), len(parts)

    tables = [
        "\n".join(_lines(part)) for part in min(divided, key=too_wide_or_many)
    ]  # of equals the longest names
    return "\n".join([*_wrapped([title], width), "\n\n".join(tables), *_wrapped(notes, width)])


def wrapped_name(name: str, width: int) -> str:
    """Return a name in lines of at most `width` columns, which end after `(`, `,` or a blank where they can."""
    lines = [""]
    for piece in re.findall(r"[^(, ]*(?:[(,] ?| |$)", name):
        if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        while cell_len(piece.rstrip()) > width:
            lines[-1:] = [piece[:width], ""]
            piece = piece[width:]
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines if line)


def _columns(
    headings: Sequence[str], rows: Sequence[Sequence[str]], length: int, is_stacked: bool
) -> list[list[str]]:
    """Return the columns, each with its heading, of names of at most `length` and of cells in one or two lines."""
    columns = [[wrapped_name(row[0], length) for row in rows]]
    for i in range(1, len(headings)):
        columns.append([row[i].replace(" ± ", "\n± ") if is_stacked else row[i] for row in rows])
    return [
        [_heading(heading, _width(column)), *column]
        for heading, column in zip(headings, columns, strict=True)
    ]


def _heading(heading: str, width: int) -> str:
    """Return a heading in lines that are no wider than the cells, or than its longest word."""
    width = max(width, *map(len, heading.split(" ")))
    return "\n".join(textwrap.wrap(heading, width, break_on_hyphens=False))


def _width(column: Sequence[str]) -> int:
    return max(cell_len(line) for cell in column for line in cell.split("\n"))


def _total(columns: Sequence[Sequence[str]]) -> int:
    return sum(map(_width, columns)) + GAP * (len(columns) - 1)


def _divided(columns: list[list[str]], width: int) -> list[list[list[str]]]:
    """Return the columns after the first in groups, each of which fits beside the first."""
    parts = [columns[:1]]
    for column in columns[1:]:
        if len(parts[-1]) > 1 and _total([*parts[-1], column]) > width:
            parts.append(columns[:1])
        parts[-1] = [*parts[-1], column]
    return parts


def _lines(columns: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: headings, which end on the line above the rule, and rows."""
    widths, gap = [_width(column) for column in columns], " " * GAP
    lines = []
    for n, row in enumerate(zip(*columns, strict=True)):
        cells = [cell.split("\n") for cell in row]
        height = max(map(len, cells))
        for line in range(height):
            parts = []
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
                at = line - (height - len(cell)) if n == 0 else line
                text = cell[at] if 0 <= at < len(cell) else ""
                blanks = " " * (width - cell_len(text))
                parts.append(blanks + text if i else text + blanks)
            lines.append(gap.join(parts).rstrip())
        if n == 0:
            lines.append("─" * _total(columns))
    return lines


def _wrapped(texts: Sequence[str], width: int | None) -> list[str]:
    """Return the lines of some texts, wrapped at blanks."""
    given = [text for text in texts if text]
    if width is None:
        return given
    return [
        line
        for text in given
        for line in textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
    ]
