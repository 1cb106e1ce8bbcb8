"""The layer: a router, a policy and experts."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from small_layers import layer_of, normal
from torch import nn

from driftmoe.losses import (
    entropy_loss,
    importance_loss,
    load_balance_loss,
    mutual_information_loss,
    null_balance_loss,
    router_z_loss,
    soft_balance_loss,
)
from driftmoe.nn import FeedForwardExperts, MoELayer, steer
from driftmoe.routing import (
    ADAMOE,
    DYNMOLE,
    BiasBalancer,
    GroupTopK,
    LinearK,
    RandomRouter,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
)


def test_a_layer_is_router_policy_and_experts():
    layer = layer_of()
    x = normal(3, 5, 8)
    result = layer(x)
    routing = TopK(2)(layer.router(x))
    assert torch.equal(result.routing.mask, routing.mask)
    torch.testing.assert_close(result.output, layer.experts(x, routing))
    rows = layer.experts(x.flatten(0, 1), TopK(2)(layer.router(x.flatten(0, 1))))
    torch.testing.assert_close(result.output, rows.view(3, 5, 8))


def test_a_shared_expert_and_a_scale_are_added_and_multiplied():
    plain, shared = layer_of(), nn.Linear(8, 8)
    layer = MoELayer(plain.router, plain.experts, TopK(2), shared, scale=2.5)
    x = normal(6, 8)
    torch.testing.assert_close(layer(x).output, shared(x) + 2.5 * plain(x).output)


def test_given_logits_take_the_place_of_the_router():
    layer = layer_of()
    x, logits = normal(6, 8), normal(6, 4, seed=7)
    with_logits = layer(x, logits=logits)
    assert torch.equal(with_logits.routing.mask, TopK(2)(logits).mask)
    layer.router = None
    assert torch.equal(layer(x, logits=logits).output, with_logits.output)
    with pytest.raises(ValueError, match="there is no router"):
        layer(x)


@pytest.mark.parametrize("policy", [TopK(2), ADAMOE, WithShared(TopK(2), 1)], ids=["top-2", "null", "shared"])
def test_a_wrong_number_of_logits_is_refused(policy):
    experts = FeedForwardExperts(9, 8, 8)
    with pytest.raises(ValueError, match=r"but there are 9|logits have"):
        MoELayer(nn.Linear(8, 4), experts, policy)(normal(2, 8))


def test_a_balancer_is_for_policies_that_take_a_bias():
    with pytest.raises(ValueError, match=r"a balancer, but policy=TopP\(.* takes no bias"):
        layer_of(TopP(0.5), balancer=BiasBalancer(4))
    layer_of(GroupTopK(1, n_groups=2, n_kept=1), balancer=BiasBalancer(4))(normal(3, 8))
    layer = layer_of(DYNMOLE)
    with pytest.raises(ValueError, match="a balancer, but policy=EntropyHybrid"):
        layer.set_balancer(BiasBalancer(4))
    layer.set_balancer(None)


def test_rows_that_do_not_count_get_no_expert_and_change_no_loss():
    layer = layer_of(WithNull(TopK(2), 2), shared_expert=nn.Linear(8, 8))
    x = normal(2, 6, 8)
    rows = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    padded, kept = layer(x, rows=rows), layer(x[rows])
    torch.testing.assert_close(padded.output[rows], kept.output)
    torch.testing.assert_close(padded.output[~rows], layer.shared_expert(x[~rows]))
    assert not padded.routing.mask[~rows].any()
    assert not padded.routing.null_mask[~rows].any()
    for name, loss in kept.losses.items():
        torch.testing.assert_close(padded.losses[name], loss, msg=name)


def test_the_load_is_what_the_router_chose_for_rows_that_count():
    rows = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    for policy, inner, n_experts in (
        (WithNull(TopK(2), 2),) * 2 + (4,),
        (WithShared(TopK(2), 1), TopK(2), 5),
    ):
        result = layer_of(policy, n_experts=n_experts)(normal(2, 6, 8), rows=rows)
        assert torch.equal(result.load, inner(result.routing.logits[rows]).mask)


def test_losses_are_those_of_the_routing():
    result = layer_of(DYNMOLE)(normal(7, 8))
    logits, routing = result.routing.logits, result.routing
    expected = {
        "load_balance": load_balance_loss(logits, routing.mask),
        "importance": importance_loss(routing.weights),
        "entropy": entropy_loss(logits, q=1.1),
        "mutual_information": mutual_information_loss(logits),
        "router_z": router_z_loss(logits),
        "soft_balance": soft_balance_loss(logits, result.routing.weights),
        "entropy_nats": entropy_loss(logits, normalize=False),
    }
    assert result.losses.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(result.losses[name], loss, msg=name)


def test_losses_leave_shared_experts_out_and_take_nulls_as_one():
    shared = layer_of(WithShared(TopK(2), 1), n_experts=5)(normal(7, 8))
    routed = TopK(2)(shared.routing.logits)
    torch.testing.assert_close(shared.losses["load_balance"], load_balance_loss(routed.logits, routed.mask))
    torch.testing.assert_close(shared.losses["importance"], importance_loss(routed.weights))
    null = layer_of(WithNull(TopK(2), 3))(normal(7, 8))
    load = torch.cat([null.routing.mask, null.routing.null_mask], -1)
    torch.testing.assert_close(
        null.losses["load_balance"], null_balance_loss(null.routing.logits, load, n_null=3)
    )
    shares = null.routing.logits.softmax(-1).mean(0)[:4]  # of seven, the last three of null experts
    by_hand = 7 * (null.routing.weights.mean(0) * shares).sum()
    torch.testing.assert_close(null.losses["soft_balance"], by_hand)


def test_losses_and_output_teach_the_router():
    layer = layer_of()
    result = layer(normal(20, 8))
    for loss in (result.output.square().sum(), *result.losses.values()):
        (gradient,) = torch.autograd.grad(loss, [layer.router.weight], retain_graph=True)
        assert gradient.abs().max() > 1e-6


def test_a_single_renormalised_expert_teaches_its_router_nothing_and_a_raw_one_does():
    """Its weight is 1 whatever the logits are; the documented price of `TopK(1)`."""
    gradients = []
    for renorm in (True, False):
        layer = layer_of(TopK(1, renorm=renorm))
        layer(normal(20, 8)).output.square().sum().backward()
        gradients.append(layer.router.weight.grad.abs().max())
    assert gradients[0] < 1e-6 < 1e-3 < gradients[1]


def test_experts_out_of_service_get_no_rows_and_growing_by_them_changes_nothing():
    small, large = layer_of(DYNMOLE), layer_of(DYNMOLE, n_experts=6)
    for name in ("w_in", "w_out"):
        getattr(large.experts, name).data[:4] = getattr(small.experts, name).data
    x, logits = normal(9, 8), normal(9, 4, seed=7)
    grown = torch.cat([logits, torch.full((9, 2), -torch.inf)], -1)
    result, expected = large(x, logits=grown), small(x, logits=logits)
    torch.testing.assert_close(result.output, expected.output)
    for name, loss in expected.losses.items():
        torch.testing.assert_close(result.losses[name], loss, msg=name)
    result.output.sum().backward()
    assert not large.experts.w_in.grad[4:].any()


def test_a_row_alone_gets_the_experts_that_it_gets_in_a_batch():
    layer = layer_of(TopP(0.6), n_features=16)
    x = normal(40, 16)
    whole = layer(x, logits=layer.router(x))
    for i in range(40):
        alone = layer(x[i : i + 1], logits=whole.routing.logits[i : i + 1])
        assert torch.equal(alone.routing.mask[0], whole.routing.mask[i])
        torch.testing.assert_close(alone.output[0], whole.output[i], rtol=1e-5, atol=1e-6)


def test_a_vector_is_a_row():
    layer, x = layer_of(shared_expert=nn.Linear(8, 8)), normal(3, 8)
    alone = layer(x[1])
    assert alone.output.shape == (8,)
    torch.testing.assert_close(alone.output, layer(x).output[1])


def test_neither_calls_nor_modes_change_a_layer():
    layer = layer_of(balancer=BiasBalancer(4))
    before = copy.deepcopy(layer.state_dict())
    x = normal(6, 8)
    training, again = layer(x).output, layer(x).output
    assert torch.equal(training, again)
    assert torch.equal(layer.eval()(x).output, training)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_layer_survives_state_dict_pickle_and_copy():
    layer, x = layer_of(DYNMOLE, balancer=None, shared_expert=nn.Linear(8, 8)), normal(6, 8)
    other = layer_of(DYNMOLE, shared_expert=nn.Linear(8, 8))
    nn.init.zeros_(other.experts.w_in)
    other.load_state_dict(layer.state_dict())
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x).output, layer(x).output)


def test_a_balancer_evens_out_the_load():
    """Most-used expert's load over the mean, less one, on logits that favour the first experts."""
    layer = layer_of(TopK(2), n_experts=8, balancer=BiasBalancer(8, rate=1e-3))
    layer.router.bias.data = torch.linspace(1.0, -1.0, 8)
    layer.router.weight.data *= 0.1

    def overload(result):
        load = result.routing.mask.float().mean(0)
        return (load.max() / load.mean() - 1.0).item()

    with torch.inference_mode():
        before = overload(layer(normal(4096, 8)))
        for step in range(300):
            layer.balancer.update(layer(normal(256, 8, seed=step)).routing.mask)
        after = overload(layer(normal(4096, 8)))
    assert before > 1.0
    assert after < 0.35
    assert after < before / 2


def test_group_limited_routing_stays_within_groups():
    layer = layer_of(GroupTopK(2, n_groups=4, n_kept=1), n_experts=8)
    mask = layer(normal(50, 8)).routing.mask
    groups = mask.unflatten(-1, (4, 2)).any(-1).sum(-1)
    assert (groups == 1).all()


def test_a_random_router_stays_while_experts_learn():
    layer = MoELayer(RandomRouter(8, 4, seed=0), FeedForwardExperts(4, 8, 8, seed=1), TopK(2))
    x, target = normal(32, 8), normal(32, 8, seed=5)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    before = layer(x)
    for _ in range(30):
        optimizer.zero_grad()
        loss = (layer(x).output - target).square().mean()
        loss.backward()
        optimizer.step()
    assert torch.equal(layer(x).routing.weights, before.routing.weights)
    assert loss < 0.9 * (before.output - target).square().mean()


def test_a_scheduled_policy_is_set_by_the_training_loop():
    scheduled = Scheduled(TopK(1), LinearK(1, 4, n_steps=3))
    layer, used = layer_of(), []
    for step in range(4):
        layer.policy = scheduled.at(step)
        used.append(layer(normal(1, 8)).routing.n_used.item())
    assert used == [1, 2, 3, 4]


def test_losses_of_no_rows_are_numbers():
    layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    losses = layer(torch.zeros(0, 8)).losses
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["importance"] == 0.0


def test_a_layer_pickled_before_its_routing_could_be_moved_works():
    layer, old = layer_of(), MoELayer.__new__(MoELayer)
    old.__setstate__({**vars(layer), "_buffers": {}, "_non_persistent_buffers_set": set()})
    assert torch.equal(old(normal(3, 8)).output, layer(normal(3, 8)).output)
    steer(old, [2], 1000.0)
    for same in (copy.deepcopy(old), pickle.loads(pickle.dumps(old))):
        assert same(normal(3, 8)).routing.mask[:, 2].all()
        assert "delta" not in same.state_dict()
