"""Pictures of a metric over time, window by window, with a scale that shows what matters and says what it cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from driftmoe.metrics import shown
from driftmoe.report.results import by_model
from driftmoe.report.style import (
    MOST_LINES,
    Look,
    add_legend,
    drawn_as,
    label_ends,
    literal,
    looks_of,
    mark_drifts,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {
    "accuracy": ("accuracy", 100.0, "%"),
    "kappa": ("kappa", 100.0, "%"),
    "kappa_m": ("kappa-M", 100.0, "%"),
    "kappa_t": ("kappa-temporal", 100.0, "%"),
    "kappa_o": ("kappa-order", 100.0, "%"),
    "f1_macro": ("macro F1", 100.0, "%"),
    "g_mean": ("G-mean", 100.0, "%"),
    "samples_per_second": ("speed", 1.0, "samples per second"),
}
"""Column of a curve -> its name, unit factor and unit."""


def described(metric: str) -> tuple[str, float, str, bool]:
    """Return a column's name in words, its unit factor, its unit, and whether a larger value is better."""
    if metric in METRICS:
        return *METRICS[metric], True
    try:
        found = shown(metric)
    except ValueError:  # a column of another kind
        return metric, 1.0, "", True
    return found.words, found.factor, found.unit, found.is_larger_better


START = 0.1
"""Share of the windows, the first ones, that may be cut off: there models have hardly learnt."""

LOWEST = -100.0
"""Lowest value in % that is drawn. A kappa has no lower bound: it may fall far where one class fills a window."""


MOST_TOLD = 70
"""Characters for naming what is cut."""

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Curve:
    """A model's values over time.

    Attributes
    ----------
    ends, middles
        End and middle of each window, in samples.
    means, lowest, highest
        Mean over seeds, and the range.
    """

    ends: list[int]
    middles: list[float]
    means: list[float]
    lowest: list[float]
    highest: list[float]

    def upside_down(self) -> Curve:
        """Return the curve with all values negated, so that the lower ones are the better ones."""
        means, lowest, highest = ([-v for v in vs] for vs in (self.means, self.highest, self.lowest))
        return replace(self, means=means, lowest=lowest, highest=highest)


def curves_of(points: Sequence[Mapping[str, Any]], metric: str = "accuracy") -> dict[str, Curve]:
    """Return the curve of each model, in its unit.

    Parameters
    ----------
    points
        Points of the windows of one stream, with `model`, `seed`, `n_samples` and the metric. Their values may be text.
    metric
        Column of the points.

    Raises
    ------
    ValueError
        If no point has the metric.
    """
    factor = described(metric)[1]
    found = {}
    for model, of_model in by_model(points).items():
        values: dict[int, list[float]] = {}
        for point in of_model:
            if point.get(metric) not in (None, ""):
                values.setdefault(int(point["n_samples"]), []).append(factor * float(point[metric]))
        if values:
            ends = sorted(values)
            found[model] = Curve(
                ends,
                [(begin + end) / 2 for begin, end in zip([0, *ends], ends, strict=False)],
                [fmean(values[end]) for end in ends],
                [min(values[end]) for end in ends],
                [max(values[end]) for end in ends],
            )
    if not found:
        columns = sorted({name for point in points for name in point if name in METRICS})
        raise ValueError(f"no curve has {metric!r}; there are: {', '.join(columns) or 'none'}")
    return found


def best_of(curves: Mapping[str, Curve], *, is_larger_better: bool = True) -> list[str]:
    """Return the models that are drawn, in their order: all, or the `MOST_LINES` with the best means."""
    sign = -1 if is_larger_better else 1
    best = sorted(curves, key=lambda model: sign * fmean(curves[model].means))[:MOST_LINES]
    return [model for model in curves if model in best]


def visible(
    curves: Mapping[str, Curve], first_drift: float, *, floor: float | None
) -> tuple[float, dict[str, float]]:
    """Return the lowest value that the scale shows, and the lowest value of each model of which it cuts something.

    Windows at the start, before the first drift, are cut if the rest would otherwise have less than half of the height.
    Nothing else is cut but what lies below `floor`.

    Parameters
    ----------
    curves
        Model -> curve.
    first_drift
        Sample at which the first drift begins.
    floor
        Lowest value that is shown in any case, or `None`.
    """
    at_start: list[float] = []
    later: list[float] = []
    for curve in curves.values():
        n_start = max(1, int(START * len(curve.ends)))
        for i, (end, value) in enumerate(zip(curve.ends, curve.lowest, strict=True)):
            is_start = i < n_start and end <= first_drift and len(curve.ends) > 2
            (at_start if is_start else later).append(value)
    highest = max(value for curve in curves.values() for value in curve.highest)
    low, lowest = min(later, default=highest), min([*at_start, *later])
    if not later or highest - lowest <= 2 * (highest - low):
        low = lowest
    if floor is not None:
        low = max(low, floor)
    cut = {
        model: min(below)
        for model, curve in curves.items()
        if (below := [value for value in curve.lowest if value < low])
    }
    return low, cut


def windows_figure(
    curves: Sequence[Mapping[str, Any]],
    *,
    title: str,
    drifts: Sequence[Sequence[int]] = (),
    metric: str = "accuracy",
    style: str = "screen",
    looks: Mapping[str, Look] | None = None,
) -> Figure:
    """Draw a metric of each model, window by window, and mark the known drifts of the stream.

    Parameters
    ----------
    curves
        Points of the windows of one stream: `model`, `seed`, `n_samples`, and the metric.
    title
        Heading of the picture.
    drifts
        Known drifts as (position, width), in samples.
    metric
        Column of the points, such as those of `METRICS`.
    style
        Name of a style of `STYLES`.
    looks
        How models are drawn, as `looks_of` returns it; by default that of these models.

    Notes
    -----
    A point stands at the middle of its window. With several seeds, the line is their mean and the band runs from the
    lowest to the highest. Of more than eight models the best eight are drawn.
    """
    found = curves_of(curves, metric)
    name, _, unit, is_larger_better = described(metric)
    lines = {model: found[model] for model in best_of(found, is_larger_better=is_larger_better)}
    looks = looks or looks_of(list(found))
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 5.2)
        axes = figure.subplots()
        for i, (model, curve) in enumerate(lines.items()):
            _draw(axes, model, curve, looks[model], order=3.0 - i / len(lines))  # the first one on top
        begin = min((position - width / 2 for position, width in drifts), default=float("inf"))
        notes = _notes_and_scale(axes, lines, begin, unit, is_larger_better, len(found) - len(lines))
        axes.set_xlim(0, max(curve.ends[-1] for curve in lines.values()))
        mark_drifts(axes, drifts)
        axes.set(xlabel="samples", ylabel=f"{name} in the window" + (f", {unit}" if unit else ""))
        ends = {model: curve.means[-1] for model, curve in lines.items()}
        colors = {model: looks[model].color for model in lines}
        if not label_ends(axes, ends, colors, height=0.8 * figure.get_size_inches()[1]):
            add_legend(figure, axes)
        if notes:
            _note(axes, "; ".join(notes))
        if drawn.has_title:
            axes.set_title(literal(title), loc="left", wrap=True)
    return figure


def _notes_and_scale(
    axes: Axes, lines: Mapping[str, Curve], begin: float, unit: str, is_larger_better: bool, n_left_out: int
) -> list[str]:
    """Set the vertical limits of some curves, and return what is not drawn, in words."""
    seen = lines if is_larger_better else {model: curve.upside_down() for model, curve in lines.items()}
    low, cut = visible(seen, begin, floor=LOWEST if unit == "%" else None)
    high = max(value for curve in seen.values() for value in curve.highest)
    if not is_larger_better:
        low, high, cut = -high, -low, {model: -value for model, value in cut.items()}
    room = 0.05 * ((high - low) or abs(high) or 1.0)
    notes = [_cut_in_words(cut, unit, "bottom" if is_larger_better else "top")] if cut else []
    if n_left_out:
        notes.append(
            f"{n_left_out} models with {'lower' if is_larger_better else 'higher'} means are not drawn"
        )
    axes.set_ylim(low - (2 * room if notes else room), high + 2 * room)
    return notes


def _draw(axes: Axes, model: str, curve: Curve, look: Look, order: float) -> None:
    axes.plot(
        curve.middles,
        curve.means,
        label=literal(model),
        marker=look.marker if len(curve.middles) == 1 else None,
        zorder=order,
        **look.line,
    )
    if curve.lowest != curve.highest:
        axes.fill_between(
            curve.middles, curve.lowest, curve.highest, color=look.color, alpha=0.15, linewidth=0
        )


def _cut_in_words(cut: Mapping[str, float], unit: str, side: str) -> str:
    """Return which values lie below the picture, or above it."""
    values = {model: f"{value:.1f}".replace("-", MINUS) for model, value in cut.items()}
    told = ", ".join(f"{model} {value}" for model, value in values.items())
    if len(told) > MOST_TOLD:
        farthest = values[
            min(cut, key=cut.__getitem__) if side == "bottom" else max(cut, key=cut.__getitem__)
        ]
        told = f"{len(cut)} models, {'down' if side == 'bottom' else 'up'} to {farthest}"
    return f"cut off at the {side}: {told} {unit}".rstrip()


def _note(axes: Axes, text: str) -> None:
    axes.annotate(
        literal(text),
        (0.0, 0.0),
        xytext=(4, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize="small",
        color="#444444",
        wrap=True,
    )


def plot_windows(
    curves: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    title: str,
    drifts: Sequence[Sequence[int]] = (),
    metric: str = "accuracy",
    style: str = "screen",
) -> None:
    """Write the picture of `windows_figure` to a file, in the format of its ending."""
    save_figure(windows_figure(curves, title=title, drifts=drifts, metric=metric, style=style), path)


def in_words(curves: Sequence[Mapping[str, Any]], metric: str = "accuracy") -> str:
    """Return what the picture of `windows_figure` shows, for those who do not see it."""
    found = curves_of(curves, metric)
    name, factor, unit, is_larger_better = described(metric)
    form = "{:.1f}" if factor > 1.0 or metric in METRICS else "{:.3f}"
    told = []
    for model in best_of(found, is_larger_better=is_larger_better):
        means = found[model].means
        first, last, low, high = map(form.format, (means[0], means[-1], min(means), max(means)))
        told.append(f"{model} {first} in the first window, {last} in the last, between {low} and {high}")
    return f"{name} in windows" + (f", in {unit}" if unit else "") + f": {'; '.join(told)}."
