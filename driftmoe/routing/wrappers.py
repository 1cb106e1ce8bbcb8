"""Policies around another policy: null experts, shared experts, and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from driftmoe.routing.checks import check_count, check_option
from driftmoe.routing.entropy import checked_logits
from driftmoe.routing.masks import Score, top_k_mask, weights_within
from driftmoe.routing.result import Choice, Routing
from driftmoe.routing.rows import log_sigmoid, softmax_choice
from driftmoe.routing.rule import Policy, Rule, as_rule, has_logit_for_each, route


@dataclass(frozen=True)
class Wrapper(Rule):
    """Base of the policies that change what another policy chose.

    Parameters
    ----------
    policy
        The inner policy.
    """

    policy: Policy

    def at(self, step: int) -> Rule:
        """Return the policy of a step: with the inner policy of that step."""
        policy = as_rule(self.policy)
        inner = policy.at(step)
        return self if inner is policy else replace(self, policy=inner)


@dataclass(frozen=True)
class Over(Wrapper):
    """Base of the policies whose experts, logits and losses are those of the inner policy."""

    @property
    def n_shared(self) -> int:  # type: ignore[override]  # read only: it is the inner policy's
        """Number of shared experts of the inner policy."""
        return as_rule(self.policy).n_shared

    @property
    def n_null(self) -> int:  # type: ignore[override]
        """Number of null experts of the inner policy."""
        return as_rule(self.policy).n_null

    @property
    def score(self) -> Score:  # type: ignore[override]
        """What the inner policy makes weights of."""
        return as_rule(self.policy).score

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits the inner policy needs."""
        return as_rule(self.policy).n_logits(n_experts)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced."""
        return as_rule(self.policy).n_active(n_experts, otherwise)

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses: those of the inner policy."""
        return as_rule(self.policy).auxiliary


@dataclass(frozen=True)
class WithNull(Wrapper):
    """A policy over experts and null experts. Null experts do nothing, so rows that choose them use fewer experts.

    The last `n_null` columns of the logits belong to the null experts. The policy chooses among all columns. The
    routing is about the true experts, and its `null_mask` says which null experts were chosen.

    Parameters
    ----------
    policy
        Any policy, such as `TopK(4)`.
    n_null
        Number of null experts. With `TopK(k)`, a balanced router then uses k·n / (n + n_null) of n true experts on
        average.
    renorm
        Whether the weights of the true experts are the softmax over the chosen true experts alone (AdaMoE). If not,
        they stay as the policy gives them: probabilities, or normalised over chosen experts and nulls together.
    on_empty
        What happens to a row that chose null experts alone. `"none"`: it gets no expert and zero weights, so it passes
        by the layer (AdaMoE). `"best"`: it gets the true expert with the largest logit, with weight 1. A third answer
        is `WithShared`.

    Notes
    -----
    With `renorm`, the weight of a row with one true expert is always 1, so the router gets no gradient through it. With
    `ADAMOE` and a random router these are 43 % of the rows, and 16 % have no expert at all. `NULLS` does without.

    References
    ----------
    AdaMoE, Zeng et al. 2024 (arXiv 2406.13233).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK, WithNull
    >>> routing = WithNull(TopK(2), n_null=2)(torch.tensor([[1.0, 0.0, 2.0, -1.0], [0.0, 0.0, 1.0, 1.0]]))
    >>> routing.mask.tolist(), routing.null_share.tolist()
    ([[True, False], [False, False]], [0.5, 1.0])
    """

    n_null: int = field()  # without the default that the base class has
    renorm: bool = True
    on_empty: Literal["none", "best"] = "none"

    def __post_init__(self) -> None:
        check_count("WithNull: n_null", self.n_null)
        if as_rule(self.policy).n_shared:
            raise ValueError(
                f"WithNull: policy={self.policy!r} has shared experts, which have no logits; write them outermost, "
                "WithShared(WithNull(policy, n_null), n_shared)"
            )
        if not has_logit_for_each(self.policy):
            raise ValueError(
                f"WithNull: policy={self.policy!r} has not one logit for each expert, so that none could be for a null "
                "expert; choose another, such as TopK"
            )
        check_option("WithNull: on_empty", self.on_empty, ("none", "best"))

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts and null experts for each row; shape (..., n_experts + n_null)."""
        n = self._n_true(logits.shape[-1])
        whole = self.policy(logits)
        mask, true = whole.mask[..., :n], checked_logits(logits)[..., :n]
        if self.renorm:
            none = ~mask.any(-1, keepdim=True)
            weights = (
                weights_within(
                    true.masked_fill(none, 0.0), mask | none, renorm=True, score=as_rule(self.policy).score
                )
                * mask
            )
        else:
            weights = whole.weights[..., :n]
        if self.on_empty == "best":
            best = top_k_mask(true, 1) & ~mask.any(-1, keepdim=True)
            mask, weights = mask | best, weights.masked_fill(best, 1.0)
        return replace(whole, weights=weights, mask=mask, null_mask=whole.mask[..., n:], at_most=None)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        n = self._n_true(len(logits))
        whole = route(self.policy, logits)
        weights, mask, true = whole.weights[:n], whole.mask[:n], logits[:n].tolist()
        n_null = np.array(whole.mask[n:].sum())
        chosen = [i for i, is_chosen in enumerate(mask.tolist()) if is_chosen]
        if not chosen and self.on_empty == "best" and max(true) > -math.inf:
            chosen = [true.index(max(true))]
        elif not self.renorm:
            return Choice(weights, mask, n_null)
        if as_rule(self.policy).score == "sigmoid":
            true = [log_sigmoid(z) for z in true]
        return softmax_choice(true, chosen, renorm=True)._replace(n_null=n_null)

    @property
    def score(self) -> Score:  # type: ignore[override]  # read only: it is the inner policy's
        """What the inner policy makes weights of."""
        return as_rule(self.policy).score

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced over experts and null experts."""
        return as_rule(self.policy).n_active(n_experts, otherwise) * n_experts / (n_experts + self.n_null)

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses: balance with averaged null experts.

        With `renorm` as in AdaMoE's code (arXiv 2406.13233). Without, the weight is that of Switch Transformer, ten
        times as large, which keeps the null experts from taking over.
        """
        return {"load_balance": 1e-3 if self.renorm else 1e-2} if as_rule(self.policy).auxiliary else {}

    def _n_true(self, n_columns: int) -> int:
        if n_columns <= self.n_null:
            raise ValueError(
                f"WithNull: logits have {n_columns} columns, n_null={self.n_null} of them nulls; give the router "
                "more outputs: one for each expert and for each null expert"
            )
        return n_columns - self.n_null


@dataclass(frozen=True)
class WithShared(Wrapper):
    """Shared experts, which take part in every row, before the experts that a policy chooses.

    The router has no logits for the shared experts: n logits give a routing of n_shared + n experts. Put `WithNull`
    inside: `WithShared(WithNull(TopK(2), n_null=4), n_shared=1)`.

    Parameters
    ----------
    policy
        Any policy, for the experts after the shared ones.
    n_shared
        Number of shared experts. They come first.
    renorm
        Shared experts have weight 1, as in DeepSeekMoE's sum. With `renorm` all weights of a row are divided by their
        sum, so that votes stay a mean.

    References
    ----------
    DeepSeekMoE, Dai et al. 2024 (arXiv 2401.06066): shared expert isolation.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK, WithShared
    >>> WithShared(TopK(1), n_shared=1)(torch.tensor([0.0, 3.0])).weights.tolist()
    [1.0, 0.0, 1.0]
    """

    n_shared: int = field()  # without the default that the base class has
    renorm: bool = False

    def __post_init__(self) -> None:
        check_count("WithShared: n_shared", self.n_shared)

    @property
    def n_null(self) -> int:  # type: ignore[override]  # read only: it is the inner policy's
        """Number of null experts of the inner policy."""
        return as_rule(self.policy).n_null

    @property
    def score(self) -> Score:  # type: ignore[override]  # read only: it is the inner policy's
        """What the inner policy makes weights of."""
        return as_rule(self.policy).score

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits the inner policy needs for the experts that are not shared."""
        return as_rule(self.policy).n_logits(n_experts - self.n_shared)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced over the others."""
        return self.n_shared + as_rule(self.policy).n_active(n_experts, otherwise)

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses: those of the inner policy."""
        return as_rule(self.policy).auxiliary

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts for each row; a bias, one for each logit, goes to the inner policy, which must take one."""
        routed = self.policy(logits) if bias is None else self.policy(logits, bias)  # type: ignore[call-arg]
        weights = nn.functional.pad(routed.weights, (self.n_shared, 0), value=1.0)
        if self.renorm:
            weights = weights / weights.sum(-1, keepdim=True)
        mask = nn.functional.pad(routed.mask, (self.n_shared, 0), value=True)
        at_most = None if routed.at_most is None else routed.at_most + self.n_shared
        return replace(routed, weights=weights, mask=mask, at_most=at_most)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        routed = route(self.policy, logits)
        weights = np.concatenate((np.ones(self.n_shared), routed.weights))
        if self.renorm:
            weights /= weights.sum()
        mask = np.concatenate((np.ones(self.n_shared, dtype=bool), routed.mask))
        return Choice(weights, mask, routed.n_null)


@dataclass(frozen=True)
class Scheduled(Rule):
    """A policy whose `k` depends on the step.

    Parameters
    ----------
    policy
        A dataclass with a field `k`, such as `TopK(1)` or `GroupTopK(...)`.
    k
        Number of experts at a step, such as `LinearK(8, 16, n_steps=400_000)`, or any function that can be pickled. In
        `DriftMoEClassifier` a step is a mini-batch of the router.

    References
    ----------
    SMoE-Dropout, Chen et al. 2023 (arXiv 2303.01610): if the router stays random (`RandomRouter`) and k grows during
    training, the network works with any k afterwards.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import LinearK, Scheduled, TopK
    >>> policy = Scheduled(TopK(1), LinearK(1, 4, n_steps=100))
    >>> [policy.at(step).k for step in (0, 50, 100, 1000)]
    [1, 2, 4, 4]
    >>> policy(torch.zeros(4), step=100).n_used.item()
    4
    """

    policy: Any
    k: Callable[[int], int]

    def at(self, step: int) -> Any:  # with the attributes of the inner policy's class, such as `k`
        """Return the policy of this step."""
        return replace(self.policy, k=self.k(step))

    def __call__(self, logits: Tensor, step: int) -> Routing:  # type: ignore[override]  # nobody else knows the step
        """Choose experts for each row."""
        return self.at(step)(logits)

    @property
    def score(self) -> Score:  # type: ignore[override]  # read only: it is the inner policy's
        """What the inner policy makes weights of."""
        return as_rule(self.policy).score

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits the inner policy needs."""
        return as_rule(self.policy).n_logits(n_experts)

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses: those of the inner policy."""
        return as_rule(self.policy).auxiliary


@dataclass(frozen=True)
class LinearK:
    """A number of experts that changes linearly, then stays: round(start + (stop - start) · step / n_steps).

    Parameters
    ----------
    start, stop
        At step 0, and at `n_steps` and later.
    n_steps
        Steps between the two.

    Examples
    --------
    >>> from driftmoe.routing import LinearK
    >>> k = LinearK(start=8, stop=2, n_steps=3)
    >>> [k(step) for step in range(5)]
    [8, 6, 4, 2, 2]
    """

    start: int
    stop: int
    n_steps: int

    def __post_init__(self) -> None:
        for name in ("start", "stop", "n_steps"):
            check_count(f"LinearK: {name}", getattr(self, name))

    def __call__(self, step: int) -> int:
        """Return k at a step, counted from 0."""
        return round(self.start + (self.stop - self.start) * min(step, self.n_steps) / self.n_steps)
