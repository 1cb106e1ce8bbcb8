"""The layer in narrow types, and compiled."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from small_layers import WAYS, layer_of, normal
from torch import nn

from driftmoe.nn import (
    FusedWeight,
    dispatch,
    flylora,
    fused_lora,
    inject,
    lora_layer,
    mora,
    smora,
    upcycled_layer,
)
from driftmoe.routing import ADAMOE, DYNMOLE, Dense, GroupTopK, TopK, WithNull, WithShared


@pytest.mark.parametrize("way", WAYS)
def test_autocast_narrows_the_experts_and_not_the_router(way, take):
    take(way)
    layer, x = layer_of(shared_expert=nn.Linear(8, 8)), normal(32, 8).requires_grad_()
    wide = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = layer(x)
    assert narrow.output.dtype == torch.bfloat16
    assert torch.equal(narrow.routing.weights, wide.routing.weights)
    torch.testing.assert_close(narrow.output.float(), wide.output, rtol=0.05, atol=0.02)
    narrow.output.float().square().sum().backward()
    assert layer.experts.w_in.grad.dtype == torch.float32


def test_sums_are_not_narrower_than_weights_alone_or_in_a_batch():
    """256 · sigmoid(z) - 256 · sigmoid(-z), whose weights bfloat16 cannot tell apart."""
    logits = torch.tensor([[0.004, 0.0], [0.004, 0.0]])
    lines = torch.tensor([[256.0], [256.0], [-256.0], [-256.0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        both = dispatch.collect(lines, Dense()(logits).plan, 2)
        alone = dispatch.collect(lines[::2], Dense()(logits[:1]).plan, 1)
    assert both.flatten().tolist() == pytest.approx([256 * math.tanh(0.002)] * 2, rel=0.01)
    assert torch.equal(alone, both[:1])


def test_float32_pairs_learn_in_a_bfloat16_model():
    """As peft's do; expected by the formula in float32."""
    linear, x = nn.Linear(8, 6).bfloat16(), normal(50, 8, dtype=torch.bfloat16)
    layer = lora_layer(linear, n_experts=2, policy=TopK(1), rank=2, seed=0)
    layer.experts.float()
    layer.experts.b.data = normal(2, 2, 6)
    result = layer(x)
    a, b = layer.experts.a, layer.experts.b
    said = torch.einsum("ne,eri,ni,ero->no", result.routing.weights, a, x.float(), b)
    assert result.output.dtype == torch.bfloat16
    assert torch.equal(result.output, linear(x) + (2.0 * said.bfloat16()))
    result.output.float().square().sum().backward()
    assert layer.experts.b.grad.dtype == torch.float32

    weight = nn.Parameter(normal(4, 6, 8, dtype=torch.bfloat16), requires_grad=False)
    lora = fused_lora(FusedWeight(weight, is_transposed=False), rank=2, seed=0)
    lora.a.data, lora.b.data = normal(4, 2, 8), normal(4, 2, 6)
    whole = weight.float() + 2.0 * lora.b.mT @ lora.a
    assert lora().dtype == torch.bfloat16
    torch.testing.assert_close(lora().float(), whole, rtol=2**-8, atol=1e-6)
    expected = lora().detach().clone()
    lora.merge()
    assert torch.equal(lora.weight, expected)


def test_decisions_in_a_bfloat16_model_are_those_of_a_float32_router():
    layer = layer_of(TopK(2), n_experts=32)
    layer.experts.bfloat16()
    x = normal(500, 8, dtype=torch.bfloat16)
    mask = layer(x).routing.mask
    assert torch.equal(mask, TopK(2)(layer.router(x.float())).mask)
    layer.router.bfloat16()  # as `layer.bfloat16()` makes it
    assert not torch.equal(layer(x).routing.mask, mask)


# torch itself looks at what it warns of.
@pytest.mark.filterwarnings("default:The .grad attribute:UserWarning")
@pytest.mark.parametrize("policy", [TopK(2), WithNull(TopK(2), 2)], ids=["top-2", "null"])
def test_a_compiled_layer_is_the_same(policy):
    layer = layer_of(policy, shared_expert=nn.Linear(8, 8))
    compiled = torch.compile(layer, backend="aot_eager")
    for n_rows in (12, 7):
        x = normal(n_rows, 8, seed=n_rows)
        expected, result = layer(x), compiled(x)
        torch.testing.assert_close(result.output, expected.output)
        torch.testing.assert_close(result.losses["entropy"], expected.losses["entropy"])
    compiled_so_far = torch._dynamo.utils.counters["frames"]["ok"]
    for n_rows in (30, 17, 20, 41):
        compiled(normal(n_rows, 8, seed=n_rows))  # numbers of lines that were not seen before
    assert torch._dynamo.utils.counters["frames"]["ok"] == compiled_so_far
    gradients = [
        torch.autograd.grad(f(x).output.square().sum(), layer.experts.w_in) for f in (layer, compiled)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("make", "n_experts"),
    [
        (partial(lora_layer, policy=DYNMOLE, rank=2), 4),  # computes all ranks at once
        (partial(lora_layer, policy=TopK(2), rank=8), 32),  # dispatches rows
        (partial(upcycled_layer, policy=TopK(2)), 4),
    ],
    ids=["narrow", "wide", "feed-forward"],
)
def test_injected_experts_compile_in_one_piece(make, n_experts):
    dense = nn.Linear(8, 8)
    if make.func is upcycled_layer:
        dense = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
    model, x = nn.Sequential(dense), normal(12, 8)
    for layer in inject(model, "0", make, n_experts=n_experts, seed=1).values():
        for parameter in layer.experts.parameters():
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


POLICIES_WITHOUT_COUNTS = [TopK(2), Dense(), WithShared(TopK(2), 1), GroupTopK(2, n_groups=2, n_kept=1)]


@pytest.mark.parametrize(
    "make",
    [
        *(
            partial(lora_layer, policy=policy, rank=2)
            for policy in (*POLICIES_WITHOUT_COUNTS, DYNMOLE, ADAMOE)
        ),
        *(partial(of_kind, k=2) for of_kind in (flylora, mora, smora)),
        *(partial(upcycled_layer, policy=policy) for policy in POLICIES_WITHOUT_COUNTS),
    ],
)
def test_no_number_is_fetched_from_a_device(make, monkeypatch):
    """The meta device has no numbers to fetch."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # it knows no such device
    dense = nn.Linear(8, 8)
    if make.func is upcycled_layer:
        dense = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
    layer = make(dense.bfloat16(), n_experts=8).to("meta")
    x = torch.ones(3, 5, 8, dtype=torch.bfloat16, device="meta")
    output = layer(x, rows=torch.ones(3, 5, dtype=torch.bool, device="meta")).output
    assert output.shape == x.shape
    output.sum().backward()


@pytest.mark.parametrize("policy", POLICIES_WITHOUT_COUNTS)
def test_a_plan_of_known_length_has_the_same_pairs(policy, monkeypatch):
    routing = policy(normal(20, policy.n_logits(8)))
    routing = replace(routing, mask=routing.mask & (torch.arange(20) != 3)[:, None])  # a row without experts
    routing = replace(routing, weights=routing.weights * routing.mask)
    counted, lines = routing.plan, normal(20, 4)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    known = replace(routing).plan
    assert len(known.rows) == 20 * routing.at_most
    assert (known.experts.diff() >= 0).all()
    kept = known.weights > 0.0
    for name in ("rows", "experts", "weights"):
        assert torch.equal(getattr(known, name)[kept], getattr(counted, name))
    weight = normal(8, 4, 4, seed=1)
    for plan in (counted, known):
        out = dispatch.collect(dispatch.by_gathering(dispatch.spread(lines, plan), weight, plan), plan, 20)
        expected = torch.einsum("te,ti,eij->tj", routing.weights, lines, weight)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
