"""The state of one key as bytes: the file of its model, and what the next step has to know besides.

After eight bytes `DMKEYED1` and the length of a header come the header as JSON, the file of the model, and a digest
over all before it. The file is that of `driftmoe.saving`, compressed, whose format has versions of its own.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from driftmoe import saving

MAGIC = b"DMKEYED1"
"""First bytes of a state. The last one is the version of this form."""

N_DIGEST = 8
"""Bytes of the digest."""

_LENGTH = struct.Struct("<I")


@dataclass
class Live:
    """The model of a key, and what the next step has to know.

    Attributes
    ----------
    model
        The classifier.
    seq
        Number of the last event that was taken.
    noticed
        Number of the learnt sample up to which the model's own events were told.
    waiting
        Id -> features of samples that wait for their labels, oldest first; empty if an engine keeps them.
    """

    model: Any
    seq: int = -1
    noticed: int = 0
    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)


def to_bytes(live: Live) -> bytes:
    """Return the state of a key as bytes.

    Raises
    ------
    TypeError
        If the model cannot be described without code; see `driftmoe.save`.
    """
    header: dict[str, Any] = {"seq": live.seq, "noticed": live.noticed}
    if live.waiting:
        header["waiting"] = live.waiting
    text = json.dumps(header, separators=(",", ":")).encode()
    content = b"".join([MAGIC, _LENGTH.pack(len(text)), text, saving.to_bytes(live.model, compress=True)])
    return content + _digest(content)


def from_bytes(state: bytes, prior: Any = None) -> Live:
    """Return the model of a key, and what the next step has to know.

    Parameters
    ----------
    state
        What `to_bytes` has returned.
    prior
        The prior of the model, if it has one; see `driftmoe.load`.

    Raises
    ------
    ValueError
        If these are no such bytes, they are damaged, or they were written by a newer version.
    """
    if not isinstance(state, bytes | bytearray | memoryview):
        raise TypeError(
            f"the state of a key is of type {type(state).__name__}; give bytes, or None for a new key"
        )
    state = bytes(state)
    start = len(MAGIC) + _LENGTH.size
    if len(state) < start + N_DIGEST or state[:7] != MAGIC[:7]:
        raise ValueError(
            f"these {len(state):,} bytes are not the state of a key; give what `step` returned, or None for a new key"
        )
    if state[:8] != MAGIC:
        raise ValueError(
            f"the state of the key has the form {state[7:8]!r}, and this version reads {MAGIC[7:]!r}; was it written "
            "by a newer version?"
        )
    if _digest(state[:-N_DIGEST]) != state[-N_DIGEST:]:
        raise ValueError("the state of the key is damaged: its digest does not fit its content")
    end = start + _LENGTH.unpack_from(state, len(MAGIC))[0]
    header = json.loads(state[start:end])
    model = saving.from_bytes(state[end:-N_DIGEST], **({} if prior is None else {"prior": prior}))
    return Live(model, header["seq"], header["noticed"], header.get("waiting", {}))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=N_DIGEST).digest()
