"""What a policy returns: a `Routing`, or on a stream its short form in numpy, a `Choice`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from driftmoe.routing.entropy import (
    Measure,
    first_right,
    first_right_of_sorted,
    sorted_logits,
    tsallis_of_log_p,
)


class Choice(NamedTuple):
    """The part of a routing that mixing and learning need, in numpy.

    Attributes
    ----------
    weights
        Mixing weights, 0 outside the mask; float64, shape (..., n_experts).
    mask
        Chosen experts, bool, shape (..., n_experts).
    n_null
        Number of null experts chosen, int64, shape (...); shape (0,) if the policy has no null experts.

    Examples
    --------
    >>> import numpy as np
    >>> from driftmoe.routing import TopK, route
    >>> choice = route(TopK(1), np.array([[0.0, 2.0], [3.0, 1.0]]))
    >>> choice.mask.tolist(), choice.weights.tolist()
    ([[False, True], [True, False]], [[0.0, 1.0], [1.0, 0.0]])
    """

    weights: np.ndarray
    mask: np.ndarray
    n_null: np.ndarray = np.empty(0, np.int64)

    def of_rows(self, rows: slice | np.ndarray) -> Choice:
        """Return the choice of some rows, by their index."""
        n_null = self.n_null[rows] if len(self.n_null) else self.n_null
        return Choice(self.weights[rows], self.mask[rows], n_null)


@dataclass(frozen=True, eq=False)
class Plan:
    """The chosen (row, expert) pairs, sorted by expert and then by row.

    Attributes
    ----------
    rows
        Row of each pair in the flattened leading shape, int64, shape (n_pairs,).
    experts
        Expert of each pair, ascending, int64, shape (n_pairs,).
    weights
        Mixing weight of each pair, differentiable, shape (n_pairs,).
    n_experts
        Number of experts, chosen or not.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK
    >>> plan = TopK(1)(torch.tensor([[0.0, 2.0], [3.0, 1.0], [0.0, 1.0]])).plan
    >>> plan.rows.tolist(), plan.experts.tolist(), plan.offsets.tolist()
    ([1, 0, 2], [0, 1, 1], [0, 1, 3])
    """

    rows: Tensor
    experts: Tensor
    weights: Tensor
    n_experts: int

    @property
    def offsets(self) -> Tensor:
        """Expert `e` serves `rows[offsets[e]:offsets[e + 1]]`; int32, shape (n_experts + 1,).

        `offsets[1:]` are the ends that `torch.nn.functional.grouped_mm` takes. Computed on first use.
        """
        # Before Python 3.12 a cached property takes a lock, which compiled code cannot.
        return self._find_offsets() if torch.compiler.is_compiling() else self._offsets

    @cached_property
    def _offsets(self) -> Tensor:
        return self._find_offsets()

    def _find_offsets(self) -> Tensor:
        each = torch.arange(self.n_experts + 1, device=self.experts.device)
        return torch.searchsorted(self.experts, each, out_int32=True)


@dataclass(frozen=True, eq=False)
class Routing:
    """The experts of each row, and their weights.

    Attributes
    ----------
    weights
        Mixing weights, 0 outside the mask, float32 or float64, shape (..., n_experts).
    mask
        Chosen experts, bool, shape (..., n_experts).
    logits
        The logits that the policy read, float32 or float64, shape (..., n_experts). Shared experts have no column.
        Null experts have theirs after those of the experts.
    measure
        Distribution over experts that the policy measured: the softmax of the logits, or `first_right` of them.
    q
        Index of the Tsallis entropy that `entropy` is.
    null_mask
        Chosen null experts, bool, shape (..., n_null); None if the policy has no null experts.
    at_most
        Number of experts that no row exceeds and most rows reach, if the policy knows it beforehand. With it a GPU and
        compiled code plan without asking how many were chosen.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK
    >>> routing = TopK(2)(torch.tensor([[0.0, 0.0, -9.0]]))
    >>> routing.mask.tolist(), routing.weights.tolist()
    ([[True, True, False]], [[0.5, 0.5, 0.0]])
    """

    weights: Tensor
    mask: Tensor
    logits: Tensor
    measure: Measure = "softmax"
    q: float = 1.0
    null_mask: Tensor | None = None
    at_most: int | None = None

    @cached_property
    def entropy(self) -> Tensor:
        """Normalised Tsallis entropy of the measured distribution, in [0, 1], shape (...); computed on first use."""
        if self.measure == "softmax":
            return tsallis_of_log_p(self.logits.log_softmax(-1), self.q)
        return tsallis_of_log_p(first_right_of_sorted(sorted_logits(self.logits)[0]), self.q)

    @property
    def n_used(self) -> Tensor:
        """Number of experts used per row, without null experts; int64, shape (...)."""
        return self.mask.sum(-1)

    @property
    def null_share(self) -> Tensor:
        """Share of null experts among those that a row chose, shape (...); 0 if there are no null experts."""
        nulls = self.n_used.new_zeros(()) if self.null_mask is None else self.null_mask.sum(-1)
        return nulls / (self.n_used + nulls).clamp_min(1)

    @property
    def null_mass(self) -> Tensor:
        """Probability that the router gives to all null experts together, chosen or not; shape (...)."""
        n_null = 0 if self.null_mask is None else self.null_mask.shape[-1]
        probs = self.logits.softmax(-1) if self.measure == "softmax" else first_right(self.logits).exp()
        return probs[..., probs.shape[-1] - n_null :].sum(-1)

    @property
    def plan(self) -> Plan:
        """The chosen pairs sorted by expert; computed on first use.

        On a GPU and in compiled code, `at_most` experts of each row are in the plan, unchosen ones with weight 0.
        """
        return self._make_plan() if torch.compiler.is_compiling() else self._plan

    @cached_property
    def _plan(self) -> Plan:
        return self._make_plan()

    def _make_plan(self) -> Plan:
        mask = self.mask.flatten(0, -2) if self.mask.dim() > 1 else self.mask[None]  # (n_rows, n_experts)
        weights = self.weights.reshape(mask.shape)
        if self.at_most is None or not (torch.compiler.is_compiling() or mask.device.type != "cpu"):
            experts, rows = mask.T.nonzero(as_tuple=True)
        else:
            chosen_first = torch.sort(mask.to(torch.uint8), dim=-1, descending=True, stable=True).indices
            experts, order = chosen_first[:, : self.at_most].flatten().sort(stable=True)
            rows = order // self.at_most
        return Plan(rows, experts, weights[rows, experts], mask.shape[-1])
