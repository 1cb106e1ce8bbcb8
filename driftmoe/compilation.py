"""Just-in-time compilation of numeric kernels, with a cache on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, partial, update_wrapper
from typing import Any

from numba import config, njit
from numba.core import compiler, dispatcher
from numba.core.codegen import JITCodeLibrary
from numba.extending import typeof_impl

from driftmoe.kernel_cache import keep

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "no_cfunc_wrapper": True}
"""Options of all kernels: numpy's rules for division, and no wrapper for calls from C, which is slow to compile.

`fastmath` is set because numba lets a kernel inherit that of its caller. The first caller would then decide for all.
"""

UNRESOLVED = ".numba.unresolved$"
"""What the name of a variable begins with in which numba keeps the address of a function that is not compiled yet."""


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


class _PartLibrary(JITCodeLibrary):
    """The code of a part, which LLVM neither optimises for its own sake nor turns into machine code.

    It is optimised within each kernel that calls it. Before that, the cheap passes make it smaller.
    """

    def _optimize_final_module(self) -> None:
        cheap = self._codegen._module_pass_manager(
            loop_vectorize=False, slp_vectorize=False, opt=0, cost="cheap"
        )
        passes, *builder = cheap if isinstance(cheap, tuple) else (cheap,)  # numba 0.61 has no builder
        passes.run(self._final_module, *builder)

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


_UsualCompiler: Any = dispatcher._FunctionCompiler  # type: ignore[attr-defined]  # numba does not declare it


class _PartCompiler(_UsualCompiler):
    """numba's compiler of a function, up to the code that kernels link."""

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        target = self.targetdescr.target_context
        flags: Any = compiler.Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        flags.no_compile = True
        library = _PartLibrary(target.codegen(), self.py_func.__qualname__)
        result = compiler.compile_extra(
            self.targetdescr.typing_context, target, self.py_func, args, return_type, flags, self.locals, library,
            self.pipeline_class,
        )  # fmt: skip
        module = library._final_module
        if any(variable.name.startswith(UNRESOLVED) for variable in module.global_variables):
            raise NotImplementedError(
                f"{self.py_func.__qualname__} and a function that it calls call each other, which parts of kernels "
                "cannot; use a loop, or one function that calls itself"
            )
        if any(function.name.startswith("Py") for function in module.functions):
            return super()._compile_core(args, return_type)  # which calls Python, for example to print
        entry: Any = {}.__getitem__  # a key by which numba finds the code, a built-in method; a call raises KeyError
        target.insert_user_function(entry, result.fndesc, [library])
        return result._replace(entry_point=entry)


class Part:
    """A function that only kernels call. Its machine code is cached as part of theirs.

    Machine code of its own would take a third of the time of compiling, and nobody would run it. A call from Python, as
    tests make it, compiles the function as any other. A part may call itself, but no two may call each other, and none
    may contain `numba.objmode`.
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
        new: Any = njit(**options)(self.py_func)
        usual = new._compiler
        new._compiler = _PartCompiler(
            usual.py_func, usual.targetdescr, usual.targetoptions, usual.locals, usual.pipeline_class
        )
        return new

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
