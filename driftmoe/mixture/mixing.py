"""Kernels between router and experts: which experts were right, and how their votes are mixed."""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import exp
from driftmoe.compilation import compiled

CORRECTION_FADING = 0.98
"""What a sample still counts one sample later in the correction of logits, which remembers about 50."""


@compiled()
def correctness(expert_proba, targets, correct):  # type: ignore[no-untyped-def]
    """Write which experts were right: the multi-hot mask that the router learns.

    An expert is right when the true class is the first of its most probable ones; one without a vote is not. When
    none is right, the one that gives the true class most probability (of equals the first) counts as right.

    Parameters
    ----------
    expert_proba
        Votes before learning, shape (n_rows, n_experts, n_classes); zeros are no vote.
    targets
        Index of the true class, shape (n_rows,).
    correct
        Result, bool, shape (n_rows, n_experts + n_null); at least one entry a row is true. A null expert, one of the
        columns behind those of the experts, is right where most experts are: what most know nobody needs to learn.

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
def follow_right(correct, n_shared, taught, rate, value, logits):  # type: ignore[no-untyped-def]
    """Add the correction to the logits of each row, then let it follow who was right on the row.

    A router moves slowly; who is right can change in a hundred samples. After each sample

        value <- fading · value + rate · (correct - mean(correct)),

    which is Hedge (exponential weights) with forgetting on the 0-1 loss of each expert: softmax(logits + value) weighs
    experts by exp(-rate · faded loss). Without forgetting it follows the whole past and is of no use on a stream that
    drifts.

    Parameters
    ----------
    correct
        Which experts were right, bool, shape (n_rows, n_shared + n_logits).
    n_shared
        Experts, the first ones, that have no logit.
    taught
        Weight of each row, shape (n_rows,).
    rate
        Step in units of logits.
    value
        The correction, shape (n_logits,); moved.
    logits
        Shape (n_rows, n_logits); each row gets what the correction was before it.

    References
    ----------
    Freund & Schapire 1997, "A decision-theoretic generalization of on-line learning", sec. 2 (Hedge), with the
    exponential forgetting of Herbster & Warmuth 1998, "Tracking the best expert", in the place of their sharing.
    """
    n_rows, n_logits = logits.shape
    for row in range(n_rows):
        n_correct = 0
        for e in range(n_logits):
            n_correct += int(correct[row, n_shared + e])
        for e in range(n_logits):
            logits[row, e] += value[e]
            moved = correct[row, n_shared + e] - n_correct / n_logits
            value[e] = CORRECTION_FADING * value[e] + taught[row] * rate * moved


@compiled()
def mix(weights, expert_proba, takes_one, proba):  # type: ignore[no-untyped-def]
    """Write the weighted mean of the experts that have a vote, in float64.

    Where no expert with a weight has a vote, all that have one count alike; where none has, all classes do.

    Parameters
    ----------
    weights
        Mixing weights, shape (n_rows, n_experts).
    expert_proba
        Shape (n_rows, n_experts, n_classes); zeros are no vote.
    takes_one
        Whether the expert of the largest weight, of equals the first, has the word alone.
    proba
        Result, shape (n_rows, n_classes), each row summing to 1.
    """
    n_rows, n_experts, n_classes = expert_proba.shape
    for row in range(n_rows):
        total = 0.0
        largest = weights[row].argmax()
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
    """Write class probabilities from one-vs-rest experts: router weight × own probability, normalised.

    Parameters
    ----------
    logits
        Of the router, one for each class, shape (n_rows, n_classes).
    own_proba
        Each expert's probability that the sample is of its class, shape (n_rows, n_classes).
    weights
        Result: the softmax of the logits, float64, same shape.
    proba
        Result, rows summing to 1; the router's weights alone where every expert disowns the sample.
    """
    n_rows, n_classes = weights.shape
    for row in range(n_rows):
        largest, total, mixed = np.float64(logits[row].max()), 0.0, 0.0
        for c in range(n_classes):
            weights[row, c] = exp(np.float64(logits[row, c]) - largest)
            total += weights[row, c]
        for c in range(n_classes):
            weights[row, c] /= total
            proba[row, c] = weights[row, c] * own_proba[row, c]
            mixed += proba[row, c]
        for c in range(n_classes):
            proba[row, c] = proba[row, c] / mixed if mixed > 0.0 else weights[row, c]


@compiled()
def first_best(proba, best):  # type: ignore[no-untyped-def]
    """Write the most probable class of each row, of equals the first; shape (n_rows,)."""
    for row in range(proba.shape[0]):
        best[row] = proba[row].argmax()
