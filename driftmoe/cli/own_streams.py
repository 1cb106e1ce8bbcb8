"""Streams that a command opens by name: those of the library, files, standard input, and the user's own."""

from __future__ import annotations

import functools
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streams
from driftmoe.cli.late import Late
from streams.wrapped import is_wrapped

if TYPE_CHECKING:
    from driftmoe import own
    from streams import Stream, pairs, stream, wrappers
else:
    own = Late("driftmoe.own")
    pairs, stream, wrappers = Late("streams.pairs"), Late("streams.stream"), Late("streams.wrappers")

STANDARD_INPUT = "-"
"""Name of standard input where a file is expected."""

_COPY = "_DRIFTMOE_STANDARD_INPUT"
"""Environment variable with the file that holds a copy of standard input, for the workers of a grid."""

_BEGINNINGS = {
    b"\x1f\x8b": ".gz",
    b"PK\x03\x04": ".zip",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"PAR1": ".parquet",
}
"""First bytes of a file -> its ending; other files are text, whose first line decides."""


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's own stream, `module:Class`, and neither a stream of ours nor a file."""
    return ":" in name and name not in streams.names() and not Path(name).exists() and own.is_own(name)


def short_name(name: str) -> str:
    """Return a name for folders and pictures."""
    if name in streams.names():
        return name
    if name == STANDARD_INPUT:
        return "stdin"
    stem = (
        re.sub(r"\W+", "_", name).strip("_")
        if is_own(name) or is_wrapped(name)
        else Path(name).name.split(".")[0]
    )
    return stem[:60] or "file"


def open_own(name: str, limit: int | None, seed: int | None) -> Stream:
    """Open a user's own stream; see `driftmoe.own`. It gets `seed` and `n_samples` if its class takes them.

    Raises
    ------
    ValueError
        If it cannot be made, is no stream of classified samples, or begins with other samples each time, so that two
        models would not see the same.
    """
    opened = _opened(name, limit, seed)
    if opened.fingerprint() != opened.fingerprint():
        raise ValueError(
            f"{name} yields other samples each time it is read, so that models cannot be compared on it; let its class "
            "take seed= and draw from a generator that __iter__ makes with it"
        )
    return opened


def _opened(name: str, limit: int | None, seed: int | None) -> Stream:
    make = functools.partial(own.built, name, seed=1 if seed is None else seed, n_samples=limit)
    made = make()
    if isinstance(made, stream.Stream):
        is_longer = limit is not None and (made.n_samples is None or made.n_samples > limit)
        return wrappers.Take(made, limit) if is_longer and limit is not None else made
    if not hasattr(made, "__iter__"):
        raise ValueError(
            f"{name} makes a {type(made).__name__}, no stream; inherit from streams.Stream, or from a data set of "
            "river, or give __iter__ that yields pairs of a dictionary of features and a label"
        )
    length = getattr(made, "n_samples", None)
    if limit is None and not isinstance(length, int) and pairs.is_endless(made):
        raise ValueError(f"{name} has no end; give --limit")
    known = [n for n in (limit, length) if isinstance(n, int)]
    return pairs.Pairs(_again(made, make), min(known, default=None), name=name)


def _again(made: Any, make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that gives the samples from the first on: an iterator gives them once, so it is made anew."""
    return make if iter(made) is made else lambda: iter(made)


def copy_of_standard_input() -> Path:
    """Return a file with all that standard input holds. It is read once, and the file is deleted at the end."""
    if _COPY in os.environ:
        return Path(os.environ[_COPY])
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("- reads standard input, which is the keyboard here; pipe a file into the command")
    data = sys.stdin.buffer
    start = data.peek(8)[:8] if hasattr(data, "peek") else b""
    ending = next((e for first, e in _BEGINNINGS.items() if start.startswith(first)), ".txt")
    folder = tempfile.TemporaryDirectory(prefix="driftmoe-")
    weakref.finalize(folder, os.environ.pop, _COPY, None)
    _KEPT.append(folder)
    file = Path(folder.name, f"stdin{ending}")
    with file.open("wb") as copy:
        while part := data.read(1 << 20):
            copy.write(part)
    os.environ[_COPY] = str(file)
    return file


_KEPT: list[Any] = []
"""The folder of the copy, which is deleted when the process ends."""
