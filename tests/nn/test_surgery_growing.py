"""Layers that grow, budgets over layers, and whole models."""

from __future__ import annotations

import copy
import itertools
from functools import partial

import pytest
import torch
from small_layers import layer_of, normal
from small_mixtures import IDS, family
from surgery_layers import adapters, feed_forward, permuted
from torch import nn

from driftmoe.nn import (
    FeedForwardExperts,
    MoELayer,
    inject,
    load_adapter,
    lora_layer,
    mora,
    own_policies,
    record,
    save_adapter,
    upcycled_layer,
    usage,
)
from driftmoe.nn.surgery import Beside, Merged, allocate, collect, grow, install, merge, prune, pruning_costs
from driftmoe.routing import (
    LinearK,
    RandomRouter,
    Routing,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
    at_step,
)


@pytest.mark.parametrize("make", [feed_forward, adapters])
@pytest.mark.parametrize(
    "policy",
    [
        TopK(2),
        TopP(0.5),
        WithNull(TopK(2), 2),
        WithShared(WithNull(TopK(1), 1), 1),
        Merged(TopK(2), (0, 1, 0, 2)),
    ],
    ids=repr,
)
def test_a_grown_layer_is_unchanged_at_first_and_the_old_part_is_while_it_learns(make, policy):
    x, n_experts = normal(30, 8), 3 if isinstance(policy, Merged) else 4
    layer = make(policy=TopK(1), n_experts=n_experts)
    layer.policy, layer.router = policy, nn.Linear(8, policy.n_logits(n_experts))
    grown = grow(grow(layer, 2, seed=0), 1, seed=1)
    assert grown.experts.n_experts == n_experts + 3
    assert torch.equal(grown(x).output, layer(x).output)
    old = copy.deepcopy(grown.experts.parts[0].state_dict())
    step = torch.optim.AdamW(grown.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        step.zero_grad()
        (grown(x).output - 1.0).square().mean().backward()
        step.step()
    assert (grown(x).output - layer(x).output).abs().max() > 0.01
    assert grown.router.parts[-1].weight.grad.any()
    for name, value in grown.experts.parts[0].state_dict().items():
        assert torch.equal(value, old[name])
    gone = prune(grown, keep=range(n_experts - getattr(policy, "n_shared", 0)))  # the new ones
    assert torch.equal(gone(x).output, layer(x).output)
    assert gone.policy == policy


def test_new_experts_that_compete_take_weight_from_the_old_ones():
    layer, x = feed_forward(), normal(30, 8)
    grown = grow(layer, 2, policy=TopK(2), freeze=False, seed=0)
    chose_old = ~grown(x).routing.mask[:, 4:].any(-1)
    assert 0 < chose_old.sum() < 30
    torch.testing.assert_close(grown(x).output[chose_old], layer(x).output[chose_old])
    assert (grown(x).output - layer(x).output)[~chose_old].abs().max() > 0.1
    assert all(p.requires_grad for p in grown.parameters())


def test_growing_refuses_what_cannot_be():
    for arguments, words in (
        ({"n": 0}, "integer >= 1"),
        ({"n": 1, "policy": TopK(6)}, "cannot choose among 5"),
        ({"n": 1, "policy": WithNull(TopK(1), 1)}, "another number of logits than the 5"),
    ):
        with pytest.raises(ValueError, match=words):
            grow(layer_of(), **arguments)
    with pytest.raises(TypeError, match="reads its experts"):
        grow(mora(nn.Linear(8, 6), n_experts=4, k=2), 1)
    with pytest.raises(TypeError, match="give the layer a module"):
        grow(MoELayer(None, FeedForwardExperts(2, 8, 8), TopK(1)), 1)
    with pytest.raises(ValueError, match="shared or null"):
        Beside(TopK(1), WithNull(TopK(1), 1), 1)
    with pytest.raises(ValueError, match="more outputs"):
        Beside(TopK(1), TopK(1), 2)(torch.zeros(2))
    with pytest.raises(ValueError, match="one at least"):
        prune(grow(layer_of(), 2), keep=[4, 5])


@pytest.mark.parametrize("seed", range(8))
def test_allocation_equals_brute_force(seed):
    drawn = normal(4, 5, seed=seed).abs()
    costs = {
        f"layer {i}": {n + 1: cost for n, cost in enumerate(row) if (i + n + seed) % 5}
        for i, row in enumerate(drawn.tolist())
    }
    budget = 9
    sums = {
        choice: sum(of[n] for of, n in zip(costs.values(), choice, strict=True))
        for choice in itertools.product(*costs.values())
        if sum(choice) <= budget
    }
    numbers = allocate(costs, budget)
    assert list(numbers) == list(costs)
    assert sums[tuple(numbers.values())] == pytest.approx(min(sums.values()))


def test_allocation_gives_experts_to_the_layer_that_needs_them_and_refuses_too_small_a_budget():
    costs = {"needs": {1: 9.0, 2: 5.0, 3: 2.0, 4: 0.0}, "does not": {1: 0.3, 2: 0.2, 3: 0.1, 4: 0.0}}
    assert allocate(costs, 4) == {"needs": 3, "does not": 1}  # 2.3; equal numbers cost 5.2
    assert allocate(costs, 100) == {"needs": 4, "does not": 4}
    for wrong, words in (({}, "no layers"), ({"a": {}}, "no number"), ({"a": {1: float("nan")}}, "no NaN")):
        with pytest.raises(ValueError, match=words):
            allocate(wrong, 4)
    with pytest.raises(ValueError, match="need 2 experts at least"):
        allocate(costs, 1)


def test_layers_of_a_model_are_measured_changed_and_put_back():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    layers = inject(model, ["0", "2"], partial(lora_layer, policy=TopK(1), rank=2), n_experts=4, seed=0)
    for layer in layers.values():
        layer.experts.b.data = normal(*layer.experts.b.shape)
    x = normal(64, 8)
    with record(model) as records, collect(model) as inputs:
        whole = model(x)
    used = usage(records)
    named = dict(zip(inputs, layers.values(), strict=True))
    costs = {name: pruning_costs(layer, inputs[name], usage=used[name]) for name, layer in named.items()}
    numbers = allocate(costs, 5)
    assert sum(numbers.values()) <= 5
    install(model, {name: prune(named[name], keep=n, usage=used[name]) for name, n in numbers.items()})
    assert [model[i].moe.experts.n_experts for i in (0, 2)] == list(numbers.values())
    assert "moe.experts.a" in model[0].learns
    assert not torch.equal(model(x), whole)
    install(model, layers)
    assert torch.equal(model(x), whole)
    with pytest.raises(ValueError, match=r"available: 0\.moe, 2\.moe"):
        install(model, {"1": layers["0"]})


def test_a_network_with_a_random_router_and_growing_k_works_with_any_k_afterwards():
    """SMoE-Dropout: the more experts the better, from one on. Trained with one or with all, it fails with others."""
    x = normal(128, 8, seed=7)
    target = torch.sin(0.5 * x @ normal(8, 8, seed=8))

    def errors(policy):
        layer = MoELayer(RandomRouter(8, 8, seed=0), FeedForwardExperts(8, 8, 16, seed=1), policy)
        step = torch.optim.Adam(layer.parameters(), lr=8e-3)
        for i in range(60):
            layer.policy = at_step(policy, i)
            step.zero_grad()
            (layer(x).output - target).square().mean().backward()
            step.step()
        found = []
        for k in (1, 2, 4, 8):
            layer.policy = TopK(k, renorm=False)
            found.append((layer(x).output - target).square().mean().item())
        return found

    few, many = TopK(1, renorm=False), TopK(8, renorm=False)
    grown, with_one, with_all = errors(Scheduled(few, LinearK(1, 8, 60))), errors(few), errors(many)
    assert grown == sorted(grown, reverse=True)
    assert grown[0] < 0.6 * target.square().mean()
    assert with_one == sorted(with_one)
    assert all(ours < theirs for ours, theirs in zip(grown[:2], with_all, strict=False))


def test_experts_of_joined_parts_are_numbered_in_a_row():
    grown, x = grow(feed_forward(), 2, seed=3), normal(5, 8)
    for seed, parameter in enumerate(grown.experts.parts[1].parameters()):
        parameter.data = normal(*parameter.shape, seed=seed)
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[:, 4] = True
    alone = Routing(mask[:, 4:].float(), mask[:, 4:], mask[:, 4:].float())
    expected = grown.experts.parts[1](x, alone)
    torch.testing.assert_close(grown.experts(x, Routing(mask.float(), mask, mask.float())), expected)


@pytest.mark.parametrize(
    "operation", [partial(merge, groups=[[0, 2], [1], [3]]), partial(grow, n=1), partial(prune, keep=[1, 3])]
)
def test_changed_adapters_are_saved_and_loaded_as_any_and_others_refused(operation, tmp_path):
    def adapted(operation):
        model = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        model[0].weight.data, model[0].bias.data = normal(8, 8), normal(8)
        layers = inject(model, "0", partial(lora_layer, policy=TopK(2), rank=2), n_experts=4)
        layers["0"].experts.b.data = torch.randn_like(layers["0"].experts.b)
        install(model, {name: operation(layer) for name, layer in layers.items()})
        return model

    model, other, x = adapted(operation), adapted(operation), normal(9, 8)
    save_adapter(model, tmp_path / "adapter")
    load_adapter(other, tmp_path / "adapter")
    assert torch.equal(other(x), model(x))
    with pytest.raises(ValueError, match="load_adapter"):
        load_adapter(adapted(lambda layer: layer), tmp_path / "adapter")


@pytest.mark.parametrize("kind", ["mixtral", "olmoe"])
def test_experts_of_a_transformers_model_merge_without_a_change_if_they_are_permuted_copies(kind):
    pytest.importorskip("transformers")
    model = family(kind)
    policies = own_policies(model)
    before = model(input_ids=IDS).logits.detach()
    inject(model, "mlp", partial(upcycled_layer, policy=next(iter(policies.values()))), n_experts=4)
    torch.testing.assert_close(model(input_ids=IDS).logits, before)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, MoELayer)}
    for layer in layers.values():
        permuted(layer.experts, 3, of=1)
    whole = model(input_ids=IDS).logits
    install(model, {name: merge(layer, [[0], [1, 3], [2]]) for name, layer in layers.items()})
    torch.testing.assert_close(model(input_ids=IDS).logits, whole)
    assert model.generate(IDS[:, :4], max_new_tokens=2, do_sample=False, eos_token_id=49).shape[0] == 2


def test_a_grown_layer_with_null_experts_comes_back_from_the_device_meta():
    grown, x = grow(feed_forward(policy=WithNull(TopK(2), 2)), 2, seed=0), normal(20, 8)
    grown.experts.parts[1].w_out.data = normal(*grown.experts.parts[1].w_out.shape)
    state = {name: tensor.clone() for name, tensor in grown.state_dict().items()}
    expected = grown(x).output
    grown.to("meta").to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(grown(x).output, expected)
    grown.to("meta").load_state_dict(state, assign=True)
    assert torch.equal(grown(x).output, expected)
