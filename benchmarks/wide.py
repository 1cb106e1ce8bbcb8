"""Peers on many streams: default settings, the first 10,000 samples of 32 streams, three seeds.

    python -m benchmarks.wide --data-dir data        # the runs that are missing; then the tables
    python -m benchmarks.wide --report               # no runs: the tables of the lines in --lines

21 streams are synthetic, eight are real, and three are real with a drift put in after half of the samples. `moa-*` need
the extra `capymoa` and Java, `vw` its extra; `--models` runs some of them. Ensembles of MOA have ten members. `markov`
predicts from labels alone: it is no peer, but what kappa-O is measured against.

Each run writes one file in `--out`, and a run that has a file is not repeated: the command can be stopped and given
again. Its lines are collected in `--lines`, of which `driftmoe report FILE` makes a page with all figures and tests.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.collected import run_and_collect
from driftmoe.experiment import planned, read_results
from driftmoe.report.statistics import comparison, mean_ranks
from driftmoe.report.summary import summary_parts
from streams.opening import open_stream

STREAMS = (
    "electricity", "elec2", "weather", "covtype", "insects_gradual_balanced", "rialto", "phishing", "led_a", "led_g",
    "sea_a", "sea_g", "rbf_m", "rbf_f", "rbf_imbalanced", "agrawal_a", "agrawal_g", "mixed_a", "recurrent_led",
    "recurrent_rbf", "agrawal", "asset_negotiation", "hyperplane", "mixed", "random_rbf", "random_tree", "sine",
    "stagger", "waveform", "label-swap(electricity, position=5000)", "feature-permutation(covtype, position=5000)",
    "label-swap(weather, position=5000, width=1000)",
)  # fmt: skip

FILES = ("shuttle_drift",)
"""Streams that have no name: files of the data folder."""

OURS = ("driftmoe", "small", "moe-data")
PEERS = (
    "moa-arf", "moa-srp", "moa-levbag", "moa-ht", "moa-efdt", "moa-samknn", "moa-rwknn", "moa-dems", "moa-bole",
    "moa-adacc", "moa-plastic", "moa-last", "vw", "extra-trees",
)  # fmt: skip
BASELINE = "markov"

LIMIT = 10_000
SEEDS = (11, 12, 13)
RESULTS = Path(__file__).parent / "results" / "wide.jsonl"


def main() -> None:
    """Do the runs that are missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=[*STREAMS, *FILES], help="default: all")
    parser.add_argument("--models", nargs="+", default=[*OURS, *PEERS, BASELINE], help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="default: 11 12 13")
    parser.add_argument("--out", type=Path, default=Path("runs/wide"), help="folder of the runs")
    parser.add_argument("--lines", type=Path, default=RESULTS, help="file of the result lines")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="as for `driftmoe evaluate`")
    parser.add_argument("--report", action="store_true", help="do no runs")
    arguments = parser.parse_args()
    n_failed = 0 if arguments.report else run(arguments)
    print(tables_of(read_results(arguments.lines)[0]))
    sys.exit(1 if n_failed else 0)


def run(arguments: argparse.Namespace) -> int:
    """Do the runs that are missing, collect their lines, and return how many failed."""
    open_run = functools.partial(open_stream, data_dir=arguments.data_dir)
    names = [
        str(arguments.data_dir / f"{name}.parquet") if name in FILES else name for name in arguments.streams
    ]
    runs = planned(names, arguments.models, arguments.seeds, open_run, limit=LIMIT)
    runs.sort(key=lambda one: one.seed)
    return run_and_collect(runs, open_run, arguments.out, arguments.lines, n_workers=arguments.workers)


def by_stream(lines: Sequence[Mapping[str, Any]], figure: str) -> pd.DataFrame:
    """Return the mean of a figure over the seeds, in percent: a row for each stream, a column for each model."""
    mean = 100.0 * comparison(lines, figure)[0]
    return mean.rename(index=short)


def short(row: str) -> str:
    """Return the name of a row's stream, without its length and the position of its drift."""
    return re.sub(r", position=.*\)", ")", re.sub(r", [\d,]+$", "", row))


def tables_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables, of 80 columns: streams, those first where the default is behind; models; what tests say."""
    known = {*OURS, *PEERS, BASELINE}
    lines = [line for line in lines if line["model"] in known and line["limit"] == LIMIT]
    accuracy = by_stream(lines, "accuracy").dropna()
    if accuracy.empty or not known <= {*accuracy.columns}:
        return "no stream has runs of all models; do the runs first"
    n_seeds = comparison(lines, "accuracy")[2].rename(index=short).loc[accuracy.index].to_numpy()
    peers = accuracy[list(PEERS)]
    leads = (accuracy["driftmoe"] - peers.max(axis=1)).sort_values(kind="stable")
    kappas = {figure: by_stream(lines, figure)["driftmoe"] for figure in ("kappa_m", "kappa_o", "g_mean")}
    text = [
        f"{'stream':<28}{'ours':>7} {'best peer':<11}{'lead':>7}{'kappa-M':>8}{'kappa-O':>9}{'G-mean':>7}"
    ]
    for stream in leads.index:
        figures = [kappas[figure][stream] for figure in kappas]
        text.append(
            f"{stream:<28}{accuracy['driftmoe'][stream]:>7.2f} {peers.loc[stream].idxmax():<11}{leads[stream]:>+7.2f}"
            f"{figures[0]:>8.1f}{figures[1]:>9.1f}{figures[2]:>7.1f}"
        )
    text += ["", *models_of(accuracy), ""]
    least, most = n_seeds.min(), n_seeds.max()
    text.append(
        f"{len(accuracy)} streams, {least if least == most else f'{least} to {most}'} seeds of each model."
    )
    told = summary_parts(lines, accuracy.drop(columns=BASELINE) / 100.0)
    text += [line for part in told[:-1] for line in textwrap.wrap(str(part), 80, break_on_hyphens=False)]
    return "\n".join(text)


def models_of(accuracy: pd.DataFrame) -> list[str]:
    """Return the table of the models, the one of the best mean rank first."""
    ranks = mean_ranks(accuracy)
    best = accuracy.eq(accuracy.drop(columns=BASELINE).max(axis=1), axis=0).sum()
    behind = accuracy.sub(accuracy["driftmoe"], axis=0)
    text = [f"{'model':<14}{'mean':>8}{'mean rank':>11}{'best on':>9}{'most ahead':>12}{'most behind':>13}"]
    for model in ranks.sort_values(kind="stable").index:
        ahead = f"{behind[model].max():>+12.2f}{behind[model].min():>+13.2f}" if model != "driftmoe" else ""
        text.append(f"{model:<14}{accuracy[model].mean():>8.2f}{ranks[model]:>11.2f}{best[model]:>9}{ahead}")
    return text


if __name__ == "__main__":
    main()
