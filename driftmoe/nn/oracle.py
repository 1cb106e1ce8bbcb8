"""Which experts would have been best for each row, and what the router loses by not choosing them (Duo-LLM)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from driftmoe.nn.moe import MoELayer
from driftmoe.routing import Policy, Routing, as_rule
from driftmoe.routing.masks import weights_within
from driftmoe.routing.wrappers import Over

MOST_SUBSETS = 512
"""More sets of experts than this are not tried one by one."""


@dataclass(frozen=True, eq=False)
class Oracle:
    """The best experts of each row, judged with the true answer at hand.

    Attributes
    ----------
    best
        The set of experts with the least loss, bool, shape (..., n_experts).
    loss
        Its loss, shape (...).
    own
        The loss of the layer with its own routing, shape (...).
    losses
        The loss of each expert alone with weight 1, then for each null expert that of no expert at all, shape (...,
        n_experts + n_null): what `oracle_loss` teaches a router. +inf where an expert is out of service.
    is_exact
        Whether all sets were tried. If not, experts were added one at a time (greedily), and the true oracle may be
        better.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, oracle
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> found = oracle(layer, torch.randn(5, 8), lambda output: output.square().mean(-1), k=2)
    >>> found.best.shape, bool((found.gap >= 0.0).all()), found.is_exact
    (torch.Size([5, 4]), True, True)
    """

    best: Tensor
    loss: Tensor
    own: Tensor
    losses: Tensor
    is_exact: bool

    @property
    def gap(self) -> Tensor:
        """How much less the oracle loses than the layer's own routing, shape (...).

        0 or more, except where the layer uses more experts for a row than the oracle may.
        """
        return self.own - self.loss


def oracle(layer: MoELayer, x: Tensor, loss: Callable[[Tensor], Tensor], k: int = 1) -> Oracle:
    """Find the at most `k` experts that would have been best for each row.

    Parameters
    ----------
    layer
        A layer whose experts add up, as those of this package do. The weights of a set are the scores of its router,
        divided by their sum over the set unless the policy has `renorm=False`. So no choice of up to `k` experts by
        `TopK` loses less. The layer's own choice with its own weights, whatever they are, is tried, too, where it has
        up to `k` experts. If the policy has null experts, a set may be empty.
    x
        Shape (..., n_features).
    loss
        Turns outputs of the layer, shape (..., n_out), into the loss of each row, shape (...). Rows must not mix in it.
    k
        Budget: most experts of a row.

    Returns
    -------
    oracle
        Without gradients. Exact if there are at most 512 sets of up to `k` experts, else found greedily.

    Raises
    ------
    ValueError
        If `k` is out of range, the policy has shared experts, or `loss` gives no finite number for each row.

    Notes
    -----
    Each expert computes each row once; `loss` is called once for each set, or about k · n_experts times if greedy.

    References
    ----------
    Duo-LLM, Alizadeh et al. 2024 (arXiv 2410.10846): the oracle of routing patterns at a budget.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import oracle_loss
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, oracle
    >>> from driftmoe.routing import TopK
    >>> router = torch.nn.Linear(8, 4)
    >>> layer, x = MoELayer(router, FeedForwardExperts(4, 8, 16), TopK(1)), torch.randn(5, 8)
    >>> found = oracle(layer, x, lambda output: output.square().mean(-1))
    >>> oracle_loss(router(x), found.losses, tau=0.1).backward()  # teaches the router alone
    """
    rule = as_rule(layer.policy)
    n: Any = layer.experts.n_experts
    if rule.n_shared:
        raise ValueError(
            f"oracle: policy={layer.policy!r} has shared experts, which are no choice; give them as shared_expert"
        )
    if not 1 <= k <= n:
        raise ValueError(f"oracle: k={k} of {n} experts; choose 1 <= k <= {n}")
    with torch.no_grad():
        result = layer(x)
        logits = result.routing.logits
        alone = _alone(layer, x, logits[..., :n])  # (n_experts, ..., n_out)
        fixed = 0.0 if layer.shared_expert is None else layer.shared_expert(x)
        renorm, n_null = _renorm(layer.policy), logits.shape[-1] - n

        def loss_of(weights: Tensor) -> Tensor:
            mixed = torch.einsum("...e,e...o->...o", weights.to(alone.dtype), alone)
            return _checked(loss(fixed + layer.scale * mixed), weights)

        def judged(mask: Tensor) -> Tensor:
            weights = weights_within(logits, F.pad(mask, (0, n_null)), renorm, rule.score)[..., :n]
            return loss_of(weights.nan_to_num(0.0))  # NaN: all of the set are out of service

        nobody = torch.zeros_like(result.routing.mask)
        singles = [nobody.clone() for _ in range(n)]
        for e, mask in enumerate(singles):
            mask[..., e] = True
        in_service = logits > -torch.inf
        losses = [loss_of(mask.to(logits.dtype)) for mask in singles]
        own = loss_of(result.routing.weights)
        least = loss_of(nobody.to(logits.dtype)) if n_null else torch.full_like(own, torch.inf)
        losses += n_null * [least]
        of_each = torch.stack(losses, -1).masked_fill(~in_service, torch.inf)
        is_exact = sum(math.comb(n, size) for size in range(1, k + 1)) <= MOST_SUBSETS
        search = _exhaustive if is_exact else _greedy
        best, least = search(singles, k, in_service[..., :n], judged, nobody, least)
        wins = (result.routing.n_used <= k) & (own < least)  # other weights than those that were tried
        best = torch.where(wins[..., None], result.routing.mask, best)
        least = torch.where(wins, own, least)
    return Oracle(best, least, own, of_each, is_exact)


def _renorm(policy: Policy) -> bool:
    """Return whether a policy, or the one inside it, divides weights by their sum."""
    while isinstance(policy, Over):
        policy = policy.policy
    return bool(getattr(policy, "renorm", True))


Judge = Callable[[Tensor], Tensor]


def _alone(layer: MoELayer, x: Tensor, logits: Tensor) -> Tensor:
    """Return what each expert answers with weight 1, shape (n_experts, ..., n_out)."""
    answers = []
    for e in range(logits.shape[-1]):
        mask = torch.zeros_like(logits, dtype=torch.bool)
        mask[..., e] = True
        answers.append(layer.experts(x, Routing(mask.to(logits.dtype), mask, logits, at_most=1)))
    return torch.stack(answers)


def _checked(losses: Tensor, weights: Tensor) -> Tensor:
    if losses.shape != weights.shape[:-1]:
        raise ValueError(
            f"oracle: loss returned the shape {tuple(losses.shape)} for rows of shape {tuple(weights.shape[:-1])}; "
            "return one number for each row"
        )
    if not losses.isfinite().all():
        raise ValueError(
            "oracle: loss returned NaN or infinities; return finite numbers, and give finite rows"
        )
    return losses


def _exhaustive(
    singles: list[Tensor], k: int, in_service: Tensor, judged: Judge, best: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """Try all sets of up to k experts."""
    for size in range(1, k + 1):
        for chosen in combinations(singles, size):
            best, least = _better(torch.stack(chosen).any(0), in_service, judged, best, least)
    return best, least


def _greedy(
    singles: list[Tensor], k: int, in_service: Tensor, judged: Judge, best: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """Add the expert that helps most, k times; a row that none helps stays as it is."""
    for _ in range(k):
        before = best
        for single in singles:
            best, least = _better(before | single, in_service, judged, best, least)
    return best, least


def _better(
    mask: Tensor, in_service: Tensor, judged: Judge, best: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """Take a set where it is better and all of its experts are in service; of ties the first stays."""
    of_set = judged(mask)
    wins = ~(mask & ~in_service).any(-1) & (of_set < least)
    return torch.where(wins[..., None], mask, best), torch.where(wins, of_set, least)
