"""Programs that tests start: commands and scripts, as `python` runs them, without waiting seconds for its imports.

A process is forked from one that has imported the library, and has done nothing else. `ENVIRONMENT`, working directory,
arguments, `sys.path` and output are those of a new `python`. What depends on the start itself (imports, settings that
compilers read, signals to a whole process group) is tested with a process that is really new.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any
from unittest import mock

from places import ENVIRONMENT

CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()

COMMANDS = [
    "evaluate",
    "feed",
    "grid",
    "keyed",
    "model",
    "models",
    "neural",
    "replay",
    "report",
    "serve",
    "store",
    "streams",
]

PRELOADED = [
    *(f"driftmoe.cli.{name}" for name in COMMANDS),
    "driftmoe.experiment.backlog",  # what commands import only when they run
    "driftmoe.engines.job",
    "driftmoe.engines.local",
    "driftmoe.explanation",
    "driftmoe.neural",
    "driftmoe.report.contents",
    "driftmoe.saving",
    "driftmoe.service.client",
    "driftmoe.service.http",
    "driftmoe.service.scores",
    "driftmoe.service.serving",
    "driftmoe.warming",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "streams.export",
    "streams.opening",
]
"""Modules that the processes of tests have imported from the start. To import torch and river anew would take each 2 s.
"""


def prepare() -> None:
    """Start the process that others are forked from.

    It is done before all tests, because the first process of a grid would start one that has imported less.
    """
    if CAN_FORK:
        from multiprocessing import forkserver  # Windows has none

        with mock.patch.dict(os.environ, ENVIRONMENT, clear=True):
            forkserver.set_forkserver_preload(PRELOADED)
            forkserver.ensure_running()


class Started:
    """A process that runs. It has what the tests need of `subprocess.Popen`; its output lies in files.

    Attributes
    ----------
    args
        What it runs.
    """

    def __init__(self, arguments: tuple[str, ...], cwd: str | os.PathLike[str]) -> None:
        self.args = arguments
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._files = out, err = Path(folder, "out"), Path(folder, "err")
        if CAN_FORK:
            context = multiprocessing.get_context("forkserver")
            self._process: Any = context.Process(
                target=_run, args=(arguments, str(cwd), ENVIRONMENT, out, err)
            )
            prepare()  # it may have been killed
            self._process.start()
            return
        with out.open("w") as stdout, err.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *arguments], cwd=cwd, env=ENVIRONMENT, stdout=stdout, stderr=stderr
            )

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._files[0].read_text() if self._files[0].exists() else ""

    @property
    def stderr(self) -> str:
        """What it has written so far to its standard error."""
        return self._files[1].read_text() if self._files[1].exists() else ""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; `None` while it runs."""
        code: int | None = self._process.exitcode if CAN_FORK else self._process.poll()
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def wait(self, timeout: float = 120) -> int:
        """Wait until it has ended, and return its exit code."""
        if CAN_FORK:
            self._process.join(timeout)
        else:
            self._process.wait(timeout)
        assert self.returncode is not None, f"it did not end within {timeout} s"
        return self.returncode


def started(*arguments: str, cwd: str | os.PathLike[str]) -> Started:
    """Start `python -m module arguments`, or `python -c script arguments`, in a folder."""
    return Started(arguments, cwd)


def python(*arguments: str, cwd: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` or `python -c script arguments` in a folder; return exit code and output."""
    process = started(*arguments, cwd=cwd)
    code = process.wait(timeout=1_200)
    return subprocess.CompletedProcess(arguments, code, process.stdout, process.stderr)


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
