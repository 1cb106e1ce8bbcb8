"""Streams with and without drift: `make(name)` returns a stream by its name, `names()` lists the names."""

from __future__ import annotations

import os

from streams import benchmark, real, synthetic
from streams.real import Progress, fetch
from streams.stream import Block, Drift, Feature, Stream

__all__ = ["Block", "Drift", "Feature", "Stream", "fetch", "make", "names"]

_SYNTHETIC = benchmark.STREAMS | synthetic.STREAMS


def names() -> list[str]:
    """Return the names that `make` knows: real streams, then synthetic ones."""
    return [*real.STREAMS, *_SYNTHETIC]


def make(
    name: str,
    seed: int | None = None,
    n_samples: int | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Stream:
    """Return a stream by its name.

    Parameters
    ----------
    name
        One of `names()`.
    seed
        Seed of a synthetic stream; `None` means 1, as in MOA. A real stream ignores it.
    n_samples
        Length. By default a synthetic stream has 1 000 000 samples and a real one all its rows. In a synthetic stream,
        positions and widths of drifts scale with the length.
    data_dir
        Folder to search first for the files of real streams; default `$DRIFTMOE_DATA`.
    progress
        Called as `progress(done_bytes, total_bytes, description)` while a file is fetched.

    Raises
    ------
    ValueError
        If the name is unknown or the length is below 1.
    FileNotFoundError
        If the file of a real stream is not found and cannot be fetched; the message says where to put it.

    Examples
    --------
    >>> import streams
    >>> stream = streams.make("sea", seed=7, n_samples=2)
    >>> [y for x, y in stream]
    [1, 1]
    """
    if n_samples is not None and n_samples < 1:
        raise ValueError(f"n_samples={n_samples}; choose at least 1 sample, or None for the default length")
    if name in real.STREAMS:
        return real.STREAMS[name](seed, n_samples, data_dir=data_dir, progress=progress)
    if name in _SYNTHETIC:
        return _SYNTHETIC[name](seed, n_samples or benchmark.DEFAULT_N_SAMPLES)
    raise ValueError(f"unknown stream {name!r}; available: {', '.join(names())}")
