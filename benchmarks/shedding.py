"""Trees awake over time beside drifts: where `min_awake=2` lets trees sleep, and when it wakes them.

    python -m benchmarks.shedding --out benchmarks/results/shedding.jsonl

Each stream is learnt by the evaluator with the default and with `min_awake=2`, in turns. A line for each stream holds
the trees awake at every 500th sample, the drifts of the stream, the accuracy of both and the processor time of a sample
of both. A picture beside the file shows the trees.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from rich.progress import track

import streams
from benchmarks.moa_parity import write_lines
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential

STREAMS = ("led_a", "rbf_f", "recurrent_rbf", "agrawal_a", "mixed_a", "sea_a", "random_tree")
EVERY = 500


def follow(name: str, limit: int, seed: int, min_awake: int) -> dict[str, Any]:
    """Learn a stream; return accuracy, µs of a sample, and the trees awake over time."""
    stream = streams.make(name, seed=seed, n_samples=limit)
    model = DriftMoEClassifier(seed=seed, min_awake=min_awake)
    n_awake, checkpoints = [], []
    for checkpoint in prequential(stream, model, step=EVERY):
        n_awake.append(int(model._mixture.shedding.is_awake.sum()))
        checkpoints.append(checkpoint)
    last = checkpoints[-1]
    return {
        "accuracy": last.cumulative["accuracy"],
        "us_per_sample": last.cpu_seconds / last.n_samples * 1e6,
        "n_awake": n_awake,
        "drifts": [drift.position for drift in stream.drifts],
    }


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw the trees awake, with drifts as vertical lines, one row for each stream."""
    mpl.use("Agg")
    figure, rows = plt.subplots(
        len(lines), 1, figsize=(8, 1.2 * len(lines)), squeeze=False, layout="constrained"
    )
    for axes, line in zip(rows[:, 0], lines, strict=True):
        places = [EVERY * (i + 1) for i in range(len(line["n_awake"]))]
        axes.step(places, line["n_awake"], where="post")
        for drift in line["drifts"]:
            axes.axvline(drift, color="tab:red", linestyle=":")
        axes.set_ylim(0, max(line["n_awake"]) + 1)
        axes.set_ylabel(line["stream"], rotation=0, ha="right", va="center")
    rows[-1, 0].set_xlabel("samples; trees awake (blue), drifts (dotted)")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shedding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--streams", nargs="+", default=STREAMS)
    parser.add_argument("--limit", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write lines of JSON, and a picture beside them"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name in track(options.streams, description="streams"):
        plain = follow(name, options.limit, options.seed, 0)
        shed = follow(name, options.limit, options.seed, 2)
        line = {
            "stream": name, "seed": options.seed, "limit": options.limit, **shed,
            "accuracy_all_awake": plain["accuracy"], "us_per_sample_all_awake": plain["us_per_sample"],
        }  # fmt: skip
        lines.append(line)
        print(
            f"{name:16} {100 * (line['accuracy'] - line['accuracy_all_awake']):+.2f} points, "
            f"{line['us_per_sample_all_awake'] / line['us_per_sample']:.2f} times as fast, "
            f"{sum(line['n_awake']) / len(line['n_awake']):.1f} trees awake"
        )
    write_lines(lines, options.out)
    if options.out is not None:
        draw(lines, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
