"""Top-k of very many experts whose logits are sums of two halves, found without looking at all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from driftmoe.routing import Routing, Rule, top_k_mask
from driftmoe.routing.checks import check_count
from driftmoe.routing.entropy import checked_logits


@dataclass(frozen=True)
class ProductTopK(Rule):
    """The `k` experts with the largest logits of n · n, where that of expert (i, j) is the sum of two of 2n logits.

    A router for it has 2n outputs in the place of n · n: `n` first halves, then `n` second halves. Expert (i, j) has
    the number i · n + j. The best pairs are made of the `k` best halves on either side, so that k · k sums are
    compared. The result is exact.

    Parameters
    ----------
    k
        Experts of a row.
    renorm
        Whether the weights are divided by their sum. If not, they stay the probabilities among all n · n experts, which
        are products of those of the halves.

    Raises
    ------
    ValueError
        If `k` is out of range, or, in a call, the number of logits is odd or n · n is below `k`.

    Notes
    -----
    Ties are broken for the first half with the larger logit, or the lowest index, then for the second one. Half a logit
    of -inf takes all of its pairs out of service. `Routing.logits` has all sums, shape (..., n · n), which losses read.

    Experts share logits. So `WithNull` and surgery that cuts the router refuse this policy, and what is added to one
    logit moves `n` experts: the numbers that `steer` takes are those of halves. To promote expert (i, j), name i and
    n + j.

    References
    ----------
    Lample et al. 2019, "Large Memory Layers with Product Keys" (arXiv 1907.05242), sec. 3.1. PEER, He 2024 (arXiv
    2407.04153). UltraMem, Huang et al. 2024 (arXiv 2411.12364), and UltraMemV2, 2025 (arXiv 2508.18756), whose layers
    of 120 billion parameters have no place here.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, ProductTopK
    >>> ProductTopK(2)(torch.tensor([3.0, 0.0, 1.0, 0.0])).mask.tolist()  # 4, 3, 1 and 0
    [True, True, False, False]
    >>> layer = MoELayer(torch.nn.Linear(8, 2 * 16), FeedForwardExperts(256, 8, 1), ProductTopK(4))
    >>> layer(torch.ones(5, 8)).output.shape
    torch.Size([5, 8])
    """

    k: int
    renorm: bool = True

    def __post_init__(self) -> None:
        check_count("ProductTopK: k", self.k)

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row, by logits of shape (..., 2n)."""
        n_columns = logits.shape[-1]
        n = n_columns // 2
        if n_columns % 2 or n < 1:
            raise ValueError(
                f"ProductTopK: {n_columns} logits; give 2n for n · n experts, first halves and second halves"
            )
        if self.k > n * n:
            raise ValueError(f"ProductTopK: k={self.k} of {n * n} experts; choose at most as many")
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        sums = checked_logits((wide[..., :n, None] + wide[..., None, n:]).flatten(-2))
        mask = torch.zeros_like(sums, dtype=torch.bool).scatter(-1, self._best(wide.detach(), n), True)
        mask &= sums > -torch.inf
        chosen = sums.masked_fill(~mask, -torch.inf).softmax(-1) if self.renorm else sums.softmax(-1) * mask
        return Routing(chosen, mask, sums, at_most=self.k)

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits choose among `n_experts` experts, a square number."""
        n = round(n_experts**0.5)
        if n * n != n_experts:
            raise ValueError(f"ProductTopK: {n_experts} experts; choose a square number, such as {n * n}")
        return 2 * n

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses."""
        return self.k

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """No losses: the papers have none, or balance by initialisation."""
        return {}

    def _best(self, logits: Tensor, n: int) -> Tensor:
        """Return the numbers of the chosen experts, shape (..., k)."""
        halves, places = [], []
        for half in (logits[..., :n], logits[..., n:]):
            ordered = half.sort(dim=-1, descending=True, stable=True)
            m = min(self.k, n)
            halves.append(ordered.values[..., :m])
            places.append(ordered.indices[..., :m])
        sums = (halves[0][..., :, None] + halves[1][..., None, :]).flatten(-2)
        # Of ties the first: in this order the better first half, then the better second half. The place of the chosen
        # sums comes from a mask, and not from topk, which breaks ties in any order.
        is_best = top_k_mask(sums.nan_to_num(neginf=torch.finfo(sums.dtype).min), self.k)
        of_best = is_best.to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices[..., : self.k]
        first, second = of_best // halves[1].shape[-1], of_best % halves[1].shape[-1]
        numbers: Tensor = places[0].gather(-1, first) * n + places[1].gather(-1, second)
        return numbers
