"""Reading results and failures from folders of both kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from driftmoe.experiment.folder import COMMITTED, held_still, newest
from driftmoe.experiment.lines import read_csv, read_job, read_lines, run_key


def read_results(path: Path | str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the result lines and the windows of all runs in a folder and the folders below it.

    Parameters
    ----------
    path
        A folder of `driftmoe evaluate` or `driftmoe grid`, or one that contains several; or a file of result lines.

    Returns
    -------
    results
        The lines, from the oldest file to the newest. A run that was done twice occurs twice; `driftmoe.report.usable`
        finds such runs.
    curves
        The points of the curve of each run. If a run was done twice, those of the newest curve.

    Raises
    ------
    ValueError
        If there are no results, or a file cannot be read.
    """
    path = Path(path)
    results: list[dict[str, Any]] = []
    curves: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    complete: set[tuple[str, ...]] = set()
    files = [path] if path.is_file() else _shown(path, "jobs/*.json", "results.jsonl")
    if path.is_dir():  # a process may have died before it moved its first committed result into place
        first = {committed.parent / "results.jsonl" for committed in path.rglob(COMMITTED)}
        files += sorted(file for file in first - {*files} if newest(file).exists())
    for file in files:
        if file.suffix == ".json":
            line, points = read_job(file)
            lines, of_runs = [line], {run_key(line): points}
        elif file.name == "results.jsonl":
            of_runs = {}
            with held_still(file.parent):
                lines, windows = read_lines(newest(file)), read_csv(newest(file.with_name("windows.csv")))
            for point in windows:
                of_runs.setdefault(run_key(point), []).append(point)
        else:
            lines, of_runs = read_lines(file), {}
        results += lines
        for line in lines:
            key = run_key(line)
            if key in of_runs and (line["complete"] or key not in complete):
                curves[key] = of_runs[key]
        complete |= {run_key(line) for line in lines if line["complete"]}
    if not results:
        raise ValueError(
            f"{path} holds no results; run `driftmoe evaluate --out {path}` or `driftmoe grid` first"
        )
    return results, [point for curve in curves.values() for point in curve]


def read_failures(path: Path | str) -> list[str]:
    """Return a sentence for each failed run in a folder and the folders below it that has no result."""
    path = Path(path)
    texts = {
        file: file.read_text(encoding="utf-8").strip().splitlines() or ["a run", "no traceback"]
        for file in _shown(path, "failed/*.txt")
        # A process may have died after keeping the result, before removing the traceback.
        if not (file.parent.with_name("jobs") / f"{file.stem}.json").exists()
    }
    return [f"{text[0]}: failed, {text[-1]} ({file.relative_to(path)})." for file, text in texts.items()]


def _shown(folder: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder, oldest first, skipping hidden files (still being written)."""
    found = (file for pattern in patterns for file in folder.rglob(pattern))
    files = sorted(found, key=lambda file: (file.stat().st_mtime_ns, file))
    return [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
