"""Where machine code lies, and what happens where it cannot be kept."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path

import numba
import pytest
from numba import njit
from small_package import NEEDS_COMPILER, again, kept, run

from driftmoe import kernel_cache

pytestmark = NEEDS_COMPILER


def test_a_function_of_another_package_is_not_kept(tmp_path):
    @njit
    def elsewhere(x):
        return x + 1

    assert kernel_cache.keep(elsewhere)(1) == 2
    assert elsewhere.stats.cache_path is None
    elsewhere.recompile()


def test_without_compilation_a_kernel_is_the_function(small):
    program = "from small.outer import outer, plain; print(outer is plain)"
    assert run(small, program, NUMBA_DISABLE_JIT="1") == "True"
    assert kept(small.parent.parent) == []


@pytest.mark.parametrize("place", ["__pycache__", "NUMBA_CACHE_DIR"])
def test_neither_time_nor_place_of_a_file_counts(small, tmp_path, place):
    def variables(site):
        return {"NUMBA_CACHE_DIR": str(site / "cache")} if place == "NUMBA_CACHE_DIR" else {}

    run(small, **variables(small.parent))
    moved = tmp_path / "elsewhere"
    shutil.copytree(small.parent, moved)
    for path in moved.rglob("*"):
        os.utime(path, (1e9, 1e9))
    shutil.rmtree(small.parent)
    assert run(moved / "small", **variables(moved)) == "21.0 1"


def test_the_user_says_where_it_lies(small, tmp_path):
    for expected in ("21.0 0", "21.0 1"):
        assert run(small, NUMBA_CACHE_DIR=str(tmp_path / "deep" / "cache")) == expected
    assert len(kept(tmp_path / "deep" / "cache")) == len(kept(tmp_path)) == 1
    # A folder given for a fresh start is a fresh start.
    assert run(small, NUMBA_CACHE_DIR=str(tmp_path / "new")) == "21.0 0"


def block(folder):
    """Let a file lie where a folder would be made: that stops the superuser too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("")


def test_where_the_package_cannot_be_written_the_user_keeps_it(small, tmp_path):
    block(small / "__pycache__")
    assert run(small) == "21.0 0"
    assert run(small) == "21.0 1"
    assert len(kept(tmp_path / "home")) == 1


def test_where_the_named_folder_cannot_be_written_another_is_taken(small, tmp_path):
    block(tmp_path / "file")
    for expected in ("21.0 0", "21.0 1"):
        assert run(small, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")) == expected
    assert len(kept(small / "__pycache__")) == 1


def test_where_nothing_can_be_written_each_process_compiles(small, tmp_path):
    block(small / "__pycache__")
    block(tmp_path / "home")
    assert run(small) == "21.0 0"
    assert run(small) == "21.0 0"
    assert kept(tmp_path) == []


def test_code_that_an_image_carries_is_read_where_it_cannot_be_written(loaded, monkeypatch):
    monkeypatch.setattr(sys.modules["small.kernel_cache"], "_write", lambda path, content: False)
    assert again(loaded) == (21.0, 1)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "denied")])
def test_a_full_disk_does_not_stop_a_kernel(loaded, small, monkeypatch, tmp_path, error):
    def refuse(*arguments):
        raise error

    def write_half(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    for target, name, broken in ((os, "replace", refuse), (Path, "write_bytes", write_half)):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, broken)
            assert again(loaded, error_model="numpy") == (21.0, 0)
        assert len(kept(small)) == 1
        assert list(tmp_path.rglob("*.part")) == []


def test_code_that_cannot_be_kept_says_so(loaded, small):
    path = small / "large.py"
    path.write_text(
        "import numpy as np\nfrom numba import njit\nfrom small.kernel_cache import keep\n"
        "TABLE = np.zeros(10**6)\n"
        "def look(i):\n    return TABLE[i]\n"
        "look = keep(njit(look))\n"
    )
    module = importlib.import_module("small.large")
    with pytest.warns(numba.NumbaWarning, match=r"machine code of .*look.* is not kept"):
        assert module.look(3) == 0.0
