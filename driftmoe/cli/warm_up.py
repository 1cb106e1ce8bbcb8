"""`driftmoe warm-up`: compile everything now, so that no first sample has to wait for it."""

from __future__ import annotations

import os
import time
from itertools import islice
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import streams
from driftmoe.cli.late import Late
from driftmoe.cli.terminal import progress_console
from streams.catalogue import SYNTHETIC

if TYPE_CHECKING:
    from driftmoe import ahead, warming
else:
    ahead, warming = Late("driftmoe.ahead"), Late("driftmoe.warming")

EXAMPLES = """
Examples:

  driftmoe warm-up

  NUMBA_CACHE_DIR=/opt/kernels driftmoe warm-up
"""


def warm_up() -> None:
    """Compile all kernels of models and synthetic streams, and keep their code on disk.

    The first sample on a machine, and after an update, waits for this
    otherwise. The code lies in $NUMBA_CACHE_DIR, or beside the sources, or in
    the user's cache folder: the first of them that can be written.
    """
    os.environ[ahead.QUIET] = "1"  # the bar says it
    start = time.perf_counter()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=progress_console(),
    ) as progress:
        task = progress.add_task("compiling", total=warming.N_STEPS + len(SYNTHETIC))
        for step in warming.warm_up():
            progress.update(task, description=f"compiling: {step}")
            progress.advance(task)
        for name in SYNTHETIC:
            progress.update(task, description=f"compiling: stream {name}")
            list(islice(streams.make(name), 1))
            progress.advance(task)
        progress.update(task, description="compiled")
    typer.echo(f"Everything is compiled, after {time.perf_counter() - start:.0f} s.")
