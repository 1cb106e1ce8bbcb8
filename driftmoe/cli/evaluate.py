"""`driftmoe evaluate`: models on one stream, one after the other, with a table and pictures at the end."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from driftmoe.cli.bars import Watched, open_with_bar
from driftmoe.cli.board import of_another_command
from driftmoe.cli.completion import model_files, models_named, streams_and_files
from driftmoe.cli.late import Late
from driftmoe.cli.options import (
    AsJson,
    CheckpointEvery,
    Columns,
    CountWarmUp,
    DataDir,
    Delayed,
    Force,
    LabelOrder,
    LabelShare,
    Limit,
    Metrics,
    Quiet,
    Seeds,
    ShuffleWindow,
    TimeColumn,
    Wide,
    Window,
    Workers,
    reads_files,
)
from driftmoe.cli.own_streams import short_name as short_name_of
from driftmoe.cli.pictures import Format, Style
from driftmoe.cli.results import show_results, view_of
from driftmoe.cli.terminal import (
    be_quiet,
    check_free,
    check_kept,
    left_out_rows,
    note,
    one_line_errors,
    progress_console,
    report_checkpoints_left,
    report_left_out,
    report_not_kept,
    report_reading,
    say,
    tell,
)
from driftmoe.exits import INTERRUPTED
from streams.file_options import FileOptions

if TYPE_CHECKING:
    from driftmoe import experiment, own, report, saving
    from driftmoe.evaluation import Checkpoint
    from driftmoe.experiment import Attempt, CheckpointFolder, Evaluations, OpenStream, ResultFolder, Run
    from streams import Stream
else:
    experiment, own = Late("driftmoe.experiment"), Late("driftmoe.own")
    report, saving = Late("driftmoe.report"), Late("driftmoe.saving")

ENOUGH_FOR_BARS, MOST_OF_NAMES = 120, 20
"""Columns of a terminal in which bars have room beside all figures, and columns for names in one that has less."""

DEFAULT_MODELS = ("driftmoe", "arf", "srp")

EXAMPLES = """
Examples:

  driftmoe evaluate

  driftmoe evaluate covtype --limit 50000 -m driftmoe -m "arf(n_models=30)"

  driftmoe evaluate led_a -m "driftmoe(policy=TopP(p=0.9))" --routing

  driftmoe evaluate led_a -m "moe-vote(policy=STREAM)" -m moe-vote --routing

  driftmoe evaluate flowers.csv --target species --model ht --model nb

  driftmoe evaluate led_a --limit 100000 --seed 1 --seed 2 --out runs/led

  driftmoe evaluate led_a --seed 1 --seed 2 --seed 3 --workers 2

  driftmoe evaluate payments.csv --target fraud --delay "1 day" --time when

  driftmoe evaluate electricity -m driftmoe -m arf --label-share 0.1

  driftmoe evaluate electricity -m driftmoe -m arf --label-order ignore

  driftmoe evaluate electricity -m driftmoe -m arf --shuffle-window 1000

  driftmoe evaluate led_a -m driftmoe --checkpoint-every 10000

  driftmoe evaluate led_a -m driftmoe --limit 50000 --save led.moe

  driftmoe evaluate led_g --load led.moe --count-warm-up

  driftmoe evaluate led_a -m driftmoe -m arf --columns accuracy,kappa_m,g_mean

  driftmoe evaluate electricity -m nb -m ht --metric log_loss --metric recall:1

  driftmoe evaluate led_a -m driftmoe --json --quiet > results.jsonl

  gunzip -c flows.csv.gz | driftmoe evaluate - --target label -m nb

  driftmoe evaluate my_streams:Turbine -m "my_models:Mine(depth=3)" --limit 10000

All models: driftmoe models. All streams: driftmoe streams list.
"""

StreamName = Annotated[
    str,
    typer.Argument(
        metavar="STREAM",
        help="Name of a stream; or a file (CSV, ARFF, JSON lines, Parquet, Arrow), or - for standard input; or a "
        "stream of your own, as in my_streams:Turbine(speed=2). `driftmoe streams list` shows all names.",
        autocompletion=streams_and_files,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help='A model, with arguments as in "arf(n_models=100)", or one of your own, as in '
        '"my_models:Mine(depth=3)". Repeat for several. `driftmoe models` shows all names. '
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
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the results. Default: runs/STREAM.", show_default=False),
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
    time: TimeColumn = None,
    label_share: LabelShare = 1.0,
    count_warm_up: CountWarmUp = False,
    label_order: LabelOrder = "use",
    shuffle_window: ShuffleWindow = None,
    routing: WithRouting = False,
    columns: Columns = None,
    wide: Wide = False,
    workers: Workers = 1,
    metric: Metrics = None,
    format: Format = "png",
    style: Style = "screen",
    checkpoint_every: CheckpointEvery = None,
    save: Save = None,
    load: Load = None,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    options: FileOptions,
    data_dir: DataDir = None,
) -> None:
    """Evaluate models on a stream, test-then-train: each sample is predicted first and then learned.

    The command prints a table, and writes results.jsonl, windows.csv and a
    picture of the accuracy over time. results.jsonl also says how important each
    feature is to a mixture of experts at the end, and `driftmoe report` draws it.
    The figures leave out the warm-up: the samples that are predicted before the
    first label has come (see --count-warm-up).

    Earlier results in the folder stay; a run that has a result there is done
    again only with --force. Ctrl-C keeps what was measured so far; with
    --checkpoint-every the same command then goes on. If a model fails, its measurements are kept and
    the next model runs. If another command is doing a run in the same folder,
    this command waits for it and uses its result.
    """
    be_quiet(quiet)
    short_name, seeds = short_name_of(stream), list(dict.fromkeys(seed or [1]))  # one named twice is one run
    with one_line_errors():
        delay = experiment.delay_by_time(delay, time)
        view = view_of(columns, wide, routing, as_json)
        candidates = _candidates(model, load)
        _check_savable(save, candidates, seeds, load or (), force)
        open_run = functools.partial(
            open_with_bar, options=options, data_dir=data_dir, shuffle_window=shuffle_window
        )
        samples = {s: open_run(stream, limit=limit, seed=s) for s in seeds}
        report_reading(stream, samples[seeds[0]], options, time)
        window = window or experiment.fitting_window(samples[seeds[0]].n_samples)
        figures, measured = _figures_to_measure(metric, samples[seeds[0]], candidates, checkpoint_every)
        folder = experiment.ResultFolder(out or Path("runs") / short_name)
        runs = _planned(
            stream, samples, candidates, limit=limit, window=window, delay=delay, count_warm_up=count_warm_up,
            metrics=measured, label_order=label_order, shuffle_window=shuffle_window, label_share=label_share,
        )  # fmt: skip
        checkpoints = experiment.CheckpointFolder(folder.path / "checkpoints", checkpoint_every)
        earlier = _check_before(runs, folder, checkpoints, save, load, force)
        evaluations = experiment.Evaluations(runs, samples, folder, checkpoints, earlier)
        is_complete = _do(evaluations, save, workers, open_run)
        results, failures = evaluations.in_order(), evaluations.failures
        if is_complete and not results + failures:
            raise ValueError(f"{stream} holds no samples")
    if results:
        show_results(stream, short_name, results, folder, window, view, options, (figures, style, format))
        report_left_out(left_out_rows(samples[seeds[0]]))
    _end(results, failures, checkpoints, is_complete=is_complete)


def _planned(
    stream: str, samples: Mapping[int, Stream], candidates: Mapping[str, Path | None], **settings: Any
) -> list[Run]:
    """Return the runs of each model with each seed; raise ValueError if one of them cannot be."""
    experiment.check_delay(settings["delay"], next(iter(samples.values())))
    hashes = {seed: of_seed.fingerprint() for seed, of_seed in samples.items()}
    runs = [
        experiment.Run(stream, hashes[seed], name, seed, trained=file, **settings)
        for name, file in candidates.items()
        for seed in samples
    ]
    for run in {run.model: run for run in runs}.values():
        run.new_model()  # it may be one that cannot leave the order of labels out
    return runs


def _end(
    results: Sequence[Any], failures: Sequence[str], checkpoints: CheckpointFolder, *, is_complete: bool
) -> None:
    """Write to stderr what was left undone, and leave with the exit code that says so."""
    for failure in failures:
        say(failure)
    report_checkpoints_left(checkpoints)
    if not is_complete and not results:
        say("interrupted before the first window was full; nothing was measured")
    if not is_complete or failures:
        raise typer.Exit(2 if is_complete else INTERRUPTED)


def _check_before(
    runs: Sequence[Run],
    folder: ResultFolder,
    checkpoints: CheckpointFolder,
    save: Path | None,
    load: Sequence[Path] | None,
    force: bool,
) -> list[dict[str, Any]]:
    """Raise ValueError if a result would be replaced, and write to stderr what else the user should know.

    Return the result lines of runs that need not be done again, because a command with checkpoints goes on.
    """
    goes_on = checkpoints.every is not None and save is None  # a model to be saved must be trained
    earlier = [] if force else _earlier(runs, folder, checkpoints, goes_on=goes_on)
    if checkpoints.every is not None:
        report_not_kept(runs)
    _report_learnt_before(save, load, runs, folder)
    return earlier


def _earlier(
    runs: Sequence[Run], folder: ResultFolder, checkpoints: CheckpointFolder, *, goes_on: bool
) -> list[dict[str, Any]]:
    """Return the complete results of runs that have no checkpoint, if the command goes on from an earlier one.

    Raise ValueError if it does not, or if such a result was computed with other arguments or software.
    """
    done = {experiment.run_key(line): line for line in folder.results(runs[0].stream) if line["complete"]}
    found = {
        run: done[key]
        for run in runs
        if (key := experiment.run_key(vars(run))) in done and not checkpoints.file(run).exists()
    }
    if again := [run for run, line in found.items() if not (goes_on and run.would_repeat(line))]:
        raise ValueError(
            f"{_has_results(again, folder)}; --force does the run again and replaces it, or choose another --out"
        )
    if found:
        tell(f"{_has_results(list(found), folder)}, which is shown; --force does the run again")
    return list(found.values())


def _has_results(runs: Sequence[Run], folder: ResultFolder) -> str:
    named = ", ".join(f"{run.model}, seed {run.seed}" for run in runs[:3])
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"{folder.path} has a result of {named}{more} on {runs[0].stream} already"


def _candidates(specs: Sequence[str] | None, files: Sequence[Path] | None) -> dict[str, Path | None]:
    """Return the name of each model to be evaluated -> its file, or `None` for a new model."""
    # A model that is named twice is one.
    named = specs or (() if files else DEFAULT_MODELS)
    candidates: dict[str, Path | None] = dict.fromkeys(named)
    for spec in candidates:
        own.make(spec)
    for file in files or ():
        candidates[f"{file.name}@{saving.digest(saving.load(file))[:8]}"] = file
    return candidates


def _figures_to_measure(
    metric: Sequence[str] | None,
    stream: Any,
    candidates: Mapping[str, Path | None],
    checkpoint_every: int | None,
) -> tuple[list[str], tuple[str, ...]]:
    """Return the figures to draw, and the metrics to compute; raise ValueError if a model or checkpoint has none."""
    figures = experiment.figures_of(metric or ["accuracy"], stream)
    measured = experiment.computed(figures)
    check_kept(measured, checkpoint_every)
    for name, file in candidates.items():
        experiment.check_gives_proba(own.make(name) if file is None else saving.load(file), name, measured)
    return figures, measured


def _check_savable(
    file: Path | None,
    candidates: Mapping[str, Path | None],
    seeds: Sequence[int],
    loaded: Sequence[Path],
    force: bool,
) -> None:
    """Raise ValueError unless what is to be saved is one model that can be, and its file is free or that of --load."""
    if file is None:
        return
    if len(candidates) * len(seeds) > 1:
        raise ValueError(
            f"--save is for one model and one seed, but there are {len(candidates)} and {len(seeds)}; choose with "
            "--model and --seed"
        )
    if file.is_dir():
        raise ValueError(f"--save {file} is a folder; give the name of a file")
    if not (file.exists() and any(one.samefile(file) for one in loaded)):
        check_free([file], force=force, elsewhere="choose another --save")
    ((name, trained),) = candidates.items()
    if trained is None and (reason := experiment.why_not_kept(own.make(name))):
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
            tell(
                f"{save} has learnt this stream already, as {line['model']}, whose result is in {folder.path}; it "
                "learns the stream once more"
            )
            return


def _run_bars() -> Progress:
    """Return the bars of runs on stderr. Where there is little room, names are cut and bars left out, but no figure."""
    console = progress_console()
    is_wide = console.width >= ENOUGH_FOR_BARS
    name = Column(no_wrap=True, overflow="ellipsis", max_width=None if is_wide else MOST_OF_NAMES)
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=name),
        *([BarColumn(bar_width=None)] if is_wide else []),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _do_at_once(evaluations: Evaluations, n_workers: int, open_run: OpenStream) -> bool:
    """Do the runs in processes, with a bar for each that is going on, and return whether all were tried."""
    tasks: dict[Run, Any] = {}
    with (
        _run_bars() as progress,
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(evaluations.at_once(n_workers, open_run)) as offers,
    ):
        for offer in offers:
            if isinstance(offer, experiment.Event):
                note(of_another_command(offer), progress.console)
                continue
            run, news = offer
            name = f"{run.model}, seed {run.seed}"
            if isinstance(news, int):
                n_samples = evaluations.streams[run.seed].n_samples
                tasks[run] = progress.add_task(name, total=n_samples, completed=news, figures="")
                if news:
                    note(f"driftmoe: {name}, goes on after sample {news:,}", progress.console)
            elif not isinstance(news, experiment.Outcome):
                progress.update(tasks[run], completed=news.n_samples, figures=_figures(news))
        return True
    return False


def _do(evaluations: Evaluations, save: Path | None, n_workers: int, open_run: OpenStream) -> bool:
    """Do the runs with a progress bar for each, and return whether all were tried; Ctrl-C ends them.

    If `save` is given, the model of the last complete run is saved in that file; then no other process does the run.
    """
    if n_workers > 1 and save is None:
        return _do_at_once(evaluations, n_workers, open_run)
    with _run_bars() as progress, contextlib.suppress(KeyboardInterrupt):
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
