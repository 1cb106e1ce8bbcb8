"""`driftmoe warm-up`: afterwards nothing is left to compile."""

from __future__ import annotations

import json
from pathlib import Path

import numba
import pytest
import warmed

LEFT = """
import importlib, pkgutil, sys
import driftmoe
from numba.core.dispatcher import Dispatcher
from driftmoe import ahead, kernel_cache

for module in pkgutil.walk_packages(driftmoe.__path__, "driftmoe."):
    if not module.name.startswith(("driftmoe.cli", "driftmoe.service", "driftmoe.neural", "driftmoe.__main__")):
        importlib.import_module(module.name)
kernels = {
    kernel
    for name, module in list(sys.modules.items()) if name.startswith("driftmoe")
    for kernel in vars(module).values()
    if isinstance(kernel, Dispatcher) and isinstance(kernel._cache, kernel_cache.KernelCache)
}
print(sorted(
    kernel.py_func.__name__
    for kernel in kernels
    if not any(
        path.name.startswith(f"{kernel._cache._stem}-")
        for folder in kernel._cache._folders() if folder.is_dir()
        for path in folder.iterdir()
    )
))
model = driftmoe.DriftMoEClassifier(seed=1)
for i in range(40):
    model.predict_one({"a": i / 40, "b": "xy"[i % 2]})
    model.learn_one({"a": i / 40, "b": "xy"[i % 2]}, i % 3)
"""


@pytest.fixture
def folder(request, tmp_path):
    """The folder of the warm-up that ran before the whole suite, or else of one that runs now."""
    if found := getattr(request.config, "workerinput", {}).get("warmed"):
        return Path(found)
    warmed.warm_up(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_after_a_warm_up_nothing_is_left_to_compile(folder):
    said = json.loads((folder / "said.json").read_text(encoding="utf-8"))
    assert said["returncode"] == 0, said["stderr"]
    assert said["stdout"].startswith("Everything is compiled, after ")
    assert "compiling what this needs" not in said["stderr"]  # the bar says it
    done = warmed.python(folder, "-c", LEFT)
    assert (done.stdout, done.stderr) == ("[]\n", "")
