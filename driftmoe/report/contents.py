"""The sections of a report, made from result lines and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from driftmoe.experiment import counts_warm_up, kind_of_run, label_share_of, run_key
from driftmoe.metrics import Recovery, drift_recovery, shown
from driftmoe.report.comparisons import COMPARED, comparison_grid, tests_over_streams
from driftmoe.report.costs import cost_parts
from driftmoe.report.expert_use import experts_figure
from driftmoe.report.figures import neural_figure
from driftmoe.report.importances import importances_parts
from driftmoe.report.order_parts import order_parts
from driftmoe.report.over_time import Points, figures_in, over_time
from driftmoe.report.parts import NOTHING, Grid, Part, Section, counted
from driftmoe.report.provenance import provenance
from driftmoe.report.results import (
    by_model,
    lateness,
    metrics_in,
    of_other_windows,
    ordering,
    row_names,
    stream_names,
    told_apart,
    usable,
)
from driftmoe.report.statistics import comparison, one_of_each
from driftmoe.report.style import as_picture, looks_of
from driftmoe.report.summary import summary_parts
from driftmoe.report.tables import (
    ROUTING,
    ROUTING_NOTE,
    mean_and_deviation,
    neural_grid,
    neural_note,
    routing_cells,
)


def sections(
    results: Sequence[Mapping[str, Any]],
    windows: Sequence[Mapping[str, Any]],
    failures: Sequence[str] = (),
    figures: Sequence[str] = (),
) -> list[Section]:
    """Return the sections of a report, to be written as HTML or Markdown.

    Parameters
    ----------
    results, windows
        As `driftmoe.experiment.read_results` returns them.
    failures
        A sentence for each failed run.
    figures
        Figures over time to draw; by default accuracy and the metrics that the runs were asked for.

    Raises
    ------
    ValueError
        If no result is complete.
    """
    as_run, notes = usable(results)
    lines, differences = told_apart(as_run)
    notes = [*differences, *notes]
    of_key = {run_key(before): line for before, line in zip(as_run, lines, strict=True)}
    points: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for point in windows:
        if (key := run_key(point)) in of_key:
            line = of_key[key]
            points.setdefault(run_key(line), []).append({**point, "model": line["model"]})
    if not lines:
        raise ValueError("no run is complete, so there is nothing to compare; " + " ".join(notes))
    neural = [line for line in lines if kind_of_run(line) == "neural"]
    neural_sections = [Section("Neural experiments", _neural_parts(neural))] if neural else []
    ends = [*_of_windows(lines, points, figures), Section("Reproducibility", provenance(as_run))]
    compared = [line for line in lines if kind_of_run(line) != "neural"]
    if not compared:  # only neural experiments, which are neither ranked nor tested
        return [
            Section("What was done", [f"{counted(len(neural), 'run')}.", *notes, *failures]),
            *neural_sections,
            *ends,
        ]
    mean, _, n_seeds = comparison(compared, "accuracy")
    whole = mean[n_seeds.gt(0).all(axis=1)]
    full = whole.loc[one_of_each(compared, list(whole.index))]
    tables = [
        Section(heading, [comparison_grid(compared, figure)])
        for figure, heading in COMPARED.items()
        if all(figure in line for line in compared)
    ]
    for name in metrics_in(compared):
        metric = shown(name)
        note = metric.note or ("" if metric.is_larger_better else f"{metric.words}: less is better")
        heading = (metric.words[0].upper() + metric.words[1:]) + (f", {metric.unit}" if metric.unit else "")
        tables.append(Section(heading, [*([f"{note}."] if note else []), comparison_grid(compared, name)]))
    what = [_what_was_run(compared, n_seeds), *_what_counts(compared)]
    what += _cautions(compared, n_seeds, list(whole.index), list(full.index))
    has_routing = any("routing" in line for line in compared)
    importances, order = importances_parts(compared), order_parts(compared)
    looks = looks_of([line["model"] for line in lines])
    return [
        Section("Summary", summary_parts(compared, full)),
        Section("What was compared", [*what, *notes, *failures]),
        *tables,
        *([Section("Labels in order", order)] if order else []),
        Section("Are the differences in accuracy more than chance?", tests_over_streams(full, looks)),
        Section("Time and memory", cost_parts(compared, looks)),
        *([Section("Routing", _routing_grids(compared))] if has_routing else []),
        *([Section("Feature importances", importances)] if importances else []),
        *neural_sections,
        *ends,
    ]


def _of_windows(lines: Sequence[Mapping[str, Any]], points: Points, figures: Sequence[str]) -> list[Section]:
    """Return the sections that compare windows: figures over time, and the recovery after drifts."""
    other_windows, cautions = of_other_windows(lines)
    points = {key: of_run for key, of_run in points.items() if key not in other_windows}
    drawn = figures_in(lines, figures) if figures else ["accuracy", *metrics_in(lines)]
    return [
        *(Section(one.title, [*cautions, *one.parts]) for one in over_time(lines, points, drawn)),
        Section("Recovery after drifts", [*cautions, *_drift_costs(lines, points)]),
    ]


def _what_was_run(lines: Sequence[Mapping[str, Any]], n_seeds: pd.DataFrame) -> str:
    """Return a paragraph on how many streams, models and seeds are compared, and how to read the tables."""
    n_rows, n_models = n_seeds.shape
    n_streams = len(set(stream_names(lines)))
    rows = counted(n_streams, "stream")
    if n_streams != n_rows:
        rows = f"{counted(n_rows, 'row')} of {rows}"
    seeds = counted(n_seeds.to_numpy().max(), "seed")
    others = "; figures that are no shares have another unit" if metrics_in(lines) else ""
    return (
        f"{counted(len(lines), 'run')}: {rows}, {counted(n_models, 'model')}, "
        f"{'' if seeds == '1 seed' else 'up to '}{seeds}. Each sample is predicted before it is learnt. "
        f"Cells are the mean ± standard deviation over seeds, in %{others}. The "
        "best of each row is bold. The number after a stream's name is its length in samples."
    )


def _cautions(
    lines: Sequence[Mapping[str, Any]], n_seeds: pd.DataFrame, whole: Sequence[str], full: Sequence[str]
) -> list[str]:
    """Return the limits of the comparison: missing results, unequal seeds, late labels, several rows of one stream.

    Parameters
    ----------
    lines
        Complete result lines.
    n_seeds
        Number of seeds of each row and model.
    whole
        Rows with a result of every model.
    full
        Those of `whole` that are ranked and tested.
    """
    lacking: dict[tuple[str, ...], list[str]] = {}
    for row, counts in n_seeds.iterrows():
        lacking.setdefault(tuple(counts.index[counts == 0]), []).append(str(row))
    cautions = [
        f"{'; '.join(rows)}: no result of {', '.join(absent)}, so left out of all means, ranks and tests."
        for absent, rows in lacking.items()
        if absent
    ]
    seeds: dict[str, dict[str, set[int]]] = {}
    for row, line in zip(row_names(lines), lines, strict=True):
        seeds.setdefault(row, {}).setdefault(line["model"], set()).add(line["seed"])
    uneven = [row for row, of_model in seeds.items() if len(set(map(frozenset, of_model.values()))) > 1]
    if uneven:
        cautions.append(
            f"{'; '.join(uneven)}: the models did not run with the same seeds, so their cells are means over "
            "different runs."
        )
    if any(lateness(line) or label_share_of(line) < 1.0 for line in lines):
        cautions.append(
            "With delayed labels, or if not all come, the baseline of kappa-temporal still knows the previous label. "
            "So a value below 0 does not mean that a model is worse than repeating the last label that had arrived."
        )
    if len(full) < len(whole):
        last = (
            " Rows in which the order of labels is ignored or samples are shuffled come last, as do those in which not "
            "all labels come."
        )
        cautions.append(
            "Means, ranks and tests use one row of each stream: the longest, and if there are several, the one with "
            f"the shortest delay. Left out: {'; '.join(row for row in whole if row not in full)}. Rows of one file are "
            "of one stream, however it is named and read; of those the first counts."
            + last
            * any(map(ordering, lines))
        )
    return cautions


def _what_counts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences on which samples the figures leave out, and which runs leave out none."""
    told: dict[str, None] = {}
    for row, line in zip(row_names(lines), lines, strict=True):
        if not counts_warm_up(line) and line.get("n_warm_up", 0) > 1:
            told[f"{line['n_warm_up']:,} of {row}"] = None
    n_old = sum(counts_warm_up(line) for line in lines)
    sentences = [
        "The figures leave out the samples that were predicted before the first label arrived, because no model could "
        "know their class: the first sample if labels are not delayed"
        + (f"; {'; '.join(told)}." if told else ".")
    ] if n_old < len(lines) else []  # fmt: skip
    if n_old:
        sentences.append(
            f"In {n_old} of {len(lines)} runs they count, because they are from an older version or used "
            "--count-warm-up. Without a delay this is a single sample, and these runs are compared with the others."
        )
    return sentences


def _routing_grids(lines: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return a table for each stream, with the models that report their routing."""
    parts: list[Part] = [ROUTING_NOTE]
    of_row: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(row_names(lines), lines, strict=True):
        if "routing" in line:
            of_row.setdefault(row, []).append(line)
    headings = ["accuracy %", *(heading for heading, _, _ in ROUTING.values()), "samples/s"]
    for row, of_stream in of_row.items():
        rows = []
        for model, group in by_model(of_stream).items():
            accuracy = mean_and_deviation([100 * line["accuracy"] for line in group], "{:.2f}")
            speed = f"{fmean(line['samples_per_second'] for line in group):,.0f}"
            rows.append([(text, False) for text in (model, accuracy, *routing_cells(group), speed)])
        parts.append(Grid([row, *headings], rows))
    return parts


def _neural_parts(lines: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return a table and pictures for each neural experiment."""
    of_row: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(row_names(lines), lines, strict=True):
        of_row.setdefault(row, []).append(line)
    parts: list[Part] = [*dict.fromkeys(map(neural_note, of_row.values()))]
    for row, of_experiment in of_row.items():
        picture = neural_figure(of_experiment, title=row)
        parts += [
            row,
            neural_grid(of_experiment),
            as_picture(f"neural_{row}", f"Quality and cost on {row}", picture),
        ]
        if (of_experts := experts_figure(of_experiment, title=row)) is not None:
            parts.append(as_picture(f"experts_{row}", f"Experts used on {row}", of_experts))
    return parts


def _drift_costs(lines: Sequence[Mapping[str, Any]], points_of: Points) -> list[Part]:
    """Return tables of what each model lost after the known drifts, as means over drifts and seeds."""
    recoveries: dict[str, dict[str, list[Recovery]]] = {}
    for row, line in zip(row_names(lines), lines, strict=True):
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
        "Computed from the windows of each run, as means over all known drifts and seeds. Accuracy lost, in points: "
        "the last window before the drift minus the worst window until the next one. The lowest value of each row is "
        "bold.",
        grid(lambda r: 100 * r.lost, "{:.2f}"),
        "Additional mistakes per drift: mistakes beyond those expected at the accuracy before the drift, until that "
        "accuracy was regained (within one point) or the next drift began.",
        grid(lambda r: r.mistakes, "{:,.0f}"),
        "Samples from the beginning of the drift until it was over and the accuracy was regained. In brackets: the "
        "number of drifts after which it was regained, if not all. The lowest value of each row is bold if its model "
        "recovered from all drifts.",
        grid(lambda r: r.samples, "{:,.0f}"),
    ]
