"""Reports: tables, costs, routing, and the command that writes them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner
from written_results import CURVES, RESULTS, curve, result, text_of

from driftmoe import report
from driftmoe.cli import app
from driftmoe.experiment import KEY, read_results


def rows_of(grid):
    """Rows of a grid by their first cell: texts, bold ones in stars."""
    return {row[0][0]: [f"*{text}*" if bold else text for text, bold in row[1:]] for row in grid.rows}


def accuracy_rows(results):
    (section,) = [s for s in report.sections(results, []) if s.title == "Accuracy"]
    return rows_of(section.parts[0])


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
    assert "b, 1,000: no result of z, so left out of all means, ranks and tests." in text_of(
        parts, "What was compared"
    )
    assert "Not tested: 1 stream has a result of every one of 3 models" in text_of(
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
    assert any(
        "a, 1,000, labels 1,000 samples late, warm-up counted" in name for name in names
    )  # as in old lines
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
        "a, 1,000", "a, 1,000, labels 10 samples late", "a, 1,000, labels 10 samples late, warm-up counted",
        "a, 1,000, warm-up counted",
    ]  # fmt: skip
    text = text_of(report.sections(lines, []), "What was compared")
    assert (
        "know their class: the first sample if labels are not delayed; 11 of a, 1,000, labels 10 samples late."
        in text
    )
    assert "In 3 of 5 runs they count, because they are from an older version" in text
    assert "runs they count" not in text_of(report.sections([at_once], []), "What was compared")
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
    measured = {**RESULTS[0], "metrics": {"log_loss": 0.1, "brier": 0.2}}
    for later, told in (({"brier": 0.2}, ", which did not measure log_loss."), (measured["metrics"], ".")):
        lines = [measured, {**RESULTS[0], "metrics": later}, *RESULTS[1:]]
        notes = text_of(report.sections(lines, []), "What was compared")
        assert f"x on a, seed 1, 1,000 samples: done more than once, the last one counts{told}" in notes
    with pytest.raises(ValueError, match="no run is complete"):
        report.sections([{**RESULTS[0], "complete": False}], [])


def test_lines_without_parameters_are_told_apart_by_their_model():
    bare = [{name: value for name, value in line.items() if name != "parameters"} for line in RESULTS]
    for lines, told in ((RESULTS, "depth=3"), (bare, "not recorded")):
        (part,) = (s for s in report.sections(lines, []) if s.title == "Reproducibility")
        grid = next(p for p in part.parts if isinstance(p, report.Grid) and p.heading[0] == "model")
        assert [[cell for cell, _ in row] for row in grid.rows] == [[m, told] for m in "xyz"]


def test_a_model_whose_code_was_changed_is_a_model_for_each_code():
    def line(stream, seed, code, accuracy):
        parameters = {"depth": 3, "inner": ["Tree", {"seed": seed}], "seed": seed, "code_sha256": 8 * code}
        return result(stream, "m:Own", seed, accuracy, parameters=parameters)

    same = [line("a", seed, "5", 0.8 + seed / 100) for seed in (1, 2, 3)]
    mixed = [line("a", 1, "7", 0.3), *same[1:], result("a", "y", 1, 0.5)]
    points = [point for one in mixed for point in curve(one)]
    sections = report.sections(mixed, points)
    told = "m:Own: its code was changed between runs, so that each code is a model of its own."
    assert told in text_of(sections, "What was compared")
    (grid,) = next(s.parts for s in sections if s.title == "Accuracy")
    assert grid.heading == ["stream", "m:Own (code 77777777)", "m:Own (code 55555555)", "y"]
    assert rows_of(grid)["a, 1,000"][:2] == ["30.00 (1 of 2 seeds)", "*82.50 ± 0.71*"]
    (picture,) = [
        part
        for s in sections
        for part in s.parts
        if isinstance(part, report.Picture) and "windows" in part.alt
    ]
    assert "m:Own (code 77777777) 30.0 in the first window" in picture.alt
    assert "m:Own (code 55555555) 82.5 in the first window" in picture.alt
    commands = [part.text for s in sections for part in s.parts if isinstance(part, report.Command)]
    assert all("-m m:Own --" in command or "-m y" in command for command in commands)
    assert "code was changed" not in text_of(report.sections(same, []), "What was compared")


def test_a_model_whose_parameters_differ_between_runs_is_named():
    newer = {**RESULTS[1], "parameters": {"depth": 4, "min_awake": 2, "seed": 2}}
    told = (
        "x: the parameters of its runs differ (depth, min_awake), so that its figures may be means over "
        "different models."
    )
    texts = text_of(report.sections([RESULTS[0], newer, *RESULTS[2:]], []), "What was compared")
    assert told in texts
    assert "parameters of its runs" not in text_of(report.sections(RESULTS, []), "What was compared")


def test_other_lengths_and_other_data_are_rows_of_their_own():
    longer = result("a", "x", 1, 0.5, n_samples=2000)
    assert list(accuracy_rows([*RESULTS, longer]))[:3] == ["a, 1,000", "b, 1,000", "a, 2,000"]
    other_target = result("a", "x", 1, 0.5, stream_sha256="0123456789")
    assert "a, 1,000, data 01234567" in accuracy_rows([*RESULTS, other_target])


def test_failures_are_named():
    assert "y on b, seed 3 failed" in text_of(
        report.sections(RESULTS, [], ["y on b, seed 3 failed"]), "What was compared"
    )


def test_time_and_memory_by_hand():
    (section,) = [s for s in report.sections(RESULTS, []) if s.title == "Time and memory"]
    grid = next(part for part in section.parts if isinstance(part, report.Grid))
    # 3 s of a core at 10 W for 1,000 samples are 30,000 J = 8.33 Wh for a million
    # 500 samples a second are 2,000 µs each, 3 s for 1,000 are 3,000; 4 MB for 2 s are 0.008 / 3600 GB·h
    assert rows_of(grid)["x"] == ["83.00", "2,000.0", "3,000.0", "2.0", "4.00", "2.22e-06", "8.33"]


def test_energy_is_shown_as_measured_where_it_was():
    lines = [{**line, "package_joules": 7.2} for line in RESULTS]
    (section,) = [s for s in report.sections(lines, []) if s.title == "Time and memory"]
    grid = next(part for part in section.parts if isinstance(part, report.Grid))
    assert grid.heading[-1] == "Wh per million samples (measured)"
    assert rows_of(grid)["x"][-1] == "2"  # 7.2 J for 1,000 samples are 7,200 J = 2 Wh for a million
    assert "by their own counters (RAPL)" in text_of([section], "Time")
    assert "RAPL" not in text_of(report.sections(RESULTS, []), "Time")


def test_a_cost_that_some_runs_of_a_model_lack_is_no_mean_over_the_others():
    """y was resumed on one stream, where both take more; its mean would be over the other stream alone."""
    lines = [
        result(stream, model, 1, 0.5, package_joules=joules)
        for stream, joules in (("a", 100.0), ("b", 1000.0))
        for model in "xy"
    ]
    del lines[-1]["package_joules"]
    del lines[0]["cpu_seconds"]
    lines.append(result("of x alone", "x", 1, 0.5))  # in no mean, so that it may lack what it likes
    (section,) = [s for s in report.sections(lines, []) if s.title == "Time and memory"]
    grid = next(part for part in section.parts if isinstance(part, report.Grid))
    cells = {model: dict(zip(grid.heading[1:], row, strict=True)) for model, row in rows_of(grid).items()}
    measured, processor = "Wh per million samples (measured)", "processor µs"
    assert cells["x"][measured] == "153"  # 550 J for 1,000 samples
    assert cells["y"][measured] == cells["x"][processor] == report.NOTHING
    assert cells["y"][processor] == "3,000.0"
    told = "not every run of the model has the figure"
    assert told in text_of([section], "Time")
    assert told not in text_of(report.sections(RESULTS, []), "Time")
    # one of two seeds is not enough, either
    seeds = [result("a", "x", seed, 0.5, ram_hours=seed) for seed in (1, 2)]
    del seeds[0]["ram_hours"]
    (section,) = [s for s in report.sections(seeds, []) if s.title == "Time and memory"]
    assert rows_of(next(p for p in section.parts if isinstance(p, report.Grid)))["x"][5] == report.NOTHING


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
    (section,) = [s for s in report.sections([x1, x2, y], curves) if s.title == "Recovery after drifts"]
    lost, mistakes, samples = (rows_of(p)["a, 1,000"] for p in section.parts if isinstance(p, report.Grid))
    assert lost == ["30.00", "*0.00*"]
    assert mistakes == ["40", "*0*"]
    assert samples == ["200 (1 of 2)", "*100*"]
    quiet = [result("a", "x", 1, 0.9, drifts=[])]
    assert "No stream has a known drift" in text_of(report.sections(quiet, curves), "Recovery after drifts")


def test_windows_of_different_lengths_are_not_averaged():
    """A window of 100 and one of 200 end at 200, and are means of other samples."""
    drifts = [[400, 1]]
    short = [result("a", model, 1, 0.9, window=100, drifts=drifts) for model in "xy"]
    long = [result("a", "x", seed, 0.9, window=200, drifts=drifts) for seed in (2, 3)]
    long.append(result("a", "z", 1, 0.9, window=200, drifts=drifts))
    points = [point for line in short for point in points_with(line, [0.9, 0.9, 0.9, 0.9, 0.5, 0.9])]
    for line in long:
        points += [{**point, "n_samples": 2 * point["n_samples"]} for point in points_with(line, [0.7] * 3)]
    sections = {section.title: section.parts for section in report.sections([*short, *long], points)}
    told = (
        "a, 1,000: the windows of its runs have different lengths, of which one is taken, 200 samples. Left out: x, "
        "seed 1 (100); y, seed 1 (100)."
    )
    curves, recovery = sections["Accuracy over time"], sections["Recovery after drifts"]
    assert told in curves
    assert told in recovery
    (picture,) = [part for part in curves if isinstance(part, report.Picture)]
    assert "x 70.0 in the first window, 70.0 in the last, between 70.0 and 70.0; z 70.0" in picture.alt
    assert "; y " not in picture.alt
    (lost, *_) = [part for part in recovery if isinstance(part, report.Grid)]
    assert rows_of(lost) == {"a, 1,000": ["*0.00*", report.NOTHING, "*0.00*"]}
    alike = {section.title: section.parts for section in report.sections(long, points)}
    assert not any("different lengths" in str(part) for part in alike["Accuracy over time"])


def routing(value):
    names = "experts_used", "entropy", "n_replaced", "weight_tree 1"
    return {f"routing_{name}": value for name in names}


def test_routing_is_drawn_where_it_was_recorded():
    with_routing = [
        *(point for line in RESULTS if line["model"] != "x" for point in curve(line, **routing(""))),
        *(point for line in RESULTS if line["model"] == "x" for point in curve(line, **routing("0.25"))),
    ]
    pictures = [
        part
        for section in report.sections(RESULTS, with_routing)
        for part in section.parts
        if isinstance(part, report.Picture) and "Routing" in part.alt
    ]
    words = "tree 1 100 % of the vote in the first window and 100 % in the last"
    assert [picture.alt for picture in pictures] == [
        f"Routing of x on {row}. x: {words}, experts used between 0.25 and 0.25, entropy between 0.25 and "
        "0.25, trees replaced between 0.25 and 0.25."
        for row in ("a, 1,000", "b, 1,000")
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
    refused = CliRunner().invoke(app, [*arguments, "-m", "nosuch", "--force"])
    assert refused.exit_code == 2
    assert "no result of model 'nosuch'; there are x, y, z" in " ".join(refused.output.split())


def test_a_dollar_in_a_name_is_a_dollar():
    """matplotlib would read what follows as a formula."""
    lines = [
        result(stream, model, 1, 0.5 + i / 10)
        for stream in ("a$\\x_$.csv", "b")
        for i, model in enumerate(("m$^$", "y", "z"))
    ]
    curves = [point for line in lines for point in curve(line, **routing("0.25"))]
    pictures = [p for s in report.sections(lines, curves) for p in s.parts if isinstance(p, report.Picture)]
    assert len(pictures) == 1 + 2 * (1 + 3)  # time; of each stream its curve and three routings


def test_one_file_of_lines_is_reported_below_runs(written, tmp_path, monkeypatch):
    lines = shutil.copy(written / "a" / "results.jsonl", tmp_path / "study.jsonl")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["report", str(lines)]).exit_code == 0
    text = (tmp_path / "runs" / "study" / "report.md").read_text(encoding="utf-8")
    assert "| a, 1,000 | **75.00 ± 7.07** |" in text
    assert "| b, 1,000 |" not in text


def test_a_folder_without_results_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match=r"holds no results; run"):
        read_results(tmp_path)


def test_what_is_being_written_is_not_read(written, tmp_path):
    shutil.copytree(written / "a", tmp_path / "a")
    shutil.copytree(written / "b", tmp_path / ".b")
    results, _ = read_results(tmp_path)
    assert {line["stream"] for line in results} == {"a"}
