"""A layer of experts with a router, for the policies and losses of `driftmoe.routing`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.losses import (
    entropy_loss,
    importance_loss,
    load_balance_loss,
    mutual_information_loss,
    null_balance_loss,
    router_z_loss,
    soft_balance_loss,
)
from driftmoe.nn.experts import FeedForwardExperts, stacked_experts, upcycle
from driftmoe.routing import BiasBalancer, Policy, RandomRouter, Routing, as_rule
from driftmoe.routing.wrappers import Wrapper


@dataclass(frozen=True, eq=False)
class MoEOutput:
    """Result of a layer of experts.

    Attributes
    ----------
    output
        Shape (..., n_out).
    routing
        The chosen experts and their weights, with the leading shape of the input.
    rows
        Rows that count, bool, shape (...); `None` if all do.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> result = layer(torch.randn(5, 8))
    >>> result.output.shape, result.routing.mask.sum(-1).tolist()
    (torch.Size([5, 8]), [2, 2, 2, 2, 2])
    """

    output: Tensor
    routing: Routing
    rows: Tensor | None = None

    @property
    def load(self) -> Tensor:
        """The mask of the experts that the router chose, without shared ones, for the rows that count: (n_rows, n)."""
        n_null = 0 if self.routing.null_mask is None else self.routing.null_mask.shape[-1]
        mask = self.routing.mask[..., n_null - self.routing.logits.shape[-1] :]
        return mask.flatten(0, -2) if self.rows is None else mask[self.rows]

    @cached_property
    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses by name, as unweighted scalars; computed on first access.

        `load_balance` counts places (Switch; AdaMoE if there are null experts), `soft_balance` weights (DynMoLE; those
        of null experts are 0), `importance` sums weights (Shazeer), `entropy` is the mean of `Routing.entropy`
        (DynMoLE), from 0 to 1, `entropy_nats` that of Shannon's entropy in nats, `mutual_information` rewards balance
        and certainty (ModuleFormer), `router_z` keeps logits small (ST-MoE); see `driftmoe.losses`. Shared experts do
        not count.
        """
        routing, rows = self.routing, self.rows
        n_null = 0 if routing.null_mask is None else routing.null_mask.shape[-1]
        n_routed = routing.logits.shape[-1] - n_null
        load, weights = routing.mask[..., -n_routed:], routing.weights[..., -n_routed:]
        if routing.null_mask is None:
            balance = load_balance_loss(routing.logits, load, rows)
        else:
            load = torch.cat([load, routing.null_mask], -1)
            balance = null_balance_loss(routing.logits, load, n_null, rows)
        is_valid = (routing.logits[..., :n_routed] > -torch.inf).reshape(-1, n_routed)
        in_service = is_valid.any(0) if len(is_valid) else None
        entropy = routing.entropy.flatten() if rows is None else routing.entropy[rows]
        return {
            "load_balance": balance,
            "soft_balance": soft_balance_loss(routing.logits, F.pad(weights, (0, n_null)), rows),
            "importance": importance_loss(weights, rows, in_service),
            "entropy": entropy.sum() / max(len(entropy), 1),
            "entropy_nats": entropy_loss(routing.logits, normalize=False, rows=rows),
            "mutual_information": mutual_information_loss(routing.logits, rows),
            "router_z": router_z_loss(routing.logits, rows),
        }


class MoELayer(nn.Module):
    """A layer in which a router and a policy choose some experts for each row, with an optional shared expert.

    y = shared_expert(x) + scale · sum_e w_e(x) E_e(x), w = policy(router(x)).weights.

    Parameters
    ----------
    router
        Module or function from inputs, shape (..., n_features), to logits: such as `nn.Linear(n_features, n_experts)`
        (with further outputs for the null experts of `WithNull`), or `RandomRouter`, which does not learn. `None` if
        the logits are passed in each call.
    experts
        A module that takes rows and their `Routing`: `FeedForwardExperts`, `LoRAExperts`.
    policy
        Any policy of `driftmoe.routing`. The attribute may be changed between calls.
    shared_expert
        A module that is applied to all rows: DeepSeekMoE's shared experts, or the layer that LoRA adapts.
    balancer
        A bias for each expert, for `TopK` and `GroupTopK`. The training loop updates it after each step:
        `layer.balancer.update(result.load)`.
    scale
        Factor of the sum over the chosen experts, as in DeepSeek-V2 and V3.

    Notes
    -----
    The router computes in its own precision, even under autocast. Keep it in float32 if the rest is narrower, because
    bfloat16 changes decisions: after `layer.bfloat16()`, which converts all parts, call `layer.router.float()`.

    References
    ----------
    Shazeer et al. 2017 (arXiv 1701.06538), eq. 1. DeepSeekMoE (arXiv 2401.06066), eqs. 9 to 11: shared experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> result = layer(torch.randn(2, 5, 8))
    >>> result.output.shape, result.routing.mask.shape, sorted(result.losses)[:2]
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 4]), ['entropy', 'entropy_nats'])
    """

    def __init__(
        self,
        router: Callable[[Tensor], Tensor] | None,
        experts: nn.Module,
        policy: Policy,
        shared_expert: nn.Module | None = None,
        *,
        balancer: BiasBalancer | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.router = router
        self.experts = experts
        self.policy = policy
        self.shared_expert = shared_expert
        self.set_balancer(balancer)
        self.scale = scale
        self.delta: Tensor | None
        self.register_buffer("delta", None, persistent=False)  # added to the logits; see `rewiring`

    def __setstate__(self, state: dict[str, Any]) -> None:
        buffers = {"delta": None, **state["_buffers"]}  # older pickles have no delta
        super().__setstate__({**state, "_buffers": buffers})
        self._non_persistent_buffers_set.add("delta")

    def set_balancer(self, balancer: BiasBalancer | None) -> None:
        """Set or remove the balancer.

        Raises
        ------
        ValueError
            If the policy takes no bias.
        """
        if balancer is not None:
            check_takes_bias(self.policy)
        self.balancer = balancer

    def forward(self, x: Tensor, *, rows: Tensor | None = None, logits: Tensor | None = None) -> MoEOutput:
        """Apply the layer.

        Parameters
        ----------
        x
            Shape (..., n_features).
        rows
            Rows that count, bool, shape (...); default all. Other rows, such as padding, get no expert and do not count
            in losses. Their output is that of the shared expert, or zeros.
        logits
            Logits for the policy, shape (..., n_logits), in place of the router's.

        Returns
        -------
        result
            Output, routing and losses.

        Raises
        ------
        ValueError
            If there are neither a router nor logits, or the logits do not fit the number of experts; and errors of the
            policy.
        """
        if logits is None:
            if self.router is None:
                raise ValueError("MoELayer: there is no router; give it one, or logits in each call")
            logits = _logits(self.router, x)
        if self.delta is not None:
            logits = logits + self.delta
        bias = {} if self.balancer is None else {"bias": self.balancer.bias}
        routing = self.policy(logits, **bias)
        n_experts = routing.mask.shape[-1]
        if n_experts != self.experts.n_experts:
            raise ValueError(
                f"MoELayer: {logits.shape[-1]} logits and {self.policy} make {n_experts} experts, but there are "
                f"{self.experts.n_experts}; give the router an output for each expert that is not shared, and for each "
                "null expert"
            )
        if rows is not None:
            routing = _within(routing, rows)
        output = self.experts(x, routing)
        if self.scale != 1.0:
            output = output * self.scale
        if self.shared_expert is not None:
            output = self.shared_expert(x) + output
        return MoEOutput(output, routing, rows)

    def answer(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the output alone; `rows` as in a call."""
        result: MoEOutput = self(x, rows=rows)
        return result.output


class ChainedMoE(nn.Module):
    """A layer that applies the same experts several times, each time with a router of its own.

    x_{c+1} = x_c + MoE_c(x_c). The output is x_C - x_0, so that one step equals a `MoELayer`; the caller adds x_0, as
    with any feed-forward network. `chained_layer` makes a chain for `inject`.

    Parameters
    ----------
    routers
        One router for each step, as in `MoELayer`.
    layer
        The layer that all steps share. Its own router, if any, is not used.

    References
    ----------
    Chain-of-Experts, Wang et al. 2025 (arXiv 2506.18945).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import ChainedMoE, FeedForwardExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(None, FeedForwardExperts(4, 8, 16), TopK(2))
    >>> output, results = ChainedMoE([torch.nn.Linear(8, 4) for _ in range(2)], layer)(torch.randn(5, 8))
    >>> output.shape, len(results)
    (torch.Size([5, 8]), 2)
    """

    shared_expert = None

    def __init__(self, routers: Sequence[nn.Module], layer: MoELayer) -> None:
        super().__init__()
        self.routers = nn.ModuleList(routers)
        self.layer = layer

    def forward(self, x: Tensor, *, rows: Tensor | None = None) -> tuple[Tensor, list[MoEOutput]]:
        """Return the output, with the shape of `x`, and the result of each step; `rows` as in `MoELayer`."""
        output, results = torch.zeros_like(x), []
        for router in self.routers:
            current = x + output
            results.append(self.layer(current, rows=rows, logits=_logits(router, current)))
            output = output + results[-1].output
        return output, results

    def answer(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the output alone; `rows` as in a call."""
        output: Tensor = self(x, rows=rows)[0]
        return output


class RecurrentRouter(nn.Module):
    """A router with a recurrent state that passes through the routers of all layers for the same row.

    h_l = GRU(x W, h_{l-1}), logits = h_l V, where all layers share the cell.

    Parameters
    ----------
    n_features, n_experts
        Width of the rows, and number of logits.
    cell
        The shared cell. The width of x W is its input size.

    Notes
    -----
    The caller passes the state from layer to layer, and the logits to a `MoELayer` without a router. `RecurrentLayers`
    does so in the layers of `inject`. Computation is in the precision of the cell, even under autocast.

    References
    ----------
    RMoE, Qiu et al. 2024, "Layerwise Recurrent Router for Mixture-of-Experts" (arXiv 2408.06793).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, RecurrentRouter
    >>> from driftmoe.routing import TopK
    >>> cell = torch.nn.GRUCell(16, 16)
    >>> routers = [RecurrentRouter(8, 4, cell) for _ in range(3)]
    >>> layers = [MoELayer(None, FeedForwardExperts(4, 8, 16), TopK(2)) for _ in range(3)]
    >>> x, state = torch.randn(2, 5, 8), None
    >>> for router, layer in zip(routers, layers):
    ...     logits, state = router(x, state)
    ...     x = x + layer(x, logits=logits).output
    >>> x.shape, state.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 16]))
    """

    def __init__(self, n_features: int, n_experts: int, cell: nn.GRUCell) -> None:
        super().__init__()
        self.reads = nn.Linear(n_features, cell.input_size, bias=False)
        self.cell = cell
        self.says = nn.Linear(cell.hidden_size, n_experts, bias=False)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits, shape (..., n_experts), and the next layer's state, shape (..., width of the cell)."""
        with torch.autocast(x.device.type, enabled=False):
            read = self.reads(x.to(self.reads.weight.dtype))
            before = None if state is None else state.flatten(0, -2)
            after = self.cell(read.flatten(0, -2), before).reshape(*x.shape[:-1], -1)
            return self.says(after), after


def upcycled_layer(
    ffn: nn.Module | Sequence[nn.Module],
    *,
    n_experts: int,
    policy: Policy,
    parts: int = 1,
    noise: float = 0.0,
    router: Literal["linear", "random"] = "linear",
    seed: int | None = None,
) -> MoELayer:
    """Turn a dense feed-forward network into a layer of experts.

    If the policy's weights sum to 1, the output equals that of the network, except for the noise. With `parts` it does,
    too; policies that would choose single parts of a copy at first are refused.

    Parameters
    ----------
    ffn, n_experts, noise
        As in `upcycle`. The block of a Mixtral becomes a layer with its experts and the weights of its router, to be
        routed by any policy.
    policy
        Any policy of `driftmoe.routing`. `TopK(2)` is Mixtral's.
    parts
        Number of fine-grained experts into which each copy is cut; see `FeedForwardExperts.split`. There are then
        n_experts · parts experts. At first the router gives the parts of a copy equal logits, so that they are chosen
        together, and the layer's `scale` makes up for weights that are smaller. `Unweighted(TopK(parts))` is
        Dynamic-DINO's setting. In general the weights of each row must have the same sum, and a row must choose all
        parts of a copy or none: `TopK(k)` with a multiple of `parts` for k, `Unweighted` of it, `Dense()`.
    router
        `"linear"`, without bias and in float32, or `"random"`, a `RandomRouter`, which does not learn.
    seed
        Seed of noise and router; `None` for new random values each time.

    Raises
    ------
    ValueError
        If `ffn` is no such network, or with `parts` the policy would change the network's output.

    References
    ----------
    Dynamic-DINO (arXiv 2507.17436): parts of experts, with repeated rows of the router.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import upcycled_layer
    >>> from driftmoe.routing import TopK
    >>> ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> x = torch.ones(2, 4)
    >>> torch.allclose(upcycled_layer(ffn, n_experts=3, policy=TopK(2))(x).output, ffn(x), atol=1e-6)
    True
    """
    is_block = isinstance(ffn, nn.Module) and stacked_experts(ffn) is not None
    if is_block and parts != 1:
        raise ValueError(
            f"upcycled_layer: parts={parts}, but {type(ffn).__name__} has experts already, which are not cut; leave "
            "it out"
        )
    experts = upcycle(ffn, n_experts, noise=noise, seed=seed)
    if is_block and isinstance(ffn, nn.Module):
        return _of_block(ffn, experts, policy, router, seed)
    if parts == 1:
        return MoELayer(make_router(router, experts.w_in.mT, n_experts, policy, seed), experts, policy)
    experts, rule = experts.split(parts), as_rule(policy)
    new_router = make_router(router, experts.w_in.mT, experts.n_experts, policy, seed)
    copy_of = (
        torch.arange(rule.n_shared, experts.n_experts) // parts
    )  # of each row of the router that has an expert
    rows = torch.searchsorted(copy_of, copy_of)  # the first row of the same copy
    weight: Any = new_router.weight
    with torch.no_grad():
        weight[: len(rows)] = weight[rows.to(weight.device)]
    total = _total(policy, rule.n_logits(experts.n_experts), rows, parts)
    return MoELayer(new_router, experts, policy, scale=parts / total)


def _total(policy: Policy, n_logits: int, copies: Tensor, parts: int) -> float:
    """Return the sum of a row's weights, if all parts of a copy have the same in sum over the copies, whatever row.

    That is tried on logits in which the parts of a copy are equal: all the same, and random ones of several widths.

    Raises
    ------
    ValueError
        If they have not, so that the sum of the chosen parts is not the network.
    """
    drawn = torch.randn(64, n_logits, generator=torch.Generator().manual_seed(0))
    logits = torch.cat([torch.zeros(1, n_logits), 0.1 * drawn, drawn, 5.0 * drawn])
    logits[:, : len(copies)] = logits[:, copies]
    of_parts = policy(logits).weights.detach().unflatten(-1, (-1, parts)).sum(-2)  # (n_rows, parts)
    each = of_parts[0].mean().item()
    if not each > 0.0 or (of_parts - each).abs().max().item() > 1e-4 * each:
        raise ValueError(
            f"upcycled_layer: with policy={policy!r} the {parts} parts of a copy would not be chosen together, or rows "
            "have weights of different sums, so that the layer would not answer what the network did; choose a policy "
            f"such as TopK(k) with a k that {parts} divides, or leave parts out"
        )
    return each * parts


def _of_block(
    block: nn.Module,
    experts: FeedForwardExperts,
    policy: Policy,
    router: Literal["linear", "random"],
    seed: int | None,
) -> MoELayer:
    """Return a layer with the experts of a block that was a mixture before, and the weights of its router."""
    layer = MoELayer(make_router(router, experts.w_in.mT, experts.n_experts, policy, seed), experts, policy)
    own, gate = getattr(layer.router, "weight", None), getattr(getattr(block, "gate", None), "weight", None)
    if router == "linear" and isinstance(own, Tensor) and isinstance(gate, Tensor):
        if len(gate) > len(own):
            raise ValueError(
                f"upcycled_layer: policy={policy!r} routes to {len(own)} of the {len(gate)} experts that the router of "
                f"{type(block).__name__} chooses among; choose a policy without shared experts"
            )
        with torch.no_grad():
            own[: len(gate)] = gate
    return layer


def check_takes_bias(policy: Policy) -> None:
    """Raise ValueError unless a policy, and those inside it, can be called with the bias of a balancer."""
    inner = policy
    while "bias" in inspect.signature(inner).parameters:
        if not isinstance(inner, Wrapper):
            return
        inner = inner.policy
    raise ValueError(
        f"MoELayer: a balancer, but policy={policy!r} takes no bias; choose TopK or GroupTopK, or no balancer"
    )


def make_router(
    kind: Literal["linear", "random"], like: Tensor, n_experts: int, policy: Policy, seed: int | None
) -> nn.Module:
    """Return a router for rows of the width of `like`, on its device, with the number of logits the policy needs."""
    n_logits = as_rule(policy).n_logits(n_experts)
    random = RandomRouter(like.shape[-1], n_logits, seed=seed).to(like.device)
    if kind == "random":
        return random
    if kind != "linear":
        raise ValueError(f"router={kind!r}; available: linear, random")
    router = nn.utils.skip_init(nn.Linear, like.shape[-1], n_logits, bias=False, device=like.device)
    with torch.no_grad():
        router.weight.copy_(random.weight)  # drawn from a private generator
    return router


def _logits(router: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return a router's logits, computed in its own precision, or float32 or wider if it has no parameters."""
    weight = next(router.parameters(), None) if isinstance(router, nn.Module) else None
    x = x.to(torch.promote_types(x.dtype, torch.float32) if weight is None else weight.dtype)
    if not torch.is_autocast_enabled(x.device.type):
        return router(x)
    with torch.autocast(x.device.type, enabled=False):
        return router(x)


def _within(routing: Routing, rows: Tensor) -> Routing:
    """Remove the experts of rows that do not count."""
    rows = rows[..., None]
    nulls = None if routing.null_mask is None else routing.null_mask & rows
    return replace(routing, weights=routing.weights * rows, mask=routing.mask & rows, null_mask=nulls)
