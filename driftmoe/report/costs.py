"""The report's section on time and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from driftmoe.report.figures import costs_figure
from driftmoe.report.parts import NOTHING, Grid, Picture
from driftmoe.report.statistics import comparison
from driftmoe.report.style import as_picture


def cost_parts(lines: Sequence[Mapping[str, Any]]) -> list[str | Grid | Picture]:
    """Return a table and a picture of each model's speed and memory, over the streams with a result of every model."""
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
        f"Means over the {full.sum()} streams with a result of every model. Time is the time that the model takes to "
        "predict and learn, as wall-clock time and as processor time of all cores. Memory is that of the model at the "
        "end of the run. A RAM-hour is a gigabyte (10^9 bytes) held for an hour.",
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
        as_picture("time", "Time per sample and RAM-hours against accuracy", costs_figure(mean)),
    ]
