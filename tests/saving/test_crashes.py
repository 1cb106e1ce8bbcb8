"""Models are saved while processes are killed, disks are full, folders are read-only, and others write.

`python -m benchmarks.faults` does the same more often.
"""

from __future__ import annotations

import os

import commands
import pytest

from benchmarks.faults import saving
from driftmoe.staging import LOCK, PREFIX

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FAULTS = {
    "a learner is killed at random moments": ("killed(folder, 12)", 12),
    "a process is killed before each line of saving": ("killed_at_each_line(folder)", 30),
    "the disk is full after some bytes": ("limited(folder, 12)", 12),
    "nobody may write": ("forbidden(folder)", 4),
    "two processes save at once": ("beside_each_other(folder, 25)", 50),
}


SCRIPT = """
from pathlib import Path
from benchmarks.faults import saving
folder = Path("at")
folder.mkdir()
print(*saving.{call})
"""


@pytest.mark.parametrize(("call", "least"), FAULTS.values(), ids=FAULTS)
def test_the_file_stays_a_model_that_existed_while(call, least, tmp_path):
    pytest.importorskip("resource")
    script = SCRIPT.format(call=call)
    done = commands.python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tried, lost = map(int, done.stdout.split())
    assert lost == 0
    assert tried >= least


def test_a_small_disk_that_fills_up_keeps_the_last_model(tmp_path):
    found = saving.small_disk(tmp_path)
    if found is None:
        pytest.skip("this process may mount no disk")
    tried, lost = found
    assert lost == 0
    assert tried > 0


@pytest.fixture
def states():
    """A model after 5 and after 10 samples, and the lines that its learner wrote."""
    model, lines = saving.small(), []
    for i in range(10):
        model.learn_one({"x": i % 3}, i % 2)
        if i % 5 == 4:
            lines.append((model.to_bytes(), f"{model.digest()} {saving.n_learnt(model)}"))
    return lines


@pytest.mark.parametrize(
    ("n_found", "log", "is_kept"),
    [
        (None, [], True),
        (None, [0], True),
        (None, [0, "saved"], False),
        (0, [0], True),
        (0, [0, "saved", 1], True),
        (1, [0, "saved", 1], True),
        (0, [0, "saved", 1, "saved"], False),
        (1, [0, "saved"], False),
    ],
)
def test_a_file_that_was_lost_or_never_announced_or_is_too_old_is_harm(
    states, tmp_path, n_found, log, is_kept
):
    file = tmp_path / "model.moe"
    if n_found is not None:
        file.write_bytes(states[n_found][0])
    lines = [line if line == "saved" else states[line][1] for line in log]
    assert saving._is_of_a_state(file, lines) == is_kept
    if n_found is not None and log[-1] == "saved":
        file.write_bytes(states[n_found][0][:-1])
        assert not saving._is_of_a_state(file, lines)


def test_what_a_killed_process_left_is_harm_unless_saving_cleans_it_up(states, tmp_path):
    (tmp_path / "model.moe").write_bytes(states[0][0])
    (tmp_path / f"{PREFIX}old").mkdir()
    assert saving._n_left(tmp_path) == 0
    (tmp_path / f"{PREFIX}locked").mkdir()
    (tmp_path / f"{PREFIX}locked" / LOCK).touch()
    assert saving._n_left(tmp_path) == 1
    saving.small().save(tmp_path / "model.moe")  # the lock was free
    (tmp_path / "other").touch()
    assert saving._n_left(tmp_path) == 1
