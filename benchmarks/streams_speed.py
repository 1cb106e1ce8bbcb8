"""Measure samples per second of every synthetic stream, beside river's and CapyMOA's of the same name.

    python -m benchmarks.streams_speed

Ours is read on one core, in blocks of the default size of `Stream.blocks`, and again as river's dictionaries.
river's generator is iterated. CapyMOA is asked for `next_instance().x`, as its evaluators do. MOA is timed in Java
alone, by its own task `MeasureStreamSpeed`. The last two are left out if the extra `capymoa` is not installed. All
have the same parameters. Each figure is the median of repeats that take turns, so that a busy machine is busy for
all. Blocks come so fast that a process whose allocator returns memory to the system after each one may spend most
of the time on fresh pages. A rate far below those of similar streams shows this.

The table is printed. With `--out FILE` each line of it is also written.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from river.datasets import synth

from benchmarks.moa_parity import MOA_COMMANDS, moa_stream, write_lines
from streams import synthetic
from streams.stream import DEFAULT_BLOCK_SIZE, Stream

# Ours, and river's with the same parameters where it has such a generator.
GENERATORS: dict[str, tuple[Stream, Callable[[], Iterable[Any]] | None]] = {
    "LED": (
        synthetic.LED(seed=1),
        lambda: synth.LED(seed=1, noise_percentage=0.1, irrelevant_features=True),
    ),
    "LEDDrift": (
        synthetic.LEDDrift(seed=1, n_drift_features=7),
        lambda: synth.LEDDrift(seed=1, noise_percentage=0.1, irrelevant_features=True, n_drift_features=7),
    ),
    "SEA": (synthetic.SEA(seed=1), lambda: synth.SEA(seed=1, noise=0.1)),
    "RandomRBF": (
        synthetic.RandomRBF(seed=1, model_seed=1),
        lambda: synth.RandomRBF(seed_model=1, seed_sample=1, n_classes=2, n_features=10, n_centroids=50),
    ),
    "RandomRBFDrift": (
        synthetic.RandomRBFDrift(seed=1, model_seed=1, speed=0.001),
        lambda: synth.RandomRBFDrift(
            seed_model=1,
            seed_sample=1,
            n_classes=2,
            n_features=10,
            n_centroids=50,
            change_speed=0.001,
            n_drift_centroids=50,
        ),
    ),
    "Agrawal": (synthetic.Agrawal(seed=1), lambda: synth.Agrawal(seed=1, perturbation=0.05)),
    "Hyperplane": (
        synthetic.Hyperplane(seed=1, mag_change=0.001),
        lambda: synth.Hyperplane(
            seed=1, n_features=10, n_drift_features=2, mag_change=0.001, noise_percentage=0.05, sigma=0.1
        ),
    ),
    "RandomTree": (
        synthetic.RandomTree(seed=1, model_seed=1),
        lambda: synth.RandomTree(
            seed_tree=1,
            seed_sample=1,
            n_classes=2,
            n_num_features=5,
            n_cat_features=5,
            n_categories_per_feature=5,
        ),
    ),
    "Sine": (synthetic.Sine(seed=1), lambda: synth.Sine(seed=1, has_noise=True)),
    "STAGGER": (synthetic.STAGGER(seed=1), lambda: synth.STAGGER(seed=1)),
    "Mixed": (synthetic.Mixed(seed=1), lambda: synth.Mixed(seed=1)),
    "Waveform": (synthetic.Waveform(seed=1), lambda: synth.Waveform(seed=1)),
    "WaveformDrift": (synthetic.WaveformDrift(seed=1, n_drift_features=10), None),
    "AssetNegotiation": (synthetic.AssetNegotiation(seed=1), None),
}


def samples_per_second(n: int, read: Callable[[int], Any]) -> float:
    """Return the rate of one call that reads `n` samples."""
    start = time.perf_counter()
    read(n)
    return n / (time.perf_counter() - start)


def exhaust(items: Iterator[Any], n: int) -> None:
    """Take `n` items and keep none."""
    for _ in itertools.islice(items, n):
        pass


def contenders(name: str, has_capymoa: bool) -> Iterator[tuple[str, int, Callable[[int], Any]]]:
    """Yield, per way to the same samples: its name, a number to time, and a call that reads so many."""
    ours, river = GENERATORS[name]
    read = ours.reader()
    read(1)  # compiles, or loads what was compiled
    blocks = (read(DEFAULT_BLOCK_SIZE) for _ in itertools.count())
    yield "blocks", 500_000, lambda n: exhaust(blocks, n // DEFAULT_BLOCK_SIZE)
    samples = iter(ours)
    yield "dictionaries", 50_000, lambda n: exhaust(samples, n)
    if river is not None:
        river_samples = iter(river())
        yield "river", 20_000, lambda n: exhaust(river_samples, n)
    if has_capymoa:
        import jpype
        from capymoa.stream import MOAStream

        capymoa = MOAStream(moa_stream=moa_stream(MOA_COMMANDS[name](ours)))
        yield "capymoa", 10_000, lambda n: [capymoa.next_instance().x for _ in range(n)]
        task = jpype.JClass("moa.tasks.MeasureStreamSpeed")()

        def measure_in_java(n: int) -> None:
            task.getOptions().setViaCLIString(f"-s (generators.{MOA_COMMANDS[name](ours)}) -g {n}")
            task.prepareForUse()
            task.doTask()

        yield "moa_in_java", 500_000, measure_in_java


def measure(name: str, n_repeats: int, has_capymoa: bool) -> dict[str, float]:
    """Return the median rate of each way to the samples of a generator."""
    ways = list(contenders(name, has_capymoa))
    rates: dict[str, list[float]] = {way: [] for way, _, _ in ways}
    for repeat in range(n_repeats + 1):
        for way, n, read in ways:
            rate = samples_per_second(n, read)
            if repeat > 0:  # the first warms caches and Java's compiler
                rates[way].append(rate)
    return {way: median(of_way) for way, of_way in rates.items()}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Measure samples per second of the synthetic streams.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a line of JSON per generator as well")
    arguments = parser.parse_args()
    has_capymoa = importlib.util.find_spec("capymoa") is not None
    if has_capymoa:
        import capymoa  # noqa: F401 - starts the JVM

    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "repeats": arguments.repeats}
    ways = ["blocks", "dictionaries", "river", "capymoa", "moa_in_java"]
    print(f"{'thousand samples/s':<18}", *(f"{way:>13}" for way in ways), " blocks against")
    lines: list[dict[str, Any]] = []
    for name in GENERATORS:
        rates = measure(name, arguments.repeats, has_capymoa)
        cells = [f"{rates[way] / 1000:,.1f}" if way in rates else "-" for way in ways]
        ratios = [
            f"{way} {rates['blocks'] / rates[way]:,.0f}x"
            for way in ("river", "capymoa", "moa_in_java")
            if way in rates
        ]
        print(
            f"{name:<18}" + "".join(f"{cell:>14}" for cell in cells) + "  " + ", ".join(ratios),
            flush=True,
        )
        line = {
            "generator": name,
            **machine,
            "samples_per_second": {w: round(r) for w, r in rates.items()},
        }
        lines.append(line)
    write_lines(lines, arguments.out)


if __name__ == "__main__":
    main()
