"""Fields of result lines and of points of curves, and reading and writing of their files.

A run produces one result line (JSON) and one point for each window. Both contain the fields of `KEY`, which identify
the run.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driftmoe.experiment.delays import normal_delay
from driftmoe.experiment.label_order import order_protocol

KEY = ("stream", "stream_sha256", "model", "seed", "limit", "window", "delay")
"""Fields that identify a run. A new result replaces an older one with the same values in all of them."""

REQUIRED: dict[str, Any] = {
    "stream": str, "stream_sha256": str, "model": str, "seed": int, "n_samples": int, "complete": bool,
    "limit": int | None, "window": int, "drifts": list,
    **dict.fromkeys(("accuracy", "samples_per_second", "seconds", "model_bytes"), int | float),
}  # fmt: skip
"""Field that every result line has -> its type."""

OPTIONAL: dict[str, Any] = {
    **dict.fromkeys(
        (
            "kappa",
            "kappa_m",
            "kappa_t",
            "kappa_o",
            "f1_macro",
            "g_mean",
            "mean_cost",
            "cpu_seconds",
            "ram_hours",
            "package_joules",
        ),
        int | float,
    ),
    "label_share": int | float,
    **dict.fromkeys(("routing", "parameters", "versions", "reading", "importances", "metrics"), dict),
    "kind": str,
    "model_digest": str,
    "n_warm_up": int,
    "count_warm_up": bool,
    "label_order": str,
    "shuffle_window": int,
}
"""Field that a result line may have -> its type."""

KINDS = ("evaluation", "neural")
"""Kinds of run: a model evaluated on a stream, or a neural experiment.

In a neural experiment the fields of `KEY` have other meanings: see `driftmoe.neural.NeuralRun`."""

CURVE_COLUMNS = (
    *KEY,
    "n_samples",
    "accuracy",
    "kappa",
    "kappa_m",
    "kappa_t",
    "kappa_o",
    "f1_macro",
    "g_mean",
    "samples_per_second",
)
"""Columns that every curve has. A model may add further columns, such as those of its routing."""


def run_key(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the identity of a run as a tuple of texts. A result line and the points of its curve have the same."""
    texts = ("" if line.get(name) is None else str(line[name]) for name in KEY)
    return (*texts, warm_up_protocol(line), metrics_text(line), order_protocol(line))


def metrics_text(line: Mapping[str, Any]) -> str:
    """Return the part of a run's identity that concerns metrics: the names of those asked for, empty without any.

    A run that measures more is another run: probabilities cost time, and files of older runs lack them.
    """
    asked = line.get("metrics") or ()
    return asked if isinstance(asked, str) else ", ".join(sorted(asked))


def kind_of_run(line: Mapping[str, Any]) -> str:
    """Return which of `KINDS` a result line is of. Old lines do not say; only neural experiments count operations."""
    return str(line.get("kind", "neural" if "expert_flops" in line else "evaluation"))


def counts_warm_up(line: Mapping[str, Any]) -> bool:
    """Return whether the figures of a line include the warm-up. Those of old lines, which do not say, include it."""
    return str(line.get("count_warm_up")) != "False"


def warm_up_protocol(line: Mapping[str, Any]) -> str:
    """Return the part of a run's identity that concerns the warm-up; empty if it agrees with an old line.

    Old lines do not say how the warm-up was treated; their figures include it. Without a delay the warm-up is a single
    sample. An old line then counts as the same run as a new one, unless the new one counts the warm-up explicitly. With
    a delay, an old line is the same run as a new one that counts the warm-up.
    """
    if str(line.get("delay") or 0) == "0":
        return "counted" if str(line.get("count_warm_up")) == "True" else ""
    return "" if counts_warm_up(line) else "left out"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the checked result lines of a file, or none if there is no file."""
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}, line {number} is not valid JSON ({error}); move the file away or correct it"
            ) from None
        lines.append(_checked(line, f"{path}, line {number}"))
    return lines


def read_job(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the result line and the curve that the file of one run holds."""
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); remove the file, and its run will be done again"
        ) from None
    curve = job.get("curve") if isinstance(job, dict) else None
    if not isinstance(curve, list) or not all(isinstance(point, dict) for point in curve):
        raise ValueError(f"{path} is not a result of this program: it has no curve; move it away")
    return _checked(job.get("result"), str(path)), curve


def _checked(line: Any, where: str) -> dict[str, Any]:
    """Return a result line if it has all required fields, with the right types. Else raise an error with the field."""
    if not isinstance(line, dict):
        raise ValueError(f"{where} is not a result of this program; move it away, or choose another folder")
    for name, kinds in (REQUIRED | OPTIONAL).items():
        if name not in line:
            if name in OPTIONAL:
                continue
            raise ValueError(
                f"{where} is not a result of this program: it has no {name}; move it away, or choose another folder"
            )
        value = line[name]
        is_right = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
        if name in ("n_samples", "samples_per_second"):
            is_right = is_right and value > 0
        if name == "kind":
            is_right = value in KINDS
        if name == "drifts" and is_right:
            is_right = all(
                isinstance(drift, list) and list(map(type, drift)) == [int, int] for drift in value
            )
        if name == "metrics" and is_right:
            is_right = all(one is None or type(one) in (int, float) for one in value.values())
        if name == "importances" and is_right:
            is_right = all(type(one) in (int, float) and abs(one) <= 1.0 for one in value.values())
        if not is_right or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(
                f"{where} is not a result of this program: {name} is {value!r}; move it away, or choose another folder"
            )
    return _with_normal_delay(line)


def _with_normal_delay(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line whose delay is written as it is now; older lines have it as the user wrote it."""
    delay = line.get("delay")
    return line | {"delay": normal_delay(delay)} if isinstance(delay, str) else line


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Return the points of the curves in a file, with all values as text, or none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {*KEY, "n_samples", "accuracy"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path} is not a curve of this program; choose another folder")
        return [_with_normal_delay(point) for point in reader]


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return points of curves as the text of a CSV file, with all columns that any point has."""
    columns = list(dict.fromkeys([*CURVE_COLUMNS, *(name for line in lines for name in line)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
