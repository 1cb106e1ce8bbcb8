"""Some samples on their way through a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from driftmoe.encoding import Sample


class Batch(NamedTuple):
    """Samples that bring nothing new, as each kind of expert reads them, and for learning their labels.

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

    def of(self, part: Any) -> Any:
        """Return what an expert, or a pool of experts, reads of the rows."""
        return getattr(self, part.reads)
