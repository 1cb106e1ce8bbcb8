from __future__ import annotations

import copy
import pickle

import pytest
import torch
from reference.nn import experts_slowly
from torch import nn

from driftmoe.nn import (
    ChainedMoE,
    FeedForwardExperts,
    LoRAExperts,
    MoELayer,
    RecurrentRouter,
    Unweighted,
    flylora,
    lora_layer,
    mora,
    smora,
    upcycled_layer,
)
from driftmoe.nn import lora as lora_module
from driftmoe.routing import DYNMOLE, BiasBalancer, Dense, RandomRouter, TopK, WithNull, WithShared


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def learnt(layer):
    """The same layer as after some training: B is not zero any more."""
    layer.experts.b.data = normal(*layer.experts.b.shape, seed=8).to(layer.experts.b.dtype)
    return layer


MAKERS = {
    "lora": lambda linear, **rest: lora_layer(linear, n_experts=6, policy=TopK(2), rank=3, **rest),
    "dynmole": lambda linear, **rest: lora_layer(linear, n_experts=6, policy=DYNMOLE, rank=3, **rest),
    "dense": lambda linear, **rest: lora_layer(linear, n_experts=4, policy=Dense(), rank=3, **rest),
    "null": lambda linear, **rest: lora_layer(
        linear, n_experts=4, policy=WithNull(TopK(2), 2), rank=3, **rest
    ),
    "shared": lambda linear, **rest: lora_layer(
        linear, n_experts=4, policy=WithShared(TopK(2), 1), rank=3, **rest
    ),
    "smora": lambda linear, **rest: smora(linear, n_experts=8, k=3, **rest),
    "mora": lambda linear, **rest: mora(linear, n_experts=8, k=3, **rest),
    "flylora": lambda linear, **rest: flylora(linear, n_experts=8, k=3, **rest),
}
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


# --------------------------------------------------------------------------------------------------
# LoRA experts
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("way", ["all at once", "by experts"])
@pytest.mark.parametrize(("n_experts", "rank", "n_in", "n_out"), [(5, 4, 8, 16), (3, 1, 7, 5), (4, 3, 8, 8)])
def test_lora_experts_equal_the_double_loop(n_experts, rank, n_in, n_out, way, dtype, monkeypatch):
    """Outputs and gradients, each way of computing them; the other way fails when it is taken."""
    if way == "all at once":
        policy = Dense()
        monkeypatch.setattr(lora_module, "spread", None)
    else:
        policy = TopK(1, renorm=False)
        rank *= 40  # too wide to do it all at once
        monkeypatch.setattr(lora_module.F, "linear", None)
    experts = LoRAExperts(n_experts, n_in, n_out, rank, seed=1)
    experts.b.data = normal(*experts.b.shape, seed=2)
    experts.to(dtype)
    x, logits = normal(9, n_in, dtype=dtype).requires_grad_(), normal(9, n_experts, seed=3).requires_grad_()
    direction = normal(9, n_out, seed=4)
    output = experts(x, policy(logits))
    output.backward(direction.to(dtype))

    slow = [v.detach().double().requires_grad_() for v in (x, logits, experts.a, experts.b)]
    slow_x, slow_logits, a, b = slow
    routing = policy(slow_logits)
    by_hand = experts_slowly(slow_x, routing.weights, routing.mask, lambda e, row: row @ a[e].T @ b[e])
    by_hand.backward(direction)
    pairs = [(output, by_hand)] + [
        (fast.grad, v.grad) for fast, v in zip((x, logits, experts.a, experts.b), slow, strict=True)
    ]
    for fast, v in pairs:
        scale = v.abs().max()
        tolerance = 0.03 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(fast.double() / scale, v / scale, rtol=0.0, atol=tolerance)


def test_what_is_done_at_once_is_what_is_cheap(monkeypatch):
    """Narrow maps of many rows, and all maps if all are chosen; wide ones of which rows choose few are not."""

    def is_at_once(n_experts, rank, policy):
        taken = []
        monkeypatch.setattr(lora_module, "spread", lambda x, plan: taken.append(1) or x[plan.rows])
        LoRAExperts(n_experts, 8, 8, rank)(normal(6, 8), policy(normal(6, n_experts)))
        return not taken

    assert is_at_once(8, 8, TopK(2))
    assert is_at_once(8, 512, Dense())
    assert not is_at_once(8, 64, TopK(2))
    assert not is_at_once(64, 16, TopK(2))


@each_maker
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_first_a_layer_answers_what_its_linear_layer_does(make, dtype):
    linear = nn.Linear(8, 6).to(dtype)
    x = normal(2, 5, 8, dtype=dtype)
    layer = make(linear, seed=1)
    assert torch.equal(layer(x).output, linear(x))
    assert not torch.equal(learnt(layer)(x).output, linear(x))


@each_maker
def test_what_learns_is_what_should(make):
    """Router and maps get gradients, but for FlyLoRA's A, which is frozen, and has no router besides."""
    layer = learnt(make(nn.Linear(8, 6).requires_grad_(False), seed=1))
    layer(normal(20, 8)).output.square().sum().backward()
    with_gradient = {name for name, p in layer.named_parameters() if p.grad is not None and p.grad.any()}
    trainable = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert with_gradient == trainable
    assert {"experts.b"} <= trainable <= {"experts.a", "experts.b", "router.weight"}


@each_maker
def test_layers_survive_copy_and_pickle(make):
    layer, x = learnt(make(nn.Linear(8, 6), seed=1)), normal(5, 8)
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x).output, layer(x).output)
        same.experts.a.data += 1.0  # a router that is the experts' own goes with the copy
        same.experts.b.data *= 2.0
        copied, original = same(x), layer(x)
        assert not torch.equal(copied.output, original.output)
        if not isinstance(layer.router, nn.Module):
            assert not torch.equal(copied.routing.logits, original.routing.logits)


@each_maker
def test_a_seed_fixes_a_layer_and_leaves_the_global_generator_alone(make):
    linear, x = nn.Linear(8, 6), normal(5, 8)
    state = torch.get_rng_state()
    first, second, other = (learnt(make(linear, seed=seed))(x).output for seed in (1, 1, 2))
    make(linear)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_scale_multiplies_what_is_added():
    linear, x = nn.Linear(8, 6), normal(5, 8)
    added = [
        learnt(lora_layer(linear, n_experts=4, policy=TopK(2), rank=2, scale=scale, seed=1))(x).output
        - linear(x)
        for scale in (1.0, 3.0)
    ]
    torch.testing.assert_close(added[1], 3.0 * added[0], rtol=1e-4, atol=1e-5)


def test_a_random_router_does_not_learn():
    layer = lora_layer(nn.Linear(8, 6), n_experts=4, policy=TopK(2), rank=2, router="random", seed=1)
    assert isinstance(layer.router, RandomRouter)
    assert not list(layer.router.parameters())


def test_unknown_routers_and_other_modules_are_refused():
    with pytest.raises(ValueError, match="router='mlp'; available: linear, random"):
        lora_layer(nn.Linear(8, 6), n_experts=4, policy=TopK(2), rank=2, router="mlp")
    with pytest.raises(TypeError, match=r"go around nn\.Linear, not Conv1d"):
        smora(nn.Conv1d(1, 1, 1), n_experts=4, k=2)
    with pytest.raises(ValueError, match=r"frozen_share=1\.5"):
        LoRAExperts(4, 8, 8, 1, frozen_share=1.5)


# --------------------------------------------------------------------------------------------------
# Ranks as experts
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["smora", "mora", "flylora"])
def test_rank_wise_experts_are_one_lora_with_a_gate_on_its_ranks(kind):
    """y = W x + 2 B diag(g(x)) A x, with the gate of each paper worked out here."""
    linear = nn.Linear(8, 6)
    layer, x = learnt(MAKERS[kind](linear, seed=1)), normal(20, 8)
    A, B = layer.experts.a[:, 0], layer.experts.b[:, 0]  # (ranks, n_in), (ranks, n_out)
    activations = x @ A.T
    if kind == "smora":
        scores = layer.router(x)
    elif kind == "mora":
        scores = activations / activations.norm(dim=-1, keepdim=True) / 0.1
    else:
        scores = activations.abs()
    gate = torch.zeros(20, 8)
    for t in range(20):
        chosen = scores[t].topk(3).indices
        p = scores[t].softmax(-1)
        gate[t, chosen] = {"smora": p[chosen] / p[chosen].sum(), "mora": p[chosen]}.get(kind, torch.ones(3))
    expected = linear(x) + 2.0 * (gate * activations) @ B
    torch.testing.assert_close(layer(x).output, expected, rtol=1e-4, atol=1e-5)


def test_the_temperature_sharpens_moras_weights():
    linear, x = nn.Linear(8, 6), normal(50, 8)
    used = [
        mora(linear, n_experts=8, k=8, temperature=t, seed=1)(x).routing.entropy.mean() for t in (1.0, 0.1)
    ]
    assert used[1] < used[0]
    with pytest.raises(ValueError, match="rank=2"):
        LoRAExperts(4, 8, 8, 2).relevances(x)


def test_flyloras_projection_is_sparse_and_of_its_paper_s_size():
    """Each row reads floor(n k / r) inputs, of deviation 1 / r."""
    layer = flylora(nn.Linear(1000, 4), n_experts=32, k=8, seed=1)
    read = layer.experts.a[:, 0] != 0
    assert (read.sum(-1) == 250).all()
    assert layer.experts.a[:, 0][read].std().item() == pytest.approx(1 / 32, rel=0.05)


@pytest.mark.parametrize("rms", [1.0, 100.0, 1e4])
def test_flyloras_ranks_are_those_with_the_largest_activations_however_large(rms):
    layer, x = flylora(nn.Linear(64, 4), n_experts=32, k=8, seed=1), rms * normal(50, 64)
    largest = (x @ layer.experts.a[:, 0].T).abs().topk(8).indices
    mask = layer(x).routing.mask
    assert mask.gather(-1, largest).all()
    assert (mask.sum(-1) == 8).all()
    layer.balancer.bias[3] = 1e9
    assert layer(x).routing.mask[:, 3].all()


@pytest.mark.parametrize("kind", ["smora", "flylora"])
def test_balancers_even_out_the_load_of_ranks(kind):
    """Comparing counts with shares, as the official code does, moves every bias alike and leaves the load as it is."""
    layer = MAKERS[kind](nn.Linear(8, 6), seed=1)
    if kind == "flylora":
        layer.experts.a.data *= torch.linspace(1.0, 3.0, 8)[:, None, None]
    layer.balancer = BiasBalancer(8, rate=5e-3)

    def load(n_rows, seed):  # rows of a common direction, which favours some experts of a router
        return layer(1.0 + normal(n_rows, 8, seed=seed)).routing.mask

    def overload():
        shares = load(4096, seed=0).float().mean(0)
        return (shares.max() / shares.mean() - 1.0).item()

    with torch.inference_mode():
        before = overload()
        for step in range(200):
            layer.balancer.update(load(256, seed=step))
        after = overload()
    assert before > 0.3
    assert after < 0.5 * before
    assert layer.balancer.bias.max() - layer.balancer.bias.min() > 0.01


def test_unweighted_takes_a_bias_along():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    policy = Unweighted(TopK(1))
    assert policy(logits).weights.tolist() == [[1.0, 0.0, 0.0]]
    assert policy(logits, bias=torch.tensor([0.0, 0.0, 1.0])).weights.tolist() == [[0.0, 0.0, 1.0]]


# --------------------------------------------------------------------------------------------------
# Recurrent routers, chains, upcycled layers
# --------------------------------------------------------------------------------------------------


def test_a_recurrent_router_carries_each_row_s_state_from_layer_to_layer():
    """By the equations of a GRU, for rows of any leading shape."""
    torch.manual_seed(0)
    cell = nn.GRUCell(6, 5)
    first, second = RecurrentRouter(8, 4, cell), RecurrentRouter(8, 4, cell)
    x = normal(2, 3, 8)
    _, state = first(x)
    logits, after = second(x, state)

    def gru(read, h):
        i = read @ cell.weight_ih.T + cell.bias_ih
        g = h @ cell.weight_hh.T + cell.bias_hh
        reset, update = (torch.sigmoid(i[..., n : n + 5] + g[..., n : n + 5]) for n in (0, 5))
        new = torch.tanh(i[..., 10:] + reset * g[..., 10:])
        return (1 - update) * new + update * h

    h = gru(x @ first.reads.weight.T, torch.zeros(2, 3, 5))
    h = gru(x @ second.reads.weight.T, h)
    torch.testing.assert_close(after, h)
    torch.testing.assert_close(logits, h @ second.says.weight.T)
    logits.sum().backward()
    assert first.reads.weight.grad.any()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert second(x.bfloat16(), state)[0].dtype == torch.float32


def test_a_chain_of_one_step_is_a_layer_and_of_two_two_layers_with_residuals():
    layer = MoELayer(None, FeedForwardExperts(4, 8, 8, seed=1), TopK(2))
    first, second = nn.Linear(8, 4), nn.Linear(8, 4)
    x = normal(3, 5, 8)
    output, (result,) = ChainedMoE([first], layer)(x)
    one = MoELayer(first, layer.experts, TopK(2))(x)
    assert torch.equal(result.routing.mask, one.routing.mask)
    torch.testing.assert_close(output, one.output)

    output, results = ChainedMoE([first, second], layer)(x)
    middle = x + one.output
    torch.testing.assert_close(x + output, middle + MoELayer(second, layer.experts, TopK(2))(middle).output)
    assert len(results) == 2
    rows = torch.ones(3, 5, dtype=torch.bool)
    rows[0, 3:] = False
    output, _ = ChainedMoE([first, second], layer)(x, rows=rows)
    assert not output[~rows].any()


def test_an_upcycled_layer_answers_what_the_dense_network_did_and_its_router_may_be_random():
    ffn, x = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)), normal(5, 8)
    layer = upcycled_layer(ffn, n_experts=4, policy=WithNull(TopK(2), 2, on_empty="best"), seed=1)
    torch.testing.assert_close(layer(x).output, ffn(x), rtol=1e-4, atol=1e-6)
    assert len(layer.router.weight) == 6
    noisy = upcycled_layer(ffn, n_experts=4, policy=TopK(2), noise=0.1, router="random", seed=1)
    assert isinstance(noisy.router, RandomRouter)
    assert not torch.allclose(noisy(x).output, ffn(x), rtol=1e-4, atol=1e-6)
