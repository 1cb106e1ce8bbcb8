"""How to install what an extra needs, from a clone and from a package index."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The clone, if this is one."""


def install(extra: str) -> str:
    """Return the command that installs an extra: from the clone if the library runs from one.

    Examples
    --------
    >>> install("dask").startswith("pip install")
    True
    """
    if (ROOT / "pyproject.toml").is_file():
        return f"pip install -e '{ROOT}[{extra}]'"
    return f"pip install 'driftmoe[{extra}]'"
