"""Experts that are added to a layer which has learnt already."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from driftmoe.nn.experts import FeedForwardExperts
from driftmoe.nn.lora import LoRAExperts
from driftmoe.nn.moe import MoELayer, make_router
from driftmoe.nn.surgery.joined import JoinedExperts, JoinedRouter
from driftmoe.nn.surgery.parts import (
    balancer_of,
    changed,
    check_fits,
    check_layer,
    n_outputs,
    n_routed,
    refuse_router_of_experts,
    untracked,
)
from driftmoe.nn.surgery.policies import Beside
from driftmoe.routing import Policy, RandomRouter, TopK, as_rule
from driftmoe.routing.checks import check_count


@untracked
def grow(
    layer: MoELayer, n: int, *, policy: Policy | None = None, freeze: bool = True, seed: int | None = None
) -> MoELayer:
    """Return a layer with new experts beside those of a layer, for something new to learn without loss of the old.

    The new experts say nothing at first: their last matrices are zero, as in a new LoRA, and the others are drawn.

    Parameters
    ----------
    layer
        The layer, which stays as it is. The new one has copies of its parts, except that the shared expert is the same
        module.
    n
        Number of new experts, of the kind and size of those that are there last. They get the last numbers.
    policy
        Policy of the new layer. By default `Beside(layer.policy, TopK(1, renorm=False, score="sigmoid"), n)`: the old
        experts are chosen and weighed as before, and one of the new ones is added with a weight below 1, so that the
        output stays **exactly** the same at first. The second policy may be another.
        With a policy over all experts, such as the layer's own (ModuleFormer), new experts compete with the old ones
        from the start: rows that choose them lose a part of what the old ones say, and the output changes at once.
    freeze
        Whether the old experts, and the part of the router that chooses them, learn no more. The new parts have
        parameters of their own, so that weight decay does not move the old ones either. The shared expert is not
        frozen: `layer.shared_expert.requires_grad_(False)`.
    seed
        Seed of the new weights; `None` for new random ones each time. Outputs beside a `RandomRouter` do
        not learn either.

    Returns
    -------
    layer
        The new layer: `JoinedExperts` and `JoinedRouter`, whose second parts are new. After training, `prune` removes
        those of them that are not used. Grow another layer in the same way to load its `state_dict`.

    Raises
    ------
    ValueError
        If n is no positive integer, or the policy does not fit.
    TypeError
        If the router is none that more outputs can be put beside.

    References
    ----------
    ModuleFormer, Shen et al. 2023 (arXiv 2306.04640): modules are added, the old ones frozen, unused ones pruned.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import grow
    >>> from driftmoe.routing import TopK
    >>> layer, x = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2)), torch.randn(5, 8)
    >>> grown = grow(layer, 2)
    >>> grown.experts.n_experts, torch.equal(grown(x).output, layer(x).output)
    (6, True)
    >>> [name for name, weights in grown.named_parameters() if weights.requires_grad]
    ['router.parts.1.weight', 'experts.parts.1.w_in', 'experts.parts.1.w_out']
    """
    check_count("grow: n", n)
    check_layer("grow", layer)
    refuse_router_of_experts("grow", layer)
    if not isinstance(layer.router, nn.Module):
        raise TypeError(
            f"grow: the router is {layer.router!r:.80}, beside which no outputs can be put; give the layer a module"
        )
    before, new_policy = as_rule(layer.policy), policy
    if new_policy is None:
        new_policy = Beside(layer.policy, TopK(1, renorm=False, score="sigmoid"), n)
    n_all = n_routed(layer) + before.n_shared + n
    check_fits("grow", new_policy, n_all)
    n_logits = n_outputs("grow", layer.router)
    if as_rule(new_policy).n_logits(n_all) != n_logits + n or as_rule(new_policy).n_null != before.n_null:
        raise ValueError(
            f"grow: policy={new_policy!r} needs another number of logits than the {n_logits + n} of the grown router; "
            "give one with as many null and shared experts as the layer's"
        )
    old_router, old_experts = copy.deepcopy(layer.router), copy.deepcopy(layer.experts)
    if freeze:
        old_router.requires_grad_(False)
        old_experts.requires_grad_(False)
    last = layer.experts.parts[-1] if isinstance(layer.experts, JoinedExperts) else layer.experts
    assert isinstance(last, FeedForwardExperts | LoRAExperts)  # see `check_layer`
    new_experts = _silent(last, n, seed)
    old = list(old_experts.parts) if isinstance(old_experts, JoinedExperts) else [old_experts]
    router = _wider(old_router, last, n, n_logits - before.n_null, before.n_null, seed)
    balancer = balancer_of(layer, lambda bias: torch.cat([bias, bias.new_zeros(n)]))
    return changed(layer, router, JoinedExperts([*old, new_experts]), new_policy, balancer)


def _silent(like: FeedForwardExperts | LoRAExperts, n: int, seed: int | None) -> nn.Module:
    """Return new experts of the kind and size of others, which put out zeros."""
    new: FeedForwardExperts | LoRAExperts
    if isinstance(like, LoRAExperts):
        _, rank, n_in = like.a.shape
        new = LoRAExperts(n, n_in, like.b.shape[-1], rank, seed=seed)
        return new.to(like.b)
    _, n_hidden, n_features = like.w_out.shape
    new = FeedForwardExperts(
        n, n_features, n_hidden, activation=like.activation, bias=like.b_in is not None, seed=seed
    )
    new.w_out.zero_()
    if new.b_out is not None:
        new.b_out.zero_()
    return new.to(like.w_out)


def _wider(
    router: nn.Module,
    experts: FeedForwardExperts | LoRAExperts,
    n: int,
    n_old: int,
    n_null: int,
    seed: int | None,
) -> nn.Module:
    """Return a router with n more outputs, after those of the old experts and before those of null experts."""
    old = list(router.parts) if isinstance(router, JoinedRouter) else [router]
    like = experts.w_in.mT if isinstance(experts, FeedForwardExperts) else experts.a
    is_random = all(isinstance(part, RandomRouter) for part in old)
    new: Any = make_router("random" if is_random else "linear", like, n, TopK(1), seed)
    weight = next(
        (w for part in old for w in part.state_dict().values() if w.is_floating_point()), new.weight
    )
    before: Iterable[int] = range(n_old + n_null)
    if isinstance(router, JoinedRouter) and router.places is not None:
        before = router.places
    listed = list(before)
    places = [*listed[:n_old], *range(n_old + n_null, n_old + n_null + n), *listed[n_old:]]
    return JoinedRouter([*old, new.to(weight.dtype)], places)
