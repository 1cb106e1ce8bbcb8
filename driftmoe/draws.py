"""Random numbers as a function of a key: the same on every machine, in any order, at every call.

A draw depends only on the seed and the number of the sample, and changes no state. So a step that is planned but not
carried out uses up no random numbers, and single rows get the same draws as rows in a block.

References
----------
Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators: the finaliser of SplitMix64. Salmon et al.
2011, Parallel random numbers: as easy as 1, 2, 3: counter-based generators.
"""

from __future__ import annotations

import numpy as np

from driftmoe.arithmetic import exp
from driftmoe.compilation import compiled, kernel

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_STEP = 1.0 / 9007199254740992.0  # 2^-53


@kernel
def keyed(key, number):  # type: ignore[no-untyped-def]
    """Return a new key (64 random bits) for a number under a key."""
    z = np.uint64(key) + (np.uint64(number) + np.uint64(1)) * _GAMMA
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@kernel
def uniform(key, number):  # type: ignore[no-untyped-def]
    """Return a number in the open interval (0, 1)."""
    return (np.float64(keyed(key, number) >> _11) + 0.5) * _STEP


@compiled()
def poisson(key, first, mean, draws):  # type: ignore[no-untyped-def]
    """Write Poisson draws. Each one depends only on the key, `first + row`, its column and the mean.

    Parameters
    ----------
    key
        uint64.
    first
        Number of the first row.
    mean
        At most a few hundred: exp(-mean) must be above 0 in float64.
    draws
        Result, float64, shape (n_rows, n_columns).

    References
    ----------
    Knuth 1969, The art of computer programming, vol. 2, sec. 3.4.1 F: count uniform numbers while their product is
    above exp(-mean).
    """
    limit = exp(-mean)
    for row in range(draws.shape[0]):
        of_row = keyed(key, first + row)
        for column in range(draws.shape[1]):
            of_draw = keyed(of_row, column)
            n = 0
            product = uniform(of_draw, 0)
            while product > limit:
                n += 1
                product *= uniform(of_draw, n)
            draws[row, column] = n


def between(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return what `rng.uniform` returns, as two operations that numpy's compiler cannot fuse into one rounding."""
    return low + (high - low) * rng.random(shape)
