"""The grid of the DriftMoE paper: its streams and methods, with as many seeds and at such a length as asked for.

    python -m benchmarks.paper --scale 0.1 --seeds 3
    python -m benchmarks.paper --scale 0.1 --seeds 3 --models moa-arf moa-srp --streams led_a sea_a
    python -m benchmarks.paper --report      no runs: what is there, with the paper's figures beside it

A run is one file; one that is there is not done again, so the command can be stopped and given again, also with more
models, streams or seeds. Cheap runs come first, all streams with the first seed before the second seed. `moa-...`
models need the extra `capymoa` and Java, the report the extra `report`.

Streams are as long as the paper's times `--scale`, or as long as they are: a real one loses its end, a synthetic one
keeps its concepts, which are shorter. `elec2` is the paper's ELEC, with date and day; `electricity` is the same
without. The paper's AIRL is left out where it is neither in the data folder nor can be fetched. Seeds 1 to 3 are for
choosing parameters, so that published figures begin with another one.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import streams
from driftmoe import report
from driftmoe.cli import carry_out, planned
from driftmoe.experiment import read_failures, read_results
from driftmoe.streams_cli import FileOptions, open_stream

N_SAMPLES = 1_000_000
"""Samples of the paper's synthetic streams, and the most that is taken of a real one."""

STREAMS = (
    "electricity", "elec2", "rbf_f", "led_a", "sea_a", "rbf_m", "led_g", "sea_g", "covtype", "airlines",
)  # fmt: skip

OURS = ("driftmoe", "moe-data", "moe-task")
RIVER = ("arf", "srp", "levbag")
CAPYMOA = ("moa-arf", "moa-srp", "moa-levbag")
LARGE = tuple(f"{name}(ensemble_size=100)" for name in CAPYMOA)
MODELS = (*OURS, *CAPYMOA, *RIVER, *LARGE)

RESULTS = Path(__file__).parent / "results" / "paper.jsonl"
PUBLISHED = Path(__file__).parent / "paper_accuracy.csv"
"""The paper's table of accuracies in %: 1 000 000 samples or the whole real set, ensembles of 100 learners."""

PEERS = Path(__file__).parent / "peers.csv"
"""Of MOA's strongest learners on the same samples, with seed 11 of stream and learner, by CapyMOA's own loop."""

STRONGEST = {
    "moa-arf(ensemble_size=100)": "arf100",
    "moa-srp(ensemble_size=100)": "srp100",
    "moa-levbag(ensemble_size=100)": "levbag100",
    "moa-sgbt": "sgbt",
    "moa-samknn": "samknn",
}
"""Our name of a learner -> that in `PEERS`."""

NAMES = {"airlines": "AIRL", "elec2": "ELEC", "covtype": "COVT"} | {
    f"{kind}_{drift}": f"{kind.upper()}_{drift}"
    for kind, drift in [("led", "a"), ("led", "g"), ("sea", "a"), ("sea", "g"), ("rbf", "f"), ("rbf", "m")]
}
"""Our name of a stream -> the paper's."""

METHODS = {
    "": ("driftmoe",),
    "MoE-Data": ("moe-data",),
    "MoE-Task": ("moe-task",),
    "ARF": ("arf", "moa-arf", "moa-arf(ensemble_size=100)"),
    "SRP": ("srp", "moa-srp", "moa-srp(ensemble_size=100)"),
    "LevBag": ("levbag", "moa-levbag", "moa-levbag(ensemble_size=100)"),
}
"""The paper's name of a method -> ours; what it has not stands under no name."""


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="length, as a share of the paper's")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--streams", nargs="+", default=STREAMS)
    parser.add_argument(
        "--river-limit", type=int, metavar="N",
        help=f"let {', '.join(RIVER)} run on N samples only, and driftmoe once more beside them",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of the results")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    parser.add_argument(
        "--report", action="store_true",
        help="collect the results in --out into benchmarks/results/paper.jsonl and write their report to --out",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.report:
        write_report(arguments.out, RESULTS)
        return
    open_run = functools.partial(open_stream, options=FileOptions(), data_dir=arguments.data_dir)
    limit, river_limit = round(arguments.scale * N_SAMPLES), arguments.river_limit
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    names = [name for name in arguments.streams if is_there(name, arguments.data_dir)]
    if river_limit is None:
        runs = planned(names, arguments.models, seeds, open_run, limit=limit)
    else:
        full = [model for model in arguments.models if model not in RIVER]
        short = [model for model in arguments.models if model in (*RIVER, "driftmoe")]
        runs = planned(names, full, seeds, open_run, limit=limit)
        runs += planned(names, short, seeds, open_run, limit=river_limit)
    runs.sort(key=lambda run: (run.model in LARGE, run.seed))  # stable: streams and models as they were given
    n_failed = carry_out(runs, open_run, arguments.out, executor="processes", n_workers=arguments.workers)
    sys.exit(1 if n_failed else 0)


def is_there(name: str, data_dir: Path | None) -> bool:
    """Tell whether a stream can be had, and say so where it cannot."""
    try:
        streams.make(name, data_dir=data_dir)
    except FileNotFoundError as error:
        print(f"left out: {str(error).splitlines()[0]}", file=sys.stderr)
        return False
    return True


def write_report(folder: Path, collected: Path) -> None:
    """Collect the result lines of a folder into one file, their table beside it, and write a page for each length.

    Only models with a result on every stream are compared, if there are any; all are in the table beside the paper's.
    """
    results, curves = read_results(folder)
    results.sort(key=_place)
    collected.write_text(
        "".join(json.dumps(line, allow_nan=False) + "\n" for line in results), encoding="utf-8"
    )
    beside = [against_strongest(results), beside_paper(results)]
    text = report.markdown(beside, title="The paper's streams and methods", pictures="")
    collected.with_suffix(".md").write_text(text, encoding="utf-8")
    limits = sorted({line["limit"] for line in results}, reverse=True)
    for limit in limits:
        lines = [line for line in results if line["limit"] == limit]
        parts = report.sections(comparable(lines), curves, read_failures(folder))
        if limit == limits[0]:
            parts[:0] = beside
        written = report.write(
            parts, folder / f"{limit}", title=f"The paper's streams, up to {limit:,} samples"
        )
        print("Report:", *written)


def comparable(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the results of the models that have one on every stream, or all results where no model has."""
    n_streams = len({line["stream"] for line in lines})
    whole = [
        of_model
        for of_model in report.by_model(lines).values()
        if len({line["stream"] for line in of_model}) == n_streams
    ]
    return [line for of_model in whole for line in of_model] or list(lines)


def against_strongest(results: Sequence[Mapping[str, Any]]) -> report.Section:
    """Return the table of ours beside MOA's strongest learners, where `PEERS` has them: all streams, lost ones too.

    A peer's figure is that of its own result here for seed 11, where there is one; else, marked with a star, that of
    `PEERS`.
    """
    lines, _ = report.usable(results)
    with PEERS.open(newline="", encoding="utf-8") as file:
        known = {(row["stream"], row["model"]): row for row in csv.DictReader(file)}
    rows: list[list[tuple[str, bool]]] = []
    ours_11, theirs, ranks = [], [], []
    for stream in STREAMS:
        if (stream, "nochange") not in known:
            continue
        n = int(known[stream, "nochange"]["n_samples"])
        here = [line for line in lines if line["stream"] == stream and line["n_samples"] == n]
        ours = {line["seed"]: 100 * line["accuracy"] for line in here if line["model"] == "driftmoe"}
        if 11 not in ours:
            continue
        figures, cells = [], []
        for model, name in STRONGEST.items():
            own = [100 * line["accuracy"] for line in here if line["model"] == model and line["seed"] == 11]
            past = known.get((stream, name))
            figures.append(own[0] if own else float(past["accuracy"]) if past else math.nan)
            star = "" if own or not past else "\\*"
            cells.append(report.NOTHING if math.isnan(figures[-1]) else f"{figures[-1]:.2f}{star}")
        best = np.nanmax(figures)
        spread = f" ± {np.std(list(ours.values()), ddof=1):.2f}" if len(ours) > 1 else ""
        shown = [
            f"{stream}, {n:,}", f"{np.mean(list(ours.values())):.2f}{spread}", f"{ours[11]:.2f}", *cells,
            f"{ours[11] - best:+.2f}", f"{float(known[stream, 'nochange']['accuracy']):.2f}",
        ]  # fmt: skip
        bold = [False] * 3 + [figure == best > ours[11] for figure in figures] + [False] * 2
        bold[2] = ours[11] >= best
        rows.append(list(zip(shown, bold, strict=True)))
        ours_11.append(ours[11])
        theirs.append(figures)
        ranks.append(1 + sum(figure > ours[11] for figure in figures))
    heading = [
        "stream",
        "driftmoe, all seeds",
        "driftmoe, seed 11",
        *STRONGEST,
        "ahead of the best",
        "nochange",
    ]
    if not rows:
        return report.Section(
            "Beside the strongest", ["No result of driftmoe with seed 11 on these streams."]
        )
    means = np.mean(theirs, axis=0)  # NaN for who lacks a stream
    last = [f"mean of {len(rows)}", "", f"{np.mean(ours_11):.2f}"]
    last += [report.NOTHING if math.isnan(mean) else f"{mean:.2f}" for mean in means]
    rows.append([(text, False) for text in (*last, f"{np.mean(ours_11) - np.nanmax(means):+.2f}", "")])
    return report.Section(
        "Beside the strongest",
        [
            "Accuracy in %. Peers have seed 11 for stream and learner; a star marks figures of `peers.csv`, measured "
            f"on the same samples before. Mean rank of driftmoe, seed 11, among the six: {np.mean(ranks):.2f}.",
            report.Grid(heading, rows),
        ],
    )


def beside_paper(results: Sequence[Mapping[str, Any]]) -> report.Section:
    """Return the table of our accuracies with those that the paper printed."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        published = {line["stream"]: line for line in csv.DictReader(file)}
    lines, _ = report.usable(sorted(results, key=_place))
    columns = [
        (method, [model for model in models if any(line["model"] == model for line in lines)])
        for method, models in METHODS.items()
    ]
    rows: list[list[tuple[str, bool]]] = []
    for limit in dict.fromkeys(line["limit"] for line in lines):  # means are of one length
        of_limit = [line for line in lines if line["limit"] == limit]
        grid, whole = (report.comparison_grid(of, "accuracy") for of in (of_limit, comparable(of_limit)))
        shown = [(grid.heading, cells) for cells in grid.rows if not cells[0][0].startswith("mean ")]
        shown += [(whole.heading, cells) for cells in whole.rows if cells[0][0].startswith("mean ")]
        for heading, cells in shown:
            ours = dict(zip(heading, cells, strict=True))
            stream = NAMES.get(cells[0][0].split(",")[0], "")
            row = [cells[0]]
            for method, models in columns:
                row += [ours.get(model, (report.NOTHING, False)) for model in models]
                if method:
                    row.append((published[stream][method] if stream in published else report.NOTHING, False))
            rows.append(row)
    heading = ["stream"]
    for method, models in columns:
        heading += [*models, f"{method}, paper"] if method else models
    done = {(line["model"], line["stream"]) for line in lines}
    had = [stream for stream in STREAMS if any(stream == of for _, of in done)]
    missing = [f"{', '.join(s for s in STREAMS if s not in had) or 'no stream'} (any model)"]
    for model in MODELS:
        absent = [stream for stream in had if (model, stream) not in done]
        if absent:
            missing.append(f"{model} ({'all' if absent == had else ', '.join(absent)})")
    return report.Section(
        "Accuracy beside the paper's",
        [
            "In %, mean ± standard deviation over seeds; the number behind a stream's name is its length here. The "
            "paper's synthetic streams have 1,000,000 samples and its ensembles 100 learners; ours have 10 where no "
            "size is named. `electricity` is `elec2` without date and day; means and ranks count both, and are "
            "those of the models with a result on every stream.",
            report.Grid(heading, rows),
            f"No result of: {'; '.join(missing)}.",
        ],
    )


def _place(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return where a result stands: long runs first, streams and models in their order here."""
    order = [STREAMS.index(line["stream"]) if line["stream"] in STREAMS else len(STREAMS)]
    order.append(MODELS.index(line["model"]) if line["model"] in MODELS else len(MODELS))
    return -line["limit"], *order, line["model"], line["seed"]


if __name__ == "__main__":
    main()
