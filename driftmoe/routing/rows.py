"""Choice of experts for one row of logits, in Python floats. Each function has a twin for torch tensors.

Sums are taken in order, and exp and log are the library's own, so that the result is the same on every processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np

from driftmoe.routing.checks import REFUSED_LOGITS
from driftmoe.routing.entropy import Measure
from driftmoe.routing.masks import Score
from driftmoe.routing.result import Choice


@cache
def exact() -> ModuleType:
    """Return `driftmoe.arithmetic`, imported for the first row: layers of networks need neither it nor numba."""
    return import_module("driftmoe.arithmetic")


def in_order_sum(values: Iterable[float]) -> float:
    """Add up in order. Python's `sum` rounds differently from version 3.12 on."""
    total = 0.0
    for value in values:
        total += value
    return total


def checked_row(logits: np.ndarray) -> list[float]:
    """Return the logits of a row as a list, or raise ValueError if no expert can be chosen from them."""
    row = logits.tolist()
    if not -math.inf < max(row) or not sum(row) < math.inf:  # a NaN anywhere makes the sum NaN
        raise ValueError(REFUSED_LOGITS)
    return row


def sorted_row(row: Sequence[float]) -> list[int]:
    """Return the experts by descending value, without those out of service; of ties the lowest index comes first."""
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)  # stable, also in reverse
    while row[order[-1]] == -math.inf:
        order.pop()
    return order


def trust_row(row: list[float], order: list[int], measure: Measure) -> list[float]:
    """Return the probabilities that a policy measures, in the order given."""
    if measure == "softmax":
        top = row[order[0]]
        scores = [exact().exp(row[i] - top) for i in order]
        total = in_order_sum(scores)
        return [score / total for score in scores]
    first, nobody = [], 1.0
    for i in order:
        belief = sigmoid(row[i])
        first.append(nobody * belief)
        nobody *= 1.0 - belief
    return [pi + nobody / len(order) for pi in first]


def count_top_p_row(trust: list[float], p: float, min_k: int, max_k: int | None, inclusive: bool) -> int:
    """Return how many experts a row takes of probabilities in descending order; the twin of `count_top_p`."""
    k, collected = 0, 0.0
    for probability in trust:
        collected += probability
        if p < 1.0 and (collected > p or (inclusive and collected == p)):
            k += inclusive
            break
        k += 1
    n = len(trust)
    return min(max(k, min_k), max_k or n, n)


def tsallis_row(probs: list[float], q: float) -> float:
    """Return the normalised Tsallis entropy of probabilities."""
    if len(probs) == 1:
        return 0.0
    log_n, a = exact().log(len(probs)), q - 1.0
    if a == 0.0:
        return -in_order_sum(p * exact().log(p) for p in probs if p > 0.0) / log_n
    entropy = in_order_sum(p * exact().expm1(a * exact().log(p)) for p in probs if p > 0.0)
    return min(entropy / exact().expm1(-a * log_n), 1.0)


def softmax_choice(row: list[float], chosen: Sequence[int], renorm: bool) -> Choice:
    """Weigh the chosen experts by the softmax of the logits."""
    top = max([row[i] for i in chosen], default=0.0) if renorm else max(row)
    scores = [exact().exp(row[i] - top) for i in chosen]
    total = in_order_sum(scores if renorm else [exact().exp(z - top) for z in row])
    return _weighted(len(row), chosen, scores, total)


def scored_choice(row: list[float], chosen: Sequence[int], renorm: bool, score: Score) -> Choice:
    """Weigh the chosen experts, the one with the largest logit first, by the given score."""
    if score == "softmax":
        return softmax_choice(row, chosen, renorm)
    if not renorm:
        return _weighted(len(row), chosen, [sigmoid(row[i]) for i in chosen], 1.0)
    top = row[chosen[0]]  # sigmoid(z) / sigmoid(top), which does not underflow
    scores = [exact().exp(row[i] - top) * sigmoid(-row[i]) / sigmoid(-top) for i in chosen]
    return _weighted(len(row), chosen, scores, in_order_sum(scores))


def sigmoid(z: float) -> float:
    """Return 1 / (1 + exp(-z)) without overflow."""
    if z >= 0.0:
        return 1.0 / (1.0 + exact().exp(-z))
    return (e := exact().exp(z)) / (1.0 + e)


def log_sigmoid(z: float) -> float:
    """Return ln(1 / (1 + exp(-z))) without overflow."""
    return min(z, 0.0) - exact().log1p(exact().exp(-abs(z)))


def score_row(row: list[float], score: Score) -> list[float]:
    """Return the score of each expert."""
    if score == "sigmoid":
        return [sigmoid(z) for z in row]
    top = max(row)
    scores = [exact().exp(z - top) for z in row]
    total = in_order_sum(scores)
    return [value / total for value in scores]


def _weighted(n_experts: int, chosen: Sequence[int], scores: Sequence[float], total: float) -> Choice:
    weights = np.zeros(n_experts)
    mask = np.zeros(n_experts, dtype=bool)
    for i, score in zip(chosen, scores, strict=True):
        weights[i] = score / total
        mask[i] = True
    return Choice(weights, mask)
