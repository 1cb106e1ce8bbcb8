"""Table and picture of the neural experiment `conflict`: what is left unexplained, and experts used, by hardness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from driftmoe.report.results import by_model
from driftmoe.report.style import LINES, MARKERS, Look, drawn_as, literal, new_figure

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONFLICT = {
    "loss": ("unexplained %", 100.0, "{:.1f}"),
    "unexplained_easy": ("easy tasks %", 100.0, "{:.1f}"),
    "unexplained_hard": ("hard tasks %", 100.0, "{:.1f}"),
    "experts_used": ("experts used", 1.0, "{:.2f}"),
    "experts_used_easy": ("by easy tasks", 1.0, "{:.2f}"),
    "experts_used_hard": ("by hard tasks", 1.0, "{:.2f}"),
}
"""Figure of the experiment `conflict` -> heading, unit factor, format."""

CONFLICT_NOTE = (
    "Unexplained: squared error as a share of the squared change that the tasks want, on held-out samples; 100 is the "
    "frozen layer alone. Easy tasks need one component, hard ones four; an expert has room for one. plain is one LoRA "
    "with the ranks of all experts together."
)


def is_conflict(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether result lines have figures by the hardness of tasks."""
    return any("unexplained_hard" in line for line in lines)


def conflict_figure(results: Sequence[Mapping[str, Any]], *, title: str, style: str = "screen") -> Figure:
    """Draw experts used by easy and hard tasks, and the unexplained share against experts used.

    Parameters
    ----------
    results
        Result lines of one kind of the experiment `conflict`.
    title
        Heading of the picture.
    style
        Name of a style of `STYLES`.
    """
    groups = by_model(results)
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 4.8)
        left, right = figure.subplots(1, 2)
        looks = _looks(list(groups))
        _draw_by_hardness(
            left, {name: group for name, group in groups.items() if "routing" in group[0]}, looks
        )
        for setup, group in groups.items():
            values = [100.0 * line["loss"] for line in group]
            if "routing" in group[0]:
                used = [line["routing"]["experts_used"] for line in group]
                right.scatter(used, values, s=40, **looks[setup].point)
            else:  # without experts: a line for comparison
                mean = fmean(values)
                right.axhline(mean, color=looks[setup].color, linestyle="--", linewidth=1)
                right.annotate(
                    literal(setup), (1.0, mean), xycoords=("axes fraction", "data"), ha="right", va="bottom"
                )
        right.set(xlabel="experts used, mean over all tasks", ylabel="unexplained share, %")
        right.set_yscale("symlog", linthresh=1.0)  # a share may be 0
        right.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        right.set_ylim(bottom=-0.1)
        if drawn.has_title:
            figure.suptitle(literal(title))
    return figure


def _looks(setups: Sequence[str]) -> dict[str, Look]:
    """Return how each setup is drawn. Up to 64 differ in colour or mark, because points have no dashes."""
    n = len(LINES)
    return {
        setup: Look(LINES[(place + place // n) % n], MARKERS[place % n], "-")
        for place, setup in enumerate(setups)
    }


def _draw_by_hardness(
    axes: Axes, groups: Mapping[str, Sequence[Mapping[str, Any]]], looks: Mapping[str, Look]
) -> None:
    """Draw a line for each setup, from the experts of easy tasks (hollow) to those of hard tasks (filled)."""
    for place, (setup, group) in enumerate(groups.items()):
        easy, hard = (
            fmean(line["routing"][f"experts_used_{part}"] for line in group) for part in ("easy", "hard")
        )
        look = looks[setup]
        axes.plot([easy, hard], [place, place], color=look.color, linewidth=1, zorder=1)
        axes.scatter(hard, place, s=50, **look.point)
        axes.scatter(easy, place, s=50, marker=look.marker, facecolors="white", edgecolors=look.color)
    axes.set_yticks(range(len(groups)), [literal(setup) for setup in groups], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.set_xlabel("experts used: easy tasks hollow, hard tasks filled")
