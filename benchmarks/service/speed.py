"""Events a second that a worker takes, as shares of the plain loop over blocks in the same run.

    python -m benchmarks.service.speed                       # three rounds in turns, a few minutes
    python -m benchmarks.service.speed --samples 5000 --rounds 1
    python -m benchmarks.service.speed --out benchmarks/results/service_speed.jsonl

The plain loop is `step_rows` on blocks of 1 000 samples that lie in memory. The other ways carry the same samples: JSON
is read, predictions and labels are committed to a store on this disk, and in the end the model is the same to the last
bit. "Late" means that a label comes 500 samples after its features, one event each, so that the model predicts and
learns in turns; its own plain loop is `run_rows` on blocks of as many samples, and single calls stand beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import torch

import streams
from driftmoe import models
from driftmoe.experiment.environment import commit
from driftmoe.service import Settings, Store, Worker
from driftmoe.service.client import Client, feed
from driftmoe.service.serving import Service

DELAY = 500
"""Samples between features and label, where labels are late."""

BLOCK = 1_000
"""Samples in a block of the plain loop."""


class Run:
    """The samples of a measurement, and the ways on which they go through a model."""

    def __init__(self, spec: str, stream: str, n: int, folder: Path) -> None:
        self.spec, self.folder = spec, folder
        samples = list(streams.make(stream, seed=1, n_samples=n))
        self.X, self.y = [x for x, _ in samples], [_plain(y) for _, y in samples]
        self.X = [{str(name): _plain(value) for name, value in x.items()} for x in self.X]
        self.n = len(samples)
        self._count = 0

    def whole(self) -> list[dict[str, Any]]:
        """Return events with features and label."""
        return [
            {"id": str(i), "features": x, "label": y}
            for i, (x, y) in enumerate(zip(self.X, self.y, strict=True))
        ]

    def late(self) -> list[dict[str, Any]]:
        """Return events with features, and later their labels."""
        events: list[dict[str, Any]] = []
        for i, x in enumerate(self.X):
            events.append({"id": str(i), "features": x})
            if i >= DELAY:
                events.append({"id": str(i - DELAY), "label": self.y[i - DELAY]})
        return events + [{"id": str(i), "label": self.y[i]} for i in range(max(0, self.n - DELAY), self.n)]

    def place(self) -> Path:
        """Return a new folder."""
        self._count += 1
        place = self.folder / str(self._count)
        place.mkdir()
        return place

    def plain_blocks(self) -> float:
        """Return the seconds of the plain loop over blocks."""
        model, start = models.make(self.spec, seed=1), time.perf_counter()
        for i in range(0, self.n, BLOCK):
            model.step_rows(self.X[i : i + BLOCK], self.y[i : i + BLOCK])
        return time.perf_counter() - start

    def plain_late(self) -> float:
        """Return the seconds of the plain loop over blocks with late labels."""
        rows = [
            (event["features"], None) if "features" in event else (self.X[int(event["id"])], event["label"])
            for event in self.late()
        ]
        model, start = models.make(self.spec, seed=1), time.perf_counter()
        for i in range(0, len(rows), 2 * BLOCK):
            X, y = zip(*rows[i : i + 2 * BLOCK], strict=True)
            model.run_rows(X, y, asked=[label is None for label in y])
        return time.perf_counter() - start

    def single_late(self) -> float:
        """Return the seconds of a loop with late labels, one call a sample."""
        model, start = models.make(self.spec, seed=1), time.perf_counter()
        for event in self.late():
            if "features" in event:
                model.predict_proba_one(event["features"])
            else:
                i = int(event["id"])
                model.learn_one(self.X[i], self.y[i])
        return time.perf_counter() - start

    def from_file(self, events: list[dict[str, Any]]) -> float:
        """Return the seconds in which a worker takes events from a file."""
        place = self.place()
        log = place / "log.jsonl"
        log.write_text("".join(json.dumps(event) + "\n" for event in events))
        return self.from_source(str(log), place)

    def from_source(self, url: str, place: Path) -> float:
        """Return the seconds in which a worker takes all that a source has."""
        service = Service(place / "store", Settings(model=self.spec), sources=[url], follows=False)
        service.prepare()
        start = time.perf_counter()
        with service:
            service.done.wait()
            service.worker.settle()
            seconds = time.perf_counter() - start
        return seconds

    def from_redis(self, port: int) -> float:
        """Return the seconds in which a worker takes events from a Redis stream."""
        import redis

        client = redis.Redis(port=port)
        client.flushall()
        pipeline = client.pipeline(transaction=False)
        for event in self.whole():
            pipeline.xadd("events", {"event": json.dumps(event)})
        pipeline.execute()
        client.close()
        return self.from_source(f"redis://127.0.0.1:{port}/events", self.place())

    def over_http(self, events: list[dict[str, Any]], batch: int) -> float:
        """Return the seconds in which a worker takes events over HTTP."""
        from driftmoe.service.http import server_of

        worker = Worker(Store(self.place() / "store"), Settings(model=self.spec))
        worker.start()
        server = server_of(worker, port=0)
        thread = threading.Thread(target=server.run)
        thread.start()
        client = Client(server.url)
        client.send([{"id": "first", "features": self.X[0]}])
        start = time.perf_counter()
        feed(client, events, batch=batch)
        seconds = time.perf_counter() - start
        client.close()
        server.stop()
        thread.join()
        worker.stop()
        return seconds

    def share_of_commits(self) -> float:
        """Return the share of its time in which a worker commits, with events from a file."""
        place, spent = self.place(), [0.0]
        log = place / "log.jsonl"
        log.write_text("".join(json.dumps(event) + "\n" for event in self.whole()))
        service = Service(place / "store", Settings(model=self.spec), sources=[str(log)], follows=False)
        commit = service.worker._commit

        def timed(arrivals: Any) -> None:
            start = time.perf_counter()
            commit(arrivals)
            spent[0] += time.perf_counter() - start

        service.worker._commit = timed  # type: ignore[method-assign]  # here only
        start = time.perf_counter()
        with service:
            service.done.wait()
            service.worker.settle()
            seconds = time.perf_counter() - start
        return spent[0] / seconds


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


@contextmanager
def redis_server() -> Iterator[int | None]:
    """Run a Redis server; `None` if there is none on this machine."""
    program = which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [program, "--port", str(port), "--save", "", "--dir", folder]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait()


def ways(run: Run, redis_port: int | None, n_single: int) -> dict[str, tuple[Callable[[], float], int, str]]:
    """Return the ways: name -> how to measure it, number of samples, and the plain loop that it is compared with."""
    whole, late = run.whole(), run.late()
    found: dict[str, tuple[Callable[[], float], int, str]] = {
        "plain loop over blocks": (run.plain_blocks, run.n, ""),
        "file, features with label": (lambda: run.from_file(whole), run.n, "plain loop over blocks"),
    }
    if redis_port is not None:
        found["Redis, features with label"] = (
            lambda: run.from_redis(redis_port),
            run.n,
            "plain loop over blocks",
        )
    return found | {
        "HTTP, batches of 500": (lambda: run.over_http(whole, 500), run.n, "plain loop over blocks"),
        "HTTP, one by one": (lambda: run.over_http(whole[:n_single], 1), n_single, "plain loop over blocks"),
        "plain loop, late labels": (run.plain_late, run.n, ""),
        "single calls, late labels": (run.single_late, run.n, "plain loop, late labels"),
        "file, late labels": (lambda: run.from_file(late), run.n, "plain loop, late labels"),
        "HTTP, late, batches of 500": (lambda: run.over_http(late, 500), run.n, "plain loop, late labels"),
    }


def main() -> None:
    """Print the table, and add its lines to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="driftmoe")
    parser.add_argument("--stream", default="led_a")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="File to which lines of JSON are added.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {}
    shares = []
    with tempfile.TemporaryDirectory() as folder, redis_server() as redis_port:
        run = Run(options.model, options.stream, options.samples, Path(folder))
        found = ways(run, redis_port, min(options.samples, 2_000))
        run.plain_blocks()  # compiles
        for _ in range(options.rounds):
            for name, (measure, n, _) in found.items():
                seconds.setdefault(name, []).append(measure() / n)
            shares.append(run.share_of_commits())
    print(
        f"{options.model} on {options.stream}, {options.samples:,} samples, best of {options.rounds} rounds"
    )
    print(f"{'way':<30} {'samples/s':>10} {'us':>8} {'share':>7}  of")
    for name, (_, _, of) in found.items():
        best = min(seconds[name])
        share = f"{min(seconds[of]) / best:.2f}" if of else ""
        print(f"{name:<30} {1 / best:>10,.0f} {1e6 * best:>8.1f} {share:>7}  {of}".rstrip())
    print(f"share of time in commits, events from a file: {min(shares):.2f} to {max(shares):.2f}")
    if options.out is not None:
        line = {
            "model": options.model,
            "stream": options.stream,
            "n_samples": options.samples,
            "commit": commit(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "us": {name: [round(1e6 * one, 2) for one in of] for name, of in seconds.items()},
            "share_of_commits": [round(share, 4) for share in shares],
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
