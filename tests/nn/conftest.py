"""Fixtures of the tests of layers: one thread, and one way of dispatch at a time."""

from __future__ import annotations

import pytest
import torch
from small_layers import WAYS

from driftmoe.nn import dispatch


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tensors of these sizes gain nothing from threads, and lose much where other processes want the cores."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


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
