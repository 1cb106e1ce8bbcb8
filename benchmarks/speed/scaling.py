"""How the cost of a sample grows with each size, as lines, a table and a picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.cases import Case
from benchmarks.speed.samples import Samples
from benchmarks.speed.timing import measure
from benchmarks.speed.ways import TOP_K, all_learn, moe, run_pool, run_prequential, top_k_learn
from driftmoe.trees import TreePool
from streams.synthetic import RandomRBF

SCALES = {
    "experts": [1, 2, 4, 8, 16, 32, 64, 128],
    "features": [4, 8, 16, 32, 64, 128, 256, 512],
    "classes": [2, 5, 10, 20, 50, 100],
    "samples": [10_000, 30_000, 100_000, 300_000, 1_000_000],
}
BASE = {"experts": 12, "features": 24, "classes": 10, "samples": 20_000}
"""What the others are while one grows."""


def scaling(
    scales: dict[str, list[int]], sizes: dict[str, int], n_repeats: int, tick: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the cost of a sample as one size after the other grows, on RandomRBF; medians of repeats in turns."""
    lines = []
    for what, values in scales.items():
        for value in values:
            at = sizes | {what: value}
            stream = RandomRBF(
                n_classes=at["classes"],
                n_features=at["features"],
                n_centroids=max(50, 3 * at["classes"]),
                seed=1,
            )
            samples, n, n_experts = Samples(stream, at["samples"]), at["samples"], at["experts"]
            make = partial(moe, n_experts=n_experts, top_k=min(TOP_K, n_experts))
            weights = partial(top_k_learn, n_experts=n_experts)
            table = [
                Case("moe-data", n, partial(run_prequential, make=make)),
                Case("pool", n, partial(run_pool, make=partial(TreePool, n_experts), weights=weights)),
                Case("tree", n, partial(run_pool, make=TreePool, weights=all_learn)),
            ]
            tick(f"{value:,} {what}")
            measured = measure(table, samples, n_repeats, lambda name: None)
            us = {line["what"]: line["us_per_sample"] for line in measured}
            lines.append({"grows": what, **at, "us_per_sample": us})
    return lines


def print_growth(lines: list[dict[str, Any]]) -> None:
    """Print the costs as a table, each with its exponent since the row above."""
    models = list(lines[0]["us_per_sample"])
    print(f"{'µs a sample, and the power by which it grew':<44}" + "".join(f"{m:>20}" for m in models))
    for before, line in zip([None, *lines], lines, strict=False):
        what = line["grows"]
        cells = []
        for model in models:
            us, power = line["us_per_sample"][model], ""
            if before is not None and before["grows"] == what:
                power = np.log(us / before["us_per_sample"][model]) / np.log(line[what] / before[what])
                power = f"{power:+.2f}"
            cells.append(f"{us:>14.3f}{power:>6}")
        print(f"{line[what]:>12,} {what:<31}" + "".join(cells))


def draw_growth(lines: list[dict[str, Any]], file: Path) -> None:
    """Draw the costs, one log-log panel per size that grows."""
    from matplotlib.figure import Figure

    grows = list(dict.fromkeys(line["grows"] for line in lines))
    figure = Figure(figsize=(4 * len(grows), 3.6), layout="constrained")
    panels = figure.subplots(1, len(grows), sharey=True, squeeze=False)[0]
    for panel, what in zip(panels, grows, strict=True):
        of_panel = [line for line in lines if line["grows"] == what]
        for model in of_panel[0]["us_per_sample"]:
            us = [line["us_per_sample"][model] for line in of_panel]
            panel.loglog([line[what] for line in of_panel], us, marker="o", label=model)
        panel.set_xlabel(what)
        panel.grid(which="both", alpha=0.3)
    panels[0].set_ylabel("µs a sample")
    panels[0].legend()
    figure.savefig(file, dpi=120)
