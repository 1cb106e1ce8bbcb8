"""Experts with linear class boundaries: multinomial logistic regression with several step sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from driftmoe.arithmetic import to_proba
from driftmoe.compilation import compiled
from driftmoe.experts.protocol import Unmonitored
from driftmoe.state import State, array_of, check_names, count_of, misfit
from driftmoe.transaction import NO_TARGETS, NO_WEIGHTS, Changes, StepPlan, assignment, planned

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows

RATES = (1.0, 0.2, 0.04)
"""Step size of each vote; see `LinearModels`."""


class LinearModels(Unmonitored):
    """Logistic regressions on the same inputs, one for each rate: the fast one follows drift, the slow one averages.

    P(y = c | x) = softmax_c (w_c · x), with a constant 1 at the end of x. Each sample takes a step down the gradient of
    -ln P(y|x) with step size ``rate / |x|²``, so that the logit of a class moves by at most the rate, however large the
    inputs are. If classes lie on two sides of a plane, this needs far fewer samples than a network, or than trees,
    which split along the axes.

    Parameters
    ----------
    rates
        Step sizes above 0, one for each vote.

    Raises
    ------
    ValueError
        If there are no rates, or one is not above 0.

    Notes
    -----
    It is cheap enough to be asked for every sample. Memory: 8 bytes for each rate, class and input.

    References
    ----------
    Nagumo & Noda 1967, A learning method for system identification: the step divided by |x|² (normalised least mean
    squares). Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.109: the gradient.
    """

    reads = "inputs"
    kind = "linear"
    is_repeatable = True

    def __init__(self, rates: Sequence[float] = RATES) -> None:
        self._rates = np.array(rates, np.float64)
        if not len(self._rates) or not (self._rates > 0.0).all():
            raise ValueError(f"rates={rates!r}; give numbers above 0, such as {RATES}")
        self._weights = np.zeros((len(rates), 1, 0))  # (rate, constant and inputs, class)
        self._n_seen = np.zeros(1, np.int64)

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of votes."""
        return len(self._rates)

    @property
    def names(self) -> list[str]:
        """Names of the votes: their rates."""
        return [f"({rate:g})" for rate in self._rates]

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the votes, zeros before anything is learnt; see `Experts.predict_proba`."""
        return self.plan_votes(batch, StepPlan())

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the votes; see `Experts.plan_votes`. Ignores `asked`."""
        inputs, proba = batch.inputs, np.empty((len(batch.inputs), self.n_experts, batch.n_classes))
        weights = self._with_room(inputs.shape[1], batch.n_classes)
        if weights is not self._weights:
            plan.is_repeatable = False
        plan.compute(regress, weights, self._rates, self._n_seen, inputs, NO_TARGETS, NO_WEIGHTS, proba)
        return proba

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, to predict and then learn it; see `Experts.plan`. Ignores `asked`."""
        inputs, proba = batch.inputs, np.empty((len(batch.inputs), self.n_experts, batch.n_classes))
        weights = self._with_room(inputs.shape[1], batch.n_classes)
        if weights is not self._weights:
            changes.append(assignment(self, _weights=weights))
        changes.append(
            planned(regress, weights, self._rates, self._n_seen, inputs, batch.targets, batch.weights, proba)
        )
        return proba

    def sizes(self) -> dict[str, int]:
        """Return how many inputs and classes are known; see `Group.sizes`."""
        _, n_rows, n_classes = self._weights.shape
        return {"n_inputs": n_rows - 1, "n_classes": n_classes}

    def state(self) -> State:
        """Return the weights of each model; see `driftmoe.state`."""
        return {"weights": self._weights.copy(), "n_seen": int(self._n_seen[0])}

    def restore(self, state: State) -> None:
        """Restore the state of an expert that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("weights", "n_seen"), self)
        weights = array_of(state, "weights", np.float64, (self.n_experts, None, None), self)
        n_seen = count_of(state, "n_seen", self)
        if weights.shape[1] < 1:
            raise misfit(
                self,
                "weights",
                "has no row for the constant",
                "it must have a row more than inputs",
            )
        self._weights, self._n_seen = weights, np.array([n_seen])

    def _with_room(self, n_inputs: int, n_classes: int) -> np.ndarray:
        """Return the weights, widened with zeros for new inputs and classes."""
        _, n_old, n_known = self._weights.shape
        if (n_old, n_known) == (1 + n_inputs, n_classes):
            return self._weights
        weights = np.zeros((self.n_experts, 1 + n_inputs, n_classes))
        weights[:, :n_old, :n_known] = self._weights
        return weights


@compiled(nogil=True)
def regress(weights, rates, n_seen, inputs, targets, taught, proba):  # type: ignore[no-untyped-def]
    """Write each model's class probabilities for each row, then let the model learn the row.

    Parameters
    ----------
    weights
        Shape (n_rates, 1 + n_inputs, n_classes), constant first; updated if there are targets.
    rates
        Shape (n_rates,).
    n_seen
        Number of samples learnt before, shape (1,); updated.
    inputs
        float32, shape (n_rows, n_inputs).
    targets
        Class indices, shape (n_rows,), or empty to learn nothing.
    taught
        Factor of the step of each row, shape (n_rows,). A row of factor 0 is not learnt.
    proba
        Result, shape (n_rows, n_rates, n_classes); zeros until the first sample is learnt.
    """
    p = np.empty(proba.shape[2])
    for row in range(inputs.shape[0]):
        square = 1.0
        for f in range(inputs.shape[1]):
            square += np.float64(inputs[row, f]) * np.float64(inputs[row, f])
        for r in range(rates.shape[0]):
            for c in range(p.shape[0]):
                p[c] = weights[r, 0, c]
            for f in range(inputs.shape[1]):
                value = np.float64(inputs[row, f])
                if value != 0.0:
                    for c in range(p.shape[0]):
                        p[c] += weights[r, 1 + f, c] * value
            to_proba(p)
            for c in range(p.shape[0]):
                proba[row, r, c] = p[c] if n_seen[0] > 0 else 0.0
            if targets.shape[0] == 0 or taught[row] == 0.0:
                continue
            step = taught[row] * rates[r] / square
            for f in range(-1, inputs.shape[1]):
                value = step * np.float64(inputs[row, f]) if f >= 0 else step
                if value != 0.0:
                    for c in range(p.shape[0]):
                        weights[r, 1 + f, c] -= value * p[c]
                    weights[r, 1 + f, targets[row]] += value
        n_seen[0] += targets.shape[0] > 0 and taught[row] > 0.0
