"""Experts as lists of neurons: the numbers of each hidden unit in a row, in whatever order the units are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from driftmoe.nn.experts import FUNCTIONS, FeedForwardExperts
from driftmoe.nn.lora import LoRAExperts
from driftmoe.nn.surgery.parts import rebuilt


def neurons_of(experts: FeedForwardExperts | LoRAExperts) -> Tensor:
    """Return the neurons of all experts, float32 or wider, shape (n_experts, n_hidden, n).

    The numbers of a neuron are its incoming weights (those of the gate and of the other half, and their biases), and
    its outgoing ones. The order of the neurons of an expert does not matter to what it computes.
    """
    if isinstance(experts, LoRAExperts):
        whole = torch.cat([experts.a, experts.b], -1)
    else:
        halves, n_hidden = _halves(experts), experts.w_out.shape[1]
        incoming = experts.w_in.unflatten(-1, (halves, n_hidden)).movedim(-1, 1).flatten(2)
        parts = [incoming, experts.w_out]
        if experts.b_in is not None:
            parts.append(experts.b_in.unflatten(-1, (halves, n_hidden)).mT)
        whole = torch.cat(parts, -1)
    return whole.detach().to(torch.promote_types(whole.dtype, torch.float32))


def with_neurons(
    experts: FeedForwardExperts | LoRAExperts, neurons: Tensor, rest: Mapping[str, Tensor]
) -> nn.Module:
    """Return experts with other neurons, as many experts as these are of; `rest` has what no neuron holds: `b_out`."""
    if isinstance(experts, LoRAExperts):
        a, b = neurons.split([experts.a.shape[-1], experts.b.shape[-1]], -1)
        made = {"a": a, "b": b}
    else:
        halves, n_features = _halves(experts), experts.w_out.shape[-1]
        sizes = [halves * n_features, n_features, *([halves] if experts.b_in is not None else [])]
        incoming, outgoing, *biases = neurons.split(sizes, -1)
        w_in = incoming.unflatten(-1, (n_features, halves))  # (n, n_hidden, n_features, halves)
        made = {"w_in": w_in.movedim(1, -1).flatten(2), "w_out": outgoing, **rest}
        if biases:
            made["b_in"] = biases[0].mT.flatten(1)
    return rebuilt(experts, lambda name, p: made[name].to(p.dtype))


def _halves(experts: FeedForwardExperts) -> int:
    return 2 if FUNCTIONS[experts.activation][1] else 1
