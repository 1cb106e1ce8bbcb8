"""The same seed and samples give the same probabilities, to the last bit, on every processor."""

from __future__ import annotations

import importlib
import json
import platform
import subprocess
import sys

import numba
import numpy as np
import pytest
import reproduce
from places import ENVIRONMENT, ROOT

import streams
from driftmoe import models

WITHOUT_WIDE_REGISTERS = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"

PROCESSORS = {
    "this one": {},
    "haswell": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+sse4.2,+bmi,+bmi2,+avx",
        "ATEN_CPU_CAPABILITY": "avx2",
        "NPY_DISABLE_CPU_FEATURES": WITHOUT_WIDE_REGISTERS,
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "nehalem": {
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt",
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": f"AVX F16C AVX2 FMA3 {WITHOUT_WIDE_REGISTERS}",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
"""What makes the compilers and libraries take a processor for another one, which has less."""


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="it is the compiled code that is compared")
@pytest.mark.parametrize("name", PROCESSORS)
def test_all_processors_give_the_kept_digests(name):
    """The digests in `tests/digests.json` were written on one machine; `tests/reproduce.py` says how."""
    setting = PROCESSORS[name]
    if setting and platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("settings of x86-64; this machine is compared with the kept digests as it is")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "reproduce.py")],
        env=ENVIRONMENT | setting,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    kept = json.loads((ROOT / "tests" / "digests.json").read_text())
    assert json.loads(done.stdout) == kept


OF_A_LIBRARY = """\
import math
from numba import njit

@njit
def inner(x):
    return math.exp(x)

def outer(x):
    return inner(x)
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="it is the compiled code that is read")
def test_calls_of_a_library_are_found_in_a_kernel_that_comes_from_the_disk_too(tmp_path, monkeypatch):
    (tmp_path / "of_a_library.py").write_text(OF_A_LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "code"))
    module = importlib.import_module("of_a_library")
    for n_hits in (0, 1):
        kernel = numba.njit(cache=True)(module.outer)
        assert kernel(0.0) == 1.0
        assert sum(kernel.stats.cache_hits.values()) == n_hits
        assert [call.split(".")[0] for call in reproduce.foreign(kernel)] == ["exp"]


@pytest.mark.parametrize("name", ["driftmoe", "moe-data", "neural"])
def test_threads_of_torch_change_nothing(name):
    import torch

    def said():
        model, answers = models.make(name, seed=1), []
        for x, y in streams.make("rbf_f", seed=1, n_samples=600):
            answers += model.predict_proba_one(x).values()
            model.learn_one(x, y)
        return np.array(answers).tobytes()

    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = said()
        torch.set_num_threads(4)
        assert said() == one
    finally:
        torch.set_num_threads(n_threads)
