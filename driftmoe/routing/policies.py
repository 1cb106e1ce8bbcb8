"""Rules that choose experts from logits, as frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from driftmoe.routing.checks import check_count, check_k, check_option, check_share
from driftmoe.routing.entropy import (
    Measure,
    checked_logits,
    first_right_of_sorted,
    sorted_logits,
    tsallis_of_log_p,
)
from driftmoe.routing.masks import (
    Score,
    biased_scores,
    count_top_p,
    mask_first,
    top_k_mask,
    top_p_mask,
    weights_within,
)
from driftmoe.routing.result import Choice, Routing
from driftmoe.routing.rows import (
    checked_row,
    count_top_p_row,
    exact,
    in_order_sum,
    score_row,
    scored_choice,
    softmax_choice,
    sorted_row,
    trust_row,
    tsallis_row,
)
from driftmoe.routing.rule import Rule


@dataclass(frozen=True)
class Dense(Rule):
    """Every expert takes part, weighted by the softmax of the logits.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import Dense
    >>> Dense()(torch.zeros(1, 4)).weights.tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __call__(self, logits: Tensor) -> Routing:
        """Choose every expert in service."""
        logits = checked_logits(logits)
        return Routing(logits.softmax(-1), logits > -torch.inf, logits, at_most=logits.shape[-1])

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = checked_row(logits)
        return softmax_choice(row, [i for i, z in enumerate(row) if z > -math.inf], renorm=True)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced."""
        return n_experts

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """No losses: if every expert is used there is nothing to balance."""
        return {}


@dataclass(frozen=True)
class TopK(Rule):
    """The `k` experts with the largest logits.

    Parameters
    ----------
    k
        Experts of a row.
    renorm
        Whether the weights are divided by their sum, as in Mixtral. If not, they stay the scores among all experts.
    score
        What the weights are made of: `"softmax"` of the logits, or `"sigmoid"` (DeepSeek-V3), which fits logits that
        are trained by binary cross-entropy.

    Notes
    -----
    With `k=1` and `renorm` the weight is always 1, so the router gets no gradient through it.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK
    >>> TopK(2)(torch.tensor([0.0, 1.0, 1.0, 1.0])).weights.tolist()
    [0.0, 0.5, 0.5, 0.0]
    """

    k: int
    renorm: bool = True
    score: Score = "softmax"

    def __post_init__(self) -> None:
        check_count("TopK: k", self.k)
        check_option("TopK: score", self.score, ("softmax", "sigmoid"))

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts by score + bias, and weigh them by score; a `BiasBalancer` has the bias, (n_experts,)."""
        logits = checked_logits(logits)
        mask = top_k_mask(logits if bias is None else biased_scores(logits, self.score, bias), self.k)
        weights = weights_within(logits, mask, self.renorm, self.score)
        return Routing(weights, mask, logits, at_most=self.k)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = checked_row(logits)
        check_k(self.k, len(row))
        return scored_choice(row, sorted_row(row)[: self.k], self.renorm, self.score)

    def rows(self, logits: np.ndarray) -> Choice:
        """Choose for rows of numpy logits, in compiled code where the weights are a softmax."""
        if self._is_compiled(logits):
            choice = Choice(np.empty(logits.shape), np.empty(logits.shape, np.bool_))
            if exact().top_k(logits, self.k, self.renorm, choice.weights, choice.mask):
                return choice
        return super().rows(logits)

    def rows_into(self, logits: np.ndarray, choice: Choice) -> None:
        """Choose as `rows` does, and write the result into the arrays of an earlier choice."""
        may_write = logits.shape == choice.mask.shape and self._is_compiled(logits)
        if not (may_write and exact().top_k(logits, self.k, self.renorm, choice.weights, choice.mask)):
            super().rows_into(logits, choice)

    def _is_compiled(self, logits: np.ndarray) -> bool:
        """Whether compiled code may choose: a subclass may choose in another way. Checks `k`."""
        is_plain = type(self) is TopK and self.score == "softmax"
        if not (is_plain and logits.ndim == 2 and len(logits) and logits.dtype.kind == "f"):
            return False
        check_k(self.k, logits.shape[1])
        return True

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced."""
        return self.k


@dataclass(frozen=True)
class Rank(Rule):
    """The expert with the `k`-th largest logit alone: a weak answer, to contrast a strong one with.

    Parameters
    ----------
    k
        Place of the expert, from 1, the largest. A row with fewer experts in service gets the last of them.
    renorm
        Whether the weight is 1. If not, it stays the probability of the expert among all.

    References
    ----------
    SCMoE, Shi et al. 2024, "Unchosen Experts Can Contribute Too" (arXiv 2405.14507): rank-k routing. See `contrast`.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import Rank
    >>> Rank(2)(torch.tensor([0.0, 3.0, 1.0])).weights.tolist()
    [0.0, 0.0, 1.0]
    """

    k: int
    renorm: bool = True

    def __post_init__(self) -> None:
        check_count("Rank: k", self.k)

    def __call__(self, logits: Tensor) -> Routing:
        """Choose one expert for each row."""
        logits = checked_logits(logits)
        check_k(self.k, logits.shape[-1])
        belief, order = sorted_logits(logits.detach())
        place = (belief > -torch.inf).sum(-1, keepdim=True).clamp(max=self.k) - 1
        mask = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order.gather(-1, place), True)
        return Routing(weights_within(logits, mask, self.renorm), mask, logits, at_most=1)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = checked_row(logits)
        check_k(self.k, len(row))
        order = sorted_row(row)
        return softmax_choice(row, [order[min(self.k, len(order)) - 1]], self.renorm)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses: one."""
        return 1

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """No losses: the rule is for answers, not for training."""
        return {}


@dataclass(frozen=True)
class GroupTopK(Rule):
    """Top-k within the best groups of experts, so that the experts of a row lie on few devices (DeepSeek-V2 and V3).

    Parameters
    ----------
    k
        Experts of a row, or fewer if the kept groups have fewer in service.
    n_groups
        Number of groups, of neighbouring experts and equal size. It must divide the number of experts.
    n_kept
        Number of groups that a row may choose from.
    best
        A group's score is the sum of its `best` largest scores: 1 as in V2, 2 as in V3.
    renorm, score
        As in `TopK`; V3 renormalises sigmoid scores.

    References
    ----------
    DeepSeek-V2 (arXiv 2405.04434), sec. 2.2.2; DeepSeek-V3 (arXiv 2412.19437), sec. 2.1.2.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import GroupTopK
    >>> GroupTopK(2, n_groups=2, n_kept=1, best=2)(torch.tensor([3.0, -3.0, 2.0, 1.9])).mask.tolist()
    [False, False, True, True]
    """

    k: int
    n_groups: int
    n_kept: int
    best: int = 2
    renorm: bool = True
    score: Score = "sigmoid"

    def __post_init__(self) -> None:
        for name in ("k", "n_groups", "n_kept", "best"):
            check_count(f"GroupTopK: {name}", getattr(self, name))
        if self.n_kept > self.n_groups:
            raise ValueError(
                f"GroupTopK: n_kept={self.n_kept} of n_groups={self.n_groups}; choose n_kept <= n_groups"
            )
        check_option("GroupTopK: score", self.score, ("softmax", "sigmoid"))

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts by score + bias, and weigh them by score; a `BiasBalancer` has the bias, (n_experts,)."""
        logits = checked_logits(logits)
        self._check_groups(logits.shape[-1])
        scores = biased_scores(logits, self.score, 0.0 if bias is None else bias)
        in_service = (logits > -torch.inf).unflatten(-1, (self.n_groups, -1))  # (..., n_groups, group size)
        grouped = scores.unflatten(-1, (self.n_groups, -1)).where(in_service, 0.0)
        of_group = grouped.topk(self.best, dim=-1).values.sum(-1)  # (..., n_groups)
        kept = top_k_mask(of_group.masked_fill(~in_service.any(-1), -torch.inf), self.n_kept)
        allowed = (kept[..., None] & in_service).flatten(-2)
        within = logits if bias is None else scores  # scores of the same order, but logits do not underflow
        mask = top_k_mask(within.masked_fill(~allowed, -torch.inf), self.k)
        weights = weights_within(logits, mask, self.renorm, self.score)
        return Routing(weights, mask, logits, at_most=self.k)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = checked_row(logits)
        self._check_groups(len(row))
        scores = score_row(row, self.score)
        size = len(row) // self.n_groups
        groups = [range(first, first + size) for first in range(0, len(row), size)]
        of_group = [
            in_order_sum(sorted([scores[i] for i in group], reverse=True)[: self.best])
            if any(row[i] > -math.inf for i in group)
            else -math.inf
            for group in groups
        ]
        kept = set(sorted_row(of_group)[: self.n_kept])
        chosen = [i for i in sorted_row(row) if i // size in kept]
        return scored_choice(row, chosen[: self.k], self.renorm, self.score)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced."""
        return self.k

    def _check_groups(self, n: int) -> None:
        if n % self.n_groups or self.best > n // self.n_groups:
            raise ValueError(
                f"GroupTopK: {n} experts in n_groups={self.n_groups} with best={self.best}; choose a number of groups "
                "that divides the number of experts, and best no larger than a group"
            )


@dataclass(frozen=True)
class TopP(Rule):
    """As many experts as are needed to collect the probability `p`: few for an easy row, many for a hard one.

    Parameters
    ----------
    p, min_k, max_k, inclusive, measure
        As in `top_p_mask`.
    renorm
        Whether the weights, the softmax of the logits, are divided by their sum over the chosen experts.

    References
    ----------
    Huang et al. 2024, "Harder Tasks Need More Experts" (arXiv 2403.07652). Its code keeps one expert more if the sum
    equals `p` exactly.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopP
    >>> p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    >>> [TopP(p=t)(p.log()).n_used.item() for t in (0.45, 0.55, 0.81, 0.96)]
    [1, 2, 3, 4]
    """

    p: float = 0.4
    min_k: int = 1
    max_k: int | None = None
    inclusive: bool = True
    renorm: bool = False
    measure: Measure = "softmax"

    def __post_init__(self) -> None:
        check_share("TopP: p", self.p)
        check_count("TopP: min_k", self.min_k)
        if self.max_k is not None and self.max_k < self.min_k:
            raise ValueError(
                f"TopP: max_k={self.max_k} but min_k={self.min_k}; choose max_k >= min_k, or None"
            )
        check_option("TopP: measure", self.measure, ("softmax", "first-right"))

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""
        logits = checked_logits(logits)
        mask = top_p_mask(
            logits, self.p, min_k=self.min_k, max_k=self.max_k, inclusive=self.inclusive, measure=self.measure
        )
        return Routing(weights_within(logits, mask, self.renorm), mask, logits, self.measure)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = checked_row(logits)
        order = sorted_row(row)
        trust = trust_row(row, order, self.measure)
        k = count_top_p_row(trust, self.p, self.min_k, self.max_k, self.inclusive)
        return softmax_choice(row, order[:k], self.renorm)

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses, not verified: the code of "Harder Tasks Need More Experts" does not train."""
        return {"entropy_nats": 1e-4, "load_balance": 1e-2}


@dataclass(frozen=True)
class EntropyHybrid(Rule):
    """Top-p if the router is certain, every expert if it is not.

    High entropy means *more* experts. A row whose normalised Tsallis entropy exceeds the threshold goes to all experts,
    weighted by the softmax. Every other row goes to the top-p.

    Parameters
    ----------
    q
        Index of the entropy, q > 0.
    threshold
        In [0, 1]; with 1 no row goes to all experts. How many rows exceed a threshold depends on the number of
        experts: of normal logits with deviation 1, 24 % exceed 0.9 for 6 experts and 52 % for 64.
    p, min_k, inclusive
        The top-p rule, as in `top_p_mask`.
    renorm
        Whether the weights, the softmax of the logits, are divided by their sum over the chosen experts. Set it if
        experts vote.
    measure
        Distribution over experts whose entropy decides and whose probabilities are summed up: the softmax of the
        logits, as in the paper, or `first_right` of them, for logits trained by binary cross-entropy. With the latter
        a row is uncertain if no expert is believed to be right, and certain if at least one is, even if all are.

    Notes
    -----
    The defaults are those of DynMoLE's code, which excludes the expert that crosses `p` and keeps at least 2. A new
    router is uncertain, so all experts learn at first.

    References
    ----------
    DynMoLE, Li et al. 2025 (arXiv 2504.00661): hybrid routing by Tsallis entropy.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import EntropyHybrid
    >>> certain, uncertain = torch.tensor([5.0, 2.0, 0.0, 0.0, 0.0, 0.0]), torch.zeros(6)
    >>> EntropyHybrid()(torch.stack([certain, uncertain])).n_used.tolist()
    [2, 6]
    """

    q: float = 1.1
    threshold: float = 0.9
    p: float = 0.75
    min_k: int = 2
    inclusive: bool = False
    renorm: bool = False
    measure: Measure = "softmax"

    def __post_init__(self) -> None:
        if not self.q > 0.0:
            raise ValueError(f"EntropyHybrid: q={self.q}; choose q > 0, such as 1.1")
        check_share("EntropyHybrid: threshold", self.threshold)
        check_share("EntropyHybrid: p", self.p)
        check_count("EntropyHybrid: min_k", self.min_k)
        check_option("EntropyHybrid: measure", self.measure, ("softmax", "first-right"))

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""
        logits = checked_logits(logits)
        belief, order = sorted_logits(logits.detach())
        if self.measure == "softmax":
            log_p, trust = logits.detach().log_softmax(-1), belief.softmax(-1)
        else:
            log_p = first_right_of_sorted(belief)
            trust = log_p.exp()
        k = count_top_p(trust, self.p, self.min_k, None, self.inclusive)
        uncertain = tsallis_of_log_p(log_p, self.q) > self.threshold
        mask = mask_first(order, k.masked_fill(uncertain[..., None], logits.shape[-1]), logits)
        return Routing(weights_within(logits, mask, self.renorm), mask, logits, self.measure, self.q)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = checked_row(logits)
        order = sorted_row(row)
        trust = trust_row(row, order, self.measure)
        if tsallis_row(trust, self.q) <= self.threshold:
            order = order[: count_top_p_row(trust, self.p, self.min_k, None, self.inclusive)]
        return softmax_choice(row, order, self.renorm)

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses, as in DynMoLE's code (arXiv 2504.00661)."""
        return {"entropy": 1e-2, "soft_balance": 1e-3}
