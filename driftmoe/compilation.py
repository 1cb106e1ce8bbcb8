"""How numeric kernels are compiled: ahead of nothing, once per machine, with the result kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[..., Any]:
    """Compile a function, and keep the machine code on disk where a folder for it can be written."""

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, error_model="numpy", **options)(function)
        except RuntimeError:  # numba found no such folder
            return njit(error_model="numpy", **options)(function)

    return compile_it
