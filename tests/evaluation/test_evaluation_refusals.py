"""Models, streams and arguments that the protocols refuse."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from river import active, cluster, compose, linear_model, metrics, naive_bayes, preprocessing
from simple_models import Memory, Shown, numbered

from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import cross_validate, holdout, prequential


@pytest.mark.parametrize("run", [prequential, holdout, lambda s, m: cross_validate(s, [m, m.clone()])])
def test_a_sample_without_a_label_is_refused(run):
    rows = [({"i": 0}, "a"), ({"i": 1}, "b"), ({"i": 2}, None)]
    with pytest.raises(ValueError, match=r"sample 2 has no label \(None\)"):
        list(run(rows, Memory()))
    with pytest.raises(ValueError, match=r"sample 1 has no label \(nan\)"):
        list(run([rows[0], ({"i": 1}, float("nan"))], Memory()))


class OnlyPredicts:
    def predict_one(self, x):
        return 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (DriftMoEClassifier, r"DriftMoEClassifier is a class; give a model of it, such as DriftMoEClassifier\(\)"),
        (naive_bayes.GaussianNB, r"GaussianNB is a class; give a model of it, such as GaussianNB\(\)"),
        (None, "model=NoneType has no predict_one and no learn_one"),
        (OnlyPredicts(), "model=OnlyPredicts has no learn_one"),
        (preprocessing.StandardScaler(), "model=StandardScaler has no predict_one"),
        (preprocessing.StandardScaler() | compose.Select("a"), "model=Select has no predict_one"),
        (linear_model.LinearRegression(), "LinearRegression is not a classifier"),
        (preprocessing.StandardScaler() | linear_model.LinearRegression(), "LinearRegression is not a classifier"),
        (cluster.KMeans(), "KMeans is not a classifier"),
        (active.EntropySampler(naive_bayes.GaussianNB()), "EntropySampler chooses what to learn"),
    ],
)  # fmt: skip
def test_what_is_no_classifier_is_refused(model, message):
    rows = [({"a": 1.0}, True), ({"a": 2.0}, False)]
    runs = (prequential, holdout, lambda rows, model: cross_validate(rows, [model, Shown()]))
    for run in runs:
        with pytest.raises(ValueError, match=message):
            next(run(rows, model))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (None, "stream=None of class NoneType has no samples"),
        ("electricity", r"stream='electricity' is text; give the stream itself, such as streams.make\('electri"),
        (5, "stream=5 of class int has no samples"),
        ([5], "sample 0 is 5, not a pair"),
        ([({"a": 1}, "b"), ({"a": 1}, "b", "c")], "sample 1 is .*, not a pair of a dictionary of features and"),
        ([([1.0, 2.0], "b")], r"sample 0 is \(\[1.0, 2.0\], 'b'\), not a pair"),
        (pd.DataFrame({"ab": [1]}), "sample 0 is 'ab', not a pair.*iter_pandas"),
        ([({"a": 1}, pd.NA)], "sample 0 has no label \\(<NA>\\)"),
        ([({"a": 1}, pd.NaT)], "sample 0 has no label \\(NaT\\)"),
        ([({"a": 1}, Decimal("nan"))], "sample 0 has no label \\(NaN\\)"),
        ([({"a": 1}, ["b"])], r"sample 0 has the label \['b'\] of class list, by which nothing can be counted"),
        ([({"a": 1}, np.array([1]))], "sample 0 has the label array.* of class ndarray"),
    ],
)  # fmt: skip
def test_what_is_no_stream_of_labelled_samples_is_refused(stream, message):
    runs = (
        lambda stream: prequential(stream, naive_bayes.GaussianNB()),
        lambda stream: holdout(stream, naive_bayes.GaussianNB()),
        lambda stream: cross_validate(stream, [naive_bayes.GaussianNB(), naive_bayes.GaussianNB()]),
    )
    for run in runs:
        with pytest.raises(ValueError, match=message):
            list(run(stream))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 5}, "weight=5; give the name of a feature that holds it, or a function"),
        ({"fading": "x"}, "factor='x'; choose 0 < factor < 1"),
        ({"metrics": [metrics.F1]}, r"metric F1 is a class; give a metric of it, such as F1\(\)"),
        ({"metrics": {"f": metrics.F1}}, r"metric F1 is a class"),
        ({"metrics": "F1"}, "metrics='F1'; give a river metric, several, or a dictionary"),
        ({"metrics": {1: metrics.F1()}}, "a metric is named 1; choose text"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        list(prequential(numbered(3), Memory(), **options))


def test_models_that_are_no_list_are_refused():
    for models_of_folds in (Memory(), (m for m in [Memory(), Memory()])):
        with pytest.raises(ValueError, match="give a list of at least 2, one per fold"):
            next(cross_validate(numbered(3), models_of_folds))
