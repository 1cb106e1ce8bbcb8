"""Fixtures of the tests of trees."""

from __future__ import annotations

import pytest
from river.tree.nodes import htc_nodes


@pytest.fixture
def naive_sum(monkeypatch):
    """From Python 3.12 on `sum` corrects its rounding; river's trees then attempt some splits one sample earlier."""

    def add_up(values, start=0):
        for value in values:
            start += value
        return start

    monkeypatch.setattr(htc_nodes, "sum", add_up, raising=False)
