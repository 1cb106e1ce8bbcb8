"""One look for all pictures: colours of models, labels beside lines, marks of drifts, paper sizes and files.

The colours of lines have a contrast of at least 3 to white (WCAG 2.2, 1.4.11), and remain distinct to people with
protanopia, deuteranopia and tritanopia. `tests/report/test_style.py` computes this with the matrices of Machado et al.
(2009). Those of areas are Paul Tol's scheme "light", which is made for fields with labels.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftmoe.report.parts import Picture
from driftmoe.staging import write_files

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("#285ecd", "#d55e00", "#00a969", "#c96cae", "#000000", "#711b0f", "#000087", "#563054")
"""Colours of models."""

AREAS = ("#77aadd", "#ee8866", "#eedd88", "#44bb99", "#ffaabb", "#bbcc33", "#99ddff", "#dddddd")
"""Colours of areas."""

MARKERS = "osD^vPX*"
"""Marks of points, so that models differ by more than their colour."""

DASHES = ("-", "--", "-.", ":")
"""Lines of models that share a colour, because there are more models than colours."""

PLACES = {"driftmoe": 0, "arf": 1, "srp": 2, "ht": 3, "nb": 4}
"""Models that have the same colour in every picture: name -> place among the colours."""

MOST_LINES = 8
"""Lines of one picture; more could not be told apart."""

LONG_NAME = 40
"""Characters above which a name does not fit beside a picture."""

LABELS_FIT = 26
"""Characters above which a name does not fit beside its line."""

DRIFT = "#555555"
"""Colour of the marks of drifts."""


@dataclass(frozen=True)
class Style:
    """Size and fonts of pictures.

    Attributes
    ----------
    width
        Width in inches.
    scale
        Height of a picture as a share of its height on the screen.
    has_title
        Whether pictures have a heading. In a paper the caption says it.
    settings
        Settings of matplotlib.
    """

    width: float
    scale: float
    has_title: bool
    settings: Mapping[Any, Any] = field(hash=False)


_SHARED: dict[Any, Any] = {
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "svg.hashsalt": "driftmoe",  # the same picture is the same file
    "svg.fonttype": "none",  # text stays text: smaller, and can be searched
    "pdf.fonttype": 42,  # fonts that publishers take
    "ps.fonttype": 42,
}

STYLES = {
    "screen": Style(
        11.0, 1.0, True, {**_SHARED, "font.size": 10.0, "figure.dpi": 120, "lines.linewidth": 1.6}
    ),
    "paper": Style(
        6.3,
        0.6,
        False,
        {
            **_SHARED,
            "font.family": ["STIXGeneral", "DejaVu Serif"],
            "mathtext.fontset": "stix",
            "font.size": 8.0,
            "axes.linewidth": 0.6,
            "figure.dpi": 300,
            "lines.linewidth": 1.0,
            "lines.markersize": 4.0,
        },
    ),
}
"""Name of a style -> style. `paper` is as wide as the text of an article on A4 or letter paper."""


@contextmanager
def drawn_as(name: str) -> Iterator[Style]:
    """Draw the pictures made within in a style.

    Raises
    ------
    ValueError
        If there is no such style.
    """
    if name not in STYLES:
        raise ValueError(f"unknown style {name!r} of pictures; choose one of {', '.join(STYLES)}")
    from matplotlib import rc_context

    style = STYLES[name]
    with rc_context(dict(style.settings)):
        yield style


def new_figure(style: Style, height: float) -> Figure:
    """Return an empty figure, `height` inches high on the screen."""
    from matplotlib.figure import Figure  # not pyplot: that would choose a window system

    return Figure(figsize=(style.width, height * style.scale), layout="constrained")


@dataclass(frozen=True)
class Look:
    """How a model is drawn."""

    color: str
    marker: str
    linestyle: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments for a line."""
        return {"color": self.color, "linestyle": self.linestyle}

    @property
    def point(self) -> dict[str, Any]:
        """Arguments for a point."""
        return {"color": self.color, "marker": self.marker}


def looks_of(models: Sequence[str]) -> dict[str, Look]:
    """Return how each model is drawn, in all pictures of these models.

    Models of `PLACES` have their own colours. The others take those that are free, in order. If there are more models
    than colours, those that share a colour have other lines and other marks.
    """
    places = {model: PLACES[model] for model in dict.fromkeys(models) if model in PLACES}
    free = iter(place for place in range(len(LINES) + len(models)) if place not in places.values())
    places |= {model: next(free) for model in dict.fromkeys(models) if model not in places}
    n = len(LINES)
    return {
        model: Look(
            LINES[place] if place < n else LINES[-1 - place % n],
            MARKERS[(place + place // n) % n],
            DASHES[place // n % len(DASHES)],
        )
        for model, place in places.items()
    }


def literal(text: str) -> str:
    """Escape a name for matplotlib, which reads a dollar as the start of a formula."""
    return text.replace("$", r"\$")


def spread(values: Sequence[float], distance: float, *, low: float = 0.0, high: float = 1.0) -> list[float]:
    """Move values apart until each is at least `distance` from the next, with the least sum of squared moves.

    Parameters
    ----------
    values
        Places between `low` and `high`.
    distance
        Least distance; all values must have room.
    low, high
        Bounds of the result.

    Examples
    --------
    >>> from driftmoe.report.style import spread
    >>> spread([0.0, 0.5, 0.5], 0.25), spread([0.75, 1.0, 1.0], 0.25)
    ([0.0, 0.375, 0.625], [0.5, 0.75, 1.0])
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    groups: list[tuple[float, int]] = []  # mean of the values less their distances, and their number
    for i, k in enumerate(order):
        mean, n = values[k] - i * distance, 1
        while groups and groups[-1][0] > mean:  # isotonic regression by pooling
            other, m = groups.pop()
            mean, n = (other * m + mean * n) / (m + n), m + n
        groups.append((mean, n))
    highest = high - (len(values) - 1) * distance
    moved = [min(max(mean, low), highest) for mean, n in groups for _ in range(n)]
    placed = [0.0] * len(values)
    for i, k in enumerate(order):
        placed[k] = moved[i] + i * distance
    return placed


def label_ends(axes: Axes, ends: Mapping[str, float], colors: Mapping[str, str], *, height: float) -> bool:
    """Write names at the right of the axes, beside the ends of their lines, and return whether they fit.

    Parameters
    ----------
    axes
        Axes whose vertical limits are set.
    ends
        Name -> vertical position of the end of its line, in the units of the data.
    colors
        Name -> colour of its text.
    height
        Height of the axes in inches, roughly.
    """
    from matplotlib import rcParams

    distance = 1.25 * rcParams["font.size"] / 72 / height
    if max(map(len, ends), default=0) > LABELS_FIT or distance * len(ends) > 1.0:
        return False
    low, high = axes.get_ylim()
    shares = [min(max((value - low) / (high - low), 0.0), 1.0) for value in ends.values()]
    for name, share, place in zip(ends, shares, spread(shares, distance), strict=True):
        axes.annotate(
            literal(name),
            (1.0, share),
            xytext=(1.02, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colors[name],
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colors[name],
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    return True


NEAR = ((7, 4), (7, -10), (-7, 4), (-7, -10), (0, 10), (0, -16))
FAR = tuple(
    (x * far, y * far)
    for far in (16, 26, 38, 52)
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (2, 0), (-2, 0))
)
OFFSETS = (*NEAR, *FAR)
"""Where a name may stand beside its point, in points; the first place that is free is taken. Far ones get a line."""


def label_points(
    figure: Figure, axes: Axes, places: Mapping[str, tuple[float, float]], colors: Mapping[str, str]
) -> bool:
    """Write names beside points so that none covers another or a point, and return whether all fit.

    Parameters
    ----------
    figure, axes
        The picture, with its points drawn.
    places
        Name -> place of its point in the units of the data; those that are NaN are left out.
    colors
        Name -> colour of its text.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # places are only known then
    known = {name: place for name, place in places.items() if place[0] == place[0] and place[1] == place[1]}
    radius = 4.0 * figure.dpi / 72
    points = [axes.transData.transform(place) for place in known.values()]
    taken = [Bbox.from_bounds(x - radius, y - radius, 2 * radius, 2 * radius) for x, y in points]
    for name, place in known.items():
        for dx, dy in OFFSETS:
            side = "left" if dx > 0 else "right" if dx < 0 else "center"
            line = {"arrowstyle": "-", "color": colors[name], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
            text = axes.annotate(
                literal(name),
                place,
                xytext=(dx, dy),
                textcoords="offset points",
                ha=side,
                color=colors[name],
                arrowprops=line if (dx, dy) in FAR else None,
            )
            text.get_window_extent()  # puts the text in its place
            box = Text.get_window_extent(text)  # without the line
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0
            if inside and box.y1 <= axes.bbox.y1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
        else:
            return False
    return True


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend beside the axes, or below them if names are so long that the axes would have no room."""
    handles, labels = axes.get_legend_handles_labels()
    if max(map(len, labels), default=0) <= LONG_NAME:
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        return
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.25 * len(labels))
    figure.legend(handles, labels, loc="outside lower left", frameon=False)


def mark_drifts(
    axes: Axes, drifts: Sequence[Sequence[int]], *, named: bool = True, above: bool = False
) -> None:
    """Draw the known drifts as (position, width): a line at the centre, and gradual ones as a band of their width.

    Those outside of the horizontal limits, which must be set, are left out: a run may have ended before. They lie below
    the lines of the axes, or above them, where areas would cover them.
    """
    order, (first, last) = 3.0 if above else 0.8, axes.get_xlim()
    inside = [(position, width) for position, width in drifts if first <= position <= last]
    for i, (position, width) in enumerate(inside):
        is_gradual = width > 1
        axes.axvline(position, color=DRIFT, linestyle=":" if is_gradual else "--", linewidth=1, zorder=order)
        if is_gradual:
            axes.axvspan(
                position - width / 2, position + width / 2, color=DRIFT, alpha=0.12, linewidth=0, zorder=order
            )
        if named and i == 0:
            text = f"drift, {width:,} samples wide" if is_gradual else "drift"
            axes.annotate(
                text,
                (position, 1.0),
                xytext=(3, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                color=DRIFT,
                fontsize="small",
            )
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(x=0.01)


def saved(figure: Figure, format: str) -> bytes:
    """Return a picture as the content of a file. The same picture gives the same bytes."""
    from matplotlib import rc_context

    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    drawn = io.BytesIO()
    with rc_context(_SHARED):
        figure.savefig(drawn, format=format, dpi="figure", metadata=dated.get(format))
    return drawn.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture atomically, in the format given by the file's suffix (PNG without a suffix).

    Raises
    ------
    ValueError
        If matplotlib does not support the format.
    OSError
        If the file cannot be written. The error names the file, and an earlier picture remains.
    """
    kept = "the picture is lost; results, and a picture from before, are as they were"
    write_files(path.parent, {path.name: saved(figure, path.suffix[1:].lower() or "png")}, kept=kept)


def as_picture(name: str, alt: str, figure: Figure) -> Picture:
    """Return a figure as a picture of the page. The file name is `name` with special characters replaced."""
    file = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60]
    if file != name:  # a hash, because other names may become the same
        file += f"_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return Picture(file, alt, _compact(saved(figure, "svg")), saved(figure, "pdf"))


def _compact(svg: bytes) -> bytes:
    """Return an SVG in less than half its size: lines with a tenth of a point, one font, no comments."""

    def shorter(path: re.Match[bytes]) -> bytes:
        rounded = re.sub(rb"(\.\d)\d+", rb"\1", path[0]).replace(b".0 ", b" ")
        return re.sub(rb"\s*\n([A-Zz])\s*", rb"\1", rounded)

    svg = re.sub(rb"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", b"", svg, flags=re.DOTALL)
    svg = re.sub(rb"'([\w ]+)', (?:'[\w ]+', )*sans-serif", rb"\1, sans-serif", svg)
    svg = re.sub(rb'<g id="(?!m|p|legend)\w+">', b"<g>", svg)
    return re.sub(rb'\bd="[^"]*"', shorter, re.sub(rb"\n +", b"\n", svg))
