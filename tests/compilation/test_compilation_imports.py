"""Which files a kernel's machine code depends on: imports, as they are read from the source."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
from places import ROOT
from small_package import NEEDS_COMPILER, forget

pytestmark = NEEDS_COMPILER

SOURCES = [*(ROOT / "driftmoe").rglob("*.py"), *(ROOT / "streams").rglob("*.py")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports_are_found_as_the_parser_finds_them(path):
    package = path.relative_to(ROOT).parts[0]

    def file(name):
        base = ROOT.joinpath(*name.split("."))
        return next((p for p in (base / "__init__.py", Path(f"{base}.py")) if p.exists()), None)

    expected = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            expected |= {file(alias.name) for alias in node.names if alias.name.split(".")[0] == package}
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == package:
            expected |= {file(f"{node.module}.{alias.name}") or file(node.module) for alias in node.names}
    found = importlib.import_module(f"{package}.kernel_cache")._source(path).imports
    assert found == expected


@pytest.mark.parametrize(
    "path",
    [path for path in (ROOT / "streams" / "synthetic").glob("*.py") if "\n@kernel\n" in path.read_text()],
    ids=lambda path: path.stem,
)
def test_streams_kernels_hang_on_the_random_numbers_and_on_what_they_share(path):
    from streams import kernel_cache

    imports = kernel_cache._source(path).imports
    assert ROOT / "streams" / "java_random.py" in imports
    assert path.stem == "generator" or path.with_name("generator.py") in imports


@pytest.mark.parametrize(
    "statement",
    [
        "from small import helper",
        "from small.helper import scaled as s, other",
        "import math, small.helper as h",
        "from . import helper",
        "from .helper import scaled",
        "from small.helper import *",
        "from small import (\n    constants,  # why, and (how\n    helper,\n)",
        "def late():\n    from small.helper import scaled",
    ],
)
def test_all_ways_to_import_are_seen(small, statement, monkeypatch):
    monkeypatch.syspath_prepend(small.parent)
    forget("small")
    module = importlib.import_module("small.kernel_cache")
    (small / "other.py").write_text(f'"""Text."""\n\n{statement}\n')
    assert small / "helper.py" in module._source(small / "other.py").imports
    (small / "sub").mkdir()
    (small / "sub" / "__init__.py").write_text("from ..helper import scaled\nfrom . import leaf\n")
    (small / "sub" / "leaf.py").write_text("from .. import constants\n")
    assert module._source(small / "sub" / "__init__.py").imports == {
        small / "helper.py",
        small / "sub" / "leaf.py",
    }
    assert module._source(small / "sub" / "leaf.py").imports == {small / "constants.py"}
