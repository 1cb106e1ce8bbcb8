"""The best pairs of two halves: against all pairs."""

from __future__ import annotations

import itertools

import pytest
import torch

from driftmoe.nn import (
    FeedForwardExperts,
    MoELayer,
    ProductTopK,
    StraightThrough,
    Unweighted,
    upcycled_layer,
)
from driftmoe.nn.surgery import owners, prune
from driftmoe.routing import TopK, WithNull


def all_pairs(row, n):
    """Numbers of the pairs, the best first: by their sums, then by the places of first and second half."""
    places = [sorted(range(n), key=lambda i, half=half: (-row[half + i], i)) for half in (0, n)]
    ranks = [[order.index(i) for i in range(n)] for order in places]
    pairs = itertools.product(range(n), range(n))
    return [
        i * n + j
        for i, j in sorted(
            pairs, key=lambda ij: (-(row[ij[0]] + row[n + ij[1]]), ranks[0][ij[0]], ranks[1][ij[1]])
        )
    ]


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("n", [3, 5])
def test_it_finds_the_best_of_all_pairs(k, n, has_ties):
    generator = torch.Generator().manual_seed(k)
    logits = torch.randn(40, 2 * n, generator=generator, dtype=torch.float64)
    logits = logits.mul(2.0).round() if has_ties else logits
    routing = ProductTopK(k)(logits)
    for row, mask, weights in zip(logits.tolist(), routing.mask, routing.weights, strict=True):
        best = all_pairs(row, n)[:k]
        assert mask.nonzero().flatten().tolist() == sorted(best)
        scores = torch.tensor([row[e // n] + row[n + e % n] for e in best], dtype=torch.float64)
        assert torch.allclose(weights[best], scores.softmax(-1))
    sums = (logits[:, :n, None] + logits[:, None, n:]).flatten(1)
    assert torch.equal(routing.logits, sums)
    if not has_ties:
        assert torch.equal(routing.mask, TopK(k)(sums).mask)
        assert torch.allclose(
            ProductTopK(k, renorm=False)(logits).weights, TopK(k, renorm=False)(sums).weights
        )


def test_half_a_logit_out_of_service_takes_all_of_its_pairs_with_it():
    logits = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]])
    assert ProductTopK(3)(logits).mask.tolist() == [[True, False, False, False]]
    with pytest.raises(ValueError, match="nothing but -inf"):
        ProductTopK(1)(torch.tensor([[-torch.inf, -torch.inf, 0.0, 0.0]]))


def test_a_layer_of_many_small_experts_has_a_router_with_twice_the_root_of_their_number_and_learns():
    layer = MoELayer(torch.nn.Linear(4, 32), FeedForwardExperts(256, 4, 1, seed=0), ProductTopK(3))
    layer(torch.randn(6, 4)).output.square().sum().backward()
    assert layer.router.weight.grad.abs().sum(1).gt(0.0).any()
    ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    copies, x = upcycled_layer(ffn, n_experts=9, policy=ProductTopK(2)), torch.randn(5, 4)
    assert copies.router.weight.shape == (6, 4)
    assert torch.allclose(copies(x).output, ffn(x), atol=1e-6)


def many():
    policy = StraightThrough(ProductTopK(2))
    return MoELayer(torch.nn.Linear(4, 6), FeedForwardExperts(9, 4, 1, seed=0), policy)


@pytest.mark.parametrize(
    ("said", "does"),
    [
        ("3 logits", lambda: ProductTopK(1)(torch.zeros(3))),
        ("k=5 of 4", lambda: ProductTopK(5)(torch.zeros(4))),
        ("choose an integer", lambda: ProductTopK(0)),
        ("7 experts; choose a square number", lambda: ProductTopK(1).n_logits(7)),
        ("none could be for a null expert", lambda: WithNull(Unweighted(ProductTopK(1)), 2)),
        ("not one logit for each expert", lambda: prune(many(), keep=[0, 1, 3, 4])),
        ("not one logit for each expert", lambda: owners(many(), torch.randn(9, 4))),
    ],
)
def test_what_does_not_fit_is_refused(said, does):
    with pytest.raises(ValueError, match=said):
        does()
