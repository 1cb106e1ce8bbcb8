"""Saved models of earlier versions: they load, answer as they did, and learn on as they would have."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from golden import make
from places import ENVIRONMENT

import driftmoe
from driftmoe import saving
from driftmoe.experts import EXTRAS
from driftmoe.mixture import HEAD, MIXTURES
from driftmoe.saving.files import unpacked
from driftmoe.saving.models import CLASSIFIERS, TRANSFORMERS

EXPECTED = json.loads((make.HERE / "expected.json").read_text())

FILES = EXPECTED["files"]


@pytest.mark.parametrize("file", FILES)
def test_a_saved_model_answers_and_learns_on_as_it_did(file):
    name, expected = file.removesuffix(".moe"), FILES[file]
    model = driftmoe.load(make.HERE / file)
    assert make.answers(model, name) == expected["answers"]
    assert make.later(model, name) == expected["later"]


def test_every_file_has_its_answers():
    assert {file.name for file in make.HERE.glob("*.moe")} == set(FILES)
    assert sum(file.stat().st_size for file in make.HERE.glob("*.moe")) < 750_000


def test_there_is_a_file_of_each_kind_of_model():
    documents = [unpacked((make.HERE / file).read_bytes()).model for file in FILES]
    documents += [step for document in documents for _, step in document.get("steps", ())]
    kinds = {document["class"] for document in documents}
    variants = {document["arguments"].get("variant") for document in documents if "arguments" in document}
    assert kinds == {"Pipeline", *CLASSIFIERS, *TRANSFORMERS}
    assert variants >= set(MIXTURES)
    assert set(FILES) >= {f"extra-{extra}.moe" for extra in (*EXTRAS, HEAD)}


WITHOUT_CODE = """
import sys
folder, n_files, *paths = sys.argv[1:]
files, sys.path[:0] = paths[: int(n_files)], paths[int(n_files) :]
import _pickle, pickle
from driftmoe import saving
for file in files:  # numba reads compiled code by pickle, and modules are imported
    saving.load(f"{folder}/{file}")

REFUSED = {
    "compile", "code.__new__", "exec", "import", "marshal.loads", "os.exec", "os.system", "pickle.find_class",
    "subprocess.Popen",
}
def hook(event, arguments):
    if event in REFUSED: raise AssertionError(f"{event} was called")
def refused(*_, **__): raise AssertionError("something was unpickled")
for module in (pickle, _pickle):
    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        if hasattr(module, name): setattr(module, name, refused)
sys.addaudithook(hook)
for file in files:
    print(saving.digest(saving.load(f"{folder}/{file}")))
"""


def test_nothing_is_unpickled_and_no_code_runs():
    """numpy unpickles by the same functions."""
    paths = [ENVIRONMENT["PYTHONPATH"], *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WITHOUT_CODE, str(make.HERE), str(len(FILES)), *FILES, *paths],
        capture_output=True,
        text=True,
    )
    expected = [saving.digest(driftmoe.load(make.HERE / file)) for file in FILES]
    assert done.stdout.split() == expected, done.stderr[-2000:]
