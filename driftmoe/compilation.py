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


# A kernel on the way of every sample neither allocates nor counts references: counting them for each view of an array
# would take most of its time. A kernel that allocates says so. One on which several threads may work at the same time
# lets go of Python's lock.
kernel = compiled(_nrt=False)
allocating_kernel = compiled(_nrt=True)
stepping_kernel = compiled(_nrt=True, nogil=True)
inlined_kernel = compiled(_nrt=False, forceinline=True)
# A kernel without branches that may fuse a product and a sum into one instruction, and one that may add up in any
# order besides, so that they fit the vector registers. NaN and infinities mean what they always mean.
fusing_kernel = compiled(_nrt=False, fastmath={"contract"})
reordering_kernel = compiled(_nrt=False, fastmath={"contract", "reassoc"})
