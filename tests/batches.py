"""Batches for tests of single experts."""

from __future__ import annotations

import numpy as np

from driftmoe.experts import Batch
from driftmoe.experts.batch import learnt_of


def batch(read, n_classes, targets=None, weights=None):
    """Return a batch of which experts read an array of numbers, or a list of samples; each row weighs 1 by default."""
    of_learning = {}
    if targets is not None:
        once = np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)
        of_learning = {"targets": np.asarray(targets, np.int64), "weights": once, "learnt": learnt_of(once)}
    if isinstance(read, list):
        none = np.empty((len(read), 0))
        return Batch(none, none.astype(np.float32), read, n_classes, **of_learning)
    return Batch(np.asarray(read, np.float64), np.asarray(read, np.float32), (), n_classes, **of_learning)
