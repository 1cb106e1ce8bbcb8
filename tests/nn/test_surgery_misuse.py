"""What surgery says of arguments of a wrong kind: what came, what is allowed, and what to do."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_layers import normal
from small_mixtures import Block
from surgery_layers import USED, feed_forward
from torch import nn

from driftmoe.nn import fused_lora, inject, lora_layer, mora, reset_routing, steer
from driftmoe.nn import merge_back as merge_back_fused
from driftmoe.nn.surgery import (
    add_ranks,
    allocate,
    groups,
    grow,
    install,
    merge,
    merge_back,
    owners,
    peaks,
    prune,
    prune_mixtures,
    prune_ranks,
    pruning_costs,
    recombine,
    similarity,
    super_experts,
)
from driftmoe.routing import TopK

LAYER = feed_forward()
ROWS = r"give \(\.\.\., 8\), such as `collect`"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (partial(recombine, LAYER, keep=2), ValueError, "recombine: keep=2 of 4 experts, but which"),
        (partial(recombine, LAYER, keep=2.5), TypeError, r"keep=2\.5; give a whole number, or the numbers"),
        (partial(prune, LAYER, keep=None), TypeError, "keep=None; give a whole number, or the numbers"),
        (
            partial(prune, LAYER, keep=2, usage=USED, protect=2),
            TypeError,
            "protect=2; give the numbers of experts",
        ),
        (partial(prune, LAYER, keep=2, usage={"a": 1}), TypeError, "usage is .*; give a number for each of"),
        (partial(merge, LAYER, 2), TypeError, "merge: groups=2; give a list of groups"),
        (partial(merge, LAYER, [[0, 1], [2, 2.5]]), TypeError, r"groups hold 2\.5; give the numbers"),
        (partial(merge, LAYER, [[True, False], [2, 3]]), TypeError, "groups hold .*bool.*; give the numbers"),
        (partial(groups, [[1.0]], None, 1), TypeError, "similarity is a list; give a tensor"),
        (partial(groups, torch.eye(4), None, 2.0), ValueError, r"groups: n=2\.0; choose an integer"),
        (partial(owners, LAYER, [1.0]), TypeError, "owners: inputs are list; give a tensor of floats"),
        (
            partial(peaks, LAYER, torch.ones(2, 8, dtype=torch.int64)),
            TypeError,
            "inputs are torch.int64; give",
        ),
        (partial(pruning_costs, LAYER, normal(5, 7)), ValueError, rf"inputs of shape \(5, 7\); {ROWS}"),
        (partial(similarity, LAYER, normal(5, 7)), ValueError, rf"inputs of shape \(5, 7\); {ROWS}"),
        (
            partial(super_experts, torch.ones(4)),
            TypeError,
            "peaks is a Tensor; give name of the layer -> result",
        ),
        (partial(allocate, {"a": 3}, 4), TypeError, "costs must be name of the layer -> number"),
        (
            partial(prune_mixtures, nn.Sequential(Block()), keep=[0, 1]),
            TypeError,
            r"keep=\[0, 1\]; give a whole number, or name of the mixture",
        ),
    ],
)
def test_arguments_of_a_wrong_kind_are_named_with_what_is_allowed(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        partial(prune, keep=[0, 1]),
        partial(merge, groups=[[0, 1], [2, 3]]),
        partial(recombine, keep=[0, 1], usage=USED),
        partial(grow, n=1),
        partial(pruning_costs, inputs=normal(5, 8)),
        partial(similarity, inputs=normal(5, 8)),
        partial(peaks, inputs=normal(5, 8)),
        partial(owners, inputs=normal(5, 8)),
        partial(add_ranks, n=1),
        partial(prune_ranks, inputs=normal(5, 8), threshold=0.0),
    ],
    ids=lambda call: call.func.__name__,
)
def test_a_layer_whose_routing_was_moved_is_refused_until_it_is_reset(call):
    of_ranks = call.func in (add_ranks, prune_ranks)
    layer = mora(nn.Linear(8, 6), n_experts=4, k=2) if of_ranks else feed_forward()
    steer(layer, [1], 3.0)
    with pytest.raises(ValueError, match=r"moved the layer's routing, .*; call reset_routing first"):
        call(layer)
    reset_routing(layer)
    call(layer)


def test_recombine_takes_how_many_experts_are_kept_as_prune_does():
    by_number = recombine(LAYER, keep=2, usage=USED)  # 0 and 2 are used most
    assert torch.equal(by_number.experts.w_in, recombine(LAYER, keep=[0, 2], usage=USED).experts.w_in)


def test_the_two_ways_to_merge_back_name_each_other():
    fused = nn.Module()
    fused.w = nn.Parameter(torch.ones(4, 6, 8))
    inject(fused, "w", partial(fused_lora, rank=2))
    with pytest.raises(TypeError, match=r"which driftmoe\.nn\.merge_back merges"):
        merge_back(fused)
    with pytest.raises(ValueError, match=r"merged by driftmoe\.nn\.surgery\.merge_back"):
        merge_back_fused(LAYER)


class Bare(nn.Module):
    """A model whose own code calls a layer of experts."""

    def __init__(self):
        super().__init__()
        self.moe = feed_forward()

    def forward(self, x):
        return self.moe(x).output


def test_only_layers_that_fit_are_installed():
    model, x = nn.Sequential(nn.Linear(8, 6)), normal(5, 8)
    make = partial(lora_layer, policy=TopK(1), rank=2)
    layer = inject(model, "0", make, n_experts=2)["0"]
    before = model(x)
    for new, error, message in (
        (make(nn.Linear(8, 5), n_experts=2), ValueError, r"widths \(8, 5\) .* those there have \(8, 6\)"),
        (nn.Linear(6, 8), ValueError, r"widths \(6, 8\)"),
        (3, TypeError, "int for '0'; give a MoELayer, or a module"),
    ):
        with pytest.raises(error, match=f"install: .*{message}"):
            install(model, {"0": new})
    assert model[0].moe is layer
    assert torch.equal(model(x), before)
    bare = Bare()
    with pytest.raises(TypeError, match=r"install: Linear for 'moe'; give a MoELayer$"):
        install(bare, {"moe": nn.Linear(8, 8)})
    small = prune(bare.moe, keep=[0, 1])
    install(bare, {"moe": small})
    assert torch.equal(bare(x), small(x).output)
