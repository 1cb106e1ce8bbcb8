"""The README as a user follows it: its example, its commands with small numbers, its figures."""

from __future__ import annotations

import json
import re
import shlex
import threading

import commands
import pytest
from places import ROOT

from driftmoe import models
from driftmoe.experiment import plain

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
EXAMPLES = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.split("#")[0].strip()
    for language, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
    if line.startswith("driftmoe ")
]


def test_example_runs_and_learns(tmp_path):
    example, *_ = EXAMPLES
    assert len(example.strip().splitlines()) <= 12
    done = commands.python("-c", example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy, proba = done.stdout.splitlines()
    assert float(accuracy) > 0.7
    assert sum(eval(proba).values()) == pytest.approx(1.0)


def test_the_model_of_the_first_example_is_saved_and_loaded(tmp_path):
    first, saving, *_ = EXAMPLES
    script = f"{first}saved = model.digest()\n{saving}print(model.digest() == saved)"
    done = commands.python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True"
    assert (tmp_path / "model.moe").exists()


def test_neural_example_runs(tmp_path):
    """A router of 64 x 6 and six experts of 64 x 4 x 64 learn."""
    *_, example = EXAMPLES
    done = commands.python("-c", example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"trainable={64 * 6 + 6 * 2 * 64 * 4}," in done.stdout


def test_evaluation_example_runs(tmp_path):
    _, _, example, _, _ = EXAMPLES
    done = commands.python("-c", example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *checkpoints, folds = done.stdout.splitlines()
    assert [line.split()[0] for line in checkpoints] == ["1000", "2000", "3000", "4000"]
    losses = [float(line.split()[1]) for line in checkpoints]
    assert losses == sorted(losses, reverse=True)
    assert 0.0 < losses[-1] < losses[0]
    assert len(json.loads(folds)) == 5


def test_the_example_of_a_client_is_answered(tmp_path):
    """The page of the service says `127.0.0.1:8000`; here a free port takes its place."""
    from driftmoe.service import Settings, Store, Worker
    from driftmoe.service.http import server_of

    (example,) = [text for text in EXAMPLES if "/api/predict" in text]
    worker = Worker(Store(tmp_path), Settings(model="moe-data"))
    worker.start()
    server = server_of(worker, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        done = commands.python("-c", example.replace("http://127.0.0.1:8000", server.url), cwd=tmp_path)
    finally:
        server.stop()
        thread.join()
        worker.stop()
    assert done.returncode == 0, done.stderr
    assert worker.counts == {"events": 2, "predicted": 1, "learnt": 1}


@pytest.mark.slow
def test_commands_run_one_after_the_other(tmp_path, fetched):
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        if "--limit" in arguments:
            del arguments[arguments.index("--limit") : arguments.index("--limit") + 2]
        if arguments[0] == "neural":
            arguments += ["--steps", "5"]
        elif "--help" not in arguments and arguments[0] != "report" and "list" not in arguments:
            arguments += ["--limit", "300"]
        if arguments[0] == "evaluate" and "--help" not in arguments:
            arguments += ["--force"]  # of one length, two examples are the same run
        done = commands.driftmoe(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_make_knows_the_two_commands():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert target in targets


def test_table_is_that_of_the_result_file():
    """A row of the printed table: the figures of the run that `make run` does, rounded."""
    lines = (ROOT / "benchmarks" / "results" / "electricity.jsonl").read_text().splitlines()
    for result in map(json.loads, lines):
        (row,) = [line for line in README.splitlines() if line.startswith(f"│ {result['model']} ")]
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        shares = [
            f"{100 * result[key]:.2f}" for key in ("accuracy", "kappa", "kappa_m", "kappa_t", "f1_macro")
        ]
        rest = [f"{result['samples_per_second']:,.0f}", f"{result['model_bytes'] / 1e6:.2f}"]
        assert cells == [result["model"], *shares, *rest]


def test_the_result_file_is_of_todays_defaults():
    lines = (ROOT / "benchmarks" / "results" / "electricity.jsonl").read_text().splitlines()
    (line,) = [line for line in map(json.loads, lines) if line["model"] == "driftmoe"]
    then = {name: value for name, value in line["parameters"].items() if value is not None}
    today = json.loads(json.dumps(plain(models.make("driftmoe", seed=line["seed"]).settings)))
    assert len(then.keys() & today.keys()) > 8
    assert {name: today[name] for name in then.keys() & today.keys()} == {
        name: then[name] for name in then.keys() & today.keys()
    }
