"""Experts that are parts of one dense network or layer, so that all of them together are it; and CorDA's start."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.nn.dispatch import collect, expert_linear
from driftmoe.nn.experts import upcycle
from driftmoe.nn.linears import matrix, widths
from driftmoe.nn.lora import Unweighted
from driftmoe.nn.moe import MoELayer, make_router
from driftmoe.routing import Policy, Routing, TopK, as_rule
from driftmoe.routing.checks import check_count


def factorize(
    ffn: nn.Module,
    *,
    n_experts: int,
    policy: Policy | None = None,
    router: Literal["linear", "random"] = "linear",
    seed: int | None = None,
) -> MoELayer:
    """Cut a dense feed-forward network into experts: each has a part of the hidden units, and their sum is the network.

    The network's output bias is added once to each row, whatever parts it chose, as the layer's shared expert. It is
    frozen; the parts have output biases of their own, zeros at first.

    Parameters
    ----------
    ffn
        The network, as in `upcycle`.
    n_experts
        Number of parts, a divisor of the number of hidden units. Units stay in order.
    policy
        Any policy whose chosen experts have weight 1; default `Unweighted(TopK(n_experts // 2))`, at least one.
    router, seed
        As in `upcycled_layer`.

    Returns
    -------
    layer
        For `inject`. If all parts are chosen with weight 1, its output is the network's. `prior_loss` teaches the
        router which parts matter for a row.

    Raises
    ------
    ValueError
        If `ffn` is no such network, `n_experts` no divisor, or the policy has other weights than 1.

    References
    ----------
    FactorLLM, Zhao et al. 2024 (arXiv 2408.11855).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import Unweighted, factorize
    >>> from driftmoe.routing import TopK
    >>> ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> layer, x = factorize(ffn, n_experts=4, policy=Unweighted(TopK(4))), torch.randn(5, 4)
    >>> torch.allclose(layer(x).output, ffn(x), atol=1e-6)
    True
    """
    chosen = Unweighted(TopK(max(1, n_experts // 2))) if policy is None else policy
    whole = upcycle(ffn, 1)
    bias = None if whole.b_out is None else _Bias(whole.b_out[0])
    experts = whole.split(n_experts)
    if experts.b_out is not None:
        nn.init.zeros_(experts.b_out)
    _check_weights(chosen, n_experts)
    return MoELayer(make_router(router, experts.w_in.mT, n_experts, chosen, seed), experts, chosen, bias)


class _Bias(nn.Module):
    """A frozen bias as a shared expert."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the bias for each row, shape (..., n_features)."""
        return self.bias.expand(*x.shape[:-1], -1)


def _check_weights(policy: Policy, n_experts: int) -> None:
    """Raise ValueError if a policy gives chosen experts other weights than 1, as tried on random logits."""
    n_logits = as_rule(policy).n_logits(n_experts)
    routing = policy(torch.randn(64, n_logits, generator=torch.Generator().manual_seed(0)))
    if not bool(torch.isclose(routing.weights, routing.mask.to(routing.weights.dtype)).all()):
        raise ValueError(
            f"factorize: policy={policy!r} gives parts weights other than 1, so that the chosen ones would not sum to "
            "what they are of the network; choose Unweighted of it"
        )


def prior_loss(logits: Tensor, layer: MoELayer, x: Tensor, *, k: int = 1) -> Tensor:
    """Cross-entropy of a router with the parts of a network that say on their own what is nearest to the whole.

    Parameters
    ----------
    logits
        The router's, shape (..., n_experts), such as `layer(x).routing.logits`.
    layer
        A layer of parts, as `factorize` makes it.
    x
        Rows, shape (..., n_features).
    k
        How many of the nearest parts are right; each is to get the probability 1 / k.

    Returns
    -------
    loss
        Scalar, in nats. Its gradient reaches the logits alone. Costs one pass through all parts.

    References
    ----------
    FactorLLM, Zhao et al. 2024 (arXiv 2408.11855): the prior-approximate loss, whose labels come from the network.
    Its formula could not be read: squared distance to the network's output and equal shares of k are ours.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import factorize, prior_loss
    >>> ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> layer, x = factorize(ffn, n_experts=4), torch.randn(5, 4)
    >>> prior_loss(layer(x).routing.logits, layer, x).shape
    torch.Size([])
    """
    n = logits.shape[-1]
    if n != layer.experts.n_experts or not 1 <= k <= n:
        raise ValueError(
            f"prior_loss: k={k}, {n} logits and {layer.experts.n_experts} experts; give a logit for each expert, and "
            "choose 1 <= k <= their number"
        )
    with torch.no_grad():
        rows = x.flatten(0, -2)
        one = torch.ones(len(rows), 1, device=x.device)
        said = []
        for e in range(n):
            weights = F.pad(one, (e, n - 1 - e))
            said.append(layer.experts(rows, Routing(weights, weights > 0.0, weights, at_most=1)))
        parts = torch.stack(said, 1)  # (n_rows, n, n_features)
        distance = (parts - parts.sum(1, keepdim=True)).square().sum(-1)
        nearest = distance.sort(dim=-1, stable=True).indices[:, :k]
    log_p = logits.reshape(-1, n).log_softmax(-1)
    of_nearest = log_p.gather(-1, nearest)
    return -of_nearest.sum() / max(of_nearest.numel(), 1)


class ColumnExperts(nn.Module):
    """Groups of inputs of a linear layer as experts: y = b + sum_e w_e x_e W_e, where x_e are the inputs of group e.

    For the output projection of an attention layer, whose inputs are those of its heads one after the other, an expert
    is a group of heads. With all experts at weight 1 the output is that of the layer; k of n cost k / n.

    Parameters
    ----------
    linear
        The layer, which is copied.
    n_experts
        Number of groups, a divisor of the number of inputs; for groups of heads, of the number of heads.

    Attributes
    ----------
    weight
        Shape (n_experts, n_in / n_experts, n_out).
    bias
        Shape (n_out,), or `None`. It is added to all rows that count, also to those that chose null experts alone.

    References
    ----------
    Union of Experts, Yang et al. 2025 (arXiv 2503.02495): experts are the parts of a dense layer.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import ColumnExperts, MoELayer, Unweighted
    >>> from driftmoe.routing import TopK
    >>> linear, x = torch.nn.Linear(12, 6), torch.randn(5, 12)
    >>> layer = MoELayer(torch.nn.Linear(12, 4), ColumnExperts(linear, 4), Unweighted(TopK(4)))
    >>> torch.allclose(layer(x).output, linear(x), atol=1e-6)
    True
    """

    def __init__(self, linear: nn.Module, n_experts: int) -> None:
        super().__init__()
        n_in, _ = widths(linear)
        check_count("ColumnExperts: n_experts", n_experts)
        if n_in % n_experts:
            raise ValueError(
                f"ColumnExperts: n_experts={n_experts} of {n_in} inputs; choose a divisor of their number"
            )
        whole = matrix(linear).detach().clone()  # (n_in, n_out)
        self.weight = nn.Parameter(whole.unflatten(0, (n_experts, -1)).contiguous())
        bias = getattr(linear, "bias", None)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @property
    def n_experts(self) -> int:
        """Number of groups."""
        return len(self.weight)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sum of the chosen groups' outputs and the bias, shape (..., n_out)."""
        n_experts, width, n_out = self.weight.shape
        plan = routing.plan
        groups = x.reshape(-1, width)  # (n_rows · n_experts, width)
        lines = groups.index_select(0, plan.rows * n_experts + plan.experts)
        out = collect(expert_linear(lines, self.weight, plan), plan, len(groups) // n_experts)
        if self.bias is not None:
            counts = routing.mask.any(-1, keepdim=True)  # not padding, which has no expert at all
            if routing.null_mask is not None:
                counts = counts | routing.null_mask.any(-1, keepdim=True)
            out = out + self.bias * counts.reshape(-1, 1)
        return out.reshape(*x.shape[:-1], n_out)


class CordaStart(NamedTuple):
    """A start of LoRA that depends on the inputs of the task.

    Attributes
    ----------
    a, b
        Low-rank pair, shapes (rank, n_in) and (rank, n_out), as an expert of `LoRAExperts` has it.
    rest
        What is left of the layer's matrix, shape (n_in, n_out): rest + aᵀ b is the matrix.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import corda
    >>> corda(torch.nn.Linear(6, 4), torch.randn(50, 6), rank=2).rest.shape
    torch.Size([6, 4])
    """

    a: Tensor
    b: Tensor
    rest: Tensor


def corda(
    linear: nn.Module,
    inputs: Tensor,
    *,
    rank: int,
    keep: Literal["knowledge", "task"] = "knowledge",
    damping: float = 1e-3,
) -> CordaStart:
    """Take a low-rank part out of a linear layer for LoRA to begin with, by what the layer does to given inputs.

    The singular value decomposition is of W C, where C is the covariance of the inputs, and C is divided out again.

    Parameters
    ----------
    linear
        The layer, which stays as it is.
    inputs
        Rows that the layer reads, shape (..., n_in): about what must not be forgotten, or of the task.
    rank
        Rank of the part.
    keep
        `"knowledge"`: the part is of the smallest components, so that what these inputs need stays in the frozen rest.
        `"task"`: it is of the largest, so that what these inputs need learns.
    damping
        Share of the mean variance that is added to the covariance's diagonal, so that it can be inverted.

    Returns
    -------
    start
        Pair and rest. Set them in a layer with `scale=1`, as in the example; its output is as before.

    References
    ----------
    CorDA, Yang et al. 2024 (arXiv 2406.05223), sec. 3.2 and 3.3.

    Examples
    --------
    >>> import copy
    >>> import torch
    >>> from driftmoe.nn import corda, lora_layer
    >>> from driftmoe.routing import Dense
    >>> linear, x = torch.nn.Linear(6, 4), torch.randn(50, 6)
    >>> start, rest = corda(linear, x, rank=2, keep="task"), copy.deepcopy(linear)
    >>> layer = lora_layer(rest, n_experts=1, policy=Dense(), rank=2, scale=1.0)
    >>> with torch.no_grad():
    ...     _ = rest.weight.copy_(start.rest.T)
    ...     _ = layer.experts.a[0].copy_(start.a), layer.experts.b[0].copy_(start.b)
    >>> torch.allclose(layer(x).output, linear(x), atol=1e-5)
    True
    """
    n_in, n_out = widths(linear)
    if keep not in ("knowledge", "task"):
        raise ValueError(f"corda: keep={keep!r}; available: knowledge, task")
    if type(rank) is not int or not 1 <= rank <= min(n_in, n_out):
        raise ValueError(f"corda: rank={rank!r}; choose a whole number from 1 to {min(n_in, n_out)}")
    rows = inputs.detach().reshape(-1, inputs.shape[-1]).double()
    if rows.shape[-1] != n_in or not len(rows) or not bool(torch.isfinite(rows).all()) or not damping > 0.0:
        raise ValueError(
            f"corda: inputs of shape {tuple(inputs.shape)} and damping={damping}; give finite rows of width {n_in}, "
            "and a damping above 0"
        )
    whole = matrix(linear).detach()  # (n_in, n_out)
    covariance = rows.T @ rows / len(rows)
    covariance += damping * covariance.diagonal().mean().clamp_min(1e-30) * torch.eye(n_in).to(covariance)
    left, sizes, right = torch.linalg.svd(covariance.to(whole.device) @ whole.double(), full_matrices=False)
    part = slice(0, rank) if keep == "task" else slice(len(sizes) - rank, None)
    root = sizes[part].sqrt()
    a = torch.linalg.solve(covariance.to(whole.device), left[:, part] * root).T  # (rank, n_in)
    b = root[:, None] * right[part]  # (rank, n_out)
    a, b = a.to(whole.dtype), b.to(whole.dtype)
    return CordaStart(a, b, whole - a.T @ b)
