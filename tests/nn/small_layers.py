"""Layers of a few experts, and the tensors that they are asked about."""

from __future__ import annotations

import torch
from torch import nn

from driftmoe.nn import FeedForwardExperts, MoELayer
from driftmoe.routing import TopK, WithNull, WithShared

WAYS = ("by_groups", "by_segments", "by_gathering")


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def n_logits(policy, n_experts):
    if isinstance(policy, WithNull):
        return n_experts + policy.n_null
    return n_experts - policy.n_shared if isinstance(policy, WithShared) else n_experts


def layer_of(policy=None, n_experts=4, n_features=8, **rest):
    policy = TopK(2) if policy is None else policy
    router = nn.Linear(n_features, n_logits(policy, n_experts))
    with torch.no_grad():
        router.weight.copy_(normal(*router.weight.shape, seed=3))
    return MoELayer(router, FeedForwardExperts(n_experts, n_features, 8, seed=1), policy, **rest)
