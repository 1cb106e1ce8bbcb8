"""`driftmoe model show | explain`: what the file of a model holds, and why the model answers as it does."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Hashable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftmoe.cli.bars import open_with_bar
from driftmoe.cli.completion import model_files
from driftmoe.cli.late import Late
from driftmoe.cli.options import DataDir, Force, Seed, reads_files
from driftmoe.cli.terminal import WIDTH, check_free, check_picture, one_line_errors, report_reading, say
from driftmoe.cli.terminal import show as show_text
from driftmoe.strict_json import from_json
from streams.file_options import FileOptions

if TYPE_CHECKING:
    from driftmoe import evaluation, explanation, report, saving
else:
    evaluation, explanation = Late("driftmoe.evaluation"), Late("driftmoe.explanation")
    report, saving = Late("driftmoe.report"), Late("driftmoe.saving")

app = typer.Typer(
    rich_markup_mode=None,
    name="model",
    help="Look into the files of saved models, and explain their answers.",
    no_args_is_help=True,
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A file of `model.save` or of --save.",
        show_default=False,
        autocompletion=model_files,
    ),
]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle", help="Load pickled experts, too, which runs code. For your own files only."
    ),
]

EXAMPLES = """
Examples:

  driftmoe evaluate led_a -m driftmoe --limit 50000 --save led.moe

  driftmoe model show led.moe

  driftmoe model show led.moe --draw --tree 3

  driftmoe model show led.moe --picture tree.png --depth 4

  driftmoe model show led.moe --importances --picture features.png
"""

EXPLAIN_EXAMPLES = """
Examples:

  driftmoe evaluate elec2 -m driftmoe --limit 20000 --save elec2.moe

  driftmoe model explain elec2.moe --stream elec2 --row 20001

  driftmoe model explain elec2.moe --sample '{"nswprice": 0.06, "day": 2}'

  driftmoe model explain elec2.moe --stream elec2 --row 20001 --json
"""

N_NAMES = 12
"""Classes and features whose names are printed."""

N_EXPERTS = 10
"""Experts that are printed, the heaviest first."""


@app.callback()
def root() -> None:
    """Look into the files of saved models, and explain their answers."""


@app.command(epilog=EXAMPLES)
def show(
    file: File,
    draw: Annotated[bool, typer.Option("--draw", help="Draw a tree in the terminal, as text.")] = False,
    tree: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Tree to draw, from 1. Default: the heaviest.", show_default=False
        ),
    ] = None,
    importances: Annotated[
        bool, typer.Option("--importances", help="Show which features matter now, with bars.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the tree, or with --importances the features, as a picture in this file.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(min=0, help="Levels of splits in the picture. Default: all.", show_default=False),
    ] = None,
    force: Force = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Show what a saved model is, the parts of its file, and what it has learnt.

    The file is checked as in loading: a digest covers every byte. No code of
    the file runs.
    """
    with one_line_errors():
        if depth is not None and (picture is None or importances):
            lacking = "--picture, which is not given" if picture is None else "a picture of a tree"
            raise ValueError(f"--depth {depth} is for {lacking}; leave --depth out")
        if picture is not None:
            check_free([picture], force=force, elsewhere="choose another name")
            check_picture(picture)
        model = saving.load(file, trust_pickle=trust_pickle)
        outline = saving.outline(file)
        found = (
            _able(model, "feature_importances", "--importances").feature_importances() if importances else {}
        )
        if draw or tree is not None or (picture is not None and not importances):
            expert = _tree_to_draw(evaluation.last_step(model), tree)
            text = evaluation.last_step(model).describe(*expert)
        show_text(f"{_head(file, model, outline)}\n\n{_parts(outline.parts)}")
        if hasattr(evaluation.last_step(model), "routing_report"):
            show_text(f"\n{_experts(evaluation.last_step(model).routing_report().cumulative)}")
        if importances:
            show_text(f"\n{explanation.importances_text(found)}")
        if draw or (tree is not None and (picture is None or importances)):
            show_text("\n".join(["", f"Tree {expert[0] + 1}:" if expert else "The tree:", text]))
        if picture is not None:
            if importances:
                figure = report.importances_figure(found)
            else:
                figure = evaluation.last_step(model).draw(*expert, max_depth=depth).get_figure()
            report.save_figure(figure, picture)
            show_text(f"\nPicture: {picture}")


@app.command(epilog=EXPLAIN_EXAMPLES)
@reads_files
def explain(
    file: File,
    *,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="The sample, as a JSON object of feature and value; null for a missing value.",
            show_default=False,
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Take the sample from this stream, a name of `driftmoe streams list` or a file.",
            show_default=False,
        ),
    ] = None,
    row: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Which sample of the stream, from 1.", show_default=False),
    ] = None,
    options: FileOptions,
    seed: Seed = None,
    data_dir: DataDir = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the explanation as JSON instead of text.")
    ] = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Explain the answer of a saved model to one sample.

    Says how probable each class is, which features speak for the answer, which
    experts say so, how the strongest tree decides, and which remembered samples
    are most similar.
    """
    with one_line_errors():
        if (sample is None) == (stream is None) or (stream is None) != (row is None):
            raise ValueError("give the sample either by --sample or by --stream and --row")
        model = saving.load(file, trust_pickle=trust_pickle)
        explained = _able(model, "explain_one", "`explain`")
        if sample is not None:
            x = _as_sample(sample, explained)
        else:
            x, label = _row_of(str(stream), row or 1, options, seed, data_dir)
            told = f"sample {row:,} of {stream}; its label is {label!r}"
            if as_json:
                say(told)
        for step in _steps_before(model):
            x = step.transform_one(x)
        try:
            explanation = explained.explain_one(x)
        except TypeError as error:
            raise ValueError(str(error)) from None
    text = json.dumps(explanation.to_dict(), indent=2, ensure_ascii=False) if as_json else str(explanation)
    if stream is not None and not as_json:
        text = f"{told[0].upper()}{told[1:]}.\n\n{text}"
    show_text(text)


def _able(model: Any, method: str, asked_by: str) -> Any:
    """Return the last step of a model if it has a method."""
    ours = evaluation.last_step(model)
    if not hasattr(ours, method):
        raise ValueError(f"{asked_by} is for mixtures of experts, and this is a {type(ours).__name__}")
    return ours


def _steps_before(model: Any) -> list[Any]:
    """Return the steps of a pipeline before the last."""
    return [] if evaluation.last_step(model) is model else list(model.steps.values())[:-1]


def _as_sample(text: str, model: Any) -> dict[Hashable, Any]:
    """Return a sample given as JSON. A name that is no text in the model may be given as its text."""
    try:
        found = from_json(text)
    except ValueError as error:
        raise ValueError(f'--sample is not JSON: {error}; give an object such as {{"a": 1}}') from None
    if not isinstance(found, dict):
        raise ValueError(f'--sample is a {type(found).__name__}; give an object such as {{"a": 1}}')
    names = model.state()["encoder"]["features"]
    others = {str(name): name for name in names if not isinstance(name, str) and str(name) not in names}
    return {others.get(name, name): value for name, value in found.items()}


def _row_of(
    name: str, row: int, options: FileOptions, seed: int | None, data_dir: Path | None
) -> tuple[dict[Hashable, Any], Any]:
    """Return a sample of a stream and its label."""
    stream = open_with_bar(name, options, None, seed, data_dir)
    report_reading(name, stream, options)
    for x, y in islice(stream, row - 1, row):
        return x, y
    raise ValueError(f"--row {row}: {name} has fewer samples")


def _head(file: Path, model: Any, outline: saving.Outline) -> str:
    """Return what a model is and knows, as lines of at most 80 columns."""
    ours = evaluation.last_step(model)
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
    lines = [
        line
        for heading, text in rows.items()
        for line in textwrap.wrap(
            f"{heading:<15} {text}",
            WIDTH,
            subsequent_indent=" " * 16,
            break_on_hyphens=False,
            break_long_words=False,
        )
    ]
    return "\n".join(lines)


def _names(names: Sequence[Any]) -> str:
    shown = ", ".join(map(str, names[:N_NAMES]))
    return f"{len(names):,}" + (f": {shown}" if names else "") + (", ..." if len(names) > N_NAMES else "")


def _parts(parts: Sequence[saving.Part]) -> str:
    rows = [[part.name, f"{part.n_arrays:,}", f"{part.n_bytes:,}"] for part in parts]
    return report.fitted(["part", "arrays", "bytes, not compressed"], rows, title="Parts of the file")


def _experts(figures: Any) -> str:
    of_each = sorted(figures.of_each().items(), key=lambda item: -(item[1]["weight"] or 0.0))
    rows = []
    for name, row in of_each[:N_EXPERTS]:
        cells = ["" if row[key] is None else f"{100 * row[key]:.2f}" for key in ("weight", "accuracy")]
        rows.append([name, *cells, f"{row['n_replaced']:,}"])
    title = "Experts, the heaviest first"
    if len(of_each) > N_EXPERTS:
        title += f" ({N_EXPERTS} of {len(of_each)})"
    return report.fitted(["expert", "mean weight %", "accuracy %", "replaced"], rows, title=title)


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
