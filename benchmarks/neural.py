"""Routing policies in neural experiments: language model, adapters, digits that drift, and tasks in conflict.

    python -m benchmarks.neural --workers 2 --lines benchmarks/results/neural_experiments.jsonl
    python -m benchmarks.neural --experiments conflict --out runs/conflict --lines benchmarks/results/conflict.jsonl
    python -m benchmarks.neural --experiments lm-small --out runs/apart --lines runs/apart.jsonl
    python -m benchmarks.neural --report --lines benchmarks/results/neural_experiments.jsonl

Each run writes one file in `--out`, and a run that has a file is not repeated. If no run failed, all result lines
of that folder are added to the file of `--lines`, and there are pictures of each experiment in the folder. The notebook
03_neural_moe shows the first file above. `driftmoe report` makes a page of the folder. Setups are those of
`driftmoe.neural.setups`: a policy needs no line there; what needs another router, loss or balancer is a line in
`CONTROLS` or `LOSSES`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.collected import collect
from driftmoe import report
from driftmoe.cli.board import show_grid
from driftmoe.experiment import JobFolder, read_results, run_grid
from driftmoe.neural import open_experiment, planned_training

LINES = "neural_experiments.jsonl"


def rows_of(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of one experiment as rows of Markdown; without speeds, and deviations that are rounded to 0."""
    grid = report.neural_grid(lines)
    is_conflict = any("unexplained_hard" in line for line in lines)
    shown = [i for i, heading in enumerate(grid.heading) if heading != "samples/s"]
    rows = [[grid.heading[i] for i in shown], [":--"] + ["--:"] * (len(shown) - 1)]
    for row in grid.rows:
        texts = [text if is_conflict else re.sub(r" ± [0.]+$", "", text) for text, _ in row]
        rows.append([f"`{texts[0]}`", *(texts[i] for i in shown[1:])])
    return [
        "| " + " | ".join(row) + " |" if i != 1 else "|" + "|".join(row) + "|" for i, row in enumerate(rows)
    ]


def beside(lines: Sequence[Mapping[str, Any]], other: str = "TopK(2)") -> list[str]:
    """Return by how much loss and accuracy (points) of each setup differ from another's, paired by seed."""
    of_seed = {(line["model"], line["seed"]): line for line in lines}
    texts = []
    for setup, group in report.by_model(lines).items():
        pairs = [(line, of_seed[other, line["seed"]]) for line in group if (other, line["seed"]) in of_seed]
        if setup == other or len(pairs) < 2:
            continue
        cells = []
        for name, factor, form in (
            ("loss", 1.0, "{:+.3f} ± {:.3f}"),
            ("accuracy", 100.0, "{:+.2f} ± {:.2f}"),
        ):
            values = [factor * (line[name] - twin[name]) for line, twin in pairs]
            cells.append(f"{name} {form.format(fmean(values), stdev(values))}")
        texts.append(f"{setup} - {other}: {', '.join(cells)}")
    return texts


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", nargs="+", default=["drift", "adapt", "lm"])
    parser.add_argument(
        "--policies", nargs="+", metavar="POLICY", help="setups; default: the experiment's own"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path("runs/neural"), help="folder of the results")
    parser.add_argument(
        "--lines",
        type=Path,
        metavar="FILE",
        help=f"file to add all result lines to. Default: {LINES} in --out",
    )
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--report", action="store_true", help="do no runs: print the tables of the file of --lines"
    )
    arguments = parser.parse_args()
    if arguments.report:
        lines = arguments.lines or arguments.out / LINES
        if not lines.exists():
            parser.error(f"{lines} is missing; name the file that a run wrote, by --lines")
        results, _ = read_results(lines)
        for name in dict.fromkeys(line["stream"] for line in results):
            of_name = [line for line in results if line["stream"] == name]
            print(f"\n{name}\n", *rows_of(of_name), "", *beside(of_name), sep="\n")
        return
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = [
        run for name in arguments.experiments for run in planned_training(name, arguments.policies, seeds)
    ]
    folder = JobFolder(arguments.out)
    events = run_grid(runs, open_experiment, folder, executor="processes", n_workers=arguments.workers)
    n_failed = show_grid(runs, events, arguments.out)
    if n_failed:
        sys.exit(1)
    found, _ = read_results(arguments.out)  # those of other calls, too
    lines = collect(
        found, arguments.lines or arguments.out / LINES, order=lambda line: (line["stream"], line["seed"])
    )
    for name in dict.fromkeys(run.stream for run in runs):
        report.save_neural([line for line in lines if line["stream"] == name], arguments.out, title=name)


if __name__ == "__main__":
    main()
