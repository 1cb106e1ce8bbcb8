"""Dispatch: each way of it equals a loop over rows and experts."""

from __future__ import annotations

import pytest
import torch
from reference.nn import experts_slowly, feed_forward_slowly
from small_layers import WAYS, n_logits, normal
from torch import nn

from driftmoe.nn import FeedForwardExperts, MoELayer, dispatch
from driftmoe.routing import DYNMOLE, STREAM, Dense, GroupTopK, TopK, TopP, WithNull, WithShared

POLICIES = {
    "dense": Dense(),
    "top-1": TopK(1),
    "top-2": TopK(2),
    "top-2 raw": TopK(2, renorm=False),
    "top-p": TopP(0.6),
    "hybrid": DYNMOLE,
    "stream": STREAM,
    "null": WithNull(TopK(2), 3),
    "shared": WithShared(TopK(2), 1),
    "groups": GroupTopK(2, n_groups=2, n_kept=1),
}


def expert_by_hand(experts, dtype=torch.float64):
    """The e-th network on a row, and the weights that it reads, in another precision."""
    weights = [w if w is None else w.detach().to(dtype).requires_grad_() for w in parts(experts)]

    def expert(e, row):
        w_in, w_out, b_in, b_out = weights
        biases = (0.0, 0.0) if b_in is None else (b_in[e], b_out[e])
        return feed_forward_slowly(row, w_in[e], w_out[e], *biases, experts.activation)

    return expert, weights


def parts(experts):
    return experts.w_in, experts.w_out, experts.b_in, experts.b_out


def assert_equals_the_double_loop(experts, x, routing_of, logits, tolerance):
    """Outputs, and the gradients of input, logits and all weights, beside those of the loop in float64."""
    x, logits = x.requires_grad_(), logits.requires_grad_()
    routing = routing_of(logits)
    direction = normal(*x.shape, seed=9)
    output = experts(x, routing)
    output.backward(direction.to(output.dtype))

    expert, weights = expert_by_hand(experts)
    slow_x, slow_logits = (v.detach().double().requires_grad_() for v in (x, logits))
    slow = experts_slowly(slow_x, routing_of(slow_logits).weights, routing.mask, expert)
    slow.backward(direction)
    pairs = [(output, slow), (x.grad, slow_x.grad), (logits.grad, slow_logits.grad)]
    for fast, by_hand in zip(parts(experts), weights, strict=True):
        if fast is not None:
            pairs.append((fast.grad, by_hand.grad))
    for fast, by_hand in pairs:
        assert fast.shape == by_hand.shape
        scale = by_hand.abs().max().clamp_min(1e-6)
        torch.testing.assert_close(fast.double() / scale, by_hand / scale, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "swiglu"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_dispatch_equals_the_double_loop(way, activation, bias, take):
    take(way)
    experts = FeedForwardExperts(5, 8, 12, activation=activation, bias=bias, seed=1)
    assert_equals_the_double_loop(experts, normal(11, 8), TopK(2), normal(11, 5, seed=2), 1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_dispatch_equals_the_double_loop_in_bfloat16(way, take):
    take(way)
    experts = FeedForwardExperts(5, 8, 16, bias=True, seed=1).bfloat16()
    x = normal(11, 8, dtype=torch.bfloat16)
    assert_equals_the_double_loop(experts, x, TopK(2), normal(11, 5, seed=2), 0.02)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_every_policy_equals_the_double_loop(policy):
    experts = FeedForwardExperts(6, 8, 8, seed=1)
    assert_equals_the_double_loop(experts, normal(9, 8), policy, normal(9, n_logits(policy, 6), seed=2), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(7, 5), (8, 5), (7, 16), (1, 1)])
def test_odd_sizes_and_types_equal_the_double_loop(sizes, dtype):
    """What grouped products do not take goes another way by itself."""
    n_features, n_hidden = sizes
    experts = FeedForwardExperts(3, n_features, n_hidden, activation="gelu", seed=1).to(dtype)
    x, logits = normal(13, n_features, dtype=dtype), normal(13, 3, seed=2)
    assert_equals_the_double_loop(experts, x, TopK(2), logits, 0.03 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chosen", [[2] * 9, [0, 4, 4, 0, 0, 4, 0, 0, 4], list(range(5)), [3], []])
def test_experts_without_rows_and_one_with_all_of_them(chosen, way, take):
    """Every row to one expert, rows to two of five, one each, a single row, and none."""
    take(way)
    experts = FeedForwardExperts(5, 8, 8, seed=1)
    logits = 3.0 * nn.functional.one_hot(torch.tensor(chosen, dtype=torch.int64), 5).float()
    if not chosen:
        experts(normal(0, 8), TopK(1, renorm=False)(logits)).sum().backward()
        assert all(w.grad is not None and not w.grad.any() for w in (experts.w_in, experts.w_out))
        return
    x = normal(len(chosen), 8)
    assert_equals_the_double_loop(experts, x, TopK(1, renorm=False), logits, 1e-5)
    unused = sorted(set(range(5)) - set(chosen))
    assert not experts.w_in.grad[unused].any()


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_that_is_the_same_everywhere_passes(way, take):
    """`sum` hands back an expanded gradient, of strides 0, which grouped products refuse."""
    take(way)
    experts = FeedForwardExperts(3, 8, 8, bias=True, seed=1)
    routing = TopK(2)(normal(6, 3, seed=2))
    output = experts(normal(6, 8), routing)
    output.sum().backward()
    through_sum = experts.w_in.grad.clone()
    experts.w_in.grad = None
    experts(normal(6, 8), routing).backward(torch.ones(6, 8))
    torch.testing.assert_close(through_sum, experts.w_in.grad)


def test_gradients_are_those_of_finite_differences():
    layer = MoELayer(nn.Linear(3, 4), FeedForwardExperts(4, 3, 5, bias=True, seed=1), TopK(2)).double()
    x = normal(4, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x).output, (x,))


@pytest.mark.parametrize(
    ("dtype", "n_in", "n_out", "offset", "expected"),
    [
        (torch.float32, 8, 4, 0, True),
        (torch.float32, 8, 6, 0, False),
        (torch.bfloat16, 8, 4, 0, False),
        (torch.bfloat16, 8, 16, 0, True),
        (torch.float64, 8, 8, 0, False),
        (torch.float32, 8, 8, 1, False),
    ],
    ids=["float32", "6 wide", "bfloat16, 4 wide", "bfloat16", "float64", "off by an element"],
)
def test_grouped_products_are_for_whole_sixteen_bytes_and_few_types(dtype, n_in, n_out, offset, expected):
    """And what they do not take has the same result."""
    size = 3 * n_in * n_out
    weight = normal(size + offset, dtype=dtype)[offset:].view(3, n_in, n_out)
    lines, plan = normal(12, n_in, dtype=dtype), TopK(2)(normal(6, 3)).plan
    assert dispatch.can_group(lines, weight) == expected
    out = dispatch.expert_linear(lines, weight, plan)
    by_hand = torch.stack([line @ weight[e] for line, e in zip(lines, plan.experts, strict=True)])
    torch.testing.assert_close(out, by_hand, rtol=0.05 if dtype == torch.bfloat16 else 1e-5, atol=0.05)


def test_segments_are_operators_that_torch_finds_no_fault_with():
    """Schema, shapes for the compiler, and gradients of gradients."""
    lines = normal(6, 3, dtype=torch.float64).requires_grad_()
    weight = normal(4, 3, 2, seed=1, dtype=torch.float64).requires_grad_()
    left, right, offsets = (
        lines.detach().clone(),
        normal(6, 2, dtype=torch.float64),
        torch.tensor([0, 2, 2, 6, 6]),
    )
    for x in (left, right):
        x.requires_grad_()
    mm, outer = dispatch._segment_mm, dispatch._segment_outer
    for operator, inputs in ((mm, (lines, weight)), (outer, (left, right))):
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(operator, (*inputs, offsets), test_utils=checks)
        assert torch.autograd.gradgradcheck(lambda a, b, operator=operator: operator(a, b, offsets), inputs)


def test_without_grouped_products_there_are_segments(monkeypatch):
    monkeypatch.delattr(torch.nn.functional, "grouped_mm")  # as before torch 2.10
    monkeypatch.setattr(dispatch, "by_groups", None)
    experts = FeedForwardExperts(5, 8, 16, seed=1)
    assert_equals_the_double_loop(experts, normal(11, 8), TopK(2), normal(11, 5, seed=2), 1e-5)


@pytest.mark.parametrize("policy", [TopK(1), WithNull(TopK(2), 6), TopP(0.5)], ids=["top-1", "null", "top-p"])
def test_only_chosen_pairs_are_computed(policy, monkeypatch):
    """Nulls and experts that were not chosen cost no line of a product."""
    lengths = []
    linear = dispatch.expert_linear

    def counted(lines, *rest):
        lengths.append(len(lines))
        return linear(lines, *rest)

    monkeypatch.setattr("driftmoe.nn.experts.expert_linear", counted)
    logits = normal(50, n_logits(policy, 4), seed=2)
    routing = policy(logits)
    FeedForwardExperts(4, 8, 8, seed=1)(normal(50, 8), routing)
    assert lengths == [routing.mask.sum().item()] * 2
    if isinstance(policy, WithNull):
        assert lengths[0] < 50  # of the 100 places nulls got more than half


def test_a_row_of_nulls_alone_gets_zeros_and_no_gradient():
    policy = WithNull(TopK(1), 1)
    logits = torch.tensor([[0.0, 0.0, 5.0], [5.0, 0.0, 0.0]])
    x = normal(2, 8).requires_grad_()
    output = FeedForwardExperts(2, 8, 8, seed=1)(x, policy(logits))
    output.sum().backward()
    assert not output[0].any()
    assert output[1].any()
    assert not x.grad[0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_the_benchmark_times_gives_equal_answers(dtype):
    pytest.importorskip("transformers", reason="needs the extra dev")
    from benchmarks import dispatch as benchmark

    size = benchmark.Size(64, 16, 16, 4, 2, dtype)
    entries = benchmark.ways(size)
    assert len(entries) == 6
    x, direction = normal(64, 16, dtype=dtype), normal(64, 16, seed=5, dtype=dtype)
    benchmark.check(entries, x, direction)
    benchmark.check(benchmark.lora_ways(benchmark.LoRASize(64, 16, 4, 2, 2, dtype)), x, direction)
    entries["wrong"] = benchmark.Way(lambda x: entries[benchmark.OURS].call(-x), [])
    with pytest.raises(AssertionError, match="wrong: another answer"):
        benchmark.check(entries, x, direction)
