"""Rows that skip a module."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import inject, record, skip_layer
from driftmoe.routing import TopK, WithNull


class Block(nn.Module):
    """A feed-forward network that adds its input, and notes how many rows it was asked for."""

    def __init__(self):
        super().__init__()
        self.ffn, self.asked = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6)), []

    def forward(self, x):
        self.asked.append(len(x))
        return x + self.ffn(x)


def test_at_first_no_row_skips_and_the_model_says_what_it_said():
    torch.manual_seed(1)
    model, x = nn.Sequential(Block(), Block()), normal(2, 5, 6)
    before = model(x)
    inject(model, ("0", "1"), partial(skip_layer, is_residual=True), n_experts=1)
    torch.testing.assert_close(model(x), before)


def test_rows_that_skip_keep_their_input_and_cost_nothing():
    torch.manual_seed(1)
    block, x = Block(), normal(40, 6)
    layer = skip_layer(block, is_residual=True)
    with torch.no_grad():
        layer.router.weight.copy_(normal(2, 6, seed=3))
    block.asked.clear()
    result = layer(x)
    takes = result.routing.mask[:, 0]
    assert 5 < int(takes.sum()) < 35
    assert block.asked == [int(takes.sum())]
    assert torch.equal(result.output[~takes], x[~takes])
    probability = layer.router(x).softmax(-1)[:, :1]
    expected = x + 2.0 * probability * (block(x) - x)
    torch.testing.assert_close(result.output[takes], expected[takes])


def test_the_router_learns_to_skip_where_the_module_harms():
    torch.manual_seed(1)
    ffn = nn.Sequential(nn.Linear(6, 6))
    layer, x = skip_layer(ffn), normal(256, 6)
    ffn.requires_grad_(False)
    target = torch.where(x[:, :1] > 0.0, ffn(x), torch.zeros(())).detach()
    optimizer = torch.optim.Adam(layer.router.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        (layer(x).output - target).square().mean().backward()
        optimizer.step()
    takes = layer(x).routing.mask[:, 0]
    assert (takes == (x[:, 0] > 0.0)).double().mean() > 0.75


def test_padding_skips():
    model, x = nn.Sequential(Block()), normal(2, 3, 6)
    layers = inject(model, "0", partial(skip_layer, is_residual=True), n_experts=1)
    rows = torch.tensor([[True, True, False], [True, False, False]])
    assert torch.equal(layers["0"](x, rows=rows).output[~rows], x[~rows])
    with record(model) as records:
        model(x)
    assert len(records) == 1


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        return self.linear(x.mean(0, keepdim=True).expand_as(x))


@pytest.mark.parametrize(
    ("error", "said", "does"),
    [
        (ValueError, "by what the others are", lambda: skip_layer(Mean())),
        (ValueError, "no tensor of the shape", lambda: skip_layer(nn.Linear(6, 5))),
        (ValueError, "lets no row skip", lambda: skip_layer(nn.Linear(6, 6), policy=TopK(1))),
        (ValueError, "n_experts=2", lambda: skip_layer(nn.Linear(6, 6), n_experts=2)),
        (TypeError, "no linear layer", lambda: skip_layer(nn.ReLU())),
    ],
)
def test_what_cannot_be_skipped_is_refused(error, said, does):
    with pytest.raises(error, match=said):
        does()


def test_a_refused_module_is_as_it_was():
    module = nn.Sequential(Mean(), nn.Dropout()).train()
    with pytest.raises(ValueError, match="others"):
        skip_layer(module)
    assert all(part.training for part in module.modules())


def test_nulls_may_be_many():
    layer, x = (
        skip_layer(nn.Linear(4, 4), policy=WithNull(TopK(1, renorm=False), 3, renorm=False)),
        normal(5, 4),
    )
    torch.testing.assert_close(layer(x).output, layer.experts.experts[0](x))
