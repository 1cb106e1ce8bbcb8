"""Layers for the tests of surgery, in which every weight is another."""

from __future__ import annotations

import torch
from small_layers import layer_of, normal
from torch import nn

from driftmoe.nn import FeedForwardExperts, lora_layer
from driftmoe.routing import TopK

USED = [0.4, 0.1, 0.3, 0.2]


def feed_forward(activation="swiglu", policy=None, n_experts=4, **rest):
    """A layer with biases, all of whose weights differ."""
    layer = layer_of(policy, n_experts, **rest)
    layer.router.bias.data = 0.3 * normal(*layer.router.bias.shape, seed=9)
    experts = FeedForwardExperts(n_experts, 8, 12, activation=activation, bias=True, seed=1)
    for seed, parameter in enumerate(experts.parameters()):
        parameter.data = 0.5 * normal(*parameter.shape, seed=seed)
    layer.experts = experts
    return layer


def adapters(policy=None, n_experts=4):
    """LoRA experts that say something."""
    linear = nn.Linear(8, 6).requires_grad_(False)
    layer = lora_layer(linear, n_experts=n_experts, policy=policy or TopK(2), rank=3, seed=0)
    layer.experts.b.data = normal(*layer.experts.b.shape, seed=5)
    return layer


def permuted(experts, e, of, seed=0):
    """Make expert e a copy of another with its neurons in another order."""
    n = experts.w_out.shape[1]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    halves = experts.w_in.shape[-1] // n
    columns = torch.cat([order + half * n for half in range(halves)])
    experts.w_in.data[e] = experts.w_in.data[of][:, columns]
    experts.w_out.data[e] = experts.w_out.data[of][order]
    if experts.b_in is not None:
        experts.b_in.data[e] = experts.b_in.data[of][columns]
        experts.b_out.data[e] = experts.b_out.data[of]
