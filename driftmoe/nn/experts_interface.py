"""The dispatch of this package as an implementation of the experts in models of transformers 5, named "driftmoe".

transformers lets an interface, `ExpertsInterface`, say how a mixture computes its experts once rows have chosen them:
"eager", "batched_mm", "grouped_mm", or what is registered. The models that take part are those whose class of experts
has the decorator `use_experts_implementation`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from driftmoe.nn.dispatch import collect, expert_linear, spread
from driftmoe.nn.fused import SUFFIX, FusedLoRA
from driftmoe.routing import Plan

NAME = "driftmoe"


def register_experts() -> None:
    """Register our dispatch with transformers: `model.set_experts_implementation("driftmoe")` then chooses it.

    No pair of row and expert is dropped, and on a CPU none is computed whose weight is 0: so policies of `reroute` that
    give most rows few experts save time. The pairs of `fused_lora` are computed for the rows alone, without the tensor
    of the size of the weights that they need otherwise. Needs transformers 5.

    Raises
    ------
    ImportError
        If transformers is not there, or has no interface for experts.
    ValueError
        In the call of a model whose experts are spread over several devices (expert parallelism), which this does not
        do; choose "grouped_mm" there.

    Notes
    -----
    Outputs and gradients are those of "eager" up to rounding: sums over the experts of a row are taken in float32 or
    wider. A second call changes nothing. `from_pretrained(..., experts_implementation="driftmoe")` works, too.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import register_experts
    >>> from transformers import MixtralConfig, MixtralModel
    >>> register_experts()
    >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 2}
    >>> model = MixtralModel(MixtralConfig(vocab_size=9, num_hidden_layers=1, **sizes)).eval()
    >>> ids = torch.arange(8)[None]
    >>> before = model(ids).last_hidden_state
    >>> model.set_experts_implementation("driftmoe")
    >>> torch.allclose(model(ids).last_hidden_state, before, atol=1e-5)
    True
    """
    from transformers.integrations.moe import ExpertsInterface

    ExpertsInterface.register(NAME, experts_forward)


def experts_forward(
    experts: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, as transformers asks for it.

    Parameters
    ----------
    experts
        A module of transformers with fused weights.
    hidden_states
        Shape (n_rows, n_features).
    top_k_index, top_k_weights
        Numbers and weights of the experts of each row, shape (n_rows, k).

    Returns
    -------
    output
        Shape and type of `hidden_states`.
    """
    if experts._is_expert_parallel:
        raise ValueError(
            f"{type(experts).__name__} is spread over several devices, which the implementation {NAME!r} of experts "
            'does not do; call model.set_experts_implementation("grouped_mm")'
        )
    plan = _plan(top_k_index, top_k_weights, experts.num_experts)
    lines = spread(hidden_states, plan)  # (n_pairs, n_features)
    if experts.has_gate:
        lines = experts._apply_gate(_linear(experts, "gate_up_proj", lines, plan))
    else:
        lines = experts.act_fn(_linear(experts, "up_proj", lines, plan))
    lines = _linear(experts, "down_proj", lines, plan)  # (n_pairs, n_features)
    if experts.has_post_expert_norm:
        lines = experts.post_expert_norm(lines)
    return collect(lines, plan, len(hidden_states)).to(hidden_states.dtype)


def _plan(chosen: Tensor, weights: Tensor, n_experts: int) -> Plan:
    """Return the pairs of row and expert; on a CPU without those of weight 0."""
    flat, of_pairs = chosen.flatten(), weights.flatten()
    pairs = flat.argsort(stable=True)
    if (
        flat.device.type == "cpu" and not torch.compiler.is_compiling()
    ):  # elsewhere the host would have to wait
        pairs = pairs[of_pairs[pairs] != 0]
    of_pairs = of_pairs[pairs].to(torch.promote_types(weights.dtype, torch.float32))
    return Plan(pairs // chosen.shape[1], flat[pairs], of_pairs, n_experts)


def _linear(experts: Any, name: str, lines: Tensor, plan: Plan) -> Tensor:
    """Multiply each line by the matrix of its expert, and by its low-rank pair, if there is one."""
    part = experts._modules.get(name + SUFFIX)
    lora = part if isinstance(part, FusedLoRA) else None
    weight = getattr(experts, name) if lora is None else lora.weight
    lines = lines.to(weight.dtype)
    bias = getattr(experts, f"{name}_bias") if experts.has_bias else None
    out = expert_linear(lines, weight if experts.is_transposed else weight.mT, plan, bias)
    if lora is None:
        return out
    narrow = expert_linear(lines.to(lora.a.dtype), lora.a.mT, plan)  # (n_pairs, rank)
    return out + (lora.scale * expert_linear(narrow, lora.b, plan)).to(out.dtype)
