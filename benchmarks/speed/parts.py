"""What each part of a sample's life costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks.speed.cases import Case
from benchmarks.speed.samples import Samples
from driftmoe import DriftMoEClassifier, network
from driftmoe.encoding import Encoder
from driftmoe.experts import history, linear, neighbours, perceptron
from driftmoe.mixture import CoTraining, cotraining
from driftmoe.mixture import adaptive as adaptive_mixture
from driftmoe.trees import TreePool, steps

PARTS: list[tuple[Any, str, str]] = [
    (Encoder, "target", "encode"),
    (Encoder, "known_vector", "encode"),
    (DriftMoEClassifier, "_block_rows", "encode"),
    (Encoder, "plan_inputs", "encode"),
    (network, "respond", "router forward"),
    (CoTraining, "_choose", "routing"),
    (TreePool, "n_rows_with_room", "pool, predict and learn"),
    (TreePool, "n_rows_before_growth", "pool, predict and learn"),
    (TreePool, "plan", "pool, predict and learn"),
    (steps, "step", "pool, predict and learn"),
    (cotraining, "correctness", "mask"),
    (cotraining, "mix", "mix"),
    (network, "descend", "router step"),
    (neighbours, "nearest", "neighbours, predict and learn"),
    (history, "follow", "label history"),
    (linear, "regress", "linear models"),
    (perceptron, "perceive", "network"),
    (adaptive_mixture, "draw_weights", "Poisson draws"),
    (adaptive_mixture, "whom_to_ask", "gate, mix"),
    (adaptive_mixture, "answer", "gate, mix"),
]
"""Owner, function, and the part of a sample's life that it is; none is called by another.

A step is planned and then carried out: what parts compute is in their kernels, whichever of the two calls them.
"""

REST = "rest: labels, loop, metrics"


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Yield the seconds that each part takes while the context lasts."""
    seconds = dict.fromkeys([part for _, _, part in PARTS], 0.0)

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            answer = function(*arguments, **named)
            seconds[part] += time.perf_counter() - start
            return answer

        return call

    with ExitStack() as patches:
        for owner, name, part in PARTS:
            patches.enter_context(patch.object(owner, name, timed(getattr(owner, name), part)))
        yield seconds


def parts(samples: Samples, case: Case, n_repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Return the µs of a sample by part, medians of repeats; the clock itself adds up to 0.2 µs to each call."""
    taken: dict[str, list[float]] = {}
    for _ in range(n_repeats):
        tick(f"parts, {case.name}")
        with stopwatch() as seconds:
            total = case.run(samples, case.n_samples).seconds
            seconds[REST] = total - sum(seconds.values())
        for part, s in seconds.items():
            taken.setdefault(part, []).append(s / case.n_samples * 1e6)
    by_part = {part: round(median(us), 3) for part, us in taken.items()}
    return {"what": case.name, "us_by_part": by_part}
