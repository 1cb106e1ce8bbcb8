"""The report: all cases checked, timed and printed, with parts, memory, start-up and goals."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import streams
from benchmarks.moa_speed import Java
from benchmarks.speed.cases import SECOND, cases, forests
from benchmarks.speed.goals import judged
from benchmarks.speed.memory import memory
from benchmarks.speed.parts import parts
from benchmarks.speed.samples import Samples
from benchmarks.speed.start_up import start_up
from benchmarks.speed.timing import check, measure
from streams.stream import Stream


def start_java(python: str | None, samples: Samples) -> Java | None:
    """Start CapyMOA, or say on standard output why its learners are left out."""
    if python is None and importlib.util.find_spec("capymoa") is None:
        print("left out: CapyMOA is not installed here; --capymoa-python names an interpreter that has it")
        return None
    try:
        return Java(python or sys.executable, samples.X, samples.y, len(samples.classes))
    except (OSError, RuntimeError) as error:
        print(f"left out: {error}")
        return None


def report(options: argparse.Namespace, stream: Stream, tick: Callable[[str], None]) -> list[dict[str, Any]]:
    """Check, time and print all cases; return the result lines."""
    sizes = options.samples, min(options.few, options.samples), min(options.fewest, options.samples)
    samples = Samples(stream, options.samples)
    second = Samples(streams.make(options.second, options.seed, options.samples), options.samples)
    lines: list[dict[str, Any]] = []
    for of, make in ((samples, partial(cases, *sizes)), (second, partial(forests, sizes[0], mark=SECOND))):
        java = start_java(options.capymoa_python, of)
        table = make(java=java)
        try:
            check(table, of, sizes[1], tick)
            lines += measure(table, of, options.repeats, tick)
        finally:
            if java is not None:
                java.close()
    named = {case.name: case for case in cases(*sizes)}
    by_part = [
        parts(samples, named[name], options.repeats, tick)
        for model in ("moe-data", "driftmoe")
        for name in (f"{model}: prequential", f"{model}: predict_one, learn_one")
    ]
    peaks, start = memory(stream, sizes, tick), start_up(options.repeats, tick)

    print(
        f"\n{options.stream} (second: {options.second}), seed {options.seed}, "
        f"medians of {options.repeats} repeats in turns (fastest to slowest)"
    )
    print(f"{'':<36}{'samples':>8}{'µs':>11}{'':>24}{'samples/s':>12}{'accuracy':>10}{'model MB':>10}")
    for line in lines:
        spread = f"({line['fastest']:,.2f} to {line['slowest']:,.2f})"
        accuracy = "" if line["accuracy"] is None else f"{line['accuracy']:.4f}"
        print(
            f"{line['what']:<36}{line['n_samples']:>8,}{line['us_per_sample']:>11,.2f}{spread:>24}"
            f"{line['samples_per_s']:>12,}{accuracy:>10}{line['model_mb']:>10.2f}"
        )
    for line in by_part:
        print(f"\nµs by part, {line['what']}")
        for part, us in line["us_by_part"].items():
            print(f"  {part:<34}{us:>8.2f}")
    print("\npeak memory of a process, MB")
    for line in peaks:
        print(f"  {line['what']:<34}{line['peak_mb']:>8.1f}")
    print(
        f"\nstart-up to the first prediction: first ever {start['first_ever_s']:.2f} s, "
        f"later {start['cached_s']:.2f} s; import torch alone {start['import_torch_s']:.2f} s"
    )
    print("\ngoals")
    goals: list[dict[str, Any]] = []
    for what, value, side, limit in judged(lines, start, options.samples):
        is_reached = None if value is None else value >= limit if side == "≥" else value <= limit
        verdict = {None: "not measured", True: "reached", False: "NOT reached"}[is_reached]
        print(f"  {what:<46}{'' if value is None else f'{value:.2f}':>8}  {side} {limit:<6g} {verdict}")
        goals.append({"goal": what, "value": value, "bound": f"{side} {limit:g}", "reached": is_reached})
    return [*lines, *by_part, *peaks, start, *goals]
