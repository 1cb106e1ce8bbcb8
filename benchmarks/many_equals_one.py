"""Check on long streams that blocks, frames, threads and the evaluator give the same as the loop over samples.

    python -m benchmarks.many_equals_one                       led_a and rbf_f, 50 000 rows, pool experts
    python -m benchmarks.many_equals_one --experts river --n-experts 3   river's trees, which use no threads
    python -m benchmarks.many_equals_one --variant driftmoe    the default: the adaptive mixture

The reference predicts and learns sample by sample on dictionaries. Each other way must predict the same label for
every row, and end with the same router weights and the same trees, to the last bit.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from river import tree

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from streams.stream import Stream


def make(variant: str, kind: str, n_experts: int, n_threads: int = 1) -> DriftMoEClassifier:
    """Return an untrained model; where experts are chosen, a quarter of them learn each sample."""
    expert = tree.HoeffdingTreeClassifier(grace_period=50, delta=1e-7) if kind == "river" else None
    sizes = {} if variant == "moe-task" else {"n_experts": n_experts}
    if variant in ("moe-data", "moe-vote"):
        sizes["top_k"] = max(1, n_experts // 4)
    return DriftMoEClassifier(variant, expert=expert, n_threads=n_threads, seed=1, **sizes)


def state(model: DriftMoEClassifier) -> tuple[Any, ...]:
    """The router's weights, and every number of every tree that is in use."""
    weights = (model._mixture.router._weights.tobytes(),)
    if not hasattr(model._mixture.experts, "pool"):
        return weights
    arrays = model._mixture.experts.pool.state().values()
    trees = [array.tobytes() if isinstance(array, np.ndarray) else array for array in arrays]
    return (*weights, *trees)


def in_blocks(model: DriftMoEClassifier, stream: Stream, size: int) -> list[Any]:
    """Predict, then learn, block by block."""
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    predicted: list[Any] = []
    for X, y in stream.blocks(size):
        predicted += model.step_many(X, y, names=names, values=values, classes=stream.classes)
    return predicted


def main() -> None:
    """Print the number of rows that differ, for each stream and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=["led_a", "rbf_f"])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--variant", choices=["moe-data", "moe-vote", "driftmoe"], default="moe-data")
    parser.add_argument("--experts", choices=["pool", "river"], default="pool")
    parser.add_argument("--n-experts", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    untrained = partial(make, options.variant, options.experts, options.n_experts)
    for name in options.streams:
        stream = streams.make(name, seed=options.seed, n_samples=options.samples)
        one = untrained()
        expected = []
        samples = list(stream)
        for x, y in track(samples, f"{name}, one by one", transient=True):
            expected.append(one.predict_one(x))
            one.learn_one(x, y)
        hits = sum(p == y for p, (_, y) in zip(expected, samples, strict=True))
        print(
            f"{name}: {len(expected):,} rows, {options.n_experts} {options.experts} experts, "
            f"accuracy {hits / len(samples):.4f}"
        )
        reference = state(one)
        for size in (1, 7, 256, 1000):
            for n_threads in (1, 2) if options.experts == "pool" else (1,):
                model = untrained(n_threads)
                predicted = in_blocks(model, stream, size)
                differ = sum(a != b for a, b in zip(predicted, expected, strict=True))
                same = state(model) == reference
                print(
                    f"  blocks of {size:4}, {n_threads} thread(s): {differ} labels differ, same state: {same}"
                )
        X, y = pd.DataFrame([x for x, _ in samples]), pd.Series([label for _, label in samples])
        for size in (1, 7, 256, 1000):
            model = untrained()
            for start in range(0, len(X), size):
                model.learn_many(X.iloc[start : start + size], y.iloc[start : start + size])
            print(f"  learn_many of {size:4} rows: same state: {state(model) == reference}")
        model = untrained()
        *_, last = prequential(stream, model, count_warm_up=True)
        gap = round(last.cumulative["accuracy"] * len(samples)) - hits
        print(f"  evaluator: {gap} hits more or less, same state: {state(model) == reference}")


if __name__ == "__main__":
    main()
