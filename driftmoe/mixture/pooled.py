"""What the paper's variants share: one pool of experts and a router."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from driftmoe.experts import Batch, Group
from driftmoe.mixture.arguments import HEAD
from driftmoe.mixture.arrivals import Arrivals
from driftmoe.mixture.router import Router
from driftmoe.mixture.telemetry import RoutingLog
from driftmoe.state import State, check_names, restored
from driftmoe.threads import shared
from driftmoe.transaction import Changes, StepPlan
from driftmoe.trees import HoeffdingTreeClassifier

if TYPE_CHECKING:
    from river import base

MAX_NODES = 2000
"""Maximum number of nodes of a default tree. With 10 classes and 24 numeric features a tree takes at most 15 MB."""


class Pooled:
    """Base of mixtures whose experts are one pool. Every row is learnt with its own weight.

    Attributes
    ----------
    experts, router, log, arrivals
        As of `Mixture`. No sample waits.
    """

    experts: Group
    router: Router
    log: RoutingLog
    arrivals = Arrivals(0, 0, 0, 0)

    @staticmethod
    @cache
    def default_expert() -> base.Classifier:
        """Return the paper's tree, with a limit to its nodes."""
        return HoeffdingTreeClassifier(grace_period=50, delta=1e-7, max_nodes=MAX_NODES)

    @property
    def groups(self) -> list[Group]:
        """The experts, the only group."""
        return [self.experts]

    def with_groups(self, groups: Sequence[Any]) -> Self:
        """Return a copy of the mixture with other groups that have the same votes."""
        new = copy.copy(self)
        (new.experts,) = groups
        return new

    @property
    def reads_samples(self) -> bool:
        """Whether the experts read samples as dictionaries."""
        return self.experts.reads == "samples"

    def n_rows_with_room(self, n_rows: int, weights: np.ndarray) -> int:
        """Return how many of the next rows, with these weights, can be learnt in one step."""
        shape = n_rows, self.experts.n_experts
        return self.experts.n_rows_with_room(
            n_rows, lambda n: np.broadcast_to(weights[:, np.newaxis], shape)[:n]
        )

    def n_rows_before_growth(self, weights: np.ndarray) -> int:
        """Return how many rows with these weights are learnt before an array must grow; see `Group`."""
        return self.experts.n_rows_before_growth(
            np.repeat(weights[:, np.newaxis], self.experts.n_experts, axis=1)
        )

    def predict(self, batch: Batch) -> np.ndarray:
        """Return the class probabilities of samples, shape (n_rows, n_classes). Does not change the mixture."""
        return self.plan_prediction(batch, StepPlan())

    def plan_prediction(self, batch: Batch, plan: StepPlan) -> np.ndarray:
        """Compute what `predict` returns, by calls of a plan."""
        raise NotImplementedError

    def sizes(self) -> dict[str, int]:
        """Return how many features, inputs and classes experts, router and log know."""
        return largest(self.experts.sizes(), {"n_inputs": self.router.n_inputs}, names_of(self.log))

    def state(self) -> State:
        """Return the states of experts, router and log; see `driftmoe.state`."""
        return {name: getattr(self, name).state() for name in _PARTS}

    def restore(self, state: State) -> None:
        """Restore the state of a mixture that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, _PARTS, self)
        experts, router, log = (restored(getattr(self, name), state[name]) for name in _PARTS)
        self.check_widths(experts, router, log)
        self.experts, self.router, self.log = experts, router, log

    def check_widths(self, experts: Group, router: Router, log: RoutingLog) -> None:
        """Raise ValueError unless restored experts, router and log have as many experts as this mixture."""
        n_experts = self.experts.n_experts
        if (experts.n_experts, router.n_outputs) != (n_experts, self.router.n_outputs):
            raise ValueError(
                f"the state has {experts.n_experts} experts and {router.n_outputs} logits, and this mixture has "
                f"{n_experts} and {self.router.n_outputs}; build it with the arguments that it had"
            )
        check_log(log, n_experts)


def in_reports(groups: Sequence[Any]) -> list[str]:
    """Return the names of experts in reports: of the main ones, which come first, and of others."""
    names: list[str] = []
    for group in groups:
        kind = group.kind
        if kind in (*names, HEAD):  # a river classifier of a class that has this name or came before
            kind = f"{kind} {sum(name.startswith(kind) for name in names) + 1}"
        is_alone = group is not groups[0] and group.n_experts == 1
        names += [kind] if is_alone else [f"{kind} {name}" for name in group.names]
    return names


def side_by_side(groups: Sequence[Group], starts: Sequence[int], changes: Changes, n_threads: int) -> None:
    """Let threads share the changes of groups of experts, the last of a plan; `starts` says where those of each begin.

    Experts in Python come first, one after the other. Trees come last, because they are many and short.
    """
    if n_threads == 1:
        return
    of_groups = [changes[start:stop] for start, stop in pairwise([*starts, len(changes)])]
    del changes[starts[0] :]
    compiled: list[Changes] = []
    for group, own in zip(groups, of_groups, strict=True):
        if group.reads == "samples":
            changes += own
        elif group.pool is None:
            compiled.insert(0, own)
        else:
            compiled.append(own)
    changes += shared(compiled, n_threads)


def largest(*sizes: dict[str, int]) -> dict[str, int]:
    """Return the largest of each size."""
    names = {name for of_part in sizes for name in of_part}
    return {name: max(of_part.get(name, 0) for of_part in sizes) for name in sorted(names)}


def names_of(log: RoutingLog) -> dict[str, int]:
    """Return how many features and classes a log knows."""
    sizes = log.sizes()
    return {name: sizes[name] for name in ("n_features", "n_classes")}


def check_log(log: RoutingLog, n_experts: int) -> None:
    """Raise ValueError unless a restored log knows all experts, or none because it has seen no sample."""
    known = log.sizes()["n_experts"]
    if known not in (0, n_experts):
        raise ValueError(
            f"the state of the log has {known} experts and there are {n_experts}; they are not of one model"
        )


_PARTS = ("experts", "router", "log")
