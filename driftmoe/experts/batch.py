"""Samples in the form in which experts and the router read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from driftmoe.encoding import Sample


class Batch(NamedTuple):
    """Samples without new features, values or classes, as each kind of expert reads them; for learning, their labels.

    Attributes
    ----------
    vectors
        What trees read: float64, shape (n_rows, n_features).
    inputs
        What the router, neighbours, linear models and networks read: float32, standardised, shape (n_rows, n_inputs).
    samples
        What river classifiers read: a cleaned dictionary a row; empty where no expert reads it.
    n_classes
        Classes known, those of the batch included.
    nominal
        Columns of vectors that hold codes.
    targets
        Class indices, shape (n_rows,); empty for predicting.
    weights
        Of the samples, above 0, shape (n_rows,); empty for predicting.
    """

    vectors: np.ndarray
    inputs: np.ndarray
    samples: Sequence[Sample]
    n_classes: int
    nominal: Sequence[int] = ()
    targets: np.ndarray = np.empty(0, np.int64)
    weights: np.ndarray = np.empty(0)
