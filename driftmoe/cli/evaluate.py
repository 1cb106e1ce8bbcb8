"""`driftmoe evaluate`: models on one stream, one after the other, with a table and pictures at the end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import streams
from driftmoe.cli.bars import Watched, open_with_bar
from driftmoe.cli.board import of_another_command
from driftmoe.cli.completion import model_files, models_named, streams_and_files
from driftmoe.cli.late import Late
from driftmoe.cli.names import MODELS, POLICIES, PRESETS
from driftmoe.cli.options import (
    CheckpointEvery,
    CountWarmUp,
    DataDir,
    Delayed,
    Limit,
    Seeds,
    reads_files,
)
from driftmoe.cli.pictures import Format, Metric, Style, Window, fitting_window
from driftmoe.cli.terminal import (
    left_out_rows,
    note,
    one_line_errors,
    report_checkpoints_left,
    report_left_out,
    report_not_kept,
    report_reading,
    say,
    table_console,
)
from driftmoe.exits import INTERRUPTED
from streams.file_options import FileOptions

if TYPE_CHECKING:
    from driftmoe import experiment, models, report, saving
    from driftmoe.evaluation import Checkpoint
    from driftmoe.experiment import Attempt, Evaluations, ResultFolder, Run
else:
    experiment, models = Late("driftmoe.experiment"), Late("driftmoe.models")
    report, saving = Late("driftmoe.report"), Late("driftmoe.saving")

DEFAULT_MODELS = ("driftmoe", "arf", "srp")

EXAMPLES = """
Examples:

  driftmoe evaluate

  driftmoe evaluate covtype --limit 50000 -m driftmoe -m "arf(n_models=30)"

  driftmoe evaluate led_a -m "driftmoe(policy=TopP(p=0.9))" --routing

  driftmoe evaluate led_a -m "moe-vote(policy=STREAM)" -m moe-vote --routing

  driftmoe evaluate flowers.csv --target species --model ht --model nb

  driftmoe evaluate led_a --limit 100000 --seed 1 --seed 2 --out runs/led

  driftmoe evaluate led_a -m driftmoe --checkpoint-every 10000

  driftmoe evaluate led_a -m driftmoe --limit 50000 --save led.moe

  driftmoe evaluate led_g --load led.moe --count-warm-up

Models: {models}.

Routing policies: {policies}; presets: {presets}.

Streams: {streams}.
""".format(
    models=", ".join(MODELS),
    policies=", ".join(POLICIES),
    presets=", ".join(PRESETS),
    streams=", ".join(streams.names()),
)

StreamName = Annotated[
    str,
    typer.Argument(
        metavar="[STREAM]",
        help="Name of a stream, or a file (CSV, ARFF, JSON lines, Parquet, Arrow).",
        autocompletion=streams_and_files,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help='A model, with arguments as in "arf(n_models=100)". Repeat for several. '
        f"Default: {', '.join(DEFAULT_MODELS)}.",
        show_default=False,
        autocompletion=models_named,
    ),
]
WithRouting = Annotated[
    bool,
    typer.Option(
        "--routing",
        help="Report how the models route samples to experts (experts used, entropy, oracle gap), and draw it.",
    ),
]
Save = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Save the model when its run is complete. Takes one model and one seed. FILE may be that of --load: if "
        "the command is killed, the file holds the model from before the run, or the one from after it. If it is the "
        "latter, the same command would learn the stream once more, and says so.",
        show_default=False,
    ),
]
Load = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Evaluate a model that --save, or `model.save` in Python, has written; it goes on learning, and the file "
        "stays as it is. Repeat for several.",
        show_default=False,
        autocompletion=model_files,
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder of the results. Default: runs/STREAM.", show_default=False)
]


@reads_files
def evaluate(
    stream: StreamName = "electricity",
    *,
    model: Models = None,
    limit: Limit = None,
    seed: Seeds = None,
    window: Window = None,
    delay: Delayed = "0",
    count_warm_up: CountWarmUp = False,
    routing: WithRouting = False,
    metric: Metric = "accuracy",
    format: Format = "png",
    style: Style = "screen",
    checkpoint_every: CheckpointEvery = None,
    save: Save = None,
    load: Load = None,
    out: Out = None,
    options: FileOptions,
    data_dir: DataDir = None,
) -> None:
    """Evaluate models on a stream, test-then-train: each sample is predicted first and then learned.

    The command prints a table, and writes results.jsonl, windows.csv and a
    picture of the accuracy over time. results.jsonl also says how important each
    feature is to a mixture of experts at the end, and `driftmoe report` draws it.
    The figures leave out the warm-up: the samples that are predicted before the
    first label has come (see --count-warm-up).

    Earlier results in the folder stay, but the same run replaces its older
    result. Ctrl-C keeps what was measured so far; with --checkpoint-every the
    same command then goes on. If a model fails, its measurements are kept and
    the next model runs. If another command is doing a run in the same folder,
    this command waits for it and uses its result.
    """
    # Help keeps the line ends of this docstring: its lines must fit 80 columns with a margin.
    # A model or seed that is named twice is one run.
    seeds = list(dict.fromkeys(seed or [1]))
    short_name = stream if stream in streams.names() else Path(stream).name.split(".")[0] or "file"
    with one_line_errors():
        candidates = _candidates(model, load)
        if save is not None:
            _check_savable(save, candidates, seeds)
        samples = {s: open_with_bar(stream, options, limit, s, data_dir) for s in seeds}
        report_reading(stream, samples[seeds[0]], options)
        window = window or fitting_window(samples[seeds[0]].n_samples)
        folder = experiment.ResultFolder(out or Path("runs") / short_name)
        hashes = {s: stream_of_seed.fingerprint() for s, stream_of_seed in samples.items()}
        experiment.check_delay(delay, samples[seeds[0]])
        runs = [
            experiment.Run(stream, hashes[s], name, s, limit, window, delay, count_warm_up, file)
            for name, file in candidates.items()
            for s in seeds
        ]
        checkpoints = experiment.CheckpointFolder(folder.path / "checkpoints", checkpoint_every)
        if checkpoint_every is not None:
            report_not_kept(runs)
        _report_learnt_before(save, load, runs, folder)
        evaluations = experiment.Evaluations(runs, samples, folder, checkpoints)
        is_complete = _do(evaluations, save)
        results, failures = evaluations.results, evaluations.failures
        in_order = {experiment.run_key(vars(run)): i for i, run in enumerate(runs)}
        results.sort(key=lambda line: in_order[experiment.run_key(line)])
        if not results and not failures and is_complete:
            raise ValueError(f"{stream} holds no samples")
    if results:
        _show(stream, short_name, results, folder, window, routing, options, (metric, style, format))
        report_left_out(left_out_rows(samples[seeds[0]]))
    for failure in failures:
        say(failure)
    report_checkpoints_left(checkpoints)
    _end(is_complete, results, failures)


def _end(is_complete: bool, results: Sequence[Any], failures: Sequence[str]) -> None:
    """Leave with the exit code of an interrupt or of failures, if there were any."""
    if not is_complete:
        if not results:
            typer.echo(
                "driftmoe: interrupted before the first window was full; nothing was measured", err=True
            )
        raise typer.Exit(INTERRUPTED)
    if failures:
        raise typer.Exit(2)


def _candidates(specs: Sequence[str] | None, files: Sequence[Path] | None) -> dict[str, Path | None]:
    """Return the name of each model to be evaluated -> its file, or `None` for a new model."""
    # A model that is named twice is one.
    named = specs or (() if files else DEFAULT_MODELS)
    candidates: dict[str, Path | None] = dict.fromkeys(named)
    for spec in candidates:
        models.make(spec)
    for file in files or ():
        candidates[f"{file.name}@{saving.digest(saving.load(file))[:8]}"] = file
    return candidates


def _check_savable(file: Path, candidates: Mapping[str, Path | None], seeds: Sequence[int]) -> None:
    """Raise ValueError unless there is a single model, which can be saved."""
    if len(candidates) * len(seeds) > 1:
        raise ValueError(
            f"--save is for one model and one seed, but there are {len(candidates)} and {len(seeds)}; choose with "
            "--model and --seed"
        )
    if file.is_dir():
        raise ValueError(f"--save {file} is a folder; give the name of a file")
    ((name, trained),) = candidates.items()
    if trained is None and (reason := experiment.why_not_kept(models.make(name))):
        raise ValueError(f"--save {file}: {reason}")


def _report_learnt_before(
    save: Path | None, load: Sequence[Path] | None, runs: Sequence[Run], folder: ResultFolder
) -> None:
    """Write to stderr if the model to be loaded is the one that an earlier run of the same command has saved."""
    if save is None or not any(save.exists() and file.samefile(save) for file in load or ()):
        return
    loaded = saving.digest(saving.load(save))
    for line in folder.results(runs[0].stream):
        if (line["stream_sha256"], line.get("model_digest")) == (runs[0].stream_sha256, loaded):
            say(
                f"{save} has learnt this stream already, as {line['model']}, whose result is in {folder.path}; it "
                "learns the stream once more"
            )
            return


def _do(evaluations: Evaluations, save: Path | None) -> bool:
    """Do the runs with a progress bar for each, and return whether all were tried; Ctrl-C ends them.

    If `save` is given, the model of the last complete run is saved in that file.
    """
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as progress,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for offer in evaluations.attempts():
            if isinstance(offer, experiment.Attempt):
                _attempt(offer, evaluations, progress)
                if save is not None and not evaluations.failures:
                    _save(offer.model, save, evaluations.failures)
            else:
                note(of_another_command(offer), progress.console)
                if save is not None and offer.result is not None:
                    evaluations.failures.append(
                        f"--save {save}: another command has done the run, so that there is no model to save; choose "
                        "another --out"
                    )
        return True
    return False


def _save(model: Any, file: Path, failures: list[str]) -> None:
    try:
        saving.save(model, file)
    except OSError as error:
        failures.append(f"--save {file}: {error.strerror}")


def _attempt(attempt: Attempt, evaluations: Evaluations, progress: Progress) -> None:
    name, stream = f"{attempt.run.model}, seed {attempt.run.seed}", attempt.stream
    task = progress.add_task(f"{name}: getting ready", total=None, figures="")
    with evaluations.keeping(attempt):
        attempt.compile()
        progress.update(task, description=name, total=stream.n_samples)
        if attempt.n_before:
            note(f"driftmoe: {name}, goes on after sample {attempt.n_before:,}", progress.console)
        for checkpoint in attempt.checkpoints(Watched(stream, progress, task)):
            progress.update(task, completed=checkpoint.n_samples, figures=_figures(checkpoint))


def _figures(checkpoint: Checkpoint) -> str:
    rate, accuracy = checkpoint.n_samples / checkpoint.seconds, checkpoint.cumulative["accuracy"]
    known = f"accuracy {accuracy:.2%}" if checkpoint.n_counted else "no label yet"
    return f"{rate:,.0f} samples/s, {known}"


def _show(
    stream: str,
    short_name: str,
    results: Sequence[dict[str, Any]],
    folder: ResultFolder,
    window: int,
    with_routing: bool,
    options: FileOptions,
    drawing: tuple[str, str, str],
) -> None:
    """Print the table of these results and draw their curves."""
    n_samples, late = max(result["n_samples"] for result in results), report.lateness(results[0])
    late += report.counting(results[0])
    told = ", ".join(part for part in (stream, report.reading(results[-1])) if part)
    title = f"{told}, {n_samples:,} samples, test-then-train{late}{report.left_out(results)}"
    picture = _picture_name(short_name, results[-1].get("reading", {}), options, late)
    done = {experiment.run_key(result) for result in results}
    curves = [point for point in folder.curves(stream) if experiment.run_key(point) in done]
    drifts = results[0]["drifts"]
    metric, style, ending = drawing
    files = ["results.jsonl", "windows.csv", f"{picture}.{ending}"]
    console = table_console()
    console.print(report.table(results, title=title))
    title += f", windows of {window:,}"
    path = folder.path / files[-1]
    report.plot_windows(curves, path, title=title, drifts=drifts, metric=metric, style=style)
    figure = (
        report.routing_figure(curves, title=f"Routing on {title}", drifts=drifts, style=style)
        if with_routing
        else None
    )
    if figure is not None:
        files.append(f"{picture}_routing.{ending}")
        report.save_figure(figure, folder.path / files[-1])
        console.print(report.routing_table(results, title=f"Routing on {stream}"))
    elif with_routing:
        console.print("None of these models reports its routing.")
    written = ", ".join(str(folder.path / name) for name in files)
    console.print(f"Results: {written}", soft_wrap=True, markup=False)


def _picture_name(short_name: str, reading: dict[str, Any], options: FileOptions, late: str) -> str:
    """Return the name of the picture's file, which differs where a file is read with other columns."""
    given = options.given().keys() - {"header"}
    chosen = {name: value for name, value in reading.items() if name in given}
    name = ", ".join([short_name, *([report.reading({"reading": chosen})] if chosen else [])])
    return re.sub(r"[^\w.-]+", "_", f"{name[:80].rstrip(' ,`')}{late}")
