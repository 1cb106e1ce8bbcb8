from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from driftmoe.losses import load_balance_loss
from driftmoe.nn import (
    FeedForwardExperts,
    MoELayer,
    count_parameters,
    flylora,
    inject,
    layer_counts,
    load_adapter,
    lora_layer,
    mora,
    record,
    save_adapter,
    smora,
    upcycled_layer,
)
from driftmoe.nn.adapters import Injected
from driftmoe.routing import ADAMOE, DYNMOLE, Dense, TopK, WithNull

transformers = pytest.importorskip("transformers", reason="needs the extra dev")
pytest.importorskip("safetensors", reason="needs the extra nn")

MAKERS = {
    "lora": partial(lora_layer, policy=TopK(2), rank=2),
    "dynmole": partial(lora_layer, policy=DYNMOLE, rank=2),
    "adamoe": partial(lora_layer, policy=ADAMOE, rank=2),
    "random": partial(lora_layer, policy=TopK(2), rank=2, router="random"),
    "smora": partial(smora, k=2),
    "mora": partial(mora, k=2),
    "flylora": partial(flylora, k=2),
}
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def bert(n_layers=2):
    """An encoder as small as they come, drawn at random."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=n_layers, num_attention_heads=2, intermediate_size=32
    )
    return transformers.BertModel(config, add_pooling_layer=False).eval()


def llama():
    """A decoder, whose feed-forward networks have gates."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return transformers.LlamaForCausalLM(config).eval()


TOKENS = torch.arange(24).reshape(2, 12)


def answer(model):
    out = model(input_ids=TOKENS)
    return out.logits if "logits" in out else out.last_hidden_state


def trained(model):
    """A step of an optimiser, after which injected layers matter."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        answer(model).square().mean().backward()
        optimizer.step()
    return model


# --------------------------------------------------------------------------------------------------
# What injection changes
# --------------------------------------------------------------------------------------------------


@each_maker
@pytest.mark.parametrize("make_model", [bert, llama])
def test_lora_experts_leave_a_model_s_output_as_it_was(make_model, make):
    model = make_model()
    before = answer(model)
    targets = ("query", "value") if make_model is bert else ("q_proj", "v_proj")
    layers = inject(model, targets, make, n_experts=8, seed=1)
    assert len(layers) == 4
    assert torch.equal(answer(model), before)
    assert not torch.equal(answer(trained(model)), before)


def test_upcycled_networks_leave_a_model_s_output_as_it_was():
    model = llama()
    before = answer(model)
    layers = inject(model, "mlp", partial(upcycled_layer, policy=TopK(2)), n_experts=4, seed=1)
    assert list(layers) == ["model.layers.0.mlp", "model.layers.1.mlp"]
    torch.testing.assert_close(answer(model), before, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(answer(trained(model)), before, rtol=1e-4, atol=1e-6)


def test_only_what_was_injected_learns():
    model = bert()
    base = {name: p.clone() for name, p in model.named_parameters()}
    inject(model, ["query", "intermediate.dense"], MAKERS["lora"], n_experts=4, seed=1)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(".moe." in name and "shared_expert" not in name for name in trainable)
    assert len(trainable) == 2 * 2 * 3  # layers, targets; router, A, B
    trained(model)
    for name, value in model.state_dict().items():
        if name not in trainable:
            assert torch.equal(value, base[name.replace("moe.shared_expert.", "")])


def test_a_target_is_a_name_or_the_end_of_one():
    names = list(inject(bert(), "attention.output.dense", MAKERS["lora"], n_experts=2))
    assert names == [f"encoder.layer.{i}.attention.output.dense" for i in range(2)]
    assert list(inject(bert(), "encoder.layer.1.attention.self.query", MAKERS["lora"], n_experts=2)) == [
        "encoder.layer.1.attention.self.query"
    ]


def test_blocks_may_have_different_numbers_of_experts():
    model = bert(n_layers=4)
    layers = inject(model, ("key", "output.dense"), MAKERS["lora"], n_experts=layer_counts(4, (2, 5)))
    assert len(layers) == 12
    for name, layer in layers.items():
        assert layer.experts.n_experts == (2 if int(name.split(".")[2]) < 2 else 5)
    answer(model)


def test_layers_are_drawn_differently_and_by_the_seed():
    first, second = (inject(bert(), "query", MAKERS["lora"], n_experts=4, seed=3) for _ in range(2))
    a, b = first.values()
    assert not torch.equal(a.experts.a, b.experts.a)
    for name, layer in first.items():
        assert torch.equal(layer.experts.a, second[name].experts.a)
        assert torch.equal(layer.router.weight, second[name].router.weight)


def test_wrong_targets_are_refused_and_leave_the_model_alone():
    model = bert()
    with pytest.raises(TypeError, match="not Embedding"):
        inject(model, ("query", "word_embeddings"), MAKERS["lora"], n_experts=4)
    with pytest.raises(ValueError, match="named 'q_proj'; its linear layers are dense, key, query, value"):
        inject(model, ("query", "q_proj"), MAKERS["lora"], n_experts=4)
    with pytest.raises(ValueError, match=r"attention\.output\.dense' lies within '.*attention\.output'"):
        inject(model, ("output", "dense"), MAKERS["lora"], n_experts=4)
    assert all(p.requires_grad for p in model.parameters())
    inject(model, "query", MAKERS["lora"], n_experts=4)
    with pytest.raises(ValueError, match="was injected before"):
        inject(model, "query", MAKERS["lora"], n_experts=4)
    with pytest.raises(ValueError, match="belongs to no block of those 1"):
        inject(bert(), "query", MAKERS["lora"], n_experts=[4])
    with pytest.raises(ValueError, match="3 layers in 2 equal runs"):
        layer_counts(3, (2, 4))


def test_a_model_without_transformers_will_do():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    x = torch.ones(3, 8)
    before = model(x)
    inject(model, ["0", "2"], MAKERS["lora"], n_experts=4)
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_model_keeps_its_type(dtype):
    model = bert().to(dtype)
    before = answer(model)
    layers = inject(model, "query", MAKERS["lora"], n_experts=4, seed=1)
    assert torch.equal(answer(model), before)
    for layer in layers.values():
        assert layer.experts.a.dtype == dtype
        assert layer.router.weight.dtype == torch.float32


def test_injected_models_run_under_autocast():
    model = trained(injected(bert()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = answer(model)
    torch.testing.assert_close(narrow.float(), answer(model), rtol=0.1, atol=0.1)


# --------------------------------------------------------------------------------------------------
# Looking into a model
# --------------------------------------------------------------------------------------------------


def injected(model, make=MAKERS["lora"], n_experts=4):
    inject(model, ("query", "value"), make, n_experts=n_experts, seed=1)
    return model


def test_records_hold_what_each_layer_said():
    model = injected(bert())
    with record(model) as records:
        answer(model)
        answer(model)
    names = [f"encoder.layer.{i}.attention.self.{end}.moe" for i in range(2) for end in ("query", "value")]
    assert [name for name, _ in records] == names * 2
    for name, result in records:
        assert result.routing.mask.shape == (2, 12, 4)
        assert result.output.shape == (2, 12, 16)
        expected = load_balance_loss(result.routing.logits, result.routing.mask)
        torch.testing.assert_close(result.losses["load_balance"], expected, msg=name)
    answer(model)
    assert len(records) == 8  # nothing is recorded afterwards


def test_recorded_losses_teach_routers():
    model = injected(bert())
    with record(model) as records:
        answer(model)
    sum(result.losses["load_balance"] for _, result in records).backward()
    routers = [p for name, p in model.named_parameters() if "router" in name]
    assert len(routers) == 4
    assert all(p.grad.any() for p in routers)


def test_parameters_are_counted_by_hand():
    """Each of four layers of 16 x 16: 4 · 2 · (16 + 16) in experts, 16 · 4 in the router."""
    base = sum(p.numel() for p in bert().parameters())
    model = injected(bert())
    counts = count_parameters(model)
    assert counts.trainable == 4 * (256 + 64)
    assert counts.total == base + counts.trainable == counts.active
    with record(model) as records:
        answer(model)
    assert count_parameters(model, records).active == counts.total - 4 * 128  # half of the experts of each


def test_active_parameters_follow_the_experts_used():
    """Rows that chose nulls use fewer, dense ones all; rows that do not count say nothing."""

    def active(policy, rows=None):
        n_logits = 4 + getattr(policy, "n_null", 0)
        layer = MoELayer(nn.Linear(8, n_logits), FeedForwardExperts(4, 8, 8, activation="relu"), policy)
        model = nn.Sequential(layer)
        x = torch.ones(2, 8)
        logits = torch.zeros(2, n_logits)
        logits[0, 0] = logits[1, -1] = 5.0
        with record(model) as records:
            layer(x, logits=logits, rows=rows)
        counts = count_parameters(model, records)
        return counts.total - counts.active

    expert = 2 * 8 * 8
    assert active(Dense()) == 0
    assert active(TopK(1)) == 3 * expert
    assert active(WithNull(TopK(1), 1)) == 3.5 * expert
    assert active(WithNull(TopK(1), 1), rows=torch.tensor([True, False])) == 3 * expert


# --------------------------------------------------------------------------------------------------
# Saving and loading
# --------------------------------------------------------------------------------------------------


@each_maker
def test_an_adapter_goes_from_model_to_model(make, tmp_path):
    model = trained(injected(bert(), make, 8))
    path = tmp_path / "adapter.safetensors"
    save_adapter(model, path)
    other = injected(bert(), make, 8)
    for layer in (m for m in other.modules() if isinstance(m, MoELayer)):
        for tensor in layer.experts.state_dict().values():
            tensor.add_(1.0)  # frozen parts, too, come from the file
    load_adapter(other, path)
    assert torch.equal(answer(other), answer(model))


def test_the_file_holds_the_adapter_alone(tmp_path):
    from safetensors.torch import load_file

    model = injected(bert())
    model.encoder.layer[1].output.LayerNorm.requires_grad_()
    save_adapter(model, tmp_path / "adapter.safetensors")
    tensors = load_file(tmp_path / "adapter.safetensors")
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert tensors.keys() == trainable
    assert sum(t.numel() for t in tensors.values()) == count_parameters(model).trainable


def test_upcycled_experts_and_balancers_are_saved(tmp_path):
    model = llama()
    inject(model, "mlp", partial(upcycled_layer, policy=TopK(2), noise=0.1), n_experts=4)
    path = tmp_path / "adapter.safetensors"
    save_adapter(trained(model), path)
    other = llama()
    inject(other, "mlp", partial(upcycled_layer, policy=TopK(2)), n_experts=4)
    load_adapter(other, path)
    assert torch.equal(answer(other), answer(model))

    balanced = injected(bert(), MAKERS["smora"], 8)
    for layer in (m for m in balanced.modules() if isinstance(m, MoELayer)):
        layer.balancer.update(torch.eye(8)[:1].bool())
    save_adapter(balanced, path)
    other = injected(bert(), MAKERS["smora"], 8)
    load_adapter(other, path)
    for layer in (m for m in other.modules() if isinstance(m, MoELayer)):
        assert layer.balancer.bias[0] < 0.0


def test_an_adapter_of_another_shape_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_adapter(trained(injected(bert())), path)
    other = injected(bert(), n_experts=6)
    before = answer(other)
    with pytest.raises(
        ValueError, match=r"of shape \(4, 2, 16\) in .* and of shape \(6, 2, 16\) in the model"
    ):
        load_adapter(other, path)
    assert torch.equal(answer(other), before)
    other = bert()
    inject(other, "query", MAKERS["lora"], n_experts=4)
    with pytest.raises(ValueError, match="missing in the model"):
        load_adapter(other, path)
    with pytest.raises(ValueError, match="no adapter in the model"):
        save_adapter(bert().requires_grad_(False), path)


@pytest.mark.parametrize(
    ("module", "target"),
    [
        (torch.nn.TransformerEncoderLayer(8, 2, 16), "linear1"),
        (torch.nn.MultiheadAttention(8, 2), "out_proj"),
    ],
)
def test_modules_of_torchs_that_do_not_call_their_layers_are_refused(module, target):
    with pytest.raises(ValueError, match="reads the weights of its layers itself"):
        inject(module, target, partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)


def test_a_layer_that_has_two_names_is_replaced_under_both():
    model = torch.nn.Module()
    model.first = model.second = torch.nn.Linear(4, 4)
    layers = inject(model, "first", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2, seed=1)
    assert list(layers) == ["first"]
    assert isinstance(model.first, Injected)
    assert model.second is model.first
