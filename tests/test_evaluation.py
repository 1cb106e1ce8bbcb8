from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from river import base, dummy, metrics, naive_bayes
from sklearn.metrics import f1_score

import streams
from driftmoe import models
from driftmoe.evaluation import prequential
from driftmoe.metrics import KappaM, KappaTemporal, Scores

MOA = np.load(Path(__file__).parent / "vectors" / "moa_metrics.npz")


def moa_predictions():
    return zip(MOA["y"].tolist(), MOA["p"].tolist(), strict=True)


def test_cumulative_figures_equal_capymoa():
    """Where MOA divides by zero (it gives NaN or infinity) ours is 0."""
    scores = Scores(classes=[0, 1, 2])
    for (y_true, y_pred), expected in zip(moa_predictions(), MOA["cumulative"], strict=True):
        scores.update(y_true, y_pred)
        figures = scores.get()
        for name, value in zip(["accuracy", "kappa", "kappa_m", "kappa_t"], expected, strict=True):
            if math.isfinite(value):
                assert 100 * figures[name] == pytest.approx(value, abs=1e-9), name
            else:
                assert figures[name] == 0.0


def test_windowed_figures_equal_capymoa():
    scores = Scores(window=100, classes=[0, 1, 2])
    windows = []
    for i, (y_true, y_pred) in enumerate(moa_predictions(), start=1):
        scores.update(y_true, y_pred)
        if i % 100 == 0:
            windows.append([100 * scores.get()[name] for name in ("accuracy", "kappa", "kappa_m", "kappa_t")])
            scores.restart()
    np.testing.assert_allclose(windows, MOA["window"], atol=1e-9)


@pytest.mark.parametrize("window", [None, 1, 2, 7])
def test_the_majority_is_the_most_frequent_label_and_of_equals_the_first(window):
    labels = np.random.default_rng(3).choice(list("abcd"), 300, p=[0.3, 0.3, 0.2, 0.2]).tolist()
    metric = KappaM(window, classes=["c", "a"])
    order = ["c", "a"]
    for i, label in enumerate(labels):
        if label not in order:
            order.append(label)
        seen = labels[: i + 1] if window is None else labels[max(0, i + 1 - window) : i + 1]
        assert metric._baseline(label) == max(order, key=seen.count)


@pytest.mark.parametrize("window", [None, 1, 7, 1000])
@pytest.mark.parametrize("metric", [KappaM, KappaTemporal])
def test_a_baseline_hits_as_often_at_once_as_one_by_one(metric, window):
    """With new labels, and with more at once than fit a window, or than are counted at once."""
    labels = (
        np.random.default_rng(3).choice(list("abcdef"), 3000, p=[0.3, 0.3, 0.2, 0.1, 0.098, 0.002]).tolist()
    )
    one, many = ((metric(window, classes=["c"]) if metric is KappaM else metric()) for _ in range(2))
    start = 0
    for n in (1, 2, 5, 40, 300, 900, 20, 1, 1, 500):
        part = labels[start : start + n]
        assert many._baseline_hits(part) == sum(one._baseline(label) == label for label in part)
        start += n
    assert many._baseline("a") == one._baseline("a")


def test_many_predictions_count_as_one_by_one():
    y_true, y_pred = MOA["y"].tolist(), MOA["p"].tolist()
    one, many = Scores(100, [0, 1, 2]), Scores(100, [0, 1, 2])
    for start in range(0, 900, 90):
        for true, predicted in zip(y_true[start : start + 90], y_pred[start : start + 90], strict=True):
            one.update(true, predicted)
        many.update_many(y_true[start : start + 90], y_pred[start : start + 90])
        assert many.get() == one.get()
        if start % 180:
            one.restart()
            many.restart()


def test_kappas_by_hand():
    kappa_m, kappa_t = KappaM(), KappaTemporal()
    for y_true, y_pred in zip("aabab", "aabbb", strict=True):
        kappa_m.update(y_true, y_pred)
        kappa_t.update(y_true, y_pred)
    # 4 of 5 are right; the majority (the current label included) is right on a, a, a; no change on the second a
    assert kappa_m.get() == pytest.approx((0.8 - 0.6) / 0.4)
    assert kappa_t.get() == pytest.approx((0.8 - 0.2) / 0.8)


def test_no_change_has_kappa_temporal_zero_and_majority_kappa_m_near_zero():
    stream = streams.make("led_a", seed=1, n_samples=3000)
    *_, last = prequential(stream, dummy.NoChangeClassifier())
    assert last.cumulative["kappa_t"] == 0.0
    *_, last = prequential(stream, dummy.PriorClassifier())
    assert abs(last.cumulative["kappa_m"]) < 0.02


def test_macro_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, p = rng.choice(list("abcd"), 500, p=[0.7, 0.1, 0.1, 0.1]), rng.choice(list("abc"), 500)
    scores = Scores()
    for y_true, y_pred in zip(y, p, strict=True):
        scores.update(y_true, y_pred)
    assert scores.get()["f1_macro"] == pytest.approx(f1_score(y, p, average="macro"))


def test_no_prediction_counts_as_wrong_and_is_no_class():
    scores = Scores()
    for y_true, y_pred in [("a", None), ("a", "a"), ("b", "b")]:
        scores.update(y_true, y_pred)
    assert scores.get()["accuracy"] == pytest.approx(2 / 3)
    assert scores.get()["f1_macro"] == pytest.approx((2 / 3 + 1.0) / 2)


def test_kappa_of_nothing_is_zero():
    assert KappaM().get() == KappaTemporal().get() == 0.0


def test_a_kappa_cannot_take_back_a_sample():
    with pytest.raises(NotImplementedError, match="call restart"):
        KappaM().revert("a", "a")


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
