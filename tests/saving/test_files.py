"""Files of models: equal for equal models, and any damage is noticed before anything is built."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path

import commands
import numpy as np
import pytest
from river import compose, preprocessing

import driftmoe
from driftmoe import DriftMoEClassifier, saving
from driftmoe.memory import n_bytes
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.saving import codec, files, room
from driftmoe.saving.codec import as_json
from driftmoe.saving.files import COMPRESSED, ENTRY, SHORT, digest_of, packed, unpacked
from driftmoe.saving.room import room_of
from driftmoe.trees import HoeffdingTreeClassifier


@pytest.fixture(scope="module")
def tree():
    model = HoeffdingTreeClassifier(grace_period=20, delta=0.5)
    for i in range(100):
        model.learn_one({"x": i % 7, "colour": "red" if i % 3 else "blue"}, "ab"[i % 7 > 3])
    assert model.n_nodes > 1
    return model


@pytest.fixture(scope="module")
def content(tree):
    return tree.to_bytes()


def outcome(content):
    """The digest of the model that bytes give, or None if they are refused by name."""
    try:
        return saving.from_bytes(content).digest()
    except ValueError:
        return None


def written(tree, form, monkeypatch):
    """The bytes of a file: as it is, compressed with the words that files share, or as long ones are."""
    with monkeypatch.context() as longer:
        longer.setattr(files, "MOST_SHORT", 0 if form == "zstd" else 1 << 16)
        return tree.to_bytes(compress=form != "plain")


@pytest.mark.parametrize("form", ["plain", "short", "zstd"])
def test_every_flipped_byte_is_refused_or_changes_nothing(tree, form, monkeypatch):
    content, expected = written(tree, form, monkeypatch), tree.digest()
    outcomes = set()
    for i in range(len(content)):
        for bit in (0x01, 0x80) if form == "plain" else (0x01,):
            spoilt = bytearray(content)
            spoilt[i] ^= bit
            outcomes.add(outcome(bytes(spoilt)))
    assert outcomes <= {None, expected}
    assert None in outcomes


@pytest.mark.parametrize("form", ["plain", "short", "zstd"])
def test_every_truncation_and_any_tail_are_refused(tree, form, monkeypatch):
    content = written(tree, form, monkeypatch)
    for i in range(len(content)):
        assert outcome(content[:i]) is None
    assert outcome(content + b"\0") is None


def test_the_words_that_short_files_share_never_change():
    """Another text needs other first bytes of the file, and this one must stay for the files that are there."""
    found = hashlib.sha256(files._words()).hexdigest()
    assert found == "65791fecd5efe565a7ff38b90ad2600038b7b0edb5101d15c17df9c2114e4893"


def test_equal_models_have_equal_files(tree, content):
    again = saving.from_bytes(content)
    for _ in range(1000):
        again = saving.from_bytes(again.to_bytes())
    assert again.to_bytes() == content
    assert saving.from_bytes(tree.to_bytes(compress=True)).to_bytes() == content


def document_of(content):
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    return header, json.loads(header["__metadata__"][ENTRY]), content[8 + size :]


def test_the_document_in_a_file_is_written_as_any_other(tree):
    pipeline = compose.Pipeline(('first "step"', preprocessing.StandardScaler()), ("tree", tree.clone()))
    for model in (tree, pipeline, compose.Pipeline(pipeline)):
        header, document, _ = document_of(saving.to_bytes(model))
        assert header["__metadata__"][ENTRY] == as_json(document)


def with_document(content, **changes):
    header, document, rest = document_of(content)
    header["__metadata__"][ENTRY] = as_json(document | changes)
    return with_header(header, rest)


def with_header(header, rest):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def test_a_newer_format_is_refused_by_its_number(content):
    with pytest.raises(ValueError, match=r"format 2, written by driftmoe 9\.0; .* install that version"):
        saving.from_bytes(with_document(content, format=2, version="9.0"))


@pytest.mark.parametrize(
    "changes", [{"format": 0}, {"format": "1"}, {"format": True}, {"more": 1}, {"version": 1}, {"digest": 1}]
)
def test_a_document_of_other_entries_is_refused(content, changes):
    assert outcome(with_document(content, **changes)) is None


def hostile(content):
    """Files that lie about sizes, places and names."""
    header, _, rest = document_of(content)
    arrays = [name for name in header if name != "__metadata__"]
    entry = header[arrays[0]]
    for changed in (
        {"shape": [2**62]}, {"shape": [-1]}, {"shape": [2**31, 2**31]}, {"shape": [True]}, {"shape": "3"},
        {"shape": [1.5]}, {"dtype": "F128"}, {"dtype": 3}, {"data_offsets": [0, 2**63]}, {"data_offsets": [-8, 0]},
        {"data_offsets": [0]},
        {"data_offsets": header[arrays[1]]["data_offsets"]},
    ):  # fmt: skip
        yield with_header(header | {arrays[0]: entry | changed}, rest)
    for name in ("../up", "", "__metadata__.x", "\0"):
        yield with_header({name if one == arrays[0] else one: of for one, of in header.items()}, rest)
    yield with_header({name: of for name, of in header.items() if name != "__metadata__"}, rest)
    yield with_header(header | {"__metadata__": {ENTRY: "[" * 100_000}}, rest)
    yield with_header(header | {"__metadata__": {ENTRY: "NaN"}}, rest)
    yield with_header(header | {"__metadata__": {ENTRY: 1}}, rest)
    yield with_header(header | {"__metadata__": header["__metadata__"] | {"more": "x"}}, rest)
    yield with_header(b"[" * 100_000, rest)
    yield with_header(b"\xff", rest)
    for claim in (2**63, 2**64 - 1, len(content)):
        yield struct.pack("<Q", claim) + content[8:]
    for claim in (2**31, 2**32 - 1, 0):
        yield SHORT + struct.pack("<I", claim) + zlib.compress(bytes(10_000_000), wbits=-15)
    for claim in (2**31, 2**63, 0):
        yield COMPRESSED + struct.pack("<Q", claim) + content
    yield b""
    yield b"not a model"


def test_files_that_lie_are_refused_before_memory_is_taken(content):
    import tracemalloc

    tracemalloc.start()
    try:
        for file in hostile(content):
            assert outcome(file) is None
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


BIG = 2 << 30
"""Bytes of files that have nothing in them but their first bytes."""


def large(content, compressed):
    """First bytes of large files that do not account for the size."""
    header, _, rest = document_of(content)
    name = min(name for name in header if name != "__metadata__")
    yield b""
    yield content
    yield compressed
    yield COMPRESSED + struct.pack("<Q", 2**63) + compressed[16:]
    yield struct.pack("<Q", 0) + content[8:]
    yield struct.pack("<Q", BIG - 8) + content[8:]
    yield struct.pack("<Q", BIG) + content[8:]
    yield with_header(header | {name: header[name] | {"shape": [BIG]}}, rest)
    yield with_header(header | {name: {"dtype": "U8", "shape": []}}, rest)


@pytest.mark.parametrize("read", [driftmoe.load, saving.outline])
def test_a_large_file_is_refused_before_it_is_read(tree, content, tmp_path, read, monkeypatch):
    import tracemalloc

    file = tmp_path / "large"
    tracemalloc.start()
    try:
        short = tree.to_bytes(compress=True)
        monkeypatch.setattr(files, "MOST_SHORT", 0)
        for first in [short, *large(content, tree.to_bytes(compress=True))]:
            file.write_bytes(first)
            with file.open("r+b") as out:
                out.truncate(BIG)
            with pytest.raises(ValueError, match=r"large: (no model|the file is damaged)"):
                read(file)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["plain", "short", "zstd"])
def test_a_large_file_that_accounts_for_its_size_is_read(tree, tmp_path, monkeypatch, form):
    monkeypatch.setattr(files, "SMALL", 100)
    file = tmp_path / "model"
    file.write_bytes(written(tree, form, monkeypatch))
    assert driftmoe.load(file).digest() == tree.digest()
    file.write_bytes(file.read_bytes() + b"\0" * 1_000)
    with pytest.raises(ValueError, match="the file is damaged: "):
        driftmoe.load(file)


def test_an_endless_file_is_refused(tmp_path):
    zero = Path("/dev/zero")
    if not zero.exists():
        pytest.skip("this system has no endless file")
    with pytest.raises(ValueError, match="no file, and more than 16,777,216 bytes; copy it to a file first"):
        driftmoe.load(zero)


@pytest.mark.parametrize(
    "arrays", [{"junk": np.zeros(2)}, {"own.x": np.zeros(2)}, {"pool.more": np.zeros(2)}]
)
def test_an_array_that_belongs_to_nothing_is_refused(content, arrays):
    found = unpacked(content)
    with pytest.raises(ValueError, match="belongs to nothing"):
        saving.from_bytes(forged(found, found.arrays | arrays))


def test_a_part_without_its_digest_is_refused(content):
    found = unpacked(content)
    found.model["parts"]["pool"]["digest"] = "0" * 64
    with pytest.raises(ValueError, match="its part 'pool' does not have the digest of the part"):
        saving.from_bytes(packed(found.model, found.arrays, "0", compress=False))


def claiming(model, **arguments):
    """The bytes of a file whose arguments were changed, and all of whose digests are right."""
    found = unpacked(model.to_bytes())
    found.model["arguments"].update(codec.encoded(arguments).document)
    return packed(found.model, found.arrays, "0", compress=False)


POLICY = {"$object": ["WithNull", {"policy": {"$object": ["TopK", {"k": 2}]}, "n_null": 10**8}]}

MEMORY = """
import resource, sys
from pathlib import Path
from driftmoe import saving
from driftmoe.nn import NeuralMoEClassifier
saving.from_bytes(Path("honest").read_bytes())
most = 0
for file in sorted(Path().glob("claiming*")):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        saving.from_bytes(file.read_bytes())
        print("loaded", file)
    except ValueError as error:
        if "may claim" not in str(error):
            print(error)
    most = max(most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(most // (1 << 20 if sys.platform == "darwin" else 1 << 10))
"""


def test_arguments_that_claim_too_much_are_refused_before_memory_is_taken(tmp_path):
    """Measured from outside: tracemalloc does not see what is taken by other languages."""
    pytest.importorskip("resource")
    model = DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,), seed=1)
    networks = NeuralMoEClassifier("moe-data", n_experts=2, hidden=(4,), seed=1)
    contents = [
        claiming(model, hidden=(30_000, 30_000)),
        claiming(model, n_experts=10**9),
        claiming(model, n_experts=10**5),
        claiming(model, batch_size=10**9),
        claiming(model, n_threads=10**6),
        claiming(DriftMoEClassifier(n_experts=2, hidden=(4,), seed=1), memory=64 * 10**9),
        claiming(networks, expert_hidden=(5_000, 5_000, 5_000)),
        claiming(networks, batch_size=10**8),
    ]
    found = unpacked(model.to_bytes())
    found.model["arguments"]["policy"] = POLICY
    contents.append(packed(found.model, found.arrays, "0", compress=False))
    (tmp_path / "honest").write_bytes(model.to_bytes())
    for i, content in enumerate(contents):
        (tmp_path / f"claiming {i}").write_bytes(content)
    done = commands.python("-c", MEMORY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20


@pytest.mark.parametrize(
    "arguments",
    [
        {}, {"hidden": (2_000, 2_000)}, {"memory": 64_000}, {"n_experts": 300}, {"batch_size": 20_000},
    ],
)  # fmt: skip
def test_what_a_model_takes_is_foreseen(arguments):
    model = DriftMoEClassifier(**arguments)
    assert 0.9 * n_bytes(model) < room_of(model._settings()) < 5 * n_bytes(model)


def test_a_model_that_would_not_be_loaded_is_not_saved(monkeypatch):
    monkeypatch.setattr(room, "FREE", 1_000)
    with pytest.raises(
        ValueError, match=r"the model cannot be saved: the arguments claim .* or smaller hidden"
    ):
        DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,)).to_bytes()


def test_more_than_memory_holds_is_refused(monkeypatch):
    content = claiming(DriftMoEClassifier("moe-data", n_experts=2, seed=1), batch_size=10**13)
    monkeypatch.setattr(room, "FREE", 1 << 80)
    with pytest.raises(ValueError, match="for which there is not memory enough"):
        saving.from_bytes(content)


def test_a_classifier_within_a_pipeline_is_refused():
    one = ["tree", {"class": "Pipeline", "steps": []}]
    with pytest.raises(
        ValueError, match="a pipeline with a Pipeline before its last step; what can be there: St"
    ):
        saving.from_bytes(packed({"class": "Pipeline", "steps": [one, one]}, {}, "0", compress=False))


def test_a_header_is_bounded(tree, content, monkeypatch):
    monkeypatch.setattr(files, "MAX_HEADER", 1_000)
    with pytest.raises(ValueError, match=r"names, labels and values take [\d,]+ bytes .* has room for 1,000"):
        tree.to_bytes()
    with pytest.raises(ValueError, match=r"its header has [\d,]+ bytes, more than 1,000"):
        saving.from_bytes(content)


def test_what_compression_makes_tiny_is_kept_as_it_is():
    arrays = {"part.x": np.tile(np.arange(8), 100_000)}
    content = packed({"parts": {}}, arrays, "0", compress=True)
    assert content == packed({"parts": {}}, arrays, "0", compress=False)


def test_other_programs_can_read_the_arrays(content):
    import safetensors.numpy

    arrays = safetensors.numpy.load(content)
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in unpacked(content).arrays.items()
    }


def test_what_is_no_bytes_is_refused():
    with pytest.raises(TypeError, match="content is of type int; give the bytes of a file"):
        saving.from_bytes(5)


def forged(found, arrays):
    """The bytes of a file whose arrays were changed, and all of whose digests are right."""
    parts = {
        part: kept
        | {"digest": digest_of(kept["state"], {n: a for n, a in arrays.items() if n.startswith(f"{part}.")})}
        for part, kept in found.model["parts"].items()
    }
    return packed(found.model | {"parts": parts}, arrays, "0", compress=False)


def test_right_digests_do_not_make_a_wrong_state_a_model(monkeypatch):
    """Who can write a file can write its digests, too: each part still checks what it takes."""
    monkeypatch.setattr(codec, "MAX_SHORT", -1)
    model = DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,), seed=1)
    for i in range(50):
        model.learn_one({"x": i % 5}, i % 5 > 2)
    found = unpacked(model.to_bytes())
    assert outcome(forged(found, found.arrays)) == model.digest()
    n_cut = n_not_finite = 0
    for name, array in found.arrays.items():
        if array.size:
            n_cut += 1
            cut = array[..., :-1] if array.ndim else array.reshape(1)
            assert outcome(forged(found, found.arrays | {name: cut})) is None, name
        may_be_nan = name.endswith(("batch_targets", "recent.vectors"))  # before growth; missing values
        if array.size and array.dtype.kind == "f" and not may_be_nan:
            n_not_finite += 1
            assert outcome(forged(found, found.arrays | {name: np.full_like(array, np.nan)})) is None, name
    assert n_cut >= 20
    assert n_not_finite > 5
