"""The look of pictures: colours that all can tell apart, one for a model everywhere, labels that do not overlap."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text
from written_results import curve, result

from driftmoe import report
from driftmoe.report import style
from driftmoe.report.curves import curves_of, visible
from driftmoe.report.routing_plot import routing_frames, shares_of_kinds

# Machado, Oliveira, Fernandes (2009). A physiologically-based model for simulation of color vision deficiency.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def linear(color):
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_models_are_told_apart_by_all(sight):
    seen = [lab(np.array(SIGHT[sight]) @ linear(color)) for color in style.LINES]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 28


def test_lines_stand_out_from_white():
    """WCAG 2.2, 1.4.11: a contrast of 3."""
    for color in style.LINES:
        assert 1.05 / (linear(color) @ [0.2126, 0.7152, 0.0722] + 0.05) >= 3.0


def test_a_model_has_one_look_whatever_the_others_are():
    for models in (["nb", "driftmoe"], ["x", "driftmoe", "nb"], ["driftmoe", "y", "arf", "nb"]):
        looks = style.looks_of(models)
        assert looks["driftmoe"].color == style.LINES[0]
        assert looks["nb"].color == style.LINES[4]
        assert len({look.color for look in looks.values()}) == len(models)
    many = style.looks_of([f"m{i}" for i in range(24)])
    assert len(set(many.values())) == 24
    assert style.looks_of(["a", "a", "b"]).keys() == {"a", "b"}


def test_names_are_moved_apart_as_little_as_possible():
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.random(6).tolist()
        placed = style.spread(values, 0.15)
        assert np.diff(np.sort(placed)).min() >= 0.15 - 1e-12
        assert min(placed) >= -1e-12
        assert max(placed) <= 1 + 1e-12
        assert (np.argsort(values) == np.argsort(placed)).all()
    assert style.spread([0.1, 0.5, 0.9], 0.3) == [0.1, 0.5, 0.9]


def windows(model, accuracies, window=20, **others):
    lines = [result("a", model, 1, accuracy, **others) for accuracy in accuracies]
    return [{**curve(line)[0], "n_samples": window * i} for i, line in enumerate(lines, start=1)]


def test_points_stand_at_the_middle_of_their_windows():
    points = windows("x", [0.5, 0.6, 0.7])
    points[-1]["n_samples"] = 50  # the last window is half full
    assert curves_of(points)["x"].middles == [10.0, 30.0, 45.0]


def test_the_scale_shows_what_matters_and_says_what_it_cuts():
    points = windows("x", [0.49, *[0.97, 0.99] * 10]) + windows("y", [0.98] * 21)
    found = curves_of(points)
    assert visible(found, 400, floor=-100) == (97.0, {"x": 49.0})
    # 49 % after the first drift is no start, and is shown
    assert visible(found, 10, floor=-100) == (49.0, {})
    figure = report.windows_figure(points, title="t", drifts=[(400, 1)])
    assert figure.axes[0].get_ylim()[0] > 96.0
    assert "cut off at the bottom: x 49.0 %" in [text.get_text() for text in figure.axes[0].texts]
    # a start that takes less than half of the height stays
    near = curves_of(windows("x", [0.96, *[0.97, 0.99] * 10]))
    assert visible(near, 400, floor=-100) == (96.0, {})


def test_a_kappa_without_bound_is_cut_and_said():
    points = [
        {**point, "kappa_m": value}
        for point, value in zip(windows("x", [0.5] * 4), (0.5, -3.55, 0.6, 0.7), strict=True)
    ]
    figure = report.windows_figure(points, title="t", metric="kappa_m")
    assert -120 < figure.axes[0].get_ylim()[0] < -100
    assert "cut off at the bottom: x \N{MINUS SIGN}355.0 %" in [t.get_text() for t in figure.axes[0].texts]
    assert figure.axes[0].get_ylabel() == "kappa-M in the window, %"
    with pytest.raises(ValueError, match="no curve has 'auc'; there are: accuracy, kappa_m"):
        report.windows_figure(points, title="t", metric="auc")


def test_at_most_eight_lines_the_best_and_the_rest_are_counted():
    points = [point for i in range(11) for point in windows(f"m{i}", [0.5 + i / 100] * 3)]
    figure = report.windows_figure(points, title="t")
    drawn = [line.get_label() for line in figure.axes[0].get_lines()]
    assert drawn == [f"m{i}" for i in range(3, 11)]
    assert any("3 models with lower means are not drawn" in text.get_text() for text in figure.axes[0].texts)


@pytest.mark.parametrize("looks", ["screen", "paper"])
def test_names_beside_lines_do_not_overlap_and_are_within_the_picture(looks):
    points = [point for i in range(8) for point in windows(f"model {i}", [0.5, 0.6 + i / 1e4])]
    figure = report.windows_figure(points, title="t", style=looks)
    figure.draw_without_rendering()
    texts = [text for text in figure.axes[0].texts if text.get_text().startswith("model")]
    assert len(texts) == 8
    boxes = [Text.get_window_extent(text) for text in texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(figure.bbox.x1 >= box.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_long_names_leave_the_curves_their_room():
    names = [f"driftmoe(extras=('neighbours', 'history', 'linear'), n_experts={n})" for n in range(8)]
    figure = report.windows_figure([p for name in names for p in windows(name, [0.5, 0.6])], title="a")
    figure.draw_without_rendering()
    assert figure.axes[0].bbox.width > 0.8 * figure.bbox.width
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_drifts_are_marked_at_their_centre_and_gradual_ones_with_their_width():
    figure = report.windows_figure(windows("x", [0.5] * 50), title="t", drifts=[(300, 1), (600, 200)])
    axes = figure.axes[0]
    marks = [line for line in axes.get_lines() if line.get_color() == style.DRIFT]
    assert [mark.get_xdata()[0] for mark in marks] == [300, 600]
    (band,) = (patch for patch in axes.patches if patch.get_facecolor()[3] < 1)
    assert (band.get_x(), band.get_width()) == (500, 200)


def routed(weights, n=3, **figures):
    others = {"routing_experts_used": 5, "routing_entropy": 0.5, "routing_n_replaced": 0, **figures}
    shares = {f"routing_weight_{name}": weight for name, weight in weights.items()}
    return [point | others | shares for point in windows("x", [0.5] * n)]


def test_experts_are_stacked_by_kind():
    weights = {"tree 1": 0.1, "tree 2": 0.3, "linear (1)": 0.2, "linear (0.2)": 0.1, "head": 0.3}
    shares = shares_of_kinds(routing_frames(routed(weights))["x"])
    assert shares.iloc[0].round(6).to_dict() == {"trees": 0.4, "linear": 0.3, "head": 0.3}
    # experts of a single kind are drawn one by one, the smallest together
    trees = shares_of_kinds(routing_frames(routed({f"tree {i}": i / 78 for i in range(1, 13)}))["x"])
    assert list(trees) == [*(f"tree {i}" for i in range(6, 13)), "5 others"]
    assert trees["5 others"].iloc[0] == pytest.approx(15 / 78)


def test_a_figure_that_never_changes_has_no_panel_but_a_word():
    points = routed({"tree 1": 0.5, "head": 0.5})
    for i, point in enumerate(points):
        point["routing_entropy"] = 0.1 * i
    figure = report.routing_figure(points, title="t")
    assert [axes.get_ylabel() for axes in figure.axes] == ["share of the vote, %", "entropy"]
    heading = figure.axes[0].get_title(loc="left")
    assert "experts used: 5 in every window; trees replaced: 0 in every window" in heading


def test_where_nothing_ever_changes_the_words_stand_alone():
    figure = report.routing_figure([*routed({}), *routed({}, model="other")], title="t")
    (axes,) = figure.axes
    assert "experts used: 5 in every window" in axes.get_title(loc="left")


def test_names_beside_points_do_not_overlap():
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.subplots()
    places = {f"model {i}": (1 + i / 100, 1 + i / 100) for i in range(5)} | {"a": (0.5, 0.5), "b": (2.0, 2.0)}
    axes.scatter(*zip(*places.values(), strict=True))
    assert report.label_points(figure, axes, places, dict.fromkeys(places, "black"))
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == 7
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    one_place = {f"a long name {i}": (1.0, 1.0) for i in range(20)}
    assert not report.label_points(figure, axes, one_place, dict.fromkeys(one_place, "black"))


def test_the_same_picture_is_the_same_file_and_an_unknown_style_is_refused():
    points = windows("x", [0.5, 0.6])
    for kind in ("svg", "pdf"):
        one, other = (style.saved(report.windows_figure(points, title="t"), kind) for _ in range(2))
        assert one == other
    with pytest.raises(ValueError, match="unknown style 'slides' of pictures; choose one of screen, paper"):
        report.windows_figure(points, title="t", style="slides")


def test_numbers_in_a_picture_are_not_rounded_with_its_lines():
    figure = report.windows_figure(windows("model 0.123456", [0.5, 0.6]), title="t")
    assert b"model 0.123456" in style.as_picture("p", "a", figure).svg


def test_drifts_after_the_end_of_a_run_are_not_drawn():
    """Their label would lie far outside, and the layout would make room for it."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.set_xlim(0, 500)
    style.mark_drifts(axes, [(900, 1), (250, 100), (400, 1)])
    assert [line.get_xdata()[0] for line in axes.lines] == [250, 400]
    assert [text.get_text() for text in axes.texts] == ["drift, 100 samples wide"]
    assert axes.get_xlim() == (0, 500)
