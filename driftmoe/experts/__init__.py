"""Experts of all kinds, with one protocol: they vote with a probability for each class, and learn from labels.

A new kind of expert needs a new file in this folder and one line in `EXTRAS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from river import base

from driftmoe.experts.batch import Batch
from driftmoe.experts.history import LabelHistory
from driftmoe.experts.linear import LinearModels
from driftmoe.experts.neighbours import Neighbours
from driftmoe.experts.networks import NetworkPrototype, Networks
from driftmoe.experts.perceptron import Perceptron
from driftmoe.experts.prior import Prior, PriorExpert, Readable, check_trained, name_of, prior_of
from driftmoe.experts.products import Products
from driftmoe.experts.protocol import Experts, Group, OneVsRest, Prototype, Unmonitored
from driftmoe.experts.river import MulticlassExperts, OneVsRestExperts, RiverPrototype
from driftmoe.experts.trees import MulticlassTrees, OneVsRestTrees, TreePrototype
from driftmoe.trees import HoeffdingTreeClassifier

__all__ = [
    "EXTRAS", "Batch", "Experts", "Group", "Kind", "LabelHistory", "LinearModels", "MulticlassExperts",
    "MulticlassTrees", "Neighbours", "NetworkPrototype", "Networks", "OneVsRest", "OneVsRestExperts", "OneVsRestTrees",
    "Perceptron", "Prior", "PriorExpert", "Products", "Prototype", "Readable", "RiverPrototype", "TreePrototype",
    "Unmonitored",    "check_trained", "kind_of", "name_of", "prior_of", "prototype_of",
]  # fmt: skip


class Kind(NamedTuple):
    """A kind of extra experts.

    Attributes
    ----------
    experts
        Their class.
    make
        Takes `memory` and a private random generator, and returns untrained experts.
    remembers
        Whether `make` uses `memory`.
    """

    experts: type[Experts]
    make: Callable[[int, np.random.Generator], Experts]
    remembers: bool = False


EXTRAS: dict[str, Kind] = {
    "neighbours": Kind(Neighbours, lambda memory, rng: Neighbours(memory), remembers=True),
    "relevant-neighbours": Kind(
        Neighbours, lambda memory, rng: Neighbours(memory, by_relevance=True), remembers=True
    ),
    "history": Kind(LabelHistory, lambda memory, rng: LabelHistory()),
    "linear": Kind(LinearModels, lambda memory, rng: LinearModels()),
    "network": Kind(Perceptron, lambda memory, rng: Perceptron(*rng.spawn(1))),
    "products": Kind(Products, lambda memory, rng: Products()),
    "sequence": Kind(Products, lambda memory, rng: Products(n_last=2)),
}
"""Name of an extra expert -> its kind."""


def kind_of(extra: str | base.Classifier) -> Kind:
    """Return the kind of extra experts that a name of `EXTRAS` or a river classifier stands for."""
    if isinstance(extra, str):
        return EXTRAS[extra]
    return Kind(MulticlassExperts, lambda memory, rng: MulticlassExperts(extra, 1, rng))


def prototype_of(expert: base.Classifier) -> Prototype:
    """Return the prototype of experts that are copies of a river classifier.

    Trees of `driftmoe.trees.HoeffdingTreeClassifier` share a pool. This is the only place that tells them from other
    classifiers.
    """
    return TreePrototype(expert) if isinstance(expert, HoeffdingTreeClassifier) else RiverPrototype(expert)
