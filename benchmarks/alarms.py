"""How soon a drift is noticed, how often not at all, and how often for nothing: `model.events()` beside detectors.

    python -m benchmarks.alarms --out benchmarks/results/alarms.jsonl --table benchmarks/results/alarms.md

Each run is a stream of `--limit` samples and a seed. Runs whose lines the file already has are left out, so that the
command can be stopped and given again. `--table` writes the tables from all lines of the file.

**DriftMoE**: the events of kind `drift` and `warning` of the default model, which learns the stream once. Nothing is
set. **The others** are river's detectors with their default settings, on the 0-1 errors of a single Hoeffding tree
(`driftmoe.trees.TreePool` with river's defaults, whose predictions equal those of river's `HoeffdingTreeClassifier`).
Each detector has its own tree, which starts anew at its alarms, as in Gama et al. 2004, at the end of the block of
`BLOCK` samples in which they come. ADWIN and Page-Hinkley raise an alarm for a rise only. `ADWIN, same` is ADWIN
on the errors of DriftMoE.

**Detected.** As in Bifet 2017 ("Classifier concept drift detection and the illusion of progress", ICAISC: mean time to
detection, missed detection rate, false alarms) with the acceptance window of Pesaranghader & Viktor 2016 ("Fast
Hoeffding drift detection method for evolving data streams", ECML PKDD, sec. 5: acceptable delay length). A change of
width w at position p begins at p - w/2. The first alarm from p - w up to p + w/2 + `WINDOW` detects it; the delay
counts from its beginning, and is 0 for an earlier alarm. Later alarms in this interval do not count. All others are
false. They are given per 100 000 samples outside of the intervals. What counts is when an alarm comes. The date
that the event gives for the start of the rise, `since`, plays no part.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from river import drift
from river.drift import binary

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.trees import TreePool

ABRUPT = ("led_a", "sea_a", "agrawal_a", "mixed_a", "recurrent_led", "recurrent_rbf")
GRADUAL = ("led_g", "sea_g", "agrawal_g")
STATIONARY = ("led", "sea", "agrawal", "mixed", "random_rbf", "random_tree", "waveform", "asset_negotiation")

LIMIT = 100_000
WINDOW = 2000
"""Samples after the end of a change within which an alarm counts as its detection."""

BLOCK = 32

OURS, OUR_WARNINGS, SAME = "DriftMoE", "DriftMoE warning", "ADWIN, same"

DETECTORS: dict[str, Callable[[], Any]] = {
    "ADWIN": drift.ADWIN,
    "DDM": binary.DDM,
    "HDDM_A": binary.HDDMA,
    "HDDM_W": binary.HDDMW,
    "PH": partial(drift.PageHinkley, mode="up"),
}

COLUMNS = (OURS, OUR_WARNINGS, SAME, *DETECTORS)

Line = Mapping[str, Any]


def has_alarm(detector: Any, error: float) -> bool:
    """Give a detector an error, and return whether it raises an alarm for a rise."""
    if not isinstance(detector, drift.ADWIN):
        detector.update(error)
        return bool(detector.drift_detected)
    before = detector.estimation
    detector.update(error)
    return bool(detector.drift_detected) and detector.estimation > before


def alarms_of_model(stream: streams.Stream, seed: int) -> dict[str, list[int]]:
    """Return the samples, from 0, at which DriftMoE's alarms come, and those of ADWIN on its errors."""
    model, adwin = DriftMoEClassifier(seed=seed), drift.ADWIN()
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    same: list[int] = []
    n = 0
    found: dict[str, list[int]] = {"drift": [], "warning": []}
    last = 0
    for X, y in stream.blocks(256):
        said = model.step_many(X, y, names=names, values=values, classes=stream.classes)
        for i, (label, target) in enumerate(zip(said, y.tolist(), strict=True)):
            if has_alarm(adwin, float(label != stream.classes[target])):
                same.append(n + i)
        n += len(y)
        for event in model.events(last):
            if event.kind in found:
                found[event.kind].append(event.sample - 1)
        last = n
    return {OURS: found["drift"], OUR_WARNINGS: found["warning"], SAME: same}


def alarms_of_trees(stream: streams.Stream) -> dict[str, list[int]]:
    """Return the samples, from 0, at which the alarms of each detector come, each on the errors of its own tree."""
    nominal = [i for i, feature in enumerate(stream.features) if feature.values is not None]
    pool = TreePool(len(DETECTORS), nominal=nominal)
    detectors = {name: make() for name, make in DETECTORS.items()}
    found: dict[str, list[int]] = {name: [] for name in DETECTORS}
    n = 0
    for X, y in stream.blocks(BLOCK):
        proba = pool.step(X, y)
        rows = np.arange(len(y))
        for tree, (name, detector) in enumerate(detectors.items()):
            votes = proba[:, tree]
            is_wrong = (votes.argmax(axis=1) != y) | (votes[rows, y] <= 0.0)
            before = len(found[name])
            found[name] += [n + i for i, w in enumerate(is_wrong.tolist()) if has_alarm(detector, float(w))]
            if len(found[name]) > before:
                pool.reset(tree)
        n += len(y)
    return found


def run(name: str, seed: int, limit: int) -> list[Line]:
    """Return the lines of a run: one for each detector."""
    stream = streams.make(name, seed, limit)
    found = alarms_of_model(stream, seed) | alarms_of_trees(stream)
    drifts = [[one.position, one.width] for one in stream.drifts]
    shared = {"stream": name, "seed": seed, "n_samples": limit, "drifts": drifts}
    return [{**shared, "detector": detector, "alarms": found[detector]} for detector in COLUMNS]


def score(line: Line) -> tuple[list[int], int, int, int]:
    """Return the delays of detected drifts, the number of missed ones, false alarms, and samples outside of drifts."""
    left, delays, n_inside = list(line["alarms"]), [], 0
    for position, width in line["drifts"]:
        first, last = position - width, min(position + width // 2 + WINDOW, line["n_samples"])
        inside = [alarm for alarm in left if first <= alarm < last]
        delays += [max(0, inside[0] - (position - width // 2))] if inside else []
        left = [alarm for alarm in left if not first <= alarm < last]
        n_inside += last - first
    return delays, len(line["drifts"]) - len(delays), len(left), line["n_samples"] - n_inside


def figures(lines: Iterable[Line]) -> dict[tuple[str, str], dict[str, float]]:
    """Return for each stream and detector: drifts, missed ones, median delay, false alarms per 100 000 samples."""
    groups = defaultdict(list)
    for line in lines:
        groups[line["stream"], line["detector"]].append(score(line))
    found = {}
    for key, scores in groups.items():
        delays = [delay for of, *_ in scores for delay in of]
        missed, false, outside = (sum(one[i] for one in scores) for i in (1, 2, 3))
        found[key] = {
            "drifts": len(delays) + missed, "missed": missed, "delay": median(delays) if delays else np.nan,
            "false": false / outside * 1e5, "runs": len(scores),
        }  # fmt: skip
    return found


Found = Mapping[tuple[str, str], Mapping[str, float]]


def is_later(found: Found, stream: str) -> bool:
    """Whether another detector misses fewer drifts, or as few with a shorter delay."""
    ours = found[stream, OURS]
    others = [found[stream, name] for name in (SAME, *DETECTORS)]
    return any(
        other["missed"] < ours["missed"]
        or (other["missed"] == ours["missed"] and other["delay"] < ours["delay"])
        for other in others
    )


def is_louder(found: Found, stream: str) -> bool:
    """Whether another detector gives fewer false alarms."""
    return any(found[stream, name]["false"] < found[stream, OURS]["false"] for name in (SAME, *DETECTORS))


def table(
    found: Found,
    names: Sequence[str],
    is_lost: Callable[[Found, str], bool],
    cell: Callable[[Mapping[str, float]], str],
) -> list[str]:
    """Return the rows of a table: lost streams first, marked with `*`."""
    known = [name for name in names if all((name, column) in found for column in COLUMNS)]
    heads = ("drift", "warn.", "same", *DETECTORS)
    first = max((len(name) + 2 for name in known), default=0)
    width = 8 if first < 16 else 7
    rows = [f"{'stream':{first}}" + "".join(f"{head:>{width}}" for head in heads)]
    for name in sorted(known, key=lambda name: not is_lost(found, name)):
        mark = "*" if is_lost(found, name) else ""
        rows.append(
            f"{name + mark:{first}}" + "".join(f"{cell(found[name, column]):>{width}}" for column in COLUMNS)
        )
    return rows


def report(lines: Sequence[Line]) -> str:
    """Return the tables."""
    found = figures(lines)
    seeds = sorted({line["seed"] for line in lines})
    lengths = sorted({line["n_samples"] for line in lines})
    drifting = (*ABRUPT, *GRADUAL)
    n_runs = sorted({int(one["runs"]) for one in found.values()})
    runs = f"{n_runs[0]} runs" if len(n_runs) == 1 else f"{n_runs[0]} to {n_runs[-1]} runs"
    later = table(
        found, drifting, is_later, lambda f: f"{f['delay']:.0f}/{100 * f['missed'] / f['drifts']:.0f}"
    )
    louder, stationary = (
        table(found, names, is_louder, lambda f: f"{f['false']:.1f}") for names in (drifting, STATIONARY)
    )
    parts = [
        "# Alarms",
        f"Seeds {seeds[0]} to {seeds[-1]}, {runs} of each stream, {', '.join(f'{n:,}' for n in lengths)} samples.\n"
        "What is measured: `benchmarks/alarms.py`. `drift` and `warn.` are DriftMoE's;\n"
        "`same` is ADWIN on its errors; the others watch a single tree. Streams with a\n"
        "star come first. There another detector misses fewer drifts, or as few with a\n"
        "shorter delay; in the other tables, it gives fewer false alarms.",
        "## Median delay to detection in samples / drifts missed in %",
        "\n".join(["```", *later, "```"]),
        "## False alarms per 100 000 samples, outside of drifts",
        "\n".join(["```", *louder, "```"]),
        "## False alarms per 100 000 samples, streams without drift",
        "\n".join(["```", *stationary, "```"]),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Do the runs that are missing, then write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=[*ABRUPT, *GRADUAL, *STATIONARY])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(1, 11)))
    parser.add_argument("--limit", type=int, default=LIMIT, help="samples of each stream")
    parser.add_argument("--out", type=Path, default=Path("runs/alarms.jsonl"), help="file of result lines")
    parser.add_argument("--table", type=Path, help="file of the tables")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    kept = _lines(arguments.out)
    done = {(line["stream"], line["seed"], line["n_samples"]) for line in kept}
    for seed in arguments.seeds:
        for name in arguments.streams:
            if (name, seed, arguments.limit) not in done:
                new = run(name, seed, arguments.limit)
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write("".join(json.dumps(line) + "\n" for line in new))
                kept += new
                print(f"{name}, seed {seed}", flush=True)
    text = report(kept)
    print(text)
    if arguments.table is not None:
        arguments.table.write_text(text, encoding="utf-8")


def _lines(path: Path) -> list[Line]:
    """Return the lines of complete runs in a file; one that was stopped while it wrote is done again."""
    if not path.exists():
        return []
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    whole = len(lines) - len(lines) % len(COLUMNS)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:whole]), encoding="utf-8")
    return lines[:whole]


if __name__ == "__main__":
    main()
