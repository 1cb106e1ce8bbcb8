"""A router that is a table: which experts were right lately, for each category of samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from driftmoe.routing.checks import check_count

UNKNOWN = -1
"""Category of a sample of which none is known."""


class TableRouter(nn.Module):
    """A router that knows for each category, such as a language or a customer, how often each expert was right lately.

    It has no gradient: `update` counts. The logit of an expert is the logarithm of its accuracy in the category, less
    its cost. So the softmax of the logits is in proportion to accuracies where experts cost the same.

    It reads categories, not rows, so it is no `router` of a `MoELayer`: call `layer(x, logits=router(categories))`.

    Parameters
    ----------
    n_categories, n_experts
        Sizes, at least 1.
    fading
        Factor of all counts of a category at each of its samples, in (0, 1]: 0.99 looks at the last 100 or so.
    cost
        What each expert costs, in nats of accuracy, shape (n_experts,); nothing by default. An expert that costs 0.1
        more must be right 1.1 times as often to be chosen.
    prior
        Weight, in samples, of what an expert does in all categories, which stands in where a category has few samples;
        above 0.

    Attributes
    ----------
    right, seen
        Faded number of samples on which each expert was right, and was observed, shape (n_categories, n_experts).

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Composition of Experts, Jain et al. 2024 (arXiv 2412.01868): a category first, then the expert of the category. The
    table there is computed once; here it forgets.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TableRouter, TopK
    >>> router = TableRouter(2, 3)
    >>> router.update(torch.tensor([0, 1]), torch.tensor([[True, False, False], [False, False, True]]))
    >>> TopK(1)(router(torch.tensor([0, 1]))).mask.int().tolist()
    [[1, 0, 0], [0, 0, 1]]
    """

    right: Tensor
    seen: Tensor
    cost: Tensor

    def __init__(
        self,
        n_categories: int,
        n_experts: int,
        *,
        fading: float = 0.99,
        cost: Sequence[float] | Tensor | None = None,
        prior: float = 1.0,
    ) -> None:
        super().__init__()
        check_count("TableRouter: n_categories", n_categories)
        check_count("TableRouter: n_experts", n_experts)
        if not 0.0 < fading <= 1.0:
            raise ValueError(f"TableRouter: fading={fading!r}; choose a factor above 0, at most 1")
        if not 0.0 < prior < float("inf"):
            raise ValueError(f"TableRouter: prior={prior!r}; choose a finite number of samples above 0")
        costs = torch.zeros(n_experts) if cost is None else torch.as_tensor(cost, dtype=torch.float32)
        if costs.shape != (n_experts,) or not bool(costs.isfinite().all()):
            raise ValueError(
                f"TableRouter: cost={cost!r}; give {n_experts} finite numbers, one for each expert"
            )
        self.fading, self.prior = fading, prior
        self.register_buffer("right", torch.zeros(n_categories, n_experts))
        self.register_buffer("seen", torch.zeros(n_categories, n_experts))
        self.register_buffer("cost", costs)

    def forward(self, categories: Tensor) -> Tensor:
        """Return logits, shape (..., n_experts), for categories of shape (...), integers; `UNKNOWN` is allowed."""
        categories = self._checked(categories)
        overall = (self.right.sum(0) + 0.5 * self.prior) / (self.seen.sum(0) + self.prior)
        table = (self.right + self.prior * overall) / (self.seen + self.prior)
        rows = torch.cat([table, overall[None]]).log() - self.cost
        return rows[categories]  # -1 is the last row

    @torch.no_grad()
    def update(self, categories: Tensor, correct: Tensor, observed: Tensor | None = None) -> None:
        """Count which experts were right, in order.

        Parameters
        ----------
        categories
            Of each sample, integers, shape (n_rows,). Samples of `UNKNOWN` are left out.
        correct
            Whether each expert was right, shape (n_rows, n_experts).
        observed
            Whether each expert was asked, same shape; all by default. Others are as they were, but fade.

        Raises
        ------
        ValueError
            If a shape or a category is none that is allowed. Nothing is counted then.
        """
        categories = self._checked(categories)
        asked = torch.ones_like(correct) if observed is None else observed
        if not correct.shape == asked.shape == (len(categories), self.right.shape[1]):
            raise ValueError(
                f"TableRouter: shapes {tuple(correct.shape)} and {tuple(asked.shape)} of what was correct and observed "
                f"for {len(categories)} categories; both have a row for each, and {self.right.shape[1]} columns"
            )
        kinds = self.right.dtype
        for category in categories.unique().tolist():
            if category == UNKNOWN:
                continue
            rows = categories == category
            n = int(rows.sum())
            factors = (
                self.fading ** torch.arange(n - 1, -1, -1, dtype=kinds, device=self.right.device)[:, None]
            )
            now = asked[rows].to(kinds)
            for counts, came in ((self.right, now * correct[rows].to(kinds)), (self.seen, now)):
                counts[category] = counts[category] * self.fading**n + (factors * came).sum(0)

    def _checked(self, categories: Tensor) -> Tensor:
        """Return categories as int64: torch takes uint8 for a mask, and int16 for no index."""
        if categories.dtype.is_floating_point or categories.dtype == torch.bool:
            raise ValueError(f"TableRouter: categories of {categories.dtype}; give integers")
        categories = categories.long()
        least, most = UNKNOWN, len(self.right) - 1
        if categories.numel() and not (least <= int(categories.min()) and int(categories.max()) <= most):
            raise ValueError(
                f"TableRouter: categories from {int(categories.min())} to {int(categories.max())}; they must be from 0 "
                f"to {most}, or {UNKNOWN} where none is known"
            )
        return categories
