"""The command line: arguments in, calls to the library, answers for people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from typer.exceptions import TyperException

import streams
from driftmoe import __version__, models, report, streams_cli
from driftmoe.evaluation import Checkpoint, prequential
from driftmoe.experiment import ResultFolder, Run
from streams import Stream

app = typer.Typer(
    name="driftmoe",
    help="Online mixture of experts for data streams that drift.",
    epilog="Example: driftmoe evaluate electricity --model driftmoe --model arf",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXAMPLES = """
Examples:

  driftmoe evaluate

  driftmoe evaluate covtype --limit 50000 --model driftmoe --model "arf(n_models=30)"

  driftmoe evaluate led_a --limit 100000 --seed 1 --seed 2 --seed 3 --out runs/led

Models: {models}.

Streams: {streams}.
"""


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "driftmoe"
        _fail(f"{error.format_message().rstrip('.') or 'a command is missing'}. See: {command} --help")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Online mixture of experts for data streams that drift."""
    if version:
        typer.echo(f"driftmoe {__version__}")
        raise typer.Exit


app.add_typer(streams_cli.app, name="streams")


@app.command(epilog=EXAMPLES.format(models=", ".join(models.MODELS), streams=", ".join(streams.names())))
def evaluate(
    stream: Annotated[str, typer.Argument(metavar="[STREAM]", help="Name of a stream.")] = "electricity",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help='A model, with arguments as in "arf(n_models=100)". Repeat for several. '
            "Default: driftmoe, arf, srp.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many samples.")] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Seed of model and synthetic stream. Repeat for several. Default: 1.", show_default=False
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Samples in a window of the curve.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. Default: runs/STREAM.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where files of real streams lie; else $DRIFTMOE_DATA, then the user's cache."),
    ] = None,
) -> None:
    """Run models over a stream, test-then-train: each sample is predicted before it is learnt.

    Prints a table and writes results.jsonl, windows.csv and a picture of the accuracy over time.
    Runs already in the folder stay; the same run replaces its older result. Ctrl-C keeps what was measured.
    """
    specs, seeds = model or ["driftmoe", "arf", "srp"], seed or [1]
    try:
        for spec in specs:
            models.make(spec)
        folder = ResultFolder(out or Path("runs") / stream)
        samples = {s: _stream(stream, s, limit, data_dir) for s in seeds}
        runs = [Run(stream, spec, s, limit, window) for spec in specs for s in seeds]
        results, interrupted = _evaluate(runs, samples, folder)
    except (ValueError, OSError) as error:
        _fail(str(error))
    if not results:
        _fail("interrupted before the first window was full; nothing was measured", code=130)
    drifts = results[0]["drifts"]
    curves = [
        p
        for p in folder.curves(stream)
        if (p["model"], int(p["seed"])) in {(r["model"], r["seed"]) for r in results}
    ]
    picture = folder.path / f"{stream}.png"
    title = f"{stream}, {max(r['n_samples'] for r in results):,} samples, test-then-train"
    report.plot_windows(curves, picture, title=f"{title}, windows of {window:,}", drifts=drifts)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(report.table(results, title=title))
    console.print(
        f"Results: {folder.path / 'results.jsonl'}, {folder.path / 'windows.csv'}, {picture}", soft_wrap=True
    )
    if interrupted:
        sys.exit(130)


def _stream(name: str, seed: int, limit: int | None, data_dir: Path | None) -> Stream:
    """Make a stream; show a progress bar if its file has to be fetched first."""
    progress = Progress(*Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True))
    tasks: list[TaskID] = []

    def show(done: int, total: int | None, description: str) -> None:
        if not tasks:
            progress.start()
            tasks.append(progress.add_task(description))
        progress.update(tasks[0], completed=done, total=total, description=description)

    try:
        return streams.make(name, seed=seed, n_samples=limit, data_dir=data_dir, progress=show)
    finally:
        if tasks:
            progress.stop()


def _evaluate(
    runs: list[Run], samples: dict[int, Stream], folder: ResultFolder
) -> tuple[list[dict[str, Any]], bool]:
    """Do the runs one by one, keeping each as it ends; return the result lines and whether it was cut short."""
    results = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        for run in runs:
            stream = samples[run.seed]
            model = models.make(run.model, seed=run.seed)
            task = progress.add_task(f"{run.model}, seed {run.seed}", total=stream.n_samples, figures="")
            last: Checkpoint | None = None
            curve = []
            interrupted = False
            try:
                for last in prequential(stream, model, window=run.window):
                    curve.append(run.curve_point(last))
                    rate, accuracy = last.n_samples / last.seconds, last.cumulative["accuracy"]
                    figures = f"{rate:,.0f} samples/s, accuracy {accuracy:.2%}"
                    progress.update(task, completed=last.n_samples, figures=figures)
            except KeyboardInterrupt:
                interrupted = True
            if last is not None:
                result = run.result(
                    last,
                    model,
                    stream_length=stream.n_samples,
                    stream_sha256=stream.fingerprint(),
                    drifts=[(drift.position, drift.width) for drift in stream.drifts],
                    is_complete=not interrupted,
                )
                folder.add(result, curve)
                results.append(result)
            if interrupted:
                return results, True
    return results, False


def _fail(message: str, *, code: int = 2) -> NoReturn:
    print(f"driftmoe: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
