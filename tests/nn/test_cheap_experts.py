"""Experts that are one network with scales and shifts, experts that are vectors, and a router that is asked often."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from small_layers import layer_of, normal
from torch import nn
from torch.utils.checkpoint import checkpoint

from driftmoe.nn import CompressedExperts, FeedForwardExperts, ModulatedExperts, MoELayer, UncertainRouter
from driftmoe.routing import Routing, TopK, TopP, WithNull


def ffn(activation=nn.GELU, bias=True):
    return nn.Sequential(nn.Linear(8, 12, bias=bias), activation(), nn.Linear(12, 8, bias=bias))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.w1, self.w3, self.w2 = (nn.Linear(n, m, bias=False) for n, m in ((8, 12), (8, 12), (12, 8)))
        self.act = nn.SiLU()

    def hidden(self, x):
        return self.act(self.w1(x)) * self.w3(x)

    def forward(self, x):
        return self.w2(self.hidden(x))


# --------------------------------------------------------------------------------------------------
# One network, modulated (MoFME)
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "no bias", "gated"])
def test_modulated_experts_equal_the_double_loop_and_cost_two_numbers_a_hidden_unit(kind):
    network = Gated() if kind == "gated" else ffn(bias=kind == "plain")
    experts = ModulatedExperts(5, network, noise=0.5, seed=0)
    x, routing = normal(2, 3, 8), WithNull(TopK(3), 2)(normal(2, 3, 7, seed=1))
    hidden = network.hidden(x) if kind == "gated" else network[1](network[0](x))
    last = network.w2 if kind == "gated" else network[2]
    expected = torch.zeros(2, 3, 8)
    for i in range(2):
        for j in range(3):
            for e in range(5):
                said = last(experts.gamma[e] * hidden[i, j] + experts.beta[e])
                expected[i, j] += routing.weights[i, j, e] * said
    torch.testing.assert_close(experts(x, routing), expected, rtol=1e-4, atol=1e-5)
    own = sum(p.numel() for name, p in experts.named_parameters() if not name.startswith("ffn."))
    assert own == 5 * 2 * 12


def test_modulated_experts_are_the_network_at_first_and_learn_to_differ():
    network, x = ffn(), normal(200, 8)
    layer = MoELayer(nn.Linear(8, 2), ModulatedExperts(2, network), TopK(1, renorm=False))
    layer.experts.ffn.requires_grad_(False)
    torch.testing.assert_close(layer.experts(x, TopK(1)(normal(200, 2))), network(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        layer.router.weight[:] = 0.0
        layer.router.weight[0, 0], layer.router.weight[1, 0] = 9.0, -9.0
    is_first = x[:, :1] > 0.0
    target = torch.where(is_first, network(x), -network(x)).detach()
    step = torch.optim.Adam([layer.experts.gamma, layer.experts.beta], lr=0.1)
    for _ in range(60):
        step.zero_grad()
        error = (layer(x).output - target).square().mean()
        error.backward()
        step.step()
    assert error < 0.1 * target.square().mean()  # gamma = 1 and -1 would be without error
    assert layer.experts.gamma[0].mean() > 0.5
    assert layer.experts.gamma[1].mean() < -0.5


# --------------------------------------------------------------------------------------------------
# A router that is asked several times (MoFME)
# --------------------------------------------------------------------------------------------------


def test_without_dropout_a_router_routes_as_before_and_doubts_nothing():
    inner, x = nn.Linear(8, 4), normal(20, 8)
    router = UncertainRouter(inner, 8, n_samples=3, p=0.0)
    torch.testing.assert_close(router(x), inner(x).log_softmax(-1))
    torch.testing.assert_close(TopK(2)(router(x)).weights, TopK(2)(inner(x)).weights)
    torch.testing.assert_close(router.doubt(x), torch.zeros(20), atol=1e-5, rtol=0)


def test_the_answer_is_the_mean_of_the_draws_and_a_row_alone_gets_what_it_gets_in_a_batch():
    inner, x = nn.Linear(8, 4), normal(20, 8)
    router = UncertainRouter(inner, 8, n_samples=5, p=0.3, seed=0).eval()
    draws = torch.stack([inner(x * mask).softmax(-1) for mask in router.masks])
    torch.testing.assert_close(router(x), draws.mean(0).log())
    entropy = -(draws * draws.log()).sum(-1).mean(0)
    mean = draws.mean(0)
    torch.testing.assert_close(router.doubt(x), -(mean * mean.log()).sum(-1) - entropy, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(router(x[3]), router(x)[3])
    assert torch.equal(router(x), router(x))
    for same in (copy.deepcopy(router), pickle.loads(pickle.dumps(router))):
        assert torch.equal(same(x), router(x))
    router.train()
    assert not torch.equal(router(x), router(x))
    again = UncertainRouter(inner, 8, n_samples=5, p=0.3, seed=0)
    first = UncertainRouter(inner, 8, n_samples=5, p=0.3, seed=0)
    assert torch.equal(first(x), again(x))


def test_rows_that_hang_on_few_inputs_are_doubted_and_get_more_experts():
    """A row of one large input loses all when that is left out; a row of many small ones hardly anything."""
    inner = nn.Linear(64, 4, bias=False)
    with torch.no_grad():
        inner.weight.zero_()
        inner.weight[0] = 1.0
    one, many = torch.zeros(64), torch.full((64,), 3.0 / 64)
    one[0] = 3.0
    x = torch.stack([one, many])
    torch.testing.assert_close(inner(x)[0], inner(x)[1])
    router = UncertainRouter(inner, 64, n_samples=64, p=0.4, seed=0).eval()
    doubt = router.doubt(x)
    assert doubt[0] > 5.0 * doubt[1]
    k = [TopP(0.7)(logits).n_used.tolist() for logits in (inner(x), router(x))]
    assert k == [[1, 1], [2, 1]]
    with pytest.raises(ValueError, match=r"p=1\.0; choose a share"):
        UncertainRouter(inner, 64, p=1.0)


@pytest.mark.parametrize("is_reentrant", [False, True])
def test_new_draws_in_a_checkpoint_are_refused_and_those_of_eval_are_not(is_reentrant):
    router, x = UncertainRouter(nn.Linear(8, 4), 8, p=0.4, seed=0), normal(5, 8).requires_grad_()
    with pytest.raises(RuntimeError, match="computed again by a checkpoint"):
        checkpoint(router, x, use_reentrant=is_reentrant).sum().backward()
    router.eval()
    checkpoint(router, x, use_reentrant=is_reentrant)[:, 0].sum().backward()
    by_checkpoint = router.router.weight.grad.clone()
    router.zero_grad()
    router(x)[:, 0].sum().backward()
    assert torch.equal(router.router.weight.grad, by_checkpoint)


def test_doubt_of_narrow_rows_is_computed_in_the_type_of_the_router():
    router, x = UncertainRouter(nn.Linear(8, 4), 8, p=0.4, seed=0).eval(), normal(5, 8).bfloat16()
    assert torch.equal(router.doubt(x), router.doubt(x.float()))


# --------------------------------------------------------------------------------------------------
# Vectors in the place of experts
# --------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Experts that count the pairs of row and expert that they compute."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.n_experts, self.n_pairs = inner, inner.n_experts, 0

    def forward(self, x, routing):
        self.n_pairs += int(routing.mask.sum())
        return self.inner(x, routing)


def test_compressed_experts_compute_one_of_two_and_equal_the_loop():
    inner = Counting(FeedForwardExperts(4, 8, 16, seed=0))
    cheap = CompressedExperts(inner, 8)
    cheap.vectors.data = normal(4, 8, seed=3)
    x, routing = normal(10, 8), TopK(3)(normal(10, 4, seed=1))
    out = cheap(x, routing)
    assert inner.n_pairs == 10
    for t in range(10):
        order = routing.weights[t].argsort(descending=True)
        mask = torch.zeros(1, 4, dtype=torch.bool)
        mask[0, order[0]] = True
        main = inner.inner(x[t : t + 1], Routing(mask.float(), mask, mask.float()))[0]
        expected = routing.weights[t, order[0]] * main
        for e in order[1:3]:
            expected = expected + routing.weights[t, e] * cheap.vectors[e] * main
        torch.testing.assert_close(out[t], expected, rtol=1e-4, atol=1e-5)
    whole = CompressedExperts(inner.inner, 8, keep=3)
    torch.testing.assert_close(whole(x, routing), inner.inner(x, routing))
    assert not cheap(x, WithNull(TopK(1), 1)(torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0]).expand(10, 5))).any()


def test_fitted_vectors_are_those_of_least_squares_and_training_goes_on_from_them():
    """For experts that are alike up to scales of their outputs."""
    experts = FeedForwardExperts(4, 8, 16, seed=0)
    scales = 1.0 + 0.5 * normal(4, 8, seed=2)
    for e in range(1, 4):
        experts.w_in.data[e] = experts.w_in.data[0]
        experts.w_out.data[e] = experts.w_out.data[0] * scales[e] / scales[0]
    layer, x = layer_of(TopK(2)), normal(200, 8)
    layer.experts = experts
    with torch.no_grad():
        whole, routing = layer(x).output, layer(x).routing
    cheap = CompressedExperts(experts, 8)
    others = routing.mask & (routing.weights < routing.weights.amax(-1, keepdim=True))
    cheap.fit(x, routing)
    for e in range(4):
        at = others[:, e].nonzero()[:, 0]
        first = routing.weights[at].argmax(-1)
        m = torch.stack(
            [layer.experts(x[i : i + 1], _alone(int(j)))[0] for i, j in zip(at, first, strict=True)]
        )
        own = torch.cat([layer.experts(x[i : i + 1], _alone(e)) for i in at])
        for column in range(8):
            best = torch.linalg.lstsq(m[:, column : column + 1], own[:, column : column + 1]).solution
            torch.testing.assert_close(cheap.vectors[e, column], best[0, 0], rtol=1e-3, atol=1e-4)
    error = (cheap(x, routing) - whole).square().mean()
    plain = (CompressedExperts(experts, 8)(x, routing) - whole).square().mean()
    assert error < 0.7 * plain
    step = torch.optim.Adam([cheap.vectors], lr=0.02)
    for _ in range(50):
        step.zero_grad()
        trained = (cheap(x, routing) - whole).square().mean()
        trained.backward()
        step.step()
    assert trained < error
    assert trained < 0.05 * whole.square().mean()


def _alone(e):
    mask = torch.zeros(1, 4, dtype=torch.bool)
    mask[0, e] = True
    return Routing(mask.float(), mask, mask.float())
