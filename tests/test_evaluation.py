from __future__ import annotations

import json

import pytest
from river import base, metrics, naive_bayes

import streams
from driftmoe import models
from driftmoe.evaluation import prequential


class Recorder(base.Classifier):
    """Remembers the order of calls."""

    def __init__(self):
        self.calls = []

    def predict_one(self, x):
        self.calls.append(("predict", x["i"]))
        return 0

    def learn_one(self, x, y):
        self.calls.append(("learn", x["i"], y))


def test_each_sample_is_predicted_before_it_is_learnt():
    model = Recorder()
    list(prequential([({"i": i}, i % 2) for i in range(5)], model, window=2))
    assert model.calls == [c for i in range(5) for c in (("predict", i), ("learn", i, i % 2))]


def test_checkpoints_come_at_every_window_and_at_the_end():
    rows = [({"i": i}, i % 2) for i in range(25)]
    checkpoints = list(prequential(rows, Recorder(), window=10))
    assert [c.n_samples for c in checkpoints] == [10, 20, 25]
    assert checkpoints[-1].cumulative["accuracy"] == pytest.approx(13 / 25)
    assert checkpoints[-1].window["accuracy"] == pytest.approx(3 / 5)
    assert checkpoints[-1].seconds == pytest.approx(sum(c.window_seconds for c in checkpoints))
    assert [c.n_samples for c in prequential(rows[:20], Recorder(), window=10)] == [10, 20]
    assert list(prequential([], Recorder())) == []


def test_window_below_one_is_refused():
    with pytest.raises(ValueError, match="window=0; choose at least 1 sample"):
        next(prequential([], Recorder(), window=0))


def test_accuracy_equals_river_on_the_same_stream():
    from river import evaluate

    stream = list(streams.make("agrawal", seed=3, n_samples=2000))
    *_, last = prequential(stream, models.make("nb"))
    theirs = evaluate.progressive_val_score(stream, models.make("nb"), metrics.Accuracy())
    assert last.cumulative["accuracy"] == pytest.approx((theirs.get() * 1999 + 0) / 2000, abs=1 / 2000)


def test_figures_can_be_written_as_json():
    *_, last = prequential([({"i": 0}, "a")], naive_bayes.GaussianNB())
    assert json.loads(json.dumps(last.cumulative, allow_nan=False))["accuracy"] == 0.0
