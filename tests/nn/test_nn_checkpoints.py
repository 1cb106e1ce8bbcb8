"""Checkpoints, which compute layers again during backward: what is recorded, and what gradients it has."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from driftmoe.nn import inject, lora_layer, record
from driftmoe.routing import TopK

X = torch.linspace(-1.0, 1.0, 40).reshape(10, 4).requires_grad_()


class Model(nn.Module):
    """Two layers, each under a checkpoint, if reentrant is not None."""

    def __init__(self, reentrant):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.reentrant = reentrant
        make = partial(lora_layer, policy=TopK(2), rank=1)
        inject(self, ("inner.0", "inner.1"), make, n_experts=4, seed=1)

    def forward(self, x):
        for layer in self.inner:
            x = layer(x) if self.reentrant is None else checkpoint(layer, x, use_reentrant=self.reentrant)
        return x


def gradients_of_losses(model):
    """Backward within `record`, as a training loop may have it."""
    with record(model) as records:
        model(X)
        sum(result.losses["load_balance"] for _, result in records).backward()
        assert len(records) == 2
    return [p.grad for name, p in model.named_parameters() if "router" in name]


def test_what_a_checkpoint_computes_again_is_recorded_once_and_its_losses_teach():
    expected, found = gradients_of_losses(Model(None)), gradients_of_losses(Model(False))
    assert all(one.any() for one in expected)
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two)


def test_losses_whose_gradients_a_reentrant_checkpoint_loses_are_refused():
    model = Model(True)
    with record(model) as records:
        with pytest.raises(
            RuntimeError, match=r"inner\.0\.moe runs without gradients .* use_reentrant=False"
        ):
            model(X)
        with torch.no_grad():
            plain = model.inner[0](X)  # nobody has gradients
    assert len(records) == 1
    with record(model, gradients=False) as records:
        model(X).sum().backward()
    assert [name for name, _ in records] == ["inner.0.moe", "inner.1.moe"]
    assert torch.equal(records[0][1].output, plain)
    model.requires_grad_(False)
    with record(model) as records:  # nothing learns
        model(X)
    assert len(records) == 2
