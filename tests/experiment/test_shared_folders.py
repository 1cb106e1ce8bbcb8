"""Several commands on one folder of results, and processes that die over it: each run once, each result whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

import commands
import pytest
from places import ENVIRONMENT, ROOT

from driftmoe.experiment import (
    KEY,
    Backlog,
    Event,
    JobFolder,
    ResultFolder,
    Run,
    read_failures,
    read_results,
)
from driftmoe.staging import LOCK, PREFIX, naming

TESTS = [str(ROOT / "tests"), str(ROOT / "tests" / "experiment")]
SLOW = """
import os, time
from pathlib import Path
from river import dummy
from driftmoe import cli, models

class Slow(dummy.NoChangeClassifier):
    '''Notes in `begun` that a run has begun, and takes its time as long as there is a file `slow`.'''

    n_learnt = 0

    def learn_one(self, x, y):
        self.n_learnt += 1
        if self.n_learnt == 1:
            with open("begun", "a") as file:
                print(os.getpid(), file=file, flush=True)
        while self.n_learnt == 150 and Path("slow").exists():
            time.sleep(0.02)
        super().learn_one(x, y)

models.MODELS["slow"] = Slow
models.MODELS["slower"] = Slow
if __name__ == "__main__":
    cli.main()
"""

COMMANDS = {
    "evaluate": ["evaluate", "led_a", "--limit", "300", "--window", "100", "--out", "out"],
    **{
        executor: ["grid", "led_a", "--limit", "300", "--window", "100", "--out", "out", "--executor", executor]
        for executor in ("serial", "processes", "dask")
    },
}  # fmt: skip


@pytest.fixture
def place(tmp_path):
    (tmp_path / "command.py").write_text(SLOW)
    (tmp_path / "slow").touch()
    return tmp_path


def started(place, *arguments):
    return commands.started("-m", "command", *arguments, cwd=place)


def begun(place):
    """Processes that have begun a run, in their order."""
    file = place / "begun"
    return file.read_text().split() if file.exists() else []


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def results_in(place):
    return [(line["model"], line["complete"]) for line in read_results(place / "out")[0]]


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_run_that_one_command_is_doing_is_not_done_by_another(place, kind):
    if kind == "dask":
        pytest.importorskip("distributed", reason="the extra driftmoe[dask] is not installed")
    first = started(place, *COMMANDS[kind], "-m", "slow")
    until(lambda: len(begun(place)) == 1)
    second = started(place, *COMMANDS[kind], "-m", "slow", "-m", "nochange")
    until(lambda: "nochange" in str(list(results_of_any(place))))  # what nobody does is done meanwhile
    (place / "slow").unlink()
    assert [process.wait() for process in (first, second)] == [0, 0], first.stderr + second.stderr
    assert len(begun(place)) == 1
    assert sorted(results_in(place)) == [("nochange", True), ("slow", True)]
    assert "slow on led_a, seed 1, is being done by another command and left to it" in second.stderr
    assert not list((place / "out" / ".claims").iterdir())


def results_of_any(place):
    """Models of the results that there are, of both kinds of folder; no lock is asked for."""
    for file in (place / "out").glob("jobs/*.json"):
        yield file.name
    lines = place / "out" / "results.jsonl"
    if lines.exists():
        yield lines.read_text()


@pytest.mark.parametrize("kind", ["evaluate", "serial", "processes"])
def test_a_run_of_a_process_that_was_killed_is_taken_up_by_the_one_that_waits(place, kind):
    first = started(place, *COMMANDS[kind], "-m", "slow")
    until(lambda: len(begun(place)) == 1)
    second = started(place, *COMMANDS[kind], "-m", "slow")
    until(lambda: "left to it" in second.stderr)
    first.kill()
    first.wait()
    until(lambda: len(begun(place)) == 2)
    (place / "slow").unlink()
    assert second.wait() == 0, second.stderr
    assert len(begun(place)) == 2
    assert results_in(place) == [("slow", True)]


def test_ctrl_c_ends_a_command_that_waits_for_another_and_shows_what_it_has(place):
    first = started(place, *COMMANDS["evaluate"], "-m", "slow")
    until(lambda: len(begun(place)) == 1)
    second = started(place, *COMMANDS["evaluate"], "-m", "nochange", "-m", "slow")
    until(lambda: "left to it" in second.stderr)
    second.send_signal(signal.SIGINT)
    assert second.wait() == 130
    assert "Traceback" not in second.stderr
    assert "nochange" in second.stdout
    (place / "slow").unlink()
    assert first.wait() == 0


def plan(*models):
    return [Run("s", "", model, 1, None, 1) for model in models]


class Memory:
    """A folder whose claims are files, and whose results are set by the test."""

    def __init__(self, path):
        self.folder, self.results = ResultFolder(path), {}

    def claim(self, run):
        return self.folder.claim(run)

    def result(self, run):
        return self.results.get(run)


def test_a_backlog_does_first_what_nobody_else_does(tmp_path):
    folder, (a, b) = Memory(tmp_path), plan("nb", "ht")
    other = folder.claim(a)
    assert other.take()
    backlog = Backlog([a, b, a], folder)
    offers = backlog.offers()
    assert [next(offers), next(offers)] == [Event(a, "waiting"), b]
    backlog.done(b)
    other.give_up()
    assert next(offers) == a
    backlog.done(a, is_kept=False)
    assert list(offers) == []


def test_a_run_that_another_command_has_done_meanwhile_counts_as_done(tmp_path):
    folder, (run,) = Memory(tmp_path), plan("nb")
    other = folder.claim(run)
    assert other.take()
    offers = Backlog([run], folder).offers()
    assert next(offers) == Event(run, "waiting")
    folder.results[run] = {"accuracy": 0.5}
    other.give_up(is_done=True)
    assert list(offers) == [Event(run, "kept", 1.0, {"accuracy": 0.5})]


def test_a_result_clears_away_what_the_dead_left(tmp_path):
    folder, (run,) = JobFolder(tmp_path), plan("nochange")
    left = tmp_path / "jobs" / f"{PREFIX}left"
    left.mkdir()
    (left / LOCK).touch()
    (left / "0").write_text("half")
    folder.keep(run, *line_of("nochange"))
    assert list((tmp_path / "jobs").iterdir()) == [folder.file(run)]


def test_a_claim_is_had_by_one(tmp_path):
    folder, (run,) = JobFolder(tmp_path), plan("nochange")
    first, second = folder.claim(run), folder.claim(run)
    assert first.take()
    assert not second.take()
    first.give_up()
    assert second.take()
    second.give_up(is_done=True)
    assert list((tmp_path / ".claims").iterdir()) == []


# One transaction


def line_of(model, accuracy=0.5, n=2):
    """A result line and its curve, which has as many points as the line says and its accuracy."""
    key = dict.fromkeys(KEY, "a") | {"model": model, "seed": 1, "limit": None, "window": 5}
    line = key | {"n_samples": n, "drifts": [], "complete": True, "accuracy": accuracy}
    line |= dict.fromkeys(("samples_per_second", "seconds", "model_bytes"), 0.5)
    points = [key | {"n_samples": i + 1, "accuracy": accuracy} for i in range(n)]
    return line, points


def kept_in(path):
    """What a folder holds: model -> accuracy of its line; the curve must be that of the same run."""
    lines, points = read_results(path)
    for line in lines:
        of_line = [point for point in points if point["model"] == line["model"]]
        assert [float(point["accuracy"]) for point in of_line] == [line["accuracy"]] * line["n_samples"]
    assert {point["model"] for point in points} == {line["model"] for line in lines}
    return {line["model"]: line["accuracy"] for line in lines}


def has_results(path):
    """Whether a folder has results, even where they are not yet in their place."""
    return any((path / folder / "results.jsonl").exists() for folder in (".", ".committed"))


def no_temporaries(path):
    return sorted(file.name for file in path.iterdir()) == [".lock", "results.jsonl", "windows.csv"]


STEPS = ("fsync", "replace", "rename", "mkdir", "rmdir")


@pytest.mark.parametrize("with_older", [False, True])
def test_a_disk_that_fills_up_at_any_step_leaves_line_and_curve_of_one_run(tmp_path, monkeypatch, with_older):
    """Each system call of `add` in turn fails as on a full disk, until none is left to fail."""
    n_failures = 0
    for k in range(100):
        path = tmp_path / str(k)
        folder, calls = ResultFolder(path), []
        folder.add(*line_of("other"))
        if with_older:
            folder.add(*line_of("model", 0.25, n=3))

        def counted(name, calls=calls, k=k):
            real = getattr(os, name)

            def call(*args, **options):
                calls.append(name)
                if len(calls) == k + 1:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*args, **options)

            return call

        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, counted(name))
            with suppress(OSError):
                folder.add(*line_of("model", 0.75))
                n_failures -= 1
            n_failures += 1
        if len(calls) <= k:
            break
        before = {"other": 0.5, "model": 0.25} if with_older else {"other": 0.5}
        assert kept_in(path) in (before, {"other": 0.5, "model": 0.75})
        again = ResultFolder(path)  # the next command clears up
        assert no_temporaries(path)
        again.add(*line_of("last"))
        assert kept_in(path)["last"] == 0.5
    assert n_failures >= 7
    assert kept_in(path) == {"other": 0.5, "model": 0.75}


KILLED = """
import os, sys, signal
sys.path[:0] = TESTS
from pathlib import Path
from test_shared_folders import STEPS, line_of
from driftmoe.experiment import ResultFolder
for k in range(100):
    path = Path(str(k))
    folder = ResultFolder(path)
    if WITH_OTHER:
        folder.add(*line_of("other"))
        folder.add(*line_of("model", 0.25, n=3))
    if os.fork() == 0:
        folder, calls = ResultFolder(path), []  # a lock does not go with a fork
        def counted(real):
            def call(*args, **options):
                calls.append(real)
                if len(calls) == k + 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)
            return call
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        folder.add(*line_of("model", 0.75))
        os._exit(0)
    if os.wait()[1] == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("with_other", [True, False])
def test_a_process_that_is_killed_at_any_step_leaves_line_and_curve_of_one_run(tmp_path, with_other):
    script = KILLED.replace("TESTS", repr(TESTS)).replace("WITH_OTHER", str(with_other))
    done = commands.python("-c", script, cwd=tmp_path)
    assert done.returncode == 0
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) >= 8
    befores = [{}, {"model": 0.75}]
    if with_other:
        befores = [{"other": 0.5, "model": 0.25}, {"other": 0.5, "model": 0.75}]
    n_old = 0
    for folder in folders:
        found = kept_in(folder) if with_other or has_results(folder) else {}  # of the first result of all
        assert found in befores
        n_old += found == befores[0]
        ResultFolder(folder).add(*line_of("last"))
        assert no_temporaries(folder)
        assert kept_in(folder) == {**found, "last": 0.5}
    assert 2 <= n_old < len(folders)


LIMITED = """
import resource, sys
sys.path[:0] = TESTS
from pathlib import Path
from test_shared_folders import line_of
from driftmoe.experiment import ResultFolder
folder = ResultFolder(Path("out"))
folder.add(*line_of("small"))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    folder.add(*line_of("large", n=5_000))
except OSError as error:
    print(error)
"""


def test_a_curve_that_the_disk_cannot_hold_leaves_no_line_without_it_and_the_file_is_named(tmp_path):
    pytest.importorskip("resource")
    script = LIMITED.replace("TESTS", repr(TESTS))
    done = commands.python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"[Errno {errno.EFBIG}] File too large: 'out/windows.csv'\n"
    assert kept_in(tmp_path / "out") == {"small": 0.5}
    assert no_temporaries(tmp_path / "out")


def test_a_full_disk_is_told_of_with_the_file_in_a_grid_too(tmp_path, monkeypatch):
    folder, (run,) = JobFolder(tmp_path), plan("nochange")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        folder.keep(run, *line_of("nochange"))
    assert caught.value.filename == str(folder.file(run))
    assert list((tmp_path / "jobs").iterdir()) == []


def test_an_error_that_names_its_file_is_left_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path / "a"):
        (tmp_path / "b").read_text()
    assert caught.value.filename == str(tmp_path / "b")


def test_a_reader_waits_for_a_writer_and_leaves_no_lock_of_its_own(tmp_path):
    folder = ResultFolder(tmp_path / "written")
    folder.add(*line_of("model"))
    script = textwrap.dedent(
        """
        import time
        from pathlib import Path
        from driftmoe.experiment import read_results
        print("reading", flush=True)
        start = time.monotonic()
        read_results(Path("written"))
        print(time.monotonic() - start)
        """
    )
    with folder._lock:
        reader = subprocess.Popen(
            [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert reader.stdout.readline() == "reading\n"
        with pytest.raises(subprocess.TimeoutExpired):
            reader.communicate(timeout=1)
    out, _ = reader.communicate(timeout=30)
    assert float(out) > 0.5
    (tmp_path / "copied").mkdir()
    for name in ("results.jsonl", "windows.csv"):
        (tmp_path / "copied" / name).write_bytes((tmp_path / "written" / name).read_bytes())
    read_results(tmp_path / "copied")
    assert len(list((tmp_path / "copied").iterdir())) == 2


def test_a_run_that_is_kept_did_not_fail_whatever_its_process_left(tmp_path):
    folder, (run,) = JobFolder(tmp_path), plan("nochange")
    file = folder.keep_failure(run, "out of memory")
    text = file.read_text()
    folder.keep(run, *line_of("nochange"))
    file.write_text(text)  # as where the process was killed before it removed this
    assert read_failures(tmp_path) == []


def test_lines_of_a_folder_are_json_and_end_their_line(tmp_path):
    folder = ResultFolder(tmp_path)
    folder.add(*line_of("a"))
    folder.add(*line_of("b"))
    texts = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(text)["model"] for text in texts] == ["a", "b"]
