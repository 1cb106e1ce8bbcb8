"""Rare classes: class weights beside plain models and MOA's learners for imbalanced streams, by G-mean.

    python -m benchmarks.rare --data-dir DATA
    python -m benchmarks.rare --report

Six streams of 20,000 samples, three seeds. Each measurement is one line of the file, and is not repeated if it is
there: the command can be stopped and given again. `--report` measures nothing.

`rbf_imbalanced` has 5 % of class 1. `kdd99_http` is every 28th connection of that file (0.39 % attacks, in bursts),
from another one with each seed. `agrawal_prior` draws class 1 of `agrawal_a` with 1 %, and with 10 % in its second
half. `sea_rare` is `sea_a` with one sample in 21 of class 1. `electricity_rare` has 2 % of class 1. `covtype` is every
29th row of that file: seven classes, the rarest with 0.5 %. DATA holds `kdd99_http.parquet`, electricity and covtype.

`moa-*` need the extra `capymoa` and Java. Parameters of ours were chosen on other streams, with seeds 1 and 2.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

import streams
from driftmoe import models
from driftmoe.evaluation import prequential
from streams.files import open_file
from streams.opening import open_stream
from streams.stream import Block, Reader, Stream
from streams.wrappers import ClassImbalance, PriorShift, Take, Wrapper
from streams.wrapping import rejoined

STREAMS = ("rbf_imbalanced", "kdd99_http", "agrawal_prior", "sea_rare", "electricity_rare", "covtype")

OURS = (
    "driftmoe", 'driftmoe(class_weight="balanced")', "small", 'small(class_weight="balanced")',
)  # fmt: skip

PEERS = ("moa-rusboost", "moa-adac2", "moa-underover", "moa-csmote")

SHORT = dict(
    zip((*OURS, *PEERS), ("ours", "ours+w", "small", "small+w", "rus", "adac2", "uob", "csm"), strict=True)
)
"""Names of models in the head of the table."""

LEGEND = """+w: with balanced class weights.
rus, adac2, uob, csm: MOA's OnlineRUSBoost, OnlineAdaC2, OnlineUnderOverBagging
and CSMOTE."""

RESULTS = Path(__file__).parent / "results" / "rare.jsonl"

SEEDS = (11, 12, 13)
LIMIT = 20_000

FEW: dict[Hashable, float] = {0: 0.99, 1: 0.01}
MORE: dict[Hashable, float] = {0: 0.9, 1: 0.1}
ONE_IN_21: dict[Hashable, float] = {0: 20 / 21, 1: 1 / 21}
TWO_PERCENT: dict[Hashable, float] = {0: 0.98, 1: 0.02}

READ = 1 << 14
"""Rows of a file that are read at a time."""


class Every(Wrapper):
    """Every n-th sample of a stream, so that a part of a long file has its classes and its order.

    Parameters
    ----------
    stream
        Any stream.
    n, first
        Samples whose index is `first` modulo `n` stay.
    """

    def __init__(self, stream: Stream, n: int, first: int) -> None:
        super().__init__(stream, n_samples=None)
        self._n, self._first = n, first % n

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        read, start = self.stream.reader(), 0

        def kept() -> Block | None:
            nonlocal start
            X, y = read(READ)
            stays = np.arange(start, start + len(y)) % self._n == self._first
            start += len(y)
            return Block(X[stays], y[stays]) if len(y) else None

        return rejoined(kept, self.n_features)


def stream_of(name: str, seed: int, limit: int, data_dir: Path) -> Stream:
    """Return one of `STREAMS`."""
    if name == "rbf_imbalanced":
        return streams.make(name, seed=seed, n_samples=limit)
    if name == "kdd99_http":
        found: Stream = Every(open_file(data_dir / "kdd99_http.parquet", classes=[0, 1]), 28, seed)
    elif name == "covtype":
        found = Every(open_stream(name, data_dir=data_dir), 29, seed)
    elif name == "agrawal_prior":
        beneath = streams.make("agrawal_a", seed=seed, n_samples=3 * limit)
        found = PriorShift(beneath, FEW, MORE, position=limit // 2, width=limit // 20, seed=seed)
    elif name == "sea_rare":
        found = ClassImbalance(streams.make("sea_a", seed=seed, n_samples=4 * limit), ONE_IN_21, seed=seed)
    else:
        whole = open_stream("electricity", data_dir=data_dir)
        found = ClassImbalance(whole, TWO_PERCENT, seed=seed)
    return Take(found, limit)


def measured(model: str, stream: str, seed: int, limit: int, data_dir: Path) -> dict[str, Any]:
    """Return the figures of a model on a stream, each sample predicted before it is learnt."""
    samples = stream_of(stream, seed, limit, data_dir)
    *_, last = prequential(samples, models.make(model, seed=seed), keep_predictions=False)
    return {
        "n_samples": last.n_samples,
        **{key: last.cumulative[key] for key in ("g_mean", "accuracy", "f1_macro")},
    }


def jobs(
    names: Sequence[str], chosen: Sequence[str], seeds: Sequence[int], limit: int
) -> Iterator[dict[str, Any]]:
    """Yield what identifies each measurement."""
    for seed, name, stream in itertools.product(seeds, names, chosen):
        yield {"model": name, "stream": stream, "seed": seed, "limit": limit}


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def means(lines: Sequence[Mapping[str, Any]], figure: str) -> dict[tuple[str, str], float]:
    """Return the mean of a figure over seeds, in %, by model and stream."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        found.setdefault((line["model"], line["stream"]), []).append(100 * line[figure])
    return {key: fmean(of_seeds) for key, of_seeds in found.items()}


def report(lines: Sequence[Mapping[str, Any]], limit: int) -> str:
    """Return the tables as Markdown of at most 80 columns, and whether the goals are met."""
    lines = [line for line in lines if line["limit"] == limit]
    names = [name for name in (*OURS, *PEERS) if any(line["model"] == name for line in lines)]
    text: list[str] = []
    for figure, title in (("g_mean", "G-mean, %"), ("accuracy", "accuracy, %")):
        of_all = means(lines, figure)
        totals: dict[str, str] = {}
        heads = [SHORT[name] for name in names]
        text += [f"| {title} | {' | '.join(heads)} |", f"|---|{'--:|' * len(names)}"]
        for stream in STREAMS:
            cells = (f"{of_all[name, stream]:.1f}" if (name, stream) in of_all else "" for name in names)
            text.append(f"| {stream} | {' | '.join(cells)} |")
        for name in names:
            of_model = [of_all[name, stream] for stream in STREAMS if (name, stream) in of_all]
            totals[name] = f"{fmean(of_model):.1f}" if len(of_model) == len(STREAMS) else ""
        text += [f"| mean | {' | '.join(totals.values())} |", ""]
    n_runs = {name: sum(line["model"] == name for line in lines) for name in names}
    fewer = [f"{SHORT[name]} {n}" for name, n in n_runs.items() if n < len(STREAMS) * len(SEEDS)]
    text += [f"Means over {len(SEEDS)} seeds; {LEGEND}"]
    if fewer:
        text += [f"Runs of {len(STREAMS) * len(SEEDS)} that are there: {', '.join(fewer)}."]
    text += [""]
    return "\n".join([*text, *verdict(means(lines, "g_mean"))])


def verdict(of_all: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """Yield a line on the goal, as far as all streams were measured."""
    of_models = {
        name: fmean(of_all[name, stream] for stream in STREAMS)
        for name in (OURS[1], *PEERS)
        if all((name, stream) in of_all for stream in STREAMS)
    }
    peers = {name: value for name, value in of_models.items() if name in PEERS}
    if OURS[1] in of_models and peers:
        best = max(peers, key=peers.__getitem__)
        gain = of_models[OURS[1]] - peers[best]
        met = "met" if gain >= 3.0 else "MISSED"
        yield f"{met}: G-mean {gain:+.1f} points from {best}, the best of {len(peers)} peers; goal +3"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=[*OURS], help="names of models; default: ours")
    parser.add_argument("--streams", nargs="+", default=[*STREAMS], choices=STREAMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[*SEEDS])
    parser.add_argument("--limit", type=int, default=LIMIT)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the real data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the lines")
    parser.add_argument("--report", action="store_true", help="no runs, only the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = jobs(options.models, options.streams, options.seeds, options.limit)
    for key in [] if options.report else wanted:
        if any(key.items() <= line.items() for line in read(options.out)):
            continue
        figures = measured(key["model"], key["stream"], key["seed"], key["limit"], options.data_dir)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a") as file:
            file.write(json.dumps(key | figures) + "\n")
    print(report(read(options.out), options.limit))


if __name__ == "__main__":
    main()
