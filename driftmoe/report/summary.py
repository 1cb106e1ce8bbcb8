"""The report's summary in words: what the figures let one conclude, and what not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from driftmoe.report.comparisons import LEAST_STREAMS, nothing_by_tests
from driftmoe.report.parts import Part
from driftmoe.report.statistics import SIGNIFICANCE, critical_difference, friedman, mean_ranks, wilcoxon_holm


def summary_parts(lines: Sequence[Mapping[str, Any]], full: pd.DataFrame) -> list[Part]:
    """Return sentences on what can be concluded from a comparison, and on what cannot.

    Parameters
    ----------
    lines
        Complete result lines.
    full
        Mean accuracies as shares: the streams that are ranked (rows) by models (columns), without gaps.
    """
    n_streams, n_models = full.shape
    if n_models < 2:
        return [f"A single model, {lines[0]['model']}, so that nothing is compared."]
    if not n_streams:
        return ["No stream has a result of every model, so that the models cannot be compared as a whole."]
    told: list[Part] = [_standing(full)]
    if n_streams < 2:
        told.append("On a single stream, nothing can be concluded by tests about others.")
    elif n_streams < LEAST_STREAMS:
        told.append(nothing_by_tests(n_streams))
    else:
        told += _by_tests(full)
    seeds = len({line["seed"] for line in lines})
    if seeds < 3:
        told.append(
            ("A single seed was run" if seeds == 1 else "Two seeds were run")
            + ": how much the figures depend on chance within a stream is not known well. Three seeds or more say it."
        )
    told.append(
        "Not said by these figures: how the models do on streams of another kind, or with other parameters than those "
        "listed under Reproducibility; and whether one algorithm is faster than another, because times compare "
        "programs, in the languages in which they are written, on one machine."
    )
    return told


def _standing(full: pd.DataFrame) -> str:
    """Return which model has the highest mean accuracy, by how much, and on how many streams it is best."""
    means = (100 * full.mean()).sort_values(ascending=False, kind="stable")
    first, second = means.index[:2]
    n_best = int((full[first] >= full.max(axis=1)).sum())
    streams = f"{len(full)} streams" if len(full) > 1 else "the one stream"
    if means.iloc[0] - means.iloc[1] < 0.005:
        return f"{first} and {second} have the same mean accuracy over {streams}: {means.iloc[0]:.2f} %."
    return (
        f"{first} has the highest mean accuracy over {streams}, {means.iloc[0]:.2f} %, "
        f"{means.iloc[0] - means.iloc[1]:.2f} points above {second}. It is the best on {n_best} of {len(full)}."
    )


def _by_tests(full: pd.DataFrame) -> list[Part]:
    """Return what the tests say about the model with the highest mean accuracy."""
    first = full.mean().idxmax()
    if full.shape[1] >= 3:
        p_all = friedman(full)[1]
        if p_all >= SIGNIFICANCE:
            return [
                f"The tests do not tell the models apart (Friedman test, p = {p_all:.3g}). This does not say that they "
                "are equal. Single pairs that look clear, also in the Bayesian test, are hints and no conclusions."
            ]
    told: list[Part] = []
    p = wilcoxon_holm(full)[first].drop(first)
    sure = [str(model) for model in p.index if p[model] < SIGNIFICANCE and _is_above(full, first, model)]
    unsure = [str(model) for model in p.index if str(model) not in sure]
    test = f"Wilcoxon signed-rank test with Holm's adjustment, level {SIGNIFICANCE}"
    if sure:
        told.append(
            f"It can be concluded that {first} is more accurate on streams like these than {', '.join(sure)} ({test})."
        )
    if unsure:
        told.append(
            f"It cannot be concluded that {first} is more accurate than {', '.join(unsure)}, nor that they are equal "
            f"({test})."
        )
    n_pairs = full.shape[1] * (full.shape[1] - 1) // 2
    if n_pairs * 2 / 2 ** len(full) >= SIGNIFICANCE:
        told.append(
            f"With {len(full)} streams and {n_pairs} pairs of models this test cannot show any difference, even where "
            "one model is always better. Compare fewer models, or more streams."
        )
    if full.shape[1] >= 3:
        ranks, cd = mean_ranks(full), critical_difference(full.shape[1], len(full))
        lower = [str(model) for model in ranks.index if ranks[model] - ranks[first] > cd]
        if lower:
            told.append(
                f"By mean ranks, {first} is better than {', '.join(lower)} (Nemenyi's test, level {SIGNIFICANCE}; its "
                "answer for two models depends on which others are compared)."
            )
    return told


def _is_above(full: pd.DataFrame, first: str, other: str) -> bool:
    """Return whether most of the difference is in favour of the first model, as the signed-rank test counts it."""
    difference = full[first] - full[other]
    ranks = difference[difference != 0].abs().rank()
    return bool(ranks[difference > 0].sum() > ranks[difference < 0].sum())
