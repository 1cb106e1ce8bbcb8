"""Experts that are parts of a dense network or layer, and a start of LoRA from the inputs."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import (
    ColumnExperts,
    MoELayer,
    Unweighted,
    corda,
    factorize,
    inject,
    lora_layer,
    prior_loss,
)
from driftmoe.nn import factoring as module
from driftmoe.routing import Dense, Routing, TopK, WithNull


def ffn():
    network = nn.Sequential(nn.Linear(8, 24), nn.GELU(), nn.Linear(24, 8))
    for seed, p in enumerate(network.parameters()):
        p.data = normal(*p.shape, seed=seed)
    return network


def alone(e, n, n_rows):
    mask = torch.zeros(n_rows, n, dtype=torch.bool)
    mask[:, e] = True
    return Routing(mask.float(), mask, mask.float())


# --------------------------------------------------------------------------------------------------
# Parts of a network (FactorLLM)
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_experts", [1, 4, 24])
def test_all_parts_are_the_network_and_few_cost_less(n_experts):
    network, x = ffn(), normal(3, 5, 8)
    layer = factorize(network, n_experts=n_experts, policy=Unweighted(TopK(n_experts)))
    torch.testing.assert_close(layer(x).output, network(x), rtol=1e-4, atol=1e-5)
    assert layer.experts.w_out.shape == (n_experts, 24 // n_experts, 8)
    few = factorize(network, n_experts=n_experts)(x).routing
    assert (few.n_used == max(1, n_experts // 2)).all()
    assert few.weights[few.mask].unique().tolist() == [1.0]


@pytest.mark.parametrize("k", [1, 2])
def test_the_prior_loss_names_the_nearest_parts_by_brute_force(k):
    network, x = ffn(), normal(2, 10, 8)
    layer, logits = factorize(network, n_experts=4, seed=0), normal(2, 10, 4, seed=9).requires_grad_()
    loss = prior_loss(logits, layer, x, k=k)
    flat = x.flatten(0, 1)
    distances = torch.stack(
        [
            (layer.experts(flat, alone(e, 4, 20)) + network[2].bias - network(flat)).square().sum(-1)
            for e in range(4)
        ],
        -1,
    )
    target = torch.zeros(20, 4)
    for t in range(20):
        target[t, distances[t].argsort()[:k]] = 1.0 / k
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits.flatten(0, 1), target))
    loss.backward()
    assert logits.grad.any()
    assert all(p.grad is None for p in layer.parameters())
    with pytest.raises(ValueError, match="k=5, 4 logits and 4 experts"):
        prior_loss(logits, layer, x, k=5)
    assert prior_loss(logits[:, :0], layer, x[:, :0], k=k) == 0.0


def test_a_row_of_few_parts_has_the_whole_bias_and_weights_below_one_are_refused():
    network, x = ffn(), normal(5, 8)
    network[2].bias.data.fill_(100.0)
    layer = inject(nn.Sequential(network), "0", partial(factorize, policy=Unweighted(TopK(1))), n_experts=4)[
        "0"
    ]
    hidden = network[1](network[0](x))
    for t, e in enumerate(layer(x).routing.mask.float().argmax(-1).tolist()):
        part = slice(6 * e, 6 * e + 6)
        expected = network[2].weight[:, part] @ hidden[t, part] + 100.0
        torch.testing.assert_close(layer(x).output[t], expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(layer(x, rows=torch.zeros(5, dtype=torch.bool)).output, torch.full((5, 8), 100.0))
    for policy in (TopK(2), Dense(), TopK(1, renorm=False)):
        with pytest.raises(ValueError, match=r"factorize: .* weights other than 1"):
            factorize(network, n_experts=4, policy=policy)


def test_a_router_that_learnt_the_prior_is_nearer_to_the_network_than_one_at_random():
    network, x = ffn(), normal(400, 8)
    layer = factorize(network, n_experts=4, policy=Unweighted(TopK(1)), seed=0)

    def error(rows):
        return (layer(rows).output - network(rows)).square().mean().item()

    held_out, losses = normal(200, 8, seed=5), []
    before = error(held_out)
    step = torch.optim.Adam(layer.router.parameters(), lr=0.1)
    for _ in range(40):
        step.zero_grad()
        losses.append(prior_loss(layer(x).routing.logits, layer, x))
        losses[-1].backward()
        step.step()
    assert losses[-1] < 0.9 * losses[0]
    assert error(held_out) < 0.97 * before


# --------------------------------------------------------------------------------------------------
# Groups of heads (Union of Experts)
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("policy", [Unweighted(TopK(4)), Unweighted(TopK(2)), WithNull(TopK(2), 1), Dense()])
def test_groups_of_columns_equal_the_layer_with_other_inputs_at_zero(policy, bias):
    linear, x = nn.Linear(12, 6, bias=bias), normal(2, 5, 12)
    experts = ColumnExperts(linear, 4)
    routing = policy(normal(2, 5, 5 if isinstance(policy, WithNull) else 4, seed=1))
    gated = x * routing.weights.repeat_interleave(3, -1)
    torch.testing.assert_close(experts(x, routing), linear(gated), rtol=1e-4, atol=1e-6)


def test_padding_gets_no_bias_and_a_row_of_null_experts_alone_does():
    linear, x = nn.Linear(12, 6), normal(2, 12)
    layer = MoELayer(nn.Linear(12, 5), ColumnExperts(linear, 4), WithNull(TopK(1), 1))
    logits = torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0]).expand(2, 5)
    out = layer(x, rows=torch.tensor([True, False]), logits=logits).output
    torch.testing.assert_close(out, torch.stack([linear.bias, torch.zeros(6)]))


def test_k_groups_of_n_cost_k_nths(monkeypatch):
    lines = []
    product = module.expert_linear
    monkeypatch.setattr(
        module, "expert_linear", lambda x, *rest: lines.append(tuple(x.shape)) or product(x, *rest)
    )
    ColumnExperts(nn.Linear(12, 6), 4)(normal(10, 12), TopK(1)(normal(10, 4)))
    assert lines == [(10, 3)]  # of 10 · 12 numbers
    with pytest.raises(ValueError, match="n_experts=5 of 12 inputs"):
        ColumnExperts(nn.Linear(12, 6), 5)


def test_heads_of_a_transformers_model_become_experts_without_a_change():
    pytest.importorskip("transformers")
    from small_mixtures import IDS, family

    model = family("mixtral")
    before = model(input_ids=IDS).logits.detach()

    def make(linear, *, n_experts, seed):
        return MoELayer(nn.Linear(16, 2), ColumnExperts(linear, n_experts), Unweighted(TopK(2)))

    layers = inject(model, "o_proj", make, n_experts=2)
    torch.testing.assert_close(model(input_ids=IDS).logits, before, rtol=1e-4, atol=1e-5)
    for layer in layers.values():
        layer.policy = Unweighted(TopK(1))
    assert (model(input_ids=IDS).logits - before).abs().max() > 1e-3


# --------------------------------------------------------------------------------------------------
# A start from the inputs (CorDA)
# --------------------------------------------------------------------------------------------------


def of_few_directions(n_rows=400):
    """Rows that lie near four of sixteen directions."""
    return normal(n_rows, 4, seed=1) @ normal(4, 16, seed=2) + 0.05 * normal(n_rows, 16, seed=3)


@pytest.mark.parametrize("keep", ["knowledge", "task"])
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_pair_and_rest_are_the_matrix(keep, rank):
    linear = nn.Linear(16, 6)
    a, b, rest = corda(linear, of_few_directions(), rank=rank, keep=keep)
    assert (a.shape, b.shape) == ((rank, 16), (rank, 6))
    torch.testing.assert_close(rest + a.T @ b, linear.weight.T.detach(), rtol=1e-4, atol=1e-5)
    model, x = nn.Sequential(linear), normal(9, 16)
    before = linear(x)
    layer = inject(model, "0", partial(lora_layer, policy=Dense(), rank=rank, scale=1.0), n_experts=1)["0"]
    with torch.no_grad():
        layer.shared_expert.weight.copy_(rest.T)
        layer.experts.a[0].copy_(a)
        layer.experts.b[0].copy_(b)
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


def test_the_part_of_the_task_says_more_of_the_given_inputs_than_that_of_plain_svd():
    """And the part that knowledge leaves says almost nothing of them."""
    linear, x = nn.Linear(16, 12, bias=False), of_few_directions()
    linear.weight.data = normal(12, 16, seed=4)
    whole = linear(x).detach()

    def left(a, b):
        return ((whole - x @ a.T @ b).square().sum() / whole.square().sum()).item()

    u, s, v = torch.linalg.svd(linear.weight.T.detach(), full_matrices=False)
    plain = left((u[:, :4] * s[:4]).T, v[:4])
    task, knowledge = (corda(linear, x, rank=4, keep=keep) for keep in ("task", "knowledge"))
    smallest = left((u[:, -4:] * s[-4:]).T, v[-4:])
    assert left(task.a, task.b) < 0.02 < 0.2 < plain
    assert abs(1.0 - left(knowledge.a, knowledge.b)) < 0.01  # nothing of it is explained
    assert smallest < 0.99


def test_wrong_settings_of_corda_are_refused():
    linear, x = nn.Linear(16, 6), of_few_directions(20)
    nothing = copy.copy(x)
    nothing[0, 0] = torch.nan
    for given, words in (
        ({"rank": 7}, "rank=7; choose a whole number from 1 to 6"),
        ({"rank": 2, "keep": "all"}, "keep='all'; available: knowledge, task"),
        ({"rank": 2, "damping": 0.0}, "damping above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            corda(linear, x, **given)
    for rows in (x[:, :4], nothing, x[:0]):
        with pytest.raises(ValueError, match="finite rows of width 16"):
            corda(linear, rows, rank=2)
