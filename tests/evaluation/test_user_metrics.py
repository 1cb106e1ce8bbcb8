"""Metrics of the user's own: labels or probabilities, no answer, two classes, weights."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import sklearn.metrics
from river import metrics, naive_bayes, utils
from simple_models import Memory, Shown

import streams
from driftmoe import models
from driftmoe.evaluation import cross_validate, holdout, prequential
from driftmoe.metrics import Brier, Fading, KappaM, Windowed


def test_metrics_of_ones_own_read_labels_or_probabilities():
    stream = streams.make("agrawal", seed=3, n_samples=1000)
    wanted = {"loss": metrics.LogLoss(), "brier": Brier(), "f1": metrics.F1()}
    checkpoints = list(prequential(stream, models.make("nb"), metrics=wanted, window=400, step=200))
    model, rows = models.make("nb"), []
    for x, y in stream:
        rows.append((y, model.predict_proba_one(x), model.predict_one(x)))
        model.learn_one(x, y)
    for figures, of in [(checkpoints[-1].cumulative, rows[1:]), (checkpoints[-1].window, rows[-400:])]:
        loss, brier, f1 = metrics.LogLoss(), Brier(), metrics.F1()
        for y, proba, label in of:
            loss.update(y, proba)
            brier.update(y, proba)
            f1.update(y, label)
        for name, metric in {"loss": loss, "brier": brier, "f1": f1}.items():
            assert figures[name] == pytest.approx(metric.get()), name
    (one,) = prequential(stream, models.make("nb"), metrics=metrics.LogLoss(), window=1000, fading=0.999)
    assert {"LogLoss", "accuracy"} <= set(one.window)


@pytest.mark.parametrize(
    ("asked_for", "message"),
    [
        (
            [utils.Rolling(metrics.Accuracy, window_size=9)],
            "Rolling is not a river metric; give the metric itself",
        ),
        (metrics.MAE(), "MAE is not a classification metric"),
        (
            metrics.ClassificationReport(),
            "ClassificationReport is not a classification metric that gives a number",
        ),
        ([metrics.Accuracy() + metrics.F1()], "Metrics is not a classification metric that gives a number"),
        ({"accuracy": metrics.LogLoss()}, "a metric is named 'accuracy', as one of the standard figures"),
        (metrics.Accuracy, "give a river metric, several, or a dictionary"),
        ([metrics.MacroFBeta(beta=0.5), metrics.MacroFBeta(beta=2)], "two have one name; give a dictionary"),
    ],
)
def test_metrics_that_would_give_wrong_figures_are_refused(asked_for, message):
    with pytest.raises(ValueError, match=message):
        next(prequential([], Memory(), metrics=asked_for))


def test_metrics_that_forget_and_metrics_added_up_can_be_asked_for():
    rows = [({"i": i}, i % 3 > 0) for i in range(90)]
    several = Windowed(KappaM, 10) + Fading(metrics.Accuracy, 0.5) + metrics.F1()
    *_, last = prequential(
        rows,
        naive_bayes.GaussianNB(),
        metrics=several,
        keep_predictions=True,
        window=90,
        count_warm_up=True,
    )
    by_hand = {"Windowed": Windowed(KappaM, 10), "Fading": Fading(metrics.Accuracy, 0.5), "F1": metrics.F1()}
    for y, p in last.predictions:
        for metric in by_hand.values():
            metric.update(y, p)
    assert {name: last.cumulative[name] for name in by_hand} == {n: m.get() for n, m in by_hand.items()}


def test_a_metric_that_reads_probabilities_leaves_the_figures_as_they_are():
    """In blocks without it, one by one with it."""
    stream = streams.make("led_a", seed=1, n_samples=600)
    *_, plain = prequential(stream, models.make("driftmoe(n_experts=3)", seed=1), window=200)
    *_, with_loss = prequential(
        stream, models.make("driftmoe(n_experts=3)", seed=1), window=200, metrics=metrics.CrossEntropy()
    )
    assert with_loss.cumulative.pop("CrossEntropy") > 0.0
    assert with_loss.cumulative == plain.cumulative


MACRO = [
    metrics.MacroF1(), metrics.MacroPrecision(), metrics.MacroRecall(), metrics.MacroJaccard(),
    metrics.MacroFBeta(beta=2), metrics.GeometricMean(), metrics.BalancedAccuracy(), metrics.CohenKappa(),
    metrics.MicroF1(), metrics.MicroFBeta(beta=2), metrics.MicroJaccard(), metrics.MicroRecall(),
    metrics.WeightedF1(), metrics.WeightedPrecision(), metrics.MultiFBeta({0: 1, 1: 2}, {0: 1, 1: 3}),
]  # fmt: skip


class SaysNothingAtFirst(Shown):
    """Says 0 or 1 as the sample has it, but nothing of the first five samples."""

    def predict_one(self, x):
        return None if x["i"] < 5 else x["says"]


@pytest.mark.parametrize("metric", MACRO, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("options", [{}, {"delay": 5}, {"window": 30, "step": 10}])
def test_no_answer_in_the_warm_up_changes_no_metric(metric, options):
    """As by river's own metric over the samples that count; sea_a has two classes, and a third would show."""
    stream = list(streams.make("sea_a", seed=1, n_samples=300))
    *_, last = prequential(stream, models.make("nb"), metrics={"m": metric}, keep_predictions=True, **options)
    answers = [(y, p) for c in prequential(stream, models.make("nb"), keep_predictions=True, **options)
               for y, p in c.predictions if p is not None]  # fmt: skip
    for figures, of in [(last.cumulative, answers), (last.window, answers[-options.get("window", 1000) :])]:
        theirs = metric.clone()
        for y, p in of:
            theirs.update(y, p)
        assert figures["m"] == pytest.approx(theirs.get())


@pytest.mark.parametrize("options", [{}, {"fading": 0.9999999}, {"delay": 1, "count_warm_up": True}])
def test_no_answer_after_the_warm_up_is_wrong_and_no_class(options):
    """By hand: classes 0 and 1 by turns, the answer right from sample 5 on, nothing before; sample 0 not counted."""
    rows = [({"i": i, "says": i % 2}, i % 2) for i in range(25)]
    (last,) = prequential(rows, SaysNothingAtFirst(), metrics=MACRO[:-1], **options)
    n = {0: 12, 1: 12} if "count_warm_up" not in options else {0: 13, 1: 12}
    recall = {c: 10 / n[c] for c in n}
    f1 = {c: 2 * 10 / (n[c] + 10) for c in n}
    expected = {
        "MacroRecall": (recall[0] + recall[1]) / 2,
        "BalancedAccuracy": (recall[0] + recall[1]) / 2,
        "MacroPrecision": 1.0,
        "MacroF1": (f1[0] + f1[1]) / 2,
        "MacroJaccard": (recall[0] + recall[1]) / 2,
        "GeometricMean": (recall[0] * recall[1]) ** 0.5,
        "MicroRecall": 20 / sum(n.values()),
        "MicroF1": 20 / sum(n.values()),
        "WeightedPrecision": 1.0,
    }
    for figures in (last.cumulative, last.window):
        assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-5)
        assert figures["MacroF1"] == pytest.approx(figures["f1_macro"], abs=1e-5)


def test_no_answer_of_a_fold_is_no_class():
    stream = list(streams.make("sea_a", seed=1, n_samples=300))
    *_, folds = cross_validate(
        stream, [models.make("nb") for _ in range(3)], metrics=metrics.MacroF1(), seed=1, count_warm_up=True
    )
    for fold in folds:
        assert fold.cumulative["MacroF1"] == pytest.approx(fold.cumulative["f1_macro"])
    assert any(fold.n_warm_up for fold in folds)


YES_AND_NO = [({"x": float(i % 3 > 0) + i % 5 / 10}, "yes" if i % 3 else "no") for i in range(60)]

BINARY = [
    metrics.F1, metrics.Precision, metrics.Recall, metrics.Jaccard, metrics.MCC, metrics.ROCAUC,
    metrics.RollingROCAUC, metrics.RollingPRAUC, metrics.LogLoss,
]  # fmt: skip


@pytest.mark.parametrize("metric", BINARY)
def test_a_metric_of_two_classes_refuses_labels_that_are_no_booleans(metric):
    known = {
        metrics.LogLoss: "give such labels, or choose CrossEntropy",
        metrics.RollingROCAUC: r"give such labels, or choose ROCAUC\(pos_val='(yes|no)'\)",
        metrics.RollingPRAUC: "give such labels",
    }.get(metric, rf"name the one .* {metric.__name__}\(pos_val='(yes|no)'\)")
    for run in (
        lambda m: prequential(YES_AND_NO, naive_bayes.GaussianNB(), metrics=m),
        lambda m: holdout(YES_AND_NO, naive_bayes.GaussianNB(), metrics=m, every=5, size=5),
    ):
        with pytest.raises(
            ValueError, match=f"{metric.__name__} reads labels as True and False, and '.*{known}"
        ):
            list(run(metric()))
    digits = [({"x": float(i % 3)}, i % 3) for i in range(60)]
    with pytest.raises(ValueError, match="reads labels as True and False, and 2 is neither"):
        list(prequential(digits, naive_bayes.GaussianNB(), metrics=metric()))


def test_a_wrapped_metric_of_two_classes_refuses_them_too():
    for metric in (Windowed(metrics.F1, 10), Fading(metrics.F1)):
        with pytest.raises(ValueError, match=r"name the one that counts as positive, as in F1\(pos_val="):
            list(prequential(YES_AND_NO, naive_bayes.GaussianNB(), metrics=metric))


@pytest.mark.parametrize("labels", [(True, False), (1, 0), (1.0, 0.0), (np.int64(1), np.int64(0))])
def test_a_metric_of_two_classes_reads_ones_and_zeros_as_booleans(labels):
    rows = [(x, labels[y == "no"]) for x, y in YES_AND_NO]
    (last,) = prequential(rows, naive_bayes.GaussianNB(), metrics=[metrics.F1(), metrics.LogLoss()])
    (by_name,) = prequential(YES_AND_NO, naive_bayes.GaussianNB(), metrics=metrics.F1(pos_val="yes"))
    assert last.cumulative["F1"] == by_name.cumulative["F1"] > 0.9
    assert last.cumulative["LogLoss"] < 1.0


class Noisy(Shown):
    """Says yes with a probability that the sample has; it learns nothing."""

    def predict_proba_one(self, x):
        return {"yes": x["p"], "no": 1.0 - x["p"]}

    def predict_one(self, x):
        return "yes" if x["p"] >= 0.5 else "no"


@pytest.mark.parametrize("metric", [m for m in BINARY if m is not metrics.LogLoss] + [metrics.FBeta])
@pytest.mark.parametrize("positive", ["yes", "no"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_positive_class_can_have_any_name(metric, positive, wrapped):
    """As by scikit-learn, where it knows the measure, or by river's own with True and False."""
    rng = np.random.default_rng(7)
    y = np.where(rng.random(200) < 0.3, "yes", "no")
    p = np.clip(0.5 + 0.3 * np.where(y == "yes", 1, -1) + rng.normal(0, 0.3, 200), 0.01, 0.99)
    rows = [({"p": float(of)}, str(label)) for of, label in zip(p, y, strict=True)]
    arguments = {"beta": 2.0} if metric is metrics.FBeta else {}
    if metric in (metrics.RollingROCAUC, metrics.RollingPRAUC):  # river makes none with text
        with pytest.raises(ValueError, match="invalid literal"):
            metric(pos_val=positive)
        return
    make = functools.partial(Windowed, metric, 1000) if wrapped else metric
    (last,) = prequential(rows, Noisy(), metrics={"m": make(pos_val=positive, **arguments)})
    theirs = metric(**arguments)
    for x, label in rows[1:]:
        of = x["p"] if positive == "yes" else 1.0 - x["p"]
        said = Noisy().predict_one(x) == positive
        theirs.update(label == positive, said if theirs.requires_labels else {True: of, False: 1.0 - of})
    assert last.cumulative["m"] == last.window["m"] == pytest.approx(theirs.get())
    assert last.cumulative["m"] > 0.5
    with_sklearn = {metrics.F1: "f1_score", metrics.MCC: "matthews_corrcoef", metrics.Recall: "recall_score"}
    if metric in with_sklearn:
        said = [Noisy().predict_one(x) == positive for x, _ in rows[1:]]
        expected = getattr(sklearn.metrics, with_sklearn[metric])(y[1:] == positive, said)
        assert last.cumulative["m"] == pytest.approx(expected)


def test_no_answer_is_the_worst_answer_for_metrics_of_two_classes_and_of_probabilities():
    class Silent(Shown):
        def predict_one(self, x):
            return None

        def predict_proba_one(self, x):
            return {}

    rows = [({"i": i}, i % 2 == 0) for i in range(21)]
    asked_for = [metrics.LogLoss(), metrics.CrossEntropy(), metrics.ROCAUC(), metrics.MCC(), metrics.F1()]
    (last,) = prequential(rows, Silent(), metrics=asked_for)
    worst = -np.log(1e-15)
    assert last.cumulative["LogLoss"] == pytest.approx(worst, rel=1e-3)
    assert last.cumulative["CrossEntropy"] == pytest.approx(worst)
    assert last.cumulative["ROCAUC"] == pytest.approx(0.0)
    assert last.cumulative["MCC"] <= 0.0
    assert last.cumulative["F1"] == 0.0


def test_a_metric_that_knows_no_weights_is_used_without_and_refused_with():
    rows = [(x, y == "yes") for x, y in YES_AND_NO]
    (last,) = prequential(rows, naive_bayes.GaussianNB(), metrics=metrics.RollingROCAUC())
    assert last.cumulative["RollingROCAUC"] > 0.9
    for metric in (metrics.RollingROCAUC(), metrics.Rand()):
        name = type(metric).__name__
        with pytest.raises(ValueError, match=f"{name} takes no weights; choose another metric, or leave out"):
            list(prequential(rows, naive_bayes.GaussianNB(), metrics=metric, weight=lambda x, y: 2.0))
        with pytest.raises(ValueError, match=f"{name} takes no weights, by which older samples"):
            list(prequential(rows, naive_bayes.GaussianNB(), metrics=metric, fading=0.9))
    with pytest.raises(ValueError, match="RollingROCAUC forgets by itself"):
        Windowed(metrics.RollingROCAUC, 100)
