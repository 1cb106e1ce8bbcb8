"""The file of a model: safetensors with one JSON document, as it is or compressed, and a digest over all of it.

A file is read in three steps, and nothing is built before the last: the bytes (the sizes that they claim fit), the
document and the arrays (the digest fits), the model (each part checks its state).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from driftmoe.saving.codec import INTEGERS, as_json, from_json

FORMAT = 1
"""Version of the format. Every older one is read; a newer one is refused."""

ENTRY = "driftmoe"
"""Name of the document among the metadata of the safetensors file."""

ENTRIES = {"format", "version", "digest", "model"}
"""Entries of the document: version of the format and of the library that wrote it, SHA-256, and the model."""

COMPRESSED = b"DriftMoE"
"""First bytes of a compressed file. The size of the content (uint64) and a zstd frame follow."""

LEVEL = 3
"""Level of zstd: more costs more time than it saves bytes."""

MOST_TIMES_SMALLER = 5_000
"""Greatest ratio of compression that is believed, so that a small file cannot claim all memory."""

_SMALLEST = {"F64": 8, "F32": 4, "F16": 2, "BOOL": 1} | {
    ("U" if kind == "u" else "I") + str(8 * size): size
    for kind, size in [(d.kind, d.itemsize) for d in INTEGERS]
}


class Content(NamedTuple):
    """What a file holds, checked against its digest.

    Attributes
    ----------
    model
        The document of the model; see `driftmoe.saving.models`.
    arrays
        Name -> array.
    version
        Version of the library that wrote the file.
    digest
        SHA-256 of model and arrays, as hexadecimal text.
    """

    model: dict[str, Any]
    arrays: dict[str, np.ndarray]
    version: str
    digest: str


def digest_of(document: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a document and its arrays, as hexadecimal text."""
    found = hashlib.sha256(as_json(document).encode("ascii"))
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode("utf-8", "surrogatepass"))
        found.update(np.asarray(array, order="C").data if array.size else b"")
    return found.hexdigest()


def packed(model: dict[str, Any], arrays: dict[str, np.ndarray], version: str, *, compress: bool) -> bytes:
    """Return the bytes of a file: equal ones for equal content, unless another version of zstd compresses it."""
    document = {"format": FORMAT, "version": version, "digest": digest_of(model, arrays), "model": model}
    content = save(arrays, metadata={ENTRY: as_json(document)})
    if not compress:
        return content
    import pyarrow

    frame = pyarrow.Codec("zstd", compression_level=LEVEL).compress(content, asbytes=True)
    return COMPRESSED + struct.pack("<Q", len(content)) + frame


def unpacked(content: bytes) -> Content:
    """Return what a file holds.

    Raises
    ------
    ValueError
        If these are not the bytes of a file, all of them and unchanged, or if a newer version of the format wrote them.
    """
    document = _document(content := _decompressed(content))
    _check_format(document)
    model, digest = document["model"], document["digest"]
    try:
        arrays = load(content)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"the file is damaged: {error}") from None
    if not isinstance(model, dict) or digest_of(model, arrays) != digest:
        raise ValueError("the file is damaged: its content does not have the digest that it was saved with")
    return Content(model, arrays, document["version"], digest)


def _decompressed(content: bytes) -> bytes:
    if not content.startswith(COMPRESSED):
        return content
    start = len(COMPRESSED) + 8
    if len(content) < start:
        raise ValueError("the file is damaged: it ends within its first bytes")
    (size,) = struct.unpack("<Q", content[len(COMPRESSED) : start])
    if size > MOST_TIMES_SMALLER * len(content):
        raise ValueError(f"the file is damaged: {len(content):,} bytes claim to be {size:,} compressed ones")
    import pyarrow

    try:
        found = pyarrow.Codec("zstd").decompress(content[start:], size, asbytes=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"the file is damaged: {error}") from None
    if len(found) != size:
        raise ValueError(f"the file is damaged: it holds {len(found):,} bytes and claims {size:,}")
    return bytes(found)


def _document(content: bytes) -> dict[str, Any]:
    """Return the document in the header of a safetensors file, after a check of all sizes that the header claims."""
    if len(content) < 8:
        raise ValueError(f"no model: a file of {len(content)} bytes")
    (size,) = struct.unpack("<Q", content[:8])
    if size > len(content) - 8:
        raise ValueError("no model, or a damaged file: its header is said to be longer than the file")
    try:
        header = from_json(content[8 : 8 + size].decode("utf-8"))
        metadata = header.pop("__metadata__")
        text = metadata[ENTRY]
        n_bytes = sum(_n_bytes(entry) for entry in header.values())
        document = from_json(text)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no model, or a damaged file: {error!r:.200}") from None
    if set(metadata) != {ENTRY} or n_bytes != len(content) - 8 - size:
        raise ValueError(
            f"the file is damaged: {n_bytes:,} bytes of arrays are claimed, {len(content) - 8 - size:,} there"
        )
    return document


def _n_bytes(entry: Any) -> int:
    n = _SMALLEST[entry["dtype"]]
    for length in entry["shape"]:
        if type(length) is not int or length < 0:
            raise ValueError(f"a shape of {entry['shape']}")
        n *= length
    return n


def _check_format(document: Any) -> None:
    if not isinstance(document, dict) or type(document.get("format")) is not int:
        raise ValueError("no model: the document has no version of its format")
    if document["format"] > FORMAT:
        raise ValueError(
            f"the file has format {document['format']}, written by driftmoe {document.get('version')}; this version "
            f"reads formats up to {FORMAT}: install that version, or a newer one"
        )
    if document["format"] < 1 or set(document) != ENTRIES or not isinstance(document["version"], str):
        raise ValueError(f"the file is damaged: its document has the entries {', '.join(map(str, document))}")
