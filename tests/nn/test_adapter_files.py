"""Files of adapters: damage is noticed, lies are refused before they take memory, and models change whole or not."""

from __future__ import annotations

import json
import os
import struct

import commands
import pytest
import torch

from benchmarks.faults import damage
from driftmoe.nn import load_adapter, save_adapter

torch_files = pytest.importorskip("safetensors.torch", reason="needs the extra nn")


@pytest.fixture
def adapters(tmp_path):
    return damage.Adapters(tmp_path)


def test_a_whole_file_is_read(adapters):
    assert adapters.read(adapters.content) == adapters.expected


def test_every_flipped_bit_is_refused_or_changes_nothing(adapters):
    bits = tuple(1 << i for i in range(8))
    tried, lost = damage.changed(adapters.read, adapters.expected, damage.flipped(adapters.content, bits))
    assert (tried, lost) == (8 * len(adapters.content), 0)


def test_every_truncation_and_any_tail_are_refused(adapters):
    files = damage.cut(adapters.content)
    tried, lost = damage.changed(adapters.read, adapters.expected, files, may_be_equal=False)
    assert (tried, lost) == (len(adapters.content) + 2, 0)


def test_files_that_lie_are_refused(adapters):
    files = damage.lying(adapters.content)
    tried, lost = damage.changed(adapters.read, adapters.expected, files, may_be_equal=False)
    assert lost == 0
    assert tried > 60


def test_files_that_lie_are_refused_before_memory_is_taken(tmp_path):
    pytest.importorskip("resource")
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("this system does not tell the memory of a process")
    script = "from pathlib import Path; from benchmarks.faults import damage; print(*damage.lying_adapters(Path()))"
    done = commands.python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == 0, done.stdout


def test_the_size_of_a_file_is_checked_before_its_tensors_are_read(adapters, monkeypatch):
    adapters.file.write_bytes(adapters.content)
    with adapters.file.open("r+b") as file:
        file.truncate(2 << 30)
    monkeypatch.setattr("driftmoe.nn.adapter_files._tensors", None)
    with pytest.raises(
        ValueError, match=r"its header accounts for [\d,]+ bytes, and it has 2,147,483,648; save"
    ):
        load_adapter(adapters.other, adapters.file)


def test_harm_is_counted(adapters):
    def fails(_):
        raise KeyError("a raw error")

    assert damage.changed(fails, b"", iter([b"", b""])) == (2, 2)
    assert damage.changed(lambda _: b"another", b"expected", iter([b""])) == (1, 1)
    assert damage.changed(lambda _: None, b"expected", iter([b""])) == (1, 0)
    assert damage.changed(lambda _: b"same", b"same", iter([b""])) == (1, 0)
    assert damage.changed(lambda _: b"same", b"same", iter([b""]), may_be_equal=False) == (1, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged, or no adapter: a file of 0 bytes; save the adapter again"),
        (struct.pack("<Q", 2**40) + b"{}", r"header is said to have 1,099,511,627,776 bytes; .* at most 1,0"),
        (struct.pack("<Q", 99) + b"{}", "it ends within its header"),
        (struct.pack("<Q", 11) + b'{"a": NaN} ', "NaN is not a number in JSON"),
        (struct.pack("<Q", 8) + b'{"": 1} ', "'' has no type that is known here: F64"),
    ],
    ids=["empty", "long header", "cut header", "NaN", "no type"],
)
def test_a_message_says_what_is_wrong_with_a_file(adapters, content, message):
    adapters.file.write_bytes(content)
    with pytest.raises(ValueError, match=f"load_adapter: {adapters.file} .*{message}"):
        load_adapter(adapters.other, adapters.file)


def tensors_of(model, tmp_path):
    save_adapter(model, tmp_path / "of")
    return torch_files.load_file(tmp_path / "of")


def test_a_file_without_digest_is_read_as_those_of_earlier_versions(adapters, tmp_path):
    first = damage.network()
    torch_files.save_file(tensors_of(first, tmp_path), adapters.file, metadata={"format": "pt"})
    assert adapters.read_file() == adapters.expected


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_neither_saved_nor_loaded(adapters, tmp_path, number):
    tensors = tensors_of(damage.network(), tmp_path)
    name = min(tensors)
    tensors[name].view(-1)[-1] = number
    torch_files.save_file(tensors, adapters.file)
    assert adapters.read_file() is None
    with pytest.raises(
        ValueError, match=rf"{name} in .* holds NaN or infinite numbers; take a file from before"
    ):
        load_adapter(adapters.other, adapters.file)
    diverged = damage.network()
    next(p for p in diverged.parameters() if p.requires_grad).data.fill_(number)
    with pytest.raises(ValueError, match="holds NaN or infinite numbers, and load_adapter would refuse it"):
        save_adapter(diverged, tmp_path / "diverged")
    assert not (tmp_path / "diverged").exists()


def test_floats_are_converted_to_floats_and_nothing_else(adapters, tmp_path):
    first = damage.network()
    tensors = tensors_of(first, tmp_path)
    torch_files.save_file({name: one.double() for name, one in tensors.items()}, adapters.file)
    assert adapters.read_file() == adapters.expected
    name = min(tensors)
    torch_files.save_file(tensors | {name: tensors[name].int()}, adapters.file)
    with pytest.raises(
        ValueError, match=r"of torch\.int32 in .* and of torch\.float32 in the model; only floats"
    ):
        load_adapter(adapters.other, adapters.file)
    torch_files.save_file(tensors | {name: tensors[name].double() + 1e300}, adapters.file)
    with pytest.raises(ValueError, match=r"holds NaN or infinite numbers as torch\.float32"):
        load_adapter(adapters.other, adapters.file)
    assert adapters.read_file() is None


def test_an_interrupt_leaves_no_half_of_an_adapter(adapters, monkeypatch):
    copy, left = torch.Tensor.copy_, [2]

    def interrupted(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return copy(self, *arguments)

    monkeypatch.setattr(torch.Tensor, "copy_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_adapter(adapters.other, adapters.file)
    assert damage.weights(adapters.other) == adapters.expected


def test_a_failed_save_leaves_the_old_file(adapters, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match="the adapter is not saved; a file of this name, if there was one, is as it"
    ):
        save_adapter(damage.network(3), adapters.file)
    assert adapters.file.read_bytes() == adapters.content
    assert os.listdir(tmp_path) == [adapters.file.name]


def test_a_link_stays_a_link(adapters, tmp_path):
    (tmp_path / "latest").symlink_to(adapters.file)
    save_adapter(damage.network(3), tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert adapters.file.read_bytes() != adapters.content


def test_other_programs_can_read_a_file(adapters):
    with open(adapters.file, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(size))["__metadata__"]
    assert metadata["format"] == "pt"
    tensors = torch_files.load_file(adapters.file)
    state = damage.network().state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in tensors.items())
