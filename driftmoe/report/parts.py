"""What a report is made of: sections of paragraphs, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A table of the page: the heading of each column, and rows of cells as (text, whether it is bold)."""

    heading: list[str]
    rows: list[list[tuple[str, bool]]]


@dataclass(frozen=True)
class Picture:
    """A picture of the page: name of its file beside the Markdown, what it shows, and its PNG."""

    name: str
    alt: str
    png: bytes


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs, tables and pictures under one title."""

    title: str
    parts: list[str | Grid | Picture]


NOTHING = "\N{EN DASH}"
"""Shown in a cell without a result."""
