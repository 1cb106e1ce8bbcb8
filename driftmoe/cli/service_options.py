"""Options of the commands that run a worker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from driftmoe.cli.late import Late

if TYPE_CHECKING:
    from driftmoe import service
else:
    service = Late("driftmoe.service")

StoreFolder = Annotated[
    Path,
    typer.Option(
        "--store", metavar="DIR", help="Folder of the store. It is created if need be.", show_default=False
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where events come from besides HTTP: a file that grows, - for standard input, redis://host/stream, "
        "nats://host/stream or kafka://broker/topic. Repeat for several. Write an address alike each time: another "
        "spelling is another source, which is read from its start.",
        show_default=False,
    ),
]
Sink = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where predictions and alarms go: a file, redis://host/stream, nats://host/subject or "
        "kafka://broker/topic.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m",
        help="A model that can be saved, such as `driftmoe` or `moe-data(n_experts=8)`. Each key has its own. Default: "
        "the one that the store was begun with, or `driftmoe`.",
        show_default=False,
    ),
]  # fmt: skip
ModelSeed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of the model. Default: 1.", show_default=False)
]
MaxWaiting = Annotated[
    int,
    typer.Option(
        min=1, help="Samples that wait for a label at most. The oldest is given up for the next one."
    ),
]
MaxAge = Annotated[
    str,
    typer.Option(metavar="TIME", help="How long a sample waits for its label: a number with s, m, h or d."),
]
Order = Annotated[
    Literal["arrival", "time"],
    typer.Option(help="Order in which the model learns: as labels arrive, or by the `time` of their events."),
]
Lateness = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="With --order time: how long a label is awaited after one of a later time has come.",
    ),
]
Remember = Annotated[
    int,
    typer.Option(
        min=0, help="Learnt samples whose ids are remembered, so that a second label is recognised."
    ),
]
MaxModels = Annotated[int, typer.Option(min=1, help="Number of keys, each with a model of its own.")]
MaxUnsent = Annotated[
    int,
    typer.Option(
        min=1,
        help="Messages that wait for the --sink at most. The oldest are dropped for new ones, and counted.",
    ),
]
SnapshotEvery = Annotated[
    int,
    typer.Option(
        min=1, help="Samples that a model learns between two snapshots, and at most again after a crash."
    ),
]


def bounds_of(
    max_waiting: int,
    max_age: str,
    order: str,
    lateness: str,
    remember: int,
    max_models: int,
    max_unsent: int,
) -> service.Bounds:
    """Return what a worker keeps, from the options of the command line."""
    late = seconds_of("lateness", lateness)
    if order == "arrival" and late:
        raise ValueError(f"--lateness {lateness} is for --order time; leave it out")
    return service.Bounds(
        max_waiting=max_waiting, max_age=seconds_of("max-age", max_age), n_remembered=remember,
        max_models=max_models, max_unsent=max_unsent, lateness=late if order == "time" else None,
    )  # fmt: skip


def seconds_of(name: str, text: str) -> float:
    """Return the seconds of a text such as 90s, 15m, 12h or 30d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if found is None:
        raise ValueError(f"--{name} {text} is no time; write a number and s, m, h or d, such as 30d")
    return float(found[1]) * {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}[found[2]]


def tokens_of(file: Path) -> dict[str, str]:
    """Return the tokens of a file: those to `read` and to `write`."""
    tokens: dict[str, str] = {}
    for n, line in enumerate(file.read_text().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] not in ("read", "write") or words[0] in tokens:
            raise ValueError(f"{file}, line {n}: write `read TOKEN` and `write TOKEN`, each once")
        tokens[words[0]] = words[1]
    if not tokens:
        raise ValueError(f"{file} has no token; write lines `read TOKEN` and `write TOKEN`")
    return tokens
