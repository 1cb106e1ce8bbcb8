"""Entropies, and what is measured of the router on a stream."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from many_policies import INDICES, P, normal, quick, rows
from reference.routing import entropy_by_definition

from driftmoe.routing import DYNMOLE, STREAM, EntropyHybrid, TopK, TopP, first_right, route, tsallis_entropy


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


@quick
@given(logits=rows, scale=st.floats(0.01, 50.0))
def test_entropies_lie_between_0_and_1(logits, scale):
    for values in (logits * scale, (logits * scale).float()):
        for q in INDICES:
            assert 0.0 <= tsallis_entropy(values, q) <= 1.0


@pytest.mark.parametrize("q", INDICES)
def test_entropies_have_the_gradient_of_finite_differences(q):
    logits = normal(6, 5, seed=17, dtype=torch.float64).requires_grad_()
    for normalize in (True, False):
        assert torch.autograd.gradcheck(lambda z, n=normalize: tsallis_entropy(z, q, n), (logits,))
    assert torch.autograd.gradcheck(first_right, (logits,))


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
