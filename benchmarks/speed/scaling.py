"""How the cost of a sample and the memory of a model grow with each size, as lines, tables and pictures.

Seven sizes grow, each alone: experts, numeric features, classes, values of nominal features, samples of a stream, and
the names of sparse dictionaries, of which 20 are present in each sample. A cost is within a factor of 2 of linear if no
two points of a curve are further apart than twice the ratio of their sizes; the cost of sparse dictionaries should not
grow at all, and may double. Processor time is measured, so that other work on a shared machine hardly counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.samples import InMemory
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.trees import HoeffdingTreeClassifier
from streams.stream import Block, Feature, Stream
from streams.synthetic import RandomRBF

SCALES = {
    "experts": [1, 2, 4, 8, 16, 32, 64, 128],
    "features": [4, 16, 64, 256, 1024, 4096],
    "classes": [2, 5, 10, 30, 100, 300, 1000],
    "values": [2, 10, 30, 100, 300, 1000, 10_000],
    "samples": [2_000, 10_000, 50_000],
    "names": [100, 1_000, 10_000, 100_000],
}
BASE = {"experts": 12, "features": 24, "classes": 10, "values": 4, "samples": 2_000, "names": 100}
"""What the others are while one grows."""

N_PRESENT = 20
"""Features that are present in a sparse dictionary."""

MOST = {
    ("names", "driftmoe, dicts"): 10_000,
    ("values", "driftmoe, dicts"): 100,
    ("values", "driftmoe, blocks"): 100,
}
"""Where to stop, for want of memory: neighbours keep 4096 samples twice, at 4 bytes for each name, and each leaf of a
split by a value has a count for each value."""

N_NOMINAL = 600
"""Samples with nominal values."""

N_DICTS, N_SPARSE = 300, 150
"""Samples on dictionaries, and on sparse ones."""

WARM_UP = 100
"""Samples on dictionaries before time counts."""


@dataclass(frozen=True)
class Way:
    """A model, and whether it gets dictionaries or blocks."""

    make: Callable[[int], Any]
    in_blocks: bool


def _mixture(variant: str, n_experts: int) -> Any:
    top_k = {"top_k": min(3, n_experts)} if variant == "moe-data" else {}
    return DriftMoEClassifier(variant, n_experts=n_experts, seed=1, **top_k)


WAYS = {
    "driftmoe, blocks": Way(partial(_mixture, "driftmoe"), in_blocks=True),
    "driftmoe, dicts": Way(partial(_mixture, "driftmoe"), in_blocks=False),
    "moe-data, blocks": Way(partial(_mixture, "moe-data"), in_blocks=True),
    "moe-data, dicts": Way(partial(_mixture, "moe-data"), in_blocks=False),
    "tree, dicts": Way(lambda n_experts: HoeffdingTreeClassifier(), in_blocks=False),
}


class Nominal(Stream):
    """Eight nominal features with as many values each, of which the first decides the class."""

    def __init__(self, n_values: int, n_classes: int, n_samples: int) -> None:
        values = [f"v{i}" for i in range(n_values)]
        features = [Feature(f"x{i}", values) for i in range(8)]
        super().__init__(features=features, classes=list(range(n_classes)), n_samples=n_samples)
        rng = np.random.default_rng(1)
        X = rng.integers(n_values, size=(n_samples, 8)).astype(float)
        self.block = Block(X, (X[:, 0] % n_classes).astype(np.int64))

    def reader(self) -> Any:
        """Return a new position at the start."""
        return InMemory(self, self.block, len(self.block.y)).reader()


def sparse(n_names: int, n_samples: int) -> Iterator[tuple[dict[str, float], int]]:
    """Yield dictionaries in which 20 of the names are present."""
    rng = np.random.default_rng(1)
    for _ in range(n_samples):
        present = rng.choice(n_names, N_PRESENT, replace=False)
        values = 1.0 + rng.random(N_PRESENT)
        yield {f"w{i}": float(v) for i, v in zip(present, values, strict=True)}, int(present.min() % 2)


def stream_of(what: str, at: dict[str, int]) -> Stream:
    """Return the samples, in memory."""
    n = at["samples"]
    if what == "values":
        return Nominal(at["values"], at["classes"], n)
    stream = RandomRBF(
        n_classes=at["classes"], n_features=at["features"], n_centroids=max(50, 3 * at["classes"]), seed=1
    )
    return InMemory(stream, next(stream.blocks(n)), n)


def cost(way: Way, what: str, at: dict[str, int]) -> tuple[float, int]:
    """Return the µs of processor time that a sample takes, and the bytes of the model in the end."""
    model = way.make(at["experts"])
    if what != "names" and way.in_blocks:
        stream, before = stream_of(what, at), time.process_time()
        for _ in prequential(stream, model, count_warm_up=True):
            pass
        return (time.process_time() - before) / at["samples"] * 1e6, int(model._raw_memory_usage)
    if what == "names":
        for label in (0, 1):  # all names are known: what follows is the cost of samples, not of new names
            model.learn_one({f"w{i}": 1.0 + label for i in range(at["names"])}, label)
        samples = list(sparse(at["names"], WARM_UP + N_SPARSE))
    else:
        stream = stream_of(what, at | {"samples": WARM_UP + N_DICTS})
        samples = list(stream)
    before = 0.0
    for i, (x, y) in enumerate(samples):
        if i == WARM_UP:
            before = time.process_time()
        model.predict_one(x)
        model.learn_one(x, y)
    return (time.process_time() - before) / (len(samples) - WARM_UP) * 1e6, int(model._raw_memory_usage)


def measured_at(what: str, name: str, size: int) -> bool:
    """Whether a way is measured at a size."""
    if size > MOST.get((what, name), size):
        return False
    if what == "names":
        return not WAYS[name].in_blocks
    if what == "samples":
        return WAYS[name].in_blocks
    return what != "experts" or name != "tree, dicts"


def scaling(
    scales: dict[str, list[int]], sizes: dict[str, int], n_repeats: int, tick: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the cost of a sample as one size after the other grows; the least of the repeats."""
    lines = []
    for way in WAYS.values():  # compiles
        cost(way, "features", sizes | {"samples": 300})
        if not way.in_blocks:
            cost(way, "names", sizes)
    for what, values in scales.items():
        for value in values:
            at = (
                sizes
                | ({"samples": min(N_NOMINAL, sizes["samples"])} if what == "values" else {})
                | {what: value}
            )
            us, model_bytes = {}, {}
            for name, way in WAYS.items():
                if measured_at(what, name, value):
                    tick(f"{value:,} {what}: {name}")
                    runs = [cost(way, what, at) for _ in range(n_repeats)]
                    us[name], model_bytes[name] = round(min(run[0] for run in runs), 2), runs[0][1]
            lines.append({"grows": what, **at, "us_per_sample": us, "model_bytes": model_bytes})
    return lines


def with_kept(lines: list[dict[str, Any]], file: Path | None) -> list[dict[str, Any]]:
    """Return the lines together with those that a file has of other sizes that grow, in the order of `SCALES`."""
    measured = {line["grows"] for line in lines}
    kept = [] if file is None or not file.exists() else map(json.loads, file.read_text().splitlines())
    both = [*lines, *(line for line in kept if line["grows"] not in measured)]
    return sorted(both, key=lambda line: list(SCALES).index(line["grows"]))


def worst_factor(sizes: list[int], costs: list[float], *, is_flat: bool) -> float:
    """Return by how much a cost outgrows its size at most, over all pairs of points; a flat one should not grow."""
    points = list(zip(sizes, costs, strict=True))
    return max(b / a * (1.0 if is_flat else n / m) for (n, a), (m, b) in combinations(points, 2))


def verdicts(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each size, way and figure: by what factor it outgrows the size, and if that is within 2."""
    found = []
    for what in dict.fromkeys(line["grows"] for line in lines):
        of_size = [line for line in lines if line["grows"] == what]
        for name in WAYS:
            has = [line for line in of_size if name in line["us_per_sample"]]
            if len(has) < 2:
                continue
            sizes = [line[what] for line in has]
            for figure in ("us_per_sample", "model_bytes"):
                is_flat = figure == "us_per_sample" and what in ("names", "samples")
                factor = worst_factor(sizes, [line[figure][name] for line in has], is_flat=is_flat)
                found.append({"grows": what, "what": name, "figure": figure, "factor": round(factor, 2),
                              "within_2": factor <= 2.0})  # fmt: skip
    return found


def print_growth(lines: list[dict[str, Any]]) -> None:
    """Print the costs as tables of Markdown, and for each way by how much it outgrows the size."""
    judged = {(v["grows"], v["what"], v["figure"]): v for v in verdicts(lines)}
    for what in dict.fromkeys(line["grows"] for line in lines):
        of_size = [line for line in lines if line["grows"] == what]
        for figure, unit, scale in (("us_per_sample", "µs a sample", 1.0), ("model_bytes", "MB", 1e-6)):
            print(
                f"\n| {what}, {unit} | "
                + " | ".join(f"{line[what]:,}" for line in of_size)
                + " | outgrows by |"
            )
            print("|:--|" + "--:|" * (len(of_size) + 1))
            for name in WAYS:
                if (verdict := judged.get((what, name, figure))) is None:
                    continue
                cells = [line[figure].get(name) for line in of_size]
                texts = ["" if cell is None else f"{cell * scale:,.1f}" for cell in cells]
                mark = "" if verdict["within_2"] else " (no)"
                print(f"| {name} | " + " | ".join(texts) + f" | {verdict['factor']:.2f}{mark} |")


def draw_growth(lines: list[dict[str, Any]], file: Path) -> None:
    """Draw time above memory, one log-log panel per size that grows."""
    from matplotlib.figure import Figure

    grows = list(dict.fromkeys(line["grows"] for line in lines))
    figure = Figure(figsize=(3.4 * len(grows), 6.4), layout="constrained")
    rows = figure.subplots(2, len(grows), sharey="row", squeeze=False)
    figures = (("us_per_sample", "µs a sample", 1.0), ("model_bytes", "MB", 1e-6))
    for panels, (key, unit, scale) in zip(rows, figures, strict=True):
        for panel, what in zip(panels, grows, strict=True):
            of_panel = [line for line in lines if line["grows"] == what]
            for name in WAYS:
                points = [(line[what], line[key][name] * scale) for line in of_panel if name in line[key]]
                if points:
                    panel.loglog(*zip(*points, strict=True), marker="o", label=name)
            panel.set_xlabel(what)
            panel.grid(which="both", alpha=0.3)
        panels[0].set_ylabel(unit)
    rows[0][0].legend(fontsize="small")
    figure.savefig(file, dpi=110)
