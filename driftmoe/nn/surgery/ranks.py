"""Layers whose ranks are their own routers (`mora`, `flylora`): with more ranks, with fewer, and several as one."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn.lora import LargestActivations, LoRAExperts
from driftmoe.nn.moe import MoELayer
from driftmoe.nn.surgery.joined import JoinedExperts
from driftmoe.nn.surgery.parts import balancer_of, check_layer, untracked
from driftmoe.nn.surgery.policies import Beside
from driftmoe.nn.surgery.pruning import prune
from driftmoe.routing import BiasBalancer, Policy, as_rule
from driftmoe.routing.checks import check_count


@untracked
def add_ranks(layer: MoELayer, n: int, *, policy: Policy | None = None, seed: int | None = None) -> MoELayer:
    """Return a layer of `mora` with new ranks for a new task, beside the old ones, which are frozen.

    The new ranks say nothing at first, but compete for the k places of a row, which changes the output a little at
    once: as in MoRA, a rank's relevance is measured against all.

    Parameters
    ----------
    layer
        A layer of `mora`, which stays as it is. The new one shares the adapted layer with it.
    n
        Number of new ranks.
    policy
        Policy of the new layer; default that of the layer. A k as large as the number of ranks leaves none out.
    seed
        Seed of the new ranks; `None` for new random ones each time.

    Returns
    -------
    layer
        The new layer. Only the new ranks learn. Add ranks again for the next task, and remove those of no use by
        `prune_ranks`.

    Raises
    ------
    TypeError
        If the layer is none of ranks that compute their own relevance.

    References
    ----------
    MoRA, Lu et al. 2025 (arXiv 2506.21035): ranks are added for each task, and those of earlier tasks frozen.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import mora
    >>> from driftmoe.nn.surgery import add_ranks
    >>> grown = add_ranks(mora(torch.nn.Linear(8, 6).requires_grad_(False), n_experts=4, k=2), 4)
    >>> grown.experts.n_experts, [name for name, p in grown.named_parameters() if p.requires_grad]
    (8, ['experts.parts.1.a', 'experts.parts.1.b'])
    """
    check_count("add_ranks: n", n)
    experts = copy.deepcopy(_of_ranks("add_ranks", layer, "relevances")).requires_grad_(False)
    old = list(experts.parts) if isinstance(experts, JoinedExperts) else [experts]
    last: Any = old[-1]
    drawn = LoRAExperts(n, last.a.shape[2], last.b.shape[2], 1, seed=seed).to(last.a)
    grown = JoinedExperts([*old, drawn])
    router: Any = layer.router
    is_partial = isinstance(router, partial)
    new = MoELayer(
        partial(grown.relevances, *router.args, **router.keywords) if is_partial else grown.relevances,
        grown,
        layer.policy if policy is None else policy,
        layer.shared_expert,
        balancer=balancer_of(layer, lambda bias: torch.cat([bias, bias.new_zeros(n)])),
        scale=layer.scale,
    )
    new.training = layer.training
    return new


@untracked
def prune_ranks(layer: MoELayer, inputs: Tensor, *, threshold: float) -> MoELayer:
    """Return a layer of `mora` without the ranks whose weight exceeds a threshold for no row.

    Parameters
    ----------
    layer
        A layer of `mora`, which stays as it is.
    inputs
        Rows of all tasks, shape (..., n_features).
    threshold
        Weight, from 0 to below 1, that a rank must exceed for one row at least, whether it was among the k or not.

    Returns
    -------
    layer
        The new layer, with as many ranks as the policy needs at least: those of the largest weights. With the output
        of the layer where no row had used the ranks that went, but for the weights: relevances are measured against
        fewer ranks.

    References
    ----------
    MoRA, Lu et al. 2025 (arXiv 2506.21035): rank pruning. Its formula could not be read.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import mora
    >>> from driftmoe.nn.surgery import prune_ranks
    >>> layer = mora(torch.nn.Linear(8, 6), n_experts=4, k=2)
    >>> with torch.no_grad():
    ...     _ = layer.experts.a.abs_()[1].neg_()  # below all others for rows of positive numbers
    >>> prune_ranks(layer, torch.rand(50, 8), threshold=0.01).experts.n_experts
    3
    """
    if not 0.0 <= threshold < 1.0:
        raise ValueError(f"prune_ranks: threshold={threshold}; choose a weight in [0, 1)")
    experts: Any = _of_ranks("prune_ranks", layer, "relevances")
    rows = inputs.flatten(0, -2)
    if not len(rows):
        raise ValueError("prune_ranks: no rows; give some of each task")
    router: Any = layer.router
    largest = router(rows).softmax(-1).amax(0)  # (n_experts,)
    if not bool(torch.isfinite(largest).all()):
        raise ValueError("prune_ranks: the ranks or the rows hold NaN or infinite numbers; mend them")
    n_least = min(experts.n_experts, int(as_rule(layer.policy).n_active(experts.n_experts, otherwise=1.0)))
    order = largest.sort(descending=True, stable=True).indices
    kept = [int(e) for i, e in enumerate(order) if i < n_least or largest[e] > threshold]
    return prune(layer, keep=sorted(kept))


@untracked
def merge_flylora(layers: Sequence[MoELayer], weights: Sequence[float] | None = None) -> MoELayer:
    """Return one layer that adds up what several layers of `flylora` add to the same linear layer.

    Each keeps its own frozen A, so that each chooses its ranks as before. A's that were drawn apart are nearly
    orthogonal, and so are the changes that the layers make: they hardly disturb each other. Give the layers different
    seeds.

    Parameters
    ----------
    layers
        Layers of `flylora` around the same linear layer, or copies of it, one for each task; also merged ones.
    weights
        A finite factor for each; default 1 for all.

    Returns
    -------
    layer
        The new layer, around the first one's linear layer.

    Raises
    ------
    ValueError
        If there is none, sizes differ, a weight is not finite, or the linear layers have other numbers.
    TypeError
        If one is no layer of `flylora`.

    References
    ----------
    FlyLoRA (NeurIPS 2025): merging of models without interference.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import flylora
    >>> from driftmoe.nn.surgery import merge_flylora
    >>> linear = torch.nn.Linear(8, 6)
    >>> merged = merge_flylora([flylora(linear, n_experts=4, k=2, seed=seed) for seed in (0, 1)])
    >>> merged.experts.n_experts, merged(torch.ones(3, 8)).routing.n_used.tolist()
    (8, [4, 4, 4])
    """
    factors = [1.0] * len(layers) if weights is None else [float(weight) for weight in weights]
    if not layers or len(factors) != len(layers):
        raise ValueError(
            f"merge_flylora: {len(layers)} layers and {len(factors)} weights; give a weight for each"
        )
    if not all(map(math.isfinite, factors)):
        raise ValueError(f"merge_flylora: weights={factors}; give finite numbers")
    parts: list[Any] = [_of_ranks("merge_flylora", layer, "magnitudes") for layer in layers]
    first = layers[0]
    for i, (layer, part) in enumerate(zip(layers, parts, strict=True)):
        if not _is_of_flylora(layer.policy) or not isinstance(part, LoRAExperts):
            raise TypeError(
                f"merge_flylora: layer {i} has the policy {layer.policy!r}; give layers of flylora"
            )
        if part.a.shape[1:] != parts[0].a.shape[1:] or part.b.shape[1:] != parts[0].b.shape[1:]:
            raise ValueError(
                f"merge_flylora: layer {i} has other widths or ranks than the first; give equal ones"
            )
        if not _same(layer.shared_expert, first.shared_expert):
            raise ValueError(
                f"merge_flylora: layer {i} goes around another linear layer than the first, which the changes would "
                "not be for; give layers of the same model"
            )
    n_in, n_out = parts[0].a.shape[2], parts[0].b.shape[2]
    whole = LoRAExperts(sum(part.n_experts for part in parts), n_in, n_out, 1)
    whole = whole.to(parts[0].a)
    whole.a = nn.Parameter(torch.cat([part.a for part in parts]), requires_grad=False)
    scale = first.scale or 1.0  # a layer of scale 0 says nothing
    changes = [
        part.b * (factor * layer.scale / scale)
        for part, factor, layer in zip(parts, factors, layers, strict=True)
    ]
    whole.b = nn.Parameter(torch.cat(changes))
    rest = list(zip(layers[1:], parts[1:], strict=True))
    policy: Policy = reduce(
        lambda before, of: Beside(before, of[0].policy, of[1].n_experts), rest, first.policy
    )
    balancer = BiasBalancer(whole.n_experts).to(whole.a.device)
    zeros = [torch.zeros(part.n_experts, device=whole.a.device) for part in parts]
    balancer.bias = torch.cat(
        [zero if of.balancer is None else of.balancer.bias for of, zero in zip(layers, zeros, strict=True)]
    )
    return MoELayer(whole.magnitudes, whole, policy, first.shared_expert, balancer=balancer, scale=scale)


def _is_of_flylora(policy: Policy) -> bool:
    """Return whether a policy is that of a layer of `flylora`, or of several that were merged."""
    if isinstance(policy, Beside):
        return _is_of_flylora(policy.policy) and _is_of_flylora(policy.added)
    return isinstance(policy, LargestActivations)


def _of_ranks(caller: str, layer: MoELayer, method: str) -> LoRAExperts | JoinedExperts:
    """Return the ranks of a layer; raise TypeError unless the router is that method of them."""
    check_layer(caller, layer)
    router = layer.router.func if isinstance(layer.router, partial) else layer.router
    is_own = getattr(router, "__self__", None) is layer.experts and getattr(router, "__name__", "") == method
    if not is_own or not isinstance(layer.experts, LoRAExperts | JoinedExperts):
        kind = "mora" if method == "relevances" else "flylora"
        raise TypeError(f"{caller}: the router is none of {kind}; give a layer that {kind} has made")
    return layer.experts


def _same(one: nn.Module | None, other: nn.Module | None) -> bool:
    if one is other or one is None or other is None:
        return one is other
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
