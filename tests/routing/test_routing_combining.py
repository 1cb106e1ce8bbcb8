"""Answers contrasted, and routings mixed with remembered ones."""

from __future__ import annotations

import math

import pytest
import torch
from many_policies import normal

from driftmoe.routing import TopK, contrast, remix


def test_a_contrast_by_hand():
    strong, weak = torch.tensor([2.0, 1.0, -1.0]), torch.tensor([2.0, 0.0, -9.0])
    # kept: at least 2 + ln 0.1 = -0.30; 1.5 * 1 - 0.5 * 0 = 1.5
    assert contrast(strong, weak).tolist() == [2.0, 1.5, -math.inf]
    assert contrast(strong, weak, beta=2.0).tolist() == [2.0, 3.0, -math.inf]
    assert contrast(strong, weak, alpha=0.0).tolist() == [2.0, 1.5, 3.0]


def test_without_beta_the_strong_answer_stays_and_one_class_always_is_kept():
    strong, weak = normal(50, 6, scale=3.0), normal(50, 6, seed=1)
    assert torch.equal(contrast(strong, weak, beta=0.0, alpha=0.0), strong)
    for alpha in (0.1, 1.0):
        answer = contrast(strong, weak, beta=0.0, alpha=alpha)
        is_kept = strong.softmax(-1) >= alpha * strong.softmax(-1).amax(-1, keepdim=True) - 1e-7
        assert torch.equal(answer > -torch.inf, is_kept)
        assert (answer > -torch.inf).any(-1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weak": torch.zeros(3)}, r"strong has the shape \(2,\), weak \(3,\)"),
        ({"beta": -1.0}, "beta=-1.0; choose a number of 0 or more"),
        ({"alpha": 1.5}, "alpha=1.5; choose a number from 0 to 1"),
        ({"weak": torch.tensor([0.0, math.nan])}, "NaN or infinities where strong is kept"),
        ({"strong": torch.tensor([0.0, math.nan])}, "strong has NaN"),
        ({"strong": torch.full((2,), -math.inf)}, "strong has NaN, \\+inf or a row of nothing but -inf"),
    ],
)
def test_contrasts_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        contrast(**{"strong": torch.zeros(2), "weak": torch.zeros(2)} | arguments)


def test_a_remix_by_hand():
    routing = TopK(1)(torch.tensor([[1.0, 0.0, 0.0]]))
    keys = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    query = torch.tensor([[3.0, 0.0]])  # cosines 1, 1 / sqrt(2), -1
    near = 1.0 / (1.0 + math.sqrt(0.5))
    result = remix(routing, keys, weights, query, k=3, alpha=0.4)
    torch.testing.assert_close(result.weights, torch.tensor([[0.4, 0.6 * near, 0.6 * (1.0 - near)]]))
    assert result.mask.tolist() == [[True, True, True]]
    only = remix(routing, keys, weights, query, k=1, alpha=0.0)
    assert only.weights.tolist() == [[0.0, 1.0, 0.0]]
    assert only.mask.tolist() == [[False, True, False]]
    far = remix(routing, keys[2:], weights[2:], query, alpha=0.0)  # nothing like it is remembered
    assert torch.equal(far.weights, routing.weights)
    assert torch.equal(far.mask, routing.mask)


def test_a_remix_of_nothing_is_the_routing_itself():
    routing, keys, weights = TopK(2)(normal(2, 5, 4)), normal(9, 3), normal(9, 4).abs()
    query = normal(2, 5, 3)
    assert remix(routing, keys, weights, query, k=0) is routing
    assert remix(routing, keys, weights, query, alpha=1.0) is routing
    mixed = remix(routing, keys, weights / weights.sum(-1, keepdim=True), query)
    torch.testing.assert_close(mixed.weights.sum(-1), torch.ones(2, 5))  # weights that sum to 1 stay so
    with pytest.raises(ValueError, match=r"weights \(9, 3\).*give \(m, n_features\), \(m, n_experts\)"):
        remix(routing, keys, keys, query)


def test_remembered_routings_repair_a_router_that_has_forgotten_half_of_the_inputs():
    x = normal(400, 2, seed=3)
    right = (x[:, 0] > 0).long()  # the expert that serves a row
    router = TopK(1)(torch.tensor([1.0, 0.0]).expand(400, 2))  # always chooses expert 0
    ideal = torch.nn.functional.one_hot(right, 2).float()
    before = router.weights.gather(-1, right[:, None]).mean()
    after = (
        remix(router, x[:200], ideal[:200], x, alpha=0.0).weights[200:].gather(-1, right[200:, None]).mean()
    )
    assert before < 0.6
    assert after > 0.95


@pytest.mark.parametrize("name", ["keys", "weights", "query"])
def test_a_remix_with_numbers_that_are_none_is_refused(name):
    given = {"keys": normal(9, 3), "weights": normal(9, 4).abs(), "query": normal(5, 3)}
    given[name][1, 1] = math.nan
    with pytest.raises(ValueError, match=f"{name} has NaN"):
        remix(TopK(2)(normal(5, 4)), **given)
