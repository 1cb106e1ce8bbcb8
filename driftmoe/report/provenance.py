"""The report's section on what is behind the figures: commands, versions, parameters and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from driftmoe.experiment import kind_of_run
from driftmoe.report.parts import NOTHING, Grid, Part
from driftmoe.report.repeating import commands
from driftmoe.report.results import reading, row_names


def provenance(lines: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return the commands that repeat the runs, and the versions, parameters and data behind the results."""
    parts: list[Part] = []
    repeatable = commands([line for line in lines if kind_of_run(line) != "neural"])
    if repeatable:
        parts += ["These commands repeat the runs, and write their own results:", *repeatable]
    for name, key in (("Versions", "versions"), ("Commit", "commit")):
        values = sorted({_versions(line.get(key, "not recorded")) for line in lines})
        parts += [f"{name}: {value}" for value in values]
        if len(values) > 1:
            parts.append(f"{name} differ between runs, which alone may change the figures.")
    models = {
        (
            line["model"],
            in_words(without_seed(line["parameters"])) if "parameters" in line else "not recorded",
        )
        for line in lines
    }
    parts.append(
        Grid(["model", "parameters"], [[(cell, False) for cell in model] for model in sorted(models)])
    )
    rows = {
        (row, str(line["seed"]), line["stream_sha256"], *_columns(line))
        for row, line in zip(row_names(lines), lines, strict=True)
    }
    headings = [
        "stream",
        "seed",
        "SHA-256 of the data",
        "class column",
        "columns left out",
        "how the file is read",
    ]
    shown = [i for i in range(len(headings)) if i < 3 or any(row[i] not in ("", NOTHING) for row in rows)]
    cells = [[(row[i], False) for i in shown] for row in sorted(rows)]
    return [*parts, Grid([headings[i] for i in shown], cells)]


def _columns(line: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the class column of a file, the columns that were left out, and what else was said about reading it."""
    told = dict(line.get("reading", {}))
    target, drop = told.pop("target", NOTHING), told.pop("drop", NOTHING)
    dropped = ", ".join(map(str, drop)) if isinstance(drop, list) else str(drop)
    return str(target), dropped, reading({"reading": told})


def without_seed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without the seed, which differs between runs of one model."""
    return {name: value for name, value in parameters.items() if name != "seed"}


def _versions(value: Any) -> str:
    return (
        ", ".join(f"{name} {item}" for name, item in value.items())
        if isinstance(value, Mapping)
        else str(value)
    )


def in_words(parameters: Mapping[str, Any]) -> str:
    """Return the parameters of a model as one would write them in Python.

    Result lines hold river's nested models as ``[name, {parameter: value}]``, and pipelines as ``{name: {...}, ...}``.

    Examples
    --------
    >>> from driftmoe.report.provenance import in_words
    >>> in_words({"n_models": 10, "drift_detector": ["ADWIN", {"delta": 0.001}]})
    'n_models=10, drift_detector=ADWIN(delta=0.001)'
    >>> in_words({"SelectType": {"_POSITIONAL_ARGS": ["Number"]}, "GaussianNB": {}})
    'SelectType(Number) | GaussianNB()'
    """
    if parameters and all(isinstance(value, Mapping) for value in parameters.values()):
        return " | ".join(f"{name}({in_words(value)})" for name, value in parameters.items())
    given = [_value(value, top=True) for value in parameters.get("_POSITIONAL_ARGS", ())]
    named = [f"{name}={_value(value)}" for name, value in parameters.items() if name != "_POSITIONAL_ARGS"]
    return ", ".join([*given, *named])


def _value(value: Any, *, top: bool = False) -> str:
    if (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], Mapping)
    ):
        return f"{value[0]}({in_words(value[1])})"
    if isinstance(value, Mapping):
        return f"({in_words(value)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if top else repr(value)
