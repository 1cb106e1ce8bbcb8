"""How the results of `driftmoe evaluate` are shown: the table, lines of JSON, and pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from driftmoe.cli.late import Late
from driftmoe.cli.terminal import show
from streams.file_options import FileOptions

if TYPE_CHECKING:
    from driftmoe import experiment, report
    from driftmoe.experiment import ResultFolder
else:
    experiment, report = Late("driftmoe.experiment"), Late("driftmoe.report")


class View(NamedTuple):
    """How results are shown: the columns of the table, whether it is wide, the table of routing, and JSON."""

    columns: list[str] | None
    is_wide: bool
    with_routing: bool
    as_json: bool

    @property
    def width(self) -> int | None:
        """Columns of text for tables."""
        return None if self.is_wide else report.WIDTH


def view_of(columns: str | None, wide: bool, routing: bool, as_json: bool) -> View:
    """Return how results are shown; raise ValueError if a column is unknown."""
    chosen = report.checked_columns(columns.split(",")) if columns is not None else None
    if chosen is None and wide:
        chosen = [key for key in (*report.FIGURES, *report.MORE_FIGURES) if key != "mean_cost"]
    return View(chosen, wide, routing, as_json)


def show_results(
    stream: str,
    short_name: str,
    results: Sequence[dict[str, Any]],
    folder: ResultFolder,
    window: int,
    view: View,
    options: FileOptions,
    drawing: tuple[Sequence[str], str, str],
) -> None:
    """Print the table of these results, or their lines of JSON, and draw their curves."""
    n_samples, late = max(result["n_samples"] for result in results), report.lateness(results[0])
    late += report.counting(results[0]) + report.ordering(results[0])
    told = ", ".join(part for part in (stream, report.reading(results[-1])) if part)
    title = f"{told}, {n_samples:,} samples, test-then-train{late}{report.left_out(results)}"
    picture = _picture_name(short_name, results[-1].get("reading", {}), options, late)
    done = {experiment.run_key(result) for result in results}
    curves = [point for point in folder.curves(stream) if experiment.run_key(point) in done]
    drifts = results[0]["drifts"]
    figures, style, ending = drawing
    files = ["results.jsonl", "windows.csv"]
    if view.as_json:
        for result in results:
            show(json.dumps(result, allow_nan=False))
    table = report.table(results, title=title, columns=view.columns, width=view.width)
    show(table, beside_json=view.as_json)
    title += f", windows of {window:,}"
    for n_before, metric in enumerate(figures):
        more = re.sub(r"[^\w.-]+", "_", f"_{metric}") if n_before else ""
        if curves and all(point.get(metric) in (None, "") for point in curves):
            show(f"{metric} is defined in no window, so it has no picture.", beside_json=view.as_json)
            continue
        files.append(f"{picture}{more}.{ending}")
        path = folder.path / files[-1]
        report.plot_windows(curves, path, title=title, drifts=drifts, metric=metric, style=style)
    if view.with_routing and (
        figure := report.routing_figure(curves, title=f"Routing on {title}", drifts=drifts, style=style)
    ):
        files.append(f"{picture}_routing.{ending}")
        report.save_figure(figure, folder.path / files[-1])
        table = report.routing_table(results, title=f"Routing on {stream}", width=view.width)
        show(f"\n{table}", beside_json=view.as_json)
    elif view.with_routing:
        show("None of these models reports its routing.", beside_json=view.as_json)
    written = ", ".join(str(folder.path / name) for name in files)
    show(f"Results: {written}", beside_json=view.as_json)


def _picture_name(short_name: str, reading: dict[str, Any], options: FileOptions, late: str) -> str:
    """Return the name of the picture's file, which differs where a file is read with other columns."""
    given = options.given().keys() - {"header"}
    chosen = {name: value for name, value in reading.items() if name in given}
    name = ", ".join([short_name, *([report.reading({"reading": chosen})] if chosen else [])])
    return re.sub(r"[^\w.-]+", "_", f"{name[:80].rstrip(' ,`')}{late.replace(',', '')}").rstrip("_")
