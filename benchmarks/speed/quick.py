"""A gate of a minute: has a part of a sample's life become slower than it was when the bounds were kept?

Each way of `WAYS` is taken apart as `benchmarks.speed.parts` does it, in turns with a reference in the same run. For
ways in blocks this is the straight loop of `benchmarks.bound`, compiled from the same kind of arithmetic. For single
calls, which spend most of their time in Python, it is a loop over dictionaries and lists in Python. The least time of
the repeats counts. The ratio of the two hardly depends on how fast a machine is, or how busy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bound
from benchmarks.speed.cases import Case, cases
from benchmarks.speed.parts import parts
from benchmarks.speed.samples import Samples
from benchmarks.speed.ways import N_EXPERTS

KEPT = Path("benchmarks") / "results" / "speed_quick.json"
"""Ratios of the last run whose bounds were kept."""

IN_BLOCKS = ("driftmoe: prequential", "driftmoe: prequential, late", "moe-data: prequential")
SINGLE = ("driftmoe: predict_one, learn_one", "moe-data: predict_one, learn_one")
WAYS = (*IN_BLOCKS, *SINGLE)

N_IN_BLOCKS, N_SINGLE = 10_000, 3_000
"""Samples of a way."""

SLOWER = 1.2
"""Ratio to the kept one from which a part counts as slower, if it takes at least `LEAST` of its way's time."""

LEAST = 0.03

TOTAL = "all"

Ratios = dict[str, dict[str, float]]
"""Way -> part -> its time by that of the reference."""


def straight_line(samples: Samples, n: int = N_IN_BLOCKS) -> float:
    """Return the µs a sample of the compiled reference."""
    X, y = samples.X[:n], samples.y[:n]
    return bound.straight(X, y, np.ones((len(y), N_EXPERTS))) / len(y) * 1e6


def python_loop(n: int = 20_000) -> float:
    """Return the µs a round of the reference in Python: dictionaries, lists, calls and float arithmetic."""

    def weighed(values: dict[int, float], by: list[float]) -> float:
        return sum(value * weight for value, weight in zip(values.values(), by, strict=True))

    weights, total = [0.5 * i for i in range(8)], 0.0
    start = time.perf_counter()
    for row in range(n):
        total += weighed({column: float(row + column) for column in range(8)}, weights)
    return (time.perf_counter() - start) / n * 1e6


def measured(samples: Samples, table: dict[str, Case], n_repeats: int, tick: Callable[[str], None]) -> Ratios:
    """Return the least time of each part by that of its reference, taken in turns."""
    least: dict[str, dict[str, float]] = {}
    references = {"blocks": straight_line(samples), "single": python_loop()}
    for _ in range(n_repeats):
        references["blocks"] = min(references["blocks"], straight_line(samples))
        references["single"] = min(references["single"], python_loop())
        for way in WAYS:
            us: dict[str, float] = parts(samples, table[way], 1, tick)["us_by_part"]
            us[TOTAL] = sum(us.values())
            so_far = least.setdefault(way, us)
            least[way] = {part: min(so_far[part], us[part]) for part in us}
    return {
        way: {part: us / references["blocks" if way in IN_BLOCKS else "single"] for part, us in of.items()}
        for way, of in least.items()
    }


def slower(found: Ratios, kept: Ratios) -> list[tuple[str, str, float]]:
    """Return the parts that have become slower: way, part, and how many times as slow."""
    return [
        (way, part, ratio / kept[way][part])
        for way, of in found.items()
        for part, ratio in of.items()
        if kept.get(way, {}).get(part) and ratio > SLOWER * kept[way][part] and ratio > LEAST * of[TOTAL]
    ]


def report(found: Ratios, kept: Ratios) -> str:
    """Return the table: each part that takes some time, with its ratio now and the kept one."""
    lines = [f"{'times the reference':<50}{'now':>8}{'kept':>8}{'change':>9}"]
    is_slower = {(way, part) for way, part, _ in slower(found, kept)}
    for way, of in found.items():
        lines.append(way)
        for part, ratio in sorted(of.items(), key=lambda one: -one[1]):
            if ratio < LEAST * of[TOTAL]:
                continue
            before = kept.get(way, {}).get(part)
            change = "" if not before else f"{100.0 * (ratio / before - 1.0):+.0f} %"
            mark = " SLOWER" if (way, part) in is_slower else ""
            shown = "" if before is None else f"{before:.2f}"
            lines.append(f"  {part:<48}{ratio:>8.2f}{shown:>8}{change:>9}{mark}")
    return "\n".join(lines)


def run(
    samples: Samples, n_repeats: int, tick: Callable[[str], None], *, keeps: bool, file: Path = KEPT
) -> bool:
    """Print the table, and return whether no part has become slower. `keeps` writes the new bounds instead."""
    named = {case.name: case for case in cases(N_IN_BLOCKS, N_SINGLE, 0)}
    for way in WAYS:
        tick(f"warm-up, {way}")
        named[way].run(samples, min(1_000, len(samples.y)))
    found = measured(samples, named, n_repeats, tick)
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    print(report(found, kept))
    if keeps:
        rounded = {way: {part: round(ratio, 4) for part, ratio in of.items()} for way, of in found.items()}
        file.write_text(json.dumps(rounded, indent=1) + "\n")
        print(f"kept in {file}")
        return True
    for way, part, times in slower(found, kept):
        print(f"SLOWER: {way}: {part}: {times:.2f} times as slow as it was")
    if not kept:
        print(f"there are no bounds in {file} yet; --keep writes them")
    return not slower(found, kept)
