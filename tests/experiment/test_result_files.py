"""Files of results: what tells runs apart, what is read, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from places import ROOT
from small_grids import plan

from driftmoe import models
from driftmoe.experiment import (
    KEY,
    JobFolder,
    ResultFolder,
    Run,
    read_failures,
    read_results,
    run_grid,
    run_job,
    run_key,
)
from driftmoe.report import usable
from streams.opening import open_stream


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
        ("", "is not valid JSON"),
        ('{"result": {"stre', "is not valid JSON"),
        ("[]", "is not a result of this program: it has no curve"),
        ('{"result": {}, "curve": []}', "is not a result of this program: it has no stream"),
        ('{"result": [], "curve": []}', "is not a result of this program; move it away"),
        ('{"result": {}, "curve": [1]}', "is not a result of this program: it has no curve"),
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
        ({"stream": "a", "model": "x"}, "line 2 is not a result of this program: it has no stream_sha256"),
        ({**result, "accuracy": None}, "line 2 is not a result of this program: accuracy is None"),
        ({**result, "seed": True}, "line 2 is not a result of this program: seed is True"),
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
    with pytest.raises(ValueError, match=r"lines.jsonl, line 1 is not valid JSON"):
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


@pytest.mark.parametrize(
    "file", ["paper", "full_length", "electricity", "ablation/rare", "ablation/gate", "neural_experiments"]
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


def test_a_folder_without_results_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="holds no results; run"):
        read_results(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.json").write_text('{"result": ')
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON"):
        read_results(tmp_path)
