"""Tiny models of transformers with mixtures of experts, and a block of the same build without transformers."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from small_layers import normal
from torch import nn

IDS = torch.arange(24).reshape(2, 12)

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
}
FEW = {"num_local_experts": 4, "intermediate_size": 12}
MANY = {"num_experts": 4, "moe_intermediate_size": 12, "intermediate_size": 12}

FAMILIES = {
    "mixtral": ("Mixtral", FEW),
    "qwen2": ("Qwen2Moe", MANY | {"shared_expert_intermediate_size": 12}),
    "qwen3": ("Qwen3Moe", MANY | {"norm_topk_prob": True, "head_dim": 8}),
    "olmoe": ("Olmoe", {"num_experts": 4, "intermediate_size": 12}),
    "deepseek": (
        "DeepseekV3",
        {
            "n_routed_experts": 8,
            "n_group": 4,
            "topk_group": 2,
            "moe_intermediate_size": 12,
            "intermediate_size": 12,
            "first_k_dense_replace": 1,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 8,
        },
    ),
    "gpt-oss": ("GptOss", FEW | {"head_dim": 8, "layer_types": ["full_attention", "sliding_attention"]}),
    "granite": ("GraniteMoe", FEW),
}


def family(kind, **settings):
    """A model with logits wide enough that experts differ, and a bias where a router has one."""
    import transformers

    name, sizes = FAMILIES[kind]
    config = getattr(transformers, f"{name}Config")(**(SIZES | sizes | settings))
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for seed, (part, parameter) in enumerate(model.named_parameters()):
            if ".mlp." in part or "block_sparse_moe" in part:
                parameter.copy_(0.5 * normal(*parameter.shape, seed=seed))
        for part, buffer in model.named_buffers():
            if part.endswith("e_score_correction_bias"):
                buffer.copy_(0.2 * normal(*buffer.shape))
    return model


class Router(nn.Module):
    """The router of Mixtral in the main."""

    def __init__(self, n_experts=4, k=2):
        super().__init__()
        self.num_experts, self.top_k = n_experts, k
        self.weight = nn.Parameter(normal(n_experts, 8))

    def forward(self, x):
        logits = x @ self.weight.T
        weights, chosen = logits.float().softmax(-1).topk(self.top_k)
        return logits, (weights / weights.sum(-1, keepdim=True)).to(x.dtype), chosen


class Experts(nn.Module):
    """Expert i multiplies by its own factors."""

    def __init__(self, n_experts=4):
        super().__init__()
        self.factors = nn.Parameter(normal(n_experts, 8, seed=1))

    def forward(self, x, chosen, weights):
        return x * (self.factors[chosen] * weights[..., None]).sum(-2)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.experts = Router(), Experts()

    def forward(self, x):
        flat = x.flatten(0, -2)
        _, weights, chosen = self.gate(flat)
        return self.experts(flat, chosen, weights).view(x.shape)


class Wrong(Block):
    """Its router returns two things, as that of Llama 4 does."""

    def __init__(self):
        super().__init__()
        self.gate.forward = lambda x: (x, x)


def small():
    """A model of two blocks and a layer between them."""
    model = nn.Sequential(Block(), nn.Linear(8, 8), Block())
    with torch.no_grad():
        model[1].weight.copy_(normal(8, 8, seed=2))
    return model


def hooks(model):
    """How many hooks there are on all modules."""
    places = (
        SimpleNamespace(pre=m._forward_pre_hooks, after=m._forward_hooks, named=m._forward_hooks_with_kwargs)
        for m in model.modules()
    )
    return sum(len(p.pre) + len(p.after) + len(p.named) for p in places)
