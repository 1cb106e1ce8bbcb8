"""Mixtures of experts and a router: one class per variant, all with one protocol."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from driftmoe.experts import Batch, Group, Prototype
from driftmoe.mixture.adaptive import MEMORY_WEIGHT, MEMORY_WEIGHT_RATE, AdaptiveMixture
from driftmoe.mixture.adaptive_arguments import GATES, MAX_WAITING
from driftmoe.mixture.arguments import HEAD, Arguments
from driftmoe.mixture.arrivals import Arrivals
from driftmoe.mixture.cotraining import CoTraining, MostTrustedAnswers
from driftmoe.mixture.gate import FADING, FLOOR, LOSS_FADING, PROBE, SURPRISE, TRUST_FADING
from driftmoe.mixture.per_class import PerClass
from driftmoe.mixture.router import Router
from driftmoe.mixture.telemetry import RoutingLog
from driftmoe.state import State
from driftmoe.transaction import StepPlan

if TYPE_CHECKING:
    from river import base

__all__ = [
    "FADING",
    "FLOOR",
    "GATES",
    "HEAD",
    "LOSS_FADING",
    "MAX_WAITING",
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
    """Experts, a router, and the rules by which they learn and answer.

    Attributes
    ----------
    ARGUMENTS
        Arguments of `DriftMoEClassifier` that the mixture takes, beside those that all mixtures take.
    REASONS
        Other arguments -> why the mixture does not take them, as part of the error message. The default reason names
        the variants that take them.
    router
        Network that learns which experts to trust on which samples.
    log
        Statistics of the routing.
    arrivals
        Samples that wait for their labels. Their number `most` is 0 if the mixture keeps none.
    """

    ARGUMENTS: ClassVar[Arguments]
    REASONS: ClassVar[Mapping[str, str]]
    router: Router
    log: RoutingLog
    arrivals: Arrivals

    @staticmethod
    def default_expert() -> base.Classifier:
        """Return the classifier that is copied if the user gives none."""

    @classmethod
    def build(
        cls,
        settings: Mapping[str, Any],
        prototype: Prototype,
        *,
        router_rng: np.random.Generator,
        expert_rng: np.random.Generator,
    ) -> Mixture:
        """Return a mixture of copies of a prototype, with the given settings of `DriftMoEClassifier`."""

    @property
    def experts(self) -> Group:
        """The main experts: trees, networks or river classifiers."""

    @property
    def groups(self) -> Sequence[Group]:
        """All groups of experts; see `driftmoe.mixture.shrinking`."""

    def with_groups(self, groups: Sequence[Any]) -> Mixture:
        """Return a copy of the mixture with other groups that have the same votes."""

    @property
    def reads_samples(self) -> bool:
        """Whether any expert reads samples as dictionaries."""

    def expert_names(self, labels: Sequence[Hashable]) -> list[str]:
        """Return the names of the experts in reports."""

    def n_replaced(self, n_classes: int) -> np.ndarray:
        """Return how many trees of each expert were replaced after drift, shape (n_experts,)."""

    def classes_of(self, expert: int, labels: Sequence[Hashable]) -> Sequence[Hashable]:
        """Return the classes that an expert distinguishes."""

    def n_rows_with_room(self, n_rows: int, weights: np.ndarray) -> int:
        """Return how many of the next rows, with these weights, can be learnt in one step."""

    def n_rows_before_growth(self, weights: np.ndarray) -> int:
        """Return how many of the next rows, with these weights, are learnt before an array must grow; see `Group`."""

    def predict(self, batch: Batch) -> np.ndarray:
        """Return the class probabilities of samples, shape (n_rows, n_classes). Does not change the mixture."""

    def plan_prediction(self, batch: Batch, plan: StepPlan) -> np.ndarray:
        """Compute what `predict` returns, by calls of a plan."""

    def votes(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the experts' weights, shape (n_rows, n_experts), and votes. Does not change the mixture.

        Votes have the shape (n_rows, n_experts, n_classes), or (n_rows, n_classes) if each expert gives the probability
        of its own class only.
        """

    def plan(self, batch: Batch, changes: StepPlan) -> np.ndarray:
        """Plan to learn a batch. Return the class probabilities before each row is learnt; the changes fill them in."""

    def sizes(self) -> dict[str, int]:
        """Return how many features (`n_features`), inputs (`n_inputs`) and classes (`n_classes`) the parts know."""

    def state(self) -> State:
        """Return everything that was learnt, as named arrays and numbers; see `driftmoe.state`."""

    def restore(self, state: State) -> None:
        """Restore the state of a mixture that was built with the same arguments; see `driftmoe.state`."""


MIXTURES: dict[str, type[Mixture]] = {
    "driftmoe": AdaptiveMixture,
    "moe-vote": CoTraining,
    "moe-data": MostTrustedAnswers,
    "moe-task": PerClass,
}
"""Variant -> its mixture. A new variant needs a new file and one line here."""
