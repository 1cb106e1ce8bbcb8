"""What is behind the figures of a report: the command that repeats them, parameters, classes and columns."""

from __future__ import annotations

import shlex

import pandas as pd
import pytest
from typer.testing import CliRunner
from written_results import RESULTS, result

from driftmoe import report
from driftmoe.cli import app
from driftmoe.experiment import KEY, read_results
from driftmoe.report.provenance import in_words
from driftmoe.report.repeating import commands


def test_one_command_repeats_the_runs_of_a_stream():
    assert [command.text for command in commands(RESULTS)] == [
        f"driftmoe evaluate {stream} --limit 1000 --window 500 -m x -m y -m z --seed 1 --seed 2"
        for stream in "ab"
    ]
    others = [
        result(
            "my file.csv",
            "arf(n_models=3)",
            1,
            0.5,
            reading={"target": "y", "drop": ["id", "t"], "header": False},
        ),
        result("a", "m.moe@0123", 1, 0.5, limit=None, delay="100-200", count_warm_up=True),
        result("a", "x", 1, 0.5),
        result("a", "y", 2, 0.5),
    ]
    assert [command.text for command in commands(others)] == [
        "driftmoe evaluate 'my file.csv' --limit 1000 --window 500 --target y --drop id --drop t --no-header "
        "-m 'arf(n_models=3)' --seed 1",
        "driftmoe evaluate a --window 500 --delay 100-200 --count-warm-up --load m.moe --seed 1",
        "driftmoe evaluate a --limit 1000 --window 500 -m x --seed 1",
        "driftmoe evaluate a --limit 1000 --window 500 -m y --seed 2",
    ]


def test_the_command_of_a_report_does_the_same_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i % 7},{i},{'ab'[i % 3 == 0]}\n" for i in range(300))
    (tmp_path / "d.csv").write_text("x,id,label\n" + rows)
    first = ["evaluate", "d.csv", "-m", "nochange", "--drop", "id", "--target", "label", "--out", "one"]
    first += ["--metric", "recall:a", "--metric", "f_beta(beta=2):b"]
    assert CliRunner().invoke(app, first).exit_code == 0
    (line,), _ = read_results(tmp_path / "one")
    (command,) = commands([line])
    assert CliRunner().invoke(app, [*shlex.split(command.text)[1:], "--out", "two"]).exit_code == 0
    (again,), _ = read_results(tmp_path / "two")
    names = (*KEY, "accuracy", "metrics")
    assert {name: again[name] for name in names} == {name: line[name] for name in names}
    sections = {section.title: section.parts for section in report.sections([line], [])}
    grid = [part for part in sections["Reproducibility"] if isinstance(part, report.Grid)][-1]
    cells = dict(zip(grid.heading, [text for text, _ in grid.rows[0]], strict=True))
    assert (cells["class column"], cells["columns left out"]) == ("label", "id")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"a": None, "b": [1, 2], "c": "x"}, "a=None, b=[1, 2], c='x'"),
        ({"metric": ["Accuracy", {"cm": ["ConfusionMatrix", {}]}]}, "metric=Accuracy(cm=ConfusionMatrix())"),
        ({"model": ["ADWINBagging", {"n": 3}], "seed": 1}, "model=ADWINBagging(n=3), seed=1"),
    ],
)
def test_parameters_are_written_as_in_python(parameters, told):
    assert in_words(parameters) == told


def test_the_frontier_has_the_models_that_no_other_beats():
    accuracy = [0.3, 0.9, 0.5, 0.7, 0.9, 0.2, 0.6]
    mean = pd.DataFrame(
        {"accuracy": accuracy, "time": [5.0, 9.0, 3.0, 3.0, 8.0, 1.0, 7.0]}, index=list("abcdefg")
    )
    beaten = {
        one
        for one in mean.index
        for other in mean.index
        if (mean.loc[other, "accuracy"] >= mean.loc[one, "accuracy"])
        and (mean.loc[other, "time"] <= mean.loc[one, "time"])
        and (mean.loc[other] != mean.loc[one]).any()
    }
    assert report.frontier(mean, "time") == ["f", "d", "e"]
    assert set(mean.index) - beaten == {"f", "d", "e"}
