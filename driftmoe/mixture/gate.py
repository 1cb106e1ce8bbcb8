"""The gate of the adaptive mixture, which weights the votes of experts and learns which of them to trust.

The weights depend on the router's logits for a sample and on how well each expert has done lately. See `gate`.
"""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import exp, log, softmax
from driftmoe.compilation import allocating_kernel, compiled, kernel
from driftmoe.draws import poisson
from driftmoe.mixture.arrivals import keep, memory_of, taken_up, vote_of
from driftmoe.mixture.mixing import mix
from driftmoe.network_kernels import adam

FLOOR = 0.02
"""Share of a vote that is spread over all classes before its likelihood is taken, so that no likelihood is 0."""

FADING = np.array([0.9, 0.98])
"""Decay factors per sample of the two log-likelihood memories: they cover about the last 10 and the last 50 samples."""

LOSS_FADING = np.array([0.95, 0.998])
"""Decay factors per sample of the two averages of the mixture's loss: about the last 20 and the last 500 samples."""

SURPRISE = 1.25
"""All experts are asked while the recent loss exceeds this multiple of the longer-term loss. This includes the first
800 samples or so, while both averages fill."""

PROBE = 8
"""An expert with a low weight is asked for one sample in this many."""

TRUST_FADING = 0.98
"""Decay factor of the average gate weight of a group of experts, per sample for which the group was asked."""


@compiled()
def end_mini_batch(  # type: ignore[no-untyped-def]
    memory_weights, first, second, memory_weight_gradients, n_steps, rate, batch_size, memories, logit_biases,
    average_gate_weights, least_gate_weights, average_losses, is_group_probed,
):  # fmt: skip
    """At the end of the router's mini-batch, update the memory weights and logit biases, and decide whom to probe.

    Parameters
    ----------
    memory_weights, first, second
        Weights of the memories in `gate`, and their Adam moments, float32, shape (n_memories,); updated.
    memory_weight_gradients
        Sum of the gradients with respect to `memory_weights`; reset to 0.
    n_steps
        Number of steps so far, shape (1,); incremented.
    rate
        Step size; 0 to keep `memory_weights`.
    batch_size
        Number of rows in the mini-batch.
    memories
        As in `gate`.
    logit_biases
        Result: what the weighted memories add to each logit, shape (n_logits,).
    average_gate_weights, least_gate_weights
        Average gate weight of each group of experts, and the weight below which a group is only probed, shape
        (n_groups,).
    average_losses
        As in `gate`.
    is_group_probed
        Result: which groups are only probed, bool, shape (n_groups,).
    """
    if rate > 0.0:
        n_steps[0] += 1
        gradient = np.empty(memory_weights.shape[0], np.float32)
        for h in range(memory_weights.shape[0]):
            gradient[h] = memory_weight_gradients[h] / batch_size
        adam(memory_weights, gradient, first, second, n_steps[0], rate)
    memory_weight_gradients[:] = 0.0
    for e in range(logit_biases.shape[0]):
        logit_biases[e] = 0.0
        for h in range(memory_weights.shape[0]):
            logit_biases[e] += np.float64(memory_weights[h]) * memories[h, e]
    is_surprised = average_losses[0] > SURPRISE * average_losses[1]
    for group in range(average_gate_weights.shape[0]):
        is_group_probed[group] = average_gate_weights[group] < least_gate_weights[group] and not is_surprised


@compiled()
def draw_weights(key, n_seen, mean, weights, taught):  # type: ignore[no-untyped-def]
    """Write the weight of each row for each tree: its own, times a Poisson draw.

    Parameters
    ----------
    key, mean
        As in `draws.poisson`.
    n_seen
        Number of rows learnt before the first, shape (1,). A draw depends on the number of its row.
    weights
        Weight of each row, shape (n_rows,). A row of weight 0 is not learnt, and does not count.
    taught
        Result, shape (n_rows, n_trees).

    References
    ----------
    Bifet, Holmes & Pfahringer 2010, Leveraging bagging for evolving data streams.
    """
    number = n_seen[0]
    for row in range(weights.shape[0]):
        if weights[row] > 0.0:
            poisson(key, number, mean, taught[row : row + 1])
            number += 1
        for e in range(taught.shape[1]):
            taught[row, e] = taught[row, e] * weights[row] if weights[row] > 0.0 else 0.0


@compiled()
def whom_to_ask(n_seen, weights, is_probed, is_costly, is_resting, asked):  # type: ignore[no-untyped-def]
    """Decide which groups of experts vote on each row: those that are only probed, on one row in `PROBE`.

    Parameters
    ----------
    n_seen
        Number of rows learnt before the first, shape (1,).
    weights
        Weight of each row, shape (n_rows,), of which only those above 0 count; empty to count none.
    is_probed, is_costly
        Whether a group is only probed if it costs much, and whether it does, bool, shape (n_groups,).
    is_resting
        Whether a group is only probed whatever it costs, bool, shape (n_groups,).
    asked
        Result, bool, shape (n_groups, n_rows).
    """
    number = n_seen[0]
    for row in range(asked.shape[1]):
        for group in range(asked.shape[0]):
            is_seldom_asked = is_resting[group] or (is_probed[group] and is_costly[group])
            asked[group, row] = not is_seldom_asked or number % PROBE == 0
        number += weights.shape[0] > 0 and weights[row] > 0.0


@compiled()
def answer(  # type: ignore[no-untyped-def]
    outputs, expert_proba, chosen, targets, taught, n_logits, memories, memory_weights, groups, average_gate_weights,
    average_losses, weights, errors, memory_weight_gradients, n_seen, bits, awaits, keys, widths, numbers, seen,
    kept_votes, kept_memories, counts, mask, proba,
):  # fmt: skip
    """Let the head vote, weight all votes by `gate`, mix them, and let the head learn.

    Parameters
    ----------
    outputs
        As in `gate`. If there are more than `n_logits`, the last expert is the head: the rest are its logits.
    expert_proba
        As in `gate`; the head's vote is written.
    chosen, targets, taught, n_logits, memories, memory_weights, groups, average_gate_weights, average_losses
        As in `gate`.
    weights, errors, memory_weight_gradients, n_seen, bits, awaits
        As in `gate`; `errors` holds those of the head, too.
    keys, widths, numbers, seen, kept_votes, kept_memories, counts
        As in `gate`.
    mask
        Result: which experts were chosen and have a vote, for each row that is learnt; see `who_voted`.
    proba
        Result: the mixture's class probabilities, shape (n_rows, n_classes); see `mix`.
    """
    of_head = expert_proba[:, expert_proba.shape[1] - 1 :, : outputs.shape[1] - n_logits]
    if outputs.shape[1] > n_logits:
        softmax(outputs, n_logits, of_head)
    gate(
        outputs, expert_proba, chosen, targets, taught, n_logits, memories, memory_weights, groups,
        average_gate_weights, average_losses, weights, errors, memory_weight_gradients, n_seen, bits, awaits, keys,
        widths, numbers, seen, kept_votes, kept_memories, counts,
    )  # fmt: skip
    mix(weights, expert_proba, False, proba)
    place = 0
    for row in range(targets.shape[0]):
        if taught[row] > 0.0:
            who_voted(chosen[row], expert_proba[row], mask[place])
            head_errors(of_head[row, 0], targets[row], taught[row], errors[place, n_logits:])
            place += 1


@kernel
def who_voted(chosen, votes, mask):  # type: ignore[no-untyped-def]
    """Set `mask`, bool, shape (n_experts,), for the experts that were chosen for a row and have a vote."""
    for e in range(mask.shape[0]):
        has_vote = False
        for c in range(votes.shape[1]):
            has_vote = has_vote or votes[e, c] > 0.0
        mask[e] = chosen[e] and has_vote


@kernel
def head_errors(proba, target, taught, errors):  # type: ignore[no-untyped-def]
    """Write the gradient of the head's cross-entropy for a row with respect to its logits, shape (n_known,)."""
    for c in range(errors.shape[0]):
        is_target = np.float64(c == target)
        errors[c] = taught * (proba[c] - is_target)


@allocating_kernel
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
    average_gate_weights,
    average_losses,
    weights,
    errors,
    memory_weight_gradients,
    n_seen,
    bits,
    awaits,
    keys,
    widths,
    numbers,
    seen,
    kept_votes,
    kept_memories,
    counts,
):
    """Compute the gate weights of each row, then update the memories with each expert's log-likelihood.

    The weight of expert e is ``g_e = softmax_e(logit_e(x) + sum_h weight_h memory_he)``. A memory is the exponentially
    faded mean of the log-probability that the expert gave to the true label. The loss is that of the mixture, ``-ln
    sum_e g_e p_e(y)``. Its gradient with respect to a logit is g_e minus the expert's responsibility, which is its
    share of the sum.

    If the sample came before rows that have been learnt since, g_e and p_e are those of that time in the loss and its
    gradient: with the votes and memories that were kept, see `driftmoe.mixture.arrivals`. The memories follow what the
    experts say of it now.

    Parameters
    ----------
    outputs
        Outputs of the router, float32, shape (n_rows, n_logits + any).
    expert_proba
        Votes before learning, shape (n_rows, n_experts, n_classes). An expert with only zeros has no vote.
    chosen
        Which experts may vote, bool, shape (n_rows, n_experts). If none of these has a vote, all experts that have one
        get equal weights.
    targets
        Class indices, shape (n_rows,); empty to learn nothing.
    taught
        Weight of each row, shape (n_rows,). It multiplies the gradients, and memories fade as if the row came this
        many times. From a row of weight 0 nothing is learnt.
    n_logits
        Number of experts and null experts. A null expert's probability is the mean over the experts that vote.
    memories
        Log-likelihood memories, shape (n_memories, n_logits); updated.
    memory_weights
        Shape (n_memories,).
    groups
        Index of the group (kind) of each expert, shape (n_experts,).
    average_gate_weights
        Average gate weight of each group, shape (n_groups,); updated.
    average_losses
        Averages of the mixture's loss, one for each of `LOSS_FADING`; updated.
    weights
        Result, shape (n_rows, n_experts). Each row sums to 1 if any expert has a vote.
    errors
        Result: gradient of the loss with respect to the logits, for each row that is learnt one of `outputs`; zeros if
        no expert has a vote. Not written without targets.
    memory_weight_gradients
        The gradient of the loss with respect to `memory_weights` is added to this.
    n_seen
        Number of rows learnt before, shape (1,); updated.
    bits
        Bits of the vectors of the rows, uint64, shape (n_rows, n_features).
    awaits
        Which rows of weight 0 are kept because their labels will come, bool, shape (n_rows,); empty for none.
    keys, widths, numbers, seen, kept_votes, kept_memories, counts
        As of `arrivals.Arrivals`; updated.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton 1991, Adaptive mixtures of local experts, eq. 1.3: the likelihood of the mixture.
    Raftery, Kárný & Ettler 2010, Online prediction under model uncertainty via dynamic model averaging: weights from
    exponentially forgotten likelihoods. Herbster & Warmuth 1998, Tracking the best expert: the reason for forgetting.
    """
    n_rows, n_experts, n_classes = expert_proba.shape
    scores = np.empty(n_logits)
    likelihoods = np.empty(n_logits)
    has_vote = np.empty(n_logits, np.bool_)
    scores_then, likelihoods_then = np.empty(n_logits), np.empty(n_logits)
    room = np.empty(bits.shape[1] + 1, np.uint64)
    n_learnt = 0
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
        if targets.shape[0] == 0:
            continue
        if taught[row] == 0.0:
            if awaits.shape[0] > 0 and awaits[row] and numbers.shape[0] > 0:
                keep(
                    bits[row], expert_proba[row], memories, n_seen[0], room, keys, widths, numbers, seen, kept_votes,
                    kept_memories, counts,
                )  # fmt: skip
            continue
        place = taken_up(bits[row], room, keys, widths, numbers, counts)
        is_late = place >= 0 and seen[place] < n_seen[0]
        n_learnt += 1
        n_seen[0] += 1
        for e in range(errors.shape[1]):
            errors[n_learnt - 1, e] = 0.0
        if is_late:
            learn_from_arrival(
                outputs[row], targets[row], taught[row], n_classes, memory_weights, kept_votes[place],
                kept_memories[place], scores_then, likelihoods_then, errors[n_learnt - 1], memory_weight_gradients,
            )  # fmt: skip
        if n_votes == 0:
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
        for h in range(average_losses.shape[0]):
            fading = faded(LOSS_FADING[h], w)
            average_losses[h] = fading * average_losses[h] - (1.0 - fading) * log(likelihood)
        for e in range(n_logits):
            error = w * (scores[e] * (1.0 - likelihoods[e] / likelihood))
            if not is_late:
                errors[n_learnt - 1, e] = error
            if has_vote[e]:
                for h in range(memories.shape[0]):
                    if not is_late:
                        memory_weight_gradients[h] += error * memories[h, e]
                    fading = faded(FADING[h], w)
                    memories[h, e] = fading * memories[h, e] + (1.0 - fading) * log(likelihoods[e])
        for group in range(average_gate_weights.shape[0]):
            is_asked = False
            share = 0.0
            for e in range(n_experts):
                if groups[e] == group and has_vote[e]:
                    is_asked = True
                    share += scores[e]
            if is_asked:
                fading = faded(TRUST_FADING, w)
                average_gate_weights[group] = fading * average_gate_weights[group] + (1.0 - fading) * share


@kernel
def learn_from_arrival(  # type: ignore[no-untyped-def]
    outputs, target, w, n_classes, memory_weights, votes, memories, scores, likelihoods, errors,
    memory_weight_gradients,
):  # fmt: skip
    """Write the gradient of the loss that the mixture had when a sample came, with the router's outputs of now.

    Parameters
    ----------
    outputs
        Outputs of the router for the sample, shape (n_logits + any,).
    target, w
        Class index, and weight of the sample.
    n_classes
        Number of classes now, of which the votes may lack the last ones.
    memory_weights, memory_weight_gradients
        As in `gate`.
    votes, memories
        What was kept of the sample, uint16, shapes (n_experts, any) and (n_memories, n_logits).
    scores, likelihoods
        Room for as many numbers, shape (n_logits,).
    errors
        Result: the gradient with respect to the logits, shape (n_logits + any,). As it was if no expert had a vote.
    """
    n_experts, n_logits = votes.shape[0], memories.shape[1]
    n_votes, mean, largest = 0, 0.0, -np.inf
    for e in range(n_logits):
        has_vote = e >= n_experts  # a null expert
        likelihoods[e] = 0.0
        if e < n_experts:
            for c in range(votes.shape[1]):
                has_vote = has_vote or votes[e, c] > 0
            if target < votes.shape[1]:
                likelihoods[e] = vote_of(votes[e, target])
            likelihoods[e] = (1.0 - FLOOR) * likelihoods[e] + FLOOR / n_classes
            if has_vote:
                n_votes += 1
                mean += likelihoods[e]
        scores[e] = -np.inf
        if has_vote:
            scores[e] = np.float64(outputs[e])
            for h in range(memories.shape[0]):
                scores[e] += memory_weights[h] * memory_of(memories[h, e])
            largest = max(largest, scores[e])
    if n_votes == 0:
        return
    total, likelihood = 0.0, 0.0
    for e in range(n_logits):
        if e >= n_experts:
            likelihoods[e] = mean / n_votes
        scores[e] = exp(scores[e] - largest) if scores[e] > -np.inf else 0.0
        total += scores[e]
    for e in range(n_logits):
        scores[e] /= total
        likelihood += scores[e] * likelihoods[e]
    for e in range(n_logits):
        error = w * (scores[e] * (1.0 - likelihoods[e] / likelihood))
        errors[e] = error
        for h in range(memories.shape[0]):
            memory_weight_gradients[h] += error * memory_of(memories[h, e])


@kernel
def faded(fading, w):  # type: ignore[no-untyped-def]
    """Return the decay factor for a sample that counts `w` times."""
    return fading if w == 1.0 else exp(w * log(fading))
