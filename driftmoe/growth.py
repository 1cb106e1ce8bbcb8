"""Arrays that grow: old entries keep their places, and new ones are zero."""

from __future__ import annotations

import numpy as np

FEW_PAGES = 16_384
"""Bytes below which to look for zeros takes longer than to copy them."""


def enlarged(array: np.ndarray, shape: tuple[int, ...], *, is_sparse: bool = False) -> np.ndarray:
    """Return the array enlarged to a shape that is no smaller in any dimension, or itself if it has that shape.

    `is_sparse` says that most of its numbers, of 8 bytes, are zero; see `carry`.
    """
    if array.shape == shape:
        return array
    larger = np.zeros(shape, array.dtype)
    if array.size:
        place = larger[tuple(map(slice, array.shape))]
        if is_sparse:
            carry(array, place)
        else:
            place[...] = array
    return larger


def carry(array: np.ndarray, place: np.ndarray) -> None:
    """Copy an array of 8-byte numbers to a place of its shape that is zero, without writing its zeros.

    The system gives a process no memory for pages that it has not written, and to write them takes most of the time.
    What is smaller than some pages is copied as it is.
    """
    if place.nbytes < len(place) * FEW_PAGES:
        place[...] = array
        return
    for old, new in zip(array, place, strict=True):
        is_written = old.view(np.int64) != 0  # bits, of which those of -0.0 are not zero
        if is_written.any():
            np.copyto(new, old, where=is_written)
