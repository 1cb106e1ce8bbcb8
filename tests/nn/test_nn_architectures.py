"""Upcycling and adapting the layers of many architectures of transformers, and quantised layers."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn import (
    RecurrentLayers,
    chained_layer,
    flylora,
    inject,
    load_adapter,
    lora_layer,
    mora,
    save_adapter,
    smora,
    upcycle,
    upcycled_layer,
)
from driftmoe.routing import TopK, WithNull, WithShared

transformers = pytest.importorskip("transformers", reason="needs the extra dev")

WIDTHS = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2}

FEED_FORWARD = {
    "t5 gated": (
        "t5.T5DenseGatedActDense",
        "T5",
        {"d_model": 8, "d_ff": 12, "feed_forward_proj": "gated-gelu"},
    ),
    "t5": ("t5.T5DenseActDense", "T5", {"d_model": 8, "d_ff": 12}),
    "gpt-2": ("gpt2.GPT2MLP", "GPT2", {"n_embd": 8}),
    "gpt-neox": ("gpt_neox.GPTNeoXMLP", "GPTNeoX", WIDTHS),
    "gemma": ("gemma.GemmaMLP", "Gemma", WIDTHS),
    "phi-3": ("phi3.Phi3MLP", "Phi3", WIDTHS | {"pad_token_id": 0}),
    "clip": ("clip.CLIPMLP", "CLIPText", WIDTHS),
    "llama": ("llama.LlamaMLP", "Llama", WIDTHS),
}


def feed_forward(kind):
    place, config, sizes = FEED_FORWARD[kind]
    module, _, name = place.partition(".")
    torch.manual_seed(0)
    make = getattr(import_module(f"transformers.models.{module}.modeling_{module}"), name)
    config = getattr(transformers, f"{config}Config")(**sizes)
    return (make(12, config) if kind == "gpt-2" else make(config)).eval()


@pytest.mark.parametrize("kind", FEED_FORWARD)
def test_feed_forward_networks_of_many_architectures_are_upcycled(kind):
    ffn, x = feed_forward(kind), normal(3, 5, 8)
    layer = upcycled_layer(ffn, n_experts=4, policy=TopK(2), seed=1)
    torch.testing.assert_close(layer(x).output, ffn(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "make", [partial(lora_layer, policy=TopK(2), rank=2), *(partial(f, k=2) for f in (smora, mora, flylora))]
)
def test_experts_go_around_the_linear_layers_of_gpt_2(make):
    """`Conv1D` keeps its weights the other way round."""
    linear, x = transformers.pytorch_utils.Conv1D(6, 8), normal(3, 5, 8)
    layer = make(linear, n_experts=4, seed=1)
    assert torch.equal(layer(x).output, linear(x))
    nn.init.ones_(layer.experts.b)
    assert layer(x).output.shape == (3, 5, 6)


class FourBits(nn.Linear):
    """Packs two weights into a byte, as bitsandbytes' `Linear4bit` does, and computes in bfloat16."""

    def __init__(self, linear, compute_dtype):
        super().__init__(linear.in_features, linear.out_features, bias=False)
        self.compute_dtype = compute_dtype
        self.scale = linear.weight.detach().abs().max() / 7
        codes = (linear.weight.detach() / self.scale).round().to(torch.int8) + 8
        packed = (codes[:, ::2] * 16 + codes[:, 1::2]).to(torch.uint8).reshape(-1, 1)
        self.weight = nn.Parameter(packed, requires_grad=False)

    def forward(self, x):
        packed = self.weight.view(self.out_features, -1).int()
        codes = torch.stack((packed // 16, packed % 16), -1).flatten(1) - 8
        return (x.to(self.compute_dtype) @ (codes * self.scale).to(self.compute_dtype).T).to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_experts_go_around_quantised_layers_and_learn_in_the_type_that_these_compute_in(dtype, tmp_path):
    def network():
        torch.manual_seed(0)
        return nn.Sequential(FourBits(nn.Linear(8, 6), dtype))

    model, x = network(), normal(5, 8, dtype=dtype)
    before = model(x)
    (layer,) = inject(model, "0", partial(lora_layer, policy=TopK(2), rank=2), n_experts=4, seed=1).values()
    assert layer.experts.a.dtype == layer.experts.b.dtype == dtype
    assert layer.router.weight.dtype == torch.float32
    assert torch.equal(model(x), before)
    model(x).float().square().sum().backward()
    assert layer.experts.b.grad.any()
    nn.init.ones_(layer.experts.b)
    pytest.importorskip("safetensors", reason="needs the extra nn")
    save_adapter(model, tmp_path / "adapter", base_weights=True)
    other = network()
    inject(other, "0", partial(lora_layer, policy=TopK(2), rank=2), n_experts=4)
    load_adapter(other, tmp_path / "adapter")
    assert torch.equal(other(x), model(x))
    plain = nn.Sequential(nn.Linear(8, 6, bias=False).to(dtype))  # the base without quantisation
    inject(plain, "0", partial(lora_layer, policy=TopK(2), rank=2), n_experts=4)
    with pytest.raises(ValueError, match=r"belongs to another model.*check_base=False"):
        load_adapter(plain, tmp_path / "adapter")
    load_adapter(plain, tmp_path / "adapter", check_base=False)
    moe, own = model[0].moe, plain[0].moe
    assert all(map(torch.equal, own.experts.parameters(), moe.experts.parameters()))
    assert torch.equal(own.router.weight, moe.router.weight)


def test_quantised_layers_cannot_be_copied():
    ffn = nn.Sequential(
        FourBits(nn.Linear(8, 8), torch.float32), nn.ReLU(), FourBits(nn.Linear(8, 8), torch.float32)
    )
    with pytest.raises(
        ValueError, match="the weights of FourBits are quantised, so that experts cannot be copies"
    ):
        upcycle(ffn, 2)


def test_a_bias_of_some_layers_is_kept():
    ffn, x = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8, bias=False)), normal(5, 8)
    layer = upcycled_layer(ffn, n_experts=2, policy=TopK(1), seed=1)
    torch.testing.assert_close(layer(x).output, ffn(x), rtol=1e-4, atol=1e-6)


def test_the_feed_forward_networks_of_bert_are_upcycled_though_they_are_spread_over_two_modules(tmp_path):
    def bert():
        torch.manual_seed(0)
        config = transformers.BertConfig(vocab_size=50, num_hidden_layers=2, **WIDTHS)
        return transformers.BertModel(config, add_pooling_layer=False).eval()

    model, ids = bert(), torch.arange(24).reshape(2, 12)
    before = model(input_ids=ids).last_hidden_state
    make = partial(upcycled_layer, policy=TopK(2))
    layers = inject(model, "intermediate", make, n_experts=4, seed=1)
    assert list(layers) == ["encoder.layer.0.intermediate", "encoder.layer.1.intermediate"]
    torch.testing.assert_close(model(input_ids=ids).last_hidden_state, before, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for layer in layers.values():
            layer.experts.w_out.mul_(20.0)
    pytest.importorskip("safetensors", reason="needs the extra nn")
    save_adapter(model, tmp_path / "adapter")
    other = bert()
    inject(other, "intermediate", make, n_experts=4)
    load_adapter(other, tmp_path / "adapter")
    after = model(input_ids=ids).last_hidden_state
    assert torch.equal(other(input_ids=ids).last_hidden_state, after)
    assert not torch.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("kind", ["relu", "gated-gelu"])
@pytest.mark.parametrize(
    ("target", "make"),
    [
        ("wo", partial(lora_layer, policy=TopK(2), rank=2)),
        ("DenseReluDense", partial(upcycled_layer, policy=TopK(2))),
    ],
)
def test_experts_learn_in_t5_which_asks_for_the_type_of_a_weight(kind, target, make):
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "d_model": 8, "d_ff": 12, "d_kv": 4, "num_layers": 1, "num_heads": 2}
    config = transformers.T5Config(
        **sizes, feed_forward_proj=kind, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1
    )
    model, ids = transformers.T5ForConditionalGeneration(config).eval(), torch.arange(2, 26).reshape(2, 12)
    with torch.no_grad():
        before = model(input_ids=ids, labels=ids).logits
        layers = inject(model, target, make, n_experts=4, seed=1)
        after = model(input_ids=ids, labels=ids).logits
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert len(layers) == 2
    model(input_ids=ids, labels=ids).loss.backward()
    experts = [layer.experts.b if target == "wo" else layer.experts.w_out for layer in layers.values()]
    assert all(weight.grad.abs().sum() > 0 for weight in experts)
    assert model.generate(ids, max_new_tokens=2, min_new_tokens=2).shape == (2, 3)


def test_a_layer_of_experts_tells_the_type_of_its_weight_and_no_weight():
    model = nn.Sequential(nn.Linear(8, 6).bfloat16())
    inject(model, "0", partial(lora_layer, policy=TopK(1), rank=1), n_experts=2)
    assert (model[0].weight.dtype, model[0].weight.shape) == (torch.bfloat16, (0,))
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)))
    inject(model, "0", partial(upcycled_layer, policy=TopK(1)), n_experts=2)
    assert not hasattr(model[0], "weight")


def mixtral():
    torch.manual_seed(0)
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    block = MixtralSparseMoeBlock(
        transformers.MixtralConfig(num_local_experts=4, num_key_value_heads=2, **WIDTHS)
    )
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.5)
    return block.eval()


def test_a_block_of_mixtral_becomes_a_layer_with_its_experts_and_its_router():
    block, x = mixtral(), normal(3, 5, 8)
    layer = upcycled_layer(block, n_experts=4, policy=TopK(2))
    torch.testing.assert_close(layer(x).output, block(x), rtol=1e-4, atol=1e-5)
    expected = [block.experts.gate_up_proj.mT, block.experts.down_proj.mT]
    assert all(map(torch.equal, (layer.experts.w_in, layer.experts.w_out), expected))
    assert torch.equal(upcycle(block.experts, 4).w_in, layer.experts.w_in)
    assert upcycled_layer(block, n_experts=4, policy=WithNull(TopK(2), 2))(x).output.shape == x.shape
    with pytest.raises(ValueError, match="n_experts=8, but 4 are there; choose as many"):
        upcycle(block, 8)
    block.shared_expert = nn.Linear(8, 8)
    with pytest.raises(ValueError, match="the experts of MixtralSparseMoeBlock are not as those of Mixtral"):
        upcycle(block, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(upcycled_layer, policy=TopK(2), parts=2),
            "parts=2, but MixtralSparseMoeBlock has experts already",
        ),
        (partial(upcycled_layer, policy=WithShared(TopK(1), 1)), "routes to 3 of the 4 experts"),
        (
            partial(chained_layer, policy=TopK(2)),
            "has experts and a router, which new routers would not follow",
        ),
        (RecurrentLayers(TopK(2)), "has experts and a router, which new routers would not follow"),
    ],
)
def test_what_would_not_keep_the_router_of_a_mixtral_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(mixtral(), n_experts=4)
