"""The paper's co-training: for each sample a router chooses a few experts, which learn the sample and answer."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from driftmoe.experts import Batch, Experts, Prototype
from driftmoe.experts.batch import ALL, Index, outputs_of, taken
from driftmoe.mixture.arguments import PAPER, Argument, Arguments, Need, integer, number
from driftmoe.mixture.mixing import correctness, follow_right, mix, of_learnt
from driftmoe.mixture.pooled import Pooled
from driftmoe.mixture.router import Router
from driftmoe.mixture.telemetry import RoutingLog
from driftmoe.routing import Choice, LinearK, Policy, TopK, as_rule
from driftmoe.state import State, array_of, check_names
from driftmoe.transaction import Changes, StepPlan, carry_out, planned, publication

if TYPE_CHECKING:
    from driftmoe.mixture import Mixture

MANY_STEPS = 10**9
"""Policies are checked at the first step and at this one, by which schedules have ended."""


class CoTraining(Pooled):
    """The variants `"moe-vote"` and `"moe-data"`.

    The router learns which experts were right from a multi-hot mask (arXiv 2507.18464, section 3).

    Parameters
    ----------
    experts
        All experts.
    router
        Network with one logit for each expert that is not shared, and one for each null expert of the policy.
    policy
        Chooses which experts learn a sample and which vote on it.
    one_answers
        Whether only the expert with the largest weight answers, instead of all chosen experts.
    correction
        Step size of a correction that raises the logits of experts that were right lately; 0 for none.

    Notes
    -----
    The loop, the mask, the network and the defaults are the paper's. So is the fallback: when no expert is right, the
    router's target is the expert that gives the true class the largest probability (the first, in a tie). These points
    differ from the paper or its code:

    - The router's inputs are standardised by the preceding samples, which the paper does not mention. On raw inputs,
      such as metres beside 0/1 flags, the network learns little.
    - A gradient step draws dropout again. The published code keeps the earlier logits, and so never applies dropout in
      MoE-Data. The default is therefore 0.
    - An untrained expert has no vote, counts as wrong, and never answers while another expert has a vote.

    References
    ----------
    Aspis, Cajas Ordóñez, Suárez-Cetrulo and Simón Carbajo (2025). DriftMoE: A Mixture of Experts Approach to Handle
    Concept Drifts. arXiv 2507.18464, section 3.
    """

    ARGUMENTS: ClassVar[Arguments] = {
        "n_experts": Argument(12, integer(1)),
        "top_k": Argument(
            3,
            integer(1),
            Need(lambda c: c.policy is None, "beside policy={c.policy!r}, which chooses the experts"),
        ),
        "policy": Argument(None, None),
        "correction": Argument(0.0, number(lambda value: 0.0 <= value < math.inf, "0 or more, such as 0.05")),
        **PAPER,
    }
    REASONS: ClassVar[Mapping[str, str]] = {}
    ONE_ANSWERS: ClassVar[bool] = False

    experts: Experts

    def __init__(
        self, experts: Experts, router: Router, policy: Policy, *, one_answers: bool, correction: float
    ) -> None:
        self.experts, self.router, self._policy, self._one_answers = (
            experts,
            router,
            as_rule(policy),
            one_answers,
        )
        self._n_shared = self._policy.n_shared
        self._rate = correction
        self._logit_corrections = np.zeros(router.n_outputs)
        self.log = RoutingLog(reads_logits=True, is_one_vs_rest=False)

    @classmethod
    def build(
        cls,
        settings: Mapping[str, Any],
        prototype: Prototype,
        *,
        router_rng: np.random.Generator,
        expert_rng: np.random.Generator,
    ) -> CoTraining:
        """Return a mixture of copies of a prototype, with the given settings of `DriftMoEClassifier`."""
        n_experts, n_threads = settings["n_experts"], settings["n_threads"]
        experts = prototype.multiclass(n_experts, expert_rng, n_threads=n_threads, detectors={})
        policy = TopK(settings["top_k"]) if settings["policy"] is None else settings["policy"]
        check_policy(policy, n_experts, one_answers=cls.ONE_ANSWERS)
        router = Router.of(settings, as_rule(policy).n_logits(n_experts), router_rng)
        return cls(
            experts, router, policy, one_answers=cls.ONE_ANSWERS, correction=float(settings["correction"])
        )

    def expert_names(self, labels: Sequence[Hashable]) -> list[str]:
        """Return the names of the experts in reports."""
        return [f"{self.experts.kind} {name}" for name in self.experts.names]

    def n_replaced(self, n_classes: int) -> np.ndarray:
        """Return how many trees of each expert were replaced after drift, shape (n_experts,)."""
        return np.array(self.experts.n_replaced)

    def classes_of(self, expert: int, labels: Sequence[Hashable]) -> Sequence[Hashable]:
        """Return the classes that an expert distinguishes."""
        return labels

    def plan_prediction(self, batch: Batch, plan: StepPlan) -> np.ndarray:
        """Compute what `predict` returns, by calls of a plan."""
        weights, expert_proba = self._plan_weighted_votes(batch, plan)
        proba = np.empty((len(weights), batch.n_classes))
        plan.compute(mix, weights, expert_proba, self._one_answers, proba)
        return proba

    def votes(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the experts' weights, shape (n_rows, n_experts), and votes, shape (n_rows, n_experts, n_classes)."""
        weights, expert_proba = self._plan_weighted_votes(batch, StepPlan())
        if self._one_answers:
            weights = weights * (np.arange(weights.shape[1]) == weights.argmax(axis=1)[:, np.newaxis])
        return weights, expert_proba

    def _plan_weighted_votes(self, batch: Batch, plan: StepPlan) -> tuple[np.ndarray, np.ndarray]:
        """Compute the weights that the policy gives, and the votes, zeros of experts that need not be asked."""
        logits = self.router.plan_outputs(batch.inputs, plan)
        if self._rate > 0.0:
            plan.is_repeatable = False
            logits = logits + self._logit_corrections
        weights, mask, _ = self._choose(logits, plan)
        if not self.reads_samples:  # all: trees and networks answer in one call
            return weights, self.experts.plan_votes(batch, plan)
        plan.is_repeatable = False
        asked = mask
        if self._one_answers:  # one expert votes, or none
            asked = np.arange(self.experts.n_experts) == weights.argmax(axis=1)[:, np.newaxis]
        asked = asked | ~weights.any(axis=1, keepdims=True)  # all, if only null experts are chosen
        expert_proba = self.experts.predict_proba(batch, asked)
        if not expert_proba.any(axis=-1).any(axis=-1).all():  # none asked has a vote
            expert_proba = self.experts.predict_proba(batch)
        return weights, expert_proba

    def plan(self, batch: Batch, changes: StepPlan) -> np.ndarray:
        """Plan a step: all experts vote, the chosen ones learn, and the router learns which were right.

        Returns
        -------
        proba
            Class probabilities of each row before it is learnt, shape (n_rows, n_classes). The changes fill it in.
        """
        learnt, weights, n_rows = batch.learnt, batch.weights, len(batch.targets)
        targets, n_features = taken(batch.targets, learnt, changes), batch.vectors.shape[1]
        router = self.router.grown(batch.inputs.shape[1], self.router.n_outputs)
        if router is not self.router:
            changes.append(publication(self.router, router))
        logits = outputs_of(router, batch.inputs, learnt, changes)
        choice = self._choose(logits, changes)
        taught = np.empty(choice.mask.shape)
        changes.compute(taught.fill, 0.0)
        changes.compute(np.copyto, taught, weights[:, np.newaxis], "same_kind", choice.mask)
        if changes.n_ahead:
            batch = batch._replace(ahead=np.ones((changes.n_ahead, self.experts.n_experts)))
        changes.is_repeatable = changes.is_repeatable and self.experts.is_repeatable and self._rate == 0.0
        expert_proba = self.experts.plan(batch, taught, changes=changes)
        votes = of_learnt(expert_proba, learnt, changes)
        correct = np.empty((len(votes), self._n_shared + router.n_outputs), np.bool_)  # includes null experts
        changes.append(planned(correctness, votes, targets, correct))
        router.plan(correct[:, self._n_shared :], changes, weights=taken(weights, learnt, changes))
        proba = np.empty((n_rows, batch.n_classes))
        replaced = planned_replacements(self, batch, changes)
        if self._rate > 0.0:  # for voting only: as learners, all experts would come to learn the same samples
            corrected = np.array(logits, np.float64)
            if n_rows > len(votes):  # of the others it does not matter
                correct = np.empty((n_rows, correct.shape[1]), np.bool_)
                changes.append(planned(correctness, expert_proba, batch.targets, correct))
            changes.append(
                planned(
                    follow_right,
                    correct,
                    self._n_shared,
                    weights,
                    self._rate,
                    self._logit_corrections,
                    corrected,
                )
            )
            n_samples = self.log.n_samples + len(votes)
            changes.append(
                partial(
                    self._answer, corrected, expert_proba, proba, learnt, targets, n_features, replaced, n_samples
                )
            )  # fmt: skip
        else:
            changes.append(planned(mix, choice.weights, expert_proba, self._one_answers, proba))
            of_log = of_learnt(proba, learnt, changes)
            of_choice = Choice(*(taken(array, learnt if len(array) else ALL, changes) for array in choice))
            self.log.plan(
                of_choice, taken(logits, learnt, changes), votes, of_log, targets, n_features=n_features,
                replaced=replaced, changes=changes,
            )  # fmt: skip
        return proba

    def state(self) -> State:
        """Return the states of experts, router and log, and the corrections of the logits; see `driftmoe.state`."""
        return {**super().state(), "logit_corrections": self._logit_corrections.copy()}

    def restore(self, state: State) -> None:
        """Restore the state of a mixture that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("experts", "router", "log", "logit_corrections"), self)
        corrections = array_of(state, "logit_corrections", np.float64, self._logit_corrections.shape, self)
        super().restore({name: part for name, part in state.items() if name != "logit_corrections"})
        self._logit_corrections = corrections

    def _answer(
        self,
        logits: np.ndarray,
        expert_proba: np.ndarray,
        proba: np.ndarray,
        learnt: Index,
        targets: np.ndarray,
        n_features: int,
        replaced: np.ndarray | None,
        n_samples: int,
    ) -> None:
        """A change: let the experts vote that the corrected logits choose, and log the answer once."""
        if self.log.n_samples == n_samples:
            return
        choice = self._choose(logits, StepPlan())
        mix(choice.weights, expert_proba, self._one_answers, proba)
        changes: Changes = []
        self.log.plan(
            choice.of_rows(learnt),
            logits[learnt],
            expert_proba[learnt],
            proba[learnt],
            targets,
            n_features=n_features,
            replaced=replaced,
            changes=changes,
        )
        carry_out(changes)

    def _choose(self, logits: np.ndarray, plan: StepPlan) -> Choice:
        """Compute which experts the policy chooses for each row, and their weights."""
        choice = self._policy.at(self.router.n_batches).rows(logits)
        own = Choice(*(array.copy() for array in choice))  # a policy may keep its arrays
        plan.computed.append(partial(self._choose_again, logits, own))
        return own

    def _choose_again(self, logits: np.ndarray, choice: Choice) -> None:
        """Write into the arrays of an earlier choice those of a new one."""
        self._policy.at(self.router.n_batches).rows_into(logits, choice)


class MostTrustedAnswers(CoTraining):
    """The variant `"moe-data"`: as `"moe-vote"`, but only the expert with the largest weight answers."""

    ONE_ANSWERS: ClassVar[bool] = True


def planned_replacements(mixture: Mixture, batch: Batch, changes: Changes) -> np.ndarray | None:
    """Plan to record how many trees were replaced after drift, if this batch completes the router's mini-batch."""
    if batch.n_learnt < mixture.router.room:
        return None
    replaced = mixture.n_replaced(batch.n_classes)
    now = mixture.experts.n_replaced_so_far
    changes.append(partial(replaced[: len(now)].__setitem__, ..., now))
    return replaced


def check_policy(policy: Any, n_experts: int, *, one_answers: bool = False) -> None:
    """Raise unless a policy fits the number of experts.

    Raises
    ------
    TypeError
        If it is not a policy of `driftmoe.routing`.
    ValueError
        If it chooses among another number of experts, or has shared experts although only one expert answers.
    """
    if not callable(policy) or isinstance(policy, LinearK):
        raise TypeError(f"policy={policy!r} is not a policy; give one of driftmoe.routing, such as TopP(0.9)")
    rule = as_rule(policy)
    if rule.n_shared and one_answers:
        raise ValueError(
            f"policy={policy!r}: shared experts do not work with variant='moe-data', where only the expert "
            "with the largest weight answers; choose 'moe-vote', where all chosen experts vote"
        )
    for step in (0, MANY_STEPS):
        logits = np.zeros((1, max(rule.n_logits(n_experts), 1)))
        n_chosen = rule.at(step).rows(logits).mask.shape[-1]
        if n_chosen != n_experts:
            raise ValueError(
                f"policy={policy!r} chooses among {n_chosen} experts but there are {n_experts}; null "
                "and shared experts must be those of the outermost policy, or WithShared(WithNull(...), ...)"
            )
