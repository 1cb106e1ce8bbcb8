"""Everything that is compared and timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from river import ensemble, forest, tree

from benchmarks.moa_speed import Java
from benchmarks.speed.samples import Samples
from benchmarks.speed.ways import (
    DELAY,
    N_EXPERTS,
    Run,
    adaptive,
    all_learn,
    moe,
    poisson_learn,
    run_dicts,
    run_frames,
    run_java,
    run_late,
    run_pool,
    run_prequential,
    run_votes,
    top_k_learn,
)
from driftmoe.trees import HoeffdingTreeClassifier, TreePool


@dataclass(frozen=True)
class Case:
    """A way to predict and learn.

    Attributes
    ----------
    name
        What is printed.
    n_samples
        How many samples it sees when it is timed.
    run
        Called with the samples and their number.
    same
        Cases with the same word here must give the same answers; empty for none.
    n_warm_up
        Samples it sees before anything is timed; by default as many as are compared.
    """

    name: str
    n_samples: int
    run: Callable[[Samples, int], Run]
    same: str = ""
    n_warm_up: int = 0


ADAPTIVE = {"grace_period": 50, "delta": 0.01, "warning_delta": 0.01, "drift_delta": 0.001}


def cases(many: int, few: int, fewest: int, java: Java | None = None) -> list[Case]:
    """Everything that is compared and timed, with `many`, `few` or the `fewest` samples."""

    def pool(weights: Any, n_experts: int = N_EXPERTS, **arguments: Any) -> Callable[[Samples, int], Run]:
        return partial(run_pool, make=partial(TreePool, n_experts, **arguments), weights=weights)

    def nominal_tree(samples: Samples, n: int) -> Run:
        make = partial(TreePool, 1, nominal=range(samples.X.shape[1]))
        return run_pool(samples, n, make=make, weights=all_learn)

    on_dicts, evaluated = partial(run_dicts, make=moe), partial(run_prequential, make=moe)
    table = [
        Case("river: tree, dicts", few, partial(run_votes, make=tree.HoeffdingTreeClassifier), "tree"),
        Case("our tree, dicts", few, partial(run_votes, make=HoeffdingTreeClassifier), "tree"),
        Case("our tree, blocks, few", few, pool(all_learn, 1), "tree"),
        Case("our tree, blocks", many, pool(all_learn, 1), "tree"),
        Case("pool, top 3 learn", many, pool(top_k_learn), "pool"),
        Case("pool, top 3 learn, 2 threads", many, pool(top_k_learn, n_threads=2), "pool"),
        Case("pool, all Poisson(6)", many, pool(poisson_learn), "poisson"),
        Case("pool, all Poisson(6), 2 threads", many, pool(poisson_learn, n_threads=2), "poisson"),
        Case("adaptive pool", many, pool(poisson_learn, **ADAPTIVE), "adaptive"),
        Case("adaptive pool, 2 threads", many, pool(poisson_learn, **ADAPTIVE, n_threads=2), "adaptive"),
        Case("moe-data: predict_one, learn_one", few, on_dicts, "moe"),
        Case("moe-data: predict_one, learn_one, late", few, partial(run_late, make=moe), "moe, late"),
        Case(
            "moe-data: prequential, late", many, partial(run_prequential, make=moe, delay=DELAY), "moe, late"
        ),
        Case("moe-data: learn_many", many, partial(run_frames, make=moe), "moe"),
        Case("moe-data: prequential", many, evaluated, "moe"),
        Case(
            "moe-data: prequential, 2 threads",
            many,
            partial(run_prequential, make=partial(moe, n_threads=2)),
            "moe",
        ),
        Case(
            "river: ARF-10, dicts",
            fewest,
            partial(run_dicts, make=partial(forest.ARFClassifier, n_models=10, seed=1)),
        ),
        Case(
            "river: SRP-10, dicts",
            fewest,
            partial(run_dicts, make=partial(ensemble.SRPClassifier, n_models=10, seed=1)),
        ),
    ]
    on_dicts = partial(run_dicts, make=adaptive)
    late = partial(run_prequential, make=adaptive, delay=DELAY)
    on_two_threads = partial(run_prequential, make=partial(adaptive, n_threads=2))
    table += [
        Case("driftmoe: predict_one, learn_one", few, on_dicts, "driftmoe"),
        Case(
            "driftmoe: predict_one, learn_one, late", few, partial(run_late, make=adaptive), "driftmoe, late"
        ),
        Case("driftmoe: prequential, late", many, late, "driftmoe, late"),
        Case("driftmoe: prequential, 2 threads", many, on_two_threads, "driftmoe"),
        *forests(many, java),
    ]
    if java is None:
        return table
    for learner in ("no learner", "HoeffdingTree", "SRP-10", "LevBag-10"):
        run = partial(run_java, java=java, learner=learner)
        table.append(Case(f"CapyMOA: {learner}", many, run, n_warm_up=min(many, 20_000)))
    if java.about["nominal"]:
        table.append(Case("our tree, blocks, nominal", many, nominal_tree))
        for learner in ("HoeffdingTree", "ARF-10"):
            run = partial(run_java, java=java, learner=learner, nominal=True)
            table.append(Case(f"CapyMOA: {learner}, nominal", many, run, n_warm_up=min(many, 20_000)))
    return table


def forests(many: int, java: Java | None, mark: str = "") -> list[Case]:
    """The adaptive variant beside CapyMOA's forests; the large one, and what it is compared with, sees a tenth."""
    tenth, run = many // 10, partial(run_prequential, make=adaptive)
    table = [
        Case(f"driftmoe: prequential{mark}", many, run, f"driftmoe{mark}"),
        Case(f"driftmoe: prequential, a tenth{mark}", tenth, run),
        Case(f"{ASLEEP}{mark}", many, partial(run_prequential, make=partial(adaptive, min_awake=2))),
    ]
    for learner, n in (("ARF-10", many), ("ARF-100", tenth)) if java is not None else ():
        run = partial(run_java, java=java, learner=learner)
        table.append(Case(f"CapyMOA: {learner}{mark}", n, run, n_warm_up=min(n, 20_000)))
    return table


ASLEEP = "driftmoe(min_awake=2): prequential"
"""Name of the case in which trees that the gate does not need sleep."""

SECOND = ", second"
"""Mark of the cases on the second stream."""
