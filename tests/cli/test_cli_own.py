"""A user's own models and streams on the command line, standard input, JSON and quiet commands."""

from __future__ import annotations

import json

import commands
import pytest

from driftmoe import own
from streams.pairs import Pairs

MINE = """
from random import Random
from river import base

class Mine(base.Classifier):
    def __init__(self, depth=1, seed=None):
        self.depth, self.seed, self.last = depth, seed, None
    def learn_one(self, x, y):
        self.last = y
    def predict_one(self, x):
        return self.last

class Forgetful(base.Classifier):
    def __init__(self, depth=1):
        pass
    def learn_one(self, x, y):
        pass
    def predict_one(self, x):
        return 1

class Turbine:
    def __init__(self, n=600, seed=1):
        self.n, self.seed = n, seed
    def __iter__(self):
        random = Random(self.seed)
        for _ in range(self.n):
            a = random.random()
            yield {"a": a, "b": random.choice("xyz")}, "hi" if a > 0.5 else "lo"

class Loose:
    def __init__(self, n=600):
        self.n = n
    def __iter__(self):
        random = Random()
        for _ in range(self.n):
            a = random.random()
            yield {"a": a}, "hi" if a > 0.5 else "lo"

class Begun(Turbine):
    def __init__(self):
        super().__init__(n=5000)
        self.samples = super().__iter__()
    def __iter__(self):
        return self.samples

def five():
    return 5
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("import nosuchlibrary\n")
    return tmp_path


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_own_models_and_streams_are_evaluated_and_json_goes_to_standard_output_alone(folder):
    arguments = [
        "evaluate",
        "mine:Turbine(n=500)",
        "-m",
        "mine:Mine(depth=3)",
        "-m",
        "nochange",
        "--seed",
        "7",
    ]
    done = commands.driftmoe(*arguments, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    ours, theirs = lines_of(done.stdout)
    assert (ours["stream"], ours["model"], ours["n_samples"]) == (
        "mine:Turbine(n=500)",
        "mine:Mine(depth=3)",
        500,
    )
    assert (ours["parameters"]["depth"], ours["parameters"]["seed"]) == (3, 7)
    assert ours["accuracy"] == theirs["accuracy"]  # both repeat the last label
    assert "accuracy" in done.stderr
    quiet = commands.driftmoe(*arguments, "--json", "--quiet", "--force", cwd=folder)
    assert quiet.stderr == ""
    assert [line["accuracy"] for line in lines_of(quiet.stdout)] == [ours["accuracy"]] * 2


def test_a_grid_does_own_models_on_own_streams_in_processes_and_again_only_after_a_change(folder):
    arguments = [
        "grid",
        "mine:Turbine",
        "-m",
        "mine:Mine",
        "--limit",
        "300",
        "--workers",
        "2",
        "--out",
        "grid",
    ]
    first = commands.driftmoe(*arguments, "--json", cwd=folder)
    assert first.returncode == 0, first.stderr
    (line,) = lines_of(first.stdout)
    assert (line["stream"], line["model"], line["n_samples"]) == ("mine:Turbine", "mine:Mine", 300)
    assert not any(text.endswith(" ") for text in first.stderr.splitlines())
    assert "1 done (1 before)" in commands.driftmoe(*arguments, cwd=folder).stderr
    (folder / "mine.py").write_text(MINE.replace("depth=1, seed", "depth=2, seed"))
    assert "1 done (0 before)" in commands.driftmoe(*arguments, cwd=folder).stderr


@pytest.mark.parametrize(
    ("stream", "model", "message"),
    [
        ("mine:Turbine", "mine:Min", "has no 'Min'; did you mean 'Mine'?"),
        ("mine:Turbine", "nosuch:Mine", "there is no module 'nosuch'"),
        ("mine:Turbine", "broken:Mine", "'broken:Mine': No module named 'nosuchlibrary'"),
        ("mine:Turbine", "mine:Mine(dept=1)", "has no argument 'dept'; did you mean 'depth'?"),
        ("mine:Turbine", "mine:Mine(depth=open('x'))", "unknown name 'open'"),
        ("mine:Turbine", "mine:Turbine", "no classifier of river"),
        ("mine:Turbine", "mine:Forgetful", "needs each argument of the constructor as an attribute"),
        ("mine:five", "nb", "makes a int, no stream"),
        ("mine:Loose", "nb", "mine:Loose yields other samples each time it is read"),
        ("mine:Begun", "nb", "mine:Begun yields other samples each time it is read"),
        ("river.datasets.synth:SEA", "nb", "has no end; give --limit"),
    ],
)
def test_what_is_no_model_and_no_stream_is_told_in_one_line(folder, stream, model, message):
    done = commands.driftmoe("evaluate", stream, "-m", model, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_stream_that_ends_before_its_limit_is_as_long_as_it_was(folder):
    arguments = ["evaluate", "mine:Turbine(n=500)", "-m", "nochange", "--limit", "10000", "--json", "--quiet"]
    (line,) = lines_of(commands.driftmoe(*arguments, cwd=folder).stdout)
    assert line["complete"]
    assert (line["n_samples"], line["stream_length"], line["limit"]) == (500, 500, 10_000)


def test_a_name_that_is_not_ours_runs_no_code():
    assert not own.is_own("arf(metric='a:b')")
    with pytest.raises(ValueError, match="unknown model"):
        own.make("nosuch")


def test_pairs_refuse_what_is_no_sample_and_name_it():
    with pytest.raises(ValueError, match="sample 1 is 3, not a pair"):
        Pairs(lambda: [({"a": 1}, 0), 3])
    late = Pairs(lambda: [({"a": 1}, 0)] * 1000 + [({"b": 1}, 0)], name="mine:S")
    with pytest.raises(ValueError, match="mine:S, sample 1000: 'b' is no feature of the first 1000"):
        list(late)


def test_standard_input_is_read_where_a_file_is_expected(folder):
    (folder / "a.csv").write_text("x,y\n" + "".join(f"{i % 7},{i % 7 > 3:d}\n" for i in range(300)))
    script = (
        "import sys; sys.stdin = open('a.csv'); sys.argv = ['driftmoe', 'evaluate', NAME, '-m', 'nb', '--json', '-q',"
        " '--target', 'y']; from driftmoe.cli import main; main()"
    )
    named, piped = (
        commands.python("-c", script.replace("NAME", repr(name)), cwd=folder) for name in ("a.csv", "-")
    )
    assert named.returncode == piped.returncode == 0, piped.stderr
    (of_file,), (of_input,) = lines_of(named.stdout), lines_of(piped.stdout)
    assert (of_input["stream"], of_input["n_samples"]) == ("-", 300)
    assert of_input["accuracy"] == of_file["accuracy"]
    assert of_input["stream_sha256"] == of_file["stream_sha256"]


def test_nothing_is_overwritten_without_force(folder):
    """Files that are there stay as they are."""
    for arguments in (
        ["streams", "export", "led", "a.csv", "--limit", "20"],
        ["streams", "plot", "led", "--limit", "20", "--out", "a.png"],
        ["evaluate", "led", "-m", "moe-data", "--limit", "20", "--save", "a.moe", "--out", "o"],
    ):
        file = folder / next(word for word in arguments if word[:2] == "a.")
        file.write_text("old")
        refused = commands.driftmoe(*arguments, cwd=folder)
        assert refused.returncode == 2
        assert f"driftmoe: {file.name} exists; --force replaces it, or choose another" in refused.stderr
        assert file.read_text() == "old"
        assert commands.driftmoe(*arguments, "--force", cwd=folder).returncode == 0
        assert file.read_bytes() != b"old"


def test_usage_says_driftmoe(folder):
    assert (
        "Usage: driftmoe [OPTIONS] COMMAND" in commands.python("-m", "driftmoe", "--help", cwd=folder).stdout
    )
