"""Tables for the terminal, and tables of routing and of neural experiments for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from driftmoe.metrics import shown
from driftmoe.report.conflict import CONFLICT, CONFLICT_NOTE, is_conflict
from driftmoe.report.label_order import order_note
from driftmoe.report.layout import WIDTH, fitted
from driftmoe.report.parts import NOTHING, Grid
from driftmoe.report.results import by_model, figure_of, metrics_in
from driftmoe.suggestions import meant

FIGURES = {
    "accuracy": ("accuracy %", 100.0, "{:.2f}"),
    "mean_cost": ("mean cost", 1.0, "{:.4f}"),
    "kappa": ("kappa %", 100.0, "{:.2f}"),
    "kappa_m": ("kappa-M %", 100.0, "{:.2f}"),
    "kappa_t": ("kappa-T %", 100.0, "{:.2f}"),
    "kappa_o": ("kappa-O %", 100.0, "{:.2f}"),
    "f1_macro": ("macro F1 %", 100.0, "{:.2f}"),
    "samples_per_second": ("samples/s", 1.0, "{:,.0f}"),
    "model_bytes": ("model MB", 1e-6, "{:.2f}"),
}
"""Key of a result line -> heading, unit factor, format. The mean cost is shown if a model decides by costs."""

MORE_FIGURES = {
    "g_mean": ("G-mean %", 100.0, "{:.2f}"),
    "n_samples": ("samples", 1.0, "{:,.0f}"),
    "seconds": ("seconds", 1.0, "{:,.1f}"),
    "cpu_seconds": ("CPU seconds", 1.0, "{:,.1f}"),
    "ram_hours": ("RAM-hours, GB h", 1.0, "{:.2e}"),
}
"""Figures that a table shows only if they are asked for, as in `FIGURES`."""

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

LEAST_KAPPA = -1000.0
"""Kappa in %, which has no lower bound, at or below which a table on the terminal gives no digits."""

IGNORED = {
    "n_ignored_values": "values ignored, beyond max_features or max_bytes",
    "n_ignored_samples": "samples not learnt, of classes beyond max_classes or max_bytes",
    "n_shared_values": "values that share a code with others, of features with more than 256 values",
}
"""Count of a result line's routing, given if it is above 0 -> its description."""

ROUTING_NOTE = (
    "Oracle gap: accuracy of the best single expert in hindsight minus the mixture's. Missed: samples on which some "
    "expert was right but the mixture was not."
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
"""Figure of a neural experiment -> heading, unit factor, format. A column is shown if a run has the figure."""

NEURAL_NOTE = (
    "Loss and accuracy are measured on held-out text in lm and adapt, and on each picture before it is learnt in "
    "drift. Mistakes per drift: mistakes beyond those expected from the accuracy before the drift, until that is "
    "regained. Recovery: pictures until then, at most the length of a concept. Retained: held-out accuracy at the "
    "end, mean over all concepts. Forgetting: best accuracy on a concept minus its accuracy at the end, mean over all "
    "concepts but the last. kFLOPs: thousands of operations in the matrix products of a forward pass, for each byte, "
    "token or picture: those that the chosen experts need, and all that are executed. Active: thousands of parameters "
    "used for a row, on average. Trained: thousands of trainable parameters."
)


def table(
    results: Sequence[Mapping[str, Any]],
    *,
    title: str,
    columns: Sequence[str] | None = None,
    width: int | None = WIDTH,
) -> str:
    """Return a table with one row per model: mean over seeds, with the standard deviation if there are several.

    Parameters
    ----------
    results
        Result lines of one stream, at least one.
    title
        Heading of the table.
    columns
        Keys of `FIGURES` and `MORE_FIGURES`, in the order to be shown; `None` shows those of `FIGURES`. Metrics that
        the runs were asked for follow.
    width
        Columns of the terminal. Where they do not suffice, names wrap, deviations stand below their means, and at last
        the columns are shown in several tables. `None` sets no limit.

    Raises
    ------
    ValueError
        If a column is unknown.
    """
    of_metrics = {key: shown(key) for key in metrics_in(results)}
    known = FIGURES | MORE_FIGURES | {
        key: (f"{metric.words} {metric.unit}".rstrip(), metric.factor, metric.form)
        for key, metric in of_metrics.items()
    }  # fmt: skip
    keys = [
        key
        for key in (FIGURES if columns is None else checked_columns(columns))
        if columns is not None or key != "mean_cost" or any(key in line for line in results)
    ]
    keys += [key for key in of_metrics if key not in keys]
    groups = by_model(results)
    n_seeds = max(map(len, groups.values()))
    rows = []
    for model, group in groups.items():
        cells = []
        for key in keys:
            values = [value * known[key][1] for line in group if (value := figure_of(line, key)) is not None]
            cells.append(_cell(key, values, known[key][2]) if len(values) == len(group) else NOTHING)
        is_complete = all(result["complete"] for result in group)
        rows.append([model if is_complete else f"{model} (interrupted)", *cells])
    notes = [f"mean ± standard deviation over {n_seeds} seeds"] if n_seeds > 1 else []
    notes += ["mean cost per sample, by the model's own decision_costs"] if "mean_cost" in keys else []
    notes += [*(metric.note for metric in of_metrics.values()), order_note(results)]
    return fitted(["model", *(known[key][0] for key in keys)], rows, title=title, notes=notes, width=width)


def _cell(key: str, values: Sequence[float], form: str) -> str:
    """Return the cell of a figure. A kappa far below 0, where its baseline is nearly always right, is only said so."""
    if key.startswith("kappa") and fmean(values) <= LEAST_KAPPA:
        return f"<{LEAST_KAPPA:.0f}"
    return mean_and_deviation(values, form)


def checked_columns(columns: Sequence[str]) -> list[str]:
    """Return the keys of the columns that a user names, without repetitions; raise ValueError if one is unknown."""
    known = FIGURES | MORE_FIGURES
    keys = [column.strip().lower().replace("-", "_") for column in columns]
    for key, column in zip(keys, columns, strict=True):
        if key not in known:
            raise ValueError(f"no column {column.strip()!r} in the table; {meant(key, known)}")
    return list(dict.fromkeys(keys))


def routing_table(results: Sequence[Mapping[str, Any]], *, title: str, width: int | None = WIDTH) -> str:
    """Return a table of routing, with one row per model that reports it: mean and standard deviation over seeds.

    Parameters
    ----------
    results
        Result lines of one stream, with `routing` in at least one of them.
    title
        Heading of the table.
    width
        As in `table`.
    """
    notes, rows = [ROUTING_NOTE], []
    for model, group in by_model([result for result in results if "routing" in result]).items():
        rows.append([model, *routing_cells(group)])
        notes += [
            f"{model}: {mean_and_deviation(counts, '{:,.0f}')} {what}."
            for key, what in IGNORED.items()
            if any(counts := [float(result["routing"].get(key, 0)) for result in group])
        ]
    headings = ["model", *(heading for heading, _, _ in ROUTING.values())]
    return fitted(headings, rows, title=title, notes=notes, width=width)


def routing_cells(group: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures of a model's routing: mean and standard deviation over seeds, a dash if not defined."""
    cells = []
    for key, (_, factor, form) in ROUTING.items():
        values = [result["routing"][key] for result in group]
        is_known = all(value is not None for value in values)
        cells.append(mean_and_deviation([value * factor for value in values], form) if is_known else NOTHING)
    return cells


def neural_grid(results: Sequence[Mapping[str, Any]]) -> Grid:
    """Return a table with one row per policy of a neural experiment: mean and standard deviation over seeds.

    Parameters
    ----------
    results
        Result lines of one experiment.
    """
    lines = [dict(line.get("routing", {})) | dict(line) for line in results]
    known = CONFLICT if is_conflict(lines) else NEURAL
    columns = {
        key: column for key, column in known.items() if any(line.get(key) is not None for line in lines)
    }
    rows = []
    for setup, group in by_model(lines).items():
        cells = [(setup, False)]
        for key, (_, factor, form) in columns.items():
            values = [line[key] * factor for line in group if line.get(key) is not None]
            cells.append((mean_and_deviation(values, form) if values else NOTHING, False))
        rows.append(cells)
    return Grid(["policy", *(heading for heading, _, _ in columns.values())], rows)


def neural_note(results: Sequence[Mapping[str, Any]]) -> str:
    """Return what the columns of `neural_grid` mean."""
    return CONFLICT_NOTE if is_conflict(results) else NEURAL_NOTE


def as_table(grid: Grid, *, title: str, caption: str, width: int | None = WIDTH) -> str:
    """Convert a table of the page to one for the terminal."""
    rows = [[text for text, _ in row] for row in grid.rows]
    return fitted(grid.heading, rows, title=title, notes=[caption], width=width)


def mean_and_deviation(values: Sequence[float], form: str) -> str:
    """Format the mean of values over seeds, with the standard deviation if there are several."""
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(fmean(values))} ± {form.format(stdev(values))}"
