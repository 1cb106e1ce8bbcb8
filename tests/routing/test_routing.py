from __future__ import annotations

import math
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmoe.losses import (
    correctness_loss,
    entropy_loss,
    load_balance_loss,
    mutual_information_loss,
    null_balance_loss,
)
from driftmoe.routing import (
    ADAMOE,
    DYNMOLE,
    HARDER_TASKS,
    STREAM,
    BiasBalancer,
    Dense,
    EntropyHybrid,
    GroupTopK,
    LinearK,
    RandomRouter,
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
    top_k_mask,
    top_p_mask,
    tsallis_entropy,
)

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
INDICES = (0.5, 0.9, 1.0, 1.001, 1.1, 2.0)

POLICIES = {
    "dense": Dense(),
    "top-1": TopK(1),
    "top-2": TopK(2),
    "top-2 raw": TopK(2, renorm=False),
    "top-2 sigmoid": TopK(2, score="sigmoid"),
    "top-2 sigmoid raw": TopK(2, renorm=False, score="sigmoid"),
    "top-p": TopP(0.75),
    "top-p exclusive": TopP(0.75, min_k=2, inclusive=False, renorm=True),
    "top-p bounded": TopP(0.9, min_k=2, max_k=3),
    "top-p first right": TopP(0.9, measure="first-right", renorm=True),
    "hybrid": EntropyHybrid(),
    "hybrid, q below 1": EntropyHybrid(q=0.5, threshold=0.8, p=0.6, min_k=1, inclusive=True, renorm=True),
    "stream": STREAM,
}
COMPOSED = {
    "null": WithNull(TopK(2), 1),
    "null raw": WithNull(TopK(2, renorm=False), 1, renorm=False),
    "null over all": WithNull(TopK(2), 1, renorm=False),
    "null best": WithNull(TopK(1), 1, on_empty="best"),
    "null hybrid": WithNull(EntropyHybrid(), 1),
    "shared": WithShared(TopK(2), 2),
    "shared mean": WithShared(TopP(0.75), 1, renorm=True),
    "scheduled": Scheduled(TopK(1), LinearK(1, 3, n_steps=10)).at(5),
}
GROUPED = {
    "groups": GroupTopK(3, n_groups=4, n_kept=2, best=1),
    "groups softmax": GroupTopK(2, n_groups=2, n_kept=1, best=2, renorm=False, score="softmax"),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tensors of these sizes gain nothing from threads, and lose much where other processes want the cores."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def each_policy(policies):
    return pytest.mark.parametrize("policy", policies.values(), ids=policies.keys())


def normal(*shape, seed=0, scale=1.0, dtype=torch.float32):
    return (
        scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).to(dtype)


def entropy_by_definition(p, q):
    """The textbook sum, in float64, for q away from 1 or equal to it."""
    p = np.asarray(p, dtype=np.float64)
    p = p[p > 0.0]
    return -(p * np.log(p)).sum() if q == 1.0 else (1.0 - (p**q).sum()) / (q - 1.0)


def dynmole_by_the_rule(logits, q=1.1, threshold=0.9, p=0.75, min_k=2):
    """DynMoLE's hybrid rule as its code states it, for one row: what is kept, and the weights."""
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    order = np.argsort(-probs, kind="stable")
    keep = np.cumsum(probs[order]) <= p
    keep[:min_k] = True
    mask = np.zeros(len(probs), dtype=bool)
    mask[order[keep]] = True
    uniform = np.full(len(probs), 1.0 / len(probs))
    if entropy_by_definition(probs, q) / entropy_by_definition(uniform, q) > threshold:
        mask[:] = True
    return mask, probs * mask


def deepseek_by_the_rule(scores, k, n_groups, n_kept, best):
    """Group-limited top-k with plain loops, for one row: the chosen experts in order."""
    size = len(scores) // n_groups
    groups = [scores[g * size : (g + 1) * size] for g in range(n_groups)]
    totals = [sum(sorted(group, reverse=True)[:best]) for group in groups]
    kept = sorted(range(n_groups), key=lambda g: -totals[g])[:n_kept]
    allowed = [i for i in range(len(scores)) if i // size in kept]
    return sorted(sorted(allowed, key=lambda i: -scores[i])[:k])


# --------------------------------------------------------------------------------------------------
# The pitfalls of published codes, one by one
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.5, 0.9, 1 - 1e-6, 1.0, 1 + 1e-6, 1.001, 1.1, 1.5, 2.0])
def test_no_cancellation_as_q_tends_to_1(q):
    logits = normal(50, 12, seed=1)
    p = np.exp(torch.log_softmax(logits.double(), -1).numpy())
    # Near 1 the definition cancels in float64 too; there the series around Shannon's entropy takes its place.
    if 0 < abs(q - 1) < 1e-3:
        expected = [-(row * np.log(row) * (1 + (q - 1) * np.log(row) / 2)).sum() for row in p]
    else:
        expected = [entropy_by_definition(row, q) for row in p]
    np.testing.assert_allclose(tsallis_entropy(logits, q, normalize=False), expected, rtol=0, atol=5e-6)


def test_entropy_is_continuous_in_q_across_1():
    logits = normal(50, 12, seed=2)
    around = [tsallis_entropy(logits, q) for q in (1 - 1e-5, 1 - 1e-7, 1.0, 1 + 1e-7, 1 + 1e-5)]
    for left, right in pairwise(around):
        assert (left - right).abs().max() < 1e-5


@pytest.mark.parametrize("q", INDICES)
@pytest.mark.parametrize("n", [2, 12, 256])
def test_no_epsilon_shifts_the_entropy_of_uniform_and_one_hot(q, n):
    uniform, one_hot = torch.full((n,), 0.7), torch.full((n,), -200.0)
    one_hot[n // 2] = 0.0
    assert tsallis_entropy(uniform, q).item() == pytest.approx(1.0, abs=1e-5)
    assert tsallis_entropy(one_hot, q).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("q", INDICES)
def test_gradient_is_finite_where_a_probability_is_0(q):
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, -torch.inf, 0.0]], requires_grad=True)
    tsallis_entropy(logits, q).sum().backward()
    assert logits.grad.isfinite().all()
    first = torch.tensor([[200.0, 0.0, 0.0], [80.0, -80.0, -torch.inf]], requires_grad=True)
    tsallis_entropy(first_right(first), q).sum().backward()
    assert first.grad.isfinite().all()


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


@pytest.mark.parametrize(
    ("q", "raw", "normalised"),
    [
        (0.5, 1.73146894, 0.86573447),
        (1.0, 1.14212005, 0.82386547),
        (1.1, 1.06376737, 0.82176284),
        (2.0, 0.63500000, 0.84666667),
    ],
)
def test_entropy_of_a_known_distribution(q, raw, normalised):
    assert tsallis_entropy(P.log(), q, normalize=False).item() == pytest.approx(raw, abs=1e-8)
    assert tsallis_entropy(P.log(), q).item() == pytest.approx(normalised, abs=1e-8)


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


def test_fewer_than_k_experts_in_service_are_all_chosen():
    logits = torch.tensor([0.0, -torch.inf, 1.0, -torch.inf])
    assert TopK(3)(logits).mask.tolist() == [True, False, True, False]
    assert (
        GroupTopK(2, n_groups=2, n_kept=1)(logits).n_used.item() == 1
    )  # what is outside the kept group stays out


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


def test_one_renormalised_expert_gives_the_router_no_gradient_a_raw_one_does():
    for renorm, expected in ((True, False), (False, True)):
        logits = normal(4, 5).requires_grad_()
        TopK(1, renorm=renorm)(logits).weights.sum().backward()
        assert bool(logits.grad.abs().sum() > 1e-3) is expected


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


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (8, 16), (12, 4)])
def test_no_number_of_experts_is_built_in(n, m):
    logits = normal(500, n + m, seed=9)
    routing = WithNull(TopK(2), m)(logits)
    assert routing.mask.shape == (500, n)
    assert routing.null_mask.shape == (500, m)
    assert (routing.n_used + routing.null_mask.sum(-1) == 2).all()
    assert routing.n_used.float().mean().item() == pytest.approx(2 * n / (n + m), abs=0.12)


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


def test_nulls_keep_the_scores_of_the_policy_beneath():
    policy, logits = WithNull(TopK(2, score="sigmoid"), n_null=2), torch.tensor([[-2.0, 1.0, -9.0, -9.0]])
    scores = torch.sigmoid(logits[0, :2])
    assert policy(logits).weights[0].tolist() == pytest.approx((scores / scores.sum()).tolist())
    twin = route(policy, logits[0].double().numpy())
    np.testing.assert_allclose(twin.weights, policy(logits.double()).weights[0], rtol=1e-12)


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


def test_balance_is_taken_per_layer_not_over_layers_at_once():
    first, second = (
        torch.tensor([[4.0, 0.0]] * 10),
        torch.tensor([[0.0, 4.0]] * 10),
    )  # each layer is one-sided
    per_layer = [load_balance_loss(z, TopK(1)(z).mask).item() for z in (first, second)]
    together = torch.cat([first, second])
    assert min(per_layer) > 1.9
    assert load_balance_loss(together, TopK(1)(together).mask).item() == pytest.approx(1.0)


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


# --------------------------------------------------------------------------------------------------
# Properties
# --------------------------------------------------------------------------------------------------

quick = settings(max_examples=40, deadline=None, derandomize=True)
steps = st.integers(-640, 640)
rows = st.lists(steps, min_size=4, max_size=16, unique=True).map(
    lambda z: torch.tensor(z, dtype=torch.float64) / 64.0
)
"""Logits without ties, on a grid: shifted by a step of the grid they stay exact."""


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


@quick
@given(logits=rows, scale=st.floats(0.01, 50.0))
def test_entropies_lie_between_0_and_1(logits, scale):
    for values in (logits * scale, (logits * scale).float()):
        for q in INDICES:
            assert 0.0 <= tsallis_entropy(values, q) <= 1.0


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


@pytest.mark.parametrize("q", INDICES)
def test_entropies_have_the_gradient_of_finite_differences(q):
    logits = normal(6, 5, seed=17, dtype=torch.float64).requires_grad_()
    for normalize in (True, False):
        assert torch.autograd.gradcheck(lambda z, n=normalize: tsallis_entropy(z, q, n), (logits,))
    assert torch.autograd.gradcheck(first_right, (logits,))


def test_router_learns_through_the_weights_that_it_keeps():
    logits = normal(6, 5, seed=18).requires_grad_()
    routing = TopK(2)(logits)
    (routing.weights * normal(6, 5, seed=19)).sum().backward()
    assert (logits.grad[routing.mask] != 0.0).all()
    assert not logits.grad[~routing.mask].any()


# --------------------------------------------------------------------------------------------------
# Entropies and what is measured on a stream
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.0, -1.0, math.nan])
def test_entropy_refuses_an_index_that_is_not_positive(q):
    with pytest.raises(ValueError, match="choose an entropic index q > 0"):
        tsallis_entropy(torch.zeros(3), q)


def test_one_expert_alone_is_certain():
    assert tsallis_entropy(torch.zeros(4, 1), 1.1).tolist() == [0.0] * 4
    assert tsallis_entropy(torch.tensor([2.0, -torch.inf]), 2.0).item() == 0.0
    for policy in (TopK(1), TopP(0.3), EntropyHybrid(), STREAM):
        assert policy(torch.zeros(1)).weights.tolist() == [1.0]
        assert route(policy, np.zeros(1)).weights.tolist() == [1.0]


def test_first_right_of_three_experts_by_hand():
    believed = torch.tensor([0.2, 0.5, 0.1], dtype=torch.float64)
    nobody = 0.5 * 0.8 * 0.9
    expected = [0.5 * 0.2 + nobody / 3, 0.5 + nobody / 3, 0.5 * 0.8 * 0.1 + nobody / 3]
    np.testing.assert_allclose(first_right(believed.logit()).exp(), expected)
    assert sum(expected) == pytest.approx(1.0)


@quick
@given(logits=rows)
def test_first_right_is_a_distribution_in_the_order_of_belief(logits):
    p = first_right(logits).exp()
    assert p.sum().item() == pytest.approx(1.0)
    assert torch.equal(p[logits.argsort(descending=True)], p.sort(descending=True).values)


def test_the_softmax_cannot_tell_everyone_right_from_everyone_wrong_first_right_can():
    everyone_right, everyone_wrong = torch.full((12,), 4.0), torch.full((12,), -4.0)
    assert tsallis_entropy(everyone_right, 1.1) == tsallis_entropy(everyone_wrong, 1.1)
    assert DYNMOLE(everyone_right).n_used == DYNMOLE(everyone_wrong).n_used == 12
    assert tsallis_entropy(first_right(everyone_right), 1.1) < 0.1
    assert tsallis_entropy(first_right(everyone_wrong), 1.1) > 0.99


def test_on_a_stream_easy_samples_use_fewer_experts_than_hard_ones():
    one, half = torch.full((12,), -4.0), torch.full((12,), -4.0)
    one[5], half[:6] = 4.0, 4.0
    easy, hard = torch.full((12,), 4.0), torch.full((12,), -4.0)
    assert STREAM(torch.stack([easy, one, half, hard])).n_used.tolist() == [1, 1, 1, 12]


def test_on_a_stream_experts_used_and_entropy_rise_as_trust_falls():
    trust = torch.linspace(6.0, -6.0, 200, dtype=torch.float64)[:, None].expand(200, 12)
    routing = STREAM(trust)
    assert (routing.n_used.diff() >= 0).all()
    assert (routing.entropy.diff() > 0).all()
    assert len(routing.n_used.unique()) >= 5  # not a switch between one and all


def test_who_is_already_trusted_decides_not_how_many_others_are():
    believed = torch.tensor([[0.97] + [0.01] * 11, [0.97] * 12])
    assert STREAM(believed.logit()).n_used.tolist() == [1, 1]
    assert TopP(0.9, renorm=True)(believed.logit()).n_used.tolist() == [1, 11]


# --------------------------------------------------------------------------------------------------
# Policies
# --------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------
# One row in numpy
# --------------------------------------------------------------------------------------------------


@each_policy(POLICIES | COMPOSED)
@pytest.mark.parametrize("n", [4, 12, 64])
def test_a_row_in_numpy_is_routed_as_torch_routes_it(policy, n):
    for scale in (0.1, 1.0, 3.0, 20.0):
        logits = normal(150, n, seed=n, scale=scale).numpy()
        logits[::4, 1] = -np.inf
        logits[3] = 0.0
        logits[4] = np.round(logits[4])  # ties
        block = route(policy, logits)
        for i, row in enumerate(logits):
            choice = route(policy, row)
            assert choice.weights.dtype == np.float64
            assert choice.mask.tolist() == block.mask[i].tolist()
            np.testing.assert_allclose(choice.weights, block.weights[i], rtol=1e-12, atol=1e-300)


@each_policy(GROUPED)
@pytest.mark.parametrize("n", [4, 12, 64])
def test_groups_in_a_row_in_numpy_are_those_of_torch(policy, n):
    """Unless the scores of two groups differ by rounding alone, as saturated sigmoids do."""
    logits = normal(300, n, seed=n).numpy()
    logits[::4, 1] = -np.inf
    logits[1::4, : n // 4] = -np.inf  # a whole group of four
    logits[3] = 0.0
    block = route(policy, logits)
    for i, row in enumerate(logits):
        choice = route(policy, row)
        assert choice.mask.tolist() == block.mask[i].tolist()
        np.testing.assert_allclose(choice.weights, block.weights[i], rtol=1e-12)
    with pytest.raises(ValueError, match="GroupTopK: 5 experts in n_groups"):
        route(policy, np.zeros(5))


@quick
@given(row=st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=20))
def test_any_row_in_numpy_is_routed_as_torch_routes_it(row):
    logits = np.array(row)
    for policy in POLICIES.values():
        alone, block = route(policy, logits), route(policy, logits[None])
        assert alone.mask.tolist() == block.mask[0].tolist()
        np.testing.assert_allclose(alone.weights, block.weights[0], rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("q", [*INDICES, 1 + 1e-9])
@pytest.mark.parametrize("measure", ["softmax", "first-right"])
def test_the_entropy_of_a_row_decides_as_torch_decides(q, measure):
    logits = normal(100, 12, seed=31, dtype=torch.float64)
    reference = EntropyHybrid(q=q, measure=measure)(logits)
    for i in range(100):
        entropy = reference.entropy[i].item()
        dense = EntropyHybrid(q=q, threshold=entropy - 1e-7, p=0.1, min_k=1, inclusive=True, measure=measure)
        sparse = replace(dense, threshold=min(entropy + 1e-7, 1.0))
        assert route(dense, logits[i].numpy()).mask.all()
        assert route(sparse, logits[i].numpy()).mask.sum() < 12


def test_a_function_is_a_policy_too():
    def cubed(logits):
        weights = logits.relu() ** 3
        return Routing(weights / weights.sum(-1, keepdim=True), weights > 0, logits)

    logits = np.array([1.0, -1.0, 2.0])
    choice = route(cubed, logits)
    assert choice.mask.tolist() == [True, False, True]
    np.testing.assert_allclose(choice.weights, [1 / 9, 0, 8 / 9])
    np.testing.assert_allclose(route(WithShared(cubed, 1), logits).weights, [1.0, 1 / 9, 0, 8 / 9])
    np.testing.assert_allclose(route(cubed, logits[None]).weights[0], choice.weights)


def test_top_k_mask_of_scores_equals_a_stable_sort():
    scores = normal(300, 20, seed=32).mul(2).round()  # many ties
    for k in (1, 3, 20):
        order = np.argsort(-scores.numpy(), axis=-1, kind="stable")[:, :k]
        expected = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(expected, order, True, axis=-1)
        assert top_k_mask(scores, k).tolist() == expected.tolist()
