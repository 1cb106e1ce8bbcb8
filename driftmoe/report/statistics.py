"""Comparison of models over streams: means, ranks, and the tests of Demšar (2006) and Benavoli et al. (2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from driftmoe.experiment import parsed_delay
from driftmoe.report.results import counting, figure_of, label_delay, row_names, stream_names

SIGNIFICANCE = 0.05
"""Significance level of the Friedman and the Nemenyi test."""

ROPE = 0.01
"""Region of practical equivalence: smaller differences in accuracy do not matter (as in Benavoli et al. 2017)."""


def comparison(
    results: Sequence[Mapping[str, Any]], figure: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the mean, the standard deviation and the number of seeds of one figure, per stream and model.

    Parameters
    ----------
    results
        Complete result lines, as `usable` returns them.
    figure
        Key of a result line.

    Returns
    -------
    mean, deviation, n_seeds
        One row per stream and length (and data, if one name stands for several), one column per model. The deviation
        is the sample standard deviation, NaN for a single seed. Without a run the mean is NaN and the number 0.
    """
    frame = pd.DataFrame(
        {
            "row": row_names(results),
            "model": [result["model"] for result in results],
            "value": [
                math.nan if (value := figure_of(result, figure)) is None else value for result in results
            ],
        }
    )
    groups = frame.groupby(["row", "model"], sort=False)["value"]
    rows, models = frame["row"].unique(), frame["model"].unique()

    def grid(cells: pd.Series) -> pd.DataFrame:
        return cells.unstack("model").reindex(index=rows, columns=models)

    return grid(groups.mean()), grid(groups.std()), grid(groups.count()).fillna(0).astype(int)


def one_of_each(lines: Sequence[Mapping[str, Any]], rows: Sequence[str]) -> list[str]:
    """Choose one row of each stream, because ranks and tests assume that rows are independent.

    The longest row is chosen; if there are several, the one with the shortest delay; then one without the warm-up.
    """
    of_stream: dict[str, dict[str, tuple[int, float, float, bool]]] = {}
    for row, stream, line in zip(row_names(lines), stream_names(lines), lines, strict=True):
        if row in rows:
            of_stream.setdefault(stream, {})[row] = (-line["n_samples"], *_latest(line), bool(counting(line)))
    return [min(of_row, key=of_row.__getitem__) for of_row in of_stream.values()]


def _latest(line: Mapping[str, Any]) -> tuple[float, float]:
    """Return how late labels may be, in samples and in seconds. If a column says it, that is unknown, so infinite."""
    delay = parsed_delay(label_delay(line))
    seconds = getattr(delay, "seconds", None)
    if seconds is not None:  # a delay in time: in samples it is that of the first label
        return line.get("n_warm_up", 0) - 1.0, seconds
    latest = delay[1] if isinstance(delay, tuple) else delay
    return (float(latest) if isinstance(latest, int) else math.inf), 0.0


def friedman(mean: pd.DataFrame) -> tuple[float, float]:
    """Return chi-squared and p of the Friedman test, with correction for ties.

    Parameters
    ----------
    mean
        At least two streams (rows) and three models (columns), without gaps.

    References
    ----------
    Demšar (2006). Statistical comparisons of classifiers over multiple data sets. JMLR 7, section 3.2.2.
    """
    if (mean.nunique(axis=1) == 1).all():
        return 0.0, 1.0  # all models are equal on all streams: the statistic would be 0 / 0
    statistic, p = stats.friedmanchisquare(*mean.to_numpy().T)
    return float(statistic), float(p)


def mean_ranks(mean: pd.DataFrame, *, is_larger_better: bool = True) -> pd.Series:
    """Return each model's mean rank over the streams; 1 is best, and ties share their ranks."""
    return mean.rank(axis=1, ascending=not is_larger_better).mean()


def critical_difference(n_models: int, n_streams: int) -> float:
    """Return the difference in mean ranks that is significant at level `SIGNIFICANCE` (Nemenyi; Demšar 2006, eq. 8).

    Examples
    --------
    >>> from driftmoe.report import critical_difference
    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    q = stats.studentized_range.ppf(1 - SIGNIFICANCE, n_models, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(n_models * (n_models + 1) / (6 * n_streams)))


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number, by Holm's step-down method.

    References
    ----------
    Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6.

    Examples
    --------
    >>> from driftmoe.report import holm
    >>> [round(q, 3) for q in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for i, k in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - i) * p[k]))
        adjusted[k] = largest
    return adjusted


def wilcoxon_holm(mean: pd.DataFrame) -> pd.DataFrame:
    """Return the p value of the two-sided Wilcoxon signed-rank test of each pair of models, adjusted by Holm's method.

    Unlike Nemenyi's test, the result for two models does not depend on which others are compared.

    Parameters
    ----------
    mean
        Accuracies: streams (rows) by models (columns), without gaps. Differences of zero are left out, as Wilcoxon did.

    References
    ----------
    Benavoli, Corani, Mangili (2016). Should we really use post-hoc tests based on mean-ranks? JMLR 17.
    """
    pairs = [(a, b) for i, a in enumerate(mean.columns) for b in mean.columns[i + 1 :]]
    p = [_signed_rank_p(_signed_ranks((mean[a] - mean[b]).to_numpy())) for a, b in pairs]
    adjusted = pd.DataFrame(math.nan, index=mean.columns, columns=mean.columns)
    for (a, b), value in zip(pairs, holm(p), strict=True):
        adjusted.loc[a, b] = adjusted.loc[b, a] = value
    return adjusted


def _signed_ranks(differences: np.ndarray) -> tuple[float, ...]:
    """Return the ranks of the sizes of differences, from 1, with their signs. Those of zero have none, and stay 0."""
    ranks = np.zeros(len(differences))
    ranks[differences != 0] = stats.rankdata(np.abs(differences[differences != 0]))
    return tuple((np.sign(differences) * ranks).tolist())


@lru_cache(maxsize=4096)
def _signed_rank_p(signed_ranks: tuple[float, ...]) -> float:
    """Return the p value of Wilcoxon's test, for which ranks are enough. With ties scipy takes a second for each."""
    return float(stats.wilcoxon(signed_ranks).pvalue) if any(signed_ranks) else 1.0


def probably_better(mean: pd.DataFrame, *, seed: int = 1) -> pd.DataFrame:
    """Return the posterior probability that the model of a row is better than that of a column by more than `ROPE`.

    Parameters
    ----------
    mean
        Accuracies as shares: streams (rows) by models (columns), without gaps.
    seed
        Seed of the samples from the posterior.

    References
    ----------
    Benavoli, Corani, Demšar, Zaffalon (2017). Time for a change: a tutorial for comparing multiple classifiers through
    Bayesian analysis. JMLR 18, section 4.2. Computed by baycomp, the authors' own package.
    """
    from baycomp import SignedRankTest

    probability = pd.DataFrame(math.nan, index=mean.columns, columns=mean.columns)
    for i, first in enumerate(mean.columns):
        for second in mean.columns[i + 1 :]:
            values = mean[first].to_numpy(), mean[second].to_numpy()
            better, _, worse = SignedRankTest.probs(*values, ROPE, nsamples=10_000, random_state=seed)
            probability.loc[first, second], probability.loc[second, first] = better, worse
    return probability
