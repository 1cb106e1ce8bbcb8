"""`driftmoe warm-up`, from a folder without kernels. Before the whole suite it runs once, for all tests.

Processes that run tests side by side would else compile the same kernels, each for itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numba
from places import ROOT


def environment(folder: Path) -> dict[str, str]:
    """Return that of a process whose kernels lie in a folder alone, and that says when it compiles."""
    others = {name: value for name, value in os.environ.items() if name != "DRIFTMOE_QUIET"}
    return others | {"NUMBA_CACHE_DIR": str(folder / "kernels")}


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python arguments` with the kernels of a folder."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment(folder)
    )


def warm_up(folder: Path) -> None:
    """Run the command, and keep what it said in `said.json` of the folder, and its kernels in `kernels`."""
    done = python(folder, "-m", "driftmoe", "warm-up")
    said = {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")


def share(folder: Path) -> None:
    """Copy the kernels of a folder to where the tests look for them, each at once. The folder keeps its own."""
    for path in folder.glob("kernels/driftmoe/*/*.nbc"):
        *packages, _ = path.parent.name.rpartition("-")[0].split(".")
        beside = Path(numba.config.CACHE_DIR, "driftmoe") if numba.config.CACHE_DIR else None
        target = (beside or ROOT.joinpath(*packages, "__pycache__")) / path.parent.name / path.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f"{uuid.uuid4().hex}.tmp")
            shutil.copyfile(path, unfinished)
            unfinished.replace(target)
