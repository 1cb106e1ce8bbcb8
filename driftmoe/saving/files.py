"""The file of a model: safetensors with one JSON document, as it is or compressed, and a digest over all of it.

A file is read in three steps, and nothing is built before the last: the bytes (the sizes that they claim fit; those of
a large file are compared before it is read), the document and the arrays (the digests fit), the model (each part checks
its state).

Each part of a model has a digest, of its state and its arrays. The digest of the file is that of the document with the
digests of parts in the place of their states, so that every byte is hashed once. All arrays belong to parts.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize

from driftmoe.saving.codec import INTEGERS, as_json
from driftmoe.strict_json import from_json

FORMAT = 1
"""Version of the format. Every older one is read; a newer one is refused."""

ENTRY = "driftmoe"
"""Name of the document among the metadata of the safetensors file."""

ENTRIES = {"format", "version", "digest", "model"}
"""Entries of the document: version of the format and of the library that wrote it, SHA-256, and the model."""

COMPRESSED = b"DriftMoE"
"""First bytes of a compressed file. The size of the content (uint64) and a zstd frame follow."""

LEVEL = 3
"""Level of zstd: more costs more time than it saves bytes. Likewise of deflate."""

SHORT = b"DriftMo1"
"""First bytes of a compressed file whose content is short. The size of the content (uint32) and raw deflate follow,
with the text of `words.txt` as preset dictionary: the names in a header are most of a small model. Another text needs
other first bytes."""

MOST_SHORT = 1 << 16
"""Greatest number of bytes of such a content."""

MOST_TIMES_SMALLER = 200
"""Greatest ratio of compression, so that a small file cannot claim all memory. Smaller ones are not compressed."""

MAX_HEADER = 100_000_000
"""Greatest number of bytes of a header, which every reader of safetensors accepts."""

SMALL = 1 << 24
"""Greatest number of bytes of a file that is read without a look at its header first."""

_CODES = {
    np.dtype(code): name for code, name in (("?", "BOOL"), ("<f2", "F16"), ("<f4", "F32"), ("<f8", "F64"))
} | {dtype: f"{'U' if dtype.kind == 'u' else 'I'}{8 * dtype.itemsize}" for dtype in INTEGERS}
"""Type -> its name in safetensors."""

_DTYPES = {code: dtype for dtype, code in _CODES.items()}


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
    names = sorted(arrays)
    shapes = [f"\n{name} {_CODES[arrays[name].dtype]} {arrays[name].shape}" for name in names]
    found = hashlib.sha256("".join([as_json(document), *shapes, "\n"]).encode("utf-8", "surrogatepass"))
    for name in names:
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()


def digest_of_model(model: Any) -> str:
    """Return the SHA-256 of the document of a model, which covers its arrays by the digests of the parts."""
    return digest_of(_with_digests(model), {})


def _with_digests(model: Any) -> Any:
    """Return the document of a model with the digests of parts in the place of their states."""
    if "steps" in model:
        return model | {"steps": [[key, _with_digests(step)] for key, step in model["steps"]]}
    if "parts" in model:
        return model | {"parts": {part: kept["digest"] for part, kept in model["parts"].items()}}
    return model


def packed(model: dict[str, Any], arrays: dict[str, np.ndarray], version: str, *, compress: bool) -> bytes:
    """Return the bytes of a file: equal ones for equal content, unless another version of zstd compresses it.

    Raises
    ------
    ValueError
        If names, labels and values take more than `MAX_HEADER` bytes.
    """
    document = {"format": FORMAT, "version": version, "digest": digest_of_model(model)}
    texts = {name: as_json(value) for name, value in document.items()} | {"model": _as_json(model)}
    content = _written(_object(texts), arrays)
    if not compress:
        return content
    if len(content) <= MOST_SHORT:
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=_words())
        return b"".join([SHORT, struct.pack("<I", len(content)), packer.compress(content), packer.flush()])
    import pyarrow

    frame = pyarrow.Codec("zstd", compression_level=LEVEL).compress(content, asbytes=True)
    head = COMPRESSED + struct.pack("<Q", len(content))
    return head + frame if len(content) <= MOST_TIMES_SMALLER * len(head + frame) else content


@cache
def _words() -> bytes:
    """Return what headers of small models have in common, as it stands in a file; see `SHORT`."""
    text = Path(__file__).with_name("words.txt").read_text("ascii")
    return as_json(text.removesuffix("\n"))[1:-1].encode("ascii")


def _as_json(model: dict[str, Any]) -> str:
    """Return the document of a model as text. The states of its parts may be text already, as `Json`."""
    texts = {}
    for name, value in model.items():
        if name == "steps":
            texts[name] = f"[{','.join(f'[{as_json(key)},{_as_json(step)}]' for key, step in value)}]"
        elif name == "parts":
            parts = {
                part: {entry: as_json(one) for entry, one in kept.items()} for part, kept in value.items()
            }
            texts[name] = _object({part: _object(entries) for part, entries in parts.items()})
        else:
            texts[name] = as_json(value)
    return _object(texts)


def _object(texts: Mapping[str, str]) -> str:
    """Return an object of JSON, from the texts of its entries."""
    return f"{{{','.join(f'{as_json(name)}:{text}' for name, text in texts.items())}}}"


def _written(text: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a safetensors file. Equal content gives equal bytes, whatever version of safetensors is there."""
    header: dict[str, Any] = {"__metadata__": {ENTRY: text}}
    contents: list[memoryview] = []
    start = 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):  # so that all are aligned
        array = arrays[name]
        stop = start + array.nbytes
        header[name] = {
            "dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": [start, stop]
        }  # fmt: skip
        contents.append(np.ascontiguousarray(array).data)
        start = stop
    head = as_json(header).encode("ascii")
    head += b" " * (-len(head) % 8)
    if len(head) > MAX_HEADER:
        raise ValueError(
            f"the model cannot be saved: its names, labels and values take {len(head):,} bytes as text, and a file has "
            f"room for {MAX_HEADER:,}; leave out features whose values or names are never seen again"
        )
    return b"".join([struct.pack("<Q", len(head)), head, *contents])


def content_of(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file. A large one is read only if its header accounts for its size.

    Raises
    ------
    ValueError
        If the header of a large file claims another size, or there is not memory enough for the file.
    OSError
        If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):  # a pipe, whose size nobody knows
            content = file.read(SMALL + 1)
            if len(content) > SMALL:
                raise ValueError(f"no file, and more than {SMALL:,} bytes; copy it to a file first")
            return content
        try:
            if about.st_size > SMALL:
                _check_size(file, about.st_size)
                file.seek(0)
            return file.read()
        except MemoryError:
            raise ValueError(
                f"the file takes {about.st_size:,} bytes, for which there is not memory enough"
            ) from None


def _check_size(file: BinaryIO, n_bytes: int) -> None:
    """Raise ValueError if the first bytes of a file do not account for its size."""
    first = file.read(len(COMPRESSED) + 8)
    if first.startswith(SHORT):
        if n_bytes <= 2 * MOST_SHORT:
            return
        raise ValueError(f"the file is damaged: it has {n_bytes:,} bytes, but claims to be a short one")
    if first.startswith(COMPRESSED):
        size = _decompressed_size(first, n_bytes)
        if n_bytes > size + size // 128 + SMALL:  # zstd adds less to what it cannot make smaller
            raise ValueError(
                f"the file is damaged: it has {n_bytes:,} bytes, but claims to be {size:,} ones compressed"
            )
        return
    size = _header_size(first, n_bytes)
    _checked_header((first[8:] + file.read(max(0, size - 8)))[:size], n_bytes)


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
        arrays = {
            name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in deserialize(content)
        }
        covered = _checked_parts(model, arrays, "")
        is_whole = digest_of_model(model) == digest
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"the file is damaged: {error}") from None
    if not is_whole:
        raise ValueError("the file is damaged: its content does not have the digest that it was saved with")
    if unused := arrays.keys() - covered:
        raise ValueError(f"the file is damaged: array {min(unused)!r} belongs to nothing in it")
    return Content(model, arrays, document["version"], digest)


def _checked_parts(model: Any, arrays: Mapping[str, np.ndarray], prefix: str) -> set[str]:
    """Raise ValueError unless the parts of a model have their digests; return the names of their arrays."""
    covered: set[str] = set()
    for i, (_, step) in enumerate(model.get("steps", ())):
        covered |= _checked_parts(step, arrays, f"{prefix}{i}.")
    for part, kept in model.get("parts", {}).items():
        own = arrays_of(f"{prefix}{part}", arrays)
        if kept["digest"] != digest_of(kept["state"], own):
            raise ValueError(f"its part {part!r} does not have the digest of the part")
        covered |= own.keys()
    return covered


def arrays_of(part: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a part, by the first part of their names."""
    start = f"{part}."
    return {name: array for name, array in arrays.items() if name.startswith(start)}


def _decompressed(content: bytes) -> bytes:
    if content.startswith(SHORT):
        return _inflated(content)
    if not content.startswith(COMPRESSED):
        return content
    start, size = len(COMPRESSED) + 8, _decompressed_size(content, len(content))
    import pyarrow

    try:
        found = pyarrow.Codec("zstd").decompress(content[start:], size, asbytes=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"the file is damaged: {error}") from None
    except MemoryError:
        raise ValueError(f"the file takes {size:,} bytes, for which there is not memory enough") from None
    if len(found) != size:
        raise ValueError(f"the file is damaged: it holds {len(found):,} bytes and claims {size:,}")
    return bytes(found)


def _inflated(content: bytes) -> bytes:
    """Return the content of a short compressed file."""
    start = len(SHORT) + 4
    if len(content) < start:
        raise ValueError("the file is damaged: it ends within its first bytes")
    (size,) = struct.unpack("<I", content[len(SHORT) : start])
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_words())
    try:
        found = unpacker.decompress(content[start:], MOST_SHORT + 1)
    except zlib.error as error:
        raise ValueError(f"the file is damaged: {error}") from None
    if not unpacker.eof or unpacker.unused_data or len(found) != size:
        raise ValueError(f"the file is damaged: it holds {len(found):,} bytes and claims {size:,}")
    return found


def _decompressed_size(content: bytes, n_bytes: int) -> int:
    """Return what the first bytes of a compressed file claim, if that is possible for a file of this size."""
    start = len(COMPRESSED) + 8
    if n_bytes < start:
        raise ValueError("the file is damaged: it ends within its first bytes")
    (size,) = struct.unpack("<Q", content[len(COMPRESSED) : start])
    if size > MOST_TIMES_SMALLER * n_bytes:
        raise ValueError(f"the file is damaged: {n_bytes:,} bytes claim to be {size:,} compressed ones")
    return int(size)


def _document(content: bytes) -> dict[str, Any]:
    """Return the document in the header of a safetensors file, after a check of all sizes that the header claims."""
    size = _header_size(content, len(content))
    text = _checked_header(content[8 : 8 + size], len(content))
    try:
        document: dict[str, Any] = from_json(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"no model, or a damaged file: {error!r:.200}") from None
    return document


def _header_size(content: bytes, n_bytes: int) -> int:
    """Return the size of the header by the first bytes of a file, after a comparison with the size of the file."""
    if n_bytes < 8:
        raise ValueError(f"no model: a file of {n_bytes} bytes")
    (size,) = struct.unpack("<Q", content[:8])
    if size > n_bytes - 8:
        raise ValueError("no model, or a damaged file: its header is said to be longer than the file")
    if size > MAX_HEADER:
        raise ValueError(
            f"no model, or a damaged file: its header has {size:,} bytes, more than {MAX_HEADER:,}"
        )
    return int(size)


def _checked_header(content: bytes, n_bytes: int) -> Any:
    """Return the document in a header as text, after a comparison of the arrays with the size of the file."""
    try:
        header = from_json(content.decode("utf-8"))
        metadata = header.pop("__metadata__")
        text = metadata[ENTRY]
        n_claimed = sum(_n_bytes(entry) for entry in header.values())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no model, or a damaged file: {error!r:.200}") from None
    n_rest = n_bytes - 8 - len(content)
    if set(metadata) != {ENTRY} or n_claimed != n_rest:
        raise ValueError(f"the file is damaged: {n_claimed:,} bytes of arrays are claimed, {n_rest:,} there")
    return text


def _n_bytes(entry: Any) -> int:
    n = _DTYPES[entry["dtype"]].itemsize
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
