"""The command line: arguments in, calls to the library, answers for people."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import time
import traceback
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typer.exceptions import TyperException

import streams
from driftmoe import __version__, experiment, models, report, streams_cli
from driftmoe.__main__ import INTERRUPTED, SAID
from driftmoe.evaluation import FAILURES, Checkpoint, prequential
from driftmoe.experiment import (
    Backlog,
    Event,
    JobFolder,
    OpenStream,
    ResultFolder,
    Run,
    compile_first,
    parsed_delay,
    read_failures,
    read_results,
    run_grid,
    run_key,
)
from driftmoe.neural import (
    EXPERIMENTS,
    N_POINTS,
    SETUPS,
    NeuralRun,
    check_setup,
    open_experiment,
)
from driftmoe.streams_cli import (
    DataDir,
    Delimiter,
    Drop,
    Encoding,
    FileOptions,
    Missing,
    NoHeader,
    Nominal,
    OnBadRow,
    Target,
    left_out_rows,
    one_line_errors,
    open_stream,
    report_left_out,
    report_reading,
    say,
    table_console,
)
from streams.stream import Block, Stream

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

  driftmoe evaluate led_a --model "moe-vote(policy=STREAM)" --model "driftmoe(policy=TopP(p=0.9))" --routing

  driftmoe evaluate flowers.csv --target species --model ht --model nb

  driftmoe evaluate led_a --limit 100000 --seed 1 --seed 2 --seed 3 --out runs/led

Models: {models}.

Policies of routing: {policies}; presets: {presets}.

Streams: {streams}.
"""


GRID_EXAMPLES = """
Examples:

  driftmoe grid led_a sea_a rbf_f --limit 100000 -m driftmoe -m arf --seed 1 --seed 2 --seed 3 --out runs/grid

  driftmoe grid led_a sea_a -m driftmoe --executor dask --scheduler tcp://10.0.0.1:8786 --out runs/grid

  driftmoe grid led_a sea_a -m driftmoe -m arf --shard 2/8 --out runs/grid     (the second of eight machines)
"""

NEURAL_EXAMPLES = """
Examples:

  driftmoe neural drift --seed 1 --seed 2 --seed 3

  driftmoe neural lm --policy "TopK(2)" --policy ADAMOE --policy plain --seed 1 --workers 2 --out runs/lm

What routes: {policies}; presets: {presets}; plain (no experts, one network or LoRA in their place), frozen or
frozen(POLICY) (a router that does not learn), mola (adapt alone: more experts in higher layers). Default: {setups}, and
mola in adapt.
""".format(
    policies=", ".join(p for p in models.POLICIES if p != "LinearK"),
    presets=", ".join(models.PRESETS),
    setups=", ".join(SETUPS),
)

Delayed = Annotated[
    str,
    typer.Option(
        metavar="SAMPLES",
        help="Samples between a sample and its label: 1000, 100-2000 for a random one, or a column that holds it.",
    ),
]


CountWarmUp = Annotated[
    bool,
    typer.Option(
        "--count-warm-up",
        help="Count the samples that are predicted before the first label has come, of which no model can know the "
        "class: the first one, with late labels those of the delay as well. They are left out otherwise.",
    ),
]


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "driftmoe"
        message = error.format_message().rstrip(".") or "a command is missing"
        typer.echo(f"driftmoe: {message}. See: {command} --help", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # who read the output has gone; let nothing more be written to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        typer.echo(f"driftmoe: {error}", err=True)
        sys.exit(1)
    if code == INTERRUPTED:  # typer makes this code of most interrupts
        typer.echo(SAID, err=True)
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


@app.command(
    epilog=EXAMPLES.format(
        models=", ".join(models.MODELS),
        policies=", ".join(models.POLICIES),
        presets=", ".join(models.PRESETS),
        streams=", ".join(streams.names()),
    )
)
def evaluate(
    stream: Annotated[
        str,
        typer.Argument(
            metavar="[STREAM]", help="Name of a stream, or a file (CSV, ARFF, JSON lines, Parquet, Arrow)."
        ),
    ] = "electricity",
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
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Number of samples; the drifts of a synthetic stream move with it."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="Seed of model and synthetic stream. Repeat for several. Default: 1.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Samples in a window of the curve.")] = 1000,
    delay: Delayed = "0",
    count_warm_up: CountWarmUp = False,
    routing: Annotated[
        bool,
        typer.Option(
            "--routing", help="Tell how models route: experts used, entropy, oracle gap; and a picture."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. Default: runs/STREAM.", show_default=False)
    ] = None,
    target: Target = None,
    on_bad_row: OnBadRow = "error",
    drop: Drop = None,
    nominal: Nominal = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    missing: Missing = None,
    encoding: Encoding = None,
    data_dir: DataDir = None,
) -> None:
    """Run models over a stream, test-then-train: each sample is predicted before it is learnt.

    Figures are over all samples but those that are predicted before the first label has come (--count-warm-up).

    Prints a table and writes results.jsonl, windows.csv and a picture of the accuracy over time.
    Runs already in the folder stay; the same run replaces its older result. Ctrl-C keeps what was measured. A model
    that fails leaves what it measured, and those after it still run. A run that another command is doing in the same
    folder is left to that one, and its result is taken.
    """
    # A model or stream named twice is one run.
    specs, seeds = list(dict.fromkeys(model or ["driftmoe", "arf", "srp"])), list(dict.fromkeys(seed or [1]))
    short_name = stream if stream in streams.names() else Path(stream).name.split(".")[0] or "file"
    with one_line_errors():
        for spec in specs:
            models.make(spec)
        options = FileOptions(target, on_bad_row, drop, nominal, delimiter, no_header, missing, encoding)
        samples = {s: open_stream(stream, options, limit, s, data_dir) for s in seeds}
        report_reading(stream, samples[seeds[0]], options)
        folder = ResultFolder(out or Path("runs") / short_name)
        hashes = {s: stream_of_seed.fingerprint() for s, stream_of_seed in samples.items()}
        parsed_delay(delay)
        runs = [
            Run(stream, hashes[s], spec, s, limit, window, delay, count_warm_up)
            for spec in specs
            for s in seeds
        ]
        results, failures, is_complete = _evaluate(runs, samples, folder)
        in_order = {run_key(vars(run)): i for i, run in enumerate(runs)}
        results.sort(key=lambda line: in_order[run_key(line)])
        if not results and not failures and is_complete:
            raise ValueError(f"{stream} holds no samples")
    if results:
        _show(stream, short_name, results, folder, window, routing, options)
        report_left_out(left_out_rows(samples[seeds[0]]))
    for failure in failures:
        say(failure)
    if not is_complete:
        if not results:
            typer.echo(
                "driftmoe: interrupted before the first window was full; nothing was measured", err=True
            )
        raise typer.Exit(INTERRUPTED)
    if failures:
        raise typer.Exit(2)


@app.command(epilog=GRID_EXAMPLES)
def grid(
    stream: Annotated[
        list[str], typer.Argument(metavar="STREAM...", help="Names of streams, or files.", show_default=False)
    ],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="A model; repeat for several.", show_default=False)
    ],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Number of samples of each stream.", show_default=False)
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="Seed of models and synthetic streams. Repeat. Default: 1.", show_default=False
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Samples in a window of the curve.")] = 1000,
    delay: Delayed = "0",
    count_warm_up: CountWarmUp = False,
    out: Annotated[Path, typer.Option(help="Folder of the results, one file per run.")] = Path("runs/grid"),
    executor: Annotated[
        str, typer.Option(help="serial, processes, or dask (a cluster; needs driftmoe\\[dask]).")
    ] = "processes",
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A running Dask scheduler to join.", show_default=False),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do every N-th run only, from the I-th on.", show_default=False),
    ] = None,
    target: Target = None,
    on_bad_row: OnBadRow = "error",
    drop: Drop = None,
    nominal: Nominal = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    missing: Missing = None,
    encoding: Encoding = None,
    data_dir: DataDir = None,
) -> None:
    """Run every model on every stream with every seed; what is done is not done again.

    Each run leaves one file, which appears whole or not at all: a grid that was stopped, however, goes on where it
    was when the same command is given again. Commands that share a folder share the work: a run that one is doing is
    left to it, unless it dies. `driftmoe report` turns the folder into a page. How a file is read
    (--target and what follows it) is the same for all files, and does not concern streams known by name.
    """
    with one_line_errors():
        options = FileOptions(target, on_bad_row, drop, nominal, delimiter, no_header, missing, encoding)
        has_files = not set(stream) <= set(streams.names())
        opener = open_named_or_file if has_files else open_stream
        open_run = functools.partial(opener, options=options, data_dir=data_dir)
        for name in dict.fromkeys(stream):
            if name not in streams.names():
                report_reading(name, open_run(name=name, limit=limit, seed=None), options)
        runs = planned(
            stream, model, seed or [1], open_run,
            limit=limit, window=window, delay=delay, count_warm_up=count_warm_up,
        )  # fmt: skip
        n_failed = carry_out(
            runs, open_run, out, executor=executor, n_workers=workers, scheduler=scheduler, of_shard=shard
        )
    if n_failed:
        raise typer.Exit(1)


@app.command(epilog=NEURAL_EXAMPLES)
def neural(
    name: Annotated[str, typer.Argument(metavar="NAME", help="lm, adapt or drift.", show_default=False)],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", "-p", help="What routes; repeat for several. Default: all below.", show_default=False
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="Seed of weights, order and drifts. Repeat. Default: 1.", show_default=False
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the optimiser. Default: 200, 120, 1000.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results, one file per run.")] = Path("runs/neural"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, one core each.")] = 1,
) -> None:
    """Train mixtures of neural experts under several policies, and compare quality with what it costs.

    lm: a small byte-level transformer on the sources of Python's standard library. adapt: LoRA experts in a pretrained
    sentence encoder, on three text tasks (needs the extra adapt). drift: digits whose pixels, angle or labels change,
    test-then-train (needs the extra drift).

    A run that is done is not done again. `driftmoe report` turns the folder into a page.
    """
    with one_line_errors():
        runs = planned_training(name, policy, seed or [1], steps=steps)
        n_failed = carry_out(runs, open_experiment, out, executor="processes", n_workers=workers)
    folder, console = JobFolder(out), table_console()
    for full in dict.fromkeys(run.stream for run in runs):
        results = [line for run in runs if run.stream == full and (line := folder.result(run))]
        if results:
            title = f"{full}, {results[0]['n_samples']:,} samples"
            console.print(
                report.as_table(report.neural_grid(results), title=title, caption=report.NEURAL_NOTE)
            )
            report.save_figure(report.neural_figure(results, title=title), out / f"{full}.png")
            console.print(f"Picture: {out / f'{full}.png'}", soft_wrap=True, markup=False)
    if n_failed:
        raise typer.Exit(1)


def open_named_or_file(
    name: str, options: FileOptions, limit: int | None, seed: int | None, data_dir: Path | None
) -> Stream:
    """As `open_stream`, but the options of files do not concern a stream known by name."""
    return open_stream(name, FileOptions() if name in streams.names() else options, limit, seed, data_dir)


def planned_training(
    name: str, setups: Sequence[str] | None, seeds: Sequence[int], *, steps: int | None = None
) -> list[Run]:
    """Return the runs of a neural experiment, of all kinds of drift for `drift`, after each setup has been read."""
    names = [full for full in EXPERIMENTS if full == name or full.startswith(f"{name}-")]
    if not names:
        raise ValueError(f"unknown experiment {name!r}; available: lm, adapt, drift")
    setups = list(dict.fromkeys(setups or (*SETUPS, *(["mola"] if name == "adapt" else []))))
    runs: list[Run] = []
    for full in names:
        for seed in dict.fromkeys(seeds):
            data = open_experiment(full, steps, seed)
            n_steps = steps or data.n_steps
            for setup in setups:
                check_setup(setup, full, n_steps)
            window = max(n_steps // N_POINTS, 1)
            runs += [NeuralRun(full, data.fingerprint(), setup, seed, n_steps, window) for setup in setups]
    return runs


def planned(
    stream_names: Sequence[str],
    specs: Sequence[str],
    seeds: Sequence[int],
    open_run: OpenStream,
    *,
    limit: int | None,
    window: int = 1000,
    delay: str = "0",
    count_warm_up: bool = False,
) -> list[Run]:
    """Return the runs of a grid, after each model and each stream has been found to exist."""
    for spec in specs:
        models.make(spec)
    parsed_delay(delay)
    return [
        Run(
            name, open_run(name=name, limit=limit, seed=s).fingerprint(), spec, s,
            limit, window, delay, count_warm_up,
        )
        for name in dict.fromkeys(stream_names)
        for s in dict.fromkeys(seeds)
        for spec in dict.fromkeys(specs)
    ]  # fmt: skip


def carry_out(
    runs: Sequence[Run],
    open_run: OpenStream,
    out: Path,
    *,
    executor: str,
    n_workers: int,
    scheduler: str | None = None,
    of_shard: str | None = None,
) -> int:
    """Do a grid with a live table of it, and return how many of its runs failed."""
    runs = experiment.shard(runs, of_shard) if of_shard else runs
    board, console = _Board(len(runs)), Console(stderr=True)
    try:
        with Live(board, console=console, refresh_per_second=2) as live:
            for event in run_grid(
                runs, open_run, JobFolder(out), executor=executor, n_workers=n_workers, scheduler=scheduler
            ):
                board.take(event)
                if event.state == "waiting":
                    live.console.print(_of_others(event), soft_wrap=True, markup=False, highlight=False)
    except ImportError as error:
        raise ValueError(str(error)) from None
    if not console.is_terminal:
        console.line()  # there the live table ends within its line
    for name, n_left_out in board.left_out.items():
        say(f"{name}: left out {n_left_out:,} malformed rows")
    for run, file in board.failed.items():
        message = f"driftmoe: {run.model} on {run.stream}, seed {run.seed}, failed; see {file}"
        console.print(message, soft_wrap=True, markup=False, highlight=False)
    table_console().print(
        f"Results: {out} ({board.n_done:,} of {len(runs):,} runs); next: driftmoe report {out}",
        soft_wrap=True, markup=False,
    )  # fmt: skip
    return len(board.failed)


def _of_others(event: Event) -> str:
    """Return a line on a run that another command is doing, or has done meanwhile."""
    told = (
        "is being done by another command and left to it"
        if event.state == "waiting"
        else "was done by another command; its result is taken"
    )
    return f"driftmoe: {event.run.model} on {event.run.stream}, seed {event.run.seed}, {told}"


class _Board:
    """The live table of a grid: what is running, what came last, and how much is left."""

    def __init__(self, n_runs: int) -> None:
        self.failed: dict[Run, Path] = {}
        self.left_out: dict[str, int] = {}
        self.n_done = 0
        self._n_runs, self._n_kept = n_runs, 0
        self._running: dict[Run, float] = {}
        self._share: dict[Run, float] = {}
        self._last: Event | None = None
        self._start = time.perf_counter()

    def take(self, event: Event) -> None:
        """Note an event."""
        if event.state == "started":
            self._running[event.run] = time.perf_counter()
            return
        self._share[event.run] = event.share
        if event.state in ("moved", "waiting"):
            return
        self._running.pop(event.run, None)
        self._last = event
        if event.result is not None and (n := event.result.get("reading", {}).get("rows_left_out")):
            self.left_out[event.run.stream] = n
        if event.error is not None:
            self.failed[event.run] = event.error
        else:
            self.n_done += 1
            self._n_kept += event.state == "kept"

    def __rich__(self) -> Group:
        now = time.perf_counter()
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("running", "stream", "seed", "for", ""):
            table.add_column(heading)
        for run, since in self._running.items():
            bar = ProgressBar(total=1.0, completed=self._share.get(run, 0.0), width=30)
            table.add_row(escape(run.model), escape(run.stream), str(run.seed), f"{now - since:,.0f} s", bar)
        n_ended = self.n_done + len(self.failed)
        n_left = self._n_runs - n_ended
        line = (
            f"{self.n_done:,} done ({self._n_kept:,} before), {len(self.failed):,} failed, "
            f"{len(self._running):,} running, {n_left - len(self._running):,} to come"
        )
        if n_left and n_ended > self._n_kept:
            line += f"; about {(now - self._start) / (n_ended - self._n_kept) * n_left:,.0f} s left"
        if self._last is not None and self._last.result is not None:
            run = self._last.run
            line += f"; last: {run.model} on {run.stream} {self._last.result['accuracy']:.2%}"
        return Group(table, Text(line)) if self._running else Group(Text(line))


def _show(
    stream: str,
    short_name: str,
    results: list[dict[str, Any]],
    folder: ResultFolder,
    window: int,
    with_routing: bool,
    options: FileOptions,
) -> None:
    """Print the table of these results and draw their curves; other columns of a file have other pictures."""
    n_samples, late = max(result["n_samples"] for result in results), report.lateness(results[0])
    late += report.counting(results[0])
    told = ", ".join(part for part in (stream, report.reading(results[-1])) if part)
    title = f"{told}, {n_samples:,} samples, test-then-train{late}{report.left_out(results)}"
    chosen = {
        name: value
        for name, value in results[-1].get("reading", {}).items()
        if getattr(options, name, None) and name != "on_bad_row"
    }
    picture = ", ".join([short_name, *([report.reading({"reading": chosen})] if chosen else [])])
    picture = re.sub(r"[^\w.-]+", "_", f"{picture[:80].rstrip(' ,`')}{late}")
    done = {run_key(result) for result in results}
    curves = [point for point in folder.curves(stream) if run_key(point) in done]
    drifts = results[0]["drifts"]
    files = ["results.jsonl", "windows.csv", f"{picture}.png"]
    console = table_console()
    console.print(report.table(results, title=title))
    title += f", windows of {window:,}"
    report.plot_windows(curves, folder.path / files[-1], title=title, drifts=drifts)
    if with_routing and (figure := report.routing_figure(curves, title=f"Routing on {title}", drifts=drifts)):
        files.append(f"{picture}_routing.png")
        report.save_figure(figure, folder.path / files[-1])
        console.print(report.routing_table(results, title=f"Routing on {stream}"))
    elif with_routing:
        console.print("None of these models tells of a routing.")
    written = ", ".join(str(folder.path / name) for name in files)
    console.print(f"Results: {written}", soft_wrap=True, markup=False)


@app.command(
    "report",
    epilog="Examples:\n\n  driftmoe report runs/grid\n\n  driftmoe report runs --out page --title 'Nine streams'\n\n"
    "  driftmoe report runs/grid -m driftmoe -m arf\n\n  driftmoe report benchmarks/results/ablation/gate.jsonl",
)
def write_report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder of results; its folders are read too. Or one file of result lines.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the report to. Default: DIR; for a file, runs/ and its name.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Models on streams that drift",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model to compare, in the order of the columns; repeat. Default: all.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare the models in result files: one HTML page that needs no network, and the same as Markdown.

    Tables with mean ± deviation over seeds, mean ranks, the Friedman test with a critical-difference diagram, the
    Bayesian signed-rank test, time against accuracy, the accuracy over time with the known drifts and what they cost.
    """
    with one_line_errors():
        results, curves = read_results(folder)
        if model:
            results = [line for name in model for line in results_of(name, results)]
        try:
            parts = report.sections(results, curves, read_failures(folder))
        except ImportError as error:
            raise ValueError(str(error)) from None
        where = folder if folder.is_dir() else Path("runs") / folder.stem
        written = report.write(parts, out or where, title=title)
    table_console().print(f"Report: {', '.join(map(str, written))}", soft_wrap=True, markup=False)


def results_of(model: str, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the result lines of one model, of which there has to be one."""
    found = [line for line in results if line["model"] == model]
    if not found:
        raise ValueError(f"no result of model {model!r}; there are: {', '.join(report.by_model(results))}")
    return found


class _Watched:
    """A stream that moves a progress bar as its samples are taken."""

    def __init__(self, stream: Stream, progress: Progress, task: TaskID) -> None:
        self.classes, self.features, self.samples = stream.classes, stream.features, stream.samples
        self._stream, self._progress, self._task = stream, progress, task

    def __iter__(self) -> Iterator[tuple[dict[Hashable, Any], Any]]:
        for n, sample in enumerate(self._stream):
            if n % 50 == 0:
                self._progress.update(self._task, completed=n)
            yield sample

    def blocks(self, size: int) -> Iterator[Block]:
        n = 0
        for block in self._stream.blocks(size):
            self._progress.update(self._task, completed=n)
            yield block
            n += len(block.y)


def _evaluate(
    runs: list[Run], samples: dict[int, Stream], folder: ResultFolder
) -> tuple[list[dict[str, Any]], list[str], bool]:
    """Do the runs one by one, keeping each as it ends.

    Return the result lines, a sentence for each run that failed, and whether all were tried.
    """
    torch.set_num_threads(1)  # a router is small: threads would only wait for each other
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    backlog = Backlog(runs, folder)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        for run in _offered(backlog, progress, results):
            stream = samples[run.seed]
            model = models.make(run.model, seed=run.seed)
            name = f"{run.model}, seed {run.seed}"
            task = progress.add_task(f"{name}: compiling, once per machine", total=None, figures="")
            last: Checkpoint | None = None
            curve = []
            is_complete = False
            try:
                compile_first(run, stream)
                progress.update(task, description=name, total=stream.n_samples)
                watched = _Watched(stream, progress, task)
                for last in prequential(watched, model, **run.protocol()):
                    if last.n_window_counted:
                        curve.append(run.curve_point(last))
                    rate, accuracy = last.n_samples / last.seconds, last.cumulative["accuracy"]
                    known = f"accuracy {accuracy:.2%}" if last.n_counted else "no label yet"
                    figures = f"{rate:,.0f} samples/s, {known}"
                    progress.update(task, completed=last.n_samples, figures=figures)
                is_complete = True
            except KeyboardInterrupt:
                return results, failures, False
            except FAILURES as error:
                n_samples = last.n_samples if last else 0
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                file = folder.keep_traceback(traceback.format_exc())
                failures.append(
                    f"{run.model} stopped after {n_samples:,} samples: {reason} (traceback: {file})"
                )
            finally:  # whatever cut the run short, what was measured is kept
                if last is not None and last.n_counted:
                    result = run.result(
                        last,
                        model,
                        stream_length=stream.n_samples,
                        drifts=[(drift.position, drift.width) for drift in stream.drifts],
                        is_complete=is_complete,
                        reading=experiment.reading(stream),
                    )
                    folder.add(result, curve)
                    results.append(result)
                backlog.done(run, is_kept=is_complete)
    return results, failures, not backlog


def _offered(backlog: Backlog, progress: Progress, results: list[dict[str, Any]]) -> Iterator[Run]:
    """Yield the runs that are to be done here; of the others say so, and take the results. Ctrl-C ends the waiting."""
    with contextlib.suppress(KeyboardInterrupt):
        for happening in backlog.offers():
            if isinstance(happening, Run):
                yield happening
                continue
            message = _of_others(happening)
            progress.console.print(message, soft_wrap=True, markup=False, highlight=False)
            if happening.result is not None:
                results.append(dict(happening.result))


if __name__ == "__main__":
    main()
