"""The mixtures of experts in models of transformers: their routing, watched and in the hands of a policy."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from small_layers import layer_of, normal
from small_mixtures import FAMILIES, IDS, Block, Wrong, family, hooks, small
from torch import nn
from torch.utils.checkpoint import checkpoint

from driftmoe.nn import own_policies, record, reroute, usage, watch
from driftmoe.nn.injecting import Injected
from driftmoe.routing import (
    DYNMOLE,
    Dense,
    GroupTopK,
    LinearK,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
    at_step,
)

OWN = {
    "mixtral": TopK(2),
    "qwen2": TopK(2, renorm=False),
    "qwen3": TopK(2),
    "olmoe": TopK(2, renorm=False),
    "deepseek": GroupTopK(2, 4, 2, best=2, renorm=True, score="sigmoid"),
    "gpt-oss": TopK(2),
    "granite": TopK(2),
}


@pytest.fixture(scope="module")
def families():
    pytest.importorskip("transformers", reason="needs the extra dev")
    models = {}

    def of_kind(kind):
        if kind not in models:
            models[kind] = family(kind)
        models[kind].zero_grad()
        return models[kind]

    return of_kind


def train(model, **arguments):
    output = model(input_ids=IDS, **arguments).logits
    output.square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return output.detach(), gradients


@pytest.mark.parametrize("kind", FAMILIES)
def test_watching_records_each_mixture_and_changes_nothing(families, kind):
    model, mask = families(kind), torch.ones(2, 12, dtype=torch.long)
    mask[1, :5] = 0
    before, gradients, n_hooks = *train(model, attention_mask=mask), hooks(model)
    with watch(model) as records:
        output, watched = train(model, attention_mask=mask)
    assert torch.equal(output, before)
    assert watched.keys() == gradients.keys()
    assert all(torch.equal(watched[name], gradient) for name, gradient in gradients.items())
    assert hooks(model) == n_hooks
    part = "block_sparse_moe" if kind == "granite" else "mlp"
    layers = [1] if kind == "deepseek" else [0, 1]
    assert [name for name, _ in records] == [f"model.layers.{i}.{part}" for i in layers]
    for name, result in records:
        assert torch.equal(result.rows, mask.bool())
        assert result.routing.n_used.eq(2).all()
        assert result.routing.mask.shape == (2, 12, 8 if kind == "deepseek" else 4)
        experts = model.get_submodule(name).experts
        assert result.routing.mask.shape[-1] == experts.num_experts


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_policy_of_a_family_gives_the_output_of_its_own_rule(families, kind):
    """In float32, up to 1e-6 of outputs that reach some tenths: the sums are taken in another order."""
    model = families(kind)
    policies = own_policies(model)
    assert set(policies.values()) == {OWN[kind]}
    before, gradients = train(model)
    with reroute(model, policies):
        output, rerouted = train(model)
    torch.testing.assert_close(output, before, rtol=0, atol=1e-6)
    assert rerouted.keys() == gradients.keys()
    torch.testing.assert_close(rerouted, gradients, rtol=1e-3, atol=1e-6)
    assert torch.equal(train(model)[0], before)


@pytest.mark.parametrize("kind", FAMILIES)
def test_other_policies_choose_other_experts_and_train(families, kind):
    model = families(kind)
    before = train(model)[0]
    with reroute(model, TopP(0.6)), watch(model) as records:
        output = model(input_ids=IDS).logits
        loss = output.square().mean() + sum(result.losses["load_balance"] for _, result in records)
        loss.backward()
    assert not torch.allclose(output, before, atol=1e-4)
    assert len({n for _, result in records for n in result.routing.n_used.flatten().tolist()}) > 1
    for name, result in records:
        router = getattr(model.get_submodule(name), "router" if kind in ("gpt-oss", "granite") else "gate")
        assert router.weight.grad.abs().sum() > 0
        scale = getattr(router, "routed_scaling_factor", 1.0)
        torch.testing.assert_close(
            result.routing.weights, scale * TopP(0.6)(result.routing.logits).weights, rtol=1e-6, atol=0
        )


def test_generated_tokens_are_recorded_without_padding(families):
    model, mask = families("mixtral"), torch.ones(2, 12, dtype=torch.long)
    mask[1, :5] = 0
    with watch(model) as records:
        model.generate(
            IDS, attention_mask=mask, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0
        )
    assert [tuple(result.rows.shape) for _, result in records[::2]] == [(2, 12), (2, 1), (2, 1)]
    assert usage(records)["model.layers.0.mlp"].n_rows == 12 + 7 + 2 + 2


def test_the_balance_loss_is_that_of_the_model_for_each_layer_and_over_k(families):
    """transformers joins the layers, which for one layer is the same loss, times k."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    model, mask = families("mixtral"), torch.ones(2, 12, dtype=torch.long)
    mask[1, :5] = 0
    with watch(model) as records:
        logits = model(input_ids=IDS, attention_mask=mask, output_router_logits=True).router_logits
    for (_, result), of_layer in zip(records, logits, strict=True):
        assert torch.equal(result.routing.logits.flatten(0, 1), of_layer)
        theirs = load_balancing_loss_func((of_layer,), 4, 2, mask)
        torch.testing.assert_close(2 * result.losses["load_balance"], theirs)


def test_a_row_gets_the_weights_that_its_experts_get():
    block, x = Block(), normal(3, 8)
    logits = x @ block.gate.weight.T
    with watch(block) as records:
        output = block(x)
    routing = records[0][1].routing
    best = logits.topk(2).indices
    assert torch.equal(routing.mask.nonzero()[:, 1].view(3, 2), best.sort().values)
    two = logits.gather(-1, best).softmax(-1)  # the softmax of all, over the sum of those chosen
    torch.testing.assert_close(routing.weights.gather(-1, best), two)
    torch.testing.assert_close(output, x * (routing.weights @ block.experts.factors))


@pytest.mark.parametrize("policy", [TopK(1), TopK(3), Dense(), DYNMOLE, lambda logits: TopK(1)(logits)])
def test_experts_are_weighed_as_the_policy_says(policy):
    block, x = Block(), normal(2, 5, 8)
    before = block(x)
    rerouting = reroute(block, policy)
    expected = x * (policy(x @ block.gate.weight.T).weights @ block.experts.factors)
    torch.testing.assert_close(block(x), expected)
    assert rerouting.policies == {"": policy}
    rerouting.undo()
    rerouting.undo()
    assert torch.equal(block(x), before)


def test_a_random_choice_is_recorded_as_it_was_made():
    generator, block, x = torch.Generator().manual_seed(0), Block(), normal(6, 8)
    with (
        reroute(block, lambda logits: TopK(1)(torch.randn(logits.shape, generator=generator))),
        watch(block) as records,
    ):
        outputs = [block(x), block(x)]
    for (_, result), output in zip(records, outputs, strict=True):
        torch.testing.assert_close(output, x * (result.routing.weights @ block.experts.factors))
    assert not torch.equal(*(result.routing.mask for _, result in records))


def test_a_step_of_training_moves_router_and_experts_of_a_rerouted_model():
    model, x = small(), normal(6, 8)
    reroute(model, TopP(0.7))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = [p.detach().clone() for p in model.parameters()]
    first = model(x).square().mean()
    first.backward()
    optimizer.step()
    assert model(x).square().mean() < first
    assert not any(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_layers_are_rerouted_one_by_one_and_watched_whichever_came_first():
    model, x = small(), normal(6, 8)
    with watch(model) as outer, reroute(model, {"2": TopK(1)}), watch(model) as inner:
        model(x)
    for records in (outer, inner):
        assert [(name, result.routing.n_used.unique().tolist()) for name, result in records] == [
            ("0", [2]),
            ("2", [1]),
        ]
    assert hooks(model) == 0


def test_copies_and_files_of_a_rerouted_model_stay_so_and_its_parameters_keep_their_names():
    model, x = small(), normal(6, 8)
    names = list(model.state_dict())
    rerouting = reroute(model, TopK(1))
    expected, copied, file = model(x), copy.deepcopy(model), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    rerouting.undo()
    with torch.no_grad():
        model[0].gate.weight.zero_()
    assert torch.equal(copied(x), expected)
    assert torch.equal(loaded(x), expected)
    assert list(copied.state_dict()) == names


def test_hooks_go_after_an_error_too():
    model = small()
    with pytest.raises(RuntimeError, match=r"size|shape|mat1"), watch(model) as records:
        model(normal(6, 9))
    assert hooks(model) == 0
    with pytest.raises(KeyError), reroute(model, TopK(1)):
        raise KeyError
    assert hooks(model) == 0
    model(normal(6, 8))
    assert records == []


def test_halves_and_no_rows_are_recorded():
    model = small().bfloat16()
    with watch(model) as records:
        model(normal(6, 8, dtype=torch.bfloat16))
        model(normal(0, 8, dtype=torch.bfloat16))
    assert {result.routing.weights.dtype for _, result in records} == {torch.float32}
    assert usage(records)["0"].n_rows == 6
    assert usage(records[2:])["0"][0] == 0
    assert usage(records[2:])["0"][2:] == (0.0, 0.0, 0.0)
    with reroute(model, TopK(1)):
        assert model(normal(6, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
        assert model(normal(0, 8, dtype=torch.bfloat16)).shape == (0, 8)


def test_usage_counts_places_rows_and_certainty():
    """Two rows of three that count: experts 0 and 1, and 0 and 2; a certain router, and one that knows nothing."""
    layer = layer_of(TopK(2))
    logits = torch.tensor([[999.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 999.0]])
    rows = torch.tensor([True, True, False])
    result = layer(torch.zeros(3, 8), rows=rows, logits=logits)
    of_layer = usage([("moe", result)])["moe"]
    assert of_layer.share.tolist() == [0.5, 0.5, 0.0, 0.0]
    assert of_layer[0::2] == (2, 2.0, 0.5)
    assert of_layer.entropy == pytest.approx(0.5)
    twice = usage([("moe", result), ("moe", result)])["moe"]
    assert twice.n_rows == 4
    assert twice.balance == of_layer.balance


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner, self.reentrant = small(), reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


def test_checkpoints_are_recorded_once_and_lost_gradients_are_refused():
    x = normal(6, 8).requires_grad_()
    for reentrant in (False, True):
        model = Checkpointed(reentrant)
        with watch(model, gradients=not reentrant) as records:
            model(x).sum().backward()
        assert [name for name, _ in records] == ["inner.0", "inner.2"]
    with (
        pytest.raises(RuntimeError, match="runs without gradients within a model"),
        watch(model),
    ):
        model(x)
    assert hooks(model) == 0


@pytest.mark.parametrize("take", [watch, lambda model: reroute(model, TopK(1))])
def test_models_without_mixtures_or_compiled_are_refused(take):
    with (
        pytest.raises(
            ValueError, match="Linear has no mixture of experts; looked for modules with a part 'experts'"
        ),
        take(nn.Linear(2, 2)),
    ):
        pass
    with pytest.raises(ValueError, match="in it use record"), take(layer_of()):
        pass
    with (
        pytest.raises(TypeError, match=r"Router returned \(a float32 tensor of shape \(6, 8\), a"),
        take(model := Wrong()),
    ):
        model(normal(6, 8))
    with (
        pytest.raises(ValueError, match="OptimizedModule is compiled"),
        take(torch.compile(small(), backend="eager")),
    ):
        pass
    in_place = small()
    in_place[0].compile(backend="eager")
    with pytest.raises(ValueError, match="Block is compiled"), take(in_place):
        pass


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (TopK(5), "k=5"),
        (WithNull(TopK(2), 1), "makes 3 experts of 4 logits, but '0' has 4"),
        (WithShared(TopK(2), 1), "makes 5 experts of 4 logits"),
        (Scheduled(TopK(2), LinearK(start=2, stop=1, n_steps=3)), r"give at_step\(policy, step\)"),
        ({"1": TopK(1)}, "'1' is no mixture of this model; available: 0, 2"),
    ],
)
def test_policies_that_do_not_fit_are_refused(policy, message):
    model = small()
    with pytest.raises(ValueError, match=message):
        reroute(model, policy)
    assert hooks(model) == 0


def test_a_schedule_at_a_step_is_taken_and_a_second_policy_is_not():
    model = small()
    rerouting = reroute(model, at_step(Scheduled(TopK(2), LinearK(start=3, stop=1, n_steps=3)), 0))
    assert rerouting.policies["0"].k == 3
    with pytest.raises(ValueError, match="'0' is rerouted already; undo that first"):
        reroute(model, TopK(1))
    with pytest.raises(
        ValueError, match="the rule of Router is not known; known are those of MixtralTopKRouter"
    ):
        own_policies(model)


def test_a_rerouted_model_compiles():
    model, x = small(), normal(6, 8)
    with reroute(model, TopK(1)):
        expected = model(x)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), expected)


@torch.no_grad()
def test_what_is_compiled_meanwhile_is_recorded_in_pieces_or_refused():
    model, x = small(), normal(6, 8)
    compiled = torch.compile(model, backend="eager")
    with watch(model) as records:
        output = compiled(x)
    assert [name for name, _ in records] == ["0", "2"]
    torch.testing.assert_close(compiled(x), model(x))
    torch.testing.assert_close(output, model(x))
    assert len(records) == 2
    torch.compiler.reset()
    whole = torch.compile(model, backend="eager", fullgraph=True)
    with (
        watch(model),
        pytest.raises(torch._dynamo.exc.Unsupported, match="cannot be compiled into one graph"),
    ):
        whole(x)


def test_layers_of_this_package_are_recorded_and_not_watched():
    model = nn.Sequential(Injected(layer_of()), Block())
    with watch(model) as theirs, record(model) as ours:
        model(normal(6, 8))
    assert ([name for name, _ in theirs], [name for name, _ in ours]) == (["1"], ["0.moe"])
