"""`driftmoe evaluate`: its results, curve, table and pictures."""

from __future__ import annotations

import csv
import json

import commands
import pytest

import driftmoe
import streams
from driftmoe import models
from driftmoe.costs import DecisionCosts
from driftmoe.evaluation import prequential
from driftmoe.experiment import ResultFolder
from driftmoe.report.parts import NOTHING

KEYS = [
    "stream",
    "model",
    "seed",
    "n_samples",
    "accuracy",
    "kappa",
    "kappa_m",
    "kappa_t",
    "kappa_o",
    "f1_macro",
    "g_mean",
    "samples_per_second",
    "seconds",
    "cpu_seconds",
    "ram_hours",
    "model_bytes",
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = commands.driftmoe(
        *["evaluate", "led_a", "--limit", "2500"],
        *["--model", "driftmoe(n_experts=4)", "--model", "ht", "--model", "nochange"],
        *["--seed", "1", "--seed", "2", "--window", "1000", "--out", "results"],
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_results_have_a_line_per_model_and_seed(evaluated):
    folder, _ = evaluated
    lines = [json.loads(line) for line in (folder / "results" / "results.jsonl").read_text().splitlines()]
    assert [(line["model"], line["seed"]) for line in lines] == [
        (model, seed) for model in ("driftmoe(n_experts=4)", "ht", "nochange") for seed in (1, 2)
    ]
    for line in lines:
        assert list(line)[: len(KEYS)] == KEYS
        assert line["n_samples"] == 2500
        assert line["complete"] is True
        assert 0.0 <= line["accuracy"] <= 1.0
        assert line["model_bytes"] > 0
        assert line["versions"]["driftmoe"] == driftmoe.__version__
        assert line["drifts"] == [[d.position, d.width] for d in streams.make("led_a", n_samples=2500).drifts]
    assert lines[0]["parameters"]["n_experts"] == 4
    assert lines[0]["stream_sha256"] == lines[2]["stream_sha256"] != lines[1]["stream_sha256"]
    assert 0.3 < lines[2]["accuracy"] < 0.74
    assert lines[0]["accuracy"] > 0.5  # not bounded: concepts so short repeat each other, noise and all
    assert lines[4]["kappa_t"] == 0.0


def test_the_curve_has_a_line_per_window(evaluated):
    folder, _ = evaluated
    with (folder / "results" / "windows.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["n_samples"]) for line in lines[:3]] == [1000, 2000, 2500]
    assert len(lines) == 6 * 3


def test_a_delay_is_one_of_learning_alone(tmp_path):
    """Each sample is predicted by what the labels say that have come when it arrives: all but the last 1000."""
    stream = streams.make("led_a", seed=1, n_samples=3000)
    model, rows, hits = models.make("ht"), list(stream), []
    for i, (x, y) in enumerate(rows):
        hits.append(model.predict_one(x) == y)
        if i >= 1000:
            model.learn_one(*rows[i - 1000])
    for delay in ("0", "1000"):
        done = commands.driftmoe(
            *["evaluate", "led_a", "-m", "ht", "--limit", "3000", "--delay", delay, "--out", delay],
            *["--window", "1000"],
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    title = (
        "led_a, 3,000 samples, test-then-train, labels 1,000 samples late, first 1,001 samples not counted"
    )
    assert title in " ".join(done.stdout.split())
    assert (tmp_path / "1000" / "led_a_labels_1000_samples_late.png").exists()
    at_once, late = (
        [
            float(line["accuracy"])
            for line in csv.DictReader((tmp_path / delay / "windows.csv").read_text().splitlines())
        ]
        for delay in ("0", "1000")
    )
    # no label has come before sample 1001: the first window has no figure, the second begins with that sample
    assert late == pytest.approx([sum(hits[1001:2000]) / 999, sum(hits[2000:3000]) / 1000])
    assert len(at_once) == 3
    line = json.loads((tmp_path / "1000" / "results.jsonl").read_text())
    assert (line["n_samples"], line["n_warm_up"], line["count_warm_up"]) == (3000, 1001, False)
    assert line["accuracy"] == pytest.approx(sum(hits[1001:]) / 1999)
    options = ["--delay", "1000", "--count-warm-up", "--out", "1000"]
    counted = commands.driftmoe("evaluate", "led_a", "-m", "ht", "--limit", "3000", *options, cwd=tmp_path)
    assert "labels 1,000 samples late, warm-up counted" in " ".join(counted.stdout.split())
    left_out, counted = map(json.loads, (tmp_path / "1000" / "results.jsonl").read_text().splitlines())
    assert left_out["accuracy"] == line["accuracy"]  # the two are different runs
    assert counted["accuracy"] == pytest.approx(sum(hits) / 3000)
    too_late = ["--limit", "900", "--delay", "1000", "--out", "late"]
    refused = commands.driftmoe("evaluate", "led_a", "-m", "ht", *too_late, cwd=tmp_path)
    assert refused.returncode == 2
    assert "all 900 samples were predicted before the first label came" in refused.stderr
    assert not (tmp_path / "late" / "results.jsonl").exists()


def test_the_picture_is_a_png(evaluated):
    folder, _ = evaluated
    assert (folder / "results" / "led_a.png").read_bytes().startswith(b"\x89PNG")


def test_windows_follow_the_length_and_pictures_take_format_style_and_metric(tmp_path):
    arguments = ["evaluate", "sea_a", "-m", "nochange", "--limit", "500", "--out", "."]
    drawing = ["--metric", "kappa", "--format", "svg", "--style", "paper"]
    assert commands.driftmoe(*arguments, *drawing, cwd=tmp_path).returncode == 0
    with (tmp_path / "windows.csv").open() as file:
        assert [int(line["n_samples"]) for line in csv.DictReader(file)] == list(range(50, 501, 50))
    assert not (tmp_path / "sea_a.png").exists()
    picture = (tmp_path / "sea_a.svg").read_text(encoding="utf-8")
    assert "kappa in the window, %" in picture
    assert "STIXGeneral" in picture
    assert 'width="453.6pt"' in picture  # 6.3 inches
    refused = commands.driftmoe(*arguments, "--metric", "auk", cwd=tmp_path)
    assert refused.returncode == 2


def test_the_table_has_a_row_per_model_with_its_deviation(evaluated):
    _, done = evaluated
    lines = done.stdout.splitlines()
    for text in ("driftmoe(", "n_experts=4)", "nochange", "accuracy", "kappa-M", "kappa-T", "samples/s", "±"):
        assert any(text in line for line in lines)
    assert "mean ± standard deviation over 2 seeds" in lines
    assert max(map(len, lines[:-1])) <= 80


def test_the_same_run_replaces_its_older_result_and_others_stay(evaluated):
    folder, _ = evaluated
    arguments = ["evaluate", "led_a", "--limit", "2500", "--model", "ht", "--seed", "2", "--out", "results"]
    arguments += ["--window", "1000"]
    before = (folder / "results" / "results.jsonl").read_bytes()
    refused = commands.driftmoe(*arguments, cwd=folder)
    assert refused.returncode == 2
    assert "results has a result of ht, seed 2 on led_a already; --force does the run again" in refused.stderr
    assert (folder / "results" / "results.jsonl").read_bytes() == before
    assert commands.driftmoe(*arguments, "--force", cwd=folder).returncode == 0
    assert len(ResultFolder(folder / "results").results("led_a")) == 6
    assert len(ResultFolder(folder / "results").curves("led_a")) == 6 * 3


def test_a_real_stream_runs_from_end_to_end(tmp_path, fetched):
    arguments = ["--model", "moe-data", "--model", "nochange", "--data-dir", str(fetched["electricity"])]
    done = commands.driftmoe("evaluate", "electricity", "--limit", "3000", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "electricity"
    ours, nochange = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert ours["stream_sha256"] == "ebdfe5480ae25a43a7d054286135e3a9484697a2850d5158a333b1578c28bb97"
    assert ours["n_samples"] == ours["limit"] == ours["stream_length"] == 3000
    assert ours["accuracy"] > 0.7
    assert nochange["kappa_t"] == 0.0
    assert (folder / "electricity.png").exists()


def test_version_and_help(tmp_path):
    assert commands.driftmoe("--version", cwd=tmp_path).stdout == f"driftmoe {driftmoe.__version__}\n"
    text = commands.driftmoe("evaluate", "--help", cwd=tmp_path).stdout
    for part in ("Examples", "--limit", "--seed", "--window", "--out", "--data-dir", "moe-vote", "led_a"):
        assert part in text
    for group, command in (([], "evaluate"), (["streams"], "export")):
        done = commands.driftmoe(*group, cwd=tmp_path)
        name = " ".join(["driftmoe", *group])
        assert command in done.stdout
        assert done.stderr == f"driftmoe: a command is missing. See: {name} --help\n"


def test_the_mean_cost_of_a_model_that_decides_by_costs_stands_beside_the_accuracy(tmp_path):
    costly = "moe-data(decision_costs={1: 5})"
    done = commands.driftmoe(
        *["evaluate", "sea_a", "--limit", "600", "--window", "300", "--out", "results"],
        *["--model", costly, "--model", "nochange"],
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = {
        line["model"]: line
        for line in map(json.loads, (tmp_path / "results" / "results.jsonl").read_text().splitlines())
    }
    assert "mean_cost" not in lines["nochange"]
    assert lines[costly]["parameters"]["decision_costs"] == {"1": 5}
    pairs, costs = [], DecisionCosts({1: 5})
    for checkpoint in prequential(
        streams.make("sea_a", seed=1, n_samples=600),
        models.make(costly, seed=1),
        window=600,
        keep_predictions=True,
    ):
        pairs += checkpoint.predictions[1:]  # the first is the warm-up
    expected = sum(costs.of(*pair) for pair in pairs) / 599
    assert lines[costly]["mean_cost"] == pytest.approx(expected)
    above, _, _, of_costly, *_ = rows = done.stdout.splitlines()[1:]
    assert above.split()[:2] == ["accuracy", "mean"]
    assert of_costly.removeprefix(costly).split()[1] == f"{expected:.4f}"
    assert next(row for row in rows if row.startswith("nochange")).split()[2] == NOTHING
    assert "by the model's own decision_costs" in done.stdout
    with (tmp_path / "results" / "windows.csv").open() as file:
        of_windows = [float(point["mean_cost"]) for point in csv.DictReader(file) if point["model"] == costly]
    assert (299 * of_windows[0] + 300 * of_windows[1]) / 599 == pytest.approx(expected)


def test_routing_is_told_in_table_curve_and_picture(tmp_path):
    arguments = ["--limit", "3000", "--window", "500", "-m", "moe-vote(policy=TopP(p=0.9))", "-m", "nochange"]
    done = commands.driftmoe("evaluate", "led_a", *arguments, "--routing", "--out", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("experts", "oracle", "trees", "replaced", "led_a_routing.png"):
        assert text in done.stdout
    assert (tmp_path / "led_a_routing.png").read_bytes().startswith(b"\x89PNG")
    ours, nochange = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert "routing" not in nochange
    with (tmp_path / "windows.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["model"] != "nochange"]
    used = [float(line["routing_experts_used"]) for line in lines]
    assert ours["routing"]["experts_used"] == pytest.approx(sum(used) / len(used), abs=1e-5)
    assert {f"routing_{name}_tree 12" for name in ("usage", "weight", "accuracy")} <= set(lines[0])
    assert list(ours["routing"]["experts"]) == [f"tree {i}" for i in range(1, 13)]

    arguments = ["-m", "nochange", "--limit", "500", "--routing", "--out", "none"]
    done = commands.driftmoe("evaluate", "led_a", *arguments, cwd=tmp_path)
    assert "None of these models reports its routing." in done.stdout
