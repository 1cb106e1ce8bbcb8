"""Files of result lines, into which the benchmarks collect the results of their runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from driftmoe import report
from driftmoe.experiment import read_results


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
