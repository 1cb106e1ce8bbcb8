"""Other gates on recorded votes: kernels of `benchmarks.beyond`. Those of smaller pools are in `pool_kernels.py`.

Votes have the shape (n_samples, n_experts, n_classes), the gate's weights (n_samples, n_experts). An expert with only
zeros has no vote, and weight 0. What a kernel uses of a sample's label it uses only for later samples, but for oracles.
`tests/reference/other_gates.py` has a readable twin of each.
"""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import exp, log
from driftmoe.compilation import compiled, kernel
from driftmoe.experts.episodes import begin_episode
from driftmoe.mixture.gate import FLOOR

LOWEST, EQUAL = -1, 0
"""Weak votes to contrast with: of the expert with the lowest weight, and the mean of all. Rank r is the r-th best."""


@compiled()
def toward_best(votes, weights, targets, tau, errors):  # type: ignore[no-untyped-def]
    """Write the gradient of KL(softmax(-loss / tau) || gate) with respect to the logits.

    Parameters
    ----------
    votes, weights
        See the top of this file.
    targets
        Index of the true class, shape (n_rows,).
    tau
        Temperature above 0; the smaller, the nearer to the best expert alone.
    errors
        Result, in the first columns: the gate's weights less those of the oracle, zeros if nobody has a vote.

    References
    ----------
    Alizadeh et al. 2024, Duo-LLM (arXiv 2410.10846): the oracle of the path of least loss, and routers beside it. The
    softmax of losses is ours. The loss of an expert is -ln of the probability that it gave to the true class, with the
    gate's `FLOOR`.
    """
    n_rows, n_experts, n_classes = votes.shape
    oracle = np.empty(n_experts)
    for row in range(n_rows):
        total = 0.0
        for e in range(n_experts):
            oracle[e] = exp(log(floored(votes[row, e, targets[row]], n_classes)) / tau)
            oracle[e] = oracle[e] if has_vote(votes[row, e]) else 0.0
            total += oracle[e]
        for e in range(n_experts):
            errors[row, e] = weights[row, e] - oracle[e] / total if total > 0.0 else 0.0


@compiled()
def remembered(inputs, episodes, size, near):  # type: ignore[no-untyped-def]
    """Write which of the samples that the default's neighbours remember are the nearest to each.

    Parameters
    ----------
    inputs
        float32, shape (n_rows, n_inputs).
    episodes
        EPISODE of `driftmoe.experts.nearest`, zeros, shape (n_episodes,); overwritten. Their number times `size` is the
        memory, which is thinned out as that of `Neighbours`.
    size
        Samples of an episode, an even number.
    near
        Result: rows of the nearest samples by their features, the nearest first and of two alike the later one, -1
        where fewer are remembered; int32, shape (n_rows, k).
    """
    (n_rows, n_inputs), n_episodes, k = inputs.shape, episodes.shape[0], near.shape[1]
    kept = np.zeros((n_episodes, n_inputs, size), np.float32)
    times, targets = np.zeros((n_episodes, size), np.int64), np.zeros((n_episodes, size), np.int64)
    ones = np.ones((n_episodes, size), np.float32)
    order, squares, found = np.arange(n_episodes), np.empty(size, np.float32), np.empty(k, np.float32)
    n = 0
    for row in range(n_rows):
        n_found = 0
        for i in range(n - 1, -1, -1):
            e = order[i]
            m = episodes[e]["size"]
            squares[:m] = np.float32(0.0)
            for f in range(n_inputs):
                value = inputs[row, f]
                for j in range(m):
                    difference = kept[e, f, j] - value
                    squares[j] += difference * difference
            for j in range(m - 1, -1, -1):
                if n_found == k and squares[j] >= found[k - 1]:
                    continue
                place = n_found if n_found < k else k - 1
                n_found = min(n_found + 1, k)
                while place > 0 and found[place - 1] > squares[j]:
                    found[place], near[row, place] = found[place - 1], near[row, place - 1]
                    place -= 1
                found[place], near[row, place] = squares[j], times[e, j]
        for place in range(n_found, k):
            near[row, place] = -1
        if n == 0 or episodes[order[n - 1]]["size"] == size:
            n = begin_episode(kept, targets, times, ones, episodes, order, n)
        e = order[n - 1]
        j = episodes[e]["size"]
        for f in range(n_inputs):
            kept[e, f, j] = inputs[row, f]
        times[e, j] = row
        episodes[e]["size"] += 1


@compiled()
def successes(votes, weights, targets, right, likelihoods, gradients):  # type: ignore[no-untyped-def]
    """Write how well each expert did on each sample, NaN where it had no vote; results float32, (n_rows, n_experts).

    Parameters
    ----------
    votes, weights
        See the top of this file.
    targets
        Index of the true class, shape (n_rows,).
    right
        1 if the true class has the expert's largest probability (the first, in a tie), else 0.
    likelihoods
        Logarithm of the probability that it gave to the true class, with the gate's `FLOOR`.
    gradients
        Its share of the mixture's likelihood less its weight: the direction in which the logits should have moved.
    """
    n_rows, n_experts, n_classes = votes.shape
    for row in range(n_rows):
        target = targets[row]
        likelihood = 0.0
        for e in range(n_experts):
            likelihood += weights[row, e] * floored(votes[row, e, target], n_classes)
        for e in range(n_experts):
            right[row, e] = likelihoods[row, e] = gradients[row, e] = np.nan
            if has_vote(votes[row, e]):
                own = floored(votes[row, e, target], n_classes)
                right[row, e] = votes[row, e].argmax() == target
                likelihoods[row, e] = log(own)
                gradients[row, e] = weights[row, e] * (own / likelihood - 1.0)


@compiled()
def competence(near, success, k, local):  # type: ignore[no-untyped-def]
    """Write how well each expert did on the nearest remembered samples, compared with the other experts.

    Parameters
    ----------
    near
        Rows of the nearest samples, -1 for none, shape (n_rows, k or more).
    success
        One of the results of `successes`.
    k
        Number of nearest samples that count.
    local
        Result, float32, shape (n_rows, n_experts): the mean over those of the samples on which the expert had a vote,
        less the mean of this over the experts; 0 for an expert that had none.

    References
    ----------
    Li et al. 2025, C3PO (arXiv 2504.07964): routing weights from samples alike on which the routing did well. Ko,
    Sabourin & Britto 2008, From dynamic classifier selection to dynamic ensemble selection.
    """
    n_rows, n_experts = success.shape
    for row in range(n_rows):
        mean, n_known = 0.0, 0
        for e in range(n_experts):
            total, n = 0.0, 0
            for i in range(k):
                if near[row, i] >= 0 and not np.isnan(success[near[row, i], e]):
                    total += success[near[row, i], e]
                    n += 1
            local[row, e] = total / n if n > 0 else np.nan
            if n > 0:
                mean += local[row, e]
                n_known += 1
        for e in range(n_experts):
            is_known = not np.isnan(local[row, e])
            local[row, e] = local[row, e] - mean / n_known if is_known else 0.0


@compiled()
def reweighted(votes, weights, added, faiths, answers):  # type: ignore[no-untyped-def]
    """Write the answers of a gate to whose logits `faith` times `added`, shape (n_rows, n_experts), is added.

    `faiths` has the shape (n_faiths,), and `answers` (n_faiths, n_rows).
    """
    n_rows, n_experts, n_classes = votes.shape
    proba = np.empty(n_classes)
    for row in range(n_rows):
        for i in range(faiths.shape[0]):
            proba[:] = 0.0
            for e in range(n_experts):
                weight = weights[row, e] * exp(faiths[i] * added[row, e])
                for c in range(n_classes):
                    proba[c] += weight * votes[row, e, c]
            answers[i, row] = proba.argmax()


@compiled()
def reweighted_by_learnt(votes, weights, added, targets, rate, answers, faith):  # type: ignore[no-untyped-def]
    """Write the answers of `reweighted` with a faith that follows the gradient of the mixture's log-likelihood.

    Parameters
    ----------
    votes, weights, added
        As in `reweighted`.
    targets
        Index of the true class, shape (n_rows,).
    rate
        Step size of a sample.
    answers
        Result, shape (n_rows,).
    faith
        The faith before the first sample, and after the last one; shape (1,).
    """
    n_rows, n_experts, n_classes = votes.shape
    proba = np.empty(n_classes)
    for row in range(n_rows):
        proba[:] = 0.0
        total, likelihood, of_gate, of_share = 0.0, 0.0, 0.0, 0.0
        for e in range(n_experts):
            weight = weights[row, e] * exp(faith[0] * added[row, e])
            for c in range(n_classes):
                proba[c] += weight * votes[row, e, c]
            own = weight * floored(votes[row, e, targets[row]], n_classes)
            total += weight
            likelihood += own
            of_gate += weight * added[row, e]
            of_share += own * added[row, e]
        answers[row] = proba.argmax()
        if total > 0.0:
            faith[0] += rate * (of_share / likelihood - of_gate / total)


@compiled()
def eliminated(votes, weights, near, right, k, answers):  # type: ignore[no-untyped-def]
    """Write the answers of the experts alone that were right on all of the k nearest samples, by the gate's weights.

    If there are none, the farthest sample is left out, and so on; without any, all experts vote. `answers` has the
    shape (n_rows,).

    References
    ----------
    Ko, Sabourin & Britto 2008: KNORA-ELIMINATE.
    """
    n_rows, n_experts, n_classes = votes.shape
    n_first = np.empty(n_experts, np.int64)
    proba = np.empty(n_classes)
    for row in range(n_rows):
        most = 0
        for e in range(n_experts):
            n_first[e] = 0
            while n_first[e] < k and near[row, n_first[e]] >= 0 and right[near[row, n_first[e]], e] == 1.0:
                n_first[e] += 1
            if weights[row, e] > 0.0:
                most = max(most, n_first[e])
        proba[:] = 0.0
        for e in range(n_experts):
            if n_first[e] >= most:
                for c in range(n_classes):
                    proba[c] += weights[row, e] * votes[row, e, c]
        answers[row] = proba.argmax()


@compiled()
def united(votes, weights, near, right, k, by_gate, answers):  # type: ignore[no-untyped-def]
    """Write the answers of experts that each vote as often as they were right on the k nearest samples.

    With `by_gate` the counts multiply the gate's weights. If nobody was right, the gate's weights count alone.
    `answers` has the shape (n_rows,).

    References
    ----------
    Ko, Sabourin & Britto 2008: KNORA-UNION.
    """
    n_rows, n_experts, n_classes = votes.shape
    counts = np.empty(n_experts)
    proba = np.empty(n_classes)
    for row in range(n_rows):
        total = 0.0
        for e in range(n_experts):
            counts[e] = 0.0
            for i in range(k):
                if near[row, i] >= 0 and right[near[row, i], e] == 1.0:
                    counts[e] += 1.0
            counts[e] *= weights[row, e] if by_gate else np.float64(weights[row, e] > 0.0)
            total += counts[e]
        proba[:] = 0.0
        for e in range(n_experts):
            weight = counts[e] if total > 0.0 else np.float64(weights[row, e])
            for c in range(n_classes):
                proba[c] += weight * votes[row, e, c]
        answers[row] = proba.argmax()


@compiled()
def contrasted(votes, weights, weak, betas, alpha, answers):  # type: ignore[no-untyped-def]
    """Write the answers by the mixture's log-probabilities less those of a weak vote.

    Parameters
    ----------
    votes, weights
        See the top of this file.
    weak
        `LOWEST`, `EQUAL`, or a rank from 1 on; the lowest expert if there are fewer.
    betas
        Factors of the difference, shape (n_betas,); 0 gives the mixture's answer.
    alpha
        Classes below this share of the largest probability are no answer.
    answers
        Result, shape (n_betas, n_rows).

    References
    ----------
    Shi et al. 2024, SCMoE (arXiv 2405.14507): (1 + beta) log p_strong - beta log p_weak, where p_strong is at least
    alpha times the largest. Both have the gate's `FLOOR` here.
    """
    n_rows, n_experts, n_classes = votes.shape
    strong, other = np.empty(n_classes), np.empty(n_classes)
    is_left = np.empty(n_experts, np.bool_)
    for row in range(n_rows):
        strong[:] = 0.0
        other[:] = 0.0
        n_votes = 0
        for e in range(n_experts):
            is_left[e] = weights[row, e] > 0.0
            n_votes += is_left[e]
            for c in range(n_classes):
                strong[c] += weights[row, e] * votes[row, e, c]
                other[c] += votes[row, e, c]
        rank = n_votes if weak == LOWEST else min(weak, n_votes)
        best = 0
        for _ in range(rank):
            best = -1
            for e in range(n_experts):
                if is_left[e] and (best < 0 or weights[row, e] > weights[row, best]):
                    best = e
            is_left[best] = False
        total = 0.0
        for c in range(n_classes):
            other[c] = votes[row, best, c] if rank > 0 else other[c]
            total += other[c]
        for i in range(betas.shape[0]):
            highest = -np.inf
            answers[i, row] = strong.argmax()
            for c in range(n_classes):
                if strong[c] >= alpha * strong.max() and total > 0.0:
                    of_strong, of_weak = floored(strong[c], n_classes), floored(other[c] / total, n_classes)
                    score = (1.0 + betas[i]) * log(of_strong) - betas[i] * log(of_weak)
                    if score > highest:
                        answers[i, row], highest = c, score


@compiled()
def within_budget(votes, weights, targets, k, by_loss, answers):  # type: ignore[no-untyped-def]
    """Write the answers of only k experts: those of least loss, which an oracle picks, or of most weight.

    With `by_loss` the answer is that of the mean of the votes that give the true class the most, which is the mean with
    the least loss of all that k experts have. Otherwise the gate's weights count. `answers` has the shape (n_rows,).

    References
    ----------
    Alizadeh et al. 2024, Duo-LLM (arXiv 2410.10846): the oracle within a budget.
    """
    n_rows, n_experts, n_classes = votes.shape
    merit, proba = np.empty(n_experts), np.empty(n_classes)
    for row in range(n_rows):
        for e in range(n_experts):
            own = np.float64(votes[row, e, targets[row]]) if by_loss else np.float64(weights[row, e])
            merit[e] = own if has_vote(votes[row, e]) else -1.0
        proba[:] = 0.0
        for _ in range(k):
            best = merit.argmax()
            if merit[best] < 0.0:
                break
            weight = 1.0 if by_loss else merit[best]
            for c in range(n_classes):
                proba[c] += weight * votes[row, best, c]
            merit[best] = -1.0
        answers[row] = proba.argmax()


@kernel
def floored(proba, n_classes):  # type: ignore[no-untyped-def]
    """Return the likelihood of a vote, as the gate takes it."""
    return (1.0 - FLOOR) * proba + FLOOR / n_classes


@kernel
def has_vote(vote):  # type: ignore[no-untyped-def]
    """Return whether an expert gave a class a probability above 0."""
    found = False
    for c in range(vote.shape[0]):
        found = found or vote[c] > 0.0
    return found
