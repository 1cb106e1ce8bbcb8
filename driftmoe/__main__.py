"""The command `driftmoe`, or `python -m driftmoe`: it hears Ctrl-C while the libraries beneath are being imported."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit code 130, from the first moment on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from driftmoe import cli

    try:
        if signal.getsignal(signal.SIGINT) is _leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _leave(*_: object) -> None:
    """End the process: an import that is broken off may raise anything, and there is nothing to be lost."""
    os.write(2, b"driftmoe: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
