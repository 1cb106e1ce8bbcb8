"""A small multi-layer perceptron that Adam trains on mini-batches of a stream.

Between two gradient steps its weights are constant. It grows with its inputs and outputs without forgetting: old
weights and Adam's moments are kept, and new input columns get zero weights, so that growth changes no output.

Forward pass, gradient and step are compiled, with an order of summation that depends only on the sizes of the layers.
So a row's outputs do not depend on the other rows, and training gives the same weights to the last bit on every
processor and for any number of threads. Torch's matrix products guarantee neither. The activations of a row that will
be learnt are kept for the gradient step, which reuses them, since the weights have not changed in between.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from itertools import pairwise
from typing import Self

import numpy as np

from driftmoe.arithmetic import exp, largest_of, whole_power
from driftmoe.compilation import compiled, kernel
from driftmoe.draws import between, keyed, uniform
from driftmoe.growth import enlarged
from driftmoe.lanes import active, add_rows
from driftmoe.state import State, array_of, check_names, count_of, generator_of, misfit, value_of
from driftmoe.threads import do_parts
from driftmoe.transaction import Changes, is_ready, planned, publication

NEGLIGIBLE = np.float32(1e-30)
"""Adam's moments below this are set to zero. Those of unused weights would decay to slow denormal numbers."""

MIN_SHARED, PART = 128, 32
"""Least number of rows for which threads pay off, and number of rows that a thread takes at once."""

TILE = 32
"""Number of rows of a mini-batch that go through all layers together."""

N_KEPT, N_BEFORE_GROWTH, N_BATCHES, N_STEPS = range(4)
"""Indices into a network's counts: rows in the current mini-batch, rows in it from before the last growth of the
outputs, complete mini-batches, and mini-batches that were learnt."""

_NO_KEY = np.uint64(0)

_STATE = (
    "layer_widths", "weights", "first_moments", "second_moments", "n_rows_before_growth", "n_batches", "n_steps",
    "batch_activations", "batch_targets", "batch_weights", "dropout_key", "rng",
)  # fmt: skip


class Network:
    """A multi-layer perceptron with its optimiser and its mini-batch buffer.

    Parameters
    ----------
    n_outputs
        Initial number of outputs.
    hidden
        Widths of the hidden layers.
    learning_rate
        Step size of Adam; 0 for a network that never learns.
    batch_size
        Number of samples between two gradient steps.
    dropout
        Share of hidden units that a gradient step sets to zero; never applied in `outputs`.
    n_threads
        Number of threads that share a large block. Results do not depend on it.
    rng
        Private generator for the initial weights (Xavier uniform, Glorot & Bengio 2010) and for dropout.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        hidden: tuple[int, ...],
        learning_rate: float,
        batch_size: int,
        dropout: float = 0.0,
        rng: np.random.Generator,
        n_threads: int = 1,
    ) -> None:
        self.n_threads = n_threads
        self.batch_size = batch_size
        self.learning_rate = float(learning_rate)
        self._dropout = float(dropout)
        self._rng = rng
        self._widths = [0, *hidden, n_outputs]
        self._counts = np.zeros(4, np.int64)
        layers = [(self._xavier(n_in, n_out), np.zeros(n_out)) for n_in, n_out in pairwise(self._widths)]
        self._key = rng.integers(2**64, dtype=np.uint64)  # of dropout
        self._weights, self._shape = _flat(layers), np.array(self._widths)
        self._moments = [np.zeros_like(self._weights), np.zeros_like(self._weights)]
        self._batch = np.zeros((batch_size, sum(self._widths)), np.float32)  # inputs, hidden units, outputs
        self._targets = np.zeros((batch_size, n_outputs), np.float32)  # 0, 1 or errors; NaN before growth
        self._row_weights = np.ones(batch_size, np.float32)

    @property
    def n_inputs(self) -> int:
        """Number of inputs of the first layer."""
        return self._widths[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the last layer."""
        return self._widths[-1]

    @property
    def n_batches(self) -> int:
        """Number of complete mini-batches."""
        return int(self._counts[N_BATCHES])

    @property
    def n_steps(self) -> int:
        """Number of mini-batches that were learnt."""
        return int(self._counts[N_STEPS])

    @property
    def room(self) -> int:
        """Number of samples until the next gradient step. Until then the weights are constant."""
        return self.batch_size - int(self._counts[N_KEPT])

    def outputs(self, inputs: np.ndarray, *, is_learning: bool = False) -> np.ndarray:
        """Return the outputs for each row.

        Parameters
        ----------
        inputs
            float32, shape (n_rows, n_inputs).
        is_learning
            Whether `plan` will learn these rows next; then at most `room` rows. The call does not change the outputs of
            the network: it only keeps the activations of rows that may be learnt.

        Returns
        -------
        outputs
            float32, shape (n_rows, n_outputs). The outputs of a row do not depend on the other rows, to the last bit.
        """
        if is_learning:
            n_kept = int(self._counts[N_KEPT])
            activations = self._batch[n_kept : n_kept + len(inputs)]
        else:
            activations = np.empty((len(inputs), self._batch.shape[1]), np.float32)
        if inputs.shape != (len(activations), self.n_inputs):
            raise ValueError(
                f"inputs of shape {inputs.shape}; give ({len(activations)}, {self.n_inputs}), at most as many rows as "
                "are left of the mini-batch"
            )
        activations[:, : self.n_inputs] = inputs
        if self.n_threads == 1 or len(inputs) < MIN_SHARED:
            forward(self._weights, self._shape, activations, 0.0, _NO_KEY)
        else:
            parts = [activations[start : start + PART] for start in range(0, len(inputs), PART)]
            do_parts(
                lambda i: forward(self._weights, self._shape, parts[i], 0.0, _NO_KEY),
                len(parts),
                self.n_threads,
            )
        return np.ascontiguousarray(activations[:, activations.shape[1] - self.n_outputs :])

    def plan(
        self,
        targets: np.ndarray,
        changes: Changes,
        *,
        takes_errors: bool = False,
        weights: np.ndarray | None = None,
    ) -> None:
        """Plan to learn the rows last passed to `outputs`, and to take a gradient step if that fills the mini-batch.

        Parameters
        ----------
        targets
            Whether each output should be high (its loss is binary cross-entropy), or with `takes_errors` the gradient
            of a loss with respect to the outputs, shape (n_rows, n_outputs). Earlier changes may write it.
        changes
            The planned changes are added to this list.
        takes_errors
            Whether `targets` holds gradients.
        weights
            Factors for the errors of the rows, shape (n_rows,); default 1.
        """
        n_kept, n_before, n_batches, _ = self._counts.tolist()
        rows = slice(n_kept, n_kept + len(targets))
        changes.append(partial(self._targets.__setitem__, rows, targets))
        changes.append(partial(self._row_weights.__setitem__, rows, 1.0 if weights is None else weights))
        n_kept += len(targets)
        is_full = n_kept == self.batch_size
        if self.learning_rate > 0.0 and (is_full or not is_ready(descend)):
            widest = max(self._widths)
            step = planned(
                descend, self._weights, *self._moments, self._shape, self._batch, self._targets,
                self._row_weights, takes_errors, self.learning_rate, self._dropout, self._key, self._counts,
                np.empty((self.batch_size, self.n_outputs), np.float32),
                np.empty((2, TILE, widest), np.float32), np.empty_like(self._weights),
                np.empty_like(self._weights), np.empty(max(TILE, widest) + 1, np.int64),
            )  # fmt: skip
            if is_full:
                changes.append(step)
        if is_full:
            n_kept, n_before, n_batches = 0, 0, n_batches + 1
        counts = np.array([n_kept, n_before, n_batches])  # no tuple: reading one may run signal handlers
        changes.append(partial(self._counts.__setitem__, slice(N_STEPS), counts))

    def grow(self, n_inputs: int, n_outputs: int) -> None:
        """Widen the first and the last layer to at least these sizes, in one atomic change. Learnt weights are kept."""
        publication(self, self.grown(n_inputs, n_outputs))()

    def grown(self, n_inputs: int, n_outputs: int) -> Self:
        """Return a copy with at least these sizes, or this network if it is large enough. This one does not change.

        New input columns get zero weights, so that no output changes. If the network had no inputs before, their
        weights are drawn as at the start, and so are the weights of new outputs.
        """
        if n_inputs <= self.n_inputs and n_outputs <= self.n_outputs:
            return self
        old_inputs, old_outputs = self.n_inputs, self.n_outputs
        grown = copy.copy(self)
        grown._rng, grown._counts = copy.deepcopy(self._rng), self._counts.copy()
        grown._widths = [max(n_inputs, old_inputs), *self._widths[1:-1], max(n_outputs, old_outputs)]
        layers, *moments = (self._layers(flat) for flat in (self._weights, *self._moments))
        for kind in (layers, *moments):
            kind[0][0] = enlarged(kind[0][0], (grown.n_inputs, grown._widths[1]))
            kind[-1][0] = enlarged(kind[-1][0], (grown._widths[-2], grown.n_outputs))
            kind[-1][1] = enlarged(kind[-1][1], (grown.n_outputs,))
        if old_inputs == 0 < grown.n_inputs:
            layers[0][0] = grown._xavier(grown.n_inputs, grown._widths[1])
        if grown.n_outputs > old_outputs:
            layers[-1][0][:, old_outputs:] = grown._xavier(grown._widths[-2], grown.n_outputs)[
                :, old_outputs:
            ]
            grown._counts[N_BEFORE_GROWTH] = self._counts[N_KEPT]
        grown._hold(layers, moments)
        grown._batch = np.zeros((self.batch_size, sum(grown._widths)), np.float32)
        grown._batch[:, :old_inputs] = self._batch[:, :old_inputs]
        n_others = self._batch.shape[1] - old_inputs
        grown._batch[:, grown.n_inputs : grown.n_inputs + n_others] = self._batch[:, old_inputs:]
        grown._targets = np.full((self.batch_size, grown.n_outputs), np.nan, np.float32)
        grown._targets[:, :old_outputs] = self._targets
        return grown

    def state(self) -> State:
        """Return weights, moments, the current mini-batch and the generator's state; see `driftmoe.state`."""
        n_kept, n_before, n_batches, n_steps = self._counts.tolist()
        return {
            "layer_widths": [int(width) for width in self._widths],
            "weights": self._weights.copy(),
            "first_moments": self._moments[0].copy(),
            "second_moments": self._moments[1].copy(),
            "n_rows_before_growth": n_before,
            "n_batches": n_batches,
            "n_steps": n_steps,
            "batch_activations": self._batch[:n_kept].copy(),
            "batch_targets": self._targets[:n_kept].copy(),
            "batch_weights": self._row_weights[:n_kept].copy(),
            "dropout_key": int(self._key),
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: State) -> None:
        """Restore the state of a network that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, _STATE, self)
        widths = value_of(state, "layer_widths", list, self)
        if [type(width) for width in widths] != [int] * len(self._widths) or widths[1:-1] != self._widths[
            1:-1
        ]:
            allowed = f"this one has hidden layers of {self._widths[1:-1]} units"
            raise misfit(self, "layer_widths", f"is {widths}", allowed)
        if min(widths) < 0:
            raise misfit(self, "layer_widths", f"is {widths}", "widths must be 0 or more")
        n_weights = sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))
        weights = array_of(state, "weights", np.float32, (n_weights,), self)
        moments = [
            array_of(state, name, np.float32, (n_weights,), self)
            for name in ("first_moments", "second_moments")
        ]
        if (moments[1] < 0.0).any():
            raise misfit(self, "second_moments", f"has {moments[1].min()}", "it must be 0 or more everywhere")
        row_weights = array_of(state, "batch_weights", np.float32, (None,), self)
        n_kept = len(row_weights)
        if n_kept >= self.batch_size:
            allowed = f"this one takes a step every {self.batch_size} rows"
            raise misfit(self, "batch_weights", f"has {n_kept} rows of a mini-batch", allowed)
        activations = array_of(state, "batch_activations", np.float32, (n_kept, sum(widths)), self)
        targets = array_of(state, "batch_targets", np.float32, (n_kept, widths[-1]), self, finite=False)
        n_before = count_of(state, "n_rows_before_growth", self, at_most=n_kept)
        is_wrong = np.isinf(targets) | np.isnan(targets) & (np.arange(n_kept) >= n_before)[:, np.newaxis]
        if is_wrong.any():
            allowed = f"all numbers must be finite, but for NaN in the first {n_before} rows"
            raise misfit(self, "batch_targets", f"has {targets[is_wrong][0]}", allowed)
        n_batches, n_steps = count_of(state, "n_batches", self), count_of(state, "n_steps", self)
        key, rng = count_of(state, "dropout_key", self, at_most=2**64 - 1), generator_of(state, "rng", self)
        self._widths, self._shape = list(widths), np.array(widths)
        self._weights, self._moments = weights, moments
        self._counts = np.array([n_kept, n_before, n_batches, n_steps])
        self._key, self._rng = np.uint64(key), rng
        self._batch = enlarged(activations, (self.batch_size, sum(widths)))
        self._targets = enlarged(targets, (self.batch_size, widths[-1]))
        self._row_weights = np.ones(self.batch_size, np.float32)
        self._row_weights[:n_kept] = row_weights

    def _hold(self, layers: list, moments: list) -> None:
        """Store the weights of all layers in one vector, and each kind of moments in another."""
        self._weights, *self._moments = map(_flat, (layers, *moments))
        self._shape = np.array(self._widths)

    def _layers(self, flat: np.ndarray) -> list[list[np.ndarray]]:
        """Return views of a vector as [weights (n_in, n_out), biases (n_out,)] of each layer."""
        layers, start = [], 0
        for n_in, n_out in pairwise(self._widths):
            stop = start + n_in * n_out
            layers.append([flat[start:stop].reshape(n_in, n_out), flat[stop : stop + n_out]])
            start = stop + n_out
        return layers

    def _xavier(self, n_in: int, n_out: int) -> np.ndarray:
        bound = math.sqrt(6.0 / max(n_in + n_out, 1))
        return between(self._rng, -bound, bound, (n_out, n_in)).T


@compiled(nogil=True)
def forward(weights, widths, activations, dropout, key):  # type: ignore[no-untyped-def]
    """Write the activations of all layers for each row, with a ReLU between layers.

    Parameters
    ----------
    weights
        Weights (n_in, n_out) and biases of each layer in one vector, shape (n_weights,).
    widths
        Numbers of inputs, of units of each hidden layer, and of logits; shape (n_layers + 1,).
    activations
        Each row holds its inputs, and receives after them its hidden units and its logits; shape (n_rows, sum of
        widths).
    dropout, key
        Share of hidden units that are set to zero, and key of the random draws. The other units are scaled up
        accordingly. 0 for no dropout.

    Notes
    -----
    Inputs that are zero, about half of them after a ReLU, are skipped. The others are added in their order.
    """
    n_layers = widths.shape[0] - 1
    chosen = np.empty(largest_of(widths) + 1, np.int64)
    for row in range(activations.shape[0]):
        start = at = 0
        for layer in range(n_layers):
            n_in, n_out = widths[layer], widths[layer + 1]
            out = activations[row, at + n_in : at + n_in + n_out]
            values = activations[row, at : at + n_in]
            n = active(values, chosen)
            for j in range(n_out):
                out[j] = weights[start + n_in * n_out + j]
            add_rows(out, 0, n_out, weights, start, n_out, values, 0, 1, chosen, n)
            if layer < n_layers - 1:
                for j in range(n_out):
                    out[j] = max(out[j], np.float32(0.0))
                if dropout > 0.0:
                    scale, of_layer = np.float32(1.0 / (1.0 - dropout)), keyed(keyed(key, row), layer)
                    for j in range(n_out):
                        out[j] = out[j] * scale if uniform(of_layer, j) >= dropout else np.float32(0.0)
            start += (n_in + 1) * n_out
            at += n_in


@compiled()
def descend(  # type: ignore[no-untyped-def]
    weights, first, second, widths, batch, targets, row_weights, takes_errors, learning_rate, dropout, key, counts,
    of_logits, errors, gradient, transposed, chosen,
):  # fmt: skip
    """Take a step of Adam on the mini-batch's loss. The gradient is the one that autograd would compute.

    Parameters
    ----------
    weights, first, second
        Weights of all layers, and their moments, shape (n_weights,); updated.
    widths
        As in `forward`.
    batch
        Activations of each row, as `forward` writes them; recomputed if there is dropout.
    targets
        Whether each output should be high, or the gradient of the loss with respect to the outputs. NaN for outputs
        that did not exist yet.
    row_weights
        Factors for the errors of each row.
    takes_errors
        Whether `targets` holds gradients. If not, the loss is `losses.correctness_loss`.
    learning_rate, dropout, key
        As in `Network`.
    counts
        Counts of the network; N_STEPS is incremented.
    of_logits
        Work space, shape (n_rows, n_logits).
    errors
        Work space for the errors of two layers, shape (2, TILE, widest layer).
    gradient, transposed
        Work space, shape (n_weights,).
    chosen
        Work space, int64, longer than the number of rows in a tile and of units in a layer.

    Notes
    -----
    Rows are added up in order, tile by tile, so that the data of a tile fit into the nearest cache.
    """
    n_rows, n_layers = batch.shape[0], widths.shape[0] - 1
    if dropout > 0.0:
        forward(weights, widths, batch, dropout, keyed(key, counts[N_STEPS]))
    n_logits, n_above = widths[n_layers], batch.shape[1] - widths[n_layers]
    n_observed, n_wrong = 0, 0
    for row in range(n_rows):
        for e in range(n_logits):
            target = targets[row, e]
            error = np.float32(0.0)
            if target == target:
                n_observed += 1
                error = target
                if not takes_errors:
                    error = np.float32(1.0 / (1.0 + exp(-np.float64(batch[row, n_above + e]))) - target)
                error *= row_weights[row]
                n_wrong += int(error != 0.0)
            of_logits[row, e] = error
    if n_wrong == 0:  # nothing to learn: a step would only follow Adam's momentum
        return
    share = np.float32(max(n_rows if takes_errors else n_observed, 1))
    gradient[:] = np.float32(0.0)
    transpose(weights, widths, transposed)
    widest, kept = errors.shape[2], np.float32(1.0 / (1.0 - dropout))
    errors_out, errors_in = errors[0], errors[1]
    for tile in range(0, n_rows, TILE):
        n_in_tile = min(TILE, n_rows - tile)
        for row in range(n_in_tile):
            for e in range(n_logits):
                errors_out[row, e] = of_logits[tile + row, e] / share
        at, start = n_above, weights.shape[0]
        for layer in range(n_layers - 1, -1, -1):
            n_in, n_out = widths[layer], widths[layer + 1]
            at -= n_in
            start -= (n_in + 1) * n_out
            of_biases = gradient[start + n_in * n_out : start + (n_in + 1) * n_out]
            for row in range(n_in_tile):
                of_row = errors_out[row]
                for j in range(n_out):
                    of_biases[j] += of_row[j]
            for i in range(n_in):
                n = active(batch[tile : tile + n_in_tile, at + i], chosen)
                first_of_unit = tile * batch.shape[1] + at + i
                add_rows(
                    gradient, start + i * n_out, n_out, errors_out, 0, widest, batch, first_of_unit,
                    batch.shape[1], chosen, n,
                )  # fmt: skip
            if layer > 0:  # units at zero, by ReLU or dropout, pass no gradient on; all others are positive
                for row in range(n_in_tile):
                    of_units, units = errors_in[row, :n_in], batch[tile + row, at : at + n_in]
                    of_units[:] = np.float32(0.0)
                    of_row = errors_out[row, :n_out]
                    n = active(of_row, chosen)
                    add_rows(of_units, 0, n_in, transposed, start, n_in, of_row, 0, 1, chosen, n)
                    for i in range(n_in):
                        of_units[i] = of_units[i] * kept if units[i] > 0.0 else np.float32(0.0)
                errors_out, errors_in = errors_in, errors_out
    counts[N_STEPS] += 1
    adam(weights, gradient, first, second, counts[N_STEPS], learning_rate)


@kernel
def transpose(weights, widths, transposed):  # type: ignore[no-untyped-def]
    """Write the weights of each layer (without biases) as (n_out, n_in), in blocks that fit the nearest cache."""
    start = 0
    for layer in range(widths.shape[0] - 1):
        n_in, n_out = widths[layer], widths[layer + 1]
        for first in range(0, n_in, 16):
            for j in range(n_out):
                for i in range(first, min(first + 16, n_in)):
                    transposed[start + j * n_in + i] = weights[start + i * n_out + j]
        start += (n_in + 1) * n_out


@compiled()
def adam(theta, gradient, first, second, n_steps, learning_rate):  # type: ignore[no-untyped-def]
    """Take step number `n_steps` of Adam with its default constants, in place: Kingma & Ba 2015, algorithm 1.

    The result equals that of `torch.optim.Adam`, whose import of torch's compiler would delay the first sample by 1.5
    seconds.
    """
    one_less_beta1, beta2, one_less_beta2 = np.float32(0.1), np.float32(0.999), np.float32(0.001)
    epsilon = np.float32(1e-8)
    rate = np.float32(learning_rate / (1.0 - whole_power(0.9, n_steps)))
    correction = np.float32(1.0 / math.sqrt(1.0 - whole_power(0.999, n_steps)))
    for i in range(theta.shape[0]):
        mean = first[i] + one_less_beta1 * (gradient[i] - first[i])
        square = beta2 * second[i] + one_less_beta2 * gradient[i] * gradient[i]
        first[i] = mean if abs(mean) > NEGLIGIBLE else np.float32(0.0)
        second[i] = square if square > NEGLIGIBLE else np.float32(0.0)
        theta[i] -= rate * first[i] / (correction * np.float32(math.sqrt(second[i])) + epsilon)


def _flat(layers: list) -> np.ndarray:
    """Return the weights and biases of all layers in one vector."""
    return np.concatenate([np.float32(part).ravel() for layer in layers for part in layer])
