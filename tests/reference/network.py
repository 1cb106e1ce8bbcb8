"""Twin of the network with dropout: `driftmoe/network.py`."""

from __future__ import annotations

import torch

from reference.draws import keyed_slowly, uniform_slowly


def forward_slowly(module, inputs, dropout=0.0, key=None):
    """What a router's module says of rows while hidden units are silenced, each by a draw of its own."""
    *hidden, last = module.layers
    activations = inputs
    for i, layer in enumerate(hidden):
        activations = torch.relu(activations @ layer.weight.T + layer.bias)
        if dropout > 0.0:
            n_rows, n_units = activations.shape
            of_layer = [keyed_slowly(keyed_slowly(key, row), i) for row in range(n_rows)]
            is_kept = [
                [uniform_slowly(of_row, unit) >= dropout for unit in range(n_units)] for of_row in of_layer
            ]
            activations = activations * torch.tensor(is_kept) / (1.0 - dropout)
    return activations @ last.weight.T + last.bias
