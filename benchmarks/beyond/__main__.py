"""What other gates, or fewer trees, would make of the default's votes: local competence, contrast, oracles, surgery.

    python -m benchmarks.beyond.votes --out runs/votes                # the default, once for each stream and seed
    python -m benchmarks.beyond --votes runs/votes             # the records that have no line yet; then the tables
    python -m benchmarks.beyond.altered --limit 20000                 # altered models
    python -m benchmarks.beyond --report                       # the tables alone, of the lines that are kept

Each idea answers for the recorded votes of the default. No vote changes: experts, gate and memories go on as they did
in the run. A line of `--lines` holds what each setting adds to the default's accuracy on a stream, in points. The
tables also say what a stream gains from the setting that the other streams choose. `benchmarks.beyond.altered` lets
models really run where a record cannot tell.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.beyond import pool_kernels
from benchmarks.beyond.kernels import (
    EQUAL,
    LOWEST,
    competence,
    contrasted,
    eliminated,
    remembered,
    reweighted,
    reweighted_by_learnt,
    successes,
    united,
    within_budget,
)
from benchmarks.beyond.pool_kernels import with_fewer_trees
from benchmarks.beyond.report import tables_of
from benchmarks.beyond.votes import ARRAYS, SEEDS, STREAMS, Votes, folder_of, read
from driftmoe.experts.nearest import EPISODE
from driftmoe.experts.neighbours import N_EPISODES

NEAREST = (7, 15, 31)
MEMORY = 4096
FAITHS = {"right": (2.0, 4.0, 8.0, 16.0), "likelihood": (1.0, 2.0, 4.0, 8.0), "gradient": (8.0, 32.0, 128.0)}
"""What is remembered of a sample -> factors of its mean."""

RATE = 0.1
"""Step size of a faith that is learnt, from 0."""

WEAK = {"lowest": LOWEST, "equal": EQUAL, "rank 2": 2, "rank 4": 4}
BETAS, ALPHA = (0.1, 0.25, 0.5, 1.0), 0.1
BUDGETS = (1, 2, 3)
KEPT = (2, 4, 8)
RULES = ("usage", "loss", "redundant", "merged", "owners", "first")

RESULTS = Path(__file__).parents[1] / "results" / "ablation"
LINES, ALTERED = RESULTS / "beyond.jsonl", RESULTS / "altered.jsonl"

Found = Iterator[tuple[str, np.ndarray]]


class Clock:
    """Processor time by kind of work, in µs a sample."""

    def __init__(self, n_samples: int) -> None:
        self.us: dict[str, float] = {}
        self._n = n_samples

    def __call__(self, name: str, call: Callable[..., Any], *arguments: Any) -> None:
        """Call a kernel, and note what it took. If it was called before under the name, the least time counts."""
        start = time.process_time()
        call(*arguments)
        us = 1e6 * (time.process_time() - start) / self._n
        self.us[name] = min(us, self.us.get(name, np.inf))


def by_local_competence(record: Votes, clock: Clock) -> Found:
    """Give the answers with the competence on the nearest remembered samples in the gate, and those of KNORA."""
    votes, weights, targets = record.votes, record.weights, record.targets
    n = len(targets)
    near = np.empty((n, max(NEAREST)), np.int32)
    episodes = np.zeros(N_EPISODES, EPISODE)
    clock("search", remembered, record.inputs, episodes, MEMORY // N_EPISODES, near)
    success = {name: np.empty(weights.shape, np.float32) for name in FAITHS}
    clock("successes", successes, votes, weights, targets, *success.values())
    local = np.empty(weights.shape, np.float32)
    for what, faiths in FAITHS.items():
        for k in NEAREST:
            clock(f"competence k={k}", competence, near, success[what], k, local)
            answers = np.empty((len(faiths), n), np.int64)
            reweighted(votes, weights, local, np.array(faiths), answers)
            for faith, of_faith in zip(faiths, answers, strict=True):
                yield f"local: {what}, k={k}, faith {faith:g}", of_faith
            if what != "gradient":
                faith = np.zeros(1)
                clock("gate", reweighted_by_learnt, votes, weights, local, targets, RATE, answers[0], faith)
                yield f"local: {what}, k={k}, faith learnt", answers[0]
    answers = np.empty((1, n), np.int64)
    for k in NEAREST:
        clock("knora", eliminated, votes, weights, near, success["right"], k, answers[0])
        yield f"knora: eliminate, k={k}", answers[0]
        for name, by_gate in (("union", False), ("union and gate", True)):
            united(votes, weights, near, success["right"], k, by_gate, answers[0])
            yield f"knora: {name}, k={k}", answers[0]


def by_contrast(record: Votes, clock: Clock) -> Found:
    """Give the answers that contrast the mixture with a weak vote."""
    answers = np.empty((len(BETAS), len(record.targets)), np.int64)
    for name, weak in WEAK.items():
        clock("contrast", contrasted, record.votes, record.weights, weak, np.array(BETAS), ALPHA, answers)
        for beta, of_beta in zip(BETAS, answers, strict=True):
            yield f"contrast: {name}, beta {beta:g}", of_beta


def within_budgets(record: Votes, clock: Clock) -> Found:
    """Give the answers of a few experts, which an oracle picks or the gate."""
    answers = np.empty(len(record.targets), np.int64)
    for k in BUDGETS:
        for name, by_loss in (("oracle", True), ("gate", False)):
            arguments = record.votes, record.weights, record.targets, k, by_loss, answers
            clock("budget", within_budget, *arguments)
            yield f"budget: {name}, k={k}", answers


def with_surgery(record: Votes, clock: Clock) -> Found:
    """Give the answers with fewer trees beside the other experts, and of trees alone."""
    n_trees, answers = record.n_trees, np.empty(len(record.targets), np.int64)
    of_trees = [np.ascontiguousarray(part[:, :n_trees]) for part in (record.votes, record.weights)]
    parts = {"surgery": [record.votes, record.weights], "trees alone": of_trees}
    for name, (votes, weights) in parts.items():
        for n_kept in KEPT:
            for rule in RULES:
                number = getattr(pool_kernels, rule.upper())
                clock(
                    "surgery",
                    with_fewer_trees,
                    votes,
                    weights,
                    record.targets,
                    n_trees,
                    n_kept,
                    number,
                    answers,
                )
                yield f"{name}: {rule}, keep {n_kept}", answers
    with_fewer_trees(*parts["trees alone"], record.targets, n_trees, n_trees, 0, answers)
    yield "trees alone: all", answers


def evaluated(record: Votes) -> dict[str, Any]:
    """Return what each setting adds to the default's accuracy, in points, and the processor time of kernels, in µs."""
    record = record._replace(**{name: np.ascontiguousarray(getattr(record, name)) for name in ARRAYS})
    n = len(record.targets)
    answers, clock = np.empty((1, n), np.int64), Clock(n)
    reweighted(record.votes, record.weights, np.zeros_like(record.weights), np.zeros(1), answers)
    accuracy = np.mean(answers[0] == record.targets)
    gains = {}
    for family in (by_local_competence, by_contrast, within_budgets, with_surgery):
        for name, of_setting in family(record, clock):
            gains[name] = round(100.0 * (np.mean(of_setting == record.targets) - accuracy), 3)
    us = {name: round(value, 2) for name, value in clock.us.items()}
    return {"n_samples": n, "accuracy": round(record.accuracy, 6), "us": us, "gains": gains}


def evaluate(folder: Path, out: Path) -> None:
    """Add a line for each record of a folder that has none."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {(line["stream"], line["seed"]) for line in read_lines(out)}
    is_warm = False
    with out.open("a") as lines:
        for seed in SEEDS:
            for stream in STREAMS:
                if (stream, seed) not in done and (folder_of(folder, stream, seed) / "figures.json").exists():
                    record = read(folder_of(folder, stream, seed))
                    if not is_warm:  # compiling is no part of the times
                        evaluated(record._replace(**{name: getattr(record, name)[:200] for name in ARRAYS}))
                        is_warm = True
                    line = {"stream": stream, "seed": seed} | evaluated(record)
                    print(json.dumps(line), file=lines, flush=True)


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, none if there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Evaluate the records that have no line yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--votes", type=Path, default=Path("runs/votes"), help="folder of the records")
    parser.add_argument("--lines", type=Path, default=LINES, help="file of the lines")
    parser.add_argument("--altered", type=Path, default=ALTERED, help="lines of real runs")
    parser.add_argument("--report", action="store_true", help="evaluate nothing")
    arguments = parser.parse_args()
    if not arguments.report:
        evaluate(arguments.votes, arguments.lines)
    print(tables_of(read_lines(arguments.lines), read_lines(arguments.altered)))


if __name__ == "__main__":
    main()
