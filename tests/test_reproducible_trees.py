"""The same probabilities on every processor, bit for bit: digests under several settings, and those of other machines.

One process for each setting runs all models of the table and prints a line for each; `digests.txt` holds what every
machine has to print. After a change on purpose: `python tests/test_reproducible.py > tests/digests.txt`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import streams
from driftmoe.trees import HoeffdingTreeClassifier, TreePool, kernels

ROOT = Path(__file__).parent.parent
KEPT = Path(__file__).with_name("digests.txt")
N_SAMPLES = 2_000

SETTINGS = {
    "native": {},
    "haswell": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+sse4.2,+bmi,+bmi2,+avx",
        "ATEN_CPU_CAPABILITY": "avx2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    },
    "nehalem": {
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt",
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": "AVX F16C FMA3 AVX2 AVX512F AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL "
        "AVX512_SPR",
    },
}
"""Processors that numba, torch and numpy are told to be on; x86-64 takes all, another machine the first alone."""


def samples(name):
    """Return the features of a stream, which of them are nominal, and the classes."""
    stream = streams.make(name, seed=1, n_samples=N_SAMPLES)
    block = next(stream.blocks(N_SAMPLES))
    return block.X, [f for f, feature in enumerate(stream.features) if feature.is_nominal], block.y


def of_pool(name, **arguments):
    """Probabilities of a pool that predicts, then learns, with weights of its own for each tree."""
    X, nominal, y = samples(name)
    weights = np.random.default_rng(1).integers(4, size=(len(y), 4)).astype(float)
    pool = TreePool(4, nominal=nominal, grace_period=50, delta=0.01, **arguments)
    return pool.step(X, y, weights)


def of_model(name, model):
    """Probabilities that a model gives to each sample before it learns it; a class without any has 0."""
    stream = streams.make(name, seed=1, n_samples=N_SAMPLES)
    classes = sorted({y for _, y in stream})
    proba = np.zeros((N_SAMPLES, len(classes)))
    for t, (x, y) in enumerate(stream):
        vote = model.predict_proba_one(x)
        proba[t] = [vote.get(c, 0.0) for c in classes]
        model.learn_one(x, y)
    return proba


WATCHED = {"warning_delta": 0.01, "drift_delta": 0.001}

CASES = [
    *(
        (f"pool {leaf} {name}", lambda leaf=leaf, name=name: of_pool(name, leaf_prediction=leaf, **WATCHED))
        for leaf in ("nba", "nb", "mc")
        for name in ("led_a", "sea_a", "rbf_m", "agrawal")
    ),
    *(
        (f"pool {criterion} rbf_m", lambda c=criterion: of_pool("rbf_m", split_criterion=c, max_features=0.5, seed=3))
        for criterion in ("gini", "hellinger")
    ),
    *(
        (f"tree {name}", lambda name=name: of_model(name, HoeffdingTreeClassifier(grace_period=50)))
        for name in ("led_a", "sea_a", "rbf_m")
    ),
]  # fmt: skip
"""(name, call that gives the probabilities)."""


def lines():
    """One line for each case: the digest of the samples of its stream goes before those of the models."""
    for name in ("led_a", "sea_a", "rbf_m", "agrawal"):
        X, _, y = samples(name)
        yield f"{digest(X, np.asarray(y, np.int64))} samples of {name}"
    for name, proba in CASES:
        yield f"{digest(proba())} {name}"


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def settings():
    return SETTINGS if platform.machine().lower() in ("x86_64", "amd64") else ["native"]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="it is the compiled code that is compared")
@pytest.mark.parametrize("setting", settings())
def test_digests_are_those_of_every_other_processor(setting, tmp_path):
    environment = os.environ | SETTINGS[setting] | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, str(Path(__file__))],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == KEPT.read_text().splitlines()


def foreign(kernel):
    """What the code of a kernel leaves to a mathematical library or to the compiler's choice."""
    code = "\n".join(kernel.inspect_llvm().values())
    calls = re.findall(
        r"@(?:llvm\.)?((?:exp|exp2|expm1|log|log2|log1p|pow|powi|erf|fma|fmuladd)(?:\.\w+)?)\(", code
    )
    flags = re.findall(r"= f\w+ (fast|contract|reassoc|nnan|ninf|nsz|arcp|afn) ", code)
    return sorted({*calls, *flags})


if __name__ == "__main__":
    for line in lines():
        print(line)
    if not kernels.step.stats.cache_hits:  # code from the disk cannot be read
        assert foreign(kernels.step) == [], foreign(kernels.step)
