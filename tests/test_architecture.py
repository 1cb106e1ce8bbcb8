"""Who may import whom, and that a library stays a library: read from the source, not from what happens to be loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT

SOURCES = sorted([*(ROOT / "driftmoe").rglob("*.py"), *(ROOT / "streams").rglob("*.py")])
FOLDERS = sorted({path.parent for path in SOURCES if path.parent.parent != ROOT})

MAY_IMPORT = {
    # Ground: each of these knows nothing of the library, or only what stands above it here.
    "driftmoe.staging": "filelock",
    "driftmoe.kernel_cache": "llvmlite numba numpy",
    "driftmoe.compilation": "numba driftmoe.kernel_cache",
    "driftmoe.ahead": "numba driftmoe.kernel_cache",
    "driftmoe.growth": "numpy",
    "driftmoe.memory": "numpy",
    "driftmoe.state": "numpy",
    "driftmoe.strict_json": "",
    "driftmoe.suggestions": "",
    "driftmoe.extras": "",
    "driftmoe.threads": "",
    "driftmoe.processes": "",
    "driftmoe.transaction": "numpy driftmoe.ahead",
    "driftmoe.parts": "numpy river driftmoe driftmoe.memory driftmoe.state driftmoe.transaction",
    "driftmoe.refitting": "numpy river sklearn threadpoolctl driftmoe.encoding driftmoe.extras",
    "driftmoe.markov": "river driftmoe.state",
    "driftmoe.vw": "numpy river vowpalwabbit driftmoe.encoding driftmoe.extras",
    "driftmoe.metrics": "numpy river driftmoe.costs driftmoe.markov driftmoe.state driftmoe.suggestions",
    # Numbers that are the same on every processor.
    "driftmoe.arithmetic": "numpy driftmoe.compilation",
    "driftmoe.draws": "numpy driftmoe.arithmetic driftmoe.compilation",
    "driftmoe.lanes": "llvmlite numba driftmoe.compilation",
    # Routing and its losses know torch, and never numba.
    "driftmoe.routing": "numpy torch driftmoe.arithmetic",
    "driftmoe.losses": "torch driftmoe.routing",
    # The learner: samples, network, trees, experts, mixtures, and the estimators above them.
    "driftmoe.encoding": "narwhals numpy river driftmoe.compilation driftmoe.state driftmoe.transaction",
    "driftmoe.network_kernels": "numpy driftmoe.arithmetic driftmoe.compilation driftmoe.draws driftmoe.lanes",
    "driftmoe.network": (
        "numpy driftmoe.draws driftmoe.growth driftmoe.network_kernels driftmoe.state driftmoe.threads "
        "driftmoe.transaction"
    ),
    "driftmoe.trees": (
        "numpy matplotlib driftmoe.arithmetic driftmoe.compilation driftmoe.encoding driftmoe.growth driftmoe.lanes "
        "driftmoe.memory driftmoe.state driftmoe.threads driftmoe.transaction"
    ),
    "driftmoe.trees.hoeffding": (
        "numpy river driftmoe.encoding driftmoe.memory driftmoe.parts driftmoe.transaction driftmoe.trees"
    ),
    "driftmoe.experts": (
        "numpy river driftmoe.arithmetic driftmoe.compilation driftmoe.draws driftmoe.encoding driftmoe.growth "
        "driftmoe.memory driftmoe.network driftmoe.state driftmoe.transaction driftmoe.trees"
    ),
    "driftmoe.mixture": (
        "numpy driftmoe.arithmetic driftmoe.compilation driftmoe.draws driftmoe.experts driftmoe.growth "
        "driftmoe.memory driftmoe.network driftmoe.network_kernels driftmoe.routing driftmoe.state driftmoe.threads "
        "driftmoe.transaction driftmoe.trees driftmoe.wording"
    ),
    "driftmoe.mixture.arguments": "numpy river driftmoe.experts",
    "driftmoe.mixture.adaptive_arguments": "river driftmoe.experts",
    "driftmoe.mixture.router_module": "numpy torch",
    "driftmoe.arguments": "river driftmoe.class_weights driftmoe.costs driftmoe.mixture",
    "driftmoe.costs": "numpy",
    "driftmoe.class_weights": "numpy driftmoe.compilation driftmoe.state driftmoe.transaction",
    "driftmoe.conformal": "numpy driftmoe.compilation",
    "driftmoe.decisions": (
        "narwhals numpy driftmoe.conformal driftmoe.costs driftmoe.encoding driftmoe.mixture driftmoe.recent"
    ),
    "driftmoe.recent": (
        "numpy driftmoe.class_weights driftmoe.compilation driftmoe.encoding driftmoe.state driftmoe.transaction"
    ),
    "driftmoe.occlusion": "numpy",
    "driftmoe.wording": "numpy",
    "driftmoe.explanation": "driftmoe.wording",
    "driftmoe.explaining": (
        "numpy driftmoe.decisions driftmoe.encoding driftmoe.experts driftmoe.explanation driftmoe.mixture "
        "driftmoe.occlusion driftmoe.recent"
    ),
    "driftmoe.learning": (
        "numpy driftmoe.costs driftmoe.encoding driftmoe.experts driftmoe.mixture driftmoe.recent driftmoe.state "
        "driftmoe.transaction"
    ),
    "driftmoe.reports": (
        "matplotlib numpy driftmoe.encoding driftmoe.mixture driftmoe.transaction driftmoe.trees"
    ),
    "driftmoe.estimator": (
        "narwhals numpy river driftmoe.decisions driftmoe.encoding driftmoe.explaining driftmoe.learning "
        "driftmoe.memory driftmoe.mixture driftmoe.kept_plans driftmoe.parts driftmoe.recent driftmoe.reports "
        "driftmoe.rows driftmoe.transaction"
    ),
    "driftmoe.kept_plans": (
        "numpy driftmoe.compilation driftmoe.encoding driftmoe.experts driftmoe.learning driftmoe.mixture "
        "driftmoe.recent driftmoe.transaction"
    ),
    "driftmoe.bounded": "driftmoe.estimator driftmoe.mixture driftmoe.state driftmoe.transaction",
    "driftmoe.rows": "numpy driftmoe.encoding driftmoe.mixture driftmoe.transaction",
    "driftmoe.classifier": (
        "numpy river driftmoe.arguments driftmoe.bounded driftmoe.class_weights driftmoe.costs driftmoe.encoding "
        "driftmoe.experts driftmoe.mixture driftmoe.parts driftmoe.recent driftmoe.suggestions"
    ),
    # Layers of networks; the estimator whose experts are networks is no layer.
    "driftmoe.nn": "safetensors torch driftmoe.losses driftmoe.routing driftmoe.staging driftmoe.strict_json",
    "driftmoe.nn.experts_interface": "torch transformers driftmoe.routing",
    "driftmoe.nn.surgery": "numpy scipy torch driftmoe.routing",
    "driftmoe.nn.classifier": "numpy river driftmoe.classifier driftmoe.experts driftmoe.mixture driftmoe.routing",
    # Models on disk. The codec and the files know no model.
    "driftmoe.saving": "driftmoe numpy pyarrow safetensors driftmoe.staging driftmoe.strict_json",
    "driftmoe.saving.models": (
        "numpy river driftmoe.classifier driftmoe.experts driftmoe.mixture.adaptive_arguments driftmoe.models "
        "driftmoe.nn driftmoe.parts driftmoe.state driftmoe.trees"
    ),
    # Around the learner.
    "driftmoe.evaluation": "numpy rich river driftmoe.costs driftmoe.metrics driftmoe.state driftmoe.suggestions",
    "driftmoe.models": (
        "river driftmoe driftmoe.classifier driftmoe.markov driftmoe.mixture driftmoe.moa driftmoe.nn "
        "driftmoe.refitting driftmoe.routing driftmoe.suggestions driftmoe.trees driftmoe.vw"
    ),
    "driftmoe.own": "river driftmoe driftmoe.evaluation driftmoe.moa driftmoe.models driftmoe.suggestions",
    "driftmoe.runs": "driftmoe.evaluation",
    "driftmoe.warming": "numpy driftmoe driftmoe.arithmetic driftmoe.classifier driftmoe.models driftmoe.trees",
    "driftmoe.moa": "capymoa com java jpype moa numpy driftmoe.evaluation driftmoe.extras driftmoe.moa_options",
    "driftmoe.moa_options": "com java jpype moa driftmoe.suggestions",
    "driftmoe.experiment": (
        "filelock river torch driftmoe driftmoe.classifier driftmoe.evaluation driftmoe.markov driftmoe.metrics "
        "driftmoe.mixture driftmoe.models driftmoe.memory driftmoe.own driftmoe.parts driftmoe.saving driftmoe.staging "
        "driftmoe.state driftmoe.strict_json driftmoe.suggestions"
    ),
    "driftmoe.experiment.executors": "distributed driftmoe.evaluation driftmoe.extras driftmoe.processes",
    "driftmoe.report": (
        "baycomp matplotlib numpy pandas rich scikit_posthocs scipy driftmoe.experiment driftmoe.metrics "
        "driftmoe.staging driftmoe.suggestions"
    ),
    "driftmoe.neural": (
        "torch driftmoe driftmoe.experiment driftmoe.losses driftmoe.models driftmoe.nn driftmoe.routing"
    ),
    "driftmoe.neural.adapting": "tokenizers torch transformers driftmoe.extras driftmoe.nn driftmoe.routing",
    "driftmoe.neural.drifting": "sklearn torch driftmoe.extras driftmoe.metrics",
    # The worker sees the estimator's public face, and states on disk.
    "driftmoe.service": (
        "filelock numpy river driftmoe driftmoe.evaluation driftmoe.extras driftmoe.markov driftmoe.memory "
        "driftmoe.models driftmoe.runs driftmoe.saving driftmoe.staging driftmoe.strict_json"
    ),
    "driftmoe.service.choices": "numpy driftmoe.metrics",
    # Clients over HTTP: nothing else of the worker loads a web framework.
    "driftmoe.service.http": "prometheus_client starlette uvicorn driftmoe.extras",
    "driftmoe.service.http_answers": "starlette",
    "driftmoe.service.http_bodies": "anyio starlette driftmoe.strict_json",
    "driftmoe.service.http_context": "anyio starlette",
    "driftmoe.service.http_events": "starlette",
    "driftmoe.service.http_figures": "starlette",
    "driftmoe.service.http_importances": "anyio starlette",
    "driftmoe.service.http_guard": "anyio starlette",
    "driftmoe.service.http_mlflow": "starlette",
    "driftmoe.service.http_models": "starlette",
    "driftmoe.service.http_openapi": "",
    "driftmoe.service.http_page": "starlette",
    "driftmoe.service.http_prometheus": "prometheus_client starlette",
    "driftmoe.service.http_server": "starlette uvicorn",
    "driftmoe.service.http_streams": "anyio starlette",
    "driftmoe.service.redis_streams": "redis",
    "driftmoe.service.nats_streams": "nats",
    "driftmoe.service.kafka_topics": "confluent_kafka",
    # Models of keys: the step sees what the worker sees, and each engine loads its own packages.
    "driftmoe.engines": (
        "driftmoe driftmoe.evaluation driftmoe.extras driftmoe.models driftmoe.runs driftmoe.saving driftmoe.service"
    ),
    "driftmoe.engines.event_files": "driftmoe.staging",
    "driftmoe.engines.local": "torch driftmoe.processes",
    "driftmoe.engines.job": "filelock driftmoe.staging",
    "driftmoe.engines.sharded": "distributed numpy driftmoe.draws driftmoe.extras driftmoe.trees",
    "driftmoe.engines.flink": "py4j pyflink driftmoe.staging",
    "driftmoe.engines.spark": "google pyarrow pyspark driftmoe.extras",
    "driftmoe.cli": "driftmoe.* matplotlib numpy rich streams torch typer",
    "driftmoe.exits": "",
    "driftmoe.__main__": "driftmoe.cli driftmoe.exits",
    # Streams know nothing of the learner.
    "streams": "capymoa numpy pooch pyarrow river",
    "streams.kernel_cache": "llvmlite numba numpy",
    "streams.java_random": "numba numpy streams.kernel_cache",
    "streams.staging": "filelock",
}
"""Module or folder -> what its files may import besides Python's own library and each other.

The longest name that fits a module counts, so that a new file of a folder is covered. A new module beside the folders
needs a line."""

LONGEST_FILE = 500
"""Lines of a file, in the library, its tests and its benchmarks: one file, one thought."""

FACE = ("DriftMoEClassifier", "load", "save", "__version__")
"""What `import driftmoe` offers."""


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


def rule_of(name):
    """Return the name in `MAY_IMPORT` that fits a module best, or `None`."""
    fits = [rule for rule in MAY_IMPORT if name == rule or name.startswith(rule + ".")]
    return max(fits, key=len, default=None)


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if module_name(p) != "driftmoe.__init__"], ids=module_name
)
def test_a_module_imports_what_its_layer_may(path):
    name = module_name(path)
    rule = rule_of(name)
    assert rule is not None, f"give {name} a line in MAY_IMPORT"
    allowed = {
        *MAY_IMPORT[rule].split(),
        rule,
        ".".join(name.split(".")[:2]) if name.count(".") > 1 else name,
    }
    for module in imported(ast.parse(path.read_text())):
        is_ours = module.split(".")[0] in ("driftmoe", "streams")
        is_allowed = module.split(".")[0] in sys.stdlib_module_names or any(
            module == one
            or (module.startswith(one + ".") and one != "driftmoe")
            or (one == "driftmoe" and module.startswith("driftmoe.") and module.split(".")[1] in FACE)
            or (one == "driftmoe.*" and is_ours)
            for one in allowed
        )
        assert is_allowed, f"{name} imports {module}; {rule} may import {MAY_IMPORT[rule]}"


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


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_and_functions_are_short(path):
    source = path.read_text()
    assert len(source.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not any(
            ast.unparse(d).split("(")[0] in ("kernel", "compiled", "allocating_kernel")
            for d in node.decorator_list
        ):
            n_lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                n_lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert n_lines <= 60, node.name


@pytest.mark.parametrize("folder", ["benchmarks", "tests"])
def test_files_beside_the_library_are_short(folder):
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert lengths
    assert {path: n_lines for path, n_lines in lengths.items() if n_lines > LONGEST_FILE} == {}


@pytest.mark.parametrize("file", ["kernel_cache.py", "staging.py", "suggestions.py"])
def test_both_packages_do_alike_what_both_need(file):
    # Neither imports the other, and a third package would be one more name to install.
    ours, theirs = (ROOT / package / file for package in ("driftmoe", "streams"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_every_rule_names_a_module_that_exists():
    names = {module_name(path) for path in SOURCES} | {module_name(path.parent) for path in SOURCES}
    assert set(MAY_IMPORT) <= names


@pytest.mark.parametrize(
    ("package", "heavy"), [("routing", ["numba", "river"]), ("encoding", ["torch", "river"])]
)
def test_a_package_loads_nothing_heavy_that_it_does_not_need(package, heavy):
    """What is imported late, or by others on the way, the source does not show."""
    code = f"import sys, driftmoe.{package}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


PUTS_OFF = {
    ("driftmoe.transaction", "carry_out"),
    ("driftmoe.learning", "run"),
    ("driftmoe.experts.river", "__call__"),
    ("driftmoe.nn.adapters", "load_adapter"),
}
"""Functions that finish what they have begun whatever comes, and then raise it: see `driftmoe.transaction`."""


ANY_ERROR = {
    ("driftmoe.evaluation.prequential", "_run"),
    ("driftmoe.experiment.evaluations", "concluding"),
    ("driftmoe.experiment.grid", "_attempt"),
    ("driftmoe.own", "imported"),
    ("driftmoe.threads", "help"),
    ("driftmoe.service.worker", "_run"),
    ("driftmoe.service.worker", "_joined"),
    ("driftmoe.service.outbox", "_run"),
    ("driftmoe.service.sources", "_run"),
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
    """Whatever is caught is raised at the end of its handler, or kept in a list and raised at the very end."""
    tree = ast.parse((ROOT / Path(*module.split("."))).with_suffix(".py").read_text())
    (found,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function
    )
    (handler,) = (node for node in ast.walk(found) if isinstance(node, ast.ExceptHandler))
    if ast.unparse(handler.body[-1]) == "raise":
        return
    kept = [
        ast.unparse(node.targets[0].value)
        for node in ast.walk(handler)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Subscript)
        and ast.unparse(node.value) == handler.name
    ] + [
        ast.unparse(node.func.value)
        for node in ast.walk(handler)
        if isinstance(node, ast.Call) and ast.unparse(node).endswith(f".append({handler.name})")
    ]
    last = found.body[-1]
    assert isinstance(last, ast.If)
    assert ast.unparse(last.test) in (kept[0], f"{kept[0]}[0] is not None")
    assert ast.unparse(last.body[-1]) == f"raise chained({kept[0]})"
