"""Layers that rows may skip, and which layers of a transformer are worth it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn.linears import is_linear, like, widths
from driftmoe.nn.moe import MoELayer
from driftmoe.routing import Policy, Routing, TopK, WithNull, as_rule

SKIP = WithNull(TopK(1, renorm=False), n_null=1, renorm=False)
"""The module, or nothing: whichever has the larger logit."""


class _One(nn.Module):
    """A module as the only expert."""

    n_experts = 1

    def __init__(self, module: nn.Module, *, is_residual: bool) -> None:
        super().__init__()
        self.module, self.is_residual = module, is_residual

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return what the module says of the rows that chose it, times their weights, and zeros for the others."""
        rows, chosen = x.reshape(-1, x.shape[-1]), routing.mask.reshape(-1).nonzero()[:, 0]
        lines = self.module(rows[chosen])
        if self.is_residual:
            lines = lines - rows[chosen]
        weights = routing.weights.reshape(-1)[chosen].to(lines.dtype)
        output = rows.new_zeros(len(rows), lines.shape[-1], dtype=lines.dtype)
        return output.index_copy(0, chosen, lines * weights[:, None]).unflatten(0, x.shape[:-1])


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
    return MoELayer(router, _One(module, is_residual=is_residual), policy, shared, scale=scale)


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


@torch.no_grad()
def attention_ranks(attentions: Iterable[Tensor], *, tolerance: float = 1e-3) -> list[float]:
    """Return the mean rank of each layer's attention maps: where it is low, layers do little, and rows may skip them.

    Parameters
    ----------
    attentions
        For each layer the maps, shape (..., length, length), as `model(..., output_attentions=True).attentions` gives
        them. Maps with padding have a lower rank.
    tolerance
        Singular values below this share of the largest one count as 0.

    Returns
    -------
    ranks
        One number for each layer, from 1 to length.

    Raises
    ------
    ValueError
        If a map is not square.

    References
    ----------
    γ-MoD, Luo et al. 2024 (arXiv 2410.13859), eq. 5: ARank, the mean over heads and samples.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import attention_ranks
    >>> attention_ranks([torch.full((2, 4, 4), 0.25), torch.eye(4)])  # all alike, and each to itself
    [1.0, 4.0]
    """
    ranks = []
    for maps in attentions:
        if maps.dim() < 2 or maps.shape[-1] != maps.shape[-2]:
            raise ValueError(
                f"attention_ranks: maps of shape {tuple(maps.shape)}; give (..., length, length)"
            )
        ranks.append(float(torch.linalg.matrix_rank(maps.float(), rtol=tolerance).float().mean()))
    return ranks
