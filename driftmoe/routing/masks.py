"""Masks of the chosen experts as torch tensors, and the weights of the chosen experts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from driftmoe.routing.checks import check_k
from driftmoe.routing.entropy import Measure, checked_logits, first_right_of_sorted, sorted_logits

Score = Literal["softmax", "sigmoid"]
"""What the weights of experts are made of: the softmax of the logits, or their sigmoid."""


def top_k_mask(scores: Tensor, k: int) -> Tensor:
    """Mark the `k` largest scores of each row; of equal scores the lowest index wins.

    Parameters
    ----------
    scores
        Shape (..., n). A score of -inf is never chosen, so a row may have fewer than `k`.
    k
        1 <= k <= n.

    Returns
    -------
    mask
        bool, same shape.

    Raises
    ------
    ValueError
        If k is out of range.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import top_k_mask
    >>> top_k_mask(torch.tensor([1.0, 3.0, 3.0, 2.0]), 1).tolist()
    [False, True, False, False]
    """
    n = scores.shape[-1]
    check_k(k, n)
    # torch.topk breaks ties in any order, so its values are taken, not its indices. A stable sort costs more.
    top = scores.topk(min(k + 1, n), dim=-1).values
    if k < n and scores.device.type == "cpu" and not torch.compiler.is_compiling():
        above = scores > top[..., k:]  # at most k in a row, and fewer only where there are ties
        if above.sum().item() * n == k * scores.numel():
            return above
    smallest = top[..., k - 1 : k]
    above = scores > smallest
    level = scores == smallest
    left = k - above.sum(-1, keepdim=True)
    return (above | (level & (level.cumsum(-1) <= left))) & (scores > -torch.inf)


def top_p_mask(
    logits: Tensor,
    p: float,
    *,
    min_k: int = 1,
    max_k: int | None = None,
    inclusive: bool = True,
    measure: Measure = "softmax",
) -> Tensor:
    """Mark in each row the fewest experts, most trusted first, whose probabilities add up to `p`.

    Parameters
    ----------
    logits
        Shape (..., n_experts); -inf is never chosen.
    p
        Probability to collect, in [0, 1]. 1 takes every expert, even if rounding collects all of it earlier.
    min_k, max_k
        Fewest and most experts of a row. A number larger than that of the experts means all. By default `max_k` sets
        no limit.
    inclusive
        Whether the expert with which the sum first reaches `p` is kept. If not, the sum stays at or below `p`.
    measure
        Distribution over experts that is summed up: the softmax of the logits or `first_right` of them.

    Returns
    -------
    mask
        bool, same shape. The mask of a smaller `p` is part of the mask of a larger one.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import top_p_mask
    >>> top_p_mask(torch.tensor([0.2, 0.5, 0.3]), 0.7).tolist()
    [False, True, True]
    """
    logits = checked_logits(logits)
    belief, order = sorted_logits(logits.detach())
    trust = belief.softmax(-1) if measure == "softmax" else first_right_of_sorted(belief).exp()
    return mask_first(order, count_top_p(trust, p, min_k, max_k, inclusive), logits)


def count_top_p(trust: Tensor, p: float, min_k: int, max_k: int | None, inclusive: bool) -> Tensor:
    """Return how many experts each row takes, shape (..., 1), of probabilities in descending order."""
    n = trust.shape[-1]
    collected = trust.cumsum(-1)
    if p >= 1.0:
        k = torch.full_like(collected[..., :1], n, dtype=torch.int64)
    elif inclusive:
        k = 1 + (collected < p).sum(-1, keepdim=True)
    else:
        k = (collected <= p).sum(-1, keepdim=True)
    return k.clamp(min(min_k, n), max_k)


def mask_first(order: Tensor, k: Tensor, logits: Tensor) -> Tensor:
    """Mark the first `k` experts of each row's order, without those out of service."""
    place = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, place < k) & (logits > -torch.inf)


def weights_within(logits: Tensor, mask: Tensor, renorm: bool, score: Score = "softmax") -> Tensor:
    """Return the scores of the chosen experts, at least one per row. With `renorm` they sum to 1."""
    if not renorm:
        return _scores(logits, score) * mask
    # A softmax over the logarithms of scores is scores over their sum, without a division by something tiny.
    log_scores = nn.functional.logsigmoid(logits) if score == "sigmoid" else logits
    return log_scores.masked_fill(~mask, -torch.inf).softmax(-1)


def biased_scores(logits: Tensor, score: Score, bias: Tensor | float) -> Tensor:
    """Return score + bias, by which experts are chosen: without gradient, -inf for experts out of service."""
    logits = logits.detach()
    return (_scores(logits, score) + bias).masked_fill(logits == -torch.inf, -torch.inf)


def _scores(logits: Tensor, score: Score) -> Tensor:
    # torch.sigmoid rounds an element differently by its place in the batch, the logarithm's exp does not.
    return nn.functional.logsigmoid(logits).exp() if score == "sigmoid" else logits.softmax(-1)
