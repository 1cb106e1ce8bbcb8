"""The report's sections that compare models over streams: a table for each figure, and the statistical tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from driftmoe.report.figures import rank_figure
from driftmoe.report.parts import NOTHING, Grid, Picture
from driftmoe.report.results import data_names
from driftmoe.report.statistics import (
    ROPE,
    SIGNIFICANCE,
    comparison,
    critical_difference,
    friedman,
    mean_ranks,
    one_of_each,
    probably_better,
)
from driftmoe.report.style import as_picture

COMPARED = {
    "accuracy": "Accuracy",
    "kappa": "Kappa (Cohen)",
    "kappa_m": "Kappa-M (against the majority class)",
    "kappa_t": "Kappa-temporal (against no change)",
    "f1_macro": "Macro F1",
    "g_mean": "G-mean",
}
"""Key of a result line (a share, larger is better) -> heading of its table on the page."""

ENOUGH_STREAMS = 10
"""Least number of streams for the chi-squared approximation of the Friedman test (Demšar 2006, section 3.2.2)."""


def comparison_grid(lines: Sequence[Mapping[str, Any]], figure: str) -> Grid:
    """Return the table of one figure: streams by models, with the best in bold, and means and mean ranks below.

    Parameters
    ----------
    lines
        Complete result lines, as `usable` returns them.
    figure
        Key of a result line: a share, larger is better.
    """
    mean, deviation, n_seeds = comparison(lines, figure)
    rows = []
    for row in mean.index:
        most = n_seeds.loc[row].max()
        texts = []
        for model in mean.columns:
            n = n_seeds.loc[row, model]
            text = f"{100 * mean.loc[row, model]:.2f}" if n else NOTHING
            text += f" ± {100 * deviation.loc[row, model]:.2f}" if n > 1 else ""
            text += f" ({n} of {most} seeds)" if 0 < n < most else ""
            texts.append(text)
        rows.append([(row, False), *zip(texts, _is_best(100 * mean.loc[row]), strict=True)])
    full = mean[n_seeds.gt(0).all(axis=1)]
    full = full.loc[one_of_each(lines, list(full.index))]
    if len(full):
        averages, ranks = 100 * full.mean(), mean_ranks(full)
        over = f"over {len(full)} of {len(set(data_names(lines)))} streams"
        for name, values, is_best in (
            (f"mean {over}", averages, _is_best(averages)),
            (f"mean rank {over}", ranks, _is_best(-ranks)),
        ):
            rows.append([(name, False), *zip([f"{value:.2f}" for value in values], is_best, strict=True)])
    return Grid(["stream", *mean.columns], rows)


def _is_best(values: pd.Series) -> list[bool]:
    """Return which values are largest when rounded to two decimals; none if there are fewer than two values."""
    if values.count() < 2:
        return [False] * len(values)
    return (values.round(2) == values.round(2).max()).tolist()


def tests_over_streams(mean: pd.DataFrame) -> list[str | Grid | Picture]:
    """Return the results of the tests on streams (rows) by models (columns) without gaps."""
    n_streams, n_models = mean.shape
    if n_streams < 2 or n_models < 2:
        return [
            f"Not tested: {n_streams} streams have a result of every one of {n_models} models. A test over streams "
            "needs at least two of each.",
        ]
    try:
        import baycomp  # noqa: F401 - to raise one error, before any work
        import scikit_posthocs  # noqa: F401
    except ImportError:
        raise ImportError(
            "a comparison over several streams needs scikit-posthocs and baycomp; pip install "
            "'driftmoe[report]', or '.[report]' from a clone"
        ) from None
    parts: list[str | Grid | Picture] = []
    if n_streams < ENOUGH_STREAMS:
        parts.append(
            f"With {n_streams} streams only large differences can be told from chance. The tests treat streams as "
            "independent, even if they are alike."
        )
    if n_models >= 3:
        statistic, p = friedman(mean)
        cd = critical_difference(n_models, n_streams)
        parts += [
            f"Friedman test over {n_streams} streams and {n_models} models: chi-squared {statistic:.2f} with "
            f"{n_models - 1} degrees of freedom, p = {p:.3g}: the models "
            + ("differ" if p < SIGNIFICANCE else "cannot be told apart")
            + f" at the level {SIGNIFICANCE}.",
            f"Nemenyi's critical difference at this level is {cd:.2f} mean ranks. The mean ranks of models joined by a "
            "bar differ by less.",
            as_picture("critical_difference", "Mean ranks with critical difference", rank_figure(mean, cd)),
        ]
    probability = probably_better(mean)
    parts += [
        "Bayesian signed-rank test: the probability in % that the model of a row is more accurate than that of a "
        f"column by more than {100 * ROPE:g} point on a stream like these. {100 * (1 - SIGNIFICANCE):g} or more is "
        "bold. The two directions and the probability that both models are practically equal add up to 100 %.",
        Grid(
            ["better than →", *probability.columns],
            [
                [
                    (model, False),
                    *(
                        ("" if math.isnan(p) else f"{100 * p:.1f}", p >= 1 - SIGNIFICANCE)
                        for p in probability.loc[model]
                    ),
                ]
                for model in probability.index
            ],
        ),
    ]
    return parts
