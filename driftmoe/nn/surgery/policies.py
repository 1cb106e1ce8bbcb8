"""Policies of layers whose experts were merged, or got new experts beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftmoe.routing import Policy, Routing, as_rule
from driftmoe.routing.checks import check_count
from driftmoe.routing.wrappers import Over


@dataclass(frozen=True)
class Merged(Over):
    """A policy over experts of which some have been merged: it chooses as before, and their weights are added up.

    Parameters
    ----------
    policy
        The policy of the layer before, over all experts that there were.
    group_of
        Group of each of these experts, without shared ones, from 0 on. Experts of a group have become one.

    Notes
    -----
    A group's logit is log sum exp of its members', so that the softmax over groups sums up probabilities. A bias has a
    number for each group, which all its members get.

    References
    ----------
    MC-SMoE, Li et al. 2023 (arXiv 2310.01334): the router stays, and the experts of a group share their weights.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import Merged
    >>> from driftmoe.routing import TopK
    >>> routing = Merged(TopK(2), (0, 0, 1))(torch.tensor([[2.0, 2.0, 0.0], [2.0, 0.0, 2.0]]))
    >>> routing.weights.tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """

    group_of: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "group_of", tuple(int(group) for group in self.group_of))
        if not self.group_of or set(self.group_of) != set(range(max(self.group_of) + 1)):
            raise ValueError(
                f"Merged: group_of={self.group_of}; number the groups from 0 on without a gap, one for each expert"
            )

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits there are: as many as before the experts were merged."""
        return as_rule(self.policy).n_logits(len(self.group_of) + self.n_shared)

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses at most if the router is balanced."""
        before = len(self.group_of) + self.n_shared
        return min(n_experts, as_rule(self.policy).n_active(before, otherwise))

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose among all experts that there were, and return the routing of the groups."""
        groups = torch.tensor(self.group_of, device=logits.device)
        whole = self.policy(logits) if bias is None else self.policy(logits, bias[groups])  # type: ignore[call-arg]
        n, n_groups = len(groups), max(self.group_of) + 1
        n_shared = whole.mask.shape[-1] - n
        if n_shared != self.n_shared:
            raise ValueError(
                f"Merged: {self.policy!r} chooses among {whole.mask.shape[-1]} experts, {self.n_shared} of them "
                f"shared, and group_of has {n}; give the router as many outputs as it had before experts were merged"
            )

        def added(of_experts: Tensor) -> Tensor:
            """Add up the columns of each group, after those of shared experts."""
            shape = (*of_experts.shape[:-1], n_groups)
            sums = of_experts.new_zeros(shape).index_add(-1, groups, of_experts[..., n_shared:])
            return torch.cat([of_experts[..., :n_shared], sums], -1)

        at_most = None if whole.at_most is None else min(whole.at_most, n_groups + n_shared)
        return replace(
            whole,
            weights=added(whole.weights),
            mask=added(whole.mask.to(torch.int32)) > 0,
            logits=self._logits(whole.logits, n),
            at_most=at_most,
        )

    def _logits(self, logits: Tensor, n: int) -> Tensor:
        """Return the logits of the groups, and those of null experts after them."""
        of_groups: list[Tensor] = []
        for group in range(max(self.group_of) + 1):
            members = [i for i, of in enumerate(self.group_of) if of == group]
            of_members = logits[..., members]
            is_out = (of_members == -torch.inf).all(-1)
            # -inf alone has a gradient of NaN
            whole = of_members.masked_fill(is_out[..., None], 0.0).logsumexp(-1)
            of_groups.append(
                whole.masked_fill(is_out, -torch.inf) if len(members) > 1 else of_members[..., 0]
            )
        return torch.cat([torch.stack(of_groups, -1), logits[..., n:]], -1)


@dataclass(frozen=True)
class Beside(Over):
    """A policy for the experts that there were, and another beside it for experts that were added.

    The old policy chooses as if nothing had been added, and what the new experts say is added to what the old ones say.
    So new experts that say nothing change nothing, and what they learn takes no weight from the old ones.

    Parameters
    ----------
    policy
        The policy of the layer before.
    added
        Policy for the new experts, without null and shared ones. One that renormalises, such as `TopK(1)`, gives the
        router no gradient if it chooses one expert.
    n_added
        Number of new experts. They come last, and their logits after those of the old ones, before those of null
        experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import Beside
    >>> from driftmoe.routing import TopK
    >>> Beside(TopK(1), TopK(1, renorm=False), 2)(torch.tensor([3.0, 1.0, 0.0, 0.0])).weights.tolist()
    [1.0, 0.0, 0.5, 0.0]
    """

    added: Policy
    n_added: int

    def __post_init__(self) -> None:
        check_count("Beside: n_added", self.n_added)
        if as_rule(self.added).n_shared or as_rule(self.added).n_null:
            raise ValueError(
                f"Beside: added={self.added!r} has shared or null experts; only the policy of the old experts may"
            )

    def n_logits(self, n_experts: int) -> int:
        """Return how many logits choose among `n_experts` experts."""
        return as_rule(self.policy).n_logits(n_experts - self.n_added) + self.n_added

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced."""
        old = as_rule(self.policy).n_active(n_experts - self.n_added, otherwise)
        return old + as_rule(self.added).n_active(self.n_added, otherwise)

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose among old and new experts, each by their policy; a bias, one for each expert, goes to both."""
        n_null = self.n_null
        n_old = logits.shape[-1] - n_null - self.n_added
        if n_old < 1:
            raise ValueError(
                f"Beside: {logits.shape[-1]} logits, of which {self.n_added} are for added experts and {n_null} for "
                "null ones; give the router more outputs: one for each expert, old and new"
            )
        of_old = torch.cat([logits[..., :n_old], logits[..., n_old + self.n_added :]], -1)
        of_new = logits[..., n_old : n_old + self.n_added]
        if bias is None:
            old, new = self.policy(of_old), self.added(of_new)
        else:
            n = len(bias) - self.n_added
            old, new = self.policy(of_old, bias[:n]), self.added(of_new, bias[n:])  # type: ignore[call-arg]
        last = old.logits.shape[-1] - n_null
        return replace(
            old,
            weights=torch.cat([old.weights, new.weights], -1),
            mask=torch.cat([old.mask, new.mask], -1),
            logits=torch.cat([old.logits[..., :last], new.logits, old.logits[..., last:]], -1),
            at_most=None if old.at_most is None or new.at_most is None else old.at_most + new.at_most,
        )
