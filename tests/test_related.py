"""The page of related work names what is there: each name imports, and a file of tests beside it knows the name."""

from __future__ import annotations

import pkgutil
import re

import pytest
from places import ROOT

ROWS = [
    line
    for line in (ROOT / "docs" / "related.md").read_text(encoding="utf-8").splitlines()
    if line[:2] == "| "
]
"""The lines of all tables, heads included."""


def rows_of(heading):
    """The rows of the table with a heading, in their order."""
    start = ROWS.index(heading) + 1
    heads = [i for i, line in enumerate(ROWS) if line.startswith("| paper |")]
    return ROWS[start : min((i for i in heads if i >= start), default=None)]


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "`" in row], ids=lambda row: row.split("|")[1].strip()
)
def test_what_a_row_names_is_there_and_in_the_tests_that_it_lists(row):
    files = re.findall(r"`(tests/[\w/.]+)`", row)
    tests = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    for name in re.findall(r"`(driftmoe\.[\w.]+)`", row):
        assert pkgutil.resolve_name(name) is not None
        assert not files or re.search(rf"\b{name.rpartition('.')[2]}\b", tests), name


def test_rows_are_short_and_in_the_order_of_their_names():
    for heading in ("| paper | here | tests |", "| paper | why |"):
        rows = rows_of(heading)
        assert len(rows) >= 9
        names = [row.split("|")[1].split(",")[0].strip().casefold() for row in rows]
        assert names == sorted(names)
        assert all(len(row) <= 220 for row in rows)
    assert all("`tests/" in row for row in rows_of("| paper | here | tests |"))
