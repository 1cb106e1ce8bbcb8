"""Experts of several sizes (Duo-LLM), and a block that rows may skip (γ-MoD)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from driftmoe.nn.linears import is_linear, matrix, widths
from driftmoe.nn.moe import MoELayer
from driftmoe.routing import Policy, Routing, TopK, WithNull, as_rule


class MixedExperts(nn.Module):
    """Experts that are any modules: networks of several sizes, or nothing at all.

    Parameters
    ----------
    experts
        Modules that turn rows, (n_rows, n_features), into rows of the same width. `None` is an expert that answers 0:
        with a residual connection around the layer, its rows skip the layer.

    Notes
    -----
    A loop over the experts, each of which sees the rows that chose it. For experts of one size `FeedForwardExperts` is
    faster.

    References
    ----------
    Duo-LLM, Alizadeh et al. 2024 (arXiv 2410.10846): a small and a large network beside a skip.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from driftmoe.nn import MixedExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> wide = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8))
    >>> narrow = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
    >>> layer = MoELayer(nn.Linear(8, 3), MixedExperts([wide, narrow, None]), TopK(1))
    >>> layer(torch.randn(2, 5, 8)).output.shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, experts: Sequence[nn.Module | None]) -> None:
        super().__init__()
        if not experts:
            raise ValueError("MixedExperts: no experts; give one module or None at least")
        self.experts = nn.ModuleList(nn.Identity() if expert is None else expert for expert in experts)
        self.skips = tuple(expert is None for expert in experts)

    @property
    def n_experts(self) -> int:
        """Number of experts, those that answer 0 included."""
        return len(self.skips)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, shape (..., n_features), for x of the same shape."""
        plan, rows = routing.plan, x.reshape(-1, x.shape[-1])
        total = rows.new_zeros(rows.shape, dtype=torch.promote_types(rows.dtype, plan.weights.dtype))
        for e, (start, end) in enumerate(pairwise(plan.offsets.tolist())):
            if start < end and not self.skips[e]:
                places = plan.rows[start:end]
                lines = self.experts[e](rows[places]) * plan.weights[start:end, None]
                total = total.index_add(0, places, lines.to(total.dtype))
        return total.to(x.dtype).view_as(x)


def skip_layer(
    block: nn.Module,
    *,
    n_experts: int = 1,
    policy: Policy | None = None,
    opening: float = 4.0,
    seed: int | None = None,
) -> MoELayer:
    """Make a block one that rows may skip: the block is the one true expert beside a null expert.

    Parameters
    ----------
    block
        A module that turns rows into rows of the same width, each by itself, with a residual connection around it: a
        feed-forward network. A row that skips it gets 0.
    n_experts
        Must be 1; `inject` passes it.
    policy
        A policy over one expert and null experts. By default it is
        `WithNull(TopK(1, renorm=False), n_null=1, renorm=False)`, where the weight of the block is its probability, so
        that the router learns.
    opening
        Logit of the block at first, beside 0 for skipping. With 4 all rows use the block, with weight 0.98.
    seed
        Seed of the router's weights, which are small at first; `None` for new random weights each time.

    Raises
    ------
    ValueError
        If there is more than one expert, or the policy has no null experts.

    References
    ----------
    γ-MoD, Luo et al. 2024 (arXiv 2410.13859): layers of low attention rank are skipped by most tokens; see
    `attention_rank`. There whole blocks with attention are skipped, and a share of rows is set.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import inject, skip_layer
    >>> ffn = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    >>> model = torch.nn.ModuleDict({"ffn": ffn})
    >>> layer = inject(model, "ffn", skip_layer, n_experts=1)["ffn"]
    >>> layer(torch.randn(5, 8)).routing.mask.shape
    torch.Size([5, 1])
    """
    if policy is None:
        policy = WithNull(TopK(1, renorm=False), n_null=1, renorm=False)
    n_null = as_rule(policy).n_null
    if n_experts != 1 or not n_null:
        raise ValueError(
            f"skip_layer: n_experts={n_experts}, policy={policy!r}; give one expert, and a policy with null experts, "
            "such as WithNull(TopK(1, renorm=False), n_null=1, renorm=False)"
        )
    first = next((module for module in block.modules() if is_linear(module)), None)
    if first is None:
        raise ValueError(
            f"skip_layer: {type(block).__name__} has no linear layer, so its width is unknown; give a feed-forward "
            "network"
        )
    generator = torch.Generator()
    _ = generator.seed() if seed is None else generator.manual_seed(seed)
    router = nn.utils.skip_init(nn.Linear, widths(first)[0], 1 + n_null, device=matrix(first).device)
    with torch.no_grad():
        router.weight.copy_(0.01 * torch.randn(router.weight.shape, generator=generator))
        router.bias.zero_()
        router.bias[0] = opening
    return MoELayer(router, MixedExperts([block]), policy)


def attention_rank(attention: Tensor) -> float:
    """Return the mean rank of attention maps: where it is low, tokens read alike, and a layer may be skipped.

    Parameters
    ----------
    attention
        Weights of one layer, shape (..., n_queries, n_keys), such as one of `output_attentions=True` in transformers.

    Returns
    -------
    rank
        The mean over samples and heads, from 1 to the number of tokens.

    References
    ----------
    γ-MoD, Luo et al. 2024 (arXiv 2410.13859): ARank, by which layers are chosen.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import attention_rank
    >>> attention_rank(torch.full((2, 4, 4), 0.25)), attention_rank(torch.eye(4))
    (1.0, 4.0)
    """
    if attention.dim() < 2 or not attention.numel():
        raise ValueError(
            f"attention_rank: the shape {tuple(attention.shape)}; give maps of shape (..., n_queries, n_keys)"
        )
    return torch.linalg.matrix_rank(attention.detach().float()).double().mean().item()
