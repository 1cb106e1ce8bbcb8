"""Who may import whom, and that a library stays a library: read from the source, not from what happens to be loaded."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "driftmoe").rglob("*.py"), *(ROOT / "streams").rglob("*.py")])
FOLDERS = sorted({path.parent for path in SOURCES if path.parent.parent != ROOT})

FORBIDDEN = {
    "streams": {"driftmoe", "torch", "benchmarks", "tests"},
    "driftmoe": {"benchmarks", "tests", "sklearn", "capymoa", "polars", "driftmoe.cli"},
    "driftmoe.arguments": {"torch", "numba", "streams", "driftmoe.classifier", "driftmoe.encoding"},
    "driftmoe.kernel_cache": {"torch", "river", "streams", "driftmoe"},
    "driftmoe.staging": {"torch", "river", "numba", "numpy", "streams", "driftmoe"},
    "driftmoe.compilation": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.trees"},
    "driftmoe.arithmetic": {"torch", "river", "streams", "driftmoe.trees", "driftmoe.classifier"},
    "driftmoe.draws": {"torch", "river", "streams", "driftmoe.trees", "driftmoe.classifier"},
    "driftmoe.transaction": {"torch", "river", "streams", "driftmoe"},
    "driftmoe.mixing": {
        "torch",
        "river",
        "streams",
        "driftmoe.encoding",
        "driftmoe.experts",
        "driftmoe.router",
    },
    "driftmoe.memory": {"torch", "river", "numba", "streams", "driftmoe"},
    "driftmoe.encoding": {"torch", "river", "streams"},
    "driftmoe.routing": {"river", "numba", "streams"},
    "driftmoe.losses": {"river", "numba", "streams", "numpy"},
    "driftmoe.nn": {"river", "numba", "numpy", "streams", "transformers"},
    "driftmoe.router": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.experts"},
    "driftmoe.router_module": {"river", "numba", "streams", "driftmoe"},
    "driftmoe.neighbours": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.router"},
    "driftmoe.linear": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.router"},
    "driftmoe.perceptron": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.router"},
    "driftmoe.networks": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.trees"},
    "driftmoe.mixture": {"river", "streams", "driftmoe.classifier"},
    "driftmoe.experts": {"torch", "streams", "driftmoe.router"},
    "driftmoe.trees.adwin": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.trees.kernels"},
    "driftmoe.trees.kernels": {"torch", "river", "streams", "driftmoe.encoding", "driftmoe.trees.pool"},
    "driftmoe.trees.pool": {"torch", "river", "streams", "driftmoe.classifier"},
    "driftmoe.trees.hoeffding": {"torch", "numba", "streams", "driftmoe.classifier"},
    "driftmoe.metrics": {"torch", "numba", "streams", "driftmoe.classifier", "driftmoe.evaluation"},
    "driftmoe.evaluation": {
        "torch",
        "numba",
        "streams",
        "driftmoe.classifier",
        "driftmoe.models",
        "driftmoe.experiment",
    },
    "driftmoe.classifier": {"streams", "driftmoe.evaluation", "driftmoe.cli", "driftmoe.models"},
    "driftmoe.models": {"streams"},
    "driftmoe.neural": {"river", "numba", "numpy", "streams", "driftmoe.cli", "driftmoe.classifier"},
    "driftmoe.moa": {"torch", "numba", "streams", "driftmoe.classifier"},
    "driftmoe.experiment": {"streams", "driftmoe.cli", "driftmoe.report", "driftmoe.neural"},
    "driftmoe.experiment.lines": {
        "torch",
        "river",
        "driftmoe.classifier",
        "driftmoe.models",
        "driftmoe.evaluation",
    },
    "driftmoe.experiment.disk": {"torch", "river", "driftmoe"},
    "driftmoe.experiment.folder": {
        "torch",
        "river",
        "driftmoe.classifier",
        "driftmoe.models",
        "driftmoe.evaluation",
    },
    "driftmoe.experiment.results": {
        "torch",
        "river",
        "driftmoe.classifier",
        "driftmoe.models",
        "driftmoe.evaluation",
    },
    "driftmoe.report": {"streams", "driftmoe.cli", "driftmoe.classifier"},
    "driftmoe.report.pages": {"numpy", "pandas", "matplotlib", "driftmoe.experiment", "driftmoe.metrics"},
}
"""Module or package -> what it must not import. A package's list holds for all its modules."""

SHORT = {
    "driftmoe.cli",
    "driftmoe.evaluation",
    "driftmoe.experiment",
    "driftmoe.metrics",
    "driftmoe.mixture",
    "driftmoe.report",
    "streams",
    "streams.files",
    "streams.synthetic",
}
"""Folders whose files have at most 500 lines, and their functions at most 60 besides the docstring; not so kernels."""


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported(tree):
    """Names of the modules that a file imports, at any depth; what only the type checker reads does not count."""
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_keep_to_the_rules(path):
    name = module_name(path)
    forbidden = set().union(
        *(rule for module, rule in FORBIDDEN.items() if name == module or name.startswith(module + "."))
    )
    if name == "driftmoe.nn.classifier":  # no layer, but what has networks for experts
        forbidden -= {"river", "numpy"}
    if name == "driftmoe.neural.drifting":  # the digits are scikit-learn's
        forbidden -= {"sklearn"}
    if name.startswith("driftmoe.cli."):
        forbidden -= {"streams", "driftmoe.cli"}
    if name == "driftmoe.__main__":
        forbidden -= {"driftmoe.cli"}
    if name == "driftmoe.moa":
        forbidden -= {"capymoa"}
    for module in imported(ast.parse(path.read_text())):
        assert not any(module == f or module.startswith(f + ".") for f in forbidden), (
            f"{name} imports {module}"
        )


@pytest.mark.parametrize("folder", FOLDERS, ids=module_name)
def test_files_of_a_folder_import_each_other_in_one_direction(folder):
    """Nor do they import from the folder's `__init__`, which collects what the folder offers to others."""
    prefix = module_name(folder) + "."
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    uses = {}
    for file in files:
        modules = imported(ast.parse((folder / f"{file}.py").read_text()))
        uses[file] = {m.removeprefix(prefix).split(".")[0] for m in modules if m.startswith(prefix)}
        assert uses[file] <= files
    TopologicalSorter(uses).prepare()  # raises CycleError


@pytest.mark.parametrize("path", [p for p in SOURCES if module_name(p.parent) in SHORT], ids=module_name)
def test_files_and_functions_are_short(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 500
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not any(
            ast.unparse(d).split("(")[0] in ("kernel", "compiled") for d in node.decorator_list
        ):
            n_lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                n_lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert n_lines <= 60, node.name


def test_only_the_command_line_knows_both_packages():
    both = [
        module_name(path)
        for path in SOURCES
        if module_name(path).startswith("driftmoe")
        and any(m.split(".")[0] == "streams" for m in imported(ast.parse(path.read_text())))
    ]
    assert all(name.startswith("driftmoe.cli.") for name in both)


def test_layers_know_of_the_library_only_what_they_build_on():
    core = ("driftmoe.routing", "driftmoe.losses", "driftmoe.nn")
    for path in (ROOT / "driftmoe" / "nn").glob("*.py"):
        if path.name == "classifier.py":
            continue
        for module in imported(ast.parse(path.read_text())):
            assert not module.startswith("driftmoe") or module.startswith(core), f"{path.name}: {module}"


def test_compilation_knows_of_the_library_only_where_code_is_kept():
    modules = set(imported(ast.parse((ROOT / "driftmoe" / "compilation.py").read_text())))
    assert {m for m in modules if m.startswith("driftmoe")} == {
        "driftmoe.kernel_cache",
        "driftmoe.kernel_cache.keep",
    }


@pytest.mark.parametrize("file", ["kernel_cache.py", "staging.py"])
def test_both_packages_do_alike_what_both_need(file):
    # Neither imports the other, and a third package would be one more name to install.
    ours, theirs = (ROOT / package / file for package in ("driftmoe", "streams"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_every_rule_names_a_module_that_exists():
    names = {module_name(path) for path in SOURCES} | {module_name(path.parent) for path in SOURCES}
    assert set(FORBIDDEN) <= names


PUTS_OFF = {
    ("driftmoe.transaction", "carry_out"),
    ("driftmoe.classifier", "_run_on"),
    ("driftmoe.experts", "__call__"),
}
"""Functions that finish what they have begun whatever comes, and then raise it: see `driftmoe.transaction`."""


ANY_ERROR = {
    ("driftmoe.evaluation.prequential", "prequential"),
    ("driftmoe.experiment.evaluations", "keeping"),
    ("driftmoe.experiment.grid", "_attempt"),
}
"""Functions that catch errors of any class, which a user's models and streams may raise, to pass on or keep them."""


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_in_the_library_prints_or_catches_everything(path):
    name = module_name(path)
    if name.startswith("driftmoe.cli."):
        return
    tree = ast.parse(path.read_text())
    put_off, any_error = (
        {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef) and (name, function.name) in allowed
            for node in ast.walk(function)
        }
        for allowed in (PUTS_OFF, ANY_ERROR)
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            caught = {ast.unparse(part) for part in getattr(node.type, "elts", [node.type])}
            assert "Exception" not in caught or id(node) in any_error
            assert "BaseException" not in caught or id(node) in put_off


@pytest.mark.parametrize(("module", "function"), sorted(PUTS_OFF))
def test_what_is_put_off_is_raised_in_the_end(module, function):
    """Whatever is caught is raised at the end of its handler, or kept under a name and raised at the very end."""
    tree = ast.parse((ROOT / Path(*module.split("."))).with_suffix(".py").read_text())
    (found,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function
    )
    (handler,) = (node for node in ast.walk(found) if isinstance(node, ast.ExceptHandler))
    if ast.unparse(handler.body[-1]) == "raise":
        return
    kept = [
        node.targets[0].id
        for node in ast.walk(handler)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == handler.name
    ]
    last = found.body[-1]
    assert isinstance(last, ast.If)
    assert [ast.unparse(last.test), ast.unparse(last.body[-1])] == [
        f"{kept[0]} is not None",
        f"raise {kept[0]}",
    ]
