"""What TAB offers for streams, models and their files. For all other files the shell does it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from driftmoe.cli.names import METRICS, MODELS, READ, STANDARD
from streams import names
from streams.sources import SOURCES


def streams_and_files(incomplete: str) -> list[str]:
    """Return the streams whose names begin so, then the files that can be read as streams, and folders."""
    return [*_beginning(names(), incomplete), *_files(incomplete, READ)]


def real_streams(incomplete: str) -> list[str]:
    """Return the real streams whose names begin so."""
    return _beginning(SOURCES, incomplete)


def models_named(incomplete: str) -> list[str]:
    """Return the models whose names begin so."""
    return _beginning(MODELS, incomplete)


def metrics_named(incomplete: str) -> list[str]:
    """Return the metrics whose names begin so."""
    return _beginning((*STANDARD, *METRICS), incomplete)


def model_files(incomplete: str) -> list[str]:
    """Return the files of models, and folders."""
    return _files(incomplete, (".moe",))


def _beginning(known: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]


def _files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Return the paths that begin so: folders with a slash at the end, and files with one of the endings."""
    folder, beginning = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(Path(folder).expanduser()), key=lambda entry: entry.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if not entry.name.startswith(beginning) or (entry.name.startswith(".") and not beginning):
            continue
        if entry.is_dir():
            found.append(os.path.join(folder, entry.name, ""))
        elif entry.name.lower().endswith(endings):
            found.append(os.path.join(folder, entry.name))
    return found
