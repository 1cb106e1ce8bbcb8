"""Models on the command line: `evaluate --save`, `--load`, and `model show`."""

from __future__ import annotations

import json
import signal

import commands
import pytest
import safetensors.numpy
from river import naive_bayes, preprocessing

import driftmoe
import streams
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.nn.classifier import NeuralMoEClassifier
from driftmoe.trees import HoeffdingTreeClassifier

SPEC = "moe-data(n_experts=3)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    done = commands.driftmoe(
        *["evaluate", "led_a", "--limit", "1200", "-m", SPEC, "--save", "models/led.moe", "--out", "first"],
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    return place


def trained():
    model = driftmoe.models.make(SPEC, seed=1)
    for _ in prequential(streams.make("led_a", seed=1, n_samples=1200), model):
        pass
    return model


def test_the_saved_model_is_the_one_that_was_evaluated(place):
    assert driftmoe.load(place / "models" / "led.moe").digest() == trained().digest()


def test_a_loaded_model_goes_on_and_its_file_stays(place):
    file = place / "models" / "led.moe"
    before = file.read_bytes()
    done = commands.driftmoe(
        *["evaluate", "led_g", "--limit", "700", "--load", str(file), "--count-warm-up", "--out", "second"],
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [json.loads(text) for text in (place / "second" / "results.jsonl").read_text().splitlines()]
    model = trained()
    assert line["model"] == f"led.moe@{model.digest()[:8]}"
    assert line["parameters"]["n_experts"] == 3
    stream = streams.make("led_g", seed=1, n_samples=700)
    *_, last = prequential(stream, model, count_warm_up=True)
    assert line["accuracy"] == last.cumulative["accuracy"]
    assert file.read_bytes() == before


def test_a_pipeline_is_loaded_and_evaluated_too(place):
    pipeline = preprocessing.StandardScaler() | DriftMoEClassifier("moe-data", n_experts=2, seed=1)
    for x, y in list(streams.make("sea_a", seed=1, n_samples=200)):
        pipeline.learn_one(x, y)
    driftmoe.save(pipeline, place / "pipeline.moe")
    done = commands.driftmoe(
        *["evaluate", "sea_a", "--limit", "300", "--window", "100", "--load", "pipeline.moe"],
        *["--checkpoint-every", "100", "--out", "fourth"],
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    *_, last = prequential(streams.make("sea_a", seed=1, n_samples=300), pipeline)
    (line,) = [json.loads(text) for text in (place / "fourth" / "results.jsonl").read_text().splitlines()]
    assert line["accuracy"] == last.cumulative["accuracy"]


KILLED = """
import os, signal, sys
from driftmoe import cli, saving
from driftmoe.cli import evaluate

save, moment = saving.save, sys.argv.pop(1)

def save_or_die(*arguments):
    if moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments)
    if moment == "after":
        os.kill(os.getpid(), signal.SIGKILL)

saving.save = save_or_die
cli.main()
"""
"""A command that kills itself before or after it saves the model."""


def test_one_file_to_load_and_to_save_holds_the_old_model_or_the_new_one(place, tmp_path):
    """And if the new one, learning the stream once more is said."""

    def command(moment):
        arguments = ["--limit", "600", "--load", "m.moe", "--save", "m.moe", "--checkpoint-every", "100"]
        return commands.python("-c", KILLED, moment, "evaluate", "led_g", *arguments, cwd=tmp_path)

    def learnt(model):
        for _ in prequential(streams.make("led_g", seed=1, n_samples=600), model):
            pass
        return model

    file = tmp_path / "m.moe"
    file.write_bytes((place / "models" / "led.moe").read_bytes())
    old, new = driftmoe.load(file), learnt(driftmoe.load(file))

    done = command("before")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert driftmoe.load(file).digest() == old.digest()
    done = command("after")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "goes on after sample 600" in done.stderr
    assert "once more" not in done.stderr
    assert driftmoe.load(file).digest() == new.digest()
    done = command("never")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert f"m.moe has learnt this stream already, as m.moe@{old.digest()[:8]}, whose result" in told
    assert driftmoe.load(file).digest() == learnt(new).digest()


def test_a_model_that_cannot_be_saved_leaves_its_result(place):
    done = commands.driftmoe(
        *[
            "evaluate",
            "led_a",
            "--limit",
            "300",
            "-m",
            SPEC,
            "--save",
            "first/results.jsonl/m",
            "--out",
            "fifth",
        ],
        cwd=place,
    )
    assert done.returncode == 2
    assert "--save first/results.jsonl/m: " in done.stderr
    (line,) = [json.loads(text) for text in (place / "fifth" / "results.jsonl").read_text().splitlines()]
    assert line["complete"]


def test_a_loaded_model_has_checkpoints_too(place):
    done = commands.driftmoe(
        *["evaluate", "led_g", "--limit", "700", "--window", "100", "--load", "models/led.moe"],
        *["--checkpoint-every", "300", "--out", "third"],
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (place / "third").glob("[!.]*")) == [
        "led_g.png", "results.jsonl", "windows.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", SPEC, "-m", "ht", "--save", "x.moe"],
            "--save is for one model and one seed, but there are 2 and 1",
        ),
        (
            ["-m", SPEC, "--seed", "1", "--seed", "2", "--save", "x.moe"],
            "there are 1 and 2; choose",
        ),
        (["-m", "ht", "--save", "x.moe"], "--save x.moe: a river.tree"),
        (["-m", SPEC, "--save", "first"], "--save first is a folder; give the name of a file"),
        (["--load", "none.moe"], "none.moe"),
        (["--load", "first/results.jsonl"], "no model"),
    ],
)
def test_what_cannot_be_saved_or_loaded_is_said_before_the_run(place, arguments, message):
    done = commands.driftmoe("evaluate", "led_a", "--limit", "300", *arguments, "--out", "no", cwd=place)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (place / "x.moe").exists()


def test_models_without_checkpoints_are_named(place):
    done = commands.driftmoe(
        *[
            "evaluate",
            "led_a",
            "--limit",
            "300",
            "-m",
            "nochange",
            "--checkpoint-every",
            "100",
            "--out",
            "no",
        ],
        cwd=place,
    )
    assert done.returncode == 0
    assert (
        "nochange has no checkpoints, since it cannot be saved; it begins anew if it is stopped"
        in done.stderr
    )


def test_show_says_what_a_model_is_and_has_learnt(place):
    model = driftmoe.load(place / "models" / "led.moe")
    done = commands.driftmoe("model", "show", "models/led.moe", "--draw", "--tree", "2", cwd=place)
    assert done.returncode == 0, done.stderr
    for text in (
        f"{(place / 'models' / 'led.moe').stat().st_size:,} bytes, written by driftmoe {driftmoe.__version__}",
        "DriftMoEClassifier(variant='moe-data'",
        f"SHA-256         {model.digest()}",
        "features        24: att1,",
        "classes         10: ",
        "samples learnt  1,200",
        "mixture.router",
        "tree 1",
        f"Tree 2:\n{model.describe(1)}",
    ):
        assert text in done.stdout


def test_the_parts_hold_all_arrays_of_the_file(place):
    outline = driftmoe.saving.outline(place / "models" / "led.moe")
    names = safetensors.numpy.load_file(place / "models" / "led.moe")
    assert sum(part.n_arrays for part in outline.parts) == len(names)
    assert 0.8 * outline.n_bytes < sum(part.n_bytes for part in outline.parts) < outline.n_bytes


def test_show_draws_a_picture(place):
    done = commands.driftmoe(
        "model", "show", "models/led.moe", "--picture", "tree.png", "--depth", "2", cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert (place / "tree.png").read_bytes().startswith(b"\x89PNG")
    assert "Tree" not in done.stdout


def test_show_knows_single_trees_pipelines_and_models_without_trees(tmp_path):
    samples = [({"a": float(i % 7)}, i % 7 > 3) for i in range(400)]
    pipeline = preprocessing.StandardScaler() | HoeffdingTreeClassifier()
    for name, model in {
        "tree": HoeffdingTreeClassifier(),
        "pipeline": pipeline,
        "networks": NeuralMoEClassifier(),
    }.items():
        for x, y in samples:
            model.learn_one(x, y)
        driftmoe.save(model, tmp_path / f"{name}.moe")
    tree = commands.driftmoe("model", "show", "tree.moe", "--draw", cwd=tmp_path)
    assert "The tree:\na <= " in tree.stdout
    piped = commands.driftmoe("model", "show", "pipeline.moe", "--draw", cwd=tmp_path)
    assert "Pipeline with HoeffdingTreeClassifier(" in piped.stdout
    assert "StandardScaler: state" in piped.stdout
    shown = commands.driftmoe("model", "show", "networks.moe", cwd=tmp_path)
    assert "NeuralMoEClassifier(" in shown.stdout
    refused = commands.driftmoe("model", "show", "networks.moe", "--draw", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "has no trees to draw; leave out --draw" in refused.stderr
    deep = commands.driftmoe("model", "show", "tree.moe", "--draw", "--depth", "1", cwd=tmp_path)
    assert "--depth 1 is for --picture" in deep.stderr
    beyond = commands.driftmoe("model", "show", "tree.moe", "--tree", "2", cwd=tmp_path)
    assert "--tree 2: the model has 1; choose 1 to 1" in beyond.stderr


def test_pickled_experts_are_shown_only_on_request(tmp_path):
    model = DriftMoEClassifier("moe-data", expert=naive_bayes.GaussianNB(), n_experts=2, seed=1)
    model.learn_one({"a": 1.0}, True)
    model.save(tmp_path / "m.moe", pickle_experts=True)
    refused = commands.driftmoe("model", "show", "m.moe", cwd=tmp_path)
    assert refused.returncode == 2
    assert "trust_pickle" in refused.stderr
    assert commands.driftmoe("model", "show", "m.moe", "--trust-pickle", cwd=tmp_path).returncode == 0
