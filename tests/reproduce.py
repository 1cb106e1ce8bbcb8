"""Digests of models and of what they say, to compare machines: `python tests/reproduce.py > tests/digests.json`."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import struct
import sys

import numpy as np
from golden import make

import streams
from driftmoe import models, saving
from driftmoe.trees import HoeffdingTreeClassifier, TreePool, steps

N_SAMPLES = 1000

N_UNTIL_ASLEEP = 2200
"""In which most trees of `driftmoe(min_awake=2)` fall asleep on `rbf_f`."""

STREAMS = ("led_a", "sea_g", "rbf_f")

MODELS = (
    "driftmoe",
    "driftmoe(gate='recency', policy=WithNull(TopK(9), n_null=3))",
    "moe-vote",
    "moe-vote(policy=STREAM)",
    "moe-vote(policy=TopP(0.8), correction=0.05)",
    "moe-data",
    "moe-data(dropout=0.3, batch_size=32)",
    "moe-task",
    "small",
    "neural",
    "neural(variant='moe-vote')",
)

TREES = {
    "tree": lambda: HoeffdingTreeClassifier(grace_period=50, delta=0.05),
    "tree(nb)": lambda: HoeffdingTreeClassifier(leaf_prediction="nb", split_criterion="gini", tau=0.2),
    "tree(hellinger)": lambda: HoeffdingTreeClassifier(
        split_criterion="hellinger", delta=0.1, grace_period=20
    ),
}


def digest(name: str, stream: streams.Stream) -> str:
    """Return the SHA-256 of all probabilities that a model gives before it learns each sample."""
    model = TREES[name]() if name in TREES else models.make(name, seed=1)
    said = hashlib.sha256()
    for x, y in stream:
        for label, probability in model.predict_proba_one(x).items():
            said.update(f"{label} ".encode() + struct.pack("<d", probability))
        model.learn_one(x, y)
    return said.hexdigest()


N_OF_TREES = 2000


@functools.cache
def block(name):
    """Return the features of a stream, which of them are nominal, and the classes."""
    stream = streams.make(name, seed=1, n_samples=N_OF_TREES)
    rows = next(stream.blocks(N_OF_TREES))
    return rows.X, [f for f, feature in enumerate(stream.features) if feature.is_nominal], rows.y


def of_pool(name, **arguments):
    """Probabilities of a pool that predicts, then learns, with weights of its own for each tree."""
    X, nominal, y = block(name)
    weights = np.random.default_rng(1).integers(4, size=(len(y), 4)).astype(float)
    return TreePool(4, nominal=nominal, grace_period=50, delta=0.01, **arguments).step(X, y, weights)


def of_tree(name):
    """Probabilities that a tree gives to each sample before it learns it; a class without any has 0."""
    stream, model = streams.make(name, seed=1, n_samples=N_OF_TREES), HoeffdingTreeClassifier(grace_period=50)
    classes = sorted({y for _, y in stream})
    proba = np.zeros((N_OF_TREES, len(classes)))
    for t, (x, y) in enumerate(stream):
        vote = model.predict_proba_one(x)
        proba[t] = [vote.get(c, 0.0) for c in classes]
        model.learn_one(x, y)
    return proba


def pools_and_trees():
    """Return the digest of the samples of each stream, then those of what pools and trees say of them."""
    found = {}
    for name in ("led_a", "sea_a", "rbf_m", "agrawal"):
        X, _, y = block(name)
        found[f"samples of {name}"] = of_arrays(X, np.asarray(y, np.int64))
    for leaf in ("nba", "nb", "mc"):
        for name in ("led_a", "sea_a", "rbf_m", "agrawal"):
            proba = of_pool(name, leaf_prediction=leaf, warning_delta=0.01, drift_delta=0.001)
            found[f"pool {leaf} {name}"] = of_arrays(proba)
    for criterion in ("gini", "hellinger"):
        proba = of_pool("rbf_m", split_criterion=criterion, max_features=0.5, seed=3)
        found[f"pool {criterion} rbf_m"] = of_arrays(proba)
    for name in ("led_a", "sea_a", "rbf_m"):
        found[f"tree {name}"] = of_arrays(of_tree(name))
    return found


def of_arrays(*arrays):
    """Return the SHA-256 of some arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def foreign(kernel):
    """Return what the code of a kernel leaves to a mathematical library or to the compiler's choice."""
    code = "\n".join(code_of(kernel))
    calls = re.findall(
        r"@(?:llvm\.)?((?:exp|exp2|expm1|log|log2|log1p|pow|powi|erf|fma|fmuladd)(?:\.\w+)?)\(", code
    )
    flags = re.findall(r"= f\w+ (fast|contract|reassoc|nnan|ninf|nsz|arcp|afn) ", code)
    return sorted({*calls, *flags})


def code_of(kernel):
    """Return the optimised code of each compiled signature, of which no function is left out.

    numba keeps it beside the machine code, for other kernels to inline. Its `inspect_llvm` is only for code that was
    compiled in this process, and to compile the kernel of the trees again takes a quarter of a minute.
    """
    return [str(result.library._get_module_for_linking()) for result in kernel.overloads.values()]


def main() -> None:
    """Print the digests as JSON."""
    found: dict[str, dict[str, str]] = {}
    for stream_name in STREAMS:
        stream = streams.make(stream_name, seed=1, n_samples=N_SAMPLES)
        samples = hashlib.sha256(repr(list(stream)).encode()).hexdigest()
        found[stream_name] = {"samples": samples} | {name: digest(name, stream) for name in (*MODELS, *TREES)}
    longer, shedding = streams.make("rbf_f", seed=1, n_samples=N_UNTIL_ASLEEP), "driftmoe(min_awake=2)"
    found["rbf_f until trees sleep"] = {shedding: digest(shedding, longer)}
    found["pools and trees"] = pools_and_trees()
    found["saved models"] = {
        name: saving.digest(make.learnt(name)) for name in make.MODELS if name != "no-seed"
    }
    assert steps.step.signatures
    assert foreign(steps.step) == [], foreign(steps.step)
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
