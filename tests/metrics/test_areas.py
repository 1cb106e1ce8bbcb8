"""Areas under curves, by hand and beside scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from driftmoe.metrics import AveragePrecision


def average_precision(samples, **arguments):
    metric = AveragePrecision(**arguments)
    for truth, p in samples:
        metric.update(truth, {True: p, False: 1.0 - p})
    return metric


def test_average_precision_by_hand():
    # In the order of the probabilities: right, wrong, right, wrong. Precision at the right ones: 1 of 1, 2 of 3.
    samples = [(True, 0.8), (False, 0.6), (True, 0.4), (False, 0.1)]
    assert average_precision(samples).get() == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([(False, 0.9), (True, 0.1)]).get() == 0.5
    assert average_precision([(True, 1.0), (False, 0.0)]).get() == 1.0


def test_equal_probabilities_have_the_share_of_the_positive_class():
    assert average_precision([(i == 0, 0.5) for i in range(10)]).get() == pytest.approx(0.1)


def test_average_precision_is_that_of_scikit_learn_where_positives_are_rare():
    rng = np.random.default_rng(3)
    truth = rng.random(5000) < 0.01
    odds = rng.normal(size=5000) + 2.5 * truth - 5.0
    p = 1.0 / (1.0 + np.exp(-odds))
    metric = average_precision(zip(truth.tolist(), p.tolist(), strict=True), n_bins=10_000)
    assert metric.get() == pytest.approx(average_precision_score(truth, p), abs=2e-3)


def test_one_class_alone_has_no_area_and_what_is_taken_back_does_not_count():
    metric = average_precision([(True, 0.9), (True, 0.2)])
    assert math.isnan(metric.get())
    metric.update(False, {True: 0.5})
    expected = metric.get()
    metric.update(False, {True: 0.95}, w=3.0)
    assert metric.get() < expected
    metric.revert(False, {True: 0.95}, w=3.0)
    assert metric.get() == pytest.approx(expected)


def test_another_label_can_be_positive():
    metric = AveragePrecision(pos_val="fraud")
    metric.update("fraud", 0.8)
    metric.update("fine", 0.9)
    assert metric.get() == 0.5
