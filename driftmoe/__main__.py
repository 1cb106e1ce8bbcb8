"""Where the command line starts: what answers Ctrl-C is there before anything that takes long is imported.

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
    """Run the command line; Ctrl-C ends it in one line and exit code 130, at any moment."""
    is_answered = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell may have it ignored
    try:
        if is_answered:
            signal.signal(signal.SIGINT, leave)
        from driftmoe.cli import main as command

        if is_answered:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command()
    except KeyboardInterrupt:  # before the command, or a second one while it puts things in order
        sys.stderr.write(f"{SAID}\n")
        sys.exit(INTERRUPTED)
    finally:
        if is_answered:
            signal.signal(signal.SIGINT, leave)


def leave(*_: Any) -> None:
    """Say so and end the process where it stands, for while nothing is at work that has to be put in order.

    An exception would not do: compiled modules turn one that comes while they are imported into another, or crash, and
    Python itself shows those that come while it cleans up.
    """
    with suppress(OSError):
        os.write(2, f"{SAID}\n".encode())
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
