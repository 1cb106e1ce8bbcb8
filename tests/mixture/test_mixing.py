"""Mixing of votes, and which experts were right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmoe.arithmetic import top_k
from driftmoe.mixture.mixing import correctness, first_best, mix, mix_own
from driftmoe.routing import TopK, route


def right(votes, target):
    correct = np.empty((1, len(votes)), np.bool_)
    correctness(np.array([votes]), np.array([target]), correct)
    return correct[0].tolist()


def test_mask_is_multi_hot():
    assert right([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]], 0) == [True, False, True]


def test_of_equally_probable_classes_the_first_is_the_answer():
    assert right([[0.5, 0.5], [0.2, 0.8]], 0) == [True, False]
    assert right([[0.5, 0.5], [0.2, 0.8]], 1) == [False, True]


def test_when_nobody_is_right_the_nearest_expert_is_the_target():
    assert right([[0.9, 0.1, 0.0], [0.6, 0.0, 0.4], [0.5, 0.2, 0.3]], 2) == [False, True, False]


def test_of_equally_near_experts_the_first_is_the_target():
    assert right([[1.0, 0.0], [1.0, 0.0]], 1) == [True, False]


def test_an_expert_without_a_vote_is_not_right():
    assert right([[0.0, 0.0], [0.3, 0.7], [1.0, 0.0]], 0) == [False, False, True]


def mixed(weights, votes, takes_one=False):
    proba = np.empty((1, len(votes[0])))
    mix(np.array([weights]), np.array([votes]), takes_one, proba)
    return proba[0].tolist()


def test_mix_is_the_weighted_mean_of_those_who_vote():
    votes = [[1.0, 0.0], [0.0, 0.0], [0.25, 0.75]]
    assert mixed([0.25, 0.5, 0.25], votes) == [0.625, 0.375]


def test_the_expert_of_the_largest_weight_may_have_the_word_alone():
    votes = [[0.3, 0.7], [0.9, 0.1], [0.0, 1.0]]
    assert mixed([0.2, 0.4, 0.4], votes, takes_one=True) == [0.9, 0.1]


def test_a_null_expert_is_right_where_most_experts_are():
    yes, no = [1.0, 0.0], [0.0, 1.0]
    correct = np.empty((3, 5), np.bool_)
    correctness(np.array([[yes, no, yes], [no, yes, no], [no, no, no]]), np.array([0, 0, 0]), correct)
    assert correct[:, 3:].tolist() == [[True, True], [False, False], [False, False]]
    correct = np.empty((1, 3), np.bool_)
    correctness(np.array([[yes, no]]), np.array([0]), correct)
    assert correct.tolist() == [[True, False, False]]


def test_where_no_expert_with_a_weight_votes_all_others_count_alike():
    votes = [[1.0, 0.0], [0.0, 0.0], [0.25, 0.75]]
    assert mixed([0.0, 1.0, 0.0], votes) == [0.625, 0.375]
    assert mixed([0.5, 0.5], [[0.0, 0.0], [0.0, 0.0]]) == [0.5, 0.5]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)  # the first example compiles what the kernels call
def test_kernels_do_the_same_compiled_and_not(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_experts, n_classes = rng.integers(1, 5, 3)
    votes = (
        rng.integers(0, 3, (n_rows, n_experts, n_classes)) * rng.integers(0, 2, (n_rows, n_experts, 1)) / 2
    )
    targets = rng.integers(0, n_classes, n_rows)
    weights = rng.integers(0, 3, (n_rows, n_experts)) / 2
    results = []
    for is_compiled in (True, False):
        correct, proba = np.empty((n_rows, n_experts), np.bool_), np.empty((n_rows, n_classes))
        for kernel, arguments in (
            (correctness, (votes, targets, correct)),
            (mix, (weights, votes, bool(seed % 2), proba)),
        ):
            (kernel if is_compiled else getattr(kernel, "py_func", kernel))(*arguments)
        results.append((correct.tolist(), proba.tolist()))
    assert results[0] == results[1]


@pytest.mark.parametrize("is_compiled", [True, False])
@given(
    rows=st.lists(
        st.lists(st.sampled_from([-math.inf, -90.0, 0.0, 0.5, 1.0]), min_size=4, max_size=4), min_size=1
    ),
    k=st.integers(1, 4),
    renorm=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_top_k_is_that_of_routing(rows, k, renorm, is_compiled):
    logits = np.array([row for row in rows if max(row) > -math.inf] or [[0.0] * 4], np.float32)
    expected = route(TopK(k, renorm=renorm), logits)
    weights, mask = np.zeros(logits.shape), np.zeros(logits.shape, np.bool_)
    assert (top_k if is_compiled else getattr(top_k, "py_func", top_k))(logits, k, renorm, weights, mask)
    np.testing.assert_array_equal(mask, expected.mask)
    np.testing.assert_allclose(weights, expected.weights, rtol=1e-14, atol=1e-60)


def test_mix_own_multiplies_router_and_experts():
    of_router, own = np.array([[0.5, 0.25, 0.25], [0.75, 0.25, 0.0]]), np.array([[0.2, 0.8, 0.4], [0.0] * 3])
    logits = np.full((2, 3), -np.inf, np.float32)
    np.log(of_router, where=of_router > 0.0, out=logits, casting="same_kind")
    weights, proba = np.empty((2, 3)), np.empty((2, 3))
    mix_own(logits + np.float32(7.0), own, weights, proba)
    np.testing.assert_allclose(weights, of_router, rtol=1e-6)
    np.testing.assert_allclose(proba, [[0.25, 0.5, 0.25], [0.75, 0.25, 0.0]], rtol=1e-6)


def test_of_equally_probable_classes_the_first_is_best():
    best = np.empty(3, np.int64)
    first_best(np.array([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0], [0.0, 0.1, 0.9]]), best)
    assert best.tolist() == [1, 0, 2]
