"""`driftmoe neural`: train mixtures of neural experts under several routing policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from driftmoe.cli.board import show_grid
from driftmoe.cli.late import Late
from driftmoe.cli.names import CONFLICT_SETUPS, POLICIES, PRESETS, SETUPS
from driftmoe.cli.options import Quiet, Seeds, Workers
from driftmoe.cli.terminal import be_quiet, one_line_errors, show

if TYPE_CHECKING:
    from driftmoe import experiment, report
    from driftmoe import neural as training
else:
    experiment = Late("driftmoe.experiment")
    training = Late("driftmoe.neural")
    report = Late("driftmoe.report")

EXAMPLES = """
Examples:

  driftmoe neural drift --seed 1 --seed 2 --seed 3

  driftmoe neural lm -p "TopK(2)" -p ADAMOE -p plain --workers 2 --out runs/lm

  driftmoe neural conflict -p "TopK(2)" -p NULLS --seed 1 --seed 2 --seed 3

  driftmoe neural adapt --dialects 6 -p "TopK(2)" -p plain

  driftmoe neural lm --size large --device cuda --dtype bf16 --minutes 20

Policies: {policies}; presets: {presets}.

Controls: plain (one network, or one LoRA, instead of experts); frozen or frozen(POLICY) (a router that does not learn).

Balance without a loss: balanced or balanced(POLICY), by a bias of each expert.

Without auxiliary losses: unaided or unaided(POLICY).

Hard weights with the gradient of soft ones: straight or straight(POLICY).

Not in adapt or conflict: chained or chained(POLICY) (two steps through each layer); recurrent or recurrent(POLICY)
(routers that pass on a state).

In adapt only: mola (more experts in higher layers).

Default: {setups}, and in adapt also mola.

Default of conflict: {conflict}.
""".format(
    policies=", ".join(p for p in POLICIES if p != "LinearK"),
    presets=", ".join(PRESETS),
    setups=", ".join(SETUPS),
    conflict=", ".join(CONFLICT_SETUPS),
)

Experiment = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The experiment: lm, adapt, drift or conflict.", show_default=False),
]
Setups = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        "-p",
        help="A routing policy or control. Repeat for several. Default: those listed at the end.",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps of the optimiser. Default: 200 (lm; small 800, large 1500), 120 (adapt; dialects 600), 1000 "
        "(drift), 800 (conflict).",
        show_default=False,
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="In lm, in the place of --steps: what all runs shall take together. A step is timed first, so that each "
        "call has its own number of steps, which it tells. Give that as --steps to go on later.",
        show_default=False,
    ),
]
Size = Annotated[
    Literal["small", "medium", "large"],
    typer.Option(
        help="In lm: size of the transformer. Policies differ most for their time in small; large is for one GPU, and "
        "also learns the sources of the packages that are installed."
    ),
]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="In lm: where the transformer runs.")]
Dtype = Annotated[
    Literal["float32", "bf16"],
    typer.Option(help="In lm: numbers of the matrix products; weights are float32."),
]
Dialects = Annotated[
    int,
    typer.Option(
        min=1,
        max=6,
        help="In adapt: with 2 to 6, that many dialects of one task that contradict each other, in place of three "
        "tasks.",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the results, with one file per run.")]


def neural(
    name: Experiment,
    policy: Setups = None,
    seed: Seeds = None,
    steps: Steps = None,
    minutes: Minutes = None,
    size: Size = "medium",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    dialects: Dialects = 1,
    out: Out = Path("runs/neural"),
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Train mixtures of neural experts under several policies, and compare their quality with their cost.

    lm: a small byte-level transformer on the sources of Python's standard
    library.

    adapt: LoRA experts in a pretrained sentence encoder, on three text tasks
    (needs the extra `adapt`).

    drift: digits whose pixels, angle or labels change, test-then-train (needs
    the extra `drift`).

    conflict: LoRA experts around one frozen layer, for eight tasks that need
    one component and four that need four (seconds a run).

    Runs that have a result are not done again. `driftmoe report` turns the
    folder into a page.
    """
    be_quiet(quiet)
    with one_line_errors():
        runs = training.planned_training(
            name,
            policy,
            seed or [1],
            steps=steps,
            minutes=minutes,
            n_workers=workers,
            size=size,
            device=device,
            dtype=dtype,
            dialects=dialects,
        )
        if minutes is not None:
            show(f"Each run takes {runs[0].limit} steps. To go on later: --steps {runs[0].limit}")
        folder = experiment.JobFolder(out)
        events = experiment.run_grid(
            runs, training.open_experiment, folder, executor="processes", n_workers=workers
        )
        n_failed = show_grid(runs, events, out)
    for full in dict.fromkeys(run.stream for run in runs):
        results = [line for run in runs if run.stream == full and (line := folder.result(run))]
        if results:
            title = f"{full}, {results[0]['n_samples']:,} samples"
            show(
                report.as_table(report.neural_grid(results), title=title, caption=report.neural_note(results))
            )
            for file in report.save_neural(results, out, title=title):
                show(f"Picture: {file}")
    if n_failed:
        raise typer.Exit(1)
