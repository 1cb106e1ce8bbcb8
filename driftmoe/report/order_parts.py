"""The report's section on streams whose labels come in an order: the default model with and without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from driftmoe.metrics import ORDERED
from driftmoe.report.label_order import Lines, is_ordered, order_of
from driftmoe.report.parts import NOTHING, Grid, Part
from driftmoe.report.repeating import commands
from driftmoe.report.results import row_names
from driftmoe.report.tables import mean_and_deviation

DEFAULT = "driftmoe"
"""Model that is shown with and without the order of labels."""


def order_parts(lines: Lines) -> list[Part]:
    """Return a table of the streams whose labels come in an order, with the default model with and without it.

    Where it was not run both ways, a command follows that does it. Empty if the labels of no stream are ordered, or no
    result tells.

    Parameters
    ----------
    lines
        Complete result lines.
    """
    of_row: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(row_names([{**line, "label_order": None} for line in lines]), lines, strict=True):
        of_row.setdefault(row, []).append(line)
    rows, missing = [], []
    for row, of_stream in of_row.items():
        order = order_of(of_stream)
        if order is None or not is_ordered(order):
            continue
        ours = [line for line in of_stream if line["model"] == DEFAULT]
        cells = [(row, False), *((f"{100 * share:.2f}", False) for share in order)]
        for how in ("use", "ignore"):
            accuracies = [100 * line["accuracy"] for line in ours if line.get("label_order", "use") == how]
            cells.append((mean_and_deviation(accuracies, "{:.2f}") if accuracies else NOTHING, False))
            if not accuracies:
                missing += [_as_default(line, how) for line in ours or of_stream]
        rows.append(cells)
    if not rows:
        return []
    heading = ["stream", "majority %", "markov %", DEFAULT, f"{DEFAULT}, label order ignored"]
    parts: list[Part] = [
        "On these streams the label that most often followed the last one (`markov`) is right at least "
        f"{100 * ORDERED:g} points more often than the most frequent label. A model can be right there without any "
        f"feature: kappa-order says what it gains. Accuracy of {DEFAULT} in %, as it is and without the experts that "
        "read the label's history:",
        Grid(heading, rows),
    ]
    if missing:
        again = commands(missing)
        parts += [
            f"A dash: these results have no such run of {DEFAULT}. "
            + ("This command does it:" if len(again) == 1 else "These commands do them:"),
            *again,
        ]
    return parts


def _as_default(line: Mapping[str, Any], how: str) -> dict[str, Any]:
    """Return a line of the default model in the setting of another line, with the order of labels used or not."""
    setting = {name: value for name, value in line.items() if name not in ("label_order", "metrics")}
    return {**setting, "model": DEFAULT, **({"label_order": how} if how == "ignore" else {})}
