"""The expert of curved borders: a network with one hidden layer, which takes a step on every sample."""

from __future__ import annotations

import math

import numpy as np

from driftmoe.compilation import compiled, reordering_kernel

WIDTH = 128
"""Hidden units."""

RATE = 0.003
"""Step size of Adam."""

NEGLIGIBLE = np.float32(1e-30)
"""Moments of silent weights would fade into denormal numbers, which are slow; below this they are zero."""


class Perceptron:
    """A network with one layer of rectified units, which tells all classes apart and takes a step on every sample.

    The step is Adam's, against the gradient of -ln P(y|x). Networks that wait for a mini-batch, as the router does,
    take 32 times fewer steps. It serves where a border is curved or slanting but not the same everywhere, and where
    a change leaves much of what was learnt as it was, which a tree that is replaced forgets.

    Parameters
    ----------
    rng
        Private source of the first weights of the hidden units (Xavier uniform, Glorot & Bengio 2010). Those of the
        classes begin with 0: it knows nothing.
    width
        Hidden units.
    rate
        Step size.

    Notes
    -----
    Answers like a pool of experts, as `driftmoe.linear.LinearModels` does; it is cheap enough to be always asked. The
    weights of an input that is 0 stay where they are, and so do their moments: of a nominal feature only the value at
    hand learns. Memory: 12 bytes for each hidden unit and input or class.

    References
    ----------
    Kingma & Ba 2015, Adam: a method for stochastic optimization, algorithm 1.
    """

    reads = "inputs"
    is_costly = False
    n_experts = 1

    def __init__(self, rng: np.random.Generator, *, width: int = WIDTH, rate: float = RATE) -> None:
        self._rng, self._rate = rng, rate
        # Weights and their two moments: of the hidden units, for the constant, then for each input; and of each class,
        # for the constant, then for each hidden unit.
        self._hidden = np.zeros((3, 1, width), np.float32)
        self._outputs = np.zeros((3, 0, 1 + width), np.float32)
        self._n_seen = 0

    def predict_proba(self, inputs: np.ndarray, n_classes: int) -> np.ndarray:
        """Return the vote on some samples; changes nothing.

        Returns
        -------
        expert_proba
            Shape (n_rows, 1, n_classes); zeros before anything is learnt.
        """
        hidden, outputs = _widened(self._hidden, 1 + inputs.shape[1]), _widened(self._outputs, n_classes)
        return self._run(hidden, outputs, inputs, np.empty(0, np.int64), n_classes)

    def step(
        self, inputs: np.ndarray, targets: np.ndarray, taught: None, n_classes: int, asked: np.ndarray
    ) -> np.ndarray:
        """For each row in order, predict, then learn it; as `Neighbours.step`, but it is always asked."""
        n_known = self._hidden.shape[1] - 1
        self._outputs = _widened(self._outputs, n_classes)
        self._hidden = _widened(self._hidden, 1 + inputs.shape[1])
        new = self._hidden[0, 1 + n_known :]
        if len(new):
            bound = math.sqrt(6.0 / (inputs.shape[1] + new.shape[1]))
            new[:] = self._rng.uniform(-bound, bound, new.shape)
        proba = self._run(self._hidden, self._outputs, inputs, targets, n_classes)
        self._n_seen += len(targets)
        return proba

    def _run(
        self, hidden: np.ndarray, outputs: np.ndarray, inputs: np.ndarray, targets: np.ndarray, n_classes: int
    ) -> np.ndarray:
        proba = np.zeros((len(inputs), 1, n_classes))
        perceive(hidden, outputs, self._rate, self._n_seen, inputs, targets, proba)
        if self._n_seen == 0:
            proba[: 1 if len(targets) else None] = 0.0
        return proba


def _widened(weights: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the weights with so many rows, of which the new ones are 0."""
    n_new = n_rows - weights.shape[1]
    return np.pad(weights, ((0, 0), (0, n_new), (0, 0))) if n_new else weights


@compiled(fastmath={"contract", "reassoc"})
def perceive(hidden, outputs, rate, n_seen, inputs, targets, proba):  # type: ignore[no-untyped-def]
    """Write what the network says of each row, then let it learn the row.

    Parameters
    ----------
    hidden
        Weights of the hidden units and their two moments, float32, shape (3, 1 + n_inputs, width), those of the
        constant first; changed where there are targets.
    outputs
        The same of the classes, shape (3, n_classes, 1 + width).
    rate
        Step size.
    n_seen
        Samples learnt before.
    inputs
        float32, shape (n_rows, n_inputs).
    targets
        Class indices, shape (n_rows,), or empty to learn nothing.
    proba
        Result, shape (n_rows, 1, n_classes).
    """
    width, n_classes = hidden.shape[2], proba.shape[2]
    units, errors = np.ones(1 + width, np.float32), np.zeros(1 + width, np.float32)  # first the constant
    active, active_errors = units[1:], errors[1:]
    for row in range(inputs.shape[0]):
        x, p = inputs[row], proba[row, 0]
        active[:] = hidden[0, 0]
        for f in range(x.shape[0]):
            if x[f] != 0.0:
                _add(x[f], hidden[0, 1 + f], active)
        for j in range(width):
            active[j] = max(active[j], np.float32(0.0))
        for c in range(n_classes):
            p[c] = _dot(units, outputs[0, c])
        largest, total = p.max(), 0.0
        for c in range(n_classes):
            p[c] = math.exp(p[c] - largest)
            total += p[c]
        for c in range(n_classes):
            p[c] /= total
        if targets.shape[0] == 0:
            continue
        n_steps = n_seen + row + 1
        step = np.float32(rate / (1.0 - 0.9**n_steps))
        correction = np.float32(1.0 / math.sqrt(1.0 - 0.999**n_steps))
        errors[:] = 0.0
        for c in range(n_classes):
            error = np.float32(p[c] - np.float64(c == targets[row]))
            _add(error, outputs[0, c], errors)
            _descend(outputs[0, c], outputs[1, c], outputs[2, c], error, units, step, correction)
        for j in range(width):
            active_errors[j] = active_errors[j] if active[j] > 0.0 else np.float32(0.0)
        _descend(hidden[0, 0], hidden[1, 0], hidden[2, 0], np.float32(1.0), active_errors, step, correction)
        for f in range(x.shape[0]):
            if x[f] != 0.0:
                w, first, second = hidden[0, 1 + f], hidden[1, 1 + f], hidden[2, 1 + f]
                _descend(w, first, second, x[f], active_errors, step, correction)


@reordering_kernel
def _add(amount, values, out):  # type: ignore[no-untyped-def]
    for j in range(out.shape[0]):
        out[j] += amount * values[j]


@reordering_kernel
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@reordering_kernel
def _descend(weights, first, second, amount, values, step, correction):  # type: ignore[no-untyped-def]
    """Take a step of Adam with the usual constants against the gradient `amount * values`."""
    one_less_beta1, beta2, one_less_beta2 = np.float32(0.1), np.float32(0.999), np.float32(0.001)
    epsilon = np.float32(1e-8)
    for j in range(weights.shape[0]):
        gradient = amount * values[j]
        mean = first[j] + one_less_beta1 * (gradient - first[j])
        square = beta2 * second[j] + one_less_beta2 * gradient * gradient
        mean = mean if abs(mean) > NEGLIGIBLE else np.float32(0.0)
        square = square if square > NEGLIGIBLE else np.float32(0.0)
        first[j], second[j] = mean, square
        weights[j] -= step * mean / (correction * math.sqrt(square) + epsilon)
