"""Streams with and without drift: `make(name)` returns a stream by its name, `names()` lists the names."""

from __future__ import annotations

import os

from streams import catalogue, sources

TYPE_CHECKING = False

if TYPE_CHECKING:
    from streams.real import Progress, fetch
    from streams.stream import Block, Drift, Feature, Stream

__all__ = ["Block", "Drift", "Feature", "Stream", "fetch", "make", "names"]


def names() -> list[str]:
    """Return the names that `make` knows: real streams, then synthetic ones."""
    return [*sources.SOURCES, *catalogue.SYNTHETIC]


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
    from streams import benchmark, real, synthetic  # late: names need neither river nor numba
    from streams.suggestions import meant

    if n_samples is not None and n_samples < 1:
        raise ValueError(f"n_samples={n_samples}; choose at least 1 sample, or None for the default length")
    if name in real.STREAMS:
        return real.STREAMS[name](seed, n_samples, data_dir=data_dir, progress=progress)
    if name in catalogue.SYNTHETIC:
        return (benchmark.STREAMS | synthetic.STREAMS)[name](seed, n_samples or benchmark.DEFAULT_N_SAMPLES)
    raise ValueError(f"unknown stream {name!r}; {meant(name, names(), 'streams.names() lists all.')}")


if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name or a submodule on first use: river, which streams inherit from, takes a second."""
        from importlib import import_module
        from importlib.util import find_spec

        if name in __all__:
            found = getattr(import_module("streams.real" if name == "fetch" else "streams.stream"), name)
        elif not name.startswith("_") and find_spec(f"streams.{name}"):
            return import_module(f"streams.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
