"""The program `driftmoe`: its commands, and how it ends."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command, get_group

from driftmoe import __version__
from driftmoe.cli.terminal import show_warnings_as_messages
from driftmoe.exits import INTERRUPTED, SAID, described, left_at_once

COMMANDS = {
    "evaluate": (
        "evaluate",
        "Evaluate models on a stream, test-then-train: each sample is predicted first and then learned.",
    ),
    "grid": (
        "grid",
        "Run every model on every stream with every seed. Runs that have a result are not done again.",
    ),
    "neural": (
        "neural",
        "Train mixtures of neural experts under several policies, and compare their quality with their cost.",
    ),
    "report": (
        "write_report",
        "Compare the models in result files: one HTML page that needs no network, and the same as Markdown and LaTeX.",
    ),
    "models": ("list_models", "List the models that can be named, with their arguments and defaults."),
    "streams": ("app", "List, show, export, fetch and plot streams."),
    "model": ("app", "Look into the files of saved models, and explain their answers."),
    "serve": ("serve", "Predict for events as they come, and learn when their labels come."),
    "feed": ("feed", "Send events to a worker of `driftmoe serve`: features first, labels later."),
    "replay": ("replay", "Let the worker of `driftmoe serve` take a recorded log, to its end."),
    "keyed": (
        "keyed",
        "Give each key of a stream its own model, which predicts each sample and then learns it.",
    ),
    "warm-up": (
        "warm_up",
        "Compile all kernels of models and synthetic streams, and keep their code on disk.",
    ),
    "store": ("app", "Show, compact and copy the store of a worker."),
}
"""Command, in the module of its name -> the function or the group of commands there, and the first line of its help."""


class LateGroup(TyperGroup):
    """The commands, each of which is imported when it is called: torch and river take seconds."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name of a command, the command itself, and its arguments."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and _imported(str(name)), rest


def _imported(name: str) -> Any:
    with left_at_once():
        module = importlib.import_module(f"driftmoe.cli.{name.replace('-', '_')}")
    what = getattr(module, COMMANDS[name][0])
    if isinstance(what, typer.Typer):
        command: Any = get_group(what)
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, epilog=module.EXAMPLES)(what)
        command = get_command(alone)
    command.name = name
    return command


app = typer.Typer(
    name="driftmoe",
    cls=LateGroup,
    help="Online mixture of experts for data streams that drift.",
    epilog="Example: driftmoe evaluate electricity --model driftmoe --model arf",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its columns cut words where the terminal has 80
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, (_, _summary) in COMMANDS.items():
    app.command(_name, help=_summary, short_help=_summary)(
        lambda: None
    )  # stands for the command until it is called


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
    show_warnings_as_messages()
    _check_streams()
    try:
        code = app(prog_name="driftmoe", standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "driftmoe"
        message = error.format_message().rstrip(".")
        if context and message == context.get_help().rstrip("."):  # as if that was asked for
            typer.echo(message)
            message = ""
        message = message or "a command is missing"
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


def _check_streams() -> None:
    """End the process if another module hides the package `streams`, which every command needs."""
    spec = importlib.util.find_spec("streams")
    if (
        spec
        and spec.origin
        and Path(spec.origin).resolve() != Path(__file__).resolve().parents[2] / "streams/__init__.py"
    ):
        typer.echo(
            f"driftmoe: {spec.origin} hides the package `streams` of DriftMoE; give it another name, or take its "
            "folder from PYTHONPATH",
            err=True,
        )
        sys.exit(2)
