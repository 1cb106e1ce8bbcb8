"""What a model remembers of its most recent samples: beside a list of them, however the samples came."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from compiled_or_not import plain
from golden import make
from places import ROOT
from small_models import SEA, learnt, small

import driftmoe
from driftmoe import DriftMoEClassifier
from driftmoe.recent import N_ROWS, N_SCORES, ROOM_IF_BOUNDED, Recent, remember
from driftmoe.transaction import carry_out

VARIANTS = ("driftmoe", "moe-vote", "moe-data", "moe-task")


def score(proba, label):
    """The scores of one sample, from what the model said of it: label -> probability, in the order of the classes."""
    return proba.get(label, 0.0), bool(proba) and max(proba, key=proba.get) == label


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_score_is_what_the_model_said_before_it_learnt_the_label(variant):
    model, expected = small(variant), []
    samples = [(x, y if i > 50 else False) for i, (x, y) in enumerate(SEA[:150])]
    for x, y in samples:
        expected.append(score(model.predict_proba_one(x), y))
        model.learn_one(x, y)
    scores = model._recent.scores()
    np.testing.assert_allclose(scores.true_proba, [p for p, _ in expected], rtol=1e-6, atol=1e-7)
    assert scores.was_right.tolist() == [was_right for _, was_right in expected]


def test_the_last_rows_are_kept_in_order():
    model = learnt("driftmoe", SEA)
    vectors, targets = model._recent.rows()
    names, classes = model._encoder.features, model._encoder.classes
    assert len(vectors) == N_ROWS
    assert [dict(zip(names, row, strict=True)) for row in vectors.tolist()] == [x for x, _ in SEA[-N_ROWS:]]
    assert [classes[target] for target in targets] == [y for _, y in SEA[-N_ROWS:]]


def test_a_sample_of_weight_0_is_not_remembered():
    model = small("moe-data")
    model.learn_one({"a": 1.0}, "x")
    model.learn_one({"a": 2.0}, "y", w=0.0)
    model.learn_one({"a": 3.0}, "y")
    vectors, targets = model._recent.rows()
    assert (vectors.tolist(), targets.tolist()) == ([[1.0], [3.0]], [0, 1])
    assert model._recent.n_learnt == 2


def test_a_feature_that_came_later_is_missing_in_older_rows():
    model = small("moe-data")
    model.learn_one({"a": 1.0}, "x")
    model.learn_one({"a": 2.0, "b": "red"}, "y")
    model.learn_one({"b": "blue"}, "y")
    np.testing.assert_array_equal(model._recent.rows()[0], [[1, np.nan], [2, 0], [np.nan, 1]])


def test_of_wide_rows_fewer_are_remembered_where_memory_is_bounded():
    recent = Recent(has_bound=True)
    for n_features, n_rows in ((4, 128), (10, 51), (48, 10), (512, 1), (4000, 0)):
        assert recent.n_rows_at(n_features) == n_rows
        assert 8 * n_features * n_rows <= ROOM_IF_BOUNDED


def fed(recent, rows, targets, proba, n_known=2):
    changes = []
    recent.plan(np.array(rows), np.array(targets), np.array(proba), n_known, changes)
    carry_out(changes)


@pytest.mark.parametrize("widths", [(20, 40), (20, 1000, 4000)])
def test_the_ring_of_rows_keeps_the_last_ones_while_rows_get_wider(widths):
    recent, remembered, rng = Recent(has_bound=True), [], np.random.default_rng(1)
    for width in widths:
        for _ in range(100):
            row = rng.normal(size=width)
            remembered.append(row)
            fed(recent, [row], [1], [[0.3, 0.7]])
    n_rows = min(len(remembered), recent.n_rows_at(widths[-1]))
    expected = np.full((n_rows, widths[-1]), np.nan)
    for place, row in enumerate(remembered[len(remembered) - n_rows :]):
        expected[place, : len(row)] = row
    np.testing.assert_array_equal(recent.rows()[0], expected)
    n_bytes = sum(array.nbytes for array in vars(recent).values() if isinstance(array, np.ndarray))
    assert recent.bytes_at(widths[-1]) - 4 * N_ROWS <= n_bytes - 8 <= recent.bytes_at(widths[-1])


@pytest.mark.parametrize("size", [1, 7, 32, 2000])
def test_blocks_leave_the_same_as_single_rows(size):
    rng = np.random.default_rng(2)
    rows, targets, proba = rng.normal(size=(1500, 3)), rng.integers(2, size=1500), rng.random((1500, 2))
    proba /= proba.sum(axis=1, keepdims=True)
    one, many = Recent(), Recent()
    for i in range(1500):
        fed(one, rows[i : i + 1], targets[i : i + 1], proba[i : i + 1])
    for start in range(0, 1500, size):
        fed(many, *(of[start : start + size] for of in (rows, targets, proba)))
    for name, value in one.state().items():
        np.testing.assert_array_equal(many.state()[name], value)
    assert len(one.scores().was_right) == N_SCORES


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_kernel_does_the_same_compiled_or_not(is_compiled):
    kept = np.zeros((4, 2)), np.zeros(4, np.int32), np.zeros(5, np.float32), np.zeros(5, np.bool_)
    rows, proba = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    n_learnt = np.array([3])
    plain(remember, is_compiled)(rows, np.array([1, 2]), proba, 2, n_learnt, *kept)
    assert kept[0].tolist() == [[3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]
    assert kept[1].tolist() == [2, 0, 0, 1]
    assert kept[2][[3, 4]].tolist() == [np.float32(0.3), 0.0]
    assert kept[3].tolist() == [False] * 5
    assert n_learnt.tolist() == [5]


def test_it_goes_on_from_its_state_as_if_nothing_had_happened():
    rng = np.random.default_rng(3)
    recent = Recent()
    for i in range(300):
        fed(recent, rng.normal(size=(1, 2 + i // 100)), [i % 2], [[0.4, 0.6]])
    other = Recent()
    other.restore(copy.deepcopy(recent.state()))
    for one in (recent, other):
        fed(one, np.ones((5, 6)), [0] * 5, [[0.5, 0.5]] * 5)
    for name, value in recent.state().items():
        np.testing.assert_array_equal(other.state()[name], value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_learnt", -1, "is -1; it must be 0 or more"),
        ("n_learnt", 3, "has 2 rows; there must be 3"),
        ("vectors", np.full((2, 1), np.inf), "has inf; all must be NaN, or finite"),
        ("vectors", np.full((2, 1), 1e101), r"has 1e\+101; all must be NaN, or finite and within ±1e\+100"),
        ("targets", np.array([0, -1], np.int32), "has -1; all must be 0 or more"),
        ("targets", np.array([0, 1]), "is int64 of shape"),
        ("true_proba", np.array([0.5, 1.5], np.float32), "has 1.5; all must be 0 to 1"),
        ("true_proba", np.array([0.5, np.nan], np.float32), "has nan"),
        ("was_right", np.array([True]), r"is bool of shape \(1,\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name, value, message):
    recent = Recent()
    fed(recent, [[1.0], [2.0]], [0, 1], [[0.5, 0.5]] * 2)
    state = recent.state() | {name: value}
    other = Recent()
    with pytest.raises(ValueError, match=message):
        other.restore(state)
    assert other.n_learnt == 0


@pytest.mark.parametrize(("name", "value"), [("targets", 5), ("vectors", 9), ("vectors", 0)])
def test_rows_of_another_model_are_refused(name, value):
    state = learnt("moe-data", SEA[:50]).state()
    if name == "targets":
        state["recent"]["targets"][0] = value
    else:
        state["recent"]["vectors"] = np.zeros((50, value))
    model = learnt("moe-data", SEA[:20])
    before = model.digest()
    with pytest.raises(ValueError, match=r"state of the recent samples has n_(classes=6|features=[09])"):
        model.restore(state)
    assert model.digest() == before


@pytest.mark.parametrize("code", [2.0, -1.0, 0.5])
def test_codes_of_values_that_the_model_does_not_know_are_refused(code):
    model = learnt("moe-data", [({"a": "red"}, "x"), ({"a": "blue"}, "y"), ({}, "y")])
    state = model.state()
    model.restore(state)
    state["recent"]["vectors"][1] = code
    with pytest.raises(ValueError, match=f"has the code {code}; codes must be 0 to 1"):
        model.restore(state)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_is_part_of_copies_files_and_the_digest(variant):
    model = learnt(variant, SEA)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.clone(include_attributes=True),
                  DriftMoEClassifier.from_bytes(model.to_bytes())):  # fmt: skip
        assert other.digest() == model.digest()
        np.testing.assert_array_equal(other._recent.rows()[0], model._recent.rows()[0])
    before = model.digest()
    model._recent._true_proba[0] = 0.123
    assert model.digest() != before


def test_a_model_of_an_earlier_file_begins_to_remember():
    model = driftmoe.load(ROOT / "tests/golden/defaults.moe")
    assert model._recent.n_learnt == 0
    sample, label = make.samples("defaults", 1)[0]
    model.learn_one(sample, label)
    assert model._recent.scores().true_proba[0] > 0.0  # the label is none that it has never seen
    state = model.state()
    del state["recent"]
    model.restore(state)
    assert model._recent.n_learnt == 0
