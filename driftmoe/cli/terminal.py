"""What the commands write to the terminal: one-line messages and progress on stderr, tables and results on stdout."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

WIDTH = 80
"""Columns that the output of every command fits; names that must not be cut may be longer."""

PICTURES = ("", ".png", ".svg", ".pdf", ".jpg", ".jpeg", ".eps", ".tif", ".tiff", ".webp")
"""Endings of pictures."""

_FLAGS = {
    r"\bstreams\.names\(\) lists all": "`driftmoe streams list` lists all",
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
    r"\blabel_order='ignore'": "--label-order ignore",
    r"\blabel_share=(\S+); choose": r"--label-share \1; choose",
    r"\bshuffle_window\b": "--shuffle-window",
    r"\btime='(.*?)' needs": r"--time \1 needs",
    r"\bdelay='(.*?)' is (none|a time)": r"--delay '\1' is \2",
    r": time=$": ": --time COLUMN",
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


class _Settings:
    """What the options of the running command say of its messages."""

    is_quiet = False


def be_quiet(is_quiet: bool) -> None:
    """Write neither progress nor notes from now on, if so; errors are written all the same."""
    if is_quiet:
        _Settings.is_quiet = True
        os.environ["DRIFTMOE_QUIET"] = "1"  # see `driftmoe.ahead`


def say(message: str) -> None:
    """Write a message to stderr in one line. Arguments of the library are written as command-line options."""
    for argument, flag in _FLAGS.items():
        message = re.sub(argument, flag, message)
    note(f"driftmoe: {message}", Console(stderr=True))


def tell(message: str) -> None:
    """Write a message as `say` does, unless the command was asked to be quiet."""
    if not _Settings.is_quiet:
        say(message)


def printable(text: str) -> str:
    """Return a text in which control characters, such as those that move the cursor, are written as escapes.

    Names of features and classes come from files, and may hold any. Line ends stay.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def in_one_line(text: str) -> str:
    """Return a text as `printable` does, with line ends as escapes, too."""
    return printable(text).replace("\n", "\\n")


_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def note(text: str, console: Console) -> None:
    """Write one line without wrapping it."""
    console.print(printable(text), soft_wrap=True, markup=False, highlight=False)


def progress_console() -> Console:
    """Return the console for progress, on stderr; it shows nothing if the command was asked to be quiet."""
    return Console(stderr=True, quiet=_Settings.is_quiet)


def show(text: str, *, beside_json: bool = False) -> None:
    """Write a text without changes but for control characters: to stdout, or to stderr if stdout is for JSON."""
    if not (beside_json and _Settings.is_quiet):
        typer.echo(printable(text), err=beside_json)


def show_warnings_as_messages() -> None:
    """From now on write each warning of Python's once, in one line on stderr."""
    seen: set[str] = set()

    def written(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            tell(text)

    warnings.showwarning = written


def check_free(paths: Iterable[Path], *, force: bool, elsewhere: str) -> None:
    """Raise ValueError if one of these files exists and may not be replaced.

    Parameters
    ----------
    paths
        Files to be written.
    force
        Whether the user allows it.
    elsewhere
        What else the user can do.
    """
    if not force and (there := [path for path in paths if path.exists()]):
        raise ValueError(f"{there[0]} exists; --force replaces it, or {elsewhere}")


def check_picture(path: Path) -> None:
    """Raise ValueError if a picture cannot have the ending of this name."""
    if path.suffix.lower() not in PICTURES:
        raise ValueError(
            f"{path}: a picture is written as its name ends; choose one of {', '.join(filter(None, PICTURES))}"
        )


def report_reading(name: str, stream: Stream, options: FileOptions, time: str | None = None) -> None:
    """Write to stderr which column of a file is the class, unless the user named it, and the notes on its reading.

    Nothing is said of the column `time`, which models do not see.
    """
    target = stream.reading.get("target")
    if target is not None and options.target is None:
        tell(f"{Path(name).name}, class: last column, `{target}`")
    for text in stream.notes:
        if time is None or not text.startswith(repr(time)):
            tell(text)


def report_not_kept(runs: Sequence[Run]) -> None:
    """Write to stderr which models can have no checkpoints, and why."""
    for name, run in {run.model: run for run in runs}.items():
        if experiment.why_not_kept(run.new_model()):
            tell(f"{name} has no checkpoints, since it cannot be saved; it begins anew if it is stopped")


def check_kept(metrics: Sequence[str], every: int | None) -> None:
    """Raise ValueError if runs with these metrics are to be kept: the objects of river cannot be."""
    if metrics and every is not None:
        raise ValueError(f"--checkpoint-every cannot keep {', '.join(metrics)}; leave out one of the two")


def report_checkpoints_left(folder: CheckpointFolder) -> None:
    """Write to stderr that there are checkpoints of runs that are not complete, if so."""
    if n_left := folder.n_left():
        tell(
            f"{folder.path} has checkpoints of incomplete runs ({n_left}); the commands that began them, with "
            "--checkpoint-every, go on from there; or remove the folder"
        )


def left_out_rows(stream: Stream) -> files.BadRows:
    """Return the malformed rows that the last reading left out."""
    return getattr(stream, "bad_rows", files.BadRows())


def report_left_out(left_out: files.BadRows) -> None:
    """Write to stderr how many malformed rows were left out, if any, and what was wrong with the first."""
    if left_out.count:
        tell(f"left out {left_out.count:,} malformed rows; the first: {left_out.reasons[0]}")
