"""The adaptive mixture: experts of several kinds that all learn, and a gate that learns whom to trust.

One step per sample: every expert that is asked votes; the gate weighs the votes by what the router says of this sample
and by how well each expert has done lately. Experts then learn the label (each tree a Poisson number of times), and the
router takes a gradient step on the mixture's log-likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from driftmoe.arithmetic import exp, log
from driftmoe.compilation import compiled, kernel
from driftmoe.draws import poisson
from driftmoe.encoding import Sample
from driftmoe.experts import MulticlassExperts, MulticlassTrees
from driftmoe.linear import LinearModels
from driftmoe.mixing import mix
from driftmoe.neighbours import LabelHistory, Neighbours
from driftmoe.networks import Networks
from driftmoe.perceptron import Perceptron
from driftmoe.router import Router, adam, soften
from driftmoe.routing import Choice, Policy, at_step, route
from driftmoe.transaction import (
    NO_TARGETS,
    NO_WEIGHTS,
    Changes,
    assignment,
    planned,
    publication,
)

FLOOR = 0.02
"""Share of a vote that is spread over all classes before its likelihood is taken: an expert may be wrong."""

FADING = np.array([0.9, 0.98])
"""What is left after a sample of each memory of how well an expert has done: about the last 10 and the last 50."""

FAITH = 3.0
"""How much each memory counts to begin with, per nat of likelihood; learnt from then on."""

FAITH_RATE = 5.0
"""Step size of what is learnt about the memories, as a multiple of the router's."""

PROBE = 8
"""An expert that is hardly trusted is asked for one sample in so many."""

LOSS_FADING = np.array([0.95, 0.998])
"""What is left after a sample of the two memories of the mixture's loss: about the last 20, and the last 500."""

SURPRISE = 1.25
"""As long as the loss of late is so many times that of a longer past, all experts are asked; so also at the start,
while both memories fill: about 800 samples."""

TRUST_FADING = 0.98
"""What is left, after a sample for which it was asked, of the memory of how much an expert was trusted."""

GATES = {"learnt": (True, True), "router": (True, False), "recency": (False, True), "equal": (False, False)}
"""Kind of gate -> whether the weights depend on the router's logits, and on how well each expert has done lately."""

Extra = Neighbours | LabelHistory | LinearModels | Perceptron | MulticlassExperts


class Rows(NamedTuple):
    """Some samples, as each kind of expert reads them.

    Attributes
    ----------
    vectors
        Trees: float64, shape (n_rows, n_features).
    inputs
        Router, neighbours, linear models and networks: float32, standardised, shape (n_rows, n_inputs).
    samples
        River classifiers: a cleaned dictionary a row; empty where no expert reads it.
    """

    vectors: np.ndarray
    inputs: Any  # None as long as they have not been made
    samples: list[Sample]

    def of(self, part: Any) -> Any:
        """Return what an expert, or a pool of experts, reads of the rows."""
        return getattr(self, part.reads)


class AdaptiveMixture:
    """A pool of experts, extra experts of other kinds, and the gate over all of them.

    Parameters
    ----------
    pool
        The main experts, which learn with Poisson weights.
    extras
        Experts of other kinds, each of which learns every sample once.
    has_head
        Whether the router's own class probabilities are one more expert, the last.
    router
        Its logits are those of the experts (of `policy`, if there is one), then those of the classes if `has_head`.
    policy
        Chooses from the experts' logits and their standing who votes, and who of the pool learns; `None` for all. The
        router learns from the votes of all.
    n_null, n_shared
        Null and shared experts of the policy. A null expert votes as the mean of all others: it is trusted where they
        agree, and nobody needs to learn.
    leverage
        Mean of the Poisson weights.
    min_trust
        Share of the gate's weight below which costly extra experts of a kind are only probed, as a share of what they
        would have if all counted alike; 0 to ask all always.
    gate
        What the weights depend on: see `GATES`.
    rng
        Private source of the Poisson weights.
    """

    def __init__(
        self,
        pool: MulticlassTrees | MulticlassExperts | Networks,
        extras: Sequence[Extra],
        *,
        has_head: bool,
        router: Router,
        policy: Policy | None,
        n_null: int,
        n_shared: int,
        leverage: float,
        min_trust: float,
        gate: str,
        rng: np.random.Generator,
    ) -> None:
        self._pool, self._extras, self._has_head = pool, list(extras), has_head
        self._router, self._policy, self._n_shared = router, policy, n_shared
        self._leverage, self._key = float(leverage), rng.integers(2**64, dtype=np.uint64)
        sizes = [pool.n_experts, *(extra.n_experts for extra in self._extras)] + [1] * has_head
        self.n_experts = sum(sizes)
        self.n_logits = self.n_experts + n_null
        self._kinds = np.repeat(np.arange(len(sizes)), sizes)
        self._memories = np.zeros((len(FADING), self.n_logits))
        self._asks_router, self._asks_memories = GATES[gate]
        self._faith = np.full(len(FADING), FAITH * self._asks_memories, np.float32)
        self._standing = np.zeros(
            self.n_logits
        )  # what the memories added to the logits when the router last learnt
        self._faith_moments = np.zeros((2, len(FADING)), np.float32)
        self._faith_errors = np.zeros(len(FADING))
        self._n_steps = np.zeros(1, np.int64)
        self._n_seen = 0
        self._losses = np.zeros(len(LOSS_FADING))
        self._trust = np.ones(len(sizes))
        self._least_trust = min_trust * np.array(sizes) / self.n_experts * (gate != "equal")
        self._is_probed = np.zeros(len(sizes), np.bool_)  # constant between two steps of the router
        self._is_costly = np.array([getattr(extra, "is_costly", True) for extra in self._extras], np.bool_)

    @property
    def parts(self) -> list[MulticlassTrees | Networks | Extra]:
        """The pool, then the extras; behind their votes comes the head's."""
        return [self._pool, *self._extras]

    @property
    def reads_samples(self) -> bool:
        """Whether an expert reads samples as dictionaries."""
        return any(part.reads == "samples" for part in self.parts)

    def n_outputs(self, n_classes: int) -> int:
        """Logits that the router must have."""
        return self.n_logits + n_classes * self._has_head

    def predict(self, rows: Rows, n_classes: int) -> np.ndarray:
        """Return the class probabilities of some samples, shape (n_rows, n_classes); changes nothing."""
        weights, expert_proba = self.votes(rows, n_classes)
        proba = np.empty((len(weights), n_classes))
        mix(weights, expert_proba, False, proba)
        return proba

    def votes(self, rows: Rows, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of the experts, shape (n_rows, n_experts), and their votes on some samples."""
        outputs = self._router.logits(rows.inputs)
        votes = [self._pool.predict_proba(rows.of(self._pool), n_classes)]
        for extra, is_asked in zip(self._extras, self._asked(1)[:, 0].tolist(), strict=True):
            n_rows = len(rows.inputs)
            votes.append(
                extra.predict_proba(rows.of(extra), n_classes)
                if is_asked
                else np.zeros((n_rows, extra.n_experts, n_classes))
            )
        if self._has_head:
            votes.append(self._head(outputs, n_classes))
        expert_proba = np.concatenate(votes, axis=1)
        chosen = self._choose(outputs).mask
        weights = np.empty((len(outputs), self.n_experts))
        seen = self._seen_by_gate(outputs)
        gate(*self._gate_call(seen, expert_proba, chosen, NO_TARGETS, NO_WEIGHTS, weights, _NO_ERRORS))
        return weights, expert_proba

    def n_rows_with_room(self, n_rows: int, weights: np.ndarray) -> int:
        """Return how many of the next rows, of these weights, can be learnt in one step."""
        if not isinstance(self._pool, MulticlassTrees):
            return n_rows
        return self._pool.n_rows_with_room(n_rows, lambda n: self._draws(n) * weights[:n, np.newaxis])

    def plan(
        self,
        rows: Rows,
        targets: np.ndarray,
        weights: np.ndarray,
        n_classes: int,
        *,
        nominal: Sequence[int],
        changes: Changes,
    ) -> tuple[Choice, np.ndarray, np.ndarray]:
        """Plan, for each row in order, to weigh the votes, then to let experts and gate learn.

        Parameters
        ----------
        rows
            Samples, at most the router's `room`.
        targets
            Class indices, shape (n_rows,).
        weights
            Of the samples, above 0, shape (n_rows,).
        n_classes
            Classes known so far.
        nominal
            Columns of vectors that hold codes.
        changes
            Gets what is left to do.

        Returns
        -------
        choice
            Weights of the experts, float64, shape (n_rows, n_experts); who was chosen and had a vote; how many nulls
            were chosen.
        expert_proba
            Their votes, shape (n_rows, n_experts, n_classes); zeros are no vote.
        proba
            The mixture's answer before each row was learnt, shape (n_rows, n_classes). All are written by the changes.
        """
        n_rows = len(targets)
        router = self._router.grown(rows.inputs.shape[1], self.n_outputs(n_classes))
        if router is not self._router:
            changes.append(publication(self._router, router))
        outputs = router.logits(rows.inputs, is_learning=True)
        chosen = self._choose(outputs)
        taught = self._draws(n_rows)
        taught *= self._learning(chosen)
        taught *= weights[:, np.newaxis]
        asked = self._asked(n_rows)
        votes = [
            self._pool.plan(rows.of(self._pool), targets, taught, n_classes, nominal=nominal, changes=changes)
        ]
        for i, extra in enumerate(self._extras):
            of_rows = (
                weights if extra.reads == "inputs" else np.repeat(weights[:, np.newaxis], extra.n_experts, 1)
            )
            votes.append(extra.plan(rows.of(extra), targets, of_rows, n_classes, asked[i], changes=changes))
        if self._has_head:
            votes.append(self._head(outputs, n_classes))
        expert_proba = np.zeros((n_rows, self.n_experts, n_classes))
        first = 0
        for of_part in votes:
            last = first + of_part.shape[1]
            changes.append(partial(expert_proba[:, first:last, : of_part.shape[2]].__setitem__, ..., of_part))
            first = last

        weights_of_experts = np.empty((n_rows, self.n_experts))
        errors = np.zeros(outputs.shape, np.float32)
        mask, proba = np.empty((n_rows, self.n_experts), np.bool_), np.empty((n_rows, n_classes))
        changes.append(
            planned(
                gate, *self._gate_call(
                    self._seen_by_gate(outputs), expert_proba, chosen.mask, targets, weights, weights_of_experts, errors
                )
            )
        )  # fmt: skip
        if not self._asks_router:
            changes.append(partial(errors[:, : self.n_logits].__setitem__, ..., 0.0))
        if self._has_head:
            changes.append(planned(head_errors, votes[-1], targets, weights, self.n_logits, errors))
        changes.append(planned(who_voted, chosen.mask, expert_proba, mask))
        changes.append(planned(mix, weights_of_experts, expert_proba, False, proba))
        changes.append(assignment(self, _n_seen=self._n_seen + n_rows))
        is_full = n_rows == router.room
        router.plan(errors, changes, takes_errors=True)
        if is_full:
            rate = FAITH_RATE * router.learning_rate * self._asks_memories
            changes.append(
                planned(
                    settle, self._faith, *self._faith_moments, self._faith_errors, self._n_steps, rate,
                    router.batch_size, self._memories, self._standing, self._trust, self._least_trust, self._losses,
                    self._is_probed,
                )
            )  # fmt: skip
        return Choice(weights_of_experts, mask, chosen.n_null), expert_proba, proba

    def _draws(self, n_rows: int) -> np.ndarray:
        """Return how often each tree learns each of the next rows, shape (n_rows, n_trees)."""
        draws = np.empty((n_rows, self._pool.n_experts))
        poisson(self._key, self._n_seen, self._leverage, draws)
        return draws

    def _head(self, outputs: np.ndarray, n_classes: int) -> np.ndarray:
        """Return the class probabilities of the router's own network, of classes that it knows."""
        proba = np.zeros((len(outputs), 1, n_classes))
        of_known = np.empty((len(outputs), 1, outputs.shape[1] - self.n_logits))
        soften(outputs, self.n_logits, of_known)
        proba[:, :, : of_known.shape[2]] = of_known
        return proba

    def _seen_by_gate(self, outputs: np.ndarray) -> np.ndarray:
        if self._asks_router:
            return outputs
        outputs = outputs.copy()
        outputs[:, : self.n_logits] = 0.0
        return outputs

    def _gate_call(
        self,
        outputs: np.ndarray,
        expert_proba: np.ndarray,
        chosen: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray,
        weights: np.ndarray,
        errors: np.ndarray,
    ) -> tuple[Any, ...]:
        """Return what `gate` takes."""
        return (
            outputs, expert_proba, chosen, targets, taught, self.n_logits, self._memories, self._faith, self._kinds,
            self._trust, self._losses, weights, errors, self._faith_errors,
        )  # fmt: skip

    def _choose(self, outputs: np.ndarray) -> Choice:
        """Return who may vote on each row; the weights are not used."""
        if self._policy is None:
            return Choice(_NO_WEIGHTS, np.ones((len(outputs), self.n_experts), np.bool_))
        policy = at_step(self._policy, self._router.n_batches)
        scores = outputs[:, : self.n_logits] * self._asks_router + self._standing
        return route(policy, scores[:, self._n_shared :])

    def _learning(self, chosen: Choice) -> np.ndarray:
        """Return who of the pool learns: the chosen, or all where the chosen are of other kinds, lest it starves.

        Shared experts are chosen always, which says nothing about the others.
        """
        mask = chosen.mask[:, : self._pool.n_experts]
        passes_by = chosen.n_null > 0 if len(chosen.n_null) else np.zeros(len(mask), np.bool_)
        return mask | ~(mask[:, self._n_shared :].any(axis=1) | passes_by)[:, np.newaxis]

    def _asked(self, n_rows: int) -> np.ndarray:
        """Whether each extra expert is asked on the next rows of the mini-batch, shape (n_extras, n_rows)."""
        place = self._n_seen + np.arange(n_rows)
        is_probed = self._is_probed[1 : 1 + len(self._extras)] & self._is_costly
        return (place % PROBE == 0) | ~is_probed[:, np.newaxis]


@compiled()
def settle(  # type: ignore[no-untyped-def]
    faith, first, second, faith_errors, n_steps, rate, batch_size, memories, standing, trust, least_trust, losses,
    is_probed,
):  # fmt: skip
    """At the end of the router's mini-batch: learn how much the memories count, who stands how, whom to probe.

    Parameters
    ----------
    faith, first, second
        What `gate` weighs the memories with, and its moments, float32, shape (n_memories,); moved.
    faith_errors
        Sum of the gradients by `faith`; set to 0.
    n_steps
        Steps so far, shape (1,); raised.
    rate
        Step size, 0 to leave `faith` as it is.
    batch_size
        Rows of the mini-batch.
    memories
        As of `gate`.
    standing
        Result: what the memories add to each logit, shape (n_logits,).
    trust, least_trust
        Faded weight of each kind of expert, and below what it is only probed, shape (n_kinds,).
    losses
        As of `gate`.
    is_probed
        Result: which kinds are only probed, bool, shape (n_kinds,).
    """
    if rate > 0.0:
        n_steps[0] += 1
        gradient = np.empty(faith.shape[0], np.float32)
        for h in range(faith.shape[0]):
            gradient[h] = faith_errors[h] / batch_size
        adam(faith, gradient, first, second, n_steps[0], rate)
    faith_errors[:] = 0.0
    for e in range(standing.shape[0]):
        standing[e] = 0.0
        for h in range(faith.shape[0]):
            standing[e] += np.float64(faith[h]) * memories[h, e]
    for kind in range(trust.shape[0]):
        is_probed[kind] = trust[kind] < least_trust[kind] and losses[0] <= SURPRISE * losses[1]


@compiled()
def who_voted(chosen, expert_proba, mask):  # type: ignore[no-untyped-def]
    """Write who was chosen and had a vote, bool, shape (n_rows, n_experts)."""
    for row in range(mask.shape[0]):
        for e in range(mask.shape[1]):
            has_vote = False
            for c in range(expert_proba.shape[2]):
                has_vote = has_vote or expert_proba[row, e, c] > 0.0
            mask[row, e] = chosen[row, e] and has_vote


@compiled()
def head_errors(proba, targets, taught, n_logits, errors):  # type: ignore[no-untyped-def]
    """Write the gradient of the head's cross-entropy by its logits, those from `n_logits` on."""
    for row in range(targets.shape[0]):
        for c in range(errors.shape[1] - n_logits):
            is_target = np.float64(c == targets[row])
            errors[row, n_logits + c] = taught[row] * (proba[row, 0, c] - is_target)


@compiled()
def gate(  # type: ignore[no-untyped-def]
    outputs,
    expert_proba,
    chosen,
    targets,
    taught,
    n_logits,
    memories,
    faith,
    kinds,
    trust,
    losses,
    weights,
    errors,
    faith_errors,
):
    """Weigh the votes on each row, then remember how likely each expert made the label.

    The weight of expert e is ``softmax_e(logit_e(x) + sum_h faith_h memory_he)``; a memory is the faded mean of the
    logarithm of the probability that the expert gave to the true label. The loss is that of the mixture, ``-ln sum_e
    g_e p_e(y)``, whose gradient by a logit is g_e less the expert's share in the sum: its responsibility.

    Parameters
    ----------
    outputs
        The router's, float32, shape (n_rows, n_logits + any).
    expert_proba
        Votes before learning, shape (n_rows, n_experts, n_classes); zeros are no vote, and take no part.
    chosen
        Who may vote, bool, shape (n_rows, n_experts). Where none of them has a vote, all that have count alike.
    targets
        Class indices, shape (n_rows,); empty to learn nothing.
    taught
        Weight of each row, shape (n_rows,): its gradients are multiplied by it, and memories fade as if it came so
        often.
    n_logits
        Experts and null experts; a null expert's probability is the mean over the experts that vote.
    memories
        Shape (n_memories, n_logits).
    faith
        Shape (n_memories,).
    kinds
        To which kind each expert belongs, shape (n_experts,).
    trust
        Faded weight of each kind, shape (n_kinds,).
    losses
        Faded loss of the mixture, one for each of `LOSS_FADING`.
    weights
        Result, shape (n_rows, n_experts), each row summing to 1 if any expert has a vote.
    errors
        Result: gradient of the loss by the logits, shape as `outputs`; not written without targets.
    faith_errors
        Gradient of the loss by `faith`, added to it.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton 1991, Adaptive mixtures of local experts, eq. 1.3: the likelihood of the mixture.
    Raftery, Kárný & Ettler 2010, Online prediction under model uncertainty via dynamic model averaging, for weights
    from likelihoods that are forgotten exponentially; Herbster & Warmuth 1998, Tracking the best expert, for why.
    """
    n_rows, n_experts, n_classes = expert_proba.shape
    scores = np.empty(n_logits)
    likelihoods = np.empty(n_logits)
    has_vote = np.empty(n_logits, np.bool_)
    for row in range(n_rows):
        n_votes = 0
        for e in range(n_experts):
            has_vote[e] = False
            for c in range(n_classes):
                if expert_proba[row, e, c] > 0.0:
                    has_vote[e] = True
            n_votes += int(has_vote[e])
        for e in range(n_experts, n_logits):
            has_vote[e] = n_votes > 0
        largest, largest_chosen = -np.inf, -np.inf
        for e in range(n_logits):
            score = np.float64(outputs[row, e])
            for h in range(memories.shape[0]):
                score += faith[h] * memories[h, e]
            scores[e] = score
            if has_vote[e]:
                largest = max(largest, score)
                if e < n_experts and chosen[row, e]:
                    largest_chosen = max(largest_chosen, score)
        total = 0.0
        for e in range(n_experts):
            weights[row, e] = 0.0
            if has_vote[e] and largest_chosen == -np.inf:
                weights[row, e] = 1.0
            elif has_vote[e] and chosen[row, e]:
                weights[row, e] = exp(scores[e] - largest_chosen)
            total += weights[row, e]
        for e in range(n_experts):
            weights[row, e] /= max(total, 1e-300)
        if targets.shape[0] == 0 or n_votes == 0:
            continue

        target = targets[row]
        total, mean = 0.0, 0.0
        for e in range(n_experts):
            likelihoods[e] = (1.0 - FLOOR) * expert_proba[row, e, target] + FLOOR / n_classes
            mean += likelihoods[e] / n_votes if has_vote[e] else 0.0
        for e in range(n_experts, n_logits):
            likelihoods[e] = mean
        for e in range(n_logits):
            scores[e] = exp(scores[e] - largest) if has_vote[e] else 0.0
            total += scores[e]
        likelihood = 0.0
        for e in range(n_logits):
            scores[e] /= total
            likelihood += scores[e] * likelihoods[e]
        w = taught[row]
        for h in range(losses.shape[0]):
            fading = faded(LOSS_FADING[h], w)
            losses[h] = fading * losses[h] - (1.0 - fading) * log(likelihood)
        for e in range(n_logits):
            error = w * (scores[e] * (1.0 - likelihoods[e] / likelihood))
            errors[row, e] = error
            if has_vote[e]:
                for h in range(memories.shape[0]):
                    faith_errors[h] += error * memories[h, e]
                    fading = faded(FADING[h], w)
                    memories[h, e] = fading * memories[h, e] + (1.0 - fading) * log(likelihoods[e])
        for kind in range(trust.shape[0]):
            is_asked = False
            share = 0.0
            for e in range(n_experts):
                if kinds[e] == kind and has_vote[e]:
                    is_asked = True
                    share += scores[e]
            if is_asked:
                fading = faded(TRUST_FADING, w)
                trust[kind] = fading * trust[kind] + (1.0 - fading) * share


@kernel
def faded(fading, w):  # type: ignore[no-untyped-def]
    """Return what is left of a memory after a sample that counts `w` times."""
    return fading if w == 1.0 else exp(w * log(fading))


_NO_ERRORS = np.empty((0, 0), np.float32)
_NO_WEIGHTS = np.empty((0, 0))
