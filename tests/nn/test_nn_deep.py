"""Chains and recurrent routers, injected into a model."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn
from torch.utils.checkpoint import checkpoint

from driftmoe.nn import (
    PreGate,
    RecurrentLayers,
    chained_layer,
    count_parameters,
    inject,
    load_adapter,
    record,
    save_adapter,
    steer,
)
from driftmoe.routing import TopK, WithNull


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)) for _ in range(3)), nn.Linear(8, 2)
    )


FEED_FORWARD, X = ("0", "1", "2"), normal(3, 5, 8)


def trained(model):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()
    return model


MAKERS = {
    "chain": lambda: partial(chained_layer, policy=TopK(2)),
    "recurrent": lambda: RecurrentLayers(WithNull(TopK(2), 1, on_empty="best"), width=6),
    "pre-gate": lambda: PreGate(TopK(2, renorm=False)),
    "pre-gate, one router": lambda: PreGate(TopK(2, renorm=False), is_shared=True),
}
each_maker = pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS.keys())


@each_maker
def test_what_was_injected_learns_and_goes_from_model_to_model(maker, tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra nn")
    model, other = network(), network()
    inject(model, FEED_FORWARD, maker(), n_experts=4, seed=1)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("moe" in name for name in names)
    before = model(X)
    trained(model)
    assert not torch.allclose(model(X), before)
    assert names == {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    save_adapter(model, tmp_path / "adapter")
    inject(other, FEED_FORWARD, maker(), n_experts=4, seed=2)
    load_adapter(other, tmp_path / "adapter")
    for same in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(same(X), model(X))


def test_a_chain_of_one_step_answers_what_the_network_did_and_each_step_is_recorded():
    model, before = network(), network()(X)
    inject(model, FEED_FORWARD, partial(chained_layer, policy=TopK(2), n_steps=1), n_experts=4, seed=1)
    torch.testing.assert_close(model(X), before, rtol=1e-4, atol=1e-5)
    layer = chained_layer(network()[0], n_experts=4, policy=TopK(2), n_steps=3, seed=1)
    ffn = network()[0]
    middle = X + ffn(X) / 3
    middle = middle + ffn(middle) / 3
    torch.testing.assert_close(layer(X)[0] + X, middle + ffn(middle) / 3, rtol=1e-4, atol=1e-5)
    assert not torch.equal(layer.routers[0].weight, layer.routers[1].weight)
    model = network()
    inject(model, "1", partial(chained_layer, policy=TopK(2)), n_experts=4, seed=1)
    with record(model) as records:
        model(X)
    assert [name for name, _ in records] == ["1.moe.layer"] * 2
    counts = count_parameters(model, records)
    assert counts.total - counts.active == 2 * (2 * 8 * 12 + 8 + 12)  # half of the experts
    with pytest.raises(ValueError, match="n_steps=0; choose 1 or more"):
        chained_layer(ffn, n_experts=2, policy=TopK(1), n_steps=0)


def recurrent(seed=1):
    model = network()
    return model, inject(model, FEED_FORWARD, RecurrentLayers(TopK(2), width=6), n_experts=4, seed=seed)


def test_recurrent_routers_pass_a_state_from_layer_to_layer_and_begin_anew_with_each_pass():
    model, layers = recurrent()
    torch.testing.assert_close(model(X), network()(X), rtol=1e-4, atol=1e-5)  # upcycled
    with record(model) as records:
        model(X)
        model(X)
    first, second, third = (layer.router.router for layer in layers.values())
    assert first.cell is second.cell is third.cell
    x, state = X, None
    for i, router in enumerate((first, second, third)):
        logits, state = router(x, state)
        torch.testing.assert_close(records[i][1].routing.logits, logits)
        assert torch.equal(records[i][1].routing.logits, records[i + 3][1].routing.logits)
        x = records[i][1].output
    same, other = recurrent(), recurrent(2)
    for ours, theirs, others in zip(layers.values(), same[1].values(), other[1].values(), strict=True):
        assert torch.equal(ours.router.router.says.weight, theirs.router.router.says.weight)
        assert not torch.equal(ours.router.router.says.weight, others.router.router.says.weight)


def test_recurrent_routers_refuse_what_would_give_them_another_state():
    model, _ = recurrent()
    model(X)
    with pytest.raises(RuntimeError, match="layer 2 is called after that of layer 0; call the whole model"):
        model[2](model[0](X))
    model[0](X[:2])
    with pytest.raises(
        RuntimeError, match=r"layer 1 got rows of shape \(3, 5\), after \(2, 5\) in the layer before"
    ):
        model[1](X)
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="computed again by a checkpoint"):
        checkpoint(model[0], x, use_reentrant=False).sum().backward()


def test_recurrent_layers_leave_the_global_generator_alone():
    ffn, state = network()[0], torch.get_rng_state()
    RecurrentLayers(TopK(2))(ffn, n_experts=2)
    RecurrentLayers(TopK(2))(ffn, n_experts=2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("is_shared", [True, False])
def test_with_a_pre_gate_the_first_input_settles_the_routing_of_all_layers(is_shared):
    model, gate = network(), PreGate(TopK(2), is_shared=is_shared)
    layers = inject(model, FEED_FORWARD, gate, n_experts=4, seed=1)
    assert len({id(layer.router.router.linear) for layer in layers.values()}) == (1 if is_shared else 3)
    with record(model) as records:
        before = model(X)
    for (_, result), logits in zip(records, gate.ahead(X), strict=True):
        assert torch.equal(result.routing.logits, logits)
    with torch.no_grad():
        layers["0"].experts.w_out.add_(1.0)  # what comes out of the first layer does not count
    with record(model) as after:
        assert not torch.allclose(model(X), before)
    assert all(
        torch.equal(old.routing.mask, new.routing.mask)
        for (_, old), (_, new) in zip(records, after, strict=True)
    )


def test_ahead_is_what_a_narrow_and_steered_model_does_and_no_state_is_left():
    model, gate = network(), PreGate(TopK(2))
    layers = inject(model, FEED_FORWARD, gate, n_experts=4, seed=1)
    model.bfloat16()
    for layer in layers.values():
        layer.router.float()
        steer(layer, [1], 5.0)
    with record(model) as records:
        model(X.bfloat16())
    for (_, result), logits in zip(records, gate.ahead(X.bfloat16()), strict=True):
        assert torch.equal(result.routing.logits, logits)
    assert layers["0"].router.passed.state is None  # which would keep the graph of the last batch
    same = copy.deepcopy(model)
    same(X.bfloat16())
    assert same[0].moe.router.passed.state is None


@pytest.mark.parametrize("maker", [lambda: PreGate(TopK(1)), lambda: RecurrentLayers(TopK(1), width=6)])
def test_an_object_that_makes_layers_is_for_one_call_of_inject(maker):
    make = maker()
    inject(network(), FEED_FORWARD, make, n_experts=2)
    other = network()
    with pytest.raises(ValueError, match="one call of inject"):
        inject(other, FEED_FORWARD, make, n_experts=2)
    assert type(other[0]) is nn.Sequential


def test_a_pre_gate_refuses_layers_of_other_widths():
    narrow = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6))
    model = nn.Sequential(network()[0], nn.Linear(8, 6), narrow)
    with pytest.raises(ValueError, match=r"PreGate: a block with rows of width 6 .* first one has 8 "):
        inject(model, ("0", "2"), PreGate(TopK(1)), n_experts=2)
    assert type(model[0]) is nn.Sequential
