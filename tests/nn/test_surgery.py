"""Surgery on layers of experts: the result is a layer like any; who may go, and what that costs."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from small_layers import layer_of, normal
from surgery_layers import USED, adapters, feed_forward
from torch import nn

from driftmoe.nn import FeedForwardExperts, MoELayer, flylora, mora, usage
from driftmoe.nn.surgery import (
    Beside,
    Merged,
    collect,
    grow,
    merge,
    owners,
    peaks,
    prune,
    pruning_costs,
    recombine,
    similarity,
    super_experts,
)
from driftmoe.routing import (
    BiasBalancer,
    Dense,
    GroupTopK,
    LinearK,
    RandomRouter,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
)

OPERATIONS = {
    "prune": partial(prune, keep=[0, 1, 3]),
    "merge": partial(merge, groups=[[2, 0], [1], [3]], usage=USED),
    "recombine": partial(recombine, keep=[0, 1, 3], usage=USED, threshold=0.0),
    "grow": partial(grow, n=2, seed=4),
    "grow and prune": lambda layer: prune(grow(layer, 2, seed=4), keep=[0, 2, 3, 5]),
    "merge and grow": lambda layer: grow(merge(layer, [[2, 0], [1], [3]]), 1, seed=4),
    "merge and prune": lambda layer: prune(merge(layer, [[2, 0], [1], [3]]), keep=[0, 2]),
    "merge twice": lambda layer: merge(merge(layer, [[2, 0], [1], [3]]), [[1, 0], [2]]),
    "grow and merge": lambda layer: merge(grow(layer, 2, seed=4), [[0, 1], [2], [3], [4, 5]]),
}


@pytest.mark.parametrize("make", [feed_forward, adapters])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_changed_layer_is_a_layer_like_any(make, name):
    operation, layer, x = OPERATIONS[name], make(), normal(20, 8)
    before = copy.deepcopy(layer.state_dict())
    with torch.inference_mode():
        changed = operation(layer)
    for key, value in layer.state_dict().items():  # the old one stays as it is
        assert torch.equal(value, before[key])
    old = {id(p) for p in (*layer.router.parameters(), *layer.experts.parameters())}
    assert not any(id(p) in old for p in changed.parameters())
    # saved and loaded
    other = operation(make())
    for parameter in (*other.router.parameters(), *other.experts.parameters()):
        parameter.data.zero_()
    other.load_state_dict(changed.state_dict())
    for same in (other, copy.deepcopy(changed), pickle.loads(pickle.dumps(changed))):
        assert torch.equal(same(x).output, changed(x).output)
    # trained
    result = changed(x)
    assert usage([("layer", result)])["layer"].share.shape == (result.load.shape[-1],)
    learning = [p for p in changed.parameters() if p.requires_grad]
    step = torch.optim.AdamW(learning, lr=0.01)
    (result.output.square().mean() + 0.01 * result.losses["load_balance"]).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
    step.step()
    assert not torch.equal(changed(x).output, result.output)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_changed_layer_keeps_types_and_devices(name):
    layer = feed_forward(policy=WithNull(TopK(2), 2), shared_expert=nn.Linear(8, 8)).bfloat16()
    layer.router.float()
    changed = OPERATIONS[name](layer)
    assert {p.dtype for p in changed.experts.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in changed.router.parameters()} == {torch.float32}
    assert changed.shared_expert is layer.shared_expert
    assert changed(normal(5, 8).bfloat16()).output.dtype == torch.bfloat16
    if name in ("prune", "grow", "grow and prune"):  # others look at the weights
        elsewhere = OPERATIONS[name](layer.to("meta"))
        tensors = [*elsewhere.parameters(), *elsewhere.buffers()]
        assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_similarity_of_logits_tends_to_that_of_the_rows_of_the_router_on_white_noise():
    layer = layer_of(WithNull(TopK(2), 2))
    on_noise = similarity(layer, normal(50_000, 8, seed=4))
    torch.testing.assert_close(similarity(layer), on_noise, atol=0.02, rtol=0.0)
    assert on_noise.shape == (4, 4)
    a, b = (layer.router(normal(9, 8))[:, i].double() for i in (0, 2))
    torch.testing.assert_close(
        similarity(layer, normal(9, 8))[0, 2].double(), a @ b / a.norm() / b.norm(), rtol=1e-5, atol=1e-6
    )


def extreme():
    """Four experts for rows along axes 0 to 3: the last axis is rare, and its expert's outputs are extreme."""
    layer = layer_of(TopK(1))
    layer.router.weight.data = torch.eye(4, 8)
    layer.router.bias.data = torch.tensor([0.0, 0.0, 0.0, -2.0])  # chosen by no row of other axes
    layer.experts.w_out.data[3] *= 300.0
    x = 0.1 * normal(400, 8, seed=6)
    axes = torch.arange(400) % 3
    axes[::50] = 3
    x[torch.arange(400), axes] += 3.0
    return layer, x


def test_a_rare_expert_of_extreme_output_is_kept_and_would_cost_more_than_a_busy_one():
    layer, x = extreme()
    share = usage([("layer", layer(x))])["layer"]
    assert share.share.argmin() == 3
    found = super_experts({"layer": peaks(layer, x), "other": torch.ones(4)})
    assert found == {"layer": (3,), "other": ()}
    assert (prune(layer, keep=3, usage=share).router.weight[:, 3] == 0.0).all()  # by use alone it goes
    kept = prune(layer, keep=3, usage=share, protect=found["layer"])
    assert kept.router.weight[-1, 3] == 1.0
    without_rare, without_busy = (
        (prune(layer, keep=[e for e in range(4) if e != gone])(x).output - layer(x).output).square().mean()
        for gone in (3, int(share.share.argmax()))
    )
    assert without_rare > 100 * without_busy


def test_peaks_are_the_largest_outputs_for_the_rows_that_chose_an_expert():
    layer, x = feed_forward(policy=WithShared(TopK(1), 1), n_experts=4), normal(7, 8)
    chosen = layer.router(x).argmax(-1)
    for e, peak in enumerate(peaks(layer, x)):
        alone = TopK(1)(torch.eye(4)[e + 1].expand(7, 4))
        outputs = layer.experts(x, alone)[chosen == e].abs()
        torch.testing.assert_close(peak, outputs.max() if len(outputs) else torch.tensor(0.0))


def test_nobody_is_extreme_where_all_are_alike():
    assert super_experts({"a": torch.ones(64), "b": torch.linspace(0.5, 2.0, 64)}) == {"a": (), "b": ()}
    assert super_experts({"a": torch.zeros(3)}) == {"a": ()}


def test_an_expert_owns_a_region_unless_others_answer_there_alike():
    layer, x = extreme()
    assert owners(layer, x) == (0, 1, 2, 3)
    for parameter in layer.experts.parameters():
        parameter.data[1] = parameter.data[0]
    layer.router.weight.data[1, 0] = 0.9  # rows of the first expert go to the second, were it not there
    assert owners(layer, x) == (1, 2, 3)
    assert owners(layer, x, limit=1e9) == ()


def test_collected_rows_are_those_that_count():
    layer, x = layer_of(), normal(2, 5, 8)
    model = nn.ModuleDict({"moe": layer})
    rows = torch.tensor([[True] * 5, [True, False, False, False, True]])
    with collect(model, n_rows=9) as inputs:
        model["moe"](x, rows=rows)
        model["moe"](x[0])
    assert torch.equal(inputs["moe"], torch.cat([x[rows], x[0, :2]]))
    with pytest.raises(ValueError, match="no MoELayer"), collect(nn.Linear(2, 2)):
        pass


@pytest.mark.parametrize(
    "policy",
    [
        TopK(2),
        TopP(0.5),
        Dense(),
        WithNull(TopK(2), 2),
        WithShared(WithNull(TopK(2), 2), 1),
        Merged(TopK(2), (1, 0, 2, 3, 1)),
        Beside(TopK(1), TopK(1, renorm=False), 2),
        WithShared(TopK(2), 1),
    ],
    ids=repr,
)
def test_a_pruned_layer_is_the_layer_with_experts_out_of_service(policy):
    n_experts = 4 + getattr(policy, "n_shared", 0)
    layer, x = feed_forward(), normal(30, 8)
    layer.policy = policy
    layer.experts = FeedForwardExperts(n_experts, 8, 8, seed=1)
    n_logits = policy.n_logits(n_experts)
    layer.router = nn.Linear(8, n_logits)
    logits = layer.router(x).detach().clone()
    out = {0} if not isinstance(policy, Merged) else {1}  # of the merged one, expert 0 has the logit 1
    logits[:, list(out)] = -torch.inf
    expected = layer(x, logits=logits).output
    torch.testing.assert_close(prune(layer, keep=[1, 2, 3])(x).output, expected)


def test_pruning_keeps_biases_of_a_balancer_and_routers_that_are_drawn_or_read_experts():
    layer = layer_of(balancer=BiasBalancer(4, rate=0.1, rule="proportional"))
    layer.balancer.bias = torch.tensor([0.5, -0.25, 0.25, -0.5])
    small = prune(layer, keep=[0, 3])
    assert small.balancer.bias.tolist() == [0.5, -0.5]
    assert (small.balancer.rate, small.balancer.rule) == (0.1, "proportional")
    random = MoELayer(RandomRouter(8, 4, seed=0), layer.experts, TopK(1))
    x = normal(20, 8)
    logits = random.router(x).masked_fill(torch.tensor([False, True, False, False]), -torch.inf)
    torch.testing.assert_close(prune(random, keep=[0, 2, 3])(x).output, random(x, logits=logits).output)
    for make in (mora, flylora):
        ranks = make(nn.Linear(8, 6), n_experts=6, k=2, seed=0)
        ranks.experts.b.data = normal(*ranks.experts.b.shape)
        cut = prune(ranks, keep=[1, 2, 4])
        if make is flylora:
            logits = ranks.experts.magnitudes(x)
            logits[:, [0, 3, 5]] = -torch.inf
            torch.testing.assert_close(cut(x).output, ranks(x, logits=logits).output)
        else:  # a relevance is one of all ranks that there are
            assert torch.equal(cut.router(x), cut.experts.relevances(x, temperature=0.1))


def test_pruning_refuses_what_cannot_be():
    layer = layer_of()
    for arguments, words in (
        ({"keep": [1]}, r"TopK\(k=2.* cannot choose among 1 experts: .*k=2"),
        ({"keep": [1, 1]}, "different numbers from 0 to 3"),
        ({"keep": [1, 4]}, "different numbers from 0 to 3"),
        ({"keep": 2}, "Give usage"),
        ({"keep": 5, "usage": USED}, "1 <= keep <= 4"),
        ({"keep": 2, "usage": [1.0, 2.0]}, "each of the 4 experts"),
        ({"keep": 2, "usage": [1.0, 2.0, float("nan"), 1.0]}, "each of the 4 experts"),
        ({"keep": [0, 1], "protect": [2]}, r"lacks \[2\] of protect"),
        ({"keep": 1, "usage": USED, "protect": [1, 2]}, r"protect=\[1, 2\] are 2"),
        ({"keep": [0, 1], "policy": WithNull(TopK(1), 2)}, "another number of logits than the 2"),
        ({"keep": []}, "would have no expert to choose"),
    ):
        with pytest.raises(ValueError, match=words):
            prune(layer, **arguments)
    with pytest.raises(ValueError, match="keep as many of each"):
        prune(layer_of(GroupTopK(1, n_groups=2, n_kept=1, best=1)), keep=[0, 1])
    with pytest.raises(ValueError, match="at_step"):
        prune(layer_of(Scheduled(TopK(1), LinearK(1, 2, 5)), n_experts=4), keep=[0])
    with pytest.raises(TypeError, match="no MoELayer"):
        prune(layer.experts, keep=[0])
    layer.router = nn.Sequential(layer.router)
    with pytest.raises(TypeError, match="type Sequential cannot be cut"):
        prune(layer, keep=[0, 1])


def test_costs_are_those_of_pruned_layers():
    layer, x = feed_forward(shared_expert=nn.Linear(8, 8)), normal(25, 8)
    layer.scale = 1.5
    costs = pruning_costs(layer, x, usage=USED, protect=[1])
    assert costs.keys() == {2, 3, 4}
    for k, cost in costs.items():
        small = prune(layer, keep=k, usage=USED, protect=[1])
        assert cost == pytest.approx((small(x).output - layer(x).output).square().mean().item(), rel=1e-5)
