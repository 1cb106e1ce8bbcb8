"""`driftmoe models`: the models that can be named, with their arguments and defaults."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from driftmoe.cli.completion import models_named
from driftmoe.cli.late import Late
from driftmoe.cli.model_arguments import ARGUMENTS
from driftmoe.cli.names import DESCRIPTIONS, MODELS, POLICIES, PRESETS
from driftmoe.cli.terminal import WIDTH, one_line_errors, show
from driftmoe.suggestions import meant

if TYPE_CHECKING:
    from driftmoe import moa, moa_options
else:
    moa, moa_options = Late("driftmoe.moa"), Late("driftmoe.moa_options")

JAVA = "moa:"
"""`driftmoe.moa.JAVA`."""

EXAMPLES = """
Examples:

  driftmoe models

  driftmoe models arf

  driftmoe models moa:trees.HoeffdingTree

  driftmoe evaluate led_a -m "arf(n_models=30)" -m "moe-vote(policy=TopP(p=0.9))"
"""

END = f"""
Routing policies, as in "driftmoe(policy=TopP(p=0.9))": {", ".join(POLICIES)}. Presets: {", ".join(PRESETS)}.

Any classifier of MOA by the name of its Java class: "moa:trees.HoeffdingTree(gracePeriod=50)" for MOA's \
moa.classifiers.trees.HoeffdingTree. `driftmoe models moa:trees.HoeffdingTree` lists its options, with CapyMOA and Java.

A model of your own: "module:Class(argument=value)", such as "my_models:Mine(depth=3)" for class Mine in my_models.py.
"""


def list_models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Only this model. Default: all.",
            show_default=False,
            autocompletion=models_named,
        ),
    ] = None,
) -> None:
    """List the models that can be named, with their arguments and defaults."""
    with one_line_errors():
        if name is not None and name.startswith(("moa-", JAVA)) and (name in MODELS or name.startswith(JAVA)):
            show(_of_moa(name))
            return
        if name is not None and name not in MODELS:
            raise ValueError(f"unknown model {name!r}; {meant(name, MODELS, '`driftmoe models` lists all.')}")
    for model in MODELS if name is None else (name,):
        lines = [model, *_filled(DESCRIPTIONS[model])]
        if model in ARGUMENTS:
            given = ", ".join(f"{key}={default}" for key, default in ARGUMENTS[model].items())
            lines += _filled(given or "no arguments")
        show("\n".join(lines))
    if name is None:
        for paragraph in END.strip().split("\n\n"):
            show("\n" + textwrap.fill(paragraph, WIDTH, break_on_hyphens=False))


def _of_moa(name: str) -> str:
    """Return what one of MOA's models is, with its arguments, for which Java is asked."""
    arguments = moa.parameters(name)
    lines = [name, *_filled(DESCRIPTIONS.get(name, "A classifier of MOA by the name of its Java class."))]
    class_name = moa.LEARNERS.get(name, (name.removeprefix(JAVA),))[0]
    if "." not in class_name:
        given = ", ".join(f"{key}={p.default!r}" for key, p in arguments.items())
        return "\n".join([*lines, *_filled(given or "no arguments")])
    told = moa_options.purposes(class_name) | {"seed": "Seed of its random numbers."}
    for key, p in arguments.items():
        lines += textwrap.wrap(
            f"{key}={p.default!r}: {told[key]}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _filled(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
        break_long_words=False,
    )
