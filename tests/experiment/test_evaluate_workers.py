"""`driftmoe evaluate --workers`: the results of one worker, and what is left after errors, Ctrl-C and a kill."""

from __future__ import annotations

import os
import signal
import time

import commands
import pytest
from small_grids import timeless

from driftmoe.experiment import ResultFolder, read_results, run_key
from driftmoe.staging import PREFIX

MODELS = """
import os, time
from pathlib import Path
from river import dummy
from driftmoe import cli, models

class Noted(dummy.NoChangeClassifier):
    '''Notes the process that begins it.'''

    n_learnt = 0

    def learn_one(self, x, y):
        self.n_learnt += 1
        if self.n_learnt == 1:
            with open("begun", "a") as file:
                print(os.getpid(), file=file, flush=True)
        super().learn_one(x, y)

class Slow(Noted):
    '''Waits after the first window, as long as there is a file `slow`.'''

    def learn_one(self, x, y):
        super().learn_one(x, y)
        while self.n_learnt == 150 and Path("slow").exists():
            time.sleep(0.02)

class Crawling(Noted):
    '''Learns slowly after the first window, as long as there is a file `slow`.'''

    def learn_one(self, x, y):
        super().learn_one(x, y)
        if self.n_learnt > 150 and Path("slow").exists():
            time.sleep(0.03)

class Wrong(Noted):
    def learn_one(self, x, y):
        super().learn_one(x, y)
        if self.n_learnt == 250:
            raise RuntimeError("no more")

class Deadly(Noted):
    def learn_one(self, x, y):
        super().learn_one(x, y)
        if self.n_learnt == 250:
            os._exit(3)

models.MODELS |= {"slow": Slow, "crawling": Crawling, "creeping": Crawling, "wrong": Wrong, "deadly": Deadly}
if __name__ == "__main__":
    cli.main()
"""

EVALUATE = ["evaluate", "led_a", "--limit", "600", "--window", "100", "--out", "out"]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "command.py").write_text(MODELS)
    return tmp_path


def started(place, *arguments):
    return commands.started("-m", "command", *EVALUATE, *arguments, cwd=place)


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def begun(place):
    file = place / "begun"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def lines_in(place):
    return [(line["model"], line["complete"]) for line in read_results(place / "out")[0]]


def test_workers_leave_the_lines_and_curves_of_one_in_the_same_order(place):
    """The first model ends last: it waits until the others are done."""
    arguments = ["-m", "slow", "-m", "driftmoe(n_experts=3)", "-m", "nochange", "--seed", "1", "--seed", "2"]
    one = started(place, *arguments)
    assert one.wait() == 0, one.stderr
    expected, curves = read_results(place / "out")
    assert len({number for number in begun(place)}) == 1
    (place / "out").rename(place / "one")
    (place / "begun").unlink()
    (place / "slow").touch()
    two = started(place, *arguments, "--workers", "3")
    until(lambda: len(list(results_so_far(place))) == 4)
    (place / "slow").unlink()
    assert two.wait() == 0, two.stderr
    found, points = read_results(place / "out")
    assert timeless(found) == timeless(expected)
    assert timeless(points) == timeless(curves)
    assert len(set(begun(place))) == 2  # the two seeds of `slow`
    assert not list((place / "out" / ".claims").iterdir())


def results_so_far(place):
    file = place / "out" / "results.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def test_an_error_or_the_death_of_a_process_names_the_model_and_the_others_are_done(place):
    done = started(place, "-m", "wrong", "-m", "deadly", "-m", "nochange", "--workers", "2")
    assert done.wait() == 2
    told = " ".join(done.stderr.split())
    assert "wrong stopped after 249 samples: RuntimeError: no more (traceback: " in told
    assert "deadly, seed 1: its process ended with exit code 3 and no result" in told
    assert lines_in(place) == [("wrong", False), ("nochange", True)]
    assert "no more" in (place / "out" / "traceback.txt").read_text()


def test_ctrl_c_keeps_what_was_measured_and_ends_the_workers(place):
    (place / "slow").touch()
    running = started(place, "-m", "nochange", "-m", "crawling", "-m", "creeping", "--workers", "2")
    until(lambda: len(begun(place)) == 2)
    until(lambda: len(list(results_so_far(place))) == 1)
    time.sleep(1.0)  # past the first window, with which there is something to keep
    running.send_signal(signal.SIGINT)  # to the command alone
    assert running.wait() == 130, running.stderr
    assert lines_in(place) == [("nochange", True), ("crawling", False), ("creeping", False)]
    assert all(100 <= line["n_samples"] < 600 for line in read_results(place / "out")[0][1:])
    assert not any(map(is_alive, begun(place)))
    (place / "slow").unlink()
    again = started(place, "-m", "crawling", "-m", "creeping", "--workers", "2")
    assert again.wait() == 0, again.stderr
    assert lines_in(place) == [("nochange", True), ("crawling", True), ("creeping", True)]


def test_runs_of_a_command_that_was_killed_go_on_from_their_checkpoints(tmp_path):
    arguments = [
        *["evaluate", "led_a", "--limit", "20000", "--window", "500", "-m", "moe-data", "-m", "moe-task"],
        *["--checkpoint-every", "500", "--workers", "2"],
    ]
    whole = commands.driftmoe(*arguments, "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    killed = commands.started("-m", "driftmoe", *arguments, "--out", "out", cwd=tmp_path)
    until(lambda: len(list((tmp_path / "out").glob("checkpoints/*.checkpoint"))) == 2)
    killed.kill()
    killed.wait()
    again = commands.driftmoe(*arguments, "--out", "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("goes on after sample") == 2
    found, expected = (read_results(tmp_path / folder)[0] for folder in ("out", "whole"))
    assert timeless(found) == timeless(expected)
    # Nothing is left but what a process was writing when it was killed, which `staging` deletes after a minute.
    left = [path.name for path in (tmp_path / "out").glob("checkpoints/*")]
    assert [name for name in left if not name.startswith(PREFIX)] == []


def line_of(seed):
    run = {
        "stream": "led_a",
        "stream_sha256": "0",
        "model": "ht",
        "seed": seed,
        "limit": 9,
        "window": 9,
        "delay": "0",
    }
    return run | {"n_samples": 9, "complete": True, "drifts": [], "accuracy": 0.5, "samples_per_second": 1.0,
                  "seconds": 1.0, "model_bytes": 1}  # fmt: skip


def test_lines_are_arranged_behind_those_of_other_commands(tmp_path, monkeypatch):
    folder = ResultFolder(tmp_path)
    lines = [line_of(seed) for seed in (1, 2, 3)]
    for line in lines:
        folder.add(line, [{**line, "accuracy": 0.5}])
    writes = []
    replace = folder._replace
    monkeypatch.setattr(folder, "_replace", lambda texts: (writes.append(texts), replace(texts)))
    folder.arrange([run_key(lines[2]), run_key(lines[0])])
    assert [line["seed"] for line in folder.results("led_a")] == [2, 3, 1]
    assert [point["seed"] for point in folder.curves("led_a")] == ["2", "3", "1"]
    folder.arrange([run_key(lines[2]), run_key(lines[0])])
    assert len(writes) == 1  # what is in order is left alone
