"""The program `driftmoe`: its commands, and how it ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from driftmoe import __version__
from driftmoe.cli import evaluate, grid, model, neural, report, streams
from driftmoe.exits import INTERRUPTED, SAID, described

app = typer.Typer(
    name="driftmoe",
    help="Online mixture of experts for data streams that drift.",
    epilog="Example: driftmoe evaluate electricity --model driftmoe --model arf",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(streams.app, name="streams")
app.add_typer(model.app, name="model")
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=grid.EXAMPLES)(grid.grid)
app.command(epilog=neural.EXAMPLES)(neural.neural)
app.command("report", epilog=report.EXAMPLES)(report.write_report)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Online mixture of experts for data streams that drift."""
    if version:
        typer.echo(f"driftmoe {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. A user's mistake ends in one line on stderr and exit code 2."""
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
    except BrokenPipeError:  # the reader of the output has gone; write nothing more to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        typer.echo(f"driftmoe: {described(error)}", err=True)
        sys.exit(1)
    if code == INTERRUPTED:  # typer turns most interrupts into this code
        typer.echo(SAID, err=True)
    sys.exit(code if isinstance(code, int) else 0)
