"""Balance of load: losses, biases, and a router that never learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from many_policies import normal

from driftmoe.losses import (
    correctness_loss,
    entropy_loss,
    load_balance_loss,
    mutual_information_loss,
    null_balance_loss,
)
from driftmoe.routing import BiasBalancer, Dense, EntropyHybrid, GroupTopK, RandomRouter, TopK, TopP


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_balance_loss_is_1_at_balance_for_every_k(k):
    logits = 2.0 * torch.stack([torch.roll(torch.arange(6.0), i) for i in range(6)])  # each is first once
    for policy in (TopK(k), TopP(0.5, min_k=k), EntropyHybrid(min_k=k), Dense()):
        routing = policy(logits)
        assert load_balance_loss(logits, routing.mask).item() == pytest.approx(1.0, abs=1e-5)
        assert load_balance_loss(logits, routing.weights).item() == pytest.approx(1.0, abs=1e-5)
        skewed = logits + 4.0 * torch.arange(6)
        assert load_balance_loss(skewed, policy(skewed).weights).item() > 1.1


def test_balance_loss_does_not_see_padding():
    logits = normal(8, 4, seed=7)
    mask = TopK(2)(logits).mask
    rows = torch.tensor([True] * 8 + [False] * 3)
    padded, padded_mask = torch.cat([logits, 9.0 * normal(3, 4)]), torch.cat([mask, mask[:3]])
    assert load_balance_loss(padded, padded_mask, rows).item() == load_balance_loss(logits, mask).item()


@pytest.mark.parametrize(("n", "m"), [(4, 4), (8, 16), (3, 1)])
def test_nulls_share_their_load_freely_but_not_with_true_experts(n, m):
    logits = normal(64, n + m, seed=8)
    load = TopK(2)(logits).mask.float()
    among = torch.cat([load[:, :n], load[:, n:].roll(1, -1)], -1)
    assert null_balance_loss(logits, among, m).item() == pytest.approx(
        null_balance_loss(logits, load, m).item()
    )
    moved = load.clone()
    moved[:, 0] += moved[:, n]
    moved[:, n] = 0.0
    assert abs(null_balance_loss(logits, moved, m) - null_balance_loss(logits, load, m)) > 1e-3
    if m > 1:
        assert load_balance_loss(logits, among) != load_balance_loss(logits, load)
    assert null_balance_loss(torch.zeros(1, n + m), torch.ones(1, n + m), m).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rule", "rate", "score"),
    [("sign", 1e-3, "softmax"), ("sign", 1e-3, "sigmoid"), ("proportional", 1e-3, "softmax")],
)
def test_balancer_compares_shares_with_shares_and_evens_the_load(rule, rate, score):
    rng = torch.Generator().manual_seed(0)
    skew = torch.linspace(1.0, -1.0, 12)
    policy, balancer = TopK(2, score=score), BiasBalancer(12, rate=rate, rule=rule)
    loads, unbiased = [], []
    for _ in range(600):
        logits = torch.randn(256, 12, generator=rng) + skew
        balancer.update(mask := policy(logits, bias=balancer.bias).mask)
        loads.append(mask.sum(0))
        unbiased.append(policy(logits).mask.sum(0))

    def violation(counts):
        mean_load = torch.stack(counts[-100:]).float().mean(0)
        return (mean_load.max() / mean_load.mean() - 1.0).item()

    assert violation(loads) < min(0.35, violation(unbiased) / 2)
    assert balancer.bias.std() > 0.01
    assert abs(balancer.bias.sum().item()) < 1e-5
    assert not list(balancer.parameters())
    assert list(balancer.state_dict()) == ["bias"]
    balancer.reset()
    assert not balancer.bias.any()


def test_the_balancing_rules_step_differently():
    mask = torch.tensor([[True, False, False], [True, True, False], [True, False, False]])
    sign, proportional = BiasBalancer(3, rate=1.0), BiasBalancer(3, rate=1.0, rule="proportional")
    sign.update(mask)
    proportional.update(mask)
    # Of 4 places expert 0 got 3 (share 3/4), expert 1 got 1 (1/4), expert 2 none; even is 1/3.
    np.testing.assert_allclose(sign.bias, np.array([-1, 1, 1]) - 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(proportional.bias, [1 - 9 / 4, 1 - 3 / 4, 1.0], rtol=1e-6)


def test_bias_chooses_but_does_not_weigh():
    logits = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    bias = torch.tensor([-1.0, 0.0, 1.0])
    probs = logits.softmax(-1)
    for policy in (TopK(1, renorm=False), GroupTopK(1, 1, 1, renorm=False, score="softmax")):
        routing = policy(logits, bias=bias)
        assert routing.mask.tolist() == [False, False, True]
        assert routing.weights[2].item() == pytest.approx(probs[2].item())
    dead = torch.tensor([2.0, 1.0, -torch.inf])
    assert not TopK(2)(dead, bias=100 * bias).mask[2]


def test_a_masked_expert_has_no_weight_and_no_loss():
    logits = normal(40, 6, seed=11)
    masked = torch.cat([logits, torch.full((40, 2), -torch.inf)], -1).requires_grad_()
    plain = logits.clone().requires_grad_()
    for loss in (
        lambda z: entropy_loss(z, 1.1),
        mutual_information_loss,
        lambda z: load_balance_loss(z, TopK(2)(z).mask),
    ):
        for z in (masked, plain):
            z.grad = None
        (with_masked := loss(masked)).backward()
        (without := loss(plain)).backward()
        assert with_masked.item() == pytest.approx(without.item(), rel=1e-6)
        np.testing.assert_allclose(masked.grad[:, :6], plain.grad, atol=1e-7)
        assert not masked.grad[:, 6:].any()
    observed = torch.tensor([True] * 6 + [False] * 2).expand(40, 8)
    correct = torch.ones(40, 8, dtype=torch.bool)
    masked.grad = None
    (loss := correctness_loss(masked, correct, observed)).backward()
    assert loss.item() == pytest.approx(correctness_loss(logits, correct[:, :6]).item(), rel=1e-6)
    assert masked.grad.isfinite().all()
    assert not masked.grad[:, 6:].any()


def test_balance_is_taken_per_layer_not_over_layers_at_once():
    first, second = (
        torch.tensor([[4.0, 0.0]] * 10),
        torch.tensor([[0.0, 4.0]] * 10),
    )  # each layer is one-sided
    per_layer = [load_balance_loss(z, TopK(1)(z).mask).item() for z in (first, second)]
    together = torch.cat([first, second])
    assert min(per_layer) > 1.9
    assert load_balance_loss(together, TopK(1)(together).mask).item() == pytest.approx(1.0)


def test_random_router_is_fixed_and_never_learns():
    router, same, other = (
        RandomRouter(20, 4, seed=1),
        RandomRouter(20, 4, seed=1),
        RandomRouter(20, 4, seed=2),
    )
    x = normal(3, 20, seed=27)
    assert torch.equal(router(x), same(x))
    assert not torch.equal(router(x), other(x))
    assert router.weight.abs().max() <= 1 / math.sqrt(20)
    assert not list(router.parameters())
    assert not router(x).requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(router(x.bfloat16()), router(x.bfloat16().float()))


def test_processes_balance_the_load_that_they_have_together(monkeypatch):
    """Two of them, the first with rows for expert 0 alone, the second with three times as many for expert 1."""
    other = torch.tensor([0, 30])
    monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda places: places.add_(other))
    balancer = BiasBalancer(2, rate=0.5)
    balancer.update(torch.tensor([[True, False]] * 10))
    assert balancer.bias.tolist() == [0.5, -0.5]
