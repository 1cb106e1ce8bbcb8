"""`driftmoe model show`: what the file of a model holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from driftmoe import report, saving
from driftmoe.cli.terminal import one_line_errors
from driftmoe.evaluation import last_step

app = typer.Typer(name="model", help="Look into the files of saved models.", no_args_is_help=True)

EXAMPLES = """
Examples:

  driftmoe evaluate led_a -m driftmoe --limit 50000 --save led.moe

  driftmoe model show led.moe

  driftmoe model show led.moe --draw --tree 3

  driftmoe model show led.moe --picture tree.png --depth 4
"""

N_NAMES = 12
"""Classes and features whose names are printed."""

N_EXPERTS = 10
"""Experts that are printed, the heaviest first."""


@app.callback()
def root() -> None:
    """Look into the files of saved models."""


@app.command(epilog=EXAMPLES)
def show(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file of `model.save` or of --save.", show_default=False)
    ],
    draw: Annotated[bool, typer.Option("--draw", help="Draw a tree in the terminal, as text.")] = False,
    tree: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Tree to draw, from 1. Default: the heaviest.", show_default=False
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the tree as a picture, in this file.", show_default=False),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(min=0, help="Levels of splits in the picture. Default: all.", show_default=False),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle", help="Load pickled experts, too, which runs code. For your own files only."
        ),
    ] = False,
) -> None:
    """Show what a saved model is, the parts of its file, and what it has learnt.

    The file is checked as in loading: a digest covers every byte. No code of
    the file runs.
    """
    # Help keeps the line ends of this docstring: its lines must fit 80 columns with a margin.
    console = Console(soft_wrap=True, highlight=False, markup=False)
    with one_line_errors():
        if depth is not None and picture is None:
            raise ValueError(f"--depth {depth} is for --picture, which is not given; leave --depth out")
        model = saving.load(file, trust_pickle=trust_pickle)
        outline = saving.outline(file)
        if draw or tree is not None or picture is not None:
            expert = _tree_to_draw(last_step(model), tree)
            text = last_step(model).describe(*expert)
        _print_head(file, model, outline, console)
        console.print(_parts(outline.parts))
        if hasattr(last_step(model), "routing_report"):
            console.print(_experts(last_step(model).routing_report().cumulative))
        if draw or (tree is not None and picture is None):
            console.print("\n".join(["", f"Tree {expert[0] + 1}:" if expert else "The tree:", text]))
        if picture is not None:
            figure = last_step(model).draw(*expert, max_depth=depth).get_figure()
            report.save_figure(figure, picture)
            console.print(f"\nPicture: {picture}")


def _print_head(file: Path, model: Any, outline: saving.Outline, console: Console) -> None:
    ours = last_step(model)
    name = type(ours).__name__ if ours is model else f"{type(model).__name__} with {type(ours).__name__}"
    settings = getattr(ours, "settings", None) or ours._get_params()
    features, classes = ours.state()["encoder"]["features"], ours.state()["encoder"]["classes"]
    rows = {
        "file": f"{file}, {outline.n_bytes:,} bytes, written by driftmoe {outline.version}",
        "model": f"{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})",
        "SHA-256": outline.digest,
        "features": _names(features),
        "classes": _names(classes),
    }
    if hasattr(ours, "routing_report"):
        rows["samples learnt"] = f"{ours.routing_report().cumulative.n_samples:,}"
    for heading, text in rows.items():
        console.print(f"{heading:<15} {text}")
    console.print()


def _names(names: Sequence[Any]) -> str:
    shown = ", ".join(map(str, names[:N_NAMES]))
    return f"{len(names):,}" + (f": {shown}" if names else "") + (", ..." if len(names) > N_NAMES else "")


def _parts(parts: Sequence[saving.Part]) -> Table:
    table = Table(title="Parts of the file", title_justify="left")
    table.add_column("part")
    table.add_column("arrays", justify="right")
    table.add_column("bytes, not compressed", justify="right")
    for part in parts:
        table.add_row(part.name, f"{part.n_arrays:,}", f"{part.n_bytes:,}")
    return table


def _experts(figures: Any) -> Table:
    table = Table(title="Experts, the heaviest first", title_justify="left")
    table.add_column("expert")
    for heading in ("mean weight %", "accuracy %", "replaced"):
        table.add_column(heading, justify="right")
    of_each = sorted(figures.of_each().items(), key=lambda item: -(item[1]["weight"] or 0.0))
    for name, row in of_each[:N_EXPERTS]:
        cells = ["" if row[key] is None else f"{100 * row[key]:.2f}" for key in ("weight", "accuracy")]
        table.add_row(name, *cells, f"{row['n_replaced']:,}")
    return table


def _tree_to_draw(model: Any, tree: int | None) -> tuple[int, ...]:
    """Return the arguments with which `describe` and `draw` of a model choose a tree."""
    is_mixture = hasattr(model, "routing_report")
    n_trees = model.n_trees if is_mixture else 1
    if not n_trees:
        raise ValueError(
            f"this {type(model).__name__} has no trees to draw; leave out --draw, --tree and --picture"
        )
    if tree is not None and tree > n_trees:
        raise ValueError(f"--tree {tree}: the model has {n_trees}; choose 1 to {n_trees}")
    if not is_mixture:
        return ()
    if tree is None:
        weights = model.routing_report().cumulative.weight.tolist()
        return (max(range(n_trees), key=weights.__getitem__),)
    return (tree - 1,)
