"""Routing that is moved while a model answers, and how far apart two routings are."""

from __future__ import annotations

import math

import pytest
import torch
from small_layers import layer_of, normal
from torch import nn

from driftmoe.nn import (
    FeedForwardExperts,
    MoELayer,
    ProductTopK,
    adapt_routing,
    record,
    reset_routing,
    routing_distance,
    steer,
)
from driftmoe.nn.injecting import Injected
from driftmoe.routing import TopK, WithNull


def model_of(policy=None):
    layers = [layer_of(TopK(2) if policy is None else policy) for _ in range(2)]
    return nn.Sequential(Injected(layers[0]), nn.Tanh(), Injected(layers[1]))


def test_only_a_number_for_each_logit_moves_the_loss_falls_and_a_reset_restores_all_bits():
    model, x = model_of(), normal(60, 8)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = model(x)
    losses = adapt_routing(model, lambda: (model(x) - x).square().mean(), steps=12, rate=0.2)
    assert len(losses) == 13
    assert losses[-1] < losses[0]
    assert losses[0] == pytest.approx((before - x).square().mean().item())
    moved = [model[i].moe.delta for i in (0, 2)]
    assert [tuple(delta.shape) for delta in moved] == [(4,), (4,)]
    assert not any(delta.requires_grad for delta in moved)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not torch.equal(model(x), before)
    reset_routing(model)
    assert torch.equal(model(x), before)


def test_named_layers_alone_are_moved_and_a_second_call_goes_on():
    model, x = model_of(), normal(30, 8)

    def loss():
        return (model(x) - x).square().mean()

    first = adapt_routing(model, loss, steps=2, layers=["2.moe"])
    assert model[0].moe.delta is None
    assert adapt_routing(model, loss, steps=2, layers=["2.moe"])[0] == pytest.approx(first[-1])


def test_inference_mode_is_left_so_that_the_routing_can_learn():
    model, x = model_of(), normal(9, 8)
    with torch.inference_mode():
        losses = adapt_routing(model, lambda: (model(x) - x).square().mean(), steps=2)
        steer(model[0].moe, [1], 0.5)
    assert losses[-1] < losses[0]
    assert not model[0].moe.delta.is_inference()
    with pytest.raises(ValueError, match="computed without gradients, as under no_grad"):
        adapt_routing(model, torch.no_grad()(lambda: model(x).square().mean()))


def test_experts_that_have_no_logit_of_their_own_are_not_steered():
    layer = MoELayer(nn.Linear(8, 6), FeedForwardExperts(9, 8, 4), ProductTopK(1))
    with pytest.raises(
        ValueError, match=r"the 6 logits of ProductTopK\(.*\) are not one for each of 9 experts"
    ):
        steer(layer, [4], 1.0)
    assert layer.delta is None


def test_an_error_leaves_the_routing_as_it_was():
    model, x = model_of(), normal(9, 8)
    steer(model[0].moe, [1], 2.0)
    kept, n_calls = model[0].moe.delta.clone(), 0

    def fails_later():
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise RuntimeError("out of memory")
        return model(x).square().mean()

    with pytest.raises(RuntimeError, match="out of memory"):
        adapt_routing(model, fails_later)
    assert torch.equal(model[0].moe.delta, kept)
    assert model[2].moe.delta is None


@pytest.mark.parametrize(
    ("policy", "arguments", "message"),
    [
        (TopK(1), {}, "does not depend on the routing"),
        (TopK(2), {"steps": 0}, "steps=0, rate=0.1; choose steps"),
        (TopK(2), {"layers": ["1"]}, r"no layer '1' in the model; it has '0\.moe', '2\.moe'"),
    ],
)
def test_adaptations_that_cannot_be_are_refused(policy, arguments, message):
    model = model_of(policy)
    with pytest.raises(ValueError, match=message):
        adapt_routing(model, lambda: model(normal(9, 8)).square().mean(), **arguments)
    with pytest.raises(ValueError, match="no layers of experts in the model"):
        reset_routing(nn.Linear(2, 2))


def test_steering_by_0_changes_nothing_and_by_much_forces_or_bans():
    layer, x = layer_of(WithNull(TopK(2), 1)), normal(40, 8)
    before = layer(x)
    steer(layer, [0, 1], 0.0)
    assert layer.delta is None
    steer(layer, [3, 4], 1e4)  # the last is the null expert
    routing = layer(x).routing
    assert routing.mask.sum(0).tolist() == [0, 0, 0, 40]
    assert routing.null_mask.all()
    steer(layer, [4], -2e4)
    assert not layer(x).routing.null_mask.any()
    reset_routing(layer)
    assert torch.equal(layer(x).output, before.output)
    with pytest.raises(ValueError, match=r"experts \[5\] of 5 logits; choose numbers from 0 to 4"):
        steer(layer, [5], 1.0)
    with pytest.raises(ValueError, match="amount=inf"):
        steer(layer, [0], math.inf)


def test_the_distance_of_routings_by_hand_is_symmetric_and_grows_with_steering():
    layer = layer_of(TopK(1), n_experts=2)
    x = torch.zeros(1, 8)
    logits = [torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])]  # (3/4, 1/4) and (1/2, 1/2)
    a, b = ([("moe", layer(x, logits=z))] for z in logits)
    middle = (5 / 8, 3 / 8)
    nats = sum(
        p * math.log(p / m)
        for of in ((3 / 4, 1 / 4), (1 / 2, 1 / 2))
        for p, m in zip(of, middle, strict=True)
    )
    assert routing_distance(a, b)["moe"] == pytest.approx(nats / 2 / math.log(2))
    assert routing_distance(a, b) == routing_distance(b, a)
    assert routing_distance(a, a) == {"moe": 0.0}
    model, rows = model_of(), normal(50, 8)
    distances = []
    for amount in (0.0, 1.0, 100.0):
        steer(model[0].moe, [1], amount)
        with record(model) as records:
            model(rows)
        distances.append(records)
    near, far = (routing_distance(distances[0], other)["0.moe"] for other in distances[1:])
    assert 0.0 < near < far < 1.0
    with pytest.raises(ValueError, match="record models with the same layers"):
        routing_distance(a, distances[0])
    with pytest.raises(ValueError, match="a record without rows"):
        routing_distance(a, [])
