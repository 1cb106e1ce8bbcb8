"""`driftmoe feed`: send events to a worker, as a stream would."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from driftmoe.cli.bars import samples_bar
from driftmoe.cli.late import Late
from driftmoe.cli.service_options import tokens_of
from driftmoe.cli.terminal import one_line_errors, say, show

if TYPE_CHECKING:
    from driftmoe.service import client as library
else:
    library = Late("driftmoe.service.client")

EXAMPLES = """
Examples:

  driftmoe streams export electricity - | driftmoe feed --delay 500 http://127.0.0.1:8000

  driftmoe feed http://127.0.0.1:8000 events.jsonl --rate 100
"""


def feed(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Address of the worker, such as http://127.0.0.1:8000.", show_default=False
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Lines of JSON; - is standard input.")] = Path(
        "-"
    ),
    *,
    delay: Annotated[int, typer.Option(min=0, help="Samples between a sample and its label.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Events in a request.")] = 100,
    rate: Annotated[
        float | None,
        typer.Option(help="Samples a second. Default: as fast as the worker takes them.", show_default=False),
    ] = None,
    id_prefix: Annotated[
        str,
        typer.Option(
            help="Events without id get this and their number. A feed that is sent again is not learnt twice; choose "
            "another prefix for other events."
        ),
    ] = "feed-",
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the token to write, as of `serve`.", show_default=False),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds to go on trying while the worker cannot be reached or is full."),
    ] = 300.0,
) -> None:
    """Send events to a worker of `driftmoe serve`: features first, labels later.

    Each line is a JSON object with `features` and `label`, as `driftmoe streams
    export NAME -` writes them. If the worker is away for a while, the feed waits.
    """
    with one_line_errors():
        if rate is not None and not rate > 0.0:
            raise ValueError(f"--rate {rate:g} must be above 0")
        token = None if token_file is None else _token(token_file)
        client = library.Client(url, token=token, patience=patience)
        with _opened(file) as lines, samples_bar("feeding", None) as progress:
            try:
                fed = library.feed(
                    client,
                    _events(lines, file),
                    delay=delay,
                    batch=batch,
                    rate=rate,
                    prefix=id_prefix,
                    progress=progress,
                )
            except library.Refused as error:
                raise ValueError(f"the worker refused: {error}") from None
            finally:
                client.close()
    show(summary(fed))


def summary(fed: library.Fed) -> str:
    """Return what has come of a feed, in lines of at most 80 columns."""
    lines = [f"{fed.n_sent:,} samples sent"]
    if fed.n_scored:
        lines.append(f"{100.0 * fed.n_right / fed.n_scored:.2f} % of {fed.n_scored:,} predictions were right")
    lines += [f"  {name}: {n:,}" for name, n in sorted(fed.outcomes.items())]
    return "\n".join(lines)


def _opened(file: Path) -> TextIO:
    return (
        open(sys.stdin.fileno(), encoding="utf-8", closefd=False)
        if file == Path("-")
        else file.open(encoding="utf-8")
    )


def _events(lines: TextIO, file: Path) -> Iterator[dict[str, Any]]:
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {n}: not JSON: {error}") from None
        if not isinstance(event, dict) or not event.keys() & {"features", "label"}:
            raise ValueError(
                f'{file}, line {n}: give an object such as {{"features": {{"x": 1}}, "label": "yes"}}'
            )
        yield event


def _token(file: Path) -> str:
    tokens = tokens_of(file)
    if "write" not in tokens:
        say(f"{file} has no write token; the worker may refuse")
    return tokens.get("write", tokens.get("read", ""))
