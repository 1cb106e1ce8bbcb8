"""An expert with curved class boundaries: a network with one hidden layer, trained on each sample in turn."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from driftmoe.arithmetic import N_LANES, dot, to_proba, whole_power
from driftmoe.compilation import compiled, kernel
from driftmoe.draws import between
from driftmoe.experts.protocol import Unmonitored
from driftmoe.state import State, array_of, check_array, check_names, count_of, generator_of, misfit
from driftmoe.transaction import NO_TARGETS, NO_WEIGHTS, Changes, StepPlan, planned, publication

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows

WIDTH = 128
"""Number of hidden units."""

RATE = 0.003
"""Step size of Adam."""

NEGLIGIBLE = np.float32(1e-30)
"""Adam's moments below this are set to zero. Those of unused weights would decay to slow denormal numbers."""


_PLANES = (
    "hidden_weights", "hidden_first_moments", "hidden_second_moments",
    "output_weights", "output_first_moments", "output_second_moments",
)  # fmt: skip


class Perceptron(Unmonitored):
    """A multiclass network with one hidden layer of ReLUs, which takes a gradient step on every sample.

    The step is Adam's, on the loss -ln P(y|x). Networks that wait for a mini-batch, such as the router, take 32 times
    fewer steps. It helps if a class boundary is curved or oblique but not a single plane, and if a drift changes only
    part of the concept: a replaced tree forgets the rest, too.

    Parameters
    ----------
    rng
        Private generator of the initial weights of the hidden units (Xavier uniform, Glorot & Bengio 2010). The weights
        of the classes start at 0, which gives uniform probabilities.
    width
        Number of hidden units.
    rate
        Step size of Adam.

    Notes
    -----
    It is cheap enough to be asked for every sample. If an input is 0, its weights and their moments do not change: for
    a nominal feature only the column of the present value learns. Memory: 12 bytes for each hidden unit and input or
    class.

    References
    ----------
    Kingma & Ba 2015, Adam: a method for stochastic optimization, algorithm 1.
    """

    reads = "inputs"
    kind = "network"
    n_experts = 1
    may_rest = True
    is_repeatable = True

    def __init__(self, rng: np.random.Generator, *, width: int = WIDTH, rate: float = RATE) -> None:
        self._rng, self._rate = rng, rate
        # Weights and their two moments: for hidden units (3, constant and inputs, unit), for classes (3, class,
        # constant and units).
        self._hidden = np.zeros((3, 1, width), np.float32)
        self._outputs = np.zeros((3, 0, 1 + width), np.float32)
        self._n_seen = np.zeros(1, np.int64)

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the vote, zeros before anything is learnt; see `Experts.predict_proba`."""
        return self.plan_votes(batch, StepPlan(), asked)

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the vote, zeros on rows that are not asked; see `Experts.plan_votes`."""
        inputs, proba = batch.inputs, np.empty((len(batch.inputs), 1, batch.n_classes))
        hidden = _widened(self._hidden, 1 + inputs.shape[1])
        outputs = _widened(self._outputs, batch.n_classes)
        if hidden is not self._hidden or outputs is not self._outputs:
            plan.is_repeatable = False
        asked = np.ones(len(inputs), np.bool_) if asked is None else asked
        plan.compute(
            perceive, hidden, outputs, self._rate, self._n_seen, inputs, NO_TARGETS, NO_WEIGHTS, asked, proba
        )
        return proba

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, to predict and then learn it; see `Experts.plan`.

        It neither votes on rows that are not asked nor learns them.
        """
        inputs, proba = batch.inputs, np.empty((len(batch.inputs), 1, batch.n_classes))
        part = self._grown(inputs.shape[1], batch.n_classes)
        if part is not self:
            changes.append(publication(self, part))
        asked = np.ones(len(inputs), np.bool_) if asked is None else asked
        changes.append(
            planned(
                perceive, part._hidden, part._outputs, self._rate, self._n_seen, inputs, batch.targets, batch.weights,
                asked, proba,
            )
        )  # fmt: skip
        return proba

    def sizes(self) -> dict[str, int]:
        """Return how many inputs and classes are known; see `Group.sizes`."""
        return {"n_inputs": self._hidden.shape[1] - 1, "n_classes": self._outputs.shape[1]}

    def state(self) -> State:
        """Return weights, moments and the generator's state; see `driftmoe.state`."""
        planes = [*self._hidden.copy(), *self._outputs.copy()]
        return {
            **dict(zip(_PLANES, planes, strict=True)),
            "n_seen": int(self._n_seen[0]),
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: State) -> None:
        """Restore the state of an expert that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, (*_PLANES, "n_seen", "rng"), self)
        hidden = self._planes_of(state, _PLANES[:3], self._hidden.shape[2])
        outputs = self._planes_of(state, _PLANES[3:], self._outputs.shape[2])
        n_seen, rng = count_of(state, "n_seen", self), generator_of(state, "rng", self)
        if hidden.shape[1] < 1:
            raise misfit(
                self,
                "hidden_weights",
                "has no row for the constant",
                "it must have a row more than inputs",
            )
        self._hidden, self._outputs, self._rng = hidden, outputs, rng
        self._n_seen = np.array([n_seen])

    def _planes_of(self, state: State, names: Sequence[str], width: int) -> np.ndarray:
        """Return the weights of a layer and their two moments, from their entries in a state."""
        check_array(state, names[0], np.float32, (None, width), self)
        planes = [array_of(state, name, np.float32, state[names[0]].shape, self) for name in names]
        if (planes[2] < 0.0).any():
            raise misfit(self, names[2], f"has {planes[2].min()}", "it must be 0 or more everywhere")
        return np.array(planes)

    def _grown(self, n_inputs: int, n_classes: int) -> Perceptron:
        """Return a copy with this many inputs and classes, or this object if it has them. This one does not change."""
        n_known = self._hidden.shape[1] - 1
        if n_inputs == n_known and n_classes == self._outputs.shape[1]:
            return self
        grown = copy.copy(self)
        grown._rng = copy.deepcopy(self._rng)
        grown._outputs = _widened(self._outputs, n_classes)
        grown._hidden = _widened(self._hidden, 1 + n_inputs)
        if n_inputs > n_known:
            new = grown._hidden[0, 1 + n_known :]
            bound = math.sqrt(6.0 / (n_inputs + new.shape[1]))
            new[:] = between(grown._rng, -bound, bound, new.shape)
        return grown


def _widened(weights: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the weights, widened with zeros to this many rows."""
    n_new = n_rows - weights.shape[1]
    return np.pad(weights, ((0, 0), (0, n_new), (0, 0))) if n_new else weights


@compiled(nogil=True)
def perceive(hidden, outputs, rate, n_seen, inputs, targets, taught, asked, proba):  # type: ignore[no-untyped-def]
    """Write the network's class probabilities for each row, then let it learn the row.

    Parameters
    ----------
    hidden
        Weights of the hidden units and their two moments, float32, shape (3, 1 + n_inputs, width), constant first;
        updated if there are targets.
    outputs
        The same for the classes, shape (3, n_classes, 1 + width).
    rate
        Step size.
    n_seen
        Number of samples learnt before, shape (1,); updated.
    inputs
        float32, shape (n_rows, n_inputs).
    targets
        Class indices, shape (n_rows,), or empty to learn nothing.
    taught
        Factor of the errors of each row, shape (n_rows,). A row of factor 0 is not learnt.
    asked
        Rows on which to vote and from which to learn, bool, shape (n_rows,).
    proba
        Result, shape (n_rows, 1, n_classes); zeros until the first sample is learnt, and on rows that are not asked.
    """
    width, n_classes = hidden.shape[2], proba.shape[2]
    units, errors = np.ones(1 + width, np.float32), np.zeros(1 + width, np.float32)  # constant first
    active, active_errors = units[1:], errors[1:]
    lanes = np.empty(N_LANES, np.float32)
    scores = np.empty(n_classes)
    for row in range(inputs.shape[0]):
        if not asked[row]:
            proba[row] = 0.0
            continue
        x = inputs[row]
        for j in range(width):
            active[j] = hidden[0, 0, j]
        for f in range(x.shape[0]):
            if x[f] != 0.0:
                _add(x[f], hidden[0, 1 + f], active)
        for j in range(width):
            active[j] = max(active[j], np.float32(0.0))
        for c in range(n_classes):
            scores[c] = outputs[0, c, 0] + dot(active, outputs[0, c, 1:], lanes)
        to_proba(scores)
        for c in range(n_classes):
            proba[row, 0, c] = scores[c] if n_seen[0] > 0 else 0.0
        if targets.shape[0] == 0 or taught[row] == 0.0:
            continue
        n_seen[0] += 1
        step = np.float32(rate / (1.0 - whole_power(0.9, n_seen[0])))
        correction = np.float32(1.0 / math.sqrt(1.0 - whole_power(0.999, n_seen[0])))
        errors[:] = 0.0
        for c in range(n_classes):
            error = np.float32(taught[row] * (scores[c] - np.float64(c == targets[row])))
            _add(error, outputs[0, c], errors)
            _descend(outputs[0, c], outputs[1, c], outputs[2, c], error, units, step, correction)
        for j in range(width):
            active_errors[j] = active_errors[j] if active[j] > 0.0 else np.float32(0.0)
        _descend(hidden[0, 0], hidden[1, 0], hidden[2, 0], np.float32(1.0), active_errors, step, correction)
        for f in range(x.shape[0]):
            if x[f] != 0.0:
                w, first, second = hidden[0, 1 + f], hidden[1, 1 + f], hidden[2, 1 + f]
                _descend(w, first, second, x[f], active_errors, step, correction)


@kernel
def _add(amount, values, out):  # type: ignore[no-untyped-def]
    for j in range(out.shape[0]):
        out[j] += amount * values[j]


@kernel
def _descend(weights, first, second, amount, values, step, correction):  # type: ignore[no-untyped-def]
    """Take a step of Adam with its default constants for the gradient `amount * values`."""
    one_less_beta1, beta2, one_less_beta2 = np.float32(0.1), np.float32(0.999), np.float32(0.001)
    epsilon = np.float32(1e-8)
    for j in range(weights.shape[0]):
        gradient = amount * values[j]
        mean = first[j] + one_less_beta1 * (gradient - first[j])
        square = beta2 * second[j] + one_less_beta2 * gradient * gradient
        mean = mean if abs(mean) > NEGLIGIBLE else np.float32(0.0)
        square = square if square > NEGLIGIBLE else np.float32(0.0)
        first[j], second[j] = mean, square
        weights[j] -= step * mean / (correction * np.float32(math.sqrt(square)) + epsilon)
