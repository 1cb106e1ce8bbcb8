"""Rows that skip a module."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import inject, load_adapter, save_adapter, skip_layer
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
    assert not torch.equal(layers["0"](x, rows=rows).output[rows], x[rows])


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
        (
            ValueError,
            "router could not learn",
            lambda: skip_layer(nn.Linear(6, 6), policy=WithNull(TopK(1), 1)),
        ),
        (
            ValueError,
            "batch normalisation in Sequential",
            lambda: skip_layer(nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))),
        ),
        (
            ValueError,
            "n_features of 5, 6",
            lambda: skip_layer(nn.Sequential(nn.Linear(6, 6), nn.Linear(5, 5))),
        ),
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
    torch.testing.assert_close(layer(x).output, layer.experts.adapted(x))


class Backwards(nn.Module):
    """A network whose second layer is registered first."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(16, 6), nn.Linear(6, 16)

    def forward(self, x):
        return self.down(self.up(x).relu())


def test_the_width_is_found_whatever_the_order_of_the_layers():
    module, x = Backwards(), normal(5, 6)
    torch.testing.assert_close(skip_layer(module)(x).output, module(x))


def model_of(seed, is_residual):
    torch.manual_seed(seed)
    model = nn.Sequential(Block() if is_residual else Block().ffn, nn.Linear(6, 6))
    layer = inject(model, "0", partial(skip_layer, is_residual=is_residual), n_experts=1)["0"]
    with torch.no_grad():
        layer.router.weight.copy_(normal(2, 6, seed=seed))
    return model


@pytest.mark.parametrize("is_residual", [False, True])
def test_a_file_has_the_router_alone_and_leaves_the_model_around_it(is_residual, tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra nn")
    from safetensors.torch import load_file

    trained, other = model_of(1, is_residual), model_of(2, is_residual)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    assert [name for name, p in trained.named_parameters() if p.requires_grad] == ["0.moe.router.weight"]
    save_adapter(trained, tmp_path / "adapter")
    assert list(load_file(tmp_path / "adapter")) == ["0.moe.router.weight"]
    load_adapter(other, tmp_path / "adapter")
    assert torch.equal(other[0].moe.router.weight, trained[0].moe.router.weight)
    assert all(torch.equal(t, before[name]) for name, t in other.state_dict().items() if "router" not in name)
    save_adapter(trained, tmp_path / "adapter", base_weights=True)
    with pytest.raises(ValueError, match="belongs to other weights"):
        load_adapter(other, tmp_path / "adapter")
