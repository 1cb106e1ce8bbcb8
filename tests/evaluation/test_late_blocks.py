"""Late labels, weights and probabilities go through blocks, with the figures of single samples."""

from __future__ import annotations

import numpy as np
import pytest
from river import base, metrics

import streams
from driftmoe import DriftMoEClassifier, learning
from driftmoe.evaluation import prequential
from driftmoe.evaluation.delays import Row, Waiting
from driftmoe.evaluation.late_blocks import NEVER, Arrivals, WaitingRows, run_of, takes_late_blocks
from streams.stream import Block, Feature, Stream, until

SMALL = {"n_experts": 3, "hidden": (6,), "batch_size": 16, "seed": 1}
TIMES = ("seconds", "window_seconds", "cpu_seconds", "ram_hours", "model_bytes", "routing")


def small(**arguments):
    return DriftMoEClassifier(**(SMALL | arguments))


class Bare:
    """A model without a way for blocks."""

    def __init__(self, model):
        self.predict_one, self.learn_one = model.predict_one, model.learn_one
        self.predict_proba_one, self.decide_one = model.predict_proba_one, model.decide_one
        self.arrive_one = model.arrive_one


class InBlocks:
    """A model that has only the way for blocks, and counts the calls."""

    def __init__(self, model):
        self._model, self.n_calls = model, 0

    def step_many(self, X, y, *, w=None, awaits=False, **legend):
        self.n_calls += 1
        return self._model.step_many(X, y, w=w, awaits=awaits, **legend)

    def step_proba_many(self, X, y, *, w=None, awaits=False, **legend):
        self.n_calls += 1
        return self._model.step_proba_many(X, y, w=w, awaits=awaits, **legend)

    def predict_one(self, x):
        raise AssertionError

    def learn_one(self, x, y, w=1.0):
        raise AssertionError


class Mixed(Stream):
    """Numbers, words, a delay and a weight, some of them missing; the rows may be changed before they are read."""

    def __init__(self, n=430, seed=1):
        rng = np.random.default_rng(seed)
        self.X = np.column_stack([
            rng.normal(size=n), rng.integers(3, size=n), rng.integers(60, size=n), rng.choice([0.5, 1.0, 2.0], n),
        ])  # fmt: skip
        self.y = (self.X[:, 0] + self.X[:, 1] > 1.0).astype(int) + (np.arange(n) > n // 2) * (
            self.X[:, 1] == 2.0
        )
        self.X[rng.random(n) < 0.1, 0] = np.nan
        features = [Feature("n"), Feature("word", ["x", "y", "z"]), Feature("due"), Feature("cost")]
        super().__init__(features=features, classes=["no", "yes", ("may", "be")], n_samples=n)

    def reader(self):
        start = 0

        def read(n):
            nonlocal start
            start += n
            return Block(self.X[start - n : start], self.y[start - n : start])

        return until(read, len(self.y))


def figures(checkpoint):
    plain = {name: value for name, value in vars(checkpoint).items() if name not in TIMES}
    return repr(plain)


def run(stream, model, **protocol):
    """Return the figures of each checkpoint, and the error that ends them."""
    found, error = [], None
    try:
        for checkpoint in prequential(stream, model, keep_predictions=True, **protocol):
            found.append(figures(checkpoint))
    except (TypeError, ValueError) as one:
        error = str(one)
    return found, error


PROTOCOLS = {
    "a delay": {"delay": 40},
    "a delay as long as a block": {"delay": 256, "window": 50},
    "a random delay": {"delay": (0, 70), "seed": 3},
    "a delay and a warm start": {"delay": 30, "warm_start": 77},
    "a column": {"delay": "due"},
    "a function": {"delay": lambda x, y: 5 * len(str(y))},
    "weights": {"weight": "cost"},
    "weights of late labels": {"weight": "cost", "delay": "due", "warm_start": 10},
    "weights by a function": {"weight": lambda x, y: 0.5 + x["cost"], "delay": (1, 9), "seed": 1},
    "a share of labels": {"label_share": 0.3, "seed": 5},
    "a share of labels at random delays": {"label_share": 0.4, "delay": (0, 70), "seed": 3, "warm_start": 33},
    "a share of weighted labels": {"label_share": 0.6, "delay": "due", "weight": "cost", "seed": 2},
    "probabilities with a share of labels": {
        "label_share": 0.3, "metrics": metrics.CrossEntropy(), "delay": 9, "seed": 1,
    },
    "small steps": {"delay": 12, "window": 20, "step": 5},
    "fading": {"delay": 12, "fading": 0.98},
    "probabilities": {"metrics": [metrics.CrossEntropy(), metrics.Accuracy()]},
    "late probabilities": {"metrics": metrics.CrossEntropy(), "delay": 25, "count_warm_up": True},
    "weighted, late probabilities": {"metrics": metrics.CrossEntropy(), "delay": "due", "weight": "cost"},
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("variant", ["driftmoe", "moe-data"])
def test_blocks_give_the_figures_and_the_model_of_single_samples(name, variant):
    protocol = {"window": 100, **PROTOCOLS[name]}
    blocks, single = small(variant=variant), small(variant=variant)
    in_blocks = InBlocks(blocks)
    found = run(Mixed(), in_blocks, **protocol)
    n_cuts = 430 // protocol.get("step", protocol["window"]) + 430 // 256 + 2  # the last for a warm start
    assert in_blocks.n_calls <= n_cuts + 1
    assert found == run(Mixed(), Bare(single), **protocol)
    assert found[1] is None
    assert len(found[0]) > 2
    assert blocks.digest() == single.digest()


@pytest.mark.parametrize("name", ["led_a", "agrawal"])
def test_blocks_of_nominal_features_give_the_figures_of_single_samples(name):
    stream = streams.make(name, seed=2, n_samples=600)
    assert run(stream, InBlocks(small()), delay=(0, 90), seed=1) == run(
        stream, Bare(small()), delay=(0, 90), seed=1
    )


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 2e100, "feature 'n' is 2e"),
        (2, -1.0, "delay=-1.0; a label comes"),
        (3, 0.0, "weight=0.0; choose finite"),
    ],
)
@pytest.mark.parametrize("metric", [None, metrics.CrossEntropy()])
def test_a_sample_that_cannot_be_used_stops_the_run_where_it_stops_single_samples(
    column, value, message, metric
):
    models, ends = [], []
    for kind in (InBlocks, Bare):
        stream, model = Mixed(), small()
        stream.X[310, column] = value
        if column == 0 and kind is InBlocks:  # only single calls can tell the sample
            kind = lambda model: model  # noqa: E731
        ends.append(run(stream, kind(model), delay="due", weight="cost", window=100, metrics=metric))
        models.append(model)
    assert ends[0] == ends[1]
    assert message in ends[0][1]
    assert len(ends[0][0]) == 4
    assert models[0].digest() == models[1].digest()


def test_a_model_whose_blocks_take_no_weights_gets_single_samples():
    class NoWeights:
        def step_many(self, X, y, *, names, values, classes):
            raise AssertionError

    assert takes_late_blocks(Mixed(), small(), reads_proba=True)
    assert not takes_late_blocks(Mixed(), NoWeights(), reads_proba=False)
    assert not takes_late_blocks(Mixed(), Bare(small()), reads_proba=False)
    assert not takes_late_blocks(list(Mixed()), small(), reads_proba=False)


def test_probabilities_of_a_block_are_those_of_single_samples():
    stream, many, single = Mixed(50), small(), small()
    legend = {"names": [f.name for f in stream.features], "values": [f.values for f in stream.features]}
    labels, proba = many.step_proba_many(stream.X, stream.y, classes=stream.classes, **legend)
    expected = []
    for x, y in stream:
        expected.append((single.predict_one(x), single.predict_proba_one(x)))
        single.learn_one(x, y)
    assert list(zip(labels, proba, strict=True)) == expected
    assert many.digest() == single.digest()


class Raising(base.Classifier):
    """An expert that raises what a sample that cannot be read raises, from its 251st sample on."""

    n_learnt = 0

    @property
    def _multiclass(self):
        return True

    def predict_proba_one(self, x):
        return {}

    def learn_one(self, x, y):
        self.n_learnt += 1
        if self.n_learnt > 250:
            raise ValueError("the expert has failed")


@pytest.mark.parametrize("delay", [0, 3])
def test_an_error_of_an_expert_ends_the_run_and_no_sample_is_learnt_twice(delay):
    model = small(extras=(Raising(),))
    rows, told = run(Mixed(), model, delay=delay, window=100)
    assert "the expert has failed" in told
    assert len(rows) <= 3
    assert 250 < model.routing_report().cumulative.n_samples <= 300  # the last part is learnt to its end


def test_rows_that_are_only_predicted_cost_no_further_steps(monkeypatch):
    stream, n_steps = streams.make("agrawal", seed=2, n_samples=1_000), []

    def counted(*arguments, **named):
        n_steps[-1] += 1
        return plan_step(*arguments, **named)

    plan_step = learning.plan_step
    monkeypatch.setattr(learning, "plan_step", counted)
    for delay in (0, 100):
        n_steps.append(0)
        run(stream, small(), delay=delay, window=1_000)
    assert n_steps[1] <= 1.2 * n_steps[0] + 10


@pytest.mark.parametrize("delay", [0, 5, "due"])
def test_blocks_lie_in_memory_as_those_of_streams(delay):
    """Else a kernel is compiled once more, within the time that is measured."""
    seen = []

    class Watching(InBlocks):
        def step_proba_many(self, X, y, *, w=None, **legend):
            seen.append(X.flags.c_contiguous)
            return super().step_proba_many(X, y, w=w, **legend)

    list(prequential(Mixed(), Watching(small()), delay=delay, metrics=metrics.CrossEntropy(), window=50))
    assert seen
    assert all(seen)


@pytest.mark.parametrize("most", [0, 3, 400])
def test_rows_that_wait_in_arrays_are_those_that_wait_one_by_one(most):
    """Rows of a part: each sample as it arrives, then those whose labels come, in one row with it if it comes first."""
    rng, arrays, single = np.random.default_rng(most), WaitingRows(warm_start=20), Waiting(warm_start=20)
    for i in range(30):
        n = int(rng.integers(1, 40))
        delays = np.where(rng.random(n) < 0.2, NEVER, rng.integers(0, most, n, endpoint=True))
        part = Arrivals(rng.normal(size=(n, 2)), rng.integers(5, size=n), delays, rng.random(n) + 0.1)
        before, rows, asked, n_warm_up = arrays, [], [], 0
        run, arrays = run_of(part, before, learns_weights=True)
        for x, y, delay, weight in zip(*part, strict=True):
            n_warm_up += single.n_learnt == 0
            row = single.arrive(Row(x, int(y), None if delay == NEVER else int(delay), weight))
            asked.append(len(rows))
            rows.append([*x, y, 0.0])
            for due in single.due():
                if due is row and asked[-1] == len(rows) - 1:
                    rows[-1][-1] = weight
                else:
                    rows.append([*due.x, due.y, due.weight])
        np.testing.assert_array_equal(np.column_stack([run.X, run.y, run.weights]), rows)
        assert (run.asked.tolist(), run.n_warm_up) == (asked, n_warm_up)
        assert (arrays.n_arrived, arrays.n_learnt) == (single.n_arrived, single.n_learnt)
        again = arrays.one_by_one(lambda row: row, has_weights=True)
        waits = [
            sorted((when, k, row.y, *row.x, row.weight) for when, k, row in one._heap)
            for one in (again, single)
        ]
        assert waits[0] == waits[1]
        assert len(arrays.X) <= 2 * max(len(arrays.when) + len(before.when) + n, 40 * (i == 0))
