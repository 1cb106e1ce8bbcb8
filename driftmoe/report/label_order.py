"""Whether the labels of a stream come in an order, by the figures of runs, and the note on it below tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from driftmoe.experiment import label_share_of
from driftmoe.metrics import exceeds, order_in
from driftmoe.report.results import lateness

Lines = Sequence[Mapping[str, Any]]


def order_of(lines: Lines) -> tuple[float, float] | None:
    """Return how often the majority and `markov` were right in runs on one stream, as shares; `None` if unknown.

    Where labels are late or do not all come it is: the baselines of the kappas know them at once, and no model does.
    """
    at_once = [line for line in lines if not lateness(line) and label_share_of(line) == 1.0]
    known = [found for line in at_once if (found := order_in(line)) is not None]
    if not known:
        return None
    majority, markov = map(fmean, zip(*known, strict=True))
    return majority, markov


def is_ordered(order: tuple[float, float] | None) -> bool:
    """Return whether the labels come in an order, by the result of `order_of`."""
    return order is not None and exceeds(order[1], order[0])


def order_note(lines: Lines) -> str:
    """Return a sentence for the table of one stream whose labels come in an order; else empty."""
    order = order_of([line for line in lines if line.get("label_order") != "ignore"])
    if order is None or not is_ordered(order):
        return ""
    return (
        f"labels come in an order: by it alone {100 * order[1]:.2f} % can be predicted (markov; majority "
        f"{100 * order[0]:.2f} %), so compare kappa-O, or run with --shuffle-window 1000"
    )
