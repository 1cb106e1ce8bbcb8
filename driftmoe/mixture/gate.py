"""The gate of the adaptive mixture: weighs the votes of experts, and learns whom to trust.

It weighs by what the router says of a sample and by how well each expert has done lately. See `gate`.
"""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import exp, log
from driftmoe.compilation import compiled, kernel
from driftmoe.network import adam

FLOOR = 0.02
"""Share of a vote that is spread over all classes before its likelihood is taken: an expert may be wrong."""

FADING = np.array([0.9, 0.98])
"""What is left after a sample of each memory of how well an expert has done: about the last 10 and the last 50."""

LOSS_FADING = np.array([0.95, 0.998])
"""What is left after a sample of the two memories of the mixture's loss: about the last 20, and the last 500."""

SURPRISE = 1.25
"""As long as the loss of late is so many times that of a longer past, all experts are asked; so also at the start,
while both memories fill: about 800 samples."""

TRUST_FADING = 0.98
"""What is left, after a sample for which it was asked, of the memory of how much an expert was trusted."""


@compiled()
def end_mini_batch(  # type: ignore[no-untyped-def]
    memory_weights, first, second, memory_weight_errors, n_steps, rate, batch_size, memories, memory_logits, trust,
    least_trust, losses, is_probed,
):  # fmt: skip
    """At the end of the router's mini-batch, update the memory weights and logits, and decide which groups to probe.

    Parameters
    ----------
    memory_weights, first, second
        What `gate` weighs the memories with, and its moments, float32, shape (n_memories,); moved.
    memory_weight_errors
        Sum of the gradients by `memory_weights`; set to 0.
    n_steps
        Steps so far, shape (1,); raised.
    rate
        Step size, 0 to leave `memory_weights` as it is.
    batch_size
        Rows of the mini-batch.
    memories
        As of `gate`.
    memory_logits
        Result: what the weighted memories add to each logit, shape (n_logits,).
    trust, least_trust
        Faded weight of each group of experts, and the weight below which it is only probed, shape (n_groups,).
    losses
        As of `gate`.
    is_probed
        Result: which groups are only probed, bool, shape (n_groups,).
    """
    if rate > 0.0:
        n_steps[0] += 1
        gradient = np.empty(memory_weights.shape[0], np.float32)
        for h in range(memory_weights.shape[0]):
            gradient[h] = memory_weight_errors[h] / batch_size
        adam(memory_weights, gradient, first, second, n_steps[0], rate)
    memory_weight_errors[:] = 0.0
    for e in range(memory_logits.shape[0]):
        memory_logits[e] = 0.0
        for h in range(memory_weights.shape[0]):
            memory_logits[e] += np.float64(memory_weights[h]) * memories[h, e]
    for group in range(trust.shape[0]):
        is_probed[group] = trust[group] < least_trust[group] and losses[0] <= SURPRISE * losses[1]


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
    memory_weights,
    groups,
    trust,
    losses,
    weights,
    errors,
    memory_weight_errors,
):
    """Weigh the votes on each row, then remember how likely each expert made the label.

    The weight of expert e is ``softmax_e(logit_e(x) + sum_h weight_h memory_he)``; a memory is the faded mean of the
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
    memory_weights
        Shape (n_memories,).
    groups
        To which group (kind) each expert belongs, shape (n_experts,).
    trust
        Faded weight of each group, shape (n_groups,).
    losses
        Faded loss of the mixture, one for each of `LOSS_FADING`.
    weights
        Result, shape (n_rows, n_experts), each row summing to 1 if any expert has a vote.
    errors
        Result: gradient of the loss by the logits, shape as `outputs`; not written without targets.
    memory_weight_errors
        Gradient of the loss by `memory_weights`, added to it.

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
                score += memory_weights[h] * memories[h, e]
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
                    memory_weight_errors[h] += error * memories[h, e]
                    fading = faded(FADING[h], w)
                    memories[h, e] = fading * memories[h, e] + (1.0 - fading) * log(likelihoods[e])
        for group in range(trust.shape[0]):
            is_asked = False
            share = 0.0
            for e in range(n_experts):
                if groups[e] == group and has_vote[e]:
                    is_asked = True
                    share += scores[e]
            if is_asked:
                fading = faded(TRUST_FADING, w)
                trust[group] = fading * trust[group] + (1.0 - fading) * share


@kernel
def faded(fading, w):  # type: ignore[no-untyped-def]
    """Return what is left of a memory after a sample that counts `w` times."""
    return fading if w == 1.0 else exp(w * log(fading))
