"""Losses of a router, as pure functions of tensors.

All take logits of any leading shape, flatten them to rows, compute in float32 or wider even under autocast, and average
over rows. The mask `rows` (bool, of the leading shape) selects the rows that count, to leave out padding or samples
without a label. The loss over no rows is 0. Compute the losses for each layer separately: balance over the joined
logits of several layers means something else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from driftmoe.routing import tsallis_entropy
from driftmoe.routing.checks import check_alike


def correctness_loss(
    logits: Tensor,
    correct: Tensor,
    observed: Tensor | None = None,
    *,
    focus: float = 0.0,
    balanced: bool = False,
) -> Tensor:
    """Binary cross-entropy of each expert's logit against whether that expert was right, in nats.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    correct
        The multi-hot mask: 1 where the expert predicted the true class, else 0; same shape.
    observed
        Optional mask of the same shape. Entries that are `False` do not count, such as those of an expert that did not
        exist yet.
    focus
        γ of the focal loss, 0 or more: an entry counts (1 - p)^γ, p being what the router gives to what was true.
    balanced
        Whether right and wrong entries count the same in sum, however rare one of them is.

    Returns
    -------
    loss
        Mean over the entries that count, a scalar; differentiable in `logits`. 0 if none counts.

    References
    ----------
    DriftMoE (Aspis et al. 2025, arXiv 2507.18464): the router's loss over the multi-hot correctness mask. Dr.LLM
    (arXiv 2510.12773): a focal loss with class balancing, with other weights of the classes.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import correctness_loss
    >>> round(correctness_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
    0.6931
    """
    if not focus >= 0.0:
        raise ValueError(f"correctness_loss: focus={focus!r}; choose a number of 0 or more")
    logits = _rows(logits, None).reshape(logits.shape)
    correct = correct.to(logits.dtype)
    if focus or balanced:
        counts = torch.ones_like(correct) if observed is None else observed
        return _focal_loss(logits, correct, counts.bool(), focus, balanced)
    if observed is None:
        return F.binary_cross_entropy_with_logits(logits, correct)
    left_out = ~observed.bool()  # the logit of such an expert may be -inf
    logits, correct = logits.masked_fill(left_out, 0.0), correct.masked_fill(left_out, 0.0)
    weight = observed.to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, correct, weight=weight, reduction="sum")
    return total / weight.sum().clamp_min(1.0)


def _focal_loss(logits: Tensor, correct: Tensor, counts: Tensor, focus: float, balanced: bool) -> Tensor:
    """Return the mean of (1 - p)^γ · -ln p; if balanced, the mean of its means over right and over wrong entries."""
    logits, correct = logits.masked_fill(~counts, 0.0), correct.masked_fill(~counts, 0.0)
    entropy = F.binary_cross_entropy_with_logits(logits, correct, reduction="none")  # -ln p
    each = (1.0 - (-entropy).exp()).clamp_min(torch.finfo(entropy.dtype).tiny).pow(focus) * entropy
    weight = counts.to(logits.dtype)
    if not balanced:
        return (each * weight).sum() / weight.sum().clamp_min(1.0)
    sides = torch.stack([weight * correct, weight * (1.0 - correct)])
    n_sides = sides.flatten(1).sum(1)
    means = (each * sides).flatten(1).sum(1) / n_sides.clamp_min(1.0)
    return means.sum() / (n_sides > 0.0).sum().clamp_min(1)


def load_balance_loss(logits: Tensor, load: Tensor, rows: Tensor | None = None) -> Tensor:
    """n · sum_i f_i P_i: 1 if experts share rows evenly, for any policy and k; up to n if one expert gets all rows.

    n is the number of experts in service, which have a logit above -inf in some row. f_i is the share of the load on
    expert i (the shares sum to 1), and P_i the mean softmax probability of expert i.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    load
        Same shape. `Routing.mask` counts places: the loss of Switch and GShard, whose gradient flows through P alone.
        With `Routing.weights`, a share of weights, it flows through both.
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        A scalar, differentiable.

    Notes
    -----
    1 is the value at balance, not a lower bound: a load that avoids probable experts gives a smaller loss.

    References
    ----------
    Switch Transformer (arXiv 2101.03961), eqs. 4 to 6, with f divided by k so that the value does not depend on k.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import load_balance_loss
    >>> from driftmoe.routing import TopK
    >>> logits = 3.0 * torch.eye(4)  # each row has its own expert
    >>> round(load_balance_loss(logits, TopK(1)(logits).mask).item(), 6)
    1.0
    """
    log_p, load = _log_probs(logits, rows), _rows(load, rows)
    return _n_live(log_p) * (_share(load.to(log_p.dtype)) * _mean(log_p.exp())).sum()


def soft_balance_loss(logits: Tensor, weights: Tensor, rows: Tensor | None = None) -> Tensor:
    """n · sum_i W_i P_i, where W_i is the mean weight of expert i and P_i its mean softmax probability.

    Unlike `load_balance_loss` of the weights, it does not divide by the sum of the weights. So it is smaller where a
    policy without renormalisation keeps little of the probability, and its gradient also makes the router keep less.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    weights
        `Routing.weights`, without those of shared experts; same shape.
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        A scalar; differentiable. At balance it is the sum of a row's weights.

    References
    ----------
    DynMoLE (arXiv 2504.00661), as in its code; weight 0.001 there.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import soft_balance_loss
    >>> soft_balance_loss(torch.zeros(1, 4), torch.tensor([[0.25, 0.25, 0.0, 0.0]])).item()
    0.5
    """
    log_p = _log_probs(logits, rows)
    return _n_live(log_p) * (_mean(_rows(weights, rows).to(log_p.dtype)) * _mean(log_p.exp())).sum()


def null_balance_loss(logits: Tensor, load: Tensor, n_null: int, rows: Tensor | None = None) -> Tensor:
    """The load-balancing loss with the load of each null expert replaced by the mean load of the null experts.

    (n + m) · [sum_{true i} f_i P_i + sum_{null j} f' P_j], f' = mean of f over the m nulls. The loss balances the total
    load of the null experts against the true experts, but not the load among null experts, which are all the same.

    Parameters
    ----------
    logits
        Shape (..., n_experts + n_null), null experts last.
    load
        Same shape. To count places, use `torch.cat([routing.mask, routing.null_mask], -1)`.
    n_null
        Number of null experts, m >= 1.
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        A scalar, 1 at balance; differentiable.

    References
    ----------
    AdaMoE (arXiv 2406.13233). The code of its larger experiment averages an empty slice, so that f does not change.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import null_balance_loss
    >>> null_balance_loss(torch.zeros(2, 4), torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0]]), n_null=2).item()
    1.0
    """
    log_p, load = _log_probs(logits, rows), _rows(load, rows)
    n = logits.shape[-1] - n_null
    if not 1 <= n_null < logits.shape[-1]:
        raise ValueError(
            f"null_balance_loss: n_null={n_null} of {logits.shape[-1]} columns; choose 1 <= n_null < columns"
        )
    share, probs = _share(load.to(log_p.dtype)), _mean(log_p.exp())
    return _n_live(log_p) * ((share[:n] * probs[:n]).sum() + share[n:].mean() * probs[n:].sum())


def entropy_loss(
    logits: Tensor, q: float = 1.0, normalize: bool = True, rows: Tensor | None = None
) -> Tensor:
    """Mean Tsallis entropy of the routing distributions. Minimising it makes the router sure of few experts per row.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    q, normalize
        As in `driftmoe.routing.tsallis_entropy`; q = 1 is Shannon entropy.
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        A scalar, in [0, 1] if normalised; differentiable.

    References
    ----------
    DynMoLE (arXiv 2504.00661): normalised, q = 1.1, weight 0.01 in its code. "Harder Tasks Need More Experts"
    (arXiv 2403.07652), the dynamic loss: q = 1 in nats.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import entropy_loss
    >>> entropy_loss(torch.tensor([[0.0, 0.0], [100.0, 0.0]]), q=2.0).item()
    0.5
    """
    return _mean(tsallis_entropy(_rows(logits, rows), q, normalize))


def mutual_information_loss(logits: Tensor, rows: Tensor | None = None) -> Tensor:
    """-(H(E) - H(E|x)), the negative mutual information of expert and row, in nats.

    H(E) is the Shannon entropy of the mean distribution, H(E|x) the mean entropy of the rows' distributions. At the
    minimum, -ln(n), the router is sure of one expert for every row, and all experts are used equally often. So one loss
    rewards balance and certainty, without a weight between the two.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        A scalar in [-ln(n), 0]; differentiable.

    References
    ----------
    ModuleFormer (arXiv 2306.04640).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import mutual_information_loss
    >>> round(mutual_information_loss(100.0 * torch.eye(4)).item(), 4)  # -ln 4
    -1.3863
    """
    log_p = _log_probs(logits, rows)
    if not len(log_p):
        return log_p.sum()
    # The mean distribution's logarithm, up to a constant. Clamped, because logsumexp of only -inf has NaN gradients.
    marginal = log_p.clamp_min(torch.finfo(log_p.dtype).min).logsumexp(0)
    of_rows = _mean(tsallis_entropy(log_p, 1.0, normalize=False))
    return of_rows - tsallis_entropy(marginal, 1.0, normalize=False)


def router_z_loss(logits: Tensor, rows: Tensor | None = None) -> Tensor:
    """Mean squared log-sum-exp of the logits. It keeps the logits small, where rounding errors are smallest.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts).
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        A scalar; differentiable.

    References
    ----------
    ST-MoE (arXiv 2202.08906), eq. 5; weight 0.001 there.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import router_z_loss
    >>> router_z_loss(torch.full((1, 1), 3.0)).item()
    9.0
    """
    return _mean(_rows(logits, rows).logsumexp(-1).square())


def importance_loss(weights: Tensor, rows: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
    """Squared coefficient of variation of the experts' summed weights: 0 if all are equal, n - 1 if one has all.

    Parameters
    ----------
    weights
        `Routing.weights`, shape (..., n_experts).
    rows
        Rows that count, bool, shape (...); default all.
    valid
        Experts in service, bool, shape (n_experts,); default all.

    Returns
    -------
    loss
        Variance of the sums (divided by n, not n - 1) over their squared mean, a scalar; differentiable in the weights.

    References
    ----------
    Shazeer et al. 2017, "Outrageously Large Neural Networks" (arXiv 1701.06538), eqs. 6 and 7.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import importance_loss
    >>> importance_loss(torch.tensor([[1.0, 0.0, 0.0, 0.0]])).item()
    3.0
    """
    total = _rows(weights, rows).sum(0)
    total = total if valid is None else total[valid]
    mean = total.mean()
    return (total - mean).square().mean() / mean.square().clamp_min(torch.finfo(total.dtype).tiny)


def oracle_loss(logits: Tensor, losses: Tensor, tau: float = 1.0, rows: Tensor | None = None) -> Tensor:
    """KL(p || softmax(logits)) in nats, p = softmax(-losses / tau): what the router says, against what experts lose.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts). An expert with a logit of -inf is left out of p.
    losses
        What each expert loses on each row, same shape, without gradient; +inf leaves one out. A row of them adds 0.
    tau
        Temperature > 0, in units of the loss; a small one asks for the best expert alone.
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        A scalar, 0 or more; differentiable in `logits`.

    References
    ----------
    After Duo-LLM (arXiv 2410.10846), which trains routers towards the oracle; the softmax of losses is ours.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import oracle_loss
    >>> losses = torch.tensor([[0.5, 2.0, 1.0]])
    >>> oracle_loss(-losses / 0.1, losses, tau=0.1).item()
    0.0
    """
    if not tau > 0.0:
        raise ValueError(f"oracle_loss: tau={tau!r}; choose a temperature > 0")
    check_alike("oracle_loss: losses", losses, logits)
    log_q, wanted = _log_probs(logits, rows), -_rows(losses.detach(), rows) / tau
    wanted = wanted.to(log_q.dtype).masked_fill(log_q == -torch.inf, -torch.inf)
    wanted = torch.where((wanted > -torch.inf).any(-1, keepdim=True), wanted, log_q.detach())
    least = torch.finfo(log_q.dtype).min
    log_p, log_q = wanted.log_softmax(-1).clamp_min(least), log_q.clamp_min(least)  # 0 · -inf is NaN
    return _mean((log_p.exp() * (log_p - log_q)).sum(-1))


def localized_balance_loss(
    weights: Tensor, kind_of_sample: Tensor, kind_of_expert: Tensor, delta: float = 0.1
) -> Tensor:
    """Squared coefficient of variation of what samples give to experts, where experts of the sample's kind get more.

    With Q[m, e] the summed weight that sample m gives to expert e, and Z[m, e] = Q[m, e] · (1 + delta) if both are of
    the same kind, else Q[m, e] · (1 - delta), it is the variance of Z over its squared mean. It is least where Z is
    even: experts of other kinds then get (1 + delta) / (1 - delta) as much, and each group is balanced within.

    Parameters
    ----------
    weights
        `Routing.weights`, shape (n_samples, ..., n_experts); what lies between, such as tokens, is summed up.
    kind_of_sample, kind_of_expert
        Kinds as integers, shapes (n_samples,) and (n_experts,). LoRAMoE has two: world knowledge and other tasks.
    delta
        In [0, 1). With 0 kinds do not count.

    Returns
    -------
    loss
        A scalar, 0 or more; differentiable in the weights. Of no samples it is 0.

    References
    ----------
    LoRAMoE, Dou et al. 2023 (arXiv 2312.09979): localised balancing constraint. The variance is divided by n.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import localized_balance_loss
    >>> weights = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    >>> kinds = torch.tensor([0, 1])
    >>> round(localized_balance_loss(weights, kinds, kinds, delta=0.0).item(), 4)
    0.25
    """
    if not 0.0 <= delta < 1.0:
        raise ValueError(f"localized_balance_loss: delta={delta!r}; choose 0 <= delta < 1")
    if kind_of_sample.shape != weights.shape[:1] or kind_of_expert.shape != weights.shape[-1:]:
        raise ValueError(
            f"localized_balance_loss: kinds of shapes {tuple(kind_of_sample.shape)} and {tuple(kind_of_expert.shape)} "
            f"for weights {tuple(weights.shape)}; give (n_samples,) and (n_experts,)"
        )
    given = _rows(weights, None).reshape(len(weights), -1, weights.shape[-1]).sum(1)
    factors = torch.where(kind_of_sample[:, None] == kind_of_expert, 1.0 + delta, 1.0 - delta)
    scaled = given * factors.to(given)
    if not scaled.numel():
        return scaled.sum()
    mean = scaled.mean()
    return (scaled - mean).square().mean() / mean.square().clamp_min(torch.finfo(scaled.dtype).tiny)


def consistency_loss(logits: Tensor, neighbours: Tensor, rows: Tensor | None = None) -> Tensor:
    """Mean symmetric KL divergence of the routing of rows and of their neighbours, in nats: alike rows, alike experts.

    Parameters
    ----------
    logits
        Router output, shape (..., n_experts). Experts with a logit of -inf on either side are left out of a row.
    neighbours
        The same for a neighbour of each row; for a sequence the two are `logits[:-1]` and `logits[1:]`.
    rows
        Rows that count, bool, shape (...); default all.

    Returns
    -------
    loss
        Mean of (KL(p || q) + KL(q || p)) / 2, a scalar; differentiable in both.

    References
    ----------
    GNT-MOVE, Cong et al. 2023 (arXiv 2308.11793): neighbouring points of a scene choose the same experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.losses import consistency_loss
    >>> logits = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> consistency_loss(logits, logits + 3.0).item(), round(consistency_loss(logits, logits.flip(-1)).item(), 4)
    (0.0, 0.4621)
    """
    least = torch.finfo(torch.float32).min / 4.0  # a difference of two stays finite
    check_alike("consistency_loss: neighbours", neighbours, logits)
    a, b = _rows(logits, rows), _rows(neighbours, rows)
    is_out = torch.minimum(a, b) == -torch.inf
    log_p, log_q = (z.masked_fill(is_out, least).log_softmax(-1).clamp_min(least) for z in (a, b))
    return _mean(((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)) / 2.0


def _rows(values: Tensor, rows: Tensor | None) -> Tensor:
    """Return the rows that count, flattened to (n_rows, n_experts), in float32 or wider."""
    values = values.reshape(-1, values.shape[-1]) if rows is None else values[rows]
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _n_live(log_p: Tensor) -> Tensor:
    """Return the number of experts in service. An expert with a logit of -inf in every row is out of service."""
    return (log_p > -torch.inf).any(0).sum()


def _log_probs(logits: Tensor, rows: Tensor | None) -> Tensor:
    return _rows(logits, rows).log_softmax(-1)


def _mean(values: Tensor) -> Tensor:
    """Return the mean over rows, 0 if there are none."""
    return values.sum(0) / max(len(values), 1)


def _share(load: Tensor) -> Tensor:
    """Return each expert's share of the total load; 0 if there is no load."""
    total = load.sum(0)
    return total / total.sum().clamp_min(torch.finfo(load.dtype).tiny)
