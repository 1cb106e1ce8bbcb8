from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from driftmoe.losses import (
    consistency_loss,
    correctness_loss,
    entropy_loss,
    importance_loss,
    load_balance_loss,
    localized_balance_loss,
    mutual_information_loss,
    null_balance_loss,
    oracle_loss,
    router_z_loss,
    soft_balance_loss,
)
from driftmoe.routing import DYNMOLE, TopK, WithNull

OF_LOGITS = {
    "balance": lambda z, rows=None: load_balance_loss(z, TopK(2)(z).mask, rows),
    "kept balance": lambda z, rows=None: soft_balance_loss(z, TopK(2, renorm=False)(z).weights, rows),
    "soft balance": lambda z, rows=None: load_balance_loss(z, TopK(2, renorm=False)(z).weights, rows),
    "null balance": lambda z, rows=None: null_balance_loss(z, TopK(2)(z).mask, 2, rows),
    "entropy": lambda z, rows=None: entropy_loss(z, 1.1, rows=rows),
    "entropy in nats": lambda z, rows=None: entropy_loss(z, normalize=False, rows=rows),
    "mutual information": mutual_information_loss,
    "z": router_z_loss,
    "consistency": lambda z, rows=None: consistency_loss(
        z, torch.arange(z.shape[-1]).sin().expand_as(z), rows
    ),
    "oracle": lambda z, rows=None: oracle_loss(z, torch.arange(z.shape[-1]).sin().expand_as(z), 0.5, rows),
    "importance": lambda z, rows=None: importance_loss(TopK(2)(z).weights, rows),
}
each_loss = pytest.mark.parametrize("loss", OF_LOGITS.values(), ids=OF_LOGITS.keys())


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@each_loss
def test_loss_has_the_gradient_of_finite_differences(loss):
    logits = normal(6, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(loss, (logits,))
    assert loss(logits).shape == ()


@each_loss
def test_rows_that_do_not_count_change_nothing(loss):
    logits = normal(9, 5)
    rows = torch.tensor([True, False, True, True, False, True, True, True, False])
    padded = logits.clone()
    padded[~rows] = 80.0 * normal(3, 5, seed=1)
    assert loss(padded, rows).item() == loss(logits[rows]).item() == loss(logits, rows).item()
    assert loss(logits).item() != loss(logits, rows).item()


@each_loss
def test_leading_shapes_are_flattened(loss):
    logits = normal(2, 3, 5)
    rows = torch.tensor([[True, False, True], [True, True, False]])
    assert loss(logits).item() == loss(logits.reshape(6, 5)).item()
    assert loss(logits, rows).item() == loss(logits.reshape(6, 5), rows.reshape(6)).item()


@each_loss
def test_no_rows_at_all_are_no_loss_and_no_gradient(loss):
    logits = normal(4, 5).requires_grad_()
    value = loss(logits, torch.zeros(4, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert not logits.grad.any()


@each_loss
def test_losses_stay_in_float32_under_autocast(loss):
    logits = normal(50, 5, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits)
    assert value.dtype == torch.float32
    assert value.item() == loss(logits.float()).item()


@each_loss
def test_gradients_are_finite_for_extreme_logits(loss):
    logits = torch.tensor([[200.0, 0.0, 0.0, -200.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    loss(logits).backward()
    assert logits.grad.isfinite().all()


def test_the_loss_towards_the_oracle_by_hand():
    logits = torch.tensor([[0.0, 0.0, -torch.inf]], requires_grad=True)
    losses = torch.tensor([[0.0, math.log(3.0), -5.0]])  # 3/4 and 1/4, the third is out of service
    loss = oracle_loss(logits, losses)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    loss.backward()
    np.testing.assert_allclose(logits.grad, [[0.5 - 0.75, 0.5 - 0.25, 0.0]], atol=1e-7)
    assert oracle_loss(logits, losses, tau=1e-3).item() == pytest.approx(math.log(2.0))  # the best alone
    with pytest.raises(ValueError, match=r"tau=0\.0; choose a temperature > 0"):
        oracle_loss(logits, losses, tau=0.0)


@pytest.mark.parametrize("observed", [None, torch.tensor([[True, True, False], [True, False, True]])])
def test_a_focal_and_balanced_loss_is_that_of_a_loop(observed):
    logits, correct = normal(2, 3), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    counts = torch.ones(2, 3, dtype=torch.bool) if observed is None else observed
    for focus in (0.0, 1.5):
        right, wrong = [], []
        for z, was_right, is_counted in zip(
            logits.flatten(), correct.flatten(), counts.flatten(), strict=True
        ):
            p = 1.0 / (1.0 + math.exp(-z.item() if was_right else z.item()))
            if is_counted:
                (right if was_right else wrong).append((1.0 - p) ** focus * -math.log(p))
        plain = sum(right + wrong) / len(right + wrong)
        even = (sum(right) / len(right) + sum(wrong) / len(wrong)) / 2
        assert correctness_loss(logits, correct, observed, focus=focus).item() == pytest.approx(
            plain, rel=1e-5
        )
        loss = correctness_loss(logits, correct, observed, focus=focus, balanced=True)
        assert loss.item() == pytest.approx(even, rel=1e-5)
    if observed is None:  # without both, bit for bit torch's own
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, correct)
        assert torch.equal(correctness_loss(logits, correct), expected)
    with pytest.raises(ValueError, match=r"focus=-1\.0; choose a number of 0 or more"):
        correctness_loss(logits, correct, focus=-1.0)


def test_a_balanced_loss_of_one_side_alone_is_its_mean_and_extreme_logits_have_gradients():
    logits = torch.tensor([[90.0, -90.0, 0.0]], requires_grad=True)
    loss = correctness_loss(logits, torch.ones(1, 3), focus=0.5, balanced=True)
    assert loss.item() == pytest.approx((0.0 + 90.0 + 0.5**0.5 * math.log(2.0)) / 3.0)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert (
        correctness_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3), balanced=True).item() == 0.0
    )


def test_localised_balance_is_least_where_kinds_keep_their_share():
    kinds = torch.tensor([0, 1])
    own, other = 0.4, 0.6  # own / other = (1 - delta) / (1 + delta) with delta = 0.2
    least = torch.tensor([[own, other], [other, own]])
    assert localized_balance_loss(least, kinds, kinds, delta=0.2).item() == pytest.approx(0.0, abs=1e-12)
    even = torch.full((2, 2), 0.5)  # Z is 0.6, 0.4, 0.4, 0.6: variance 0.01, mean 0.5
    assert localized_balance_loss(even, kinds, kinds, delta=0.2).item() == pytest.approx(0.04)
    tokens = torch.stack([even, even], 1)  # two tokens a sample
    assert localized_balance_loss(tokens, kinds, kinds, delta=0.2).item() == pytest.approx(0.04)
    flat = localized_balance_loss(least, kinds, kinds, delta=0.0)
    assert flat.item() == pytest.approx(importance_loss(torch.cat([least, least.T], 1)[:1]).item())
    weights = normal(3, 2, dtype=torch.float64).softmax(-1).requires_grad_()
    three = torch.tensor([0, 1, 0])
    assert torch.autograd.gradcheck(lambda w: localized_balance_loss(w, three, kinds, 0.3), (weights,))
    with pytest.raises(ValueError, match=r"delta=1\.0; choose 0 <= delta < 1"):
        localized_balance_loss(even, kinds, kinds, delta=1.0)
    with pytest.raises(ValueError, match=r"give \(n_samples,\) and \(n_experts,\)"):
        localized_balance_loss(even, three, kinds)


def test_consistency_by_hand_and_descending_it_gives_neighbours_the_same_experts():
    a, b = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)  # (3/4, 1/4) and (1/2, 1/2)
    expected = 0.25 * math.log(1.5) - 0.25 * math.log(0.5)
    assert consistency_loss(a, b).item() == consistency_loss(b, a).item() == pytest.approx(expected / 2.0)
    logits = (4.0 * normal(40, 5)).requires_grad_()
    step = torch.optim.Adam([logits], lr=0.1)

    def changes():
        return (logits[:-1].argmax(-1) != logits[1:].argmax(-1)).sum().item()

    before = changes()
    for _ in range(100):
        step.zero_grad()
        consistency_loss(logits[:-1], logits[1:]).backward()
        step.step()
    assert before > 25
    assert changes() < before / 2


@pytest.mark.parametrize("loss", [oracle_loss, consistency_loss])
def test_losses_of_two_tensors_ask_for_the_same_shape(loss):
    with pytest.raises(ValueError, match=r"has the shape \(5, 1\), the other \(5, 2\)"):
        loss(torch.zeros(5, 2), torch.zeros(5, 1))


def test_an_expert_out_of_service_on_one_side_alone_is_left_out_of_consistency():
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [-torch.inf, 0.0, 0.0]], requires_grad=True)
    neighbours = torch.tensor(
        [[1.0, 0.0, 9.0], [0.0, -torch.inf, -torch.inf]]
    )  # the second row has no common expert
    loss = consistency_loss(logits, neighbours)
    assert loss.item() == pytest.approx(consistency_loss(logits[:1, :2], neighbours[:1, :2]).item() / 2.0)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0] != 0.0


def test_a_row_that_no_expert_can_serve_teaches_nothing_of_the_oracle():
    logits, losses = normal(2, 3).requires_grad_(), torch.tensor([[torch.inf] * 3, [1.0, 2.0, 3.0]])
    loss = oracle_loss(logits, losses)
    assert loss.item() == pytest.approx(oracle_loss(logits[1:], losses[1:]).item() / 2.0)
    loss.backward()
    np.testing.assert_allclose(logits.grad[0], 0.0, atol=1e-7)
    assert logits.grad[1].abs().min() > 0.0


def test_balance_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]])  # softmax 1/4, 3/4
    load = torch.tensor([[True, True], [False, True]])  # shares 1/3, 2/3
    assert load_balance_loss(logits, load).item() == pytest.approx(2 * (1 / 3 * 1 / 4 + 2 / 3 * 3 / 4))


def test_balance_goes_from_1_to_the_number_of_experts():
    even = 50.0 * torch.eye(4)
    one = 50.0 * torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 4)
    for k, most in ((1, 4.0), (2, 2.0)):
        assert load_balance_loss(even, TopK(1)(even).mask).item() == pytest.approx(1.0)
        assert load_balance_loss(one, TopK(k)(one).mask).item() == pytest.approx(most)


def test_balance_sends_gradient_through_probabilities_and_soft_load_alone():
    logits = normal(6, 4, dtype=torch.float64).requires_grad_()
    probs = logits.softmax(-1)
    routing = TopK(2, renorm=False)(logits)
    (hard,) = torch.autograd.grad(load_balance_loss(logits, routing.mask), logits, retain_graph=True)
    (soft,) = torch.autograd.grad(load_balance_loss(logits, routing.weights), logits, retain_graph=True)
    share = routing.mask.double().mean(0) / 2
    (expected,) = torch.autograd.grad(4 * (share * probs.mean(0)).sum(), logits)
    np.testing.assert_allclose(hard, expected, atol=1e-12)
    assert (soft - hard).abs().max() > 1e-3


def test_soft_balance_is_that_of_dynmoles_code():
    """n · sum of mean kept weight · mean probability, of normal logits; shares of the weights would be 1.2 times it."""
    logits = normal(500, 6, dtype=torch.float64).requires_grad_()
    weights = DYNMOLE(logits).weights
    expected = (weights.mean(0) * logits.softmax(-1).mean(0)).sum() * 6
    ours = soft_balance_loss(logits, weights)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-12)
    assert load_balance_loss(logits, weights).item() > 1.1 * ours.item()
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, expected)]
    np.testing.assert_allclose(*gradients, atol=1e-12)


def test_descending_the_balance_loss_evens_the_load():
    bias = torch.tensor([2.0, 0.0, 0.0, -1.0], requires_grad=True)
    noise = normal(512, 4)

    def load():
        return TopK(1)(noise + bias.detach()).mask.float().mean(0)

    before = load().max()
    for _ in range(200):
        loss = load_balance_loss(noise + bias, TopK(1)(noise + bias).mask)
        (gradient,) = torch.autograd.grad(loss, bias)
        bias.data -= 0.5 * gradient
    assert before > 0.8
    assert load().max() < 0.4


def test_null_balance_by_hand():
    probs = torch.tensor([[0.4, 0.3, 0.2, 0.1]])  # two experts, two nulls
    load = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    expected = 4 * (0.5 * 0.4 + 0.0 * 0.3 + 0.25 * (0.2 + 0.1))
    assert null_balance_loss(probs.log(), load, n_null=2).item() == pytest.approx(expected)


def test_null_balance_takes_the_load_of_a_routing():
    logits = normal(30, 6)
    routing = WithNull(TopK(2), 2)(logits)
    load = torch.cat([routing.mask, routing.null_mask], -1)
    assert null_balance_loss(logits, load, 2).item() == OF_LOGITS["null balance"](logits).item()


@pytest.mark.parametrize("n_null", [0, 4])
def test_null_balance_needs_true_experts_and_nulls(n_null):
    with pytest.raises(ValueError, match=f"n_null={n_null} of 4 columns; choose 1 <= n_null < columns"):
        null_balance_loss(torch.zeros(2, 4), torch.ones(2, 4), n_null)


def test_entropy_loss_is_the_mean_of_rows():
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 60.0, 0.0]])
    assert entropy_loss(logits).item() == pytest.approx(0.5)
    assert entropy_loss(logits, normalize=False).item() == pytest.approx(math.log(3) / 2)
    assert entropy_loss(normal(5, 3), 0.5).item() != entropy_loss(normal(5, 3), 2.0).item()


def test_mutual_information_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])

    def shannon(q):
        return -(q * np.log(q)).sum(-1)

    expected = -(shannon(p.mean(0)) - shannon(p).mean())
    assert mutual_information_loss(torch.tensor(p).log()).item() == pytest.approx(expected)


def test_mutual_information_wants_rows_certain_and_experts_even():
    certain_and_even, certain = 60.0 * torch.eye(4), 60.0 * torch.eye(4)[:1].expand(4, 4)
    assert mutual_information_loss(certain_and_even).item() == pytest.approx(-math.log(4))
    assert mutual_information_loss(certain).item() == pytest.approx(0.0, abs=1e-6)
    assert mutual_information_loss(torch.zeros(4, 4)).item() == pytest.approx(0.0, abs=1e-6)


def test_z_loss_by_hand_and_without_overflow():
    assert router_z_loss(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).item() == pytest.approx(
        (math.log(2) ** 2 + (1 + math.log(2)) ** 2) / 2
    )
    assert router_z_loss(torch.full((1, 2), 100.0)).item() == pytest.approx((100 + math.log(2)) ** 2)


def test_importance_is_the_squared_coefficient_of_variation():
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]])
    sums = np.array([0.75, 1.0, 0.25])
    assert importance_loss(weights).item() == pytest.approx(sums.var() / sums.mean() ** 2)
    assert importance_loss(torch.ones(3, 4)).item() == 0.0


def test_correctness_loss_under_autocast_is_that_of_float32():
    logits, correct = normal(20, 4, dtype=torch.bfloat16), (normal(20, 4, seed=1) > 0).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = correctness_loss(logits, correct)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(correctness_loss(logits.float(), correct).item(), rel=1e-6)


def test_experts_out_of_service_change_no_balance():
    live = 3.0 * torch.eye(4)  # each row has its own expert
    logits = torch.cat([live, torch.full((4, 4), -torch.inf)], -1)
    routing = TopK(1)(logits)
    assert load_balance_loss(logits, routing.mask).item() == pytest.approx(1.0)
    valid = torch.arange(8) < 4
    assert importance_loss(TopK(1)(logits).weights, valid=valid).item() == pytest.approx(0.0)


def test_correctness_is_worked_out_in_float32():
    logits, correct = torch.tensor([[9.0, -9.0]], dtype=torch.bfloat16), torch.tensor([[True, False]])
    assert correctness_loss(logits, correct).dtype == torch.float32
