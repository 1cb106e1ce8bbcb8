"""How soon a new key is answered well: a model for each key, one for all keys, and one for each key with a prior.

    python -m benchmarks.fleet --out benchmarks/results/fleet.jsonl

The stream is `streams.synthetic.Fleet`. No model sees the key. The models of keys are `DriftMoEClassifier.small()`, the
prior and the model for all keys are larger ones, `DriftMoEClassifier(n_experts=4, memory=1024)`.

- private: each key has a small model that starts from nothing.
- mixed: each key has a small model with the prior as one more expert.
- global: one model for all keys. It starts as a copy of the prior, and learns every event of every key, in the order of
  the stream.
- prior: the prior alone, which learns no more.

The prior has learnt another fleet of as many keys: other keys, with other concepts of their own, and other events. Only
the common concept is the same. So nothing of a key is known before its first event.

Each event is predicted and then learnt. A line for each share of own concept, seed and model holds the accuracy by the
number of the event within its key. Lines that are in the file are not measured again. A picture beside it shows them.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch

from driftmoe import DriftMoEClassifier
from streams.synthetic import Fleet

OWN = (0.0, 0.5, 1.0)
MODELS = ("private", "mixed", "global", "prior")
FIRST = (10, 100, 1000)
FIGURES = (*(f"first_{n}" for n in FIRST), "after_1000")
EDGES = (0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 3000)
"""Ends of the bins of event numbers."""


def make(seed: int, **more: Any) -> DriftMoEClassifier:
    """Return a model for a key."""
    return DriftMoEClassifier.small(seed=seed, **more)


def read(fleet: Fleet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the keys, the other features and the classes of all events of a fleet."""
    X, y = fleet.reader()(fleet.n_samples or 0)
    return X[:, 0].astype(np.int64), np.ascontiguousarray(X[:, 1:]), y


def step(model: DriftMoEClassifier, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Let a model predict and then learn events. Return which ones it predicted rightly."""
    names = [f"att{i + 1}" for i in range(X.shape[1])]
    labels = model.step_many(X, y, names=names, values=[None] * len(names), classes=[0, 1])
    return np.array([label == target for label, target in zip(labels, y.tolist(), strict=True)])


def numbered(keys: np.ndarray) -> np.ndarray:
    """Return the number of each event within its key, from 0."""
    numbers, counts = np.empty(len(keys), np.int64), dict.fromkeys(keys.tolist(), 0)
    for i, key in enumerate(keys.tolist()):
        numbers[i] = counts[key]
        counts[key] += 1
    return numbers


def of_each_key(keys: np.ndarray, X: np.ndarray, y: np.ndarray, **more: Any) -> np.ndarray:
    """Let a model for each key step through its events. Return which events were predicted rightly."""
    right = np.empty(len(y), np.bool_)
    for key in np.unique(keys).tolist():
        own = np.flatnonzero(keys == key)
        right[own] = step(make(key + 1, **more), X[own], y[own])
    return right


def measured(own: float, seed: int, n_keys: int, models: Sequence[str] = MODELS) -> Iterator[dict[str, Any]]:
    """Yield a line for each kind of model."""
    settings = {"n_keys": n_keys, "own": own, "model_seed": seed}
    _, X, y = read(Fleet(seed=seed + 1000, **settings))
    learnt = DriftMoEClassifier(n_experts=4, memory=1024, seed=seed)
    step(learnt, X, y)
    keys, X, y = read(Fleet(seed=seed, **settings))
    numbers, lengths = numbered(keys), np.bincount(keys)[keys]
    everybody = copy.deepcopy(learnt)
    for kind in models:
        start = time.process_time()
        if kind == "global":
            right = step(everybody, X, y)
        elif kind == "prior":
            names = [f"att{i + 1}" for i in range(X.shape[1])]
            rows = [dict(zip(names, row, strict=True)) for row in X.tolist()]
            right = np.array([max(p, key=p.__getitem__) for p in learnt.predict_proba_rows(rows)]) == y
        else:
            right = of_each_key(keys, X, y, **({"prior": learnt} if kind == "mixed" else {}))
        seconds = time.process_time() - start
        in_bins = [(numbers >= first) & (numbers < last) for first, last in pairwise(EDGES)]
        yield {
            "own": own, "seed": seed, "n_keys": n_keys, "model": kind, "n_events": len(y),
            "n_events_of_prior": int(learnt._mixture.log.n_samples),
            **{f"first_{n}": round(float(right[(numbers < n) & (lengths >= n)].mean()), 4) for n in FIRST},
            "after_1000": round(float(right[numbers >= 1000].mean()), 4),
            "n_in_bins": [int(of_bin.sum()) for of_bin in in_bins],
            "right_in_bins": [int(right[of_bin].sum()) for of_bin in in_bins],
            "us_per_event": round(1e6 * seconds / len(y), 1),
        }  # fmt: skip


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw the accuracy by the number of the event, a column for each share of own concept, the mean over seeds."""
    mpl.use("Agg")
    shares = sorted({line["own"] for line in lines})
    figure, columns = plt.subplots(
        1, len(shares), figsize=(4 * len(shares), 3.4), squeeze=False, layout="constrained"
    )
    for axes, own in zip(columns[0], shares, strict=True):
        for kind in MODELS:
            of_kind = [line for line in lines if line["own"] == own and line["model"] == kind]
            n, right = (
                np.sum([line[name] for line in of_kind], axis=0) for name in ("n_in_bins", "right_in_bins")
            )
            axes.plot(EDGES[1:], right / n, marker=".", label=kind, linestyle=":" if kind == "prior" else "-")
        axes.set_xscale("log")
        axes.set_title(f"own = {own:g}")
        axes.set_xlabel("event of a key, up to")
        axes.grid(alpha=0.3)
    columns[0, 0].set_ylabel("accuracy")
    columns[0, -1].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--own", nargs="+", type=float, default=OWN)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12, 13])
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="add lines of JSON, and draw a picture beside them"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    if options.out is not None and options.out.exists():
        lines = [json.loads(line) for line in options.out.read_text().splitlines()]
    for seed, own in product(options.seeds, options.own):
        done = {
            line["model"]
            for line in lines
            if (line["own"], line["seed"], line["n_keys"]) == (own, seed, options.keys)
        }
        if not (left := [model for model in options.models if model not in done]):
            continue
        for line in measured(own, seed, options.keys, left):
            figures = "  ".join(f"{name} {100 * line[name]:.1f}" for name in FIGURES)
            print(
                f"own {own:g}  seed {seed}  {line['model']:8} {figures}  {line['us_per_event']} us",
                flush=True,
            )
            lines.append(line)
            if options.out is not None:
                with options.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    if options.out is not None:
        draw(lines, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
