"""The live table of a grid: the running runs, the last result, and how much is left."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from driftmoe.cli.terminal import note, progress_console, say, show, tell

if TYPE_CHECKING:
    from driftmoe.experiment import Event, Run


def show_grid(runs: Sequence[Run], events: Iterable[Event], out: Path, *, as_json: bool = False) -> int:
    """Show the events of a grid as they happen, and return how many runs failed.

    In a file there is only the last line of the live table.

    Parameters
    ----------
    runs
        All runs of the grid.
    events
        The events of the runs, as `driftmoe.experiment.run_grid` yields them.
    out
        The folder of the results.
    as_json
        Whether the result lines go to stdout, and all else to stderr.
    """
    board, console = _Board(len(runs)), progress_console()
    live = Live(board, console=console, refresh_per_second=2)
    try:
        with live if console.is_terminal else contextlib.nullcontext():
            for event in events:
                board.take(event)
                if event.state == "waiting":
                    note(of_another_command(event), console)
    except ImportError as error:
        raise ValueError(str(error)) from None
    if not console.is_terminal:
        note(board.line(), console)
    for name, n_left_out in board.left_out.items():
        tell(f"{name}: left out {n_left_out:,} malformed rows")
    for run, file in board.failed.items():
        say(f"{run.model} on {run.stream}, seed {run.seed}, failed; see {file}")
    if as_json:
        for result in (board.results[run] for run in runs if run in board.results):
            show(json.dumps(result, allow_nan=False))
    show(
        f"Results: {out} ({board.n_done:,} of {len(runs):,} runs); next: driftmoe report {out}",
        beside_json=as_json,
    )
    return len(board.failed)


def of_another_command(event: Event) -> str:
    """Return a line about a run that another command is doing or has done."""
    told = (
        "is being done by another command and left to it"
        if event.state == "waiting"
        else "was done by another command; its result is taken"
    )
    return f"driftmoe: {event.run.model} on {event.run.stream}, seed {event.run.seed}, {told}"


class _Board:
    def __init__(self, n_runs: int) -> None:
        self.failed: dict[Run, Path] = {}
        self.left_out: dict[str, int] = {}
        self.results: dict[Run, dict[str, Any]] = {}
        self.n_done = 0
        self._n_runs, self._n_kept = n_runs, 0
        self._running: dict[Run, float] = {}
        self._share: dict[Run, float] = {}
        self._last: Event | None = None
        self._start = time.perf_counter()

    def take(self, event: Event) -> None:
        """Note an event."""
        if event.state == "started":
            self._running[event.run] = time.perf_counter()
            return
        self._share[event.run] = event.share
        if event.state in ("moved", "waiting"):
            return
        self._running.pop(event.run, None)
        self._last = event
        if event.result is not None and (n := event.result.get("reading", {}).get("rows_left_out")):
            self.left_out[event.run.stream] = n
        if event.result is not None:
            self.results[event.run] = dict(event.result)
        if event.error is not None:
            self.failed[event.run] = event.error
        else:
            self.n_done += 1
            self._n_kept += event.state == "kept"

    def __rich__(self) -> Group:
        now = time.perf_counter()
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("running", "stream", "seed", "for", ""):
            table.add_column(heading)
        for run, since in self._running.items():
            bar = ProgressBar(total=1.0, completed=self._share.get(run, 0.0), width=30)
            table.add_row(escape(run.model), escape(run.stream), str(run.seed), f"{now - since:,.0f} s", bar)
        line = Text(self.line())
        return Group(table, line) if self._running else Group(line)

    def line(self) -> str:
        """Return how many runs are done, and how many are left."""
        now = time.perf_counter()
        n_ended = self.n_done + len(self.failed)
        n_left = self._n_runs - n_ended
        line = (
            f"{self.n_done:,} done ({self._n_kept:,} before), {len(self.failed):,} failed, "
            f"{len(self._running):,} running, {n_left - len(self._running):,} to come"
        )
        if n_left and n_ended > self._n_kept:
            line += f"; about {(now - self._start) / (n_ended - self._n_kept) * n_left:,.0f} s left"
        if self._last is not None and self._last.result is not None:
            run = self._last.run
            line += f"; last: {run.model} on {run.stream} {self._last.result['accuracy']:.2%}"
        return line
