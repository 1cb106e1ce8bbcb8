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

from driftmoe.draws import between
from driftmoe.growth import enlarged
from driftmoe.network_kernels import N_BATCHES, N_BEFORE_GROWTH, N_KEPT, N_STEPS, TILE, descend, keep, respond
from driftmoe.state import State, array_of, check_names, count_of, generator_of, misfit, value_of
from driftmoe.threads import SideBySide
from driftmoe.transaction import Changes, StepPlan, is_ready, planned, publication

MIN_SHARED, PART = 128, 32
"""Least number of rows for which threads pay off, and number of rows that a thread takes at once."""

_NO_COUNTS = np.zeros(4, np.int64)
"""Counts of a network with an empty mini-batch."""

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

    def start_higher(self, output: int, amount: float) -> None:
        """Raise the bias of an output, before the first sample."""
        self._layers(self._weights)[-1][1][output] += amount

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
        """Return the outputs for each row; see `plan_outputs`.

        Parameters
        ----------
        inputs
            float32, shape (n_rows, n_inputs).
        is_learning
            Whether `plan` will learn these rows next; then at most `room` rows.
        """
        return self.plan_outputs(inputs, StepPlan(), is_learning=is_learning)

    def plan_outputs(self, inputs: np.ndarray, plan: StepPlan, *, is_learning: bool = False) -> np.ndarray:
        """Compute the outputs for each row.

        Parameters
        ----------
        inputs
            float32, shape (n_rows, n_inputs).
        plan
            Computes them, now and again.
        is_learning
            Whether `plan` will learn these rows next; then at most `room` rows. That does not change the outputs of the
            network: it only keeps the activations of rows that may be learnt.

        Returns
        -------
        outputs
            float32, shape (n_rows, n_outputs). The outputs of a row do not depend on the other rows, to the last bit.
        """
        n_rows, room = len(inputs), self.room if is_learning else len(inputs)
        if n_rows > room or inputs.shape[1] != self.n_inputs:
            raise ValueError(
                f"inputs of shape {inputs.shape}; give ({room}, {self.n_inputs}), at most as many rows as are left of "
                "the mini-batch"
            )
        batch, counts = self._batch, self._counts
        if not is_learning:
            batch, counts = np.empty((n_rows, self._batch.shape[1]), np.float32), _NO_COUNTS
        outputs = np.empty((n_rows, self.n_outputs), np.float32)
        if self.n_threads == 1 or n_rows < MIN_SHARED:
            plan.compute(respond, self._weights, self._shape, batch, counts, inputs, outputs)
            return outputs
        plan.is_repeatable = False
        first = int(counts[N_KEPT])
        parts = [slice(start, min(start + PART, n_rows)) for start in range(0, n_rows, PART)]
        calls = [
            partial(
                respond, self._weights, self._shape, batch[first:][part], _NO_COUNTS, inputs[part], outputs[part]
            )
            for part in parts
        ]  # fmt: skip
        SideBySide([[call] for call in calls], self.n_threads)()
        return outputs

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
        is_full = len(targets) == self.room
        weights = np.ones(len(targets)) if weights is None else weights
        if not targets.flags.c_contiguous:
            lessons = np.empty(targets.shape, targets.dtype)
            changes.append(partial(lessons.__setitem__, ..., targets))
            targets = lessons
        changes.append(planned(keep, targets, weights, self._targets, self._row_weights, self._counts))
        if is_full or not is_ready(descend):
            widest = max(self._widths)
            space = (
                np.empty((self.batch_size, self.n_outputs), np.float32),
                np.empty((2, TILE, widest), np.float32), np.empty_like(self._weights),
                np.empty_like(self._weights), np.empty(max(TILE, widest) + 1, np.int64),
            )  # fmt: skip
            step = planned(
                descend, self._weights, *self._moments, self._shape, self._batch, self._targets,
                self._row_weights, takes_errors, self.learning_rate, self._dropout, self._key, self._counts, *space,
            )  # fmt: skip
            if is_full:
                changes.append(step)
                if isinstance(changes, StepPlan):
                    changes.n_bytes += sum(array.nbytes for array in space)

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


def _flat(layers: list) -> np.ndarray:
    """Return the weights and biases of all layers in one vector."""
    return np.concatenate([np.float32(part).ravel() for layer in layers for part in layer])
