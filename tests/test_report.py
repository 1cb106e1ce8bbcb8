from __future__ import annotations

import base64
import errno
import html.parser
import math
import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftmoe import report
from driftmoe.cli import app
from driftmoe.experiment import KEY, ResultFolder, read_results
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


def result(stream, model, seed, accuracy, **others):
    line = {
        "stream": stream,
        "model": model,
        "seed": seed,
        "n_samples": 1000,
        **dict.fromkeys(report.COMPARED, accuracy),
        "samples_per_second": 500.0,
        "seconds": 2.0,
        "cpu_seconds": 3.0,
        "model_bytes": 4_000_000,
        "complete": True,
        "limit": 1000,
        "window": 500,
        "delay": None,
        "ram_hours": 0.004 * 2 / 3600,
        "parameters": {"depth": 3, "seed": seed},
        "stream_length": 1000,
        "stream_sha256": f"{stream}{seed}",
        "drifts": [[400, 1]],
        "versions": {"river": "0.26.1"},
    }
    return {**line, **others}


ACCURACY = {
    ("a", "x"): (0.70, 0.80),
    ("a", "y"): (0.60, 0.60),
    ("a", "z"): (0.50, 0.52),
    ("b", "x"): (0.90, 0.92),
    ("b", "y"): (0.95, 0.97),
    ("b", "z"): (0.10, 0.30),
}
RESULTS = [
    result(stream, model, seed, accuracy)
    for (stream, model), of_seeds in ACCURACY.items()
    for seed, accuracy in enumerate(of_seeds, start=1)
]


def curve(line, **columns):
    return [
        {**{name: line[name] for name in KEY}, "n_samples": n, "accuracy": line["accuracy"], **columns}
        for n in (500, 1000)
    ]


CURVES = [point for line in RESULTS for point in curve(line)]


def rows_of(grid):
    """Rows of a grid by their first cell: texts, bold ones in stars."""
    return {row[0][0]: [f"*{text}*" if bold else text for text, bold in row[1:]] for row in grid.rows}


def accuracy_rows(results):
    (section,) = [s for s in report.sections(results, []) if s.title == "Accuracy"]
    return rows_of(section.parts[0])


def text_of(parts, title):
    return " ".join(p for s in parts if s.title.startswith(title) for p in s.parts if isinstance(p, str))


def test_cells_are_mean_and_deviation_over_seeds_and_the_best_is_bold():
    # deviation of two values = their distance / sqrt(2)
    assert accuracy_rows(RESULTS) == {
        "a, 1,000": ["*75.00 ± 7.07*", "60.00 ± 0.00", "51.00 ± 1.41"],
        "b, 1,000": ["91.00 ± 1.41", "*96.00 ± 1.41*", "20.00 ± 14.14"],
        "mean over 2 of 2 streams": ["*83.00*", "78.00", "35.50"],
        "mean rank over 2 of 2 streams": ["*1.50*", "*1.50*", "3.00"],
    }


def test_a_stream_that_lacks_a_model_counts_in_no_mean_and_says_so():
    without = [line for line in RESULTS if (line["stream"], line["model"]) != ("b", "z")]
    rows = accuracy_rows(without)
    assert rows["b, 1,000"] == ["91.00 ± 1.41", "*96.00 ± 1.41*", report.NOTHING]
    assert rows["mean over 1 of 2 streams"] == ["*75.00*", "60.00", "51.00"]
    parts = report.sections(without, [])
    assert "b, 1,000: no result of z, hence in no mean, rank or test." in text_of(parts, "What was compared")
    assert "Not tested: 1 streams have a result of every one of 3 models" in text_of(
        parts, "Are the differences"
    )


def test_when_no_stream_has_every_model_there_is_no_mean_row():
    scattered = [line for line in RESULTS if (line["stream"], line["model"]) not in {("b", "z"), ("a", "y")}]
    assert set(accuracy_rows(scattered)) == {"a, 1,000", "b, 1,000"}
    assert "times cannot be compared" in text_of(report.sections(scattered, []), "Time and memory")


def test_a_cell_with_fewer_seeds_says_so():
    fewer = [line for line in RESULTS if (line["stream"], line["model"], line["seed"]) != ("a", "x", 2)]
    assert accuracy_rows(fewer)["a, 1,000"][0] == "*70.00 (1 of 2 seeds)*"
    assert "a, 1,000: the models did not run with the same seeds" in text_of(
        report.sections(fewer, []), "What was compared"
    )


def test_runs_with_late_labels_are_rows_of_their_own():
    late = [{**line, "accuracy": 0.25, "delay": "1000"} for line in RESULTS]
    rows = accuracy_rows([*RESULTS, *late])
    names = [str(row) for row in rows]
    assert any("a, 1,000, labels 1000 late, warm-up counted" in name for name in names)  # as in old lines
    assert "done more than once" not in text_of(report.sections([*RESULTS, *late], []), "What was compared")


def test_a_report_says_what_is_counted_and_keeps_a_long_warm_up_apart():
    """Without a delay an old line, which counts the first sample, stands in the row of the new ones."""
    new = {"count_warm_up": False}
    old = result("a", "x", 1, 0.5)
    at_once = result("a", "x", 2, 0.7, n_warm_up=1, **new)
    late = result("a", "x", 1, 0.6, delay="10", n_warm_up=11, **new)
    counted = [
        result("a", "x", 1, 0.4, delay="10"),
        result("a", "x", 1, 0.3, n_warm_up=1, count_warm_up=True),
    ]
    lines = [old, at_once, late, *counted]
    names = [name for name in accuracy_rows(lines) if not name.startswith("mean")]
    assert names == [
        "a, 1,000", "a, 1,000, labels 10 late", "a, 1,000, labels 10 late, warm-up counted",
        "a, 1,000, warm-up counted",
    ]  # fmt: skip
    text = text_of(report.sections(lines, []), "What was compared")
    assert (
        "are in no figure: the first sample where labels come at once; 11 of a, 1,000, labels 10 late."
        in text
    )
    assert "In 3 of 5 runs they count, as in all of older versions, or as --count-warm-up asks" in text
    assert "count, as in all" not in text_of(report.sections([at_once], []), "What was compared")
    assert report.left_out([old]) == report.left_out(counted) == ""
    assert report.left_out([at_once]) == ", first sample not counted"
    assert report.left_out([late, late]) == ", first 11 samples not counted"
    assert report.left_out([late, at_once]) == ", up to 11 samples not counted"


def test_interrupted_and_repeated_runs_are_named_and_left_out():
    spoiled = [
        *RESULTS,
        {**RESULTS[0], "complete": False, "n_samples": 300},
        {**RESULTS[1], "window": 100},
    ]
    assert accuracy_rows(spoiled) == accuracy_rows(RESULTS)
    notes = text_of(report.sections(spoiled, []), "What was compared")
    assert "x on a, seed 1: interrupted after 300 samples, left out." in notes
    assert "x on a, seed 2, 1,000 samples: done more than once, the last one counts." in notes
    with pytest.raises(ValueError, match="no run is complete"):
        report.sections([{**RESULTS[0], "complete": False}], [])


def test_lines_without_parameters_are_told_apart_by_their_model():
    bare = [{name: value for name, value in line.items() if name != "parameters"} for line in RESULTS]
    for lines, told in ((RESULTS, "depth 3"), (bare, "not recorded")):
        (part,) = (s for s in report.sections(lines, []) if s.title == "How it can be repeated")
        grid = next(p for p in part.parts if isinstance(p, report.Grid) and p.heading[0] == "model")
        assert [[cell for cell, _ in row] for row in grid.rows] == [[m, told] for m in "xyz"]


def test_other_lengths_and_other_data_are_rows_of_their_own():
    longer = result("a", "x", 1, 0.5, n_samples=2000)
    assert list(accuracy_rows([*RESULTS, longer]))[:3] == ["a, 1,000", "b, 1,000", "a, 2,000"]
    other_target = result("a", "x", 1, 0.5, stream_sha256="0123456789")
    assert "a, 1,000, data 01234567" in accuracy_rows([*RESULTS, other_target])


def test_failures_are_named():
    assert "y on b, seed 3 failed" in text_of(
        report.sections(RESULTS, [], ["y on b, seed 3 failed"]), "What was compared"
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


def test_time_and_memory_by_hand():
    (section,) = [s for s in report.sections(RESULTS, []) if s.title == "Time and memory"]
    grid = next(part for part in section.parts if isinstance(part, report.Grid))
    # 500 samples a second are 2,000 µs each, 3 s for 1,000 are 3,000; 4 MB for 2 s are 0.008 / 3600 GB·h
    assert rows_of(grid)["x"] == ["83.00", "2,000.0", "3,000.0", "2.0", "4.00", "2.22e-06"]


def points_with(line, accuracies):
    return [
        {**{name: line[name] for name in KEY}, "n_samples": 100 * i, "accuracy": accuracy}
        for i, accuracy in enumerate(accuracies, start=1)
    ]


def test_what_a_drift_costs_by_hand():
    """Windows of 100 samples, a drift after 400: x is back after two windows with one seed and not with the other."""
    x1, x2 = (result("a", "x", seed, 0.9) for seed in (1, 2))
    y = result("a", "y", 1, 0.9)
    curves = [
        *points_with(x1, [0.9, 0.9, 0.9, 0.9, 0.5, 0.9, 0.9]),  # 40 mistakes more, then regained
        *points_with(x2, [0.8, 0.8, 0.8, 0.8, 0.6, 0.7, 0.7]),  # 20 + 10 + 10
        *points_with(y, [0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]),
    ]
    (section,) = [s for s in report.sections([x1, x2, y], curves) if s.title == "What drifts cost"]
    lost, mistakes, samples = (rows_of(p)["a, 1,000"] for p in section.parts if isinstance(p, report.Grid))
    assert lost == ["30.00", "*0.00*"]
    assert mistakes == ["40", "*0*"]
    assert samples == ["200 (1 of 2)", "*100*"]
    quiet = [result("a", "x", 1, 0.9, drifts=[])]
    assert "No stream has a known drift" in text_of(report.sections(quiet, curves), "What drifts cost")


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scikit_posthocs", None)
    with pytest.raises(ImportError, match=r"scikit-posthocs and baycomp; pip install 'driftmoe\[report\]'"):
        report.sections(RESULTS, [])
    of_one_stream = [line for line in RESULTS if line["stream"] == "a"]
    assert "Not tested" in text_of(report.sections(of_one_stream, []), "Are the differences")


def routing(value):
    names = "experts_used", "entropy", "n_replaced", "weight_tree 1"
    return {f"routing_{name}": value for name in names}


def test_routing_is_drawn_where_it_was_recorded():
    with_routing = [
        *(point for line in RESULTS if line["model"] != "x" for point in curve(line, **routing(""))),
        *(point for line in RESULTS if line["model"] == "x" for point in curve(line, **routing("0.25"))),
    ]
    names = [
        part.alt
        for section in report.sections(RESULTS, with_routing)
        for part in section.parts
        if isinstance(part, report.Picture)
    ]
    assert [name for name in names if "Routing" in name] == [
        "Routing of x on a, 1,000",
        "Routing of x on b, 1,000",
    ]
    assert not any(
        "Routing" in part.alt
        for s in report.sections(RESULTS, CURVES)
        for part in s.parts
        if isinstance(part, report.Picture)
    )


def test_figures_of_the_routing_by_hand():
    figures = {
        "experts_used": 2.0, "entropy": 0.5, "null_share": 0.0, "best_single": None, "oracle_gap": None,
        "missed": None, "n_replaced": 3,
    }  # fmt: skip
    lines = [
        {**line, "routing": {**figures, "experts_used": 2.0 * (1 + i % 2)}} if line["model"] == "x" else line
        for i, line in enumerate(RESULTS)
    ]
    (section,) = [s for s in report.sections(lines, []) if s.title == "Routing"]
    grids = [part for part in section.parts if isinstance(part, report.Grid)]
    assert [grid.heading[0] for grid in grids] == ["a, 1,000", "b, 1,000"]
    used = [
        line["routing"]["experts_used"] for line in lines if line["model"] == "x" and line["stream"] == "a"
    ]
    (cells,) = [[text for text, _ in row] for row in grids[0].rows]
    spread = f" ± {np.std(used, ddof=1):.2f}" if len(used) > 1 else ""
    assert cells[0] == "x"
    assert cells[2] == f"{np.mean(used):.2f}{spread}"
    assert cells[5:8] == [report.NOTHING] * 3
    assert not any(s.title == "Routing" for s in report.sections(RESULTS, []))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for stream in "ab":
        kept = ResultFolder(folder / stream)
        for line in RESULTS:
            if line["stream"] == stream:
                kept.add(line, curve(line))
    results, curves = read_results(folder)
    assert len(results) == len(RESULTS)
    assert len(curves) == len(CURVES)
    report.write(report.sections(results, curves), folder, title="x < y & z")
    return folder


def test_the_command_compares_the_models_asked_for_in_their_order_and_names_failures(written, tmp_path):
    (written / "failed").mkdir()
    (written / "failed" / "y.txt").write_text(
        "y on c, seed 1\nRun(...)\n\nTraceback\nMemoryError: all gone\n"
    )
    arguments = ["report", str(written), "--out", str(tmp_path), "-m", "y", "-m", "x"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| stream | y | x |" in text
    assert "y on c, seed 1: failed, MemoryError: all gone (failed/y.txt)." in text
    shutil.rmtree(written / "failed")
    refused = CliRunner().invoke(app, [*arguments, "-m", "nosuch"])
    assert refused.exit_code == 2
    assert "no result of model 'nosuch'; there are: x, y, z" in " ".join(refused.output.split())


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
    assert any("kappa-temporal knows the label before" in part for part in texts)
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


def test_a_dollar_in_a_name_is_a_dollar():
    """matplotlib would read what follows as a formula."""
    lines = [
        result(stream, model, 1, 0.5 + i / 10)
        for stream in ("a$\\x_$.csv", "b")
        for i, model in enumerate(("m$^$", "y", "z"))
    ]
    curves = [point for line in lines for point in curve(line, **routing("0.25"))]
    pictures = [p for s in report.sections(lines, curves) for p in s.parts if isinstance(p, report.Picture)]
    assert len(pictures) == 2 + 2 * (1 + 3)  # ranks and time; of each stream its curve and three routings


def test_long_names_leave_the_curves_their_room_and_no_two_lines_look_alike():
    models = [f"driftmoe(extras=('neighbours', 'history', 'linear'), n_experts={n})" for n in range(14)]
    curves = [point for model in models for point in curve(result("a", model, 1, 0.5))]
    figure = report.windows_figure(curves, title="a")
    figure.draw_without_rendering()
    assert figure.axes[0].bbox.width > 0.8 * figure.bbox.width
    lines = [line for line in figure.axes[0].get_lines() if line.get_label() in models]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 14


def test_names_that_mean_something_in_markdown_or_as_files_are_kept_apart():
    figure = report.windows_figure(curve(result("a", "x", 1, 0.5)), title="a")
    pictures = [
        figures.as_picture(f"curve_{name}", name, figure)
        for name in ("数据", "データ", "a-b", "a b", "x" * 300)
    ]
    assert len({picture.name for picture in pictures}) == 5
    assert all(len(picture.name) < 80 for picture in pictures)
    grid = report.Grid(["stream", "a*b"], [[("<script>alert(1)</script>", False), ("1.5*", True)]])
    section = report.Section("a < b", ["See `p_<*>.csv`: p > 0.05 *, [a](b) _c_ d_e", grid])
    text = report.markdown([section], title="<b>", pictures="")
    assert "# &lt;b&gt;" in text
    assert "See \\`p\\_&lt;\\*&gt;.csv\\`: p &gt; 0.05 \\*, \\[a\\](b) \\_c\\_ d_e" in text
    assert "| &lt;script&gt;alert(1)&lt;/script&gt; | **1.5\\*** |" in text
    assert "<td><b>1.5*</b></td>" in report.page([section], title="")


def test_one_file_of_lines_is_reported_below_runs(written, tmp_path, monkeypatch):
    lines = shutil.copy(written / "a" / "results.jsonl", tmp_path / "study.jsonl")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["report", str(lines)]).exit_code == 0
    text = (tmp_path / "runs" / "study" / "report.md").read_text(encoding="utf-8")
    assert "| a, 1,000 | **75.00 ± 7.07** |" in text
    assert "| b, 1,000 |" not in text


class Page(html.parser.HTMLParser):
    """Collects what the page refers to, and checks that tags close."""

    def __init__(self):
        super().__init__()
        self.sources, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_but_itself(written):
    page = Page()
    page.feed((written / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert len(page.sources) == 4  # the diagram, time, and the curves of two streams
    for source in page.sources:
        head, data = source.split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "x < y & z" in page.text
    assert "75.00 ± 7.07" in page.text


def test_the_markdown_holds_the_same_tables_and_its_pictures_exist(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "| a, 1,000 | **75.00 ± 7.07** | 60.00 ± 0.00 | 51.00 ± 1.41 |" in text
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) == 4
    for picture in pictures:
        assert (written / picture).read_bytes().startswith(b"\x89PNG")


def test_the_page_opens_in_a_browser(written, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine: the page was checked as text only")
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--window-size=1300,3000",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={picture}",
            f"file://{written / 'report.html'}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert picture.exists(), done.stderr
    import matplotlib.image

    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[:2] == (3000, 1300)
    # The lower half shows pictures: an unstyled or empty page has hardly any coloured pixels there.
    colourful = np.ptp(pixels[1500:, :, :3], axis=2) > 0.3
    assert colourful.mean() > 1e-4


def test_a_folder_without_results_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match=r"holds no results; run"):
        read_results(tmp_path)


def test_what_is_being_written_is_not_read(written, tmp_path):
    shutil.copytree(written / "a", tmp_path / "a")
    shutil.copytree(written / "b", tmp_path / ".b")
    results, _ = read_results(tmp_path)
    assert {line["stream"] for line in results} == {"a"}


@pytest.mark.parametrize(
    "text", ["`a`` <script>b", "```<script>`", "`a\n\n<script>`", "`<script>`", "<script>"]
)
def test_no_backtick_lets_html_through_in_markdown(text):
    sections = [report.Section(text, [text])]
    assert "<script" not in report.markdown(sections, title=text, pictures="p")


def test_code_in_a_paragraph_stays_code_in_markdown():
    sections = [report.Section("a", ["see `driftmoe grid --out` & more"])]
    assert "see `driftmoe grid --out` &amp; more" in report.markdown(sections, title="t", pictures="p")


# Disks that are full or cannot be written


LIMITED = """
import resource, sys
from driftmoe.cli import main
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
main()
"""


def limited(folder, size, *arguments):
    """Run a command whose files cannot grow beyond `size` bytes."""
    pytest.importorskip("resource")
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


REPORT_LOST = "the report is lost; results, and a report from before, are as they were"
PICTURE_LOST = "the picture is lost; results, and a picture from before, are as they were"
TOO_LARGE = f"[Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}"


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_report_that_the_disk_cannot_hold_ends_with_one_line_and_leaves_the_old_one(written, tmp_path):
    out = tmp_path / "out"
    report.write([], out, title="old")
    before = contents(out)
    for size, name in ((2_000, r"report_files/\w+\.png"), (60_000, r"report\.html")):
        done = limited(tmp_path, size, "report", written, "--out", "out")
        assert done.returncode == 2
        assert re.fullmatch(
            rf"driftmoe: {re.escape(f'{TOO_LARGE}; {REPORT_LOST}')}: 'out/{name}'\n", done.stderr
        )
        assert contents(out) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_whatever_fails_at_whichever_step_every_file_of_a_report_is_whole(
    written, tmp_path, monkeypatch, number
):
    """Each system call in turn fails, until none is left to fail."""
    parts = report.sections(*read_results(written))
    report.write(parts, tmp_path / "new", title="t")
    new = contents(tmp_path / "new")
    n_failures = 0
    for k in range(200):
        out, calls, told = tmp_path / str(k), [], None
        report.write([], out, title="old")
        old = contents(out)

        def counted(name, calls=calls, k=k):
            real = getattr(os, name)

            def call(*args, **options):
                calls.append(name)
                if len(calls) == k + 1:
                    raise OSError(number, os.strerror(number))
                return real(*args, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("mkdir", "fsync", "replace"):
                patch.setattr(os, name, counted(name))
            try:
                report.write(parts, out, title="t")
            except OSError as error:
                told = error
        found = {path: data for path, data in contents(out).items() if data != new.get(path)}
        assert found.items() <= old.items()
        if len(calls) <= k:
            break
        if told is None:  # the folder was there: that it could not be made is no fault
            assert contents(out) == new
            continue
        n_failures += 1
        assert told.errno == number
        assert REPORT_LOST in str(told)
        assert str(told.filename).startswith(str(out / "report"))
    assert n_failures >= 2 * len(new)
    assert contents(out) == new


def test_a_picture_that_the_disk_cannot_hold_leaves_the_results_and_the_old_picture(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sea_a.png").write_text("old")
    done = limited(tmp_path, 20_000, "evaluate", "sea_a", "-m", "nochange", "--limit", "500", "--out", "out")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"driftmoe: {TOO_LARGE}; {PICTURE_LOST}: 'out/sea_a.png'"
    assert "Traceback" not in done.stderr
    assert [line["model"] for line in read_results(tmp_path / "out")[0]] == ["nochange"]
    assert (tmp_path / "out" / "sea_a.png").read_text() == "old"
    assert not list((tmp_path / "out").glob(".driftmoe-part-*"))


def test_a_picture_of_a_stream_that_cannot_be_written_is_told_of_with_the_file(tmp_path):
    (tmp_path / "sea.png").write_text("old")
    done = limited(tmp_path, 20_000, "streams", "plot", "sea_a", "--limit", "500", "--out", "sea.png")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"driftmoe: {TOO_LARGE}; {PICTURE_LOST}: 'sea.png'"
    assert os.listdir(tmp_path) == ["sea.png"]
    assert (tmp_path / "sea.png").read_text() == "old"
    done = limited(
        tmp_path, 20_000_000, "streams", "plot", "sea_a", "--limit", "500", "--out", "none/sea.png"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"{PICTURE_LOST}: 'none/sea.png'")


@pytest.mark.parametrize(("name", "start"), [("a.PDF", b"%PDF"), ("a.svg", b"<?xml"), ("a", b"\x89PNG")])
def test_a_picture_has_the_format_that_its_name_says(tmp_path, name, start):
    figure = report.windows_figure(curve(RESULTS[0]), title="t")
    report.save_figure(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ValueError, match="Format 'xls' is not supported"):
        report.save_figure(figure, tmp_path / "a.xls")
    assert os.listdir(tmp_path) == [name]
