"""Tasks that conflict on one frozen layer: what they need, and what one LoRA and a mixture can make of them."""

from __future__ import annotations

import json
from statistics import fmean, stdev

import commands
import pytest
import torch
from finished_runs import done
from places import ROOT

from driftmoe import report
from driftmoe.experiment import JobFolder, read_results, run_grid
from driftmoe.neural import CONFLICT_SETUPS, check_setup, open_experiment, planned_training
from driftmoe.neural.conflicting import CUE, Conflict

BEST_SINGLE = {"equal": 7 / 9, "mean": 5 / 6}
"""Unexplained share of the best single map. It has each component with its mean factor over the twelve tasks: 1/6 in
`equal`, where the squared factors sum to 1 + 2/4; 1/8 in `mean`, where they sum to 1 + 2/16."""


COLUMNS = [
    *((key, 100.0, 1) for key in ("loss", "unexplained_easy", "unexplained_hard")),
    *((key, 1.0, 2) for key in ("experts_used", "experts_used_easy", "experts_used_hard")),
]
"""Figures of the table of the benchmarks, with unit factor and digits."""


def unexplained(changes, of):
    return ((changes - of).square().sum() / changes.square().sum()).item()


@pytest.mark.parametrize("kind", ["equal", "mean"])
def test_easy_tasks_need_one_component_and_hard_ones_four(kind):
    data = Conflict(kind, 3)
    values = torch.linalg.svdvals(data.changes)
    assert (values > 1e-4).sum(-1).tolist() == [4] * 8 + [16] * 4
    assert values[:8, :4].flatten() == pytest.approx(torch.ones(32).numpy(), abs=1e-5)
    of_hard = 0.25 if kind == "mean" else 0.5  # which makes the changes as large as those of easy tasks
    assert values[8:, :16].flatten() == pytest.approx(torch.full((64,), of_hard).numpy(), abs=1e-5)
    # Three experts of rank 4 leave a quarter of a hard task, for its sixteen singular values are equal.
    u, s, v = torch.linalg.svd(data.changes[8:])
    best_of_three = (u[:, :, :12] * s[:, None, :12]) @ v[:, :12]
    assert unexplained(data.changes[8:], best_of_three) == pytest.approx(0.25, abs=1e-5)
    assert (
        torch.linalg.matrix_rank(data.changes.flatten(0, 1), atol=1e-3) == 32
    )  # as many as eight experts have


@pytest.mark.parametrize("kind", ["equal", "mean"])
def test_no_single_map_explains_the_tasks_and_components_do(kind):
    data = Conflict(kind, 3)
    mean = data.changes.mean(0)
    assert unexplained(data.changes, mean) == pytest.approx(BEST_SINGLE[kind], abs=1e-5)
    # Nor does an affine map of all inputs, cues included: least squares on samples of all tasks.
    _, inputs, wanted = data.held_out
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    fitted = inputs @ torch.linalg.lstsq(inputs, wanted.double()).solution
    assert unexplained(wanted.double(), fitted) == pytest.approx(BEST_SINGLE[kind], abs=0.03)
    weights = data.needs.flatten(1) if kind == "mean" else data.needs / data.needs.sum(1, keepdim=True)
    assert weights.sum(1) == pytest.approx(torch.ones(12).numpy(), abs=1e-6)
    by_weights = torch.einsum("tc,coi->toi", weights, data.components)
    assert unexplained(data.changes[:8], by_weights[:8]) == 0.0
    # Weights that sum to 1 make a hard task of `mean` from experts that suit easy tasks, and half of one of `equal`.
    assert unexplained(data.changes[8:], by_weights[8:]) == pytest.approx(
        0.0 if kind == "mean" else 0.25, abs=1e-6
    )


def test_samples_tell_their_task_and_tasks_share_all_else():
    data = Conflict("equal", 3)
    tasks, inputs, wanted = data.held_out
    assert torch.equal(tasks.bincount(), torch.full((12,), 256))
    along = inputs @ data._cues.T
    assert torch.equal(along.argmax(1), tasks)
    assert along.max(1).values == pytest.approx(torch.full((len(inputs),), CUE).numpy(), abs=1e-4)
    without = inputs - along @ data._cues
    for task in (0, 9):
        rows = tasks == task
        assert torch.allclose(wanted[rows], without[rows] @ data.changes[task].T, atol=1e-4)
    learnt, *_ = next(data.batches())
    assert len(set(learnt.tolist())) == 12
    assert not {tuple(x) for x in next(data.batches())[1].tolist()} & {tuple(x) for x in inputs.tolist()}


def test_a_mixture_of_all_experts_explains_what_one_lora_of_their_ranks_cannot():
    losses = {setup: done("conflict-mean", setup, n_steps=120)[0]["loss"] for setup in ("plain", "Dense")}
    assert losses["plain"] > BEST_SINGLE["mean"] - 0.03  # but for chance, on 3,072 held-out samples
    assert losses["Dense"] < 0.25


def test_results_tell_experts_by_hardness():
    """All tasks are equally frequent, so that figures of all are means over eight easy tasks and four hard ones."""
    result, curve = done("conflict-equal", "NULLS")
    routing = result["routing"]
    assert routing["experts_used"] == pytest.approx(
        (8 * routing["experts_used_easy"] + 4 * routing["experts_used_hard"]) / 12
    )
    assert result["accuracy"] == 1.0 - result["loss"]
    assert result["loss"] == pytest.approx(
        (8 * result["unexplained_easy"] + 4 * result["unexplained_hard"]) / 12, abs=0.02
    )
    assert curve[-1]["routing_experts_used_hard"] == routing["experts_used_hard"]
    assert result["n_samples"] == 6 * 256
    # Of an expert, 64 inputs and 64 outputs times rank 4.
    assert result["expert_flops"] == pytest.approx(2 * 2 * 64 * 4 * routing["experts_used"])


def test_a_seed_makes_the_same_run_again_and_another_one_other_tasks():
    first, again, other = (done("conflict-mean", "TopK(2)", seed, n_steps=2)[0] for seed in (1, 1, 2))
    assert (first["loss"], first["stream_sha256"]) == (again["loss"], again["stream_sha256"])
    assert first["stream_sha256"] != other["stream_sha256"]
    assert open_experiment("conflict-equal", 2, 1).fingerprint() != first["stream_sha256"]


def test_the_command_keeps_runs_and_shows_them_in_80_columns(tmp_path):
    setups = ["plain", "WithNull(TopK(4), n_null=16, renorm=False)"]
    arguments = ["conflict", "--steps", "4", "-p", setups[0], "-p", setups[1], "--out", "kept"]
    first = commands.driftmoe("neural", *arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    for name in ("conflict-equal", "conflict-mean"):
        assert f"{name}, 1,024 samples" in first.stdout
        assert (tmp_path / "kept" / f"{name}.png").stat().st_size > 10_000
    assert max(map(len, first.stdout.splitlines())) <= 80
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept" / "jobs").iterdir()}
    assert len(files) == 4
    runs = planned_training("conflict", setups, [1], steps=4)
    events = list(run_grid(runs, open_experiment, JobFolder(tmp_path / "kept"), executor="serial"))
    assert [event.state for event in events] == ["kept"] * 4
    assert {file: file.stat().st_mtime_ns for file in files} == files
    results, curves = read_results(tmp_path / "kept")
    assert json.loads(json.dumps(results)) == results
    page = report.page(report.sections(results, curves), title="conflict")
    assert "hard tasks %" in page
    assert report.neural_note(results) in page.replace("\n", " ")
    assert report.NEURAL_NOTE not in page


def test_setups_of_other_layers_are_refused():
    for setup in CONFLICT_SETUPS:
        check_setup(setup, "conflict-mean", 2)
    with pytest.raises(ValueError, match="is of feed-forward layers, and conflict-mean has LoRA experts"):
        check_setup("chained", "conflict-mean", 2)
    with pytest.raises(ValueError, match="adapt alone does"):
        check_setup("mola", "conflict-mean", 2)


@pytest.mark.parametrize("kind", ["equal", "mean"])
def test_the_tables_of_the_benchmarks_are_those_of_the_kept_results(kind):
    """Means and standard deviations over three seeds of all setups."""
    said = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    lines, _ = read_results(ROOT / "benchmarks" / "results" / "conflict.jsonl")
    of_kind = [line | line.get("routing", {}) for line in lines if line["stream"] == f"conflict-{kind}"]
    text = said[said.index(f"`conflict-{kind}`, share") :]
    _, _, *rows = text[text.index("| policy |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]
    assert [name for name, *_ in cells] == list(CONFLICT_SETUPS)
    for name, *figures in cells:
        runs = [line for line in of_kind if line["model"] == name]
        assert sorted(run["seed"] for run in runs) == [11, 12, 13]
        for figure, (key, factor, digits) in zip(figures, COLUMNS, strict=True):
            if name == "plain" and key.startswith("experts"):
                assert figure == report.NOTHING
                continue
            values = [factor * run[key] for run in runs]
            mean, deviation = map(float, figure.split(" ± "))
            assert mean == pytest.approx(fmean(values), abs=0.5 * 10**-digits + 1e-9)
            assert deviation == pytest.approx(stdev(values), abs=0.5 * 10**-digits + 1e-9)
