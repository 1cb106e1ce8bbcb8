"""The mixture with one expert for each class, which separates this class from all others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from driftmoe.experts import Batch, Group, OneVsRest, Prototype
from driftmoe.experts.batch import outputs_of
from driftmoe.mixture.arguments import PAPER, Arguments
from driftmoe.mixture.cotraining import planned_replacements
from driftmoe.mixture.mixing import mix_own, of_learnt
from driftmoe.mixture.pooled import Pooled, check_log
from driftmoe.mixture.router import Router
from driftmoe.mixture.telemetry import RoutingLog
from driftmoe.routing import Choice
from driftmoe.transaction import StepPlan, planned, publication


class PerClass(Pooled):
    """The variant `"moe-task"`: all experts learn every sample, and their answers are weighted by the router.

    Parameters
    ----------
    experts
        One expert for each class learnt so far.
    router
        Network with one logit for each expert.

    Notes
    -----
    In the published code the router's largest logit decides the class, so that the experts never influence a
    prediction. Here they do, as the text of the paper describes: the score of class *c* is softmax(logits)_c × p_c,
    where p_c is the probability that expert *c* gives its class. The scores are normalised.

    The router's target is one-hot at the true class, as in the published code, even if the expert of this class rejects
    the sample. Experts that correctly reject a sample do not count as right. Otherwise the experts with the most
    distant classes would be right most easily, and the router would learn to trust them. The router takes a step per
    mini-batch; the published MoE-Task takes one per sample.

    References
    ----------
    Aspis, Cajas Ordóñez, Suárez-Cetrulo and Simón Carbajo (2025). DriftMoE: A Mixture of Experts Approach to Handle
    Concept Drifts. arXiv 2507.18464, section 3.
    """

    ARGUMENTS: ClassVar[Arguments] = PAPER
    REASONS: ClassVar[Mapping[str, str]] = {
        "n_experts": "which has one expert for each class",
        "top_k": "where all experts learn",
        "policy": "where all experts learn and vote",
    }

    experts: OneVsRest

    def __init__(self, experts: OneVsRest, router: Router) -> None:
        self.experts, self.router = experts, router
        self.log = RoutingLog(reads_logits=False, is_one_vs_rest=True)

    @classmethod
    def build(
        cls,
        settings: Mapping[str, Any],
        prototype: Prototype,
        *,
        router_rng: np.random.Generator,
        expert_rng: np.random.Generator,
    ) -> PerClass:
        """Return a mixture of copies of a prototype, with the given settings of `DriftMoEClassifier`."""
        experts = prototype.one_vs_rest(expert_rng, n_threads=settings["n_threads"])
        return cls(experts, Router.of(settings, 0, router_rng))

    def expert_names(self, labels: Sequence[Hashable]) -> list[str]:
        """Return the names of the experts in reports."""
        return [f"class {label}" for label in labels]

    def n_replaced(self, n_classes: int) -> np.ndarray:
        """Return how many trees of each expert were replaced after drift, shape (n_classes,): 0, without detectors."""
        return np.zeros(n_classes, np.int64)

    def classes_of(self, expert: int, labels: Sequence[Hashable]) -> Sequence[Hashable]:
        """Return the classes that an expert distinguishes."""
        return [f"not {labels[expert]}", labels[expert]]

    def plan_prediction(self, batch: Batch, plan: StepPlan) -> np.ndarray:
        """Compute what `predict` returns, by calls of a plan."""
        return self._plan_weighted_votes(batch, plan)[2]

    def votes(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the router's weights, and each expert's probability of its own class, both (n_rows, n_classes)."""
        weights, own_proba, _ = self._plan_weighted_votes(batch, StepPlan())
        return weights, own_proba

    def _plan_weighted_votes(self, batch: Batch, plan: StepPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute what `votes` and `predict` return, by calls of a plan."""
        logits = self.router.plan_outputs(batch.inputs, plan)
        own_proba = self.experts.plan_votes(batch, plan)
        weights, proba = np.empty((2, len(logits), batch.n_classes))
        plan.compute(mix_own, logits, own_proba, weights, proba)
        return weights, own_proba, proba

    def plan(self, batch: Batch, changes: StepPlan) -> np.ndarray:
        """Plan a step: all experts vote and learn, and the router learns the true class.

        Returns
        -------
        proba
            Class probabilities of each row before it is learnt, shape (n_rows, n_classes). The changes fill it in.
        """
        learnt, n_classes = batch.learnt, batch.n_classes
        targets = batch.targets[learnt]
        router = self.router.grown(batch.inputs.shape[1], n_classes)
        if router is not self.router:
            changes.append(publication(self.router, router))
        changes.is_repeatable = False
        logits = outputs_of(router, batch.inputs, learnt, changes)
        proba = np.empty((len(logits), n_classes))
        own_proba = self.experts.plan(batch, changes=changes)
        weights = np.empty(proba.shape)
        changes.append(planned(mix_own, logits, own_proba, weights, proba))
        router.plan(targets[:, np.newaxis] == np.arange(n_classes), changes, weights=batch.weights[learnt])
        replaced = planned_replacements(self, batch, changes)
        weights, own_proba, of_log = (
            of_learnt(part, learnt, changes) for part in (weights, own_proba, proba)
        )
        choice = Choice(weights, np.ones(weights.shape, np.bool_))
        self.log.plan(
            choice, None, own_proba, of_log, targets, n_features=batch.vectors.shape[1], replaced=replaced,
            changes=changes,
        )  # fmt: skip
        return proba

    def check_widths(self, experts: Group, router: Router, log: RoutingLog) -> None:
        """Raise ValueError unless restored experts, router and log know the same classes."""
        if experts.n_experts != router.n_outputs:
            raise ValueError(
                f"the state has {experts.n_experts} experts and {router.n_outputs} logits; a class "
                "has one of each"
            )
        check_log(log, experts.n_experts)
