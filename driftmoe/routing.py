"""Which experts take part in a sample, and with what weight: pure functions of the router's logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Routing:
    """What a selection rule answers.

    Attributes
    ----------
    weights
        Mixing weights, 0 outside the mask, summing to 1 over the experts; float64, shape (..., n_experts).
    mask
        Selected experts, bool, shape (..., n_experts).
    """

    weights: np.ndarray
    mask: np.ndarray


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64; safe for logits of any size."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return shifted / shifted.sum(axis=-1, keepdims=True)


def top_k(logits: np.ndarray, k: int) -> Routing:
    """Select the `k` experts with the largest logits; their softmax weights, renormalised, mix them.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    k
        Experts to select, 1 <= k <= n_experts. Of equal logits the lowest index wins.

    Returns
    -------
    routing
        Exactly `k` experts are selected in each row.

    Raises
    ------
    ValueError
        If `k` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from driftmoe.routing import top_k
    >>> top_k(np.array([0.0, 2.0, 2.0, 1.0]), k=2).mask.tolist()
    [False, True, True, False]
    """
    n_experts = logits.shape[-1]
    if not 1 <= k <= n_experts:
        raise ValueError(f"top_k: k={k} but there are {n_experts} experts; choose 1 <= k <= {n_experts}")
    order = np.argsort(-logits, axis=-1, kind="stable")
    mask = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(mask, order[..., :k], True, axis=-1)
    return Routing(weights=softmax(np.where(mask, logits, -np.inf)), mask=mask)
