"""Pictures of the routing over time: what share of the vote each kind of expert has, and how the router decides."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from driftmoe.report.results import by_model
from driftmoe.report.style import (
    AREAS,
    LONG_NAME,
    MOST_LINES,
    Look,
    Style,
    add_legend,
    drawn_as,
    label_ends,
    literal,
    looks_of,
    mark_drifts,
    new_figure,
)

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"experts_used": "experts used", "entropy": "entropy", "n_replaced": "trees replaced"}
"""Figure of the routing in a window -> label of its axis."""

MOST_STACKED = 4
"""Models whose shares of the vote are drawn in one picture."""


def routing_frames(points: Sequence[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """Return the routing of each model that reports it: one row per window, the mean over seeds."""
    frames = {}
    for model, of_model in by_model(points).items():
        columns = [name for name in of_model[0] if name.startswith("routing_")]
        frame = pd.DataFrame(
            [{name: point.get(name) for name in ("n_samples", *columns)} for point in of_model]
        )
        # Columns of other models are empty for this model.
        frame = frame.apply(pd.to_numeric).dropna(axis="columns", how="all").groupby("n_samples").mean()
        if "routing_experts_used" in frame:
            frames[model] = frame.rename(columns=lambda name: name.removeprefix("routing_"))
    return frames


def shares_of_kinds(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the share of the vote of each kind of expert, at most `MOST_LINES` of them.

    The kind is the name without its number or what stands in brackets: `tree 3` is one of the trees, and
    `linear (0.2)` is linear. If all experts are of one kind, each is a column of its own. The smallest shares are added
    up as "others".

    Parameters
    ----------
    frame
        Routing of one model, as `routing_frames` returns it.
    """
    weights = frame[[name for name in frame if name.startswith("weight_")]]
    weights = weights.rename(columns=lambda name: name.removeprefix("weight_"))
    shares = weights.T.groupby(_kind, sort=False).sum().T
    if shares.shape[1] == 1:
        shares = weights
    if shares.shape[1] > MOST_LINES:
        largest = shares.mean().sort_values(ascending=False, kind="stable").index[: MOST_LINES - 1]
        kept = shares[[name for name in shares if name in largest]]
        rest = shares.drop(columns=kept.columns)
        shares = kept.assign(**{f"{rest.shape[1]} others": rest.sum(axis=1)})
    total = shares.sum(axis=1)
    return shares.div(total.where(total > 0, 1.0), axis=0)


def _kind(name: str) -> str:
    kind = re.sub(r"( \d+| \(.*\))$", "", name)
    return f"{kind}s" if kind in ("tree", "expert", "network") and kind != name else kind


def routing_figure(
    curves: Sequence[Mapping[str, Any]],
    *,
    title: str,
    drifts: Sequence[Sequence[int]] = (),
    style: str = "screen",
    looks: Mapping[str, Look] | None = None,
) -> Figure | None:
    """Draw the share of the vote of each kind of expert, the experts used, the entropy, and the trees replaced.

    A figure that is the same in all windows gets no panel; the heading gives its value.

    Parameters
    ----------
    curves
        Points of the windows of one stream. Models that do not report their routing are left out.
    title
        Heading of the picture.
    drifts
        Known drifts as (position, width), in samples.
    style
        Name of a style of `STYLES`.
    looks
        How models are drawn, as `looks_of` returns it.

    Returns
    -------
    figure
        Stacked areas for each of the first `MOST_STACKED` models, and a line for each of the first `MOST_LINES`: means
        over seeds. `None` if no model reports its routing.
    """
    of_model = dict(list(routing_frames(curves).items())[:MOST_LINES])
    if not of_model:
        return None
    looks = looks or looks_of([str(point["model"]) for point in curves])
    stacked = {model: shares for model, frame in of_model.items() if (shares := shares_of_kinds(frame)).size}
    stacked = dict(list(stacked.items())[:MOST_STACKED])
    varying, constant = _varying(of_model)
    n_panels = len(stacked) + len(varying)
    with drawn_as(style) as drawn:
        heights = [2.0] * len(stacked) + [1.0] * len(varying)
        figure = new_figure(drawn, 1.2 + 1.5 * sum(heights))
        panels = list(
            figure.subplots(max(n_panels, 1), sharex=True, height_ratios=heights or [1], squeeze=False)[:, 0]
        )
        inch = 0.8 * figure.get_size_inches()[1] / max(sum(heights), 1.0)
        for axes, (model, shares) in zip(panels, stacked.items(), strict=False):
            _stack(axes, shares, height=2 * inch)
            axes.set_ylabel(
                "share of the vote, %" + (f"\n{literal(_short(model))}" if len(of_model) > 1 else "")
            )
        for axes, name in zip(panels[len(stacked) : n_panels], varying, strict=True):
            _lines(axes, name, of_model, looks)
        last = panels[len(stacked)] if varying else None
        if last is not None and len(of_model) > 1:
            add_legend(figure, last)
        for i, axes in enumerate(panels):
            axes.set_xlim(0, max(frame.index[-1] for frame in of_model.values()))
            mark_drifts(axes, drifts, named=i == 0, above=i < len(stacked))
        panels[-1].set_xlabel("samples")
        _head(panels[0], drawn, title, constant)
    return figure


def _short(model: str) -> str:
    return model if len(model) <= LONG_NAME // 2 else f"{model[: LONG_NAME // 2]}…"


def _varying(of_model: Mapping[str, pd.DataFrame]) -> tuple[list[str], list[str]]:
    """Return the figures that vary over time, and phrases for those that do not."""
    varying, constant = [], []
    for name, label in PANELS.items():
        values = {model: frame[name] for model, frame in of_model.items() if name in frame}
        if any(of.max() - of.min() > 1e-9 for of in values.values()):
            varying.append(name)
        elif values:
            levels = {f"{of.iloc[0]:.4g}" for of in values.values()}
            constant.append(f"{label.split(',')[0]}: {' or '.join(sorted(levels))} in every window")
    return varying, constant


def _head(axes: Axes, style: Style, title: str, constant: Sequence[str]) -> None:
    texts = [textwrap.fill(title, 2 * LONG_NAME)] if style.has_title else []
    if constant:
        texts.append("; ".join(constant))
    if texts:
        axes.set_title(literal("\n".join(texts)), loc="left")


def _middles(ends: Sequence[int]) -> list[float]:
    return [(begin + end) / 2 for begin, end in zip([0, *ends], ends, strict=False)]


def _stack(axes: Axes, shares: pd.DataFrame, *, height: float) -> None:
    """Draw shares of the vote as areas above one another, and name them where they end."""
    colors = [AREAS[i % len(AREAS)] for i in range(shares.shape[1])]
    places = [0.0, *_middles(list(shares.index))[1:-1], float(shares.index[-1])] if len(shares) > 1 else [0.0]
    values = 100 * shares.to_numpy().T
    if len(places) == 1:  # a single window is an area all the same
        places, values = [0.0, float(shares.index[-1])], values.repeat(2, axis=1)
    axes.stackplot(
        places,
        values,
        labels=list(map(literal, shares.columns)),
        colors=colors,
        edgecolor="white",
        linewidth=0.5,
    )
    axes.set_ylim(0.0, 100.0)
    axes.grid(visible=False)
    tops = values[:, -1].cumsum()
    middles = dict(zip(shares.columns, tops - values[:, -1] / 2, strict=True))
    if not label_ends(axes, middles, dict.fromkeys(middles, "#222222"), height=height):
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")


def _lines(axes: Axes, name: str, of_model: Mapping[str, pd.DataFrame], looks: Mapping[str, Look]) -> None:
    """Draw one figure of the routing, a line for each model."""
    highest = 0.0
    for model, frame in of_model.items():
        if name in frame:
            axes.plot(_middles(list(frame.index)), frame[name], label=literal(model), **looks[model].line)
            highest = max(highest, float(frame[name].max()))
    axes.set(ylabel=PANELS[name], ylim=(0.0, 1.08 * highest or 1.0))


def in_words(curves: Sequence[Mapping[str, Any]]) -> str:
    """Return what the picture of `routing_figure` shows, for those who do not see it."""
    told = []
    for model, frame in routing_frames(curves).items():
        shares = 100 * shares_of_kinds(frame)
        parts = [
            f"{kind} {of.iloc[0]:.0f} % of the vote in the first window and {of.iloc[-1]:.0f} % in the last"
            for kind, of in shares.items()
        ]
        parts += [
            f"{label} between {frame[name].min():.3g} and {frame[name].max():.3g}"
            for name, label in PANELS.items()
            if name in frame
        ]
        told.append(f"{model}: {', '.join(parts)}")
    return "; ".join(told) + "."
