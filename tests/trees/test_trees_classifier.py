"""`HoeffdingTreeClassifier`: river's contract, names of features and classes, refused samples, code on disk."""

from __future__ import annotations

import math
import os
import pickle
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from pools import EAGER, IS_COMPILED, nominal_samples, size, state
from river import checks, datasets, tree

import driftmoe
from driftmoe.trees import HoeffdingTreeClassifier


def test_sample_of_weight_zero_is_not_seen():
    model = HoeffdingTreeClassifier()
    model.learn_one({"a": 1.0}, "yes")
    before = state(model._pool)
    model.learn_one({"a": 1e9, "b": 2.0}, "no", w=0.0)
    assert model.predict_proba_one({"a": 1.0}) == {"yes": 1.0}
    assert state(model._pool) == before


def test_classifier_passes_river_with_no_check_skipped():
    model = HoeffdingTreeClassifier()
    assert model._unit_test_skips() == set()
    checks.check_estimator(model)


@pytest.mark.parametrize("dataset", [datasets.Phishing, datasets.ImageSegments])
def test_classifier_equals_rivers_on_dictionaries(dataset, naive_sum):
    ours, theirs = HoeffdingTreeClassifier(**EAGER), tree.HoeffdingTreeClassifier(**EAGER)
    for x, y in dataset().take(size(2000)):
        x = dict(sorted(x.items()))
        expected = theirs.predict_proba_one(x)
        assert ours.predict_proba_one(x) == pytest.approx(expected, abs=1e-9)
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
    assert ours.n_nodes == (theirs.n_nodes or 1)


def test_classifier_takes_text_and_gaps_as_river_does(naive_sum):
    ours, theirs = (
        kind(binary_split=True, **EAGER) for kind in (HoeffdingTreeClassifier, tree.HoeffdingTreeClassifier)
    )
    for x, y in nominal_samples(size(1500)):
        assert ours.predict_proba_one(x) == pytest.approx(theirs.predict_proba_one(x), abs=1e-9)
        ours.learn_one(x, y)
        theirs.learn_one(x, y)


def test_numbers_named_nominal_are_values():
    model = HoeffdingTreeClassifier(nominal_attributes=["zip"], **EAGER)
    rng = np.random.default_rng(1)
    for z in rng.integers(4, size=400).tolist():
        model.learn_one({"zip": 1000 + z}, z in (0, 3))
    assert "zip = 1003" in model.describe()
    assert model.predict_one({"zip": 1003}) is True
    assert model.predict_one({"zip": 1002}) is False


def test_none_nan_and_no_key_are_one():
    model = HoeffdingTreeClassifier(**EAGER)
    for x, y in nominal_samples(400):
        model.learn_one(x, y)
    x = {"a": 1.0, "d": "v1"}
    assert (
        model.predict_proba_one(x)
        == model.predict_proba_one(x | {"b": None})
        == model.predict_proba_one(x | {"b": float("nan"), "e": None})
    )


def test_describe_names_features_values_and_classes():
    model = HoeffdingTreeClassifier(**EAGER)
    assert model.describe() == "nothing seen"
    for x, y in nominal_samples(size(3000)):
        model.learn_one(x, y)
    text = model.describe()
    leaves = [line for line in text.splitlines() if "weight" in line]
    assert len(leaves) == model.n_leaves
    assert len(text.splitlines()) == model.n_nodes - 1 + model.n_leaves
    assert all(line.split()[-4] in "xyz" for line in leaves)
    assert max(line.count("|") for line in leaves) == model.depth


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ({"a": "text"}, TypeError, "'a' is 'text', a text, but was a number"),
        ({"a": 1e200, "b": 0.0}, ValueError, "'a' is 1e"),
        ({"a": [1]}, TypeError, "allowed are numbers"),
        ([1.0], TypeError, "a dict"),
    ],
)
def test_samples_that_are_none_are_refused_by_name(x, error, message):
    model = HoeffdingTreeClassifier()
    model.learn_one({"a": 1.0, "b": 2.0}, 0)
    before = state(model._pool)
    with pytest.raises(error, match=message):
        model.learn_one(x, 1)
    with pytest.raises(error, match=message):
        model.predict_proba_one(x)
    assert state(model._pool) == before
    assert model.classes == [0]


def test_a_label_too_many_is_refused_and_leaves_no_trace(monkeypatch):
    for module in ("blocks", "hoeffding"):
        monkeypatch.setattr(f"driftmoe.trees.{module}.MAX_CLASS", 3)
    model, told = HoeffdingTreeClassifier(), HoeffdingTreeClassifier()
    for label in range(4):
        model.learn_one({"a": float(label)}, label)
        told.learn_one({"a": float(label)}, label)
    before = pickle.dumps(model)
    for x in ({"a": 1.0}, {"a": 1.0, "b": "new"}):
        with pytest.raises(ValueError, match="label 'fifth' would be class 5; a tree tells 4 apart"):
            model.learn_one(x, "fifth")
    assert pickle.dumps(model) == before
    model.learn_one({"a": 3.0, "b": "new"}, 3)
    told.learn_one({"a": 3.0, "b": "new"}, 3)
    assert model.predict_proba_one({"a": 3.0}) == told.predict_proba_one({"a": 3.0})


@pytest.mark.filterwarnings("ignore:features with too many nominal values")
def test_unbounded_values_share_a_bounded_number_of_places(monkeypatch):
    monkeypatch.setattr("driftmoe.encoding.encoder.MAX_CODES", 8)
    model = HoeffdingTreeClassifier()
    for i in range(100):
        model.learn_one({"id": f"user {i}"}, i % 2)
    assert len(model._encoder._codes["id"]) == 8
    assert model.n_shared_values == 92
    assert model._pool._storage.n_values.tolist() == [8]


@pytest.mark.slow
@pytest.mark.skipif(not IS_COMPILED, reason="without compilation there is no code to keep")
def test_trees_work_where_no_compiled_code_can_be_kept(tmp_path):
    package = tmp_path / "driftmoe"
    shutil.copytree(Path(driftmoe.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    for folder in {path.parent for path in package.rglob("*.py")}:
        (folder / "__pycache__").write_text("a file where the folder would be")
    code = (
        "import sys; from driftmoe.trees import TreePool; p = TreePool(); p.learn([[1.0]], [0]);"
        "assert 'torch' not in sys.modules; print(p.predict_proba([1.0]))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "HOME": os.devnull}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    assert answer.stdout.startswith("[[1.]]")
    assert list(tmp_path.rglob("*.nb?")) == []


@pytest.mark.parametrize("names", ["color", iter(["id"]), 3])
def test_names_that_fall_apart_or_are_read_once_are_refused(names):
    with pytest.raises(TypeError, match="give the names of features in a list or a set"):
        HoeffdingTreeClassifier(nominal_attributes=names)


@pytest.mark.parametrize(
    "x",
    [
        {"a": np.array(1.0), "w": "red"},
        {"a": np.complex64(1j), "w": "red"},
        {"a": np.datetime64(1, "ns"), "w": "red"},
        {"a": 1.0, "w": "new", Decimal(7): 1.0},
        {"a": 1.0, "w": "new", math.nan: 1.0},
    ],
    ids=["array", "complex", "time", "decimal name", "NaN name"],
)
def test_a_sample_that_cannot_be_read_leaves_a_tree_as_it_was(x):
    tree = HoeffdingTreeClassifier()
    tree.learn_one({"a": 1.0, "w": "red"}, 0)
    before = pickle.dumps(tree)
    for call in (lambda: tree.learn_one(x, 0), lambda: tree.predict_proba_one(x)):
        with pytest.raises(TypeError, match=r"feature 'a' is .* of type|the name .* cannot be compared"):
            call()
    assert pickle.dumps(tree) == before
