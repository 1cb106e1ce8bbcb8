"""Arrays that grow: what was in them stays where it was, and the rest is zero."""

from __future__ import annotations

import numpy as np


def enlarged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array with this shape, at least as long in every direction; itself if it has the shape already."""
    if array.shape == shape:
        return array
    larger = np.zeros(shape, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger
