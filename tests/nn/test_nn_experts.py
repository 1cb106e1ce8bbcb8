"""Experts: split into finer ones, and made of a dense network."""

from __future__ import annotations

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import FeedForwardExperts, MoELayer, Unweighted, upcycle, upcycled_layer
from driftmoe.routing import Dense, TopK, TopP, WithNull, WithShared


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "swiglu", "geglu_tanh"])
def test_the_parts_of_an_expert_sum_up_to_it(activation, bias):
    experts = FeedForwardExperts(3, 8, 12, activation=activation, bias=bias, seed=1)
    fine = experts.split(4)
    assert fine.n_experts == 12
    x, wide = normal(7, 8), TopK(2)(normal(7, 3, seed=2))
    each = wide.mask.repeat_interleave(4, -1), wide.weights.repeat_interleave(4, -1)
    narrow = Dense()(torch.zeros(7, 12))
    narrow = type(narrow)(each[1], each[0], narrow.logits)
    torch.testing.assert_close(fine(x, narrow), experts(x, wide), rtol=1e-4, atol=1e-6)


def test_a_split_that_leaves_a_rest_is_refused():
    with pytest.raises(ValueError, match="parts=5 of n_hidden=12"):
        FeedForwardExperts(3, 8, 12).split(5)


class Gated(nn.Module):
    """A feed-forward network as Llama has it."""

    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(8, 12, bias=False)
        self.up_proj = nn.Linear(8, 12, bias=False)
        self.down_proj = nn.Linear(12, 8, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


DENSE = {
    "relu": lambda: nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)),
    "gelu": lambda: nn.Sequential(nn.Linear(8, 12, bias=False), nn.GELU(), nn.Linear(12, 8, bias=False)),
    "gated": Gated,
}


@pytest.mark.parametrize("kind", DENSE)
def test_upcycled_experts_answer_what_the_dense_network_did(kind):
    ffn = DENSE[kind]()
    layer = MoELayer(nn.Linear(8, 4), upcycle(ffn, 4), TopK(2))
    x = normal(3, 5, 8)
    torch.testing.assert_close(layer(x).output, ffn(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "policy",
    [TopK(4), Unweighted(TopK(2)), Unweighted(TopK(4)), Dense()],
)
@pytest.mark.parametrize("router", ["linear", "random"])
def test_parts_of_upcycled_experts_answer_what_the_dense_network_did(policy, router):
    """Dynamic-DINO's start: parts of a copy are chosen together."""
    ffn, x = DENSE["relu"](), normal(3, 5, 8)
    layer = upcycled_layer(ffn, n_experts=4, parts=2, policy=policy, router=router, seed=1)
    result = layer(x)
    assert layer.experts.n_experts == 8
    assert torch.equal(result.routing.mask[..., ::2], result.routing.mask[..., 1::2])
    torch.testing.assert_close(result.output, ffn(x), rtol=1e-4, atol=1e-6)
    assert not result.routing.mask.all() or policy == Dense()


@pytest.mark.parametrize(
    "policy", [TopK(3), TopK(2, renorm=False), TopP(0.5), WithNull(TopK(2), 2), WithShared(TopK(2), 1)]
)
def test_policies_that_would_choose_single_parts_are_refused(policy):
    with pytest.raises(
        ValueError, match=r"the 2 parts of a copy would not .* such as TopK\(k\) with a k that 2"
    ):
        upcycled_layer(DENSE["relu"](), n_experts=4, parts=2, policy=policy)


def test_noise_tells_upcycled_experts_apart():
    """Its deviation is the given share of the matrix's, and a seed fixes it."""
    ffn = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    noisy, again = (upcycle(ffn, 3, noise=0.1, seed=4) for _ in range(2))
    assert torch.equal(noisy.w_in, again.w_in)
    assert not torch.equal(noisy.w_in[0], noisy.w_in[1])
    off = noisy.w_in - ffn[0].weight.T
    assert (off.std() / ffn[0].weight.std()).item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("ffn", "message"),
    [
        (nn.Linear(4, 4), "Linear is not a known feed-forward network"),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), "the activation Tanh"),
        (
            nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Linear(4, 4)),
            "Sequential is not a known feed-forward",
        ),
    ],
)
def test_what_cannot_be_upcycled_is_refused(ffn, message):
    with pytest.raises(ValueError, match=message):
        upcycle(ffn, 2)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation='tanh'; available: relu, gelu, swiglu"):
        FeedForwardExperts(2, 4, 4, activation="tanh")


def test_seeds_fix_the_weights_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    first, second, other = (FeedForwardExperts(2, 8, 8, seed=seed) for seed in (1, 1, 2))
    FeedForwardExperts(2, 8, 8)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.w_in, second.w_in)
    assert not torch.equal(first.w_in, other.w_in)
