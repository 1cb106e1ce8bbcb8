"""Goals: ratios of two cases, the pool beside a straight loop, and the start-up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks import bound
from benchmarks.speed.cases import ASLEEP


@dataclass(frozen=True)
class Goal:
    """A ratio of the seconds of two cases that see equally many samples."""

    what: str
    slower: str
    faster: str
    at_least: float


GOALS = [
    Goal("moe-data, evaluator / CapyMOA's single tree", "CapyMOA: HoeffdingTree", "moe-data: prequential", 1.5),
    Goal("moe-data, evaluator / CapyMOA's ARF-10", "CapyMOA: ARF-10", "moe-data: prequential", 15),
    Goal("the same, nominal / CapyMOA's single tree", "CapyMOA: HoeffdingTree, nominal", "moe-data: prequential", 1.5),
    Goal("the same, nominal / CapyMOA's ARF-10", "CapyMOA: ARF-10, nominal", "moe-data: prequential", 15),
    Goal("moe-data, two threads / one", "moe-data: prequential", "moe-data: prequential, 2 threads", 1.3),
    Goal("our tree, blocks / CapyMOA's", "CapyMOA: HoeffdingTree", "our tree, blocks", 10),
    Goal("the same, nominal", "CapyMOA: HoeffdingTree, nominal", "our tree, blocks, nominal", 10),
    Goal("our tree, blocks / river's", "river: tree, dicts", "our tree, blocks, few", 200),
    Goal("moe-data on dicts / river's single tree", "river: tree, dicts", "moe-data: predict_one, learn_one", 5),
    Goal("adaptive pool / CapyMOA's ARF-10", "CapyMOA: ARF-10", "adaptive pool", 4),
    Goal("driftmoe, evaluator / CapyMOA's ARF-10", "CapyMOA: ARF-10", "driftmoe: prequential", 8),
    Goal("driftmoe, evaluator / CapyMOA's ARF-100", "CapyMOA: ARF-100", "driftmoe: prequential, a tenth", 110),
    Goal("driftmoe, nominal / CapyMOA's ARF-10", "CapyMOA: ARF-10, nominal", "driftmoe: prequential", 5),
    Goal("trees asleep (min_awake=2) / CapyMOA's ARF-10", "CapyMOA: ARF-10", ASLEEP, 8),
    Goal("driftmoe, two threads / one", "driftmoe: prequential", "driftmoe: prequential, 2 threads", 1.6),
    Goal("driftmoe on dicts / river's single tree", "river: tree, dicts", "driftmoe: predict_one, learn_one", 5),
    Goal("driftmoe, evaluator: late labels / at once", "driftmoe: prequential", "driftmoe: prequential, late", 0.8),
    Goal("moe-data, evaluator: late labels / at once", "moe-data: prequential", "moe-data: prequential, late", 0.8),
    Goal("the same, second stream / ARF-10", "CapyMOA: ARF-10, second", "driftmoe: prequential, second", 8),
    Goal("the same, trees asleep / ARF-10", "CapyMOA: ARF-10, second", f"{ASLEEP}, second", 8),
    Goal("the same / ARF-100", "CapyMOA: ARF-100, second", "driftmoe: prequential, a tenth, second", 110),
]  # fmt: skip


def judged(
    lines: list[dict[str, Any]], start: dict[str, Any], n_samples: int
) -> Iterable[tuple[str, float | None, str, float]]:
    """Yield each goal with what was reached: name, value (`None` where it was not measured), bound's side, bound."""
    by_name = {line["what"]: line for line in lines}
    for goal in GOALS:
        slower, faster = by_name.get(goal.slower), by_name.get(goal.faster)
        ratio = None
        if slower and faster:
            assert slower["n_samples"] == faster["n_samples"], goal
            ratio = slower["us_per_sample"] / faster["us_per_sample"]
        yield goal.what, ratio, "≥", goal.at_least
    pool, loop = bound.measure("led_a", n_samples, 3)
    yield "pool / straight-line naive Bayes", pool / loop, "≤", 4.0
    yield "start-up: first ever, s", start["first_ever_s"], "≤", 10.0
    yield "start-up: later, s above import torch", start["cached_s"] - start["import_torch_s"], "≤", 0.5
