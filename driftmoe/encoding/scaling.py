"""The router's inputs: numbers standardised online, and an input for each value of a nominal feature."""

from __future__ import annotations

import math

from driftmoe.compilation import compiled

OWN_INPUTS = 64
"""Number of values of a nominal feature that have an input of their own; all later ones share as many more."""

CLIP = 5.0
"""Standardised inputs are cut off at this many deviations, so that one wild value cannot throw the router."""

NONE = -1
"""Stands for no column, no input or no class."""

NOMINAL = -1.0
"""Value in place of the weight, for a column that holds codes, not numbers."""

COUNT, MEAN, M2 = 0, 1, 2
"""Rows of the moments: weight, mean, and sum of squared deviations."""


@compiled()
def write_inputs(vectors, inputs_of, moments, weights, inputs):  # type: ignore[no-untyped-def]
    """Write the router's inputs for each row, scaled by the rows before it; see `Encoder.inputs`.

    Parameters
    ----------
    vectors
        Shape (n_rows, n_features).
    inputs_of
        Index of the input of each number, or of each code; NONE if there is none.
    moments
        Weight, mean and sum of squared deviations of each number, shape (3, n_features). Each row is added with its
        weight.
    weights
        Shape (n_rows,); empty to leave the moments unchanged. A row of weight 0 does not change them.
    inputs
        Result, float32, shape (n_rows, n_inputs).

    References
    ----------
    Welford 1962, Note on a method for calculating corrected sums of squares and products; with weights West 1979,
    Updating mean and variance estimates: an improved method.
    """
    for row in range(vectors.shape[0]):
        for column in range(inputs.shape[1]):
            inputs[row, column] = 0.0
        for f in range(vectors.shape[1]):
            value = vectors[row, f]
            if value != value:
                continue
            n = moments[COUNT, f]
            if n == NOMINAL:
                code = int(value)
                column = inputs_of[f, code if code < OWN_INPUTS else OWN_INPUTS + code % OWN_INPUTS]
                if column != NONE:
                    inputs[row, column] = 1.0
                continue
            delta = value - moments[MEAN, f]
            deviation = math.sqrt(moments[M2, f] / n) if n > 0.0 else 0.0
            if deviation > 0.0:
                inputs[row, inputs_of[f, 0]] = min(max(delta / deviation, -CLIP), CLIP)
            if weights.shape[0] > 0 and weights[row] > 0.0:
                moments[COUNT, f] = n + weights[row]
                if n == 0.0:
                    moments[MEAN, f] = value  # exactly, so that rounding does not look like a deviation
                else:
                    moments[MEAN, f] += weights[row] * delta / moments[COUNT, f]
                moments[M2, f] += weights[row] * delta * (value - moments[MEAN, f])


def input_place(code: int) -> int:
    """Return the place of a code among the inputs of its feature: its own, or one that it shares."""
    return code if code < OWN_INPUTS else OWN_INPUTS + code % OWN_INPUTS
