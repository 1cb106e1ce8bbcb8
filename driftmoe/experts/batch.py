"""Samples in the formats that experts and the router read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from driftmoe.encoding import Sample

Rows = np.ndarray | None
"""An array with an entry for each row of a batch, or `None` for the default."""


class Batch(NamedTuple):
    """Samples in each format that experts read, and their labels for learning. Features, values and classes are known.

    Attributes
    ----------
    vectors
        For trees: float64, shape (n_rows, n_features).
    inputs
        For the router, neighbours, linear models and networks: float32, standardised, shape (n_rows, n_inputs).
    samples
        For river classifiers: a cleaned dictionary per row; empty if no expert reads it.
    n_classes
        Number of known classes, including those of the batch.
    nominal
        Columns of `vectors` that hold codes of nominal values.
    targets
        Class indices, shape (n_rows,); empty for predicting.
    weights
        Weights of the samples, above 0, shape (n_rows,); empty for predicting.
    """

    vectors: np.ndarray
    inputs: np.ndarray
    samples: Sequence[Sample]
    n_classes: int
    nominal: Sequence[int] = ()
    targets: np.ndarray = np.empty(0, np.int64)
    weights: np.ndarray = np.empty(0)
