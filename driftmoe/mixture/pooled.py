"""What the paper's variants share: one pool of experts and a router."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftmoe.mixture.router import Router
from driftmoe.mixture.telemetry import RoutingLog
from driftmoe.state import State, check_names, restored


class Pooled:
    """Base of mixtures whose experts are one pool. Every row is learnt with its own weight.

    Attributes
    ----------
    experts, router, log
        As of `Mixture`.
    """

    experts: Any
    router: Router
    log: RoutingLog

    @property
    def reads_samples(self) -> bool:
        """Whether the experts read samples as dictionaries."""
        return bool(self.experts.reads == "samples")

    def n_rows_with_room(self, n_rows: int, weights: np.ndarray) -> int:
        """Return how many of the next rows, with these weights, can be learnt in one step."""
        shape = n_rows, self.experts.n_experts
        n_learnt: int = self.experts.n_rows_with_room(
            n_rows, lambda n: np.broadcast_to(weights[:, np.newaxis], shape)[:n]
        )
        return n_learnt

    def state(self) -> State:
        """Return the states of experts, router and log; see `driftmoe.state`."""
        return {name: getattr(self, name).state() for name in _PARTS}

    def restore(self, state: State) -> None:
        """Restore the state of a mixture that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, _PARTS, self)
        self.experts, self.router, self.log = [restored(getattr(self, name), state[name]) for name in _PARTS]


_PARTS = ("experts", "router", "log")
