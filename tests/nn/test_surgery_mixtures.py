"""Experts of transformers' own mixtures that are left out."""

from __future__ import annotations

import pytest
import torch
from small_layers import normal
from small_mixtures import FAMILIES, IDS, Block, family
from torch import nn

from driftmoe.nn import own_policies, reroute, usage, watch
from driftmoe.nn.surgery import prune_mixtures
from driftmoe.routing import TopK


def without(policy, out):
    """The policy with some experts out of service."""

    def chosen(logits, bias=None):
        logits = logits.index_fill(-1, torch.tensor(out), -torch.inf)
        return policy(logits) if bias is None else policy(logits, bias=bias)

    return chosen


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_pruned_model_is_the_model_with_experts_out_of_service_and_is_saved_as_before(kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = family(kind)
    n, out = 4, [1]
    if kind == "deepseek":  # in two groups of four, each of which must keep as many
        n, out = 8, [1, 6]
        model.config.n_group, model.config.topk_group = 2, 1
        for module in model.modules():
            if hasattr(module, "num_group"):
                module.num_group, module.topk_group = 2, 1
    kept = [e for e in range(n) if e not in out]
    policies = own_policies(model)
    if kind == "deepseek":
        with pytest.raises(ValueError, match="keep as many of each"):
            prune_mixtures(model, keep={name: [0, 1, 2, 3] for name in policies})
    with reroute(model, {name: without(policy, out) for name, policy in policies.items()}):
        expected = model(input_ids=IDS).logits
    prune_mixtures(model, keep={name: kept for name in policies})
    torch.testing.assert_close(model(input_ids=IDS).logits, expected)
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(input_ids=IDS).logits, expected)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert any(
        p.grad is not None and p.grad.any() for name, p in model.named_parameters() if ".experts." in name
    )


def test_the_most_used_experts_stay_and_a_wrong_request_changes_nothing():
    model = nn.Sequential(Block(), nn.Linear(8, 8), Block())
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    with watch(model) as records:
        whole = model(x)
    used = usage(records)
    for arguments, words in (
        ({"keep": 1, "usage": used}, "cannot choose among 1"),
        ({"keep": 2}, "Give usage"),
        ({"keep": {"1": [0, 1]}}, "available: 0, 2"),
        ({"keep": 2, "usage": used, "protect": {"0": [0, 1, 2]}}, r"protect=\[0, 1, 2\] are 3"),
        ({"keep": {"0": [0, 1], "2": [0, 4]}}, "2: keep=.* different numbers from 0 to 3"),
    ):
        with pytest.raises(ValueError, match=words):
            prune_mixtures(model, **arguments)
    with reroute(model, TopK(2)), pytest.raises(ValueError, match="undo that first"):
        prune_mixtures(model, keep=2, usage=used)
    assert torch.equal(model(x), whole)
    weight = model[2].gate.weight.detach()
    share = used["2"].share.tolist()
    least = max(e for e in range(4) if share[e] == min(share))  # of equal ones the first stays
    prune_mixtures(model, keep=3, usage=used)
    assert torch.equal(model[2].gate.weight, weight[[e for e in range(4) if e != least]])
    assert model(x).shape == whole.shape
    model[0].experts.extra = nn.Parameter(torch.ones(5))
    with pytest.raises(ValueError, match=r"'extra' of '0' has the shape \(5,\)"):
        prune_mixtures(model, keep=2, usage={name: of_layer.share[:3] for name, of_layer in used.items()})


class Shared(nn.Module):
    """Two blocks with the experts of the first."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = Block(), Block(), Block()
        self.second.experts = self.first.experts
        self.third.experts.factors = self.first.experts.factors

    def forward(self, x):
        return self.third(self.second(self.first(x)))


def test_experts_that_blocks_share_are_left_out_once_and_of_all():
    model, kept, x = Shared(), [0, 2, 3], normal(20, 8)
    with reroute(model, without(TopK(2), [1])):
        expected = model(x)
    for keep in ({"first": kept}, {"first": kept, "second": [0, 1, 2], "third": kept}):
        with pytest.raises(ValueError, match="'first' and 'second' share router or experts, but would keep"):
            prune_mixtures(model, keep=keep)
    prune_mixtures(model, keep=dict.fromkeys(("first", "second", "third"), kept))
    torch.testing.assert_close(model(x), expected)
    assert model.third.experts.factors is model.second.experts.factors
    assert len(list(model.parameters())) == 4  # three routers, one of experts
