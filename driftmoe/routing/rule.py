"""The interface of policies, and the base class of this package's policies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from driftmoe.routing.masks import Score
from driftmoe.routing.result import Choice, Routing


class Policy(Protocol):
    """Anything that turns logits, shape (..., n_experts), into a `Routing`; a plain function will do.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import Routing
    >>> def above_zero(logits):
    ...     mask = logits > 0.0
    ...     return Routing(torch.where(mask, logits.softmax(-1), 0.0), mask, logits)
    >>> above_zero(torch.tensor([1.0, -1.0])).mask.tolist()
    [True, False]
    """

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""


class Rule(ABC):
    """Base class of policies: the attributes and methods that the library uses besides `policy(logits)`.

    A policy of your own may inherit from it. It must do so if it has null or shared experts, a method for single rows,
    or a schedule.

    Attributes
    ----------
    n_shared
        Experts that take part in every row. They come first and have no logits.
    n_null
        Null experts. Their logits come last.
    score
        Function of the logits from which the weights are made: softmax or sigmoid.

    Examples
    --------
    >>> from driftmoe.routing import Rule, TopK, WithNull
    >>> isinstance(TopK(2), Rule), WithNull(TopK(2), n_null=3).n_null
    (True, 3)
    """

    n_shared: int = 0
    n_null: int = 0
    score: Score = "softmax"

    @abstractmethod
    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose experts for one row of numpy logits, shape (n_experts,)."""
        return self._by_torch(logits)

    def rows(self, logits: np.ndarray) -> Choice:
        """Choose experts for rows of numpy logits, as `route` does."""
        if logits.ndim == 1:
            return self.of_row(logits)
        if logits.ndim != 2 or not len(logits) or type(self).of_row is Rule.of_row:
            return self._by_torch(logits)
        choices = [self.of_row(row) for row in logits]
        n_null = [choice.n_null for choice in choices]
        return Choice(
            np.stack([choice.weights for choice in choices]),
            np.stack([choice.mask for choice in choices]),
            np.array(n_null, np.int64) if np.ndim(n_null[0]) == 0 else n_null[0],
        )

    def rows_into(self, logits: np.ndarray, choice: Choice) -> None:
        """Choose as `rows` does, and write the result into the arrays of an earlier choice.

        Raises
        ------
        ValueError
            If the arrays have other shapes now.
        """
        for array, new in zip(choice, self.rows(logits), strict=True):
            if array.shape != new.shape:
                raise ValueError(f"the policy chose arrays of shape {new.shape}, and {array.shape} before")
            array[...] = new

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits choose among `n_experts` experts, shared ones included."""
        return n_experts - self.n_shared + self.n_null

    def at(self, step: int) -> Rule:
        """Return the policy of a step: itself, unless it is `Scheduled` or has such a policy inside."""
        return self

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced.

        This is the number that the policy aims at, not the number that training leads to. `otherwise` is the answer of
        a policy that aims at no number.
        """
        return otherwise

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses with which a network is trained that is routed by this policy.

        Here as in Switch Transformer (arXiv 2101.03961).
        """
        return {"load_balance": 1e-2}

    def _by_torch(self, logits: np.ndarray) -> Choice:
        with torch.no_grad():
            routing = self(torch.from_numpy(np.asarray(logits, dtype=np.float64)))
        weights, mask = map(np.ascontiguousarray, (routing.weights.numpy(), routing.mask.numpy()))
        if routing.null_mask is None:
            return Choice(weights, mask)
        return Choice(weights, mask, routing.null_mask.sum(-1).numpy())


@dataclass(frozen=True)
class Given(Rule):
    """A policy that does not inherit from `Rule`: a plain function, or an object with some of a rule's answers.

    Parameters
    ----------
    function
        Turns logits into a `Routing`. If it has `n_shared`, `n_null`, `score` or `of_row`, these are used.
    """

    function: Policy

    def __post_init__(self) -> None:
        for name in ("n_shared", "n_null", "score"):
            object.__setattr__(self, name, getattr(self.function, name, getattr(Rule, name)))

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""
        return self.function(logits)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose experts for one row of numpy logits, by the function's own method if it has one."""
        own = getattr(self.function, "of_row", self._by_torch)
        return own(logits)

    def rows(self, logits: np.ndarray) -> Choice:
        """Choose experts for rows of numpy logits."""
        return super().rows(logits) if hasattr(self.function, "of_row") else self._by_torch(logits)


def as_rule(policy: Policy) -> Rule:
    """Return the policy itself if it is a `Rule`, else a rule that calls it.

    Examples
    --------
    >>> from driftmoe.routing import Rule, TopK, as_rule
    >>> as_rule(TopK(2)), isinstance(as_rule(lambda logits: TopK(2)(logits)), Rule)
    (TopK(k=2, renorm=True, score='softmax'), True)
    """
    return policy if isinstance(policy, Rule) else Given(policy)


def has_logit_for_each(policy: Policy) -> bool:
    """Return whether each expert that is not shared, and each null expert, has a logit of its own."""
    rule, n = as_rule(policy), 9  # a square number, which `ProductTopK` asks for
    return rule.n_logits(n + rule.n_shared) == n + rule.n_null


def at_step(policy: Policy, step: int) -> Rule:
    """Resolve `Scheduled` policies, including nested ones, for a given step.

    Examples
    --------
    >>> from driftmoe.routing import LinearK, Scheduled, TopK, at_step
    >>> at_step(Scheduled(TopK(8), LinearK(start=8, stop=2, n_steps=3)), 1).k
    6
    """
    return as_rule(policy).at(step)


def route(policy: Policy, logits: np.ndarray) -> Choice:
    """Route samples in numpy: each row by itself, without the cost of torch's calls, the same on every machine.

    Parameters
    ----------
    policy
        Any policy. If it is a `Rule` with a method `of_row` of its own, that answers for each row. Otherwise the policy
        is called on a tensor, and the last bit of the weights may differ from one processor to another.
    logits
        Shape (n_experts,) or (..., n_experts), any float type; the work is done in float64.

    Returns
    -------
    choice
        Weights and mask, as `policy` gives them for float64 logits, up to the last bit of the weights. A row alone
        gets what it gets in a block.

    Notes
    -----
    The row methods loop over the experts in Python, which is faster than numpy's calls for up to about sixty experts.

    Examples
    --------
    >>> import numpy as np
    >>> from driftmoe.routing import TopK, route
    >>> route(TopK(2), np.array([0.0, 1.0, 1.0, 1.0])).weights.tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    return as_rule(policy).rows(logits)
