"""Linear layers of several kinds, as one: torch's, GPT-2's `Conv1D`, and quantised ones.

A kind is recognised by what it has, not by its class, so that no other library is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def widths(linear: nn.Module) -> tuple[int, int]:
    """Return the widths of the inputs and outputs of a linear layer.

    Raises
    ------
    TypeError
        If it is none: it must have numbers `in_features` and `out_features`, or `nx` and `nf`, and no inner modules.
    """
    for n_in, n_out in (("in_features", "out_features"), ("nx", "nf")):
        found = getattr(linear, n_in, None), getattr(linear, n_out, None)
        if isinstance(found[0], int) and isinstance(found[1], int) and not list(linear.children()):
            return found[0], found[1]
    raise TypeError(
        f"LoRA experts go around nn.Linear, not {type(linear).__name__}; "
        + ("use fused_lora for it" if isinstance(linear, tuple) else "name the linear layers in it")
    )


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer."""
    try:
        return bool(widths(module))
    except TypeError:
        return False


def matrix(linear: nn.Module) -> Tensor:
    """Return the weights of a linear layer as a matrix, shape (n_in, n_out).

    Raises
    ------
    ValueError
        If the weights are quantised.
    """
    weight, shape = getattr(linear, "weight", None), widths(linear)
    if (
        not isinstance(weight, Tensor)
        or not weight.is_floating_point()
        or weight.numel() != shape[0] * shape[1]
    ):
        raise ValueError(
            f"the weights of {type(linear).__name__} are quantised, so that experts cannot be copies of it; dequantise "
            "the model, or put LoRA experts around the layer"
        )
    return weight if hasattr(linear, "nf") else weight.T  # Conv1D keeps it that way round


def like(linear: nn.Module) -> Tensor:
    """Return a tensor of the type and on the device that new weights beside a linear layer have."""
    tensors = [*linear.parameters(), *linear.buffers()]
    floats = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.element_size() > 1]
    given = getattr(linear, "compute_dtype", None)  # of bitsandbytes' layers of 4 bits
    weight = getattr(linear, "weight", None)
    if isinstance(weight, Tensor) and any(weight is tensor for tensor in floats):
        return torch.empty(0, dtype=weight.dtype, device=weight.device)
    dtype = given if isinstance(given, torch.dtype) else floats[0].dtype if floats else torch.float32
    return torch.empty(0, dtype=dtype, device=tensors[0].device if tensors else None)
