"""Picture of the experts that rows of a neural experiment use: by layer, and by the kind of a byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from driftmoe.report.figures import neural_figure
from driftmoe.report.results import by_model
from driftmoe.report.style import Look, add_legend, drawn_as, literal, looks_of, new_figure, save_figure

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {
    "letters": "letters", "digits": "digits", "punctuation": "punctuation", "white_space": "white space",
    "strings": "in strings", "comments": "in comments",
}  # fmt: skip
"""Kind of a byte in a result line -> its name in the picture."""

_LAYER = re.compile(r"experts_used_layer_(\d+)")


def use_by_layer(results: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return the experts used in each layer, mean over seeds, of the setups that have several layers of experts."""
    found = {}
    for setup, group in by_model(results).items():
        numbers = sorted(
            int(layer[1]) for name in group[0].get("routing", {}) if (layer := _LAYER.fullmatch(name))
        )
        if len(numbers) > 1:
            found[setup] = [
                fmean(line["routing"][f"experts_used_layer_{number}"] for line in group) for number in numbers
            ]
    return found


def use_by_kind(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the experts used by each kind of byte, mean over seeds, of the setups that tell it."""
    found = {}
    for setup, group in by_model(results).items():
        names = [
            name for name in KINDS if all(f"experts_used_{name}" in line.get("routing", {}) for line in group)
        ]
        if names:
            found[setup] = {
                name: fmean(line["routing"][f"experts_used_{name}"] for line in group) for name in names
            }
    return found


def experts_figure(
    results: Sequence[Mapping[str, Any]], *, title: str, style: str = "screen"
) -> Figure | None:
    """Draw the experts used by layer and, in `lm`, by the kind of a byte. `None` if no run tells them.

    Parameters
    ----------
    results
        Result lines of one neural experiment.
    title
        Heading of the picture.
    style
        Name of a style of `STYLES`.

    Examples
    --------
    >>> from driftmoe.report import experts_figure
    >>> routing = {"experts_used_layer_1": 2.5, "experts_used_layer_2": 1.5}
    >>> figure = experts_figure([{"model": "NULLS", "routing": routing}], title="adapt")
    >>> figure.axes[0].get_xlabel(), experts_figure([{"model": "plain"}], title="adapt")
    ('layer of experts', None)
    """
    layers, kinds = use_by_layer(results), use_by_kind(results)
    if not layers and not kinds:
        return None
    looks = looks_of(list(by_model(results)))
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 4.8)
        panels = [axes for axes in (layers, kinds) if axes]
        both = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        if layers:
            _draw_layers(both[0], layers, looks)
        if kinds:
            _draw_kinds(both[-1], kinds, looks)
        both[0].set_ylabel("experts used, mean over rows")
        both[0].set_ylim(bottom=0.0)
        if drawn.has_title:
            figure.suptitle(literal(title))
        add_legend(figure, both[0])
    return figure


def _draw_layers(axes: Axes, layers: Mapping[str, Sequence[float]], looks: Mapping[str, Look]) -> None:
    for setup, used in layers.items():
        places = range(1, len(used) + 1)
        axes.plot(places, used, label=literal(setup), marker=looks[setup].marker, **looks[setup].line)
    axes.set_xticks(range(1, max(map(len, layers.values())) + 1))
    axes.set_xlabel("layer of experts")


def _draw_kinds(axes: Axes, kinds: Mapping[str, Mapping[str, float]], looks: Mapping[str, Look]) -> None:
    names = [name for name in KINDS if any(name in used for used in kinds.values())]
    for setup, used in kinds.items():
        there = [place for place, name in enumerate(names) if name in used]
        axes.scatter(there, [used[names[i]] for i in there], s=50, label=literal(setup), **looks[setup].point)
    axes.set_xticks(range(len(names)), [KINDS[name] for name in names], rotation=30, ha="right")
    axes.set_xlabel("kind of the byte that is read")


def save_neural(results: Sequence[Mapping[str, Any]], folder: Path, *, title: str) -> list[Path]:
    """Save the pictures of one neural experiment, under the name of the experiment, and return their files.

    Parameters
    ----------
    results
        Result lines of one neural experiment.
    folder
        Folder of the pictures.
    title
        Heading of the pictures.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from driftmoe.report import save_neural
    >>> line = {"stream": "lm", "model": "plain", "drifts": [], "loss": 2.4, "expert_flops": 1e6}
    >>> [file.name for file in save_neural([line], Path(mkdtemp()), title="lm")]
    ['lm.png']
    """
    name = results[0]["stream"]
    figures = {
        name: neural_figure(results, title=title),
        f"{name}-experts": experts_figure(results, title=title),
    }
    files = []
    for called, figure in figures.items():
        if figure is not None:
            files.append(folder / f"{called}.png")
            save_figure(figure, files[-1])
    return files
