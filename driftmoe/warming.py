"""Compile every kernel of the library beforehand, by small models that use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from driftmoe import models
from driftmoe.arithmetic import exp_of, expm1_of, log1p_of, log_of
from driftmoe.classifier import DriftMoEClassifier
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

SPECS = (
    "driftmoe",
    "driftmoe(min_awake=2)",
    "driftmoe(extras=('products', 'sequence', 'head'))",
    "driftmoe(gate='recency', policy=TopP(0.9))",
    "moe-data",
    "moe-vote(policy=STREAM, correction=0.05)",
    "moe-task",
)
"""Models that together use all kernels of the mixtures."""

N_SAMPLES = 260
"""Number of samples that each model learns: more than a mini-batch of any router."""

N_STEPS = len(SPECS) + 2
"""Number of names that `warm_up` yields."""

COSTS = {("no", "yes"): 5.0}


def warm_up() -> Iterator[str]:
    """Compile all kernels, and yield the name of each model before it is used.

    The machine code lies where numba's settings say: in `$NUMBA_CACHE_DIR`, beside the sources, or in the user's cache.

    Examples
    --------
    >>> from driftmoe.warming import warm_up
    >>> next(warm_up())
    'driftmoe'
    """
    for spec in SPECS:
        yield spec
        _use(models.make(spec, seed=1))
    yield "decision costs"
    _use(DriftMoEClassifier(seed=1, decision_costs=COSTS, class_weight="balanced"))
    yield "driftmoe.trees"
    for tree in (HoeffdingTreeClassifier(), HoeffdingTreeClassifier(split_criterion="gini")):
        for x, label in _samples(N_SAMPLES):
            tree.predict_proba_one(x)
            tree.learn_one(x, label)
    TreePool(2).step(np.zeros((2, 1)), np.array([0, 1]), np.ones((2, 2)))
    for function in (exp_of, expm1_of, log_of, log1p_of):
        function(np.ones(2))


def _samples(n: int) -> list[tuple[dict[str, float | str], str]]:
    """Return samples with numeric and nominal features."""
    return [({"number": i % 7 / 7, "word": "abc"[i % 3]}, "yes" if i % 7 > 3 else "no") for i in range(n)]


def _use(model: Any) -> None:
    """Let a model learn and predict, sample by sample and in blocks."""
    for x, label in _samples(N_SAMPLES):
        model.predict_one(x)
        model.learn_one(x, label)
    X, targets = np.arange(2.0 * N_SAMPLES).reshape(-1, 2) % 7, np.arange(N_SAMPLES) % 2
    model.step_many(X, targets, names=["number", "other"], values=[None, None], classes=["no", "yes"])
    late = {"awaits": True} if hasattr(model, "arrive_one") else {}
    model.run_rows([{"number": 1.0}] * 2, ["yes", None], **late)
    for x, _ in _samples(2) if late else ():
        model.arrive_one(x)
    model.predict_set_one({"number": 1.0})
    model.explain_one({"number": 1.0})
