"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from driftmoe.cli.completion import metrics_named, streams_and_files
from driftmoe.cli.names import METRICS, STANDARD
from streams.file_options import FileOptions

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name from `driftmoe streams list`, a file, - for standard input, your own as module:Class, or a "
        "wrapper around one, such as label-swap(elec2, position=20000).",
        show_default=False,
        autocompletion=streams_and_files,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of samples. The drifts of a synthetic stream move in proportion.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="SEED", help="Seed of a synthetic stream. Default: 1.", show_default=False),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        min=0,
        metavar="SEED",
        help="Seed of the models and of synthetic streams. Repeat for several. Default: 1.",
        show_default=False,
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Samples in each window of the curve. Default: a fortieth of the stream, of 100, 200, 500 and 1,000; of "
        "less than 1,000 samples a tenth; 1,000 where the length is not known before, as of a CSV file.",
        show_default=False,
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="A figure for the table, the picture and the files, beside those that every run has "
        f"({', '.join(STANDARD)}). Repeat for several; each has a picture of its own. Any of "
        f"{', '.join(METRICS)}; with arguments as in f_beta(beta=2). Some are of one class, named after a colon as in "
        "recall:yes, or else of each. Default: accuracy.",
        show_default=False,
        autocompletion=metrics_named,
    ),
]
Delayed = Annotated[
    str,
    typer.Option(
        metavar="DELAY",
        help="Samples that arrive between a sample and its label: a number such as 1000, a range such as 100-2000 "
        'for random delays, or the name of a column that holds the delay. With --time also a time: "90 seconds", '
        '"15 minutes", "12 hours", "1 day", "2 weeks".',
    ),
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="COLUMN",
        help="Column with the time of each sample, for a --delay in time: seconds, or ISO 8601 such as "
        "2024-05-31T13:45:00. It must not go back. Models do not see it.",
        show_default=False,
    ),
]
LabelShare = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        help="Share of the samples whose labels ever come, above 0 and at most 1, such as 0.1; the seed of the run "
        "decides which. The others are predicted and count in the figures, but are never learned.",
    ),
]
CountWarmUp = Annotated[
    bool,
    typer.Option(
        "--count-warm-up",
        help="Count the warm-up in the figures: the samples that are predicted before the first label has come, "
        "when no model can know a class. This is the first sample, or with --delay all samples of the first "
        "delay. Default: they are left out.",
    ),
]
LabelOrder = Annotated[
    Literal["use", "ignore"],
    typer.Option(
        help="What models do with the order in which labels come: use it; or ignore it, so that the figures are about "
        "the features. Ours then have no expert `history` or `sequence`; river's and MOA's learners are as they are, "
        "and models that know nothing else are refused. With --shuffle-window no model can use it.",
    ),
]
ShuffleWindow = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="N",
        help="Shuffle the samples within windows of N, so that no model can use the order of labels, nor runs of "
        "them; slower changes stay. A --delay counts in the shuffled order. The seed of the run decides the order.",
        show_default=False,
    ),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="SAMPLES",
        help="Keep each run (its model, its figures and its position) after this many samples, in whole windows, in "
        "the folder `checkpoints` beside the results. If the command is killed, the same command goes on from there, "
        "also with another number of samples after this option. A run with other settings (model, stream, "
        "limit, window, delay, share of labels, seed) is another run and has its own checkpoint. Checkpoints are "
        "deleted when their runs are complete. Without this option runs are not kept and begin anew. "
        "Models of other libraries cannot be kept and always begin anew.",
        show_default=False,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Columns of the table, such as accuracy,kappa_m,g_mean. Also mean_cost, kappa, kappa_t, kappa_o, "
        "f1_macro, samples_per_second, model_bytes, n_samples, seconds, cpu_seconds and ram_hours.",
        show_default=False,
    ),
]
Wide = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Write each row of the table on one line, with all columns. Default: the table fits 80 columns of text, "
        "in a terminal and in a file alike.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Write the result lines as JSON to standard output, and all else to standard error."
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Write no progress and no notes, only results and errors.")
]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="Replace what is there. Without it nothing is overwritten.")
]
Workers = Annotated[int, typer.Option(min=1, metavar="N", help="Number of runs at the same time.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder that holds the files of real streams. Default: $DRIFTMOE_DATA, then the user's cache.",
    ),
]


Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of a CSV file holds the column names. Default: decided by its content.",
        show_default=False,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Encoding of a text file, such as latin-1. Default: utf-8.",
        show_default=False,
    ),
]


OnBadRow = Annotated[
    Literal["error", "skip"],
    typer.Option(help="What to do with malformed rows of a file: stop at the first, or skip them."),
]


def file_options(
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Class column of a file, by name or by position (0 is the first). Default: the last column.",
            show_default=False,
        ),
    ] = None,
    on_bad_row: OnBadRow = "error",
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Column of a file to leave out. Repeat for several.", show_default=False
        ),
    ] = None,
    nominal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of a file to read as categories. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="CHAR",
            help="Character between the fields of a CSV file, such as `;`, or `\\t` for a tab. Default: a comma.",
            show_default=False,
        ),
    ] = None,
    header: Header = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MARK",
            help="Text that marks a missing value in a file, besides the usual marks. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    encoding: Encoding = None,
) -> FileOptions:
    """Return the options that say how a file is read; a target that is a whole number is a position."""
    return FileOptions(
        target=int(target) if target is not None and re.fullmatch(r"-?\d+", target) else target,
        on_bad_row=on_bad_row,
        drop=drop or (),
        nominal=nominal or (),
        delimiter="\t" if delimiter == r"\t" else delimiter,
        header=header,
        missing=missing or (),
        encoding=encoding,
    )


def reads_files(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `options` of a command by those of `file_options`, so that each is an option of its own."""
    of_files = inspect.signature(file_options, eval_str=True).parameters
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        parameters += of_files.values() if parameter.name == "options" else [parameter]

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in of_files}
        command(**arguments, options=file_options(**given))

    named = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in parameters]
    # The command line reads the signature, and the annotations apart from it.
    with_options.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in named}
    return with_options
