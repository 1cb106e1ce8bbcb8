"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import commands
import pytest
from places import ENVIRONMENT

import driftmoe
import streams
from driftmoe import models
from driftmoe.experiment import KEY, ResultFolder, read_results
from streams import files

KEYS = [
    "stream",
    "model",
    "seed",
    "n_samples",
    "accuracy",
    "kappa",
    "kappa_m",
    "kappa_t",
    "f1_macro",
    "g_mean",
    "samples_per_second",
    "seconds",
    "cpu_seconds",
    "ram_hours",
    "model_bytes",
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = commands.driftmoe(
        *["evaluate", "led_a", "--limit", "2500"],
        *["--model", "driftmoe(n_experts=4)", "--model", "ht", "--model", "nochange"],
        *["--seed", "1", "--seed", "2", "--window", "1000", "--out", "results"],
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_results_have_a_line_per_model_and_seed(evaluated):
    folder, _ = evaluated
    lines = [json.loads(line) for line in (folder / "results" / "results.jsonl").read_text().splitlines()]
    assert [(line["model"], line["seed"]) for line in lines] == [
        (model, seed) for model in ("driftmoe(n_experts=4)", "ht", "nochange") for seed in (1, 2)
    ]
    for line in lines:
        assert list(line)[: len(KEYS)] == KEYS
        assert line["n_samples"] == 2500
        assert line["complete"] is True
        assert 0.0 <= line["accuracy"] <= 1.0
        assert line["model_bytes"] > 0
        assert line["versions"]["driftmoe"] == driftmoe.__version__
        assert line["drifts"] == [[d.position, d.width] for d in streams.make("led_a", n_samples=2500).drifts]
    assert lines[0]["parameters"]["n_experts"] == 4
    assert lines[0]["stream_sha256"] == lines[2]["stream_sha256"] != lines[1]["stream_sha256"]
    assert 0.3 < lines[2]["accuracy"] < 0.74
    assert lines[0]["accuracy"] > 0.5  # not bounded: concepts so short repeat each other, noise and all
    assert lines[4]["kappa_t"] == 0.0


def test_the_curve_has_a_line_per_window(evaluated):
    folder, _ = evaluated
    with (folder / "results" / "windows.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["n_samples"]) for line in lines[:3]] == [1000, 2000, 2500]
    assert len(lines) == 6 * 3


def test_a_delay_is_one_of_learning_alone(tmp_path):
    """Each sample is predicted by what the labels say that have come when it arrives: all but the last 1000."""
    stream = streams.make("led_a", seed=1, n_samples=3000)
    model, rows, hits = models.make("ht"), list(stream), []
    for i, (x, y) in enumerate(rows):
        hits.append(model.predict_one(x) == y)
        if i >= 1000:
            model.learn_one(*rows[i - 1000])
    for delay in ("0", "1000"):
        done = commands.driftmoe(
            *["evaluate", "led_a", "-m", "ht", "--limit", "3000", "--delay", delay, "--out", delay],
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    title = "led_a, 3,000 samples, test-then-train, labels 1000 late, first 1,001 samples not counted"
    assert title in done.stdout
    assert (tmp_path / "1000" / "led_a_labels_1000_late.png").exists()
    at_once, late = (
        [
            float(line["accuracy"])
            for line in csv.DictReader((tmp_path / delay / "windows.csv").read_text().splitlines())
        ]
        for delay in ("0", "1000")
    )
    # no label has come before sample 1001: the first window has no figure, the second begins with that sample
    assert late == pytest.approx([sum(hits[1001:2000]) / 999, sum(hits[2000:3000]) / 1000])
    assert len(at_once) == 3
    line = json.loads((tmp_path / "1000" / "results.jsonl").read_text())
    assert (line["n_samples"], line["n_warm_up"], line["count_warm_up"]) == (3000, 1001, False)
    assert line["accuracy"] == pytest.approx(sum(hits[1001:]) / 1999)
    options = ["--delay", "1000", "--count-warm-up", "--out", "1000"]
    counted = commands.driftmoe("evaluate", "led_a", "-m", "ht", "--limit", "3000", *options, cwd=tmp_path)
    assert "labels 1000 late, warm-up counted" in counted.stdout
    left_out, counted = map(json.loads, (tmp_path / "1000" / "results.jsonl").read_text().splitlines())
    assert left_out["accuracy"] == line["accuracy"]  # the two are different runs
    assert counted["accuracy"] == pytest.approx(sum(hits) / 3000)
    too_late = ["--limit", "900", "--delay", "1000", "--out", "late"]
    refused = commands.driftmoe("evaluate", "led_a", "-m", "ht", *too_late, cwd=tmp_path)
    assert refused.returncode == 2
    assert "all 900 samples were predicted before the first label came" in refused.stderr
    assert not (tmp_path / "late" / "results.jsonl").exists()


def test_a_grid_reads_files_as_told_and_streams_by_their_names(tmp_path):
    rows = "".join(f"{i % 7};{i};{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "few.csv").write_text("x;id;kind\n" + rows + "1;2;\n")
    arguments = [
        "-m",
        "nochange",
        "--limit",
        "30",
        "--executor",
        "serial",
        "--target",
        "kind",
        "--drop",
        "id",
    ]
    arguments += ["--delimiter", ";", "--nominal", "x", "--on-bad-row", "skip"]
    done = commands.driftmoe("grid", "few.csv", "sea_a", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results, _ = read_results(tmp_path / "runs" / "grid")
    assert sorted((line["stream"], line["n_samples"]) for line in results) == [("few.csv", 30), ("sea_a", 30)]
    of_file = next(line for line in results if line["stream"] == "few.csv")
    alike = files.open_file(
        tmp_path / "few.csv",
        "kind",
        n_samples=30,
        drop=["id"],
        delimiter=";",
        nominal=["x"],
        on_bad_row="skip",
    )
    assert of_file["stream_sha256"] == alike.fingerprint()
    refused = commands.driftmoe("grid", "sea_a", *arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert "sea_a is no file" in " ".join(refused.stderr.split())


def test_the_picture_is_a_png(evaluated):
    folder, _ = evaluated
    assert (folder / "results" / "led_a.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_a_row_per_model_with_its_deviation(evaluated):
    _, done = evaluated
    for text in (
        "driftmoe(n_experts=4)",
        "nochange",
        "accuracy %",
        "kappa-M %",
        "kappa-T %",
        "model MB",
        "±",
    ):
        assert text in done.stdout
    assert "mean ± standard deviation over 2 seeds" in done.stdout


def test_the_same_run_replaces_its_older_result_and_others_stay(evaluated):
    folder, _ = evaluated
    arguments = ["evaluate", "led_a", "--limit", "2500", "--model", "ht", "--seed", "2", "--out", "results"]
    assert commands.driftmoe(*arguments, cwd=folder).returncode == 0
    assert len(ResultFolder(folder / "results").results("led_a")) == 6
    assert len(ResultFolder(folder / "results").curves("led_a")) == 6 * 3


def test_a_real_stream_runs_from_end_to_end(tmp_path, fetched):
    arguments = ["--model", "moe-data", "--model", "nochange", "--data-dir", str(fetched["electricity"])]
    done = commands.driftmoe("evaluate", "electricity", "--limit", "3000", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "electricity"
    ours, nochange = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert ours["stream_sha256"] == "ebdfe5480ae25a43a7d054286135e3a9484697a2850d5158a333b1578c28bb97"
    assert ours["n_samples"] == ours["limit"] == ours["stream_length"] == 3000
    assert ours["accuracy"] > 0.7
    assert nochange["kappa_t"] == 0.0
    assert (folder / "electricity.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nosuch"], "unknown stream 'nosuch'; available: electricity, weather, covtype"),
        (
            ["evaluate", "led_a", "--model", "nosuch"],
            "unknown model 'nosuch'; available: driftmoe, moe-vote, moe-data",
        ),
        (["evaluate", "led_a", "--model", "arf(x=1)"], "model 'arf' has no argument 'x'; it takes: n_models"),
        (["evaluate", "led_a", "--nosuch"], "No such option: --nosuch"),
        (["evaluate", "led_a", "--limit", "0"], "--limit"),
        (["evaluate", "led_a", "--limit", "many"], "'--limit': Input should be a valid integer"),
        (["evaluate", "led_a", "--window", "0"], "--window"),
        (["nosuch"], "No such command 'nosuch'"),
        (["evaluate", "electricity", "--data-dir", "nowhere"], "nowhere"),
        (["evaluate", "led_a", "--limit", "1000", "--out", "occupied"], "occupied"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "occupied").write_text("a file, no folder")
    done = commands.driftmoe(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("driftmoe: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_an_unreadable_result_file_is_named_and_kept(tmp_path):
    (tmp_path / "results.jsonl").write_text("{broken\n")
    done = commands.driftmoe("evaluate", "led_a", "--limit", "1000", "--out", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "results.jsonl, line 1 is no JSON" in done.stderr
    assert (tmp_path / "results.jsonl").read_text() == "{broken\n"


def test_version_and_help(tmp_path):
    assert commands.driftmoe("--version", cwd=tmp_path).stdout == f"driftmoe {driftmoe.__version__}\n"
    text = commands.driftmoe("evaluate", "--help", cwd=tmp_path).stdout
    for part in ("Examples", "--limit", "--seed", "--window", "--out", "--data-dir", "moe-task", "led_a"):
        assert part in text
    assert "evaluate" in commands.driftmoe(cwd=tmp_path).stdout


CUT_SHORT = """
import os, signal
from driftmoe import cli
from driftmoe.experiment import run

def cut_short_in_the_fourth_window(*args, prequential=run.prequential, **kwargs):
    for i, checkpoint in enumerate(prequential(*args, **kwargs)):
        if i == 3:
            HOW
        yield checkpoint

run.prequential = cut_short_in_the_fourth_window
cli.main()
"""
INTERRUPTED = CUT_SHORT.replace("HOW", "os.kill(os.getpid(), signal.SIGINT)")
BROKEN = CUT_SHORT.replace("HOW", "raise ValueError('own.csv, line 7: no number')")


def test_a_bad_row_keeps_what_was_measured_before(tmp_path):
    arguments = ["evaluate", "led_a", "--model", "ht", "--window", "500", "--out", "."]
    done = commands.python("-c", BROKEN, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "driftmoe: ht stopped after 1,500 samples: ValueError: own.csv, line 7: no number (traceback: traceback.txt)"
    )
    (line,) = [json.loads(text) for text in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert (line["complete"], line["n_samples"]) == (False, 1500)


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    arguments = ["evaluate", "led_a", "--model", "ht", "--model", "arf", "--window", "500"]
    done = commands.python("-c", INTERRUPTED, *arguments, cwd=tmp_path)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "ht (interrupted)" in done.stdout
    folder = tmp_path / "runs" / "led_a"
    (line,) = [json.loads(text) for text in (folder / "results.jsonl").read_text().splitlines()]
    assert line["complete"] is False
    assert line["n_samples"] == 1500
    assert (folder / "led_a.png").exists()


def test_a_file_is_a_stream_too(tmp_path):
    rows = [f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 3 else 'no'}" for i in range(400)]
    rows[100] = "1,red"
    (tmp_path / "own.csv").write_text("size,colour,bought\n" + "\n".join(rows) + "\n")
    arguments = ["evaluate", "own.csv", "--model", "ht", "--window", "100"]
    done = commands.driftmoe(*arguments, "--target", "bought", cwd=tmp_path)
    assert done.returncode == 2
    assert "own.csv" in done.stderr
    assert "line 102" in done.stderr
    done = commands.driftmoe(*arguments, "--on-bad-row", "skip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out 1 malformed rows" in done.stderr
    (line,) = [json.loads(t) for t in (tmp_path / "runs" / "own" / "results.jsonl").read_text().splitlines()]
    assert (line["stream"], line["n_samples"]) == ("own.csv", 399)
    assert line["accuracy"] > 0.7
    assert line["reading"] == {"target": "bought", "on_bad_row": "skip", "rows_left_out": 1}
    assert (tmp_path / "runs" / "own" / "own.png").exists()
    assert "driftmoe: own.csv, class: last column, `bought`\n" in done.stderr, "nobody named it"
    assert "own.csv, class `bought`, 1 bad rows left out, 399 samples" in " ".join(done.stdout.split())


def test_an_empty_file_is_a_mistake(tmp_path):
    (tmp_path / "empty.csv").write_text("a,b\n")
    done = commands.driftmoe("evaluate", "empty.csv", "--model", "ht", cwd=tmp_path)
    assert done.returncode == 2
    assert "empty.csv" in done.stderr


def test_ctrl_c_within_the_first_window_keeps_its_samples(tmp_path):
    """The interrupt comes while a model learns its 200th sample, long before the window is full."""
    script = """
import os, signal
from river import tree
from driftmoe import cli
learn_one = tree.HoeffdingTreeClassifier.learn_one
def interrupted(self, x, y, calls=[]):
    calls.append(y)
    if len(calls) == 200:
        os.kill(os.getpid(), signal.SIGINT)
    learn_one(self, x, y)
tree.HoeffdingTreeClassifier.learn_one = interrupted
cli.main()
"""
    done = commands.python("-c", script, "evaluate", "led_a", "--model", "ht", "--out", ".", cwd=tmp_path)
    assert done.returncode == 130
    (line,) = [json.loads(text) for text in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert (line["complete"], line["n_samples"]) == (False, 199)


def test_commands_that_share_a_folder_lose_nothing(tmp_path):
    arguments = ["evaluate", "led_a", "--limit", "2000", "--out", "shared"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "driftmoe.cli", *arguments, "--model", model],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        for model in ("nochange", "majority")
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    lines = (tmp_path / "shared" / "results.jsonl").read_text().splitlines()
    assert {json.loads(line)["model"] for line in lines} == {"nochange", "majority"}


def test_an_interrupted_run_does_not_replace_a_complete_one(tmp_path):
    folder = ResultFolder(tmp_path)
    run = dict.fromkeys(KEY, "a") | {"seed": 1, "limit": None, "window": 5, "n_samples": 5, "drifts": []}
    run |= dict.fromkeys(("accuracy", "samples_per_second", "seconds", "model_bytes"), 0.5)
    folder.add({**run, "complete": True}, [])
    folder.add({**run, "complete": False}, [])
    assert [line["complete"] for line in folder.results("a")] == [True]


@pytest.mark.parametrize(("name", "text"), [("windows.csv", "a,b\n1,2\n"), ("results.jsonl", '{"a": 1}\n')])
def test_a_folder_with_other_files_is_refused_before_the_work(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="choose another folder"):
        ResultFolder(tmp_path)


def test_a_model_that_fails_half_way_is_named_in_one_line(tmp_path):
    arguments = ["evaluate", "led_a", "--limit", "300", "--model", "ht(tau='x')", "--model", "nochange"]
    done = commands.driftmoe(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    results = ResultFolder(tmp_path / "runs" / "led_a").results("led_a")
    assert [line["complete"] for line in results if line["model"] == "nochange"] == [True], (
        "the next one runs"
    )
    assert "driftmoe: ht(tau='x') stopped after 199 samples: TypeError" in done.stderr.splitlines()[-1]
    kept = (tmp_path / "runs" / "led_a" / "traceback.txt").read_text()
    assert kept.startswith("Traceback")
    assert "TypeError: '<' not supported" in kept
    assert "Traceback" not in done.stderr


def test_two_targets_of_a_file_are_two_streams(tmp_path):
    rows = [f"{i % 5},{i % 2},{i % 3}" for i in range(60)]
    (tmp_path / "t.csv").write_text("x,y,z\n" + "\n".join(rows) + "\n")
    for target in ("y", "z"):
        arguments = ["evaluate", "t.csv", "--target", target, "--nominal", target, "--model", "nochange"]
        assert commands.driftmoe(*arguments, "--out", "tt", cwd=tmp_path).returncode == 0
    lines = [json.loads(text) for text in (tmp_path / "tt" / "results.jsonl").read_text().splitlines()]
    assert len({line["stream_sha256"] for line in lines}) == 2
    assert [line["reading"] for line in lines] == [{"target": t, "nominal": [t]} for t in ("y", "z")]
    pictures = {"t_class_y_as_names_y.png", "t_class_z_as_names_z.png"}
    assert {path.name for path in (tmp_path / "tt").glob("*.png")} == pictures
    dropped = ["evaluate", "t.csv", "--drop", "x", "--model", "nochange", "--out", "tt"]
    done = commands.driftmoe(*dropped, cwd=tmp_path)
    assert "t.csv, class `z`, without `x`, 60 samples" in done.stdout
    assert commands.driftmoe("report", "tt", cwd=tmp_path).returncode == 0
    text = (tmp_path / "tt" / "report.md").read_text().replace("\\", "")
    for row in ("t.csv, 60, class `y`, as names `y`", "t.csv, 60, class `z`, without `x`"):
        assert row in text
    assert "t.csv, 60, data" not in text, "what can be read tells them apart"


def test_what_may_be_meant_otherwise_is_said_in_short_lines(tmp_path):
    rows = [f"{1900 + i // 28}-02-{i % 28 + 1:02d},{i},{i % 3},{i % 2}\n" for i in range(1100)]
    (tmp_path / "sales.csv").write_text("date,number,x,late\n" + "".join(rows))
    for command in (["evaluate", "sales.csv", "-m", "nochange"], ["streams", "show", "sales.csv"]):
        done = commands.driftmoe(*command, cwd=tmp_path)
        assert done.returncode == 0
        said = [line for line in done.stderr.splitlines() if line.startswith("driftmoe: ")]
        assert max(map(len, said)) <= 80
        assert said == [
            "driftmoe: sales.csv, class: last column, `late`",
            "driftmoe: 'date': 1,100 dates as names; --drop 'date' or keep: --nominal 'date'",
            "driftmoe: 'number' grows with every row, a number or time of it? --drop 'number'",
        ]
    quiet = ["--target", "late", "--drop", "number", "--nominal", "date"]
    done = commands.driftmoe("streams", "show", "sales.csv", *quiet, cwd=tmp_path)
    assert done.stderr == ""
    done = commands.driftmoe("streams", "show", "sales.csv", "--target", "number", cwd=tmp_path)
    assert "driftmoe: the target 'number' has 1,100 different labels; is it a class?" in done.stderr


def test_marks_of_missing_values_and_an_encoding_are_told(tmp_path):
    (tmp_path / "a.csv").write_bytes("size,colour,y\n-9,gr\xfcn,0\n2,rot,1\n".encode("latin-1"))
    done = commands.driftmoe("streams", "show", "a.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "--encoding latin-1" in done.stderr
    done = commands.driftmoe(
        "streams", "export", "a.csv", "b.csv", "--encoding", "latin-1", "--missing", "-9", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b.csv").read_text() == "size,colour,y\n,grün,0\n2,rot,1\n"
    arguments = [
        "--encoding",
        "latin-1",
        "--missing",
        "-9",
        "--missing",
        "rot",
        "--out",
        "r",
        "--executor",
        "serial",
    ]
    done = commands.driftmoe("grid", "a.csv", "-m", "nochange", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,), _ = read_results(tmp_path / "r")
    assert line["reading"] == {"target": "y", "missing": ["-9", "rot"], "encoding": "iso8859-1"}


def test_an_amount_is_refused_as_a_class(tmp_path):
    (tmp_path / "a.csv").write_text("x,amount\n" + "".join(f"{i % 7},{i}.25\n" for i in range(80)))
    done = commands.driftmoe("evaluate", "a.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "predicts classes, not amounts" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_grid_says_how_many_rows_it_left_out(tmp_path):
    (tmp_path / "few.csv").write_text("x,y\n" + "1,0\n2,1\noops\n" * 20)
    arguments = [
        "few.csv",
        "-m",
        "nochange",
        "-m",
        "majority",
        "--executor",
        "serial",
        "--on-bad-row",
        "skip",
    ]
    for _ in range(2):  # done, and done before
        done = commands.driftmoe("grid", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "driftmoe: few.csv, class: last column, `y`" in done.stderr
        assert done.stderr.count("driftmoe: few.csv: left out 20 malformed rows") == 1


def test_a_row_that_stops_a_model_does_not_stop_those_after_it(tmp_path):
    """It lies behind the first megabyte, so that it is met on the way."""
    rows = ["1.2345678901234567,2.2345678901234567,0\n"] * 40_000
    rows[35_000] = "inf,1,1\n"
    (tmp_path / "a.csv").write_text("x,z,y\n" + "".join(rows))
    arguments = ["evaluate", "a.csv", "-m", "nochange", "-m", "majority", "--window", "20000"]
    done = commands.driftmoe(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    said = done.stderr.splitlines()[-2:]
    for model, line in zip(("nochange", "majority"), said, strict=True):
        assert re.match(
            rf"driftmoe: {model} stopped after 3\d,\d+ samples: ValueError: a.csv, line 35002,", line
        )
    assert [line["complete"] for line in ResultFolder(tmp_path / "runs" / "a").results("a.csv")] == [
        False,
        False,
    ]
    done = commands.driftmoe(*arguments, "--on-bad-row", "skip", cwd=tmp_path)
    assert done.returncode == 0
    assert "left out 1 malformed rows" in done.stderr


def test_routing_is_told_in_table_curve_and_picture(tmp_path):
    arguments = ["--limit", "3000", "--window", "500", "-m", "moe-vote(policy=TopP(p=0.9))", "-m", "nochange"]
    done = commands.driftmoe("evaluate", "led_a", *arguments, "--routing", "--out", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("experts used", "oracle gap", "trees replaced", "led_a_routing.png"):
        assert text in done.stdout
    assert (tmp_path / "led_a_routing.png").read_bytes().startswith(b"\x89PNG")
    ours, nochange = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert "routing" not in nochange
    with (tmp_path / "windows.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["model"] != "nochange"]
    used = [float(line["routing_experts_used"]) for line in lines]
    assert ours["routing"]["experts_used"] == pytest.approx(sum(used) / len(used), abs=1e-5)
    assert {f"routing_{name}_tree 12" for name in ("usage", "weight", "accuracy")} <= set(lines[0])
    assert list(ours["routing"]["experts"]) == [f"tree {i}" for i in range(1, 13)]

    arguments = ["-m", "nochange", "--limit", "500", "--routing", "--out", "none"]
    done = commands.driftmoe("evaluate", "led_a", *arguments, cwd=tmp_path)
    assert "None of these models reports its routing." in done.stdout
