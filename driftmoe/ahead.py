"""Kernels that are compiled before they run, side by side in two processes.

A step of a model is planned before it is carried out, so that its kernels are known before the first of them runs.
Those whose machine code is not on disk are compiled by this process and by a helper, each of which takes the next one
that is left: the helper from the first wanted on, this process from the last. Code passes through the cache on disk.
Without a second core, a folder for the cache, or a Python to start, this process compiles all.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import Any

from numba import config, typeof
from numba.core.compiler import Flags
from numba.core.compiler_lock import global_compiler_lock

from driftmoe.kernel_cache import before_compiling

QUIET = "DRIFTMOE_QUIET"
"""Environment variable. If it is set to anything but 0, nothing is written to standard error."""

TOLD = (
    "driftmoe: compiling what this needs, once for this machine and version; all of it takes some 20 seconds, or 30 on "
    "a single core. `driftmoe warm-up` does it beforehand.\n"
)
"""What is written to standard error when this process first compiles a kernel."""

RARELY = (50_000, 20, 100)
"""Least thresholds at which garbage is collected while a kernel is compiled; see `gc.set_threshold`."""

IDLE = 5.0
"""Seconds without work after which the helper ends."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from driftmoe import ahead; ahead.help_out()"
)

Jobs = dict[Any, tuple[Any, ...]]
"""Kernel -> types of its arguments."""

wanted: Jobs = {}
"""Kernels that nobody compiles yet, in the order in which they were wanted."""
_held: Jobs = {}  # that the helper is compiling
_kept: Jobs = {}  # that the helper has compiled, to be loaded
_changed = threading.Condition()
_helper: list[subprocess.Popen[bytes]] = []  # at most one
_has_told: list[bool] = []


def want(kernel: Any, arguments: tuple[Any, ...]) -> None:
    """Load a kernel, or note that it must be compiled for arguments like these before it runs."""
    types = tuple(map(typeof, arguments))
    if kernel._cache.is_kept(types, kernel.targetctx):
        kernel.compile(types)
        return
    with _changed:
        if kernel in wanted or kernel in _held or kernel in _kept:
            return
        wanted[kernel] = types
        _changed.notify_all()
    if not _helper and _may_have_help(kernel):
        _start_helper()


def is_wanted() -> bool:
    """Return whether a kernel waits to be compiled or loaded."""
    return bool(wanted or _held or _kept)


def compile_wanted() -> None:
    """Compile all kernels that are wanted, together with the helper."""
    while True:
        with _changed:
            while _held and not wanted and not _kept:
                _changed.wait()
            jobs = wanted or _kept
            if not jobs:
                return
            kernel, types = jobs.popitem()
        try:
            with less_overhead():
                kernel.compile(types)
        finally:
            if not kernel.overloads:  # interrupted
                with _changed:
                    wanted[kernel] = types


@contextmanager
def less_overhead() -> Iterator[None]:
    """Compile in four fifths of the time: without collecting garbage all the time, and comparing flags the short way.

    numba makes many objects, nearly all of which it still needs when garbage is collected. It also looks up the flags
    of a function 100 000 times, and each time takes all of them, one property after the other.
    """
    flags: Any = Flags  # numba's own, to which a method is lent
    with global_compiler_lock:
        thresholds = gc.get_threshold()
        is_ours = "values" not in vars(flags) and hasattr(flags, "options") and hasattr(Flags(), "_values")
        try:
            if is_ours:
                flags.values = _values
            if thresholds[0] > 0:  # not switched off
                gc.set_threshold(*map(max, thresholds, RARELY))
            yield
        finally:
            gc.set_threshold(*thresholds)
            if is_ours:
                del flags.values


def _values(flags: Any) -> dict[str, Any]:
    """Return what `Flags.values` returns: each option with its value or its default."""
    kind: Any = type(flags)
    return _defaults(kind) | flags._values


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    return {name: option.default for name, option in kind.options.items()}


def tell() -> None:
    """Write once to standard error that kernels are compiled, unless this process works for another one."""
    if _has_told:
        return
    _has_told.append(True)
    if (
        os.environ.get(QUIET, "0") == "0"
        and multiprocessing.parent_process() is None
        and sys.stderr is not None
    ):
        sys.stderr.write(TOLD)
        sys.stderr.flush()


before_compiling.append(tell)


def _may_have_help(kernel: Any) -> bool:
    """Whether a second process may take part: worker processes, for example of a grid, share the cores already."""
    return (
        _n_cores() > 1
        and multiprocessing.parent_process() is None
        and Path(_python()).name.startswith("python")  # not a program that Python is built into
        and kernel._cache.is_writable()
    )


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _python() -> str:
    return os.fsdecode(get_executable() or "")


def _start_helper() -> None:
    settings: Any = config  # numba sets its options by name
    environment = os.environ | ({"NUMBA_CACHE_DIR": settings.CACHE_DIR} if settings.CACHE_DIR else {})
    with suppress(OSError):  # where no process may be started
        _helper.append(
            subprocess.Popen(
                [_python(), "-c", _START, json.dumps(sys.path)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
        threading.Thread(target=_feed, args=(_helper[0],), daemon=True, name="driftmoe-compiling").start()


def _feed(helper: subprocess.Popen[bytes]) -> None:
    """Give the helper a job whenever it asks for one, until it ends or there is nothing left."""
    assert helper.stdin is not None
    assert helper.stdout is not None
    with suppress(OSError), helper, helper.stdin:
        for _ in helper.stdout:
            with _changed:
                _kept.update(_held)
                _held.clear()
                _changed.notify_all()
                if not _changed.wait_for(lambda: wanted, IDLE):
                    break
                kernel = next(iter(wanted))
                _held[kernel] = types = wanted.pop(kernel)
            name = kernel.py_func.__module__, kernel.py_func.__qualname__
            helper.stdin.write(pickle.dumps((*name, types)))
            helper.stdin.flush()
    with _changed:
        wanted.update(_held)
        _held.clear()
        _helper.clear()
        _changed.notify_all()


def help_out() -> None:
    """Compile what comes on standard input, until that ends. A line on standard output asks for the next job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the other one decides
    _has_told.append(True)
    jobs: queue.SimpleQueue[tuple[str, str, tuple[Any, ...]]] = queue.SimpleQueue()

    def read() -> None:
        with suppress(EOFError):
            while True:
                jobs.put(pickle.load(sys.stdin.buffer))
        os._exit(0)  # at once, in the middle of a kernel: the other process has ended

    threading.Thread(target=read, daemon=True).start()
    while True:
        os.write(1, b"\n")
        module, name, types = jobs.get()
        with less_overhead():
            getattr(import_module(module), name).compile(types)


def _forget() -> None:
    """Leave the helper to the parent, after a fork."""
    global _changed
    _changed = threading.Condition()
    for jobs in (_held, _kept, _helper):
        jobs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
