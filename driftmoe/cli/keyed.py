"""`driftmoe keyed`: one model a key, on processes of this machine, Spark or Flink."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from driftmoe.cli.bars import open_with_bar, samples_bar
from driftmoe.cli.completion import model_files, models_named
from driftmoe.cli.late import Late
from driftmoe.cli.options import AsJson, DataDir, Limit, Name, Quiet, Seed, reads_files
from driftmoe.cli.service_options import seconds_of
from driftmoe.cli.terminal import be_quiet, one_line_errors, report_reading, show
from streams.file_options import FileOptions

if TYPE_CHECKING:
    import torch

    from driftmoe import engines, saving
    from driftmoe.engines import event_files, job, local
    from driftmoe.engines.results import Figures
else:
    engines, saving, torch = Late("driftmoe.engines"), Late("driftmoe.saving"), Late("torch")
    event_files, job = Late("driftmoe.engines.event_files"), Late("driftmoe.engines.job")
    local = Late("driftmoe.engines.local")

EXAMPLES = """
Examples:

  driftmoe keyed fleet --limit 100000 --key key --checkpoint runs/fleet

  driftmoe keyed payments.csv --target fraud --key customer --delay 500 --checkpoint runs/payments --workers 4

  driftmoe keyed "streams.synthetic:Fleet(n_keys=500, most=300)" --key key --engine spark --checkpoint runs/on-spark

  driftmoe keyed fleet --key key --prior all.moe --checkpoint runs/with-prior

If a command is killed, the same command goes on where it stopped.
"""


Key = Annotated[
    str,
    typer.Option(metavar="COLUMN", help="Feature that is the key. Models do not see it.", show_default=False),
]
Checkpoint = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Folder of the job: its events, states and results. A command that was killed goes on from it.",
        show_default=False,
    ),
]
Engine = Annotated[
    Literal["local", "spark", "flink"],
    typer.Option(help="What runs the models: processes of this machine, Spark, or Flink."),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Model of each key, which must be one that can be saved. `driftmoe models` shows all names.",
        autocompletion=models_named,
    ),
]
Prior = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A saved model whose vote the mixture of each key uses and does not teach, so that a new key need not "
        "begin with nothing.",
        show_default=False,
        autocompletion=model_files,
    ),
]
Delay = Annotated[
    int, typer.Option(min=0, metavar="N", help="Samples, of all keys, between a sample and its label.")
]
TimeToLive = Annotated[
    str,
    typer.Option(
        "--ttl", metavar="TIME", help="How long a sample waits for its label: a number with s, m, h or d."
    ),
]
Parallelism = Annotated[
    int,
    typer.Option("--workers", min=1, metavar="N", help="Number of processes, or of tasks at the same time."),
]
Batch = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Events that are committed together. The more events of a key come together, the less often its model is "
        "written.",
    ),
]
ModelSeed = Annotated[int, typer.Option(min=0, metavar="SEED", help="Seed of the models.")]


@reads_files
def keyed(
    source: Name,
    *,
    key: Key,
    checkpoint: Checkpoint,
    engine: Engine = "local",
    model: Model = "small",
    prior: Prior = None,
    delay: Delay = 0,
    ttl: TimeToLive = "7d",
    workers: Parallelism = 1,
    batch: Batch = 100_000,
    limit: Limit = None,
    seed: Seed = None,
    model_seed: ModelSeed = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
    options: FileOptions,
    data_dir: DataDir = None,
) -> None:
    """Give each key of a stream its own model, which predicts each sample and then learns it.

    The result does not depend on how many workers share the keys, how
    events are cut into batches, or how often the command was killed: predictions
    are those of a plain loop over the samples of each key, to the last bit. The
    digest of all predictions shows it.
    """  # fmt: skip
    be_quiet(quiet)
    torch.set_num_threads(1)
    with one_line_errors():
        settings = job.Settings(
            source=source, key=key, delay=delay, limit=limit, stream_seed=1 if seed is None else seed, model=model,
            seed=model_seed, prior=job.sha256_of(None if prior is None else str(prior)), n_in_batch=batch,
            engine=engine, options=options.given(),
        )  # fmt: skip
        make = engines.Make(model, model_seed, None if prior is None else str(prior.absolute()))
        n_bytes_of_new(make)  # what is wrong with the model is told before anything is written

        def events() -> Iterator[Any]:
            stream = open_with_bar(source, options, limit, settings.stream_seed, data_dir)
            report_reading(source, stream, options)
            check_key(key, [feature.name for feature in stream.features])
            return event_files.events_of(stream, key, delay)

        start = time.perf_counter()
        try:
            with events_bar() as progress:
                figures = job.run(
                    checkpoint, settings, make, events, ttl=seconds_of("ttl", ttl), parallelism=workers,
                    progress=progress,
                )  # fmt: skip
        except (RuntimeError, ImportError) as error:
            raise ValueError(str(error)) from None
        seconds = time.perf_counter() - start
        if as_json:
            show(json.dumps({**asdict(settings), **asdict(figures)}))
        show(summary(checkpoint, settings, figures, seconds), beside_json=as_json)


def check_key(key: str, names: list[str]) -> None:
    """Raise ValueError if no feature has the name of the key."""
    if key not in names:
        raise ValueError(
            f"--key {key}: there is no such feature; there are {', '.join(map(str, names[:20]))}"
        )


def n_bytes_of_new(make: engines.Make) -> int:
    """Return the bytes of a new model. Raise ValueError if there is no such model, or it cannot be saved."""
    try:
        return len(saving.to_bytes(make()))
    except TypeError as error:
        raise ValueError(f"model '{make.spec}' cannot be used for keys: {error}") from None


def summary(folder: Path, settings: job.Settings, figures: Figures, seconds: float) -> str:
    """Return the figures of a job, in lines of at most 80 columns."""
    lines = [
        f"{settings.source} on {settings.engine}: {figures.n_keys:,} keys, {figures.n_events:,} events, "
        f"{figures.n_predictions:,} predictions"
    ]
    if figures.n_scored:
        lines.append(f"accuracy      {100.0 * figures.n_right / figures.n_scored:.2f} %")
        for first, (n_scored, n_right) in figures.first.items():
            share = 100.0 * n_right / max(n_scored, 1)
            lines.append(f"  first {first:<6,}{share:.2f} % of the first {first:,} samples of each key")
    for i, (kind, n) in enumerate(figures.alarms.items()):
        lines.append(f"{'' if i else 'alarms':<14}{n:,} {kind}")
    if settings.engine == "local":
        n_keys, n_bytes = local.n_state_bytes(folder / "out")
        lines.append(f"state         {n_bytes / max(n_keys, 1):,.0f} bytes a key, {n_bytes:,} in all")
    lines.append(f"digest        {figures.digest[:32]}\n              {figures.digest[32:]}")
    lines.append(f"this command  {seconds:,.1f} s")
    lines.append(f"written       {folder}/predictions.jsonl, {folder}/alarms.jsonl")
    return "\n".join(lines)


@contextmanager
def events_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a function to call with what is done, the number of events done, and of all. The first call shows a bar."""
    with ExitStack() as stack:
        bars: dict[str, Callable[[int], None]] = {}

        def update(what: str, n_done: int, n_all: int | None) -> None:
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(samples_bar(what, n_all, "events"))
            bars[what](n_done)

        yield update
