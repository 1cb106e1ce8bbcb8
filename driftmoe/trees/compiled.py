"""How the kernels are compiled: what a numba function of this package may do, and where its machine code is kept."""

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


# A kernel on the way of every sample neither allocates nor counts references: counting them for each view of an array
# would take most of its time. A kernel that allocates says so.
# A kernel on which several threads may work at the same time says so too: it lets go of Python's lock.
kernel = compiled(_nrt=False)
allocating_kernel = compiled(_nrt=True)
stepping_kernel = compiled(_nrt=True, nogil=True)
