"""Experts that remember samples: nearest neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from batches import batch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.experts import nearest_slowly

from driftmoe import DriftMoEClassifier
from driftmoe.experts.nearest import NEVER
from driftmoe.experts.neighbours import Neighbours


@pytest.mark.parametrize("by_relevance", [False, True])
@given(seed=st.integers(0, 10**6), capacity=st.sampled_from([64, 128]), k=st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_neighbours_are_found_as_by_sorting_all(by_relevance, seed, capacity, k):
    rng = np.random.default_rng(seed)
    n = 700 if by_relevance else 300
    inputs = rng.normal(size=(n, 3)).astype(np.float32)
    targets = (inputs[:, 1] > 0.0).astype(np.int64) + 2 * (inputs[:, 0] > 1.0)
    targets[n // 3 : n // 2] = 3 - targets[n // 3 : n // 2]  # another concept for a while
    taught = rng.choice([1.0, 1.0, 0.5, 4.0], n)
    votes = ((0.0, 0.0), (0.0, 0.01), (0.0, 0.3), (5.0, 0.0), (2.0, 0.05))
    neighbours = Neighbours(capacity, k, votes, by_relevance=by_relevance)
    ours, start = [], 0
    while start < n:
        stop = min(n, start + int(rng.integers(1, 30)))
        ask = np.ones(stop - start, np.bool_)
        rows = slice(start, stop)
        ours.append(neighbours.step(batch(inputs[rows], 4, targets[rows], taught[rows]), asked=ask))
        start = stop
    theirs = nearest_slowly(inputs, targets, taught, capacity, k, votes, 4, by_relevance=by_relevance)
    np.testing.assert_allclose(np.concatenate(ours), theirs, rtol=5e-3, atol=5e-3)


def test_neighbours_predict_what_step_says_and_change_nothing():
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(300, 2)).astype(np.float32), rng.integers(0, 2, 300)
    neighbours, everyone, once = Neighbours(64), np.ones(300, np.bool_), np.ones(300)
    neighbours.step(batch(inputs, 2, targets, once), asked=everyone)
    first = neighbours.predict_proba(batch(inputs, 2))
    np.testing.assert_array_equal(first, neighbours.predict_proba(batch(inputs, 2)))
    np.testing.assert_array_equal(
        first[0], neighbours.step(batch(inputs[:1], 2, targets[:1], once[:1]), asked=everyone[:1])[0]
    )


@pytest.mark.parametrize("by_relevance", [False, True])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_what_was_predicted_before_changes_no_vote_and_nothing_that_is_learnt(by_relevance, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 3, (900, 2)).astype(np.float32)  # many rows are equal
    targets, weights = rng.integers(0, 2, 900), rng.choice([0.0, 1.0, 2.0], 900)
    asked = rng.random(900) < 0.9
    ours, theirs = Neighbours(64, by_relevance=by_relevance), Neighbours(64, by_relevance=by_relevance)
    start = 0
    while start < 900:
        rows = slice(start, start + int(rng.integers(1, 4)) * 20 ** int(rng.integers(0, 2)))
        for _ in range(rng.integers(0, 3)):  # rows that come next, have been, or come later; one or several
            first = max(0, start + int(rng.integers(-3, 3)))
            ours.predict_proba(batch(inputs[first : first + int(rng.integers(1, 3))], 2))
        learnt = batch(inputs[rows], 2, targets[rows], weights[rows])
        np.testing.assert_array_equal(
            ours.step(learnt, asked=asked[rows]), theirs.step(learnt, asked=asked[rows])
        )
        if rng.random() < 0.05:
            ours.restore(ours.state())
        start = rows.stop
    mine, others = ours.state(), theirs.state()
    for name, value in others.items():
        np.testing.assert_array_equal(mine[name], value)


def test_a_row_that_was_predicted_is_not_searched_again():
    rng = np.random.default_rng(1)
    inputs, targets, once = rng.normal(size=(60, 2)).astype(np.float32), rng.integers(0, 2, 60), np.ones(60)
    neighbours = Neighbours(64)
    neighbours.step(batch(inputs[:50], 2, targets[:50], once[:50]))
    row = batch(inputs[50:51], 2, targets[50:51], once[50:51])
    right = neighbours.predict_proba(row)
    found = neighbours._search.found
    found["target"] = 1 - found["target"]  # as nobody else can
    assert neighbours.predict_proba(row)[0, 0].tolist() == right[0, 0, ::-1].tolist()
    assert neighbours.step(row)[0, 0].tolist() == right[0, 0, ::-1].tolist()
    again = neighbours.predict_proba(row)[0, 0]  # after a row was learnt
    assert again.argmax() == targets[50]


def test_a_block_is_learnt_beside_what_was_found_for_a_predicted_row():
    """A signal handler may predict while a thread learns a block."""
    rng = np.random.default_rng(1)
    inputs, targets, once = rng.normal(size=(60, 2)).astype(np.float32), rng.integers(0, 2, 60), np.ones(60)
    neighbours = Neighbours(64)
    neighbours.step(batch(inputs[:50], 2, targets[:50], once[:50]))
    neighbours.predict_proba(batch(inputs[50:51], 2))
    before = [array.copy() for array in neighbours._search]
    assert before[0].tolist() == [50]
    neighbours.step(batch(inputs[50:], 2, targets[50:], once[50:]))
    found_at, *others = neighbours._search
    assert found_at.tolist() == [NEVER]
    for array, expected in zip(others, before[1:], strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_row_that_is_not_asked_is_remembered_all_the_same():
    inputs = np.array([[0.0], [1.0], [1.0]], np.float32)
    neighbours = Neighbours(64, 1, ((0.0, 0.0),))
    votes = neighbours.step(
        batch(inputs, 2, np.array([0, 1, 0]), np.ones(3)), asked=np.array([True, False, True])
    )
    assert votes[0].tolist() == votes[1].tolist() == [[0.0, 0.0]]
    assert votes[2, 0].argmax() == 1


def test_a_new_input_was_zero_before():
    neighbours = Neighbours(64, 1, ((0.0, 0.0),))
    everyone = np.ones(2, np.bool_)
    neighbours.step(
        batch(np.array([[0.0], [0.1]], np.float32), 2, np.array([0, 1]), np.ones(2)), asked=everyone
    )
    votes = neighbours.predict_proba(batch(np.array([[0.0, 0.0], [0.1, 9.0]], np.float32), 2))
    assert votes[:, 0].argmax(axis=1).tolist() == [0, 1]


def test_the_past_gets_thinner_the_farther_back_in_bounded_memory():
    rng = np.random.default_rng(0)
    neighbours = Neighbours(64)
    n = 3000
    neighbours.step(
        batch(rng.normal(size=(n, 1)).astype(np.float32), 1, np.zeros(n, np.int64), np.ones(n)),
        asked=np.zeros(n, np.bool_),
    )
    used = neighbours._order[: neighbours._counts[0]]
    times = neighbours._sample_times[used].ravel()
    assert 30 <= len(used) <= 32
    assert times[-1] == n - 1
    gaps = np.diff(times)[::2]  # within an episode of two samples
    assert (gaps == 2 ** neighbours._episodes["n_thinnings"][used]).all()
    assert (np.diff(gaps) <= 0).all()
    assert gaps[-8:].tolist() == [1] * 8
    assert n - times[0] > 2 * neighbours._sample_times.size  # it looks back farther than a window of its size


def test_what_was_known_of_a_concept_is_there_again_when_it_returns():
    """Two concepts that contradict each other take turns; a window of the same size knows only the other one."""
    rng = np.random.default_rng(0)
    inputs = rng.random((8 * 500, 2)).astype(np.float32)
    checker = (inputs * 4).astype(int).sum(axis=1) % 2
    is_second = np.arange(len(inputs)) // 500 % 2
    targets = np.where(is_second, 1 - checker, checker)
    neighbours = Neighbours(1024, 1, ((0.0, 0.0), (12.0, 0.0), (0.0, 0.01)))
    votes = neighbours.step(
        batch(inputs, 2, targets, np.ones(len(inputs))), asked=np.ones(len(inputs), np.bool_)
    )
    is_right = votes.argmax(axis=2) == targets[:, np.newaxis]
    early = np.concatenate([np.arange(50, 150) + 500 * turn for turn in range(4, 8)])
    of_all, of_like_times, of_late = is_right[early].mean(axis=0)
    assert of_like_times > 0.8
    assert of_like_times > max(of_all, of_late) + 0.15


@pytest.mark.parametrize("capacity", [0, 32, 100])
def test_a_capacity_that_episodes_cannot_share_is_refused(capacity):
    with pytest.raises(ValueError, match=f"capacity={capacity}; choose a multiple of 64"):
        Neighbours(capacity)


def test_relevance_passes_over_features_that_tell_nothing():
    rng = np.random.default_rng(0)
    X = np.hstack([rng.normal(size=(2500, 1)), rng.normal(size=(2500, 15))])
    y = (X[:, 0] > 0.0).astype(int)
    of_late = {}
    for extra in ("neighbours", "relevant-neighbours"):
        model = DriftMoEClassifier(n_experts=1, extras=(extra,), min_trust=0.0, seed=1)
        model.step_many(X, y, names=list(range(16)), values=[None] * 16, classes=[0, 1])
        of_late[extra] = model.routing_report().window.of_each()[f"{extra} (0.0003)"]["accuracy"]
    assert of_late["relevant-neighbours"] > of_late["neighbours"] + 0.05
