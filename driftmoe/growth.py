"""Arrays that grow: old entries keep their places, and new ones are zero."""

from __future__ import annotations

import numpy as np


def enlarged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array enlarged to a shape that is no smaller in any dimension, or itself if it has that shape."""
    if array.shape == shape:
        return array
    larger = np.zeros(shape, array.dtype)
    if array.size:
        larger[tuple(map(slice, array.shape))] = array
    return larger
