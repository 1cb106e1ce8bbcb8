from __future__ import annotations

import os

import nbformat
import pytest
from nbclient import NotebookClient
from places import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


PICTURES = {
    "01_quickstart": 1,
    "02_drift_and_routing": 4,
    "03_neural_moe": 5,
    "04_results": 1,
    "05_service": 1,
}
"""Notebook -> pictures that it holds when it was executed."""


def test_every_notebook_is_checked_for_its_pictures():
    assert [path.stem for path in NOTEBOOKS] == list(PICTURES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the kernel's client, not ours
def test_notebook_runs_at_tiny_size(path, monkeypatch, tmp_path):
    monkeypatch.setenv("NOTEBOOK_SAMPLES", "600")
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute(
        env=dict(os.environ)
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.get("execution_count") for cell in code)
    shown = [output.data for cell in code for output in cell.outputs if "data" in output]
    pictures = [data for data in shown if "image/png" in data]
    assert len(pictures) == PICTURES[path.stem]
    assert not any("<Figure" in data.get("text/plain", "") for data in shown if data not in pictures)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
