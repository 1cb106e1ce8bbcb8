"""Sums written for LLVM against their readable twins, to the last bit."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from driftmoe.lanes import N_SUMS, active, add_rows, square_sums

needs_compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is no compiled code to look at")


@numba.njit
def added(out, at, n_out, rows, start, step, amounts, first, stride, chosen, n):
    add_rows(out, at, n_out, rows, start, step, amounts, first, stride, chosen, n)


@numba.njit
def summed(x, mean, precision):
    return square_sums(x, mean, precision)


@numba.njit
def found(amounts, chosen):
    return active(amounts, chosen)


@pytest.mark.parametrize("n_out", [1, 2, 3, 4, 5, 11, 12, 13, 15, 16, 17, 28, 29, 63, 64, 65, 127, 144, 200])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
def test_rows_are_added_in_their_order(n_out, n):
    rng = np.random.default_rng(1000 * n_out + n)
    rows = rng.normal(size=(50, n_out)).astype(np.float32)
    amounts = rng.normal(size=(50, 3)).astype(np.float32)
    chosen = np.append(rng.permutation(50)[:n], 49)  # the last is not asked for
    out = rng.normal(size=(3, n_out)).astype(np.float32)
    expected = out.copy()
    for k in chosen[:n]:
        expected[1] += amounts[k, 1] * rows[k]
    added(out, n_out, n_out, rows, 0, n_out, amounts, 1, 3, chosen, n)
    np.testing.assert_array_equal(out, expected)


def test_a_part_of_each_row_is_added():
    rows, out = np.arange(24, dtype=np.float32).reshape(4, 6), np.zeros(8, np.float32)
    added(out, 2, 3, rows, 1, 6, np.float32([10.0, 0.0, 1.0, 0.0]), 0, 1, np.array([0, 2]), 2)
    assert out.tolist() == [0.0, 0.0, 10.0 * 1 + 13, 10.0 * 2 + 14, 10.0 * 3 + 15, 0.0, 0.0, 0.0]


def test_product_and_sum_are_each_rounded():
    tiny = np.float32(2.0**-13)
    out = np.float32([-1.0])
    added(out, 0, 1, np.float32([1.0 + tiny]), 0, 1, np.float32([1.0 + tiny]), 0, 1, np.array([0]), 1)
    rounded = np.float32(1.0 + tiny) * np.float32(1.0 + tiny)
    assert out[0] == rounded - np.float32(1.0)
    assert out[0] != np.float32(float(1.0 + tiny) ** 2 - 1.0)  # what one rounding would have given


@pytest.mark.parametrize("n", [*range(10), 24, 54, 101])
def test_squares_go_to_the_sum_of_their_lane(n):
    rng = np.random.default_rng(n)
    x, mean, precision = rng.normal(size=(3, n))
    expected = [0.0] * N_SUMS
    for f in range(n - n % N_SUMS):
        expected[f % N_SUMS] += (x[f] - mean[f]) * (x[f] - mean[f]) * precision[f]
    assert list(summed(x, mean, precision)) == expected


def test_what_is_not_zero_is_found():
    chosen = np.full(7, -1)
    assert found(np.float32([0.0, 2.0, -0.0, np.nan, 1e-45, 0.0]), chosen) == 3
    assert chosen[:3].tolist() == [1, 3, 4]


@needs_compiled
def test_other_types_are_refused():
    with pytest.raises(numba.TypingError):
        summed(np.ones(4, np.float32), np.ones(4), np.ones(4))
    with pytest.raises(numba.TypingError):
        added(np.ones(4), 0, 4, np.ones(4), 0, 4, np.ones(4), 0, 1, np.array([0]), 1)
