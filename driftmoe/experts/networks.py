"""Experts that are small networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from driftmoe.arithmetic import softmax
from driftmoe.experts.batch import outputs_of
from driftmoe.experts.protocol import OneVsRest, Unmonitored
from driftmoe.network import Network
from driftmoe.state import State, check_names, restored, value_of
from driftmoe.transaction import Changes, StepPlan, publication

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Index, Rows


class NetworkPrototype:
    """Networks of one size; see `Prototype`. The parameters are those of `Networks`."""

    kind = "networks"
    nominal = ()
    arguments = frozenset({"batch_size", "class_weight", "max_bytes"})

    def __init__(self, *, hidden: Sequence[int], learning_rate: float, batch_size: int) -> None:
        self._hidden, self._learning_rate, self._batch_size = hidden, learning_rate, batch_size

    def multiclass(
        self, n_experts: int, rng: np.random.Generator, *, n_threads: int, detectors: Mapping[str, float]
    ) -> Networks:
        """Return untrained networks; see `Prototype.multiclass`."""
        return Networks(
            n_experts,
            hidden=self._hidden,
            learning_rate=self._learning_rate,
            batch_size=self._batch_size,
            rng=rng,
        )

    def one_vs_rest(self, rng: np.random.Generator, *, n_threads: int) -> OneVsRest:
        """Raise ValueError: a network tells all classes apart."""
        raise ValueError(
            "a network distinguishes all classes and cannot be the expert of one class; choose trees or "
            "river classifiers for it"
        )


class Networks(Unmonitored):
    """Small multiclass networks.

    Each is a network like the router, with a logit for each class, and takes a step of Adam on the cross-entropy once
    per mini-batch. So its weights change only when the router's do, and the outputs of a row do not depend on the other
    rows, to the last bit. New inputs and classes widen the network without changing what was learnt.

    Parameters
    ----------
    n_experts
        Number of networks.
    hidden
        Widths of the hidden layers of each network.
    learning_rate
        Step size of Adam.
    batch_size
        Number of samples in a mini-batch, the same as the router's.
    rng
        Private generator of the initial weights.
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
            Network(0, hidden=tuple(hidden), learning_rate=learning_rate, batch_size=batch_size, rng=own)
            for own in rng.spawn(n_experts)
        ]

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of networks."""
        return len(self._networks)

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the class probabilities of each network; see `Experts.predict_proba`.

        They are 0 before the first step of the network, at the end of a mini-batch in which it learnt at least one row.
        """
        proba = _proba(self._networks, batch.inputs, batch.n_classes)
        return proba * self._have_learnt()

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan to predict, then learn; see `Experts.plan`. What is learnt must fit in the rest of the mini-batch."""
        inputs, n_classes, learnt = batch.inputs, batch.n_classes, batch.learnt
        grown = [network.grown(inputs.shape[1], n_classes) for network in self._networks]
        for network, draft in zip(self._networks, grown, strict=True):
            if draft is not network:
                changes.append(publication(network, draft))
        proba = _proba(grown, inputs, n_classes, learnt)
        votes = proba * self._have_learnt()
        targets, weights = batch.targets[learnt], batch.weights[:, np.newaxis] if taught is None else taught
        errors = proba[learnt] - (targets[:, np.newaxis] == np.arange(n_classes))[:, np.newaxis]
        errors *= weights[learnt][:, :, np.newaxis]
        for e, network in enumerate(grown):
            network.plan(errors[:, e].astype(np.float32), changes, takes_errors=True)
        return votes

    def sizes(self) -> dict[str, int]:
        """Return how many inputs and classes are known; see `Group.sizes`."""
        return {
            "n_inputs": max(network.n_inputs for network in self._networks),
            "n_classes": max(network.n_outputs for network in self._networks),
        }

    def state(self) -> State:
        """Return the state of each network; see `driftmoe.state`."""
        return {"networks": [network.state() for network in self._networks]}

    def restore(self, state: State) -> None:
        """Restore the state of networks that were built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("networks",), self)
        states = value_of(state, "networks", list, self)
        if len(states) != len(self._networks):
            raise ValueError(
                f"the state of {type(self).__name__} has {len(states)} networks and there are {len(self._networks)}; "
                "build them with the arguments that they had"
            )
        self._networks = [restored(part, one) for part, one in zip(self._networks, states, strict=True)]

    def _have_learnt(self) -> np.ndarray:
        """Return whether each network has taken a step, shape (n_experts, 1). Before, its votes are random."""
        return np.array([[network.n_steps > 0] for network in self._networks])


def _proba(
    networks: Sequence[Network], inputs: np.ndarray, n_classes: int, learnt: Index | None = None
) -> np.ndarray:
    """Return the softmax of each network's logits, shape (n_rows, n_networks, n_classes).

    `learnt` says which of the rows will be learnt; `None` if the networks only predict.
    """
    proba = np.zeros((len(inputs), len(networks), n_classes))
    for e, network in enumerate(networks):
        known, of_one = _known(inputs, network.n_inputs), np.empty((len(inputs), 1, network.n_outputs))
        softmax(
            network.outputs(known) if learnt is None else outputs_of(network, known, learnt, StepPlan()),
            0,
            of_one,
        )
        proba[:, e, : network.n_outputs] = of_one[:, 0]
    return proba


def _known(inputs: np.ndarray, n_inputs: int) -> np.ndarray:
    """Return the inputs that a network knows, which are the first ones."""
    return inputs if inputs.shape[1] == n_inputs else inputs[:, :n_inputs]
