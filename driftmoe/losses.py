"""Losses of the router: pure functions of tensors, returned and never stored."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention


def correctness_loss(
    logits: torch.Tensor, correct: torch.Tensor, observed: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross-entropy of each expert's logit against whether that expert was right, in nats.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    correct
        The multi-hot mask: 1 where the expert gave the true class, else 0; same shape.
    observed
        Optional mask of the same shape: entries that are `False` do not count (an expert that did not exist yet).

    Returns
    -------
    loss
        Mean over the entries that count, a scalar; differentiable in `logits`. 0 where none counts.

    References
    ----------
    DriftMoE (Aspis et al. 2025, arXiv 2507.18464): the router's loss over the multi-hot correctness mask.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import correctness_loss
    >>> round(correctness_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
    0.6931
    """
    if observed is None:
        return F.binary_cross_entropy_with_logits(logits, correct)
    weight = observed.to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, correct, weight=weight, reduction="sum")
    return total / weight.sum().clamp_min(1.0)
