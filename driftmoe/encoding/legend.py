"""The meaning of the numbers in a block, and the compiled loop that reads them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftmoe.compilation import compiled
from driftmoe.encoding.samples import MAX_ABSOLUTE
from driftmoe.encoding.scaling import NONE

UNLISTED = -2
"""Value in `Legend.starts` for a column whose values have to be looked up anew for each block."""


BEYOND = -3
"""Stands in the place of a column: the feature is ignored, because there are as many features as allowed."""


@dataclass
class Legend:
    """The meaning of the numbers in a block, as an encoder knew it.

    Attributes
    ----------
    columns
        Column of vectors for each column of the block, NONE for a feature never learnt, BEYOND for one that is ignored;
        int64, shape (n_columns,).
    starts, sizes
        Start of a column's list in `numbers`, and its length. The start is NONE for a column of plain numbers, and
        UNLISTED for one whose values have to be looked up for each block.
    unlisted
        Columns whose values have to be looked up: their list is long, or they are codes without a list.
    numbers
        What vectors hold for the values of all lists, NaN for a missing value; shape (sum of lengths,).
    is_new
        Which of these values the encoder has not seen; same shape.
    n_features
        Number of features that the encoder knew.
    n_codes
        Number of values that the encoder knew for each column, 0 for a number.
    """

    columns: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    unlisted: list[int]
    numbers: np.ndarray = field(init=False)
    is_new: np.ndarray = field(init=False)
    n_features: int = 0
    n_codes: list[int] = field(default_factory=list)


@compiled()
def read_block(X, columns, starts, sizes, numbers, is_new_number, vectors, is_new):  # type: ignore[no-untyped-def]
    """Write the vectors of a block and which rows are new, by a `Legend`; see `Encoder.vectors`.

    Returns
    -------
    wrong
        First column found with a number out of range, or with one that is not an index into its list; NONE if there is
        none.
    """
    for row in range(X.shape[0]):
        for i in range(X.shape[1]):
            value = X[row, i]
            start, column = starts[i], columns[i]
            if value != value or start == UNLISTED:
                continue
            if start == NONE:
                if not -MAX_ABSOLUTE <= value <= MAX_ABSOLUTE:
                    return i
                if column == NONE:
                    is_new[row] = True
                elif column >= 0:
                    vectors[row, column] = value
                continue
            if not 0.0 <= value < sizes[i] or value != int(value):
                return i
            place = start + int(value)
            if is_new_number[place]:
                is_new[row] = True
            if column >= 0:
                vectors[row, column] = numbers[place]
    return NONE


def check_indices(name: Hashable, of: Sequence[Any], numbers: np.ndarray) -> None:
    """Raise ValueError unless the numbers of a nominal feature are indices into its list, or NaN."""
    for value in numbers.tolist():
        if value == value and not (0.0 <= value < len(of) and value == int(value)):
            raise ValueError(
                f"feature {name!r} is {value}, an index into a list of {len(of)} values; choose a whole number from 0 "
                f"to {len(of) - 1}"
            )
