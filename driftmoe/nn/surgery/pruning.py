"""Experts that are left out, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from driftmoe.nn.moe import MoELayer
from driftmoe.nn.surgery.parts import (
    BROKEN,
    Shares,
    balancer_of,
    changed,
    check_finite,
    check_fits,
    check_layer,
    checked_experts,
    checked_rows,
    chosen_experts,
    cut_policy,
    cut_router,
    first_of_groups,
    n_routed,
    ranked,
    selected,
    shares_of,
    untracked,
)
from driftmoe.nn.surgery.profiling import output_with, routing_of
from driftmoe.routing import Policy, as_rule


@untracked
def prune(
    layer: MoELayer,
    *,
    keep: int | Iterable[int],
    usage: Shares | None = None,
    protect: Iterable[int] = (),
    policy: Policy | None = None,
) -> MoELayer:
    """Return a layer with some of the experts of a layer, and a router that chooses among these alone.

    Parameters
    ----------
    layer
        The layer, which stays as it is. The new one has copies of its parts, except that the shared expert is the same
        module.
    keep
        The numbers of the experts that are kept, as the router counts them: shared experts of the policy have no number
        and are always kept. Or how many: then those that `usage` names most often, after those of `protect`; under a
        `GroupTopK` as many of each group.
    usage
        How much each expert is used by the task that the layer is for: `usage(records)[name]` or a number for each.
    protect
        Experts that must not go, such as those of `super_experts` and `owners`.
    policy
        Policy of the new layer; default that of the layer.

    Returns
    -------
    layer
        The new layer. It computes what the layer would with the other experts out of service, at logits of -inf.
        Experts keep their order. A balancer keeps the biases of the experts that are kept, less their mean.

    Raises
    ------
    ValueError
        If a number is wrong, a protected expert would go, or the policy cannot choose among those left, such as
        `TopK(k)` among fewer than k. A `GroupTopK` needs as many experts of each group.
    TypeError
        If router or experts are of a kind that is not known.

    References
    ----------
    UNCURL, Sarkar et al. 2024 (arXiv 2409.01483): experts are pruned after training by their use in the task. Su et al.
    2025 (arXiv 2507.23279): which are never pruned.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import prune
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(1))
    >>> small = prune(layer, keep=2, usage=[0.1, 0.5, 0.3, 0.1], protect=[3])
    >>> torch.equal(small.router.weight, layer.router.weight[[1, 3]]), small.experts.n_experts
    (True, 2)
    >>> prune(layer, keep=[0], policy=TopK(2))
    Traceback (most recent call last):
        ...
    ValueError: prune: TopK(k=2, renorm=True, score='softmax') cannot choose among 1 experts: ...
    """
    check_layer("prune", layer)
    n = n_routed(layer)
    kept = chosen_experts("prune", n, keep, usage, protect, layer.policy)
    new_policy, columns = cut_policy(layer.policy, n, kept)
    new_policy = new_policy if policy is None else policy
    n_shared = as_rule(layer.policy).n_shared
    check_fits("prune", new_policy, n_shared + len(kept))
    if policy is not None and as_rule(policy).n_logits(n_shared + len(kept)) != len(columns):
        raise ValueError(
            f"prune: policy={policy!r} needs another number of logits than the {len(columns)} that are left; give one "
            "with as many null and shared experts as the layer's"
        )
    experts = selected(layer.experts, [*range(n_shared), *(n_shared + e for e in kept)])
    router = cut_router("prune", layer.router, columns, layer.experts, experts)
    return changed(layer, router, experts, new_policy, balancer_of(layer, lambda bias: bias[kept]))


@untracked
def pruning_costs(
    layer: MoELayer, inputs: Tensor, *, usage: Shares | None = None, protect: Iterable[int] = ()
) -> dict[int, float]:
    """Return what it costs to keep fewer experts: the mean squared change of the layer's output, for each number.

    Parameters
    ----------
    layer
        The layer.
    inputs
        Rows, shape (..., n_features), such as those of `collect`.
    usage, protect
        As in `prune`; default the use of the experts by `inputs`.

    Returns
    -------
    costs
        Number of experts -> cost, for all numbers that the policy can choose among; 0 for all experts. For `allocate`.
        Under a `GroupTopK` these are multiples of its number of groups.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import pruning_costs
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> costs = pruning_costs(layer, torch.randn(100, 8))
    >>> list(costs), costs[4]
    ([2, 3, 4], 0.0)
    """
    check_layer("pruning_costs", layer)
    x, n = checked_rows("pruning_costs", layer, inputs), n_routed(layer)
    if not len(x):
        raise ValueError("pruning_costs: no rows; give some, such as those of `collect`")
    routing = routing_of("pruning_costs", layer, x)
    if usage is None:
        usage = routing.mask[:, -n:].double().mean(0)
    held = checked_experts("pruning_costs", "protect", protect, n)
    order = ranked(shares_of("pruning_costs", usage, n), held)
    whole = output_with(layer, x, range(n)).double()
    check_finite(whole, f"pruning_costs: {BROKEN}")
    costs = {}
    for k in range(max(1, len(held)), n + 1):
        try:
            kept = first_of_groups("pruning_costs", layer.policy, order, k, held)
            check_fits(
                "pruning_costs", cut_policy(layer.policy, n, kept)[0], as_rule(layer.policy).n_shared + k
            )
        except ValueError:  # no choice: `prune` would refuse it
            continue
        costs[k] = (output_with(layer, x, kept).double() - whole).square().mean().item() if k < n else 0.0
    return costs
