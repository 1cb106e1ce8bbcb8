"""Experts of several dense models, one layer for several blocks, and experts of three values."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import (
    FeedForwardExperts,
    MoELayer,
    SharedLayer,
    count_parameters,
    inject,
    layer_counts,
    load_adapter,
    lora_layer,
    record,
    save_adapter,
    ternary,
    ternary_layer,
    upcycle,
    upcycle_models,
    upcycled_layer,
)
from driftmoe.routing import Dense, Routing, TopK


def ffn(seed=0, bias=True, activation=nn.GELU):
    network = nn.Sequential(nn.Linear(8, 12, bias=bias), activation(), nn.Linear(12, 8, bias=bias))
    for i, p in enumerate(network.parameters()):
        p.data = normal(*p.shape, seed=10 * seed + i)
    return network


def network(seed=0):
    model = nn.Sequential(nn.Linear(8, 8), ffn(seed), nn.LayerNorm(8), ffn(seed + 5))
    model[0].weight.data, model[0].bias.data = normal(8, 8, seed=100 + seed), normal(8, seed=200 + seed)
    return model


def all_to(e, n, n_rows):
    """A routing of all rows to one expert."""
    mask = torch.zeros(n_rows, n, dtype=torch.bool)
    mask[:, e] = True
    return Routing(mask.float(), mask, mask.float())


# --------------------------------------------------------------------------------------------------
# Several dense models (BAM)
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_experts_of_several_networks_are_exact_copies_of_each(bias):
    networks, x = [ffn(seed, bias) for seed in range(3)], normal(7, 8)
    experts = upcycle(networks, 6)
    for e in range(6):
        assert torch.equal(experts.w_in[e], networks[e % 3][0].weight.T)
        assert torch.equal(experts.w_out[e], networks[e % 3][2].weight.T)
        torch.testing.assert_close(experts(x, all_to(e, 6, 7)), networks[e % 3](x), rtol=1e-4, atol=1e-5)
    layer = upcycled_layer(networks, n_experts=3, policy=Dense())
    mean = torch.stack([network(x) for network in networks]).mean(0)
    torch.testing.assert_close(layer(x, logits=torch.zeros(7, 3)).output, mean, rtol=1e-4, atol=1e-5)


def test_models_become_experts_of_one_and_the_rest_its_mean():
    """Models that differ in their networks alone: each is found again, whole, when its experts are chosen."""
    models, x = [network(seed) for seed in range(3)], normal(7, 8)
    for model in models[1:]:
        model[0].load_state_dict(models[0][0].state_dict())
    expected = [model(x).detach() for model in models]
    whole = copy.deepcopy(models[0])
    layers = upcycle_models([whole, *models[1:]], ("1", "3"), TopK(1), seed=0)
    for e in range(3):
        for layer in layers.values():
            layer.policy = lambda logits, e=e: all_to(e, 3, len(logits))
        torch.testing.assert_close(whole(x), expected[e], rtol=1e-4, atol=1e-5)
    apart, kept = ([network(seed) for seed in range(2)] for _ in range(2))
    mean = (apart[0][0].weight + apart[1][0].weight).detach() / 2
    upcycle_models(apart, "1", TopK(1))
    torch.testing.assert_close(apart[0][0].weight.detach(), mean)
    first = kept[0][0].weight.detach().clone()
    upcycle_models(kept, "1", TopK(1), rest="first")
    assert torch.equal(kept[0][0].weight, first)


def test_models_that_are_no_copies_of_one_build_are_refused():
    for models, words in (
        ([network()], "1 models; give two or more"),
        ([network(), nn.Sequential(nn.Linear(8, 8))], "model 1 has another '1.0.bias' than the first"),
    ):
        with pytest.raises(ValueError, match=words):
            upcycle_models(models, "1", TopK(1))
    with pytest.raises(ValueError, match="n_experts=4 of 3 networks; choose a multiple"):
        upcycle([ffn(), ffn(), ffn()], 4)
    with pytest.raises(ValueError, match=r"network 1 is .*relu.* and the first .*gelu"):
        upcycle([ffn(), ffn(activation=nn.ReLU)], 2)
    with pytest.raises(TypeError, match=r"upcycle: .*iterator; give a network or a list of networks"):
        upcycle(iter([ffn(), ffn()]), 2)
    with pytest.raises(ValueError, match="rest='sum'; available: mean, first"):
        upcycle_models([network(), network()], "1", TopK(1), rest="sum")


# --------------------------------------------------------------------------------------------------
# One layer for several blocks (WideNet), and a k for each (MoLA)
# --------------------------------------------------------------------------------------------------


def test_blocks_share_one_layer_and_learn_it_together(tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra nn")

    def shared(seed):
        model = network()
        make = SharedLayer(partial(upcycled_layer, policy=TopK(2)))
        return model, inject(model, ("1", "3"), make, n_experts=4, seed=seed)

    (model, layers), x = shared(seed=0), normal(20, 8)
    plain = network()
    inject(plain, ("1", "3"), partial(upcycled_layer, policy=TopK(2)), n_experts=4)
    assert 2 * count_parameters(model).trainable == count_parameters(plain).trainable
    assert layers["1"] is layers["3"]
    torch.testing.assert_close(model[3](x), model[1](x))  # what the first block's network says
    torch.testing.assert_close(model[1](x), network()[1](x), rtol=1e-4, atol=1e-5)
    with record(model) as records:
        model(x).square().mean().backward()
    assert len(records) == 2
    assert layers["1"].experts.w_in.grad.any()
    layers["1"].experts.w_in.data += 1.0
    save_adapter(model, tmp_path / "shared")
    other, _ = shared(seed=1)
    load_adapter(other, tmp_path / "shared")
    assert torch.equal(other(x), model(x))


def test_what_blocks_cannot_share_is_refused():
    wide = nn.Sequential(ffn(), nn.Sequential(nn.Linear(8, 4), nn.GELU(), nn.Linear(4, 8)))
    with pytest.raises(ValueError, match="name blocks of one size, kind and activation"):
        inject(wide, ("0", "1"), SharedLayer(partial(upcycled_layer, policy=TopK(1))), n_experts=2)
    other = nn.Sequential(ffn(), ffn(activation=nn.ReLU))
    make = SharedLayer(partial(upcycled_layer, policy=TopK(1)))
    with pytest.raises(ValueError, match=r"relu.* name blocks of one size, kind and activation"):
        inject(other, ("0", "1"), make, n_experts=2)
    assert type(other[0]) is nn.Sequential
    with pytest.raises(ValueError, match=r"SharedLayer: .* one call of inject"):
        inject(nn.Sequential(ffn()), "0", make, n_experts=2)
    with pytest.raises(ValueError, match="goes around a module"):
        inject(
            network(), ("1.0", "3.0"), SharedLayer(partial(lora_layer, policy=TopK(1), rank=2)), n_experts=2
        )


def test_each_layer_may_have_a_k_of_its_own():
    """MoLA's official code has a list of them."""
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
    targets = [str(i) for i in range(4)]
    layers = inject(model, targets, partial(lora_layer, policy=TopK(1), rank=2), n_experts=4)
    for layer, k in zip(layers.values(), layer_counts(4, (1, 3)), strict=True):
        layer.policy = TopK(k)
    with record(model) as records:
        model(normal(5, 8))
    assert [result.routing.n_used.unique().tolist() for _, result in records] == [[1], [1], [3], [3]]


# --------------------------------------------------------------------------------------------------
# Three values (MoTE)
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_ternary_experts_compute_with_three_values_and_gradients_pass_straight_through(activation):
    full = FeedForwardExperts(3, 8, 16, activation=activation, bias=True, seed=0)
    experts, x, routing = ternary(full), normal(9, 8), TopK(2)(normal(9, 3, seed=1))
    plain = copy.deepcopy(full)
    for w, of in ((plain.w_in, full.w_in), (plain.w_out, full.w_out)):
        for e in range(3):
            s = of[e].abs().mean()
            w.data[e] = s * torch.where(of[e].abs() > s / 2, of[e].sign(), 0.0)
            assert len(w[e].unique()) == 3
    assert torch.equal(experts(x, routing), plain(x, routing))
    for module in (experts, plain):
        module(x, routing).square().sum().backward()
    for p, q in zip(experts.parameters(), plain.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_ternary_experts_learn():
    x = normal(64, 8)
    layer = MoELayer(nn.Linear(8, 4), ternary(FeedForwardExperts(4, 8, 32, seed=0)), TopK(2))
    step, losses = torch.optim.Adam(layer.parameters(), lr=0.01), []
    for _ in range(40):
        step.zero_grad()
        losses.append((layer(x).output - x.sin()).square().mean())
        losses[-1].backward()
        step.step()
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("n_features", [64, 7])
def test_packed_experts_answer_the_same_and_take_a_twelfth_at_most(n_features, tmp_path):
    files = pytest.importorskip("safetensors.torch", reason="needs the extra nn")
    experts, x = ternary(FeedForwardExperts(4, n_features, 96, bias=True, seed=0)), normal(9, n_features)
    other = ternary(FeedForwardExperts(4, n_features, 96, bias=True, seed=1))
    files.save_file(experts.packed(), tmp_path / "packed")
    files.save_file(dict(experts.state_dict()), tmp_path / "full")
    other.load_packed(files.load_file(tmp_path / "packed"))
    routing = TopK(2)(normal(9, 4))
    torch.testing.assert_close(other(x, routing), experts(x, routing), rtol=1e-5, atol=1e-6)
    assert torch.equal(other.packed()["w_in.trits"], experts.packed()["w_in.trits"])
    if n_features == 64:
        assert 12 * (tmp_path / "packed").stat().st_size < (tmp_path / "full").stat().st_size
    before = copy.deepcopy(other.state_dict())
    for wrong, words in (
        ({"w_in.scale": None}, "w_in.scale is missing"),
        ({"w_in.trits": torch.zeros(4, 3, dtype=torch.uint8)}, r"w_in.trits is \(\(4, 3\), torch.uint8\)"),
        ({"w_out.trits": experts.packed()["w_out.trits"] | 255}, "w_out.trits is damaged"),
        ({"w_out.scale": torch.full((4,), torch.nan)}, "w_out.scale is damaged"),
        ({"w_in.scale": -experts.packed()["w_in.scale"]}, "w_in.scale is damaged"),
        ({"more": torch.zeros(1)}, "nothing is meant"),
    ):
        packed = {name: t for name, t in (experts.packed() | wrong).items() if t is not None}
        with pytest.raises(ValueError, match=words):
            other.load_packed(packed)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    experts.w_in.data[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="w_in holds NaN"):
        experts.packed()


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_the_parts_of_ternary_experts_sum_to_them_and_have_three_values(activation):
    whole, x = ternary(FeedForwardExperts(2, 8, 16, activation=activation, bias=True, seed=0)), normal(9, 8)
    fine = whole.split(4)
    assert fine.w_out.shape == (8, 4, 8)
    sums = torch.zeros(9, 8)
    for e in range(4, 8):
        sums += fine(x, all_to(e, 8, 9))
    torch.testing.assert_close(sums, whole(x, all_to(1, 2, 9)), rtol=1e-4, atol=1e-6)


def test_the_frozen_network_is_the_shared_expert_of_ternary_ones():
    model, x = network(), normal(5, 8)
    dense = copy.deepcopy(model[1])
    layer = inject(model, "1", ternary_layer, n_experts=3)["1"]
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {
        "router.weight", "experts.w_in", "experts.w_out", "experts.b_in", "experts.b_out",
    }  # fmt: skip
    routing = layer(x).routing
    expected = dense(x) + ternary(upcycle(dense, 3))(x, routing)
    torch.testing.assert_close(layer(x).output, expected)
