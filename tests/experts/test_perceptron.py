"""The network with one hidden layer as an expert."""

from __future__ import annotations

import numpy as np
import pytest
from batches import batch
from compiled_or_not import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.experts import perceive_slowly

from driftmoe.experts.linear import LinearModels
from driftmoe.experts.perceptron import Perceptron, perceive


@pytest.mark.parametrize("is_compiled", [True, False])
@given(
    seed=st.integers(0, 10**6), cut=st.integers(0, 30), n_inputs=st.integers(0, 4), width=st.integers(1, 20)
)
@settings(max_examples=30, deadline=None)
def test_the_network_is_its_readable_twin(is_compiled, seed, cut, n_inputs, width):
    rng = np.random.default_rng(seed)
    inputs = (rng.normal(size=(30, n_inputs)) * rng.integers(0, 3, (30, n_inputs))).astype(np.float32)
    targets, network = rng.integers(0, 3, 30), Perceptron(rng, width=width, rate=0.01)
    taught = rng.choice([1.0, 0.5, 3.0], 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmoe.experts.perceptron.perceive", plain(perceive, is_compiled))
        network.step(batch(inputs[:0], 3, targets[:0], taught[:0]), asked=np.ones(0, np.bool_))
        slow = perceive_slowly(inputs, targets, taught, 3, network._hidden[0], 0.01)
        parts = [(inputs[rows], targets[rows], taught[rows]) for rows in (slice(cut), slice(cut, None))]
        votes = [network.step(batch(x, 3, y, w), asked=np.ones(len(y), np.bool_)) for x, y, w in parts]
    np.testing.assert_allclose(np.concatenate(votes)[:, 0], slow, atol=1e-3)


def test_the_network_says_of_a_row_the_same_in_any_block():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(100, 5)).astype(np.float32)
    targets, asked, once = rng.integers(0, 3, 100), np.ones(100, np.bool_), np.ones(100)
    whole, one_by_one = (Perceptron(np.random.default_rng(1)) for _ in range(2))
    votes = whole.step(batch(inputs, 3, targets, once), asked=asked)
    for i in range(100):
        said = one_by_one.predict_proba(batch(inputs[i : i + 1], 3))
        learnt = one_by_one.step(batch(inputs[i : i + 1], 3, targets[i : i + 1], once[:1]), asked=asked[:1])
        np.testing.assert_array_equal(said, learnt)
        np.testing.assert_array_equal(said[0], votes[i])
    np.testing.assert_array_equal(
        whole.predict_proba(batch(inputs, 3))[7:8], whole.predict_proba(batch(inputs[7:8], 3))
    )


def test_the_network_takes_in_new_inputs_and_classes_and_predicting_changes_nothing():
    rng = np.random.default_rng(1)
    network, asked = Perceptron(rng, width=8), np.ones(50, np.bool_)
    inputs = rng.normal(size=(50, 2)).astype(np.float32)
    network.step(batch(inputs, 2, (inputs[:, 0] > 0).astype(np.int64), np.ones(50)), asked=asked)
    before = network.predict_proba(batch(inputs, 2))
    assert network.predict_proba(batch(np.hstack([inputs, np.ones((50, 3), np.float32)]), 5)).shape == (
        50,
        1,
        5,
    )
    np.testing.assert_array_equal(network.predict_proba(batch(inputs, 2)), before)
    wider = np.hstack([inputs, np.zeros((50, 1), np.float32)])
    after = network.step(batch(wider[:1], 3, np.array([2]), np.ones(1)), asked=asked[:1])
    np.testing.assert_allclose(after[0, :, 1] / after[0, :, 0], before[0, :, 1] / before[0, :, 0])
    assert network._hidden.shape == (3, 4, 8)
    assert network._outputs.shape == (3, 3, 9)


@pytest.mark.parametrize("size", [1e-30, 1e9])
def test_the_network_stays_finite_whatever_the_size_of_inputs(size):
    rng = np.random.default_rng(1)
    inputs = (size * rng.normal(size=(2000, 3))).astype(np.float32)
    targets = (inputs @ np.array([1.0, -2.0, 0.5], np.float32) > 0).astype(np.int64)
    votes = Perceptron(rng).step(batch(inputs, 2, targets, np.ones(2000)), asked=np.ones(2000, np.bool_))
    assert np.isfinite(votes).all()


def test_the_network_finds_a_curved_border_where_the_linear_models_find_none():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(3000, 2)).astype(np.float32)
    targets, asked = ((inputs**2).sum(axis=1) > 1.4).astype(np.int64), np.ones(3000, np.bool_)
    curved = Perceptron(rng).step(batch(inputs, 2, targets, np.ones(3000)), asked=asked)
    straight = LinearModels().step(batch(inputs, 2, targets, np.ones(3000)), asked=asked)
    assert (curved[1000:, 0].argmax(axis=1) == targets[1000:]).mean() > 0.9
    assert (straight[1000:].argmax(axis=2) == targets[1000:, np.newaxis]).mean(axis=0).max() < 0.7
