"""`driftmoe streams list | show | export | fetch | plot`."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Hashable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import streams
from driftmoe.cli.bars import download_bar, open_with_bar, samples_bar
from driftmoe.cli.completion import real_streams
from driftmoe.cli.late import Late
from driftmoe.cli.names import WRITTEN
from driftmoe.cli.options import DataDir, Force, Limit, Name, Quiet, Seed, reads_files
from driftmoe.cli.own_streams import short_name
from driftmoe.cli.terminal import (
    WIDTH,
    be_quiet,
    check_free,
    check_picture,
    left_out_rows,
    one_line_errors,
    report_left_out,
    report_reading,
)
from driftmoe.cli.terminal import (
    show as show_text,
)
from streams.catalogue import N_SAMPLES, SYNTHETIC
from streams.file_options import FileOptions
from streams.sources import SOURCES
from streams.wrapped import WRAPPERS, is_wrapped

if TYPE_CHECKING:
    from driftmoe import metrics, report
    from streams import Stream, json_lines
    from streams import export as writing
else:
    metrics, report = Late("driftmoe.metrics"), Late("driftmoe.report")
    writing, json_lines = Late("streams.export"), Late("streams.json_lines")

app = typer.Typer(
    rich_markup_mode=None,
    name="streams",
    help="List, show, export, fetch and plot streams.",
    no_args_is_help=True,
)

WRAPPED = (
    f"Wrappers around any of them, or around a file: {', '.join(WRAPPERS)}. Known drifts in real data: "
    '"label-swap(elec2, position=20000)", "feature-permutation(elec2, position=20000, width=5000)"; arguments are '
    "those of streams.wrappers. They nest."
)

N_SHOWN = 30
"""Features and class labels that `show` lists."""

N_COLUMNS = 10
"""Features in the table of first samples."""

N_LABELS = 50_000
"""Labels, the first ones, whose order `show` looks at."""

N_WINDOWS = 200
"""Windows in which `plot` divides a stream by default."""


@app.command("list", epilog="Examples:\n\n  driftmoe streams list\n\n  driftmoe streams list led")
def list_streams(
    part: Annotated[
        str,
        typer.Argument(
            metavar="[PART]",
            help="Only streams whose name or description has this in it.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """List the streams known by name."""
    told = {name: _summary(name) for name in streams.names()}
    found = [name for name in told if part.lower() in f"{name} {told[name][1]}".lower()]
    if not found:
        with one_line_errors():
            raise ValueError(f"no stream has {part!r} in its name or description; leave it out to see all")
    for name in found:
        figures, description = told[name]
        lines = textwrap.wrap(f"{figures}. {description}", WIDTH - 2, break_on_hyphens=False)
        show_text("\n".join([name, *(f"  {line}" for line in lines)]))
    if not part:
        show_text("\n" + "\n".join(_filled(WRAPPED, "")))


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
    """Show the features, classes, drifts and first samples of a stream, and the hash of all its samples.

    It also says how often the first labels can be predicted from labels alone,
    and warns where they come in an order that a model can learn without any
    feature. Of a real set that is not at hand it tells licence and citation.
    """
    with one_line_errors():
        try:
            stream = open_with_bar(name, options, limit, seed, data_dir)
        except (ValueError, OSError):
            if of_publication := _of_publication(name):
                show_text("\n".join(of_publication))
            raise
        report_reading(name, stream, options)
        first = list(islice(stream, rows)) if rows else []
        fingerprint = stream.fingerprint()
        of_labels = _of_labels(stream)
        left_out = left_out_rows(stream)
    show_text("\n".join([_description(name, stream), *of_labels]))
    if first:
        show_text(f"\n{_samples_table(stream, first)}\n")
    show_text(f"SHA-256: {fingerprint}")
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
    force: Force = False,
    quiet: Quiet = False,
    data_dir: DataDir = None,
) -> None:
    """Write a stream to a CSV, ARFF or Parquet file. The file appears whole or not at all."""
    be_quiet(quiet)
    with one_line_errors():
        if file != Path("-"):
            check_free([file], force=force, elsewhere="choose another name")
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
    show_text(f"{file}: {figures}")
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
    show_text(str(path))


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
    force: Force = False,
    quiet: Quiet = False,
    data_dir: DataDir = None,
) -> None:
    """Draw class proportions and feature means over time, with the known drifts marked."""
    path = out or Path(f"{short_name(name) if is_wrapped(name) else Path(name).name.split('.')[0]}.png")
    be_quiet(quiet)
    with one_line_errors():
        check_free([path], force=force, elsewhere="choose another --out")
        check_picture(path)
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
    show_text(str(path))
    report_left_out(left_out_rows(stream))


def _summary(name: str) -> tuple[str, str]:
    """Return the figures of a stream and its description. Its file is not opened."""
    if name in SOURCES:
        source = SOURCES[name]
        n_samples, n_features = source.n_samples, source.n_features
        n_classes = len(source.classes) or source.n_classes or 0
        n_drifts, width, description = len(source.drifts or ()), 0, source.description
    else:
        n_features, n_classes, n_drifts, width, description = SYNTHETIC[name]
        n_samples = N_SAMPLES
    parts = [f"{n_samples:,} samples", f"{n_features} features"]
    parts += [f"{n_classes} classes"] if n_classes else []
    parts += [f"{n_drifts} drifts" + (f" of width {width:,}" if width else "")] if n_drifts else []
    return ", ".join(parts), description


def _description(name: str, stream: Stream) -> str:
    """Return what is known of a stream besides its samples, as lines of at most 80 columns."""
    length = (
        "as many samples as the file has" if stream.n_samples is None else f"{stream.n_samples:,} samples"
    )
    lines = _filled(f"{name}: {length}, {stream.n_features} features, {len(stream.classes)} classes")
    lines += [*_filled(stream.desc), "", "Features"]
    for i, feature in enumerate(stream.features[:N_SHOWN]):
        kind = "numeric" if feature.values is None else f"nominal: {_shortened(feature.values)}"
        lines += _filled(f"{i:>4}  {feature.name}: {kind}", " " * 6)
    if stream.n_features > N_SHOWN:
        lines.append(f"      and {stream.n_features - N_SHOWN:,} more")
    drifts = ", ".join(
        f"{drift.position:,} (abrupt)" if drift.width <= 1 else f"{drift.position:,} (width {drift.width:,})"
        for drift in stream.drifts
    )
    lines += [
        "",
        *_filled(f"Classes: {_shortened(stream.classes)}"),
        *_filled(f"Drifts: {drifts or 'none known'}"),
    ]
    return "\n".join([*lines, *_of_publication(name)])


def _of_publication(name: str) -> list[str]:
    """Return licence and citation of a real set that has a name, as lines of at most 80 columns."""
    if name not in SOURCES:
        return []
    licence = SOURCES[name].licence or "not stated where the data are published"
    return [*_filled(f"Licence: {licence}"), *_filled(f"Cite: {SOURCES[name].citation}")]


def _first_labels(stream: Stream) -> Iterator[Hashable]:
    """Yield the first labels of a stream."""
    labels = (stream.classes[target] for block in stream.blocks() for target in block.y.tolist())
    return islice(labels, N_LABELS)


def _of_labels(stream: Stream) -> list[str]:
    """Return how far labels can be predicted from labels alone, with a warning where they come in an order."""
    try:
        order = metrics.label_order(_first_labels(stream))
    except ValueError as error:  # a row is damaged: what is known of the others is shown all the same
        return _filled(
            f"Labels alone: not known, since not all of the first {N_LABELS:,} rows can be read: {error}"
        )
    if order.n_labels < 1:
        return []
    shares = ", ".join(
        f"{what} {share:.2%}".replace("%", " %")
        for what, share in (
            ("majority", order.majority),
            ("no change", order.no_change),
            ("markov (what most often follows the last label)", order.markov),
        )
    )
    lines = _filled(f"Labels alone, right in the first {order.n_labels + 1:,}: {shares}")
    if order.is_ordered:
        lines += _filled(
            "Warning: the labels come in an order, by which a model can be right without any feature. Compare kappa-O "
            "in place of accuracy, and run `driftmoe evaluate` also with --label-order ignore or --shuffle-window 1000."
        )
    return lines


def _filled(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _shortened(values: list[Any]) -> str:
    shown = ", ".join(map(str, values[:N_SHOWN]))
    return f"{shown}, ... ({len(values)} in all)" if len(values) > N_SHOWN else shown


def _samples_table(stream: Stream, samples: list[tuple[dict[Hashable, Any], Any]]) -> str:
    names = [feature.name for feature in stream.features][:N_COLUMNS]
    rows = []
    for i, (x, y) in enumerate(samples, 1):
        cells = [f"{x[n]:g}" if isinstance(x.get(n), float) else str(x.get(n, "")) for n in names]
        rows.append([str(i), *cells, str(y)])
    n_more = stream.n_features - len(names)
    title = "First samples" + (f", without {n_more:,} more features" if n_more else "")
    return report.fitted(["", *names, "class"], rows, title=title)
