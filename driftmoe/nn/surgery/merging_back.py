"""LoRA experts that become a part of the layer that they adapt, where the routing allows it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from driftmoe.nn.fused import adapted_weights
from driftmoe.nn.linears import is_linear, matrix
from driftmoe.nn.lora import LoRAExperts
from driftmoe.nn.moe import MoELayer
from driftmoe.nn.surgery.parts import check_finite, check_fits, check_layer, flat, untracked
from driftmoe.routing import Policy, as_rule


@untracked
def merge_back(layer: MoELayer) -> nn.Module:
    """Return the linear layer that LoRA experts adapt, with the experts added to its weights.

    This is possible where every row gets all experts with the same weights: a single expert, or a policy such as
    `Unweighted(Dense())`. For a model with pairs of `fused_lora` there is `driftmoe.nn.merge_back`.

    Parameters
    ----------
    layer
        Result of `lora_layer`, which stays as it is.

    Returns
    -------
    linear
        A copy of the adapted layer with W + scale · sum_e w_e B_eᵀ A_e, in its type. It computes what the layer
        does, up to rounding, without a router. `install` puts it into a model.

    Raises
    ------
    ValueError
        If the weights depend on the row, those of the adapted layer are quantised, or a number is not finite.
    TypeError
        If it is no layer of LoRA experts around a linear layer.

    References
    ----------
    LoRA, Hu et al. 2021 (arXiv 2106.09685), sec. 4.1.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import Unweighted, lora_layer
    >>> from driftmoe.nn.surgery import merge_back
    >>> from driftmoe.routing import Dense, TopK
    >>> layer = lora_layer(torch.nn.Linear(8, 6), n_experts=3, policy=Unweighted(Dense()), rank=2)
    >>> layer.experts.b.data.normal_().shape
    torch.Size([3, 2, 6])
    >>> x = torch.randn(5, 8)
    >>> torch.allclose(merge_back(layer)(x), layer(x).output, atol=1e-5)
    True
    >>> layer.policy = TopK(1)
    >>> merge_back(layer)
    Traceback (most recent call last):
        ...
    ValueError: merge_back: by TopK(k=1, renorm=True, score='softmax') the weights of 3 experts depend on the row; ...
    """
    if adapted_weights(layer):
        raise TypeError(
            f"merge_back: {type(layer).__name__} has weights of fused_lora, which driftmoe.nn.merge_back merges; this "
            "one takes a layer of LoRA experts"
        )
    check_layer("merge_back", layer)
    experts, linear = flat("merge_back", layer.experts), layer.shared_expert
    if not isinstance(experts, LoRAExperts) or linear is None or not is_linear(linear):
        raise TypeError(
            f"merge_back: {type(experts).__name__} beside {type(linear).__name__}; only LoRA experts around a linear "
            "layer can become a part of it"
        )
    weights = _constant(layer.policy, experts.n_experts).to(experts.a.device)
    wide = torch.promote_types(experts.a.dtype, torch.float32)
    change = torch.einsum("e,eri,ero->io", weights.to(wide), experts.a.to(wide), experts.b.to(wide))
    merged = copy.deepcopy(linear)
    whole = matrix(merged)  # a view of the weights
    whole.copy_(whole.to(wide) + layer.scale * change)
    check_finite(
        whole, "merge_back: the layer, its experts or scale hold NaN or infinite numbers; mend them first"
    )
    return merged


def _constant(policy: Policy, n_experts: int) -> Tensor:
    """Return the weights of all experts, if a policy gives the same to any row."""
    check_fits("merge_back", policy, n_experts)
    generator = torch.Generator().manual_seed(0)
    logits = 5.0 * torch.randn(256, as_rule(policy).n_logits(n_experts), generator=generator)
    weights = policy(logits).weights
    if not torch.allclose(weights, weights[:1].expand_as(weights), rtol=0.0, atol=1e-6):
        raise ValueError(
            f"merge_back: by {policy!r} the weights of {n_experts} experts depend on the row; only with one expert, or "
            "a policy such as Unweighted(Dense()), one matrix can say the same"
        )
    return weights[0]
