"""The router as a torch module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class RouterModule(nn.Module):
    """A router's network as a torch module that shares the router's weights.

    Its parameters change as the model learns, and the model uses values that are written to them. The outputs equal
    those of the compiled router up to float32 rounding, because torch's order of summation depends on the machine. When
    new features, values, classes or experts appear, the router grows and gets new weights: read the model's `router`
    again.

    Parameters
    ----------
    layers
        [weights (n_in, n_out), biases (n_out,)] of each layer, float32; the shared memory.
    """

    def __init__(self, layers: Sequence[Sequence[np.ndarray]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for weights, biases in layers:
            linear = nn.Linear(weights.shape[0], weights.shape[1], device="meta")  # parameters are set below
            linear.weight = nn.Parameter(torch.from_numpy(weights).T)
            linear.bias = nn.Parameter(torch.from_numpy(biases))
            self.layers.append(linear)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a logit for each expert, shape (..., n_experts), for inputs of shape (..., n_inputs)."""
        *hidden, last = self.layers
        for layer in hidden:
            inputs = torch.relu(layer(inputs))
        return last(inputs)
