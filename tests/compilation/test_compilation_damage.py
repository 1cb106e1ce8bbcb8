"""Damaged machine code is never run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numba import njit
from small_package import NEEDS_COMPILER, again, kept

pytestmark = NEEDS_COMPILER


def spoilt(content, n):
    """Copies of a file with one bit turned over, or cut off, at `n` places each, or overwritten."""
    for at in np.linspace(0, len(content) - 1, n).astype(int):
        yield content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
        yield content[:at]
    yield content + b"\0"
    yield bytes(len(content))
    yield b"no machine code"


def test_a_damaged_file_is_thrown_away_and_compiled_anew(loaded, small):
    (path,) = kept(small)
    whole = path.read_bytes()
    for content in spoilt(whole, 25):
        path.write_bytes(content)
        assert again(loaded) == (21.0, 0)
        assert again(loaded) == (21.0, 1)
    assert kept(small) == [path]


def test_every_damage_is_noticed(loaded, small):
    cache = sys.modules["small.kernel_cache"]
    (path,) = kept(small)
    for content in spoilt(path.read_bytes(), 500):
        path.write_bytes(content)
        assert cache._read(path) is None
        assert not path.exists()


def test_damage_that_cannot_be_mended_costs_a_compilation(loaded, small, monkeypatch):
    # In an image that is only read: the user's folder has the whole one from then on.
    cache = sys.modules["small.kernel_cache"]
    (path,) = kept(small)
    path.write_bytes(b"")
    write_it, inside = cache._write, str(small)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    monkeypatch.setattr(cache, "_write", lambda p, content: inside not in str(p) and write_it(p, content))
    assert again(loaded) == (21.0, 0)
    assert again(loaded) == (21.0, 1)
    assert path.read_bytes() == b""


def test_code_of_another_kernel_under_this_name_is_not_run(loaded, small):
    (path,) = kept(small)
    content = path.read_bytes()
    kernel = loaded.keep(njit(loaded.plain))
    kernel(np.arange(3, dtype=np.int32), 2)
    (other,) = set(kept(small)) - {path}
    other.write_bytes(content)
    kernel = loaded.keep(njit(loaded.plain))
    assert kernel(np.arange(3, dtype=np.int32), 2) == 21
    assert sum(kernel.stats.cache_hits.values()) == 0


def test_a_folder_in_the_place_of_a_file_is_no_code(loaded, small):
    (path,) = kept(small)
    path.unlink()
    path.mkdir()
    assert again(loaded) == (21.0, 0)
    assert again(loaded) == (21.0, 1)  # from the next place
