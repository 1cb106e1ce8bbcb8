"""Runs that are killed go on from their last checkpoint, and end with the result of a run left alone."""

from __future__ import annotations

import csv
import json
import signal
from contextlib import suppress

import commands
import pytest
from river import naive_bayes

import streams
from driftmoe import DriftMoEClassifier, experiment
from driftmoe.experiment import (
    Attempt,
    CheckpointFolder,
    Evaluations,
    ResultFolder,
    Run,
    run_grid,
    versions,
    why_not_kept,
)
from driftmoe.staging import PREFIX

OF_TIME = {"samples_per_second", "seconds", "cpu_seconds", "ram_hours"}

DEADLY = """
import multiprocessing, os, signal
from pathlib import Path
from driftmoe import cli
from driftmoe.experiment import checkpoints
from driftmoe.experiment.checkpoints import CheckpointFolder, CurveFile

keep, add, write_files, n_kept = CheckpointFolder.keep, CurveFile.add, checkpoints.write_files, 0

def maybe_die(moment):
    lives = Path("lives")
    n = int(lives.read_text()) if lives.exists() else 0
    if n > 0 and n_kept == 2 and moment == ("kept", "points added", "file written")[n % 3]:
        lives.write_text(str(n - 1))
        if "processes" in Path("command").read_text():
            os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

def keep_and_die(self, *arguments):
    global n_kept
    n_kept += 1
    keep(self, *arguments)
    maybe_die("kept")

def add_and_die(self, points):
    place = add(self, points)
    maybe_die("points added")
    return place

def write_and_die(*arguments, **keywords):
    write_files(*arguments, **keywords)
    maybe_die("file written")

CheckpointFolder.keep, CurveFile.add, checkpoints.write_files = keep_and_die, add_and_die, write_and_die
if __name__ == "__main__":
    cli.main()
"""
"""A command that kills itself at its second checkpoint, each time at another moment."""

MODELS = ["-m", "driftmoe(n_experts=3)", "-m", "moe-data(n_experts=3)"]
EVERY = ["--checkpoint-every", "250"]
STREAM = ["led_a", "--limit", "1230", "--window", "100", *EVERY]


def lines_of(folder):
    """The result lines and curves of a folder of `evaluate` or `grid`, without times."""
    if (folder / "results.jsonl").exists():
        results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        with (folder / "windows.csv").open(newline="") as file:
            curves = list(csv.DictReader(file))
    else:
        jobs = [json.loads(file.read_text()) for file in sorted((folder / "jobs").glob("*.json"))]
        results, curves = [job["result"] for job in jobs], [point for job in jobs for point in job["curve"]]
    plain = [
        {name: value for name, value in line.items() if name not in OF_TIME} for line in results + curves
    ]
    return sorted(json.dumps(line, sort_keys=True) for line in plain)


@pytest.mark.parametrize(
    ("command", "n_kills"),
    [(["evaluate"], 3), (["grid", "--executor", "serial"], 2), (["grid", "--executor", "processes"], 1)],
    ids=["evaluate", "serial", "processes"],
)
def test_a_run_that_is_killed_ends_as_one_left_alone(tmp_path, command, n_kills):
    (tmp_path / "command.py").write_text(DEADLY)
    (tmp_path / "command").write_text(" ".join(command))
    (tmp_path / "lives").write_text(str(n_kills))
    arguments = [command[0], *STREAM, *MODELS, *command[1:]]
    started = [
        commands.python("-m", "command", *arguments, "--out", "killed", cwd=tmp_path)
        for _ in range(n_kills + 1)
    ]
    assert [done.returncode for done in started] == [*[-signal.SIGKILL] * n_kills, 0], started[-1].stderr
    if command == ["evaluate"]:
        assert "goes on after sample" in started[-1].stderr
    arguments = [text for text in arguments if text not in EVERY]
    alone = commands.python("-m", "command", *arguments, "--out", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert lines_of(tmp_path / "killed") == lines_of(tmp_path / "alone")
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_complete_runs_of_a_command_that_was_killed_are_not_done_again(tmp_path):
    folder = CheckpointFolder(tmp_path, 100)
    stream = streams.make("led_a", seed=1, n_samples=430)
    run = Run("led_a", stream.fingerprint(), "moe-data(n_experts=2)", 1, 430, 100)
    first = Attempt(run, stream, folder)
    *_, last = first.checkpoints()
    first.keep()
    again = Attempt(run, stream, folder)
    assert list(again.checkpoints()) == []
    assert again.n_before == last.n_samples == 430
    assert again.result(is_complete=True)["seconds"] == last.seconds
    assert again.curve == first.curve


def at_200(tmp_path):
    """A folder of checkpoints, a run of 400 samples, and its attempt after two checkpoints."""
    folder = CheckpointFolder(tmp_path, 100)
    stream = streams.make("led_a", seed=1, n_samples=400)
    run = Run("led_a", stream.fingerprint(), "moe-data(n_experts=2)", 1, 400, 100)
    attempt = Attempt(run, stream, folder)
    checkpoints = attempt.checkpoints()
    next(checkpoints)
    next(checkpoints)
    return folder, run, attempt


@pytest.fixture
def kept(tmp_path):
    return at_200(tmp_path)


def test_a_checkpoint_holds_the_model_the_figures_and_the_curve(kept):
    folder, run, attempt = kept
    found = folder.find(run)
    assert found.model.digest() == attempt.model.digest()
    assert found.last.n_samples == 200
    assert found.last.cumulative == attempt.last.cumulative
    assert found.last.routing.window.of_each() == attempt.last.routing.window.of_each()
    assert found.curve == attempt.curve
    assert found.evaluation["tally"]["n_samples"] == 200


def test_another_run_has_another_checkpoint(kept):
    folder, run, _ = kept
    for other in (
        Run(run.stream, run.stream_sha256, run.model, 2, 400, 100),
        Run(run.stream, run.stream_sha256, "moe-data(n_experts=3)", 1, 400, 100),
        Run(run.stream, "another", run.model, 1, 400, 100),
        Run(run.stream, run.stream_sha256, run.model, 1, 400, 100, "5"),
    ):
        assert folder.find(other) is None


def test_every_damage_of_a_checkpoint_is_told(kept):
    folder, run, _ = kept
    file = folder.file(run)
    whole = file.read_bytes()
    n_json = whole.index(b"\n")
    places = [*range(0, n_json, 97), n_json, *range(n_json, len(whole), len(whole) // 150)]
    for place in places:
        for damaged in (
            whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :],
            whole[:place],
        ):
            file.write_bytes(damaged)
            with pytest.raises(ValueError, match="remove the file, and its run will begin anew"):
                folder.find(run)
    file.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match="digest"):
        folder.find(run)
    file.write_bytes(whole)
    assert folder.find(run).last.n_samples == 200


def test_a_checkpoint_of_a_newer_format_is_told_by_name(kept):
    folder, run, _ = kept
    content = folder.file(run).read_bytes()
    folder.file(run).write_bytes(content.replace(b'"format":2', b'"format":3', 1))
    with pytest.raises(ValueError, match="format 3, of a newer version of driftmoe"):
        folder.find(run)


@pytest.mark.parametrize(
    ("name", "found", "message"),
    [
        ("versions", lambda: versions() | {"numpy": "99.0"}, "written with numpy .*, and this is 99.0; "),
        (
            "versions",
            lambda: versions() | {"driftmoe": "99.0"},
            "written with driftmoe .*, and this is 99.0; ",
        ),
        ("commit", lambda: "abc-dirty", "written with commit .*, and this is abc; "),
        ("commit", lambda: None, "written with commit .*, and this is unknown; "),
    ],
)
def test_a_checkpoint_of_other_software_is_refused(tmp_path, monkeypatch, name, found, message):
    monkeypatch.setattr("driftmoe.experiment.checkpoints.commit", lambda: "def")
    folder, run, _ = at_200(tmp_path)
    monkeypatch.setattr(f"driftmoe.experiment.checkpoints.{name}", found)
    with pytest.raises(ValueError, match=f"{message}.* must not come from two versions; remove the file"):
        folder.find(run)


def test_a_damaged_checkpoint_fails_its_run_alone(tmp_path):
    stream = streams.make("led_a", seed=1, n_samples=300)
    runs = [
        Run("led_a", stream.fingerprint(), model, 1, 300, 100)
        for model in ("moe-data(n_experts=2)", "nochange")
    ]
    checkpoints = CheckpointFolder(tmp_path / "checkpoints", 100)
    checkpoints.path.mkdir()
    checkpoints.file(runs[0]).write_bytes(b'{"format":2,')
    evaluations = Evaluations(runs, {1: stream}, ResultFolder(tmp_path), checkpoints)
    for offer in evaluations.attempts():
        with evaluations.keeping(offer):
            list(offer.checkpoints())
    assert [line["model"] for line in evaluations.results] == ["nochange"]
    (failure,) = evaluations.failures
    assert failure.startswith("moe-data(n_experts=2) was not run: checkpoint ")
    assert "the file is cut off or damaged; remove the file" in failure


def test_a_full_disk_leaves_the_checkpoint_before(kept, monkeypatch):
    folder, run, attempt = kept
    before = folder.file(run).read_bytes()

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("driftmoe.staging.os.fsync", full)
    with pytest.raises(OSError, match="the run goes on from an older checkpoint"):
        attempt.keep()
    assert folder.file(run).read_bytes() == before
    assert {file.suffix for file in folder.path.iterdir()} == {".checkpoint", ".curve"}
    assert folder.find(run).curve == attempt.curve


def test_a_checkpoint_adds_to_the_curve_and_never_rewrites_it(tmp_path):
    """The bytes that are written for a checkpoint must not grow with the length of the run."""
    folder, run, _ = at_200(tmp_path)
    file = folder.curve_file(run).path
    first = file.read_bytes()
    n_first = len(folder.file(run).read_bytes().partition(b"\n")[0])
    assert len(first.splitlines()) == 2
    list(Attempt(run, streams.make("led_a", seed=1, n_samples=400), folder).checkpoints())
    assert file.read_bytes().startswith(first)
    assert len(file.read_bytes().splitlines()) == 4
    assert len(folder.file(run).read_bytes().partition(b"\n")[0]) < n_first + len(first) // 2


@pytest.mark.parametrize("tail", [b"", b'{"n_sam', b'{"n_samples": 300}\n' * 5_000])
def test_points_after_the_checkpoint_are_written_anew(kept, tail):
    folder, run, attempt = kept
    file = folder.curve_file(run).path
    before = file.read_bytes()
    file.write_bytes(before + tail)
    again = Attempt(run, streams.make("led_a", seed=1, n_samples=400), folder)
    assert again.curve == attempt.curve
    list(again.checkpoints())
    assert len(file.read_bytes().splitlines()) == 4
    assert folder.find(run).curve == again.curve


@pytest.mark.parametrize("spoil", [lambda text: text[:-1], lambda text: b"x" + text[1:], lambda text: b""])
def test_a_curve_that_is_damaged_is_told(kept, spoil):
    folder, run, _ = kept
    file = folder.curve_file(run).path
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(
        ValueError, match=r"the points of its curve are not in .*; remove the file, and its run"
    ):
        folder.find(run)
    file.unlink()
    with pytest.raises(ValueError, match="the points of its curve are not in"):
        folder.find(run)


def test_a_run_that_begins_anew_takes_no_points_of_an_earlier_one(kept):
    folder, run, attempt = kept
    folder.file(run).unlink()
    again = Attempt(run, streams.make("led_a", seed=1, n_samples=400), folder)
    assert again.curve == []
    next(again.checkpoints())
    assert len(folder.find(run).curve) == 1
    assert attempt.n_before == again.n_before == 0


def done(tmp_path, every, *, n_samples=400, model="moe-data(n_experts=2)", stop_after=None):
    """Evaluate, and return the number of samples of an earlier command, and the results."""
    stream = streams.make("led_a", seed=1, n_samples=n_samples)
    run = Run("led_a", stream.fingerprint(), model, 1, n_samples, 100)
    folder = CheckpointFolder(tmp_path / "checkpoints", every)
    evaluations = Evaluations([run], {1: stream}, ResultFolder(tmp_path), folder)
    n_before = None
    for offer in evaluations.attempts():
        n_before = offer.n_before
        with suppress(KeyboardInterrupt), evaluations.keeping(offer):
            for checkpoint in offer.checkpoints():
                if checkpoint.n_samples == stop_after:
                    raise KeyboardInterrupt
        if stop_after:
            break
    return n_before, evaluations.results


def n_checkpoints(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints", None).n_left()


def test_without_checkpoints_a_run_begins_anew_and_deletes_its_checkpoint_when_it_is_complete(tmp_path):
    done(tmp_path, 100, stop_after=200)
    assert n_checkpoints(tmp_path) == 1
    assert done(tmp_path, None, stop_after=100)[0] == 0
    assert n_checkpoints(tmp_path) == 1  # the longer one is not lost
    n_before, (line,) = done(tmp_path, None)
    assert (n_before, line["n_samples"]) == (0, 400)
    assert not (tmp_path / "checkpoints").exists()


def test_another_number_of_samples_between_checkpoints_goes_on(tmp_path):
    done(tmp_path, 100, stop_after=300)
    assert done(tmp_path, 250)[0] == 300
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_with_other_settings_neither_takes_nor_deletes_a_checkpoint(tmp_path):
    done(tmp_path, 100, stop_after=200)
    assert done(tmp_path, 100, n_samples=500)[0] == 0
    assert done(tmp_path, 100, model="moe-data(n_experts=3)")[0] == 0
    assert n_checkpoints(tmp_path) == 1
    assert done(tmp_path, 100)[0] == 200
    assert not (tmp_path / "checkpoints").exists()


def test_a_grid_deletes_the_checkpoint_of_a_run_that_has_a_result(tmp_path, kept):
    folder, run, _ = kept
    jobs = experiment.JobFolder(tmp_path / "grid")

    def open_stream(name, limit, seed):
        return streams.make(name, seed=seed, n_samples=limit)

    list(run_grid([run], open_stream, jobs, executor="serial"))
    assert folder.n_left() == 1
    list(
        run_grid([run], open_stream, jobs, executor="serial", checkpoints=CheckpointFolder(folder.path, None))
    )
    assert folder.n_left() == 0


def test_the_end_of_a_run_deletes_what_a_killed_process_left(kept):
    folder, run, _ = kept
    left = folder.path / f"{PREFIX}x"
    left.mkdir()
    (left / ".lock").touch()
    folder.drop(run)
    assert not folder.path.exists()


def test_a_model_of_another_library_has_no_checkpoints(tmp_path):
    assert "cannot be described without code" in why_not_kept(naive_bayes.GaussianNB())
    assert why_not_kept(DriftMoEClassifier()) is None
    stream = streams.make("led_a", seed=1, n_samples=300)
    run = Run("led_a", stream.fingerprint(), "nochange", 1, 300, 100)
    attempt = Attempt(run, stream, CheckpointFolder(tmp_path / "checkpoints", 100))
    assert len(list(attempt.checkpoints())) == 3
    attempt.keep()
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_are_due_at_the_first_window_after_each_multiple(tmp_path):
    folder = CheckpointFolder(tmp_path, 250)
    ends = range(100, 1100, 100)
    due = [n for before, n in zip([0, *ends], ends, strict=False) if folder.is_due(before, n)]
    assert due == [300, 500, 800, 1000]


def test_checkpoints_are_not_for_workers_elsewhere(tmp_path):
    events = run_grid(
        [], streams.make, experiment.JobFolder(tmp_path), executor="dask", scheduler="tcp://10.0.0.1:1",
        checkpoints=CheckpointFolder(tmp_path, 10),
    )  # fmt: skip
    with pytest.raises(ValueError, match="may have workers on other machines"):
        next(events)


STOPPED = """
import os, signal
from driftmoe import cli
from driftmoe.experiment.checkpoints import CheckpointFolder

keep = CheckpointFolder.keep

def keep_and_die(self, *arguments):
    keep(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)

CheckpointFolder.keep = keep_and_die
cli.main()
"""
"""A command that kills itself at its first checkpoint."""


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one", "two"])
def test_the_same_command_goes_on_where_a_model_without_checkpoints_is_complete(tmp_path, workers):
    arguments = ["evaluate", *STREAM, "-m", "nochange", "-m", "moe-data(n_experts=3)", "--out", "out"]
    killed = commands.python("-c", STOPPED, *arguments, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    (complete,) = ResultFolder(tmp_path / "out").results("led_a")
    assert complete["model"] == "nochange"

    again = commands.driftmoe(*arguments, *workers, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "moe-data(n_experts=3), seed 1, goes on after sample 300" in again.stderr
    told = "out has a result of nochange, seed 1 on led_a already, which is shown; --force does the run again"
    assert told in again.stderr
    table = [text for text in again.stdout.splitlines() if "±" in text or "%" in text or "nochange" in text]
    assert any("nochange" in text for text in table)
    lines = ResultFolder(tmp_path / "out").results("led_a")
    assert [line["model"] for line in lines] == ["nochange", "moe-data(n_experts=3)"]
    assert lines[0] == complete  # not done again: even its times are the same
    assert all(line["complete"] for line in lines)
    assert not (tmp_path / "out" / "checkpoints").exists()

    alone = commands.driftmoe(*[text for text in arguments if text not in EVERY][:-1], "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "alone")


def result_of_nochange(tmp_path):
    """The arguments of a command with checkpoints that is complete, and its result line."""
    arguments = ["evaluate", *STREAM, "-m", "nochange", "--out", "out"]
    assert commands.driftmoe(*arguments, cwd=tmp_path).returncode == 0
    (line,) = ResultFolder(tmp_path / "out").results("led_a")
    return arguments, line


def test_a_command_with_checkpoints_that_is_complete_shows_its_results(tmp_path):
    arguments, line = result_of_nochange(tmp_path)
    again = commands.driftmoe(*arguments, "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[0]) == line
    forced = commands.driftmoe(*arguments, "--force", "--json", cwd=tmp_path)
    assert json.loads(forced.stdout.splitlines()[0])["seconds"] != line["seconds"]
    without = [text for text in arguments if text not in EVERY]
    assert "--force does the run again" in commands.driftmoe(*without, cwd=tmp_path).stderr


@pytest.mark.parametrize(
    "change",
    [{"parameters": {"seed": 99}}, {"versions": {"driftmoe": "0.0"}}, {"commit": "another"}],
    ids=lambda change: next(iter(change)),
)
def test_a_result_of_other_code_is_not_shown_as_that_of_the_same_command(tmp_path, change):
    arguments, line = result_of_nochange(tmp_path)
    (tmp_path / "out" / "results.jsonl").write_text(json.dumps(line | change) + "\n")
    again = commands.driftmoe(*arguments, cwd=tmp_path)
    assert again.returncode == 2
    assert "out has a result of nochange, seed 1 on led_a already; --force does the run again" in again.stderr
    (kept,) = ResultFolder(tmp_path / "out").results("led_a")
    assert kept == line | change
