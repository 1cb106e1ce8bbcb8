"""The router: a small network that estimates, for each sample, how likely each expert is to be right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.network import Network
from driftmoe.transaction import Changes, carry_out

if TYPE_CHECKING:
    from torch import nn


class Router(Network):
    """A network whose outputs are the logits from which a policy chooses experts.

    It learns either from which experts were right, or from the gradient of the mixture's loss with respect to its
    logits. `module` gives the same weights as a `torch.nn.Module`, which the tests use as the reference. The parameters
    are those of `Network`.
    """

    @classmethod
    def of(cls, settings: Mapping[str, Any], n_logits: int, rng: np.random.Generator) -> Router:
        """Return a router with the settings of `DriftMoEClassifier`."""
        names = ("learning_rate", "batch_size", "dropout", "n_threads")
        of_router = {name: settings[name] for name in names}
        return cls(n_logits, hidden=tuple(settings["hidden"]), rng=rng, **of_router)

    def logits(self, inputs: np.ndarray, *, is_learning: bool = False) -> np.ndarray:
        """Return one logit for each output, float32, shape (n_rows, n_outputs); see `Network.outputs`."""
        return self.outputs(inputs, is_learning=is_learning)

    def learn(self, correct: np.ndarray) -> None:
        """Learn which experts were right on the rows last passed to `logits`. A full mini-batch triggers a step.

        Parameters
        ----------
        correct
            Which experts were right, bool, shape (n_rows, n_outputs).
        """
        changes: Changes = []
        self.plan(correct, changes)
        carry_out(changes)

    def learn_errors(self, errors: np.ndarray) -> None:
        """Learn as in `learn`, but from the gradient of another loss by the logits, float32, of the logits' shape."""
        changes: Changes = []
        self.plan(errors, changes, takes_errors=True)
        carry_out(changes)

    def module(self) -> nn.Module:
        """Return the network as a torch module that shares its weights until it grows; see `RouterModule`."""
        from driftmoe.mixture.router_module import RouterModule

        return RouterModule(self._layers(self._weights))
