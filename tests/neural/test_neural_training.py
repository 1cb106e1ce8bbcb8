"""Training: losses, step size, routers and schedules, and that a seed fixes it all."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from finished_runs import done

from driftmoe.experiment import JobFolder
from driftmoe.neural import NeuralRun, Setup, adapting, language, runs, sources
from driftmoe.neural.drifting import Drifting, TrainingOnDigits
from driftmoe.nn import MoELayer
from driftmoe.routing import RandomRouter


def test_each_layers_losses_count_with_their_weights():
    layers = [runs.feed_forward(Setup.parsed("DYNMOLE"), 16, 8, seed=seed) for seed in (1, 2)]
    results = [layer.moe(torch.randn(20, 16)) for layer in layers]
    wanted = 0.0
    for result in results:
        routing = result.routing
        # DynMoLE's: n times the sum over experts of mean kept weight times mean probability; a mean over layers.
        weights, probs = routing.weights.mean(0), routing.logits.softmax(-1).mean(0)
        wanted += (1e-2 * routing.entropy.mean() + 1e-3 * 8 * (weights * probs).sum()) / 2
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


@pytest.fixture
def few_held_out(monkeypatch):
    """Measure on few held-out pieces and lines."""
    for name, size in language.SIZES.items():
        monkeypatch.setitem(language.SIZES, name, replace(size, n_in_curve=8, n_in_verdict=8))
    monkeypatch.setattr(adapting, "N_IN_CURVE", 6)
    monkeypatch.setattr(adapting, "N_IN_VERDICT", 24)


@pytest.mark.usefixtures("few_held_out")
def test_what_is_learnt_is_not_held_out(monkeypatch):
    text = language.Language()
    training = text.start(Setup.parsed("plain"), 1, 1)
    read = []
    pieces = language._pieces
    monkeypatch.setattr(language, "_pieces", lambda text, *rest: read.append(text) or pieces(text, *rest))
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


@pytest.mark.parametrize("text", ["balanced", "balanced(WithShared(TopK(2), n_shared=1))"])
def test_a_balancer_is_updated_by_the_load_of_each_step(text):
    """Its bias has moved once up or down for each expert and step, and starts at 0."""
    training = TrainingOnDigits(Drifting("labels", 1, 5), Setup.parsed(text), 1)
    (layer,) = [m for m in training.model.modules() if isinstance(m, MoELayer)]
    assert not layer.balancer.bias.any()
    list(training.points(5, 5))
    assert layer.balancer.bias.abs().max() > 1e-3
    assert layer.balancer.bias.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert Setup.parsed(text).loss([]) == 0.0


@pytest.mark.parametrize("text", ["chained", "recurrent", "recurrent(ADAMOE)"])
def test_chains_and_recurrent_routers_learn(text):
    training = TrainingOnDigits(Drifting("labels", 1, 5), Setup.parsed(text), 1)
    before = {name: p.clone() for name, p in training.model.experts.named_parameters()}
    assert len(list(training.points(5, 5))) == 1
    still = {name for name, p in training.model.experts.named_parameters() if torch.equal(p, before[name])}
    assert still <= {"moe.router.router.cell.weight_hh"}  # the state of the only layer is 0 before it
    assert any("router" in name for name in before)


def test_recurrent_routers_of_a_language_model_share_a_cell_and_pass_its_state_on():
    model = language.ByteTransformer(Setup.parsed("recurrent"), 1, language.SIZES["small"])
    cells = {id(block.feed_forward.moe.router.router.cell) for block in model.blocks}
    assert len(cells) == 1
    model(torch.zeros(2, 9, dtype=torch.uint8)).sum().backward()
    first = model.blocks[0].feed_forward.moe.router.router
    assert first.reads.weight.grad.any()


def test_a_schedule_moves_with_the_steps():
    setup = Setup.parsed("Scheduled(TopK(1), LinearK(1, 8, n_steps=8))")
    training = TrainingOnDigits(Drifting("labels", 1, 8), setup, 1)
    used = [point.routing["experts_used"] for point in training.points(8, 1)]
    assert used[0] < used[4] < used[-1]


@pytest.mark.parametrize("setup", ["TopK(2)", "plain"])
@pytest.mark.usefixtures("few_held_out")
def test_a_language_model_learns_and_tells_what_it_cost(setup):
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
@pytest.mark.usefixtures("few_held_out")
def test_two_runs_of_a_seed_are_the_same_and_leave_torchs_own_generator_alone(name):
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
    monkeypatch.setitem(language.SIZES, "medium", replace(language.SIZES["medium"], rate=1.0))
    assert folder.file(run) != before
