"""The elements of a report: sections with paragraphs, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A table: the heading of each column, and rows of cells as (text, whether it is bold)."""

    heading: list[str]
    rows: list[list[tuple[str, bool]]]


@dataclass(frozen=True)
class Picture:
    """A picture: the name of its files, what it shows in words, and itself as SVG and as PDF."""

    name: str
    alt: str
    svg: bytes
    pdf: bytes


@dataclass(frozen=True)
class Section:
    """A section: paragraphs, tables and pictures under one title."""

    title: str
    parts: list[str | Grid | Picture]


NOTHING = "\N{EN DASH}"
"""Text of a cell without a result."""
