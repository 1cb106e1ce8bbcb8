"""Files of result lines, into which the benchmarks collect the results of their runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from driftmoe import report
from driftmoe.cli.board import show_grid
from driftmoe.experiment import JobFolder, Run, read_results, run_grid
from streams.stream import Stream


def run_and_collect(
    runs: Sequence[Run], open_run: Callable[..., Stream], out: Path, file: Path, *, n_workers: int = 1
) -> int:
    """Do the runs of a grid that are missing, add their lines to a file, and return how many runs failed.

    Parameters
    ----------
    runs
        In the order in which they are done. One that has a file in `out` is not done again.
    open_run
        Opens the stream of a run, as `driftmoe.experiment.run_grid` says.
    out
        Folder of the runs.
    file
        Takes the lines of all runs in `out`: their streams by the names of the files, if they are files; without the
        parameters of the models and the figures of single experts.
    n_workers
        Number of runs at a time.
    """
    events = run_grid(runs, open_run, JobFolder(out), executor="processes", n_workers=n_workers)
    n_failed = show_grid(runs, events, out)
    lines = [dict(line) for line in read_results(out)[0]]
    for line in lines:
        line["stream"] = re.sub(r"[^(,]*/([^/(,]+)\.parquet", r"\1", line["stream"])
        line.get("routing", {}).pop("experts", None)
        line.pop("parameters", None)
    collect(lines, file)
    return n_failed


def collect(
    found: Iterable[Mapping[str, Any]], file: Path, *, order: Callable[[Mapping[str, Any]], Any] | None = None
) -> Sequence[Mapping[str, Any]]:
    """Add result lines to a file, and return all that it holds then.

    Lines that are there stay, but for those of runs that are found anew. Interrupted runs are not added.

    Parameters
    ----------
    found
        Result lines.
    file
        Of JSON lines; made where it is missing.
    order
        Of the lines in the file, as a key for sorting; by default new ones follow.

    Raises
    ------
    ValueError
        If none of the lines is of a complete run, or the file holds other than result lines.
    """
    new, _ = report.usable(list(found))
    if not new:
        raise ValueError("no run is complete; do some first")
    kept = read_results(file)[0] if file.exists() and file.stat().st_size else []
    lines, _ = report.usable([*kept, *new])
    lines = sorted(lines, key=order) if order else lines
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    part = file.with_name(f".{file.name}.part")  # a reader finds the old file or the new one
    part.write_text(text, encoding="utf-8")
    part.replace(file)
    return lines
