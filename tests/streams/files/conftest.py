"""Fixtures of the tests of files: a file of a text, and pieces so small that rows come in several."""

from __future__ import annotations

import pytest

from streams.files import records


@pytest.fixture
def put(tmp_path):
    def write_text(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_text


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 200)
