"""Late labels: the default, its gate before and without, `moe-data` and river's ARF on twelve streams, three delays.

    python -m benchmarks.late --data-dir data        # the runs that are missing; then the table
    python -m benchmarks.late --report               # no runs: the table of the lines in --lines

Labels come 50, 500 and 5,000 samples after theirs. Each run has 20,000 samples, of which those do not count that are
predicted before the first label has come. `before` is the default that keeps nothing of a sample until its label comes
(`max_waiting=0`), and `equal` gives the same experts equal votes. River's ARF has ten trees.

Each run writes one file in `--out`, and a run that has a file is not repeated: the command can be stopped and given
again. Its lines are collected in `--lines`.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.collected import run_and_collect
from driftmoe.experiment import planned, read_results
from streams.opening import open_stream

STREAMS = (
    "electricity", "weather", "covtype", "insects_gradual_balanced", "rialto", "led_a", "sea_g", "rbf_m", "rbf_f",
    "agrawal_a", "mixed_a", "recurrent_rbf",
)  # fmt: skip

MODELS = {
    "driftmoe": "default",
    "driftmoe(max_waiting=0)": "before",
    "driftmoe(gate='equal')": "equal",
    "moe-data": "moe-data",
    "arf": "arf",
}
"""Model -> its name in the table."""

WIDTHS = {name: max(8, 1 + len(name)) for name in MODELS.values()}
"""Name in the table -> width of its column."""

PEERS = ("equal", "moe-data", "arf")
"""What the default is compared with."""

DELAYS = (50, 500, 5000)
LIMIT = 20_000
GOAL, LEAD = -0.5, 3.0
"""Points that the default may be below the best peer anywhere, and should be above ARF in the mean."""

RESULTS = Path(__file__).parent / "results" / "late.jsonl"

Table = dict[tuple[str, int], dict[str, float]]


def main() -> None:
    """Do the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=STREAMS, help="default: all twelve")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="default: all five")
    parser.add_argument("--delays", nargs="+", type=int, default=DELAYS, help="default: 50 500 5000")
    parser.add_argument("--seeds", nargs="+", type=int, default=(11, 12, 13), help="default: 11 12 13")
    parser.add_argument("--out", type=Path, default=Path("runs/late"), help="folder of the runs")
    parser.add_argument("--lines", type=Path, default=RESULTS, help="file of the result lines")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    parser.add_argument("--report", action="store_true", help="do no runs")
    arguments = parser.parse_args()
    n_failed = 0
    if not arguments.report:
        n_failed = run(arguments)
    lines = read_results(arguments.lines)[0]
    print(table_of(lines))
    sys.exit(1 if n_failed else 0)


def run(arguments: argparse.Namespace) -> int:
    """Do the runs that are missing, collect their lines, and return how many failed."""
    open_run = functools.partial(open_stream, data_dir=arguments.data_dir)
    runs = [
        run
        for delay in arguments.delays
        for run in planned(
            arguments.streams, arguments.models, arguments.seeds, open_run, limit=LIMIT, delay=str(delay)
        )
    ]
    runs.sort(key=lambda one: one.seed)
    return run_and_collect(runs, open_run, arguments.out, arguments.lines, n_workers=arguments.workers)


def accuracies(lines: Sequence[Mapping[str, Any]]) -> Table:
    """Return the mean accuracy over the seeds, in percent, of each model on each stream and delay."""
    found: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        stream, delay = Path(str(line["stream"])).stem, int(line["delay"])
        if line["model"] in MODELS:
            found[stream, delay][MODELS[line["model"]]].append(100.0 * line["accuracy"])
    return {key: {name: fmean(of) for name, of in by_name.items()} for key, by_name in found.items()}


def table_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: a line for each stream and delay, those first where the default is behind."""
    table = {key: row for key, row in accuracies(lines).items() if set(MODELS.values()) <= row.keys()}
    if not table:
        return "no stream has runs of all models; do the runs first"
    text = [
        f"{'stream':<25}{'delay':>5}" + "".join(f"{name:>{w}}" for name, w in WIDTHS.items()) + f"{'lead':>7}"
    ]
    leads = {key: row["default"] - max(row[peer] for peer in PEERS) for key, row in table.items()}
    for key in sorted(table, key=leads.__getitem__):
        figures = "".join(f"{table[key][name]:>{w}.2f}" for name, w in WIDTHS.items())
        text.append(f"{key[0]:<25}{key[1]:>5}{figures}{leads[key]:>+7.2f}")
    for delay in sorted({delay for _, delay in table}):
        rows = [row for (_, of), row in table.items() if of == delay]
        means = {name: fmean(row[name] for row in rows) for name in MODELS.values()}
        text.append(
            f"{f'mean of {len(rows)} streams':<25}{delay:>5}"
            + "".join(f"{means[name]:>{w}.2f}" for name, w in WIDTHS.items())
        )
    n_behind = sum(lead < GOAL for lead in leads.values())
    ahead = fmean(row["default"] - row["arf"] for row in table.values())
    text += [
        f"more than {-GOAL} below the best of {', '.join(PEERS)}: {n_behind} of {len(leads)} (goal: 0)",
        f"above ARF in the mean: {ahead:+.2f} points (goal: {LEAD:+.1f})",
    ]
    return "\n".join(text)


if __name__ == "__main__":
    main()
