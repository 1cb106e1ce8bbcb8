"""The co-training step against its readable twin, and what each variant and argument does."""

from __future__ import annotations

import math
import pickle
from array import array
from dataclasses import replace
from decimal import Decimal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from batches import batch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ReferenceDriftMoE
from river import base, datasets, forest, linear_model, multiclass, naive_bayes, preprocessing, tree

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.arithmetic import top_k
from driftmoe.classifier import VARIANTS
from driftmoe.memory import n_bytes
from driftmoe.mixture.mixing import correctness, first_best, follow_right, mix, mix_own
from driftmoe.routing import (
    ADAMOE,
    DYNMOLE,
    STREAM,
    Dense,
    EntropyHybrid,
    GroupTopK,
    LinearK,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
    route,
)
from driftmoe.trees import HoeffdingTreeClassifier

SMALL = {"hidden": (6, 5), "batch_size": 16, "seed": 3}


def small(variant, **arguments):
    """A small model, with few experts where their number is not that of the classes."""
    sizes = {} if variant == "moe-task" else {"n_experts": 4}
    if variant in ("moe-data", "moe-vote") and arguments.get("policy") is None:
        sizes["top_k"] = 2
    return DriftMoEClassifier(variant, **(SMALL | sizes | arguments))


def new_tree():
    return tree.HoeffdingTreeClassifier(grace_period=20, delta=1e-7)


def router_layers(model):
    """Weights as the twin has them, a row of numbers for each output, and biases."""
    return [(weights.T.tolist(), biases.tolist()) for weights, biases in layers(model._mixture.router)]


def layers(router, of=None):
    return router._layers(router._weights if of is None else of)


@pytest.fixture(scope="module")
def side_by_side():
    """A model and its readable twin after 160 samples (ten router steps) of numeric data with two and three classes."""
    runs = {}
    for name, samples in {
        "two classes": list(datasets.Phishing().take(160)),
        "new classes": list(streams.make("waveform", seed=2, n_samples=160)),
    }.items():
        model = small("moe-data", expert=new_tree())
        twin = None
        losses, predictions = [], []
        for x, y in samples:
            if twin is not None:
                predictions.append((model.predict_one(x), twin.predict(x)))
            first_moment = model._mixture.router._moments[0].copy()
            model.learn_one(x, y)
            if twin is None:  # the router's input weights are drawn when the first sample shows the features
                twin = ReferenceDriftMoE(
                    router_layers(model),
                    [new_tree() for _ in range(4)],
                    top_k=2,
                    batch_size=16,
                    learning_rate=2e-3,
                )
            twin.learn(x, y)
            if not twin.batch:
                losses.append(twin.loss)
                gradient = (model._mixture.router._moments[0] - 0.9 * first_moment) / 0.1  # what Adam took in
                gradients = layers(model._mixture.router, gradient)
                for (of_weights, of_biases), (weight, bias) in zip(gradients, twin.gradients, strict=True):
                    np.testing.assert_allclose(of_weights.T, weight, rtol=1e-3, atol=2e-6)
                    np.testing.assert_allclose(of_biases, bias, rtol=1e-3, atol=1e-6)
        runs[name] = model, twin, predictions, losses
    return runs


RUNS = ["two classes", "new classes"]


@pytest.mark.parametrize("run", RUNS)
def test_router_weights_equal_the_twin_after_ten_steps(side_by_side, run):
    model, twin, _, losses = side_by_side[run]
    assert len(losses) == 10
    for (weight, bias), (expected_weight, expected_bias) in zip(
        router_layers(model), twin.layers, strict=True
    ):
        np.testing.assert_allclose(weight, expected_weight, atol=2e-4)
        np.testing.assert_allclose(bias, expected_bias, atol=2e-4)


@pytest.mark.parametrize("run", RUNS)
def test_the_chosen_experts_learnt_and_no_other(side_by_side, run):
    model, twin, _, _ = side_by_side[run]
    for ours, theirs in zip(model._mixture.experts._experts, twin.experts, strict=True):
        assert ours._train_weight_seen_by_model == theirs._train_weight_seen_by_model
    assert sum(expert._train_weight_seen_by_model for expert in twin.experts) == 160 * 2


@pytest.mark.parametrize("run", RUNS)
def test_predictions_equal_the_twin(side_by_side, run):
    _, _, predictions, _ = side_by_side[run]
    assert [ours for ours, _ in predictions] == [theirs for _, theirs in predictions]
    assert len(predictions) == 159


def right(votes, target):
    correct = np.empty((1, len(votes)), np.bool_)
    correctness(np.array([votes]), np.array([target]), correct)
    return correct[0].tolist()


def test_mask_is_multi_hot():
    assert right([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]], 0) == [True, False, True]


def test_of_equally_probable_classes_the_first_is_the_answer():
    assert right([[0.5, 0.5], [0.2, 0.8]], 0) == [True, False]
    assert right([[0.5, 0.5], [0.2, 0.8]], 1) == [False, True]


def test_when_nobody_is_right_the_nearest_expert_is_the_target():
    assert right([[0.9, 0.1, 0.0], [0.6, 0.0, 0.4], [0.5, 0.2, 0.3]], 2) == [False, True, False]


def test_of_equally_near_experts_the_first_is_the_target():
    assert right([[1.0, 0.0], [1.0, 0.0]], 1) == [True, False]


def test_an_expert_without_a_vote_is_not_right():
    assert right([[0.0, 0.0], [0.3, 0.7], [1.0, 0.0]], 0) == [False, False, True]


def mixed(weights, votes, takes_one=False):
    proba = np.empty((1, len(votes[0])))
    mix(np.array([weights]), np.array([votes]), takes_one, proba)
    return proba[0].tolist()


def test_mix_is_the_weighted_mean_of_those_who_vote():
    votes = [[1.0, 0.0], [0.0, 0.0], [0.25, 0.75]]
    assert mixed([0.25, 0.5, 0.25], votes) == [0.625, 0.375]


def test_the_expert_of_the_largest_weight_may_have_the_word_alone():
    votes = [[0.3, 0.7], [0.9, 0.1], [0.0, 1.0]]
    assert mixed([0.2, 0.4, 0.4], votes, takes_one=True) == [0.9, 0.1]


def test_a_null_expert_is_right_where_most_experts_are():
    yes, no = [1.0, 0.0], [0.0, 1.0]
    correct = np.empty((3, 5), np.bool_)
    correctness(np.array([[yes, no, yes], [no, yes, no], [no, no, no]]), np.array([0, 0, 0]), correct)
    assert correct[:, 3:].tolist() == [[True, True], [False, False], [False, False]]
    correct = np.empty((1, 3), np.bool_)
    correctness(np.array([[yes, no]]), np.array([0]), correct)
    assert correct.tolist() == [[True, False, False]]


def test_where_no_expert_with_a_weight_votes_all_others_count_alike():
    votes = [[1.0, 0.0], [0.0, 0.0], [0.25, 0.75]]
    assert mixed([0.0, 1.0, 0.0], votes) == [0.625, 0.375]
    assert mixed([0.5, 0.5], [[0.0, 0.0], [0.0, 0.0]]) == [0.5, 0.5]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_kernels_do_the_same_compiled_and_not(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_experts, n_classes = rng.integers(1, 5, 3)
    votes = (
        rng.integers(0, 3, (n_rows, n_experts, n_classes)) * rng.integers(0, 2, (n_rows, n_experts, 1)) / 2
    )
    targets = rng.integers(0, n_classes, n_rows)
    weights = rng.integers(0, 3, (n_rows, n_experts)) / 2
    results = []
    for is_compiled in (True, False):
        correct, proba = np.empty((n_rows, n_experts), np.bool_), np.empty((n_rows, n_classes))
        for kernel, arguments in (
            (correctness, (votes, targets, correct)),
            (mix, (weights, votes, bool(seed % 2), proba)),
        ):
            (kernel if is_compiled else getattr(kernel, "py_func", kernel))(*arguments)
        results.append((correct.tolist(), proba.tolist()))
    assert results[0] == results[1]


@pytest.mark.parametrize("is_compiled", [True, False])
@given(
    rows=st.lists(
        st.lists(st.sampled_from([-math.inf, -90.0, 0.0, 0.5, 1.0]), min_size=4, max_size=4), min_size=1
    ),
    k=st.integers(1, 4),
    renorm=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_top_k_is_that_of_routing(rows, k, renorm, is_compiled):
    logits = np.array([row for row in rows if max(row) > -math.inf] or [[0.0] * 4], np.float32)
    expected = route(TopK(k, renorm=renorm), logits)
    weights, mask = np.zeros(logits.shape), np.zeros(logits.shape, np.bool_)
    assert (top_k if is_compiled else getattr(top_k, "py_func", top_k))(logits, k, renorm, weights, mask)
    np.testing.assert_array_equal(mask, expected.mask)
    np.testing.assert_allclose(weights, expected.weights, rtol=1e-14, atol=1e-60)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_logits_that_choose_nobody_are_refused(wrong):
    model = DriftMoEClassifier("moe-vote", n_experts=3, top_k=1)
    model.learn_one({"a": 1.0}, 0)
    model._mixture.router._weights[-3:] = wrong
    with pytest.raises(ValueError, match="one expert at least must be in service"):
        model.predict_one({"a": 1.0})


def test_mix_own_multiplies_router_and_experts():
    of_router, own = np.array([[0.5, 0.25, 0.25], [0.75, 0.25, 0.0]]), np.array([[0.2, 0.8, 0.4], [0.0] * 3])
    logits = np.full((2, 3), -np.inf, np.float32)
    np.log(of_router, where=of_router > 0.0, out=logits, casting="same_kind")
    weights, proba = np.empty((2, 3)), np.empty((2, 3))
    mix_own(logits + np.float32(7.0), own, weights, proba)
    np.testing.assert_allclose(weights, of_router, rtol=1e-6)
    np.testing.assert_allclose(proba, [[0.25, 0.5, 0.25], [0.75, 0.25, 0.0]], rtol=1e-6)


def test_of_equally_probable_classes_the_first_is_best():
    best = np.empty(3, np.int64)
    first_best(np.array([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0], [0.0, 0.1, 0.9]]), best)
    assert best.tolist() == [1, 0, 2]


def learnt(variant, samples, **arguments):
    model = small(variant, **arguments)
    for x, y in samples:
        model.learn_one(x, y)
    return model


SEA = list(streams.make("sea", seed=5, n_samples=400))


def test_moe_data_answers_with_one_expert_and_moe_vote_with_top_k():
    x = SEA[0][0]
    single, voted = learnt("moe-data", SEA), learnt("moe-vote", SEA)
    vector = single._encoder.vector(x)[np.newaxis]
    (logits,) = single._mixture.router.logits(single._encoder.inputs(vector, is_learning=False))
    chosen, second = np.argsort(-logits, kind="stable")[:2]
    (experts,) = single._mixture.experts.predict_proba(batch(vector, 2))
    assert list(single.predict_proba_one(x).values()) == pytest.approx(experts[chosen].tolist())
    weight = 1.0 / (1.0 + math.exp(logits[second] - logits[chosen]))
    expected = weight * experts[chosen] + (1.0 - weight) * experts[second]
    assert list(voted.predict_proba_one(x).values()) == pytest.approx(expected.tolist(), rel=1e-6)


def test_moe_task_experts_decide_together_with_the_router():
    model = learnt("moe-task", SEA)
    x = SEA[0][0]
    vector = model._encoder.vector(x)[np.newaxis]
    logits = model._mixture.router.logits(model._encoder.inputs(vector, is_learning=False))[0].astype(float)
    own = model._mixture.experts.pool.predict_proba(vector)[0, :, 1]
    scores = np.exp(logits) * own
    assert list(model.predict_proba_one(x).values()) == pytest.approx(
        (scores / scores.sum()).tolist(), rel=1e-5
    )


def test_moe_task_grows_an_expert_per_class_and_teaches_all_of_them():
    model = small("moe-task", expert=new_tree())
    for i, label in enumerate(["a", "b", ("c", 1), "a"]):
        model.learn_one({"v": float(i)}, label)
    weights = [expert._train_weight_seen_by_model for expert in model._mixture.experts._experts]
    assert weights == [4.0, 3.0, 2.0]
    assert model._mixture.router.n_outputs == 3
    assert set(model.predict_proba_one({"v": 0.0})) == {"a", "b", ("c", 1)}


def test_moe_task_takes_binary_experts():
    model = learnt(
        "moe-task", list(datasets.ImageSegments().take(100)), expert=linear_model.LogisticRegression()
    )
    assert len(model._mixture.experts._experts) == len(model.predict_proba_one({}))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_experts", 6),
        ("top_k", 1),
        ("hidden", (6, 4)),
        ("learning_rate", 0.1),
        ("batch_size", 8),
        ("dropout", 0.5),
        ("seed", 4),
        ("expert", naive_bayes.GaussianNB()),
        ("variant", "moe-data"),
        ("variant", "moe-task"),
        ("variant", "driftmoe"),
        ("correction", 0.1),
        ("policy", Dense()),
        ("policy", TopP(0.5, renorm=True)),
        ("policy", WithNull(TopK(2), n_null=3)),
        ("learning_rate", 0.0),
    ],
)
def test_every_argument_changes_the_result(argument, value):
    default = {"variant": "moe-vote", "expert": new_tree(), "learning_rate": 0.02}
    samples = list(streams.make("waveform", seed=1, n_samples=200))

    def figures(arguments):
        model = small(arguments.pop("variant"), **arguments)
        for x, y in samples:
            model.learn_one(x, y)
        return [list(model.predict_proba_one(x).values()) for x, _ in samples]

    assert figures(default | {argument: value}) != figures(dict(default))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"variant": "moe"}, ValueError, "variant='moe'; available: driftmoe, moe-vote, moe-data, moe-task"),
        (
            {"variant": "moe-vote", "top_k": 13},
            ValueError,
            "top_k=13 but there are 12 experts; choose 1 <= top_k <= 12",
        ),
        ({"top_k": 0}, ValueError, "top_k=0; choose top_k >= 1"),
        ({"n_experts": 2.5}, TypeError, "n_experts=2.5 is of type float"),
        ({"batch_size": True}, TypeError, "batch_size=True is of type bool"),
        ({"dropout": 1.0}, ValueError, "dropout=1.0; choose 0 <= dropout < 1"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate=-1.0"),
        ({"variant": "moe-vote", "correction": -0.1}, ValueError, "correction=-0.1; choose 0 or more"),
        ({"variant": "moe-vote", "correction": "a"}, TypeError, "correction='a' is of type str"),
        ({"correction": 0.1}, ValueError, "correction=0.1 does not apply to variant='driftmoe'"),
        ({"variant": "moe-task", "correction": 0.1}, ValueError, "does not apply to variant='moe-task'"),
        ({"hidden": (0,)}, ValueError, r"hidden=\(0,\)"),
        ({"hidden": 256}, TypeError, "hidden=256"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"seed": "a"}, TypeError, "seed='a'"),
        ({"policy": "top-k"}, TypeError, "policy='top-k' is no policy; give one of"),
        ({"variant": "moe-vote", "policy": TopK(13)}, ValueError, "k=13"),
        (
            {"policy": lambda logits: Dense()(logits[..., 1:])},
            ValueError,
            "chooses among 25 experts but there are 26",
        ),
        (
            {"variant": "moe-data", "policy": WithShared(TopK(1), 1)},
            ValueError,
            "shared experts do not work with variant='moe-data'",
        ),
        ({"expert": "ht"}, TypeError, "expert='ht' is no river classifier"),
        ({"expert": linear_model.LogisticRegression()}, ValueError, "tells only two classes apart"),
    ],
)
def test_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DriftMoEClassifier(**arguments)


def test_a_wrapped_binary_expert_is_welcome():
    expert = multiclass.OneVsRestClassifier(linear_model.LogisticRegression())
    model = learnt("driftmoe", list(datasets.ImageSegments().take(60)), expert=expert)
    assert sum(model.predict_proba_one({}).values()) == pytest.approx(1.0)


def test_moe_task_teaches_the_router_the_true_class():
    model = small("moe-task", expert=new_tree())
    for i, label in enumerate(["a", "b", "a", "c"]):
        model.learn_one({"v": float(i)}, label)
    none = np.nan  # there was no such expert yet
    np.testing.assert_array_equal(
        model._mixture.router._targets[:4], [[1, none, none], [0, 1, none], [1, 0, none], [0, 0, 1]]
    )


def test_an_expert_that_only_predicts_has_a_whole_vote():
    class Parrot(base.Classifier):
        _multiclass = True

        def __init__(self):
            self.last = None

        def learn_one(self, x, y):
            self.last = y

        def predict_one(self, x):
            return self.last

    model = learnt("driftmoe", SEA[:20], expert=Parrot())
    assert sorted(model.predict_proba_one({}).values())[-1] > 0.0
    assert sum(model.predict_proba_one({}).values()) == pytest.approx(1.0)


def test_seeds_reach_the_parts_of_an_expert():
    def figures():
        expert = preprocessing.StandardScaler() | forest.ARFClassifier(n_models=2, grace_period=10)
        model = learnt("driftmoe", SEA[:120], expert=expert, n_experts=3)
        return [list(model.predict_proba_one(x).values()) for x, _ in SEA[:20]]

    assert figures() == figures()


def test_before_any_vote_the_classes_are_equally_likely():
    class Silent(AlwaysSays):
        _multiclass = True

        def predict_proba_one(self, x):
            return {}

    model = learnt("moe-vote", [({"v": 0.0}, "a"), ({"v": 1.0}, "b")], expert=Silent(0))
    assert model.predict_proba_one({}) == {"a": 0.5, "b": 0.5}


def test_experts_with_a_seed_differ():
    model = DriftMoEClassifier(expert=forest.AMFClassifier(n_estimators=1, seed=1), n_experts=3, seed=1)
    assert len({expert.seed for expert in model._mixture.experts._experts}) == 3


def test_the_prototype_is_not_touched():
    prototype = naive_bayes.GaussianNB()
    before = pickle.dumps(prototype)
    learnt("driftmoe", SEA[:50], expert=prototype)
    assert pickle.dumps(prototype) == before


class AlwaysSays(base.Classifier):
    def __init__(self, target):
        self.target = target

    def learn_one(self, x, y):
        pass

    def predict_proba_one(self, x):
        return {self.target: 1.0}


def test_router_sends_a_region_to_the_expert_that_knows_it():
    """Experts 0 and 1 always say 0 and 1; the class is the sign of v: only the router can tell them apart."""
    model = DriftMoEClassifier(
        "moe-data",
        expert=new_tree(),
        n_experts=2,
        top_k=1,
        hidden=(8,),
        batch_size=8,
        learning_rate=0.05,
        seed=0,
    )
    model.learn_one({"v": -1.0}, 0)
    model.learn_one({"v": 1.0}, 1)
    model._mixture.experts._experts = [AlwaysSays(0), AlwaysSays(1)]
    hits = []
    for value in np.random.default_rng(0).normal(size=800):
        hits.append(model.predict_one({"v": value}) == int(value > 0))
        model.learn_one({"v": value}, int(value > 0))
    assert np.mean(hits[400:]) > 0.95


values = st.one_of(
    st.floats(-1e100, 1e100),
    st.integers(-(10**50), 10**50),
    st.booleans(),
    st.none(),
    st.just(math.nan),
)
words = st.one_of(st.text(max_size=3), st.none())
samples = st.tuples(
    st.fixed_dictionaries(
        {}, optional={"a": values, "b": values, "c": words, "d": words, 5: values, ("t", 1): words}
    ),
    st.sampled_from(["x", "y", 3, True, ("u", 2), 2.5]),
)


@pytest.mark.parametrize("variant", VARIANTS)
@given(rows=st.lists(samples, min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_stream_of_valid_samples_is_learnt(variant, rows):
    model = small(variant, expert=tree.HoeffdingTreeClassifier(grace_period=5), batch_size=4)
    seen = []
    for x, y in rows:
        proba = model.predict_proba_one(x)
        if seen:
            assert set(proba) == set(seen)
            assert math.isclose(sum(proba.values()), 1.0)
            assert all(0.0 <= p <= 1.0 for p in proba.values())
        model.learn_one(x, y)
        seen.append(y)
    assert np.isfinite(model._mixture.router._weights).all()


BAD_SAMPLES = [
    ({"a": math.inf}, ValueError, "feature 'a' is inf; numbers must lie within"),
    ({"a": -math.inf}, ValueError, "feature 'a' is -inf"),
    ({"a": 10**400}, ValueError, "feature 'a' is 1000"),
    ({"a": 1e101}, ValueError, r"feature 'a' is 1e\+101"),
    ({"a": [1]}, TypeError, r"feature 'a' is \[1\] of type list; allowed are"),
    ({"a": 1j}, TypeError, "of type complex"),
    ({"a": b"x"}, TypeError, "of type bytes"),
    ({"a": "text"}, TypeError, "feature 'a' is 'text', a text, but was a number before"),
    ({"w": 1.0}, TypeError, "feature 'w' is 1.0, a number, but was a text before"),
    ({"a": np.array(1.0), "w": "red"}, TypeError, "of type ndarray"),
    ({"a": torch.tensor(1.0), "w": "red"}, TypeError, "of type Tensor"),
    ({"a": np.complex64(1j), "w": "red"}, TypeError, "of type complex"),
    ({"a": np.datetime64(1, "ns"), "w": "red"}, TypeError, "of type datetime64"),
    (
        {"a": 1.0, "w": "new", Decimal(7): 1.0},
        TypeError,
        r"the name Decimal\('7'\) of type Decimal cannot be compared",
    ),
    ([("a", 1.0)], TypeError, "a sample is a dict of feature name to value, got list"),
    (None, TypeError, "got NoneType"),
]


@pytest.mark.parametrize(("x", "error", "message"), BAD_SAMPLES)
def test_bad_sample_is_refused_and_changes_nothing(x, error, message):
    model = learnt("driftmoe", [({"a": 1.0, "w": "red"}, 0), ({"a": 2.0, "w": "blue"}, 1)])
    before = pickle.dumps(model)
    with pytest.raises(error, match=message):
        model.learn_one(x, 0)
    with pytest.raises(error, match=message):
        model.predict_one(x)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "label is None"),
        (math.nan, ValueError, "label is nan"),
        (np.float64("nan"), ValueError, "label is"),
        ([1], TypeError, r"label \[1\] of type list is not hashable"),
        ((1, [2]), TypeError, "not hashable"),
        ((1, math.nan), ValueError, "not equal to itself"),
        (np.datetime64("NaT"), ValueError, "not equal to itself"),
        (complex("nan"), ValueError, "not equal to itself"),
        (torch.tensor(1), ValueError, "not equal to itself"),
    ],
)
def test_bad_label_is_refused_and_changes_nothing(y, error, message):
    model = learnt("driftmoe", SEA[:5])
    before = pickle.dumps(model)
    with pytest.raises(error, match=message):
        model.learn_one(SEA[0][0], y)
    assert pickle.dumps(model) == before


def test_names_of_numpy_beside_tuples_are_learnt_one_by_one_and_in_blocks():
    names, words = [np.int64(7), ("t", 1)], ["red", "blue", "green"]
    model = learnt("driftmoe", [({names[0]: 1.0, names[1]: "red"}, 0)])
    legend = {"names": names, "values": [None, words], "classes": [0, 1]}
    for i, word in enumerate(words):
        model.step_many(np.array([[1.0, i]]), np.array([i % 2]), **legend)
        model.learn_one({7: 2.0, names[1]: f"dark {word}"}, 0)
    assert model._encoder.values[1] == ["red", "dark red", "blue", "dark blue", "green", "dark green"]


FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
COLUMNS = {
    "tuple": ("x", "y", "x"),
    "series": pd.Series(["x", "y", "x"]),
    "categories": pd.Series(["x", "y", "x"], dtype="category"),
    "index": pd.Index(["x", "y", "x"]),
    "frame": pd.DataFrame({"label": ["x", "y", "x"]}),
    "frame without names": pd.DataFrame(["x", "y", "x"]),
    "polars series": pl.Series(["x", "y", "x"]),
    "polars frame": pl.DataFrame({"label": ["x", "y", "x"]}),
    "arrow array": pa.array(["x", "y", "x"]),
    "arrow column": pa.chunked_array([["x", "y"], ["x"]]),
    "arrow table": pa.table({"label": ["x", "y", "x"]}),
    "arrow batch": pa.record_batch({"label": ["x", "y", "x"]}),
    "array": np.array(["x", "y", "x"]),
    "array of objects": np.array(["x", "y", "x"], object),
    "n x 1": np.array([["x"], ["y"], ["x"]]),
}


@pytest.mark.parametrize("y", COLUMNS.values(), ids=COLUMNS)
def test_labels_come_as_anything_of_one_column(y):
    model, expected = (DriftMoEClassifier(n_experts=2, extras=(), seed=1) for _ in range(2))
    model.learn_many(FRAME, y)
    expected.learn_many(FRAME, ["x", "y", "x"])
    assert model.predict_proba_one({"a": 1.0}) == expected.predict_proba_one({"a": 1.0})
    assert [type(label) for label in model.predict_proba_one({})] == [str, str]


def test_numbers_as_labels_are_pythons_own():
    for y in (np.array([[1], [2], [1]]), torch.tensor([1, 2, 1]), array("i", [1, 2, 1]), range(3)):
        model = DriftMoEClassifier(n_experts=2, extras=(), seed=1)
        model.learn_many(FRAME, y)
        assert {type(label) for label in model.predict_proba_one({})} == {int}


def test_times_as_labels_stay_times():
    model = DriftMoEClassifier(n_experts=2, extras=(), seed=1)
    model.learn_many(FRAME, np.array(["2020", "2021", "2020"], "datetime64[ns]"))
    assert list(model.predict_proba_one({})) == [np.datetime64("2020", "ns"), np.datetime64("2021", "ns")]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ({"x": 1, "y": 2, "z": 3}, TypeError, "y is of type dict, which is no column of labels; give a list"),
        ("xyx", TypeError, "y is of type str, which is no column of labels"),
        (b"xyx", TypeError, "y is of type bytes, which is no column"),
        (memoryview(b"xyx"), TypeError, "y is of type memoryview"),
        ({"x", "y", "z"}, TypeError, "y is of type set"),
        ((label for label in "xyx"), TypeError, "y is of type generator"),
        (None, TypeError, "y is of type NoneType"),
        (3, TypeError, "y is of type int"),
        (pl.DataFrame({"a": ["x", "y", "x"]}).lazy(), TypeError, "y is of type LazyFrame"),
        (pd.DataFrame(np.eye(3), columns=list("pqr")), ValueError, "y is a DataFrame of 3 columns, 'p', 'q', 'r'; "),
        (pd.DataFrame(np.ones((3, 9))), ValueError, "y is a DataFrame of 9 columns, 0, 1, 2, 3, 4, ...; give the one"),
        (pa.table({"p": [1, 2, 3], "q": [1, 2, 3]}), ValueError, "y is a Table of 2 columns, 'p', 'q'; give the one"),
        (np.eye(3), ValueError, r"y has shape \(3, 3\); give one label a row"),
        (np.array([["x", "y", "x"]]), ValueError, r"y has shape \(1, 3\); give one label a row"),
        (np.array("x"), ValueError, r"y has shape \(\); give one label a row"),
    ],
)  # fmt: skip
def test_what_is_no_column_of_labels_is_refused_and_changes_nothing(y, error, message):
    model = learnt("driftmoe", SEA[:5])
    before = pickle.dumps(model)
    with pytest.raises(error, match=message):
        model.learn_many(FRAME, y)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.ones((3, 1)),
            r"X is a numpy array of shape \(3, 1\); give an eager frame .* such as pandas.DataFrame\(X\)",
        ),
        ([[1.0], [2.0], [3.0]], "X is a list; give an eager frame"),
        ({"a": [1.0, 2.0, 3.0]}, "X is a dict; give an eager frame"),
        (pl.DataFrame({"a": [1.0, 2.0, 3.0]}).lazy(), "X is a LazyFrame; give an eager frame"),
        (pd.Series([1.0, 2.0, 3.0]), "X is a Series; give an eager frame"),
    ],
    ids=["array", "list", "dict", "lazy", "series"],
)
def test_what_is_no_frame_is_refused_with_a_word_on_what_to_give(X, message):
    model = learnt("driftmoe", SEA[:5])
    for method in (lambda X: model.learn_many(X, [0, 1, 0]), model.predict_many, model.predict_proba_many):
        with pytest.raises(TypeError, match=message):
            method(X)


def test_a_block_of_objects_is_refused_by_us():
    model = learnt("driftmoe", SEA[:5])
    with pytest.raises(TypeError, match="X is an array of type object; give float64"):
        model.step_many(np.ones((2, 1), object), np.array([0, 1]), names=["a"], values=[None], classes=[0, 1])


POLICIES = [
    Dense(),
    TopP(0.8),
    EntropyHybrid(renorm=True),
    DYNMOLE,
    STREAM,
    ADAMOE,
    WithNull(TopK(2), n_null=2, on_empty="best"),
    WithShared(TopK(1), n_shared=1, renorm=True),
    WithShared(WithNull(TopK(2), n_null=2), n_shared=1, renorm=True),
    Scheduled(TopK(1), LinearK(1, 4, n_steps=12)),
]


@pytest.mark.parametrize(
    ("variant", "policy"),
    [
        ("moe-vote" if variant == "moe-data" and isinstance(policy, WithShared) else variant, policy)
        for variant in ("driftmoe", "moe-data")
        for policy in POLICIES
    ]
    + [("moe-vote", GroupTopK(1, n_groups=2, n_kept=1, best=1))],
    ids=str,
)
def test_any_policy_serves_single_samples_and_blocks_alike(variant, policy):
    stream = streams.make("sea", seed=2, n_samples=300)
    one, many = (small(variant, policy=policy) for _ in range(2))
    expected = []
    for x, y in stream:
        expected.append(one.predict_one(x))
        one.learn_one(x, y)
    (block,) = stream.blocks(300)
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    assert many.step_many(*block, names=names, values=values, classes=stream.classes) == expected
    assert many._mixture.router._weights.tobytes() == one._mixture.router._weights.tobytes()


@pytest.mark.parametrize("variant", ["moe-data", "moe-vote"])
def test_river_experts_all_count_alike_where_only_nulls_are_chosen(variant):
    policy = WithNull(TopK(1), n_null=12)
    model = small(variant, expert=naive_bayes.GaussianNB(), policy=policy, learning_rate=0.0)
    for x, y in SEA[:100]:
        model.learn_one(x, y)
    n_checked = 0
    for x, _ in SEA[100:200]:
        sample = model._encoder.order(model._encoder.clean(x))
        inputs = model._encoder.inputs(model._encoder.vector(sample)[np.newaxis], is_learning=False)
        votes = model._mixture.experts.predict_proba(batch([sample], 2))[0]
        if (
            model._mixture._choose(model._mixture.router.logits(inputs)).weights.any()
            or np.ptp(votes[:, 0]) < 1e-6
        ):
            continue
        n_checked += 1
        assert list(model.predict_proba_one(x).values()) == pytest.approx(
            votes[votes.any(axis=1)].mean(axis=0)
        )
    assert n_checked > 3


@pytest.mark.parametrize("policy", [TopK(2), TopP(0.8), WithNull(TopK(2), n_null=2)], ids=str)
def test_a_single_sample_chooses_without_tensors(policy, monkeypatch):
    model = DriftMoEClassifier(policy=policy, n_experts=3, hidden=(8,), seed=1)
    for x, y in SEA[:20]:
        model.learn_one(x, y)

    def refuse(self, logits):
        raise AssertionError("a tensor for one row")

    monkeypatch.setattr(type(policy), "__call__", refuse)
    model.predict_one(SEA[20][0])
    model.learn_one(*SEA[20])


@pytest.mark.parametrize("learning_rate", [0.002, 0.0])
def test_a_schedule_counts_mini_batches_of_the_router(learning_rate):
    policy = Scheduled(TopK(1), LinearK(1, 3, n_steps=2))
    model = small("moe-vote", policy=policy, learning_rate=learning_rate)
    used = []
    for x, y in SEA[:64]:
        before = model.routing_report().cumulative
        model.learn_one(x, y)
        used.append((model.routing_report().cumulative - before).experts_used)
    assert used == [1.0] * 16 + [2.0] * 16 + [3.0] * 32


def test_a_policy_of_the_users_own_is_welcome():
    def last_two(logits):
        routing = Dense()(logits)
        mask = torch.zeros_like(routing.mask)
        mask[..., -2:] = True
        return replace(routing, mask=mask, weights=mask / 2.0)

    model = learnt("moe-vote", SEA, policy=last_two)
    assert [int(n) for n in model._mixture.experts.pool.weight_seen] == [0, 0, 400, 400]


def test_with_nulls_a_sample_that_everybody_gets_right_is_learnt_by_fewer():
    samples = [({"v": float(i % 2)}, i % 2) for i in range(600)]
    policy = WithNull(TopK(4), n_null=4)
    model = small("moe-vote", policy=policy, learning_rate=0.05)
    weight_seen = []
    for x, y in samples:
        model.learn_one(x, y)
        weight_seen.append(model._mixture.experts.pool.weight_seen.sum())
    assert weight_seen[599] - weight_seen[499] < 0.7 * (weight_seen[100] - weight_seen[0])


def corrected(correct, *, rate):
    value, logits = np.zeros(correct.shape[1]), np.zeros(correct.shape)
    follow_right(correct, 0, np.ones(len(correct)), rate, value, logits)
    return logits, value


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_correction_by_hand(is_compiled):
    function = follow_right if is_compiled else follow_right.py_func
    correct = np.array([[True, False, False], [True, True, False]])
    value, logits = np.zeros(3), np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    function(correct, 0, np.ones(2), 0.3, value, logits)
    np.testing.assert_allclose(logits, [[1, 2, 3], [0.2, -0.1, -0.1]])
    np.testing.assert_allclose(value, [0.98 * 0.2 + 0.1, 0.98 * -0.1 + 0.1, 0.98 * -0.1 - 0.2])


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_correction_passes_over_shared_experts_and_counts_a_row_by_its_weight(is_compiled):
    function = follow_right if is_compiled else follow_right.py_func
    correct = np.array([[False, True, False, False], [True, True, True, False]])  # the first is shared
    value, logits = np.zeros(3), np.zeros((2, 3))
    function(correct, 1, np.array([2.0, 0.5]), 0.3, value, logits)
    np.testing.assert_allclose(logits, [[0, 0, 0], [0.4, -0.2, -0.2]])
    np.testing.assert_allclose(value, [0.98 * 0.4 + 0.05, 0.98 * -0.2 + 0.05, 0.98 * -0.2 - 0.1])


def test_the_correction_finds_the_expert_that_is_right_lately():
    """Twelve experts are right on 60 % of samples, but one, another every 1000 samples, on 85 %."""
    rng = np.random.default_rng(0)
    chance = np.full((20_000, 12), 0.6)
    chance[np.arange(20_000), np.arange(20_000) // 1000 * 7 % 12] = 0.85
    correct = rng.random(chance.shape) < chance
    before, _ = corrected(correct, rate=0.1)
    first = before.argmax(axis=1)
    assert correct[np.arange(20_000), first].mean() > 0.79  # 0.62 without, 0.85 if it knew


@pytest.mark.parametrize(
    ("variant", "policy"),
    [
        ("moe-vote", None),
        ("moe-vote", WithShared(TopK(1), 1)),
        ("moe-data", None),
        ("moe-data", WithNull(TopK(2), n_null=2)),
    ],
    ids=str,
)
def test_the_correction_moves_votes_not_learning_the_same_in_blocks(variant, policy):
    stream = streams.make("sea", seed=2, n_samples=400)
    plain, one, many = (small(variant, policy=policy, correction=c) for c in (0.0, 0.3, 0.3))
    answers = []
    for x, y in stream:
        answers.append(one.predict_one(x))
        one.learn_one(x, y)
        plain.learn_one(x, y)
    (block,) = stream.blocks(400)
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    assert many.step_many(*block, names=names, values=values, classes=stream.classes) == answers
    assert many._mixture._correction.tolist() == one._mixture._correction.tolist()
    assert [model._mixture.experts.pool.weight_seen.tolist() for model in (one, many)] == [
        plain._mixture.experts.pool.weight_seen.tolist()
    ] * 2
    assert one._mixture.router._weights.tobytes() == plain._mixture.router._weights.tobytes()
    if policy is None:
        assert any(one.predict_proba_one(x) != plain.predict_proba_one(x) for x, _ in stream.take(50))


def test_a_feature_of_ever_new_values_takes_bounded_memory():
    model = DriftMoEClassifier(n_experts=2, extras=(), hidden=(4,), seed=1)
    sizes = []
    for i in range(3000):
        model.learn_one({"user": f"user {i}"}, i % 2)
        if i in (1999, 2999):
            sizes.append(n_bytes(model))
    assert sizes[1] <= 1.1 * sizes[0]
    assert sizes[1] < 120e6


class Touchy(base.Classifier):
    """Counts labels, and what it learnt; raises where it is asked about, or taught, what it does not like."""

    _multiclass = True

    def __init__(self, dislikes="", seed=None):
        self.dislikes, self.seed = dislikes, seed
        self.learnt = []

    def predict_proba_one(self, x):
        if self.dislikes == "asked" and x["a"] == 13.0:
            raise ArithmeticError("asked about 13")
        return {y: 1.0 for _, y in self.learnt[-1:]}

    def learn_one(self, x, y):
        if self.dislikes == "taught" and x["a"] == 13.0:
            raise ArithmeticError("taught 13")
        self.learnt.append((x["a"], y))


@pytest.mark.parametrize("dislikes", ["asked", "taught"])
@pytest.mark.parametrize("in_a_block", [False, True], ids=["one by one", "in a block"])
def test_what_an_expert_raises_comes_through_when_all_others_have_learnt(dislikes, in_a_block):
    arguments = {"n_experts": 2, "hidden": (4,), "batch_size": 8, "seed": 1}
    patient, model = (
        DriftMoEClassifier(extras=(Touchy(), Touchy(whom), "history"), **arguments) for whom in ("", dislikes)
    )
    samples = [({"a": float(i)}, i % 2) for i in range(40)]
    for x, y in samples:
        patient.learn_one(x, y)
    if in_a_block:
        with pytest.raises(ArithmeticError, match=f"{dislikes} "):
            model.learn_many(pd.DataFrame([x for x, _ in samples]), [y for _, y in samples])
    else:
        for i, (x, y) in enumerate(samples):
            if i == 13:
                with pytest.raises(ArithmeticError, match=f"{dislikes} "):
                    model.learn_one(x, y)
            else:
                model.learn_one(x, y)
    (ours, touchy, history), (theirs, calm, other) = (m._mixture._extras for m in (model, patient))
    assert ours._experts[0].learnt == theirs._experts[0].learnt
    assert touchy._experts[0].learnt == [row for row in calm._experts[0].learnt if row[0] != 13.0]
    assert history._pairs.tolist() == other._pairs.tolist()
    assert [model.describe(e) for e in range(2)] == [patient.describe(e) for e in range(2)]
    assert model.routing_report().cumulative.n_samples == 40
    assert model._mixture.router.n_batches == 5


def test_a_router_that_never_learns_stays_as_it_was_drawn():
    model = learnt("driftmoe", SEA[:10], learning_rate=0.0)  # both classes are known by then
    before = model._mixture.router._weights.copy()
    for x, y in SEA:
        model.learn_one(x, y)
    assert model._mixture.router._weights.tolist() == before.tolist()


# --- looking at a tree ------------------------------------------------------------------------------------------------


def shopping(n_samples):
    """A number and a nominal feature, which tell three classes apart."""
    rng = np.random.default_rng(4)
    for label in rng.choice(["buys", "looks", "leaves"], n_samples):
        colour = rng.choice(["red", "blue"], p=[0.9, 0.1] if label == "looks" else [0.2, 0.8])
        yield {"minutes": rng.normal(5.0 * (label != "leaves")), "colour": str(colour)}, str(label)


def test_description_is_that_of_a_tree_which_learnt_the_same():
    settings_of_tree = {"grace_period": 50, "delta": 0.01}
    tree_alone = HoeffdingTreeClassifier(**settings_of_tree)
    model = small("moe-data", n_experts=1, top_k=1, expert=tree_alone.clone())
    for x, y in shopping(600):
        tree_alone.learn_one(x, y)
        model.learn_one(x, y)
    assert model.describe(0) == tree_alone.describe()
    assert "colour = red" in model.describe(0)
    assert "minutes <= " in model.describe(0)


def test_description_in_moe_task_is_of_one_class_and_all_others():
    one = HoeffdingTreeClassifier(grace_period=50, delta=0.01)
    model = DriftMoEClassifier("moe-task", expert=one.clone(), seed=1)
    for x, y in shopping(600):
        model.learn_one(x, y)
        is_there = len(model.routing_report().cumulative.experts) > 2
        if is_there:  # each class has its tree from the first sample of the class on
            third = model.routing_report().cumulative.experts[2].removeprefix("class ")
            one.learn_one(x, y if y == third else f"not {third}")
    assert model.describe(2) == one.describe()
    assert f"not {third} " in one.describe()


def test_drawing_has_the_names_of_the_stream_and_changes_nothing():
    mpl.use("agg")
    model = learnt(
        "driftmoe", list(shopping(600)), expert=HoeffdingTreeClassifier(grace_period=50, delta=0.01)
    )
    before = pickle.dumps(model)
    texts = [text.get_text() for text in model.draw(3).texts]
    plt.close("all")
    n_leaves = sum(", weight " in line for line in model.describe(3).splitlines())
    assert pickle.dumps(model) == before
    assert n_leaves > 1
    assert len([text for text in texts if text.split()[0] in ("buys", "looks", "leaves")]) == n_leaves
    assert {"minutes", "colour"} & set(texts)
    assert len(model.draw(3, max_depth=0).texts) == 1
    plt.close("all")


@pytest.mark.parametrize("look", ["describe", "draw"])
@pytest.mark.parametrize(
    ("arguments", "expert", "error", "message"),
    [
        ({}, 4, ValueError, "expert=4 but there are 4 trees; choose 0 <= expert < 4"),
        ({}, -1, ValueError, "choose 0 <= expert < 4"),
        ({}, 1.0, TypeError, "expert=1.0 is of type float; give an integer"),
        ({"variant": "moe-task"}, 0, ValueError, "there are 0 trees; there is one for each class learnt"),
        (
            {"expert": naive_bayes.GaussianNB()},
            0,
            TypeError,
            "experts of this model are copies of .*GaussianNB",
        ),
    ],
)
def test_a_tree_that_is_not_there_is_refused(look, arguments, expert, error, message):
    model = small(**{"variant": "driftmoe"} | arguments)
    with pytest.raises(error, match=message):
        getattr(model, look)(expert)


def test_two_columns_of_one_name_are_refused_by_name():
    with pytest.raises(ValueError, match="X has two columns of one name"):
        DriftMoEClassifier("moe-vote", n_experts=2).learn_many(
            pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), [0]
        )


@pytest.mark.parametrize("w", ["1", None, 1j, np.array([1.0]), np.array(1.0)])
def test_the_weight_of_a_tree_is_a_number(w):
    with pytest.raises(TypeError, match=r"w=.* is of type .*; give a number"):
        HoeffdingTreeClassifier().learn_one({"a": 1.0}, 0, w=w)
