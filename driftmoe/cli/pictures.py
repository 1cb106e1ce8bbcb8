"""Options of pictures, and the window that follows a stream's length."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Format = Annotated[Literal["png", "svg", "pdf"], typer.Option("--format", help="Format of the pictures.")]
Style = Annotated[
    Literal["screen", "paper"],
    typer.Option(help="Size and fonts of the pictures; paper: 16 cm wide, serif, without a heading."),
]
Metric = Annotated[
    Literal["accuracy", "kappa", "kappa_m", "kappa_t", "f1_macro", "g_mean"],
    typer.Option(help="What the picture shows over time. windows.csv has all of them."),
]
Window = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Samples in each window of the curve. Default: about a fiftieth of the stream, between 20 and 1,000.",
        show_default=False,
    ),
]

WINDOWS = (20, 50, 100, 200, 500, 1000)
"""Windows to choose from."""

LEAST_POINTS = 40
"""Windows that a curve should have."""


def fitting_window(n_samples: int | None) -> int:
    """Return the largest of `WINDOWS` that divides a stream into at least `LEAST_POINTS`, or the smallest.

    Examples
    --------
    >>> from driftmoe.cli.pictures import fitting_window
    >>> [fitting_window(n) for n in (500, 4_000, 45_312, None)]
    [20, 100, 1000, 1000]
    """
    if n_samples is None:
        return WINDOWS[-1]
    return max((window for window in WINDOWS if n_samples >= LEAST_POINTS * window), default=WINDOWS[0])
