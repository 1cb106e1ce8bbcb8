"""`driftmoe streams list | show | export | fetch | plot`."""

from __future__ import annotations

import sys
import time
from collections.abc import Hashable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import streams
from driftmoe.cli.bars import download_bar, open_with_bar, samples_bar
from driftmoe.cli.completion import real_streams
from driftmoe.cli.late import Late
from driftmoe.cli.names import WRITTEN
from driftmoe.cli.options import DataDir, Limit, Name, Seed, reads_files
from driftmoe.cli.terminal import (
    left_out_rows,
    one_line_errors,
    report_left_out,
    report_reading,
    table_console,
)
from streams.catalogue import N_SAMPLES, SYNTHETIC
from streams.file_options import FileOptions
from streams.sources import SOURCES

if TYPE_CHECKING:
    from driftmoe import report
    from streams import Stream, json_lines
    from streams import export as writing
else:
    report, writing, json_lines = Late("driftmoe.report"), Late("streams.export"), Late("streams.json_lines")

app = typer.Typer(
    name="streams",
    help="List, show, export, fetch and plot streams.",
    no_args_is_help=True,
)

N_SHOWN = 30
"""Features and class labels that `show` lists."""

N_COLUMNS = 10
"""Features in the table of first samples."""

N_WINDOWS = 200
"""Windows in which `plot` divides a stream by default."""


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
@reads_files
def show(
    name: Name,
    *,
    options: FileOptions,
    limit: Limit = None,
    seed: Seed = None,
    rows: Annotated[int, typer.Option(min=0, help="Number of first samples to print.")] = 5,
    data_dir: DataDir = None,
) -> None:
    """Show the features, classes, drifts and first samples of a stream, and the hash of all its samples."""
    with one_line_errors():
        stream = open_with_bar(name, options, limit, seed, data_dir)
        report_reading(name, stream, options)
        first = list(islice(stream, rows)) if rows else []
        fingerprint = stream.fingerprint()
        left_out = left_out_rows(stream)
    console = table_console()
    _describe(name, stream, console)
    if first:
        console.print(_samples_table(stream, first))
    console.print(f"SHA-256: {fingerprint}", soft_wrap=True)
    report_left_out(left_out)


@app.command(
    epilog="Examples:\n\n  driftmoe streams export sea_g sea_g.arff --limit 100000 --seed 7\n\n"
    "  driftmoe streams export flowers.csv flowers.parquet --target species\n\n"
    "  driftmoe streams export electricity - | driftmoe feed http://127.0.0.1:8000"
)
@reads_files
def export(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=f"File to write. Its name must end in one of {', '.join(WRITTEN)}; or -, which writes lines of JSON "
            "to standard output.",
            show_default=False,
        ),
    ],
    *,
    options: FileOptions,
    limit: Limit = None,
    seed: Seed = None,
    data_dir: DataDir = None,
) -> None:
    """Write a stream to a CSV, ARFF or Parquet file. The file appears whole or not at all."""
    with one_line_errors():
        stream = open_with_bar(name, options, limit, seed, data_dir)
        report_reading(name, stream, options)
        if file == Path("-"):
            with samples_bar(f"writing {name}", stream.n_samples) as progress:
                json_lines.write_lines(stream, sys.stdout, progress=progress)
            report_left_out(left_out_rows(stream))
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with samples_bar(f"writing {file.name}", stream.n_samples) as progress:
            n_written = writing.write(stream, file, progress=progress)
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
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of a real stream.", show_default=False, autocompletion=real_streams
        ),
    ],
    from_file: Annotated[
        Path | None,
        typer.Option(help="A copy on this machine, to use instead of a download.", show_default=False),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Download the file of a real stream to the user's cache, and print its path."""
    with one_line_errors(), download_bar() as progress:
        path = streams.fetch(name, data_dir=data_dir, from_file=from_file, progress=progress)
    table_console().print(escape(str(path)), soft_wrap=True)


@app.command(
    epilog="Examples:\n\n  driftmoe streams plot sea_g\n\n"
    "  driftmoe streams plot covtype --limit 100000 --window 1000 --out covtype.png"
)
@reads_files
def plot(
    name: Name,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write. Default: NAME.png.", show_default=False)
    ] = None,
    options: FileOptions,
    limit: Limit = None,
    seed: Seed = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Samples averaged at each point. Default: the length of the stream divided by {N_WINDOWS}.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Draw class proportions and feature means over time, with the known drifts marked."""
    path = out or Path(f"{Path(name).name.split('.')[0]}.png")
    with one_line_errors():
        stream = open_with_bar(name, options, limit, seed, data_dir)
        report_reading(name, stream, options)
        path.parent.mkdir(parents=True, exist_ok=True)
        if window is None:
            window = 1000 if stream.n_samples is None else max(1, stream.n_samples // N_WINDOWS)
        with samples_bar(f"reading {name}", stream.n_samples) as progress:
            positions, proportions, lines = report.window_means(stream, window, progress)
        if not len(positions):
            raise ValueError(f"{name} holds no samples; there is nothing to draw")
        title = f"{name}, windows of {window:,} samples"
        report.save_figure(report.stream_figure(stream, positions, proportions, lines, title=title), path)
    table_console().print(escape(str(path)), soft_wrap=True)
    report_left_out(left_out_rows(stream))


def _summary(name: str) -> list[str]:
    """Return the cells of a stream: samples, features, classes, drifts, description. Its file is not opened."""
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
    stream = SYNTHETIC[name]
    drifts = f"{stream.n_drifts}, width {stream.width:,}" if stream.n_drifts else ""
    return [
        f"{N_SAMPLES:,}",
        str(stream.n_features),
        str(stream.n_classes),
        drifts,
        escape(stream.description),
    ]


def _describe(name: str, stream: Stream, console: Console) -> None:
    """Print what is known of a stream besides its samples."""
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


def _shortened(values: list[Any]) -> str:
    shown = ", ".join(map(str, values[:N_SHOWN]))
    return f"{shown}, ... ({len(values)} in all)" if len(values) > N_SHOWN else shown


def _samples_table(stream: Stream, samples: list[tuple[dict[Hashable, Any], Any]]) -> Table:
    names = [feature.name for feature in stream.features][:N_COLUMNS]
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
