"""Open a stream by name: one of `streams.names()`, or a file."""

from __future__ import annotations

import warnings
from pathlib import Path

import streams
from streams import files
from streams.file_options import FileOptions
from streams.real import Progress
from streams.stream import Stream
from streams.suggestions import meant
from streams.wrapped import is_wrapped, open_wrapped

__all__ = ["FileOptions", "open_stream"]


def open_stream(
    name: str,
    options: FileOptions | None = None,
    *,
    limit: int | None = None,
    seed: int | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> Stream:
    """Open a stream by its name, or a file by its path.

    Parameters
    ----------
    name
        One of `streams.names()`, the path of a file, or a wrapper around one of them, such as
        `label-swap(elec2, position=20000)`.
    options
        How a file is read. For a stream known by name, only `on_bad_row` may be given; it has no effect there.
    limit
        Number of samples; `None` for all of a file or a real stream, and 1 000 000 of a synthetic one.
    seed
        Seed of a synthetic stream, and of wrappers; `None` means 1.
    data_dir, progress
        As in `streams.make`.

    Raises
    ------
    ValueError
        If the name is neither a stream nor a file, or an option of files is given for a stream known by name. Also as
        `streams.make` and `streams.files.open_file` raise it.
    OSError
        If the file cannot be read, or the data of a real stream cannot be found or fetched.

    Examples
    --------
    >>> from streams.opening import open_stream
    >>> open_stream("sea_a", limit=1000, seed=7).n_samples
    1000
    >>> open_stream("label-swap(sea, position=400, width=100)", limit=1000).drifts
    [Drift(position=400, width=100)]
    """
    options = options or FileOptions()
    if is_wrapped(name):

        def open_inner(inner: str, n_samples: int | None) -> Stream:
            return open_stream(
                inner, options, limit=n_samples, seed=seed, data_dir=data_dir, progress=progress
            )

        return open_wrapped(name, open_inner, limit=limit, seed=seed)
    if name in streams.names():
        for option, value in options.given().items():
            raise ValueError(
                f"{option}={value!r} is for files, and {name} is not a file but a stream known by name; "
                f"leave {option} out"
            )
        return streams.make(name, seed=seed, n_samples=limit, data_dir=data_dir, progress=progress)
    if not Path(name).is_file() and not name.lower().endswith(files.SUFFIXES):
        raise ValueError(
            f"unknown stream {name!r}; {meant(name, streams.names(), 'streams.names() lists all.')} Or give a file, "
            "which must exist"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", files.FileWarning)  # the stream's `notes` say the same
        return files.open_file(
            name,
            options.target,
            n_samples=limit,
            on_bad_row=options.on_bad_row,
            drop=options.drop,
            nominal=options.nominal,
            delimiter=options.delimiter,
            header=options.header,
            missing=options.missing,
            encoding=options.encoding,
        )
