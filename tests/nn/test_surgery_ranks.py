"""Ranks that are added for tasks, ranks of no use, several FlyLoRAs as one, and modules that are added and pruned."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from small_layers import normal
from surgery_layers import feed_forward
from torch import nn

from driftmoe.nn import flylora, inject, lora_layer, mora, record, usage
from driftmoe.nn.surgery import add_ranks, grow, install, merge_flylora, prune, prune_ranks
from driftmoe.routing import TopK


def linear():
    made = nn.Linear(8, 6).requires_grad_(False)
    made.weight.data, made.bias.data = normal(6, 8), normal(6)
    return made


def learnt(layer, seed=8):
    for part in getattr(layer.experts, "parts", [layer.experts]):
        part.b.data = normal(*part.b.shape, seed=seed).to(part.b)
    return layer


# --------------------------------------------------------------------------------------------------
# Ranks for each task (MoRA)
# --------------------------------------------------------------------------------------------------


def test_added_ranks_compete_with_frozen_old_ones_by_the_formula():
    layer, x = learnt(mora(linear(), n_experts=4, k=2, temperature=0.3, seed=0)), normal(20, 8)
    grown = learnt(add_ranks(add_ranks(layer, 3, seed=1), 2, seed=2), seed=4)
    a = torch.cat([part.a for part in grown.experts.parts])[:, 0]
    b = torch.cat([part.b for part in grown.experts.parts])[:, 0]
    said = x @ a.T  # (20, 9)
    p = (said / said.norm(dim=-1, keepdim=True) / 0.3).softmax(-1)
    gate = torch.zeros_like(p)
    for t in range(20):
        best = p[t].topk(2).indices
        gate[t, best] = p[t, best]
    expected = linear()(x) + 2.0 * (gate * said) @ b
    torch.testing.assert_close(grown(x).output, expected, rtol=1e-4, atol=1e-5)
    for same in (copy.deepcopy(grown), pickle.loads(pickle.dumps(grown))):
        assert torch.equal(same(x).output, grown(x).output)


def test_old_ranks_stay_while_new_ones_learn_another_task():
    layer, x = learnt(mora(linear(), n_experts=4, k=4, seed=0)), normal(200, 8)
    grown = add_ranks(layer, 4, policy=TopK(8, renorm=False), seed=1)
    old = copy.deepcopy(grown.experts.parts[0].state_dict())
    assert torch.equal(old["b"], layer.experts.b)
    target = layer(x).output.detach() + x[:, :6].tanh()
    step, errors = torch.optim.AdamW(grown.parameters(), lr=0.05, weight_decay=0.1), []
    for _ in range(40):
        step.zero_grad()
        errors.append((grown(x).output - target).square().mean())
        errors[-1].backward()
        step.step()
    assert errors[-1] < 0.7 * errors[0]
    assert all(torch.equal(value, old[name]) for name, value in grown.experts.parts[0].state_dict().items())


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.99])
def test_ranks_that_no_row_finds_relevant_go(threshold):
    layer, x = learnt(add_ranks(mora(linear(), n_experts=4, k=2, seed=0), 4, seed=1)), normal(40, 8)
    p = layer.router(x).softmax(-1)
    small = prune_ranks(layer, x, threshold=threshold)
    relevant = (p > threshold).any(0)
    n = max(2, int(relevant.sum()))  # as many as a row uses
    assert small.experts.n_experts == n
    kept = sorted(p.amax(0).topk(n).indices.tolist())
    parts = getattr(small.experts, "parts", [small.experts])
    whole = torch.cat([part.a for part in layer.experts.parts])
    assert torch.equal(torch.cat([part.a for part in parts]), whole[kept])
    if n == 8:
        assert torch.equal(small(x).output, layer(x).output)


def test_what_has_no_ranks_of_its_own_is_refused():
    plain = lora_layer(linear(), n_experts=4, policy=TopK(2), rank=1)
    fly = flylora(linear(), n_experts=4, k=2)
    for layer in (plain, fly):
        with pytest.raises(TypeError, match="add_ranks: the router is none of mora"):
            add_ranks(layer, 2)
    with pytest.raises(TypeError, match="merge_flylora: the router is none of flylora"):
        merge_flylora([fly, mora(linear(), n_experts=4, k=2)])
    for layers, weights, words in (
        ([], None, "0 layers"),
        ([fly], [1.0, 2.0], "1 layers and 2 weights"),
        ([fly, fly], [1.0, torch.nan], "weights=.*nan.*; give finite numbers"),
        ([fly, flylora(nn.Linear(8, 6), n_experts=4, k=2)], None, "layer 1 goes around another linear layer"),
        ([fly, flylora(nn.Linear(9, 6), n_experts=4, k=2)], None, "layer 1 has other widths"),
    ):
        with pytest.raises(ValueError, match=words):
            merge_flylora(layers, weights)
    with pytest.raises(ValueError, match=r"threshold=1\.0"):
        prune_ranks(mora(linear(), n_experts=4, k=2), normal(5, 8), threshold=1.0)


# --------------------------------------------------------------------------------------------------
# Several FlyLoRAs as one
# --------------------------------------------------------------------------------------------------


def test_a_merged_layer_adds_up_what_each_adds():
    layers = [learnt(flylora(linear(), n_experts=8, k=k, seed=k), seed=k) for k in (2, 3, 1)]
    layers[1].scale = 0.5
    layers[0].balancer.bias[4] = 9.0  # which is always chosen then
    x = normal(2, 10, 8)
    merged = merge_flylora(layers, [1.0, -0.5, 2.0])
    base = linear()(x)
    expected = base + sum(
        weight * (layer(x).output - base) for weight, layer in zip((1.0, -0.5, 2.0), layers, strict=True)
    )
    torch.testing.assert_close(merged(x).output, expected, rtol=1e-4, atol=1e-5)
    assert (merged(x).routing.n_used == 6).all()
    assert merged(x).routing.mask[..., 4].all()
    assert [name for name, p in merged.named_parameters() if p.requires_grad] == ["experts.b"]
    again = merge_flylora([layers[0], merged], [1.0, -1.0])
    other = base + (layers[0](x).output - base) - (expected - base)
    torch.testing.assert_close(again(x).output, other, rtol=1e-4, atol=1e-5)
    layers[0].scale = 0.0  # which says nothing then
    left = merge_flylora(layers[:2])
    torch.testing.assert_close(left(x).output, layers[1](x).output, rtol=1e-4, atol=1e-5)
    model = nn.Sequential(linear())
    inject(model, "0", partial(flylora, k=2), n_experts=8)
    install(model, {"0.moe": merged})
    assert torch.equal(model(x), merged(x).output)


def test_projections_that_were_drawn_apart_disturb_each_other_less_than_one_and_the_same():
    """The paper's claim: cos of two changes A1ᵀ B1 and A2ᵀ B2, whose B's are alike, is near 0 for other A's."""
    wide = nn.Linear(256, 32)

    def change(seed):
        layer = flylora(wide, n_experts=32, k=8, seed=seed)
        layer.experts.b.data = normal(*layer.experts.b.shape, seed=1)
        layer.experts.b.data += 0.1 * normal(*layer.experts.b.shape, seed=2 + seed)
        return (layer.experts.a[:, 0].T @ layer.experts.b[:, 0]).detach().flatten()

    def cosine(one, other):
        return nn.functional.cosine_similarity(one, other, dim=0).abs().item()

    one, two = change(0), change(1)
    same = (
        flylora(wide, n_experts=32, k=8, seed=0).experts.a[:, 0].T
        @ (normal(32, 1, 32, seed=1) + 0.1 * normal(32, 1, 32, seed=9))[:, 0]
    )
    assert cosine(one, two) < 0.1
    assert cosine(one, same.detach().flatten()) > 0.9


# --------------------------------------------------------------------------------------------------
# Modules that are added, and pruned where unused (ModuleFormer)
# --------------------------------------------------------------------------------------------------


def test_new_modules_that_a_new_task_does_not_use_go_without_a_change():
    layer, x = feed_forward(policy=TopK(2)), normal(100, 8)
    x[:, 7] = 1.0
    before = layer(x).output.detach()
    grown = grow(layer, 3, seed=0)
    with torch.no_grad():
        grown.router.parts[1].weight[2, 7] = -20.0  # the last new one is for no row of this task
    assert torch.equal(grown(x).output, before)  # nothing old is lost while the new say nothing
    target = before + x.sin()
    step, errors = torch.optim.Adam([p for p in grown.parameters() if p.requires_grad], lr=0.02), []
    for _ in range(60):
        step.zero_grad()
        errors.append((grown(x).output - target).square().mean())
        errors[-1].backward()
        step.step()
    assert errors[-1] < 0.7 * errors[0]
    with record(grown) as records:
        grown(x)
    share = usage(records)[""].share
    used = [e for e in range(7) if share[e] > 0.0]
    assert {0, 1, 2, 3} < set(used) < set(range(7))  # some new ones are used, and not all
    small = prune(grown, keep=used)
    assert torch.equal(small(x).output, grown(x).output)
    back = prune(grown, keep=range(4))
    assert torch.equal(back(x).output, before)
