"""Grids of runs: the same figures by every executor, nothing done twice, nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import commands
import pytest
from places import ENVIRONMENT, ROOT
from river import base

import streams
from driftmoe import models
from driftmoe.experiment import (
    KEY,
    JobFolder,
    ResultFolder,
    Run,
    parsed_delay,
    planned,
    read_failures,
    read_results,
    run_grid,
    run_job,
    run_key,
    shard,
)
from driftmoe.report import usable
from streams.opening import open_stream

# Of river's models, memory differs by some bytes: small objects may or may not be shared with others.
TIMES = {"samples_per_second", "seconds", "cpu_seconds", "ram_hours", "model_bytes"}

GRID = ["led_a", "sea_a", "-m", "ht", "-m", "driftmoe(n_experts=3)", "--limit", "1500", "--seed", "2"]


def command(name, *arguments, cwd):
    done = commands.driftmoe(name, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def timeless(value):
    """Result lines without what depends on the clock and on the process."""
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items() if name not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def kept(folder):
    return {file.name: timeless(json.loads(file.read_text())) for file in (folder / "jobs").iterdir()}


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


def plan(*specs, n=300, seeds=(1,), **options):
    return planned(["led_a"], specs, seeds, open_stream, limit=n, window=100, **options)


def without_moves(events):
    return [event for event in events if event.state != "moved"]


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


def test_a_result_tells_all_that_is_needed_to_repeat_it(tmp_path):
    (run,) = plan("ht(grace_period=77)", delay="5")
    result, curve = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    assert result["parameters"]["grace_period"] == 77
    assert result["stream_sha256"] == streams.make("led_a", seed=1, n_samples=300).fingerprint()
    assert set(result["versions"]) == {"python", "driftmoe", "river", "torch", "numpy"}
    assert (result["seed"], result["limit"], result["window"], result["delay"]) == (1, 300, 100, "5")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode == 0:
        assert result["commit"].removesuffix("-dirty") == head.stdout.strip()
    assert [point["n_samples"] for point in curve] == [100, 200, 300]


class CompilesFirst(base.Classifier):
    """Takes its time at the first block that the process gives to any of its kind, as a compiled model does."""

    is_compiled = False

    def __init__(self):
        self.n_seen = 0

    def compile(self):
        if not CompilesFirst.is_compiled:
            time.sleep(1.0)
            CompilesFirst.is_compiled = True

    def predict_one(self, x):
        self.compile()
        return 0

    def learn_one(self, x, y):
        self.n_seen += 1

    def step_many(self, X, y, *, names, values, classes):
        self.compile()
        self.n_seen += len(y)
        return [classes[0]] * len(y)


@pytest.mark.parametrize("delay", ["0", "3"])
def test_no_time_of_a_compiler_is_in_the_figures_and_the_model_is_new(monkeypatch, delay):
    made = []
    monkeypatch.setattr(CompilesFirst, "is_compiled", False)

    def make():
        made.append(CompilesFirst())
        return made[-1]

    monkeypatch.setitem(models.MODELS, "late", make)
    stream = streams.make("sea", seed=1, n_samples=500)
    run = Run("sea", stream.fingerprint(), "late", 1, 500, 1000, delay)
    result, _ = run_job(run, stream)
    assert CompilesFirst.is_compiled
    assert result["seconds"] < 0.9
    assert [model.n_seen for model in made if model.n_seen != 300] == [
        500 - int(delay),
        0,
    ]  # the run's, and one for its parameters
    assert result["n_samples"] == 500


def test_a_result_tells_the_parameters_that_the_model_began_with():
    """river's forest replaces its own `max_features` by a number while it learns."""
    (run,) = plan("arf(n_models=1)")
    result, _ = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    assert result["parameters"]["max_features"] == "sqrt"


def test_of_two_results_of_one_run_the_newer_one_counts(tmp_path):
    (run,) = plan("nochange")
    result, curve = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    folder = JobFolder(tmp_path)
    folder.keep(run, result, curve)
    (file,) = (tmp_path / "jobs").glob("*.json")
    older = file.with_name("zzz.json")  # last by name
    older.write_text(json.dumps({"result": {**result, "accuracy": 0.0}, "curve": curve}), encoding="utf-8")
    os.utime(older, (1, 1))
    old = ResultFolder(tmp_path / "old")
    old.add({**result, "accuracy": 0.1}, [{**point, "accuracy": 0.1} for point in curve])
    for name in ("results.jsonl", "windows.csv"):
        os.utime(tmp_path / "old" / name, (2, 2))
    lines, points = read_results(tmp_path)
    assert [line["accuracy"] for line in lines] == [0.0, 0.1, result["accuracy"]]
    results, notes = usable(lines)
    assert [line["accuracy"] for line in results] == [result["accuracy"]]
    assert notes == ["nochange on led_a, seed 1, 300 samples: done more than once, the last one counts."] * 2
    assert points == curve
    os.utime(tmp_path / "old" / "results.jsonl")
    results, _ = usable(read_results(tmp_path)[0])
    assert [line["accuracy"] for line in results] == [0.1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ('{"result": {"stre', "is no JSON"),
        ("[]", "is no result of this program: it has no curve"),
        ('{"result": {}, "curve": []}', "is no result of this program: it has no stream"),
        ('{"result": [], "curve": []}', "is no result of this program; move it away"),
        ('{"result": {}, "curve": [1]}', "is no result of this program: it has no curve"),
    ],
)
def test_a_file_that_is_no_result_is_named_and_its_run_not_taken_for_done(tmp_path, text, message):
    folder, (run,) = JobFolder(tmp_path), plan("nochange")
    folder.file(run).write_text(text, encoding="utf-8")
    for read in (lambda: list(run_grid([run], open_stream, folder)), lambda: read_results(tmp_path)):
        with pytest.raises(ValueError, match=message) as raised:
            read()
        assert folder.file(run).name in str(raised.value)


def test_a_line_that_lacks_a_figure_is_named(tmp_path):
    (run,) = plan("nochange")
    result, _ = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    for broken, message in (
        ({"stream": "a", "model": "x"}, "line 2 is no result of this program: it has no stream_sha256"),
        ({**result, "accuracy": None}, "line 2 is no result of this program: accuracy is None"),
        ({**result, "seed": True}, "line 2 is no result of this program: seed is True"),
        ({**result, "accuracy": float("nan")}, "accuracy is nan"),
        ({**result, "n_samples": 0}, "n_samples is 0"),
        ({**result, "drifts": [1]}, "drifts is .1."),
        ({**result, "routing": None}, "routing is None"),
        ({**result, "kappa": "x"}, "kappa is 'x'"),
    ):
        (tmp_path / "results.jsonl").write_text(json.dumps(result) + "\n" + json.dumps(broken) + "\n")
        with pytest.raises(ValueError, match=message):
            read_results(tmp_path)


def test_a_file_of_lines_is_read_by_itself(tmp_path):
    (run,) = plan("nochange")
    result, _ = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    (tmp_path / "lines.jsonl").write_text(
        json.dumps(result | {"model": "a\u2028b"}, ensure_ascii=False) + "\n\n"
    )
    (tmp_path / "windows.csv").write_text("foo,bar\n")
    (line,), curves = read_results(tmp_path / "lines.jsonl")
    assert (line["model"], curves) == ("a\u2028b", [])
    (tmp_path / "lines.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=r"lines.jsonl, line 1 is no JSON"):
        read_results(tmp_path / "lines.jsonl")


def test_names_of_any_script_make_files_that_every_system_takes(tmp_path):
    folder, run = JobFolder(tmp_path), Run("数" * 78 + ".csv", "", "nochange", 1, None, 1)
    assert len(folder.file(run).name.encode()) < 100
    assert folder.keep_failure(run, "no memory").exists()


def test_what_tells_runs_apart_is_in_the_name_of_the_file(tmp_path):
    folder = JobFolder(tmp_path)
    runs = plan("ht", "ht(grace_period=199)", seeds=(1, 2)) + plan("ht", n=301) + plan("ht", delay="3")
    assert len({folder.file(run) for run in runs}) == len(runs) == 6
    assert folder.file(runs[0]) == folder.file(plan("ht")[0])
    name = folder.file(plan("driftmoe(expert=ht(grace_period=200), hidden=(8, 8))")[0]).name
    assert "/" not in name
    assert " " not in name


def test_old_lines_and_new_ones_are_the_same_run_but_for_a_warm_up_of_more_than_a_sample():
    """A line without the field has counted all: without a delay by one sample more, which makes it no other run."""
    for delay, count_warm_up, is_same in (
        ("0", False, True), ("0", True, False), ("5", False, False), ("5", True, True),
    ):  # fmt: skip
        (run,) = plan("nochange", delay=delay, count_warm_up=count_warm_up)
        result, curve = run_job(run, open_stream(name="led_a", limit=300, seed=1))
        assert (result["n_warm_up"], result["count_warm_up"]) == (1 + int(delay), count_warm_up)
        assert run_key(result) == run_key(curve[0]) == run_key({n: str(v) for n, v in curve[0].items()})
        old = {name: value for name, value in result.items() if name not in ("n_warm_up", "count_warm_up")}
        assert (run_key(old) == run_key(result)) is is_same
        assert len(usable([old, result])[0]) == (1 if is_same else 2)


def test_the_file_of_a_run_without_a_delay_is_that_of_older_versions(tmp_path):
    """Its name is the hash of what has always told runs apart."""
    folder = JobFolder(tmp_path)
    (at_once,), (late,) = plan("ht"), plan("ht", delay="5", count_warm_up=True)
    for run in (at_once, late):
        identity = json.dumps([*(getattr(run, name) for name in KEY), run.parameters()], sort_keys=True)
        assert hashlib.sha256(identity.encode()).hexdigest()[:12] in folder.file(run).name
    others = [*plan("ht", count_warm_up=True), *plan("ht", delay="5"), at_once, late]
    assert len({folder.file(run) for run in others}) == 4


def test_a_folder_may_be_named_by_text(tmp_path):
    (run,), text = plan("nochange"), str(tmp_path / "runs")
    result, curve = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    JobFolder(text).keep(run, result, curve)
    ResultFolder(text).add(result, curve)
    assert len(read_results(text)[0]) == 2
    assert read_failures(text) == []


def test_windows_without_a_sample_that_counts_are_no_points_of_the_curve():
    (run,) = plan("nb", delay="150")
    _, curve = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    assert [point["n_samples"] for point in curve] == [200, 300]
    json.dumps(curve, allow_nan=False)


@pytest.mark.parametrize(
    "file", ["paper", "full_length", "electricity", "ablation/late", "ablation/gate", "neural_experiments"]
)
def test_lines_kept_by_older_versions_are_read(file):
    results, _ = read_results(ROOT / "benchmarks" / "results" / f"{file}.jsonl")
    assert all(run_key(line) for line in results)


def test_defaults_that_change_make_another_run(tmp_path, monkeypatch):
    """A finished run is one with these very parameters, whether they were written out or not."""
    folder, (run,) = JobFolder(tmp_path), plan("ht")
    before = folder.file(run)
    make = models.MODELS["ht"]

    class Changed(make):
        def __init__(self, grace_period=123):
            super().__init__(grace_period)

    monkeypatch.setitem(models.MODELS, "ht", Changed)
    assert folder.file(run) != before


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
    assert len(curves) == 3


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


def test_delays_as_text():
    assert parsed_delay("0") == 0
    assert parsed_delay("100-2000") == (100, 2000)
    assert parsed_delay("due") == "due"
    with pytest.raises(ValueError, match="20 is above 3"):
        parsed_delay("20-3")
    with pytest.raises(ValueError, match="delay ''; write a number of samples"):
        parsed_delay("")


def test_a_folder_without_results_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="holds no results; run"):
        read_results(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.json").write_text('{"result": ')
    with pytest.raises(ValueError, match=r"a\.json is no JSON"):
        read_results(tmp_path)
