"""The picture of a tree."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from pools import EAGER, IS_COMPILED, grown, nominal_samples, size

from driftmoe.trees import HoeffdingTreeClassifier


@pytest.fixture
def figure():
    mpl.use("agg")
    yield plt.figure(figsize=(8, 8))
    plt.close("all")


def texts(ax):
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.texts]


def test_drawing_shows_every_branch_and_leaf(figure):
    pool = grown(2, n_samples=3000)
    names = {"features": list("abcde"), "classes": ["red", "green", "blue"]}
    ax = pool.draw(1, **names, ax=figure.add_subplot())
    shown = texts(ax)
    assert ax.figure is figure
    leaves = [text for text in shown if "%" in text]
    assert len(leaves) == pool.n_leaves[1]
    assert all(text.split()[0] in names["classes"] for text in leaves)
    assert len(ax.lines) == pool.n_nodes[1] - 1
    for line in pool.describe(1, **names).splitlines():
        *_, before, test, value = ["", "", "", *line.split()]
        if "weight" not in line:
            assert f"{test} {value}" in shown
            assert before in shown
    heights = [text.get_position()[1] for text in ax.texts if "%" in text.get_text()]
    assert len(set(heights)) == len(heights)  # no leaf hides another


def test_drawing_stops_at_the_depth_asked_for(figure):
    pool = grown(1, n_samples=3000)
    shown = texts(pool.draw(max_depth=0))
    assert shown == ([f"... {pool.n_leaves[0]} leaves"] if pool.depth[0] else shown)
    n_branches = sum(not line.startswith("|") for line in pool.describe().splitlines())
    assert len(pool.draw(max_depth=1, ax=figure.add_subplot()).lines) == n_branches
    with pytest.raises(ValueError, match="max_depth=-1"):
        pool.draw(max_depth=-1)
    with pytest.raises(ValueError, match="expert 1"):
        pool.draw(1)


def test_drawing_of_the_estimator_has_its_names(figure):
    model = HoeffdingTreeClassifier(**EAGER)
    assert texts(model.draw(ax=figure.add_subplot())) == ["nothing seen"]
    for x, y in nominal_samples(size(3000)):
        model.learn_one(x, y)
    shown = texts(model.draw())
    assert len([text for text in shown if text.split()[0] in "xyz" and "%" in text]) == model.n_leaves
    if IS_COMPILED:
        assert {"a", "c"} & set(shown) or {"d", "e"} & set(shown)
