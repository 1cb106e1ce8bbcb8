"""Fixtures of the tests of kept machine code: the small package on disk, and loaded in this process."""

from __future__ import annotations

import importlib
import shutil

import numba
import numpy as np
import pytest
from small_package import HELPER, OUTER, forget, write

from driftmoe import kernel_cache


@pytest.fixture
def small(tmp_path):
    """A package whose kernel `outer` calls a helper in another file, which takes a constant from a third."""
    package = tmp_path / "site" / "small"
    package.mkdir(parents=True)
    shutil.copy(kernel_cache.__file__, package)
    (package / "__init__.py").write_text("")
    (package / "unrelated.py").write_text("")
    write(package / "constants.py", "FACTOR = 10\n")
    write(package / "helper.py", HELPER)
    write(package / "outer.py", OUTER)
    return package


@pytest.fixture
def loaded(small, monkeypatch, tmp_path):
    """The same package within this process, whose kernel has been compiled and kept."""
    monkeypatch.syspath_prepend(small.parent)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    forget("small")
    cache = importlib.import_module("small.kernel_cache")
    monkeypatch.setattr(cache, "_user_folder", lambda: tmp_path / "home")
    module = importlib.import_module("small.outer")
    assert module.outer(np.arange(3.0), 2) == 21.0
    yield module
    forget("small")
