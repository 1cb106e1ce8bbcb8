"""How the command line ends after Ctrl-C, also within a slow import, and what it says of errors of the system."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

SAID = "driftmoe: interrupted"
"""Message after Ctrl-C."""


def described(error: BaseException) -> str:
    """Return the message of an error; that of the operating system begins with the file and has no number."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{place}{error.strerror}"
    return str(error)


@contextmanager
def left_at_once() -> Iterator[None]:
    """End the process at once if Ctrl-C comes within this block, unless the caller ignores or handles the signal."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # a shell may ignore it
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave(*_: Any) -> None:
    """Print the message and end the process at once. Used while there is nothing to clean up.

    Raising an exception does not work here. Compiled modules that are being imported turn it into another one, or
    crash, and Python prints exceptions that are raised during its own shutdown.
    """
    with suppress(OSError):
        os.write(2, f"{SAID}\n".encode())
    os._exit(INTERRUPTED)
