"""The report's sections that compare models over streams: a table for each figure, and the statistical tests."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from driftmoe.metrics import shown
from driftmoe.report.figures import rank_figure
from driftmoe.report.parts import NOTHING, Grid, Part, counted
from driftmoe.report.results import stream_names
from driftmoe.report.statistics import (
    ROPE,
    SIGNIFICANCE,
    comparison,
    critical_difference,
    friedman,
    mean_ranks,
    one_of_each,
    probably_better,
    wilcoxon_holm,
)
from driftmoe.report.style import Look, as_picture

COMPARED = {
    "accuracy": "Accuracy",
    "kappa": "Kappa (Cohen)",
    "kappa_m": "Kappa-M (against the majority class)",
    "kappa_t": "Kappa-temporal (against no change)",
    "kappa_o": "Kappa-order (against the label that most often followed the last one)",
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
        Key of `COMPARED`, or a metric that the runs were asked for.
    """
    factor, form, sign = 100.0, "{:.2f}", 1
    if figure not in COMPARED:
        metric = shown(figure)
        factor, form, sign = metric.factor, metric.form, 1 if metric.is_larger_better else -1
    n_digits = int(form[-3])
    mean, deviation, n_seeds = comparison(lines, figure)
    rows = []
    for row in mean.index:
        most = n_seeds.loc[row].max()
        texts = []
        for model in mean.columns:
            n = n_seeds.loc[row, model]
            text = form.format(factor * mean.loc[row, model]) if n else NOTHING
            text += f" ± {form.format(factor * deviation.loc[row, model])}" if n > 1 else ""
            text += f" ({n} of {most} seeds)" if 0 < n < most else ""
            texts.append(text)
        rows.append(
            [(row, False), *zip(texts, _is_best(sign * factor * mean.loc[row], n_digits), strict=True)]
        )
    full = mean[n_seeds.gt(0).all(axis=1)]
    full = full.loc[one_of_each(lines, list(full.index))]
    if len(full):
        averages, ranks = factor * full.mean(), mean_ranks(full, is_larger_better=sign > 0)
        over = f"over {len(full)} of {counted(len(set(stream_names(lines))), 'stream')}"
        for name, values, is_best, written in (
            (f"mean {over}", averages, _is_best(sign * averages, n_digits), form),
            (f"mean rank {over}", ranks, _is_best(-ranks), "{:.2f}"),
        ):
            rows.append([(name, False), *zip(map(written.format, values), is_best, strict=True)])
    return Grid(["stream", *mean.columns], rows, n_foot=2 if len(full) else 0)


def _is_best(values: pd.Series, n_digits: int = 2) -> list[bool]:
    """Return which values are largest when rounded as they are written; none if there are fewer than two values."""
    if values.count() < 2:
        return [False] * len(values)
    return (values.round(n_digits) == values.round(n_digits).max()).tolist()


LEAST_STREAMS = 6
"""Streams below which the Wilcoxon signed-rank test cannot give a p value below 0.05: it is at least 2 / 2^n."""


def nothing_by_tests(n_streams: int) -> str:
    """Return why tests say nothing over so few streams."""
    least = 2 / 2**n_streams
    return (
        f"With {n_streams} streams nothing can be concluded by tests: even if a model were the best on all of them, "
        f"the Wilcoxon signed-rank test would give p = {least:.3g}, which is above {SIGNIFICANCE}. "
        f"It takes at least {LEAST_STREAMS} streams."
    )


def tests_over_streams(mean: pd.DataFrame, looks: Mapping[str, Look]) -> list[Part]:
    """Return the results of the tests on streams (rows) by models (columns) without gaps."""
    n_streams, n_models = mean.shape
    if n_streams < 2 or n_models < 2:
        return [
            f"Not tested: {counted(n_streams, 'stream')} {'has' if n_streams == 1 else 'have'} a result of every one "
            f"of {counted(n_models, 'model')}. A test over streams needs at least two of each.",
        ]
    if n_streams < LEAST_STREAMS:
        return [f"Not tested. {nothing_by_tests(n_streams)}"]
    parts: list[Part] = []
    if n_streams < ENOUGH_STREAMS:
        parts.append(
            f"With {n_streams} streams only large differences can be told from chance. The tests treat streams as "
            "independent, even if they are alike."
        )
    differ = True
    if n_models >= 3:
        statistic, p = friedman(mean)
        differ = p < SIGNIFICANCE
        parts.append(
            f"Friedman test over {n_streams} streams and {n_models} models: chi-squared {statistic:.2f} with "
            f"{n_models - 1} degrees of freedom, p = {p:.3g}: "
            + (f"not all models are alike, at the level {SIGNIFICANCE}." if differ else _CANNOT)
        )
        parts += _nemenyi(mean, looks)
    parts += [
        "Wilcoxon signed-rank test of each pair, adjusted for the number of pairs by Holm's method: p values. "
        + (
            f"Those below {SIGNIFICANCE} are bold."
            if differ
            else "None is bold, because the Friedman test found nothing."
        ),
        _matrix(wilcoxon_holm(mean), "p value", "{:.3g}", lambda p: differ and p < SIGNIFICANCE),
        *_bayesian(mean, differ=differ),
    ]
    return parts


_CANNOT = (
    f"the models cannot be told apart at the level {SIGNIFICANCE}. This does not say that they are equal. The tests of "
    "pairs below are hints where to look with more streams, and no conclusions."
)

_MISSING = (
    "{} is left out, because {} is not installed; pip install 'driftmoe[report]', or '.[report]' from a clone, "
    "brings it."
)


def _nemenyi(mean: pd.DataFrame, looks: Mapping[str, Look] | None) -> list[Part]:
    if importlib.util.find_spec("scikit_posthocs") is None:
        return [_MISSING.format("Nemenyi's diagram", "scikit-posthocs")]
    n_streams, n_models = mean.shape
    cd, ranks = critical_difference(n_models, n_streams), mean_ranks(mean).sort_values()
    words = ", ".join(f"{model} {rank:.2f}" for model, rank in ranks.items())
    alt = f"Mean ranks with critical difference {cd:.2f}: {words}."
    return [
        f"Nemenyi's critical difference at this level is {cd:.2f} mean ranks. The mean ranks of models joined by a "
        "bar differ by less.",
        as_picture("critical_difference", alt, rank_figure(mean, cd, looks=looks)),
    ]


def _bayesian(mean: pd.DataFrame, *, differ: bool) -> list[Part]:
    if importlib.util.find_spec("baycomp") is None:
        return [_MISSING.format("The Bayesian signed-rank test", "baycomp")]
    level = f"{100 * (1 - SIGNIFICANCE):g}"
    caution = (
        f"{level} or more is bold."
        if differ
        else f"None is bold, although one may be {level} or more: the test looks at one pair at a time and is not "
        "adjusted for their number, and the Friedman test, which looks at all models at once, found no difference."
    )
    return [
        "Bayesian signed-rank test: the probability in % that the model of a row is more accurate than that of a "
        f"column by more than {100 * ROPE:g} point on a stream like these. {caution} The two directions and the "
        "probability that both models are practically equal add up to 100 %.",
        _matrix(
            100 * probably_better(mean),
            "better than →",
            "{:.1f}",
            lambda p: differ and p >= 100 * (1 - SIGNIFICANCE),
        ),
    ]


def _matrix(values: pd.DataFrame, corner: str, form: str, is_bold: Callable[[float], bool]) -> Grid:
    """Return a table of models by models, with an empty diagonal."""
    rows = [
        [
            (str(model), False),
            *(("" if math.isnan(value) else form.format(value), bool(is_bold(value))) for value in of_model),
        ]
        for model, of_model in values.iterrows()
    ]
    return Grid([corner, *values.columns], rows)
