"""A picture of a stream: how its classes and features change over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.report.style import (
    LABELS_FIT,
    LINES,
    MOST_LINES,
    drawn_as,
    label_ends,
    literal,
    mark_drifts,
    new_figure,
)

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.figure import Figure

N_LINES = MOST_LINES
"""Maximum number of lines in each panel of the picture; more could not be distinguished."""

N_VALUES = 10
"""Maximum number of values of a nominal feature that get a line."""

LONG_NAME = LABELS_FIT
"""Number of characters above which a name in the legend is shortened."""


def window_means(
    stream: Any, window: int, progress: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the curves of a stream: class proportions and feature means, window by window.

    A last window that is less than half full is left out.

    Parameters
    ----------
    stream
        A stream of `streams`.
    window
        Samples in a window.
    progress
        Called with the number of samples read so far.

    Returns
    -------
    positions
        The middle of each window, in samples.
    proportions
        Share of each class in each window, shape (n_windows, n_classes).
    lines
        Curves of the features that vary most, at most `N_LINES`, by name. A numeric feature has one: its mean in the
        window, in standard deviations from its mean in the stream. A nominal feature has one for each of its first
        values: the share of the value, on the same scale.
    """
    columns = _columns(stream)
    positions: list[float] = []
    shares, means = [], []
    n_done = 0
    shift = np.zeros(len(columns))
    count, total, square = np.zeros((3, len(columns)))
    for X, y in stream.blocks(window):
        if len(y) < window // 2 and positions:
            break  # too few samples for a window
        numbers = _numbers(X, columns)
        present = np.isfinite(numbers)
        n_present = present.sum(axis=0)
        if not positions:
            shift = np.where(present, numbers, 0.0).sum(axis=0) / np.maximum(n_present, 1)
        centred = np.where(present, numbers - shift, 0.0)  # centred, so that squares lose no precision
        count += n_present
        total += centred.sum(axis=0)
        square += (centred**2).sum(axis=0)
        means.append(np.where(n_present > 0, centred.sum(axis=0) / np.maximum(n_present, 1), np.nan))
        shares.append(np.bincount(y, minlength=len(stream.classes)) / len(y))
        positions.append(n_done + len(y) / 2)
        n_done += len(y)
        progress(n_done)
    if not positions:
        return np.empty(0), np.empty((0, 0)), {}
    proportions = np.array([np.pad(share, (0, len(stream.classes) - len(share))) for share in shares])
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0.0))
    varies = np.flatnonzero(deviation > 0)
    scaled = (np.array(means)[:, varies] - mean[varies]) / deviation[varies]
    order = np.argsort(-np.nanstd(scaled, axis=0), kind="stable")[:N_LINES]
    lines = {_line_name(stream, *columns[varies[i]]): scaled[:, i] for i in order}
    return np.array(positions), proportions, lines


def stream_figure(
    stream: Any,
    positions: np.ndarray,
    proportions: np.ndarray,
    lines: dict[str, np.ndarray],
    *,
    title: str,
    style: str = "screen",
) -> Figure:
    """Draw the curves that `window_means` returns, and mark the known drifts."""
    with drawn_as(style) as drawn:
        figure = new_figure(drawn, 7.5)
        _draw(figure, stream, positions, proportions, lines, title if drawn.has_title else "")
    return figure


def _draw(
    figure: Figure,
    stream: Any,
    positions: np.ndarray,
    proportions: np.ndarray,
    lines: dict[str, np.ndarray],
    title: str,
) -> None:
    above, below = figure.subplots(2, 1, sharex=True)
    frequent = sorted(np.argsort(-proportions.mean(axis=0), kind="stable")[:N_LINES].tolist())
    of_classes = {f"class {stream.classes[k]}": proportions[:, k] for k in frequent}
    for axes, named in ((above, of_classes), (below, lines)):
        colors = dict(zip(map(_shortened, named), LINES, strict=False))
        ends = {}
        for (name, color), line in zip(colors.items(), named.values(), strict=True):
            axes.plot(positions, line, label=literal(name), color=color, linewidth=1.3)
            known = line[np.isfinite(line)]
            ends[name] = float(known[-1]) if len(known) else 0.0
        axes.set_xlim(0, max([positions[-1], *(drift.position for drift in stream.drifts)]))
        mark_drifts(axes, [(drift.position, drift.width) for drift in stream.drifts])
        if named and not label_ends(axes, ends, colors, height=0.4 * figure.get_size_inches()[1]):
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    n_hidden = len(stream.classes) - len(frequent)
    above.set_title(literal(title), loc="left")
    above.set_ylabel("share of the class" + (f" ({n_hidden} rarer ones left out)" if n_hidden else ""))
    below.set(xlabel="samples", ylabel="mean of the feature, in standard deviations")
    below.set_title(f"features (most varying first, {N_LINES} at most)", fontsize="medium", loc="left")


Column = tuple[int, int | None]
"""Source of a line: the index of a feature, and of one of its values if it is nominal."""


def _columns(stream: Any) -> list[Column]:
    columns: list[Column] = []
    for j, feature in enumerate(stream.features):
        if feature.values is None:
            columns.append((j, None))
            continue
        n_values = min(len(feature.values), N_VALUES)
        # For two values one line is enough: the other is its complement.
        columns += [(j, value) for value in range(n_values == 2, n_values)]
    return columns


def _numbers(X: np.ndarray, columns: list[Column]) -> np.ndarray:
    """Return the number of each sample in each column: the feature itself, or whether it has the value."""
    numbers = np.empty((len(X), len(columns)))
    for i, (j, value) in enumerate(columns):
        numbers[:, i] = X[:, j] if value is None else np.where(np.isnan(X[:, j]), np.nan, X[:, j] == value)
    return numbers


def _line_name(stream: Any, j: int, value: int | None) -> str:
    feature = stream.features[j]
    name: str = feature.name
    return name if value is None or feature.values is None else f"{name} = {feature.values[value]}"


def _shortened(name: str) -> str:
    return name if len(name) <= LONG_NAME else f"{name[:13]}…{name[-12:]}"
