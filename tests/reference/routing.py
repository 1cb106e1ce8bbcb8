"""Twins of entropies and policies: `driftmoe/routing/`."""

from __future__ import annotations

import numpy as np


def entropy_by_definition(p, q):
    """The textbook sum, in float64, for q away from 1 or equal to it."""
    p = np.asarray(p, dtype=np.float64)
    p = p[p > 0.0]
    return -(p * np.log(p)).sum() if q == 1.0 else (1.0 - (p**q).sum()) / (q - 1.0)


def dynmole_by_the_rule(logits, q=1.1, threshold=0.9, p=0.75, min_k=2):
    """DynMoLE's hybrid rule as its code states it, for one row: what is kept, and the weights."""
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    order = np.argsort(-probs, kind="stable")
    keep = np.cumsum(probs[order]) <= p
    keep[:min_k] = True
    mask = np.zeros(len(probs), dtype=bool)
    mask[order[keep]] = True
    uniform = np.full(len(probs), 1.0 / len(probs))
    if entropy_by_definition(probs, q) / entropy_by_definition(uniform, q) > threshold:
        mask[:] = True
    return mask, probs * mask


def deepseek_by_the_rule(scores, k, n_groups, n_kept, best):
    """Group-limited top-k with plain loops, for one row: the chosen experts in order."""
    size = len(scores) // n_groups
    groups = [scores[g * size : (g + 1) * size] for g in range(n_groups)]
    totals = [sum(sorted(group, reverse=True)[:best]) for group in groups]
    kept = sorted(range(n_groups), key=lambda g: -totals[g])[:n_kept]
    allowed = [i for i in range(len(scores)) if i // size in kept]
    return sorted(sorted(allowed, key=lambda i: -scores[i])[:k])
