"""The mixture whose experts are networks."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from river import base, checks, datasets

import streams
from driftmoe.evaluation import prequential
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import STREAM, TopP, WithNull, WithShared

SMALL = {"n_experts": 4, "hidden": (8,), "expert_hidden": (8,), "seed": 7}
VARIANTS = ("driftmoe", "moe-vote", "moe-data")
CHECKS = list(checks.yield_checks(NeuralMoEClassifier()))


def small(variant="driftmoe", **arguments):
    top_k = {} if variant == "driftmoe" or arguments.get("policy") is not None else {"top_k": 2}
    return NeuralMoEClassifier(variant, **(SMALL | top_k | arguments))


def trained(variant, n_samples=200):
    model = small(variant)
    for x, y in datasets.ImageSegments().take(n_samples):
        model.learn_one(x, y)
    return model


def accuracy(model, stream):
    *_, last = prequential(stream, model, window=10**9)
    return last.cumulative["accuracy"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("i", range(len(CHECKS)))
def test_river_check(i, variant):
    assert small(variant)._unit_test_skips() == set()
    CHECKS[i](small(variant))


class FailsOnText(base.Classifier):
    _multiclass = True

    def learn_one(self, x, y):
        if "c" in x:
            raise RuntimeError("no text")

    def predict_proba_one(self, x):
        return {0: 1.0}


def test_an_extra_that_raises_leaves_networks_and_router_in_step():
    model = small(extras=(FailsOnText(),))
    X, y = pd.DataFrame({"a": np.linspace(0, 1, 40)}), pd.Series([0, 1] * 20)
    model.learn_many(X, y)
    with pytest.raises(RuntimeError, match="no text"):
        model.learn_one({"a": 1.0, "c": "red"}, 1)
    model.learn_many(X, y)
    assert all(network.room == model._mixture.router.room for network in model._mixture.experts._networks)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_learning_many_equals_learning_one_by_one(variant, rows):
    samples = list(datasets.ImageSegments().take(200))
    X, y = pd.DataFrame([x for x, _ in samples]), pd.Series([label for _, label in samples])
    one, many = small(variant), small(variant)
    for x, label in samples:
        one.learn_one(x, label)
    for start in range(0, len(X), rows):
        many.learn_many(X.iloc[start : start + rows], y.iloc[start : start + rows])
    for theirs, ours in zip(one._mixture.experts._networks, many._mixture.experts._networks, strict=True):
        assert theirs._weights.tobytes() == ours._weights.tobytes()
    assert all(many.predict_proba_one(x) == one.predict_proba_one(x) for x, _ in samples)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_goes_on_as_the_original_would_and_predicting_changes_nothing(variant, copied):
    original = trained(variant)
    before, twin = pickle.dumps(original), copied(original)
    for x, _ in datasets.ImageSegments().take(20):
        original.predict_proba_one({**x, "new": 1.0})
    assert pickle.dumps(original) == before
    for x, y in list(datasets.ImageSegments().take(300))[200:]:
        assert twin.predict_proba_one(x) == original.predict_proba_one(x)
        original.learn_one(x, y)
        twin.learn_one(x, y)


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_and_classes_may_appear(variant):
    model = small(variant)
    rng = np.random.default_rng(0)
    for i in range(600):
        a, b = rng.normal(size=2)
        model.learn_one({"a": a}, "low" if a < 0 else "high")
        if i > 300:
            model.learn_one({"a": a, "b": b, "kind": "red"}, "third" if b > 0.5 else "high")
    assert model.predict_one({"a": -1.0}) == "low"
    assert model.predict_one({"a": 0.0, "b": 2.0, "kind": "red"}) == "third"
    assert sum(model.predict_proba_one({}).values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("variant", "policy"),
    [
        ("driftmoe", TopP(0.9)),
        ("moe-vote", STREAM),
        ("moe-data", WithNull(TopP(0.9), n_null=2)),
        ("moe-vote", WithShared(TopP(0.5), n_shared=1)),
    ],
    ids=str,
)
def test_policies_route_networks_and_the_report_names_them(variant, policy):
    model = small(variant, policy=policy)
    accuracy(model, streams.make("waveform", seed=1, n_samples=600))
    figures = model.routing_report().cumulative
    assert figures.experts[:4] == tuple(f"network {i}" for i in range(1, 5))
    assert 0.0 < figures.experts_used <= len(figures.experts)


@pytest.mark.parametrize("variant", VARIANTS)
def test_networks_learn_what_a_line_cannot_tell(variant):
    rng = np.random.default_rng(0)
    model, hits = small(variant), 0
    for i in range(2500):
        a, b = rng.normal(size=2)
        y = int((a > 0) != (b > 0))
        hits += i >= 1500 and model.predict_one({"a": a, "b": b}) == y
        model.learn_one({"a": a, "b": b}, y)
    assert hits > 900


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_experts", 5),
        ("expert_hidden", (9,)),
        ("expert_rate", 0.01),
        ("batch_size", 8),
        ("seed", 8),
        ("extras", ("linear",)),
        ("gate", "equal"),
        ("hidden", (9,)),
        ("learning_rate", 0.01),
    ],
)
def test_every_argument_changes_the_result(argument, value):
    stream = list(streams.make("waveform", seed=1, n_samples=200))

    def figures(**arguments):
        model = small(**arguments)
        for x, y in stream:
            model.learn_one(x, y)
        return [list(model.predict_proba_one(x).values()) for x, _ in stream[:20]]

    assert figures(**{argument: value}) != figures()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"variant": "moe-task"}, ValueError, "variant='moe-task'; available: driftmoe, moe-vote, moe-data"),
        ({"expert_hidden": (0,)}, ValueError, r"expert_hidden=\(0,\); choose widths of at least 1"),
        ({"expert_hidden": 8}, TypeError, "expert_hidden=8; give the width"),
        ({"expert_rate": 0.0}, ValueError, "expert_rate=0.0; choose a number above 0"),
        ({"expert_rate": float("nan")}, ValueError, "expert_rate=nan; choose a number above 0"),
        ({"expert_rate": True}, TypeError, "expert_rate=True is of type bool; give a number"),
        (
            {"variant": "moe-vote", "extras": ("linear",)},
            ValueError,
            "extras=.* does not apply to variant='moe-vote', only to 'driftmoe'; leave it out",
        ),
    ],
)
def test_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        NeuralMoEClassifier(**arguments)


def test_networks_are_no_trees_to_look_at():
    with pytest.raises(TypeError, match="the experts of this model are of the kind 'network'; only trees"):
        NeuralMoEClassifier(seed=1).describe()
