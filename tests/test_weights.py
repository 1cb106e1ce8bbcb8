"""Weights of samples: what each part makes of them, in single samples, frames and blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import itemgetter
from types import FunctionType

import numpy as np
import pandas as pd
import pytest
from reference.draws import poisson_slowly
from river import base, naive_bayes, tree

import streams
from driftmoe import DriftMoEClassifier, saving
from driftmoe.classifier import VARIANTS
from driftmoe.mixture.router import Router
from driftmoe.network_kernels import N_KEPT
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import TopK
from driftmoe.transaction import OneAtATime
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

SMALL = {"hidden": (8, 6), "batch_size": 16, "seed": 5}


def small(variant, **arguments):
    sizes = {} if variant == "moe-task" else {"n_experts": 3}
    return DriftMoEClassifier(variant, **(SMALL | sizes | arguments))


def neural(variant, **arguments):
    return NeuralMoEClassifier(variant, **({"n_experts": 3, "hidden": (8,), "seed": 5} | arguments))


MODELS = {variant: (small, variant) for variant in VARIANTS} | {
    f"networks, {variant}": (neural, variant) for variant in ("driftmoe", "moe-vote", "moe-data")
}


def model_of(name, **arguments):
    make, variant = MODELS[name]
    return make(variant, **arguments)


def some_weights(n, seed=1):
    """Whole numbers, fractions and zeros, of which two stand together."""
    weights = np.random.default_rng(seed).choice([0.0, 0.3, 1.0, 1.0, 2.0, 4.5], n)
    weights[3:5] = 0.0
    return weights


def numbers(n, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, (X[:, 0] + 0.5 * X[:, 1] > 0.0).astype(int) + 2 * (X[:, 2] > 1.0)


def samples_of(X, y):
    return [
        (dict(zip("abc", row, strict=True)), label) for row, label in zip(X.tolist(), y.tolist(), strict=True)
    ]


def state(part):
    """All that a model is, as something that can be compared; of a router's mini-batch what has been learnt."""
    if isinstance(part, np.ndarray):
        if part.dtype.names:
            return [
                part[name].tobytes() for name in part.dtype.names
            ]  # what is between the fields is no part of it
        return part.dtype.str, part.shape, part.tobytes()
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if isinstance(part, itemgetter):
        return part.__reduce__()
    if isinstance(part, Mapping):
        return {name: state(value) for name, value in part.items()}
    if isinstance(part, list | tuple | set):
        return [state(value) for value in part]
    if not hasattr(part, "__dict__") or isinstance(part, type | FunctionType):
        return part
    # Trees without max_features draw nothing; without a seed their source is another each time.
    values = part._state() if isinstance(part, OneAtATime) else vars(part)
    values = {name: value for name, value in values.items() if name != "seed_entropy"}
    if isinstance(part, Router):
        n_kept = part._counts[N_KEPT]
        values |= {name: values[name][:n_kept] for name in ("_batch", "_targets", "_row_weights")}
    return type(part), state(values)


# --- who is taught what -----------------------------------------------------------------------------------------------


def test_the_tree_of_one_expert_learns_a_sample_with_its_weight():
    """All experts but the trees aside: the tree is the one that learns the same samples with the same weights alone."""
    X, y = numbers(600)
    weights = some_weights(600)
    expert = HoeffdingTreeClassifier(grace_period=30, delta=0.01)
    model = DriftMoEClassifier("moe-data", expert=expert, n_experts=1, **SMALL)
    alone = expert.clone()
    for (x, label), w in zip(samples_of(X, y), weights.tolist(), strict=True):
        model.learn_one(x, label, w)
        alone.learn_one(x, label, w=w)
    assert alone.n_leaves > 2
    assert model.describe(0) == alone.describe()


@pytest.mark.parametrize("variant", ["moe-vote", "moe-data", "moe-task"])
def test_trees_of_the_papers_variants_see_the_weight_of_the_samples_that_they_learn(variant):
    X, y = numbers(200)
    weights = some_weights(200)
    top_k = {} if variant == "moe-task" else {"top_k": 2}
    model = small(
        variant, expert=HoeffdingTreeClassifier(grace_period=10_000), **top_k
    )  # one leaf knows it all
    for (x, label), w in zip(samples_of(X, y), weights.tolist(), strict=True):
        model.learn_one(x, label, w)
    seen = model._mixture.experts.pool.weight_seen
    if variant != "moe-task":
        assert seen.sum() == pytest.approx(2 * weights.sum())
        return
    came = [int(np.flatnonzero((y == label) & (weights > 0.0))[0]) for label in model._encoder.classes]
    assert seen.tolist() == pytest.approx([weights[first:].sum() for first in came])


def test_a_tree_of_the_adaptive_variant_learns_a_sample_its_weight_times_its_poisson_draw():
    X, y = numbers(300)
    weights = some_weights(300)
    model = small("driftmoe", monitors=False)
    pool = TreePool(3, grace_period=200, delta=0.01, max_nodes=2000)
    key, n_learnt = int(model._mixture._key), 0
    for row, ((x, label), w) in enumerate(zip(samples_of(X, y), weights.tolist(), strict=True)):
        model.learn_one(x, label, w)
        if w > 0.0:  # no draw is used up for a sample that is not learnt
            draws = [poisson_slowly(key, n_learnt, e, 6.0) for e in range(3)]
            target = model._encoder.classes.index(label)
            pool.learn(X[row : row + 1], [target], weights=w * np.array([draws]))
            n_learnt += 1
    assert model._mixture.experts.pool.weight_seen.tolist() == pool.weight_seen.tolist()
    assert [model._mixture.experts.pool.describe(e) for e in range(3)] == [pool.describe(e) for e in range(3)]


@pytest.mark.parametrize("variant", ["moe-vote", "moe-data", "moe-task"])
def test_the_router_of_the_papers_variants_notes_the_weight_of_each_row(variant):
    X, y = numbers(10)
    model, weights = small(variant), [1.0, 0.5, 3.0, 0.0, 2.0, 1.0, 7.0, 0.25, 0.0, 1.0]
    for (x, label), w in zip(samples_of(X, y), weights, strict=True):
        model.learn_one(x, label, w)
    assert model._mixture.router._row_weights[:8].tolist() == [w for w in weights if w > 0.0]


def test_what_the_head_learns_is_multiplied_by_the_weight():
    """The gradient of the cross-entropy by the head's logits: what it says less what is true, times the weight."""
    X, y = numbers(10)
    y %= 2
    model = small("driftmoe", extras=("head",))
    weights = [1.0, 1.0, 1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 0.1]
    n_logits = model._mixture.n_logits
    for row, ((x, label), w) in enumerate(zip(samples_of(X, y), weights, strict=True)):
        model.learn_one(x, label, w)
        if len(model._encoder.classes) == 2:
            logits = model._mixture.router._batch[row, -2:].astype(float)
            p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            expected = w * (p - (np.arange(2) == model._encoder.classes.index(label)))
            np.testing.assert_allclose(
                model._mixture.router._targets[row, n_logits:], expected, rtol=1e-5, atol=1e-7
            )


def test_networks_are_taught_errors_times_the_weight():
    X, y = numbers(12)
    one, many = neural("moe-data", top_k=3, batch_size=16), neural("moe-data", top_k=3, batch_size=16)
    for model, w in ((one, 1.0), (many, 2.5)):
        for x, label in samples_of(X, y):
            model.learn_one(x, label, w)
    # Without a step so far what they say is the same, so that the errors differ by the weight alone.
    for ours, theirs in zip(many._mixture.experts._networks, one._mixture.experts._networks, strict=True):
        assert theirs._targets[:12].any()
        n_kept = ours._targets.shape[1]
        np.testing.assert_allclose(
            ours._targets[:12, :n_kept], 2.5 * theirs._targets[:12, :n_kept], rtol=1e-6
        )


class Counting(base.Classifier):
    """Notes what it is taught."""

    _multiclass = True

    def __init__(self):
        self.taught = []

    def learn_one(self, x, y):
        self.taught.append((x["a"], y))

    def predict_proba_one(self, x):
        return {}


class Weighing(Counting):
    """Notes what it is taught, and with what weight."""

    def learn_one(self, x, y, w=1.0):
        self.taught.append((x["a"], y, w))


@pytest.mark.parametrize("variant", ["moe-vote", "moe-task"])
def test_an_expert_that_takes_no_weight_learns_a_sample_so_often(variant):
    model = small(variant, expert=Counting(), **({} if variant == "moe-task" else {"top_k": 3}))
    model.learn_one({"a": 1.0}, "y", 3)
    model.learn_one({"a": 2.0}, "y", 0)
    model.learn_one({"a": 4.0}, "y", 1)
    label = True if variant == "moe-task" else 0
    for expert in model._mixture.experts._experts:
        assert expert.taught == [(1.0, label)] * 3 + [(4.0, label)]


@pytest.mark.parametrize("variant", ["driftmoe", "moe-vote", "moe-task"])
def test_a_fraction_for_an_expert_that_takes_none_is_refused_and_nothing_is_learnt(variant):
    X, y = numbers(20)
    model = small(variant, expert=Counting())
    for x, label in samples_of(X, y):
        model.learn_one(x, label)
    before = state(model)
    for x in ({"a": 1.0, "b": 0.0, "c": 0.0}, {"new": 1.0}):
        with pytest.raises(ValueError, match=r"Counting.learn_one takes no weight; give whole numbers as w"):
            model.learn_one(x, 0, 1.5 if variant != "driftmoe" else 1.0 / 7.0)
        assert state(model) == before


def test_an_expert_that_takes_weights_gets_fractions_as_they_are():
    model = small("moe-vote", expert=Weighing(), top_k=3)
    model.learn_one({"a": 1.0}, "y", 2.5)
    model.learn_one({"a": 2.0}, "y", 2.0)
    for expert in model._mixture.experts._experts:
        assert [w for *_, w in expert.taught] == [2.5, 1.0, 1.0]


# --- weight 0 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_of_weight_zero_changes_nothing(name):
    X, y = numbers(40)
    model = model_of(name)
    fresh = state(model)
    model.learn_one({"a": 1.0}, 0, 0)
    assert state(model) == fresh
    for x, label in samples_of(X, y):
        model.learn_one(x, label)
    before = state(model)
    for x, label in (
        ({"a": 1.0, "b": 2.0, "c": 0.0}, 0),
        ({"a": 1.0, "new": "x"}, 1),
        ({"a": 1.0}, "new label"),
    ):
        model.learn_one(x, label, 0.0)
        model.learn_many(pd.DataFrame([x] * 3), [label] * 3, [0.0] * 3)
        assert state(model) == before
    assert model.routing_report().cumulative.n_samples == 40


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_sample_of_weight_zero_is_refused_all_the_same(name):
    model = model_of(name)
    model.learn_one({"a": 1.0}, 0)
    with pytest.raises(ValueError, match="feature 'a' is inf"):
        model.learn_one({"a": math.inf}, 0, 0.0)
    with pytest.raises(ValueError, match="label"):
        model.learn_one({"a": 1.0}, None, 0.0)


@pytest.mark.parametrize("name", MODELS)
def test_samples_of_weight_one_are_samples_without_a_weight(name):
    X, y = numbers(100)
    plain, weighed = model_of(name), model_of(name)
    for x, label in samples_of(X, y):
        plain.learn_one(x, label)
        weighed.learn_one(x, label, 1)
    assert state(weighed) == state(plain)


@pytest.mark.parametrize("name", MODELS)
def test_weights_change_what_is_learnt(name):
    X, y = numbers(200)
    plain, weighed = model_of(name), model_of(name)
    for (x, label), w in zip(samples_of(X, y), some_weights(200).tolist(), strict=True):
        plain.learn_one(x, label)
        weighed.learn_one(x, label, w)
    x = {"a": 0.1, "b": 0.0, "c": 0.0}
    assert weighed.predict_proba_one(x) != plain.predict_proba_one(x)


# --- many equals one --------------------------------------------------------------------------------------------------


def learnt_one_by_one(model, samples, weights):
    for (x, label), w in zip(samples, weights, strict=True):
        model.learn_one(x, label, w)
    return model


def assert_same(many, one, probes):
    assert many._mixture.router._weights.tobytes() == one._mixture.router._weights.tobytes()
    assert many._encoder._moments.tobytes() == one._encoder._moments.tobytes()
    ours, theirs = (model.routing_report().cumulative for model in (many, one))
    assert ours.n_samples == theirs.n_samples
    assert ours.sums.tobytes() == theirs.sums.tobytes()
    assert [many.predict_proba_one(x) for x in probes] == [one.predict_proba_one(x) for x in probes]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1, 7, 150])
def test_frames_with_weights_equal_the_loop(name, size):
    X, y = numbers(150)
    weights = some_weights(150)
    one, many = model_of(name), model_of(name)
    learnt_one_by_one(one, samples_of(X, y), weights.tolist())
    frame = pd.DataFrame(X, columns=list("abc"))
    for start in range(0, 150, size):
        rows = slice(start, start + size)
        many.learn_many(frame.iloc[rows], y[rows], weights[rows])
    assert_same(many, one, [x for x, _ in samples_of(X[:20], y[:20])])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("as_column", [list, np.array, pd.Series, lambda w: pd.DataFrame({"w": w})])
def test_weights_of_frames_with_text_come_in_any_column(variant, as_column):
    stream = list(streams.make("agrawal", seed=1, n_samples=60))
    weights = some_weights(60).tolist()
    one, many = small(variant), small(variant)
    learnt_one_by_one(one, stream, weights)
    many.learn_many(pd.DataFrame([x for x, _ in stream]), [label for _, label in stream], as_column(weights))
    assert_same(many, one, [x for x, _ in stream[:10]])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [7, 150])
def test_blocks_with_weights_predict_and_learn_as_the_loop_does(name, size):
    X, y = numbers(150)
    weights = some_weights(150)
    names = {"names": list("abc"), "values": [None] * 3, "classes": [0, 1, 2, 3]}
    one, many = model_of(name), model_of(name)
    expected, answers = [], []
    for (x, label), w in zip(samples_of(X, y), weights.tolist(), strict=True):
        expected.append(one.predict_one(x))
        one.learn_one(x, label, w)
    for start in range(0, 150, size):
        rows = slice(start, start + size)
        answers += many.step_many(X[rows], y[rows], w=weights[rows], **names)
    assert answers == expected  # also of the rows of weight 0
    assert_same(many, one, [x for x, _ in samples_of(X[:20], y[:20])])


@pytest.mark.parametrize("expert", [naive_bayes.GaussianNB(), tree.HoeffdingTreeClassifier(grace_period=20)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_frames_with_whole_weights_equal_the_loop_with_experts_of_river(variant, expert):
    X, y = numbers(60)
    weights = np.floor(some_weights(60))
    one, many = small(variant, expert=expert), small(variant, expert=expert)
    learnt_one_by_one(one, samples_of(X, y), weights.tolist())
    many.learn_many(pd.DataFrame(X, columns=list("abc")), y, weights)
    assert_same(many, one, [x for x, _ in samples_of(X[:20], y[:20])])


def test_the_correction_in_blocks_with_weights_equals_the_loop():
    X, y = numbers(150)
    weights = some_weights(150)
    one, many = (small("moe-vote", correction=0.3, policy=TopK(1)) for _ in range(2))
    learnt_one_by_one(one, samples_of(X, y), weights.tolist())
    many.learn_many(pd.DataFrame(X, columns=list("abc")), y, weights)
    assert many._mixture._logit_corrections.tolist() == one._mixture._logit_corrections.tolist()
    assert_same(many, one, [x for x, _ in samples_of(X[:20], y[:20])])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_largest_weights_and_numbers_leave_a_model_that_can_be_saved(name):
    """Networks square what they have multiplied by the weight, in float32."""
    model, rng = model_of(name), np.random.default_rng(1)
    for i in range(400):
        x = {"a": rng.choice([-1e100, 0.0, 5e-324, 1e100]), "b": rng.normal(), "c": 10.0 ** (i % 101)}
        x["d"] = "heavy" if i % 3 else "light"
        model.learn_one(x, int(rng.integers(3)), w=1e15 if i % 3 else 5e-324)
    assert saving.from_bytes(model.to_bytes()).digest() == model.digest()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("w", "error", "message"),
    [
        (-1.0, ValueError, r"w=-1\.0; choose finite weights of 0 or more"),
        (math.nan, ValueError, r"w=nan; choose finite weights of 0 or more"),
        (math.inf, ValueError, r"w=inf; choose finite weights of 0 or more"),
        (2e16, ValueError, r"w=2e\+16; choose finite weights of 0 or more, up to 1e\+15"),
        ("2", TypeError, r"w=.*'2'.*; give a number for each sample"),
        (None, TypeError, r"w=.*None.*; give a number for each sample"),
        ([1.0], TypeError, r"w=.*; give a number for each sample"),
        (1j, TypeError, r"w=.*; give a number for each sample"),
        (10**400, ValueError, r"w=inf; choose finite weights of 0 or more"),
    ],
)
def test_a_wrong_weight_is_refused_and_nothing_is_learnt(variant, w, error, message):
    model = small(variant)
    for x, label in samples_of(*numbers(20)):
        model.learn_one(x, label)
    before, x = state(model), {"a": 0.0, "b": 1.0, "c": 2.0}
    with pytest.raises(error, match=message):
        model.learn_one(x, 0, w)
    with pytest.raises(error, match=message):
        model.learn_many(pd.DataFrame([x] * 2), [0, 1], [1.0, w])
    with pytest.raises(error, match=message):
        model.step_many(
            np.zeros((2, 3)),
            np.array([0, 1]),
            names=list("abc"),
            values=[None] * 3,
            classes=[0, 1],
            w=[1.0, w],
        )
    assert state(model) == before


@pytest.mark.parametrize("weights", [[], [1.0], [1.0, 1.0, 1.0]])
def test_a_wrong_number_of_weights_is_refused(weights):
    model = small("driftmoe")
    before = state(model)
    message = f"X has 2 rows and w has {len(weights)} weights; give one weight a row"
    with pytest.raises(ValueError, match=message):
        model.learn_many(pd.DataFrame({"a": [1.0, 2.0]}), [0, 1], weights)
    with pytest.raises(ValueError, match=message):
        model.step_many(
            np.zeros((2, 1)), np.array([0, 1]), names=["a"], values=[None], classes=[0, 1], w=weights
        )
    assert state(model) == before


def test_weights_that_are_no_column_are_refused_by_their_name():
    model = small("driftmoe")
    with pytest.raises(TypeError, match="w is of type float, which is not a column of weights"):
        model.learn_many(pd.DataFrame({"a": [1.0, 2.0]}), [0, 1], 2.0)
    with pytest.raises(ValueError, match="w is a DataFrame of 2 columns"):
        model.learn_many(pd.DataFrame({"a": [1.0, 2.0]}), [0, 1], pd.DataFrame({"a": [1, 2], "b": [1, 2]}))
