"""Files of adapters: safetensors with a digest. A file is checked against the model before its tensors are read.

The header of a safetensors file lists name, type, shape and place of each tensor. `read` compares it with the tensors
of the model, whose sizes are known, before memory is taken for anything else.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from driftmoe.staging import write_files
from driftmoe.strict_json import from_json

DIGEST = "digest"
"""Name of the SHA-256 among the metadata of a file. Files of earlier versions have none."""

MOST_HEADER = 1 << 20
"""Bytes that a header may have, beside those for each tensor of the model."""

MOST_ENTRY = 1 << 10
"""Bytes that a header may have for each tensor of the model."""

KEPT = "the adapter is not saved; a file of this name, if there was one, is as it was"

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def write(tensors: Mapping[str, Tensor], path: str | PathLike[str], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata to a file, all at once: whatever happens, the old file or the whole new one is there.

    Raises
    ------
    ValueError
        If a tensor holds NaN or an infinite number.
    OSError
        If the file cannot be written.
    """
    from safetensors.torch import save

    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ValueError(
                f"save_adapter: {name} holds NaN or infinite numbers, and load_adapter would refuse it; train again "
                "with a smaller learning rate"
            )
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    content = save(whole)
    start = 8 + struct.unpack("<Q", content[:8])[0]
    digest = _digest(_parsed(content[8:start]), metadata, content[start:])
    content = save(whole, metadata={**metadata, "format": "pt", DIGEST: digest})
    place = Path(path)
    if place.is_symlink():  # the file that it stands for is replaced, not the link
        place = place.resolve()
    write_files(place.parent, {place.name: content}, kept=KEPT)


def read(
    path: str | PathLike[str],
    wanted: Mapping[str, Tensor],
    of_metadata: Callable[[Mapping[str, str]], Mapping[str, Tensor]] | None = None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file, in the types of the model's, and its metadata.

    Parameters
    ----------
    path
        The file.
    wanted
        Name -> tensor of the model.
    of_metadata
        Returns the tensors that a file with these metadata must have, if not those of `wanted`.

    Raises
    ------
    ValueError
        If the file is damaged, or its tensors are not those of the model in name, shape or type.
    OSError
        If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        try:
            entries, metadata, header = _header(file, wanted)
            wanted = wanted if of_metadata is None else of_metadata(metadata)
            n_bytes = _check(entries, wanted, fspath(path))
            _check_size(file, 8 + len(header) + n_bytes)
            data = file.read(n_bytes + 1)
            if len(data) != n_bytes:
                more = "more" if len(data) > n_bytes else f"{len(data):,}"
                raise ValueError(f"{n_bytes:,} bytes of tensors are claimed, and {more} are there")
            if (digest := metadata.get(DIGEST)) not in (
                None,
                _digest(entries, metadata, data),
            ):
                raise ValueError(
                    f"its content does not have the digest {digest!r:.80} that it was saved with"
                )
            tensors = _tensors(struct.pack("<Q", len(header)) + header + data)
        except _MismatchError:
            raise
        except ValueError as error:
            raise ValueError(
                f"load_adapter: {path} is damaged, or no adapter: {error}; save the adapter again"
            ) from None
    return {name: _converted(name, tensor, wanted[name], path) for name, tensor in tensors.items()}, metadata


class _MismatchError(ValueError):
    """The adapter of another model."""


def _header(file: BinaryIO, wanted: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, str], bytes]:
    """Return the entries of the tensors, the metadata, and the bytes of the header."""
    first = file.read(8)
    if len(first) < 8:
        raise ValueError(f"a file of {len(first)} bytes")
    (size,) = struct.unpack("<Q", first)
    most = MOST_HEADER + MOST_ENTRY * len(wanted)
    if size > most:
        raise ValueError(
            f"its header is said to have {size:,} bytes; that of this model has at most {most:,}"
        )
    header = file.read(size)
    if len(header) < size:
        raise ValueError("it ends within its header")
    entries = _parsed(header)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not text")
    return entries, metadata, header


def _parsed(header: bytes) -> dict[str, Any]:
    entries = from_json(header.decode("utf-8"))
    if not isinstance(entries, dict):
        raise ValueError("its header lists no tensors")
    return entries


def _check_size(file: BinaryIO, n_bytes: int) -> None:
    """Raise ValueError if a file does not have this size, before its tensors are read. A pipe tells none."""
    about = os.fstat(file.fileno())
    if stat.S_ISREG(about.st_mode) and about.st_size != n_bytes:
        raise ValueError(f"its header accounts for {n_bytes:,} bytes, and it has {about.st_size:,}")


def _check(entries: Mapping[str, Any], wanted: Mapping[str, Tensor], path: str) -> int:
    """Check names, shapes and types against the model's, and return the bytes of all tensors."""
    n_bytes = 0
    for name in sorted(entries.keys() | wanted.keys()):
        came, own = entries.get(name), wanted.get(name)
        dtype, shape = _of_entry(name, came) if came is not None else (None, None)
        if came is None or own is None or shape != list(own.shape):
            raise _MismatchError(
                f"load_adapter: {name} is {_shape(shape)} in {path} and "
                f"{_shape(None if own is None else own.shape)} in the model; inject the same layers with the same "
                "sizes, and let the same parts learn"
            )
        assert dtype is not None  # it comes with a shape
        if dtype != own.dtype and not (dtype.is_floating_point and own.is_floating_point()):
            raise _MismatchError(
                f"load_adapter: {name} is of {dtype} in {path} and of {own.dtype} in the model; only floats are "
                "converted to other floats"
            )
        n_bytes += own.numel() * dtype.itemsize
    return n_bytes


def _of_entry(name: str, entry: Any) -> tuple[torch.dtype, list[int]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str) or entry["dtype"] not in _TYPES:
        raise ValueError(f"{name!r:.80} has no type that is known here: {', '.join(_TYPES)}")
    shape = entry.get("shape")
    if not isinstance(shape, list) or any(type(length) is not int for length in shape):
        raise ValueError(f"{name!r:.80} has no shape")
    return _TYPES[entry["dtype"]], shape


def _digest(entries: Mapping[str, Any], metadata: Mapping[str, str], data: bytes) -> str:
    """Return the SHA-256 of tensors and metadata; of tensors alone, as in earlier versions, if there is no more."""
    rest = {name: text for name, text in metadata.items() if name not in ("format", DIGEST)}
    listed = json.dumps(
        {**entries, "__metadata__": rest} if rest else entries, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(listed.encode("utf-8") + b"\n" + data).hexdigest()


def _tensors(content: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except (
        SafetensorError,
        TypeError,
        KeyError,
        OverflowError,
    ) as error:  # places that overlap, or leave holes
        raise ValueError(str(error)) from None


def _converted(name: str, tensor: Tensor, own: Tensor, path: str | PathLike[str]) -> Tensor:
    converted = tensor.to(own.dtype)
    if not _is_finite(converted):
        way = "" if tensor.dtype == own.dtype else f" as {own.dtype}"
        raise ValueError(
            f"load_adapter: {name} in {path} holds NaN or infinite numbers{way}; take a file from before they arose"
        )
    return converted


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _shape(shape: Any) -> str:
    return "missing" if shape is None else f"of shape {tuple(shape)}"
