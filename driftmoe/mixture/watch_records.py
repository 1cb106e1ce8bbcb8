"""What the drift detector records of an event, and the way of records into a state and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftmoe.state import State, array_of, check_names

RECORD = np.dtype(
    [
        # Number of the learnt sample, from 1.
        ("sample", np.int64),
        # Drift and warning: the sample at which errors began to rise. Else the first class, feature or expert.
        ("first", np.int64),
        # Drift: experts named. Tree replaced: how often. Else how many classes or features.
        ("number", np.int64),
        # Drift and warning: samples since the rise began. Tree replaced: votes that `before` is the mean of.
        ("n_samples", np.int64),
        # Error of the mixture, or of the expert whose tree was replaced.
        ("before", np.float64),
        ("after", np.float64),
    ]
)

RISE = np.dtype([("expert", np.int64), ("n_votes", np.int64), ("before", np.float64), ("after", np.float64)])
"""The error of an expert before and after a drift, and its votes after it."""


def fields_of(rows: np.ndarray) -> State:
    """Return a copy of each field of some records."""
    return {name: rows[name].copy() for name in rows.dtype.names or ()}


def fill(ring: np.ndarray, places: list[int], state: Any, owner: str) -> None:
    """Put the records of a state into their places of a ring."""
    names = ring.dtype.names or ()
    check_names(state, names, owner)
    for name in names:
        shape = (len(places), *ring.shape[1:])
        ring[name][places] = array_of(state, name, ring.dtype[name], shape, owner)
