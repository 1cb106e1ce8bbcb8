"""Metrics: equal to CapyMOA's on the same predictions where it has them, and by hand where it has not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from places import VECTORS
from river import base, datasets, dummy, evaluate, metrics, naive_bayes, utils
from sklearn.metrics import brier_score_loss, f1_score

import streams
from driftmoe.evaluation import prequential
from driftmoe.metrics import (
    Brier,
    ExpectedCalibrationError,
    Fading,
    GMean,
    KappaM,
    KappaTemporal,
    RamHours,
    Scores,
    Windowed,
    drift_recovery,
)

MOA = np.load(VECTORS / "moa_metrics.npz")


def moa_predictions():
    return zip(MOA["y"].tolist(), MOA["p"].tolist(), strict=True)


def test_cumulative_figures_equal_capymoa():
    """Where MOA divides by zero (it gives NaN or infinity) ours is 0."""
    scores = Scores(classes=[0, 1, 2])
    expected_at = {int(n): figures for n, *figures in MOA["cumulative"]}
    assert len(expected_at) == 100 + 199
    for i, (y_true, y_pred) in enumerate(moa_predictions(), start=1):
        scores.update(y_true, y_pred)
        if i not in expected_at:
            continue
        figures, expected = scores.get(), expected_at.pop(i)
        for name, value in zip(["accuracy", "kappa", "kappa_m", "kappa_t"], expected, strict=True):
            if math.isfinite(value):
                assert 100 * figures[name] == pytest.approx(value, abs=1e-9), name
            else:
                assert figures[name] == 0.0
    assert not expected_at


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


def test_many_predictions_count_as_one_by_one():
    y_true, y_pred = MOA["y"][:900].tolist(), MOA["p"][:900].tolist()
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


def test_a_sliding_window_is_the_last_steps_of_it():
    y_true, y_pred = MOA["y"][:1000].tolist(), MOA["p"][:1000].tolist()
    scores = Scores(window=200, classes=[0, 1, 2], step=50)
    for start in range(0, 1000, 50):
        scores.update_many(y_true[start : start + 50], y_pred[start : start + 50])
        last = slice(max(0, start - 150), start + 50)
        expected = np.mean(MOA["y"][last] == MOA["p"][last])
        assert scores.get()["accuracy"] == pytest.approx(expected)
        if start % 200 == 150:  # where a tumbling window ends too
            window = MOA["window"][[start // 100 - 1, start // 100]]
            assert 100 * scores.get()["accuracy"] == pytest.approx(window[:, 0].mean())
        scores.restart()
    with pytest.raises(ValueError, match="step=30 does not divide window=100"):
        Scores(window=100, step=30)


def test_weights_count_as_that_many_samples():
    y_true, y_pred = MOA["y"][:300].tolist(), MOA["p"][:300].tolist()
    weights = np.random.default_rng(0).integers(1, 4, 300).tolist()
    weighted, kappa = Scores(classes=[0, 1, 2]), KappaM(classes=[0, 1, 2])
    repeated = metrics.CohenKappa()
    counts, majority_correct = [0.0, 0.0, 0.0], 0.0
    for t, p, w in zip(y_true, y_pred, weights, strict=True):
        counts[t] += w
        majority_correct += w * (counts.index(max(counts)) == t)
        kappa.update(t, p, w)
        for _ in range(w):
            repeated.update(t, p)
    weighted.update_many(y_true, y_pred, weights)
    assert weighted.get()["kappa"] == pytest.approx(repeated.get())
    accuracy, baseline = weighted.get()["accuracy"], majority_correct / sum(weights)
    assert weighted.get()["kappa_m"] == pytest.approx((accuracy - baseline) / (1 - baseline))
    assert kappa.get() == pytest.approx(weighted.get()["kappa_m"])


def test_g_mean_by_hand():
    scores = Scores()
    for t, p in zip("aaaabbc", "aaabbbc", strict=True):
        scores.update(t, p)
    assert scores.get()["g_mean"] == pytest.approx((0.75 * 1.0 * 1.0) ** (1 / 3))
    scores.update("c", "d")  # a class that was never true is none
    assert scores.get()["g_mean"] == pytest.approx((0.75 * 1.0 * 0.5) ** (1 / 3))
    scores.update("e", "a")
    assert scores.get()["g_mean"] == 0.0
    assert GMean().get() == 0.0


def test_brier_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    proba = rng.dirichlet([1.0, 1.0, 1.0], 200)
    y = rng.integers(0, 3, 200)
    metric = Brier()
    for t, row in zip(y.tolist(), proba.tolist(), strict=True):
        metric.update(t, dict(enumerate(row)))
    expected = brier_score_loss(y, proba, labels=[0, 1, 2], scale_by_half=False)
    assert metric.get() == pytest.approx(expected)
    assert not metric.bigger_is_better
    nothing = Brier()
    nothing.update("a", {})
    assert nothing.get() == 1.0


def test_calibration_error_by_hand():
    metric = ExpectedCalibrationError(n_bins=2)
    for t, p in [
        ("a", {"a": 0.9, "b": 0.1}),
        ("b", {"a": 0.7, "b": 0.3}),
        ("c", {"a": 0.4, "b": 0.3, "c": 0.3}),
    ]:
        metric.update(t, p)
    # upper bin: confidence 0.8, accuracy 0.5, two of three; lower bin: confidence 0.4, accuracy 0
    assert metric.get() == pytest.approx(2 / 3 * 0.3 + 1 / 3 * 0.4)
    metric.revert("c", {"a": 0.4, "b": 0.3, "c": 0.3})
    assert metric.get() == pytest.approx(0.3)
    one = ExpectedCalibrationError()
    one.update("a", {"a": 1.0})
    assert one.get() == 0.0
    for wrong in (float("nan"), -0.3, 1.7, float("inf")):
        with pytest.raises(ValueError, match=f"probability {wrong} of label 'a'"):
            one.update("a", {"b": 0.5, "a": wrong})
    with pytest.raises(ValueError, match="n_bins=0"):
        ExpectedCalibrationError(0)


def test_calibration_rolls_with_the_window_of_river():
    rolling = utils.Rolling(ExpectedCalibrationError, window_size=1, n_bins=10)
    rolling.update("b", {"a": 0.95})
    rolling.update("a", {"a": 0.95})
    assert rolling.get() == pytest.approx(0.05)


@pytest.mark.parametrize("factor", [0.5, 0.99])
def test_fading_gives_older_samples_less_weight_for_ever(factor):
    """With 0.5 the weights pass 1e100, where the successor begins, after 333 samples, and 1e150 after 500."""
    hits = np.random.default_rng(2).random(3000) < 0.7
    metric, numerator, denominator = Fading(metrics.Accuracy, factor=factor), 0.0, 0.0
    for hit in hits.tolist():
        metric.update(True, hit)
        numerator, denominator = factor * numerator + hit, factor * denominator + 1
        assert metric.get() == pytest.approx(numerator / denominator, abs=1e-12)


def test_fading_takes_the_majority_of_faded_labels():
    scores = Fading(Scores, factor=0.5, classes=["a", "b"])
    for label in "aaab":
        scores.update(label, "b")
    # weights 1/8, 1/4, 1/2, 1; the majority, the current label included, is a, a, a, then b: 1 > 7/8
    assert scores.get()["accuracy"] == pytest.approx(1.0 / 1.875)
    assert scores.get()["kappa_m"] == 0.0
    scores.update("a", "a")
    # weights 1/16 to 1, 1.9375 in all; right are the last two, 1.5; no change was on samples 2 and 3, 0.375
    assert scores.get()["kappa_t"] == pytest.approx((1.5 - 0.375) / (1.9375 - 0.375))
    with pytest.raises(ValueError, match=r"factor=1\.0"):
        Fading(metrics.Accuracy, factor=1.0)


class HitsOfItsOwn(metrics.base.MultiClassMetric):
    """A metric whose constructor takes no confusion matrix."""

    def __init__(self, bonus=0.0):
        super().__init__()
        self.bonus = bonus

    def get(self):
        return self.bonus + self.cm.total_true_positives


class SureOfZero(base.Classifier):
    """Gives class 0 the probability 0.8."""

    def predict_proba_one(self, x):
        return {0: 0.8, 1: 0.2}

    def learn_one(self, x, y):
        pass


@pytest.mark.parametrize(
    ("metric", "of_all", "of_last_20"),
    [(ExpectedCalibrationError(n_bins=7), 0.8 - 40 / 59, 0.8 - 0.7), (HitsOfItsOwn(bonus=2.0), 42.0, 16.0)],
    ids=["calibration", "own"],
)
def test_a_metric_whose_constructor_takes_no_confusion_matrix_is_evaluated_and_windowed(
    metric, of_all, of_last_20
):
    """Of 60 labels the first does not count. 40 of the others are 0, and 14 of the last 20."""
    labels = [int(i % 3 == 0) for i in range(60)]
    *_, last = prequential([({}, y) for y in labels], SureOfZero(), metrics={"m": metric}, window=20)
    assert last.cumulative["m"] == pytest.approx(of_all)
    assert last.window["m"] == pytest.approx(of_last_20)
    windowed = Windowed(type(metric), 20, **metric._get_params())
    for y in labels:
        windowed.update(y, 0 if metric.requires_labels else {0: 0.8, 1: 0.2})
    assert windowed.get() == pytest.approx(of_last_20)


@pytest.mark.parametrize(
    ("make", "own"),
    [
        (lambda: Windowed(KappaTemporal, 50), lambda: KappaTemporal()),
        (lambda: Windowed(metrics.CohenKappa, 50), lambda: metrics.CohenKappa()),
        (lambda: Windowed(KappaM, 50, window=50), lambda: KappaM(window=50)),
    ],
)
def test_a_windowed_metric_is_that_of_the_last_samples(make, own):
    """What the baseline remembers goes on; the counts are of the window alone."""
    rng = np.random.default_rng(5)
    y_true, y_pred = rng.integers(0, 3, 300).tolist(), rng.integers(0, 3, 300).tolist()
    windowed = make()
    for i in range(300):
        windowed.update(y_true[i], y_pred[i])
        if i % 60 == 59:
            expected = own()
            for j in range(i + 1):
                if j == i - 49 and hasattr(expected, "restart"):
                    expected.restart()
                if j > i - 50 or hasattr(expected, "restart"):
                    expected.update(y_true[j], y_pred[j])
            assert windowed.get() == pytest.approx(expected.get(), abs=1e-12)
    assert len(windowed._recent) == 50
    with pytest.raises(ValueError, match="size=0; choose a whole number of samples, at least 1"):
        Windowed(metrics.Accuracy, 0)
    with pytest.raises(NotImplementedError, match="Windowed cannot take back a sample"):
        windowed.revert(0, 0)


def test_windows_of_any_weights_leave_nothing_behind():
    """What rounding leaves of weights that were added and taken away must not pass for samples."""
    rng = np.random.default_rng(1)
    y_true = [i // 50 % 2 for i in range(2000)]
    y_pred, weights = rng.integers(0, 2, 2000).tolist(), rng.random(2000).tolist()
    windowed, confusion = Windowed(KappaTemporal, 3), Windowed(GMean, 3)
    for i, (t, p, w) in enumerate(zip(y_true, y_pred, weights, strict=True)):
        windowed.update(t, p, w)
        confusion.update(t, p, w)
        window = range(max(i - 2, 0), i + 1)
        total = sum(weights[j] for j in window)
        right = sum(weights[j] for j in window if y_pred[j] == y_true[j])
        same = [j > 0 and y_true[j] == y_true[j - 1] for j in window]
        of_baseline = sum(weights[j] for j, is_same in zip(window, same, strict=True) if is_same)
        kappa = 0.0 if all(same) else (right - of_baseline) / (total - of_baseline)
        assert windowed.get() == pytest.approx(kappa, abs=1e-9)
        anew = GMean()
        for j in window:
            anew.update(y_true[j], y_pred[j], weights[j])
        assert confusion.get() == pytest.approx(anew.get(), abs=1e-6)  # the root of what rounding leaves


def test_copies_of_a_wrapped_metric_share_nothing():
    shared = metrics.ConfusionMatrix()
    first = Windowed(metrics.Accuracy, 3, cm=shared)
    second = first.clone()
    first.update("a", "a")
    assert second.get() == 0.0
    with pytest.raises(ValueError, match=r"use copy\.deepcopy"):
        first.clone(include_attributes=True)


def test_wrapped_metrics_are_river_metrics():
    stream = list(datasets.Phishing().take(300))
    several = Fading(metrics.Accuracy, 0.9) + KappaM() + Windowed(Brier, 20) + KappaTemporal() + metrics.F1()
    evaluate.progressive_val_score(stream, naive_bayes.GaussianNB(), several)
    model, by_hand = naive_bayes.GaussianNB(), Windowed(Brier, 20)
    for x, y in stream:
        by_hand.update(y, model.predict_proba_one(x))
        model.learn_one(x, y)
    assert several[2].get() == by_hand.get() > 0.0
    assert not by_hand.bigger_is_better
    assert repr(several[0]).startswith("Fading(Accuracy): ")
    for metric in (Fading(KappaM, 0.5, window=10), Windowed(KappaM, 20, window=10)):
        copy = metric.clone()
        assert type(copy) is type(metric)
        assert copy._get_params() == metric._get_params()
        assert copy.metric.window == 10
    assert Fading(KappaM, 0.5).clone({"factor": 0.25}).factor == 0.25


def test_ram_hours_is_the_area_below_memory():
    ram_hours = RamHours()
    for n_bytes, seconds in [(1e9, 1800.0), (3e9, 3600.0)]:
        ram_hours.update(n_bytes, seconds)
    assert ram_hours.get() == pytest.approx(0.5 * 1 + 0.5 * 2)
    assert RamHours().get() == 0.0


def test_recovery_by_hand():
    ends = list(range(100, 1100, 100))
    accuracy = [0.8, 0.9, 0.9, 0.5, 0.7, 0.9, 0.9, 0.6, 0.7, 0.7]
    first, second = drift_recovery(ends, accuracy, [(310, 20), (700, 1)])
    assert (first.position, first.before, first.samples) == (300, 0.9, 300)
    assert first.lost == pytest.approx(0.4)
    assert first.mistakes == pytest.approx(40 + 20)
    assert (second.position, second.samples) == (700, None)
    assert second.mistakes == pytest.approx(30 + 20 + 20)


def test_a_gradual_change_is_not_over_before_it_is_over():
    """It takes from 400 to 600: that its first window is still as good as before says nothing."""
    ends = list(range(100, 1100, 100))
    accuracy = [0.9, 0.9, 0.9, 0.9, 0.895, 0.6, 0.5, 0.9, 0.9, 0.9]
    (recovery,) = drift_recovery(ends, accuracy, [(500, 200)])
    assert (recovery.position, recovery.before, recovery.samples) == (400, 0.9, 400)
    assert recovery.mistakes == pytest.approx(0.5 + 30 + 40)
    (harmless,) = drift_recovery(ends, [0.9] * 4 + [0.95] * 6, [(500, 200)])
    assert (harmless.lost, harmless.mistakes, harmless.samples) == (0.0, 0.0, 300)


def test_a_window_across_the_drift_is_no_recovery():
    """Most of it may lie before the change."""
    (recovery,) = drift_recovery([100, 200, 300, 400], [0.9, 0.9, 0.5, 0.9], [(180, 1)])
    assert recovery.samples == 400 - 180
    assert drift_recovery([100, 200], [0.9, 0.9], [(50, 1), (500, 1)]) == []


def test_without_windows_or_without_drifts_there_is_nothing_to_recover():
    assert drift_recovery([], [], [(400, 1)]) == []
    assert drift_recovery([100, 200], [0.9, 0.8], []) == []


def test_the_tolerance_of_recovery_counts():
    strict, lax = (
        drift_recovery([100, 200, 300], [0.9, 0.85, 0.9], [(100, 1)], tolerance=t)[0].samples
        for t in (0.0, 0.1)
    )
    assert (strict, lax) == (200, 100)
    with pytest.raises(ValueError, match="2 ends of windows and 1 accuracies"):
        drift_recovery([1, 2], [0.5], [])


def test_memory_measured_last_counts_until_later():
    ram_hours = RamHours()
    ram_hours.update(2_000_000_000, seconds=0)
    ram_hours.update(4_000_000_000, seconds=1800)
    assert ram_hours.get(seconds=3600) == pytest.approx(1.5 + 2.0)
    assert ram_hours.get() == pytest.approx(1.5)


def test_no_answer_is_no_class_of_a_wrapped_metric_either():
    """By hand: of a and b, each true twice, one a has no answer: recalls 1/2 and 1; precision 1 and 1."""
    for metric in (Windowed(metrics.MacroRecall, 10), Fading(metrics.MacroRecall, 1 - 1e-12)):
        for y_true, y_pred in zip("aabb", [None, *"abb"], strict=True):
            metric.update(y_true, y_pred)
        assert metric.get() == pytest.approx(0.75)


def test_what_makes_no_metric_is_refused():
    with pytest.raises(
        ValueError, match=r"Windowed got Accuracy: 0.00%; give the class .* Windowed\(Accuracy\)"
    ):
        Windowed(metrics.Accuracy(), 10)
    for window in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"window={window}; choose a whole number of labels"):
            KappaM(window)
    with pytest.raises(ValueError, match=r"n_bins=2\.5; choose a whole number"):
        ExpectedCalibrationError(2.5)


def test_a_kappa_without_classes_can_be_cloned():
    assert KappaM(5).clone().window == 5
    assert KappaM(classes=("b", "a")).clone().classes == ["b", "a"]


def test_baselines_know_a_label_that_does_not_count():
    scores, kappa = Scores(), KappaTemporal()
    for metric in (scores, kappa):
        metric.pass_over("a")
        metric.update("a", "b")
        metric.update("a", "a")
    assert kappa.get() == scores.get()["kappa_t"] == 0.0  # the baseline is right on both: nothing to gain
    assert scores.get()["accuracy"] == pytest.approx(1 / 2)
