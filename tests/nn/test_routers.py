"""A router for all layers at once, and top-k over products of keys."""

from __future__ import annotations

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import FeedForwardExperts, MixedExperts, MoELayer, PreGate, ProductTopK
from driftmoe.routing import TopK


def test_all_routings_are_known_before_the_first_layer_and_the_shared_router_learns():
    layers = nn.ModuleList(MoELayer(None, FeedForwardExperts(4, 8, 8, seed=i), TopK(2)) for i in range(3))
    gate, x = PreGate(8, n_layers=3, n_experts=4, seed=0), normal(2, 60, 8)
    target = normal(2, 60, 8, seed=1)

    def forward(logits):
        row, routings = x, []
        for layer, of_layer in zip(layers, logits, strict=True):
            result = layer(row, logits=of_layer)
            row = row + result.output
            routings.append(result.routing)
        return row, routings

    logits = gate(x)
    known = [TopK(2)(of_layer).mask for of_layer in logits]
    output, routings = forward(logits)
    assert all(torch.equal(routing.mask, mask) for routing, mask in zip(routings, known, strict=True))
    assert not torch.equal(known[0], known[1])  # layers differ
    before = (output - target).square().mean()
    step = torch.optim.Adam(gate.parameters(), lr=0.05)
    for _ in range(20):
        step.zero_grad()
        (forward(gate(x))[0] - target).square().mean().backward()
        step.step()
    assert (forward(gate(x))[0] - target).square().mean() < before
    state = torch.get_rng_state()
    assert torch.equal(PreGate(8, 3, 4, seed=0).says.weight, PreGate(8, 3, 4, seed=0).says.weight)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="PreGate: n_layers=0"):
        PreGate(8, 0, 4)


@pytest.mark.parametrize("k", [1, 3, 7, 25])
@pytest.mark.parametrize("renorm", [True, False])
def test_product_top_k_is_top_k_of_all_sums(k, renorm):
    n = 5
    logits = 2.0 * normal(200, 2 * n)
    logits[100:] = logits[100:].round()  # full of ties
    logits[150:, 2] = -torch.inf  # out of service
    sums = (logits[:, :n, None] + logits[:, None, n:]).flatten(-2)
    routing, expected = ProductTopK(k, n, renorm=renorm)(logits), TopK(k, renorm=renorm)(sums)
    assert torch.equal(routing.mask, expected.mask)
    assert torch.equal(routing.weights, expected.weights)


def test_product_keys_route_a_layer_and_teach_both_halves():
    policy = ProductTopK(2, 3)
    router = nn.Linear(8, policy.n_logits(9))
    layer = MoELayer(router, MixedExperts([nn.Linear(8, 8) for _ in range(9)]), policy)
    result = layer(normal(20, 8))
    assert (result.routing.n_used == 2).all()
    (result.output.square().mean() + 0.01 * result.losses["load_balance"]).backward()
    assert (router.weight.grad.abs().sum(-1) > 0.0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ProductTopK(5, 2), "k=5 of 4 experts"),
        (lambda: ProductTopK(1, 2)(torch.zeros(3)), "3 logits for n=2"),
        (lambda: ProductTopK(1, 2).n_logits(5), "5 experts for n=2; make it 4"),
        (
            lambda: ProductTopK(1, 1)(torch.tensor([0.0, -torch.inf])),
            "one expert at least must be in service",
        ),
    ],
)
def test_products_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
