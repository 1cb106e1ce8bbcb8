"""The report's section on time and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from driftmoe.report.figures import costs_figure, frontier
from driftmoe.report.parts import NOTHING, Grid, Part, counted
from driftmoe.report.statistics import comparison
from driftmoe.report.style import Look, as_picture

WATTS = 10.0
"""Power of a busy processor core that the estimate of the energy assumes: a server of 16 cores with 160 watts."""


MEASURED = (
    "The measured energy is that of whole processors during a run, by their own counters (RAPL), with all else that "
    "ran on them and what they take when idle. It compares models only if nothing else ran."
)


LACKING = f"{NOTHING}: not every run of the model has the figure, so that its mean would be over other runs."


def cost_parts(lines: Sequence[Mapping[str, Any]], looks: Mapping[str, Look] | None = None) -> list[Part]:
    """Return a table and a picture of each model's speed and memory, over the streams with a result of every model."""
    _, _, n_seeds = comparison(lines, "accuracy")
    full = n_seeds.gt(0).all(axis=1)
    if not full.any():
        return ["No stream has a result of every model, so times cannot be compared."]
    is_measured = any("package_joules" in line for line in lines)
    costs = [
        {
            **line,
            "microseconds": 1e6 / line["samples_per_second"],
            "of_processor": 1e6 * line.get("cpu_seconds", math.nan) / line["n_samples"],
            "energy": WATTS * line.get("cpu_seconds", math.nan) / line["n_samples"] * 1e6 / 3600,
            "measured": line.get("package_joules", math.nan) / line["n_samples"] * 1e6 / 3600,
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
        "energy": "{:.3g}",
        **({"measured": "{:.3g}"} if is_measured else {}),
    }
    mean = pd.DataFrame({name: _mean_of_all(costs, name, n_seeds[full]) for name in forms})
    mean["accuracy"] *= 100
    rows = _rows(mean, forms)
    return [
        f"Means over the {counted(full.sum(), 'stream')} with a result of every model. Time is the time that the "
        "model takes to predict and learn, as wall-clock time and as processor time of all cores. Memory is that of "
        "the model at the end of the run. A RAM-hour is a gigabyte (10^9 bytes) held for an hour.",
        Grid(
            [
                "model",
                "accuracy %",
                "µs per sample",
                "processor µs",
                "seconds per run",
                "model MB",
                "RAM-hours per run",
                "Wh per million samples (estimate)",
                *(["Wh per million samples (measured)"] if is_measured else []),
            ],
            rows,
        ),
        f"The energy is an estimate and no measurement: processor time, at {WATTS:g} watts for a busy core. It leaves "
        "out memory, cooling and what the machine takes when idle. Ratios of models do not depend on the watts.",
        *([MEASURED] if is_measured else []),
        *([LACKING] if mean.isna().to_numpy().any() else []),
        _frontier_in_words(mean),
        as_picture("time", _alt(mean), costs_figure(mean, looks=looks)),
    ]


def _mean_of_all(costs: Sequence[Mapping[str, Any]], name: str, n_runs: pd.DataFrame) -> pd.Series:
    """Return each model's mean of a figure over rows with so many runs each; NaN if one of the runs lacks the figure.

    Runs that went on after a stop have no measured energy, and old ones no time of the processor.
    """
    mean, _, n_known = comparison(costs, name)
    rows = n_runs.index
    return mean.loc[rows].where(n_known.loc[rows] == n_runs).mean(skipna=False)


def _rows(mean: pd.DataFrame, forms: Mapping[str, str]) -> list[list[tuple[str, bool]]]:
    """Return a row for each model, with its means in their formats."""
    return [
        [
            (str(model), False),
            *(
                (NOTHING if math.isnan(of_model[name]) else form.format(of_model[name]), False)
                for name, form in forms.items()
            ),
        ]
        for model, of_model in mean.iterrows()
    ]


def _frontier_in_words(mean: pd.DataFrame) -> str:
    """Return which models are on the line of the picture, and which are not."""
    best = frontier(mean, "microseconds")
    beaten = [str(model) for model in mean.index if model not in best]
    text = f"Frontier of accuracy and time: {', '.join(best)}, from the fastest to the most accurate."
    return text + (
        f" For each of the others ({', '.join(beaten)}) there is a model that is as fast and as accurate, and better "
        "in one of both. The differences may be chance."
        if beaten
        else ""
    )


def _alt(mean: pd.DataFrame) -> str:
    told = [
        f"{model} {of['accuracy']:.2f} % at {of['microseconds']:,.1f} µs per sample and {of['ram_hours']:.3g} RAM-hours"
        for model, of in mean.iterrows()
    ]
    return f"Accuracy against time per sample, and against RAM-hours: {'; '.join(told)}."
