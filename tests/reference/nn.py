"""Twins of layers of experts: `driftmoe/nn/`."""

from __future__ import annotations

import math

import torch


def experts_slowly(x, weights, mask, expert):
    """Weighted sum of what the chosen experts say of each row; `expert(e, row)` is what the e-th says."""
    answers = []
    for t in range(len(x)):
        total = 0.0 * expert(0, x[t])
        for e in range(mask.shape[1]):
            if mask[t, e]:
                total = total + weights[t, e] * expert(e, x[t])
        answers.append(total)
    return torch.stack(answers)


def feed_forward_slowly(row, w_in, w_out, b_in, b_out, activation):
    """One network on one row."""
    hidden = row @ w_in + b_in
    if activation == "swiglu":
        gate, up = hidden[: len(hidden) // 2], hidden[len(hidden) // 2 :]
        hidden = gate / (1 + torch.exp(-gate)) * up
    elif activation == "gelu":
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    else:
        hidden = torch.clamp(hidden, min=0)
    return hidden @ w_out + b_out
