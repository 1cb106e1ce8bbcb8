"""Real data sets as streams.

A file is looked for in the folder `data_dir` (or that of the environment variable `DRIFTMOE_DATA`), then in the user's
cache folder. If neither has it, it is fetched: `electricity`, `weather` and `covtype` from the source distribution of
scikit-multiflow 0.4.1 on the Python package index, the others from the public locations that river and CapyMOA use,
tried one after the other. Many have one location, and some none, since only copies of them circulate.

`sources` holds the facts about each data set, `cache` checks and keeps files, and `fetching` downloads them.

Real data have one order and no seed: a seed is accepted and ignored. `n_samples` takes the first rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from streams import cache
from streams.cache import (
    cache_dir,
    checked,
    content_sha256,
    file_state,
    is_other,
    is_unknown,
    open_data,
    read_through,
    record_of,
    take,
    trust,
)
from streams.fetching import MIN_BYTES_PER_SECOND, TIMEOUT_SECONDS, Progress, fetch_archived, fetch_public
from streams.source import Source
from streams.sources import ARCHIVE_STREAMS, SOURCES, source_named
from streams.stream import Drift, Reader, Stream, until

__all__ = [
    "DATA_DIR_VARIABLE",
    "MIN_BYTES_PER_SECOND",
    "SOURCES",
    "STREAMS",
    "TIMEOUT_SECONDS",
    "Progress",
    "RealStream",
    "Source",
    "cache_dir",
    "fetch",
]

DATA_DIR_VARIABLE = "DRIFTMOE_DATA"


class RealStream(Stream):
    """A real data set, in the order of its file.

    The file is found or fetched when the stream is made, so that iterating never waits for the network. If its SHA-256
    is unknown, it is then read once to find its rows and classes.

    Parameters
    ----------
    name
        One of `SOURCES`.
    n_samples
        Take only the first `n_samples` rows; `None`, or more than the file has, takes all.
    data_dir
        Folder to search first; `None` means that of the environment variable `DRIFTMOE_DATA`, if it is set.
    from_file
        A copy of the data file, or of the archive that holds it. It is checked and put into the cache folder.
    progress
        Called as `progress(done_bytes, total_bytes, description)` while the file is fetched.

    Attributes
    ----------
    source, path
        The facts about the data set, and the file that is read.

    Raises
    ------
    ValueError
        If the name is unknown, `n_samples` is below 1, or a file is not the source's.
    FileNotFoundError
        If the file is not found and cannot be fetched; the message says where to put it.

    Examples
    --------
    >>> from streams.real import RealStream
    >>> stream = RealStream("weather", n_samples=100)  # doctest: +SKIP
    >>> next(iter(stream))  # doctest: +SKIP
    ({'feat_1': 19.8, 'feat_2': 14.0, 'feat_3': 1019.6, ...}, 0)
    """

    def __init__(
        self,
        name: str,
        *,
        n_samples: int | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        from_file: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        if n_samples is not None and n_samples < 1:
            raise ValueError(f"n_samples={n_samples}; choose at least 1, or None for the whole file")
        self.source = source_named(name)
        self.path = fetch(name, data_dir=data_dir, from_file=from_file, progress=progress)
        if self.source.sha256 is None or is_other(self.path, self.source):
            self._file, n_rows, _ = read_through(self.path, self.source, *file_state(self.path))
        else:
            self._file, n_rows = open_data(self.path, self.source), self.source.n_samples
        length = n_rows if n_samples is None else min(n_samples, n_rows)
        super().__init__(
            features=self._file.features,
            classes=self._file.classes,
            n_samples=length,
            drifts=[Drift(position) for position in self.source.drifts if position < length],
        )

    @property
    def desc(self) -> str:
        """Meaning of the samples and classes."""
        return self.source.description

    def reader(self) -> Reader:
        """Return a new position at the first row of the file."""
        return until(self._file.reader(), self.n_samples)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the uncompressed data file, which is the same for every form of the file."""
        if self.source.sha256 is None or is_other(self.path, self.source):
            return content_sha256(self.path, *file_state(self.path))[0]
        return self.source.sha256


def fetch(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    from_file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return the path of the file of a data set. If it is not on this machine, fetch it into the cache folder.

    Parameters
    ----------
    name
        One of `SOURCES`.
    data_dir
        Folder to search first; `None` means that of the environment variable `DRIFTMOE_DATA`, if it is set. It may hold
        the file plain, compressed (.gz, .zip), or as the known Parquet copy, under the name of the file or of the
        stream, or one of the other files in which the set circulates, plain or compressed.
    from_file
        A copy of the data file, or of the archive that holds it, to put into the cache folder. No folder is searched.
    progress
        Called as `progress(done_bytes, total_bytes, description)` while the file is fetched.

    Returns
    -------
    Path
        The data file. Its content has the SHA-256 of its source or, if that is unknown, of the copy that was trusted
        first.

    Raises
    ------
    ValueError
        If the name is unknown, or a file is not the source's; the cache stays as it was.
    FileNotFoundError
        If a given folder or file does not exist, or the data file is not found and cannot be fetched.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import streams
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "elecNormNew.arff")
    ...     _ = path.write_text("some other file")
    ...     streams.fetch("nothing", data_dir=folder)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: ...
    """
    source = source_named(name)
    if from_file is not None:
        return take(name, _existing_file(from_file, source))
    if data_dir is None:
        data_dir = os.environ.get(DATA_DIR_VARIABLE) or None
    folders = [cache.cache_dir()] if data_dir is None else [_existing_folder(data_dir), cache.cache_dir()]
    for folder in folders:
        for candidate in _forms(name, source):
            if (folder / candidate).is_file():
                path = folder / candidate
                checked(path, source, record_of(folder, source, path))
                if folder == cache.cache_dir() and is_unknown(path, source):
                    with suppress(OSError):  # the cache may be read-only, as in a container image
                        trust(path, source)
                return path
    try:
        return fetch_archived(name, progress) if name in ARCHIVE_STREAMS else fetch_public(name, progress)
    except OSError as error:
        raise FileNotFoundError(_how_to_get(name, source, folders, str(error))) from error


def _existing_file(path: str | os.PathLike[str], source: Source) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"file {str(path)!r} does not exist; give the path of a copy of {source.file}"
        )
    return Path(path)


def _existing_folder(data_dir: str | os.PathLike[str]) -> Path:
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder {str(folder)!r} does not exist; "
            f"create it, or correct data_dir or ${DATA_DIR_VARIABLE}"
        )
    return folder


def _forms(name: str, source: Source) -> list[str]:
    """Return the file names under which a folder may hold the data, the plain file first."""
    stem, suffix = os.path.splitext(source.file)
    endings = [suffix, suffix + ".gz", suffix + ".zip"] + [".parquet"] * (source.parquet_sha256 is not None)
    forms = [base + ending for base in dict.fromkeys([stem, name]) for ending in endings]
    return forms + [other + packed for other in source.others for packed in ("", ".gz", ".zip")]


def _how_to_get(name: str, source: Source, folders: list[Path], reason: str) -> str:
    searched = " or ".join(map(str, folders))
    known = f" (SHA-256 {source.sha256})" if source.sha256 else ""
    return (
        f"{name}: {source.file} is not in {searched} and could not be fetched: {reason}\n"
        f"Put the file{known} at {cache.cache_dir() / source.file}, or into the folder that ${DATA_DIR_VARIABLE} "
        f"names, or take it from a copy: driftmoe streams fetch {name} --from-file {source.file}\n"
        "The synthetic stream led_a needs no file."
    )


def _make(
    name: str,
    seed: int | None = None,
    n_samples: int | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    from_file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> RealStream:
    """Return a real stream. The seed is ignored, because a file has one order."""
    return RealStream(name, n_samples=n_samples, data_dir=data_dir, from_file=from_file, progress=progress)


STREAMS: dict[str, Callable[..., Stream]] = {name: partial(_make, name) for name in SOURCES}
