"""Runs in which only a share of the labels comes, and that are never mixed with those in which all do."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from driftmoe import models, report
from driftmoe.cli.command import app
from driftmoe.evaluation import prequential
from driftmoe.experiment import CheckpointFolder, Run, order_protocol, planned, read_results, run_job, run_key
from driftmoe.report.label_order import order_of
from driftmoe.report.repeating import commands
from streams.opening import open_stream


@pytest.fixture
def file(tmp_path):
    """A file whose only feature says the label."""
    path = tmp_path / "told.csv"
    path.write_text("x,label\n" + "".join(f"{i * 7919 % 5},{i * 7919 % 5}\n" for i in range(800)))
    return path


def evaluated(file, *arguments):
    done = CliRunner().invoke(
        app, ["evaluate", str(file), "--out", str(file.parent / "runs"), "-q", *arguments]
    )
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("share", "told"),
    [(1, ""), (1.0, ""), (0.1, "10 % of labels come"), (0.125, "12.5 % of labels come"),
     (0.005, "0.5 % of labels come"), (0.1000001, "10.00001 % of labels come"), (0.999, "99.9 % of labels come")],
)  # fmt: skip
def test_a_run_says_which_share_of_labels_comes(share, told):
    run = Run("s", "0", "ht", 1, None, 100, label_share=share)
    assert order_protocol(vars(run)) == told


def test_runs_with_another_share_are_other_runs():
    run = Run("s", "0", "ht", 1, None, 100)
    others = [replace(run, label_share=share) for share in (0.1, 0.2, 0.2000001)]
    others.append(replace(run, label_share=0.1, shuffle_window=50))
    assert len({run_key(vars(one)) for one in (run, *others)}) == 5
    assert len({one.file_stem() for one in (run, *others)}) == 5
    assert order_protocol(vars(others[-1])) == "10 % of labels come, shuffled in windows of 50"
    for nothing in ({"label_share": ""}, {"label_share": None}, {"label_share": 1.0}):
        assert run_key({**vars(run), **nothing}) == run_key(vars(run))
    assert run_key({**vars(run), "label_share": "0.1"}) == run_key(vars(others[0]))  # as a curve has it


@pytest.mark.parametrize("share", [0, -1, 1.5, "0.1", True])
def test_what_is_no_share_is_refused_before_anything_begins(share):
    with pytest.raises(ValueError, match=r"label_share=.*; choose the share of the samples"):
        Run("s", "0", "ht", 1, None, 100, label_share=share)
    with pytest.raises(ValueError, match=r"label_share=.*; choose the share of the samples"):
        planned(["no such stream"], ["ht"], [1], open_stream, limit=None, label_share=share)


def test_a_grid_plans_it_and_its_figures_are_those_of_prequential():
    (run,) = planned(["sea_a"], ["ht"], [3], open_stream, limit=600, window=100, delay="5", label_share=0.2)
    line, curve = run_job(run, stream := open_stream("sea_a", limit=600, seed=3))
    assert line["label_share"] == {point["label_share"] for point in curve}.pop() == 0.2
    model = models.make("ht", seed=3)
    *_, last = prequential(stream, model, window=100, delay=5, label_share=0.2, seed=3)
    assert (line["accuracy"], line["n_warm_up"]) == (last.cumulative["accuracy"], last.n_warm_up)
    (run,) = planned(["sea_a"], ["ht"], [3], open_stream, limit=600, window=100)
    line, curve = run_job(run, stream)
    assert "label_share" not in line
    assert "label_share" not in curve[0]


def test_a_command_keeps_shares_apart(file):
    for share, told in (
        ("1", "test-then-train"),
        ("0.1", "10 % of labels come"),
        ("0.4", "40 % of labels come"),
    ):
        shown = evaluated(file, "-m", "ht", "--label-share", share, "--window", "100")
        assert told in shown
        assert ("% of labels come" in shown) == (share != "1")
    lines, points = read_results(file.parent / "runs")
    assert [line.get("label_share") for line in lines] == [None, 0.1, 0.4]
    assert lines[0]["n_warm_up"] == 1
    assert (
        lines[0]["accuracy"] > lines[2]["accuracy"] > lines[1]["accuracy"]
    )  # each label is learnt more often
    assert {run_key(point) for point in points} == {run_key(line) for line in lines}
    with (file.parent / "runs" / "windows.csv").open(newline="") as text:
        assert {row["label_share"] for row in csv.DictReader(text)} == {"", "0.1", "0.4"}
    names = {path.name for path in (file.parent / "runs").glob("*.png")}
    assert names == {"told.png", "told_10_of_labels_come.png", "told_40_of_labels_come.png"}
    again = CliRunner().invoke(
        app, ["evaluate", str(file), "-m", "ht", "--label-share", "0.1", "--window", "100", "--out",
              str(file.parent / "runs")],
    )  # fmt: skip
    assert again.exit_code == 2
    assert "has a result of ht, seed 1" in again.output


def test_a_command_refuses_what_is_no_share(file):
    for command in (["evaluate", str(file)], ["grid", str(file)]):
        done = CliRunner().invoke(app, [*command, "-m", "ht", "--label-share", "0"])
        assert done.exit_code == 2
        assert "--label-share 0.0; choose the share of the samples" in " ".join(done.output.split())


def test_a_run_that_was_stopped_goes_on_with_its_share(tmp_path):
    run = Run("sea_a", "", "moe-data(n_experts=2, hidden=(4,))", 1, 500, 100, label_share=0.3)
    stream = open_stream("sea_a", limit=500, seed=1)
    run = replace(run, stream_sha256=stream.fingerprint())
    whole, _ = run_job(run, stream)
    checkpoints = CheckpointFolder(tmp_path / "checkpoints", 100)
    begun = run.do(stream, checkpoints)
    for _ in range(3):
        next(begun)
    begun.close()
    assert checkpoints.find(run).last.n_samples == 300
    assert checkpoints.find(replace(run, label_share=0.4)) is None
    *_, (line, curve) = run.do(stream, checkpoints)
    assert len(curve) == 5
    assert [line[name] for name in ("accuracy", "model_digest", "label_share")] == [
        whole["accuracy"], whole["model_digest"], 0.3,
    ]  # fmt: skip


def test_reports_tell_and_repeat_it(file):
    evaluated(file, "-m", "ht", "--label-share", "0.25", "--window", "100")
    evaluated(file, "-m", "ht", "--window", "100")
    results, points = read_results(file.parent / "runs")
    some, every = results
    assert report.ordering(some) == ", 25 % of labels come"
    assert ["--label-share 0.25" in command.text for command in commands(results)] == [True, False]
    assert order_of([some]) is None
    assert order_of([every]) is not None
    told = json.dumps([repr(part) for section in report.sections(results, points) for part in section.parts])
    assert "25 % of labels come" in told
    assert "or if not all come" in told
