from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from reference.draws import keyed_slowly
from reference.network import forward_slowly

from driftmoe.losses import correctness_loss
from driftmoe.mixture.router import Router
from driftmoe.network_kernels import NEGLIGIBLE, adam, forward


def router(n_experts=3, **arguments):
    defaults = {
        "hidden": (8, 6),
        "learning_rate": 0.01,
        "batch_size": 4,
        "dropout": 0.0,
        "rng": np.random.default_rng(0),
    }
    return Router(n_experts, **(defaults | arguments))


def learn(r, inputs, correct):
    r.logits(inputs, is_learning=True)
    r.learn(correct)


def vectors(n, width, seed=1):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_logits_equal_torch():
    r = router()
    r.grow(5, 3)
    v = vectors(7, 5)
    expected = forward_slowly(r.module(), torch.from_numpy(v)).detach().numpy()
    np.testing.assert_allclose(r.logits(v), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (8,), (37, 21), (256, 128)])
def test_logits_of_a_row_are_the_same_alone_and_in_any_block(hidden):
    r = router(n_experts=12, hidden=hidden)
    r.grow(23, 12)
    block = vectors(50, 23) * (np.random.default_rng(2).random((50, 23)) > 0.3)
    block = block.astype(np.float32)
    together = r.logits(block)
    assert together.tobytes() == np.concatenate([r.logits(row[np.newaxis]) for row in block]).tobytes()
    assert together[:7].tobytes() == r.logits(block[:7]).tobytes()


def test_forward_does_the_same_compiled_and_not():
    r = router(n_experts=4, hidden=(9, 6))
    r.grow(5, 4)
    v = vectors(6, 5)
    v[2, 1] = 0.0
    activations = np.zeros((6, 5 + 9 + 6 + 4), np.float32)
    activations[:, :5] = v
    getattr(forward, "py_func", forward)(r._weights, r._shape, activations, 0.0, np.uint64(0))
    np.testing.assert_allclose(activations[:, -4:], r.logits(v), rtol=1e-6, atol=1e-7)


def test_first_weights_are_xavier_uniform():
    r = router(hidden=(400, 300))
    r.grow(200, 3)
    for weights, biases in r._layers(r._weights):
        bound = (6.0 / sum(weights.shape)) ** 0.5
        assert np.abs(weights).max() <= bound
        assert np.abs(biases).max() == 0.0
    assert r._layers(r._weights)[0][0].std() == pytest.approx((2.0 / 600) ** 0.5, rel=0.05)


def test_weights_move_only_when_the_batch_is_full():
    r = router()
    r.grow(5, 3)
    probe = vectors(1, 5, seed=9)[0]
    before = r.logits(probe[np.newaxis])[0].tolist()
    for i, v in enumerate(vectors(4, 5)):
        assert r.logits(probe[np.newaxis])[0].tolist() == before
        learn(r, v[np.newaxis], np.array([[i % 2 == 0, True, False]]))
    assert r.logits(probe[np.newaxis])[0].tolist() != before


def trained():
    r = router()
    r.grow(5, 3)
    for i, v in enumerate(vectors(10, 5)):
        learn(r, v[np.newaxis], np.array([[i % 2 == 0, True, False]]))
    return r


def test_growing_inputs_changes_no_logit():
    r = trained()
    v = vectors(1, 5, seed=2)[0]
    before = r.logits(v[np.newaxis])[0]
    r.grow(9, 3)
    np.testing.assert_allclose(
        r.logits(np.append(v, vectors(1, 4)[0])[np.newaxis])[0], before, rtol=1e-6, atol=1e-6
    )


def test_growing_experts_changes_no_other_logit():
    r = trained()
    v = vectors(1, 5, seed=2)[0]
    before = r.logits(v[np.newaxis])[0]
    r.grow(5, 6)
    assert r.logits(v[np.newaxis])[0][:3].tolist() == before.tolist()
    assert len(set(r.logits(v[np.newaxis])[0][3:].tolist())) == 3


def test_growing_keeps_the_moments_of_adam():
    r = trained()
    before = [r._layers(moment)[0][0].copy() for moment in r._moments]
    r.grow(7, 4)
    for old, moment in zip(before, r._moments, strict=True):
        new = r._layers(moment)[0][0]
        assert old.any()
        assert new.shape == (7, 8)
        assert new[:5].tolist() == old.tolist()
        assert not new[5:].any()
    assert r.n_steps == 2


def test_adam_is_that_of_torch():
    ours, theirs = np.full(3, 0.5, np.float32), torch.full((3,), 0.5, requires_grad=True)
    first, second = np.zeros((2, 3), np.float32)
    optimiser = torch.optim.Adam([theirs], lr=0.01)
    for step in range(1, 21):
        gradient = np.array([0.1, -3.0, 1e-6], np.float32) * step
        adam(ours, gradient, first, second, step, 0.01)
        theirs.grad = torch.from_numpy(gradient)
        optimiser.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-6)


def test_new_columns_learn():
    r = trained()
    r.grow(6, 3)
    for v in vectors(8, 6):
        learn(r, v[np.newaxis], np.array([[v[5] > 0, True, False]]))
    assert np.abs(r._layers(r._weights)[0][0][5]).max() > 0.0


def test_a_batch_may_hold_samples_from_before_the_growth():
    r = router()
    r.grow(2, 1)
    learn(r, vectors(1, 2), np.array([[True]]))
    r.grow(4, 3)
    for v in vectors(3, 4):
        learn(r, v[np.newaxis], np.array([[True, False, True]]))
    assert np.isfinite(r.logits(vectors(1, 4))).all()


def test_dropout_acts_in_the_step_alone():
    plain, dropped = router(), router(dropout=0.5)
    for r in (plain, dropped):
        r.grow(5, 3)
    v = vectors(1, 5, seed=2)[0]
    assert (
        plain.logits(v[np.newaxis]).tolist()
        == dropped.logits(v[np.newaxis]).tolist()
        == dropped.logits(v[np.newaxis]).tolist()
    )
    for r in (plain, dropped):
        for w in vectors(4, 5):
            learn(r, w[np.newaxis], np.array([[True, False, True]]))
    assert plain.logits(v[np.newaxis]).tolist() != dropped.logits(v[np.newaxis]).tolist()


def test_loss_is_the_mean_binary_cross_entropy():
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.0]], dtype=torch.float64)
    correct = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    p = 1.0 / (1.0 + np.exp(-logits.numpy()))
    expected = -np.mean([np.log(p[0, 0]), np.log(1 - p[0, 1]), np.log(1 - p[1, 0]), np.log(p[1, 1])])
    assert correctness_loss(logits, correct).item() == pytest.approx(expected)


def test_unobserved_entries_do_not_count():
    logits = torch.tensor([[0.3, 50.0]], requires_grad=True)
    correct = torch.tensor([[1.0, 0.0]])
    loss = correctness_loss(logits, correct, observed=torch.tensor([[True, False]]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log1p(np.exp(-0.3)))
    assert logits.grad[0, 1] == 0.0
    assert correctness_loss(logits, correct, observed=torch.zeros(1, 2, dtype=torch.bool)).item() == 0.0


def test_loss_gradient_is_that_of_finite_differences():
    logits = torch.randn(
        4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    correct = torch.tensor([[1.0, 0.0, 1.0]] * 4, dtype=torch.float64)
    observed = torch.tensor([[True, True, False]] * 4)
    assert torch.autograd.gradcheck(lambda z: correctness_loss(z, correct, observed), (logits,))


def test_dropout_keeps_the_mean_of_what_passes():
    """With one linear layer of weights 1 behind the dropout, the gradient of its weights is what passed."""
    r = router(hidden=(2000,), dropout=0.4, batch_size=1, learning_rate=1e-12)
    r.grow(1, 3)
    v = np.ones((1, 1), np.float32)
    (first, _), _ = r._layers(r._weights)
    expected = np.maximum(first[0], 0.0).sum()
    seen = []
    for step in range(50):
        before = r._moments[0].copy()
        learn(r, v, np.array([[False, False, False]]))
        assert r.n_steps == step + 1
        _, (gradient, of_bias) = r._layers((r._moments[0] - 0.9 * before) / 0.1)
        seen.append(
            (gradient[:, 0].sum() / of_bias[0]).item()
        )  # d loss / d w_j = d loss / d b * activation_j
    assert np.mean(seen) == pytest.approx(expected, rel=0.05)


def test_fading_moments_become_zero_instead_of_denormal():
    theta, gradient = np.zeros((2, 2), np.float32)
    first, second = np.full((2, 2), 1.1 * NEGLIGIBLE, np.float32)
    adam(theta, gradient, first, second, 1, 0.01)
    assert not first.any()
    assert second.all()  # which fade more slowly


@pytest.mark.parametrize("hidden", [(), (8,), (37, 21)])
@pytest.mark.parametrize("grows", [False, True], ids=["all observed", "some unobserved"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradient_is_that_of_autograd(hidden, grows, dropout):
    """The gradient by hand against torch's, of a batch that may hold rows from before the last two experts."""
    r = router(hidden=hidden, batch_size=20, dropout=dropout)
    rng = np.random.default_rng(3)
    r.grow(5, 3)
    r.logits(vectors(8, 5), is_learning=True)
    r.learn(rng.random((8, 3)) < 0.7)
    n_inputs, n_experts = (7, 5) if grows else (5, 3)
    r.grow(n_inputs, n_experts)
    twin = copy.deepcopy(r.module())  # with the weights before the step
    learn(r, vectors(12, n_inputs, seed=4), rng.random((12, n_experts)) < 0.7)

    inputs, correct = torch.from_numpy(r._batch[:, :n_inputs]), torch.from_numpy(r._targets)
    assert correct.isnan().any() == grows
    logits = forward_slowly(twin, inputs, dropout, key=keyed_slowly(int(r._key), 0))  # of the first step
    correctness_loss(logits, correct.nan_to_num(), ~correct.isnan()).backward()
    np.testing.assert_allclose(
        r._moments[0] / 0.1, gradient_of(twin), rtol=1e-4, atol=1e-7
    )  # Adam's mean after one step


def gradient_of(module):
    """Gradient of all parameters in the order in which a router keeps them."""
    parts = [
        part.ravel() for layer in module.layers for part in (layer.weight.grad.T.numpy(), layer.bias.grad)
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("takes_errors", [False, True])
def test_the_error_of_a_row_is_multiplied_by_its_weight(takes_errors):
    r = router(batch_size=6)
    r.grow(5, 3)
    twin, weights = copy.deepcopy(r.module()), np.array([1.0, 2.0, 0.5, 0.0, 3.0, 1.0], np.float32)
    inputs, targets = vectors(6, 5), vectors(6, 3, seed=2)
    targets = targets if takes_errors else targets > 0.0
    r.logits(inputs, is_learning=True)
    changes = []
    r.plan(targets, changes, takes_errors=takes_errors, weights=weights)
    for change in changes:
        change()

    logits = forward_slowly(twin, torch.from_numpy(inputs))
    if takes_errors:  # the loss whose gradient by the logits is a row's errors; its mean over rows
        losses = (logits * torch.from_numpy(targets)).sum(dim=1)
    else:  # mean over experts of the cross-entropy
        p, correct = torch.sigmoid(logits), torch.from_numpy(targets)
        losses = -torch.where(correct, p, 1.0 - p).log().mean(dim=1)
    (torch.from_numpy(weights) * losses).mean().backward()
    np.testing.assert_allclose(r._moments[0] / 0.1, gradient_of(twin), rtol=1e-4, atol=1e-7)


def test_a_mini_batch_without_errors_takes_no_step():
    r = router()
    r.grow(5, 3)
    learn(r, vectors(4, 5), np.array([[True, False, True]] * 4))
    before = r._weights.copy()
    r.logits(vectors(4, 5), is_learning=True)
    r.learn_errors(np.zeros((4, 3), np.float32))
    assert (r.n_batches, r.n_steps) == (2, 1)
    assert r._weights.tolist() == before.tolist()  # Adam's momentum alone would move them


def test_a_router_that_grows_a_draft_stays_as_it_is():
    r = trained()
    state, probe = copy.deepcopy(vars(r)), vectors(1, 5)
    before = r.logits(probe).tolist()
    draft = r.grown(9, 6)
    assert (draft.n_inputs, draft.n_outputs) == (9, 6)
    assert r.logits(probe).tolist() == before
    rng = state.pop("_rng")
    assert r._rng.bit_generator.state == rng.bit_generator.state
    np.testing.assert_equal({name: getattr(r, name) for name in state}, state)
    assert r.grown(4, 3) is r


def test_a_plan_to_learn_changes_nothing_before_it_is_carried_out():
    r = trained()
    before = copy.deepcopy((r._weights, r._moments, r._counts, r._targets))
    r.logits(vectors(2, 5), is_learning=True)  # the mini-batch is full with them
    changes = []
    r.plan(np.array([[True, False, False]] * 2), changes)
    np.testing.assert_equal((r._weights, r._moments, r._counts, r._targets), before)
    for change in changes:
        change()
    assert r.n_steps == before[2][3] + 1
    assert r._weights.tolist() != before[0].tolist()


@pytest.mark.parametrize("n_threads", [2, 3])
def test_the_number_of_threads_changes_neither_logits_nor_weights(n_threads):
    one, many = (router(12, hidden=(64, 32), batch_size=256, n_threads=n) for n in (1, n_threads))
    rng = np.random.default_rng(3)
    for r in (one, many):
        r.grow(9, 12)
    for step in range(5):
        v, correct = vectors(256, 9, seed=step), rng.random((256, 12)) < 0.7
        assert one.logits(v).tobytes() == many.logits(v, is_learning=True).tobytes()
        learn(one, v, correct)
        many.learn(correct)
        assert one._weights.tobytes() == many._weights.tobytes()
