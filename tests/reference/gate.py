"""Twin of the gate of the adaptive mixture: `driftmoe/mixture/gate.py`."""

from __future__ import annotations

import math


def gate_slowly(
    outputs,
    votes,
    chosen,
    targets,
    taught,
    n_logits,
    memories,
    memory_weights,
    kinds,
    average_gate_weights,
    average_losses,
    weights,
    errors,
    memory_weight_gradients,
    n_seen,
):
    """What `driftmoe.mixture.gate` does, from the formulas of its documentation."""
    n_rows, n_experts, n_classes = votes.shape
    for row in range(n_rows):
        voters = [e for e in range(n_experts) if votes[row, e].sum() > 0.0]
        scores = outputs[row, :n_logits].astype(float) + memory_weights.astype(float) @ memories
        allowed = [e for e in voters if chosen[row, e]]
        weights[row] = 0.0
        for e in allowed or voters:
            weights[row, e] = math.exp(scores[e]) if allowed else 1.0
        if voters:
            weights[row] /= weights[row].sum()
        if len(targets) == 0:
            continue
        n_seen[0] += 1
        errors[row] = 0.0
        if not voters:
            continue
        everyone = voters + list(range(n_experts, n_logits))
        likelihood = {e: 0.98 * votes[row, e, targets[row]] + 0.02 / n_classes for e in voters}
        mean = sum(likelihood.values()) / len(voters)
        likelihood |= dict.fromkeys(range(n_experts, n_logits), mean)
        total = sum(math.exp(scores[e]) for e in everyone)
        prior = {e: math.exp(scores[e]) / total for e in everyone}
        evidence = sum(prior[e] * likelihood[e] for e in everyone)
        w = taught[row]
        average_losses[:] = [moved_towards(-math.log(evidence), old, fading**w)
                     for fading, old in zip((0.95, 0.998), average_losses, strict=True)]  # fmt: skip
        for e in everyone:
            errors[row, e] = w * (prior[e] - prior[e] * likelihood[e] / evidence)
            memory_weight_gradients += errors[row, e] * memories[:, e]
        for e in everyone:
            memories[:, e] = [
                moved_towards(math.log(likelihood[e]), memory, fading**w)
                for fading, memory in zip((0.9, 0.98), memories[:, e], strict=True)
            ]
        for kind in {int(kinds[e]) for e in voters}:
            share = sum(prior[e] for e in voters if kinds[e] == kind)
            average_gate_weights[kind] = moved_towards(share, average_gate_weights[kind], 0.98**w)


def moved_towards(value, memory, fading):
    """A faded memory after one more value."""
    return fading * memory + (1.0 - fading) * value
