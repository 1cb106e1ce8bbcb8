"""`driftmoe store show | compact | export`: the store of a worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftmoe.cli.late import Late
from driftmoe.cli.terminal import in_one_line, one_line_errors
from driftmoe.cli.terminal import show as show_text

if TYPE_CHECKING:
    from driftmoe.service import scores as scoring
    from driftmoe.service import store as library
else:
    scoring, library = Late("driftmoe.service.scores"), Late("driftmoe.service.store")

app = typer.Typer(
    name="store",
    help="Show, compact and copy the store of a worker.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

N_SHOWN = 20
"""Models and events that are shown."""

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the store.", show_default=False)]


@app.callback()
def root() -> None:
    """Show, compact and copy the store of a worker."""


@app.command(
    epilog="Examples:\n\n  driftmoe store show runs/store\n\n  driftmoe store show runs/store --refused 50"
)
def show(
    folder: Folder,
    *,
    refused: Annotated[
        int,
        typer.Option(
            min=0, help="Events that were not used to show: refused, duplicate, in conflict, expired."
        ),
    ] = 5,
) -> None:
    """Show what a store holds. A worker may run."""
    with one_line_errors():
        store = library.Store(folder, read_only=True)
        try:
            show_text(_head(store))
            show_text(counts_text(store.counts()))
            rows = store.read("SELECT key, scores FROM models ORDER BY key")
            figures = {key: scoring.Scores.from_json(scores).figures() for key, scores in rows}
            n_kept = sum(one["n_learnt"] for one in figures.values())
            n_learnt = store.counts().get("learnt", 0)
            if n_kept < n_learnt:
                show_text(f"\nFigures as of the last snapshot: {n_kept:,} of {n_learnt:,} samples learnt.")
            show_text(scores_text(figures))
            show_text("\n".join(_refused(store, refused)))
        finally:
            store.close()


@app.command(epilog="Example: driftmoe store compact runs/store")
def compact(folder: Folder) -> None:
    """Give the room of what was deleted back to the disk. No worker may run."""
    with one_line_errors():
        if not (folder / library.FILE).is_file():
            raise ValueError(f"{folder} holds no store; give the folder of `driftmoe serve --store`")
        store = library.Store(folder)
        try:
            before = store.size()
            store.compact()
            show_text(f"{before:,} bytes before, {store.size():,} now")
        finally:
            store.close()


@app.command(epilog="Example: driftmoe store export runs/store backups/monday")
def export(
    folder: Folder,
    to: Annotated[Path, typer.Argument(metavar="TO", help="Folder of the copy.", show_default=False)],
) -> None:
    """Copy a store, in a state between two commits. A worker may run."""
    with one_line_errors():
        store = library.Store(folder, read_only=True)
        try:
            file = store.copy_to(to)
        finally:
            store.close()
    show_text(f"{file}: {file.stat().st_size:,} bytes")


def _head(store: library.Store) -> str:
    about = store.about()
    lines = [
        f"store      {store.file}, {store.size():,} bytes, last written by driftmoe {about.get('version')}",
        f"model      {about.get('model')}, seed {about.get('seed')}",
    ]
    for name, (position, n) in store.positions().items():
        lines.append(in_one_line(f"source     {name}: {n:,} events, up to {position}"))
    n_waiting = store.read("SELECT count(*), min(arrived) FROM samples WHERE label IS NULL AND state = 0")[0]
    n_labels = store.read("SELECT count(*) FROM labels")[0][0]
    lines.append(f"waiting    {n_waiting[0]:,} samples, {n_labels:,} labels")
    n_unsent = store.read("SELECT count(*) FROM outbox")[0][0]
    if n_unsent:
        lines.append(f"to send    {n_unsent:,} messages")
    return "\n".join(lines)


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the counters of a worker as lines of text."""
    return "\n".join(f"{name:<28} {n:>12,}" for name, n in sorted(counts.items()))


def scores_text(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of models as a table of at most 80 columns."""
    heads = ("model", "learnt", "accuracy", "no change", "kappa M", "kappa T", "kappa O", "ECE")
    lines = ["{:<16} {:>12} {:>8} {:>9} {:>7} {:>7} {:>7} {:>6}".format(*heads)]
    for key, of_key in list(figures.items())[:N_SHOWN]:
        name = key if len(key) <= 16 else key[:13] + "..."
        cells = [
            _percent(of_key[one]) for one in ("accuracy", "no_change", "kappa_m", "kappa_t", "kappa_o", "ece")
        ]
        lines.append(
            "{:<16} {:>12,} {:>8} {:>9} {:>7} {:>7} {:>7} {:>6}".format(name, of_key["n_learnt"], *cells)
        )
    if len(figures) > N_SHOWN:
        lines.append(f"and {len(figures) - N_SHOWN:,} more")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100.0 * share:.2f}"


def _refused(store: library.Store, n: int) -> list[str]:
    """Return the last events that were not used, as lines of text."""
    rows = store.read("SELECT time, outcome, source, reason, event FROM dead ORDER BY seq DESC LIMIT ?", (n,))
    lines = [f"last {len(rows)} events that were not used:"] if rows else []
    for when, outcome, source, reason, event in rows:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
        head = in_one_line(f"  {stamp}  {outcome}, from {source}: {reason}")
        lines += [head[:200], f"    {in_one_line(event[:70])}"]
    return lines
