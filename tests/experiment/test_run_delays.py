"""Delays of runs as text: read, written in one way, and told in titles and commands."""

from __future__ import annotations

import json

import commands
import pytest

from driftmoe import report
from driftmoe.experiment import ResultFolder, Run, delay_by_time, parsed_delay, read_results, run_key
from driftmoe.report.repeating import commands as repeating


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("1h", "1 hour"), ("1 hour", "1 hour"), ("60 min", "1 hour"), (" 3600 s ", "1 hour"), ("1.0 HOURS", "1 hour"),
        ("1.5 hours", "90 minutes"), ("1.1 hours", "66 minutes"), ("36 h", "36 hours"), ("24 hours", "1 day"),
        ("14 d", "2 weeks"), ("90 s", "90 seconds"), ("0.5 s", "0.5 seconds"), ("0 days", "0 seconds"),
        ("1 s", "1 second"), ("0.000001 s", "0.000001 seconds"), ("1000000 weeks",) * 2,
    ],
)  # fmt: skip
def test_a_time_has_one_text_whatever_its_unit(text, normal):
    delay = delay_by_time(text, "my when")
    assert delay == f"{normal} by my when"
    assert delay_by_time(normal, "my when") == delay
    found, given = parsed_delay(delay), parsed_delay(f"{text} by my when")
    assert (found.column, given.column) == ("my when", "my when")
    assert found.seconds == pytest.approx(given.seconds, rel=1e-12)


def run_with(delay):
    return Run("t.csv", "0", "nb", 1, None, 100, delay)


def test_runs_with_one_delay_in_two_units_are_one_run():
    assert run_with("60 min by when") == run_with("1h by when") == run_with("1 hour by when")
    assert run_with("1h by when") != run_with("1h by then")
    for other in ("0", "300", "10-20", "due", "soon by when", "1h"):
        assert run_with(other).delay == other


def line(delay, **more):
    of_run = vars(run_with(str(delay)))
    return {
        **{name: of_run[name] for name in of_run if name not in ("label_order", "shuffle_window")}, "trained": None,
        "metrics": {}, "n_samples": 1000, "complete": True, "drifts": [], "accuracy": 0.5,
        "samples_per_second": 1.0, "seconds": 1.0, "model_bytes": 1, "delay": delay, **more,
    }  # fmt: skip


def test_lines_and_curves_of_older_versions_are_those_of_the_same_run(tmp_path):
    old = [line("60 min by when"), line("0"), line(0, seed=2)]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in old))
    point = {name: old[0][name] for name in ("stream", "stream_sha256", "model", "seed", "window", "delay")}
    point |= {"limit": "", "count_warm_up": "False", "n_samples": "100", "accuracy": "0.5"}
    (tmp_path / "windows.csv").write_text(",".join(point) + "\n" + ",".join(map(str, point.values())) + "\n")
    results, (point,) = read_results(tmp_path)
    assert [one["delay"] for one in results] == ["1 hour by when", "0", 0]
    key = run_key(vars(run_with("1h by when")))
    assert run_key(results[0]) == run_key(point) == key
    ResultFolder(tmp_path).add(line("1 hour by when", accuracy=0.75), [])
    assert [one["accuracy"] for one in read_results(tmp_path)[0] if run_key(one) == key] == [0.75]


@pytest.mark.parametrize(
    ("delay", "told", "options"),
    [
        ("0", "", []),
        ("1", ", labels 1 sample late", ["--delay", "1"]),
        ("2000", ", labels 2,000 samples late", ["--delay", "2000"]),
        ("100-2000", ", labels 100 to 2,000 samples late", ["--delay", "100-2000"]),
        ("due", ", labels `due` samples late", ["--delay", "due"]),
        ("1 hour by when", ", labels 1 hour late (by `when`)", ["--delay", "'1 hour'", "--time", "when"]),
        ("90 minutes by my when", ", labels 90 minutes late (by `my when`)",
         ["--delay", "'90 minutes'", "--time", "'my when'"]),
    ],
)  # fmt: skip
def test_titles_and_commands_say_how_late_labels_are(delay, told, options):
    assert report.lateness({"delay": delay}) == told
    (command,) = repeating([line(delay)])
    assert command.text == " ".join(["driftmoe evaluate t.csv --window 100", *options, "-m nb --seed 1"])


def test_one_delay_in_two_units_is_one_run_of_a_folder(tmp_path):
    rows = [f"{i},{3600 * i},{'ab'[i // 40 % 2]}" for i in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["x,when,y", *rows]) + "\n")
    arguments = ["evaluate", "t.csv", "--target", "y", "-m", "nochange", "--time", "when", "--out", "out"]
    first = commands.driftmoe(*arguments, "--delay", "1h", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "labels 1 hour late (by `when`)" in " ".join(first.stdout.split())
    again = commands.driftmoe(*arguments, "--delay", "60 min", cwd=tmp_path)
    assert again.returncode == 2
    assert "out has a result of nochange, seed 1 on t.csv already" in again.stderr
    (result,), _ = read_results(tmp_path / "out")
    assert result["delay"] == "1 hour by when"
    assert [file.name for file in (tmp_path / "out").glob("*.png")] == [
        "t_class_y_labels_1_hour_late_by_when.png"
    ]
