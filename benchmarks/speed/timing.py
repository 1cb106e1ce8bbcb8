"""Check that equal ways answer alike, then time all in turns."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.speed.cases import Case
from benchmarks.speed.samples import Samples
from benchmarks.speed.ways import Run

SHORTEST = 0.1
"""Seconds; a shorter run is done again until so much time has passed, and its mean counts."""


def check(table: list[Case], samples: Samples, n: int, tick: Callable[[str], None]) -> None:
    """Run every case on a few samples, which also warms it up; raise unless those that are the same answer alike."""
    first: dict[str, tuple[Case, Run]] = {}
    for case in table:
        tick(f"check, {case.name}")
        run = case.run(samples, case.n_warm_up or min(n, case.n_samples))
        if case.same:
            other, expected = first.setdefault(case.same, (case, run))
            pairs = {"probabilities when all is learnt": (run.proba(samples), expected.proba(samples))}
            for name in run.answers.keys() & expected.answers.keys():
                pairs[name] = run.answers[name], expected.answers[name]
            for name, (actual, desired) in pairs.items():
                np.testing.assert_allclose(
                    actual, desired, rtol=0.0, atol=1e-9, err_msg=f"{name}: {case.name!r} and {other.name!r}"
                )


def measure(
    table: list[Case], samples: Samples, n_repeats: int, tick: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return a line per case: the median and the range of its repeats, which take turns."""
    seconds: dict[str, list[float]] = {case.name: [] for case in table}
    runs: dict[str, Run] = {}
    for _ in range(n_repeats):
        for case in table:
            tick(case.name)
            taken = []
            while sum(taken) < SHORTEST:
                runs[case.name] = case.run(samples, case.n_samples)
                taken.append(runs[case.name].seconds)
            seconds[case.name].append(sum(taken) / len(taken))
    lines = []
    for case in table:
        us, run = [s / case.n_samples * 1e6 for s in seconds[case.name]], runs[case.name]
        lines.append({
            "what": case.name, "n_samples": case.n_samples, "us_per_sample": round(median(us), 3),
            "fastest": round(min(us), 3), "slowest": round(max(us), 3), "samples_per_s": round(1e6 / median(us)),
            "accuracy": None if np.isnan(run.accuracy) else round(float(run.accuracy), 4),
            "model_mb": round(run.n_bytes / 1e6, 3),
        })  # fmt: skip
    return lines
