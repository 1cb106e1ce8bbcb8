"""Runs that are killed go on from their last checkpoint, and end with the result of a run left alone."""

from __future__ import annotations

import csv
import json
import signal

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
    why_not_kept,
)

OF_TIME = {"samples_per_second", "seconds", "cpu_seconds", "ram_hours"}

NOISE = 2_000
"""Bytes by which two measurements of equal models may differ: Python shares equal objects in one, not in the other."""

DEADLY = """
import multiprocessing, os, signal
from pathlib import Path
from driftmoe import cli
from driftmoe.experiment import CheckpointFolder

keep, n_kept = CheckpointFolder.keep, 0

def keep_and_die(self, *arguments):
    global n_kept
    written, n_kept = keep(self, *arguments), n_kept + 1
    lives = Path("lives")
    if lives.exists() and (n := int(lives.read_text())) > 0 and n_kept == 2:
        lives.write_text(str(n - 1))
        if "processes" in Path("command").read_text():
            os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return written

CheckpointFolder.keep = keep_and_die
if __name__ == "__main__":
    cli.main()
"""

MODELS = ["-m", "driftmoe(n_experts=3)", "-m", "moe-data(n_experts=3)"]
STREAM = ["led_a", "--limit", "1230", "--window", "100", "--checkpoint-every", "250"]


def lines_of(folder):
    """The result lines and curves of a folder of `evaluate` or `grid`, without times."""
    if (folder / "results.jsonl").exists():
        results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        with (folder / "windows.csv").open(newline="") as file:
            curves = list(csv.DictReader(file))
    else:
        jobs = [json.loads(file.read_text()) for file in sorted((folder / "jobs").glob("*.json"))]
        results, curves = [job["result"] for job in jobs], [point for job in jobs for point in job["curve"]]
    sizes = [result.pop("model_bytes") for result in results]
    plain = [
        {name: value for name, value in line.items() if name not in OF_TIME} for line in results + curves
    ]
    return sorted(json.dumps(line, sort_keys=True) for line in plain), sizes


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
    alone = commands.python("-m", "command", *arguments, "--out", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    (found, sizes), (expected, other_sizes) = lines_of(tmp_path / "killed"), lines_of(tmp_path / "alone")
    assert found == expected
    assert sizes == pytest.approx(other_sizes, abs=NOISE)
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


@pytest.fixture
def kept(tmp_path):
    folder = CheckpointFolder(tmp_path, 100)
    stream = streams.make("led_a", seed=1, n_samples=400)
    run = Run("led_a", stream.fingerprint(), "moe-data(n_experts=2)", 1, 400, 100)
    attempt = Attempt(run, stream, folder)
    checkpoints = attempt.checkpoints()
    next(checkpoints)
    next(checkpoints)
    return folder, run, attempt


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
    folder.file(run).write_bytes(content.replace(b'"format":1', b'"format":2', 1))
    with pytest.raises(ValueError, match="format 2, of a newer version of driftmoe"):
        folder.find(run)


def test_a_checkpoint_of_another_version_of_the_library_is_refused(kept, monkeypatch):
    folder, run, _ = kept
    monkeypatch.setattr("driftmoe.experiment.checkpoints.__version__", "99.0")
    with pytest.raises(ValueError, match="must not come from two versions; remove the file"):
        folder.find(run)


def test_a_damaged_checkpoint_fails_its_run_alone(tmp_path):
    stream = streams.make("led_a", seed=1, n_samples=300)
    runs = [
        Run("led_a", stream.fingerprint(), model, 1, 300, 100)
        for model in ("moe-data(n_experts=2)", "nochange")
    ]
    checkpoints = CheckpointFolder(tmp_path / "checkpoints", 100)
    checkpoints.path.mkdir()
    checkpoints.file(runs[0]).write_bytes(b'{"format":1,')
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
    assert [file.name for file in folder.path.iterdir()] == [folder.file(run).name]


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
