"""Finds the mixtures of experts that a model has already, as transformers (version 5) builds them.

A mixture is a module with a part `experts` beside a part `gate` or `router`. The latter is its router: it has the
attributes `top_k` and `num_experts`, and returns logits, (n_rows, n_experts), and the weights and numbers of the chosen
experts, each (n_rows, k). transformers itself is not imported. Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE, DeepSeek-V3,
GPT-OSS and Granite-MoE are tested; other models of the same build are taken as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from driftmoe.nn.moe import MoELayer


class Mixture(NamedTuple):
    """A mixture of experts within a model: the whole block, and its router."""

    block: nn.Module
    router: nn.Module


def find_mixtures(model: nn.Module, caller: str) -> dict[str, Mixture]:
    """Return the mixtures of a model by the names of their blocks, in the order of the model."""
    for module in model.modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"{caller}: {type(module).__name__} is compiled, and compiled code need not call new hooks; give the "
                "model as it was before torch.compile"
            )
    found: dict[str, Mixture] = {}
    for name, module in model.named_modules():
        router = _router(module)
        if router is not None:
            found[name] = Mixture(module, router)
    if not found:
        own = any(isinstance(module, MoELayer) for module in model.modules())
        raise ValueError(
            f"{caller}: {type(model).__name__} has no mixture of experts; looked for modules with a part 'experts' "
            "beside a part 'gate' or 'router' with the attributes 'top_k' and 'num_experts', as in transformers 5"
            + ("; for the layers of driftmoe.nn in it use record, or set their policy" if own else "")
        )
    return found


def parts_of(router: nn.Module, output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a router chose: logits, weights and numbers of the experts."""
    parts = output[:3] if isinstance(output, tuple) else ()
    if len(parts) != 3 or not all(isinstance(part, Tensor) and part.dim() == 2 for part in parts):
        raise TypeError(
            f"{type(router).__name__} returned {_described(output)}; a router must return logits, (n_rows, n_experts), "
            "and weights and numbers of the chosen experts, (n_rows, k)"
        )
    logits, weights, chosen = parts
    if weights.shape != chosen.shape or chosen.is_floating_point() or len(logits) != len(chosen):
        raise TypeError(
            f"{type(router).__name__} returned {_described(output)}; weights and numbers of the chosen experts must "
            "have one shape, (n_rows, k), with the rows of the logits, and the numbers must be integers"
        )
    return logits, weights, chosen


def _router(block: nn.Module) -> nn.Module | None:
    if not isinstance(getattr(block, "experts", None), nn.Module):
        return None
    for name in ("gate", "router"):
        router = getattr(block, name, None)
        if isinstance(router, nn.Module) and hasattr(router, "top_k") and hasattr(router, "num_experts"):
            return router
    return None


def _described(output: Any) -> str:
    if isinstance(output, tuple):
        return "(" + ", ".join(map(_described, output)) + ")"
    if isinstance(output, torch.Tensor):
        return f"a {str(output.dtype).removeprefix('torch.')} tensor of shape {tuple(output.shape)}"
    return type(output).__name__
