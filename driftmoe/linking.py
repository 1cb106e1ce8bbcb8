"""Compiles functions that only kernels call, as far as to link them into kernels.

numba optimises each function in full, and makes machine code of it, before it does both again with the kernel into
which the function is linked. For parts of kernels the first is wasted, a tenth of the time that compilation takes.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]  # an extension module
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import NativeLowering


class LinkedLibrary(JITCodeLibrary):
    """The code of a part, which is linked into kernels and cannot run by itself."""

    def _optimize_final_module(self) -> None:
        """Leave to the kernel what looks at more than one function."""

    def _finalize_final_module(self) -> None:
        """Do without machine code."""
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class LinkedLowering(NativeLowering):
    """numba's step from typed code to LLVM's, into a `LinkedLibrary`."""

    _name = "linked_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower the function, and tell numba which code stands for calls of it."""
        flags, name = state.flags, state.func_id.func_qualname
        state.library = LinkedLibrary(state.targetctx.codegen(), name)
        state.flags = flags.copy()
        state.flags.no_compile = True
        super().run_pass(state)
        state.flags = flags
        found = state.cr
        # numba names what it calls by an object that can be called from Python: here one without an address
        key = _dynfunc.make_function(found.fndesc.lookup_module(), name, "", 0, found.env, (state.library,))
        state.targetctx.insert_user_function(key, found.fndesc, [state.library])
        state.cr = found._replace(cfunc=key)
        return True


class PartCompiler(CompilerBase):
    """numba's compiler, with `LinkedLowering`."""

    def define_pipelines(self) -> list[Any]:
        """Return the only list of steps."""
        steps: Any = PassManager("part")
        for step, description in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
            steps.add_pass(LinkedLowering if step is NativeLowering else step, description)
        steps.finalize()
        return [steps]
