"""The section on features: means over seeds by hand, and a picture for each stream."""

from __future__ import annotations

import pytest
from written_results import RESULTS, result

from driftmoe import report
from driftmoe.report.importances import compared_figure, importances_parts, over_seeds


def lines(model="x", stream="a", **of_seeds):
    return [result(stream, model, int(name[1:]), 0.7, importances=found) for name, found in of_seeds.items()]


def section(found, title):
    return next((one for one in found if one.title == title), None)


def test_bars_are_means_and_deviations_over_seeds():
    found = over_seeds(lines(s1={"a": 0.1, "b": 0.4}, s2={"b": 0.2, "a": 0.1, "c": 0.06}))
    assert list(found) == ["b", "a", "c"]
    assert found["b"] == pytest.approx((0.3, 0.1414214))
    assert found["a"] == pytest.approx((0.1, 0.0))
    assert found["c"] == pytest.approx((0.03, 0.0424264))  # 0 in the first run, which does not name it


def test_one_seed_has_no_deviation():
    assert over_seeds(lines(s1={"a": 0.1})) == {"a": (0.1, 0.0)}


def test_models_stand_side_by_side_with_the_features_in_one_order():
    figure = compared_figure(
        {"x": {"a": (0.2, 0.0), "b": (0.1, 0.0)}, "y": {"b": (0.5, 0.1)}}, title="led, 1,000"
    )
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b"]  # from below
    assert [bar.get_width() for bar in left.patches] == [20.0, 10.0]
    assert [bar.get_width() for bar in right.patches] == [0.0, 50.0]
    assert [axes.get_title() for axes in (left, right)] == ["x", "y"]


def test_of_many_features_the_first_are_drawn_and_the_others_counted():
    figure = compared_figure({"x": {f"f{i}": (1.0 / (i + 1), 0.0) for i in range(20)}}, title="t")
    (axes,) = figure.axes
    assert len(axes.patches) == 15
    assert figure.get_suptitle() == "t; 5 more features are not drawn"


def test_a_dollar_in_a_name_is_a_dollar():
    found = {"$x^$": (0.1, 0.0)}
    figure = compared_figure({"m$1$": found}, title="a $ b $")
    figure.canvas.draw()
    report.importances_figure(found).canvas.draw()
    assert figure.get_suptitle() == r"a \$ b \$"


def test_a_picture_of_each_stream_says_in_words_what_it_shows():
    given = lines(s1={"a": 0.1, "b": 0.4}) + lines("y", s1={"a": 0.2}) + lines("x", "b", s1={"c": -0.01})
    note, first, second = importances_parts([*given, *RESULTS[4:6]])
    assert "shuffled" in note
    assert first.alt == "Feature importances on a, 1,000. x: b 40.0, a 10.0; y: a 20.0"
    assert second.alt == "Feature importances on b, 1,000. x: c -1.0"
    assert first.svg.startswith(b"<?xml")
    assert first.pdf.startswith(b"%PDF")
    assert first.name != second.name


def test_many_models_are_spread_over_pictures():
    given = [line for i in range(5) for line in lines(f"m{i}", s1={"a": 0.1})]
    _, first, second = importances_parts(given)
    assert "m3" in first.alt
    assert "m4" not in first.alt
    assert "m4" in second.alt
    assert first.name != second.name


def test_a_report_has_the_section_only_if_a_line_has_importances():
    assert section(report.sections(RESULTS, []), "Feature importances") is None
    given = [RESULTS[0] | {"importances": {"<b>": 0.25}}, *RESULTS[1:]]
    found = section(report.sections(given, []), "Feature importances")
    assert len(found.parts) == 2
    text = report.page([found], title="t")
    assert "<b>" not in text
    assert "&lt;b&gt; 25.0" in text
