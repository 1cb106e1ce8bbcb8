"""Executors of a grid: the same figures by each, and a grid that was killed goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from places import ENVIRONMENT
from small_grids import GRID, command, kept, plan, timeless

from driftmoe.experiment import JobFolder, executors, read_results, run_grid
from streams.opening import open_stream


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    command("grid", *GRID, "--executor", "serial", "--out", "serial", cwd=folder)
    return folder / "serial"


def test_evaluate_and_the_grid_give_the_same_figures(serial):
    for stream in ("led_a", "sea_a"):
        command("evaluate", stream, *GRID[2:], "--out", stream, cwd=serial.parent)
        (evaluated, windows), (of_grid, points) = (
            (timeless(lines) for lines in read_results(folder)) for folder in (serial.parent / stream, serial)
        )
        by_model = {line["model"]: line for line in of_grid if line["stream"] == stream}
        assert {line["model"]: line for line in evaluated} == by_model
        assert len(by_model) == 2
        texts = sorted(sorted((k, v) for k, v in point.items() if v) for point in windows)
        assert texts == sorted(
            sorted((k, str(v)) for k, v in p.items() if v is not None)
            for p in points
            if p["stream"] == stream
        )


def test_processes_give_the_same_result_files(serial):
    command(
        "grid", *GRID, "--executor", "processes", "--workers", "2", "--out", "processes", cwd=serial.parent
    )
    assert len(kept(serial)) == 4
    assert kept(serial.parent / "processes") == kept(serial)


def test_processes_run_no_code_of_the_working_folder(tmp_path):
    (tmp_path / "driftmoe").mkdir()
    (tmp_path / "driftmoe" / "__init__.py").write_text("raise RuntimeError('another version')")
    script = "import sys; sys.path.remove(''); from driftmoe.__main__ import main; main()"
    arguments = ["grid", "led_a", "-m", "markov", "--limit", "50", "--out", "runs"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "another version" not in done.stderr
    assert len(kept(tmp_path / "runs")) == 1


def test_dask_gives_the_same_result_files(serial):
    pytest.importorskip("distributed", reason="the extra driftmoe[dask] is not installed")
    command("grid", *GRID, "--executor", "dask", "--workers", "2", "--out", "dask", cwd=serial.parent)
    assert kept(serial.parent / "dask") == kept(serial)


def test_a_running_dask_cluster_can_be_joined(serial):
    pytest.importorskip("distributed", reason="the extra driftmoe[dask] is not installed")
    script = """
import sys, distributed
if __name__ == "__main__":
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
    (serial.parent / "cluster.py").write_text(script)
    with subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=serial.parent, env=ENVIRONMENT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as cluster:  # fmt: skip
        address = cluster.stdout.readline().strip()
        arguments = ["--executor", "dask", "--scheduler", address, "--out", "joined"]
        command("grid", *GRID, *arguments, cwd=serial.parent)
        cluster.communicate("")
    assert kept(serial.parent / "joined") == kept(serial)


def test_dask_gives_each_worker_one_run_at_a_time_however_many_threads_it_has(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra driftmoe[dask] is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None
    ) as cluster:
        runs = plan("nochange", "majority", "nb", n=400)
        events = run_grid(
            runs, open_stream, JobFolder(tmp_path), executor="dask", scheduler=cluster.scheduler_address
        )
        assert [event.state for event in events] == ["started", "done"] * 3


def processes_of(group):
    """Numbers of the processes of a group that are alive."""
    done = subprocess.run(["ps", "-o", "pid=,stat=", "-g", str(group)], capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [pid for pid, state in lines if not state.startswith("Z")]


def test_a_grid_that_was_killed_goes_on_where_it_was(tmp_path):
    arguments = ["grid", "led_a", "-m", "ht", "--limit", "3000", "--workers", "2", "--window", "500"]
    arguments += [f"--seed={seed}" for seed in range(4)]
    killed = subprocess.Popen(
        [sys.executable, "-m", "driftmoe.cli", *arguments, "--out", "killed"],
        cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("jobs/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "killed" / "jobs").glob("*.json")}
    assert 1 <= len(before) < 4
    while processes_of(killed.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of(killed.pid)  # its children have ended with it

    again = command(*arguments, "--out", "killed", cwd=tmp_path)
    assert f"4 done ({len(before)} before)" in again.stderr
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "killed" / "jobs").glob("*.json")}
    assert {name: after[name] for name in before} == before
    command(*arguments, "--out", "alone", "--executor", "serial", cwd=tmp_path)
    assert kept(tmp_path / "killed") == kept(tmp_path / "alone")
    assert len(after) == 4


def test_a_process_whose_parent_gives_it_nothing_ends_in_silence():
    """So it is if Ctrl-C comes while a process is starting."""
    ours, theirs = multiprocessing.Pipe()
    ours.close()
    handler = signal.getsignal(signal.SIGINT)
    try:
        executors._in_child(theirs, iter, dict(os.environ))
    finally:
        signal.signal(signal.SIGINT, handler)
