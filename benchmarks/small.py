"""Small models for many keys: bytes, accuracy and time of a sample, beside the default and MOA's ARF.

    python -m benchmarks.small --out benchmarks/results/small.jsonl
    python -m benchmarks.small --report      no runs: the table of the lines in --out

Each measurement is one line of the file, and is not repeated if it is there: the command can be stopped and given
again. `size` lines have the bytes of the file of a model that has learnt nothing, one sample and 10,000 samples of
electricity, as it is and compressed, and the bytes in memory. `time` lines have the microseconds of processor time of
`predict_one` and `learn_one`, on dictionaries of electricity, and those of river's Hoeffding tree, measured in turns.
`accuracy` lines are of the evaluator. The streams electricity and covtype have one order; there the seed is the model's
alone.

The accuracies of the default, of `moe-data` and of MOA's ARF with ten trees are those of
`benchmarks/results/paper.jsonl`, of the same streams, lengths and seeds. `--models moa-ht` adds those of MOA's single
tree, which needs the extra `capymoa` and Java.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from river import base, tree

from benchmarks.paper import RESULTS as PAPER
from driftmoe import models, saving
from driftmoe.evaluation import prequential
from driftmoe.trees import HoeffdingTreeClassifier
from streams.opening import open_stream

STREAMS = ("electricity", "led_a", "led_g", "sea_a", "sea_g", "rbf_f", "rbf_m", "covtype")

ONE_ORDER = ("electricity", "covtype")
"""Streams that no seed changes."""

MODELS: dict[str, Callable[[int], base.Classifier]] = {
    "small": lambda seed: models.make("small", seed=seed),
    "tree": lambda seed: HoeffdingTreeClassifier(),
    "moe-data": lambda seed: models.make("moe-data", seed=seed),
    "driftmoe": lambda seed: models.make("driftmoe", seed=seed),
    "moa-ht": lambda seed: models.make("moa-ht", seed=seed),
}
"""Name -> untrained model of a seed. `tree` is `driftmoe.trees.HoeffdingTreeClassifier`, which draws nothing."""

OURS = ("small", "tree", "moe-data", "driftmoe")
"""Models that are measured unless others are named."""

FROM_PAPER = ("moe-data", "driftmoe", "moa-arf")
"""Models whose accuracies are those of `benchmarks/results/paper.jsonl`, as far as they are there."""

ONE_RESULT = ("tree", "moa-ht")
"""Models that draw nothing."""

SEEDS = (11, 12, 13)
LIMIT, N_LEARNT = 100_000, 10_000
"""Samples of a stream, and samples after which sizes are measured."""

N_ROUNDS, N_TIMED, N_SAVED = 60, 200, 40
"""Rounds of timing, samples of each, and how often a model is saved and loaded. The median of the rounds counts."""

GOALS = {"fresh": 1_500, "learnt": 15_000, "us": 25.0, "streams": 6}


def size_of(name: str) -> dict[str, Any]:
    """Return the bytes of a model, on disk and in memory."""
    samples, model, found = electricity(), MODELS[name](SEEDS[0]), {}
    for state, n in (("untrained", 0), ("fresh", 1), ("learnt", N_LEARNT - 1)):
        for x, y in itertools.islice(samples, n):
            model.learn_one(x, y)
        found[state] = len(saving.to_bytes(model))
        found[f"{state}_compressed"] = len(saving.to_bytes(model, compress=True))
        found[f"{state}_memory"] = int(model._raw_memory_usage)
    return found


def time_of(name: str) -> dict[str, Any]:
    """Return the microseconds of a sample, predicted and learnt, of a model and of river's tree."""
    samples = list(itertools.islice(electricity(), N_TIMED * (N_ROUNDS + 1)))
    ours, rivers = MODELS[name](SEEDS[0]), tree.HoeffdingTreeClassifier()
    rounds: dict[str, list[float]] = {"us": [], "us_river_tree": []}
    for start in range(0, len(samples), N_TIMED):
        for key, model in (("us", ours), ("us_river_tree", rivers)):
            begin = time.process_time()
            for x, y in samples[start : start + N_TIMED]:
                model.predict_one(x)
                model.learn_one(x, y)
            rounds[key].append((time.process_time() - begin) / N_TIMED * 1e6)
    return {key: median(of_model[1:]) for key, of_model in rounds.items()}  # the first compiles


def time_of_saving(name: str) -> dict[str, Any]:
    """Return the milliseconds of `to_bytes` and `from_bytes` after 10,000 samples, compressed."""
    model = MODELS[name](SEEDS[0])
    for x, y in itertools.islice(electricity(), N_LEARNT):
        model.learn_one(x, y)
    content = saving.to_bytes(model, compress=True)
    ways = {
        "to_bytes": lambda: saving.to_bytes(model, compress=True),
        "from_bytes": lambda: saving.from_bytes(content),
    }
    return {f"ms_{key}": median(map(seconds_of, [way] * N_SAVED)) * 1e3 for key, way in ways.items()}


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the seconds of processor time that a call takes."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def accuracy_of(name: str, stream: str, seed: int, limit: int) -> dict[str, Any]:
    """Return the accuracy of a model on a stream, each sample predicted before it is learnt."""
    *_, last = prequential(open_stream(stream, limit=limit, seed=seed), MODELS[name](seed))
    return {"accuracy": last.cumulative["accuracy"], "n_samples": last.n_samples}


def electricity() -> Iterator[tuple[dict[Any, Any], Any]]:
    """Return the samples of electricity."""
    return iter(open_stream("electricity"))


def jobs(names: Sequence[str], limit: int) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """Yield what identifies each measurement, and the measurement; what is short comes first."""
    for name in [one for one in names if one in OURS]:
        yield {"kind": "size", "model": name}, lambda name=name: size_of(name)
        yield {"kind": "time", "model": name}, lambda name=name: time_of(name) | time_of_saving(name)
    for name, seed, stream in itertools.product(names, SEEDS, STREAMS):
        if name in FROM_PAPER or (name in ONE_RESULT and stream in ONE_ORDER and seed != SEEDS[0]):
            continue
        key = {"kind": "accuracy", "model": name, "stream": stream, "seed": seed, "limit": limit}
        yield key, lambda key=(name, stream, seed): accuracy_of(*key, limit)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def of_paper(limit: int) -> list[dict[str, Any]]:
    """Return the accuracies of the paper's grid."""
    return [
        {"kind": "accuracy", **line}
        for line in read(PAPER)
        if line["model"] in FROM_PAPER
        and line["limit"] == limit
        and line["seed"] in SEEDS
        and line["stream"] in STREAMS
    ]


def means(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the mean accuracy over seeds, in %, by model and stream."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        if line["kind"] == "accuracy":
            found.setdefault((line["model"], line["stream"]), []).append(100 * line["accuracy"])
    return {key: fmean(of_seeds) for key, of_seeds in found.items()}


def report(lines: Sequence[Mapping[str, Any]], limit: int) -> str:
    """Return the tables as Markdown of at most 80 columns."""
    sizes, times = (
        {line["model"]: line for line in lines if line["kind"] == kind} for kind in ("size", "time")
    )
    text = [
        "| file, bytes | untrained | 1 sample | 10,000 | not compressed | in memory |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, size in sizes.items():
        keys = ("untrained_compressed", "fresh_compressed", "learnt_compressed", "learnt", "learnt_memory")
        text.append(f"| {name} | {' | '.join(f'{size[key]:,}' for key in keys)} |")
    text += [
        "",
        "| µs a sample | predict + learn | river's tree | ms to_bytes | from_bytes |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, of_model in times.items():
        figures = (of_model[key] for key in ("us", "us_river_tree", "ms_to_bytes", "ms_from_bytes"))
        text.append(f"| {name} | {' | '.join(f'{figure:.1f}' for figure in figures)} |")
    of_all = means([*(line for line in lines if line.get("limit") == limit), *of_paper(limit)])
    names = [
        name for name in dict.fromkeys((*MODELS, *FROM_PAPER)) if any(name == model for model, _ in of_all)
    ]
    text += ["", f"| accuracy, % | {' | '.join(names)} |", f"|---|{'--:|' * len(names)}"]
    for stream in STREAMS:
        figures = (f"{of_all[name, stream]:.2f}" if (name, stream) in of_all else "" for name in names)
        text.append(f"| {stream} | {' | '.join(figures)} |")
    return "\n".join([*text, "", *verdicts(sizes, times, of_all)])


def verdicts(
    sizes: Mapping[str, Mapping[str, Any]],
    times: Mapping[str, Mapping[str, Any]],
    of_all: Mapping[tuple[str, str], float],
) -> Iterator[str]:
    """Yield a line for each goal of `small`, as far as it was measured."""
    if "small" in sizes:
        for state, what in (("fresh", "after 1 sample"), ("learnt", f"after {N_LEARNT:,} samples")):
            n_bytes = sizes["small"][f"{state}_compressed"]
            yield f"{passed(n_bytes <= GOALS[state])}: {n_bytes:,} bytes {what}, goal {GOALS[state]:,}"
    compared = [stream for stream in STREAMS if {("small", stream), ("moa-arf", stream)} <= of_all.keys()]
    ahead = [stream for stream in compared if of_all["small", stream] >= of_all["moa-arf", stream]]
    if compared:
        least = GOALS["streams"]
        yield f"{passed(len(ahead) >= least)}: ahead of ARF-10 on {len(ahead)} streams of {len(compared)}, goal {least}"
    if "small" in times:
        us = times["small"]["us"]
        yield f"{passed(us <= GOALS['us'])}: {us:.1f} µs a sample, goal {GOALS['us']:g}"


def passed(is_met: bool) -> str:
    """Return whether a goal is met, as a word."""
    return "met" if is_met else "MISSED"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.small",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=[*OURS], choices=[*MODELS])
    parser.add_argument("--limit", type=int, default=LIMIT)
    parser.add_argument("--out", type=Path, default=Path("runs/small.jsonl"), help="file of the lines")
    parser.add_argument("--report", action="store_true", help="no runs, only the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = read(options.out)
    for key, measure in [] if options.report else jobs(options.models, options.limit):
        if any(key.items() <= line.items() for line in lines):
            continue
        lines.append(key | measure())
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
    print(report(lines, options.limit))


if __name__ == "__main__":
    main()
