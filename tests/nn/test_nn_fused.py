"""LoRA on the fused weights of experts: in mixtures of transformers, in files, merged back and taken away."""

from __future__ import annotations

import copy
import io
from functools import partial

import pytest
import torch
from small_layers import normal
from small_mixtures import FAMILIES, IDS, family
from torch import nn

from driftmoe.nn import (
    FeedForwardExperts,
    MoELayer,
    count_parameters,
    fused_lora,
    inject,
    load_adapter,
    lora_layer,
    merge_back,
    remove_pairs,
    reroute,
    save_adapter,
    thaw,
    upcycled_layer,
    watch,
)
from driftmoe.routing import TopK, TopP

BOTH = ("experts.gate_up_proj", "experts.down_proj")
MAKE = partial(fused_lora, rank=2, scale=1.5)


@pytest.fixture(scope="module")
def families():
    pytest.importorskip("transformers", reason="needs the extra dev")
    models = {}

    def of_kind(kind):
        if kind not in models:
            models[kind] = family(kind)
        return copy.deepcopy(models[kind])

    return of_kind


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


def trained(layers):
    """Pairs as if they had learnt."""
    with torch.no_grad():
        for i, lora in enumerate(layers.values()):
            lora.b.copy_(normal(*lora.b.shape, seed=i))
    return layers


def by_hand(weight, lora):
    """W_e + scale · B_e A_e, expert by expert."""
    deltas = [1.5 * b.T @ a for a, b in zip(lora.a, lora.b, strict=True)]
    return torch.stack([w + (d.T if lora.is_transposed else d) for w, d in zip(weight, deltas, strict=True)])


@pytest.mark.parametrize("kind", FAMILIES)
def test_fused_weights_are_adapted_learn_and_are_merged_back(families, kind):
    model = families(kind)
    before, state = logits(model), copy.deepcopy(model.state_dict())
    layers = inject(model, BOTH, MAKE, seed=1)
    at = [1] if kind == "deepseek" else [0, 1]
    part = "block_sparse_moe" if kind == "granite" else "mlp"
    assert list(layers) == [f"model.layers.{i}.{part}.{name}" for i in at for name in BOTH]
    assert torch.equal(logits(model), before)

    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert set(learning) == {f"{name}_lora.{of}" for name in layers for of in "ab"}
    optimizer = torch.optim.SGD(learning.values(), lr=0.1)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(layer.b.grad.abs().sum() > 0 for layer in layers.values())
    assert all(p.grad is None for name, p in model.named_parameters() if name not in learning)
    optimizer.step()
    assert not torch.allclose(logits(model), before, atol=1e-6)

    trained(layers)
    expected = logits(model)
    with torch.no_grad():  # the model's own loop over experts, which reads the weights often
        model.set_experts_implementation("eager")
        torch.testing.assert_close(model(input_ids=IDS).logits, expected, rtol=0, atol=1e-5)
        model.set_experts_implementation("grouped_mm")

    hand = families(kind)
    with torch.no_grad():
        for name, lora in layers.items():
            hand.get_parameter(name).copy_(by_hand(state[name], lora))
    torch.testing.assert_close(logits(hand), expected, rtol=0, atol=1e-5)

    merged = copy.deepcopy(model)
    assert merge_back(merged) == list(layers)
    assert list(merged.state_dict()) == list(state)
    assert torch.equal(logits(merged), expected)
    assert torch.equal(logits(model), expected)  # a copy of it was merged
    assert remove_pairs(model) == list(layers)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("kind", ["mixtral", "gpt-oss"])
def test_adapted_models_generate_with_a_cache_and_are_saved_and_loaded(families, kind, tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra nn")
    model = families(kind)
    trained(inject(model, BOTH, MAKE, seed=1))
    told = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    generated = model.generate(IDS, **told)
    assert torch.equal(model.generate(IDS, use_cache=False, **told), generated)
    save_adapter(model, tmp_path / "adapter", base_weights=True)
    other = families(kind)
    inject(other, BOTH, MAKE)
    load_adapter(other, tmp_path / "adapter")
    assert torch.equal(logits(other), logits(model))

    strange = families(kind)
    inject(strange, BOTH, partial(fused_lora, rank=2, scale=2.0))
    with pytest.raises(ValueError, match=r"scale of .*down_proj_lora is 1\.5 in .* and 2\.0 in the model"):
        load_adapter(strange, tmp_path / "adapter")
    with torch.no_grad():
        other.get_parameter("lm_head.weight").add_(1.0)
    with pytest.raises(ValueError, match="belongs to other weights"):
        load_adapter(other, tmp_path / "adapter")
    larger = family(kind, vocab_size=60)
    inject(larger, BOTH, MAKE)
    with pytest.raises(ValueError, match="belongs to another model"):
        load_adapter(larger, tmp_path / "adapter")


def test_adapted_models_are_watched_and_rerouted(families):
    model = families("qwen2")
    layers = trained(inject(model, "experts.down_proj", MAKE, seed=1))
    plain = families("qwen2")
    with torch.no_grad():
        for name, lora in layers.items():
            plain.get_parameter(name).copy_(by_hand(lora.weight, lora))
    with reroute(model, TopP(0.6)), watch(model) as records, reroute(plain, TopP(0.6)):
        output = model(input_ids=IDS).logits
        torch.testing.assert_close(output, plain(input_ids=IDS).logits, rtol=0, atol=1e-5)
        (output.square().mean() + records[0][1].losses["load_balance"]).backward()
    assert [name for name, _ in records] == ["model.layers.0.mlp", "model.layers.1.mlp"]
    assert all(lora.a.grad.abs().sum() > 0 for lora in layers.values())
    counts = count_parameters(model, records)
    assert counts.active < counts.total


class Experts(nn.Module):
    """Reads its weight once for each row, as loops over experts do."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.w = nn.Parameter(normal(3, 6, 8).to(dtype))

    def forward(self, x, chosen):
        return torch.stack([row @ self.w[e].T for row, e in zip(x, chosen, strict=True)])


class Model(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.head, self.experts = nn.Linear(8, 8).to(dtype), Experts(dtype)

    def forward(self, x):
        return self.experts(self.head(x), [0, 2, 2, 1])


def adapted(dtype=torch.float32):
    torch.manual_seed(0)
    model = Model(dtype)
    trained(inject(model, "w", MAKE, seed=1))
    return model


def test_a_loop_computes_the_weights_once_and_the_class_stays_that_of_the_model():
    model, x, calls = adapted(), normal(4, 8), []
    model.experts.w_lora.register_forward_hook(lambda *_: calls.append(1))
    model(x)
    model(x)
    assert len(calls) == 2
    assert isinstance(model.experts, Experts)
    torch.testing.assert_close(model.experts.w, by_hand(model.experts.w_lora.weight, model.experts.w_lora))


def saved_and_loaded(tensor):
    file = io.BytesIO()
    torch.save(tensor, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_narrow_pairs_do_not_round_the_weights():
    model = Experts()
    (lora,) = inject(model, "w", MAKE).values()
    before = lora.weight.clone()
    lora.a.data, lora.b.data = lora.a.data.bfloat16(), lora.b.data.bfloat16()
    assert torch.equal(model.w, before)
    merge_back(model)
    assert torch.equal(model.w, before)


def test_what_is_written_into_computed_weights_is_refused_and_not_lost():
    model = Experts()
    (lora,) = inject(model, "w", MAKE).values()
    read, before = model.w, lora.weight.clone()
    for write in (
        lambda: read.mul_(2.0),
        lambda: read.__setitem__(0, 1.0),
        lambda: read.data.zero_(),
        lambda: nn.init.ones_(model.w),
        lambda: model.w.copy_(before),
        lambda: read[0].zero_(),
        lambda: read.data[0].zero_(),
        lambda: read.detach().view(-1).zero_(),
        lambda: read.mT.zero_(),
        lambda: read.chunk(2)[1].zero_(),
        lambda: next(iter(read)).zero_(),
        lambda: setattr(read, "data", before),
        lambda: torch.add(before, 1.0, out=read),
        lambda: torch._foreach_add_([before.clone(), read], 1.0),
        lambda: nn.functional.relu(read, inplace=True),
    ):
        with (
            torch.no_grad(),
            pytest.raises(TypeError, match="is lost; write to the weight"),
        ):
            write()
    with torch.no_grad(), pytest.raises(TypeError, match="is lost"):
        model.w += 1.0
    assert type(read + 1.0) is type(read.detach().clone()) is type(read.to_sparse()) is torch.Tensor
    assert torch.equal(read, before)
    assert torch.equal(torch.zeros_like(before).copy_(read[:]), before)
    for kept in (copy.deepcopy(read.detach()), saved_and_loaded(read), saved_and_loaded(read[0].detach())):
        assert type(kept) is torch.Tensor
        assert torch.equal(kept, before if kept.dim() == 3 else before[0])
    lora.weight.data.mul_(2.0)
    assert torch.equal(model.w, 2.0 * before)


def test_copies_and_pickles_are_independent():
    model, x, file = adapted(), normal(4, 8), io.BytesIO()
    expected = model(x)
    torch.save(model, file)
    file.seek(0)
    loaded, copied = torch.load(file, weights_only=False), copy.deepcopy(model)
    remove_pairs(model)
    assert type(model.experts) is Experts
    assert torch.equal(copied(x), expected)
    assert torch.equal(loaded(x), expected)
    assert not torch.equal(model(x), expected)


def test_halves_are_merged_to_the_last_bit_and_autocast_leaves_the_weights_as_they_are():
    model, x = adapted(torch.bfloat16), normal(4, 8, dtype=torch.bfloat16)
    assert model.experts.w_lora.a.dtype == torch.bfloat16
    expected = model(x)
    merge_back(model)
    assert torch.equal(model(x), expected)
    model = adapted()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.experts.w.dtype == torch.float32


def test_an_adapted_model_compiles_in_one_piece():
    model, x = adapted(), normal(4, 8)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_fused_and_linear_layers_learn_beside_each_other_and_are_thawed():
    model = adapted()
    lora = partial(lora_layer, policy=TopK(1), rank=1)
    inject(model, "head", lora, n_experts=2)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {f"head.moe.{of}" for of in ("router.weight", "experts.a", "experts.b")} | {
        "experts.w_lora.a",
        "experts.w_lora.b",
    }
    model.requires_grad_(False)
    thaw(model)
    assert learning == {name for name, p in model.named_parameters() if p.requires_grad}
    merge_back(model)
    assert not model.experts.w.requires_grad


def test_experts_of_this_package_are_adapted_too():
    model = nn.Sequential(MoELayer(nn.Linear(8, 4), FeedForwardExperts(4, 8, 12), TopK(2)))
    x = normal(5, 8)
    before = model(x).output
    layers = inject(model, ("w_in", "w_out"), MAKE)
    assert torch.equal(model(x).output, before)
    trained(layers)
    expected = model(x).output
    merge_back(model)
    torch.testing.assert_close(model(x).output, expected)


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, 6, 8, dtype=torch.int8), requires_grad=False)
        self.packed = nn.Parameter(torch.zeros(72, 1, dtype=torch.uint8), requires_grad=False)


@pytest.mark.parametrize(
    ("model", "target", "make", "n_experts", "error", "message"),
    [
        (
            adapted,
            "w",
            MAKE,
            3,
            ValueError,
            r"'experts\.w' was injected before; merge_back or remove_pairs first",
        ),
        (
            adapted,
            "experts",
            partial(upcycled_layer, policy=TopK(1)),
            3,
            ValueError,
            "has a layer of experts inside",
        ),
        (adapted, "w_lora", MAKE, 3, ValueError, r"'experts\.w_lora' was injected before"),
        (Model, "down", MAKE, 3, ValueError, "its linear layers are head, and its fused weights w$"),
        (Model, "head.weight", MAKE, 3, ValueError, r"of shape \(8, 8\), .* name its module, 'head'"),
        (
            Model,
            "head",
            MAKE,
            3,
            TypeError,
            "fused_lora: Linear is no fused weight of experts; .* use lora_layer",
        ),
        (Model, "w", partial(lora_layer, policy=TopK(1), rank=1), 3, TypeError, "use fused_lora for it"),
        (Model, "w", MAKE, 4, ValueError, "n_experts=4, but the weights are those of 3"),
        (Quantised, "w", MAKE, 3, ValueError, r"the weights are quantised \(torch\.int8\)"),
        (Quantised, "packed", MAKE, 3, ValueError, "quantised ones do not keep them"),
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 4)), "weight", MAKE, 3, ValueError, "three dimensions"),
    ],
)
def test_what_cannot_be_adapted_is_refused_and_nothing_is_changed(
    model, target, make, n_experts, error, message
):
    model = model()
    names, learning = list(model.state_dict()), [p.requires_grad for p in model.parameters()]
    with pytest.raises(error, match=message):
        inject(model, target, make, n_experts=n_experts)
    assert list(model.state_dict()) == names
    assert [p.requires_grad for p in model.parameters()] == learning


def test_modules_need_a_number_of_experts_and_pairs_must_be_finite():
    with pytest.raises(ValueError, match=r"how many experts shall 'head' get.*names, as 'experts"):
        inject(Model(), "head", partial(lora_layer, policy=TopK(1), rank=1))
    model = adapted()
    with torch.no_grad():
        model.experts.w_lora.a[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"pairs of 'experts\.w' hold NaN"):
        merge_back(model)
    for take in (merge_back, remove_pairs):
        with pytest.raises(ValueError, match="Linear has no weights of fused_lora"):
            take(nn.Linear(2, 2))
