"""Linear models as experts."""

from __future__ import annotations

import numpy as np
import pytest
from batches import batch
from compiled_or_not import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.experts import regress_slowly

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.experts.linear import LinearModels, regress


@pytest.mark.parametrize("is_compiled", [True, False])
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 30), n_inputs=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_linear_models_are_their_readable_twin(is_compiled, seed, cut, n_inputs):
    rng = np.random.default_rng(seed)
    inputs = (rng.normal(size=(30, n_inputs)) * rng.integers(0, 3, n_inputs)).astype(np.float32)
    targets, rates = rng.integers(0, 3, 30), (1.0, 0.1)
    taught = rng.choice([1.0, 0.5, 3.0], 30)
    slow = [regress_slowly(inputs.astype(np.float64), targets, taught, 3, rate) for rate in rates]
    models = LinearModels(rates)
    parts = [(inputs[rows], targets[rows], taught[rows]) for rows in (slice(cut), slice(cut, None))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmoe.experts.linear.regress", plain(regress, is_compiled))
        votes = [
            models.step(batch(x, 3, y, w), asked=np.ones(len(y), np.bool_)) for x, y, w in parts if len(y)
        ]
        last = models.predict_proba(batch(inputs[:1], 3))
    for r, (proba, weights) in enumerate(slow):
        np.testing.assert_allclose(np.concatenate(votes)[:, r], proba, rtol=1e-9, atol=1e-12)
        logits = weights @ np.append(inputs[0].astype(np.float64), 1.0)
        np.testing.assert_allclose(last[0, r], np.exp(logits) / np.exp(logits).sum(), rtol=1e-9)


def test_linear_models_take_in_new_inputs_and_classes_and_predicting_changes_nothing():
    rng = np.random.default_rng(1)
    models, asked = LinearModels(), np.ones(50, np.bool_)
    inputs = rng.normal(size=(50, 2)).astype(np.float32)
    models.step(batch(inputs, 2, (inputs[:, 0] > 0).astype(np.int64), np.ones(50)), asked=asked)
    before = models.predict_proba(batch(inputs, 2))
    assert models.predict_proba(batch(np.hstack([inputs, np.ones((50, 3), np.float32)]), 5)).shape == (
        50,
        3,
        5,
    )
    np.testing.assert_array_equal(models.predict_proba(batch(inputs, 2)), before)
    wider = np.hstack([inputs, np.zeros((50, 1), np.float32)])
    after = models.step(batch(wider[:1], 3, np.array([2]), np.ones(1)), asked=asked[:1])
    np.testing.assert_allclose(after[0, :, 1] / after[0, :, 0], before[0, :, 1] / before[0, :, 0])
    assert models._weights.shape == (3, 4, 3)


@pytest.mark.parametrize("size", [1e-30, 1e18])
def test_linear_models_stay_finite_whatever_the_size_of_inputs(size):
    rng = np.random.default_rng(1)
    inputs = (size * rng.normal(size=(2000, 3))).astype(np.float32)
    targets = (inputs @ np.array([1.0, -2.0, 0.5], np.float32) > 0).astype(np.int64)
    votes = LinearModels().step(batch(inputs, 2, targets, np.ones(2000)), asked=np.ones(2000, np.bool_))
    assert np.isfinite(votes).all()
    if size > 1.0:
        assert (votes.argmax(2)[1000:, 0] == targets[1000:]).mean() > 0.95


@pytest.mark.parametrize("rates", [(), (0.5, 0.0), (-1.0,)])
def test_linear_models_refuse_rates_that_lead_nowhere(rates):
    with pytest.raises(ValueError, match="give numbers above 0"):
        LinearModels(rates)


def test_linear_models_find_a_slanting_border_sooner_than_trees():
    stream = list(streams.make("hyperplane", seed=1, n_samples=4000))

    def share(model):
        hits = 0
        for i, (x, y) in enumerate(stream):
            hits += i >= 1000 and model.predict_one(x) == y
            model.learn_one(x, y)
        return hits / 3000

    with_them = share(DriftMoEClassifier(n_experts=4, extras=("linear",), seed=1))
    assert with_them > share(DriftMoEClassifier(n_experts=4, extras=(), seed=1)) + 0.05
