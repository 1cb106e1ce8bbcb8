"""The router: a small network that says, for each sample, how likely each expert is to be right.

It is trained with Adam on mini-batches of (vector, which experts were right). Between two steps its weights are
constant. It grows with the vector and with the number of experts without forgetting: old weights and Adam's moments
stay where they are, new input columns start at zero, so that growing them changes no output.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from driftmoe.losses import correctness_loss


class Router:
    """A multi-layer perceptron with its optimiser and its mini-batch buffer.

    Parameters
    ----------
    n_experts
        Outputs to begin with.
    hidden
        Widths of the hidden layers.
    learning_rate
        Step size of Adam.
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
        self._dropout = dropout
        self._rng = rng
        widths = [0, *hidden, n_experts]
        self._layers = nn.ModuleList()
        for n_in, n_out in pairwise(widths):
            layer = nn.utils.skip_init(
                nn.Linear, 1, 1
            )  # torch's own start would draw from its global generator
            layer.weight.data = self._xavier(n_out, n_in)
            layer.bias.data = torch.zeros(n_out)
            self._layers.append(layer)
        self._optimiser = torch.optim.Adam(self._layers.parameters(), lr=learning_rate)
        self._vectors: list[np.ndarray] = []
        self._correct: list[np.ndarray] = []

    @property
    def n_inputs(self) -> int:
        """Length of the vector that the first layer reads."""
        return self._linear()[0].weight.shape[1]

    @property
    def n_experts(self) -> int:
        """Number of logits."""
        return self._linear()[-1].weight.shape[0]

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights, their gradients and Adam's moments, which live outside Python's heap."""
        parameters = list(self._layers.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        moments = [m for state in self._optimiser.state.values() for m in state.values()]
        return sum(tensor.nbytes for tensor in (*parameters, *gradients, *moments))

    def logits(self, vector: np.ndarray) -> np.ndarray:
        """Return one logit per expert; changes nothing.

        One row goes through numpy on views of the weights: a torch call would cost five times as much.

        Parameters
        ----------
        vector
            float32, shape (n_inputs,).

        Returns
        -------
        logits
            float32, shape (n_experts,).
        """
        *hidden, last = self._linear()
        for layer in hidden:
            vector = np.maximum(layer.weight.detach().numpy() @ vector + layer.bias.detach().numpy(), 0.0)
        return last.weight.detach().numpy() @ vector + last.bias.detach().numpy()

    def learn(self, vector: np.ndarray, correct: np.ndarray) -> None:
        """Keep one sample; take a gradient step on the mini-batch when it is full.

        Parameters
        ----------
        vector
            float32, shape (n_inputs,).
        correct
            Which experts were right, bool, shape (n_experts,).
        """
        self._vectors.append(vector)
        self._correct.append(correct)
        if len(self._vectors) == self._batch_size:
            n_threads = torch.get_num_threads()
            torch.set_num_threads(1)  # sums must not depend on how many threads share them; and it is faster
            try:
                self._step()
            finally:
                torch.set_num_threads(n_threads)
            self._vectors, self._correct = [], []

    def grow(self, n_inputs: int, n_experts: int) -> None:
        """Widen the first and the last layer to at least these sizes; what was learnt stays.

        New input columns get zero weights once the network has any, so that no output changes; the first columns and
        the rows of new experts are drawn as at the start.
        """
        first, last = self._linear()[0], self._linear()[-1]
        old_inputs, old_experts = self.n_inputs, self.n_experts
        if n_inputs > old_inputs:
            self._enlarge(first.weight, (first.weight.shape[0], n_inputs))
            if old_inputs == 0:
                first.weight.data = self._xavier(*first.weight.shape)
        if n_experts > old_experts:
            self._enlarge(last.weight, (n_experts, last.weight.shape[1]))
            self._enlarge(last.bias, (n_experts,))
            last.weight.data[old_experts:] = self._xavier(*last.weight.shape)[old_experts:]

    def _step(self) -> None:
        vectors = torch.from_numpy(_padded(self._vectors, self.n_inputs, fill=0.0))
        correct = torch.from_numpy(_padded(self._correct, self.n_experts, fill=np.nan))
        observed = ~correct.isnan()
        *hidden, last = self._linear()
        activations = vectors
        for layer in hidden:
            activations = torch.relu(layer(activations))
            if self._dropout:
                kept = self._rng.random(tuple(activations.shape)) >= self._dropout
                activations = activations * torch.from_numpy(kept.astype(np.float32) / (1.0 - self._dropout))
        loss = correctness_loss(last(activations), correct.nan_to_num(), observed)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()

    def _linear(self) -> list[nn.Linear]:
        return list(self._layers)  # type: ignore[arg-type]  # ModuleList does not say what it holds

    def _xavier(self, n_out: int, n_in: int) -> torch.Tensor:
        bound = math.sqrt(6.0 / max(n_in + n_out, 1))
        return torch.from_numpy(self._rng.uniform(-bound, bound, (n_out, n_in)).astype(np.float32))

    def _enlarge(self, parameter: torch.Tensor, shape: tuple[int, ...]) -> None:
        """Give a parameter and its Adam moments a larger shape, zeros in the new places."""
        parameter.grad = None
        parameter.data = _enlarged(parameter.data, shape)
        state = self._optimiser.state.get(parameter, {})
        for name in ("exp_avg", "exp_avg_sq"):
            if name in state:
                state[name] = _enlarged(state[name], shape)


def _enlarged(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    larger = tensor.new_zeros(shape)
    larger[tuple(slice(size) for size in tensor.shape)] = tensor
    return larger


def _padded(rows: list[np.ndarray], width: int, *, fill: float) -> np.ndarray:
    """Stack rows of different lengths, shape (n_rows, width), float32."""
    block = np.full((len(rows), width), fill, dtype=np.float32)
    for i, row in enumerate(rows):
        block[i, : len(row)] = row
    return block
