"""Smaller pools of trees on recorded votes: kernels of `benchmarks.beyond`, of which trees to keep and what they say.

Votes and weights are those of `benchmarks.beyond.votes`. `tests/reference/other_gates.py` has a twin of each kernel.
"""

from __future__ import annotations

import numpy as np

from benchmarks.beyond.kernels import floored
from driftmoe.arithmetic import log
from driftmoe.compilation import compiled, kernel

USAGE, LOSS, REDUNDANT, MERGED, OWNERS, FIRST = range(6)
"""Rules by which trees are kept; see `with_fewer_trees`."""

FADING = 0.999
"""Decay factor per sample of what is known of the trees."""

DECIDE = 500
"""Samples between two decisions on which trees are kept; the first comes after twice as many."""


@compiled()
def agreement(votes, agreed):  # type: ignore[no-untyped-def]
    """Add to `agreed`, shape (n_experts, n_experts), 1 for each row on which two experts have the same first class."""
    n_rows, n_experts, _ = votes.shape
    best = np.empty(n_experts, np.int64)
    for row in range(n_rows):
        for e in range(n_experts):
            best[e] = votes[row, e].argmax()
        for e in range(n_experts):
            for other in range(n_experts):
                agreed[e, other] += best[e] == best[other]


@compiled()
def with_fewer_trees(votes, weights, targets, n_trees, n_kept, rule, answers):  # type: ignore[no-untyped-def]
    """Write the answers if only some trees vote, which are chosen anew every `DECIDE` samples from what came before.

    Parameters
    ----------
    votes, weights
        Shape (n_samples, n_experts, n_classes) and (n_samples, n_experts). Give those of the trees alone to learn what
        a pool without other experts would answer.
    targets
        Index of the true class, shape (n_samples,).
    n_trees
        Number of trees, which come first. They all go on learning and voting in the record.
    n_kept
        Trees that vote.
    rule
        `USAGE`: those of the largest average weight. `LOSS`: those without which the mixture's loss would have been
        the largest. `REDUNDANT`: of the two trees that agree most often on the first class the one with less weight
        goes, until `n_kept` are left. `MERGED`: likewise, and the weight of those that go is given to the tree that
        agrees most with them. `OWNERS`: first the best tree of each class, then by usage. `FIRST`: the first ones.
    answers
        Result, shape (n_samples,).

    References
    ----------
    UNCURL (arXiv 2409.01483): pruning by a task's use of experts. Su et al. 2025, Super experts (arXiv 2507.23279): not
    those that own something. Li et al. 2024, MC-SMoE (ICLR): merging by similarity, weighted by usage.
    """
    n_rows, n_experts, n_classes = votes.shape
    usage, loss = np.zeros(n_trees), np.zeros(n_trees)
    agreed, of_class = np.zeros((n_trees, n_trees)), np.zeros((n_classes, n_trees))
    best, proba = np.empty(n_trees, np.int64), np.empty(n_classes)
    is_kept, heir = np.ones(n_trees, np.bool_), np.arange(n_trees)
    weight = np.empty(n_experts)
    for row in range(n_rows):
        if row >= 2 * DECIDE and row % DECIDE == 0:
            choose(usage, loss, agreed, of_class, n_kept, rule, is_kept, heir)
        for e in range(n_experts):
            weight[e] = weights[row, e]
        for e in range(n_trees):
            if not is_kept[e]:
                weight[heir[e]] += weight[e] if heir[e] != e else 0.0
                weight[e] = 0.0
        proba[:] = 0.0
        total = weight.sum()
        for e in range(n_experts):
            share = weight[e] if total > 0.0 else np.float64(e >= n_trees or is_kept[e])
            for c in range(n_classes):
                proba[c] += share * votes[row, e, c]
        answers[row] = proba.argmax()
        follow(votes[row], weights[row], targets[row], best, usage, loss, agreed, of_class)


@kernel
def follow(votes, weights, target, best, usage, loss, agreed, of_class):  # type: ignore[no-untyped-def]
    """Update what is known of the trees with a sample: usage, loss without them, agreement, and merit in its class."""
    n_trees, n_classes = usage.shape[0], votes.shape[1]
    total, likelihood = 0.0, 0.0
    for e in range(votes.shape[0]):
        total += weights[e]
        likelihood += weights[e] * floored(votes[e, target], n_classes)
    for e in range(n_trees):
        best[e] = votes[e].argmax()
        own = floored(votes[e, target], n_classes)
        share = weights[e] / total if total > 0.0 else 0.0
        rest = total - weights[e]
        without = 0.0
        if rest > 1e-9 * total and likelihood > 0.0:
            without = log(likelihood / total) - log(max(likelihood - weights[e] * own, 1e-300) / rest)
        usage[e] = FADING * usage[e] + (1.0 - FADING) * share
        loss[e] = FADING * loss[e] + (1.0 - FADING) * without
        of_class[target, e] = FADING * of_class[target, e] + (1.0 - FADING) * own
    for e in range(n_trees):
        for other in range(n_trees):
            same = np.float64(best[e] == best[other])
            agreed[e, other] = FADING * agreed[e, other] + (1.0 - FADING) * same


@kernel
def choose(usage, loss, agreed, of_class, n_kept, rule, is_kept, heir):  # type: ignore[no-untyped-def]
    """Decide which trees are kept, and to which tree the weight of each other one goes: to itself if to none."""
    n_trees = usage.shape[0]
    for e in range(n_trees):
        is_kept[e], heir[e] = True, e
    for _ in range(n_trees - n_kept):
        goes = -1
        if rule == FIRST:
            for e in range(n_trees):
                goes = e if is_kept[e] else goes
        elif rule in (REDUNDANT, MERGED):
            most = -1.0
            for e in range(n_trees):
                for other in range(n_trees):
                    if e != other and is_kept[e] and is_kept[other] and agreed[e, other] > most:
                        most = agreed[e, other]
                        goes = e if usage[e] < usage[other] else other
        else:
            for e in range(n_trees):
                if not is_kept[e] or (
                    rule == OWNERS and goes >= 0 and owns(e, of_class) > owns(goes, of_class)
                ):
                    continue
                is_less = goes < 0 or (loss[e] < loss[goes] if rule == LOSS else usage[e] < usage[goes])
                if is_less or (rule == OWNERS and owns(e, of_class) < owns(goes, of_class)):
                    goes = e
        is_kept[goes] = False
    if rule == MERGED:
        for e in range(n_trees):
            if not is_kept[e]:
                most = -1.0
                for other in range(n_trees):
                    if is_kept[other] and agreed[e, other] > most:
                        most, heir[e] = agreed[e, other], other


@kernel
def owns(e, of_class):  # type: ignore[no-untyped-def]
    """Return in how many classes a tree gives the true class more than every other tree does (the first, in a tie)."""
    n = 0
    for c in range(of_class.shape[0]):
        best = 0
        for other in range(of_class.shape[1]):
            best = other if of_class[c, other] > of_class[c, best] else best
        n += best == e and of_class[c, e] > 0.0
    return n
