"""The experiments of `driftmoe neural`: their data, what they count, and the command."""

from __future__ import annotations

import json
import math
import random

import commands
import pytest
import torch

from driftmoe import report
from driftmoe.experiment import JobFolder, read_results
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


def test_about_a_fifth_of_the_files_is_held_out_and_none_is_on_both_sides():
    held_out = [source.path for source in sources.sources() if source.is_held_out]
    assert 0.1 < len(held_out) / len(sources.sources()) < 0.3
    assert not set(held_out) & {source.path for source in sources.sources() if not source.is_held_out}
    assert not any("site-packages" in source.path or "/test/" in source.path for source in sources.sources())


def test_each_task_has_the_same_answers_to_learn_and_to_be_asked_for():
    for task, lines in sources.tasks().items():
        learnt, held_out = (
            {line.target for line in lines if line.is_held_out == side} for side in (False, True)
        )
        assert learnt == held_out, task
        assert 3 <= len(learnt) <= sources.N_CLASSES


def test_a_table_of_all_lines_learnt_would_not_know_a_held_out_one():
    for lines in sources.tasks().values():
        learnt = {line.text for line in lines if not line.is_held_out}
        held_out = [line.text for line in lines if line.is_held_out]
        assert not learnt & set(held_out)
        assert len(set(held_out)) == len(held_out)


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
        ("LinearK(1, 8, n_steps=8)", "unknown policy 'LinearK'"),
        ("WithShared(TopK(2), n_shared=8)", "leaves none of 8 experts"),
        ("Scheduled(TopK(1), LinearK(1, 20, n_steps=30))", "k=9"),
        ("Scheduled(TopK(1), 3)", "cannot choose among 8 experts"),
        ("Scheduled(DYNMOLE, LinearK(1, 8, n_steps=8))", "cannot choose among 8 experts"),
        ("WithNull(arf, n_null=2)", "cannot choose among 8 experts"),
    ],
)
def test_setups_that_cannot_be_are_refused_before_any_work(text, message):
    with pytest.raises(ValueError, match=message):
        check_setup(text, "lm", 40)


@pytest.mark.parametrize(
    ("text", "losses"),
    [
        ("DYNMOLE", {"entropy": 1e-2, "soft_balance": 1e-3}),
        ("HARDER_TASKS", {"entropy_nats": 1e-4, "load_balance": 1e-2}),
        ("WithShared(DYNMOLE, n_shared=1)", {"entropy": 1e-2, "soft_balance": 1e-3}),
        ("Scheduled(TopK(1), LinearK(1, 8, n_steps=8))", {"load_balance": 1e-2}),
        ("WithNull(Dense, n_null=2)", {}),
    ],
)
def test_each_policy_has_the_losses_of_its_paper(text, losses):
    assert Setup.parsed(text).losses == losses


@pytest.mark.parametrize(
    ("text", "n_active"),
    [
        ("plain", 2), ("Dense", 8), ("TopK(1)", 1), ("frozen", 2), ("DYNMOLE", 2), ("ADAMOE", 4 * 8 / 24),
        ("WithShared(TopK(2), n_shared=1)", 3),
    ],
)  # fmt: skip
def test_policies_aim_at_so_many_experts(text, n_active):
    assert Setup.parsed(text).n_active == pytest.approx(n_active)


def test_digit_networks_aim_at_the_same_active_size():
    for text in ("plain", "Dense", "TopK(1)", "TopK(2)", "ADAMOE"):
        setup = Setup.parsed(text)
        width = TrainingOnDigits(Drifting("labels", 1, 5), setup, 1).model.experts.moe.experts.w_in.shape[-1]
        active = 1 if text == "plain" else setup.n_active
        assert active * width == 64


def test_an_unknown_experiment_is_refused():
    with pytest.raises(
        ValueError, match="unknown experiment 'drift'; available: lm, adapt, drift-permutation"
    ):
        open_experiment("drift", None, 1)


def cost_of(model, x, rows=None):
    cost = runs.Cost()
    cost.measure(model, x, torch.ones(x.shape[:-1], dtype=torch.bool) if rows is None else rows)
    return cost


@pytest.mark.parametrize("n_rows", [1, 400])  # a few rows are gathered, many sorted by expert
def test_operations_are_counted_as_they_are_done(n_rows):
    cost = cost_of(runs.feed_forward(Setup.parsed("TopK(2)"), 16, 8, seed=1), torch.randn(n_rows, 16))
    assert cost.expert_flops == 2 * 2 * 2 * 16 * 8
    assert cost.flops == 2 * 16 * 8 + cost.expert_flops  # the router's, too
    plain = cost_of(runs.feed_forward(Setup.parsed("plain"), 16, 8, seed=1), torch.randn(n_rows, 16))
    assert plain.flops == plain.expert_flops == cost.expert_flops


def test_rows_that_choose_nulls_cost_no_operations():
    layer = runs.feed_forward(Setup.parsed("WithNull(TopK(4), n_null=16)"), 16, 8, seed=1)
    x = torch.randn(400, 16)
    n_used = layer.moe(x).routing.mask.sum().item() / 400
    assert n_used < 4
    cost = cost_of(layer, x)
    assert cost.expert_flops == pytest.approx(n_used * 2 * 2 * 16 * 8)
    assert cost.flops == pytest.approx(2 * 16 * 24 + cost.expert_flops)
    # Of 8 experts of 16 x 8 and 8 x 16 weights and 8 + 16 biases, and a router of 16 x 24.
    assert cost.n_active == pytest.approx(16 * 24 + n_used * (2 * 16 * 8 + 8 + 16), abs=1.0)


def test_costs_are_means_over_the_rows_that_count():
    layer = runs.feed_forward(Setup.parsed("ADAMOE"), 16, 8, seed=1)
    x = torch.randn(300, 16)
    whole, parts = cost_of(layer, x), runs.Cost()
    for part in (x[:100], x[100:]):
        parts.measure(layer, part, torch.ones(len(part), dtype=torch.bool))
    assert parts.flops == pytest.approx(whole.flops)
    assert parts.expert_flops == pytest.approx(whole.expert_flops)
    half = cost_of(layer, x, rows=torch.arange(300) < 150)
    assert half.flops == pytest.approx(2 * whole.flops)  # padding is computed as well
    assert half.expert_flops == pytest.approx(cost_of(layer, x[:150]).expert_flops)


def test_operations_of_attention_are_counted():
    n, width = 7, language.WIDTH
    cost = cost_of(language.Block(torch.nn.Identity()), torch.randn(1, n, width))
    assert cost.flops == 2 * 4 * width * width + 2 * 2 * n * width


def test_each_layers_losses_count_with_their_weights():
    layers = [runs.feed_forward(Setup.parsed("DYNMOLE"), 16, 8, seed=seed) for seed in (1, 2)]
    results = [layer.moe(torch.randn(20, 16)) for layer in layers]
    wanted = 0.0
    for result in results:
        routing = result.routing
        # DynMoLE's: n times the sum over experts of mean kept weight, here as a share, times mean probability.
        weights, probs = routing.weights.mean(0), routing.logits.softmax(-1).mean(0)
        wanted += 1e-2 * routing.entropy.mean() + 1e-3 * 8 * (weights / weights.sum() * probs).sum()
    assert Setup.parsed("DYNMOLE").loss(results).item() == pytest.approx(wanted.item(), rel=1e-6)
    assert Setup.parsed("plain").loss([]) == 0.0


def test_auxiliary_losses_reach_the_router():
    def router_after(setup):
        training = TrainingOnDigits(Drifting("labels", 1, 5), setup, 1)
        list(training.points(5, 5))
        return training.model.experts.moe.router.weight

    with_them = Setup.parsed("TopK(1)")  # whose weight is always 1, so that nothing else moves the router
    without = Setup(with_them.policy)
    fresh = TrainingOnDigits(Drifting("labels", 1, 5), without, 1).model.experts.moe.router.weight
    assert torch.equal(router_after(without), fresh)
    assert not torch.equal(router_after(with_them), fresh)


def test_answers_come_before_learning():
    training = TrainingOnDigits(Drifting("labels", 1, 20), Setup.parsed("TopK(2)"), 1)
    frozen = TrainingOnDigits(Drifting("labels", 1, 20), Setup.parsed("TopK(2)"), 1).model
    inputs, labels = next(Drifting("labels", 1, 20).batches())
    point = next(training.points(20, 1))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(frozen(inputs), labels).item()
        later = torch.nn.functional.cross_entropy(training.model(inputs), labels).item()
    assert point.loss == pytest.approx(loss, rel=1e-5)
    assert later < loss - 1e-4


def test_the_step_size_rises_then_falls_to_a_tenth():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = runs.warm_then_cosine(optimiser, 100)
    seen = []
    for _ in range(101):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        rates.step()
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert seen[100] == pytest.approx(0.1)
    assert seen[52] == pytest.approx(0.55 + 0.45 * math.cos(math.pi * 47 / 95))


def test_what_is_learnt_is_not_held_out(monkeypatch):
    monkeypatch.setattr(language, "N_IN_CURVE", 4)
    text = language.Language()
    training = text.start(Setup.parsed("plain"), 1, 1)
    read = []
    pieces = language._pieces
    monkeypatch.setattr(language, "_pieces", lambda text, places: read.append(text) or pieces(text, places))
    list(training.points(1, 1))
    assert read[0] is text.learnt
    assert read[1] is text.held_out
    held_out = [source for source in sources.sources() if source.is_held_out]
    assert len(text.held_out) == sum(len(s.text.encode()) for s in held_out) + len(held_out) - 1


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
    training = TrainingOnDigits(Drifting("rotation", 1, 5), Setup.parsed("plain"), 1)
    training._sums, training._accuracies = {"accuracy": 4.0, "loss": 2.0}, [0.8] * 5
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


def test_held_out_digits_are_those_that_forgetting_is_measured_on():
    stream = Drifting("permutation", 1, 5)
    training, asked = TrainingOnDigits(stream, Setup.parsed("plain"), 1), []
    training.model.register_forward_hook(lambda model, inputs, output: asked.append(inputs[0]))
    accuracies = training._of_concepts()
    assert len(accuracies) == 5
    for index, inputs in enumerate(asked):
        assert torch.equal(inputs, stream.concept(index, is_held_out=True)[0])


def test_recovery_is_read_off_the_mini_batches():
    training = TrainingOnDigits(Drifting("labels", 1, 500), Setup.parsed("plain"), 1)
    # Each concept has 100 mini-batches: 40 of them at half the accuracy, but for the first concept.
    training._accuracies = [0.9] * 100 + ([0.45] * 40 + [0.9] * 60) * 4
    training._sums = {"accuracy": sum(training._accuracies), "loss": 0.0}
    figures, _ = training.verdict()
    assert figures["mistakes_per_drift"] == pytest.approx(40 * 16 * 0.45)
    assert figures["recovery"] == pytest.approx(60 * 16)  # the first window as good ends there
    assert "forgetting" not in figures


def test_too_few_steps_for_the_concepts_are_refused():
    with pytest.raises(ValueError, match="steps=4 for 5 concepts"):
        open_experiment("drift-labels", 4, 1)


def done(name, setup, seed=1, n_steps=6):
    data = open_experiment(name, n_steps, seed)
    run = NeuralRun(name, data.fingerprint(), setup, seed, n_steps, n_steps // 2)
    *shares, (result, curve) = run.do(data)
    assert shares == [0.5, 1.0]
    return result, curve


@pytest.mark.parametrize("setup", ["TopK(2)", "plain"])
def test_a_language_model_learns_and_tells_what_it_cost(monkeypatch, setup):
    monkeypatch.setattr(language, "N_IN_CURVE", 8)
    monkeypatch.setattr(language, "N_IN_VERDICT", 8)
    result, curve = done("lm", setup, n_steps=4)
    assert result["flops"] > result["expert_flops"]
    assert result["loss"] == curve[-1]["loss"] < curve[0]["loss"]
    assert result["n_samples"] == 4 * 16 * 128
    assert ("routing" in result) == (setup != "plain")
    if setup == "TopK(2)":
        assert result["routing"]["experts_used"] == 2.0
        assert curve[0]["routing_experts_used"] == 2.0
        assert result["n_active"] < result["n_parameters"] == result["n_trainable"]


@pytest.mark.parametrize("name", ["drift-rotation", "adapt", "lm"])
def test_two_runs_of_a_seed_are_the_same_and_leave_torchs_own_generator_alone(monkeypatch, name):
    for module in (language, adapting):
        monkeypatch.setattr(module, "N_IN_CURVE", 6)
        monkeypatch.setattr(module, "N_IN_VERDICT", 24)
    results = []
    for seed, of_torch in ((1, 5), (1, 6), (2, 5)):
        torch.manual_seed(of_torch)
        before = torch.get_rng_state()
        results.append(done(name, "HARDER_TASKS", seed, n_steps=6 if name == "drift-rotation" else 2)[0])
        assert torch.equal(torch.get_rng_state(), before)
    first, again, other = [(r["loss"], r["expert_flops"], r["n_active"]) for r in results]
    assert first == again
    assert first[0] != other[0]


def test_another_size_of_the_experiment_is_another_run(monkeypatch, tmp_path):
    folder, run = JobFolder(tmp_path), NeuralRun("lm", "hash", "TopK(2)", 1, 10, 1)
    before = folder.file(run)
    monkeypatch.setitem(language.SETTINGS, "rate", 1.0)
    assert folder.file(run) != before


@pytest.fixture(scope="module")
def adapting_data():
    return open_experiment("adapt", 2, 1)


def test_adapters_leave_the_pretrained_model_as_it_is_at_first_and_freeze_it(adapting_data):
    from transformers import AutoModel

    pretrained = AutoModel.from_pretrained(adapting_data.folder, local_files_only=True)
    training = adapting_data.start(Setup.parsed("TopK(2)"), 1, 2)
    tokens = training._tokens(adapting_data.held_out(12, 1))
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
    lines = adapting_data.draw(2400, random.Random(1))
    assert [task for task, _, _ in lines[:4]] == ["package", "kind", "keyword", "package"]
    kinds = [target for task, target, _ in lines if task == "kind"]
    assert all(200 < kinds.count(target) < 334 for target in range(3))


def test_held_out_lines_are_drawn_once_and_none_of_them_is_learnt(adapting_data):
    held_out = adapting_data.held_out(1536, 1)
    assert len(set(held_out)) == 1536
    assert held_out != adapting_data.held_out(1536, 2)
    learnt = {(task, text) for task, _, text in adapting_data.draw(20_000, random.Random(1))}
    assert not learnt & {(task, text) for task, _, text in held_out}
    for task, classes in adapting_data.classes.items():
        targets = [target for of, target, _ in held_out if of == task]
        counts = [targets.count(target) for target in range(len(classes))]
        assert max(counts) - min(counts) <= 1


def test_padding_does_not_count_as_tokens(adapting_data):
    training = adapting_data.start(Setup.parsed("TopK(2)"), 1, 2)
    lines = adapting_data.held_out(30, 1)
    rows = training._tokens(lines)["attention_mask"].bool()
    assert not rows.all()
    _, _, results = runs.asked(training.model, lambda: training._ask(lines))
    assert all(torch.equal(result.rows, rows) for result in results)
    assert len(runs._of_rows(results[0], "entropy")) == int(rows.sum())


def test_adapters_learn(adapting_data, monkeypatch):
    monkeypatch.setattr(adapting, "N_IN_CURVE", 12)
    monkeypatch.setattr(adapting, "N_IN_VERDICT", 24)
    result, curve = done("adapt", "ADAMOE", n_steps=4)
    assert result["accuracy"] == pytest.approx(
        (result["accuracy_package"] + result["accuracy_kind"] + result["accuracy_keyword"]) / 3
    )
    assert 0.0 < curve[0]["routing_experts_used"] < 4.0
    assert result["expert_flops"] < 12 * 4 * 2 * 2 * 4 * 384 < result["flops"]


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
