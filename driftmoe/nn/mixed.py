"""Experts of several sizes (Duo-LLM)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from driftmoe.routing import Routing


class MixedExperts(nn.Module):
    """Experts that are any modules: networks of several sizes, or nothing at all.

    Parameters
    ----------
    experts
        Modules that turn rows, (n_rows, n_features), into rows of the same width. `None` is an expert that answers 0:
        with a residual connection around the layer, its rows skip the layer.

    Notes
    -----
    A loop over the experts, each of which sees the rows that chose it. For experts of one size `FeedForwardExperts` is
    faster.

    References
    ----------
    Duo-LLM, Alizadeh et al. 2024 (arXiv 2410.10846): a small and a large network beside a skip.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from driftmoe.nn import MixedExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> wide = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8))
    >>> narrow = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
    >>> layer = MoELayer(nn.Linear(8, 3), MixedExperts([wide, narrow, None]), TopK(1))
    >>> layer(torch.randn(2, 5, 8)).output.shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, experts: Sequence[nn.Module | None]) -> None:
        super().__init__()
        if not experts:
            raise ValueError("MixedExperts: no experts; give one module or None at least")
        self.experts = nn.ModuleList(nn.Identity() if expert is None else expert for expert in experts)
        self.skips = tuple(expert is None for expert in experts)

    @property
    def n_experts(self) -> int:
        """Number of experts, those that answer 0 included."""
        return len(self.skips)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, shape (..., n_features), for x of the same shape."""
        plan, rows = routing.plan, x.reshape(-1, x.shape[-1])
        total = rows.new_zeros(rows.shape, dtype=torch.promote_types(rows.dtype, plan.weights.dtype))
        for e, (start, end) in enumerate(pairwise(plan.offsets.tolist())):
            if start < end and not self.skips[e]:
                places = plan.rows[start:end]
                lines = self.experts[e](rows[places]) * plan.weights[start:end, None]
                total = total.index_add(0, places, lines.to(total.dtype))
        return total.to(x.dtype).view_as(x)
