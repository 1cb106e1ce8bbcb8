"""The command line about streams: `driftmoe streams list | show | export | fetch | plot`."""

from __future__ import annotations

import re
import time
import warnings
import zipfile
import zlib
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

import streams
from driftmoe.report import save_figure
from streams import Stream, files
from streams.export import SUFFIXES as WRITTEN
from streams.export import write
from streams.real import SOURCES

app = typer.Typer(
    name="streams",
    help="List, look at, export, fetch and plot streams.",
    no_args_is_help=True,
)

N_LINES = 12
"""Lines in each part of a plot; more cannot be told apart."""

N_SHOWN = 30
"""Features and class labels that `show` lists."""

N_WINDOWS = 200

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A name that `driftmoe streams list` shows, or a file.", show_default=False
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        help="Class column of a file: its name, or its position as a number. Default: the last.",
        show_default=False,
    ),
]
OnBadRow = Annotated[
    Literal["error", "skip"],
    typer.Option(help="Malformed rows of a file: stop at the first, or leave them out."),
]
Drop = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN", help="Column of a file to leave out. Repeat for several.", show_default=False
    ),
]
Nominal = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN", help="Column of a file to read as names. Repeat for several.", show_default=False
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(metavar="CHAR", help="Character between the fields of a CSV file.", show_default=","),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MARK",
        help="What stands for a missing value in a file, besides the usual. Repeat for several.",
        show_default=False,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Encoding of a file of text, such as latin-1.", show_default="utf-8"),
]
NoHeader = Annotated[bool, typer.Option("--no-header", help="A CSV file has no line of column names.")]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of samples; the drifts of a synthetic stream move with it.", show_default=False
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of a synthetic stream.", show_default="1")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where files of real streams lie; else $DRIFTMOE_DATA, then the user's cache."),
]


@dataclass(frozen=True)
class FileOptions:
    """The options that say how a file is read."""

    target: str | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    drop: list[str] | None = None
    nominal: list[str] | None = None
    delimiter: str | None = None
    no_header: bool = False
    missing: list[str] | None = None
    encoding: str | None = None


@app.command("list", epilog="Example: driftmoe streams list")
def list_streams() -> None:
    """List the streams known by name."""
    table = Table(title="Streams", title_justify="left")
    for heading in ("name", "samples", "features", "classes", "drifts"):
        table.add_column(heading, justify="left" if heading == "name" else "right", no_wrap=True)
    table.add_column("description")
    for name in streams.names():
        table.add_row(name, *_summary(name))
    table_console().print(table)


@app.command(
    epilog="Examples:\n\n  driftmoe streams show led_g\n\n"
    "  driftmoe streams show flowers.csv --target species"
)
def show(
    name: Name,
    target: Target = None,
    on_bad_row: OnBadRow = "error",
    drop: Drop = None,
    nominal: Nominal = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    missing: Missing = None,
    encoding: Encoding = None,
    limit: Limit = None,
    seed: Seed = None,
    rows: Annotated[int, typer.Option(min=0, help="Number of first samples to print.")] = 5,
    data_dir: DataDir = None,
) -> None:
    """Show what a stream holds: features, classes, drifts, first samples, hash."""
    with one_line_errors():
        options = FileOptions(target, on_bad_row, drop, nominal, delimiter, no_header, missing, encoding)
        stream = open_stream(name, options, limit, seed, data_dir)
        report_reading(name, stream, options)
        first = list(islice(stream, rows)) if rows else []
        fingerprint = stream.fingerprint()
        left_out = left_out_rows(stream)
    console = table_console()
    length = (
        "as many samples as the file has" if stream.n_samples is None else f"{stream.n_samples:,} samples"
    )
    console.print(
        f"[bold]{escape(name)}[/]: {length}, {stream.n_features} features, {len(stream.classes)} classes"
    )
    console.print(escape(stream.desc))
    table = Table(title="Features", title_justify="left")
    for heading in ("", "name", "kind", "values"):
        table.add_column(heading)
    for i, feature in enumerate(stream.features[:N_SHOWN]):
        kind = "numeric" if feature.values is None else "nominal"
        table.add_row(str(i), escape(feature.name), kind, escape(_shortened(feature.values or [])))
    if stream.n_features > N_SHOWN:
        table.add_row("...", f"{stream.n_features - N_SHOWN} more", "", "")
    console.print(table)
    console.print(f"Classes: {escape(_shortened(stream.classes))}")
    drifts = ", ".join(
        f"{drift.position:,} (abrupt)" if drift.width <= 1 else f"{drift.position:,} (width {drift.width:,})"
        for drift in stream.drifts
    )
    console.print(f"Drifts: {drifts or 'none known'}")
    if first:
        console.print(_samples_table(stream, first))
    console.print(f"SHA-256: {fingerprint}", soft_wrap=True)
    report_left_out(left_out)


@app.command(
    epilog="Examples:\n\n  driftmoe streams export sea_g sea_g.arff --limit 100000 --seed 7\n\n"
    "  driftmoe streams export flowers.csv flowers.parquet --target species"
)
def export(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help=f"To write; ends in one of {', '.join(WRITTEN)}.", show_default=False
        ),
    ],
    target: Target = None,
    on_bad_row: OnBadRow = "error",
    drop: Drop = None,
    nominal: Nominal = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    missing: Missing = None,
    encoding: Encoding = None,
    limit: Limit = None,
    seed: Seed = None,
    data_dir: DataDir = None,
) -> None:
    """Write a stream to a CSV, ARFF or Parquet file, which appears whole or not at all."""
    with one_line_errors():
        options = FileOptions(target, on_bad_row, drop, nominal, delimiter, no_header, missing, encoding)
        stream = open_stream(name, options, limit, seed, data_dir)
        report_reading(name, stream, options)
        start = time.perf_counter()
        with _samples_bar(f"writing {file.name}", stream.n_samples) as advance:
            n_written = write(stream, file, progress=advance)
        seconds = time.perf_counter() - start
        size = file.stat().st_size
    figures = f"{n_written:,} samples, {size / 1e6:,.1f} MB, {n_written / seconds:,.0f} samples/s"
    table_console().print(f"{escape(str(file))}: {figures}", soft_wrap=True)
    report_left_out(left_out_rows(stream))


@app.command(
    epilog="Examples:\n\n  driftmoe streams fetch electricity\n\n"
    "  driftmoe streams fetch airlines --from-file airlines.arff"
)
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a real stream.", show_default=False)],
    from_file: Annotated[
        Path | None, typer.Option(help="A copy to take instead of fetching one.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch the file of a real stream into the user's cache, and print where it is."""
    with one_line_errors(), _download_bar() as progress:
        path = streams.fetch(name, data_dir=data_dir, from_file=from_file, progress=progress)
    table_console().print(escape(str(path)), soft_wrap=True)


@app.command(
    epilog="Examples:\n\n  driftmoe streams plot sea_g\n\n"
    "  driftmoe streams plot covtype --limit 100000 --window 1000 --out covtype.png"
)
def plot(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write. Default: NAME.png.", show_default=False)
    ] = None,
    target: Target = None,
    on_bad_row: OnBadRow = "error",
    drop: Drop = None,
    nominal: Nominal = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    missing: Missing = None,
    encoding: Encoding = None,
    limit: Limit = None,
    seed: Seed = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Samples behind each point. Default: a two hundredth of the stream.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Draw class proportions and feature means over time, with the known drifts marked."""
    path = out or Path(f"{Path(name).name.split('.')[0]}.png")
    with one_line_errors():
        options = FileOptions(target, on_bad_row, drop, nominal, delimiter, no_header, missing, encoding)
        stream = open_stream(name, options, limit, seed, data_dir)
        report_reading(name, stream, options)
        if window is None:
            window = 1000 if stream.n_samples is None else max(1, stream.n_samples // N_WINDOWS)
        with _samples_bar(f"reading {name}", stream.n_samples) as advance:
            positions, proportions, lines = _window_means(stream, window, advance)
        if not len(positions):
            raise ValueError(f"{name} holds no samples; there is nothing to draw")
        _draw(stream, positions, proportions, lines, path, title=f"{name}, windows of {window:,} samples")
    table_console().print(escape(str(path)), soft_wrap=True)
    report_left_out(left_out_rows(stream))


def open_stream(
    name: str, options: FileOptions, limit: int | None, seed: int | None, data_dir: Path | None
) -> Stream:
    """Return the stream of a name, or of a file."""
    is_file = name not in streams.names() and (Path(name).is_file() or name.lower().endswith(files.SUFFIXES))
    if is_file:
        target = options.target
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", files.FileWarning)  # `report_reading` says it
            return files.open_file(
                name,
                int(target) if target is not None and re.fullmatch(r"-?\d+", target) else target,
                n_samples=limit,
                on_bad_row=options.on_bad_row,
                drop=options.drop or (),
                nominal=options.nominal or (),
                delimiter=options.delimiter,
                header=False if options.no_header else None,
                missing=options.missing or (),
                encoding=options.encoding,
            )
    if name not in streams.names():
        raise ValueError(
            f"unknown stream {name!r}; available: {', '.join(streams.names())}; "
            f"or a file that ends in one of {files.ENDINGS}"
        )
    for option in fields(options):
        value = getattr(options, option.name)
        if value and value != option.default and option.name != "on_bad_row":
            flag = f"--{option.name.replace('_', '-')}"
            raise ValueError(
                f"{flag} {value}: {name} is no file, and how it is read is known; leave {flag} out"
            )
    with _download_bar() as progress:
        return streams.make(name, seed=seed, n_samples=limit, data_dir=data_dir, progress=progress)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End with one line and exit code 2 where the user, or a file, is wrong."""
    try:
        yield
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        say(str(error))
        raise typer.Exit(2) from None


_FLAGS = {
    r"\bmissing=\[\.\.\., '(.*?)'\]": r"--missing '\1'",
    r"\bencoding='(.*?)'": r"--encoding \1",
    r"\bdrop=\['(.*?)'\]": r"--drop '\1'",
    r"\bnominal=\['(.*?)'\]": r"--nominal '\1'",
    r"\bdelimiter='(.)'": r"--delimiter '\1'",
    r"\bheader=False": "--no-header",
    r"\bon_bad_row='skip'": "--on-bad-row skip",
}


def _with_flags(message: str) -> str:
    """Return an error of the library with its advice about arguments in the words of the command line."""
    for argument, flag in _FLAGS.items():
        message = re.sub(argument, flag, message)
    return message


def say(message: str) -> None:
    """Say something of the library on stderr, in one line."""
    text = f"driftmoe: {_with_flags(message)}"
    Console(stderr=True).print(text, soft_wrap=True, markup=False, highlight=False)


def report_reading(name: str, stream: Stream, options: FileOptions) -> None:
    """Say on stderr which column of a file is the class, where nobody did, and what may be meant otherwise."""
    target = stream.reading.get("target")
    if target is not None and options.target is None:
        say(f"{Path(name).name}, class: last column, `{target}`")
    for note in stream.notes:
        say(note)


def left_out_rows(stream: Stream) -> files.BadRows:
    """Return the malformed rows of the last reading."""
    return getattr(stream, "bad_rows", files.BadRows())


def report_left_out(left_out: files.BadRows) -> None:
    """Say on stderr how many malformed rows were left out, if any, and why the first one was."""
    if left_out.count:
        say(f"left out {left_out.count:,} malformed rows; the first: {left_out.reasons[0]}")


def table_console() -> Console:
    """Return the console for tables: as wide as the terminal, or wide enough for a table in a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _summary(name: str) -> list[str]:
    """Return samples, features, classes, drifts, description; a real stream's without touching its file."""
    if name in SOURCES:
        source = SOURCES[name]
        n_classes = str(len(source.classes)) if source.classes else ""
        n_drifts = str(len(source.drifts)) if source.drifts else ""
        return [
            f"{source.n_samples:,}",
            str(source.n_features),
            n_classes,
            n_drifts,
            escape(source.description),
        ]
    stream = streams.make(name)
    width = f", width {stream.drifts[0].width:,}" if stream.drifts else ""
    return [
        "" if stream.n_samples is None else f"{stream.n_samples:,}",
        str(stream.n_features),
        str(len(stream.classes)),
        f"{len(stream.drifts)}{width}" if stream.drifts else "",
        escape(stream.desc),
    ]


def _shortened(values: list[Any]) -> str:
    shown = ", ".join(map(str, values[:N_SHOWN]))
    return f"{shown}, ... ({len(values)} in all)" if len(values) > N_SHOWN else shown


def _samples_table(stream: Stream, samples: list[tuple[dict[Hashable, Any], Any]]) -> Table:
    names = [feature.name for feature in stream.features][:10]
    table = Table(title="First samples", title_justify="left")
    for name in names:
        table.add_column(escape(name), justify="right")
    if stream.n_features > len(names):
        table.add_column(f"{stream.n_features - len(names)} more")
    table.add_column("class", style="bold")
    for x, y in samples:
        cells = [
            escape(f"{x[n]:g}" if isinstance(x[n], float) else str(x[n])) if n in x else "" for n in names
        ]
        table.add_row(*cells, *["..."] * (stream.n_features > len(names)), escape(str(y)))
    return table


@contextmanager
def _samples_bar(description: str, total: int | None) -> Iterator[Any]:
    """Show a bar on stderr once samples are done; yields a function to call with their number so far."""
    start = time.perf_counter()
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} samples, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = progress.add_task(description, total=total, rate=0.0)

    def update(n_done: int) -> None:
        progress.start()  # does nothing where it has started
        progress.update(task, completed=n_done, rate=n_done / (time.perf_counter() - start))

    try:
        yield update
    finally:
        if progress.live.is_started:
            progress.stop()


@contextmanager
def _download_bar() -> Iterator[Any]:
    """Show a bar on stderr once something is fetched; yields the function that `streams.fetch` calls."""
    progress = Progress(*Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True))
    tasks: list[TaskID] = []

    def update(done: int, total: int | None, description: str) -> None:
        if not tasks:
            progress.start()
            tasks.append(progress.add_task(description))
        progress.update(tasks[0], completed=done, total=total, description=description)

    try:
        yield update
    finally:
        if tasks:
            progress.stop()


def _window_means(
    stream: Stream, window: int, advance: Any
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the middle of each window, the share of each class and the lines of the features that vary most.

    A feature's line is its mean in the window, in standard deviations from its mean in the stream. A
    nominal feature has a line for each of its first values: the value's share, on the same scale.
    """
    columns: list[tuple[int, int | None]] = []
    for j, feature in enumerate(stream.features):
        n_values = 0 if feature.values is None else min(len(feature.values), 10)
        # Of two values one tells all: the other's share is the rest.
        columns += [(j, None)] if feature.values is None else [(j, v) for v in range(n_values == 2, n_values)]
    positions: list[float] = []
    shares, means = [], []
    n_done = 0
    shift = np.zeros(len(columns))
    count, total, square = np.zeros((3, len(columns)))
    for X, y in stream.blocks(window):
        if len(y) < window // 2 and positions:
            break  # a few last samples would stand for a window
        numbers = np.empty((len(y), len(columns)))
        for i, (j, value) in enumerate(columns):
            numbers[:, i] = (
                X[:, j] if value is None else np.where(np.isnan(X[:, j]), np.nan, X[:, j] == value)
            )
        present = np.isfinite(numbers)
        n_present = present.sum(axis=0)
        if not positions:
            shift = np.where(present, numbers, 0.0).sum(axis=0) / np.maximum(n_present, 1)
        centred = np.where(present, numbers - shift, 0.0)  # near zero, so that squares lose no digits
        count += n_present
        total += centred.sum(axis=0)
        square += (centred**2).sum(axis=0)
        means.append(np.where(n_present > 0, centred.sum(axis=0) / np.maximum(n_present, 1), np.nan))
        shares.append(np.bincount(y, minlength=len(stream.classes)) / len(y))
        positions.append(n_done + len(y) / 2)
        n_done += len(y)
        advance(n_done)
    if not positions:
        return np.empty(0), np.empty((0, 0)), {}
    proportions = np.array([np.pad(share, (0, len(stream.classes) - len(share))) for share in shares])
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0.0))
    varies = np.flatnonzero(deviation > 0)
    scaled = (np.array(means)[:, varies] - mean[varies]) / deviation[varies]
    order = np.argsort(-np.nanstd(scaled, axis=0), kind="stable")[:N_LINES]
    return (
        np.array(positions),
        proportions,
        {_line_name(stream, *columns[varies[i]]): scaled[:, i] for i in order},
    )


def _line_name(stream: Stream, j: int, value: int | None) -> str:
    feature = stream.features[j]
    return (
        feature.name
        if value is None or feature.values is None
        else f"{feature.name} = {feature.values[value]}"
    )


def _draw(
    stream: Stream,
    positions: np.ndarray,
    proportions: np.ndarray,
    lines: dict[str, np.ndarray],
    path: Path,
    *,
    title: str,
) -> None:
    from matplotlib import color_sequences
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    colours = color_sequences["tab20"][::2] + color_sequences["tab20"][1::2]
    frequent = sorted(np.argsort(-proportions.mean(axis=0), kind="stable")[:N_LINES].tolist())
    of_classes = {f"class {stream.classes[k]}": proportions[:, k] for k in frequent}
    for axes, named in ((above, of_classes), (below, lines)):
        for (name, line), colour in zip(named.items(), colours, strict=False):
            axes.plot(
                positions,
                line,
                label=name if len(name) <= 28 else f"{name[:14]}…{name[-13:]}",
                color=colour,
                linewidth=1.3,
            )
        for i, drift in enumerate(stream.drifts):
            axes.axvline(
                drift.position, color="black", linestyle="--", linewidth=1, label="drift" if i == 0 else None
            )
            if drift.width > 1:
                axes.axvspan(
                    drift.position - drift.width / 2,
                    drift.position + drift.width / 2,
                    color="black",
                    alpha=0.08,
                    linewidth=0,
                )
        axes.grid(alpha=0.3)
        axes.margins(x=0.01)
        if named or stream.drifts:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    n_hidden = len(stream.classes) - len(frequent)
    above.set(
        title=title, ylabel="share of the class" + (f" ({n_hidden} rarer ones left out)" if n_hidden else "")
    )
    below.set(xlabel="samples", ylabel="mean of the feature, in standard deviations")
    below.set_title(f"features (most varying first, {N_LINES} at most)", fontsize="medium")
    below.xaxis.set_major_formatter("{x:,.0f}")
    save_figure(figure, path)
