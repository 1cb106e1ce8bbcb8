"""The runs of a grid: none is done twice, and one that fails costs no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from places import ENVIRONMENT
from small_grids import command, plan, without_moves

import streams
from driftmoe.experiment import JobFolder, Run, read_failures, read_results, run_grid, run_job, shard
from streams.opening import open_stream


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_run_tells_how_much_of_it_is_done(tmp_path, executor):
    events = list(run_grid(plan("nochange", n=250), open_stream, JobFolder(tmp_path), executor=executor))
    assert [(event.state, event.share) for event in events] == [
        ("started", 0.0), ("moved", 0.4), ("moved", 0.8), ("moved", 1.0), ("done", 1.0),
    ]  # fmt: skip


def test_a_finished_run_is_not_done_again(tmp_path):
    folder, runs = JobFolder(tmp_path), plan("nochange", "majority")
    first = without_moves(run_grid(runs[:1], open_stream, folder, executor="serial"))
    second = without_moves(run_grid(runs, open_stream, folder, executor="serial"))
    assert [(event.run.model, event.state) for event in first] == [
        ("nochange", "started"),
        ("nochange", "done"),
    ]
    assert [(event.run.model, event.state) for event in second] == [
        ("nochange", "kept"), ("majority", "started"), ("majority", "done"),
    ]  # fmt: skip
    assert second[0].result == first[1].result


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_run_that_fails_leaves_its_traceback_and_the_others_go_on(tmp_path, executor):
    folder, runs = JobFolder(tmp_path), plan("ht(tau='x')", "nochange", n=400)
    states = {
        event.run.model: event
        for event in without_moves(run_grid(runs, open_stream, folder, executor=executor))
        if event.state != "started"
    }
    assert states["nochange"].state == "done"
    failure = states["ht(tau='x')"]
    assert failure.state == "failed"
    assert "TypeError: '<' not supported" in failure.error.read_text()
    (sentence,) = read_failures(tmp_path)
    assert sentence.startswith("ht(tau='x') on led_a, seed 1: failed, TypeError: '<' not supported")
    assert len(list((tmp_path / "jobs").iterdir())) == 1
    again = [event.state for event in without_moves(run_grid(runs, open_stream, folder, executor="serial"))]
    assert again == ["kept", "started", "failed"]


def open_and_die(name, limit, seed):
    """A stream for seed 1, and the end of the process for others, as when memory has run out."""
    if seed > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return open_stream(name=name, limit=limit, seed=seed)


def test_a_process_that_is_killed_costs_its_run_alone(tmp_path):
    runs = plan("nochange", seeds=(2, 1, 3))
    events = without_moves(
        run_grid(runs, open_and_die, JobFolder(tmp_path), executor="processes", n_workers=1)
    )
    assert [(e.run.seed, e.state) for e in events if e.state != "started"] == [
        (2, "failed"), (1, "done"), (3, "failed"),
    ]  # fmt: skip
    assert "exit code -9" in events[1].error.read_text()


class OddError(Exception):
    """An error of a class of its own, as libraries raise them."""


def open_or_raise(name, limit, seed):
    if seed > 1:
        raise OddError("the disk is on fire")
    return open_stream(name=name, limit=limit, seed=seed)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_an_error_of_any_class_leaves_its_traceback_and_the_others_go_on(tmp_path, executor):
    runs = plan("nochange", seeds=(2, 1, 3))
    events = run_grid(runs, open_or_raise, JobFolder(tmp_path), executor=executor, n_workers=1)
    ends = [e for e in without_moves(events) if e.state != "started"]
    assert [(e.run.seed, e.state) for e in ends] == [(2, "failed"), (1, "done"), (3, "failed")]
    text = ends[0].error.read_text()
    assert "OddError: the disk is on fire" in text
    assert "open_or_raise" in text


def open_and_tell(name, limit, seed):
    raise OddError(f"told {os.environ['TOLD']}")


def test_processes_have_the_environment_of_the_grid_that_starts_them(tmp_path, monkeypatch):
    """Whenever the process was started that they are forked from."""
    for word in ("one", "another"):
        monkeypatch.setenv("TOLD", word)
        events = run_grid(plan("nochange"), open_and_tell, JobFolder(tmp_path / word), executor="processes")
        *_, failed = events
        assert f"OddError: told {word}" in failed.error.read_text()


def test_a_process_that_dies_before_it_has_read_its_run_costs_that_alone(tmp_path):
    (tmp_path / "grid.py").write_text(
        """
import os, pathlib
if __name__ == "__mp_main__":
    os._exit(9)  # as if the system had killed it while it starts
if __name__ == "__main__":
    from driftmoe.experiment import JobFolder, planned, run_grid
    from streams.opening import open_stream
    runs = planned(["sea_a"], ["nochange", "majority"], [1], open_stream, limit=300)
    for event in run_grid(runs, open_stream, JobFolder(pathlib.Path("out")), executor="processes", n_workers=1):
        print(event.run.model, event.state)
"""
    )
    ended = subprocess.run(
        [sys.executable, "grid.py"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert ended.stdout.splitlines() == [
        "nochange started", "nochange failed", "majority started", "majority failed",
    ]  # fmt: skip


def test_a_success_removes_the_traceback_of_an_earlier_failure(tmp_path):
    (run,) = plan("nochange")
    folder = JobFolder(tmp_path)
    assert folder.keep_failure(run, "out of memory").exists()
    assert len(read_failures(tmp_path)) == 1
    folder.keep(run, *run_job(run, open_stream(name=run.stream, limit=run.limit, seed=run.seed)))
    assert list((tmp_path / "failed").iterdir()) == []


def test_another_stream_of_the_same_name_is_refused(tmp_path):
    (run,) = plan("nochange")
    with pytest.raises(ValueError, match=r"led_a has hash .* here, but .* where it was planned"):
        run_job(run, streams.make("led_a", seed=9, n_samples=300))


def test_shards_share_no_run_and_leave_none_out():
    runs = [Run("a", "", "m", seed, None, 1) for seed in range(10)]
    parts = [shard(runs, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(run.seed for part in parts for run in part) == list(range(10))
    assert [len(part) for part in parts] == [4, 3, 3]
    slow_and_fast = [Run("a", "", model, seed, None, 1) for seed in range(10) for model in ("slow", "fast")]
    for i in (1, 2, 3, 4):
        assert 2 <= sum(run.model == "slow" for run in shard(slow_and_fast, f"{i}/4")) <= 3
    for text in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(ValueError, match="write i/n with 1 <= i <= n"):
            shard(runs, text)


def test_shards_of_the_command_line_fill_one_folder(tmp_path):
    arguments = ["led_a", "-m", "nochange", "-m", "majority", "-m", "nb", "--limit", "400", "--out", "g"]
    for part in ("1/2", "2/2"):
        command("grid", *arguments, "--shard", part, "--executor", "serial", cwd=tmp_path)
    results, curves = read_results(tmp_path / "g")
    assert sorted(line["model"] for line in results) == ["majority", "nb", "nochange"]
    assert sorted((line["model"], int(line["n_samples"])) for line in curves) == [
        (model, n) for model in ("majority", "nb", "nochange") for n in range(40, 401, 40)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "threads"}, "unknown executor 'threads'; available: serial, processes, dask"),
        ({"n_workers": 0}, "n_workers=0; choose at least 1"),
        ({"scheduler": "tcp://a:1"}, "scheduler='tcp://a:1' is for executor='dask', not 'processes'"),
    ],
)
def test_a_mistake_in_a_grid_is_refused_before_the_work(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        next(run_grid(plan("nochange"), open_stream, JobFolder(tmp_path), **options))
