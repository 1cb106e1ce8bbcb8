from __future__ import annotations

import numpy as np
import pytest
import torch

from driftmoe.losses import correctness_loss
from driftmoe.router import Router
from driftmoe.routing import softmax, top_k


def router(n_experts=3, **arguments):
    defaults = {
        "hidden": (8, 6),
        "learning_rate": 0.01,
        "batch_size": 4,
        "dropout": 0.0,
        "rng": np.random.default_rng(0),
    }
    return Router(n_experts, **(defaults | arguments))


def vectors(n, width, seed=1):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_logits_equal_torch():
    r = router()
    r.grow(5, 3)
    v = vectors(1, 5)[0]
    activations = torch.from_numpy(v)
    for layer in list(r._layers)[:-1]:
        activations = torch.relu(layer(activations))
    np.testing.assert_allclose(
        r.logits(v), list(r._layers)[-1](activations).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_first_weights_are_xavier_uniform():
    r = router(hidden=(400, 300))
    r.grow(200, 3)
    for layer in r._layers:
        n_out, n_in = layer.weight.shape
        bound = (6.0 / (n_in + n_out)) ** 0.5
        assert layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() == 0.0
    assert r._layers[0].weight.std().item() == pytest.approx((2.0 / 600) ** 0.5, rel=0.05)


def test_weights_move_only_when_the_batch_is_full():
    r = router()
    r.grow(5, 3)
    probe = vectors(1, 5, seed=9)[0]
    before = r.logits(probe).tolist()
    for i, v in enumerate(vectors(4, 5)):
        assert r.logits(probe).tolist() == before
        r.learn(v, np.array([i % 2 == 0, True, False]))
    assert r.logits(probe).tolist() != before


def trained():
    r = router()
    r.grow(5, 3)
    for i, v in enumerate(vectors(10, 5)):
        r.learn(v, np.array([i % 2 == 0, True, False]))
    return r


def test_growing_inputs_changes_no_logit():
    r = trained()
    v = vectors(1, 5, seed=2)[0]
    before = r.logits(v)
    r.grow(9, 3)
    np.testing.assert_allclose(r.logits(np.append(v, vectors(1, 4)[0])), before, rtol=1e-6, atol=1e-6)


def test_growing_experts_changes_no_other_logit():
    r = trained()
    v = vectors(1, 5, seed=2)[0]
    before = r.logits(v)
    r.grow(5, 6)
    assert r.logits(v)[:3].tolist() == before.tolist()
    assert len(set(r.logits(v)[3:].tolist())) == 3


def test_growing_keeps_the_moments_of_adam():
    r = trained()
    first = r._layers[0].weight
    before = r._optimiser.state[first]["exp_avg"].clone()
    r.grow(7, 4)
    after = r._optimiser.state[first]["exp_avg"]
    assert after.shape == (8, 7)
    assert torch.equal(after[:, :5], before)
    assert not after[:, 5:].any()


def test_new_columns_learn():
    r = trained()
    r.grow(6, 3)
    for v in vectors(8, 6):
        r.learn(v, np.array([v[5] > 0, True, False]))
    assert r._layers[0].weight[:, 5].abs().max() > 0.0


def test_a_batch_may_hold_samples_from_before_the_growth():
    r = router()
    r.grow(2, 1)
    r.learn(vectors(1, 2)[0], np.array([True]))
    r.grow(4, 3)
    for v in vectors(3, 4):
        r.learn(v, np.array([True, False, True]))
    assert np.isfinite(r.logits(vectors(1, 4)[0])).all()


def test_dropout_acts_in_the_step_alone():
    plain, dropped = router(), router(dropout=0.5)
    for r in (plain, dropped):
        r.grow(5, 3)
    v = vectors(1, 5, seed=2)[0]
    assert plain.logits(v).tolist() == dropped.logits(v).tolist() == dropped.logits(v).tolist()
    for r in (plain, dropped):
        for w in vectors(4, 5):
            r.learn(w, np.array([True, False, True]))
    assert plain.logits(v).tolist() != dropped.logits(v).tolist()


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


def test_top_k_selects_the_largest_and_mixes_by_softmax():
    routing = top_k(np.array([1.0, 3.0, 2.0, 0.0]), 2)
    assert routing.mask.tolist() == [False, True, True, False]
    np.testing.assert_allclose(routing.weights, [0.0, np.e / (1 + np.e), 1 / (1 + np.e), 0.0])


def test_of_equal_logits_the_lowest_index_wins():
    assert top_k(np.zeros(5), 2).mask.tolist() == [True, True, False, False, False]


def test_top_k_works_on_rows():
    logits = vectors(7, 4)
    rows = [top_k(row, 3) for row in logits]
    block = top_k(logits, 3)
    assert block.mask.tolist() == [r.mask.tolist() for r in rows]
    assert block.weights.tolist() == [r.weights.tolist() for r in rows]


@pytest.mark.parametrize("k", [0, 5])
def test_top_k_refuses_a_number_out_of_range(k):
    with pytest.raises(ValueError, match=f"top_k: k={k} but there are 4 experts; choose 1 <= k <= 4"):
        top_k(np.zeros(4), k)


def test_softmax_of_large_logits_is_finite():
    assert softmax(np.array([1e4, 0.0], dtype=np.float32)).tolist() == [1.0, 0.0]


def test_dropout_keeps_the_mean_of_what_passes():
    """With every hidden unit the same, the mean logit over many masks is that without dropout."""
    r = router(hidden=(2000,), dropout=0.4, batch_size=1, learning_rate=0.0 + 1e-12)
    r.grow(1, 3)
    seen = []
    last = r._layers[-1]
    last.register_forward_hook(lambda module, args, out: seen.append(args[0].sum().item()))
    v = np.ones(1, dtype=np.float32)
    first = r._layers[0]
    expected = np.maximum(first.weight.detach().numpy() @ v, 0.0).sum()
    for _ in range(50):
        r.learn(v, np.array([True, False, True]))
    assert np.mean(seen) == pytest.approx(expected, rel=0.05)
