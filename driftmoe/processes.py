"""Processes of this machine: how they start, and that they end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

_SAFE_PATH = "PYTHONSAFEPATH"  # keeps Python from looking for modules in the working folder


def context_of(*preloaded: str) -> Any:
    """Return how processes start.

    On Linux they are forked from a process that has imported the library and does nothing else. They start at once and
    share the memory of the imported code. As elsewhere, each imports the user's program anew. Elsewhere they import
    everything anew, since libraries of macOS do not allow forks, and Windows has none.

    The library is imported from where this process would find it, and not from the working folder, where the first
    process would look otherwise: a folder of the same name there may be another version.

    Parameters
    ----------
    preloaded
        Modules that all processes import.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver  # which Windows lacks

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before
    return context


def begin_child(environment: Mapping[str, str]) -> None:
    """Begin a process that does what its parent says: with its environment, deaf to Ctrl-C, and no longer than it."""
    if os.environ != environment:  # that of the process it is forked from may be older
        os.environ.clear()
        os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has died without ending it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
