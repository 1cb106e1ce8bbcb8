"""Layers that rows may skip, and which layers of a transformer are worth it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn.linears import is_linear, like, widths
from driftmoe.nn.moe import MoELayer
from driftmoe.routing import Policy, Routing, TopK, WithNull, as_rule

SKIP = WithNull(TopK(1, renorm=False), n_null=1, renorm=False)
"""The module, or nothing: whichever has the larger logit."""


class _Skippable(nn.Module):
    """A module as the one expert of a layer, which sees only the rows that chose it; if residual, what it adds to them.

    By the name `adapted` `save_adapter` knows it for a part of the model, as it does a layer's shared expert.
    """

    n_experts = 1

    def __init__(self, adapted: nn.Module, is_residual: bool) -> None:
        super().__init__()
        self.adapted = adapted
        self.is_residual = is_residual

    def extra_repr(self) -> str:
        """Return the settings, which files of adapters keep."""
        return f"is_residual={self.is_residual}"

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the module's answers times their weights, shape (..., n_features), for x of the same shape."""
        plan, rows = routing.plan, x.reshape(-1, x.shape[-1])
        total = rows.new_zeros(rows.shape, dtype=torch.promote_types(rows.dtype, plan.weights.dtype))
        if len(plan.rows):
            chosen = rows[plan.rows]
            answers = self.adapted(chosen) - chosen if self.is_residual else self.adapted(chosen)
            total = total.index_add(0, plan.rows, (answers * plan.weights[:, None]).to(total.dtype))
        return total.to(x.dtype).view_as(x)


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
        A module that answers each row by itself, such as a feed-forward network. It is not copied. `inject` freezes it
        with the rest of the model, so that the router alone learns; without `inject` it learns if it did.
    n_experts
        1: for `inject`, which passes it on.
    policy
        A policy over the module and null experts. The module's weight must depend on the logits, or else the router
        would not learn: `WithNull(TopK(1), 1)` gives it 1.
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
        If `n_experts` is not 1, the policy is not over one expert and at least one null expert, the policy would not
        let the router learn, the module turns rows into others of another width, or it looks at other rows: rows that
        skip it would be missing there. Attention does, and batch normalisation while it is trained.
    TypeError
        If there is no linear layer in the module, by which its width is known.

    Notes
    -----
    The gradient of a row that takes the module says whether it should. A row that skips it has none, and comes back by
    what rows like it teach the router, or by the balance loss.

    How many rows take the module is only known when they come. So `torch.compile` works, but not with `fullgraph=True`.

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
    _check_has_no_batch_norm(module)
    rows = _rows_of(module)
    router = nn.Linear(rows.shape[-1], n_logits, bias=False, device=rows.device)
    nn.init.zeros_(router.weight)
    shared = nn.Identity() if is_residual else None
    return MoELayer(
        router,
        _Skippable(module, is_residual),
        policy,
        shared,
        scale=1.0 / _first_weight(policy, n_logits),
    )


def _first_weight(policy: Policy, n_logits: int) -> float:
    """Return the weight of the module at logits of 0; raise ValueError if the router could not learn from there."""
    with torch.enable_grad():
        logits = torch.zeros(1, n_logits, requires_grad=True)
        first = policy(logits).weights.sum()
        if not float(first.detach()) > 0.0:
            raise ValueError(
                f"skip_layer: policy={policy!r} skips every row of a router at zero, which could not learn"
            )
        gradient = torch.autograd.grad(first, logits)[0] if first.requires_grad else torch.zeros(())
    if not gradient.any():
        raise ValueError(
            f"skip_layer: policy={policy!r} gives the module the same weight whatever the logits are, so that the "
            "router could not learn; choose one without renorm, such as the default"
        )
    return float(first.detach())


def _check_has_no_batch_norm(module: nn.Module) -> None:
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        raise ValueError(
            f"skip_layer: there is batch normalisation in {type(module).__name__}, by which rows depend on each other "
            "while it is trained; name a module without"
        )


@torch.no_grad()
def _rows_of(module: nn.Module) -> Tensor:
    """Return rows of the width, type and device of a module, found by trying the widths of its linear layers.

    Raises
    ------
    TypeError
        If there is no linear layer.
    ValueError
        If no width gives rows of the same width, or a row alone is answered in another way than among others.
    """
    name, generator = type(module).__name__, torch.Generator().manual_seed(0)
    linears: dict[int, nn.Module] = {}
    for part in module.modules():
        if is_linear(part):
            linears.setdefault(widths(part)[0], part)
    if not linears:
        raise TypeError(f"skip_layer: there is no linear layer in {name}; name one that has some")
    were_training = {part: part.training for part in module.modules()}
    does_answer = False
    try:
        module.eval()
        for width, linear in linears.items():
            rows = torch.randn(3, width, generator=generator).to(like(linear))
            try:
                together: Any = module(rows)
            except (RuntimeError, ValueError, IndexError):  # not the width of the first layer
                continue
            does_answer = True
            if isinstance(together, Tensor) and together.shape == rows.shape:
                _check_is_apart(name, together[:1], module(rows[:1]))
                return rows
    finally:
        for part, was_training in were_training.items():
            part.training = was_training
    if does_answer:
        raise ValueError(
            f"skip_layer: {name} returns no tensor of the shape of its input; name a module that does"
        )
    raise ValueError(
        f"skip_layer: {name} takes no rows of shape (n_rows, n_features) with n_features of "
        f"{', '.join(map(str, sorted(linears)))}, the widths of its linear layers; name a module that does"
    )


def _check_is_apart(name: str, among_others: Tensor, alone: Tensor) -> None:
    if not torch.allclose(among_others.float(), alone.float(), rtol=1e-2, atol=1e-3):
        raise ValueError(
            f"skip_layer: {name} answers a row by what the others are, as attention does; name the feed-forward "
            "network alone"
        )


def attention_rank(attention: Tensor) -> float:
    """Return the mean rank of attention maps: where it is low, tokens read alike, and a layer may be skipped.

    Maps of a causal model are triangular, with a diagonal that is never 0, so that they are nearly always of full rank
    whatever the tokens read. It says something about models that look at all tokens.

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
