"""Ranks and tests over streams, and the picture of ranks."""

from __future__ import annotations

import math
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from written_results import RESULTS, result, text_of

from driftmoe import report
from driftmoe.report import figures, statistics
from driftmoe.report.results import row_names

# Demšar (2006), table 6: AUC of C4.5 with m and cf at defaults or tuned, on 14 data sets
DEMSAR = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.975, 0.973],
        [0.957, 0.978, 0.946, 0.970],
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)


def test_ranks_and_critical_difference_are_those_of_demsar():
    np.testing.assert_allclose(report.mean_ranks(DEMSAR), [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert report.critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_friedman_by_hand():
    # ranks (1, 2, 3), (1, 2, 3), (2, 1, 3): sums 4, 5, 9; 12/(3*3*4) * (16 + 25 + 81) - 3*3*4 = 4 2/3
    mean = pd.DataFrame([[0.9, 0.8, 0.1], [0.7, 0.5, 0.3], [0.6, 0.8, 0.2]], columns=list("xyz"))
    statistic, p = report.friedman(mean)
    assert statistic == pytest.approx(4 + 2 / 3)
    assert p == pytest.approx(math.exp(-statistic / 2))  # chi-squared with 2 degrees of freedom
    assert report.friedman(mean * 0.0) == (0.0, 1.0)


def test_the_diagram_joins_what_is_closer_than_the_critical_difference():
    """The bars come from Nemenyi's p values, the length shown from Demšar's formula: both must say the same."""
    from scikit_posthocs import posthoc_nemenyi_friedman

    p = posthoc_nemenyi_friedman(DEMSAR)
    ranks = report.mean_ranks(DEMSAR)
    for first, second in product(DEMSAR.columns, repeat=2):
        is_far = abs(ranks[first] - ranks[second]) > report.critical_difference(4, 14)
        assert (p.loc[first, second] < report.SIGNIFICANCE) == is_far


def test_the_bayesian_test_knows_better_worse_and_equal():
    values = np.linspace(0.5, 0.9, 8)
    mean = pd.DataFrame({"high": values + 0.05, "low": values, "same": values + 0.001})
    p = report.probably_better(mean)
    assert p.loc["high", "low"] > 0.99
    assert p.loc["low", "high"] < 0.01
    assert max(p.loc["same", "low"], p.loc["low", "same"]) < 0.01
    # two streams, +3 and -3 points: by symmetry neither way is likelier
    split = pd.DataFrame({"x": [0.53, 0.50], "y": [0.50, 0.53]})
    p = report.probably_better(split)
    assert p.loc["x", "y"] == pytest.approx(p.loc["y", "x"], abs=0.02)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scikit_posthocs", None)
    with pytest.raises(ImportError, match=r"scikit-posthocs and baycomp; pip install 'driftmoe\[report\]'"):
        report.sections(RESULTS, [])
    of_one_stream = [line for line in RESULTS if line["stream"] == "a"]
    assert "Not tested" in text_of(report.sections(of_one_stream, []), "Are the differences")


def test_tests_and_ranks_take_each_stream_once():
    """Rows of one stream, of other lengths or delays, are not independent."""
    lines = [
        result(stream, model, 1, accuracy, n_samples=n, delay=delay, count_warm_up=False)
        for stream, gain in (("a", 0.1), ("b", 0.0), ("c", 0.05))
        for n, delay in ((1000, None), (2000, "0"), (2000, "500"), (2000, "1000"))
        for model, accuracy in (("x", (0.8 if delay == "0" else 0.1) + gain), ("y", 0.7), ("z", 0.6))
    ]
    sections = {section.title: section.parts for section in report.sections(lines, [])}
    assert "36 runs: 12 rows of 3 streams, 3 models" in sections["What was compared"][0]
    texts = sections["What was compared"]
    assert any("kappa-temporal still knows the previous label" in part for part in texts)
    assert any(
        "the longest, and if there are several, the one with the shortest delay. Left out: a, 1,000; "
        "a, 2,000, labels 500 late; a, 2,000, labels 1000 late; b, 1,000;" in part
        for part in texts
    )
    few, friedman, *_ = sections["Are the differences in accuracy more than chance?"]
    assert "With 3 streams only large differences" in few
    assert friedman.startswith("Friedman test over 3 streams and 3 models: chi-squared 6.00")
    (grid,) = sections["Accuracy"]
    assert [text for text, _ in grid.rows[-2]] == ["mean over 3 of 3 streams", "85.00", "70.00", "60.00"]
    assert [text for text, _ in grid.rows[-1]] == ["mean rank over 3 of 3 streams", "1.00", "2.00", "3.00"]


def test_of_late_rows_the_earliest_is_taken_and_data_of_one_name_are_several_streams():
    lines = [
        result("a", "x", 1, 0.5, delay=delay, count_warm_up=counted)
        for delay in ("1000", "due2", "500", "20-600")
        for counted in (True, False)
    ]
    assert statistics.one_of_each(lines, row_names(lines)) == ["a, 1,000, labels 500 late"]
    alike = [
        {**result("data.csv", model, 1, 0.5), "stream_sha256": data * 9} for data in "pqr" for model in "xyz"
    ]
    assert len(statistics.one_of_each(alike, row_names(alike))) == 3
    first, *_ = report.sections(alike, [])[0].parts
    assert "9 runs: 3 streams, 3 models" in first


def test_every_name_of_the_rank_diagram_is_within_the_picture():
    names = [
        f"driftmoe(extras=('neighbours', 'history', 'linear', 'head'), n_experts={n})" for n in range(12)
    ]
    mean = pd.DataFrame(np.random.default_rng(1).random((6, 12)), columns=names)
    figure = figures.rank_figure(mean, 2.0)
    figure.draw_without_rendering()
    texts = [text for text in figure.axes[0].texts if "driftmoe" in text.get_text()]
    assert len(texts) == 12
    boxes = [text.get_window_extent() for text in texts]
    whole = figure.bbox
    assert all(whole.x0 <= box.x0 < box.x1 <= whole.x1 and box.y0 >= whole.y0 for box in boxes)
    assert figure.axes[0].bbox.width > 0.3 * whole.width
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
