"""`driftmoe warm-up`: afterwards nothing is left to compile."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import ROOT

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


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="nothing is compiled")
def test_after_a_warm_up_nothing_is_left_to_compile(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "DRIFTMOE_QUIET"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment
        )

    done = run("-m", "driftmoe", "warm-up")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Everything is compiled, after ")
    assert "compiling what this needs" not in done.stderr  # the bar says it
    done = run("-c", LEFT)
    assert (done.stdout, done.stderr) == ("[]\n", "")
