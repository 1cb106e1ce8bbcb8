"""The router as torch sees it: the same answers, the same memory."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.mixture.router import Router


def trained(variant, n_samples=300):
    model = DriftMoEClassifier(variant, seed=1)
    for x, y in streams.make("waveform", seed=1, n_samples=n_samples):
        model.learn_one(x, y)
    return model


@pytest.mark.parametrize("variant", ["driftmoe", "moe-vote", "moe-data", "moe-task"])
def test_a_model_shows_its_router_as_a_module_with_the_same_logits(variant):
    model = trained(variant)
    inputs = np.random.default_rng(0).normal(size=(50, 21)).astype(np.float32)
    logits = model.router(torch.from_numpy(inputs))
    assert isinstance(model.router, nn.Module)
    assert logits.shape == (50, model._mixture.router.n_outputs)
    np.testing.assert_allclose(logits.detach(), model._mixture.router.logits(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [(), (8,), (7, 5, 3)])
def test_module_has_a_layer_for_each_of_the_router(hidden):
    router = Router(
        3, hidden=hidden, learning_rate=0.01, batch_size=4, dropout=0.0, rng=np.random.default_rng(0)
    )
    router.grow(4, 3)
    widths = [4, *hidden, 3]
    shapes = [(layer.in_features, layer.out_features) for layer in router.module().layers]
    assert shapes == list(pairwise(widths))
    inputs = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_allclose(
        router.module()(torch.from_numpy(inputs)).detach(), router.logits(inputs), rtol=1e-5, atol=1e-6
    )


def test_what_the_model_learns_shows_in_the_module_at_once():
    model = trained("moe-data", n_samples=255)
    module = model.router
    before = module.layers[0].weight.detach().clone()
    stream = list(streams.make("waveform", seed=2, n_samples=1))
    model.learn_one(*stream[0])  # the last of the mini-batch
    assert not torch.equal(module.layers[0].weight, before)
    assert torch.equal(module.layers[0].weight, model.router.layers[0].weight)


def test_what_is_written_to_the_module_the_model_uses():
    model = trained("moe-vote")
    inputs = np.zeros((1, 21), np.float32)
    with torch.no_grad():
        model.router.layers[-1].weight.zero_()
        model.router.layers[-1].bias.copy_(torch.arange(12.0))
    assert model._mixture.router.logits(inputs)[0].tolist() == list(range(12))


def test_a_module_of_a_router_that_has_grown_since_is_left_as_it_was():
    model = trained("moe-data")
    module = model.router
    before = [parameter.detach().clone() for parameter in module.parameters()]
    x, y = next(iter(streams.make("waveform", seed=2, n_samples=1)))
    model.learn_one(x | {"new": 1.0}, y)
    assert model.router.layers[0].in_features == module.layers[0].in_features + 1
    for parameter, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_gradients_pass_through_the_module():
    module = trained("moe-vote").router
    module(torch.ones(2, 21)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_a_copy_of_the_module_is_no_part_of_the_model():
    model = trained("moe-vote")
    own = pickle.loads(pickle.dumps(model.router))
    before = model._mixture.router._weights.copy()
    with torch.no_grad():
        own.layers[0].weight.zero_()
    assert model._mixture.router._weights.tolist() == before.tolist()
