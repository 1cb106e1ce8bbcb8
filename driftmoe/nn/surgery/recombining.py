"""Experts that go, and leave their neurons to those that stay."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from driftmoe.nn.experts import FeedForwardExperts
from driftmoe.nn.moe import MoELayer
from driftmoe.nn.surgery.merging import merged_policy
from driftmoe.nn.surgery.neurons import neurons_of, with_neurons
from driftmoe.nn.surgery.parts import (
    Shares,
    balancer_of,
    changed,
    check_layer,
    chosen_experts,
    copied,
    flat,
    n_routed,
    refuse_router_of_experts,
    shares_of,
    untracked,
)
from driftmoe.routing import as_rule
from driftmoe.routing.checks import check_share


@untracked
def recombine(
    layer: MoELayer, *, keep: int | Iterable[int], usage: Shares | None = None, threshold: float = 0.4
) -> MoELayer:
    """Return a layer with some of the experts of a layer, into whose neurons those of the others are merged.

    Each neuron of a dropped expert goes to the neuron that it is most like, in whichever kept expert that is, and the
    two become their mean by use. The rows of a dropped expert go to the kept one that took most of its neurons. The
    neurons of a LoRA expert are its ranks.

    Parameters
    ----------
    layer
        The layer, which stays as it is. The new one has copies of its parts, except that the shared expert is the same
        module.
    keep
        Numbers of the experts that are kept, as the router counts them: shared experts have none and stay as they are.
        Or how many: then those that `usage` names most often.
    usage
        How much each expert is used: `usage(records)[name]` or a number for each; default alike. A kept expert that is
        not used at all takes over what its neurons get.
    threshold
        Least likeness (cosine over weights in and out) of two neurons that are merged, from 0 to 1. A neuron that is
        like none is dropped.

    Returns
    -------
    layer
        The new layer, with the router of the old one and the policy `Merged`. An expert that is made of neurons of one
        kept expert is restored exactly. The parts of a grown layer become one, which learns if one of them did.

    Raises
    ------
    ValueError
        If a number is wrong, or experts are of different kinds or sizes.
    TypeError
        If experts are of a kind that is not known, or are read by the router, as in `mora` and `flylora`.

    References
    ----------
    DERN, Zhou et al. 2025, "Dropping Experts, Recombining Neurons" (arXiv 2509.10377): neurons of dropped experts are
    assigned to the most compatible kept expert, and merged there. That the router goes on by `Merged`, and that a
    neuron is merged into the one most like it, are choices of this implementation.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import recombine
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> for weights in layer.experts.parameters():  # the last expert is the first one in another order
    ...     weights.data[3] = weights.data[0]
    >>> x = torch.randn(5, 8)
    >>> torch.allclose(recombine(layer, keep=[0, 1, 2])(x).output, layer(x).output, atol=1e-6)
    True
    """
    check_layer("recombine", layer)
    check_share("recombine: threshold", threshold)
    refuse_router_of_experts("recombine", layer)
    n, n_shared = n_routed(layer), as_rule(layer.policy).n_shared
    kept = chosen_experts("recombine", n, keep, usage, (), layer.policy)
    if not kept:
        raise ValueError(f"recombine: keep=[]; keep one of the {n} experts at least")
    share = shares_of("recombine", usage, n)
    experts = flat("recombine", layer.experts)
    neurons = neurons_of(experts)
    merged, taken = _recombined(neurons[n_shared:], kept, share, threshold)
    whole = torch.cat([neurons[:n_shared], merged])
    rest = {}
    if isinstance(experts, FeedForwardExperts) and experts.b_out is not None:
        bias = experts.b_out.detach().to(neurons.dtype)
        rest["b_out"] = torch.cat([bias[:n_shared], _biases(bias[n_shared:], taken, kept, share)])
    groups = [[e, *(d for d, to in taken.items() if to == i)] for i, e in enumerate(kept)]
    made = with_neurons(experts, whole, rest)

    def mean(bias: Tensor) -> Tensor:
        return torch.stack([bias[group].mean() for group in groups])

    policy = merged_policy(layer.policy, groups)
    return changed(layer, copied(layer.router), made, policy, balancer_of(layer, mean))


def _recombined(
    neurons: Tensor, kept: list[int], share: Tensor, threshold: float
) -> tuple[Tensor, dict[int, int]]:
    """Return the neurons of the kept experts after the merge, and which of these took over each dropped expert."""
    own = neurons[kept]  # (n_kept, n_hidden, n)
    n_hidden = own.shape[1]
    use = share[kept].to(own)[:, None].expand(-1, n_hidden).flatten()  # of each kept neuron
    sums, total = own.flatten(0, 1) * use[:, None], use.clone()
    unit = nn.functional.normalize(own.flatten(0, 1), dim=-1)
    taken = {}
    for e in sorted(set(range(len(neurons))) - set(kept)):
        likeness = nn.functional.normalize(neurons[e], dim=-1) @ unit.T  # (n_hidden, n_kept · n_hidden)
        best, place = likeness.max(-1)
        is_like = best >= threshold
        votes = torch.bincount(place[is_like] // n_hidden, minlength=len(kept))
        of_expert = (
            likeness.unflatten(-1, (len(kept), n_hidden)).amax(-1).mean(0)
        )  # decides where votes are equal
        taken[e] = max(range(len(kept)), key=lambda i: (int(votes[i]), float(of_expert[i])))
        weight = share[e].item()
        sums.index_add_(0, place[is_like], neurons[e][is_like] * weight)
        total.index_add_(0, place[is_like], torch.full_like(best[is_like], weight))
    took = total > use  # others stay as they are to the last bit
    merged = torch.where(took[:, None], sums / total.clamp_min(1e-30)[:, None], own.flatten(0, 1))
    return merged.view_as(own), taken


def _biases(bias: Tensor, taken: dict[int, int], kept: list[int], share: Tensor) -> Tensor:
    """Return the outer biases of the kept experts: means by use with those of the experts that they took over."""
    made = []
    for i, e in enumerate(kept):
        group = [e, *(d for d, to in taken.items() if to == i)]
        weights = share[group].to(bias)
        made.append(weights @ bias[group] / weights.sum() if weights.sum() > 0.0 else bias[e])
    return torch.stack(made)
