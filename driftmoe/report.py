"""From result lines to what people look at: a table, a picture, and a page that compares models over streams.

The comparison follows Demšar (2006): a mean per stream and model, ranks within each stream, the Friedman test, and
Nemenyi's critical difference; and Benavoli et al. (2017): the Bayesian signed-rank test. Only streams with a result of
every model are averaged, ranked and tested; the page says which are left out.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.table import Table
from scipy import stats

from driftmoe.experiment import counts_warm_up, parsed_delay, run_key, warm_up_protocol
from driftmoe.metrics import Recovery, drift_recovery
from driftmoe.staging import naming, write_files

if TYPE_CHECKING:  # slow to import, and needed by those who draw alone
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

COMPARED = {
    "accuracy": "Accuracy",
    "kappa": "Kappa (Cohen)",
    "kappa_m": "Kappa-M (against the majority class)",
    "kappa_t": "Kappa-temporal (against no change)",
    "f1_macro": "Macro F1",
    "g_mean": "G-mean",
}
"""Key of a result line, a share and better when larger -> heading of its table on the page."""

SIGNIFICANCE = 0.05
"""Level of the Friedman and the Nemenyi test."""

ENOUGH_STREAMS = 10
"""From which on chi-squared is a fair approximation in the Friedman test (Demšar 2006, section 3.2.2)."""

ROPE = 0.01
"""Accuracies that differ by less are the same for practical purposes (Benavoli et al. 2017 take one point too)."""

ROUTING = {
    "experts_used": ("experts used", 1.0, "{:.2f}"),
    "entropy": ("entropy", 1.0, "{:.3f}"),
    "null_share": ("to nulls %", 100.0, "{:.2f}"),
    "best_single": ("best single expert %", 100.0, "{:.2f}"),
    "oracle_gap": ("oracle gap %", 100.0, "{:.2f}"),
    "missed": ("missed %", 100.0, "{:.2f}"),
    "n_replaced": ("trees replaced", 1.0, "{:,.0f}"),
}
"""Figure of a result line's routing -> heading, unit factor, format."""

ROUTING_NOTE = (
    "Oracle gap: accuracy of the best single expert in hindsight less the mixture's. Missed: samples on which an "
    "expert was right and the mixture was not."
)

NEURAL = {
    "loss": ("loss, nats", 1.0, "{:.3f}"),
    "accuracy": ("accuracy %", 100.0, "{:.2f}"),
    "accuracy_package": ("package %", 100.0, "{:.1f}"),
    "accuracy_kind": ("kind %", 100.0, "{:.1f}"),
    "accuracy_keyword": ("keyword %", 100.0, "{:.1f}"),
    "mistakes_per_drift": ("mistakes per drift", 1.0, "{:,.0f}"),
    "recovery": ("recovery", 1.0, "{:,.0f}"),
    "retained": ("retained %", 100.0, "{:.1f}"),
    "forgetting": ("forgetting %", 100.0, "{:.1f}"),
    "experts_used": ("experts used", 1.0, "{:.2f}"),
    "expert_flops": ("expert kFLOPs", 1e-3, "{:,.0f}"),
    "flops": ("kFLOPs", 1e-3, "{:,.0f}"),
    "n_active": ("active, k", 1e-3, "{:,.0f}"),
    "n_trainable": ("trained, k", 1e-3, "{:,.0f}"),
    "samples_per_second": ("samples/s", 1.0, "{:,.0f}"),
}
"""Figure of a neural experiment -> heading, unit factor, format; a column is shown where a run has the figure."""

NEURAL_NOTE = (
    "Loss and accuracy of lm and adapt are those of held-out text, of drift those of each picture before it was "
    "learnt. Mistakes per drift: above those that the accuracy before would have made, until it is regained; recovery: "
    "pictures until then, at most the length of a concept. Retained: held-out accuracy at the end, mean over all "
    "concepts; forgetting: how much lower each concept but the last is then than it was at its best. Operations are "
    "thousands for each byte, token or picture, of matrix products in a forward pass: those that the chosen experts "
    "need, and all that are done, be they needed or not. Active and trained: thousands of parameters, the former those "
    "that a row meets on average."
)

ROUTING_PANELS = {"experts_used": "experts used", "entropy": "entropy", "n_replaced": "trees replaced"}
"""Figure of the routing in a window -> what the axis says."""

NOTHING = "\N{EN DASH}"
"""Shown where nothing was run."""

DPI = 120

LINE_STYLES = ("-", "--", ":", "-.")
"""Of lines that share a colour, since there are more models than colours."""

N_COLOURS = 10

LONG_NAME = 40
"""Characters beyond which a name does not fit beside a picture."""


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


def _routing_cells(group: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures of a model's routing: means over its seeds with the deviation, nothing where not defined."""
    cells = []
    for key, (_, factor, form) in ROUTING.items():
        values = [result["routing"][key] for result in group]
        is_known = all(value is not None for value in values)
        cells.append(_mean_and_deviation([value * factor for value in values], form) if is_known else NOTHING)
    return cells


def routing_table(results: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """Return one row per model that tells of its routing: the mean over its seeds, with the standard deviation.

    Parameters
    ----------
    results
        Result lines of one stream, with `routing` in at least one of them.
    title
        Heading of the table.
    """
    grid = Table(title=title, title_justify="left")
    grid.add_column("model", no_wrap=True)
    for heading, _, _ in ROUTING.values():
        grid.add_column(heading, justify="right")
    for model, group in by_model([result for result in results if "routing" in result]).items():
        grid.add_row(model, *_routing_cells(group))
    grid.caption = ROUTING_NOTE
    grid.caption_justify = "left"
    return grid


def neural_grid(results: Sequence[Mapping[str, Any]]) -> Grid:
    """Return one row per policy of a neural experiment: the mean over its seeds, with the standard deviation.

    Parameters
    ----------
    results
        Result lines of one experiment.
    """
    lines = [dict(line.get("routing", {})) | dict(line) for line in results]
    columns = {
        key: column for key, column in NEURAL.items() if any(line.get(key) is not None for line in lines)
    }
    rows = []
    for setup, group in by_model(lines).items():
        cells = [(setup, False)]
        for key, (_, factor, form) in columns.items():
            values = [line[key] * factor for line in group if line.get(key) is not None]
            cells.append((_mean_and_deviation(values, form) if values else NOTHING, False))
        rows.append(cells)
    return Grid(["policy", *(heading for heading, _, _ in columns.values())], rows)


def as_table(grid: Grid, *, title: str, caption: str) -> Table:
    """Return a table of the page as one for the terminal."""
    shown = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for i, heading in enumerate(grid.heading):
        shown.add_column(heading, justify="right" if i else "left", no_wrap=not i)
    for row in grid.rows:
        shown.add_row(*(text for text, _ in row))
    return shown


def neural_figure(results: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Draw quality against experts used and against operations: a point per run, one colour per policy.

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
        right.scatter([line["expert_flops"] / 1e3 for line in group], values, label=_literal(setup), **style)
        if None not in used:
            left.scatter(used, values, **style)
        else:  # no experts: a line to compare with
            left.axhline(fmean(values), color=style["color"], linestyle="--", linewidth=1)
    left.set(xlabel="experts used, mean over rows and layers", ylabel=label)
    right.set(xlabel="kFLOPs that the chosen experts need for a row")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(_literal(title))
    _add_legend(figure, right)
    return figure


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
    save_figure(windows_figure(curves, title=title, drifts=drifts), path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all, in the format that the ending of its name says, or else as PNG.

    Raises
    ------
    ValueError
        If nothing can be drawn in that format.
    OSError
        If the file cannot be written; it says which, and a picture from before is still there.
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
            label=_literal(model),
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
    _mark_drifts(axes, drifts)
    axes.set(title=_literal(title), xlabel="samples", ylabel="accuracy in the window, %")
    _add_legend(figure, axes)
    return figure


def _literal(text: str) -> str:
    """Return a name as matplotlib shows it as it is: a dollar begins a formula there."""
    return text.replace("$", r"\$")


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Say beside the axes what they show, or below them where names are long, which would leave them no room."""
    handles, labels = axes.get_legend_handles_labels()
    if max(map(len, labels), default=0) <= LONG_NAME:
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        return
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.25 * len(labels))
    figure.legend(handles, labels, loc="outside lower left", frameon=False)


def _mark_drifts(axes: Axes, drifts: Sequence[Sequence[int]]) -> None:
    """Draw the known drifts, and make the other axis one of samples."""
    for i, (position, width) in enumerate(drifts):
        label = "drift" if i == 0 else None
        axes.axvline(position, color="black", linestyle="--", linewidth=1, label=label)
        if width > 1:
            axes.axvspan(position - width / 2, position + width / 2, color="black", alpha=0.08, linewidth=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)


def _mean_and_deviation(values: Sequence[float], form: str) -> str:
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(fmean(values))} ± {form.format(stdev(values))}"


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
        One row per stream and length (and data, where one name stands for several), one column per model. The
        deviation is that of a sample, NaN for a single seed; the mean is NaN and the number 0 where nothing was run.
    """
    frame = pd.DataFrame(
        {
            "row": _row_names(results),
            "model": [result["model"] for result in results],
            "value": [result.get(figure, math.nan) for result in results],
        }
    )
    groups = frame.groupby(["row", "model"], sort=False)["value"]
    rows, models = frame["row"].unique(), frame["model"].unique()

    def grid(cells: pd.Series) -> pd.DataFrame:
        return cells.unstack("model").reindex(index=rows, columns=models)

    return grid(groups.mean()), grid(groups.std()), grid(groups.count()).fillna(0).astype(int)


def usable(results: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the results that may be compared, and a sentence for each that may not.

    Left out are interrupted runs, and of runs that were done more than once all but the last.
    """
    kept: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    notes = []
    for result in results:
        name = f"{result['model']} on {result['stream']}, seed {result['seed']}"
        if not result["complete"]:
            notes.append(f"{name}: interrupted after {result['n_samples']:,} samples, left out.")
            continue
        parts = ("stream", "stream_sha256", "model", "seed", "n_samples")
        key = (*(result[part] for part in parts), _delay(result), warm_up_protocol(result))
        if key in kept:
            notes.append(
                f"{name}, {result['n_samples']:,} samples: done more than once, the last one counts."
            )
        kept[key] = result
    return list(kept.values()), notes


def _delay(result: Mapping[str, Any]) -> str:
    """Return how late the labels came; lines of old files do not say that they came at once."""
    return str(result.get("delay") or 0)


def lateness(result: Mapping[str, Any]) -> str:
    """Return what a title says of the delay of the labels; nothing where they came at once."""
    return "" if _delay(result) == "0" else f", labels {_delay(result)} late"


def counting(result: Mapping[str, Any]) -> str:
    """Return what a title says of a warm-up in the figures; nothing where it is left out, or is one old sample."""
    counted = counts_warm_up(result) if lateness(result) else warm_up_protocol(result)
    return ", warm-up counted" if counted else ""


def left_out(results: Sequence[Mapping[str, Any]]) -> str:
    """Return what a title says of the first samples that are in no figure; nothing where all are."""
    ns = sorted({line.get("n_warm_up", 0) for line in results if not counts_warm_up(line)})
    if not ns or not ns[-1]:
        return ""
    if ns == [1]:
        return ", first sample not counted"
    return (
        f", first {ns[-1]:,} samples not counted"
        if len(ns) == 1
        else f", up to {ns[-1]:,} samples not counted"
    )


def reading(result: Mapping[str, Any]) -> str:
    """Return how a file was read, for a title: its class, what was left out, and what is not as usual."""
    told = dict(result.get("reading", {}))
    n_bad, is_lenient = told.pop("rows_left_out", 0), told.pop("on_bad_row", None) == "skip"
    words = {"target": "class", "drop": "without", "nominal": "as names"}
    parts = [f"{words.get(name, name)} {_quoted(value)}" for name, value in told.items()]
    return ", ".join([*parts, *([f"{n_bad:,} bad rows left out"] if is_lenient else [])])


def _quoted(value: Any) -> str:
    return ", ".join(f"`{item}`" for item in (value if isinstance(value, list) else [value]))


def _data_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the data of each result: the stream, and where one name stands for several, how it is read or its hash."""
    hashes: dict[tuple[Any, ...], set[str]] = {}
    for result in results:
        same_name = (result["stream"], result["n_samples"], result["seed"])
        for key in (same_name, (*same_name, reading(result))):
            hashes.setdefault(key, set()).add(result["stream_sha256"])
    ambiguous = {(*key[:2], *key[3:]) for key, found in hashes.items() if len(found) > 1}
    names = []
    for result in results:
        name, told = (result["stream"], result["n_samples"]), reading(result)
        parts = [result["stream"]]
        if name in ambiguous and told:
            parts.append(told)
        if (*name, told) in ambiguous or (name in ambiguous and not told):
            parts.append(f"data {result['stream_sha256'][:8]}")
        names.append(", ".join(parts))
    return names


def _row_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name what each result was measured on: stream, length, how late labels came, and warm-up and data if need be."""
    return [
        f"{result['stream']}, {result['n_samples']:,}{lateness(result)}{counting(result)}"
        f"{data.removeprefix(result['stream'])}"
        for result, data in zip(results, _data_names(results), strict=True)
    ]


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
        return 0.0, 1.0  # all equal everywhere: the statistic would be 0 / 0
    statistic, p = stats.friedmanchisquare(*mean.to_numpy().T)
    return float(statistic), float(p)


def mean_ranks(mean: pd.DataFrame) -> pd.Series:
    """Return each model's mean rank over the streams, 1 the best; equal models share their ranks."""
    return mean.rank(axis=1, ascending=False).mean()


def critical_difference(n_models: int, n_streams: int) -> float:
    """Return how far mean ranks must lie apart to differ at the level `SIGNIFICANCE` (Nemenyi; Demšar 2006, eq. 8).

    Examples
    --------
    >>> from driftmoe.report import critical_difference
    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    q = stats.studentized_range.ppf(1 - SIGNIFICANCE, n_models, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(n_models * (n_models + 1) / (6 * n_streams)))


def probably_better(mean: pd.DataFrame, *, seed: int = 1) -> pd.DataFrame:
    """Return the posterior probability that the model of a row is better than that of a column by more than `ROPE`.

    Parameters
    ----------
    mean
        Accuracies as shares: streams (rows) by models (columns), without gaps.
    seed
        Of the samples from the posterior.

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


@dataclass(frozen=True)
class Grid:
    """A table of the page: the heading of each column, and rows of cells as (text, whether it is bold)."""

    heading: list[str]
    rows: list[list[tuple[str, bool]]]


@dataclass(frozen=True)
class Picture:
    """A picture of the page: name of its file beside the Markdown, what it shows, and its PNG."""

    name: str
    alt: str
    png: bytes


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs, tables and pictures under one title."""

    title: str
    parts: list[str | Grid | Picture]


def sections(
    results: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, Any]],
    failures: Sequence[str] = (),
) -> list[Section]:
    """Return what a report says, before it becomes HTML or Markdown.

    Parameters
    ----------
    results, curves
        As `driftmoe.experiment.read_results` returns them.
    failures
        A sentence for each job that failed.

    Raises
    ------
    ValueError
        If no result is complete.
    ImportError
        If models are to be tested over several streams and the extra `driftmoe[report]` is not installed.
    """
    lines, notes = usable(results)
    points: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for point in curves:
        points.setdefault(run_key(point), []).append(point)
    if not lines:
        raise ValueError("no run is complete, so there is nothing to compare; " + " ".join(notes))
    neural = [line for line in lines if "expert_flops" in line]
    neural_sections = [Section("Neural experiments", _neural_parts(neural))] if neural else []
    ends = [
        Section("Accuracy over time", _curve_pictures(lines, points)),
        Section("What drifts cost", _drift_costs(lines, points)),
        Section("How it can be repeated", _provenance(lines)),
    ]
    lines = [line for line in lines if "expert_flops" not in line]
    if not lines:  # no streams, or what is like them: nothing to rank or test
        return [
            Section("What was done", [f"{len(neural)} runs.", *notes, *failures]),
            *neural_sections,
            *ends,
        ]
    mean, _, n_seeds = comparison(lines, "accuracy")
    n_runs = n_seeds.to_numpy().max()
    whole = mean[n_seeds.gt(0).all(axis=1)]
    full = whole.loc[_one_of_each(lines, list(whole.index))]
    lacking: dict[tuple[str, ...], list[str]] = {}
    for row, counts in n_seeds.iterrows():
        lacking.setdefault(tuple(counts.index[counts == 0]), []).append(str(row))
    cautions = [
        f"{'; '.join(rows)}: no result of {', '.join(absent)}, hence in no mean, rank or test."
        for absent, rows in lacking.items()
        if absent
    ]
    seeds: dict[str, dict[str, set[int]]] = {}
    for row, line in zip(_row_names(lines), lines, strict=True):
        seeds.setdefault(row, {}).setdefault(line["model"], set()).add(line["seed"])
    uneven = [row for row, of_model in seeds.items() if len(set(map(frozenset, of_model.values()))) > 1]
    if uneven:
        cautions.append(
            f"{'; '.join(uneven)}: the models did not run with the same seeds, so their cells are means over "
            "different runs."
        )
    if any(lateness(line) for line in lines):
        cautions.append(
            "Where labels come late, the baseline of kappa-temporal knows the label before all the same: below 0 does "
            "not mean worse than repeating the last label that had come."
        )
    if len(full) < len(whole):
        cautions.append(
            "Means, ranks and tests take one row of each stream, the longest, and of these that with the earliest "
            f"labels; left out: {'; '.join(row for row in whole.index if row not in full.index)}."
        )
    n_streams = len(set(_data_names(lines)))
    rows_or_streams = "streams" if n_streams == len(mean) else f"rows of {n_streams} streams"
    parts: list[str | Grid | Picture] = [
        f"{len(lines)} runs: {len(mean)} {rows_or_streams}, {len(mean.columns)} models, up to {n_runs} seeds. Each "
        "sample is predicted before it is learnt. Cells are the mean ± standard deviation over seeds, in %; the best "
        "of a row is bold. The number behind a stream's name is its length in samples.",
        *_what_counts(lines),
        *cautions,
        *notes,
        *failures,
    ]
    tables = [
        Section(heading, [comparison_grid(lines, figure)])
        for figure, heading in COMPARED.items()
        if all(figure in line for line in lines)
    ]
    return [
        Section("What was compared", parts),
        *tables,
        Section("Are the differences in accuracy more than chance?", _tests(full)),
        Section("Time and memory", _costs(lines)),
        *([Section("Routing", _routing_grids(lines))] if any("routing" in line for line in lines) else []),
        *neural_sections,
        *ends,
    ]


def _what_counts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which samples are in the figures: how many are not, and of which runs all are."""
    told: dict[str, None] = {}
    for row, line in zip(_row_names(lines), lines, strict=True):
        if not counts_warm_up(line) and line.get("n_warm_up", 0) > 1:
            told[f"{line['n_warm_up']:,} of {row}"] = None
    n_old = sum(counts_warm_up(line) for line in lines)
    sentences = [
        "Samples that were predicted before the first label had come, of which no model could know the class, are in "
        "no figure: the first sample where labels come at once"
        + (f"; {'; '.join(told)}." if told else ".")
    ] if n_old < len(lines) else []  # fmt: skip
    if n_old:
        sentences.append(
            f"In {n_old} of {len(lines)} runs they count, as in all of older versions, or as --count-warm-up asks; "
            "without a delay that is one sample, and such runs stand beside the others."
        )
    return sentences


def _one_of_each(lines: Sequence[Mapping[str, Any]], rows: Sequence[str]) -> list[str]:
    """Return of some rows one of each stream: the longest, of these with the earliest labels, without their warm-up.

    Rows of one stream are not independent, as ranks and tests have to assume.
    """
    of_stream: dict[str, dict[str, tuple[int, float, bool]]] = {}
    for row, data, line in zip(_row_names(lines), _data_names(lines), lines, strict=True):
        if row in rows:
            delay = parsed_delay(_delay(line))
            longest = delay[1] if isinstance(delay, tuple) else delay
            latest = float(longest) if isinstance(longest, int) else math.inf  # who knows what a column holds
            of_stream.setdefault(data, {})[row] = (-line["n_samples"], latest, bool(counting(line)))
    return [min(of_row, key=of_row.__getitem__) for of_row in of_stream.values()]


def comparison_grid(lines: Sequence[Mapping[str, Any]], figure: str) -> Grid:
    """Return the table of one figure: streams by models, the best of a row bold, means and mean ranks below.

    Parameters
    ----------
    lines
        Complete result lines, as `usable` returns them.
    figure
        Key of a result line, a share that is better when larger.
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
    full = full.loc[_one_of_each(lines, list(full.index))]
    if len(full):
        averages, ranks = 100 * full.mean(), mean_ranks(full)
        over = f"over {len(full)} of {len(set(_data_names(lines)))} streams"
        for name, values, is_best in (
            (f"mean {over}", averages, _is_best(averages)),
            (f"mean rank {over}", ranks, _is_best(-ranks)),
        ):
            rows.append([(name, False), *zip([f"{value:.2f}" for value in values], is_best, strict=True)])
    return Grid(["stream", *mean.columns], rows)


def _is_best(values: pd.Series) -> list[bool]:
    """Tell which values are the largest as shown, with two decimals; none where there is nothing to choose from."""
    if values.count() < 2:
        return [False] * len(values)
    return (values.round(2) == values.round(2).max()).tolist()


def _tests(mean: pd.DataFrame) -> list[str | Grid | Picture]:
    """Return what the tests say of streams (rows) and models (columns) without gaps."""
    n_streams, n_models = mean.shape
    if n_streams < 2 or n_models < 2:
        return [
            f"Not tested: {n_streams} streams have a result of every one of {n_models} models; a test over streams "
            "needs at least two of each.",
        ]
    try:
        import baycomp  # noqa: F401 - said here, in one place, before any work
        import scikit_posthocs  # noqa: F401
    except ImportError:
        raise ImportError(
            "a comparison over several streams needs scikit-posthocs and baycomp; pip install "
            "'driftmoe[report]', or '.[report]' from a clone"
        ) from None
    parts: list[str | Grid | Picture] = []
    if n_streams < ENOUGH_STREAMS:
        parts.append(
            f"With {n_streams} streams only large differences can be told from chance, and streams that are alike "
            "count as if they were not."
        )
    if n_models >= 3:
        statistic, p = friedman(mean)
        cd = critical_difference(n_models, n_streams)
        parts += [
            f"Friedman test over {n_streams} streams and {n_models} models: chi-squared {statistic:.2f} with "
            f"{n_models - 1} degrees of freedom, p = {p:.3g}: the models "
            + ("differ" if p < SIGNIFICANCE else "cannot be told apart")
            + f" at the level {SIGNIFICANCE}.",
            f"Nemenyi's critical difference at that level is {cd:.2f} mean ranks. Models joined by a bar are less "
            "apart than that.",
            _picture("critical_difference", "Mean ranks with critical difference", _rank_figure(mean, cd)),
        ]
    probability = probably_better(mean)
    parts += [
        "Bayesian signed-rank test: the probability in % that the model of a row is more accurate than that of a "
        f"column by more than {100 * ROPE:g} point on a stream like these; {100 * (1 - SIGNIFICANCE):g} or more is "
        "bold. What the two directions lack to 100 % is the probability that both are equal for practical purposes.",
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


def _rank_figure(mean: pd.DataFrame, cd: float) -> Figure:
    """Draw the mean ranks on a line, with bars that join what Nemenyi's test cannot tell apart."""
    from matplotlib.figure import Figure
    from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman

    lines = {model: textwrap.wrap(str(model), LONG_NAME, break_on_hyphens=False) for model in mean.columns}
    mean = mean.rename(columns={model: _literal(" \n ".join(of_name)) for model, of_name in lines.items()})
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
    # Above the numbers of the axis, which the bar that the function can draw would cross.
    axes.plot([ranks.min(), ranks.min() + cd], [1.5, 1.5], color="black", linewidth=2)
    axes.text(ranks.min() + cd / 2, 1.7, f"critical difference {cd:.2f}", ha="center")
    axes.set_ylim(top=2.5)
    # So wide that the axis keeps its width beside the names, so high that their lines keep their distance.
    widest = max(len(line) for of_name in lines.values() for line in of_name)
    n_lines = max(map(len, lines.values()))
    figure.set_size_inches(6 + 0.2 * widest, (0.1 + 0.2 * n_lines) * np.ptp(axes.get_ylim()))
    return figure


def _costs(lines: Sequence[Mapping[str, Any]]) -> list[str | Grid | Picture]:
    """Return speed and memory per model over the streams that all models have, and the picture of time and accuracy."""
    from matplotlib.figure import Figure

    _, _, n_seeds = comparison(lines, "accuracy")
    full = n_seeds.gt(0).all(axis=1)
    if not full.any():
        return ["No stream has a result of every model, so times cannot be compared."]
    costs = [
        {
            **line,
            "microseconds": 1e6 / line["samples_per_second"],
            "of_processor": 1e6 * line.get("cpu_seconds", math.nan) / line["n_samples"],
            "megabytes": line["model_bytes"] / 1e6,
        }
        for line in lines
    ]
    forms = {
        "accuracy": "{:.2f}",
        "microseconds": "{:,.1f}",
        "of_processor": "{:,.1f}",
        "seconds": "{:,.1f}",
        "megabytes": "{:,.2f}",
        "ram_hours": "{:.3g}",
    }
    mean = pd.DataFrame({name: comparison(costs, name)[0][full].mean() for name in forms})
    mean["accuracy"] *= 100
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
                label=_literal(str(model)) if axes is left else None,
            )
        axes.set(xscale="log", xlabel=label)
        axes.margins(0.1)
        axes.grid(alpha=0.3)
    left.set_ylabel("mean accuracy, %")
    _add_legend(figure, left)
    rows = [
        [
            (str(model), False),
            *(
                (NOTHING if math.isnan(of_model[name]) else form.format(of_model[name]), False)
                for name, form in forms.items()
            ),
        ]
        for model, of_model in mean.iterrows()
    ]
    return [
        f"Means over the {full.sum()} streams with a result of every model. Time is that spent in the model, "
        "predicting and learning, by the clock and by all processor cores; memory is the model's at the end of the "
        "run; a RAM-hour is a gigabyte (10^9 bytes) held for an hour.",
        Grid(
            [
                "model",
                "accuracy %",
                "µs per sample",
                "processor µs",
                "seconds per run",
                "model MB",
                "RAM-hours per run",
            ],
            rows,
        ),
        _picture("time", "Time per sample and RAM-hours against accuracy", figure),
    ]


def _routing_grids(lines: Sequence[Mapping[str, Any]]) -> list[str | Grid | Picture]:
    """Return, for each stream, what the models that tell of their routing tell."""
    parts: list[str | Grid | Picture] = [ROUTING_NOTE]
    of_row: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(_row_names(lines), lines, strict=True):
        if "routing" in line:
            of_row.setdefault(row, []).append(line)
    headings = ["accuracy %", *(heading for heading, _, _ in ROUTING.values()), "samples/s"]
    for row, of_stream in of_row.items():
        rows = []
        for model, group in by_model(of_stream).items():
            accuracy = _mean_and_deviation([100 * line["accuracy"] for line in group], "{:.2f}")
            speed = f"{fmean(line['samples_per_second'] for line in group):,.0f}"
            rows.append([(text, False) for text in (model, accuracy, *_routing_cells(group), speed)])
        parts.append(Grid([row, *headings], rows))
    return parts


def _neural_parts(lines: Sequence[Mapping[str, Any]]) -> list[str | Grid | Picture]:
    """Return a table and a picture of each neural experiment."""
    parts: list[str | Grid | Picture] = [NEURAL_NOTE]
    of_row: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(_row_names(lines), lines, strict=True):
        of_row.setdefault(row, []).append(line)
    for row, of_experiment in of_row.items():
        picture = neural_figure(of_experiment, title=row)
        parts += [
            row,
            neural_grid(of_experiment),
            _picture(f"neural_{row}", f"Quality and cost on {row}", picture),
        ]
    return parts


Points = Mapping[tuple[str, ...], Sequence[Mapping[str, Any]]]
"""The curve of each run, by what `run_key` returns."""


def _curve_pictures(lines: Sequence[Mapping[str, Any]], points_of: Points) -> list[str | Grid | Picture]:
    """Return the curves of each stream, and the routing of each model whose curve tells it."""
    parts: list[str | Grid | Picture] = [
        "Accuracy in consecutive windows. With several seeds the line is their mean and the band runs from the lowest "
        "to the highest. Dashed lines are known drifts; grey bands show how long gradual ones take."
    ]
    lines_of: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(_row_names(lines), lines, strict=True):
        lines_of.setdefault(row, []).append(line)
    for row, of_row in lines_of.items():
        points = [point for line in of_row for point in points_of.get(run_key(line), [])]
        if not points:
            parts.append(f"{row}: no windows were kept.")
            continue
        drifts = of_row[0]["drifts"]
        parts.append(
            _picture(
                f"curve_{row}",
                f"Windowed accuracy on {row}",
                windows_figure(points, title=row, drifts=drifts),
            )
        )
        parts += [
            _picture(f"routing_{row}_{model}", f"Routing of {model} on {row}", figure)
            for model, of_model in by_model(points).items()
            if (figure := routing_figure(of_model, title=f"Routing of {model} on {row}", drifts=drifts))
        ]
    return parts


def _drift_costs(lines: Sequence[Mapping[str, Any]], points_of: Points) -> list[str | Grid | Picture]:
    """Return what each model lost after the known drifts, means over drifts and seeds."""
    recoveries: dict[str, dict[str, list[Recovery]]] = {}
    for row, line in zip(_row_names(lines), lines, strict=True):
        points = points_of.get(run_key(line), ())
        ends, accuracy = [int(p["n_samples"]) for p in points], [float(p["accuracy"]) for p in points]
        recoveries.setdefault(row, {}).setdefault(line["model"], [])
        recoveries[row][line["model"]] += drift_recovery(ends, accuracy, line["drifts"])
    recoveries = {row: of_model for row, of_model in recoveries.items() if any(of_model.values())}
    if not recoveries:
        return ["No stream has a known drift with windows before and after it."]
    models = list(by_model(lines))

    def grid(value: Callable[[Recovery], float | None], form: str) -> Grid:
        rows = []
        for row, of_model in recoveries.items():
            cells: list[tuple[str, bool]] = [(row, False)]
            values = {model: [value(r) for r in of_model.get(model, ())] for model in models}
            known = {model: [v for v in values[model] if v is not None] for model in models}
            least = min((fmean(v) for v in known.values() if v), default=math.nan)
            for model in models:
                of, out_of = known[model], len(values[model])
                text = form.format(fmean(of)) if of else NOTHING
                text += f" ({len(of)} of {out_of})" if len(of) < out_of else ""
                cells.append((text, bool(of) and len(of) == out_of and fmean(of) == least))
            rows.append(cells)
        return Grid(["stream", *models], rows)

    return [
        "Read off the windows of each run, over all known drifts and seeds. Accuracy lost, in points: the last window "
        "before the change less the worst window until the next one. The least of a row is bold.",
        grid(lambda r: 100 * r.lost, "{:.2f}"),
        "Mistakes more than the accuracy before would have made, per drift, until that accuracy was regained (within "
        "one point) or the next drift came.",
        grid(lambda r: r.mistakes, "{:,.0f}"),
        "Samples from the begin of the change until it was over and the accuracy regained; in brackets after how many "
        "drifts it was, where not after all. Bold is the least of a row where all were regained.",
        grid(lambda r: r.samples, "{:,.0f}"),
    ]


def routing_figure(
    curves: Sequence[Mapping[str, Any]], *, title: str, drifts: Sequence[Sequence[int]] = ()
) -> Figure | None:
    """Draw how many experts were used, how undecided the routing was, and how many trees were replaced.

    Parameters
    ----------
    curves
        Points of the windows of one stream; models whose points tell nothing of a routing are left out.
    title
        Heading of the picture.
    drifts
        Known drifts as (position, width), in samples.

    Returns
    -------
    figure
        One line per model, the mean over its seeds; of a single model the weight of each expert, too. `None` where no
        model tells of its routing.
    """
    from matplotlib.figure import Figure

    of_model = {}
    for model, points in by_model(curves).items():
        columns = [name for name in points[0] if name.startswith("routing_")]
        frame = pd.DataFrame(
            [{name: point.get(name) for name in ("n_samples", *columns)} for point in points]
        )
        # Columns of other models are empty in this one's lines.
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
                axis.plot(
                    frame.index, frame[f"routing_{name}"], label=_literal(model), linewidth=1.2, **style
                )
        axis.set(ylabel=label, ylim=(0.0, None))
        _mark_drifts(axis, drifts)
    if weights:
        (frame,) = of_model.values()
        for i, name in enumerate(weights):
            label = _literal(name.removeprefix("routing_weight_"))
            axes[-1].plot(
                frame.index,
                frame[name],
                LINE_STYLES[i // N_COLOURS % len(LINE_STYLES)],
                label=label,
                linewidth=1.2,
            )
        axes[-1].set(ylabel="mean weight of each expert", ylim=(0.0, None))
        _mark_drifts(axes[-1], drifts)
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    else:
        _add_legend(figure, axes[0])
    axes[0].set_title(_literal(textwrap.fill(title, 2 * LONG_NAME)))
    axes[-1].set_xlabel("samples")
    return figure


def _provenance(lines: Sequence[Mapping[str, Any]]) -> list[str | Grid | Picture]:
    """Return the versions, parameters and data behind the results."""

    def distinct(key: str) -> list[str]:
        return sorted({_described(line.get(key, "not recorded")) for line in lines})

    parts: list[str | Grid | Picture] = []
    for name, values in (("Versions", distinct("versions")), ("Commit", distinct("commit"))):
        parts += [f"{name}: {value}" for value in values]
        if len(values) > 1:
            parts.append(f"{name} differ between runs: figures may differ for that reason alone.")
    models = {
        (
            line["model"],
            _described(
                {k: v for k, v in line["parameters"].items() if k != "seed"}
                if "parameters" in line
                else "not recorded"
            ),
        )
        for line in lines
    }
    data = {
        (row, str(line["seed"]), line["stream_sha256"], reading(line))
        for row, line in zip(_row_names(lines), lines, strict=True)
    }
    headings = ["stream", "seed", "SHA-256 of the data", "how the file is read"]
    n_told = len(headings) if any(row[-1] for row in data) else len(headings) - 1
    return [
        *parts,
        Grid(["model", "parameters"], [[(cell, False) for cell in model] for model in sorted(models)]),
        Grid(
            headings[:n_told],
            [[(cell, False) for cell in row[:n_told]] for row in sorted(data)],
        ),
    ]


def _described(value: Any) -> str:
    return (
        ", ".join(f"{name} {item}" for name, item in value.items())
        if isinstance(value, Mapping)
        else str(value)
    )


def _picture(name: str, alt: str, figure: Figure) -> Picture:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    file = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60]
    if file != name:  # others may be cut to the same
        file += f"_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return Picture(file, alt, png.getvalue())


LONG = 70
"""Characters beyond which a cell of the page may be broken into lines."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; }
td { white-space: nowrap; }
td.long { white-space: normal; }
th:first-child, td:first-child, td.long { text-align: left; }
thead th { border-bottom: 2px solid #1a1a1a; }
img { max-width: 100%; }
"""


def page(parts: Sequence[Section], *, title: str) -> str:
    """Return the sections as one HTML page that needs no other file and no network."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for section in parts:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        for part in section.parts:
            if isinstance(part, str):
                body.append(f"<p>{html.escape(part)}</p>")
            elif isinstance(part, Picture):
                encoded = base64.b64encode(part.png).decode("ascii")
                body.append(
                    f'<p><img alt="{html.escape(part.alt)}" src="data:image/png;base64,{encoded}"></p>'
                )
            else:
                heading = "".join(
                    f"<th>{html.escape(text).replace('(', '<wbr>(')}</th>" for text in part.heading
                )
                rows = "\n".join(
                    "<tr>" + "".join(_html_cell(text, bold) for text, bold in row) + "</tr>"
                    for row in part.rows
                )
                body.append(
                    f"<div><table><thead><tr>{heading}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
                )
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _html_cell(text: str, bold: bool) -> str:
    tag = '<td class="long">' if len(text) > LONG else "<td>"
    return f"{tag}<b>{html.escape(text)}</b></td>" if bold else f"{tag}{html.escape(text)}</td>"


def markdown(parts: Sequence[Section], *, title: str, pictures: str) -> str:
    """Return the sections as Markdown, with links to pictures in the folder `pictures` beside it."""
    body = [f"# {_plain(title)}"]
    for section in parts:
        body.append(f"## {_plain(section.title)}")
        for part in section.parts:
            if isinstance(part, str):
                body.append(_plain(part))
            elif isinstance(part, Picture):
                body.append(f"![{_in_cell(part.alt)}]({pictures}/{part.name}.png)")
            else:
                rows = [[(text, False) for text in part.heading], *part.rows]
                texts = [
                    "| " + " | ".join(f"**{_in_cell(t)}**" if bold else _in_cell(t) for t, bold in row) + " |"
                    for row in rows
                ]
                rule = "|:--" + "|--:" * (len(part.heading) - 1) + "|"
                body.append("\n".join([texts[0], rule, *texts[1:]]))
    return "\n\n".join(body) + "\n"


def _plain(text: str) -> str:
    """Return a paragraph as Markdown in which names of models and streams mean nothing; code stays code."""
    # Code is what stands between two single backticks in one line and cannot be taken for HTML.
    parts = re.split(r"((?<!`)`[^`<>&\n]+`(?!`))", text)
    return "".join(part if i % 2 else _escaped(part).replace("`", "\\`") for i, part in enumerate(parts))


def _in_cell(text: str) -> str:
    """Return a name or a figure as Markdown in which no character means anything."""
    return _escaped(text).replace("`", "\\`").replace("|", "\\|")


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*\[\]~])", r"\\\1", " ".join(text.splitlines()))
    text = html.escape(text, quote=False)  # not every reader of Markdown knows a backslash before these
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # within a word it means nothing


def write(parts: Sequence[Section], folder: Path, *, title: str) -> list[Path]:
    """Write `report.html`, and `report.md` with its pictures in `report_files`; return the paths of the two.

    Raises
    ------
    OSError
        If the folder cannot be written, or has no room; it says which file, and a report from before is still there.
    """
    pictures = folder / "report_files"
    files = {
        f"{pictures.name}/{part.name}.png": part.png
        for section in parts
        for part in section.parts
        if isinstance(part, Picture)
    }
    files["report.html"] = page(parts, title=title).encode()
    files["report.md"] = markdown(parts, title=title, pictures=pictures.name).encode()
    kept = "the report is lost; results, and a report from before, are as they were"
    with naming(pictures, kept):
        pictures.mkdir(parents=True, exist_ok=True)
    return write_files(folder, files, kept=kept)[-2:]
