"""Checks and conversion of samples, targets and weights, to the types and shapes that a pool takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from driftmoe.encoding import MAX_ABSOLUTE
from driftmoe.trees import scan

MAX_CODE = 65_535
"""Largest code of a nominal value: every leaf has a place for each value up to the largest seen."""

MAX_CLASS = 65_535
"""Largest target: every leaf has a place for each class up to the largest seen."""

NO_TARGETS = np.empty((0, 1), np.int64)
"""Targets for `steps.step` if nothing is to be learnt."""


def as_block(vectors: ArrayLike) -> tuple[np.ndarray, bool]:
    """Return a block of float64, and whether a single sample was given."""
    block = _writeable(np.ascontiguousarray(vectors, dtype=np.float64))
    if np.ndim(vectors) == 1:
        return block[np.newaxis], True
    if block.ndim != 2:
        raise ValueError(f"samples of shape {block.shape}; give (n_features,) or (n_rows, n_features)")
    return block, False


def as_lessons(
    n_rows: int, is_single: bool, targets: ArrayLike, weights: ArrayLike | None, n_experts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets (int64, for all trees or for each) and the weights (float64, for each tree) of some rows.

    Raises
    ------
    ValueError
        If the targets are not integers, or the shapes do not fit.
    """
    target_array = np.ascontiguousarray(targets)
    if target_array.size and target_array.dtype.kind not in "iu":
        raise ValueError(f"targets are {target_array.dtype}; give the indices of the classes as integers")
    target_array = _writeable(target_array.astype(np.int64, copy=False))
    if target_array.ndim < 2:
        target_array = target_array.reshape((1, -1) if is_single else (-1, 1))
    if weights is None:
        weight_array = np.ones((n_rows, n_experts))
    else:
        weight_array = _writeable(np.ascontiguousarray(weights, dtype=np.float64))
        if weight_array.ndim == 1:
            weight_array = weight_array[np.newaxis]
    shapes = (n_rows, 1), (n_rows, n_experts)
    if target_array.shape not in shapes or weight_array.shape != (n_rows, n_experts):
        raise ValueError(
            f"{n_rows} samples, targets of shape {np.shape(targets)} and weights of shape {weight_array.shape} "
            f"do not fit; give one target a sample, or one for each tree as in weights ({n_rows}, {n_experts})"
        )
    return target_array, weight_array


def check(block: np.ndarray, targets: np.ndarray, weights: np.ndarray, value_start: np.ndarray) -> None:
    """Raise ValueError if a number, code, target or weight is out of range.

    Parameters
    ----------
    block, targets, weights
        Shape (n_rows, n_features), (n_rows, 1 or n_experts) and (n_rows, n_experts), or 0 rows.
    value_start
        NONE for each numeric column; columns beyond its end are numeric.
    """
    what, row, column = scan.first_wrong(
        block, targets, weights, value_start, MAX_ABSOLUTE, MAX_CODE, MAX_CLASS
    )
    if what == scan.NUMBER:
        raise ValueError(
            f"row {row}, column {column} is {block[row, column]}; numbers must lie within ±{MAX_ABSOLUTE:g}: clip "
            "it, or give NaN if it is missing"
        )
    if what == scan.CODE:
        raise ValueError(
            f"row {row}, nominal column {column} is {block[row, column]}; allowed are the codes 0, 1, ... "
            f"{MAX_CODE}, and NaN for a missing value"
        )
    if what == scan.TARGET:
        raise ValueError(
            f"target {targets[row, column]} in row {row}; allowed are the indices 0, 1, ... {MAX_CLASS}"
        )
    if what == scan.WEIGHT:
        raise ValueError(
            f"weight {weights[row, column]} in row {row} for expert {column}; choose a finite weight of 0 or more"
        )


def fit(block: np.ndarray, n_features: int) -> np.ndarray:
    """Return the block with as many columns as there are features: cut, or filled up with missing values."""
    n_columns = block.shape[1]
    if n_columns == n_features:
        return block
    if n_columns > n_features:
        return np.ascontiguousarray(block[:, :n_features])
    fitted = np.full((len(block), n_features), np.nan)
    fitted[:, :n_columns] = block
    return fitted


def _writeable(array: np.ndarray) -> np.ndarray:
    """Return a writeable array, so that the kernels need not be compiled for read-only ones too."""
    return array if array.flags.writeable else array.copy()
