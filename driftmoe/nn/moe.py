"""A layer of experts behind a router: the policies and losses of `driftmoe.routing`, on the rows of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from driftmoe.losses import (
    importance_loss,
    load_balance_loss,
    mutual_information_loss,
    null_balance_loss,
    router_z_loss,
)
from driftmoe.routing import BiasBalancer, Policy, Routing


@dataclass(frozen=True, eq=False)
class MoEOutput:
    """What a layer of experts answers.

    Attributes
    ----------
    output
        Shape (..., n_out).
    routing
        Who was asked, of the leading shape of the input.
    rows
        Rows that count, bool, shape (...); None where all do.
    """

    output: Tensor
    routing: Routing
    rows: Tensor | None = None

    @cached_property
    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses by name, scalars that nobody has weighted yet; computed when first asked for.

        `load_balance` counts places (Switch; AdaMoE where there are nulls), `importance` sums weights (Shazeer),
        `entropy` is the mean of `Routing.entropy` (DynMoLE), `mutual_information` asks for balance and certainty at
        once (ModuleFormer), `router_z` keeps logits small (ST-MoE): see `driftmoe.losses`. Shared experts do not count.
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
        entropy = routing.entropy.flatten() if rows is None else routing.entropy[rows]
        return {
            "load_balance": balance,
            "importance": importance_loss(weights, rows),
            "entropy": entropy.sum() / max(len(entropy), 1),
            "mutual_information": mutual_information_loss(routing.logits, rows),
            "router_z": router_z_loss(routing.logits, rows),
        }


class MoELayer(nn.Module):
    """Experts, of which a router and a policy choose some for each row, and one that all rows share.

    y = shared_expert(x) + scale · sum_e w_e(x) E_e(x), w = policy(router(x)).weights.

    Parameters
    ----------
    router
        From inputs, shape (..., n_features), to logits: such as `nn.Linear(n_features, n_experts)`, with more outputs
        for the nulls of `WithNull`, or `RandomRouter`, which stays as it is drawn; a function will do. None where the
        logits are given in each call.
    experts
        A module that takes rows and their `Routing`: `FeedForwardExperts`, `LoRAExperts`.
    policy
        Any policy of `driftmoe.routing`; an attribute, which may be changed between calls.
    shared_expert
        A module for all rows, besides the experts: DeepSeekMoE's shared experts, or the layer that LoRA adapts.
    balancer
        A bias for each expert, for `TopK` and `GroupTopK`. The training loop updates it after its step:
        `layer.balancer.update(result.routing.mask)`.
    scale
        What the sum over the chosen experts is multiplied by, as DeepSeek-V2 and V3 do.

    Notes
    -----
    The router's work is done in its own precision, also under autocast: leave it in float32 where the rest is narrower,
    because bfloat16 moves decisions (`layer.bfloat16()` narrows all; `layer.router.float()` mends it).

    References
    ----------
    Shazeer et al. 2017 (arXiv 1701.06538), eq. 1; DeepSeekMoE (arXiv 2401.06066), eqs. 9 to 11 for shared experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> result = layer(torch.randn(2, 5, 8))
    >>> result.output.shape, result.routing.mask.shape, sorted(result.losses)[:2]
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 4]), ['entropy', 'importance'])
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
        self.balancer = balancer
        self.scale = scale

    def forward(self, x: Tensor, *, rows: Tensor | None = None, logits: Tensor | None = None) -> MoEOutput:
        """Ask the experts.

        Parameters
        ----------
        x
            Shape (..., n_features).
        rows
            Rows that count, bool, shape (...); default all. Others, such as padding, get no expert and no weight in
            losses; the shared expert alone answers them, or zeros.
        logits
            What the policy reads, shape (..., n_logits), in place of the router's answer.

        Returns
        -------
        result
            Output, routing and losses.
        """
        if logits is None:
            logits = self._logits(x)
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

    def _logits(self, x: Tensor) -> Tensor:
        if self.router is None:
            raise ValueError("MoELayer: there is no router; give it one, or logits in each call")
        parameters = self.router.parameters() if isinstance(self.router, nn.Module) else iter(())
        dtype = next((p.dtype for p in parameters), torch.promote_types(x.dtype, torch.float32))
        with torch.autocast(x.device.type, enabled=False):
            return self.router(x.to(dtype))


def _within(routing: Routing, rows: Tensor) -> Routing:
    """Take the experts away from rows that do not count."""
    rows = rows[..., None]
    nulls = None if routing.null_mask is None else routing.null_mask & rows
    return replace(routing, weights=routing.weights * rows, mask=routing.mask & rows, null_mask=nulls)
