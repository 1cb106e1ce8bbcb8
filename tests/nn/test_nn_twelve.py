"""Twelve architectures of transformers, from small configurations: adapted, trained, generating, saved, merged back."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_mixtures import SIZES, family

from driftmoe.nn import (
    Unweighted,
    fused_lora,
    inject,
    load_adapter,
    lora_layer,
    merge_back,
    save_adapter,
    surgery,
    upcycled_layer,
)
from driftmoe.routing import Dense, TopK

transformers = pytest.importorskip("transformers", reason="needs the extra dev")
pytest.importorskip("safetensors", reason="needs the extra nn")

LLAMA = SIZES | {"intermediate_size": 12, "hidden_act": "silu"}
GATED = {"hidden_size": 16, "head_dim": 8, "intermediate_size": 12}
T5 = {"vocab_size": 50, "d_model": 16, "d_ff": 12, "d_kv": 8, "num_layers": 2, "num_heads": 2}

DENSE = {
    "llama": ("Llama", LLAMA, "o_proj", "mlp"),
    "mistral": ("Mistral", LLAMA, "o_proj", "mlp"),
    "qwen2": ("Qwen2", LLAMA, "o_proj", "mlp"),
    "gemma": ("Gemma", SIZES | GATED, "o_proj", "mlp"),
    "phi-3": ("Phi3", LLAMA, "o_proj", "mlp"),
    "gpt-2": (
        "GPT2",
        {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
        "attn.c_proj",
        "mlp",
    ),
    "gpt-neox": (
        "GPTNeoX",
        {k: SIZES[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
        | {"intermediate_size": 12},
        "attention.dense",
        "mlp",
    ),
    "bert": (
        "Bert",
        LLAMA | {"hidden_act": "gelu", "is_decoder": True},
        "attention.output.dense",
        "intermediate",
    ),
    "t5": (
        "T5",
        T5 | {"feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0, "pad_token_id": 0},
        "SelfAttention.o",
        "DenseReluDense",
    ),
}
MIXTURES = ("mixtral", "deepseek", "gpt-oss")

IDS = torch.arange(3, 19).reshape(2, 8)


def model_of(kind):
    """A model without noise of training, and what it is called with."""
    if kind in MIXTURES:
        return family(kind), {"input_ids": IDS, "labels": IDS}
    name, sizes, _, _ = DENSE[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**sizes)
    make = transformers.AutoModelForSeq2SeqLM if kind == "t5" else transformers.AutoModelForCausalLM
    return make.from_config(config).eval(), {"input_ids": IDS, "labels": IDS}


def targets(kind):
    """What is put where: LoRA experts that can be merged back, and copies of the network where there is a dense one."""
    if kind in MIXTURES:
        return [(("experts.gate_up_proj", "experts.down_proj"), partial(fused_lora, rank=2), None)]
    _, _, linear, ffn = DENSE[kind]
    pairs = partial(lora_layer, policy=Unweighted(Dense()), rank=2)
    return [(linear, pairs, 2), (ffn, partial(upcycled_layer, policy=TopK(2)), 3)]


def adapted(kind):
    model, given = model_of(kind)
    layers = {}
    for target, make, n in targets(kind):
        layers |= inject(model, target, make, n_experts=n, seed=1)
    return model, given, layers


def generated(model, given):
    return model.generate(given["input_ids"], max_new_tokens=3, min_new_tokens=3, do_sample=False)


@pytest.mark.parametrize("kind", [*DENSE, *MIXTURES])
def test_experts_go_into_a_model_learn_generate_are_saved_and_are_merged_back(kind, tmp_path):
    plain, given = model_of(kind)
    model, _, layers = adapted(kind)
    with torch.no_grad():
        torch.testing.assert_close(model(**given).logits, plain(**given).logits, rtol=1e-4, atol=1e-5)
    step = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    first = model(**given).loss
    first.backward()
    step.step()
    with torch.no_grad():
        assert model(**given).loss < first
    trained = generated(model, given)
    assert torch.equal(
        model.generate(given["input_ids"], max_new_tokens=3, min_new_tokens=3, use_cache=False), trained
    )
    save_adapter(model, tmp_path / "adapter")
    other, _, _ = adapted(kind)
    load_adapter(other, tmp_path / "adapter")
    with torch.no_grad():
        expected = model(**given).logits
        assert torch.equal(other(**given).logits, expected)
    if kind in MIXTURES:
        merge_back(model)
    else:
        merged = {
            name: surgery.merge_back(layer) for name, layer in layers.items() if hasattr(layer.experts, "a")
        }
        assert len(merged) >= 2
        surgery.install(model, merged)
    with torch.no_grad():
        torch.testing.assert_close(model(**given).logits, expected, rtol=1e-4, atol=1e-5)
