"""`driftmoe replay`: a worker over a recorded log, as fast as it goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from driftmoe.cli.bars import samples_bar
from driftmoe.cli.late import Late
from driftmoe.cli.serve import prepare
from driftmoe.cli.service_log import begin_log
from driftmoe.cli.service_options import (
    Lateness,
    MaxAge,
    MaxModels,
    MaxUnsent,
    MaxWaiting,
    Model,
    ModelSeed,
    Order,
    Remember,
    Sink,
    SnapshotEvery,
    StoreFolder,
    bounds_of,
)
from driftmoe.cli.store import counts_text, scores_text
from driftmoe.cli.terminal import one_line_errors, say, show

if TYPE_CHECKING:
    import torch

    from driftmoe import service as library
    from driftmoe.service import serving
else:
    library, torch, serving = Late("driftmoe.service"), Late("torch"), Late("driftmoe.service.serving")

EXAMPLES = """
Examples:

  driftmoe replay events.jsonl --store runs/replayed

  driftmoe replay events.jsonl --store runs/by-time --order time --lateness 1h
"""


def replay(
    log: Annotated[
        str,
        typer.Argument(
            metavar="LOG", help="File with an event a line, or - for standard input.", show_default=False
        ),
    ],
    store: StoreFolder,
    model: Model = None,
    *,
    seed: ModelSeed = None,
    sink: Sink = None,
    max_waiting: MaxWaiting = 100_000,
    max_age: MaxAge = "30d",
    order: Order = "arrival",
    lateness: Lateness = "0s",
    remember: Remember = 100_000,
    max_models: MaxModels = 100,
    max_unsent: MaxUnsent = 1_000_000,
    snapshot_every: SnapshotEvery = 5_000,
) -> None:
    """Let the worker of `driftmoe serve` take a recorded log, to its end.

    A log that was taken in part is taken from there. The store can then be served.
    """
    torch.set_num_threads(1)
    begin_log(as_json=False)
    with one_line_errors():
        settings = library.Settings(
            model=model, seed=seed,
            bounds=bounds_of(max_waiting, max_age, order, lateness, remember, max_models, max_unsent),
            snapshot_every=snapshot_every, has_sink=sink is not None,
        )  # fmt: skip
        service = serving.Service(store, settings, sources=[log], sink=sink, follows=False)
        prepare(service)
        start, before = time.perf_counter(), service.worker.counts.get("events", 0)
        with service, samples_bar("replaying", None) as progress:
            while not service.done.wait(0.2):
                progress(service.worker.counts.get("events", 0) - before)
            if service.failure is None:
                service.worker.drain()
        worker = service.worker
        n = worker.counts.get("events", 0) - before
        seconds = time.perf_counter() - start
    show(f"{n:,} events in {seconds:,.1f} s, {n / seconds:,.0f} a second")
    show(counts_text(worker.counts))
    show(scores_text({key: keyed.scores.figures() for key, keyed in worker.registry.models.items()}))
    if service.failure is not None:
        say(str(service.failure))
        raise typer.Exit(1)
