"""Pictures that compare models over runs or streams: ranks, costs, and neural experiments."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from driftmoe.report.conflict import conflict_figure, is_conflict
from driftmoe.report.results import by_model
from driftmoe.report.statistics import SIGNIFICANCE, mean_ranks
from driftmoe.report.style import (
    LONG_NAME,
    Look,
    add_legend,
    drawn_as,
    label_points,
    literal,
    looks_of,
    new_figure,
)

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.figure import Figure


def neural_figure(results: Sequence[Mapping[str, Any]], *, title: str, style: str = "screen") -> Figure:
    """Draw quality against experts used and against operations, with a point per run and a colour per policy.

    Of `conflict` it is the picture of `conflict_figure`.

    Parameters
    ----------
    results
        Result lines of one neural experiment.
    title
        Heading of the picture.
    style
        Name of a style of `STYLES`.
    """
    if is_conflict(results):
        return conflict_figure(results, title=title, style=style)
    of_stream = bool(results[0]["drifts"])
    quality, factor, label = (
        ("accuracy", 100.0, "online accuracy, %") if of_stream else ("loss", 1.0, "held-out loss, nats")
    )
    groups = by_model(results)
    looks = looks_of(list(groups))
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 4.8)
        left, right = figure.subplots(1, 2, sharey=True)
        for setup, group in groups.items():
            values = [line[quality] * factor for line in group]
            used = [line.get("routing", {}).get("experts_used") for line in group]
            flops = [line["expert_flops"] / 1e3 for line in group]
            right.scatter(flops, values, label=literal(setup), s=50, **looks[setup].point)
            if None not in used:
                left.scatter(used, values, s=50, **looks[setup].point)
            else:  # without experts: a line for comparison
                left.axhline(fmean(values), color=looks[setup].color, linestyle="--", linewidth=1)
        left.set(xlabel="experts used, mean over rows and layers", ylabel=label)
        right.set(xlabel="kFLOPs that the chosen experts need for a row")
        if drawn.has_title:
            figure.suptitle(literal(title))
        add_legend(figure, right)
    return figure


def frontier(mean: pd.DataFrame, cost: str) -> list[str]:
    """Return the models that no other beats: none is at least as accurate and cheap, and better in one of both.

    Parameters
    ----------
    mean
        One row per model: `accuracy`, and the cost.
    cost
        Column of the cost; less is better.

    Examples
    --------
    >>> import pandas as pd
    >>> from driftmoe.report import frontier
    >>> costs = {"accuracy": [90, 80, 85], "time": [30, 10, 40]}
    >>> frontier(pd.DataFrame(costs, index=["a", "b", "c"]), "time")
    ['b', 'a']
    """
    known = mean.dropna(subset=["accuracy", cost]).sort_values([cost, "accuracy"], ascending=[True, False])
    best, found, least = -np.inf, [], np.nan
    for model, of_model in known.iterrows():
        if of_model["accuracy"] > best or (of_model["accuracy"] == best and of_model[cost] == least):
            found.append(str(model))
            best, least = of_model["accuracy"], of_model[cost]
    return found


def costs_figure(
    mean: pd.DataFrame, *, looks: Mapping[str, Look] | None = None, style: str = "screen"
) -> Figure:
    """Draw accuracy against time and against RAM-hours, with a point per model and the frontier of the best.

    Parameters
    ----------
    mean
        One row per model: `accuracy` in %, `microseconds` per sample and `ram_hours` per run.
    looks
        How models are drawn, as `looks_of` returns it.
    style
        Name of a style of `STYLES`.
    """
    from matplotlib.ticker import NullFormatter

    looks = looks or looks_of(list(mean.index))
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 4.8)
        both = figure.subplots(1, 2, sharey=True)
        for axes, cost, label in (
            (both[0], "microseconds", "time in the model, µs per sample"),
            (both[1], "ram_hours", "RAM-hours per run"),
        ):
            of_cost = mean.dropna(subset=[cost])
            for model, of_model in of_cost.iterrows():
                look = looks[str(model)]
                axes.scatter(
                    of_model[cost], of_model["accuracy"], s=60, label=literal(str(model)), **look.point
                )
            best = mean.loc[frontier(mean, cost)]
            axes.step(best[cost], best["accuracy"], where="post", color="#888888", linewidth=1, zorder=0.9)
            axes.set(xscale="log", xlabel=label)
            axes.margins(0.15)
            if of_cost[cost].max() > 10 * of_cost[cost].min():  # decades are enough, and do not overlap
                axes.xaxis.set_minor_formatter(NullFormatter())
        both[0].set_ylabel("mean accuracy, %")
        colors = {str(model): looks[str(model)].color for model in mean.index}
        accuracy = mean["accuracy"]
        places = [
            {str(model): (float(mean.loc[model, cost]), float(accuracy[model])) for model in mean.index}
            for cost in ("microseconds", "ram_hours")
        ]
        if not all(label_points(figure, axes, of, colors) for axes, of in zip(both, places, strict=True)):
            for axes in both:
                for text in list(axes.texts):
                    text.remove()
            add_legend(figure, both[0])
    return figure


def rank_figure(
    mean: pd.DataFrame, cd: float, *, looks: Mapping[str, Look] | None = None, style: str = "screen"
) -> Figure:
    """Draw the mean ranks on a line, with bars that join models which Nemenyi's test cannot distinguish.

    Parameters
    ----------
    mean
        Accuracies: streams (rows) by models (columns), without gaps.
    cd
        The critical difference.
    looks
        How models are drawn, as `looks_of` returns it.
    style
        Name of a style of `STYLES`.
    """
    from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman

    looks = looks or looks_of(list(mean.columns))
    lines = {model: textwrap.wrap(str(model), LONG_NAME, break_on_hyphens=False) for model in mean.columns}
    shown = {model: literal(" \n ".join(of_name)) for model, of_name in lines.items()}
    mean = mean.rename(columns=shown)
    ranks, p = mean_ranks(mean), posthoc_nemenyi_friedman(mean)
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 4.0)
        axes = figure.subplots()
        critical_difference_diagram(
            ranks,
            p,
            alpha=SIGNIFICANCE,
            ax=axes,
            label_fmt_left="{label} ({rank:.2f}) ",
            label_fmt_right=" ({rank:.2f}) {label}",
            text_h_margin=0.1,
            color_palette={shown[model]: looks[model].color for model in shown},
        )
        axes.grid(visible=False)
        # Drawn here, above the numbers of the axis: the function's own bar would cross them.
        axes.plot([ranks.min(), ranks.min() + cd], [1.5, 1.5], color="black", linewidth=2)
        axes.text(ranks.min() + cd / 2, 1.7, f"critical difference {cd:.2f}", ha="center")
        axes.set_ylim(top=2.5)
        # Wide enough for the axis beside the names, and high enough for the distance between their lines.
        widest = max(len(line) for of_name in lines.values() for line in of_name)
        n_lines = max(map(len, lines.values()))
        size = (6 + 0.2 * widest, (0.1 + 0.2 * n_lines) * np.ptp(axes.get_ylim()))
        figure.set_size_inches(*(drawn.settings["font.size"] / 10.0 * inches for inches in size))
    return figure
