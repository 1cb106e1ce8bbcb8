"""Programs that tests start: commands and scripts, as `python` runs them, without waiting seconds for its imports.

A process is forked from one that has imported the library, and has done nothing else. `ENVIRONMENT`, working directory,
arguments, `sys.path` and output are those of a new `python`. What depends on the start itself (imports, settings that
compilers read, signals to a whole process group) is tested with a process that is really new.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from places import ENVIRONMENT

CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()

PRELOADED = ["driftmoe.cli", "driftmoe.report", "matplotlib.backends.backend_agg"]


def python(*arguments: str, cwd: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` or `python -c script arguments` in a folder; return exit code and output."""
    if not CAN_FORK:
        return subprocess.run(
            [sys.executable, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True
        )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = context.Process(target=_run, args=(arguments, str(cwd), ENVIRONMENT, out, err))
        with mock.patch.dict(
            os.environ, ENVIRONMENT, clear=True
        ):  # not what a test has set for its own process
            process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read_text(), err.read_text())


def driftmoe(*arguments: str, cwd: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run the command `driftmoe` in a folder; return its exit code and output."""
    return python("-m", "driftmoe.cli", *map(str, arguments), cwd=cwd)


def _run(arguments: tuple[str, ...], cwd: str, environment: dict[str, str], out: Path, err: Path) -> None:
    """What the forked process does."""
    for path, number in ((out, 1), (err, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell makes commands in the background ignore Ctrl-C, which all processes below them inherit.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    how, what, *rest = arguments
    sys.argv = [how, *rest]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
