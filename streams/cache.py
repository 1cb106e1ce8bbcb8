"""The user's cache folder: how data files are checked, and how copies enter the cache.

A copy enters the cache only after its check. Content that does not have the SHA-256 of its source is refused. If no
SHA-256 is known, the first copy is trusted if it has the size, or the rows, features and classes, of its source. Its
SHA-256 is kept beside it (`airlines.arff.sha256`, which `sha256sum -c` reads), and from then on other content is
refused. A data folder may hold such a file as well.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from streams.files import ARFFStream, ArrowStream, CSVStream, refusing_corrupt
from streams.source import Source
from streams.sources import ARCHIVE, ARCHIVE_FOLDER, ARCHIVE_STREAMS, SOURCES, source_named
from streams.staging import delete_unless_held, naming, publish, staging, write_files

NOT_TAKEN = "the cache is as it was"
"""End of the error message when the disk refuses a file."""

_REMOVE = "remove the file or put the right one there"


def cache_dir() -> Path:
    """Return the user's folder for fetched files."""
    import pooch

    return Path(pooch.os_cache("driftmoe"))


def take(name: str, path: Path) -> Path:
    """Check a copy (plain, compressed or still in its archive) and put its content into the cache."""
    source = source_named(name)
    with refusing_corrupt(path):
        is_archive = name in ARCHIVE_STREAMS and tarfile.is_tarfile(path)
    if is_archive:
        _take_archive(path)
        return cache_dir() / source.file
    stem, suffix = os.path.splitext(source.file)
    with naming(cache_dir() / source.file, NOT_TAKEN), cache_staging() as folder:
        kept = folder / (stem + (".parquet" if path.suffix == ".parquet" else suffix))
        if is_other(path, source):
            kept = folder / plain_name(path)
        if name == "gas" and zipfile.is_zipfile(path):
            with refusing_corrupt(path):
                _join_gas_batches(path, kept)
        else:
            with _open_content(path) as content, kept.open("wb") as out:
                shutil.copyfileobj(content, out)
        with naming_origin(path, kept):
            checked(kept, source, record_of(cache_dir(), source, kept))
        if is_unknown(kept, source):
            trust(kept, source)
        return publish(kept, cache_dir() / kept.name)


def _take_archive(archive: Path) -> None:
    """Extract only the data files from the archive. If one of them is wrong, none enters the cache."""
    sources = {f"{ARCHIVE_FOLDER}/{SOURCES[name].file}": SOURCES[name] for name in ARCHIVE_STREAMS}
    with cache_staging() as folder:
        taken = []
        with refusing_corrupt(archive), tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name in sources and member.isreg() else None
                if content is not None:
                    source = sources.pop(member.name)
                    path = folder / source.file
                    with naming(cache_dir() / source.file, NOT_TAKEN), path.open("wb") as out:
                        shutil.copyfileobj(content, out)
                    with naming_origin(f"{archive}, {member.name}", path):
                        taken.append(checked(path, source, record_of(cache_dir(), source, path)))
        if sources:
            raise ValueError(f"{archive} lacks {', '.join(sources)}; it should be {ARCHIVE}")
        for path in taken:
            with naming(cache_dir() / path.name, NOT_TAKEN):
                publish(path, cache_dir() / path.name)


@contextmanager
def cache_staging() -> Iterator[Path]:
    """Make a folder for this process beside the cached files, and delete those of processes that were killed."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    for left in cache_dir().glob(".incoming-*"):  # left by version 0.1
        delete_unless_held(left)
    with staging(cache_dir()) as folder:
        yield folder


@contextmanager
def naming_origin(origin: str | Path, staged: Path) -> Iterator[None]:
    """In errors, name the place that the file came from instead of the staged copy, which is soon deleted."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(staged), str(origin))) from error


def checked(path: Path, source: Source, record: Path) -> Path:
    """Return `path` if it has the content of the source, else raise ValueError.

    If the SHA-256 of the source is unknown, compare with the one in the file `record`. Without a record, check size and
    shape.
    """
    expected = source.parquet_sha256 if path.suffix == ".parquet" else source.sha256
    if is_other(path, source):
        expected = None
    found, n_bytes = content_sha256(path, *file_state(path))
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


def _check_shape(path: Path, source: Source, n_bytes: int) -> None:
    """Raise ValueError if the size of the file, or its rows, features and classes, differ from the source."""
    if source.n_bytes is not None and not is_other(path, source):
        if n_bytes != source.n_bytes:
            raise ValueError(
                f"{path} has {n_bytes:,} bytes, but {source.file} has {source.n_bytes:,}; {_REMOVE}"
            )
        return
    n_features = open_data(path, source).n_features
    if n_features != source.n_features:
        raise ValueError(
            f"{path} has {n_features} features, but {source.file} has {source.n_features}; {_REMOVE}"
        )
    _, n_rows, n_classes = read_through(path, source, *file_state(path))
    if n_rows != source.n_samples:
        raise ValueError(f"{path} has {n_rows:,} rows, but {source.file} has {source.n_samples:,}; {_REMOVE}")
    if source.n_classes is not None and n_classes != source.n_classes:
        raise ValueError(
            f"{path} has {n_classes} classes, but {source.file} has {source.n_classes}; {_REMOVE}"
        )


def plain_name(path: Path) -> str:
    """Return the name of a file without the ending of its compression."""
    return path.name.removesuffix(".gz").removesuffix(".zip")


def is_other(path: Path, source: Source) -> bool:
    """Return whether a file is one of the others in which a data set circulates."""
    return plain_name(path) in source.others


def is_unknown(path: Path, source: Source) -> bool:
    """Return whether the content that a file must have is unknown until a copy of it is trusted."""
    if is_other(path, source):
        return True
    return (source.parquet_sha256 if path.suffix == ".parquet" else source.sha256) is None


def record_of(folder: Path, source: Source, path: Path) -> Path:
    """Return the file that keeps the SHA-256 of a trusted copy, which is at `path`."""
    return folder / f"{plain_name(path) if is_other(path, source) else source.file}.sha256"


def _recorded(record: Path) -> str | None:
    """Return the SHA-256 of the copy that was trusted first, or `None`."""
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


def trust(path: Path, source: Source) -> None:
    """Keep the SHA-256 of a checked file, unless one is kept already."""
    record = record_of(cache_dir(), source, path)
    if _recorded(record) is None:
        text = f"{content_sha256(path, *file_state(path))[0]}  {record.name.removesuffix('.sha256')}\n"
        write_files(record.parent, {record.name: text.encode()}, kept=NOT_TAKEN)


def file_state(path: Path) -> tuple[int, int]:
    """Return modification time and size. Cached facts about the content are valid while both stay the same."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=64)
def content_sha256(path: Path, mtime_ns: int, size: int) -> tuple[str, int]:
    """Return the SHA-256 and the size of the uncompressed content."""
    digest, n_bytes = hashlib.sha256(), 0
    with _open_content(path) as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
            n_bytes += len(chunk)
    return digest.hexdigest(), n_bytes


@contextmanager
def _open_content(path: Path) -> Iterator[IO[bytes]]:
    """Open the content of a file, uncompressed if it is a gzip file or a zip file of one member."""
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
        raise ValueError(f"{path} holds {len(members)} files; it should hold only the data file")
    return members[0]


def open_data(path: Path, source: Source) -> CSVStream | ARFFStream | ArrowStream:
    """Open a data file as a stream, with the columns and classes of its source."""
    if path.suffix == ".parquet":
        return ArrowStream(path, source.target, drop=source.drop, classes=source.classes)
    if is_other(path, source):
        if plain_name(path).endswith(".arff"):
            return ARFFStream(path, -1)
        return CSVStream(path, -1, classes=source.classes)
    if source.file.endswith(".arff"):
        return ARFFStream(path, source.target, drop=source.drop)
    return CSVStream(path, source.target, header=source.header, drop=source.drop, classes=source.classes)


@lru_cache(maxsize=16)
def read_through(
    path: Path, source: Source, mtime_ns: int, size: int
) -> tuple[CSVStream | ARFFStream | ArrowStream, int, int]:
    """Return the file as a stream that knows all its classes, its number of rows, and its number of classes."""
    file = open_data(path, source)
    n_rows, occurring = 0, set[int]()
    for block in file.blocks():
        n_rows += len(block.y)
        occurring.update(np.unique(block.y).tolist())
    return file, n_rows, len(occurring)


def _join_gas_batches(archive: Path, out: Path) -> None:
    """Join the ten batches of the gas sensor data, with lines `class 1:value 2:value ...`, in one CSV file."""
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
