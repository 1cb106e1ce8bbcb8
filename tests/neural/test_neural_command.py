"""The command `driftmoe neural`."""

from __future__ import annotations

import json

import commands
import pytest

from driftmoe import report
from driftmoe.experiment import read_results


def command(*arguments, cwd):
    return commands.driftmoe("neural", *arguments, cwd=cwd)


def test_the_command_runs_keeps_and_reports(tmp_path):
    arguments = ["drift", "--steps", "20", "-p", "plain", "-p", "TopK(2)", "--seed", "1", "--out", "kept"]
    first = command(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    for name in ("drift-permutation", "drift-rotation", "drift-labels"):
        assert f"{name}, 320 samples" in first.stdout
        assert (tmp_path / "kept" / f"{name}.png").stat().st_size > 10_000
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept" / "jobs").iterdir()}
    assert len(files) == 6
    again = command(*arguments, cwd=tmp_path)
    assert "6 done (6 before)" in again.stderr
    assert {file: file.stat().st_mtime_ns for file in files} == files

    results, curves = read_results(tmp_path / "kept")
    line = next(r for r in results if r["stream"] == "drift-labels" and r["model"] == "TopK(2)")
    assert line["drifts"] == [[64, 1], [128, 1], [192, 1], [256, 1]]
    assert json.loads(json.dumps(line)) == line
    parts = report.sections(results, curves)
    assert "Neural experiments" in [part.title for part in parts]
    page = report.page(parts, title="neural")
    assert "expert kFLOPs" in page
    assert "Bayesian" not in page  # experiments are no streams to rank models over


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "unknown experiment 'nosuch'; available: lm, adapt, drift"),
        (["lm", "-p", "TopQ(2)"], "unknown policy 'TopQ'"),
        (["drift", "-p", "mola"], "adapt alone does"),
        (["drift", "-p", "TopK(20)"], "k=20"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, arguments, message):
    ended = command(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
