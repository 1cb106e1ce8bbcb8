"""The command line: read the arguments, call the library, show people the answer.

`command` is the program and `__main__` starts it. `evaluate`, `grid`, `neural`, `report` and `streams` hold a command
each, or a group of them. They share `options`, the live display of many runs (`board`), progress bars (`bars`), and
what is written to the terminal (`terminal`).
"""

from __future__ import annotations

from driftmoe.cli.command import app, main

__all__ = ["app", "main"]
