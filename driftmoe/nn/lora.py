"""Experts that are low-rank updates of a linear layer, down to rank one, and layers made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.nn.dispatch import collect, expert_linear, spread
from driftmoe.nn.linears import like, widths
from driftmoe.nn.moe import MoELayer, make_router
from driftmoe.routing import BiasBalancer, Policy, Routing, Rule, TopK, top_k_mask
from driftmoe.routing.checks import check_count
from driftmoe.routing.entropy import checked_logits
from driftmoe.routing.wrappers import Over


class LoRAExperts(nn.Module):
    """Low-rank linear maps: E(x) = x Aᵀ B, initially with B = 0.

    `lora_layer` puts them in a `MoELayer` whose shared expert is the adapted layer and whose `scale` is LoRA's alpha /
    rank.

    Parameters
    ----------
    n_experts
        Number of maps.
    n_in, n_out
        Widths of inputs and outputs.
    rank
        Rank of each map. With rank 1, each rank of a single LoRA is an expert, Δy = B diag(w) A x.
    frozen_share
        If given, A is not trained, and each of its rows reads a random subset of the inputs of this share (FlyLoRA).
    seed
        Seed of the private generator that draws A; `None` for a new random A each time.

    Attributes
    ----------
    a
        Shape (n_experts, rank, n_in).
    b
        Shape (n_experts, rank, n_out).

    References
    ----------
    LoRA, Hu et al. 2021 (arXiv 2106.09685). SMoRA (arXiv 2501.15103): ranks as experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import LoRAExperts
    >>> from driftmoe.routing import TopK
    >>> LoRAExperts(4, 8, 6, rank=2)(torch.ones(5, 8), TopK(2)(torch.randn(5, 4))).abs().sum().item()
    0.0
    """

    def __init__(
        self,
        n_experts: int,
        n_in: int,
        n_out: int,
        rank: int,
        *,
        frozen_share: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        generator = torch.Generator()
        _ = generator.seed() if seed is None else generator.manual_seed(seed)
        shape = n_experts, rank, n_in
        if frozen_share is None:
            bound = 1.0 / math.sqrt(n_in)  # equals LoRA's kaiming_uniform with a = sqrt(5)
            a = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        elif 0.0 < frozen_share <= 1.0:
            n_read = max(1, math.floor(n_in * frozen_share))
            read = torch.rand(shape, generator=generator).argsort(-1) < n_read
            a = torch.randn(shape, generator=generator) / (n_experts * rank) * read
        else:
            raise ValueError(
                f"LoRAExperts: frozen_share={frozen_share}; choose a share in (0, 1], or None for A that learns"
            )
        self.a = nn.Parameter(a, requires_grad=frozen_share is None)
        self.b = nn.Parameter(torch.zeros(n_experts, rank, n_out))

    @property
    def n_experts(self) -> int:
        """Number of maps."""
        return len(self.a)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, shape (..., n_out), for x of shape (..., n_in).

        Without autocast the maps compute in their own type, and the outputs have that of `x`.
        """
        n_experts, rank, n_out = self.b.shape
        rows = x.reshape(-1, x.shape[-1])
        if rows.dtype != self.a.dtype and not torch.is_autocast_enabled(x.device.type):
            return self(x.to(self.a.dtype), routing).to(x.dtype)  # such as float32 pairs in a bfloat16 model
        # Narrow maps are cheaper as one product over the ranks of all experts than with rows dispatched to each expert.
        # Dispatching a row costs as much as 64 ranks, at widths of 256 and 1024.
        if len(rows) * n_experts * rank <= _n_pairs(routing, len(rows)) * (64 + rank):
            hidden = F.linear(rows, self.a.flatten(0, 1)).unflatten(-1, (n_experts, rank))
            weights = routing.weights.reshape(-1, n_experts, 1).to(hidden.dtype)
            out = (hidden * weights).flatten(-2) @ self.b.flatten(0, 1)
        else:
            plan = routing.plan
            lines = expert_linear(spread(rows, plan), self.a.mT, plan)  # (n_pairs, rank)
            out = collect(expert_linear(lines, self.b, plan), plan, len(rows))
        return out.reshape(*x.shape[:-1], n_out)

    def magnitudes(self, x: Tensor) -> Tensor:
        """Return ‖A x‖ of each expert, shape (..., n_experts), as logits without a router (FlyLoRA, at rank 1)."""
        return self._activations(x).norm(dim=-1)

    def relevances(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        """Return A x / (‖A x‖ · temperature) over all ranks, shape (..., n_experts): MoRA's logits, at rank 1."""
        return F.normalize(self.activations(x), dim=-1) / temperature

    def activations(self, x: Tensor) -> Tensor:
        """Return A x of experts of rank 1, shape (..., n_experts)."""
        if self.a.shape[1] != 1:
            raise ValueError(
                f"relevances: rank={self.a.shape[1]}; they are a sign and size of one rank, choose rank=1"
            )
        return self._activations(x).squeeze(-1)

    def _activations(self, x: Tensor) -> Tensor:
        return F.linear(x, self.a.flatten(0, 1).to(x.dtype)).unflatten(-1, self.a.shape[:2])


def _n_pairs(routing: Routing, n_rows: int) -> int:
    """Return how many experts all rows have chosen; on a GPU and in compiled code how many they may have chosen.

    There the host would have to wait for the number, and compiled code could not be in one piece.
    """
    if routing.mask.device.type == "cpu" and not torch.compiler.is_compiling():
        return int(routing.mask.sum())
    return n_rows * (routing.mask.shape[-1] if routing.at_most is None else routing.at_most)


@dataclass(frozen=True)
class Unweighted(Over):
    """A policy whose chosen experts all have weight 1, as in FlyLoRA.

    Parameters
    ----------
    policy
        Any policy.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import Unweighted
    >>> from driftmoe.routing import TopK
    >>> Unweighted(TopK(2))(torch.tensor([0.0, 1.0, 3.0])).weights.tolist()
    [0.0, 1.0, 1.0]
    """

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts for each row."""
        routing = self.policy(logits) if bias is None else self.policy(logits, bias)  # type: ignore[call-arg]
        return replace(routing, weights=routing.mask.to(routing.weights.dtype))


@dataclass(frozen=True)
class LargestActivations(Rule):
    """The `k` experts with the largest logits plus bias, all with weight 1: FlyLoRA's rule, for activations as logits.

    The sum is of raw values. A sigmoid of them would be 1 in float32 for all above 17, so that they were equal.

    Parameters
    ----------
    k
        Experts of a row.

    References
    ----------
    FlyLoRA (NeurIPS 2025): top-k of |A x| with a bias for balance.
    """

    k: int

    def __post_init__(self) -> None:
        check_count("LargestActivations: k", self.k)

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts by logit + bias; a `BiasBalancer` has the bias, shape (n_experts,)."""
        logits = checked_logits(logits)
        mask = top_k_mask(logits.detach() + (0.0 if bias is None else bias), self.k)
        return Routing(mask.to(logits.dtype), mask, logits, at_most=self.k)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses."""
        return self.k


def lora_layer(
    linear: nn.Module,
    *,
    n_experts: int,
    policy: Policy,
    rank: int,
    scale: float = 2.0,
    router: Literal["linear", "random"] = "linear",
    seed: int | None = None,
) -> MoELayer:
    """Add LoRA experts to a linear layer: y = linear(x) + scale · sum_e w_e(x) x A_eᵀ B_e, initially linear(x).

    Parameters
    ----------
    linear
        The layer, which becomes part of the result. The caller must freeze it (`inject` does). It is an `nn.Linear`, a
        `Conv1D` of GPT-2, or a quantised layer that has `in_features` and `out_features`.
    n_experts, rank
        As in `LoRAExperts`.
    policy
        Any policy of `driftmoe.routing`.
    scale
        LoRA's alpha / rank; 2 in MoLA, DynMoLE and FlyLoRA.
    router
        `"linear"`, without bias and in float32, or `"random"`, a `RandomRouter`, which does not learn.
    seed
        Seed of A and of the router; `None` for new random weights each time.

    References
    ----------
    MoLA (arXiv 2402.08562), DynMoLE (arXiv 2504.00661); LoRAMoE (arXiv 2312.09979) with `Dense()`.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import lora_layer
    >>> from driftmoe.routing import TopK
    >>> linear = torch.nn.Linear(8, 6)
    >>> layer, x = lora_layer(linear, n_experts=4, policy=TopK(2), rank=2), torch.ones(3, 8)
    >>> torch.equal(layer(x).output, linear(x))
    True
    """
    experts = _around(linear, n_experts, rank, seed)
    return MoELayer(
        make_router(router, experts.a, n_experts, policy, seed), experts, policy, linear, scale=scale
    )


def smora(
    linear: nn.Module, *, n_experts: int, k: int, scale: float = 2.0, seed: int | None = None
) -> MoELayer:
    """Add one LoRA with n_experts ranks to a linear layer. A router chooses k of the ranks for each row.

    A bias balances the load of the ranks. The training loop updates it, as in `MoELayer`. Parameters as in
    `lora_layer`.

    References
    ----------
    SMoRA, Zhao et al. 2025 (arXiv 2501.15103).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import smora
    >>> linear = torch.nn.Linear(8, 6)
    >>> result = smora(linear, n_experts=4, k=2)(torch.ones(3, 8))
    >>> torch.equal(result.output, linear(torch.ones(3, 8))), result.routing.mask.sum(-1).tolist()
    (True, [2, 2, 2])
    """
    layer = lora_layer(linear, n_experts=n_experts, policy=TopK(k), rank=1, scale=scale, seed=seed)
    layer.balancer = BiasBalancer(n_experts).to(like(linear).device)
    return layer


def mora(
    linear: nn.Module,
    *,
    n_experts: int,
    k: int,
    temperature: float = 0.1,
    scale: float = 2.0,
    seed: int | None = None,
) -> MoELayer:
    """Add one LoRA to a linear layer. Its ranks compute their own relevance, and the k most relevant are used.

    Their weights are the softmax of `LoRAExperts.relevances`. `driftmoe.nn.surgery.add_ranks` adds ranks for the next
    task, and `prune_ranks` removes those of no use. Other parameters as in `lora_layer`.

    References
    ----------
    MoRA, Lu et al. 2025 (arXiv 2506.21035).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import mora
    >>> linear = torch.nn.Linear(8, 6)
    >>> result = mora(linear, n_experts=4, k=2)(torch.ones(3, 8))
    >>> torch.equal(result.output, linear(torch.ones(3, 8))), result.routing.mask.sum(-1).tolist()
    (True, [2, 2, 2])
    """
    experts = _around(linear, n_experts, 1, seed)
    return MoELayer(
        partial(experts.relevances, temperature=temperature),
        experts,
        TopK(k, renorm=False),
        linear,
        scale=scale,
    )


def flylora(
    linear: nn.Module, *, n_experts: int, k: int, scale: float = 2.0, seed: int | None = None
) -> MoELayer:
    """Add one LoRA with a frozen sparse A to a linear layer. A is also the router: the k largest |A x| are used.

    Each row of A reads the share k / n_experts of the inputs. A bias, in units of |A x|, balances the load. The
    training loop updates it, as in `MoELayer`. The official code compares counts with shares there, so that all biases
    move together and have no effect; `BiasBalancer` compares shares. Parameters as in `lora_layer`.

    References
    ----------
    FlyLoRA, "Boosting Task Decoupling and Parameter Efficiency via Implicit Rank-Wise Mixture-of-Experts", NeurIPS 2025

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import flylora
    >>> linear = torch.nn.Linear(8, 6)
    >>> result = flylora(linear, n_experts=4, k=2)(torch.ones(3, 8))
    >>> torch.equal(result.output, linear(torch.ones(3, 8))), result.routing.mask.sum(-1).tolist()
    (True, [2, 2, 2])
    """
    experts = _around(linear, n_experts, 1, seed, frozen_share=k / n_experts)
    balancer = BiasBalancer(n_experts).to(like(linear).device)
    return MoELayer(
        experts.magnitudes, experts, LargestActivations(k), linear, balancer=balancer, scale=scale
    )


def _around(
    linear: nn.Module, n_experts: int, rank: int, seed: int | None, frozen_share: float | None = None
) -> LoRAExperts:
    """Return LoRA experts with the shape, type and device of a linear layer."""
    n_in, n_out = widths(linear)
    experts = LoRAExperts(n_experts, n_in, n_out, rank, frozen_share=frozen_share, seed=seed)
    return experts.to(like(linear))
