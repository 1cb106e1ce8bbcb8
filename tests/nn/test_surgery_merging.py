"""Experts that are merged, or leave their neurons to others."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_layers import layer_of, normal
from surgery_layers import USED, adapters, feed_forward, permuted
from torch import nn

from driftmoe.nn import FeedForwardExperts, Unweighted, inject, lora_layer, mora, usage
from driftmoe.nn.surgery import Merged, groups, grow, install, merge, merge_back, prune, recombine
from driftmoe.routing import BiasBalancer, Dense, TopK, TopP, WithNull, WithShared


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
@pytest.mark.parametrize(
    "policy", [TopK(2), WithNull(TopK(3), 2), WithShared(TopK(2), 1), TopP(0.6)], ids=repr
)
def test_permuted_copies_merge_exactly_after_alignment_and_not_without(activation, policy):
    first = getattr(policy, "n_shared", 0)
    layer, x = feed_forward(activation, policy, 4 + first), normal(40, 8)
    permuted(layer.experts, first + 2, of=first)
    permuted(layer.experts, first + 3, of=first, seed=1)
    whole = layer(x)
    merged = merge(layer, [[0, 2, 3], [1]], usage=USED)
    assert merged.experts.n_experts == 2 + first
    torch.testing.assert_close(merged(x).output, whole.output, atol=1e-6, rtol=1e-5)
    without = merge(layer, [[0, 2, 3], [1]], usage=USED, align=False)
    assert (without(x).output - whole.output).abs().max() > 0.1


def test_merged_experts_are_means_by_use_and_the_router_goes_on():
    layer = layer_of(balancer=BiasBalancer(4))
    layer.balancer.bias = torch.tensor([0.0, 0.3, 0.1, -0.4])
    merged = merge(layer, [[1], [0, 3], [2]], usage=[0.6, 0.2, 0.0, 0.2], align=False)
    torch.testing.assert_close(
        merged.experts.w_in[1], 0.75 * layer.experts.w_in[0] + 0.25 * layer.experts.w_in[3]
    )
    assert torch.equal(merged.experts.w_in[0], layer.experts.w_in[1])
    assert torch.equal(merged.router.weight, layer.router.weight)
    expected = torch.tensor([0.3, -0.1, 0.1]) - 0.1
    torch.testing.assert_close(merged.balancer.bias, expected)
    merged.balancer.update(merged(normal(9, 8)).load)


@pytest.mark.parametrize("seed", range(3))
def test_lora_experts_that_are_the_same_matrix_merge_exactly_whatever_their_factors(seed):
    layer, x = adapters(), normal(30, 8)
    mixed = normal(3, 3, seed=seed + 20)  # A -> M A, B -> M⁻ᵀ B keep Aᵀ B
    layer.experts.a.data[2] = mixed @ layer.experts.a.data[0]
    layer.experts.b.data[2] = torch.linalg.inv(mixed).T @ layer.experts.b.data[0]
    merged = merge(layer, [[0, 2], [1], [3]], usage=USED)
    torch.testing.assert_close(merged(x).output, layer(x).output, atol=2e-5, rtol=1e-4)
    unaligned = merge(layer, [[0, 2], [1], [3]], usage=USED, align=False)
    assert (unaligned(x).output - layer(x).output).abs().max() > 0.1


def test_merged_lora_experts_are_the_nearest_matrices_of_their_rank():
    layer = adapters()
    merged = merge(layer, [[0, 1], [2, 3]], usage=USED)
    a, b = layer.experts.a, layer.experts.b
    mean = 0.8 * a[0].T @ b[0] + 0.2 * a[1].T @ b[1]
    left = mean - merged.experts.a[0].T @ merged.experts.b[0]
    expected = torch.linalg.svdvals(mean)[3:].square().sum()  # Eckart and Young
    torch.testing.assert_close(left.square().sum(), expected, rtol=1e-4, atol=1e-6)
    new = adapters()
    new.experts.b.data.zero_()
    grouped = merge(new, [[0, 1], [2, 3]])
    assert not grouped.experts.b.any()
    assert (grouped.experts.a.norm(dim=-1) > 0.1).all()  # else no rank would ever learn


def test_lora_experts_of_more_ranks_than_widths_merge():
    layer = lora_layer(nn.Linear(8, 2), n_experts=4, policy=TopK(2), rank=5, seed=0)
    layer.experts.b.data = normal(*layer.experts.b.shape)
    merged = merge(layer, [[0, 1], [2], [3]])
    a, b = layer.experts.a, layer.experts.b
    mean = 0.5 * (a[0].T @ b[0] + a[1].T @ b[1])
    torch.testing.assert_close(merged.experts.a[0].T @ merged.experts.b[0], mean)
    assert merged.experts.a.shape == (3, 5, 8)


def test_groups_are_around_the_most_used_experts():
    likeness = torch.tensor(
        [[1.0, 0.9, 0.1, 0.2], [0.9, 1.0, 0.3, 0.1], [0.1, 0.3, 1.0, 0.8], [0.2, 0.1, 0.8, 1.0]]
    )
    assert groups(likeness, USED, 2) == ((0, 1), (2, 3))
    assert groups(likeness, None, 1) == ((0, 1, 2, 3),)
    assert groups(likeness, USED, 4) == ((0,), (1,), (2,), (3,))
    for arguments, words in (
        ((likeness[:3], USED, 2), "shape"),
        ((likeness * float("nan"), USED, 2), "NaN"),
        ((likeness, USED, 5), "1 <= n <= 4"),
        ((likeness, [1.0, -1.0, 1.0, 1.0], 2), "number >= 0"),
    ):
        with pytest.raises(ValueError, match=words):
            groups(*arguments)


def test_merging_refuses_what_cannot_be():
    for wrong in ([[0, 1], [2]], [[0, 1], [1, 2, 3]], [[0, 1, 2, 3], []]):
        with pytest.raises(ValueError, match="each of the 4 experts"):
            merge(layer_of(), wrong)
    with pytest.raises(TypeError, match="reads its experts"):
        merge(mora(nn.Linear(8, 6), n_experts=4, k=2), [[0, 1], [2, 3]])
    grown = grow(feed_forward(), 1)
    grown.experts.parts[1] = FeedForwardExperts(1, 8, 4)
    with pytest.raises(ValueError, match="different kinds or sizes"):
        merge(grown, [[0, 4], [1], [2], [3]])


def test_a_merged_policy_sums_probabilities_and_keeps_experts_out_of_service_out():
    logits = normal(6, 5).requires_grad_()
    routing = Merged(Dense(), (0, 1, 0, 1, 2))(logits)
    p = logits.softmax(-1)
    expected = torch.stack([p[:, 0] + p[:, 2], p[:, 1] + p[:, 3], p[:, 4]], -1)
    torch.testing.assert_close(routing.weights, expected)
    torch.testing.assert_close(routing.logits.softmax(-1), expected)
    out = torch.where(torch.tensor([True, False, True, False, False]), -torch.inf, logits)
    partly = Merged(TopK(1), (0, 1, 0, 1, 2))(out)
    assert not partly.mask[:, 0].any()
    (partly.logits[:, 1:].sum() + partly.weights.sum()).backward()
    assert torch.isfinite(logits.grad).all()
    for wrong in ((), (1, 2), (0, 2)):
        with pytest.raises(ValueError, match="number the groups"):
            Merged(TopK(1), wrong)
    with pytest.raises(ValueError, match="as many outputs"):
        Merged(TopK(1), (0, 1))(logits)


def test_an_expert_made_of_kept_neurons_is_restored_exactly():
    layer, x = feed_forward(), normal(40, 8)
    permuted(layer.experts, 2, of=0)
    whole = layer(x).output
    restored = recombine(layer, keep=[0, 1, 3], usage=USED)
    torch.testing.assert_close(restored(x).output, whole, atol=1e-6, rtol=1e-5)
    assert (prune(layer, keep=[0, 1, 3])(x).output - whole).abs().max() > 0.1


def test_neurons_go_to_whichever_expert_has_their_like_and_change_nothing_there_if_they_are_equal():
    layer = feed_forward("gelu")
    experts, half = layer.experts, slice(0, 6)
    permuted(experts, 2, of=0)
    experts.w_in.data[2, :, half], experts.b_in.data[2, half] = (
        experts.w_in.data[1, :, half],
        experts.b_in.data[1, half],
    )
    experts.w_out.data[2, half], experts.b_out.data[:] = experts.w_out.data[1, half], 0.0
    recombined = recombine(layer, keep=[0, 1, 3], usage=USED)
    for name, parameter in recombined.experts.named_parameters():
        torch.testing.assert_close(parameter, experts.get_parameter(name)[[0, 1, 3]])


def test_recombined_neurons_err_less_than_plain_dropping():
    """Expert 2 is like expert 0, but not equal: rows of both then share the error."""
    layer, x = feed_forward(policy=TopK(1)), normal(300, 8)
    permuted(layer.experts, 2, of=0)
    for seed, parameter in enumerate(layer.experts.parameters()):
        parameter.data[2] += 0.1 * normal(*parameter.shape[1:], seed=seed + 30)
    layer.router.weight.data[2] = layer.router.weight.data[0] + 0.1 * normal(8, seed=40)
    layer.router.bias.data.zero_()
    share = usage([("layer", layer(x))])["layer"]
    whole = layer(x).output
    recombined, dropped = (
        (changed(x).output - whole).square().mean()
        for changed in (recombine(layer, keep=[0, 1, 3], usage=share), prune(layer, keep=[0, 1, 3]))
    )
    assert recombined < 0.7 * dropped
    nothing = recombine(layer, keep=[0, 1, 3], usage=share, threshold=1.0).experts
    assert torch.equal(nothing.w_in, layer.experts.w_in[[0, 1, 3]])  # no neuron is alike to the last bit


@pytest.mark.parametrize(
    ("policy", "n_experts"), [(TopK(1), 1), (Unweighted(Dense()), 4), (Unweighted(TopK(3)), 3)]
)
@pytest.mark.parametrize("n_added", [0, 2])
def test_adapters_that_all_rows_use_alike_become_a_part_of_the_layer(policy, n_experts, n_added):
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh())
    layers = inject(model, "0", partial(lora_layer, policy=policy, rank=2), n_experts=n_experts, seed=0)
    layer = layers["0"]
    layer.experts.b.data = normal(*layer.experts.b.shape)
    if n_added:
        layer = grow(layer, n_added, policy=Unweighted(Dense()), seed=1)
        layer.experts.parts[1].b.data = normal(*layer.experts.parts[1].b.shape, seed=3)
        install(model, {"0": layer})
    x = normal(20, 8)
    whole, adapted = model(x), layer.shared_expert.weight.clone()
    install(model, {"0": merge_back(layer)})
    assert type(model[0]) is nn.Linear
    torch.testing.assert_close(model(x), whole, atol=1e-5, rtol=1e-5)
    assert torch.equal(layer.shared_expert.weight, adapted)


def test_what_cannot_be_one_matrix_is_not_merged_back():
    for policy in (TopK(1), Dense(), TopK(4), WithNull(Unweighted(TopK(1)), 1)):
        with pytest.raises(ValueError, match="depend on the row"):
            merge_back(adapters(policy))
    with pytest.raises(TypeError, match="FeedForwardExperts beside NoneType"):
        merge_back(layer_of())
