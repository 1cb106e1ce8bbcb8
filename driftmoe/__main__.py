"""Entry point of the command line. It handles Ctrl-C before it imports anything slow.

Only Python's own modules and two constants are imported at the top. A Ctrl-C before `main` runs is answered by Python,
with a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any

from driftmoe.exits import INTERRUPTED, SAID


def main() -> None:
    """Run the command line. Ctrl-C ends it at any moment, with one line of text and exit code 130."""
    is_answered = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell may ignore it
    try:
        if is_answered:
            signal.signal(signal.SIGINT, leave)
        from driftmoe.cli import main as command

        if is_answered:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command()
    except KeyboardInterrupt:  # before the command, or a second one while it cleans up
        sys.stderr.write(f"{SAID}\n")
        sys.exit(INTERRUPTED)
    finally:
        if is_answered:
            signal.signal(signal.SIGINT, leave)


def leave(*_: Any) -> None:
    """Print the message and end the process at once. Used while there is nothing to clean up.

    Raising an exception does not work here. Compiled modules that are being imported turn it into another one, or
    crash, and Python prints exceptions that are raised during its own shutdown.
    """
    with suppress(OSError):
        os.write(2, f"{SAID}\n".encode())
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
