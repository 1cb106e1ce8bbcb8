"""A progress bar for an evaluation, if it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from driftmoe.evaluation.loops import Answers

Shown = bool | Literal["always"]


def check_progress(progress: Any) -> None:
    """Raise ValueError unless the argument is True, False or "always"."""
    if progress not in (True, False, "always"):
        raise ValueError(f"progress={progress!r}; choose True, False or 'always'")


def watched(
    events: Iterator[Answers], progress: Shown, n_before: int, n_samples: int | None
) -> Iterator[Answers]:
    """Return the events, with a bar on stderr while they are taken.

    Parameters
    ----------
    events
        Answers of a model.
    progress
        As in `prequential`.
    n_before
        Number of samples that were evaluated before.
    n_samples
        Length of the stream, if it is known.
    """
    if not progress:
        return events
    from rich.console import Console  # late: nobody else needs it

    console = Console(stderr=True, force_terminal=True if progress == "always" else None)
    is_seen = console.is_terminal or console.is_jupyter
    return _with_bar(events, console, n_before, n_samples) if is_seen else events


def _with_bar(events: Iterator[Answers], console: Any, n: int, n_samples: int | None) -> Iterator[Answers]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    counts = (MofNCompleteColumn(), TextColumn("samples"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), BarColumn(), *counts, console=console) as bar:
        task = bar.add_task("test-then-train", total=n_samples, completed=n)
        for event in events:
            yield event
            n += len(event.y_true)
            bar.update(task, completed=n)
