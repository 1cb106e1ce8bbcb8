"""Distributions over experts that the logits stand for, and their entropy."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from driftmoe.routing.checks import REFUSED_LOGITS

Measure = Literal["softmax", "first-right"]
"""Distribution over experts that a policy measures: the softmax of the logits, or `first_right` of them."""


def first_right(logits: Tensor) -> Tensor:
    """Return the log-probability that each expert is the first right one, if experts are asked in order of belief.

    Let s_i = sigmoid(z_i) be the belief that expert i is right, sorted so that s_1 >= s_2 >= ... If errors are
    independent, expert i is the first right one with probability

        pi_i = s_i (1 - s_1) ... (1 - s_{i-1}),    and nobody is right with probability pi_0 = (1 - s_1) ... (1 - s_n).

    The probability that nobody is right is shared evenly: p_i = pi_i + pi_0 / n. So p is one-hot as soon as one expert
    is trusted, however many others are trusted too, and uniform exactly when no expert is trusted. The first m experts
    hold the probability that one of them is right, so top-p on p takes as many experts as are needed to have a right
    one among them.

    Parameters
    ----------
    logits
        Logits of "expert i is right", shape (..., n_experts); -inf marks an expert out of service.

    Returns
    -------
    log_p
        Natural logarithms, -inf for experts out of service, same shape; exp(log_p) sums to 1.

    Notes
    -----
    Errors of trees that learn the same stream are not independent, so the probabilities are too high. Use p as a
    measure of trust, not as a calibrated probability. Among equal logits the lower index comes first and gets more.

    The result changes if a constant is added to all logits: their level is information that the softmax discards.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import first_right, tsallis_entropy
    >>> [round(tsallis_entropy(first_right(torch.full((12,), z)), q=1.1).item(), 2) for z in (4.0, 0.0, -4.0)]
    [0.04, 0.57, 1.0]
    """
    belief, order = sorted_logits(checked_logits(logits))
    return torch.zeros_like(belief).scatter(-1, order, first_right_of_sorted(belief))


def first_right_of_sorted(belief: Tensor) -> Tensor:
    """Return `first_right` of logits in descending order, in the same order."""
    missed = nn.functional.logsigmoid(-belief).cumsum(-1)  # log of (1 - s_1) ... (1 - s_i)
    earlier = nn.functional.pad(missed[..., :-1], (1, 0))
    first = nn.functional.logsigmoid(belief) + earlier
    in_service = belief > -torch.inf
    nobody = missed[..., -1:] - in_service.sum(-1, keepdim=True).log()
    return torch.logaddexp(first, nobody).masked_fill(~in_service, -torch.inf)


def sorted_logits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of each row in descending order, and their experts; of ties the lowest index comes first."""
    return torch.sort(logits, dim=-1, descending=True, stable=True)


def tsallis_entropy(logits: Tensor, q: float, normalize: bool = True) -> Tensor:
    """Return the Tsallis entropy of the softmax of the logits: 0 if one expert has all, maximal if all are equal.

    S_q(p) = (1 - sum_i p_i^q) / (q - 1), and its limit at q = 1, Shannon's -sum_i p_i ln p_i.

    Parameters
    ----------
    logits
        Shape (..., n). Log-probabilities work too. -inf marks an expert out of service, which does not count in n.
    q
        Entropic index, q > 0. A small q counts how many experts are possible at all. A large q looks at the largest
        probability alone.
    normalize
        Divide by the entropy of the uniform distribution, (1 - n^(1-q)) / (q - 1), so that the result is in [0, 1].
        The entropy of a single expert is 0. Without normalisation the unit at q = 1 is nats.

    Returns
    -------
    entropy
        Shape (...), float32 at least; differentiable.

    Raises
    ------
    ValueError
        If q is not positive, or if a row of logits has NaN or +inf or nothing but -inf.

    Notes
    -----
    Computed as -sum_i e^(min(1,q) l_i) expm1(|q-1| l_i) / |q-1| with l = log p. This equals the sum above, does not
    cancel as q tends to 1, needs no epsilon under a logarithm, and has finite gradients where p_i = 0.

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
    return tsallis_of_log_p(checked_logits(logits).log_softmax(-1), q, normalize)


def tsallis_of_log_p(log_p: Tensor, q: float, normalize: bool = True) -> Tensor:
    """Return the Tsallis entropy of log-probabilities that need no check."""
    n = (log_p > -torch.inf).sum(-1).to(log_p.dtype)  # experts in service
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
    if not normalize:
        return entropy
    return (entropy / maximum.where(maximum > 0.0, 1.0)).clamp(max=1.0)  # a single expert: 0 / 1


def checked_logits(logits: Tensor) -> Tensor:
    """Return the logits as float32 at least.

    Raises
    ------
    TypeError
        If they are not floating-point numbers.
    ValueError
        If a row has NaN or +inf or nothing but -inf: an expert would be chosen at random, without notice. On a GPU the
        error comes from the device, at a later call. Compiled code does not check.
    """
    if not logits.is_floating_point():
        raise TypeError(f"logits are {logits.dtype}; give a floating-point tensor, shape (..., n_experts)")
    # The maximum of a row is finite exactly if the row has no NaN, no +inf and something else than -inf. The same
    # holds for the sum of all maxima, which float64 has room for. Tensor.isfinite takes several calls.
    if not torch.compiler.is_compiling():
        total = logits.detach().amax(-1).sum(dtype=torch.float64)
        if logits.device.type in ("cuda", "meta"):
            torch._assert_async(total.isfinite(), REFUSED_LOGITS)  # the host does not wait for the device
        elif not math.isfinite(total.item()):
            raise ValueError(REFUSED_LOGITS)
    return logits if logits.dtype == torch.float64 else logits.float()
