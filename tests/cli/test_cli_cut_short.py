"""Runs that are interrupted, fail, or share a folder: what was measured is kept."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import commands
from places import ENVIRONMENT

from driftmoe.experiment import KEY, ResultFolder

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
