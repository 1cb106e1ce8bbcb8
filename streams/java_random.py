"""The random numbers of Java, from which every generator of MOA draws.

`java.util.Random` is specified to the bit. It is a 48-bit linear congruential generator (Knuth 1997, sec. 3.2.1), and
its top bits make integers and doubles. Normal numbers come from the polar method (Knuth 1997, sec. 3.4.1, algorithm P).
The polar method uses the logarithm of Java's `StrictMath`. This is the logarithm of the fdlibm library, and the C
library does not always give the same. `strict_log` computes it from IEEE additions, multiplications and divisions
alone, so that normal numbers too are the same on every machine.

A position is a small array, `state = seeded(seed)`, and each function moves it forward. The functions run compiled
inside the kernels of `streams.synthetic`, or as plain Python with `NUMBA_DISABLE_JIT=1`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from streams.kernel_cache import keep

MULTIPLIER = 0x5DEECE66D
MASK = (1 << 48) - 1

# state[SEED] is the 48-bit seed. The polar method makes normal numbers in pairs and keeps the second one:
# state[KEPT] is 1 if one is kept, and state[NORMAL] holds its 64 bits.
SEED, KEPT, NORMAL = 0, 1, 2


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, and keep the code on disk for the next process.

    If neither the package's folder nor the user's cache folder can be written, each process compiles for itself.
    """
    return keep(njit(function))


def seeded(seed: int) -> np.ndarray:
    """Return the state of `new java.util.Random(seed)`.

    Parameters
    ----------
    seed
        Any integer of 64 bits; Java uses the lower 48.

    Returns
    -------
    numpy.ndarray
        The state, int64, shape (3,), which the other functions read and advance.
    """
    return np.array([(seed ^ MULTIPLIER) & MASK, 0, 0], dtype=np.int64)


@kernel
def next_bits(state: np.ndarray, bits: int) -> int:
    """Advance once and return the top `bits` (1 to 32) of the 48 bits as a number of at least 0."""
    # int() keeps the product exact with the JIT off; compiled, it wraps and the lower 48 bits are right.
    state[SEED] = (int(state[SEED]) * MULTIPLIER + 0xB) & MASK
    return int(state[SEED]) >> (48 - bits)


@kernel
def next_int(state: np.ndarray) -> int:
    """Return the next integer of `Random.nextInt()`, from -2**31 to 2**31 - 1."""
    number = next_bits(state, 32)
    return number - (1 << 32) if number >= 1 << 31 else number


@kernel
def next_int_below(state: np.ndarray, bound: int) -> int:
    """Return the next integer of `Random.nextInt(bound)`, from 0 to `bound - 1`; `bound` is at least 1."""
    if bound & (bound - 1) == 0:
        return (bound * next_bits(state, 31)) >> 31
    while True:
        number = next_bits(state, 31)
        remainder = number % bound
        # The last, incomplete run of `bound` numbers below 2**31 would favour small remainders, so Java draws
        # again.
        if number - remainder + (bound - 1) < 1 << 31:
            return remainder


@kernel
def next_double(state: np.ndarray) -> float:
    """Return the next number of `Random.nextDouble()`, in [0, 1), of 53 random bits."""
    high = next_bits(state, 26)
    return ((high << 27) + next_bits(state, 27)) * 2.0**-53


@kernel
def next_float(state: np.ndarray) -> float:
    """Return the next number of `Random.nextFloat()`, in [0, 1), of 24 random bits."""
    return next_bits(state, 24) * 2.0**-24


@kernel
def next_boolean(state: np.ndarray) -> bool:
    """Return the next truth value of `Random.nextBoolean()`."""
    return next_bits(state, 1) == 1


@kernel
def next_gaussian(state: np.ndarray) -> float:
    """Return the next number of `Random.nextGaussian()`, normal with mean 0 and deviation 1."""
    if state[KEPT] == 1:
        state[KEPT] = 0
        return np.int64(state[NORMAL]).view(np.float64)
    while True:
        a = 2.0 * next_double(state) - 1.0
        b = 2.0 * next_double(state) - 1.0
        square = a * a + b * b
        if 0.0 < square < 1.0:
            break
    scale = math.sqrt(-2.0 * strict_log(square) / square)
    state[KEPT] = 1
    state[NORMAL] = np.float64(b * scale).view(np.int64)
    return a * scale


@kernel
def strict_log(x: float) -> float:
    """Return the natural logarithm as Java's `StrictMath.log` rounds it, for finite `x` above 0.

    With ``x = 2**k * (1 + f)`` and ``s = f / (2 + f)``, ``log(1 + f) = 2s + s R(s**2)``. R is a minimax polynomial of
    degree 14 in s. The comments of fdlibm's `e_log.c` give it, and also the bounds that decide how the parts are added.
    Each way of adding rounds differently, so the operations below must keep their order.
    """
    ln2_high, ln2_low = 6.93147180369123816490e-01, 1.90821492927058770002e-10
    mantissa, k = math.frexp(x)
    # The first 20 bits of the mantissa after its leading 1. The bounds below refer to them.
    bits = int((2.0 * mantissa - 1.0) * 1048576.0)
    if bits < 0x6A09C:  # 1 + f in [sqrt(2)/2, sqrt(2)]
        mantissa *= 2.0
        k -= 1
    f = mantissa - 1.0

    if bits == 0 or bits >= 0xFFFFE:  # |f| < 2**-20
        if f == 0.0:
            return k * ln2_high + k * ln2_low
        R = f * f * (0.5 - 0.33333333333333333 * f)
        return k * ln2_high - ((R - k * ln2_low) - f)

    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    odd = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    R = odd + even
    if 0x6147A <= bits <= 0x6B851:
        half = 0.5 * f * f
        return k * ln2_high - ((half - (s * (half + R) + k * ln2_low)) - f)
    return k * ln2_high - ((s * (f - R) - k * ln2_low) - f)
