"""Frozen adapters of others as experts, and routers that learn which to use."""

from __future__ import annotations

import copy
import json
from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import (
    ProductTopK,
    StraightThrough,
    Unweighted,
    inject,
    load_adapter,
    load_peft,
    lora_layer,
    mix_adapters,
    save_adapter,
    save_peft,
)
from driftmoe.routing import Dense, TopK, WithNull, WithShared

pytest.importorskip("safetensors", reason="needs the extra nn")


def network():
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))
    for seed, p in enumerate(model.parameters()):
        p.data = normal(*p.shape, seed=seed)
    return model


def trained(targets, rank=2, scale=1.5, seed=0):
    """A network with an adapter that says something."""
    model = network()
    make = partial(lora_layer, policy=Dense(), rank=rank, scale=scale, router="random")
    for i, layer in enumerate(inject(model, targets, make, n_experts=1, seed=seed).values()):
        layer.experts.b.data = normal(*layer.experts.b.shape, seed=10 * seed + i)
    return model


def only(e):
    """A policy that uses one expert of all, whatever the logits say."""
    return lambda logits: TopK(1)(torch.nn.functional.one_hot(torch.tensor(e), 2).float().expand_as(logits))


@pytest.mark.parametrize("way", ["folder", "model"])
def test_a_mix_that_uses_one_adapter_answers_what_it_did(way, tmp_path):
    """Adapters of other ranks, scales and layers; one of them alone to the last bit."""
    one, two, x = trained("0", seed=1), trained(["0", "2"], rank=3, scale=0.5, seed=2), normal(9, 8)
    given = [one, two]
    if way == "folder":
        for i, adapter in enumerate(given):
            save_peft(adapter, tmp_path / str(i))
        given = [tmp_path / "0", tmp_path / "1"]
    alone = network()
    mix_adapters(alone, given[1:], TopK(1))
    assert torch.equal(alone(x), two(x))
    mixed = network()
    layers = mix_adapters(mixed, given, TopK(1))
    assert list(layers) == ["0", "2"]
    assert {name for name, p in mixed.named_parameters() if p.requires_grad} == {
        "0.moe.router.weight",
        "2.moe.router.weight",
    }
    for e, adapter in enumerate((one, two)):
        for layer in layers.values():
            layer.policy = only(e)
        torch.testing.assert_close(mixed(x), adapter(x), rtol=1e-5, atol=1e-6)


def test_routers_learn_which_adapter_is_for_which_rows(tmp_path):
    """Rows of two tasks, each answered by its own adapter; only routers move, and the file brings them back."""
    one, two = trained("0", seed=1), trained("0", seed=2)
    x = normal(128, 8)
    is_one = x[:, 0] > 0.0
    target = torch.where(is_one[:, None], one(x), two(x)).detach()
    mixed, base = network(), copy.deepcopy(network().state_dict())
    layer = mix_adapters(mixed, [one, two], StraightThrough(TopK(1)), seed=0)["0"]
    before = copy.deepcopy(layer.experts.state_dict())
    step = torch.optim.Adam(mixed.parameters(), lr=0.1)
    for _ in range(60):
        step.zero_grad()
        (mixed(x) - target).square().mean().backward()
        step.step()
    assert (layer(x).routing.mask[:, 0] == is_one).float().mean() > 0.9
    assert all(torch.equal(value, before[name]) for name, value in layer.experts.state_dict().items())
    assert torch.equal(mixed[2].weight, base["2.weight"])
    save_adapter(mixed, tmp_path / "mix")
    again = network()
    mix_adapters(again, [one, two], StraightThrough(TopK(1)))
    load_adapter(again, tmp_path / "mix")
    assert torch.equal(again(x), mixed(x))


def test_adapters_of_peft_in_a_transformers_model_are_mixed_and_it_generates(tmp_path):
    pytest.importorskip("transformers")
    from small_mixtures import IDS, family

    ids = IDS + 1  # 0 is padding
    make = partial(lora_layer, policy=Dense(), rank=2, router="random")
    outputs = []
    for task in (0, 1):
        model = family("mixtral")
        for layer in inject(model, ["q_proj", "v_proj"], make, n_experts=1, seed=task).values():
            layer.experts.b.data = normal(*layer.experts.b.shape, seed=task)
        save_peft(model, tmp_path / str(task))
        loaded = family("mixtral")
        load_peft(loaded, tmp_path / str(task))
        outputs.append(loaded(input_ids=ids).logits.detach())
    mixed = family("mixtral")
    layers = mix_adapters(mixed, [tmp_path / "0", tmp_path / "1"], TopK(1), seed=0)
    assert len(layers) == 4
    for e in (1, 0):
        for layer in layers.values():
            layer.policy = only(e)
        torch.testing.assert_close(mixed(input_ids=ids).logits, outputs[e], rtol=1e-5, atol=1e-5)
    tokens = mixed.generate(ids[:, :4], max_new_tokens=3, do_sample=False, eos_token_id=49)
    assert tokens.shape[1] > 4
    expected = outputs[0][:, 3].argmax(-1)  # a cache changes nothing
    assert torch.equal(tokens[:, 4], expected)


def test_what_cannot_be_mixed_is_refused_and_the_model_stays(tmp_path):
    with_router = network()
    inject(with_router, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)
    wide = nn.Sequential(nn.Linear(9, 6))
    inject(wide, "0", partial(lora_layer, policy=Dense(), rank=2), n_experts=1)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    for given, words in (
        ([], "no adapters"),
        ([with_router], "adapter 0 has a layer of experts with a router at '0'"),
        ([trained("0"), wide], r"adapter 1 reaches '0' with widths \(9, 6\), which is \(8, 6\)"),
        ([network()], "adapter 0 has nothing injected"),
        ([tmp_path], "only LORA"),
    ):
        model = network()
        with pytest.raises(ValueError, match=words):
            mix_adapters(model, given, TopK(1))
        assert type(model[0]) is nn.Linear
        assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "policy",
    [TopK(1), TopK(2), Unweighted(TopK(2)), WithNull(TopK(2), 1), WithShared(TopK(1), 1), Dense()],
    ids=repr,
)
def test_straight_through_is_hard_forward_and_soft_backward(policy):
    """The gradient of each chosen weight is that of the softmax over all, by hand: p_e (1[e = j] - p_j)."""
    logits = normal(5, 4, seed=1).requires_grad_()
    hard, routing = policy(logits), StraightThrough(policy)(logits)
    assert torch.equal(routing.weights, hard.weights)
    assert torch.equal(routing.mask, hard.mask)
    assert not routing.weights[~routing.mask].any()
    asked = normal(*routing.weights.shape, seed=2)
    (routing.weights * asked).sum().backward()
    n_shared = getattr(policy, "n_shared", 0)
    n = routing.mask.shape[-1] - n_shared
    p = logits.detach().softmax(-1)
    expected = torch.zeros_like(p)
    for t in range(5):
        for e in range(n):
            if routing.mask[t, n_shared + e]:
                for j in range(4):
                    expected[t, j] += asked[t, n_shared + e] * p[t, e] * (float(e == j) - p[t, j])
    torch.testing.assert_close(logits.grad, expected)


def test_straight_through_takes_a_bias_along_and_counts_logits_as_its_policy():
    logits, bias = torch.tensor([[2.0, 1.0]]), torch.tensor([0.0, 9.0])
    assert StraightThrough(WithShared(WithNull(TopK(1), 2), 1)).n_logits(5) == 6
    assert StraightThrough(TopK(1))(logits, bias=bias).weights.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("wrapper", [StraightThrough, Unweighted])
def test_policies_over_another_pass_its_answers_on(wrapper):
    """Logits and the kind of score, too: the weights of the true expert within are those of sigmoids."""
    assert wrapper(ProductTopK(2)).n_logits(16) == 8
    assert WithShared(wrapper(ProductTopK(2)), 1).n_logits(17) == 8
    over = wrapper(WithShared(WithNull(TopK(2, score="sigmoid"), 3), 1))
    assert (over.n_shared, over.n_null, over.score) == (1, 3, "sigmoid")
    assert over.n_active(7, 0.0) == WithShared(WithNull(TopK(2), 3), 1).n_active(7, 0.0)
    logits, sigmoid = torch.tensor([2.0, 1.0, 0.0]), TopK(2, score="sigmoid")
    assert torch.equal(WithNull(wrapper(sigmoid), 1)(logits).weights, WithNull(sigmoid, 1)(logits).weights)


def changed(name, *, frozen=True):
    """An adapter whose model has other numbers in one tensor."""
    adapter = trained("0")
    adapter.get_parameter(name).requires_grad_(not frozen).data += 1.0
    return adapter


def test_what_a_model_learnt_beside_its_adapter_is_not_ignored():
    null = network()
    inject(null, "0", partial(lora_layer, policy=WithNull(TopK(1), 1), rank=2), n_experts=1)
    other = nn.Sequential(*trained("0"), nn.LayerNorm(4).requires_grad_(False))
    for adapter, words in (
        (changed("2.bias", frozen=False), "adapter 0 lets '2.bias' learn, too"),
        (changed("2.bias"), "adapter 0 has other numbers in '2.bias'"),
        (changed("0.moe.shared_expert.weight"), "adapter 0 has other numbers in '0.weight'"),
        (other, r"adapter 0 has '3.bias' of shape \(4,\), which is missing"),
        (null, "only LoRA with one expert of weight 1"),
    ):
        model = network()
        with pytest.raises(ValueError, match=words):
            mix_adapters(model, [adapter], TopK(1))
        assert type(model[0]) is nn.Linear
    model = network()
    inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)
    with pytest.raises(ValueError, match="something was injected into the model before, at '0'"):
        mix_adapters(model, [trained("2")], TopK(1))


def test_adapters_of_scale_0_say_nothing():
    model, x = network(), normal(5, 8)
    mix_adapters(model, [trained("0", scale=0.0), trained("0", scale=0.0, seed=1)], TopK(1))
    torch.testing.assert_close(model(x), network()(x))


@pytest.mark.parametrize("way", ["folder", "model"])
def test_pairs_stay_as_wide_as_they_were_in_a_narrow_model(way, tmp_path):
    adapter, model = trained("0"), network().bfloat16()
    save_peft(adapter, tmp_path)
    experts = mix_adapters(model, [tmp_path if way == "folder" else adapter], TopK(1))["0"].experts
    assert torch.equal(experts.a, adapter[0].moe.experts.a)
    assert torch.equal(experts.b, adapter[0].moe.experts.b)
    assert model(normal(5, 8).bfloat16()).dtype is torch.bfloat16
