"""An expert that knows products of pairs of inputs: a multinomial logistic regression with a step for each product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from driftmoe.arithmetic import N_LANES, dot, sum_of_lanes, to_proba
from driftmoe.compilation import compiled, kernel
from driftmoe.experts.protocol import Unmonitored
from driftmoe.growth import enlarged
from driftmoe.state import State, array_of, check_names, misfit
from driftmoe.transaction import NO_TARGETS, NO_WEIGHTS, Changes, StepPlan, assignment, planned

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows

RATES = (4.0, 0.4)
"""Step size of each vote; see `Products`."""

REACH = 1.0
"""Most by which a step may move the logit of a class, as a multiple of the class's error."""

FORGETTING = 0.999
"""Decay factor of a product's sum of squared gradients, each time it learns."""

OWN_PRODUCTS = 4096
"""Number of products, the first ones, that have a weight of their own for each class: all those of 89 inputs."""

SHARED_PRODUCTS = 4096
"""Number of weights for each class that all later products share."""

N_LABELS = 8
"""Number of classes, the first ones, that have a number of their own in each of the last labels; later ones share them.
"""

SMALLEST = np.float32(1e-8)
"""Added to the root of a sum of squares, so that it is never 0."""


class Products(Unmonitored):
    """A logistic regression on the inputs and on the products of any two of them, squares included.

    P(y = c | x) = softmax_c (sum_k w_ck z_k), where z_k are the products of two of the numbers 1, x_1, ..., x_n. So
    class boundaries are quadratic, and whether two nominal values occur together is one of the z_k. Each sample takes a
    step down the gradient of -ln P(y|x). Products have step sizes of their own: the step is divided by the root of the
    sum of squared gradients of the product, so that rare ones learn fast when they occur. The sum is forgotten, so that
    the weights follow drift.

    Parameters
    ----------
    rates
        Step sizes, one for each vote: multiples of one over the root of the mean sum of squared products of a sample.
    forgetting
        Decay factor of a product's sum of squared gradients.
    n_last
        Number of labels that are read as inputs, too: those learnt last. Each is a 1 among 8 numbers, and later classes
        share these. So products say what the last labels mean together, or together with an input.

    Raises
    ------
    ValueError
        If there are no rates or one is not above 0, or `forgetting` is not above 0 and at most 1, or
        `n_last` is below 0.

    Notes
    -----
    Product k = j (j + 1) / 2 + i is that of numbers i <= j, where number 0 is the constant 1. So new inputs append
    products, and old ones keep their places. The first 4096 products have weights of their own, and later ones share
    4096 more by their number (the hashing trick). Only products that are not 0 take time and learn: of a nominal
    feature those of the present value.

    It is cheap enough to be asked for every sample. Memory: 4 bytes for each product and each class, and 4 for each
    product.

    References
    ----------
    Duchi, Hazan & Singer 2011, Adaptive subgradient methods for online learning and stochastic optimization, sec. 1.1:
    the step of each weight. Ross, Mineiro & Langford 2013, Normalized online learning, algorithm 2: a step that depends
    on the size of samples. Karampatziakis & Langford 2011, Online importance weight aware updates: a sample must not
    move its logit too far. Weinberger et al. 2009, Feature hashing for large scale multitask learning. Žliobaitė,
    Bifet, Read, Pfahringer & Holmes 2015, Evaluation methods and decision theory for classification of streaming data
    with temporal dependence, sec. 5: the last labels as inputs.
    """

    reads = "inputs"
    may_rest = True
    is_repeatable = True

    def __init__(
        self, rates: Sequence[float] = RATES, forgetting: float = FORGETTING, *, n_last: int = 0
    ) -> None:
        self._rates = np.array(rates, np.float64)
        if not len(self._rates) or not (self._rates > 0.0).all():
            raise ValueError(f"rates={rates!r}; give numbers above 0, such as {RATES}")
        if not 0.0 < forgetting <= 1.0:
            raise ValueError(f"forgetting={forgetting!r}; choose 0 < forgetting <= 1, such as {FORGETTING}")
        if n_last < 0:
            raise ValueError(f"n_last={n_last!r}; choose 0 or more")
        self._forgetting = float(forgetting)
        self._last_targets = np.full(n_last, -1)  # the newest first, -1 for none
        self._weights = np.zeros((len(rates), 0, 1), np.float32)  # (vote, class, product)
        self._squares = np.zeros((len(rates), 1), np.float32)  # (vote, product)
        self._sizes = np.zeros(2)  # weight of all samples learnt, weighted sum of their squared products

    @property
    def kind(self) -> str:
        """Name in reports."""
        return "sequence" if len(self._last_targets) else "products"

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of votes."""
        return len(self._rates)

    @property
    def names(self) -> list[str]:
        """Names of the votes: their rates."""
        return [f"({rate:g})" for rate in self._rates]

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the vote, zeros before anything is learnt; see `Experts.predict_proba`."""
        return self.plan_votes(batch, StepPlan(), asked)

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the vote, zeros on rows that are not asked; see `Experts.plan_votes`."""
        inputs, proba = batch.inputs, np.empty((len(batch.inputs), self.n_experts, batch.n_classes))
        weights, squares = self._with_room(self._n_before + inputs.shape[1], batch.n_classes)
        if weights is not self._weights:
            plan.is_repeatable = False
        asked = np.ones(len(inputs), np.bool_) if asked is None else asked
        plan.compute(
            multiply, weights, squares, self._sizes, self._last_targets, self._rates, self._forgetting, inputs,
            NO_TARGETS, NO_WEIGHTS, asked, proba,
        )  # fmt: skip
        return proba

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, to predict and then learn it; see `Experts.plan`.

        It neither votes on rows that are not asked nor learns them.
        """
        inputs, proba = batch.inputs, np.empty((len(batch.inputs), self.n_experts, batch.n_classes))
        weights, squares = self._with_room(self._n_before + inputs.shape[1], batch.n_classes)
        if weights is not self._weights:
            changes.append(assignment(self, _weights=weights, _squares=squares))
        asked = np.ones(len(inputs), np.bool_) if asked is None else asked
        changes.append(
            planned(
                multiply, weights, squares, self._sizes, self._last_targets, self._rates, self._forgetting, inputs,
                batch.targets, batch.weights, asked, proba,
            )
        )  # fmt: skip
        return proba

    def sizes(self) -> dict[str, int]:
        """Return how many inputs, at least, and classes are known; see `Group.sizes`."""
        _, n_classes, n_slots = self._weights.shape
        n_seen = 1 + max(self._last_targets.tolist(), default=-1)
        return {
            "n_inputs": max(_n_inputs_of(n_slots) - self._n_before, 0),
            "n_classes": max(n_classes, n_seen),
        }

    def state(self) -> State:
        """Return weights, sums of squared gradients, size of samples and last labels; see `driftmoe.state`."""
        return {
            "weights": self._weights.copy(),
            "squares": self._squares.copy(),
            "sample_sizes": self._sizes.copy(),
            "last_targets": self._last_targets.copy(),
        }

    def restore(self, state: State) -> None:
        """Restore the state of an expert that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("weights", "squares", "sample_sizes", "last_targets"), self)
        weights = array_of(state, "weights", np.float32, (self.n_experts, None, None), self)
        n_slots = weights.shape[2]
        if not n_slots or n_slots_of(_n_inputs_of(n_slots)) != n_slots:
            raise misfit(
                self,
                "weights",
                f"has {n_slots} weights for each class",
                f"it must have 1, 3, 6, 10 and so on, one for each product, or {OWN_PRODUCTS + SHARED_PRODUCTS}",
            )
        squares = array_of(state, "squares", np.float32, (self.n_experts, n_slots), self)
        sizes = array_of(state, "sample_sizes", np.float64, (2,), self)
        for name, values in (("squares", squares), ("sample_sizes", sizes)):
            if (values < 0.0).any():
                raise misfit(self, name, f"has {values.min()}", "it must be 0 or more everywhere")
        last_targets = array_of(state, "last_targets", np.int64, self._last_targets.shape, self)
        if (last_targets < -1).any():
            raise misfit(
                self, "last_targets", f"has {last_targets.min()}", "it must hold classes, or -1 for none"
            )
        self._weights, self._squares, self._sizes = weights, squares, sizes
        self._last_targets = last_targets

    @property
    def _n_before(self) -> int:
        """Number of numbers that stand before the inputs."""
        return N_LABELS * len(self._last_targets)

    def _with_room(self, n_inputs: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weights and sums of squares, widened with zeros for new inputs and classes."""
        n_votes, n_known, n_slots = self._weights.shape
        n_needed = max(n_slots, n_slots_of(n_inputs))
        if (n_known, n_slots) == (n_classes, n_needed):
            return self._weights, self._squares
        weights = enlarged(self._weights, (n_votes, n_classes, n_needed))
        return weights, enlarged(self._squares, (n_votes, n_needed))


def n_slots_of(n_inputs: int) -> int:
    """Return how many weights a class has: one for each product, while there is room, then also those to share."""
    n_products = (n_inputs + 1) * (n_inputs + 2) // 2
    return n_products if n_products <= OWN_PRODUCTS else OWN_PRODUCTS + SHARED_PRODUCTS


def _n_inputs_of(n_slots: int) -> int:
    """Return the least number of inputs for which a class has this many weights."""
    n_inputs = (math.isqrt(8 * min(n_slots, OWN_PRODUCTS) + 1) - 3) // 2
    return max(n_inputs, 0) + (n_slots > OWN_PRODUCTS)


@compiled(nogil=True)
def multiply(weights, squares, sizes, last_targets, rates, forgetting, inputs, targets, taught, asked, proba):  # type: ignore[no-untyped-def]
    """Write the class probabilities of each row, then learn the row.

    Parameters
    ----------
    weights
        float32, shape (n_votes, n_classes, n_slots); updated if there are targets.
    squares
        Faded sum of squared gradients of each product, float32, shape (n_votes, n_slots); updated.
    sizes
        Weight of all samples learnt before, and weighted sum of their squared products, shape (2,); updated.
    last_targets
        Labels learnt last, the newest first, shape (n_last,), -1 for none; updated, also by rows that are not asked.
    rates, forgetting
        See `Products`.
    inputs
        float32, shape (n_rows, n_inputs).
    targets
        Class indices, shape (n_rows,), or empty to learn nothing.
    taught
        Weight of each row, shape (n_rows,): the step and what is added to the sums are that many times as large. A row
        of weight 0 is not learnt.
    asked
        Rows on which to vote and from which to learn, bool, shape (n_rows,).
    proba
        Result, shape (n_rows, n_votes, n_classes); zeros until the first sample is learnt, and on rows that are not
        asked.
    """
    n_numbers = 1 + N_LABELS * last_targets.shape[0] + inputs.shape[1]
    places, numbers = np.zeros(n_numbers, np.int64), np.ones(n_numbers, np.float32)
    n_most = n_numbers * (n_numbers + 1) // 2
    slots, products = np.empty(n_most, np.int64), np.empty(n_most, np.float32)
    steps, lanes = np.empty(n_most, np.float32), np.empty(N_LANES, np.float32)
    for row in range(inputs.shape[0]):
        is_taught = targets.shape[0] > 0 and taught[row] > 0.0
        if not asked[row]:
            proba[row] = 0.0
            if is_taught:
                _note(targets[row], last_targets)
            continue
        n = _pair_up(inputs[row], last_targets, places, numbers, slots, products)
        is_whole = n == n_most and n_most <= OWN_PRODUCTS  # then product k has place k
        z, own = products[:n], slots[:n]
        for v in range(rates.shape[0]):
            _vote(z, own, is_whole, weights[v], lanes, proba[row, v])
        is_first = sizes[0] == 0.0
        if is_taught:
            _note(targets[row], last_targets)
            sizes[0] += taught[row]
            sizes[1] += taught[row] * np.float64(dot(z, z, lanes))
            scale = taught[row] * math.sqrt(sizes[0] / sizes[1])
            for v in range(rates.shape[0]):
                p = proba[row, v]
                error = 0.0
                for c in range(p.shape[0]):
                    wrong = p[c] - np.float64(c == targets[row])
                    error += wrong * wrong
                _adapt(
                    z,
                    own,
                    is_whole,
                    np.float32(taught[row] * error),
                    np.float32(forgetting),
                    squares[v],
                    steps,
                )
                reach = np.float64(dot(z, steps, lanes))
                step = min(rates[v] * scale, REACH / reach) if reach > 0.0 else 0.0
                for c in range(p.shape[0]):
                    wrong = p[c] - np.float64(c == targets[row])
                    _descend(np.float32(step * wrong), steps[:n], own, is_whole, weights[v, c])
        if is_first:
            proba[row] = 0.0


@kernel
def _note(target, last_targets):  # type: ignore[no-untyped-def]
    """Put a label before those learnt last."""
    for i in range(last_targets.shape[0] - 1, 0, -1):
        last_targets[i] = last_targets[i - 1]
    if last_targets.shape[0] > 0:
        last_targets[0] = target


@kernel
def _vote(z, slots, is_whole, weights, lanes, p):  # type: ignore[no-untyped-def]
    """Write the softmax of the sums of weighted products."""
    for c in range(p.shape[0]):
        p[c] = np.float64(dot(z, weights[c], lanes) if is_whole else _dot_at(z, slots, weights[c], lanes))
    to_proba(p)


@kernel
def _pair_up(x, last_targets, places, numbers, slots, products):  # type: ignore[no-untyped-def]
    """Write the products that are not 0 and their places among the weights, and return their number."""
    n_numbers, n, n_before = 1, 0, 1 + N_LABELS * last_targets.shape[0]
    for i in range(last_targets.shape[0]):
        if last_targets[i] >= 0:
            places[n_numbers], numbers[n_numbers] = (
                1 + N_LABELS * i + last_targets[i] % N_LABELS,
                np.float32(1.0),
            )
            n_numbers += 1
    for f in range(x.shape[0]):
        if x[f] != 0.0:
            places[n_numbers], numbers[n_numbers] = n_before + f, x[f]
            n_numbers += 1
    for j in range(n_numbers):
        first = places[j] * (places[j] + 1) // 2
        for i in range(j + 1):
            slot = first + places[i]
            slots[n + i] = slot if slot < OWN_PRODUCTS else OWN_PRODUCTS + slot % SHARED_PRODUCTS
            products[n + i] = numbers[i] * numbers[j]
        n += j + 1
    return n


@kernel
def _adapt(z, slots, is_whole, error, forgetting, squares, steps):  # type: ignore[no-untyped-def]
    """Add the squared gradients to the sums, and write the step of each product: z over the root of its sum."""
    if is_whole:
        for k in range(z.shape[0]):
            square = forgetting * squares[k] + error * (z[k] * z[k])
            squares[k] = square
            steps[k] = z[k] / (np.float32(math.sqrt(square)) + SMALLEST)
        return
    for k in range(z.shape[0]):
        square = forgetting * squares[slots[k]] + error * (z[k] * z[k])
        squares[slots[k]] = square
        steps[k] = z[k] / (np.float32(math.sqrt(square)) + SMALLEST)


@kernel
def _descend(amount, steps, slots, is_whole, weights):  # type: ignore[no-untyped-def]
    """Move the weights of a class."""
    if is_whole:
        for k in range(steps.shape[0]):
            weights[k] -= amount * steps[k]
        return
    for k in range(steps.shape[0]):
        weights[slots[k]] -= amount * steps[k]


@kernel
def _dot_at(a, slots, b, lanes):  # type: ignore[no-untyped-def]
    """Return the sum of products of `a` and those entries of `b`."""
    lanes[:] = np.float32(0.0)
    for k in range(a.shape[0]):
        lanes[k % N_LANES] += a[k] * b[slots[k]]
    return sum_of_lanes(lanes)
