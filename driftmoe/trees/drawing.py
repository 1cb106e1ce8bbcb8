"""Trees as text and as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from driftmoe.trees.nodes import EQUALS, LEAF, NONE, NUMERIC, ROOT, WEIGHT
from driftmoe.trees.storage import Storage

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Branch(NamedTuple):
    """A branch of a split: the name of the feature, the test, and the node below."""

    feature: str
    test: str
    node: int


class View:
    """A tree of a pool, with names for what it tests and predicts.

    Parameters
    ----------
    storage, tree
        The arrays, and which tree.
    features, classes, values
        As in `TreePool.describe`.
    """

    def __init__(
        self,
        storage: Storage,
        tree: int,
        features: Sequence[Any] | None,
        classes: Sequence[Any] | None,
        values: Sequence[Sequence[Any] | None] | None,
    ) -> None:
        self.storage, self.nodes = storage, storage.nodes[tree]
        self._features, self._classes, self._values = features, classes, values

    def branches(self, node: int) -> list[Branch]:
        """Return the branches of a split; none of a leaf."""
        nodes, found = self.nodes, list[Branch]()
        kind, f, threshold = (nodes[node][name] for name in ("kind", "feature", "threshold"))
        if kind == LEAF:
            return found
        feature = f"feature {f}" if self._features is None else str(self._features[f])
        child = nodes[node]["first_child"]
        while child != NONE:
            if kind == NUMERIC:
                test = f"{'>' if found else '<='} {threshold:.6g}"
            elif kind == EQUALS:
                test = f"{'!=' if found else '='} {self._value(f, threshold)}"
            else:
                test = f"= {self._value(f, nodes[child]['value'])}"
            found.append(Branch(feature, test, child))
            child = nodes[child]["next_sibling"]
        return found

    def majority(self, node: int) -> tuple[int, float, float]:
        """Return a leaf's majority class (the first, in a tie; NONE if it is empty), its share and the total weight."""
        storage, slot = self.storage, self.nodes[node]["slot"]
        leaf, weights = storage.leaves[slot], storage.class_stats[slot, WEIGHT]
        order = storage.class_order[slot, : leaf["n_present"]]
        if not len(order):
            return NONE, 0.0, 0.0
        c = int(order[weights[order].argmax()])
        return c, float(weights[c] / leaf["weight"]) if leaf["weight"] else 0.0, float(leaf["weight"])

    def class_name(self, c: int) -> str:
        """Return the name of a class."""
        return str(c if self._classes is None else self._classes[c])

    def n_leaves(self, node: int) -> int:
        """Return the number of leaves below a node."""
        return sum(self.n_leaves(branch.node) for branch in self.branches(node)) or 1

    def _value(self, f: int, code: float) -> str:
        names = None if self._values is None else self._values[f]
        return str(int(code) if names is None else names[int(code)])


def as_text(view: View) -> str:
    """Return a tree as text, with one line per leaf or branch, indented by depth."""

    def lines(node: int, indent: str) -> Iterator[str]:
        branches = view.branches(node)
        if not branches:
            label, share, weight = view.majority(node)
            if label == NONE:
                yield f"{indent}nothing seen"
            else:
                yield f"{indent}{view.class_name(label)} {share:.3f}, weight {weight:.6g}"
        for branch in branches:
            yield f"{indent}{branch.feature} {branch.test}"
            yield from lines(branch.node, indent + "|   ")

    return "\n".join(lines(ROOT, ""))


class Box(NamedTuple):
    """A box of the picture: where it is, its text, and the class and the share that colour it (NONE for no colour)."""

    depth: int
    height: float
    text: str
    label: int
    share: float


class Line(NamedTuple):
    """A line of the picture, from a split to a branch, with the test on it."""

    depth: int
    height: float
    branch_height: float
    test: str


def draw(view: View, max_depth: int | None, ax: Axes | None) -> Axes:
    """Draw a tree, see `TreePool.draw`."""
    if max_depth is not None and max_depth < 0:
        raise ValueError(f"max_depth={max_depth}; choose 0 or more, or None for the whole tree")
    import matplotlib.pyplot as plt  # not loaded unless a tree is drawn

    boxes, lines, n_drawn = _laid_out(view, max_depth)
    deepest = max(box.depth for box in boxes)
    if ax is None:
        _, ax = plt.subplots(figsize=(2.2 * deepest + 2.2, 0.32 * n_drawn + 0.5), layout="constrained")
    for depth, height, branch_height, test in lines:
        heights = [height, branch_height, branch_height]
        ax.plot([depth, depth + 0.35, depth + 1], heights, color="0.7", zorder=1)
        at = depth + 0.66, branch_height
        ax.annotate(test, at, xytext=(0, 2), textcoords="offset points", fontsize=7, ha="center")
    colours = np.array(plt.get_cmap("tab10").colors)  # type: ignore[attr-defined]  # of a list of colours
    for depth, height, text, label, share in boxes:
        strength = 0.0 if label == NONE else 0.15 + 0.6 * share
        colour = 1.0 - strength * (1.0 - colours[label % len(colours)])
        frame = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": "0.6", "linewidth": 0.7}
        ax.text(depth, height, text, fontsize=8, va="center", zorder=2, bbox=frame)
    ax.set(xlim=(-0.1, deepest + 1.0), ylim=(0.7 - n_drawn, 0.7))
    ax.set_axis_off()
    return ax


def _laid_out(view: View, max_depth: int | None) -> tuple[list[Box], list[Line], int]:
    """Return the boxes and lines of a picture, and the number of leaves drawn, each at a height of its own."""
    boxes: list[Box] = []
    lines: list[Line] = []
    n_drawn = 0

    def place(node: int, depth: int) -> float:
        nonlocal n_drawn
        branches = view.branches(node)
        if branches and (max_depth is None or depth < max_depth):
            heights = [place(branch.node, depth + 1) for branch in branches]
            height = (heights[0] + heights[-1]) / 2
            lines.extend(Line(depth, height, h, b.test) for h, b in zip(heights, branches, strict=True))
            boxes.append(Box(depth, height, branches[0].feature, NONE, 0.0))
            return height
        height = -float(n_drawn)
        n_drawn += 1
        label, share, weight = view.majority(node) if not branches else (NONE, 0.0, 0.0)
        if label == NONE:
            text = f"... {view.n_leaves(node)} leaves" if branches else "nothing seen"
        else:
            text = f"{view.class_name(label)}  {share:.0%}  of {weight:.4g}"
        boxes.append(Box(depth, height, text, label, share))
        return height

    place(ROOT, 0)
    return boxes, lines, n_drawn
