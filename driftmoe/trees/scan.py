"""Kernels that look through a block of samples before the trees see it."""

from __future__ import annotations

import math

from driftmoe.compilation import checking_kernel
from driftmoe.trees.nodes import NONE

NOTHING, NUMBER, CODE, TARGET, WEIGHT = 0, 1, 2, 3, 4
"""What is out of range: nothing, a number, the code of a nominal value, a target, or a weight."""


@checking_kernel
def first_wrong(block, targets, weights, value_start, max_value, max_code, max_class):
    """Return (what, row, column) of the first entry out of range; what: NOTHING, NUMBER, CODE, TARGET or WEIGHT."""
    for row in range(block.shape[0]):
        for f in range(block.shape[1]):
            value = block[row, f]
            if abs(value) > max_value:
                return NUMBER, row, f
            is_code = 0.0 <= value <= max_code and value == math.floor(value)
            if f < value_start.shape[0] and value_start[f] != NONE and value == value and not is_code:
                return CODE, row, f
    for row in range(targets.shape[0]):
        for column in range(targets.shape[1]):
            if targets[row, column] < 0 or targets[row, column] > max_class:
                return TARGET, row, column
    for row in range(weights.shape[0]):
        for e in range(weights.shape[1]):
            if not 0.0 <= weights[row, e] <= max_value:
                return WEIGHT, row, e
    return NOTHING, 0, 0


@checking_kernel
def count_values(block, nominal, n_values):
    """Raise the number of values of each nominal feature to what a block needs; return whether one changed."""
    has_new = False
    for f in nominal:
        if f < block.shape[1]:
            for row in range(block.shape[0]):
                if block[row, f] >= n_values[f]:
                    n_values[f] = int(block[row, f]) + 1
                    has_new = True
    return has_new
