"""Products of inputs as an expert."""

from __future__ import annotations

import numpy as np
import pytest
from batches import batch
from compiled_or_not import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.experts import multiply_slowly

from driftmoe import DriftMoEClassifier
from driftmoe.experts.linear import LinearModels
from driftmoe.experts.products import Products, multiply, n_slots_of


@pytest.mark.parametrize("is_compiled", [True, False])
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 30), n_inputs=st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_products_are_their_readable_twin(is_compiled, seed, cut, n_inputs):
    rng = np.random.default_rng(seed)
    inputs = (rng.normal(size=(30, n_inputs)) * rng.integers(0, 2, (30, n_inputs))).astype(np.float32)
    targets, taught, rates = rng.integers(0, 3, 30), rng.choice([1.0, 0.5, 3.0], 30), (1.5, 0.2)
    slow = [multiply_slowly(inputs, targets, taught, 3, rate, 0.99, 4096, 4096) for rate in rates]
    models = Products(rates, forgetting=0.99)
    parts = [(inputs[rows], targets[rows], taught[rows]) for rows in (slice(cut), slice(cut, None))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmoe.experts.products.multiply", plain(multiply, is_compiled))
        votes = [models.step(batch(x, 3, y, w)) for x, y, w in parts if len(y)]
    for v, (proba, weights) in enumerate(slow):
        np.testing.assert_allclose(np.concatenate(votes)[:, v], proba, atol=2e-4)
        np.testing.assert_allclose(models.state()["weights"][v], weights, atol=2e-4)


@pytest.mark.parametrize("is_compiled", [True, False])
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 20), n_last=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_the_last_labels_are_inputs_like_others(is_compiled, seed, cut, n_last):
    rng = np.random.default_rng(seed)
    inputs, targets = rng.normal(size=(20, 2)).astype(np.float32), rng.choice([0, 3, 9], 20)
    taught = rng.choice([0.0, 1.0, 2.0], 20)
    rows, before = [], []
    for x, y, w in zip(inputs, targets, taught, strict=True):
        last = np.zeros((n_last, 8), np.float32)
        for i, label in enumerate(before[: -n_last - 1 : -1]):
            last[i, label % 8] = 1.0  # 9, the tenth class, shares the number of the second
        rows.append(np.append(last, x))
        before += [int(y)] if w > 0.0 else []
    learnt = taught > 0
    proba, _ = multiply_slowly(
        np.array(rows)[learnt], targets[learnt], taught[learnt], 10, 1.0, 0.99, 4096, 4096
    )
    models = Products((1.0,), forgetting=0.99, n_last=n_last)
    parts = [(inputs[rows], targets[rows], taught[rows]) for rows in (slice(cut), slice(cut, None))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmoe.experts.products.multiply", plain(multiply, is_compiled))
        votes = [models.step(batch(x, 10, y, w)) for x, y, w in parts if len(y)]
    np.testing.assert_allclose(np.concatenate(votes)[learnt, 0], proba, atol=2e-4)
    assert models.state()["last_targets"].tolist() == ([-1] * n_last + before)[: -n_last - 1 : -1]


def test_labels_in_turn_are_known_from_the_last_ones():
    rng = np.random.default_rng(1)
    targets = np.arange(600) // 2 % 3  # 0 0 1 1 2 2: one label alone does not tell the next
    votes = Products(n_last=2).step(batch(rng.normal(size=(600, 2)), 3, targets))
    assert (votes[100:, 0].argmax(axis=1) == targets[100:]).mean() > 0.99


def test_rows_that_are_not_asked_are_among_the_last_labels():
    models = Products(n_last=2)
    models.step(batch(np.ones((3, 1)), 3, [2, 1, 0]), asked=np.array([True, False, False]))
    assert models.state()["last_targets"].tolist() == [0, 1]


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_products_beyond_the_table_share_weights(share):
    rng = np.random.default_rng(3)
    inputs = (rng.normal(size=(8, 130)) * (rng.random((8, 130)) < share)).astype(np.float32)
    targets, taught = rng.integers(0, 2, 8), np.ones(8)
    proba, weights = multiply_slowly(inputs, targets, taught, 2, 0.5, 0.999, 4096, 4096)
    models = Products((0.5,))
    np.testing.assert_allclose(models.step(batch(inputs, 2, targets, taught))[:, 0], proba, atol=2e-4)
    np.testing.assert_allclose(models.state()["weights"][0], weights, atol=2e-4)
    assert weights.shape == (2, 8192)  # of 8646 products


@pytest.mark.parametrize(
    ("n_inputs", "n_slots"), [(0, 1), (1, 3), (2, 6), (89, 4095), (90, 8192), (500, 8192)]
)
def test_the_table_is_bounded(n_inputs, n_slots):
    assert n_slots_of(n_inputs) == n_slots
    models = Products()
    models.step(batch(np.ones((2, n_inputs)), 2, [0, 1]))
    assert models.state()["weights"].shape == (models.n_experts, 2, n_slots)
    assert models.sizes() == {"n_inputs": min(n_inputs, 90), "n_classes": 2}


def test_products_say_of_a_row_the_same_in_any_block():
    rng = np.random.default_rng(1)
    inputs = (rng.normal(size=(100, 5)) * rng.integers(0, 2, (100, 5))).astype(np.float32)
    targets, whole, one_by_one = rng.integers(0, 3, 100), Products(), Products()
    votes = whole.step(batch(inputs, 3, targets))
    for i in range(100):
        row = slice(i, i + 1)
        said = one_by_one.predict_proba(batch(inputs[row], 3))
        np.testing.assert_array_equal(said, one_by_one.step(batch(inputs[row], 3, targets[row])))
        np.testing.assert_array_equal(said[0], votes[i])


def test_products_take_in_new_inputs_and_classes_and_predicting_changes_nothing():
    rng = np.random.default_rng(1)
    models = Products()
    inputs = rng.normal(size=(50, 2)).astype(np.float32)
    models.step(batch(inputs, 2, (inputs[:, 0] > 0).astype(np.int64)))
    before = models.predict_proba(batch(inputs, 2))
    wide = models.predict_proba(batch(np.hstack([inputs, np.ones((50, 3), np.float32)]), 5))
    assert wide.shape == (50, 2, 5)
    np.testing.assert_array_equal(models.predict_proba(batch(inputs, 2)), before)
    wider = np.hstack([inputs, np.zeros((50, 1), np.float32)])
    after = models.step(batch(wider[:1], 3, [2]))
    np.testing.assert_allclose(after[0, :, 1] / after[0, :, 0], before[0, :, 1] / before[0, :, 0], rtol=1e-5)
    assert models.state()["weights"].shape == (2, 3, 10)


def test_rows_that_are_not_asked_or_weigh_nothing_are_not_learnt():
    rng = np.random.default_rng(2)
    inputs, targets = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    asked, weights = rng.random(40) < 0.7, rng.integers(0, 2, 40).astype(np.float64)
    some, all_of_them = Products(), Products()
    votes = some.step(batch(inputs, 2, targets, weights), asked=asked)
    learnt = asked & (weights > 0)
    all_of_them.step(batch(inputs[learnt], 2, targets[learnt]))
    np.testing.assert_array_equal(
        some.predict_proba(batch(inputs, 2)), all_of_them.predict_proba(batch(inputs, 2))
    )
    assert (votes[~asked] == 0.0).all()


def test_products_know_where_two_inputs_agree():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(2000, 4)).astype(np.float32)
    targets = (inputs[:, 0] * inputs[:, 1] > 0.0).astype(np.int64)
    votes = Products().step(batch(inputs, 2, targets))
    straight = LinearModels().step(batch(inputs, 2, targets))
    assert (votes[1000:].argmax(axis=2) == targets[1000:, np.newaxis]).mean(axis=0).max() > 0.95
    assert (straight[1000:].argmax(axis=2) == targets[1000:, np.newaxis]).mean(axis=0).max() < 0.6


@pytest.mark.parametrize("size", [1e-30, 1e4])
def test_products_stay_finite_whatever_the_size_of_inputs(size):
    rng = np.random.default_rng(1)
    inputs = (size * rng.normal(size=(500, 3))).astype(np.float32)
    targets = (inputs[:, 0] > 0.0).astype(np.int64)
    votes = Products().step(batch(inputs, 2, targets, rng.choice([1e-6, 1.0, 1e6], 500)))
    np.testing.assert_allclose(votes[1:].sum(axis=2), 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": ()}, "give numbers above 0"),
        ({"rates": (1.0, 0.0)}, "give numbers above 0"),
        ({"forgetting": 0.0}, "choose 0 < forgetting <= 1"),
        ({"forgetting": 1.5}, "choose 0 < forgetting <= 1"),
        ({"n_last": -1}, "n_last=-1; choose 0 or more"),
    ],
)
def test_products_refuse_arguments_that_lead_nowhere(arguments, message):
    with pytest.raises(ValueError, match=message):
        Products(**arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", np.zeros((2, 2, 5), np.float32), "has 5 weights for each class"),
        ("weights", np.zeros((2, 2, 0), np.float32), "has 0 weights for each class"),
        ("squares", np.full((2, 210), -1.0, np.float32), "squares"),
        ("sample_sizes", np.array([1.0, -1.0]), "sample_sizes"),
        ("last_targets", np.array([0, -2]), "last_targets' in the state of Products has -2"),
    ],
)
def test_a_wrong_state_of_products_is_refused(name, value, message):
    models = Products(n_last=2)
    models.step(batch(np.ones((3, 3)), 2, [0, 1, 0]))
    with pytest.raises(ValueError, match=message):
        Products(n_last=2).restore(models.state() | {name: value})


def test_single_samples_and_rows_in_one_call_give_the_same_model():
    rng = np.random.default_rng(4)
    rows = [
        {"a": float(a), "word": "abcde"[min(i // 20, int(k))], "b": float(a) if k else None}
        for i, (a, k) in enumerate(zip(rng.normal(size=120), rng.integers(0, 5, 120), strict=True))
    ]
    labels = ["xyz"[min(i // 30, i % 3)] for i in range(120)]
    one_by_one, at_once = (
        DriftMoEClassifier(n_experts=2, extras=("products", "sequence"), hidden=(4,), seed=1)
        for _ in range(2)
    )
    for x, y in zip(rows, labels, strict=True):
        one_by_one.predict_one(x)
        one_by_one.learn_one(x, y)
    at_once.run_rows(rows, labels)
    assert one_by_one.digest() == at_once.digest()
