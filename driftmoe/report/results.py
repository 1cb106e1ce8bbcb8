"""Selection, grouping and naming of result lines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from driftmoe.experiment import counts_warm_up, order_protocol, run_key, told_delay, warm_up_protocol
from driftmoe.suggestions import meant

_CODE = "code_sha256"
"""Parameter that holds the hash of the code of a user's own model."""


def by_model(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Group result lines by model, in order of first appearance."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["model"], []).append(result)
    return groups


def figure_of(line: Mapping[str, Any], key: str) -> float | None:
    """Return a figure of a result line, or `None` if the line lacks it or it is not defined."""
    value = line.get(key, line.get("metrics", {}).get(key))
    return None if value is None else float(value)


def metrics_in(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the metrics that runs were asked for, in order of first appearance."""
    return list(dict.fromkeys(name for line in lines for name in line.get("metrics", {})))


def of_models(results: Sequence[Mapping[str, Any]], models: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the result lines of these models, model by model; raise ValueError if one has none."""
    found = by_model(results)
    for model in models:
        if model not in found:
            raise ValueError(f"no result of model {model!r}; {meant(model, found)}")
    return [line for model in models for line in found[model]]


def usable(results: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the results that may be compared, and a sentence for each of the others.

    Interrupted runs are left out. If a run was done more than once, only the last result is used.
    """
    kept: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    notes = []
    for result in results:
        name = f"{result['model']} on {result['stream']}, seed {result['seed']}"
        if not result["complete"]:
            notes.append(f"{name}: interrupted after {result['n_samples']:,} samples, left out.")
            continue
        parts = ("stream", "stream_sha256", "model", "seed", "n_samples")
        key = (
            *(result[part] for part in parts),
            label_delay(result),
            warm_up_protocol(result),
            order_protocol(result),
        )
        if key in kept:
            lost = [
                metric for metric in kept[key].get("metrics", {}) if metric not in result.get("metrics", {})
            ]
            notes.append(
                f"{name}, {result['n_samples']:,} samples: done more than once, the last one counts"
                + (f", which did not measure {', '.join(lost)}." if lost else ".")
            )
        kept[key] = result
    return list(kept.values()), notes


def label_delay(result: Mapping[str, Any]) -> str:
    """Return the delay of the labels as text. Old result lines without a delay have no such entry."""
    return str(result.get("delay") or 0)


def lateness(result: Mapping[str, Any]) -> str:
    """Return the delay of the labels for a title; empty without a delay."""
    told = told_delay(label_delay(result))
    return f", {told}" if told else ""


def counting(result: Mapping[str, Any]) -> str:
    """Return a title's note that the warm-up counts; empty if it is left out or is a single sample."""
    counted = counts_warm_up(result) if lateness(result) else warm_up_protocol(result)
    return ", warm-up counted" if counted else ""


def ordering(result: Mapping[str, Any]) -> str:
    """Return a title's note on which labels came, and how the order was used; empty if all labels, as they come."""
    told = order_protocol(result)
    return f", {told}" if told else ""


def left_out(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a title's note on first samples that are not counted; empty if all samples count."""
    ns = sorted({line.get("n_warm_up", 0) for line in results if not counts_warm_up(line)})
    if not ns or not ns[-1]:
        return ""
    if ns == [1]:
        return ", first sample not counted"
    return (
        f", first {ns[-1]:,} samples not counted"
        if len(ns) == 1
        else f", up to {ns[-1]:,} samples not counted"
    )


def reading(result: Mapping[str, Any]) -> str:
    """Return how a file was read, for a title: class column, omitted columns, and other arguments set by the user."""
    told = dict(result.get("reading", {}))
    n_bad, is_lenient = told.pop("rows_left_out", 0), told.pop("on_bad_row", None) == "skip"
    words = {"target": "class", "drop": "without", "nominal": "as names"}
    parts = [f"{words.get(name, name)} {_quoted(value)}" for name, value in told.items()]
    return ", ".join([*parts, *([f"{n_bad:,} bad rows left out"] if is_lenient else [])])


def _quoted(value: Any) -> str:
    texts = [str(item).replace("\t", r"\t") for item in (value if isinstance(value, list) else [value])]
    return ", ".join(f"`{text}`" for text in texts)


def data_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the data of each result: the stream and, if one name stands for several, how it is read or its hash."""
    hashes: dict[tuple[Any, ...], set[str]] = {}
    for result in results:
        shuffled = result.get("shuffle_window")  # other samples, in the same rows
        same_name = (result["stream"], result["n_samples"], shuffled, result["seed"])
        for key in (same_name, (*same_name, reading(result))):
            hashes.setdefault(key, set()).add(result["stream_sha256"])
    ambiguous = {(*key[:3], *key[4:]) for key, found in hashes.items() if len(found) > 1}
    names = []
    for result in results:
        name = (result["stream"], result["n_samples"], result.get("shuffle_window"))
        told = reading(result)
        parts = [result["stream"]]
        if name in ambiguous and told:
            parts.append(told)
        if (*name, told) in ambiguous or (name in ambiguous and not told):
            parts.append(f"data {result['stream_sha256'][:8]}")
        names.append(", ".join(parts))
    return names


def stream_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the stream behind each result: the same for all readings and all paths of one file, which are one stream.

    Files are known by their path and by their hash. Streams without a reading are known by their name alone, because
    their hash may be that of their first samples only.
    """
    groups: list[set[str]] = []
    names = []
    for result, data in zip(results, data_names(results), strict=True):
        name, marks = data, {data}
        if told := reading(result):
            path = os.path.normpath(result["stream"])
            name = path + data.removeprefix(result["stream"]).replace(f", {told}", "", 1)
            marks = {name, result["stream_sha256"]}
        names.append(name)
        if not any(marks <= group for group in groups):
            joined = [group for group in groups if group & marks]
            groups = [group for group in groups if group not in joined] + [marks.union(*joined)]
    first = {mark: min(group) for group in groups for mark in group}
    return [first[name] for name in names]


def row_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the row of each result: stream, length, delay of the labels and, if needed, warm-up, order and data."""
    return [
        f"{result['stream']}, {result['n_samples']:,}{lateness(result)}{counting(result)}{ordering(result)}"
        f"{data.removeprefix(result['stream'])}"
        for result, data in zip(results, data_names(results), strict=True)
    ]


def of_other_windows(results: Sequence[Mapping[str, Any]]) -> tuple[set[tuple[str, ...]], list[str]]:
    """Return the keys of the runs whose windows differ in length from those of their row, and a sentence for each row.

    The windows of a row are those of most of its runs; if there are several, those that come first.
    """
    rows, windows = row_names(results), dict[str, Counter[int]]()
    for row, result in zip(rows, results, strict=True):
        windows.setdefault(row, Counter())[result["window"]] += 1
    taken = {row: of_row.most_common(1)[0][0] for row, of_row in windows.items()}
    others: dict[str, list[Mapping[str, Any]]] = {}
    for row, result in zip(rows, results, strict=True):
        if result["window"] != taken[row]:
            others.setdefault(row, []).append(result)
    sentences = []
    for row, of_row in others.items():
        runs = (f"{one['model']}, seed {one['seed']} ({one['window']:,})" for one in of_row)
        sentences.append(
            f"{row}: the windows of its runs have different lengths, of which one is taken, {taken[row]:,} samples. "
            f"Left out: {'; '.join(runs)}."
        )
    return {run_key(one) for of_row in others.values() for one in of_row}, sentences


def told_apart(results: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the results with models told apart by their code, and a sentence for each model that is not one model.

    A model of the user's own has the hash of its code among its parameters. If its runs have several, each code is a
    model of its own, so that no figure is a mean over different programs. If other parameters differ, as they may
    between versions, the model is only named; seeds do not count.
    """
    several: dict[str, list[str]] = {}
    for model, lines in by_model([result for result in results if "parameters" in result]).items():
        found: dict[str, None] = {}
        orders = dict.fromkeys(line.get("label_order") for line in lines)
        for order in orders:  # without it, a model has other experts
            given = [_seedless(line["parameters"]) for line in lines if line.get("label_order") == order]
            names = dict.fromkeys(name for parameters in given for name in parameters)
            found |= {
                name: None
                for name in names
                if len({repr(parameters.get(name, ...)) for parameters in given}) > 1
            }
        several[model] = list(found)
    changed = {model for model, names in several.items() if _CODE in names}
    named = []
    for result in results:
        code = result.get("parameters", {}).get(_CODE, "unknown")
        is_changed = result["model"] in changed
        named.append({**result, "model": f"{result['model']} (code {code[:8]})"} if is_changed else result)
    sentences = [
        f"{model}: its code was changed between runs, so that each code is a model of its own."
        for model in several
        if model in changed
    ]
    for model, differing in several.items():
        if others := ", ".join(name for name in differing if name != _CODE):
            sentences.append(
                f"{model}: the parameters of its runs differ ({others}), so that its figures may be means over "
                "different models."
            )
    return named, sentences


def _seedless(value: Any) -> Any:
    """Return parameters without the seeds of the model and of those within it."""
    if isinstance(value, Mapping):
        return {name: _seedless(item) for name, item in value.items() if name != "seed"}
    return [_seedless(item) for item in value] if isinstance(value, list) else value
