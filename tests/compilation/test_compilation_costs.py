"""What must not be compiled, because it takes long and serves nobody."""

from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest
from numba import njit
from places import ROOT
from small_package import NEEDS_COMPILER

from driftmoe.compilation import part

SOURCES = [*(ROOT / "driftmoe").rglob("*.py"), *(ROOT / "streams").rglob("*.py")]

DECORATORS = ("kernel", "compiled", "part", "function")


def kernels():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                ast.unparse(decorator).split("(")[0].endswith(DECORATORS) for decorator in node.decorator_list
            ):
                yield pytest.param(node, id=f"{path.stem}.{node.name}")


def is_number(node):
    """Whether an expression is a number as such, or a constant of a module by name."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) == "np.float32" and all(map(is_number, node.args))
    return (
        isinstance(node, ast.Constant)
        or (isinstance(node, ast.UnaryOp) and ast.unparse(node.operand) in ("np.inf", "1.0"))
        or (isinstance(node, ast.Name) and node.id.isupper())
    )


@pytest.mark.parametrize("kernel", list(kernels()))
def test_a_kernel_assigns_no_array_to_a_slice(kernel):
    """A loop compiles in a moment. For a slice, numba compiles the texts of its errors: three seconds."""
    for node in ast.walk(kernel):
        if isinstance(node, ast.Assign):
            slices = [
                target
                for target in node.targets
                if isinstance(target, ast.Subscript)
                and any(isinstance(part_of_index, ast.Slice) for part_of_index in ast.walk(target.slice))
            ]
            assert not slices or is_number(node.value), ast.unparse(node)


WHOLE = {"all", "any", "argmax", "argmin", "cumsum", "dot", "max", "mean", "min", "prod", "std", "sum", "var"}
"""Functions of whole arrays in the module `arraymath` of numba, which imports scipy."""


@pytest.mark.parametrize("kernel", list(kernels()))
def test_a_kernel_calls_no_function_whose_module_takes_long_to_import(kernel):
    """Each start would import it: the machine code on disk names the module."""
    for node in ast.walk(kernel):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in WHOLE, ast.unparse(node)


@NEEDS_COMPILER
def test_a_part_of_kernels_has_no_wrapper_for_python_and_can_still_be_called():
    @part()
    def twice(x):
        return 2 * x

    @part()
    def fourfold(x):
        return twice(twice(x))

    assert (fourfold(3), twice(3)) == (12, 6)
    (compiled,) = twice.dispatcher.overloads.values()
    assert compiled.fndesc.llvm_cpython_wrapper_name not in compiled.library.get_llvm_str()
    assert twice.py_func(np.ones(1)) == 2.0


@NEEDS_COMPILER
def test_a_part_of_kernels_has_no_machine_code_of_its_own(monkeypatch):
    """It would take a third of the time of compiling. What a kernel calls is within the kernel's."""

    @part()
    def gone_down(x):  # calls itself
        return 1 + gone_down(x - 1) if x > 0 else 0

    @part()
    def both(x):
        return gone_down(x) + gone_down(2 * x)

    @njit
    def outermost(x):
        return both(x)

    codegen, turned_into_machine_code = outermost.targetctx.codegen(), []
    add_module = codegen._add_module

    def note(module):
        turned_into_machine_code.append(module.name)
        return add_module(module)

    monkeypatch.setattr(codegen, "_add_module", note)
    assert outermost(3) == 9
    (name,) = turned_into_machine_code
    assert name.endswith("outermost")
    assert both(3) == 9  # from Python
    assert len(turned_into_machine_code) > 1


@NEEDS_COMPILER
def test_a_part_of_kernels_may_raise_an_error_with_a_number_in_it():
    @part()
    def checked(x):
        if x > 2:
            raise ValueError(f"{x} is above 2")
        return x

    @njit
    def outermost(x):
        return checked(x)

    assert outermost(2) == 2
    with pytest.raises(ValueError, match="3 is above 2"):
        outermost(3)


@NEEDS_COMPILER
def test_parts_that_call_each_other_are_refused_and_one_that_calls_itself_is_not():
    @part()
    def is_even(n):
        return n == 0 or is_odd(n - 1)

    @part()
    def is_odd(n):
        return n > 0 and is_even(n - 1)

    @part()
    def factorial(n):
        return 1 if n < 2 else n * factorial(n - 1)

    @njit
    def caller(n):
        return is_even(n)

    @njit
    def product(n):
        return factorial(n)

    assert product(5) == 120
    with pytest.raises(NotImplementedError, match="is_odd and a function that it calls call each other"):
        caller(4)
    assert is_even.py_func(0)


READY = """
import sys
from numba.core.dispatcher import Dispatcher
from driftmoe import DriftMoEClassifier

def ready():
    return {
        kernel.py_func.__name__
        for name, module in list(sys.modules.items()) if name.startswith("driftmoe")
        for kernel in vars(module).values()
        if isinstance(kernel, Dispatcher) and kernel.overloads
    }

model = DriftMoEClassifier(sys.argv[1], seed=1)
model.learn_one({"a": 0.5, "b": "x"}, 0)
model.predict_one({"a": 0.5, "b": "x"})
at_first = ready()
for i in range(300):
    model.predict_one({"a": i / 300, "b": "xy"[i % 2]})
    model.learn_one({"a": i / 300, "b": "xy"[i % 2]}, i % 3)
print(sorted(ready() - at_first), sorted({"nearest", "perceive", "regress", "step"} & at_first))
"""


@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("variant", "used"),
    [
        ("driftmoe", ["nearest", "perceive", "regress", "step"]),
        ("moe-data", ["step"]),
        ("moe-task", ["step"]),
    ],
)
def test_the_first_sample_brings_all_kernels_of_a_variant_and_no_others(variant, used):
    done = subprocess.run(
        [sys.executable, "-c", READY, variant], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == f"[] {used}\n"
