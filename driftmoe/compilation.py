"""How numeric kernels are compiled: ahead of nothing, once per machine, with the result kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from driftmoe.kernel_cache import keep

OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True}
"""Of all: division as numpy has it; and no code to be called from C, whose compilation would take its time."""


def compiled(**options: Any) -> Callable[..., Any]:
    """Compile a function, and keep the machine code on disk where a folder for it can be written."""

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        return keep(njit(**OPTIONS, **options)(function))

    return compile_it


def part(**options: Any) -> Callable[..., Any]:
    """Compile a function that compiled ones call: its code is kept within theirs."""
    return njit(**OPTIONS, **options)


# A kernel on the way of every sample neither allocates nor counts references: counting them for each view of an array
# would take most of its time. A kernel that allocates says so. One on which several threads may work at the same time
# lets go of Python's lock.
checking_kernel = compiled(_nrt=False)
starting_kernel = compiled(_nrt=True)
stepping_kernel = compiled(_nrt=True, nogil=True)
# Each type of argument, and each literal, compiles a function anew: nodes, slots and classes are 64-bit integers.
kernel = part(_nrt=False)
allocating_kernel = part(_nrt=True)
# A call hands over a tree array by array. Short of that: compiled as if it stood in the place of the call, or, of code
# called from one place, written there.
inlined_kernel = part(_nrt=False, forceinline=True)
embedded_kernel = part(_nrt=False, inline="always")
