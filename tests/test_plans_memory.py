"""Plans of earlier steps have a bound on their memory, and the one that was used last is given up last."""

from __future__ import annotations

import numpy as np
import pytest

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.kept_plans import MOST_BYTES, SHARE
from driftmoe.memory import array_bytes


def samples(n):
    return list(streams.make("agrawal", seed=3, n_samples=n))


def learn_one_by_one(model, rows):
    for x, y in rows:
        model.predict_one(x)
        model.learn_one(x, y)


@pytest.mark.parametrize(
    "settings",
    [{}, {"variant": "moe-data"}, {"hidden": (256,)}, {"variant": "moe-data", "n_experts": 40}],
    ids=["default", "moe-data", "wide router", "many experts"],
)
def test_the_plans_of_a_bounded_model_take_a_small_share_of_its_bound(settings):
    """Patterns of rows that never come again keep no plan, others as long as there is room."""
    rng, bound = np.random.default_rng(1), 1_500_000
    model = DriftMoEClassifier(**settings, max_bytes=bound, seed=1)
    legend = {"names": list(range(10)), "values": [None] * 10, "classes": list(range(12))}
    for n_rows in (300, 64, 64, 50, 40, 30, 5):
        for is_random in (True, False):
            X, weights = rng.normal(size=(20 * n_rows, 10)), np.ones(20 * n_rows)
            weights[is_random * rng.integers(0, 2, len(weights)) > 0] = 0.0
            for first in range(0, len(X), n_rows):
                rows = slice(first, first + n_rows)
                y = (np.abs(X[rows, 0] * 6).astype(int)) % 12
                model.step_many(X[rows], y, w=weights[rows], **legend)
        parts, plans = model._plans._own(), model._plans._learning
        assert array_bytes((parts, plans)) - array_bytes(parts) <= bound / SHARE
    assert plans
    assert array_bytes(model) < 1.3 * bound


def test_plans_without_a_bound_on_the_model_have_one():
    """A step of a wide router takes 9 MB of work space, for each plan that ends a mini-batch."""
    model, rows = DriftMoEClassifier(hidden=(1024, 1024), seed=1), samples(200)
    learn_one_by_one(model, rows)
    parts, plans = model._plans._own(), model._plans._learning
    assert 0 < array_bytes((parts, plans)) - array_bytes(parts) < MOST_BYTES
    assert (True, b"\1", b"") not in plans


def test_the_plan_that_was_used_last_is_given_up_last():
    model, rows = DriftMoEClassifier(seed=1), samples(400)
    learn_one_by_one(model, rows[:300])
    for _ in range(3):
        for n_rows in (5, 4, 3, 2):
            model.step_rows([x for x, _ in rows[:n_rows]], [y for _, y in rows[:n_rows]])
    model.learn_one(*rows[0])
    assert list(model._plans._learning)[-1][1] == b"\1"


def test_plans_hold_no_arrays_that_the_model_has_replaced():
    model, rows = DriftMoEClassifier(seed=1), samples(1200)
    learn_one_by_one(model, rows[:600])
    for x, y in rows[600:]:
        model.learn_one(x, y)
    model.shrink(1_500_000)
    assert array_bytes(model) < 1_500_000 + 300_000  # with work space of the router's size
