"""Setups: a policy, a router and losses, read from text."""

from __future__ import annotations

import pytest
import torch

from driftmoe.neural import Setup, check_setup, open_experiment
from driftmoe.neural.drifting import Drifting, TrainingOnDigits
from driftmoe.neural.runs import feed_forward
from driftmoe.neural.setups import LOSSES
from driftmoe.nn import StraightThrough
from driftmoe.routing import ADAMOE, NULLS, Dense, TopK


@pytest.mark.parametrize(
    ("text", "policy", "router", "losses"),
    [
        ("plain", None, "linear", {}),
        ("Dense", Dense(), "linear", {}),
        ("TopK(2)", TopK(2), "linear", {"load_balance": 1e-2}),
        ("ADAMOE", ADAMOE, "linear", {"load_balance": 1e-3}),
        ("NULLS", NULLS, "linear", {"load_balance": 1e-2}),
        ("frozen", TopK(2), "random", {}),
        ("frozen(TopK(1))", TopK(1), "random", {}),
        ("balanced", TopK(2), "linear", {}),
        ("unaided(ADAMOE)", ADAMOE, "linear", {}),
        ("straight", StraightThrough(TopK(1)), "linear", {"load_balance": 1e-2}),
        ("straight(ADAMOE)", StraightThrough(ADAMOE), "linear", {"load_balance": 1e-3}),
        ("chained", TopK(1, renorm=False), "linear", {"load_balance": 1e-2}),
        ("recurrent(NULLS)", NULLS, "linear", {"load_balance": 1e-2}),
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
        (
            "balanced(DYNMOLE)",
            "a balancer, but policy=EntropyHybrid.* takes no bias; choose TopK or GroupTopK",
        ),
        ("balanced(WithShared(TopP(0.5), n_shared=1))", "a balancer, but policy=WithShared.* takes no bias"),
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


@pytest.mark.parametrize("text", ["TopK(2)", "DYNMOLE", "ADAMOE", "WithShared(NULLS, n_shared=1)"])
@pytest.mark.parametrize("rows", [None, torch.arange(10) > 3], ids=["all rows", "some rows"])
def test_losses_are_those_of_a_layer(text, rows):
    layer = feed_forward(Setup.parsed(text), 8, 4, seed=1).moe
    result = layer(torch.linspace(-1.0, 1.0, 80).reshape(10, 8), rows=rows)
    for name, loss in LOSSES.items():
        assert torch.equal(loss(result), result.losses[name])


@pytest.mark.parametrize("text", ["TopK(2)", "DYNMOLE", "ADAMOE", "WithShared(DYNMOLE, n_shared=1)"])
def test_auxiliary_losses_are_a_mean_over_layers(text):
    """A model of any depth has the coefficients of the paper, whose code joins the logits of all layers."""
    setup = Setup.parsed(text)
    layer = feed_forward(setup, 8, 4, seed=1).moe
    one = layer(torch.linspace(-1.0, 1.0, 80).reshape(10, 8))
    assert setup.loss([one] * 12).item() == pytest.approx(setup.loss([one]).item(), rel=1e-6)
    assert Setup(None).loss([]) == 0.0


@pytest.mark.parametrize(
    ("text", "n_active"),
    [
        ("plain", 2), ("Dense", 8), ("TopK(1)", 1), ("frozen", 2), ("DYNMOLE", 2),
        ("ADAMOE", 4 * 8 / 24), ("NULLS", 2), ("chained", 2),
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


@pytest.mark.parametrize("text", ["chained", "recurrent"])
def test_layers_that_are_no_lora_experts_are_not_in_adapt(text):
    check_setup(text, "lm", 2)
    with pytest.raises(ValueError, match="is of feed-forward layers, and adapt has LoRA experts"):
        check_setup(text, "adapt", 2)


def test_an_unknown_experiment_is_refused():
    with pytest.raises(
        ValueError, match="unknown experiment 'drift'; available: lm, adapt, drift-permutation"
    ):
        open_experiment("drift", None, 1)
