"""Modules that are imported when a command first uses them, since help, lists and completion need none."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from driftmoe.exits import left_at_once


class Late:
    """Stands for a module, which is imported when one of its names is first read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if self._name not in sys.modules:
            with left_at_once():
                import_module(self._name)
        return getattr(sys.modules[self._name], name)
