"""`prequential`: predict first, windows, fading, figures, time and memory."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from river import compose, dummy, metrics, naive_bayes, preprocessing, tree
from simple_models import Memory, Recorder, numbered

import streams
from driftmoe import models
from driftmoe.evaluation import prequential
from driftmoe.metrics import RamHours


def test_each_sample_is_predicted_before_it_is_learnt():
    model = Recorder()
    list(prequential([({"i": i}, i % 2) for i in range(5)], model, window=2))
    assert model.calls == [c for i in range(5) for c in (("predict", i), ("learn", i, i % 2))]


def test_checkpoints_come_at_every_window_and_at_the_end():
    rows = [({"i": i}, i % 2) for i in range(25)]
    checkpoints = list(prequential(rows, Recorder(), window=10))
    assert [c.n_samples for c in checkpoints] == [10, 20, 25]
    assert checkpoints[-1].cumulative["accuracy"] == pytest.approx(12 / 24)  # the first is not counted
    assert checkpoints[-1].window["accuracy"] == pytest.approx(3 / 5)
    assert checkpoints[-1].seconds == pytest.approx(sum(c.window_seconds for c in checkpoints))
    assert [c.n_samples for c in prequential(rows[:20], Recorder(), window=10)] == [10, 20]
    assert list(prequential([], Recorder())) == []


def test_window_below_one_is_refused():
    for window in (0, 10.5):
        with pytest.raises(
            ValueError, match=f"window={window}; choose a whole number of samples, at least 1"
        ):
            next(prequential([], Recorder(), window=window))


def test_accuracy_equals_river_on_the_same_stream():
    from river import evaluate

    stream = list(streams.make("agrawal", seed=3, n_samples=2000))
    *_, last = prequential(stream, models.make("nb"))
    theirs = evaluate.progressive_val_score(stream, models.make("nb"), metrics.Accuracy())
    assert last.cumulative["accuracy"] == pytest.approx(theirs.get())


def test_figures_can_be_written_as_json():
    *_, last = prequential([({"i": 0}, "a"), ({"i": 1}, "a")], naive_bayes.GaussianNB())
    assert json.loads(json.dumps(last.cumulative, allow_nan=False))["accuracy"] == 1.0


def test_weights_count_in_figures_and_in_learning():
    rows = numbered(4, cost=[1.0, 2.0, 3.0, 4.0])
    rows[2] = ({"i": 1, "cost": 3.0}, "label 1")
    model = Memory()
    (last,) = prequential(rows, model, weight="cost")
    assert last.cumulative["accuracy"] == pytest.approx(3.0 / 9.0)
    assert model.weights == {0: 1.0, 1: 3.0, 3: 4.0}
    (of_one_without,) = prequential(rows, dummy.NoChangeClassifier(), weight=lambda x, y: x["cost"])
    assert of_one_without.cumulative["accuracy"] == pytest.approx(3.0 / 9.0)


def test_weights_reach_the_last_step_of_a_pipeline():
    memory = Memory()
    model = compose.Pipeline(preprocessing.StandardScaler(), compose.Select("i"), memory)
    rows = [({"i": i}, i % 2) for i in range(4)]
    list(prequential(rows, model, weight=lambda x, y: x["i"] + 2.0))
    assert sorted(memory.weights.values()) == [2.0, 3.0, 4.0, 5.0]


def test_windows_slide_in_steps():
    stream = streams.make("sea_a", seed=1, n_samples=2000)
    tumbling = {c.n_samples: c.window for c in prequential(stream, models.make("nb"), window=500)}
    sliding = {c.n_samples: c.window for c in prequential(stream, models.make("nb"), window=500, step=100)}
    assert sorted(sliding) == list(range(100, 2001, 100))
    assert {n: sliding[n] for n in tumbling} == tumbling
    assert len({window["accuracy"] for window in sliding.values()}) > 10
    with pytest.raises(ValueError, match="step=300 does not divide window=500"):
        next(prequential(stream, models.make("nb"), window=500, step=300))


@pytest.mark.parametrize("name", ["ht", "driftmoe(n_experts=3)"])
def test_fading_gives_what_the_definition_says(name):
    stream = streams.make("led_a", seed=1, n_samples=900)
    *_, last = prequential(stream, models.make(name, seed=1), window=300, fading=0.99, keep_predictions=True)
    checkpoints = list(
        prequential(stream, models.make(name, seed=1), window=300, fading=0.99, keep_predictions=True)
    )
    hits = [y == p for c in checkpoints for y, p in c.predictions][1:]
    weights = 0.99 ** np.arange(899)[::-1]
    assert last.window["accuracy"] == pytest.approx(np.dot(hits, weights) / weights.sum())
    assert last.cumulative["accuracy"] == pytest.approx(np.mean(hits))


def test_memory_and_time_add_up():
    stream = streams.make("led_a", seed=1, n_samples=2000)
    checkpoints = list(prequential(stream, models.make("ht"), window=500))
    model_bytes = [c.model_bytes for c in checkpoints]
    assert model_bytes[0] > 10_000
    assert [c.ram_hours for c in checkpoints] == sorted(c.ram_hours for c in checkpoints)
    last = checkpoints[-1]
    assert 0.0 < last.ram_hours <= max(model_bytes) / 1e9 * last.seconds / 3600 * (1 + 1e-9)
    assert 0.3 * last.seconds < last.cpu_seconds < 3 * last.seconds + 0.1


def test_nothing_asked_for_is_as_the_defaults():
    seen = [({"i": i % 5}, f"label {i % 5}") for i in range(16)]
    (asked,) = prequential(seen, Memory(), metrics=None, delay=None)
    (default,) = prequential(seen, Memory())
    assert asked.cumulative == default.cumulative


def test_memory_that_is_seldom_measured_counts_from_one_measurement_to_the_next(monkeypatch):
    class Grows(Memory):
        """Takes 1 GB more at every look, and each look takes long."""

        looks = 0

        @property
        def _raw_memory_usage(self):
            self.looks += 1
            time.sleep(0.05)
            return self.looks * 10**9

    updates = []
    monkeypatch.setattr(RamHours, "update", lambda self, n_bytes, seconds: updates.append(n_bytes))
    list(prequential([({"i": i}, "label") for i in range(50)], Grows(), window=1))
    assert updates == [10**9]  # the first; later looks would have taken longer than the model itself


def test_weights_change_what_a_model_learns():
    """The weight of river's Hoeffding tree as that of a sample that came as often."""
    rows = list(streams.make("sea_a", seed=1, n_samples=1500))
    weighted, repeated = tree.HoeffdingTreeClassifier(), tree.HoeffdingTreeClassifier()
    list(prequential(rows, weighted, weight=lambda x, y: 3.0 if y else 1.0))
    for x, y in rows:
        repeated.learn_one(x, y, w=3.0 if y else 1.0)
    assert [weighted.predict_proba_one(x) for x, _ in rows] == [
        repeated.predict_proba_one(x) for x, _ in rows
    ]
    plain = tree.HoeffdingTreeClassifier()
    list(prequential(rows, plain))
    assert [weighted.predict_one(x) for x, _ in rows] != [plain.predict_one(x) for x, _ in rows]


def test_weights_reach_a_model_that_is_stepped_through_in_blocks_without_them():
    class InBlocks(Memory):
        def step_many(self, *args, **kwargs):
            raise AssertionError

    stream, model = streams.make("sea_a", seed=1, n_samples=20), InBlocks()
    model.predict_one = lambda x: None
    learnt = []
    model.learn_one = lambda x, y, w=1.0: learnt.append(w)
    list(prequential(stream, model, weight=lambda x, y: 2.5))
    assert learnt == [2.5] * 20
