"""Sets of labels with a coverage: the threshold beside plain Python, and coverage on streams with and without drift."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compiled_or_not import plain
from small_models import SEA, learnt, small

import driftmoe
from driftmoe.conformal import RATE, least_probability, members, replayed
from driftmoe.recent import N_SCORES

VARIANTS = ("driftmoe", "moe-vote", "moe-data", "moe-task")


def of_plain_python(true_proba, was_right, coverage):
    """Adaptive conformal inference over a list of scores, as in Gibbs & Candès (2021), equation 2.

    The score of a sample is 1 minus the probability of its true label, and 0 if that is the most probable one. The
    level does not rise while the most probable label alone is enough.
    """
    scores = [0.0 if right else 1.0 - p for p, right in zip(true_proba, was_right, strict=True)]

    def at(level):
        rank = math.ceil(round((1.0 - level) * (len(scores) + 1), 9))
        if rank > len(scores):
            return math.inf
        return sorted(scores)[rank - 1] if rank > 0 else -1.0

    level = 1.0 - coverage
    for score in scores:
        if score > at(level):
            level -= RATE * coverage
        elif at(level) > 0.0:
            level += RATE * (1.0 - coverage)
    return at(level)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("n_scores", [0, 1, 5, 9, 10, 100, 400])
def test_the_threshold_is_that_of_plain_python(n_scores, coverage):
    rng = np.random.default_rng(n_scores)
    for sharpness in (0.3, 1.0, 4.0):
        was_right = rng.random(n_scores) < 0.4 + 0.5 * (np.arange(n_scores) < n_scores / 2)
        # Eighths: float32 and 1 - p are exact, and many are equal.
        true_proba = (np.ceil(rng.beta(sharpness, 1.0, n_scores) * 6) / 8).astype(np.float32)
        expected = of_plain_python(true_proba.tolist(), was_right.tolist(), coverage)
        threshold = least_probability(true_proba, was_right, coverage)
        if math.isinf(expected):
            assert threshold == -math.inf
        elif expected <= 0.0:
            assert threshold == math.inf
        else:
            assert threshold == 1.0 - expected


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_level_that_does_not_move_gives_the_quantile_by_hand(is_compiled):
    reached = np.array([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.6, 0.4, 0.8], np.float32)
    quantile = plain(replayed, is_compiled)
    for missed, expected in [
        (0.05, -math.inf), (0.1, 0.1), (0.2, 0.2), (0.5, 0.5), (0.9, 0.9), (0.95, 0.9), (1.0, math.inf)
    ]:  # the rank is (1 - missed) · 10, rounded up, from above  # fmt: skip
        assert quantile(reached, np.sort(reached), missed, 0.0) == np.float32(expected)


def test_misses_in_the_recent_past_lower_the_threshold():
    true_proba, early = np.linspace(0.05, 0.95, 200).astype(np.float32), np.zeros(200, np.bool_)
    missed_last = least_probability(true_proba[::-1].copy(), early, 0.8)
    missed_first = least_probability(true_proba, early, 0.8)
    assert missed_last < missed_first


def test_the_level_does_not_wind_up_where_the_most_probable_label_is_enough():
    # 900 right answers of 900, then every second one is wrong, with a probability of the true label of 0.3.
    was_right = np.concatenate([np.ones(900, np.bool_), np.arange(60) % 2 == 0])
    true_proba = np.where(was_right, 0.7, 0.3).astype(np.float32)
    assert least_probability(true_proba[:900], was_right[:900], 0.9) == math.inf
    # Plain ACI has a level of 0.1 + 900 * 0.001 by then, which 30 misses lower by 0.27, not below 0.7.
    assert least_probability(true_proba, was_right, 0.9) == np.float32(0.3)


def test_members_reach_the_threshold_and_the_most_probable_always_is_one():
    proba = np.array([[0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.4, 0.4, 0.2]])
    assert members(proba, 0.3).tolist() == [[False, True, True], [True, True, True], [True, True, False]]
    assert members(proba, math.inf).tolist() == [
        [False, True, False],
        [False, False, True],
        [True, False, False],
    ]
    assert members(proba, -math.inf).all()


def test_a_probability_that_float32_rounds_reaches_its_own_threshold():
    threshold = least_probability(np.full(200, 0.1, np.float32), np.zeros(200, np.bool_), 0.8)
    assert members(np.array([[0.9, 0.1]]), threshold).tolist() == [[True, True]]


def stream_of_scores(rng, n_samples, n_classes, drift):
    """Probabilities, and labels drawn from them. From `drift` on, two labels in three are any of the classes."""
    proba = rng.dirichlet(np.full(n_classes, 0.4), n_samples)
    labels = (proba.cumsum(axis=1) < rng.random((n_samples, 1))).sum(axis=1).clip(0, n_classes - 1)
    late = (np.arange(n_samples) >= drift) & (rng.random(n_samples) < 2 / 3)
    return proba, np.where(late, rng.integers(0, n_classes, n_samples), labels)


def holds(proba, labels, coverage):
    """Whether the set of each sample holds its label, and the size of each set."""
    rows = np.arange(len(labels))
    true_proba = proba[rows, labels].astype(np.float32)
    was_right = proba.argmax(axis=1) == labels
    are_held, sizes = [], []
    for i in rows:
        recent = slice(max(i - N_SCORES, 0), i)
        threshold = least_probability(true_proba[recent], was_right[recent], coverage)
        (member,) = members(proba[i : i + 1], threshold)
        are_held.append(bool(member[labels[i]]))
        sizes.append(int(member.sum()))
    return np.array(are_held), np.array(sizes)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_on_exchangeable_samples(coverage, seed):
    proba, labels = stream_of_scores(np.random.default_rng(seed), 4000, 5, drift=4000)
    are_held, sizes = holds(proba, labels, coverage)
    # Four standard errors of 3000 independent samples are 0.03 to 0.016; ACI keeps closer.
    assert abs(are_held[1000:].mean() - coverage) < 0.01
    assert min(are_held[i : i + 1000].mean() for i in (1000, 2000, 3000)) > coverage - 0.02
    assert 1.0 < sizes[1000:].mean() < 4.0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_after_an_abrupt_drift(coverage, seed):
    proba, labels = stream_of_scores(np.random.default_rng(seed), 6000, 5, drift=3000)
    are_held, sizes = holds(proba, labels, coverage)
    after = are_held[3000:4000].mean()
    fixed = members(proba[3000:], np.quantile(proba[np.arange(1000), labels[:1000]], 1.0 - coverage))
    without = fixed[np.arange(3000), labels[3000:]].mean()
    assert without < coverage - 0.15  # what a threshold from before the drift holds
    assert after > coverage - 0.07
    assert are_held[4000:].mean() > coverage - 0.015
    assert sizes[3500:].mean() > sizes[1000:3000].mean() + 1.0


def test_coverage_of_another_model_is_kept_too_if_its_probabilities_are_far_too_sure():
    proba, labels = stream_of_scores(np.random.default_rng(4), 3000, 4, drift=0)
    sure = proba**4 / (proba**4).sum(axis=1, keepdims=True)
    are_held, _ = holds(sure, labels, 0.9)
    assert abs(are_held[1000:].mean() - 0.9) < 0.015


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_set_holds_the_probable_labels_in_order(variant):
    model = learnt(
        variant, [(x, (y, x["attrib1"] > 7.0 if "attrib1" in x else min(x.values()) > 3.0)) for x, y in SEA]
    )
    for x, _ in SEA[:40]:
        proba, labels = model.predict_proba_one(x), model.predict_set_one(x, 0.95)
        assert next(iter(labels)) == model.predict_one(x)
        assert list(labels.values()) == sorted(labels.values(), reverse=True)
        assert labels == {label: proba[label] for label in labels}
        least, most_left_out = (
            min(labels.values()),
            max([p for c, p in proba.items() if c not in labels], default=0.0),
        )
        assert least >= most_left_out
        assert set(model.predict_set_one(x, 0.5)) <= set(labels) <= set(model.predict_set_one(x, 0.9999))
        assert set(model.predict_set_one(x, 0.9999)) == set(proba)


@pytest.mark.parametrize("make_frame", [pd.DataFrame, pl.DataFrame])
def test_frames_get_the_sets_of_their_rows(make_frame):
    model = learnt("moe-data", [(x, "yes" if y else "no") for x, y in SEA])
    rows = [x for x, _ in SEA[:50]]
    answer = model.predict_set_many(make_frame(rows), coverage=0.95)
    assert type(answer) is type(make_frame(rows))
    assert list(answer.columns) == list(model.predict_proba_one(rows[0]))
    columns = {name: list(answer[name]) for name in answer.columns}
    for i, x in enumerate(rows):
        assert {name for name, column in columns.items() if column[i]} == set(model.predict_set_one(x, 0.95))
    assert {bool(value) for column in columns.values() for value in column} == {True, False}


def test_before_anything_is_learnt_the_set_is_empty_and_with_one_class_it_is_that():
    model = small("driftmoe")
    assert model.predict_set_one({"a": 1.0}) == {}
    assert model.predict_set_many(pd.DataFrame({"a": [1.0, 2.0]})).shape == (2, 0)
    model.learn_one({"a": 1.0}, "x")
    assert model.predict_set_one({"a": 1.0}) == {"x": 1.0}
    assert model.predict_set_many(pd.DataFrame({"a": [1.0]})).to_dict("list") == {"x": [True]}


def test_the_set_holds_all_labels_until_there_are_enough_samples():
    model = small("driftmoe")
    for i in range(30):
        labels = model.predict_set_one({"a": float(i % 2)}, coverage=0.9)
        assert len(labels) == min(i, 2) or i >= 9
        model.learn_one({"a": float(i % 2)}, i % 2)
    assert len(model.predict_set_one({"a": 1.0}, coverage=0.5)) == 1


def test_a_new_class_counts_as_missed_and_is_in_later_sets():
    model = learnt("moe-data", [({"a": 0.0}, "old")] * 40)
    assert list(model.predict_set_one({"a": 5.0})) == ["old"]
    for i in range(60):
        model.learn_one({"a": 5.0}, "new" if i % 2 else "old")
    assert set(model.predict_set_one({"a": 5.0}, 0.9)) == {"old", "new"}


@pytest.mark.parametrize(
    ("coverage", "error", "message"),
    [
        (0.0, ValueError, r"coverage=0.0; choose 0 < coverage < 1, such as 0.9"),
        (1.0, ValueError, "coverage=1.0; choose"),
        (1, ValueError, "coverage=1; choose"),
        (-0.1, ValueError, "coverage=-0.1"),
        (float("nan"), ValueError, "coverage=nan"),
        ("0.9", TypeError, "coverage='0.9' is of type str; give a number, such as 0.9"),
        (True, TypeError, "coverage=True is of type bool"),
        (None, TypeError, "coverage=None"),
    ],
)
def test_coverage_is_a_share_between_0_and_1(coverage, error, message):
    model = small("driftmoe")
    with pytest.raises(error, match=message):
        model.predict_set_one({"a": 1.0}, coverage)
    with pytest.raises(error, match=message):
        model.predict_set_many(pd.DataFrame({"a": [1.0]}), coverage)


def test_asking_for_sets_changes_nothing_and_a_saved_model_gives_the_same(tmp_path):
    model = learnt("driftmoe", SEA)
    before = pickle.dumps(model)
    sets = [model.predict_set_one(x, coverage) for x, _ in SEA[:30] for coverage in (0.8, 0.99)]
    assert pickle.dumps(model) == before
    model.save(tmp_path / "model.moe")
    for one in (driftmoe.load(tmp_path / "model.moe"), pickle.loads(before)):
        assert [one.predict_set_one(x, coverage) for x, _ in SEA[:30] for coverage in (0.8, 0.99)] == sets


def test_costs_do_not_change_the_sets():
    model, costly = (learnt("driftmoe", SEA, decision_costs=costs) for costs in (None, {1: 20}))
    for x, _ in SEA[:30]:
        assert costly.predict_set_one(x) == model.predict_set_one(x)


def test_blocks_leave_the_same_sets_as_single_samples():
    one, block = learnt("driftmoe", SEA), small("driftmoe")
    block.learn_many(pd.DataFrame([x for x, _ in SEA]), [y for _, y in SEA])
    for x, _ in SEA[:30]:
        assert block.predict_set_one(x, 0.85) == one.predict_set_one(x, 0.85)
