"""Twin of the gate of the adaptive mixture: `driftmoe/mixture/gate.py`."""

from __future__ import annotations

import math

import numpy as np

from driftmoe.draws import keyed
from driftmoe.mixture.arrivals import bits_of, keys_of


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
    vectors=None,
    awaits=(),
    waiting=None,
    most=100,
    missed=None,
):
    """What `driftmoe.mixture.gate` does, from the formulas of its documentation.

    `waiting` is a list of samples, the oldest first: vector, number of rows learnt before, votes and memories;
    where `most` wait, one is given up. `missed` has the share of labels whose samples were gone, in units of 2^-16.
    """
    n_learnt = 0
    for row in range(len(votes)):
        voters = voters_of(votes[row])
        scores = outputs[row, :n_logits].astype(float) + memory_weights.astype(float) @ memories
        allowed = [e for e in voters if chosen[row, e]]
        weights[row] = 0.0
        for e in allowed or voters:
            weights[row, e] = math.exp(scores[e]) if allowed else 1.0
        if voters:
            weights[row] /= weights[row].sum()
        if len(targets) == 0:
            continue
        w = taught[row]
        if w == 0.0:
            if len(awaits) and awaits[row]:
                drawn = hash_of(vectors[row], n_seen[0])
                while len(waiting) >= most:
                    drawn = int(keyed(np.uint64(drawn), len(waiting)))
                    del waiting[given_up(drawn, missed[0], [hash_of(vector) for vector, *_ in waiting])]
                waiting.append((vectors[row].copy(), int(n_seen[0]), *in_16_bits(votes[row], memories)))
            continue
        judged = (votes[row], memories.copy())
        found = [
            i
            for i, (vector, *_) in enumerate(waiting or ())
            if np.array_equal(vector, vectors[row], equal_nan=True)
        ]
        if waiting and len(waiting) >= most:
            missed[0] = missed[0] - -(-missed[0] // 64) if found else missed[0] + (65536 - missed[0]) // 64
        if found:
            _, when, *then = waiting.pop(found[0])
            if when < n_seen[0]:
                judged = then
        errors[n_learnt] = 0.0
        prior, likelihood, evidence = judgement(outputs[row], *judged, targets[row], memory_weights)
        for e in prior:
            errors[n_learnt, e] = w * (prior[e] - prior[e] * likelihood[e] / evidence)
            memory_weight_gradients += errors[n_learnt, e] * judged[1][:, e]
        n_learnt += 1
        n_seen[0] += 1
        if not voters:
            continue
        prior, likelihood, evidence = judgement(
            outputs[row], votes[row], memories, targets[row], memory_weights
        )
        average_losses[:] = [moved_towards(-math.log(evidence), old, fading**w)
                     for fading, old in zip((0.95, 0.998), average_losses, strict=True)]  # fmt: skip
        for e in prior:
            memories[:, e] = [
                moved_towards(math.log(likelihood[e]), memory, fading**w)
                for fading, memory in zip((0.9, 0.98), memories[:, e], strict=True)
            ]
        for kind in {int(kinds[e]) for e in voters}:
            share = sum(prior[e] for e in voters if kinds[e] == kind)
            average_gate_weights[kind] = moved_towards(share, average_gate_weights[kind], 0.98**w)


def in_16_bits(votes, memories):
    """Votes and memories as they are kept: in units of 1 / 65535, and of 1 / 4096 nats from -12 on."""
    units = np.floor((memories + 12.0) * 4096.0 + 0.5).clip(0, 65535)
    return np.floor(votes * 65535.0 + 0.5) / 65535.0, units / 4096.0 - 12.0


def voters_of(votes):
    """The experts that have a vote, of shape (n_experts, n_classes)."""
    return [e for e in range(len(votes)) if votes[e].sum() > 0.0]


def judgement(outputs, votes, memories, target, memory_weights):
    """The weight and the likelihood of each expert and null expert, and the likelihood of all; empty without a vote."""
    voters, n_classes, n_logits = voters_of(votes), votes.shape[1], memories.shape[1]
    if not voters:
        return {}, {}, 0.0
    scores = outputs[:n_logits].astype(float) + memory_weights.astype(float) @ memories
    everyone = voters + list(range(len(votes), n_logits))
    likelihood = {e: 0.98 * votes[e, target] + 0.02 / n_classes for e in voters}
    mean = sum(likelihood.values()) / len(voters)
    likelihood |= dict.fromkeys(range(len(votes), n_logits), mean)
    total = sum(math.exp(scores[e]) for e in everyone)
    prior = {e: math.exp(scores[e]) / total for e in everyone}
    return prior, likelihood, sum(prior[e] * likelihood[e] for e in everyone)


def moved_towards(value, memory, fading):
    """A faded memory after one more value."""
    return fading * memory + (1.0 - fading) * value


def hash_of(vector, number=None):
    key = int(keys_of(bits_of(vector), np.empty(len(vector) + 1, np.uint64)))
    return key if number is None else int(keyed(np.uint64(key), number))


def given_up(drawn, missed, keys):
    """Return the index of the sample that makes room, of samples in order: the oldest, or one at random."""
    if drawn % 65536 >= missed:
        return 0
    wanted = int(keyed(np.uint64(drawn), 0))
    return min(range(len(keys)), key=lambda i: (keys[i] ^ wanted, i))
