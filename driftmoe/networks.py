"""A pool of small networks, which answer and learn as a pool of trees does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftmoe.experts import Unwatched
from driftmoe.router import Router, soften
from driftmoe.transaction import Changes, publication


class Networks(Unwatched):
    """Small networks, each of which tells all classes apart; answers as `driftmoe.experts.MulticlassTrees`.

    Each is a network like the router, with a logit for each class, and takes a step of Adam against the gradient of the
    cross-entropy once a mini-batch. So its weights are constant as long as the router's are, and a row is the same to
    the last bit alone and in a block. New inputs and classes widen it; what was learnt stays.

    Parameters
    ----------
    n_experts
        Number of networks.
    hidden
        Widths of the hidden layers of each.
    learning_rate
        Step size of Adam.
    batch_size
        Samples of a mini-batch, as many as the router's.
    rng
        Private source of the first weights.
    """

    reads = "inputs"
    kind = "network"

    def __init__(
        self,
        n_experts: int,
        *,
        hidden: Sequence[int],
        learning_rate: float,
        batch_size: int,
        rng: np.random.Generator,
    ) -> None:
        self._networks = [
            Router(
                0,
                hidden=tuple(hidden),
                learning_rate=learning_rate,
                batch_size=batch_size,
                dropout=0.0,
                rng=own,
            )
            for own in rng.spawn(n_experts)
        ]

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of networks."""
        return len(self._networks)

    def predict_proba(
        self, inputs: np.ndarray, n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the class probabilities of each network; changes nothing.

        Parameters
        ----------
        inputs
            What the router reads: float32, shape (n_rows, n_inputs).
        n_classes
            Classes known so far.
        asked
            All are asked.

        Returns
        -------
        expert_proba
            Shape (n_rows, n_experts, n_classes). A row sums to 1, or is 0 before the network has taken a step, which
            it does after a mini-batch of which it was taught something.
        """
        return _proba(self._networks, inputs, n_classes, is_learning=False) * self._have_learnt()

    def plan(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray | None,
        n_classes: int,
        *,
        nominal: Sequence[int] = (),
        changes: Changes,
    ) -> np.ndarray:
        """Plan to let those networks in `taught` learn each row; return what all predict before.

        Parameters
        ----------
        inputs
            As of `predict_proba`, at most as many rows as are left of the router's mini-batch.
        targets
            Class indices, shape (n_rows,).
        taught
            Weight of the sample for each network, 0 or more, or whether it learns the sample at all; shape
            (n_rows, n_experts), all once by default.
        n_classes
            Classes known so far.
        nominal
            Passed over: nominal values have inputs of their own.
        changes
            Gets what is left to do.

        Returns
        -------
        expert_proba
            As of `predict_proba`, before the rows were learnt.
        """
        grown = [network.grown(inputs.shape[1], n_classes) for network in self._networks]
        for network, draft in zip(self._networks, grown, strict=True):
            if draft is not network:
                changes.append(publication(network, draft))
        proba = _proba(grown, inputs, n_classes, is_learning=True)
        votes = proba * self._have_learnt()
        errors = proba - (targets[:, np.newaxis] == np.arange(n_classes))[:, np.newaxis]
        if taught is not None:
            errors *= taught[:, :, np.newaxis]
        for e, network in enumerate(grown):
            network.plan(errors[:, e].astype(np.float32), changes, takes_errors=True)
        return votes

    def _have_learnt(self) -> np.ndarray:
        """Whether each network has taken a step: before, what it says is as it was drawn; shape (n_experts, 1)."""
        return np.array([[network.n_steps > 0] for network in self._networks])


def _proba(
    networks: Sequence[Router], inputs: np.ndarray, n_classes: int, *, is_learning: bool
) -> np.ndarray:
    """Return the softmax of each network's logits, shape (n_rows, n_networks, n_classes)."""
    proba = np.zeros((len(inputs), len(networks), n_classes))
    for e, network in enumerate(networks):
        of_one = np.empty((len(inputs), 1, network.n_experts))
        soften(network.logits(_known(inputs, network.n_inputs), is_learning=is_learning), 0, of_one)
        proba[:, e, : network.n_experts] = of_one[:, 0]
    return proba


def _known(inputs: np.ndarray, n_inputs: int) -> np.ndarray:
    """Return the inputs that a network knows, which are the first ones."""
    return inputs if inputs.shape[1] == n_inputs else inputs[:, :n_inputs]
