"""The commands that repeat the runs of a report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from driftmoe.experiment import counts_warm_up, delay_options, label_share_of
from driftmoe.report.parts import Command

FILE_OPTIONS = ("target", "drop", "nominal", "delimiter", "header", "missing", "encoding", "on_bad_row")
"""Arguments with which a file was read that are options of the command."""


def commands(lines: Sequence[Mapping[str, Any]]) -> list[Command]:
    """Return the commands of `driftmoe evaluate` that repeat runs, one for each stream and setting.

    Models with the same seeds share a command. A model that was loaded from a file is named by that file.
    """
    seeds: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for line in lines:
        of_model = seeds.setdefault(_setting(line), {}).setdefault(line["model"], [])
        if line["seed"] not in of_model:
            of_model.append(line["seed"])
    found = []
    for setting, of_models in seeds.items():
        together: dict[tuple[int, ...], list[str]] = {}
        for model, of_model in of_models.items():
            together.setdefault(tuple(sorted(of_model)), []).append(model)
        for with_seeds, models in together.items():
            words = ["driftmoe", "evaluate", *setting]
            for model in models:
                file, is_loaded, _ = model.rpartition("@")
                words += ["--load", file] if is_loaded else ["-m", model]
            words += [word for seed in with_seeds for word in ("--seed", str(seed))]
            found.append(Command(shlex.join(words)))
    return found


def _setting(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stream of a run, and its options."""
    words = [str(line["stream"])]
    if line["limit"] is not None:
        words += ["--limit", str(line["limit"])]
    words += ["--window", str(line["window"])]
    words += [word for metric in line.get("metrics") or () for word in ("--metric", metric)]
    if str(line.get("delay") or 0) != "0":
        words += delay_options(str(line["delay"]))
        if counts_warm_up(line):
            words.append("--count-warm-up")
    elif str(line.get("count_warm_up")) == "True":
        words.append("--count-warm-up")
    if (share := label_share_of(line)) < 1.0:
        words += ["--label-share", str(share)]
    if line.get("label_order", "use") != "use":
        words += ["--label-order", line["label_order"]]
    if line.get("shuffle_window"):
        words += ["--shuffle-window", str(line["shuffle_window"])]
    for name, value in line.get("reading", {}).items():
        if name == "header" and value is not None:
            words.append("--header" if value else "--no-header")
        elif name in FILE_OPTIONS:
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{name.replace('_', '-')}", str(one)]
    return tuple(words)
