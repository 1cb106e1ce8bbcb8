"""What every policy promises: refusals, experts out of service, rows alone and in batches, gradients, plans."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from many_policies import COMPOSED, POLICIES, each_policy, normal, quick, rows, steps

from driftmoe.routing import (
    Dense,
    EntropyHybrid,
    GroupTopK,
    RandomRouter,
    TopK,
    TopP,
    WithNull,
    WithShared,
    route,
)


@pytest.mark.parametrize("n", [12, 512])
def test_of_ties_the_lowest_index_wins(n):
    logits = torch.zeros(3, n)
    first_three = [i < 3 for i in range(n)]
    assert TopK(3)(logits).mask.tolist() == [first_three] * 3
    assert TopP(2.5 / n)(logits).mask.tolist() == [first_three] * 3
    assert GroupTopK(3, n_groups=2, n_kept=1)(logits).mask.tolist() == [first_three] * 3
    partly = torch.zeros(n)
    partly[n - 1] = 1.0
    assert TopK(2)(partly).mask.nonzero().flatten().tolist() == [0, n - 1]
    signed = torch.zeros(n)
    signed[0] = -0.0
    assert TopK(1)(signed).mask[0]


@each_policy(POLICIES | COMPOSED)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 3])
def test_nan_and_infinite_logits_are_refused(policy, bad, place):
    logits = normal(2, 6)
    logits[1, place] = bad
    with pytest.raises(ValueError, match="logits with NaN, with \\+inf or with nothing but -inf in a row"):
        policy(logits)
    with pytest.raises(ValueError, match="logits with NaN"):
        route(policy, logits[1].numpy())


@each_policy(POLICIES | COMPOSED)
def test_masked_experts_are_never_chosen_and_one_must_be_left(policy):
    logits = normal(20, 8, scale=3.0)
    logits[:, [1, 4]] = -torch.inf
    routing = policy(logits)
    n_shared = routing.mask.shape[-1] - 8 if isinstance(policy, WithShared) else 0
    assert not routing.mask[:, [n_shared + 1, n_shared + 4]].any()
    assert (routing.weights[:, [n_shared + 1, n_shared + 4]] == 0.0).all()
    assert routing.weights.isfinite().all()
    with pytest.raises(ValueError, match="one expert at least must be in service"):
        policy(torch.full((2, 8), -torch.inf))
    with pytest.raises(ValueError, match="one expert at least must be in service"):
        route(policy, np.full(8, -np.inf))


@each_policy(POLICIES | COMPOSED)
def test_a_bf16_router_decides_in_float32_also_under_autocast(policy):
    logits = normal(50, 9, seed=5, dtype=torch.bfloat16)
    expected = policy(logits.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = policy(logits)
        entropy = routing.entropy
    assert routing.weights.dtype == entropy.dtype == torch.float32
    assert torch.equal(routing.weights, expected.weights)
    assert torch.equal(routing.mask, expected.mask)
    assert torch.equal(entropy, expected.entropy)


def test_integer_logits_are_refused():
    with pytest.raises(TypeError, match=r"logits are torch\.int64; give a floating-point tensor"):
        TopK(1)(torch.zeros(3, dtype=torch.int64))


def test_one_renormalised_expert_gives_the_router_no_gradient_a_raw_one_does():
    for renorm, expected in ((True, False), (False, True)):
        logits = normal(4, 5).requires_grad_()
        TopK(1, renorm=renorm)(logits).weights.sum().backward()
        assert bool(logits.grad.abs().sum() > 1e-3) is expected


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (8, 16), (12, 4)])
def test_no_number_of_experts_is_built_in(n, m):
    logits = normal(500, n + m, seed=9)
    routing = WithNull(TopK(2), m)(logits)
    assert routing.mask.shape == (500, n)
    assert routing.null_mask.shape == (500, m)
    assert (routing.n_used + routing.null_mask.sum(-1) == 2).all()
    assert routing.n_used.float().mean().item() == pytest.approx(2 * n / (n + m), abs=0.12)


def test_routing_draws_nothing_at_random():
    state = torch.get_rng_state()
    logits = normal(30, 9, seed=10)
    for policy in (POLICIES | COMPOSED).values():
        first, second = policy(logits), policy(logits)
        assert torch.equal(first.weights, second.weights)
    router = RandomRouter(4, 9, seed=1).train()
    trained = router(logits[:, :4])
    assert torch.equal(trained, router.eval()(logits[:, :4]))
    assert torch.equal(state, torch.get_rng_state())


def test_no_capacity_drops_rows_from_the_plan():
    logits = torch.tensor([9.0, 0.0, 1.0]).expand(100, 3)  # everybody wants expert 0
    routing = TopK(2)(logits)
    plan = routing.plan
    assert len(plan.rows) == 200
    assert plan.offsets.tolist() == [0, 100, 100, 200]
    assert plan.rows[:100].tolist() == list(range(100))


@each_policy(POLICIES | COMPOSED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_alone_gets_bit_for_bit_what_it_gets_in_a_batch(policy, dtype):
    for n, n_rows in ((6, 1), (6, 33), (13, 7), (64, 257)):
        logits = normal(n_rows, n, seed=n_rows, scale=2.0, dtype=dtype)
        batch = policy(logits)
        for i in range(0, n_rows, 1 + n_rows // 7):
            for alone in (policy(logits[i]), replace_rows(policy(logits[i : i + 1]))):
                assert torch.equal(alone.weights, batch.weights[i])
                assert torch.equal(alone.mask, batch.mask[i])
                assert torch.equal(alone.entropy, batch.entropy[i])


def replace_rows(routing):
    """The routing of a batch of one row, as that of the row."""
    return replace(routing, weights=routing.weights[0], mask=routing.mask[0], logits=routing.logits[0])


@each_policy(POLICIES | COMPOSED)
def test_combining_by_the_plan_is_deterministic_and_equals_the_dense_sum(policy):
    logits = normal(4, 10, 7, seed=12)
    routing = policy(logits)
    n_experts = routing.mask.shape[-1]
    outputs = normal(40, n_experts, 5, seed=13)  # what each expert says of each row
    plan = routing.plan

    def combine():
        chosen = outputs[plan.rows, plan.experts] * plan.weights[:, None]
        return torch.zeros(40, 5).index_add(0, plan.rows, chosen)

    expected = (routing.weights.reshape(40, n_experts, 1) * outputs).sum(1)
    np.testing.assert_allclose(combine(), expected, atol=1e-5)
    assert all(torch.equal(combine(), combine()) for _ in range(5))


@each_policy(POLICIES)
def test_growing_by_experts_out_of_service_changes_nothing(policy):
    logits = normal(50, 7, seed=14, scale=2.0, dtype=torch.float64)
    logits[::5, 2] = -torch.inf
    grown = torch.cat([logits, torch.full((50, 3), -torch.inf, dtype=torch.float64)], -1)
    before, after = policy(logits), policy(grown)
    assert torch.equal(after.mask[:, :7], before.mask)
    assert not after.mask[:, 7:].any()
    np.testing.assert_allclose(after.weights[:, :7], before.weights, rtol=1e-14)
    np.testing.assert_allclose(after.entropy, before.entropy, rtol=1e-12)


@each_policy(POLICIES)
@quick
@given(logits=rows, data=st.data())
def test_experts_may_be_numbered_in_any_order(policy, logits, data):
    order = torch.tensor(data.draw(st.permutations(range(len(logits)))))
    plain, permuted = policy(logits), policy(logits[order])
    assert torch.equal(permuted.mask, plain.mask[order])
    np.testing.assert_allclose(permuted.weights, plain.weights[order], rtol=1e-9, atol=1e-300)
    assert permuted.entropy.item() == pytest.approx(plain.entropy.item(), abs=1e-12)


@pytest.mark.parametrize(
    "policy",
    [Dense(), TopK(2), TopP(0.75), EntropyHybrid(), GroupTopK(1, 1, 1, best=1, score="softmax")],
    ids=repr,
)
@quick
@given(logits=rows, shift=steps)
def test_softmax_policies_do_not_see_a_shift(policy, logits, shift):
    plain, shifted = policy(logits), policy(logits + shift / 64.0)
    assert torch.equal(shifted.mask, plain.mask)
    assert torch.equal(shifted.weights, plain.weights)


@each_policy(POLICIES)
@quick
@given(logits=rows)
def test_at_least_one_expert_and_finite_weights(policy, logits):
    routing = policy(torch.stack([logits, -logits, 50.0 * logits, torch.zeros_like(logits)]))
    assert (routing.n_used >= 1).all()
    assert routing.weights.isfinite().all()
    assert (routing.weights >= 0.0).all()
    assert (routing.weights.sum(-1) <= 2.0 + 1e-9).all()
    assert (routing.weights[~routing.mask] == 0.0).all()
    assert ((routing.entropy >= 0.0) & (routing.entropy <= 1.0)).all()


def test_leading_shapes_are_free():
    logits = normal(2, 3, 5, 8, seed=15)
    flat = logits.reshape(-1, 8)
    for policy in (POLICIES | COMPOSED).values():
        whole, rows_ = policy(logits), policy(flat)
        assert torch.equal(whole.weights.reshape(rows_.weights.shape), rows_.weights)
        assert whole.entropy.shape == whole.n_used.shape == whole.null_share.shape == (2, 3, 5)
        assert policy(logits[:0]).weights.shape == (0, *whole.weights.shape[1:])
        assert torch.equal(whole.plan.rows, rows_.plan.rows)


@each_policy(POLICIES | COMPOSED)
def test_weights_have_the_gradient_of_finite_differences(policy):
    logits = normal(6, 5, seed=16, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: policy(z).weights, (logits,))
    assert torch.autograd.gradcheck(lambda z: policy(z).entropy, (logits,))
    assert torch.autograd.gradcheck(lambda z: policy(z).plan.weights, (logits,))


def test_router_learns_through_the_weights_that_it_keeps():
    logits = normal(6, 5, seed=18).requires_grad_()
    routing = TopK(2)(logits)
    (routing.weights * normal(6, 5, seed=19)).sum().backward()
    assert (logits.grad[routing.mask] != 0.0).all()
    assert not logits.grad[~routing.mask].any()


@each_policy(POLICIES | COMPOSED)
def test_policies_are_values(policy):
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(replace(policy)) == hash(policy)


def test_plan_feeds_a_grouped_matrix_product():
    logits = normal(40, 4, seed=28)
    logits[:, 2] = -torch.inf  # an expert without rows
    plan = TopP(0.7)(logits).plan
    x, weight = normal(40, 8, seed=29), normal(4, 8, 8, seed=30)
    for e in range(4):
        served = plan.rows[plan.offsets[e] : plan.offsets[e + 1]]
        assert torch.equal(served, TopP(0.7)(logits).mask[:, e].nonzero().flatten())
    if not hasattr(torch.nn.functional, "grouped_mm"):
        pytest.skip("this torch has no grouped product for the CPU")
    product = torch.nn.functional.grouped_mm(x[plan.rows], weight, offs=plan.offsets[1:])
    expected = torch.stack([x[r] @ weight[e] for r, e in zip(plan.rows, plan.experts, strict=True)])
    np.testing.assert_allclose(product, expected, atol=1e-5)
