"""Fixtures of the tests of layers: one thread, and one way of dispatch at a time."""

from __future__ import annotations

import pytest
from small_layers import WAYS
from small_tensors import one_thread  # noqa: F401  # used by all tests

from driftmoe.nn import dispatch


@pytest.fixture
def take(monkeypatch):
    """A function that leaves one way of dispatch alone: each other fails when it is called."""

    def take(way):
        monkeypatch.setattr(dispatch, "FEW_LINES", 10**9 if way == "by_gathering" else -1)
        if way == "by_segments":
            monkeypatch.setattr(dispatch, "can_group", lambda lines, weight: False)
        for other in set(WAYS) - {way}:
            monkeypatch.setattr(dispatch, other, None)

    return take
