"""Random numbers as functions of a key, against their readable twin and against what they should be like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.draws import keyed_slowly, poisson_slowly, uniform_slowly

from driftmoe.compilation import compiled
from driftmoe.draws import between, keyed, poisson, uniform

KEYS = st.integers(0, 2**64 - 1)


@compiled()
def draw_keyed(key, numbers, out):
    for i in range(numbers.shape[0]):
        out[i] = keyed(key, numbers[i])


@compiled()
def draw_uniform(key, numbers, out):
    for i in range(numbers.shape[0]):
        out[i] = uniform(key, numbers[i])


def many_uniform(key, n):
    draws = np.empty(n)
    draw_uniform(np.uint64(key), np.arange(n), draws)
    return draws


def many_poisson(key, mean, shape, first=0):
    draws = np.empty(shape)
    poisson(np.uint64(key), first, mean, draws)
    return draws


def test_the_first_keys_under_a_seed_are_those_of_splitmix64():
    """The first outputs that Vigna's public splitmix64.c gives for the seed 1234567."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [keyed_slowly(1234567, i) for i in range(4)] == expected


@given(key=KEYS, number=st.integers(0, 2**62))
@settings(deadline=None)
def test_keys_and_uniform_numbers_are_their_readable_twins(key, number):
    numbers, keys, draws = np.array([number, 0]), np.empty(2, np.uint64), np.empty(2)
    draw_keyed(np.uint64(key), numbers, keys)
    draw_uniform(np.uint64(key), numbers, draws)
    assert keys.tolist() == [keyed_slowly(key, number), keyed_slowly(key, 0)]
    assert draws.tolist() == [uniform_slowly(key, number), uniform_slowly(key, 0)]


@given(key=KEYS, first=st.integers(0, 10**9), mean=st.sampled_from([0.01, 0.5, 1.0, 6.0, 40.0]))
@settings(deadline=None)
def test_poisson_draws_are_their_readable_twin(key, first, mean):
    expected = [[poisson_slowly(key, first + row, column, mean) for column in range(3)] for row in range(4)]
    assert many_poisson(key, mean, (4, 3), first).tolist() == expected


def test_rows_drawn_one_by_one_are_those_of_a_block():
    block = many_poisson(7, 6.0, (50, 12), first=1000)
    rows = [many_poisson(7, 6.0, (1, 12), first=1000 + row)[0] for row in range(50)]
    assert block.tolist() == np.array(rows).tolist()
    assert block[:, :5].tolist() == many_poisson(7, 6.0, (50, 5), first=1000).tolist()


def test_uniform_numbers_fill_the_interval_evenly():
    draws = many_uniform(3, 100_000)
    assert draws.min() > 0.0
    assert draws.max() < 1.0
    counts, _ = np.histogram(draws, bins=100, range=(0.0, 1.0))
    chi_square = ((counts - 1000.0) ** 2 / 1000.0).sum()
    assert abs(chi_square - 99.0) < 4.0 * math.sqrt(2.0 * 99.0)


@pytest.mark.parametrize("mean", [0.1, 1.0, 6.0, 100.0])
def test_mean_and_variance_of_poisson_draws_are_the_mean(mean):
    n = 40_000
    draws = many_poisson(5, mean, (n // 10, 10)).ravel()
    assert draws.mean() == pytest.approx(mean, abs=4.0 * math.sqrt(mean / n))
    # The variance of a sample variance: (fourth central moment - variance²) / n, the former mean + 3 mean².
    assert draws.var() == pytest.approx(mean, abs=4.0 * math.sqrt((mean + 2.0 * mean**2) / n))


def test_draws_of_neighbouring_rows_columns_and_keys_have_nothing_to_do_with_each_other():
    draws = many_poisson(5, 6.0, (20_000, 2))
    other = many_poisson(6, 6.0, (20_000, 2))
    for a, b in ((draws[:-1, 0], draws[1:, 0]), (draws[:, 0], draws[:, 1]), (draws[:, 0], other[:, 0])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4.0 / math.sqrt(len(a))


def test_numbers_between_two_bounds_are_those_of_numpy():
    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    for bound in (0.1, 1.0, 0.3333):
        drawn = between(ours, -bound, bound, (3, 50))
        np.testing.assert_allclose(drawn, theirs.uniform(-bound, bound, (3, 50)), rtol=0, atol=1e-15)
