"""The importances of features: a picture of one model's, and those of models that are compared on each stream."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from driftmoe.experiment.importances import MOST_NAMED
from driftmoe.report.parts import Part
from driftmoe.report.results import by_model, row_names
from driftmoe.report.style import LINES, as_picture, drawn_as, literal, new_figure

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Importances = Mapping[Hashable, tuple[float, float]]
"""Feature -> mean and deviation."""

MOST, MOST_COMPARED = 30, 15
"""Features that are drawn, the most important ones: of one model, and of several side by side."""

MODELS_SIDE_BY_SIDE = 4
"""Models in one picture."""

LONGEST = 40
"""Characters of a name beside a bar."""

AXIS = "probability that the true labels lose if the feature is shuffled (percentage points)"

NOTE = (
    "How much each trained model relies on a feature at the end of the run: the probability that the true labels of "
    "recent samples lose on average when the feature's values are shuffled among them. The bars are means over seeds, "
    "and the lines the standard deviation between seeds. Features that say the same share their importance, or have "
    "little each. Features below the {n} most important ones of a run count as 0."
)


def importances_figure(importances: Importances, *, style: str = "screen") -> Figure:
    """Draw importances as bars with their spread.

    Parameters
    ----------
    importances
        As `feature_importances` of a model returns them, the most important first.
    style
        Name of a style of `STYLES`.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not importances:
        raise ValueError(
            "the model has learnt too few samples to say which features matter; there is nothing to draw"
        )
    shown = list(importances)[:MOST]
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 0.28 * len(shown) + 1.1)
        figure.set_figwidth(min(7.0, drawn.width))
        axes = figure.subplots()
        _draw(axes, shown, importances)
        axes.set_xlabel(AXIS)
    return figure


def importances_parts(lines: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return pictures of the importances on each stream, of the models whose result lines have them, or nothing."""
    of_row: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(row_names(lines), lines, strict=True):
        if line.get("importances"):
            of_row.setdefault(row, []).append(line)
    parts: list[Part] = []
    for row, of_stream in of_row.items():
        of_model = {model: over_seeds(group) for model, group in by_model(of_stream).items()}
        models = list(of_model)
        for start in range(0, len(models), MODELS_SIDE_BY_SIDE):
            some = models[start : start + MODELS_SIDE_BY_SIDE]
            figure = compared_figure({model: of_model[model] for model in some}, title=row)
            alt = f"Feature importances on {row}. " + "; ".join(
                f"{model}: {_in_words(of_model[model])}" for model in some
            )
            parts.append(as_picture(f"importances_{row}" + (f"_{start}" if start else ""), alt, figure))
    return [NOTE.format(n=MOST_NAMED), *parts] if parts else []


def over_seeds(lines: Sequence[Mapping[str, Any]]) -> dict[Hashable, tuple[float, float]]:
    """Return {feature: (mean, standard deviation)} over the runs of one model on one stream, the largest mean first.

    A feature that a run does not name is below the most important ones of that run, and counts as 0 there.
    """
    names = dict.fromkeys(name for line in lines for name in line["importances"])
    values = {name: [line["importances"].get(name, 0.0) for line in lines] for name in names}
    found: dict[Hashable, tuple[float, float]] = {
        name: (fmean(of), stdev(of) if len(of) > 1 else 0.0) for name, of in values.items()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def compared_figure(of_model: Mapping[str, Importances], *, title: str) -> Figure:
    """Draw the importances of several models side by side, with the features in the same order.

    Parameters
    ----------
    of_model
        Model -> its importances. A feature that it does not name counts as 0.
    title
        Heading of the picture.
    """
    names = dict.fromkeys(name for found in of_model.values() for name in found)
    order = sorted(
        names, key=lambda name: -sum(found.get(name, (0.0, 0.0))[0] for found in of_model.values())
    )
    shown, n_left = order[:MOST_COMPARED], len(order[MOST_COMPARED:])
    headings = [literal(textwrap.fill(model, 30, break_on_hyphens=False)) for model in of_model]
    n_lines = max(heading.count("\n") for heading in headings)
    size = 3.2 + 2.3 * len(of_model), 0.28 * len(shown) + 1.6 + 0.15 * n_lines
    with drawn_as("screen") as drawn:
        figure = new_figure(drawn, size[1])
        figure.set_figwidth(size[0])
        axes = figure.subplots(1, len(of_model), sharex=True, sharey=True, squeeze=False)[0]
        for axis, heading, found in zip(axes, headings, of_model.values(), strict=True):
            _draw(axis, shown, found)
            axis.set_title(heading, fontsize="small")
        more = f"; {n_left} more features are not drawn" if n_left else ""
        figure.suptitle(literal(textwrap.fill(title + more, int(9 * size[0]))), fontsize="medium")
        figure.supxlabel("percentage points", fontsize="small")
    return figure


def _draw(axes: Axes, shown: Sequence[Hashable], importances: Importances) -> None:
    """Draw a bar for each feature, the first one on top."""
    means, spreads = (
        [100.0 * importances.get(name, (0.0, 0.0))[i] for name in reversed(shown)] for i in range(2)
    )
    places = range(len(shown))
    axes.barh(places, means, xerr=spreads, color=LINES[0], error_kw={"elinewidth": 1.0, "ecolor": "0.3"})
    axes.set_yticks(places, [_short(name) for name in reversed(shown)])
    axes.axvline(0.0, color="0.6", linewidth=0.8)


def _short(name: Hashable) -> str:
    """Return a name on one line and cut."""
    return literal(" ".join(str(name).split())[:LONGEST])


def _in_words(found: Importances) -> str:
    return ", ".join(f"{name} {100 * mean:.1f}" for name, (mean, _) in list(found.items())[:5])
