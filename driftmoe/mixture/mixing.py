"""Kernels that find which experts were right, and that mix their votes."""

from __future__ import annotations

import math

import numpy as np

from driftmoe.arithmetic import exp, first_of_largest, largest_of
from driftmoe.compilation import compiled
from driftmoe.experts.batch import Index
from driftmoe.transaction import Changes, planned

CORRECTION_FADING = 0.98
"""Decay factor per sample of the correction of the logits, which remembers about 50 samples."""


@compiled()
def correctness(expert_proba, targets, correct):  # type: ignore[no-untyped-def]
    """Compute the multi-hot mask of the experts that were right, which is the router's target.

    An expert is right if it predicts the true class, where ties go to the first class. An expert without a vote is not
    right. If no expert is right, the one with the largest probability of the true class (the first, in a tie) counts as
    right.

    Parameters
    ----------
    expert_proba
        Votes before learning, shape (n_rows, n_experts, n_classes). An expert with only zeros has no vote.
    targets
        Index of the true class, shape (n_rows,).
    correct
        Result, bool, shape (n_rows, n_experts + n_null); at least one entry per row is true. Null experts, whose
        columns follow those of the experts, are right if most experts are: nobody needs to learn what most know.

    References
    ----------
    DriftMoE (arXiv 2507.18464): the multi-hot correctness mask of MoE-Data.
    """
    n_rows, n_experts, n_classes = expert_proba.shape
    for row in range(n_rows):
        target = targets[row]
        best, best_proba, n_correct = 0, -1.0, 0
        for e in range(n_experts):
            of_target = expert_proba[row, e, target]
            is_correct = of_target > 0.0
            for c in range(n_classes):
                other = expert_proba[row, e, c]
                if other > of_target or (other == of_target and c < target):
                    is_correct = False
            correct[row, e] = is_correct
            n_correct += int(is_correct)
            if of_target > best_proba:
                best, best_proba = e, of_target
        if n_correct == 0:
            correct[row, best] = True
        for null in range(n_experts, correct.shape[1]):
            correct[row, null] = 2 * n_correct > n_experts


@compiled()
def follow_right(correct, n_shared, taught, rate, corrections, logits):  # type: ignore[no-untyped-def]
    """Correct the logits of each row, then update the corrections with the experts that were right on the row.

    A router learns slowly, while the experts that are right can change within a hundred samples. After each sample

        corrections <- fading · corrections + rate · (correct - mean(correct)).

    This is Hedge (exponential weights) with forgetting, on the 0-1 loss of each expert: softmax(logits + corrections)
    weights experts by exp(-rate · faded loss). Without forgetting it would follow the whole past, which does not help
    on a stream that drifts.

    Parameters
    ----------
    correct
        Which experts were right, bool, shape (n_rows, n_shared + n_logits).
    n_shared
        Number of shared experts, which come first and have no logit.
    taught
        Weight of each row, shape (n_rows,). From a row of weight 0 nothing is learnt.
    rate
        Step size in units of logits.
    corrections
        What is added to each logit, shape (n_logits,); updated.
    logits
        Shape (n_rows, n_logits). The corrections from before each row are added to the row.

    References
    ----------
    Freund & Schapire 1997, "A decision-theoretic generalization of on-line learning", sec. 2 (Hedge). Exponential
    forgetting stands in for the sharing of Herbster & Warmuth 1998, "Tracking the best expert".
    """
    n_rows, n_logits = logits.shape
    for row in range(n_rows):
        n_correct = 0
        for e in range(n_logits):
            n_correct += int(correct[row, n_shared + e])
        for e in range(n_logits):
            logits[row, e] += corrections[e]
            moved = correct[row, n_shared + e] - n_correct / n_logits
            if taught[row] > 0.0:
                corrections[e] = CORRECTION_FADING * corrections[e] + taught[row] * rate * moved


@compiled()
def mix(weights, expert_proba, takes_one, proba):  # type: ignore[no-untyped-def]
    """Write the weighted mean of the experts' votes, in float64.

    If no expert with a positive weight has a vote, all experts with a vote get equal weights. If none has a vote, all
    classes get equal probabilities.

    Parameters
    ----------
    weights
        Mixing weights, shape (n_rows, n_experts).
    expert_proba
        Shape (n_rows, n_experts, n_classes). An expert with only zeros has no vote.
    takes_one
        Whether only the expert with the largest weight (the first, in a tie) votes.
    proba
        Result, shape (n_rows, n_classes), each row summing to 1.
    """
    n_rows, n_experts, n_classes = expert_proba.shape
    for row in range(n_rows):
        total = 0.0
        largest = first_of_largest(weights[row])
        for is_fallback in (False, True):
            proba[row] = 0.0
            for e in range(n_experts):
                weight = 1.0 if is_fallback else weights[row, e]
                if takes_one and not is_fallback:
                    weight = 1.0 if e == largest and weight > 0.0 else 0.0
                if weight > 0.0:
                    for c in range(n_classes):
                        proba[row, c] += weight * expert_proba[row, e, c]
                        total += weight * expert_proba[row, e, c]
            if total > 0.0:
                break
        for c in range(n_classes):
            proba[row, c] = proba[row, c] / total if total > 0.0 else 1.0 / n_classes


@compiled()
def mix_own(logits, own_proba, weights, proba):  # type: ignore[no-untyped-def]
    """Write class probabilities from one-vs-rest experts: router weight × expert's own probability, normalised.

    Parameters
    ----------
    logits
        The router's logits, one per class, shape (n_rows, n_classes).
    own_proba
        Each expert's probability that the sample belongs to its class, shape (n_rows, n_classes).
    weights
        Result: the softmax of the logits, float64, same shape.
    proba
        Result, each row summing to 1. It equals the router's weights if all experts give probability 0.
    """
    n_rows, n_classes = weights.shape
    for row in range(n_rows):
        largest, total, mixed = np.float64(largest_of(logits[row])), 0.0, 0.0
        for c in range(n_classes):
            weights[row, c] = exp(np.float64(logits[row, c]) - largest)
            total += weights[row, c]
        for c in range(n_classes):
            weights[row, c] /= total
            proba[row, c] = weights[row, c] * own_proba[row, c]
            mixed += proba[row, c]
        for c in range(n_classes):
            proba[row, c] = proba[row, c] / mixed if mixed > 0.0 else weights[row, c]


def of_learnt(array: np.ndarray, learnt: Index, changes: Changes) -> np.ndarray:
    """Return the rows of an array that are learnt; `changes` fill them in, if earlier ones write the array."""
    if isinstance(learnt, slice):
        return array
    taken = np.empty((len(learnt), *array.shape[1:]))
    width = math.prod(array.shape[1:])
    changes.append(
        planned(take_rows, array.reshape(len(array), width), learnt, taken.reshape(len(learnt), width))
    )
    return taken


@compiled()
def take_rows(source, rows, taken):  # type: ignore[no-untyped-def]
    """Copy some rows of an array to another, both of two dimensions."""
    for place in range(rows.shape[0]):
        for column in range(source.shape[1]):
            taken[place, column] = source[rows[place], column]


@compiled()
def first_best(proba, best):  # type: ignore[no-untyped-def]
    """Write the most probable class of each row (the first, in a tie), shape (n_rows,)."""
    for row in range(proba.shape[0]):
        best[row] = first_of_largest(proba[row])


@compiled()
def most_gain(proba, gains, best):  # type: ignore[no-untyped-def]
    """Write the class with the greatest expected gain of each row (the first, in a tie).

    Parameters
    ----------
    proba
        Class probabilities, shape (n_rows, n_classes).
    gains
        What each answer spares for each true class, shape (n_classes, n_classes), or only where it is right, shape
        (1, n_classes); see `driftmoe.costs`.
    best
        Result, shape (n_rows,).

    References
    ----------
    Elkan (2001). The foundations of cost-sensitive learning. IJCAI, equation 1.
    """
    n_rows, n_classes = proba.shape
    for row in range(n_rows):
        highest = -1.0
        for answer in range(n_classes):
            expected = 0.0
            if gains.shape[0] < n_classes:
                expected = proba[row, answer] * gains[0, answer]
            else:
                for c in range(n_classes):
                    expected += proba[row, c] * gains[c, answer]
            if expected > highest:
                best[row], highest = answer, expected
