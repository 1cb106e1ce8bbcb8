"""Experts of all kinds, with one protocol: they vote with a probability for each class, and learn from labels.

A new kind of expert needs a new file in this folder and one line in `EXTRAS`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np
from river import base

from driftmoe.experts.batch import Batch
from driftmoe.experts.history import LabelHistory
from driftmoe.experts.linear import LinearModels
from driftmoe.experts.neighbours import Neighbours
from driftmoe.experts.networks import Networks
from driftmoe.experts.perceptron import Perceptron
from driftmoe.experts.protocol import Experts, HasTrees, Unmonitored
from driftmoe.experts.river import MulticlassExperts, OneVsRestExperts
from driftmoe.experts.trees import MulticlassTrees, OneVsRestTrees
from driftmoe.trees import HoeffdingTreeClassifier

__all__ = [
    "EXTRAS", "Batch", "Experts", "HasTrees", "Kind", "LabelHistory", "LinearModels", "MulticlassExperts",
    "MulticlassTrees", "Neighbours", "Networks", "OneVsRest", "OneVsRestExperts", "OneVsRestTrees", "Perceptron",
    "Unmonitored", "kind_of", "new_experts",
]  # fmt: skip

OneVsRest = OneVsRestTrees | OneVsRestExperts


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
}
"""Name of an extra expert -> its kind."""


def kind_of(extra: str | base.Classifier) -> Kind:
    """Return the kind of extra experts that a name of `EXTRAS` or a river classifier stands for."""
    if isinstance(extra, str):
        return EXTRAS[extra]
    return Kind(MulticlassExperts, lambda memory, rng: MulticlassExperts(extra, 1, rng))


def new_experts(
    prototype: base.Classifier, n_experts: int, rng: np.random.Generator, *, n_threads: int, **of_trees: Any
) -> tuple[Experts, Iterable[Hashable]]:
    """Return untrained copies of a prototype, and the features that it declares nominal.

    Parameters
    ----------
    prototype
        River classifier, which is not changed. A `driftmoe.trees.HoeffdingTreeClassifier` gives a pool of trees.
    n_experts
        Number of copies.
    rng
        Private generator for the seeds of other classifiers.
    n_threads, **of_trees
        Further arguments of `TreePool`.

    Raises
    ------
    ValueError
        If the prototype is a binary classifier.
    """
    if not prototype._multiclass:
        raise ValueError(
            f"expert={type(prototype).__name__} tells only two classes apart; wrap it in "
            "river.multiclass.OneVsRestClassifier, or choose variant='moe-task'"
        )
    if isinstance(prototype, HoeffdingTreeClassifier):
        pool = prototype.pool(n_experts, n_threads=n_threads, **of_trees)
        return MulticlassTrees(pool), prototype.nominal_attributes or ()
    return MulticlassExperts(prototype, n_experts, rng), ()
