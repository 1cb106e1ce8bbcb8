"""The importances of a model's features as a picture."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib is slow to import, and only needed to draw
    from matplotlib.figure import Figure

MOST = 30
"""Features that are drawn, the most important ones."""

LONGEST = 40
"""Characters of a name beside a bar."""


def importances_figure(importances: Mapping[Hashable, tuple[float, float]]) -> Figure:
    """Draw importances as bars with their spread.

    Parameters
    ----------
    importances
        As `feature_importances` of a model returns them, the most important first.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not importances:
        raise ValueError(
            "the model has learnt too few samples to say which features matter; there is nothing to draw"
        )
    import matplotlib.pyplot as plt

    shown = list(importances.items())[:MOST][::-1]
    figure, ax = plt.subplots(figsize=(7.0, 0.28 * len(shown) + 1.1), layout="constrained")
    names = [" ".join(str(name).split())[:LONGEST].replace("$", r"\$") for name, _ in shown]
    means, spreads = ([100.0 * one[i] for _, one in shown] for i in range(2))
    places = range(len(shown))
    ax.barh(places, means, xerr=spreads, color="#4477aa", error_kw={"elinewidth": 1.0, "ecolor": "0.3"})
    ax.set_yticks(places, names)
    ax.axvline(0.0, color="0.6", linewidth=0.8)
    ax.set_xlabel("probability that the true labels lose if the feature is shuffled (percentage points)")
    ax.spines[["top", "right"]].set_visible(False)
    return figure
