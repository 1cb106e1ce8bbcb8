"""Injecting into a model more than once, beside another library's adapters, and by names of modules with children."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from driftmoe.nn import flylora, inject, lora_layer, thaw, upcycled_layer
from driftmoe.routing import TopK

LORA = partial(lora_layer, policy=TopK(1), rank=1)


def network():
    return nn.Sequential(
        nn.Linear(4, 4),
        nn.ReLU(),
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)),
        nn.Linear(4, 2),
    )


def learning(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def names(place):
    return {f"{place}.moe.{name}" for name in ("experts.a", "experts.b", "router.weight")}


def test_injecting_again_freezes_nothing_that_learns():
    model = network()
    inject(model, "0", LORA, n_experts=2)
    model[3].bias.requires_grad_()  # a part of a head
    inject(model, "2.0", LORA, n_experts=2)
    assert learning(model) == names("0") | names("2.0") | {"3.bias"}
    inject(model, "3", LORA, n_experts=2)  # what becomes the base of new experts is frozen
    assert learning(model) == names("0") | names("2.0") | names("3")


class PeftLike(nn.Module):
    """What peft puts around a linear layer."""

    adapter_layer_names = ("lora_A",)

    def __init__(self, linear):
        super().__init__()
        self.base_layer, self.lora_A = linear.requires_grad_(False), nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_A(x)


def test_adapters_of_peft_go_on_learning():
    model = network().requires_grad_(False)
    model[0] = PeftLike(model[0])
    inject(model, "3", LORA, n_experts=2)
    assert learning(model) == {"0.lora_A.weight"} | names("3")


def test_what_another_library_froze_is_thawed_without_what_is_frozen_by_design():
    model = network()
    inject(model, "0", LORA, n_experts=2)
    inject(model, "3", partial(flylora, k=1), n_experts=2)
    wanted = learning(model)
    assert wanted == names("0") | {"3.moe.experts.b"}
    model.requires_grad_(False)
    thaw(model)
    assert learning(model) == wanted
    with pytest.raises(ValueError, match="thaw: nothing was injected"):
        thaw(network())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "shared_expert",
            r"'0\.moe\.shared_expert' is a part of the layer of experts at '0'; give a name outside",
        ),
        ("0.moe.router", "is a part of the layer of experts at '0'"),
        ("body", r"'body' has a layer of experts inside, at 'body\.0'; begin with the model as it was"),
        ("", "nothing in the model is named ''"),
    ],
)
def test_neither_parts_of_layers_of_experts_nor_what_has_them_inside_are_targets(target, message):
    model = nn.ModuleDict({"0": nn.Linear(4, 4), "body": nn.Sequential(nn.Linear(4, 4), nn.ReLU())})
    inject(model, ("0", "body.0"), LORA, n_experts=2)
    before = learning(model)
    with pytest.raises(ValueError, match=message):
        inject(model, target, LORA, n_experts=2)
    assert learning(model) == before


def test_a_whole_name_means_that_module_and_not_its_children():
    """`2` is the feed-forward network, not its last layer, `2.2`."""
    model, x = network(), torch.ones(3, 4)
    before = model(x)
    assert list(inject(model, "2", partial(upcycled_layer, policy=TopK(1)), n_experts=2)) == ["2"]
    torch.testing.assert_close(model(x), before)
    assert list(inject(network(), ("3", "0"), LORA, n_experts=2)) == ["0", "3"]
