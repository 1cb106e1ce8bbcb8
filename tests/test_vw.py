"""Vowpal Wabbit as a peer: its own program's answers, whatever way samples come in."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import streams
from driftmoe import models
from driftmoe.evaluation import prequential
from driftmoe.vw import VowpalWabbitClassifier
from streams.wrappers import MissingValues


@pytest.fixture(scope="module", autouse=True)
def vowpalwabbit():
    return pytest.importorskip("vowpalwabbit", reason="the extra driftmoe[vw] is not installed")


def one_by_one(model, samples):
    answers = []
    for x, y in samples:
        answers.append(model.predict_one(x))
        model.learn_one(x, y)
    return answers


def in_blocks(model, stream):
    return [
        label
        for c in prequential(stream, model, window=400, keep_predictions=True)
        for _, label in c.predictions
    ]


@pytest.mark.parametrize("options", [["-q", "ff"], ["--loss_function", "logistic", "-l", "0.1"]])
def test_predictions_are_those_of_the_program(tmp_path, options):
    stream = streams.make("waveform", seed=3, n_samples=600)
    lines = [f"{y + 1} |f " + " ".join(f"{k}:{v!r}" for k, v in x.items() if v) for x, y in stream]
    (tmp_path / "samples").write_text("\n".join(lines) + "\n")
    command = [
        sys.executable,
        "-m",
        "vowpalwabbit",
        "--oaa",
        "3",
        *options,
        "-d",
        "samples",
        "-p",
        "answers",
        "--quiet",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this package of Vowpal Wabbit has no program: {done.stderr[-200:]}")
    theirs = [int(float(line)) - 1 for line in (tmp_path / "answers").read_text().split()]
    model = (
        VowpalWabbitClassifier(n_classes=3)
        if options[0] == "-q"
        else VowpalWabbitClassifier(None, loss="logistic", learning_rate=0.1, n_classes=3)
    )
    ours = one_by_one(model, stream)
    known = len({y for _, y in list(stream)[:20]})
    assert known == 3
    assert ours[20:] == theirs[20:]  # a class that has not come is no answer of ours


def test_blocks_give_the_answers_of_single_samples():
    stream = MissingValues(streams.make("waveform", seed=3, n_samples=1500), 0.1)
    assert in_blocks(VowpalWabbitClassifier(), stream) == one_by_one(VowpalWabbitClassifier(), stream)


def share_right(model, samples, n_passed=0):
    answers = one_by_one(model, samples)
    return np.mean([answer == y for answer, (_, y) in zip(answers, samples, strict=True)][n_passed:])


def test_products_of_features_tell_what_no_sum_of_features_tells():
    points = np.random.default_rng(1).random((800, 2)).tolist()
    samples = [({"a": a - 0.5, "b": b - 0.5}, (a > 0.5) == (b > 0.5)) for a, b in points]
    assert share_right(VowpalWabbitClassifier(None), samples) < 0.6
    assert share_right(VowpalWabbitClassifier("ff"), samples) > 0.9


def test_text_and_nominal_numbers_are_names():
    """Colours and a code, whose order means nothing: only as names do they decide."""
    rng = np.random.default_rng(1)
    colours = rng.choice(["red", "blue", "green", "a b:c|d"], 400)
    samples = [({"colour": colour, "n": 0.1}, colour in ("red", "a b:c|d")) for colour in colours]
    assert share_right(VowpalWabbitClassifier(None), samples, 100) == 1.0
    X = rng.integers(0, 5, (400, 1)).astype(float)
    y = np.isin(X[:, 0], (1, 3)).astype(int)
    answers = VowpalWabbitClassifier(None).step_many(
        X, y, names=["code"], values=[[10, 11, 12, 13, 14]], classes=[0, 1]
    )
    assert (np.array(answers[100:]) == y[100:]).all()


def test_a_class_among_the_first_samples_comes_without_loss():
    stream = list(streams.make("led_a", seed=3, n_samples=700))
    late = (
        [(x, y) for x, y in stream if y != 9][:300]
        + [(x, y) for x, y in stream if y == 9][:20]
        + stream[400:]
    )
    known = VowpalWabbitClassifier(n_classes=10)
    assert one_by_one(VowpalWabbitClassifier(), late)[330:] == one_by_one(known, late)[330:]


def test_a_class_that_comes_late_is_learnt_too():
    rng = np.random.default_rng(1)
    samples = [({"a": float(y), "b": 1.0 + rng.normal() / 10}, int(y)) for y in rng.integers(0, 2, 1500)]
    samples += [({"a": float(y), "b": 1.0 + rng.normal() / 10}, int(y)) for y in rng.integers(0, 6, 600)]
    answers = one_by_one(VowpalWabbitClassifier(), samples)
    assert set(answers[-300:]) == set(range(6))


def test_probabilities_are_of_the_known_classes_and_add_up_to_1():
    for loss in ("squared", "logistic", "hinge"):
        model = VowpalWabbitClassifier(loss=loss, n_classes=5)
        assert model.predict_proba_one({"a": 1}) == {}
        assert model.predict_one({"a": 1}) is None
        for i in range(60):
            model.learn_one({"a": i % 3, "b": 1}, "xyz"[i % 3])
        proba = model.predict_proba_one({"a": 2, "b": 1})
        assert set(proba) == set("xyz")
        assert math.isclose(sum(proba.values()), 1.0)
        assert max(proba, key=proba.get) == model.predict_one({"a": 2, "b": 1}) == "z"


def test_a_number_of_numpy_is_a_weight_like_any_other():
    ours, theirs = VowpalWabbitClassifier(), VowpalWabbitClassifier()
    for i in range(60):
        ours.learn_one({"a": i % 2}, i % 2, w=np.float64(2.0))
        theirs.learn_one({"a": i % 2}, i % 2, w=2.0)
    assert ours.predict_proba_one({"a": 1}) == theirs.predict_proba_one({"a": 1})
    assert ours.predict_proba_one({"a": 1})[1] > 0.6


def test_a_weight_counts_and_weight_0_teaches_nothing():
    model, twin = VowpalWabbitClassifier(), VowpalWabbitClassifier()
    for x, y in streams.make("sea", seed=1, n_samples=100):
        model.learn_one(x, y)
        twin.learn_one(x, y)
        twin.learn_one(x, 1 - y, w=0.0)
    assert model.predict_proba_one(x) == twin.predict_proba_one(x)
    twin.learn_one(x, 1 - y, w=50.0)
    assert twin.predict_proba_one(x)[1 - y] > model.predict_proba_one(x)[1 - y]


def test_a_trained_model_is_not_copied_and_an_untrained_one_is():
    model = VowpalWabbitClassifier(bits=12)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.clone()):
        twin.learn_one({"a": 1}, "x")
        assert (twin.bits, twin.predict_one({"a": 1})) == (12, "x")
    model.learn_one({"a": 1}, "x")
    with pytest.raises(TypeError, match="cannot be copied: its files lack"):
        pickle.dumps(model)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("vw(interactions='ab')", "interactions='ab'; all features are of the group f"),
        ("vw(interactions='ff --help')", "all features are of the group f"),
        ("vw(loss='x')", "loss='x'; choose one of squared, logistic, hinge"),
        ("vw(learning_rate=0)", "learning_rate=0; choose a number above 0"),
        ("vw(l2=-1)", "l2=-1; choose a number 0 or more"),
        ("vw(bits=50)", "bits=50; choose a whole number from 1 to 30"),
        ("vw(n_classes=1)", "n_classes=1; choose a whole number from 2"),
    ],
)
def test_wrong_arguments_are_refused(spec, said):
    with pytest.raises(ValueError, match=said):
        models.make(spec)


def test_wrong_samples_are_refused():
    model = VowpalWabbitClassifier()
    with pytest.raises(ValueError, match="infinite"):
        model.step_many(np.array([[np.inf]]), np.array([0]), names=["a"], values=[None], classes=[0])
    with pytest.raises(ValueError, match="label is None"):
        model.learn_one({"a": 1}, None)
    with pytest.raises(TypeError, match="allowed are numbers"):
        model.predict_one({"a": [1]})


def test_every_argument_changes_the_result():
    stream = list(streams.make("rbf_f", seed=1, n_samples=300))
    changed = (
        {}, {"interactions": None}, {"learning_rate": 0.05}, {"l1": 0.001}, {"l2": 0.01}, {"loss": "hinge"},
        {"bits": 4},
    )  # fmt: skip
    found = []
    for arguments in changed:
        model = VowpalWabbitClassifier(**arguments)
        one_by_one(model, stream)
        found.append(tuple(model.predict_proba_one(stream[0][0]).values()))
    assert len(set(found)) == len(changed)


def test_memory_is_that_of_the_weights():
    small, large = VowpalWabbitClassifier(bits=10), VowpalWabbitClassifier(bits=20)
    assert large._raw_memory_usage > 500 * small._raw_memory_usage > 0
