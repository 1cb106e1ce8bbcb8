"""The router as torch sees it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class RouterModule(nn.Module):
    """A router's network as a torch module that shares its weights: what the model learns shows here at once.

    It answers as the compiled router does, to float32's accuracy: torch's order of summation depends on the machine.
    What is written to its parameters the model uses from then on. A router that has grown, with new features, values,
    classes or experts, has other weights: ask the model for its `router` again.

    Parameters
    ----------
    layers
        [weights (n_in, n_out), biases (n_out,)] of each layer, float32; the memory that is shared.
    """

    def __init__(self, layers: Sequence[Sequence[np.ndarray]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for weights, biases in layers:
            linear = nn.Linear(weights.shape[0], weights.shape[1], device="meta")  # the parameters follow
            linear.weight = nn.Parameter(torch.from_numpy(weights).T)
            linear.bias = nn.Parameter(torch.from_numpy(biases))
            self.layers.append(linear)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a logit for each expert, shape (..., n_experts), of inputs (..., n_inputs)."""
        *hidden, last = self.layers
        for layer in hidden:
            inputs = torch.relu(layer(inputs))
        return last(inputs)
