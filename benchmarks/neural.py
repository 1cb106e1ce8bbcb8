"""Policies of routing in neural experiments: language model, adapters, and digits that drift.

    python -m benchmarks.neural --workers 2

A run is one file in `--out`; one that is there is not done again. When none has failed all result lines of that folder
are written to `--lines`, which the notebook 03_neural_moe shows. `driftmoe report` makes a page of the folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from driftmoe import report
from driftmoe.cli import carry_out, planned_training
from driftmoe.experiment import read_results
from driftmoe.neural import open_experiment

LINES = Path(__file__).parent / "results" / "neural_experiments.jsonl"


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", nargs="+", default=["drift", "adapt", "lm"])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path("runs/neural"), help="folder of the results")
    parser.add_argument("--lines", type=Path, default=LINES, help="file to write all result lines to")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = [run for name in arguments.experiments for run in planned_training(name, None, seeds)]
    n_failed = carry_out(
        runs, open_experiment, arguments.out, executor="processes", n_workers=arguments.workers
    )
    if n_failed:
        sys.exit(1)
    lines, _ = report.usable(read_results(arguments.out)[0])  # those of other calls, too
    lines.sort(key=lambda line: (line["stream"], line["seed"]))
    arguments.lines.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
