"""Routers for whole models, and for very many experts: all layers at once (Read-ME), products of keys (UltraMemV2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from driftmoe.routing import Routing, Rule
from driftmoe.routing.checks import check_count
from driftmoe.routing.entropy import checked_logits
from driftmoe.routing.masks import weights_within


class PreGate(nn.Module):
    """One router for all layers, which decides before the first of them is computed.

    logits_l = V_l relu(W x + b), for layers l = 1, 2, ..., from the inputs of the first one.

    Parameters
    ----------
    n_features
        Width of the rows before the first layer.
    n_layers, n_experts
        Number of layers, and of logits of each.
    n_hidden
        Width of the hidden layer that all layers share.
    seed
        Seed of the weights; `None` for new random weights each time.

    Notes
    -----
    The layers are `MoELayer`s without a router, to which the caller passes the logits. All routings are known
    beforehand, so that rows of the same experts can be put together and experts be loaded in time.

    References
    ----------
    Read-ME, Cai et al. 2024 (arXiv 2410.19123): a pre-gating router, decoupled from the layers. The network is ours.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, PreGate
    >>> from driftmoe.routing import TopK
    >>> layers = [MoELayer(None, FeedForwardExperts(4, 8, 16), TopK(2)) for _ in range(3)]
    >>> x = torch.randn(5, 8)
    >>> logits = PreGate(8, n_layers=3, n_experts=4)(x)
    >>> for layer, of_layer in zip(layers, logits):
    ...     x = x + layer(x, logits=of_layer).output
    >>> logits.shape
    torch.Size([3, 5, 4])
    """

    def __init__(
        self, n_features: int, n_layers: int, n_experts: int, *, n_hidden: int = 64, seed: int | None = None
    ) -> None:
        super().__init__()
        for name, value in (("n_layers", n_layers), ("n_experts", n_experts), ("n_hidden", n_hidden)):
            check_count(f"PreGate: {name}", value)
        with torch.random.fork_rng(devices=[]):
            _ = torch.seed() if seed is None else torch.manual_seed(seed)
            self.reads = nn.Linear(n_features, n_hidden)
            self.says = nn.Linear(n_hidden, n_layers * n_experts, bias=False)
        self.n_layers = n_layers

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of all layers, shape (n_layers, ..., n_experts), for x of shape (..., n_features)."""
        with torch.autocast(x.device.type, enabled=False):
            hidden = self.reads(x.to(self.reads.weight.dtype)).relu()
            return self.says(hidden).unflatten(-1, (self.n_layers, -1)).movedim(-2, 0)


@dataclass(frozen=True)
class ProductTopK(Rule):
    """Top-k of n · n experts from 2 · n logits: expert i · n + j has the logit a_i + b_j.

    Parameters
    ----------
    k
        Experts of a row, at most n · n.
    n
        Number of logits of each half; the router has 2 · n outputs for n · n experts.
    renorm
        Whether weights, the softmax of the sums, are divided by their sum over the chosen experts.

    Notes
    -----
    Exact: an expert among the k best has fewer than k better ones in its row and column of the grid, so that k · k sums
    at most are compared. The router multiplies with 2 · n vectors in the place of n · n. Mask and sums of all experts
    are built nevertheless, because losses and dispatch read them.

    References
    ----------
    Lample et al. 2019, "Large Memory Layers with Product Keys" (arXiv 1907.05242), sec. 3.2. UltraMemV2 (arXiv
    2508.18756) routes to such memories.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import ProductTopK
    >>> routing = ProductTopK(k=2, n=2)(torch.tensor([0.0, 3.0, 1.0, 0.5]))  # sums 1.0, 0.5, 4.0, 3.5
    >>> routing.mask.tolist()
    [False, False, True, True]
    """

    k: int
    n: int
    renorm: bool = True

    def __post_init__(self) -> None:
        check_count("ProductTopK: k", self.k)
        check_count("ProductTopK: n", self.n)
        if self.k > self.n**2:
            raise ValueError(f"ProductTopK: k={self.k} of {self.n**2} experts; choose k <= n * n")

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row; logits of shape (..., 2 · n)."""
        if logits.shape[-1] != 2 * self.n:
            raise ValueError(f"ProductTopK: {logits.shape[-1]} logits for n={self.n}; give 2 * n")
        first, second = checked_logits(logits[..., : self.n]), checked_logits(logits[..., self.n :])
        sums = (first[..., :, None] + second[..., None, :]).flatten(-2)  # (..., n · n)
        chosen = self._best(first.detach(), second.detach())
        mask = torch.zeros_like(sums, dtype=torch.bool).scatter(-1, chosen, True) & (sums > -torch.inf)
        return Routing(weights_within(sums, mask, self.renorm), mask, sums, at_most=self.k)

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits choose among n · n experts."""
        if n_experts != self.n**2:
            raise ValueError(f"ProductTopK: {n_experts} experts for n={self.n}; make it {self.n**2}")
        return 2 * math.isqrt(n_experts)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses."""
        return self.k

    def _best(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the k best experts, shape (..., k): of the k best of each half, with ties for the lowest index."""
        halves = [torch.sort(half, dim=-1, descending=True, stable=True) for half in (first, second)]
        (a, i), (b, j) = ((half.values[..., : self.k], half.indices[..., : self.k]) for half in halves)
        experts = (i[..., :, None] * self.n + j[..., None, :]).flatten(-2)
        experts, order = experts.sort(dim=-1)
        sums = (a[..., :, None] + b[..., None, :]).flatten(-2).gather(-1, order)
        places = torch.sort(sums, dim=-1, descending=True, stable=True).indices[..., : self.k]
        return experts.gather(-1, places)
