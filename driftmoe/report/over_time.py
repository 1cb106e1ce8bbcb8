"""The report's sections of figures over time: the curves of all models, and the routing of those that report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from driftmoe.experiment import run_key
from driftmoe.metrics import STANDARD, asked
from driftmoe.report import curves, routing_plot
from driftmoe.report.parts import Part, Section
from driftmoe.report.results import by_model, metrics_in, row_names
from driftmoe.report.style import MOST_LINES, as_picture, looks_of
from driftmoe.suggestions import meant

Points = Mapping[tuple[str, ...], Sequence[Mapping[str, Any]]]
"""Key of a run, as `run_key` returns it -> points of its windows."""


def figures_in(lines: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[str]:
    """Return the figures that texts name; a metric of one class without its class stands for that of each class.

    Raises
    ------
    ValueError
        If a text cannot be read, or no run has the figure.
    """
    known, found = [*STANDARD, *metrics_in(lines)], []
    for text in texts:
        name = str(asked(text))
        named = [figure for figure in known if figure == name or figure.startswith(f"{name}:")]
        if not named:
            raise ValueError(
                f"no run has the metric {name!r}; {meant(name, known)}; `evaluate` and `grid` measure it with "
                f"--metric '{name}'"
            )
        found += named
    return list(dict.fromkeys(found))


def over_time(lines: Sequence[Mapping[str, Any]], points_of: Points, figures: Sequence[str]) -> list[Section]:
    """Return a section for each figure: a picture of the curves of each stream; routing stands in the first."""
    sections = []
    for n_before, figure in enumerate(figures):
        name = curves.described(figure)[0]
        title = f"{name[0].upper()}{name[1:]} over time"
        sections.append(Section(title, _pictures(lines, points_of, figure, with_routing=not n_before)))
    return sections


def _pictures(
    lines: Sequence[Mapping[str, Any]], points_of: Points, figure: str, *, with_routing: bool
) -> list[Part]:
    """Return a picture of the curves of each stream, and of the routing of each model that reports it."""
    name = curves.described(figure)[0]
    parts: list[Part] = [
        f"{name[0].upper()}{name[1:]} in consecutive windows, at the middle of each. With several seeds, the line is "
        f"their mean and the band runs from the lowest to the highest. Of more than {MOST_LINES} models the best "
        f"{MOST_LINES} are drawn. Dashed lines mark abrupt drifts; of gradual ones, dotted lines mark the centre and "
        "grey bands the width."
    ]
    looks = looks_of([line["model"] for line in lines])
    lines_of: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in zip(row_names(lines), lines, strict=True):
        lines_of.setdefault(row, []).append(line)
    for row, of_row in lines_of.items():
        points = [point for line in of_row for point in points_of.get(run_key(line), [])]
        if not any(point.get(figure) not in (None, "") for point in points):
            parts.append(
                f"{row}: no windows of {name} were kept." if points else f"{row}: no windows were kept."
            )
            continue
        drifts = of_row[0]["drifts"]
        picture = curves.windows_figure(points, title=row, drifts=drifts, metric=figure, looks=looks)
        kind = "curve" if figure == "accuracy" else f"curve_{figure}"
        parts.append(as_picture(f"{kind}_{row}", f"{row}: {curves.in_words(points, figure)}", picture))
        for model, of_model in by_model(points).items() if with_routing else ():
            title = f"Routing of {model} on {row}"
            routed = routing_plot.routing_figure(of_model, title=title, drifts=drifts, looks=looks)
            if routed is not None:
                words = f"{title}. {routing_plot.in_words(of_model)}"
                parts.append(as_picture(f"routing_{row}_{model}", words, routed))
    return parts
