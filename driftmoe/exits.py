"""What the command line says, and with which exit code it ends, after Ctrl-C; what it says of errors of the system."""

from __future__ import annotations

import os

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
