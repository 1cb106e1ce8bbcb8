"""What CONTRIBUTING.md tells a contributor to open is there."""

from __future__ import annotations

import re
from functools import cache

import pytest
from places import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
TO_BE_WRITTEN = {"driftmoe/experts/majority.py", "my.csv"}
"""Files of the examples."""


@cache
def names():
    """Names of all files and folders within those of the repository."""
    return {
        path.name
        for folder in ROOT.glob("[!.]*/")
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`([\w/]+(?:/|\.\w+))`", TEXT)) - TO_BE_WRITTEN))
def test_every_file_that_is_named_exists(file):
    if "/" in file.rstrip("/") or file.endswith(".md"):
        assert (ROOT / file).exists()
    elif file.endswith((".py", "/")):  # said beside its folder, or a folder of the repository
        assert (ROOT / file).exists() or file.rstrip("/") in names()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", TEXT))))
def test_every_test_that_is_named_exists(name):
    assert any(f"def {name}(" in path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize(
    ("table", "file"), re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`(?: and `[A-Z_]+`)? of `([\w/]+\.py)`", TEXT)
)
def test_every_table_that_is_named_is_in_its_file(table, file):
    assert re.search(rf"^{table}\b", (ROOT / file).read_text(), re.MULTILINE)


def test_map_names_only_files_that_exist():
    code_map = TEXT[TEXT.index("## Map of the code") : TEXT.index("## Add an expert")]
    first_columns = [line.split("|")[1] for line in code_map.splitlines() if line.startswith("| `")]
    names = set(re.findall(r"`(\w+\.py)`", " ".join(first_columns)))
    assert names == {
        p.name for folder in ("driftmoe", "streams") for p in (ROOT / folder).glob("[!_]*.py")
    } | {"__main__.py"}
