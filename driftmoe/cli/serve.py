"""`driftmoe serve`: a worker that predicts, and learns when labels come."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftmoe.cli.late import Late
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
    Sources,
    StoreFolder,
    bounds_of,
    tokens_of,
)
from driftmoe.cli.terminal import one_line_errors, say

if TYPE_CHECKING:
    import torch

    from driftmoe import service as library
    from driftmoe.service import addresses, serving
else:
    library, torch = Late("driftmoe.service"), Late("torch")
    addresses, serving = Late("driftmoe.service.addresses"), Late("driftmoe.service.serving")

EXAMPLES = """
Examples:

  driftmoe serve --store runs/store

  driftmoe streams export electricity - | driftmoe feed --delay 500 http://127.0.0.1:8000

  driftmoe serve --store runs/store --source redis://localhost/payments --sink alarms.jsonl

  driftmoe serve --store runs/store --source events.jsonl --no-http

An event is a JSON object: {"id": "a1", "features": {"x": 1.5}}, and later

  {"id": "a1", "label": "yes"}
"""


def serve(
    store: StoreFolder,
    model: Model = None,
    *,
    seed: ModelSeed = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others can reach 0.0.0.0; give tokens then.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    http: Annotated[bool, typer.Option("--http/--no-http", help="Whether clients can ask over HTTP.")] = True,
    source: Sources = None,
    sink: Sink = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with lines `read TOKEN` and `write TOKEN`. Who has the second may also read.",
            show_default=False,
        ),
    ] = None,
    max_waiting: MaxWaiting = 100_000,
    max_age: MaxAge = "30d",
    order: Order = "arrival",
    lateness: Lateness = "0s",
    remember: Remember = 100_000,
    max_models: MaxModels = 100,
    max_unsent: MaxUnsent = 1_000_000,
    snapshot_every: SnapshotEvery = 10_000,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Events that wait for the worker at most; then 429.")
    ] = 10_000,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write the log as lines of JSON.")] = False,
) -> None:
    """Predict for events as they come, and learn when their labels come.

    All that follows from events is kept in the store: a worker that dies goes
    on from its last commit. Nothing is lost, and nothing is learnt twice. A page
    at its address shows how the model does. Ctrl-C or SIGTERM stop it.
    """
    torch.set_num_threads(1)
    begin_log(as_json=log_json)
    with one_line_errors():
        settings = library.Settings(
            model=model, seed=seed,
            bounds=bounds_of(max_waiting, max_age, order, lateness, remember, max_models, max_unsent),
            max_queue=max_queue, snapshot_every=snapshot_every, has_sink=sink is not None,
        )  # fmt: skip
        tokens = {} if token_file is None else tokens_of(token_file)
        if not http and not source:
            raise ValueError("--no-http needs a --source, or no event could come")
        if http and host not in LOOPBACK and not tokens:
            say(f"anyone who can reach {host} may write to the models; give --token-file")
        if http:
            with_http(store, settings, source or [], sink, host, port, tokens)
        else:
            without_http(store, settings, source or [], sink)


LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""


def with_http(
    folder: Path,
    settings: library.Settings,
    sources: list[str],
    sink: str | None,
    host: str,
    port: int,
    tokens: dict[str, str],
) -> None:
    """Serve clients until a signal comes, or a source fails."""
    try:
        from driftmoe.service.http import server_of
    except ImportError as error:
        raise ValueError(str(error)) from None
    server: Any = None

    def ended() -> None:
        if service.failure is not None and server is not None:
            server.stop()

    service = serving.Service(folder, settings, sources=sources, sink=sink, ended=ended)
    try:
        server = server_of(
            service.worker, host, port, read_token=tokens.get("read"), write_token=tokens.get("write")
        )
        prepare(service)
        with service:
            say(f"serving at {server.url}; the page is there, the API at {server.url}/docs; Ctrl-C stops")
            server.run()
    finally:
        service.worker.store.close()
    _raise_failure(service)


def without_http(folder: Path, settings: library.Settings, sources: list[str], sink: str | None) -> None:
    """Take events from sources until a signal comes, one fails, or all have ended."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        service = serving.Service(folder, settings, sources=sources, sink=sink, ended=stopping.set)
        prepare(service)
        with service:
            say(f"taking events from {', '.join(map(addresses.without_secrets, sources))}; Ctrl-C stops")
            while not stopping.wait(0.2):
                if service.worker.failure is not None:
                    break
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _raise_failure(service)


def prepare(service: serving.Service) -> None:
    """Compile the model before anybody waits for it."""
    say("preparing the model; the first time on a machine this takes up to a minute")
    service.prepare()


def _raise_failure(service: serving.Service) -> None:
    if service.failure is not None:
        say(str(service.failure))
        raise typer.Exit(1)
