"""Answers and routings combined when a model answers: two answers (SCMoE), a routing and remembered ones (C3PO).

Pure functions of tensors, which change no model and need no training.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from driftmoe.routing.checks import check_share
from driftmoe.routing.result import Routing


def contrast(strong: Tensor, weak: Tensor, beta: float = 0.5, alpha: float = 0.1) -> Tensor:
    """Strengthen what a strong routing says more loudly than a weak one: (1 + beta) · strong - beta · weak.

    Parameters
    ----------
    strong
        Logits or log-probabilities of the classes from a strong routing, such as `TopK(2)`; shape (..., n_classes).
    weak
        The same from a weak routing, such as `Rank(2)`; same shape.
    beta
        How much the difference counts, 0 or more. With 0 the result is `strong`, where it is kept.
    alpha
        In [0, 1]. Kept are the classes whose probability under `strong` is at least `alpha` times the largest. All
        others get -inf, so that a class is not chosen for being least likely under `weak`. 0 keeps all.

    Returns
    -------
    logits
        Same shape; differentiable.

    Raises
    ------
    ValueError
        If shapes differ, an argument is out of range, `strong` has NaN, +inf or a row of nothing but -inf, or `weak` is
        not finite where `strong` is kept.

    References
    ----------
    SCMoE, Shi et al. 2024, "Unchosen Experts Can Contribute Too" (arXiv 2405.14507); beta and alpha as in its code.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import contrast
    >>> contrast(torch.tensor([1.0, 0.5, -9.0]), torch.tensor([1.0, -0.5, -9.0])).tolist()
    [1.0, 1.0, -inf]
    """
    if strong.shape != weak.shape:
        raise ValueError(
            f"contrast: strong has the shape {tuple(strong.shape)}, weak {tuple(weak.shape)}; give the same"
        )
    if not 0.0 <= beta < math.inf:
        raise ValueError(f"contrast: beta={beta!r}; choose a number of 0 or more")
    check_share("contrast: alpha", alpha)
    if not strong.detach().amax(-1).isfinite().all():  # NaN is the largest of its row
        raise ValueError("contrast: strong has NaN, +inf or a row of nothing but -inf; give finite logits")
    is_kept = strong >= strong.detach().amax(-1, keepdim=True) + (math.log(alpha) if alpha else -math.inf)
    is_kept = is_kept & (strong > -torch.inf)
    if not weak[is_kept].isfinite().all():
        raise ValueError(
            "contrast: weak has NaN or infinities where strong is kept; give finite logits there"
        )
    difference = (strong - weak).masked_fill(~is_kept, 0.0)
    return (strong + beta * difference).masked_fill(~is_kept, -torch.inf)


def remix(
    routing: Routing, keys: Tensor, weights: Tensor, query: Tensor, k: int = 3, alpha: float = 0.5
) -> Routing:
    """Mix the weights of a routing with those of the nearest remembered rows that went well.

    w' = alpha · w + (1 - alpha) · sum_i K_i w_i / sum_i K_i, over the `k` remembered rows with the largest cosine
    K_i to the query, where K_i > 0. A row without such neighbours stays as it is.

    Parameters
    ----------
    routing
        The routing of a layer, with weights of shape (..., n_experts).
    keys
        What is remembered of the rows that the model answered correctly, such as their inputs; shape (m, n_features).
    weights
        The weights that their experts had, shape (m, n_experts).
    query
        The rows of the routing, in the terms of the keys; shape (..., n_features).
    k
        Number of neighbours; 0 leaves the routing as it is, more than m means all.
    alpha
        Share of the routing's own weights, in [0, 1]; 1 leaves it as it is.

    Returns
    -------
    routing
        With other weights and mask: `layer.experts(x, routing)` computes with it.

    Raises
    ------
    ValueError
        If shapes do not fit, an argument is out of range, or keys, weights or query have NaN or infinities.

    Notes
    -----
    m · n_features operations a row. C3PO applies it to the last layers alone, and to the last token.

    References
    ----------
    C3PO, Li et al. 2025 (arXiv 2504.07964): kernel regression, with the cosine of its code.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import TopK, remix
    >>> routing = TopK(1)(torch.tensor([[1.0, 0.0]]))
    >>> keys, weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> remix(routing, keys, weights, query=torch.tensor([[2.0, 0.0]]), k=1).weights.tolist()
    [[0.5, 0.5]]
    """
    check_share("remix: alpha", alpha)
    if k < 0:
        raise ValueError(f"remix: k={k}; choose 0 or more")
    own = routing.weights
    if (
        keys.dim() != 2
        or weights.shape != (len(keys), own.shape[-1])
        or query.shape != (*own.shape[:-1], keys.shape[1])
    ):
        raise ValueError(
            f"remix: keys {tuple(keys.shape)}, weights {tuple(weights.shape)}, query {tuple(query.shape)} for a "
            f"routing {tuple(own.shape)}; give (m, n_features), (m, n_experts) and (..., n_features)"
        )
    if alpha == 1.0 or k == 0 or not len(keys):
        return routing
    for name, given in (("keys", keys), ("weights", weights), ("query", query)):
        if not given.isfinite().all():
            raise ValueError(
                f"remix: {name} has NaN or infinities; give finite numbers, and leave out other rows"
            )
    cosines = (
        F.normalize(query.to(own.dtype), dim=-1) @ F.normalize(keys.to(own.dtype), dim=-1).mT
    )  # (..., m)
    nearest = torch.sort(cosines, dim=-1, descending=True, stable=True)
    closeness, places = nearest.values[..., :k].clamp_min(0.0), nearest.indices[..., :k]
    total = closeness.sum(-1, keepdim=True)
    found = (closeness[..., None] * weights.to(own.dtype)[places]).sum(-2) / total.where(total > 0.0, 1.0)
    has_some = total > 0.0
    mixed = torch.where(has_some, alpha * own + (1.0 - alpha) * found, own)
    mask = torch.where(has_some, (routing.mask & (alpha > 0.0)) | (found > 0.0), routing.mask)
    return replace(routing, weights=mixed, mask=mask, at_most=None)
