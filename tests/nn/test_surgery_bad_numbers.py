"""Numbers that would give a wrong result without a word are refused: flags for experts, NaN, bases, tied weights."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from small_mixtures import family
from torch import nn

from driftmoe.nn import (
    FeedForwardExperts,
    FusedWeight,
    MoELayer,
    Unweighted,
    fused_lora,
    inject,
    lora_layer,
    merge_back,
    surgery,
)
from driftmoe.routing import Dense, TopK

NAN = float("nan")
X = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))


def layer(n=4):
    return MoELayer(nn.Linear(8, n), FeedForwardExperts(n, 8, 16, seed=1), TopK(1))


@pytest.mark.parametrize(
    "keep",
    [torch.tensor([True, False]), np.array([True, False]), [True, False], [0.7, 1.9], "01", True, 2.0],
    ids=str,
)
def test_what_is_no_number_of_an_expert_is_refused(keep):
    with pytest.raises(TypeError, match=r"give (the numbers of experts|a whole number, or)"):
        surgery.prune(layer(2), keep=keep, usage=[0.5, 0.5])


@pytest.mark.parametrize("keep", [torch.tensor([2, 0]), np.array([2, 0]), (0, 2), {2, 0}], ids=str)
def test_numbers_of_any_kind_are_taken(keep):
    assert surgery.prune(layer(), keep=keep).experts.n_experts == 2


def test_nan_switches_no_protection_off():
    with pytest.raises(ValueError, match="super_experts: peaks hold NaN"):
        surgery.super_experts({"a": torch.tensor([1.0, NAN, 2.0, 90.0])})
    broken = layer()
    broken.experts.w_in.data[1] = NAN
    with pytest.raises(ValueError, match=r"peaks: experts \[1\] put out NaN"):
        surgery.peaks(broken, X)
    for function in (surgery.owners, surgery.pruning_costs):
        with pytest.raises(ValueError, match="the layer puts out NaN"):
            function(broken, X)
    broken.router.weight.data[1, 0] = NAN
    with pytest.raises(ValueError, match="similarity: the router holds or puts out NaN"):
        surgery.similarity(broken)
    with pytest.raises(ValueError, match="budget=nan"):
        surgery.allocate({"a": {1: 0.0}}, NAN)


def test_changes_are_unpacked_as_they_were_packed():
    base, state = {"a": torch.ones(5)}, {"a": torch.full((5,), 2.0)}
    against, alone = surgery.compress(state, base=base, density=1.0), surgery.compress(state, density=1.0)
    assert surgery.decompress(against, base=base)["a"].tolist() == [2.0] * 5
    assert surgery.decompress(alone)["a"].tolist() == [2.0] * 5
    with pytest.raises(ValueError, match="'a' was packed against a base; give the same base"):
        surgery.decompress(against)
    with pytest.raises(ValueError, match="'a' was packed by itself; give no base"):
        surgery.decompress(alone, base=base)
    with pytest.raises(ValueError, match="holds NaN"):
        surgery.compress(state, base={"a": torch.full((5,), NAN)})


def test_a_merge_that_is_not_finite_is_refused():
    model = nn.Linear(8, 2)
    versions = [model.state_dict(), {"weight": torch.full((2, 8), NAN)}]
    with pytest.raises(ValueError, match="fit_merge: the loss went from nan to nan"):
        surgery.fit_merge(model, versions, [X, X], n_steps=1)
    with pytest.raises(ValueError, match="pull=-1"):
        surgery.fit_merge(model, versions, [X, X], pull=-1.0)
    adapted = lora_layer(nn.Linear(8, 6), n_experts=2, policy=Unweighted(Dense()), rank=2)
    adapted.experts.b.data[0, 0, 0] = NAN
    with pytest.raises(ValueError, match="merge_back: the layer, its experts or scale hold NaN"):
        surgery.merge_back(adapted)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rank": 0}, "rank=0; choose a whole number from 1 to 6"), ({"rank": 7}, "rank=7"), ({"rank": 2.0}, "rank=2.0"),
     ({"rank": True}, "rank=True"), ({"rank": 2, "scale": NAN}, "scale=nan; choose a finite number")],
)  # fmt: skip
def test_pairs_that_cannot_learn_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fused_lora(FusedWeight(nn.Parameter(torch.ones(4, 6, 8)), is_transposed=False), **options)


def test_pairs_of_an_infinite_scale_are_not_merged():
    model = family("mixtral")
    before = copy.deepcopy(model.state_dict())
    for pairs in inject(model, "experts.down_proj", partial(fused_lora, rank=2)).values():
        pairs.scale = float("inf")
    with pytest.raises(ValueError, match=r"the pairs of .* or have such a scale"):
        merge_back(model)
    assert all(bool(torch.isfinite(weight).all()) for weight in before.values())
    assert all(bool(torch.isfinite(weight).all()) for weight in model.state_dict().values())


def test_a_weight_of_two_modules_gets_no_pairs():
    model = family("mixtral")
    first, second = (module for module in model.modules() if hasattr(module, "down_proj"))
    second.down_proj = first.down_proj
    with pytest.raises(ValueError, match=r"one parameter of several modules, .*experts.down_proj, .*experts"):
        inject(model, "experts.down_proj", partial(fused_lora, rank=2))
