"""Metrics by name: all that suit of river's, what a name means, and that a run has river's own values."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re

import pytest
from river import metrics
from river.metrics.base import ClassificationMetric

import streams
from driftmoe import models
from driftmoe.experiment import Run, computed, figures_of, run_job
from driftmoe.metrics import NAMED, STANDARD, asked, names_of, shown, without_none
from driftmoe.metrics.named import ALIKE

NO_NUMBER = {"ClassificationReport", "ConfusionMatrix"}
STANDARD_HERE = {"Accuracy", "CohenKappa", "MacroF1"}
ANY_LABELS = {"LogLoss"}  # as cross-entropy

ARGUMENTS = {
    "f_beta": "(beta=2)",
    "macro_f_beta": "(beta=0.5)",
    "micro_f_beta": "(beta=2)",
    "weighted_f_beta": "(beta=2)",
    "multi_f_beta": "(betas={0: 1}, weights={0: 1})",
}
"""Metric -> arguments that it needs."""


def no_yes():
    return ["no", "yes"]


def test_all_of_rivers_metrics_that_suit_classification_have_a_name():
    suit = {
        name
        for name, cls in vars(metrics).items()
        if inspect.isclass(cls) and issubclass(cls, ClassificationMetric)
    }
    of_clusterings = {
        name
        for name in suit - NO_NUMBER - ANY_LABELS
        if not name.startswith("Rolling")
        and not vars(metrics)[name].works_with_weights.fget(object.__new__(vars(metrics)[name]))
    }
    assert {"Rand", "VBeta", "MutualInfo"} <= of_clusterings
    named = {cls.__name__ for cls in NAMED.values()}
    assert suit - of_clusterings - NO_NUMBER - ANY_LABELS - STANDARD_HERE == named - {
        "AveragePrecision",
        "Brier",
        "ExpectedCalibrationError",
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("accuracy", ["accuracy"]),
        ("GMean", ["g_mean"]),
        ("LogLoss", ["log_loss"]),
        ("cross_entropy", ["log_loss"]),
        ("WeightedF1", ["weighted_f1"]),
        ("MacroF1", ["f1_macro"]),
        ("CohenKappa", ["kappa"]),
        ("auc", ["roc_auc"]),
        ("ROCAUC:no", ["roc_auc:no"]),
        ("RollingPRAUC(window_size=50):yes", ["pr_auc(window_size=50):yes"]),
        ("recall", ["recall:no", "recall:yes"]),
        ("Precision:yes", ["precision:yes"]),
        ("f_beta(beta=2):yes", ["f_beta(beta=2):yes"]),
        ("mcc", ["mcc"]),
        ("AveragePrecision", ["average_precision:no", "average_precision:yes"]),
    ],
)
def test_what_a_text_asks_for(text, names):
    assert names_of([text], no_yes) == names
    assert names_of([text, *names], no_yes) == names
    for name in names:
        assert str(asked(name)) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log_los", "no metric 'log_los'; did you mean 'log_loss'?"),
        ("recal:yes", "no metric 'recal'; did you mean 'recall'?"),
        ("recall:ye", "no class 'ye'; did you mean 'yes'?"),
        ("accuracy:yes", "accuracy is one figure for all classes; leave out ':yes'"),
        ("log_loss:yes", "log_loss is one figure for all classes"),
        ("f_beta:yes", "missing 1 required positional argument: 'beta'"),
        ("f_beta(bta=2):yes", "f_beta has no argument 'bta'; did you mean 'beta'?"),
        ("f_beta(2):yes", "f_beta has no argument 'without a name'"),
        ("f_beta(beta=open('x')):yes", "cannot be read"),
        ("kappa(x=1)", "kappa has no argument 'x'"),
        ("two words", "cannot be read"),
        ("", "cannot be read"),
        ("Rand", "no metric 'Rand'"),
    ],
)
def test_what_is_no_metric_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        names_of([text], no_yes)


def test_metrics_of_two_classes_ask_for_the_class_where_there_are_more():
    with pytest.raises(
        ValueError, match=r"roc_auc' is of two classes, and there are 3; name the class .* roc_auc:c"
    ):
        names_of(["roc_auc"], lambda: list("abc"))
    assert names_of(["roc_auc:b"], lambda: list("abc")) == ["roc_auc:b"]
    assert names_of(["recall"], lambda: range(3)) == ["recall:0", "recall:1", "recall:2"]
    with pytest.raises(ValueError, match="recall' would be a column for each, and there are 21"):
        names_of(["recall"], lambda: range(21))


def test_labels_of_one_text_are_refused_because_a_name_would_stand_for_one_of_them():
    with pytest.raises(ValueError, match="metric 'recall': several labels are written '1'"):
        names_of(["recall"], lambda: [1, "1"])
    assert names_of(["log_loss"], lambda: [1, "1"]) == ["log_loss"]


def test_every_name_can_be_shown_and_no_name_hides_another():
    for name in NAMED:
        said = shown(name + ARGUMENTS.get(name, ""))
        assert (said.unit == "%") == (said.factor == 100.0)
        assert said.is_larger_better == (name not in ("brier", "ece", "log_loss"))
    assert not {*NAMED} & {*STANDARD}
    assert {*ALIKE.values()} <= {*NAMED, *STANDARD}
    assert "river's approximation by 100 thresholds" in shown("roc_auc").note
    assert "last 1,000 samples" in shown("pr_auc:1").note


def by_hand(name, rows):
    """River's own metric, fed one by one, with True for the class that it is about."""
    one = asked(name)
    arguments = dict(one.arguments)
    if one.name == "roc_auc":
        arguments.setdefault("n_thresholds", 100)
    metric = without_none(getattr(metrics, one.cls.__name__, one.cls)(**arguments))
    is_binary = "pos_val" in inspect.signature(one.cls).parameters
    positive = one.label or max(str(y) for y, _, _ in rows)
    if "auc" in one.name and len({str(y) == positive for y, _, _ in rows}) < 2:
        return math.nan  # where river says 0
    for y, label, proba in rows:
        if metric.requires_labels:
            metric.update(*((str(y) == positive, str(label) == positive) if is_binary else (y, label)))
        elif is_binary:
            p = {str(key): value for key, value in proba.items()}.get(positive, 0.0)
            metric.update(str(y) == positive, {True: p, False: 1.0 - p})
        else:
            metric.update(y, {y: 0.0} | proba if one.name == "log_loss" else proba)
    return metric.get()


@pytest.mark.parametrize("spec", ["nb", "ht", "driftmoe(n_experts=2)"])
@pytest.mark.parametrize("stream_name", ["sea", "stagger", "led"])
def test_a_run_has_the_values_of_rivers_own_metrics_fed_one_by_one(spec, stream_name):
    """Over the whole stream and over each window, in blocks as well as one by one."""
    stream, window = streams.make(stream_name, seed=3, n_samples=900), 300
    texts = [f"{name}{ARGUMENTS.get(name, '')}" for name in NAMED if name not in ("mcc", "multi_f_beta")]
    if len(stream.classes) > 2:
        texts = [text for text in texts if "roc_auc" not in text] + [
            "roc_auc:3",
            "rolling_roc_auc:3",
            "mcc:3",
        ]
    else:
        texts.append("mcc")
    names = computed(figures_of(texts, stream))
    run = Run(stream_name, stream.fingerprint(), spec, 5, None, window, metrics=names)
    line, curve = run_job(run, stream)
    model, rows = models.make(spec, seed=5), []
    for x, y in stream:
        rows.append((y, model.predict_one(x), model.predict_proba_one(x)))
        model.learn_one(x, y)
    assert list(line["metrics"]) == list(names)
    for name in names:
        assert line["metrics"][name] == pytest.approx(by_hand(name, rows[1:]), abs=1e-12), name
        for i, point in enumerate(curve):
            of_window = rows[max(1, i * window) : (i + 1) * window]
            wanted = by_hand(name, of_window)
            wanted = None if math.isnan(wanted) else pytest.approx(wanted, abs=1e-12)
            assert point[name] == wanted, (name, i)


def test_a_run_without_metrics_is_the_run_that_it_was():
    run = Run("sea", "0" * 64, "nb", 1, 100, 50)
    more = Run("sea", "0" * 64, "nb", 1, 100, 50, metrics=("log_loss",))
    identity = json.dumps(["sea", "0" * 64, "nb", 1, 100, 50, "0", run.parameters()], sort_keys=True)
    assert run.file_stem() == f"sea-nb-1-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    assert more.file_stem() != run.file_stem()


@pytest.mark.parametrize("name", ["roc_auc", "rolling_roc_auc", "pr_auc:1", "average_precision:1"])
def test_an_area_under_a_curve_has_no_value_where_only_one_class_came(name):
    """A window without a rare class is no window in which the model fails."""

    class Late:
        n_samples, drifts, features, classes = 300, (), (), (0, 1)

        def fingerprint(self):
            return "0" * 64

        def __iter__(self):
            for i in range(300):
                label = i % 2 if i >= 100 else 0
                yield {"a": float(label) + 0.1 * (i % 7)}, label

    run = Run("late", "0" * 64, "nb", 1, None, 100, metrics=(name,))
    line, curve = run_job(run, Late())
    assert [point[name] is None for point in curve] == [True, False, False]
    assert line["metrics"][name] > 0.5


@pytest.mark.parametrize(
    "text",
    ["roc_auc(n_thresholds=1)", "roc_auc(n_thresholds=0)", "rolling_roc_auc(window_size=0)", "pr_auc(window_size=-1)",
     "average_precision(n_bins=1)", "f_beta(beta='a')", "roc_auc(n_thresholds='a')", "multi_f_beta(betas=1, weights=2)",
     "ece(n_bins=[1])"],
)  # fmt: skip
def test_arguments_that_a_metric_cannot_use_are_refused_before_the_run(text):
    with pytest.raises(ValueError, match=rf"""metric ['"]{text.split("(")[0]}\(.*: """):
        names_of([text], no_yes)
