"""From result lines to what people look at: a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

FIGURES = {
    "accuracy": ("accuracy %", 100.0, "{:.2f}"),
    "kappa": ("kappa %", 100.0, "{:.2f}"),
    "kappa_m": ("kappa-M %", 100.0, "{:.2f}"),
    "kappa_t": ("kappa-T %", 100.0, "{:.2f}"),
    "f1_macro": ("macro F1 %", 100.0, "{:.2f}"),
    "samples_per_second": ("samples/s", 1.0, "{:,.0f}"),
    "model_bytes": ("model MB", 1e-6, "{:.2f}"),
}
"""Key of a result line -> heading, unit factor, format."""


def by_model(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Group result lines by model, in order of first appearance."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["model"], []).append(result)
    return groups


def table(results: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """Return one row per model: the mean over its seeds, with the standard deviation where there are several.

    Parameters
    ----------
    results
        Result lines of one stream, at least one.
    title
        Heading of the table.
    """
    n_seeds = max(len(group) for group in by_model(results).values())
    grid = Table(title=title, title_justify="left")
    grid.add_column("model", no_wrap=True)
    for heading, _, _ in FIGURES.values():
        grid.add_column(heading, justify="right", no_wrap=True)
    for model, group in by_model(results).items():
        cells = [
            _mean_and_deviation([result[key] * factor for result in group], form)
            for key, (_, factor, form) in FIGURES.items()
        ]
        grid.add_row(
            model if all(result["complete"] for result in group) else f"{model} (interrupted)", *cells
        )
    if n_seeds > 1:
        grid.caption = f"mean ± standard deviation over {n_seeds} seeds"
        grid.caption_justify = "left"
    return grid


def plot_windows(
    curves: Sequence[Mapping[str, Any]], path: Path, *, title: str, drifts: Sequence[Sequence[int]] = ()
) -> None:
    """Draw the accuracy of each model, window by window, and mark where the stream is known to drift.

    Parameters
    ----------
    curves
        Points of the windows of one stream: `model`, `seed`, `n_samples`, `accuracy` (a share).
    path
        PNG to write.
    title
        Heading of the picture.
    drifts
        Known drifts as (position, width), in samples: a line for an abrupt one, a band as wide as a gradual one.

    Notes
    -----
    With several seeds the line is their mean and the band runs from the lowest to the highest.
    """
    from matplotlib.figure import Figure  # not pyplot: that would choose a window system

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    for model, points in by_model(curves).items():
        positions = sorted({int(point["n_samples"]) for point in points})
        values = {position: [] for position in positions}  # type: dict[int, list[float]]
        for point in points:
            values[int(point["n_samples"])].append(100.0 * float(point["accuracy"]))
        (line,) = axes.plot(
            positions,
            [fmean(values[p]) for p in positions],
            label=model,
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
    for i, (position, width) in enumerate(drifts):
        label = "drift" if i == 0 else None
        axes.axvline(position, color="black", linestyle="--", linewidth=1, label=label)
        if width > 1:
            axes.axvspan(position - width / 2, position + width / 2, color="black", alpha=0.08, linewidth=0)
    axes.set(title=title, xlabel="samples", ylabel="accuracy in the window, %")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=120)


def _mean_and_deviation(values: Sequence[float], form: str) -> str:
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(fmean(values))} ± {form.format(stdev(values))}"
