"""The experiments of `driftmoe neural`: their data, what they count, and the command."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import torch
from test_cli import ENVIRONMENT

from driftmoe import report
from driftmoe.experiment import read_results
from driftmoe.neural import NeuralRun, Setup, adapting, check_setup, language, open_experiment, runs, sources
from driftmoe.neural.drifting import Drifting, TrainingOnDigits, digits
from driftmoe.nn import MoELayer
from driftmoe.routing import ADAMOE, Dense, RandomRouter, TopK

FILE = '''"""What the module does,
at some length."""

import itertools
# how long a line may be
LONGEST_LINE = 80  # not the shortest one


def answer(question):
    """Return what was asked for."""
    for word in question.split():
        yield word.upper()
    return """a text
of several lines"""
'''


def test_lines_of_a_file_are_code_docstrings_or_comments():
    code, docstrings, comments = sources._kinds(sources.Source("a/b.py", FILE, False))
    assert code == [
        "import itertools",
        "def answer(question):",
        "for word in question.split():",
        "yield word.upper()",
    ]
    assert docstrings == ["What the module does,", "at some length.", "Return what was asked for."]
    assert comments == ["how long a line may be"]


def test_a_file_that_cannot_be_parsed_has_no_lines():
    assert sources._kinds(sources.Source("a.py", "def (", False)) == ([], [], [])


def test_about_a_tenth_of_the_files_is_held_out_and_none_is_on_both_sides():
    held_out = [source.path for source in sources.sources() if source.is_held_out]
    assert 0.05 < len(held_out) / len(sources.sources()) < 0.15
    assert not set(held_out) & {source.path for source in sources.sources() if not source.is_held_out}
    assert not any("site-packages" in source.path or "/test/" in source.path for source in sources.sources())


def test_each_task_has_the_same_answers_to_learn_and_to_be_asked_for():
    for task, lines in sources.tasks().items():
        learnt, held_out = (
            {line.target for line in lines if line.is_held_out == side} for side in (False, True)
        )
        assert learnt == held_out, task
        assert 3 <= len(learnt) <= sources.N_CLASSES


def test_a_blanked_line_does_not_tell_its_keyword():
    line = next(line for line in sources.tasks()["keyword"] if line.target == "raise")
    assert "[MASK]" in line.text
    assert not line.text.startswith("raise ")


@pytest.mark.parametrize(
    ("text", "policy", "router", "losses"),
    [
        ("plain", None, "linear", {}),
        ("Dense", Dense(), "linear", {}),
        ("TopK(2)", TopK(2), "linear", {"load_balance": 1e-2}),
        ("ADAMOE", ADAMOE, "linear", {"load_balance": 1e-3}),
        ("frozen", TopK(2), "random", {}),
        ("frozen(TopK(1))", TopK(1), "random", {}),
    ],
)
def test_setups_are_read_from_text(text, policy, router, losses):
    setup = Setup.parsed(text)
    assert (setup.policy, setup.router, setup.losses) == (policy, router, losses)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch", "unknown policy 'nosuch'; .* or plain, frozen"),
        ("TopK(9)", "k=9"),
        ("TopK(0)", "k=0"),
        ("mola", "adapt alone does"),
    ],
)
def test_setups_that_cannot_be_are_refused_before_any_work(text, message):
    with pytest.raises(ValueError, match=message):
        check_setup(text, "lm")


def test_an_unknown_experiment_is_refused():
    with pytest.raises(
        ValueError, match="unknown experiment 'drift'; available: lm, adapt, drift-permutation"
    ):
        open_experiment("drift", None, 1)


@pytest.mark.parametrize("n_rows", [1, 400])  # a few rows are gathered, many sorted by expert
def test_operations_are_counted_as_they_are_done(n_rows):
    layer = runs.feed_forward(Setup.parsed("TopK(2)"), 16, 8, seed=1)
    assert runs.count_flops(layer, torch.randn(n_rows, 16)) == 2 * n_rows * (16 * 8 + 2 * 2 * 16 * 8)
    plain = runs.feed_forward(Setup.parsed("plain"), 16, 8, seed=1)
    assert runs.count_flops(plain, torch.randn(n_rows, 16)) == 2 * n_rows * 2 * 16 * 16


def test_rows_that_choose_nulls_cost_no_operations():
    layer = runs.feed_forward(Setup.parsed("WithNull(TopK(4), n_null=16)"), 16, 8, seed=1)
    x = torch.randn(400, 16)
    n_pairs = int(layer.moe(x).routing.mask.sum())
    assert n_pairs < 4 * 400
    assert runs.count_flops(layer, x) == 2 * (400 * 16 * 24 + n_pairs * 2 * 16 * 8)


def test_operations_of_attention_are_counted():
    block = language.Block(torch.nn.Identity())
    n, width = 7, language.WIDTH
    projections = 2 * n * (3 * width + width) * width
    assert runs.count_flops(block, torch.randn(1, n, width)) == projections + 2 * 2 * n * n * width


def test_each_layers_losses_count_with_their_weights():
    layers = [runs.feed_forward(Setup.parsed("DYNMOLE"), 16, 8, seed=seed) for seed in (1, 2)]
    results = [layer.moe(torch.randn(20, 16)) for layer in layers]
    wanted = sum(1e-2 * r.losses["entropy"] + 1e-3 * r.losses["load_balance"] for r in results)
    assert Setup.parsed("DYNMOLE").loss(results).item() == pytest.approx(wanted.item(), rel=1e-6)
    assert Setup.parsed("plain").loss([]) == 0.0


def test_a_frozen_router_stays_as_it_was_drawn_and_experts_learn():
    setup = Setup.parsed("frozen")
    training = TrainingOnDigits(Drifting("labels", 1, 5), setup, 1)
    (layer,) = [m for m in training.model.modules() if isinstance(m, MoELayer)]
    assert isinstance(layer.router, RandomRouter)
    router, experts = layer.router.weight.clone(), layer.experts.w_in.clone()
    assert len(list(training.points(5, 5))) == 1
    assert torch.equal(layer.router.weight, router)
    assert not torch.equal(layer.experts.w_in, experts)


def test_a_schedule_moves_with_the_steps():
    setup = Setup.parsed("Scheduled(TopK(1), LinearK(1, 8, n_steps=8))")
    training = TrainingOnDigits(Drifting("labels", 1, 8), setup, 1)
    used = [point.routing["experts_used"] for point in training.points(8, 1)]
    assert used[0] < used[4] < used[-1]


def test_permutations_move_pixels_labels_are_renamed_and_pictures_turned():
    pictures, labels, held_out = digits()
    asked = pictures[held_out].flatten(1)
    for kind in ("permutation", "rotation", "labels"):
        stream = Drifting(kind, 3, 50)
        inputs, targets = stream.concept(0, is_held_out=True)
        assert torch.allclose(inputs, asked, atol=1e-5)
        assert torch.equal(targets, labels[held_out])
        later, renamed = stream.concept(2, is_held_out=True)
        if kind == "labels":
            assert torch.equal(later, inputs)
            pairs = set(zip(targets.tolist(), renamed.tolist(), strict=True))
            assert len(pairs) == 10
            assert not torch.equal(renamed, targets)
        else:
            assert torch.equal(renamed, targets)
            assert not torch.allclose(later, inputs)
    order = Drifting("permutation", 3, 50)._orders[2]
    assert torch.equal(Drifting("permutation", 3, 50).concept(2, is_held_out=True)[0], asked[:, order])
    assert sorted(order.tolist()) == list(range(64))


def test_a_picture_turned_by_a_quarter_is_transposed_and_flipped():
    from driftmoe.neural.drifting import _turned

    pictures = digits()[0][:5]
    assert torch.allclose(_turned(pictures, 90.0), pictures.rot90(1, (1, 2)), atol=1e-5) or torch.allclose(
        _turned(pictures, 90.0), pictures.rot90(-1, (1, 2)), atol=1e-5
    )


def test_held_out_digits_are_never_learnt():
    asked = {tuple(row.tolist()) for row in Drifting("labels", 1, 200).concept(0, is_held_out=True)[0]}
    learnt = {tuple(row.tolist()) for inputs, _ in Drifting("labels", 1, 200).batches() for row in inputs}
    assert learnt
    assert not asked & learnt


def test_a_stream_is_the_same_each_time_and_another_with_another_seed():
    first, again, other = (list(Drifting("permutation", seed, 30).batches()) for seed in (1, 1, 2))
    assert all(
        torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert not torch.equal(first[0][0], other[0][0])
    assert Drifting("permutation", 1, 30).fingerprint() != Drifting("permutation", 2, 30).fingerprint()


def test_forgetting_is_how_far_concepts_fall_below_their_best():
    training = TrainingOnDigits(Drifting("labels", 1, 5), Setup.parsed("plain"), 1)
    training._sums, training._n_batches = {"accuracy": 4.0, "loss": 2.0}, 5
    # After each of five concepts, the accuracy on each of them.
    training._held_out = [
        [0.9, 0.1, 0.1, 0.1, 0.1],
        [0.5, 0.8, 0.1, 0.1, 0.1],
        [0.4, 0.6, 0.9, 0.1, 0.1],
        [0.95, 0.5, 0.4, 0.7, 0.1],
        [0.3, 0.4, 0.5, 0.6, 0.9],
    ]
    figures, _ = training.verdict()
    assert figures["accuracy"] == pytest.approx(0.8)
    assert figures["retained"] == pytest.approx((0.3 + 0.4 + 0.5 + 0.6 + 0.9) / 5)
    assert figures["forgetting"] == pytest.approx((0.65 + 0.4 + 0.4 + 0.1) / 4)


def done(name, setup, seed=1, n_steps=4):
    data = open_experiment(name, n_steps, seed)
    run = NeuralRun(name, data.fingerprint(), setup, seed, n_steps, 2)
    *shares, (result, curve) = run.do(data)
    assert shares == [0.5, 1.0]
    return result, curve


@pytest.mark.parametrize("setup", ["TopK(2)", "plain"])
def test_a_language_model_learns_and_tells_what_it_cost(monkeypatch, setup):
    monkeypatch.setattr(language, "N_IN_CURVE", 8)
    monkeypatch.setattr(language, "N_IN_VERDICT", 8)
    result, curve = done("lm", setup, n_steps=4)
    assert result["loss"] == curve[-1]["loss"] < curve[0]["loss"]
    assert result["n_samples"] == 4 * 16 * 128
    assert ("routing" in result) == (setup != "plain")
    if setup == "TopK(2)":
        assert result["routing"]["experts_used"] == 2.0
        assert curve[0]["routing_experts_used"] == 2.0
        assert result["n_active"] < result["n_parameters"] == result["n_trainable"]


def test_two_runs_of_a_seed_are_the_same_and_two_seeds_are_not():
    first, again, other = (done("drift-rotation", "TopK(2)", seed)[0] for seed in (1, 1, 2))
    assert (first["loss"], first["retained"]) == (again["loss"], again["retained"])
    assert first["loss"] != other["loss"]


def test_a_run_leaves_torchs_own_generator_alone():
    before = torch.get_rng_state()
    done("drift-labels", "DYNMOLE")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def adapting_data():
    return open_experiment("adapt", 2, 1)


def test_adapters_leave_the_pretrained_model_as_it_is_at_first_and_freeze_it(adapting_data):
    from transformers import AutoModel

    pretrained = AutoModel.from_pretrained(adapting_data.folder, local_files_only=True)
    training = adapting_data.start(Setup.parsed("TopK(2)"), 1, 2)
    tokens = training.probe().inputs
    with torch.no_grad():
        adapted = training.model.encoder(**tokens).last_hidden_state
        assert torch.allclose(adapted, pretrained(**tokens).last_hidden_state, atol=1e-6)
    trained = {name for name, p in training.model.named_parameters() if p.requires_grad}
    assert trained
    assert all(".experts." in name or ".router." in name or name.startswith("heads.") for name in trained)


def test_one_lora_has_as_many_ranks_as_all_experts_and_mola_more_above(adapting_data):
    def ranks(setup):
        model = adapting_data.start(Setup.parsed(setup), 1, 2).model
        return [
            m.experts.a.shape[0] * m.experts.a.shape[1] for m in model.modules() if isinstance(m, MoELayer)
        ]

    assert set(ranks("plain")) == set(ranks("TopK(2)")) == {32}
    assert ranks("mola") == [16] * 4 + [32] * 4 + [48] * 4
    assert sum(ranks("mola")) == sum(ranks("plain"))


def test_lines_are_drawn_in_turn_from_all_tasks_and_their_answers_equally(adapting_data):
    lines = adapting_data.draw(2400, random.Random(1), is_held_out=False)
    assert [task for task, _, _ in lines[:4]] == ["package", "kind", "keyword", "package"]
    kinds = [target for task, target, _ in lines if task == "kind"]
    assert all(200 < kinds.count(target) < 334 for target in range(3))


def test_padding_does_not_count_as_tokens(adapting_data):
    training = adapting_data.start(Setup.parsed("TopK(2)"), 1, 2)
    probe = training.probe()
    assert not probe.rows.all()
    _, _, results = runs.asked(
        training.model, lambda: (training.model(probe.inputs), torch.zeros(1), probe.rows)
    )
    assert all(torch.equal(result.rows, probe.rows) for result in results)
    assert len(runs._of_rows(results[0], "entropy")) == int(probe.rows.sum())


def test_adapters_learn(adapting_data, monkeypatch):
    monkeypatch.setattr(adapting, "N_IN_CURVE", 12)
    monkeypatch.setattr(adapting, "N_IN_VERDICT", 12)
    result, curve = done("adapt", "ADAMOE", n_steps=4)
    assert result["accuracy"] == pytest.approx(
        (result["accuracy_package"] + result["accuracy_kind"] + result["accuracy_keyword"]) / 3
    )
    assert 0.0 < curve[0]["routing_experts_used"] < 4.0


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "driftmoe.cli", "neural", *arguments],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip


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
    assert "forgetting %" in page


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
