"""Files that were damaged, and files that lie, of saved models and of adapters of networks.

A file must be refused by ValueError, or give what was saved. Anything else is harm: another exception, another model,
a changed network, or memory taken for what a file only claims to hold.
"""

from __future__ import annotations

import json
import resource
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.faults.learning import growing
from driftmoe import saving
from driftmoe.nn import inject, load_adapter, lora_layer, save_adapter
from driftmoe.routing import TopK
from driftmoe.trees import HoeffdingTreeClassifier

MOST_MEMORY = 32 << 20
"""Bytes that a process may take to refuse a file."""

BIG = 2 << 30
"""Bytes that a file claims to hold, or holds as a hole."""


def network(seed: int = 1) -> nn.Module:
    """Return a small network with an adapter, whose weights are drawn by the seed."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    inject(model, ("0", "2"), partial(lora_layer, policy=TopK(1), rank=1), n_experts=2, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def weights(model: nn.Module) -> bytes:
    """Return what an adapter changes, as bytes."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return b"".join(parameter.detach().numpy().tobytes() for parameter in trained)


class Adapters:
    """Reads files of adapters.

    Parameters
    ----------
    folder
        Where files are written.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "adapter.safetensors"
        first = network()
        save_adapter(first, self.file)
        self.content = self.file.read_bytes()
        self.expected = weights(first)
        self.other = network(2)
        self._before = {name: tensor.clone() for name, tensor in self.other.state_dict().items()}
        self._weights_before = weights(self.other)

    def read(self, content: bytes) -> bytes | None:
        """Return what a file gives, or None if it is refused and nothing is changed."""
        self.file.write_bytes(content)
        return self.read_file()

    def read_file(self) -> bytes | None:
        """As `read`, of the file as it lies there."""
        try:
            load_adapter(self.other, self.file)
        except ValueError:
            return None if weights(self.other) == self._weights_before else b"changed"
        found = weights(self.other)
        self.other.load_state_dict(self._before)
        return found


class Models:
    """Reads files of a model; see `Adapters`."""

    def __init__(self, compress: bool = False) -> None:
        model = HoeffdingTreeClassifier(grace_period=20, delta=0.5)
        for x, y in growing(60):
            model.learn_one(x, y)
        self.content = model.to_bytes(compress=compress)
        self.expected = model.digest().encode()

    def read(self, content: bytes) -> bytes | None:
        """Return the digest of the model that a file gives, or None if it is refused."""
        try:
            return str(saving.from_bytes(content).digest()).encode()
        except ValueError:
            return None


def flipped(content: bytes, bits: tuple[int, ...]) -> Iterator[bytes]:
    """Yield a file with each byte changed in turn, in each of these bits."""
    for i in range(len(content)):
        for bit in bits:
            yield content[:i] + bytes([content[i] ^ bit]) + content[i + 1 :]


def cut(content: bytes) -> Iterator[bytes]:
    """Yield a file cut off after each of its bytes, and files with something at the end."""
    yield from (content[:i] for i in range(len(content)))
    yield content + b"\0"
    yield content + content


def changed(
    read: Callable[[bytes], bytes | None],
    expected: bytes,
    files: Iterator[bytes],
    *,
    may_be_equal: bool = True,
) -> tuple[int, int]:
    """Read files; return how many, and for how many there is harm."""
    n_tried = n_lost = 0
    for content in files:
        n_tried += 1
        try:
            found = read(content)
        except Exception as error:  # whatever it is, it is harm
            print("   ", repr(error))
            n_lost += 1
        else:
            n_lost += not (found is None or (may_be_equal and found == expected))
    return n_tried, n_lost


def lying(content: bytes) -> Iterator[bytes]:
    """Yield files of tensors whose headers lie about sizes, places, names and numbers."""
    (size,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    first, second = [name for name in header if name != "__metadata__"][:2]
    entry, begin = header[first], header[first]["data_offsets"][0]
    for change in (
        {"shape": [2**62]}, {"shape": [-1]}, {"shape": [2**31, 2**31]}, {"shape": [True]}, {"shape": "3"},
        {"shape": [1.5]}, {"shape": None}, {"shape": [BIG // 4]}, {"shape": [[]]}, {"dtype": "F128"}, {"dtype": 3},
        {"dtype": "I32"}, {"dtype": "F64"}, {"dtype": None}, {"data_offsets": [begin, 2**63]},
        {"data_offsets": [-8, 0]}, {"data_offsets": [0]}, {"data_offsets": [begin, begin + BIG]},
        {"data_offsets": header[second]["data_offsets"]}, {"data_offsets": "ab"}, {"data_offsets": [0.0, 4.0]},
        {"data_offsets": [begin + 4, begin]}, {"shape": [BIG // 4], "data_offsets": [begin, begin + BIG]},
    ):  # fmt: skip
        yield _file(header | {first: entry | change}, rest)
    for name in ("../up", "/etc/passwd", "", "\0", "__metadata__.x", second + "x"):
        yield _file({name if one == first else one: of for one, of in header.items()}, rest)
    for one in (None, [], 3, "x", {}, {"dtype": "F32"}):
        yield _file(header | {first: one}, rest)
        yield _file(header | {"more": one}, rest)
    for metadata in (
        3,
        [],
        "x",
        {"format": 1},
        {"digest": None},
        {"digest": "0" * 64},
        {"version": float("nan")},
    ):
        yield _file(header | {"__metadata__": metadata}, rest)
    for text in (b"[" * 100_000, b"{" * 100_000, b"\xff", b"", b"NaN", b"null", b"[]", b"{}", b"9" * 10_000):
        yield _file(text, rest)
    twice = json.dumps({first: entry})[:-1] + ", " + json.dumps(header)[1:]
    yield _file(twice.encode(), rest)
    for claim in (2**63, 2**64 - 1, BIG, len(content), len(content) - 8, 0):
        yield struct.pack("<Q", claim) + content[8:]
    yield b""
    yield b"not a file of tensors"


def _file(header: Any, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def lying_adapters(folder: Path) -> tuple[int, int]:
    """Read adapters that lie, in little memory; return how many, and for how many there is harm.

    The address space of this process is limited for good, to some megabytes more than it has. Some of the files are
    really large, but have nothing in them.
    """
    adapters = Adapters(folder)
    adapters.read(adapters.content)  # takes what reading needs
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 2 * MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far counts no more
    before = _peak()
    n_tried, n_lost = changed(adapters.read, b"", lying(adapters.content), may_be_equal=False)
    for content in (
        adapters.content,
        struct.pack("<Q", BIG - 8) + adapters.content[8:],
        _claiming(adapters.content),
    ):
        adapters.file.write_bytes(content)
        with adapters.file.open("r+b") as file:
            file.truncate(BIG)
        tried, lost = changed(lambda _: adapters.read_file(), b"", iter([b""]), may_be_equal=False)
        n_tried, n_lost = n_tried + tried, n_lost + lost
    return n_tried, n_lost + (_peak() - before > MOST_MEMORY)


def _claiming(content: bytes) -> bytes:
    """A file whose header rightly says that its first tensor has two gigabytes."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    name = next(name for name in header if name != "__metadata__")
    only = {name: {"dtype": "U8", "shape": [BIG - 4096], "data_offsets": [0, BIG - 4096]}}
    text = json.dumps(only).encode()
    return _file(text + b" " * (4096 - 8 - len(text)), b"")


def _peak() -> int:
    """Return the most memory that this process had."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
