"""Small models, and what several tests of them look at."""

from __future__ import annotations

from river import base, tree

import streams
from driftmoe import DriftMoEClassifier

SMALL = {"hidden": (6, 5), "batch_size": 16, "seed": 3}


def small(variant, **arguments):
    """A small model, with few experts where their number is not that of the classes."""
    sizes = {} if variant == "moe-task" else {"n_experts": 4}
    if variant in ("moe-data", "moe-vote") and arguments.get("policy") is None:
        sizes["top_k"] = 2
    return DriftMoEClassifier(variant, **(SMALL | sizes | arguments))


def new_tree():
    return tree.HoeffdingTreeClassifier(grace_period=20, delta=1e-7)


def learnt(variant, samples, **arguments):
    model = small(variant, **arguments)
    for x, y in samples:
        model.learn_one(x, y)
    return model


SEA = list(streams.make("sea", seed=5, n_samples=400))


class AlwaysSays(base.Classifier):
    def __init__(self, target):
        self.target = target

    def learn_one(self, x, y):
        pass

    def predict_proba_one(self, x):
        return {self.target: 1.0}
