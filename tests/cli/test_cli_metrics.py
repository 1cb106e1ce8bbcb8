"""`--metric` and `--window`: in tables, JSON, files, pictures, grids and the report; and what is refused."""

from __future__ import annotations

import csv
import json

import commands
import pytest

MINE = """
from river import base

class Silent(base.Classifier):
    def learn_one(self, x, y):
        pass
    def predict_one(self, x):
        return 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_metrics_are_in_the_table_in_json_in_windows_in_pictures_and_in_the_report(folder):
    arguments = ["evaluate", "sea_a", "-m", "nb", "-m", "nochange", "--limit", "1000", "--out", "."]
    asked_for = ["--metric", "LogLoss", "--metric", "recall", "--metric", "g_mean", "--metric", "auc"]
    done = commands.driftmoe(*arguments, *asked_for, "--format", "svg", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    nb, nochange = map(json.loads, done.stdout.splitlines())
    names = ["log_loss", "recall:0", "recall:1", "roc_auc"]
    assert list(nb["metrics"]) == names
    assert nb["metrics"]["log_loss"] < nochange["metrics"]["log_loss"]
    assert 0.5 < nb["metrics"]["roc_auc"] < 1.0
    table = done.stderr
    for text in ("log", "loss", "ROC-AUC", "recall", "of 0 %", "of 1 %", f"{nb['metrics']['log_loss']:.4f}"):
        assert text in table
    assert "ROC-AUC: river's approximation by 100 thresholds" in table
    assert max(map(len, table.splitlines()[:-1])) <= 80
    with (folder / "windows.csv").open() as file:
        points = list(csv.DictReader(file))
    assert len(points) == 2 * 10
    assert all(float(point["log_loss"]) >= 0.0 for point in points)
    for name, label in [("sea_a", "log loss"), ("sea_a_recall_1", "recall of 1"), ("sea_a_g_mean", "G-mean")]:
        assert f"{label} in the window" in (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert len(list(folder.glob("*.svg"))) == 5
    assert commands.driftmoe("report", ".", cwd=folder).returncode == 0
    text = (folder / "report.md").read_text()
    for heading in ("## Log loss\n\nlog loss: less is better.", "## Recall of 1, %", "## Log loss over time"):
        assert heading in text
    row = next(line for line in text.split("## Log loss\n")[1].splitlines() if line.startswith("| sea_a"))
    assert f"**{nb['metrics']['log_loss']:.4f}**" in row  # the least is the best
    rank = next(line for line in text.split("## Log loss\n")[1].splitlines() if "mean rank" in line)
    assert rank.split("|")[2:4] == [" **1.00** ", " 2.00 "]
    drawn = ["report", ".", "--force", "--metric", "kappa_m", "--metric", "recall:0"]
    assert commands.driftmoe(*drawn, cwd=folder).returncode == 0
    headings = [
        line for line in (folder / "report.md").read_text().splitlines() if line.endswith("over time")
    ]
    assert headings == ["## Kappa-M over time", "## Recall of 0 over time"]
    refused = commands.driftmoe("report", ".", "--force", "--metric", "brier", cwd=folder)
    assert refused.returncode == 2
    assert "no run has the metric 'brier'" in refused.stderr


def test_a_grid_with_other_metrics_is_another_grid(folder):
    arguments = ["grid", "sea_a", "-m", "nb", "--limit", "400", "--out", "grid", "--json"]
    plain = json.loads(commands.driftmoe(*arguments, cwd=folder).stdout)
    assert "metrics" not in plain
    for _ in range(2):
        with_loss = commands.driftmoe(*arguments, "--metric", "log_loss", cwd=folder)
        line = json.loads(with_loss.stdout)
        assert line["accuracy"] == plain["accuracy"]
        assert list(line["metrics"]) == ["log_loss"]
    assert "1 done (1 before)" in with_loss.stderr
    assert len(list((folder / "grid" / "jobs").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sea_a", "-m", "nb", "--metric", "log_los"], "no metric 'log_los'; did you mean 'log_loss'?"),
        (["led_a", "-m", "nb", "--metric", "auc"], "metric 'auc' is of two classes, and there are 10"),
        (["sea_a", "-m", "nb", "--metric", "recall:yes"], "no class 'yes'; there are 0, 1"),
        (
            ["sea_a", "-m", "mine:Silent", "--metric", "brier"],
            "mine:Silent gives no probabilities, which brier reads",
        ),
        (
            ["sea_a", "-m", "nb", "--metric", "brier", "--checkpoint-every", "100"],
            "--checkpoint-every cannot keep brier; leave out one of the two",
        ),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "grid"])
def test_what_cannot_be_measured_is_refused_before_the_run(folder, command, arguments, message):
    done = commands.driftmoe(command, *arguments, "--limit", "300", "--out", "o", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    labels_only = [word for word in arguments if word != "brier"]
    if labels_only != arguments and "--checkpoint-every" not in arguments:
        at = labels_only.index("--metric") + 1
        done = commands.driftmoe(
            command, *labels_only[:at], "weighted_f1", "--limit", "300", "--out", "o", cwd=folder
        )
        assert done.returncode == 0, done.stderr


def test_a_grid_does_not_mix_windows_silently(folder):
    arguments = ["grid", "sea_a", "--limit", "400", "--out", "grid"]
    assert (
        commands.driftmoe(*arguments, "-m", "nb", "-m", "ht", "--window", "100", cwd=folder).returncode == 0
    )
    same = commands.driftmoe(*arguments, "-m", "nb", "--window", "100", cwd=folder)
    assert "windows of" not in same.stderr
    other = commands.driftmoe(*arguments, "-m", "nb", cwd=folder)
    assert (
        "driftmoe: grid has results of the same runs with windows of 100; these runs are done again, with windows of "
        "40, unless the command is given --window 100\n"
    ) in other.stderr
