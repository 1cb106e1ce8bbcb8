"""What the commands write to the terminal: one-line messages on stderr, tables on stdout."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from driftmoe.cli.late import Late
from driftmoe.exits import described

if TYPE_CHECKING:
    from driftmoe import experiment
    from driftmoe.experiment import CheckpointFolder, Run
    from streams import Stream, files
    from streams.file_options import FileOptions
else:
    experiment, files = Late("driftmoe.experiment"), Late("streams.files")

_FLAGS = {
    r"\btarget='?(.*?)'? is for files": r"--target \1 is for files",
    r"\bmissing=\[(?:\.\.\., )?'(.*?)'\]": r"--missing '\1'",
    r"\bencoding='(.*?)'": r"--encoding \1",
    r"\bdrop=\['(.*?)'\]": r"--drop '\1'",
    r"\bnominal=\['(.*?)'\]": r"--nominal '\1'",
    r"\bdelimiter='(.)'": r"--delimiter '\1'",
    r"\bheader=False": "--no-header",
    r"\bheader=True": "--header",
    r"\bon_bad_row='skip'": "--on-bad-row skip",
    r"\bcount_warm_up=True": "--count-warm-up",
    r"; leave header out": "; leave --header or --no-header out",
    r"; leave (target|drop|nominal|delimiter|missing|encoding) out": r"; leave --\1 out",
}
"""Regular expression for an argument in a message of the library -> the command-line option."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error in the arguments or in a file into one line on stderr and exit code 2."""
    try:
        yield
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        say(described(error))
        raise typer.Exit(2) from None


def say(message: str) -> None:
    """Write a message to stderr in one line. Arguments of the library are written as command-line options."""
    for argument, flag in _FLAGS.items():
        message = re.sub(argument, flag, message)
    note(f"driftmoe: {message}", Console(stderr=True))


def note(text: str, console: Console) -> None:
    """Write one line without wrapping it."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def table_console() -> Console:
    """Return the console for tables: as wide as the terminal, or wide enough for a table in a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def report_reading(name: str, stream: Stream, options: FileOptions) -> None:
    """Write to stderr which column of a file is the class, unless the user named it, and the notes on its reading."""
    target = stream.reading.get("target")
    if target is not None and options.target is None:
        say(f"{Path(name).name}, class: last column, `{target}`")
    for text in stream.notes:
        say(text)


def report_not_kept(runs: Sequence[Run]) -> None:
    """Write to stderr which models can have no checkpoints, and why."""
    for name, run in {run.model: run for run in runs}.items():
        if reason := experiment.why_not_kept(run.new_model()):
            say(f"{name} has no checkpoints and begins anew if it is stopped: {reason}")


def report_checkpoints_left(folder: CheckpointFolder) -> None:
    """Write to stderr that there are checkpoints of runs that are not complete, if so."""
    if n_left := folder.n_left():
        say(
            f"{folder.path} has checkpoints of incomplete runs ({n_left}); the commands that began them, with "
            "--checkpoint-every, go on from there; or remove the folder"
        )


def left_out_rows(stream: Stream) -> files.BadRows:
    """Return the malformed rows that the last reading left out."""
    return getattr(stream, "bad_rows", files.BadRows())


def report_left_out(left_out: files.BadRows) -> None:
    """Write to stderr how many malformed rows were left out, if any, and what was wrong with the first."""
    if left_out.count:
        say(f"left out {left_out.count:,} malformed rows; the first: {left_out.reasons[0]}")
