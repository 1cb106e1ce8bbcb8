"""Runs that leave the order of labels out, or shuffle it, and that are never mixed with those that do not."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
from river import compose, dummy, ensemble, naive_bayes, preprocessing
from typer.testing import CliRunner

from driftmoe import DriftMoEClassifier, models, report, saving
from driftmoe.cli.command import app
from driftmoe.experiment import Run, of_model, order_protocol, planned, run_job, run_key
from driftmoe.metrics import label_order
from driftmoe.nn.classifier import NeuralMoEClassifier
from streams.opening import open_stream

SMALL = "driftmoe(n_experts=2, hidden=(4,), extras=('history', 'head'))"


@pytest.fixture
def in_turn(tmp_path):
    """A file whose labels are 0 to 4 in turn; the feature says nothing."""
    file = tmp_path / "turns.csv"
    file.write_text("x,label\n" + "".join(f"{i * 7919 % 101},{i % 5}\n" for i in range(1000)))
    return file


def evaluated(file, *arguments):
    done = CliRunner().invoke(
        app, ["evaluate", str(file), "--out", str(file.parent / "runs"), "-q", *arguments]
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_a_model_without_the_order_of_labels_has_no_expert_that_reads_it():
    default = of_model("driftmoe", models.make("driftmoe", seed=3), "ignore")
    assert default.settings["extras"] == [
        e for e in DriftMoEClassifier().settings["extras"] if e != "history"
    ]
    assert default.seed == 3
    neural = of_model("neural", NeuralMoEClassifier(extras=("history", "linear"), n_experts=5), "ignore")
    assert (type(neural), neural.settings["extras"], neural.n_experts) == (NeuralMoEClassifier, ["linear"], 5)
    alone = of_model("driftmoe", DriftMoEClassifier(extras=("history",), n_experts=2), "ignore")
    assert list(alone.settings["extras"]) == []
    both = of_model("driftmoe", DriftMoEClassifier(extras=("sequence", "products"), n_experts=2), "ignore")
    assert list(both.settings["extras"]) == ["products"]
    for spec in ("driftmoe", "nochange"):
        assert of_model(spec, model := models.make(spec), "use") is model


def test_models_that_know_nothing_of_the_order_are_as_they_are():
    for spec in ("moe-data", "ht", "nb", "majority", "driftmoe(extras=('linear',))"):
        assert of_model(spec, model := models.make(spec), "ignore") is model


def test_models_within_models_are_looked_into():
    bag = of_model("levbag", models.make(f"levbag(model={SMALL}, n_models=2)"), "ignore")
    assert isinstance(bag, ensemble.LeveragingBaggingClassifier)
    assert (bag.model.settings["extras"], bag.n_models) == (["head"], 2)
    within = of_model(
        "driftmoe", DriftMoEClassifier(extras=("head", DriftMoEClassifier(n_experts=2))), "ignore"
    )
    assert "history" not in within.settings["extras"][1].settings["extras"]
    scaled = preprocessing.StandardScaler() | DriftMoEClassifier(n_experts=2)
    steps = of_model("mine", scaled, "ignore").steps
    assert "history" not in steps["DriftMoEClassifier"].settings["extras"]
    assert isinstance(of_model("nb", scaled | naive_bayes.GaussianNB(), "ignore"), compose.Pipeline)


@pytest.mark.parametrize(
    "spec", ["nochange", "markov", "levbag(model=nochange)", "driftmoe(extras=('head', markov))"]
)
def test_models_that_are_nothing_without_the_order_are_refused(spec):
    with pytest.raises(ValueError, match="from the order of labels and nothing else; leave"):
        of_model(spec, models.make(spec), "ignore")


def test_models_of_which_nobody_knows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nobody knows whether mine:Own uses the order"):
        of_model("mine:Own", dummy.PriorClassifier(), "ignore")
    with pytest.raises(ValueError, match="has learnt with history or sequence among its experts"):
        of_model("a.moe", models.make(SMALL), "ignore", is_trained=True)
    file = tmp_path / "trees.moe"
    saving.save(models.make("moe-vote(n_experts=2, hidden=(4,))"), file)
    run = Run("s", "0", "trees.moe", 1, None, 100, trained=file, label_order="ignore")
    assert type(run.new_model()) is DriftMoEClassifier


def test_runs_with_another_order_are_other_runs():
    run = Run("s", "0", "ht", 1, None, 100)
    others = [
        replace(run, label_order="ignore"),
        replace(run, shuffle_window=50),
        replace(run, label_order="ignore", shuffle_window=50),
    ]
    assert len({run_key(vars(one)) for one in (run, *others)}) == 4
    assert len({one.file_stem() for one in (run, *others)}) == 4
    assert [order_protocol(vars(one)) for one in (run, *others)] == [
        "",
        "label order ignored",
        "shuffled in windows of 50",
        "label order ignored, shuffled in windows of 50",
    ]
    assert run_key({**vars(run), "shuffle_window": ""}) == run_key(vars(run))  # as a curve has it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_order": "none"}, "label_order='none'; choose one of use, ignore"),
        ({"shuffle_window": 1}, "shuffle_window=1; choose a whole number of samples, at least 2"),
        ({"shuffle_window": 2.5}, "shuffle_window=2.5; choose"),
        ({"shuffle_window": 9, "delay": "1 day by when"}, "delay '1 day by when' comes from a column"),
        ({"shuffle_window": 9, "delay": "late"}, "delay 'late' comes from a column"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Run("s", "0", "ht", 1, None, 100, **arguments)


def test_a_grid_plans_it_and_refuses_it_before_it_begins():
    (run,) = planned(["sea_a"], [SMALL], [1], open_stream, limit=300, window=100, label_order="ignore")
    line, curve = run_job(run, open_stream("sea_a", limit=300, seed=1))
    assert line["label_order"] == {point["label_order"] for point in curve}.pop() == "ignore"
    assert line["parameters"]["extras"] == ["head"]
    assert "shuffle_window" not in line
    with pytest.raises(ValueError, match="NoChangeClassifier predicts from the order"):
        planned(["sea_a"], ["nochange"], [1], open_stream, limit=300, label_order="ignore")


def test_a_command_keeps_both_apart_and_says_what_the_order_is_worth(in_turn):
    with_order = evaluated(in_turn, "-m", SMALL, "-m", "markov")
    without = evaluated(in_turn, "-m", SMALL, "--label-order", "ignore")
    shuffled = evaluated(in_turn, "-m", SMALL, "-m", "markov", "--shuffle-window", "100", "--delay", "3")
    assert "labels come in an order: by it alone 99." in " ".join(with_order.split())
    assert "label order ignored" in " ".join(without.split())
    assert "labels 3 samples late, shuffled in windows of 100" in " ".join(shuffled.split())
    assert "labels come in an order" not in without + shuffled
    folder = in_turn.parent / "runs"
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    got = {(line["model"], order_protocol(line)): line for line in lines}
    assert len(got) == len(lines) == 5
    assert got[SMALL, ""]["accuracy"] > 0.9
    assert got["markov", ""]["kappa_o"] == 0.0
    for how in ("label order ignored", "shuffled in windows of 100"):
        assert got[SMALL, how]["accuracy"] < 0.4
    with (folder / "windows.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert {run_key(point) for point in points} == {run_key(line) for line in lines}
    refused = CliRunner().invoke(app, ["evaluate", str(in_turn), "-m", "markov", "--label-order", "ignore"])
    assert refused.exit_code == 2
    assert "--label-order ignore: MarkovClassifier predicts from the order" in refused.output


def test_a_line_lacks_kappa_order_where_it_is_not_defined(in_turn):
    (run,) = planned([str(in_turn)], ["majority"], [1], open_stream, limit=100, window=50, delay="8")
    line, curve = run_job(run, open_stream(str(in_turn), limit=100))
    assert line["accuracy"] < 0.3
    assert not [one for one in (line, *curve) if "kappa_o" in one]
    assert json.dumps(line, allow_nan=False)
    assert report.NOTHING in report.table([line], title="", columns=["kappa_o"])


def test_another_seed_shuffles_otherwise_and_the_same_seed_alike(in_turn):
    evaluated(in_turn, "-m", "majority", "--shuffle-window", "100", "--seed", "1", "--seed", "2")
    text = (in_turn.parent / "runs" / "results.jsonl").read_text()
    hashes = {line["seed"]: line["stream_sha256"] for line in map(json.loads, text.splitlines())}
    assert hashes[1] != hashes[2]
    evaluated(in_turn, "-m", "nb", "--shuffle-window", "100", "--seed", "2")
    text = (in_turn.parent / "runs" / "results.jsonl").read_text()
    assert {json.loads(line)["stream_sha256"] for line in text.splitlines()} == set(hashes.values())
    assert [json.loads(line)["reading"]["target"] for line in text.splitlines()] == ["label"] * 3


def test_what_labels_say_of_labels_is_what_the_baselines_are_worth(in_turn):
    evaluated(in_turn, "-m", "majority", "-m", "nochange", "-m", "markov")
    text = (in_turn.parent / "runs" / "results.jsonl").read_text()
    of_model = {line["model"]: line["accuracy"] for line in map(json.loads, text.splitlines())}
    found = label_order([i % 5 for i in range(1000)])
    assert (found.no_change, found.markov) == (of_model["nochange"], of_model["markov"])
    assert found.majority == pytest.approx(of_model["majority"], abs=0.01)  # all are equal: ties
    assert found.n_labels == 999
    assert found.is_ordered


def test_too_few_labels_say_nothing():
    for labels in ([], ["a"]):
        found = label_order(labels)
        assert found.n_labels == 0
        assert found.markov != found.markov
        assert not found.is_ordered
