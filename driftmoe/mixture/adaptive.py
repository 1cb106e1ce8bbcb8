"""The adaptive mixture: experts of several kinds that all learn, and a gate that learns which of them to trust.

For each sample, the experts vote, and the gate weights the votes by the router's logits for the sample and by how well
each expert has done lately. Experts then learn the label (each tree a Poisson number of times), and the router takes a
gradient step on the mixture's log-likelihood.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from driftmoe.experts import Batch, Experts, PriorExpert, Prototype, kind_of, prior_of
from driftmoe.experts.batch import outputs_of, taken
from driftmoe.mixture.adaptive_arguments import ARGUMENTS, GATES
from driftmoe.mixture.adaptive_state import ARRAYS, NAMES, OF_GATE, checked_gate, lean_on
from driftmoe.mixture.arguments import HEAD, Arguments
from driftmoe.mixture.arrivals import Arrivals, bits_of, keep_all, with_room
from driftmoe.mixture.cotraining import check_policy, planned_replacements
from driftmoe.mixture.gate import (
    FADING,
    LOSS_FADING,
    answer,
    draw_weights,
    end_mini_batch,
    whom_to_ask,
)  # fmt: skip
from driftmoe.mixture.mixing import of_learnt
from driftmoe.mixture.pooled import MAX_NODES, check_log, in_reports, largest, names_of, side_by_side
from driftmoe.mixture.router import Router
from driftmoe.mixture.shedding import Shedding
from driftmoe.mixture.telemetry import NOBODY, RoutingLog
from driftmoe.routing import Choice, Policy, as_rule
from driftmoe.state import State, check_names, restored, value_of
from driftmoe.threads import N_TOO_FEW
from driftmoe.transaction import (
    NO_TARGETS,
    NO_WEIGHTS,
    Changes,
    StepPlan,
    copying,
    is_ready,
    planned,
    publication,
)
from driftmoe.trees import HoeffdingTreeClassifier

if TYPE_CHECKING:
    from river import base

MEMORY_WEIGHT = 3.0
"""Initial weight of each log-likelihood memory in the gate's logits. Learnt during training."""

MEMORY_WEIGHT_RATE = 5.0
"""Step size of the memory weights, as a multiple of the router's."""

MONITORS = {"warning_delta": 0.05, "drift_delta": 0.01}
"""Settings of the trees' warning and drift detectors; see `TreePool`."""


class AdaptiveMixture:
    """The variant `"driftmoe"`: a pool of experts, extra experts of other kinds, and the gate over all of them.

    Parameters
    ----------
    pool
        The main experts, which learn with Poisson weights.
    extras
        Experts of other kinds. They learn every sample once. A prior, which learns nothing, is the last of them.
    has_head
        Whether the router's own class probabilities are one more expert, the last.
    router
        Its outputs are the logits of the experts (those of `policy`, if there is one), followed by the logits of the
        classes if `has_head`.
    policy
        Chooses from the experts' logits, including memories, which experts vote and which trees learn; `None` for all.
        The router learns from all votes. A null expert of the policy votes as the mean of all others: it is trusted
        where the others agree, and then nobody needs to learn.
    leverage
        Mean of the Poisson weights.
    min_trust
        Costly extra experts of a kind are only asked for one sample in `PROBE` while their gate weight is below this
        share of the weight that they would have if all experts counted the same. 0 always asks all.
    min_awake
        Fewest main experts that stay awake while the gate hardly needs them; see `Shedding`. 0 keeps all awake.
    gate
        What the weights depend on; see `GATES`.
    max_waiting
        Most samples of which the votes are kept until their labels come; see `Arrivals`.
    rng
        Private generator of the Poisson weights.

    Notes
    -----
    The router gives a logit z_e(x) for each expert, and each expert gives class probabilities p_e(y|x). Two memories
    H_e hold the faded log-likelihood of the expert, over about 10 and 50 samples. The answer is sum_e g_e p_e with the
    gate weights g = softmax_e (z_e(x) + a·H_e). The router and the two memory weights a minimise the negative
    log-likelihood -ln sum_e g_e p_e(y) by gradient descent. This is the mixture of Jacobs et al. (1991), with
    exponentially forgotten likelihoods as in dynamic model averaging (Raftery et al. 2010). A `policy` reads z_e(x) +
    a·H_e, with the memories from the last step of the router.

    Trees learn a sample a Poisson number of times (leveraging bagging, Bifet et al. 2010). Each tree has a warning and
    a drift detector (ADWIN). The first starts a background tree, and the second replaces the tree by it (adaptive
    random forests, Gomes et al. 2017).

    References
    ----------
    Jacobs, Jordan, Nowlan and Hinton (1991). Adaptive mixtures of local experts. Neural Computation 3.

    Raftery, Kárný and Ettler (2010). Online prediction under model uncertainty via dynamic model averaging.
    Technometrics 52.

    Bifet, Holmes and Pfahringer (2010). Leveraging bagging for evolving data streams. ECML PKDD.

    Gomes et al. (2017). Adaptive random forests for evolving data stream classification. Machine Learning 106.
    """

    ARGUMENTS: ClassVar[Arguments] = ARGUMENTS
    REASONS: ClassVar[Mapping[str, str]] = {"top_k": "where all experts learn"}

    def __init__(
        self,
        pool: Experts,
        extras: Sequence[Experts],
        *,
        has_head: bool,
        router: Router,
        policy: Policy | None,
        leverage: float,
        min_trust: float,
        min_awake: int,
        gate: str,
        max_waiting: int,
        rng: np.random.Generator,
    ) -> None:
        self.experts, self.router = pool, router
        self._extras, self._has_head = list(extras), has_head
        self._policy = None if policy is None else as_rule(policy)
        self._n_shared = 0 if self._policy is None else self._policy.n_shared
        self.reads_samples = any(group.reads == "samples" for group in self.groups)
        self.log = RoutingLog(reads_logits=False, is_one_vs_rest=False)
        self._leverage, self._key = float(leverage), rng.integers(2**64, dtype=np.uint64)
        sizes = [pool.n_experts, *(extra.n_experts for extra in self._extras)] + [1] * has_head
        self.n_experts = sum(sizes)
        self.n_logits = self.n_experts + (0 if self._policy is None else self._policy.n_null)
        self._groups = np.repeat(np.arange(len(sizes)), sizes)
        self._log_likelihood_memories = np.zeros((len(FADING), self.n_logits))
        self._prior = next((extra for extra in self._extras if isinstance(extra, PriorExpert)), None)
        if self._prior is not None:
            self.log.start_with(self._prior.prior.n_classes)
            lean_on(self.n_experts - 1 - has_head, self._log_likelihood_memories, router)
        self._asks_router, self._asks_memories = GATES[gate]
        self._memory_weights = np.full(len(FADING), MEMORY_WEIGHT * self._asks_memories, np.float32)
        self._logit_biases = np.zeros(self.n_logits)  # what the memories added when the router last learnt
        self._memory_weight_moments = np.zeros((2, len(FADING)), np.float32)
        self._memory_weight_gradients = np.zeros(len(FADING))
        self._n_memory_weight_steps = np.zeros(1, np.int64)
        self._n_seen = np.zeros(1, np.int64)
        self._average_losses = np.zeros(len(LOSS_FADING))
        self._average_gate_weights = np.ones(len(sizes))
        self._least_gate_weights = min_trust * np.array(sizes) / self.n_experts * (gate != "equal")
        self._is_group_probed = np.zeros(len(sizes), np.bool_)  # constant between two steps of the router
        can_shed = pool.pool is not None and policy is None and gate != "equal" and len(sizes) > 1
        self.shedding = Shedding(self.groups, int(has_head), min_awake if can_shed else 0)
        self._is_costly = np.array([extra.is_costly for extra in self._extras], np.bool_)
        self.arrivals = Arrivals(self.n_experts, self.n_logits, len(FADING), max_waiting)

    @staticmethod
    @cache
    def default_expert() -> base.Classifier:
        """Return a tree that splits sooner than the paper's."""
        return HoeffdingTreeClassifier(grace_period=200, delta=0.01, max_nodes=MAX_NODES)

    @classmethod
    def build(
        cls,
        settings: Mapping[str, Any],
        prototype: Prototype,
        *,
        router_rng: np.random.Generator,
        expert_rng: np.random.Generator,
    ) -> AdaptiveMixture:
        """Return a mixture of copies of a prototype and of extras, with the given settings of `DriftMoEClassifier`."""
        extras, policy = settings["extras"], settings["policy"]
        experts = prototype.multiclass(
            settings["n_experts"],
            expert_rng,
            n_threads=settings["n_threads"],
            detectors=MONITORS if settings["monitors"] else {},
        )
        kinds = [kind_of(extra) for extra in extras if extra != HEAD]
        others = [kind.make(settings["memory"], expert_rng) for kind in kinds]
        if settings["prior"] is not None:
            others.append(PriorExpert(prior_of(settings["prior"])))
        n_logits = n_experts = experts.n_experts + sum(part.n_experts for part in others) + (HEAD in extras)
        if policy is not None:
            check_policy(policy, n_experts)
            n_logits += as_rule(policy).n_null
        can_learn = settings["gate"] != "equal" and settings["learning_rate"] > 0.0
        return cls(
            experts,
            others,
            has_head=HEAD in extras,
            router=Router.of(settings, n_logits, router_rng),
            policy=policy,
            leverage=settings["leverage"],
            min_trust=settings["min_trust"],
            min_awake=settings["min_awake"],
            gate=settings["gate"],
            max_waiting=settings["max_waiting"] if can_learn and settings["max_bytes"] is None else 0,
            rng=expert_rng,
        )

    @property
    def groups(self) -> list[Experts]:
        """The pool, then the extras, in the order of their votes; the head's vote comes last."""
        return [self.experts, *self._extras]

    def with_groups(self, groups: Sequence[Any]) -> Self:
        """Return a copy of the mixture with other groups that have the same votes."""
        new = copy.copy(self)
        new.experts, *new._extras = groups
        return new

    def n_outputs(self, n_classes: int) -> int:
        """Return the number of outputs that the router needs."""
        return self.n_logits + n_classes * self._has_head

    def expert_names(self, labels: Sequence[Hashable]) -> list[str]:
        """Return the names of the experts in reports."""
        return in_reports(self.groups) + [HEAD] * self._has_head

    def n_replaced(self, n_classes: int) -> np.ndarray:
        """Return how many trees of each expert were replaced after drift, shape (n_experts,)."""
        n_replaced = np.zeros(self.n_experts, np.int64)
        n_replaced[: self.experts.n_experts] = self.experts.n_replaced
        return n_replaced

    def classes_of(self, expert: int, labels: Sequence[Hashable]) -> Sequence[Hashable]:
        """Return the classes that an expert distinguishes."""
        return labels

    def predict(self, batch: Batch) -> np.ndarray:
        """Return the class probabilities of samples, shape (n_rows, n_classes). Does not change the mixture."""
        return self.plan_prediction(batch, StepPlan())

    def plan_prediction(self, batch: Batch, plan: StepPlan) -> np.ndarray:
        """Compute what `predict` returns, by calls of a plan."""
        if self._prior is not None and not self.log.n_samples:  # what it says, to the last bit
            return self._prior.answers(batch, plan)
        _, expert_proba, proba = self._plan_answers(batch, plan)
        if len(batch.awaits) and self.arrivals.most and self.log.n_samples:
            arrivals = with_room(self, batch, plan)
            kept = (
                batch.awaits,
                bits_of(batch.vectors),
                expert_proba,
                self._log_likelihood_memories,
                self._n_seen,
            )
            plan.append(planned(keep_all, *kept, *arrivals.arrays))
        return proba

    def votes(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the experts' weights, shape (n_rows, n_experts), and votes, shape (n_rows, n_experts, n_classes)."""
        if self._prior is not None and not self.log.n_samples:
            return self._prior.alone(batch, self.n_experts, self.n_experts - 1 - self._has_head)
        return self._plan_answers(batch, StepPlan())[:2]

    def _plan_answers(self, batch: Batch, plan: StepPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute what `votes` and `predict` return, by calls of a plan."""
        n_rows, n_classes = len(batch.inputs), batch.n_classes
        outputs = self.router.plan_outputs(batch.inputs, plan)
        asked = self._asked(NO_WEIGHTS, n_rows, plan)
        votes = [self.experts.plan_votes(batch, plan, self.shedding.asked)]
        votes += [extra.plan_votes(batch, plan, one) for extra, one in zip(self._extras, asked, strict=True)]
        expert_proba = np.zeros((n_rows, self.n_experts, n_classes))
        for copy_votes in self._copies_of(votes, expert_proba):
            plan.compute(copy_votes)
        chosen = self._choose(outputs, plan).mask
        weights, proba = np.empty((n_rows, self.n_experts)), np.empty((n_rows, n_classes))
        seen = self._seen_by_gate(outputs, plan)
        told = (seen, expert_proba, chosen, NO_TARGETS, NO_WEIGHTS, weights, _NO_ERRORS)
        plan.compute(answer, *self._answer_call(told, batch, self.arrivals), _NO_MASK, proba)
        return weights, expert_proba, proba

    def _copies_of(self, votes: Sequence[np.ndarray], expert_proba: np.ndarray) -> Changes:
        """Return the calls that copy the votes of each group into an array of all votes."""
        ends = np.cumsum([of_group.shape[1] for of_group in votes]).tolist()
        return [
            copying(of_group, expert_proba[:, end - of_group.shape[1] : end, : of_group.shape[2]])
            for end, of_group in zip(ends, votes, strict=True)
        ]

    def n_rows_with_room(self, n_rows: int, weights: np.ndarray) -> int:
        """Return how many of the next rows, with these weights, can be learnt in one step."""
        return self.experts.n_rows_with_room(n_rows, lambda n: self._draws(weights[:n], StepPlan()))

    def n_rows_before_growth(self, weights: np.ndarray) -> int:
        """Return how many of the next rows, with these weights, are learnt before an array must grow; see `Group`."""
        return self.experts.n_rows_before_growth(self._draws(weights, StepPlan()))

    def plan(self, batch: Batch, changes: StepPlan) -> np.ndarray:
        """Plan a step: for each row in order, weight the votes, then let experts, gate and router learn.

        Parameters
        ----------
        batch
            Learns at most as many rows as the router's `room`.
        changes
            The planned changes are added to this list.

        Returns
        -------
        proba
            Class probabilities of each row before it is learnt, shape (n_rows, n_classes). The changes fill it in.
        """
        learnt, n_rows, n_classes = batch.learnt, len(batch.targets), batch.n_classes
        targets = taken(batch.targets, learnt, changes)
        router = self.router.grown(batch.inputs.shape[1], self.n_outputs(n_classes))
        if router is not self.router:
            changes.append(publication(self.router, router))
        outputs = outputs_of(router, batch.inputs, learnt, changes)
        chosen = self._choose(outputs, changes)
        expert_proba = self._plan_votes(batch, chosen, changes)
        weights_of_experts = np.empty((n_rows, self.n_experts))
        errors = np.empty((len(targets), outputs.shape[1]), np.float32)
        mask, proba = np.empty((len(targets), self.n_experts), np.bool_), np.empty((n_rows, n_classes))
        arrivals = with_room(self, batch, changes)
        seen = self._seen_by_gate(outputs, changes)
        told = (seen, expert_proba, chosen.mask, batch.targets, batch.weights, weights_of_experts, errors)
        changes.append(planned(answer, *self._answer_call(told, batch, arrivals), mask, proba))
        if not self._asks_router:
            changes.append(partial(errors[:, : self.n_logits].__setitem__, ..., 0.0))
        votes, of_log, log_weights = (
            of_learnt(part, learnt, changes) for part in (expert_proba, proba, weights_of_experts)
        )
        replaced = planned_replacements(self, batch, changes)
        router.plan(errors, changes, takes_errors=True)
        if replaced is not None:  # the router's mini-batch is full
            self._plan_end_of_mini_batch(changes)
        elif not is_ready(end_mini_batch):  # compiled with the others, not in the middle of a stream
            self._plan_end_of_mini_batch([])
        n_null = chosen.n_null[learnt] if len(chosen.n_null) else chosen.n_null
        choice = Choice(log_weights, mask, n_null)
        self.log.plan(
            choice, None, votes, of_log, targets, n_features=batch.vectors.shape[1], replaced=replaced,
            n_watched=self.shedding.n_comparable if self._policy is None else NOBODY, changes=changes,
        )  # fmt: skip
        self.shedding.plan(self.log, changes if replaced is not None else [])
        return proba

    def sizes(self) -> dict[str, int]:
        """Return how many features, inputs and classes experts, router and log know."""
        of_router = {"n_inputs": self.router.n_inputs, "n_classes": self.router.n_outputs - self.n_logits}
        of_groups = (group.sizes() for group in self.groups)
        return largest(of_router, names_of(self.log), self.arrivals.sizes(), *of_groups)

    def state(self) -> State:
        """Return the states of experts, router, log and gate; see `driftmoe.state`."""
        of_gate = {name: vars(self)[f"_{name}"].copy() for name in ARRAYS}
        of_gate["n_memory_weight_steps"] = int(self._n_memory_weight_steps[0])
        return {
            "experts": self.experts.state(),
            "extras": [extra.state() for extra in self._extras],
            "router": self.router.state(),
            "log": self.log.state(),
            "n_seen": int(self._n_seen[0]),
            "poisson_key": int(self._key),
            **{name: of_gate[name] for name in OF_GATE},
            **({"shedding": self.shedding.state()} if self.shedding.is_on else {}),
            **({"arrivals": self.arrivals.state()} if self.arrivals.n_waiting else {}),
        }

    def restore(self, state: State) -> None:
        """Restore the state of a mixture that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, (*NAMES, *["shedding"] * self.shedding.is_on), self, optional=["arrivals"])
        extras = value_of(state, "extras", list, self)
        if len(extras) != len(self._extras):
            raise ValueError(
                f"the state of {type(self).__name__} has {len(extras)} extras and this one has {len(self._extras)}; "
                "build it with the arguments that it had"
            )
        arrays, n_seen, n_steps, key = checked_gate(state, self)
        parts = [restored(getattr(self, name), state[name]) for name in ("experts", "router", "log")]
        experts, router, log = parts
        if experts.n_experts != self.experts.n_experts or router.n_outputs < self.n_logits:
            raise ValueError(
                f"the state has {experts.n_experts} main experts and {router.n_outputs} logits, and this mixture has "
                f"{self.experts.n_experts} and at least {self.n_logits}; build it with the arguments that it had"
            )
        check_log(log, self.n_experts)
        shedding = restored(self.shedding, state["shedding"]) if self.shedding.is_on else self.shedding
        self.arrivals = self.arrivals.of(state.get("arrivals"))
        self._extras = [restored(part, one) for part, one in zip(self._extras, extras, strict=True)]
        self.experts, self.router, self.log = parts
        self.shedding = shedding
        self._n_seen, self._n_memory_weight_steps = np.array([n_seen]), np.array([n_steps])
        self._key = np.uint64(key)
        vars(self).update({f"_{name}": array for name, array in arrays.items()})

    def _plan_votes(self, batch: Batch, chosen: Choice, changes: StepPlan) -> np.ndarray:
        """Plan the experts' votes and learning. Return all votes, zeros for that of the head."""
        n_rows = len(batch.targets)
        taught = self._draws(batch.weights, changes)
        if self._policy is not None:
            taught *= self._learning(chosen)
        if self.shedding.is_on:
            changes.compute(np.multiply, taught, self.shedding.is_awake, taught)
        if changes.n_ahead:
            batch = batch._replace(ahead=self._draws(np.ones(changes.n_ahead), StepPlan()))
        if self._prior is not None and not self.log.n_samples:
            batch = batch._replace(known=self._prior.prior.largest_codes(batch.vectors.shape[1]))
        asked = self._asked(batch.weights, n_rows, changes)
        starts = [len(changes)]
        votes = [self.experts.plan(batch, taught, self.shedding.asked, changes=changes)]
        for extra, of_extra in zip(self._extras, asked, strict=True):
            starts.append(len(changes))
            votes.append(extra.plan(batch, asked=of_extra, changes=changes))
        side_by_side(self.groups, starts, changes, self.router.n_threads if n_rows >= N_TOO_FEW else 1)
        changes.is_repeatable = changes.is_repeatable and all(group.is_repeatable for group in self.groups)
        expert_proba = np.zeros((n_rows, self.n_experts, batch.n_classes))
        changes += self._copies_of(votes, expert_proba)
        return expert_proba

    def _plan_end_of_mini_batch(self, changes: Changes) -> None:
        """Plan the gate's step at the end of the router's mini-batch; see `end_mini_batch`."""
        rate = MEMORY_WEIGHT_RATE * self.router.learning_rate * self._asks_memories
        changes.append(
            planned(
                end_mini_batch, self._memory_weights, *self._memory_weight_moments, self._memory_weight_gradients,
                self._n_memory_weight_steps, rate, self.router.batch_size, self._log_likelihood_memories,
                self._logit_biases, self._average_gate_weights, self._least_gate_weights, self._average_losses,
                self._is_group_probed,
            )
        )  # fmt: skip

    def _draws(self, weights: np.ndarray, plan: StepPlan) -> np.ndarray:
        """Compute the weight of each of the next rows for each tree, shape (n_rows, n_trees); see `draw_weights`."""
        taught = np.empty((len(weights), self.experts.n_experts))
        plan.compute(draw_weights, self._key, self._n_seen, self._leverage, weights, taught)
        return taught

    def _seen_by_gate(self, outputs: np.ndarray, plan: StepPlan) -> np.ndarray:
        if self._asks_router:
            return outputs
        seen = np.zeros_like(outputs)
        plan.compute(seen[:, self.n_logits :].__setitem__, ..., outputs[:, self.n_logits :])
        return seen

    def _answer_call(self, told: tuple[np.ndarray, ...], batch: Batch, arrivals: Arrivals) -> tuple[Any, ...]:
        """Return the arguments of `answer` but for the last two: `told` are the first five, weights and errors."""
        *first, weights, errors = told
        return (
            *first, self.n_logits, self._log_likelihood_memories, self._memory_weights, self._groups,
            self._average_gate_weights, self._average_losses, weights, errors, self._memory_weight_gradients,
            self._n_seen, bits_of(batch.vectors), batch.awaits, *arrivals.arrays,
        )  # fmt: skip

    def _choose(self, outputs: np.ndarray, plan: StepPlan) -> Choice:
        """Return which experts may vote on each row. The weights of the result are not used."""
        if self._policy is None:
            return Choice(_NO_WEIGHTS, np.ones((len(outputs), self.n_experts), np.bool_))
        plan.is_repeatable = False
        policy = self._policy.at(self.router.n_batches)
        scores = outputs[:, : self.n_logits] * self._asks_router + self._logit_biases
        return policy.rows(scores[:, self._n_shared :])

    def _learning(self, chosen: Choice) -> np.ndarray:
        """Select the trees that learn: those that the policy chose, or all trees if it chose none.

        Shared experts are always chosen, so they do not count as a choice. If null experts are chosen, none is added.
        """
        mask = chosen.mask[:, : self.experts.n_experts]
        passes_by = chosen.n_null > 0 if len(chosen.n_null) else np.zeros(len(mask), np.bool_)
        return mask | ~(mask[:, self._n_shared :].any(axis=1) | passes_by)[:, np.newaxis]

    def _asked(self, weights: np.ndarray, n_rows: int, plan: StepPlan) -> np.ndarray:
        """Compute whether each extra expert is asked about the next rows, bool, shape (n_extras, n_rows)."""
        asked = np.empty((len(self._extras), n_rows), np.bool_)
        is_probed = self._is_group_probed[1 : 1 + len(self._extras)]
        are_resting = self.shedding.are_resting
        plan.compute(whom_to_ask, self._n_seen, weights, is_probed, self._is_costly, are_resting, asked)
        return asked


_NO_ERRORS = np.empty((0, 0), np.float32)
_NO_WEIGHTS, _NO_MASK = np.empty((0, 0)), np.empty((0, 0), np.bool_)
