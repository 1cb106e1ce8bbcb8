"""Twins of random numbers that are functions of a key: `driftmoe/draws.py`."""

from __future__ import annotations

import math


def keyed_slowly(key, number):
    """SplitMix64 (Steele, Lea & Flood 2014, fig. 14) started at the key, its output number `number`."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def uniform_slowly(key, number):
    """The middle of one of 2^53 equal parts of the interval from 0 to 1."""
    return (keyed_slowly(key, number) // 2**11 + 0.5) / 2**53


def poisson_slowly(key, row, column, mean):
    """Knuth: as many uniform numbers as their product is above exp(-mean)."""
    of_draw = keyed_slowly(keyed_slowly(key, row), column)
    n, product = 0, uniform_slowly(of_draw, 0)
    while product > math.exp(-mean):
        n += 1
        product *= uniform_slowly(of_draw, n)
    return n
