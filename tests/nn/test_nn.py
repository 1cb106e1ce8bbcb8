from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from reference.nn import experts_slowly, feed_forward_slowly
from torch import nn

from driftmoe.losses import (
    entropy_loss,
    importance_loss,
    load_balance_loss,
    mutual_information_loss,
    null_balance_loss,
    router_z_loss,
)
from driftmoe.nn import FeedForwardExperts, MoELayer, dispatch, upcycle
from driftmoe.routing import (
    ADAMOE,
    DYNMOLE,
    STREAM,
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

POLICIES = {
    "dense": Dense(),
    "top-1": TopK(1),
    "top-2": TopK(2),
    "top-2 raw": TopK(2, renorm=False),
    "top-p": TopP(0.6),
    "hybrid": DYNMOLE,
    "stream": STREAM,
    "null": WithNull(TopK(2), 3),
    "shared": WithShared(TopK(2), 1),
    "groups": GroupTopK(2, n_groups=2, n_kept=1),
}
WAYS = ("by_groups", "by_segments", "by_gathering")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tensors of these sizes gain nothing from threads, and lose much where other processes want the cores."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def take(monkeypatch):
    """A function that leaves one way of dispatch alone: each other fails when it is called."""

    def take(way):
        monkeypatch.setattr(dispatch, "FEW_LINES", 10**9 if way == "by_gathering" else -1)
        if way == "by_segments":
            monkeypatch.setattr(dispatch, "can_group", lambda lines, weight: False)
        for other in set(WAYS) - {way}:
            monkeypatch.setattr(dispatch, other, None)

    return take


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def n_logits(policy, n_experts):
    if isinstance(policy, WithNull):
        return n_experts + policy.n_null
    return n_experts - policy.n_shared if isinstance(policy, WithShared) else n_experts


def expert_by_hand(experts, dtype=torch.float64):
    """The e-th network on a row, and the weights that it reads, in another precision."""
    weights = [w if w is None else w.detach().to(dtype).requires_grad_() for w in parts(experts)]

    def expert(e, row):
        w_in, w_out, b_in, b_out = weights
        biases = (0.0, 0.0) if b_in is None else (b_in[e], b_out[e])
        return feed_forward_slowly(row, w_in[e], w_out[e], *biases, experts.activation)

    return expert, weights


def parts(experts):
    return experts.w_in, experts.w_out, experts.b_in, experts.b_out


def assert_equals_the_double_loop(experts, x, routing_of, logits, tolerance):
    """Outputs, and the gradients of input, logits and all weights, beside those of the loop in float64."""
    x, logits = x.requires_grad_(), logits.requires_grad_()
    routing = routing_of(logits)
    direction = normal(*x.shape, seed=9)
    output = experts(x, routing)
    output.backward(direction.to(output.dtype))

    expert, weights = expert_by_hand(experts)
    slow_x, slow_logits = (v.detach().double().requires_grad_() for v in (x, logits))
    slow = experts_slowly(slow_x, routing_of(slow_logits).weights, routing.mask, expert)
    slow.backward(direction)
    pairs = [(output, slow), (x.grad, slow_x.grad), (logits.grad, slow_logits.grad)]
    for fast, by_hand in zip(parts(experts), weights, strict=True):
        if fast is not None:
            pairs.append((fast.grad, by_hand.grad))
    for fast, by_hand in pairs:
        assert fast.shape == by_hand.shape
        scale = by_hand.abs().max().clamp_min(1e-6)
        torch.testing.assert_close(fast.double() / scale, by_hand / scale, rtol=0.0, atol=tolerance)


# --------------------------------------------------------------------------------------------------
# Dispatch equals a loop over rows and experts
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "swiglu"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_dispatch_equals_the_double_loop(way, activation, bias, take):
    take(way)
    experts = FeedForwardExperts(5, 8, 12, activation=activation, bias=bias, seed=1)
    assert_equals_the_double_loop(experts, normal(11, 8), TopK(2), normal(11, 5, seed=2), 1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_dispatch_equals_the_double_loop_in_bfloat16(way, take):
    take(way)
    experts = FeedForwardExperts(5, 8, 16, bias=True, seed=1).bfloat16()
    x = normal(11, 8, dtype=torch.bfloat16)
    assert_equals_the_double_loop(experts, x, TopK(2), normal(11, 5, seed=2), 0.02)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_every_policy_equals_the_double_loop(policy):
    experts = FeedForwardExperts(6, 8, 8, seed=1)
    assert_equals_the_double_loop(experts, normal(9, 8), policy, normal(9, n_logits(policy, 6), seed=2), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(7, 5), (8, 5), (7, 16), (1, 1)])
def test_odd_sizes_and_types_equal_the_double_loop(sizes, dtype):
    """What grouped products do not take goes another way by itself."""
    n_features, n_hidden = sizes
    experts = FeedForwardExperts(3, n_features, n_hidden, activation="gelu", seed=1).to(dtype)
    x, logits = normal(13, n_features, dtype=dtype), normal(13, 3, seed=2)
    assert_equals_the_double_loop(experts, x, TopK(2), logits, 0.03 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chosen", [[2] * 9, [0, 4, 4, 0, 0, 4, 0, 0, 4], list(range(5)), [3], []])
def test_experts_without_rows_and_one_with_all_of_them(chosen, way, take):
    """Every row to one expert, rows to two of five, one each, a single row, and none."""
    take(way)
    experts = FeedForwardExperts(5, 8, 8, seed=1)
    logits = 3.0 * nn.functional.one_hot(torch.tensor(chosen, dtype=torch.int64), 5).float()
    if not chosen:
        experts(normal(0, 8), TopK(1, renorm=False)(logits)).sum().backward()
        assert all(w.grad is not None and not w.grad.any() for w in (experts.w_in, experts.w_out))
        return
    x = normal(len(chosen), 8)
    assert_equals_the_double_loop(experts, x, TopK(1, renorm=False), logits, 1e-5)
    unused = sorted(set(range(5)) - set(chosen))
    assert not experts.w_in.grad[unused].any()


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_that_is_the_same_everywhere_passes(way, take):
    """`sum` hands back an expanded gradient, of strides 0, which grouped products refuse."""
    take(way)
    experts = FeedForwardExperts(3, 8, 8, bias=True, seed=1)
    routing = TopK(2)(normal(6, 3, seed=2))
    output = experts(normal(6, 8), routing)
    output.sum().backward()
    through_sum = experts.w_in.grad.clone()
    experts.w_in.grad = None
    experts(normal(6, 8), routing).backward(torch.ones(6, 8))
    torch.testing.assert_close(through_sum, experts.w_in.grad)


def test_gradients_are_those_of_finite_differences():
    layer = MoELayer(nn.Linear(3, 4), FeedForwardExperts(4, 3, 5, bias=True, seed=1), TopK(2)).double()
    x = normal(4, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x).output, (x,))


@pytest.mark.parametrize(
    ("dtype", "n_in", "n_out", "offset", "expected"),
    [
        (torch.float32, 8, 4, 0, True),
        (torch.float32, 8, 6, 0, False),
        (torch.bfloat16, 8, 4, 0, False),
        (torch.bfloat16, 8, 16, 0, True),
        (torch.float64, 8, 8, 0, False),
        (torch.float32, 8, 8, 1, False),
    ],
    ids=["float32", "6 wide", "bfloat16, 4 wide", "bfloat16", "float64", "off by an element"],
)
def test_grouped_products_are_for_whole_sixteen_bytes_and_few_types(dtype, n_in, n_out, offset, expected):
    """And what they do not take has the same result."""
    size = 3 * n_in * n_out
    weight = normal(size + offset, dtype=dtype)[offset:].view(3, n_in, n_out)
    lines, plan = normal(12, n_in, dtype=dtype), TopK(2)(normal(6, 3)).plan
    assert dispatch.can_group(lines, weight) == expected
    out = dispatch.expert_linear(lines, weight, plan)
    by_hand = torch.stack([line @ weight[e] for line, e in zip(lines, plan.experts, strict=True)])
    torch.testing.assert_close(out, by_hand, rtol=0.05 if dtype == torch.bfloat16 else 1e-5, atol=0.05)


def test_segments_are_operators_that_torch_finds_no_fault_with():
    """Schema, shapes for the compiler, and gradients of gradients."""
    lines = normal(6, 3, dtype=torch.float64).requires_grad_()
    weight = normal(4, 3, 2, seed=1, dtype=torch.float64).requires_grad_()
    left, right, offsets = (
        lines.detach().clone(),
        normal(6, 2, dtype=torch.float64),
        torch.tensor([0, 2, 2, 6, 6]),
    )
    for x in (left, right):
        x.requires_grad_()
    mm, outer = dispatch._segment_mm, dispatch._segment_outer
    for operator, inputs in ((mm, (lines, weight)), (outer, (left, right))):
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(operator, (*inputs, offsets), test_utils=checks)
        assert torch.autograd.gradgradcheck(lambda a, b, operator=operator: operator(a, b, offsets), inputs)


def test_without_grouped_products_there_are_segments(monkeypatch):
    monkeypatch.delattr(torch.nn.functional, "grouped_mm")  # as before torch 2.10
    monkeypatch.setattr(dispatch, "by_groups", None)
    experts = FeedForwardExperts(5, 8, 16, seed=1)
    assert_equals_the_double_loop(experts, normal(11, 8), TopK(2), normal(11, 5, seed=2), 1e-5)


@pytest.mark.parametrize("policy", [TopK(1), WithNull(TopK(2), 6), TopP(0.5)], ids=["top-1", "null", "top-p"])
def test_only_chosen_pairs_are_computed(policy, monkeypatch):
    """Nulls and experts that were not chosen cost no line of a product."""
    lengths = []
    linear = dispatch.expert_linear

    def counted(lines, *rest):
        lengths.append(len(lines))
        return linear(lines, *rest)

    monkeypatch.setattr("driftmoe.nn.experts.expert_linear", counted)
    logits = normal(50, n_logits(policy, 4), seed=2)
    routing = policy(logits)
    FeedForwardExperts(4, 8, 8, seed=1)(normal(50, 8), routing)
    assert lengths == [routing.mask.sum().item()] * 2
    if isinstance(policy, WithNull):
        assert lengths[0] < 50  # of the 100 places nulls got more than half


def test_a_row_of_nulls_alone_gets_zeros_and_no_gradient():
    policy = WithNull(TopK(1), 1)
    logits = torch.tensor([[0.0, 0.0, 5.0], [5.0, 0.0, 0.0]])
    x = normal(2, 8).requires_grad_()
    output = FeedForwardExperts(2, 8, 8, seed=1)(x, policy(logits))
    output.sum().backward()
    assert not output[0].any()
    assert output[1].any()
    assert not x.grad[0].any()


# --------------------------------------------------------------------------------------------------
# Experts: fine-grained, and made of a dense network
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "swiglu"])
def test_the_parts_of_an_expert_sum_up_to_it(activation, bias):
    experts = FeedForwardExperts(3, 8, 12, activation=activation, bias=bias, seed=1)
    fine = experts.split(4)
    assert fine.n_experts == 12
    x, wide = normal(7, 8), TopK(2)(normal(7, 3, seed=2))
    each = wide.mask.repeat_interleave(4, -1), wide.weights.repeat_interleave(4, -1)
    narrow = Dense()(torch.zeros(7, 12))
    narrow = type(narrow)(each[1], each[0], narrow.logits)
    torch.testing.assert_close(fine(x, narrow), experts(x, wide), rtol=1e-4, atol=1e-6)


def test_a_split_that_leaves_a_rest_is_refused():
    with pytest.raises(ValueError, match="parts=5 of n_hidden=12"):
        FeedForwardExperts(3, 8, 12).split(5)


class Gated(nn.Module):
    """A feed-forward network as Llama has it."""

    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(8, 12, bias=False)
        self.up_proj = nn.Linear(8, 12, bias=False)
        self.down_proj = nn.Linear(12, 8, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


DENSE = {
    "relu": lambda: nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)),
    "gelu": lambda: nn.Sequential(nn.Linear(8, 12, bias=False), nn.GELU(), nn.Linear(12, 8, bias=False)),
    "gated": Gated,
}


@pytest.mark.parametrize("kind", DENSE)
def test_upcycled_experts_answer_what_the_dense_network_did(kind):
    ffn = DENSE[kind]()
    layer = MoELayer(nn.Linear(8, 4), upcycle(ffn, 4), TopK(2))
    x = normal(3, 5, 8)
    torch.testing.assert_close(layer(x).output, ffn(x), rtol=1e-4, atol=1e-6)


def test_noise_tells_upcycled_experts_apart():
    """Its deviation is the given share of the matrix's, and a seed fixes it."""
    ffn = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    noisy, again = (upcycle(ffn, 3, noise=0.1, seed=4) for _ in range(2))
    assert torch.equal(noisy.w_in, again.w_in)
    assert not torch.equal(noisy.w_in[0], noisy.w_in[1])
    off = noisy.w_in - ffn[0].weight.T
    assert (off.std() / ffn[0].weight.std()).item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("ffn", "message"),
    [
        (nn.Linear(4, 4), "Linear is no feed-forward network"),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), "the activation Tanh"),
        (nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Linear(4, 4)), "Sequential is no feed-forward"),
    ],
)
def test_what_cannot_be_upcycled_is_refused(ffn, message):
    with pytest.raises(ValueError, match=message):
        upcycle(ffn, 2)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation='tanh'; available: relu, gelu, swiglu"):
        FeedForwardExperts(2, 4, 4, activation="tanh")


def test_seeds_fix_the_weights_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    first, second, other = (FeedForwardExperts(2, 8, 8, seed=seed) for seed in (1, 1, 2))
    FeedForwardExperts(2, 8, 8)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.w_in, second.w_in)
    assert not torch.equal(first.w_in, other.w_in)


# --------------------------------------------------------------------------------------------------
# The layer
# --------------------------------------------------------------------------------------------------


def layer_of(policy=None, n_experts=4, n_features=8, **rest):
    policy = TopK(2) if policy is None else policy
    router = nn.Linear(n_features, n_logits(policy, n_experts))
    with torch.no_grad():
        router.weight.copy_(normal(*router.weight.shape, seed=3))
    return MoELayer(router, FeedForwardExperts(n_experts, n_features, 8, seed=1), policy, **rest)


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


def test_losses_are_those_of_the_routing():
    result = layer_of(DYNMOLE)(normal(7, 8))
    logits, routing = result.routing.logits, result.routing
    expected = {
        "load_balance": load_balance_loss(logits, routing.mask),
        "importance": importance_loss(routing.weights),
        "entropy": entropy_loss(logits, q=1.1),
        "mutual_information": mutual_information_loss(logits),
        "router_z": router_z_loss(logits),
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_the_benchmark_times_gives_equal_answers(dtype):
    pytest.importorskip("transformers", reason="needs the extra dev")
    from benchmarks import dispatch as benchmark

    size = benchmark.Size(64, 16, 16, 4, 2, dtype)
    entries = benchmark.ways(size)
    assert len(entries) == 6
    x, direction = normal(64, 16, dtype=dtype), normal(64, 16, seed=5, dtype=dtype)
    benchmark.check(entries, x, direction)
    benchmark.check(benchmark.lora_ways(benchmark.LoRASize(64, 16, 4, 2, 2, dtype)), x, direction)
    entries["wrong"] = benchmark.Way(lambda x: entries[benchmark.OURS].call(-x), [])
    with pytest.raises(AssertionError, match="wrong: another answer"):
        benchmark.check(entries, x, direction)


# --------------------------------------------------------------------------------------------------
# Precision and compilation
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_autocast_narrows_the_experts_and_not_the_router(way, take):
    take(way)
    layer, x = layer_of(shared_expert=nn.Linear(8, 8)), normal(32, 8).requires_grad_()
    wide = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = layer(x)
    assert narrow.output.dtype == torch.bfloat16
    assert torch.equal(narrow.routing.weights, wide.routing.weights)
    torch.testing.assert_close(narrow.output.float(), wide.output, rtol=0.05, atol=0.02)
    narrow.output.float().square().sum().backward()
    assert layer.experts.w_in.grad.dtype == torch.float32


def test_sums_are_not_narrower_than_weights_alone_or_in_a_batch():
    """256 · sigmoid(z) - 256 · sigmoid(-z), whose weights bfloat16 cannot tell apart."""
    logits = torch.tensor([[0.004, 0.0], [0.004, 0.0]])
    lines = torch.tensor([[256.0], [256.0], [-256.0], [-256.0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        both = dispatch.collect(lines, Dense()(logits).plan, 2)
        alone = dispatch.collect(lines[::2], Dense()(logits[:1]).plan, 1)
    assert both.flatten().tolist() == pytest.approx([256 * math.tanh(0.002)] * 2, rel=0.01)
    assert torch.equal(alone, both[:1])


def test_decisions_in_a_bfloat16_model_are_those_of_a_float32_router():
    layer = layer_of(TopK(2), n_experts=32)
    layer.experts.bfloat16()
    x = normal(500, 8, dtype=torch.bfloat16)
    mask = layer(x).routing.mask
    assert torch.equal(mask, TopK(2)(layer.router(x.float())).mask)
    layer.router.bfloat16()  # as `layer.bfloat16()` makes it
    assert not torch.equal(layer(x).routing.mask, mask)


# torch itself looks at what it warns of.
@pytest.mark.filterwarnings("default:The .grad attribute:UserWarning")
@pytest.mark.parametrize("policy", [TopK(2), WithNull(TopK(2), 2)], ids=["top-2", "null"])
def test_a_compiled_layer_is_the_same(policy):
    layer = layer_of(policy, shared_expert=nn.Linear(8, 8))
    compiled = torch.compile(layer, backend="aot_eager")
    for n_rows in (12, 7):
        x = normal(n_rows, 8, seed=n_rows)
        expected, result = layer(x), compiled(x)
        torch.testing.assert_close(result.output, expected.output)
        torch.testing.assert_close(result.losses["entropy"], expected.losses["entropy"])
    compiled_so_far = torch._dynamo.utils.counters["frames"]["ok"]
    for n_rows in (30, 17, 20, 41):
        compiled(normal(n_rows, 8, seed=n_rows))  # numbers of lines that were not seen before
    assert torch._dynamo.utils.counters["frames"]["ok"] == compiled_so_far
    gradients = [
        torch.autograd.grad(f(x).output.square().sum(), layer.experts.w_in) for f in (layer, compiled)
    ]
    torch.testing.assert_close(*gradients)


def test_losses_of_no_rows_are_numbers():
    layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    losses = layer(torch.zeros(0, 8)).losses
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["importance"] == 0.0
