"""How experts share the work and who answers: a mixture for each variant, all with one protocol."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from driftmoe.experts import Batch
from driftmoe.mixture.adaptive import GATES, HEAD, MEMORY_WEIGHT, MEMORY_WEIGHT_RATE, PROBE, AdaptiveMixture
from driftmoe.mixture.cotraining import CoTraining, MostTrustedAnswers
from driftmoe.mixture.gate import FADING, FLOOR, LOSS_FADING, SURPRISE, TRUST_FADING
from driftmoe.mixture.per_class import PerClass
from driftmoe.mixture.router import Router
from driftmoe.mixture.telemetry import RoutingLog
from driftmoe.state import State
from driftmoe.transaction import Changes

if TYPE_CHECKING:
    from river import base

__all__ = [
    "FADING",
    "FLOOR",
    "GATES",
    "HEAD",
    "LOSS_FADING",
    "MEMORY_WEIGHT",
    "MEMORY_WEIGHT_RATE",
    "MIXTURES",
    "PROBE",
    "SURPRISE",
    "TRUST_FADING",
    "AdaptiveMixture",
    "Batch",
    "CoTraining",
    "Mixture",
    "MostTrustedAnswers",
    "PerClass",
]  # fmt: skip


class Mixture(Protocol):
    """Experts, a router, and how they work together.

    Attributes
    ----------
    DEFAULTS
        Arguments of `DriftMoEClassifier` -> defaults, where they are not those of all variants.
    WITHOUT
        Arguments that have no effect -> why, or where they have: what is said to who gives them.
    experts
        The main experts: trees, networks or river classifiers.
    router
        Says whom to trust on which samples.
    log
        What the routing did.
    """

    DEFAULTS: ClassVar[Mapping[str, Any]]
    WITHOUT: ClassVar[Mapping[str, str]]
    experts: Any
    router: Router
    log: RoutingLog

    @staticmethod
    def new_experts(
        prototype: base.Classifier | None, settings: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[Any, Iterable[Hashable]]:
        """Return untrained experts, copies of a prototype, and the features that it is told are nominal."""

    @classmethod
    def build(
        cls,
        settings: Mapping[str, Any],
        experts: Any,
        *,
        router_rng: np.random.Generator,
        expert_rng: np.random.Generator,
    ) -> Any:
        """Return the mixture of the settings, as `DriftMoEClassifier` names them."""

    @property
    def reads_samples(self) -> bool:
        """Whether an expert reads samples as dictionaries."""

    def expert_names(self, labels: Sequence[Hashable]) -> list[str]:
        """Return what reports call the experts."""

    def n_replaced(self, n_classes: int) -> np.ndarray:
        """Return how many trees of each expert a drift has ended, shape (n_experts,)."""

    def classes_of(self, expert: int, labels: Sequence[Hashable]) -> Sequence[Hashable]:
        """Return the classes that an expert tells apart."""

    def n_rows_with_room(self, n_rows: int, weights: np.ndarray) -> int:
        """Return how many of the next rows, of these weights, can be learnt in one step."""

    def predict(self, batch: Batch) -> np.ndarray:
        """Return the class probabilities of some samples, shape (n_rows, n_classes); changes nothing."""

    def plan(self, batch: Batch, changes: Changes) -> np.ndarray:
        """Plan to learn a batch; return the answer before each row was learnt, which the changes write."""

    def state(self) -> State:
        """Return all that was learnt, as named arrays and numbers; see `driftmoe.state`."""

    def restore(self, state: State) -> None:
        """Bring a mixture that was built with the same arguments to a state; see `driftmoe.state`."""


MIXTURES: dict[str, type[Mixture]] = {
    "driftmoe": AdaptiveMixture,
    "moe-vote": CoTraining,
    "moe-data": MostTrustedAnswers,
    "moe-task": PerClass,
}
"""Variant -> its mixture. A new variant is a new file and one line here."""
