"""Many equals one: frames, blocks and the evaluator give what the loop over single samples gives."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import naive_bayes, tree

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.classifier import VARIANTS
from driftmoe.encoding.frames import as_frame, frame_rows
from driftmoe.evaluation import prequential
from driftmoe.trees import HoeffdingTreeClassifier
from streams.stream import Feature, Stream, until

SETTINGS = {"hidden": (16, 8), "batch_size": 64, "seed": 5}


def experts(kind, name=""):
    if kind == "river" and name != "agrawal":  # which has text
        return naive_bayes.GaussianNB()
    if kind.startswith("river"):
        return tree.HoeffdingTreeClassifier(grace_period=50, delta=1e-7)
    return HoeffdingTreeClassifier(grace_period=50, delta=1e-2)


class Bare:
    """A model without a way for blocks."""

    def __init__(self, model):
        self.predict_one, self.learn_one = model.predict_one, model.learn_one


def labels(model, samples):
    predicted = []
    for x, y in samples:
        predicted.append(model.predict_one(x))
        model.learn_one(x, y)
    return predicted


def labels_in_blocks(model, stream, size):
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    predicted = []
    for X, y in stream.blocks(size):
        predicted += model.step_many(X, y, names=names, values=values, classes=stream.classes)
    return predicted


def report(model):
    return model.routing_report().window, model.routing_report().cumulative


def trees(model):
    """Every number of every tree, without the room for more."""
    state = model._mixture.experts.pool.state()
    return {name: v.tobytes() if isinstance(v, np.ndarray) else v for name, v in state.items()}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["trees", "river"])
@pytest.mark.parametrize("name", ["led_a", "rbf_f", "agrawal"])
@pytest.mark.parametrize("size", [1, 7, 256])
def test_a_block_predicts_and_learns_as_the_loop_does(name, kind, variant, size):
    n_samples = 700 if kind == "trees" else 150
    stream = streams.make(name, seed=3, n_samples=n_samples)
    one, many = (DriftMoEClassifier(variant, expert=experts(kind, name), **SETTINGS) for _ in range(2))
    expected = labels(one, stream)
    assert labels_in_blocks(many, stream, size) == expected
    assert many._mixture.router._weights.tobytes() == one._mixture.router._weights.tobytes()
    assert many._encoder._moments.tobytes() == one._encoder._moments.tobytes()
    for ours, theirs in zip(report(many), report(one), strict=True):
        assert ours.sums.tobytes() == theirs.sums.tobytes()
        assert ours.of_experts.tobytes() == theirs.of_experts.tobytes()
        assert (ours.n_samples, ours.replaced.tolist()) == (theirs.n_samples, theirs.replaced.tolist())
    if kind == "trees":
        assert trees(many) == trees(one)
    for x, _ in stream.take(20):
        assert many.predict_proba_one(x) == one.predict_proba_one(x)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [1, 7, 256, 1000])
def test_a_frame_of_numbers_is_learnt_and_predicted_as_its_rows(variant, size):
    samples = list(streams.make("rbf_f", seed=4, n_samples=1000))
    X, y = pd.DataFrame([x for x, _ in samples]), pd.Series([label for _, label in samples])
    X.iloc[5, 3] = X.iloc[17, 0] = math.nan
    one, many = (DriftMoEClassifier(variant, expert=experts("trees"), **SETTINGS) for _ in range(2))
    for row, label in zip(X.to_dict("records"), y, strict=True):
        one.learn_one(row, label)
    for start in range(0, len(X), size):
        many.learn_many(X.iloc[start : start + size], y.iloc[start : start + size])
    assert many._mixture.router._weights.tobytes() == one._mixture.router._weights.tobytes()
    assert trees(many) == trees(one)
    assert many.predict_many(X).tolist() == [one.predict_one(row) for row in X.to_dict("records")]


KINDS_OF_COLUMNS = {
    "booleans and floats": {"a": np.arange(60) % 3 == 0, "b": np.linspace(-1.0, 1.0, 60)},
    "large integers": {
        "a": np.arange(60) + 2**62 + 1,
        "b": np.arange(60, dtype=np.uint64) + np.uint64(2**63 + 1),
    },
    "short and long floats": {
        "a": np.linspace(0.0, 1.0, 60, dtype=np.float16),
        "b": np.linspace(0.0, 1.0, 60, dtype=np.longdouble) / 3,
    },
    "missing integers": {
        "a": pd.array([1, 2, None] * 20, "Int64"),
        "b": pd.array([True, None, False] * 20, "boolean"),
    },
    "categories of numbers": {"a": pd.Categorical([3, 1, 2] * 20)},
    "objects": {"a": np.array([1, 2.5, True] * 20, object)},
}


@pytest.mark.parametrize("columns", KINDS_OF_COLUMNS.values(), ids=KINDS_OF_COLUMNS)
def test_a_frame_of_any_columns_is_learnt_and_predicted_as_its_rows(columns):
    X, y = pd.DataFrame(columns), ["left" if i % 3 else "right" for i in range(60)]
    one, many = (DriftMoEClassifier("moe-data", expert=experts("trees"), **SETTINGS) for _ in range(2))
    rows = list(frame_rows(as_frame(X)))
    for row, label in zip(rows, y, strict=True):
        one.learn_one(row, label)
    many.learn_many(X, y)
    assert many.predict_proba_many(X).to_dict("records") == [one.predict_proba_one(row) for row in rows]
    assert many._encoder.kinds == one._encoder.kinds
    assert many._encoder._moments.tobytes() == one._encoder._moments.tobytes()
    assert trees(many) == trees(one)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["trees", "river tree"])
@pytest.mark.parametrize("window", [1000, 97])
def test_the_evaluator_gives_the_same_figures_in_blocks_and_one_by_one(kind, variant, window):
    stream = streams.make("led_a", seed=1, n_samples=400 if kind == "trees" else 150)
    in_blocks, one_by_one = (DriftMoEClassifier(variant, expert=experts(kind), **SETTINGS) for _ in range(2))
    fast = list(prequential(stream, in_blocks, window=window))
    slow = list(prequential(stream, Bare(one_by_one), window=window))
    assert [(c.n_samples, c.cumulative, c.window) for c in fast] == [
        (c.n_samples, c.cumulative, c.window) for c in slow
    ]


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_pool_and_river_trees_make_the_same_model(variant):
    """The pool grows river's trees, so that either kind of expert gives the same answers."""
    stream = streams.make("rbf_f", seed=2, n_samples=600)
    of_pool = DriftMoEClassifier(variant, expert=HoeffdingTreeClassifier(50, delta=1e-7), **SETTINGS)
    of_river = DriftMoEClassifier(variant, expert=experts("river tree"), **SETTINGS)
    same = np.mean([a == b for a, b in zip(labels(of_pool, stream), labels(of_river, stream), strict=True)])
    assert same > 0.995  # the order of sums differs, which may decide a tie


class Rows(Stream):
    """A stream of given rows: a number, a word, a number out of a list, and labels."""

    def __init__(self, rows):
        self._rows = rows
        super().__init__(
            features=[Feature("n"), Feature("w", ["x", "y", "z"]), Feature("m", [5, None, 7.5])],
            classes=["a", "b", ("c",)],
            n_samples=len(rows),
        )

    def reader(self):
        X, y = np.array([row[:3] for row in self._rows]), np.array([row[3] for row in self._rows])
        start = 0

        def read(n):
            nonlocal start
            start += n
            return X[start - n : start], y[start - n : start]

        return until(lambda n: _Block(*read(n)), len(self._rows))


class _Block(tuple):
    def __new__(cls, X, y):
        return super().__new__(cls, (X, y))

    X = property(lambda self: self[0])
    y = property(lambda self: self[1])


cells = st.sampled_from([0.0, 1.0, 2.0, math.nan])


@pytest.mark.parametrize("variant", VARIANTS)
@given(
    rows=st.lists(st.tuples(cells, cells, cells, st.integers(0, 2)), min_size=1, max_size=40),
    size=st.integers(1, 40),
)
@settings(max_examples=25, deadline=None)
def test_blocks_with_missing_and_new_things_equal_the_loop(variant, rows, size):
    stream = Rows(rows)
    arguments = {"hidden": (4,), "batch_size": 8, "seed": 1}
    if variant != "moe-task":
        arguments["n_experts"] = 3
    one, many = DriftMoEClassifier(variant, **arguments), DriftMoEClassifier(variant, **arguments)
    assert labels_in_blocks(many, stream, size) == labels(one, stream)
    assert many._mixture.router._weights.tobytes() == one._mixture.router._weights.tobytes()


def test_a_row_that_cannot_be_read_stops_the_run_where_it_is():
    X = np.random.default_rng(1).normal(size=(300, 3))
    X[270, 0] = 2e100
    rows = [(v, float(v > 0), 0.0, int(v > 0)) for v in X[:, 0].tolist()]
    checkpoints: list[int] = []
    run = prequential(Rows(rows), DriftMoEClassifier(**SETTINGS), window=100)
    with pytest.raises(ValueError, match="feature 'n' is 2e"):
        checkpoints.extend(checkpoint.n_samples for checkpoint in run)
    assert checkpoints == [100, 200, 270]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["led_a", "rbf_f"])
def test_the_number_of_threads_changes_nothing(name, variant):
    stream = streams.make(name, seed=6, n_samples=1500)
    models = [DriftMoEClassifier(variant, batch_size=256, n_threads=n, seed=1) for n in (1, 2, 5)]
    one, *others = [labels_in_blocks(model, stream, 500) for model in models]
    assert all(other == one for other in others)
    assert all(trees(model) == trees(models[0]) for model in models[1:])
