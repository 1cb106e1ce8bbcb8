"""Surgery where a policy cannot do with fewer experts as it is, such as one that chooses among groups."""

from __future__ import annotations

import pytest
import torch
from small_layers import normal
from surgery_layers import feed_forward

from driftmoe.nn.surgery import grow, owners, prune, pruning_costs
from driftmoe.routing import GroupTopK, TopK

PAIRS = GroupTopK(1, n_groups=2, n_kept=1, best=1)
"""Two groups of two experts."""


def test_owners_are_found_where_a_policy_cannot_do_with_fewer_experts():
    x = normal(100, 8)
    layer = feed_forward(policy=PAIRS)
    for weights in (*layer.experts.parameters(), *layer.router.parameters()):
        weights.data[1] = weights.data[0]  # so that each replaces the other
    assert owners(layer, x, limit=0.01) == (2, 3)
    assert owners(feed_forward(policy=TopK(2), n_experts=2), x, limit=0.01) == (0, 1)
    one = feed_forward(policy=TopK(1), n_experts=1)
    assert owners(grow(one, 1), x, limit=0.01) == (0,)  # the new one says nothing


def test_a_policy_of_groups_keeps_as_many_experts_of_each():
    layer, x, used = feed_forward(policy=PAIRS), normal(100, 8), [0.5, 0.4, 0.04, 0.06]
    costs = pruning_costs(layer, x, usage=used)
    expected = (prune(layer, keep=[0, 3])(x).output - layer(x).output).square().mean().item()
    assert costs == {2: pytest.approx(expected), 4: 0.0}
    assert expected > 0.0
    small = prune(layer, keep=2, usage=used, protect=[2])
    assert torch.equal(small.router.weight, layer.router.weight[[0, 2]])
    for keep, protect in ((3, ()), (2, [0, 1])):
        with pytest.raises(ValueError, match=r"prune: GroupTopK.* needs as many experts of each of 2 groups"):
            prune(layer, keep=keep, usage=used, protect=protect)
