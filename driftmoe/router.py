"""The router: a small network that says, for each sample, how likely each expert is to be right.

It is trained with Adam on mini-batches of (inputs, which experts were right). Between two steps its weights are
constant. It grows with the inputs and with the number of experts without forgetting: old weights and Adam's moments
stay where they are, new input columns start at zero, so that growing them changes no output.

The weights of all layers lie in one vector: one step of Adam moves them at once, and the compiled forward pass reads
the same memory. That pass adds up each row in the same order whether it comes alone or among others, so that its logits
are the same to the last bit; a BLAS library rounds them by the shape of the block. What the hidden units said of a row
is kept for the gradient step, which need not ask again: until then the weights are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from driftmoe.compilation import compiled
from driftmoe.threads import do_parts, helpers

NEGLIGIBLE = np.float32(1e-30)
"""Adam's moments of silent weights would fade into denormal numbers, which are slow; below this they are zero."""

MIN_SHARED, PART = 128, 32
"""Rows below which starting threads costs more than it saves, and rows that a thread takes at once."""


class Router:
    """A multi-layer perceptron with its optimiser and its mini-batch buffer.

    Parameters
    ----------
    n_experts
        Outputs to begin with.
    hidden
        Widths of the hidden layers.
    learning_rate
        Step size of Adam; 0 for a router that never learns.
    batch_size
        Samples between two gradient steps.
    dropout
        Share of hidden units silenced in a gradient step; never in `logits`.
    n_threads
        Threads that share a large block, or the gradient of a large mini-batch; results do not depend on it.
    rng
        Private source of the initial weights (Xavier uniform, Glorot & Bengio 2010) and of dropout.
    """

    def __init__(
        self,
        n_experts: int,
        *,
        hidden: tuple[int, ...],
        learning_rate: float,
        batch_size: int,
        dropout: float,
        rng: np.random.Generator,
        n_threads: int = 1,
    ) -> None:
        self.n_threads = n_threads
        self.batch_size = batch_size
        self.learning_rate = float(learning_rate)
        self.n_batches = 0  # mini-batches that were full
        self._dropout = dropout
        self._rng = rng
        self._widths = [0, *hidden, n_experts]
        layers = [(self._xavier(n_in, n_out), np.zeros(n_out)) for n_in, n_out in pairwise(self._widths)]
        self.n_steps = 0  # mini-batches that were learnt
        self._hold(layers, [[[np.zeros_like(part) for part in layer] for layer in layers]] * 2)
        self._batch = np.zeros((batch_size, sum(self._widths)), np.float32)  # inputs, hidden units, logits
        self._correct = np.zeros((batch_size, n_experts), np.float32)
        self._takes_errors = False
        self._n_kept = 0
        self._n_before_growth = 0  # rows of the batch in which the newest experts have no say

    @property
    def n_inputs(self) -> int:
        """Length of what the first layer reads."""
        return self._widths[0]

    @property
    def n_experts(self) -> int:
        """Number of logits."""
        return self._widths[-1]

    @property
    def room(self) -> int:
        """Samples left until the next gradient step; so long the weights are constant."""
        return self.batch_size - self._n_kept

    def logits(self, inputs: np.ndarray, *, is_learning: bool = False) -> np.ndarray:
        """Return one logit per expert for each row.

        Parameters
        ----------
        inputs
            float32, shape (n_rows, n_inputs).
        is_learning
            Whether the rows join the mini-batch, as `learn` will say who was right on them; then at most `room` rows.
            Otherwise nothing changes.

        Returns
        -------
        logits
            float32, shape (n_rows, n_experts); a row is the same to the last bit in any block.
        """
        if is_learning:
            activations = self._batch[self._n_kept : self._n_kept + len(inputs)]
        else:
            activations = np.empty((len(inputs), self._batch.shape[1]), np.float32)
        activations[:, : self.n_inputs] = inputs
        if self.n_threads == 1 or len(inputs) < MIN_SHARED:
            forward(self._weights, self._shape, activations)
        else:
            parts = [activations[start : start + PART] for start in range(0, len(inputs), PART)]
            do_parts(lambda i: forward(self._weights, self._shape, parts[i]), len(parts), self.n_threads)
        return np.ascontiguousarray(activations[:, activations.shape[1] - self.n_experts :])

    def learn(self, correct: np.ndarray) -> None:
        """Take in who was right on the rows last given to `logits`; take a gradient step when the mini-batch is full.

        Parameters
        ----------
        correct
            Which experts were right, bool, shape (n_rows, n_experts).
        """
        self._correct[self._n_kept : self._n_kept + len(correct)] = correct
        self._count(len(correct))

    def learn_errors(self, errors: np.ndarray) -> None:
        """As `learn`, of another loss than correctness: given its gradient by the logits, float32 of their shape."""
        self._correct[self._n_kept : self._n_kept + len(errors)] = errors
        self._takes_errors = True
        self._count(len(errors))

    def _count(self, n_rows: int) -> None:
        """Note that the mini-batch has so many rows more; take a gradient step when it is full."""
        self._n_kept += n_rows
        if self._n_kept < self.batch_size:
            return
        if self.learning_rate > 0.0:
            n_threads = torch.get_num_threads()
            torch.set_num_threads(1)  # sums must not depend on how many threads torch has; and it is faster
            try:
                self._step()
            finally:
                torch.set_num_threads(n_threads)
        self.n_batches += 1
        self._n_kept = self._n_before_growth = 0

    def grow(self, n_inputs: int, n_experts: int) -> None:
        """Widen the first and the last layer to at least these sizes; what was learnt stays.

        New input columns get zero weights once the network has any, so that no output changes; the first columns and
        the rows of new experts are drawn as at the start.
        """
        if n_inputs <= self.n_inputs and n_experts <= self.n_experts:
            return
        old_inputs, old_experts = self.n_inputs, self.n_experts
        layers = [[part.numpy() for part in layer] for layer in self._layers(self._theta)]
        moments = [[[part.numpy() for part in layer] for layer in self._layers(m)] for m in self._moments]
        self._widths[0], self._widths[-1] = max(n_inputs, old_inputs), max(n_experts, old_experts)
        for kind in (layers, *moments):
            kind[0][0] = _enlarged(kind[0][0], (self.n_inputs, self._widths[1]))
            kind[-1][0] = _enlarged(kind[-1][0], (self._widths[-2], self.n_experts))
            kind[-1][1] = _enlarged(kind[-1][1], (self.n_experts,))
        if old_inputs == 0 < self.n_inputs:
            layers[0][0] = self._xavier(self.n_inputs, self._widths[1])
        if self.n_experts > old_experts:
            layers[-1][0][:, old_experts:] = self._xavier(self._widths[-2], self.n_experts)[:, old_experts:]
            self._n_before_growth = self._n_kept
        self._hold(layers, moments)
        old_batch = self._batch
        self._batch = np.zeros((self.batch_size, sum(self._widths)), np.float32)
        self._batch[:, :old_inputs] = old_batch[:, :old_inputs]
        self._batch[:, self.n_inputs : self.n_inputs + old_batch.shape[1] - old_inputs] = old_batch[
            :, old_inputs:
        ]
        correct = np.full((self.batch_size, self.n_experts), np.nan, np.float32)
        correct[:, :old_experts] = self._correct
        self._correct = correct

    def _hold(self, layers: list, moments: list) -> None:
        """Put the weights of all layers into one vector, and each of their moments into another."""
        self._theta, *self._moments = map(_flat, (layers, *moments))
        self._shape = np.array(self._widths)
        self._look()

    def _look(self) -> None:
        """Take the views of the weights that every step needs, and a place for their gradient."""
        self._weights = self._theta.numpy()
        self._parts = self._layers(self._theta)
        self._gradient = torch.empty_like(self._theta)
        self._gradient_parts = self._layers(self._gradient)

    def __getstate__(self) -> dict[str, Any]:
        views = "_weights", "_parts", "_gradient", "_gradient_parts"
        return {name: value for name, value in vars(self).items() if name not in views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._look()

    def _step(self) -> None:
        """Take a step against the gradient of `losses.correctness_loss`."""
        *activations, logits = torch.from_numpy(self._batch).split(self._widths, dim=1)
        if self._dropout:
            *activations, logits = self._with_dropout(activations[0])
        correct = torch.from_numpy(self._correct)
        if self._takes_errors:
            if not self._correct.any():  # nothing to learn: a step would follow what was learnt before
                return
            errors, n_observed = correct.clone(), self.batch_size
        else:
            errors = torch.sigmoid(logits).sub_(correct)
            n_observed = errors.numel()
        if self._n_before_growth:  # entries of experts that did not exist yet are NaN
            n_observed -= 0 if self._takes_errors else int(correct.isnan().sum())
            errors.nan_to_num_(0.0)
        errors.div_(max(n_observed, 1))
        self._backward(activations, errors)
        self.n_steps += 1
        first, second = self._moments
        adam(
            self._weights,
            self._gradient.numpy(),
            first.numpy(),
            second.numpy(),
            self.n_steps,
            self.learning_rate,
        )

    def _with_dropout(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Return the inputs, what each layer makes of them while some hidden units are silent, and the logits."""
        *hidden, (weights, biases) = self._parts
        activations = [inputs]
        for w, b in hidden:
            out = torch.addmm(b, activations[-1], w).relu_()
            kept = self._rng.random(tuple(out.shape)) >= self._dropout
            activations.append(out * torch.from_numpy(kept.astype(np.float32) / (1.0 - self._dropout)))
        return [*activations, torch.addmm(biases, activations[-1], weights)]

    def _backward(self, activations: Sequence[torch.Tensor], errors: torch.Tensor) -> None:
        """Compute the gradient of a loss by all weights, as autograd would.

        Parameters
        ----------
        activations
            What each layer read, shape (batch_size, n_in) each.
        errors
            Gradient of the loss by the logits, shape (batch_size, n_experts).
        """
        is_shared = self.n_threads > 1 and len(errors) >= MIN_SHARED
        by_others = []
        for layer in reversed(range(len(activations))):
            values, (of_weights, of_biases) = activations[layer], self._gradient_parts[layer]
            if (
                is_shared
            ):  # the other thread follows with the weights, while this one goes on to the layer before
                by_others.append(helpers(1).submit(_multiply, values.T, errors, of_weights))
            else:
                _multiply(values.T, errors, of_weights)
            torch.sum(errors, 0, out=of_biases)
            if layer > 0:  # a unit that was silent, or silenced, passes nothing on; no other is below zero
                errors = torch.mm(errors, self._parts[layer][0].T).mul_(values.sign())
                if self._dropout:
                    errors.div_(1.0 - self._dropout)
        for other in by_others:
            other.result()

    def _layers(self, flat: torch.Tensor) -> list[list[torch.Tensor]]:
        """Views of a vector as [weights (n_in, n_out), biases (n_out,)] of each layer."""
        pairs = list(pairwise(self._widths))
        parts = flat.split([size for n_in, n_out in pairs for size in (n_in * n_out, n_out)])
        return [
            [w.view(n_in, n_out), b]
            for (n_in, n_out), w, b in zip(pairs, parts[::2], parts[1::2], strict=True)
        ]

    def _xavier(self, n_in: int, n_out: int) -> np.ndarray:
        bound = math.sqrt(6.0 / max(n_in + n_out, 1))
        return self._rng.uniform(-bound, bound, (n_out, n_in)).T


@compiled(fastmath={"contract"})
def adam(theta, gradient, first, second, n_steps, learning_rate):  # type: ignore[no-untyped-def]
    """Take step number `n_steps` of Adam with the usual constants, in place: Kingma & Ba 2015, algorithm 1.

    The same as `torch.optim.Adam`, which would import torch's compiler: 1.5 seconds before the first sample.
    """
    one_less_beta1, beta2, one_less_beta2 = np.float32(0.1), np.float32(0.999), np.float32(0.001)
    epsilon = np.float32(1e-8)
    rate = np.float32(learning_rate / (1.0 - 0.9**n_steps))
    correction = np.float32(1.0 / math.sqrt(1.0 - 0.999**n_steps))
    for i in range(theta.shape[0]):
        mean = first[i] + one_less_beta1 * (gradient[i] - first[i])
        square = beta2 * second[i] + one_less_beta2 * gradient[i] * gradient[i]
        first[i] = mean if abs(mean) > NEGLIGIBLE else np.float32(0.0)
        second[i] = square if square > NEGLIGIBLE else np.float32(0.0)
        theta[i] -= rate * first[i] / (correction * math.sqrt(second[i]) + epsilon)


@compiled()
def soften(outputs, first, proba):  # type: ignore[no-untyped-def]
    """Write the softmax of the outputs from `first` on; a row is the same to the last bit in any block."""
    for row in range(outputs.shape[0]):
        largest, total = np.float64(outputs[row, first:].max()), 0.0
        for c in range(proba.shape[2]):
            proba[row, 0, c] = math.exp(np.float64(outputs[row, first + c]) - largest)
            total += proba[row, 0, c]
        for c in range(proba.shape[2]):
            proba[row, 0, c] /= total


@compiled(fastmath={"contract"}, nogil=True)
def forward(weights, widths, activations):  # type: ignore[no-untyped-def]
    """Write what each layer makes of each row: weights (n_in, n_out) and biases in one vector, ReLU between layers.

    Parameters
    ----------
    weights
        Of all layers, shape (n_weights,).
    widths
        Inputs, units of each hidden layer, and logits; shape (n_layers + 1,).
    activations
        A row holds its inputs, and in that order gets its hidden units and its logits; shape (n_rows, sum of widths).

    Notes
    -----
    Inputs that are zero, half of them after a ReLU, are passed over; the others are added in their order, eight at a
    time so that a row of sums is read and written less often.
    """
    n_layers = widths.shape[0] - 1
    places = np.empty(widths.max() + 8, np.int64)
    amounts = np.empty(widths.max() + 8, np.float32)
    for row in range(activations.shape[0]):
        start = at = 0
        for layer in range(n_layers):
            n_in, n_out = widths[layer], widths[layer + 1]
            values = activations[row, at : at + n_in]
            out = activations[row, at + n_in : at + n_in + n_out]
            n = 0
            for i in range(n_in):  # without a branch, which no processor could foresee
                places[n] = start + i * n_out
                amounts[n] = values[i]
                n += int(values[i] != 0.0)
            places[n : n + 8] = (
                start  # up to seven more, zero times something, make the number a multiple of eight
            )
            amounts[n : n + 8] = 0.0
            for j in range(n_out):
                out[j] = weights[start + n_in * n_out + j]
            for k in range(0, n, 8):
                a, b, c, d = amounts[k], amounts[k + 1], amounts[k + 2], amounts[k + 3]
                e, f, g, h = amounts[k + 4], amounts[k + 5], amounts[k + 6], amounts[k + 7]
                of_a, of_b = (
                    weights[places[k] : places[k] + n_out],
                    weights[places[k + 1] : places[k + 1] + n_out],
                )
                of_c, of_d = (
                    weights[places[k + 2] : places[k + 2] + n_out],
                    weights[places[k + 3] : places[k + 3] + n_out],
                )
                of_e, of_f = (
                    weights[places[k + 4] : places[k + 4] + n_out],
                    weights[places[k + 5] : places[k + 5] + n_out],
                )
                of_g, of_h = (
                    weights[places[k + 6] : places[k + 6] + n_out],
                    weights[places[k + 7] : places[k + 7] + n_out],
                )
                for j in range(n_out):
                    four = out[j] + a * of_a[j] + b * of_b[j] + c * of_c[j] + d * of_d[j]
                    out[j] = four + e * of_e[j] + f * of_f[j] + g * of_g[j] + h * of_h[j]
            if layer < n_layers - 1:
                for j in range(n_out):
                    out[j] = max(out[j], np.float32(0.0))
            start += (n_in + 1) * n_out
            at += n_in


def _multiply(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    """Write a product, of which the calling thread does all: what torch has set for another does not hold for it."""
    torch.set_num_threads(1)
    torch.mm(a, b, out=out)


def _flat(layers: list) -> torch.Tensor:
    """Return all parts in one vector, in memory of torch's: it begins where a cache line does, which is faster."""
    return torch.cat([torch.from_numpy(np.float32(part)).flatten() for layer in layers for part in layer])


def _enlarged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    larger = np.zeros(shape, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger
