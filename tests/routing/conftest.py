"""One thread for all tests of routing."""

from __future__ import annotations

from small_tensors import one_thread  # noqa: F401  # used by all tests
