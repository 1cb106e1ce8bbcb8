"""Streams in which one feature decides the label, for tests of explanations."""

from __future__ import annotations

import numpy as np

from driftmoe.trees import HoeffdingTreeClassifier

EAGER = HoeffdingTreeClassifier(grace_period=20, delta=0.5, tau=0.5)

COLOURS = ("red", "green", "blue")


def decided(n_samples, *, seed=1, deciding="a"):
    """Samples whose label is whether one feature is above 0; number and colour are noise, one constant."""
    rng = np.random.default_rng(seed)
    for _ in range(n_samples):
        x = {"a": rng.normal(), "b": rng.normal(), "c": 1.0, "colour": COLOURS[rng.integers(3)]}
        y = "yes" if x[deciding] > 0.0 else "no"
        if rng.random() < 0.1:
            del x["b"]
        yield x, y


def numbers_only(samples):
    for x, y in samples:
        yield {name: value for name, value in x.items() if name != "colour"}, y


def fed(model, samples):
    for x, y in samples:
        model.learn_one(x, y)
    return model
