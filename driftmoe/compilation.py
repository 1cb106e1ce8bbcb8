"""Just-in-time compilation of numeric kernels, with a cache on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, partial, update_wrapper
from typing import Any

from numba import config, njit
from numba.extending import typeof_impl

from driftmoe.kernel_cache import keep

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "no_cfunc_wrapper": True}
"""Options of all kernels: numpy's rules for division, and no wrapper for calls from C, which is slow to compile.

`fastmath` is set because numba lets a kernel inherit that of its caller. The first caller would then decide for all.
"""


def compiled(**options: Any) -> Callable[..., Any]:
    """Return a decorator that compiles a function, and caches the machine code on disk if a folder is writable."""

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        return keep(njit(**(OPTIONS | options))(function))

    return compile_it


def direct(call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that does what a call of a kernel did, without looking at the types of its arguments again.

    To look at them takes longer than many a kernel needs for one row.

    Parameters
    ----------
    call
        A `functools.partial` that was called before. If it is not one of a kernel, or the kernel is compiled for
        several types, it is returned as it is.
    """
    if not isinstance(call, partial) or call.keywords or len(getattr(call.func, "overloads", ())) != 1:
        return call
    return partial(_only_entry(call.func), *call.args)


@cache  # of kernels alone, which stay: to look into the overloads takes as long as ten calls
def _only_entry(kernel: Any) -> Any:
    """Return the machine code of a kernel that is compiled for one list of types."""
    return next(iter(kernel.overloads.values())).entry_point


class Part:
    """A function that only kernels call. Its machine code is cached as part of theirs.

    Calls from Python need a wrapper, which takes long to compile, above all where an argument is a tree. So numba sees
    a dispatcher without one, and a call from Python, as tests make it, compiles a second one.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.py_func, self._options = function, options
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Call the function from Python."""
        return self._alone(*arguments)

    @cached_property
    def dispatcher(self) -> Any:
        """What numba sees; made when a kernel that calls the function is compiled."""
        options = self._options | {"no_cpython_wrapper": True}  # numba does not declare it
        return njit(**options)(self.py_func)

    @cached_property
    def _alone(self) -> Any:
        return njit(**self._options)(self.py_func)


@typeof_impl.register(Part)
def _type_of_part(value: Part, context: Any) -> Any:
    return typeof_impl(value.dispatcher, context)


def part(**options: Any) -> Callable[..., Any]:
    """Return a decorator for a function that only kernels call."""
    options = OPTIONS | options
    settings: Any = config  # numba sets its options by name
    if settings.DISABLE_JIT or options.get("inline") == "always":  # numba inlines only what is its own
        return njit(**options)
    return lambda function: Part(function, options)


# A kernel that runs for every sample neither allocates nor counts references (_nrt=False): counting them for each view
# of an array would take most of its time. A kernel that several threads may run at once releases the GIL (nogil).
checking_kernel = compiled(_nrt=False)
starting_kernel = compiled(_nrt=True)
stepping_kernel = compiled(_nrt=True, nogil=True)
# Each new argument type or literal compiles a function again. So nodes, slots and classes are always int64.
kernel = part(_nrt=False)
allocating_kernel = part(_nrt=True)
# A call passes a tree array by array, which takes time. These avoid it: LLVM inlines the first, and numba the second,
# which is meant for functions with one caller.
inlined_kernel = part(_nrt=False, forceinline=True)
embedded_kernel = part(_nrt=False, inline="always")
