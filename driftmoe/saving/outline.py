"""What the file of a model holds, part by part, without building the model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftmoe.saving.codec import as_json
from driftmoe.saving.files import content_of, unpacked


@dataclass(frozen=True)
class Part:
    """A part of a file.

    Attributes
    ----------
    name
        Path of the part in the model's state, such as `mixture.router`; in a pipeline it begins with the step.
    n_arrays
        Number of its arrays.
    n_bytes
        Bytes of its arrays, before compression. The first row of a part also has its numbers and texts, as JSON.
    """

    name: str
    n_arrays: int
    n_bytes: int


@dataclass(frozen=True)
class Outline:
    """What a file holds.

    Attributes
    ----------
    version
        Version of the library that wrote the file.
    digest
        SHA-256 of the model, as `model.digest()` gives it.
    n_bytes
        Bytes of the file.
    parts
        The parts, in the order of the file.
    """

    version: str
    digest: str
    n_bytes: int
    parts: tuple[Part, ...]


def outline(path: str | os.PathLike[str]) -> Outline:
    """Return what the file of a model holds.

    Raises
    ------
    ValueError
        If the file is not a model, is damaged, or was written by a newer version of the format.
    OSError
        If the file cannot be read.
    """
    try:
        content = content_of(path)
        found = unpacked(content)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
    return Outline(found.version, found.digest, len(content), tuple(_parts(found.model, found.arrays, "")))


def _parts(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> Iterator[Part]:
    """Yield the parts of a model. `prefix` begins the names of its arrays."""
    for i, (name, step) in enumerate(document.get("steps", ())):
        for part in _parts(step, arrays, f"{prefix}{i}."):
            yield Part(f"{name}: {part.name}", part.n_arrays, part.n_bytes)
    states = {name: kept["state"] for name, kept in document.get("parts", {}).items()}
    states |= {"state": document["state"]} if "state" in document else {}
    for name, state in states.items():
        groups = {name: Part(name, 0, len(as_json(state)))}
        for key, array in arrays.items():
            if key.startswith(f"{prefix}{name}."):
                group = _group(key.removeprefix(prefix))
                found = groups.get(group, Part(group, 0, 0))
                groups[group] = Part(group, found.n_arrays + 1, found.n_bytes + array.nbytes)
        yield from sorted(groups.values(), key=lambda part: part.name)


def _group(key: str) -> str:
    """Return the part to which an array belongs: `mixture.router` of `mixture.router.weights.0`."""
    first, *others = key.split(".")
    if len(others) < 2:
        return first
    n = 2 if others[1].isdigit() and len(others) > 2 else 1
    return ".".join([first, *others[:n]])
