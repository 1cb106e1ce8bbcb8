"""Ranks and tests over streams, and the picture of ranks."""

from __future__ import annotations

import importlib.util as statistics_of_modules
import math
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from written_results import result, text_of

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


def over(n_streams, models=("x", "y", "z"), gain=0.1):
    """Result lines of models on streams; each is better than the next on all of them."""
    return [
        result(f"s{i}", model, 1, 0.9 - gain * k + i / 1000 + (i * k % 3) / 10_000)
        for i in range(n_streams)
        for k, model in enumerate(models)
    ]


def test_without_the_extra_all_but_two_tests_work(monkeypatch):
    real = statistics_of_modules.find_spec
    monkeypatch.setattr(
        statistics_of_modules,
        "find_spec",
        lambda name, *rest: None if name in ("scikit_posthocs", "baycomp") else real(name, *rest),
    )
    monkeypatch.setitem(sys.modules, "scikit_posthocs", None)
    monkeypatch.setitem(sys.modules, "baycomp", None)
    text = text_of(report.sections(over(7), []), "Are the differences")
    assert "Friedman test over 7 streams and 3 models" in text
    assert "Wilcoxon signed-rank test of each pair" in text
    assert "Nemenyi's diagram is left out, because scikit-posthocs is not installed; pip install" in text
    assert "The Bayesian signed-rank test is left out, because baycomp is not installed" in text


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
        "a, 2,000, labels 500 samples late; a, 2,000, labels 1,000 samples late; b, 1,000;" in part
        for part in texts
    )
    (untested,) = sections["Are the differences in accuracy more than chance?"]
    assert "With 3 streams nothing can be concluded by tests" in untested
    assert "would give p = 0.25, which is above 0.05. It takes at least 6 streams." in untested
    (grid,) = sections["Accuracy"]
    assert [text for text, _ in grid.rows[-2]] == ["mean over 3 of 3 streams", "85.00", "70.00", "60.00"]
    assert [text for text, _ in grid.rows[-1]] == ["mean rank over 3 of 3 streams", "1.00", "2.00", "3.00"]


def test_of_delays_in_time_the_shortest_is_taken_in_whatever_order_they_were_run():
    """A first label that comes after 24 samples is as late as with a delay of 24 samples."""
    hour, day, far = (
        [
            result(stream, model, 1, 0.5, delay=delay, n_warm_up=n_warm_up, count_warm_up=False)
            for stream in "ab"
            for model in "xyz"
        ]
        for delay, n_warm_up in (("1 hour by when", 25), ("1 day by when", 25), ("1 week by when", 500))
    )
    samples = [{**line, "delay": "100"} for line in hour]
    for lines, chosen in (
        ([*day, *hour, *far], hour),
        ([*hour, *far, *day], hour),
        ([*far, *samples], samples),
        ([*samples, *day], day),
    ):
        assert statistics.one_of_each(lines, row_names(lines)) == row_names(chosen)[::3]
    text = text_of(report.sections([*day, *hour], []), "What was compared")
    assert f"Left out: {'; '.join(row_names(day)[::3])}." in text


def test_of_late_rows_the_earliest_is_taken_and_data_of_one_name_are_several_streams():
    lines = [
        result("a", "x", 1, 0.5, delay=delay, count_warm_up=counted)
        for delay in ("1000", "due2", "500", "20-600")
        for counted in (True, False)
    ]
    assert statistics.one_of_each(lines, row_names(lines)) == ["a, 1,000, labels 500 samples late"]
    alike = [
        {**result("data.csv", model, 1, 0.5), "stream_sha256": data * 9} for data in "pqr" for model in "xyz"
    ]
    assert len(statistics.one_of_each(alike, row_names(alike))) == 3
    first, *_ = report.sections(alike, [])[1].parts
    assert "9 runs: 3 streams, 3 models" in first


def test_readings_and_names_of_one_file_are_one_stream():
    def lines(stream, data, **reading):
        reading = {"target": "y", **reading}
        return [
            result(stream, model, 1, accuracy, stream_sha256=data * 9, reading=reading)
            for model, accuracy in (("x", 0.8), ("y", 0.7))
        ]

    once = [*lines("t.csv", "p", drop=["when"]), *lines("u.csv", "s")]
    twice = [
        *once,
        *lines("t.csv", "q", drop=["when", "b"]),
        *lines("./t.csv", "p", drop=["when"]),
        *lines("data/../t.csv", "r"),  # another reading by another path
        *lines("/elsewhere/copy.csv", "r"),  # by its hash
    ]
    assert statistics.one_of_each(once, row_names(once)) == row_names(once)[::2]
    chosen = statistics.one_of_each(twice, row_names(twice))
    assert [row.split(",")[0] for row in chosen] == ["t.csv", "u.csv"]
    sections = report.sections(twice, [])
    text = text_of(sections, "What was compared")
    assert "12 runs: 6 rows of 2 streams, 2 models" in text
    assert (
        "Rows of one file are of one stream, however it is named and read; of those the first counts." in text
    )
    (grid,) = next(s.parts for s in sections if s.title == "Accuracy")
    assert grid.rows[-1][0] == ("mean rank over 2 of 2 streams", False)
    other = [*lines("t.csv", "p"), *lines("t.csv", "q")]  # the same reading of a file that has changed
    assert len(statistics.one_of_each(other, row_names(other))) == 2


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


def test_holm_by_hand_and_as_statsmodels():
    from statsmodels.stats.multitest import multipletests

    # sorted 0.01, 0.02, 0.03, 0.9: times 4, 3, 2, 1, and never less than the one before
    assert report.holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    p = np.random.default_rng(1).random(12)
    assert report.holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1])


def test_wilcoxon_holm_by_hand():
    """A model that is better on all of n streams has p = 2 / 2^n, times the number of pairs."""
    mean = pd.DataFrame({"x": np.arange(1.0, 8), "y": np.arange(1.0, 8) - np.arange(1, 8) / 10, "z": 0.0})
    p = report.wilcoxon_holm(mean)
    assert p.loc["x", "y"] == p.loc["y", "x"] == pytest.approx(3 * 2 / 2**7)
    assert math.isnan(p.loc["x", "x"])
    assert report.wilcoxon_holm(mean.assign(y=mean["x"]))[["y"]].loc["x", "y"] == 1.0


@pytest.mark.parametrize("n_streams", [6, 9, 30])
def test_wilcoxon_holm_is_that_of_the_accuracies_with_ties_and_zeros(n_streams):
    values = np.random.default_rng(n_streams).integers(0, 4, (n_streams, 2)) / 4
    mean = pd.DataFrame(values, columns=["x", "y"])
    p = report.wilcoxon_holm(mean).loc["x", "y"]
    assert p == stats.wilcoxon(mean["x"] - mean["y"]).pvalue


def bold_cells(parts, corner):
    (section,) = (s for s in parts if s.title.startswith("Are the differences"))
    (grid,) = (p for p in section.parts if isinstance(p, report.Grid) and p.heading[0] == corner)
    return [text for row in grid.rows for text, bold in row if bold]


def test_no_pair_is_bold_where_the_friedman_test_finds_nothing():
    """Of three models on eight streams, two take turns, and the third is a little worse than one of them always."""
    lines = [
        result(f"s{i}", model, 1, accuracy + i / 100)
        for i in range(8)
        for model, accuracy in (("x", 0.8), ("y", 0.88 if i % 2 else 0.7), ("z", 0.77 - i / 1000))
    ]
    parts = report.sections(lines, [])
    text = text_of(parts, "Are the differences")
    assert "the models cannot be told apart at the level 0.05. This does not say that they are equal." in text
    assert "None is bold, although one may be 95 or more" in text
    assert bold_cells(parts, "p value") == bold_cells(parts, "better than →") == []
    summary = text_of(parts, "Summary")
    assert "The tests do not tell the models apart (Friedman test, p = " in summary
    assert "It can be concluded" not in summary


def test_the_summary_says_what_can_be_concluded():
    parts = report.sections(over(9), [])
    summary = text_of(parts, "Summary")
    assert summary.startswith("x has the highest mean accuracy over 9 streams, 90.40 %, ")
    assert "It is the best on 9 of 9." in summary
    assert "It can be concluded that x is more accurate on streams like these than y, z (Wilcoxon" in summary
    assert "A single seed was run" in summary
    assert bold_cells(parts, "p value") == ["0.0117"] * 6  # 2 / 2^9 of three pairs
    assert "100.0" in bold_cells(parts, "better than →")


def test_the_summary_says_when_a_test_cannot_show_anything():
    summary = text_of(report.sections(over(6, "uvwxyz"), []), "Summary")
    assert (
        "It cannot be concluded that u is more accurate than v, w, x, y, z, nor that they are equal"
        in summary
    )
    assert "With 6 streams and 15 pairs of models this test cannot show any difference" in summary
    assert "By mean ranks, u is better than y, z (Nemenyi's test" in summary


@pytest.mark.parametrize(
    ("n_streams", "models", "told"),
    [
        (3, "xyz", "With 3 streams nothing can be concluded by tests"),
        (1, "xyz", "On a single stream, nothing can be concluded by tests about others."),
        (3, "x", "A single model, x, so that nothing is compared."),
    ],
)
def test_the_summary_says_when_nothing_can_be_concluded(n_streams, models, told):
    summary = text_of(report.sections(over(n_streams, models), []), "Summary")
    assert told in summary
    assert "It can be concluded" not in summary
