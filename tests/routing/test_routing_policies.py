"""Each policy against its rule, and each parameter."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from many_policies import P, normal, quick, rows
from reference.routing import deepseek_by_the_rule, dynmole_by_the_rule

from driftmoe.routing import (
    ADAMOE,
    DYNMOLE,
    HARDER_TASKS,
    NULLS,
    STREAM,
    BiasBalancer,
    EntropyHybrid,
    GroupTopK,
    LinearK,
    Rank,
    Routing,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
    as_rule,
    at_step,
    first_right,
    route,
    top_p_mask,
    tsallis_entropy,
)


@pytest.mark.parametrize("inclusive", [True, False])
def test_top_p_is_never_empty_and_p_of_1_takes_all(inclusive):
    logits = normal(2000, 12, seed=3, scale=4.0)
    for p in (0.0, 0.1, 0.5, 0.9, 0.999999):
        assert top_p_mask(logits, p, inclusive=inclusive).any(-1).all()
    assert top_p_mask(logits, 1.0, inclusive=inclusive).all()
    assert top_p_mask(logits, 1.0, inclusive=inclusive, measure="first-right").all()


def test_top_p_keeps_its_mass_with_the_fewest_experts():
    logits = normal(500, 12, seed=4, scale=2.0)
    probs = logits.softmax(-1)
    for p in (0.2, 0.5, 0.75, 0.95):
        mask = top_p_mask(logits, p)
        assert ((probs * mask).sum(-1) >= p - 1e-6).all()
        least = probs.masked_fill(~mask, 2.0).amin(-1)
        assert ((probs * mask).sum(-1) - least < p).all()  # one fewer would not do


@pytest.mark.parametrize(
    ("p", "inclusive", "exclusive", "exclusive_2"),
    [
        (0.10, 1, 1, 2),
        (0.45, 1, 1, 2),
        (0.55, 2, 1, 2),
        (0.79, 2, 1, 2),
        (0.81, 3, 2, 2),
        (0.94, 3, 2, 2),
        (0.96, 4, 3, 3),
        (1.0, 4, 4, 4),
    ],
)
def test_threshold_convention_says_whether_the_crossing_expert_is_kept(p, inclusive, exclusive, exclusive_2):
    logits = P.log()
    assert TopP(p)(logits).n_used.item() == inclusive
    assert TopP(p, inclusive=False)(logits).n_used.item() == exclusive
    assert TopP(p, inclusive=False, min_k=2)(logits).n_used.item() == exclusive_2


def test_fewer_than_k_experts_in_service_are_all_chosen():
    logits = torch.tensor([0.0, -torch.inf, 1.0, -torch.inf])
    assert TopK(3)(logits).mask.tolist() == [True, False, True, False]
    assert (
        GroupTopK(2, n_groups=2, n_kept=1)(logits).n_used.item() == 1
    )  # what is outside the kept group stays out


def test_renormalised_weights_sum_to_1_raw_ones_to_the_kept_probability():
    logits = normal(200, 12, seed=6)
    probs = logits.softmax(-1)
    for policy in (
        TopK(3),
        TopK(3, score="sigmoid"),
        TopP(0.5, renorm=True),
        EntropyHybrid(renorm=True),
        STREAM,
    ):
        np.testing.assert_allclose(policy(logits).weights.sum(-1), 1.0, atol=1e-6)
    for policy in (TopK(3, renorm=False), TopP(0.5), EntropyHybrid()):
        routing = policy(logits)
        np.testing.assert_allclose(routing.weights, probs * routing.mask, atol=1e-7)
    sigmoid = TopK(3, renorm=False, score="sigmoid")(logits)
    np.testing.assert_allclose(sigmoid.weights, logits.sigmoid() * sigmoid.mask, atol=1e-7)


def test_renormalised_weights_survive_scores_that_underflow():
    far = torch.tensor([-500.0, -500.0, -501.0])
    expected = [1 / (2 + math.exp(-1)), 1 / (2 + math.exp(-1)), math.exp(-1) / (2 + math.exp(-1))]
    np.testing.assert_allclose(TopK(3, score="sigmoid")(far).weights, expected, rtol=1e-6)
    np.testing.assert_allclose(route(TopK(3, score="sigmoid"), far.numpy()).weights, expected, rtol=1e-6)
    beside_nulls = torch.tensor([-500.0, -500.0, 0.0])  # the null has all of the probability
    assert WithNull(TopK(3), 1)(beside_nulls).weights.tolist() == [0.5, 0.5]


def test_null_experts_offer_three_normalisations():
    logits = torch.tensor([2.0, 1.0, -4.0, 1.5, 0.0], dtype=torch.float64)  # experts 0, 1, 2; nulls 3, 4
    e = logits.exp().tolist()
    true = WithNull(TopK(3), 2)(logits)
    whole = WithNull(TopK(3), 2, renorm=False)(logits)
    none = WithNull(TopK(3, renorm=False), 2, renorm=False)(logits)
    for routing in (true, whole, none):
        assert routing.mask.tolist() == [True, True, False]
        assert routing.null_mask.tolist() == [True, False]
    np.testing.assert_allclose(true.weights, [e[0] / (e[0] + e[1]), e[1] / (e[0] + e[1]), 0.0])
    total = e[0] + e[1] + e[3]
    np.testing.assert_allclose(whole.weights, [e[0] / total, e[1] / total, 0.0])
    np.testing.assert_allclose(none.weights, [e[0] / sum(e), e[1] / sum(e), 0.0])
    assert true.null_share.item() == pytest.approx(1 / 3)
    assert true.null_mass.item() == pytest.approx((e[3] + e[4]) / sum(e))


def test_a_row_of_nulls_alone_has_exact_zeros_or_its_best_expert():
    logits = torch.tensor([[0.0, 1.0, 5.0, 5.0], [6.0, 1.0, 5.0, 0.0]], requires_grad=True)
    passes_by = WithNull(TopK(2), 2)(logits)
    assert passes_by.weights[0].tolist() == [0.0, 0.0]
    assert passes_by.n_used.tolist() == [0, 1]
    assert passes_by.null_share.tolist() == [1.0, 0.5]
    passes_by.weights.sum().backward()
    assert logits.grad.isfinite().all()
    best = WithNull(TopK(2), 2, on_empty="best")(logits)
    assert best.weights[0].tolist() == [0.0, 1.0]
    assert best.mask[0].tolist() == [False, True]
    shared = WithShared(WithNull(TopK(2), 2), 1)
    assert shared.n_null == 2
    assert shared(logits).weights[0].tolist() == [1.0, 0.0, 0.0]


def test_a_bias_reaches_the_policy_beneath_shared_experts():
    logits, bias = torch.tensor([0.3, 0.2, 0.1]), torch.tensor([-1.0, 0.0, 0.0])
    assert WithShared(TopK(1), 1)(logits).mask.tolist() == [True, True, False, False]
    assert WithShared(TopK(1), 1)(logits, bias=bias).mask.tolist() == [True, False, True, False]


def test_nulls_keep_the_scores_of_the_policy_beneath():
    policy, logits = WithNull(TopK(2, score="sigmoid"), n_null=2), torch.tensor([[-2.0, 1.0, -9.0, -9.0]])
    scores = torch.sigmoid(logits[0, :2])
    assert policy(logits).weights[0].tolist() == pytest.approx((scores / scores.sum()).tolist())
    twin = route(policy, logits[0].double().numpy())
    np.testing.assert_allclose(twin.weights, policy(logits.double()).weights[0], rtol=1e-12)


@quick
@given(logits=rows, p=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)))
def test_top_p_is_monotone_in_p(logits, p):
    for arguments in ({}, {"inclusive": False}, {"measure": "first-right"}, {"max_k": 3}):
        fewer, more = (top_p_mask(logits, value, **arguments) for value in sorted(p))
        assert (more | ~fewer).all()


@quick
@given(logits=rows)
def test_top_p_equals_a_loop(logits):
    probs = logits.softmax(-1).tolist()
    kept, collected = set(), 0.0
    for i in sorted(range(len(probs)), key=lambda i: -probs[i]):
        if collected >= 0.75:
            break
        kept.add(i)
        collected += probs[i]
    assert set(top_p_mask(logits, 0.75).nonzero().flatten().tolist()) == kept


@given(rows)
@quick
def test_ranks_are_the_experts_in_descending_order(logits):
    best_first = sorted(range(len(logits)), key=lambda i: -logits[i].item())
    chosen = [Rank(k + 1)(logits).mask.nonzero().item() for k in range(len(logits))]
    assert chosen == best_first
    last = torch.cat([logits, torch.tensor([-torch.inf])])
    assert Rank(len(last))(last).mask.nonzero().item() == best_first[-1]  # out of service is never chosen


def test_dynmole_equals_its_rule():
    logits = normal(500, 12, seed=21, dtype=torch.float64)
    routing = DYNMOLE(logits)
    assert 0 < (routing.n_used == 12).sum() < 500  # both branches
    for row, mask, weights in zip(logits.numpy(), routing.mask, routing.weights, strict=True):
        expected_mask, expected_weights = dynmole_by_the_rule(row)
        assert mask.tolist() == expected_mask.tolist()
        np.testing.assert_allclose(weights, expected_weights, rtol=1e-10)


def test_presets_have_the_constants_of_the_papers_codes():
    assert (
        EntropyHybrid(q=1.1, threshold=0.9, p=0.75, min_k=2, inclusive=False, renorm=False, measure="softmax")
        == DYNMOLE
    )
    assert TopP(p=0.4, min_k=1, max_k=None, inclusive=True, renorm=False) == HARDER_TASKS
    assert WithNull(TopK(4, renorm=True), n_null=16, renorm=True, on_empty="none") == ADAMOE
    assert ADAMOE(torch.zeros(3, 24)).mask.shape == (3, 8)


def test_nulls_teach_the_router_of_rows_with_one_true_expert_and_adamoe_does_not():
    for policy, learns in ((ADAMOE, False), (NULLS, True)):
        logits = normal(2000, 8 + policy.n_null, seed=21).requires_grad_()
        routing = policy(logits)
        one = routing.n_used == 1
        assert 0.2 < one.float().mean() < 0.5
        values = torch.arange(1.0, 9.0)  # what the experts answer
        (gradient,) = torch.autograd.grad((routing.weights @ values)[one].sum(), logits)
        assert (gradient[one].abs().amax(-1) > 1e-6).float().mean() == learns


def test_adamoe_uses_as_many_true_experts_as_chance_says():
    logits = normal(20_000, 24, seed=22)
    n_used = ADAMOE(logits).n_used.float()
    assert n_used.mean().item() == pytest.approx(4 * 8 / 24, abs=0.03)
    none = math.comb(16, 4) / math.comb(24, 4)
    assert (n_used == 0).float().mean().item() == pytest.approx(none, abs=0.01)


@pytest.mark.parametrize(("best", "score"), [(1, "softmax"), (2, "sigmoid"), (3, "sigmoid")])
def test_group_top_k_equals_a_loop(best, score):
    logits = normal(300, 16, seed=23)
    bias = normal(16, seed=24, scale=0.1)
    scores = logits.sigmoid() if score == "sigmoid" else logits.softmax(-1)
    policy = GroupTopK(3, n_groups=4, n_kept=2, best=best, score=score)
    for given_bias in (None, bias):
        mask = policy(logits, bias=given_bias).mask
        for row, chosen in zip(scores if given_bias is None else scores + bias, mask, strict=True):
            assert chosen.nonzero().flatten().tolist() == deepseek_by_the_rule(row.tolist(), 3, 4, 2, best)


def test_group_top_k_passes_over_groups_out_of_service_and_scores_that_underflow():
    policy = GroupTopK(1, n_groups=2, n_kept=1, best=1)
    dead_group = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])
    assert policy(dead_group, bias=torch.full((4,), -2.0)).mask.tolist() == [True, False, False, False]
    assert policy(torch.tensor([-501.0, -500.0, -600.0, -600.0])).mask.tolist() == [False, True, False, False]


def test_entropy_is_that_of_the_measure_and_the_index():
    logits = normal(20, 6, seed=33)
    for q in (0.5, 2.0):
        plain, first = EntropyHybrid(q=q), EntropyHybrid(q=q, measure="first-right")
        assert torch.equal(plain(logits).entropy, tsallis_entropy(logits, q))
        np.testing.assert_allclose(first(logits).entropy, tsallis_entropy(first_right(logits), q), rtol=1e-5)
    assert torch.equal(TopK(2)(logits).entropy, tsallis_entropy(logits, 1.0))


def test_null_mass_is_that_of_the_measure():
    logits = normal(20, 6, seed=34)
    for measure, p in (("softmax", logits.softmax(-1)), ("first-right", first_right(logits).exp())):
        routing = WithNull(TopP(0.5, measure=measure), 2)(logits)
        np.testing.assert_allclose(routing.null_mass, p[:, 4:].sum(-1), rtol=1e-6)
    assert TopK(1)(logits).null_mass.tolist() == TopK(1)(logits).null_share.tolist() == [0.0] * 20


def test_every_parameter_changes_the_routing():
    logits = normal(300, 8, seed=25)
    changes = {
        TopK(2): [{"k": 3}, {"renorm": False}, {"score": "sigmoid"}],
        TopP(0.6): [
            {"p": 0.7}, {"min_k": 3}, {"max_k": 2}, {"inclusive": False}, {"renorm": True}, {"measure": "first-right"},
        ],
        EntropyHybrid(): [
            {"q": 0.5}, {"threshold": 0.8}, {"p": 0.5}, {"min_k": 3}, {"inclusive": True}, {"renorm": True},
            {"measure": "first-right"},
        ],
        Rank(2): [{"k": 3}, {"renorm": False}],
        GroupTopK(2, 4, 2): [
            {"k": 3}, {"n_groups": 2}, {"n_kept": 1}, {"best": 1}, {"renorm": False}, {"score": "softmax"},
        ],
        WithNull(TopK(1), 2): [
            {"policy": TopK(2)}, {"n_null": 3}, {"on_empty": "best"},
        ],
        WithNull(TopK(3), 2): [{"renorm": False}],
        WithShared(TopK(1), 1): [{"policy": TopK(2)}, {"n_shared": 2}, {"renorm": True}],
    }  # fmt: skip
    for policy, alternatives in changes.items():
        before = policy(logits).weights
        for change in alternatives:
            after = replace(policy, **change)(logits).weights
            assert after.shape != before.shape or not torch.equal(after, before), (policy, change)


def test_schedule_moves_k_in_a_straight_line_and_stays():
    policy = Scheduled(TopK(8), LinearK(8, 16, n_steps=400))
    logits = normal(5, 16, seed=26)
    used = [policy(logits, step=step).n_used[0].item() for step in (0, 50, 100, 200, 399, 400, 4000)]
    assert used == [8, 9, 10, 12, 16, 16, 16]
    assert LinearK(4, 1, n_steps=3)(2) == 2
    assert route(policy.at(100), logits[0].numpy()).mask.sum() == 10


def test_a_schedule_within_a_policy_follows_the_step_and_other_policies_stay_as_they_are():
    scheduled = Scheduled(TopK(8), LinearK(2, 4, n_steps=2))
    assert at_step(scheduled, 1) == TopK(3)
    assert at_step(WithNull(scheduled, n_null=2), 2) == WithNull(TopK(4), n_null=2)
    assert at_step(WithShared(scheduled, n_shared=1), 0) == WithShared(TopK(2), n_shared=1)
    for policy in (ADAMOE, STREAM):
        assert at_step(policy, 5) is policy
    nested = WithShared(WithNull(scheduled, n_null=2), n_shared=1)
    assert at_step(nested, 1) == WithShared(WithNull(TopK(3), n_null=2), n_shared=1)


def test_a_plain_function_is_a_policy():
    def last(logits):
        mask = torch.arange(logits.shape[-1]) == logits.shape[-1] - 1
        mask = mask.expand(logits.shape)
        return Routing(mask.to(logits.dtype), mask, logits)

    for logits in (np.zeros(3), np.zeros((2, 3))):
        assert route(last, logits).weights.tolist() == np.broadcast_to([0.0, 0.0, 1.0], logits.shape).tolist()
    assert route(WithShared(last, n_shared=1), np.zeros(2)).weights.tolist() == [1.0, 0.0, 1.0]
    assert at_step(last, 7)(torch.zeros(2)).mask.tolist() == [False, True]
    assert (as_rule(last).n_logits(5), as_rule(last).n_active(5, otherwise=2.0)) == (5, 2.0)
    policy = WithShared(last, n_shared=1)
    assert at_step(policy, 7) is policy


@pytest.mark.parametrize(
    ("policy", "n_logits"),
    [
        (TopK(2), 6),
        (WithNull(TopK(2), n_null=3), 9),
        (WithShared(TopK(2), n_shared=2), 4),
        (WithShared(WithNull(TopK(2), n_null=3), n_shared=2), 7),
    ],
    ids=str,
)
def test_a_policy_says_how_many_logits_make_six_experts(policy, n_logits):
    assert policy.n_logits(6) == n_logits
    assert policy(torch.zeros(n_logits)).mask.shape == (6,)


@pytest.mark.parametrize("policy", [WithNull, WithShared])
def test_how_many_experts_a_wrapper_adds_must_be_said(policy):
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'n_"):
        policy(TopK(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(0), "TopK: k=0; choose an integer >= 1"),
        (lambda: TopK(1.5), "TopK: k=1.5; choose an integer >= 1"),
        (lambda: TopK(2, score="relu"), "TopK: score='relu'; available: softmax, sigmoid"),
        (lambda: TopP(1.2), "TopP: p=1.2; choose a number from 0 to 1"),
        (lambda: TopP(min_k=3, max_k=2), "TopP: max_k=2 but min_k=3; choose max_k >= min_k, or None"),
        (lambda: EntropyHybrid(q=0.0), "EntropyHybrid: q=0.0; choose q > 0"),
        (lambda: EntropyHybrid(threshold=-1), "EntropyHybrid: threshold=-1; choose a number from 0 to 1"),
        (lambda: EntropyHybrid(measure="mean"), "measure='mean'; available: softmax, first-right"),
        (lambda: WithNull(TopK(1), 0), "WithNull: n_null=0; choose an integer >= 1"),
        (lambda: WithNull(TopK(1), 3)(torch.zeros(3)), "WithNull: logits have 3 columns, n_null=3 of them nulls"),
        (
            lambda: WithNull(WithShared(TopK(1), 1), 2),
            r"has shared experts, which have no logits; write them outermost",
        ),
        (lambda: GroupTopK(1, 2, 3), "GroupTopK: n_kept=3 of n_groups=2; choose n_kept <= n_groups"),
        (lambda: GroupTopK(1, 2, 1)(torch.zeros(5)), "GroupTopK: 5 experts in n_groups=2"),
        (lambda: TopK(5)(torch.zeros(4)), "top_k: k=5 but there are 4 experts; choose 1 <= k <= 4"),
        (lambda: route(TopK(5), np.zeros(4)), "top_k: k=5 but there are 4 experts; choose 1 <= k <= 4"),
        (lambda: BiasBalancer(3, rule="random"), "BiasBalancer: rule='random'; available: sign, proportional"),
    ],
)  # fmt: skip
def test_wrong_arguments_say_what_to_do(make, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make()
