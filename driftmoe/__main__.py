"""Entry point of the command line. It handles Ctrl-C before it imports anything slow.

Only Python's own modules and `driftmoe.exits` are imported at the top. A Ctrl-C before `main` runs is answered by
Python, with a traceback.
"""

from __future__ import annotations

import signal
import sys

from driftmoe.exits import INTERRUPTED, SAID, leave, left_at_once


def main() -> None:
    """Run the command line. Ctrl-C ends it at any moment, with one line of text and exit code 130."""
    is_answered = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell may ignore it
    try:
        with left_at_once():
            from driftmoe.cli import main as command

        command()
    except KeyboardInterrupt:  # before the command, or a second one while it cleans up
        sys.stderr.write(f"{SAID}\n")
        sys.exit(INTERRUPTED)
    finally:
        # Python ends by the signal, whatever the exit code, if an interrupt came within `exec` or `eval` of a text, as
        # dataclasses and type hints use them, although it was caught. The next `exec` makes it forget that.
        exec("")
        if is_answered:
            signal.signal(signal.SIGINT, leave)


if __name__ == "__main__":
    main()
