"""The grid of the DriftMoE paper: its streams and methods, with any number of seeds and at any length.

    python -m benchmarks.paper --scale 0.1 --seeds 3
    python -m benchmarks.paper --scale 0.1 --seeds 3 --models moa-arf moa-srp --streams led_a sea_a
    python -m benchmarks.paper --report      no runs: the results in --out, beside the paper's figures
    python -m benchmarks.paper --report --lines benchmarks/results/paper.jsonl      the same, added to the kept lines

Each run writes one file, and a run that has a file is not repeated. The command can therefore be stopped and given
again, also with more models, streams or seeds. Cheap runs come first, and all streams with the first seed come
before the second seed. `moa-...` models need the extra `capymoa` and Java, the report needs the extra `report`.

The length of a stream is the paper's times `--scale`, but at most its own. A real stream loses its end. A synthetic
one keeps its concepts, which become shorter. `elec2` is the paper's ELEC, with date and day; `electricity` is the
same without them. The paper's AIRL is left out if it is not in the data folder and cannot be fetched. Seeds 1 to 3
are for choosing parameters, so published figures begin with another seed.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import streams
from benchmarks.ablation import GATE
from benchmarks.collected import collect
from driftmoe import report
from driftmoe.cli.board import show_grid
from driftmoe.experiment import JobFolder, planned, read_failures, read_results, run_grid
from streams.opening import open_stream

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
GATES = Path(__file__).parent / "results" / "ablation" / "gate.jsonl"
SPEEDS = Path(__file__).parent / "results" / "speed.jsonl"
PUBLISHED = Path(__file__).parent / "paper_accuracy.csv"
"""The paper's table of accuracies in %: 1 000 000 samples or the whole real set, ensembles of 100 learners."""

PEERS = Path(__file__).parent / "peers.csv"
"""Of MOA's strongest learners on the same samples (seed 11; learners have seed 1), by CapyMOA's own loop."""

STRONGEST = {
    "moa-arf(ensemble_size=100)": "arf100",
    "moa-srp(ensemble_size=100)": "srp100",
    "moa-levbag(ensemble_size=100)": "levbag100",
    "moa-sgbt": "sgbt",
    "moa-samknn": "samknn",
}
"""Our name of a learner -> that in `PEERS`."""

USELESS = ("led_a", "led_g")
"""Streams on which neighbours are of no use."""

SPEED = {
    "driftmoe, evaluator / CapyMOA's ARF-10": ("led_a", "ARF-10"),
    "driftmoe, evaluator / CapyMOA's ARF-100": ("led_a", "ARF-100"),
    "the same, second stream / ARF-10": ("rbf_f", "ARF-10"),
    "the same / ARF-100": ("rbf_f", "ARF-100"),
}
"""Goal of `benchmarks.speed` -> its stream, and whose speed ours is divided by."""

_Lines = Mapping[tuple[str, int], Mapping[str, Any]]
"""Result lines by stream and seed."""

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
        help="collect the results in --out into --lines, their table beside it, and write their report to --out",
    )  # fmt: skip
    parser.add_argument(
        "--lines", type=Path, metavar="FILE",
        help="file to collect into; lines that are there stay unless their run is found anew. Default: "
        "paper.jsonl in --out",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.report:
        try:
            write_report(arguments.out, arguments.lines or arguments.out / RESULTS.name)
        except (ValueError, ImportError) as error:
            parser.error(str(error))
        return
    open_run = functools.partial(open_stream, data_dir=arguments.data_dir)
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
    folder = JobFolder(arguments.out)
    events = run_grid(runs, open_run, folder, executor="processes", n_workers=arguments.workers)
    n_failed = show_grid(runs, events, arguments.out)
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
    """Add the result lines of a folder to one file, with their table beside it, and write a page for each length.

    A page compares the lines of the file that are as long as those of the folder.

    Only models with a result on every stream are compared, if there are any; all are in the table beside the paper's.
    """
    found, curves = read_results(folder)
    results = collect(found, collected, order=_place)
    kept = [
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for file in (GATES, SPEEDS)
    ]
    beside = [beside_paper(results)]
    if beside_strongest(results):
        beside[:0] = [goals(results, *kept), against_strongest(results)]
    text = report.markdown(beside, title="The paper's streams and methods", pictures="")
    collected.with_suffix(".md").write_text(text, encoding="utf-8")
    limits = sorted({line["limit"] for line in report.usable(found)[0]}, reverse=True)
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
    """Return the results of the models that have one on every stream, or all results where no model has.

    `electricity` is left out where there is `elec2`, lest the same labels count twice.
    """
    if any(line["stream"] == "elec2" for line in lines):
        lines = [line for line in lines if line["stream"] != "electricity"]
    n_streams = len({line["stream"] for line in lines})
    whole = [
        of_model
        for of_model in report.by_model(lines).values()
        if len({line["stream"] for line in of_model}) == n_streams
    ]
    return [line for of_model in whole for line in of_model] or list(lines)


class Beside(NamedTuple):
    """Accuracies in % on one stream, by seed: ours, each of `STRONGEST`'s; whose are from `PEERS`."""

    stream: str
    n_samples: int
    ours: dict[int, float]
    theirs: list[dict[int, float]]
    is_past: list[bool]
    nochange: float


def beside_strongest(results: Sequence[Mapping[str, Any]]) -> list[Beside]:
    """Return ours and MOA's strongest learners on each stream of `PEERS` on which ours has a result with seed 11.

    Where a peer has no result here, its figure is that of `PEERS`.
    """
    lines, _ = report.usable(results)
    with PEERS.open(newline="", encoding="utf-8") as file:
        known = {(row["stream"], row["model"]): row for row in csv.DictReader(file)}
    of_streams = []
    for stream in STREAMS:
        if (stream, "nochange") not in known:
            continue
        n = int(known[stream, "nochange"]["n_samples"])
        by_seed: dict[str, dict[int, float]] = {}
        for line in lines:
            is_late = report.lateness(line) or report.counting(line)
            if line["stream"] == stream and line["n_samples"] == n and not is_late:
                by_seed.setdefault(line["model"], {})[line["seed"]] = 100 * line["accuracy"]
        ours = by_seed.get("driftmoe", {})
        if 11 not in ours:
            continue
        theirs, is_past = [], []
        for model, name in STRONGEST.items():
            figures, past = by_seed.get(model, {}), known.get((stream, name))
            is_past.append(not figures and past is not None)
            theirs.append({11: float(past["accuracy"])} if past and not figures else figures)
        of_streams.append(
            Beside(stream, n, ours, theirs, is_past, float(known[stream, "nochange"]["accuracy"]))
        )
    return of_streams


def ahead_of_best(ours: Mapping[int, float], theirs: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return how far we are ahead, seed by seed, of the peer that we are least ahead of; empty without peers.

    Seeds are those that we and that peer have: streams of one seed are alike hard for both.
    """
    leads = [{seed: ours[seed] - of[seed] for seed in sorted(ours) if seed in of} for of in theirs]
    return min((lead for lead in leads if lead), key=lambda lead: _mean(lead), default={})


def means(of_streams: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over streams for each seed that all of them have."""
    shared = set.intersection(*(set(of) for of in of_streams))
    return {seed: float(np.mean([of[seed] for of in of_streams])) for seed in sorted(shared)}


def mean_rank(of_streams: Sequence[Beside]) -> float:
    """Return the mean over streams of our rank, seed by seed against each peer: 1 and who is ahead of us."""
    ranks = []
    for s in of_streams:
        leads = [ahead_of_best(s.ours, [of]) for of in s.theirs]
        ranks.append(1 + sum(_mean(lead) < 0 for lead in leads if lead))
    return float(np.mean(ranks))


def _mean(figures: Mapping[int, float]) -> float:
    return float(np.mean(list(figures.values())))


def _spread(figures: Mapping[int, float], sign: str = "") -> str:
    """Return mean ± standard deviation over seeds as text."""
    values = list(figures.values())
    if not values:
        return report.NOTHING
    return f"{np.mean(values):{sign}.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")


def _seeds(figures: Mapping[int, float]) -> str:
    return ("seed " if len(figures) == 1 else "seeds ") + ", ".join(map(str, figures))


def against_strongest(results: Sequence[Mapping[str, Any]]) -> report.Section:
    """Return the table of ours beside MOA's strongest learners: all streams, lost ones too; at least one."""
    of_streams = beside_strongest(results)
    heading = [
        "stream", "driftmoe", *STRONGEST, "best peer", "driftmoe, its seeds", "ahead of it", "nochange"
    ]  # fmt: skip
    rows: list[list[tuple[str, bool]]] = []
    for stream, n, ours, theirs, is_past, nochange in of_streams:
        ahead = ahead_of_best(ours, theirs)
        is_first = not ahead or _mean(ahead) >= 0
        cells = [(f"{stream}, {n:,}", False), (_spread(ours), is_first)]
        for figures, star in zip(theirs, is_past, strict=True):
            text = _spread(figures) + "*" * star + _missing_seeds(figures, ours)
            cells.append((text, not is_first and ahead_of_best(ours, [figures]) == ahead))
        cells += [(text, False) for text in (*_beside_best(ours, theirs), f"{nochange:.2f}")]
        rows.append(cells)
    ours, theirs = _means_of_all(of_streams)
    last = [f"mean of {len(rows)}", _spread(ours)]
    last += [_spread(figures) + _missing_seeds(figures, ours) for figures in theirs]
    last += [*_beside_best(ours, theirs), ""]
    return report.Section(
        "Beside the strongest",
        [
            "Accuracy in %, mean ± standard deviation over seeds of stream and learner alike, those of driftmoe where "
            "none are named. The best peer is the one that driftmoe is least ahead of, seed by seed; beside it stands "
            "driftmoe on the seeds that this peer has. A star marks figures of `peers.csv`: seed 11 of the stream, "
            "CapyMOA's seed, 1, of the learner, LED's features as numbers. Mean rank of driftmoe over streams, among "
            f"those that have a figure: {mean_rank(of_streams):.2f}.",
            report.Grid(heading, [*rows, [(text, False) for text in last]]),
        ],
    )


def _missing_seeds(figures: Mapping[int, float], ours: Mapping[int, float]) -> str:
    """Name the seeds of a peer where it has others than we have."""
    return f" ({_seeds(figures)})" if figures and set(figures) != set(ours) else ""


def _beside_best(ours: Mapping[int, float], theirs: Sequence[Mapping[int, float]]) -> tuple[str, str, str]:
    """Name the best peer; ours on its seeds; how far ahead of it that is."""
    ahead = ahead_of_best(ours, theirs)
    if not ahead:
        return report.NOTHING, report.NOTHING, report.NOTHING
    best = next(
        name for name, of in zip(STRONGEST, theirs, strict=True) if ahead_of_best(ours, [of]) == ahead
    )
    return best, _spread({seed: ours[seed] for seed in ahead}), _spread(ahead, "+")


def _means_of_all(of_streams: Sequence[Beside]) -> tuple[dict[int, float], list[dict[int, float]]]:
    """Return the means over all streams, by seed, of ours and of each peer; empty for who lacks a stream."""
    by_peer = zip(*(s.theirs for s in of_streams), strict=True)
    return means([s.ours for s in of_streams]), [means(of_peer) for of_peer in by_peer]


def goals(
    results: Sequence[Mapping[str, Any]],
    gates: Sequence[Mapping[str, Any]],
    speed: Sequence[Mapping[str, Any]],
) -> report.Section:
    """Return the table of what the default is to reach on the streams of `PEERS`, and what it does.

    Parameters
    ----------
    results
        Lines of this grid.
    gates
        Lines of the study `gate` of `benchmarks.ablation`.
    speed
        Lines of `benchmarks.speed`, each with a goal and its value, or others.
    """
    rows: list[tuple[str, str, str, str]] = []
    of_streams = beside_strongest(results)
    leads = {s.stream: ahead_of_best(s.ours, s.theirs) for s in of_streams}
    if any(leads.values()):
        lead = ahead_of_best(*_means_of_all(of_streams))
        least = min((name for name in leads if leads[name]), key=lambda name: _mean(leads[name]))
        n_streams = f"{len(of_streams)} streams"
        rows += [
            (
                "mean, ahead of the best peer's mean",
                "2.5",
                _spread(lead, "+"),
                f"{_seeds(lead)}, {n_streams}",
            ),
            ("mean rank", "1", f"{mean_rank(of_streams):.2f}", n_streams),
            (
                f"least ahead of a stream's best peer: {least}",
                "-0.3",
                _spread(leads[least], "+"),
                f"{_seeds(leads[least])}, {n_streams}",
            ),
        ]
    names = [s.stream for s in of_streams]
    of_gates = {
        model: {(line["stream"], line["seed"]): line for line in lines if line["stream"] in names}
        for model, lines in report.by_model(gates).items()
    }
    if names and set(GATE) <= set(of_gates):
        default, learnt, equal, frozen = (of_gates[model] for model in GATE)
        seeds = sorted({seed for _, seed in learnt})

        def ahead(of: _Lines, other: _Lines) -> str:
            leads = [
                {seed: 100 * (of[name, seed]["accuracy"] - other[name, seed]["accuracy"]) for seed in seeds}
                for name in names
            ]
            return _spread(means(leads), "+")

        above = {
            name: np.mean(
                [
                    100 * (default[name, seed]["accuracy"] - default[name, seed]["routing"]["best_single"])
                    for seed in seeds
                ]
            )
            for name in names
        }
        lowest = min(names, key=above.__getitem__)
        saved = 1 - sum(default[of]["cpu_seconds"] for of in default if of[0] in USELESS) / sum(
            learnt[of]["cpu_seconds"] for of in learnt if of[0] in USELESS
        )
        where = f"seeds {seeds[0]} to {seeds[-1]}, {len(names)} streams"
        rows += [
            ("learnt gate, ahead of equal votes", "1.5", ahead(learnt, equal), where),
            ("learnt gate, ahead of a frozen network", "0", ahead(learnt, frozen), where),
            ("asking whom the gate trusts, ahead of asking all", "-0.2", ahead(default, learnt), where),
            (f"processor time saved by it on {' and '.join(USELESS)}", "30 %", f"{100 * saved:.0f} %", where),
            (f"least above its best single expert: {lowest}", "-0.5", f"{above[lowest]:+.2f}", where),
        ]
    values = {line["goal"]: line for line in speed if "goal" in line}
    for goal, (stream, peer) in SPEED.items():
        if goal in values:
            bound = values[goal]["bound"].removeprefix("≥ ")
            rows.append((f"speed on {stream} / {peer}", bound, f"{values[goal]['value']:.1f}", "one thread"))
    heading = ["goal", "at least", "reached", "on"]
    return report.Section(
        "Goals of the default",
        [
            "In points of accuracy, but for ranks and times. From `paper.jsonl`, `peers.csv`, `ablation/gate.jsonl` "
            "and `speed.jsonl`.",
            report.Grid(heading, [[(cell, False) for cell in row] for row in rows]),
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
            "size is named. `electricity` is `elec2` without date and day; means and ranks count `elec2` alone, and "
            "are those of the models with a result on every stream.",
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
