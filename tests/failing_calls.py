"""System calls that fail, one at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence


def fail_at(patch, names: Sequence[str], k: int, number: int) -> list[str]:
    """Let call `k` (from 0) of these functions of `os` fail; return a list that receives the name of each call."""
    calls: list[str] = []

    def counted(name):
        real = getattr(os, name)

        def call(*args, **options):
            calls.append(name)
            if len(calls) == k + 1:
                raise OSError(number, os.strerror(number))
            return real(*args, **options)

        return call

    for name in names:
        patch.setattr(os, name, counted(name))
    return calls
