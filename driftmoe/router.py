"""The router: a small network that says, for each sample, how likely each expert is to be right.

It is trained with Adam on mini-batches of (inputs, which experts were right). Between two steps its weights are
constant. It grows with the inputs and with the number of experts without forgetting: old weights and Adam's moments
stay where they are, new input columns start at zero, so that growing them changes no output.

The weights of all layers lie in one vector: one step of Adam moves them at once, and the compiled forward pass reads
the same memory. That pass adds up each row in the same order whether it comes alone or among others, so that its logits
are the same to the last bit; a BLAS library rounds them by the shape of the block.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from driftmoe.compilation import compiled
from driftmoe.losses import correctness_loss

STEPS_BETWEEN_FLUSHES = 64
"""Adam's moments of silent weights fade into denormal numbers, which are slow; now and then they are made zero."""

NEGLIGIBLE = 1e-30


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
    ) -> None:
        self._batch_size = batch_size
        self._learning_rate = learning_rate
        self._dropout = dropout
        self._rng = rng
        self._widths = [0, *hidden, n_experts]
        layers = [(self._xavier(n_in, n_out), np.zeros(n_out)) for n_in, n_out in pairwise(self._widths)]
        self._n_steps = 0
        self._hold(layers, [[[np.zeros_like(part) for part in layer] for layer in layers]] * 2)
        self._inputs = np.zeros((batch_size, 0), np.float32)
        self._correct = np.zeros(
            (batch_size, n_experts), np.float32
        )  # NaN for an expert that did not exist yet
        self._n_kept = 0

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
        return self._batch_size - self._n_kept

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights and of Adam's moments, which live outside Python's heap."""
        return self._theta.nbytes + sum(moment.nbytes for moment in self._moments)

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Return one logit per expert for each row; changes nothing.

        Parameters
        ----------
        inputs
            float32, shape (n_rows, n_inputs).

        Returns
        -------
        logits
            float32, shape (n_rows, n_experts); a row is the same to the last bit in any block.
        """
        widest = max(self._widths)
        logits = np.empty((len(inputs), self.n_experts), np.float32)
        scratch, places = np.empty((2, widest), np.float32), np.empty(widest + 1, np.int64)
        forward(self._weights, self._shape, inputs, scratch, places, logits)
        return logits

    def learn(self, inputs: np.ndarray, correct: np.ndarray) -> None:
        """Keep some samples; take a gradient step on the mini-batch when it is full.

        Parameters
        ----------
        inputs
            float32, shape (n_rows, n_inputs); at most `room` rows.
        correct
            Which experts were right, bool, shape (n_rows, n_experts).
        """
        rows = slice(self._n_kept, self._n_kept + len(inputs))
        self._inputs[rows] = inputs
        self._correct[rows] = correct
        self._n_kept += len(inputs)
        if self._n_kept == self._batch_size and self._learning_rate > 0.0:
            n_threads = torch.get_num_threads()
            torch.set_num_threads(1)  # sums must not depend on how many threads share them; and it is faster
            try:
                self._step()
            finally:
                torch.set_num_threads(n_threads)
        self._n_kept %= self._batch_size

    def grow(self, n_inputs: int, n_experts: int) -> None:
        """Widen the first and the last layer to at least these sizes; what was learnt stays.

        New input columns get zero weights once the network has any, so that no output changes; the first columns and
        the rows of new experts are drawn as at the start.
        """
        if n_inputs <= self.n_inputs and n_experts <= self.n_experts:
            return
        old_inputs, old_experts = self.n_inputs, self.n_experts
        layers = [[part.detach().numpy() for part in layer] for layer in self._layers(self._theta)]
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
        self._hold(layers, moments)
        self._inputs = _enlarged(self._inputs, (self._batch_size, self.n_inputs))
        correct = np.full((self._batch_size, self.n_experts), np.nan, np.float32)
        correct[:, :old_experts] = self._correct
        self._correct = correct

    def _hold(self, layers: list, moments: list) -> None:
        """Put the weights of all layers into one vector, and each of their moments into another."""
        self._theta = torch.from_numpy(_flat(layers)).requires_grad_()
        self._weights = self._theta.detach().numpy()  # the same memory, see __setstate__
        self._shape = np.array(self._widths)
        self._moments = [torch.from_numpy(_flat(moment)) for moment in moments]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_weights"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._weights = self._theta.detach().numpy()

    def _step(self) -> None:
        correct = torch.from_numpy(self._correct)
        observed = ~correct.isnan() if np.isnan(self._correct).any() else None
        activations = torch.from_numpy(self._inputs)
        *hidden, (weights, biases) = self._layers(self._theta)
        for w, b in hidden:
            activations = torch.relu(torch.addmm(b, activations, w))
            if self._dropout:
                kept = self._rng.random(tuple(activations.shape)) >= self._dropout
                activations = activations * torch.from_numpy(kept.astype(np.float32) / (1.0 - self._dropout))
        loss = correctness_loss(torch.addmm(biases, activations, weights), correct.nan_to_num(), observed)
        (gradient,) = torch.autograd.grad(loss, self._theta)
        self._n_steps += 1
        with torch.no_grad():
            first, second = self._moments
            adam(self._theta, gradient, first, second, self._n_steps, self._learning_rate)
        if self._n_steps % STEPS_BETWEEN_FLUSHES == 0:
            for moment in self._moments:
                moment[moment.abs() < NEGLIGIBLE] = 0.0

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


def adam(
    theta: torch.Tensor,
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    n_steps: int,
    learning_rate: float,
) -> None:
    """Take step number `n_steps` of Adam with the usual constants, in place: Kingma & Ba 2015, algorithm 1.

    The same as `torch.optim.Adam`, which would import torch's compiler: 1.5 seconds before the first sample.
    """
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    first.lerp_(gradient, 1.0 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
    deviation = second.sqrt().div_(math.sqrt(1.0 - beta2**n_steps)).add_(epsilon)
    theta.addcdiv_(first, deviation, value=-learning_rate / (1.0 - beta1**n_steps))


@compiled()
def forward(weights, widths, inputs, scratch, places, logits):  # type: ignore[no-untyped-def]
    """Write the logits of each row: layers of weights (n_in, n_out) and biases in one vector, ReLU between them.

    Inputs that are zero, half of them after a ReLU, are passed over; the others are added in their order, four at a
    time so that a row of sums is read and written less often.
    """
    n_layers = widths.shape[0] - 1
    for row in range(inputs.shape[0]):
        start = 0
        for layer in range(n_layers):
            n_in, n_out = widths[layer], widths[layer + 1]
            values = scratch[layer % 2]
            out = scratch[1 - layer % 2]
            if layer == 0:
                values[:n_in] = inputs[row]
            n = 0
            for i in range(n_in):  # without a branch, which no processor could foresee
                places[n] = i
                n += int(values[i] != 0.0)
            biases = weights[start + n_in * n_out : start + (n_in + 1) * n_out]
            for j in range(n_out):
                out[j] = biases[j]
            for k in range(0, n - 3, 4):
                a, b, c, d = places[k], places[k + 1], places[k + 2], places[k + 3]
                at_a, at_b, at_c, at_d = values[a], values[b], values[c], values[d]
                of_a = weights[start + a * n_out : start + (a + 1) * n_out]
                of_b = weights[start + b * n_out : start + (b + 1) * n_out]
                of_c = weights[start + c * n_out : start + (c + 1) * n_out]
                of_d = weights[start + d * n_out : start + (d + 1) * n_out]
                for j in range(n_out):
                    out[j] = out[j] + at_a * of_a[j] + at_b * of_b[j] + at_c * of_c[j] + at_d * of_d[j]
            for k in range(n - n % 4, n):
                a = places[k]
                at_a = values[a]
                of_a = weights[start + a * n_out : start + (a + 1) * n_out]
                for j in range(n_out):
                    out[j] += at_a * of_a[j]
            if layer < n_layers - 1:
                for j in range(n_out):
                    out[j] = max(out[j], np.float32(0.0))
            start += (n_in + 1) * n_out
        logits[row] = scratch[n_layers % 2, : widths[n_layers]]


def _flat(layers: list) -> np.ndarray:
    return np.concatenate([np.ravel(part) for layer in layers for part in layer]).astype(np.float32)


def _enlarged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    larger = np.zeros(shape, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger
