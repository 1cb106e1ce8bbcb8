"""Entry point of the command line. It handles Ctrl-C before it imports anything slow.

Only Python's own modules and `driftmoe.exits` are imported at the top. A Ctrl-C before `main` runs is answered by
Python, with a traceback.
"""

from __future__ import annotations

import os
import signal
import sys

from driftmoe.exits import INTERRUPTED, SAID, leave, left_at_once


def main() -> None:
    """Run the command line. Ctrl-C ends it at any moment, with one line of text and exit code 130."""
    _look_here_last()
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


def _look_here_last() -> None:
    """Let a file of the working folder, such as a user's streams.py, hide no package: `python -m` looks there first.

    The script `driftmoe` does not look there at all, until something of the user's own is named.
    """
    here = os.getcwd()
    is_ours = here == os.path.dirname(
        os.path.dirname(os.path.abspath(__file__))
    )  # a clone, which is not installed
    if sys.path and sys.path[0] in ("", here) and not is_ours:
        sys.path.append(sys.path.pop(0))


if __name__ == "__main__":
    main()
