"""`driftmoe report`: compare the models in result files on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftmoe.cli.completion import metrics_named
from driftmoe.cli.late import Late
from driftmoe.cli.options import Force
from driftmoe.cli.terminal import check_free, one_line_errors, show

if TYPE_CHECKING:
    from driftmoe import experiment, report
else:
    experiment = Late("driftmoe.experiment")
    report = Late("driftmoe.report")

EXAMPLES = """
Examples:

  driftmoe report runs/grid

  driftmoe report runs --out page --title 'Nine streams'

  driftmoe report runs/grid -m driftmoe -m arf

  driftmoe report runs/grid --metric accuracy --metric log_loss

  driftmoe report runs/grid --force

  driftmoe report benchmarks/results/ablation/gate.jsonl
"""

Results = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="Folder of results, read with its subfolders, or one file of result lines.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for the report. Default: DIR; for a file, the folder of the same name in runs/.",
        show_default=False,
    ),
]
Title = Annotated[str, typer.Option(help="Heading of the report.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="A figure to draw over time, such as kappa_m, or one for which the runs were asked. Repeat for several. "
        "Default: accuracy, and those for which the runs were asked.",
        show_default=False,
        autocompletion=metrics_named,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A model to compare, in the order of the columns. Repeat for several. Default: all.",
        show_default=False,
    ),
]


def write_report(
    folder: Results,
    out: Out = None,
    title: Title = "Models on streams that drift",
    model: Models = None,
    metric: Metrics = None,
    force: Force = False,
) -> None:
    """Compare the models in result files: one HTML page that needs no network, and the same as Markdown and LaTeX.

    The page has tables with mean ± deviation over seeds, mean ranks, the
    Friedman test with a critical-difference diagram, the Bayesian signed-rank
    test, time against accuracy, and the accuracy over time with the known
    drifts and their cost.
    """
    with one_line_errors():
        where = out or (folder if folder.is_dir() else Path("runs") / folder.stem)
        check_free(
            [where / name for name in ("report.html", "report.md", "report.tex")],
            force=force,
            elsewhere="choose another --out",
        )
        results, curves = experiment.read_results(folder)
        chosen = report.of_models(results, model) if model else results
        parts = report.sections(chosen, curves, experiment.read_failures(folder), metric or ())
        written = report.write(parts, where, title=title)
    show(f"Report: {', '.join(map(str, written))}")
