"""`python -m driftmoe.cli`."""

from __future__ import annotations

from driftmoe.cli.command import main

if __name__ == "__main__":
    main()
