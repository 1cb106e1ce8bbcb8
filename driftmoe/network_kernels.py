"""Kernels of a small network: forward pass, mini-batch, gradient and step of Adam."""

from __future__ import annotations

import math

import numpy as np

from driftmoe.arithmetic import exp, largest_of, whole_power
from driftmoe.compilation import compiled, kernel
from driftmoe.draws import keyed, uniform
from driftmoe.lanes import active, add_rows

NEGLIGIBLE = np.float32(1e-30)
"""Adam's moments below this are set to zero. Those of unused weights would decay to slow denormal numbers."""

TILE = 32
"""Number of rows of a mini-batch that go through all layers together."""

N_KEPT, N_BEFORE_GROWTH, N_BATCHES, N_STEPS = range(4)
"""Indices into a network's counts: rows in the current mini-batch, rows in it from before the last growth of the
outputs, complete mini-batches, and mini-batches that were learnt."""


@compiled(nogil=True)
def respond(weights, widths, batch, counts, inputs, outputs):  # type: ignore[no-untyped-def]
    """Write the outputs of a network for each row, and keep the activations as the next rows of a mini-batch.

    Parameters
    ----------
    weights, widths
        As in `forward`.
    batch
        Activations of the rows of a mini-batch, shape (n_rows or more, sum of widths).
    counts
        Counts of the network. The rows from N_KEPT on are written.
    inputs
        float32, shape (n_rows, n_inputs).
    outputs
        Result, float32, shape (n_rows, n_outputs).
    """
    first, n_others = counts[N_KEPT], batch.shape[1] - outputs.shape[1]
    activations = batch[first : first + inputs.shape[0]]
    for row in range(inputs.shape[0]):
        for i in range(inputs.shape[1]):
            activations[row, i] = inputs[row, i]
    forward(weights, widths, activations, np.float64(0.0), np.uint64(0))
    for row in range(inputs.shape[0]):
        for i in range(outputs.shape[1]):
            outputs[row, i] = activations[row, n_others + i]


@compiled()
def keep(lessons, weights, targets, row_weights, counts):  # type: ignore[no-untyped-def]
    """Keep what the next rows of the mini-batch teach.

    Parameters
    ----------
    lessons, weights
        Targets or errors of each output, shape (n_rows, n_outputs), and factors of the errors, shape (n_rows,).
    targets, row_weights
        Those of the mini-batch, float32; written from row N_KEPT on.
    counts
        Counts of the network; N_KEPT is increased by the number of rows.
    """
    for row in range(lessons.shape[0]):
        place = counts[N_KEPT]
        for e in range(lessons.shape[1]):
            targets[place, e] = lessons[row, e]
        row_weights[place] = weights[row]
        counts[N_KEPT] += 1


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
        As in `Network`. With a learning rate of 0 no step is taken.
    counts
        Counts of the network. A mini-batch more is complete, and the next one empty.
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
    counts[N_KEPT] = counts[N_BEFORE_GROWTH] = 0
    counts[N_BATCHES] += 1
    if learning_rate == 0.0:
        return
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
