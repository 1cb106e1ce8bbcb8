"""`driftmoe grid`: every model on every stream with every seed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import streams
from driftmoe.cli.bars import open_with_bar
from driftmoe.cli.board import show_grid
from driftmoe.cli.completion import models_named, streams_and_files
from driftmoe.cli.late import Late
from driftmoe.cli.options import (
    AsJson,
    CheckpointEvery,
    CountWarmUp,
    DataDir,
    Delayed,
    LabelOrder,
    LabelShare,
    Limit,
    Metrics,
    Quiet,
    Seeds,
    ShuffleWindow,
    TimeColumn,
    Window,
    Workers,
    reads_files,
)
from driftmoe.cli.own_streams import is_own
from driftmoe.cli.terminal import (
    be_quiet,
    check_kept,
    one_line_errors,
    report_checkpoints_left,
    report_not_kept,
    report_reading,
    tell,
)
from streams.file_options import FileOptions
from streams.wrapped import innermost

if TYPE_CHECKING:
    from driftmoe import experiment
    from driftmoe.experiment import JobFolder, Run
    from streams import Stream
else:
    experiment = Late("driftmoe.experiment")

EXAMPLES = """
Examples:

  driftmoe grid led_a rbf_f --limit 100000 -m driftmoe -m ht --seed 1 --seed 2

  driftmoe grid led_a sea_a -m driftmoe -m arf --label-share 0.1

  driftmoe grid led_a -m arf --executor dask --scheduler tcp://10.0.0.1:8786

  driftmoe grid led_a rbf_f -m driftmoe -m arf --shard 2/8 --out runs/grid

  driftmoe grid my_streams:Turbine led_a -m driftmoe -m "my_models:Mine(depth=3)"
"""

StreamNames = Annotated[
    list[str],
    typer.Argument(
        metavar="STREAM",
        help="Names of streams, files, - for standard input, or your own as module:Class.",
        show_default=False,
        autocompletion=streams_and_files,
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A model, as in `driftmoe evaluate`. Repeat for several.",
        show_default=False,
        autocompletion=models_named,
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results, with one file per run.")]
Executor = Annotated[
    str,
    typer.Option(
        help="How to run them: serial (one after the other), processes (on this machine), "
        "or dask (on a cluster; needs the extra `dask`)."
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Address of a running Dask scheduler to use.", show_default=False),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do only part I of N of the grid, so that N machines can share it.",
        show_default=False,
    ),
]


@reads_files
def grid(
    stream: StreamNames,
    *,
    model: Models,
    limit: Limit = None,
    seed: Seeds = None,
    window: Window = None,
    metric: Metrics = None,
    delay: Delayed = "0",
    time: TimeColumn = None,
    label_share: LabelShare = 1.0,
    count_warm_up: CountWarmUp = False,
    label_order: LabelOrder = "use",
    shuffle_window: ShuffleWindow = None,
    out: Out = Path("runs/grid"),
    executor: Executor = "processes",
    workers: Workers = 1,
    scheduler: Scheduler = None,
    shard: Shard = None,
    checkpoint_every: CheckpointEvery = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    options: FileOptions,
    data_dir: DataDir = None,
) -> None:
    """Run every model on every stream with every seed. Runs that have a result are not done again.

    If a grid is stopped, in whatever way, the same command does the rest;
    with --checkpoint-every, runs that were going on also go on.
    `driftmoe report` turns the folder into a page.

    Each run writes one file, whole or not at all. Commands that share a
    folder share the work: a run that one command is doing is left alone by
    the others, unless that command dies.

    The options from --target to --encoding apply to all files, but not to
    streams known by name.
    """
    be_quiet(quiet)
    with one_line_errors():
        delay = experiment.delay_by_time(delay, time)
        has_files = not all(map(_is_named, stream))
        open_run = functools.partial(
            _open_named_or_file if has_files else open_with_bar,
            options=options, data_dir=data_dir, shuffle_window=shuffle_window,
        )  # fmt: skip
        for name in dict.fromkeys(stream):
            if not _is_named(name):
                report_reading(name, open_run(name=name, limit=limit, seed=None), options, time)
        runs = experiment.planned(
            stream, model, seed or [1], open_run,
            limit=limit, window=window, delay=delay, count_warm_up=count_warm_up, metrics=metric or (),
            label_order=label_order, shuffle_window=shuffle_window, label_share=label_share,
        )  # fmt: skip
        for run in runs:
            check_kept(run.metrics, checkpoint_every)
        runs = experiment.shard(runs, shard) if shard else runs
        checkpoints = experiment.CheckpointFolder(out / "checkpoints", checkpoint_every)
        folder = experiment.JobFolder(out)
        _report_other_windows(folder, runs)
        events = experiment.run_grid(
            runs, open_run, folder, executor=executor, n_workers=workers, scheduler=scheduler,
            checkpoints=checkpoints,
        )  # fmt: skip
        if checkpoint_every is not None:
            report_not_kept(runs)
        n_failed = show_grid(runs, events, out, as_json=as_json)
        report_checkpoints_left(checkpoints)
    if n_failed:
        raise typer.Exit(1)


def _report_other_windows(folder: JobFolder, runs: Sequence[Run]) -> None:
    """Write to stderr which results are of the same runs with other windows, if any."""
    if others := sorted(folder.other_windows(runs)):
        ours = sorted({run.window for run in runs})
        tell(
            f"{folder.path} has results of the same runs with windows of {', '.join(f'{n:,}' for n in others)}; these "
            f"runs are done again, with windows of {', '.join(f'{n:,}' for n in ours)}, "
            f"unless the command is given --window {others[0]}"
        )


def _open_named_or_file(
    name: str,
    options: FileOptions,
    limit: int | None,
    seed: int | None,
    data_dir: Path | None,
    shuffle_window: int | None,
) -> Stream:
    """Open a stream as `open_with_bar` does, but without the options of files if it is known by name."""
    of_name = FileOptions() if _is_named(name) else options
    return open_with_bar(name, of_name, limit, seed, data_dir, shuffle_window)


def _is_named(name: str) -> bool:
    """Return whether a stream, or that within wrappers, is known by name or the user's own, and no file."""
    inner = innermost(name)
    return inner in streams.names() or is_own(inner)
