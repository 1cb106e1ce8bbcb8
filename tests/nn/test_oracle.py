"""The best experts in hindsight, experts of several sizes, and the rank of attention."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from small_layers import layer_of, normal
from torch import nn

from driftmoe.losses import oracle_loss
from driftmoe.nn import (
    FeedForwardExperts,
    MixedExperts,
    MoELayer,
    StraightThrough,
    Unweighted,
    attention_rank,
    oracle,
)
from driftmoe.routing import GroupTopK, TopK, TopP, WithNull, WithShared, as_rule


def error(target):
    return lambda output: (output - target).square().mean(-1)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_oracle_is_the_best_of_all_sets_by_a_loop(k):
    layer, x = layer_of(TopK(2)), normal(2, 4, 8)
    target = normal(2, 4, 8, seed=5)
    found = oracle(layer, x, error(target), k=k)
    assert found.is_exact
    for i in range(2):
        for j in range(4):
            logits = layer.router(x[i, j])
            losses = {}
            for size in range(1, k + 1):
                for chosen in combinations(range(4), size):
                    only = torch.full((4,), -torch.inf)
                    only[list(chosen)] = logits[list(chosen)]
                    answer = MoELayer(None, layer.experts, TopK(size))(x[i, j], logits=only).output
                    losses[chosen] = (answer - target[i, j]).square().mean().item()
            best = min(losses, key=losses.get)
            assert tuple(found.best[i, j].nonzero().flatten().tolist()) == best
            assert found.loss[i, j].item() == pytest.approx(losses[best], rel=1e-5)
            assert found.losses[i, j].tolist() == pytest.approx([losses[(e,)] for e in range(4)], rel=1e-5)
    torch.testing.assert_close(found.own, error(target)(layer(x).output))


def test_no_top_k_beats_the_oracle_and_a_larger_budget_never_hurts():
    x, target = normal(60, 8), normal(60, 8, seed=5)
    before = None
    for k in (1, 2, 3, 4):
        found = oracle(layer_of(TopK(k), shared_expert=nn.Linear(8, 8)), x, error(target), k=k)
        assert (found.gap >= 0.0).all()
        assert (found.best.sum(-1) <= k).all()
    layer = layer_of(TopK(2))
    for k in (1, 2, 3, 4):
        found = oracle(layer, x, error(target), k=k)
        assert before is None or (found.loss <= before).all()
        before = found.loss


def test_a_row_that_no_expert_helps_has_none_if_it_may_and_no_expert_out_of_service_is_best():
    layer = layer_of(WithNull(TopK(1), 2, renorm=False))
    found = oracle(layer, normal(20, 8), lambda output: output.square().mean(-1))
    assert not found.best.any()  # an output of 0 is wanted
    with torch.no_grad():
        layer = layer_of(TopK(1))
        layer.router.bias[2] = -torch.inf
    target = layer.experts(normal(20, 8), TopK(1)(torch.tensor([0.0, 0.0, 9.0, 0.0]).expand(20, 4)))
    found = oracle(layer, normal(20, 8), error(target.detach()), k=2)
    assert not found.best[:, 2].any()
    assert (found.losses[:, 2] == torch.inf).all()
    assert found.loss.isfinite().all()


@pytest.mark.parametrize(
    "policy",
    [
        StraightThrough(TopK(2, renorm=False)),
        Unweighted(TopK(2)),
        WithNull(TopK(2), 2, renorm=False),
        WithNull(Unweighted(TopK(2)), 1),
    ],
    ids=repr,
)
def test_the_oracle_never_loses_to_the_layer_and_null_experts_lose_what_no_expert_does(policy):
    layer, x, target = layer_of(policy), normal(100, 8), normal(100, 8, seed=5)
    found = oracle(layer, x, error(target), k=2)
    assert found.gap.min() >= 0.0
    assert (found.best.sum(-1) <= 2).all()
    assert found.losses.shape == (100, 4 + as_rule(policy).n_null)
    torch.testing.assert_close(
        found.losses[:, 4:], error(0.0)(target)[:, None].expand(-1, found.losses.shape[1] - 4)
    )
    oracle_loss(layer.router(x), found.losses).backward()
    assert layer.router.weight.grad.abs().sum(1).min() > 0.0


def test_with_too_many_sets_the_search_is_greedy_and_finds_experts_that_add_up():
    basis = torch.eye(24)
    layer = MoELayer(None, MixedExperts([Constant(row) for row in basis]), TopK(3, renorm=False))
    layer.router, layer.scale = lambda x: x.new_zeros(*x.shape[:-1], 24), 24.0
    target = basis[[3, 7, 20]].sum(0)
    found = oracle(layer, torch.zeros(2, 24), error(target), k=3)
    assert not found.is_exact
    assert [row.nonzero().flatten().tolist() for row in found.best] == [[3, 7, 20]] * 2
    assert found.loss.max() < 1e-9


class Constant(nn.Module):
    """Answers the same to all rows."""

    def __init__(self, answer):
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, rows):
        return self.answer.expand(len(rows), -1)


def test_a_router_that_is_taught_by_the_oracle_closes_most_of_the_gap():
    layer, x = layer_of(TopK(1)), normal(400, 8)
    right = (x[:, 0] > 0).long() * 2 + (x[:, 1] > 0).long()
    ideal = TopK(1)(9.0 * nn.functional.one_hot(right, 4).float())
    loss = error(layer.experts(x, ideal).detach())
    before = oracle(layer, x, loss)
    assert torch.equal(before.best, ideal.mask)
    assert before.loss.max() < 1e-9
    step = torch.optim.Adam(layer.router.parameters(), lr=0.1)
    for _ in range(60):
        step.zero_grad()
        oracle_loss(layer.router(x), before.losses, tau=0.01).backward()
        step.step()
    after = oracle(layer, x, loss)
    assert after.gap.mean() < 0.2 * before.gap.mean()


@pytest.mark.parametrize(
    ("policy", "arguments", "message"),
    [
        (WithShared(TopK(1), 1), {}, "shared experts, which are no choice"),
        (TopK(1), {"k": 5}, "k=5 of 4 experts; choose 1 <= k <= 4"),
        (TopK(1), {"loss": lambda output: output.mean()}, r"the shape \(\) for rows of shape \(3,\)"),
        (TopK(1), {"loss": lambda output: output.sum(-1) * torch.nan}, "NaN or infinities"),
    ],
)
def test_oracles_of_nothing_are_refused(policy, arguments, message):
    with pytest.raises(ValueError, match=message):
        oracle(layer_of(policy), normal(3, 8), **{"loss": error(normal(3, 8))} | arguments)


@pytest.mark.parametrize("policy", [TopK(2), TopP(0.6), GroupTopK(1, 2, 1), WithNull(TopK(2), 1)])
def test_mixed_experts_of_one_size_are_feed_forward_experts(policy):
    layer = layer_of(policy)
    w_in, w_out = layer.experts.w_in.detach(), layer.experts.w_out.detach()
    alike = FeedForwardExperts(4, 8, 8, activation="relu")
    with torch.no_grad():
        alike.w_in.copy_(w_in[..., :8])
        alike.w_out.copy_(w_out)
    networks = []
    for e in range(4):
        network = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
        network[0].weight, network[2].weight = nn.Parameter(alike.w_in[e].T), nn.Parameter(alike.w_out[e].T)
        networks.append(network)
    x = normal(3, 5, 8)
    answers = [MoELayer(layer.router, experts, policy)(x) for experts in (alike, MixedExperts(networks))]
    torch.testing.assert_close(answers[1].output, answers[0].output)
    answers[1].output.sum().backward()
    assert layer.router.weight.grad.isfinite().all()


def test_an_expert_of_none_answers_0_and_the_others_keep_their_weight():
    layer = MoELayer(None, MixedExperts([nn.Linear(8, 8), None]), TopK(2))
    x = normal(3, 8)
    logits = torch.tensor([[0.0, 0.0], [0.0, -torch.inf], [-torch.inf, 0.0]])
    whole = layer.experts.experts[0](x)
    expected = whole * torch.tensor([[0.5], [1.0], [0.0]])
    torch.testing.assert_close(layer(x, logits=logits).output, expected)
    assert layer.experts.n_experts == 2
    with pytest.raises(ValueError, match="no experts; give one module"):
        MixedExperts([])


def test_the_rank_of_attention_finds_the_layer_whose_tokens_read_alike():
    alike = torch.rand(1, 1, 5).softmax(-1).expand(3, 5, 5)
    mixed = torch.stack([alike[0], torch.eye(5)])
    assert attention_rank(alike) == 1.0
    assert attention_rank(mixed) == 3.0
    with pytest.raises(ValueError, match="give maps of shape"):
        attention_rank(torch.zeros(3))
