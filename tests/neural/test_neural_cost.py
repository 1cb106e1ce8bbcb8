"""What a network costs: operations and active weights."""

from __future__ import annotations

import pytest
import torch

from driftmoe.neural import Setup, language, runs


def cost_of(model, x, rows=None):
    cost = runs.Cost()
    cost.measure(model, x, torch.ones(x.shape[:-1], dtype=torch.bool) if rows is None else rows)
    return cost


# A few rows are gathered, many sorted by expert, and those of a width that is no multiple of 4 go expert by expert.
@pytest.mark.parametrize(("n_rows", "width"), [(1, 16), (400, 16), (400, 15)])
def test_operations_are_counted_as_they_are_done(n_rows, width):
    cost = cost_of(runs.feed_forward(Setup.parsed("TopK(2)"), width, 8, seed=1), torch.randn(n_rows, width))
    assert cost.expert_flops == 2 * 2 * 2 * width * 8
    assert cost.flops == 2 * width * 8 + cost.expert_flops  # the router's, too
    plain = cost_of(runs.feed_forward(Setup.parsed("plain"), width, 8, seed=1), torch.randn(n_rows, width))
    assert plain.flops == plain.expert_flops == cost.expert_flops


def test_rows_that_choose_nulls_cost_no_operations():
    layer = runs.feed_forward(Setup.parsed("WithNull(TopK(4), n_null=16)"), 16, 8, seed=1)
    x = torch.randn(400, 16)
    n_used = layer.moe(x).routing.mask.sum().item() / 400
    assert n_used < 4
    cost = cost_of(layer, x)
    assert cost.expert_flops == pytest.approx(n_used * 2 * 2 * 16 * 8)
    assert cost.flops == pytest.approx(2 * 16 * 24 + cost.expert_flops)
    # Of 8 experts of 16 x 8 and 8 x 16 weights and 8 + 16 biases, and a router of 16 x 24.
    assert cost.n_active == pytest.approx(16 * 24 + n_used * (2 * 16 * 8 + 8 + 16), abs=1.0)


def test_costs_are_means_over_the_rows_that_count():
    layer = runs.feed_forward(Setup.parsed("ADAMOE"), 16, 8, seed=1)
    x = torch.randn(300, 16)
    whole, parts = cost_of(layer, x), runs.Cost()
    for part in (x[:100], x[100:]):
        parts.measure(layer, part, torch.ones(len(part), dtype=torch.bool))
    assert parts.flops == pytest.approx(whole.flops)
    assert parts.expert_flops == pytest.approx(whole.expert_flops)
    half = cost_of(layer, x, rows=torch.arange(300) < 150)
    assert half.flops == pytest.approx(2 * whole.flops)  # padding is computed as well
    assert half.expert_flops == pytest.approx(cost_of(layer, x[:150]).expert_flops)


def test_operations_of_attention_are_counted():
    n, width = 7, 128
    cost = cost_of(language.Block(torch.nn.Identity(), width, n_heads=4), torch.randn(1, n, width))
    assert cost.flops == 2 * 4 * width * width + 2 * 2 * n * width
