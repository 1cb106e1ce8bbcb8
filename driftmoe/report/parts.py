"""The elements of a report: sections with paragraphs, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A table: the heading of each column, rows of cells as (text, whether it is bold), and how many rows are its foot.

    The foot are the last rows, such as means; it stays at the end when the others are sorted.
    """

    heading: list[str]
    rows: list[list[tuple[str, bool]]]
    n_foot: int = 0


@dataclass(frozen=True)
class Picture:
    """A picture: the name of its files, what it shows in words, and itself as SVG and as PDF."""

    name: str
    alt: str
    svg: bytes
    pdf: bytes


@dataclass(frozen=True)
class Command:
    """A command to be copied."""

    text: str


Part = str | Grid | Picture | Command
"""What a section consists of; a text is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A section: paragraphs, tables, pictures and commands under one title."""

    title: str
    parts: list[Part]


def counted(n: int, what: str) -> str:
    """Return a number of things in words.

    Examples
    --------
    >>> from driftmoe.report import counted
    >>> counted(1, "stream"), counted(1200, "run")
    ('1 stream', '1,200 runs')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


NOTHING = "\N{EN DASH}"
"""Text of a cell without a result."""
