"""Which experts take part in a sample, and with what weight.

A *policy* is anything that turns the logits of a router into a `Routing`: `policy(logits) -> Routing`. The policies
here are frozen dataclasses over pure functions, the same for trees on a stream and for layers of a network: they are
row-wise (a row alone gives bit for bit what it gives in a batch), work in float32 at least, take logits of any
leading shape, break ties for the lowest index, and are differentiable through the weights of the experts they keep.

An expert out of service is a logit of -inf: it is never chosen, and growing a router by such experts changes
nothing. NaN, +inf and a row of nothing but -inf are errors.

Numpy logits go through `route`, row by row and without the cost of torch's calls: policies have a twin for it, in
plain float64, held equal by tests.

What is measured on a stream
----------------------------
Top-p and entropy rules read a distribution over experts. The softmax of the logits is one only where the logits were
trained as one. A router that is trained by binary cross-entropy on *which experts were right* gives
sigmoid(z_i) = P(expert i is right), and then twelve logits of +4 (every expert is right) and of -4 (every expert is
wrong) have the same softmax, of the same, maximal entropy: the easiest samples look like the hardest. Such logits are
measured by the distribution of *the first right expert* instead (`measure="first-right"`, `first_right`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

Measure = Literal["softmax", "first-right"]
Score = Literal["softmax", "sigmoid"]


# --------------------------------------------------------------------------------------------------
# What a policy answers
# --------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """The part of a routing that mixing and learning need, in numpy.

    Attributes
    ----------
    weights
        Mixing weights, 0 outside the mask; float64, shape (..., n_experts).
    mask
        Chosen experts, bool, shape (..., n_experts).
    n_null
        Chosen null experts, int64, shape (...); of shape (0,) where the policy knows none.
    """

    weights: np.ndarray
    mask: np.ndarray
    n_null: np.ndarray = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Plan:
    """The chosen (row, expert) pairs sorted by expert, and by row within an expert.

    Attributes
    ----------
    rows
        Choice of each pair in the flattened leading shape, int64, shape (n_pairs,).
    experts
        Expert of each pair, ascending, int64, shape (n_pairs,).
    weights
        Mixing weight of each pair, differentiable, shape (n_pairs,).
    n_experts
        Number of experts, chosen or not.
    """

    rows: Tensor
    experts: Tensor
    weights: Tensor
    n_experts: int

    @cached_property
    def offsets(self) -> Tensor:
        """Expert `e` serves `rows[offsets[e]:offsets[e + 1]]`; int32, shape (n_experts + 1,).

        `offsets[1:]` are the ends that `torch.nn.functional.grouped_mm` takes.
        """
        each = torch.arange(self.n_experts + 1, device=self.experts.device)
        return torch.searchsorted(self.experts, each, out_int32=True)


@dataclass(frozen=True, eq=False)
class Routing:
    """The experts of each row.

    Attributes
    ----------
    weights
        Mixing weights, 0 outside the mask, float32 or float64, shape (..., n_experts).
    mask
        Chosen experts, bool, shape (..., n_experts).
    logits
        What the policy read, float32 or float64, shape (..., n_experts), followed by the columns of null experts where
        there are some, without those of shared experts.
    measure
        Distribution over experts that the policy measured: the softmax of the logits, or `first_right` of them.
    q
        Index of the Tsallis entropy that `entropy` is.
    null_mask
        Chosen null experts, bool, shape (..., n_null); None where the policy knows none.
    """

    weights: Tensor
    mask: Tensor
    logits: Tensor
    measure: Measure = "softmax"
    q: float = 1.0
    null_mask: Tensor | None = None

    @cached_property
    def entropy(self) -> Tensor:
        """Normalised Tsallis entropy of what was measured, in [0, 1], shape (...); computed when first asked for."""
        if self.measure == "softmax":
            return _tsallis(self.logits.log_softmax(-1), self.q)
        return _tsallis(_first_right(_sorted(self.logits)[0]), self.q)

    @property
    def n_used(self) -> Tensor:
        """Experts used per row, null experts not among them; int64, shape (...)."""
        return self.mask.sum(-1)

    @property
    def null_share(self) -> Tensor:
        """Share of a row's chosen places that null experts take, shape (...); 0 where there are none."""
        nulls = self.n_used.new_zeros(()) if self.null_mask is None else self.null_mask.sum(-1)
        return nulls / (self.n_used + nulls).clamp_min(1)

    @property
    def null_mass(self) -> Tensor:
        """Probability that the router gives to all null experts together, chosen or not; shape (...)."""
        n_null = 0 if self.null_mask is None else self.null_mask.shape[-1]
        probs = self.logits.softmax(-1) if self.measure == "softmax" else first_right(self.logits).exp()
        return probs[..., probs.shape[-1] - n_null :].sum(-1)

    @cached_property
    def plan(self) -> Plan:
        """The chosen pairs sorted by expert; computed when first asked for."""
        mask = self.mask.flatten(0, -2) if self.mask.dim() > 1 else self.mask[None]  # (n_rows, n_experts)
        experts, rows = mask.T.nonzero(as_tuple=True)
        return Plan(rows, experts, self.weights.reshape(mask.shape)[rows, experts], mask.shape[-1])


class Policy(Protocol):
    """Anything that turns logits, shape (..., n_experts), into a `Routing`; a plain function will do."""

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""


def route(policy: Policy, logits: np.ndarray) -> Choice:
    """Route samples in numpy: each row by itself, without the cost of torch's calls, the same on every machine.

    Parameters
    ----------
    policy
        Any policy. Its method `of_row`, where it has one, answers for each row; else the policy is called on a tensor,
        and what torch makes of it may differ in the last bit from one processor to another.
    logits
        Shape (n_experts,) or (..., n_experts), any float type; the work is done in float64.

    Returns
    -------
    choice
        Weights and mask, as `policy` gives them for float64 logits, whose weights may differ in the last bit. A row
        alone gets what it gets in a block.

    Notes
    -----
    The twins loop over the experts in Python, which beats numpy's calls up to about sixty experts.

    Examples
    --------
    >>> import numpy as np
    >>> from driftmoe.routing import TopK, route
    >>> route(TopK(2), np.array([0.0, 1.0, 1.0, 1.0])).weights.tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    of_row = getattr(policy, "of_row", None)
    if of_row is not None and logits.ndim == 1:
        return of_row(logits)
    if of_row is not None and logits.ndim == 2 and len(logits):
        choices = [of_row(row) for row in logits]
        n_null = [choice.n_null for choice in choices]
        return Choice(
            np.stack([choice.weights for choice in choices]),
            np.stack([choice.mask for choice in choices]),
            np.array(n_null, np.int64) if np.ndim(n_null[0]) == 0 else n_null[0],
        )
    with torch.no_grad():
        routing = policy(torch.from_numpy(np.asarray(logits, dtype=np.float64)))
    weights, mask = map(np.ascontiguousarray, (routing.weights.numpy(), routing.mask.numpy()))
    if routing.null_mask is None:
        return Choice(weights, mask)
    return Choice(weights, mask, routing.null_mask.sum(-1).numpy())


# --------------------------------------------------------------------------------------------------
# What is measured: distributions over experts, and their entropy
# --------------------------------------------------------------------------------------------------


def first_right(logits: Tensor) -> Tensor:
    """Log-probability of each expert to be the first right one, experts being asked in order of belief.

    With s_i = sigmoid(z_i) the belief that expert i is right, sorted so that s_1 >= s_2 >= ..., and errors taken as
    independent, expert i is the first right one with probability

        pi_i = s_i (1 - s_1) ... (1 - s_{i-1}),    and nobody is right with probability pi_0 = (1 - s_1) ... (1 - s_n).

    If nobody is believed to be right, anyone may be: pi_0 is shared evenly, p_i = pi_i + pi_0 / n. So one trusted
    expert is enough to make p one-hot, however many others are trusted too, and p is uniform exactly when nobody is
    trusted. The first m experts hold the chance that one of them is right, so top-p on p asks as many experts as
    it takes to have one that is right.

    Parameters
    ----------
    logits
        Logits of "expert i is right", shape (..., n_experts); -inf is an expert out of service.

    Returns
    -------
    log_p
        Natural logarithms, -inf for experts out of service, same shape; exp(log_p) sums to 1.

    Notes
    -----
    Errors of trees that learn the same stream are not independent, so that the chances are too high: p is a measure of
    trust, not a calibrated probability. Of equal logits the lower index comes first and gets more.

    Not invariant to a shift of the logits: their level is the information that the softmax throws away.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import first_right, tsallis_entropy
    >>> [round(tsallis_entropy(first_right(torch.full((12,), z)), q=1.1).item(), 2) for z in (4.0, 0.0, -4.0)]
    [0.04, 0.57, 1.0]
    """
    belief, order = _sorted(_checked(logits))
    return torch.zeros_like(belief).scatter(-1, order, _first_right(belief))


def _first_right(belief: Tensor) -> Tensor:
    """The same of logits that are sorted, in their order."""
    missed = nn.functional.logsigmoid(-belief).cumsum(-1)  # log of (1 - s_1) ... (1 - s_i)
    earlier = nn.functional.pad(missed[..., :-1], (1, 0))
    first = nn.functional.logsigmoid(belief) + earlier
    in_service = belief > -torch.inf
    nobody = missed[..., -1:] - in_service.sum(-1, keepdim=True).log()
    return torch.logaddexp(first, nobody).masked_fill(~in_service, -torch.inf)


def _sorted(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of each row from the largest on, and their experts; of ties the lowest index first."""
    return torch.sort(logits, dim=-1, descending=True, stable=True)


def tsallis_entropy(logits: Tensor, q: float, normalize: bool = True) -> Tensor:
    """Tsallis entropy of the softmax of the logits: 0 when one expert has all, maximal when all are equal.

    S_q(p) = (1 - sum_i p_i^q) / (q - 1), and its limit at q = 1, Shannon's -sum_i p_i ln p_i.

    Parameters
    ----------
    logits
        Shape (..., n); log-probabilities serve as well. -inf is an expert out of service and does not count in n.
    q
        Entropic index, q > 0. Small q counts how many experts are possible at all, large q looks at the largest alone.
    normalize
        Divide by the entropy of the uniform distribution, (1 - n^(1-q)) / (q - 1), so that the result is in [0, 1].
        A single expert has entropy 0. Otherwise the unit at q = 1 is nats.

    Returns
    -------
    entropy
        Shape (...), float32 at least; differentiable.

    Raises
    ------
    ValueError
        If q is not positive, or for logits with NaN, with +inf or of -inf alone.

    Notes
    -----
    Computed as -sum_i e^(min(1,q) l_i) expm1(|q-1| l_i) / |q-1| with l = log p, which is the same sum, has no
    cancellation as q tends to 1, needs no epsilon under a logarithm, and has finite gradients where p_i = 0.

    References
    ----------
    Tsallis 1988, "Possible generalization of Boltzmann-Gibbs statistics", eq. 1. DynMoLE (arXiv 2504.00661) routes by
    the normalised form.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import tsallis_entropy
    >>> p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    >>> [round(tsallis_entropy(p.log(), q, normalize=False).item(), 4) for q in (0.5, 1.0, 2.0)]
    [1.7315, 1.1421, 0.635]
    """
    return _tsallis(_checked(logits).log_softmax(-1), q, normalize)


def renyi_entropy(logits: Tensor, q: float, normalize: bool = True) -> Tensor:
    """Rényi entropy of the softmax of the logits, ln(sum_i p_i^q) / (1 - q); Shannon's at q = 1.

    It is an increasing function of the Tsallis entropy of the same q, R = ln(1 + (1-q) S) / (1-q). A rule that
    compares either with a threshold can do the same with the other, which is why `EntropyHybrid` knows one of them.

    Parameters
    ----------
    logits, q, normalize
        As in `tsallis_entropy`; the maximum is ln(n) for every q.

    Returns
    -------
    entropy
        Shape (...), in nats unless normalised; float32 at least; differentiable.

    Raises
    ------
    ValueError
        As in `tsallis_entropy`.

    References
    ----------
    Rényi 1961, "On measures of entropy and information".

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import renyi_entropy
    >>> p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    >>> round(renyi_entropy(p.log(), 2.0, normalize=False).item(), 4)  # -ln(0.365)
    1.0079
    """
    log_p = _checked(logits).log_softmax(-1)
    entropy = _tsallis(log_p, q, normalize=False)
    if q != 1.0:
        entropy = torch.log1p((1.0 - q) * entropy) / (1.0 - q)
    return _over_maximum(entropy, _n_in_service(log_p).log()) if normalize else entropy


def _tsallis(log_p: Tensor, q: float, normalize: bool = True) -> Tensor:
    n = _n_in_service(log_p)
    if not q > 0.0:
        raise ValueError(f"q={q}; choose an entropic index q > 0, such as 1 (Shannon) or 1.1")
    log_p = log_p.clamp_min(torch.finfo(log_p.dtype).min)  # 0 · -inf is NaN; exp of either is 0
    if q == 1.0:
        entropy = -(log_p.exp() * log_p).sum(-1)
        maximum = n.log()
    else:
        a = q - 1.0
        entropy = -((min(1.0, q) * log_p).exp() * (abs(a) * log_p).expm1()).sum(-1) / abs(a)
        maximum = -(-a * n.log()).expm1() / a
    return _over_maximum(entropy, maximum) if normalize else entropy


def _over_maximum(entropy: Tensor, maximum: Tensor) -> Tensor:
    return (entropy / maximum.where(maximum > 0.0, 1.0)).clamp(max=1.0)  # one expert alone: 0 / 1


def _n_in_service(log_p: Tensor) -> Tensor:
    return (log_p > -torch.inf).sum(-1).to(log_p.dtype)


def _checked(logits: Tensor) -> Tensor:
    """Widen to float32 at least; refuse what would silently choose an expert."""
    if not logits.is_floating_point():
        raise TypeError(f"logits are {logits.dtype}; give a floating-point tensor, shape (..., n_experts)")
    # The maximum of a row is finite exactly when it has no NaN, no +inf and something else than -inf; and so is the sum
    # of the maxima, which float64 has room for. Tensor.isfinite is several calls.
    if not torch.compiler.is_compiling() and not math.isfinite(
        logits.detach().amax(-1).sum(dtype=torch.float64).item()
    ):
        raise ValueError(
            "logits with NaN, with +inf or with nothing but -inf in a row; -inf alone marks an expert out of "
            "service, and one expert at least must be in service"
        )
    return logits if logits.dtype == torch.float64 else logits.float()


# --------------------------------------------------------------------------------------------------
# Masks and weights
# --------------------------------------------------------------------------------------------------


def top_k_mask(scores: Tensor, k: int) -> Tensor:
    """Mark the `k` largest scores of each row; of equal ones the lowest index wins.

    Parameters
    ----------
    scores
        Shape (..., n); -inf is never chosen, so that a row may have fewer than `k`.
    k
        1 <= k <= n.

    Returns
    -------
    mask
        bool, same shape.

    Raises
    ------
    ValueError
        If k is out of range.
    """
    n = scores.shape[-1]
    if not 1 <= k <= n:
        raise ValueError(f"top_k: k={k} but there are {n} experts; choose 1 <= k <= {n}")
    # torch.topk breaks ties in any order, so its values are taken, not its indices. A stable sort costs more.
    top = scores.topk(min(k + 1, n), dim=-1).values
    if k < n and not torch.compiler.is_compiling():
        above = scores > top[..., k:]  # at most k in a row, and fewer only where there are ties
        if above.sum().item() * n == k * scores.numel():
            return above
    smallest = top[..., k - 1 : k]
    above = scores > smallest
    level = scores == smallest
    left = k - above.sum(-1, keepdim=True)
    return (above | (level & (level.cumsum(-1) <= left))) & (scores > -torch.inf)


def top_p_mask(
    logits: Tensor,
    p: float,
    *,
    min_k: int = 1,
    max_k: int | None = None,
    inclusive: bool = True,
    measure: Measure = "softmax",
) -> Tensor:
    """Mark in each row the fewest experts, most trusted first, whose probabilities add up to `p`.

    Parameters
    ----------
    logits
        Shape (..., n_experts); -inf is never chosen.
    p
        Probability to collect, in [0, 1]; 1 takes every expert, even where rounding collects all of it earlier.
    min_k, max_k
        Fewest and most experts of a row; more than there are means all. The default of `max_k` is no limit.
    inclusive
        Whether the expert with which the sum first reaches `p` is kept. If not, the sum stays at or below `p`.
    measure
        Distribution over experts that is summed up: the softmax of the logits or `first_right` of them.

    Returns
    -------
    mask
        bool, same shape; the mask of a smaller `p` is part of that of a larger one.
    """
    logits = _checked(logits)
    belief, order = _sorted(logits.detach())
    trust = belief.softmax(-1) if measure == "softmax" else _first_right(belief).exp()
    return _first(order, _top_p(trust, p, min_k, max_k, inclusive), logits)


def _top_p(trust: Tensor, p: float, min_k: int, max_k: int | None, inclusive: bool) -> Tensor:
    """How many experts each row takes, (..., 1), of sorted probabilities."""
    n = trust.shape[-1]
    collected = trust.cumsum(-1)
    if p >= 1.0:
        k = torch.full_like(collected[..., :1], n, dtype=torch.int64)
    elif inclusive:
        k = 1 + (collected < p).sum(-1, keepdim=True)
    else:
        k = (collected <= p).sum(-1, keepdim=True)
    return k.clamp(min(min_k, n), max_k)


def _first(order: Tensor, k: Tensor, logits: Tensor) -> Tensor:
    """Mark the first `k` experts of each row's order, less those out of service."""
    place = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, place < k) & (logits > -torch.inf)


def _weights(logits: Tensor, mask: Tensor, renorm: bool, score: Score = "softmax") -> Tensor:
    """Scores of the chosen experts, of which each row has one; `renorm` makes them sum to 1."""
    if not renorm:
        return _scores(logits, score) * mask
    # A softmax over the logarithms of scores is scores over their sum, without a division by something tiny.
    log_scores = nn.functional.logsigmoid(logits) if score == "sigmoid" else logits
    return log_scores.masked_fill(~mask, -torch.inf).softmax(-1)


# --------------------------------------------------------------------------------------------------
# The same on one row, in Python's floats
# --------------------------------------------------------------------------------------------------


@cache
def _exact() -> ModuleType:
    """`driftmoe.arithmetic`, imported when a row is first asked for: layers of networks do without its compiler."""
    return import_module("driftmoe.arithmetic")


def _sum(values: Iterable[float]) -> float:
    """Add up in order: Python's `sum` rounds in another way from version 3.12 on."""
    total = 0.0
    for value in values:
        total += value
    return total


def _checked_row(logits: np.ndarray) -> list[float]:
    row = logits.tolist()
    if not -math.inf < max(row) or not sum(row) < math.inf:  # a NaN anywhere makes the sum NaN
        raise ValueError(
            "logits with NaN, with +inf or with nothing but -inf in a row; -inf alone marks an expert out of "
            "service, and one expert at least must be in service"
        )
    return row


def _sorted_row(row: Sequence[float]) -> list[int]:
    """Experts from the largest value on, without those out of service; `sorted` is stable, also in reverse."""
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)
    while row[order[-1]] == -math.inf:
        order.pop()
    return order


def _sorted_trust_row(row: list[float], order: list[int], measure: Measure) -> list[float]:
    if measure == "softmax":
        top = row[order[0]]
        scores = [_exact().exp(row[i] - top) for i in order]
        total = _sum(scores)
        return [score / total for score in scores]
    first, nobody = [], 1.0
    for i in order:
        belief = _sigmoid(row[i])
        first.append(nobody * belief)
        nobody *= 1.0 - belief
    return [pi + nobody / len(order) for pi in first]


def _top_p_row(trust: list[float], p: float, min_k: int, max_k: int | None, inclusive: bool) -> int:
    k, collected = 0, 0.0
    for probability in trust:
        collected += probability
        if p < 1.0 and (collected > p or (inclusive and collected == p)):
            k += inclusive
            break
        k += 1
    n = len(trust)
    return min(max(k, min_k), max_k or n, n)


def _tsallis_row(probs: list[float], q: float) -> float:
    """The normalised entropy."""
    if len(probs) == 1:
        return 0.0
    log_n, a = _exact().log(len(probs)), q - 1.0
    if a == 0.0:
        return -_sum(p * _exact().log(p) for p in probs if p > 0.0) / log_n
    entropy = _sum(p * _exact().expm1(a * _exact().log(p)) for p in probs if p > 0.0)
    return min(entropy / _exact().expm1(-a * log_n), 1.0)


def _weighted_row(n_experts: int, chosen: Sequence[int], scores: Sequence[float], total: float) -> Choice:
    weights = np.zeros(n_experts)
    mask = np.zeros(n_experts, dtype=bool)
    for i, score in zip(chosen, scores, strict=True):
        weights[i] = score / total
        mask[i] = True
    return Choice(weights, mask)


def _softmax_row(row: list[float], chosen: Sequence[int], renorm: bool) -> Choice:
    top = max([row[i] for i in chosen], default=0.0) if renorm else max(row)
    scores = [_exact().exp(row[i] - top) for i in chosen]
    total = _sum(scores if renorm else [_exact().exp(z - top) for z in row])
    return _weighted_row(len(row), chosen, scores, total)


def _scored_row(row: list[float], chosen: Sequence[int], renorm: bool, score: Score) -> Choice:
    """Weigh the chosen ones, the largest logit first, by what `score` says."""
    if score == "softmax":
        return _softmax_row(row, chosen, renorm)
    if not renorm:
        return _weighted_row(len(row), chosen, [_sigmoid(row[i]) for i in chosen], 1.0)
    top = row[chosen[0]]  # sigmoid(z) / sigmoid(top), which does not underflow
    scores = [_exact().exp(row[i] - top) * _sigmoid(-row[i]) / _sigmoid(-top) for i in chosen]
    return _weighted_row(len(row), chosen, scores, _sum(scores))


def _sigmoid(z: float) -> float:
    if z >= 0.0:
        return 1.0 / (1.0 + _exact().exp(-z))
    return (e := _exact().exp(z)) / (1.0 + e)


# --------------------------------------------------------------------------------------------------
# Policies
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dense:
    """Every expert takes part, weighted by the softmax of the logits.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import Dense
    >>> Dense()(torch.zeros(1, 4)).weights.tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __call__(self, logits: Tensor) -> Routing:
        """Choose every expert in service."""
        logits = _checked(logits)
        return Routing(logits.softmax(-1), logits > -torch.inf, logits)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = _checked_row(logits)
        return _softmax_row(row, [i for i, z in enumerate(row) if z > -math.inf], renorm=True)


@dataclass(frozen=True)
class TopK:
    """The `k` experts with the largest logits.

    Parameters
    ----------
    k
        Experts of a row.
    renorm
        Whether weights are divided by their sum, as Mixtral does, or stay the scores among all experts.
    score
        What weights are made of: `"softmax"` of the logits, or `"sigmoid"` (DeepSeek-V3), which fits logits that are
        trained by binary cross-entropy.

    Notes
    -----
    With `k=1` and `renorm` the weight is 1 whatever the logits are: the router gets no gradient through it.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK
    >>> TopK(2)(torch.tensor([0.0, 1.0, 1.0, 1.0])).weights.tolist()
    [0.0, 0.5, 0.5, 0.0]
    """

    k: int
    renorm: bool = True
    score: Score = "softmax"

    def __post_init__(self) -> None:
        _check_count("TopK: k", self.k)
        _check_choice("TopK: score", self.score, ("softmax", "sigmoid"))

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts by score + bias, weigh them by score; the bias, (n_experts,), is a `BiasBalancer`'s."""
        logits = _checked(logits)
        mask = top_k_mask(logits if bias is None else _biased(logits, self.score, bias), self.k)
        return Routing(_weights(logits, mask, self.renorm, self.score), mask, logits)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = _checked_row(logits)
        if self.k > len(row):
            raise ValueError(
                f"top_k: k={self.k} but there are {len(row)} experts; choose 1 <= k <= {len(row)}"
            )
        return _scored_row(row, _sorted_row(row)[: self.k], self.renorm, self.score)


@dataclass(frozen=True)
class GroupTopK:
    """Top-k within the best groups of experts, which lie on few devices (DeepSeek-V2 and V3).

    Parameters
    ----------
    k
        Experts of a row; fewer where the kept groups hold fewer in service.
    n_groups
        Groups of equal size, of neighbouring experts; must divide their number.
    n_kept
        Groups of a row.
    best
        A group's score is the sum of its `best` largest scores: 1 as in V2, 2 as in V3.
    renorm, score
        As in `TopK`; V3 renormalises sigmoid scores.

    References
    ----------
    DeepSeek-V2 (arXiv 2405.04434), sec. 2.2.2; DeepSeek-V3 (arXiv 2412.19437), sec. 2.1.2.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import GroupTopK
    >>> GroupTopK(2, n_groups=2, n_kept=1, best=2)(torch.tensor([3.0, -3.0, 2.0, 1.9])).mask.tolist()
    [False, False, True, True]
    """

    k: int
    n_groups: int
    n_kept: int
    best: int = 2
    renorm: bool = True
    score: Score = "sigmoid"

    def __post_init__(self) -> None:
        for name in ("k", "n_groups", "n_kept", "best"):
            _check_count(f"GroupTopK: {name}", getattr(self, name))
        if self.n_kept > self.n_groups:
            raise ValueError(
                f"GroupTopK: n_kept={self.n_kept} of n_groups={self.n_groups}; choose n_kept <= n_groups"
            )
        _check_choice("GroupTopK: score", self.score, ("softmax", "sigmoid"))

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts by score + bias, weigh them by score; the bias, (n_experts,), is a `BiasBalancer`'s."""
        logits = _checked(logits)
        self._check_groups(logits.shape[-1])
        scores = _biased(logits, self.score, 0.0 if bias is None else bias)
        in_service = (logits > -torch.inf).unflatten(-1, (self.n_groups, -1))  # (..., n_groups, group size)
        grouped = scores.unflatten(-1, (self.n_groups, -1)).where(in_service, 0.0)
        of_group = grouped.topk(self.best, dim=-1).values.sum(-1)  # (..., n_groups)
        kept = top_k_mask(of_group.masked_fill(~in_service.any(-1), -torch.inf), self.n_kept)
        allowed = (kept[..., None] & in_service).flatten(-2)
        within = logits if bias is None else scores  # scores of the same order, but logits do not underflow
        mask = top_k_mask(within.masked_fill(~allowed, -torch.inf), self.k)
        return Routing(_weights(logits, mask, self.renorm, self.score), mask, logits)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = _checked_row(logits)
        self._check_groups(len(row))
        if self.score == "sigmoid":
            scores = [_sigmoid(z) for z in row]
        else:
            top = max(row)
            scores = [_exact().exp(z - top) for z in row]
            total = _sum(scores)
            scores = [score / total for score in scores]
        size = len(row) // self.n_groups
        groups = [range(first, first + size) for first in range(0, len(row), size)]
        of_group = [
            sum(sorted([scores[i] for i in group], reverse=True)[: self.best])
            if any(row[i] > -math.inf for i in group)
            else -math.inf
            for group in groups
        ]
        kept = set(_sorted_row(of_group)[: self.n_kept])
        chosen = [i for i in _sorted_row(row) if i // size in kept]
        return _scored_row(row, chosen[: self.k], self.renorm, self.score)

    def _check_groups(self, n: int) -> None:
        if n % self.n_groups or self.best > n // self.n_groups:
            raise ValueError(
                f"GroupTopK: {n} experts in n_groups={self.n_groups} with best={self.best}; choose a number of groups "
                "that divides the number of experts, and best no larger than a group"
            )


@dataclass(frozen=True)
class TopP:
    """As many experts as it takes to collect the probability `p`: few for an easy row, many for a hard one.

    Parameters
    ----------
    p, min_k, max_k, inclusive, measure
        As in `top_p_mask`.
    renorm
        Whether the weights, the softmax of the logits, are divided by their sum over the chosen experts.

    References
    ----------
    Huang et al. 2024, "Harder Tasks Need More Experts" (arXiv 2403.07652). Its code keeps one expert more
    when the sum equals `p` exactly.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopP
    >>> p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    >>> [TopP(p=t)(p.log()).n_used.item() for t in (0.45, 0.55, 0.81, 0.96)]
    [1, 2, 3, 4]
    """

    p: float = 0.4
    min_k: int = 1
    max_k: int | None = None
    inclusive: bool = True
    renorm: bool = False
    measure: Measure = "softmax"

    def __post_init__(self) -> None:
        _check_share("TopP: p", self.p)
        _check_count("TopP: min_k", self.min_k)
        if self.max_k is not None and self.max_k < self.min_k:
            raise ValueError(
                f"TopP: max_k={self.max_k} but min_k={self.min_k}; choose max_k >= min_k, or None"
            )
        _check_choice("TopP: measure", self.measure, ("softmax", "first-right"))

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""
        logits = _checked(logits)
        mask = top_p_mask(
            logits, self.p, min_k=self.min_k, max_k=self.max_k, inclusive=self.inclusive, measure=self.measure
        )
        return Routing(_weights(logits, mask, self.renorm), mask, logits, self.measure)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = _checked_row(logits)
        order = _sorted_row(row)
        trust = _sorted_trust_row(row, order, self.measure)
        k = _top_p_row(trust, self.p, self.min_k, self.max_k, self.inclusive)
        return _softmax_row(row, order[:k], self.renorm)


@dataclass(frozen=True)
class EntropyHybrid:
    """Top-p where the router is certain, every expert where it is not.

    High entropy means *more* experts: a row whose normalised Tsallis entropy exceeds the threshold goes to all of them,
    softly weighted; every other row goes to the top-p.

    Parameters
    ----------
    q
        Index of the entropy, q > 0.
    threshold
        In [0, 1]; 1 never goes to all. How many rows exceed a given threshold depends on the number of experts: of
        normal logits of deviation 1, 24 % exceed 0.9 for 6 experts and 52 % for 64.
    p, min_k, inclusive
        The top-p rule, as in `top_p_mask`.
    renorm
        Whether the weights, the softmax of the logits, are divided by their sum over the chosen experts. Votes need it.
    measure
        Distribution over experts whose entropy decides and whose probabilities are summed up: the softmax of the
        logits, as in the paper, or `first_right` of them, for logits trained by binary cross-entropy. With the latter
        a row is uncertain when nobody is believed to be right, and certain when somebody is, even if all are.

    Notes
    -----
    The defaults are those of DynMoLE's code, which excludes the expert that crosses `p` and keeps 2 at least. A fresh
    router is uncertain, so that all experts learn first.

    References
    ----------
    DynMoLE, Li et al. 2025 (arXiv 2504.00661): hybrid routing by Tsallis entropy.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import EntropyHybrid
    >>> certain, uncertain = torch.tensor([5.0, 2.0, 0.0, 0.0, 0.0, 0.0]), torch.zeros(6)
    >>> EntropyHybrid()(torch.stack([certain, uncertain])).n_used.tolist()
    [2, 6]
    """

    q: float = 1.1
    threshold: float = 0.9
    p: float = 0.75
    min_k: int = 2
    inclusive: bool = False
    renorm: bool = False
    measure: Measure = "softmax"

    def __post_init__(self) -> None:
        if not self.q > 0.0:
            raise ValueError(f"EntropyHybrid: q={self.q}; choose q > 0, such as 1.1")
        _check_share("EntropyHybrid: threshold", self.threshold)
        _check_share("EntropyHybrid: p", self.p)
        _check_count("EntropyHybrid: min_k", self.min_k)
        _check_choice("EntropyHybrid: measure", self.measure, ("softmax", "first-right"))

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts for each row."""
        logits = _checked(logits)
        belief, order = _sorted(logits.detach())
        if self.measure == "softmax":
            log_p, trust = logits.detach().log_softmax(-1), belief.softmax(-1)
        else:
            log_p = _first_right(belief)
            trust = log_p.exp()
        k = _top_p(trust, self.p, self.min_k, None, self.inclusive)
        uncertain = _tsallis(log_p, self.q) > self.threshold
        mask = _first(order, k.masked_fill(uncertain[..., None], logits.shape[-1]), logits)
        return Routing(_weights(logits, mask, self.renorm), mask, logits, self.measure, self.q)

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        row = _checked_row(logits)
        order = _sorted_row(row)
        trust = _sorted_trust_row(row, order, self.measure)
        if _tsallis_row(trust, self.q) <= self.threshold:
            order = order[: _top_p_row(trust, self.p, self.min_k, None, self.inclusive)]
        return _softmax_row(row, order, self.renorm)


@dataclass(frozen=True)
class WithNull:
    """A policy over experts and null experts, which do nothing: rows that choose nulls use fewer experts.

    The last `n_null` columns of the logits are the null experts'. The policy chooses among all columns; the routing is
    about the true experts, and says in `null_mask` which nulls were chosen.

    Parameters
    ----------
    policy
        Any policy, such as `TopK(4)`.
    n_null
        Number of null experts. A balanced router then uses k·n / (n + n_null) true experts of n on average.
    renorm
        Whether the weights of the true experts are the softmax over the chosen true experts alone (AdaMoE). If not,
        they stay what the policy gives them: probabilities, or normalised over chosen experts and nulls together.
    on_empty
        What a row gets that chose nulls alone: `"none"`, no expert and zero weights, so that it passes by (AdaMoE);
        or `"best"`, the true expert of the largest logit with weight 1. `WithShared` is a third answer.

    Notes
    -----
    With `renorm`, a row of one true expert has weight 1 whatever its logit: no gradient for the router.

    References
    ----------
    AdaMoE, Zeng et al. 2024 (arXiv 2406.13233).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK, WithNull
    >>> routing = WithNull(TopK(2), n_null=2)(torch.tensor([[1.0, 0.0, 2.0, -1.0], [0.0, 0.0, 1.0, 1.0]]))
    >>> routing.mask.tolist(), routing.null_share.tolist()
    ([[True, False], [False, False]], [0.5, 1.0])
    """

    policy: Policy
    n_null: int
    renorm: bool = True
    on_empty: Literal["none", "best"] = "none"

    def __post_init__(self) -> None:
        _check_count("WithNull: n_null", self.n_null)
        if getattr(self.policy, "n_shared", 0):
            raise ValueError(
                f"WithNull: policy={self.policy!r} has shared experts, which have no logits; write them outermost, "
                "WithShared(WithNull(policy, n_null), n_shared)"
            )
        _check_choice("WithNull: on_empty", self.on_empty, ("none", "best"))

    def __call__(self, logits: Tensor) -> Routing:
        """Choose experts and null experts for each row; shape (..., n_experts + n_null)."""
        n = self._n_true(logits.shape[-1])
        whole = self.policy(logits)
        mask, true = whole.mask[..., :n], _checked(logits)[..., :n]
        if self.renorm:
            none = ~mask.any(-1, keepdim=True)
            weights = (
                _weights(true.masked_fill(none, 0.0), mask | none, renorm=True, score=self._score) * mask
            )
        else:
            weights = whole.weights[..., :n]
        if self.on_empty == "best":
            best = top_k_mask(true, 1) & ~mask.any(-1, keepdim=True)
            mask, weights = mask | best, weights.masked_fill(best, 1.0)
        return replace(whole, weights=weights, mask=mask, null_mask=whole.mask[..., n:])

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        n = self._n_true(len(logits))
        whole = route(self.policy, logits)
        weights, mask, true = whole.weights[:n], whole.mask[:n], logits[:n].tolist()
        n_null = np.array(whole.mask[n:].sum())
        chosen = [i for i, is_chosen in enumerate(mask.tolist()) if is_chosen]
        if not chosen and self.on_empty == "best" and max(true) > -math.inf:
            chosen = [true.index(max(true))]
        elif not self.renorm:
            return Choice(weights, mask, n_null)
        if self._score == "sigmoid":
            true = [min(z, 0.0) - _exact().log1p(_exact().exp(-abs(z))) for z in true]
        return _softmax_row(true, chosen, renorm=True)._replace(n_null=n_null)

    @property
    def _score(self) -> Score:
        """What the policy beneath weighs its experts by."""
        return getattr(self.policy, "score", "softmax")

    def _n_true(self, n_columns: int) -> int:
        if n_columns <= self.n_null:
            raise ValueError(
                f"WithNull: logits have {n_columns} columns, n_null={self.n_null} of them nulls; give the router "
                "more outputs: one for each expert and for each null expert"
            )
        return n_columns - self.n_null


@dataclass(frozen=True)
class WithShared:
    """Experts that take part in every row, in front of those that a policy chooses.

    The router knows only the others: logits of n columns give a routing of n_shared + n experts. `WithNull` goes
    within: `WithShared(WithNull(TopK(2), n_null=4), n_shared=1)`.

    Parameters
    ----------
    policy
        Any policy, for the experts after the shared ones.
    n_shared
        Number of shared experts, the first ones.
    renorm
        Shared experts have weight 1, as in DeepSeekMoE's sum. `renorm` divides all weights of a row by their sum, so
        that votes stay a mean.

    References
    ----------
    DeepSeekMoE, Dai et al. 2024 (arXiv 2401.06066): shared expert isolation.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK, WithShared
    >>> WithShared(TopK(1), n_shared=1)(torch.tensor([0.0, 3.0])).weights.tolist()
    [1.0, 0.0, 1.0]
    """

    policy: Policy
    n_shared: int
    renorm: bool = False

    def __post_init__(self) -> None:
        _check_count("WithShared: n_shared", self.n_shared)

    @property
    def n_null(self) -> int:
        """Null experts of the policy beneath."""
        return getattr(self.policy, "n_null", 0)

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts for each row; the bias, of the experts with logits, is handed to a policy that takes one."""
        routed = self.policy(logits) if bias is None else self.policy(logits, bias)  # type: ignore[call-arg]
        weights = nn.functional.pad(routed.weights, (self.n_shared, 0), value=1.0)
        if self.renorm:
            weights = weights / weights.sum(-1, keepdim=True)
        return replace(
            routed, weights=weights, mask=nn.functional.pad(routed.mask, (self.n_shared, 0), value=True)
        )

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row of numpy logits."""
        routed = route(self.policy, logits)
        weights = np.concatenate((np.ones(self.n_shared), routed.weights))
        if self.renorm:
            weights /= weights.sum()
        mask = np.concatenate((np.ones(self.n_shared, dtype=bool), routed.mask))
        return Choice(weights, mask, routed.n_null)


@dataclass(frozen=True)
class Scheduled:
    """A policy whose `k` depends on the step.

    Parameters
    ----------
    policy
        A dataclass with a field `k`, such as `TopK(1)` or `GroupTopK(...)`.
    k
        Number of experts at a step, such as `LinearK(8, 16, n_steps=400_000)`; any function that can be pickled. In
        `DriftMoEClassifier` a step is a mini-batch of the router.

    References
    ----------
    SMoE-Dropout, Chen et al. 2023 (arXiv 2303.01610): with a router that stays random (`RandomRouter`) and k
    growing in training, the network can be used with any k afterwards.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import LinearK, Scheduled, TopK
    >>> policy = Scheduled(TopK(1), LinearK(1, 4, n_steps=100))
    >>> [policy.at(step).k for step in (0, 50, 100, 1000)]
    [1, 2, 4, 4]
    >>> policy(torch.zeros(4), step=100).n_used.item()
    4
    """

    policy: Any
    k: Callable[[int], int]

    def at(self, step: int) -> Any:
        """Return the policy of this step."""
        return replace(self.policy, k=self.k(step))

    def __call__(self, logits: Tensor, step: int) -> Routing:
        """Choose experts for each row."""
        return self.at(step)(logits)


@dataclass(frozen=True)
class LinearK:
    """A number of experts that moves in a straight line, then stays: round(start + (stop - start) · step / n_steps).

    Parameters
    ----------
    start, stop
        At step 0, and at `n_steps` and later.
    n_steps
        Steps between the two.
    """

    start: int
    stop: int
    n_steps: int

    def __post_init__(self) -> None:
        for name in ("start", "stop", "n_steps"):
            _check_count(f"LinearK: {name}", getattr(self, name))

    def __call__(self, step: int) -> int:
        """Return k at a step, counted from 0."""
        return round(self.start + (self.stop - self.start) * min(step, self.n_steps) / self.n_steps)


def at_step(policy: Policy, step: int) -> Policy:
    """Return what a policy is at a step, where it or the policy within it is `Scheduled`; else the policy itself."""
    if isinstance(policy, Scheduled):
        return policy.at(step)
    if (
        isinstance(policy, WithNull | WithShared)
        and (inner := at_step(policy.policy, step)) is not policy.policy
    ):
        return replace(policy, policy=inner)
    return policy


def _scores(logits: Tensor, score: Score) -> Tensor:
    # torch.sigmoid rounds an element differently by its place in the batch, the logarithm's exp does not.
    return nn.functional.logsigmoid(logits).exp() if score == "sigmoid" else logits.softmax(-1)


def _biased(logits: Tensor, score: Score, bias: Tensor | float) -> Tensor:
    """What experts are chosen by under a bias; no gradient, -inf for experts out of service."""
    logits = logits.detach()
    return (_scores(logits, score) + bias).masked_fill(logits == -torch.inf, -torch.inf)


def _check_count(what: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what}={value!r}; choose an integer >= 1")


def _check_share(what: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{what}={value!r}; choose a number from 0 to 1")


def _check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{what}={value!r}; available: {', '.join(allowed)}")


# --------------------------------------------------------------------------------------------------
# Presets
# --------------------------------------------------------------------------------------------------

DYNMOLE = EntropyHybrid(q=1.1, threshold=0.9, p=0.75, min_k=2, inclusive=False, renorm=False)
"""The constants of DynMoLE's code (arXiv 2504.00661)."""

HARDER_TASKS = TopP(p=0.4, min_k=1, inclusive=True, renorm=False)
"""The constants of the code of "Harder Tasks Need More Experts" (arXiv 2403.07652)."""

ADAMOE = WithNull(TopK(4), n_null=16)
"""AdaMoE (arXiv 2406.13233) as its code sets it for Mixtral: 8 true experts, whose router has 24 outputs."""

STREAM = EntropyHybrid(
    q=1.1, threshold=0.9, p=0.95, min_k=1, inclusive=True, renorm=True, measure="first-right"
)
"""For logits of "expert i is right": as many experts as it takes to have a right one, all when nobody is trusted.

With 12 trees that was about 3 experts a sample where it was measured (`benchmarks/README.md`), more of them after a
drift; a larger `p` asks more and is more accurate where no tree is."""


# --------------------------------------------------------------------------------------------------
# What moves logits from outside
# --------------------------------------------------------------------------------------------------


class RandomRouter(nn.Module):
    """A linear router that is drawn once and never learns: the control for every learnt one.

    Parameters
    ----------
    n_inputs, n_experts
        Sizes.
    seed
        Of the private generator; None draws afresh.

    Notes
    -----
    Weights are uniform in ±1/sqrt(n_inputs), as `nn.Linear` draws them, without a bias, and a buffer: an optimiser does
    not see them, `state_dict` does. The product is taken in float32 also under autocast.

    References
    ----------
    SMoE-Dropout, Chen et al. 2023 (arXiv 2303.01610).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import RandomRouter
    >>> router = RandomRouter(5, 3, seed=0)
    >>> router(torch.ones(7, 5)).shape, len(list(router.parameters()))
    (torch.Size([7, 3]), 0)
    """

    weight: Tensor

    def __init__(self, n_inputs: int, n_experts: int, *, seed: int | None = None) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(n_inputs)
        weight = np.random.default_rng(seed).uniform(-bound, bound, (n_experts, n_inputs))
        self.register_buffer("weight", torch.from_numpy(weight.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (..., n_experts), for inputs of shape (..., n_inputs)."""
        with torch.autocast(x.device.type, enabled=False):
            return x.to(self.weight.dtype) @ self.weight.T


class BiasBalancer(nn.Module):
    """A bias for each expert that evens out their load without a loss.

    After each batch the bias of an overloaded expert falls and that of an underloaded one rises. It takes part in
    choosing experts, never in their weights: `TopK(k)(logits, bias=balancer.bias)`, then
    `balancer.update(routing.mask)`.

    With f_i the share of the chosen places that expert i got, b_i moves by `rate` · sign(1/n - f_i), the paper's rule,
    or by `rate` · (1 - n f_i), in proportion to the load that is missing. Both are shares: code that compares counts
    with shares moves every bias the same way, which changes nothing.

    Parameters
    ----------
    n_experts
        Number of experts.
    rate
        Step of the bias, in units of scores.
    rule
        `"sign"`, or `"proportional"`, which does not oscillate when the step is large beside the scores.

    Attributes
    ----------
    bias
        Shape (n_experts,), mean 0, a buffer: no optimiser and no weight decay touches it.

    References
    ----------
    Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts" (arXiv 2408.15664), alg. 1.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import BiasBalancer, TopK
    >>> balancer = BiasBalancer(2, rate=0.5)
    >>> balancer.update(TopK(1)(torch.tensor([[1.0, 0.0]])).mask)
    >>> balancer.bias.tolist()
    [-0.5, 0.5]
    """

    bias: Tensor

    def __init__(
        self, n_experts: int, *, rate: float = 1e-3, rule: Literal["sign", "proportional"] = "sign"
    ) -> None:
        super().__init__()
        _check_choice("BiasBalancer: rule", rule, ("sign", "proportional"))
        self.rate = rate
        self.rule = rule
        self.register_buffer("bias", torch.zeros(n_experts))

    @torch.no_grad()
    def update(self, mask: Tensor) -> None:
        """Take a step against the load of a batch: `Routing.mask`, shape (..., n_experts)."""
        places = mask.reshape(-1, mask.shape[-1]).sum(0)
        missing = 1.0 - len(places) * places / places.sum().clamp_min(1)
        step = missing.sign() if self.rule == "sign" else missing
        self.bias += self.rate * (step - step.mean())  # only differences between biases choose

    @torch.no_grad()
    def reset(self) -> None:
        """Forget the load; what a drift alarm asks for."""
        self.bias.zero_()
