"""Models of keys on an engine: throughput beside a plain loop, bytes a key, recovery after a kill, growth with keys.

    python -m benchmarks.keyed                                     # 10,000 keys with 100 samples each, on `local`
    python -m benchmarks.keyed --engine spark --keys 1000
    python -m benchmarks.keyed --growth --out benchmarks/results/keyed.jsonl    # 1,000 to 100,000 keys, and a picture
    python -m benchmarks.keyed --engine flink --kills --keys 200 --samples 60  # killed twice, and rescaled from 2 to 1

Samples are those of the stream `fleet`. The plain loop is a dictionary of models in this process, `arrive_one`
and then `learn_one` for each sample. All ways give the same predictions, which their digests show.

Recovery is measured on the command: it is killed with SIGKILL when half of the events are committed, and started again;
the time runs from there to the next commit. `--kills` kills it with all its processes when a third and when two thirds
are committed, and starts it with two workers, two, and one; labels come 200 samples late there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from driftmoe.engines import Event, Make, event_files, job, results
from driftmoe.engines.keyed import Prediction, Step
from driftmoe.experiment.environment import commit
from streams.synthetic import Fleet

GROWTH = (1_000, 3_000, 10_000, 30_000, 100_000)
"""Numbers of keys."""

SAMPLES_IN_GROWTH, BATCHES_IN_GROWTH = 10, 2
"""Samples of each key, where the number of keys grows, and batches in which they come."""


def samples(n_keys: int, n_each: int) -> Iterator[tuple[dict[Any, Any], Any]]:
    """Return the samples of a fleet."""
    return iter(Fleet(seed=1, n_keys=n_keys, least=n_each, most=n_each))


def plain(make: Make, keyed: Iterable[tuple[str, Event]]) -> tuple[float, str]:
    """Return the processor seconds of the plain loop, and the digest of its predictions."""
    models: dict[str, Any] = {}
    waiting: dict[str | None, Any] = {}
    asked, found, sha256 = [], [], hashlib.sha256()
    events = list(keyed)
    start = time.process_time()
    for key, event in events:
        model = models.get(key)
        if model is None:
            model = models[key] = make()
        if event.kind == "label":
            model.learn_one(waiting.pop(event.id), event.payload)
            continue
        x = event.payload["features"] if event.kind == "sample" else event.payload
        asked.append((key, event))
        found.append((model.predict_proba_one if event.kind == "sample" else model.arrive_one)(x))
        if event.kind == "sample":
            model.learn_one(x, event.payload["label"])
        else:
            waiting[event.id] = x
    seconds = time.process_time() - start
    for (key, event), proba in zip(asked, found, strict=True):
        label = max(proba, key=proba.__getitem__) if proba else None
        said = Step(b"", [Prediction(event.seq, event.id, label, proba)], [])
        (one,) = results.results_of(key, said)
        sha256.update(f"{json.dumps([one.seq, key, one.id])}{one.content}\n".encode())
    return seconds, sha256.hexdigest()


def on_engine(arguments: argparse.Namespace, n_keys: int, n_each: int, folder: Path) -> dict[str, Any]:
    """Return the figures of a job."""
    make = Make(arguments.model)
    settings = job.Settings(
        source="fleet", key="key", delay=0, limit=None, stream_seed=1, model=arguments.model, seed=1, prior=None,
        n_in_batch=arguments.batch, engine=arguments.engine,
    )  # fmt: skip
    marks: dict[str, float] = {}
    start = time.perf_counter()
    figures = job.run(
        folder, settings, make, lambda: event_files.events_of(samples(n_keys, n_each), "key"), ttl=1e6,
        parallelism=arguments.workers, progress=lambda what, *_: marks.setdefault(what, time.perf_counter()),
    )  # fmt: skip
    written = next(iter(marks.values()), start)
    line = {
        "engine": arguments.engine, "model": arguments.model, "workers": arguments.workers, "batch": arguments.batch,
        "keys": n_keys, "samples": figures.n_predictions, "seconds": time.perf_counter() - start,
        "seconds_before_events": written - start, "digest": figures.digest,
        "accuracy": figures.n_right / max(figures.n_scored, 1),
    }  # fmt: skip
    if arguments.engine == "local":
        from driftmoe.engines import local

        line["state_bytes"] = local.n_state_bytes(folder / "out")[1]
    return line


def recovery(arguments: argparse.Namespace, n_keys: int, n_each: int, folder: Path) -> float:
    """Return the seconds from a start after a kill to the next commit."""
    n = n_keys * n_each
    command = command_of(arguments, n_keys, n_each, folder)
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    _until(folder, arguments.engine, n // 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reached = _n_results(folder, arguments.engine)
    start = time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    _until(folder, arguments.engine, reached + 1, process)
    seconds = time.perf_counter() - start
    process.wait()
    return seconds


def command_of(
    arguments: argparse.Namespace, n_keys: int, n_each: int, folder: Path, *more: str
) -> list[str]:
    """Return the command that takes the samples of a fleet, in twenty batches or so."""
    source = f"streams.synthetic:Fleet(n_keys={n_keys}, least={n_each}, most={n_each})"
    return [
        sys.executable, "-m", "driftmoe.cli", "keyed", source, "--key", "key", "--checkpoint", str(folder),
        "--engine", arguments.engine, "--model", arguments.model, "--batch", str(max(1, n_keys * n_each // 20)),
        "--quiet", *more,
    ]  # fmt: skip


def killed(arguments: argparse.Namespace, n_keys: int, n_each: int, folder: Path) -> str:
    """Kill a command twice, and return what came of it, as text."""
    n = n_keys * n_each
    command = command_of(arguments, n_keys, n_each, folder, "--delay", "200", "--json")
    _, expected = plain(Make(arguments.model), event_files.events_of(samples(n_keys, n_each), "key", 200))
    start = time.perf_counter()
    reached = []
    for third in (1, 2):
        process = subprocess.Popen(
            [*command, "--workers", "2"], start_new_session=True, stdout=subprocess.DEVNULL
        )
        _until(folder, arguments.engine, third * n // 3, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reached.append(_n_results(folder, arguments.engine))
    done = subprocess.run([*command, "--workers", "1"], check=True, stdout=subprocess.PIPE)
    figures = json.loads(done.stdout)
    assert figures["digest"] == expected, "predictions differ from those of the plain loop"
    return (
        f"{arguments.engine}: {figures['n_keys']} keys, {n:,} samples, killed with {reached[0]:,} and {reached[1]:,} "
        f"results, then one worker for two: digest {expected[:16]} as that of the plain loop, "
        f"{time.perf_counter() - start:.0f} s"
    )


def _until(folder: Path, engine: str, n: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many results are committed."""
    while process.poll() is None:
        if _n_results(folder, engine) >= n:
            return
        time.sleep(0.2)
    raise RuntimeError("the command ended before it could be killed; give more keys")


def _n_results(folder: Path, engine: str) -> int:
    """Return how many results are committed."""
    try:
        return sum(1 for _ in importlib.import_module(job.ENGINES[engine]).results(folder / "out"))
    except Exception:  # files that are just being made
        return 0


def main() -> None:
    """Measure, and print a line for each measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=list(job.ENGINES), default="local")
    parser.add_argument("--model", default="small")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=100, help="samples of each key")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--growth", action="store_true", help="let the number of keys grow")
    parser.add_argument("--recovery", action="store_true", help="measure the recovery after a kill, too")
    parser.add_argument("--out", type=Path, help="file to which a JSON line is added for each measurement")
    parser.add_argument("--kills", action="store_true", help="kill the command twice, and compare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.kills:
        with tempfile.TemporaryDirectory() as place:
            print(killed(arguments, arguments.keys, arguments.samples, Path(place, "job")))
        return
    for n_keys in GROWTH if arguments.growth else (arguments.keys,):
        n_each = arguments.samples
        if arguments.growth:
            n_each = SAMPLES_IN_GROWTH
            arguments.batch = n_keys * n_each // BATCHES_IN_GROWTH
        with tempfile.TemporaryDirectory() as place:
            line = on_engine(arguments, n_keys, n_each, Path(place, "job"))
            if n_keys <= 10_000:
                events = event_files.events_of(samples(n_keys, n_each), "key")
                line["plain_seconds"], digest = plain(Make(arguments.model), events)
                assert digest == line["digest"], "predictions differ from those of the plain loop"
                line["of_plain"] = line["plain_seconds"] / line["seconds"]
            if arguments.recovery:
                line["recovery_seconds"] = recovery(arguments, n_keys, n_each, Path(place, "again"))
        line |= {"commit": commit(), "machine": platform.machine(), "python": platform.python_version()}
        print(told(line), flush=True)
        if arguments.out:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    if arguments.growth and arguments.out:
        draw(arguments.out, arguments.out.with_suffix(".png"))


def told(line: dict[str, Any]) -> str:
    """Return a measurement as text."""
    text = f"{line['engine']}, {line['keys']:,} keys, {line['samples']:,} samples: {line['seconds']:.1f} s"
    text += f" ({line['samples'] / line['seconds']:,.0f}/s)"
    if "of_plain" in line:
        text += f", {line['of_plain']:.2f} of the plain loop"
    if "state_bytes" in line:
        text += f", {line['state_bytes'] / line['keys']:,.0f} bytes a key"
    if "recovery_seconds" in line:
        text += f", {line['recovery_seconds']:.1f} s from a kill to the next commit"
    return text


def draw(lines: Path, picture: Path) -> None:
    """Draw how seconds and bytes grow with the number of keys."""
    from matplotlib.figure import Figure

    found = [json.loads(line) for line in lines.read_text().splitlines()]
    found = [one for one in found if one["samples"] == one["keys"] * SAMPLES_IN_GROWTH]
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axes, name, what in zip(
        figure.subplots(1, 2), ("seconds", "state_bytes"), ("seconds", "bytes of all states"), strict=True
    ):
        for engine in dict.fromkeys(one["engine"] for one in found):
            some = [one for one in found if one["engine"] == engine and name in one]
            axes.loglog([one["keys"] for one in some], [one[name] for one in some], marker="o", label=engine)
        axes.set_xlabel("keys")
        axes.set_title(what, loc="left")
        axes.grid(visible=True, which="both", alpha=0.2)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
