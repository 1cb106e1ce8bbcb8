"""Tables of `benchmarks.beyond`: what ideas add to the default, in points of accuracy."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, geometric_mean, stdev
from typing import Any

Lines = Sequence[Mapping[str, Any]]

Gains = dict[str, dict[int, float]]
"""Stream -> seed -> points that a setting adds."""

GROUPS = {
    "local: right": r"local: right, k=\d+, faith \d",
    "local: likelihood": r"local: likelihood, k=\d+, faith \d",
    "local: gradient": r"local: gradient",
    "local: learnt": r"local: .* faith learnt",
    "knora: eliminate": r"knora: eliminate",
    "knora: union": r"knora: union,",
    "knora: union, gate": r"knora: union and gate",
    "contrast: lowest": r"contrast: lowest",
    "contrast: equal": r"contrast: equal",
    "contrast: rank 2": r"contrast: rank 2",
    "contrast: rank 4": r"contrast: rank 4",
    "surgery: keep 2": r"surgery: .* keep 2",
    "surgery: keep 4": r"surgery: .* keep 4",
    "surgery: keep 8": r"surgery: .* keep 8",
}
"""Idea -> which settings it may choose from."""

RULES = ("usage", "loss", "redundant", "merged", "owners", "first")
KEPT = (2, 4, 8)


def tables_of(lines: Lines, altered: Lines) -> str:
    """Return all tables as text of 80 columns: ideas, oracles, surgery, altered models.

    Parameters
    ----------
    lines
        Of `benchmarks.beyond`.
    altered
        Of `benchmarks.beyond.altered`.
    """
    if not lines:
        return "there are no lines yet; record votes and evaluate them first"
    tables = [ideas_of(lines), oracles_of(lines), surgery_of(lines)]
    return "\n\n".join([*tables, altered_of(altered)] if altered else tables)


def gains_of(lines: Lines) -> dict[str, Gains]:
    """Return the gains of each setting."""
    found: dict[str, Gains] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        for setting, points in line["gains"].items():
            found[setting][line["stream"]][line["seed"]] = points
    return found


def of_streams(gains: Gains) -> dict[str, float]:
    """Return the mean gain over the seeds on each stream."""
    return {stream: fmean(of_seeds.values()) for stream, of_seeds in gains.items()}


def mean_and_spread(gains: Gains) -> str:
    """Return the mean over the streams, and its deviation over the seeds that all streams have."""
    seeds = set.intersection(*(set(of_seeds) for of_seeds in gains.values()))
    means = [fmean(of_seeds[seed] for of_seeds in gains.values()) for seed in sorted(seeds)]
    spread = f" ±{stdev(means):.2f}" if len(means) > 1 else ""
    return f"{fmean(of_streams(gains).values()):+.2f}{spread}"


def left_out(settings: Mapping[str, Gains]) -> dict[str, float]:
    """Return what each stream gains from the setting that gains most in the mean of all other streams."""
    means = {setting: of_streams(gains) for setting, gains in settings.items()}
    streams = next(iter(means.values()))
    return {
        stream: max(means.values(), key=lambda of: fmean(of[other] for other in streams if other != stream))[
            stream
        ]
        for stream in streams
    }


def ideas_of(lines: Lines) -> str:
    """Return the table of the best setting of each idea, and of what the other streams choose for a stream."""
    gains = gains_of(lines)
    text = [f"{'idea':<19}{'best of its settings':<23}{'mean':>12}{'worst':>7}{'left out':>9}{'worst':>7}"]
    for name, pattern in GROUPS.items():
        settings = {setting: of for setting, of in gains.items() if re.match(pattern, setting)}
        best = max(settings, key=lambda setting: fmean(of_streams(settings[setting]).values()))
        own, others = of_streams(settings[best]), left_out(settings)
        what, _, rest = best.partition(": ")[2].partition(", ")
        short = what if name.startswith("surgery") else rest
        if name == "local: learnt":
            short = f"{what}, {rest.removesuffix(', faith learnt')}"
        text.append(
            f"{name:<19}{short:<23}{mean_and_spread(settings[best]):>12}{min(own.values()):>+7.2f}"
            f"{fmean(others.values()):>+9.2f}{min(others.values()):>+7.2f}"
        )
    us = {name: fmean(line["us"][name] for line in lines) for name in lines[0]["us"]}
    text += [
        f"µs a sample: the search {us['search']:.1f} (done by the neighbours); notes of success "
        f"{us['successes']:.1f};",
        f"means over 7, 15, 31 nearest {us['competence k=7']:.1f}, {us['competence k=15']:.1f}, "
        f"{us['competence k=31']:.1f}; the gate {us['gate']:.1f}; KNORA {us['knora']:.1f};",
        f"contrast {us['contrast']:.1f}; what is known of trees {us['surgery']:.1f}",
    ]
    return "\n".join(text)


def oracles_of(lines: Lines) -> str:
    """Return the table of what exactly k experts answer that an oracle picks, or the gate, on each stream."""
    gains = gains_of(lines)
    accuracy: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        accuracy[line["stream"]].append(100.0 * line["accuracy"])
    heads = [f"{who} {k}" for who in ("oracle", "gate") for k in (1, 2, 3)]
    columns = [of_streams(gains[f"budget: {head.replace(' ', ', k=')}"]) for head in heads]
    text = [f"{'stream':<18}{'default':>8}" + "".join(f"{head:>9}" for head in heads)]
    order = sorted(accuracy, key=lambda stream: -columns[0][stream])
    for stream in order:
        figures = "".join(f"{column[stream]:>+9.2f}" for column in columns)
        text.append(f"{stream:<18}{fmean(accuracy[stream]):>8.2f}{figures}")
    mean = fmean(fmean(of) for of in accuracy.values())
    text.append(
        f"{'mean':<18}{mean:>8.2f}" + "".join(f"{fmean(column.values()):>+9.2f}" for column in columns)
    )
    return "\n".join(text)


def surgery_of(lines: Lines) -> str:
    """Return the table of rules by which trees are kept: mean and worst stream, beside other experts and alone."""
    gains = gains_of(lines)
    whole = gains["trees alone: all"]
    text = [f"{'trees kept by':<14}" + "".join(f"{f'keep {n}':>10}{'worst':>7}" for n in KEPT)]
    for part, title in (("surgery", "beside the others"), ("trees alone", "trees alone")):
        text.append(f"{title}:")
        for rule in RULES:
            figures = ""
            for n in KEPT:
                of = gains[f"{part}: {rule}, keep {n}"]
                if part == "trees alone":
                    of = {
                        stream: {seed: points - whole[stream][seed] for seed, points in of_seeds.items()}
                        for stream, of_seeds in of.items()
                    }
                own = of_streams(of)
                figures += f"{fmean(own.values()):>+10.2f}{min(own.values()):>+7.2f}"
            text.append(f"  {rule:<12}{figures}")
    return "\n".join(text)


def altered_of(lines: Lines) -> str:
    """Return a table of altered models for each length of runs: points over the default, ratio of processor times.

    A table has the streams and seeds for which there is a run of each of its models.
    """
    tables = []
    for limit in sorted({line["limit"] for line in lines}):
        runs: dict[str, dict[tuple[str, int], Mapping[str, Any]]] = defaultdict(dict)
        for line in lines:
            if line["limit"] == limit:
                runs[line["model"]][line["stream"], line["seed"]] = line
        keys = set.intersection(*(set(of_model) for of_model in runs.values()))
        streams, seeds = {stream for stream, _ in keys}, {seed for _, seed in keys}
        text = [
            f"{limit} samples, {len(streams)} streams, {len(seeds)} seed{'s' * (len(seeds) > 1)}",
            f"{'model':<14}{'mean':>13}{'worst':>8}  {'on':<18}{'best':>7}{'times as fast':>15}",
        ]
        default = runs.pop("default")
        for model, of_model in runs.items():
            gains: Gains = defaultdict(dict)
            for stream, seed in sorted(keys):
                more = of_model[stream, seed]["accuracy"] - default[stream, seed]["accuracy"]
                gains[stream][seed] = 100.0 * more
            own = of_streams(gains)
            worst = min(own, key=lambda stream: own[stream])
            ratio = geometric_mean(default[key]["us"] / of_model[key]["us"] for key in keys)
            text.append(
                f"{model:<14}{mean_and_spread(gains):>13}{own[worst]:>+8.2f}  {worst:<18}"
                f"{max(own.values()):>+7.2f}{ratio:>15.2f}"
            )
        tables.append("\n".join(text))
    return "\n\n".join(tables)
