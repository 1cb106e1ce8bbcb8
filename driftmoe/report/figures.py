"""Pictures drawn with matplotlib: curves, ranks, costs and routing."""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from driftmoe.report.parts import Picture
from driftmoe.report.results import by_model
from driftmoe.report.statistics import SIGNIFICANCE, mean_ranks
from driftmoe.staging import write_files

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROUTING_PANELS = {"experts_used": "experts used", "entropy": "entropy", "n_replaced": "trees replaced"}
"""Figure of the routing in a window -> axis label."""

DPI = 120
"""Resolution of the pictures, in pixels per inch."""

LINE_STYLES = ("-", "--", ":", "-.")
"""Styles of lines that share a colour, because there may be more models than colours."""

N_COLOURS = 10
"""Number of colours in matplotlib's cycle."""

LONG_NAME = 40
"""Number of characters above which a name does not fit beside a picture."""


def plot_windows(
    curves: Sequence[Mapping[str, Any]], path: Path, *, title: str, drifts: Sequence[Sequence[int]] = ()
) -> None:
    """Draw the accuracy of each model, window by window, and mark the known drifts of the stream.

    Parameters
    ----------
    curves
        Points of the windows of one stream: `model`, `seed`, `n_samples`, `accuracy` (a share).
    path
        PNG to write.
    title
        Heading of the picture.
    drifts
        Known drifts as (position, width), in samples. Each is drawn as a line, and gradual ones as a band, too.

    Notes
    -----
    With several seeds, the line is their mean and the band runs from the lowest to the highest.
    """
    save_figure(windows_figure(curves, title=title, drifts=drifts), path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture atomically, in the format given by the file's suffix (PNG without a suffix).

    Raises
    ------
    ValueError
        If matplotlib does not support the format.
    OSError
        If the file cannot be written. The error names the file, and an earlier picture remains.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower() or "png", dpi=DPI)
    kept = "the picture is lost; results, and a picture from before, are as they were"
    write_files(path.parent, {path.name: drawn.getvalue()}, kept=kept)


def windows_figure(
    curves: Sequence[Mapping[str, Any]], *, title: str, drifts: Sequence[Sequence[int]] = ()
) -> Figure:
    """Return the picture that `plot_windows` writes."""
    from matplotlib.figure import Figure  # not pyplot: that would choose a window system

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    for i, (model, points) in enumerate(by_model(curves).items()):
        positions = sorted({int(point["n_samples"]) for point in points})
        values = {position: [] for position in positions}  # type: dict[int, list[float]]
        for point in points:
            values[int(point["n_samples"])].append(100.0 * float(point["accuracy"]))
        (line,) = axes.plot(
            positions,
            [fmean(values[p]) for p in positions],
            LINE_STYLES[i // N_COLOURS % len(LINE_STYLES)],
            label=literal(model),
            linewidth=1.5,
            marker="o" if len(positions) == 1 else None,
        )
        if any(len(v) > 1 for v in values.values()):
            axes.fill_between(
                positions,
                [min(values[p]) for p in positions],
                [max(values[p]) for p in positions],
                color=line.get_color(),
                alpha=0.15,
                linewidth=0,
            )
    mark_drifts(axes, drifts)
    axes.set(title=literal(title), xlabel="samples", ylabel="accuracy in the window, %")
    _add_legend(figure, axes)
    return figure


def routing_figure(
    curves: Sequence[Mapping[str, Any]], *, title: str, drifts: Sequence[Sequence[int]] = ()
) -> Figure | None:
    """Draw the number of experts used, the entropy of the routing, and the number of trees replaced.

    Parameters
    ----------
    curves
        Points of the windows of one stream. Models that do not report their routing are left out.
    title
        Heading of the picture.
    drifts
        Known drifts as (position, width), in samples.

    Returns
    -------
    figure
        One line per model, the mean over its seeds; for a single model also the weight of each expert. `None` if no
        model reports its routing.
    """
    from matplotlib.figure import Figure

    of_model = {}
    for model, points in by_model(curves).items():
        columns = [name for name in points[0] if name.startswith("routing_")]
        frame = pd.DataFrame(
            [{name: point.get(name) for name in ("n_samples", *columns)} for point in points]
        )
        # Columns of other models are empty for this model.
        frame = frame.apply(pd.to_numeric).dropna(axis="columns", how="all").groupby("n_samples").mean()
        if "routing_experts_used" in frame:
            of_model[model] = frame
    if not of_model:
        return None
    weights = (
        [n for n in next(iter(of_model.values())) if n.startswith("routing_weight_")]
        if len(of_model) == 1
        else []
    )
    shown = {
        name: label
        for name, label in ROUTING_PANELS.items()
        if any(f"routing_{name}" in frame for frame in of_model.values())
    }
    panels = len(shown) + bool(weights)
    figure = Figure(figsize=(11, 1 + 2 * panels + 2 * bool(weights)), layout="constrained")
    heights = [1.0] * len(shown) + [2.0] * bool(weights)
    axes = figure.subplots(panels, sharex=True, height_ratios=heights)
    for axis, (name, label) in zip(axes, shown.items(), strict=False):
        for i, (model, frame) in enumerate(of_model.items()):
            if f"routing_{name}" in frame:
                style = {"color": f"C{i}", "linestyle": LINE_STYLES[i // N_COLOURS % len(LINE_STYLES)]}
                axis.plot(frame.index, frame[f"routing_{name}"], label=literal(model), linewidth=1.2, **style)
        axis.set(ylabel=label, ylim=(0.0, None))
        mark_drifts(axis, drifts)
    if weights:
        (frame,) = of_model.values()
        for i, name in enumerate(weights):
            label = literal(name.removeprefix("routing_weight_"))
            axes[-1].plot(
                frame.index,
                frame[name],
                LINE_STYLES[i // N_COLOURS % len(LINE_STYLES)],
                label=label,
                linewidth=1.2,
            )
        axes[-1].set(ylabel="mean weight of each expert", ylim=(0.0, None))
        mark_drifts(axes[-1], drifts)
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    else:
        _add_legend(figure, axes[0])
    axes[0].set_title(literal(textwrap.fill(title, 2 * LONG_NAME)))
    axes[-1].set_xlabel("samples")
    return figure


def neural_figure(results: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Draw quality against experts used and against operations, with a point per run and a colour per policy.

    Parameters
    ----------
    results
        Result lines of one neural experiment.
    title
        Heading of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    of_stream = bool(results[0]["drifts"])
    quality, factor, label = (
        ("accuracy", 100.0, "online accuracy, %") if of_stream else ("loss", 1.0, "held-out loss, nats")
    )
    for i, (setup, group) in enumerate(by_model(results).items()):
        style = {"color": f"C{i}", "marker": "osD^vPX*"[i % 8], "s": 50}
        values = [line[quality] * factor for line in group]
        used = [line.get("routing", {}).get("experts_used") for line in group]
        right.scatter([line["expert_flops"] / 1e3 for line in group], values, label=literal(setup), **style)
        if None not in used:
            left.scatter(used, values, **style)
        else:  # without experts: a line for comparison
            left.axhline(fmean(values), color=style["color"], linestyle="--", linewidth=1)
    left.set(xlabel="experts used, mean over rows and layers", ylabel=label)
    right.set(xlabel="kFLOPs that the chosen experts need for a row")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(literal(title))
    _add_legend(figure, right)
    return figure


def costs_figure(mean: pd.DataFrame) -> Figure:
    """Draw accuracy against time and against RAM-hours, with a point per model.

    Parameters
    ----------
    mean
        One row per model: `accuracy` in %, `microseconds` per sample and `ram_hours` per run.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, cost, label in (
        (left, "microseconds", "time in the model, µs per sample"),
        (right, "ram_hours", "RAM-hours per run"),
    ):
        for i, (model, of_model) in enumerate(mean.iterrows()):
            axes.scatter(
                of_model[cost],
                of_model["accuracy"],
                s=60,
                marker="osD^vP"[i % 6],
                label=literal(str(model)) if axes is left else None,
            )
        axes.set(xscale="log", xlabel=label)
        axes.margins(0.1)
        axes.grid(alpha=0.3)
    left.set_ylabel("mean accuracy, %")
    _add_legend(figure, left)
    return figure


def rank_figure(mean: pd.DataFrame, cd: float) -> Figure:
    """Draw the mean ranks on a line, with bars that join models which Nemenyi's test cannot distinguish."""
    from matplotlib.figure import Figure
    from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman

    lines = {model: textwrap.wrap(str(model), LONG_NAME, break_on_hyphens=False) for model in mean.columns}
    mean = mean.rename(columns={model: literal(" \n ".join(of_name)) for model, of_name in lines.items()})
    ranks, p = mean_ranks(mean), posthoc_nemenyi_friedman(mean)
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    critical_difference_diagram(
        ranks,
        p,
        alpha=SIGNIFICANCE,
        ax=axes,
        label_fmt_left="{label} ({rank:.2f}) ",
        label_fmt_right=" ({rank:.2f}) {label}",
        text_h_margin=0.1,
    )
    # Drawn here, above the numbers of the axis: the function's own bar would cross them.
    axes.plot([ranks.min(), ranks.min() + cd], [1.5, 1.5], color="black", linewidth=2)
    axes.text(ranks.min() + cd / 2, 1.7, f"critical difference {cd:.2f}", ha="center")
    axes.set_ylim(top=2.5)
    # Wide enough for the axis beside the names, and high enough for the distance between their lines.
    widest = max(len(line) for of_name in lines.values() for line in of_name)
    n_lines = max(map(len, lines.values()))
    figure.set_size_inches(6 + 0.2 * widest, (0.1 + 0.2 * n_lines) * np.ptp(axes.get_ylim()))
    return figure


def as_picture(name: str, alt: str, figure: Figure) -> Picture:
    """Return a figure as a picture of the page. The file name is `name` with special characters replaced."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    file = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60]
    if file != name:  # a hash, because other names may become the same
        file += f"_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return Picture(file, alt, png.getvalue())


def literal(text: str) -> str:
    """Escape a name for matplotlib, which reads a dollar as the start of a formula."""
    return text.replace("$", r"\$")


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend beside the axes, or below them if names are so long that the axes would have no room."""
    handles, labels = axes.get_legend_handles_labels()
    if max(map(len, labels), default=0) <= LONG_NAME:
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        return
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.25 * len(labels))
    figure.legend(handles, labels, loc="outside lower left", frameon=False)


def mark_drifts(axes: Axes, drifts: Sequence[Sequence[int]]) -> None:
    """Draw the known drifts, and format the horizontal axis for samples."""
    for i, (position, width) in enumerate(drifts):
        label = "drift" if i == 0 else None
        axes.axvline(position, color="black", linestyle="--", linewidth=1, label=label)
        if width > 1:
            axes.axvspan(position - width / 2, position + width / 2, color="black", alpha=0.08, linewidth=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
