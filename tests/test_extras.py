"""Hints how to install an extra, which work from where the library is."""

from __future__ import annotations

from driftmoe import extras


def test_a_clone_installs_itself_and_a_package_comes_from_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    assert extras.install("dask") == "pip install 'driftmoe[dask]'"
    (tmp_path / "pyproject.toml").touch()
    assert extras.install("dask") == f"pip install -e '{tmp_path}[dask]'"
