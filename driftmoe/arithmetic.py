"""exp, log and related functions that give the same result on every machine, to the last bit.

IEEE 754 fixes how a processor rounds +, -, *, / and square roots. It does not fix exp and log: each mathematical
library computes them in its own way, and in another way where there are fused products or wide registers. Here they
consist of the fixed operations alone, in an order that a compiler without fast-math flags must keep. It may process
several numbers at once, which changes no result. The error of each function is below 0.8 units in the last place
(`expm1`: below 1). Each has the usual values at 0, infinities and NaN, and none except `erf` has a branch.

Functions of one number work in compiled code and in Python, and convert ints and float32 to float64. Functions of
arrays, named `..._of`, take an array of any shape and return a new one.

The constants are computed at import with `decimal`, which gives the same digits everywhere. The two polynomials were
fitted once, with the Remez exchange algorithm in 200 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from driftmoe.compilation import checking_kernel, compiled, kernel

function = compiled(_nrt=False, forceinline=True)  # inlined, so that a loop over it can be vectorised
table_function = compiled(_nrt=False)


def _in_parts(value: Decimal, n_bits: int) -> tuple[float, float]:
    """Return the leading bits of a positive number as a float, and the rest as the nearest float."""
    high = float(value)
    mantissa = np.float64(high).view(np.int64) >> (53 - n_bits) << (53 - n_bits)
    high = float(mantissa.view(np.float64))
    return high, float(value - Decimal(high))


def _erf_table() -> np.ndarray:
    """Return erf in two parts and the coefficients of its Taylor series from degree 1, at each multiple of 1/8 up to 6.

    If the first coefficient c is near 1, the table holds c - 1, because d + d * (c - 1) is more accurate than d * c.
    The derivative is g(x) = 2 / sqrt(pi) * exp(-x^2), and g' = -2 x g gives each coefficient from the two before.
    """
    pi = Decimal("3.14159265358979323846264338327950288419716939937511")
    table = np.empty((6 * ERF_CELLS + 1, 2 + ERF_DEGREE))
    value = Decimal(0)
    for i in range(len(table)):
        x = Decimal(i) / ERF_CELLS
        slope = 2 / pi.sqrt() * (-x * x).exp()
        slopes = [slope, -2 * x * slope]
        for n in range(1, 28):
            slopes.append(-2 * (x * slopes[n] + slopes[n - 1]) / (n + 1))
        coefficients = [s / (n + 1) for n, s in enumerate(slopes)]
        table[i, :2] = float(value), float(value - Decimal(float(value)))
        table[i, 2:] = [
            float(c - (n == 0 and i <= ERF_STEEP)) for n, c in enumerate(coefficients[:ERF_DEGREE])
        ]
        step = Decimal(1) / ERF_CELLS  # the same series gives erf at the next point
        for n, c in enumerate(coefficients):
            value += c * step ** (n + 1)
    return table


SHIFT = 6755399441055744.0  # 1.5 * 2^52: adding it rounds a number below 2^51 to an integer, held in the lowest bits
SHIFT_BITS = 0x4338000000000000
ROOT_BITS = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)
SMALLEST_NORMAL = 2.2250738585072014e-308
ERF_CELLS = 8  # expansion points per unit
ERF_DEGREE = 13  # an odd number
ERF_STEEP = 4  # index of the last expansion point whose slope is closer to 1 than to 0

with localcontext(prec=50):
    LN2 = Decimal(2).ln()
    LN2_HIGH, LN2_LOW = _in_parts(LN2, 42)  # the first times an exponent (11 bits) is exact
    LOG2_E = float(1 / LN2)
    LOG2_E_HIGH, LOG2_E_LOW = _in_parts(1 / LN2, 32)
    ERF = _erf_table()


# --- exponentials -----------------------------------------------------------------------------------------------------


@function
def power_of_two(n):  # type: ignore[no-untyped-def]
    """Return 2^n for an integer n from -1022 to 1023."""
    return np.int64((np.int64(n) + 1023) << 52).view(np.float64)


@function
def exp_parts(x):  # type: ignore[no-untyped-def]
    """Return n, r, t, l with e^x = 2^n * (1 + r + t + l): |r| < 0.35, t = r^2/2 + ..., l corrects a rounding error."""
    shifted = x * LOG2_E + SHIFT
    k = shifted - SHIFT
    high, low = x - k * LN2_HIGH, k * LN2_LOW
    r = high - low
    # (e^r - 1 - r) / r^2, with an error below 2^-61
    r2 = r * r
    r4 = r2 * r2
    q = (
        ((0.5 + 0.16666666666666685 * r) + (0.04166666666666673 + 0.008333333333316739 * r) * r2)
        + ((0.0013888888888858512 + 0.00019841269897059505 * r)
           + (2.480158737361031e-05 + 2.7557234236239055e-06 * r) * r2) * r4
        + ((2.755723346709309e-07 + 2.511224003170711e-08 * r) + 2.0926911196817147e-09 * r2) * (r4 * r4)
    )  # fmt: skip
    return np.float64(shifted).view(np.int64) - SHIFT_BITS, r, r2 * q, (high - r) - low


@function
def exp(x):  # type: ignore[no-untyped-def]
    """Return e^x."""
    x = np.float64(x)
    x = 710.0 if x > 710.0 else x  # the result is infinity above 710, and 0 below -746
    x = -746.0 if x < -746.0 else x
    n, r, tail, lost = exp_parts(x)
    one = 1.0 + r
    y = one + ((r - (one - 1.0)) + lost + tail)
    half = n >> 1  # 2^n may be out of range even if the result is not
    return y * power_of_two(half) * power_of_two(n - half)


@function
def expm1(x):  # type: ignore[no-untyped-def]
    """Return e^x - 1, accurately even if x is tiny."""
    x = np.float64(x)
    bounded = 710.0 if x > 710.0 else x
    bounded = -60.0 if bounded < -60.0 else bounded
    n, r, tail, lost = exp_parts(bounded)
    p = r + tail
    lost += tail - (p - r)
    scale = power_of_two(n - 1)  # everything is halved, because 2^1024 is out of range
    one, part = scale - 0.5, scale * p
    total = one + part
    # Which summand is larger depends on x, so the rounding error is computed by Knuth's two-sum.
    back = total - one
    lost = scale * lost + ((one - (total - back)) + (part - back)) + (scale - (one + 0.5))
    result = 2.0 * (total + lost)
    return x if abs(x) < 1e-17 else result


# --- logarithms -------------------------------------------------------------------------------------------------------


@function
def log_parts(x):  # type: ignore[no-untyped-def]
    """Return k, h, l with log(x) = k * log(2) + h + l, where k is an integer and h is the larger part of the rest.

    Let x = 2^k * (1 + f) with 1 + f from sqrt(1/2) to sqrt(2), and s = f / (2 + f). Then log(1 + f) = 2 artanh(s). Its
    series begins with 2s + 2/3 s^3. Here 2s = f - (1 - s) f^2/2, whose first two terms are exact or nearly exact.
    """
    is_small = x < SMALLEST_NORMAL
    bits = np.float64(x * 18014398509481984.0 if is_small else x).view(np.int64)  # 2^54
    n = (bits - ROOT_BITS) >> 52
    f = np.int64(bits - (n << 52)).view(np.float64) - 1.0
    k = (np.int64(n + SHIFT_BITS).view(np.float64) - SHIFT) - (54.0 if is_small else 0.0)
    s = f / (2.0 + f)
    z = s * s
    z2 = z * z
    # 2 artanh(s) / s - 2, with an error below 2^-58
    rest = z * (
        (0.6666666666666734 + 0.399999999994143 * z)
        + (0.28571428742479216 + 0.22222198563106751 * z) * z2
        + ((0.18183564884294312 + 0.1531403541669407 * z) + 0.1479610943126709 * z2) * (z2 * z2)
    )
    half_square = 0.5 * f * f
    high = f - half_square
    return k, high, ((f - high) - half_square) + s * (half_square + rest)


@function
def log_sum(k, high, low):  # type: ignore[no-untyped-def]
    """Add up the parts of a logarithm, and correct the rounding error of the first sum."""
    top = k * LN2_HIGH
    total = top + high
    return total + (((top - total) + high) + (low + k * LN2_LOW))


@function
def log_or_limit(x, value):  # type: ignore[no-untyped-def]
    """Return `value`, or the right result if x is not a positive finite number."""
    value = value if x < np.inf else x
    value = value if x != 0.0 else -np.inf
    return np.nan if x < 0.0 else value


@function
def log(x):  # type: ignore[no-untyped-def]
    """Return the natural logarithm of x: -inf if x is 0, NaN if x is negative."""
    x = np.float64(x)
    k, high, low = log_parts(x)
    return log_or_limit(x, log_sum(k, high, low))


@function
def log1p(x):  # type: ignore[no-untyped-def]
    """Return log(1 + x), accurately even if x is tiny."""
    x = np.float64(x)
    one = 1.0 + x
    back = one - 1.0
    lost = (1.0 - (one - back)) + (x - back)
    k, high, low = log_parts(one)
    value = log_or_limit(one, log_sum(k, high, low + lost / one))
    return x if abs(x) < 1e-17 else value


@function
def log2(x):  # type: ignore[no-untyped-def]
    """Return the logarithm to base 2, which is exact if x is a power of 2."""
    x = np.float64(x)
    k, high, low = log_parts(x)
    leading = np.int64(np.float64(high).view(np.int64) & ~0xFFFFFFFF).view(np.float64)
    top = leading * LOG2_E_HIGH  # exact: 21 bits by 32
    rest = ((high - leading) + low) * LOG2_E + leading * LOG2_E_LOW
    total = k + top
    return log_or_limit(x, total + (((k - total) + top) + rest))


# --- others -----------------------------------------------------------------------------------------------------------


@table_function
def erf(x):  # type: ignore[no-untyped-def]
    """Return the error function of x, by its Taylor series about the nearest multiple of 1/8."""
    x = np.float64(x)
    a = abs(x)
    if not a < 6.0:  # 1 to the last bit, or NaN
        return math.copysign(1.0, x) if a >= 6.0 else x
    i = np.int64(a * ERF_CELLS + 0.5)
    d = a - np.float64(i) / ERF_CELLS
    d2 = d * d
    even, odd = ERF[i, ERF_DEGREE + 1], ERF[i, ERF_DEGREE]  # terms of even and of odd degree, highest first
    for column in range(ERF_DEGREE - 1, 2, -2):
        even = even * d2 + ERF[i, column]
        odd = odd * d2 + ERF[i, column - 1]
    series = (even * d2 + ERF[i, 2]) + odd * d
    part = d if i <= ERF_STEEP else 0.0
    total = ERF[i, 0] + part
    lost = (ERF[i, 0] - total) + part
    return math.copysign(total + (lost + (d * series + ERF[i, 1])), x)


@table_function
def whole_power(base, n):  # type: ignore[no-untyped-def]
    """Return base^n for an integer n >= 0, by squaring. The error is at most n units in the last place."""
    base, n = np.float64(base), np.int64(n)
    result = 1.0
    while n > 0:
        if n & 1 == 1:
            result *= base
        base *= base
        n >>= 1
    return result


# --- arrays -----------------------------------------------------------------------------------------------------------


@checking_kernel
def write_exp(values, out):  # type: ignore[no-untyped-def]
    """Write e^x of each number."""
    for i in range(values.shape[0]):
        out[i] = exp(values[i])


@checking_kernel
def write_expm1(values, out):  # type: ignore[no-untyped-def]
    """Write e^x - 1 of each number."""
    for i in range(values.shape[0]):
        out[i] = expm1(values[i])


@checking_kernel
def write_log(values, out):  # type: ignore[no-untyped-def]
    """Write the logarithm of each number."""
    for i in range(values.shape[0]):
        out[i] = log(values[i])


@checking_kernel
def write_log1p(values, out):  # type: ignore[no-untyped-def]
    """Write log(1 + x) of each number."""
    for i in range(values.shape[0]):
        out[i] = log1p(values[i])


def _of_each(kernel: Callable[[np.ndarray, np.ndarray], None], values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    out = np.empty(values.shape)
    kernel(np.ascontiguousarray(values).reshape(-1), out.reshape(-1))
    return out


def exp_of(values: Any) -> np.ndarray:
    """Return e^x of each number, float64 and of the same shape.

    Examples
    --------
    >>> exp_of([[0.0, 1.0]])
    array([[1.        , 2.71828183]])
    """
    return _of_each(write_exp, values)


def expm1_of(values: Any) -> np.ndarray:
    """Return e^x - 1 of each number, as `exp_of`."""
    return _of_each(write_expm1, values)


def log_of(values: Any) -> np.ndarray:
    """Return the natural logarithm of each number, as `exp_of`: -inf for 0, NaN for negative numbers."""
    return _of_each(write_log, values)


def log1p_of(values: Any) -> np.ndarray:
    """Return log(1 + x) of each number, as `exp_of`."""
    return _of_each(write_log1p, values)


@kernel
def largest_of(values):  # type: ignore[no-untyped-def]
    """Return the largest number, or any of them if one is NaN. numba takes longer to compile its own maximum."""
    largest = values[0]
    for i in range(1, values.shape[0]):
        largest = values[i] if values[i] > largest else largest
    return largest


@kernel
def first_of_largest(values):  # type: ignore[no-untyped-def]
    """Return where the largest number is, the first in a tie; of at least one number, none NaN.

    A kernel that calls numba's own `argmax` makes each start load all of numba's functions of arrays, and scipy.
    """
    first = 0
    for i in range(1, values.shape[0]):
        if values[i] > values[first]:
            first = i
    return first


@kernel
def to_proba(scores):  # type: ignore[no-untyped-def]
    """Replace scores by their softmax; float64, shape (at least 1,)."""
    largest, total = largest_of(scores), 0.0
    for c in range(scores.shape[0]):
        scores[c] = exp(scores[c] - largest)
        total += scores[c]
    for c in range(scores.shape[0]):
        scores[c] /= total


@compiled()
def softmax(outputs, first, proba):  # type: ignore[no-untyped-def]
    """Write the softmax of the outputs from column `first` on. A row's result does not depend on the other rows."""
    for row in range(outputs.shape[0]):
        for c in range(proba.shape[2]):
            proba[row, 0, c] = outputs[row, first + c]
        to_proba(proba[row, 0])


N_LANES = 16
"""Number of partial sums in a dot product."""


@kernel
def dot(a, b, lanes):  # type: ignore[no-untyped-def]
    """Return the dot product, over the length of `a`, in float32.

    Each lane sums every sixteenth product, then the lanes are added in pairs. So the order of summation does not depend
    on the width of the registers, and wide registers are used fully. `lanes` is room for the sums, shape (N_LANES,).
    """
    lanes[:] = np.float32(0.0)
    n = a.shape[0] // N_LANES * N_LANES
    for j in range(0, n, N_LANES):
        for lane in range(N_LANES):
            lanes[lane] += a[j + lane] * b[j + lane]
    for j in range(n, a.shape[0]):
        lanes[j - n] += a[j] * b[j]
    return sum_of_lanes(lanes)


@kernel
def sum_of_lanes(lanes):  # type: ignore[no-untyped-def]
    """Add the lanes in pairs, and return their sum; see `dot`."""
    half = N_LANES // 2
    while half > 0:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
    return lanes[0]


@compiled()
def top_k(logits, k, renorm, weights, mask):  # type: ignore[no-untyped-def]
    """Choose the `k` experts with the largest logits, weighted by their softmax: a fast version of `routing.TopK`.

    Parameters
    ----------
    logits
        Shape (n_rows, n_experts), n_experts >= k.
    k
        Number of experts per row; fewer if the others are out of service (a logit of -inf).
    renorm
        Whether the softmax is over the chosen experts alone.
    weights
        Result, shape (n_rows, n_experts).
    mask
        Result, bool, same shape.

    Returns
    -------
    is_valid
        False if a row has NaN, +inf or only -inf. Then `routing.TopK` raises the error.
    """
    n_rows, n_experts = logits.shape
    for row in range(n_rows):
        largest = total = 0.0
        for e in range(n_experts):
            total += logits[row, e]
            weights[row, e], mask[row, e] = 0.0, False
        if total != total or total == np.inf:
            return False
        total = 0.0
        for place in range(k):
            best = -1
            for e in range(n_experts):
                if not mask[row, e] and logits[row, e] > (-np.inf if best < 0 else logits[row, best]):
                    best = e
            if best < 0:
                break
            if place == 0:
                largest = logits[row, best]
            mask[row, best] = True
            weights[row, best] = exp(logits[row, best] - largest)
            total += weights[row, best]
        if total == 0.0:
            return False
        if not renorm:
            total = 0.0
            for e in range(n_experts):
                total += exp(logits[row, e] - largest)
        for e in range(n_experts):
            weights[row, e] /= total
    return True
