"""What a run is done with: the commit of the source tree, and the versions of Python and of packages."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


@functools.cache
def commit() -> str | None:
    """Return the commit of the source tree, with `-dirty` if files have changed; `None` for an installed package."""
    here = Path(__file__)
    git = ["git", "--no-optional-locks", "-C", str(here.parent)]  # it must not touch the index
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True)
        described = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a figure."""
    packages = ("driftmoe", "river", "torch", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
