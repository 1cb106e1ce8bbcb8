"""Layers that rows may skip, and which layers of a transformer are worth it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn.linears import is_linear, like, widths
from driftmoe.nn.mixed import MixedExperts
from driftmoe.nn.moe import MoELayer
from driftmoe.routing import Policy, TopK, WithNull, as_rule

SKIP = WithNull(TopK(1, renorm=False), n_null=1, renorm=False)
"""The module, or nothing: whichever has the larger logit."""


class _Change(nn.Module):
    """What a module adds to its input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return the change."""
        change: Tensor = self.module(x) - x
        return change


def skip_layer(
    module: nn.Module,
    *,
    n_experts: int = 1,
    policy: Policy = SKIP,
    is_residual: bool = False,
    seed: int | None = None,
) -> MoELayer:
    """Let rows skip a module: a router decides for each, and rows that skip it cost nothing.

    At first every row takes the module and the output is unchanged: the router begins at zero, and the module's
    weight, twice its probability, at 1.

    Parameters
    ----------
    module
        A module that answers each row by itself, such as a feed-forward network. It is not copied, and learns if it
        did.
    n_experts
        1: for `inject`, which passes it on.
    policy
        A policy over the module and null experts.
    is_residual
        Whether the module adds its input to what it computes. Rows that skip it then keep their input; otherwise they
        get zeros, to which the model around it adds the input.
    seed
        Not used; for `inject`.

    Returns
    -------
    layer
        The layer, for `inject` or by itself. `routing.null_share` says how many rows skip the module, and
        `losses["load_balance"]` holds on to a share of half.

    Raises
    ------
    ValueError
        If `n_experts` is not 1, the policy is not over one expert and at least one null expert, or the module looks at
        other rows, as attention does: rows that skip it would be missing there.
    TypeError
        If there is no linear layer in the module, by which its width is known.

    Notes
    -----
    The gradient of a row that takes the module says whether it should. A row that skips it has none, and comes back by
    what rows like it teach the router, or by the balance loss.

    References
    ----------
    γ-MoD, Luo et al. 2024 (arXiv 2410.13859), sec. 3.2. Mixture-of-Depths, Raposo et al. 2024 (arXiv 2404.02258), eq.
    1. Both skip whole blocks, with their attention.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import skip_layer
    >>> ffn, x = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)), torch.randn(5, 4)
    >>> layer = skip_layer(ffn)
    >>> torch.allclose(layer(x).output, ffn(x), atol=1e-6)
    True
    >>> _ = torch.nn.init.constant_(layer.router.weight[1], 9.0)  # rows with a positive sum skip it
    >>> layer(torch.ones(2, 4)).output.abs().sum().item()
    0.0
    """
    if n_experts != 1:
        raise ValueError(f"skip_layer: n_experts={n_experts}; the module is the only one, so give 1")
    rule = as_rule(policy)
    n_logits = rule.n_logits(1)
    if rule.n_null < 1 or rule.n_shared or n_logits != 1 + rule.n_null:
        raise ValueError(f"skip_layer: policy={policy!r} lets no row skip the module; wrap it in WithNull")
    linear = next((part for part in module.modules() if is_linear(part)), None)
    if linear is None:
        raise TypeError(
            f"skip_layer: there is no linear layer in {type(module).__name__}; name one that has some"
        )
    width, tensor = widths(linear)[0], like(linear)
    _check_rows_are_apart(
        module, torch.randn(3, width, generator=torch.Generator().manual_seed(0)).to(tensor)
    )
    router = nn.Linear(width, n_logits, bias=False, device=tensor.device)
    nn.init.zeros_(router.weight)
    first = policy(torch.zeros(1, n_logits)).weights
    if not float(first.detach()) > 0.0:
        raise ValueError(
            f"skip_layer: policy={policy!r} skips every row of a router at zero, which could not learn"
        )
    shared = nn.Identity() if is_residual else None
    scale = 1.0 / float(first.detach())
    expert = _Change(module) if is_residual else module
    return MoELayer(router, MixedExperts([expert]), policy, shared, scale=scale)


@torch.no_grad()
def _check_rows_are_apart(module: nn.Module, rows: Tensor) -> None:
    """Raise ValueError if a row alone is answered in another way than among others."""
    were_training = {part: part.training for part in module.modules()}
    try:
        module.eval()
        together: Any = module(rows)
        alone: Any = module(rows[:1])
    finally:
        for part, was_training in were_training.items():
            part.training = was_training
    if not isinstance(together, Tensor) or together.shape != rows.shape:
        raise ValueError(
            f"skip_layer: {type(module).__name__} returns no tensor of the shape of its input; name a module that does"
        )
    if not torch.allclose(together[:1].float(), alone.float(), rtol=1e-2, atol=1e-3):
        raise ValueError(
            f"skip_layer: {type(module).__name__} answers a row by what the others are, as attention does; name the "
            "feed-forward network alone"
        )


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
